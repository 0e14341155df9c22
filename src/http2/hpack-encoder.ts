/**
 * HPACK encoding (RFC 7541). Values that are the same in many messages (a server's name, content types) go through the
 * dynamic table, one entry for each kind; all others leave as they are: on the wire they are a little longer, and
 * they cost nothing to encode. What must stay secret is never indexed (RFC 7541 §7.1).
 *
 * Every function writes into `bytes` from `at` and returns the offset after it; the caller has made sure of the room
 * (`fieldBytesMax`). A block begins with `begin`.
 */

import { copyAcross, copyBytes, decimalLength, lowerByte, putDecimal, viewOf } from '../base/bytes.ts';
import {
  F_ACCEPT_ENCODING,
  F_ACCEPT_RANGES,
  F_AUTHORIZATION,
  F_CACHE_CONTROL,
  F_CONTENT_ENCODING,
  F_CONTENT_LENGTH,
  F_CONTENT_TYPE,
  F_COOKIE,
  F_DATE,
  F_OTHER,
  F_PROXY_AUTHORIZATION,
  F_SERVER,
  F_SET_COOKIE,
  F_TE,
  F_USER_AGENT,
  F_VARY,
  F_VIA,
  F_X_FORWARDED_HOST,
  F_X_FORWARDED_PORT,
  F_X_FORWARDED_PROTO,
  FIELD_NAMES,
} from '../http/fields.ts';
import { DEFAULT_HEADER_TABLE_BYTES, FIELD_OVERHEAD_BYTES } from './constants.ts';
import { DynamicTable, SEPARATOR_BYTES, W_NAME_LENGTH, W_OFFSET, W_VALUE_LENGTH } from './dynamic-table.ts';
import { huffmanEncode, huffmanLength } from './huffman.ts';
import {
  STATIC_ACCEPT_ENCODING,
  STATIC_AUTHORITY,
  STATIC_BYTES,
  STATIC_COUNT,
  STATIC_INDEX_OF_ID,
  STATIC_NAME_LENGTHS,
  STATIC_OFFSETS,
  STATIC_STATUS_200,
  STATIC_VALUE_LENGTHS,
  staticIndexOfOther,
} from './static-table.ts';

/** Bytes of the table at most, whatever the peer would allow: it is here for a few values. Our own choice. */
const TABLE_BYTES_MAX = DEFAULT_HEADER_TABLE_BYTES;
/** A value that is longer is not worth a place in the table. */
const INDEXED_VALUE_BYTES_MAX = 256;

/** Ids whose values go through the dynamic table. */
const INDEXED_IDS: readonly number[] = [
  F_SERVER,
  F_DATE,
  F_CONTENT_TYPE,
  F_CONTENT_ENCODING,
  F_CACHE_CONTROL,
  F_VARY,
  F_VIA,
  F_ACCEPT_RANGES,
  F_ACCEPT_ENCODING,
  F_USER_AGENT,
  F_TE,
  F_X_FORWARDED_PROTO,
  F_X_FORWARDED_HOST,
  F_X_FORWARDED_PORT,
];
/** Names of the static table without an id, whose values go through the dynamic table too. */
const INDEXED_NAMES: readonly string[] = [
  'accept',
  'accept-language',
  'access-control-allow-origin',
  'strict-transport-security',
];

// What becomes of a field.
const PLAIN = 0;
const INDEXED = 1;
const SECRET = 2;

/** Kinds of entries: the ids, then the static indexes of names without one. */
const KIND_OF_STATIC = FIELD_NAMES.length;
const KINDS = KIND_OF_STATIC + STATIC_COUNT + 1;
/** By kind: PLAIN, INDEXED or SECRET. */
const TREATMENT = treatments();
const NAME_BYTES: readonly Uint8Array[] = FIELD_NAMES.map((name) =>
  Uint8Array.from(name.toLowerCase(), (character) => character.charCodeAt(0)),
);

function treatments(): Uint8Array {
  const table = new Uint8Array(KINDS);
  for (const id of INDEXED_IDS) table[id] = INDEXED;
  for (const name of INDEXED_NAMES) table[KIND_OF_STATIC + staticIndexOfName(name)] = INDEXED;
  table[KIND_OF_STATIC + STATIC_AUTHORITY] = INDEXED;
  table[F_COOKIE] = SECRET;
  table[F_PROXY_AUTHORIZATION] = SECRET;
  table[F_AUTHORIZATION] = SECRET;
  table[F_SET_COOKIE] = SECRET;
  return table;
}

function staticIndexOfName(name: string): number {
  const bytes = Uint8Array.from(name, (character) => character.charCodeAt(0));
  return staticIndexOfOther(bytes, 0, bytes.length);
}

/** Most bytes that a field takes in a block: two lengths (or an index) of five bytes each, and a byte before them. */
export function fieldBytesMax(nameLength: number, valueLength: number): number {
  return nameLength + valueLength + 11;
}

/** Most bytes that `begin` writes. */
export const BLOCK_START_BYTES_MAX = 12;

