/**
 * Asks the servers of groups with a `health_check` at their intervals and writes what it finds into a VerdictTable.
 * It knows a reactor, a list of targets, and where verdicts and news of them go; whoever owns it decides where it runs.
 *
 * A server is healthy until `unhealthy_threshold` checks in a row have failed, and again after `healthy_threshold`
 * that succeeded. All of that is kept for targets that a new list names too; what the table says of a server stays
 * when another prober takes over.
 */

import { type BackendTls, type BackendTlsSet, contextOf, NO_BACKEND_TLS } from '../backend/backend-tls.ts';
import { type ResolvedServers, serverKey, serverLabel } from '../backend/server-names.ts';
import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import type { Config, HealthCheckConfig, ServerEntry } from '../config/model.ts';
import type { Reactor } from '../io/reactor.ts';
import { VerdictName, type VerdictTable } from '../shared/health-verdicts.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { ClientContext } from '../tls/client-context.ts';
import { HealthProbe, type ProbeOwner, type ProbeRequest } from './health-probe.ts';

/** First checks are spread over this time, or over the interval where that is shorter. */
const FIRST_SPREAD_MS = 1000;

/** One server of one group. */
export interface HealthTarget {
  readonly upstream: string;
  readonly entry: ServerEntry;
  readonly check: HealthCheckConfig;
  readonly addresses: readonly SocketAddress[];
  readonly tls: BackendTls | null;
}

/** Where news go. `because`: a few words. */
export interface HealthNews {
  onVerdict(label: string, upstream: string, healthy: boolean, because: string): void;
  /** A target can't be checked. */
  onUnchecked(label: string, upstream: string, because: string): void;
}

/** All that is to be checked under a configuration. */
export function healthTargets(
  config: Config,
  resolved: ResolvedServers,
  backendTls: BackendTlsSet = NO_BACKEND_TLS,
): HealthTarget[] {
  return config.upstreams.flatMap(({ name, servers, healthCheck }) =>
    healthCheck === null
      ? []
      : servers.map((entry) => ({
          upstream: name,
          entry,
          check: healthCheck,
          addresses: resolved.get(entry.url) ?? [],
          tls: backendTls.of(entry),
        })),
  );
}

export class HealthProber {
  readonly reactor: Reactor;
  readonly verdicts: VerdictTable;
  readonly news: HealthNews;
  private readonly checks: Map<string, HealthCheck>;
  /** It has followed a list: what the table had of a prober before this one is sorted out. */
  private hasFollowed: boolean;

  constructor(reactor: Reactor, verdicts: VerdictTable, news: HealthNews) {
    this.reactor = reactor;
    this.verdicts = verdicts;
    this.news = news;
    this.checks = new Map();
    this.hasFollowed = false;
  }

  /** Checks these from now on, and nothing else. */
  follow(targets: readonly HealthTarget[]): void {
    const gone = new Set(this.checks.keys());
    for (const [index, target] of targets.entries()) {
      const key = `${target.upstream}\n${serverKey(target.entry, target.tls)}`;
      if (!gone.delete(key) && this.checks.has(key)) continue;
      try {
        const known = this.checks.get(key);
        if (known === undefined) this.add(key, target, index / targets.length);
        else known.follow(target);
      } catch (error) {
        this.unchecked(target, error instanceof Error ? error.message : String(error));
      }
    }
    for (const key of gone) {
      this.checks.get(key)?.stop();
      this.checks.delete(key);
    }
    if (!this.hasFollowed)
      this.verdicts.releaseOthers(new Set([...this.checks.values()].map(({ slot }) => slot)));
    this.hasFollowed = true;
  }

  private add(key: string, target: HealthTarget, place: number): void {
    const slot = this.verdicts.claim(new VerdictName(target.upstream, serverKey(target.entry, target.tls)));
    if (slot < 0) {
      this.unchecked(target, 'there are too many servers to check');
      return;
    }
    try {
      const check = new HealthCheck(this, target, slot);
      this.checks.set(key, check);
      check.begin(place);
    } catch (error) {
      this.verdicts.release(slot);
      throw error;
    }
  }

  private unchecked({ entry, upstream }: HealthTarget, because: string): void {
    this.news.onUnchecked(serverLabel(entry.url), upstream, because);
  }

