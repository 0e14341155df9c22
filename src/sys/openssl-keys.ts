/**
 * Keys of OpenSSL whose signatures are made elsewhere: an EVP_PKEY that has the public part alone and asks a
 * function of ours for each signature, with the whole message that is to be signed.
 *
 * How: such a key is bound (EVP_PKEY_set1_engine) to an ENGINE made at run time, which is registered nowhere and
 * so is seen by no other key. Its methods are copies of OpenSSL's own but for `digestsign`, which OpenSSL's TLS
 * calls once for the length and once for the signature. Everything else (digests, padding, comparisons with the
 * certificate) stays OpenSSL's, on the public key. Each key has its own ENGINE, because an ENGINE tells when the
 * last reference to its key is gone: then the function is forgotten.
 *
 * An ENGINE exists in OpenSSL 3; OpenSSL 4 has none.
 */

import { assert } from '../base/assert.ts';
import { mapPrivate } from './memory.ts';
import { declareOpenssl, foreignCallback } from './openssl.ts';

type Call1 = (a: number) => number;
type Call2 = (a: number, b: number) => number;
type Call3 = (a: number, b: number, c: number) => number;

const INT = 'int';
const ADDRESS = 'int64_t';

const ENGINE_new = declareOpenssl<() => number>('ENGINE_new', ADDRESS, []);
const ENGINE_free = declareOpenssl<Call1>('ENGINE_free', INT, [ADDRESS]);
const ENGINE_set_pkey_meths = declareOpenssl<Call2>('ENGINE_set_pkey_meths', INT, [ADDRESS, ADDRESS]);
const ENGINE_set_destroy_function = declareOpenssl<Call2>('ENGINE_set_destroy_function', INT, [
  ADDRESS,
  ADDRESS,
]);
const EVP_PKEY_set1_engine = declareOpenssl<Call2>('EVP_PKEY_set1_engine', INT, [ADDRESS, ADDRESS]);
const EVP_PKEY_meth_find = declareOpenssl<Call1>('EVP_PKEY_meth_find', ADDRESS, [INT]);
const EVP_PKEY_meth_new = declareOpenssl<Call2>('EVP_PKEY_meth_new', ADDRESS, [INT, INT]);
const EVP_PKEY_meth_copy = declareOpenssl<(to: number, from: number) => void>('EVP_PKEY_meth_copy', 'void', [
  ADDRESS,
  ADDRESS,
]);
const EVP_PKEY_meth_set_digestsign = declareOpenssl<(method: number, callback: number) => void>(
  'EVP_PKEY_meth_set_digestsign',
  'void',
  [ADDRESS, ADDRESS],
);
/** SubjectPublicKeyInfo: writes to the address that lies at the second address, and moves that on. Its length. */
const i2d_PUBKEY = declareOpenssl<Call2>('i2d_PUBKEY', INT, [ADDRESS, ADDRESS]);
/** Reads from the address that lies at the second address. */
const d2i_PUBKEY = declareOpenssl<Call3>('d2i_PUBKEY', ADDRESS, [ADDRESS, ADDRESS, 'int64_t']);
const EVP_PKEY_free = declareOpenssl<(key: number) => void>('EVP_PKEY_free', 'void', [ADDRESS]);
const EVP_PKEY_get_base_id = declareOpenssl<Call1>('EVP_PKEY_get_base_id', INT, [ADDRESS]);
const EVP_PKEY_get_size = declareOpenssl<Call1>('EVP_PKEY_get_size', INT, [ADDRESS]);
const EVP_MD_CTX_get_pkey_ctx = declareOpenssl<Call1>('EVP_MD_CTX_get_pkey_ctx', ADDRESS, [ADDRESS]);
const EVP_MD_CTX_get0_md = declareOpenssl<Call1>('EVP_MD_CTX_get0_md', ADDRESS, [ADDRESS]);
const EVP_MD_get_type = declareOpenssl<Call1>('EVP_MD_get_type', INT, [ADDRESS]);
const EVP_PKEY_CTX_get0_pkey = declareOpenssl<Call1>('EVP_PKEY_CTX_get0_pkey', ADDRESS, [ADDRESS]);
/** Writes the padding, 32 bit. */
const EVP_PKEY_CTX_get_rsa_padding = declareOpenssl<Call2>('EVP_PKEY_CTX_get_rsa_padding', INT, [
  ADDRESS,
  ADDRESS,
]);
const memcpy = declareOpenssl<Call3>('memcpy', ADDRESS, [ADDRESS, ADDRESS, 'size_t']);

