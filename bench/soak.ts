/**
 * A soak run: a bounded number of requests of every kind at the edge, and what it holds afterwards: the live
 * heap, external memory, resident memory, and the buffers of the arena that are not at home. Every response is
 * checked on the way. `node bench/soak.ts [--requests N] [--connections N] [--io io_uring|epoll]`.
 *
 * The edge is the product itself (bin/sallyport), with a probe that is asked over a channel. Samples are taken
 * when no request is in flight and all connections are closed.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Random } from '../src/base/random.ts';
import { accepts } from './children.ts';
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

/** Bytes, but for the counts. */
export interface SoakSample {
  readonly requests: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly arrayBuffers: number;
  readonly rss: number;
  readonly heldBuffers: number;
}

/** What a run kept, comparing its end with its middle, when every cache and compiler had had its say. Bytes, but for the buffers. */
export interface SoakGrowth {
  readonly heapUsed: number;
  readonly external: number;
  readonly rss: number;
  readonly heldBuffers: number;
  /** Requests between the two samples. */
  readonly requests: number;
}

export function growthOf(samples: readonly SoakSample[]): SoakGrowth {
  const middle = samples[samples.length >> 1];
  const last = samples[samples.length - 1];
  return {
    heapUsed: last.heapUsed - middle.heapUsed,
    external: last.external - middle.external,
    rss: last.rss - middle.rss,
    heldBuffers: last.heldBuffers - middle.heldBuffers,
    requests: last.requests - middle.requests,
  };
}

const START_MS_MAX = 10_000;
const PROBE_MS_MAX = 10_000;
/** Per slice: a run that stands still is ended, not waited for. */
const SLICE_MS_MAX = 180_000;
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
      const sample = { requests: clients.completed, ...(await ask(edge)) };
      samples.push(sample);
      options.onSample?.(sample);
    }
    return samples;
  } finally {
    origin.closeAllConnections();
    origin.close();
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
      .replaceAll('127.0.0.1:{{origin}}/api/', `127.0.0.1:${options.originPort}/`),
  );
  const probe = pathToFileURL(join(import.meta.dirname, 'soak/probe.js')).href;
  return spawn(LAUNCHER, ['serve', '-c', config], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: {
      ...process.env,
      NODE_OPTIONS: `--import=${probe}`,
      ...(options.io === 'epoll' ? { SALLYPORT_IO: 'epoll' } : {}),
    },
  });
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
  const timer = setTimeout(() => {
    reject(new Error(`no end of ${requests} requests; ${clients.completed} were completed in all`));
  }, SLICE_MS_MAX);
  try {
    await Promise.race([clients.run(requests, connections), promise]);
  } finally {
    clearTimeout(timer);
    edge.off('exit', onExit);
  }
  if (clients.problems.length > 0) throw new Error(clients.problems.join('\n'));
  await sleep(SETTLE_MS);
}

function ask(edge: ChildProcess): Promise<Omit<SoakSample, 'requests'>> {
  const { promise, resolve, reject } = Promise.withResolvers<Omit<SoakSample, 'requests'>>();
  const timer = setTimeout(() => reject(new Error('the probe does not answer')), PROBE_MS_MAX);
  edge.once('message', (message) => {
    clearTimeout(timer);
    resolve(message as Omit<SoakSample, 'requests'>);
  });
  edge.send('sample');
  return promise;
}

function line(sample: SoakSample): string {
  const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(2).padStart(9);
  const { requests, heldBuffers } = sample;
  return `${String(requests).padStart(9)} ${mib(sample.heapUsed)} ${mib(sample.external)} ${mib(sample.rss)} ${String(heldBuffers).padStart(8)}`;
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
  process.stdout.write(' requests  heap MiB  ext. MiB   RSS MiB  buffers\n');
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
    `second half, ${growth.requests} requests: live heap ${kib(growth.heapUsed)}, external ${kib(growth.external)}, ` +
      `RSS ${kib(growth.rss)}, buffers ${growth.heldBuffers}\n`,
  );
}

function kib(bytes: number): string {
  return `${bytes < 0 ? '' : '+'}${(bytes / 1024).toFixed(0)} KiB`;
}

if (import.meta.main) await main();
