/**
 * Addresses of the servers that a configuration names. Until a room of its own resolves names, the edge's own
 * process does it, when a configuration is loaded and never in between.
 */

import { lookup } from 'node:dns/promises';
import { placeOf } from '../backend/server-names.ts';
import type { Config, ServerEntry } from '../config/model.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';

/** Addresses by URL. Throws an Error that names the server whose name has none. */
export async function resolveServers(config: Config): Promise<Map<string, readonly SocketAddress[]>> {
  const entries = config.upstreams.flatMap((upstream) => upstream.servers);
  const resolved = new Map<string, readonly SocketAddress[]>();
  await Promise.all(
    entries.map(async (entry) => {
      resolved.set(entry.url, await addressesOf(entry));
    }),
  );
  return resolved;
}

async function addressesOf(entry: ServerEntry): Promise<readonly SocketAddress[]> {
  const place = placeOf(entry);
  if (place.family !== 'name') return [place];
  const { name, port } = place;
  try {
    const found = await lookup(name, { all: true, order: 'ipv4first' });
    return found.map(({ address, family }) => ({ family: family === 4 ? 'ipv4' : 'ipv6', address, port }));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new Error(`The name of backend ${entry.url} has no address (${code})`);
  }
}
