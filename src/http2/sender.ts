/**
 * The sending half of a connection: heads and trailers as field blocks, DATA by the peer's windows and in the order of
 * the scheduler, and the control frames. Writes into the owner's output; content itself passes by it (the owner puts
 * it behind the header that is written here).
 */

import { assert } from '../base/assert.ts';
import {
  F_CONNECTION,
  F_CONTENT_LENGTH,
  F_HTTP2_SETTINGS,
  F_KEEP_ALIVE,
  F_PROXY_CONNECTION,
  F_REMOVED,
  F_TE,
  F_TRANSFER_ENCODING,
  F_UPGRADE,
  type FieldSection,
  idSet,
} from '../http/fields.ts';
import { M_CONNECT, M_GET, M_POST, SCHEME_HTTPS } from '../http/message.ts';
import {
  DEFAULT_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FRAME_HEADER_BYTES,
  T_CONTINUATION,
  T_DATA,
  T_HEADERS,
  WINDOW_BYTES_LIMIT,
} from './constants.ts';
import { type Http2Output, putFrameHeader, putPayload, SEND_FRAME_BYTES_MAX } from './frame-writer.ts';
import { BLOCK_START_BYTES_MAX, fieldBytesMax, HpackEncoder } from './hpack-encoder.ts';
import type { RequestLine } from './request-line.ts';
import { Scheduler } from './scheduler.ts';
import type { PeerSettings } from './settings.ts';
import {
  STATIC_METHOD_GET,
  STATIC_METHOD_POST,
  STATIC_PATH_ROOT,
  STATIC_SCHEME_HTTP,
  STATIC_SCHEME_HTTPS,
} from './static-table.ts';
import type { Http2Stream } from './stream.ts';
import type { Http2Workspace } from './workspace.ts';

/** Fields that HTTP/2 does not know (RFC 9113 §8.2.2): never sent, whoever left them in. */
const HOP_IDS = [
  F_CONNECTION,
  F_KEEP_ALIVE,
  F_PROXY_CONNECTION,
  F_TRANSFER_ENCODING,
  F_UPGRADE,
  F_HTTP2_SETTINGS,
  F_TE,
];
const [HOP_LOW, HOP_HIGH] = idSet(HOP_IDS);
/** `:status` and `content-length`, or `te` and `:protocol`'s name, beside the fields. */
const HEAD_EXTRA_BYTES = 64;
const SLASH = 0x2f;
const TE_LINE = Uint8Array.from('tetrailers:protocol', (character) => character.charCodeAt(0));
const TE_NAME = 2;
const TE_VALUE = 8;
const PROTOCOL_AT = 10;
const PROTOCOL_NAME = 9;

export class Http2Sender<S extends Http2Stream> {
  /** Memory for output was exhausted: the connection must end. */
  broken: boolean;
  /** Bytes that the connection may still send. */
  window: number;
  /** Since when content waits for the connection's window; -1: none does. */
  blockedSinceMs: number;
  /** Content bytes sent on all streams. */
  dataBytes: number;
  private readonly out: Http2Output;
  private readonly workspace: Http2Workspace;
  private readonly peer: PeerSettings;
  readonly encoder: HpackEncoder;
  private readonly scheduler: Scheduler;
  /** Where the block that is being written begins. */
  private blockAt: number;

  constructor(out: Http2Output, workspace: Http2Workspace, peer: PeerSettings) {
    this.broken = false;
    this.window = DEFAULT_WINDOW_BYTES;
    this.blockedSinceMs = -1;
    this.dataBytes = 0;
    this.out = out;
    this.workspace = workspace;
    this.peer = peer;
    this.encoder = new HpackEncoder();
    this.scheduler = new Scheduler();
    this.blockAt = 0;
  }

  // ---- Heads ----------------------------------------------------------------------------------------

  /** HEADERS of a response; `contentLength` is added where it is 0 or more and the fields have none. */
  response(stream: S, status: number, fields: FieldSection, contentLength: number, endStream: boolean): void {
    const block = this.blockFor(sectionBytesMax(fields) + HEAD_EXTRA_BYTES);
    const { encoder } = this;
    let at = encoder.begin(block, this.blockAt);
    at = encoder.status(block, at, status);
    at = this.fields(block, at, fields);
    if (contentLength >= 0 && fields.find(F_CONTENT_LENGTH, 0) < 0)
      at = encoder.contentLength(block, at, contentLength);
    this.headers(stream.id, block, at, endStream);
  }

