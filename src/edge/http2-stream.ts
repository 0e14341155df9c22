/**
 * One stream of a client's HTTP/2 connection as an exchange sees it. Owns the content that waits for the client's windows,
 * also when its exchange is over already, and what came for a tunnel that is not open yet.
 */

import { randomBytes } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { copyAcross, putText } from '../base/bytes.ts';
import { E_BODY_TOO_LARGE, E_CLIENT_GONE, E_OVERLOAD } from '../http/fault.ts';
import { F_REMOVED, F_SEC_WEBSOCKET_ACCEPT, F_SEC_WEBSOCKET_KEY, FieldSection } from '../http/fields.ts';
import {
  BODY_LENGTH,
  BODY_NONE,
  BODY_STREAM,
  LENGTH_UNKNOWN,
  M_GET,
  M_HEAD,
  type RequestHead,
  type ResponseHead,
} from '../http/message.ts';
import { H2_INTERNAL_ERROR, H2_NO_ERROR, H2_REFUSED_STREAM } from '../http2/constants.ts';
import { Http2Stream } from '../http2/stream.ts';
import {
  type BufferId,
  LARGE,
  MEDIUM,
  MEDIUM_BYTES,
  NO_BUFFER,
  SMALL,
  SMALL_BYTES,
} from '../io/buffer-pool.ts';
import { type FileHandle, type FileHandler, PENDING } from '../io/reactor.ts';
import type { ClientAddress } from './client-address.ts';
import { type Exchange, NO_FIELDS, X_ENDED, X_HEAD } from './exchange.ts';
import type { Http2Connection } from './http2-connection.ts';
import { InputQueue } from './input-queue.ts';
import type { RouteAction } from './route.ts';
import type { DownstreamStream } from './stream.ts';

/** The exchange hears that there is room again when what waits has fallen below this. */
const SEND_LOW_BYTES = 262144;
/** While no more than this waits on all streams of a connection, each has as much as a connection of HTTP/1.1. */
const WAITING_BYTES_AMPLE = 1048576;
/** Beyond it each has this part of that: enough that none runs dry. */
const SCARCE_FACTOR = 16;
/** Bytes of a file that are read ahead of what has left. */
const FILE_AHEAD_BYTES = 65536;
/** A file is read in pieces of a frame. */
const FILE_PIECE_BYTES = 16384;
/** Content leaves without being asked to from this much on. */
const PUMP_BYTES = 16384;
/**
 * Short heads begin at so many places of their buffers, in turn, so far from each other: all of those that are at hand
 * would else want the same few lines of the processor's caches, since small buffers are pages.
 */
const COLOURS = 16;
const COLOUR_BYTES = 192;
const NO_FILE = 0;
const GET = 'GET';
const WEBSOCKET_KEY_BYTES = 16;
const SWITCHING_PROTOCOLS = 101;
const OK = 200;

export class Http2ServerStream extends Http2Stream implements DownstreamStream, FileHandler {
  readonly scheme: number;
  readonly client: ClientAddress;
  readonly listenerAction: RouteAction | null;
  exchange: Exchange | null;
  /** Since when content of the request is awaited, and none of the response comes, on the reactor's clock. */
  lastReceivedMs: number;
  paused: boolean;
  wantsWritable: boolean;
  /** The next of its connection's streams whose requests are to be handed on. */
  nextBegun: Http2ServerStream | null;
  private readonly connection: Http2Connection;
  /** The request has come and is not handed on: its head is in `head`, or it has a `fault`. */
  private isHeld: boolean;
  private head: BufferId;
  /** Arena offset behind it; what follows in its buffer is free. */
  private headEnd: number;
  private fault: number;
  /** Its end came meanwhile. */
  private earlyTrailers: FieldSection | null;
  /** Content that waits to be sent, behind the piece at hand; made for the second piece. */
  private content: InputQueue | null;
  private piece: BufferId;
  private pieceOffset: number;
  private pieceLength: number;
  private trailersDue: FieldSection | null;
  private file: FileHandle;
  private fileOffset: number;
  private fileLeft: number;
  private fileRead: number;
  /** Where a read that is PENDING goes; its buffer is ours until then. */
  private readBuffer: BufferId;
  private cutting: boolean;
  /** The client, or the connection, is gone: the exchange's end has nothing to end here. */
  private isGone: boolean;
  /** What came before the request was handed on, or a tunnel was open. */
  private early: InputQueue | null;
  private isUpgrade: boolean;
  private tunnelOpen: boolean;

