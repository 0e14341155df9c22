/** The whole configuration from a file's values: sections, and what must agree between them. */

import { dirname } from 'node:path';
import { BuildContext } from './build-context.ts';
import { RouteBuilder } from './build-routes.ts';
import { buildTls, checkIdentityRules } from './build-tls.ts';
import { buildUpstreams } from './build-upstreams.ts';
import { type EdgeUser, type Files, findReader, type Reader, readerOf } from './files.ts';
import type { KeyPath } from './key-path.ts';
import type {
  Config,
  Http2Config,
  Http3Config,
  ListenAddress,
  LoggingConfig,
  SecurityConfig,
  ServerConfig,
  StatusConfig,
} from './model.ts';
import { formatListenAddress, maskIpRange } from './network-names.ts';
import type { Report } from './problem.ts';
import type { RootFields } from './schema.ts';
import type { SectionReading, Values } from './schema-nodes.ts';
import { compareRoutes, warnShadowed, warnUnusedUpstreams } from './shadowing.ts';

/** Builds the model and reports what is wrong; the result is to be used only where nothing was. */
export function buildConfig(
  root: SectionReading<RootFields>,
  source: string,
  baseDir: string,
  files: Files,
  edgeUser: EdgeUser,
  report: Report,
): Config {
  const { values } = root;
  const reader = chooseReader(values.security, edgeUser, report);
  const context = new BuildContext(report, files, reader, baseDir);
  const server = buildServer(values.server, context);
  checkTlsNeeds(root, report);
  const upstreams = buildUpstreams(values.upstreams, context);
  const builder = new RouteBuilder(
    values.upstreams.map(({ name }) => name),
    context,
  );
  builder.build(values);
  const routes = builder.routes.map(({ route }) => route);
  warnShadowed(builder.routes, server.routePrecedence, report);
  warnUnusedUpstreams(upstreams, routes, report);
  if (values.host_routes.length + values.path_routes.length === 0) {
    report.warn(
      [],
      'There are no routes: every request will be answered 421',
      'add [host_routes] or [path_routes]',
    );
  }
  warnLooseRanges(root, report);
  checkMetricsPath(root, report);
  checkIdentityRules(root, report);
  return {
    source,
    server,
    logging: buildLogging(values.logging, context),
    security: buildSecurity(values.security, context),
    performance: {
      reuseportBalancing: values.performance.values.reuseport_balancing,
      hugePagesEnabled: values.performance.values.huge_pages_enabled,
    },
    tls: buildTls(values.tls, context),
    routes: routes.sort((a, b) => compareRoutes(a, b, server.routePrecedence)),
    upstreams: [...upstreams, ...builder.upstreams],
    prometheus: {
      enabled: values.prometheus.values.enabled,
      path: values.prometheus.values.path,
      allowedIps: values.prometheus.values.allowed_ips,
    },
    status: buildStatus(values.status, root.given.has('status'), server, context),
    http2: buildHttp2(values.http2),
    http3: buildHttp3(values.http3, server, context),
  };
}

/** Who will read the files: the user that privileges are dropped to, or whoever the edge is otherwise. */
function chooseReader(security: Values<RootFields>['security'], edgeUser: EdgeUser, report: Report): Reader {
  const { drop_privileges_user: user, drop_privileges_group: group } = security.values;
  const { enable_sandbox: sandbox, sandbox_unshare_mount: unshare } = security.values;
  const leavesRoot = sandbox !== false && unshare !== false;
  if (user === null) return readerOf(edgeUser, leavesRoot);
  const reader = findReader(user, group, edgeUser.canHaveOwnRoot && leavesRoot);
  if (reader !== null) return reader;
  const whom = group === null ? `The user ${user} is` : `The user ${user} or the group ${group} is`;
  report.warn(
    [...security.at, 'drop_privileges_user'],
    `${whom} not known on this machine`,
    'create it, or correct the name',
  );
  return readerOf(edgeUser, leavesRoot);
}

