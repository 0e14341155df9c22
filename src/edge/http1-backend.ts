/**
 * A connection to a backend that speaks HTTP/1.1, one exchange at a time. Owns the socket and the timers; the
 * ProxyResponder that holds it owns the exchange's side.
 *
 * States: CONNECTING → BUSY (connected, with a responder) → IDLE (in its server's pool) → BUSY …; TUNNEL after
 * a 101, then FLUSH while its last bytes leave; CLOSED. An idle connection holds no engine and no buffer, and receives only to notice its end.
 */

import type { BackendHandshake } from '../backend/backend-handshake.ts';
import { assert } from '../base/assert.ts';
import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import {
  E_CONNECT,
  E_CONNECT_TIMEOUT,
  E_OVERLOAD,
  E_RESPONSE_MALFORMED,
  E_RESPONSE_TIMEOUT,
  E_RESPONSE_TRUNCATED,
  E_UPSTREAM_CLOSED,
  E_UPSTREAM_RESET,
  E_UPSTREAM_TLS,
} from '../http/fault.ts';
import type { FieldSection } from '../http/fields.ts';
import { BODY_LENGTH, BODY_NONE, BODY_STREAM, LENGTH_UNKNOWN } from '../http/message.ts';
import { B_DATA, B_END, B_NEED_MORE } from '../http1/body-decoder.ts';
import type { BufferId } from '../io/buffer-pool.ts';
import type { Handle, SocketHandler } from '../io/reactor.ts';
import { PartialHead } from '../socket/partial-head.ts';
import type { SocketPort } from '../socket/port.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import { type BackendServer, SURPLUS_IDLE_MS } from './backend-server.ts';
import type { BackendStream } from './backend-stream.ts';
import type { EdgeContext } from './context.ts';
import type { Exchange } from './exchange.ts';
import type { ClientEngine } from './http1-engine.ts';
import { writeRequestHead } from './http1-request.ts';
import type { ProxyResponder } from './proxy-responder.ts';
import type { ProxyRoute } from './proxy-route.ts';
import { SocketInput } from './socket-input.ts';
import type { GroupServer } from './upstream-group.ts';

const S_CONNECTING = 0;
const S_IDLE = 1;
const S_HEAD = 2;
const S_BODY = 3;
const S_TUNNEL = 4;
/** Nobody waits for anything but that what is queued leaves. */
const S_FLUSH = 5;
const S_CLOSED = 6;

const TICK_MS = 1000;
/** Interim responses before a final one; a backend that sends more is out of its mind. */
const INTERIM_MAX = 32;
/** Content still to come from which on it is received in large pieces on request. */
const BULK_BYTES = 65536;
/** Content still to come from which on the kernel moves it to the client, and how much at once: its end is told each time. */
const FORWARD_BYTES_MIN = 131072;
const FORWARD_BYTES_MAX = 524288;
/** Content of the last response from which on the next one is received in large pieces from its start. */
const BULKY_BYTES = 32768;
/**
 * A tunnel of which one half has ended is over when the other half has been silent for this long: an upgraded
 * connection ends when either side closes, and what is under way still arrives.
 */
const HALF_TUNNEL_IDLE_MS = 2000;
/** How long a backend may take nothing of a tunnel's last bytes. */
const FLUSH_STALL_MS = 30_000;
/** The responder hears that there is room again when the queue has fallen below this. */
const SEND_LOW_BYTES = 262144;

export class Http1Backend implements BackendStream, SocketHandler, TimerHandler {
  readonly context: EdgeContext;
  readonly server: BackendServer;
  readonly mayRefuse: boolean;
  readonly takesUpgrades: boolean;
  /** The reactor, or the TLS socket. */
  private readonly port: SocketPort;
  /** Null without TLS. */
  private readonly tls: BackendHandshake | null;
  private handle: Handle;
  /** Which of the server's it is connected to; null before. */
  private address: SocketAddress | null;
  /** The server's addresses when it was last seen that this is one of them. */
  private addressEpoch: number;
  private state: number;
  private readonly timer: Timer;
  /** CONNECTING: when it fails. IDLE: since when it idles. BUSY: since when nothing has happened. */
  private sinceMs: number;
  /** When the present exchange began on this connection. */
  private begunMs: number;
  private responder: ProxyResponder | null;
  private engine: ClientEngine | null;
  private partial: PartialHead | null;
  private readonly input: SocketInput;
  private paused: boolean;
  private processing: boolean;
  private peerEnded: boolean;
  private peerErrno: number;
  private interims: number;
  /** The last response was long, and the next one probably is. */
  private bulky: boolean;
  private sendFailed: boolean;
  private wantsWritable: boolean;
  /** Bytes that the kernel was asked to move to the client, 0: none; and those still to come at the timer's last look. */
  private forwarding: number;
  private forwardLeft: number;
  /** What was queued, and what the backend had acknowledged, at the timer's last look. */
  private queuedBefore: number;
  private acknowledgedBefore: number;
  /** Exchanges that it has carried before this one. */
  served: number;

