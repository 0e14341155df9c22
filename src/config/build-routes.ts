/** Routes: from a file's values to the model, with what types can't tell checked. */

import type { BuildContext } from './build-context.ts';
import { buildBackend } from './build-upstreams.ts';
import type { FileKind } from './files.ts';
import type { KeyPath } from './key-path.ts';
import type {
  FileAction,
  ProxyAction,
  RedirectAction,
  RouteConfig,
  RouteSecurity,
  UpstreamConfig,
} from './model.ts';
import { isLikelySlip, nearestWord } from './nearest.ts';
import { parseHost, parsePort } from './network-names.ts';
import { Complaint } from './problem.ts';
import {
  BACKEND_KEY_NAMES,
  KEYS_OF_TYPE,
  type RootFields,
  type RouteFields,
  type RouteSecurityFields,
} from './schema.ts';
import type { SectionReading, Values } from './schema-nodes.ts';

/** A route and where the file has it. */
export interface PlacedRoute {
  readonly route: RouteConfig;
  readonly at: KeyPath;
}

export class RouteBuilder {
  private readonly context: BuildContext;
  private readonly upstreamNames: readonly string[];
  /** Groups of one, made from the `url` of a route. */
  readonly upstreams: UpstreamConfig[] = [];
  readonly routes: PlacedRoute[] = [];
  /** Host and path of each route that was built, with the name of the first. */
  private readonly taken = new Map<string, string>();

  constructor(upstreamNames: readonly string[], context: BuildContext) {
    this.context = context;
    this.upstreamNames = upstreamNames;
  }

  build(values: Values<RootFields>): void {
    for (const host of values.host_routes) this.add(host.written, host.name, null, host.value);
    for (const host of values.path_routes) {
      for (const path of host.value)
        this.add(`${host.written}:${path.written}`, host.name, path.name, path.value);
    }
  }

  private add(name: string, host: string, path: string | null, reading: SectionReading<RouteFields>): void {
    const identity = path === null ? host : `${host}${path}`;
    const first = this.taken.get(identity);
    if (first !== undefined) {
      const why = 'hosts are compared without case, paths without a trailing slash';
      this.context.report.add(
        'conflict',
        reading.at,
        `Route '${name}' is the same as '${first}'`,
        '',
        `remove one of them (${why})`,
      );
    } else this.taken.set(identity, name);
    this.refuseKeysOfOtherTypes(reading);
    const action = this.action(name, reading);
    if (action === null) return;
    const security = this.security(reading.values.security);
    this.routes.push({ route: { name, host, path, action, security }, at: reading.at });
  }

  private refuseKeysOfOtherTypes(reading: SectionReading<RouteFields>): void {
    if (reading.wrong.has('type')) return;
    const own = reading.values.type;
    for (const [type, names] of Object.entries(KEYS_OF_TYPE)) {
      if (type === own) continue;
      for (const name of names) {
        if (!reading.given.has(name)) continue;
        const said = reading.given.has('type')
          ? `this route's type is "${own}"`
          : `this route has no type, which means "${own}"`;
        this.context.report.add(
          'conflict',
          [...reading.at, name],
          `${name} belongs to type = "${type}"; ${said}`,
          KEYS_OF_TYPE[own].join(', '),
          `write type = "${type}", or remove ${name}`,
        );
      }
    }
  }

  private action(
    name: string,
    reading: SectionReading<RouteFields>,
  ): ProxyAction | FileAction | RedirectAction | null {
    if (reading.wrong.has('type')) return null;
    const type = reading.values.type;
    if (type === 'Proxy') return this.proxy(name, reading);
    return type === 'File' ? this.file(name, reading) : this.redirect(name, reading);
  }

  private proxy(name: string, reading: SectionReading<RouteFields>): ProxyAction | null {
    const { values, given, wrong, at } = reading;
    const { report } = this.context;
    const upgrades = this.upgrades(values.allowed_upgrades, [...at, 'allowed_upgrades']);
    const hostHeader = this.hostHeader(values.host_header, [...at, 'host_header']);
    if (given.has('url') === given.has('upstream')) {
      const found = given.has('url') ? 'has both url and upstream' : 'has neither url nor upstream';
      report.add(
        'conflict',
        at,
        `Proxy route '${name}' ${found}`,
        'exactly one of url and upstream',
        given.has('url') ? 'remove one of them' : 'add url = "http://localhost:8080"',
      );
      return null;
    }
    if (wrong.has('url') || wrong.has('upstream')) return null;
    if (values.upstream !== null) {
      this.checkUpstream(values.upstream, reading);
      return { type: 'Proxy', upstream: values.upstream, hostHeader, allowedUpgrades: upgrades };
    }
    const url = values.url ?? '';
    const place = {
      invalidUrl: `Invalid proxy URL for route '${name}': ${url}`,
      urlAt: [...at, 'url'],
      keysAt: at,
      context: this.context,
    };
    const server = buildBackend(url, values, 1, place);
    const upstream = `route ${name}`;
    if (server !== null) {
      this.upstreams.push({ name: upstream, algorithm: 'round_robin', servers: [server], healthCheck: null });
    }
    return { type: 'Proxy', upstream, hostHeader, allowedUpgrades: upgrades };
  }

