/**
 * A private key that is in another process, for OpenSSL in this one: the certificate's public key, and for each
 * signature one synchronous exchange of messages (signature-request.ts). A handshake waits for it: OpenSSL's own
 * way to go on meanwhile (ASYNC jobs) switches stacks, which V8 doesn't survive. So whoever carries the messages
 * must bound the wait; `SigningChannel` is such a carrier.
 */

import { type DelegatedAlgorithm, newDelegatedKey } from '../sys/openssl-keys.ts';
import {
  decodeReply,
  encodeRequest,
  REQUEST_BYTES_MAX,
  type Role,
  STATUS_FAILED,
  STATUS_MALFORMED,
  STATUS_RATE_LIMITED,
  STATUS_REFUSED,
  STATUS_SIGNED,
  STATUS_UNKNOWN_KEY,
  schemeCode,
} from './signature-request.ts';

/** Sends a request and returns the reply to it, valid until the next call; null where none came. Never throws. */
export type SignatureExchange = (request: Uint8Array) => Uint8Array | null;

/** Why the last signature was not made; for the log. */
export type SignatureFailure =
  | ''
  | 'no-answer'
  | 'bad-answer'
  | 'bad-message'
  | 'refused'
  | 'rate'
  | 'failed';

// The request under construction, touched as far as it was ever used.
const requestBytes = new Uint8Array(REQUEST_BYTES_MAX);
let sequence = 0;
let failure: SignatureFailure = '';

/** Why the last signature failed, once: '' if none has since the last call. */
export function takeSignatureFailure(): SignatureFailure {
  const taken = failure;
  failure = '';
  return taken;
}

/**
 * A new EVP_PKEY whose signatures key `keyId` makes behind `exchange`. `publicKey` is the certificate's (an EVP_PKEY,
 * borrowed). The caller owns one reference and gives it back with EVP_PKEY_free; an SSL_CTX takes its own. 0 where
 * the public key is neither RSA, ECDSA nor Ed25519. Where a signature fails, the handshake ends with the alert
 * internal_error, and `takeSignatureFailure` says why.
 */
export function remoteKey(publicKey: number, role: Role, keyId: number, exchange: SignatureExchange): number {
  return newDelegatedKey(publicKey, (algorithm, digestBits, message) =>
    signRemotely(role, keyId, exchange, algorithm, digestBits, message),
  );
}

function signRemotely(
  role: Role,
  keyId: number,
  exchange: SignatureExchange,
  algorithm: DelegatedAlgorithm,
  digestBits: number,
  message: Uint8Array,
): Uint8Array | null {
  sequence = (sequence + 1) >>> 0;
  const scheme = schemeCode(algorithm, digestBits);
  const length = scheme < 0 ? 0 : encodeRequest(requestBytes, { role, scheme, keyId, sequence, message });
  if (length === 0) return failed('bad-message');
  const bytes = exchange(requestBytes.subarray(0, length));
  if (bytes === null) return failed('no-answer');
  const reply = decodeReply(bytes);
  if (reply === null || reply.sequence !== sequence) return failed('bad-answer');
  return reply.status === STATUS_SIGNED ? reply.signature : failed(failureOf(reply.status));
}

function failed(reason: SignatureFailure): null {
  failure = reason;
  return null;
}

function failureOf(status: number): SignatureFailure {
  switch (status) {
    case STATUS_UNKNOWN_KEY:
    case STATUS_REFUSED:
    case STATUS_MALFORMED:
      return 'refused';
    case STATUS_RATE_LIMITED:
      return 'rate';
    case STATUS_FAILED:
      return 'failed';
    default:
      return 'bad-answer';
  }
}
