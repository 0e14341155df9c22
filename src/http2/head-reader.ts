/**
 * From decoded fields to a message's head or trailers, by RFC 9113 §8: what HTTP/2 forbids is malformed, which is an error
 * of the stream; what every version refuses (a method, a target, too many fields) is a fault that is answered with its
 * status. Nothing passes that HTTP/1.1 would read differently: all names are tokens in lower case, values hold no
 * control characters, and no field of this hop is let through.
 *
 * A block is decoded to its end whatever is wrong with it, since the next one builds upon its table.
 */

import { asciiBytes, copyBytes, equalsIgnoreCase, rangesEqualIgnoreCase } from '../base/bytes.ts';
import { hostLengthOf } from '../http/authority.ts';
import {
  ASTERISK,
  CHAR_CLASS,
  HEX,
  PATH,
  PERCENT,
  QUERY,
  QUESTION,
  SLASH,
  TCHAR,
  UNDERSCORE,
} from '../http/char-class.ts';
import { contentLengthOf } from '../http/content-length.ts';
import {
  E_EXPECT,
  E_HEAD_TOO_LARGE,
  E_HOST_INVALID,
  E_HOST_MISSING,
  E_METHOD,
  E_METHOD_REFUSED,
  E_TARGET,
  E_TOO_MANY_FIELDS,
} from '../http/fault.ts';
import { aliasesTrusted } from '../http/field-names.ts';
import {
  F_CONNECTION,
  F_CONTENT_LENGTH,
  F_COOKIE,
  F_ETAG,
  F_EXPECT,
  F_HOST,
  F_HTTP2_SETTINGS,
  F_KEEP_ALIVE,
  F_OTHER,
  F_PROXY_CONNECTION,
  F_TE,
  F_TRANSFER_ENCODING,
  F_UPGRADE,
  FIELD_WORDS,
  FIELDS_MAX,
  type FieldSection,
} from '../http/fields.ts';
import {
  BODY_LENGTH,
  BODY_NONE,
  BODY_STREAM,
  LENGTH_UNKNOWN,
  M_CONNECT,
  M_OPTIONS,
  M_TRACE,
  METHOD_BYTES_MAX,
  methodIdOf,
  type RequestHead,
  type ResponseHead,
  SCHEME_HTTP,
  SCHEME_HTTPS,
  TARGET_ASTERISK,
  TARGET_AUTHORITY,
  TARGET_ORIGIN,
} from '../http/message.ts';
import { isForbiddenTrailer, isFraming } from '../http/trailer-names.ts';
import { HPACK_END, HPACK_ERROR, type HpackDecoder, NAME_VALID, VALUE_VALID } from './hpack-decoder.ts';
import { PRIORITY_DEFAULT, parsePriority } from './priority.ts';
import { KIND_ENDED, KIND_OPTION, KIND_REQUEST, type RememberedHead } from './remembered-heads.ts';
import { P_AUTHORITY, P_METHOD, P_PATH, P_PROTOCOL, P_SCHEME, P_STATUS } from './static-table.ts';
import type { Http2Workspace } from './workspace.ts';

// Results; negative ones are faults (http/fault.ts).
export const HEAD_OK = 0;
/** A stream error, PROTOCOL_ERROR (RFC 9113 §8.1.1). */
export const HEAD_MALFORMED = 1;
/** A connection error, COMPRESSION_ERROR. */
export const HEAD_UNDECODABLE = 2;
/** The list is a multiple of its limit: a connection error, ENHANCE_YOUR_CALM. */
export const HEAD_BOMB = 3;

const PRIORITY = asciiBytes('priority');
const TRAILERS = asciiBytes('trailers');
const CONTINUE = asciiBytes('100-continue');
const HTTP = asciiBytes('http');
const HTTPS = asciiBytes('https');
const UPGRADE = asciiBytes('upgrade');
const COOKIE_LINE = asciiBytes('cookie: ');
const ZERO = 0x30;

/** Bits of pseudo-fields that were seen: 1 << -id. */
const S_AUTHORITY = 1 << -P_AUTHORITY;
const S_METHOD = 1 << -P_METHOD;
const S_PATH = 1 << -P_PATH;
const S_SCHEME = 1 << -P_SCHEME;
const S_STATUS = 1 << -P_STATUS;
const S_PROTOCOL = 1 << -P_PROTOCOL;
const REQUEST_PSEUDO = S_AUTHORITY | S_METHOD | S_PATH | S_SCHEME | S_PROTOCOL;

