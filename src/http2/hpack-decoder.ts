/**
 * HPACK decoding (RFC 7541): one field section's block, complete and in one piece, becomes fields one after another, each
 * written as `name: value` CRLF into memory that the caller gives, so that an HTTP/1.1 message may take them as
 * they lie. No strings, no objects.
 *
 * What the fields amount to is counted while they are decoded (RFC 9113 §10.5.1): beyond the limit nothing is
 * written any more, and only the dynamic table is kept up to date, which the connection can't do without.
 * A block that can't be decoded is an error of the connection; a name or value that can't stand in a message
 * is only marked, since that is an error of its stream.
 */

import { assert } from '../base/assert.ts';
import { copyAcross, copyBytes, copyWords, viewOf } from '../base/bytes.ts';
import { CHAR_CLASS, COLON, CR, HTAB, LF, SP, TCHAR, VALUE } from '../http/char-class.ts';
import { fieldIdOf } from '../http/field-names.ts';
import { F_OTHER } from '../http/fields.ts';
import { DEFAULT_HEADER_TABLE_BYTES, FIELD_OVERHEAD_BYTES } from './constants.ts';
import {
  DynamicTable,
  LINE_EXTRA_BYTES,
  SEPARATOR_BYTES,
  W_NAME_LENGTH,
  W_OFFSET,
  W_SECOND_TAG,
  W_TAG,
  W_VALUE_LENGTH,
} from './dynamic-table.ts';
import { huffmanDecode } from './huffman.ts';
import {
  pseudoIdOf,
  STATIC_BYTES,
  STATIC_COUNT,
  STATIC_IDS,
  STATIC_LINE_OFFSETS,
  STATIC_LINES_VIEW,
  STATIC_NAME_LENGTHS,
  STATIC_OFFSETS,
  STATIC_VALUE_LENGTHS,
} from './static-table.ts';

/** The block is used up. */
export const HPACK_END = 0;
/** A field is in the decoder's properties. */
export const HPACK_FIELD = 1;
/** The block is no HPACK, or breaks its rules: COMPRESSION_ERROR. */
export const HPACK_ERROR = -1;

/** In `flags`: the name is a token in lower case (or such a one behind a colon). */
export const NAME_VALID = 1;
/** In `flags`: the value has no control character, and no blank at either end (RFC 9113 §8.2.1). */
export const VALUE_VALID = 2;
const BOTH_VALID = NAME_VALID | VALUE_VALID;

/** Bytes that a field has in the target beside its name and value: `: ` and CRLF. */
export const FIELD_LINE_EXTRA_BYTES = 4;
/** Size updates that may stand before a block's fields (RFC 7541 §4.2). */
const UPDATES_MAX = 2;
/** Bytes that follow an integer's prefix: 28 bits are more than any length or index that is accepted. */
const INTEGER_BYTES_MAX = 4;

/** Entries of which `insertions` tells; a block that inserts more is none that is worth to be remembered. */
export const INSERTIONS_TOLD_MAX = 24;
/** Words of `INSERTED`: where the field's line begins, the lengths of its name and its value, and its id. */
export const INSERTION_WORDS = 4;
/** What the block at hand has inserted into the table, by the decoder that was last given one. */
export const INSERTED = new Int32Array(INSERTIONS_TOLD_MAX * INSERTION_WORDS);

/** Something that has the same effect on a table each time. */
export interface TableEffect {
  /** Bytes that it inserts, as RFC 7541 §4.1 counts them. */
  readonly insertedBytes: number;
  insertInto(table: DynamicTable): void;
}

/** Decoders that were made: each has its number. */
let decodersMade = 0;

export class HpackDecoder {
  /** Its own among all decoders. */
  readonly number: number;
  /** The block at hand refers to the dynamic table: another table makes it another head. */
  refers: boolean;
  /** Entries that it has inserted; the first INSERTIONS_TOLD_MAX are in INSERTED. */
  insertions: number;
  /** Size updates that it began with. */
  updates: number;
  // The field that `next` has decoded.
  /** An F_ id, or a P_ id (static-table.ts) where the name begins with a colon. */
  id: number;
  nameOffset: number;
  nameLength: number;
  valueOffset: number;
  valueLength: number;
  /** NAME_VALID, VALUE_VALID. */
  flags: number;
  /** The peer asks that this field is never indexed (RFC 7541 §7.1.3). */
  neverIndexed: boolean;
  /** False: the section was beyond its limit, and the field's positions mean nothing. */
  kept: boolean;
  /** Bytes of the block's fields so far, 32 more counted for each (RFC 9113 §6.5.2 MAX_HEADER_LIST_SIZE). */
  listBytes: number;
  /** Where the next field would be written: the target is in use up to here. */
  out: number;

