/**
 * What OpenSSL asks during a server's handshake: which certificate, which protocol, which OCSP response. One
 * callback of each kind for the whole process; contexts are found by what they registered. A callback never
 * throws into C, and knows what to answer for a context that was given up meanwhile.
 */

import { assert } from '../base/assert.ts';
import { type MappedMemory, mapPrivate } from '../sys/memory.ts';
import { foreignCallback, SSL_get_servername } from '../sys/openssl.ts';
import {
  OPENSSL_NPN_NEGOTIATED,
  SSL_CTX_set_alpn_select_cb,
  SSL_get_certificate,
  SSL_select_next_proto,
  SSL_set_SSL_CTX,
  SSL_TLSEXT_ERR_ALERT_FATAL,
  SSL_TLSEXT_ERR_NOACK,
  SSL_TLSEXT_ERR_OK,
  setServerNameCallback,
  setStatusCallback,
  setStatusResponse,
} from '../sys/openssl-x509.ts';
import type { ServerNames } from './server-names.ts';

// ---- Names ------------------------------------------------------------------------------------------

/** Tables of contexts by name, under a number that is never used again. */
const tables = new Map<number, ServerNames<number>>();
let tableNumber = 0;

const onServerName = foreignCallback<[number, number, number], number>(
  'int',
  ['int64_t', 'int64_t', 'int64_t'],
  SSL_TLSEXT_ERR_NOACK,
  (ssl, _alert, table) => {
    const name = SSL_get_servername(ssl, 0);
    if (name === null) return SSL_TLSEXT_ERR_NOACK;
    const ctx = tables.get(Number(table))?.find(name) ?? 0;
    if (ctx !== 0) SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
  },
);

/** Sessions of `ctx` go on with the context that the table has for the client's name. Returns a number for `forgetNames`. */
export function chooseByName(ctx: number, names: ServerNames<number>): number {
  tables.set(++tableNumber, names);
  setServerNameCallback(ctx, onServerName, tableNumber);
  return tableNumber;
}

/** To be called before the table's contexts are given up: sessions in handshake keep the default from now on. */
export function forgetNames(table: number): void {
  tables.delete(table);
}

// ---- Protocols (RFC 7301) ---------------------------------------------------------------------------

interface ProtocolList {
  readonly address: number;
  readonly length: number;
}

/** Lists by their number, which is the callback's argument. There are as many as a program's text has: few. */
const protocolLists: ProtocolList[] = [];
const numberOfList = new Map<string, number>();

const onProtocols = foreignCallback<[number, number, number, number, number, number], number>(
  'int',
  ['int64_t', 'int64_t', 'int64_t', 'int64_t', 'int', 'int64_t'],
  SSL_TLSEXT_ERR_ALERT_FATAL,
  (_ssl, out, outLength, theirs, length, list) => {
    const own = protocolLists[Number(list)];
    const result = SSL_select_next_proto(out, outLength, own.address, own.length, theirs, length);
    return result === OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
  },
);

/** Sessions of `ctx` speak the first of these that the client offers; with none in common the handshake fails. */
export function offerProtocols(ctx: number, protocols: readonly string[]): void {
  const text = protocols.map((name) => String.fromCharCode(name.length) + name).join('');
  let number = numberOfList.get(text);
  if (number === undefined) {
    assert(
      text !== '' && protocols.every(({ length }) => length < 256),
      'a list of protocols that can be sent',
    );
    const memory = mapPrivate(text.length);
    memory.bytes.set(Buffer.from(text, 'latin1'));
    number = protocolLists.push({ address: memory.address, length: text.length }) - 1;
    numberOfList.set(text, number);
  }
  SSL_CTX_set_alpn_select_cb(ctx, onProtocols, number);
}

// ---- OCSP responses (RFC 6066 §8) -------------------------------------------------------------------

interface Staple {
  readonly memory: MappedMemory;
  readonly length: number;
  /** Milliseconds since 1970. */
  readonly validTo: number;
}

/** Responses by the address of their certificate (X509), which whoever staples keeps alive. */
const staples = new Map<number, Staple>();

const onStatus = foreignCallback<[number, number], number>(
  'int',
  ['int64_t', 'int64_t'],
  SSL_TLSEXT_ERR_NOACK,
  (ssl) => {
    const staple = staples.get(SSL_get_certificate(ssl));
    if (staple === undefined || staple.validTo <= Date.now()) return SSL_TLSEXT_ERR_NOACK;
    return setStatusResponse(ssl, staple.memory.address, staple.length)
      ? SSL_TLSEXT_ERR_OK
      : SSL_TLSEXT_ERR_NOACK;
  },
);

/** Clients that ask get `response` with the certificate, until it runs out. */
export function staple(certificate: number, response: Uint8Array, validTo: number): void {
  const memory = mapPrivate(response.length);
  memory.bytes.set(response);
  staples.set(certificate, { memory, length: response.length, validTo });
}

export function unstaple(certificate: number): void {
  staples.get(certificate)?.memory.unmap();
  staples.delete(certificate);
}

/** Sessions of `ctx` send the response of their certificate where there is one. */
export function sendStaples(ctx: number): void {
  setStatusCallback(ctx, onStatus);
}
