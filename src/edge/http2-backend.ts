/**
 * A connection to a backend that speaks HTTP/2: many exchanges at once. Owns the socket, the timer and the engine; each
 * exchange has a stream (http2-backend-stream.ts).
 *
 * States: CONNECTING → HELLO (connected; the backend's SETTINGS, which say how much it takes, are awaited before anything
 * is asked) → OPEN → LEAVING (no stream is left or will be; what is queued leaves) → CLOSED. From where it takes no more
 * streams on, its pool knows it no longer.
 *
 * No responder hears of a failure from inside its own call: what is found out there is told by the timer.
 */

import type { BackendHandshake } from '../backend/backend-handshake.ts';
import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import {
  E_CONNECT,
  E_CONNECT_TIMEOUT,
  E_OVERLOAD,
  E_RESPONSE_MALFORMED,
  E_RESPONSE_TIMEOUT,
  E_RESPONSE_TRUNCATED,
  E_STREAM_RESET,
  E_UPSTREAM_CLOSED,
  E_UPSTREAM_REFUSED,
  E_UPSTREAM_RESET,
  E_UPSTREAM_TLS,
} from '../http/fault.ts';
import type { FieldSection } from '../http/fields.ts';
import { RequestHead, type ResponseHead, SCHEME_HTTP, SCHEME_HTTPS } from '../http/message.ts';
import { H2_CANCEL, H2_REFUSED_STREAM } from '../http2/constants.ts';
import { Http2Engine } from '../http2/engine.ts';
import type { Http2Events } from '../http2/events.ts';
import { type BufferId, NO_BUFFER } from '../io/buffer-pool.ts';
import type { Handle, SocketHandler } from '../io/reactor.ts';
import type { SocketPort } from '../socket/port.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import { type BackendServer, SURPLUS_IDLE_MS } from './backend-server.ts';
import type { EdgeContext } from './context.ts';
import {
  BACKEND_BUDGETS,
  BACKEND_SETTINGS,
  type Http2BackendPool,
  STREAMS_MAX,
} from './http2-backend-pool.ts';
import type { Http2BackendStream } from './http2-backend-stream.ts';
import { Http2Out } from './http2-out.ts';

const S_CONNECTING = 0;
const S_HELLO = 1;
const S_OPEN = 2;
const S_LEAVING = 3;
const S_CLOSED = 4;

// Timers.
const T_STATE = 0;
const T_PUMP = 1;

const TICK_MS = 1000;
/** Frames are no more written while so much is queued on the socket. */
const QUEUED_BYTES_MAX = 262144;
/** Nothing is read while so much is: the backend does not take what it makes us say. */
const UNREAD_BYTES_MAX = 1048576;
/** How long the last bytes may take to leave. */
const LEAVE_MS = 2000;

export class Http2Backend implements SocketHandler, TimerHandler, Http2Events<Http2BackendStream> {
  readonly context: EdgeContext;
  readonly server: BackendServer;
  readonly pool: Http2BackendPool;
  readonly engine: Http2Engine<Http2BackendStream>;
  readonly out: Http2Out;
  readonly scheme: number;
  private readonly port: SocketPort;
  private readonly tls: BackendHandshake | null;
  readonly handle: Handle;
  /** Which of the server's it is connected to. */
  readonly address: SocketAddress | null;
  private state: number;
  private readonly timer: Timer;
  /** Due with the turn in which something is to be sent. */
  private readonly pumpTimer: Timer;
  /** CONNECTING, HELLO: when it fails. OPEN: since when it has no streams; -1: it has some, or has not been looked at. */
  private atMs: number;
  private receivedMs: number;
  /** Those that want to be begun when it is open. */
  readonly waiting: Http2BackendStream[];
  /** Streams that something came for in this call of the engine, the last first. */
  private stirred: Http2BackendStream | null;
  /** The buffer that is being received. */
  private input: BufferId;
  private isReceiving: boolean;
  private isPumping: boolean;
  private readsNot: boolean;
  private sendFailed: boolean;
  /** It does not answer any more: what it has may end, nothing else begins. */
  private isSuspect: boolean;
  /** What all streams fail with: the connection is lost. 0: it isn't. */
  private loss: number;

