/**
 * A soak run: a bounded number of requests of every kind at the house, and what its processes hold afterwards: their
 * private memory, the worker's heap, and the buffers of its arena that are not at home. Every response is checked on the
 * way. `node bench/soak.ts [--requests N] [--connections N] [--io io_uring|epoll]`.
 *
 * The house is the product itself (bin/sallyport), asked by its metrics page; memory is what the kernel says of all of
 * its processes. Samples are taken when no request is in flight and all connections are closed.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Random } from '../src/base/random.ts';
import { accepts } from './children.ts';
import { memoryOf, ProcessTree, roleOf } from './proc.ts';
import { Clients } from './soak/client.ts';
import { startOrigin } from './soak/origin.ts';
import { LAUNCHER, prepareFiles } from './systems.ts';

export interface SoakOptions {
  readonly requests: number;
  readonly connections: number;
  /** How many samples are taken after the first. */
  readonly samples: number;
  readonly io: 'io_uring' | 'epoll';
  readonly port: number;
  readonly originPort: number;
  readonly seed: number;
  /** Called with each sample as it is taken. */
  readonly onSample?: (sample: SoakSample) => void;
}

export interface SoakSample {
  readonly requests: number;
  /** Of the worker's heap, what lives and what was not collected yet; bytes. */
  readonly heapUsed: number;
  /** Private memory of each process, bytes, in the order of their starts; and which it is. */
  readonly rooms: readonly { readonly role: string; readonly bytes: number }[];
  /** Of all of them together, bytes. */
  readonly privateBytes: number;
  /** Buffers of the arena that are not free: those that wait to be filled, and those of the request that asks, among them. */
  readonly heldBuffers: number;
}

/** What a run kept, comparing its end with its middle, when every cache and compiler had had its say. Bytes, but for the buffers. */
export interface SoakGrowth {
  readonly heapUsed: number;
  readonly privateBytes: number;
  readonly heldBuffers: number;
  /** Requests between the two samples. */
  readonly requests: number;
}

export function growthOf(samples: readonly SoakSample[]): SoakGrowth {
  const middle = samples[samples.length >> 1];
  const last = samples[samples.length - 1];
  return {
    heapUsed: last.heapUsed - middle.heapUsed,
    privateBytes: last.privateBytes - middle.privateBytes,
    heldBuffers: last.heldBuffers - middle.heldBuffers,
    requests: last.requests - middle.requests,
  };
}

const START_MS_MAX = 10_000;
const METRICS_MS_MAX = 10_000;
/** For the house to end in good order, before it is killed. */
const STOP_MS_MAX = 5000;
/** A run in which no request ends for so long stands still: it is ended, not waited for. */
const STANDSTILL_MS_MAX = 60_000;
/** For the edge to see that its clients have gone, and to close what idles too long. */
const SETTLE_MS = 500;
/** Share of the requests that warm the edge up before the first sample. */
const WARM_UP_SHARE = 0.1;

/** Runs it; fails with the first wrong response, or when the edge dies. */
export async function runSoak(options: SoakOptions): Promise<SoakSample[]> {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-soak-'));
  chmodSync(dir, 0o755);
  const origin = await startOrigin(options.originPort);
  const edge = startEdge(dir, options);
  const cleanUp = (): void => {
    // Its rooms end with the master.
    edge.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  };
  process.once('exit', cleanUp);
  try {
    await listening(edge, options.port);
    const clients = new Clients(options.port, new Random(options.seed));
    await slice(clients, edge, Math.ceil(options.requests * WARM_UP_SHARE), options.connections);
    const samples: SoakSample[] = [];
    for (let index = 0; index <= options.samples; index++) {
      if (index > 0)
        await slice(clients, edge, Math.ceil(options.requests / options.samples), options.connections);
      const sample = { requests: clients.completed, ...(await look(edge, options.port)) };
      samples.push(sample);
      options.onSample?.(sample);
    }
    return samples;
  } finally {
    origin.closeAllConnections();
    origin.close();
    await stop(edge);
    process.off('exit', cleanUp);
    cleanUp();
  }
}

