/**
 * One request and its response on an HTTP/2 connection to a backend, as a ProxyResponder sees it. Owns the content of the
 * request that waits for the backend's windows.
 *
 * It waits (for its connection, with `id` 0) → is begun by `sendHead` → is over when its responder is gone and the engine has
 * closed it, in either order. None is used twice.
 */

import { assert } from '../base/assert.ts';
import { asciiBytes } from '../base/bytes.ts';
import { E_OVERLOAD, E_RESPONSE_MALFORMED, E_RESPONSE_TRUNCATED } from '../http/fault.ts';
import { F_HOST, F_SEC_WEBSOCKET_KEY, F_UPGRADE, type FieldSection } from '../http/fields.ts';
import { BODY_NONE, M_CONNECT, M_HEAD } from '../http/message.ts';
import { H2_CANCEL } from '../http2/constants.ts';
import type { RequestLine } from '../http2/request-line.ts';
import { Http2Stream } from '../http2/stream.ts';
import { type BufferId, MEDIUM_BYTES, NO_BUFFER } from '../io/buffer-pool.ts';
import type { BackendStream } from './backend-stream.ts';
import { type Exchange, NO_FIELDS } from './exchange.ts';
import { writeTarget } from './http1-request.ts';
import type { Http2Backend } from './http2-backend.ts';
import { InputQueue } from './input-queue.ts';
import type { ProxyResponder } from './proxy-responder.ts';
import type { ProxyRoute } from './proxy-route.ts';
import type { GroupServer } from './upstream-group.ts';

/** The responder hears that there is room again when what waits has fallen below this. */
const SEND_LOW_BYTES = 262144;
/** Content leaves without being asked to from this much on. */
const PUMP_BYTES = 16384;
/** Interim responses before a final one; a backend that sends more is out of its mind. */
const INTERIM_MAX = 32;
/** A tunnel of which one half has ended is over when the other has been silent for this long. */
const HALF_TUNNEL_IDLE_MS = 2000;
/** How long a backend may take nothing of a tunnel's last bytes. */
const FLUSH_STALL_MS = 30_000;
const CONNECT = asciiBytes('CONNECT');
const OK = 200;
const SLASH = 0x2f;

export class Http2BackendStream extends Http2Stream implements BackendStream {
  readonly mayRefuse: boolean;
  readonly connectTimeoutMs: number;
  /** Null when nobody waits for anything any more. */
  responder: ProxyResponder | null;
  connection: Http2Backend;
  /** Since when nothing has happened, on the reactor's clock. */
  sinceMs: number;
  /** Connections that had no room for it when they were open. */
  moves: number;
  /** Something came during this call of the engine: the responder is to hear of its end. */
  isStirred: boolean;
  nextStirred: Http2BackendStream | null;
  /** A head came, an interim one perhaps. */
  isAnswered: boolean;
  isPaused: boolean;
  private begunMs: number;
  private interims: number;
  /** Content that came while paused, for which the backend gets no window yet. */
  private withheldBytes: number;
  private wantsWritable: boolean;
  /** The request is an extended CONNECT, which stands for an upgrade. */
  private isUpgrade: boolean;
  private tunnelOpen: boolean;
  /** Content that waits, behind the piece at hand. Made with the first. */
  private content: InputQueue | null;
  private piece: BufferId;
  private pieceOffset: number;
  private pieceLength: number;
  /** What follows the last of the content. */
  private trailersDue: FieldSection | null;

  constructor(connection: Http2Backend, responder: ProxyResponder | null, connectTimeoutMs: number) {
    super();
    this.mayRefuse = true;
    this.connectTimeoutMs = connectTimeoutMs;
    this.responder = responder;
    this.connection = connection;
    this.sinceMs = connection.context.reactor.nowMs;
    this.moves = 0;
    this.isStirred = false;
    this.nextStirred = null;
    this.isAnswered = false;
    this.isPaused = false;
    this.begunMs = this.sinceMs;
    this.interims = 0;
    this.withheldBytes = 0;
    this.wantsWritable = false;
    this.isUpgrade = false;
    this.tunnelOpen = false;
    this.content = null;
    this.piece = NO_BUFFER;
    this.pieceOffset = 0;
    this.pieceLength = 0;
    this.trailersDue = null;
  }

  // ---- From the responder -----------------------------------------------------------------------------

  /** By extended CONNECT, where the backend allows it (RFC 8441 §3). */
  get takesUpgrades(): boolean {
    return this.connection.engine.peer.enableConnectProtocol;
  }

  begin(responder: ProxyResponder): void {
    this.responder = responder;
    this.touch();
    this.begunMs = this.sinceMs;
  }

  sendHead(exchange: Exchange, route: ProxyRoute, server: GroupServer, upgrade: boolean): boolean {
    const { connection } = this;
    const { request } = exchange;
    const { line } = connection.pool;
    line.methodId = request.methodId;
    line.methodOffset = request.methodOffset;
    line.methodLength = request.methodLength;
    line.scheme = connection.scheme;
    line.acceptsTrailers = request.acceptsTrailers && !upgrade;
    line.protocolLength = 0;
    if (!writeAuthority(line, exchange, route, server) || !writePath(line, exchange, server)) return false;
    request.fields.removeAll(F_HOST);
    if (upgrade) return this.sendConnect(exchange, line);
    return connection.request(
      this,
      request.fields,
      request.methodId === M_HEAD,
      request.bodyKind === BODY_NONE,
    );
  }

