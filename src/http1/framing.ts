/**
 * Values that decide where a message ends (RFC 9112 §6): Content-Length and Transfer-Encoding, as requests
 * and responses share them. Stricter than the letter: a Content-Length is never repeated, not even with the
 * same value, and has no leading zero (readers that take it for octal exist); a Transfer-Encoding is
 * `chunked` and nothing else, once.
 */

import { asciiBytes, equalsIgnoreCase } from '../base/bytes.ts';

/** Largest length and chunk size: what a number holds exactly (2^53-1). */
export const LENGTH_MAX = Number.MAX_SAFE_INTEGER;
const LENGTH_DIGITS_MAX = 16;
const CHUNKED = asciiBytes('chunked');

/** The value of a Content-Length, or -1 when it is not one. */
export function contentLengthOf(bytes: Uint8Array, offset: number, length: number): number {
  if (length === 0 || length > LENGTH_DIGITS_MAX) return -1;
  if (bytes[offset] === 0x30 && length > 1) return -1;
  let value = 0;
  for (let at = offset; at < offset + length; at++) {
    const digit = bytes[at] - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value > LENGTH_MAX ? -1 : value;
}

/** Whether a Transfer-Encoding value is the one coding that is understood. */
export function isChunked(bytes: Uint8Array, offset: number, length: number): boolean {
  return equalsIgnoreCase(bytes, offset, length, CHUNKED);
}
