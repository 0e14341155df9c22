/**
 * The head of an HTTP/1.x request (RFC 9112 §2, §3, §5, §6; RFC 9110 §7): incremental, strict, without
 * allocation. Fills a RequestHead with positions in the bytes that it is given; reads nothing after a fault.
 *
 * Incremental by lines: what is complete is never looked at again, the unfinished line is looked at again
 * from its start when more has come. A fault is reported at its first byte for the syntax of a line, at the
 * line's end for what a field means, and at the head's end for what is missing; where the input was split
 * changes nothing.
 */

import { assert } from '../base/assert.ts';
import { asciiBytes, equalsIgnoreCase, viewOf } from '../base/bytes.ts';
import { hostLengthOf } from '../http/authority.ts';
import { CHAR_CLASS, COMMA, CR, HTAB, LF, SP, TCHAR } from '../http/char-class.ts';
import { contentLengthOf } from '../http/content-length.ts';
import {
  E_BARE_CR,
  E_BARE_LF,
  E_CODING_HTTP10,
  E_CODING_UNKNOWN,
  E_EXPECT,
  E_FIELD_VALUE,
  E_HEAD_TOO_LARGE,
  E_HOST_INVALID,
  E_HOST_MISSING,
  E_HOST_REPEATED,
  E_LENGTH_AND_CODING,
  E_LENGTH_INVALID,
  E_LENGTH_REPEATED,
  E_METHOD,
  E_METHOD_REFUSED,
  E_REQUEST_LINE,
  E_TARGET_TOO_LONG,
  E_TOO_MANY_FIELDS,
  E_UPGRADE,
  E_VERSION,
  E_VERSION_UNSUPPORTED,
  NEED_MORE,
} from '../http/fault.ts';
import { aliasesTrusted } from '../http/field-names.ts';
import {
  F_CONNECTION,
  F_CONTENT_LENGTH,
  F_EXPECT,
  F_HOST,
  F_OTHER,
  F_TE,
  F_TRANSFER_ENCODING,
  F_UPGRADE,
  FIELDS_MAX,
} from '../http/fields.ts';
import type { SectionFraming } from '../http/known-section.ts';
import {
  BODY_LENGTH,
  BODY_STREAM,
  LENGTH_UNKNOWN,
  M_CONNECT,
  M_TRACE,
  METHOD_BYTES_MAX,
  methodIdOf,
  RequestHead,
  TARGET_ORIGIN,
} from '../http/message.ts';
import {
  connectionOptions,
  endOfToken,
  OPTION_CLOSE,
  OPTION_KEEP_ALIVE,
  OPTION_UPGRADE,
  skipSeparators,
} from './connection-options.ts';
import { acceptUnderscored, F_UNDERSCORED, takeFieldLine } from './field-line.ts';
import { isChunked } from './framing.ts';
import type { RecentHeads } from './recent-heads.ts';
import type { RecentLines } from './recent-lines.ts';
import type { RecentSections } from './recent-sections.ts';
import { scanTarget } from './target.ts';

/** Bounds of a head, inclusive: a head of exactly this much passes. */
export interface HeadLimits {
  /** Bytes of the request line (or status line), its CRLF included. */
  readonly requestLineBytesMax: number;
  /** Bytes of the whole head, from its first byte (an ignored empty line too) through its last CRLF. */
  readonly headBytesMax: number;
  /** Fields; at most FIELDS_MAX. */
  readonly fieldsMax: number;
}

/** No head begun. Left at the first call of `parse` for a head. */
const IDLE = 0;
/** At the request line, or an empty line before it. */
const FIRST_LINE = 1;
/** At the request line after an empty line. */
const REQUEST_LINE = 2;
/** At a field line. Back to IDLE when the head is complete. */
const FIELDS = 3;