  constructor(context: EdgeContext, server: BackendServer, tls: BackendHandshake | null) {
    this.context = context;
    this.server = server;
    this.mayRefuse = false;
    this.takesUpgrades = true;
    this.port = tls === null ? context.reactor : tls.socket;
    this.tls = tls;
    this.handle = 0;
    this.address = null;
    this.addressEpoch = server.addressEpoch;
    this.state = S_CONNECTING;
    this.timer = new Timer(this, 0);
    this.sinceMs = 0;
    this.begunMs = 0;
    this.responder = null;
    this.engine = null;
    this.partial = null;
    this.input = new SocketInput(context.reactor.pool, this.port, 0);
    this.paused = false;
    this.processing = false;
    this.peerEnded = false;
    this.peerErrno = 0;
    this.interims = 0;
    this.bulky = false;
    this.sendFailed = false;
    this.wantsWritable = false;
    this.forwarding = 0;
    this.forwardLeft = 0;
    this.queuedBefore = 0;
    this.acknowledgedBefore = -1;
    this.served = 0;
  }

  /** Returns 0 or -errno. The responder hears `onBackendReady` or `onBackendFault`. */
  connect(address: SocketAddress, responder: ProxyResponder, timeoutMs: number): number {
    const reactor = this.context.reactor;
    const handle =
      this.tls === null ? reactor.connect(address, this) : this.tls.socket.connect(address, this);
    if (handle < 0) return handle;
    this.handle = handle;
    this.address = address;
    this.input.handle = handle;
    this.responder = responder;
    this.sinceMs = reactor.nowMs;
    reactor.timers.arm(this.timer, reactor.nowMs + timeoutMs);
    return 0;
  }

  onConnect(_handle: Handle, errno: number): void {
    if (this.state !== S_CONNECTING) return;
    if (errno < 0) {
      this.addressTried(true);
      this.fault(this.tellTlsFailure() ? E_UPSTREAM_TLS : E_CONNECT);
      return;
    }
    this.addressTried(false);
    if (this.tls?.isHttp2 === true) {
      this.handOver(this.tls);
      return;
    }
    this.context.reactor.timers.disarm(this.timer);
    this.state = S_IDLE;
    this.responder?.onBackendReady(this);
  }

  /** The backend has chosen HTTP/2: the socket goes to a connection that speaks it, and the responder with it. */
  private handOver(tls: BackendHandshake): void {
    const { responder, server } = this;
    if (
      responder === null ||
      !server.adoptHttp2(tls, responder, this.address, this.timer.deadlineMs - this.context.reactor.nowMs)
    ) {
      this.fault(E_OVERLOAD);
      return;
    }
    this.responder = null;
    this.state = S_CLOSED;
    this.context.reactor.timers.disarm(this.timer);
    server.forget(this);
  }

  private addressTried(failed: boolean): void {
    if (this.address !== null) this.server.addressTried(this.address, failed);
  }

  // ---- For the responder ------------------------------------------------------------------------------

  /** Connected and idle: from here on the request is written. */
  begin(responder: ProxyResponder): void {
    assert(this.state === S_IDLE, 'a backend connection that is not idle');
    const engine = this.context.takeClientEngine();
    engine.parser.reset();
    engine.out.attach(this.port, this.handle);
    this.engine = engine;
    this.responder = responder;
    this.state = S_HEAD;
    this.interims = 0;
    this.paused = false;
    this.wantsWritable = false;
    this.begunMs = this.context.reactor.nowMs;
    this.sinceMs = this.begunMs;
    this.tick();
    this.receive();
  }

