/** What of a configuration is work for the room that resolves names and checks health. */

import { isIP } from 'node:net';
import type { BackendMaterial } from './material.ts';
import type { Config, ServerEntry } from './model.ts';

/** What that room is told, as JSON. */
export interface OutboundConfiguration {
  readonly config: Config;
  /** Of servers that are spoken to over TLS. */
  readonly backends: BackendMaterial;
  /** Of the memory that all rooms share. */
  readonly slots: number;
}

/** The name of a server that is to be resolved; null: it has an address, or a Unix socket. */
export function nameOf({ target }: ServerEntry): string | null {
  if (target.kind === 'unix' || target.host.startsWith('[') || isIP(target.host) !== 0) return null;
  return target.host;
}

/** The names of all servers, each once. */
export function namesOf(config: Config): string[] {
  const names = config.upstreams.flatMap(({ servers }) => servers.map(nameOf));
  return [...new Set(names.filter((name) => name !== null))];
}

/** Whether there is a name to resolve or a server to check. */
export function needsOutbound(config: Config): boolean {
  return config.upstreams.some(({ healthCheck }) => healthCheck !== null) || namesOf(config).length > 0;
}
