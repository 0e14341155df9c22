/**
 * The head of an HTTP/1.x response (RFC 9112 §4, §5, §6): incremental and strict as the request parser. A
 * backend that is not clear about where its response ends is not believed: whatever is wrong is
 * E_RESPONSE_MALFORMED, and `detail` says in which way, for the log.
 *
 * One leniency: `HTTP/1.1 200` without the space after the status is accepted. The grammar wants the space
 * even before an empty reason phrase, common servers leave it out, and nothing can be read differently.
 */

import { assert } from '../base/assert.ts';
import { asciiBytes, viewOf } from '../base/bytes.ts';
import { CHAR_CLASS, CR, LF, SP, VALUE } from '../http/char-class.ts';
import { contentLengthOf } from '../http/content-length.ts';
import {
  E_BARE_CR,
  E_BARE_LF,
  E_CODING_HTTP10,
  E_CODING_UNKNOWN,
  E_FIELD_VALUE,
  E_HEAD_TOO_LARGE,
  E_LENGTH_AND_CODING,
  E_LENGTH_INVALID,
  E_LENGTH_REPEATED,
  E_REQUEST_LINE,
  E_RESPONSE_MALFORMED,
  E_TOO_MANY_FIELDS,
  E_VERSION,
  NEED_MORE,
} from '../http/fault.ts';
import {
  F_CONNECTION,
  F_CONTENT_LENGTH,
  F_EXPECT,
  F_OTHER,
  F_TRANSFER_ENCODING,
  F_UPGRADE,
  FIELDS_MAX,
} from '../http/fields.ts';
import type { SectionFraming } from '../http/known-section.ts';
import {
  BODY_LENGTH,
  BODY_NONE,
  BODY_STREAM,
  BODY_UNTIL_CLOSE,
  LENGTH_UNKNOWN,
  M_HEAD,
  ResponseHead,
} from '../http/message.ts';
import { connectionOptions, OPTION_CLOSE, OPTION_KEEP_ALIVE, OPTION_UPGRADE } from './connection-options.ts';
import { acceptUnderscored, F_UNDERSCORED, takeFieldLine } from './field-line.ts';
import { isChunked } from './framing.ts';
import type { RecentHeads } from './recent-heads.ts';
import type { RecentLines } from './recent-lines.ts';
import type { RecentSections } from './recent-sections.ts';
import type { HeadLimits } from './request-parser.ts';

/** No head begun. */
const IDLE = 0;
/** At the status line. */
const STATUS_LINE = 1;
/** At a field line. Back to IDLE when the head is complete. */
const FIELDS = 2;

const VERSION_BYTES = asciiBytes('HTTP/1.1 ');
/** `HTTP/1.1 200 OK` CRLF: its length, and its first 16 bytes as little-endian words. */
const OK_LINE_BYTES = 17;
const HTTP_WORD = 0x50545448;
const VERSION_11_WORD = 0x312e312f;
const STATUS_200_WORD = 0x30303220;
const OK_WORD = 0x0d4b4f20;
/** `HTTP/1.1 200`: where the status ends. */
const STATUS_END = 12;
/** Offset in the status line of the digit that may be 0 or 1. */
const VERSION_MINOR = 7;

export class ResponseParser {
  /** No other request may follow on this connection. Valid when the head is complete; a head of 1xx says nothing of it. */
  closeAfter: boolean;
  /** After a fault: what was wrong, as one of the codes of requests (for the log), else 0. */
  detail: number;
  private readonly limits: HeadLimits;
  private readonly lines: RecentLines | null;
  private readonly sections: RecentSections | null;
  private phase: number;
  /** Offset of the line that is not finished. */
  private lineAt: number;
  private head: ResponseHead;
  /** OPTION_ flags of all Connection fields. */
  private options: number;
  private chunked: boolean;
  private upgradeIndex: number;

  /** `recent`: of heads that came lately, shared with other parsers; none: each is taken apart. */
  constructor(limits: HeadLimits, recent: RecentHeads | null = null) {
    assert(limits.fieldsMax <= FIELDS_MAX, 'more fields allowed than a section holds');
    this.closeAfter = false;
    this.detail = 0;
    this.limits = limits;
    this.lines = recent === null ? null : recent.lines;
    this.sections = recent === null ? null : recent.responses;
    this.phase = IDLE;
    this.lineAt = 0;
    this.head = NO_HEAD;
    this.options = 0;
    this.chunked = false;
    this.upgradeIndex = -1;
  }

  /** Forgets an unfinished head: the next `parse` begins a new one. Not needed after a complete one. */
  reset(): void {
    this.phase = IDLE;
    this.head = NO_HEAD;
  }

  /** Whether bytes of a head have been seen that is not complete. */
  get begun(): boolean {
    return this.phase !== IDLE;
  }

