/**
 * The request target (RFC 9112 §3.2) in its three forms that a request other than CONNECT may have. Scans
 * from the first byte of the target to the space after it, and fills the head's target, path, query and
 * (absolute-form) authority. Which bytes may stand where: http/char-class.ts.
 */

import { hostLengthOf } from '../http/authority.ts';
import {
  ASTERISK,
  CHAR_CLASS,
  COLON,
  CR,
  HEX,
  LABEL,
  LF,
  PATH,
  PERCENT,
  QUERY,
  QUESTION,
  SLASH,
  SP,
} from '../http/char-class.ts';
import { E_BARE_LF, E_REQUEST_LINE, E_TARGET, NEED_MORE } from '../http/fault.ts';
import {
  M_OPTIONS,
  type RequestHead,
  SCHEME_HTTP,
  SCHEME_HTTPS,
  TARGET_ABSOLUTE,
  TARGET_ASTERISK,
  TARGET_ORIGIN,
} from '../http/message.ts';

/** Bytes of an authority besides those of a label: `.`, `:`, `[`, `]`. */
const DOT = 0x2e;
const LEFT_BRACKET = 0x5b;
const RIGHT_BRACKET = 0x5d;
const LOWER_S = 0x73;
/** `http` in lower case; `s` is looked at by itself. */
const HTTP = [0x68, 0x74, 0x74, 0x70];

/** Position of the space after the target, NEED_MORE, or a fault. `head.methodId` is set already. */
export function scanTarget(head: RequestHead, bytes: Uint8Array, at: number, stop: number): number {
  if (at === stop) return NEED_MORE;
  const first = bytes[at];
  if (first === SLASH) {
    head.targetForm = TARGET_ORIGIN;
    return scanPath(head, bytes, at, at, stop);
  }
  if (first === ASTERISK) return scanAsterisk(head, bytes, at, stop);
  if ((first | 0x20) === HTTP[0]) return scanAbsolute(head, bytes, at, stop);
  return targetFault(first);
}

/** The fault of a byte that can't stand where it does in a target. */
function targetFault(byte: number): number {
  if (byte === LF) return E_BARE_LF;
  // `GET /` without a version is HTTP/0.9, or a line cut short; a second space leaves an empty target.
  return byte === CR || byte === SP ? E_REQUEST_LINE : E_TARGET;
}

function scanAsterisk(head: RequestHead, bytes: Uint8Array, at: number, stop: number): number {
  if (head.methodId !== M_OPTIONS) return E_TARGET;
  if (at + 1 === stop) return NEED_MORE;
  if (bytes[at + 1] !== SP) return bytes[at + 1] === SLASH ? E_TARGET : targetFault(bytes[at + 1]);
  setAsterisk(head, at);
  return at + 1;
}

function setAsterisk(head: RequestHead, at: number): void {
  head.targetForm = TARGET_ASTERISK;
  head.pathOffset = at;
  head.pathLength = 0;
}

/** From `at`, which is in a path that began at `pathOffset`, to the space after the target. */
function scanPath(
  head: RequestHead,
  bytes: Uint8Array,
  pathOffset: number,
  at: number,
  stop: number,
): number {
  let position = at;
  for (;;) {
    while (position < stop && (CHAR_CLASS[bytes[position]] & PATH) !== 0) position++;
    if (position === stop) return NEED_MORE;
    if (bytes[position] !== PERCENT) break;
    // A percent sign and two digits (RFC 3986 §2.1).
    for (let digit = 1; digit <= 2; digit++) {
      if (position + digit === stop) return NEED_MORE;
      const byte = bytes[position + digit];
      if ((CHAR_CLASS[byte] & HEX) === 0) return byte === LF ? E_BARE_LF : E_TARGET;
    }
    position += 3;
  }
  head.pathOffset = pathOffset;
  head.pathLength = position - pathOffset;
  if (bytes[position] === SP) return position;
  if (bytes[position] === QUESTION) return scanQuery(head, bytes, position + 1, stop);
  return targetFault(bytes[position]);
}

function scanQuery(head: RequestHead, bytes: Uint8Array, at: number, stop: number): number {
  let position = at;
  while (position < stop && (CHAR_CLASS[bytes[position]] & QUERY) !== 0) position++;
  if (position === stop) return NEED_MORE;
  if (bytes[position] !== SP) return targetFault(bytes[position]);
  head.queryOffset = at;
  head.queryLength = position - at;
  return position;
}

/** `http://authority/path?query`, https too (RFC 9112 §3.2.2). */
function scanAbsolute(head: RequestHead, bytes: Uint8Array, at: number, stop: number): number {
  const authorityOffset = scanScheme(head, bytes, at, stop);
  if (authorityOffset <= 0) return authorityOffset;
  let position = authorityOffset;
  while (position < stop && isAuthorityByte(bytes[position])) position++;
  if (position === stop) return NEED_MORE;
  const byte = bytes[position];
  if (byte !== SLASH && byte !== QUESTION && byte !== SP) return targetFault(byte);
  // An http URI without a host is invalid (RFC 9110 §4.2.1).
  if (hostLengthOf(bytes, authorityOffset, position - authorityOffset) <= 0) return E_TARGET;
  head.targetForm = TARGET_ABSOLUTE;
  head.authorityOffset = authorityOffset;
  head.authorityLength = position - authorityOffset;
  if (byte === SLASH) return scanPath(head, bytes, position, position, stop);
  // No path means `/` (RFC 9110 §4.2.3): the slash before the authority serves as its bytes.
  head.pathOffset = authorityOffset - 1;
  head.pathLength = 1;
  if (byte === QUESTION) return scanQuery(head, bytes, position + 1, stop);
  // RFC 9112 §3.2.4: neither path nor query makes it a request for the server as a whole.
  if (head.methodId === M_OPTIONS) setAsterisk(head, at);
  return position;
}

/** Position after `://`, NEED_MORE, or a fault; the scheme's case doesn't matter (RFC 3986 §3.1). */
function scanScheme(head: RequestHead, bytes: Uint8Array, at: number, stop: number): number {
  let position = at;
  for (let index = 0; index < HTTP.length; index++, position++) {
    if (position === stop) return NEED_MORE;
    if ((bytes[position] | 0x20) !== HTTP[index]) return targetFault(bytes[position]);
  }
  if (position === stop) return NEED_MORE;
  head.scheme = SCHEME_HTTP;
  if ((bytes[position] | 0x20) === LOWER_S) {
    head.scheme = SCHEME_HTTPS;
    position++;
  }
  for (let index = 0; index < 3; index++, position++) {
    if (position === stop) return NEED_MORE;
    if (bytes[position] !== (index === 0 ? COLON : SLASH)) return targetFault(bytes[position]);
  }
  return position;
}

function isAuthorityByte(byte: number): boolean {
  return (
    (CHAR_CLASS[byte] & LABEL) !== 0 ||
    byte === DOT ||
    byte === COLON ||
    byte === LEFT_BRACKET ||
    byte === RIGHT_BRACKET
  );
}
