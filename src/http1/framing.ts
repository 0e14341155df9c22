/**
 * The one value of Transfer-Encoding (RFC 9112 §6.1) that is understood: `chunked` and nothing else, once. Stricter
 * than the letter.
 */

import { asciiBytes, equalsIgnoreCase } from '../base/bytes.ts';

const CHUNKED = asciiBytes('chunked');

/** Whether a Transfer-Encoding value is the one coding that is understood. */
export function isChunked(bytes: Uint8Array, offset: number, length: number): boolean {
  return equalsIgnoreCase(bytes, offset, length, CHUNKED);
}
