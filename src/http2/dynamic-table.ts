/**
 * A dynamic table of HPACK (RFC 7541 §2.3.2, §4): entries of a name and a value, the newest first, bounded by
 * their bytes and 32 more for each. Entries lie whole, one after another, in memory that is twice the table's
 * size at most: when its end is reached, what is still in the table moves to its beginning, so that every
 * byte is moved at most once. Memory is made as it is needed: most connections use little of it.
 */

import { copyAcross } from '../base/bytes.ts';
import { FIELD_OVERHEAD_BYTES } from './constants.ts';

const BYTES_FIRST = 512;
const ENTRIES_FIRST = 16;
/** Int32 words of an entry: offset, name length, value length, two words of its owner's. */
const WORDS = 5;

export class DynamicTable {
  /** Where names and values lie; replaced when it grows. */
  bytes: Uint8Array;
  /** A ring of entries. */
  private entries: Int32Array;
  /** Slot of the oldest entry. */
  private first: number;
  count: number;
  /** Bytes of all entries as RFC 7541 §4.1 counts them. */
  size: number;
  sizeMax: number;
  /** Entries ever inserted: the newest has this number, and each keeps its own. */
  inserted: number;
  /** Where the next entry's bytes go. */
  private at: number;

  constructor(sizeMax: number) {
    this.bytes = NO_BYTES;
    this.entries = NO_ENTRIES;
    this.first = 0;
    this.count = 0;
    this.size = 0;
    this.sizeMax = sizeMax;
    this.inserted = 0;
    this.at = 0;
  }

  /** A new limit; what doesn't fit it any more is evicted. */
  resize(sizeMax: number): void {
    this.sizeMax = sizeMax;
    this.evictTo(sizeMax);
  }

  private evictTo(sizeMax: number): void {
    const slots = this.entries.length / WORDS;
    while (this.size > sizeMax) {
      const word = this.first * WORDS;
      this.size -= this.entries[word + 1] + this.entries[word + 2] + FIELD_OVERHEAD_BYTES;
      this.first = (this.first + 1) & (slots - 1);
      this.count--;
    }
  }

  /** Word of the entry at `index`, 0 being the newest; the caller has checked that it is there. */
  private wordOf(index: number): number {
    const slots = this.entries.length / WORDS;
    return ((this.first + this.count - 1 - index) & (slots - 1)) * WORDS;
  }

  offset(index: number): number {
    return this.entries[this.wordOf(index)];
  }
  nameLength(index: number): number {
    return this.entries[this.wordOf(index) + 1];
  }
  valueLength(index: number): number {
    return this.entries[this.wordOf(index) + 2];
  }
  /** The two words that were given with the entry. */
  tag(index: number): number {
    return this.entries[this.wordOf(index) + 3];
  }
  secondTag(index: number): number {
    return this.entries[this.wordOf(index) + 4];
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
    const length = nameLength + valueLength;
    const size = length + FIELD_OVERHEAD_BYTES;
    if (size > this.sizeMax) {
      this.evictTo(0);
      return;
    }
    const old = this.bytes;
    // Room is made before anything is evicted, so that a name that lies in here stays where it is or moves along.
    const delta = this.makeRoom(length);
    const nameAt = name === old ? nameOffset + delta : nameOffset;
    const nameBytes = name === old ? this.bytes : name;
    const at = this.at;
    copyAcross(this.bytes, at, nameBytes, nameAt, nameLength);
    copyAcross(this.bytes, at + nameLength, value, valueOffset, valueLength);
    this.evictTo(this.sizeMax - size);
    this.push(at, nameLength, valueLength, tag, secondTag);
    this.at = at + length;
    this.size += size;
  }

  /** Sees to it that `length` bytes are free at `at`; returns by how much what was there has moved. */
  private makeRoom(length: number): number {
    if (this.at + length <= this.bytes.length) return 0;
    const start = this.count === 0 ? this.at : this.offset(this.count - 1);
    const used = this.at - start;
    let capacity = Math.max(BYTES_FIRST, this.bytes.length);
    while (capacity < 2 * used + length) capacity *= 2;
    if (capacity > this.bytes.length) {
      const grown = new Uint8Array(capacity);
      grown.set(this.bytes.subarray(start, this.at));
      this.bytes = grown;
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
    const slots = this.entries.length / WORDS;
    if (this.count === slots) this.growEntries(slots);
    this.count++;
    this.inserted++;
    const word = this.wordOf(0);
    this.entries[word] = offset;
    this.entries[word + 1] = nameLength;
    this.entries[word + 2] = valueLength;
    this.entries[word + 3] = tag;
    this.entries[word + 4] = secondTag;
  }

  private growEntries(slots: number): void {
    const grown = new Int32Array(Math.max(ENTRIES_FIRST, slots * 2) * WORDS);
    for (let index = 0; index < this.count; index++) {
      const from = ((this.first + index) & (slots - 1)) * WORDS;
      grown.set(this.entries.subarray(from, from + WORDS), index * WORDS);
    }
    this.entries = grown;
    this.first = 0;
  }
}

const NO_BYTES = new Uint8Array(0);
const NO_ENTRIES = new Int32Array(0);
