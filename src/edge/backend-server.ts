/**
 * One server of upstream groups as this worker sees it: its addresses, its idle connections, what it has under way and
 * how it fared with that. It outlives the configuration that named it as long as a later one names it too, so that
 * connections stay warm and a server that is out stays out over a reload.
 */

import { type BackendHandshake, beginHandshake } from '../backend/backend-handshake.ts';
import { serverLabel } from '../backend/server-names.ts';
import { ENOMEM } from '../sys/errno.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { ClientContext } from '../tls/client-context.ts';
import type { BackendStream } from './backend-stream.ts';
import type { EdgeContext } from './context.ts';
import { PassiveHealth } from './health-passive.ts';
import { Http1Backend } from './http1-backend.ts';
import { Http2BackendPool } from './http2-backend-pool.ts';
import type { EdgeMetrics } from './metrics.ts';
import type { ProxyResponder } from './proxy-responder.ts';
import type { UpstreamGroup } from './upstream-group.ts';

/** How long a connection above the pool's limit may idle. */
export const SURPLUS_IDLE_MS = 1000;
/** How often a failure of TLS is told: the same one, and any. What comes between is counted. */
const SAME_FAILURE_MS = 10_000;
const ANY_FAILURE_MS = 1000;
/** For how long an address that could not be connected to is passed over while there are others. */
const ADDRESS_REST_MS = 10_000;

/** A group that the server is in, and where. */
interface Watcher {
  readonly group: UpstreamGroup;
  readonly index: number;
}

export class BackendServer {
  readonly context: EdgeContext;
  /** As written in the configuration: for logs. */
  readonly url: string;
  /** What logs call it where its health changes: `host:port`. */
  readonly label: string;
  /** What tells it from all others: the URL, and what is verified where TLS is spoken. */
  readonly key: string;
  /** How TLS is spoken to it, with the sessions that it gave; null: it isn't. */
  readonly tls: ClientContext | null;
  /** HTTP/2 with prior knowledge, and nothing else. */
  private readonly speaksHttp2: boolean;
  /** Addresses of its name, used in turn. At least one. */
  addresses: readonly SocketAddress[];
  /** What its exchanges met. */
  readonly health: PassiveHealth;
  /** Exchanges that have chosen it and are not over. */
  inFlight: number;
  /** Connections that may idle for longer than a second, and for how long; the most generous of all routes that use it. */
  idleMax: number;
  idleTimeoutMs: number;
  private nextAddress: number;
  /** By address: until when it is passed over. */
  private addressRests: Float64Array;
  /** Counts changes of `addresses`: a connection from before may be to one that is gone. */
  addressEpoch: number;
  /** Groups that it is in; and of these, those that choose by load. */
  private readonly watchers: Watcher[];
  private readonly loadWatchers: Watcher[];
  /**
   * The first `awake` may be taken. Those behind became idle in the reactor's turn `restingTurn` and rest until the next
   * one: what this turn still has of them must not become another exchange's response. A client that waits for its
   * response costs that no further connection, for its next request comes in a later turn.
   */
  private readonly idle: Http1Backend[];
  private awake: number;
  private restingTurn: number;
  private readonly all: Set<Http1Backend>;
  /** Its connections where HTTP/2 is spoken to it; null: only HTTP/1.1 is. Over TLS, both may be. */
  private readonly http2: Http2BackendPool | null;
  /** In the metrics; -1 until there is something to count. */
  private number: number;
  /** The last failure of TLS that was told, when (-1: never), and how many were not told since. */
  private failure: string;
  private failureMs: number;
  private failuresUntold: number;

  constructor(
    context: EdgeContext,
    url: string,
    addresses: readonly SocketAddress[],
    key: string = url,
    tls: ClientContext | null = null,
    speaksHttp2 = false,
  ) {
    this.context = context;
    this.url = url;
    this.label = serverLabel(url);
    this.key = key;
    this.tls = tls;
    this.speaksHttp2 = speaksHttp2;
    this.addresses = addresses;
    this.health = new PassiveHealth();
    this.inFlight = 0;
    this.idleMax = 0;
    this.idleTimeoutMs = 0;
    this.nextAddress = 0;
    this.addressRests = new Float64Array(addresses.length);
    this.addressEpoch = 0;
    this.watchers = [];
    this.loadWatchers = [];
    this.idle = [];
    this.awake = 0;
    this.restingTurn = 0;
    this.all = new Set();
    this.http2 = speaksHttp2 || tls !== null ? new Http2BackendPool(this) : null;
    this.number = -1;
    this.failure = '';
    this.failureMs = -1;
    this.failuresUntold = 0;
  }

  /** A configuration that names the server comes into force. */
  follow(addresses: readonly SocketAddress[]): void {
    this.readdress(addresses);
    this.idleMax = 0;
    this.idleTimeoutMs = 0;
  }