  sendHead(exchange: Exchange, route: ProxyRoute, server: GroupServer, upgrade: boolean): boolean {
    const { engine } = this;
    if (engine === null || !writeRequestHead(engine.out, exchange, route, server, upgrade)) return false;
    engine.out.chunked = exchange.request.bodyKind === BODY_STREAM;
    return true;
  }

  sendData(buffer: BufferId, offset: number, length: number): boolean {
    const { engine } = this;
    assert(engine !== null, 'content without an exchange');
    return engine.out.data(buffer, offset, length);
  }

  sendEnd(trailers: FieldSection): boolean {
    const { engine } = this;
    assert(engine !== null, 'an end without an exchange');
    return engine.out.end(trailers);
  }

  flush(): void {
    this.engine?.out.flush();
  }

  pass(): void {
    this.engine?.out.pass();
  }

  get isIdle(): boolean {
    return this.state === S_IDLE;
  }

  queuedBytes(): number {
    return this.port.sendQueuedBytes(this.handle);
  }

  awaitWritable(): void {
    this.wantsWritable = true;
  }

  touch(): void {
    this.sinceMs = this.context.reactor.nowMs;
  }

  pause(): void {
    if (this.paused) return;
    this.paused = true;
    this.input.stop();
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.touch();
    this.process();
  }

  startTunnel(): void {
    if (this.engine !== null) this.engine.out.chunked = false;
    this.state = S_TUNNEL;
  }

  endSend(): void {
    this.touch();
    this.port.shutdownSend(this.handle);
  }

  /** The exchange is over and this connection is as good as before: it waits in its server's pool. */
  private toIdle(): void {
    this.releaseEngine();
    this.responder = null;
    this.paused = false;
    this.state = S_IDLE;
    this.served++;
    this.sinceMs = this.context.reactor.nowMs;
    const { server } = this;
    const mayIdle = server.idleTimeoutMs > 0 && server.idleMax > 0 && !this.context.isDraining;
    if (!mayIdle || this.hasLostAddress) {
      this.close(false);
      return;
    }
    server.putIdle(this);
  }

  /** The server's name has its address no more. */
  get hasLostAddress(): boolean {
    const { server } = this;
    if (this.addressEpoch === server.addressEpoch) return false;
    if (!server.hasAddress(this.address)) return true;
    this.addressEpoch = server.addressEpoch;
    return false;
  }

  close(abortive: boolean): void {
    if (this.state === S_CLOSED) return;
    if (this.state === S_IDLE) this.server.dropIdle(this);
    this.state = S_CLOSED;
    this.responder = null;
    this.forwarding = 0;
    this.context.reactor.timers.disarm(this.timer);
    const engine = this.engine;
    if (engine !== null) {
      this.engine = null;
      engine.out.detach();
      this.context.recycleClientEngine(engine);
    }
    this.partial?.release();
    this.partial = null;
    this.input.clear();
    this.port.close(this.handle, abortive);
  }

  closeWhenSent(): void {
    this.engine?.out.flush();
    if (this.state !== S_TUNNEL || this.queuedBytes() === 0) {
      this.close(false);
      return;
    }
    this.state = S_FLUSH;
    this.responder = null;
    this.releaseEngine();
    this.input.clear();
    this.sinceMs = this.context.reactor.nowMs;
    this.tick();
  }

  onClose(): void {
    if (this.state === S_CONNECTING) this.fault(E_CONNECT);
    this.server.forget(this);
  }

