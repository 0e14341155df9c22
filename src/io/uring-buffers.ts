/**
 * A provided-buffer ring: buffers of one size class from which the kernel picks when bytes arrive, so that
 * a connection that waits holds none.
 *
 * The ring is kept filled up to `target` buffers, taken from the pool's last-in first-out list. The target
 * starts small, so that few buffers circulate and stay in the processor's caches, doubles after a turn in which
 * the kernel found the ring empty, and halves again when half of them were never needed for a while. A buffer that the kernel used belongs to whoever receives the bytes; another
 * takes its place at the next `refill`.
 */

import { assert } from '../base/assert.ts';
import { IORING_REGISTER_PBUF_RING } from '../sys/io-uring.ts';
import { type MappedMemory, mapPrivate } from '../sys/memory.ts';
import { type BufferId, type BufferPool, HEAD_ROOM_BYTES, LARGE, MEDIUM, NO_BUFFER } from './buffer-pool.ts';
import type { UringRing } from './uring-ring.ts';

/** Refills (turns) after which a ring that is too full is noticed. */
const REFILLS_PER_REVIEW = 4096;

/** What of a class may lie in the ring; the rest is for those who hold buffers. */
const LENT_SHARE_MAX = 0.25;

export class UringBuffers {
  readonly group: number;
  /** Bytes at a buffer's start that the kernel leaves free. */
  readonly headRoom: number;
  /** Buffers in the ring. */
  available: number;
  /** How many are to be there. */
  target: number;
  private readonly targetMin: number;
  private readonly targetMax: number;
  private foundEmpty: boolean;
  /** Fewest buffers that a refill found since the last review, and refills since then. */
  private lowest: number;
  private refills: number;
  private readonly pool: BufferPool;
  private readonly sizeClass: typeof MEDIUM | typeof LARGE;
  private readonly bufferBytes: number;
  /** Pool id of the class's first buffer: the kernel's 16-bit ids count from there. */
  private readonly firstId: number;
  private readonly low: number;
  private readonly high: number;
  private readonly entries: number;
  private readonly ring: MappedMemory;
  private readonly halves: Uint16Array;
  private tail: number;
  private published: number;

  /** `entries` is a power of two; all targets are at most that, and at most LENT_SHARE_MAX of the class. */
  constructor(
    ring: UringRing,
    group: number,
    pool: BufferPool,
    sizeClass: typeof MEDIUM | typeof LARGE,
    entries: number,
    initialTarget: number,
  ) {
    const { small, medium, large } = pool.shape;
    const count = sizeClass === LARGE ? large : medium;
    assert(count <= 0x10000, 'a buffer id in a ring has 16 bits');
    assert((entries & (entries - 1)) === 0 && entries <= 0x8000, 'entries must be a power of two');
    this.group = group;
    this.available = 0;
    this.targetMax = Math.min(entries, Math.max(1, Math.floor(count * LENT_SHARE_MAX)));
    this.targetMin = Math.min(initialTarget, this.targetMax);
    this.target = this.targetMin;
    this.foundEmpty = false;
    this.lowest = this.target;
    this.refills = 0;
    this.pool = pool;
    this.sizeClass = sizeClass;
    this.firstId = sizeClass === LARGE ? small + medium : small;
    this.bufferBytes = count === 0 ? 0 : pool.sizeOf(this.firstId);
    this.headRoom = sizeClass === MEDIUM ? HEAD_ROOM_BYTES : 0;
    this.low = pool.address | 0;
    this.high = Math.floor(pool.address / 0x100000000);
    this.entries = entries;
    this.ring = mapPrivate(entries * 16);
    this.halves = new Uint16Array(this.ring.buffer);
    this.tail = 0;
    this.published = 0;
    // struct io_uring_buf_reg: ring's address u64, entries u32, group u16, flags u16, reserved 3 × u64.
    const result = ring.register(IORING_REGISTER_PBUF_RING, [
      this.ring.low,
      this.ring.high,
      entries,
      group,
      0,
      0,
      0,
      0,
      0,
      0,
    ]);
    assert(result === 0, `cannot register a buffer ring: ${result}`);
  }

  /** The pool's id of the buffer that a completion with these flags carries, which has left the ring. */
  take(kernelId: number): BufferId {
    const id = this.firstId + kernelId;
    this.available--;
    this.pool.acquireLent(id);
    return id;
  }

  /** Fills the ring up to its target, as far as the pool has buffers; once a turn. */
  refill(): void {
    const { pool } = this;
    this.adapt();
    while (this.available < this.target) {
      const id = pool.lend(this.sizeClass);
      if (id === NO_BUFFER) break;
      this.add(id);
    }
    if (this.tail !== this.published) {
      this.published = this.tail;
      // The tail lies in the reserved half-word of the first entry.
      Atomics.store(this.halves, 7, this.tail);
    }
  }

  /** The kernel found the ring empty: keep more in it from the next refill on. */
  grow(): void {
    this.foundEmpty = true;
  }

  private adapt(): void {
    if (this.available < this.lowest) this.lowest = this.available;
    if (this.foundEmpty) {
      // Once, however many sockets found it so: they did in the same turn.
      this.foundEmpty = false;
      this.target = Math.min(this.target * 2, this.targetMax);
    } else if (++this.refills < REFILLS_PER_REVIEW) return;
    else if (this.lowest * 2 > this.target && this.target > this.targetMin) {
      this.target = Math.max(this.targetMin, this.target >> 1);
    }
    this.refills = 0;
    this.lowest = this.target;
  }

  /** Returns all buffers in the ring to the pool; only after the ring itself has been destroyed. */
  destroy(): void {
    const words = this.ring.words;
    const mask = this.entries - 1;
    for (let back = 1; back <= this.available; back++) {
      const entry = ((this.tail - back) & mask) << 2;
      this.pool.returnLent(this.firstId + (words[entry + 3] & 0xffff));
    }
    this.available = 0;
    this.ring.unmap();
  }

  private add(id: BufferId): void {
    const words = this.ring.words;
    const entry = (this.tail & (this.entries - 1)) << 2;
    // struct io_uring_buf: address u64, length u32, id u16, reserved u16 (in entry 0 the ring's tail).
    words[entry] = (this.low + this.pool.offsetOf(id) + this.headRoom) | 0;
    words[entry + 1] = this.high;
    words[entry + 2] = this.bufferBytes - this.headRoom;
    this.halves[(entry << 1) + 6] = id - this.firstId;
    this.tail = (this.tail + 1) & 0xffff;
    this.available++;
  }
}
