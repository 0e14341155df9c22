/**
 * The value of Connection (RFC 9110 §7.6.1): a list of tokens, three of which this protocol acts upon.
 * The others name fields that end at this hop (hop-by-hop.ts).
 */

import { asciiBytes, equalsIgnoreCase } from '../base/bytes.ts';
import { CHAR_CLASS, COMMA, HTAB, SP, TCHAR } from '../http/char-class.ts';

export const OPTION_CLOSE = 1;
export const OPTION_KEEP_ALIVE = 2;
export const OPTION_UPGRADE = 4;

/** Options in one Connection field; more is a fault, since each one costs a search. Our own choice; peers send three at most. */
export const CONNECTION_OPTIONS_MAX = 32;

const CLOSE = asciiBytes('close');
const KEEP_ALIVE = asciiBytes('keep-alive');
const UPGRADE = asciiBytes('upgrade');

/** OPTION_ flags of one field value, or -1 when it is no list of tokens or too long a one. */
export function connectionOptions(bytes: Uint8Array, offset: number, length: number): number {
  const end = offset + length;
  let flags = 0;
  let count = 0;
  let at = skipSeparators(bytes, offset, end);
  while (at < end) {
    const tokenEnd = endOfToken(bytes, at, end);
    if (tokenEnd === at || ++count > CONNECTION_OPTIONS_MAX) return -1;
    flags |= optionFlag(bytes, at, tokenEnd - at);
    at = skipBlanks(bytes, tokenEnd, end);
    if (at < end && bytes[at] !== COMMA) return -1;
    at = skipSeparators(bytes, at, end);
  }
  return flags;
}

function optionFlag(bytes: Uint8Array, offset: number, length: number): number {
  if (length === 10) return equalsIgnoreCase(bytes, offset, length, KEEP_ALIVE) ? OPTION_KEEP_ALIVE : 0;
  if (length === 5) return equalsIgnoreCase(bytes, offset, length, CLOSE) ? OPTION_CLOSE : 0;
  return equalsIgnoreCase(bytes, offset, length, UPGRADE) ? OPTION_UPGRADE : 0;
}

/** First position at or after `at` that is no token byte. */
export function endOfToken(bytes: Uint8Array, at: number, end: number): number {
  let position = at;
  while (position < end && (CHAR_CLASS[bytes[position]] & TCHAR) !== 0) position++;
  return position;
}

function skipBlanks(bytes: Uint8Array, at: number, end: number): number {
  let position = at;
  while (position < end && (bytes[position] === SP || bytes[position] === HTAB)) position++;
  return position;
}

/** Skips commas and blanks: empty elements of a list are ignored (RFC 9110 §5.6.1.2). */
export function skipSeparators(bytes: Uint8Array, at: number, end: number): number {
  let position = at;
  while (position < end) {
    const byte = bytes[position];
    if (byte !== COMMA && byte !== SP && byte !== HTAB) break;
    position++;
  }
  return position;
}