const VERSION_BYTES = asciiBytes('HTTP/1.1\r\n');
/** The same as little-endian words. */
const HTTP_WORD = 0x50545448;
const VERSION_11_WORD = 0x312e312f;
const CRLF_WORD = 0x0a0d;
const CONTINUE = asciiBytes('100-continue');
const TRAILERS = asciiBytes('trailers');
const H2C = asciiBytes('h2c');

export class RequestParser {
  /** After this exchange the connection must close: HTTP/1.0 without keep-alive, or `Connection: close`. Valid when the head is complete. */
  closeAfter: boolean;
  private readonly limits: HeadLimits;
  private readonly lines: RecentLines | null;
  private readonly sections: RecentSections | null;
  private phase: number;
  /** Offset of the line that is not finished. */
  private lineAt: number;
  private head: RequestHead;
  private hostIndex: number;
  /** OPTION_ flags of all Connection fields. */
  private options: number;
  private chunked: boolean;
  private expects: boolean;
  /** First Upgrade field that asks for something else than h2c, or -1. */
  private upgradeIndex: number;
  private upgradeRepeated: boolean;

  /** `recent`: of heads that came lately, shared with other parsers; none: each is taken apart. */
  constructor(limits: HeadLimits, recent: RecentHeads | null = null) {
    assert(limits.fieldsMax <= FIELDS_MAX, 'more fields allowed than a section holds');
    this.closeAfter = false;
    this.limits = limits;
    this.lines = recent === null ? null : recent.lines;
    this.sections = recent === null ? null : recent.requests;
    this.phase = IDLE;
    this.lineAt = 0;
    this.head = NO_HEAD;
    this.hostIndex = -1;
    this.options = 0;
    this.chunked = false;
    this.expects = false;
    this.upgradeIndex = -1;
    this.upgradeRepeated = false;
  }

  /** Forgets an unfinished head: the next `parse` begins a new one. Not needed after a complete one. */
  reset(): void {
    this.phase = IDLE;
    this.head = NO_HEAD;
  }

  /**
   * Parses the head that begins at `start`, of which the bytes up to `end` have come. Returns its length
   * when it is complete (an ignored empty line before it included), NEED_MORE, or a fault, after which
   * the connection is of no more use. Clears `head` at its first call for a head.
   */
  parse(head: RequestHead, bytes: Uint8Array, start: number, end: number): number {
    if (this.phase === IDLE) this.begin(head, bytes, start);
    const headLimit = start + this.limits.headBytesMax;
    const stop = Math.min(end, headLimit);
    let result = this.phase === FIELDS ? this.lineAt : this.parseFirstLine(head, bytes, stop);
    if (result > 0) result = this.parseSection(head, bytes, start, result, stop);
    if (result === NEED_MORE && stop === headLimit) return E_HEAD_TOO_LARGE;
    return result;
  }

  /** The bytes parsed so far have moved by `delta`: this parser's position and the head it fills follow. */
  rebase(delta: number): void {
    if (this.phase === IDLE) return;
    this.lineAt += delta;
    this.head.rebase(delta);
  }

  private begin(head: RequestHead, bytes: Uint8Array, start: number): void {
    head.clear();
    head.fields.bytes = bytes;
    this.head = head;
    this.phase = FIRST_LINE;
    this.lineAt = start;
    this.closeAfter = false;
    this.hostIndex = -1;
    this.options = 0;
    this.chunked = false;
    this.expects = false;
    this.upgradeIndex = -1;
    this.upgradeRepeated = false;
  }

  /** The request line, one empty line before it skipped. Position after it, NEED_MORE, or a fault. */
  private parseFirstLine(head: RequestHead, bytes: Uint8Array, stop: number): number {
    let at = this.lineAt;
    if (this.phase === FIRST_LINE && at < stop && bytes[at] === CR) {
      if (at + 1 === stop) return NEED_MORE;
      if (bytes[at + 1] !== LF) return E_BARE_CR;
      at += 2;
      this.lineAt = at;
      this.phase = REQUEST_LINE;
    }
    const lineLimit = at + this.limits.requestLineBytesMax;
    const lineStop = Math.min(stop, lineLimit);
    const next = this.parseRequestLine(head, bytes, at, lineStop);
    if (next > 0) {
      this.phase = FIELDS;
      this.lineAt = next;
      return next;
    }
    return next === NEED_MORE && lineStop === lineLimit ? E_TARGET_TOO_LONG : next;
  }

