/**
 * Normalisation of request paths (RFC 3986 §6.2.2, §5.2.4), so that what is matched by routes is what is
 * forwarded and what a file is opened by. Pure: bytes in, bytes out.
 *
 * A normal path begins with `/`, holds no `.` or `..` segment, escapes nothing that is unreserved, and writes
 * the hexadecimal digits of what it escapes in upper case. Empty segments (`//`) are kept. Escaped separators
 * (`%2F`, `%5C`) stay escaped, so they can never become separators.
 *
 * Refused: NUL raw or escaped, control characters, spaces, `\`, `#`, `?`, broken escapes, and climbing above
 * the root. Climbing is counted without empty segments: `//..` stays at the root for RFC 3986 and leaves it for
 * whoever merges slashes, so it is refused rather than guessed.
 */

/** What a byte means here. Bytes from 0x80 on are left to the engine that delivered the path. */
const PLAIN = 0;
const SEPARATOR = 1;
const PERCENT = 2;
const FORBIDDEN = 3;

const SLASH = 0x2f;
const DOT = 0x2e;

const KIND = new Uint8Array(256);
/** RFC 3986 §2.3: these are the same escaped or not. */
const UNRESERVED = new Uint8Array(256);
/** Value of a hexadecimal digit, or 0xff. */
const HEX_VALUE = new Uint8Array(256).fill(0xff);
const HEX_DIGITS = Uint8Array.from('0123456789ABCDEF', (digit) => digit.charCodeAt(0));

function fillTables(): void {
  KIND.fill(FORBIDDEN, 0, 0x21);
  KIND[0x7f] = FORBIDDEN;
  for (const forbidden of '\\#?') KIND[forbidden.charCodeAt(0)] = FORBIDDEN;
  KIND[SLASH] = SEPARATOR;
  KIND['%'.charCodeAt(0)] = PERCENT;
  for (const each of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~') {
    UNRESERVED[each.charCodeAt(0)] = 1;
  }
  for (let value = 0; value < 16; value++) {
    HEX_VALUE[value.toString(16).charCodeAt(0)] = value;
    HEX_VALUE[value.toString(16).toUpperCase().charCodeAt(0)] = value;
  }
}
fillTables();

/** Whether the path is normal already: the common case, decided in one pass without writing anything. */
export function isNormalPath(bytes: Uint8Array, offset: number, length: number): boolean {
  const end = offset + length;
  if (length === 0 || bytes[offset] !== SLASH) return false;
  for (let at = offset; at < end; at++) {
    const kind = KIND[bytes[at]];
    if (kind === PLAIN) continue;
    if (kind === SEPARATOR) {
      if (at + 1 < end && bytes[at + 1] === DOT && isDotSegment(bytes, at + 1, end)) return false;
    } else if (kind === PERCENT && isNormalEscape(bytes, at, end)) {
      at += 2;
    } else {
      return false;
    }
  }
  return true;
}

/** Whether the segment at `at`, which begins with a dot, is `.` or `..`. */
function isDotSegment(bytes: Uint8Array, at: number, end: number): boolean {
  let next = at + 1;
  if (next < end && bytes[next] === DOT) next++;
  return next === end || bytes[next] === SLASH;
}

function isNormalEscape(bytes: Uint8Array, at: number, end: number): boolean {
  if (at + 2 >= end) return false;
  const high = bytes[at + 1];
  const low = bytes[at + 2];
  // Lower-case digits lie above `F`.
  if (high > 0x46 || low > 0x46) return false;
  const value = escapedValue(high, low);
  return value > 0 && UNRESERVED[value] === 0;
}

/** The byte that two hexadecimal digits stand for, or -1. */
function escapedValue(high: number, low: number): number {
  const highValue = HEX_VALUE[high];
  const lowValue = HEX_VALUE[low];
  return highValue === 0xff || lowValue === 0xff ? -1 : highValue * 16 + lowValue;
}

/**
 * Writes the normal form of the path at `offset` to `to`, in the same array, and returns its length, or -1
 * where the path is refused (400). It is never longer than the path was (1 for an empty one, which means `/`).
 * `to` may be `offset`; otherwise the two places must not overlap.
 */
export function normalizePath(bytes: Uint8Array, offset: number, length: number, to: number): number {
  if (length === 0) {
    bytes[to] = SLASH;
    return 1;
  }
  if (bytes[offset] !== SLASH) return -1;
  const end = offset + length;
  let read = offset;
  let write = to;
  // Segments written and not taken back, without the empty ones.
  let depth = 0;
  while (read < end) {
    // At each turn `read` is at a separator.
    bytes[write++] = SLASH;
    const segment = write;
    for (read++; read < end && bytes[read] !== SLASH; read++) {
      const byte = bytes[read];
      const kind = KIND[byte];
      if (kind === PLAIN) {
        bytes[write++] = byte;
        continue;
      }
      if (kind !== PERCENT || read + 2 >= end) return -1;
      const value = escapedValue(bytes[read + 1], bytes[read + 2]);
      if (value <= 0) return -1;
      read += 2;
      write = writeEscape(bytes, write, value);
    }
    const dots = dotCount(bytes, segment, write);
    if (dots === 0) {
      if (write > segment) depth++;
      continue;
    }
    write = segment - 1;
    if (dots === 2) {
      if (--depth < 0) return -1;
      do write--;
      while (bytes[write] !== SLASH);
    }
    if (read >= end) bytes[write++] = SLASH;
  }
  return write - to;
}

/** Writes a byte that came escaped: itself where it is unreserved, else its escape. Returns the next offset. */
function writeEscape(bytes: Uint8Array, write: number, value: number): number {
  if (UNRESERVED[value] === 1) {
    bytes[write] = value;
    return write + 1;
  }
  bytes[write] = 0x25;
  bytes[write + 1] = HEX_DIGITS[value >> 4];
  bytes[write + 2] = HEX_DIGITS[value & 15];
  return write + 3;
}

/** 1 for the segment `.`, 2 for `..`, otherwise 0. */
function dotCount(bytes: Uint8Array, segment: number, end: number): number {
  const length = end - segment;
  if (length < 1 || length > 2 || bytes[segment] !== DOT || bytes[end - 1] !== DOT) return 0;
  return length;
}
