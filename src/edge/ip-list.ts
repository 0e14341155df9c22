/**
 * Client addresses as numbers, and lists of addresses and CIDR blocks to match them against
 * (`allowed_ips`, `denied_ips`, `trusted_proxies`). A connection's address is parsed once; matching is a
 * binary search without allocation, whatever the list's length.
 *
 * An IPv4-mapped IPv6 address (::ffff:a.b.c.d, RFC 4291 §2.5.5.2) counts as the IPv4 address in it, in lists
 * too. IPv6 blocks never match IPv4 addresses: `::/0` is all of IPv6.
 */

import { assert } from '../base/assert.ts';

/** There is no address: the peer of a Unix socket. No list matches it. */
export const FAMILY_NONE = 0;
export const FAMILY_IPV4 = 4;
export const FAMILY_IPV6 = 6;

/** An address as four 32-bit words, kept signed so that they stay small integers. */
export class AddressWords {
  /** FAMILY_NONE, FAMILY_IPV4 or FAMILY_IPV6. */
  family: number;
  /** The most significant word of IPv6; 0 for IPv4. */
  word0: number;
  word1: number;
  word2: number;
  /** The least significant word of IPv6; the whole address for IPv4. */
  word3: number;

  constructor() {
    this.family = FAMILY_NONE;
    this.word0 = 0;
    this.word1 = 0;
    this.word2 = 0;
    this.word3 = 0;
  }

  clear(): void {
    this.family = FAMILY_NONE;
    this.word0 = this.word1 = this.word2 = this.word3 = 0;
  }

  copyFrom(other: AddressWords): void {
    this.family = other.family;
    this.word0 = other.word0;
    this.word1 = other.word1;
    this.word2 = other.word2;
    this.word3 = other.word3;
  }

  equals(other: AddressWords): boolean {
    return (
      this.family === other.family &&
      this.word3 === other.word3 &&
      this.word2 === other.word2 &&
      this.word1 === other.word1 &&
      this.word0 === other.word0
    );
  }
}

/** An address as text, with an IPv6 zone (`%eth0`) ignored. FAMILY_NONE where it is no address (a Unix peer's is empty). Once a connection. */
export function parseAddress(text: string): AddressWords {
  const address = new AddressWords();
  const zone = text.indexOf('%');
  const bytes = Buffer.from(zone > 0 && text.includes(':') ? text.slice(0, zone) : text, 'latin1');
  parseAddressBytes(bytes, 0, bytes.length, address);
  return address;
}

/** Reads an address (no port, no brackets, no zone) into `to`; false, and FAMILY_NONE, where it is none. */
export function parseAddressBytes(
  bytes: Uint8Array,
  offset: number,
  length: number,
  to: AddressWords,
): boolean {
  to.clear();
  const end = offset + length;
  // The longest form: eight groups with an IPv4 tail.
  if (length < 2 || length > 45) return false;
  for (let at = offset; at < end; at++) {
    if (bytes[at] === COLON) return parseIpv6(bytes, offset, end, to);
  }
  if (!parseIpv4(bytes, offset, end)) return false;
  to.family = FAMILY_IPV4;
  to.word3 = parsedIpv4;
  return true;
}

const COLON = 0x3a;
const DOT = 0x2e;

/** Results of the parsers below, which are not reentrant and need not be. */
let parsedIpv4 = 0;
const groups = new Uint16Array(8);

/** Four decimal octets without leading zeros; the address is left in `parsedIpv4`. */
function parseIpv4(bytes: Uint8Array, offset: number, end: number): boolean {
  let address = 0;
  let octets = 0;
  let at = offset;
  while (octets < 4) {
    const first = at;
    let octet = 0;
    for (; at < end && at - first < 3; at++) {
      const digit = bytes[at] - 0x30;
      if (digit < 0 || digit > 9) break;
      octet = octet * 10 + digit;
    }
    if (at === first || octet > 255 || (at - first > 1 && bytes[first] === 0x30)) return false;
    address = (address << 8) | octet;
    if (++octets === 4) break;
    if (at >= end || bytes[at] !== DOT) return false;
    at++;
  }
  parsedIpv4 = address;
  return at === end;
}

/** RFC 4291 §2.2, all three forms. */
function parseIpv6(bytes: Uint8Array, offset: number, end: number, to: AddressWords): boolean {
  let count = 0;
  /** Groups before `::`, or -1. */
  let gap = -1;
  let at = offset;
  if (bytes[at] === COLON) {
    if (bytes[at + 1] !== COLON) return false;
    gap = 0;
    at += 2;
  }
  while (at < end) {
    if (count === 8) return false;
    const length = groupLength(bytes, at, end);
    if (at + length < end && bytes[at + length] === DOT) {
      if (count > 6 || !parseIpv4(bytes, at, end)) return false;
      groups[count++] = parsedIpv4 >>> 16;
      groups[count++] = parsedIpv4;
      at = end;
      break;
    }
    if (length === 0 || length > 4) return false;
    groups[count++] = groupValue(bytes, at, length);
    at += length;
    if (at === end) break;
    if (bytes[at] !== COLON || ++at === end) return false;
    if (bytes[at] === COLON) {
      if (gap >= 0) return false;
      gap = count;
      at++;
    }
  }
  if (gap < 0 ? count !== 8 : count > 7) return false;
  spreadGroups(count, gap);
  setIpv6(to);
  return true;
}

/** Moves the groups after `::` to the end and fills the gap with zeros. */
function spreadGroups(count: number, gap: number): void {
  if (gap < 0) return;
  const tail = count - gap;
  for (let index = 0; index < tail; index++) groups[7 - index] = groups[count - 1 - index];
  for (let index = gap; index < 8 - tail; index++) groups[index] = 0;
}

