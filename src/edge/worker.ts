/**
 * One worker of the edge: its reactor, listeners and connections, the configuration in force, and the pools that
 * its parts draw from. It knows neither files nor signals nor promises; main.ts does.
 */

import { randomBytes } from 'node:crypto';
import { type BackendTls, type BackendTlsSet, contextOf, NO_BACKEND_TLS } from '../backend/backend-tls.ts';
import { type ResolvedServers, serverKey } from '../backend/server-names.ts';
import { assert } from '../base/assert.ts';
import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import type { Config, ServerEntry } from '../config/model.ts';
import { formatHttpDate } from '../http/dates.ts';
import { faultOf } from '../http/fault.ts';
import { F_DATE, F_SERVER, FIELDS_MAX, type FieldSection } from '../http/fields.ts';
import { SCHEME_HTTP, SCHEME_HTTPS } from '../http/message.ts';
import { RecentHeads } from '../http1/recent-heads.ts';
import type { HeadLimits } from '../http1/request-parser.ts';
import type { Handle, ListenerHandler, Reactor, SocketHandler } from '../io/reactor.ts';
import { AccessRecord, type Log } from '../log/log.ts';
import { OVER_ADDRESS, TAKEN } from '../shared/connection-counts.ts';
import type { VerdictTable } from '../shared/health-verdicts.ts';
import { SharedState } from '../shared/state.ts';
import type { SocketPort } from '../socket/port.ts';
import type { TlsSocket } from '../socket/tls-socket.ts';
import { errnoName } from '../sys/errno.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import { clientIdentityOf } from '../tls/client-certificate.ts';
import type { Handshake } from '../tls/handshake.ts';
import { BackendServer } from './backend-server.ts';
import { ClientAddress } from './client-address.ts';
import type { ClientConnection, EdgeContext, EdgeLimits } from './context.ts';
import { Exchange } from './exchange.ts';
import { ForwardedLines } from './forwarded.ts';
import { Generation, type ServerRegistry } from './generation.ts';
import { ConstantBytes } from './header-rules.ts';
import { Http1Connection } from './http1-connection.ts';
import { ClientEngine, ServerEngine } from './http1-engine.ts';
import { Http2Connection } from './http2-connection.ts';
import { Http2Shared } from './http2-shared.ts';
import { EdgeMetrics, type MetricsSource, type SharedMetrics } from './metrics.ts';
import { PlainAcceptor, type PlainConnections } from './plain-acceptor.ts';
import { ProxyResponder } from './proxy-responder.ts';
import type { RouteAction } from './route.ts';
import type { StatusDocument } from './status-data.ts';
import { type SecureConnections, TlsAcceptor, type TlsSessions } from './tls-acceptor.ts';
import type { UpstreamGroup } from './upstream-group.ts';
import { WaitingConnections } from './waiting-connections.ts';

/** Objects of each kind that are kept for reuse; more go to the garbage collector. */
const POOLED_MAX = 1024;
/** A response head from a backend, and its status line, at most. Generous: cookies. */
const RESPONSE_HEAD_BYTES_MAX = 65536;
const RESPONSE_LINE_BYTES_MAX = 8192;
/** After accepting failed for want of descriptors or memory it is tried again this soon. */
const ACCEPT_RETRY_MS = 250;
/** How often this worker looks whether others' connections have left it room, and whether some have waited too long. */
const LOOK_MS = 250;
/** Connections of the status page's listener at once. */
const QUIET_CONNECTIONS_MAX = 32;
/** Refused connections are told of this seldom. */
const REFUSAL_LOG_MS = 1000;
/** When accepting has gone on for so long, its trouble is over; until then a further pause is no news. */
const ACCEPT_CALM_MS = 5000;
const BACKLOG = 4096;
const REQUEST_ID_BYTES = 16;
const SERVER_NAME = 'sallyport';
/** `Date: Sun, 06 Nov 1994 08:49:37 GMT` CRLF. */
const DATE_LINE_BYTES = 37;
const DATE_VALUE_BYTES = 29;

const T_ACCEPT = 1;
const T_SHUTDOWN = 2;
const T_CALM = 3;
const T_LOOK = 4;