  private checkUpstream(upstream: string, reading: SectionReading<RouteFields>): void {
    const { report } = this.context;
    if (!this.upstreamNames.includes(upstream)) {
      const near = nearestWord(upstream, this.upstreamNames);
      const define = `define [upstreams.${JSON.stringify(upstream)}]`;
      const mend = isLikelySlip(upstream, near) ? `write "${near}", or ${define}` : define;
      const known = this.upstreamNames.map((each) => `"${each}"`).join(', ');
      report.add('not-found', [...reading.at, 'upstream'], `Upstream '${upstream}' not found`, known, mend);
    }
    for (const name of BACKEND_KEY_NAMES) {
      if (!reading.given.has(name)) continue;
      const mend = `write it in the group: servers = [{ url = "…", ${name} = … }]`;
      report.add(
        'conflict',
        [...reading.at, name],
        `${name} belongs beside url, not beside upstream`,
        '',
        mend,
      );
    }
  }

  private upgrades(names: readonly string[], at: KeyPath): readonly string[] {
    const { report } = this.context;
    const upgrades = new Set(['websocket']);
    for (const [index, name] of names.entries()) {
      const lower = name.toLowerCase();
      if (lower === 'h2c') {
        report.add(
          'value',
          [...at, index],
          'h2c can’t be upgraded to: it is always removed from requests',
          '',
          'remove it',
        );
      } else if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+(?:\/[!#$%&'*+\-.^_`|~0-9a-z]+)?$/.test(lower)) {
        report.add(
          'value',
          [...at, index],
          `Not the name of a protocol: ${JSON.stringify(name)}`,
          'a token, or token/version',
        );
      } else upgrades.add(lower);
    }
    return [...upgrades];
  }

  private hostHeader(value: string, at: KeyPath): string {
    if (value === 'preserve' || value === 'upstream') return value;
    const { report } = this.context;
    const words = '"preserve", "upstream", or a host with an optional port';
    const lower = value.toLowerCase();
    const near = nearestWord(lower, ['preserve', 'upstream']);
    // A mistyped word would be taken for a host.
    if (!value.includes('.') && isLikelySlip(lower, near)) {
      report.add('value', at, `Unknown value ${JSON.stringify(value)}`, words, `write "${near}"`);
      return value;
    }
    const portAt = /:[0-9]*$/.exec(value)?.index ?? value.length;
    const host = parseHost(value.slice(0, portAt));
    const isPortRight = portAt === value.length || parsePort(value.slice(portAt + 1), 1) > 0;
    if (host instanceof Complaint || !isPortRight) {
      const why = host instanceof Complaint ? host.why : 'the port is not a number from 1 to 65535';
      report.add('value', at, `Invalid value ${JSON.stringify(value)}: ${why}`, words);
    }
    return value;
  }

  private file(name: string, reading: SectionReading<RouteFields>): FileAction | null {
    const { values, given, wrong, at } = reading;
    const { report, files } = this.context;
    const pathAt = [...at, 'path'];
    if (wrong.has('path')) return null;
    if (values.path === null) {
      const typed =
        given.has('url') || given.has('upstream') ? 'Proxy' : given.has('redirect_url') ? 'Redirect' : '';
      if (typed === '')
        report.add(
          'missing-key',
          pathAt,
          `File route '${name}' has no path`,
          '',
          'add path = "/var/www/html"',
        );
      return null;
    }
    const path = this.context.absolute(values.path);
    const kind: FileKind = files.kindOf(path);
    if (kind === 'missing' || kind === 'hidden') {
      this.context.refuseMissing(values.path, `File path for route '${name}'`, pathAt, kind);
    } else if (kind !== 'file' && kind !== 'directory') {
      report.add(
        'not-found',
        pathAt,
        `File path for route '${name}' is neither a file nor a directory: ${values.path}`,
        '',
        'for a Unix socket, use type = "Proxy" and url = "unix:/path"',
      );
    } else this.context.warnUnreachable(values.path, kind, pathAt);
    if (kind === 'file' && given.has('index')) {
      report.warn([...at, 'index'], 'index has no effect: path is a single file', 'remove it');
    }
    return { type: 'File', path, isDirectory: kind === 'directory', mode: values.mode, index: values.index };
  }

  private redirect(name: string, reading: SectionReading<RouteFields>): RedirectAction | null {
    const { values, wrong, at } = reading;
    const { report } = this.context;
    if (wrong.has('redirect_url')) return null;
    const url = values.redirect_url;
    if (url === null) {
      report.add(
        'missing-key',
        [...at, 'redirect_url'],
        `Redirect route '${name}' has no redirect_url`,
        '',
        'add redirect_url = "https://www.example.com/"',
      );
      return null;
    }
    if (values.preserve_path && /\$(request_uri|path)/.test(url)) {
      report.warn(
        [...at, 'preserve_path'],
        'preserve_path appends the path to a redirect_url that already holds it',
        'use one of them',
      );
    }
    return { type: 'Redirect', url, status: values.redirect_status, preservePath: values.preserve_path };
  }

  private security(reading: SectionReading<RouteSecurityFields>): RouteSecurity {
    const { values, at } = reading;
    const { report } = this.context;
    this.checkFieldRules(reading);
    if (
      values.websocket_poll_mode === 'adaptive' &&
      values.websocket_poll_timeout_ms > values.websocket_poll_max_timeout_ms
    ) {
      const found = `${values.websocket_poll_timeout_ms} is above websocket_poll_max_timeout_ms, ${values.websocket_poll_max_timeout_ms}`;
      report.add(
        'conflict',
        [...at, 'websocket_poll_timeout_ms'],
        `websocket_poll_timeout_ms, ${found}`,
        '',
        'make the first no longer than the longest',
      );
    }
    return {
      maxRequestBodySize: values.max_request_body_size,
      maxChunkedBodySize: values.max_chunked_body_size,
      maxRequestHeaderSize: values.max_request_header_size,
      clientHeaderTimeoutSecs: values.client_header_timeout_secs,
      clientBodyTimeoutSecs: values.client_body_timeout_secs,
      backendConnectTimeoutSecs: values.backend_connect_timeout_secs,
      backendResponseTimeoutSecs: values.backend_response_timeout_secs,
      allowedMethods: values.allowed_methods === null ? null : [...new Set(values.allowed_methods)],
      rateLimitRequestsPerMin: values.rate_limit_requests_per_min,
      allowedIps: values.allowed_ips,
      deniedIps: values.denied_ips,
      maxIdleConnectionsPerHost: values.max_idle_connections_per_host,
      idleConnectionTimeoutSecs: values.idle_connection_timeout_secs,
      addRequestHeaders: values.add_request_headers,
      removeRequestHeaders: values.remove_request_headers,
      addResponseHeaders: values.add_response_headers,
      removeResponseHeaders: values.remove_response_headers,
      websocketPollMode: values.websocket_poll_mode,
      websocketPollTimeoutMs: values.websocket_poll_timeout_ms,
      websocketPollMaxTimeoutMs: values.websocket_poll_max_timeout_ms,
      websocketPollBackoffMultiplier: values.websocket_poll_backoff_multiplier,
      websocketIdleTimeoutSecs: values.websocket_idle_timeout_secs,
    };
  }

  private checkFieldRules(reading: SectionReading<RouteSecurityFields>): void {
    const { values, at } = reading;
    this.checkSide(values.add_request_headers, values.remove_request_headers, [...at, 'add_request_headers']);
    this.checkSide(values.add_response_headers, values.remove_response_headers, [
      ...at,
      'add_response_headers',
    ]);
  }

  private checkSide(
    added: readonly (readonly [string, string])[],
    removed: readonly string[],
    at: KeyPath,
  ): void {
    const { report } = this.context;
    const seen = new Map<string, string>();
    const gone = new Set(removed.map((name) => name.toLowerCase()));
    for (const [name] of added) {
      const lower = name.toLowerCase();
      const first = seen.get(lower);
      if (first !== undefined) {
        report.add(
          'conflict',
          [...at, name],
          `The field ${name} is set twice (as ${first} and ${name})`,
          '',
          'names are compared without case: remove one',
        );
      }
      seen.set(lower, name);
      if (gone.has(lower)) {
        report.warn(
          [...at, name],
          `The field ${name} is both removed and set: it is set`,
          'setting replaces it anyway; remove the other rule',
        );
      }
    }
  }
}
