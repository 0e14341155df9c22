/**
 * One TLS connection between the reactor and whoever speaks over it (an HTTP connection, a backend's): to the reactor
 * it is a socket's handler, to its own handler it offers the reactor's methods on that socket. Handshake first, then
 * records opened where they were received and sealed into the buffers that are sent. An idle one holds no buffer
 * and nothing of OpenSSL's.
 *
 * States: HANDSHAKE → OPEN → CLOSING (our last alert leaves; the peer's rest is discarded for a while) → CLOSED.
 */

import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import { type BufferId, NO_BUFFER, SMALL_BYTES } from '../io/buffer-pool.ts';
import type { FileHandle, Handle, Reactor, SocketHandler } from '../io/reactor.ts';
import { ECONNABORTED, ECONNRESET, EPROTO } from '../sys/errno.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import {
  ALERT_CLOSE_NOTIFY,
  ALERT_DECODE_ERROR,
  ALERT_LEVEL_FATAL,
  ALERT_LEVEL_WARNING,
  ALERT_NO_RENEGOTIATION,
  ALERT_RECORD_OVERFLOW,
  ALERT_UNEXPECTED_MESSAGE,
  ALERT_USER_CANCELED,
  alertName,
} from '../tls/alert.ts';
import { H_COMPLETE, H_CONTINUES, H_PLAIN_HTTP, type Handshake } from '../tls/handshake.ts';
import {
  M_CONTINUES,
  M_KEY_UPDATE,
  M_KEY_UPDATE_REQUESTED,
  M_RENEGOTIATION,
  M_TICKET,
  PostHandshake,
} from '../tls/post-handshake.ts';
import {
  HEADER_BYTES,
  KEY_RECORDS_MAX,
  opened,
  RECORD_ALERT,
  RECORD_APPLICATION_DATA,
  RECORD_HANDSHAKE,
  type RecordLayer,
} from '../tls/record-layer.ts';
import { TLS13 } from '../tls/suites.ts';
import { PartialRecord, RECORD_BYTES_MAX, RECORD_TOO_LONG, recordBytesAt } from './partial-record.ts';
import { PLAIN_HTTP_ANSWER } from './plain-http.ts';
import type { SocketPort } from './port.ts';
import { acquireAbout, acquireAtLeast } from './tls-buffers.ts';
import { FILE_END_TAG, PART_TAG, type Sealer, TlsQueue } from './tls-queue.ts';
import { TlsResults } from './tls-results.ts';

export const T_HANDSHAKE = 0;
export const T_OPEN = 1;
export const T_CLOSING = 2;
const T_CLOSED = 3;

/** Tag of the segment after which the socket is closed. Above it are tags of whoever extends this. */
export const LAST_TAG = 0x10002;

/** After our last alert the peer's rest is discarded this long, so that no reset overtakes what was sent. */
const LINGER_MS = 1000;
const LINGER_BYTES_MAX = 262144;
/** The last record in a buffer is left out where less than this of its content would fit. */
const RECORD_CONTENT_MIN = 1024;
/** When no buffer was free, sealing is tried again this soon. */
const RETRY_MS = 10;
/** Records without content in a row, and control messages without content between them, that a peer may send. */
const EMPTY_RECORDS_MAX = 32;
const CONTROL_MESSAGES_MAX = 32;
/** A KeyUpdate's record at most: message (5), type (1), header and tag. */
const KEY_UPDATE_RECORD_BYTES = 27;
const KEY_UPDATE = 24;

/** Who made the socket. Called from `turn()` only. */
export interface TlsOwner {
  /** The handshake is complete; its `handshake` is still there to be asked. `adopt` must be called before this returns. */
  onTlsOpen(socket: TlsSocket, handshake: Handshake): void;
  /** The handshake failed; `reason` is in OpenSSL's words. The socket closes by itself. */
  onTlsFailed(socket: TlsSocket, reason: string): void;
  /** The socket is gone, before it had a handler. */
  onTlsClosed(socket: TlsSocket): void;
}