// Types of keys and digests: numbers of objects, the same in every version (obj_mac.h).
const EVP_PKEY_RSA = 6;
const EVP_PKEY_EC = 408;
const EVP_PKEY_ED25519 = 1087;
const NID_SHA256 = 672;
const NID_SHA384 = 673;
const NID_SHA512 = 674;

/** The key's method digests (or doesn't) by itself: what OpenSSL's own method for Ed25519 says (evp.h). */
const EVP_PKEY_FLAG_SIGCTX_CUSTOM = 4;

const RSA_PKCS1_PADDING = 1;
const RSA_PKCS1_PSS_PADDING = 6;

/** Longest message that a function of ours is asked to sign, bytes. A longer one fails. */
export const DELEGATED_MESSAGE_BYTES_MAX = 65536;
/** Longest signature: that of an RSA key of 8,192 bits. */
const SIGNATURE_BYTES_MAX = 1024;

export type DelegatedAlgorithm = 'ecdsa' | 'rsa-pkcs1' | 'rsa-pss' | 'ed25519';

/**
 * Makes a signature of `message` and returns it in the form that TLS wants (ECDSA: DER), or null, which fails the
 * handshake. `digestBits` is 256, 384 or 512, and 0 for Ed25519. For rsa-pss the salt is as long as the digest.
 * The message is OpenSSL's copy, valid during the call. Must not sign with another delegated key meanwhile.
 */
export type SignDelegate = (
  algorithm: DelegatedAlgorithm,
  digestBits: number,
  message: Uint8Array,
) => Uint8Array | null;

class DelegatedKey {
  readonly key: number;
  readonly type: number;
  readonly signatureBytesMax: number;
  readonly sign: SignDelegate;

  constructor(key: number, type: number, sign: SignDelegate) {
    this.key = key;
    this.type = type;
    this.signatureBytesMax = EVP_PKEY_get_size(key);
    this.sign = sign;
  }
}

/** By the address of the EVP_PKEY, and by that of its ENGINE. */
const byKey = new Map<number, DelegatedKey>();
const byEngine = new Map<number, DelegatedKey>();

// Memory that OpenSSL reads and writes during a call: a 64-bit and a 32-bit result, the addresses of the methods,
// a signature, and a message, which is touched as far as it was ever used.
const RESULT = 0;
const PADDING = 8;
const METHODS = 16;
const SIGNATURE = 64;
const MESSAGE = 4096;
const memory = mapPrivate(MESSAGE + DELEGATED_MESSAGE_BYTES_MAX);

/** Writes a size_t to an address of C. */
function writeSize(address: number, value: number): void {
  memory.view.setUint32(RESULT, value, true);
  memory.view.setUint32(RESULT + 4, 0, true);
  memcpy(address, memory.address + RESULT, 8);
}

function digestBitsOf(context: number): number {
  const digest = EVP_MD_CTX_get0_md(context);
  switch (digest === 0 ? 0 : EVP_MD_get_type(digest)) {
    case NID_SHA256:
      return 256;
    case NID_SHA384:
      return 384;
    case NID_SHA512:
      return 512;
    default:
      return 0;
  }
}

/** Null where the padding is none that TLS uses. */
function algorithmOf(type: number, keyContext: number): DelegatedAlgorithm | null {
  if (type === EVP_PKEY_EC) return 'ecdsa';
  if (type === EVP_PKEY_ED25519) return 'ed25519';
  if (EVP_PKEY_CTX_get_rsa_padding(keyContext, memory.address + PADDING) !== 1) return null;
  const padding = memory.view.getInt32(PADDING, true);
  if (padding === RSA_PKCS1_PSS_PADDING) return 'rsa-pss';
  return padding === RSA_PKCS1_PADDING ? 'rsa-pkcs1' : null;
}

/** int digestsign(EVP_MD_CTX *, unsigned char *signature, size_t *length, const unsigned char *, size_t). */
function digestSign(
  context: number,
  signature: number,
  signatureLength: number,
  message: number,
  messageLength: number,
): number {
  const keyContext = EVP_MD_CTX_get_pkey_ctx(context);
  const delegated = byKey.get(EVP_PKEY_CTX_get0_pkey(keyContext));
  if (delegated === undefined) return 0;
  if (signature === 0) {
    writeSize(signatureLength, delegated.signatureBytesMax);
    return 1;
  }
  const algorithm = algorithmOf(delegated.type, keyContext);
  if (algorithm === null || messageLength > DELEGATED_MESSAGE_BYTES_MAX) return 0;
  const digestBits = digestBitsOf(context);
  if ((digestBits === 0) !== (algorithm === 'ed25519')) return 0;
  memcpy(memory.address + MESSAGE, message, messageLength);
  const bytes = memory.bytes.subarray(MESSAGE, MESSAGE + messageLength);
  const made = delegated.sign(algorithm, digestBits, bytes);
  if (made === null || made.length === 0 || made.length > delegated.signatureBytesMax) return 0;
  memory.bytes.set(made, SIGNATURE);
  memcpy(signature, memory.address + SIGNATURE, made.length);
  writeSize(signatureLength, made.length);
  return 1;
}

