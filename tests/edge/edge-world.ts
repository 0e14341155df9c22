/**
 * A small world around the edge, on a simulated network with virtual time: the edge itself, from its listener to
 * its backends, and sockets on both sides of it that tests play by hand. No sleeps, no ports, no chance.
 */

import assert from 'node:assert/strict';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/model.ts';
import { formatProblem } from '../../src/config/problem.ts';
import type { SharedMetrics } from '../../src/edge/metrics.ts';
import { EdgeWorker } from '../../src/edge/worker.ts';
import {
  arenaBytes,
  BufferPool,
  LARGE,
  LARGE_BYTES,
  type PoolShape,
  SMALL,
  SMALL_BYTES,
} from '../../src/io/buffer-pool.ts';
import type { Handle, ListenerHandler, SocketHandler } from '../../src/io/reactor.ts';
import { SimBufferPool, SimReactor } from '../../src/io/sim.ts';
import { NO_FAULTS, type SimFaults } from '../../src/io/sim-faults.ts';
import { SimNetwork } from '../../src/io/sim-network.ts';
import { Log } from '../../src/log/log.ts';
import { HealthProber, healthTargets } from '../../src/outbound/health-prober.ts';
import type { SharedState } from '../../src/shared/state.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { FileSink } from '../fixtures/log-sink.ts';

export const EDGE: SocketAddress = { family: 'ipv4', address: '10.0.0.1', port: 80 };
/** Where backends live: at this address, on any port. */
export const ORIGIN = '10.0.0.2';
export const CLIENT = '10.0.0.3';

const AMPLE: PoolShape = { small: 256, medium: 256, large: 32 };
const ACTORS: PoolShape = { small: 4096, medium: 2048, large: 512 };
/** Long enough for all that happens without a timer. */
const SETTLE_MS = 40;

export interface EdgeWorldOptions {
  /** TOML after `[server]`'s listen; several routes are to be there. */
  readonly config?: string;
  /** `server.listen` as TOML; EDGE alone by default. */
  readonly listen?: string;
  /** Lines of `[server]`. */
  readonly server?: string;
  /** Lines of the `.security` table of the standard route. */
  readonly security?: string;
  /** Lines of the standard route beside its url. */
  readonly route?: string;
  readonly faults?: Partial<SimFaults>;
  readonly pool?: PoolShape;
  /** The edge's arena instead of an honest one. */
  readonly edgePool?: (shape: PoolShape) => BufferPool;
  readonly descriptorsMax?: number;
  readonly seed?: number;
  /** Memory that several workers count in. */
  readonly metrics?: SharedMetrics;
  /** What it shares with other workers. */
  readonly shared?: SharedState;
}

/** One end of a connection to the edge, played by hand. */
export class Peer implements SocketHandler {
  readonly reactor: SimReactor;
  handle: Handle;
  /** All that came, as Latin-1. */
  text: string;
  bytes: number;
  /** How the connection ended: null while it lives, 0 for an orderly end, -errno otherwise. */
  end: number | null;
  connectErrno: number | null;
  sendErrno: number;
  /** Called after each receive. */
  onText: (() => void) | null;
  private reading: boolean;

  constructor(reactor: SimReactor) {
    this.reactor = reactor;
    this.handle = 0;
    this.text = '';
    this.bytes = 0;
    this.end = null;
    this.connectErrno = null;
    this.sendErrno = 0;
    this.onText = null;
    this.reading = true;
  }

  onConnect(_handle: Handle, errno: number): void {
    this.connectErrno = errno;
    if (errno === 0 && this.reading) this.reactor.receiveStart(this.handle);
    if (errno < 0) this.end = errno;
  }

  onReceive(_handle: Handle, buffer: number, offset: number, length: number): void {
    this.text += this.reactor.pool.text.latin1Slice(offset, offset + length);
    this.bytes += length;
    this.reactor.pool.release(buffer);
    this.onText?.();
  }

  onReceiveEnd(_handle: Handle, errno: number): void {
    this.end = errno;
  }

  onSend(_handle: Handle, _tag: number, result: number): void {
    if (result < 0) this.sendErrno = result;
  }

  onClose(): void {}

  /** Queues text (Latin-1) to be sent as the edge takes it. */
  send(text: string): void {
    const { pool } = this.reactor;
    for (let at = 0; at < text.length; at += LARGE_BYTES) {
      const part = text.slice(at, at + LARGE_BYTES);
      const buffer = pool.acquire(part.length <= SMALL_BYTES ? SMALL : LARGE);
      assert.ok(buffer >= 0, 'the test has no memory to send from');
      const offset = pool.offsetOf(buffer);
      pool.text.latin1Write(part, offset, part.length);
      this.reactor.send(this.handle, buffer, offset, part.length, 1);
    }
  }

  /** Forgets what came and returns it. */
  take(): string {
    const { text } = this;
    this.text = '';
    return text;
  }

  stopReading(): void {
    this.reading = false;
    this.reactor.receiveStop(this.handle);
  }

  read(): void {
    this.reading = true;
    this.reactor.receiveStart(this.handle);
  }

