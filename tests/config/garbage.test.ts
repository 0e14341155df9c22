/** Whatever a file holds, loading it ends with a result, and never with an exception. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { type LoadResult, loadConfig } from '../../src/config/load.ts';
import { SCHEMA } from '../../src/config/schema.ts';
import { eachKey } from '../../src/config/schema-nodes.ts';
import { textOf, WORLD } from './fixture.ts';

const EXAMPLE = readFileSync(new URL('document-example.toml', import.meta.url), 'utf8');
const RUNS = 1500;

function loadAny(toml: string): LoadResult {
  const result = loadConfig(toml, '/etc/edge/config.toml', { files: WORLD });
  assert.equal(result.config === null, result.problems.length > 0);
  for (const { message, path, kind } of [...result.problems, ...result.warnings]) {
    assert.notEqual(message, '');
    assert.equal(path === '' && kind === 'value', false);
  }
  assert.equal(typeof textOf([...result.problems, ...result.warnings]), 'string');
  return result;
}

test('any text', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (toml) => void loadAny(toml)),
    { numRuns: RUNS },
  );
});

test('text of the characters that TOML is made of', () => {
  const unit = fc.constantFrom(
    ...'[]{}=,."\'\\#\n \t-_:+'.split(''),
    'a',
    '1',
    'e',
    '"""',
    "'''",
    'server',
    'listen',
    'true',
  );
  fc.assert(
    fc.property(fc.array(unit, { maxLength: 60 }), (parts) => void loadAny(parts.join(''))),
    { numRuns: RUNS },
  );
});

test('the example with a piece cut out, doubled or replaced', () => {
  const edit = fc.tuple(
    fc.nat(EXAMPLE.length),
    fc.nat(40),
    fc.oneof(fc.constant(''), fc.string({ unit: 'binary', maxLength: 8 }), fc.constant('\n[server]\n')),
  );
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      let toml = EXAMPLE;
      for (const [at, length, text] of edits) toml = toml.slice(0, at) + text + toml.slice(at + length);
      loadAny(toml);
    }),
    { numRuns: RUNS },
  );
});

const NAMES = [...new Set([...eachKey(SCHEMA)].flatMap(({ pattern }) => pattern))].filter(
  (name) => name !== '*',
);
const key = fc.oneof(
  fc.constantFrom(...NAMES),
  fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', '', '/', '*', 'a.b', 'x'),
  fc.string({ maxLength: 8 }),
);

/** Values as TOML writes them. */
const { value } = fc.letrec<{ value: string; table: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', maxDepth: 4 },
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
    fc.constantFrom(
      'inf',
      '-inf',
      'nan',
      '-0',
      '0.0',
      '1e300',
      '1979-05-27T07:32:00Z',
      '07:32:00',
      'true',
      'false',
    ),
    fc.string({ unit: 'grapheme', maxLength: 20 }).map(quote),
    fc.constantFrom(
      '"http://a"',
      '"/srv/site"',
      '"unix:/run/app.sock"',
      '"127.0.0.1:80"',
      '"Proxy"',
      '"$host"',
      '"::/0"',
    ),
    fc.array(tie('value'), { maxLength: 4 }).map((items) => `[${items.join(', ')}]`),
    tie('table'),
  ),
  table: fc
    .uniqueArray(fc.tuple(key, tie('value')), { maxLength: 4, selector: ([name]) => name })
    .map((pairs) => `{ ${pairs.map(([name, each]) => `${quote(name)} = ${each}`).join(', ')} }`),
}));

function quote(text: string): string {
  return JSON.stringify(text).replaceAll('\u007f', '\\u007f');
}

test('known and unknown keys with values of all types', () => {
  const path = fc.array(key, { minLength: 1, maxLength: 5 }).map((steps) => steps.map(quote).join('.'));
  const lines = fc.uniqueArray(fc.tuple(path, value), { maxLength: 6, selector: ([each]) => each });
  fc.assert(
    fc.property(lines, (pairs) => void loadAny(pairs.map(([at, each]) => `${at} = ${each}`).join('\n'))),
    { numRuns: RUNS },
  );
});

test('each key of the schema with any value', () => {
  for (const { pattern } of eachKey(SCHEMA)) {
    const steps = pattern.map((step) => (step === '*' ? '"x"' : step));
    fc.assert(
      fc.property(value, (each) => void loadAny(`${steps.join('.')} = ${each}`)),
      { numRuns: 30 },
    );
  }
});

test('a file of a megabyte of comments, brackets or one long string', () => {
  for (const toml of [
    '#'.repeat(1 << 20),
    '\n'.repeat(1 << 20),
    '['.repeat(1 << 20),
    `a = "${'x'.repeat(1 << 20)}"`,
    `a = """${'""x'.repeat(1 << 18)}"""`,
  ]) {
    assert.equal(loadAny(toml).config, null);
  }
});
