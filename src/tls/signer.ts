/**
 * The side that holds private keys: it checks a request (signature-request.ts), signs, and answers. Bytes in,
 * bytes out; no I/O. It owns the keys and their rates. It never signs what it doesn't recognise as a message of
 * TLS for the role of the key, and never tells why OpenSSL failed.
 */

import { constants, createPrivateKey, KeyObject, sign } from 'node:crypto';
import {
  decodeRequest,
  encodeReply,
  type MessageKind,
  messageKind,
  REPLY_BYTES_MAX,
  type Role,
  type Scheme,
  type SignatureRequest,
  STATUS_FAILED,
  STATUS_MALFORMED,
  STATUS_RATE_LIMITED,
  STATUS_REFUSED,
  STATUS_SIGNED,
  STATUS_UNKNOWN_KEY,
  schemeOf,
  sequenceOf,
} from './signature-request.ts';

const RSA_BITS_MIN = 2048;
/** Longer ones cost milliseconds each, and their signatures don't fit a reply. */
const RSA_BITS_MAX = 8192;
const CURVES: readonly string[] = ['prime256v1', 'secp384r1'];
const MS_PER_SECOND = 1000;
const NO_SIGNATURE = new Uint8Array(0);

/** A key that can't be used; the message says what was found and what is allowed, never what is in the key. */
export class KeyError extends Error {}

/** How many signatures a key makes: `burst` at once, and `perSecond` (both above 0) in the long run. */
export interface SigningRate {
  readonly perSecond: number;
  readonly burst: number;
}

class HeldKey {
  readonly key: KeyObject;
  readonly role: Role;
  readonly type: 'ec' | 'rsa' | 'ed25519';
  /** OpenSSL's name of the curve; empty for other keys. */
  readonly curve: string;
  /** Signatures that may be made now, a fraction included. */
  tokens: number;
  filledAtMs: number;

  constructor(key: KeyObject, role: Role, tokens: number, nowMs: number) {
    this.key = key;
    this.role = role;
    this.type = key.asymmetricKeyType as 'ec' | 'rsa' | 'ed25519';
    this.curve = key.asymmetricKeyDetails?.namedCurve ?? '';
    this.tokens = tokens;
    this.filledAtMs = nowMs;
  }
}

export class Signer {
  private readonly keys = new Map<number, HeldKey>();
  private readonly rate: SigningRate;
  private readonly now: () => number;
  private readonly reply: Uint8Array;

  /** The rate is that of each key for itself. `now` is a clock in milliseconds that never goes back. */
  constructor(rate: SigningRate, now: () => number) {
    this.rate = rate;
    this.now = now;
    this.reply = new Uint8Array(REPLY_BYTES_MAX);
  }

  /** Takes a private key, as a file or as `readPrivateKey` gave it; in place of the one of this number, if there is one. */
  add(keyId: number, role: Role, source: string | Buffer | KeyObject): void {
    const key = source instanceof KeyObject ? source : readPrivateKey(source);
    const before = this.keys.get(keyId);
    const tokens = before?.tokens ?? this.rate.burst;
    this.keys.set(keyId, new HeldKey(key, role, tokens, before?.filledAtMs ?? this.now()));
  }

  has(keyId: number): boolean {
    return this.keys.has(keyId);
  }

  /** The numbers of all keys. */
  get keyIds(): number[] {
    return [...this.keys.keys()];
  }

  /** Forgets a key. */
  remove(keyId: number): void {
    this.keys.delete(keyId);
  }

  /** The reply to a request, whatever its bytes are; valid until the next call. Never throws. */
  answer(bytes: Uint8Array): Uint8Array {
    const request = decodeRequest(bytes);
    if (request === null) return this.encode(STATUS_MALFORMED, sequenceOf(bytes), NO_SIGNATURE);
    const held = this.keys.get(request.keyId);
    if (held === undefined) return this.encode(STATUS_UNKNOWN_KEY, request.sequence, NO_SIGNATURE);
    const scheme = schemeOf(request.scheme);
    if (scheme === null || !isAllowed(held, scheme, request))
      return this.encode(STATUS_REFUSED, request.sequence, NO_SIGNATURE);
    if (!this.takeToken(held)) return this.encode(STATUS_RATE_LIMITED, request.sequence, NO_SIGNATURE);
    const signature = signMessage(held.key, scheme, request.message);
    const status = signature === NO_SIGNATURE ? STATUS_FAILED : STATUS_SIGNED;
    return this.encode(status, request.sequence, signature);
  }

  private encode(status: number, sequence: number, signature: Uint8Array): Uint8Array {
    return this.reply.subarray(0, encodeReply(this.reply, { status, sequence, signature }));
  }

  private takeToken(held: HeldKey): boolean {
    const nowMs = this.now();
    const earned = ((nowMs - held.filledAtMs) * this.rate.perSecond) / MS_PER_SECOND;
    held.tokens = Math.min(this.rate.burst, held.tokens + earned);
    held.filledAtMs = nowMs;
    if (held.tokens < 1) return false;
    held.tokens -= 1;
    return true;
  }
}

/**
 * A private key in PEM, PKCS #8 or the older forms, without a passphrase; what else is in the text doesn't matter.
 * Throws a KeyError where it is none that TLS here can use.
 */
export function readPrivateKey(pem: string | Buffer): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw new KeyError('not a private key in PEM without a passphrase');
  }
  const type = key.asymmetricKeyType;
  const curve = key.asymmetricKeyDetails?.namedCurve ?? '';
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (type === 'ed25519' || (type === 'ec' && CURVES.includes(curve))) return key;
  if (type === 'rsa' && bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX) return key;
  const found = type === 'ec' ? `ECDSA on ${curve}` : type === 'rsa' ? `RSA of ${bits} bits` : `${type}`;
  throw new KeyError(
    `a key of type ${found}; allowed are ECDSA on P-256 or P-384, RSA of ${RSA_BITS_MIN} to ${RSA_BITS_MAX} bits, and Ed25519`,
  );
}

function isAllowed(held: HeldKey, scheme: Scheme, request: SignatureRequest): boolean {
  if (request.role !== held.role || !fitsKey(held, scheme)) return false;
  return fitsMessage(held, scheme, messageKind(request.role, request.message));
}

function fitsKey(held: HeldKey, scheme: Scheme): boolean {
  switch (scheme.algorithm) {
    case 'ecdsa':
      return held.type === 'ec';
    case 'rsa-pss':
    case 'rsa-pkcs1':
      return held.type === 'rsa';
    case 'ed25519':
      return held.type === 'ed25519';
  }
}

/** TLS 1.3 ties each ECDSA scheme to a curve and has no PKCS #1 v1.5 (RFC 8446 §4.2.3); TLS 1.2 takes all. */
function fitsMessage(held: HeldKey, scheme: Scheme, kind: MessageKind): boolean {
  if (kind !== 'tls13') return kind !== 'none';
  if (scheme.algorithm === 'ecdsa') return scheme.curve === held.curve;
  return scheme.algorithm !== 'rsa-pkcs1';
}

/** The signature as TLS wants it, ECDSA in DER; NO_SIGNATURE where OpenSSL fails. */
function signMessage(key: KeyObject, scheme: Scheme, message: Uint8Array): Uint8Array {
  const digest = scheme.digestBits === 0 ? null : `sha${scheme.digestBits}`;
  const isPss = scheme.algorithm === 'rsa-pss';
  try {
    return isPss
      ? sign(digest, message, {
          key,
          padding: constants.RSA_PKCS1_PSS_PADDING,
          saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
        })
      : sign(digest, message, key);
  } catch {
    return NO_SIGNATURE;
  }
}
