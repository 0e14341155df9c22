/**
 * Client addresses whose HTTP/2 connections were cut for what they asked for nothing, so that a new connection does not
 * bring new budgets. Each cut is a strike; the strikes of an address halve with each half-life. A connection of an
 * address with strikes gets budgets that are halved as often; from STRIKES_REFUSED on it is told to calm down before
 * any stream is made.
 *
 * Sized for many honest clients behind one address with an abuser: connections that are open keep their budgets, which
 * an ordinary client does not half use; new ones are refused only while somebody there was cut four times within
 * about two half-lives, and for no more than one half-life after the last cut: being refused is no strike.
 *
 * Memory is fixed: addresses (IPv4, or a /64 of IPv6) lie in sets of WAYS; whose set is full takes the place of the one
 * with the fewest strikes. Whoever has more addresses than that starts anew with each: it fails open. Each worker has
 * a table of its own. Peers on Unix sockets are never counted, nor are trusted proxies, behind which all clients are.
 */

import { assert } from '../base/assert.ts';
import { type ClientWords, highWord, isIpv6, lowWord, mix } from '../shared/client-words.ts';

/** Strikes from which on connections are refused; more are not counted, so that one half-life ends it. */
export const STRIKES_REFUSED = 4;
/** Addresses that are remembered: 80 KiB. */
const ENTRIES = 4096;
const WAYS = 8;

// Layout of an entry, in words. A family of 0 is an empty one.
const FAMILY = 0;
const HIGH = 1;
const LOW = 2;
const STRIKES = 3;
/** When the last strike came, on the caller's clock modulo 2³². */
const TIME = 4;
const ENTRY_WORDS = 5;

const IPV4 = 4;
const IPV6 = 6;
/** Halved so often, nothing is left. */
const HALVINGS_MAX = 31;

export class Http2Abusers {
  private readonly words: Int32Array;
  private readonly seed: number;

  /** `seed` is random, so that nobody can aim at a set. */
  constructor(seed: number) {
    this.words = new Int32Array(ENTRIES * ENTRY_WORDS);
    this.seed = seed | 0;
  }

  /** Strikes that an address has left; 0 … STRIKES_REFUSED. `nowMs` never goes back. */
  strikesOf(address: ClientWords | null, nowMs: number, halfLifeMs: number): number {
    if (address === null || halfLifeMs === 0) return 0;
    const set = this.setOf(address);
    for (let way = 0; way < WAYS; way++) {
      const at = set + way * ENTRY_WORDS;
      if (this.isOf(at, address)) return this.leftAt(at, nowMs, halfLifeMs);
    }
    return 0;
  }

  /** A connection of the address was cut. */
  strike(address: ClientWords | null, nowMs: number, halfLifeMs: number): void {
    if (address === null || halfLifeMs === 0) return;
    assert(halfLifeMs > 0, 'strikes halve with time');
    const { words } = this;
    const at = this.entryFor(address, nowMs, halfLifeMs);
    words[at + STRIKES] = Math.min(this.leftAt(at, nowMs, halfLifeMs) + 1, STRIKES_REFUSED);
    words[at + TIME] = nowMs | 0;
  }

  /** The address's entry, made in place of the least where there is none. */
  private entryFor(address: ClientWords, nowMs: number, halfLifeMs: number): number {
    const { words } = this;
    const set = this.setOf(address);
    let least = set;
    let leastStrikes = STRIKES_REFUSED + 1;
    for (let way = 0; way < WAYS; way++) {
      const at = set + way * ENTRY_WORDS;
      if (this.isOf(at, address)) return at;
      const strikes = this.leftAt(at, nowMs, halfLifeMs);
      if (strikes >= leastStrikes) continue;
      least = at;
      leastStrikes = strikes;
    }
    words[least + FAMILY] = isIpv6(address) ? IPV6 : IPV4;
    words[least + HIGH] = highWord(address);
    words[least + LOW] = lowWord(address);
    words[least + STRIKES] = 0;
    return least;
  }

  private setOf(address: ClientWords): number {
    const hash = mix(mix(this.seed ^ highWord(address)) ^ lowWord(address));
    return (hash & (ENTRIES / WAYS - 1)) * WAYS * ENTRY_WORDS;
  }

  private isOf(at: number, address: ClientWords): boolean {
    const { words } = this;
    return (
      words[at + FAMILY] === (isIpv6(address) ? IPV6 : IPV4) &&
      words[at + LOW] === lowWord(address) &&
      words[at + HIGH] === highWord(address)
    );
  }

  private leftAt(at: number, nowMs: number, halfLifeMs: number): number {
    const elapsedMs = ((nowMs | 0) - this.words[at + TIME]) | 0;
    // So long ago that the clock has come round.
    if (elapsedMs < 0) return 0;
    return this.words[at + STRIKES] >> Math.min(Math.floor(elapsedMs / halfLifeMs), HALVINGS_MAX);
  }
}
