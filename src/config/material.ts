/**
 * What the files that a configuration names for TLS hold, as far as rooms may know it: certificates, whom to trust,
 * OCSP responses, keys of tickets, and which private key belongs where, by its number. Private keys are never part of
 * it. Plain data, read once by the judge and passed on as JSON.
 */

import type { Config } from './model.ts';

export type KeyRole = 'server' | 'client';

/** Private keys of one configuration, numbered `generation * KEYS_MAX` and on, so that no two of a run are called the same. */
export const KEYS_MAX = 4096;
/** Generations whose keys can be numbered with 32 bits: a reload each second for twelve days. */
export const GENERATION_MAX = 2 ** 32 / KEYS_MAX - 1;

/** A file with a private key. */
export interface KeyFile {
  readonly id: number;
  readonly role: KeyRole;
  /** Absolute path. */
  readonly path: string;
  /** SHA-256 of the public key (SubjectPublicKeyInfo, DER), in hex: what is in the file later must be the same key. */
  readonly publicKeyHash: string;
}

/** What the keys room is told of a key. */
export interface KeyOrder extends KeyFile {
  /** Without it the configuration can't be taken. A key that was good once is only missed. */
  readonly isNeeded: boolean;
}

export interface CertificateContent {
  /** The certificate and its intermediates, PEM; nothing else that the file may have held. */
  readonly certificate: string;
  /** DER in base64, or null. */
  readonly ocsp: string | null;
  readonly keyId: number;
}

/** A secret that the keys of tickets are derived from, and the number of the period that it is of. */
export interface TicketSecret {
  /** Base64. */
  readonly secret: string;
  readonly period: number;
}

export interface ServerMaterial {
  /** In the configuration's order: that of [tls] first. */
  readonly certificates: readonly CertificateContent[];
  /** PEM; null where clients are not asked for certificates. */
  readonly clientAuthorities: string | null;
  /** The file of ticket keys, base64; null where there is none. */
  readonly ticketKeys: string | null;
}

/** Of backends that are spoken to over TLS. */
export interface BackendMaterial {
  /** PEM by `ca_path`; the system's certificates under the empty path. */
  readonly trusts: Readonly<Record<string, string>>;
  /** PEM by `client_cert_path`. */
  readonly clientCertificates: Readonly<Record<string, string>>;
  /** Numbers of keys by `client_key_path`. */
  readonly clientKeys: Readonly<Record<string, number>>;
}

export interface Material {
  /** Null where there is no [tls]. */
  readonly server: ServerMaterial | null;
  readonly backends: BackendMaterial;
}

/** What the kernel can do of TLS, as the master has found out: versions with ciphers, in the kernel's numbers. */
export interface KernelTlsFindings {
  /** Why nothing at all; empty: there is something. */
  readonly problem: string;
  readonly combinations: readonly (readonly [version: number, cipher: number])[];
  readonly rekeys: boolean;
}

/** What a worker is told; plain data. */
export interface EdgeOrder {
  readonly config: Config;
  readonly material: Material;
  readonly tickets: TicketSecret | null;
  /** Null where the configuration doesn't ask for kernel TLS. */
  readonly kernelTls: KernelTlsFindings | null;
  /** Of the shared memory. */
  readonly slots: number;
}

/** Servers that are spoken to over TLS. */
export function secureServers(config: Config): Config['upstreams'][number]['servers'] {
  return config.upstreams
    .flatMap(({ servers }) => servers)
    .filter(({ scheme, target }) => scheme === 'https' && target.kind !== 'unix');
}
