import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { AddressWords, parseAddress } from '../../src/edge/ip-list.ts';
import { ClientStrikes, STRIKES_REFUSED, strikeBytes } from '../../src/shared/client-strikes.ts';
import { clientOf } from './hammer-words.ts';

const HALF_LIFE_MS = 10_000;
const START_MS = 1_000_000;
/** Times are kept in ticks of so much. */
const TICK_MS = 64;
/** One set: whoever comes shares it with all others. */
const ONE_SET = 8;
const DAY_MS = 86_400_000;
/** A state that says that the place is being given to somebody since START_MS. */
const FROZEN_AT_START = (7 << 26) | (START_MS / TICK_MS);

function wordsOf(entries = 1024): Int32Array {
  return new Int32Array(strikeBytes(entries) / 4);
}

function tableOf(entries = 1024): ClientStrikes {
  return new ClientStrikes(wordsOf(entries), 0x5eed);
}

function address(text: string): AddressWords {
  const words = parseAddress(text);
  assert.ok(words instanceof AddressWords);
  return words;
}

function strikeOften(table: ClientStrikes, client: number, times: number, nowMs = START_MS): number {
  let strikes = 0;
  for (let time = 0; time < times; time++) strikes = table.strike(clientOf(client), nowMs, HALF_LIFE_MS);
  return strikes;
}

/** The strikes of clients 0 to `count - 1`. */
function allOf(table: ClientStrikes, count: number, nowMs = START_MS): number[] {
  return Array.from({ length: count }, (_, client) => table.strikesOf(clientOf(client), nowMs, HALF_LIFE_MS));
}

