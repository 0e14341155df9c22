/**
 * Field sections (RFC 9110 §5, §6.3): header fields and trailers as positions in bytes, never as strings.
 * The same for every HTTP version: HTTP/1.1 points into what was received, HPACK and QPACK will point into
 * what they decoded. Fields that the edge adds point into its own memory (any part of the same arena).
 */

import { assert } from '../base/assert.ts';
import type { KnownSection } from './known-section.ts';

/** Fields that a section may have as received; more is answered 431 (or a stream error). Our own choice. */
export const FIELDS_MAX = 128;
/** Room beyond that for what the edge adds: up to 64 by rules, and its own. */
const FIELDS_ADDED_MAX = 80;
/** Fields that a section holds in all. */
export const FIELDS_HELD_MAX = FIELDS_MAX + FIELDS_ADDED_MAX;
/** Room for fields that a section has from the start. */
const FIELDS_FIRST = 32;

/** Ids of the field names that the edge acts upon; 0 is any other name. Order is free; names are in FIELD_NAMES. */
export const F_OTHER = 0;
export const F_HOST = 1;
export const F_CONNECTION = 2;
export const F_KEEP_ALIVE = 3;
export const F_PROXY_CONNECTION = 4;
export const F_TE = 5;
export const F_TRAILER = 6;
export const F_TRANSFER_ENCODING = 7;
export const F_UPGRADE = 8;
export const F_CONTENT_LENGTH = 9;
export const F_EXPECT = 10;
export const F_DATE = 11;
export const F_SERVER = 12;
export const F_VIA = 13;
export const F_FORWARDED = 14;
export const F_X_FORWARDED_FOR = 15;
export const F_X_FORWARDED_PROTO = 16;
export const F_X_FORWARDED_HOST = 17;
export const F_X_REAL_IP = 18;
export const F_X_REQUEST_ID = 19;
export const F_HTTP2_SETTINGS = 20;
export const F_RANGE = 21;
export const F_IF_RANGE = 22;
export const F_IF_MATCH = 23;
export const F_IF_NONE_MATCH = 24;
export const F_IF_MODIFIED_SINCE = 25;
export const F_IF_UNMODIFIED_SINCE = 26;
export const F_ACCEPT_ENCODING = 27;
export const F_CONTENT_TYPE = 28;
export const F_CONTENT_ENCODING = 29;
export const F_LAST_MODIFIED = 30;
export const F_ETAG = 31;
export const F_ACCEPT_RANGES = 32;
export const F_CONTENT_RANGE = 33;
export const F_VARY = 34;
export const F_LOCATION = 35;
export const F_ALLOW = 36;
export const F_RETRY_AFTER = 37;
export const F_SEC_WEBSOCKET_KEY = 38;
export const F_SEC_WEBSOCKET_ACCEPT = 39;
export const F_SEC_WEBSOCKET_VERSION = 40;
export const F_PROXY_AUTHENTICATE = 41;
export const F_PROXY_AUTHORIZATION = 42;
export const F_USER_AGENT = 43;
export const F_REFERER = 44;
export const F_COOKIE = 45;
export const F_CACHE_CONTROL = 46;
export const F_X_FORWARDED_PORT = 47;
export const F_CLIENT_CERT = 48;
export const F_CLIENT_CERT_CHAIN = 49;
export const F_AUTHORIZATION = 50;
export const F_SET_COOKIE = 51;