  /**
   * Parses the head that begins at `start`, of which the bytes up to `end` have come, of a response to a
   * request with `requestMethodId`. Returns its length when it is complete, NEED_MORE, or
   * E_RESPONSE_MALFORMED. A complete head with a status from 100 to 199 other than 101 is followed by another.
   */
  parse(head: ResponseHead, requestMethodId: number, bytes: Uint8Array, start: number, end: number): number {
    if (this.phase === IDLE) this.begin(head, bytes, start);
    const headLimit = start + this.limits.headBytesMax;
    const stop = Math.min(end, headLimit);
    let result = this.phase === FIELDS ? this.lineAt : this.parseFirstLine(head, bytes, stop);
    if (result > 0) result = this.parseSection(head, requestMethodId, bytes, start, result, stop);
    if (result === NEED_MORE && stop === headLimit) result = E_HEAD_TOO_LARGE;
    if (result >= 0) return result;
    this.detail = result;
    return E_RESPONSE_MALFORMED;
  }

  /** The bytes parsed so far have moved by `delta`: this parser's position and the head it fills follow. */
  rebase(delta: number): void {
    if (this.phase === IDLE) return;
    this.lineAt += delta;
    this.head.rebase(delta);
  }

  private begin(head: ResponseHead, bytes: Uint8Array, start: number): void {
    head.clear();
    head.fields.bytes = bytes;
    this.head = head;
    this.phase = STATUS_LINE;
    this.lineAt = start;
    this.closeAfter = false;
    this.detail = 0;
    this.options = 0;
    this.chunked = false;
    this.upgradeIndex = -1;
  }

  private parseFirstLine(head: ResponseHead, bytes: Uint8Array, stop: number): number {
    const lineLimit = this.lineAt + this.limits.requestLineBytesMax;
    const lineStop = Math.min(stop, lineLimit);
    const next = parseStatusLine(head, bytes, this.lineAt, lineStop);
    if (next > 0) {
      this.phase = FIELDS;
      this.lineAt = next;
      return next;
    }
    return next === NEED_MORE && lineStop === lineLimit ? E_HEAD_TOO_LARGE : next;
  }

  /** The field section, or what is left of it from a line at `at` on. The head's length, NEED_MORE, or a fault. */
  private parseSection(
    head: ResponseHead,
    requestMethodId: number,
    bytes: Uint8Array,
    start: number,
    at: number,
    stop: number,
  ): number {
    const { sections } = this;
    const { fields } = head;
    if (sections === null || fields.count > 0 || head.version !== 11)
      return this.parseFields(head, requestMethodId, bytes, start, at, stop);
    const end = sections.find(fields, bytes, at, stop, this.limits.fieldsMax);
    const { known } = fields;
    if (end > 0 && known !== null)
      return this.takeKnown(head, requestMethodId, bytes, known.framing, end - start);
    const wanted = sections.wantedIn;
    const result = this.parseFields(head, requestMethodId, bytes, start, at, stop);
    if (wanted >= 0 && result > 0) this.offer(sections, wanted, head, bytes, at, start + result);
    return result;
  }

  private offer(
    sections: RecentSections,
    wanted: number,
    head: ResponseHead,
    bytes: Uint8Array,
    at: number,
    end: number,
  ): void {
    if (this.upgradeIndex >= 0) return;
    const { fields } = head;
    const { options, chunked } = this;
    const lengthIndex = fields.find(F_CONTENT_LENGTH, 0);
    sections.offer(wanted, fields, bytes, at, end, { options, chunked, hostIndex: -1, lengthIndex });
  }

  /** The fields are those of a known section. As `parseFields`. */
  private takeKnown(
    head: ResponseHead,
    requestMethodId: number,
    bytes: Uint8Array,
    framing: SectionFraming,
    headBytes: number,
  ): number {
    const { fields } = head;
    const { lengthIndex } = framing;
    if (lengthIndex >= 0) {
      const declared = contentLengthOf(
        bytes,
        fields.valueOffset(lengthIndex),
        fields.valueLength(lengthIndex),
      );
      if (declared < 0) return E_LENGTH_INVALID;
      head.contentLength = declared;
    }
    this.options = framing.options;
    this.chunked = framing.chunked;
    return this.complete(head, requestMethodId, headBytes);
  }

