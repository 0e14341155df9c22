import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../src/edge/ip-list.ts';
import {
  ENTRIES_DEFAULT,
  GROUPS_MAX,
  RateLimiter,
  rateLimiterBytes,
  rateLimitKey,
  WINDOW_MS,
} from '../../src/shared/rate-limit.ts';
import { leastAllocated, leftBy } from '../fixtures/heap.ts';

const ADDRESS = parseAddress('192.0.2.1');
const KEY = rateLimitKey('example.com:/api', 60);
const START_MS = 1_000_000;

function limiter(entries = 1024): RateLimiter {
  return new RateLimiter(new Int32Array(rateLimiterBytes(entries) / 4), 0x5eed);
}

/** How many of `count` requests at one moment are admitted. */
function burst(to: RateLimiter, limit: number, count: number, nowMs: number, address = ADDRESS): number {
  let admitted = 0;
  for (let request = 0; request < count; request++) {
    if (to.admit(KEY, limit, address, nowMs) === 0) admitted++;
  }
  return admitted;
}

/** Two limiters over the same words, as two workers have them. */
function twoLimiters(entries: number): [RateLimiter, RateLimiter] {
  const words = new Int32Array(rateLimiterBytes(entries) / 4);
  return [new RateLimiter(words, 0x5eed, 0), new RateLimiter(words, 0x5eed, 1)];
}