  private parseRequestLine(head: RequestHead, bytes: Uint8Array, at: number, stop: number): number {
    let position = at;
    while (position < stop && (CHAR_CLASS[bytes[position]] & TCHAR) !== 0) position++;
    const methodLength = position - at;
    if (methodLength > METHOD_BYTES_MAX) return E_METHOD;
    if (position === stop) return NEED_MORE;
    if (bytes[position] !== SP || methodLength === 0) return methodFault(bytes[position], methodLength);
    head.methodOffset = at;
    head.methodLength = methodLength;
    head.methodId = methodIdOf(bytes, at, methodLength);
    if (head.methodId === M_CONNECT || head.methodId === M_TRACE) return E_METHOD_REFUSED;
    const targetEnd = scanTarget(head, bytes, position + 1, stop);
    return targetEnd > 0 ? parseVersion(head, bytes, targetEnd + 1, stop) : targetEnd;
  }

  /** The field section, or what is left of it from a line at `at` on. The head's length, NEED_MORE, or a fault. */
  private parseSection(
    head: RequestHead,
    bytes: Uint8Array,
    start: number,
    at: number,
    stop: number,
  ): number {
    const { sections } = this;
    const { fields } = head;
    // What a section means depends on these two: an older client's, and one whose Host gives way to the target's, is for lines.
    const isPlain = head.version === 11 && head.targetForm === TARGET_ORIGIN;
    if (sections === null || fields.count > 0 || !isPlain)
      return this.parseFields(head, bytes, start, at, stop);
    const end = sections.find(fields, bytes, at, stop, this.limits.fieldsMax);
    const { known } = fields;
    if (end > 0 && known !== null) return this.takeKnown(head, bytes, known.framing, end - start);
    const wanted = sections.wantedIn;
    const result = this.parseFields(head, bytes, start, at, stop);
    if (wanted >= 0 && result > 0) this.offer(sections, wanted, head, bytes, at, start + result);
    return result;
  }

  private offer(
    sections: RecentSections,
    wanted: number,
    head: RequestHead,
    bytes: Uint8Array,
    at: number,
    end: number,
  ): void {
    // A client that waits, or asks for more than a response, is for lines too.
    if (this.expects || this.upgradeIndex >= 0 || head.acceptsTrailers) return;
    const { fields } = head;
    const { options, chunked, hostIndex } = this;
    const lengthIndex = fields.find(F_CONTENT_LENGTH, 0);
    sections.offer(wanted, fields, bytes, at, end, { options, chunked, hostIndex, lengthIndex });
  }

  /** The fields are those of a known section. As `parseFields`. */
  private takeKnown(
    head: RequestHead,
    bytes: Uint8Array,
    framing: SectionFraming,
    headBytes: number,
  ): number {
    const { fields } = head;
    const { hostIndex, lengthIndex } = framing;
    if (lengthIndex >= 0) {
      const declared = contentLengthOf(
        bytes,
        fields.valueOffset(lengthIndex),
        fields.valueLength(lengthIndex),
      );
      if (declared < 0) return E_LENGTH_INVALID;
      head.contentLength = declared;
    }
    if (hostIndex >= 0) {
      this.hostIndex = hostIndex;
      head.authorityOffset = fields.valueOffset(hostIndex);
      head.authorityLength = fields.valueLength(hostIndex);
    }
    this.options = framing.options;
    this.chunked = framing.chunked;
    return this.complete(head, headBytes);
  }