  private readonly table: DynamicTable;
  /** Largest table that the peer may choose: from the settings that it has acknowledged. */
  private sizeAllowed: number;
  private source: Uint8Array;
  private at: number;
  private end: number;
  private target: Uint8Array;
  private targetView: DataView;
  private start: number;
  private limit: number;
  private listBytesMax: number;
  private begun: boolean;
  /** Where the name of a literal's field lies: a table, or the target. */
  private name: Uint8Array;
  private nameFrom: number;
  /** What was to be inserted into the table, so many times, and was not yet: nobody has looked. */
  private due: TableEffect | null;
  private dueTimes: number;

  constructor() {
    this.number = ++decodersMade;
    this.refers = false;
    this.insertions = 0;
    this.updates = 0;
    this.id = F_OTHER;
    this.nameOffset = 0;
    this.nameLength = 0;
    this.valueOffset = 0;
    this.valueLength = 0;
    this.flags = 0;
    this.neverIndexed = false;
    this.kept = false;
    this.listBytes = 0;
    this.out = 0;
    this.table = new DynamicTable(DEFAULT_HEADER_TABLE_BYTES);
    this.sizeAllowed = DEFAULT_HEADER_TABLE_BYTES;
    this.source = NO_BYTES;
    this.at = 0;
    this.end = 0;
    this.target = NO_BYTES;
    this.targetView = viewOf(NO_BYTES);
    this.start = 0;
    this.limit = 0;
    this.listBytesMax = 0;
    this.begun = false;
    this.name = NO_BYTES;
    this.nameFrom = 0;
    this.due = null;
    this.dueTimes = 0;
  }

  /** The peer has acknowledged this SETTINGS_HEADER_TABLE_SIZE, or is about to: with the larger of two it can't go wrong. */
  allowTable(bytes: number): void {
    this.sizeAllowed = bytes;
    // A block that was in order may not be so any more.
    this.table.version = (this.table.version + 1) | 0;
  }

  /** While it is the same, a block is decoded to the same fields. */
  get version(): number {
    return this.table.version;
  }

  /** The next block has to begin with a size update (RFC 7541 §4.2). */
  get mustShrink(): boolean {
    return this.table.sizeMax > this.sizeAllowed;
  }

  /**
   * A block came whose effect on the table is known. It is made when somebody looks, since of what is inserted again and
   * again most is never asked for.
   */
  repeat(effect: TableEffect): void {
    if (this.due !== effect) {
      this.settle();
      this.due = effect;
    }
    this.dueTimes++;
    this.table.version = (this.table.version + 1) | 0;
  }

  /** The table becomes what it is to be. What was inserted before its own size has passed is evicted anyway. */
  private settle(): void {
    const { due, dueTimes, table } = this;
    this.due = null;
    this.dueTimes = 0;
    if (due === null) return;
    const times = Math.min(dueTimes, Math.ceil(table.sizeMax / due.insertedBytes));
    for (let time = 0; time < times; time++) due.insertInto(table);
  }

  /**
   * A block: `source[from … end)`. Fields are written to `target[at … limit)`, as long as they amount to no more than
   * `listBytesMax`; the target has room for so much and, behind it, for the table's largest entry.
   */
  begin(
    source: Uint8Array,
    from: number,
    end: number,
    target: Uint8Array,
    at: number,
    limit: number,
    listBytesMax: number,
  ): void {
    assert(limit - at >= listBytesMax + this.sizeAllowed, 'no room for a list and an entry of the table');
    if (this.dueTimes > 0) this.settle();
    this.refers = false;
    this.insertions = 0;
    this.source = source;
    this.at = from;
    this.end = end;
    this.target = target;
    this.targetView = viewOf(target);
    this.start = at;
    this.out = at;
    this.limit = limit;
    this.listBytesMax = listBytesMax;
    this.listBytes = 0;
    this.begun = false;
    this.updates = 0;
  }

  /** HPACK_FIELD, HPACK_END, or HPACK_ERROR, after which the decoder is of no more use. */
  next(): number {
    while (this.at < this.end) {
      const byte = this.source[this.at];
      if ((byte & 0xe0) === 0x20) {
        if (!this.updateSize()) return HPACK_ERROR;
        continue;
      }
      // A table that has to shrink is announced before the first field (RFC 7541 §4.2).
      if (!this.begun && this.table.sizeMax > this.sizeAllowed) return HPACK_ERROR;
      this.begun = true;
      if ((byte & 0x80) !== 0) return this.indexed();
      if ((byte & 0x40) !== 0) return this.literal(6, true);
      this.neverIndexed = (byte & 0x10) !== 0;
      return this.literal(4, false);
    }
    return this.begun || this.table.sizeMax <= this.sizeAllowed ? HPACK_END : HPACK_ERROR;
  }

