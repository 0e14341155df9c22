/**
 * Validation of an authority: the value of Host, the authority of an absolute-form target, `:authority`
 * (RFC 9110 §4.2, §7.2; RFC 3986 §3.2.2, §3.2.3).
 *
 * Stricter than the grammar where it admits what no client sends and readers disagree on: userinfo,
 * `sub-delims` and percent-encoding in a name, empty labels, an empty port, a port above 65535, IPvFuture,
 * zone identifiers, names of more than 255 bytes.
 */

import { hexValue } from '../base/bytes.ts';
import { RecentBytes } from '../base/recent-bytes.ts';
import { CHAR_CLASS, COLON, LABEL } from './char-class.ts';

/** Longest name in DNS, in presentation form with its last dot, and one to spare (RFC 1035 §2.3.4). */
const HOST_BYTES_MAX = 255;
const PORT_DIGITS_MAX = 5;
const PORT_MAX = 65535;
const DOT = 0x2e;
const LEFT_BRACKET = 0x5b;
const RIGHT_BRACKET = 0x5d;

/** The valid authority that was seen last, and the length of its host part. */
const recent = new RecentBytes();
let recentHostLength = 0;

/**
 * Length of the host part, brackets of an IPv6 literal included; what is left is `:port`. 0 for an empty
 * authority; -1 when it is invalid.
 */
export function hostLengthOf(bytes: Uint8Array, offset: number, length: number): number {
  if (recent.matches(bytes, offset, length)) return recentHostLength;
  if (length === 0) return 0;
  const end = offset + length;
  const hostEnd =
    bytes[offset] === LEFT_BRACKET ? literalEnd(bytes, offset, end) : nameEnd(bytes, offset, end);
  if (hostEnd < 0 || hostEnd === offset || hostEnd - offset > HOST_BYTES_MAX) return -1;
  if (hostEnd !== end && !isPort(bytes, hostEnd, end)) return -1;
  recentHostLength = hostEnd - offset;
  recent.set(bytes, offset, length);
  return recentHostLength;
}

/** End of a registered name or IPv4 address: labels between single dots; one dot may stand last. */
function nameEnd(bytes: Uint8Array, offset: number, end: number): number {
  let labelStart = offset;
  let at = offset;
  for (; at < end; at++) {
    const byte = bytes[at];
    if ((CHAR_CLASS[byte] & LABEL) !== 0) continue;
    if (byte !== DOT) break;
    if (at === labelStart) return -1;
    labelStart = at + 1;
  }
  return at < end && bytes[at] !== COLON ? -1 : at;
}

/** `:` and one to five digits, at most 65535. */
function isPort(bytes: Uint8Array, colon: number, end: number): boolean {
  const digits = end - colon - 1;
  if (bytes[colon] !== COLON || digits < 1 || digits > PORT_DIGITS_MAX) return false;
  let port = 0;
  for (let at = colon + 1; at < end; at++) {
    const digit = bytes[at] - 0x30;
    if (digit < 0 || digit > 9) return false;
    port = port * 10 + digit;
  }
  return port <= PORT_MAX;
}

/** End of `[IPv6address]`, or -1. */
function literalEnd(bytes: Uint8Array, offset: number, end: number): number {
  let close = offset + 1;
  while (close < end && bytes[close] !== RIGHT_BRACKET) close++;
  if (close === end || !isIpv6(bytes, offset + 1, close)) return -1;
  return close + 1;
}

/** `IPv6address` (RFC 3986 §3.2.2): eight groups of 16 bits, one `::` at most, the last two perhaps as IPv4. */
export function isIpv6(bytes: Uint8Array, offset: number, end: number): boolean {
  let groups = 0;
  let compressed = false;
  let at = offset;
  if (end - offset >= 2 && bytes[at] === COLON) {
    if (bytes[at + 1] !== COLON) return false;
    compressed = true;
    at += 2;
  }
  while (at < end) {
    let digits = 0;
    const groupStart = at;
    while (at < end && digits < 5 && hexValue(bytes[at]) >= 0) {
      at++;
      digits++;
    }
    if (at < end && bytes[at] === DOT) {
      groups += 2;
      return isIpv4(bytes, groupStart, end) && (compressed ? groups < 8 : groups === 8);
    }
    if (digits === 0 || digits > 4) return false;
    groups++;
    if (at === end) break;
    if (bytes[at] !== COLON || ++at === end) return false;
    if (bytes[at] === COLON) {
      if (compressed) return false;
      compressed = true;
      at++;
    }
  }
  return compressed ? groups < 8 : groups === 8;
}

/** Four decimal octets without leading zeros. */
export function isIpv4(bytes: Uint8Array, offset: number, end: number): boolean {
  let at = offset;
  for (let octets = 1; ; octets++) {
    let value = 0;
    const start = at;
    while (at < end && bytes[at] >= 0x30 && bytes[at] <= 0x39 && at - start < 4) {
      value = value * 10 + bytes[at++] - 0x30;
    }
    const digits = at - start;
    if (digits < 1 || digits > 3 || value > 255 || (digits > 1 && bytes[start] === 0x30)) return false;
    if (octets === 4) return at === end;
    if (at === end || bytes[at++] !== DOT) return false;
  }
}
