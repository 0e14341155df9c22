/**
 * The metrics of one worker: what the edge counts where it happens, and what is looked up when the page is asked for.
 * Exists from when a configuration first asks for the page until the process ends, so that counters never go back.
 *
 * Counting is a few additions for each request (src/metrics/area.ts); nothing here is done for a request beside that.
 */

import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import { REASON_WORDS } from '../http2/budget.ts';
import { LARGE, MEDIUM, SMALL } from '../io/buffer-pool.ts';
import type { Reactor } from '../io/reactor.ts';
import type { Log } from '../log/log.ts';
import { AreaViews, MetricsArea } from '../metrics/area.ts';
import { Exposition } from '../metrics/exposition.ts';
import { type Facts, writePage } from '../metrics/families.ts';
import {
  AREA_BYTES,
  C_ACCEPT_ERRORS,
  C_ACCEPT_PAUSES,
  C_BUFFER_STARVATIONS,
  C_BYTES_RECEIVED,
  C_BYTES_SENT,
  C_CONNECTIONS_ACCEPTED,
  C_CPU,
  C_HTTP2_FLOODS,
  C_LOG_DROPPED,
  C_REFUSED_BY_ADDRESS,
  C_REFUSED_BY_TOTAL,
  C_TLS_FAILED,
  C_TLS_FULL,
  C_TLS_RESUMED,
  C_TUNNEL_RECEIVED,
  C_TUNNEL_SENT,
  G_BUFFERS_FREE,
  G_BUFFERS_USED,
  G_CONNECTIONS_OPEN,
  G_CONNECTIONS_SHAKING,
  G_FDS_MAX,
  G_FDS_OPEN,
  G_HEAP_TOTAL,
  G_HEAP_USED,
  G_RESIDENT_BYTES,
  G_TUNNELS,
  G_WORKERS,
  OTHER,
  SCALARS,
} from '../metrics/layout.ts';
import { Totals } from '../metrics/totals.ts';
import type { VerdictTable } from '../shared/health-verdicts.ts';
import type { House } from '../shared/house-board.ts';
import type { SharedState } from '../shared/state.ts';
import type { BackendServer } from './backend-server.ts';
import type { Exchange } from './exchange.ts';
import {
  type BuildWords,
  buildWords,
  descriptorsMax,
  descriptorsOpen,
  heapBytes,
  processStartSeconds,
  residentBytes,
} from './metrics-process.ts';
import {
  FAILURE_WORDS,
  FAULT_WORDS,
  failureNumber,
  METHOD_WORDS,
  TLS_FAILURE_WORDS,
  tlsFailureNumber,
} from './metrics-words.ts';
import type { HostTable } from './router.ts';
import { type StatusDocument, statusDocument } from './status-data.ts';
import type { GroupServer, UpstreamGroup } from './upstream-group.ts';

/** What the worker shows of itself. */
export interface MetricsSource {
  readonly reactor: Reactor;
  readonly log: Log;
  readonly verdicts: VerdictTable;
  readonly counters: {
    readonly connections: number;
    readonly acceptPauses: number;
    readonly refusedByAddress: number;
    readonly refusedByTotal: number;
  };
  readonly shared: SharedState;
  /** Connections of clients that are in their TLS handshake. */
  readonly shakingConnections: number;
  /** Of all workers together; 0: no limit. */
  readonly connectionsMax: number;
  backendServers(): BackendServer[];
  upstreamGroups(): readonly UpstreamGroup[];
}

/** When a listener's certificate ends. */
export interface CertificateExpiry {
  readonly name: string;
  readonly expirySeconds: number;
}

/** Memory of all workers' areas, one behind the other from `offset` on, AREA_BYTES each, all zeros before the first of them starts. */
export interface SharedMetrics {
  readonly memory: ArrayBufferLike;
  readonly offset: number;
  readonly workers: number;
  /** Which one is this worker's. */
  readonly own: number;
}

/** How often what is only looked up is put where other workers' pages find it. */
const PUBLISH_MS = 1000;

export class EdgeMetrics implements TimerHandler {
  private readonly source: MetricsSource;
  private readonly area: MetricsArea;
  /** Of all workers, this one's included. */
  private readonly areas: readonly AreaViews[];
  /** Runs where there are other workers. */
  private readonly timer: Timer;
  /** What a worker before this one had counted in the same area. */
  private readonly inherited: Float64Array;
  private readonly fdsMax: number;
  private readonly startSeconds: number;
  private readonly build: BuildWords;
  private certificates: readonly CertificateExpiry[];
  /** When this worker's first configuration came into force. */
  private readonly configuredSeconds: number;
  private house: House | null;

