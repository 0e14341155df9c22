/** Lines of keys: what messages point at. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { locateKeys } from '../../src/config/locate.ts';
import { parseToml } from '../../src/config/toml.ts';

interface Case {
  readonly name: string;
  readonly toml: string;
  readonly expected: Readonly<Record<string, number>>;
}

const CASES: readonly Case[] = [
  {
    name: 'keys of tables',
    toml: 'a = 1\n[b]\nc = 2 # [d]\n\n[ b . "x.y" ]\nd = 3',
    expected: { a: 1, b: 2, 'b.c': 3, 'b."x.y"': 5, 'b."x.y".d': 6 },
  },
  {
    name: 'dotted and quoted keys',
    toml: `a.b . 'c d' = 1\n"\\u0065" = 2`,
    expected: { a: 1, 'a.b': 1, 'a.b."c d"': 1, e: 2 },
  },
  {
    name: 'elements of arrays and inline tables',
    toml: 'a = [\n  1, # one\n  { b = 2,\n    c = [3] },\n]\nd = 4',
    expected: { a: 1, 'a[0]': 2, 'a[1]': 3, 'a[1].b': 3, 'a[1].c': 4, 'a[1].c[0]': 4, d: 6 },
  },
  {
    name: 'arrays of tables',
    toml: '[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n[[a.e]]\nf = 4',
    expected: { 'a[0].b': 2, 'a[1].b': 4, 'a[1].c.d': 6, 'a[1].e[0].f': 8 },
  },
  {
    name: 'keys after strings that hold brackets, quotes and line ends',
    toml: "a = \"]\\\"[\" # \"\nb = '\\'\nc = \"\"\"\n[x]\ny = 1\\\"\"\"\" \nd = '''\n''e'''''\nf = 1979-05-27 07:32:00\ng = 2",
    expected: { a: 1, b: 2, c: 3, d: 6, f: 8, g: 9 },
  },
  {
    name: 'lines that end in CR LF',
    toml: '[a]\r\nb = 1\r\n# c\r\nd = 2\r\n',
    expected: { 'a.b': 2, 'a.d': 4 },
  },
];

for (const { name, toml, expected } of CASES) {
  test(`knows ${name}`, () => {
    assert.equal(parseToml(toml).problem, null);
    const lines = locateKeys(toml);
    for (const [path, line] of Object.entries(expected)) assert.equal(lines.get(path), line, path);
  });
}

test('ends on text that is no TOML', () => {
  const unit = fc.constantFrom(
    '[',
    ']',
    '{',
    '}',
    '=',
    ',',
    '.',
    '"',
    "'",
    '\\',
    '#',
    '\n',
    ' ',
    'a',
    '1',
    '"""',
  );
  fc.assert(
    fc.property(fc.array(unit, { maxLength: 60 }), (parts) => void locateKeys(parts.join(''))),
    { numRuns: 3000 },
  );
});
