/**
 * Content as HTTP/1.x frames it (RFC 9112 §6, §7): by length, chunked with trailers, or until the end of
 * the connection. Content is pointed out where it lies in the input; nothing is copied but trailers.
 *
 * Strict: no blanks around a chunk size or in an extension (RFC 9110 §5.6.3 calls them bad, and readers of
 * chunk lines differ on them), no bare CR or LF, no sign, no `0x`. Extensions are checked and dropped.
 * Of trailers those are kept that don't bear on framing, routing, authentication or the reading of the
 * content (RFC 9110 §6.5.1).
 */

import { assert } from '../base/assert.ts';
import { hexValue } from '../base/bytes.ts';
import {
  BACKSLASH,
  CHAR_CLASS,
  CR,
  DQUOTE,
  EQUALS,
  LF,
  QDTEXT,
  SEMICOLON,
  TCHAR,
  VALUE,
} from '../http/char-class.ts';
import { LENGTH_MAX } from '../http/content-length.ts';
import {
  E_BARE_CR,
  E_BARE_LF,
  E_CHUNK,
  E_CHUNK_EXTENSION,
  E_TOO_MANY_FIELDS,
  E_TRAILER,
  NEED_MORE,
} from '../http/fault.ts';
import { F_ETAG, F_OTHER, FieldSection } from '../http/fields.ts';
import { BODY_LENGTH, BODY_STREAM, BODY_UNTIL_CLOSE } from '../http/message.ts';
import { isForbiddenTrailer, isFraming } from '../http/trailer-names.ts';
import { acceptUnderscored, F_UNDERSCORED, takeFieldLine } from './field-line.ts';

/** All input is used and more is needed. */
export const B_NEED_MORE = 0;
/** `dataOffset` and `dataLength` tell of content. */
export const B_DATA = 1;
/** The content (and its trailers) is complete; `consumed` bytes of this input were its last. */
export const B_END = 2;

/** Hexadecimal digits of a chunk size, leading zeros included; 2^53-1 has 14. */
const SIZE_DIGITS_MAX = 16;
/** Extension bytes in one chunk's line, and in all of a body. Nobody uses them; our own choice. */
export const EXTENSION_BYTES_MAX = 256;
export const EXTENSION_BYTES_TOTAL_MAX = 4096;
/** Bytes of the trailer section with its last CRLF, and its fields. Our own choice. */
export const TRAILER_BYTES_MAX = 8192;
export const TRAILER_FIELDS_MAX = 64;

// States. Those up to S_LAST_LF read one byte at a time.
/** Expects the first digit of a chunk size. Entered at the start of a chunked body. */
const S_SIZE_FIRST = 0;
const S_SIZE = 1;
/** The LF that ends a chunk's line. Leads to S_CONTENT or, for the last chunk, to S_TRAILER_FIRST. */
const S_SIZE_LF = 2;
const S_EXTENSION_NAME_FIRST = 3;
const S_EXTENSION_NAME = 4;
const S_EXTENSION_VALUE_FIRST = 5;
const S_EXTENSION_VALUE = 6;
const S_QUOTED = 7;
const S_QUOTED_PAIR = 8;
const S_QUOTED_END = 9;
/** The CRLF after a chunk's content; then S_SIZE_FIRST. */
const S_CONTENT_CR = 10;
const S_CONTENT_LF = 11;
/** The first byte after the last chunk's line: a trailer, or the last CRLF. */
const S_TRAILER_FIRST = 12;
/** The LF that ends a body without trailers; then S_END. */
const S_LAST_LF = 13;
/** In the trailer section. */
const S_TRAILERS = 14;
/** `remaining` bytes of content. */
const S_CONTENT = 15;
const S_UNTIL_CLOSE = 16;
const S_END = 17;

/** What `trailers` is while there are none. Never written to. */
const NO_TRAILERS = new FieldSection(new Uint8Array(0));

export class BodyDecoder {
  /** After B_DATA: where the content lies in the input. */
  dataOffset: number;
  dataLength: number;
  /** Bytes of the input that the last `decode` has used, framing included. */
  consumed: number;
  /** Content bytes delivered since `start`. */
  dataBytes: number;
  /** After B_END: the trailers that may be passed on, in memory of their own, valid until the next `start`. */
  trailers: FieldSection;
  private state: number;
  private chunked: boolean;
  /** S_SIZE…: the chunk's size so far. S_CONTENT: bytes still to come. */
  private remaining: number;
  private sizeDigits: number;
  private extensionBytes: number;
  private extensionBytesTotal: number;
  /** Bytes of the trailer section that have come, and where its unfinished line begins. */
  private trailerBytes: number;
  private trailerLineAt: number;
  private trailerLines: number;

  constructor() {
    this.dataOffset = 0;
    this.dataLength = 0;
    this.consumed = 0;
    this.dataBytes = 0;
    this.trailers = NO_TRAILERS;
    this.state = S_END;
    this.chunked = false;
    this.remaining = 0;
    this.sizeDigits = 0;
    this.extensionBytes = 0;
    this.extensionBytesTotal = 0;
    this.trailerBytes = 0;
    this.trailerLineAt = 0;
    this.trailerLines = 0;
  }

