/**
 * Answers an exchange by asking a backend: chooses a server, gets a connection, writes the request, passes the
 * response on, both ways with backpressure. Decides about retries, tells servers how they fared; owns the backend
 * connection while it lasts.
 *
 * Pooled: `begin` to `finish`. After `finish` neither the exchange nor the connection is touched.
 */

import { assert } from '../base/assert.ts';
import {
  E_CONNECT,
  E_CONNECT_TIMEOUT,
  E_NO_HEALTHY_SERVER,
  E_OVERLOAD,
  E_RESPONSE_MALFORMED,
  E_RESPONSE_TIMEOUT,
  E_RESPONSE_TRUNCATED,
  E_RESPONSE_UPGRADE,
  E_STREAM_RESET,
  E_TUNNEL_IDLE,
  E_UPGRADE,
  E_UPSTREAM_CLOSED,
  E_UPSTREAM_REFUSED,
  E_UPSTREAM_RESET,
  E_UPSTREAM_TLS,
  faultOf,
} from '../http/fault.ts';
import type { FieldSection } from '../http/fields.ts';
import { F_CONTENT_LENGTH, F_EXPECT, F_UPGRADE, F_VIA } from '../http/fields.ts';
import {
  BODY_NONE,
  BODY_STREAM,
  BODY_UNTIL_CLOSE,
  isIdempotent,
  LENGTH_UNKNOWN,
  type ResponseHead,
} from '../http/message.ts';
import { removeHopByHop } from '../http1/hop-by-hop.ts';
import type { BufferId } from '../io/buffer-pool.ts';
import type { Handle } from '../io/reactor.ts';
import type { BackendServer } from './backend-server.ts';
import type { BackendStream } from './backend-stream.ts';
import type { EdgeContext } from './context.ts';
import type { Exchange } from './exchange.ts';
import { NO_FIELDS } from './exchange.ts';
import { setClientIdentity, setForwarded } from './forwarded.ts';
import { InputQueue } from './input-queue.ts';
import type { ProxyRoute } from './proxy-route.ts';
import { type Responder, sendHighBytes } from './responder.ts';
import { type Direction, TO_BACKEND, TO_CLIENT, type TunnelEnds, TunnelPace } from './tunnel-pace.ts';
import { acceptUpgrade, offeredUpgrade, validUpgrade } from './upgrade.ts';
import type { GroupServer } from './upstream-group.ts';

/** Sent content that is kept for a retry on a fresh connection, at most: bytes, and pieces that each hold a buffer. */
const REPLAY_BYTES_MAX = 65536;
const REPLAY_PIECES_MAX = 16;
/** Servers that a request is tried on, at most. */
const SERVERS_MAX = 8;
/** Servers that may drop a request unanswered on a fresh connection. One that kills them must not meet them all. */
const DROPS_MAX = 2;
/** The upgrade whose messages may be gathered. */
const WEBSOCKET = 'websocket';
/** Content that may wait for a connection; from there on the client is paused. */
const PENDING_BYTES_MAX = 65536;
const PENDING_PIECES_MAX = 8;

export class ProxyResponder implements Responder, TunnelEnds {
  private readonly context: EdgeContext;
  private exchange: Exchange | null;
  private route: ProxyRoute | null;
  private server: GroupServer | null;
  private backend: BackendStream | null;
  /** The same from when the request can be written. */
  private stream: BackendStream | null;
  /** The connection had carried other exchanges before, and a response byte has not come. */
  private reused: boolean;
  private retried: boolean;
  /** Connections that were begun to the present server; each goes to another of its addresses. */
  private attempts: number;
  /** Servers that were chosen, the present one included. */
  private readonly tried: BackendServer[];
  /** How many of them had the request and dropped it. */
  private drops: number;
  /** Since when a server is looked for. */
  private beganMs: number;
  /** What becomes of this exchange decides whether its server is well again. */
  private isProbe: boolean;
  /** Content that waits for a connection, or (sent already) for a retry. */
  private pending: InputQueue;
  private replay: InputQueue;
  private replayable: boolean;
  private contentSent: boolean;
  private ended: boolean;
  private requestPaused: boolean;
  private sendFailed: boolean;
  private responseStarted: boolean;
  private upgrade: string;
  private tunnel: boolean;
  /** Of a tunnel: what of its bytes leaves when. */
  private pace: TunnelPace | null;
  private backendEnded: boolean;
  /** The client waits for the backend's 100 before it sends content. */
  private awaitsContinue: boolean;
  /** All of the request is on its way. */
  requestSent: boolean;

