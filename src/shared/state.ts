/**
 * The memory that the master and all rooms of the house share: what must hold over all workers, and what they tell one
 * another. One mapping, made by the master, whose size never changes; every room maps all of it.
 *
 * Any room may write anything there at any time, one that has been taken over included. So nothing in it is an index,
 * a length or a loop's end that is not checked where it is read; the worst that it can do to another room is to make
 * its limits and its figures wrong.
 *
 * A worker has a slot: its area of the metrics and its count of connections. There are more slots than workers, since a
 * worker that is replaced keeps its slot until its last connection has ended.
 */

import { randomBytes } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { AreaViews } from '../metrics/area.ts';
import { AREA_BYTES } from '../metrics/layout.ts';
import { measureMonotonicOffset } from '../sys/clock.ts';
import { ClientStrikes, strikeBytes } from './client-strikes.ts';
import { ConnectionCounts, connectionBytes } from './connection-counts.ts';
import { VerdictTable, verdictBytes } from './health-verdicts.ts';
import { HouseBoard, houseBytes } from './house-board.ts';
import { RateLimiter, rateLimiterBytes } from './rate-limit.ts';

/** Slots that there may be at most. */
export const SLOTS_MAX = 256;
/** Of a room that is no worker. */
export const NO_SLOT = -1;

/** Every part begins on a page of its own. */
const PAGE_BYTES = 4096;
// The first page, in words.
/** Random, so that nobody can aim at a place of a table. */
const H_SEED = 0;
const HEADER_WORDS = 1;

/** Where metrics of all workers lie: AREA_BYTES for each slot from `offset` on. */
export interface SharedAreas {
  readonly memory: ArrayBufferLike;
  readonly offset: number;
  /** Slots. */
  readonly workers: number;
  /** This worker's slot; NO_SLOT: it only reads. */
  readonly own: number;
}

/** Where each part begins, in bytes. */
interface Places {
  readonly house: number;
  readonly verdicts: number;
  readonly rates: number;
  readonly strikes: number;
  readonly connections: number;
  readonly metrics: number;
  readonly end: number;
}

function placesOf(slots: number): Places {
  assert(slots >= 1 && slots <= SLOTS_MAX, 'shared memory is for 1 to SLOTS_MAX workers');
  const house = PAGE_BYTES;
  const verdicts = house + wholePages(houseBytes());
  const rates = verdicts + wholePages(verdictBytes());
  const strikes = rates + wholePages(rateLimiterBytes());
  const connections = strikes + wholePages(strikeBytes());
  const metrics = connections + wholePages(connectionBytes(slots));
  return { house, verdicts, rates, strikes, connections, metrics, end: metrics + slots * AREA_BYTES };
}

function wholePages(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}

export class SharedState {
  readonly metrics: SharedAreas;
  readonly verdicts: VerdictTable;
  readonly rateLimiter: RateLimiter;
  readonly strikes: ClientStrikes;
  readonly connections: ConnectionCounts;
  readonly house: HouseBoard;

  /** Bytes of the memory for so many slots; what is never touched takes up none. */
  static bytes(slots: number): number {
    return placesOf(slots).end;
  }

  /** Once, by the master, before any room has the memory, which is all zeros. */
  static initialise(memory: ArrayBufferLike, slots: number): void {
    assert(memory.byteLength >= SharedState.bytes(slots), 'shared memory is too small');
    new Int32Array(memory, 0, HEADER_WORDS)[H_SEED] = randomBytes(4).readInt32LE(0);
  }

  /** Memory of one worker that shares with nobody. */
  static alone(): SharedState {
    const memory = new ArrayBuffer(SharedState.bytes(1));
    SharedState.initialise(memory, 1);
    return new SharedState(memory, 1, 0, 0);
  }

  /**
   * Views of memory that `initialise` has prepared. `own`: the slot of this worker, or NO_SLOT; the slot is one that was
   * never used, or was cleared since. `clockOffsetMs`: what makes the reactor's clock one that all processes share;
   * set-up only, since it is measured.
   */
  constructor(
    memory: ArrayBufferLike,
    slots: number,
    own: number,
    clockOffsetMs: number = Math.round(measureMonotonicOffset()),
  ) {
    const places = placesOf(slots);
    assert(own === NO_SLOT || (own >= 0 && own < slots), 'a slot that there is not');
    assert(memory.byteLength >= places.end, 'shared memory is too small');
    const seed = new Int32Array(memory, 0, HEADER_WORDS)[H_SEED];
    const words = (from: number, bytes: number): Int32Array => new Int32Array(memory, from, bytes / 4);
    this.metrics = { memory, offset: places.metrics, workers: slots, own };
    this.verdicts = new VerdictTable(words(places.verdicts, verdictBytes()));
    this.rateLimiter = new RateLimiter(
      words(places.rates, rateLimiterBytes()),
      seed,
      Math.max(own, 0),
      clockOffsetMs,
    );
    this.strikes = new ClientStrikes(
      words(places.strikes, strikeBytes()),
      seed,
      Math.max(own, 0),
      clockOffsetMs,
    );
    this.connections = new ConnectionCounts(
      words(places.connections, connectionBytes(slots)),
      slots,
      own,
      seed,
    );
    this.house = new HouseBoard(words(places.house, houseBytes()));
  }

  /**
   * The worker that had the slot has ended, whatever way: its connections and its gauges are no more. Its counters stay,
   * for the next worker to go on with. By the master, before it gives the slot to another worker.
   */
  clearSlot(slot: number): void {
    this.connections.clear(slot);
    const { memory, offset } = this.metrics;
    const area = new AreaViews(memory, offset + slot * AREA_BYTES);
    if (area.isUsed) area.clearGauges();
  }
}
