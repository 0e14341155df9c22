/**
 * Range requests (RFC 9110 §14): a Range field's byte ranges against a representation of known length.
 * What is sent for one request stays bounded: at most RANGES_MAX ranges are read, and those that overlap
 * or touch are sent as one (§14.2 and §15.3.7.2 advise both).
 */

/** Ranges in one Range field; a field with more is ignored, and the whole representation sent. Our own choice. */
export const RANGES_MAX = 16;

/** The field is ignored: another unit, not well-formed, or too many ranges. */
export const RANGE_IGNORED = 0;
/** No range lies within the representation: 416. */
export const RANGE_UNSATISFIABLE = -1;

const EQUALS = 0x3d;
const COMMA = 0x2c;
const DASH = 0x2d;
const SPACE = 0x20;
const TAB = 0x09;
const ZERO = 0x30;

export class RangeSet {
  /** First byte of each range. Float64: files are larger than 2 GiB. */
  readonly starts: Float64Array;
  /** One past the last byte of each range. */
  readonly ends: Float64Array;
  count: number;
  private at: number;

  constructor() {
    this.starts = new Float64Array(RANGES_MAX);
    this.ends = new Float64Array(RANGES_MAX);
    this.count = 0;
    this.at = 0;
  }

  /** One range without a request for it: the whole, or what was asked. */
  setSingle(start: number, end: number): void {
    this.starts[0] = start;
    this.ends[0] = end;
    this.count = 1;
  }

  /** Bytes of all ranges together. */
  totalBytes(): number {
    let total = 0;
    for (let index = 0; index < this.count; index++) total += this.ends[index] - this.starts[index];
    return total;
  }

  /**
   * Reads a Range field's value for a representation of `size` bytes. Returns the number of ranges, in the
   * order of the request but merged where they overlap or touch; or RANGE_IGNORED or RANGE_UNSATISFIABLE.
   */
  parse(bytes: Uint8Array, offset: number, length: number, size: number): number {
    this.count = 0;
    const end = offset + length;
    if (!isBytesUnit(bytes, offset, length)) return RANGE_IGNORED;
    this.at = offset + 6;
    let specs = 0;
    let empty = false;
    while (true) {
      while (this.at < end && isSeparator(bytes[this.at])) this.at++;
      if (this.at === end) break;
      if (++specs > RANGES_MAX) return RANGE_IGNORED;
      const result = this.parseSpec(bytes, end, size);
      if (result === MALFORMED) return RANGE_IGNORED;
      if (result === EMPTY_SUFFIX) empty = true;
    }
    if (specs === 0) return RANGE_IGNORED;
    if (this.count > 0) return this.count;
    // A suffix of an empty representation is satisfiable, but 206 can't express it: the whole is the answer.
    return empty ? RANGE_IGNORED : RANGE_UNSATISFIABLE;
  }

  /** One range-spec at `this.at`: adds it when it is satisfiable, and moves behind it. */
  private parseSpec(bytes: Uint8Array, end: number, size: number): number {
    const first = this.parseNumber(bytes, end);
    if (this.at === end || bytes[this.at] !== DASH) return MALFORMED;
    this.at++;
    const last = this.parseNumber(bytes, end);
    while (this.at < end && (bytes[this.at] === SPACE || bytes[this.at] === TAB)) this.at++;
    if (this.at < end && bytes[this.at] !== COMMA) return MALFORMED;
    if (first < 0) {
      if (last < 0) return MALFORMED;
      if (last > 0 && size === 0) return EMPTY_SUFFIX;
      if (last > 0) this.include(size > last ? size - last : 0, size);
      return TAKEN;
    }
    if (last >= 0 && last < first) return MALFORMED;
    if (first < size) this.include(first, last < 0 || last >= size ? size : last + 1);
    return TAKEN;
  }

  /** Digits at `this.at`, capped at 2^53 - 1; -1 when there is none. */
  private parseNumber(bytes: Uint8Array, end: number): number {
    let value = -1;
    while (this.at < end) {
      const digit = bytes[this.at] - ZERO;
      if (digit < 0 || digit > 9) break;
      value = value < 0 ? digit : Math.min(value * 10 + digit, Number.MAX_SAFE_INTEGER);
      this.at++;
    }
    return value;
  }

  /** Adds [start, end), swallowing every range that it overlaps or touches; the first such place is kept. */
  private include(start: number, end: number): void {
    let first = start;
    let last = end;
    let place = -1;
    let kept = 0;
    for (let index = 0; index < this.count; index++) {
      const otherStart = this.starts[index];
      const otherEnd = this.ends[index];
      if (otherStart > last || otherEnd < first) {
        this.starts[kept] = otherStart;
        this.ends[kept] = otherEnd;
        kept++;
        continue;
      }
      first = Math.min(first, otherStart);
      last = Math.max(last, otherEnd);
      if (place < 0) place = kept++;
    }
    if (place < 0) place = kept++;
    this.starts[place] = first;
    this.ends[place] = last;
    this.count = kept;
  }
}

const TAKEN = 1;
const MALFORMED = 0;
const EMPTY_SUFFIX = 2;

const BYTES_UNIT = 'bytes';

/** `bytes=`, in any case (§14.1: range units are case-insensitive). */
function isBytesUnit(bytes: Uint8Array, offset: number, length: number): boolean {
  if (length < 6 || bytes[offset + 5] !== EQUALS) return false;
  for (let i = 0; i < 5; i++) if ((bytes[offset + i] | 0x20) !== BYTES_UNIT.charCodeAt(i)) return false;
  return true;
}

function isSeparator(byte: number): boolean {
  return byte === COMMA || byte === SPACE || byte === TAB;
}
