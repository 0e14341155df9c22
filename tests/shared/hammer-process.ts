/**
 * One process of several that use the same shared memory as fast as they can; tests start and kill it. Its memory is
 * descriptor 3: TALLY_WORDS words that tests count in, then what is tested.
 */

import { assert, unreachable } from '../../src/base/assert.ts';
import { ClientStrikes, type StruckAt, strikeBytes } from '../../src/shared/client-strikes.ts';
import { ConnectionCounts, connectionBytes, TAKEN } from '../../src/shared/connection-counts.ts';
import { HouseBoard, houseBytes } from '../../src/shared/house-board.ts';
import { type HeldAt, RateLimiter, rateLimiterBytes } from '../../src/shared/rate-limit.ts';
import { mapSharedMemory } from '../../src/sys/descriptors.ts';
import { clientOf, houseOf, TALLY_BYTES } from './hammer-words.ts';

export interface RateTask {
  readonly kind: 'rates';
  readonly entries: number;
  readonly slot: number;
  readonly limit: number;
  readonly nowMs: number;
  /** How many clients take turns, and how often each is tried. */
  readonly clients: number;
  readonly tries: number;
  /** Clients that come once, so that places are taken all the time. */
  readonly firstNewcomer: number;
  readonly newcomers: number;
  /** Where to stop, holding a lock; empty: nowhere. */
  readonly stopAt: HeldAt | '';
  /** The word that counts what was admitted: `tally` + the client's number, modulo `tallies`. */
  readonly tally: number;
  readonly tallies: number;
}

export interface ConnectionTask {
  readonly kind: 'connections';
  readonly slots: number;
  readonly slot: number;
  readonly totalMax: number;
  readonly perAddressMax: number;
  /** Gives nothing back. */
  readonly keeps: boolean;
  readonly clients: number;
  readonly tries: number;
}

export interface HouseTask {
  readonly kind: 'house';
  readonly writes: number;
}

export interface StrikeTask {
  readonly kind: 'strikes';
  readonly entries: number;
  readonly slot: number;
  readonly nowMs: number;
  readonly halfLifeMs: number;
  /** Each is cut once in a round, from this one on. */
  readonly firstClient: number;
  readonly clients: number;
  readonly rounds: number;
  /** Where to stop, holding a lock; empty: nowhere. */
  readonly stopAt: StruckAt | '';
  /** The word that counts what was remembered: `tally` + the client's number, modulo `tallies`. */
  readonly tally: number;
  readonly tallies: number;
}

export type Task = RateTask | ConnectionTask | HouseTask | StrikeTask;

function wordsOf(bytes: number): { tally: Int32Array; words: Int32Array } {
  const mapped = mapSharedMemory(3, TALLY_BYTES + bytes);
  assert(mapped !== undefined, 'the memory can be mapped');
  return {
    tally: new Int32Array(mapped.buffer, 0, TALLY_BYTES / 4),
    words: new Int32Array(mapped.buffer, TALLY_BYTES, bytes / 4),
  };
}

/** Stops like a process that the kernel gives no time, until it is killed or goes on. */
function stopsOnceAt(stopAt: string): (at: string) => void {
  let stopped = false;
  return (at) => {
    if (at !== stopAt || stopped) return;
    stopped = true;
    process.send?.('held');
    process.kill(process.pid, 'SIGSTOP');
  };
}

function runRates(task: RateTask): number {
  const { tally, words } = wordsOf(rateLimiterBytes(task.entries));
  const rates = new RateLimiter(words, 0x5eed, task.slot);
  rates.whileHeld = stopsOnceAt(task.stopAt);
  let admitted = 0;
  for (let attempt = 0; attempt < task.tries; attempt++) {
    if (attempt < task.newcomers)
      rates.admit(1, task.limit, clientOf(task.firstNewcomer + attempt), task.nowMs);
    for (let client = 0; client < task.clients; client++) {
      if (rates.admit(1, task.limit, clientOf(client), task.nowMs) !== 0) continue;
      Atomics.add(tally, task.tally + (client % task.tallies), 1);
      admitted++;
    }
  }
  return admitted;
}

/** Word 0 of the tally: connections that are held now; word 1: the most there ever were; from 2 on the same for clients. */
function runConnections(task: ConnectionTask): number {
  const { tally, words } = wordsOf(connectionBytes(task.slots));
  const counts = new ConnectionCounts(words, task.slots, task.slot, 0x5eed);
  const held: number[] = [];
  const raise = (at: number): void => {
    const now = Atomics.add(tally, at, 1) + 1;
    for (let most = Atomics.load(tally, at + 1); now > most; ) {
      const found = Atomics.compareExchange(tally, at + 1, most, now);
      if (found === most) break;
      most = found;
    }
  };
  for (let attempt = 0; attempt < task.tries; attempt++) {
    const client = (attempt * 7 + task.slot) % task.clients;
    if (counts.take(clientOf(client), task.totalMax, task.perAddressMax) === TAKEN) {
      held.push(client);
      raise(0);
      raise(2 + client * 2);
    }
    if (task.keeps) continue;
    if (attempt % 3 === 2 || held.length > 20) {
      const gone = held.shift();
      if (gone === undefined) continue;
      Atomics.sub(tally, 0, 1);
      Atomics.sub(tally, 2 + gone * 2, 1);
      counts.give(clientOf(gone));
    }
  }
  if (task.keeps) return held.length;
  for (const client of held) {
    Atomics.sub(tally, 0, 1);
    Atomics.sub(tally, 2 + client * 2, 1);
    counts.give(clientOf(client));
  }
  return 0;
}

function runHouse(task: HouseTask): number {
  const { words } = wordsOf(houseBytes());
  const board = new HouseBoard(words);
  for (let number = 1; number <= task.writes; number++) board.write(houseOf(number));
  return task.writes;
}

/** How many were remembered. */
function runStrikes(task: StrikeTask): number {
  const { tally, words } = wordsOf(strikeBytes(task.entries));
  const table = new ClientStrikes(words, 0x5eed, task.slot);
  table.whileHeld = stopsOnceAt(task.stopAt);
  let remembered = 0;
  for (let round = 0; round < task.rounds; round++) {
    for (let client = task.firstClient; client < task.firstClient + task.clients; client++) {
      if (table.strike(clientOf(client), task.nowMs, task.halfLifeMs) === 0) continue;
      Atomics.add(tally, task.tally + (client % task.tallies), 1);
      remembered++;
    }
  }
  return remembered;
}

function run(task: Task): number {
  switch (task.kind) {
    case 'rates':
      return runRates(task);
    case 'connections':
      return runConnections(task);
    case 'house':
      return runHouse(task);
    case 'strikes':
      return runStrikes(task);
    default:
      return unreachable(task);
  }
}

process.on('message', (task: Task) => process.send?.(run(task)));
process.send?.('started');
