/**
 * A whole world in one process and one thread: clients, the edge, and origins on a simulated network, all
 * drawn from one seed. The edge is the product's own, from its listener to its upstreams.
 */

import { Random } from '../../src/base/random.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/model.ts';
import { formatProblem } from '../../src/config/problem.ts';
import { EdgeWorker } from '../../src/edge/worker.ts';
import type { BufferPool, PoolShape } from '../../src/io/buffer-pool.ts';
import { SimBufferPool, SimReactor } from '../../src/io/sim.ts';
import { randomFaults, roughFaults, type SimFaults } from '../../src/io/sim-faults.ts';
import { SimNetwork } from '../../src/io/sim-network.ts';
import { Log } from '../../src/log/log.ts';
import type { MappedMemory } from '../../src/sys/memory.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { FileSink } from '../fixtures/log-sink.ts';
import { type Circumstances, Client } from './client.ts';
import { FILES_ROOT, Library } from './files.ts';
import { Origin } from './origin.ts';
import { BODY_BYTES_MAX, type Mood, Planner } from './plan.ts';
import { clientMemory, edgeMemory, SecureWorld } from './secure-world.ts';
import { Verdict } from './verdict.ts';

const EDGE: SocketAddress = { family: 'ipv4', address: '10.0.0.1', port: 80 };
const CLIENT_ADDRESS = '10.0.0.2';
const ORIGINS: readonly SocketAddress[] = [
  { family: 'ipv4', address: '10.0.0.3', port: 8001 },
  { family: 'ipv4', address: '10.0.0.3', port: 8002 },
  { family: 'ipv4', address: '10.0.0.3', port: 8003 },
  { family: 'unix', path: '/run/origin.sock' },
];
/** How the servers of the pool are chosen: each world has one. */
const ALGORITHMS = ['round_robin', 'least_conn', 'ip_hash'];

function configText(connectionsMax: number, algorithm: string): string {
  return `
[security]
max_concurrent_connections = ${connectionsMax}

[server]
listen = "10.0.0.1:80"
keep_alive_timeout_secs = 20
write_timeout_secs = 20

[logging]
level = "off"

[upstreams.pool]
algorithm = "${algorithm}"
servers = ["http://10.0.0.3:8001/base/", { url = "http://10.0.0.3:8002/base/", weight = 3 }, "http://10.0.0.3:8003/base/"]

[path_routes."edge.test"."/pool"]
type = "Proxy"
upstream = "pool"
[path_routes."edge.test"."/pool".security]
client_header_timeout_secs = 10
client_body_timeout_secs = 10
backend_connect_timeout_secs = 3
backend_response_timeout_secs = 8
idle_connection_timeout_secs = 5
max_request_body_size = ${BODY_BYTES_MAX}
max_chunked_body_size = ${BODY_BYTES_MAX}

[path_routes."edge.test"."/unix"]
type = "Proxy"
url = "unix:/run/origin.sock"
[path_routes."edge.test"."/unix".security]
client_header_timeout_secs = 10
client_body_timeout_secs = 10
backend_connect_timeout_secs = 3
backend_response_timeout_secs = 8
idle_connection_timeout_secs = 5
max_request_body_size = ${BODY_BYTES_MAX}
max_chunked_body_size = ${BODY_BYTES_MAX}

[path_routes."edge.test"."/files"]
type = "File"
path = "${FILES_ROOT}"
mode = "sendfile"

[path_routes."edge.test"."/memory"]
type = "File"
path = "${FILES_ROOT}"
mode = "memory"
`;
}

/** Enough that nothing is refused for want of memory. */
const AMPLE: PoolShape = { small: 1024, medium: 512, large: 160 };
const ACTORS: PoolShape = { small: 1, medium: 256, large: 32 };
/** So few that most worlds run out of one class or another; enough to start with. */
function scarceShape(random: Random): PoolShape {
  return { small: 32 + random.below(80), medium: 6 + random.below(40), large: 1 + random.below(10) };
}

/** All of a world's life: the clients' patience and the edge's timeouts many times over. */
const LIFE_MS = 3_000_000;
/** After the last client has gone, every connection of the edge ends within its timeouts. */
const AFTERMATH_MS = 200_000;
const SHUTDOWN_MS = 30_000;

