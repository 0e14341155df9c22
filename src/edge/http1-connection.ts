/**
 * A client's HTTP/1.1 connection: bytes from its socket become exchanges, one after another, and their
 * responses become bytes. Owns the socket, what was received and can't be used yet, and the timers.
 *
 * States and who leaves them: IDLE → HEAD (first byte of a request) → BODY (head complete, content to come) or
 * WAIT (nothing more to read for this exchange) → IDLE when the exchange is over; DRAIN (it is over but its
 * content is not) → IDLE; TUNNEL (after a 101) → LINGER; LINGER (our end is sent, the rest is discarded) →
 * CLOSED. An idle connection holds no engine, no exchange and no buffer.
 */

import { assert } from '../base/assert.ts';
import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import {
  E_BODY_INCOMPLETE,
  E_BODY_TIMEOUT,
  E_BODY_TOO_LARGE,
  E_CLIENT_GONE,
  E_HEAD_TIMEOUT,
  E_OVERLOAD,
  E_SHUTDOWN,
  E_WRITE_TIMEOUT,
} from '../http/fault.ts';
import type { FieldSection } from '../http/fields.ts';
import { BODY_LENGTH, BODY_NONE, BODY_STREAM, type RequestHead, type ResponseHead } from '../http/message.ts';
import { B_DATA, B_END, B_NEED_MORE } from '../http1/body-decoder.ts';
import { type BufferId, NO_BUFFER } from '../io/buffer-pool.ts';
import type { FileHandle, Handle, SocketHandler } from '../io/reactor.ts';
import { PartialHead } from '../socket/partial-head.ts';
import type { SocketPort } from '../socket/port.ts';
import type { ClientAddress } from './client-address.ts';
import type { EdgeContext } from './context.ts';
import { type Exchange, NO_FIELDS, X_ENDED } from './exchange.ts';
import type { ServerEngine } from './http1-engine.ts';
import { writeInformational, writeResponseHead } from './http1-response.ts';
import { TAG_FILE, TAG_FORWARDED } from './message-out.ts';
import type { RouteAction } from './route.ts';
import { SocketInput } from './socket-input.ts';
import { StallWatch } from './stall-watch.ts';
import type { DownstreamStream } from './stream.ts';

const S_IDLE = 0;
const S_HEAD = 1;
const S_BODY = 2;
const S_WAIT = 3;
const S_DRAIN = 4;
const S_TUNNEL = 5;
const S_LINGER = 6;
const S_CLOSED = 7;

/** How often a connection with work looks at its limits. */
const TICK_MS = 1000;
/** How long a client may take to read the last response after our end, and to stop sending. */
const LINGER_MS = 2000;
/** What was sent before a reset needs a moment to arrive: the reset overtakes it otherwise. */
const RESET_DELAY_MS = 100;
/** What a client still sends behind our end is read up to this much within LINGER_MS, so that no reset overtakes the response. */
const LINGER_BYTES_MAX = 1 << 24;
/** Content that nobody wants is read up to this much, so that the connection can be used again. */
const DRAIN_BYTES_MAX = 65536;
/** Content still to come from which on it is received in large pieces on request. */
const BULK_BYTES = 65536;
/** A pipelined request begins only when no more than this of the responses before it is unsent. */
const PIPELINE_UNSENT_BYTES = 16384;
/** The client hears that there is room again when the queue has fallen below this. */
const SEND_LOW_BYTES = 262144;

