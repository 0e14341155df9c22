/**
 * Heads and chunk framing as bytes. Every function writes into `bytes` from `at` and returns the offset
 * after what it wrote, or -1 when that would pass `limit`; given an `at` of -1 it returns -1, so that a whole
 * head can be written without looking and the result checked once. After -1 the bytes are unspecified.
 *
 * What comes in as values was validated (received fields, configuration): nothing is checked here.
 */

import {
  ConstantText,
  copyAcross,
  copyBytes,
  copyWords,
  decimalLength,
  equalsPart,
  hexLength,
  putDecimal,
  putHex,
  viewOf,
} from '../base/bytes.ts';
import { COLON, SP } from '../http/char-class.ts';
import { F_REMOVED, FIELD_NAMES, FIELD_WORDS, type FieldSection } from '../http/fields.ts';
import type { RequestHead } from '../http/message.ts';
import { KNOWN_STATUSES, reasonPhrase } from '../http/status.ts';

const VERSION_END = new ConstantText(' HTTP/1.1\r\n');
const STATUS_START = new ConstantText('HTTP/1.1 ');
const LAST_CHUNK = new ConstantText('0\r\n');

/** CRLF, and `: `, as little-endian half-words. */
const LINE_END = 0x0a0d;
const NAME_END = 0x203a;

/** `Name: ` of each id. */
const NAME_STARTS: readonly ConstantText[] = FIELD_NAMES.map((name) => new ConstantText(`${name}: `));

const STATUS_MAX = 999;
/** Where the reason phrase stands in a status line. */
const REASON_AT = 13;
/** Whole status lines by status, `HTTP/1.1 200 OK` CRLF; those without a phrase have none here. */
const STATUS_LINES: readonly ConstantText[] = statusLines();

function statusLines(): ConstantText[] {
  const lines = new Array<ConstantText>(STATUS_MAX + 1).fill(new ConstantText(''));
  for (const status of KNOWN_STATUSES)
    lines[status] = new ConstantText(`HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n`);
  return lines;
}

export function writeConstant(bytes: Uint8Array, at: number, limit: number, constant: ConstantText): number {
  const { length } = constant;
  const end = at + length;
  if (at < 0 || end > limit) return -1;
  if (length < 4) copyAcross(bytes, at, constant.bytes, 0, length);
  else copyWords(viewOf(bytes), at, constant.view, 0, length);
  return end;
}

/** Text of Latin-1 characters. */
export function writeLatin1(bytes: Uint8Array, at: number, limit: number, text: string): number {
  const length = text.length;
  if (at < 0 || at + length > limit) return -1;
  for (let index = 0; index < length; index++) bytes[at + index] = text.charCodeAt(index);
  return at + length;
}

/** A copy of other bytes of the same array. */
export function writeRange(
  bytes: Uint8Array,
  at: number,
  limit: number,
  offset: number,
  length: number,
): number {
  if (at < 0 || at + length > limit) return -1;
  copyBytes(bytes, at, offset, length);
  return at + length;
}

/** A non-negative integer up to 2^53-1. */
export function writeDecimal(bytes: Uint8Array, at: number, limit: number, value: number): number {
  if (at < 0 || at + decimalLength(value) > limit) return -1;
  return putDecimal(bytes, at, value);
}

export function writeByte(bytes: Uint8Array, at: number, limit: number, byte: number): number {
  if (at < 0 || at + 1 > limit) return -1;
  bytes[at] = byte;
  return at + 1;
}

/** CRLF: ends a line, and (alone) a field section. */
export function writeLineEnd(bytes: Uint8Array, at: number, limit: number): number {
  if (at < 0 || at + 2 > limit) return -1;
  viewOf(bytes).setInt16(at, LINE_END, true);
  return at + 2;
}

/** `HTTP/1.1 200 OK` CRLF; with the received reason phrase (in the same bytes) where `reasonLength` > 0, else the standard one. */
export function writeStatusLine(
  bytes: Uint8Array,
  at: number,
  limit: number,
  status: number,
  reasonOffset: number,
  reasonLength: number,
): number {
  const line = STATUS_LINES[status];
  const isStandard =
    reasonLength === 0 ||
    (line.length === REASON_AT + reasonLength + 2 &&
      equalsPart(bytes, reasonOffset, reasonLength, line.bytes, REASON_AT));
  if (isStandard && line.length > 0) return writeConstant(bytes, at, limit, line);
  let next = writeConstant(bytes, at, limit, STATUS_START);
  next = writeDecimal(bytes, next, limit, status);
  next = writeByte(bytes, next, limit, SP);
  next = writeRange(bytes, next, limit, reasonOffset, reasonLength);
  return writeLineEnd(bytes, next, limit);
}

/** The method and the space after it; the target is the caller's. The head must lie in the same bytes. */
export function writeMethod(bytes: Uint8Array, at: number, limit: number, head: RequestHead): number {
  const next = writeRange(bytes, at, limit, head.methodOffset, head.methodLength);
  return writeByte(bytes, next, limit, SP);
}

/** ` HTTP/1.1` CRLF after a target. */
export function writeVersion(bytes: Uint8Array, at: number, limit: number): number {
  return writeConstant(bytes, at, limit, VERSION_END);
}

/** `Name: ` of a known field. */
export function writeFieldName(bytes: Uint8Array, at: number, limit: number, id: number): number {
  return writeConstant(bytes, at, limit, NAME_STARTS[id]);
}

