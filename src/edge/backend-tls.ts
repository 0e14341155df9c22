/**
 * What the files of a configuration say about its https backends: whom to trust, what to show. Read when a
 * configuration is loaded and never in between. Its `identity` is what tells backends apart that have the same
 * URL: connections and sessions are shared only where everything that was verified is the same, the content of
 * the files included.
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { KeyPath } from '../config/key-path.ts';
import type { Config, ServerEntry, UpstreamConfig } from '../config/model.ts';
import type { Report } from '../config/problem.ts';
import { opensslErrors } from '../sys/openssl.ts';
import { EVP_PKEY_free, readPrivateKey } from '../sys/openssl-client.ts';
import { type ClientCertificate, ClientContext, type ClientSettings } from '../tls/client-context.ts';
import { loadSystemRoots, loadTrust, type TrustStore } from '../tls/system-roots.ts';

/** How one backend is spoken to over TLS. */
export interface BackendTls {
  readonly identity: string;
  readonly settings: ClientSettings;
}

/**
 * The private key in a file (EVP_PKEY), which may be one that signs in another process. The reference is the
 * caller's. Throws an Error that says why there is none.
 */
export type PrivateKeySource = (keyPath: string) => number;

type Environment = Readonly<Record<string, string | undefined>>;

/** What is wrong with the key `key` of a backend. */
class BackendTlsError extends Error {
  readonly key: string;

  constructor(key: string, message: string) {
    super(message);
    this.key = key;
  }
}

/** TLS of all backends of a configuration. `free` when it is in force: what it has is shared, not copied. */
export class BackendTlsSet {
  private readonly privateKeyFor: PrivateKeySource;
  private readonly environment: Environment;
  private readonly byEntry: Map<ServerEntry, BackendTls>;
  /** By path; the system's under ''. */
  private readonly trusts: Map<string, TrustStore>;
  private readonly privateKeys: number[];

  constructor(privateKeyFor: PrivateKeySource = privateKeyIn, environment: Environment = process.env) {
    this.privateKeyFor = privateKeyFor;
    this.environment = environment;
    this.byEntry = new Map();
    this.trusts = new Map();
    this.privateKeys = [];
  }

  /** Reads the files of one backend. Throws an Error with the reason. */
  add(entry: ServerEntry): void {
    if (entry.scheme !== 'https' || entry.target.kind === 'unix') return;
    const { insecure, caPath, clientCertPath, clientKeyPath } = entry;
    const serverName = entry.sniName ?? withoutBrackets(entry.target.host);
    const trust = insecure ? null : this.trustOf(caPath);
    let certificate: ClientCertificate | null = null;
    let certificateHash = '';
    if (clientCertPath !== null && clientKeyPath !== null) {
      const pem = readFileAs(clientCertPath, 'client_cert_path');
      certificateHash = createHash('sha256').update(pem).digest('hex');
      certificate = { pem, privateKey: this.takePrivateKey(clientKeyPath) };
    }
    const identity = JSON.stringify([serverName, trust?.identity ?? 'insecure', certificateHash]);
    this.byEntry.set(entry, { identity, settings: { serverName, trust, certificate } });
  }

  private trustOf(caPath: string | null): TrustStore {
    const known = this.trusts.get(caPath ?? '');
    if (known !== undefined) return known;
    try {
      const trust = caPath === null ? loadSystemRoots(this.environment) : loadTrust(caPath);
      this.trusts.set(caPath ?? '', trust);
      return trust;
    } catch (error) {
      throw new BackendTlsError(caPath === null ? 'url' : 'ca_path', messageOf(error));
    }
  }

  private takePrivateKey(keyPath: string): number {
    try {
      const key = this.privateKeyFor(keyPath);
      this.privateKeys.push(key);
      return key;
    } catch (error) {
      throw new BackendTlsError('client_key_path', messageOf(error));
    }
  }

  /** Null for a backend without TLS. */
  of(entry: ServerEntry): BackendTls | null {
    return this.byEntry.get(entry) ?? null;
  }

  free(): void {
    for (const trust of this.trusts.values()) trust.free();
    for (const key of this.privateKeys.splice(0)) EVP_PKEY_free(key);
    this.trusts.clear();
    this.byEntry.clear();
  }
}

export const NO_BACKEND_TLS: BackendTlsSet = new BackendTlsSet();

/** Reads the files of all backends. Throws an Error that names the backend. */
export function loadBackendTls(
  config: Config,
  privateKeyFor: PrivateKeySource = privateKeyIn,
): BackendTlsSet {
  const set = new BackendTlsSet(privateKeyFor);
  for (const entry of config.upstreams.flatMap((upstream) => upstream.servers)) {
    try {
      set.add(entry);
    } catch (error) {
      set.free();
      throw new Error(`Backend ${entry.url}: ${messageOf(error)}`);
    }
  }
  return set;
}

/** A context for connections to a backend. Throws an Error that names the backend. */
export function contextOf(url: string, { settings }: BackendTls): ClientContext {
  try {
    return new ClientContext(settings);
  } catch (error) {
    throw new Error(`Backend ${url}: client_cert_path: ${messageOf(error)}`);
  }
}

/** Reports what is wrong with the files of backends: for `check`, and before a configuration is used. */
export function inspectBackendTls(config: Config, report: Report): void {
  const set = new BackendTlsSet();
  for (const upstream of config.upstreams) {
    for (const [index, entry] of upstream.servers.entries()) {
      const at = keysOf(config, upstream, index);
      try {
        set.add(entry);
        inspectContext(set.of(entry));
      } catch (error) {
        const key = error instanceof BackendTlsError ? error.key : 'client_cert_path';
        report.add('value', [...at, key], messageOf(error));
      }
    }
  }
  set.free();
}

function inspectContext(tls: BackendTls | null): void {
  if (tls === null) return;
  try {
    new ClientContext(tls.settings).free();
  } catch (error) {
    throw new BackendTlsError(
      'client_cert_path',
      `The client certificate can't be used: ${messageOf(error)}`,
    );
  }
}

/** Where the keys of a server are in the file. */
function keysOf(config: Config, upstream: UpstreamConfig, index: number): KeyPath {
  const route = config.routes.find(
    ({ name, action }) =>
      action.type === 'Proxy' && action.upstream === upstream.name && upstream.name === `route ${name}`,
  );
  if (route === undefined) return ['upstreams', upstream.name, 'servers', index];
  if (route.path === null) return ['host_routes', route.name];
  const colon = route.name.indexOf(':/');
  return ['path_routes', route.name.slice(0, colon), route.name.slice(colon + 1)];
}

function privateKeyIn(keyPath: string): number {
  const pem = readFileAs(keyPath, 'client_key_path');
  const key = readPrivateKey(pem);
  if (key !== 0) return key;
  const why = /ENCRYPTED/.test(pem) ? 'it has a passphrase, and there is nobody to give it' : opensslErrors();
  throw new Error(`The private key ${keyPath} can't be used: ${why}`);
}

function readFileAs(path: string, key: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    throw new BackendTlsError(key, messageOf(error));
  }
}

function withoutBrackets(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
