/**
 * How one backend is spoken to over TLS: whom to trust, which name to expect, what to show, and the sessions that
 * it gave. One context belongs to one backend under one set of such parameters, so that neither a connection nor
 * a session can be used where something else was verified.
 *
 * Verification is OpenSSL's: chain to a trusted certificate, purpose server authentication, bounded depth, and
 * the name among the certificate's subjectAltNames (RFC 9525: the common name doesn't count, a wildcard stands
 * for a whole label).
 */

import { isIP } from 'node:net';
import { assert } from '../base/assert.ts';
import {
  foreignCallback,
  opensslErrors,
  SSL_CTX_ctrl,
  SSL_CTX_free,
  SSL_CTX_new,
  SSL_CTX_set_options,
  SSL_free,
  SSL_new,
  SSL_set_connect_state,
  TLS_client_method,
} from '../sys/openssl.ts';
import {
  addChainCertificate,
  readCertificate,
  SSL_CTX_check_private_key,
  SSL_CTX_get0_param,
  SSL_CTX_sess_set_new_cb,
  SSL_CTX_set_alpn_protos,
  SSL_CTX_set_cipher_list,
  SSL_CTX_set_ciphersuites,
  SSL_CTX_set_verify,
  SSL_CTX_set1_cert_store,
  SSL_CTX_use_certificate,
  SSL_CTX_use_PrivateKey,
  SSL_get_SSL_CTX,
  SSL_set_alpn_protos,
  SSL_VERIFY_NONE,
  SSL_VERIFY_PEER,
  setGroups,
  setHostName,
  X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
  X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
  X509_free,
  X509_PURPOSE_SSL_SERVER,
  X509_V_FLAG_PARTIAL_CHAIN,
  X509_VERIFY_PARAM_set_depth,
  X509_VERIFY_PARAM_set_flags,
  X509_VERIFY_PARAM_set_hostflags,
  X509_VERIFY_PARAM_set_purpose,
  X509_VERIFY_PARAM_set1_host,
  X509_VERIFY_PARAM_set1_ip_asc,
} from '../sys/openssl-client.ts';
import { exposeSecrets } from './handshake.ts';
import { SessionCache } from './session-cache.ts';
import { SUITES, TLS12, TLS13, type TlsVersion } from './suites.ts';
import { certificateBlocks, type TrustStore } from './system-roots.ts';
import { handshakeFailure } from './verify-error.ts';

const SSL_CTRL_MODE = 33;
const SSL_CTRL_SET_SESS_CACHE_MODE = 44;
const SSL_CTRL_SET_MIN_PROTO_VERSION = 123;
const SSL_CTRL_SET_MAX_PROTO_VERSION = 124;
const SSL_MODE_RELEASE_BUFFERS = 0x10;
const SSL_SESS_CACHE_CLIENT = 0x1;
const SSL_SESS_CACHE_NO_INTERNAL = 0x300;
const SSL_OP_NO_COMPRESSION = 0x20000;
const SSL_OP_NO_RENEGOTIATION = 0x40000000;

/** Intermediates between a backend's certificate and a trusted one. */
export const VERIFY_DEPTH_MAX = 8;
const ALPN = '\x08http/1.1';
const ALPN_WITH_HTTP2 = '\x02h2\x08http/1.1';
const SUITES_1_2 = namesOf(TLS12);
const SUITES_1_3 = namesOf(TLS13);
/**
 * Shares are sent for the first two, so that a backend without hybrid key exchange costs no further round trip.
 * P-384 is for backends that are held to it.
 */
const GROUPS = '*X25519MLKEM768:*X25519:P-256:P-384';

function namesOf(version: TlsVersion): string {
  return SUITES.filter((suite) => suite.version === version)
    .map((suite) => suite.name)
    .join(':');
}

export interface ClientCertificate {
  /** The certificate and its intermediates. */
  readonly pem: string;
  /** EVP_PKEY; the context takes its own reference. It may sign elsewhere. */
  readonly privateKey: number;
}

export interface ClientSettings {
  /** The name that is sent (SNI) and must be in the certificate; an IP literal, without brackets, is verified only. */
  readonly serverName: string;
  /** Whom to trust; null: nothing is verified. */
  readonly trust: TrustStore | null;
  readonly certificate: ClientCertificate | null;
}

const contexts = new Map<number, ClientContext>();

/** OpenSSL has a new session, after a handshake or with a ticket. Returns 0: the session stays OpenSSL's. */
const onNewSession = foreignCallback('int', ['int64_t', 'int64_t'], 0, (ssl: number, session: number) => {
  contexts.get(SSL_get_SSL_CTX(ssl))?.sessions.put(session);
  return 0;
});

export class ClientContext {
  readonly serverName: string;
  readonly verifies: boolean;
  readonly sessions: SessionCache;
  private ctx: number;
  /** Empty where no name is sent. */
  private readonly sentName: string;

