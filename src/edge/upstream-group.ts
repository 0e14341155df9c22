/**
 * A group of servers that answer alike, and the choice among them: what the prober and this worker's own requests say
 * of each server is turned into the weights that the group's balancer chooses by.
 *
 * A group of one server has nothing to choose: what its own requests met there takes it out of no use, since the
 * answer that says what is wrong is worth more than 503. The prober's verdict counts for it too.
 */

import { ConstantText } from '../base/bytes.ts';
import type { ServerEntry, UpstreamConfig } from '../config/model.ts';
import { BODY_NONE, isIdempotent } from '../http/message.ts';
import { VerdictName, type VerdictTable } from '../shared/health-verdicts.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { BackendServer } from './backend-server.ts';
import { type Balancer, NO_SERVER } from './balancing.ts';
import { HashBalancer } from './balancing-hash.ts';
import { QueueBalancer } from './balancing-queue.ts';
import type { Exchange } from './exchange.ts';

/** How often the weights of servers that start slowly are raised. */
const WARM_STEP_MS = 250;
/** How long a probe waits for a request that could go elsewhere if it fails. Then any will do. */
const PROBE_PATIENCE_MS = 5000;
const NEVER = Number.POSITIVE_INFINITY;

/** A server with what this configuration says of it. */
export class GroupServer {
  readonly server: BackendServer;
  /** Its place in its group. */
  readonly index: number;
  readonly weight: number;
  /** Without a trailing slash; empty for the root. */
  readonly basePath: ConstantText;
  /** The URL's path was written with a slash at its end: `/api` alone becomes `/app/`, not `/app`. */
  readonly baseEndsInSlash: boolean;
  readonly authority: ConstantText;
  /** What the server becomes when this configuration is in force: its addresses, and what may idle. */
  readonly addresses: readonly SocketAddress[];
  idleMax: number;
  idleTimeoutMs: number;
  /** Where the prober's verdict is: by name, and the slot that was last found (-1: none). */
  readonly verdictName: VerdictName;
  verdictSlot: number;
  /** The prober's verdict as last read. */
  verdict: boolean;

  constructor(
    server: BackendServer,
    entry: ServerEntry,
    addresses: readonly SocketAddress[],
    upstream: string,
    index: number,
  ) {
    this.server = server;
    this.index = index;
    this.weight = entry.weight;
    this.addresses = addresses;
    this.idleMax = 0;
    this.idleTimeoutMs = 0;
    this.verdictName = new VerdictName(upstream, server.key);
    this.verdictSlot = -1;
    this.verdict = true;
    this.basePath = new ConstantText(entry.basePath === '/' ? '' : entry.basePath);
    this.baseEndsInSlash = entry.basePath === '/' || entry.url.endsWith('/');
    this.authority = new ConstantText(entry.authority);
  }
}

export class UpstreamGroup {
  readonly name: string;
  readonly servers: readonly GroupServer[];
  /** The choice that was made last is the one request that finds out whether its server is well again. */
  choiceIsProbe: boolean;
  private readonly balancer: Balancer;
  private readonly verdicts: VerdictTable;
  /** The prober asks for its servers. */
  readonly isChecked: boolean;
  private epochSeen: number;
  /** When the weights of servers that start slowly are next raised, and when the next server may be probed; NEVER. */
  private warmMs: number;
  private probeMs: number;
  /** By index, while a retry is chosen for: 1, it has been tried. */
  private readonly excluded: Uint8Array;

  constructor(config: UpstreamConfig, servers: readonly GroupServer[], verdicts: VerdictTable) {
    const weights = servers.map(({ weight }) => weight);
    this.name = config.name;
    this.servers = servers;
    this.choiceIsProbe = false;
    this.balancer =
      config.algorithm === 'ip_hash' && servers.length > 1
        ? new HashBalancer(
            weights,
            servers.map(({ server }) => server.key),
          )
        : new QueueBalancer(weights, config.algorithm === 'least_conn');
    this.verdicts = verdicts;
    this.isChecked = config.healthCheck !== null;
    this.epochSeen = -1;
    this.warmMs = NEVER;
    this.probeMs = NEVER;
    this.excluded = new Uint8Array(servers.length);
    for (const member of servers) {
      member.server.watch(this, member.index);
      this.onLoad(member.index, member.server.inFlight);
    }
    this.reweigh();
  }

  /** There is another server to go to. */
  get isPool(): boolean {
    return this.servers.length > 1;
  }

  /** It wants to hear of loads. */
  get countsLoad(): boolean {
    return this.balancer.countsLoad && this.isPool;
  }