function buildServer(reading: Values<RootFields>['server'], context: BuildContext): ServerConfig {
  const { values, at } = reading;
  const listen = resolveSockets(values.listen ?? [], context);
  const http = resolveSockets(values.http ?? [], context);
  const seen = new Set<string>();
  checkListeners(listen, 'server.listen', [...at, 'listen'], seen, context);
  checkListeners(http, 'server.http', [...at, 'http'], seen, context);
  return {
    listen,
    http,
    threads: values.threads,
    http2Enabled: values.http2_enabled,
    http3Enabled: values.http3_enabled,
    routePrecedence: values.route_precedence,
    trustedProxies: values.trusted_proxies,
    shutdownTimeoutSecs: values.shutdown_timeout_secs,
    keepAliveTimeoutSecs: values.keep_alive_timeout_secs,
    writeTimeoutSecs: values.write_timeout_secs,
    minRateBytesPerSec: values.min_rate_bytes_per_sec,
    via: values.via,
  };
}

function buildStatus(
  reading: Values<RootFields>['status'],
  isAsked: boolean,
  server: ServerConfig,
  context: BuildContext,
): StatusConfig {
  const at = [...reading.at, 'listen'];
  if (reading.values.listen === null) {
    if (isAsked)
      context.report.add('missing-key', at, 'status.listen is missing', '', 'add it, or remove [status]');
    return { listen: null };
  }
  const [listen] = resolveSockets([reading.values.listen], context);
  const text = formatListenAddress(listen);
  const isLocal =
    listen.family === 'unix' ||
    (listen.family === 'ipv4' ? listen.address.startsWith('127.') : listen.address === '::1');
  if (!isLocal)
    context.report.add(
      'value',
      at,
      `The status page can’t be at ${text}: it asks nobody for a password, and others could reach it there`,
      '127.0.0.1:port, [::1]:port, or unix:/path',
    );
  const taken = new Set([...server.listen, ...server.http].map(formatListenAddress));
  checkListeners([listen], 'status.listen', at, taken, context);
  return { listen };
}

function resolveSockets(addresses: readonly ListenAddress[], context: BuildContext): ListenAddress[] {
  return addresses.map((address) =>
    address.family === 'unix' ? { family: 'unix', path: context.absolute(address.path) } : address,
  );
}

function checkListeners(
  addresses: readonly ListenAddress[],
  name: string,
  at: KeyPath,
  seen: Set<string>,
  context: BuildContext,
): void {
  for (const address of addresses) {
    const text = formatListenAddress(address);
    // The kernel chooses another port each time.
    const isChosen = address.family !== 'unix' && address.port === 0;
    if (seen.has(text) && !isChosen) {
      context.report.add(
        'conflict',
        at,
        `${name} names ${text}, which is listened on already`,
        '',
        'name every address once',
      );
    }
    seen.add(text);
    if (address.family !== 'unix') continue;
    if (name === 'server.http')
      context.report.add('value', at, `server.http can’t be a Unix socket: ${text}`, 'address:port');
    const folder = dirname(address.path);
    if (context.files.kindOf(folder) !== 'directory') {
      context.report.add(
        'not-found',
        at,
        `Folder of the socket not found: ${folder}`,
        '',
        'create it, or correct the path',
      );
    }
    const kind = context.files.kindOf(address.path);
    if (kind !== 'missing' && kind !== 'socket' && kind !== 'hidden') {
      context.report.add(
        'not-found',
        at,
        `There is something else where the socket should be: ${address.path}`,
        'a path that is free',
        'remove it, or choose another path',
      );
    }
  }
}