export class HeadReader {
  /** Of the request that was read last: urgency and INCREMENTAL (priority.ts). */
  priority: number;
  /** Where what was decoded lies in the workspace's memory. */
  start: number;
  end: number;

  private readonly workspace: Http2Workspace;
  private readonly decoder: HpackDecoder;
  private readonly listBytesMax: number;
  private readonly bombBytes: number;
  /** The head that came again last. */
  private recent: RememberedHead | null;
  // Of the head at hand.
  private malformed: boolean;
  /** The first fault, or 0. */
  private fault: number;
  private pseudoSeen: number;
  private pseudoAllowed: number;
  private regularSeen: boolean;
  private hostIndex: number;
  private cookieIndex: number;
  private crumbs: number;
  private contentLength: number;
  private expects: boolean;
  private acceptsTrailers: boolean;
  private schemeId: number;
  private protocolOffset: number;
  private protocolLength: number;
  private pathOffset: number;
  private pathLength: number;

  constructor(workspace: Http2Workspace, decoder: HpackDecoder, listBytesMax: number, bombFactor: number) {
    this.priority = PRIORITY_DEFAULT;
    this.start = workspace.start;
    this.end = workspace.start;
    this.workspace = workspace;
    this.decoder = decoder;
    this.listBytesMax = listBytesMax;
    this.bombBytes = listBytesMax * bombFactor;
    this.recent = null;
    this.malformed = false;
    this.fault = 0;
    this.pseudoSeen = 0;
    this.pseudoAllowed = 0;
    this.regularSeen = false;
    this.hostIndex = -1;
    this.cookieIndex = -1;
    this.crumbs = 0;
    this.contentLength = LENGTH_UNKNOWN;
    this.expects = false;
    this.acceptsTrailers = false;
    this.schemeId = -1;
    this.protocolOffset = 0;
    this.protocolLength = 0;
    this.pathOffset = 0;
    this.pathLength = 0;
  }

  /**
   * A request's block. Fills `head`, whose positions count in the workspace. `ended`: END_STREAM came with it. For an
   * extended CONNECT (RFC 8441) the method is M_CONNECT, and `upgradeIndex` is a field `upgrade` that names the
   * protocol, as HTTP/1.1 would have it.
   */
  readRequest(
    head: RequestHead,
    block: Uint8Array,
    from: number,
    to: number,
    ended: boolean,
    connectProtocol: boolean,
  ): number {
    const { workspace } = this;
    const kind = KIND_REQUEST + (ended ? KIND_ENDED : 0) + (connectProtocol ? KIND_OPTION : 0);
    const known = this.recall(block, from, to, kind);
    if (known !== null) {
      head.fields.bytes = workspace.bytes;
      known.giveRequest(head);
      this.priority = known.priority;
      return HEAD_OK;
    }
    head.clear();
    head.fields.bytes = workspace.bytes;
    this.priority = PRIORITY_DEFAULT;
    this.begin(block, from, to, REQUEST_PSEUDO);
    const result = this.readFields(head.fields, head, null);
    if (result !== HEAD_OK) return result;
    if (this.malformed || !this.completeRequest(head, ended, connectProtocol)) return HEAD_MALFORMED;
    if (this.fault === 0) {
      const kept = this.remember(block, from, to, kind, head.fields);
      kept?.keepRequest(head, kept.start - workspace.start);
    }
    return this.fault;
  }

  /** A response's block. `noContent`: the request was HEAD. */
  readResponse(
    head: ResponseHead,
    block: Uint8Array,
    from: number,
    to: number,
    ended: boolean,
    noContent: boolean,
  ): number {
    const { workspace } = this;
    const kind = (ended ? KIND_ENDED : 0) + (noContent ? KIND_OPTION : 0);
    const known = this.recall(block, from, to, kind);
    if (known !== null) {
      head.fields.bytes = workspace.bytes;
      known.giveResponse(head);
      return HEAD_OK;
    }
    head.clear();
    head.fields.bytes = workspace.bytes;
    this.begin(block, from, to, S_STATUS);
    const result = this.readFields(head.fields, null, head);
    if (result !== HEAD_OK) return result;
    if (this.malformed || !this.completeResponse(head, ended, noContent)) return HEAD_MALFORMED;
    if (this.fault === 0) this.remember(block, from, to, kind, head.fields)?.keepResponse(head);
    return this.fault;
  }

