/** How servers of groups are told apart, what they are called, and where they are. */

import { isIP } from 'node:net';
import type { ServerEntry } from '../config/model.ts';
import { nameOf } from '../config/outbound-need.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { BackendTls } from './backend-tls.ts';

/** Addresses of each server, by its URL; at least one each. */
export type ResolvedServers = ReadonlyMap<string, readonly SocketAddress[]>;

/** What tells a server from all others. */
export function serverKey(entry: ServerEntry, tls: BackendTls | null): string {
  if (tls !== null) return `${entry.url} ${tls.identity}`;
  return entry.useH2c ? `${entry.url} h2c` : entry.url;
}

/** `host:port` of a URL; what names the socket, of a Unix socket. */
export function serverLabel(url: string): string {
  if (url.startsWith('unix:')) return url;
  const [scheme, rest = ''] = url.split('://');
  const authority = rest.split('/')[0];
  return /:\d+$/.test(authority) ? authority : `${authority}:${scheme.toLowerCase() === 'https' ? 443 : 80}`;
}

/** A server whose address is to be asked for. */
export interface NamedServer {
  readonly family: 'name';
  readonly name: string;
  readonly port: number;
}

/** What a server's URL says of where it is. */
export function placeOf(entry: ServerEntry): SocketAddress | NamedServer {
  const { target } = entry;
  if (target.kind === 'unix') return { family: 'unix', path: target.path };
  const { host, port } = target;
  const name = nameOf(entry);
  if (name !== null) return { family: 'name', name, port };
  const address = host.startsWith('[') ? host.slice(1, -1) : host;
  return { family: isIP(address) === 6 ? 'ipv6' : 'ipv4', address, port };
}
