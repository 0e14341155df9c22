import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/base/random.ts';

test('the same seed gives the same numbers', () => {
  const one = new Random(7);
  const two = new Random(7);
  for (let index = 0; index < 1000; index++) assert.equal(one.next32(), two.next32());
});

test('neighbouring seeds give different numbers', () => {
  const seen = new Set<number>();
  for (let seed = 0; seed < 1000; seed++) seen.add(new Random(seed).next32());
  assert.ok(seen.size >= 999);
  assert.notEqual(new Random(1).next32(), new Random(1 + 2 ** 32).next32());
});

test('below(n) stays in range and reaches each value', () => {
  const random = new Random(3);
  const hits = new Array<number>(7).fill(0);
  for (let index = 0; index < 7000; index++) hits[random.below(7)]++;
  for (const count of hits) assert.ok(count > 800 && count < 1200, `uneven: ${hits.join(' ')}`);
  assert.equal(random.below(1), 0);
});

test('between(low, high) includes both ends', () => {
  const random = new Random(4);
  const seen = new Set<number>();
  for (let index = 0; index < 200; index++) seen.add(random.between(-1, 1));
  assert.deepEqual([...seen].sort(), [-1, 0, 1]);
});

test('chance(p) is true in about p of all draws, never at 0, always at 1', () => {
  const random = new Random(5);
  let hits = 0;
  for (let index = 0; index < 10000; index++) {
    if (random.chance(0.25)) hits++;
    assert.equal(random.chance(0), false);
    assert.equal(random.chance(1), true);
  }
  assert.ok(hits > 2300 && hits < 2700, String(hits));
});
