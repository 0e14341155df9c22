/**
 * Entity tags (RFC 9110 §8.8.3): made from a file's modification time and size, and compared with the
 * lists that clients send. Ours are always strong.
 */

/**
 * `"<mtime in µs, hex>-<size, hex><suffix>"`: nginx's form, with a finer time so that two versions written
 * within a second differ. The inode isn't part of it, so that machines which hold the same tree agree.
 * `suffix` tells codings of one resource apart (`-br`) even where their files have the same time and size.
 */
export function formatEntityTag(modifiedMs: number, sizeBytes: number, suffix: string): string {
  const micros = Math.max(0, Math.floor(modifiedMs * 1000));
  return `"${micros.toString(16)}-${sizeBytes.toString(16)}${suffix}"`;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const SPACE = 0x20;
const TAB = 0x09;
const SLASH = 0x2f;
const UPPER_W = 0x57;
const DEL = 0x7f;

/**
 * Whether a comma-separated list of entity tags holds `etag` (ours: strong, in quotes). `strongly`: a weak
 * tag never matches (§8.8.3.2). Reading stops at the first thing that is no entity tag; what stood before counts.
 */
export function entityTagListHas(
  bytes: Uint8Array,
  offset: number,
  length: number,
  etag: string,
  strongly: boolean,
): boolean {
  const end = offset + length;
  let at = offset;
  while (true) {
    while (at < end && isSeparator(bytes[at])) at++;
    if (at === end) return false;
    const weak = bytes[at] === UPPER_W && at + 1 < end && bytes[at + 1] === SLASH;
    if (weak) at += 2;
    const tagEnd = endOfOpaqueTag(bytes, at, end);
    if (tagEnd < 0) return false;
    if (!(weak && strongly) && equals(bytes, at, tagEnd - at, etag)) return true;
    at = tagEnd;
    while (at < end && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
    if (at < end && bytes[at] !== COMMA) return false;
  }
}

/** Whether exactly one entity tag stands here and equals ours by strong comparison. */
export function entityTagIs(bytes: Uint8Array, offset: number, length: number, etag: string): boolean {
  return equals(bytes, offset, length, etag);
}

function isSeparator(byte: number): boolean {
  return byte === COMMA || byte === SPACE || byte === TAB;
}

/** Position after the closing quote, or -1. */
function endOfOpaqueTag(bytes: Uint8Array, start: number, end: number): number {
  if (start >= end || bytes[start] !== QUOTE) return -1;
  for (let at = start + 1; at < end; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) return at + 1;
    if (byte <= SPACE || byte === DEL) return -1;
  }
  return -1;
}

function equals(bytes: Uint8Array, offset: number, length: number, text: string): boolean {
  if (length !== text.length) return false;
  for (let i = 0; i < length; i++) if (bytes[offset + i] !== text.charCodeAt(i)) return false;
  return true;
}
