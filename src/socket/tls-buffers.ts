/** Buffers for records: any class will do where the right one is exhausted, so that what was begun can be ended. */

import {
  type BufferId,
  type BufferPool,
  LARGE,
  LARGE_BYTES,
  MEDIUM,
  MEDIUM_BYTES,
  NO_BUFFER,
  SMALL,
  SMALL_BYTES,
} from '../io/buffer-pool.ts';

/** The smallest free buffer that holds `length` bytes, or NO_BUFFER. */
export function acquireAtLeast(pool: BufferPool, length: number): BufferId {
  let id = length <= SMALL_BYTES ? pool.acquire(SMALL) : NO_BUFFER;
  if (id === NO_BUFFER && length <= MEDIUM_BYTES) id = pool.acquire(MEDIUM);
  if (id === NO_BUFFER && length <= LARGE_BYTES) id = pool.acquire(LARGE);
  return id;
}

/** The same; where there is none, the largest that is free, or NO_BUFFER where nothing is. */
export function acquireAbout(pool: BufferPool, length: number): BufferId {
  let id = acquireAtLeast(pool, Math.min(length, LARGE_BYTES));
  if (id === NO_BUFFER) id = pool.acquire(MEDIUM);
  if (id === NO_BUFFER) id = pool.acquire(SMALL);
  return id;
}
