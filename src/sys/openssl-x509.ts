/**
 * What a TLS server needs of OpenSSL beyond openssl.ts and openssl-client.ts: choosing between contexts, ALPN,
 * tickets, OCSP responses, authorities of clients. Set-up, and what callbacks of a handshake call.
 */

import { mapPrivate } from './memory.ts';
import { declareOpenssl, SSL_CTX_ctrl, SSL_ctrl } from './openssl.ts';

type Call1 = (a: number) => number;
type Call2 = (a: number, b: number) => number;
type Call3 = (a: number, b: number, c: number) => number;

const INT = 'int';
const ADDRESS = 'int64_t';
const SIZE = 'size_t';

// ---- Contexts ---------------------------------------------------------------------------------------

export const SSL_CTX_set_security_level = declareOpenssl<(ctx: number, level: number) => void>(
  'SSL_CTX_set_security_level',
  'void',
  [ADDRESS, INT],
);
export const SSL_CTX_set_num_tickets = declareOpenssl<Call2>('SSL_CTX_set_num_tickets', INT, [ADDRESS, SIZE]);
/** Seconds for which sessions may be resumed. */
export const SSL_CTX_set_timeout = declareOpenssl<Call2>('SSL_CTX_set_timeout', 'long', [ADDRESS, 'long']);
export const SSL_CTX_set_session_id_context = declareOpenssl<
  (ctx: number, id: string, length: number) => number
>('SSL_CTX_set_session_id_context', INT, [ADDRESS, 'str', INT]);
export const SSL_CTX_set_verify_depth = declareOpenssl<(ctx: number, depth: number) => void>(
  'SSL_CTX_set_verify_depth',
  'void',
  [ADDRESS, INT],
);
/** The store that the context verifies peers by; it stays the context's own. */
export const SSL_CTX_get_cert_store = declareOpenssl<Call1>('SSL_CTX_get_cert_store', ADDRESS, [ADDRESS]);
/** Copies the subject's name into the list that clients are sent. */
export const SSL_CTX_add_client_CA = declareOpenssl<Call2>('SSL_CTX_add_client_CA', INT, [ADDRESS, ADDRESS]);
/** The session goes on with the certificates of another context. Returns that, or 0. */
export const SSL_set_SSL_CTX = declareOpenssl<Call2>('SSL_set_SSL_CTX', ADDRESS, [ADDRESS, ADDRESS]);
/** 0: the peer isn't asked for a certificate. */
export const SSL_get_verify_mode = declareOpenssl<Call1>('SSL_get_verify_mode', INT, [ADDRESS]);
/** The own certificate that was chosen. */
export const SSL_get_certificate = declareOpenssl<Call1>('SSL_get_certificate', ADDRESS, [ADDRESS]);

const SSL_CTX_get_ciphers = declareOpenssl<Call1>('SSL_CTX_get_ciphers', ADDRESS, [ADDRESS]);
const OPENSSL_sk_num = declareOpenssl<Call1>('OPENSSL_sk_num', INT, [ADDRESS]);
const OPENSSL_sk_value = declareOpenssl<Call2>('OPENSSL_sk_value', ADDRESS, [ADDRESS, INT]);
const SSL_CIPHER_get_name = declareOpenssl<(cipher: number) => string>('SSL_CIPHER_get_name', 'str', [
  ADDRESS,
]);
const SSL_CIPHER_get_protocol_id = declareOpenssl<Call1>('SSL_CIPHER_get_protocol_id', INT, [ADDRESS]);
const SSL_CIPHER_is_aead = declareOpenssl<Call1>('SSL_CIPHER_is_aead', INT, [ADDRESS]);
const SSL_CIPHER_get_kx_nid = declareOpenssl<Call1>('SSL_CIPHER_get_kx_nid', INT, [ADDRESS]);
const NID_kx_ecdhe = 1038;
const NID_kx_dhe = 1039;
/** TLS 1.3: whatever the groups say. */
const NID_kx_any = 1063;

export interface ContextCipher {
  /** Code point (RFC 8446 §B.4). */
  readonly id: number;
  readonly name: string;
  readonly isAead: boolean;
  readonly hasForwardSecrecy: boolean;
}

/** The suites that a context would use, TLS 1.3 first. */
export function contextCiphers(ctx: number): ContextCipher[] {
  const stack = SSL_CTX_get_ciphers(ctx);
  const ciphers: ContextCipher[] = [];
  for (let index = 0; index < OPENSSL_sk_num(stack); index++) {
    const cipher = OPENSSL_sk_value(stack, index);
    const exchange = SSL_CIPHER_get_kx_nid(cipher);
    ciphers.push({
      id: SSL_CIPHER_get_protocol_id(cipher) & 0xffff,
      name: SSL_CIPHER_get_name(cipher),
      isAead: SSL_CIPHER_is_aead(cipher) === 1,
      hasForwardSecrecy: exchange === NID_kx_ecdhe || exchange === NID_kx_dhe || exchange === NID_kx_any,
    });
  }
  return ciphers;
}