  constructor(context: EdgeContext) {
    this.context = context;
    this.exchange = null;
    this.route = null;
    this.server = null;
    this.backend = null;
    this.stream = null;
    this.reused = false;
    this.retried = false;
    this.attempts = 0;
    this.tried = [];
    this.drops = 0;
    this.beganMs = 0;
    this.isProbe = false;
    this.pending = new InputQueue(context.reactor.pool);
    this.replay = new InputQueue(context.reactor.pool);
    this.replayable = false;
    this.contentSent = false;
    this.ended = false;
    this.requestPaused = false;
    this.sendFailed = false;
    this.responseStarted = false;
    this.upgrade = '';
    this.tunnel = false;
    this.pace = null;
    this.backendEnded = false;
    this.awaitsContinue = false;
    this.requestSent = false;
  }

  /** Dispatches an exchange. The exchange may be over when this returns. */
  begin(exchange: Exchange, route: ProxyRoute): void {
    const { request } = exchange;
    this.exchange = exchange;
    this.route = route;
    this.server = null;
    this.backend = null;
    this.stream = null;
    this.reused = false;
    this.retried = false;
    this.attempts = 0;
    this.drops = 0;
    this.beganMs = this.context.reactor.nowMs;
    this.isProbe = false;
    this.replayable = isIdempotent(request.methodId);
    this.contentSent = false;
    this.ended = request.bodyKind === BODY_NONE;
    this.requestPaused = false;
    this.sendFailed = false;
    this.responseStarted = false;
    this.upgrade = '';
    this.tunnel = false;
    this.backendEnded = false;
    this.awaitsContinue = request.expectContinue;
    this.requestSent = false;
    const fault = this.prepareRequest(exchange, route);
    if (fault !== 0) {
      this.finish();
      exchange.fail(fault);
      return;
    }
    this.open(exchange, route, E_NO_HEALTHY_SERVER);
  }

  /** Turns the client's fields into those that the backend gets. Once, whatever is retried. Returns 0 or a fault. */
  private prepareRequest(exchange: Exchange, route: ProxyRoute): number {
    const { request } = exchange;
    const { fields } = request;
    if (request.upgradeIndex >= 0) {
      const upgrade = offeredUpgrade(fields.valueText(request.upgradeIndex), route.allowedUpgrades);
      if (upgrade === null) return E_UPGRADE;
      this.upgrade = upgrade;
    }
    removeHopByHop(fields, request.bodyKind === BODY_STREAM);
    if (request.version < 11) fields.removeAll(F_EXPECT);
    if (request.bodyKind === BODY_STREAM) fields.removeAll(F_CONTENT_LENGTH);
    if (!setForwarded(exchange)) return E_OVERLOAD;
    if (exchange.generation?.addsVia === true && !addVia(exchange, fields, request.version))
      return E_OVERLOAD;
    if (this.upgrade !== '' && !exchange.scratch.addField(fields, F_UPGRADE, '', this.upgrade))
      return E_OVERLOAD;
    if (exchange.route?.hasRequestRules && !exchange.route.applyRequestRules(exchange)) return E_OVERLOAD;
    if (!setClientIdentity(exchange)) return E_OVERLOAD;
    return 0;
  }

  /** Chooses a server that was not tried; where there is none, the exchange fails with `code`. */
  private open(exchange: Exchange, route: ProxyRoute, code: number): void {
    this.leaveServer();
    const chosen = route.group.choose(exchange, this.tried);
    if (chosen === null) {
      this.finish();
      exchange.fail(code);
      return;
    }
    this.server = chosen;
    this.isProbe = route.group.choiceIsProbe;
    this.attempts = 0;
    this.tried.at(-1)?.countRetry();
    this.tried.push(chosen.server);
    chosen.server.addInFlight(1);
    exchange.upstreamName = chosen.server.url;
    this.connect(exchange, route, chosen.server);
  }

  /** Takes an idle connection or begins a new one. */
  private connect(exchange: Exchange, route: ProxyRoute, server: BackendServer): void {
    const idle = this.retried || this.isProbe ? null : server.takeIdle(this.upgrade !== '');
    if (idle !== null) {
      this.reused = true;
      this.use(idle);
      return;
    }
    this.reused = false;
    this.attempts++;
    const backend = server.connect(this, route.connectTimeoutMs, this.upgrade !== '');
    if (typeof backend === 'number') {
      this.finish();
      exchange.fail(E_OVERLOAD);
      return;
    }
    this.backend = backend;
  }