function setIpv6(to: AddressWords): void {
  const word0 = (groups[0] << 16) | groups[1];
  const word1 = (groups[2] << 16) | groups[3];
  const word2 = (groups[4] << 16) | groups[5];
  const word3 = (groups[6] << 16) | groups[7];
  const mapped = word0 === 0 && word1 === 0 && word2 === 0xffff;
  to.family = mapped ? FAMILY_IPV4 : FAMILY_IPV6;
  to.word0 = word0;
  to.word1 = word1;
  to.word2 = mapped ? 0 : word2;
  to.word3 = word3;
}

/** Hexadecimal digits from `at` on, at most 5 (which is too many). */
function groupLength(bytes: Uint8Array, at: number, end: number): number {
  let length = 0;
  while (length < 5 && at + length < end && hexValue(bytes[at + length]) >= 0) length++;
  return length;
}

function groupValue(bytes: Uint8Array, at: number, length: number): number {
  let value = 0;
  for (let index = 0; index < length; index++) value = value * 16 + hexValue(bytes[at + index]);
  return value;
}

function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** A block: its first and last address. */
interface Block {
  readonly family: number;
  readonly first: Uint32Array;
  readonly last: Uint32Array;
}

/** Addresses and blocks, compiled once. */
export class IpList {
  /** No entries: what that means (nobody, everybody) is the caller's. */
  readonly isEmpty: boolean;
  /** Disjoint ranges in ascending order, ends included. One word an address. */
  private readonly firsts4: Uint32Array;
  private readonly lasts4: Uint32Array;
  /** The same, four words an address. */
  private readonly firsts6: Uint32Array;
  private readonly lasts6: Uint32Array;

  /** `entries` are addresses or CIDR blocks that the configuration has validated. */
  constructor(entries: readonly string[]) {
    const blocks = entries.map((entry) => {
      const block = parseBlock(entry);
      assert(block !== null, `not an address or CIDR block: ${entry}`);
      return block;
    });
    this.isEmpty = blocks.length === 0;
    const ipv4 = disjoint(blocks.filter((block) => block.family === FAMILY_IPV4));
    const ipv6 = disjoint(blocks.filter((block) => block.family === FAMILY_IPV6));
    this.firsts4 = Uint32Array.from(ipv4, (block) => block.first[3]);
    this.lasts4 = Uint32Array.from(ipv4, (block) => block.last[3]);
    this.firsts6 = Uint32Array.from(ipv6.flatMap((block) => [...block.first]));
    this.lasts6 = Uint32Array.from(ipv6.flatMap((block) => [...block.last]));
  }

  has(address: AddressWords): boolean {
    if (address.family === FAMILY_IPV4) return this.hasIpv4(address.word3 >>> 0);
    return address.family === FAMILY_IPV6 && this.hasIpv6(address);
  }

  private hasIpv4(word: number): boolean {
    const firsts = this.firsts4;
    let low = 0;
    let high = firsts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (firsts[middle] <= word) low = middle + 1;
      else high = middle;
    }
    return low > 0 && word <= this.lasts4[low - 1];
  }

  private hasIpv6(address: AddressWords): boolean {
    let low = 0;
    let high = this.firsts6.length >>> 2;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareIpv6(this.firsts6, middle, address) <= 0) low = middle + 1;
      else high = middle;
    }
    return low > 0 && compareIpv6(this.lasts6, low - 1, address) >= 0;
  }
}

/** Negative, 0 or positive as the listed address at `index` is below, at or above `address`. */
function compareIpv6(list: Uint32Array, index: number, address: AddressWords): number {
  const at = index * 4;
  return (
    list[at] - (address.word0 >>> 0) ||
    list[at + 1] - (address.word1 >>> 0) ||
    list[at + 2] - (address.word2 >>> 0) ||
    list[at + 3] - (address.word3 >>> 0)
  );
}

/** `address` or `address/bits`; null where it is neither. Bits beyond the prefix are ignored. */
export function parseBlock(text: string): Block | null {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address.family === FAMILY_NONE || text.includes('%')) return null;
  const written = slash < 0 ? null : text.slice(slash + 1);
  if (written !== null && !/^(0|[1-9][0-9]{0,2})$/.test(written)) return null;
  // An IPv4-mapped block is written with an IPv6 prefix length.
  const mapped = address.family === FAMILY_IPV4 && text.includes(':');
  const width = address.family === FAMILY_IPV4 && !mapped ? 32 : 128;
  const bits = written === null ? width : Number(written);
  if (bits > width || (mapped && bits < 96)) return null;
  const prefix = width === 32 ? bits + 96 : bits;
  const words = Uint32Array.of(address.word0, address.word1, address.word2, address.word3);
  const masks = Uint32Array.from(words, (_, index) => prefixMask(prefix - index * 32));
  return {
    family: address.family,
    first: words.map((word, index) => word & masks[index]),
    last: words.map((word, index) => word | ~masks[index]),
  };
}

/** The 32-bit mask with as many leading ones as asked for, none below 0 and all above 32. */
function prefixMask(bits: number): number {
  return bits <= 0 ? 0 : bits >= 32 ? 0xffffffff : (0xffffffff << (32 - bits)) >>> 0;
}

/** Blocks in ascending order without those that lie within another. CIDR blocks nest or are disjoint, nothing between. */
function disjoint(blocks: readonly Block[]): Block[] {
  const sorted = [...blocks].sort((a, b) => compareWords(a.first, b.first) || compareWords(b.last, a.last));
  const kept: Block[] = [];
  for (const block of sorted) {
    const before = kept.at(-1);
    if (before === undefined || compareWords(block.first, before.last) > 0) kept.push(block);
  }
  return kept;
}

function compareWords(a: Uint32Array, b: Uint32Array): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2] || a[3] - b[3];
}
