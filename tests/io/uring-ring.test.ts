import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UringRing } from '../../src/io/uring-ring.ts';

const WAKE = 77;
const IGNORED = 78;
const NOP = 0;

function makeRing(): UringRing {
  const ring = UringRing.create(8, 64, WAKE, IGNORED);
  assert.ok(typeof ring !== 'number', `no ring: ${ring}`);
  return ring;
}

/** Consumes what is there: word 0 of user_data and the kind. */
function completions(ring: UringRing): [number, number][] {
  const found: [number, number][] = [];
  let position = ring.completionsBegin();
  while (position !== ring.completionsAvailable()) {
    const entry = ring.cqes + ((position & ring.cqMask) << 2);
    found.push([ring.words[entry], ring.words[entry + 1]]);
    position = (position + 1) | 0;
  }
  ring.completionsEnd(position);
  return found;
}

function nop(ring: UringRing, tag: number): void {
  const index = ring.nextSqe();
  ring.sqes[index] = NOP;
  ring.sqes[index + 1] = -1;
  ring.sqes[index + 8] = tag;
  ring.sqes[index + 9] = 5;
}

test('each submission comes back once with its user_data, in order', () => {
  const ring = makeRing();
  for (let round = 0; round < 100; round++) {
    for (let count = 0; count < 5; count++) nop(ring, round * 5 + count);
    ring.enter(5);
    assert.deepEqual(
      completions(ring),
      Array.from({ length: 5 }, (_, count) => [round * 5 + count, 5]),
    );
    assert.ok(ring.isDrained());
  }
  ring.destroy();
});

test('more submissions than the queue holds are submitted on the way, none is lost', () => {
  const ring = makeRing();
  for (let count = 0; count < 50; count++) nop(ring, count);
  ring.enter(1);
  assert.deepEqual(
    completions(ring).map(([tag]) => tag),
    Array.from({ length: 50 }, (_, count) => count),
  );
  ring.destroy();
});

test('more completions than their queue holds wait in the kernel, none is lost', () => {
  const ring = makeRing();
  for (let count = 0; count < 500; count++) nop(ring, count);
  const tags: number[] = [];
  for (let round = 0; tags.length < 500 && round < 100; round++) {
    ring.enter(0);
    tags.push(...completions(ring).map(([tag]) => tag));
  }
  assert.deepEqual(
    tags,
    Array.from({ length: 500 }, (_, count) => count),
  );
  ring.destroy();
});

test('a wait ends at the time that wakeAt was told, not before', () => {
  const ring = makeRing();
  for (const delayMs of [1, 5, 20]) {
    const timeMs = performance.now() + delayMs;
    ring.wakeAt(timeMs);
    ring.enter(1);
    assert.ok(performance.now() >= timeMs);
    assert.deepEqual(completions(ring), [[0, WAKE]]);
    ring.onWake();
  }
  ring.destroy();
});

test('an earlier time moves the timeout, a later one leaves it', () => {
  const ring = makeRing();
  const startMs = performance.now();
  ring.wakeAt(startMs + 60_000);
  ring.enter(0);
  ring.wakeAt(startMs + 10);
  ring.wakeAt(startMs + 30_000);
  ring.enter(1);
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs >= 10 && tookMs < 20_000, `took ${tookMs}`);
  assert.deepEqual(completions(ring), [[0, WAKE]]);
  ring.onWake();
  ring.destroy();
});

test('a time that is past ends a wait at once', () => {
  const ring = makeRing();
  ring.wakeAt(performance.now() - 1000);
  ring.enter(1);
  assert.deepEqual(completions(ring), [[0, WAKE]]);
  ring.destroy();
});
