/** Handshakes in memory: a client of OpenSSL and a session of ServerContexts, in this process, without a socket. */

import assert from 'node:assert/strict';
import { copyForeignBytes } from '../../src/sys/foreign-string.ts';
import { mapPrivate } from '../../src/sys/memory.ts';
import {
  BIO_pending,
  BIO_read,
  BIO_write,
  declareOpenssl,
  ERR_clear_error,
  newMemoryBio,
  opensslErrors,
  SSL_CTX_ctrl,
  SSL_CTX_free,
  SSL_CTX_new,
  SSL_ctrl,
  SSL_do_handshake,
  SSL_ERROR_WANT_READ,
  SSL_free,
  SSL_get_current_cipher,
  SSL_get_error,
  SSL_get_servername,
  SSL_get0_alpn_selected,
  SSL_get0_group_name,
  SSL_get0_peer_certificate,
  SSL_new,
  SSL_read,
  SSL_session_reused,
  SSL_set_bio,
  SSL_set_connect_state,
  SSL_version,
  TLS_client_method,
} from '../../src/sys/openssl.ts';
import {
  EVP_PKEY_free,
  readCertificate,
  readPrivateKey,
  SSL_CTX_set_alpn_protos,
  SSL_CTX_set_cipher_list,
  SSL_CTX_set_ciphersuites,
  SSL_CTX_use_certificate,
  SSL_CTX_use_PrivateKey,
  SSL_set_session,
  setGroups,
  setHostName,
  X509_free,
} from '../../src/sys/openssl-client.ts';
import { certificateDer } from '../../src/sys/openssl-x509.ts';
import type { ServerContexts } from '../../src/tls/server-contexts.ts';
import type { TestCertificate } from '../fixtures/certificates.ts';

const SSL_get1_session = declareOpenssl<(ssl: number) => number>('SSL_get1_session', 'int64_t', ['int64_t']);
/** A session whose SSL ends without a close_notify is not resumable any more. */
const SSL_set_shutdown = declareOpenssl<(ssl: number, mode: number) => void>('SSL_set_shutdown', 'void', [
  'int64_t',
  'int',
]);
const SENT_AND_RECEIVED = 3;
const SSL_CIPHER_get_name = declareOpenssl<(cipher: number) => string>('SSL_CIPHER_get_name', 'str', [
  'int64_t',
]);
const SSL_set1_sigalgs_list = (ssl: number, list: string): number =>
  declareOpenssl<(ssl: number, command: number, number: number, text: string) => number>(
    'SSL_ctrl',
    'int64_t',
    ['int64_t', 'int', 'int64_t', 'str'],
  )(ssl, 98, 0, list);

const MEMORY_BYTES = 131_072;
const ROUNDS_MAX = 20;
const MIN_VERSION = 123;
const MAX_VERSION = 124;
const STATUS_REQUEST_TYPE = 65;
const GET_STATUS_RESPONSE = 70;
const memory = mapPrivate(MEMORY_BYTES);

export interface ClientWishes {
  readonly name?: string;
  /** 0x0303 or 0x0304; both where absent. */
  readonly version?: number;
  readonly protocols?: readonly string[];
  readonly ciphers?: string;
  readonly cipherSuites?: string;
  readonly groups?: string;
  readonly signatureAlgorithms?: string;
  readonly certificate?: TestCertificate;
  readonly wantsStaple?: boolean;
  /** A session of an earlier handshake. */
  readonly session?: number;
}

export interface Handshaken {
  /** Why it failed, as the client saw it and as the server saw it; empty otherwise. */
  readonly clientError: string;
  readonly serverError: string;
  readonly version: number;
  readonly suite: string;
  readonly group: string;
  /** The server's certificate, DER. */
  readonly certificate: Buffer;
  /** The client's certificate as the server has it after the handshake, DER; empty: none. */
  readonly clientCertificate: Buffer;
  readonly resumed: boolean;
  readonly protocol: string;
  /** What the server takes the client's name for. */
  readonly serverName: string;
  readonly staple: Buffer;
  /** To resume by; 0 where there is none. Freed when the process ends. */
  readonly session: number;
}

