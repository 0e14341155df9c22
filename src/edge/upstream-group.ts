/** A group of servers that answer alike, and the choice among them. */

import { asciiBytes } from '../base/bytes.ts';
import type { ServerEntry, UpstreamConfig } from '../config/model.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { BackendServer } from './backend-server.ts';
import type { Exchange } from './exchange.ts';

/** A server with what this configuration says of it. */
export class GroupServer {
  readonly server: BackendServer;
  /** Without a trailing slash; empty for the root. */
  readonly basePath: Uint8Array;
  /** The URL's path was written with a slash at its end: `/api` alone becomes `/app/`, not `/app`. */
  readonly baseEndsInSlash: boolean;
  readonly authority: Uint8Array;
  /** What the server becomes when this configuration is in force: its addresses, and what may idle. */
  readonly addresses: readonly SocketAddress[];
  idleMax: number;
  idleTimeoutMs: number;

  constructor(server: BackendServer, entry: ServerEntry, addresses: readonly SocketAddress[]) {
    this.server = server;
    this.addresses = addresses;
    this.idleMax = 0;
    this.idleTimeoutMs = 0;
    this.basePath = asciiBytes(entry.basePath === '/' ? '' : entry.basePath);
    this.baseEndsInSlash = entry.basePath === '/' || entry.url.endsWith('/');
    this.authority = asciiBytes(entry.authority);
  }
}

export class UpstreamGroup {
  readonly name: string;
  readonly servers: readonly GroupServer[];
  private next: number;

  constructor(config: UpstreamConfig, servers: readonly GroupServer[]) {
    this.name = config.name;
    this.servers = servers;
    this.next = 0;
  }

  /** The server for an exchange, or null when there is none. */
  choose(_exchange: Exchange): GroupServer | null {
    const { servers } = this;
    if (servers.length === 0) return null;
    const chosen = servers[this.next];
    this.next = (this.next + 1) % servers.length;
    return chosen;
  }

  /** A route that uses the group lets this many connections idle. */
  allowIdle(idleMax: number, idleTimeoutMs: number): void {
    for (const member of this.servers) {
      member.idleMax = Math.max(member.idleMax, idleMax);
      member.idleTimeoutMs = Math.max(member.idleTimeoutMs, idleTimeoutMs);
    }
  }
}