  /** `connect` begins the connection, or gives the handle of one that is there: then `greet` follows. */
  constructor(
    pool: Http2BackendPool,
    tls: BackendHandshake | null,
    address: SocketAddress | null,
    connect: (handler: Http2Backend) => Handle,
    timeoutMs: number,
  ) {
    const { server } = pool;
    const { context } = server;
    const { reactor } = context;
    this.context = context;
    this.server = server;
    this.pool = pool;
    this.scheme = tls === null ? SCHEME_HTTP : SCHEME_HTTPS;
    this.port = tls === null ? reactor : tls.socket;
    this.tls = tls;
    this.handle = connect(this);
    this.out = new Http2Out(reactor.pool, this.port, this.handle);
    this.engine = new Http2Engine(false, BACKEND_SETTINGS, BACKEND_BUDGETS, this, this.out, pool.workspace);
    this.address = address;
    this.state = S_CONNECTING;
    this.timer = new Timer(this, T_STATE);
    this.pumpTimer = new Timer(this, T_PUMP);
    this.atMs = reactor.nowMs + timeoutMs;
    this.receivedMs = reactor.nowMs;
    this.waiting = [];
    this.stirred = null;
    this.input = NO_BUFFER;
    this.isReceiving = false;
    this.isPumping = false;
    this.readsNot = false;
    this.sendFailed = false;
    this.isSuspect = false;
    this.loss = 0;
    if (this.handle >= 0) reactor.timers.arm(this.timer, this.atMs);
  }

  // ---- For the pool and its streams -------------------------------------------------------------------

  /** Not open yet: streams may wait for it. */
  get isConnecting(): boolean {
    return this.state === S_CONNECTING || this.state === S_HELLO;
  }

  /** A stream may be begun now. */
  get hasRoom(): boolean {
    return this.takesStreams && this.engine.streams.count < STREAMS_MAX && this.engine.canOpen;
  }

  private get takesStreams(): boolean {
    return this.state === S_OPEN && !this.isSuspect && !this.sendFailed && !this.engine.broken;
  }

  /** Open, with nothing to do. */
  get isIdle(): boolean {
    return this.state === S_OPEN && this.engine.streams.count === 0;
  }

  /** Begins a stream. False: memory is exhausted, or there is no room after all. */
  request(stream: Http2BackendStream, fields: FieldSection, isHead: boolean, ends: boolean): boolean {
    const { engine } = this;
    const { nowMs } = this.context.reactor;
    engine.nowMs = nowMs;
    if (!this.hasRoom || !engine.request(stream, this.pool.line, fields, isHead, ends)) return false;
    this.atMs = -1;
    this.tick(nowMs + TICK_MS);
    if (ends) this.pumpSoon();
    return !engine.broken;
  }

  reset(stream: Http2BackendStream, code: number): void {
    this.engine.reset(stream, code);
    this.pumpSoon();
  }

  dropWaiting(stream: Http2BackendStream): void {
    const at = this.waiting.indexOf(stream);
    if (at >= 0) this.waiting.splice(at, 1);
  }

  /** Sends when the turn ends: what many streams have by then leaves together. */
  pumpSoon(): void {
    if (this.state <= S_OPEN && this.pumpTimer.deadlineMs < 0)
      this.context.reactor.timers.arm(this.pumpTimer, 0);
  }

  /** Sends what windows and the socket allow. */
  private pump(): void {
    if (this.isPumping || this.isReceiving || this.state > S_OPEN) return;
    this.isPumping = true;
    const { engine, port, handle } = this;
    engine.nowMs = this.context.reactor.nowMs;
    while (!engine.broken && port.sendQueuedBytes(handle) < QUEUED_BYTES_MAX) {
      const stream = engine.nextToSend();
      if (stream === null) break;
      stream.sendFrame();
    }
    this.isPumping = false;
    // Behind what has not left, frames are gathered until it has.
    if (port.sendQueuedBytes(handle) === 0) this.out.flush();
    if (engine.broken) this.tick(this.context.reactor.nowMs);
  }

  // ---- The socket -------------------------------------------------------------------------------------

  onConnect(_handle: Handle, errno: number): void {
    if (this.state !== S_CONNECTING) return;
    this.addressTried(errno < 0);
    if (errno < 0) {
      this.lose(this.tellTlsFailure() ? E_UPSTREAM_TLS : E_CONNECT);
      return;
    }
    if (this.tls !== null && !this.tls.isHttp2) {
      this.pool.isKnown = false;
      this.lose(E_UPSTREAM_REFUSED);
      return;
    }
    this.greet();
  }

  private addressTried(failed: boolean): void {
    if (this.address !== null) this.server.addressTried(this.address, failed);
  }