/** A field whose value lies in the same bytes. */
export function writeField(
  bytes: Uint8Array,
  at: number,
  limit: number,
  id: number,
  valueOffset: number,
  valueLength: number,
): number {
  let next = writeFieldName(bytes, at, limit, id);
  next = writeRange(bytes, next, limit, valueOffset, valueLength);
  return writeLineEnd(bytes, next, limit);
}

/** A known field with a value of Latin-1 text. */
export function writeFieldText(
  bytes: Uint8Array,
  at: number,
  limit: number,
  id: number,
  value: string,
): number {
  let next = writeFieldName(bytes, at, limit, id);
  next = writeLatin1(bytes, next, limit, value);
  return writeLineEnd(bytes, next, limit);
}

/** A known field with a number for its value (Content-Length, Retry-After). */
export function writeFieldDecimal(
  bytes: Uint8Array,
  at: number,
  limit: number,
  id: number,
  value: number,
): number {
  let next = writeFieldName(bytes, at, limit, id);
  next = writeDecimal(bytes, next, limit, value);
  return writeLineEnd(bytes, next, limit);
}

/** Any field, as text. */
export function writeNamedField(
  bytes: Uint8Array,
  at: number,
  limit: number,
  name: string,
  value: string,
): number {
  let next = writeLatin1(bytes, at, limit, name);
  next = writeByte(bytes, next, limit, COLON);
  next = writeByte(bytes, next, limit, SP);
  next = writeLatin1(bytes, next, limit, value);
  return writeLineEnd(bytes, next, limit);
}

/**
 * All fields of a section that are not removed, without the empty line after them. Fields that stand one
 * after the other in the received bytes as `name: value` CRLF leave as one copy.
 */
export function writeFields(bytes: Uint8Array, at: number, limit: number, fields: FieldSection): number {
  if (fields.bytes !== bytes) return writeForeignFields(bytes, at, limit, fields);
  const view = viewOf(bytes);
  const table = fields.table;
  const words = fields.count * FIELD_WORDS;
  let next = at;
  let word = 0;
  while (word < words && next >= 0) {
    if (table[word + 4] === F_REMOVED) {
      word += FIELD_WORDS;
      continue;
    }
    const runOffset = table[word];
    if (!isCanonical(view, table, word)) {
      next = writeApart(bytes, next, limit, table, word);
      word += FIELD_WORDS;
      continue;
    }
    let runEnd = table[word + 2] + table[word + 3];
    word += FIELD_WORDS;
    while (
      word < words &&
      table[word + 4] !== F_REMOVED &&
      table[word] === runEnd + 2 &&
      view.getInt16(runEnd, true) === LINE_END &&
      isCanonical(view, table, word)
    ) {
      runEnd = table[word + 2] + table[word + 3];
      word += FIELD_WORDS;
    }
    next = writeRange(bytes, next, limit, runOffset, runEnd - runOffset);
    next = writeLineEnd(bytes, next, limit);
  }
  return next;
}

/** Whether a field's bytes are `name: value` as it would be written. */
function isCanonical(view: DataView, table: Int32Array, word: number): boolean {
  const nameEnd = table[word] + table[word + 1];
  return table[word + 2] === nameEnd + 2 && view.getInt16(nameEnd, true) === NAME_END;
}

/** A field whose name and value are not next to each other. */
function writeApart(bytes: Uint8Array, at: number, limit: number, table: Int32Array, word: number): number {
  let next = writeRange(bytes, at, limit, table[word], table[word + 1]);
  next = writeByte(bytes, next, limit, COLON);
  next = writeByte(bytes, next, limit, SP);
  next = writeRange(bytes, next, limit, table[word + 2], table[word + 3]);
  return writeLineEnd(bytes, next, limit);
}

/** Fields in memory other than the arena (trailers). */
function writeForeignFields(bytes: Uint8Array, at: number, limit: number, fields: FieldSection): number {
  let next = at;
  for (let index = 0; index < fields.count && next >= 0; index++) {
    if (fields.id(index) === F_REMOVED) continue;
    const nameLength = fields.nameLength(index);
    const valueLength = fields.valueLength(index);
    if (next + nameLength + valueLength + 4 > limit) return -1;
    copyAcross(bytes, next, fields.bytes, fields.nameOffset(index), nameLength);
    next += nameLength;
    bytes[next++] = COLON;
    bytes[next++] = SP;
    copyAcross(bytes, next, fields.bytes, fields.valueOffset(index), valueLength);
    next = writeLineEnd(bytes, next + valueLength, limit);
  }
  return next;
}

/** Most bytes that `writeChunkHeader` writes: 14 digits and CRLF. */
export const CHUNK_HEADER_BYTES_MAX = 16;

/** The line before a chunk of `size` > 0 bytes; CRLF (`writeLineEnd`) follows its content. */
export function writeChunkHeader(bytes: Uint8Array, at: number, limit: number, size: number): number {
  if (at < 0 || at + hexLength(size) > limit) return -1;
  return writeLineEnd(bytes, putHex(bytes, at, size), limit);
}

/** The last chunk, the trailers that are not removed, and the CRLF that ends a chunked body. */
export function writeLastChunk(bytes: Uint8Array, at: number, limit: number, trailers: FieldSection): number {
  let next = writeConstant(bytes, at, limit, LAST_CHUNK);
  next = writeFields(bytes, next, limit, trailers);
  return writeLineEnd(bytes, next, limit);
}