  /** An upgrade as an extended CONNECT (RFC 8441 §5), which needs no key: it stays with the request, for the client's answer. */
  private sendConnect(exchange: Exchange, line: RequestLine): boolean {
    const { fields } = exchange.request;
    const protocol = fields.find(F_UPGRADE, 0);
    const at = exchange.scratch.reserve(CONNECT.length);
    if (protocol < 0 || at < 0) return false;
    line.bytes.set(CONNECT, at);
    exchange.scratch.commit(CONNECT.length);
    line.methodId = M_CONNECT;
    line.methodOffset = at;
    line.methodLength = CONNECT.length;
    line.protocolOffset = fields.valueOffset(protocol);
    line.protocolLength = fields.valueLength(protocol);
    const key = fields.find(F_SEC_WEBSOCKET_KEY, 0);
    if (key >= 0) fields.remove(key);
    const isSent = this.connection.request(this, fields, false, false);
    if (key >= 0) fields.setId(key, F_SEC_WEBSOCKET_KEY);
    this.isUpgrade = true;
    this.isTunnel = true;
    return isSent;
  }

  sendData(buffer: BufferId, offset: number, length: number): boolean {
    const { pool } = this.connection.context.reactor;
    if (this.id === 0 || this.finishing || length === 0) {
      pool.release(buffer);
      return true;
    }
    this.content ??= new InputQueue(pool);
    this.content.push(buffer, offset, length);
    this.connection.engine.offer(this, length);
    if (this.pendingBytes >= PUMP_BYTES) this.connection.pumpSoon();
    return true;
  }

  sendEnd(trailers: FieldSection): boolean {
    const { engine } = this.connection;
    if (this.id === 0 || this.localEnded || this.finishing || this.trailersDue !== null) return true;
    // A request for an upgrade has no content, and its stream goes on as a tunnel.
    if (this.isUpgrade && !this.tunnelOpen) return true;
    if (trailers.count === 0) engine.end(this);
    else if (this.pendingBytes === 0) engine.trailers(this, trailers);
    else this.trailersDue = trailers;
    this.connection.pumpSoon();
    return !engine.broken;
  }

  flush(): void {
    this.connection.pumpSoon();
  }

  pass(): void {
    this.connection.pumpSoon();
  }

  /** Pieces count as the buffers that they hold. */
  queuedBytes(): number {
    const pieces = this.content === null ? 0 : this.content.pieces;
    return Math.max(this.pendingBytes, pieces * MEDIUM_BYTES);
  }

  awaitWritable(): void {
    this.wantsWritable = true;
  }

  touch(): void {
    this.sinceMs = this.connection.context.reactor.nowMs;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.touch();
    const { withheldBytes } = this;
    this.withheldBytes = 0;
    if (this.id === 0 || withheldBytes === 0) return;
    this.connection.engine.giveBackTo(this, withheldBytes);
    this.connection.pumpSoon();
  }

  startTunnel(): void {
    this.tunnelOpen = true;
  }

  endSend(): void {
    this.touch();
    this.sendEnd(NO_FIELDS);
  }

  closeWhenSent(): void {
    this.responder = null;
    this.touch();
    if (this.id !== 0) this.sendEnd(NO_FIELDS);
  }

  close(_abortive: boolean): void {
    this.responder = null;
    if (this.id === 0) this.connection.dropWaiting(this);
    else this.connection.reset(this, H2_CANCEL);
  }

  // ---- From the connection ----------------------------------------------------------------------------

  /** Its connection takes it. */
  ready(): void {
    this.responder?.onBackendReady(this);
  }

  headComplete(): void {
    const { responder, connection } = this;
    assert(responder !== null, 'a response for nobody');
    this.touch();
    this.isAnswered = true;
    const { status } = responder.responseHead;
    if (status < 200) {
      if (++this.interims > INTERIM_MAX) this.fail(E_RESPONSE_MALFORMED);
      else responder.onBackendInterim();
      return;
    }
    connection.server.countAnswer(this.sinceMs - this.begunMs);
    if (this.isUpgrade && status === OK && !responder.asUpgrade()) this.fail(E_OVERLOAD);
    else responder.onBackendHead();
    if (this.remoteEnded && this.responder !== null) this.ended(NO_FIELDS);
  }

  /**
   * Content, in the buffer that is being received. The connection's window is given back at once, so that one slow
   * client does not stop the others; the stream's when the client takes it.
   */
  received(buffer: BufferId, offset: number, length: number): void {
    const { connection, responder } = this;
    const { engine } = connection;
    this.touch();
    this.heldBytes -= length;
    engine.giveBack(length);
    if (this.isPaused) this.withheldBytes += length;
    else engine.giveBackTo(this, length);
    if (responder === null) return;
    connection.context.reactor.pool.retain(buffer);
    responder.onBackendData(buffer, offset, length);
  }

