/**
 * Numbers for things that come and go: a handle is a slot (low 20 bits) and a generation (11 bits above),
 * so that a handle to something that is gone never names what came after it.
 *
 * Slots are given out from 0 on, the one freed last first, so that the table that they index stays small.
 * A generation recurs after 2,047 uses of its slot.
 */

import { assert } from './assert.ts';

export const SLOT_BITS = 20;
export const SLOT_MASK = (1 << SLOT_BITS) - 1;
const GENERATION_MAX = 2047;

/** Returned by `take` when all slots are in use. */
export const NO_SLOT = 0;

export class SlotTable {
  readonly capacity: number;
  /** Slots in use. */
  used: number;
  private readonly generations: Uint16Array;
  private readonly free: Int32Array;
  private freeCount: number;
  /** Slots that were ever given out. */
  private touched: number;

  constructor(capacity: number) {
    assert(capacity > 0 && capacity <= SLOT_MASK + 1, 'a slot has 20 bits');
    this.capacity = capacity;
    this.used = 0;
    this.generations = new Uint16Array(capacity);
    this.free = new Int32Array(capacity);
    this.freeCount = 0;
    this.touched = 0;
  }

  /** A handle (> 0), or NO_SLOT. */
  take(): number {
    let slot: number;
    if (this.freeCount > 0) slot = this.free[--this.freeCount];
    else if (this.touched < this.capacity) slot = this.touched++;
    else return NO_SLOT;
    const generation = this.generations[slot] === GENERATION_MAX ? 1 : this.generations[slot] + 1;
    this.generations[slot] = generation;
    this.used++;
    return (generation << SLOT_BITS) | slot;
  }

  /** Gives a slot back; its handle is dead from now on. */
  give(handle: number): void {
    const slot = handle & SLOT_MASK;
    assert(this.generations[slot] === handle >>> SLOT_BITS, 'a stale handle was given back');
    assert(this.used > 0, 'more slots given back than taken');
    this.free[this.freeCount++] = slot;
    this.used--;
  }
}
