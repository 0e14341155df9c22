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
  copyWithin,
  copyWords,
  decimalLength,
  equalsPart,
  hexLength,
  type Memory,
  putDecimal,
  putHex,
  putText,
} from '../base/bytes.ts';
import { COLON, SP } from '../http/char-class.ts';
import { F_REMOVED, FIELD_NAMES, FIELD_WORDS, type FieldSection } from '../http/fields.ts';
import { type KnownSection, RUN_WORDS_MAX } from '../http/known-section.ts';
import { M_OTHER, METHOD_NAMES, type RequestHead } from '../http/message.ts';
import { KNOWN_STATUSES, reasonPhrase } from '../http/status.ts';

const VERSION_END = new ConstantText(' HTTP/1.1\r\n');
const STATUS_START = new ConstantText('HTTP/1.1 ');
const LAST_CHUNK = new ConstantText('0\r\n');

/** CRLF, and `: `, as little-endian half-words. */
const LINE_END = 0x0a0d;
const NAME_END = 0x203a;

/** `Name: ` of each id. */
const NAME_STARTS: readonly ConstantText[] = FIELD_NAMES.map((name) => new ConstantText(`${name}: `));

/** Each known method and the space after it, by id. */
const METHOD_STARTS: readonly ConstantText[] = METHOD_NAMES.map((name) => new ConstantText(`${name} `));

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

export function writeConstant(memory: Memory, at: number, limit: number, constant: ConstantText): number {
  const { length } = constant;
  const end = at + length;
  if (at < 0 || end > limit) return -1;
  if (length < 4) copyAcross(memory.bytes, at, constant.bytes, 0, length);
  else copyWords(memory.view, at, constant.view, 0, length);
  return end;
}

/** Text of Latin-1 characters. */
export function writeLatin1(memory: Memory, at: number, limit: number, text: string): number {
  const length = text.length;
  if (at < 0 || at + length > limit) return -1;
  putText(memory.bytes, at, text);
  return at + length;
}

/** A copy of other bytes of the same array. */
export function writeRange(
  memory: Memory,
  at: number,
  limit: number,
  offset: number,
  length: number,
): number {
  if (at < 0 || at + length > limit) return -1;
  copyWithin(memory, at, offset, length);
  return at + length;
}

/** A non-negative integer up to 2^53-1. */
export function writeDecimal(memory: Memory, at: number, limit: number, value: number): number {
  if (at < 0 || at + decimalLength(value) > limit) return -1;
  return putDecimal(memory.bytes, at, value);
}

export function writeByte(memory: Memory, at: number, limit: number, byte: number): number {
  if (at < 0 || at + 1 > limit) return -1;
  memory.bytes[at] = byte;
  return at + 1;
}

/** CRLF: ends a line, and (alone) a field section. */
export function writeLineEnd(memory: Memory, at: number, limit: number): number {
  if (at < 0 || at + 2 > limit) return -1;
  memory.view.setInt16(at, LINE_END, true);
  return at + 2;
}

/** `HTTP/1.1 200 OK` CRLF; with the received reason phrase (in the same bytes) where `reasonLength` > 0, else the standard one. */
export function writeStatusLine(
  memory: Memory,
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
      equalsPart(memory.bytes, reasonOffset, reasonLength, line.bytes, REASON_AT));
  if (isStandard && line.length > 0) return writeConstant(memory, at, limit, line);
  let next = writeConstant(memory, at, limit, STATUS_START);
  next = writeDecimal(memory, next, limit, status);
  next = writeByte(memory, next, limit, SP);
  next = writeRange(memory, next, limit, reasonOffset, reasonLength);
  return writeLineEnd(memory, next, limit);
}

/** The method and the space after it; the target is the caller's. The head must lie in the same bytes. */
export function writeMethod(memory: Memory, at: number, limit: number, head: RequestHead): number {
  if (head.methodId !== M_OTHER) return writeConstant(memory, at, limit, METHOD_STARTS[head.methodId]);
  const next = writeRange(memory, at, limit, head.methodOffset, head.methodLength);
  return writeByte(memory, next, limit, SP);
}

/** ` HTTP/1.1` CRLF after a target. */
export function writeVersion(memory: Memory, at: number, limit: number): number {
  return writeConstant(memory, at, limit, VERSION_END);
}

/** `Name: ` of a known field. */
export function writeFieldName(memory: Memory, at: number, limit: number, id: number): number {
  return writeConstant(memory, at, limit, NAME_STARTS[id]);
}

/** A field whose value lies in the same bytes. */
export function writeField(
  memory: Memory,
  at: number,
  limit: number,
  id: number,
  valueOffset: number,
  valueLength: number,
): number {
  let next = writeFieldName(memory, at, limit, id);
  next = writeRange(memory, next, limit, valueOffset, valueLength);
  return writeLineEnd(memory, next, limit);
}

/** A known field with a value of Latin-1 text. */
export function writeFieldText(memory: Memory, at: number, limit: number, id: number, value: string): number {
  let next = writeFieldName(memory, at, limit, id);
  next = writeLatin1(memory, next, limit, value);
  return writeLineEnd(memory, next, limit);
}

