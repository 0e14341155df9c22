/**
 * Timers in a hierarchical wheel: six levels of 32 slots, one bitmap a level, so that arming, moving and
 * finding the next deadline cost the same however many timers there are. Time is integer milliseconds.
 *
 * A timer is filed at the highest base-32 digit in which its deadline differs from the wheel's present
 * (the cursor). Its slot therefore always lies ahead of the cursor's digit, the first occupied slot of the
 * lowest occupied level is the next that comes round, and nothing ever wraps. Deadlines beyond the present
 * epoch of 2^30 ms (12.4 days) wait in one far list.
 *
 * Invariants: a timer is linked into exactly one list while it is armed. `filedMs` <= `deadlineMs`: a
 * deadline that moved later is put right when the old slot comes round. No allocation after construction.
 */

import { assert } from './assert.ts';

export interface TimerHandler {
  onTimer(timer: Timer): void;
}

/** `deadlineMs` of a timer that is not armed. */
export const NOT_ARMED = -1;

/** One timer, owned and reused by what it times; armed in at most one wheel. */
export class Timer {
  readonly handler: TimerHandler;
  /** What this timer means to its handler. */
  readonly kind: number;
  /** When it fires, on the reactor's clock; NOT_ARMED otherwise. The wheel writes it. */
  deadlineMs: number;
  /** The wheel's own: the deadline by which it was filed, its list, and its neighbours there. */
  filedMs: number;
  slot: number;
  previous: Timer;
  next: Timer;

  constructor(handler: TimerHandler, kind: number) {
    this.handler = handler;
    this.kind = kind;
    this.deadlineMs = NOT_ARMED;
    this.filedMs = NOT_ARMED;
    this.slot = 0;
    this.previous = this;
    this.next = this;
  }
}

const LEVEL_BITS = 5;
const LEVELS = 6;
const SLOTS_PER_LEVEL = 1 << LEVEL_BITS;
/** Milliseconds that all levels together can tell apart. */
const EPOCH_MS = 2 ** (LEVEL_BITS * LEVELS);

/** Lists beyond the levels: deadlines of a later epoch, deadlines already past, and what this advance fires. */
const FAR = LEVELS * SLOTS_PER_LEVEL;
const DUE = FAR + 1;
const FIRING = FAR + 2;
const SLOTS = FAR + 3;

const LIST_HEAD: TimerHandler = {
  onTimer(): void {
    assert(false, 'the head of a timer list fired');
  },
};

export class TimerWheel {
  /** Timers that are armed. For checkers. */
  armedCount: number;
  /** The millisecond up to which slots have come round. */
  private cursorMs: number;
  /** First millisecond of the cursor's epoch. */
  private epochMs: number;
  private advancing: boolean;
  /** Heads of the circular lists. */
  private readonly heads: Timer[];
  /** One bit a list that is not empty; word 6 is for FAR, DUE and FIRING. */
  private readonly occupied: Int32Array;

  constructor(nowMs: number) {
    assert(Number.isSafeInteger(nowMs) && nowMs >= 0, 'the clock counts whole milliseconds');
    this.armedCount = 0;
    this.cursorMs = nowMs;
    this.epochMs = nowMs - (nowMs % EPOCH_MS);
    this.advancing = false;
    this.heads = Array.from({ length: SLOTS }, () => new Timer(LIST_HEAD, 0));
    this.occupied = new Int32Array(LEVELS + 1);
  }

  /**
   * Arms or moves a timer. Moving it later is one store: it is put right when its old place comes round.
   * A deadline that is past already fires at the next `advance`, never within the one that runs.
   */
  arm(timer: Timer, deadlineMs: number): void {
    assert(Number.isSafeInteger(deadlineMs), 'a deadline is a whole millisecond');
    const deadline = Math.max(deadlineMs, 0);
    if (timer.deadlineMs !== NOT_ARMED) {
      timer.deadlineMs = deadline;
      if (deadline >= timer.filedMs) return;
      this.unlink(timer);
    } else {
      timer.deadlineMs = deadline;
      this.armedCount++;
    }
    this.file(timer, DUE);
  }

  /** Does nothing to a timer that is not armed. */
  disarm(timer: Timer): void {
    if (timer.deadlineMs === NOT_ARMED) return;
    this.unlink(timer);
    timer.deadlineMs = NOT_ARMED;
    this.armedCount--;
  }

