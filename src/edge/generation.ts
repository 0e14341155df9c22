/**
 * A configuration in force, compiled: routes, rules, groups of servers. Exchanges that began under it end under
 * it; a reload puts a new one in its place, and the old one goes when the last exchange has left.
 */

import { type BackendTls, type BackendTlsSet, NO_BACKEND_TLS } from '../backend/backend-tls.ts';
import type { ResolvedServers } from '../backend/server-names.ts';
import { assert } from '../base/assert.ts';
import { asciiBytes, equalsBytes } from '../base/bytes.ts';
import type { Config, RouteConfig, ServerEntry } from '../config/model.ts';
import type { RateLimiter } from '../shared/rate-limit.ts';
import { errnoName } from '../sys/errno.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { BackendServer } from './backend-server.ts';
import type { ClientAddress } from './client-address.ts';
import type { EdgeContext, EdgeLimits } from './context.ts';
import { FileRoute } from './file-route.ts';
import { ConstantBytes } from './header-rules.ts';
import { IpList } from './ip-list.ts';
import { MetricsRoute, metricsTerms } from './metrics-page.ts';
import { ProxyRoute } from './proxy-route.ts';
import { RedirectRoute } from './redirect-responder.ts';
import { Route, type RouteAction } from './route.ts';
import { pathKey, Router } from './router.ts';
import { GroupServer, UpstreamGroup } from './upstream-group.ts';

/** Where the servers of all configurations live, so that connections stay warm over a reload. */
export interface ServerRegistry {
  /** The server with this URL and this TLS; one more configuration uses it. Throws an Error where its TLS can't be used. */
  use(entry: ServerEntry, addresses: readonly SocketAddress[], tls: BackendTls | null): BackendServer;
  /** One configuration less uses it. */
  leave(server: BackendServer): void;
}

export class Generation {
  readonly config: Config;
  readonly router: Router<Route>;
  readonly routes: readonly Route[];
  /** The metrics page, on every host; null where it isn't asked for. */
  readonly metricsRoute: Route | null;
  private readonly metricsPath: Uint8Array;
  readonly limits: EdgeLimits;
  readonly trustsSomeone: boolean;
  /** Both ways are told that we were on them (RFC 9110 §7.6.3). */
  readonly addsVia: boolean;
  /** Clients are asked for certificates: what says who they are is the edge's word alone. */
  readonly verifiesClients: boolean;
  /** Exchanges under way in it, and one while it is in force. */
  users: number;
  private readonly trusted: IpList;
  private readonly constants: ConstantBytes;
  private readonly registry: ServerRegistry;
  private readonly servers: GroupServer[];
  readonly groups: UpstreamGroup[];

  /** Throws an Error with the reason where a file route can't be opened or memory is exhausted; nothing is left behind then. */
  constructor(
    context: EdgeContext,
    config: Config,
    resolved: ResolvedServers,
    registry: ServerRegistry,
    rateLimiter: RateLimiter,
    backendTls: BackendTlsSet = NO_BACKEND_TLS,
  ) {
    this.config = config;
    this.users = 1;
    this.registry = registry;
    this.servers = [];
    this.groups = [];
    this.constants = new ConstantBytes(context.reactor.pool);
    this.trusted = new IpList(config.server.trustedProxies);
    this.addsVia = config.server.via;
    this.trustsSomeone = config.server.trustedProxies.length > 0;
    this.verifiesClients = config.tls !== null && config.tls.clientAuth !== 'none';
    this.limits = limitsOf(config);
    const { prometheus } = config;
    this.metricsRoute = prometheus.enabled
      ? new Route(metricsTerms(prometheus), new MetricsRoute(context), this.constants, rateLimiter)
      : null;
    this.metricsPath = asciiBytes(pathKey(prometheus.path) || '/');
    const routes: Route[] = [];
    this.routes = routes;
    try {
      const groups = this.makeGroups(context, resolved, backendTls);
      for (const route of config.routes) {
        const action = makeAction(context, route, groups);
        routes.push(new Route(route, action, this.constants, rateLimiter));
      }
      this.router = new Router(
        config.routes.map(({ host, path, action }, index) => ({
          host,
          path,
          value: routes[index],
          exact: action.type === 'File' && !action.isDirectory,
        })),
        config.server.routePrecedence,
      );
    } catch (error) {
      this.close();
      throw error;
    }
  }

  private makeGroups(
    context: EdgeContext,
    resolved: ResolvedServers,
    backendTls: BackendTlsSet,
  ): Map<string, UpstreamGroup> {
    const groups = new Map<string, UpstreamGroup>();
    for (const upstream of this.config.upstreams) {
      const members: GroupServer[] = [];
      for (const entry of upstream.servers) {
        const addresses = resolved.get(entry.url) ?? [];
        const tls = backendTls.of(entry);
        assert(entry.scheme === 'http' || tls !== null, 'an https backend would be spoken to without TLS');
        const server = this.registry.use(entry, addresses, tls);
        const member = new GroupServer(server, entry, addresses, upstream.name, members.length);
        this.servers.push(member);
        members.push(member);
      }
      const group = new UpstreamGroup(upstream, members, context.verdicts);
      this.groups.push(group);
      groups.set(upstream.name, group);
    }
    return groups;
  }

  /** Whether a normalised path is that of the metrics page. */
  isMetricsPath(bytes: Uint8Array, offset: number, length: number): boolean {
    return this.metricsRoute !== null && equalsBytes(bytes, offset, length, this.metricsPath);
  }

  /** Whether a peer's word about its client is believed. */
  trusts(client: ClientAddress): boolean {
    return client.words !== null && this.trusted.has(client.words);
  }

  /** It is in force from now on: its servers follow it, whatever an older one said. */
  takeEffect(): void {
    for (const { server, addresses } of this.servers) server.follow(addresses);
    for (const { server, idleMax, idleTimeoutMs } of this.servers) server.allowIdle(idleMax, idleTimeoutMs);
  }

  /** Nobody uses it any more. */
  close(): void {
    for (const route of this.routes) route.action.close();
    for (const group of this.groups.splice(0)) group.close();
    for (const { server } of this.servers.splice(0)) this.registry.leave(server);
    this.constants.release();
  }
}

function makeAction(
  context: EdgeContext,
  route: RouteConfig,
  groups: ReadonlyMap<string, UpstreamGroup>,
): RouteAction {
  const { action } = route;
  switch (action.type) {
    case 'Proxy': {
      const group = groups.get(action.upstream);
      if (group === undefined) throw new Error(`Upstream '${action.upstream}' not found`);
      return new ProxyRoute(context, route, action, group);
    }
    case 'File': {
      const files = new FileRoute(context.reactor, action);
      const errno = files.openRoots();
      if (errno < 0) throw new Error(`${route.name}: can't open ${action.path}: ${errnoName(errno)}`);
      return files;
    }
    case 'Redirect':
      return new RedirectRoute(context.reactor, action);
  }
}

function limitsOf(config: Config): EdgeLimits {
  const securities = config.routes.map((route) => route.security);
  const most = (of: number[], least: number): number => of.reduce((a, b) => Math.max(a, b), least);
  return {
    clientHeaderTimeoutMs:
      most(
        securities.map((security) => security.clientHeaderTimeoutSecs),
        1,
      ) * 1000,
    headBytesMax: most(
      securities.map((security) => security.maxRequestHeaderSize),
      1024,
    ),
    keepAliveTimeoutMs: config.server.keepAliveTimeoutSecs * 1000,
    writeTimeoutMs: config.server.writeTimeoutSecs * 1000,
    minRateBytesPerSec: config.server.minRateBytesPerSec,
  };
}