export class TlsSocket implements SocketPort, SocketHandler, TimerHandler, Sealer {
  readonly reactor: Reactor;
  handle: Handle;
  private readonly owner: TlsOwner;
  private readonly isServer: boolean;
  protected state: number;
  protected handler: SocketHandler | null;
  private handshake: Handshake | null;
  protected layer: RecordLayer | null;
  protected post: PostHandshake | null;
  private queue: TlsQueue | null;
  private timer: Timer | null;
  /** The record that is not whole yet. */
  protected partial: PartialRecord | null;
  /** The reactor receives into medium buffers; a large piece was asked for and has not brought content yet. */
  private receivesStream: boolean;
  private awaitsOnce: boolean;
  /** Content was handed on. Between looks. */
  protected delivered: boolean;
  /** Nothing more is read: the peer has ended, by whatever means, or broken the protocol. */
  protected peerEnded: boolean;
  /** The socket has ended: the reactor will bring nothing more. */
  private streamEnded: boolean;
  /** Our last alert is sealed: nothing may be sealed after it. */
  protected notified: boolean;
  /** It was a fatal one. */
  private alerted: boolean;
  protected endAsked: boolean;
  private lingers: boolean;
  /** Why nothing more can be sent; 0: it can. */
  protected sendErrno: number;
  /** The peer asked for new keys: the next record is preceded by a KeyUpdate. */
  protected updateDue: boolean;
  private emptyRecords: number;
  protected controls: number;
  private discardedBytes: number;
  /** Of files, and of what never reached the reactor. */
  private results: TlsResults | null;
  /** Why the handshake failed or the peer's records were refused; for logs. */
  reason: string;

  /**
   * An accepted socket (`isServer`), or one that `connect` is to open. `handshakeMs` bounds an accepted socket's
   * handshake; bounding a connection's time is the caller's.
   */
  constructor(reactor: Reactor, handle: Handle, handshake: Handshake, isServer: boolean, owner: TlsOwner) {
    this.reactor = reactor;
    this.handle = handle;
    this.owner = owner;
    this.isServer = isServer;
    this.state = T_HANDSHAKE;
    this.handler = null;
    this.handshake = handshake;
    this.layer = null;
    this.post = null;
    this.queue = null;
    this.timer = null;
    this.partial = null;
    this.receivesStream = false;
    this.awaitsOnce = false;
    this.delivered = false;
    this.peerEnded = false;
    this.streamEnded = false;
    this.notified = false;
    this.alerted = false;
    this.endAsked = false;
    this.lingers = false;
    this.sendErrno = 0;
    this.updateDue = false;
    this.emptyRecords = 0;
    this.controls = 0;
    this.discardedBytes = 0;
    this.results = null;
    this.reason = '';
  }

  /** An accepted socket: reads the client's first message. */
  accept(handshakeMs: number): void {
    this.reactor.adopt(this.handle, this);
    this.armTimer(handshakeMs);
    this.receivesStream = true;
    this.reactor.receiveStart(this.handle);
  }

  /** Connects; the handler's `onConnect` comes when the handshake is over. A Handle or -errno. */
  connect(address: SocketAddress, handler: SocketHandler): Handle {
    this.handler = handler;
    this.handle = this.reactor.connect(address, this);
    if (this.handle < 0) this.dispose();
    return this.handle;
  }

  /** Closes a socket that has no handler yet. */
  abandon(): void {
    this.finish(true);
  }

  protected armTimer(delayMs: number): void {
    if (this.timer === null) this.timer = new Timer(this, 0);
    this.reactor.timers.arm(this.timer, this.reactor.nowMs + delayMs);
  }

  private disarmTimer(): void {
    if (this.timer !== null) this.reactor.timers.disarm(this.timer);
    this.timer = null;
  }