describe('strikes of client addresses', () => {
  it('count for IPv4 by address and for IPv6 by /64', () => {
    const table = tableOf();
    for (const text of ['192.0.2.1', '2001:db8::1', '198.51.100.200', 'ffff:ffff:ffff:ffff::'])
      assert.equal(table.strike(address(text), START_MS, HALF_LIFE_MS), 1);
    const left = (text: string): number => table.strikesOf(address(text), START_MS, HALF_LIFE_MS);
    assert.equal(left('192.0.2.1'), 1);
    assert.equal(left('192.0.2.2'), 0);
    assert.equal(left('198.51.100.200'), 1);
    assert.equal(left('2001:db8::ffff'), 1);
    assert.equal(left('2001:db8:0:1::1'), 0);
    assert.equal(left('ffff:ffff:ffff:ffff::1'), 1);
    assert.equal(left('255.255.255.255'), 0);
  });

  it('are never those of an IPv4 address for the /64 of the same words', () => {
    const table = tableOf(ONE_SET);
    table.strike(address('0:0:c000:201::'), START_MS, HALF_LIFE_MS);
    assert.equal(table.strikesOf(address('192.0.2.1'), START_MS, HALF_LIFE_MS), 0);
  });

  it('are counted up to those that are refused, and half of them are forgotten with each half-life', () => {
    const table = tableOf();
    assert.equal(strikeOften(table, 1, 9), STRIKES_REFUSED);
    const after = (ms: number): number => table.strikesOf(clientOf(1), START_MS + ms, HALF_LIFE_MS);
    const moments = [0, HALF_LIFE_MS - TICK_MS, HALF_LIFE_MS + TICK_MS, 2 * HALF_LIFE_MS - TICK_MS];
    assert.deepEqual(moments.map(after), [4, 4, 2, 2]);
    assert.deepEqual(
      [2 * HALF_LIFE_MS + TICK_MS, 3 * HALF_LIFE_MS + TICK_MS, 40 * DAY_MS].map(after),
      [1, 0, 0],
    );
  });

  it('begin to halve anew with each strike', () => {
    const table = tableOf();
    strikeOften(table, 1, 4);
    assert.equal(strikeOften(table, 1, 1, START_MS + HALF_LIFE_MS + TICK_MS), 3);
    assert.equal(table.strikesOf(clientOf(1), START_MS + 2 * HALF_LIFE_MS, HALF_LIFE_MS), 3);
  });

  it('are nobody’s where nothing is remembered, and no peer’s on a Unix socket', () => {
    const table = tableOf();
    assert.equal(table.strike(clientOf(1), START_MS, 0), 0);
    assert.equal(table.strike(null, START_MS, HALF_LIFE_MS), 0);
    assert.equal(table.strikesOf(clientOf(1), START_MS, HALF_LIFE_MS), 0);
    assert.equal(table.strikesOf(null, START_MS, HALF_LIFE_MS), 0);
    strikeOften(table, 1, 1);
    assert.equal(table.strikesOf(clientOf(1), START_MS, 0), 0);
  });

  it('count when the clock comes round', () => {
    for (const aroundMs of [2 ** 31, 2 ** 32]) {
      const table = tableOf();
      strikeOften(table, 1, 3, aroundMs - 1000);
      assert.equal(strikeOften(table, 1, 1, aroundMs + 1000), 4);
      assert.equal(table.strikesOf(clientOf(1), aroundMs + 2000, HALF_LIFE_MS), 4);
      assert.equal(table.strikesOf(clientOf(1), aroundMs + HALF_LIFE_MS + 1100, HALF_LIFE_MS), 2);
    }
  });

  it('count in all workers, whose clocks were read at other times and have other origins', () => {
    const words = wordsOf();
    const one = new ClientStrikes(words, 0x5eed, 0, 5000);
    const two = new ClientStrikes(words, 0x5eed, 1, 0);
    assert.equal(strikeOften(one, 1, 1, START_MS), 1);
    // Its turn began before: nothing is older than now.
    assert.equal(strikeOften(two, 1, 1, START_MS + 4000), 2);
    assert.equal(one.strikesOf(clientOf(1), START_MS + HALF_LIFE_MS - TICK_MS, HALF_LIFE_MS), 2);
    assert.equal(two.strikesOf(clientOf(1), START_MS + 5000 + HALF_LIFE_MS + TICK_MS, HALF_LIFE_MS), 1);
  });

  it('are what a plain list would say, for any cuts in any order', () => {
    const cut = fc.record({
      client: fc.nat(5),
      worker: fc.nat(2),
      ticksLater: fc.oneof(fc.constant(0), fc.nat(400)),
    });
    fc.assert(
      fc.property(fc.array(cut, { maxLength: 60 }), (cuts) => {
        const words = wordsOf(ONE_SET);
        const workers = [0, 1, 2].map((slot) => new ClientStrikes(words, 0x5eed, slot));
        const list = new Map<number, { strikes: number; atMs: number }>();
        let nowMs = 0;
        for (const { client, worker, ticksLater } of cuts) {
          nowMs += ticksLater * TICK_MS;
          const known = list.get(client) ?? { strikes: 0, atMs: nowMs };
          const left = Math.floor(known.strikes / 2 ** Math.floor((nowMs - known.atMs) / HALF_LIFE_MS));
          assert.equal(workers[worker].strikesOf(clientOf(client), nowMs, HALF_LIFE_MS), left);
          const strikes = Math.min(left + 1, STRIKES_REFUSED);
          assert.equal(workers[(worker + 1) % 3].strike(clientOf(client), nowMs, HALF_LIFE_MS), strikes);
          list.set(client, { strikes, atMs: nowMs });
        }
      }),
    );
  });
});

