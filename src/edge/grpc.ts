/**
 * What clients of gRPC get where the edge answers itself. They look for `grpc-status`, not for HTTP's status: a response of
 * one head that ends the stream ("Trailers-Only" in gRPC's PROTOCOL-HTTP2.md).
 */

import { asciiBytes, equalsIgnoreCase } from '../base/bytes.ts';
import { E_RESPONSE_TIMEOUT, faultOf } from '../http/fault.ts';
import { F_CONTENT_TYPE } from '../http/fields.ts';
import { BODY_NONE } from '../http/message.ts';
import { reasonPhrase } from '../http/status.ts';
import type { Exchange } from './exchange.ts';

const GRPC = 'application/grpc';
const GRPC_BYTES = asciiBytes(GRPC);
const PLUS = 0x2b;
const SEMICOLON = 0x3b;
const SPACE = 0x20;
const HTTP2 = 20;

// gRPC's status codes (statuscodes.md).
const UNKNOWN = 2;
const DEADLINE_EXCEEDED = 4;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;

/** Whether a request is a call of gRPC: over HTTP/2, with `application/grpc` and perhaps `+` or a parameter. gRPC-Web is none. */
export function isGrpcCall(exchange: Exchange): boolean {
  const { version, fields } = exchange.request;
  if (version < HTTP2) return false;
  const index = fields.find(F_CONTENT_TYPE, 0);
  if (index < 0) return false;
  const { bytes } = fields;
  const offset = fields.valueOffset(index);
  const length = fields.valueLength(index);
  if (length < GRPC_BYTES.length || !equalsIgnoreCase(bytes, offset, GRPC_BYTES.length, GRPC_BYTES))
    return false;
  if (length === GRPC_BYTES.length) return true;
  const next = bytes[offset + GRPC_BYTES.length];
  return next === PLUS || next === SEMICOLON || next === SPACE;
}

/**
 * gRPC's status for a fault: as its clients would translate HTTP's (http-grpc-status-mapping.md), but for what that calls
 * unknown though gRPC has a word for it. UNAVAILABLE may be tried again, so a backend that had the call and was too slow is
 * not it.
 */
export function grpcStatusOf(code: number): number {
  if (code === E_RESPONSE_TIMEOUT) return DEADLINE_EXCEEDED;
  switch (faultOf(code).status) {
    case 400:
      return INTERNAL;
    case 403:
      return PERMISSION_DENIED;
    case 404:
      return UNIMPLEMENTED;
    case 413:
    case 414:
    case 431:
      return RESOURCE_EXHAUSTED;
    case 429:
    case 502:
    case 503:
    case 504:
      return UNAVAILABLE;
    default:
      return UNKNOWN;
  }
}

/** Answers a call with a fault's status, and ends it. The response has been cleared. */
export function sendGrpcFault(exchange: Exchange, code: number): void {
  const { response } = exchange;
  const { status } = faultOf(code);
  response.status = 200;
  response.bodyKind = BODY_NONE;
  exchange.addResponseField(F_CONTENT_TYPE, '', GRPC);
  exchange.addResponseField(0, 'grpc-status', String(grpcStatusOf(code)));
  // Percent-encoded where it had to be: the phrases are plain ASCII.
  exchange.addResponseField(0, 'grpc-message', `${status} ${reasonPhrase(status)}`);
  exchange.context.addServer(response.fields);
  exchange.sendHead();
  exchange.sendEnd();
}
