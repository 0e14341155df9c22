/**
 * The HTTP/2 connections to one server, and the choice among them: the oldest that has room, else one that is being
 * made, else a new one. Owns the memory in which their heads are decoded, for as long as there is a connection.
 */

import { type BackendHandshake, beginHandshake } from '../backend/backend-handshake.ts';
import { E_UPSTREAM_REFUSED } from '../http/fault.ts';
import { ResponseHead } from '../http/message.ts';
import { DEFAULT_BUDGETS, type Http2Budgets } from '../http2/budget.ts';
import { RequestLine } from '../http2/request-line.ts';
import type { Http2Settings } from '../http2/settings.ts';
import { Http2Workspace } from '../http2/workspace.ts';
import { type BufferId, LARGE, NO_BUFFER } from '../io/buffer-pool.ts';
import type { Handle } from '../io/reactor.ts';
import { ENOMEM } from '../sys/errno.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { BackendServer } from './backend-server.ts';
import { Http2Backend } from './http2-backend.ts';
import { Http2BackendStream } from './http2-backend-stream.ts';
import type { ProxyResponder } from './proxy-responder.ts';

/** Streams on one connection, whatever the backend allows: with more, one lost segment would stop too much. */
export const STREAMS_MAX = 256;
/** Streams that wait for a connection of which it is not known how many it takes. */
const STREAMS_GUESSED = 100;
/** Times that a stream finds no room where it waited. */
const MOVES_MAX = 8;
/** How often a backend's errors in HTTP/2 are told. */
const TELL_MS = 10_000;

/** What backends are told. The connection's window never closes (see `received`), so that no client stops another. */
export const BACKEND_SETTINGS: Http2Settings = {
  headerTableSize: 4096,
  maxConcurrentStreams: 0,
  initialWindowSize: 262_144,
  maxFrameSize: 16_384,
  maxHeaderListSize: 65_536,
  connectionWindowSize: 16_777_216,
};

/** A backend is trusted more than a client: it may send small pieces as long as it likes. */
export const BACKEND_BUDGETS: Http2Budgets = {
  ...DEFAULT_BUDGETS,
  bursts: DEFAULT_BUDGETS.bursts.map((burst) => burst * 20),
  perSecond: DEFAULT_BUDGETS.perSecond.map((events) => events * 100),
};

export class Http2BackendPool {
  readonly server: BackendServer;
  /** Of the request that is being written. */
  readonly line: RequestLine;
  /** Where a response goes that nobody waits for. */
  readonly unread: ResponseHead;
  /** Connections that take streams, or will when they are open; the oldest first. */
  private readonly connections: Http2Backend[];
  /** All that are not closed. */
  private readonly all: Set<Http2Backend>;
  private shared: Http2Workspace | null;
  private buffer: BufferId;
  /** The server is known to speak HTTP/2: connections are begun for it. Over TLS, the last handshake has told. */
  isKnown: boolean;
  /** Streams that the last connection took. */
  private streamsKnown: number;
  private toldMs: number;

  constructor(server: BackendServer) {
    const { bytes } = server.context.reactor.pool;
    this.server = server;
    this.line = new RequestLine(bytes);
    this.unread = new ResponseHead(bytes);
    this.connections = [];
    this.all = new Set();
    this.shared = null;
    this.buffer = NO_BUFFER;
    this.isKnown = server.tls === null;
    this.streamsKnown = STREAMS_GUESSED;
    this.toldMs = -TELL_MS;
  }

  get workspace(): Http2Workspace {
    if (this.shared === null) throw new Error('a connection without memory for its heads');
    return this.shared;
  }

  /** A stream on an open connection, or null. It is the caller's. */
  take(): Http2BackendStream | null {
    const { connections } = this;
    for (let index = 0; index < connections.length; index++) {
      const connection = connections[index];
      if (connection.hasRoom) return new Http2BackendStream(connection, null, 0);
    }
    return null;
  }

  /** A stream for `responder` that waits for a connection, or -errno. */
  connect(responder: ProxyResponder, timeoutMs: number): Http2BackendStream | number {
    const connection = this.connecting() ?? this.begin(timeoutMs);
    if (typeof connection === 'number') return connection;
    const stream = new Http2BackendStream(connection, responder, timeoutMs);
    connection.waiting.push(stream);
    return stream;
  }

  /** One that is being made and for which another stream may wait. */
  private connecting(): Http2Backend | null {
    for (const connection of this.connections) {
      if (connection.isConnecting && connection.waiting.length < this.streamsKnown) return connection;
    }
    return null;
  }