  /** The exchange is no more the server's. */
  private leaveServer(): void {
    if (this.server === null) return;
    const { server } = this.server;
    this.server = null;
    server.addInFlight(-1);
    if (this.isProbe) server.probeDropped();
    this.isProbe = false;
  }

  /** The connection that is being made turned out to be of another kind, of which `backend` will be ready. */
  onBackendReplaced(backend: BackendStream): void {
    this.backend = backend;
  }

  onBackendReady(backend: BackendStream): void {
    this.use(backend);
  }

  /** A connection is there: writes the head, and the content that waits. */
  private use(backend: BackendStream): void {
    const { exchange, route, server } = this;
    assert(exchange !== null && route !== null && server !== null, 'a connection for nobody');
    this.backend = backend;
    this.sendFailed = false;
    this.stream = backend;
    backend.begin(this);
    if (this.upgrade !== '' && !backend.takesUpgrades) {
      this.abandon(E_RESPONSE_UPGRADE);
      return;
    }
    // What is known not to have been processed may be sent again, whatever its method.
    if (backend.mayRefuse && !this.contentSent) this.replayable = true;
    if (!backend.sendHead(exchange, route, server, this.upgrade !== '')) {
      this.abandon(E_OVERLOAD);
      return;
    }
    if (this.ended && this.pending.isEmpty && this.replay.isEmpty) {
      if (this.endRequest(backend) && this.requestPaused) this.regulateRequest();
      return;
    }
    backend.flush();
    if (this.replayContent(backend)) this.sendPending(backend);
  }

  /** Content that a connection took with it into its death, once more. False: the exchange is over. */
  private replayContent(stream: BackendStream): boolean {
    const { replay } = this;
    // What may have to be sent yet another time goes to its end again.
    for (let left = replay.pieces; left > 0 && replay.shift(); left--) {
      if (!this.sendContent(stream, replay.buffer, replay.offset, replay.length)) return false;
    }
    return true;
  }

  private sendPending(stream: BackendStream): void {
    const { pending } = this;
    while (pending.shift()) {
      if (!this.sendContent(stream, pending.buffer, pending.offset, pending.length)) return;
    }
    // A client that stays paused could not even be seen to leave.
    if (!this.ended || this.requestSent || this.endRequest(stream)) this.regulateRequest();
  }

  /** False: memory is exhausted, and the exchange is over. */
  private endRequest(stream: BackendStream): boolean {
    this.requestSent = true;
    this.backend?.touch();
    if (stream.sendEnd(this.exchange?.requestTrailers ?? NO_FIELDS)) return true;
    this.abandon(E_OVERLOAD);
    return false;
  }

  // ---- From the exchange ------------------------------------------------------------------------------

  onRequestData(buffer: BufferId, offset: number, length: number): void {
    if (this.pace !== null) {
      this.pace.pass(TO_BACKEND, buffer, offset, length);
      return;
    }
    this.passToBackend(buffer, offset, length);
  }

  private passToBackend(buffer: BufferId, offset: number, length: number): void {
    const { stream } = this;
    this.awaitsContinue = false;
    if (stream === null) {
      this.pending.push(buffer, offset, length);
      this.regulateRequest();
      return;
    }
    if (!this.sendContent(stream, buffer, offset, length)) return;
    stream.pass();
    this.regulateRequest();
  }

  /** False: memory is exhausted, a piece is missing from the content, and the exchange is over. */
  private sendContent(stream: BackendStream, buffer: BufferId, offset: number, length: number): boolean {
    const { pool } = this.context.reactor;
    if (this.sendFailed) {
      // A retry needs what this connection did not take.
      if (!this.keepForRetry(buffer, offset, length)) pool.release(buffer);
      return true;
    }
    this.contentSent = true;
    if (this.keepForRetry(buffer, offset, length)) pool.retain(buffer);
    this.backend?.touch();
    if (stream.sendData(buffer, offset, length)) return true;
    this.abandon(E_OVERLOAD);
    return false;
  }

  /** Puts content aside where the request may be sent once more; where that is too much, it may not. */
  private keepForRetry(buffer: BufferId, offset: number, length: number): boolean {
    const { replay } = this;
    const repeats = this.reused || this.stream?.mayRefuse === true;
    const retries = (repeats && !this.retried) || this.hasOther;
    if (!retries || this.responseStarted || !(this.replayable || !this.contentSent)) return false;
    if (replay.bytes + length <= REPLAY_BYTES_MAX && replay.pieces < REPLAY_PIECES_MAX) {
      replay.push(buffer, offset, length);
      return true;
    }
    this.replayable = false;
    this.contentSent = true;
    replay.clear();
    return false;
  }