  onTimer(): void {
    this.timer = null;
    switch (this.state) {
      case T_HANDSHAKE:
        this.failHandshake('the handshake took too long');
        return;
      case T_OPEN:
        this.tellOwed();
        this.queue?.pump();
        // There was no buffer for the close_notify.
        if (this.endAsked && this.queue === null && !this.notified) this.sendEnd();
        return;
      case T_CLOSING:
        this.finish(false);
        return;
      default:
    }
  }

  // ---- The reactor's events: connecting and closing -----------------------------------------------------

  onConnect(_handle: Handle, errno: number): void {
    if (errno < 0) {
      this.state = T_CLOSED;
      this.dispose();
      this.handler?.onConnect(this.handle, errno);
      return;
    }
    if (this.state !== T_HANDSHAKE || this.handshake === null) return;
    this.handshake.start();
    this.receivesStream = true;
    this.reactor.receiveStart(this.handle);
    this.sendHandshakeOutput(this.handshake);
  }

  onClose(): void {
    this.state = T_CLOSED;
    this.dispose();
    if (this.handler === null) this.owner.onTlsClosed(this);
    else this.handler.onClose(this.handle);
  }

  /** Gives everything back but the socket itself. */
  protected dispose(): void {
    this.disarmTimer();
    this.handshake?.free();
    this.handshake = null;
    this.layer?.free();
    this.layer = null;
    this.queue?.clear(null);
    this.queue = null;
    this.dropPartial();
  }

  /** Closes the socket now. */
  protected finish(abortive: boolean): void {
    if (this.state === T_CLOSED) return;
    this.state = T_CLOSED;
    this.dispose();
    this.reactor.close(this.handle, abortive);
  }

