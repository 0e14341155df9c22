/**
 * Strikes of client addresses, over all workers: how often connections of an address were cut lately for what they asked
 * for nothing, so that a new connection does not bring new budgets, whichever worker it gets to. The strikes of an
 * address halve with each half-life since the last one.
 *
 * Sized for many honest clients behind one address with an abuser: connections that are open keep their budgets, which
 * an ordinary client does not half use; new ones are refused only while somebody there was cut four times within
 * about two half-lives, and for no more than one half-life after the last cut: being refused is no strike.
 *
 * Memory is fixed: addresses (IPv4, or a /64 of IPv6) lie in sets of WAYS. In a full set a newcomer takes the place of
 * whoever has one strike left, of several the one that was cut longest ago; where all have more it is not remembered.
 * So no number of other addresses makes the table forget who was cut twice, until that has halved; whoever has more
 * addresses than the table has places goes on with those that it has no place for: it fails open. An address is known by
 * all of it, never by a hash, so that nobody has the strikes of somebody else.
 *
 * A place is one word of strikes and time, changed by one exchange that fails if anybody was faster: whoever is stopped
 * or killed has counted, or has not. A set's lock is taken for nothing but giving a place to another address; the place
 * is frozen meanwhile. Who takes a lock over gives up the places that were frozen under it, so that their writer,
 * should it live, begins anew and finds what happened meanwhile; they are used again when it could only have died.
 */

import { assert } from '../base/assert.ts';
import { type ClientWords, highWord, lowWord, mix } from './client-words.ts';
import { SetLocks } from './set-locks.ts';

/** Strikes from which on connections are refused; more are not counted, so that one half-life ends it. */
export const STRIKES_REFUSED = 4;
/** Places of the table: 264 KiB. */
const ENTRIES_DEFAULT = 16_384;
/** Places of a set. */
const WAYS = 8;
/** Who has more left keeps its place. */
const DISPLACED_MAX = 1;

// Layout of a place, in words.
/** Bits 0–25 when the last strike came, 26–28 strikes or what is there instead, 29–31 how many addresses the place has had. */
const STATE = 0;
const FAMILY = 1;
const HIGH = 2;
const LOW = 3;
const ENTRY_WORDS = 4;

const TIME_BITS = 26;
const TIME_MASK = (1 << TIME_BITS) - 1;
/** 64 ms, so that the time comes round with the milliseconds, in 49 days. */
const TICK_SHIFT = 6;
const TICK_MS = 1 << TICK_SHIFT;
const STRIKES_MASK = 7 << TIME_BITS;
const EMPTY = 0;
/** Being given to another address since the time. */
const FROZEN = 7;
/** It was frozen by who has lost the lock; since the time. */
const GIVEN_UP = 6;
const OWNERS_ONE = 1 << 29;
const OWNERS_MASK = 7 << 29;

/** Another worker's clock was read later, at most by this. */
const AHEAD_MS_MAX = 60_000;
/** Whoever froze a place that was given up so long ago has died. */
const FROZEN_MS_MAX = 10_000;
const AGE_LONG_AGO = Number.MAX_SAFE_INTEGER;
/** Halved so often, nothing is left. */
const HALVINGS_MAX = 31;
/** A strike begins anew when another worker was faster, at most so often; it is lost then. */
const ATTEMPTS_MAX = 1000;
/** And takes a lock, which may last milliseconds, at most so often. */
const ENTERINGS_MAX = 20;
const NO_PLACE = -1;
const RETRY = -1;

/** Where a holder of a lock can be stopped by a test. */
export type StruckAt = 'locked' | 'frozen' | 'named';

/** Bytes of a table. */
export function strikeBytes(entries: number = ENTRIES_DEFAULT): number {
  return (entries * ENTRY_WORDS + entries / WAYS) * 4;
}

export class ClientStrikes {
  /** For tests: called while a set is locked. */
  whileHeld: ((at: StruckAt) => void) | null;
  private readonly words: Int32Array;
  private readonly locks: SetLocks;
  private readonly setMask: number;
  private readonly seed: number;
  private readonly clockOffsetMs: number;

