/**
 * Request rates: a sliding window over a minute for a client address on a route, over all workers.
 *
 * Each client of a route has an entry: a ring of up to GROUPS_MAX times, each standing for a group of
 * `ceil(limit / GROUPS_MAX)` admitted requests and telling when the newest of them came. A group leaves the
 * window 60,000 ms after that. So no 60,000 ms ever see more than `limit` requests; up to GROUPS_MAX a minute
 * the log is exact to the millisecond, and above, a request may be counted longer by the time that its group
 * took to fill. A burst of `limit` requests is always admitted in full. Milliseconds are those of the clock of the worker
 * that admits, which is as old as its turn; where workers disagree the latest of them counts.
 *
 * Memory is fixed: entries lie in sets of WAYS, and a client whose set is full takes the place of the one that
 * was admitted longest ago. Failure mode: whoever comes from more addresses than the table holds entries
 * (65,536 by default) makes it forget clients, which then start anew: it fails open, for those clients only.
 *
 * Several workers admit at once and none waits for another. A request is admitted by one exchange of the entry's state
 * word, which fails if anybody else has changed it since it was read; the time that the state counts is put into its
 * place before, and only ever moved forward, so that whoever is stopped in between, or for good, has admitted nothing.
 * A set's lock is taken for nothing but giving a place to another client. Whoever finds it held for about a
 * millisecond takes it over; the place that its holder was writing is frozen, and is not used again before it could
 * only belong to a worker that has died. A worker that was stopped for a while within those few instructions, and whose
 * lock was taken over, gives up its place when it goes on.
 */

import { assert } from '../base/assert.ts';
import { type ClientWords, highWord, isIpv6, lowWord, mix } from './client-words.ts';
import { SetLocks } from './set-locks.ts';

/** The window, milliseconds. */
export const WINDOW_MS = 60_000;
/** Times in an entry. Documented examples limit to 60 a minute: exact up to there, in four cache lines. */
export const GROUPS_MAX = 60;
/** Entries of the default table: 16 MiB of address space, resident as far as it was ever used. */
export const ENTRIES_DEFAULT = 65_536;
/** Largest limit whose groups' counts fit their bits. */
export const LIMIT_MAX = GROUPS_MAX * 0xffff;

/** Entries of a set. */
const WAYS = 8;

// Layout of an entry, in words. A route word of 0 is an empty entry.
const ROUTE = 0;
/** IPv6: the first 64 bits, by which clients are counted. IPv4: 0 and the address. */
const ADDRESS_HIGH = 1;
const ADDRESS_LOW = 2;
/**
 * Bits 0–5 index of the oldest group, 6–11 groups in use, 12–27 requests in the newest group, 28–30 how many clients the
 * place has had. Bit 31: frozen, the place is being given to another client since the time in bits 0–27.
 */
const STATE = 3;
/** Ring of times on the clock of all workers, modulo 2³². */
const TIMES = 4;
const ENTRY_WORDS = TIMES + GROUPS_MAX;

const GROUPS_SHIFT = 6;
const COUNT_SHIFT = 12;
const CLIENTS_ONE = 1 << 28;
const CLIENTS_MASK = 7 << 28;
const FROZEN = 1 << 31;
const FROZEN_TIME_MASK = CLIENTS_ONE - 1;
/** Whoever froze a place so long ago has died, or will find that its lock was taken over. */
const FROZEN_MS_MAX = 10_000;
/** Ages of places: of one without a client, and of one that is not to be had. */
const AGE_EMPTY = 0x7fffffff;
const AGE_NEVER = -1;

/** A request begins anew when another worker was faster, at most so often; it can't be admitted then. */
const ATTEMPTS_MAX = 1000;
const RETRY = -1;
const CONTENDED_MS = 1;
/** No place: none can be had at the moment, or others hold the lock for too long. */
const NO_PLACE = -1;
const LOCKED = -2;

/** Where a holder of a lock can be stopped by a test. */
export type HeldAt = 'locked' | 'frozen' | 'named';

/**
 * Names a route with its limit in the table. The same in every worker and after a reload that changes neither:
 * clients keep their counts. (Routes whose keys collide would share counts: one pair in 2³⁰.)
 */
export function rateLimitKey(routeName: string, limitPerMin: number): number {
  let hash = 0x811c9dc5 | 0;
  for (const byte of Buffer.from(`${routeName}\n${limitPerMin}`, 'utf8'))
    hash = Math.imul(hash ^ byte, 0x01000193);
  return mix(hash) & 0x3fffffff || 1;
}

/** Bytes of a table. */
export function rateLimiterBytes(entries: number = ENTRIES_DEFAULT): number {
  return (entries * ENTRY_WORDS + entries / WAYS) * 4;
}

