/**
 * Accept-Encoding (RFC 9110 §12.5.3): which of the content codings that may lie beside a file a client
 * accepts, and in which order they are tried.
 */

import { F_ACCEPT_ENCODING, type FieldSection } from './fields.ts';

/** Content codings, in the server's own order of preference (the first wins among equal weights). */
export const CODING_BR = 0;
export const CODING_ZSTD = 1;
export const CODING_GZIP = 2;
export const CODING_IDENTITY = 3;
/** How many codings are not identity. */
export const CODING_COUNT = 3;

/** Value of Content-Encoding by coding. */
export const CODING_NAMES: readonly string[] = ['br', 'zstd', 'gzip', 'identity'];
/** What a precompressed neighbour's name ends in, by coding. */
export const CODING_SUFFIXES: readonly string[] = ['.br', '.zst', '.gz', ''];
/** What its entity tag ends in, by coding. */
export const CODING_TAGS: readonly string[] = ['-br', '-zst', '-gz', ''];

const UNMENTIONED = -1;
const CODING_ANY = 4;
const CODING_UNKNOWN = 5;

export class AcceptedCodings {
  /** Codings to try, best first; identity, which always remains, is not among them. */
  readonly order: Uint8Array;
  count: number;
  /** Thousandths by coding, `*` last; UNMENTIONED where the client is silent. */
  private readonly weights: Int16Array;

  constructor() {
    this.order = new Uint8Array(CODING_COUNT);
    this.count = 0;
    this.weights = new Int16Array(CODING_UNKNOWN + 1);
  }

  /**
   * Reads all Accept-Encoding lines of a request. Without any, nothing but identity is offered. A coding
   * that is weighted below identity isn't offered either. Where a client refuses identity and there is no
   * neighbour, identity is sent all the same: §12.4.1 lets a server disregard the field.
   */
  read(fields: FieldSection): void {
    const weights = this.weights;
    weights.fill(UNMENTIONED);
    this.count = 0;
    let index = fields.find(F_ACCEPT_ENCODING, 0);
    if (index < 0) return;
    for (; index >= 0; index = fields.find(F_ACCEPT_ENCODING, index + 1)) {
      this.readLine(fields.bytes, fields.valueOffset(index), fields.valueLength(index));
    }
    const any = weights[CODING_ANY];
    let identity = weights[CODING_IDENTITY];
    if (identity === UNMENTIONED) identity = any === UNMENTIONED ? 0 : any;
    for (let coding = 0; coding < CODING_COUNT; coding++) {
      let weight = weights[coding];
      if (weight === UNMENTIONED) weight = any === UNMENTIONED ? 0 : any;
      weights[coding] = weight;
      if (weight > 0 && weight >= identity) this.insert(coding, weight);
    }
  }

  private insert(coding: number, weight: number): void {
    let place = this.count++;
    while (place > 0 && this.weights[this.order[place - 1]] < weight) {
      this.order[place] = this.order[place - 1];
      place--;
    }
    this.order[place] = coding;
  }

  private readLine(bytes: Uint8Array, offset: number, length: number): void {
    const end = offset + length;
    let at = offset;
    while (at < end) {
      let elementEnd = at;
      while (elementEnd < end && bytes[elementEnd] !== COMMA) elementEnd++;
      this.readElement(bytes, at, elementEnd);
      at = elementEnd + 1;
    }
  }

  /** `codings [ OWS ";" OWS "q=" qvalue ]`. A weight that can't be read counts as 0. */
  private readElement(bytes: Uint8Array, start: number, end: number): void {
    let at = skipBlank(bytes, start, end);
    const nameStart = at;
    while (at < end && bytes[at] !== SEMICOLON && !isBlank(bytes[at])) at++;
    const coding = codingAt(bytes, nameStart, at - nameStart);
    if (coding === CODING_UNKNOWN) return;
    at = skipBlank(bytes, at, end);
    this.weights[coding] = at === end ? WEIGHT_MAX : weightAt(bytes, at, end);
  }
}

const WEIGHT_MAX = 1000;
const COMMA = 0x2c;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const DOT = 0x2e;
const ZERO = 0x30;
const LOWER_Q = 0x71;
const ASTERISK = 0x2a;

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09;
}

function skipBlank(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && isBlank(bytes[at])) at++;
  return at;
}

/** Names that a client may use, and the coding of each (§8.4.1.3: x-gzip is gzip). */
const NAMES: readonly string[] = ['br', 'zstd', 'gzip', 'identity', 'x-gzip'];
const NAME_CODINGS: readonly number[] = [CODING_BR, CODING_ZSTD, CODING_GZIP, CODING_IDENTITY, CODING_GZIP];

function codingAt(bytes: Uint8Array, offset: number, length: number): number {
  if (length === 1 && bytes[offset] === ASTERISK) return CODING_ANY;
  for (let index = 0; index < NAMES.length; index++) {
    if (equalsIgnoringCase(bytes, offset, length, NAMES[index])) return NAME_CODINGS[index];
  }
  return CODING_UNKNOWN;
}

/** `text` is lower case; a dash is its own lower case. */
function equalsIgnoringCase(bytes: Uint8Array, offset: number, length: number, text: string): boolean {
  if (length !== text.length) return false;
  for (let i = 0; i < length; i++) {
    const byte = bytes[offset + i];
    const lower = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
    if (lower !== text.charCodeAt(i)) return false;
  }
  return true;
}

/** Thousandths of `;q=0.5` at the semicolon; 0 when malformed. */
function weightAt(bytes: Uint8Array, semicolon: number, end: number): number {
  if (bytes[semicolon] !== SEMICOLON) return 0;
  let at = skipBlank(bytes, semicolon + 1, end);
  if (at + 2 >= end || (bytes[at] | 0x20) !== LOWER_Q || bytes[at + 1] !== EQUALS) return 0;
  at += 2;
  const whole = bytes[at++] - ZERO;
  if (whole !== 0 && whole !== 1) return 0;
  let weight = whole * WEIGHT_MAX;
  if (at < end && bytes[at] === DOT) {
    at++;
    for (let unit = 100; at < end && unit >= 1; unit /= 10) {
      const digit = bytes[at] - ZERO;
      if (digit < 0 || digit > 9) break;
      weight += digit * unit;
      at++;
    }
  }
  if (skipBlank(bytes, at, end) !== end || weight > WEIGHT_MAX) return 0;
  return weight;
}
