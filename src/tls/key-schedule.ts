/**
 * From secrets to traffic keys: HKDF-Expand-Label of TLS 1.3 (RFC 8446 §7.1, §7.3, §7.2 for updates) and the
 * key block of TLS 1.2 (RFC 5246 §5, §6.3). Works on native memory throughout: no secret becomes a JavaScript object.
 */

import { assert } from '../base/assert.ts';
import { mapPrivate } from '../sys/memory.ts';
import {
  EVP_MAC_CTX_new,
  EVP_MAC_fetch,
  EVP_MAC_final,
  EVP_MAC_init,
  EVP_MAC_update,
  OSSL_PARAM_UTF8_STRING,
} from '../sys/openssl.ts';
import { NONCE_AT, SECRET_AT, type SecretSlot, scratch, secrets } from './secret-memory.ts';
import type { Suite } from './suites.ts';

/** Places in `scratch`. */
const OUT_AT = 1024;
const SEED_AT = 1280;
const PRF_AT = 1536;

const TLS13_PREFIX = 'tls13 ';
export const NONCE_BYTES = 12;
const RANDOM_BYTES = 32;
const MASTER_SECRET_BYTES = 48;

/** An HMAC context of the process's, which knows its hash: `HMAC(3)` looks everything up anew each time. */
function hmacContext(hash: string): number {
  const { bytes, view, address } = scratch;
  const put = (text: string, at: number): void => {
    for (let index = 0; index < text.length; index++) bytes[at + index] = text.charCodeAt(index);
  };
  put('digest', SEED_AT);
  put(hash, SEED_AT + 16);
  view.setBigUint64(PRF_AT, BigInt(address + SEED_AT), true);
  view.setUint32(PRF_AT + 8, OSSL_PARAM_UTF8_STRING, true);
  view.setBigUint64(PRF_AT + 16, BigInt(address + SEED_AT + 16), true);
  view.setBigUint64(PRF_AT + 24, BigInt(hash.length), true);
  const context = EVP_MAC_CTX_new(EVP_MAC_fetch(0, 'HMAC', 0));
  assert(EVP_MAC_init(context, address, 1, address + PRF_AT) === 1, 'OpenSSL has HMAC');
  wipe();
  return context;
}

const sha256 = hmacContext('SHA256');
const sha384 = hmacContext('SHA384');

/** HMAC to OUT_AT. A `key` of 0 is the one of the call before. */
function hmac(hashBytes: number, key: number, keyBytes: number, data: number, dataBytes: number): void {
  const context = hashBytes === 32 ? sha256 : sha384;
  const isMade =
    EVP_MAC_init(context, key, key === 0 ? 0 : keyBytes, 0) === 1 &&
    EVP_MAC_update(context, data, dataBytes) === 1 &&
    EVP_MAC_final(context, scratch.address + OUT_AT, 0, hashBytes) === 1;
  assert(isMade, 'HMAC of a traffic secret');
}

/** An HkdfLabel with an empty context, and behind it the 1 that makes T(1) = HMAC(secret, info | 1) of it. */
interface Label {
  readonly address: number;
  readonly bytes: number;
}

const labels = mapPrivate(1024);
let labelsEnd = 0;

function newLabel(label: string, length: number): Label {
  const text = TLS13_PREFIX + label;
  const info = [0, length, text.length, ...Buffer.from(text, 'latin1'), 0, 1];
  const address = labels.address + labelsEnd;
  labels.bytes.set(info, labelsEnd);
  labelsEnd += info.length;
  return { address, bytes: info.length };
}

const KEY_OF_16 = newLabel('key', 16);
const KEY_OF_32 = newLabel('key', 32);
const NONCE = newLabel('iv', NONCE_BYTES);
const UPDATE_OF_32 = newLabel('traffic upd', 32);
const UPDATE_OF_48 = newLabel('traffic upd', 48);

/** HKDF-Expand-Label; at most one hash long. Its result is at OUT_AT. A `secret` of 0: as before. */
function expandLabel(suite: Suite, secret: number, label: Label): void {
  hmac(suite.hashBytes, secret, suite.hashBytes, label.address, label.bytes);
}

