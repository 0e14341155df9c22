/** Upstream groups and their servers: from a file's values to the model, with what types can't tell checked. */

import type { BuildContext } from './build-context.ts';
import type { KeyPath } from './key-path.ts';
import type { HealthCheckConfig, ServerEntry, UpstreamConfig } from './model.ts';
import { Complaint } from './problem.ts';
import type { BACKEND_KEYS, ServerEntryFields, UpstreamFields } from './schema.ts';
import type { NamedReading, SectionReading, Values } from './schema-nodes.ts';
import { BACKEND_URL_WORDS, parseBackendUrl } from './url-parts.ts';

/** The keys beside a `url`, wherever it stands. */
export type BackendValues = Values<typeof BACKEND_KEYS>;

export function buildUpstreams(
  readings: readonly NamedReading<SectionReading<UpstreamFields>>[],
  context: BuildContext,
): UpstreamConfig[] {
  return readings.map((reading) => buildUpstream(reading.name, reading.value, context));
}

function buildUpstream(
  name: string,
  reading: SectionReading<UpstreamFields>,
  context: BuildContext,
): UpstreamConfig {
  const { values } = reading;
  const servers: ServerEntry[] = [];
  const urls = new Set<string>();
  for (const server of values.servers) {
    const url = server.values.url;
    if (url === null) continue;
    if (urls.has(url))
      context.report.warn(server.at, `The server ${url} is named twice`, 'use weight instead');
    urls.add(url);
    const entry = buildServer(name, url, server, context);
    if (entry !== null) servers.push(entry);
  }
  if (values.health_check !== null && servers.some(({ useH2c }) => useH2c)) {
    context.report.warn(
      values.health_check.at,
      'Health checks ask in HTTP/1.1, also where use_h2c = true',
      'servers that speak HTTP/2 alone would be left out: remove health_check for them',
    );
  }
  return {
    name,
    algorithm: values.algorithm,
    servers,
    healthCheck: values.health_check === null ? null : buildHealthCheck(values.health_check, context),
  };
}

function buildServer(
  upstream: string,
  url: string,
  server: SectionReading<ServerEntryFields>,
  context: BuildContext,
): ServerEntry | null {
  const at = server.given.has('url') && server.given.size > 1 ? [...server.at, 'url'] : server.at;
  return buildBackend(url, server.values, server.values.weight, {
    invalidUrl: `Invalid server URL for upstream '${upstream}': ${url}`,
    urlAt: at,
    keysAt: server.at,
    context,
  });
}

interface BackendPlace {
  /** The message for a URL that can't be read. */
  readonly invalidUrl: string;
  readonly urlAt: KeyPath;
  /** Where the keys beside the URL are. */
  readonly keysAt: KeyPath;
  readonly context: BuildContext;
}

/** One backend from its URL and the keys beside it; null after its URL was refused. */
export function buildBackend(
  url: string,
  keys: BackendValues,
  weight: number,
  place: BackendPlace,
): ServerEntry | null {
  const { context } = place;
  const address = parseBackendUrl(url);
  if (address instanceof Complaint) {
    const mend = address.mend === '' ? address.why : `${address.why}: ${address.mend}`;
    context.report.add('value', place.urlAt, place.invalidUrl, BACKEND_URL_WORDS, mend);
    return null;
  }
  refuseKeysOfOtherScheme(address.scheme, address.target.kind, keys, place);
  const target =
    address.target.kind === 'unix'
      ? { kind: 'unix' as const, path: context.absolute(address.target.path) }
      : address.target;
  if (target.kind === 'unix') warnSocket(target.path, place);
  return {
    url,
    scheme: address.scheme,
    target,
    basePath: address.basePath,
    authority: address.authority,
    sniName: keys.sni_name,
    useH2c: keys.use_h2c,
    weight,
    caPath: optionalTrust(keys.ca_path, place),
    clientCertPath: optionalFile(keys.client_cert_path, 'Client certificate file', 'client_cert_path', place),
    clientKeyPath: optionalFile(keys.client_key_path, 'Client private key file', 'client_key_path', place),
    insecure: keys.insecure,
  };
}

