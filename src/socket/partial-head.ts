/**
 * A head that didn't come in one piece. It stays in the buffer in which it began, with what follows appended while
 * there is room and the buffer is nobody else's (bytes behind the head may be a TLS record that is still to be
 * opened); then it moves to a larger one. A large buffer holds any head within the limits.
 */

import { type BufferId, type BufferPool, LARGE, MEDIUM, MEDIUM_BYTES, NO_BUFFER } from '../io/buffer-pool.ts';

/** Whose positions move with the head: a parser. */
export interface Rebased {
  rebase(delta: number): void;
}

export class PartialHead {
  private readonly pool: BufferPool;
  buffer: BufferId;
  /** Arena offsets of the head's first byte, of the end of what came, and of the buffer's end. */
  start: number;
  end: number;
  private limit: number;

  constructor(pool: BufferPool) {
    this.pool = pool;
    this.buffer = NO_BUFFER;
    this.start = 0;
    this.end = 0;
    this.limit = 0;
  }

  /** Takes over the buffer (and its reference) in which a head began at `start`. */
  keep(buffer: BufferId, start: number, end: number): void {
    this.buffer = buffer;
    this.start = start;
    this.end = end;
    this.limit = this.pool.offsetOf(buffer) + this.pool.sizeOf(buffer);
  }

  /** Appends what fits of `length` bytes at `offset`. Returns how many it took, or -1 when memory is exhausted. */
  append(offset: number, length: number, parser: Rebased): number {
    const isShared = this.pool.referencesOf(this.buffer) > 1;
    if ((isShared || this.end === this.limit) && !this.grow(parser)) return -1;
    const taken = Math.min(length, this.limit - this.end);
    this.pool.bytes.copyWithin(this.end, offset, offset + taken);
    this.end += taken;
    return taken;
  }

  private grow(parser: Rebased): boolean {
    const pool = this.pool;
    const length = this.end - this.start;
    const larger = pool.acquire(length <= MEDIUM_BYTES >> 1 ? MEDIUM : LARGE);
    if (larger === NO_BUFFER) return false;
    const to = pool.offsetOf(larger);
    if (length >= pool.sizeOf(larger)) {
      pool.release(larger);
      return false;
    }
    pool.bytes.copyWithin(to, this.start, this.end);
    parser.rebase(to - this.start);
    pool.release(this.buffer);
    this.buffer = larger;
    this.end += to - this.start;
    this.start = to;
    this.limit = to + pool.sizeOf(larger);
    return true;
  }

  /** Hands the buffer and its reference to the caller. */
  take(): BufferId {
    const buffer = this.buffer;
    this.buffer = NO_BUFFER;
    return buffer;
  }

  release(): void {
    if (this.buffer !== NO_BUFFER) this.pool.release(this.buffer);
    this.buffer = NO_BUFFER;
  }
}