function clientContext(wishes: ClientWishes): number {
  const ctx = SSL_CTX_new(TLS_client_method());
  SSL_CTX_ctrl(ctx, MIN_VERSION, wishes.version ?? 0x0303, 0);
  SSL_CTX_ctrl(ctx, MAX_VERSION, wishes.version ?? 0x0304, 0);
  if (wishes.protocols !== undefined) {
    const text = wishes.protocols.map((each) => String.fromCharCode(each.length) + each).join('');
    assert.equal(SSL_CTX_set_alpn_protos(ctx, text, text.length), 0);
  }
  if (wishes.ciphers !== undefined) assert.equal(SSL_CTX_set_cipher_list(ctx, wishes.ciphers), 1);
  if (wishes.cipherSuites !== undefined) assert.equal(SSL_CTX_set_ciphersuites(ctx, wishes.cipherSuites), 1);
  if (wishes.groups !== undefined) assert.equal(setGroups(ctx, wishes.groups), 1);
  if (wishes.certificate !== undefined) {
    const certificate = readCertificate(wishes.certificate.cert);
    const key = readPrivateKey(wishes.certificate.key);
    assert.equal(SSL_CTX_use_certificate(ctx, certificate), 1);
    assert.equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  return ctx;
}

class Side {
  readonly ssl: number;
  readonly input: number;
  readonly output: number;
  isDone = false;
  error = '';

  constructor(ssl: number) {
    this.ssl = ssl;
    this.input = newMemoryBio();
    this.output = newMemoryBio();
    SSL_set_bio(ssl, this.input, this.output);
  }

  step(): void {
    if (this.isDone || this.error !== '') return;
    ERR_clear_error();
    const result = SSL_do_handshake(this.ssl);
    if (result === 1) this.isDone = true;
    else if (SSL_get_error(this.ssl, result) !== SSL_ERROR_WANT_READ)
      this.error = opensslErrors() || 'it failed';
  }

  /** What comes after the handshake: tickets, an alert. */
  read(): void {
    ERR_clear_error();
    const result = SSL_read(this.ssl, memory.address, 1);
    if (result <= 0 && SSL_get_error(this.ssl, result) !== SSL_ERROR_WANT_READ && this.error === '')
      this.error = opensslErrors();
  }
}

function move(from: Side, to: Side): boolean {
  if (BIO_pending(from.output) === 0) return false;
  const length = BIO_read(from.output, memory.address, MEMORY_BYTES);
  assert.equal(BIO_write(to.input, memory.address, length), length);
  return true;
}

/** Shakes hands and tells what came of it. `between` runs when the client's first message is with the server. */
export function shakeHands(
  contexts: ServerContexts,
  wishes: ClientWishes = {},
  between?: () => void,
): Handshaken {
  const ctx = clientContext(wishes);
  const clientSsl = SSL_new(ctx);
  SSL_set_connect_state(clientSsl);
  if (wishes.name !== undefined) setHostName(clientSsl, wishes.name);
  if (wishes.signatureAlgorithms !== undefined)
    assert.equal(SSL_set1_sigalgs_list(clientSsl, wishes.signatureAlgorithms), 1);
  if (wishes.wantsStaple === true) SSL_ctrl(clientSsl, STATUS_REQUEST_TYPE, 1, 0);
  if (wishes.session !== undefined) SSL_set_session(clientSsl, wishes.session);
  const client = new Side(clientSsl);
  const server = new Side(contexts.newSession());
  client.step();
  between?.();
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const isForth = move(client, server);
    server.step();
    const isBack = move(server, client);
    client.step();
    if (!isForth && !isBack) break;
  }
  if (client.isDone) client.read();
  const result = describe(client, server);
  SSL_set_shutdown(client.ssl, SENT_AND_RECEIVED);
  SSL_free(client.ssl);
  SSL_free(server.ssl);
  SSL_CTX_free(ctx);
  return result;
}

function describe(client: Side, server: Side): Handshaken {
  const isDone = client.isDone && server.isDone;
  const cipher = SSL_get_current_cipher(client.ssl);
  return {
    clientError: client.error,
    serverError: server.error,
    version: isDone ? SSL_version(server.ssl) : 0,
    suite: cipher === 0 ? '' : SSL_CIPHER_get_name(cipher),
    group: isDone ? (SSL_get0_group_name(server.ssl) ?? '') : '',
    certificate: derOf(SSL_get0_peer_certificate(client.ssl)),
    clientCertificate: derOf(SSL_get0_peer_certificate(server.ssl)),
    resumed: SSL_session_reused(server.ssl) === 1,
    protocol: protocolOf(client.ssl),
    serverName: SSL_get_servername(server.ssl, 0) ?? '',
    staple: stapleOf(client.ssl),
    session: isDone ? SSL_get1_session(client.ssl) : 0,
  };
}

function derOf(certificate: number): Buffer {
  return certificate === 0 ? Buffer.alloc(0) : Buffer.from(certificateDer(certificate));
}

/** What C functions write: an address and a length. */
const OUT = mapPrivate(64);

function protocolOf(ssl: number): string {
  SSL_get0_alpn_selected(ssl, OUT.address, OUT.address + 8);
  return foreign(Number(OUT.view.getBigUint64(0, true)), OUT.view.getUint32(8, true)).toString('latin1');
}

function stapleOf(ssl: number): Buffer {
  const length = SSL_ctrl(ssl, GET_STATUS_RESPONSE, 0, OUT.address);
  return length <= 0 ? Buffer.alloc(0) : foreign(Number(OUT.view.getBigUint64(0, true)), length);
}

function foreign(address: number, length: number): Buffer {
  if (address === 0 || length === 0) return Buffer.alloc(0);
  copyForeignBytes(memory.address, address, length);
  return Buffer.from(memory.bytes.slice(0, length));
}
