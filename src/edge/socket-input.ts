/**
 * The receiving half of one socket: what came and is not used up yet, and whether more is asked for. The piece at
 * hand lies in `buffer` from `offset` to `end`; what came after it waits in a queue that exists only then.
 */

import { type BufferId, type BufferPool, LARGE, NO_BUFFER } from '../io/buffer-pool.ts';
import type { Handle } from '../io/reactor.ts';
import type { SocketPort } from '../socket/port.ts';
import { InputQueue } from './input-queue.ts';

const RX_NONE = 0;
/** Whatever comes, in medium buffers, until stopped. */
const RX_MULTI = 1;
/** One large buffer. */
const RX_ONCE = 2;

/** Bytes that may wait in the queue, and pieces, each of which holds a buffer; from there on receiving stops. */
const QUEUE_BYTES_MAX = 65536;
const QUEUE_PIECES_MAX = 8;

export class SocketInput {
  private readonly pool: BufferPool;
  private readonly port: SocketPort;
  handle: Handle;
  buffer: BufferId;
  offset: number;
  end: number;
  private queue: InputQueue | null;
  private receiving: number;

  constructor(pool: BufferPool, port: SocketPort, handle: Handle) {
    this.pool = pool;
    this.port = port;
    this.handle = handle;
    this.buffer = NO_BUFFER;
    this.offset = 0;
    this.end = 0;
    this.queue = null;
    this.receiving = RX_NONE;
  }

  /** Bytes came; one reference of `buffer` passes. */
  put(buffer: BufferId, offset: number, length: number): void {
    if (this.receiving === RX_ONCE) this.receiving = RX_NONE;
    // After `detach` nothing is at hand though earlier pieces may wait: those come first.
    if (this.buffer === NO_BUFFER && (this.queue === null || this.queue.isEmpty)) {
      this.buffer = buffer;
      this.offset = offset;
      this.end = offset + length;
      return;
    }
    if (this.queue === null) this.queue = new InputQueue(this.pool);
    this.queue.push(buffer, offset, length);
    if (this.queue.bytes > QUEUE_BYTES_MAX || this.queue.pieces >= QUEUE_PIECES_MAX) this.stop();
  }

  /** Bytes came that nobody wants. */
  drop(buffer: BufferId): void {
    if (this.receiving === RX_ONCE) this.receiving = RX_NONE;
    this.pool.release(buffer);
  }

  /** Whether there is a byte to use: the piece at hand, or the next one, for which the used-up one is released. */
  available(): boolean {
    return this.offset < this.end || this.next();
  }

  private next(): boolean {
    if (this.buffer !== NO_BUFFER) this.pool.release(this.buffer);
    this.detach();
    const queue = this.queue;
    if (queue === null) return false;
    if (!queue.shift()) {
      this.queue = null;
      return false;
    }
    this.buffer = queue.buffer;
    this.offset = queue.offset;
    this.end = queue.offset + queue.length;
    return true;
  }

  /** Everything that came is used up. */
  get isEmpty(): boolean {
    return this.offset === this.end && (this.queue === null || this.queue.isEmpty);
  }

  /** Nothing is here, and nothing was asked for that could still come. */
  get isQuiet(): boolean {
    return this.isEmpty && this.receiving === RX_NONE;
  }

  /** The piece at hand is the caller's now, with its reference. */
  detach(): void {
    this.buffer = NO_BUFFER;
    this.offset = 0;
    this.end = 0;
  }

  /** What is at hand is of no use. */
  skip(): void {
    this.offset = this.end;
    this.queue?.clear();
  }

  /** Asks for more: in bulk (while there are large buffers enough), or in pieces as they come. */
  want(inBulk: boolean): void {
    const bulk = inBulk && this.pool.freeCount(LARGE) >= this.pool.shape.large >> 2;
    if (this.receiving === RX_ONCE || (this.receiving === RX_MULTI && !bulk)) return;
    if (this.receiving === RX_MULTI) this.stop();
    if (bulk) {
      this.receiving = RX_ONCE;
      this.port.receiveOnce(this.handle);
    } else {
      this.receiving = RX_MULTI;
      this.port.receiveStart(this.handle);
    }
  }

  /** Nothing more is wanted for now; a large piece that was asked for still comes. */
  stop(): void {
    if (this.receiving !== RX_MULTI) return;
    this.receiving = RX_NONE;
    this.port.receiveStop(this.handle);
  }

  /** The reactor has ended receiving. */
  ended(): void {
    this.receiving = RX_NONE;
  }

  /** Releases everything. */
  clear(): void {
    if (this.buffer !== NO_BUFFER) this.pool.release(this.buffer);
    this.detach();
    this.queue?.clear();
    this.queue = null;
  }
}