  /** Throws an Error that says what of the client certificate is wrong. */
  constructor(settings: ClientSettings) {
    const { serverName, trust, certificate } = settings;
    this.serverName = serverName;
    this.verifies = trust !== null;
    this.sentName = isIP(serverName) === 0 ? serverName : '';
    this.sessions = new SessionCache();
    this.ctx = SSL_CTX_new(TLS_client_method());
    assert(this.ctx !== 0, 'a context for TLS');
    try {
      setProtocol(this.ctx);
      if (trust === null) SSL_CTX_set_verify(this.ctx, SSL_VERIFY_NONE, 0);
      else setVerification(this.ctx, trust, serverName);
      if (certificate !== null) setCertificate(this.ctx, certificate);
    } catch (error) {
      SSL_CTX_free(this.ctx);
      throw error;
    }
    exposeSecrets(this.ctx);
    SSL_CTX_sess_set_new_cb(this.ctx, onNewSession);
    contexts.set(this.ctx, this);
  }

  /**
   * SSL object for a new connection: connect state, with name, verification, and a session to resume where there is one.
   * HTTP/2 and HTTP/1.1 are offered, or HTTP/1.1 alone.
   */
  newSession(offersHttp2 = false): number {
    assert(this.ctx !== 0, 'a connection under a context that is gone');
    const ssl = SSL_new(this.ctx);
    if (ssl === 0) return 0;
    SSL_set_connect_state(ssl);
    const isSet = !offersHttp2 || SSL_set_alpn_protos(ssl, ALPN_WITH_HTTP2, ALPN_WITH_HTTP2.length) === 0;
    if (!isSet || (this.sentName !== '' && setHostName(ssl, this.sentName) !== 1)) {
      SSL_free(ssl);
      return 0;
    }
    this.sessions.offer(ssl, Math.trunc(Date.now() / 1000));
    return ssl;
  }

  /**
   * A handshake has failed; the reason in words. `errors` is what OpenSSL said of it. What is left of the
   * sessions goes: one of them may have been the reason.
   */
  explainFailure(ssl: number, errors: string): string {
    this.sessions.clear();
    return handshakeFailure(ssl, errors, this.serverName);
  }

  /** Connections under way keep what they need of it. */
  free(): void {
    if (this.ctx === 0) return;
    contexts.delete(this.ctx);
    this.sessions.clear();
    SSL_CTX_free(this.ctx);
    this.ctx = 0;
  }
}

function setProtocol(ctx: number): void {
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS12, 0);
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MAX_PROTO_VERSION, TLS13, 0);
  SSL_CTX_ctrl(ctx, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, 0);
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL, 0);
  SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  const isSet =
    SSL_CTX_set_cipher_list(ctx, SUITES_1_2) === 1 &&
    SSL_CTX_set_ciphersuites(ctx, SUITES_1_3) === 1 &&
    setGroups(ctx, GROUPS) === 1 &&
    SSL_CTX_set_alpn_protos(ctx, ALPN, ALPN.length) === 0;
  if (!isSet) throw new Error(`OpenSSL refuses the suites and groups for backends: ${opensslErrors()}`);
}

function setVerification(ctx: number, trust: TrustStore, serverName: string): void {
  const parameters = SSL_CTX_get0_param(ctx);
  const isSet =
    isIP(serverName) === 0
      ? X509_VERIFY_PARAM_set1_host(parameters, serverName, Buffer.byteLength(serverName))
      : X509_VERIFY_PARAM_set1_ip_asc(parameters, serverName);
  if (isSet !== 1) throw new Error(`${serverName} can't be verified as a name: ${opensslErrors()}`);
  X509_VERIFY_PARAM_set_hostflags(
    parameters,
    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
  );
  // An intermediate, or a backend's own certificate, that the operator trusts needs no root beside it.
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
  X509_VERIFY_PARAM_set_purpose(parameters, X509_PURPOSE_SSL_SERVER);
  X509_VERIFY_PARAM_set_depth(parameters, VERIFY_DEPTH_MAX);
  SSL_CTX_set1_cert_store(ctx, trust.store);
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, 0);
}

function setCertificate(ctx: number, { pem, privateKey }: ClientCertificate): void {
  const blocks = certificateBlocks(pem);
  if (blocks.length === 0) throw new Error('it holds no certificate in PEM form');
  for (const [index, block] of blocks.entries()) {
    const certificate = readCertificate(block);
    if (certificate === 0) throw new Error(`a certificate in it can't be read: ${opensslErrors()}`);
    const isSet =
      index === 0 ? SSL_CTX_use_certificate(ctx, certificate) : addChainCertificate(ctx, certificate);
    X509_free(certificate);
    if (isSet !== 1) throw new Error(`OpenSSL refuses a certificate in it: ${opensslErrors()}`);
  }
  if (SSL_CTX_use_PrivateKey(ctx, privateKey) !== 1 || SSL_CTX_check_private_key(ctx) !== 1)
    throw new Error(`it and the private key don't belong together: ${opensslErrors()}`);
}
