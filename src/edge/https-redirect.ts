/**
 * What the listeners of `server.http` answer: 301 to the same host, path and query in HTTPS, and nothing else
 * (RFC 9110 §15.4.2). No route is asked, so that no content, backend or rule of a route can be reached without
 * TLS. Whatever else such a listener is ever to answer goes in front of the redirect, here.
 *
 * The host is the request's own, without its port and in lower case; what makes it invalid has been refused with
 * the head. The path is as received, behind exactly one slash, and bytes that are none of a URI are escaped.
 */

import { E_HOST_MISSING } from '../http/fault.ts';
import { F_LOCATION } from '../http/fields.ts';
import { BODY_NONE } from '../http/message.ts';
import type { Reactor } from '../io/reactor.ts';
import { hostText, pathText, queryText } from './location.ts';
import type { Responder, ResponseTarget } from './responder.ts';
import type { RouteAction } from './route.ts';

const PORT_HTTPS = 443;

export class HttpsRedirect implements RouteAction {
  readonly methods: string;
  private readonly reactor: Reactor;
  /** `:port`, or empty for 443. */
  private readonly port: string;

  /** `httpsPort` is the one that clients find the TLS listener at. */
  constructor(reactor: Reactor, httpsPort: number) {
    this.methods = 'GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH';
    this.reactor = reactor;
    this.port = httpsPort === PORT_HTTPS ? '' : `:${httpsPort}`;
  }

  /** Answers at once, so that nobody is left to be told of anything. */
  respond(target: ResponseTarget): Responder | null {
    const { request, response } = target;
    if (request.authorityLength === 0) {
      target.fail(E_HOST_MISSING);
      return null;
    }
    const { pool } = this.reactor;
    // `OPTIONS *` has no path, and becomes the URI without one that it stands for (RFC 9112 §3.2.4).
    const path = pathText(pool, request.pathOffset, request.pathLength);
    const location = `https://${hostText(pool, request)}${this.port}${path}${queryText(pool, request)}`;
    response.status = 301;
    response.bodyKind = BODY_NONE;
    response.contentLength = 0;
    target.addResponseField(F_LOCATION, '', location);
    target.sendHead();
    target.sendEnd();
    return null;
  }

  close(): void {}
}

/**
 * The port that redirects name: that of the first TLS listener. Where all of them are Unix sockets something in
 * front of them takes the connections, at the port of the scheme.
 */
export function httpsPortOf(bound: readonly { readonly family: string; readonly port?: number }[]): number {
  return bound.find(({ family }) => family !== 'unix')?.port ?? PORT_HTTPS;
}