  /** From a field line at `at` to the end of the head. The head's length, NEED_MORE, or a fault. */
  private parseFields(head: RequestHead, bytes: Uint8Array, start: number, at: number, stop: number): number {
    const { lines } = this;
    const fields = head.fields;
    let lineAt = at;
    for (;;) {
      this.lineAt = lineAt;
      if (lineAt === stop) return NEED_MORE;
      if (bytes[lineAt] === CR) {
        if (lineAt + 1 === stop) return NEED_MORE;
        if (bytes[lineAt + 1] !== LF) return E_BARE_CR;
        return this.complete(head, lineAt + 2 - start);
      }
      if (fields.count === this.limits.fieldsMax) return E_TOO_MANY_FIELDS;
      const next =
        lines === null ? takeFieldLine(fields, bytes, lineAt, stop) : lines.take(fields, bytes, lineAt, stop);
      if (next <= 0) return next;
      const index = fields.count - 1;
      const id = fields.id(index);
      if (id !== F_OTHER && id <= F_EXPECT) {
        const fault = this.applyField(head, bytes, id, index);
        if (fault !== 0) return fault;
      }
      lineAt = next;
    }
  }

  /** What a field means for the framing and routing of this message: 0, or a fault. */
  private applyField(head: RequestHead, bytes: Uint8Array, id: number, index: number): number {
    const offset = head.fields.valueOffset(index);
    const length = head.fields.valueLength(index);
    switch (id) {
      case F_HOST:
        return this.applyHost(head, bytes, index, offset, length);
      case F_CONNECTION: {
        const options = connectionOptions(bytes, offset, length);
        if (options < 0) return E_FIELD_VALUE;
        this.options |= options;
        return 0;
      }
      case F_CONTENT_LENGTH: {
        if (this.chunked) return E_LENGTH_AND_CODING;
        if (head.contentLength !== LENGTH_UNKNOWN) return E_LENGTH_REPEATED;
        const declared = contentLengthOf(bytes, offset, length);
        if (declared < 0) return E_LENGTH_INVALID;
        head.contentLength = declared;
        return 0;
      }
      case F_TRANSFER_ENCODING:
        if (head.version === 10) return E_CODING_HTTP10;
        if (this.chunked || !isChunked(bytes, offset, length)) return E_CODING_UNKNOWN;
        if (head.contentLength !== LENGTH_UNKNOWN) return E_LENGTH_AND_CODING;
        this.chunked = true;
        return 0;
      case F_EXPECT:
        if (!equalsIgnoreCase(bytes, offset, length, CONTINUE)) return E_EXPECT;
        this.expects = true;
        return 0;
      case F_UPGRADE:
        // h2c over HTTP/1.1 is never taken up (RFC 9113 §3.1 has withdrawn it): as if it were not there.
        if (equalsIgnoreCase(bytes, offset, length, H2C)) return 0;
        if (this.upgradeIndex >= 0) this.upgradeRepeated = true;
        else this.upgradeIndex = index;
        return 0;
      case F_TE:
        if (listsTrailers(bytes, offset, length)) head.acceptsTrailers = true;
        return 0;
      case F_UNDERSCORED:
        this.applyUnderscored(head, bytes, index);
        return 0;
      default:
        return 0;
    }
  }

  private applyHost(
    head: RequestHead,
    bytes: Uint8Array,
    index: number,
    offset: number,
    length: number,
  ): number {
    if (this.hostIndex >= 0) return E_HOST_REPEATED;
    if (hostLengthOf(bytes, offset, length) < 0) return E_HOST_INVALID;
    this.hostIndex = index;
    // The authority of an absolute-form target (one that has a scheme) stands above Host (RFC 9112 §3.2.2).
    if (head.authorityLength === 0) {
      head.authorityOffset = offset;
      head.authorityLength = length;
    }
    return 0;
  }

  private applyUnderscored(head: RequestHead, bytes: Uint8Array, index: number): void {
    const fields = head.fields;
    if (aliasesTrusted(bytes, fields.nameOffset(index), fields.nameLength(index))) fields.remove(index);
    else acceptUnderscored(fields, index);
  }

