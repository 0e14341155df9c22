import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arenaBytes, BufferPool, MEDIUM } from '../../src/io/buffer-pool.ts';
import { UringBuffers } from '../../src/io/uring-buffers.ts';
import { UringRing } from '../../src/io/uring-ring.ts';
import { mapPrivate } from '../../src/sys/memory.ts';

const REVIEW = 5000;

function withBuffers(medium: number, run: (buffers: UringBuffers, pool: BufferPool) => void): void {
  const shape = { small: 2, medium, large: 0 };
  const memory = mapPrivate(arenaBytes(shape));
  const pool = new BufferPool(memory.buffer, memory.address, shape);
  const ring = UringRing.create(8, 64, 1, 2);
  assert.ok(typeof ring !== 'number', `no ring: ${ring}`);
  const buffers = new UringBuffers(ring, 1, pool, MEDIUM, 64, 4);
  run(buffers, pool);
  ring.destroy();
  buffers.destroy();
  assert.equal(pool.freeCount(MEDIUM), medium);
}

test('the ring holds its target, and what lies in it is nobody’s', () => {
  withBuffers(400, (buffers, pool) => {
    buffers.refill();
    assert.equal(buffers.available, 4);
    assert.equal(pool.freeCount(MEDIUM), 396);
    assert.equal(pool.heldCount(), 0);
  });
});

test('a buffer that the kernel used is held by its receiver, and another takes its place', () => {
  withBuffers(400, (buffers, pool) => {
    buffers.refill();
    const taken = buffers.take(0);
    assert.equal(pool.referencesOf(taken), 1);
    assert.equal(pool.heldCount(), 1);
    buffers.refill();
    assert.equal(buffers.available, 4);
    pool.release(taken);
    assert.equal(pool.heldCount(), 0);
  });
});

test('the target doubles once a turn, however many found the ring empty, up to the number of entries', () => {
  withBuffers(400, (buffers) => {
    for (const target of [8, 16, 32, 64, 64]) {
      for (let sockets = 0; sockets < 10; sockets++) buffers.grow();
      buffers.refill();
      assert.equal(buffers.target, target);
      assert.equal(buffers.available, target);
    }
  });
});

test('at most a quarter of the class lies in the ring', () => {
  withBuffers(40, (buffers, pool) => {
    for (let turns = 0; turns < 10; turns++) {
      buffers.grow();
      buffers.refill();
    }
    assert.equal(buffers.available, 10);
    assert.equal(pool.freeCount(MEDIUM), 30);
  });
});

test('what is not needed for a while goes back, down to the target at the start', () => {
  withBuffers(400, (buffers, pool) => {
    for (let turns = 0; turns < 4; turns++) {
      buffers.grow();
      buffers.refill();
    }
    assert.equal(buffers.target, 64);
    for (let turns = 0; turns < REVIEW * 5; turns++) {
      buffers.refill();
    }
    assert.equal(buffers.target, 4);
    // The kernel keeps what it has; as it uses it, no more is added.
    assert.equal(pool.heldCount(), 0);
  });
});

test('an exhausted pool leaves the ring as full as it can be', () => {
  withBuffers(40, (buffers, pool) => {
    const taken = Array.from({ length: 38 }, () => pool.acquire(MEDIUM));
    buffers.refill();
    assert.equal(buffers.available, 2);
    for (const buffer of taken) pool.release(buffer);
    buffers.refill();
    assert.equal(buffers.available, 4);
  });
});
