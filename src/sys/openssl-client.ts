/**
 * What a TLS client needs of OpenSSL beyond openssl.ts: trust, names, certificates, sessions. All of it is for
 * set-up and for failures, but `SSL_set_session` and what a new session's callback calls.
 */

import { mapPrivate } from './memory.ts';
import { BIO_free, declareOpenssl, newMemoryBio, SSL_CTX_ctrl } from './openssl.ts';

type Call1 = (a: number) => number;
type Call2 = (a: number, b: number) => number;

const INT = 'int';
const ADDRESS = 'int64_t';

// ---- Contexts (SSL_CTX_new(3)) ----------------------------------------------------------------------

type ControlWithText = (object: number, command: number, number: number, text: string) => number;
const controlContext = declareOpenssl<ControlWithText>('SSL_CTX_ctrl', 'int64_t', [
  ADDRESS,
  INT,
  'int64_t',
  'str',
]);
const controlSession = declareOpenssl<ControlWithText>('SSL_ctrl', 'int64_t', [
  ADDRESS,
  INT,
  'int64_t',
  'str',
]);
const SSL_CTRL_CHAIN_CERT = 89;
const SSL_CTRL_SET_GROUPS_LIST = 92;
const SSL_CTRL_SET_TLSEXT_HOSTNAME = 55;

export const SSL_CTX_set_cipher_list = declareOpenssl<(ctx: number, names: string) => number>(
  'SSL_CTX_set_cipher_list',
  INT,
  [ADDRESS, 'str'],
);
export const SSL_CTX_set_ciphersuites = declareOpenssl<(ctx: number, names: string) => number>(
  'SSL_CTX_set_ciphersuites',
  INT,
  [ADDRESS, 'str'],
);
/** The protocols are length-prefixed names in one string. Returns 0 on success, unlike its neighbours. */
export const SSL_CTX_set_alpn_protos = declareOpenssl<
  (ctx: number, protocols: string, length: number) => number
>('SSL_CTX_set_alpn_protos', INT, [ADDRESS, 'str', INT]);
/** The same for one connection, instead of its context's. */
export const SSL_set_alpn_protos = declareOpenssl<(ssl: number, protocols: string, length: number) => number>(
  'SSL_set_alpn_protos',
  INT,
  [ADDRESS, 'str', INT],
);

/** Groups for key exchange, in OpenSSL's syntax. Returns 1, or 0 for a list that it doesn't understand. */
export function setGroups(ctx: number, groups: string): number {
  return controlContext(ctx, SSL_CTRL_SET_GROUPS_LIST, 0, groups);
}

/** The name that goes into the ClientHello (RFC 6066 §3). */
export function setHostName(ssl: number, name: string): number {
  return controlSession(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, name);
}

export const SSL_CTX_use_certificate = declareOpenssl<Call2>('SSL_CTX_use_certificate', INT, [
  ADDRESS,
  ADDRESS,
]);
export const SSL_CTX_use_PrivateKey = declareOpenssl<Call2>('SSL_CTX_use_PrivateKey', INT, [
  ADDRESS,
  ADDRESS,
]);
export const SSL_CTX_check_private_key = declareOpenssl<Call1>('SSL_CTX_check_private_key', INT, [ADDRESS]);

/** One more certificate of the chain that is shown after the own one; the context takes its own reference. */
export function addChainCertificate(ctx: number, certificate: number): number {
  return SSL_CTX_ctrl(ctx, SSL_CTRL_CHAIN_CERT, 1, certificate);
}

// ---- Verification (X509_VERIFY_PARAM_set_flags(3)) --------------------------------------------------

export const SSL_VERIFY_NONE = 0;
export const SSL_VERIFY_PEER = 1;
export const SSL_CTX_set_verify = declareOpenssl<(ctx: number, mode: number, callback: number) => void>(
  'SSL_CTX_set_verify',
  'void',
  [ADDRESS, INT, ADDRESS],
);
/** The context's verification parameters; they stay its own. */
export const SSL_CTX_get0_param = declareOpenssl<Call1>('SSL_CTX_get0_param', ADDRESS, [ADDRESS]);
export const X509_VERIFY_PARAM_set1_host = declareOpenssl<
  (parameters: number, name: string, length: number) => number
