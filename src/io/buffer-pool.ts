/**
 * The arena and its buffers: all memory that the kernel (or OpenSSL) sees. One mapping holds three
 * size classes; a buffer is a small integer id, reference-counted, released exactly once a reference.
 *
 * Invariants: an id is either in its class's free list (references 0), lent to the kernel (references 0), or
 * held (references > 0).
 * The free lists are last-in first-out, so that the working set stays small. Untouched buffers cost
 * no resident memory.
 */

import { assert } from '../base/assert.ts';

/** A buffer's id: 0 … count-1, or NO_BUFFER. */
export type BufferId = number;
export const NO_BUFFER: BufferId = -1;

export const SMALL = 0;
export const MEDIUM = 1;
export const LARGE = 2;
export type SizeClass = typeof SMALL | typeof MEDIUM | typeof LARGE;

/** Bytes of one buffer of each class. A medium one holds any head of the default limit and any TLS record. */
export const SMALL_BYTES = 4096;
export const MEDIUM_BYTES = 20480;
export const LARGE_BYTES = 262144;
/** Bytes at the start of a medium buffer that a receive leaves free: for a head that has become longer on its way. */
export const HEAD_ROOM_BYTES = 512;

/** How many buffers of each class an arena has. */
export interface PoolShape {
  readonly small: number;
  readonly medium: number;
  readonly large: number;
}

/** 32 + 160 + 512 MiB of address space; resident only as far as it was ever used at once. */
export const DEFAULT_SHAPE: PoolShape = { small: 8192, medium: 8192, large: 2048 };

/** Bytes that an arena of this shape needs. */
export function arenaBytes(shape: PoolShape): number {
  return shape.small * SMALL_BYTES + shape.medium * MEDIUM_BYTES + shape.large * LARGE_BYTES;
}

export class BufferPool {
  /** The whole arena; every offset in this program that says "arena offset" counts from its start. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The same bytes for text conversion (`latin1Slice`, `latin1Write`). */
  readonly text: Buffer;
  /** Address of `bytes[0]` as the kernel sees it; 0 in the simulator. */
  readonly address: number;
  readonly shape: PoolShape;
  private readonly mediumStart: number;
  private readonly largeStart: number;
  private readonly mediumBase: number;
  private readonly largeBase: number;
  private readonly references: Uint16Array;
  private readonly freeIds: Int32Array[];
  private readonly freeCounts: Int32Array;
  /** Buffers that the kernel may fill, which nobody holds yet. */
  private lent: number;

  /** `memory` must hold `arenaBytes(shape)` bytes, 4096-aligned at `address` where a kernel uses it. */
  constructor(memory: ArrayBuffer, address: number, shape: PoolShape) {
    assert(memory.byteLength >= arenaBytes(shape), 'arena smaller than its shape');
    assert(arenaBytes(shape) < 0x7fffffff, 'arena offsets must fit 31 bits');
    this.bytes = new Uint8Array(memory);
    this.view = new DataView(memory);
    this.text = Buffer.from(memory);
    this.address = address;
    this.shape = shape;
    this.mediumStart = shape.small;
    this.largeStart = shape.small + shape.medium;
    this.mediumBase = shape.small * SMALL_BYTES;
    this.largeBase = this.mediumBase + shape.medium * MEDIUM_BYTES;
    const count = this.largeStart + shape.large;
    this.references = new Uint16Array(count);
    this.freeIds = [
      descending(0, shape.small),
      descending(this.mediumStart, shape.medium),
      descending(this.largeStart, shape.large),
    ];
    this.freeCounts = Int32Array.of(shape.small, shape.medium, shape.large);
    this.lent = 0;
  }

  /** A buffer with one reference, or NO_BUFFER when the class is exhausted (the caller sheds load). */
  acquire(sizeClass: SizeClass): BufferId {
    const left = this.freeCounts[sizeClass] - 1;
    if (left < 0) return NO_BUFFER;
    this.freeCounts[sizeClass] = left;
    const id = this.freeIds[sizeClass][left];
    assert(this.references[id] === 0, 'a free buffer has references');
    this.references[id] = 1;
    return id;
  }

  /** One more owner. */
  retain(id: BufferId): void {
    const references = this.references[id];
    assert(references > 0 && references < 0xffff, 'retain of a free buffer');
    this.references[id] = references + 1;
  }

  /** One owner less; the last one sends the buffer home. */
  release(id: BufferId): void {
    const references = this.references[id];
    assert(references > 0, 'buffer released twice');
    this.references[id] = references - 1;
    if (references === 1) {
      const sizeClass = this.classOf(id);
      this.freeIds[sizeClass][this.freeCounts[sizeClass]++] = id;
    }
  }

  /**
   * Takes a buffer for the kernel to fill when bytes arrive: neither free nor held. Returns NO_BUFFER when the
   * class is exhausted. Ends with `acquireLent` or `returnLent`.
   */
  lend(sizeClass: SizeClass): BufferId {
    const left = this.freeCounts[sizeClass] - 1;
    if (left < 0) return NO_BUFFER;
    this.freeCounts[sizeClass] = left;
    this.lent++;
    return this.freeIds[sizeClass][left];
  }

  /** The kernel has filled a lent buffer, which has one reference from now on. */
  acquireLent(id: BufferId): void {
    assert(this.references[id] === 0 && this.lent > 0, 'a lent buffer has references');
    this.lent--;
    this.references[id] = 1;
  }

  /** A lent buffer comes home unused. */
  returnLent(id: BufferId): void {
    this.acquireLent(id);
    this.release(id);
  }

  classOf(id: BufferId): SizeClass {
    return id < this.mediumStart ? SMALL : id < this.largeStart ? MEDIUM : LARGE;
  }

  /** Arena offset of the buffer's first byte. */
  offsetOf(id: BufferId): number {
    if (id < this.mediumStart) return id * SMALL_BYTES;
    if (id < this.largeStart) return this.mediumBase + (id - this.mediumStart) * MEDIUM_BYTES;
    return this.largeBase + (id - this.largeStart) * LARGE_BYTES;
  }

  sizeOf(id: BufferId): number {
    return id < this.mediumStart ? SMALL_BYTES : id < this.largeStart ? MEDIUM_BYTES : LARGE_BYTES;
  }

  /** References held on this buffer; 0 when it is at home. */
  referencesOf(id: BufferId): number {
    return this.references[id];
  }

  freeCount(sizeClass: SizeClass): number {
    return this.freeCounts[sizeClass];
  }

  /** Buffers of all classes that somebody holds; those lent to the kernel are nobody's. */
  heldCount(): number {
    const { small, medium, large } = this.shape;
    const free = this.freeCounts[0] + this.freeCounts[1] + this.freeCounts[2];
    return small + medium + large - free - this.lent;
  }
}

function descending(first: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, index) => first + count - 1 - index);
}