  /**
   * Milliseconds until the wheel must be advanced next, at most `atMostMs`. It may be sooner than the first
   * deadline: a slot of a higher level comes round before its timers are due, and so does the old slot of a
   * timer that moved.
   */
  waitMs(nowMs: number, atMostMs: number): number {
    if (this.heads[DUE].next !== this.heads[DUE]) return 0;
    const slot = this.nextSlot();
    if (slot < 0) return atMostMs;
    const waitMs = this.comesRoundMs(slot) - nowMs;
    return Math.max(0, Math.min(waitMs, atMostMs));
  }

  /**
   * Fires all that is due at `nowMs`, those already past at arming first, then by deadline. Handlers may
   * arm and disarm any timer, those due in the same call included.
   */
  advance(nowMs: number): void {
    assert(!this.advancing, 'advance from within a timer');
    this.advancing = true;
    this.refile(DUE);
    for (let slot = this.nextSlot(); slot >= 0; slot = this.nextSlot()) {
      const atMs = this.comesRoundMs(slot);
      if (atMs > nowMs) break;
      this.moveCursor(atMs);
      this.refile(slot);
    }
    if (nowMs > this.cursorMs) this.moveCursor(nowMs);
    const head = this.heads[FIRING];
    while (head.next !== head) this.fire(head.next);
    this.advancing = false;
  }

  private fire(timer: Timer): void {
    this.unlink(timer);
    if (timer.deadlineMs > this.cursorMs) {
      // Moved later by a handler of this same advance.
      this.file(timer, DUE);
      return;
    }
    timer.deadlineMs = NOT_ARMED;
    this.armedCount--;
    timer.handler.onTimer(timer);
  }

  /** The list that comes round next, or -1 when there is none. */
  private nextSlot(): number {
    const occupied = this.occupied;
    for (let level = 0; level < LEVELS; level++) {
      const bits = occupied[level];
      if (bits !== 0) return level * SLOTS_PER_LEVEL + 31 - Math.clz32(bits & -bits);
    }
    return this.heads[FAR].next === this.heads[FAR] ? -1 : FAR;
  }

  /** The first millisecond of a list's span. */
  private comesRoundMs(slot: number): number {
    if (slot === FAR) return this.epochMs + EPOCH_MS;
    const shift = (slot >> LEVEL_BITS) * LEVEL_BITS;
    const digit = slot & (SLOTS_PER_LEVEL - 1);
    // The cursor's digits above this level, this slot's digit, and zeros below.
    const above = Math.floor((this.cursorMs - this.epochMs) / (1 << (shift + LEVEL_BITS)));
    return this.epochMs + (above * SLOTS_PER_LEVEL + digit) * (1 << shift);
  }

  private moveCursor(nowMs: number): void {
    this.cursorMs = nowMs;
    if (nowMs >= this.epochMs + EPOCH_MS) this.epochMs = nowMs - (nowMs % EPOCH_MS);
  }

  /** Files anew all timers of a list; those that are due at the cursor are to fire. */
  private refile(slot: number): void {
    const head = this.heads[slot];
    const first = head.next;
    if (first === head) return;
    head.previous.next = head;
    head.next = head;
    head.previous = head;
    this.occupied[slot >> LEVEL_BITS] &= ~(1 << (slot & 31));
    // The chain still ends at `head`.
    for (let timer = first; timer !== head; ) {
      const next = timer.next;
      this.file(timer, FIRING);
      timer = next;
    }
  }

  /** Links an unlinked timer where its deadline belongs; `pastSlot` when that is not after the cursor. */
  private file(timer: Timer, pastSlot: number): void {
    const deadlineMs = timer.deadlineMs;
    let slot = pastSlot;
    if (deadlineMs > this.cursorMs) {
      const low = deadlineMs - this.epochMs;
      if (low >= EPOCH_MS) slot = FAR;
      else {
        const bit = 31 - Math.clz32(low ^ (this.cursorMs - this.epochMs));
        const level = (bit / LEVEL_BITS) | 0;
        slot = level * SLOTS_PER_LEVEL + ((low >> (level * LEVEL_BITS)) & (SLOTS_PER_LEVEL - 1));
      }
    }
    const head = this.heads[slot];
    const last = head.previous;
    timer.filedMs = deadlineMs;
    timer.slot = slot;
    timer.previous = last;
    timer.next = head;
    last.next = timer;
    head.previous = timer;
    this.occupied[slot >> LEVEL_BITS] |= 1 << (slot & 31);
  }

  private unlink(timer: Timer): void {
    const previous = timer.previous;
    const next = timer.next;
    previous.next = next;
    next.previous = previous;
    timer.previous = timer;
    timer.next = timer;
    // Both neighbours are the list's head: it is empty now.
    if (previous === next) this.occupied[timer.slot >> LEVEL_BITS] &= ~(1 << (timer.slot & 31));
  }
}
