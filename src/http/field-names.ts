/**
 * From the bytes of a field name to its id (fields.ts) and back: a hash of the length and three bytes,
 * then one comparison that ignores case. No strings on the way.
 */

import { assert } from '../base/assert.ts';
import { asciiBytes, ConstantText, equalsIgnoreCase, lowerByte, viewOf } from '../base/bytes.ts';
import { UNDERSCORE } from './char-class.ts';
import {
  F_CLIENT_CERT,
  F_CLIENT_CERT_CHAIN,
  F_CONTENT_LENGTH,
  F_FORWARDED,
  F_HOST,
  F_HTTP2_SETTINGS,
  F_KEEP_ALIVE,
  F_OTHER,
  F_PROXY_AUTHENTICATE,
  F_PROXY_AUTHORIZATION,
  F_PROXY_CONNECTION,
  F_TRANSFER_ENCODING,
  F_VIA,
  F_X_FORWARDED_FOR,
  F_X_FORWARDED_HOST,
  F_X_FORWARDED_PORT,
  F_X_FORWARDED_PROTO,
  F_X_REAL_IP,
  F_X_REQUEST_ID,
  FIELD_NAMES,
} from './fields.ts';

const SLOTS = 512;
const NAME_BYTES_MAX = 32;
const NAME_WORDS_MAX = NAME_BYTES_MAX / 4;
/** Sets bit 5 of four bytes: letters become lower case. */
const FOLD = 0x20202020;

/** A fixed set of field names, found by their bytes whatever their case. Index 0 means "none of them". */
export class NameTable {
  private readonly slots: Uint8Array;
  /** Each name in lower case, in little-endian words. */
  private readonly words: Int32Array;
  /** The last four bytes of each name of four or more. */
  private readonly lastWords: Int32Array;
  private readonly lengths: Uint8Array;

  /** `names[0]` is not used. Names have 2 … 32 bytes. */
  constructor(names: readonly string[]) {
    assert(names.length < 256, 'too many names for one table');
    this.slots = new Uint8Array(SLOTS);
    this.words = new Int32Array(names.length * NAME_WORDS_MAX);
    this.lastWords = new Int32Array(names.length);
    this.lengths = new Uint8Array(names.length);
    for (let index = 1; index < names.length; index++) {
      const name = asciiBytes(names[index].toLowerCase());
      assert(name.length >= 2 && name.length <= NAME_BYTES_MAX, 'a name does not fit the table');
      const padded = new DataView(new ArrayBuffer(NAME_BYTES_MAX));
      for (let at = 0; at < name.length; at++) padded.setUint8(at, name[at]);
      for (let word = 0; word < NAME_WORDS_MAX; word++) {
        this.words[index * NAME_WORDS_MAX + word] = padded.getInt32(word * 4, true);
      }
      if (name.length >= 4) this.lastWords[index] = padded.getInt32(name.length - 4, true);
      this.lengths[index] = name.length;
      let slot = slotOf(name, 0, name.length);
      while (this.slots[slot] !== 0) slot = (slot + 1) & (SLOTS - 1);
      this.slots[slot] = index;
    }
  }

  /** Index of the name, or 0. The bytes must be a token (all `tchar`): then folding by bit 5 is exact. */
  find(bytes: Uint8Array, offset: number, length: number): number {
    if (length < 2 || length > NAME_BYTES_MAX) return 0;
    const slots = this.slots;
    let slot = slotOf(bytes, offset, length);
    for (let index = slots[slot]; index !== 0; index = slots[slot]) {
      if (this.lengths[index] === length && this.equals(bytes, offset, length, index)) return index;
      slot = (slot + 1) & (SLOTS - 1);
    }
    return 0;
  }

  /** Word by word, the last one overlapping the one before it where the length is no multiple of four. */
  private equals(bytes: Uint8Array, offset: number, length: number, index: number): boolean {
    if (length < 4) return this.equalsShort(bytes, offset, length, index);
    const view = viewOf(bytes);
    const words = this.words;
    let word = index * NAME_WORDS_MAX;
    const lastAt = offset + length - 4;
    for (let at = offset; at < lastAt; at += 4) {
      if ((view.getInt32(at, true) | FOLD) !== words[word++]) return false;
    }
    return (view.getInt32(lastAt, true) | FOLD) === this.lastWords[index];
  }

  private equalsShort(bytes: Uint8Array, offset: number, length: number, index: number): boolean {
    const word = this.words[index * NAME_WORDS_MAX];
    for (let at = 0; at < length; at++) {
      if ((bytes[offset + at] | 0x20) !== ((word >>> (at * 8)) & 0xff)) return false;
    }
    return true;
  }
}