/** A known field with a number for its value (Content-Length, Retry-After). */
export function writeFieldDecimal(
  memory: Memory,
  at: number,
  limit: number,
  id: number,
  value: number,
): number {
  let next = writeFieldName(memory, at, limit, id);
  next = writeDecimal(memory, next, limit, value);
  return writeLineEnd(memory, next, limit);
}

/** Any field, as text. */
export function writeNamedField(
  memory: Memory,
  at: number,
  limit: number,
  name: string,
  value: string,
): number {
  let next = writeLatin1(memory, at, limit, name);
  next = writeByte(memory, next, limit, COLON);
  next = writeByte(memory, next, limit, SP);
  next = writeLatin1(memory, next, limit, value);
  return writeLineEnd(memory, next, limit);
}

/**
 * All fields of a section that are not removed, without the empty line after them. Fields that stand one
 * after the other in the received bytes as `name: value` CRLF leave as one copy.
 */
export function writeFields(memory: Memory, at: number, limit: number, fields: FieldSection): number {
  const { bytes, view } = memory;
  if (fields.bytes !== bytes) return writeForeignFields(memory, at, limit, fields);
  const { known, table } = fields;
  const words = fields.count * FIELD_WORDS;
  let next = at;
  let word = 0;
  if (known !== null) {
    if (known.runsWithout !== (fields.removedBits & known.mask)) findRuns(known, view, fields);
    const { runs, runWords } = known;
    for (let run = 0; run < runWords; run += 2) {
      const runOffset = table[runs[run]];
      const last = runs[run + 1];
      next = writeRange(memory, next, limit, runOffset, table[last + 2] + table[last + 3] + 2 - runOffset);
    }
    if (runWords >= 0) word = known.count * FIELD_WORDS;
  }
  while (word < words && next >= 0) {
    if (table[word + 4] === F_REMOVED) {
      word += FIELD_WORDS;
      continue;
    }
    const runOffset = table[word];
    if (!isCanonical(view, table, word)) {
      next = writeApart(memory, next, limit, table, word);
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
    next = writeRange(memory, next, limit, runOffset, runEnd - runOffset);
    next = writeLineEnd(memory, next, limit);
  }
  return next;
}

/**
 * Finds the runs of lines of a known section that are written as they stand, without those that are removed. The same for
 * all that begin with this section: a value that was left out of it has no white space around it.
 */
function findRuns(known: KnownSection, view: DataView, fields: FieldSection): void {
  const { table } = fields;
  const { runs } = known;
  const words = known.count * FIELD_WORDS;
  known.runsWithout = fields.removedBits & known.mask;
  known.runWords = -1;
  let found = 0;
  let runEnd = -1;
  for (let word = 0; word < words; word += FIELD_WORDS) {
    if (table[word + 4] === F_REMOVED) continue;
    const lineEnd = table[word + 2] + table[word + 3];
    if (!isCanonical(view, table, word) || view.getInt16(lineEnd, true) !== LINE_END) return;
    if (table[word] !== runEnd) {
      if (found === RUN_WORDS_MAX) return;
      runs[found] = word;
      found += 2;
    }
    runs[found - 1] = word;
    runEnd = lineEnd + 2;
  }
  known.runWords = found;
}

/** Whether a field's bytes are `name: value` as it would be written. */
function isCanonical(view: DataView, table: Int32Array, word: number): boolean {
  const nameEnd = table[word] + table[word + 1];
  return table[word + 2] === nameEnd + 2 && view.getInt16(nameEnd, true) === NAME_END;
}

/** A field whose name and value are not next to each other. */
function writeApart(memory: Memory, at: number, limit: number, table: Int32Array, word: number): number {
  let next = writeRange(memory, at, limit, table[word], table[word + 1]);
  next = writeByte(memory, next, limit, COLON);
  next = writeByte(memory, next, limit, SP);
  next = writeRange(memory, next, limit, table[word + 2], table[word + 3]);
  return writeLineEnd(memory, next, limit);
}

/** Fields in memory other than the arena (trailers). */
function writeForeignFields(memory: Memory, at: number, limit: number, fields: FieldSection): number {
  const { bytes } = memory;
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
    next = writeLineEnd(memory, next + valueLength, limit);
  }
  return next;
}

/** Most bytes that `writeChunkHeader` writes: 14 digits and CRLF. */
export const CHUNK_HEADER_BYTES_MAX = 16;

/** The line before a chunk of `size` > 0 bytes; CRLF (`writeLineEnd`) follows its content. */
export function writeChunkHeader(memory: Memory, at: number, limit: number, size: number): number {
  if (at < 0 || at + hexLength(size) > limit) return -1;
  return writeLineEnd(memory, putHex(memory.bytes, at, size), limit);
}

/** The last chunk, the trailers that are not removed, and the CRLF that ends a chunked body. */
export function writeLastChunk(memory: Memory, at: number, limit: number, trailers: FieldSection): number {
  let next = writeConstant(memory, at, limit, LAST_CHUNK);
  next = writeFields(memory, next, limit, trailers);
  return writeLineEnd(memory, next, limit);
}
