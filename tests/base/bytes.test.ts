import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  asciiBytes,
  copyAcross,
  copyBytes,
  copyWords,
  decimalLength,
  equalsBytes,
  equalsIgnoreCase,
  equalViews,
  hexLength,
  hexValue,
  putDecimal,
  putHex,
  putText,
  rangesEqualIgnoreCase,
  viewOf,
} from '../../src/base/bytes.ts';

const NUMBERS = [
  0,
  1,
  9,
  10,
  15,
  16,
  99,
  100,
  255,
  256,
  65535,
  65536,
  999999,
  0x7fffffff,
  0x80000000,
  0xffffffff,
  0x100000000,
  9999999999,
  1e15,
  2 ** 52,
  Number.MAX_SAFE_INTEGER,
];

test('writes numbers in decimal as String does', () => {
  for (const value of NUMBERS) {
    const bytes = new Uint8Array(32).fill(0x2e);
    const end = putDecimal(bytes, 5, value);
    assert.equal(Buffer.from(bytes).toString('latin1', 5, end), String(value));
    assert.equal(end - 5, decimalLength(value));
    assert.equal(bytes[4], 0x2e);
    assert.equal(bytes[end], 0x2e);
  }
});

test('writes numbers in hexadecimal as toString does', () => {
  for (const value of NUMBERS) {
    const bytes = new Uint8Array(32).fill(0x2e);
    const end = putHex(bytes, 5, value);
    assert.equal(Buffer.from(bytes).toString('latin1', 5, end), value.toString(16));
    assert.equal(end - 5, hexLength(value));
    assert.equal(bytes[4], 0x2e);
    assert.equal(bytes[end], 0x2e);
  }
});

test('copies exactly the bytes asked for, short and long', () => {
  for (const length of [...Array(30).keys(), 100, 199, 200, 319, 320, 321, 322, 390]) {
    const bytes = Uint8Array.from({ length: 800 }, (_, index) => index);
    copyBytes(bytes, 401, 3, length);
    assert.deepEqual([...bytes.subarray(401, 401 + length)], [...bytes.subarray(3, 3 + length)]);
    assert.equal(bytes[400], 400 & 0xff);
    assert.equal(bytes[401 + length], (401 + length) & 0xff);
    const target = new Uint8Array(800).fill(7);
    copyAcross(target, 10, bytes, 3, length);
    assert.deepEqual([...target.subarray(10, 10 + length)], [...bytes.subarray(3, 3 + length)]);
    assert.equal(target[9], 7);
    assert.equal(target[10 + length], 7);
  }
});

test('compares bytes exactly', () => {
  const bytes = asciiBytes('xGETx');
  assert.equal(equalsBytes(bytes, 1, 3, asciiBytes('GET')), true);
  assert.equal(equalsBytes(bytes, 1, 3, asciiBytes('get')), false);
  assert.equal(equalsBytes(bytes, 1, 2, asciiBytes('GET')), false);
});

test('ignores the case of letters and of nothing else', () => {
  const lower = asciiBytes('a-z[1');
  assert.equal(equalsIgnoreCase(asciiBytes('A-Z[1'), 0, 5, lower), true);
  assert.equal(equalsIgnoreCase(asciiBytes('A-Z{1'), 0, 5, lower), false);
  assert.equal(equalsIgnoreCase(asciiBytes('A\rZ[1'), 0, 5, lower), false);
  assert.equal(equalsIgnoreCase(asciiBytes('A-Z['), 0, 4, lower), false);
  assert.equal(rangesEqualIgnoreCase(asciiBytes('Ab@aB@aB`'), 0, 3, 3), true);
  assert.equal(rangesEqualIgnoreCase(asciiBytes('Ab@aB@aB`'), 3, 6, 3), false);
});

test('knows the value of each hexadecimal digit and of nothing else', () => {
  for (let byte = 0; byte < 256; byte++) {
    const digit = '0123456789abcdef'.indexOf(String.fromCharCode(byte).toLowerCase());
    assert.equal(hexValue(byte), digit, `byte ${byte}`);
  }
});

test('putText writes Latin-1 text and returns where it ends', () => {
  const bytes = new Uint8Array(8);
  assert.equal(putText(bytes, 2, 'aé:'), 5);
  assert.deepEqual([...bytes], [0, 0, 0x61, 0xe9, 0x3a, 0, 0, 0]);
  assert.equal(putText(bytes, 8, ''), 8);
});

test('copies and compares words to the last byte of either side', () => {
  for (let length = 4; length < 60; length++) {
    for (let offset = 0; offset < 8; offset++) {
      const source = Uint8Array.from({ length }, (_, index) => (index * 37 + offset) & 0xff);
      const target = new Uint8Array(offset + length + 8).fill(9);
      copyWords(viewOf(target), offset, new DataView(source.buffer), 0, length);
      const expected = [...Array<number>(offset).fill(9), ...source, ...Array<number>(8).fill(9)];
      assert.deepEqual([...target], expected);
      if (length < 8) continue;
      const view = new DataView(source.buffer);
      const copy = new DataView(target.buffer, offset, length);
      assert.equal(equalViews(view, 0, copy, 0, length), true);
      for (let at = 0; at < length; at++) {
        target[offset + at] ^= 0x80;
        assert.equal(equalViews(view, 0, copy, 0, length), false, `byte ${at} of ${length}`);
        target[offset + at] ^= 0x80;
      }
    }
  }
});
