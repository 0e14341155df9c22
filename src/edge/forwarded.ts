/**
 * Who a request comes from, as told to backends: X-Forwarded-For, -Proto, -Host and Forwarded (RFC 7239). What a
 * peer says about itself is replaced, never believed, unless `server.trusted_proxies` names the peer.
 */

import { copyBytes, putText } from '../base/bytes.ts';
import {
  F_CLIENT_CERT,
  F_CLIENT_CERT_CHAIN,
  F_FORWARDED,
  F_X_FORWARDED_FOR,
  F_X_FORWARDED_HOST,
  F_X_FORWARDED_PORT,
  F_X_FORWARDED_PROTO,
  F_X_REAL_IP,
  FIELD_NAMES,
  type FieldSection,
  idSet,
} from '../http/fields.ts';
import { SCHEME_HTTPS } from '../http/message.ts';
import { ClientAddress } from './client-address.ts';
import type { Exchange } from './exchange.ts';
import type { Generation } from './generation.ts';
import type { ConstantBytes } from './header-rules.ts';
import { FAMILY_NONE, parseAddress } from './ip-list.ts';

/** Fields by which a client might pretend to be another. */
const [CLAIM_LOW, CLAIM_HIGH] = idSet([
  F_X_FORWARDED_FOR,
  F_X_FORWARDED_PROTO,
  F_X_FORWARDED_HOST,
  F_X_FORWARDED_PORT,
  F_X_REAL_IP,
  F_FORWARDED,
]);

const FOR_LENGTH = FIELD_NAMES[F_X_FORWARDED_FOR].length;
const PROTO_LENGTH = FIELD_NAMES[F_X_FORWARDED_PROTO].length;
const HOST_LENGTH = FIELD_NAMES[F_X_FORWARDED_HOST].length;
const FORWARDED_LENGTH = FIELD_NAMES[F_FORWARDED].length;

/** The unchanging parts of the four lines, in arena memory of the worker; the address and the authority go between. */
export class ForwardedParts {
  readonly for: ConstantPart;
  /** By scheme: CRLF, X-Forwarded-Proto with its value, CRLF, the name of X-Forwarded-Host. */
  readonly protoHost: readonly ConstantPart[];
  /** CRLF and Forwarded up to where `for`'s value begins. */
  readonly forwarded: ConstantPart;
  readonly host: ConstantPart;
  /** By scheme: the end of Forwarded, and CRLF. */
  readonly proto: readonly ConstantPart[];

  constructor(constants: ConstantBytes) {
    const part = (text: string): ConstantPart => ({ offset: constants.put(text), length: text.length });
    const schemes = ['http', 'https'];
    this.for = part('X-Forwarded-For: ');
    this.protoHost = schemes.map((scheme) => part(`\r\nX-Forwarded-Proto: ${scheme}\r\nX-Forwarded-Host: `));
    this.forwarded = part('\r\nForwarded: for=');
    this.host = part(';host="');
    this.proto = schemes.map((scheme) => part(`";proto=${scheme}\r\n`));
  }
}

interface ConstantPart {
  readonly offset: number;
  readonly length: number;
}

/** Bytes of the four lines beside address and authority, at most. */
const LINES_BYTES = 160;

/** Sets the fields on the request of an exchange. False: no room in the section, or no memory. */
export function setForwarded(exchange: Exchange): boolean {
  const stream = exchange.stream;
  const generation = exchange.generation;
  if (stream === null || generation === null) return false;
  const fields = exchange.request.fields;
  const peer = stream.client;
  if (generation.trustsSomeone && generation.trusts(peer)) return extendForwarded(exchange, peer);
  if (fields.hasAnyOf(CLAIM_LOW, CLAIM_HIGH)) removeClaims(fields);
  return addLines(exchange, peer, stream.scheme, exchange.context.forwardedParts);
}

/**
 * Tells who the client is by its certificate (RFC 9440), in Client-Cert and Client-Cert-Chain. To be called after all
 * rules: whatever else says so goes. False: no room in the section, or no memory.
 */
export function setClientIdentity(exchange: Exchange): boolean {
  const stream = exchange.stream;
  const generation = exchange.generation;
  if (stream === null || generation === null) return false;
  const identity = stream.client.identity;
  // The connection may be older than the configuration, and its listener too.
  if (identity === null && !generation.verifiesClients) return true;
  const fields = exchange.request.fields;
  const scratch = exchange.scratch;
  fields.removeAll(F_CLIENT_CERT);
  fields.removeAll(F_CLIENT_CERT_CHAIN);
  if (identity === null || identity.certificate === '') return true;
  if (!scratch.addField(fields, F_CLIENT_CERT, '', identity.certificate)) return false;
  return identity.chain === '' || scratch.addField(fields, F_CLIENT_CERT_CHAIN, '', identity.chain);
}

