/**
 * Heads that were decoded not long ago, by the bytes of their blocks: a connection on which the same block comes again
 * while its dynamic table is as it was gets the same head, without decoding and checking it once more. Clients that
 * ask for one thing often (gRPC, health checks, polls) and backends that answer alike send such blocks all the time.
 *
 * A head is found only by the connection that decoded it: what one peer sent changes nothing, the time that it takes
 * included, for another. A block is kept when it comes for the second time, since most come once. Bounded: SETS × WAYS
 * heads for all connections of a workspace, short ones only; of one set the oldest gives way.
 */

import { viewOf } from '../base/bytes.ts';
import { FIELD_WORDS, type FieldSection } from '../http/fields.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';

/** What a block is the same for: bits of the `kind` that `find` and `keep` are given. */
export const KIND_REQUEST = 1;
/** END_STREAM came with it. */
export const KIND_ENDED = 2;
/** Responses: the request was HEAD. Requests: extended CONNECT is allowed. */
export const KIND_OPTION = 4;

const WAYS = 4;
const SETS = 32;
/** Hashes of blocks that came once. */
const CANDIDATES = 256;
// What is longer, or has more fields, is decoded each time. Multiples of four.
const BLOCK_BYTES_MAX = 512;
const TEXT_BYTES_MAX = 1024;
const FIELDS_KEPT_MAX = 24;
/** Less is decoded as quickly as it is found. */
const BLOCK_BYTES_MIN = 4;

/** Where in `words` what was decoded begins, and the fields' table. */
const TEXT_AT = BLOCK_BYTES_MAX >> 2;
const FIELDS_AT = TEXT_AT + (TEXT_BYTES_MAX >> 2);
const WORDS = FIELDS_AT + FIELDS_KEPT_MAX * FIELD_WORDS;

/** One head. Its positions count in the workspace, to whose beginning its text goes back. */
export class RememberedHead {
  /** Block, text and fields, one after another. */
  readonly words: Int32Array;
  decoder: number;
  version: number;
  kind: number;
  blockBytes: number;
  textBytes: number;
  fieldCount: number;
  seenLow: number;
  seenHigh: number;
  priority: number;
  // Of the heads in http/message.ts, by the same names.
  status: number;
  methodId: number;
  methodOffset: number;
  methodLength: number;
  targetForm: number;
  scheme: number;
  pathOffset: number;
  pathLength: number;
  queryOffset: number;
  queryLength: number;
  authorityOffset: number;
  authorityLength: number;
  bodyKind: number;
  contentLength: number;
  expectContinue: boolean;
  upgradeIndex: number;
  acceptsTrailers: boolean;
  headBytes: number;

  constructor() {
    this.words = new Int32Array(WORDS);
    this.decoder = 0;
    this.version = 0;
    this.kind = 0;
    this.blockBytes = 0;
    this.textBytes = 0;
    this.fieldCount = 0;
    this.seenLow = 0;
    this.seenHigh = 0;
    this.priority = 0;
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

  /** The text that was decoded, from `start` on, and its fields. */
  takeFields(fields: FieldSection, start: number): void {
    const { words, fieldCount, textBytes } = this;
    const { table } = fields;
    this.seenLow = fields.seenLow;
    this.seenHigh = fields.seenHigh;
    takeWords(words, TEXT_AT, viewOf(fields.bytes), start, textBytes);
    const end = fieldCount * FIELD_WORDS;
    for (let word = 0; word < end; word++) words[FIELDS_AT + word] = table[word];
  }

  /** Puts them back to where they were. */
  giveFields(fields: FieldSection, start: number): void {
    const { words, fieldCount, textBytes } = this;
    const { table } = fields;
    fields.count = fieldCount;
    fields.seenLow = this.seenLow;
    fields.seenHigh = this.seenHigh;
    giveWords(words, TEXT_AT, viewOf(fields.bytes), start, textBytes);
    const end = fieldCount * FIELD_WORDS;
    for (let word = 0; word < end; word++) table[word] = words[FIELDS_AT + word];
  }

  takeRequest(head: RequestHead): void {
    this.methodId = head.methodId;
    this.methodOffset = head.methodOffset;
    this.methodLength = head.methodLength;
    this.targetForm = head.targetForm;
    this.scheme = head.scheme;
    this.pathOffset = head.pathOffset;
    this.pathLength = head.pathLength;
    this.queryOffset = head.queryOffset;
    this.queryLength = head.queryLength;
    this.authorityOffset = head.authorityOffset;
    this.authorityLength = head.authorityLength;
    this.bodyKind = head.bodyKind;
    this.contentLength = head.contentLength;
    this.expectContinue = head.expectContinue;
    this.upgradeIndex = head.upgradeIndex;
    this.acceptsTrailers = head.acceptsTrailers;
    this.headBytes = head.headBytes;
  }

  takeResponse(head: ResponseHead): void {
    this.status = head.status;
    this.bodyKind = head.bodyKind;
    this.contentLength = head.contentLength;
    this.upgradeIndex = head.upgradeIndex;
    this.headBytes = head.headBytes;
  }

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
  }
}

