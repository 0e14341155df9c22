/** The keys of [tls]: what clients are spoken to with. One table of schema.ts, apart for its length. */

import { Complaint } from './problem.ts';
import { type Entries, key, optionalSection, requiredKey, section } from './schema-nodes.ts';
import { boolean, integer, parsed, text, word } from './value-types.ts';

/** Half of the seven days that a ticket may be used at most (RFC 8446 §4.6.1): tickets live two rotations. */
const ROTATION_SECS_MAX = 302_400;
const HALF_A_DAY_SECS = 43_200;

const path = text('a path');
/** What OpenSSL itself reads; it judges the names (src/tls/settings.ts). */
const opensslList = parsed('names, separated by colons', (found) =>
  /^[\x21-\x7e]{1,4096}$/.test(found) ? found : new Complaint('it is empty, or not names and colons alone'),
);

const certPath = requiredKey(path, {
  meaning: 'The certificate with its chain, PEM. ECDSA P-256 or P-384, RSA of 2048 bits or more, or Ed25519.',
  example: '"/etc/zerocopy-server/server.crt"',
});
const keyPath = requiredKey(path, {
  meaning: 'The private key of the certificate, PEM, without a passphrase. Only its owner should read it.',
  example: '"/etc/zerocopy-server/server.key"',
});
const ocspPath = key(path, {
  fallback: null,
  meaning:
    'An OCSP response about the certificate (DER, as `openssl ocsp -respout` writes it), stapled for clients that ask until it runs out. Read again on SIGHUP.',
  example: '"/etc/zerocopy-server/server.ocsp"',
});
const CERTIFICATE = { cert_path: certPath, key_path: keyPath, ocsp_path: ocspPath };

export const TLS = optionalSection('TLS for clients. Without this section the listeners speak plain HTTP.', {
  ...CERTIFICATE,
  ktls_enabled: key(boolean(), {
    fallback: false,
    meaning: 'Leaves encryption to the kernel after the handshake.',
    example: 'true',
  }),
  ktls_fallback_enabled: key(boolean(), {
    fallback: true,
    meaning: 'Goes on without the kernel’s encryption where it can’t be had; `false` refuses the connection.',
    example: 'false',
  }),
  min_version: key(word('1.2', '1.3'), {
    fallback: '1.2' as const,
    meaning: 'The oldest version of TLS that is spoken.',
    example: '"1.3"',
  }),
  ciphers: key(opensslList, {
    fallback:
      'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305',
    meaning:
      'Cipher suites of TLS 1.2, best first, in OpenSSL’s words. Each must have forward secrecy and AES-GCM or ChaCha20-Poly1305; others are refused.',
    example: '"ECDHE+AESGCM"',
  }),
  cipher_suites: key(opensslList, {
    fallback: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
    meaning:
      'Cipher suites of TLS 1.3, best first. In both versions a client that puts ChaCha20-Poly1305 first gets it.',
    example: '"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"',
  }),
  groups: key(opensslList, {
    fallback: 'X25519MLKEM768:X25519:P-256:P-384',
    meaning: 'Groups for the key exchange, best first. The first of the default is post-quantum.',
    example: '"X25519:P-256"',
  }),
  client_auth: key(word('none', 'optional', 'required'), {
    fallback: 'none' as const,
    meaning:
      'Whether clients are asked for a certificate. With `"optional"` one without may come in, with `"required"` it may not; a certificate that can’t be verified is refused by both. Backends are told who it is by `Client-Cert` and `Client-Cert-Chain` (RFC 9440), which nobody else can set.',
    example: '"required"',
  }),
  client_ca_path: key(path, {
    fallback: null,
    meaning: 'The authorities that client certificates are verified by, PEM. Needed by `client_auth`.',
    example: '"/etc/zerocopy-server/clients.crt"',
  }),
  session_tickets: key(boolean(), {
    fallback: true,
    meaning: 'Lets clients resume sessions by tickets, which saves them and the server most of a handshake.',
    example: 'false',
  }),
  session_ticket_key_path: key(path, {
    fallback: null,
    fallbackWords: 'keys of its own, which rotate',
    meaning:
      'Ticket keys that several machines share: 80 random bytes each (name, HMAC key, AES key, as nginx has them). The first encrypts, the others still decrypt. They don’t rotate; change the file and send SIGHUP.',
    example: '"/etc/zerocopy-server/ticket.key"',
  }),
  session_ticket_rotation_secs: key(integer(60, ROTATION_SECS_MAX), {
    fallback: HALF_A_DAY_SECS,
    meaning:
      'How long a ticket key encrypts; for as long again it still decrypts, then it is forgotten. With `session_ticket_key_path` only tickets’ lifetime, twice this.',
    example: '3600',
  }),
  certificates: {
    kind: 'entries',
    bareKey: '',
    isRequired: false,
    max: 1024,
    meaning:
      'Further certificates; the one whose names match the client’s SNI is used, else the one of `[tls]`. Certificates with the same names and keys of different kinds complete each other.',
    of: section('A further certificate.', CERTIFICATE),
  } satisfies Entries<typeof CERTIFICATE>,
});
