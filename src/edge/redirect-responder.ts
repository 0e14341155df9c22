/**
 * A route that redirects. Its URL is a template with `$request_uri` (path and query as received), `$path` (the
 * normalised path after the route's prefix) and `$host` (the request's host in lower case, without a port).
 *
 * What comes from the request can add segments and a query, and nothing else: its path is written with exactly
 * one slash in front, so that it never names a host, and every byte that isn't one of a URI is escaped.
 */

import type { RedirectAction } from '../config/model.ts';
import { E_HOST_MISSING } from '../http/fault.ts';
import { F_LOCATION } from '../http/fields.ts';
import { BODY_NONE } from '../http/message.ts';
import type { Reactor } from '../io/reactor.ts';
import { hostText, pathText, queryText } from './location.ts';
import type { Responder, ResponseTarget } from './responder.ts';
import type { RouteAction } from './route.ts';

const LITERAL = 0;
const REQUEST_URI = 1;
const PATH = 2;
const HOST = 3;

interface Part {
  readonly kind: number;
  readonly text: string;
}

const VARIABLES = /\$(?:request_uri|path|host)(?![a-z_])/g;
const KINDS: Readonly<Record<string, number>> = { $request_uri: REQUEST_URI, $path: PATH, $host: HOST };

export class RedirectRoute implements RouteAction {
  /** Value of Allow: a redirect answers every method. */
  readonly methods: string;
  private readonly reactor: Reactor;
  private readonly status: number;
  /** Before and from the template's own `?` or `#` on. */
  private readonly head: readonly Part[];
  private readonly query: readonly Part[];
  private readonly fragment: string;
  /** The request's path and query are appended. Not where the template says itself where they go. */
  private readonly appends: boolean;

  constructor(reactor: Reactor, action: RedirectAction) {
    this.methods = 'GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH';
    this.reactor = reactor;
    this.status = action.status;
    const [beforeFragment, fragment] = splitAt(action.url, '#');
    const [beforeQuery, query] = splitAt(beforeFragment, '?');
    this.head = partsOf(beforeQuery);
    this.query = partsOf(query);
    this.fragment = fragment;
    const placed = [...this.head, ...this.query].some(({ kind }) => kind === REQUEST_URI || kind === PATH);
    this.appends = action.preservePath && !placed;
  }

  /** Answers at once, so that nobody is left to be told of anything. */
  respond(target: ResponseTarget): Responder | null {
    if (target.request.authorityLength === 0) {
      target.fail(E_HOST_MISSING);
      return null;
    }
    const { response } = target;
    response.status = this.status;
    response.bodyKind = BODY_NONE;
    response.contentLength = 0;
    target.addResponseField(F_LOCATION, '', this.location(target));
    target.sendHead();
    target.sendEnd();
    return null;
  }

  close(): void {}

  private location(target: ResponseTarget): string {
    let location = this.expand(target, this.head, '');
    if (this.appends) location = join(location, this.restOf(target));
    location = this.expand(target, this.query, location);
    if (this.appends) {
      const query = queryText(this.reactor.pool, target.request);
      if (query !== '') location += this.query.length > 0 ? `&${query.slice(1)}` : query;
    }
    return location + this.fragment;
  }

  private expand(target: ResponseTarget, parts: readonly Part[], before: string): string {
    const { pool } = this.reactor;
    const { request } = target;
    let result = before;
    for (const { kind, text } of parts) {
      if (kind === LITERAL) result += text;
      else if (kind === HOST) result += hostText(pool, request);
      else if (kind === PATH) result = join(result, this.restOf(target));
      else {
        const path = pathText(pool, request.pathOffset, request.pathLength);
        result = join(result, path) + queryText(pool, request);
      }
    }
    return result;
  }

  /** The path behind the route's prefix: empty, or with one slash in front. */
  private restOf(target: ResponseTarget): string {
    const offset = target.pathOffset + target.prefixLength;
    return pathText(this.reactor.pool, offset, target.pathLength - target.prefixLength);
  }
}

/** A path behind what is there already, with exactly one slash between. */
function join(before: string, path: string): string {
  return before.endsWith('/') && path !== '' ? before + path.slice(1) : before + path;
}

/** What stands before the mark, and the rest with it. */
function splitAt(text: string, mark: string): readonly [string, string] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at)];
}

function partsOf(template: string): Part[] {
  const parts: Part[] = [];
  let from = 0;
  for (const match of template.matchAll(VARIABLES)) {
    if (match.index > from) parts.push({ kind: LITERAL, text: template.slice(from, match.index) });
    parts.push({ kind: KINDS[match[0]], text: '' });
    from = match.index + match[0].length;
  }
  if (from < template.length) parts.push({ kind: LITERAL, text: template.slice(from) });
  return parts;
}
