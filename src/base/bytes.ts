/**
 * Bytes in place: copies, comparisons, and numbers as digits. Nothing here allocates but `asciiBytes`, which
 * is for set-up, and `viewOf` for an array that it has not just seen. Callers have checked that the ranges lie
 * inside the array.
 */

/** A loop over words is quicker than a call of `copyWithin` up to about this many bytes. */
const COPY_LOOP_BYTES_MAX = 320;

/** The bytes of an ASCII or Latin-1 string. Allocates: for constants at set-up. */
export function asciiBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

let viewedBytes: Uint8Array = new Uint8Array(0);
let view: DataView = new DataView(viewedBytes.buffer);

/**
 * A DataView of the same bytes, to look at four of them at once. The last one is kept, since nearly all that
 * is asked for is the arena's.
 */
export function viewOf(bytes: Uint8Array): DataView {
  if (bytes !== viewedBytes) {
    viewedBytes = bytes;
    view = viewOfNew(bytes);
  }
  return view;
}

/** The same bytes as an array and for access to several at once; a BufferPool is one. */
export interface Memory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Copies `length` bytes within one array of less than 2 GiB. The two ranges must not overlap. */
export function copyBytes(bytes: Uint8Array, to: number, from: number, length: number): void {
  copyBetween(bytes, viewOf(bytes), to, from, length);
}

/** As `copyBytes`. */
export function copyWithin(memory: Memory, to: number, from: number, length: number): void {
  copyBetween(memory.bytes, memory.view, to, from, length);
}

function copyBetween(bytes: Uint8Array, view: DataView, to: number, from: number, length: number): void {
  if (length > COPY_LOOP_BYTES_MAX) {
    bytes.copyWithin(to, from, from + length);
    return;
  }
  if (length < 4) {
    for (let index = 0; index < length; index++) bytes[to + index] = bytes[from + index];
    return;
  }
  copyWords(view, to, view, from, length);
}

/** Copies from one array into another (constants, trailers: short things that live outside the arena). */
export function copyAcross(
  target: Uint8Array,
  to: number,
  source: Uint8Array,
  from: number,
  length: number,
): void {
  for (let index = 0; index < length; index++) target[to + index] = source[from + index];
}

/** Copies four bytes or more from one array into another, both of less than 2 GiB. */
export function copyWords(
  target: DataView,
  to: number,
  source: DataView,
  from: number,
  length: number,
): void {
  if (length < 8) {
    const last = length - 4;
    target.setInt32(to, source.getInt32(from, true), true);
    target.setInt32(to + last, source.getInt32(from + last, true), true);
    return;
  }
  // Eight bytes at once, the last ones overlapping those before. Integers of 32 bits and one distance: the engine
  // then makes a load and a store of it, without a BigInt.
  const distance = (to - from) | 0;
  const last = (from + length - 8) | 0;
  for (let at = from | 0; at < last; at = (at + 8) | 0)
    target.setBigInt64((at + distance) | 0, source.getBigInt64(at, true), true);
  target.setBigInt64((last + distance) | 0, source.getBigInt64(last, true), true);
}

/** Bytes that never change and are written often. */
export class ConstantText {
  readonly length: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;

  /** `text` is ASCII or Latin-1. */
  constructor(text: string) {
    this.bytes = asciiBytes(text);
    this.length = this.bytes.length;
    this.view = viewOfNew(this.bytes);
  }
}

