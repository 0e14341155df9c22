/**
 * A client's HTTP/2 connection (RFC 9113): drives the engine of src/http2 with what its socket receives, gives each stream
 * an exchange, and sends what the streams have in the order that the engine says. Owns the socket and its timer.
 *
 * States and who leaves them: (REFUSED, for a client that was cut again and again: nothing is read, and after a while it
 * is told →) OPEN → CLOSING (the engine is dead, or the last stream is over after GOAWAY: what is queued
 * leaves, what still comes is discarded) → CLOSED.
 */

import { assert } from '../base/assert.ts';
import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import { E_BODY_TIMEOUT, E_WRITE_TIMEOUT } from '../http/fault.ts';
import type { FieldSection } from '../http/fields.ts';
import { type RequestHead, ResponseHead } from '../http/message.ts';
import { D_PENALTY } from '../http2/budget.ts';
import { H2_CANCEL, H2_ENHANCE_YOUR_CALM, H2_INTERNAL_ERROR, H2_NO_ERROR } from '../http2/constants.ts';
import { Http2Engine } from '../http2/engine.ts';
import type { Http2Events } from '../http2/events.ts';
import { type BufferId, NO_BUFFER } from '../io/buffer-pool.ts';
import type { Handle, SocketHandler } from '../io/reactor.ts';
import { STRIKES_REFUSED } from '../shared/client-strikes.ts';
import type { SocketPort } from '../socket/port.ts';
import type { ClientAddress } from './client-address.ts';
import type { ClientConnection, EdgeContext } from './context.ts';
import { X_ENDED } from './exchange.ts';
import { Http2Out } from './http2-out.ts';
import type { Http2Shared } from './http2-shared.ts';
import { Http2ServerStream } from './http2-stream.ts';
import type { RouteAction } from './route.ts';
import { SocketInput } from './socket-input.ts';
import { StallWatch } from './stall-watch.ts';

const S_OPEN = 0;
const S_CLOSING = 1;
const S_CLOSED = 2;
const S_REFUSED = 3;

// Timers.
const T_TICK = 0;
const T_PUMP = 1;

/** How often a connection looks at its limits. */
const TICK_MS = 1000;
/** How long a client may take to read what is left after our end, and to answer a GOAWAY. */
const LINGER_MS = 2000;
/** How long a client waits to hear that it is refused: one that would come back at once is kept waiting, at no cost. */
const REFUSAL_MS = 1000;
/** Frames are made while no more than this is unsent, so that the scheduler's order is the wire's. */
const UNSENT_BYTES_MAX = 131072;
/** A client that does not take what it asked for is not read any further: its answers would pile up. */
const DEAF_BYTES = 262144;

