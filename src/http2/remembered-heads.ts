/**
 * Heads that were decoded not long ago, by the bytes of their blocks: when the same block comes again on a connection, and
 * means the same, its head is there, without being decoded and checked once more. Clients that ask for one thing often
 * (gRPC, health checks, polls) and backends that answer alike send such blocks all the time.
 *
 * A block means the same where it refers to no entry of the dynamic table, or where that is as it was. What a block of
 * the first kind inserts is inserted again each time (`HpackDecoder.repeat`); one that both refers and inserts is not kept.
 *
 * A head is found only by the connection that decoded it: what one peer sent changes nothing, the time that it takes
 * included, for another. A block is kept when it comes for the second time, since most come once. Bounded: SETS × WAYS
 * heads for all connections of a workspace, short ones only; of one set the oldest gives way.
 *
 * What was decoded is kept in the same memory as the workspace, so that a head points to it as it would to what has
 * just been decoded; nobody writes to it.
 */

import { viewOf } from '../base/bytes.ts';
import type { FieldSection } from '../http/fields.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';
import { FIELD_OVERHEAD_BYTES } from './constants.ts';
import { type DynamicTable, SEPARATOR_BYTES } from './dynamic-table.ts';
import {
  type HpackDecoder,
  INSERTED,
  INSERTION_WORDS,
  INSERTIONS_TOLD_MAX,
  NAME_VALID,
  type TableEffect,
  VALUE_VALID,
} from './hpack-decoder.ts';

/** What a block is the same for: bits of the `kind` that `find` and `keep` are given. */
export const KIND_REQUEST = 1;
/** END_STREAM came with it. */
export const KIND_ENDED = 2;
/** Responses: the request was HEAD. Requests: extended CONNECT is allowed. */
export const KIND_OPTION = 4;

const WAYS = 4;
const SETS = 16;
/** Hashes of blocks that came once. */
const CANDIDATES = 256;
// What is longer, or has more fields, is decoded each time.
const BLOCK_BYTES_MAX = 512;
const TEXT_BYTES_MAX = 768;
const FIELDS_KEPT_MAX = 24;
/** Less is decoded as quickly as it is found, and words are compared. */
const WORD_BYTES = 4;

/** Memory that heads need for what was decoded. */
export const REMEMBERED_BYTES = SETS * WAYS * TEXT_BYTES_MAX;

/** One head. */
export class RememberedHead implements TableEffect {
  readonly hash: number;
  /** The number of the decoder that it is of. */
  readonly decoder: number;
  readonly kind: number;
  /** The block refers to the dynamic table, which then had this version. */
  readonly refers: boolean;
  readonly version: number;
  readonly block: DataView;
  /** Where what was decoded lies, in the workspace's memory, as long as it is kept. */
  readonly start: number;
  readonly end: number;
  /** False: another has taken its place. What it inserts it can still insert. */
  isKept: boolean;
  readonly insertedBytes: number;
  /** INSERTION_WORDS for each, the first counting in `insertedText`. */
  private readonly insertions: Int32Array;
  private readonly insertedText: Uint8Array;
  private readonly fieldWords: Int32Array;
  private readonly seenLow: number;
  private readonly seenHigh: number;
  readonly priority: number;
  // Of the heads in http/message.ts, by the same names.
  private status: number;
  private methodId: number;
  private methodOffset: number;
  private methodLength: number;
  private targetForm: number;
  private scheme: number;
  private pathOffset: number;
  private pathLength: number;
  private queryOffset: number;
  private queryLength: number;
  private authorityOffset: number;
  private authorityLength: number;
  private bodyKind: number;
  private contentLength: number;
  private expectContinue: boolean;
  private upgradeIndex: number;
  private acceptsTrailers: boolean;
  private headBytes: number;

  /** Of `block`, which `decoder` has just decoded to `fields`, the text to `[start, end)`; it moves to `to`. */
  constructor(
    hash: number,
    decoder: HpackDecoder,
    kind: number,
    block: Uint8Array,
    fields: FieldSection,
    start: number,
    end: number,
    to: number,
    priority: number,
  ) {
    const { bytes } = fields;
    this.hash = hash;
    this.decoder = decoder.number;
    this.kind = kind;
    this.refers = decoder.refers;
    this.version = decoder.version;
    this.block = new DataView(Uint8Array.from(block).buffer);
    bytes.copyWithin(to, start, end);
    this.start = to;
    this.end = to + end - start;
    this.isKept = true;
    this.insertions = INSERTED.slice(0, decoder.insertions * INSERTION_WORDS);
    this.insertedText = decoder.insertions === 0 ? NO_BYTES : Uint8Array.from(bytes.subarray(start, end));
    let insertedBytes = 0;
    for (let word = 0; word < this.insertions.length; word += INSERTION_WORDS) {
      this.insertions[word] -= start;
      insertedBytes += this.insertions[word + 1] + this.insertions[word + 2] + FIELD_OVERHEAD_BYTES;
    }
    this.insertedBytes = insertedBytes;
    this.fieldWords = fields.wordsMovedBy(to - start);
    this.seenLow = fields.seenLow;
    this.seenHigh = fields.seenHigh;
    this.priority = priority;
    this.status = 0;
    this.methodId = 0;
    this.methodOffset = 0;
    this.methodLength = 0;
    this.targetForm = 0;
    this.scheme = 0;
    this.pathOffset = 0;
    this.pathLength = 0;
    this.queryOffset = -1;
    this.queryLength = 0;
    this.authorityOffset = 0;
    this.authorityLength = 0;
    this.bodyKind = 0;
    this.contentLength = -1;
    this.expectContinue = false;
    this.upgradeIndex = -1;
    this.acceptsTrailers = false;
    this.headBytes = 0;
  }