  constructor(source: MetricsSource, shared: SharedMetrics) {
    const { memory, offset, workers, own } = shared;
    const area = new MetricsArea(memory, offset + own * AREA_BYTES);
    this.source = source;
    this.area = area;
    this.areas = Array.from(
      { length: workers },
      (_, each) => new AreaViews(memory, offset + each * AREA_BYTES),
    );
    this.timer = new Timer(this, 0);
    this.inherited = area.views.cells.slice(0, SCALARS);
    this.fdsMax = descriptorsMax();
    this.startSeconds = processStartSeconds();
    this.build = buildWords(source.reactor.name);
    this.certificates = [];
    this.configuredSeconds = Math.round(source.reactor.wallMs / 1000);
    this.house = null;
    area.set(G_WORKERS, 1);
    if (this.areas.length > 1) this.armTimer();
  }

  /** Others' pages are to see what this worker doesn't count as it happens. */
  onTimer(): void {
    this.publish();
    this.armTimer();
  }

  private armTimer(): void {
    const { timers, nowMs } = this.source.reactor;
    timers.arm(this.timer, nowMs + PUBLISH_MS);
  }

  /** The worker ends. */
  stop(): void {
    this.source.reactor.timers.disarm(this.timer);
    this.area.clearGauges();
  }

  // ---- A configuration comes into force -------------------------------------------------------------------

  /** Gives the hosts of a configuration their numbers. */
  nameHosts(hosts: readonly HostTable<unknown>[]): void {
    for (const table of hosts) table.number = this.area.hostNumber(table.host);
  }

  serverNumber(url: string): number {
    return this.area.serverNumber(url);
  }

  followCertificates(certificates: readonly CertificateExpiry[]): void {
    this.certificates = certificates;
  }

  // ---- Exchanges --------------------------------------------------------------------------------------------

  /** A request's host is known: from now on its connection is active there. */
  exchangeRouted(host: number): void {
    this.area.addActive(host, 1);
  }

  tunnelStarted(): void {
    this.area.add(G_TUNNELS, 1);
  }

  exchangeEnded(exchange: Exchange): void {
    const { area } = this;
    const { hostNumber, tunnel } = exchange;
    const host = hostNumber < 0 ? OTHER : hostNumber;
    const method = exchange.request.methodId;
    if (hostNumber >= 0) area.addActive(hostNumber, -1);
    area.countRequest(host, method, exchange.sentStatus);
    if (exchange.faultCode !== 0) area.countFault(-exchange.faultCode);
    const endMs = tunnel ? exchange.tunnelMs : exchange.reactor.nowMs;
    area.observeDuration(host, method, endMs - exchange.startMs);
    if (tunnel) {
      area.observeSizes(0, 0);
      // One that began before anything was counted was not counted as open.
      if (hostNumber >= 0) area.add(G_TUNNELS, -1);
      area.add(C_TUNNEL_RECEIVED, exchange.requestBytes);
      area.add(C_TUNNEL_SENT, exchange.responseBytes);
    } else {
      area.observeSizes(exchange.requestBytes, exchange.responseBytes);
    }
  }

  // ---- Backends ---------------------------------------------------------------------------------------------

  upstreamConnects(server: number): void {
    this.area.countConnect(server);
  }

  upstreamAnswered(server: number, ms: number): void {
    this.area.observeLatency(server, ms);
  }

  /** A request to a server ended with a fault; one of ours is not the server's failure. */
  upstreamFailed(server: number, code: number): void {
    const number = failureNumber(code);
    if (number >= 0) this.area.countFailure(server, number);
  }

  upstreamRetried(server: number): void {
    this.area.countRetry(server);
  }

  // ---- TLS --------------------------------------------------------------------------------------------------

  handshakeDone(resumed: boolean): void {
    this.area.add(resumed ? C_TLS_RESUMED : C_TLS_FULL, 1);
  }

  handshakeFailed(reason: string): void {
    this.area.add(C_TLS_FAILED + tlsFailureNumber(reason), 1);
  }

  /** `reason`: an index of REASON_WORDS. */
  http2Flooded(reason: number): void {
    this.area.add(C_HTTP2_FLOODS + reason, 1);
  }

  // ---- The page ---------------------------------------------------------------------------------------------

  /** The page as of now, in pieces of text. */
  page(openMetrics: boolean): Generator<string, void, undefined> {
    this.publish();
    return writePage(new Exposition(openMetrics), new Totals(this.areas), this.facts());
  }

