/** Pools with a bug planted on purpose, one in so many calls: what the simulation must catch. */

import type { BufferId, BufferPool, PoolShape } from '../../src/io/buffer-pool.ts';
import { SimBufferPool } from '../../src/io/sim.ts';

const ONE_IN = 97;

class HastyPool extends SimBufferPool {
  private calls = 0;

  /** Now and then gives back one reference too many. */
  override release(id: BufferId): void {
    if (++this.calls % ONE_IN === 0 && this.referencesOf(id) > 1) super.release(id);
    super.release(id);
  }
}

class ForgetfulPool extends SimBufferPool {
  private calls = 0;

  /** Now and then forgets that somebody else owns the buffer too. */
  override retain(id: BufferId): void {
    if (++this.calls % ONE_IN !== 0) super.retain(id);
  }
}

class KeepingPool extends SimBufferPool {
  private calls = 0;

  /** Now and then keeps what it should let go. */
  override release(id: BufferId): void {
    if (++this.calls % ONE_IN !== 0) super.release(id);
  }
}

export const HASTY = (shape: PoolShape): BufferPool => new HastyPool(shape);
export const FORGETFUL = (shape: PoolShape): BufferPool => new ForgetfulPool(shape);
export const KEEPING = (shape: PoolShape): BufferPool => new KeepingPool(shape);