  /** What this block was before, where it means the same now; or null. */
  private recall(block: Uint8Array, from: number, to: number, kind: number): RememberedHead | null {
    const { decoder, workspace } = this;
    const known = workspace.remembered.find(block, from, to, decoder, kind, this.recent);
    if (known === null) return null;
    if (known.insertedBytes > 0) decoder.repeat(known);
    this.recent = known;
    this.start = known.start;
    this.end = known.end;
    return known;
  }

  /** Keeps what was just read, where it is likely to come again; null where it is not. */
  private remember(
    block: Uint8Array,
    from: number,
    to: number,
    kind: number,
    fields: FieldSection,
  ): RememberedHead | null {
    const { remembered, start } = this.workspace;
    return remembered.keep(block, from, to, this.decoder, kind, fields, start, this.end, this.priority);
  }

  /** A trailer section, into the workspace's. Fields that must not be trailers are marked as removed, as HTTP/1.1 does. */
  readTrailers(block: Uint8Array, from: number, to: number): number {
    const fields = this.workspace.trailers;
    fields.clear();
    this.begin(block, from, to, 0);
    const result = this.readFields(fields, null, null);
    if (result !== HEAD_OK) return result;
    if (this.malformed || this.fault !== 0) return HEAD_MALFORMED;
    for (let index = 0; index < fields.count; index++) {
      const id = fields.id(index);
      if (isFraming(id) || id === F_TE) return HEAD_MALFORMED;
      const { bytes } = fields;
      const known = id !== F_OTHER && id !== F_ETAG;
      if (known || isForbiddenTrailer(bytes, fields.nameOffset(index), fields.nameLength(index)))
        fields.remove(index);
    }
    return HEAD_OK;
  }

  /** A block that nobody wants: for the table alone. */
  discard(block: Uint8Array, from: number, to: number): number {
    const { decoder, workspace } = this;
    decoder.begin(block, from, to, workspace.bytes, workspace.start, workspace.end, 0);
    for (;;) {
      const result = decoder.next();
      if (result === HPACK_END) return HEAD_OK;
      if (result === HPACK_ERROR) return HEAD_UNDECODABLE;
      if (decoder.listBytes > this.bombBytes) return HEAD_BOMB;
    }
  }

  private begin(block: Uint8Array, from: number, to: number, pseudoAllowed: number): void {
    const { workspace } = this;
    this.malformed = false;
    this.fault = 0;
    this.pseudoSeen = 0;
    this.pseudoAllowed = pseudoAllowed;
    this.regularSeen = false;
    this.hostIndex = -1;
    this.cookieIndex = -1;
    this.crumbs = 0;
    this.contentLength = LENGTH_UNKNOWN;
    this.expects = false;
    this.acceptsTrailers = false;
    this.schemeId = -1;
    this.protocolOffset = 0;
    this.protocolLength = 0;
    this.pathOffset = 0;
    this.pathLength = 0;
    this.decoder.begin(block, from, to, workspace.bytes, workspace.start, workspace.end, this.listBytesMax);
  }

  private readFields(
    fields: FieldSection,
    request: RequestHead | null,
    response: ResponseHead | null,
  ): number {
    const { decoder } = this;
    for (;;) {
      const result = decoder.next();
      if (result === HPACK_END) break;
      if (result === HPACK_ERROR) return HEAD_UNDECODABLE;
      if (decoder.listBytes > this.bombBytes) return HEAD_BOMB;
      if (this.malformed) continue;
      if (!decoder.kept) {
        this.fault = E_HEAD_TOO_LARGE;
      } else if (decoder.flags !== (NAME_VALID | VALUE_VALID)) {
        this.malformed = true;
      } else if (decoder.id < F_OTHER) {
        this.takePseudo(request, response);
      } else {
        this.regularSeen = true;
        this.takeField(fields);
      }
    }
    this.start = this.workspace.start;
    this.end = decoder.out;
    return HEAD_OK;
  }

  // ---- Pseudo-fields (RFC 9113 §8.3) ----------------------------------------------------------------

