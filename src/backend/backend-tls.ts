/**
 * How a configuration's https backends are spoken to: whom to trust, what to show. Made of what their files hold, which
 * are read once, when a configuration is judged; private keys may be in another process. Its `identity` is what tells
 * backends apart that have the same URL: connections and sessions are shared only where everything that was verified is
 * the same, the content of the files included.
 */

import { createHash, X509Certificate } from 'node:crypto';
import type { KeyPath } from '../config/key-path.ts';
import { type BackendMaterial, secureServers } from '../config/material.ts';
import type { Config, ServerEntry, UpstreamConfig } from '../config/model.ts';
import type { Report } from '../config/problem.ts';
import { opensslErrors } from '../sys/openssl.ts';
import { EVP_PKEY_free, readPrivateKey } from '../sys/openssl-client.ts';
import { readKey } from '../tls/certificate.ts';
import { looseBits, readTlsFile } from '../tls/certificate-files.ts';
import { type ClientCertificate, ClientContext, type ClientSettings } from '../tls/client-context.ts';
import {
  certificateBlocks,
  readSystemRoots,
  readTrust,
  type TrustFile,
  TrustStore,
  trustedCertificates,
} from '../tls/system-roots.ts';

/** How one backend is spoken to over TLS. */
export interface BackendTls {
  readonly identity: string;
  readonly settings: ClientSettings;
}

/**
 * The private key (EVP_PKEY) of a client certificate (PEM), which may be one that signs in another process. The
 * reference is the caller's. Throws an Error that says why there is none.
 */
export type ClientKeySource = (certificate: string, keyPath: string) => number;

/** Where findings go. */
type BackendReport = Pick<Report, 'add' | 'warn'>;

const DAY_MS = 86_400_000;
/** Days for which a client certificate must be good, or it is warned of. */
const DAYS_LEFT_MIN = 30;

type Environment = Readonly<Record<string, string | undefined>>;

/** What is wrong with the key `key` of a backend. */
class BackendTlsError extends Error {
  readonly key: string;

  constructor(key: string, message: string) {
    super(message);
    this.key = key;
  }
}

/** What files hold, by what the configuration calls them; asked for each once. Throws an Error with the reason. */
interface BackendFiles {
  /** Null: the system's. */
  trust(caPath: string | null): readonly TrustFile[];
  /** PEM, certificates alone. */
  certificate(path: string): string;
}

/** TLS of all backends of a configuration. `free` when it is in force: what it has is shared, not copied. */
export class BackendTlsSet {
  private readonly files: BackendFiles;
  private readonly clientKeyFor: ClientKeySource;
  private readonly byEntry: Map<ServerEntry, BackendTls>;
  /** By path; the system's under ''. */
  private readonly trusts: Map<string, TrustStore>;
  private readonly privateKeys: number[];

  constructor(files: BackendFiles = filesOnDisk(), clientKeyFor: ClientKeySource = localClientKey) {
    this.files = files;
    this.clientKeyFor = clientKeyFor;
    this.byEntry = new Map();
    this.trusts = new Map();
    this.privateKeys = [];
  }

  /** Takes one backend in. Throws an Error with the reason. */
  add(entry: ServerEntry): void {
    if (entry.scheme !== 'https' || entry.target.kind === 'unix') return;
    const { insecure, caPath, clientCertPath, clientKeyPath } = entry;
    const serverName = entry.sniName ?? withoutBrackets(entry.target.host);
    const trust = insecure ? null : this.trustOf(caPath);
    let certificate: ClientCertificate | null = null;
    let certificateHash = '';
    if (clientCertPath !== null && clientKeyPath !== null) {
      const pem = this.files.certificate(clientCertPath);
      certificateHash = createHash('sha256').update(pem).digest('hex');
      certificate = { pem, privateKey: this.takeClientKey(pem, clientKeyPath) };
    }
    const identity = JSON.stringify([serverName, trust?.identity ?? 'insecure', certificateHash]);
    this.byEntry.set(entry, { identity, settings: { serverName, trust, certificate } });
  }

  private trustOf(caPath: string | null): TrustStore {
    const known = this.trusts.get(caPath ?? '');
    if (known !== undefined) return known;
    try {
      const trust = new TrustStore(this.files.trust(caPath));
      this.trusts.set(caPath ?? '', trust);
      return trust;
    } catch (error) {
      throw new BackendTlsError(caPath === null ? 'url' : 'ca_path', messageOf(error));
    }
  }