/** int pkey_meths(ENGINE *, EVP_PKEY_METHOD **method, const int **types, int type). */
function giveMethod(_engine: number, method: number, _types: number, type: number): number {
  const index = METHOD_TYPES.indexOf(type);
  // Asked for its types, which an ENGINE is when it goes, it names none: the methods belong to all keys.
  if (method === 0 || index < 0) return 0;
  memcpy(method, memory.address + METHODS + 8 * index, 8);
  return 1;
}

/** int destroy(ENGINE *): the last reference to a key is gone. */
function forgetKey(engine: number): number {
  const delegated = byEngine.get(engine);
  byEngine.delete(engine);
  // The address may belong to a younger key by now.
  if (delegated !== undefined && byKey.get(delegated.key) === delegated) byKey.delete(delegated.key);
  return 1;
}

/** A new EVP_PKEY with the public part of `key` and nothing else, or 0. */
function copyPublicPart(key: number): number {
  const pointer = memory.address + RESULT;
  if (i2d_PUBKEY(key, 0) > DELEGATED_MESSAGE_BYTES_MAX) return 0;
  memory.view.setBigUint64(RESULT, BigInt(memory.address + MESSAGE), true);
  const length = i2d_PUBKEY(key, pointer);
  if (length <= 0) return 0;
  memory.view.setBigUint64(RESULT, BigInt(memory.address + MESSAGE), true);
  return d2i_PUBKEY(0, pointer, length);
}

const METHOD_TYPES = [EVP_PKEY_RSA, EVP_PKEY_EC, EVP_PKEY_ED25519];
let methodsCallback = 0;
let destroyCallback = 0;

/** Makes the methods and the callbacks, once in a process, when the first key needs them. */
function prepare(): void {
  if (methodsCallback !== 0) return;
  const sign = foreignCallback(INT, [ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS], 0, digestSign);
  for (const [index, type] of METHOD_TYPES.entries()) {
    const method = EVP_PKEY_meth_new(type, type === EVP_PKEY_ED25519 ? EVP_PKEY_FLAG_SIGCTX_CUSTOM : 0);
    const original = EVP_PKEY_meth_find(type);
    assert(method !== 0 && original !== 0, 'OpenSSL has no method for a type of key');
    EVP_PKEY_meth_copy(method, original);
    EVP_PKEY_meth_set_digestsign(method, sign);
    memory.view.setBigUint64(METHODS + 8 * index, BigInt(method), true);
  }
  methodsCallback = foreignCallback(INT, [ADDRESS, ADDRESS, ADDRESS, INT], 0, giveMethod);
  destroyCallback = foreignCallback(INT, [ADDRESS], 0, forgetKey);
}

/**
 * A new EVP_PKEY with the public part of `publicKey` (an EVP_PKEY, which stays the caller's and as it was) that asks
 * `sign` for each signature; one reference, the caller's, to be given back by EVP_PKEY_free. It may be given to
 * SSL_CTX_use_PrivateKey. 0 where the key is neither RSA nor ECDSA nor Ed25519, or OpenSSL refuses (opensslErrors()).
 */
export function newDelegatedKey(publicKey: number, sign: SignDelegate): number {
  const type = EVP_PKEY_get_base_id(publicKey);
  const bytesMax = EVP_PKEY_get_size(publicKey);
  if (!METHOD_TYPES.includes(type) || bytesMax > SIGNATURE_BYTES_MAX) return 0;
  prepare();
  const key = copyPublicPart(publicKey);
  const engine = ENGINE_new();
  const isBound =
    key !== 0 &&
    engine !== 0 &&
    ENGINE_set_pkey_meths(engine, methodsCallback) === 1 &&
    ENGINE_set_destroy_function(engine, destroyCallback) === 1 &&
    EVP_PKEY_set1_engine(key, engine) === 1;
  if (isBound) {
    const delegated = new DelegatedKey(key, type, sign);
    byKey.set(key, delegated);
    byEngine.set(engine, delegated);
  }
  // The key has its own reference, or there is no key.
  if (engine !== 0) ENGINE_free(engine);
  if (isBound) return key;
  if (key !== 0) EVP_PKEY_free(key);
  return 0;
}

/** How many keys of this kind OpenSSL still holds. */
export function delegatedKeys(): number {
  return byEngine.size;
}
