/**
 * One line of a field section (RFC 9112 §5): the part of the grammar that requests, responses and trailers
 * share. A line is taken only when its CRLF has come; until then every call looks at it again from its
 * first byte, and a byte that can't be right is a fault as soon as it is there.
 */

import { viewOf } from '../base/bytes.ts';
import { CHAR_CLASS, COLON, CR, HTAB, LF, NAME, SP, TCHAR, UNDERSCORE, VALUE } from '../http/char-class.ts';
import {
  E_BARE_CR,
  E_BARE_LF,
  E_FIELD_NAME,
  E_FIELD_VALUE,
  E_OBS_FOLD,
  E_TOO_MANY_FIELDS,
  NEED_MORE,
} from '../http/fault.ts';
import { fieldIdOf } from '../http/field-names.ts';
import { F_OTHER, type FieldSection } from '../http/fields.ts';

/** Id that a field gets here when its name holds a `_`: the caller decides what becomes of it. */
export const F_UNDERSCORED = -2;

/**
 * Takes the field line at `at` into `fields`; the caller has seen that it is not the empty line that ends
 * the section. Returns the position after its CRLF, NEED_MORE, or a fault.
 */
export function takeFieldLine(fields: FieldSection, bytes: Uint8Array, at: number, stop: number): number {
  let position = at;
  while (position < stop && (CHAR_CLASS[bytes[position]] & NAME) !== 0) position++;
  let underscored = false;
  if (position < stop && bytes[position] === UNDERSCORE) {
    underscored = true;
    while (position < stop && (CHAR_CLASS[bytes[position]] & TCHAR) !== 0) position++;
  }
  if (position === stop) return NEED_MORE;
  const nameLength = position - at;
  if (nameLength === 0 || bytes[position] !== COLON) return nameFault(bytes[position], nameLength);

  position++;
  while (position < stop && (bytes[position] === SP || bytes[position] === HTAB)) position++;
  const valueOffset = position;
  position = endOfValue(bytes, position, stop);
  if (position === stop) return NEED_MORE;
  if (bytes[position] !== CR) return bytes[position] === LF ? E_BARE_LF : E_FIELD_VALUE;
  if (position + 1 === stop) return NEED_MORE;
  if (bytes[position + 1] !== LF) return E_BARE_CR;

  let valueEnd = position;
  while (valueEnd > valueOffset && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HTAB)) valueEnd--;
  const id = underscored ? F_UNDERSCORED : fieldIdOf(bytes, at, nameLength);
  if (!fields.add(at, nameLength, valueOffset, valueEnd - valueOffset, id)) return E_TOO_MANY_FIELDS;
  return position + 2;
}

/**
 * First position at or after `at` that is no byte of a value, or `stop`. Four bytes at once, which halves the
 * cost of a value: the byte that ends it is found without a loop whose end no processor could foresee.
 */
export function endOfValue(bytes: Uint8Array, at: number, stop: number): number {
  const view = viewOf(bytes);
  const lastWord = stop - 4;
  let position = at;
  while (position <= lastWord) {
    const marks = controlMarks(view.getInt32(position, true));
    if (marks === 0) {
      position += 4;
      continue;
    }
    position += (31 - Math.clz32(marks & -marks)) >> 3;
    if (bytes[position] !== HTAB) return position;
    position++;
  }
  while (position < stop && (CHAR_CLASS[bytes[position]] & VALUE) !== 0) position++;
  return position;
}

/**
 * Marks, in their top bits, bytes of a little-endian word that are below 0x20 or 0x7f: subtracting borrows into
 * the top bit of a byte that is too small (or, exclusive-or'd with 0x7f, zero), and a byte that had its top
 * bit set is no match. The lowest mark is right; one above it may come from the borrow alone.
 */
function controlMarks(word: number): number {
  const del = word ^ 0x7f7f7f7f;
  return (((word - 0x20202020) & ~word) | ((del - 0x01010101) & ~del)) & 0x80808080;
}

/** Why a line can't begin like this: `byte` follows `nameLength` name bytes and is not the colon after a name. */
function nameFault(byte: number, nameLength: number): number {
  if (byte === LF) return E_BARE_LF;
  // Before the first field it is no fold but the same trick (RFC 9112 §2.2).
  if (nameLength === 0 && (byte === SP || byte === HTAB)) return E_OBS_FOLD;
  return E_FIELD_NAME;
}

/** Gives a field whose name holds a `_` an ordinary id again. */
export function acceptUnderscored(fields: FieldSection, index: number): void {
  fields.setId(index, F_OTHER);
}