export class Http2Connection
  implements SocketHandler, TimerHandler, Http2Events<Http2ServerStream>, ClientConnection
{
  readonly context: EdgeContext;
  readonly port: SocketPort;
  readonly handle: Handle;
  readonly client: ClientAddress;
  readonly scheme: number;
  readonly listenerAction: RouteAction | null;
  readonly engine: Http2Engine<Http2ServerStream>;
  readonly out: Http2Out;
  /** Bytes of content that all streams keep until the client's windows take them. */
  waitingBytes: number;
  /** More is queued than a stream's writer goes on with: it may have to be told when that has left. */
  owesWritable: boolean;
  private readonly shared: Http2Shared;
  /** Of its address, when it began. */
  private readonly strikes: number;
  private state: number;
  private readonly timer: Timer;
  /** Due with the turn in which something is to be sent. */
  private readonly pumpTimer: Timer;
  private readonly input: SocketInput;
  /** The buffer that is being received; NO_BUFFER outside. */
  private current: BufferId;
  private processing: boolean;
  private pumping: boolean;
  private peerEnded: boolean;
  private isBroken: boolean;
  /** When an idle connection ends, or a closing one at the latest. */
  private deadlineMs: number;
  private isLeaving: boolean;
  private watch: StallWatch | null;
  /** Streams whose requests have come and are not handed on yet, in their order. */
  private begunFirst: Http2ServerStream | null;
  private begunLast: Http2ServerStream | null;

  constructor(
    context: EdgeContext,
    port: SocketPort,
    handle: Handle,
    client: ClientAddress,
    scheme: number,
    listenerAction: RouteAction | null,
    shared: Http2Shared,
  ) {
    const { pool, nowMs } = context.reactor;
    this.context = context;
    this.port = port;
    this.handle = handle;
    this.client = client;
    this.scheme = scheme;
    this.listenerAction = listenerAction;
    this.out = new Http2Out(pool, port, handle);
    this.strikes = context.trusts(client) ? 0 : shared.strikesOf(client, nowMs);
    const budgets = shared.budgetsFor(this.strikes);
    this.engine = new Http2Engine(true, shared.settings, budgets, this, this.out, shared.workspace);
    this.waitingBytes = 0;
    this.owesWritable = false;
    this.shared = shared;
    this.state = S_OPEN;
    this.timer = new Timer(this, T_TICK);
    this.pumpTimer = new Timer(this, T_PUMP);
    this.input = new SocketInput(pool, port, handle);
    this.current = NO_BUFFER;
    this.processing = false;
    this.pumping = false;
    this.peerEnded = false;
    this.isBroken = false;
    this.deadlineMs = nowMs + context.limits.clientHeaderTimeoutMs;
    this.isLeaving = false;
    this.watch = null;
    this.begunFirst = null;
    this.begunLast = null;
    shared.enter();
  }

  /** Sends our SETTINGS and begins to read; or lets a client wait that was cut again and again. */
  start(): void {
    if (this.strikes >= STRIKES_REFUSED) {
      const { reactor } = this.context;
      this.state = S_REFUSED;
      reactor.timers.arm(this.timer, reactor.nowMs + REFUSAL_MS);
      return;
    }
    this.engine.start(this.context.reactor.nowMs);
    this.out.flush();
    this.tick();
    this.input.want(false);
  }

  private tellRefusal(): void {
    this.state = S_OPEN;
    this.engine.start(this.context.reactor.nowMs);
    this.engine.fail(H2_ENHANCE_YOUR_CALM, D_PENALTY);
    this.beginClose();
  }

  shutdown(): void {
    this.beginLeave();
  }

  abort(): void {
    if (this.state !== S_CLOSED) this.close(true);
  }

  // ---- Reading --------------------------------------------------------------------------------------

  onConnect(): void {
    assert(false, 'an accepted socket does not connect');
  }

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    if (this.state !== S_OPEN) {
      this.input.drop(buffer);
      return;
    }
    this.input.put(buffer, offset, length);
    this.process();
  }

  onReceiveEnd(_handle: Handle, errno: number): void {
    this.input.ended();
    if (this.state === S_CLOSED) return;
    this.peerEnded = true;
    if (errno < 0 || this.state === S_CLOSING) this.close(false);
    else this.process();
  }

  private process(): void {
    if (this.processing) return;
    this.processing = true;
    const { input, engine } = this;
    const { pool } = this.context.reactor;
    while (this.state === S_OPEN && !this.isDeaf && input.available()) {
      const { buffer, offset, end } = input;
      input.offset = end;
      this.current = buffer;
      pool.retain(buffer);
      const lives = engine.receive(pool.bytes, offset, end, this.context.reactor.nowMs);
      pool.release(buffer);
      this.current = NO_BUFFER;
      if (!lives) break;
    }
    this.handOn();
    this.processing = false;
    if (engine.isDead) this.pump();
    else this.pumpSoon();
    if (this.state !== S_OPEN) return;
    // A client that has ended its half can't open windows or begin streams: what is under way goes on where it can.
    if (this.peerEnded && input.isEmpty) this.ended();
    else if (this.isDeaf) input.stop();
    else if (!this.peerEnded) input.want(false);
  }

  /**
   * Hands on the requests that have come, now that all that came with them is read: one that was reset meanwhile, or
   * whose connection has failed, has cost nothing but its head.
   */
  private handOn(): void {
    let stream = this.begunFirst;
    this.begunFirst = null;
    this.begunLast = null;
    while (stream !== null) {
      const next: Http2ServerStream | null = stream.nextBegun;
      stream.nextBegun = null;
      if (!this.engine.isDead) stream.handOn();
      stream = next;
    }
  }

  private ended(): void {
    if (this.engine.streams.count === 0) this.beginClose();
  }

  /** The client does not take what is sent. */
  private get isDeaf(): boolean {
    return this.port.sendQueuedBytes(this.handle) > DEAF_BYTES;
  }

  // ---- Writing --------------------------------------------------------------------------------------

  /** Sends when the turn ends: what many streams have by then leaves together. */
  pumpSoon(): void {
    if (this.state === S_OPEN && this.pumpTimer.deadlineMs < 0)
      this.context.reactor.timers.arm(this.pumpTimer, 0);
  }

  /** Sends what may be sent now, and sees to what has become of the connection. Inside of itself or of `process` it does nothing. */
  pump(): void {
    if (this.pumping || this.processing || this.state !== S_OPEN) return;
    this.pumping = true;
    const { engine, port } = this;
    engine.nowMs = this.context.reactor.nowMs;
    let sent = 0;
    const unsent = port.sendQueuedBytes(this.handle);
    while (unsent + sent < UNSENT_BYTES_MAX) {
      const stream = engine.nextToSend();
      if (stream === null) break;
      const before = engine.sender.dataBytes;
      stream.sendFrame();
      sent += engine.sender.dataBytes - before;
      stream.tellWritable();
    }
    this.out.flush();
    this.pumping = false;
    if (engine.broken || this.isBroken) this.close(true);
    else if (engine.isDead || engine.isLeft) this.beginClose();
    else if (this.peerEnded && this.input.isEmpty && engine.streams.count === 0) this.beginClose();
  }

  /** No memory: the connection is cut when the present call is over. */
  breakOff(): void {
    this.isBroken = true;
    this.context.reactor.timers.arm(this.timer, this.context.reactor.nowMs);
  }

  onSend(_handle: Handle, _tag: number, result: number): void {
    if (this.state === S_CLOSED) return;
    if (result < 0) {
      this.close(false);
      return;
    }
    if (this.state === S_CLOSING) {
      if (this.port.sendQueuedBytes(this.handle) === 0 && this.peerEnded) this.close(false);
      return;
    }
    this.pump();
    if (this.state !== S_OPEN) return;
    if (this.owesWritable) {
      this.owesWritable = false;
      const streams = this.engine.streams.all;
      for (let slot = 0; slot < streams.length; slot++) streams[slot]?.tellWritable();
    }
    if (this.state === S_OPEN && !this.isDeaf) this.process();
  }

  // ---- From the engine (Http2Events) ------------------------------------------------------------------

  acceptStream(): Http2ServerStream | null {
    return new Http2ServerStream(this);
  }

  requestHead(stream: Http2ServerStream): RequestHead {
    const exchange = this.context.takeExchange();
    exchange.begin(stream);
    stream.exchange = exchange;
    return exchange.request;
  }

  onRequest(stream: Http2ServerStream, fault: number, start: number, end: number): void {
    if (!stream.headComplete(fault, start, end)) return;
    if (this.begunLast === null) this.begunFirst = stream;
    else this.begunLast.nextBegun = stream;
    this.begunLast = stream;
  }

  responseHead(): ResponseHead {
    assert(false, 'a server receives no responses');
    return NO_RESPONSE;
  }

  onResponse(): void {
    assert(false, 'a server receives no responses');
  }

  onData(stream: Http2ServerStream, offset: number, length: number): void {
    if (this.watch !== null) this.watch.received(this.context.reactor.nowMs, length);
    stream.received(this.current, offset, length);
  }

  onEnd(stream: Http2ServerStream, trailers: FieldSection): void {
    stream.receivedEnd(trailers);
  }

  onReset(stream: Http2ServerStream): void {
    stream.wasReset();
  }

  onClosed(stream: Http2ServerStream): void {
    stream.release();
    this.deadlineMs = this.context.reactor.nowMs + this.context.limits.keepAliveTimeoutMs;
  }

  onSettings(): void {}

  onPong(): void {}

  onGoaway(): void {
    if (this.engine.streams.count === 0) this.beginLeave();
  }

  // ---- The end --------------------------------------------------------------------------------------

  /** Says that no more streams are taken (RFC 9113 §6.8); closes when the last is over. */
  private beginLeave(): void {
    if (this.isLeaving || this.state !== S_OPEN) return;
    this.isLeaving = true;
    this.engine.beginLeave();
    this.deadlineMs = this.context.reactor.nowMs + LINGER_MS;
    this.tick();
    this.pump();
  }

  /** Sends what is queued, then our end. */
  private beginClose(): void {
    if (this.state !== S_OPEN) return;
    this.state = S_CLOSING;
    const { context, client, engine } = this;
    if (engine.reason >= 0) this.shared.wasCut(context, client, engine.reason, context.trusts(client));
    this.engine.abandon(this.engine.isDead ? this.engine.errorCode : H2_NO_ERROR);
    this.out.flush();
    this.input.skip();
    if (this.peerEnded && this.port.sendQueuedBytes(this.handle) === 0) {
      this.close(false);
      return;
    }
    this.port.shutdownSend(this.handle);
    if (!this.peerEnded) this.input.want(false);
    this.deadlineMs = this.context.reactor.nowMs + LINGER_MS;
    this.tick();
  }

  private close(abortive: boolean): void {
    if (this.state === S_CLOSED) return;
    const wasOpen = this.state === S_OPEN;
    this.state = S_CLOSED;
    this.context.reactor.timers.disarm(this.timer);
    this.context.reactor.timers.disarm(this.pumpTimer);
    if (wasOpen) this.engine.abandon(H2_INTERNAL_ERROR);
    this.out.drop();
    this.input.clear();
    this.port.close(this.handle, abortive);
  }

  onClose(): void {
    assert(this.state === S_CLOSED, 'closed without being asked');
    this.shared.leave();
    this.context.onConnectionClosed(this);
  }

  // ---- Time -----------------------------------------------------------------------------------------

  private tick(): void {
    const at = this.context.reactor.nowMs + TICK_MS;
    if (this.timer.deadlineMs < 0 || this.timer.deadlineMs > at)
      this.context.reactor.timers.arm(this.timer, at);
  }

  onTimer(timer: Timer): void {
    if (timer.kind === T_PUMP) this.pump();
    else this.onTick();
  }

  private onTick(): void {
    const { nowMs } = this.context.reactor;
    if (this.isBroken) {
      this.close(true);
      return;
    }
    if (this.state === S_CLOSING) {
      if (nowMs >= this.deadlineMs) this.close(this.port.sendQueuedBytes(this.handle) > 0);
    } else if (this.state === S_REFUSED) {
      this.tellRefusal();
    } else if (this.state === S_OPEN) {
      this.checkOpen(nowMs);
    }
    if (!this.isClosed) this.tick();
  }

  private get isClosed(): boolean {
    return this.state === S_CLOSED;
  }

  private checkOpen(nowMs: number): void {
    const { engine } = this;
    if (engine.streams.count === 0) {
      if (nowMs < this.deadlineMs) return;
      if (!this.isLeaving) this.beginLeave();
      else engine.leave();
      this.pump();
      return;
    }
    if (this.isLeaving && nowMs >= this.deadlineMs) {
      engine.leave();
      this.out.flush();
    }
    this.checkReader(nowMs);
    const streams = engine.streams.all;
    for (let slot = 0; slot < streams.length && this.state === S_OPEN; slot++) {
      const stream = streams[slot];
      if (stream !== null) this.checkStream(stream, nowMs);
    }
    this.pump();
  }

  /** The socket's own progress: a client that takes too little of what is queued. */
  private checkReader(nowMs: number): void {
    this.watch ??= new StallWatch(nowMs);
    const { limits } = this.context;
    const queued = this.port.sendQueuedBytes(this.handle);
    const acknowledged = queued > 0 ? this.port.sendAcknowledgedBytes(this.handle) : -1;
    if (
      this.watch.readerTooSlow(nowMs, queued, acknowledged, limits.writeTimeoutMs, limits.minRateBytesPerSec)
    )
      this.close(true);
  }

  /** A stream's: windows that stay shut, and content that doesn't come. */
  private checkStream(stream: Http2ServerStream, nowMs: number): void {
    const { engine } = this;
    const { exchange } = stream;
    const { writeTimeoutMs, clientHeaderTimeoutMs } = this.context.limits;
    const blockedSinceMs = stream.blockedSinceMs >= 0 ? stream.blockedSinceMs : engine.sender.blockedSinceMs;
    if (stream.pendingBytes > 0 && blockedSinceMs >= 0 && nowMs - blockedSinceMs >= writeTimeoutMs) {
      if (exchange !== null && exchange.phase < X_ENDED) exchange.onStreamGone(E_WRITE_TIMEOUT);
      if (stream.id !== 0) engine.reset(stream, H2_CANCEL);
      return;
    }
    if (exchange === null || stream.remoteEnded || stream.paused || stream.isTunnel) return;
    const timeoutMs = exchange.route === null ? clientHeaderTimeoutMs : exchange.route.clientBodyTimeoutMs;
    if (nowMs - stream.lastReceivedMs >= timeoutMs) exchange.onRequestFault(E_BODY_TIMEOUT);
  }
}

const NO_RESPONSE = new ResponseHead(new Uint8Array(0));