  private updateSize(): boolean {
    if (this.begun || ++this.updates > UPDATES_MAX) return false;
    const size = this.integer(5);
    if (size < 0 || size > this.sizeAllowed) return false;
    this.table.resize(size);
    return true;
  }

  /** An integer whose prefix is the lowest bits of the next byte (RFC 7541 §5.1), or -1. */
  private integer(prefixBits: number): number {
    const source = this.source;
    const mask = (1 << prefixBits) - 1;
    let value = source[this.at++] & mask;
    if (value < mask) return value;
    for (let index = 0; index < INTEGER_BYTES_MAX; index++) {
      if (this.at >= this.end) return -1;
      const byte = source[this.at++];
      value += (byte & 0x7f) << (7 * index);
      if ((byte & 0x80) === 0) return value;
    }
    return -1;
  }

  private indexed(): number {
    const index = this.integer(7);
    if (index <= 0) return HPACK_ERROR;
    this.neverIndexed = false;
    if (index <= STATIC_COUNT) {
      this.nameLength = STATIC_NAME_LENGTHS[index];
      this.valueLength = STATIC_VALUE_LENGTHS[index];
      this.id = STATIC_IDS[index];
      this.flags = BOTH_VALID;
      this.copyLine(STATIC_LINES_VIEW, STATIC_LINE_OFFSETS[index]);
      return HPACK_FIELD;
    }
    const { table } = this;
    const at = index - STATIC_COUNT - 1;
    if (at >= table.count) return HPACK_ERROR;
    this.refers = true;
    const { entries } = table;
    const word = table.wordOf(at);
    this.nameLength = entries[word + W_NAME_LENGTH];
    this.valueLength = entries[word + W_VALUE_LENGTH];
    this.id = entries[word + W_TAG];
    this.flags = entries[word + W_SECOND_TAG];
    this.copyLine(table.view, entries[word + W_OFFSET]);
    return HPACK_FIELD;
  }

  /** A field as it lies in a table. */
  private copyLine(view: DataView, offset: number): void {
    if (!this.count()) return;
    const { out, nameLength, valueLength } = this;
    const length = nameLength + valueLength + LINE_EXTRA_BYTES;
    copyWords(this.targetView, out, view, offset, length);
    this.nameOffset = out;
    this.valueOffset = out + nameLength + SEPARATOR_BYTES;
    this.out = out + length;
  }

  /** Counts the field; whether it is within the limit. */
  private count(): boolean {
    const length = this.nameLength + this.valueLength;
    this.listBytes += length + FIELD_OVERHEAD_BYTES;
    this.kept =
      this.listBytes <= this.listBytesMax && this.out + length + FIELD_LINE_EXTRA_BYTES <= this.limit;
    return this.kept;
  }

  private endName(at: number): number {
    this.target[at] = COLON;
    this.target[at + 1] = SP;
    return at + 2;
  }

  private endLine(at: number): void {
    this.target[at] = CR;
    this.target[at + 1] = LF;
    this.out = at + 2;
  }

  private literal(prefixBits: number, insert: boolean): number {
    if (insert) this.neverIndexed = false;
    const index = this.integer(prefixBits);
    if (index < 0) return HPACK_ERROR;
    // Beyond the limit nothing that was written is needed: then all of the target is room to decode in.
    const nameAt = this.listBytes > this.listBytesMax ? this.start : this.out;
    if (index > 0) {
      if (!this.indexedName(index, nameAt)) return HPACK_ERROR;
    } else {
      const length = this.string(nameAt);
      if (length < 0) return HPACK_ERROR;
      this.nameLength = length;
      this.name = this.target;
      this.nameFrom = nameAt;
      this.classifyName(nameAt, length);
    }
    const fits = nameAt + this.nameLength + FIELD_LINE_EXTRA_BYTES <= this.limit;
    const valueAt = fits ? this.endName(nameAt + this.nameLength) : this.limit;
    const valueLength = this.string(valueAt);
    if (valueLength < 0) return HPACK_ERROR;
    this.valueLength = valueLength;
    const whole = valueAt + valueLength + 2 <= this.limit;
    if (whole && isValidValue(this.target, this.targetView, valueAt, valueLength)) this.flags |= VALUE_VALID;
    if (insert) this.insert(nameAt, valueAt);
    if (!this.count()) return HPACK_FIELD;
    this.nameOffset = nameAt;
    this.valueOffset = valueAt;
    this.endLine(valueAt + valueLength);
    return HPACK_FIELD;
  }