export class RateLimiter {
  /** Clients of routes whose place this worker took while they were still being counted. */
  evictions: number;
  /** For tests: called while a set is locked. */
  whileHeld: ((at: HeldAt) => void) | null;
  private readonly words: Int32Array;
  private readonly locks: SetLocks;
  private readonly setMask: number;
  private readonly seed: number;
  private readonly clockOffsetMs: number;

  /**
   * `words` is `rateLimiterBytes` long, for a power of two of entries, and all zero at first. `seed` is random, so that
   * nobody can aim at a set, and the same in all workers. `slot`: a number of this worker's own, below 256.
   * `clockOffsetMs`, an integer, makes the times that `admit` is given those of one clock.
   */
  constructor(words: Int32Array, seed: number, slot = 0, clockOffsetMs = 0) {
    const entries = Math.floor((words.length * WAYS) / (ENTRY_WORDS * WAYS + 1));
    assert(entries >= WAYS && (entries & (entries - 1)) === 0, 'entries must be a power of two');
    this.evictions = 0;
    this.whileHeld = null;
    this.words = words;
    this.locks = new SetLocks(words, entries * ENTRY_WORDS, slot);
    this.setMask = entries / WAYS - 1;
    this.seed = seed | 0;
    this.clockOffsetMs = clockOffsetMs;
  }