  /** Says hello, and awaits the backend's. */
  greet(): void {
    this.state = S_HELLO;
    this.engine.start(this.context.reactor.nowMs);
    this.out.flush();
    this.port.receiveStart(this.handle);
  }

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    const { reactor } = this.context;
    if (this.state > S_OPEN) {
      reactor.pool.release(buffer);
      return;
    }
    const { engine } = this;
    this.receivedMs = reactor.nowMs;
    this.input = buffer;
    this.isReceiving = true;
    const lives = engine.receive(reactor.pool.bytes, offset, offset + length, reactor.nowMs);
    this.input = NO_BUFFER;
    this.tellQuiet();
    this.isReceiving = false;
    reactor.pool.release(buffer);
    if (!lives || engine.broken) {
      this.breakOff();
      return;
    }
    this.pumpSoon();
    this.regulateReading();
    this.settle();
  }

  private tellQuiet(): void {
    let stream = this.stirred;
    this.stirred = null;
    while (stream !== null) {
      const { nextStirred } = stream;
      stream.isStirred = false;
      stream.nextStirred = null;
      stream.responder?.onBackendQuiet();
      stream = nextStirred;
    }
  }

  onReceiveEnd(_handle: Handle, errno: number): void {
    if (this.state === S_LEAVING) this.close(false);
    if (this.state === S_CLOSED) return;
    const isTls = this.tellTlsFailure();
    if (this.state === S_HELLO) this.lose(isTls ? E_UPSTREAM_TLS : E_CONNECT);
    else this.lose(errno < 0 ? E_UPSTREAM_RESET : E_UPSTREAM_CLOSED);
  }

  onSend(_handle: Handle, _tag: number, result: number): void {
    if (this.state === S_CLOSED) return;
    if (result < 0) {
      // The backend may have answered before it closed: what it said counts, and its end comes behind that.
      this.sendFailed = true;
      if (this.state === S_LEAVING) this.close(true);
      else this.regulateReading();
      return;
    }
    if (this.state === S_LEAVING) {
      if (this.port.sendQueuedBytes(this.handle) === 0) this.close(false);
      return;
    }
    this.pump();
    this.regulateReading();
  }

  onClose(): void {
    if (this.state === S_CONNECTING) this.lose(E_CONNECT);
    this.pool.forget(this);
  }

  private regulateReading(): void {
    if (this.state > S_OPEN) return;
    const readsNot = !this.sendFailed && this.port.sendQueuedBytes(this.handle) >= UNREAD_BYTES_MAX;
    if (readsNot === this.readsNot) return;
    this.readsNot = readsNot;
    if (readsNot) this.port.receiveStop(this.handle);
    else this.port.receiveStart(this.handle);
  }

  // ---- Events of the engine ---------------------------------------------------------------------------

  /** A server begins no streams: push is switched off. */
  acceptStream(): Http2BackendStream | null {
    return null;
  }

  requestHead(): RequestHead {
    return new RequestHead(this.out.bytes);
  }

  onRequest(): void {
    // There are none from a server.
  }

  responseHead(stream: Http2BackendStream): ResponseHead {
    return stream.responder === null ? this.pool.unread : stream.responder.responseHead;
  }

  onResponse(stream: Http2BackendStream): void {
    this.stir(stream);
    if (stream.responder !== null) stream.headComplete();
  }

  onData(stream: Http2BackendStream, offset: number, length: number): void {
    this.stir(stream);
    stream.received(this.input, offset, length);
  }

  private stir(stream: Http2BackendStream): void {
    if (stream.isStirred) return;
    stream.isStirred = true;
    stream.nextStirred = this.stirred;
    this.stirred = stream;
  }

  onEnd(stream: Http2BackendStream, trailers: FieldSection): void {
    stream.ended(trailers);
  }

  onReset(stream: Http2BackendStream, code: number, byPeer: boolean): void {
    if (this.loss !== 0) stream.failed(stream.faultOfLoss(this.loss));
    else if (!byPeer) stream.failed(E_RESPONSE_MALFORMED);
    else if (stream.isAnswered) stream.failed(E_RESPONSE_TRUNCATED);
    else stream.failed(code === H2_REFUSED_STREAM ? E_UPSTREAM_REFUSED : E_STREAM_RESET);
  }

  onClosed(stream: Http2BackendStream): void {
    stream.release();
    if (!this.isReceiving && this.state === S_OPEN && this.engine.streams.count === 0)
      this.tick(this.context.reactor.nowMs);
  }

  onSettings(): void {
    if (this.state !== S_HELLO) return;
    this.state = S_OPEN;
    this.context.reactor.timers.disarm(this.timer);
    this.atMs = -1;
    this.pool.learn(Math.min(this.engine.peer.maxConcurrentStreams, STREAMS_MAX));
    const { waiting } = this;
    while (waiting.length > 0) {
      const stream = waiting.shift();
      if (stream === undefined) break;
      if (this.hasRoom) stream.ready();
      else this.pool.move(stream);
    }
  }

  onPong(): void {
    // None is asked for.
  }

  onGoaway(): void {
    this.pool.remove(this);
    const { waiting } = this;
    for (const stream of waiting.splice(0)) this.pool.move(stream);
  }

  // ---- Time and the end -------------------------------------------------------------------------------

  private tick(atMs: number): void {
    const { timers } = this.context.reactor;
    if (this.timer.deadlineMs < 0 || this.timer.deadlineMs > atMs) timers.arm(this.timer, atMs);
  }

  onTimer(timer: Timer): void {
    if (timer.kind === T_PUMP) this.pump();
    else this.onStateTimer();
  }

  private onStateTimer(): void {
    const { nowMs } = this.context.reactor;
    switch (this.state) {
      case S_CONNECTING:
      case S_HELLO:
        this.addressTried(true);
        this.lose(E_CONNECT_TIMEOUT);
        return;
      case S_LEAVING:
        this.close(true);
        return;
      case S_OPEN:
        if (this.engine.broken) {
          this.breakOff();
          return;
        }
        this.endOverdue(nowMs);
        this.settle();
        if (this.state === S_OPEN && this.engine.streams.count > 0) this.tick(nowMs + TICK_MS);
    }
  }

  private endOverdue(nowMs: number): void {
    const overdue: Http2BackendStream[] = [];
    const { all } = this.engine.streams;
    for (let slot = 0; slot < all.length; slot++) {
      const stream = all[slot];
      if (stream?.isOverdue(nowMs) === true) overdue.push(stream);
    }
    for (const stream of overdue) {
      // Nothing at all came since: the connection itself may be dead.
      if (this.receivedMs <= stream.sinceMs) this.suspect();
      stream.fail(E_RESPONSE_TIMEOUT);
    }
  }

  private suspect(): void {
    this.isSuspect = true;
    this.pool.remove(this);
  }

  /** Without streams it idles, for as long as it may. */
  private settle(): void {
    if (this.state !== S_OPEN) return;
    if (this.engine.streams.count > 0) {
      this.atMs = -1;
      return;
    }
    const { server } = this;
    const { nowMs } = this.context.reactor;
    if (this.atMs < 0) this.atMs = nowMs;
    const idleMs = nowMs - this.atMs;
    const isSurplus = idleMs >= SURPLUS_IDLE_MS && this.pool.idleCount > server.idleMax;
    const mayIdle = server.idleMax > 0 && idleMs < server.idleTimeoutMs && !this.context.isDraining;
    const isLost = !server.hasAddress(this.address);
    if (!mayIdle || isLost || isSurplus || !this.takesStreams || this.engine.peerLeaves) {
      this.leave();
      return;
    }
    const nextMs = idleMs < SURPLUS_IDLE_MS ? SURPLUS_IDLE_MS : server.idleTimeoutMs;
    this.context.reactor.timers.arm(this.timer, Math.max(this.atMs + nextMs, nowMs + 1));
  }

  /** Nobody needs it any more: it says so, and closes. Only without streams. */
  leave(): void {
    if (this.state === S_CONNECTING || this.state === S_HELLO) this.close(false);
    if (this.state >= S_LEAVING) return;
    this.pool.remove(this);
    this.engine.leave();
    this.closeWhenSent();
  }

  private closeWhenSent(): void {
    this.out.flush();
    if (this.sendFailed || this.port.sendQueuedBytes(this.handle) === 0) {
      this.close(false);
      return;
    }
    this.state = S_LEAVING;
    this.context.reactor.timers.arm(this.timer, this.context.reactor.nowMs + LEAVE_MS);
  }

  /** The backend has broken the rules, or memory is exhausted. */
  private breakOff(): void {
    const { engine } = this;
    if (engine.broken) {
      this.lose(E_OVERLOAD);
      return;
    }
    this.pool.tellBroken(engine.errorCode);
    const code = this.isConnecting ? E_CONNECT : E_RESPONSE_MALFORMED;
    this.pool.remove(this);
    this.closeWhenSent();
    this.failAll(code);
  }

  /** The connection is gone, or of no use. */
  private lose(code: number): void {
    this.close(true);
    this.failAll(code);
  }

  private failAll(code: number): void {
    this.loss = code;
    const waiting = this.waiting.splice(0);
    this.engine.abandon(H2_CANCEL);
    for (const stream of waiting) stream.failed(code);
  }

  private tellTlsFailure(): boolean {
    const reason = this.tls === null ? '' : this.tls.reason;
    if (reason !== '') this.server.tlsFailed(reason);
    return reason !== '';
  }

  private close(abortive: boolean): void {
    if (this.state === S_CLOSED) return;
    this.state = S_CLOSED;
    this.pool.remove(this);
    this.context.reactor.timers.disarm(this.timer);
    this.context.reactor.timers.disarm(this.pumpTimer);
    this.out.drop();
    this.port.close(this.handle, abortive);
  }
}