  // ---- Receiving --------------------------------------------------------------------------------------

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    if (this.state === S_CLOSED || this.state === S_FLUSH) {
      this.input.drop(buffer);
      return;
    }
    if (this.state === S_IDLE) {
      // Nobody asked for these bytes: they must not become the next exchange's response.
      this.input.drop(buffer);
      this.context.warn(`backend ${this.server.url} sent bytes on an idle connection; closed`);
      this.close(true);
      return;
    }
    this.sinceMs = this.context.reactor.nowMs;
    this.input.put(buffer, offset, length);
    this.process();
  }

  onReceiveEnd(_handle: Handle, errno: number): void {
    this.input.ended();
    if (this.state === S_CLOSED) return;
    if (this.state === S_IDLE || (this.state === S_FLUSH && errno < 0)) {
      this.close(false);
      return;
    }
    this.peerEnded = true;
    this.peerErrno = errno;
    this.process();
  }

  private process(): void {
    if (this.processing) return;
    this.processing = true;
    while (!this.paused && this.input.available() && this.step());
    this.processing = false;
    if (this.state === S_CLOSED) return;
    if (this.peerEnded && this.input.isEmpty && !this.paused) this.inputEnded();
    this.responder?.onBackendQuiet();
    this.receive();
  }

  private step(): boolean {
    switch (this.state) {
      case S_HEAD:
        return this.readHead();
      case S_BODY:
        return this.readBody();
      case S_TUNNEL:
        return this.readTunnel();
      case S_IDLE:
        // More than the response: a lie, and not the next one's.
        this.close(true);
        return false;
      default:
        return false;
    }
  }

  private readHead(): boolean {
    const engine = this.engine;
    const responder = this.responder;
    assert(engine !== null && responder !== null, 'a response without an exchange');
    const { parser } = engine;
    const bytes = this.context.reactor.pool.bytes;
    const partial = this.partial;
    let used = 0;
    if (partial === null) {
      used = parser.parse(
        responder.responseHead,
        responder.requestMethod,
        bytes,
        this.input.offset,
        this.input.end,
      );
      if (used > 0) this.input.offset += used;
    } else {
      const taken = partial.append(this.input.offset, this.input.end - this.input.offset, parser);
      if (taken < 0) return this.fault(E_OVERLOAD);
      used = parser.parse(responder.responseHead, responder.requestMethod, bytes, partial.start, partial.end);
      this.input.offset += used > 0 ? taken - (partial.end - (partial.start + used)) : taken;
    }
    if (used < 0) return this.fault(used);
    if (used === 0) {
      if (partial === null) this.keepPartialHead();
      return true;
    }
    const proceeds = this.headComplete(engine, responder);
    // The head's bytes may go only now: the responder has written it.
    if (partial !== null) {
      partial.release();
      if (this.partial === partial) this.partial = null;
    }
    return proceeds;
  }

  private keepPartialHead(): void {
    this.partial = new PartialHead(this.context.reactor.pool);
    this.partial.keep(this.input.buffer, this.input.offset, this.input.end);
    this.input.detach();
  }

  private headComplete(engine: ClientEngine, responder: ProxyResponder): boolean {
    const head = responder.responseHead;
    if (head.status < 200 && head.status !== 101) {
      if (++this.interims > INTERIM_MAX) return this.fault(E_RESPONSE_MALFORMED);
      responder.onBackendInterim();
      return this.isOpen;
    }
    this.server.countAnswer(this.context.reactor.nowMs - this.begunMs);
    this.state = S_BODY;
    engine.decoder.start(head.bodyKind, head.contentLength);
    responder.onBackendHead();
    if (this.isBody && (head.bodyKind === BODY_NONE || engine.decoder.ended))
      this.responseEnd(engine.decoder.trailers);
    return this.isOpen;
  }

  private get isOpen(): boolean {
    return this.state !== S_CLOSED;
  }

  private get isBody(): boolean {
    return this.state === S_BODY;
  }

  private readBody(): boolean {
    const engine = this.engine;
    assert(engine !== null, 'content without an engine');
    const decoder = engine.decoder;
    const { pool } = this.context.reactor;
    const { bytes } = pool;
    while (!this.paused || decoder.ended) {
      const event = decoder.decode(bytes, this.input.offset, this.input.end);
      if (event === B_NEED_MORE) {
        this.input.offset = this.input.end;
        return true;
      }
      if (event === B_DATA) {
        this.input.offset += decoder.consumed;
        const { buffer } = this.input;
        // Where nobody else holds the buffer, all before the content was the head, which is written, or content that left.
        const room = pool.referencesOf(buffer) === 1 ? decoder.dataOffset - pool.offsetOf(buffer) : 0;
        pool.retain(buffer);
        this.responder?.onBackendData(buffer, decoder.dataOffset, decoder.dataLength, room);
      } else if (event === B_END) {
        this.input.offset += decoder.consumed;
        this.responseEnd(decoder.trailers);
        return this.isOpen;
      } else {
        return this.fault(E_RESPONSE_MALFORMED);
      }
      if (!this.isBody) return this.isOpen;
    }
    return false;
  }

  private readTunnel(): boolean {
    const { buffer, offset } = this.input;
    const length = this.input.end - offset;
    this.input.detach();
    if (this.responder === null) this.context.reactor.pool.release(buffer);
    else this.responder.onBackendData(buffer, offset, length);
    return this.isOpen;
  }

  /** The response is complete. The connection is reused when both sides have said all they had to. */
  private responseEnd(trailers: FieldSection): void {
    const engine = this.engine;
    const responder = this.responder;
    assert(engine !== null && responder !== null, 'a response without an exchange');
    this.bulky = engine.decoder.dataBytes >= BULKY_BYTES;
    const reusable =
      !engine.parser.closeAfter &&
      responder.leavesConnectionClean &&
      !this.peerEnded &&
      !this.sendFailed &&
      this.input.isEmpty;
    this.responder = null;
    if (reusable) {
      this.toIdle();
      responder.onBackendEnd(trailers);
    } else {
      responder.onBackendEnd(trailers);
      this.close(false);
    }
  }

  /** The backend has sent its end, and all before it is used up. */
  private inputEnded(): void {
    switch (this.state) {
      case S_HEAD: {
        const parser = this.engine?.parser;
        if (this.tellTlsFailure()) this.fault(E_UPSTREAM_TLS);
        else if (parser?.begun === true || this.interims > 0) this.fault(E_RESPONSE_TRUNCATED);
        else this.fault(this.peerErrno < 0 ? E_UPSTREAM_RESET : E_UPSTREAM_CLOSED);
        return;
      }
      case S_BODY: {
        const engine = this.engine;
        if (engine !== null && this.peerErrno === 0 && engine.decoder.finish()) {
          this.responseEnd(engine.decoder.trailers);
          return;
        }
        this.tellTlsFailure();
        this.fault(E_RESPONSE_TRUNCATED);
        return;
      }
      case S_TUNNEL:
        this.touch();
        if (this.peerErrno === 0) {
          this.responder?.onBackendTunnelEnd();
          return;
        }
        this.tellTlsFailure();
        this.fault(E_RESPONSE_TRUNCATED);
        return;
      default:
        this.close(false);
    }
  }

  /** Whether TLS is what failed; then the log says how. */
  private tellTlsFailure(): boolean {
    const reason = this.tls === null ? '' : this.tls.reason;
    if (reason !== '') this.server.tlsFailed(reason);
    return reason !== '';
  }

  /** Ends this connection and tells the responder why. Returns false, for `step`. */
  private fault(code: number): boolean {
    const responder = this.responder;
    if (responder !== null) this.server.countFailure(code);
    this.close(true);
    responder?.onBackendFault(code);
    return false;
  }

  private receive(): void {
    if (this.peerEnded || this.paused || this.state >= S_FLUSH || this.state === S_CONNECTING) return;
    if (this.forwarding === 0 && !this.startForward()) this.input.want(this.wantsBulk());
  }

  /** Has the kernel move what is left of long content, or the next part of it. False: it is to be received. */
  private startForward(): boolean {
    const { engine, responder } = this;
    if (this.state !== S_BODY || this.tls !== null || engine === null || responder === null) return false;
    const left = engine.decoder.remainingBytes;
    if (left < FORWARD_BYTES_MIN || responder.responseHead.bodyKind !== BODY_LENGTH) return false;
    this.input.stop();
    const length = left < FORWARD_BYTES_MAX + FORWARD_BYTES_MIN ? left : FORWARD_BYTES_MAX;
    if (!this.input.isQuiet || !responder.forward(this.handle, length)) return false;
    this.forwarding = length;
    this.forwardLeft = length;
    return true;
  }

  onForwarded(moved: number): void {
    const { engine, forwarding } = this;
    if (forwarding === 0 || engine === null) return;
    this.forwarding = 0;
    this.touch();
    engine.decoder.skip(moved);
    if (engine.decoder.ended) this.responseEnd(engine.decoder.trailers);
    if (!this.isOpen) return;
    // Its end, or its failure, is still to be received.
    if (moved < forwarding) this.input.want(false);
    else this.receive();
  }

  private wantsBulk(): boolean {
    if (this.state === S_IDLE || this.state === S_HEAD) return this.bulky;
    if (this.state !== S_BODY || this.responder === null || this.engine === null) return false;
    const head = this.responder.responseHead;
    const { decoder } = this.engine;
    if (head.bodyKind === BODY_LENGTH && head.contentLength !== LENGTH_UNKNOWN) {
      return this.bulky || head.contentLength - decoder.dataBytes >= BULK_BYTES;
    }
    return decoder.dataBytes >= BULK_BYTES;
  }

  private releaseEngine(): void {
    const engine = this.engine;
    if (engine === null) return;
    this.engine = null;
    engine.out.detach();
    this.context.recycleClientEngine(engine);
  }

  // ---- Sending and time -------------------------------------------------------------------------------

  onSend(_handle: Handle, _tag: number, result: number): void {
    if (this.state === S_CLOSED) return;
    if (result < 0) {
      // The backend may have answered before it closed: what it said counts, if it comes.
      this.sendFailed = true;
      if (this.state === S_FLUSH) this.close(true);
      else this.responder?.onBackendSendFailed();
      return;
    }
    this.sinceMs = this.context.reactor.nowMs;
    this.engine?.out.pass();
    if (this.state === S_FLUSH && this.queuedBytes() === 0) {
      this.close(false);
      return;
    }
    if (this.wantsWritable && this.queuedBytes() < SEND_LOW_BYTES) {
      this.wantsWritable = false;
      this.responder?.onBackendWritable();
    }
  }

  private tick(): void {
    const at = this.context.reactor.nowMs + TICK_MS;
    if (this.timer.deadlineMs < 0 || this.timer.deadlineMs > at)
      this.context.reactor.timers.arm(this.timer, at);
  }

  onTimer(): void {
    const nowMs = this.context.reactor.nowMs;
    switch (this.state) {
      case S_CLOSED:
        return;
      case S_CONNECTING:
        this.addressTried(true);
        this.fault(E_CONNECT_TIMEOUT);
        return;
      case S_IDLE:
        this.checkIdle(nowMs);
        return;
      case S_FLUSH:
        if (!this.takesBytes() && nowMs - this.sinceMs >= FLUSH_STALL_MS) this.close(true);
        break;
      default:
        if (this.isOverdue(nowMs)) this.fault(E_RESPONSE_TIMEOUT);
    }
    if (this.isOpen) this.tick();
  }

  /** Whether nothing has come for too long while it is the backend that everybody waits for. */
  private isOverdue(nowMs: number): boolean {
    const { responder } = this;
    if (responder === null || this.takesBytes() || this.movesBytes(responder)) return false;
    const queued = this.queuedBytes();
    const silentMs = nowMs - this.sinceMs;
    if (this.state === S_TUNNEL) {
      if (queued > 0) return silentMs >= responder.responseTimeoutMs;
      return responder.tunnelEnds && !this.paused && silentMs >= HALF_TUNNEL_IDLE_MS;
    }
    if (responder.awaitsBackend(queued) && !this.paused) return silentMs >= responder.responseTimeoutMs;
    this.sinceMs = nowMs;
    return false;
  }

  /** Whether the backend has taken bytes since the last look. A large segment itself tells only when all of it has left. */
  private takesBytes(): boolean {
    const queued = this.queuedBytes();
    const acknowledged = queued > 0 ? this.port.sendAcknowledgedBytes(this.handle) : -1;
    const moved =
      queued < this.queuedBefore || (acknowledged >= 0 && acknowledged !== this.acknowledgedBefore);
    this.queuedBefore = queued;
    this.acknowledgedBefore = acknowledged;
    if (moved) this.touch();
    return moved;
  }

  /** Whether what the kernel moves has gone on since the last look, or waits for the client. */
  private movesBytes(responder: ProxyResponder): boolean {
    if (this.forwarding === 0) return false;
    const left = this.context.reactor.sendFromLeft(this.handle);
    const moves = left !== this.forwardLeft || responder.awaitsClient;
    this.forwardLeft = left;
    if (moves) this.touch();
    return moves;
  }

  private checkIdle(nowMs: number): void {
    const idleMs = nowMs - this.sinceMs;
    const { server } = this;
    if (idleMs >= server.idleTimeoutMs || (idleMs >= SURPLUS_IDLE_MS && server.idleCount > server.idleMax)) {
      this.close(false);
      return;
    }
    const nextMs =
      idleMs < SURPLUS_IDLE_MS ? this.sinceMs + SURPLUS_IDLE_MS : this.sinceMs + server.idleTimeoutMs;
    this.context.reactor.timers.arm(this.timer, Math.max(nextMs, nowMs + 1));
  }
}
