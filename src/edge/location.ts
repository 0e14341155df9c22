/**
 * Parts of URIs for Location, made from bytes that a client sent. Nothing of theirs can end a field, begin
 * an authority or a scheme, or be read as a separator by a browser that treats `\` as `/`.
 */

import { hostLengthOf } from '../http/authority.ts';
import type { RequestHead } from '../http/message.ts';
import type { BufferPool } from '../io/buffer-pool.ts';

const SLASH = 0x2f;
const PERCENT = 0x25;
const HEX = '0123456789ABCDEF';

/** Bytes that may stand in a path or a query as they are (RFC 3986 §3.3, §3.4). */
const PLAIN = new Uint8Array(256);
for (const each of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?%") {
  PLAIN[each.charCodeAt(0)] = 1;
}

/** The bytes as text of a URI: what may not stand there is percent-encoded, escapes stay. Allocates. */
function uriText(text: Buffer, offset: number, length: number): string {
  let plain = true;
  for (let at = offset, end = offset + length; at < end && plain; at++) plain = PLAIN[text[at]] === 1;
  return plain ? text.latin1Slice(offset, offset + length) : encoded(text, offset, length);
}

function encoded(text: Buffer, offset: number, length: number): string {
  let result = '';
  for (let at = offset, end = offset + length; at < end; at++) {
    const byte = text[at];
    if (PLAIN[byte] === 1) result += String.fromCharCode(byte);
    else result += String.fromCharCode(PERCENT) + HEX[byte >> 4] + HEX[byte & 15];
  }
  return result;
}

/** How many slashes the bytes begin with: two or more of them would begin an authority. */
function leadingSlashes(bytes: Uint8Array, offset: number, length: number): number {
  let count = 0;
  while (count < length && bytes[offset + count] === SLASH) count++;
  return count;
}

/** A path with exactly one slash in front (two would name a host), or empty. Allocates, as all of these do. */
export function pathText(pool: BufferPool, offset: number, length: number): string {
  if (length === 0) return '';
  const slashes = leadingSlashes(pool.bytes, offset, length);
  return `/${uriText(pool.text, offset + slashes, length - slashes)}`;
}

/** The request's query with its `?`, or empty. */
export function queryText(pool: BufferPool, request: RequestHead): string {
  const { queryOffset, queryLength } = request;
  return queryOffset < 0 ? '' : `?${uriText(pool.text, queryOffset, queryLength)}`;
}

/** The request's host in lower case, without a port; an IPv6 literal keeps its brackets. */
export function hostText(pool: BufferPool, request: RequestHead): string {
  const { authorityOffset, authorityLength } = request;
  const length = hostLengthOf(pool.bytes, authorityOffset, authorityLength);
  return pool.text.latin1Slice(authorityOffset, authorityOffset + length).toLowerCase();
}