  /** Ends this half. */
  finish(): void {
    this.reactor.shutdownSend(this.handle);
  }

  close(): void {
    this.reactor.close(this.handle, false);
  }

  reset(): void {
    this.reactor.close(this.handle, true);
  }
}

/** A backend that listens on one address; its connections are in `peers`, oldest first. */
export class Origin implements ListenerHandler {
  readonly reactor: SimReactor;
  readonly peers: Peer[];
  /** What a new connection does when bytes come. */
  onText: ((peer: Peer) => void) | null;
  /** New connections don't read until they are told to. */
  deaf: boolean;
  listener: Handle;

  constructor(reactor: SimReactor) {
    this.reactor = reactor;
    this.peers = [];
    this.onText = null;
    this.deaf = false;
    this.listener = 0;
  }

  onAccept(_listener: Handle, handle: Handle): void {
    const peer = new Peer(this.reactor);
    peer.handle = handle;
    this.reactor.adopt(handle, peer);
    peer.onText = () => this.onText?.(peer);
    this.peers.push(peer);
    if (!this.deaf) peer.read();
  }

  onAcceptError(): void {}

  /** The newest connection. */
  get last(): Peer {
    const peer = this.peers.at(-1);
    assert.ok(peer !== undefined, 'nobody has connected to the backend');
    return peer;
  }

  /** Answers every head (without content) with this. */
  answers(response: string): void {
    this.onText = (peer) => {
      for (let at = peer.text.indexOf('\r\n\r\n'); at >= 0; at = peer.text.indexOf('\r\n\r\n')) {
        peer.text = peer.text.slice(at + 4);
        peer.send(response);
      }
    };
  }

  close(): void {
    this.reactor.close(this.listener, false);
  }
}

export class EdgeWorld {
  readonly network: SimNetwork;
  readonly edge: SimReactor;
  readonly worker: EdgeWorker;
  readonly prober: HealthProber;
  /** What health checks have found, oldest first: `10.0.0.2:8080 unhealthy: timeout`. */
  readonly health: string[];
  private readonly outside: SimReactor;
  private readonly inside: SimReactor;
  private readonly peers: Peer[];
  readonly origins: Origin[];

  constructor(options: EdgeWorldOptions = {}) {
    const faults = { ...NO_FAULTS, ...options.faults };
    this.network = new SimNetwork(options.seed ?? 1, faults);
    this.peers = [];
    this.origins = [];
    this.edge = new SimReactor(this.network, {
      label: 'edge',
      ipv4: '10.0.0.1',
      ipv6: 'fd00::1',
      pool: options.edgePool?.(options.pool ?? AMPLE) ?? new SimBufferPool(options.pool ?? AMPLE),
      descriptorsMax: options.descriptorsMax ?? 1000,
    });
    // What fails, fails at the edge.
    const actor = (label: string, ipv4: string, ipv6: string): SimReactor =>
      new SimReactor(this.network, { label, ipv4, ipv6, faults: NO_FAULTS, pool: actorPool() });
    this.outside = actor('clients', CLIENT, 'fd00::3');
    this.inside = actor('origins', ORIGIN, 'fd00::2');
    const config = configOf(options);
    const log = new Log(config.logging, new FileSink(config.logging.filePath));
    this.worker = new EdgeWorker(this.edge, log, options.shared);
    if (options.metrics !== undefined) this.worker.sharedMetrics = options.metrics;
    this.health = [];
    this.prober = new HealthProber(this.edge, this.worker.verdicts, {
      onVerdict: (label, _upstream, healthy, because) =>
        this.health.push(`${label} ${healthy ? 'healthy' : 'unhealthy'}: ${because}`),
      onUnchecked: (label) => assert.fail(`${label} is not checked`),
    });
    this.configure(config);
    for (const address of config.server.listen) {
      const bound = this.worker.listen(address);
      assert.ok(typeof bound !== 'number', 'the edge listens');
    }
  }

  /** Puts another configuration in force, as SIGHUP does. */
  reload(options: EdgeWorldOptions): void {
    this.configure(configOf(options));
  }

  private configure(config: Config): void {
    this.worker.configure(config, resolved(config));
    this.prober.follow(healthTargets(config, resolved(config)));
  }

  /** A backend that listens on this port of ORIGIN, or on another address. */
  origin(where: number | SocketAddress = 8080): Origin {
    const origin = new Origin(this.inside);
    const address: SocketAddress =
      typeof where === 'number' ? { family: 'ipv4', address: ORIGIN, port: where } : where;
    origin.listener = this.inside.listen(address, { backlog: 1000, reusePort: false }, origin);
    assert.ok(origin.listener > 0, 'the backend listens');
    this.origins.push(origin);
    return origin;
  }

  /** A client, connected. */
  client(text = '', address: SocketAddress = EDGE): Peer {
    const peer = new Peer(this.outside);
    peer.handle = this.outside.connect(address, peer);
    this.peers.push(peer);
    this.settle();
    if (text !== '') {
      peer.send(text);
      this.settle();
    }
    return peer;
  }