/** Folding by bit 5 leaves letters, digits and `-` as lower case has them, so both cases share a slot. */
function slotOf(bytes: Uint8Array, offset: number, length: number): number {
  const first = bytes[offset] | 0x20;
  const middle = bytes[offset + (length >> 1)] | 0x20;
  const late = bytes[offset + length - 2] | 0x20;
  return (length * 37 + first * 11 + middle * 5 + late * 3) & (SLOTS - 1);
}

const KNOWN = new NameTable(FIELD_NAMES);

/** The F_ id of a field name given as token bytes; F_OTHER for any other name. */
export function fieldIdOf(bytes: Uint8Array, offset: number, length: number): number {
  return KNOWN.find(bytes, offset, length);
}

/** The F_ id of a name given as text (configuration); F_OTHER for any other name. */
export function fieldIdOfText(name: string): number {
  const index = FIELD_NAMES.findIndex((known) => known.toLowerCase() === name.toLowerCase());
  return index > 0 ? index : F_OTHER;
}

/** What a backend may trust because the edge sets or checks it; an alias of one of these must not reach it. */
const TRUSTED: readonly number[] = [
  F_HOST,
  F_KEEP_ALIVE,
  F_PROXY_CONNECTION,
  F_TRANSFER_ENCODING,
  F_CONTENT_LENGTH,
  F_VIA,
  F_FORWARDED,
  F_X_FORWARDED_FOR,
  F_X_FORWARDED_PROTO,
  F_X_FORWARDED_HOST,
  F_X_FORWARDED_PORT,
  F_X_REAL_IP,
  F_X_REQUEST_ID,
  F_HTTP2_SETTINGS,
  F_PROXY_AUTHENTICATE,
  F_PROXY_AUTHORIZATION,
  F_CLIENT_CERT,
  F_CLIENT_CERT_CHAIN,
];

const TRUSTED_NAMES: readonly Uint8Array[] = TRUSTED.map((id) => asciiBytes(FIELD_NAMES[id].toLowerCase()));

/**
 * Whether a name becomes a trusted one when its `_` are read as `-`: backends that hand fields on as
 * environment variables (CGI, WSGI, Rack) can't tell `X_Forwarded_For` from `X-Forwarded-For`.
 */
export function aliasesTrusted(bytes: Uint8Array, offset: number, length: number): boolean {
  for (let index = 0; index < TRUSTED_NAMES.length; index++) {
    if (nameAliases(bytes, offset, length, TRUSTED_NAMES[index])) return true;
  }
  return false;
}

/** A name that others are compared with, given in lower case. */
export class LowerName {
  private readonly name: ConstantText;
  /** Four bytes or more, of letters, digits and `-` alone: then folding by bit 5 is exact for tokens. */
  private readonly isPlain: boolean;

  constructor(name: string) {
    this.name = new ConstantText(name);
    this.isPlain = /^[a-z0-9-]{4,}$/.test(name);
  }

  get length(): number {
    return this.name.length;
  }

  /** Whether a token is this name in any case. */
  equals(bytes: Uint8Array, offset: number, length: number): boolean {
    if (!this.isPlain) return equalsIgnoreCase(bytes, offset, length, this.name.bytes);
    return length === this.name.length && this.equalsPlain(viewOf(bytes), offset);
  }

  /** The same where `_` is read as `-`. */
  aliases(bytes: Uint8Array, offset: number, length: number): boolean {
    if (length !== this.name.length) return false;
    if (this.isPlain && this.equalsPlain(viewOf(bytes), offset)) return true;
    return nameAliases(bytes, offset, length, this.name.bytes);
  }

  private equalsPlain(view: DataView, offset: number): boolean {
    const { view: own, length } = this.name;
    const last = length - 4;
    for (let at = 0; at < last; at += 4) {
      if ((view.getInt32(offset + at, true) | FOLD) !== own.getInt32(at, true)) return false;
    }
    return (view.getInt32(offset + last, true) | FOLD) === own.getInt32(last, true);
  }
}

/** Whether a name equals `lower` (in lower case) when case is ignored and `_` is read as `-`. */
export function nameAliases(bytes: Uint8Array, offset: number, length: number, lower: Uint8Array): boolean {
  if (length !== lower.length) return false;
  for (let index = 0; index < length; index++) {
    const byte = bytes[offset + index];
    if ((byte === UNDERSCORE ? 0x2d : lowerByte(byte)) !== lower[index]) return false;
  }
  return true;
}