  /** Stops the client while the backend can't take more. */
  private regulateRequest(): void {
    const { backend, exchange, pending } = this;
    if (exchange === null) return;
    const full =
      this.stream === null || backend === null
        ? pending.bytes >= PENDING_BYTES_MAX || pending.pieces >= PENDING_PIECES_MAX
        : backend.queuedBytes() >= sendHighBytes(this.context.reactor.pool);
    if (full && !this.requestPaused && !this.ended) {
      this.requestPaused = true;
      exchange.pauseRequest();
    } else if (!full && this.requestPaused) {
      this.requestPaused = false;
      exchange.resumeRequest();
      return;
    }
    if (full) backend?.awaitWritable();
  }

  onRequestEnd(): void {
    this.ended = true;
    if (this.tunnel && !this.drainPace()) return;
    const { stream } = this;
    if (this.tunnel) {
      stream?.flush();
      this.backend?.endSend();
      if (this.backendEnded) this.endTunnel();
      return;
    }
    if (stream !== null && this.pending.isEmpty) this.endRequest(stream);
  }

  /** The client takes more: the backend may go on. */
  onWritable(): void {
    this.backend?.resume();
  }

  onFileSent(): void {
    assert(false, 'a backend has no files');
  }

  onAbort(): void {
    // What a client said before it went was sent by it, and would have left but for our gathering.
    const said = this.pace?.holds(TO_BACKEND) === true;
    if (said) this.pace?.release(TO_BACKEND);
    const { backend } = this;
    this.finish();
    if (said) backend?.closeWhenSent();
    else backend?.close(true);
  }

  // ---- From the backend connection ----------------------------------------------------------------------

  get responseHead(): ResponseHead {
    assert(this.exchange !== null, 'a response for nobody');
    return this.exchange.response;
  }

  get requestMethod(): number {
    return this.exchange === null ? 0 : this.exchange.request.methodId;
  }

  get responseTimeoutMs(): number {
    return this.route === null ? 0 : this.route.responseTimeoutMs;
  }

  /** Whether it is the backend's turn: it has all that the client sent, or doesn't take it. */
  awaitsBackend(queuedBytes: number): boolean {
    return this.requestSent || this.sendFailed || this.awaitsContinue || queuedBytes > 0;
  }

  /** Whether the connection is as good as before when the response is complete. */
  get leavesConnectionClean(): boolean {
    return this.requestSent && !this.sendFailed && this.upgrade === '';
  }

  /** One half of the tunnel has ended. */
  get tunnelEnds(): boolean {
    return this.tunnel && (this.ended || this.backendEnded);
  }

  onBackendInterim(): void {
    const { exchange } = this;
    if (exchange === null) return;
    this.startResponse();
    const { response } = exchange;
    if (response.status === 100) this.awaitsContinue = false;
    removeHopByHop(response.fields, false);
    response.fields.removeAll(F_CONTENT_LENGTH);
    exchange.sendInformational(response);
  }

  private startResponse(): void {
    if (this.responseStarted) return;
    this.responseStarted = true;
    this.replay.clear();
  }

  onBackendHead(): void {
    const { exchange, backend } = this;
    assert(exchange !== null && backend !== null, 'a response for nobody');
    this.startResponse();
    if (this.isProbe) this.serverSucceeded();
    const { response } = exchange;
    if (response.status === 101) {
      this.switchProtocols(exchange, backend);
      return;
    }
    removeHopByHop(response.fields, response.bodyKind === BODY_STREAM);
    if (exchange.generation?.addsVia === true) addVia(exchange, response.fields, response.version);
    if (response.bodyKind === BODY_UNTIL_CLOSE) response.bodyKind = BODY_STREAM;
    if (response.bodyKind === BODY_STREAM || response.status === 204) {
      response.fields.removeAll(F_CONTENT_LENGTH);
      response.contentLength = LENGTH_UNKNOWN;
    }
    exchange.sendHead();
  }

  /** A backend has accepted an extended CONNECT: the response becomes the 101 that stands for it. False: memory is exhausted. */
  asUpgrade(): boolean {
    const { exchange } = this;
    return exchange !== null && acceptUpgrade(exchange, this.upgrade);
  }