  constructor(connection: Http2Connection) {
    super();
    this.scheme = connection.scheme;
    this.client = connection.client;
    this.listenerAction = connection.listenerAction;
    this.exchange = null;
    this.lastReceivedMs = connection.context.reactor.nowMs;
    this.paused = false;
    this.wantsWritable = false;
    this.nextBegun = null;
    this.connection = connection;
    this.isHeld = false;
    this.head = NO_BUFFER;
    this.headEnd = 0;
    this.fault = 0;
    this.earlyTrailers = null;
    this.content = null;
    this.piece = NO_BUFFER;
    this.pieceOffset = 0;
    this.pieceLength = 0;
    this.trailersDue = null;
    this.file = NO_FILE;
    this.fileOffset = 0;
    this.fileLeft = 0;
    this.fileRead = 0;
    this.readBuffer = NO_BUFFER;
    this.cutting = false;
    this.isGone = false;
    this.early = null;
    this.isUpgrade = false;
    this.tunnelOpen = false;
  }

  // ---- From the connection ----------------------------------------------------------------------------

  /**
   * The head is complete, in the workspace at `[start, end)`: it moves to memory of its own, and waits for `handOn`. False:
   * memory is exhausted, and the stream is reset.
   */
  headComplete(fault: number, start: number, end: number): boolean {
    const { exchange } = this;
    assert(exchange !== null, 'a head without an exchange');
    this.isHeld = true;
    this.fault = fault;
    if (fault !== 0) return true;
    const { pool } = this.connection.context.reactor;
    const length = end - start;
    const buffer = pool.acquire(length <= SMALL_BYTES ? SMALL : length <= MEDIUM_BYTES ? MEDIUM : LARGE);
    if (buffer === NO_BUFFER) {
      this.wasReset();
      this.connection.engine.reset(this, H2_REFUSED_STREAM);
      return false;
    }
    let to = pool.offsetOf(buffer);
    if (length <= SMALL_BYTES - COLOURS * COLOUR_BYTES) to += (buffer % COLOURS) * COLOUR_BYTES;
    pool.bytes.copyWithin(to, start, end);
    exchange.request.rebase(to - start);
    this.head = buffer;
    this.headEnd = to + length;
    return true;
  }

  /** The exchange begins, with what has come of its content meanwhile; nothing where the stream was reset. */
  handOn(): void {
    const { exchange, fault, head } = this;
    if (exchange === null || this.id === 0) return;
    this.isHeld = false;
    this.head = NO_BUFFER;
    if (fault !== 0) {
      exchange.onHeadFault(fault);
    } else if (exchange.request.upgradeIndex >= 0 && !this.asUpgrade(exchange)) {
      this.connection.context.reactor.pool.release(head);
      exchange.onHeadFault(E_OVERLOAD);
    } else {
      const { pool } = this.connection.context.reactor;
      exchange.scratch.lend(head, this.headEnd, pool.offsetOf(head) + pool.sizeOf(head));
      exchange.onHead(head);
    }
    if (this.early !== null && !this.isUpgrade) this.handOnContent(this.early);
    const trailers = this.earlyTrailers;
    this.earlyTrailers = null;
    if (trailers !== null && !this.isUpgrade) this.exchange?.onRequestEnd(trailers);
  }

  private handOnContent(early: InputQueue): void {
    this.early = null;
    while (this.id !== 0 && early.shift()) {
      this.take(early.buffer, early.offset, early.length);
      this.connection.context.reactor.pool.release(early.buffer);
    }
    early.clear();
  }

  /** An extended CONNECT as HTTP/1.1 asks for the same: GET with an upgrade (RFC 8441 §5, RFC 6455 §4.1). False: memory is exhausted. */
  private asUpgrade(exchange: Exchange): boolean {
    const { request, scratch } = exchange;
    const at = scratch.reserve(GET.length);
    if (at < 0) return false;
    putText(this.connection.context.reactor.pool.bytes, at, GET);
    scratch.commit(GET.length);
    this.isUpgrade = true;
    request.methodId = M_GET;
    request.methodOffset = at;
    request.methodLength = GET.length;
    request.bodyKind = BODY_NONE;
    return scratch.addField(
      request.fields,
      F_SEC_WEBSOCKET_KEY,
      '',
      randomBytes(WEBSOCKET_KEY_BYTES).toString('base64'),
    );
  }

