/** Heads of requests as the edge writes them to HTTP/1.1 backends. */

import { ConstantText, type Memory } from '../base/bytes.ts';
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
  const memory = exchange.reactor.pool;
  const { limit } = out;
  let at = writeMethod(memory, out.at, limit, request);
  at = writeTarget(memory, at, limit, exchange, server);
  at = writeVersion(memory, at, limit);
  const host = route.hostValue(server);
  at = writeConstant(memory, at, limit, HOST_START);
  if (host === null) at = writeRange(memory, at, limit, request.authorityOffset, request.authorityLength);
  else at = writeConstant(memory, at, limit, host);
  at = writeLineEnd(memory, at, limit);
  request.fields.removeAll(F_HOST);
  at = writeFields(memory, at, limit, request.fields);
  if (request.bodyKind === BODY_STREAM) at = writeConstant(memory, at, limit, CHUNKED);
  if (upgrade) at = writeConstant(memory, at, limit, UPGRADE);
  else if (request.acceptsTrailers) at = writeConstant(memory, at, limit, TRAILERS);
  return writeLineEnd(memory, at, limit);
}

/**
 * The base path, what is left of the path after the route's prefix, joined with exactly one slash, and the query.
 * Where nothing is left (`/api` itself) the base path stands as it was written.
 */
export function writeTarget(
  memory: Memory,
  from: number,
  limit: number,
  exchange: Exchange,
  server: GroupServer,
): number {
  let rest = exchange.pathOffset + exchange.prefixLength;
  let restLength = exchange.pathLength - exchange.prefixLength;
  const slash = restLength > 0 ? memory.bytes[rest] === SLASH : server.baseEndsInSlash;
  if (slash && restLength > 0) {
    rest++;
    restLength--;
  }
  let at = writeConstant(memory, from, limit, server.basePath);
  if (slash) at = writeByte(memory, at, limit, SLASH);
  at = writeRange(memory, at, limit, rest, restLength);
  const { queryOffset, queryLength } = exchange.request;
  if (queryOffset < 0) return at;
  at = writeByte(memory, at, limit, QUESTION);
  return writeRange(memory, at, limit, queryOffset, queryLength);
}