>('X509_VERIFY_PARAM_set1_host', INT, [ADDRESS, 'str', 'size_t']);
export const X509_VERIFY_PARAM_set1_ip_asc = declareOpenssl<(parameters: number, address: string) => number>(
  'X509_VERIFY_PARAM_set1_ip_asc',
  INT,
  [ADDRESS, 'str'],
);
export const X509_VERIFY_PARAM_set_hostflags = declareOpenssl<(parameters: number, flags: number) => void>(
  'X509_VERIFY_PARAM_set_hostflags',
  'void',
  [ADDRESS, INT],
);
export const X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS = 0x4;
export const X509_CHECK_FLAG_NEVER_CHECK_SUBJECT = 0x20;
export const X509_VERIFY_PARAM_set_flags = declareOpenssl<Call2>('X509_VERIFY_PARAM_set_flags', INT, [
  ADDRESS,
  'unsigned long',
]);
export const X509_V_FLAG_PARTIAL_CHAIN = 0x80000;
export const X509_VERIFY_PARAM_set_purpose = declareOpenssl<Call2>('X509_VERIFY_PARAM_set_purpose', INT, [
  ADDRESS,
  INT,
]);
export const X509_PURPOSE_SSL_SERVER = 2;
export const X509_VERIFY_PARAM_set_depth = declareOpenssl<(parameters: number, depth: number) => void>(
  'X509_VERIFY_PARAM_set_depth',
  'void',
  [ADDRESS, INT],
);
/** What a result of verification means, in OpenSSL's words. */
export const X509_verify_cert_error_string = declareOpenssl<(code: number) => string>(
  'X509_verify_cert_error_string',
  'str',
  [ADDRESS],
);

// ---- Certificates (PEM_read_bio_X509(3), X509_STORE_add_cert(3)) ------------------------------------

const BIO_puts = declareOpenssl<(bio: number, text: string) => number>('BIO_puts', INT, [ADDRESS, 'str']);
const PEM_read_bio_X509 = declareOpenssl<(bio: number, x: number, callback: number, u: number) => number>(
  'PEM_read_bio_X509',
  ADDRESS,
  [ADDRESS, ADDRESS, ADDRESS, ADDRESS],
);
export const X509_free = declareOpenssl<(certificate: number) => void>('X509_free', 'void', [ADDRESS]);
const i2d_X509 = declareOpenssl<Call2>('i2d_X509', INT, [ADDRESS, ADDRESS]);
const OPENSSL_sk_num = declareOpenssl<Call1>('OPENSSL_sk_num', INT, [ADDRESS]);
const OPENSSL_sk_value = declareOpenssl<Call2>('OPENSSL_sk_value', ADDRESS, [ADDRESS, INT]);

export const X509_STORE_new = declareOpenssl<() => number>('X509_STORE_new', ADDRESS, []);
export const X509_STORE_free = declareOpenssl<(store: number) => void>('X509_STORE_free', 'void', [ADDRESS]);
/** Takes its own reference; a certificate that is there already is no error. */
export const X509_STORE_add_cert = declareOpenssl<Call2>('X509_STORE_add_cert', INT, [ADDRESS, ADDRESS]);
/** The context takes its own reference. */
export const SSL_CTX_set1_cert_store = declareOpenssl<(ctx: number, store: number) => void>(
  'SSL_CTX_set1_cert_store',
  'void',
  [ADDRESS, ADDRESS],
);

/**
 * The certificate in one PEM block, or 0 where OpenSSL can't read it (its reason is in the error queue). The
 * caller frees it.
 */
export function readCertificate(pem: string): number {
  const bio = newMemoryBio();
  BIO_puts(bio, pem);
  const certificate = PEM_read_bio_X509(bio, 0, 0, 0);
  BIO_free(bio);
  return certificate;
}