export interface WorldOptions {
  /** The edge's pool instead of an honest one: how a planted bug gets in. */
  readonly edgePool?: (shape: PoolShape) => BufferPool;
  readonly mood?: Mood;
}

export interface WorldResult {
  readonly seed: number;
  readonly mood: Mood;
  /** What was wrong; empty when all was well. */
  readonly violations: readonly string[];
  readonly tally: ReadonlyMap<string, number>;
  readonly virtualMs: number;
  readonly rounds: number;
}

const MOODS: readonly Mood[] = ['friendly', 'hostile', 'faulty', 'faulty'];

/** Every third world speaks TLS, but for those with a pool of their own. */
const SECURE_ONE_IN = 3;

/** Lives one world through. Never throws: a failed assertion is a violation too. */
export function runWorld(seed: number, options: WorldOptions = {}): WorldResult {
  const world = new World(seed, options);
  const { verdict, network, mood } = world;
  try {
    world.live();
  } catch (error) {
    verdict.violation(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  const { violations, tally } = verdict;
  return { seed, mood, violations, tally, virtualMs: network.timeMs, rounds: network.rounds };
}

class World {
  readonly mood: Mood;
  readonly network: SimNetwork;
  readonly verdict: Verdict;
  private readonly random: Random;
  private readonly faults: SimFaults;
  private readonly edge: SimReactor;
  private readonly origin: Origin;
  private readonly library: Library;
  /** Null where the edge speaks HTTP without TLS. */
  private readonly secure: SecureWorld | null;
  private readonly clients: Client[];
  private readonly outside: SimReactor;
  private stopped: boolean;

  constructor(seed: number, options: WorldOptions) {
    const random = new Random(seed);
    this.random = random;
    this.mood = options.mood ?? MOODS[seed % MOODS.length];
    this.faults = this.mood === 'faulty' ? randomFaults(random) : roughFaults(random);
    this.network = new SimNetwork(random.next32(), this.faults);
    this.verdict = new Verdict();
    const isSecure = seed % SECURE_ONE_IN === 0 && options.edgePool === undefined;
    this.secure = isSecure ? new SecureWorld(random) : null;
    const scarce = this.mood === 'faulty' && random.chance(0.3);
    const shape = scarce ? scarceShape(random) : AMPLE;
    this.edge = new SimReactor(this.network, {
      label: 'edge',
      ipv4: '10.0.0.1',
      pool: options.edgePool?.(shape) ?? new SimBufferPool(shape, isSecure ? edgeMemory(shape) : null),
      descriptorsMax: scarce ? 24 : 1000,
      forwards: random.chance(0.5),
    });
    this.outside = this.actors('clients', CLIENT_ADDRESS, isSecure ? clientMemory(ACTORS) : null);
    this.origin = new Origin(this.actors('origins', '10.0.0.3'), this.verdict, CLIENT_ADDRESS);
    for (const address of ORIGINS) this.origin.listen(address);
    this.library = new Library(this.network, random, this.bytesMax);
    this.clients = [];
    this.stopped = false;
  }

  live(): void {
    const { network, random, clients, verdict } = this;
    const { config, resolved } = configuration(
      random.chance(0.2) ? 1 + random.below(4) : 0,
      ALGORITHMS[random.below(ALGORITHMS.length)],
    );
    const worker = new EdgeWorker(this.edge, new Log(config.logging, new FileSink(config.logging.filePath)));
    worker.configure(config, resolved, this.secure);
    const bound = worker.listen(EDGE);
    if (typeof bound === 'number') throw new Error(`the edge can't listen: ${bound}`);
    const stops = random.chance(0.1);
    this.makeClients(stops, worker);
    if (this.mood !== 'friendly') this.library.disturb();
    // A reload that changes nothing must not be noticed.
    for (let count = random.below(3); count > 0; count--) {
      network.at(network.timeMs + random.below(4000), () => {
        if (!worker.isDraining) this.reload(worker, config, resolved);
      });
    }
    if (stops) network.at(network.timeMs + random.below(4000), () => this.shutDown(worker, LIFE_MS));
    const finished = network.run(() => clients.every((client) => client.done), network.timeMs + LIFE_MS);
    if (!finished) verdict.violation('the clients never come to an end');
    this.library.leaveAlone();
    const closed = network.run(() => worker.openConnections === 0, network.timeMs + AFTERMATH_MS);
    if (!closed) verdict.violation(`${worker.openConnections} connections of the edge never end`);
    const counted = worker.shared.connections.ownTotal;
    if (closed && counted !== 0) verdict.violation(`${counted} connections are counted that are not there`);
    for (const { server } of stops ? [] : worker.upstreamGroups().flatMap(({ servers }) => servers))
      if (server.inFlight !== 0)
        verdict.violation(`${server.url} has ${server.inFlight} exchanges under way that nobody waits for`);
    this.shutDown(worker, SHUTDOWN_MS);
    network.run(() => this.stopped, network.timeMs + AFTERMATH_MS);
    if (!this.stopped) verdict.violation('the edge does not stop');
    this.origin.close();
    network.run(network.timeMs + AFTERMATH_MS);
    network.assertQuiet();
    const leftovers = this.secure?.leftovers() ?? '';
    if (leftovers !== '') verdict.violation(leftovers);
  }

  /** No content is longer: in tiny windows it would take for ever. */
  private get bytesMax(): number {
    return this.faults.windowBytesMin < 2048 ? 4000 : 150_000;
  }

  /** The kernels of clients and origins are rough, but don't fail: what fails there is in the plans. */
  private actors(label: string, ipv4: string, memory: MappedMemory | null = null): SimReactor {
    const faults = { ...this.faults, starve: 0, acceptFailure: 0, connectFailure: 0 };
    return new SimReactor(this.network, { label, ipv4, faults, pool: new SimBufferPool(ACTORS, memory) });
  }

  private makeClients(stops: boolean, worker: EdgeWorker): void {
    const { network, random, faults, library, mood } = this;
    const planner = new Planner(random, mood, this.bytesMax);
    const mayHang = faults.vanish > 0 || faults.deadConnect > 0;
    let excused = 0;
    const wasRefused = (): boolean => {
      if (worker.counters.refusedByTotal <= excused) return false;
      excused++;
      return true;
    };
    const circumstances: Circumstances = { mood, mayHang, stops, library, secure: this.secure, wasRefused };
    for (let count = 3 + random.below(random.chance(0.2) ? 30 : 8); count > 0; count--) {
      const plan = planner.client();
      for (const request of plan.requests) this.verdict.expect(request, plan);
      const client = new Client(this.outside, plan, this.verdict, circumstances);
      this.clients.push(client);
      network.at(network.timeMs + plan.startMs, () => client.start(EDGE));
    }
  }

  private reload(worker: EdgeWorker, config: Config, resolved: Map<string, readonly SocketAddress[]>): void {
    try {
      worker.configure(config, resolved, this.secure);
    } catch (error) {
      // Out of descriptors or buffers: the old configuration stays.
      if (this.mood !== 'faulty') throw error;
    }
  }

  private shutDown(worker: EdgeWorker, timeoutMs: number): void {
    worker.shutdown(timeoutMs, false, () => {
      this.stopped = true;
    });
  }
}

function configuration(
  connectionsMax: number,
  algorithm: string,
): {
  config: Config;
  resolved: Map<string, readonly SocketAddress[]>;
} {
  const { config, problems } = loadConfig(configText(connectionsMax, algorithm), 'simulation', {
    files: NAMED_PATHS,
  });
  if (config === null) throw new Error(problems.map((problem) => formatProblem(problem, '')).join('\n'));
  const resolved = new Map<string, readonly SocketAddress[]>();
  for (const { servers } of config.upstreams) {
    for (const { url, target } of servers) {
      const address: SocketAddress =
        target.kind === 'unix'
          ? { family: 'unix', path: target.path }
          : { family: 'ipv4', address: target.host, port: target.port };
      resolved.set(url, [address]);
    }
  }
  return { config, resolved };
}

/** What the simulated file system is, as far as the configuration asks. */
const NAMED_PATHS = {
  kindOf: (path: string) => (path === FILES_ROOT ? ('directory' as const) : ('socket' as const)),
  isReachable: () => true,
};
