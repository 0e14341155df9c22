/**
 * The status page: what a listener of its own answers, on an address that only this machine reaches. It asks nobody for
 * a password, so a browser must not be led to it by another site: the host that a request names must be this machine's
 * (or anything on a Unix socket, which no browser reaches), and no other origin may read what it says.
 */

import { hostLengthOf, isIpv4 } from '../http/authority.ts';
import { E_NO_HOST, E_NOT_FOUND, E_OVERLOAD } from '../http/fault.ts';
import { F_ALLOW, F_CACHE_CONTROL, F_CONTENT_TYPE } from '../http/fields.ts';
import { BODY_LENGTH, BODY_NONE, M_GET, M_HEAD } from '../http/message.ts';
import { MEDIUM, MEDIUM_BYTES, NO_BUFFER } from '../io/buffer-pool.ts';
import type { Exchange } from './exchange.ts';
import type { Responder } from './responder.ts';
import type { RouteAction } from './route.ts';
import type { StatusDocument } from './status-data.ts';
import { STATUS_PAGE, STATUS_POLICY } from './status-page.ts';

const METHODS = 'GET, HEAD';
const PAGE = Buffer.from(STATUS_PAGE, 'utf8');
const HTML_TYPE = 'text/html; charset=utf-8';
const JSON_TYPE = 'application/json';

/** Fields of every answer. */
const FIELDS: readonly (readonly [string, string])[] = [
  ['Content-Security-Policy', STATUS_POLICY],
  ['X-Content-Type-Options', 'nosniff'],
  ['Referrer-Policy', 'no-referrer'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
  ['Cross-Origin-Opener-Policy', 'same-origin'],
];

export class StatusRoute implements RouteAction {
  readonly methods = METHODS;
  readonly isQuiet = true;
  private readonly look: () => StatusDocument | null;

  /** `look`: the document as of now; null: nothing is counted yet. */
  constructor(look: () => StatusDocument | null) {
    this.look = look;
  }

  /** Answers at once, so that nobody is left to be told of anything. */
  respond(exchange: Exchange): Responder | null {
    const { request } = exchange;
    const { pool } = exchange.reactor;
    if (!isForThisMachine(exchange)) {
      exchange.fail(E_NO_HOST);
      return null;
    }
    if (request.methodId !== M_GET && request.methodId !== M_HEAD) {
      refuseMethod(exchange);
      return null;
    }
    const path = pool.text.latin1Slice(request.pathOffset, request.pathOffset + request.pathLength);
    if (path === '/') send(exchange, HTML_TYPE, PAGE);
    else if (path === '/status.json') this.sendDocument(exchange);
    else exchange.fail(E_NOT_FOUND);
    return null;
  }

  private sendDocument(exchange: Exchange): void {
    const document = this.look();
    if (document === null) exchange.fail(E_OVERLOAD);
    else send(exchange, JSON_TYPE, Buffer.from(JSON.stringify(document), 'utf8'));
  }

  close(): void {}
}

/** The peer is on a Unix socket, or the request's host is localhost, a name beneath it, or a loopback address. */
function isForThisMachine(exchange: Exchange): boolean {
  if (exchange.stream?.client.words === null) return true;
  const { authorityOffset, authorityLength } = exchange.request;
  const { bytes, text } = exchange.reactor.pool;
  const length = hostLengthOf(bytes, authorityOffset, authorityLength);
  if (length <= 0) return false;
  const end = authorityOffset + length;
  const host = text.latin1Slice(authorityOffset, end).toLowerCase();
  if (host === 'localhost' || host.endsWith('.localhost') || host === '[::1]') return true;
  return host.startsWith('127.') && isIpv4(bytes, authorityOffset, end);
}

function addFields(exchange: Exchange): void {
  for (const [name, value] of FIELDS) exchange.addResponseField(0, name, value);
  exchange.addResponseField(F_CACHE_CONTROL, '', 'no-store');
}

function refuseMethod(exchange: Exchange): void {
  const { response } = exchange;
  response.status = 405;
  response.bodyKind = BODY_NONE;
  response.contentLength = 0;
  addFields(exchange);
  exchange.addResponseField(F_ALLOW, '', METHODS);
  exchange.sendHead();
  exchange.sendEnd();
}

/** All of it at once: it is small, and its reader is on this machine. */
function send(exchange: Exchange, type: string, content: Buffer): void {
  const { response } = exchange;
  const { pool } = exchange.reactor;
  response.status = 200;
  response.bodyKind = BODY_LENGTH;
  response.contentLength = content.length;
  addFields(exchange);
  exchange.addResponseField(F_CONTENT_TYPE, '', type);
  exchange.sendHead();
  for (let from = 0; exchange.hasContent && from < content.length; from += MEDIUM_BYTES) {
    const buffer = pool.acquire(MEDIUM);
    if (buffer === NO_BUFFER) {
      exchange.fail(E_OVERLOAD);
      return;
    }
    const offset = pool.offsetOf(buffer);
    exchange.sendData(buffer, offset, content.copy(pool.bytes, offset, from, from + MEDIUM_BYTES));
  }
  exchange.sendEnd();
}