// ---- Callbacks of a server's handshake --------------------------------------------------------------

const SSL_CTX_callback_ctrl = declareOpenssl<Call3>('SSL_CTX_callback_ctrl', 'long', [ADDRESS, INT, ADDRESS]);
const SSL_CTRL_SET_TLSEXT_SERVERNAME_CB = 53;
const SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG = 54;
const SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB = 63;
const SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP = 71;

/** What callbacks return (SSL_CTX_set_tlsext_servername_callback(3)). */
export const SSL_TLSEXT_ERR_OK = 0;
export const SSL_TLSEXT_ERR_ALERT_FATAL = 2;
export const SSL_TLSEXT_ERR_NOACK = 3;

/** The callback is `int (SSL *, int *alert, void *argument)`. */
export function setServerNameCallback(ctx: number, callback: number, argument: number): void {
  SSL_CTX_callback_ctrl(ctx, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB, callback);
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG, 0, argument);
}

/** The callback is `int (SSL *, void *argument)`. It is asked where the client wants an OCSP response. */
export function setStatusCallback(ctx: number, callback: number): void {
  SSL_CTX_callback_ctrl(ctx, SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB, callback);
}

/** The callback is `int (SSL *, unsigned char **out, unsigned char *length, unsigned char *in, unsigned, void *)`. */
export const SSL_CTX_set_alpn_select_cb = declareOpenssl<
  (ctx: number, callback: number, argument: number) => void
>('SSL_CTX_set_alpn_select_cb', 'void', [ADDRESS, ADDRESS, ADDRESS]);
/** Out, its length, the server's list and its length, the client's and its. 1: there is one in both. */
export const SSL_select_next_proto = declareOpenssl<
  (out: number, outLength: number, own: number, ownLength: number, theirs: number, length: number) => number
>('SSL_select_next_proto', INT, [ADDRESS, ADDRESS, ADDRESS, INT, ADDRESS, INT]);
export const OPENSSL_NPN_NEGOTIATED = 1;

/** The callback is `int (SSL *, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int)`. */
export const SSL_CTX_set_tlsext_ticket_key_evp_cb = declareOpenssl<(ctx: number, callback: number) => number>(
  'SSL_CTX_set_tlsext_ticket_key_evp_cb',
  INT,
  [ADDRESS, ADDRESS],
);

const CRYPTO_memdup = declareOpenssl<(from: number, size: number, file: number, line: number) => number>(
  'CRYPTO_memdup',
  ADDRESS,
  [ADDRESS, SIZE, ADDRESS, INT],
);

/** Gives the session a copy of an OCSP response, to be sent. False: no memory. */
export function setStatusResponse(ssl: number, address: number, length: number): boolean {
  const copy = CRYPTO_memdup(address, length, 0, 0);
  if (copy === 0) return false;
  return SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP, length, copy) === 1;
}

// ---- Tickets (SSL_CTX_set_tlsext_ticket_key_cb(3)) --------------------------------------------------

export const RAND_bytes = declareOpenssl<Call2>('RAND_bytes', INT, [ADDRESS, INT]);
export const EVP_MAC_CTX_set_params = declareOpenssl<Call2>('EVP_MAC_CTX_set_params', INT, [
  ADDRESS,
  ADDRESS,
]);
/** 0: the addresses hold the same bytes. */
export const CRYPTO_memcmp = declareOpenssl<Call3>('CRYPTO_memcmp', INT, [ADDRESS, ADDRESS, SIZE]);

export const OSSL_PARAM_OCTET_STRING = 5;
/** What a parameter's return size is before anybody returned one. */
export const OSSL_PARAM_UNMODIFIED = 0xffffffffffffffffn;

// ---- Certificates (i2d_X509(3)) ----------------------------------------------------------------------

const i2d_X509 = declareOpenssl<Call2>('i2d_X509', INT, [ADDRESS, ADDRESS]);
/** What a peer may send as its chain is bounded below that by whoever makes the context. */
const DER_BYTES_MAX = 131_072;
const derMemory = mapPrivate(DER_BYTES_MAX + 8);

/** The certificate's public key (EVP_PKEY); it stays the certificate's own. */
export const X509_get0_pubkey = declareOpenssl<Call1>('X509_get0_pubkey', ADDRESS, [ADDRESS]);