  /** Puts into the area what nobody counts as it happens. Other workers' pages see it as it was the last time. */
  publish(): void {
    const { area, source } = this;
    const { counters, pool } = source.reactor;
    this.publishCounter(C_CONNECTIONS_ACCEPTED, source.counters.connections);
    this.publishCounter(C_ACCEPT_PAUSES, source.counters.acceptPauses);
    this.publishCounter(C_REFUSED_BY_ADDRESS, source.counters.refusedByAddress);
    this.publishCounter(C_REFUSED_BY_TOTAL, source.counters.refusedByTotal);
    this.publishCounter(C_ACCEPT_ERRORS, counters.acceptErrors);
    this.publishCounter(C_BYTES_RECEIVED, counters.bytesReceived);
    this.publishCounter(C_BYTES_SENT, counters.bytesSent);
    this.publishCounter(C_BUFFER_STARVATIONS, counters.bufferStarvations);
    this.publishCounter(C_LOG_DROPPED, source.log.dropped);
    // Without those of the status page.
    area.set(G_CONNECTIONS_OPEN, source.shared.connections.ownTotal);
    area.set(G_CONNECTIONS_SHAKING, source.shakingConnections);
    area.set(G_FDS_OPEN, descriptorsOpen(counters.handlesOpen));
    area.set(G_FDS_MAX, this.fdsMax);
    const sizes = [pool.shape.small, pool.shape.medium, pool.shape.large];
    for (const size of [SMALL, MEDIUM, LARGE] as const) {
      const free = pool.freeCount(size);
      area.set(G_BUFFERS_FREE + size, free);
      area.set(G_BUFFERS_USED + size, sizes[size] - free);
    }
    this.publishProcess();
    this.publishServers();
  }

  private publishProcess(): void {
    const { area } = this;
    const { user, system } = process.cpuUsage();
    this.publishCounter(C_CPU, user + system);
    area.set(G_RESIDENT_BYTES, residentBytes());
    const heap = heapBytes();
    area.set(G_HEAP_USED, heap.used);
    area.set(G_HEAP_TOTAL, heap.total);
  }

  private publishCounter(cell: number, value: number): void {
    this.area.set(cell, this.inherited[cell] + value);
  }

  private publishServers(): void {
    const { area } = this;
    area.clearConnections();
    for (const server of this.source.backendServers()) {
      const idle = server.idleCount;
      const busy = server.connectionCount - idle;
      area.addConnections(this.serverNumber(server.url), idle, busy, server.inFlight);
    }
  }

  /** Why no requests go to a server, by the prober's verdict, as it is now, and by what this worker met there itself; empty: they do. */
  private troubleOf(group: UpstreamGroup, { server, verdictName, verdictSlot }: GroupServer): string {
    if (group.isPool && !server.health.isIn) return 'requests fail';
    if (!group.isChecked) return '';
    const { verdicts } = this.source;
    const slot = verdicts.belongsTo(verdictSlot, verdictName) ? verdictSlot : verdicts.find(verdictName);
    return slot < 0 || verdicts.isHealthy(slot) ? '' : 'checks fail';
  }

  /** What the status page tells, as of now. */
  status(source: string): StatusDocument {
    this.publish();
    const facts = this.facts();
    const groups = this.source.upstreamGroups().map((group) => ({
      name: group.name,
      servers: group.servers.map((member) => ({
        url: member.server.url,
        weight: member.weight,
        trouble: this.troubleOf(group, member),
      })),
    }));
    const { house } = this;
    const nowMs = this.source.reactor.wallMs;
    return statusDocument(new Totals(this.areas), { facts, house, groups, configuration: source, nowMs });
  }

  private facts(): Facts {
    // What can't be read at the moment is as it was: counters never go back.
    this.house = this.source.shared.house.read() ?? this.house;
    const { house } = this;
    return {
      methods: METHOD_WORDS,
      faults: FAULT_WORDS,
      failures: FAILURE_WORDS,
      tlsFailures: TLS_FAILURE_WORDS,
      http2Floods: REASON_WORDS,
      upstreams: this.source.upstreamGroups().flatMap((group) =>
        group.servers.map((member) => ({
          upstream: group.name,
          server: member.server.url,
          healthy: this.troubleOf(group, member) === '',
        })),
      ),
      certificates: this.certificates,
      connectionsMax: this.source.connectionsMax,
      reloadedSeconds: house?.configuredSeconds ?? this.configuredSeconds,
      reloadSucceeded: house?.lastReload?.succeeded ?? true,
      reloads: house?.reloads ?? { succeeded: 0, failed: 0 },
      startSeconds: house?.startedSeconds || this.startSeconds,
      build: { ...this.build },
      rooms: house?.rooms ?? [],
      journalDropped: house?.logDropped ?? 0,
    };
  }
}
