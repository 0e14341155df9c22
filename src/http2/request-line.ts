/** What HTTP/1.1 has in a request line and HTTP/2 in pseudo-fields (RFC 9113 §8.3.1), for requests that we send. Reused. */

import { M_GET, SCHEME_HTTP } from '../http/message.ts';

export class RequestLine {
  /** What the offsets count in. */
  readonly bytes: Uint8Array;
  methodId: number;
  methodOffset: number;
  methodLength: number;
  scheme: number;
  authorityOffset: number;
  authorityLength: number;
  /** Path and query together; not for a plain CONNECT. */
  pathOffset: number;
  pathLength: number;
  /** `:protocol` of an extended CONNECT (RFC 8441); length 0: none. */
  protocolOffset: number;
  protocolLength: number;
  /** `te: trailers` is sent: fields of that name are not. */
  acceptsTrailers: boolean;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.methodId = M_GET;
    this.methodOffset = 0;
    this.methodLength = 0;
    this.scheme = SCHEME_HTTP;
    this.authorityOffset = 0;
    this.authorityLength = 0;
    this.pathOffset = 0;
    this.pathLength = 0;
    this.protocolOffset = 0;
    this.protocolLength = 0;
    this.acceptsTrailers = false;
  }
}