  /** An entry that is larger than the table is not looked at; any other lies whole in the target. */
  private insert(nameAt: number, valueAt: number): void {
    const { nameLength, valueLength, flags } = this;
    if (this.insertions < INSERTIONS_TOLD_MAX) {
      const word = this.insertions * INSERTION_WORDS;
      INSERTED[word] = nameAt;
      INSERTED[word + 1] = nameLength;
      INSERTED[word + 2] = valueLength;
      INSERTED[word + 3] = this.id;
    }
    this.insertions++;
    this.table.insert(
      this.name,
      this.nameFrom,
      nameLength,
      this.target,
      valueAt,
      valueLength,
      this.id,
      flags,
    );
  }

  /** The name of a table's entry, copied to `at` where there is room. False: there is no such entry. */
  private indexedName(index: number, at: number): boolean {
    if (index <= STATIC_COUNT) {
      this.name = STATIC_BYTES;
      this.nameFrom = STATIC_OFFSETS[index];
      this.nameLength = STATIC_NAME_LENGTHS[index];
      this.id = STATIC_IDS[index];
      this.flags = NAME_VALID;
    } else {
      const { table } = this;
      const entry = index - STATIC_COUNT - 1;
      if (entry >= table.count) return false;
      this.refers = true;
      const { entries } = table;
      const word = table.wordOf(entry);
      this.name = table.bytes;
      this.nameFrom = entries[word + W_OFFSET];
      this.nameLength = entries[word + W_NAME_LENGTH];
      this.id = entries[word + W_TAG];
      this.flags = entries[word + W_SECOND_TAG] & NAME_VALID;
    }
    if (at + this.nameLength <= this.limit) {
      copyAcross(this.target, at, this.name, this.nameFrom, this.nameLength);
    }
    return true;
  }

  /** A string (RFC 7541 §5.2), written to `at` as far as there is room. Its length, or -1. */
  private string(at: number): number {
    if (this.at >= this.end) return -1;
    const huffman = (this.source[this.at] & 0x80) !== 0;
    const length = this.integer(7);
    if (length < 0 || length > this.end - this.at) return -1;
    const from = this.at;
    this.at = from + length;
    if (huffman) return huffmanDecode(this.source, from, length, this.target, at, this.limit);
    const room = Math.max(0, Math.min(length, this.limit - at));
    if (this.source === this.target) copyBytes(this.target, at, from, room);
    else copyAcross(this.target, at, this.source, from, room);
    return length;
  }

  private classifyName(at: number, length: number): void {
    const target = this.target;
    this.flags = 0;
    this.id = F_OTHER;
    if (at + length > this.limit || length === 0) return;
    if (target[at] === COLON) {
      this.id = pseudoIdOf(target, at, length);
      this.flags = NAME_VALID;
    } else if (isLowerToken(target, at, length)) {
      this.id = fieldIdOf(target, at, length);
      this.flags = NAME_VALID;
    }
  }
}

const NO_BYTES = new Uint8Array(0);

/** A token without upper-case letters (RFC 9113 §8.2.1). */
function isLowerToken(bytes: Uint8Array, offset: number, length: number): boolean {
  for (let at = offset, end = offset + length; at < end; at++) {
    const byte = bytes[at];
    if ((CHAR_CLASS[byte] & TCHAR) === 0 || (byte >= 0x41 && byte <= 0x5a)) return false;
  }
  return true;
}

/** RFC 9113 §8.2.1, and as strict as HTTP/1.1 about all control characters (RFC 9110 §5.5). */
function isValidValue(bytes: Uint8Array, view: DataView, offset: number, length: number): boolean {
  if (length === 0) return true;
  const first = bytes[offset];
  const last = bytes[offset + length - 1];
  if (first === SP || first === HTAB || last === SP || last === HTAB) return false;
  const end = offset + length;
  let at = offset;
  // Four bytes at once, as long as none of them is below a blank, or DEL.
  for (; at + 4 <= end; at += 4) {
    const word = view.getInt32(at, true);
    const controls = (word - ALL_BLANKS) & ~word;
    const rest = word ^ ALL_DEL;
    const deletes = (rest - ALL_ONES) & ~rest;
    if (((controls | deletes) & ALL_TOP_BITS) !== 0) break;
  }
  for (; at < end; at++) {
    if ((CHAR_CLASS[bytes[at]] & VALUE) === 0) return false;
  }
  return true;
}

// Four bytes of one value each.
const ALL_BLANKS = 0x20202020;
const ALL_DEL = 0x7f7f7f7f;
const ALL_ONES = 0x01010101;
const ALL_TOP_BITS = 0x80808080 | 0;
