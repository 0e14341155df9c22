import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mapPrivate, mapPrivateHuge, PAGE_BYTES } from '../../src/sys/memory.ts';

test('mapped memory is zero, page-aligned, and as long as was asked for or a little longer', () => {
  const memory = mapPrivate(10_000);
  assert.equal(memory.length, 3 * PAGE_BYTES);
  assert.equal(memory.address % PAGE_BYTES, 0);
  assert.ok(memory.bytes.every((byte) => byte === 0));
  memory.unmap();
});

test('no mapping straddles a 4 GiB boundary, however large', () => {
  for (let count = 0; count < 40; count++) {
    const memory = mapPrivate(700 * 1024 * 1024);
    const last = memory.address + memory.length - 1;
    assert.equal(Math.floor(last / 2 ** 32), memory.high);
    assert.equal((memory.low + memory.length - 1) | 0, last | 0);
    memory.unmap();
  }
});

test('memory that is not touched takes up no room', () => {
  const before = process.memoryUsage.rss();
  const memory = mapPrivate(1024 * 1024 * 1024);
  assert.ok(process.memoryUsage.rss() - before < 64 * 1024 * 1024);
  memory.unmap();
});

test('memory for huge pages begins at one and is as usable where there are none', () => {
  const { memory } = mapPrivateHuge(5_000_000);
  assert.equal(memory.address % 2097152, 0);
  assert.equal(memory.length, 3 * 2097152);
  memory.bytes[memory.length - 1] = 7;
  assert.equal(memory.bytes[memory.length - 1], 7);
  memory.unmap();
});
