/** A route that asks a backend: its group of servers, how their requests look, and how long they may take. */

import { ConstantText } from '../base/bytes.ts';
import type { ProxyAction, RouteConfig } from '../config/model.ts';
import { METHOD_NAMES } from '../http/message.ts';
import type { EdgeContext } from './context.ts';
import type { Exchange } from './exchange.ts';
import type { Responder } from './responder.ts';
import type { RouteAction } from './route.ts';
import { type PaceTerms, paceTermsOf } from './tunnel-pace.ts';
import type { GroupServer, UpstreamGroup } from './upstream-group.ts';

export class ProxyRoute implements RouteAction {
  readonly methods = METHOD_NAMES.filter(
    (name) => name !== '' && name !== 'CONNECT' && name !== 'TRACE',
  ).join(', ');
  readonly group: UpstreamGroup;
  readonly allowedUpgrades: readonly string[];
  readonly connectTimeoutMs: number;
  readonly responseTimeoutMs: number;
  readonly pace: PaceTerms;
  private readonly context: EdgeContext;
  private readonly hostMode: 'preserve' | 'upstream' | 'literal';
  private readonly hostLiteral: ConstantText;

  constructor(context: EdgeContext, config: RouteConfig, action: ProxyAction, group: UpstreamGroup) {
    this.context = context;
    this.group = group;
    this.allowedUpgrades = action.allowedUpgrades;
    this.connectTimeoutMs = config.security.backendConnectTimeoutSecs * 1000;
    this.responseTimeoutMs = config.security.backendResponseTimeoutSecs * 1000;
    this.pace = paceTermsOf(config.security);
    const { hostHeader } = action;
    this.hostMode = hostHeader === 'preserve' || hostHeader === 'upstream' ? hostHeader : 'literal';
    this.hostLiteral = new ConstantText(hostHeader);
    group.allowIdle(
      config.security.maxIdleConnectionsPerHost,
      config.security.idleConnectionTimeoutSecs * 1000,
    );
  }

  respond(exchange: Exchange): Responder | null {
    const responder = this.context.takeProxyResponder();
    responder.begin(exchange, this);
    return responder;
  }

  /** What Host says to a server; null: what the client said. */
  hostValue(server: GroupServer): ConstantText | null {
    if (this.hostMode === 'preserve') return null;
    return this.hostMode === 'upstream' ? server.authority : this.hostLiteral;
  }

  close(): void {
    // Servers belong to the generation, which leaves them.
  }
}
