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
    const before = process.memoryUsage().heapUsed;
    for (let request = 0; request < 200_000; request++)
      rates.admit(KEY, 600, ADDRESS, START_MS + (request >> 4));
    assert.ok(process.memoryUsage().heapUsed - before < 1_000_000);
  });
});