function viewOfNew(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Writes short Latin-1 text, for which a call into the engine would cost more; returns the offset after it. */
export function putText(bytes: Uint8Array, at: number, text: string): number {
  for (let index = 0; index < text.length; index++) bytes[at + index] = text.charCodeAt(index);
  return at + text.length;
}

/** Whether `length` bytes at `offset` are exactly `expected`. */
export function equalsBytes(
  bytes: Uint8Array,
  offset: number,
  length: number,
  expected: Uint8Array,
): boolean {
  if (length !== expected.length) return false;
  for (let index = 0; index < length; index++) {
    if (bytes[offset + index] !== expected[index]) return false;
  }
  return true;
}

/** Whether two ranges of one memory of less than 2 GiB are equal. */
export function equalRanges(memory: Memory, offset: number, otherOffset: number, length: number): boolean {
  const { bytes, view } = memory;
  if (length >= 8) return equalViews(view, offset, view, otherOffset, length);
  for (let index = 0; index < length; index++) {
    if (bytes[offset + index] !== bytes[otherOffset + index]) return false;
  }
  return true;
}

/** Whether `length` bytes, 8 or more, are the same here and there. As in `copyBytes`, no BigInt is made. */
export function equalViews(
  view: DataView,
  offset: number,
  other: DataView,
  otherOffset: number,
  length: number,
): boolean {
  const last = (length - 8) | 0;
  for (let index = 0; index < last; index = (index + 8) | 0) {
    if (view.getBigInt64((offset + index) | 0, true) !== other.getBigInt64((otherOffset + index) | 0, true))
      return false;
  }
  return view.getBigInt64((offset + last) | 0, true) === other.getBigInt64((otherOffset + last) | 0, true);
}

/** Whether `length` bytes at `offset` are those of `expected` from `from` on. For short ones. */
export function equalsPart(
  bytes: Uint8Array,
  offset: number,
  length: number,
  expected: Uint8Array,
  from: number,
): boolean {
  for (let index = 0; index < length; index++) {
    if (bytes[offset + index] !== expected[from + index]) return false;
  }
  return true;
}

/** An ASCII letter in lower case; any other byte as it is. */
export function lowerByte(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
}

/** Whether `length` bytes at `offset` are `lower` (given in lower case), whatever the case of their ASCII letters. */
export function equalsIgnoreCase(
  bytes: Uint8Array,
  offset: number,
  length: number,
  lower: Uint8Array,
): boolean {
  if (length !== lower.length) return false;
  for (let index = 0; index < length; index++) {
    if (lowerByte(bytes[offset + index]) !== lower[index]) return false;
  }
  return true;
}

/** Whether two ranges of one array are equal but for the case of ASCII letters. */
export function rangesEqualIgnoreCase(
  bytes: Uint8Array,
  offset: number,
  otherOffset: number,
  length: number,
): boolean {
  for (let index = 0; index < length; index++) {
    if (lowerByte(bytes[offset + index]) !== lowerByte(bytes[otherOffset + index])) return false;
  }
  return true;
}

/** Value of a hexadecimal digit, or -1. */
export function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Digits of a non-negative integer up to 2^53-1. */
export function decimalLength(value: number): number {
  let digits = 1;
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  return digits;
}

/** Writes a non-negative integer up to 2^53-1 in decimal; returns the offset after it. */
export function putDecimal(bytes: Uint8Array, at: number, value: number): number {
  const end = at + decimalLength(value);
  let rest = value;
  let position = end;
  // Above 31 bits the division is a floating-point one; below, the engine keeps it in integers.
  while (rest > 0x7fffffff) {
    const next = Math.floor(rest / 10);
    bytes[--position] = 0x30 + (rest - next * 10);
    rest = next;
  }
  let small = rest | 0;
  do {
    const next = (small / 10) | 0;
    bytes[--position] = 0x30 + (small - next * 10);
    small = next;
  } while (position > at);
  return end;
}

/** Hexadecimal digits of a non-negative integer up to 2^53-1. */
export function hexLength(value: number): number {
  let digits = 1;
  for (let rest = value; rest >= 16; rest = Math.floor(rest / 16)) digits++;
  return digits;
}

/** Writes a non-negative integer up to 2^53-1 in lower-case hexadecimal; returns the offset after it. */
export function putHex(bytes: Uint8Array, at: number, value: number): number {
  const end = at + hexLength(value);
  let rest = value;
  for (let position = end - 1; position >= at; position--) {
    const next = Math.floor(rest / 16);
    const digit = rest - next * 16;
    bytes[position] = digit < 10 ? 0x30 + digit : 0x57 + digit;
    rest = next;
  }
  return end;
}