  private takePseudo(request: RequestHead | null, response: ResponseHead | null): void {
    const { id, valueOffset, valueLength } = this.decoder;
    const bit = 1 << -id;
    if (this.regularSeen || (this.pseudoAllowed & bit) === 0 || (this.pseudoSeen & bit) !== 0) {
      this.malformed = true;
      return;
    }
    this.pseudoSeen |= bit;
    if (request !== null) this.takeRequestPseudo(request, id, valueOffset, valueLength);
    else if (response !== null && !this.takeStatus(response, valueOffset, valueLength)) this.malformed = true;
  }

  private takeRequestPseudo(head: RequestHead, id: number, offset: number, length: number): void {
    const { bytes } = this.workspace;
    switch (id) {
      case P_METHOD:
        if (!isToken(bytes, offset, length)) this.malformed = true;
        else if (length > METHOD_BYTES_MAX) this.refuse(E_METHOD);
        head.methodOffset = offset;
        head.methodLength = length;
        head.methodId = methodIdOf(bytes, offset, length);
        break;
      case P_SCHEME:
        if (length === 0) this.malformed = true;
        this.schemeId = schemeIdOf(bytes, offset, length);
        break;
      case P_AUTHORITY:
        head.authorityOffset = offset;
        head.authorityLength = length;
        break;
      case P_PATH:
        if (length === 0) this.malformed = true;
        this.pathOffset = offset;
        this.pathLength = length;
        break;
      default:
        if (!isToken(bytes, offset, length)) this.malformed = true;
        this.protocolOffset = offset;
        this.protocolLength = length;
    }
  }

  private takeStatus(head: ResponseHead, offset: number, length: number): boolean {
    const { bytes } = this.workspace;
    if (length !== 3) return false;
    let status = 0;
    for (let at = offset; at < offset + 3; at++) {
      const digit = bytes[at] - ZERO;
      if (digit < 0 || digit > 9) return false;
      status = status * 10 + digit;
    }
    head.status = status;
    // There is no 101 in HTTP/2 (RFC 9113 §8.6).
    return status >= 100 && status !== 101;
  }

  private refuse(code: number): void {
    if (this.fault === 0) this.fault = code;
  }

  // ---- Fields (RFC 9113 §8.2) -----------------------------------------------------------------------

  private takeField(fields: FieldSection): void {
    const { decoder } = this;
    const { id, nameOffset, nameLength, valueOffset, valueLength } = decoder;
    if (id === F_COOKIE && this.cookieIndex >= 0) {
      this.takeCrumb(valueOffset, valueLength);
      return;
    }
    if (fields.count === FIELDS_MAX) {
      this.refuse(E_TOO_MANY_FIELDS);
      return;
    }
    fields.add(nameOffset, nameLength, valueOffset, valueLength, id);
    const index = fields.count - 1;
    if (id === F_OTHER) this.takeOther(fields, index);
    else this.takeKnown(fields, index, id);
  }

  private takeOther(fields: FieldSection, index: number): void {
    const { bytes } = fields;
    const offset = fields.nameOffset(index);
    const length = fields.nameLength(index);
    if (length === PRIORITY.length && equalsIgnoreCase(bytes, offset, length, PRIORITY)) {
      this.priority = parsePriority(bytes, fields.valueOffset(index), fields.valueLength(index));
      return;
    }
    for (let at = offset; at < offset + length; at++) {
      if (bytes[at] !== UNDERSCORE) continue;
      if (aliasesTrusted(bytes, offset, length)) fields.remove(index);
      return;
    }
  }

  private takeKnown(fields: FieldSection, index: number, id: number): void {
    const { bytes } = fields;
    const offset = fields.valueOffset(index);
    const length = fields.valueLength(index);
    switch (id) {
      case F_CONNECTION:
      case F_KEEP_ALIVE:
      case F_PROXY_CONNECTION:
      case F_TRANSFER_ENCODING:
      case F_UPGRADE:
        this.malformed = true;
        break;
      case F_HTTP2_SETTINGS:
        fields.remove(index);
        break;
      case F_TE:
        if (!equalsIgnoreCase(bytes, offset, length, TRAILERS)) this.malformed = true;
        this.acceptsTrailers = true;
        break;
      case F_HOST:
        if (this.hostIndex >= 0) this.malformed = true;
        this.hostIndex = index;
        break;
      case F_CONTENT_LENGTH:
        if (this.contentLength !== LENGTH_UNKNOWN) this.malformed = true;
        this.contentLength = contentLengthOf(bytes, offset, length);
        if (this.contentLength < 0) this.malformed = true;
        break;
      case F_EXPECT:
        if (equalsIgnoreCase(bytes, offset, length, CONTINUE)) this.expects = true;
        else this.refuse(E_EXPECT);
        break;
      case F_COOKIE:
        this.cookieIndex = index;
        break;
      default:
    }
  }

