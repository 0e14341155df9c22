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
import { ServerNames } from './server-names.ts';

// ---- Names ------------------------------------------------------------------------------------------

interface NameTable {
  /** Contexts by name; empty once they are given up. */
  names: ServerNames<number>;
  /** Number of the table that took this one's place; 0: none. */
  successor: number;
}

/** Under numbers that are never used again. */
const tables = new Map<number, NameTable>();
let tableNumber = 0;
/** Tables of the past that are kept for handshakes which began under them. */
const RETIRED_MAX = 64;
const retired: number[] = [];
const NO_NAMES = new ServerNames<number>();

const onServerName = foreignCallback<[number, number, number], number>(
  'int',
  ['int64_t', 'int64_t', 'int64_t'],
  SSL_TLSEXT_ERR_NOACK,
  (ssl, _alert, table) => {
    const name = SSL_get_servername(ssl, 0);
    if (name === null) return SSL_TLSEXT_ERR_NOACK;
    const ctx = tableInForce(Number(table))?.names.find(name) ?? 0;
    if (ctx !== 0) SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
  },
);

/** The table, or the one that followed it. */
function tableInForce(number: number): NameTable | undefined {
  let table = tables.get(number);
  for (let hops = 0; table !== undefined && table.successor !== 0 && hops < RETIRED_MAX; hops++)
    table = tables.get(table.successor);
  return table;
}

/** Keeps a table under a number of its own. */
export function addNames(names: ServerNames<number>): number {
  tables.set(++tableNumber, { names, successor: 0 });
  return tableNumber;
}

/** Sessions of `ctx` go on with the context that the table has for the client's name. */
export function chooseByName(ctx: number, table: number): void {
  setServerNameCallback(ctx, onServerName, table);
}

/** Handshakes that began under the table choose by `successor` from now on. */
export function replaceNames(table: number, successor: number): void {
  const entry = tables.get(table);
  if (entry !== undefined) entry.successor = successor;
}

/**
 * To be called before the table's contexts are given up. Handshakes that began under them choose by its successor;
 * where there is none, or after many more replacements, they keep the default that they have.
 */
export function retireNames(table: number): void {
  const entry = tables.get(table);
  if (entry === undefined) return;
  entry.names = NO_NAMES;
  if (retired.push(table) > RETIRED_MAX) tables.delete(retired.shift() ?? 0);
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
