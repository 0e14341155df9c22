/**
 * What the status page is told, each second that somebody looks at it: the sums of all workers' metrics, as counters
 * whose differences the page takes, the servers as this worker sees them, and the rooms as the master tells of them.
 */

import { statusOfKey } from '../metrics/area.ts';
import { TIME_BOUNDS_MS, TIME_BUCKETS } from '../metrics/buckets.ts';
import type { Facts } from '../metrics/families.ts';
import {
  C_BYTES_RECEIVED,
  C_BYTES_SENT,
  C_CONNECTIONS_ACCEPTED,
  C_LOG_DROPPED,
  C_REFUSED_BY_ADDRESS,
  C_REFUSED_BY_TOTAL,
  FAILURES_MAX,
  G_CONNECTIONS_OPEN,
  G_CONNECTIONS_SHAKING,
  G_RESIDENT_BYTES,
  G_WORKERS,
  S_BUSY,
  S_FAILURES,
  S_IDLE,
  S_IN_FLIGHT,
  S_LATENCY,
  S_RETRIES,
  TIME_CELLS,
} from '../metrics/layout.ts';
import type { ServerTotals, Totals } from '../metrics/totals.ts';
import type { House, HouseRoom } from '../shared/house-board.ts';

/** A server of a group. `trouble`: why no requests go to it, else empty. */
export interface StatusServer {
  readonly url: string;
  readonly weight: number;
  readonly trouble: string;
}

/** What only this worker knows. */
export interface StatusSource {
  readonly facts: Facts;
  readonly house: House | null;
  readonly groups: readonly { readonly name: string; readonly servers: readonly StatusServer[] }[];
  /** The configuration's file. */
  readonly configuration: string;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

/** What all workers know of a server, by its URL. */
interface ServerCounts {
  readonly url: string;
  readonly inFlight: number;
  readonly busy: number;
  readonly idle: number;
  readonly failures: number;
  readonly retries: number;
  /** Heads of responses by time, in buckets. */
  readonly latency: readonly number[];
}

export interface StatusDocument {
  readonly nowMs: number;
  readonly version: string;
  readonly nodejs: string;
  readonly io: string;
  readonly startedSeconds: number;
  readonly workers: number;
  readonly residentBytes: number;
  /** `generation` 0: unknown. `refused`: why the one that was last asked for is not in force, else empty. */
  readonly configuration: {
    readonly source: string;
    readonly generation: number;
    readonly sinceSeconds: number;
    readonly refused: string;
  };
  /** Upper bounds of all times' buckets but the last. */
  readonly boundsMs: readonly number[];
  /** `classes` by `2xx` to `5xx`, `none` (no response) and `1xx`. */
  readonly requests: {
    readonly total: number;
    readonly active: number;
    readonly classes: Readonly<Record<string, number>>;
    readonly durations: readonly number[];
  };
  readonly connections: {
    readonly open: number;
    readonly shaking: number;
    readonly max: number;
    readonly accepted: number;
    readonly refused: number;
  };
  readonly bytes: { readonly received: number; readonly sent: number };
  readonly log: { readonly dropped: number };
  readonly upstreams: StatusSource['groups'];
  readonly servers: readonly ServerCounts[];
  readonly certificates: Facts['certificates'];
  readonly rooms: readonly HouseRoom[];
}

export function statusDocument(totals: Totals, source: StatusSource): StatusDocument {
  const { facts, house } = source;
  const { cells } = totals;
  const urls = new Set(source.groups.flatMap(({ servers }) => servers.map(({ url }) => url)));
  return {
    nowMs: source.nowMs,
    version: facts.build['version'] ?? '',
    nodejs: facts.build['nodejs'] ?? '',
    io: facts.build['io'] ?? '',
    startedSeconds: facts.startSeconds,
    workers: cells[G_WORKERS],
    residentBytes: residentBytes(cells[G_RESIDENT_BYTES], house),
    configuration: configurationOf(source),
    boundsMs: TIME_BOUNDS_MS,
    requests: requestsOf(totals),
    connections: {
      open: cells[G_CONNECTIONS_OPEN],
      shaking: cells[G_CONNECTIONS_SHAKING],
      max: facts.connectionsMax,
      accepted: cells[C_CONNECTIONS_ACCEPTED],
      refused: cells[C_REFUSED_BY_ADDRESS] + cells[C_REFUSED_BY_TOTAL],
    },
    bytes: { received: cells[C_BYTES_RECEIVED], sent: cells[C_BYTES_SENT] },
    log: { dropped: cells[C_LOG_DROPPED] + facts.journalDropped },
    upstreams: source.groups,
    servers: totals.servers.filter(({ name }) => urls.has(name)).map(countsOf),
    certificates: facts.certificates,
    rooms: house?.rooms ?? [],
  };
}

/** Of all rooms where the master tells; else of the workers. */
function residentBytes(ofWorkers: number, house: House | null): number {
  const ofRooms = house?.rooms.reduce((sum, room) => sum + room.residentBytes, 0) ?? 0;
  return Math.max(ofRooms, ofWorkers);
}

function configurationOf({ facts, house, configuration }: StatusSource): StatusDocument['configuration'] {
  const reload = house?.lastReload ?? null;
  return {
    source: configuration,
    generation: house?.generation ?? 0,
    sinceSeconds: facts.reloadedSeconds,
    refused: reload === null || reload.succeeded ? '' : reload.reason || 'see the log',
  };
}

function requestsOf(totals: Totals): StatusDocument['requests'] {
  const classes: Record<string, number> = {};
  let total = 0;
  for (const [key, count] of totals.requests) {
    const status = statusOfKey(key);
    const name = status === 0 ? 'none' : `${Math.trunc(status / 100)}xx`;
    classes[name] = (classes[name] ?? 0) + count;
    total += count;
  }
  const durations = new Float64Array(TIME_BUCKETS);
  let active = 0;
  for (const host of totals.hosts) {
    active += host.active;
    for (let at = 0; at < host.durations.length; at += TIME_CELLS)
      for (let bucket = 0; bucket < TIME_BUCKETS; bucket++) durations[bucket] += host.durations[at + bucket];
  }
  return { total, active, classes, durations: [...durations] };
}

function countsOf({ name, cells }: ServerTotals): ServerCounts {
  return {
    url: name,
    inFlight: cells[S_IN_FLIGHT],
    busy: cells[S_BUSY],
    idle: cells[S_IDLE],
    failures: cells.subarray(S_FAILURES, S_FAILURES + FAILURES_MAX).reduce((sum, count) => sum + count, 0),
    retries: cells[S_RETRIES],
    latency: [...cells.subarray(S_LATENCY, S_LATENCY + TIME_BUCKETS)],
  };
}
