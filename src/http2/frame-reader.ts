/**
 * From bytes to frames (RFC 9113 §4.1, §6), however the bytes are cut: headers are checked as soon as they are there; the
 * content of DATA is pointed out where it lies, piece by piece; other payloads are pointed out whole, gathered only
 * where they come in several pieces. What a frame means is the engine's.
 */

import {
  DEFAULT_FRAME_BYTES,
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_PADDED,
  FRAME_HEADER_BYTES,
  H2_FRAME_SIZE_ERROR,
  H2_NO_ERROR,
  H2_PROTOCOL_ERROR,
  PREFACE,
  SETTING_BYTES,
  T_CONTINUATION,
  T_DATA,
  T_GOAWAY,
  T_HEADERS,
  T_PING,
  T_PRIORITY,
  T_PRIORITY_UPDATE,
  T_PUSH_PROMISE,
  T_RST_STREAM,
  T_SETTINGS,
  T_WINDOW_UPDATE,
} from './constants.ts';

/** All input is used and more is needed. */
export const R_NEED_MORE = 0;
/** A frame's header is complete and may stand where it does. Of DATA, `length` bytes follow, padding included. */
export const R_BEGIN = 1;
/** A frame other than DATA is complete. Its payload, where its type is known: `payload[payloadOffset … + length)`. */
export const R_FRAME = 2;
/** `dataOffset` and `dataLength` tell of content of a DATA frame, in the input. */
export const R_DATA = 3;
/** A DATA frame is complete. */
export const R_DATA_END = 4;
/** `error` is the code of a connection error. */
export const R_ERROR = 5;

// States.
/** A client's preface; left when it is complete. */
const S_PREFACE = 0;
const S_HEADER = 1;
/** R_BEGIN was told: the payload begins. */
const S_BEGUN = 2;
const S_GATHER = 3;
const S_SKIP = 4;
const S_DATA = 5;
const S_PADDING = 6;

const GATHER_BYTES_FIRST = 256;
/** Gathered payloads beyond this much give their memory back when they are used. */
const GATHER_BYTES_KEPT = 2048;

export class FrameReader {
  // The frame at hand.
  length: number;
  type: number;
  flags: number;
  streamId: number;
  /** Bytes of padding and of its length, of a DATA frame; known with its first R_DATA or R_DATA_END. */
  paddingBytes: number;
  // Results of `next`.
  /** Bytes of the input that are used. */
  consumed: number;
  payload: Uint8Array;
  payloadOffset: number;
  dataOffset: number;
  dataLength: number;
  error: number;

  private readonly isServer: boolean;
  private readonly frameBytesMax: number;
  private state: number;
  /** Bytes of the preface, the header or a payload that were seen. */
  private seen: number;
  private readonly header: Uint8Array;
  private gathered: Uint8Array;
  /** Content or padding that is still to come. */
  private left: number;
  /** The stream whose field block goes on in CONTINUATION frames, or 0. */
  private continuing: number;
  private first: boolean;

  constructor(isServer: boolean, frameBytesMax: number) {
    this.length = 0;
    this.type = 0;
    this.flags = 0;
    this.streamId = 0;
    this.paddingBytes = 0;
    this.consumed = 0;
    this.payload = NO_BYTES;
    this.payloadOffset = 0;
    this.dataOffset = 0;
    this.dataLength = 0;
    this.error = H2_NO_ERROR;
    this.isServer = isServer;
    this.frameBytesMax = Math.max(frameBytesMax, DEFAULT_FRAME_BYTES);
    this.state = isServer ? S_PREFACE : S_HEADER;
    this.seen = 0;
    this.header = new Uint8Array(FRAME_HEADER_BYTES);
    this.gathered = NO_BYTES;
    this.left = 0;
    this.continuing = 0;
    this.first = true;
  }

  /** Reads on from `bytes[offset … end)`. One of the R_ numbers; `consumed` says how far it came. */
  next(bytes: Uint8Array, offset: number, end: number): number {
    let at = offset;
    if (this.state === S_PREFACE) {
      at = this.readPreface(bytes, at, end);
      if (at < 0) return this.fault(H2_PROTOCOL_ERROR);
      this.consumed = at - offset;
      if (at === end) return R_NEED_MORE;
    }
    if (this.state === S_HEADER) {
      at = this.readHeader(bytes, at, end);
      if (this.state === S_HEADER) {
        this.consumed = at - offset;
        return R_NEED_MORE;
      }
      this.consumed = at - offset;
      const error = this.headerError();
      return error === H2_NO_ERROR ? R_BEGIN : this.fault(error);
    }
    if (this.state === S_BEGUN && !this.enterPayload(bytes, at, end)) {
      this.consumed = at - offset;
      return this.error === H2_NO_ERROR ? R_NEED_MORE : R_ERROR;
    }
    return this.readPayload(bytes, offset, at, end);
  }