  insertInto(table: DynamicTable): void {
    const { insertions, insertedText: text } = this;
    for (let word = 0; word < insertions.length; word += INSERTION_WORDS) {
      const nameAt = insertions[word];
      const nameLength = insertions[word + 1];
      const valueAt = nameAt + nameLength + SEPARATOR_BYTES;
      const valueLength = insertions[word + 2];
      // A head of which anything is not valid is malformed, and is not kept.
      const flags = NAME_VALID | VALUE_VALID;
      table.insert(text, nameAt, nameLength, text, valueAt, valueLength, insertions[word + 3], flags);
    }
  }

  /** What the request has beside its fields; `moved` bytes behind where it points. */
  keepRequest(head: RequestHead, moved: number): void {
    this.methodId = head.methodId;
    this.methodOffset = head.methodOffset + moved;
    this.methodLength = head.methodLength;
    this.targetForm = head.targetForm;
    this.scheme = head.scheme;
    this.pathOffset = head.pathOffset + moved;
    this.pathLength = head.pathLength;
    this.queryOffset = head.queryOffset < 0 ? -1 : head.queryOffset + moved;
    this.queryLength = head.queryLength;
    this.authorityOffset = head.authorityOffset + moved;
    this.authorityLength = head.authorityLength;
    this.bodyKind = head.bodyKind;
    this.contentLength = head.contentLength;
    this.expectContinue = head.expectContinue;
    this.upgradeIndex = head.upgradeIndex;
    this.acceptsTrailers = head.acceptsTrailers;
    this.headBytes = head.headBytes;
  }

  keepResponse(head: ResponseHead): void {
    this.status = head.status;
    this.bodyKind = head.bodyKind;
    this.contentLength = head.contentLength;
    this.upgradeIndex = head.upgradeIndex;
    this.headBytes = head.headBytes;
  }

  /** Makes `head` what it was. */
  giveRequest(head: RequestHead): void {
    head.methodId = this.methodId;
    head.methodOffset = this.methodOffset;
    head.methodLength = this.methodLength;
    head.targetForm = this.targetForm;
    head.scheme = this.scheme;
    head.pathOffset = this.pathOffset;
    head.pathLength = this.pathLength;
    head.queryOffset = this.queryOffset;
    head.queryLength = this.queryLength;
    head.authorityOffset = this.authorityOffset;
    head.authorityLength = this.authorityLength;
    head.version = 20;
    head.bodyKind = this.bodyKind;
    head.contentLength = this.contentLength;
    head.expectContinue = this.expectContinue;
    head.upgradeIndex = this.upgradeIndex;
    head.acceptsTrailers = this.acceptsTrailers;
    head.headBytes = this.headBytes;
    head.fields.restore(this.fieldWords, this.seenLow, this.seenHigh);
  }

  giveResponse(head: ResponseHead): void {
    head.status = this.status;
    head.reasonOffset = 0;
    head.reasonLength = 0;
    head.version = 20;
    head.bodyKind = this.bodyKind;
    head.contentLength = this.contentLength;
    head.upgradeIndex = this.upgradeIndex;
    head.headBytes = this.headBytes;
    head.fields.restore(this.fieldWords, this.seenLow, this.seenHigh);
  }
}

export class RememberedHeads {
  /** Where their memory begins in the workspace's. */
  private readonly memory: number;
  /** By set and way. */
  private readonly heads: (RememberedHead | null)[];
  /** Of each of them; 0 where there is none. */
  private readonly hashes: Int32Array;
  /** Hashes of what was not found, each at a place of its own. */
  private readonly candidates: Int32Array;
  /** Which way of a set gives way next. */
  private readonly turns: Uint8Array;
  /** Of the block that `find` did not find; 0: it is not to be kept. */
  private hash: number;