/** The callback is a function's address or 0; then `phrase` is what an encrypted key is tried with. */
const PEM_read_bio_PrivateKey = declareOpenssl<
  (bio: number, x: number, callback: number, phrase: string) => number
>('PEM_read_bio_PrivateKey', ADDRESS, [ADDRESS, ADDRESS, ADDRESS, 'str']);
export const EVP_PKEY_free = declareOpenssl<(key: number) => void>('EVP_PKEY_free', 'void', [ADDRESS]);

/** The private key (EVP_PKEY) in a PEM text, or 0 where OpenSSL can't read it. The caller frees it. */
export function readPrivateKey(pem: string): number {
  const bio = newMemoryBio();
  BIO_puts(bio, pem);
  // An empty phrase rather than none: OpenSSL would ask at the terminal.
  const key = PEM_read_bio_PrivateKey(bio, 0, 0, '');
  BIO_free(bio);
  return key;
}

/** A certificate chain is bounded by OpenSSL (100 KiB a message), so that one certificate fits. */
const DER_BYTES_MAX = 131072;
const derMemory = mapPrivate(DER_BYTES_MAX + 8);

/** A certificate (X509) in DER; empty where it is too long to be one. */
export function derOfCertificate(certificate: number): Uint8Array {
  const length = i2d_X509(certificate, 0);
  if (length <= 0 || length > DER_BYTES_MAX) return new Uint8Array(0);
  // i2d writes at the address that it finds in a pointer, and moves that.
  derMemory.view.setBigUint64(DER_BYTES_MAX, BigInt(derMemory.address), true);
  i2d_X509(certificate, derMemory.address + DER_BYTES_MAX);
  return derMemory.bytes.slice(0, length);
}

/** The certificates of a STACK_OF(X509), in DER, at most `countMax`. */
export function stackDer(stack: number, countMax: number): Uint8Array[] {
  const count = stack === 0 ? 0 : Math.min(OPENSSL_sk_num(stack), countMax);
  return Array.from({ length: count }, (_, index) => derOfCertificate(OPENSSL_sk_value(stack, index)));
}

// ---- Sessions (SSL_CTX_sess_set_new_cb(3)) ----------------------------------------------------------

/** The callback is `int (SSL *, SSL_SESSION *)`; 1 says that it keeps the session's reference. */
export const SSL_CTX_sess_set_new_cb = declareOpenssl<(ctx: number, callback: number) => void>(
  'SSL_CTX_sess_set_new_cb',
  'void',
  [ADDRESS, ADDRESS],
);
export const SSL_get_SSL_CTX = declareOpenssl<Call1>('SSL_get_SSL_CTX', ADDRESS, [ADDRESS]);
export const SSL_SESSION_dup = declareOpenssl<Call1>('SSL_SESSION_dup', ADDRESS, [ADDRESS]);
/** Takes its own reference. */
export const SSL_set_session = declareOpenssl<Call2>('SSL_set_session', INT, [ADDRESS, ADDRESS]);
export const SSL_SESSION_free = declareOpenssl<(session: number) => void>('SSL_SESSION_free', 'void', [
  ADDRESS,
]);
export const SSL_SESSION_get_protocol_version = declareOpenssl<Call1>(
  'SSL_SESSION_get_protocol_version',
  INT,
  [ADDRESS],
);
export const SSL_SESSION_is_resumable = declareOpenssl<Call1>('SSL_SESSION_is_resumable', INT, [ADDRESS]);
/** Seconds since 1970 at which it was made. */
export const SSL_SESSION_get_time = declareOpenssl<Call1>('SSL_SESSION_get_time', 'int64_t', [ADDRESS]);
/** Seconds for which it may be resumed: the server's word where it gave one. */
export const SSL_SESSION_get_timeout = declareOpenssl<Call1>('SSL_SESSION_get_timeout', 'int64_t', [ADDRESS]);
