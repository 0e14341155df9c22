/**
 * What a server's TLS is made of: settings as the configuration has them, and the content of the files that they
 * name. Whether OpenSSL knows the names of suites and groups is asked of OpenSSL, in a context that is thrown away.
 */

import { ERR_clear_error, SSL_CTX_free, SSL_CTX_new, TLS_server_method } from '../sys/openssl.ts';
import { SSL_CTX_set_cipher_list, SSL_CTX_set_ciphersuites, setGroups } from '../sys/openssl-client.ts';
import { type ContextCipher, contextCiphers } from '../sys/openssl-x509.ts';
import { SUITES, suiteOf, TLS13 } from './suites.ts';
import type { TicketState } from './ticket-keys.ts';

export interface CertificateSettings {
  readonly certPath: string;
  readonly keyPath: string;
  readonly ocspPath: string | null;
}

export interface TlsSettings extends CertificateSettings {
  readonly certificates: readonly CertificateSettings[];
  readonly minVersion: '1.2' | '1.3';
  readonly ciphers: string;
  readonly cipherSuites: string;
  readonly groups: string;
  readonly clientAuth: 'none' | 'optional' | 'required';
  readonly clientCaPath: string | null;
  readonly sessionTickets: boolean;
  readonly sessionTicketKeyPath: string | null;
  readonly sessionTicketRotationSecs: number;
}

/** The content of one certificate's files. */
export interface CertificateMaterial {
  /** PEM. */
  readonly certificate: Uint8Array;
  /** PEM; null where another process has it. */
  readonly key: Uint8Array | null;
  /** DER. */
  readonly ocsp: Uint8Array | null;
}

export interface TlsMaterial {
  /** That of [tls] first, which is the default, then the further ones in their order. */
  readonly certificates: readonly CertificateMaterial[];
  /** PEM. */
  readonly clientAuthorities: Uint8Array | null;
  readonly ticketKeys: Uint8Array | null;
  /** Where there is no file: the state that all workers begin with; null: each has keys of its own. */
  readonly ticketState: TicketState | null;
}

/** What a list of names is wrong for. */
export interface ListFault {
  readonly why: string;
  readonly mend: string;
}

/** Asks something of a context that nobody else will see. */
function withContext<T>(ask: (ctx: number) => T): T {
  const ctx = SSL_CTX_new(TLS_server_method());
  if (ctx === 0) throw new Error('no memory for a TLS context');
  try {
    return ask(ctx);
  } finally {
    ERR_clear_error();
    SSL_CTX_free(ctx);
  }
}

const MEND_CIPHERS = 'write "ECDHE+AESGCM:ECDHE+CHACHA20", or a part of it';

/** Why `ciphers` (TLS 1.2) can't be used, or null. */
export function cipherListFault(list: string): ListFault | null {
  return withContext((ctx) => {
    for (const element of list.split(':')) {
      if (element.startsWith('@')) return { why: `${element} isn’t allowed here`, mend: MEND_CIPHERS };
      const name = /^[!+-]/.test(element) ? element.slice(1) : element;
      // Of a longer list OpenSSL leaves out silently what it doesn't know.
      if (name === '' || SSL_CTX_set_cipher_list(ctx, name) !== 1)
        return { why: `OpenSSL knows no suite ${JSON.stringify(name)} of TLS 1.2`, mend: MEND_CIPHERS };
    }
    const own =
      SSL_CTX_set_cipher_list(ctx, list) === 1
        ? contextCiphers(ctx).filter(({ id }) => suiteOf(id)?.version !== TLS13)
        : [];
    const refused = own.filter(({ id }) => suiteOf(id) === null);
    if (own.length === 0) return { why: 'it comes to no suite at all', mend: MEND_CIPHERS };
    if (refused.length === 0) return null;
    const more = refused.length === 1 ? '' : `; ${refused.length - 1} more can’t be used either`;
    return { why: `${refused[0].name} ${whyRefused(refused[0])}${more}`, mend: MEND_CIPHERS };
  });
}

function whyRefused(cipher: ContextCipher): string {
  if (!cipher.hasForwardSecrecy) return 'has no forward secrecy';
  if (!cipher.isAead) return 'has no authenticated encryption';
  return 'is neither ECDHE with AES-GCM nor with ChaCha20-Poly1305';
}

/** Why `cipher_suites` (TLS 1.3) can't be used, or null. */
export function cipherSuitesFault(list: string): ListFault | null {
  return withContext((ctx) => {
    for (const name of list.split(':')) {
      if (name === '' || SSL_CTX_set_ciphersuites(ctx, name) !== 1)
        return { why: `OpenSSL knows no suite ${JSON.stringify(name)} of TLS 1.3`, mend: knownSuites() };
      const wrong = contextCiphers(ctx).find(({ id }) => id >> 8 === 0x13 && suiteOf(id) === null);
      if (wrong !== undefined) return { why: `${wrong.name} is not built`, mend: knownSuites() };
    }
    return null;
  });
}

function knownSuites(): string {
  const names = SUITES.filter(({ version }) => version === TLS13).map(({ name }) => name);
  return `use ${names.join(', ')}`;
}

/** At least 112 bits strong, and fit for TLS 1.3. */
const GROUP =
  /^(X25519|X448|P-(256|384|521)|secp(256|384|521)r1|prime256v1|X25519MLKEM768|SecP256r1MLKEM768|SecP384r1MLKEM1024|MLKEM(512|768|1024))$/i;
const MEND_GROUPS = 'use X25519MLKEM768, X25519, P-256, P-384, or others of their strength';

/** Why `groups` can't be used, or null. */
export function groupsFault(list: string): ListFault | null {
  return withContext((ctx) => {
    for (const name of list.split(':')) {
      const quoted = JSON.stringify(name);
      if (name === '' || setGroups(ctx, name) !== 1)
        return { why: `OpenSSL knows no group ${quoted}`, mend: MEND_GROUPS };
      if (!GROUP.test(name)) return { why: `the group ${quoted} isn’t allowed here`, mend: MEND_GROUPS };
    }
    return setGroups(ctx, list) === 1 ? null : { why: 'OpenSSL refuses it', mend: MEND_GROUPS };
  });
}
