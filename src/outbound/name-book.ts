/**
 * The names of a configuration and what they were last found to be. Every name is asked for again and again, at an
 * interval with jitter, sooner after a failure. A name that was found stays what it was while asking for it fails: what
 * worked is worth more than nothing. It knows a clock with timers, a Lookup, and who is to hear of changes.
 */

import { Timer, type TimerHandler, type TimerWheel } from '../base/timer-wheel.ts';
import { type Lookup, type NameAnswer, sameAddresses } from './name-lookup.ts';

/** How often a name is asked for again; the answers of the system's resolver don't say how long they are good. */
const REFRESH_MS = 10_000;
/** Intervals differ by up to this share, so that names and rooms don't ask all at once. */
const JITTER = 0.2;
/** After a failure it is asked again this soon, then after twice the time, up to the interval. */
const RETRY_MS_FIRST = 500;

/** The time, and timers on it. A reactor is one. */
export interface Clock {
  readonly nowMs: number;
  readonly timers: Pick<TimerWheel, 'arm' | 'disarm'>;
}

export interface NameListener {
  /** What is said of a name is new: the first answer, or another than before. */
  onName(name: string, answer: NameAnswer): void;
  /** A name that has been found can't be resolved any more, and stays what it was; or can again (`because` is empty). */
  onTrouble(name: string, because: string): void;
}

export class NameBook {
  readonly clock: Clock;
  readonly lookup: Lookup;
  readonly listener: NameListener;
  private readonly pages: Map<string, Page>;

  constructor(clock: Clock, lookup: Lookup, listener: NameListener) {
    this.clock = clock;
    this.lookup = lookup;
    this.listener = listener;
    this.pages = new Map();
  }

  /** Keeps these names from now on, and no others. New ones are asked for at once. */
  follow(names: readonly string[]): void {
    const kept = new Set(names);
    for (const [name, page] of this.pages) {
      if (kept.has(name)) continue;
      page.end();
      this.pages.delete(name);
    }
    for (const name of kept) {
      if (this.pages.has(name)) continue;
      const page = new Page(this, name);
      this.pages.set(name, page);
      page.ask();
    }
  }

  /** What is known of a name; null: it isn't in the book, or its first answer is on its way. */
  answerOf(name: string): NameAnswer | null {
    return this.pages.get(name)?.answer ?? null;
  }

  has(name: string): boolean {
    return this.pages.has(name);
  }
}

/** One name. */
class Page implements TimerHandler {
  answer: NameAnswer | null;
  private readonly book: NameBook;
  private readonly name: string;
  private readonly timer: Timer;
  /** Failures in a row. */
  private failures: number;
  private isOver: boolean;

  constructor(book: NameBook, name: string) {
    this.answer = null;
    this.book = book;
    this.name = name;
    this.timer = new Timer(this, 0);
    this.failures = 0;
    this.isOver = false;
  }

  ask(): void {
    this.book.lookup(this.name, (answer) => this.onAnswer(answer));
  }

  onTimer(): void {
    this.ask();
  }

  end(): void {
    this.isOver = true;
    this.book.clock.timers.disarm(this.timer);
  }

  private onAnswer(answer: NameAnswer): void {
    if (this.isOver) return;
    const { clock, listener } = this.book;
    const isFound = answer.status === 'found';
    const before = this.answer;
    const wasTroubled = this.failures > 0;
    this.failures = isFound ? 0 : this.failures + 1;
    clock.timers.arm(this.timer, clock.nowMs + waitMs(this.failures));
    if (!isFound && before?.status === 'found') {
      if (!wasTroubled) listener.onTrouble(this.name, answer.because);
      return;
    }
    if (isFound && before?.status === 'found' && wasTroubled) listener.onTrouble(this.name, '');
    this.answer = answer;
    const isSame = before?.status === answer.status && sameAddresses(before.addresses, answer.addresses);
    if (!isSame) listener.onName(this.name, answer);
  }
}

/** Until a name is asked for again, after so many failures in a row. */
function waitMs(failures: number): number {
  const wholeMs = failures === 0 ? REFRESH_MS : Math.min(REFRESH_MS, RETRY_MS_FIRST * 2 ** (failures - 1));
  return Math.ceil(wholeMs * (1 - JITTER + 2 * JITTER * Math.random()));
}