export class HpackEncoder {
  private readonly table: DynamicTable;
  /** The number of the entry that was last inserted of each kind; 0: none. Made with the first of them. */
  private latest: Int32Array;
  /** The peer's limit has changed since the last block: the least and the last one are announced. */
  private sizeLeast: number;
  private sizeNext: number;
  private sizeDue: boolean;

  constructor() {
    this.table = new DynamicTable(TABLE_BYTES_MAX);
    this.latest = NO_KINDS;
    this.sizeLeast = TABLE_BYTES_MAX;
    this.sizeNext = TABLE_BYTES_MAX;
    this.sizeDue = false;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  limitTable(bytes: number): void {
    const size = Math.min(bytes, TABLE_BYTES_MAX);
    if (!this.sizeDue && size === this.table.sizeMax) return;
    this.sizeLeast = this.sizeDue ? Math.min(this.sizeLeast, size) : size;
    this.sizeNext = size;
    this.sizeDue = true;
  }

  /** Begins a block: announces what the table has become (RFC 7541 §4.2). */
  begin(bytes: Uint8Array, at: number): number {
    if (!this.sizeDue) return at;
    this.sizeDue = false;
    let next = at;
    if (this.sizeLeast < this.sizeNext) next = putInteger(bytes, next, 0x20, 5, this.sizeLeast);
    this.table.resize(this.sizeLeast);
    this.table.resize(this.sizeNext);
    return putInteger(bytes, next, 0x20, 5, this.sizeNext);
  }

  /** `:status` of three digits. */
  status(bytes: Uint8Array, at: number, status: number): number {
    for (let index = STATIC_STATUS_200; index < STATIC_STATUS_200 + 7; index++) {
      if (STATUSES[index - STATIC_STATUS_200] === status) return this.indexed(bytes, at, index);
    }
    const next = putInteger(bytes, at, 0, 4, STATIC_STATUS_200);
    bytes[next] = 3;
    return putDecimal(bytes, next + 1, status);
  }

  /** A whole entry of the static table. */
  indexed(bytes: Uint8Array, at: number, index: number): number {
    return putInteger(bytes, at, 0x80, 7, index);
  }

  /** `:authority`, which is the same in many requests to one backend. */
  authority(bytes: Uint8Array, at: number, value: Uint8Array, offset: number, length: number): number {
    const kind = KIND_OF_STATIC + STATIC_AUTHORITY;
    return this.repeated(bytes, at, kind, STATIC_AUTHORITY, value, offset, length);
  }

  /** A field whose name is that of a static entry and whose value is not indexed. */
  named(
    bytes: Uint8Array,
    at: number,
    index: number,
    value: Uint8Array,
    offset: number,
    length: number,
  ): number {
    const next = putInteger(bytes, at, 0, 4, index);
    return putString(bytes, next, value, offset, length);
  }

  /** A pseudo-field that the static table doesn't know. */
  pseudo(
    bytes: Uint8Array,
    at: number,
    name: Uint8Array,
    nameOffset: number,
    nameLength: number,
    value: Uint8Array,
    offset: number,
    length: number,
  ): number {
    const next = putInteger(bytes, at, 0, 4, 0);
    return putString(bytes, putName(bytes, next, name, nameOffset, nameLength), value, offset, length);
  }

  /** `content-length` as a number. */
  contentLength(bytes: Uint8Array, at: number, value: number): number {
    const next = putInteger(bytes, at, 0, 4, STATIC_INDEX_OF_ID[F_CONTENT_LENGTH]);
    bytes[next] = decimalLength(value);
    return putDecimal(bytes, next + 1, value);
  }

  /** Any field; its name, a token, leaves in lower case. `id` is its F_ id. */
  field(
    bytes: Uint8Array,
    at: number,
    id: number,
    source: Uint8Array,
    nameOffset: number,
    nameLength: number,
    valueOffset: number,
    valueLength: number,
  ): number {
    const known = id > F_OTHER;
    const index = known ? STATIC_INDEX_OF_ID[id] : staticIndexOfOther(source, nameOffset, nameLength);
    const kind = known ? id : KIND_OF_STATIC + index;
    const treatment = known || index > 0 ? TREATMENT[kind] : PLAIN;
    if (treatment === INDEXED && valueLength <= INDEXED_VALUE_BYTES_MAX) {
      if (index === STATIC_ACCEPT_ENCODING && isStaticValue(index, source, valueOffset, valueLength))
        return this.indexed(bytes, at, index);
      return this.repeated(bytes, at, kind, index, source, valueOffset, valueLength);
    }
    let next = putInteger(bytes, at, treatment === SECRET ? 0x10 : 0, 4, index);
    if (index === 0) next = putName(bytes, next, source, nameOffset, nameLength);
    return putString(bytes, next, source, valueOffset, valueLength);
  }

  /** A value that goes through the dynamic table: an index where it is the last one of its kind, else a new entry. */
  private repeated(
    bytes: Uint8Array,
    at: number,
    kind: number,
    index: number,
    source: Uint8Array,
    offset: number,
    length: number,
  ): number {
    if (this.latest === NO_KINDS) this.latest = new Int32Array(KINDS);
    const { table, latest } = this;
    const number = latest[kind];
    const entry = table.inserted - number;
    const word = table.wordOf(entry);
    if (number > 0 && entry < table.count && table.entries[word + W_VALUE_LENGTH] === length) {
      const valueAt = table.entries[word + W_OFFSET] + table.entries[word + W_NAME_LENGTH] + SEPARATOR_BYTES;
      // Where what is sent lies in the memory that it is written to, its view is at hand.
      const isSame =
        source === bytes
          ? sameValue(table, valueAt, source, offset, length)
          : sameBytes(table.bytes, valueAt, source, offset, length);
      if (isSame) return putInteger(bytes, at, 0x80, 7, STATIC_COUNT + 1 + entry);
    }
    const name = kind < KIND_OF_STATIC ? NAME_BYTES[kind] : STATIC_BYTES;
    const nameFrom = kind < KIND_OF_STATIC ? 0 : STATIC_OFFSETS[index];
    const nameLength = kind < KIND_OF_STATIC ? name.length : STATIC_NAME_LENGTHS[index];
    let next = putInteger(bytes, at, 0x40, 6, index);
    if (index === 0) next = putName(bytes, next, name, nameFrom, nameLength);
    next = putShortest(bytes, next, source, offset, length);
    table.insert(name, nameFrom, nameLength, source, offset, length, kind, 0);
    const fits = nameLength + length + FIELD_OVERHEAD_BYTES <= table.sizeMax;
    latest[kind] = fits ? table.inserted : 0;
    return next;
  }
}

const NO_KINDS = new Int32Array(0);
const STATUSES = [200, 204, 206, 304, 400, 404, 500];

/** An integer (RFC 7541 §5.1) behind the bits of `pattern`. */
function putInteger(
  bytes: Uint8Array,
  at: number,
  pattern: number,
  prefixBits: number,
  value: number,
): number {
  const mask = (1 << prefixBits) - 1;
  let next = at;
  if (value < mask) {
    bytes[next++] = pattern | value;
    return next;
  }
  bytes[next++] = pattern | mask;
  let rest = value - mask;
  for (; rest >= 0x80; rest >>>= 7) bytes[next++] = 0x80 | (rest & 0x7f);
  bytes[next++] = rest;
  return next;
}

function putString(
  bytes: Uint8Array,
  at: number,
  source: Uint8Array,
  offset: number,
  length: number,
): number {
  const next = putInteger(bytes, at, 0, 7, length);
  if (bytes === source) copyBytes(bytes, next, offset, length);
  else if (length > LOOP_BYTES_MAX) bytes.set(source.subarray(offset, offset + length), next);
  else copyAcross(bytes, next, source, offset, length);
  return next + length;
}

/** Longer strings are rare, and worth the object that the engine's own copy takes. */
const LOOP_BYTES_MAX = 512;

/** Huffman-coded where that is shorter. */
function putShortest(
  bytes: Uint8Array,
  at: number,
  source: Uint8Array,
  offset: number,
  length: number,
): number {
  const coded = huffmanLength(source, offset, length);
  if (coded >= length) return putString(bytes, at, source, offset, length);
  const next = putInteger(bytes, at, 0x80, 7, coded);
  return huffmanEncode(source, offset, length, bytes, next);
}

function putName(bytes: Uint8Array, at: number, source: Uint8Array, offset: number, length: number): number {
  const next = putInteger(bytes, at, 0, 7, length);
  for (let index = 0; index < length; index++) bytes[next + index] = lowerByte(source[offset + index]);
  return next + length;
}

/** Whether a value in the table is these bytes: word by word, the last one overlapping the one before it. */
function sameValue(
  table: DynamicTable,
  at: number,
  source: Uint8Array,
  offset: number,
  length: number,
): boolean {
  if (length < 4) return sameBytes(table.bytes, at, source, offset, length);
  const { view } = table;
  const other = viewOf(source);
  const last = length - 4;
  for (let index = 0; index < last; index += 4) {
    if (view.getInt32(at + index, true) !== other.getInt32(offset + index, true)) return false;
  }
  return view.getInt32(at + last, true) === other.getInt32(offset + last, true);
}

function sameBytes(
  bytes: Uint8Array,
  at: number,
  source: Uint8Array,
  offset: number,
  length: number,
): boolean {
  for (let index = 0; index < length; index++) {
    if (bytes[at + index] !== source[offset + index]) return false;
  }
  return true;
}

function isStaticValue(index: number, source: Uint8Array, offset: number, length: number): boolean {
  if (STATIC_VALUE_LENGTHS[index] !== length) return false;
  const at = STATIC_OFFSETS[index] + STATIC_NAME_LENGTHS[index];
  return sameBytes(STATIC_BYTES, at, source, offset, length);
}
