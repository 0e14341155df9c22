/** Heads of requests as the edge writes them to HTTP/1.1 backends. */

import { ConstantText } from '../base/bytes.ts';
import { F_HOST } from '../http/fields.ts';
import { BODY_STREAM } from '../http/message.ts';
import {
  writeByte,
  writeConstant,
  writeFields,
  writeLineEnd,
  writeMethod,
  writeRange,
  writeVersion,
} from '../http1/writer.ts';
import type { Exchange } from './exchange.ts';
import type { MessageOut } from './message-out.ts';
import type { ProxyRoute } from './proxy-route.ts';
import type { GroupServer } from './upstream-group.ts';

const SLASH = 0x2f;
const QUESTION = 0x3f;
const HOST_START = new ConstantText('Host: ');
const CHUNKED = new ConstantText('Transfer-Encoding: chunked\r\n');
const UPGRADE = new ConstantText('Connection: upgrade\r\n');
const TRAILERS = new ConstantText('Connection: TE\r\nTE: trailers\r\n');

/** Writes the head of an exchange's request, in the open buffer. False: memory is exhausted. */
export function writeRequestHead(
  out: MessageOut,
  exchange: Exchange,
  route: ProxyRoute,
  server: GroupServer,
  upgrade: boolean,
): boolean {
  if (!out.openIn(exchange.scratch)) return false;
  let at = requestHead(out, exchange, route, server, upgrade);
  if (at < 0) {
    if (!out.reopenLarge()) return false;
    at = requestHead(out, exchange, route, server, upgrade);
    if (at < 0) return false;
  }
  out.at = at;
  return true;
}

function requestHead(
  out: MessageOut,
  exchange: Exchange,
  route: ProxyRoute,
  server: GroupServer,
  upgrade: boolean,
): number {
  const { request } = exchange;
  const { bytes } = exchange.reactor.pool;
  const { limit } = out;
  let at = writeMethod(bytes, out.at, limit, request);
  at = writeTarget(bytes, at, limit, exchange, server);
  at = writeVersion(bytes, at, limit);
  const host = route.hostValue(server);
  at = writeConstant(bytes, at, limit, HOST_START);
  if (host === null) at = writeRange(bytes, at, limit, request.authorityOffset, request.authorityLength);
  else at = writeConstant(bytes, at, limit, host);
  at = writeLineEnd(bytes, at, limit);
  request.fields.removeAll(F_HOST);
  at = writeFields(bytes, at, limit, request.fields);
  if (request.bodyKind === BODY_STREAM) at = writeConstant(bytes, at, limit, CHUNKED);
  if (upgrade) at = writeConstant(bytes, at, limit, UPGRADE);
  else if (request.acceptsTrailers) at = writeConstant(bytes, at, limit, TRAILERS);
  return writeLineEnd(bytes, at, limit);
}

/**
 * The base path, what is left of the path after the route's prefix, joined with exactly one slash, and the query.
 * Where nothing is left (`/api` itself) the base path stands as it was written.
 */
export function writeTarget(
  bytes: Uint8Array,
  from: number,
  limit: number,
  exchange: Exchange,
  server: GroupServer,
): number {
  let rest = exchange.pathOffset + exchange.prefixLength;
  let restLength = exchange.pathLength - exchange.prefixLength;
  const slash = restLength > 0 ? bytes[rest] === SLASH : server.baseEndsInSlash;
  if (slash && restLength > 0) {
    rest++;
    restLength--;
  }
  let at = writeConstant(bytes, from, limit, server.basePath);
  if (slash) at = writeByte(bytes, at, limit, SLASH);
  at = writeRange(bytes, at, limit, rest, restLength);
  const { queryOffset, queryLength } = exchange.request;
  if (queryOffset < 0) return at;
  at = writeByte(bytes, at, limit, QUESTION);
  return writeRange(bytes, at, limit, queryOffset, queryLength);
}
