/**
 * The value of Content-Length (RFC 9110 §8.6), as every HTTP version reads it. Stricter than the letter: no list of
 * equal values, and no leading zero (readers that take it for octal exist).
 */

/** Largest length and chunk size: what a number holds exactly (2^53-1). */
export const LENGTH_MAX = Number.MAX_SAFE_INTEGER;
const LENGTH_DIGITS_MAX = 16;

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
