/**
 * Who a client is by its certificate, as backends are told (RFC 9440): Client-Cert is a byte sequence of
 * structured fields, base64 between colons, of the certificate's DER; Client-Cert-Chain is a list of those.
 */

import { SSL_get_peer_cert_chain, SSL_get0_peer_certificate, SSL_session_reused } from '../sys/openssl.ts';
import { stackDer } from '../sys/openssl-client.ts';
import { certificateDer, SSL_get_verify_mode } from '../sys/openssl-x509.ts';

/** Intermediates that backends are told of. */
const CHAIN_MAX = 4;
/** Characters of both values. What is longer is not passed on: backends would refuse the head. */
const VALUES_CHARS_MAX = 12_288;

export interface ClientIdentity {
  /** Value of Client-Cert; empty: the client was asked and has shown none. */
  readonly certificate: string;
  /** Value of Client-Cert-Chain; empty: the field is not sent. Resumed sessions have none. */
  readonly chain: string;
}

/** The value of Client-Cert for a certificate in DER (RFC 9440 §2.2, RFC 8941 §3.3.5). */
export function clientCertValue(der: Uint8Array): string {
  return `:${Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString('base64')}:`;
}

/** The value of Client-Cert-Chain for intermediates in DER, in the order in which the client sent them (§2.3). */
export function clientCertChainValue(chain: readonly Uint8Array[]): string {
  return chain.map(clientCertValue).join(', ');
}

const ANONYMOUS: ClientIdentity = { certificate: '', chain: '' };

/** The client of a server's complete handshake; null: it was not asked. A certificate that it has shown is verified. */
export function clientIdentityOf(ssl: number): ClientIdentity | null {
  if (SSL_get_verify_mode(ssl) === 0) return null;
  const certificate = SSL_get0_peer_certificate(ssl);
  if (certificate === 0) return ANONYMOUS;
  const value = clientCertValue(certificateDer(certificate));
  // On a server's side the chain is without the certificate itself; a ticket has no room for it.
  const stack = SSL_session_reused(ssl) === 1 ? 0 : SSL_get_peer_cert_chain(ssl);
  const chain = clientCertChainValue(stackDer(stack, CHAIN_MAX));
  return { certificate: value, chain: value.length + chain.length > VALUES_CHARS_MAX ? '' : chain };
}
