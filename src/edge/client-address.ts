/** Who is at the other end of a client's connection, parsed once for each connection. */

import type { SocketAddress } from '../sys/sockaddr.ts';
import type { ClientIdentity } from '../tls/client-certificate.ts';
import { type AddressWords, parseAddress } from './ip-list.ts';

export class ClientAddress {
  /** Text of the address: IPv4 dotted, IPv6 without brackets, `unix` for a peer on a Unix socket. */
  readonly text: string;
  readonly port: number;
  /** The address as a node of Forwarded (RFC 7239 §6). */
  readonly node: string;
  /** Of the text: the same for the same address. */
  readonly hash: number;
  /** Null for a peer on a Unix socket, which no address list can match. */
  readonly words: AddressWords | null;
  /** Who it is by its certificate; null where it wasn't asked. Set when its handshake is over. */
  identity: ClientIdentity | null;
  /** Its connection counts towards the limits of connections. */
  isCounted: boolean;

  constructor(text: string, port: number) {
    this.text = text;
    this.port = port;
    this.node = text === 'unix' ? 'unknown' : text.includes(':') ? `"[${text}]"` : text;
    this.words = text === 'unix' ? null : parseAddress(text);
    this.hash = hashOf(text);
    this.identity = null;
    this.isCounted = true;
  }

  static of(address: SocketAddress): ClientAddress {
    if (address.family === 'unix') return new ClientAddress('unix', 0);
    return new ClientAddress(unmapped(address.address), address.port);
  }
}

function hashOf(text: string): number {
  let hash = 0;
  for (let index = 0; index < text.length; index++)
    hash = (Math.imul(hash, 31) + text.charCodeAt(index)) & 0x3fffffff;
  return hash;
}

/** `::ffff:192.0.2.1` is the IPv4 address that it maps. */
function unmapped(text: string): string {
  return text.startsWith('::ffff:') && text.includes('.') ? text.slice(7) : text;
}
