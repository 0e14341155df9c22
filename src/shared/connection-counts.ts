/**
 * Connections of clients over all workers: how many there are, and how many of one address. Each worker writes its own
 * slot alone and reads those of the others, so that nobody waits: it counts a connection first, then adds up all slots,
 * and takes the connection back where that is too many. Of workers that take the last place at one moment both may be
 * refused; there are never more connections than a limit says.
 *
 * Memory is fixed: a slot's table has sets of WAYS places, and an address whose set is full is not counted by itself.
 * Whoever opens connections from more addresses than that at once makes the limit for one address fail open for a few
 * of them; the limit for all of them holds.
 */

import { assert } from '../base/assert.ts';
import { type ClientWords, highWord, isIpv6, lowWord, mix } from './client-words.ts';

/** The connection is counted. */
export const TAKEN = 0;
/** It is not: there would be too many of all, or of its address. */
export const OVER_TOTAL = 1;
export const OVER_ADDRESS = 2;
export type Taking = typeof TAKEN | typeof OVER_TOTAL | typeof OVER_ADDRESS;

/** Places of one worker's table: 512 KiB, resident as far as it was ever used. */
const PLACES = 32_768;
const WAYS = 8;
const SETS = PLACES / WAYS;
/** A worker's count, alone in its cache line. */
const COUNT_WORDS = 16;

// Layout of a place. Where the count is 0 the place is free.
const KIND = 0;
const HIGH = 1;
const LOW = 2;
const COUNT = 3;
const PLACE_WORDS = 4;

const KIND_UNIX = 1;
const KIND_IPV4 = 2;
const KIND_IPV6 = 3;

/** Bytes for so many workers' slots. */
export function connectionBytes(slots: number): number {
  return slots * (COUNT_WORDS + PLACES * PLACE_WORDS) * 4;
}

export class ConnectionCounts {
  /** Connections that were not counted by address, since there was no place for it. */
  uncounted: number;
  private readonly words: Int32Array;
  private readonly slots: number;
  private readonly own: number;
  private readonly seed: number;
  /** Word of the first table. */
  private readonly tables: number;

  /** `words`: `connectionBytes`. `own`: the slot that is written; -1: none is. `seed`: the same in all workers, and random. */
  constructor(words: Int32Array, slots: number, own: number, seed: number) {
    assert(words.length * 4 >= connectionBytes(slots), 'the counts of connections need their whole memory');
    this.uncounted = 0;
    this.words = words;
    this.slots = slots;
    this.own = own;
    this.seed = seed | 0;
    this.tables = slots * COUNT_WORDS;
  }

  /** Connections of all workers. */
  get total(): number {
    let total = 0;
    for (let slot = 0; slot < this.slots; slot++) total += Atomics.load(this.words, slot * COUNT_WORDS);
    return total;
  }

  /** This worker's. */
  get ownTotal(): number {
    return this.own < 0 ? 0 : Atomics.load(this.words, this.own * COUNT_WORDS);
  }

  /**
   * Counts a connection of this worker, or says why there may not be another one; 0 is no limit. `address` null: a peer
   * on a Unix socket, which only the limit for all of them is for.
   */
  take(address: ClientWords | null, totalMax: number, perAddressMax: number): Taking {
    const { words, own } = this;
    assert(own >= 0, 'who has no slot has no connections');
    Atomics.add(words, own * COUNT_WORDS, 1);
    if (totalMax > 0 && this.total > totalMax) {
      Atomics.sub(words, own * COUNT_WORDS, 1);
      return OVER_TOTAL;
    }
    if (address === null) return TAKEN;
    this.add(address);
    if (perAddressMax > 0 && this.ofAddress(address) > perAddressMax) {
      this.give(address);
      return OVER_ADDRESS;
    }
    return TAKEN;
  }

  /** A connection that was taken is over. */
  give(address: ClientWords | null): void {
    const { words, own } = this;
    Atomics.sub(words, own * COUNT_WORDS, 1);
    if (address === null) return;
    const place = this.placeOf(own, address);
    if (place >= 0) Atomics.sub(words, place + COUNT, 1);
  }

  /** Connections of an address over all workers. */
  ofAddress(address: ClientWords): number {
    const { words } = this;
    let count = 0;
    for (let slot = 0; slot < this.slots; slot++) {
      if (Atomics.load(words, slot * COUNT_WORDS) <= 0) continue;
      const place = this.placeOf(slot, address);
      if (place >= 0) count += Math.max(0, Atomics.load(words, place + COUNT));
    }
    return count;
  }

  /** Nobody has the slot, or somebody takes it: what its last owner held is over. Never one that is in use. */
  clear(slot: number): void {
    const { words } = this;
    Atomics.store(words, slot * COUNT_WORDS, 0);
    const first = this.tables + slot * PLACES * PLACE_WORDS;
    // Pages that were never written stay without memory of their own.
    for (let at = first + COUNT; at < first + PLACES * PLACE_WORDS; at += PLACE_WORDS)
      if (words[at] !== 0) Atomics.store(words, at, 0);
  }

  private add(address: ClientWords): void {
    const { words } = this;
    const known = this.placeOf(this.own, address);
    if (known >= 0) {
      Atomics.add(words, known + COUNT, 1);
      return;
    }
    const set = this.setOf(this.own, address);
    for (let at = set; at < set + WAYS * PLACE_WORDS; at += PLACE_WORDS) {
      if (words[at + COUNT] > 0) continue;
      // Others read the place once it has a count.
      Atomics.store(words, at + KIND, kindOf(address));
      Atomics.store(words, at + HIGH, highWord(address));
      Atomics.store(words, at + LOW, lowWord(address));
      Atomics.store(words, at + COUNT, 1);
      return;
    }
    this.uncounted++;
  }

  /** Word of the address's place in a slot, or -1. */
  private placeOf(slot: number, address: ClientWords): number {
    const { words } = this;
    const kind = kindOf(address);
    const high = highWord(address);
    const low = lowWord(address);
    const set = this.setOf(slot, address);
    for (let at = set; at < set + WAYS * PLACE_WORDS; at += PLACE_WORDS) {
      if (
        words[at + LOW] === low &&
        words[at + HIGH] === high &&
        words[at + KIND] === kind &&
        Atomics.load(words, at + COUNT) > 0
      )
        return at;
    }
    return -1;
  }

  private setOf(slot: number, address: ClientWords): number {
    const hash = mix(mix(mix(this.seed ^ kindOf(address)) ^ highWord(address)) ^ lowWord(address));
    return this.tables + (slot * PLACES + (hash & (SETS - 1)) * WAYS) * PLACE_WORDS;
  }
}

function kindOf(address: ClientWords): number {
  if (address.family === 0) return KIND_UNIX;
  return isIpv6(address) ? KIND_IPV6 : KIND_IPV4;
}