  private switchProtocols(exchange: Exchange, backend: BackendStream): void {
    if (!validUpgrade(exchange.request, exchange.response, this.upgrade)) {
      this.abandon(E_RESPONSE_UPGRADE);
      return;
    }
    const { response } = exchange;
    const protocol = response.fields.valueText(response.upgradeIndex);
    removeHopByHop(response.fields, false);
    response.fields.removeAll(F_CONTENT_LENGTH);
    if (!exchange.scratch.addField(response.fields, F_UPGRADE, '', protocol)) {
      this.abandon(E_OVERLOAD);
      return;
    }
    this.tunnel = true;
    this.ended = false;
    this.serverSucceeded();
    const isWebSocket = protocol.trim().toLowerCase() === WEBSOCKET;
    if (this.route !== null)
      this.pace = new TunnelPace(this.context.reactor, this, this.route.pace, isWebSocket);
    backend.startTunnel();
    exchange.sendHead();
    exchange.startTunnel();
  }

  /** Content; one reference of `buffer` passes. The `room` bytes before it are nobody's. */
  onBackendData(buffer: BufferId, offset: number, length: number, room = 0): void {
    if (this.pace !== null) this.pace.pass(TO_CLIENT, buffer, offset, length);
    else this.passToClient(buffer, offset, length, room);
  }

  private passToClient(buffer: BufferId, offset: number, length: number, room: number): void {
    const { exchange } = this;
    if (exchange === null || !exchange.hasContent) {
      this.context.reactor.pool.release(buffer);
      return;
    }
    exchange.sendData(buffer, offset, length, room);
    // The exchange may have found a fault in it and be over.
    if (this.exchange !== null && exchange.sendQueuedBytes() >= sendHighBytes(this.context.reactor.pool))
      this.backend?.pause();
  }

  /** Content that the backend's socket is still to receive goes to the client by itself. False: it can't. */
  forward(source: Handle, length: number): boolean {
    return this.pace === null && this.exchange !== null && this.exchange.forward(source, length);
  }

  onForwarded(moved: number): void {
    this.backend?.onForwarded?.(moved);
  }

  /** Whether it is the client's turn: it has not taken all that came. */
  get awaitsClient(): boolean {
    return this.exchange !== null && this.exchange.sendQueuedBytes() > 0;
  }

  /** Nothing more is there for now: what the client can have, it gets. */
  onBackendQuiet(): void {
    if (this.responseStarted) this.exchange?.flush();
  }

  /** The response is complete; the connection has gone its own way already. */
  onBackendEnd(trailers: FieldSection): void {
    const { exchange } = this;
    assert(exchange !== null, 'a response for nobody');
    this.serverSucceeded();
    this.finish();
    exchange.responseTrailers = trailers;
    exchange.sendEnd();
  }

  onBackendTunnelEnd(): void {
    this.backendEnded = true;
    if (!this.drainPace()) return;
    if (this.ended) this.endTunnel();
    else this.exchange?.endTunnelSend();
  }

  // ---- From the tunnel's pace ---------------------------------------------------------------------------

  onTunnelBytes(direction: Direction, buffer: BufferId, offset: number, length: number): void {
    if (this.exchange === null) this.context.reactor.pool.release(buffer);
    else if (direction === TO_CLIENT) this.passToClient(buffer, offset, length, 0);
    else this.passToBackend(buffer, offset, length);
  }

  onTunnelQuiet(direction: Direction): void {
    // Bytes for the backend have been told to leave as they came.
    if (direction === TO_CLIENT) this.exchange?.flush();
  }

  onTunnelSilent(): void {
    const { exchange } = this;
    if (exchange !== null) exchange.faultCode = E_TUNNEL_IDLE;
    this.endTunnel();
  }

  /**
   * One side has ended: what was gathered goes before the end, and nothing waits any more. False: memory is exhausted, and the
   * exchange is over.
   */
  private drainPace(): boolean {
    this.pace?.stopGathering();
    this.pace?.release(TO_BACKEND);
    this.pace?.release(TO_CLIENT);
    this.exchange?.flush();
    return this.exchange !== null;
  }

  private endTunnel(): void {
    if (!this.drainPace()) return;
    const { exchange, backend } = this;
    this.finish();
    backend?.closeWhenSent();
    exchange?.sendEnd();
  }

  onBackendWritable(): void {
    this.regulateRequest();
  }

  /** The backend takes no more of the request, but may have answered. */
  onBackendSendFailed(): void {
    this.sendFailed = true;
    if (this.requestPaused) {
      this.requestPaused = false;
      this.exchange?.resumeRequest();
    }
  }

