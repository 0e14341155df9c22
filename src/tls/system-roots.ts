/**
 * Whom a client trusts: certificates of a file or a directory that the operator names, or those of the system.
 * All of them are read when a configuration is loaded; nothing is looked up during a handshake.
 */

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ERR_clear_error, opensslErrors } from '../sys/openssl.ts';
import {
  readCertificate,
  X509_free,
  X509_STORE_add_cert,
  X509_STORE_free,
  X509_STORE_new,
} from '../sys/openssl-client.ts';

/** Where systems keep their bundle: Debian and Alpine, Fedora, openSUSE. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
];
/** Certificates of one store, and bytes of one file, at most: a mistyped path must not fill the memory. */
const CERTIFICATES_MAX = 10_000;
const FILE_BYTES_MAX = 16 * 1024 * 1024;
const PEM_CERTIFICATE =
  /-----BEGIN (?:X509 )?CERTIFICATE-----[^-]*(?:-(?!----(?:BEGIN|END))[^-]*)*-----END (?:X509 )?CERTIFICATE-----/g;

/** A file that certificates are read from. */
export interface TrustFile {
  readonly path: string;
  readonly text: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The PEM blocks of the certificates in a text, in order. */
export function certificateBlocks(text: string): string[] {
  return text.match(PEM_CERTIFICATE) ?? [];
}

/** Trusted certificates. A context that uses them holds them too: `free` may come before its end. */
export class TrustStore {
  /** X509_STORE. */
  readonly store: number;
  /** SHA-256 of what was read: stores of the same identity trust the same. */
  readonly identity: string;
  readonly count: number;

  /** Throws an Error that names the file whose certificate can't be read. */
  constructor(files: readonly TrustFile[]) {
    const hash = createHash('sha256');
    const seen = new Set<string>();
    this.store = X509_STORE_new();
    for (const { path, text } of files) {
      for (const block of certificateBlocks(text)) {
        if (seen.has(block)) continue;
        if (seen.size >= CERTIFICATES_MAX) break;
        seen.add(block);
        hash.update(block);
        this.add(block, path);
      }
    }
    this.count = seen.size;
    this.identity = hash.digest('hex');
  }

  private add(block: string, path: string): void {
    const certificate = readCertificate(block);
    if (certificate === 0) {
      X509_STORE_free(this.store);
      throw new Error(`A certificate in ${path} can't be read: ${opensslErrors()}`);
    }
    X509_STORE_add_cert(this.store, certificate);
    X509_free(certificate);
    ERR_clear_error();
  }

  free(): void {
    X509_STORE_free(this.store);
  }
}

/** The certificates of a PEM file, or of all PEM files in a directory. Throws an Error where there are none. */
export function loadTrust(path: string): TrustStore {
  return new TrustStore(readTrust(path));
}

/** The files of `loadTrust`. */
export function readTrust(path: string): TrustFile[] {
  const files = statSync(path).isDirectory() ? filesIn(path) : [{ path, text: readText(path) }];
  if (holdsCertificate(files)) return files;
  throw new Error(`${path} holds no certificate in PEM form`);
}

/** The system's certificates, or those that SSL_CERT_FILE and SSL_CERT_DIR name. Throws an Error with the mend where there are none. */
export function loadSystemRoots(environment: Environment, bundles: readonly string[] = BUNDLES): TrustStore {
  return new TrustStore(readSystemRoots(environment, bundles));
}

/** The files of `loadSystemRoots`. */
export function readSystemRoots(environment: Environment, bundles: readonly string[] = BUNDLES): TrustFile[] {
  const file = environment['SSL_CERT_FILE'] ?? '';
  const directory = environment['SSL_CERT_DIR'] ?? '';
  if (file !== '' || directory !== '') {
    const files = file === '' ? [] : [{ path: file, text: readText(file) }];
    for (const each of directory.split(':')) if (each !== '') files.push(...filesIn(each));
    if (holdsCertificate(files)) return files;
    throw noRoots('SSL_CERT_FILE and SSL_CERT_DIR name none');
  }
  const bundle = bundles.find((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true);
  if (bundle === undefined) throw noRoots(`there is no ${bundles[0]}`);
  const files = [{ path: bundle, text: readText(bundle) }];
  if (holdsCertificate(files)) return files;
  throw noRoots(`${bundle} holds none`);
}

function holdsCertificate(files: readonly TrustFile[]): boolean {
  return files.some(({ text }) => certificateBlocks(text).length > 0);
}

/** All certificates of these files as one text, each once, and nothing but certificates. */
export function trustedCertificates(files: readonly TrustFile[]): string {
  const blocks = files.flatMap(({ text }) => certificateBlocks(text));
  return [...new Set(blocks)].slice(0, CERTIFICATES_MAX).join('\n');
}

function noRoots(why: string): Error {
  return new Error(
    `The system has no trusted certificates (${why}), and https:// backends can't be verified without them. ` +
      'Install the package ca-certificates, name a file in SSL_CERT_FILE, or give each backend a ca_path.',
  );
}

function filesIn(directory: string): TrustFile[] {
  const files: TrustFile[] = [];
  for (const name of readdirSync(directory).sort()) {
    const path = join(directory, name);
    // Dangling links are common among the hashed names.
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === true)
      files.push({ path, text: readText(path) });
  }
  return files;
}

function readText(path: string): string {
  const { size } = statSync(path);
  if (size > FILE_BYTES_MAX) throw new Error(`${path} is too large for certificates (${size} bytes)`);
  return readFileSync(path, 'latin1');
}
