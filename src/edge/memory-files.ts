/**
 * What file routes keep in the arena: contents of files (mode `memory`), so that they are sent without a
 * system call for the file, and lines of heads. Bounded: a file of at most MEMORY_FILE_BYTES_MAX, and of each
 * size class at most a quarter for all routes together; beyond that a file is sent as in mode `sendfile`.
 */

import {
  type BufferId,
  type BufferPool,
  LARGE,
  LARGE_BYTES,
  MEDIUM,
  MEDIUM_BYTES,
  NO_BUFFER,
  type SizeClass,
  SMALL,
  SMALL_BYTES,
} from '../io/buffer-pool.ts';

/** Larger files are not kept: they are what the page cache and sendfile are for. Our own choice. */
export const MEMORY_FILE_BYTES_MAX = 1 << 20;
/** Part of the arena that may be kept: a quarter. */
const SHARE_SHIFT = 2;
/** References to one buffer, of the 65,535 that the pool counts, above which a content isn't sent from memory. */
const REFERENCES_MAX = 50000;

/** How much of an arena all file routes together keep. */
export class MemoryBudget {
  private readonly pool: BufferPool;
  private readonly used: Int32Array;
  private readonly most: Int32Array;

  private constructor(pool: BufferPool) {
    const { small, medium, large } = pool.shape;
    this.pool = pool;
    this.used = new Int32Array(3);
    this.most = Int32Array.of(small >> SHARE_SHIFT, medium >> SHARE_SHIFT, large >> SHARE_SHIFT);
  }

  /** The one budget of an arena. */
  static of(pool: BufferPool): MemoryBudget {
    let budget = budgets.get(pool);
    if (budget === undefined) {
      budget = new MemoryBudget(pool);
      budgets.set(pool, budget);
    }
    return budget;
  }

  /** Room for a file of `size` bytes, one user of which is the caller; null where it is too large or the bound is reached. */
  take(size: number): MemoryContent | null {
    if (size > MEMORY_FILE_BYTES_MAX) return null;
    const sizeClass = size <= SMALL_BYTES ? SMALL : size <= MEDIUM_BYTES ? MEDIUM : LARGE;
    const unit = sizeClass === SMALL ? SMALL_BYTES : sizeClass === MEDIUM ? MEDIUM_BYTES : LARGE_BYTES;
    const count = Math.ceil(size / unit);
    if (this.used[sizeClass] + count > this.most[sizeClass]) return null;
    const buffers: BufferId[] = [];
    for (let index = 0; index < count; index++) {
      const id = this.pool.acquire(sizeClass);
      if (id === NO_BUFFER) {
        for (const taken of buffers) this.pool.release(taken);
        return null;
      }
      buffers.push(id);
    }
    this.used[sizeClass] += count;
    return new MemoryContent(this, sizeClass, unit, size, buffers);
  }

  /** A small buffer to keep; NO_BUFFER where the bound is reached. */
  takeSmall(): BufferId {
    if (this.used[SMALL] >= this.most[SMALL]) return NO_BUFFER;
    const id = this.pool.acquire(SMALL);
    if (id !== NO_BUFFER) this.used[SMALL]++;
    return id;
  }

  giveSmall(id: BufferId): void {
    this.pool.release(id);
    this.used[SMALL]--;
  }

  /** The last user of a content has gone. What is being sent still holds its buffers. */
  give(content: MemoryContent): void {
    for (const id of content.buffers) this.pool.release(id);
    this.used[content.sizeClass] -= content.buffers.length;
  }

  /** Whether one more response may be sent from this content. */
  sendable(content: MemoryContent): boolean {
    return content.size === 0 || this.pool.referencesOf(content.buffers[0]) < REFERENCES_MAX;
  }
}

const budgets = new WeakMap<BufferPool, MemoryBudget>();

/** A file's bytes in buffers of one class, all full but the last. */
export class MemoryContent {
  readonly sizeClass: SizeClass;
  /** Bytes of one buffer. */
  readonly unit: number;
  readonly size: number;
  readonly buffers: readonly BufferId[];
  private readonly budget: MemoryBudget;
  /** The table that keeps it, and each response under way. */
  private users: number;

  constructor(
    budget: MemoryBudget,
    sizeClass: SizeClass,
    unit: number,
    size: number,
    buffers: readonly BufferId[],
  ) {
    this.budget = budget;
    this.sizeClass = sizeClass;
    this.unit = unit;
    this.size = size;
    this.buffers = buffers;
    this.users = 1;
  }

  retain(): void {
    this.users++;
  }

  release(): void {
    if (--this.users === 0) this.budget.give(this);
  }
}