  /** HEADERS of a request. */
  request(stream: S, line: RequestLine, fields: FieldSection, endStream: boolean): void {
    const lineBytes = line.methodLength + line.authorityLength + line.pathLength + line.protocolLength;
    const block = this.blockFor(sectionBytesMax(fields) + lineBytes + 2 * HEAD_EXTRA_BYTES);
    const { encoder } = this;
    const { bytes } = line;
    let at = encoder.begin(block, this.blockAt);
    if (line.methodId === M_GET) at = encoder.indexed(block, at, STATIC_METHOD_GET);
    else if (line.methodId === M_POST) at = encoder.indexed(block, at, STATIC_METHOD_POST);
    else at = encoder.named(block, at, STATIC_METHOD_GET, bytes, line.methodOffset, line.methodLength);
    if (line.methodId !== M_CONNECT || line.protocolLength > 0) {
      const scheme = line.scheme === SCHEME_HTTPS ? STATIC_SCHEME_HTTPS : STATIC_SCHEME_HTTP;
      at = encoder.indexed(block, at, scheme);
      if (line.pathLength === 1 && bytes[line.pathOffset] === SLASH)
        at = encoder.indexed(block, at, STATIC_PATH_ROOT);
      else at = encoder.named(block, at, STATIC_PATH_ROOT, bytes, line.pathOffset, line.pathLength);
    }
    at = encoder.authority(block, at, bytes, line.authorityOffset, line.authorityLength);
    if (line.protocolLength > 0)
      at = encoder.pseudo(
        block,
        at,
        TE_LINE,
        PROTOCOL_AT,
        PROTOCOL_NAME,
        bytes,
        line.protocolOffset,
        line.protocolLength,
      );
    at = this.fields(block, at, fields);
    if (line.acceptsTrailers) at = encoder.field(block, at, F_TE, TE_LINE, 0, TE_NAME, TE_NAME, TE_VALUE);
    this.headers(stream.id, block, at, endStream);
  }

  /** HEADERS that end a stream. */
  trailers(stream: S, fields: FieldSection): void {
    const block = this.blockFor(sectionBytesMax(fields));
    const at = this.fields(block, this.encoder.begin(block, this.blockAt), fields);
    this.headers(stream.id, block, at, true);
  }

  private fields(block: Uint8Array, from: number, fields: FieldSection): number {
    const { encoder } = this;
    const { bytes } = fields;
    const mayHop = fields.hasAnyOf(HOP_LOW, HOP_HIGH);
    let at = from;
    for (let index = 0; index < fields.count; index++) {
      const id = fields.id(index);
      if (id === F_REMOVED || (mayHop && HOP_IDS.includes(id))) continue;
      at = encoder.field(
        block,
        at,
        id,
        bytes,
        fields.nameOffset(index),
        fields.nameLength(index),
        fields.valueOffset(index),
        fields.valueLength(index),
      );
    }
    return at;
  }

  /**
   * Where a block of at most `bytes` is to be written, from `blockAt` on: where it leaves from, behind room for its frame's
   * header; or apart, where there is not so much room, or it may need several frames.
   */
  private blockFor(bytes: number): Uint8Array {
    const { out } = this;
    const needed = bytes + BLOCK_START_BYTES_MAX;
    if (needed <= DEFAULT_FRAME_BYTES && out.limit - out.at >= FRAME_HEADER_BYTES + needed) {
      this.blockAt = out.at + FRAME_HEADER_BYTES;
      return out.bytes;
    }
    this.blockAt = 0;
    return this.workspace.blockFor(bytes);
  }