  private fault(error: number): number {
    this.error = error;
    return R_ERROR;
  }

  /** Position after what belongs to the preface, or -1. */
  private readPreface(bytes: Uint8Array, offset: number, end: number): number {
    let at = offset;
    while (at < end && this.seen < PREFACE.length) {
      if (bytes[at++] !== PREFACE[this.seen++]) return -1;
    }
    if (this.seen === PREFACE.length) {
      this.seen = 0;
      this.state = S_HEADER;
    }
    return at;
  }

  /** Position after what belongs to the header; the state has changed when it is complete. */
  private readHeader(bytes: Uint8Array, offset: number, end: number): number {
    if (this.seen === 0 && end - offset >= FRAME_HEADER_BYTES) {
      this.takeHeader(bytes, offset);
      return offset + FRAME_HEADER_BYTES;
    }
    let at = offset;
    while (at < end && this.seen < FRAME_HEADER_BYTES) this.header[this.seen++] = bytes[at++];
    if (this.seen === FRAME_HEADER_BYTES) this.takeHeader(this.header, 0);
    return at;
  }

  private takeHeader(bytes: Uint8Array, at: number): void {
    this.length = (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2];
    this.type = bytes[at + 3];
    this.flags = bytes[at + 4];
    this.streamId =
      ((bytes[at + 5] & 0x7f) << 24) | (bytes[at + 6] << 16) | (bytes[at + 7] << 8) | bytes[at + 8];
    this.paddingBytes = 0;
    this.seen = 0;
    this.state = S_BEGUN;
  }

  /** What is wrong with a header by itself or where it stands, as the code of a connection error; else H2_NO_ERROR. */
  private headerError(): number {
    const { length, type, flags, streamId } = this;
    if (length > this.frameBytesMax) return H2_FRAME_SIZE_ERROR;
    if (this.first) {
      // The first frame of each side is its SETTINGS (RFC 9113 §3.4).
      if (type !== T_SETTINGS || (flags & FLAG_ACK) !== 0) return H2_PROTOCOL_ERROR;
      this.first = false;
    }
    if (this.continuing !== 0) {
      if (type !== T_CONTINUATION || streamId !== this.continuing) return H2_PROTOCOL_ERROR;
      if ((flags & FLAG_END_HEADERS) !== 0) this.continuing = 0;
      return H2_NO_ERROR;
    }
    if (type === T_HEADERS && (flags & FLAG_END_HEADERS) === 0) this.continuing = streamId;
    return frameError(type, length, flags, streamId, this.isServer);
  }

  /** Whether the payload can be read: a DATA frame's padding must be known. Sets `error` where it can't be. */
  private enterPayload(bytes: Uint8Array, at: number, end: number): boolean {
    if (this.type === T_DATA) {
      if ((this.flags & FLAG_PADDED) !== 0) {
        if (this.length === 0) return this.refuse(H2_FRAME_SIZE_ERROR);
        if (at === end) return false;
        const padding = bytes[at];
        if (padding >= this.length) return this.refuse(H2_PROTOCOL_ERROR);
        this.paddingBytes = padding + 1;
      }
      this.left = this.length - this.paddingBytes;
      this.state = S_DATA;
    } else {
      this.state = isKnown(this.type) ? S_GATHER : S_SKIP;
      this.left = this.length;
    }
    return true;
  }

  private refuse(error: number): false {
    this.error = error;
    return false;
  }

  private readPayload(bytes: Uint8Array, offset: number, from: number, end: number): number {
    // The byte that says how much padding there is was looked at, and is passed by here.
    const at = this.state === S_DATA && this.paddingBytes > 0 && this.seen === 0 ? from + 1 : from;
    switch (this.state) {
      case S_GATHER:
        return this.gather(bytes, offset, at, end);
      case S_DATA:
        this.seen = 1;
        return this.readData(offset, at, end);
      default:
        return this.skip(offset, at, end);
    }
  }

