/**
 * Why a handshake with a backend failed, in an operator's words. Called before the SSL object goes, on failures
 * only. Names in a peer's certificate are the peer's: they are bounded here, and escaped by whoever logs them.
 */

import { X509Certificate } from 'node:crypto';
import { SSL_get_peer_cert_chain, SSL_get_verify_result } from '../sys/openssl.ts';
import { stackDer, X509_verify_cert_error_string } from '../sys/openssl-client.ts';

// X509_STORE_CTX_get_error(3).
const X509_V_OK = 0;
const X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT = 2;
const X509_V_ERR_CERT_NOT_YET_VALID = 9;
const X509_V_ERR_CERT_HAS_EXPIRED = 10;
const X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT = 18;
const X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN = 19;
const X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY = 20;
const X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE = 21;
const X509_V_ERR_CERT_CHAIN_TOO_LONG = 22;
const X509_V_ERR_INVALID_PURPOSE = 26;
const X509_V_ERR_HOSTNAME_MISMATCH = 62;
const X509_V_ERR_IP_ADDRESS_MISMATCH = 64;

/** Certificates of a chain that are looked at, names that are told, and their length in characters. */
const CHAIN_MAX = 10;
const NAMES_MAX = 5;
const NAME_CHARS_MAX = 100;

/** What alerts of a peer (RFC 8446 §6) mean here; OpenSSL's words for them are the keys. */
const ALERTS: readonly (readonly [string, string])[] = [
  ['alert handshake failure', 'it has no protocol version, cipher suite or key exchange in common with us'],
  ['alert protocol version', 'it speaks no version of TLS that is spoken here (1.2 and 1.3)'],
  ['alert certificate required', 'it asks for a client certificate, and none is configured'],
  ['alert bad certificate', 'it does not accept the client certificate'],
  ['alert unsupported certificate', 'it does not accept this kind of client certificate'],
  ['alert certificate revoked', 'the client certificate was revoked'],
  ['alert certificate expired', 'the client certificate has expired'],
  ['alert certificate unknown', 'it does not accept the client certificate'],
  ['alert unknown ca', 'it does not know who issued the client certificate'],
  ['alert access denied', 'it denies access to the client certificate'],
  ['unrecognized name', 'it does not know the name that it was asked for'],
  ['alert no application protocol', 'it does not speak HTTP/1.1'],
];
/** OpenSSL's words for other failures. */
const REASONS: readonly (readonly [string, string])[] = [
  ['wrong version number', 'it does not speak TLS on this port'],
  ['packet length too long', 'it does not speak TLS on this port'],
  ['unsupported protocol', 'it speaks no version of TLS that is spoken here (1.2 and 1.3)'],
  ['no shared cipher', 'it has no cipher suite in common with us'],
  ['dh key too small', 'its key exchange is too weak'],
  ['ee key too small', 'the key of its certificate is too weak'],
];

/**
 * Completes "backend https://… : TLS handshake failed: …". `errors` is what OpenSSL said (`opensslErrors`),
 * `name` the name that the certificate was to have.
 */
export function handshakeFailure(ssl: number, errors: string, name: string): string {
  const code = SSL_get_verify_result(ssl);
  if (errors.includes('certificate verify failed') && code !== X509_V_OK)
    return verificationFailure(code, stackDer(SSL_get_peer_cert_chain(ssl), CHAIN_MAX), name);
  // Version and suite were agreed on when it showed its certificate. TLS 1.2 has no alert for one that is missing.
  if (errors.includes('alert handshake failure') && SSL_get_peer_cert_chain(ssl) !== 0)
    return `it breaks the handshake off after its certificate; probably it asks for a client certificate (${errors})`;
  return failureWords(errors);
}

/** The same without a certificate to blame: an alert of the peer, or something that is not TLS. */
export function failureWords(reason: string): string {
  // Our record layer calls alerts by their names in RFC 8446, OpenSSL writes them with spaces.
  const errors = reason.replace(
    /^alert from the peer: (.*)/,
    (_, name) => `alert ${name.replaceAll('_', ' ')}`,
  );
  for (const [sign, words] of ALERTS) if (errors.includes(sign)) return `${words} (${errors})`;
  for (const [sign, words] of REASONS) if (errors.includes(sign)) return `${words} (${errors})`;
  return errors === '' ? 'the connection ended' : errors;
}

/** What was wrong with a chain (the peer's certificate first, in DER), in words. `code` is X509_V_ERR_…. */
export function verificationFailure(code: number, chain: readonly Uint8Array[], name: string): string {
  const certificates = chain.map(parse).filter((each) => each !== null);
  const leaf = certificates[0] ?? null;
  const last = certificates.at(-1) ?? null;
  switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED: {
      const late = certificates.find((each) => each.validToDate.getTime() < Date.now()) ?? leaf;
      const whose = late === leaf ? 'its certificate' : `the certificate of its issuer, ${subjectOf(late)},`;
      return `${whose} has expired (${late?.validToDate.toISOString() ?? 'at an unknown time'})`;
    }
    case X509_V_ERR_CERT_NOT_YET_VALID: {
      const early = certificates.find((each) => each.validFromDate.getTime() > Date.now()) ?? leaf;
      return `its certificate is not valid yet (it will be from ${early?.validFromDate.toISOString() ?? 'an unknown time'})`;
    }
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return `its certificate is self-signed (${subjectOf(leaf)}) and not among those that are trusted; ca_path can name it`;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      return `its certificate has an unknown issuer: ${subjectOf(last)} is not among those that are trusted; ca_path can name it`;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return `its certificate has an unknown issuer, ${issuerOf(last)}: it is not among those that are trusted, or an intermediate certificate was not sent`;
    case X509_V_ERR_CERT_CHAIN_TOO_LONG:
      return 'its chain of certificates is too long';
    case X509_V_ERR_INVALID_PURPOSE:
      return 'its certificate is not for server authentication';
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return `its certificate is not for ${name} but for ${namesOf(leaf)}; sni_name can say which name it must have`;
    default:
      return `its certificate is not accepted: ${X509_verify_cert_error_string(code)}`;
  }
}

function parse(der: Uint8Array): X509Certificate | null {
  try {
    return new X509Certificate(der);
  } catch {
    // What OpenSSL's handshake accepted and Node's reader does not: the failure is told without it.
    return null;
  }
}

function bounded(text: string): string {
  return text.length <= NAME_CHARS_MAX ? text : `${text.slice(0, NAME_CHARS_MAX)}…`;
}

function distinguishedName(text: string | undefined): string {
  return text === undefined || text === '' ? 'without a name' : bounded(text.replaceAll('\n', ', '));
}

function subjectOf(certificate: X509Certificate | null): string {
  return distinguishedName(certificate?.subject);
}

function issuerOf(certificate: X509Certificate | null): string {
  return distinguishedName(certificate?.issuer);
}

/** `a.example, b.example and 3 more`. */
function namesOf(certificate: X509Certificate | null): string {
  const names = (certificate?.subjectAltName ?? '')
    .split(', ')
    .filter((each) => /^(DNS|IP Address):/.test(each))
    .map((each) => bounded(each.slice(each.indexOf(':') + 1)));
  if (names.length === 0) return 'no name (a common name alone does not count)';
  const told = names.slice(0, NAMES_MAX).join(', ');
  return names.length > NAMES_MAX ? `${told} and ${names.length - NAMES_MAX} more` : told;
}