  /**
   * Counts a request of a client on a route (`rateLimitKey`) and returns 0, or counts nothing and returns
   * the milliseconds until the next one will be admitted. `address` null: all peers on Unix sockets, together.
   * `nowMs` is an integer that never goes back.
   */
  admit(routeKey: number, limitPerMin: number, address: ClientWords | null, nowMs: number): number {
    const route = routeKey * 2 + (isIpv6(address) ? 1 : 0);
    const high = highWord(address);
    const low = lowWord(address);
    // 0 is the time of a place in the ring that was never used.
    const now = (nowMs + this.clockOffsetMs) | 0 || 1;
    const hash = mix(mix(mix(this.seed ^ route) ^ high) ^ low);
    const set = hash & this.setMask;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      let entry = this.find(set, route, high, low);
      if (entry < 0) entry = this.enter(set, route, high, low, now);
      if (entry === LOCKED) break;
      if (entry < 0) continue;
      const waitMs = this.admitTo(entry, route, high, low, limitPerMin, now);
      if (waitMs !== RETRY) return waitMs;
    }
    return CONTENDED_MS;
  }

  /** Word of the client's entry, or NO_PLACE. */
  private find(set: number, route: number, high: number, low: number): number {
    const first = set * WAYS * ENTRY_WORDS;
    for (let at = first; at < first + WAYS * ENTRY_WORDS; at += ENTRY_WORDS)
      if (this.isOf(at, route, high, low) && this.words[at + STATE] >= 0) return at;
    return NO_PLACE;
  }

  private isOf(at: number, route: number, high: number, low: number): boolean {
    const { words } = this;
    return (
      words[at + ROUTE] === route && words[at + ADDRESS_LOW] === low && words[at + ADDRESS_HIGH] === high
    );
  }

  // ---- A client's entry: no locks -----------------------------------------------------------------------

  /** 0, milliseconds to wait, or RETRY where the entry has changed meanwhile, or has become another client's. */
  private admitTo(
    entry: number,
    route: number,
    high: number,
    low: number,
    limit: number,
    now: number,
  ): number {
    const { words } = this;
    const times = entry + TIMES;
    const groupSize = Math.ceil(limit / GROUPS_MAX);
    const state = Atomics.load(words, entry + STATE);
    if (state < 0 || !this.isOf(entry, route, high, low)) return RETRY;
    let oldest = oldestOf(state);
    let groups = groupsOf(state);
    let newestCount = (state >>> COUNT_SHIFT) & 0xffff;
    let time = now;
    if (groups > 0) {
      // Another worker's clock may have been read later than this one's.
      const newest = words[times + ringIndex(oldest + groups - 1)];
      if (isSoonAfter(newest, now)) time = newest;
    }
    while (groups > 0 && !isInWindow(words[times + oldest], time)) {
      oldest = oldest + 1 === GROUPS_MAX ? 0 : oldest + 1;
      groups--;
    }
    const count = groups === 0 ? 0 : (groups - 1) * groupSize + newestCount;
    if (count >= limit) {
      const waitMs = (words[times + oldest] + WINDOW_MS - time) | 0;
      if (words[entry + STATE] !== state) return RETRY;
      return Math.min(Math.max(waitMs, 1), WINDOW_MS);
    }
    if (groups === 0 || newestCount >= groupSize) {
      groups++;
      newestCount = 0;
    }
    if (!this.moveForward(times + ringIndex(oldest + groups - 1), time)) return RETRY;
    const next =
      (state & CLIENTS_MASK) | oldest | (groups << GROUPS_SHIFT) | ((newestCount + 1) << COUNT_SHIFT);
    return Atomics.compareExchange(words, entry + STATE, state, next) === state ? 0 : RETRY;
  }

  /** The time there is `time` or a later one by now; false where another worker was faster. */
  private moveForward(at: number, time: number): boolean {
    const before = this.words[at];
    if (before === time || (before !== 0 && isSoonAfter(before, time))) return true;
    return Atomics.compareExchange(this.words, at, before, time) === before;
  }

  // ---- A place for a client: under the set's lock -------------------------------------------------------

  /** Word of the client's entry, made where there is none; NO_PLACE or LOCKED. */
  private enter(set: number, route: number, high: number, low: number, now: number): number {
    if (!this.locks.take(set)) return LOCKED;
    this.whileHeld?.('locked');
    let entry = this.find(set, route, high, low);
    if (entry < 0) entry = this.takePlace(set, route, high, low, now);
    this.locks.release(set);
    return entry;
  }

  /** Gives the client the place that was used longest ago. NO_PLACE: somebody was admitted there meanwhile, or the lock is lost. */
  private takePlace(set: number, route: number, high: number, low: number, now: number): number {
    const { words } = this;
    const first = set * WAYS * ENTRY_WORDS;
    let place = -1;
    let placeAge = AGE_NEVER;
    let placeState = 0;
    for (let at = first; at < first + WAYS * ENTRY_WORDS; at += ENTRY_WORDS) {
      const state = words[at + STATE];
      const age = this.ageOf(at, state, now);
      if (age <= placeAge) continue;
      place = at;
      placeAge = age;
      placeState = state;
    }
    if (place < 0) return NO_PLACE;
    const clients = placeState & CLIENTS_MASK;
    const frozen = FROZEN | clients | (now & FROZEN_TIME_MASK);
    if (Atomics.compareExchange(words, place + STATE, placeState, frozen) !== placeState) return NO_PLACE;
    this.whileHeld?.('frozen');
    words[place + ROUTE] = route;
    words[place + ADDRESS_HIGH] = high;
    words[place + ADDRESS_LOW] = low;
    this.whileHeld?.('named');
    const mine = this.locks.holds(set);
    if (!mine) words[place + ROUTE] = 0;
    const empty = (clients + CLIENTS_ONE) & CLIENTS_MASK;
    if (Atomics.compareExchange(words, place + STATE, frozen, empty) !== frozen || !mine) return NO_PLACE;
    if (placeAge < WINDOW_MS) this.evictions++;
    return place;
  }

  /** Milliseconds since the last admitted request of an entry; for an empty one, and for one of long ago, the most there is. */
  private ageOf(at: number, state: number, now: number): number {
    const { words } = this;
    if (state < 0) {
      const frozenMs = ((now & FROZEN_TIME_MASK) - (state & FROZEN_TIME_MASK)) & FROZEN_TIME_MASK;
      return frozenMs > FROZEN_MS_MAX && frozenMs < FROZEN_TIME_MASK - FROZEN_MS_MAX ? AGE_EMPTY : AGE_NEVER;
    }
    const groups = groupsOf(state);
    if (words[at + ROUTE] === 0) return AGE_EMPTY;
    const newest = words[at + TIMES + ringIndex(oldestOf(state) + groups + GROUPS_MAX - 1)];
    if (isSoonAfter(newest, now)) return 0;
    const age = (now - newest) | 0;
    return age < 0 ? AGE_EMPTY : age;
  }
}

/** What is there may have been written by anybody: never beyond the ring. */
function oldestOf(state: number): number {
  return Math.min(state & 0x3f, GROUPS_MAX - 1);
}

function groupsOf(state: number): number {
  return Math.min((state >>> GROUPS_SHIFT) & 0x3f, GROUPS_MAX);
}

/** `index` is not negative. */
function ringIndex(index: number): number {
  return index % GROUPS_MAX;
}

/** A time in the future is one of 25 days ago or more: the clock is kept modulo 2³². */
function isInWindow(time: number, now: number): boolean {
  const age = (now - time) | 0;
  return age >= 0 && age < WINDOW_MS;
}

/** A time that a clock which is ahead has written. */
function isSoonAfter(time: number, now: number): boolean {
  const ahead = (time - now) | 0;
  return ahead > 0 && ahead < WINDOW_MS;
}