  private readData(offset: number, at: number, end: number): number {
    if (this.left > 0) {
      const taken = Math.min(this.left, end - at);
      this.consumed = at + taken - offset;
      if (taken === 0) return R_NEED_MORE;
      this.left -= taken;
      this.dataOffset = at;
      this.dataLength = taken;
      return R_DATA;
    }
    this.left = Math.max(0, this.paddingBytes - 1);
    this.state = S_PADDING;
    return this.skip(offset, at, end);
  }

  /** Padding, or a payload of an unknown type. */
  private skip(offset: number, at: number, end: number): number {
    const taken = Math.min(this.left, end - at);
    this.left -= taken;
    this.consumed = at + taken - offset;
    if (this.left > 0) return R_NEED_MORE;
    const ended = this.state === S_PADDING;
    this.toHeader();
    return ended ? R_DATA_END : R_FRAME;
  }

  private toHeader(): void {
    this.state = S_HEADER;
    this.seen = 0;
  }

  private gather(bytes: Uint8Array, offset: number, at: number, end: number): number {
    const missing = this.length - this.seen;
    if (this.seen === 0 && end - at >= missing) {
      this.payload = bytes;
      this.payloadOffset = at;
      this.consumed = at + missing - offset;
      this.toHeader();
      return R_FRAME;
    }
    const taken = Math.min(missing, end - at);
    this.growGathered(this.seen + taken);
    for (let index = 0; index < taken; index++) this.gathered[this.seen + index] = bytes[at + index];
    this.seen += taken;
    this.consumed = at + taken - offset;
    if (this.seen < this.length) return R_NEED_MORE;
    this.payload = this.gathered;
    this.payloadOffset = 0;
    if (this.gathered.length > GATHER_BYTES_KEPT) this.gathered = NO_BYTES;
    this.toHeader();
    return R_FRAME;
  }

  /** Grows with what has come, not with what a header announces. */
  private growGathered(bytes: number): void {
    if (bytes <= this.gathered.length) return;
    let capacity = Math.max(GATHER_BYTES_FIRST, this.gathered.length);
    while (capacity < bytes) capacity *= 2;
    const grown = new Uint8Array(capacity);
    grown.set(this.gathered);
    this.gathered = grown;
  }
}

const NO_BYTES = new Uint8Array(0);

/** Whether a frame of this type is acted upon. */
export function isKnown(type: number): boolean {
  return type <= T_CONTINUATION || type === T_PRIORITY_UPDATE;
}

/** What RFC 9113 §6 says of a frame's length and stream, as the code of a connection error; else H2_NO_ERROR. */
function frameError(
  type: number,
  length: number,
  flags: number,
  streamId: number,
  isServer: boolean,
): number {
  switch (type) {
    case T_DATA:
    case T_HEADERS:
    case T_PRIORITY:
      return streamId === 0 ? H2_PROTOCOL_ERROR : H2_NO_ERROR;
    case T_RST_STREAM:
      if (streamId === 0) return H2_PROTOCOL_ERROR;
      return length === 4 ? H2_NO_ERROR : H2_FRAME_SIZE_ERROR;
    case T_SETTINGS:
      if (streamId !== 0) return H2_PROTOCOL_ERROR;
      if ((flags & FLAG_ACK) !== 0) return length === 0 ? H2_NO_ERROR : H2_FRAME_SIZE_ERROR;
      return length % SETTING_BYTES === 0 ? H2_NO_ERROR : H2_FRAME_SIZE_ERROR;
    case T_PING:
      if (streamId !== 0) return H2_PROTOCOL_ERROR;
      return length === 8 ? H2_NO_ERROR : H2_FRAME_SIZE_ERROR;
    case T_GOAWAY:
      if (streamId !== 0) return H2_PROTOCOL_ERROR;
      return length >= 8 ? H2_NO_ERROR : H2_FRAME_SIZE_ERROR;
    case T_WINDOW_UPDATE:
      return length === 4 ? H2_NO_ERROR : H2_FRAME_SIZE_ERROR;
    case T_PRIORITY_UPDATE:
      // A client's frame only (RFC 9218 §7.1).
      if (!isServer || streamId !== 0) return H2_PROTOCOL_ERROR;
      return length >= 4 ? H2_NO_ERROR : H2_FRAME_SIZE_ERROR;
    case T_PUSH_PROMISE:
    // Nobody has been offered it: a client says ENABLE_PUSH 0, and a server takes none (§8.4).
    case T_CONTINUATION:
      // Without a field block that it goes on with (§6.10).
      return H2_PROTOCOL_ERROR;
    default:
      return H2_NO_ERROR;
  }
}