/** Derives key and nonce from the traffic secret in `slot`. */
export function deriveTrafficKey(suite: Suite, slot: SecretSlot): void {
  const secret = secrets.address + slot + SECRET_AT;
  expandLabel(suite, secret, suite.keyBytes === 16 ? KEY_OF_16 : KEY_OF_32);
  keep(OUT_AT, suite.keyBytes, slot);
  expandLabel(suite, 0, NONCE);
  keep(OUT_AT, NONCE_BYTES, slot + NONCE_AT);
  wipe();
}

/** The next generation of the traffic secret in `slot` (after a KeyUpdate), with its key and nonce. */
export function updateTrafficKey(suite: Suite, slot: SecretSlot): void {
  const label = suite.hashBytes === 32 ? UPDATE_OF_32 : UPDATE_OF_48;
  expandLabel(suite, secrets.address + slot + SECRET_AT, label);
  keep(OUT_AT, suite.hashBytes, slot + SECRET_AT);
  deriveTrafficKey(suite, slot);
}

/** Where `deriveKeyBlock` finds its inputs in `scratch`: master secret (48 bytes), server random, client random (32 each). */
export const MASTER_AT = 2048;
export const SERVER_RANDOM_AT = MASTER_AT + MASTER_SECRET_BYTES;
export const CLIENT_RANDOM_AT = SERVER_RANDOM_AT + RANDOM_BYTES;

/** TLS 1.2: fills both directions' key and nonce (its first 4 bytes with GCM, all 12 with ChaCha20). */
export function deriveKeyBlock(suite: Suite, clientSlot: SecretSlot, serverSlot: SecretSlot): void {
  const { keyBytes } = suite;
  const nonceBytes = suite.explicitNonceBytes === 0 ? NONCE_BYTES : NONCE_BYTES - suite.explicitNonceBytes;
  expandPrf(suite.hashBytes, 2 * (keyBytes + nonceBytes));
  keep(PRF_AT, keyBytes, clientSlot);
  keep(PRF_AT + keyBytes, keyBytes, serverSlot);
  keep(PRF_AT + 2 * keyBytes, nonceBytes, clientSlot + NONCE_AT);
  keep(PRF_AT + 2 * keyBytes + nonceBytes, nonceBytes, serverSlot + NONCE_AT);
  wipe();
}

/** P_hash(master, "key expansion" | server random | client random), at PRF_AT. */
function expandPrf(hashBytes: number, length: number): void {
  const { bytes, address } = scratch;
  const label = 'key expansion';
  // A(i) | label | randoms, contiguous, so that HMAC takes it in one call.
  const seedAt = SEED_AT + hashBytes;
  for (let index = 0; index < label.length; index++) bytes[seedAt + index] = label.charCodeAt(index);
  bytes.copyWithin(seedAt + label.length, SERVER_RANDOM_AT, SERVER_RANDOM_AT + 2 * RANDOM_BYTES);
  const seedBytes = label.length + 2 * RANDOM_BYTES;
  const master = address + MASTER_AT;
  hmac(hashBytes, master, MASTER_SECRET_BYTES, address + seedAt, seedBytes);
  for (let done = 0; done < length; done += hashBytes) {
    bytes.copyWithin(SEED_AT, OUT_AT, OUT_AT + hashBytes);
    hmac(hashBytes, master, MASTER_SECRET_BYTES, address + SEED_AT, hashBytes + seedBytes);
    bytes.copyWithin(PRF_AT + done, OUT_AT, OUT_AT + hashBytes);
    hmac(hashBytes, master, MASTER_SECRET_BYTES, address + SEED_AT, hashBytes);
  }
}

/** From scratch memory to that of secrets. */
function keep(from: number, length: number, to: number): void {
  for (let index = 0; index < length; index++) secrets.bytes[to + index] = scratch.bytes[from + index];
}

function wipe(): void {
  scratch.bytes.fill(0, OUT_AT);
}
