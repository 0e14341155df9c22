/** Strikes of addresses, counted by real processes over one memfd at once, some of which are stopped or killed meanwhile. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  ClientStrikes,
  STRIKES_REFUSED,
  type StruckAt,
  strikeBytes,
} from '../../src/shared/client-strikes.ts';
import { pause } from '../fixtures/patience.ts';
import type { StrikeTask } from './hammer-process.ts';
import { clientOf, HammerMemory, HammerProcess, withProcesses } from './hammer-words.ts';

const START_MS = 1_000_000;
const HALF_LIFE_MS = 10_000;
const ONE_SET = 8;
const ENTRIES = 16_384;
/** So few that no set is full. */
const NEWCOMERS = 1200;
const MANY_TALLIES = 512;

const TASK: StrikeTask = {
  kind: 'strikes',
  entries: ENTRIES,
  slot: 0,
  nowMs: START_MS,
  halfLifeMs: HALF_LIFE_MS,
  firstClient: 0,
  clients: NEWCOMERS,
  rounds: 1,
  stopAt: '',
  tally: 0,
  tallies: 1,
};

/** The strikes of each client, seen by a worker that comes last. */
function seen(memory: HammerMemory, first: number, count: number, nowMs = START_MS): number[] {
  const table = new ClientStrikes(memory.words, 0x5eed, 200);
  return Array.from({ length: count }, (_, index) =>
    table.strikesOf(clientOf(first + index), nowMs, HALF_LIFE_MS),
  );
}

const all = (count: number, strikes: number): number[] => Array.from({ length: count }, () => strikes);

describe('strikes of addresses over several processes', () => {
  for (const count of [2, 3, 4])
    it(`are exactly ${count} where ${count} of them cut the same newcomers once each`, async () => {
      await withProcesses(count, strikeBytes(ENTRIES), async (memory, processes) => {
        await Promise.all(processes.map((each, slot) => each.run({ ...TASK, slot })));
        assert.equal(memory.tally[0], count * NEWCOMERS);
        assert.deepEqual(seen(memory, 0, NEWCOMERS), all(NEWCOMERS, count));
      });
    });

  it('are at each moment what one table would say, while they halve and are counted on', async () => {
    await withProcesses(2, strikeBytes(ENTRIES), async (memory, processes) => {
      const model = new ClientStrikes(new Int32Array(strikeBytes(ONE_SET) / 4), 1);
      for (const halfLives of [0, 0.5, 1.6, 2, 3.2, 5.3, 5.4, 6.5]) {
        const nowMs = START_MS + halfLives * HALF_LIFE_MS;
        await Promise.all(processes.map((each, slot) => each.run({ ...TASK, clients: 500, slot, nowMs })));
        let expected = 0;
        for (let cut = 0; cut < processes.length; cut++)
          expected = model.strike(clientOf(0), nowMs, HALF_LIFE_MS);
        assert.deepEqual(seen(memory, 0, 500, nowMs), all(500, expected), `after ${halfLives} half-lives`);
      }
    });
  });

  it('are exact in one set that all of them fight for', async () => {
    await withProcesses(3, strikeBytes(ONE_SET), async (memory, processes) => {
      // Half of the set: places that were given up with a lock are none for a while.
      const clients = ONE_SET / 2;
      for (let round = 0; round < 100; round++) {
        const nowMs = START_MS + round * 5 * HALF_LIFE_MS;
        const task = { ...TASK, entries: ONE_SET, clients, firstClient: round * clients, nowMs };
        await Promise.all(processes.map((each, slot) => each.run({ ...task, slot })));
        assert.deepEqual(seen(memory, round * clients, clients, nowMs), all(clients, 3), `round ${round}`);
      }
    });
  });

  it('of who is refused outlast any crowd that is cut once', async () => {
    await withProcesses(3, strikeBytes(1024), async (memory, processes) => {
      const task = { ...TASK, entries: 1024 };
      await processes[0].run({ ...task, clients: 100, rounds: STRIKES_REFUSED });
      await Promise.all(
        processes.map((each, slot) => each.run({ ...task, slot, firstClient: 1000 + slot * 10_000 })),
      );
      assert.deepEqual(seen(memory, 0, 100), all(100, STRIKES_REFUSED));
    });
  });

  for (const stopAt of ['locked', 'frozen', 'named'] as const satisfies readonly StruckAt[]) {
    it(`go on when a process is killed that holds a lock (${stopAt})`, async () => {
      await withProcesses(2, strikeBytes(ONE_SET), async (memory, [one, two]) => {
        const task = { ...TASK, entries: ONE_SET, clients: 3 };
        one.begin({ ...task, stopAt });
        assert.equal(await one.heard(), 'held');
        await one.kill();
        assert.equal(await two.run({ ...task, slot: 1, rounds: 2 }), 6);
        assert.deepEqual(seen(memory, 0, 3), all(3, 2));
        // The place that the dead one was giving away is given to others, later.
        const nowMs = START_MS + 3 * HALF_LIFE_MS;
        const many = { ...task, slot: 1, firstClient: 100, clients: ONE_SET, rounds: 2, nowMs };
        assert.equal(await two.run(many), 2 * ONE_SET);
        assert.deepEqual(seen(memory, 100, ONE_SET, nowMs), all(ONE_SET, 2));
      });
    });

    it(`are exact when a process that held a lock goes on after it was taken over (${stopAt})`, async () => {
      await withProcesses(2, strikeBytes(ONE_SET), async (memory, [one, two]) => {
        const task = { ...TASK, entries: ONE_SET, clients: 3 };
        one.begin({ ...task, stopAt });
        assert.equal(await one.heard(), 'held');
        assert.equal(await two.run({ ...task, slot: 1 }), 3);
        assert.deepEqual(seen(memory, 0, 3), all(3, 1));
        assert.equal(await one.goOn(), 3);
        assert.deepEqual(seen(memory, 0, 3), all(3, 2));
      });
    });
  }

  it('are lost by nobody when processes are killed at random moments', async () => {
    const memory = new HammerMemory(strikeBytes(ENTRIES));
    const survivor = await HammerProcess.start(memory);
    try {
      for (let round = 0; round < 12; round++) {
        // One tally for each client; what an earlier round left behind is forgotten by then.
        memory.tally.fill(0);
        const nowMs = START_MS + round * 5 * HALF_LIFE_MS;
        const firstClient = round * MANY_TALLIES;
        const task = { ...TASK, nowMs, firstClient, clients: MANY_TALLIES, tallies: MANY_TALLIES };
        const victim = await HammerProcess.start(memory);
        const survived = survivor.run({ ...task, slot: 9 });
        victim.begin({ ...task, slot: round % 8, rounds: 2 });
        await pause((round * 3) % 8);
        await victim.kill();
        assert.equal(await survived, MANY_TALLIES);
        let untold = 0;
        for (const [index, strikes] of seen(memory, firstClient, MANY_TALLIES, nowMs).entries()) {
          const told = memory.tally[(firstClient + index) % MANY_TALLIES];
          assert.ok(told >= 1 && strikes >= told, `${strikes} strikes of ${told}`);
          untold += strikes - told;
        }
        // The one that was counted when its process was killed, before that could tell.
        assert.ok(untold <= 1, `${untold} too many`);
      }
    } finally {
      await survivor.kill();
      memory.close();
    }
  });
});
