/**
 * Who a request comes from, as told to backends: X-Forwarded-For, -Proto, -Host and Forwarded (RFC 7239). What a
 * peer says about itself is replaced, never believed, unless `server.trusted_proxies` names the peer.
 */

import { copyWithin, equalRanges, type Memory, putText } from '../base/bytes.ts';
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

/** Clients whose lines are kept, and bytes for each. */
const KEPT_CLIENTS = 256;
const KEPT_BYTES = 320;

/**
 * The four lines as they were last made for a client: one that asks again asks for the same authority nearly always.
 * They lie in arena memory of the worker, one after another, so that they are copied and written out as one run.
 */
export class ForwardedLines {
  private readonly memory: Memory;
  private readonly for: ConstantPart;
  /** By scheme: CRLF, X-Forwarded-Proto with its value, CRLF, the name of X-Forwarded-Host. */
  private readonly protoHost: readonly ConstantPart[];
  /** CRLF and Forwarded up to where `for`'s value begins. */
  private readonly forwarded: ConstantPart;
  private readonly host: ConstantPart;
  /** By scheme: the end of Forwarded, and CRLF. */
  private readonly proto: readonly ConstantPart[];
  /** By place: where its bytes are, whose lines they hold ('': nobody's), for which scheme, and how long they are. */
  private readonly places: Int32Array;
  private readonly texts: string[];
  private readonly schemes: Uint8Array;
  private readonly lengths: Int32Array;

  constructor(constants: ConstantBytes) {
    const part = (text: string): ConstantPart => ({ offset: constants.put(text), length: text.length });
    const schemes = ['http', 'https'];
    this.memory = constants.pool;
    this.for = part('X-Forwarded-For: ');
    this.protoHost = schemes.map((scheme) => part(`\r\nX-Forwarded-Proto: ${scheme}\r\nX-Forwarded-Host: `));
    this.forwarded = part('\r\nForwarded: for=');
    this.host = part(';host="');
    this.proto = schemes.map((scheme) => part(`";proto=${scheme}\r\n`));
    this.places = Int32Array.from({ length: KEPT_CLIENTS }, () => constants.reserve(KEPT_BYTES));
    this.texts = new Array<string>(KEPT_CLIENTS).fill('');
    this.schemes = new Uint8Array(KEPT_CLIENTS);
    this.lengths = new Int32Array(KEPT_CLIENTS);
  }

  /** Arena offset of the address of a client whose lines are at hand, or -1. */
  textOf(client: ClientAddress): number {
    const place = client.hash & (KEPT_CLIENTS - 1);
    return this.texts[place] === client.text ? this.places[place] + this.for.length : -1;
  }

  /** Adds the lines to the request of an exchange. False: no room in the section, or no memory. */
  add(exchange: Exchange, peer: ClientAddress, scheme: number): boolean {
    const { request, scratch } = exchange;
    const { memory } = this;
    const { fields, authorityOffset, authorityLength } = request;
    const { text, node } = peer;
    const protoHost = this.protoHost[scheme];
    const proto = this.proto[scheme];
    const hostAt = this.for.length + text.length + protoHost.length;
    const nodeAt = hostAt + authorityLength + this.forwarded.length;
    const length = nodeAt + node.length + this.host.length + authorityLength + proto.length;
    const start = scratch.reserve(length);
    if (start < 0) return false;
    const place = peer.hash & (KEPT_CLIENTS - 1);
    const kept = this.places[place];
    const isKept =
      this.texts[place] === text &&
      this.lengths[place] === length &&
      this.schemes[place] === scheme &&
      equalRanges(memory, kept + hostAt, authorityOffset, authorityLength);
    if (isKept) copyWithin(memory, start, kept, length);
    else {
      this.write(start, peer, scheme, authorityOffset, authorityLength);
      if (length <= KEPT_BYTES) {
        copyWithin(memory, kept, start, length);
        this.texts[place] = text;
        this.schemes[place] = scheme;
        this.lengths[place] = length;
      }
    }
    scratch.commit(length);

    const forAt = start + this.for.length;
    const protoName = forAt + text.length + 2;
    const protoAt = protoName + PROTO_LENGTH + 2;
    const hostName = start + hostAt - 2 - HOST_LENGTH;
    const forwardedName = start + hostAt + authorityLength + 2;
    const forwardedAt = forwardedName + FORWARDED_LENGTH + 2;
    return (
      fields.add(start, FOR_LENGTH, forAt, text.length, F_X_FORWARDED_FOR) &&
      fields.add(protoName, PROTO_LENGTH, protoAt, hostName - 2 - protoAt, F_X_FORWARDED_PROTO) &&
      fields.add(hostName, HOST_LENGTH, start + hostAt, authorityLength, F_X_FORWARDED_HOST) &&
      fields.add(forwardedName, FORWARDED_LENGTH, forwardedAt, start + length - 2 - forwardedAt, F_FORWARDED)
    );
  }

  private write(
    start: number,
    peer: ClientAddress,
    scheme: number,
    authorityOffset: number,
    authorityLength: number,
  ): void {
    const { memory } = this;
    const { bytes } = memory;
    let at = putPart(memory, start, this.for);
    at = putText(bytes, at, peer.text);
    at = putPart(memory, at, this.protoHost[scheme]);
    copyWithin(memory, at, authorityOffset, authorityLength);
    at = putPart(memory, at + authorityLength, this.forwarded);
    at = putText(bytes, at, peer.node);
    at = putPart(memory, at, this.host);
    copyWithin(memory, at, authorityOffset, authorityLength);
    putPart(memory, at + authorityLength, this.proto[scheme]);
  }
}

interface ConstantPart {
  readonly offset: number;
  readonly length: number;
}

/** Sets the fields on the request of an exchange. False: no room in the section, or no memory. */
export function setForwarded(exchange: Exchange): boolean {
  const stream = exchange.stream;
  const generation = exchange.generation;
  if (stream === null || generation === null) return false;
  const fields = exchange.request.fields;
  const peer = stream.client;
  if (generation.trustsSomeone && generation.trusts(peer)) return extendForwarded(exchange, peer);
  if (fields.hasAnyOf(CLAIM_LOW, CLAIM_HIGH)) removeClaims(fields);
  return exchange.context.forwardedLines.add(exchange, peer, stream.scheme);
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

function putPart(memory: Memory, at: number, part: ConstantPart): number {
  copyWithin(memory, at, part.offset, part.length);
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