  /** Request content in the buffer that is being received. */
  received(buffer: BufferId, offset: number, length: number): void {
    const { pool, nowMs } = this.connection.context.reactor;
    this.lastReceivedMs = nowMs;
    if (this.isHeld || (this.isUpgrade && !this.tunnelOpen && this.exchange !== null)) {
      pool.retain(buffer);
      this.early ??= new InputQueue(pool);
      this.early.push(buffer, offset, length);
    } else {
      this.take(buffer, offset, length);
    }
  }

  private take(buffer: BufferId, offset: number, length: number): void {
    const { exchange, connection } = this;
    const isUnwanted =
      exchange === null ||
      (exchange.request.bodyKind === BODY_STREAM &&
        exchange.requestBytes + length > exchange.undeclaredBytesMax);
    if (isUnwanted) {
      // Of what came before the request was handed on, all is given back with the first piece.
      connection.engine.consumed(this, Math.min(length, this.heldBytes));
      exchange?.onRequestFault(E_BODY_TOO_LARGE);
      return;
    }
    connection.context.reactor.pool.retain(buffer);
    exchange.onRequestData(buffer, offset, length);
    this.giveBackHeld();
  }

  /** What is not held back opens the client's windows again. A request that went on during the call has done it already. */
  private giveBackHeld(): void {
    if (this.paused || this.id === 0 || this.heldBytes === 0) return;
    this.connection.engine.consumed(this, this.heldBytes);
  }

  /** The client has ended its half. Trailers live only during this call: what is kept of them is copied. */
  receivedEnd(trailers: FieldSection): void {
    const { exchange } = this;
    if (exchange === null || (this.isUpgrade && !this.tunnelOpen)) return;
    const kept = trailers.count === 0 ? NO_FIELDS : copyOf(trailers);
    if (this.isHeld) this.earlyTrailers = kept;
    else exchange.onRequestEnd(kept);
  }

  /** The stream was reset, by whom ever, or the connection is gone. */
  wasReset(): void {
    const { exchange } = this;
    this.isGone = true;
    if (exchange === null) return;
    if (exchange.phase === X_HEAD) {
      this.exchange = null;
      exchange.recycle();
    } else if (exchange.phase < X_ENDED) {
      exchange.onStreamGone(E_CLIENT_GONE);
    }
  }

  /** The stream is out of the connection: everything that it holds goes home. */
  release(): void {
    const { pool } = this.connection.context.reactor;
    this.connection.waitingBytes -= this.pieceLength + (this.content === null ? 0 : this.content.bytes);
    this.pieceLength = 0;
    this.content?.clear();
    this.early?.clear();
    if (this.piece !== NO_BUFFER) pool.release(this.piece);
    this.piece = NO_BUFFER;
    if (this.head !== NO_BUFFER) pool.release(this.head);
    this.head = NO_BUFFER;
    this.trailersDue = null;
    this.file = NO_FILE;
  }

  /** Its turn: a frame of content goes behind its header. */
  sendFrame(): void {
    const { engine, out } = this.connection;
    const { pool } = this.connection.context.reactor;
    if (this.pieceLength === 0) this.nextPiece();
    const length = Math.min(engine.grantOf(this), this.pieceLength);
    const { piece, pieceOffset } = this;
    this.pieceOffset += length;
    this.pieceLength -= length;
    this.connection.waitingBytes -= length;
    if (this.pieceLength > 0) pool.retain(piece);
    else this.piece = NO_BUFFER;
    engine.data(this, length);
    out.content(piece, pieceOffset, length);
    if (this.id === 0) return;
    if (this.pendingBytes === 0) this.drained();
    if (this.id !== 0 && this.file !== NO_FILE) this.readFile();
  }

  private nextPiece(): void {
    const { content } = this;
    assert(content?.shift() === true, 'content was granted that is not there');
    this.piece = content.buffer;
    this.pieceOffset = content.offset;
    this.pieceLength = content.length;
  }