  /** What only the whole head tells. `headBytes`, or a fault. */
  private complete(head: RequestHead, headBytes: number): number {
    const http11 = head.version === 11;
    if (this.hostIndex < 0) {
      if (http11) return E_HOST_MISSING;
    } else if (head.fields.valueOffset(this.hostIndex) !== head.authorityOffset) {
      // Whoever reads Host behind us must see what we route by.
      head.fields.setValue(this.hostIndex, head.authorityOffset, head.authorityLength);
    }
    if (this.chunked) head.bodyKind = BODY_STREAM;
    else if (head.contentLength > 0) head.bodyKind = BODY_LENGTH;
    const hasBody = this.chunked || head.contentLength > 0;
    head.expectContinue = http11 && this.expects && hasBody;
    if (http11 && this.upgradeIndex >= 0 && (this.options & OPTION_UPGRADE) !== 0) {
      if (hasBody || this.upgradeRepeated) return E_UPGRADE;
      head.upgradeIndex = this.upgradeIndex;
    }
    this.closeAfter =
      (this.options & OPTION_CLOSE) !== 0 || (!http11 && (this.options & OPTION_KEEP_ALIVE) === 0);
    head.headBytes = headBytes;
    this.phase = IDLE;
    this.head = NO_HEAD;
    return headBytes;
  }
}

/** What a parser between two heads points at. */
const NO_HEAD = new RequestHead(new Uint8Array(0));

/** Why `byte` can't follow `length` bytes of a method. */
function methodFault(byte: number, length: number): number {
  if (byte === LF) return E_BARE_LF;
  if (byte === CR || (length === 0 && (byte === SP || byte === HTAB))) return E_REQUEST_LINE;
  return E_METHOD;
}

/** `HTTP/1.1` CRLF or `HTTP/1.0` CRLF (RFC 9112 §2.3). Position after it, NEED_MORE, or a fault. */
function parseVersion(head: RequestHead, bytes: Uint8Array, at: number, stop: number): number {
  if (at + VERSION_BYTES.length <= stop) {
    const view = viewOf(bytes);
    if (
      view.getInt32(at, true) === HTTP_WORD &&
      view.getInt32(at + 4, true) === VERSION_11_WORD &&
      view.getInt16(at + 8, true) === CRLF_WORD
    ) {
      head.version = 11;
      return at + VERSION_BYTES.length;
    }
  }
  return parseOtherVersion(head, bytes, at, stop);
}

/** Any version but a complete `HTTP/1.1` CRLF, byte by byte. */
function parseOtherVersion(head: RequestHead, bytes: Uint8Array, at: number, stop: number): number {
  for (let index = 0; index < VERSION_BYTES.length; index++) {
    if (at + index === stop) return NEED_MORE;
    const byte = bytes[at + index];
    if (byte === VERSION_BYTES[index]) continue;
    const isDigit = byte >= 0x30 && byte <= 0x39;
    if ((index === 5 || index === 7) && isDigit) continue;
    if (byte === LF) return E_BARE_LF;
    return index === 9 ? E_BARE_CR : E_VERSION;
  }
  if (bytes[at + 5] !== 0x31 || bytes[at + 7] > 0x31) return E_VERSION_UNSUPPORTED;
  head.version = bytes[at + 7] === 0x31 ? 11 : 10;
  return at + VERSION_BYTES.length;
}

/** Whether the list of codings that a TE field accepts holds `trailers`. Other codings are never used. */
function listsTrailers(bytes: Uint8Array, offset: number, length: number): boolean {
  const end = offset + length;
  let at = skipSeparators(bytes, offset, end);
  while (at < end) {
    const tokenEnd = endOfToken(bytes, at, end);
    if (equalsIgnoreCase(bytes, at, tokenEnd - at, TRAILERS)) return true;
    at = tokenEnd;
    // Past a weight or parameters, which `trailers` doesn't have.
    while (at < end && bytes[at] !== COMMA) at++;
    at = skipSeparators(bytes, at, end);
  }
  return false;
}