  private begin(timeoutMs: number): Http2Backend | number {
    const { server } = this;
    const { reactor } = server.context;
    const handshake = server.tls === null ? null : beginHandshake(reactor, server.tls, true);
    if ((server.tls !== null && handshake === null) || !this.takeMemory()) return -ENOMEM;
    const address = server.takeAddress();
    const connect = (handler: Http2Backend): Handle =>
      handshake === null ? reactor.connect(address, handler) : handshake.socket.connect(address, handler);
    const connection = new Http2Backend(this, handshake, address, connect, timeoutMs);
    if (connection.handle < 0) {
      this.releaseMemory();
      return connection.handle;
    }
    this.connections.push(connection);
    this.all.add(connection);
    server.countConnect();
    return connection;
  }

  /**
   * Takes over a socket on which TLS has just agreed on HTTP/2, for `responder`, whose stream waits on it from now on. False:
   * memory is exhausted, and the socket is the caller's still.
   */
  adopt(
    tls: BackendHandshake,
    responder: ProxyResponder,
    address: SocketAddress | null,
    timeoutMs: number,
  ): boolean {
    if (!this.takeMemory()) return false;
    this.isKnown = true;
    const { handle } = tls.socket;
    const connection = new Http2Backend(this, tls, address, () => handle, timeoutMs);
    this.connections.push(connection);
    this.all.add(connection);
    const stream = new Http2BackendStream(connection, responder, timeoutMs);
    connection.waiting.push(stream);
    responder.onBackendReplaced(stream);
    tls.socket.adopt(handle, connection);
    connection.greet();
    return true;
  }

  private takeMemory(): boolean {
    if (this.shared !== null) return true;
    const { pool } = this.server.context.reactor;
    const buffer = pool.acquire(LARGE);
    if (buffer === NO_BUFFER) return false;
    this.buffer = buffer;
    this.shared = new Http2Workspace(pool.bytes, pool.offsetOf(buffer), BACKEND_SETTINGS);
    return true;
  }

  private releaseMemory(): void {
    if (this.all.size > 0 || this.buffer === NO_BUFFER) return;
    this.server.context.reactor.pool.release(this.buffer);
    this.buffer = NO_BUFFER;
    this.shared = null;
  }

  /** The connection that a stream waited for has no room for it. */
  move(stream: Http2BackendStream): void {
    if (stream.responder === null) return;
    if (++stream.moves > MOVES_MAX) {
      stream.failed(E_UPSTREAM_REFUSED);
      return;
    }
    const open = this.connections.find((connection) => connection.hasRoom);
    const next = open ?? this.connecting() ?? this.begin(stream.connectTimeoutMs);
    if (typeof next === 'number') {
      stream.failed(E_UPSTREAM_REFUSED);
      return;
    }
    stream.connection = next;
    if (next === open) stream.ready();
    else next.waiting.push(stream);
  }

  /** A connection is open and takes so many streams at once. */
  learn(streams: number): void {
    this.streamsKnown = Math.max(1, streams);
  }

  /** A connection takes no more streams. */
  remove(connection: Http2Backend): void {
    const at = this.connections.indexOf(connection);
    if (at >= 0) this.connections.splice(at, 1);
  }

  /** A connection is closed. */
  forget(connection: Http2Backend): void {
    this.all.delete(connection);
    this.releaseMemory();
  }

  /** A connection was given up for an error of the backend, an H2_ code. */
  tellBroken(code: number): void {
    const { context, url } = this.server;
    if (context.reactor.nowMs - this.toldMs < TELL_MS) return;
    this.toldMs = context.reactor.nowMs;
    context.warn(`backend ${url} broke the rules of HTTP/2 (error ${code}): its connection was closed`);
  }

  get idleCount(): number {
    let count = 0;
    for (const connection of this.connections) if (connection.isIdle) count++;
    return count;
  }

  get connectionCount(): number {
    return this.all.size;
  }

  /** Connections to addresses that the server's name has no more take no more streams, and end with those they have. */
  leaveLostAddresses(): void {
    for (const connection of [...this.connections]) {
      if (this.server.hasAddress(connection.address)) continue;
      this.remove(connection);
      if (connection.isIdle) connection.leave();
    }
  }

  /** Closes what is idle; the others close when they are done. */
  retire(): void {
    for (const connection of [...this.connections]) {
      if (connection.isIdle || (connection.isConnecting && connection.waiting.length === 0))
        connection.leave();
    }
  }
}