  private takeCrumb(offset: number, length: number): void {
    const { crumbs } = this.workspace;
    if (this.crumbs * 2 === crumbs.length) {
      this.refuse(E_TOO_MANY_FIELDS);
      return;
    }
    crumbs[this.crumbs * 2] = offset;
    crumbs[this.crumbs * 2 + 1] = length;
    this.crumbs++;
  }

  /** Crumbs of a cookie become one field, joined by `; ` (RFC 9113 §8.2.3), behind what was decoded. */
  private joinCrumbs(fields: FieldSection): void {
    const { bytes, crumbs } = this.workspace;
    const index = this.cookieIndex;
    const nameAt = this.end;
    for (let at = 0; at < COOKIE_LINE.length; at++) bytes[nameAt + at] = COOKIE_LINE[at];
    const valueAt = nameAt + COOKIE_LINE.length;
    copyBytes(bytes, valueAt, fields.valueOffset(index), fields.valueLength(index));
    let at = valueAt + fields.valueLength(index);
    for (let crumb = 0; crumb < this.crumbs; crumb++) {
      bytes[at] = 0x3b;
      bytes[at + 1] = 0x20;
      copyBytes(bytes, at + 2, crumbs[crumb * 2], crumbs[crumb * 2 + 1]);
      at += 2 + crumbs[crumb * 2 + 1];
    }
    fields.table[index * FIELD_WORDS] = nameAt;
    fields.setValue(index, valueAt, at - valueAt);
    bytes[at] = 0x0d;
    bytes[at + 1] = 0x0a;
    this.end = at + 2;
  }

  // ---- Whole heads ----------------------------------------------------------------------------------

  /** False: malformed. A fault is left in `fault`. */
  private completeRequest(head: RequestHead, ended: boolean, connectProtocol: boolean): boolean {
    head.version = 20;
    head.headBytes = this.decoder.listBytes;
    head.acceptsTrailers = this.acceptsTrailers;
    if (this.fault === E_HEAD_TOO_LARGE) return true;
    if ((this.pseudoSeen & S_METHOD) === 0) return false;
    if (!this.completeTarget(head, connectProtocol)) return false;
    if (!this.completeAuthority(head)) return false;
    if (ended && this.contentLength > 0) return false;
    head.contentLength = this.contentLength;
    if (ended) head.bodyKind = BODY_NONE;
    else head.bodyKind = this.contentLength === LENGTH_UNKNOWN ? BODY_STREAM : BODY_LENGTH;
    head.expectContinue = this.expects && !ended;
    if (this.crumbs > 0) this.joinCrumbs(head.fields);
    if (head.methodId === M_TRACE) this.refuse(E_METHOD_REFUSED);
    return true;
  }

  /** `:scheme`, `:path` and `:protocol` by the method (RFC 9113 §8.3.1, §8.5; RFC 8441 §4). */
  private completeTarget(head: RequestHead, connectProtocol: boolean): boolean {
    const seen = this.pseudoSeen;
    const isExtended = (seen & S_PROTOCOL) !== 0;
    if (isExtended && (head.methodId !== M_CONNECT || !connectProtocol || (seen & S_AUTHORITY) === 0))
      return false;
    if (head.methodId === M_CONNECT && !isExtended) {
      if ((seen & (S_SCHEME | S_PATH)) !== 0 || head.authorityLength === 0) return false;
      head.targetForm = TARGET_AUTHORITY;
      this.refuse(E_METHOD_REFUSED);
      return true;
    }
    if ((seen & S_SCHEME) === 0 || (seen & S_PATH) === 0) return false;
    if (this.schemeId < 0) this.refuse(E_TARGET);
    else head.scheme = this.schemeId;
    if (!this.takePath(head)) return false;
    if (isExtended) this.addUpgrade(head);
    return true;
  }