  /** The connection is closed already. */
  onBackendFault(code: number): void {
    const { exchange, route, server } = this;
    if (exchange === null || route === null || server === null) return;
    if (this.tunnel && !this.drainPace()) return;
    const unsent = this.stream === null;
    this.backend = null;
    this.stream = null;
    if (this.mayRetryServer(code)) {
      server.server.countRetry();
      this.requestSent = false;
      if (code !== E_CONNECT) this.retried = true;
      this.connect(exchange, route, server.server);
      return;
    }
    if (code === E_RESPONSE_MALFORMED)
      this.context.warn(`backend ${server.server.url} sent a malformed response`);
    this.serverFailed(code);
    if (this.mayRetryOther(code, unsent)) {
      this.requestSent = false;
      this.open(exchange, route, code);
      return;
    }
    this.finish();
    exchange.fail(code);
  }

  /** The same server, on a fresh connection: once where a reused one died, and once for each further address. */
  private mayRetryServer(code: number): boolean {
    const { retry } = faultOf(code);
    if (this.responseStarted) return false;
    if (code === E_UPSTREAM_REFUSED) return !this.retried && (this.replayable || !this.contentSent);
    if (retry === 'safe') return this.server !== null && this.attempts < this.server.server.addressCount;
    return retry === 'reused' && this.reused && !this.retried && this.isRepeatable;
  }

  /** Another server of the group: where this one can't have done what it was asked to, or it may be done twice. */
  private mayRetryOther(code: number, unsent: boolean): boolean {
    if (this.responseStarted || !this.hasOther) return false;
    // Every server may take its whole time to connect; the client has waited long enough.
    if (this.context.reactor.nowMs - this.beganMs >= this.responseTimeoutMs) return false;
    const { retry } = faultOf(code);
    if (retry === 'safe' || (code === E_UPSTREAM_TLS && unsent)) return this.replayable || !this.contentSent;
    if (retry !== 'reused' || !this.isRepeatable) return false;
    return ++this.drops < DROPS_MAX;
  }

  /** SPEC "Requests to backends": when nothing can have been done twice, and all of it is still there. */
  private get isRepeatable(): boolean {
    if (this.exchange === null) return false;
    const { request } = this.exchange;
    if (isIdempotent(request.methodId)) return this.replayable;
    return request.bodyKind !== BODY_NONE && request.contentLength !== 0 && !this.contentSent;
  }

  /** The group may have a server that was not tried. */
  private get hasOther(): boolean {
    const { route, tried } = this;
    return route !== null && tried.length < Math.min(route.group.servers.length, SERVERS_MAX);
  }

  private serverSucceeded(): void {
    this.server?.server.succeeded(this.isProbe);
    this.isProbe = false;
  }

  /** The server hears what it is to blame for. */
  private serverFailed(code: number): void {
    if (this.tunnel || !this.isServersFault(code)) return;
    this.server?.server.failed(faultOf(code).word, this.isProbe);
    this.isProbe = false;
  }

  private isServersFault(code: number): boolean {
    switch (code) {
      case E_CONNECT:
      case E_CONNECT_TIMEOUT:
      case E_UPSTREAM_TLS:
      case E_RESPONSE_TIMEOUT:
      case E_RESPONSE_MALFORMED:
      case E_RESPONSE_TRUNCATED:
      case E_STREAM_RESET:
        return true;
      case E_UPSTREAM_CLOSED:
      case E_UPSTREAM_RESET:
        // A connection that idled may be closed at any time.
        return !this.reused;
      default:
        return false;
    }
  }

  /** A fault of the response's own: the connection is of no use, the exchange gets its answer. */
  private abandon(code: number): void {
    const { exchange, backend } = this;
    this.server?.server.countFailure(code);
    this.finish();
    backend?.close(true);
    exchange?.fail(code);
  }

  private finish(): void {
    this.pace?.close();
    this.pace = null;
    this.pending.clear();
    this.replay.clear();
    this.leaveServer();
    // Quicker than to set its length, which is a call into the engine.
    while (this.tried.length > 0) this.tried.pop();
    this.exchange = null;
    this.route = null;
    this.backend = null;
    this.stream = null;
    this.context.recycleProxyResponder(this);
  }
}

/** RFC 9110 §7.6.3: the version that the message came in, and a pseudonym. False: no room. */
function addVia(exchange: Exchange, fields: FieldSection, version: number): boolean {
  return exchange.scratch.addField(fields, F_VIA, '', `${(version / 10).toFixed(1)} sallyport`);
}