  /** `REMEMBERED_BYTES` from `memory` on, in the workspace's bytes, are theirs. */
  constructor(memory: number) {
    this.memory = memory;
    this.heads = new Array<RememberedHead | null>(SETS * WAYS).fill(null);
    this.hashes = new Int32Array(SETS * WAYS);
    this.candidates = new Int32Array(CANDIDATES);
    this.turns = new Uint8Array(SETS);
    this.hash = 0;
  }

  /**
   * The head of `block[from … to)`, where it is known for a decoder and means the same; or null. Then `keep` may follow.
   * `recent` is the one of that decoder that was found last, for a first guess.
   */
  find(
    block: Uint8Array,
    from: number,
    to: number,
    decoder: HpackDecoder,
    kind: number,
    recent: RememberedHead | null,
  ): RememberedHead | null {
    const length = to - from;
    this.hash = 0;
    if (length < WORD_BYTES || length > BLOCK_BYTES_MAX || decoder.mustShrink) return null;
    const view = viewOf(block);
    if (recent?.isKept && recent.kind === kind) {
      const isRecent = recent.block.byteLength === length && isSame(recent.block, view, from);
      if (isRecent && !(recent.refers && recent.version !== decoder.version)) return recent;
    }
    const hash = hashOf(view, from, length, Math.imul(decoder.number, 8) + kind);
    this.hash = hash;
    const { hashes } = this;
    const first = (hash & (SETS - 1)) * WAYS;
    for (let at = first; at < first + WAYS; at++) {
      if (hashes[at] !== hash) continue;
      const head = this.heads[at];
      if (head === null || head.decoder !== decoder.number || head.kind !== kind) continue;
      if (head.block.byteLength !== length || !isSame(head.block, view, from)) continue;
      return head.refers && head.version !== decoder.version ? null : head;
    }
    return null;
  }

  /**
   * Keeps the head of the block that `find` was just asked for in vain, if it comes for the second time. Then it is
   * returned, for the caller to tell it of the head beside its fields.
   */
  keep(
    block: Uint8Array,
    from: number,
    blockEnd: number,
    decoder: HpackDecoder,
    kind: number,
    fields: FieldSection,
    start: number,
    end: number,
    priority: number,
  ): RememberedHead | null {
    const { hash, candidates } = this;
    const { insertions, refers } = decoder;
    if (hash === 0 || decoder.updates > 0 || insertions > INSERTIONS_TOLD_MAX) return null;
    if (refers && insertions > 0) return null;
    if (fields.count > FIELDS_KEPT_MAX || end - start < WORD_BYTES || end - start > TEXT_BYTES_MAX)
      return null;
    const candidate = refers ? hash ^ Math.imul(decoder.version, HASH_FACTOR) : hash;
    const seenAt = (candidate >>> 8) & (CANDIDATES - 1);
    if (candidates[seenAt] !== candidate) {
      candidates[seenAt] = candidate;
      return null;
    }
    const place = this.placeFor(hash);
    const to = this.memory + place * TEXT_BYTES_MAX;
    const replaced = this.heads[place];
    if (replaced !== null) replaced.isKept = false;
    const head = new RememberedHead(
      hash,
      decoder,
      kind,
      block.subarray(from, blockEnd),
      fields,
      start,
      end,
      to,
      priority,
    );
    this.hashes[place] = hash;
    this.heads[place] = head;
    return head;
  }

  /** That of one with the same hash, or of the oldest of its set. */
  private placeFor(hash: number): number {
    const { hashes, turns } = this;
    const set = hash & (SETS - 1);
    const first = set * WAYS;
    for (let at = first; at < first + WAYS; at++) if (hashes[at] === hash) return at;
    const way = turns[set];
    turns[set] = (way + 1) & (WAYS - 1);
    return first + way;
  }
}

const NO_BYTES = new Uint8Array(0);
const HASH_FACTOR = 0x85ebca6b;

/** Never 0. Of a word after the other, the last one overlapping the one before it. */
function hashOf(view: DataView, from: number, length: number, seed: number): number {
  let hash = seed ^ length;
  const last = from + length - WORD_BYTES;
  for (let at = from; at < last; at += WORD_BYTES)
    hash = Math.imul(hash ^ view.getInt32(at, true), HASH_FACTOR) ^ (hash >>> 15);
  hash = Math.imul(hash ^ view.getInt32(last, true), HASH_FACTOR);
  return (hash ^ (hash >>> 16)) | 0 || 1;
}

function isSame(block: DataView, view: DataView, from: number): boolean {
  const last = block.byteLength - WORD_BYTES;
  for (let at = 0; at < last; at += WORD_BYTES) {
    if (block.getInt32(at, true) !== view.getInt32(from + at, true)) return false;
  }
  return block.getInt32(last, true) === view.getInt32(from + last, true);
}
