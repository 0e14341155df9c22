/**
 * What all HTTP/2 connections share that a configuration's [http2] is for: settings, budgets, who was cut lately, and the
 * memory in which heads are decoded and encoded. It lives until the last connection that began under it has ended.
 */

import type { EventBudget, Http2Config } from '../config/model.ts';
import {
  D_PENALTY,
  DEFAULT_BUDGETS,
  type Http2Budgets,
  halvedBudgets,
  REASON_WORDS,
} from '../http2/budget.ts';
import type { Http2Settings } from '../http2/settings.ts';
import { Http2Workspace, workspaceBytes } from '../http2/workspace.ts';
import { type BufferId, type BufferPool, LARGE, LARGE_BYTES, NO_BUFFER } from '../io/buffer-pool.ts';
import { type ClientStrikes, STRIKES_REFUSED } from '../shared/client-strikes.ts';
import type { ClientAddress } from './client-address.ts';
import type { EdgeContext } from './context.ts';

/** Cut connections are told of in the log, so many in so long; the others are counted. */
const TOLD_MAX = 10;
const TELL_MS = 10_000;

export class Http2Shared {
  readonly settings: Http2Settings;
  readonly workspace: Http2Workspace;
  private config: Http2Config;
  /** By the strikes of a client's address. */
  private readonly budgets: readonly Http2Budgets[];
  private readonly strikes: ClientStrikes;
  private readonly pool: BufferPool;
  private buffer: BufferId;
  /** Connections, and who made this. */
  private users: number;
  private toldMs: number;
  private told: number;
  private untold: number;

  /** Throws an Error when memory is exhausted: for the start of a configuration. */
  constructor(pool: BufferPool, config: Http2Config, strikes: ClientStrikes) {
    this.settings = config;
    this.config = config;
    this.budgets = Array.from({ length: STRIKES_REFUSED + 1 }, (_, strikes) =>
      halvedBudgets(budgetsOf(config), strikes),
    );
    this.strikes = strikes;
    this.pool = pool;
    this.buffer = pool.acquire(LARGE);
    if (this.buffer === NO_BUFFER || workspaceBytes(this.settings) > LARGE_BYTES)
      throw new Error('no memory to decode the heads of HTTP/2 in');
    this.workspace = new Http2Workspace(pool.bytes, pool.offsetOf(this.buffer), this.settings);
    this.users = 1;
    this.toldMs = 0;
    this.told = 0;
    this.untold = 0;
  }

  /** Whether it is what a configuration asks for. */
  isFor(config: Http2Config): boolean {
    if (config !== this.config && JSON.stringify(config) !== JSON.stringify(this.config)) return false;
    this.config = config;
    return true;
  }

  enter(): void {
    this.users++;
  }

  leave(): void {
    if (--this.users > 0) return;
    if (this.buffer !== NO_BUFFER) this.pool.release(this.buffer);
    this.buffer = NO_BUFFER;
  }

  // ---- Those who ask too much -------------------------------------------------------------------------

  /** Strikes of a client: STRIKES_REFUSED where its connection is to be refused. */
  strikesOf(client: ClientAddress, nowMs: number): number {
    return this.strikes.strikesOf(client.words, nowMs, this.config.abuseHalfLifeMs);
  }

  budgetsFor(strikes: number): Http2Budgets {
    return this.budgets[strikes];
  }

  /** A connection was cut, by `reason`, an index of REASON_WORDS. `isKnown`: its address is one that stands for many. */
  wasCut(context: EdgeContext, client: ClientAddress, reason: number, isKnown: boolean): void {
    context.metrics?.http2Flooded(reason);
    // To be refused is no further strike, so that it ends.
    if (reason === D_PENALTY) return;
    const { nowMs } = context.reactor;
    if (!isKnown) this.strikes.strike(client.words, nowMs, this.config.abuseHalfLifeMs);
    this.tell(context, client, reason, nowMs);
  }

  private tell(context: EdgeContext, client: ClientAddress, reason: number, nowMs: number): void {
    if (nowMs - this.toldMs >= TELL_MS) {
      this.toldMs = nowMs;
      this.told = 0;
    }
    if (this.told === TOLD_MAX) {
      this.untold++;
      return;
    }
    this.told++;
    const others = this.untold === 0 ? '' : `, and ${this.untold} others since this was last told`;
    this.untold = 0;
    context.info(`an HTTP/2 client was cut: ${client.text}${others}`, REASON_WORDS[reason]);
  }
}

function budgetsOf(config: Http2Config): Http2Budgets {
  // In the order of their D_ numbers.
  const all: readonly EventBudget[] = [
    config.resets,
    config.settings,
    config.pings,
    config.priorities,
    config.emptyFrames,
    config.windowUpdates,
    config.tinyData,
  ];
  return {
    ...DEFAULT_BUDGETS,
    bursts: all.map(({ burst }) => burst),
    perSecond: all.map(({ perSec }) => perSec),
    continuationsMax: config.maxContinuationFrames,
    blockBytesMax: config.maxFieldBlockSize,
  };
}