  /**
   * Its name has these addresses now. Idle connections to others are closed; those at work finish what they do and
   * are closed then.
   */
  readdress(addresses: readonly SocketAddress[]): void {
    const { addresses: before, addressRests } = this;
    const same = (a: SocketAddress): number => before.findIndex((b) => sameAddress(a, b));
    if (addresses.length === before.length && addresses.every((each) => same(each) >= 0)) return;
    // Connections know theirs by identity.
    this.addresses = addresses.map((each) => before[same(each)] ?? each);
    this.addressRests = Float64Array.from(addresses, (each) => addressRests[same(each)] ?? 0);
    this.addressEpoch++;
    for (const backend of [...this.idle]) if (backend.hasLostAddress) backend.close(false);
    this.http2?.leaveLostAddresses();
  }

  /** Whether that is one of its addresses, as the object that `takeAddress` gave. */
  hasAddress(address: SocketAddress | null): boolean {
    return address === null || this.addresses.includes(address);
  }

  /** One of its routes lets this many connections idle, for so long. */
  allowIdle(idleMax: number, idleTimeoutMs: number): void {
    this.idleMax = Math.max(this.idleMax, idleMax);
    this.idleTimeoutMs = Math.max(this.idleTimeoutMs, idleTimeoutMs);
  }

  /** An idle connection, the warmest first, or a stream on one that has room; or null. It is the caller's. */
  takeIdle(forUpgrade: boolean): BackendStream | null {
    const stream = this.http2 === null || this.keepsToHttp1(forUpgrade) ? null : this.http2.take();
    if (stream !== null || this.speaksHttp2) return stream;
    this.wakeRested();
    if (this.awake === 0) return null;
    const { idle } = this;
    const taken = idle[--this.awake];
    const last = idle.pop();
    if (last !== taken && last !== undefined) idle[this.awake] = last;
    return taken;
  }

  /** Over TLS there is HTTP/1.1 for upgrades, which HTTP/2 has none of. */
  private keepsToHttp1(forUpgrade: boolean): boolean {
    return forUpgrade && !this.speaksHttp2;
  }

  private wakeRested(): void {
    const { turns } = this.context.reactor.counters;
    if (turns === this.restingTurn) return;
    this.awake = this.idle.length;
    this.restingTurn = turns;
  }

  /** A new connection that is being made for `responder` (HTTP/2: perhaps for others too), or -errno. */
  connect(responder: ProxyResponder, timeoutMs: number, forUpgrade: boolean): BackendStream | number {
    const keepsToHttp1 = this.keepsToHttp1(forUpgrade);
    if (this.http2?.isKnown === true && !keepsToHttp1) return this.http2.connect(responder, timeoutMs);
    const address = this.takeAddress();
    const handshake =
      this.tls === null ? null : beginHandshake(this.context.reactor, this.tls, !keepsToHttp1);
    if (this.tls !== null && handshake === null) return -ENOMEM;
    const backend = new Http1Backend(this.context, this, handshake);
    const errno = backend.connect(address, responder, timeoutMs);
    if (errno < 0) return errno;
    this.all.add(backend);
    this.countConnect();
    return backend;
  }

  /** TLS on a new connection has agreed on HTTP/2 (Http2BackendPool.adopt). */
  adoptHttp2(
    tls: BackendHandshake,
    responder: ProxyResponder,
    address: SocketAddress | null,
    timeoutMs: number,
  ): boolean {
    return this.http2?.adopt(tls, responder, address, timeoutMs) === true;
  }

  /** The next address in turn, but for those that rest; if all do, the next one all the same. */
  takeAddress(): SocketAddress {
    const { addresses, addressRests } = this;
    const { nowMs } = this.context.reactor;
    const count = addresses.length;
    let chosen = this.nextAddress % count;
    for (let step = 0; step < count; step++) {
      const at = (this.nextAddress + step) % count;
      if (addressRests[at] > nowMs) continue;
      chosen = at;
      break;
    }
    this.nextAddress = (chosen + 1) % count;
    return addresses[chosen];
  }

  /** Connecting to one of its addresses has failed, or has not. */
  addressTried(address: SocketAddress, failed: boolean): void {
    const at = this.addresses.indexOf(address);
    if (at >= 0) this.addressRests[at] = failed ? this.context.reactor.nowMs + ADDRESS_REST_MS : 0;
  }

  // ---- Load and health --------------------------------------------------------------------------------

  /** The group hears of its load and health from now on. */
  watch(group: UpstreamGroup, index: number): void {
    this.watchers.push({ group, index });
    if (group.countsLoad) this.loadWatchers.push({ group, index });
  }