function removeClaims(fields: FieldSection): void {
  fields.removeAll(F_X_FORWARDED_FOR);
  fields.removeAll(F_X_FORWARDED_PROTO);
  fields.removeAll(F_X_FORWARDED_HOST);
  fields.removeAll(F_X_FORWARDED_PORT);
  fields.removeAll(F_X_REAL_IP);
  fields.removeAll(F_FORWARDED);
}

/** The four lines one after another in scratch memory, so that they are written out as one run. */
function addLines(exchange: Exchange, peer: ClientAddress, scheme: number, parts: ForwardedParts): boolean {
  const { request, scratch } = exchange;
  const { bytes } = exchange.reactor.pool;
  const { fields, authorityOffset, authorityLength } = request;
  const start = scratch.reserve(LINES_BYTES + 2 * peer.text.length + 2 * authorityLength);
  if (start < 0) return false;
  const protoHost = parts.protoHost[scheme];

  const forValue = putPart(bytes, start, parts.for);
  const forEnd = putText(bytes, forValue, peer.text);
  const hostValue = putPart(bytes, forEnd, protoHost);
  copyBytes(bytes, hostValue, authorityOffset, authorityLength);
  const hostEnd = hostValue + authorityLength;
  let at = putPart(bytes, hostEnd, parts.forwarded);
  at = putText(bytes, at, peer.node);
  at = putPart(bytes, at, parts.host);
  copyBytes(bytes, at, authorityOffset, authorityLength);
  const lineEnd = putPart(bytes, at + authorityLength, parts.proto[scheme]);
  scratch.commit(lineEnd - start);

  const protoName = forEnd + 2;
  const protoValue = protoName + PROTO_LENGTH + 2;
  const hostName = hostValue - 2 - HOST_LENGTH;
  const forwardedName = hostEnd + 2;
  const forwardedValue = forwardedName + FORWARDED_LENGTH + 2;
  return (
    fields.add(start, FOR_LENGTH, forValue, forEnd - forValue, F_X_FORWARDED_FOR) &&
    fields.add(protoName, PROTO_LENGTH, protoValue, hostName - 2 - protoValue, F_X_FORWARDED_PROTO) &&
    fields.add(hostName, HOST_LENGTH, hostValue, authorityLength, F_X_FORWARDED_HOST) &&
    fields.add(forwardedName, FORWARDED_LENGTH, forwardedValue, lineEnd - 2 - forwardedValue, F_FORWARDED)
  );
}

function putPart(bytes: Uint8Array, at: number, part: ConstantPart): number {
  copyBytes(bytes, at, part.offset, part.length);
  return at + part.length;
}

/** The peer is a proxy that we trust: its fields stay, and it is appended to the lists. Allocates. */
function extendForwarded(exchange: Exchange, peer: ClientAddress): boolean {
  const { request, scratch, stream } = exchange;
  const fields = request.fields;
  const scheme = stream !== null && stream.scheme === SCHEME_HTTPS ? 'https' : 'http';
  const authority = exchange.reactor.pool.text.latin1Slice(
    request.authorityOffset,
    request.authorityOffset + request.authorityLength,
  );
  const forwardedFor = listOf(fields, F_X_FORWARDED_FOR);
  const forwarded = listOf(fields, F_FORWARDED);
  fields.removeAll(F_X_FORWARDED_FOR);
  fields.removeAll(F_FORWARDED);
  let fits = scratch.addField(fields, F_X_FORWARDED_FOR, '', joined(forwardedFor, peer.text));
  if (fields.find(F_X_FORWARDED_PROTO, 0) < 0)
    fits &&= scratch.addField(fields, F_X_FORWARDED_PROTO, '', scheme);
  if (fields.find(F_X_FORWARDED_HOST, 0) < 0)
    fits &&= scratch.addField(fields, F_X_FORWARDED_HOST, '', authority);
  const element = `for=${peer.node};host="${authority}";proto=${scheme}`;
  fits &&= scratch.addField(fields, F_FORWARDED, '', joined(forwarded, element));
  return fits;
}

function joined(list: string, element: string): string {
  return list === '' ? element : `${list}, ${element}`;
}

/** All values of a list field, joined. */
function listOf(fields: FieldSection, id: number): string {
  let list = '';
  for (let index = fields.find(id, 0); index >= 0; index = fields.find(id, index + 1)) {
    list = joined(list, fields.valueText(index));
  }
  return list;
}

/**
 * Whose request it is: behind trusted proxies the last address of X-Forwarded-For that is not itself a trusted
 * proxy's; otherwise the peer's.
 */
export function effectiveClient(
  generation: Generation,
  peer: ClientAddress,
  fields: FieldSection,
): ClientAddress {
  if (!generation.trusts(peer)) return peer;
  const hops = listOf(fields, F_X_FORWARDED_FOR).split(',');
  let client = peer;
  for (let index = hops.length - 1; index >= 0; index--) {
    const text = hops[index].trim();
    if (parseAddress(text).family === FAMILY_NONE) return client;
    client = new ClientAddress(text, 0);
    if (!generation.trusts(client)) return client;
  }
  return client;
}