/** DER of a certificate (X509). Empty for one that is too long. */
export function certificateDer(certificate: number): Uint8Array {
  const length = i2d_X509(certificate, 0);
  if (length <= 0 || length > DER_BYTES_MAX) return new Uint8Array(0);
  // i2d writes at the address that it finds in a pointer, and moves that.
  derMemory.view.setBigUint64(DER_BYTES_MAX, BigInt(derMemory.address), true);
  i2d_X509(certificate, derMemory.address + DER_BYTES_MAX);
  return derMemory.bytes.slice(0, length);
}

// ---- OCSP responses (OCSP_response_status(3), OCSP_resp_find_status(3)) -----------------------------

const d2i_OCSP_RESPONSE = declareOpenssl<Call3>('d2i_OCSP_RESPONSE', ADDRESS, [ADDRESS, ADDRESS, 'long']);
const OCSP_RESPONSE_free = declareOpenssl<(response: number) => void>('OCSP_RESPONSE_free', 'void', [
  ADDRESS,
]);
const OCSP_response_status = declareOpenssl<Call1>('OCSP_response_status', INT, [ADDRESS]);
const OCSP_response_get1_basic = declareOpenssl<Call1>('OCSP_response_get1_basic', ADDRESS, [ADDRESS]);
const OCSP_BASICRESP_free = declareOpenssl<(basic: number) => void>('OCSP_BASICRESP_free', 'void', [ADDRESS]);
const OCSP_resp_count = declareOpenssl<Call1>('OCSP_resp_count', INT, [ADDRESS]);
const OCSP_resp_get0 = declareOpenssl<Call2>('OCSP_resp_get0', ADDRESS, [ADDRESS, INT]);
const OCSP_SINGLERESP_get0_id = declareOpenssl<Call1>('OCSP_SINGLERESP_get0_id', ADDRESS, [ADDRESS]);
const OCSP_single_get0_status = declareOpenssl<
  (single: number, reason: number, revoked: number, thisUpdate: number, nextUpdate: number) => number
>('OCSP_single_get0_status', INT, [ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS]);
const OCSP_id_get0_info = declareOpenssl<
  (name: number, digest: number, keyHash: number, serial: number, id: number) => number
>('OCSP_id_get0_info', INT, [ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS]);
const OCSP_cert_to_id = declareOpenssl<Call3>('OCSP_cert_to_id', ADDRESS, [ADDRESS, ADDRESS, ADDRESS]);
const OCSP_id_cmp = declareOpenssl<Call2>('OCSP_id_cmp', INT, [ADDRESS, ADDRESS]);
const OCSP_CERTID_free = declareOpenssl<(id: number) => void>('OCSP_CERTID_free', 'void', [ADDRESS]);
const OCSP_basic_verify = declareOpenssl<
  (basic: number, certificates: number, store: number, flags: number) => number
>('OCSP_basic_verify', INT, [ADDRESS, ADDRESS, ADDRESS, 'unsigned long']);
const X509_get0_serialNumber = declareOpenssl<Call1>('X509_get0_serialNumber', ADDRESS, [ADDRESS]);
const ASN1_INTEGER_cmp = declareOpenssl<Call2>('ASN1_INTEGER_cmp', INT, [ADDRESS, ADDRESS]);
/** Seconds between two ASN1_TIMEs as days and seconds; 0 is now. */
const ASN1_TIME_diff = declareOpenssl<(days: number, seconds: number, from: number, to: number) => number>(
  'ASN1_TIME_diff',
  INT,
  [ADDRESS, ADDRESS, ADDRESS, ADDRESS],
);
const X509_STORE_new = declareOpenssl<() => number>('X509_STORE_new', ADDRESS, []);
const X509_STORE_free = declareOpenssl<(store: number) => void>('X509_STORE_free', 'void', [ADDRESS]);
const X509_STORE_add_cert = declareOpenssl<Call2>('X509_STORE_add_cert', INT, [ADDRESS, ADDRESS]);
const X509_STORE_set_flags = declareOpenssl<Call2>('X509_STORE_set_flags', INT, [ADDRESS, 'unsigned long']);
const OPENSSL_sk_new_null = declareOpenssl<() => number>('OPENSSL_sk_new_null', ADDRESS, []);
const OPENSSL_sk_push = declareOpenssl<Call2>('OPENSSL_sk_push', INT, [ADDRESS, ADDRESS]);
const OPENSSL_sk_free = declareOpenssl<(stack: number) => void>('OPENSSL_sk_free', 'void', [ADDRESS]);
const X509_V_FLAG_PARTIAL_CHAIN = 0x80000;
/** The issuer is trusted outright, and a delegated responder's certificate is to be in the response. */
const OCSP_TRUSTOTHER = 0x200;

