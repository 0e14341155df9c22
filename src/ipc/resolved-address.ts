/** Addresses of names as `resolved` carries them, and as sockets take them. */

import { decodeAddress, encodeAddress, SOCKADDR_BYTES_MAX, type SocketAddress } from '../sys/sockaddr.ts';
import type { ResolvedAddress } from './message.ts';

const AT_IPV4 = 4;
const AT_IPV6 = 8;

/** Null where the text is none that a socket can be connected to (one with a zone, say). */
export function resolvedAddressOf(family: 4 | 6, address: string): ResolvedAddress | null {
  const bytes = new Uint8Array(SOCKADDR_BYTES_MAX);
  const text = { family: family === 4 ? 'ipv4' : 'ipv6', address, port: 0 } as const;
  if (encodeAddress(text, bytes, 0) === 0) return null;
  return {
    family,
    bytes: family === 4 ? bytes.slice(AT_IPV4, AT_IPV4 + 4) : bytes.slice(AT_IPV6, AT_IPV6 + 16),
  };
}

export function socketAddressOf({ family, bytes }: ResolvedAddress, port: number): SocketAddress {
  const kernel = new Uint8Array(SOCKADDR_BYTES_MAX);
  const place: SocketAddress =
    family === 4 ? { family: 'ipv4', address: '0.0.0.0', port } : { family: 'ipv6', address: '::', port };
  const length = encodeAddress(place, kernel, 0);
  kernel.set(bytes, family === 4 ? AT_IPV4 : AT_IPV6);
  return decodeAddress(kernel, 0, length);
}
