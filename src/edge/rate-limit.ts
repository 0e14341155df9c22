/**
 * Request rates: a sliding window over a minute for a client address on a route.
 *
 * Each client of a route has an entry: a ring of up to GROUPS_MAX times, each standing for a group of
 * `ceil(limit / GROUPS_MAX)` admitted requests and telling when the newest of them came. A group leaves the
 * window 60,000 ms after that. So no 60,000 ms ever see more than `limit` requests; up to GROUPS_MAX a minute
 * the log is exact to the millisecond, and above, a request may be counted longer by the time that its group
 * took to fill. A burst of `limit` requests is always admitted in full.
 *
 * Memory is fixed: entries lie in sets of WAYS, and a client whose set is full takes the place of the one that
 * was admitted longest ago. Failure mode: whoever comes from more addresses than the table holds entries
 * (65,536 by default) makes it forget clients, which then start anew: it fails open, for those clients only.
 *
 * All state is in one Int32Array without pointers, laid out below, and a set is touched by one call at a time:
 * it can move to memory shared by several workers, with a lock word for each set.
 */

import { assert } from '../base/assert.ts';
import { type AddressWords, FAMILY_IPV6 } from './ip-list.ts';

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
/** Bits 0–7 index of the oldest group, 8–15 groups in use, 16–31 requests in the newest group. */
const STATE = 3;
/** Ring of times on the caller's clock, modulo 2³². */
const TIMES = 4;
const ENTRY_WORDS = TIMES + GROUPS_MAX;

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

export class RateLimiter {
  /** Clients of routes whose place was taken while they were still being counted. */
  evictions: number;
  private readonly words: Int32Array;
  private readonly setMask: number;
  private readonly seed: number;

  /** `entries` is a power of two, at least WAYS. `seed` is random, so that nobody can aim at a set. */
  constructor(entries: number, seed: number) {
    assert(entries >= WAYS && (entries & (entries - 1)) === 0, 'entries must be a power of two');
    this.evictions = 0;
    this.words = new Int32Array(entries * ENTRY_WORDS);
    this.setMask = entries / WAYS - 1;
    this.seed = seed | 0;
  }

  /**
   * Counts a request of a client on a route (`rateLimitKey`) and returns 0, or counts nothing and returns
   * the milliseconds until the next one will be admitted. `address` null: all peers on Unix sockets, together.
   * `nowMs` is an integer that never goes back.
   */
  admit(routeKey: number, limitPerMin: number, address: AddressWords | null, nowMs: number): number {
    const isIpv6 = address !== null && address.family === FAMILY_IPV6;
    const route = routeKey * 2 + (isIpv6 ? 1 : 0);
    const high = address !== null && isIpv6 ? address.word0 : 0;
    const low = address === null ? 0 : isIpv6 ? address.word1 : address.word3;
    const now = nowMs | 0;
    const entry = this.entryOf(route, high, low, now);
    return this.admitTo(entry, limitPerMin, now);
  }

  /** Offset of the client's entry, made where there is none. */
  private entryOf(route: number, high: number, low: number, now: number): number {
    const words = this.words;
    const hash = mix(mix(mix(this.seed ^ route) ^ high) ^ low);
    const set = (hash & this.setMask) * WAYS * ENTRY_WORDS;
    let victim = set;
    let victimAge = -1;
    for (let way = 0; way < WAYS; way++) {
      const at = set + way * ENTRY_WORDS;
      if (words[at] === route && words[at + ADDRESS_LOW] === low && words[at + ADDRESS_HIGH] === high)
        return at;
      const age = this.ageOf(at, now);
      if (age > victimAge) {
        victim = at;
        victimAge = age;
      }
    }
    if (victimAge < WINDOW_MS) this.evictions++;
    words[victim + ROUTE] = route;
    words[victim + ADDRESS_HIGH] = high;
    words[victim + ADDRESS_LOW] = low;
    words[victim + STATE] = 0;
    return victim;
  }

  /** Milliseconds since the last admitted request of an entry; for an empty one, and for one of long ago, the most there is. */
  private ageOf(at: number, now: number): number {
    if (this.words[at + ROUTE] === 0) return 0x7fffffff;
    const state = this.words[at + STATE];
    const newest = ((state & 0xff) + ((state >>> 8) & 0xff) - 1 + GROUPS_MAX) % GROUPS_MAX;
    const age = (now - this.words[at + TIMES + newest]) | 0;
    return age < 0 ? 0x7fffffff : age;
  }

  private admitTo(entry: number, limit: number, now: number): number {
    const words = this.words;
    const times = entry + TIMES;
    const groupSize = Math.ceil(limit / GROUPS_MAX);
    const state = words[entry + STATE];
    let oldest = state & 0xff;
    let groups = (state >>> 8) & 0xff;
    let newestCount = state >>> 16;
    while (groups > 0 && !isInWindow(words[times + oldest], now)) {
      oldest = oldest + 1 === GROUPS_MAX ? 0 : oldest + 1;
      groups--;
    }
    const count = groups === 0 ? 0 : (groups - 1) * groupSize + newestCount;
    const waitMs = count < limit ? 0 : words[times + oldest] + WINDOW_MS - now;
    if (count < limit) {
      if (groups === 0 || newestCount === groupSize) {
        groups++;
        newestCount = 0;
      }
      newestCount++;
      words[times + ((oldest + groups - 1) % GROUPS_MAX)] = now;
    }
    words[entry + STATE] = oldest | (groups << 8) | (newestCount << 16);
    return waitMs | 0;
  }
}

/** A time in the future is one of 25 days ago or more: the clock is kept modulo 2³². */
function isInWindow(time: number, now: number): boolean {
  const age = (now - time) | 0;
  return age >= 0 && age < WINDOW_MS;
}

/** The finalizer of MurmurHash3: every bit of the input changes half of the output's. */
function mix(word: number): number {
  let hash = word;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
