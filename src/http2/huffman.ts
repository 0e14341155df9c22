/**
 * The Huffman code of HPACK and QPACK (RFC 7541 §5.2, appendix B). The code is canonical, so that the lengths
 * of its codes are all there is to know. Decoding looks at 12 bits at once, which hold the codes of most pairs of
 * letters and digits, and at the end at 9, which hold that of every letter, digit and most punctuation; longer ones
 * are found by their length.
 */

/** Bits of each byte's code (RFC 7541 appendix B); 256 is EOS. */
const CODE_BITS = Uint8Array.of(
  ...[13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28],
  ...[28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28],
  ...[6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6],
  ...[5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10],
  ...[13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
  ...[7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  ...[15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5],
  ...[6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28],
  ...[20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23],
  ...[24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24],
  ...[22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23],
  ...[21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23],
  ...[26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25],
  ...[19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27],
  ...[20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23],
  ...[26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26],
  30,
);

const EOS = 256;
const BITS_MIN = 5;
const BITS_MAX = 30;
/** Bits that the direct table looks at. */
const DIRECT_BITS = 9;
/** Bits that the table of pairs looks at. */
const PAIR_BITS = 12;
/** Fewer bits than this can be padding at the end (RFC 7541 §5.2). */
const PADDING_BITS_LIMIT = 8;

/** Symbols in the order of their codes. */
const SYMBOLS = new Uint16Array(CODE_BITS.length);
/** By number of bits: the first code of that length, and where its symbols begin in SYMBOLS. */
const FIRST_CODES = new Int32Array(BITS_MAX + 2);
const FIRST_SYMBOLS = new Int32Array(BITS_MAX + 2);
/** Each symbol's code, right-aligned. */
const CODES = new Int32Array(CODE_BITS.length);
/** Index: the next 9 bits. `bits << 8 | byte`; 0 where the code is longer. */
const DIRECT = new Uint16Array(1 << DIRECT_BITS);
/**
 * Index: the next 12 bits. Their first one or two symbols: `second << 16 | first << 8 | symbols << 5 | bits`; 0 where the
 * first code is longer than the direct table's.
 */
const PAIRS = new Int32Array(1 << PAIR_BITS);

buildTables();
buildPairs();

function buildTables(): void {
  let code = 0;
  let position = 0;
  for (let bits = BITS_MIN; bits <= BITS_MAX; bits++) {
    FIRST_CODES[bits] = code;
    FIRST_SYMBOLS[bits] = position;
    for (let symbol = 0; symbol < CODE_BITS.length; symbol++) {
      if (CODE_BITS[symbol] !== bits) continue;
      SYMBOLS[position++] = symbol;
      CODES[symbol] = code;
      if (bits <= DIRECT_BITS) {
        const first = code << (DIRECT_BITS - bits);
        DIRECT.fill((bits << 8) | symbol, first, first + (1 << (DIRECT_BITS - bits)));
      }
      code++;
    }
    code <<= 1;
  }
  FIRST_SYMBOLS[BITS_MAX + 1] = position;
}

function buildPairs(): void {
  for (let window = 0; window < PAIRS.length; window++) {
    const first = DIRECT[window >>> (PAIR_BITS - DIRECT_BITS)];
    if (first === 0) continue;
    const firstBits = first >>> 8;
    const left = PAIR_BITS - firstBits;
    const rest = (window << firstBits) & ((1 << PAIR_BITS) - 1);
    const second = DIRECT[rest >>> (PAIR_BITS - DIRECT_BITS)];
    const isPair = second !== 0 && second >>> 8 <= left;
    const bits = isPair ? firstBits + (second >>> 8) : firstBits;
    PAIRS[window] = (isPair ? ((second & 0xff) << 16) | (2 << 5) : 1 << 5) | ((first & 0xff) << 8) | bits;
  }
}

/**
 * Decodes `source[from … from + length)` to `target` at `at`, no further than `limit`. Returns how many bytes the
 * text has, or -1 for a code that can't be: EOS, or padding that is too long or not all ones. Text beyond
 * `limit` is counted and not written, so that the caller learns how long it would have been.
 */
export function huffmanDecode(
  source: Uint8Array,
  from: number,
  length: number,
  target: Uint8Array,
  at: number,
  limit: number,
): number {
  const end = from + length;
  let next = from;
  let out = at;
  // The lowest `count` bits of `bits` are not used yet; 24 of them and a byte more fit 32 bits.
  let bits = 0;
  let count = 0;
  // While there is plenty of both, by pairs.
  while (end - next >= 2 && out + 2 <= limit) {
    if (count < PAIR_BITS) {
      bits = (bits << 16) | (source[next] << 8) | source[next + 1];
      next += 2;
      count += 16;
    }
    const pair = PAIRS[(bits >>> (count - PAIR_BITS)) & ((1 << PAIR_BITS) - 1)];
    if (pair === 0) break;
    count -= pair & 0x1f;
    target[out] = pair >>> 8;
    target[out + 1] = pair >>> 16;
    out += (pair >>> 5) & 3;
  }
  for (;;) {
    while (count <= 23 && next < end) {
      bits = ((bits & ((1 << count) - 1)) << 8) | source[next++];
      count += 8;
    }
    if (count < DIRECT_BITS) break;
    const entry = DIRECT[(bits >>> (count - DIRECT_BITS)) & ((1 << DIRECT_BITS) - 1)];
    if (entry !== 0) {
      count -= entry >>> 8;
      if (out < limit) target[out] = entry;
      out++;
      continue;
    }
    const found = decodeLong(bits, count, source, next, end);
    if (found < 0) break;
    const codeBits = found >>> 9;
    if (out < limit) target[out] = found;
    out++;
    // A code of more bits than are at hand took the rest from the bytes that follow.
    for (count -= codeBits; count < 0; count += 8) bits = source[next++];
  }
  return decodeEnd(bits, count, target, out, limit, at, next === end);
}

/**
 * A code of more than 9 bits whose first `count` are at hand and the rest in `source` from `next`: `bits << 9 | byte`,
 * or -1 when there is none (EOS among them) or it is not complete.
 */
function decodeLong(bits: number, count: number, source: Uint8Array, next: number, end: number): number {
  const at = count < 31 ? bits & ((1 << count) - 1) : bits & 0x7fffffff;
  let code = at >>> (count - DIRECT_BITS);
  let taken = DIRECT_BITS;
  let byteAt = next;
  let byteBits = 0;
  while (taken < BITS_MAX) {
    taken++;
    let bit = 0;
    if (taken <= count) {
      bit = (at >>> (count - taken)) & 1;
    } else {
      if (byteBits === 0) {
        if (byteAt === end) return -1;
        byteAt++;
        byteBits = 8;
      }
      bit = (source[byteAt - 1] >>> --byteBits) & 1;
    }
    code = (code << 1) | bit;
    const index = FIRST_SYMBOLS[taken] + (code - FIRST_CODES[taken]);
    if (index < FIRST_SYMBOLS[taken + 1]) {
      const symbol = SYMBOLS[index];
      return symbol === EOS ? -1 : (taken << 9) | symbol;
    }
  }
  return -1;
}

/** The last `count` bits: short codes, then padding of ones. Length of the text, or -1. */
function decodeEnd(
  bits: number,
  unused: number,
  target: Uint8Array,
  from: number,
  limit: number,
  at: number,
  allRead: boolean,
): number {
  let count = unused;
  let out = from;
  if (!allRead) return -1;
  while (count >= BITS_MIN && count < DIRECT_BITS) {
    // Filled up with ones, which begin no short code.
    const missing = DIRECT_BITS - count;
    const window = ((bits & ((1 << count) - 1)) << missing) | ((1 << missing) - 1);
    const entry = DIRECT[window];
    if (entry === 0 || entry >>> 8 > count) break;
    count -= entry >>> 8;
    if (out < limit) target[out] = entry;
    out++;
  }
  const mask = (1 << count) - 1;
  return count < PADDING_BITS_LIMIT && (bits & mask) === mask ? out - at : -1;
}

/** Bytes that `length` bytes at `offset` take when encoded. */
export function huffmanLength(bytes: Uint8Array, offset: number, length: number): number {
  let bits = 0;
  for (let at = offset, end = offset + length; at < end; at++) bits += CODE_BITS[bytes[at]];
  return (bits + 7) >>> 3;
}

/** Encodes `source[from … from + length)` to `target` at `at`, where `huffmanLength` bytes are free; returns the offset after it. */
export function huffmanEncode(
  source: Uint8Array,
  from: number,
  length: number,
  target: Uint8Array,
  at: number,
): number {
  let out = at;
  // The lowest `count` bits of `bits` are to be written, always fewer than 8 between two bytes.
  let bits = 0;
  let count = 0;
  for (let index = from, end = from + length; index < end; index++) {
    const code = CODES[source[index]];
    let left = CODE_BITS[source[index]];
    while (left > 0) {
      const taken = Math.min(left, 8 - count);
      left -= taken;
      bits = (bits << taken) | ((code >>> left) & ((1 << taken) - 1));
      count += taken;
      if (count === 8) {
        target[out++] = bits;
        bits = 0;
        count = 0;
      }
    }
  }
  if (count > 0) target[out++] = (bits << (8 - count)) | ((1 << (8 - count)) - 1);
  return out;
}