  /** Nobody enters it any more. */
  close(): void {
    for (const { server } of this.servers) server.unwatch(this);
  }

  /**
   * The server for an exchange, or null when none may be used; then `retryAfterSecs` of the exchange says how long that
   * may last, where it is known. `tried` are servers that have failed it.
   */
  choose(exchange: Exchange, tried: readonly BackendServer[]): GroupServer | null {
    const { nowMs } = exchange.reactor;
    this.choiceIsProbe = false;
    if (this.isChecked && this.verdicts.epoch !== this.epochSeen) this.readVerdicts(nowMs);
    if (nowMs >= this.warmMs) this.reweigh();
    if (nowMs >= this.probeMs) {
      const due = this.probeFor(exchange, tried, nowMs);
      if (due !== null) return due;
    }
    const words = exchange.client === null ? null : exchange.client.words;
    const index =
      tried.length === 0
        ? this.balancer.choose(words)
        : this.balancer.chooseExcept(words, this.excludedOf(tried));
    if (index !== NO_SERVER) return this.servers[index];
    if (this.probeMs !== NEVER && tried.length === 0)
      exchange.retryAfterSecs = Math.max(1, Math.ceil((this.probeMs - nowMs) / 1000));
    return null;
  }

  private excludedOf(tried: readonly BackendServer[]): Uint8Array {
    const { excluded, servers } = this;
    for (let index = 0; index < servers.length; index++)
      excluded[index] = tried.includes(servers[index].server) ? 1 : 0;
    return excluded;
  }

  /** A server that is out, whose time is over, for a request that may find out whether it is well again; or null. */
  private probeFor(exchange: Exchange, tried: readonly BackendServer[], nowMs: number): GroupServer | null {
    const { request } = exchange;
    const isLast = this.balancer.size === 0;
    const canGoElsewhere =
      tried.length === 0 && request.bodyKind === BODY_NONE && isIdempotent(request.methodId);
    if (!canGoElsewhere && !isLast && nowMs < this.probeMs + PROBE_PATIENCE_MS) return null;
    for (let index = 0; index < this.servers.length; index++) {
      const member = this.servers[index];
      const { server } = member;
      if (!member.verdict || !server.health.mayProbe(nowMs) || tried.includes(server)) continue;
      server.health.beginProbe();
      server.tellWatchers();
      this.choiceIsProbe = true;
      return member;
    }
    return null;
  }

  /** A server of the group has more or less under way. */
  onLoad(index: number, inFlight: number): void {
    this.balancer.setLoad(index, inFlight);
  }

  /** What was seen of a server has changed whether it may be used. */
  onHealth(): void {
    this.reweigh();
  }

  private readVerdicts(nowMs: number): void {
    const { verdicts } = this;
    // Before the slots: what changes while they are read is read once more.
    this.epochSeen = verdicts.epoch;
    for (const member of this.servers) {
      const { verdictName, server } = member;
      if (!verdicts.belongsTo(member.verdictSlot, verdictName))
        member.verdictSlot = verdicts.find(verdictName);
      const verdict = member.verdictSlot < 0 || verdicts.isHealthy(member.verdictSlot);
      if (verdict && !member.verdict) {
        server.health.recover(nowMs);
        server.tellWatchers();
      }
      member.verdict = verdict;
    }
    this.reweigh();
  }

  /** Gives every server the weight that it is to have now. */
  private reweigh(): void {
    const { balancer, servers } = this;
    let warmMs = NEVER;
    let probeMs = NEVER;
    for (let index = 0; index < servers.length; index++) {
      const { server, weight, verdict } = servers[index];
      const { health } = server;
      const { nowMs } = server.context.reactor;
      let present = verdict && (health.isIn || !this.isPool) ? weight : 0;
      if (present > 0 && balancer.startsSlowly && health.isWarming(nowMs)) {
        present *= health.share(nowMs);
        warmMs = nowMs + WARM_STEP_MS;
      }
      balancer.setWeight(index, present);
      if (this.isPool && verdict && health.awaitsProbe) probeMs = Math.min(probeMs, health.untilMs);
    }
    this.warmMs = warmMs;
    this.probeMs = probeMs;
  }

  /** A route that uses the group lets this many connections idle. */
  allowIdle(idleMax: number, idleTimeoutMs: number): void {
    for (const member of this.servers) {
      member.idleMax = Math.max(member.idleMax, idleMax);
      member.idleTimeoutMs = Math.max(member.idleTimeoutMs, idleTimeoutMs);
    }
  }
}
