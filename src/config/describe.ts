/** What a configuration will do, in plain words: for `check` and the log at the start. */

import { unreachable } from '../base/assert.ts';
import type { Config, ProxyAction, RouteConfig, ServerEntry, UpstreamConfig } from './model.ts';

/** Which requests a route takes: `example.com/api and below`. */
export function describeMatch(route: RouteConfig): string {
  const host = route.host === '*' ? 'any host' : route.host;
  if (isSingleFile(route)) return `${host} ${route.path ?? '/'} alone`;
  if (route.path === null || route.path === '/') return `${host}, all paths`;
  return `${host} ${route.path} and below`;
}

/** What a route does with them. */
export function describeAction(route: RouteConfig, config: Config): string {
  const { action } = route;
  switch (action.type) {
    case 'Proxy':
      return describeProxy(route, action, config);
    case 'File': {
      const copies = action.mode === 'memory' ? ', from copies in memory' : '';
      if (!action.isDirectory) return `the file ${action.path}${copies}`;
      return `files beneath ${action.path}${copies}; a directory answers with its ${action.index}`;
    }
    case 'Redirect': {
      const kept = action.preservePath ? ', with the rest of the path and the query appended' : '';
      return `redirect (${action.status}) to ${action.url}${kept}`;
    }
    default:
      return unreachable(action);
  }
}

function isSingleFile(route: RouteConfig): boolean {
  return route.action.type === 'File' && !route.action.isDirectory;
}

function describeProxy(route: RouteConfig, action: ProxyAction, config: Config): string {
  const upstream = config.upstreams.find(({ name }) => name === action.upstream);
  const isOwn = upstream?.name === `route ${route.name}`;
  const to =
    upstream !== undefined && isOwn && upstream.servers.length === 1
      ? describeServer(upstream.servers[0])
      : `a server of ${JSON.stringify(action.upstream)}`;
  const parts = [`proxy to ${to}`];
  if (route.path !== null && route.path !== '/') parts.push(`${route.path} removed from the path`);
  if (action.hostHeader === 'upstream') parts.push('Host is the backend’s own');
  else if (action.hostHeader !== 'preserve') parts.push(`Host is ${action.hostHeader}`);
  const upgrades = action.allowedUpgrades.filter((name) => name !== 'websocket');
  if (upgrades.length > 0) parts.push(`upgrades to ${upgrades.join(', ')} allowed`);
  return parts.join('; ');
}

/** `http://localhost:8080/app`, with what is particular about it. */
export function describeServer(server: ServerEntry): string {
  const { target } = server;
  const at = target.kind === 'unix' ? `unix:${target.path}` : `${server.scheme}://${server.authority}`;
  const base =
    server.basePath === '/' ? '' : target.kind === 'unix' ? `:${server.basePath}` : server.basePath;
  const notes: string[] = [];
  if (server.useH2c) notes.push('HTTP/2 without TLS');
  if (server.sniName !== null) notes.push(`as ${server.sniName}`);
  if (server.insecure) notes.push('certificate not verified');
  else if (server.caPath !== null) notes.push(`verified by ${server.caPath}`);
  if (server.clientCertPath !== null) notes.push(`shows ${server.clientCertPath}`);
  if (server.weight !== 1) notes.push(`weight ${server.weight}`);
  return notes.length === 0 ? `${at}${base}` : `${at}${base} (${notes.join(', ')})`;
}

const ALGORITHMS: Readonly<Record<UpstreamConfig['algorithm'], string>> = {
  round_robin: 'in turn',
  least_conn: 'the one with the fewest connections',
  ip_hash: 'by the client’s address',
};

/** How a group chooses, and how it looks after its servers. */
export function describeUpstream(upstream: UpstreamConfig): string {
  const check = upstream.healthCheck;
  const health =
    check === null
      ? 'no health check'
      : `asked for ${check.path} every ${check.intervalSecs} s, left out after ${check.unhealthyThreshold} failures`;
  const count = upstream.servers.length;
  return count === 1
    ? `one server; ${health}`
    : `${count} servers, ${ALGORITHMS[upstream.algorithm]}; ${health}`;
}