/** What the worker counts; plain numbers. */
export interface EdgeCounters {
  connections: number;
  exchanges: number;
  /** Times that accepting was paused. */
  acceptPauses: number;
  /** Connections that were closed unread: too many of one address, or of all for too long. */
  refusedByAddress: number;
  refusedByTotal: number;
}

export class EdgeWorker
  implements
    EdgeContext,
    ListenerHandler,
    TimerHandler,
    ServerRegistry,
    SecureConnections,
    PlainConnections,
    MetricsSource
{
  readonly reactor: Reactor;
  readonly log: Log;
  /** What it shares with other workers. */
  readonly shared: SharedState;
  readonly verdicts: VerdictTable;
  readonly counters: EdgeCounters;
  /** From when a configuration first asks for the metrics page. */
  metrics: EdgeMetrics | null;
  /** Where other workers count too; set before the first configuration. */
  sharedMetrics: SharedMetrics;
  isDraining: boolean;
  /** While draining: another worker serves the same clients already. */
  private isReplaced: boolean;
  readonly forwardedLines: ForwardedLines;
  private generation: Generation | null;
  private readonly listeners: Handle[];
  /** Those on Unix sockets, whose peers have no address. */
  private readonly unixListeners: Set<Handle>;
  /** Those that answer every request in one way, and never by a route. */
  private readonly listenerActions: Map<Handle, RouteAction>;
  private readonly connections: Set<ClientConnection>;
  /** Those for which there was no room. */
  private readonly waiting: WaitingConnections;
  /** Connections without TLS of which nothing was read yet. */
  private readonly plain: PlainAcceptor;
  /** What connections of HTTP/2 share, from when a configuration first enables it. */
  private http2: Http2Shared | null;
  /** Where the configuration has [tls]. */
  private tls: TlsAcceptor | null;
  private readonly secureListeners: Set<Handle>;
  private readonly servers: Map<string, { server: BackendServer; users: number }>;
  private readonly constants: ConstantBytes;
  private readonly exchanges: Exchange[];
  private readonly recentHeads: RecentHeads;
  private readonly serverEngines: ServerEngine[];
  private readonly clientEngines: ClientEngine[];
  private readonly proxyResponders: ProxyResponder[];
  private serverHeadLimits: HeadLimits;
  private readonly clientHeadLimits: HeadLimits;
  private readonly acceptTimer: Timer;
  private readonly shutdownTimer: Timer;
  private readonly calmTimer: Timer;
  private readonly lookTimer: Timer;
  private acceptPaused: boolean;
  private refusalLoggedMs: number;
  private refusalsUnlogged: number;
  /** Those of listeners whose connections don't count. */
  private quietConnections: number;
  /** A pause was logged, and its end was not. */
  private acceptTroubled: boolean;
  private readonly dateLine: number;
  private dateSecond: number;
  private readonly serverLine: number;
  private readonly record: AccessRecord;
  private onStopped: (() => void) | null;

  constructor(reactor: Reactor, log: Log, shared: SharedState = SharedState.alone()) {
    this.reactor = reactor;
    this.log = log;
    this.shared = shared;
    this.verdicts = shared.verdicts;
    this.counters = {
      connections: 0,
      exchanges: 0,
      acceptPauses: 0,
      refusedByAddress: 0,
      refusedByTotal: 0,
    };
    this.metrics = null;
    this.sharedMetrics = shared.metrics;
    this.isDraining = false;
    this.isReplaced = false;
    this.generation = null;
    this.listeners = [];
    this.unixListeners = new Set();
    this.listenerActions = new Map();
    this.connections = new Set();
    this.waiting = new WaitingConnections(reactor);
    this.plain = new PlainAcceptor(this);
    this.http2 = null;
    this.tls = null;
    this.secureListeners = new Set();
    this.servers = new Map();
    this.constants = new ConstantBytes(reactor.pool);
    this.exchanges = [];
    this.recentHeads = new RecentHeads();
    this.serverEngines = [];
    this.clientEngines = [];
    this.proxyResponders = [];
    this.serverHeadLimits = { requestLineBytesMax: 0, headBytesMax: 0, fieldsMax: FIELDS_MAX };
    this.clientHeadLimits = {
      requestLineBytesMax: RESPONSE_LINE_BYTES_MAX,
      headBytesMax: RESPONSE_HEAD_BYTES_MAX,
      fieldsMax: FIELDS_MAX,
    };
    this.acceptTimer = new Timer(this, T_ACCEPT);
    this.shutdownTimer = new Timer(this, T_SHUTDOWN);
    this.calmTimer = new Timer(this, T_CALM);
    this.lookTimer = new Timer(this, T_LOOK);
    this.quietConnections = 0;
    this.refusalLoggedMs = Number.NEGATIVE_INFINITY;
    this.refusalsUnlogged = 0;
    this.acceptPaused = false;
    this.acceptTroubled = false;
    this.forwardedLines = new ForwardedLines(this.constants);
    this.dateLine = this.constants.put(`Date: ${' '.repeat(DATE_VALUE_BYTES)}\r\n`);
    assert(DATE_LINE_BYTES === 'Date: '.length + DATE_VALUE_BYTES + 2, 'the date line has its length');
    this.dateSecond = -1;
    this.serverLine = this.constants.put(`Server: ${SERVER_NAME}\r\n`);
    this.record = new AccessRecord();
    this.onStopped = null;
  }

  // ---- Configuration ----------------------------------------------------------------------------------

  /**
   * Puts a configuration in force for all requests to come, and `sessions` for all connections. Throws an Error with
   * the reason; then the old one stays.
   */
  configure(
    config: Config,
    resolved: ResolvedServers,
    sessions: TlsSessions | null = null,
    backendTls: BackendTlsSet = NO_BACKEND_TLS,
  ): void {
    const http2 = this.http2For(config);
    let next: Generation;
    try {
      next = new Generation(this, config, resolved, this, this.shared.rateLimiter, backendTls);
    } catch (error) {
      if (http2 !== this.http2) http2?.leave();
      throw error;
    }
    if (http2 !== this.http2) this.http2?.leave();
    this.http2 = http2;
    if (sessions !== null && this.tls === null) this.tls = new TlsAcceptor(this, sessions);
    else if (sessions !== null) this.tls?.replace(sessions);
    if (config.prometheus.enabled || config.status.listen !== null)
      this.metrics ??= new EdgeMetrics(this, this.sharedMetrics);
    this.metrics?.nameHosts(next.router.tables);
    const before = this.generation;
    this.generation = next;
    next.takeEffect();
    const { headBytesMax } = next.limits;
    if (this.serverHeadLimits.headBytesMax !== headBytesMax) {
      this.serverHeadLimits = { requestLineBytesMax: headBytesMax, headBytesMax, fieldsMax: FIELDS_MAX };
      this.serverEngines.length = 0;
    }
    if (before !== null) this.leaveGeneration(before);
    this.regulateAccept();
  }

  /** What connections of HTTP/2 share under a configuration. Throws an Error when memory is exhausted. */
  private http2For(config: Config): Http2Shared | null {
    const { http2 } = this;
    // Where it is switched off, what a handshake has promised before is still kept.
    if (!config.server.http2Enabled || http2?.isFor(config.http2) === true) return http2;
    return new Http2Shared(this.reactor.pool, config.http2, this.shared.strikes);
  }

  get openConnections(): number {
    return this.connections.size + this.plain.size + (this.tls === null ? 0 : this.tls.size);
  }

  // ---- Metrics ----------------------------------------------------------------------------------------

  get shakingConnections(): number {
    return this.tls === null ? 0 : this.tls.size;
  }

  get connectionsMax(): number {
    return this.current().config.security.maxConcurrentConnections;
  }

  backendServers(): BackendServer[] {
    return [...this.servers.values()].map(({ server }) => server);
  }

  upstreamGroups(): readonly UpstreamGroup[] {
    return this.current().groups;
  }

  get config(): Config {
    return this.current().config;
  }

  get limits(): EdgeLimits {
    return this.current().limits;
  }

  private current(): Generation {
    assert(this.generation !== null, 'the worker is not configured');
    return this.generation;
  }

  enterGeneration(): Generation {
    const generation = this.current();
    generation.users++;
    return generation;
  }

  trusts(client: ClientAddress): boolean {
    const { generation } = this;
    return generation?.trustsSomeone === true && generation.trusts(client);
  }

  leaveGeneration(generation: Generation): void {
    if (--generation.users === 0) generation.close();
  }

  use(entry: ServerEntry, addresses: readonly SocketAddress[], tls: BackendTls | null): BackendServer {
    const key = serverKey(entry, tls);
    const known = this.servers.get(key);
    if (known !== undefined) {
      known.users++;
      return known.server;
    }
    const context = tls === null ? null : contextOf(entry.url, tls);
    const server = new BackendServer(this, entry.url, addresses, key, context, entry.useH2c);
    this.servers.set(key, { server, users: 1 });
    return server;
  }

  /** Servers have other addresses than before, by URL. */
  readdress(changed: ResolvedServers): void {
    for (const { server } of this.servers.values()) {
      const addresses = changed.get(server.url);
      if (addresses !== undefined) server.readdress(addresses);
    }
  }

  leave(server: BackendServer): void {
    const known = this.servers.get(server.key);
    if (known === undefined || known.server !== server || --known.users > 0) return;
    this.servers.delete(server.key);
    server.retire();
  }

  /** What the status page tells, from when a configuration first asks for one. */
  status(): StatusDocument | null {
    return this.metrics === null ? null : this.metrics.status(this.config.source);
  }

  // ---- Listeners --------------------------------------------------------------------------------------

  /** Opens a listener, whose requests go to the routes, or all to `action`. Returns the address it is bound to, or -errno. */
  listen(address: SocketAddress, action: RouteAction | null = null): SocketAddress | number {
    const listener = this.reactor.listen(
      address,
      { backlog: BACKLOG, reusePort: false, unixMode: 0o666 },
      this,
    );
    return listener < 0 ? listener : this.addListener(listener, action);
  }

  /** The same for a socket that listens already; `accept` has the reactor accept from it. */
  listenOn(
    accept: (handler: ListenerHandler) => Handle,
    action: RouteAction | null = null,
  ): SocketAddress | number {
    const listener = accept(this);
    return listener < 0 ? listener : this.addListener(listener, action);
  }

  private addListener(listener: Handle, action: RouteAction | null): SocketAddress {
    const address = this.reactor.localAddress(listener);
    this.listeners.push(listener);
    if (address.family === 'unix') this.unixListeners.add(listener);
    if (action !== null) this.listenerActions.set(listener, action);
    else if (this.tls !== null) this.secureListeners.add(listener);
    return address;
  }

  onAccept(listener: Handle, handle: Handle): void {
    const address = this.reactor.peerAddress(handle);
    // Reset before it was looked at: its request could still be read, but whose it is could not be told.
    if (address.family === 'unix' && !this.unixListeners.has(listener)) return;
    const client = ClientAddress.of(address);
    if (this.listenerActions.get(listener)?.isQuiet === true) {
      this.serveQuietly(listener, handle, client);
      return;
    }
    this.counters.connections++;
    if (this.waiting.size > 0 || !this.takePlace(listener, handle, client))
      this.waiting.add(listener, handle, client);
    this.regulateAccept();
  }

  /** Serves a connection, or refuses it; false: there are too many of them. */
  private takePlace(listener: Handle, handle: Handle, client: ClientAddress): boolean {
    const { maxConcurrentConnections, maxConnectionsPerIp } = this.config.security;
    const perAddressMax = this.current().trusts(client) ? 0 : maxConnectionsPerIp;
    const taking = this.shared.connections.take(client.words, maxConcurrentConnections, perAddressMax);
    if (taking === TAKEN) this.serve(listener, handle, client);
    else if (taking === OVER_ADDRESS) this.refuse(handle, client);
    else return false;
    return true;
  }

  /** An operator who looks at the status page gets through however many clients there are, and takes nobody's place. */
  private serveQuietly(listener: Handle, handle: Handle, client: ClientAddress): void {
    if (this.quietConnections >= QUIET_CONNECTIONS_MAX) return;
    this.quietConnections++;
    client.isCounted = false;
    this.serve(listener, handle, client);
  }

  private refuse(handle: Handle, client: ClientAddress): void {
    const { nowMs } = this.reactor;
    this.reactor.close(handle, false);
    this.counters.refusedByAddress++;
    this.refusalsUnlogged++;
    if (nowMs - this.refusalLoggedMs < REFUSAL_LOG_MS) return;
    this.log.warn('connections are refused: security.max_connections_per_ip is reached', {
      client: client.text,
      refused: this.refusalsUnlogged,
    });
    this.refusalLoggedMs = nowMs;
    this.refusalsUnlogged = 0;
  }

  private serve(listener: Handle, handle: Handle, client: ClientAddress): void {
    if (this.tls !== null && this.secureListeners.has(listener)) {
      const begun = this.tls.accept(handle, client, this.limits.clientHeaderTimeoutMs);
      if (begun) return;
      this.shared.connections.give(client.words);
      this.reactor.close(handle, false);
    } else {
      const action = this.listenerActions.get(listener) ?? null;
      // With prior knowledge HTTP/2 needs no TLS; where everything is redirected nobody has any.
      if (this.config.server.http2Enabled && action === null)
        this.plain.accept(handle, client, action, this.limits.clientHeaderTimeoutMs);
      else this.begin(this.reactor, handle, client, SCHEME_HTTP, action, false);
    }
  }

  /** A connection whose protocol is known. */
  private begin(
    port: SocketPort,
    handle: Handle,
    client: ClientAddress,
    scheme: number,
    action: RouteAction | null,
    isHttp2: boolean,
  ): SocketHandler {
    const connection = isHttp2
      ? new Http2Connection(this, port, handle, client, scheme, action, this.sharedHttp2())
      : new Http1Connection(this, port, handle, client, scheme, action);
    port.adopt(handle, connection);
    this.connections.add(connection);
    connection.start();
    if (this.isDraining) connection.shutdown(this.isReplaced);
    return connection;
  }

  private sharedHttp2(): Http2Shared {
    assert(this.http2 !== null, 'a connection of HTTP/2 that is not enabled');
    return this.http2;
  }

  onChosen(
    handle: Handle,
    client: ClientAddress,
    action: RouteAction | null,
    isHttp2: boolean,
  ): SocketHandler {
    return this.begin(this.reactor, handle, client, SCHEME_HTTP, action, isHttp2);
  }

  onChoiceGone(client: ClientAddress): void {
    this.onConnectionGone(client);
  }

  onSecured(socket: TlsSocket, handshake: Handshake, client: ClientAddress): void {
    client.identity = clientIdentityOf(handshake.ssl);
    this.metrics?.handshakeDone(handshake.wasResumed);
    const isHttp2 = handshake.protocol === 'h2';
    this.begin(socket, socket.handle, client, SCHEME_HTTPS, null, isHttp2);
  }

  onHandshakeFailed(client: ClientAddress, reason: string): void {
    this.metrics?.handshakeFailed(reason);
    this.log.info(`TLS handshake failed: ${reason}`, { client: client.text });
  }

  onHandshakeGone(client: ClientAddress): void {
    this.onConnectionGone(client);
  }

  onAcceptError(_listener: Handle, errno: number): void {
    if (this.pauseAccept())
      this.log.error(`accepting is paused: ${errnoName(errno)}`, { open_connections: this.openConnections });
    this.reactor.timers.arm(this.acceptTimer, this.reactor.nowMs + ACCEPT_RETRY_MS);
  }

  /** At the limit of connections accepting pauses and the kernel's backlog holds the rest. */
  private regulateAccept(): void {
    if (this.generation === null) return;
    const limit = this.generation.config.security.maxConcurrentConnections;
    this.admitWaiting();
    const full =
      this.waiting.size > 0 || (limit > 0 && !this.isDraining && this.shared.connections.total >= limit);
    if (full && this.lookTimer.deadlineMs < 0)
      this.reactor.timers.arm(this.lookTimer, this.reactor.nowMs + LOOK_MS);
    if (this.isDraining) return;
    if (full && !this.acceptPaused) {
      if (this.pauseAccept())
        this.log.warn('accepting is paused: security.max_concurrent_connections is reached', { limit });
      for (const listener of this.listeners)
        if (this.listenerActions.get(listener)?.isQuiet !== true) this.reactor.acceptPause(listener);
    } else if (!full && this.acceptPaused && this.acceptTimer.deadlineMs < 0) {
      this.resumeAccept();
    }
  }

  /** Serves those that wait as far as there is room by now. */
  private admitWaiting(): void {
    const { waiting } = this;
    while (waiting.size > 0) {
      const first = waiting.first();
      if (!this.takePlace(first.listener, first.handle, first.client)) break;
      waiting.remove(first);
    }
    this.counters.refusedByTotal += waiting.closeOverdue();
  }

  /** Returns whether that is news for the log: once for each time of trouble, however often accepting is tried in it. */
  private pauseAccept(): boolean {
    if (this.acceptPaused) return false;
    const isNews = !this.acceptTroubled;
    this.acceptPaused = true;
    this.acceptTroubled = true;
    this.counters.acceptPauses++;
    this.reactor.timers.disarm(this.calmTimer);
    return isNews;
  }

  private resumeAccept(): void {
    this.acceptPaused = false;
    this.reactor.timers.arm(this.calmTimer, this.reactor.nowMs + ACCEPT_CALM_MS);
    for (const listener of this.listeners) this.reactor.acceptResume(listener);
  }

  onConnectionClosed(connection: ClientConnection): void {
    this.connections.delete(connection);
    this.onConnectionGone(connection.client);
  }

  private onConnectionGone(client: ClientAddress): void {
    if (client.isCounted) this.shared.connections.give(client.words);
    else this.quietConnections--;
    if (this.acceptPaused || this.waiting.size > 0) this.regulateAccept();
    if (this.isDraining) this.checkStopped();
  }

  onTimer(timer: Timer): void {
    if (timer.kind === T_ACCEPT || timer.kind === T_LOOK) {
      this.regulateAccept();
      if (this.isDraining) this.checkStopped();
      return;
    }
    if (timer.kind === T_CALM) {
      this.acceptTroubled = false;
      this.log.info('accepting again', { open_connections: this.openConnections });
      return;
    }
    if (this.openConnections > 0)
      this.log.warn('shutdown_timeout_secs is over', { cut: this.openConnections });
    for (const connection of [...this.connections]) connection.abort();
    this.plain.abort();
    this.tls?.abort();
    this.waiting.abort();
    this.checkStopped();
  }

  // ---- Shutdown ---------------------------------------------------------------------------------------

  /** Stops accepting, lets what is in flight finish within `timeoutMs`, and calls back when the last connection is gone. */
  shutdown(timeoutMs: number, isReplaced: boolean, onStopped: () => void): void {
    if (this.isDraining) return;
    this.isDraining = true;
    this.onStopped = onStopped;
    this.reactor.timers.disarm(this.acceptTimer);
    this.reactor.timers.disarm(this.calmTimer);
    if (!isReplaced) this.waiting.abort();
    this.isReplaced = isReplaced;
    if (isReplaced) this.leaveListeners();
    else this.closeListeners();
    for (const connection of [...this.connections]) connection.shutdown(isReplaced);
    if (!isReplaced) this.plain.abort();
    this.reactor.timers.arm(this.shutdownTimer, this.reactor.nowMs + timeoutMs);
    this.checkStopped();
  }

  /** The sockets live on in other workers: what only this one was told of is still its own. */
  private leaveListeners(): void {
    for (const listener of this.listeners) this.reactor.acceptLeave(listener);
  }

  onAcceptLeft(listener: Handle): void {
    const index = this.listeners.indexOf(listener);
    if (index < 0) return;
    this.listeners.splice(index, 1);
    this.reactor.close(listener, false);
    this.checkStopped();
  }

  private closeListeners(): void {
    for (const listener of this.listeners.splice(0)) this.reactor.close(listener, false);
  }

  private checkStopped(): void {
    if (this.openConnections + this.waiting.size > 0 || this.listeners.length > 0) return;
    if (this.onStopped === null) return;
    const stopped = this.onStopped;
    this.onStopped = null;
    this.reactor.timers.disarm(this.shutdownTimer);
    this.reactor.timers.disarm(this.lookTimer);
    if (this.generation !== null) this.leaveGeneration(this.generation);
    this.generation = null;
    this.tls?.close();
    this.tls = null;
    this.http2?.leave();
    this.http2 = null;
    this.metrics?.stop();
    this.constants.release();
    stopped();
  }

  // ---- Pools ------------------------------------------------------------------------------------------

  takeExchange(): Exchange {
    return this.exchanges.pop() ?? new Exchange(this);
  }

  recycleExchange(exchange: Exchange): void {
    if (this.exchanges.length < POOLED_MAX) this.exchanges.push(exchange);
  }

  takeServerEngine(): ServerEngine {
    return (
      this.serverEngines.pop() ?? new ServerEngine(this.reactor.pool, this.serverHeadLimits, this.recentHeads)
    );
  }

  recycleServerEngine(engine: ServerEngine): void {
    if (engine.limits === this.serverHeadLimits && this.serverEngines.length < POOLED_MAX)
      this.serverEngines.push(engine);
  }

  takeClientEngine(): ClientEngine {
    return (
      this.clientEngines.pop() ?? new ClientEngine(this.reactor.pool, this.clientHeadLimits, this.recentHeads)
    );
  }

  recycleClientEngine(engine: ClientEngine): void {
    if (this.clientEngines.length < POOLED_MAX) this.clientEngines.push(engine);
  }

  takeProxyResponder(): ProxyResponder {
    return this.proxyResponders.pop() ?? new ProxyResponder(this);
  }

  recycleProxyResponder(responder: ProxyResponder): void {
    if (this.proxyResponders.length < POOLED_MAX) this.proxyResponders.push(responder);
  }

  // ---- What exchanges ask for -------------------------------------------------------------------------

  addDate(fields: FieldSection): void {
    const second = Math.trunc(this.reactor.wallMs / 1000);
    const at = this.dateLine;
    if (second !== this.dateSecond) {
      this.dateSecond = second;
      this.reactor.pool.text.latin1Write(formatHttpDate(second), at + 6, DATE_VALUE_BYTES);
    }
    fields.add(at, 4, at + 6, DATE_VALUE_BYTES, F_DATE);
  }

  addServer(fields: FieldSection): void {
    const at = this.serverLine;
    fields.add(at, 6, at + 8, SERVER_NAME.length, F_SERVER);
  }

  makeRequestId(): string {
    return randomBytes(REQUEST_ID_BYTES).toString('hex');
  }

  onExchangeEnd(exchange: Exchange): void {
    if (exchange.stream?.listenerAction?.isQuiet === true) return;
    this.counters.exchanges++;
    this.metrics?.exchangeEnded(exchange);
    if (this.log.accessEnabled) this.logAccess(exchange);
  }

  private logAccess(exchange: Exchange): void {
    const { record, reactor } = this;
    record.client = exchange.client?.text ?? '';
    if (exchange.locateForLog(record)) {
      record.host = '';
      record.path = '';
    } else {
      exchange.keepForLog();
      record.located = false;
      record.method = exchange.loggedMethod;
      record.host = exchange.loggedHost;
      record.path = exchange.loggedPath;
    }
    record.status = exchange.sentStatus;
    record.bytes = exchange.responseBytes;
    record.durationMs = reactor.nowMs - exchange.startMs;
    record.upstream = exchange.upstreamName;
    record.requestId = exchange.requestIdText;
    record.reason = exchange.faultCode === 0 ? '' : faultOf(exchange.faultCode).word;
    this.log.access(record, reactor.wallMs);
  }

  warn(message: string): void {
    this.log.warn(message);
  }

  info(message: string, because: string): void {
    this.log.info(message, { because });
  }
}
