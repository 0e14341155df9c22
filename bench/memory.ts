/**
 * Memory of a system in a fresh instance: after a warm-up, with thousands of idle kept-alive connections,
 * after half a million requests and after a whole one. What grows in the first half alone is a heap that finds its
 * size; what grows in both is kept.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { holdIdle, runLoad } from './load-generator.ts';
import { memoryOf } from './proc.ts';
import type { MemorySample } from './results.ts';
import type { Scenario } from './scenarios.ts';
import { System, type SystemName, type Workplace } from './systems.ts';

/** What --only calls them. */
export const MEMORY_NAME = 'memory';
export const TLS_MEMORY_NAME = 'https-memory';

export interface MemoryPlan {
  readonly warmupRequests: number;
  readonly idleConnections: number;
  readonly requests: number;
}

export const FULL_MEMORY: MemoryPlan = {
  warmupRequests: 200_000,
  idleConnections: 5000,
  requests: 1_000_000,
};
export const QUICK_MEMORY: MemoryPlan = { warmupRequests: 30_000, idleConnections: 5000, requests: 40_000 };

/** For buffers and caches to settle. */
const SETTLE_MS = 1500;

export async function measureMemory(
  place: Workplace,
  name: SystemName,
  scenario: Scenario,
  plan: MemoryPlan,
): Promise<MemorySample> {
  const secure = scenario.tls !== null;
  const system = await System.start(place, name, { fresh: true, secure, http2: false });
  try {
    await runLoad(place, 'load', scenario, system.port, { requests: plan.warmupRequests });
    await sleep(SETTLE_MS);
    const before = memoryOf(system.processes.pids());
    const holder = await holdIdle(place, scenario, system.port, plan.idleConnections);
    await sleep(SETTLE_MS);
    const idle = memoryOf(system.processes.pids());
    await holder.stop();
    await runLoad(place, 'load', scenario, system.port, { requests: plan.requests / 2 });
    await sleep(SETTLE_MS);
    const half = memoryOf(system.processes.pids());
    await runLoad(place, 'load', scenario, system.port, { requests: plan.requests / 2 });
    await sleep(SETTLE_MS);
    const after = memoryOf(system.processes.pids());
    return {
      system: name,
      secure,
      idleConnections: plan.idleConnections,
      requests: plan.requests,
      rssBeforeKib: before.rssKib,
      pssBeforeKib: before.pssKib,
      rssIdleKib: idle.rssKib,
      pssIdleKib: idle.pssKib,
      rssHalfKib: half.rssKib,
      pssHalfKib: half.pssKib,
      rssAfterKib: after.rssKib,
      pssAfterKib: after.pssKib,
    };
  } finally {
    await system.stop();
  }
}