describe('a full table of strikes', () => {
  it('gives the place of who has one strike, and was cut longest ago, to a newcomer', () => {
    const table = tableOf(ONE_SET);
    for (let client = 0; client < ONE_SET; client++)
      strikeOften(table, client, client === 0 ? 2 : 1, START_MS + client * TICK_MS);
    const nowMs = START_MS + ONE_SET * TICK_MS;
    assert.equal(strikeOften(table, 100, 1, nowMs), 1);
    assert.deepEqual(allOf(table, ONE_SET, nowMs), [2, 0, 1, 1, 1, 1, 1, 1]);
    assert.equal(table.strikesOf(clientOf(100), nowMs, HALF_LIFE_MS), 1);
  });

  it('prefers a place whose strikes are all forgotten', () => {
    const table = tableOf(ONE_SET);
    strikeOften(table, 0, 1);
    const laterMs = START_MS + HALF_LIFE_MS + TICK_MS;
    for (let client = 1; client < ONE_SET; client++) strikeOften(table, client, 1, laterMs);
    assert.equal(strikeOften(table, 100, 1, laterMs), 1);
    assert.deepEqual(allOf(table, ONE_SET, laterMs), [0, 1, 1, 1, 1, 1, 1, 1]);
  });

  it('forgets nobody who was cut twice, however many others are cut once', () => {
    const table = tableOf();
    const offenders = 200;
    for (let client = 0; client < offenders; client++) strikeOften(table, client, 2 + (client % 3));
    const before = allOf(table, offenders);
    for (let other = 1000; other < 50_000; other++) strikeOften(table, other, 1);
    assert.deepEqual(allOf(table, offenders), before);
    assert.deepEqual(before.slice(0, 6), [2, 3, 4, 2, 3, 4]);
  });

  it('remembers no newcomer where all were cut twice, until half of that is forgotten', () => {
    const table = tableOf(ONE_SET);
    for (let client = 0; client < ONE_SET; client++) strikeOften(table, client, 2);
    assert.equal(strikeOften(table, 100, 5), 0);
    assert.equal(table.strikesOf(clientOf(100), START_MS, HALF_LIFE_MS), 0);
    assert.deepEqual(allOf(table, ONE_SET), Array(ONE_SET).fill(2));
    assert.equal(strikeOften(table, 100, 1, START_MS + HALF_LIFE_MS + TICK_MS), 1);
  });

  it('never gives a client the strikes of another', () => {
    const table = tableOf(64);
    for (let client = 0; client < 5000; client++) strikeOften(table, client, 1 + (client % 4));
    for (let client = 5000; client < 20_000; client++)
      assert.equal(table.strikesOf(clientOf(client), START_MS, HALF_LIFE_MS), 0);
    for (const [client, strikes] of allOf(table, 5000).entries()) assert.ok(strikes <= 1 + (client % 4));
  });

  it('has its sets chosen by the seed', () => {
    // Clients that fill one set under one seed are spread under another.
    const crowd: number[] = [];
    for (let client = 1; crowd.length < 20 && client < 10_000; client++) {
      const words = wordsOf(64);
      const table = new ClientStrikes(words, 0x5eed);
      strikeOften(table, 0, 1);
      const first = words.findIndex((word) => word !== 0) >> 5;
      strikeOften(table, client, 1);
      const set = words.subarray(first << 5, (first + 1) << 5);
      if (set.some((word) => word === clientOf(client).word3)) crowd.push(client);
    }
    const placesWith = (seed: number): number => {
      const table = new ClientStrikes(wordsOf(64), seed);
      return crowd.filter((client) => strikeOften(table, client, 2) > 0).length;
    };
    assert.equal(placesWith(0x5eed), ONE_SET);
    assert.ok(placesWith(0x5eed + 1) > ONE_SET);
  });
});

describe('strikes in memory that anybody has written', () => {
  for (const fill of [-1, 0x7fffffff, 0x01010101, FROZEN_AT_START, 0x80000000 | 0])
    it(`are a number of strikes, in bounded time (${fill})`, () => {
      const words = wordsOf(ONE_SET);
      words.fill(fill);
      const table = new ClientStrikes(words, 0x5eed);
      for (let client = 0; client < 20; client++) {
        const strikes = strikeOften(table, client, 2);
        assert.ok(strikes >= 0 && strikes <= STRIKES_REFUSED);
      }
      for (const strikes of allOf(table, 20)) assert.ok(strikes >= 0 && strikes <= STRIKES_REFUSED);
    });
});