  /**
   * `words` is `strikeBytes` long, for a power of two of entries, and all zero at first. `seed` is random, so that nobody
   * can aim at a set, and the same in all workers. `slot`: a number of this worker's own, below 256. `clockOffsetMs`, an
   * integer, makes the times that are given those of one clock.
   */
  constructor(words: Int32Array, seed: number, slot = 0, clockOffsetMs = 0) {
    const entries = Math.floor((words.length * WAYS) / (ENTRY_WORDS * WAYS + 1));
    assert(entries >= WAYS && (entries & (entries - 1)) === 0, 'entries must be a power of two');
    this.whileHeld = null;
    this.words = words;
    this.locks = new SetLocks(words, entries * ENTRY_WORDS, slot);
    this.setMask = entries / WAYS - 1;
    this.seed = seed | 0;
    this.clockOffsetMs = clockOffsetMs;
  }

  /**
   * Strikes that an address has left; 0 … STRIKES_REFUSED. `address` null: a peer on a Unix socket, which has none.
   * `halfLifeMs` 0: nothing is remembered. `nowMs` is an integer that never goes back.
   */
  strikesOf(address: ClientWords | null, nowMs: number, halfLifeMs: number): number {
    if (address === null || halfLifeMs === 0) return 0;
    const { words } = this;
    const at = this.find(this.setOf(address), address);
    if (at === NO_PLACE) return 0;
    const state = Atomics.load(words, at + STATE);
    if (!this.isOf(at, address)) return 0;
    const left = leftOf(state, this.tickOf(nowMs), halfLifeMs);
    // Whose state was read lost the place meanwhile, which had no more than DISPLACED_MAX.
    return ownersOf(Atomics.load(words, at + STATE)) === ownersOf(state) ? left : 0;
  }

  /**
   * A connection of the address was cut. Returns the strikes that it has now; 0: there is no place for it, or others have
   * been changing its set for too long.
   */
  strike(address: ClientWords | null, nowMs: number, halfLifeMs: number): number {
    if (address === null || halfLifeMs === 0) return 0;
    assert(halfLifeMs > 0, 'strikes halve with time');
    const set = this.setOf(address);
    const now = this.tickOf(nowMs);
    let enterings = 0;
    for (let attempt = 0; attempt < ATTEMPTS_MAX && enterings < ENTERINGS_MAX; attempt++) {
      const at = this.find(set, address);
      if (at === NO_PLACE) enterings++;
      const strikes =
        at === NO_PLACE ? this.enter(set, address, now, halfLifeMs) : this.add(at, address, now, halfLifeMs);
      if (strikes !== RETRY) return strikes;
    }
    return 0;
  }

  /** Word of the address's place, or NO_PLACE. */
  private find(set: number, address: ClientWords): number {
    const first = set * WAYS * ENTRY_WORDS;
    for (let at = first; at < first + WAYS * ENTRY_WORDS; at += ENTRY_WORDS)
      if (isTaken(Atomics.load(this.words, at + STATE)) && this.isOf(at, address)) return at;
    return NO_PLACE;
  }

  private isOf(at: number, address: ClientWords): boolean {
    const { words } = this;
    return (
      Atomics.load(words, at + LOW) === lowWord(address) &&
      Atomics.load(words, at + HIGH) === highWord(address) &&
      Atomics.load(words, at + FAMILY) === address.family
    );
  }

  private setOf(address: ClientWords): number {
    const hash = mix(mix(mix(this.seed ^ address.family) ^ highWord(address)) ^ lowWord(address));
    return hash & this.setMask;
  }

  private tickOf(nowMs: number): number {
    return ((nowMs + this.clockOffsetMs) | 0) >>> TICK_SHIFT;
  }

  /** One strike more at the address's place: how many it has now; RETRY where another worker was faster. */
  private add(at: number, address: ClientWords, now: number, halfLifeMs: number): number {
    const { words } = this;
    const state = Atomics.load(words, at + STATE);
    if (!isTaken(state) || !this.isOf(at, address)) return RETRY;
    const strikes = Math.min(leftOf(state, now, halfLifeMs) + 1, STRIKES_REFUSED);
    const time = isAhead(state, now) ? state & TIME_MASK : now;
    const next = ownersOf(state) | (strikes << TIME_BITS) | time;
    return Atomics.compareExchange(words, at + STATE, state, next) === state ? strikes : RETRY;
  }

  // ---- A place for an address: under the set's lock -----------------------------------------------------

  /** The address's first strike, 1; 0 where there is no place; RETRY where it has one by now, or the lock was lost. */
  private enter(set: number, address: ClientWords, now: number, halfLifeMs: number): number {
    if (!this.locks.take(set)) return 0;
    this.whileHeld?.('locked');
    this.giveUpFrozen(set, now);
    const isKnown = this.find(set, address) !== NO_PLACE;
    const strikes = isKnown ? RETRY : this.takeAnyPlace(set, address, now, halfLifeMs);
    this.locks.release(set);
    return strikes;
  }