  /** Ends all checks; verdicts stay as they are. */
  stop(): void {
    for (const check of this.checks.values()) check.end();
    this.checks.clear();
  }
}

/** The checks of one target: when, how, and what came of them. */
class HealthCheck implements TimerHandler, ProbeOwner {
  private readonly prober: HealthProber;
  readonly slot: number;
  private readonly timer: Timer;
  private readonly tls: ClientContext | null;
  private target: HealthTarget;
  private request: ProbeRequest;
  /** The last one, which may still read what follows its answer's head. */
  private probe: HealthProbe | null;
  /** Its answer has not come. */
  private asking: boolean;
  /** Checks so far: each begins with the next address. */
  private count: number;
  private startedMs: number;
  private healthy: boolean;
  /** Checks in a row that say the opposite of the verdict. */
  private against: number;

  /** Throws an Error where its TLS can't be used. */
  constructor(prober: HealthProber, target: HealthTarget, slot: number) {
    this.prober = prober;
    this.slot = slot;
    this.timer = new Timer(this, 0);
    this.tls = target.tls === null ? null : contextOf(target.entry.url, target.tls);
    this.target = target;
    this.request = requestOf(target, this.tls);
    this.probe = null;
    this.asking = false;
    this.count = 0;
    this.startedMs = 0;
    this.healthy = prober.verdicts.isHealthy(slot);
    this.against = 0;
  }

  /** `place`: among all targets, from 0 to below 1. */
  begin(place: number): void {
    const { reactor } = this.prober;
    const spreadMs = Math.min(FIRST_SPREAD_MS, this.target.check.intervalSecs * 1000);
    reactor.timers.arm(this.timer, reactor.nowMs + Math.trunc(spreadMs * place));
  }

  follow(target: HealthTarget): void {
    const { intervalSecs } = this.target.check;
    const isFound = this.target.addresses.length === 0 && target.addresses.length > 0;
    this.target = target;
    this.request = requestOf(target, this.tls);
    if (isFound && !this.asking && this.count > 0) this.begin(0);
    else if (!this.asking && this.count > 0 && target.check.intervalSecs !== intervalSecs) this.schedule();
  }

  /** Nobody asks for it any more. */
  stop(): void {
    this.end();
    this.prober.verdicts.release(this.slot);
  }

  end(): void {
    this.prober.reactor.timers.disarm(this.timer);
    this.probe?.cancel();
    this.probe = null;
    this.tls?.free();
  }

  onTimer(): void {
    const { reactor } = this.prober;
    this.startedMs = reactor.nowMs;
    this.probe?.cancel();
    this.probe = new HealthProbe(reactor, this.request, this);
    this.asking = true;
    this.probe.start(this.count++);
  }

  onProbeEnd(status: number, failure: string): void {
    const { healthyStatuses } = this.target.check;
    const succeeded = failure === '' && healthyStatuses.includes(status);
    this.judge(succeeded, failure === '' ? `status ${status}` : failure);
    this.schedule();
  }

  onProbeImpossible(): void {
    this.schedule();
  }

  private judge(succeeded: boolean, because: string): void {
    const { unhealthyThreshold, healthyThreshold } = this.target.check;
    if (succeeded === this.healthy) {
      this.against = 0;
      return;
    }
    this.against++;
    if (this.against < (this.healthy ? unhealthyThreshold : healthyThreshold)) return;
    this.against = 0;
    this.healthy = succeeded;
    this.prober.verdicts.set(this.slot, succeeded);
    const { upstream, entry } = this.target;
    this.prober.news.onVerdict(serverLabel(entry.url), upstream, succeeded, because);
  }

  private schedule(): void {
    this.asking = false;
    const { reactor } = this.prober;
    const nextMs = this.startedMs + this.target.check.intervalSecs * 1000;
    reactor.timers.arm(this.timer, Math.max(nextMs, reactor.nowMs + 1));
  }
}

function requestOf({ entry, check, addresses }: HealthTarget, tls: ClientContext | null): ProbeRequest {
  return {
    addresses,
    tls,
    timeoutMs: check.timeoutSecs * 1000,
    speaksHttp2: tls === null && entry.useH2c,
    authority: entry.sniName ?? entry.authority,
    path: check.path,
  };
}
