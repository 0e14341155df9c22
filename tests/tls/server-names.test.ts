/** Which entry a name finds. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { coversName, normaliseServerName, ServerNames } from '../../src/tls/server-names.ts';

const TABLE = [
  'example.com',
  '*.example.com',
  'www.example.com',
  '*.deep.example.com',
  '192.0.2.1',
  '2001:db8::1',
];

function tableOf(names: readonly string[]): ServerNames<string> {
  const table = new ServerNames<string>();
  for (const name of names) table.add(normaliseServerName(name), name);
  return table;
}

const FOUND: readonly { name: string; asked: string; expected: string | null }[] = [
  { name: 'an exact name', asked: 'example.com', expected: 'example.com' },
  { name: 'an exact name before a wildcard', asked: 'www.example.com', expected: 'www.example.com' },
  { name: 'a wildcard for one label', asked: 'a.example.com', expected: '*.example.com' },
  { name: 'no wildcard for two labels', asked: 'b.a.example.com', expected: null },
  { name: 'the wildcard one label above', asked: 'a.deep.example.com', expected: '*.deep.example.com' },
  {
    name: 'another wildcard for the domain of a wildcard',
    asked: 'deep.example.com',
    expected: '*.example.com',
  },
  { name: 'a name in capitals', asked: 'EXAMPLE.Com', expected: 'example.com' },
  { name: 'a name with a trailing dot', asked: 'example.com.', expected: 'example.com' },
  { name: 'an IPv4 address', asked: '192.0.2.1', expected: '192.0.2.1' },
  { name: 'an IPv6 address in brackets', asked: '[2001:DB8::1]', expected: '2001:db8::1' },
  { name: 'nothing for an unknown name', asked: 'example.org', expected: null },
  { name: 'nothing for a name that ends alike', asked: 'notexample.com', expected: null },
  { name: 'nothing for the empty name', asked: '', expected: null },
  { name: 'nothing for a dot', asked: '.', expected: null },
  { name: 'nothing for an empty label', asked: '.example.com', expected: null },
  { name: 'nothing for a wildcard that a client asks for', asked: '*.example.com', expected: null },
  { name: 'nothing for a name that is too long', asked: `${'a'.repeat(250)}.example.com`, expected: null },
];

for (const { name, asked, expected } of FOUND) {
  test(`finds ${name}`, () => assert.equal(tableOf(TABLE).find(asked), expected));
}

test('the first of two entries for a name stays', () => {
  const table = new ServerNames<number>();
  table.add('a.example', 1);
  table.add('a.example', 2);
  assert.equal(table.find('a.example'), 1);
  assert.equal(table.size, 1);
});

for (const name of ['*', '*.', 'w*.example.com', 'a.*.example.com', '*a.example.com', '']) {
  test(`a certificate for ${JSON.stringify(name)} serves no name`, () => {
    assert.equal(normaliseServerName(name), '');
  });
}

test('a wildcard covers one label more, and not its own domain', () => {
  assert.equal(coversName('*.example.com', 'a.example.com'), true);
  assert.equal(coversName('*.example.com', 'example.com'), false);
  assert.equal(coversName('*.example.com', 'b.a.example.com'), false);
  assert.equal(coversName('example.com', 'example.com'), true);
});