function startEdge(dir: string, options: SoakOptions): ChildProcess {
  prepareFiles({ dir, portBase: options.originPort });
  const config = join(dir, 'soak.toml');
  const template = readFileSync(join(import.meta.dirname, 'peers/sallyport.toml'), 'utf8');
  writeFileSync(
    config,
    template
      .replaceAll('{{dir}}', dir)
      .replaceAll('{{port}}', String(options.port))
      // The origin of a soak run has its paths at the root.
      .replaceAll('127.0.0.1:{{origin}}/api/', `127.0.0.1:${options.originPort}/`)
      .replaceAll('{{h2c-origin}}', String(options.originPort))
      .replaceAll('{{http2}}', 'false')
      .replaceAll('{{ssl}}', `[prometheus]\nenabled = true\npath = "${METRICS_PATH}"\n`),
  );
  return spawn(LAUNCHER, ['serve', '-c', config], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...(options.io === 'epoll' ? { SALLYPORT_IO: 'epoll' } : {}) },
  });
}

async function stop(edge: ChildProcess): Promise<void> {
  if (edge.exitCode !== null || edge.signalCode !== null) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  edge.once('exit', () => resolve());
  edge.kill('SIGTERM');
  await Promise.race([promise, sleep(STOP_MS_MAX)]);
}

async function listening(edge: ChildProcess, port: number): Promise<void> {
  const deadline = Date.now() + START_MS_MAX;
  while (Date.now() < deadline && edge.exitCode === null) {
    if (await accepts(port)) return;
    await sleep(50);
  }
  throw new Error(`the edge does not listen on port ${port}`);
}

async function slice(
  clients: Clients,
  edge: ChildProcess,
  requests: number,
  connections: number,
): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onExit = (): void => reject(new Error('the edge died'));
  edge.once('exit', onExit);
  let before = clients.completed;
  const timer = setInterval(() => {
    if (clients.completed === before)
      reject(new Error(`it stands still; ${clients.completed} requests were completed in all`));
    before = clients.completed;
  }, STANDSTILL_MS_MAX);
  try {
    await Promise.race([clients.run(requests, connections), promise]);
  } finally {
    clearInterval(timer);
    edge.off('exit', onExit);
  }
  if (clients.problems.length > 0) throw new Error(clients.problems.join('\n'));
  await sleep(SETTLE_MS);
}

async function look(edge: ChildProcess, port: number): Promise<Omit<SoakSample, 'requests'>> {
  const page = await metricsPage(port);
  const total = (pattern: RegExp): number =>
    [...page.matchAll(pattern)].reduce((sum, match) => sum + Number(match[1]), 0);
  const pids = new ProcessTree(edge.pid ?? 0).pids();
  const rooms = pids.map((pid) => ({ role: roleOf(pid), bytes: memoryOf([pid]).privateKib * 1024 }));
  return {
    heapUsed: total(/^sallyport_heap_bytes\{state="used"\} (\d+)/gm),
    heldBuffers: total(/^sallyport_buffers\{size="\w+",state="used"\} (\d+)/gm),
    rooms,
    privateBytes: rooms.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

const METRICS_PATH = '/__metrics';

async function metricsPage(port: number): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${METRICS_PATH}`, {
    headers: { Connection: 'close' },
    signal: AbortSignal.timeout(METRICS_MS_MAX),
  });
  if (!response.ok) throw new Error(`the metrics page is ${response.status}`);
  return response.text();
}

function line(sample: SoakSample): string {
  const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(2).padStart(9);
  const { requests, heldBuffers, rooms } = sample;
  const each = rooms.map(({ role, bytes }) => `${role} ${(bytes / 2 ** 20).toFixed(1)}`).join(', ');
  return `${String(requests).padStart(9)} ${mib(sample.heapUsed)} ${mib(sample.privateBytes)} ${String(heldBuffers).padStart(8)}  ${each}`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      requests: { type: 'string', default: '1000000' },
      connections: { type: 'string', default: '64' },
      io: { type: 'string', default: 'io_uring' },
      port: { type: 'string', default: '24900' },
      seed: { type: 'string', default: '1' },
    },
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
  process.stdout.write(' requests  heap MiB  priv. MiB  buffers  private memory of each process, MiB\n');
  const samples = await runSoak({
    requests: Number(values.requests),
    connections: Number(values.connections),
    samples: 10,
    io: values.io === 'epoll' ? 'epoll' : 'io_uring',
    port: Number(values.port),
    originPort: Number(values.port) + 1,
    seed: Number(values.seed),
    onSample: (sample) => process.stdout.write(`${line(sample)}\n`),
  });
  const growth = growthOf(samples);
  process.stdout.write(
    `second half, ${growth.requests} requests: heap ${kib(growth.heapUsed)}, private memory of all processes ` +
      `${kib(growth.privateBytes)}, buffers ${growth.heldBuffers}\n`,
  );
}

function kib(bytes: number): string {
  return `${bytes < 0 ? '' : '+'}${(bytes / 1024).toFixed(0)} KiB`;
}

if (import.meta.main) await main();
