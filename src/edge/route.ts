/** A route as compiled from the configuration: what it admits, its header rules, and what answers. */

import type { RouteConfig, RouteSecurity } from '../config/model.ts';
import type { FieldSection } from '../http/fields.ts';
import { M_GET, M_HEAD, M_OTHER, METHOD_NAMES, type RequestHead } from '../http/message.ts';
import type { BufferPool } from '../io/buffer-pool.ts';
import { type RateLimiter, rateLimitKey } from '../shared/rate-limit.ts';
import type { ClientAddress } from './client-address.ts';
import type { Exchange } from './exchange.ts';
import { type ConstantBytes, HeaderRules } from './header-rules.ts';
import { IpList } from './ip-list.ts';
import type { Responder } from './responder.ts';

/** What a route does with an admitted exchange. */
export interface RouteAction {
  /** Value of Allow where the route itself limits nothing. */
  readonly methods: string;
  /** Of a listener: its requests are neither logged nor counted, and its connections have a limit of their own. */
  readonly isQuiet?: boolean;
  /**
   * Answers an exchange. The responder is told of what follows; null where the exchange is over already, or
   * where there is no memory to begin with.
   */
  respond(exchange: Exchange): Responder | null;
  /** The configuration is gone and no exchange uses it any more. */
  close(): void;
}

/** What is said of a route beside its action. */
export type RouteTerms = Pick<RouteConfig, 'name' | 'path' | 'security'>;

export class Route {
  readonly name: string;
  readonly security: RouteSecurity;
  readonly action: RouteAction;
  /** Bytes of a matching path that the key takes; 0 for `/` and host routes. */
  readonly prefixLength: number;
  readonly clientBodyTimeoutMs: number;
  readonly limitsAddresses: boolean;
  readonly limitsMethods: boolean;
  readonly hasRequestRules: boolean;
  readonly hasResponseRules: boolean;
  private readonly allowed: IpList;
  private readonly denied: IpList;
  private readonly methodIds: Uint8Array;
  private readonly otherMethods: ReadonlySet<string>;
  private readonly requestRules: HeaderRules;
  private readonly responseRules: HeaderRules;
  private readonly rateLimiter: RateLimiter;
  private readonly rateKey: number;

  constructor(config: RouteTerms, action: RouteAction, constants: ConstantBytes, rateLimiter: RateLimiter) {
    const { security } = config;
    this.name = config.name;
    this.security = security;
    this.action = action;
    this.prefixLength = config.path === null || config.path === '/' ? 0 : config.path.length;
    this.clientBodyTimeoutMs = security.clientBodyTimeoutSecs * 1000;
    this.limitsAddresses = security.allowedIps.length + security.deniedIps.length > 0;
    this.allowed = new IpList(security.allowedIps);
    this.denied = new IpList(security.deniedIps);
    this.limitsMethods = security.allowedMethods !== null;
    const methods = security.allowedMethods ?? [];
    this.methodIds = Uint8Array.from(METHOD_NAMES, (name) => (methods.includes(name) ? 1 : 0));
    // Who may GET may HEAD (RFC 9110 §9.1: both are for every general-purpose server).
    if (this.methodIds[M_GET] === 1) this.methodIds[M_HEAD] = 1;
    this.otherMethods = new Set(methods.filter((name) => !METHOD_NAMES.includes(name)));
    this.requestRules = new HeaderRules(
      { add: security.addRequestHeaders, remove: security.removeRequestHeaders },
      constants,
      true,
    );
    this.responseRules = new HeaderRules(
      { add: security.addResponseHeaders, remove: security.removeResponseHeaders },
      constants,
      false,
    );
    this.hasRequestRules = !this.requestRules.isEmpty;
    this.hasResponseRules = !this.responseRules.isEmpty;
    this.rateLimiter = rateLimiter;
    this.rateKey = rateLimitKey(config.name, security.rateLimitRequestsPerMin);
  }

  /** Deny beats allow; an empty allow list allows all. A peer on a Unix socket is on no list. */
  admitsAddress(client: ClientAddress): boolean {
    const { words } = client;
    if (words === null) return this.security.allowedIps.length === 0;
    if (this.denied.has(words)) return false;
    return this.security.allowedIps.length === 0 || this.allowed.has(words);
  }

  admitsMethod(request: RequestHead, pool: BufferPool): boolean {
    if (request.methodId !== M_OTHER) return this.methodIds[request.methodId] === 1;
    if (this.otherMethods.size === 0) return false;
    const { methodOffset, methodLength } = request;
    return this.otherMethods.has(pool.text.latin1Slice(methodOffset, methodOffset + methodLength));
  }

  /** 0, or milliseconds until the client may ask again. */
  admitRate(client: ClientAddress, nowMs: number): number {
    return this.rateLimiter.admit(this.rateKey, this.security.rateLimitRequestsPerMin, client.words, nowMs);
  }

  applyRequestRules(exchange: Exchange): boolean {
    return this.requestRules.applyExpanded(exchange.request.fields, exchange.scratch, exchange);
  }

  applyResponseRules(fields: FieldSection): void {
    this.responseRules.apply(fields);
  }

  /** Trailers must not bring in what the rules keep out. */
  removeFromRequestTrailers(trailers: FieldSection): void {
    this.requestRules.removeFrom(trailers);
  }

  removeFromResponseTrailers(trailers: FieldSection): void {
    this.responseRules.removeFrom(trailers);
  }
}
