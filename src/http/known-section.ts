/**
 * A field section that came lately, and what was found out about it: the parser's results, and what those who look at all
 * fields of a section came to (which of them a route's rules remove, which stand one after the other when it is written).
 * Neither depends on anything but the section's bytes, so that whoever meets the same section again need not look again.
 *
 * The values of some fields are left out (a secret, or what differs each time): a section with other values there is the
 * same one. Immutable but for the two results, each of which is the last one that was found.
 */

/** What a parser knows of a section beside its fields. */
export interface SectionFraming {
  /** OPTION_ flags of its Connection fields. */
  readonly options: number;
  readonly chunked: boolean;
  /** Index of Host in a request, or -1. */
  readonly hostIndex: number;
  /** Index of Content-Length, or -1. */
  readonly lengthIndex: number;
}

/** No such set of fields: sections that are known have fewer than 31. */
const NO_BITS = -1;

export class KnownSection {
  /** The section's lines and the empty line after them, without the values that are left out. */
  readonly pattern: DataView;
  /** Bytes of `pattern` before each value that is left out, and after the last one. */
  readonly parts: Int32Array;
  /** As `FieldSection.table`, counted from the pattern's start; a value that is left out has the length -1. */
  readonly words: Int32Array;
  readonly count: number;
  /** A bit for each field. */
  readonly mask: number;
  readonly seenLow: number;
  readonly seenHigh: number;
  readonly framing: SectionFraming;
  /** Whose rules were applied last, to a section of which the fields `ruledFrom` were removed; and which ones they removed. */
  rules: object | null;
  ruledFrom: number;
  ruledBits: number;
  /** Without which fields it was written last. */
  runsWithout: number;
  /** Words in the table of the first and last field of each run of lines that stand as they are written. No runs, -1: not all do. */
  readonly runs: Int32Array;
  runWords: number;

  constructor(
    pattern: DataView,
    parts: Int32Array,
    words: Int32Array,
    count: number,
    seenLow: number,
    seenHigh: number,
    framing: SectionFraming,
  ) {
    this.pattern = pattern;
    this.parts = parts;
    this.words = words;
    this.count = count;
    this.mask = (1 << count) - 1;
    this.seenLow = seenLow;
    this.seenHigh = seenHigh;
    this.framing = framing;
    this.rules = null;
    this.ruledFrom = NO_BITS;
    this.ruledBits = 0;
    this.runsWithout = NO_BITS;
    this.runs = new Int32Array(RUN_WORDS_MAX);
    this.runWords = -1;
  }
}

/** Runs that are kept of a section at most, in words of `KnownSection.runs`. */
export const RUN_WORDS_MAX = 8;