  private parseFields(
    head: ResponseHead,
    requestMethodId: number,
    bytes: Uint8Array,
    start: number,
    at: number,
    stop: number,
  ): number {
    const { lines } = this;
    const fields = head.fields;
    let lineAt = at;
    for (;;) {
      this.lineAt = lineAt;
      if (lineAt === stop) return NEED_MORE;
      if (bytes[lineAt] === CR) {
        if (lineAt + 1 === stop) return NEED_MORE;
        if (bytes[lineAt + 1] !== LF) return E_BARE_CR;
        return this.complete(head, requestMethodId, lineAt + 2 - start);
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

  /** What a field means for the framing of this message: 0, or a fault. */
  private applyField(head: ResponseHead, bytes: Uint8Array, id: number, index: number): number {
    const offset = head.fields.valueOffset(index);
    const length = head.fields.valueLength(index);
    switch (id) {
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
      case F_UPGRADE:
        if (this.upgradeIndex < 0) this.upgradeIndex = index;
        return 0;
      case F_UNDERSCORED:
        acceptUnderscored(head.fields, index);
        return 0;
      default:
        return 0;
    }
  }

  /** Where the content ends (RFC 9112 §6.3), and whether the connection lives on. */
  private complete(head: ResponseHead, requestMethodId: number, headBytes: number): number {
    const status = head.status;
    this.closeAfter =
      (this.options & OPTION_CLOSE) !== 0 ||
      (head.version === 10 && (this.options & OPTION_KEEP_ALIVE) === 0);
    if (status < 200 || status === 204) this.dropFraming(head);
    else if (status === 304 || requestMethodId === M_HEAD) head.bodyKind = BODY_NONE;
    else if (this.chunked) head.bodyKind = BODY_STREAM;
    else if (head.contentLength >= 0) head.bodyKind = head.contentLength > 0 ? BODY_LENGTH : BODY_NONE;
    else {
      head.bodyKind = BODY_UNTIL_CLOSE;
      this.closeAfter = true;
    }
    if (status === 101) {
      if (head.version === 11 && (this.options & OPTION_UPGRADE) !== 0) head.upgradeIndex = this.upgradeIndex;
      this.closeAfter = true;
    }
    head.headBytes = headBytes;
    this.phase = IDLE;
    this.head = NO_HEAD;
    return headBytes;
  }

  /**
   * 1xx and 204 have no content and must not say how long it is (RFC 9110 §8.6, RFC 9112 §6.1). Many servers
   * say 0. Whatever they say is not passed on, and where it is more than 0, bytes may follow that belong
   * to nothing: the connection is not used again.
   */
  private dropFraming(head: ResponseHead): void {
    head.bodyKind = BODY_NONE;
    if (this.chunked || head.contentLength > 0) this.closeAfter = true;
    if (this.chunked || head.contentLength >= 0) {
      head.fields.removeAll(F_CONTENT_LENGTH);
      head.fields.removeAll(F_TRANSFER_ENCODING);
      head.contentLength = LENGTH_UNKNOWN;
    }
  }
}

/** What a parser between two heads points at. */
const NO_HEAD = new ResponseHead(new Uint8Array(0));

/** `HTTP/1.1 200 OK` CRLF (RFC 9112 §4). Position after it, NEED_MORE, or a fault. */
function parseStatusLine(head: ResponseHead, bytes: Uint8Array, at: number, stop: number): number {
  if (stop - at >= OK_LINE_BYTES && isOkLine(viewOf(bytes), at)) {
    head.version = 11;
    head.status = 200;
    head.reasonOffset = at + STATUS_END + 1;
    head.reasonLength = 2;
    return at + OK_LINE_BYTES;
  }
  return parseAnyStatusLine(head, bytes, at, stop);
}

/** The line that nearly all responses begin with. */
function isOkLine(view: DataView, at: number): boolean {
  return (
    view.getInt32(at, true) === HTTP_WORD &&
    view.getInt32(at + 4, true) === VERSION_11_WORD &&
    view.getInt32(at + 8, true) === STATUS_200_WORD &&
    view.getInt32(at + 12, true) === OK_WORD &&
    view.getInt8(at + 16) === LF
  );
}

function parseAnyStatusLine(head: ResponseHead, bytes: Uint8Array, at: number, stop: number): number {
  let index = 0;
  for (; index < STATUS_END; index++) {
    if (at + index === stop) return NEED_MORE;
    const byte = bytes[at + index];
    if (index < VERSION_BYTES.length) {
      if (byte !== VERSION_BYTES[index] && !(index === VERSION_MINOR && byte === 0x30)) return E_VERSION;
    } else if (byte < (index === VERSION_BYTES.length ? 0x31 : 0x30) || byte > 0x39) {
      return E_REQUEST_LINE;
    }
  }
  head.version = bytes[at + VERSION_MINOR] === 0x31 ? 11 : 10;
  head.status = (bytes[at + 9] - 0x30) * 100 + (bytes[at + 10] - 0x30) * 10 + bytes[at + 11] - 0x30;
  let position = at + STATUS_END;
  if (position === stop) return NEED_MORE;
  if (bytes[position] === SP) {
    position++;
    head.reasonOffset = position;
    while (position < stop && (CHAR_CLASS[bytes[position]] & VALUE) !== 0) position++;
    head.reasonLength = position - head.reasonOffset;
  }
  if (position === stop) return NEED_MORE;
  if (bytes[position] !== CR) return bytes[position] === LF ? E_BARE_LF : E_REQUEST_LINE;
  if (position + 1 === stop) return NEED_MORE;
  return bytes[position + 1] === LF ? position + 2 : E_BARE_CR;
}
