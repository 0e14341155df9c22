/**
 * OpenSSL, as the Node.js binary exports it (3.5 or newer): what a handshake and a record layer need. Pointers
 * are plain numbers, 0 is NULL. A call costs about 60 ns beside what it does. Nothing here is thread-safe: one
 * process, one thread.
 */

import koffi from 'koffi';
import { assert } from '../base/assert.ts';

const program = koffi.load(null);

type ForeignType = 'int' | 'int64_t' | 'uint64_t' | 'void' | 'str' | 'long' | 'size_t' | 'unsigned long';

/** A function of OpenSSL. Addresses and lengths are `int64_t`; `str` copies a string for the call: set-up only. */
// biome-ignore lint/suspicious/noExplicitAny: a foreign function has the type that its declaration says.
export function declareOpenssl<F extends (...parameters: any[]) => unknown>(
  name: string,
  result: ForeignType,
  parameters: readonly ForeignType[],
): F {
  return program.func(name, result, [...parameters]) as unknown as F;
}

let callbackTypes = 0;

/**
 * The address of a C function that calls `callback`; it lives as long as the process. Whatever the callback throws
 * must not reach C: it gets `failure` as its result then.
 */
export function foreignCallback<A extends unknown[], R>(
  result: ForeignType,
  parameters: readonly ForeignType[],
  failure: R,
  callback: (...parameters: A) => R,
): number {
  assert(parameters.length <= 6, 'a callback has six parameters at most');
  const type = koffi.proto(`SallyportCallback${callbackTypes++}`, result, [...parameters]);
  // A list of parameters would be made for each call; those that the type doesn't have nobody looks at.
  const called = callback as (...parameters: unknown[]) => R;
  const guarded = (a: unknown, b: unknown, c: unknown, d: unknown, e: unknown, f: unknown): R => {
    try {
      return called(a, b, c, d, e, f);
    } catch {
      return failure;
    }
  };
  return Number(koffi.address(koffi.register(guarded, koffi.pointer(type))));
}

type Call0 = () => number;
type Call1 = (a: number) => number;
type Call2 = (a: number, b: number) => number;
type Call3 = (a: number, b: number, c: number) => number;
type Call4 = (a: number, b: number, c: number, d: number) => number;
type Call5 = (a: number, b: number, c: number, d: number, e: number) => number;
type Call6 = (a: number, b: number, c: number, d: number, e: number, f: number) => number;

const INT = 'int';
const ADDRESS = 'int64_t';

/** 0xMNN00PPSL: major, minor, patch (OpenSSL_version_num(3)). */
export const OpenSSL_version_num = declareOpenssl<Call0>('OpenSSL_version_num', 'int64_t', []);

// ---- Errors (ERR_get_error(3)) ----------------------------------------------------------------------

const ERR_get_error = declareOpenssl<Call0>('ERR_get_error', 'int64_t', []);
const ERR_reason_error_string = declareOpenssl<(code: number) => string | null>(
  'ERR_reason_error_string',
  'str',
  [ADDRESS],
);
export const ERR_clear_error = declareOpenssl<() => void>('ERR_clear_error', 'void', []);

/** What OpenSSL has to say of the last failures, oldest first, in its words; the queue is empty afterwards. */
export function opensslErrors(): string {
  const reasons: string[] = [];
  for (let code = ERR_get_error(); code !== 0; code = ERR_get_error()) {
    const reason = ERR_reason_error_string(code) ?? `error ${code.toString(16)}`;
    if (!reasons.includes(reason)) reasons.push(reason);
  }
  return reasons.join('; ');
}

// ---- Sessions (ssl(7)) ------------------------------------------------------------------------------

export const TLS_server_method = declareOpenssl<Call0>('TLS_server_method', ADDRESS, []);
export const TLS_client_method = declareOpenssl<Call0>('TLS_client_method', ADDRESS, []);
export const SSL_CTX_new = declareOpenssl<Call1>('SSL_CTX_new', ADDRESS, [ADDRESS]);
export const SSL_CTX_free = declareOpenssl<(ctx: number) => void>('SSL_CTX_free', 'void', [ADDRESS]);
export const SSL_CTX_ctrl = declareOpenssl<Call4>('SSL_CTX_ctrl', 'int64_t', [
  ADDRESS,
  INT,
  'int64_t',
  ADDRESS,
]);
export const SSL_CTX_set_options = declareOpenssl<Call2>('SSL_CTX_set_options', 'uint64_t', [
  ADDRESS,
  'uint64_t',
]);
/** The callback is `void (SSL *, const char *line)`. */
export const SSL_CTX_set_keylog_callback = declareOpenssl<(ctx: number, callback: number) => void>(
  'SSL_CTX_set_keylog_callback',
  'void',
  [ADDRESS, ADDRESS],
);