  unwatch(group: UpstreamGroup): void {
    for (const watchers of [this.watchers, this.loadWatchers]) {
      const left = watchers.filter((watcher) => watcher.group !== group);
      watchers.splice(0, watchers.length, ...left);
    }
  }

  /** An exchange has chosen it; one that had chosen it is over. */
  addInFlight(change: number): void {
    this.inFlight += change;
    const { loadWatchers } = this;
    for (let index = 0; index < loadWatchers.length; index++)
      loadWatchers[index].group.onLoad(loadWatchers[index].index, this.inFlight);
  }

  /** Whether it may be used has changed. */
  tellWatchers(): void {
    for (const { group } of this.watchers) group.onHealth();
  }

  /** A request to it has failed by its fault, for a reason of one word. */
  failed(reason: string, isProbe: boolean): void {
    // Where there is no other, it is asked again whatever it did.
    if (!isProbe && !this.watchers.some(({ group }) => group.isPool)) return;
    const { nowMs } = this.context.reactor;
    if (!this.health.failed(nowMs, isProbe)) return;
    if (!isProbe) this.context.info(`Upstream ${this.label} is now unhealthy`, reason);
    this.tellWatchers();
  }

  /** A complete response came, or the head of one for a probe. */
  succeeded(isProbe: boolean): void {
    if (!this.health.succeeded(this.context.reactor.nowMs, isProbe)) return;
    this.context.info(`Upstream ${this.label} is now healthy`, 'probed');
    this.tellWatchers();
  }

  /** A probe has ended without an answer to its question. */
  probeDropped(): void {
    this.health.dropProbe();
    this.tellWatchers();
  }

  /** TLS with it failed, for a reason in words: told, but not each time. */
  tlsFailed(reason: string): void {
    const { nowMs } = this.context.reactor;
    const sinceMs = this.failureMs < 0 ? SAME_FAILURE_MS : nowMs - this.failureMs;
    if (sinceMs < (reason === this.failure ? SAME_FAILURE_MS : ANY_FAILURE_MS)) {
      this.failuresUntold++;
      return;
    }
    const untold =
      this.failuresUntold === 0 ? '' : ` (and ${this.failuresUntold} more failures since the last report)`;
    this.context.warn(`backend ${this.url}: TLS failed: ${reason}${untold}`);
    this.failure = reason;
    this.failureMs = nowMs;
    this.failuresUntold = 0;
  }

  // ---- Metrics ----------------------------------------------------------------------------------------

  private numberIn(metrics: EdgeMetrics): number {
    if (this.number < 0) this.number = metrics.serverNumber(this.url);
    return this.number;
  }

  /** A connection was begun. */
  countConnect(): void {
    const { metrics } = this.context;
    if (metrics !== null) metrics.upstreamConnects(this.numberIn(metrics));
  }

  /** The head of a response came, this long after its request was begun. */
  countAnswer(ms: number): void {
    const { metrics } = this.context;
    if (metrics !== null) metrics.upstreamAnswered(this.numberIn(metrics), ms);
  }

  /** A request to it, or connecting for one, has failed. */
  countFailure(code: number): void {
    const { metrics } = this.context;
    if (metrics !== null) metrics.upstreamFailed(this.numberIn(metrics), code);
  }

  /** A request that it has failed is sent once more, to it or to another server. */
  countRetry(): void {
    const { metrics } = this.context;
    if (metrics !== null) metrics.upstreamRetried(this.numberIn(metrics));
  }

  get addressCount(): number {
    return this.addresses.length;
  }

  putIdle(backend: Http1Backend): void {
    this.wakeRested();
    this.idle.push(backend);
  }

  /** The connection is idle no more, without having been taken. */
  dropIdle(backend: Http1Backend): void {
    const index = this.idle.indexOf(backend);
    if (index < 0) return;
    this.idle.splice(index, 1);
    if (index < this.awake) this.awake--;
  }

  forget(backend: Http1Backend): void {
    this.all.delete(backend);
  }

  get idleCount(): number {
    return this.idle.length + (this.http2 === null ? 0 : this.http2.idleCount);
  }

  get connectionCount(): number {
    return this.all.size + (this.http2 === null ? 0 : this.http2.connectionCount);
  }

  /** Closes idle connections; those at work close when they are done. Called when no configuration names the server any more, and at the end. */
  retire(): void {
    this.idleMax = 0;
    this.idleTimeoutMs = 0;
    this.awake = 0;
    for (const backend of this.idle.splice(0)) backend.close(false);
    this.http2?.retire();
    this.tls?.free();
  }
}

function sameAddress(a: SocketAddress, b: SocketAddress): boolean {
  if (a.family === 'unix' || b.family === 'unix')
    return a.family === 'unix' && b.family === 'unix' && a.path === b.path;
  return a.address === b.address && a.port === b.port;
}
