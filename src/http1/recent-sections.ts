/**
 * Field sections that came lately, and what was found in them: most clients send the same fields with each request, and
 * backends with each response, so that comparing a whole section with one that was taken before costs less than taking it
 * apart line by line. Where it is not known, the lines may be (recent-lines.ts).
 *
 * What a section means depends on nothing but its bytes, so one memory serves all connections of a worker. Values of
 * cookies, credentials and what is named like them are not kept, and those that hardly ever come twice aren't either: they
 * are looked at each time, between the parts of the section that are compared.
 *
 * Two sections for each set. A set is chosen by the first 12 bytes and, for requests, by how much was received: a client's
 * requests for one kind of thing are as long as each other but for their targets. Where a set's sections don't come again,
 * it is looked into less often.
 */

import { equalViews, viewOf } from '../base/bytes.ts';
import { HTAB, SP } from '../http/char-class.ts';
import { F_DATE, FIELD_WORDS, type FieldSection } from '../http/fields.ts';
import { KnownSection, type SectionFraming } from '../http/known-section.ts';
import { endOfValue } from './field-line.ts';
import { isRemembered } from './recent-lines.ts';

const SET_BITS = 6;
const SETS = 1 << SET_BITS;
const WAYS = 2;
/** What a set is chosen by must be there. */
const KEY_BYTES = 12;
/** Larger ones, with more fields, or with more values that are left out, are not kept. */
const PATTERN_BYTES_MAX = 1024;
const FIELDS_KEPT_MAX = 24;
const GAPS_MAX = 8;
/** Less is not compared by words. Between two values that are left out there is more: CRLF and a name with its colon. */
const PART_BYTES_MIN = 4;
/** So many sections that are not known may come before one of them is kept; more after one that did not come again. */
const PATIENCE = 7;
const PATIENCE_MAX = 255;
/** After so many in a row that are not known, so many are not looked for. */
const MISSES_MAX = 32;
const SKIPS = 15;

/** Int32 words of a set: which way was found last; how many may come before one is kept, as a whole and still; */
const LAST_FOUND = 0;
const PATIENCE_WHOLE = 1;
const PATIENCE_LEFT = 2;
/** how many in a row were not known; how many are not looked for; and by way whether it was found since it is there. */
const MISSES = 3;
const SKIPS_LEFT = 4;
const FOUND = 5;
const SET_SHIFT = 3;

/** Lengths of the values that are left out of the section that is looked at. */
const gapLengths: Int32Array = new Int32Array(GAPS_MAX);

export class RecentSections {
  private readonly byLength: boolean;
  /** By set and way. */
  private readonly sections: (KnownSection | null)[];
  private readonly sets: Int32Array;
  /** The set in which what was just looked for in vain may be kept, when it has been taken apart; -1: it is not wanted. */
  wantedIn: number;

  /** `byLength`: sets are chosen by how much was received too. */
  constructor(byLength: boolean) {
    this.byLength = byLength;
    this.sections = new Array<KnownSection | null>(SETS * WAYS).fill(null);
    this.sets = new Int32Array(SETS << SET_SHIFT);
    this.wantedIn = -1;
  }

  /**
   * Fills `fields`, which is empty, with the section that begins at `at`, where it is known and has at most `fieldsMax` of
   * them. Returns the position after its empty line, or 0: then nothing is said about it, and `wantedIn` tells whether it
   * is to be offered.
   */
  find(fields: FieldSection, bytes: Uint8Array, at: number, stop: number, fieldsMax: number): number {
    this.wantedIn = -1;
    if (stop - at < KEY_BYTES) return 0;
    const view = viewOf(bytes);
    const { sets } = this;
    const set = setOf(view, at, this.byLength ? stop - at : 0);
    const words = set << SET_SHIFT;
    if (sets[words + SKIPS_LEFT] > 0) {
      sets[words + SKIPS_LEFT]--;
      return 0;
    }
    let way = sets[words + LAST_FOUND];
    let known = this.sections[set * WAYS + way];
    let end = known === null ? 0 : matches(known, bytes, view, at, stop);
    if (end === 0) {
      way = 1 - way;
      known = this.sections[set * WAYS + way];
      if (known !== null) end = matches(known, bytes, view, at, stop);
    }
    if (known === null || end === 0 || known.count > fieldsMax) {
      this.missed(set);
      return 0;
    }
    sets[words + LAST_FOUND] = way;
    sets[words + MISSES] = 0;
    sets[words + FOUND + way] = 1;
    fields.restoreKnown(known, at, gapLengths);
    return end;
  }