describe('RateLimiter', () => {
  for (const limit of [1, 2, 59, 60, 61, 100, 600, 100_000]) {
    it(`admits a burst of exactly ${limit}, and another a minute later but not before`, () => {
      const rates = limiter();
      assert.equal(burst(rates, limit, limit + 5, START_MS), limit);
      assert.equal(rates.admit(KEY, limit, ADDRESS, START_MS), WINDOW_MS);
      assert.equal(rates.admit(KEY, limit, ADDRESS, START_MS + WINDOW_MS - 1), 1);
      assert.equal(burst(rates, limit, limit + 5, START_MS + WINDOW_MS), limit);
    });
  }

  it('lets each request leave the window a minute after it came, to the millisecond', () => {
    const rates = limiter();
    for (const offset of [0, 10, 500]) assert.equal(rates.admit(KEY, 3, ADDRESS, START_MS + offset), 0);
    assert.equal(rates.admit(KEY, 3, ADDRESS, START_MS + 600), WINDOW_MS - 600);
    assert.equal(rates.admit(KEY, 3, ADDRESS, START_MS + WINDOW_MS), 0);
    assert.equal(rates.admit(KEY, 3, ADDRESS, START_MS + WINDOW_MS + 9), 1);
    assert.equal(rates.admit(KEY, 3, ADDRESS, START_MS + WINDOW_MS + 10), 0);
  });

  it('does not count what it refuses', () => {
    const rates = limiter();
    assert.equal(burst(rates, 2, 2, START_MS), 2);
    for (let nowMs = START_MS; nowMs < START_MS + WINDOW_MS; nowMs += 100)
      assert.equal(burst(rates, 2, 1, nowMs), 0);
    assert.equal(burst(rates, 2, 3, START_MS + WINDOW_MS), 2);
  });

  it('counts routes and clients apart', () => {
    const rates = limiter();
    const other = rateLimitKey('example.com:/other', 60);
    assert.notEqual(other, KEY);
    assert.equal(burst(rates, 1, 2, START_MS), 1);
    assert.equal(rates.admit(other, 1, ADDRESS, START_MS), 0);
    assert.equal(rates.admit(KEY, 1, parseAddress('192.0.2.2'), START_MS), 0);
    assert.equal(rates.admit(KEY, 1, null, START_MS), 0);
    assert.equal(rates.admit(KEY, 1, null, START_MS), WINDOW_MS);
  });

  it('counts IPv6 clients by /64, and none of them as an IPv4 client', () => {
    const rates = limiter();
    assert.equal(burst(rates, 1, 1, START_MS, parseAddress('2001:db8:0:1::1')), 1);
    assert.equal(burst(rates, 1, 1, START_MS, parseAddress('2001:db8:0:1:ffff::2')), 0);
    assert.equal(burst(rates, 1, 1, START_MS, parseAddress('2001:db8:0:2::1')), 1);
    assert.equal(burst(rates, 1, 1, START_MS, parseAddress('::c000:201:0:0:0:0')), 1);
    assert.equal(burst(rates, 1, 1, START_MS, ADDRESS), 1);
    assert.equal(burst(rates, 1, 1, START_MS, parseAddress('::ffff:192.0.2.1')), 0);
  });

  it('gives a route whose limit changes a new count, and one that stays the same its old', () => {
    assert.notEqual(rateLimitKey('a', 60), rateLimitKey('a', 61));
    assert.equal(rateLimitKey('a', 60), rateLimitKey('a', 60));
  });

  it('never admits more than the limit in any minute, and as many as possible up to GROUPS_MAX', () => {
    const gaps = fc.array(fc.oneof(fc.nat(40), fc.nat(3000), fc.constantFrom(0, 59_999, 60_000, 60_001)), {
      minLength: 1,
      maxLength: 400,
    });
    fc.assert(
      fc.property(
        fc.oneof(fc.integer({ min: 1, max: 80 }), fc.constantFrom(121, 180, 200)),
        gaps,
        (limit, steps) => {
          const rates = limiter(8);
          const admitted: number[] = [];
          let nowMs = 0x7fffff00;
          for (const step of steps) {
            nowMs += step;
            const inWindow = admitted.filter((time) => nowMs - time < WINDOW_MS);
            const waitMs = rates.admit(KEY, limit, ADDRESS, nowMs);
            if (waitMs === 0) {
              assert.ok(inWindow.length < limit, 'one too many');
              admitted.push(nowMs);
            } else {
              assert.ok(waitMs > 0 && waitMs <= WINDOW_MS);
              if (limit <= GROUPS_MAX) {
                assert.equal(inWindow.length, limit, 'one too few');
                assert.equal(waitMs, inWindow[0] + WINDOW_MS - nowMs);
              }
            }
          }
        },
      ),
    );
  });

  it('goes on over the turn of a 32-bit clock', () => {
    const rates = limiter();
    const before = 2 ** 32 - 10;
    assert.equal(burst(rates, 2, 3, before), 2);
    assert.equal(rates.admit(KEY, 2, ADDRESS, before + 20), WINDOW_MS - 20);
    assert.equal(burst(rates, 2, 3, before + WINDOW_MS), 2);
  });

  it('forgets a client that comes back after a month', () => {
    const rates = limiter();
    const monthMs = 30 * 86_400_000;
    assert.equal(burst(rates, 1, 2, START_MS), 1);
    assert.equal(burst(rates, 1, 2, START_MS + monthMs), 1);
  });

  it('takes the place of the client that was admitted longest ago, and says so', () => {
    const rates = limiter(8);
    const clients = Array.from({ length: 9 }, (_, index) => parseAddress(`10.0.0.${index}`));
    for (const [index, client] of clients.entries()) burst(rates, 1, 1, START_MS + index, client);
    assert.equal(rates.evictions, 1);
    for (const client of clients.slice(1)) assert.equal(burst(rates, 1, 1, START_MS + 100, client), 0);
    assert.equal(burst(rates, 1, 1, START_MS + 100, clients[0]), 1);
    assert.equal(rates.evictions, 2);
  });

  it('takes the place of nobody who is still counted while there are others', () => {
    const rates = limiter(8);
    for (let minute = 0; minute < 50; minute++) {
      burst(rates, 1, 1, START_MS + minute * WINDOW_MS, parseAddress(`10.0.1.${minute}`));
    }
    assert.equal(rates.evictions, 0);
  });

  it('spreads clients over its sets', () => {
    const rates = limiter(ENTRIES_DEFAULT);
    for (let index = 0; index < ENTRIES_DEFAULT / 4; index++) {
      rates.admit(KEY, 5, parseAddress(`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`), START_MS);
    }
    assert.ok(rates.evictions < 20, String(rates.evictions));
  });

  it('allocates nothing, whether it admits or refuses', () => {
    const rates = limiter();
    burst(rates, 600, 600, START_MS);
    const allocated = leastAllocated(200_000, () => {
      for (let request = 0; request < 200_000; request++)
        rates.admit(KEY, 600, ADDRESS, START_MS + (request >> 4));
    });
    assert.ok(allocated < 200_000, `${allocated} bytes`);
  });
});

