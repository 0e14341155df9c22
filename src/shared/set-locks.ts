/**
 * Locks of a table's sets in shared memory, for giving a place to another client. A holder may be stopped or killed at
 * any moment, so that nobody relies on a lock alone: whoever finds one held for about a millisecond takes it over, and
 * who lost a lock finds out by `holds` and by an exchange that fails.
 */

import { assert } from '../base/assert.ts';

/** About a millisecond of looking at a lock that doesn't change. */
const LOCK_SPINS = 100_000;
/** As long as one taking looks at locks at most, whoever holds them meanwhile. */
const LOCK_SPINS_MAX = 3 * LOCK_SPINS;

// A token: the worker's slot, and a number that is another each time.
const SLOTS_MAX = 256;
const SLOT_SHIFT = 23;
const NUMBER_MASK = 0x7fffff;

export class SetLocks {
  private readonly words: Int32Array;
  /** Word of the first set's lock: 0, or what its holder put there. */
  private readonly first: number;
  private token: number;

  /** `slot`: a number of this worker's own, below 256. */
  constructor(words: Int32Array, first: number, slot: number) {
    assert(slot >= 0 && slot < SLOTS_MAX, 'the worker has a slot');
    this.words = words;
    this.first = first;
    this.token = (slot << SLOT_SHIFT) | 1;
  }

  /** False: workers that come and go hold it, one after the other, for too long. One at a time. */
  take(set: number): boolean {
    const { words } = this;
    const lock = this.first + set;
    this.token = (this.token & ~NUMBER_MASK) | ((this.token + 1) & NUMBER_MASK || 1);
    let left = LOCK_SPINS_MAX;
    let seen = Atomics.compareExchange(words, lock, 0, this.token);
    while (seen !== 0) {
      if (left <= 0) return false;
      let spins = 0;
      while (spins < LOCK_SPINS && Atomics.load(words, lock) === seen) spins++;
      left -= spins + 1;
      const expected = spins < LOCK_SPINS ? 0 : seen;
      const found = Atomics.compareExchange(words, lock, expected, this.token);
      if (found === expected) return true;
      seen = found;
    }
    return true;
  }

  /** Whether the lock that was taken last, the set's, was not taken over since. */
  holds(set: number): boolean {
    return Atomics.load(this.words, this.first + set) === this.token;
  }

  release(set: number): void {
    Atomics.compareExchange(this.words, this.first + set, this.token, 0);
  }
}