  /**
   * What is frozen is not this worker's: its writer has lost the lock. Either it finds its place given up and begins
   * anew, or it was faster and the address is found.
   */
  private giveUpFrozen(set: number, now: number): void {
    const { words } = this;
    const first = set * WAYS * ENTRY_WORDS;
    for (let at = first; at < first + WAYS * ENTRY_WORDS; at += ENTRY_WORDS) {
      const state = Atomics.load(words, at + STATE);
      if (contentOf(state) !== FROZEN) continue;
      Atomics.compareExchange(words, at + STATE, state, ownersOf(state) | (GIVEN_UP << TIME_BITS) | now);
    }
  }

  /** 1, in a place that is empty, or else of the least and of those of the oldest; 0 where all are kept; or RETRY. */
  private takeAnyPlace(set: number, address: ClientWords, now: number, halfLifeMs: number): number {
    const { words } = this;
    const first = set * WAYS * ENTRY_WORDS;
    let place = NO_PLACE;
    let placeState = 0;
    let least = DISPLACED_MAX;
    let oldestMs = -1;
    for (let at = first; at < first + WAYS * ENTRY_WORDS; at += ENTRY_WORDS) {
      const state = Atomics.load(words, at + STATE);
      const left = leftOf(state, now, halfLifeMs);
      const ageMs = ageOf(state, now);
      if (contentOf(state) === FROZEN || (contentOf(state) === GIVEN_UP && ageMs <= FROZEN_MS_MAX)) continue;
      if (left > least || (left === least && ageMs <= oldestMs)) continue;
      place = at;
      placeState = state;
      least = left;
      oldestMs = ageMs;
    }
    return place === NO_PLACE ? 0 : this.takePlace(set, place, placeState, address, now);
  }

  /** 1; or RETRY where somebody was struck there meanwhile, or the lock is lost. */
  private takePlace(set: number, place: number, before: number, address: ClientWords, now: number): number {
    const { words } = this;
    const frozen = ownersOf(before + OWNERS_ONE) | (FROZEN << TIME_BITS) | now;
    if (Atomics.compareExchange(words, place + STATE, before, frozen) !== before) return RETRY;
    this.whileHeld?.('frozen');
    Atomics.store(words, place + FAMILY, address.family);
    Atomics.store(words, place + HIGH, highWord(address));
    Atomics.store(words, place + LOW, lowWord(address));
    this.whileHeld?.('named');
    const isMine = this.locks.holds(set);
    const next = ownersOf(frozen) | ((isMine ? 1 : EMPTY) << TIME_BITS) | now;
    const wasMine = Atomics.compareExchange(words, place + STATE, frozen, next) === frozen;
    return isMine && wasMine ? 1 : RETRY;
  }
}

// ---- The state of a place; whatever is there may have been written by anybody -----------------------------

function contentOf(state: number): number {
  return (state & STRIKES_MASK) >>> TIME_BITS;
}

function ownersOf(state: number): number {
  return state & OWNERS_MASK;
}

function isTaken(state: number): boolean {
  const content = contentOf(state);
  return content !== EMPTY && content < GIVEN_UP;
}

function leftOf(state: number, now: number, halfLifeMs: number): number {
  if (!isTaken(state)) return 0;
  const halvings = Math.floor(ageOf(state, now) / halfLifeMs);
  return Math.min(contentOf(state), STRIKES_REFUSED) >> Math.min(halvings, HALVINGS_MAX);
}

/** Milliseconds since the state's time, in ticks of 64. */
function ageOf(state: number, now: number): number {
  const ageMs = sinceMs(state, now);
  if (ageMs >= 0) return ageMs;
  return isAhead(state, now) ? 0 : AGE_LONG_AGO;
}

/** Another worker's clock is ahead of this one's. */
function isAhead(state: number, now: number): boolean {
  const ageMs = sinceMs(state, now);
  return ageMs < 0 && ageMs >= -AHEAD_MS_MAX;
}

/** Below 0: the time is ahead, or so long ago that the clock has come round. */
function sinceMs(state: number, now: number): number {
  const ticks = ((now - (state & TIME_MASK)) << (32 - TIME_BITS)) >> (32 - TIME_BITS);
  return ticks * TICK_MS;
}
