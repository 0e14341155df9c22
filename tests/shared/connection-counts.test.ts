import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../src/edge/ip-list.ts';
import {
  ConnectionCounts,
  connectionBytes,
  OVER_ADDRESS,
  OVER_TOTAL,
  TAKEN,
} from '../../src/shared/connection-counts.ts';
import { leastAllocated, leftBy } from '../fixtures/heap.ts';
import { clientOf } from './hammer-words.ts';

function workers(slots: number): ConnectionCounts[] {
  const words = new Int32Array(connectionBytes(slots) / 4);
  return Array.from({ length: slots }, (_, own) => new ConnectionCounts(words, slots, own, 0x5eed));
}

const ADDRESS = parseAddress('192.0.2.1');

describe('ConnectionCounts', () => {
  it('takes as many as there may be of all, and the next when one has been given back', () => {
    const [one, two] = workers(2);
    assert.equal(one.take(ADDRESS, 2, 0), TAKEN);
    assert.equal(two.take(null, 2, 0), TAKEN);
    assert.equal(two.take(ADDRESS, 2, 0), OVER_TOTAL);
    assert.equal(one.take(ADDRESS, 2, 0), OVER_TOTAL);
    assert.deepEqual([one.total, one.ownTotal, two.ownTotal], [2, 1, 1]);
    one.give(ADDRESS);
    assert.equal(two.take(ADDRESS, 2, 0), TAKEN);
  });

  it('takes as many as there may be of an address, IPv6 by its /64', () => {
    const [one, two] = workers(2);
    const first = parseAddress('2001:db8:0:1::1');
    const second = parseAddress('2001:db8:0:1:ffff::2');
    assert.equal(one.take(first, 0, 2), TAKEN);
    assert.equal(two.take(second, 0, 2), TAKEN);
    assert.equal(one.take(second, 0, 2), OVER_ADDRESS);
    assert.equal(one.take(parseAddress('2001:db8:0:2::1'), 0, 2), TAKEN);
    assert.equal(two.ofAddress(first), 2);
    two.give(second);
    assert.equal(one.take(first, 0, 2), TAKEN);
  });

  it('has no limit for one address on Unix sockets', () => {
    const [one] = workers(1);
    for (let count = 0; count < 10; count++) assert.equal(one.take(null, 0, 1), TAKEN);
    for (let count = 0; count < 10; count++) one.give(null);
    assert.equal(one.total, 0);
  });

  it('is what a map would be, whichever workers take and give', () => {
    const steps = fc.array(fc.record({ worker: fc.nat(2), client: fc.nat(40), give: fc.boolean() }), {
      maxLength: 300,
    });
    fc.assert(
      fc.property(fc.nat(30), fc.nat(5), steps, (totalMax, perAddressMax, all) => {
        const each = workers(3);
        const held: { worker: number; client: number }[] = [];
        for (const { worker, client, give } of all) {
          const gone = give ? held.findIndex((one) => one.worker === worker && one.client === client) : -1;
          if (gone >= 0) {
            held.splice(gone, 1);
            each[worker].give(clientOf(client));
            continue;
          }
          const same = held.filter((one) => one.client === client).length;
          const expected =
            totalMax > 0 && held.length >= totalMax
              ? OVER_TOTAL
              : perAddressMax > 0 && same >= perAddressMax
                ? OVER_ADDRESS
                : TAKEN;
          assert.equal(each[worker].take(clientOf(client), totalMax, perAddressMax), expected);
          if (expected === TAKEN) held.push({ worker, client });
          assert.equal(each[0].total, held.length);
          assert.equal(
            each[2].ofAddress(clientOf(client)),
            held.filter((one) => one.client === client).length,
          );
        }
      }),
      { numRuns: 60 },
    );
  });

  it('forgets what a slot held when it is cleared, and nothing else', () => {
    const [one, two] = workers(2);
    for (let client = 0; client < 100; client++) {
      one.take(clientOf(client), 0, 0);
      two.take(clientOf(client), 0, 0);
    }
    two.clear(0);
    assert.deepEqual([two.total, one.ownTotal, two.ownTotal], [100, 0, 100]);
    for (let client = 0; client < 100; client++) assert.equal(two.ofAddress(clientOf(client)), 1);
  });

  it('counts a million addresses in the memory that it has, and those that it has no place for only in all', () => {
    const [one] = workers(1);
    const left = leftBy(() => {
      for (let client = 0; client < 1_000_000; client++)
        assert.equal(one.take(clientOf(client), 0, 1), TAKEN);
    });
    assert.ok(left < 2_000_000, `${left} bytes`);
    assert.equal(one.total, 1_000_000);
    assert.ok(one.uncounted >= 1_000_000 - 32_768);
    for (let client = 0; client < 1_000_000; client++) one.give(clientOf(client));
    assert.equal(one.total, 0);
    for (let client = 0; client < 1000; client++) assert.equal(one.ofAddress(clientOf(client)), 0);
  });

  it('counts nearly all of ten thousand addresses at once by themselves', () => {
    const [one] = workers(1);
    for (let client = 0; client < 10_000; client++) one.take(clientOf(client), 0, 1);
    assert.ok(one.uncounted < 50, `${one.uncounted}`);
  });

  it('allocates nothing', () => {
    const [one] = workers(2);
    const clients = Array.from({ length: 100 }, (_, client) => clientOf(client));
    for (const client of clients) one.take(client, 1000, 10);
    const allocated = leastAllocated(200_000, () => {
      for (let round = 0; round < 2000; round++) {
        for (const client of clients) {
          one.take(client, 1000, 10);
          one.give(client);
        }
      }
    });
    assert.ok(allocated < 200_000, `${allocated} bytes`);
  });
});