function checkTlsNeeds(root: SectionReading<RootFields>, report: Report): void {
  if (root.given.has('tls')) return;
  const { server } = root.values;
  if (server.given.has('http')) {
    report.add(
      'conflict',
      [...server.at, 'http'],
      'server.http redirects to HTTPS, but there is no [tls]',
      '',
      'add [tls] with cert_path and key_path, or remove server.http',
    );
  }
  if (server.values.http3_enabled) {
    report.add(
      'conflict',
      [...server.at, 'http3_enabled'],
      'HTTP/3 needs TLS, but there is no [tls]',
      '',
      'add [tls] with cert_path and key_path, or remove http3_enabled',
    );
  }
}

function buildLogging(reading: Values<RootFields>['logging'], context: BuildContext): LoggingConfig {
  const { values, at } = reading;
  if (values.file_path !== null) checkLogFile(values.file_path, [...at, 'file_path'], context);
  return {
    level: values.level,
    format: values.format,
    channelSize: values.channel_size,
    flushIntervalMs: values.flush_interval_ms,
    maxLogSize: values.max_log_size,
    filePath: values.file_path === null ? null : context.absolute(values.file_path),
  };
}

function checkLogFile(path: string, at: KeyPath, context: BuildContext): void {
  const absolute = context.absolute(path);
  const folder = dirname(absolute);
  if (context.files.kindOf(folder) !== 'directory') {
    context.report.add(
      'not-found',
      at,
      `Folder of the log file not found: ${folder}`,
      '',
      'create it, or correct the path',
    );
  } else if (context.files.kindOf(absolute) === 'directory') {
    context.report.add(
      'not-found',
      at,
      `The log file is a directory: ${path}`,
      'a file',
      'name a file in it',
    );
  }
}

function buildSecurity(reading: Values<RootFields>['security'], context: BuildContext): SecurityConfig {
  const { values, given, at } = reading;
  const { report } = context;
  if (values.enable_seccomp === true && values.seccomp_mode === 'disabled') {
    report.add(
      'conflict',
      [...at, 'seccomp_mode'],
      'enable_seccomp = true contradicts seccomp_mode = "disabled"',
      '"log", "filter", "strict"',
      'leave the mode out for "filter"',
    );
  }
  if (values.enable_seccomp === false && values.seccomp_mode !== null && values.seccomp_mode !== 'disabled') {
    report.warn(
      [...at, 'seccomp_mode'],
      `seccomp_mode has no effect: enable_seccomp is false`,
      'remove one of them',
    );
  }
  if (values.sandbox_unshare_net === true) {
    report.warn(
      [...at, 'sandbox_unshare_net'],
      'In a network namespace of its own the edge reaches no client and no backend',
      'leave it out',
    );
  }
  for (const name of ['landlock_read_paths', 'landlock_write_paths'] as const) {
    for (const [index, path] of (values[name] ?? []).entries()) {
      if (context.files.kindOf(context.absolute(path)) === 'missing') {
        report.warn([...at, name, index], `The path does not exist: ${path}`, 'remove it, or correct it');
      }
    }
  }
  const sandbox: Record<string, boolean | string | readonly string[]> = {};
  for (const [name, value] of Object.entries(values)) {
    if (!name.startsWith('sandbox_') || !given.has(name) || value === null) continue;
    sandbox[name.slice('sandbox_'.length)] = value as boolean | string | readonly string[];
  }
  return {
    dropPrivilegesUser: values.drop_privileges_user,
    dropPrivilegesGroup: values.drop_privileges_group,
    maxConcurrentConnections: values.max_concurrent_connections,
    maxConnectionsPerIp: values.max_connections_per_ip,
    allowDegraded: values.allow_degraded,
    enableSeccomp: values.enable_seccomp,
    seccompMode: values.seccomp_mode ?? (values.enable_seccomp === true ? 'filter' : null),
    enableLandlock: values.enable_landlock,
    landlockReadPaths: resolveAll(values.landlock_read_paths, context),
    landlockWritePaths: resolveAll(values.landlock_write_paths, context),
    enableSandbox: values.enable_sandbox,
    sandbox,
  };
}

