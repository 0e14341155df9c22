/**
 * Whole handshakes within one process: a client's SSL and a server's over two memory BIOs, each stepped in turn, by
 * contexts that a test makes as it likes (version, schemes, whose key).
 */

import assert from 'node:assert/strict';
import {
  BIO_free,
  declareOpenssl,
  newMemoryBio,
  opensslErrors,
  SSL_CTX_ctrl,
  SSL_CTX_free,
  SSL_CTX_new,
  SSL_do_handshake,
  SSL_ERROR_WANT_READ,
  SSL_free,
  SSL_get_error,
  SSL_new,
  SSL_set_accept_state,
  SSL_set_bio,
  SSL_set_connect_state,
  SSL_version,
  TLS_client_method,
  TLS_server_method,
} from '../../src/sys/openssl.ts';
import {
  EVP_PKEY_free,
  readCertificate,
  readPrivateKey,
  SSL_CTX_check_private_key,
  SSL_CTX_set_verify,
  SSL_CTX_set1_cert_store,
  SSL_CTX_use_certificate,
  SSL_CTX_use_PrivateKey,
  X509_free,
  X509_STORE_add_cert,
  X509_STORE_new,
} from '../../src/sys/openssl-client.ts';

export const TLS12 = 0x0303;
export const TLS13 = 0x0304;

const SSL_CTRL_SET_SESS_CACHE_MODE = 44;
const SSL_CTRL_SET_SIGALGS_LIST = 98;
const SSL_CTRL_SET_MIN_PROTO_VERSION = 123;
const SSL_CTRL_SET_MAX_PROTO_VERSION = 124;
/** A certificate is asked for, and a client without one is turned away. */
const VERIFY_PEER_STRICTLY = 3;
/** More than any handshake has flights. */
const STEPS = 6;

const BIO_up_ref = declareOpenssl<(bio: number) => number>('BIO_up_ref', 'int', ['int64_t']);
const X509_get0_pubkey = declareOpenssl<(certificate: number) => number>('X509_get0_pubkey', 'int64_t', [
  'int64_t',
]);
const PEM_write_bio_PrivateKey = declareOpenssl<(...parameters: number[]) => number>(
  'PEM_write_bio_PrivateKey',
  'int',
  ['int64_t', 'int64_t', 'int64_t', 'int64_t', 'int', 'int64_t', 'int64_t'],
);
const setList = declareOpenssl<(ctx: number, command: number, zero: number, list: string) => number>(
  'SSL_CTX_ctrl',
  'int64_t',
  ['int64_t', 'int', 'int64_t', 'str'],
);

/** Calls `use` with the public key (EVP_PKEY) of a certificate, which is gone afterwards. */
export function withPublicKey<T>(cert: string, use: (publicKey: number) => T): T {
  const certificate = readCertificate(cert);
  assert.notEqual(certificate, 0);
  try {
    return use(X509_get0_pubkey(certificate));
  } finally {
    X509_free(certificate);
  }
}

/** Whether OpenSSL can write the key's private part. */
export function hasPrivatePart(key: number): boolean {
  const bio = newMemoryBio();
  const isWritten = PEM_write_bio_PrivateKey(bio, key, 0, 0, 0, 0, 0) === 1;
  opensslErrors();
  BIO_free(bio);
  return isWritten;
}

/** A context of either side. `key` is an EVP_PKEY whose reference it takes; 0 with `cert` '': it has none. */
export function newContext(isServer: boolean, version: number, cert = '', key = 0): number {
  const ctx = SSL_CTX_new(isServer ? TLS_server_method() : TLS_client_method());
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, version, 0);
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MAX_PROTO_VERSION, version, 0);
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_SESS_CACHE_MODE, 0, 0);
  if (key !== 0) useKey(ctx, cert, key);
  return ctx;
}

function useKey(ctx: number, cert: string, key: number): void {
  const certificate = readCertificate(cert);
  assert.equal(SSL_CTX_use_certificate(ctx, certificate), 1, opensslErrors());
  assert.equal(SSL_CTX_use_PrivateKey(ctx, key), 1, opensslErrors());
  assert.equal(SSL_CTX_check_private_key(ctx), 1, opensslErrors());
  X509_free(certificate);
  EVP_PKEY_free(key);
}

/** A context that has its private key in this process. */
export function newLocalContext(isServer: boolean, version: number, cert: string, key: string): number {
  return newContext(isServer, version, cert, readPrivateKey(key));
}

/** Restricts the schemes that a client offers, or that a server wants of one (SSL_CTX_set1_sigalgs_list(3)). */
export function setSchemes(ctx: number, list: string): void {
  assert.equal(setList(ctx, SSL_CTRL_SET_SIGALGS_LIST, 0, list), 1, opensslErrors());
}

/** Makes a server ask for a certificate of this authority. */
export function demandClientCertificate(ctx: number, authority: string): void {
  const store = X509_STORE_new();
  const certificate = readCertificate(authority);
  X509_STORE_add_cert(store, certificate);
  X509_free(certificate);
  SSL_CTX_set1_cert_store(ctx, store);
  SSL_CTX_set_verify(ctx, VERIFY_PEER_STRICTLY, 0);
}

export interface Outcome {
  /** The negotiated version; 0 unless both sides completed. */
  readonly version: number;
  /** OpenSSL's reasons where a side failed; empty where it didn't. */
  readonly client: string;
  readonly server: string;
}

/** One side of a handshake: stepped until it is complete or has failed. */
class Side {
  isComplete = false;
  error = '';
  readonly ssl: number;

  constructor(ctx: number, isServer: boolean, input: number, output: number) {
    this.ssl = SSL_new(ctx);
    BIO_up_ref(input);
    BIO_up_ref(output);
    SSL_set_bio(this.ssl, input, output);
    if (isServer) SSL_set_accept_state(this.ssl);
    else SSL_set_connect_state(this.ssl);
  }

  step(): void {
    if (this.isComplete || this.error !== '') return;
    const result = SSL_do_handshake(this.ssl);
    if (result === 1) this.isComplete = true;
    else if (SSL_get_error(this.ssl, result) !== SSL_ERROR_WANT_READ)
      this.error = opensslErrors() || 'no reason';
  }
}

/** A handshake that can be stepped, so that several are under way at once. `free` it. */
export class SteppedHandshake {
  private readonly toServer = newMemoryBio();
  private readonly toClient = newMemoryBio();
  private readonly client: Side;
  private readonly server: Side;

  constructor(serverContext: number, clientContext: number) {
    this.client = new Side(clientContext, false, this.toClient, this.toServer);
    this.server = new Side(serverContext, true, this.toServer, this.toClient);
  }

  /** Lets the client, then the server, go on as far as they can. */
  step(): void {
    this.client.step();
    this.server.step();
  }

  finish(): Outcome {
    for (let step = 0; step < STEPS; step++) this.step();
    const isComplete = this.client.isComplete && this.server.isComplete;
    const version = isComplete ? SSL_version(this.server.ssl) : 0;
    return { version, client: this.client.error, server: this.server.error };
  }

  free(): void {
    SSL_free(this.client.ssl);
    SSL_free(this.server.ssl);
    BIO_free(this.toServer);
    BIO_free(this.toClient);
  }
}

/** Runs a handshake to its end. */
export function handshake(serverContext: number, clientContext: number): Outcome {
  const run = new SteppedHandshake(serverContext, clientContext);
  const outcome = run.finish();
  run.free();
  return outcome;
}

export function freeContexts(...contexts: readonly number[]): void {
  for (const ctx of contexts) SSL_CTX_free(ctx);
}