  /** Begins a body. `contentLength` counts for BODY_LENGTH only. */
  start(bodyKind: number, contentLength: number): void {
    this.dataLength = 0;
    this.consumed = 0;
    this.dataBytes = 0;
    this.trailers = NO_TRAILERS;
    this.chunked = bodyKind === BODY_STREAM;
    this.remaining = bodyKind === BODY_LENGTH ? contentLength : 0;
    this.sizeDigits = 0;
    this.extensionBytes = 0;
    this.extensionBytesTotal = 0;
    this.trailerBytes = 0;
    this.trailerLineAt = 0;
    this.trailerLines = 0;
    if (bodyKind === BODY_STREAM) this.state = S_SIZE_FIRST;
    else if (bodyKind === BODY_LENGTH && contentLength > 0) this.state = S_CONTENT;
    else if (bodyKind === BODY_UNTIL_CLOSE) this.state = S_UNTIL_CLOSE;
    else this.state = S_END;
  }

  /**
   * Reads on in `bytes` from `offset` to `end`. Returns B_DATA, B_END, B_NEED_MORE, or a fault. After B_DATA
   * the caller goes on from `offset + consumed`, even where that is `end`: the body may be complete.
   */
  decode(bytes: Uint8Array, offset: number, end: number): number {
    let at = offset;
    if (this.state < S_TRAILERS) {
      at = this.readFraming(bytes, at, end);
      if (at < 0) return at;
    }
    if (this.state === S_TRAILERS) {
      at = this.readTrailers(bytes, at, end);
      if (at < 0) return at;
    }
    this.consumed = at - offset;
    if (this.state === S_END) return B_END;
    if (at === end) return B_NEED_MORE;
    return this.takeContent(at, end, offset);
  }

  /** The connection has ended: whether that completes the body (else it is cut short). */
  finish(): boolean {
    if (this.state === S_UNTIL_CLOSE) this.state = S_END;
    return this.state === S_END;
  }

  /** Whether the whole body has been decoded. For a body of a length, true already at its last byte. */
  get ended(): boolean {
    return this.state === S_END;
  }

  /** Content bytes still to come where that is known (a length, or the current chunk), else 0. */
  get remainingBytes(): number {
    return this.state === S_CONTENT ? this.remaining : 0;
  }

  /** Content bytes of a body of known length went by another way. */
  skip(length: number): void {
    assert(
      this.state === S_CONTENT && !this.chunked && length <= this.remaining,
      'content skipped that is not due',
    );
    this.remaining -= length;
    this.dataBytes += length;
    if (this.remaining === 0) this.state = S_END;
  }

  /** Content bytes delivered, and those still to come of what has been declared: the length, or the chunk at hand. */
  get announcedBytes(): number {
    return this.dataBytes + this.remaining;
  }

  private takeContent(at: number, end: number, offset: number): number {
    let length = end - at;
    if (this.state === S_CONTENT) {
      if (length > this.remaining) length = this.remaining;
      this.remaining -= length;
      if (this.remaining === 0) this.state = this.chunked ? S_CONTENT_CR : S_END;
    }
    this.dataOffset = at;
    this.dataLength = length;
    this.dataBytes += length;
    this.consumed = at + length - offset;
    return B_DATA;
  }

  /** Reads what is not content, byte by byte, until content, trailers, the end, or the input's end. Position, or a fault. */
  private readFraming(bytes: Uint8Array, offset: number, end: number): number {
    let at = offset;
    while (at < end) {
      const byte = bytes[at];
      const state = this.state;
      if (state === S_TRAILER_FIRST && byte !== CR) {
        this.beginTrailers();
        return at;
      }
      at++;
      const next =
        state >= S_EXTENSION_NAME_FIRST && state <= S_QUOTED_END
          ? this.nextInExtension(state, byte)
          : this.nextInFraming(state, byte);
      if (next < 0) return next;
      this.state = next;
      if (next >= S_TRAILERS) return at;
    }
    return at;
  }

  /** The state after `byte` outside an extension, or a fault. */
  private nextInFraming(state: number, byte: number): number {
    switch (state) {
      case S_SIZE_FIRST:
        this.remaining = 0;
        this.sizeDigits = 0;
        this.extensionBytes = 0;
        return this.addSizeDigit(byte);
      case S_SIZE:
        if (byte === CR) return S_SIZE_LF;
        if (byte === SEMICOLON) return this.countExtensionByte(S_EXTENSION_NAME_FIRST);
        return this.addSizeDigit(byte);
      case S_SIZE_LF:
        if (byte !== LF) return E_BARE_CR;
        return this.remaining === 0 ? S_TRAILER_FIRST : S_CONTENT;
      case S_CONTENT_CR:
        return byte === CR ? S_CONTENT_LF : E_CHUNK;
      case S_CONTENT_LF:
        return byte === LF ? S_SIZE_FIRST : E_CHUNK;
      case S_TRAILER_FIRST:
        return S_LAST_LF;
      default:
        return byte === LF ? S_END : E_BARE_CR;
    }
  }