  private takeClientKey(certificate: string, keyPath: string): number {
    try {
      const key = this.clientKeyFor(certificate, keyPath);
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

/** The files themselves, with the system's certificates as `environment` has them. */
export function filesOnDisk(environment: Environment = process.env): BackendFiles {
  return {
    trust: (caPath) => (caPath === null ? readSystemRoots(environment) : readTrust(caPath)),
    certificate: (path) => certificateBlocks(readPem(path, 'client_cert_path')).join('\n'),
  };
}

/** What was read of them before. */
export function filesInMaterial({ trusts, clientCertificates }: BackendMaterial): BackendFiles {
  const pick = (from: Readonly<Record<string, string>>, path: string): string => {
    if (!Object.hasOwn(from, path))
      throw new Error(`${path || 'the system’s certificates'}: it was not read`);
    return from[path];
  };
  return {
    trust: (caPath) => [{ path: caPath ?? 'the system’s bundle', text: pick(trusts, caPath ?? '') }],
    certificate: (path) => pick(clientCertificates, path),
  };
}

/** Reads what the files of all backends hold, but for private keys, whose numbers are given. Throws an Error. */
export function readBackendMaterial(
  config: Config,
  clientKeys: Readonly<Record<string, number>>,
  files: BackendFiles = filesOnDisk(),
): BackendMaterial {
  const trusts: Record<string, string> = {};
  const clientCertificates: Record<string, string> = {};
  for (const { insecure, caPath, clientCertPath } of secureServers(config)) {
    if (!insecure) trusts[caPath ?? ''] ??= trustedCertificates(files.trust(caPath));
    if (clientCertPath !== null) clientCertificates[clientCertPath] ??= files.certificate(clientCertPath);
  }
  return { trusts, clientCertificates, clientKeys };
}

/**
 * TLS of all backends: from what was read before, with keys that sign elsewhere; or, without either, from the files.
 * Throws an Error that names the backend.
 */
export function loadBackendTls(
  config: Config,
  material: BackendMaterial | null = null,
  clientKeyFor: ClientKeySource = localClientKey,
): BackendTlsSet {
  const set = new BackendTlsSet(material === null ? filesOnDisk() : filesInMaterial(material), clientKeyFor);
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
export function inspectBackendTls(config: Config, report: BackendReport): void {
  const set = new BackendTlsSet();
  // Each backend may lack the system's certificates: that is said once.
  const told = new Set<string>();
  for (const upstream of config.upstreams) {
    for (const [index, entry] of upstream.servers.entries()) {
      const at = keysOf(config, upstream, index);
      try {
        set.add(entry);
        inspectContext(set.of(entry));
        warnOfFiles(entry, set.of(entry), at, report);
      } catch (error) {
        const key = error instanceof BackendTlsError ? error.key : 'client_cert_path';
        if (!told.has(messageOf(error))) report.add('value', [...at, key], messageOf(error));
        told.add(messageOf(error));
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

/** What will be wrong soon, or for others to see. */
function warnOfFiles(entry: ServerEntry, tls: BackendTls | null, at: KeyPath, report: BackendReport): void {
  const { clientCertPath, clientKeyPath } = entry;
  const pem = tls?.settings.certificate?.pem ?? '';
  if (pem === '' || clientCertPath === null || clientKeyPath === null) return;
  const { validToDate } = new X509Certificate(pem);
  const days = Math.floor((validToDate.getTime() - Date.now()) / DAY_MS);
  const ends = days < 0 ? 'has expired' : `expires in ${days} days`;
  if (days < DAYS_LEFT_MIN)
    report.warn(
      [...at, 'client_cert_path'],
      `The client certificate ${clientCertPath} ${ends}`,
      'renew it, and send SIGHUP',
    );
  if (looseBits(clientKeyPath) !== 0)
    report.warn(
      [...at, 'client_key_path'],
      `Others may read the private key ${clientKeyPath}`,
      `chmod 600 ${clientKeyPath}`,
    );
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

/** The key that the file holds. */
function localClientKey(_certificate: string, keyPath: string): number {
  const parsed = readKey(Buffer.from(readPem(keyPath, 'client_key_path'), 'latin1'));
  if (typeof parsed === 'string') throw new Error(`The private key ${keyPath} can’t be used: ${parsed}`);
  const key = readPrivateKey(parsed.export({ type: 'pkcs8', format: 'pem' }) as string);
  if (key === 0) throw new Error(`The private key ${keyPath} can’t be used: ${opensslErrors()}`);
  return key;
}

function readPem(path: string, key: string): string {
  const content = readTlsFile(path);
  if (typeof content === 'string') throw new BackendTlsError(key, `${path}: ${content}`);
  return Buffer.from(content).toString('latin1');
}

function withoutBrackets(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
