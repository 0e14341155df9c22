/** What a configuration will do, in plain words: for `check` and the log at the start. */

import { unreachable } from '../base/assert.ts';
import type {
  Config,
  HealthCheckConfig,
  LoggingConfig,
  PrometheusConfig,
  ProxyAction,
  RouteConfig,
  ServerEntry,
  StatusConfig,
  UpstreamConfig,
} from './model.ts';
import { formatListenAddress } from './network-names.ts';

/** What `server.listen` speaks: `HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3`. */
export function describeProtocols(config: Config): string {
  const versions = config.server.http2Enabled ? 'HTTP/2 and HTTP/1.1' : 'HTTP/1.1';
  if (config.tls === null) return `${versions}, without TLS`;
  return `${versions} over TLS ${config.tls.minVersion === '1.3' ? '1.3' : '1.2 and 1.3'}`;
}

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

/** What becomes of the messages of a WebSocket, by a route's `websocket_*` keys. */
export function describeWebSockets(route: RouteConfig): string {
  const { websocketPollMode, websocketPollTimeoutMs, websocketPollMaxTimeoutMs, websocketIdleTimeoutSecs } =
    route.security;
  const silent =
    websocketIdleTimeoutSecs === 0 ? '' : `; closed after ${websocketIdleTimeoutSecs} s of silence`;
  if (websocketPollMode === 'fixed') return `WebSockets: every message is passed on at once${silent}`;
  return `WebSockets: a message after a silence is passed on at once; small ones that follow may wait ${websocketPollTimeoutMs} ms for each other, after a long silence up to ${websocketPollMaxTimeoutMs} ms${silent}`;
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
  const health = upstream.healthCheck === null ? 'no health check' : describeCheck(upstream.healthCheck);
  const count = upstream.servers.length;
  return count === 1
    ? `one server; ${health}`
    : `${count} servers, ${ALGORITHMS[upstream.algorithm]}; ${health}`;
}

function describeCheck(check: HealthCheckConfig): string {
  const out = counted(check.unhealthyThreshold, 'failure');
  const back = counted(check.healthyThreshold, 'success', 'successes');
  return `each is asked for ${check.path} every ${check.intervalSecs} s (well: ${check.healthyStatuses.join(', ')} within ${check.timeoutSecs} s), left out after ${out} in a row, back after ${back}`;
}

function counted(count: number, one: string, many = `${one}s`): string {
  return count === 1 ? `one ${one}` : `${count} ${many}`;
}

const LOGGED: Readonly<Record<LoggingConfig['level'], string>> = {
  trace: 'requests and everything else',
  debug: 'requests, events, and what helps to find mistakes',
  info: 'requests and events',
  warn: 'warnings and errors, no requests',
  error: 'errors alone',
  off: 'nothing',
};

/** What is logged, how and where. */
export function describeLog(logging: LoggingConfig): string {
  if (logging.level === 'off') return 'Log: nothing';
  const size = logging.maxLogSize === 0 ? 'never rotated' : `rotated at ${describeBytes(logging.maxLogSize)}`;
  const to = logging.filePath === null ? 'to standard error' : `to ${logging.filePath}, ${size}`;
  return `Log: ${LOGGED[logging.level]}, as ${logging.format === 'json' ? 'JSON' : 'text'}, ${to}`;
}

/** Where the status page is. */
export function describeStatus(status: StatusConfig): string {
  if (status.listen === null) return 'Status page: none';
  const where = formatListenAddress(status.listen);
  return `Status page: at ${status.listen.family === 'unix' ? where : `http://${where}/`}`;
}

/** Who may see the metrics, and where. */
export function describeMetrics(prometheus: PrometheusConfig): string {
  if (!prometheus.enabled) return 'Metrics: none';
  const who =
    prometheus.allowedIps.length === 0
      ? 'everybody (allowed_ips is empty)'
      : prometheus.allowedIps.join(', ');
  return `Metrics: at ${prometheus.path} on every host, for ${who}`;
}

function describeBytes(bytes: number): string {
  for (const [unit, size] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (bytes >= size && bytes % size === 0) return `${bytes / size} ${unit}`;
  }
  return `${bytes} bytes`;
}
