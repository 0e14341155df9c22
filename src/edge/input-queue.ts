/** Received bytes that can't be used yet, in order: (buffer, offset, length), each with a reference held. */

import { type BufferId, type BufferPool, NO_BUFFER } from '../io/buffer-pool.ts';

/** Entries at first; grows by doubling. The reactor bounds what can come after receiving was stopped. */
const ENTRIES_FIRST = 8;

export class InputQueue {
  private readonly pool: BufferPool;
  private entries: Int32Array;
  private head: number;
  private count: number;
  bytes: number;
  /** The entry that `shift` took out. */
  buffer: BufferId;
  offset: number;
  length: number;

  constructor(pool: BufferPool) {
    this.pool = pool;
    this.entries = new Int32Array(ENTRIES_FIRST * 3);
    this.head = 0;
    this.count = 0;
    this.bytes = 0;
    this.buffer = NO_BUFFER;
    this.offset = 0;
    this.length = 0;
  }

  get isEmpty(): boolean {
    return this.count === 0;
  }

  /** Entries; each of them holds a whole buffer, however few its bytes. */
  get pieces(): number {
    return this.count;
  }

  push(buffer: BufferId, offset: number, length: number): void {
    const capacity = this.entries.length / 3;
    if (this.count === capacity) this.grow(capacity);
    const at = ((this.head + this.count) % (this.entries.length / 3)) * 3;
    this.entries[at] = buffer;
    this.entries[at + 1] = offset;
    this.entries[at + 2] = length;
    this.count++;
    this.bytes += length;
  }

  private grow(capacity: number): void {
    const entries = new Int32Array(capacity * 6);
    for (let index = 0; index < this.count; index++) {
      const from = ((this.head + index) % capacity) * 3;
      entries.set(this.entries.subarray(from, from + 3), index * 3);
    }
    this.entries = entries;
    this.head = 0;
  }

  /** Takes the oldest entry out into `buffer`, `offset`, `length`; its reference passes to the caller. False when empty. */
  shift(): boolean {
    if (this.count === 0) return false;
    const at = this.head * 3;
    this.buffer = this.entries[at];
    this.offset = this.entries[at + 1];
    this.length = this.entries[at + 2];
    this.head = (this.head + 1) % (this.entries.length / 3);
    this.count--;
    this.bytes -= this.length;
    return true;
  }

  /** Releases everything. */
  clear(): void {
    while (this.shift()) this.pool.release(this.buffer);
  }
}
