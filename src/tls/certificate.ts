/**
 * A server's certificate as its file holds it: the chain, the names it is good for, the kind of its key. Judged
 * here by what it says itself; nothing here reads files or knows OpenSSL's contexts.
 */

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { normaliseServerName } from './server-names.ts';

/** Certificates in one file. Clients refuse chains that are much longer than three. */
const CHAIN_MAX = 10;
const RSA_BITS_MIN = 2048;
const BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

export type KeyKind = 'ECDSA P-256' | 'ECDSA P-384' | 'Ed25519' | `RSA ${number}`;

export interface ServerCertificate {
  /** The certificate itself, then its intermediates. */
  readonly chain: readonly X509Certificate[];
  readonly leaf: X509Certificate;
  /** Normalised names and addresses of its subjectAltName, in its order. */
  readonly names: readonly string[];
  readonly keyKind: KeyKind;
  /** Milliseconds since 1970. */
  readonly validFrom: number;
  readonly validTo: number;
}

/** The blocks of a PEM file, each as one text. */
export function certificateBlocks(pem: Uint8Array): string[] {
  return Buffer.from(pem.buffer, pem.byteOffset, pem.byteLength).toString('latin1').match(BLOCK) ?? [];
}

/** Reads a certificate's file, or says why it can't be used. */
export function readServerCertificate(pem: Uint8Array): ServerCertificate | string {
  const blocks = certificateBlocks(pem);
  if (blocks.length === 0) return 'it holds no certificate in PEM';
  if (blocks.length > CHAIN_MAX)
    return `it holds ${blocks.length} certificates, and ${CHAIN_MAX} are allowed`;
  const chain: X509Certificate[] = [];
  for (const [index, block] of blocks.entries()) {
    try {
      chain.push(new X509Certificate(block));
    } catch (error) {
      return `its certificate number ${index + 1} can’t be read: ${reasonOf(error)}`;
    }
  }
  const leaf = chain[0];
  const keyKind = keyKindOf(leaf);
  if (keyKind === null) return `its key is ${describeKey(leaf)}`;
  return {
    chain,
    leaf,
    names: namesOf(leaf),
    keyKind,
    validFrom: leaf.validFromDate.getTime(),
    validTo: leaf.validToDate.getTime(),
  };
}

/** The kind of a key that may be used, or null. */
function keyKindOf(leaf: X509Certificate): KeyKind | null {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = publicKeyOf(leaf) ?? {};
  if (type === 'ed25519') return 'Ed25519';
  const bits = details?.modulusLength ?? 0;
  if (type === 'rsa') return bits >= RSA_BITS_MIN ? `RSA ${bits}` : null;
  if (type !== 'ec') return null;
  if (details?.namedCurve === 'prime256v1') return 'ECDSA P-256';
  return details?.namedCurve === 'secp384r1' ? 'ECDSA P-384' : null;
}

function describeKey(leaf: X509Certificate): string {
  const key = publicKeyOf(leaf);
  if (key === null) return 'of a kind that isn’t known';
  const detail = key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyDetails?.modulusLength ?? '';
  return `${key.asymmetricKeyType?.toUpperCase()} ${detail}`.trim();
}

function publicKeyOf(leaf: X509Certificate): KeyObject | null {
  try {
    return leaf.publicKey;
  } catch {
    return null;
  }
}

/** `DNS:a, IP Address:192.0.2.1`, as Node.js writes it; a value with anything odd in it is quoted. */
const NAME = /(?:^|, )([^:,]+):("(?:[^"\\]|\\.)*"|[^,]*)/g;

function namesOf(leaf: X509Certificate): string[] {
  const names: string[] = [];
  for (const [, type, value] of (leaf.subjectAltName ?? '').matchAll(NAME)) {
    if (type !== 'DNS' && type !== 'IP Address') continue;
    // A quoted value holds what no host name does.
    const name = value.startsWith('"')
      ? ''
      : normaliseServerName(type === 'DNS' ? value : shortAddress(value));
    if (name !== '' && !names.includes(name)) names.push(name);
  }
  return names;
}

/** An IPv6 address as everybody else writes it. */
function shortAddress(address: string): string {
  if (!address.includes(':')) return address;
  const url = URL.parse(`http://[${address}]/`);
  return url === null ? '' : url.hostname.slice(1, -1);
}

/** The private key of a PEM file, or why it can't be used. */
export function readKey(pem: Uint8Array): KeyObject | string {
  const key = Buffer.from(pem.buffer, pem.byteOffset, pem.byteLength);
  try {
    return createPrivateKey({ key, format: 'pem' });
  } catch {
    // PKCS#8, or the older `Proc-Type: 4,ENCRYPTED`.
    if (key.includes('ENCRYPTED')) return 'it is encrypted, and nobody is there to type its passphrase';
    return 'it holds no private key in PEM that can be read';
  }
}

/** Whether each certificate of the chain was issued by the next. */
export function isChainLinked(chain: readonly X509Certificate[]): boolean {
  return chain.every((each, index) => index === chain.length - 1 || each.checkIssued(chain[index + 1]));
}

/** The issuer as a reader knows it: its common name, else its organisation, else all of it. */
export function issuerName(leaf: X509Certificate): string {
  const parts = (leaf.issuer ?? '').split('\n');
  const part = parts.find((each) => each.startsWith('CN=')) ?? parts.find((each) => each.startsWith('O='));
  return part === undefined ? parts.join(', ') : part.slice(part.indexOf('=') + 1);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