  /** The backend has sent its end. */
  ended(trailers: FieldSection): void {
    if (this.tunnelOpen) this.responder?.onBackendTunnelEnd();
    else this.complete(trailers);
  }

  /** The response is complete. */
  private complete(trailers: FieldSection): void {
    const { responder } = this;
    this.responder = null;
    responder?.onBackendEnd(trailers);
    // What is left of the request is of no use to a backend that has answered (RFC 9113 §8.1).
    if (this.id !== 0 && !this.localEnded) this.connection.reset(this, H2_CANCEL);
  }

  /** The engine is done with it, by `code`: a fault of http/fault.ts. */
  failed(code: number): void {
    const { responder } = this;
    this.responder = null;
    if (responder === null) return;
    this.connection.server.countFailure(code);
    responder.onBackendFault(code);
  }

  /** It is given up for a fault of the backend. */
  fail(code: number): void {
    const { responder } = this;
    this.responder = null;
    if (this.id !== 0) this.connection.reset(this, H2_CANCEL);
    if (responder === null) return;
    this.connection.server.countFailure(code);
    responder.onBackendFault(code);
  }

  /** The fault that a lost connection is for it. */
  faultOfLoss(code: number): number {
    return this.isAnswered ? E_RESPONSE_TRUNCATED : code;
  }

  /** Whether nothing has come for too long while it is the backend that everybody waits for. */
  isOverdue(nowMs: number): boolean {
    const { responder } = this;
    const silentMs = nowMs - this.sinceMs;
    if (responder === null) return silentMs >= FLUSH_STALL_MS;
    if (this.tunnelOpen) {
      if (this.pendingBytes > 0) return silentMs >= responder.responseTimeoutMs;
      return responder.tunnelEnds && !this.isPaused && silentMs >= HALF_TUNNEL_IDLE_MS;
    }
    if (responder.awaitsBackend(this.pendingBytes) && !this.isPaused)
      return silentMs >= responder.responseTimeoutMs;
    this.sinceMs = nowMs;
    return false;
  }

  /** Its turn: a frame of content goes behind its header. */
  sendFrame(): void {
    const { engine, out } = this.connection;
    if (this.pieceLength === 0) this.nextPiece();
    const { piece, pieceOffset } = this;
    const length = Math.min(engine.grantOf(this), this.pieceLength);
    this.pieceOffset += length;
    this.pieceLength -= length;
    if (this.pieceLength > 0) this.connection.context.reactor.pool.retain(piece);
    else this.piece = NO_BUFFER;
    this.touch();
    engine.data(this, length);
    out.content(piece, pieceOffset, length);
    const { trailersDue } = this;
    if (trailersDue !== null && this.id !== 0 && this.pendingBytes === 0) {
      this.trailersDue = null;
      engine.trailers(this, trailersDue);
    }
    if (!this.wantsWritable || this.id === 0 || this.queuedBytes() >= SEND_LOW_BYTES) return;
    this.wantsWritable = false;
    this.responder?.onBackendWritable();
  }

  private nextPiece(): void {
    const { content } = this;
    assert(content?.shift() === true, 'content was granted that is not there');
    this.piece = content.buffer;
    this.pieceOffset = content.offset;
    this.pieceLength = content.length;
  }

  /** Everything that it holds goes home. */
  release(): void {
    this.content?.clear();
    if (this.piece !== NO_BUFFER) this.connection.context.reactor.pool.release(this.piece);
    this.piece = NO_BUFFER;
    this.pieceLength = 0;
    this.trailersDue = null;
  }
}

/** Host becomes `:authority`. False: memory is exhausted. */
function writeAuthority(
  line: RequestLine,
  exchange: Exchange,
  route: ProxyRoute,
  server: GroupServer,
): boolean {
  const host = route.hostValue(server);
  if (host === null) {
    line.authorityOffset = exchange.request.authorityOffset;
    line.authorityLength = exchange.request.authorityLength;
    return true;
  }
  const at = exchange.scratch.reserve(host.length);
  if (at < 0) return false;
  line.bytes.set(host.bytes, at);
  exchange.scratch.commit(host.length);
  line.authorityOffset = at;
  line.authorityLength = host.length;
  return true;
}

/** Path and query. False: memory is exhausted. */
function writePath(line: RequestLine, exchange: Exchange, server: GroupServer): boolean {
  const { request, scratch } = exchange;
  const lengthMax = server.basePath.length + exchange.pathLength + Math.max(0, request.queryLength) + 3;
  const at = scratch.reserve(lengthMax);
  if (at < 0) return false;
  let end = writeTarget(exchange.reactor.pool, at, at + lengthMax, exchange, server);
  if (end < 0) return false;
  // `:path` is never empty (RFC 9113 §8.3.1).
  if (line.bytes[at] !== SLASH) {
    line.bytes.copyWithin(at + 1, at, end);
    line.bytes[at] = SLASH;
    end++;
  }
  scratch.commit(end - at);
  line.pathOffset = at;
  line.pathLength = end - at;
  return true;
}
