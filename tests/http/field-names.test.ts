import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asciiBytes, equalsIgnoreCase } from '../../src/base/bytes.ts';
import { Random } from '../../src/base/random.ts';
import {
  aliasesTrusted,
  fieldIdOf,
  fieldIdOfText,
  LowerName,
  NameTable,
  nameAliases,
} from '../../src/http/field-names.ts';
import { F_HOST, F_OTHER, F_X_FORWARDED_FOR, FIELD_NAMES } from '../../src/http/fields.ts';

function idOf(name: string): number {
  return fieldIdOf(asciiBytes(`: ${name}: `), 2, name.length);
}

test('knows each name in any case, as bytes and as text', () => {
  for (let id = 1; id < FIELD_NAMES.length; id++) {
    const name = FIELD_NAMES[id];
    for (const spelt of [name, name.toLowerCase(), name.toUpperCase()]) {
      assert.equal(idOf(spelt), id, spelt);
      assert.equal(fieldIdOfText(spelt), id, spelt);
    }
  }
});

test('does not take a name for another that it begins or ends like', () => {
  for (const name of FIELD_NAMES.slice(1)) {
    assert.equal(idOf(`${name}x`), F_OTHER);
    assert.equal(idOf(`x${name}`), F_OTHER);
    // TE without its last letter is a name of its own.
    assert.equal(idOf(name.slice(1)), F_OTHER);
  }
});

test('does not take a name with one byte changed for the name', () => {
  for (const name of FIELD_NAMES.slice(1)) {
    for (let at = 0; at < name.length; at++) {
      for (const byte of ['_', '0', '!', '~', 'q']) {
        const changed = name.slice(0, at) + byte + name.slice(at + 1);
        if (changed.toLowerCase() !== name.toLowerCase()) assert.equal(idOf(changed), F_OTHER, changed);
      }
    }
  }
});

test('knows nothing of empty, very short and very long names', () => {
  assert.equal(idOf(''), F_OTHER);
  assert.equal(idOf('h'), F_OTHER);
  assert.equal(idOf('h'.repeat(1000)), F_OTHER);
  assert.equal(fieldIdOfText(''), F_OTHER);
  assert.equal(fieldIdOfText('Not-Known'), F_OTHER);
});

test('finds names that share a slot', () => {
  const names = ['', ...Array.from({ length: 200 }, (_, index) => `name-${index}`)];
  const table = new NameTable(names);
  for (let index = 1; index < names.length; index++) {
    assert.equal(table.find(asciiBytes(names[index]), 0, names[index].length), index);
  }
  assert.equal(table.find(asciiBytes('name-200'), 0, 8), 0);
});

test('sees through underscores to a trusted name', () => {
  for (const name of [
    'X_Forwarded_For',
    'x-forwarded_for',
    'CONTENT_LENGTH',
    'Transfer_Encoding',
    'X_Real-IP',
  ]) {
    assert.equal(aliasesTrusted(asciiBytes(name), 0, name.length), true, name);
  }
  for (const name of ['X_Forwarded_Fox', 'User_Agent', '_Host', 'X__Forwarded_For']) {
    assert.equal(aliasesTrusted(asciiBytes(name), 0, name.length), false, name);
  }
});

test('compares a name with one of the configuration, underscores as dashes', () => {
  const lower = asciiBytes('x-user-id');
  assert.equal(nameAliases(asciiBytes('X_User-ID'), 0, 9, lower), true);
  assert.equal(nameAliases(asciiBytes('X-User-ID'), 0, 9, lower), true);
  assert.equal(nameAliases(asciiBytes('X.User.ID'), 0, 9, lower), false);
  assert.equal(nameAliases(asciiBytes('X_User-I'), 0, 8, lower), false);
});

test('gives Host and X-Forwarded-For different ids', () => {
  assert.equal(idOf('host'), F_HOST);
  assert.equal(idOf('x-forwarded-for'), F_X_FORWARDED_FOR);
});

test('a name in lower case finds the same tokens by words as byte by byte', () => {
  const random = new Random(7);
  const characters = "!#$%&'*+-.^_`|~0189azAZxXmMnN";
  for (const name of ['x-foo', 'a0-9', 'x_foo', 'abc', 'x-forwarded-portx', 'x.y~z', 'zz^zz']) {
    const lowerName = new LowerName(name);
    const lower = asciiBytes(name);
    assert.equal(lowerName.length, name.length);
    for (let round = 0; round < 3000; round++) {
      const changed = [...name].map((character) => {
        if (random.chance(0.2)) return characters[random.below(characters.length)];
        return random.chance(0.5) ? character.toUpperCase() : character;
      });
      const token = asciiBytes(`:${changed.join('')}${random.chance(0.1) ? 'x' : ''}:`);
      const length = token.length - 2;
      assert.equal(lowerName.equals(token, 1, length), equalsIgnoreCase(token, 1, length, lower), name);
      assert.equal(lowerName.aliases(token, 1, length), nameAliases(token, 1, length, lower), name);
    }
  }
});