export const SSL_new = declareOpenssl<Call1>('SSL_new', ADDRESS, [ADDRESS]);
export const SSL_free = declareOpenssl<(ssl: number) => void>('SSL_free', 'void', [ADDRESS]);
/** 1: we have sent our close_notify, 2: the peer has; 3: nothing is wrong with the session (SSL_set_shutdown(3)). */
export const SSL_set_shutdown = declareOpenssl<(ssl: number, mode: number) => void>(
  'SSL_set_shutdown',
  'void',
  [ADDRESS, INT],
);
export const SSL_set_bio = declareOpenssl<(ssl: number, read: number, write: number) => void>(
  'SSL_set_bio',
  'void',
  [ADDRESS, ADDRESS, ADDRESS],
);
export const SSL_set_accept_state = declareOpenssl<(ssl: number) => void>('SSL_set_accept_state', 'void', [
  ADDRESS,
]);
export const SSL_set_connect_state = declareOpenssl<(ssl: number) => void>('SSL_set_connect_state', 'void', [
  ADDRESS,
]);
export const SSL_ctrl = declareOpenssl<Call4>('SSL_ctrl', 'int64_t', [ADDRESS, INT, 'int64_t', ADDRESS]);
export const SSL_do_handshake = declareOpenssl<Call1>('SSL_do_handshake', INT, [ADDRESS]);
export const SSL_read = declareOpenssl<Call3>('SSL_read', INT, [ADDRESS, ADDRESS, INT]);
export const SSL_write = declareOpenssl<Call3>('SSL_write', INT, [ADDRESS, ADDRESS, INT]);
export const SSL_get_error = declareOpenssl<Call2>('SSL_get_error', INT, [ADDRESS, INT]);
/** 0x0303 or 0x0304 once the handshake is over. */
export const SSL_version = declareOpenssl<Call1>('SSL_version', INT, [ADDRESS]);
export const SSL_session_reused = declareOpenssl<Call1>('SSL_session_reused', INT, [ADDRESS]);
export const SSL_get_session = declareOpenssl<Call1>('SSL_get_session', ADDRESS, [ADDRESS]);
export const SSL_get_current_cipher = declareOpenssl<Call1>('SSL_get_current_cipher', ADDRESS, [ADDRESS]);
/** The suite's code point (RFC 8446 §B.4). */
export const SSL_CIPHER_get_protocol_id = declareOpenssl<Call1>('SSL_CIPHER_get_protocol_id', INT, [ADDRESS]);
export const SSL_get0_group_name = declareOpenssl<(ssl: number) => string | null>(
  'SSL_get0_group_name',
  'str',
  [ADDRESS],
);
/** Type SSL_CTRL… 0 is host_name. */
export const SSL_get_servername = declareOpenssl<(ssl: number, type: number) => string | null>(
  'SSL_get_servername',
  'str',
  [ADDRESS, INT],
);
/** Writes the address and the length (32 bit) of the protocol's name. */
export const SSL_get0_alpn_selected = declareOpenssl<(ssl: number, data: number, length: number) => void>(
  'SSL_get0_alpn_selected',
  'void',
  [ADDRESS, ADDRESS, ADDRESS],
);
export const SSL_get_client_random = declareOpenssl<Call3>('SSL_get_client_random', 'size_t', [
  ADDRESS,
  ADDRESS,
  'size_t',
]);
export const SSL_get_server_random = declareOpenssl<Call3>('SSL_get_server_random', 'size_t', [
  ADDRESS,
  ADDRESS,
  'size_t',
]);
export const SSL_SESSION_get_master_key = declareOpenssl<Call3>('SSL_SESSION_get_master_key', 'size_t', [
  ADDRESS,
  ADDRESS,
  'size_t',
]);
/** 0: not negotiated; 1 to 4: 512 to 4096 bytes (RFC 6066 §4). */
export const SSL_SESSION_get_max_fragment_length = declareOpenssl<Call1>(
  'SSL_SESSION_get_max_fragment_length',
  INT,
  [ADDRESS],
);
/** X509_V_OK is 0. */
export const SSL_get_verify_result = declareOpenssl<Call1>('SSL_get_verify_result', 'int64_t', [ADDRESS]);
export const SSL_get0_peer_certificate = declareOpenssl<Call1>('SSL_get0_peer_certificate', ADDRESS, [
  ADDRESS,
]);
/** A STACK_OF(X509), the peer's own certificate included on a client's side only. */
export const SSL_get_peer_cert_chain = declareOpenssl<Call1>('SSL_get_peer_cert_chain', ADDRESS, [ADDRESS]);

export const SSL_ERROR_SSL = 1;
export const SSL_ERROR_WANT_READ = 2;
export const SSL_ERROR_SYSCALL = 5;
export const SSL_ERROR_ZERO_RETURN = 6;

// ---- Memory BIOs (BIO_s_mem(3)) ---------------------------------------------------------------------