function optionalFile(path: string | null, what: string, name: string, place: BackendPlace): string | null {
  return path === null ? null : place.context.existingFile(path, what, [...place.keysAt, name]);
}

/** A file of certificates, or a directory of such files. */
function optionalTrust(path: string | null, place: BackendPlace): string | null {
  if (path !== null && place.context.files.kindOf(place.context.absolute(path)) === 'directory')
    return place.context.absolute(path);
  return optionalFile(path, 'CA certificate file', 'ca_path', place);
}

/** Backends may start after the edge, so that a socket which isn't there yet is no error. */
function warnSocket(path: string, place: BackendPlace): void {
  const { context } = place;
  const kind = context.files.kindOf(path);
  if (kind === 'socket') context.warnUnreachable(path, kind, place.urlAt);
  else if (kind === 'missing') {
    context.report.warn(
      place.urlAt,
      `The socket ${path} does not exist (yet)`,
      'start the backend; until then its requests are answered 502',
    );
  } else if (kind !== 'hidden') {
    context.report.add(
      'not-found',
      place.urlAt,
      `Not a socket: ${path}`,
      'a Unix socket',
      'correct the path',
    );
  }
}

function refuseKeysOfOtherScheme(
  scheme: 'http' | 'https',
  target: 'tcp' | 'unix',
  keys: BackendValues,
  place: BackendPlace,
): void {
  const { report } = place.context;
  const at = (name: string): KeyPath => [...place.keysAt, name];
  if (scheme === 'https') {
    if (keys.use_h2c) {
      report.add(
        'conflict',
        at('use_h2c'),
        'use_h2c can’t be used with an https:// URL',
        '',
        'leave it out: HTTP/2 over TLS is agreed on by ALPN',
      );
    }
    if (keys.insecure) {
      report.warn(
        at('insecure'),
        'The backend is not verified: whoever is between it and the edge can read and change all that they say',
        'name its authority in ca_path, and the name in its certificate in sni_name; insecure is for development',
      );
    }
    if (keys.insecure && keys.ca_path !== null) {
      report.warn(at('ca_path'), 'ca_path has no effect beside insecure = true', 'leave one of them out');
    }
    if ((keys.client_cert_path === null) !== (keys.client_key_path === null)) {
      const missing = keys.client_cert_path === null ? 'client_cert_path' : 'client_key_path';
      report.add(
        'conflict',
        place.keysAt,
        `${missing} is missing`,
        'client_cert_path and client_key_path together',
      );
    }
    return;
  }
  const named = { ...keys, insecure: keys.insecure ? true : null } as const;
  for (const name of ['sni_name', 'ca_path', 'client_cert_path', 'client_key_path', 'insecure'] as const) {
    if (named[name] === null) continue;
    const what = target === 'unix' ? 'a Unix socket' : 'an http:// URL';
    report.add(
      'conflict',
      at(name),
      `${name} has no meaning with ${what}`,
      'with https:// only',
      'leave it out, or use https://',
    );
  }
}

function buildHealthCheck(
  reading: SectionReading<NonNullable<UpstreamFields['health_check']>['fields']>,
  context: BuildContext,
): HealthCheckConfig {
  const { values, at } = reading;
  if (values.timeout_secs > values.interval_secs) {
    context.report.warn(
      [...at, 'timeout_secs'],
      `timeout_secs (${values.timeout_secs}) is longer than interval_secs (${values.interval_secs})`,
      'a check that takes longer than the interval delays the next one',
    );
  }
  return {
    intervalSecs: values.interval_secs,
    path: values.path,
    timeoutSecs: values.timeout_secs,
    healthyStatuses: values.healthy_statuses,
    unhealthyThreshold: values.unhealthy_threshold,
    healthyThreshold: values.healthy_threshold,
  };
}