export class Http1Connection implements SocketHandler, TimerHandler, DownstreamStream {
  readonly context: EdgeContext;
  readonly port: SocketPort;
  readonly handle: Handle;
  readonly client: ClientAddress;
  readonly scheme: number;
  readonly listenerAction: RouteAction | null;
  private state: number;
  private readonly timer: Timer;
  /** When the present state is over at the latest: IDLE, HEAD, LINGER. */
  private deadlineMs: number;
  private exchange: Exchange | null;
  private engine: ServerEngine | null;
  /** A head that came in several pieces; null for one that is read where it lies. */
  private partial: PartialHead | null;
  private readonly input: SocketInput;
  private paused: boolean;
  private processing: boolean;
  private peerEnded: boolean;
  private requests: number;
  private closeAfter: boolean;
  /** The next request is the last. */
  private closesAfterNext: boolean;
  private contentUntilClose: boolean;
  private cutting: boolean;
  private broken: boolean;
  private wantsWritable: boolean;
  private drainedBytes: number;
  private watch: StallWatch | null;
  /** The client waits for a 100 before it sends content, and has not got one. */
  private awaitsContinue: boolean;
  /** Content may be this long; a chunk that announces more is refused before it comes. */
  private bodyBytesMax: number;
  /** What the client sent was refused, and it may be sending still. */
  private refused: boolean;
  /** The connection ends with a reset. */
  private resetAtEnd: boolean;
  /** The request was read to its end and nothing came after it, so that closing can't reset the response. */
  private cleanEnd: boolean;

  constructor(
    context: EdgeContext,
    port: SocketPort,
    handle: Handle,
    client: ClientAddress,
    scheme: number,
    listenerAction: RouteAction | null,
  ) {
    this.context = context;
    this.port = port;
    this.handle = handle;
    this.client = client;
    this.scheme = scheme;
    this.listenerAction = listenerAction;
    this.state = S_IDLE;
    this.timer = new Timer(this, 0);
    this.deadlineMs = context.reactor.nowMs + context.limits.clientHeaderTimeoutMs;
    this.exchange = null;
    this.engine = null;
    this.partial = null;
    this.input = new SocketInput(context.reactor.pool, port, handle);
    this.paused = false;
    this.processing = false;
    this.peerEnded = false;
    this.requests = 0;
    this.closeAfter = false;
    this.closesAfterNext = false;
    this.contentUntilClose = false;
    this.cutting = false;
    this.broken = false;
    this.wantsWritable = false;
    this.drainedBytes = 0;
    this.watch = null;
    this.awaitsContinue = false;
    this.bodyBytesMax = 0;
    this.refused = false;
    this.resetAtEnd = false;
    this.cleanEnd = false;
  }

  /** Begins to read. */
  start(): void {
    this.context.reactor.timers.arm(this.timer, this.deadlineMs);
    this.receive();
  }

  /** True while no request is in progress: at a shutdown it may close at once. */
  get isIdle(): boolean {
    return this.state === S_IDLE && this.input.buffer === NO_BUFFER;
  }

  /** The edge stops: closes now when idle, else after the exchange in progress. */
  shutdown(isReplaced: boolean): void {
    // A request that may be on its way is answered: the client's next connection is served by another worker.
    if (this.isIdle && isReplaced) this.closesAfterNext = true;
    else this.closeAfter = true;
    if (this.isIdle && !isReplaced) this.beginLinger();
  }

  /** The edge's patience is over. */
  abort(): void {
    if (this.state === S_CLOSED) return;
    this.gone(E_SHUTDOWN);
  }

  // ---- Reading --------------------------------------------------------------------------------------