  /** More content, whose reference of `buffer` passes. */
  private put(buffer: BufferId, offset: number, length: number): void {
    if (this.pendingBytes === 0) {
      this.piece = buffer;
      this.pieceOffset = offset;
      this.pieceLength = length;
    } else {
      this.content ??= new InputQueue(this.connection.context.reactor.pool);
      this.content.push(buffer, offset, length);
    }
    this.connection.waitingBytes += length;
    this.connection.engine.offer(this, length);
  }

  /** Nothing waits any more. */
  private drained(): void {
    const { trailersDue } = this;
    const { engine } = this.connection;
    if (trailersDue !== null && this.fileLeft === 0) {
      this.trailersDue = null;
      engine.trailers(this, trailersDue);
    }
    if (this.id !== 0 && this.localEnded && !this.remoteEnded && this.exchange === null)
      engine.reset(this, H2_NO_ERROR);
  }

  /** The exchange hears of room that there is again. */
  tellWritable(): void {
    if (!this.wantsWritable || this.queuedBytes() >= SEND_LOW_BYTES) return;
    this.wantsWritable = false;
    this.exchange?.onWritable();
  }

  // ---- From the exchange (DownstreamStream) -------------------------------------------------------------

  sendInformational(head: ResponseHead): void {
    if (this.id === 0 || this.headSent) return;
    this.connection.engine.inform(this, head);
    this.connection.pumpSoon();
  }

  sendHead(request: RequestHead, head: ResponseHead, hasContent: boolean): void {
    if (this.id === 0) return;
    const isTunnel = head.status === SWITCHING_PROTOCOLS;
    if (isTunnel) head.fields.removeAll(F_SEC_WEBSOCKET_ACCEPT);
    const endStream = !hasContent && !isTunnel;
    const length = declaredLength(request, head);
    this.connection.engine.respond(this, isTunnel ? OK : head.status, head.fields, length, endStream);
    this.connection.pumpSoon();
  }

  /** What it has begun is on its way, since every block builds upon those before it. */
  takeBack(): boolean {
    return false;
  }

  sendData(buffer: BufferId, offset: number, length: number): void {
    if (length === 0 || this.id === 0) {
      this.connection.context.reactor.pool.release(buffer);
      return;
    }
    this.put(buffer, offset, length);
    this.wantsWritable = true;
    // Where both sides stream, a client that listens is not one that is too slow to speak.
    this.lastReceivedMs = this.connection.context.reactor.nowMs;
    if (this.pendingBytes >= PUMP_BYTES) this.connection.pumpSoon();
  }

  sendFile(file: FileHandle, fileOffset: number, length: number): void {
    if (this.id === 0) return;
    this.file = file;
    this.fileOffset = fileOffset;
    this.fileLeft = length;
    this.fileRead = 0;
    this.wantsWritable = true;
    this.readFile();
    this.connection.pumpSoon();
  }

  /** Reads ahead while there is room, and tells the exchange when all is read. */
  private readFile(): void {
    const { reactor } = this.connection.context;
    const { pool } = reactor;
    while (this.file !== NO_FILE && this.readBuffer === NO_BUFFER && this.pendingBytes < FILE_AHEAD_BYTES) {
      if (this.fileLeft === 0) {
        this.fileDone();
        return;
      }
      const buffer = pool.acquire(MEDIUM);
      if (buffer === NO_BUFFER) {
        this.connection.breakOff();
        return;
      }
      const length = Math.min(this.fileLeft, FILE_PIECE_BYTES);
      this.readBuffer = buffer;
      const result = reactor.readFile(this.file, this.fileOffset, pool.offsetOf(buffer), length, this, 0);
      if (result === PENDING) return;
      this.fileCame(result);
    }
  }

  private fileCame(result: number): void {
    const { pool } = this.connection.context.reactor;
    const buffer = this.readBuffer;
    this.readBuffer = NO_BUFFER;
    if (this.file === NO_FILE || this.id === 0 || result <= 0) {
      pool.release(buffer);
      // It ended early, or failed: the exchange sees that it is not what was declared.
      if (this.file !== NO_FILE && this.id !== 0) this.fileDone();
      return;
    }
    this.put(buffer, pool.offsetOf(buffer), result);
    this.fileOffset += result;
    this.fileLeft -= result;
    this.fileRead += result;
  }