  /** The path as HTTP/1.1 takes it (http/char-class.ts): nothing reaches a backend that an HTTP/1.1 client could not send. */
  private takePath(head: RequestHead): boolean {
    const { bytes } = this.workspace;
    const at = this.pathOffset;
    const end = at + this.pathLength;
    head.pathOffset = at;
    if (bytes[at] === ASTERISK && this.pathLength === 1) {
      head.targetForm = TARGET_ASTERISK;
      return head.methodId === M_OPTIONS;
    }
    if (bytes[at] !== SLASH) return false;
    head.targetForm = TARGET_ORIGIN;
    const pathEnd = endOfPath(bytes, at, end);
    head.pathLength = pathEnd - at;
    if (pathEnd === end) return true;
    if (bytes[pathEnd] !== QUESTION) {
      this.refuse(E_TARGET);
      return true;
    }
    let position = pathEnd + 1;
    while (position < end && (CHAR_CLASS[bytes[position]] & QUERY) !== 0) position++;
    if (position < end) this.refuse(E_TARGET);
    head.queryOffset = pathEnd + 1;
    head.queryLength = position - pathEnd - 1;
    return true;
  }

  private addUpgrade(head: RequestHead): void {
    const { bytes } = this.workspace;
    const nameAt = this.end;
    for (let at = 0; at < UPGRADE.length; at++) bytes[nameAt + at] = UPGRADE[at];
    this.end = nameAt + UPGRADE.length;
    if (!head.fields.add(nameAt, UPGRADE.length, this.protocolOffset, this.protocolLength, F_UPGRADE)) return;
    head.upgradeIndex = head.fields.count - 1;
  }

  /** `:authority` and `host` (RFC 9113 §8.3.1): either will do, and both must say the same. */
  private completeAuthority(head: RequestHead): boolean {
    const { fields } = head;
    const { bytes } = fields;
    const host = this.hostIndex;
    if ((this.pseudoSeen & S_AUTHORITY) === 0) {
      if (host < 0) {
        this.refuse(E_HOST_MISSING);
        return true;
      }
      head.authorityOffset = fields.valueOffset(host);
      head.authorityLength = fields.valueLength(host);
    } else if (host >= 0) {
      const length = fields.valueLength(host);
      if (length !== head.authorityLength) return false;
      if (!rangesEqualIgnoreCase(bytes, fields.valueOffset(host), head.authorityOffset, length)) return false;
    }
    if (hostLengthOf(bytes, head.authorityOffset, head.authorityLength) <= 0) this.refuse(E_HOST_INVALID);
    return true;
  }

  private completeResponse(head: ResponseHead, ended: boolean, noContent: boolean): boolean {
    head.version = 20;
    head.headBytes = this.decoder.listBytes;
    if ((this.pseudoSeen & S_STATUS) === 0 || this.fault !== 0) return false;
    const { status } = head;
    if (status < 200) return !ended && this.contentLength === LENGTH_UNKNOWN;
    if (status === 204 && this.contentLength > 0) return false;
    head.contentLength = this.contentLength;
    const empty = ended || noContent || status === 204 || status === 304;
    if (ended && !noContent && status !== 304 && this.contentLength > 0) return false;
    if (empty) head.bodyKind = BODY_NONE;
    else head.bodyKind = this.contentLength === LENGTH_UNKNOWN ? BODY_STREAM : BODY_LENGTH;
    return true;
  }
}

function isToken(bytes: Uint8Array, offset: number, length: number): boolean {
  for (let at = offset; at < offset + length; at++) {
    if ((CHAR_CLASS[bytes[at]] & TCHAR) === 0) return false;
  }
  return length > 0;
}

function schemeIdOf(bytes: Uint8Array, offset: number, length: number): number {
  if (equalsIgnoreCase(bytes, offset, length, HTTPS)) return SCHEME_HTTPS;
  return equalsIgnoreCase(bytes, offset, length, HTTP) ? SCHEME_HTTP : -1;
}

/** First position at or after `at` that is not part of a path; percent signs have two digits (RFC 3986 §2.1). */
function endOfPath(bytes: Uint8Array, at: number, end: number): number {
  let position = at;
  for (;;) {
    while (position < end && (CHAR_CLASS[bytes[position]] & PATH) !== 0) position++;
    if (position + 2 >= end || bytes[position] !== PERCENT) return position;
    const digits = CHAR_CLASS[bytes[position + 1]] & CHAR_CLASS[bytes[position + 2]];
    if ((digits & HEX) === 0) return position;
    position += 3;
  }
}