  /** A block that ends at `end`, as one HEADERS frame, and CONTINUATION frames where the peer's frames are too small. */
  private headers(id: number, block: Uint8Array, end: number, endStream: boolean): void {
    const frameBytesMax = this.peer.maxFrameSize;
    let type = T_HEADERS;
    let flags = endStream ? FLAG_END_STREAM : 0;
    if (block === this.out.bytes) {
      putFrameHeader(this.out, end - this.blockAt, T_HEADERS, flags | FLAG_END_HEADERS, id, 0);
      this.out.at = end;
      return;
    }
    const length = end;
    let at = 0;
    do {
      const taken = Math.min(length - at, frameBytesMax);
      if (at + taken === length) flags |= FLAG_END_HEADERS;
      if (!putFrameHeader(this.out, taken, type, flags, id, 0) || !putPayload(this.out, block, at, taken)) {
        this.broken = true;
        return;
      }
      at += taken;
      type = T_CONTINUATION;
      flags = 0;
    } while (at < length);
  }

  // ---- Content --------------------------------------------------------------------------------------

  /** More content of a stream is ready, or its window has changed. */
  schedule(stream: S, nowMs: number): void {
    if (stream.pendingBytes > 0 && stream.sendWindow > 0) {
      stream.blockedSinceMs = -1;
      this.scheduler.add(stream);
      if (this.window <= 0 && this.blockedSinceMs < 0) this.blockedSinceMs = nowMs;
      return;
    }
    this.scheduler.remove(stream);
    if (stream.pendingBytes === 0) stream.blockedSinceMs = -1;
    else if (stream.blockedSinceMs < 0) stream.blockedSinceMs = nowMs;
  }

  reprioritize(stream: S): void {
    this.scheduler.move(stream);
  }

  forget(stream: S): void {
    this.scheduler.remove(stream);
  }

  /** The stream whose content is to be sent next, or null while none may be. */
  next(): S | null {
    if (this.window <= 0) return null;
    return this.scheduler.first() as S | null;
  }

  /** Bytes of content that `stream` may send in one frame. */
  grantOf(stream: S): number {
    const allowed = Math.min(stream.pendingBytes, stream.sendWindow, this.window);
    return Math.min(allowed, this.peer.maxFrameSize, SEND_FRAME_BYTES_MAX);
  }

  /** Writes the header of a DATA frame of `length` bytes, which the owner puts behind it. */
  data(stream: S, length: number, nowMs: number): void {
    assert(length <= this.grantOf(stream), 'more content than was granted');
    stream.pendingBytes -= length;
    stream.sendWindow -= length;
    this.window -= length;
    this.dataBytes += length;
    const ends = stream.finishing && stream.pendingBytes === 0;
    if (ends) stream.localEnded = true;
    if (!putFrameHeader(this.out, length, T_DATA, ends ? FLAG_END_STREAM : 0, stream.id, 0))
      this.broken = true;
    this.scheduler.sent(stream, length);
    if (stream.pendingBytes === 0 || stream.sendWindow <= 0) this.schedule(stream, nowMs);
    if (this.window <= 0 && !this.scheduler.isEmpty && this.blockedSinceMs < 0) this.blockedSinceMs = nowMs;
  }

  /** An empty DATA frame that ends the stream. */
  end(stream: S): void {
    stream.localEnded = true;
    if (!putFrameHeader(this.out, 0, T_DATA, FLAG_END_STREAM, stream.id, 0)) this.broken = true;
  }

  // ---- Windows --------------------------------------------------------------------------------------

  /** A WINDOW_UPDATE of the connection; false: it overflows. */
  widen(increment: number): boolean {
    if (this.window > WINDOW_BYTES_LIMIT - increment) return false;
    this.window += increment;
    if (this.window > 0) this.blockedSinceMs = -1;
    return true;
  }

  /** A WINDOW_UPDATE of a stream, or what a change of the initial window does to it; false: it overflows. */
  widenStream(stream: S, increment: number, nowMs: number): boolean {
    if (stream.sendWindow > WINDOW_BYTES_LIMIT - increment) return false;
    stream.sendWindow += increment;
    this.schedule(stream, nowMs);
    return true;
  }
}

/** Most bytes that a section takes in a block. */
function sectionBytesMax(fields: FieldSection): number {
  let bytes = 0;
  for (let index = 0; index < fields.count; index++)
    bytes += fieldBytesMax(fields.nameLength(index), fields.valueLength(index));
  return bytes;
}