  private fileDone(): void {
    this.file = NO_FILE;
    this.fileLeft = 0;
    this.exchange?.onFileSent(this.fileRead);
  }

  onOpen(): void {
    assert(false, 'a stream opens no files');
  }

  onRead(_tag: number, result: number): void {
    this.fileCame(result);
    if (this.id === 0) return;
    this.readFile();
    this.connection.pumpSoon();
  }

  sendEnd(trailers: FieldSection): void {
    const { engine } = this.connection;
    if (this.id === 0 || this.localEnded) {
      this.connection.pumpSoon();
      return;
    }
    if (trailers.count === 0) engine.end(this);
    else if (this.pendingBytes === 0) engine.trailers(this, trailers);
    else this.trailersDue = copyOf(trailers);
    this.connection.pumpSoon();
  }

  flush(): void {
    this.connection.pumpSoon();
  }

  /** What waits counts for more where much waits on the connection: it must not hold as much as that many connections. */
  queuedBytes(): number {
    const { connection, pendingBytes } = this;
    const isScarce = connection.waitingBytes > WAITING_BYTES_AMPLE;
    const waiting = isScarce ? pendingBytes * SCARCE_FACTOR : pendingBytes;
    const queued = waiting + connection.port.sendQueuedBytes(connection.handle);
    if (queued >= SEND_LOW_BYTES) connection.owesWritable = true;
    return queued;
  }

  pauseRequest(): void {
    this.paused = true;
  }

  resumeRequest(): void {
    if (!this.paused) return;
    this.paused = false;
    this.lastReceivedMs = this.connection.context.reactor.nowMs;
    if (this.id === 0 || this.heldBytes === 0) return;
    this.giveBackHeld();
    this.connection.pumpSoon();
  }

  startTunnel(): void {
    if (this.id === 0) return;
    this.tunnelOpen = true;
    const { early, connection } = this;
    this.early = null;
    while (early?.shift() === true) this.exchange?.onRequestData(early.buffer, early.offset, early.length);
    this.giveBackHeld();
    if (this.remoteEnded) this.exchange?.onRequestEnd(NO_FIELDS);
    connection.pumpSoon();
  }

  endTunnelSend(): void {
    if (this.id === 0 || this.finishing) return;
    this.connection.engine.end(this);
    this.connection.pumpSoon();
  }

  cut(): void {
    this.cutting = true;
  }

  /** Of this stream only: nothing to do. */
  closeAfterResponse(): void {}

  onExchangeEnd(): void {
    this.exchange = null;
    this.wantsWritable = false;
    if (this.id === 0 || this.isGone) return;
    const { engine } = this.connection;
    if (this.cutting || !this.headSent) engine.reset(this, H2_INTERNAL_ERROR);
    else if (this.localEnded) engine.reset(this, H2_NO_ERROR);
    this.connection.pumpSoon();
  }
}

/** Content-Length of a response as RFC 9110 §8.6 wants it, or LENGTH_UNKNOWN. */
function declaredLength(request: RequestHead, head: ResponseHead): number {
  const { status } = head;
  if (status === 204 || status < 200) return LENGTH_UNKNOWN;
  if (status === 304 || request.methodId === M_HEAD) return head.contentLength;
  const isKnown = head.bodyKind === BODY_LENGTH || head.bodyKind === BODY_NONE;
  return isKnown ? Math.max(0, head.contentLength) : LENGTH_UNKNOWN;
}

/** A section in memory of its own. Allocates: trailers are rare, and may have to wait. */
function copyOf(fields: FieldSection): FieldSection {
  let bytes = 0;
  for (let index = 0; index < fields.count; index++)
    bytes += fields.nameLength(index) + fields.valueLength(index);
  const copy = new FieldSection(new Uint8Array(bytes));
  let at = 0;
  for (let index = 0; index < fields.count; index++) {
    if (fields.id(index) === F_REMOVED) continue;
    const nameLength = fields.nameLength(index);
    const valueLength = fields.valueLength(index);
    copyAcross(copy.bytes, at, fields.bytes, fields.nameOffset(index), nameLength);
    copyAcross(copy.bytes, at + nameLength, fields.bytes, fields.valueOffset(index), valueLength);
    copy.add(at, nameLength, at + nameLength, valueLength, fields.id(index));
    at += nameLength + valueLength;
  }
  return copy;
}
