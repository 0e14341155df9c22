/**
 * A small seeded random source (sfc32, Chris Doty-Humphrey's PractRand): the same seed gives the same
 * numbers on every machine. For the simulator, tests and jitter; never for secrets.
 */

import { assert } from './assert.ts';

export class Random {
  private a: number;
  private b: number;
  private c: number;
  private counter: number;

  /** Any number; its low and high 32 bits both count. */
  constructor(seed: number) {
    this.a = seed | 0;
    this.b = Math.floor(seed / 0x100000000) | 0;
    this.c = 0x9e3779b9 | 0;
    this.counter = 1;
    // Seeds that differ in one bit have diverged after twelve rounds.
    for (let round = 0; round < 12; round++) this.next32();
  }

  /** 0 … 2^32-1. */
  next32(): number {
    const sum = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum;
    this.c |= 0;
    return sum >>> 0;
  }

  /** 0 … n-1, for n of 1 … 2^32. The bias is below n / 2^53. */
  below(n: number): number {
    assert(n >= 1 && n <= 0x100000000, 'below() of an empty range');
    return Math.floor(((this.next32() * 0x200000 + (this.next32() >>> 11)) / 0x20000000000000) * n);
  }

  /** low … high, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True with probability `p` (0 … 1). */
  chance(p: number): boolean {
    return this.next32() < p * 0x100000000;
  }

  /** A source of its own, so that what one part draws does not move another's numbers. */
  fork(): Random {
    return new Random(this.next32() + this.next32() * 0x100000000);
  }
}