const SECONDS_OF_DAY = 86_400;
const memory = mapPrivate(4096);
const { address, view } = memory;
const pointerAt = (at: number): number => Number(view.getBigUint64(at, true));

/** What an OCSP response says of one certificate. */
export interface OcspStatus {
  readonly status: 'good' | 'revoked' | 'unknown';
  /** Milliseconds since 1970; `nextUpdate` is Infinity where the response doesn't say. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

/**
 * Reads an OCSP response (DER) about the certificate. `issuer` is 0 where it isn't known: then the serial number
 * alone says that it is about the certificate, and the signature isn't verified. Returns why it can't be used, too.
 */
export function readOcspResponse(der: Uint8Array, certificate: number, issuer: number): OcspStatus | string {
  const buffer = mapPrivate(Math.max(der.length, 1));
  buffer.bytes.set(der);
  view.setBigUint64(0, BigInt(buffer.address), true);
  const response = d2i_OCSP_RESPONSE(0, address, der.length);
  const used = pointerAt(0) - buffer.address;
  buffer.unmap();
  if (response === 0 || used !== der.length) {
    if (response !== 0) OCSP_RESPONSE_free(response);
    return 'it is not an OCSP response in DER';
  }
  const code = OCSP_response_status(response);
  const basic = code === 0 ? OCSP_response_get1_basic(response) : 0;
  OCSP_RESPONSE_free(response);
  if (basic === 0) return code === 0 ? 'it is not a basic response' : `the responder failed (status ${code})`;
  const single = findSingle(basic, certificate, issuer);
  let result: OcspStatus | string = 'it is about another certificate';
  if (single !== 0) {
    const isSigned = issuer === 0 || isSignedFor(basic, issuer);
    result = isSigned ? readSingle(single) : 'its signature is not by the certificate’s issuer';
  }
  OCSP_BASICRESP_free(basic);
  return result;
}

function findSingle(basic: number, certificate: number, issuer: number): number {
  const expected = issuer === 0 ? 0 : OCSP_cert_to_id(0, certificate, issuer);
  let found = 0;
  for (let index = 0; index < OCSP_resp_count(basic) && found === 0; index++) {
    const single = OCSP_resp_get0(basic, index);
    const id = OCSP_SINGLERESP_get0_id(single);
    // An id by another hash than SHA-1 is compared by its serial number.
    if (expected !== 0 && OCSP_id_cmp(expected, id) === 0) found = single;
    else if (hasSerialOf(id, certificate)) found = single;
  }
  if (expected !== 0) OCSP_CERTID_free(expected);
  return found;
}

function hasSerialOf(id: number, certificate: number): boolean {
  OCSP_id_get0_info(0, 0, 0, address, id);
  return ASN1_INTEGER_cmp(pointerAt(0), X509_get0_serialNumber(certificate)) === 0;
}

function isSignedFor(basic: number, issuer: number): boolean {
  const store = X509_STORE_new();
  X509_STORE_add_cert(store, issuer);
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  const certificates = OPENSSL_sk_new_null();
  OPENSSL_sk_push(certificates, issuer);
  const result = OCSP_basic_verify(basic, certificates, store, OCSP_TRUSTOTHER);
  OPENSSL_sk_free(certificates);
  X509_STORE_free(store);
  return result === 1;
}

function readSingle(single: number): OcspStatus | string {
  memory.bytes.fill(0, 0, 16);
  const status = OCSP_single_get0_status(single, 0, 0, address, address + 8);
  const thisUpdate = timeAt(pointerAt(0));
  const nextUpdate = pointerAt(8) === 0 ? Number.POSITIVE_INFINITY : timeAt(pointerAt(8));
  if (Number.isNaN(thisUpdate) || Number.isNaN(nextUpdate)) return 'its times can’t be read';
  const names = ['good', 'revoked', 'unknown'] as const;
  return { status: names[status] ?? 'unknown', thisUpdate, nextUpdate };
}

/** Milliseconds since 1970 of an ASN1_TIME, to a second; NaN where it is none. */
function timeAt(time: number): number {
  if (time === 0 || ASN1_TIME_diff(address + 16, address + 20, 0, time) !== 1) return Number.NaN;
  const seconds = view.getInt32(16, true) * SECONDS_OF_DAY + view.getInt32(20, true);
  return (Math.floor(Date.now() / 1000) + seconds) * 1000;
}