  private missed(set: number): void {
    const { sets } = this;
    const words = set << SET_SHIFT;
    if (--sets[words + PATIENCE_LEFT] < 0) this.wantedIn = set;
    else if (++sets[words + MISSES] > MISSES_MAX) sets[words + SKIPS_LEFT] = SKIPS;
  }

  /** Keeps the section `[at, end)`, which is wanted in `set` and has been taken into `fields`, if it may be kept. Allocates. */
  offer(
    set: number,
    fields: FieldSection,
    bytes: Uint8Array,
    at: number,
    end: number,
    framing: SectionFraming,
  ): void {
    const { sets } = this;
    const words = set << SET_SHIFT;
    const known = knownOf(fields, bytes, at, end, framing);
    if (known === null) {
      sets[words + PATIENCE_LEFT] = PATIENCE_MAX;
      return;
    }
    // The one that was found last stays.
    const way = 1 - sets[words + LAST_FOUND];
    const place = set * WAYS + way;
    const wasOfUse = this.sections[place] === null || sets[words + FOUND + way] === 1;
    const patience = wasOfUse ? PATIENCE : Math.min(2 * sets[words + PATIENCE_WHOLE], PATIENCE_MAX);
    sets[words + PATIENCE_WHOLE] = patience;
    sets[words + PATIENCE_LEFT] = patience;
    sets[words + FOUND + way] = 0;
    this.sections[place] = known;
  }
}

/** Whether the bytes from `at` on are that section: the position after it, or 0. Leaves the lengths of values that are left out. */
function matches(known: KnownSection, bytes: Uint8Array, view: DataView, at: number, stop: number): number {
  const { pattern, parts } = known;
  const last = parts.length - 1;
  let position = at;
  let patternAt = 0;
  for (let part = 0; ; part++) {
    const length = parts[part];
    if (length > stop - position || !equalParts(view, position, pattern, patternAt, length)) return 0;
    position += length;
    if (part === last) return position;
    patternAt += length;
    const end = endOfValue(bytes, position, stop);
    // White space around a value is no part of it: such a line is for those who take lines apart.
    if (end === stop || isSpace(bytes[position]) || (end > position && isSpace(bytes[end - 1]))) return 0;
    gapLengths[part] = end - position;
    position = end;
  }
}

function isSpace(byte: number): boolean {
  return byte === SP || byte === HTAB;
}

/** Whether `length` bytes, PART_BYTES_MIN or more, are the same here and there. */
function equalParts(
  view: DataView,
  at: number,
  pattern: DataView,
  patternAt: number,
  length: number,
): boolean {
  if (length >= 8) return equalViews(view, at, pattern, patternAt, length);
  const last = length - 4;
  return (
    view.getInt32(at, true) === pattern.getInt32(patternAt, true) &&
    view.getInt32(at + last, true) === pattern.getInt32(patternAt + last, true)
  );
}

/** What is to be kept of a section; null: it is not to be. Allocates. */
function knownOf(
  fields: FieldSection,
  bytes: Uint8Array,
  at: number,
  end: number,
  framing: SectionFraming,
): KnownSection | null {
  const { count } = fields;
  if (count === 0 || count > FIELDS_KEPT_MAX || fields.removedBits !== 0 || end - at > PATTERN_BYTES_MAX)
    return null;
  const words = fields.wordsMovedBy(-at);
  const pattern = new Uint8Array(end - at);
  const parts: number[] = [];
  let taken = 0;
  let left = 0;
  for (let index = 0; index < count; index++) {
    const word = index * FIELD_WORDS;
    words[word] -= left;
    words[word + 2] -= left;
    if (isRemembered(fields, index) && fields.id(index) !== F_DATE) continue;
    const valueAt = fields.valueOffset(index) - at;
    pattern.set(bytes.subarray(at + taken + left, at + valueAt), taken);
    parts.push(valueAt - left - taken);
    taken = valueAt - left;
    left += words[word + 3];
    words[word + 3] = -1;
  }
  pattern.set(bytes.subarray(at + taken + left, end), taken);
  parts.push(end - at - left - taken);
  if (parts.length > GAPS_MAX || parts.some((length) => length < PART_BYTES_MIN)) return null;
  const view = new DataView(pattern.buffer, 0, end - at - left);
  return new KnownSection(
    view,
    Int32Array.from(parts),
    words,
    count,
    fields.seenLow,
    fields.seenHigh,
    framing,
  );
}

function setOf(view: DataView, at: number, length: number): number {
  const first = Math.imul(view.getInt32(at, true), 0x2c1b3c6d);
  const second = Math.imul(view.getInt32(at + 4, true), 0x297a2d39);
  const third = Math.imul(view.getInt32(at + 8, true), 0x5bd1e995);
  return (first ^ second ^ third ^ Math.imul(length, 0x9e3779b1)) >>> (32 - SET_BITS);
}
