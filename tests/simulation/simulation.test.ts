import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BufferPool, PoolShape } from '../../src/io/buffer-pool.ts';
import { FORGETFUL, HASTY, KEEPING } from './planted-bugs.ts';
import { runWorld } from './world.ts';

/** What `npm test` runs; all of it is `tests/simulation/run.ts` (2,000 seeds). */
const SEEDS_FROM = 1;
const SEEDS_TO = 150;
const SEEDS_PER_TEST = 25;

function assertAllWell(from: number, to: number): void {
  const failures: string[] = [];
  for (let seed = from; seed <= to; seed++) {
    const { violations, mood } = runWorld(seed);
    if (violations.length === 0) continue;
    failures.push(`seed ${seed} (${mood}): ${violations.slice(0, 3).join('\n  ')}`);
    failures.push(`  replay: npm run simulate -- --seed ${seed}`);
  }
  assert.equal(failures.length, 0, `\n${failures.join('\n')}`);
}

for (let from = SEEDS_FROM; from <= SEEDS_TO; from += SEEDS_PER_TEST) {
  const to = Math.min(SEEDS_TO, from + SEEDS_PER_TEST - 1);
  test(`in the worlds of seeds ${from} to ${to} everybody gets their own bytes, and nothing is left`, () => {
    assertAllWell(from, to);
  });
}

test('the same seed lives the same life', () => {
  for (const seed of [3, 4, 5]) {
    const [one, other] = [runWorld(seed), runWorld(seed)];
    assert.deepEqual(one, other);
  }
});

/** What was wrong, without the stacks of failed assertions. */
function symptoms(seed: number, edgePool: (shape: PoolShape) => BufferPool): string[] {
  return runWorld(seed, { edgePool }).violations.map((violation) => violation.split('\n')[0]);
}

/** The first seed at which a planted bug shows, how it shows, and that it shows so again. */
function assertCaught(edgePool: (shape: PoolShape) => BufferPool, words: RegExp): void {
  for (let seed = 1; seed <= 20; seed++) {
    const violations = symptoms(seed, edgePool);
    if (violations.length === 0) continue;
    assert.match(violations.join('\n'), words);
    assert.deepEqual(symptoms(seed, edgePool), violations, 'the seed does not replay it');
    assert.deepEqual(runWorld(seed).violations, [], 'the seed fails without the planted bug');
    return;
  }
  assert.fail('20 seeds did not find a planted bug');
}

test('a planted bug is caught and replays from its seed: a buffer that is released twice', () => {
  assertCaught(HASTY, /released twice|free buffer|is wrong at byte|malformed/);
});

test('a planted bug is caught and replays from its seed: a reference that is forgotten', () => {
  assertCaught(FORGETFUL, /released twice|free buffer|is wrong at byte|malformed/);
});

test('a planted bug is caught and replays from its seed: a buffer that never comes home', () => {
  assertCaught(KEEPING, /buffers held/);
});
