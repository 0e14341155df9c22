/**
 * Heads of requests and responses as every HTTP version delivers them to an exchange (RFC 9110 §6).
 * Positions count in `fields.bytes`. Objects are pooled and reused: `clear()` before each use.
 */

import { asciiBytes, equalsBytes } from '../base/bytes.ts';
import { FieldSection } from './fields.ts';

/** Methods by id; M_OTHER is any other token (its bytes are in the head). */
export const M_OTHER = 0;
export const M_GET = 1;
export const M_HEAD = 2;
export const M_POST = 3;
export const M_PUT = 4;
export const M_DELETE = 5;
export const M_CONNECT = 6;
export const M_OPTIONS = 7;
export const M_TRACE = 8;
export const M_PATCH = 9;
export const METHOD_NAMES: readonly string[] = [
  '',
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
  'PATCH',
];

/** Longest method token. Registered ones have 17 bytes at most (UPDATEREDIRECTREF); our own choice. */
export const METHOD_BYTES_MAX = 32;

const METHOD_BYTES: readonly Uint8Array[] = METHOD_NAMES.map(asciiBytes);

/** The id of a method token, whose case counts (RFC 9110 §9.1). */
export function methodIdOf(bytes: Uint8Array, offset: number, length: number): number {
  for (let id = M_OTHER + 1; id < METHOD_BYTES.length; id++) {
    if (equalsBytes(bytes, offset, length, METHOD_BYTES[id])) return id;
  }
  return M_OTHER;
}

/** Idempotent methods (RFC 9110 §9.2.2): GET, HEAD, PUT, DELETE, OPTIONS, TRACE. */
export function isIdempotent(methodId: number): boolean {
  return (
    methodId === M_GET ||
    methodId === M_HEAD ||
    methodId === M_PUT ||
    methodId === M_DELETE ||
    methodId === M_OPTIONS ||
    methodId === M_TRACE
  );
}

/** Forms of a request target (RFC 9112 §3.2). */
export const TARGET_ORIGIN = 0;
export const TARGET_ABSOLUTE = 1;
export const TARGET_AUTHORITY = 2;
export const TARGET_ASTERISK = 3;

export const SCHEME_HTTP = 0;
export const SCHEME_HTTPS = 1;

/** How content ends, as its sender declared it. */
export const BODY_NONE = 0;
/** Exactly `contentLength` bytes. */
export const BODY_LENGTH = 1;
/** Until the protocol's own end mark (last chunk, END_STREAM); trailers may follow. */
export const BODY_STREAM = 2;
/** Responses of HTTP/1.x only: until the connection's end. */
export const BODY_UNTIL_CLOSE = 3;

/** No Content-Length is known. */
export const LENGTH_UNKNOWN = -1;

export class RequestHead {
  readonly fields: FieldSection;
  methodId: number;
  methodOffset: number;
  methodLength: number;
  targetForm: number;
  /** Absolute-form only: SCHEME_HTTP or SCHEME_HTTPS of the target. */
  scheme: number;
  /**
   * The path as received, before normalisation, without the query; length 0 for TARGET_ASTERISK and
   * TARGET_AUTHORITY, at least 1 otherwise (an absolute-form target without a path has the path `/`).
   */
  pathOffset: number;
  pathLength: number;
  /** The query without its `?`; offset -1 when there is none (an empty query has length 0). */
  queryOffset: number;
  queryLength: number;
  /** Host (and port) that the request is for: from Host, or an absolute-form target, or :authority. Validated. Length 0: an empty one. */
  authorityOffset: number;
  authorityLength: number;
  /** 10, 11, 20, 30. */
  version: number;
  /** BODY_NONE, BODY_LENGTH or BODY_STREAM. */
  bodyKind: number;
  /** Bytes declared, or LENGTH_UNKNOWN. */
  contentLength: number;
  /** The client waits for a 100 before it sends content. */
  expectContinue: boolean;
  /** Index of the Upgrade field when the request asks for an upgrade (with Connection: upgrade, HTTP/1.1), else -1. */
  upgradeIndex: number;
  /** The client said `TE: trailers`: it wants the trailers of the response (RFC 9110 §10.1.4). */
  acceptsTrailers: boolean;
  /** Bytes of the head as received (request line and field section), for limits. */
  headBytes: number;

  constructor(bytes: Uint8Array) {
    this.fields = new FieldSection(bytes);
    this.methodId = M_OTHER;
    this.methodOffset = 0;
    this.methodLength = 0;
    this.targetForm = TARGET_ORIGIN;
    this.scheme = SCHEME_HTTP;
    this.pathOffset = 0;
    this.pathLength = 0;
    this.queryOffset = -1;
    this.queryLength = 0;
    this.authorityOffset = 0;
    this.authorityLength = 0;
    this.version = 11;
    this.bodyKind = BODY_NONE;
    this.contentLength = LENGTH_UNKNOWN;
    this.expectContinue = false;
    this.upgradeIndex = -1;
    this.acceptsTrailers = false;
    this.headBytes = 0;
  }

  clear(): void {
    this.fields.clear();
    this.methodId = M_OTHER;
    this.methodOffset = 0;
    this.methodLength = 0;
    this.targetForm = TARGET_ORIGIN;
    this.scheme = SCHEME_HTTP;
    this.pathOffset = 0;
    this.pathLength = 0;
    this.queryOffset = -1;
    this.queryLength = 0;
    this.authorityOffset = 0;
    this.authorityLength = 0;
    this.version = 11;
    this.bodyKind = BODY_NONE;
    this.contentLength = LENGTH_UNKNOWN;
    this.expectContinue = false;
    this.upgradeIndex = -1;
    this.acceptsTrailers = false;
    this.headBytes = 0;
  }

  /** All that was parsed so far moved by `delta` bytes (the head grew into another buffer). */
  rebase(delta: number): void {
    this.fields.rebase(delta);
    this.methodOffset += delta;
    this.pathOffset += delta;
    if (this.queryOffset >= 0) this.queryOffset += delta;
    this.authorityOffset += delta;
  }
}

export class ResponseHead {
  readonly fields: FieldSection;
  /** 100 … 599 as RFC 9110 §15 (any three digits from 100 to 999 are accepted from a backend). */
  status: number;
  /** Reason phrase as received; length 0: the standard one is written. */
  reasonOffset: number;
  reasonLength: number;
  version: number;
  /** BODY_NONE, BODY_LENGTH, BODY_STREAM or BODY_UNTIL_CLOSE: what follows this head on its connection. */
  bodyKind: number;
  /** Declared Content-Length, also where no content follows (HEAD, 304); or LENGTH_UNKNOWN. */
  contentLength: number;
  /** Index of the Upgrade field of a 101 (with Connection: upgrade, HTTP/1.1), else -1. */
  upgradeIndex: number;
  headBytes: number;

  constructor(bytes: Uint8Array) {
    this.fields = new FieldSection(bytes);
    this.status = 0;
    this.reasonOffset = 0;
    this.reasonLength = 0;
    this.version = 11;
    this.bodyKind = BODY_NONE;
    this.contentLength = LENGTH_UNKNOWN;
    this.upgradeIndex = -1;
    this.headBytes = 0;
  }

  clear(): void {
    this.fields.clear();
    this.status = 0;
    this.reasonOffset = 0;
    this.reasonLength = 0;
    this.version = 11;
    this.bodyKind = BODY_NONE;
    this.contentLength = LENGTH_UNKNOWN;
    this.upgradeIndex = -1;
    this.headBytes = 0;
  }

  rebase(delta: number): void {
    this.fields.rebase(delta);
    this.reasonOffset += delta;
  }
}
