/** Which routes can never be reached, and which groups nobody uses. */

import type { PlacedRoute } from './build-routes.ts';
import type { RouteConfig, UpstreamConfig } from './model.ts';
import type { Report } from './problem.ts';

/**
 * The order in which routes are tried: the host that names a request best (an exact one, then the longest
 * wildcard, then `*`); where that host has routes of both kinds, those of the table that has precedence; of
 * its paths the longest.
 */
export function compareRoutes(a: RouteConfig, b: RouteConfig, precedence: 'host' | 'path'): number {
  const byRank = hostRank(a.host) - hostRank(b.host);
  if (byRank !== 0) return byRank;
  if (a.host.startsWith('*') && a.host.length !== b.host.length) return b.host.length - a.host.length;
  if (a.host !== b.host) return a.host < b.host ? -1 : 1;
  if ((a.path === null) !== (b.path === null)) {
    const isFirst = (a.path === null) === (precedence === 'host');
    return isFirst ? -1 : 1;
  }
  return (b.path ?? '').length - (a.path ?? '').length;
}

function hostRank(host: string): number {
  if (host === '*') return 2;
  return host.startsWith('*.') ? 1 : 0;
}

/** Warns of routes that others keep all requests from. */
export function warnShadowed(
  routes: readonly PlacedRoute[],
  precedence: 'host' | 'path',
  report: Report,
): void {
  const configs = routes.map(({ route }) => route);
  for (const { route, at } of routes) {
    const winner = shadowOf(route, configs, precedence);
    if (winner === null) continue;
    const mend =
      precedence === 'host'
        ? 'remove the host route, or set server.route_precedence = "path"'
        : 'remove one of them, or set server.route_precedence = "host"';
    report.warn(at, `Route '${route.name}' is never reached: '${winner.name}' serves all its requests`, mend);
  }
}

/** The route that keeps all requests from this one; null where it is reached. */
export function shadowOf(
  route: RouteConfig,
  routes: readonly RouteConfig[],
  precedence: 'host' | 'path',
): RouteConfig | null {
  // What owns the host is asked before all routes of the other kind, and answers everything.
  const winner = routes.find(
    (each) =>
      each.host === route.host &&
      (each.path === null) !== (route.path === null) &&
      ownsHost(each, precedence),
  );
  return winner ?? null;
}

/** Whether it serves every path of its host before the routes of the other kind are asked. */
function ownsHost(route: RouteConfig, precedence: 'host' | 'path'): boolean {
  if (precedence === 'host') return route.path === null && !isSingleFile(route);
  return route.path === '/' && !isSingleFile(route);
}

/** A single file answers its exact path only. */
function isSingleFile(route: RouteConfig): boolean {
  return route.action.type === 'File' && !route.action.isDirectory;
}

export function warnUnusedUpstreams(
  upstreams: readonly UpstreamConfig[],
  routes: readonly RouteConfig[],
  report: Report,
): void {
  const used = new Set(routes.map(({ action }) => (action.type === 'Proxy' ? action.upstream : '')));
  for (const { name } of upstreams) {
    if (!used.has(name))
      report.warn(
        ['upstreams', name],
        `No route uses the upstream '${name}'`,
        'remove it, or name it in a route',
      );
  }
}
