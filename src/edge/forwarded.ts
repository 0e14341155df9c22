/**
 * Who a request comes from, as told to backends: X-Forwarded-For, -Proto, -Host and Forwarded (RFC 7239). What a
 * peer says about itself is replaced, never believed, unless `server.trusted_proxies` names the peer.
 */

import { copyBytes } from '../base/bytes.ts';
import {
  F_FORWARDED,
  F_X_FORWARDED_FOR,
  F_X_FORWARDED_HOST,
  F_X_FORWARDED_PORT,
  F_X_FORWARDED_PROTO,
  F_X_REAL_IP,
  FIELD_NAMES,
  type FieldSection,
} from '../http/fields.ts';
import { SCHEME_HTTPS } from '../http/message.ts';
import { ClientAddress } from './client-address.ts';
import type { Exchange } from './exchange.ts';
import type { Generation } from './generation.ts';
import { FAMILY_NONE, parseAddress } from './ip-list.ts';

const FOR_NAME = FIELD_NAMES[F_X_FORWARDED_FOR];
const PROTO_NAME = FIELD_NAMES[F_X_FORWARDED_PROTO];
const HOST_NAME = FIELD_NAMES[F_X_FORWARDED_HOST];
const FORWARDED_NAME = FIELD_NAMES[F_FORWARDED];

/** Bytes of the four lines beside address and authority: names, separators, parameters, quotes, `https` twice. */
const LINES_BYTES = 160;

/** Sets the fields on the request of an exchange. False: no room in the section, or no memory. */
export function setForwarded(exchange: Exchange): boolean {
  const stream = exchange.stream;
  const generation = exchange.generation;
  if (stream === null || generation === null) return false;
  const fields = exchange.request.fields;
  const peer = stream.client;
  if (generation.trustsSomeone && generation.trusts(peer)) return extendForwarded(exchange, peer);
  fields.removeAll(F_X_FORWARDED_FOR);
  fields.removeAll(F_X_FORWARDED_PROTO);
  fields.removeAll(F_X_FORWARDED_HOST);
  fields.removeAll(F_X_FORWARDED_PORT);
  fields.removeAll(F_X_REAL_IP);
  fields.removeAll(F_FORWARDED);
  return addLines(exchange, peer.text, stream.scheme === SCHEME_HTTPS ? 'https' : 'http');
}

/** The four lines one after another in scratch memory, so that they are written out as one run. */
function addLines(exchange: Exchange, address: string, scheme: string): boolean {
  const { request, scratch, reactor } = exchange;
  const { bytes, text } = reactor.pool;
  const { fields, authorityOffset, authorityLength } = request;
  let at = scratch.reserve(LINES_BYTES + 2 * address.length + 2 * authorityLength);
  if (at < 0) return false;
  const start = at;

  let value = scratch.endName(at + text.latin1Write(FOR_NAME, at, FOR_NAME.length));
  let end = value + text.latin1Write(address, value, address.length);
  if (!fields.add(at, FOR_NAME.length, value, end - value, F_X_FORWARDED_FOR)) return false;

  at = scratch.endLine(end);
  value = scratch.endName(at + text.latin1Write(PROTO_NAME, at, PROTO_NAME.length));
  end = value + text.latin1Write(scheme, value, scheme.length);
  if (!fields.add(at, PROTO_NAME.length, value, end - value, F_X_FORWARDED_PROTO)) return false;

  at = scratch.endLine(end);
  value = scratch.endName(at + text.latin1Write(HOST_NAME, at, HOST_NAME.length));
  copyBytes(bytes, value, authorityOffset, authorityLength);
  end = value + authorityLength;
  if (!fields.add(at, HOST_NAME.length, value, end - value, F_X_FORWARDED_HOST)) return false;

  at = scratch.endLine(end);
  value = scratch.endName(at + text.latin1Write(FORWARDED_NAME, at, FORWARDED_NAME.length));
  end = value + writeElement(exchange, value, address, scheme);
  if (!fields.add(at, FORWARDED_NAME.length, value, end - value, F_FORWARDED)) return false;
  scratch.commit(scratch.endLine(end) - start);
  return true;
}

/** One element of Forwarded: `for=192.0.2.1;host="example.com";proto=http`. Returns its length. */
function writeElement(exchange: Exchange, at: number, address: string, scheme: string): number {
  const { request, reactor } = exchange;
  const { bytes, text } = reactor.pool;
  const node =
    address === 'unix' ? 'for=unknown' : address.includes(':') ? `for="[${address}]"` : `for=${address}`;
  let end = at + text.latin1Write(node, at, node.length);
  end += text.latin1Write(';host="', end, 7);
  copyBytes(bytes, end, request.authorityOffset, request.authorityLength);
  end += request.authorityLength;
  const proto = scheme === 'https' ? '";proto=https' : '";proto=http';
  end += text.latin1Write(proto, end, proto.length);
  return end - at;
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
  const node = peer.text === 'unix' ? 'unknown' : peer.text.includes(':') ? `"[${peer.text}]"` : peer.text;
  fields.removeAll(F_X_FORWARDED_FOR);
  fields.removeAll(F_FORWARDED);
  let fits = scratch.addField(fields, F_X_FORWARDED_FOR, '', joined(forwardedFor, peer.text));
  if (fields.find(F_X_FORWARDED_PROTO, 0) < 0)
    fits &&= scratch.addField(fields, F_X_FORWARDED_PROTO, '', scheme);
  if (fields.find(F_X_FORWARDED_HOST, 0) < 0)
    fits &&= scratch.addField(fields, F_X_FORWARDED_HOST, '', authority);
  const element = `for=${node};host="${authority}";proto=${scheme}`;
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
