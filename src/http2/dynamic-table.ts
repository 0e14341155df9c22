/**
 * A dynamic table of HPACK (RFC 7541 §2.3.2, §4): entries of a name and a value, the newest first, bounded by
 * their bytes and 32 more for each. Entries lie whole, as the lines `name: value` CRLF that they are decoded to, one
 * after another, in memory that is about twice the table's size at most: when its end is reached, what is still in the
 * table moves to its beginning, so that every byte is moved at most once. Memory is made as it is needed: most
 * connections use little of it.
 */

import { copyAcross } from '../base/bytes.ts';
import { COLON, CR, LF, SP } from '../http/char-class.ts';
import { FIELD_OVERHEAD_BYTES } from './constants.ts';

const BYTES_FIRST = 512;
const ENTRIES_FIRST = 16;
/** Int32 words of an entry: those below, and some that make their number a power of two. */
const WORDS = 8;
// Of the word that `wordOf` names.
/** Where the line begins in `bytes`. */
export const W_OFFSET = 0;
export const W_NAME_LENGTH = 1;
export const W_VALUE_LENGTH = 2;
/** The two words that were given with the entry. */
export const W_TAG = 3;
export const W_SECOND_TAG = 4;
/** Bytes of a line beside name and value: `: ` and CRLF. */
export const LINE_EXTRA_BYTES = 4;
/** Bytes between a line's name and its value. */
export const SEPARATOR_BYTES = 2;

export class DynamicTable {
  /** Where lines lie; replaced when it grows. */
  bytes: Uint8Array;
  view: DataView;
  /** A ring of entries, WORDS each. */
  entries: Int32Array;
  private slotMask: number;
  /** Slot of the oldest entry. */
  private first: number;
  count: number;
  /** Bytes of all entries as RFC 7541 §4.1 counts them. */
  size: number;
  sizeMax: number;
  /** Entries ever inserted: the newest has this number, and each keeps its own. */
  inserted: number;
  /** Rises with whatever may have changed what an index stands for; wraps around. */
  version: number;
  /** Where the next entry's bytes go. */
  private at: number;

  constructor(sizeMax: number) {
    this.bytes = NO_BYTES;
    this.view = NO_VIEW;
    this.entries = NO_ENTRIES;
    this.slotMask = -1;
    this.first = 0;
    this.count = 0;
    this.size = 0;
    this.sizeMax = sizeMax;
    this.inserted = 0;
    this.version = 0;
    this.at = 0;
  }

  /** A new limit; what doesn't fit it any more is evicted. */
  resize(sizeMax: number): void {
    this.sizeMax = sizeMax;
    this.version = (this.version + 1) | 0;
    this.evictTo(sizeMax);
  }

  private evictTo(sizeMax: number): void {
    const { entries, slotMask } = this;
    while (this.size > sizeMax) {
      const word = this.first * WORDS;
      this.size -= entries[word + W_NAME_LENGTH] + entries[word + W_VALUE_LENGTH] + FIELD_OVERHEAD_BYTES;
      this.first = (this.first + 1) & slotMask;
      this.count--;
    }
  }

  /** Word in `entries` of the entry at `index`, 0 being the newest; the caller has checked that it is there. */
  wordOf(index: number): number {
    return ((this.first + this.count - 1 - index) & this.slotMask) * WORDS;
  }

  /**
   * Inserts an entry, for which older ones are evicted; one that is larger than the table empties it (RFC 7541 §4.4).
   * Name and value may lie in this table's own `bytes`, even of an entry that is evicted for it.
   */
  insert(
    name: Uint8Array,
    nameOffset: number,
    nameLength: number,
    value: Uint8Array,
    valueOffset: number,
    valueLength: number,
    tag: number,
    secondTag: number,
  ): void {
    const length = nameLength + valueLength + LINE_EXTRA_BYTES;
    const size = nameLength + valueLength + FIELD_OVERHEAD_BYTES;
    this.version = (this.version + 1) | 0;
    if (size > this.sizeMax) {
      this.evictTo(0);
      return;
    }
    const old = this.bytes;
    // Room is made before anything is evicted, so that a name that lies in here stays where it is or moves along.
    const delta = this.makeRoom(length);
    const nameAt = name === old ? nameOffset + delta : nameOffset;
    const nameBytes = name === old ? this.bytes : name;
    const { at, bytes } = this;
    copyAcross(bytes, at, nameBytes, nameAt, nameLength);
    const valueAt = at + nameLength + SEPARATOR_BYTES;
    bytes[valueAt - 2] = COLON;
    bytes[valueAt - 1] = SP;
    copyAcross(bytes, valueAt, value, valueOffset, valueLength);
    bytes[valueAt + valueLength] = CR;
    bytes[valueAt + valueLength + 1] = LF;
    this.evictTo(this.sizeMax - size);
    this.push(at, nameLength, valueLength, tag, secondTag);
    this.at = at + length;
    this.size += size;
  }

  /** Sees to it that `length` bytes are free at `at`; returns by how much what was there has moved. */
  private makeRoom(length: number): number {
    if (this.at + length <= this.bytes.length) return 0;
    const start = this.count === 0 ? this.at : this.entries[this.wordOf(this.count - 1)];
    const used = this.at - start;
    let capacity = Math.max(BYTES_FIRST, this.bytes.length);
    while (capacity < 2 * used + length) capacity *= 2;
    if (capacity > this.bytes.length) {
      const grown = new Uint8Array(capacity);
      grown.set(this.bytes.subarray(start, this.at));
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    } else {
      this.bytes.copyWithin(0, start, this.at);
    }
    for (let index = 0; index < this.count; index++) this.entries[this.wordOf(index)] -= start;
    this.at = used;
    return -start;
  }

  private push(
    offset: number,
    nameLength: number,
    valueLength: number,
    tag: number,
    secondTag: number,
  ): void {
    if (this.count === this.slotMask + 1) this.growEntries(this.slotMask + 1);
    this.count++;
    this.inserted++;
    const word = this.wordOf(0);
    this.entries[word + W_OFFSET] = offset;
    this.entries[word + W_NAME_LENGTH] = nameLength;
    this.entries[word + W_VALUE_LENGTH] = valueLength;
    this.entries[word + W_TAG] = tag;
    this.entries[word + W_SECOND_TAG] = secondTag;
  }

  private growEntries(slots: number): void {
    const grown = new Int32Array(Math.max(ENTRIES_FIRST, slots * 2) * WORDS);
    for (let index = 0; index < this.count; index++) {
      const from = ((this.first + index) & this.slotMask) * WORDS;
      grown.set(this.entries.subarray(from, from + WORDS), index * WORDS);
    }
    this.entries = grown;
    this.slotMask = grown.length / WORDS - 1;
    this.first = 0;
  }
}

const NO_BYTES = new Uint8Array(0);
const NO_VIEW = new DataView(NO_BYTES.buffer);
const NO_ENTRIES = new Int32Array(0);