/** Name of each id, in the spelling that the edge writes; index = id. */
export const FIELD_NAMES: readonly string[] = [
  '',
  'Host',
  'Connection',
  'Keep-Alive',
  'Proxy-Connection',
  'TE',
  'Trailer',
  'Transfer-Encoding',
  'Upgrade',
  'Content-Length',
  'Expect',
  'Date',
  'Server',
  'Via',
  'Forwarded',
  'X-Forwarded-For',
  'X-Forwarded-Proto',
  'X-Forwarded-Host',
  'X-Real-IP',
  'X-Request-ID',
  'HTTP2-Settings',
  'Range',
  'If-Range',
  'If-Match',
  'If-None-Match',
  'If-Modified-Since',
  'If-Unmodified-Since',
  'Accept-Encoding',
  'Content-Type',
  'Content-Encoding',
  'Last-Modified',
  'ETag',
  'Accept-Ranges',
  'Content-Range',
  'Vary',
  'Location',
  'Allow',
  'Retry-After',
  'Sec-WebSocket-Key',
  'Sec-WebSocket-Accept',
  'Sec-WebSocket-Version',
  'Proxy-Authenticate',
  'Proxy-Authorization',
  'User-Agent',
  'Referer',
  'Cookie',
  'Cache-Control',
  'X-Forwarded-Port',
  'Client-Cert',
  'Client-Cert-Chain',
  'Authorization',
  'Set-Cookie',
];

/** Int32 words of one field in `FieldSection.table`: name offset, name length, value offset, value length, id. */
export const FIELD_WORDS = 5;
/** In the id word: the field is removed and is not written. */
export const F_REMOVED = -1;
/** Fields that have a bit in `FieldSection.removedBits`. */
const REMOVED_BITS = 31;

