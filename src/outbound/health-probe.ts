/**
 * One health check: a connection of its own to one server, one GET, the status of the answer. It is over when
 * `onProbeEnd` has been called, once; after that the rest of the answer is read to its end, within the same time and
 * a bound, so that the server is not cut off in the middle of it.
 */

import { type BackendHandshake, beginHandshake } from '../backend/backend-handshake.ts';
import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import { type BufferId, MEDIUM, MEDIUM_BYTES, NO_BUFFER } from '../io/buffer-pool.ts';
import type { Handle, Reactor, SocketHandler } from '../io/reactor.ts';
import type { SocketPort } from '../socket/port.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { ClientContext } from '../tls/client-context.ts';
import { Http2Question } from './http2-question.ts';
import {
  Http1Question,
  Q_CONTINUES,
  Q_IMPOSSIBLE,
  Q_MALFORMED,
  Q_REFUSED,
  type Question,
} from './question.ts';

/** Content of an answer that is read and thrown away; a server that sends more is cut off. */
const CONTENT_BYTES_MAX = 1_048_576;

export interface ProbeOwner {
  /** The answer's status, or 0 and the reason in a few words why there is none. */
  onProbeEnd(status: number, failure: string): void;
  /** The edge has no descriptor or no memory for it: nothing was found out. */
  onProbeImpossible(): void;
}

export interface ProbeRequest {
  /** Tried in turn until one can be connected to. */
  readonly addresses: readonly SocketAddress[];
  readonly tls: ClientContext | null;
  readonly timeoutMs: number;
  /** HTTP/2 with prior knowledge; not over TLS. */
  readonly speaksHttp2: boolean;
  /** Of the request, in ASCII. */
  readonly authority: string;
  readonly path: string;
}

export class HealthProbe implements SocketHandler, TimerHandler {
  private readonly reactor: Reactor;
  private readonly request: ProbeRequest;
  private owner: ProbeOwner | null;
  private readonly timer: Timer;
  /** Null before it is connected, and when its answer is there. */
  private question: Question | null;
  private tls: BackendHandshake | null;
  private port: SocketPort;
  private handle: Handle;
  private closed: boolean;
  private attempts: number;
  /** The address that is tried if the present one can't be connected to. */
  private nextIndex: number;
  private contentBytes: number;

  constructor(reactor: Reactor, request: ProbeRequest, owner: ProbeOwner) {
    this.reactor = reactor;
    this.request = request;
    this.owner = owner;
    this.timer = new Timer(this, 0);
    this.question = null;
    this.tls = null;
    this.port = reactor;
    this.handle = 0;
    this.closed = false;
    this.attempts = 0;
    this.nextIndex = 0;
    this.contentBytes = 0;
  }

  /** Begins with the address at `first`. The owner may hear of its end before this returns. */
  start(first: number): void {
    this.reactor.timers.arm(this.timer, this.reactor.nowMs + this.request.timeoutMs);
    this.connect(first);
  }

  /** Ends it; the owner hears nothing more. */
  cancel(): void {
    this.owner = null;
    this.close(true);
  }

  private connect(index: number): void {
    const { addresses, tls } = this.request;
    // Its name hasn't been found yet: that says nothing of the server.
    if (addresses.length === 0) {
      this.impossible();
      return;
    }
    this.attempts++;
    this.tls = tls === null ? null : beginHandshake(this.reactor, tls);
    if (tls !== null && this.tls === null) {
      this.impossible();
      return;
    }
    const address = addresses[index % addresses.length];
    const handle =
      this.tls === null ? this.reactor.connect(address, this) : this.tls.socket.connect(address, this);
    if (handle < 0) {
      this.impossible();
      return;
    }
    this.port = this.tls === null ? this.reactor : this.tls.socket;
    this.handle = handle;
    this.nextIndex = index + 1;
  }

  onConnect(handle: Handle, errno: number): void {
    if (this.closed || handle !== this.handle) return;
    if (errno < 0) {
      const reason = this.tls === null ? '' : this.tls.reason;
      if (reason === '' && this.attempts < this.request.addresses.length) this.connect(this.nextIndex);
      else this.fail(reason === '' ? 'connect-failed' : `TLS failed: ${reason}`);
      return;
    }
    this.question = this.ask();
    if (this.send(this.question)) this.port.receiveStart(handle);
  }

  private ask(): Question {
    const { authority, path, speaksHttp2 } = this.request;
    const { pool, nowMs } = this.reactor;
    if (speaksHttp2) return new Http2Question(pool, authority, path, nowMs);
    const text = `GET ${path} HTTP/1.1\r\nHost: ${authority}\r\nUser-Agent: sallyport-health\r\nAccept: */*\r\nConnection: close\r\n\r\n`;
    return new Http1Question(pool, text);
  }

  /** What the question wants to be sent. False: it is over. */
  private send(question: Question): boolean {
    const bytes = question.take();
    if (bytes.length === 0) return true;
    const { pool } = this.reactor;
    const buffer = bytes.length > MEDIUM_BYTES ? NO_BUFFER : pool.acquire(MEDIUM);
    if (buffer === NO_BUFFER) {
      this.impossible();
      return false;
    }
    const offset = pool.offsetOf(buffer);
    pool.bytes.set(bytes, offset);
    this.port.send(this.handle, buffer, offset, bytes.length, 0);
    return true;
  }

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    const { pool, nowMs } = this.reactor;
    const { question } = this;
    if (this.closed || question === null) {
      pool.release(buffer);
      this.contentBytes += length;
      if (this.contentBytes >= CONTENT_BYTES_MAX) this.close(true);
      return;
    }
    const status = question.read(buffer, offset, length, nowMs);
    pool.release(buffer);
    if (status === Q_MALFORMED) this.fail('malformed-response');
    else if (status === Q_REFUSED) this.fail('stream-reset');
    else if (status === Q_IMPOSSIBLE) this.impossible();
    else if (this.send(question) && status !== Q_CONTINUES) this.finish(status, '');
  }

  onReceiveEnd(_handle: Handle, errno: number): void {
    if (this.closed) return;
    const reason = this.tls === null ? '' : this.tls.reason;
    if (reason !== '') this.fail(`TLS failed: ${reason}`);
    else this.fail(errno < 0 ? 'reset-before-response' : 'closed-before-response');
  }

  onSend(): void {}

  onClose(): void {}

  onTimer(): void {
    this.fail('timeout');
  }

  /** Without an owner, the answer has been read to its end: that is no failure any more. */
  private fail(reason: string): void {
    this.close(this.owner !== null);
    this.end(0, reason);
  }

  /** There is a status. What follows it is still read. */
  private finish(status: number, failure: string): void {
    this.release();
    // A connection of HTTP/2 has no end by itself: the question has said goodbye.
    if (this.request.speaksHttp2) this.port.shutdownSend(this.handle);
    this.end(status, failure);
  }

  private release(): void {
    this.question?.release();
    this.question = null;
  }

  private end(status: number, failure: string): void {
    const { owner } = this;
    this.owner = null;
    owner?.onProbeEnd(status, failure);
  }

  private impossible(): void {
    const { owner } = this;
    this.owner = null;
    this.close(true);
    owner?.onProbeImpossible();
  }

  private close(abortive: boolean): void {
    if (this.closed) return;
    this.closed = true;
    this.reactor.timers.disarm(this.timer);
    this.release();
    if (this.handle > 0) this.port.close(this.handle, abortive);
  }
}