  // ---- Receiving ----------------------------------------------------------------------------------------

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    const wasAwaited = this.awaitsOnce;
    this.awaitsOnce = false;
    this.delivered = false;
    const end = offset + length;
    let at = offset;
    if (this.state === T_HANDSHAKE) at = this.shake(at, end);
    if (this.state === T_OPEN && !this.peerEnded) this.openRecords(buffer, at, end);
    else if (this.state === T_CLOSING) this.discard(length);
    this.reactor.pool.release(buffer);
    // Part of a record only, or nothing of interest: the handler still waits for what it asked.
    if (wasAwaited && !this.delivered && !this.awaitsOnce) this.receiveOnce();
  }

  onReceiveEnd(_handle: Handle, errno: number): void {
    this.receivesStream = false;
    this.awaitsOnce = false;
    this.streamEnded = true;
    if (this.state === T_HANDSHAKE) {
      this.failHandshake(errno < 0 ? 'the connection broke' : 'the peer left');
      return;
    }
    if (this.state === T_CLOSING) {
      if (this.sealedBytesQueued() === 0) this.finish(false);
      return;
    }
    if (this.peerEnded || this.state !== T_OPEN) return;
    this.peerEnded = true;
    // The end of the stream without a close_notify may be anybody's doing (RFC 8446 §6.1).
    this.handler?.onReceiveEnd(this.handle, errno < 0 ? errno : -ECONNABORTED);
  }

  protected discard(length: number): void {
    this.discardedBytes += length;
    if (this.discardedBytes > LINGER_BYTES_MAX) this.finish(false);
  }

  /** Feeds the handshake. Returns the offset of the first byte that is not its own. */
  protected shake(offset: number, end: number): number {
    const { pool } = this.reactor;
    let at = offset;
    while (at < end && this.state === T_HANDSHAKE && this.handshake?.state === H_CONTINUES) {
      at = this.handshake.feed(pool.bytes, pool.address, at, end);
      this.sendHandshakeOutput(this.handshake);
    }
    return at;
  }

  /** Signatures may be had again. Whether the handshake had waited for them. */
  resumeHandshake(): boolean {
    if (this.state !== T_HANDSHAKE || this.handshake?.isHeld !== true) return false;
    this.handshake.resume();
    this.sendHandshakeOutput(this.handshake);
    return true;
  }

  /** Tag of what the handshake sends. */
  protected get outputTag(): number {
    return 0;
  }

  private sendHandshakeOutput(handshake: Handshake): void {
    const { pool } = this.reactor;
    const length = handshake.outputBytes;
    let failed = '';
    if (length > 0) {
      const id = acquireAtLeast(pool, length);
      if (id === NO_BUFFER) failed = 'out of memory';
      else {
        const at = pool.offsetOf(id);
        const taken = handshake.takeOutput(pool.bytes, pool.address, at, pool.sizeOf(id));
        const isLast = handshake.state !== H_CONTINUES && handshake.state !== H_COMPLETE;
        this.reactor.send(this.handle, id, at, taken, isLast ? LAST_TAG : this.outputTag);
        if (isLast) this.notified = true;
      }
    }
    if (failed !== '') this.failHandshake(failed);
    else if (handshake.state === H_COMPLETE) this.open(handshake);
    else if (handshake.state === H_PLAIN_HTTP) this.refusePlainHttp();
    else if (handshake.state !== H_CONTINUES) this.failHandshake(handshake.reason);
  }

  protected open(handshake: Handshake): void {
    this.layer = handshake.takeRecordLayer();
    if (this.layer === null) {
      this.failHandshake('a cipher suite that the record layer does not know');
      return;
    }
    if (!this.prepare(this.layer)) return;
    this.disarmTimer();
    this.state = T_OPEN;
    this.owner.onTlsOpen(this, handshake);
    // Tickets follow the handshake in TLS 1.3; only OpenSSL can make sessions of them.
    if (this.isServer || this.layer === null || this.layer.suite.version !== TLS13)
      this.endTickets(handshake);
    if (!this.isServer && this.state === T_OPEN) this.handler?.onConnect(this.handle, 0);
  }

  /** The handshake is complete and nobody has heard of it. False: it has failed after all. */
  protected prepare(_layer: RecordLayer): boolean {
    return true;
  }

  protected failHandshake(reason: string): void {
    if (this.state !== T_HANDSHAKE) return;
    this.reason = reason;
    const isConnecting = this.handler !== null;
    this.owner.onTlsFailed(this, reason);
    if (this.notified) this.leave(true);
    else this.finish(false);
    if (isConnecting) this.handler?.onConnect(this.handle, -EPROTO);
  }

  private refusePlainHttp(): void {
    const { pool } = this.reactor;
    const id = acquireAtLeast(pool, SMALL_BYTES);
    if (id !== NO_BUFFER) {
      const at = pool.offsetOf(id);
      pool.text.latin1Write(PLAIN_HTTP_ANSWER, at, PLAIN_HTTP_ANSWER.length);
      this.reactor.send(this.handle, id, at, PLAIN_HTTP_ANSWER.length, LAST_TAG);
      this.notified = true;
    }
    this.failHandshake('plain HTTP on a TLS port');
  }

  /** The last that we had to say is on its way. `lingers`: reads and discards until the peer ends, too. */
  private leave(lingers: boolean): void {
    this.state = T_CLOSING;
    this.lingers = lingers;
    if (this.handshake !== null) this.endTickets(this.handshake);
    this.dropPartial();
    this.armTimer(LINGER_MS);
    if (!lingers) return;
    this.reactor.shutdownSend(this.handle);
    this.reactor.receiveStart(this.handle);
  }

  // ---- Records ------------------------------------------------------------------------------------------

  /** Opens all records that are whole in `buffer` from `offset` to `end`, and keeps the beginning of one that is not. */
  protected openRecords(buffer: BufferId, offset: number, end: number): void {
    const { bytes } = this.reactor.pool;
    let at = this.partial === null ? offset : this.extendPartial(this.partial, offset, end);
    while (end - at >= HEADER_BYTES && this.isReading) {
      const recordBytes = recordBytesAt(bytes, at);
      if (recordBytes > RECORD_BYTES_MAX) {
        this.fail(ALERT_RECORD_OVERFLOW);
        return;
      }
      if (end - at < recordBytes) break;
      this.openRecord(buffer, at, recordBytes);
      at += recordBytes;
    }
    if (at === end || !this.isReading) return;
    this.partial = new PartialRecord(this.reactor.pool);
    if (!this.partial.keep(at, end)) this.outOfMemory();
  }

  protected get isReading(): boolean {
    return this.state === T_OPEN && !this.peerEnded;
  }

  /** Completes the record that began before. Returns the offset of the first byte that is not its own. */
  private extendPartial(partial: PartialRecord, offset: number, end: number): number {
    const at = partial.append(offset, end);
    if (at < 0) {
      if (at === RECORD_TOO_LONG) this.fail(ALERT_RECORD_OVERFLOW);
      else this.outOfMemory();
      return end;
    }
    if (!partial.isWhole) return at;
    this.partial = null;
    this.openRecord(partial.buffer, partial.start, partial.recordBytes);
    partial.release();
    return at;
  }

  private dropPartial(): void {
    this.partial?.release();
    this.partial = null;
  }

  /** Opens one record in place and acts on its content. */
  private openRecord(buffer: BufferId, offset: number, recordBytes: number): void {
    const { layer, handshake } = this;
    const { pool } = this.reactor;
    if (layer === null) return;
    if (handshake !== null) handshake.offerRecord(pool.address + offset, recordBytes);
    const type = layer.open(pool.bytes, pool.address, offset, recordBytes);
    if (handshake !== null && type !== RECORD_HANDSHAKE) this.endTickets(handshake);
    if (type < 0) this.fail(-type);
    // Nothing may come between the parts of a message, and none of them is empty (RFC 8446 §5.1).
    else if (type !== RECORD_HANDSHAKE && this.post !== null) this.fail(ALERT_UNEXPECTED_MESSAGE);
    else if (type !== RECORD_APPLICATION_DATA && opened.length === 0) this.fail(ALERT_UNEXPECTED_MESSAGE);
    else if (type === RECORD_APPLICATION_DATA) this.deliver(buffer, opened.offset, opened.length);
    else if (type === RECORD_ALERT) this.readAlert(opened.offset, opened.length);
    else if (type === RECORD_HANDSHAKE) this.readHandshakeMessages(opened.offset, opened.length);
    else this.fail(ALERT_UNEXPECTED_MESSAGE);
  }

  private endTickets(handshake: Handshake): void {
    handshake.free();
    this.handshake = null;
  }

  private deliver(buffer: BufferId, offset: number, length: number): void {
    if (length === 0) {
      if (++this.emptyRecords > EMPTY_RECORDS_MAX) this.fail(ALERT_UNEXPECTED_MESSAGE);
      return;
    }
    this.emptyRecords = 0;
    this.controls = 0;
    this.delivered = true;
    this.reactor.pool.retain(buffer);
    if (this.handler === null) this.reactor.pool.release(buffer);
    else this.handler.onReceive(this.handle, buffer, offset, length);
  }

  protected readAlert(offset: number, length: number): void {
    if (length !== 2) {
      this.fail(ALERT_DECODE_ERROR);
      return;
    }
    const code = this.reactor.pool.bytes[offset + 1];
    if (code === ALERT_USER_CANCELED) {
      if (++this.controls > CONTROL_MESSAGES_MAX) this.fail(ALERT_UNEXPECTED_MESSAGE);
      return;
    }
    // All others but close_notify are fatal, whatever level they bear (RFC 8446 §6.2).
    if (code !== ALERT_CLOSE_NOTIFY) this.reason = `alert from the peer: ${alertName(code)}`;
    this.endReceiving();
    this.handler?.onReceiveEnd(this.handle, code === ALERT_CLOSE_NOTIFY ? 0 : -ECONNRESET);
  }

  /** Messages after the handshake: KeyUpdate, tickets, attempts to renegotiate. */
  protected readHandshakeMessages(offset: number, length: number): void {
    const { layer, reactor } = this;
    if (layer === null) return;
    if (this.post === null) this.post = new PostHandshake(layer.suite.version, this.isServer);
    const { post } = this;
    post.begin(offset, length);
    while (this.layer === layer) {
      const message = post.next(reactor.pool.bytes);
      if (message === M_CONTINUES) break;
      if (++this.controls > CONTROL_MESSAGES_MAX || message < 0) {
        this.fail(message < 0 ? -message : ALERT_UNEXPECTED_MESSAGE);
        return;
      }
      if (message === M_RENEGOTIATION) {
        this.fail(ALERT_NO_RENEGOTIATION);
        return;
      }
      if (message === M_TICKET) {
        this.handshake?.readTickets();
      } else if (message === M_KEY_UPDATE || message === M_KEY_UPDATE_REQUESTED) {
        if (!this.updateReadKey(layer)) return;
        if (message === M_KEY_UPDATE_REQUESTED) this.updateDue = true;
        if (this.handshake !== null) this.endTickets(this.handshake);
      }
    }
    if (post.isBetween) this.post = null;
  }

  /** The peer's next records come under new keys. False: the connection has failed. */
  protected updateReadKey(layer: RecordLayer): boolean {
    layer.updateReadKey();
    return true;
  }

  /** The peer has broken the protocol: it is told, and our handler learns of a broken connection. */
  protected fail(alert: number): void {
    if (!this.isReading) return;
    this.reason = `TLS: ${alertName(alert)}`;
    this.endReceiving();
    this.failSending(-EPROTO);
    this.alerted = !this.notified;
    // This one is always a warning (RFC 5246 §7.2.2), after which nothing more is said.
    const level = alert === ALERT_NO_RENEGOTIATION ? ALERT_LEVEL_WARNING : ALERT_LEVEL_FATAL;
    this.sendAlert(level, alert, LAST_TAG);
    this.alerted &&= this.notified;
    this.handler?.onReceiveEnd(this.handle, -EPROTO);
  }

  /** Nothing that still comes counts. */
  private endReceiving(): void {
    this.peerEnded = true;
    this.receivesStream = false;
    this.reactor.receiveStop(this.handle);
    this.dropPartial();
  }

  protected outOfMemory(): void {
    this.reason = 'out of memory for a TLS record';
    this.endReceiving();
    this.handler?.onReceiveEnd(this.handle, -ECONNRESET);
  }

  // ---- SocketPort: receiving ------------------------------------------------------------------------------

  adopt(_handle: Handle, handler: SocketHandler): void {
    this.handler = handler;
  }

  receiveStart(): void {
    this.awaitsOnce = false;
    if (this.receivesStream || this.peerEnded || this.state !== T_OPEN) return;
    this.receivesStream = true;
    this.reactor.receiveStart(this.handle);
  }

  receiveOnce(): void {
    if (this.peerEnded || this.state !== T_OPEN) return;
    if (this.receivesStream) this.receiveStop();
    this.awaitsOnce = true;
    this.reactor.receiveOnce(this.handle);
  }

  receiveStop(): void {
    if (this.state !== T_OPEN || (!this.receivesStream && !this.awaitsOnce)) return;
    this.receivesStream = false;
    this.awaitsOnce = false;
    this.reactor.receiveStop(this.handle);
  }

  // ---- SocketPort: sending --------------------------------------------------------------------------------

  /** As the reactor's; `onSend` brings the sealed length where it brings one. */
  send(_handle: Handle, buffer: BufferId, offset: number, length: number, tag: number): void {
    const { pool } = this.reactor;
    if (this.state !== T_OPEN || this.endAsked || this.sendErrno !== 0 || length === 0) {
      pool.release(buffer);
      this.owe(tag, this.sendErrno);
      return;
    }
    if (this.queue === null) {
      const sealed = this.sealAll(offset, length, tag);
      if (sealed === length) {
        pool.release(buffer);
        return;
      }
      this.openQueue().content(buffer, offset + sealed, length - sealed, tag);
      this.retryLater();
      return;
    }
    this.queue.content(buffer, offset, length, tag);
    this.queue.pump();
  }

  sendFile(_handle: Handle, file: FileHandle, fileOffset: number, length: number, tag: number): void {
    if (this.state !== T_OPEN || this.endAsked || this.sendErrno !== 0 || length === 0) {
      this.owe(tag, this.sendErrno);
      return;
    }
    const queue = this.queue ?? this.openQueue();
    queue.file(file, fileOffset, length, tag);
    queue.pump();
  }

  private openQueue(): TlsQueue {
    this.queue = new TlsQueue(this);
    return this.queue;
  }

  private sealAll(offset: number, length: number, tag: number): number {
    let sealed = 0;
    while (sealed < length) {
      const more = this.seal(offset + sealed, length - sealed, tag);
      if (more === 0) break;
      sealed += more;
    }
    return sealed;
  }

  /** Seals into one buffer as much as fits there and sends it. Returns how much, 0 where no buffer is free. */
  seal(offset: number, length: number, tag: number): number {
    const { layer } = this;
    const { pool } = this.reactor;
    if (layer === null) return 0;
    const { fragmentMax, overhead } = layer;
    const updates = this.updateDue || layer.writeSequence >= KEY_RECORDS_MAX;
    const extra = updates && layer.suite.version === TLS13 ? KEY_UPDATE_RECORD_BYTES : 0;
    const id = acquireAbout(pool, extra + length + Math.ceil(length / fragmentMax) * overhead);
    if (id === NO_BUFFER) return 0;
    const start = pool.offsetOf(id);
    const end = start + pool.sizeOf(id);
    let at = start;
    if (extra > 0) at += this.sealKeyUpdate(layer, at);
    let sealed = 0;
    while (sealed < length) {
      const room = end - at - overhead;
      if (room < Math.min(length - sealed, RECORD_CONTENT_MIN)) break;
      const part = Math.min(fragmentMax, length - sealed, room);
      at += layer.seal(pool.bytes, pool.address, RECORD_APPLICATION_DATA, offset + sealed, part, at);
      sealed += part;
    }
    // Every segment has a tag: the queue goes on when one has left.
    this.reactor.send(this.handle, id, start, at - start, sealed === length && tag !== 0 ? tag : PART_TAG);
    return sealed;
  }

  /** Update of our own keys, because the peer asked or they were used enough. Returns the record's length. */
  private sealKeyUpdate(layer: RecordLayer, target: number): number {
    const { bytes, address } = this.reactor.pool;
    const message = target + KEY_UPDATE_RECORD_BYTES;
    // The message lies where the next record will be written: type, length 1 in three bytes, no answer asked.
    bytes.fill(0, message, message + 5);
    bytes[message] = KEY_UPDATE;
    bytes[message + 3] = 1;
    const length = layer.seal(bytes, address, RECORD_HANDSHAKE, message, 5, target);
    layer.updateWriteKey();
    this.updateDue = false;
    return length;
  }

  /** Sends an alert behind what was sealed before it, unless there was one: `notified` is false where no buffer is free. */
  protected sendAlert(level: number, code: number, tag: number): void {
    const { layer } = this;
    const { pool } = this.reactor;
    if (layer === null || this.notified) return;
    const id = acquireAtLeast(pool, SMALL_BYTES);
    if (id === NO_BUFFER) return;
    this.notified = true;
    const start = pool.offsetOf(id);
    const message = start + SMALL_BYTES - 2;
    pool.bytes[message] = level;
    pool.bytes[message + 1] = code;
    const length = layer.seal(pool.bytes, pool.address, RECORD_ALERT, message, 2, start);
    this.reactor.send(this.handle, id, start, length, tag);
  }

  sealedBytesQueued(): number {
    return this.reactor.sendQueuedBytes(this.handle);
  }

  sendQueuedBytes(): number {
    const sealed = this.reactor.sendQueuedBytes(this.handle);
    return this.queue === null ? sealed : sealed + this.queue.bytes;
  }

  sendAcknowledgedBytes(): number {
    return this.reactor.sendAcknowledgedBytes(this.handle);
  }

  shutdownSend(): void {
    if (this.state !== T_OPEN || this.endAsked) return;
    this.endAsked = true;
    if (this.queue === null) this.sendEnd();
  }

  /** close_notify, then FIN; the FIN alone where what was to come before it could not be sent. */
  private sendEnd(): void {
    if (this.sendErrno === 0) this.sendAlert(ALERT_LEVEL_WARNING, ALERT_CLOSE_NOTIFY, PART_TAG);
    if (this.sendErrno === 0 && !this.notified) this.retryLater();
    else this.reactor.shutdownSend(this.handle);
  }

  /** As the reactor's, but that a close_notify (or the alert that tells why) leaves first where nothing waits before it. */
  close(_handle: Handle, abortive: boolean): void {
    if (this.state === T_CLOSED || this.state === T_CLOSING) return;
    if (this.alerted && this.state === T_OPEN) {
      this.leave(true);
      return;
    }
    const isUnfinished = this.queue !== null || this.sendErrno !== 0 || this.sealedBytesQueued() > 0;
    if (this.state !== T_OPEN || abortive || isUnfinished || this.notified) {
      this.finish(abortive);
      return;
    }
    this.sendAlert(ALERT_LEVEL_WARNING, ALERT_CLOSE_NOTIFY, LAST_TAG);
    // A client's close_notify, on its way already, must not become a reset that overtakes the response.
    if (this.notified) this.leave(this.isServer && !this.peerEnded);
    else this.finish(false);
  }

  // ---- What has left ----------------------------------------------------------------------------------------

  onSend(_handle: Handle, tag: number, result: number): void {
    if (this.state === T_CLOSING) {
      if (result < 0 || (tag === LAST_TAG && (!this.lingers || this.streamEnded))) this.finish(false);
      return;
    }
    if (this.state !== T_OPEN) return;
    if (tag < PART_TAG) {
      this.handler?.onSend(this.handle, tag, result);
    } else if (tag === FILE_END_TAG) {
      this.results?.fileLeft(result);
      this.tellOwed();
    }
    if (result < 0) this.failSending(result);
    else this.queue?.pump();
  }

  /** Nothing more can be sent: what waits fails now, what still comes at once. */
  protected failSending(errno: number): void {
    if (this.sendErrno !== 0 || this.state !== T_OPEN) return;
    this.sendErrno = errno;
    const { queue } = this;
    this.queue = null;
    queue?.clear((tag) => this.failQueued(tag, errno));
  }

  private failQueued(tag: number, errno: number): void {
    if (tag !== FILE_END_TAG) this.owe(tag, errno);
    else if (this.results !== null) this.owe(this.results.fileDropped(), errno);
  }

  /** Told from the timer: this may be inside a call of our handler's. */
  private owe(tag: number, result: number): void {
    if (this.state !== T_OPEN || tag === 0) return;
    if (this.results === null) this.results = new TlsResults();
    this.results.owe(tag, result);
    this.armTimer(0);
  }

  private tellOwed(): void {
    if (this.results === null) return;
    const owed = this.results.take();
    for (let index = 0; index < owed.length && this.state === T_OPEN; index += 2)
      this.handler?.onSend(this.handle, owed[index], owed[index + 1]);
  }

  // ---- The queue's events -------------------------------------------------------------------------------------

  fileSealed(tag: number, total: number): void {
    if (this.results === null) this.results = new TlsResults();
    this.results.fileSealed(tag, total);
  }

  fileShort(tag: number, result: number): void {
    this.owe(tag, result);
  }

  fileFailed(tag: number, errno: number): void {
    this.owe(tag, errno);
    this.failSending(errno);
  }

  queueEmpty(): void {
    this.queue = null;
    if (this.endAsked) this.sendEnd();
  }

  retryLater(): void {
    if (this.timer === null) this.armTimer(RETRY_MS);
  }
}
