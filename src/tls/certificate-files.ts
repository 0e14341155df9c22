/** Reads the files that a server's TLS is made of: whole, bounded, and once. */

import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import type { CertificateMaterial, CertificateSettings, TlsMaterial, TlsSettings } from './settings.ts';

/** Bytes of a file. A bundle of all public authorities has a quarter of it. */
const FILE_BYTES_MAX = 1_048_576;

/** The file's content, or why it can't be had. */
export function readTlsFile(path: string): Uint8Array | string {
  let fd = -1;
  try {
    fd = openSync(path, 'r');
    const { size } = fstatSync(fd);
    return size > FILE_BYTES_MAX ? `it has more than ${FILE_BYTES_MAX} bytes` : readFileSync(fd);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') return 'this user may not read it';
    return code === 'ENOENT' ? 'it is gone' : `it can’t be read (${code})`;
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}

/** Permission bits by which others than the owner may read a file; 0 where they may not or it can't be seen. */
export function looseBits(path: string): number {
  let fd = -1;
  try {
    fd = openSync(path, 'r');
    return fstatSync(fd).mode & 0o044;
  } catch {
    return 0;
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}

/** All of them, private keys included. Throws an Error with the path and the reason where one can't be read. */
export function readTlsFiles(settings: TlsSettings): TlsMaterial {
  return {
    certificates: [settings, ...settings.certificates].map(readCertificateFiles),
    clientAuthorities: settings.clientAuth === 'none' ? null : readOptional(settings.clientCaPath),
    ticketKeys: settings.sessionTickets ? readOptional(settings.sessionTicketKeyPath) : null,
    ticketState: null,
  };
}

function readCertificateFiles(settings: CertificateSettings): CertificateMaterial {
  return {
    certificate: readOrThrow(settings.certPath),
    key: readOrThrow(settings.keyPath),
    ocsp: readOptional(settings.ocspPath),
  };
}

function readOptional(path: string | null): Uint8Array | null {
  return path === null ? null : readOrThrow(path);
}

function readOrThrow(path: string): Uint8Array {
  const content = readTlsFile(path);
  if (typeof content === 'string') throw new Error(`${path}: ${content}`);
  return content;
}
