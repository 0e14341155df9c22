/** The value of `priority` and of PRIORITY_UPDATE (RFC 9218 §4, §5, §7.1): a dictionary of structured fields with two known keys. */

/** Urgency where none is given (RFC 9218 §4.1); 0 is the most urgent, 7 the least. */
export const URGENCY_DEFAULT = 3;
export const URGENCY_MAX = 7;
export const PRIORITY_DEFAULT = URGENCY_DEFAULT;
/** Added to the urgency: parts of several responses may be mixed (RFC 9218 §4.2). */
export const INCREMENTAL = 8;

const COMMA = 0x2c;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const QUESTION = 0x3f;
const DQUOTE = 0x22;
const BACKSLASH = 0x5c;
const LOWER_I = 0x69;
const LOWER_U = 0x75;

/**
 * Urgency, plus INCREMENTAL. What is not understood is ignored, as the RFC wants; a key given twice has its last value.
 * Linear in `length`, and tolerant: a priority is advice, and a wrong one is no fault.
 */
export function parsePriority(bytes: Uint8Array, offset: number, length: number): number {
  let urgency = URGENCY_DEFAULT;
  let incremental = 0;
  const end = offset + length;
  let at = offset;
  while (at < end) {
    while (at < end && isBlank(bytes[at])) at++;
    const next = endOfMember(bytes, at, end);
    const memberEnd = endOfItem(bytes, at, next);
    const size = memberEnd - at;
    if (size === 3 && bytes[at] === LOWER_U && bytes[at + 1] === EQUALS) {
      const digit = bytes[at + 2] - 0x30;
      if (digit >= 0 && digit <= URGENCY_MAX) urgency = digit;
    } else if (bytes[at] === LOWER_I) {
      if (size === 1) incremental = INCREMENTAL;
      else if (size === 4 && bytes[at + 1] === EQUALS && bytes[at + 2] === QUESTION) {
        if (bytes[at + 3] === 0x31) incremental = INCREMENTAL;
        else if (bytes[at + 3] === 0x30) incremental = 0;
      }
    }
    at = next + 1;
  }
  return urgency + incremental;
}

/** Position of the comma after a member that begins at `at`, or `end`; commas in strings are no commas. */
function endOfMember(bytes: Uint8Array, at: number, end: number): number {
  let quoted = false;
  for (let position = at; position < end; position++) {
    const byte = bytes[position];
    if (quoted && byte === BACKSLASH) position++;
    else if (byte === DQUOTE) quoted = !quoted;
    else if (byte === COMMA && !quoted) return position;
  }
  return end;
}

/** Where a member's item ends: before its parameters, and before blanks. */
function endOfItem(bytes: Uint8Array, at: number, end: number): number {
  let position = at;
  while (position < end && bytes[position] !== SEMICOLON) position++;
  while (position > at && isBlank(bytes[position - 1])) position--;
  return position;
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09;
}
