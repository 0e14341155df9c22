/**
 * Which stream sends next (RFC 9218 §10): the most urgent first; of equal ones those that are not incremental one after
 * another, the others in turn. Fair within bounds: nobody keeps its turn for ever, and a less urgent stream gets
 * a frame now and then, since a client's idea of urgency must not starve its own other requests.
 */

import { INCREMENTAL, URGENCY_MAX } from './priority.ts';
import type { Http2Stream } from './stream.ts';

const LEVELS = URGENCY_MAX + 1;
/** What a stream that is not incremental sends before others of its urgency have their turn. Our own choice. */
const TURN_BYTES_MAX = 131_072;
/** What more urgent streams send before a less urgent one has a frame. Our own choice. */
const PASSED_OVER_BYTES_MAX = 524_288;

export class Scheduler {
  private readonly heads: (Http2Stream | null)[];
  private readonly tails: (Http2Stream | null)[];
  /** Bit by level: somebody waits there. */
  private waiting: number;
  /** Bytes sent from the first level while others waited. */
  private passedOverBytes: number;
  /** The level that was last let through. */
  private lowLevel: number;

  constructor() {
    this.heads = new Array<Http2Stream | null>(LEVELS).fill(null);
    this.tails = new Array<Http2Stream | null>(LEVELS).fill(null);
    this.waiting = 0;
    this.passedOverBytes = 0;
    this.lowLevel = 0;
  }

  get isEmpty(): boolean {
    return this.waiting === 0;
  }

  /** Puts a stream behind those of its urgency, unless it waits already. */
  add(stream: Http2Stream): void {
    if (stream.level >= 0) return;
    const level = stream.priority & URGENCY_MAX;
    const tail = this.tails[level];
    stream.level = level;
    stream.previous = tail;
    stream.next = null;
    stream.turnBytes = 0;
    if (tail === null) this.heads[level] = stream;
    else tail.next = stream;
    this.tails[level] = stream;
    this.waiting |= 1 << level;
  }

  remove(stream: Http2Stream): void {
    const { level, next, previous } = stream;
    if (level < 0) return;
    if (previous === null) this.heads[level] = next;
    else previous.next = next;
    if (next === null) this.tails[level] = previous;
    else next.previous = previous;
    stream.level = -1;
    stream.next = null;
    stream.previous = null;
    if (this.heads[level] === null) this.waiting &= ~(1 << level);
  }

  /** The stream's priority has changed. */
  move(stream: Http2Stream): void {
    if (stream.level < 0 || stream.level === (stream.priority & URGENCY_MAX)) return;
    this.remove(stream);
    this.add(stream);
  }

  /** Whose turn it is, or null. */
  first(): Http2Stream | null {
    const waiting = this.waiting;
    if (waiting === 0) return null;
    const top = 31 - Math.clz32(waiting & -waiting);
    const lower = waiting & ~(1 << top);
    if (lower !== 0 && this.passedOverBytes >= PASSED_OVER_BYTES_MAX) {
      // The next lower level after the one that was last let through.
      const after = lower & ~((1 << (this.lowLevel + 1)) - 1);
      const candidates = after === 0 ? lower : after;
      return this.heads[31 - Math.clz32(candidates & -candidates)];
    }
    return this.heads[top];
  }

  /** A stream that `first` named has sent so much of its content. */
  sent(stream: Http2Stream, bytes: number): void {
    const level = stream.level;
    if (level < 0) return;
    const top = 31 - Math.clz32(this.waiting & -this.waiting);
    if (level !== top) {
      this.passedOverBytes = 0;
      this.lowLevel = level;
    } else if (this.waiting !== 1 << top) {
      this.passedOverBytes += bytes;
    }
    stream.turnBytes += bytes;
    if ((stream.priority & INCREMENTAL) !== 0 || stream.turnBytes >= TURN_BYTES_MAX) {
      this.remove(stream);
      this.add(stream);
    }
  }
}
