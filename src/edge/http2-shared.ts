/** What all HTTP/2 connections of a worker share: settings, budgets, and the memory in which heads are decoded and encoded. */

import type { Http2Config } from '../config/model.ts';
import { DEFAULT_BUDGETS, type Http2Budgets } from '../http2/budget.ts';
import type { Http2Settings } from '../http2/settings.ts';
import { Http2Workspace, workspaceBytes } from '../http2/workspace.ts';
import { type BufferId, type BufferPool, LARGE, LARGE_BYTES, NO_BUFFER } from '../io/buffer-pool.ts';

export class Http2Shared {
  readonly settings: Http2Settings;
  readonly budgets: Http2Budgets;
  readonly workspace: Http2Workspace;
  private readonly pool: BufferPool;
  private buffer: BufferId;

  /** Throws an Error when memory is exhausted: at the start of a configuration only. */
  constructor(pool: BufferPool, config: Http2Config) {
    this.settings = config;
    this.budgets = DEFAULT_BUDGETS;
    this.pool = pool;
    this.buffer = pool.acquire(LARGE);
    if (this.buffer === NO_BUFFER || workspaceBytes(this.settings) > LARGE_BYTES)
      throw new Error('no memory to decode the heads of HTTP/2 in');
    this.workspace = new Http2Workspace(pool.bytes, pool.offsetOf(this.buffer), this.settings);
  }

  /** The last connection that uses it is gone. */
  release(): void {
    if (this.buffer !== NO_BUFFER) this.pool.release(this.buffer);
    this.buffer = NO_BUFFER;
  }
}
