/**
 * What a room may hand over to be written: whole lines of text. A room that was taken over could otherwise hide entries
 * or talk to the terminal of whoever reads them.
 */

import { isUtf8 } from 'node:buffer';

const NEWLINE = 0x0a;
const SPACE = 0x20;
const DELETE = 0x7f;

/** Whether `bytes` are lines of UTF-8, each with its end, without control characters of ASCII. */
export function areWholeLines(bytes: Uint8Array): boolean {
  const { length } = bytes;
  if (length === 0) return true;
  if (bytes[length - 1] !== NEWLINE) return false;
  for (let at = 0; at < length; at++) {
    const byte = bytes[at];
    if ((byte < SPACE && byte !== NEWLINE) || byte === DELETE) return false;
  }
  return isUtf8(bytes);
}

/** Ends of lines in `bytes` from `at` on. */
export function countLines(bytes: Uint8Array, at = 0): number {
  let count = 0;
  for (let end = bytes.indexOf(NEWLINE, at); end >= 0; end = bytes.indexOf(NEWLINE, end + 1)) count++;
  return count;
}