function resolveAll(paths: readonly string[] | null, context: BuildContext): readonly string[] | null {
  return paths === null ? null : paths.map((path) => context.absolute(path));
}

function buildHttp2(reading: Values<RootFields>['http2']): Http2Config {
  const { values } = reading;
  return {
    headerTableSize: values.header_table_size,
    maxConcurrentStreams: values.max_concurrent_streams,
    initialWindowSize: values.initial_window_size,
    maxFrameSize: values.max_frame_size,
    maxHeaderListSize: values.max_header_list_size,
    connectionWindowSize: values.connection_window_size,
    resets: { burst: values.resets_burst, perSec: values.resets_per_sec },
    settings: { burst: values.settings_burst, perSec: values.settings_per_sec },
    pings: { burst: values.pings_burst, perSec: values.pings_per_sec },
    priorities: { burst: values.priorities_burst, perSec: values.priorities_per_sec },
    emptyFrames: { burst: values.empty_frames_burst, perSec: values.empty_frames_per_sec },
    windowUpdates: { burst: values.window_updates_burst, perSec: values.window_updates_per_sec },
    tinyData: { burst: values.tiny_data_burst, perSec: values.tiny_data_per_sec },
    maxContinuationFrames: values.max_continuation_frames,
    maxFieldBlockSize: values.max_field_block_size,
    abuseHalfLifeMs: values.abuse_half_life_secs * 1000,
  };
}

function buildHttp3(
  reading: Values<RootFields>['http3'],
  server: ServerConfig,
  context: BuildContext,
): Http3Config {
  const { values, at } = reading;
  const listen = values.listen ?? server.listen.filter(({ family }) => family !== 'unix');
  for (const address of listen) {
    if (address.family === 'unix')
      context.report.add('value', [...at, 'listen'], 'HTTP/3 can’t listen on a Unix socket', 'address:port');
  }
  return {
    listen,
    maxIdleTimeoutMs: values.max_idle_timeout,
    maxUdpPayloadSize: values.max_udp_payload_size,
    initialMaxData: values.initial_max_data,
    initialMaxStreamsBidi: values.initial_max_streams_bidi,
    initialMaxStreamsUni: values.initial_max_streams_uni,
  };
}

/** A range such as 192.168.1.1/16 is taken as 192.168.0.0/16, which may not be what was meant. */
function warnLooseRanges(root: SectionReading<RootFields>, report: Report): void {
  const { server, prometheus, host_routes: hostRoutes, path_routes: pathRoutes } = root.values;
  const lists: { readonly at: KeyPath; readonly ranges: readonly string[] }[] = [
    { at: [...server.at, 'trusted_proxies'], ranges: server.values.trusted_proxies },
    { at: [...prometheus.at, 'allowed_ips'], ranges: prometheus.values.allowed_ips },
  ];
  const routes = [...hostRoutes, ...pathRoutes.flatMap(({ value }) => value)];
  for (const { value } of routes) {
    const { at, values } = value.values.security;
    lists.push({ at: [...at, 'allowed_ips'], ranges: values.allowed_ips });
    lists.push({ at: [...at, 'denied_ips'], ranges: values.denied_ips });
  }
  for (const { at, ranges } of lists) {
    for (const [index, range] of ranges.entries()) {
      const masked = maskIpRange(range);
      if (masked !== range)
        report.warn(
          [...at, index],
          `${range} has bits beyond its prefix: it means ${masked}`,
          `write ${masked}`,
        );
    }
  }
}

function checkMetricsPath(root: SectionReading<RootFields>, report: Report): void {
  const { prometheus, path_routes: pathRoutes } = root.values;
  if (!prometheus.values.enabled) return;
  for (const host of pathRoutes) {
    for (const path of host.value) {
      if (path.name === prometheus.values.path) {
        report.warn(
          path.at,
          `Route '${host.written}:${path.written}' is where the metrics page is`,
          'move one of them',
        );
      }
    }
  }
}
