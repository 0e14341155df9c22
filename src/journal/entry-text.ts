/**
 * What a room may hand over to be written: whole lines of text. A room that was taken over could otherwise hide entries
 * or talk to the terminal of whoever reads them.
 */

import { isUtf8 } from 'node:buffer';

const NEWLINE = 0x0a;
const SPACE = 0x20;
const DELETE = 0x7f;
/** The same byte four times, for four at once. */
const SPACES = 0x20202020;
const DELETES = 0x7f7f7f7f;
const ONES = 0x01010101;
const HIGH_BITS = 0x80808080 | 0;

/** Whether `bytes` are lines of UTF-8, each with its end, without control characters of ASCII. */
export function areWholeLines(bytes: Uint8Array): boolean {
  const { length } = bytes;
  if (length === 0) return true;
  if (bytes[length - 1] !== NEWLINE) return false;
  // Every byte of every request's line is looked at: four at once.
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  const last = length & ~3;
  for (let at = 0; at < last; at += 4) {
    const four = view.getInt32(at, true);
    // Some byte is below a space, or (borrows reach the next) follows one that is: then each is looked at by itself.
    const below = (four - SPACES) & ~four;
    const deleted = four ^ DELETES;
    if (((below | ((deleted - ONES) & ~deleted)) & HIGH_BITS) !== 0 && !areOfLines(bytes, at, at + 4))
      return false;
  }
  return areOfLines(bytes, last, length) && isUtf8(bytes);
}

/** Whether each byte in `[from, to)` may be in a line or end it. */
function areOfLines(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    const byte = bytes[at];
    if ((byte < SPACE && byte !== NEWLINE) || byte === DELETE) return false;
  }
  return true;
}

/** Ends of lines in `bytes` from `at` on. */
export function countLines(bytes: Uint8Array, at = 0): number {
  let count = 0;
  for (let end = bytes.indexOf(NEWLINE, at); end >= 0; end = bytes.indexOf(NEWLINE, end + 1)) count++;
  return count;
}
