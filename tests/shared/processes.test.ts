/** What workers share, used by real processes over one memfd at once, some of which are killed meanwhile. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { connectionBytes } from '../../src/shared/connection-counts.ts';
import { HouseBoard, houseBytes } from '../../src/shared/house-board.ts';
import {
  GROUPS_MAX,
  type HeldAt,
  RateLimiter,
  rateLimiterBytes,
  WINDOW_MS,
} from '../../src/shared/rate-limit.ts';
import { pause } from '../fixtures/patience.ts';
import type { RateTask } from './hammer-process.ts';
import { clientOf, HammerMemory, HammerProcess, houseOf, withProcesses } from './hammer-words.ts';

const START_MS = 1_000_000;

const RATES: RateTask = {
  kind: 'rates',
  entries: 1024,
  slot: 0,
  limit: 60,
  nowMs: START_MS,
  clients: 4,
  tries: 2000,
  stopAt: '',
  tally: 0,
  tallies: 1,
  firstNewcomer: 1000,
  newcomers: 0,
};

describe('request rates over several processes', () => {
  for (const count of [2, 4]) {
    it(`are exactly the limit in any window with ${count} of them at the same clients`, async () => {
      await withProcesses(count, rateLimiterBytes(RATES.entries), async (_memory, processes) => {
        for (const limit of [1, 7, GROUPS_MAX]) {
          // What one limiter admits to each client at these moments is what all of them together must.
          const model = new RateLimiter(new Int32Array(rateLimiterBytes(8) / 4), 1);
          const nowsMs = [0, 100, 30_000, WINDOW_MS - 1, WINDOW_MS, WINDOW_MS + 99, WINDOW_MS + 100, 150_000];
          for (const [index, atMs] of nowsMs.entries()) {
            // Not all of the limit at the first moment.
            const tries = index < 3 ? Math.ceil(limit / 4) : 2000;
            const nowMs = START_MS + limit * 1_000_000 + atMs;
            const results = await Promise.all(
              processes.map((each, slot) => each.run({ ...RATES, slot, limit, nowMs, tries })),
            );
            let expected = 0;
            for (let request = 0; request < tries * count; request++)
              if (model.admit(1, limit, clientOf(0), nowMs) === 0) expected++;
            const admitted = results.reduce((sum: number, each) => sum + Number(each), 0);
            assert.equal(admitted, expected * RATES.clients, `limit ${limit} at ${atMs} ms`);
          }
        }
      });
    });
  }

  it('count in groups above sixty a minute, and a burst is exactly the limit', async () => {
    await withProcesses(4, rateLimiterBytes(RATES.entries), async (memory, processes) => {
      const task = { ...RATES, limit: 1001, clients: 3, tallies: 3 };
      await Promise.all(processes.map((each, slot) => each.run({ ...task, slot })));
      assert.deepEqual([...memory.tally.subarray(0, 3)], [1001, 1001, 1001]);
    });
  });

  it('stay exact while clients are forgotten and come back, in sets that all of them fight for', async () => {
    // One set of eight places, and sixteen clients with a limit that nobody reaches: all are admitted, none is stuck.
    await withProcesses(4, rateLimiterBytes(8), async (memory, processes) => {
      const task = { ...RATES, entries: 8, limit: 100_000, clients: 16, tries: 500, tallies: 16 };
      await Promise.all(processes.map((each, slot) => each.run({ ...task, slot })));
      assert.deepEqual(
        [...memory.tally.subarray(0, 16)],
        Array.from({ length: 16 }, () => 2000),
      );
    });
  });

  for (const stopAt of ['locked', 'frozen', 'named'] as const satisfies readonly HeldAt[]) {
    it(`go on when a process is killed that holds a lock (${stopAt})`, async () => {
      await withProcesses(2, rateLimiterBytes(8), async (_memory, [one, two]) => {
        const task = { ...RATES, entries: 8, clients: 3, tries: 100 };
        one.begin({ ...task, stopAt });
        assert.equal(await one.heard(), 'held');
        await one.kill();
        assert.equal(await two.run({ ...task, slot: 1 }), 180);
        // What the dead one had taken is given to others, later.
        const many = { ...task, slot: 1, clients: 8, tries: 100, nowMs: START_MS + 2 * WINDOW_MS };
        assert.equal(await two.run(many), 480);
      });
    });

    it(`stay sane when a process that held a lock goes on after it was taken over (${stopAt})`, async () => {
      await withProcesses(2, rateLimiterBytes(8), async (memory, [one, two]) => {
        const task = { ...RATES, entries: 8, clients: 3, tries: 100, tallies: 3 };
        one.begin({ ...task, stopAt });
        assert.equal(await one.heard(), 'held');
        assert.equal(await two.run({ ...task, slot: 1 }), 180);
        assert.equal(await one.goOn(), 0);
        assert.deepEqual([...memory.tally.subarray(0, 3)], [60, 60, 60]);
      });
    });
  }

  it('lose nobody’s count when processes are killed at random moments', async () => {
    const entries = 65_536;
    const memory = new HammerMemory(rateLimiterBytes(entries));
    const limit = 800_000;
    const task = { ...RATES, entries, limit, clients: 4, tries: 150_000, tallies: 4 };
    let killed = 0;
    const survivor = await HammerProcess.start(memory);
    const survived = survivor.run({ ...task, slot: 9 });
    for (let round = 0; round < 12; round++) {
      const victim = await HammerProcess.start(memory);
      victim.begin({ ...task, slot: round % 8, firstNewcomer: 1000 * (round + 1), newcomers: 500 });
      await pause((round * 7) % 40);
      await victim.kill();
      killed++;
    }
    assert.equal(typeof (await survived), 'number');
    await survivor.kill();
    // A client of its own: whoever is still counted has its place.
    const rates = new RateLimiter(memory.words, 0x5eed, 10);
    for (const client of [0, 1, 2, 3]) {
      let left = 0;
      while (rates.admit(1, limit, clientOf(client), START_MS) === 0) left++;
      const total = memory.tally[client] + left;
      // What was admitted and not counted before its process was killed, once each at most.
      assert.ok(total <= limit && total >= limit - killed, `client ${client}: ${total} of ${limit}`);
    }
    memory.close();
  });
});

describe('counts of connections over several processes', () => {
  const slots = 4;
  const task = {
    kind: 'connections',
    slots,
    totalMax: 30,
    perAddressMax: 6,
    keeps: false,
    clients: 11,
    tries: 30_000,
  } as const;

  it('never exceed a limit, of all or of one address, and end at nothing', async () => {
    await withProcesses(slots, connectionBytes(slots), async (memory, processes) => {
      await Promise.all(processes.map((each, slot) => each.run({ ...task, slot })));
      assert.equal(memory.tally[0], 0);
      assert.ok(memory.tally[1] > 0 && memory.tally[1] <= 30, `at most ${memory.tally[1]} of 30`);
      for (let client = 0; client < 11; client++) {
        const most = memory.tally[2 + client * 2 + 1];
        assert.ok(most > 0 && most <= 6, `client ${client}: at most ${most} of 6`);
      }
      assert.ok(memory.words.subarray(0, slots * 16).every((count) => count === 0));
    });
  });

  for (const { name, change, expected } of [
    { name: 'of all', change: {}, expected: 30 },
    { name: 'of one address', change: { totalMax: 1000 }, expected: 66 },
  ]) {
    it(`reach a limit ${name} exactly where nobody gives anything back`, async () => {
      await withProcesses(slots, connectionBytes(slots), async (_memory, processes) => {
        const results = await Promise.all(
          processes.map((each, slot) => each.run({ ...task, ...change, keeps: true, slot })),
        );
        assert.equal(
          results.reduce((sum: number, each) => sum + Number(each), 0),
          expected,
        );
      });
    });
  }
});

describe('the house’s board over several processes', () => {
  it('is read whole or not at all while it is written', async () => {
    await withProcesses(1, houseBytes(), async (memory, [writer]) => {
      const board = new HouseBoard(memory.words);
      const done = writer.run({ kind: 'house', writes: 20_000 });
      let ended = false;
      void done.then(() => {
        ended = true;
      });
      while (!ended) {
        for (let reads = 0; reads < 200; reads++) {
          const house = board.read();
          if (house === null) continue;
          assert.deepEqual(house, houseOf(house.generation));
        }
        await pause(0);
      }
      assert.equal(board.read()?.generation, 20_000);
    });
  });
});