describe('RateLimiter over several workers', () => {
  it('admits what one would, whoever is asked', () => {
    const [one, two] = twoLimiters(8);
    assert.equal(burst(one, 3, 2, START_MS), 2);
    assert.equal(burst(two, 3, 2, START_MS), 1);
    assert.equal(one.admit(KEY, 3, ADDRESS, START_MS + 1), WINDOW_MS - 1);
    assert.equal(two.admit(KEY, 3, ADDRESS, START_MS + WINDOW_MS), 0);
  });

  it('never admits too many where one clock is ahead of the other, by that of the latest', () => {
    const steps = fc.array(fc.record({ gap: fc.constantFrom(0, 1, 500, 30_000), second: fc.boolean() }), {
      minLength: 1,
      maxLength: 300,
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 50 }),
        steps,
        (limit, ahead, all) => {
          const [one, two] = twoLimiters(8);
          const admitted: number[] = [];
          let nowMs = START_MS;
          let latestMs = 0;
          for (const { gap, second } of all) {
            nowMs += gap;
            const clockMs = second ? nowMs + ahead : nowMs;
            if ((second ? two : one).admit(KEY, limit, ADDRESS, clockMs) !== 0) continue;
            latestMs = Math.max(latestMs, clockMs);
            admitted.push(latestMs);
            assert.ok(admitted.filter((time) => latestMs - time < WINDOW_MS).length <= limit, 'one too many');
          }
        },
      ),
    );
  });

  it('has one clock where processes have several', () => {
    const words = new Int32Array(rateLimiterBytes(8) / 4);
    const one = new RateLimiter(words, 1, 0, 0);
    const two = new RateLimiter(words, 1, 1, 500_000);
    assert.equal(one.admit(KEY, 1, ADDRESS, 600_000), 0);
    assert.equal(two.admit(KEY, 1, ADDRESS, 100_010), WINDOW_MS - 10);
  });

  for (const stopAt of ['locked', 'frozen', 'named'] as const) {
    it(`goes on after a worker that ended while it held a lock (${stopAt}), with the places that it left`, () => {
      const [one, two] = twoLimiters(8);
      one.whileHeld = (at) => {
        if (at === stopAt) throw new Error('killed');
      };
      assert.throws(() => one.admit(KEY, 1, ADDRESS, START_MS), /killed/);
      const others = Array.from({ length: 7 }, (_, index) => parseAddress(`10.1.0.${index}`));
      for (const other of others) assert.equal(burst(two, 1, 2, START_MS, other), 1);
      assert.equal(burst(two, 1, 2, START_MS + 11_000), 1);
      assert.equal(two.evictions, 0);
    });
  }

  it('is bounded and answers within its range, whatever another worker wrote into its memory', () => {
    const wild = fc.record({
      fill: fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), { minLength: 1, maxLength: 40 }),
      state: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      limit: fc.integer({ min: 1, max: 100_000 }),
      nowMs: fc.integer({ min: 0, max: 2 ** 40 }),
    });
    fc.assert(
      fc.property(wild, ({ fill, state, limit, nowMs }) => {
        const words = new Int32Array(rateLimiterBytes(8) / 4);
        const rates = new RateLimiter(words, 3, 0);
        rates.admit(KEY, limit, ADDRESS, nowMs);
        const known = words.findIndex((word) => word === KEY * 2);
        for (let at = 0; at < 8 * 64; at++) if (at % 64 > 2) words[at] = fill[at % fill.length];
        words[known + 3] = state;
        for (let request = 0; request < 5; request++) {
          const waitMs = rates.admit(KEY, limit, ADDRESS, nowMs + request);
          assert.ok(Number.isInteger(waitMs) && waitMs >= 0 && waitMs <= WINDOW_MS, `${waitMs} ms`);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('grows by nothing when a million clients come', () => {
    const words = new Int32Array(rateLimiterBytes() / 4);
    const rates = new RateLimiter(words, 0x5eed);
    const client = { family: 6, word0: 0, word1: 0, word3: 0 };
    const { arrayBuffers } = process.memoryUsage();
    const left = leftBy(() => {
      for (let number = 0; number < 1_000_000; number++) {
        client.word0 = 0x20010db8;
        client.word1 = number;
        assert.equal(rates.admit(KEY, 5, client, START_MS + (number >> 6)), 0);
      }
    });
    assert.ok(left < 2_000_000, `${left} bytes`);
    assert.ok(process.memoryUsage().arrayBuffers <= arrayBuffers);
  });
});