  onConnect(): void {
    assert(false, 'an accepted socket does not connect');
  }

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    if (this.state === S_LINGER || this.state === S_CLOSED) {
      this.input.drop(buffer);
      this.drainedBytes += length;
      if (this.state === S_LINGER && this.drainedBytes > LINGER_BYTES_MAX) this.close(false);
      else if (this.state === S_LINGER) this.receive();
      return;
    }
    this.input.put(buffer, offset, length);
    this.process();
  }

  onReceiveEnd(_handle: Handle, errno: number): void {
    this.input.ended();
    if (this.state === S_CLOSED) return;
    if (errno < 0) {
      this.gone(E_CLIENT_GONE);
      return;
    }
    this.peerEnded = true;
    this.process();
  }

  /** Runs the states over what was received, until it is used up or has to wait. */
  private process(): void {
    if (this.processing) return;
    this.processing = true;
    while (this.input.available() && this.step());
    this.processing = false;
    if (this.state === S_CLOSED) return;
    if (this.peerEnded && this.input.isEmpty) this.inputEnded();
    this.receive();
  }

  private step(): boolean {
    switch (this.state) {
      case S_IDLE:
        return this.beginRequest();
      case S_HEAD:
        return this.readHead();
      case S_BODY:
      case S_DRAIN:
        return this.readBody();
      case S_TUNNEL:
        return this.readTunnel();
      case S_WAIT:
        return false;
      default:
        this.input.offset = this.input.end;
        return true;
    }
  }

  private beginRequest(): boolean {
    if (this.closeAfter) {
      this.beginLinger();
      return true;
    }
    if (this.closesAfterNext) this.closeAfter = true;
    if (this.requests > 0 && this.port.sendQueuedBytes(this.handle) > PIPELINE_UNSENT_BYTES) return false;
    const exchange = this.context.takeExchange();
    const engine = this.context.takeServerEngine();
    engine.parser.reset();
    engine.out.attach(this.port, this.handle);
    exchange.begin(this);
    this.exchange = exchange;
    this.engine = engine;
    this.requests++;
    this.contentUntilClose = false;
    this.cutting = false;
    this.paused = false;
    this.state = S_HEAD;
    return true;
  }

  private readHead(): boolean {
    const exchange = this.exchange;
    const engine = this.engine;
    assert(exchange !== null && engine !== null, 'a head without an exchange');
    const bytes = this.context.reactor.pool.bytes;
    if (this.partial !== null) return this.extendHead(exchange, engine, this.partial);
    const used = engine.parser.parse(exchange.request, bytes, this.input.offset, this.input.end);
    if (used > 0) {
      this.input.offset += used;
      this.lendRest(exchange);
      this.context.reactor.pool.retain(this.input.buffer);
      return this.headComplete(this.input.buffer);
    }
    if (used < 0) return this.headFault(used);
    this.keepPartialHead();
    return true;
  }

  /**
   * The exchange may write behind what was received, where nobody else does: the reactor fills a buffer once, and
   * nothing of an exchange before is still to leave from there.
   */
  private lendRest(exchange: Exchange): void {
    const { reactor } = this.context;
    const { pool } = reactor;
    const { buffer, end } = this.input;
    if (this.port !== reactor || pool.referencesOf(buffer) !== 1) return;
    exchange.scratch.lend(buffer, end, pool.offsetOf(buffer) + pool.sizeOf(buffer));
  }

  /** The head goes on in the next receive. */
  private keepPartialHead(): void {
    const reactor = this.context.reactor;
    this.partial = new PartialHead(reactor.pool);
    this.partial.keep(this.input.buffer, this.input.offset, this.input.end);
    this.input.detach();
    this.deadlineMs = reactor.nowMs + this.context.limits.clientHeaderTimeoutMs;
    this.tick();
  }

  private extendHead(exchange: Exchange, engine: ServerEngine, partial: PartialHead): boolean {
    const taken = partial.append(this.input.offset, this.input.end - this.input.offset, engine.parser);
    if (taken < 0) return this.headFault(E_OVERLOAD);
    const bytes = this.context.reactor.pool.bytes;
    const used = engine.parser.parse(exchange.request, bytes, partial.start, partial.end);
    if (used < 0) return this.headFault(used);
    if (used === 0) {
      this.input.offset += taken;
      return true;
    }
    // What was appended beyond the head is read again from where it came.
    this.input.offset += taken - (partial.end - (partial.start + used));
    this.partial = null;
    return this.headComplete(partial.take());
  }

  private headFault(code: number): boolean {
    const exchange = this.exchange;
    assert(exchange !== null, 'a head without an exchange');
    this.input.offset = this.input.end;
    this.state = S_WAIT;
    this.closeAfter = true;
    this.refused = true;
    this.releasePartialHead();
    exchange.onHeadFault(code);
    return true;
  }

  /** One reference of `buffer` is handed on to the exchange. */
  private headComplete(buffer: BufferId): boolean {
    const exchange = this.exchange;
    const engine = this.engine;
    assert(exchange !== null && engine !== null, 'a head without an exchange');
    if (engine.parser.closeAfter) this.closeAfter = true;
    const request = exchange.request;
    if (request.bodyKind === BODY_NONE) {
      this.state = S_WAIT;
    } else {
      this.state = S_BODY;
      engine.decoder.start(request.bodyKind, request.contentLength);
      this.bodyBytesMax = Number.MAX_SAFE_INTEGER;
      if (request.expectContinue) this.awaitsContinue = true;
      this.drainedBytes = 0;
    }
    this.tick();
    exchange.onHead(buffer);
    if (this.state === S_BODY && request.bodyKind === BODY_STREAM)
      this.bodyBytesMax = exchange.undeclaredBytesMax;
    // `Content-Length: 0` is content that is complete already.
    if (this.reads && engine.decoder.ended) this.bodyEnd(engine.decoder.trailers);
    return true;
  }

  /** Whether content is to be read, for the exchange or for nobody. */
  private get reads(): boolean {
    return this.state === S_BODY || this.state === S_DRAIN;
  }

  /** Content for the exchange, or, when that is over, for nobody. */
  private readBody(): boolean {
    const engine = this.engine;
    assert(engine !== null, 'content without an engine');
    const decoder = engine.decoder;
    const bytes = this.context.reactor.pool.bytes;
    this.awaitsContinue = false;
    while (!this.paused || this.state === S_DRAIN || decoder.ended) {
      const event = decoder.decode(bytes, this.input.offset, this.input.end);
      if (decoder.announcedBytes > this.bodyBytesMax) {
        this.bodyFault(E_BODY_TOO_LARGE);
        return true;
      }
      if (event === B_NEED_MORE) {
        this.input.offset = this.input.end;
        return true;
      }
      if (event === B_DATA) {
        this.input.offset += decoder.consumed;
        this.bodyData(decoder.dataOffset, decoder.dataLength);
      } else if (event === B_END) {
        this.input.offset += decoder.consumed;
        this.bodyEnd(decoder.trailers);
        return true;
      } else {
        this.bodyFault(event);
        return true;
      }
      if (this.state !== S_BODY && this.state !== S_DRAIN) return true;
    }
    return false;
  }

  private bodyData(offset: number, length: number): void {
    if (this.state === S_DRAIN) {
      this.drainedBytes += length;
      if (this.drainedBytes > DRAIN_BYTES_MAX) this.beginLinger();
      return;
    }
    if (this.watch !== null) this.watch.received(this.context.reactor.nowMs, length);
    this.context.reactor.pool.retain(this.input.buffer);
    this.exchange?.onRequestData(this.input.buffer, offset, length);
  }

  private bodyEnd(trailers: FieldSection): void {
    if (this.state === S_DRAIN) {
      this.toIdle();
      return;
    }
    this.state = S_WAIT;
    this.exchange?.onRequestEnd(trailers);
  }

  private bodyFault(code: number): void {
    this.input.offset = this.input.end;
    if (this.state === S_DRAIN) {
      this.beginLinger();
      return;
    }
    this.closeAfter = true;
    this.refused = true;
    this.state = S_WAIT;
    this.exchange?.onRequestFault(code);
  }

  private readTunnel(): boolean {
    if (this.paused) return false;
    const buffer = this.input.buffer;
    const offset = this.input.offset;
    const length = this.input.end - offset;
    this.input.detach();
    if (this.watch !== null) this.watch.received(this.context.reactor.nowMs, length);
    this.exchange?.onRequestData(buffer, offset, length);
    return true;
  }

  /** The client has sent its end and all before it is used up. */
  private inputEnded(): void {
    switch (this.state) {
      case S_IDLE:
      case S_DRAIN:
        this.beginLinger();
        return;
      case S_HEAD:
        this.abandonHead();
        return;
      case S_BODY:
        this.closeAfter = true;
        this.state = S_WAIT;
        this.exchange?.onRequestFault(E_BODY_INCOMPLETE);
        return;
      case S_WAIT:
        this.closeAfter = true;
        return;
      case S_TUNNEL:
        this.state = S_WAIT;
        this.exchange?.onRequestEnd(NO_FIELDS);
        return;
      default:
        if (!this.resetAtEnd && this.port.sendQueuedBytes(this.handle) === 0) this.close(false);
    }
  }

  private abandonHead(): void {
    const exchange = this.exchange;
    this.exchange = null;
    this.releasePartialHead();
    if (exchange !== null) exchange.recycle();
    this.close(false);
  }

  private releasePartialHead(): void {
    this.partial?.release();
    this.partial = null;
  }

  /** Sees to it that what the present state waits for can come. */
  private receive(): void {
    if (this.peerEnded || this.state === S_CLOSED || (this.paused && this.state !== S_LINGER)) return;
    // What can't be used yet is enough: it must not grow.
    if ((this.state === S_WAIT || this.state === S_IDLE) && !this.input.isEmpty) return;
    this.input.want(this.wantsBulk());
  }

  private wantsBulk(): boolean {
    if (this.state !== S_BODY || this.exchange === null) return false;
    const exchange = this.exchange;
    if (exchange.request.bodyKind === BODY_LENGTH) return exchange.requestBytesLeft() >= BULK_BYTES;
    return exchange.requestBytes >= BULK_BYTES;
  }

  pauseRequest(): void {
    if (this.paused) return;
    this.paused = true;
    this.input.stop();
  }

  resumeRequest(): void {
    if (!this.paused) return;
    this.paused = false;
    this.process();
  }

  // ---- Writing --------------------------------------------------------------------------------------

  sendInformational(head: ResponseHead): void {
    const out = this.engine?.out;
    if (out === undefined || this.exchange === null || this.exchange.request.version < 11) return;
    if (head.status === 100) this.awaitsContinue = false;
    if (!writeInformational(out, this.context.reactor.pool, head)) this.fatal();
    else out.flush();
  }

  sendHead(request: RequestHead, head: ResponseHead, hasContent: boolean): void {
    const out = this.engine?.out;
    assert(out !== undefined, 'a response without an engine');
    // A client that was promised nothing may or may not send its content: the next request can't be found.
    if (this.awaitsContinue) this.closeAfter = true;
    const streams = hasContent && head.bodyKind === BODY_STREAM;
    const chunked = streams && request.version >= 11;
    this.contentUntilClose = streams && !chunked;
    if (this.contentUntilClose) this.closeAfter = true;
    const keepAlive10 = request.version === 10 && !this.closeAfter;
    if (
      !writeResponseHead(out, this.context.reactor.pool, request, head, chunked, this.closeAfter, keepAlive10)
    ) {
      this.fatal();
      return;
    }
    out.chunked = chunked;
  }

  takeBack(): boolean {
    if (this.engine?.out.takeBack() !== true) return false;
    this.contentUntilClose = false;
    return true;
  }

  sendData(buffer: BufferId, offset: number, length: number, room = 0): void {
    const out = this.engine?.out;
    if (out === undefined || this.broken) {
      this.context.reactor.pool.release(buffer);
      return;
    }
    if (!out.data(buffer, offset, length, room)) this.fatal();
    this.wantsWritable = true;
  }

  sendFile(file: FileHandle, fileOffset: number, length: number): void {
    const out = this.engine?.out;
    if (out === undefined || this.broken || !out.file(file, fileOffset, length)) this.fatal();
    this.wantsWritable = true;
  }

  forward(source: Handle, length: number): boolean {
    return this.engine !== null && !this.broken && this.engine.out.forward(source, length);
  }

  sendEnd(trailers: FieldSection): void {
    const out = this.engine?.out;
    if (out !== undefined && !this.broken && !out.end(trailers)) this.fatal();
  }

  flush(): void {
    this.engine?.out.pass();
  }

  queuedBytes(): number {
    return this.port.sendQueuedBytes(this.handle);
  }

  /** No memory to write with: the connection is cut at the end of this turn. */
  private fatal(): void {
    this.broken = true;
    this.deadlineMs = this.context.reactor.nowMs;
    this.context.reactor.timers.arm(this.timer, this.deadlineMs);
  }

  onSend(_handle: Handle, tag: number, result: number): void {
    if (this.state === S_CLOSED) return;
    if (result < 0) {
      this.gone(E_CLIENT_GONE);
      return;
    }
    this.engine?.out.pass();
    if (tag === TAG_FILE) this.exchange?.onFileSent(result);
    else if (tag === TAG_FORWARDED) this.exchange?.onForwarded(result);
    if (!this.wantsWritable && this.state !== S_LINGER && this.input.isEmpty) return;
    const queued = this.port.sendQueuedBytes(this.handle);
    if (this.wantsWritable && queued < SEND_LOW_BYTES) {
      this.wantsWritable = false;
      this.exchange?.onWritable();
    }
    // More may have been queued just now, and the response may be complete.
    if (this.state === S_LINGER) this.lingerSent();
    else if (this.state === S_IDLE && !this.input.isEmpty) this.process();
  }

  /** LINGER: some of what was queued has left. */
  private lingerSent(): void {
    if (this.resetAtEnd || this.port.sendQueuedBytes(this.handle) > 0) return;
    if (this.peerEnded || this.cleanEnd) this.close(false);
    else this.deadlineMs = this.context.reactor.nowMs + LINGER_MS;
  }

  startTunnel(): void {
    this.engine?.out.flush();
    this.state = S_TUNNEL;
    this.closeAfter = true;
    // Nothing but the connection's end tells where a tunnel's bytes end.
    this.contentUntilClose = true;
    this.process();
  }

  endTunnelSend(): void {
    this.engine?.out.flush();
    this.port.shutdownSend(this.handle);
  }

  cut(): void {
    this.cutting = true;
  }

  closeAfterResponse(): void {
    this.closeAfter = true;
  }

  // ---- The end of an exchange and of the connection ---------------------------------------------------

  onExchangeEnd(): void {
    this.exchange = null;
    this.paused = false;
    this.wantsWritable = false;
    if (this.state === S_CLOSED) return;
    if (this.cutting || this.broken) {
      if (this.broken) {
        this.close(true);
        return;
      }
      // Where the connection's end would look like the content's, the client must see a reset instead.
      this.resetAtEnd = this.contentUntilClose;
      this.beginLinger();
      return;
    }
    if (this.closeAfter) this.beginLinger();
    else if (this.state === S_BODY) this.beginDrain();
    else this.toIdle();
    if (!this.processing) this.process();
  }

  private beginDrain(): void {
    this.drainedBytes = 0;
    this.state = S_DRAIN;
    this.deadlineMs = this.context.reactor.nowMs + LINGER_MS;
  }

  private toIdle(): void {
    this.releaseEngine();
    this.watch = null;
    this.state = S_IDLE;
    this.deadlineMs = this.context.reactor.nowMs + this.context.limits.keepAliveTimeoutMs;
    if (this.context.isDraining) this.beginLinger();
  }

  /** Sends what is queued, then our end; discards what the client still sends, for a while. */
  private beginLinger(): void {
    if (this.state === S_LINGER || this.state === S_CLOSED) return;
    // A client that may have sent its next request already would lose the response to the reset that it gets.
    const last = this.state === S_IDLE || (this.state === S_WAIT && this.engine?.parser.closeAfter === true);
    this.cleanEnd = last && this.input.isEmpty && !this.refused;
    this.engine?.out.flush();
    this.releaseEngine();
    this.state = S_LINGER;
    this.input.skip();
    this.drainedBytes = 0;
    const queued = this.port.sendQueuedBytes(this.handle);
    if (this.resetAtEnd) {
      this.deadlineMs = this.context.reactor.nowMs + RESET_DELAY_MS;
      this.context.reactor.timers.arm(this.timer, this.deadlineMs);
      return;
    }
    if (queued === 0 && (this.peerEnded || this.cleanEnd)) {
      this.close(false);
      return;
    }
    if (!this.cleanEnd) this.port.shutdownSend(this.handle);
    this.watch?.restart(this.context.reactor.nowMs);
    this.deadlineMs = this.context.reactor.nowMs + LINGER_MS;
    this.tick();
  }

  private releaseEngine(): void {
    const engine = this.engine;
    if (engine === null) return;
    this.engine = null;
    engine.out.flush();
    engine.out.detach();
    this.context.recycleServerEngine(engine);
  }

  /** The socket is of no use any more. */
  private gone(code: number): void {
    const exchange = this.exchange;
    if (exchange !== null && this.state === S_HEAD) {
      this.abandonHead();
      return;
    }
    this.close(code !== E_CLIENT_GONE);
    if (exchange !== null && exchange.phase < X_ENDED) exchange.onStreamGone(code);
  }

  private close(abortive: boolean): void {
    if (this.state === S_CLOSED) return;
    this.state = S_CLOSED;
    this.context.reactor.timers.disarm(this.timer);
    const engine = this.engine;
    if (engine !== null) {
      this.engine = null;
      engine.out.detach();
      this.context.recycleServerEngine(engine);
    }
    this.releasePartialHead();
    this.input.clear();
    this.port.close(this.handle, abortive);
  }

  onClose(): void {
    assert(this.state === S_CLOSED, 'closed without being asked');
    this.context.onConnectionClosed(this);
  }

  // ---- Time -----------------------------------------------------------------------------------------

  /** Sees to it that the timer fires within a tick. Moving it is rare: most requests find it there already. */
  private tick(): void {
    const at = this.context.reactor.nowMs + TICK_MS;
    const timer = this.timer;
    if (timer.deadlineMs < 0 || timer.deadlineMs > at) this.context.reactor.timers.arm(timer, at);
  }

  onTimer(): void {
    const nowMs = this.context.reactor.nowMs;
    if (this.broken) {
      this.gone(E_OVERLOAD);
      return;
    }
    switch (this.state) {
      case S_CLOSED:
        return;
      case S_IDLE:
        if (!this.input.isEmpty || this.port.sendQueuedBytes(this.handle) > 0) this.checkStall(nowMs);
        else if (nowMs >= this.deadlineMs) this.beginLinger();
        else this.context.reactor.timers.arm(this.timer, this.deadlineMs);
        break;
      case S_HEAD:
        if (nowMs >= this.deadlineMs) this.headFaultFromTimer();
        break;
      case S_LINGER:
        if (this.resetAtEnd) this.close(true);
        else if (nowMs >= this.deadlineMs && this.port.sendQueuedBytes(this.handle) === 0) this.close(false);
        else this.checkStall(nowMs);
        break;
      case S_DRAIN:
        if (nowMs >= this.deadlineMs) this.beginLinger();
        break;
      default:
        this.checkStall(nowMs);
    }
    if (!this.isClosed && this.timer.deadlineMs < 0) this.tick();
  }

  private get isClosed(): boolean {
    return this.state === S_CLOSED;
  }

  private headFaultFromTimer(): void {
    this.headFault(E_HEAD_TIMEOUT);
    this.process();
  }

  /** Minimum progress: of content that we wait for, and of bytes that the client does not take. */
  private checkStall(nowMs: number): void {
    if (this.watch === null) this.watch = new StallWatch(nowMs);
    const watch = this.watch;
    const limits = this.context.limits;
    const route = this.exchange?.route ?? null;
    const awaiting = this.state === S_BODY && !this.paused && !this.awaitsContinue;
    const bodyTimeoutMs = route === null ? limits.clientHeaderTimeoutMs : route.clientBodyTimeoutMs;
    if (watch.senderTooSlow(nowMs, awaiting, bodyTimeoutMs, limits.minRateBytesPerSec)) {
      this.closeAfter = true;
      this.refused = true;
      this.state = S_WAIT;
      this.exchange?.onRequestFault(E_BODY_TIMEOUT);
      return;
    }
    const queued = this.port.sendQueuedBytes(this.handle);
    const acknowledged = queued > 0 ? this.port.sendAcknowledgedBytes(this.handle) : -1;
    if (watch.readerTooSlow(nowMs, queued, acknowledged, limits.writeTimeoutMs, limits.minRateBytesPerSec)) {
      this.gone(E_WRITE_TIMEOUT);
    }
  }
}