const BIO_s_mem = declareOpenssl<Call0>('BIO_s_mem', ADDRESS, []);
const BIO_new = declareOpenssl<Call1>('BIO_new', ADDRESS, [ADDRESS]);
export const BIO_free = declareOpenssl<Call1>('BIO_free', INT, [ADDRESS]);
export const BIO_write = declareOpenssl<Call3>('BIO_write', INT, [ADDRESS, ADDRESS, INT]);
export const BIO_read = declareOpenssl<Call3>('BIO_read', INT, [ADDRESS, ADDRESS, INT]);
const BIO_ctrl = declareOpenssl<Call4>('BIO_ctrl', 'int64_t', [ADDRESS, INT, 'int64_t', ADDRESS]);
const BIO_CTRL_RESET = 1;
export const BIO_pending = declareOpenssl<Call1>('BIO_ctrl_pending', 'size_t', [ADDRESS]);

const memoryMethod = BIO_s_mem();

/** A BIO that holds what is written until it is read. */
export function newMemoryBio(): number {
  return BIO_new(memoryMethod);
}

/** Empties one, and wipes what it held. */
export function resetMemoryBio(bio: number): void {
  BIO_ctrl(bio, BIO_CTRL_RESET, 0, 0);
}

// ---- Ciphers and digests (EVP_EncryptInit(3)) -------------------------------------------------------

export const EVP_CIPHER_fetch = declareOpenssl<(library: number, name: string, properties: number) => number>(
  'EVP_CIPHER_fetch',
  ADDRESS,
  [ADDRESS, 'str', ADDRESS],
);
export const EVP_CIPHER_CTX_new = declareOpenssl<Call0>('EVP_CIPHER_CTX_new', ADDRESS, []);
/** Context, cipher, key, nonce; a 0 address leaves that as it is. Fewer parameters than EVP_CipherInit_ex cost less. */
export const EVP_EncryptInit = declareOpenssl<Call4>('EVP_EncryptInit', INT, [
  ADDRESS,
  ADDRESS,
  ADDRESS,
  ADDRESS,
]);
export const EVP_DecryptInit = declareOpenssl<Call4>('EVP_DecryptInit', INT, [
  ADDRESS,
  ADDRESS,
  ADDRESS,
  ADDRESS,
]);
/** Context, cipher, engine, key, nonce, 1 to encrypt or 0 to decrypt; a 0 address leaves that as it is. */
export const EVP_CipherInit_ex = declareOpenssl<Call6>('EVP_CipherInit_ex', INT, [
  ADDRESS,
  ADDRESS,
  ADDRESS,
  ADDRESS,
  ADDRESS,
  INT,
]);
/** Context, output (0: these are additional data), its length (32 bit, written), input, length. */
export const EVP_CipherUpdate = declareOpenssl<Call5>('EVP_CipherUpdate', INT, [
  ADDRESS,
  ADDRESS,
  ADDRESS,
  ADDRESS,
  INT,
]);
export const EVP_CipherFinal_ex = declareOpenssl<Call3>('EVP_CipherFinal_ex', INT, [
  ADDRESS,
  ADDRESS,
  ADDRESS,
]);
export const EVP_CIPHER_CTX_ctrl = declareOpenssl<Call4>('EVP_CIPHER_CTX_ctrl', INT, [
  ADDRESS,
  INT,
  INT,
  ADDRESS,
]);
export const EVP_CTRL_AEAD_SET_IVLEN = 0x9;
export const EVP_CTRL_AEAD_GET_TAG = 0x10;
export const EVP_CTRL_AEAD_SET_TAG = 0x11;

export const EVP_MAC_fetch = declareOpenssl<(library: number, name: string, properties: number) => number>(
  'EVP_MAC_fetch',
  ADDRESS,
  [ADDRESS, 'str', ADDRESS],
);
export const EVP_MAC_CTX_new = declareOpenssl<Call1>('EVP_MAC_CTX_new', ADDRESS, [ADDRESS]);
/** Context, key (0: the one that it has), its length, OSSL_PARAM array (0: none). */
export const EVP_MAC_init = declareOpenssl<Call4>('EVP_MAC_init', INT, [ADDRESS, ADDRESS, 'size_t', ADDRESS]);
export const EVP_MAC_update = declareOpenssl<Call3>('EVP_MAC_update', INT, [ADDRESS, ADDRESS, 'size_t']);
/** Context, output, its length (64 bit, written; 0: not wanted), room. */
export const EVP_MAC_final = declareOpenssl<Call4>('EVP_MAC_final', INT, [
  ADDRESS,
  ADDRESS,
  ADDRESS,
  'size_t',
]);
/** An entry of an OSSL_PARAM array: name, type (32 bit), data, size, return size (OSSL_PARAM(3)). A zeroed one ends it. */
export const OSSL_PARAM_BYTES = 40;
export const OSSL_PARAM_UTF8_STRING = 4;
export const OPENSSL_cleanse = declareOpenssl<(address: number, length: number) => void>(
  'OPENSSL_cleanse',
  'void',
  [ADDRESS, 'size_t'],
);