  private addSizeDigit(byte: number): number {
    const digit = hexValue(byte);
    if (digit < 0) return byte === LF ? E_BARE_LF : E_CHUNK;
    if (++this.sizeDigits > SIZE_DIGITS_MAX) return E_CHUNK;
    this.remaining = this.remaining * 16 + digit;
    return this.remaining > LENGTH_MAX ? E_CHUNK : S_SIZE;
  }

  /** `;name`, `;name=token`, `;name="quoted"` (RFC 9112 §7.1.1). The state after `byte`, or a fault. */
  private nextInExtension(state: number, byte: number): number {
    if (byte === LF) return E_BARE_LF;
    const isToken = (CHAR_CLASS[byte] & TCHAR) !== 0;
    switch (state) {
      case S_EXTENSION_NAME_FIRST:
        return isToken ? this.countExtensionByte(S_EXTENSION_NAME) : E_CHUNK_EXTENSION;
      case S_EXTENSION_VALUE_FIRST:
        if (byte === DQUOTE) return this.countExtensionByte(S_QUOTED);
        return isToken ? this.countExtensionByte(S_EXTENSION_VALUE) : E_CHUNK_EXTENSION;
      case S_QUOTED:
        if (byte === DQUOTE) return this.countExtensionByte(S_QUOTED_END);
        if (byte === BACKSLASH) return this.countExtensionByte(S_QUOTED_PAIR);
        return (CHAR_CLASS[byte] & QDTEXT) !== 0 ? this.countExtensionByte(S_QUOTED) : E_CHUNK_EXTENSION;
      case S_QUOTED_PAIR:
        return (CHAR_CLASS[byte] & VALUE) !== 0 ? this.countExtensionByte(S_QUOTED) : E_CHUNK_EXTENSION;
      default:
        return this.nextAfterExtensionPart(state, byte, isToken);
    }
  }

  /** In a name or a token value, or after a quoted one: it goes on, or the next part begins, or the line ends. */
  private nextAfterExtensionPart(state: number, byte: number, isToken: boolean): number {
    if (byte === CR) return S_SIZE_LF;
    if (byte === SEMICOLON) return this.countExtensionByte(S_EXTENSION_NAME_FIRST);
    if (isToken && state !== S_QUOTED_END) return this.countExtensionByte(state);
    if (byte === EQUALS && state === S_EXTENSION_NAME) {
      return this.countExtensionByte(S_EXTENSION_VALUE_FIRST);
    }
    return E_CHUNK_EXTENSION;
  }

  private countExtensionByte(next: number): number {
    if (++this.extensionBytes > EXTENSION_BYTES_MAX) return E_CHUNK_EXTENSION;
    return ++this.extensionBytesTotal > EXTENSION_BYTES_TOTAL_MAX ? E_CHUNK_EXTENSION : next;
  }

  /** Trailers are rare: their memory is made when they come, and let go at the next body. */
  private beginTrailers(): void {
    this.trailers = new FieldSection(new Uint8Array(TRAILER_BYTES_MAX));
    this.state = S_TRAILERS;
  }

  /** Gathers the trailer section and takes its complete lines. Position after what belongs to it, or a fault. */
  private readTrailers(bytes: Uint8Array, offset: number, end: number): number {
    const fields = this.trailers;
    const had = this.trailerBytes;
    const room = TRAILER_BYTES_MAX - had;
    const added = Math.min(end - offset, room);
    for (let index = 0; index < added; index++) fields.bytes[had + index] = bytes[offset + index];
    const stop = had + added;
    this.trailerBytes = stop;
    for (;;) {
      const lineEnd = this.takeTrailerLine(fields, this.trailerLineAt, stop);
      if (lineEnd < 0) return lineEnd;
      if (lineEnd === NEED_MORE) return stop === TRAILER_BYTES_MAX ? E_TRAILER : offset + added;
      this.trailerLineAt = lineEnd;
      if (this.state === S_END) return offset + lineEnd - had;
    }
  }

  /** One line of the trailer section. Position after it (S_END when it was the empty one), NEED_MORE, or a fault. */
  private takeTrailerLine(fields: FieldSection, at: number, stop: number): number {
    if (at === stop) return NEED_MORE;
    const bytes = fields.bytes;
    if (bytes[at] === CR) {
      if (at + 1 === stop) return NEED_MORE;
      if (bytes[at + 1] !== LF) return E_BARE_CR;
      this.state = S_END;
      return at + 2;
    }
    if (this.trailerLines === TRAILER_FIELDS_MAX) return E_TOO_MANY_FIELDS;
    const next = takeFieldLine(fields, bytes, at, stop);
    if (next <= 0) return next;
    this.trailerLines++;
    const index = fields.count - 1;
    const id = fields.id(index);
    if (isFraming(id)) return E_TRAILER;
    if (id === F_UNDERSCORED) acceptUnderscored(fields, index);
    const known = id !== F_OTHER && id !== F_UNDERSCORED && id !== F_ETAG;
    if (known || isForbiddenTrailer(bytes, fields.nameOffset(index), fields.nameLength(index))) {
      fields.remove(index);
    }
    return next;
  }
}
