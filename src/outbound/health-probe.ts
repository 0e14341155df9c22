/**
 * One health check: a connection of its own to one server, one GET, the status of the answer. It is over when
 * `onProbeEnd` has been called, once; after that the rest of the answer is read to its end, within the same time and
 * a bound, so that the server is not cut off in the middle of it.
 */

import { type BackendHandshake, beginHandshake } from '../backend/backend-handshake.ts';
import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import { FIELDS_MAX } from '../http/fields.ts';
import { M_GET, ResponseHead } from '../http/message.ts';
import { ResponseParser } from '../http1/response-parser.ts';
import { type BufferId, MEDIUM, MEDIUM_BYTES, NO_BUFFER } from '../io/buffer-pool.ts';
import type { Handle, Reactor, SocketHandler } from '../io/reactor.ts';
import { PartialHead } from '../socket/partial-head.ts';
import type { SocketPort } from '../socket/port.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { ClientContext } from '../tls/client-context.ts';

const LIMITS = { requestLineBytesMax: 8192, headBytesMax: 16_384, fieldsMax: FIELDS_MAX };
/** Interim responses before the one that counts. */
const INTERIM_MAX = 32;
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
  /** The request, in ASCII. */
  readonly text: string;
}

export class HealthProbe implements SocketHandler, TimerHandler {
  private readonly reactor: Reactor;
  private readonly request: ProbeRequest;
  private owner: ProbeOwner | null;
  private readonly parser: ResponseParser;
  private readonly head: ResponseHead;
  private readonly timer: Timer;
  private partial: PartialHead | null;
  private tls: BackendHandshake | null;
  private port: SocketPort;
  private handle: Handle;
  private closed: boolean;
  private attempts: number;
  /** The address that is tried if the present one can't be connected to. */
  private nextIndex: number;
  private interims: number;
  private contentBytes: number;

  constructor(reactor: Reactor, request: ProbeRequest, owner: ProbeOwner) {
    this.reactor = reactor;
    this.request = request;
    this.owner = owner;
    this.parser = new ResponseParser(LIMITS);
    this.head = new ResponseHead(reactor.pool.bytes);
    this.timer = new Timer(this, 0);
    this.partial = null;
    this.tls = null;
    this.port = reactor;
    this.handle = 0;
    this.closed = false;
    this.attempts = 0;
    this.nextIndex = 0;
    this.interims = 0;
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
    const { pool } = this.reactor;
    const { text } = this.request;
    const buffer = text.length > MEDIUM_BYTES ? NO_BUFFER : pool.acquire(MEDIUM);
    if (buffer === NO_BUFFER) {
      this.impossible();
      return;
    }
    const offset = pool.offsetOf(buffer);
    pool.text.latin1Write(text, offset, text.length);
    this.port.send(handle, buffer, offset, text.length, 0);
    this.port.receiveStart(handle);
  }

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    if (this.closed || this.owner === null) {
      this.reactor.pool.release(buffer);
      this.contentBytes += length;
      if (this.contentBytes >= CONTENT_BYTES_MAX) this.close(true);
      return;
    }
    if (this.partial === null) {
      this.partial = new PartialHead(this.reactor.pool);
      this.partial.keep(buffer, offset, offset + length);
      this.read(this.partial);
      return;
    }
    for (let used = 0; used < length && this.partial !== null; ) {
      const taken = this.partial.append(offset + used, length - used, this.parser);
      if (taken < 0) {
        this.impossible();
        break;
      }
      used += taken;
      this.read(this.partial);
    }
    this.reactor.pool.release(buffer);
  }

  /** Reads heads until the final one, or as far as they have come. */
  private read(partial: PartialHead): void {
    const { bytes } = this.reactor.pool;
    while (this.owner !== null && partial.start < partial.end) {
      const used = this.parser.parse(this.head, M_GET, bytes, partial.start, partial.end);
      if (used < 0) {
        this.fail('malformed-response');
        return;
      }
      if (used === 0) return;
      partial.start += used;
      const { status } = this.head;
      if (status >= 200 || status === 101) {
        this.finish(status, '');
        return;
      }
      if (++this.interims > INTERIM_MAX) this.fail('malformed-response');
    }
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
    this.partial?.release();
    this.partial = null;
    this.end(status, failure);
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
    this.partial?.release();
    this.partial = null;
    if (this.handle > 0) this.port.close(this.handle, abortive);
  }
}
