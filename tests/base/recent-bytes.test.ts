import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asciiBytes } from '../../src/base/bytes.ts';
import { RECENT_BYTES_MAX, RecentBytes } from '../../src/base/recent-bytes.ts';

test('matches the bytes that were set, wherever they lie, and nothing else', () => {
  for (let length = 8; length <= RECENT_BYTES_MAX; length++) {
    const text = 'abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ.0123456789'.slice(0, length);
    const recent = new RecentBytes();
    recent.set(asciiBytes(`x${text}`), 1, length);
    assert.ok(recent.matches(asciiBytes(`...${text}...`), 3, length));
    assert.ok(!recent.matches(asciiBytes(`...${text}...`), 3, length - 1));
    assert.ok(!recent.matches(asciiBytes(`...${text}...`), 3, length + 1));
    for (let at = 0; at < length; at++) {
      const other = asciiBytes(text);
      other[at] ^= 0x20;
      assert.ok(!recent.matches(other, 0, length), `byte ${at} of ${length}`);
    }
  }
});

test('what is too short or too long never matches, and makes what was before forgotten', () => {
  const bytes = asciiBytes('a'.repeat(RECENT_BYTES_MAX + 1));
  const recent = new RecentBytes();
  assert.ok(!recent.matches(bytes, 0, 0));
  for (const length of [0, 1, 7, RECENT_BYTES_MAX + 1]) {
    recent.set(bytes, 0, 10);
    assert.ok(recent.matches(bytes, 0, 10));
    recent.set(bytes, 0, length);
    assert.ok(!recent.matches(bytes, 0, length));
    assert.ok(!recent.matches(bytes, 0, 10));
  }
});
