/** What the parts of one edge worker share: memory, clock, pools, the configuration in force. Implemented by the worker. */

import type { FieldSection } from '../http/fields.ts';
import type { Reactor } from '../io/reactor.ts';
import type { VerdictTable } from '../shared/health-verdicts.ts';
import type { ClientAddress } from './client-address.ts';
import type { Exchange } from './exchange.ts';
import type { ForwardedLines } from './forwarded.ts';
import type { Generation } from './generation.ts';
import type { ClientEngine, ServerEngine } from './http1-engine.ts';
import type { EdgeMetrics } from './metrics.ts';
import type { ProxyResponder } from './proxy-responder.ts';

/** Limits of the configuration in force that hold before a route is known. Milliseconds and bytes. */
export interface EdgeLimits {
  /** The longest of all routes' client_header_timeout_secs, since the route is in the head. */
  readonly clientHeaderTimeoutMs: number;
  /** The largest of all routes' max_request_header_size. */
  readonly headBytesMax: number;
  readonly keepAliveTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly minRateBytesPerSec: number;
}

/** A client's connection, whatever it speaks, as the worker sees it. */
export interface ClientConnection {
  readonly client: ClientAddress;
  /** The edge stops: closes now when idle, else after what is in progress. */
  shutdown(isReplaced: boolean): void;
  /** The edge's patience is over. */
  abort(): void;
}

export interface EdgeContext {
  readonly reactor: Reactor;
  readonly limits: EdgeLimits;
  readonly forwardedLines: ForwardedLines;
  /** The edge is stopping: connections close after what they are doing. */
  readonly isDraining: boolean;
  /** What the prober says of servers. */
  readonly verdicts: VerdictTable;
  /** What is counted; null while nobody has asked for it. */
  readonly metrics: EdgeMetrics | null;

  takeExchange(): Exchange;
  recycleExchange(exchange: Exchange): void;
  takeServerEngine(): ServerEngine;
  recycleServerEngine(engine: ServerEngine): void;
  takeClientEngine(): ClientEngine;
  recycleClientEngine(engine: ClientEngine): void;
  takeProxyResponder(): ProxyResponder;
  recycleProxyResponder(responder: ProxyResponder): void;

  /** The configuration in force; it lives until everyone who entered has left. */
  enterGeneration(): Generation;
  leaveGeneration(generation: Generation): void;
  /** Whether `server.trusted_proxies` names a peer: it stands for many clients. */
  trusts(client: ClientAddress): boolean;

  /** Appends the present date as a Date field. */
  addDate(fields: FieldSection): void;
  /** Appends the Server field of answers that the edge makes itself. */
  addServer(fields: FieldSection): void;
  makeRequestId(): string;

  /** Logs and counts a finished exchange. */
  onExchangeEnd(exchange: Exchange): void;
  onConnectionClosed(connection: ClientConnection): void;
  /** Something an operator should know about a backend. */
  warn(message: string): void;
  /** Something an operator may want to know: a backend's health has changed, a client was cut. `because`: one word. */
  info(message: string, because: string): void;
}
