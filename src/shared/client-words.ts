/**
 * A client's address as the tables in shared memory key it: IPv4 by all of it, IPv6 by its first 64 bits, which is what
 * one customer is given (RFC 6177), and all peers on Unix sockets together.
 */

/** An address as 32-bit words; `AddressWords` of the edge is one. */
export interface ClientWords {
  /** 4 or 6. */
  readonly family: number;
  /** The most significant word of IPv6. */
  readonly word0: number;
  readonly word1: number;
  /** The whole address of IPv4. */
  readonly word3: number;
}

const FAMILY_IPV6 = 6;

export function isIpv6(address: ClientWords | null): boolean {
  return address !== null && address.family === FAMILY_IPV6;
}

/** The first 32 bits of IPv6, else 0. */
export function highWord(address: ClientWords | null): number {
  return address !== null && address.family === FAMILY_IPV6 ? address.word0 : 0;
}

/** The next 32 bits of IPv6; an IPv4 address; 0 for a peer on a Unix socket. */
export function lowWord(address: ClientWords | null): number {
  if (address === null) return 0;
  return address.family === FAMILY_IPV6 ? address.word1 : address.word3;
}

/** The finalizer of MurmurHash3: every bit of the input changes half of the output's. */
export function mix(word: number): number {
  let hash = word;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
