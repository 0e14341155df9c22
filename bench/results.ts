/** What a run measured: kept as plain data, printed as tables by report.ts, written as JSON. */

import type { LoadResult } from './load-generator.ts';
import type { SystemName } from './systems.ts';

/** What the processes of one kind used. */
export interface RoleCost {
  /** As `roleOf` names them. */
  readonly role: string;
  readonly processorNsPerRequest: number;
}

/** One system in one scenario in one round. */
export interface Sample extends LoadResult {
  readonly round: number;
  readonly scenario: string;
  readonly system: SystemName;
  /** Processor time of the system's processes, nanoseconds per request. */
  readonly processorNsPerRequest: number;
  /** The same, apart. */
  readonly roles: readonly RoleCost[];
  /** Share of the wall-clock time that the system ran, 0 … 1. */
  readonly utilisation: number;
  /** Time of the proxy core's soft-interrupt thread, nanoseconds per request: not in the above. */
  readonly softInterruptNsPerRequest: number;
  /** Share of the wall-clock time that others took on the proxy's core, 0 … 1: noise. */
  readonly disturbance: number;
}

/** One system's memory, in a fresh instance, KiB. */
export interface MemorySample {
  readonly system: SystemName;
  /** Over TLS. */
  readonly secure: boolean;
  readonly idleConnections: number;
  readonly requests: number;
  /** After the warm-up. */
  readonly rssBeforeKib: number;
  readonly pssBeforeKib: number;
  /** With the idle connections open. */
  readonly rssIdleKib: number;
  readonly pssIdleKib: number;
  /** The idle connections closed, after half of the requests. */
  readonly rssHalfKib: number;
  readonly pssHalfKib: number;
  /** After all of them. */
  readonly rssAfterKib: number;
  readonly pssAfterKib: number;
}

/** One process of the idle house, KiB. */
export interface HouseMember {
  readonly role: string;
  readonly rssKib: number;
  readonly pssKib: number;
}

export interface Results {
  readonly date: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly generator: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly samples: Sample[];
  readonly memory: MemorySample[];
  /** Empty when it was not measured. */
  readonly house: HouseMember[];
}

/** Values of one system in one scenario, a round each. */
export function valuesOf(
  results: Results,
  scenario: string,
  system: SystemName,
  value: (sample: Sample) => number,
): number[] {
  return results.samples
    .filter((sample) => sample.scenario === scenario && sample.system === system)
    .map((sample) => value(sample));
}
