/**
 * From a request's path to the name of a file beneath a root. The path is normal already (http/path.ts): it
 * has no `.` or `..` segments, and what is escaped in it is neither unreserved nor NUL.
 */

import { hexValue } from '../base/bytes.ts';

const SLASH = 0x2f;
const PERCENT = 0x25;

/**
 * Decodes the `length` bytes at `offset` and writes them as a relative path at `to`, with leading slashes
 * removed. Returns the length written, or -1 where no file can have this name: an escaped slash (which never
 * is a separator) or NUL, a broken escape, or more than `room` bytes.
 */
export function writeRelativePath(
  bytes: Uint8Array,
  offset: number,
  length: number,
  to: number,
  room: number,
): number {
  const end = offset + length;
  let read = offset;
  while (read < end && bytes[read] === SLASH) read++;
  if (end - read > room * 3) return -1;
  const limit = to + room;
  let write = to;
  while (read < end) {
    if (write === limit) return -1;
    const byte = bytes[read];
    if (byte === PERCENT) {
      const value = decodeEscape(bytes, read, end);
      if (value <= 0 || value === SLASH) return -1;
      bytes[write++] = value;
      read += 3;
    } else {
      if (byte === 0) return -1;
      bytes[write++] = byte;
      read++;
    }
  }
  return write - to;
}

/** The byte that an escape at `at` stands for, or -1. */
function decodeEscape(bytes: Uint8Array, at: number, end: number): number {
  if (at + 2 >= end) return -1;
  const high = hexValue(bytes[at + 1]);
  const low = hexValue(bytes[at + 2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}