  /** Lets all happen that needs no timer. */
  settle(): void {
    this.network.run(this.network.timeMs + SETTLE_MS);
  }

  /** Lets this much time pass. */
  pass(ms: number): void {
    this.network.run(this.network.timeMs + ms);
  }

  /** Lets time pass until something holds; false where it did not within the limit. */
  until(holds: () => boolean, limitMs: number): boolean {
    return this.network.run(holds, this.network.timeMs + limitMs);
  }

  /** Everybody goes away and the edge stops: nothing may be left of anything. */
  end(): void {
    for (const peer of this.peers) peer.close();
    this.settle();
    for (const origin of this.origins) {
      for (const peer of origin.peers) peer.close();
      origin.close();
    }
    this.prober.stop();
    const groups = this.worker.upstreamGroups();
    let stopped = false;
    this.worker.shutdown(1000, false, () => {
      stopped = true;
    });
    this.until(() => stopped, 5000);
    this.pass(5000);
    assert.ok(stopped, 'the edge stops');
    assert.equal(this.worker.shared.connections.ownTotal, 0, 'every connection was given back');
    for (const { server } of groups.flatMap(({ servers }) => servers))
      assert.equal(server.inFlight, 0, `nothing is under way at ${server.url}`);
    this.network.assertQuiet();
  }
}

/** Untouched memory costs nothing, and what actors do to theirs is no matter here. */
function actorPool(): BufferPool {
  return new BufferPool(new ArrayBuffer(arenaBytes(ACTORS)), 0, ACTORS);
}

function configOf(options: EdgeWorldOptions): Config {
  const routes =
    options.config ??
    `[path_routes."example.com"."/"]
type = "Proxy"
url = "http://${ORIGIN}:8080"
${options.route ?? ''}
[path_routes."example.com"."/".security]
${options.security ?? ''}
`;
  const toml = `[server]
listen = ${options.listen ?? '"10.0.0.1:80"'}
${options.server ?? ''}
[logging]
level = "off"
${routes}`;
  const { config, problems } = loadConfig(toml, '/etc/edge/config.toml', {
    files: { kindOf: (path) => (path.endsWith('.sock') ? 'socket' : 'directory'), isReachable: () => true },
  });
  assert.deepEqual(
    problems.map((problem) => formatProblem(problem, '')),
    [],
  );
  assert.ok(config !== null);
  return config;
}

/** Every server by its own address; a host `both` has two. */
function resolved(config: Config): Map<string, readonly SocketAddress[]> {
  const addresses = new Map<string, readonly SocketAddress[]>();
  for (const { url, target } of config.upstreams.flatMap((upstream) => upstream.servers)) {
    addresses.set(url, addressesOf(target));
  }
  return addresses;
}

function addressesOf(target: Config['upstreams'][0]['servers'][0]['target']): readonly SocketAddress[] {
  if (target.kind === 'unix') return [{ family: 'unix', path: target.path }];
  const { host, port } = target;
  if (host === 'both.test') {
    return ['10.0.0.9', ORIGIN].map((address) => ({ family: 'ipv4', address, port }));
  }
  return [{ family: host.includes(':') ? 'ipv6' : 'ipv4', address: host, port }];
}

// ---- Messages -----------------------------------------------------------------------------------------

/** A GET for a path with these field lines. */
export function get(path = '/', ...lines: string[]): string {
  return `GET ${path} HTTP/1.1\r\nHost: example.com\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;
}

/** A request with content of a length. */
export function withBody(method: string, path: string, body: string, ...lines: string[]): string {
  return `${method} ${path} HTTP/1.1\r\nHost: example.com\r\n${lines.map((line) => `${line}\r\n`).join('')}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** A 200 with content of a length. */
export function ok(body: string, ...lines: string[]): string {
  return `HTTP/1.1 200 OK\r\n${lines.map((line) => `${line}\r\n`).join('')}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** Statuses of the responses in a text, by their status lines. */
export function statuses(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d\d\d) [^\r\n]*\r\n/g)].map((match) => Number(match[1]));
}

/** What stands behind the first head. */
export function bodyOf(text: string): string {
  const at = text.indexOf('\r\n\r\n');
  return at < 0 ? '' : text.slice(at + 4);
}

/** Values of a field in the first head. */
export function fieldsOf(text: string, name: string): string[] {
  const head = text.slice(0, text.indexOf('\r\n\r\n'));
  return head
    .split('\r\n')
    .slice(1)
    .filter((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`))
    .map((line) => line.slice(name.length + 1).trim());
}

/** The content of a chunked body; what is not one, or not a complete one, fails. */
export function dechunked(body: string): string {
  let content = '';
  for (let at = 0; ; ) {
    const line = /^([0-9a-f]+)\r\n/.exec(body.slice(at, at + 20));
    assert.ok(line !== null, `no chunk at ${at}`);
    const length = Number.parseInt(line[1], 16);
    at += line[0].length;
    if (length === 0) {
      assert.equal(body.slice(at), '\r\n');
      return content;
    }
    content += body.slice(at, at + length);
    assert.equal(body.slice(at + length, at + length + 2), '\r\n');
    at += length + 2;
  }
}
