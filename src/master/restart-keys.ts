/** What a reload can't change, since it belongs to sockets and memory that outlive all configurations. */

import type { Config } from '../config/model.ts';

/** Keys that differ and need a restart. */
export function needingRestart(before: Config, after: Config): string[] {
  const keys: string[] = [];
  const differs = (one: unknown, other: unknown): boolean => JSON.stringify(one) !== JSON.stringify(other);
  if (differs(before.server.listen, after.server.listen)) keys.push('server.listen');
  if (differs(before.server.http, after.server.http)) keys.push('server.http');
  if (differs(before.status, after.status)) keys.push('status.listen');
  if (before.server.threads !== after.server.threads) keys.push('server.threads');
  if (before.performance.reuseportBalancing !== after.performance.reuseportBalancing)
    keys.push('performance.reuseport_balancing');
  return keys;
}

/** The new configuration with the old values of those keys. */
export function withoutRestart(before: Config, after: Config): Config {
  const { listen, http, threads } = before.server;
  const { reuseportBalancing } = before.performance;
  return {
    ...after,
    server: { ...after.server, listen, http, threads },
    status: before.status,
    performance: { ...after.performance, reuseportBalancing },
  };
}

/** Whether workers that run can't take the new configuration: what they were made with is another. */
export function needsNewWorkers(before: Config, after: Config): boolean {
  return (
    (before.tls === null) !== (after.tls === null) ||
    JSON.stringify(before.http2) !== JSON.stringify(after.http2) ||
    before.performance.hugePagesEnabled !== after.performance.hugePagesEnabled
  );
}