export class FieldSection {
  /** What the offsets count in: the arena, or (trailers) memory of the decoder. */
  bytes: Uint8Array;
  /** Replaced when it grows: nearly all sections are short, and many are at hand at once. */
  table: Int32Array;
  count: number;
  /** Bit `id` is set when a field with this id was added (ids 0–31, 32–63): most look-ups end here. */
  seenLow: number;
  seenHigh: number;
  /** The first fields are those of this section, all of them, as they were received but for `removedBits`. */
  known: KnownSection | null;
  /** A bit for each of the first 31 fields that was removed. */
  removedBits: number;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.table = new Int32Array(FIELDS_FIRST * FIELD_WORDS);
    this.count = 0;
    this.seenLow = 0;
    this.seenHigh = 0;
    this.known = null;
    this.removedBits = 0;
  }

  clear(): void {
    this.count = 0;
    this.seenLow = 0;
    this.seenHigh = 0;
    this.known = null;
    this.removedBits = 0;
  }

  /** The table of all fields, as if what they are in lay `delta` bytes further on. Allocates. */
  wordsMovedBy(delta: number): Int32Array {
    const words = this.table.slice(0, this.count * FIELD_WORDS);
    for (let word = 0; word < words.length; word += FIELD_WORDS) {
      words[word] += delta;
      words[word + 2] += delta;
    }
    return words;
  }

  /** Becomes the section whose table these words are, and whose sets of ids these. */
  restore(words: Int32Array, seenLow: number, seenHigh: number): void {
    const { length } = words;
    while (this.table.length < length) assert(this.grow(), 'more fields than a section holds');
    const { table } = this;
    for (let word = 0; word < length; word++) table[word] = words[word];
    this.count = length / FIELD_WORDS;
    this.seenLow = seenLow;
    this.seenHigh = seenHigh;
    this.known = null;
    this.removedBits = 0;
  }

  /** Becomes that section, which begins at `at`, with values of these lengths where those are left out. */
  restoreKnown(known: KnownSection, at: number, gapLengths: Int32Array): void {
    const { table } = this;
    const { words } = known;
    const { length } = words;
    assert(length <= table.length, 'more fields than are kept of a section');
    let base = at;
    let gap = 0;
    for (let word = 0; word < length; word += FIELD_WORDS) {
      let valueLength = words[word + 3];
      table[word] = words[word] + base;
      table[word + 1] = words[word + 1];
      table[word + 2] = words[word + 2] + base;
      if (valueLength < 0) {
        valueLength = gapLengths[gap++];
        base += valueLength;
      }
      table[word + 3] = valueLength;
      table[word + 4] = words[word + 4];
    }
    this.count = known.count;
    this.seenLow = known.seenLow;
    this.seenHigh = known.seenHigh;
    this.known = known;
    this.removedBits = 0;
  }

  /** Whether any field may have one of the ids in these sets (see `idSet`); a removed one may still show. */
  hasAnyOf(low: number, high: number): boolean {
    return (this.seenLow & low) !== 0 || (this.seenHigh & high) !== 0;
  }

  /** Appends a field; false when the section is full. */
  add(nameOffset: number, nameLength: number, valueOffset: number, valueLength: number, id: number): boolean {
    const count = this.count;
    const at = count * FIELD_WORDS;
    if (at === this.table.length && !this.grow()) return false;
    const table = this.table;
    table[at] = nameOffset;
    table[at + 1] = nameLength;
    table[at + 2] = valueOffset;
    table[at + 3] = valueLength;
    table[at + 4] = id;
    this.count = count + 1;
    this.markSeen(id);
    return true;
  }

  /** False: it holds as many as it may. */
  private grow(): boolean {
    const { table } = this;
    const words = Math.min(table.length * 2, FIELDS_HELD_MAX * FIELD_WORDS);
    if (words === table.length) return false;
    this.table = new Int32Array(words);
    this.table.set(table);
    return true;
  }

  nameOffset(index: number): number {
    return this.table[index * FIELD_WORDS];
  }
  nameLength(index: number): number {
    return this.table[index * FIELD_WORDS + 1];
  }
  valueOffset(index: number): number {
    return this.table[index * FIELD_WORDS + 2];
  }
  valueLength(index: number): number {
    return this.table[index * FIELD_WORDS + 3];
  }
  /** One of the F_ ids; F_REMOVED when removed. */
  id(index: number): number {
    return this.table[index * FIELD_WORDS + 4];
  }

  /** Makes a field's value these bytes, wherever in `bytes` they are. */
  setValue(index: number, valueOffset: number, valueLength: number): void {
    this.table[index * FIELD_WORDS + 2] = valueOffset;
    this.table[index * FIELD_WORDS + 3] = valueLength;
    this.known = null;
  }

  remove(index: number): void {
    this.table[index * FIELD_WORDS + 4] = F_REMOVED;
    if (index < REMOVED_BITS) this.removedBits |= 1 << index;
  }

  /** A field's id became known (or another) after it was added. */
  setId(index: number, id: number): void {
    this.table[index * FIELD_WORDS + 4] = id;
    this.markSeen(id);
    this.known = null;
  }

  private markSeen(id: number): void {
    if (id < 32) this.seenLow |= 1 << id;
    else this.seenHigh |= 1 << id;
  }

  /** Index of the first field with this id at or after `from`, or -1. */
  find(id: number, from: number): number {
    if (((id < 32 ? this.seenLow : this.seenHigh) & (1 << id)) === 0) return -1;
    const table = this.table;
    for (let index = from, end = this.count; index < end; index++) {
      if (table[index * FIELD_WORDS + 4] === id) return index;
    }
    return -1;
  }

  removeAll(id: number): void {
    for (let index = this.find(id, 0); index >= 0; index = this.find(id, index + 1)) this.remove(index);
  }

  /** The bytes that fields from index 0 point to have moved by `delta` (a head that grew into another buffer). */
  rebase(delta: number): void {
    const table = this.table;
    for (let index = 0; index < this.count; index++) {
      table[index * FIELD_WORDS] += delta;
      table[index * FIELD_WORDS + 2] += delta;
    }
  }

  /** A value as text (Latin-1). Allocates: for policy and logs, not for every request. */
  valueText(index: number): string {
    assert(index >= 0 && index < this.count, 'field index out of range');
    return latin1(this.bytes, this.valueOffset(index), this.valueLength(index));
  }

  nameText(index: number): string {
    assert(index >= 0 && index < this.count, 'field index out of range');
    return latin1(this.bytes, this.nameOffset(index), this.nameLength(index));
  }
}

/** Ids as two sets of bits, for `hasAnyOf`: [ids 0–31, ids 32–63]. */
export function idSet(ids: readonly number[]): readonly [number, number] {
  let low = 0;
  let high = 0;
  for (const id of ids) {
    if (id < 32) low |= 1 << id;
    else high |= 1 << id;
  }
  return [low, high];
}

/** Bytes as a Latin-1 string. */
export function latin1(bytes: Uint8Array, offset: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + offset, length).latin1Slice(0, length);
}
