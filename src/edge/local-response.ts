/** Answers that the edge makes itself: faults, and `OPTIONS *`. */

import { E_METHOD_REFUSED, E_NO_HEALTHY_SERVER, E_OVERLOAD, E_SHUTDOWN, faultOf } from '../http/fault.ts';
import { F_ALLOW, F_CONTENT_TYPE, F_RETRY_AFTER } from '../http/fields.ts';
import { BODY_LENGTH, BODY_NONE, METHOD_NAMES } from '../http/message.ts';
import { reasonPhrase } from '../http/status.ts';
import { NO_BUFFER, SMALL } from '../io/buffer-pool.ts';
import type { Exchange } from './exchange.ts';
import { isGrpcCall, sendGrpcFault } from './grpc.ts';

/** Content that a client had announced is still read up to this much, so that its connection stays of use. */
const DRAIN_BYTES_MAX = 65536;
/** Retry-After of answers that say 503. */
const RETRY_AFTER_SECS = 5;

/** Methods that the edge itself knows, but for those it refuses. */
const METHODS = METHOD_NAMES.filter((name) => name !== '' && name !== 'CONNECT' && name !== 'TRACE').join(
  ', ',
);

/** Answers an exchange with a fault's status, in plain text (or as gRPC wants it), and ends it. */
export function sendFault(exchange: Exchange, code: number): void {
  const status = faultOf(code).status;
  const response = exchange.response;
  response.clear();
  if (isGrpcCall(exchange)) {
    sendGrpcFault(exchange, code);
    return;
  }
  response.status = status;
  if (status === 405) exchange.addResponseField(F_ALLOW, '', allowedMethods(exchange, code));
  if (
    exchange.retryAfterSecs === 0 &&
    (code === E_NO_HEALTHY_SERVER || code === E_OVERLOAD || code === E_SHUTDOWN)
  ) {
    exchange.retryAfterSecs = RETRY_AFTER_SECS;
  }
  if (exchange.retryAfterSecs > 0)
    exchange.addResponseField(F_RETRY_AFTER, '', String(exchange.retryAfterSecs));
  const left = exchange.requestBytesLeft();
  // After a malformed request nothing is where it should be; other content is drained if it is not much.
  if (status === 400 || left < 0 || left > DRAIN_BYTES_MAX) exchange.stream?.closeAfterResponse();
  sendText(exchange, `${status} ${reasonPhrase(status)}\n`);
}

function allowedMethods(exchange: Exchange, code: number): string {
  const methods = exchange.route?.security.allowedMethods ?? null;
  if (code === E_METHOD_REFUSED || methods === null) return exchange.route?.action.methods ?? METHODS;
  return methods.join(', ');
}

function sendText(exchange: Exchange, text: string): void {
  const pool = exchange.reactor.pool;
  const response = exchange.response;
  exchange.addResponseField(F_CONTENT_TYPE, '', 'text/plain; charset=utf-8');
  exchange.context.addServer(response.fields);
  const buffer = pool.acquire(SMALL);
  response.bodyKind = buffer === NO_BUFFER ? BODY_NONE : BODY_LENGTH;
  response.contentLength = buffer === NO_BUFFER ? 0 : text.length;
  exchange.sendHead();
  if (buffer !== NO_BUFFER) {
    if (exchange.hasContent) {
      const offset = pool.offsetOf(buffer);
      pool.text.latin1Write(text, offset, text.length);
      exchange.sendData(buffer, offset, text.length);
    } else {
      pool.release(buffer);
    }
  }
  exchange.sendEnd();
}

/** `OPTIONS *` asks about the server as a whole (RFC 9110 §9.3.7). */
export function sendAsteriskOptions(exchange: Exchange): void {
  const response = exchange.response;
  response.clear();
  response.status = 204;
  response.bodyKind = BODY_NONE;
  exchange.addResponseField(F_ALLOW, '', METHODS);
  exchange.sendHead();
  exchange.sendEnd();
}