export class RememberedHeads {
  /** By set and way; made when they are first needed. */
  private readonly heads: (RememberedHead | null)[];
  /** Of each of them; 0 where there is none. */
  private readonly hashes: Int32Array;
  /** Hashes that were looked for in vain, each at a place of its own. */
  private readonly candidates: Int32Array;
  /** Which way of a set gives way next. */
  private readonly turns: Uint8Array;
  /** Of the block that `find` did not find; 0: it is not to be kept. */
  private hash: number;

  constructor() {
    this.heads = new Array<RememberedHead | null>(SETS * WAYS).fill(null);
    this.hashes = new Int32Array(SETS * WAYS);
    this.candidates = new Int32Array(CANDIDATES);
    this.turns = new Uint8Array(SETS);
    this.hash = 0;
  }

  /**
   * The head of the block `bytes[from … to)`, which a decoder (a number of its own) has decoded before with its table in the
   * same state (`version`) and for the same `kind`; or null. Then `keep` may follow.
   */
  find(
    bytes: Uint8Array,
    from: number,
    to: number,
    decoder: number,
    version: number,
    kind: number,
  ): RememberedHead | null {
    const length = to - from;
    this.hash = 0;
    if (length < BLOCK_BYTES_MIN || length > BLOCK_BYTES_MAX) return null;
    const view = viewOf(bytes);
    const hash = hashOf(view, from, length, (Math.imul(decoder, 8) + kind) ^ Math.imul(version, 0x9e3779b1));
    this.hash = hash;
    const { hashes, heads } = this;
    const first = (hash & (SETS - 1)) * WAYS;
    for (let at = first; at < first + WAYS; at++) {
      if (hashes[at] !== hash) continue;
      const head = heads[at];
      if (head === null || head.decoder !== decoder || head.version !== version || head.kind !== kind)
        continue;
      if (head.blockBytes === length && isSame(head.words, view, from, length)) return head;
    }
    return null;
  }

  /**
   * Keeps the head of the block that `find` was last asked for, if that comes for the second time. The caller gives it
   * what the head has (`takeFields`, `takeRequest` or `takeResponse`); null: it is not kept.
   */
  keep(
    bytes: Uint8Array,
    from: number,
    to: number,
    decoder: number,
    version: number,
    kind: number,
    textBytes: number,
    fieldCount: number,
  ): RememberedHead | null {
    const { hash, candidates } = this;
    if (hash === 0 || textBytes < 4 || textBytes > TEXT_BYTES_MAX || fieldCount > FIELDS_KEPT_MAX)
      return null;
    const place = (hash >>> 8) & (CANDIDATES - 1);
    if (candidates[place] !== hash) {
      candidates[place] = hash;
      return null;
    }
    const set = hash & (SETS - 1);
    const at = set * WAYS + this.turns[set];
    this.turns[set] = (this.turns[set] + 1) & (WAYS - 1);
    this.hashes[at] = hash;
    let head = this.heads[at];
    if (head === null) {
      head = new RememberedHead();
      this.heads[at] = head;
    }
    head.decoder = decoder;
    head.version = version;
    head.kind = kind;
    head.blockBytes = to - from;
    head.textBytes = textBytes;
    head.fieldCount = fieldCount;
    takeWords(head.words, 0, viewOf(bytes), from, to - from);
    return head;
  }
}

/** Never 0. */
function hashOf(view: DataView, from: number, length: number, seed: number): number {
  let hash = seed ^ length;
  const last = from + length - 4;
  for (let at = from; at < last; at += 4)
    hash = Math.imul(hash ^ view.getInt32(at, true), 0x85ebca6b) ^ (hash >>> 15);
  hash = Math.imul(hash ^ view.getInt32(last, true), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) | 0 || 1;
}

/** Words of four bytes; the last one overlaps the one before it where the length is no multiple of four. */
function isSame(words: Int32Array, view: DataView, from: number, length: number): boolean {
  const last = from + length - 4;
  let word = 0;
  for (let at = from; at < last; at += 4) {
    if (words[word++] !== view.getInt32(at, true)) return false;
  }
  return words[word] === view.getInt32(last, true);
}

function takeWords(words: Int32Array, to: number, view: DataView, from: number, length: number): void {
  const last = from + length - 4;
  let word = to;
  for (let at = from; at < last; at += 4) words[word++] = view.getInt32(at, true);
  words[word] = view.getInt32(last, true);
}

function giveWords(words: Int32Array, from: number, view: DataView, to: number, length: number): void {
  const last = to + length - 4;
  let word = from;
  for (let at = to; at < last; at += 4) view.setInt32(at, words[word++], true);
  view.setInt32(last, words[word], true);
}
