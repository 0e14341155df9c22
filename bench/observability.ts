/**
 * What it costs to know what happened: processor time of the whole house (master, worker, journal) for each request, with the
 * access log in text to a file and metrics on, against both off, in one run, by turns.
 * `npm run bench:observability [-- --rounds N] [--seconds S] [--io uring|epoll] [--port N]`
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { ProcessTree } from './proc.ts';
import { LAUNCHER } from './systems.ts';

const PROXY_CORE = 0;
const LOAD_CORE = 1;
const CONNECTIONS = 32;
const CONTENT_BYTES = 1024;
const START_MS_MAX = 20_000;
/** Compilers and buffers; what is measured then is thrown away. */
const WARM_UP_SECONDS = 3;
/** The log is written this long after its last entry at the latest. */
const FLUSH_MS = 300;

interface Variant {
  readonly name: string;
  readonly logs: boolean;
  readonly counts: boolean;
}

/** The first is what the others are held against. */
const VARIANTS: readonly Variant[] = [
  { name: 'off', logs: false, counts: false },
  { name: 'metrics', logs: false, counts: true },
  { name: 'log', logs: true, counts: false },
  { name: 'log and metrics', logs: true, counts: true },
];

interface Scene {
  readonly name: string;
  readonly path: string;
}

const SCENES: readonly Scene[] = [
  { name: 'proxied, 1 KiB', path: '/api/x' },
  { name: 'a file of 1 KiB from memory', path: '/file' },
];

function configOf(variant: Variant, port: number, originPort: number, folder: string): string {
  const { name, logs, counts } = variant;
  return `[server]
listen = "127.0.0.1:${port}"
threads = 1
[logging]
level = "${logs ? 'info' : 'warn'}"
file_path = "${folder}/${name.replaceAll(' ', '-')}.log"
flush_interval_ms = 200
[prometheus]
enabled = ${counts}
[path_routes."*"."/api"]
type = "Proxy"
url = "http://127.0.0.1:${originPort}"
[path_routes."*"."/file"]
type = "File"
path = "${folder}/file.txt"
mode = "memory"
`;
}

/** Answers everything with the same 1 KiB. */
function startOrigin(): Promise<{ readonly port: number; close(): void }> {
  const answer = Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Length: ${CONTENT_BYTES}\r\n\r\n${'o'.repeat(CONTENT_BYTES)}`,
  );
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      // One request at a time, as the edge sends them.
      if (chunk.includes('\r\n\r\n')) socket.write(answer);
    });
  });
  return new Promise((done) => {
    server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 }, () => {
      const address = server.address();
      done({
        port: address !== null && typeof address === 'object' ? address.port : 0,
        close: () => server.close(),
      });
    });
  });
}

class House {
  readonly variant: Variant;
  readonly port: number;
  private readonly child: ChildProcess;
  private readonly tree: ProcessTree;

  constructor(variant: Variant, port: number, config: string, io: string) {
    this.variant = variant;
    this.port = port;
    this.child = spawn('taskset', ['-c', String(PROXY_CORE), LAUNCHER, 'serve', '-c', config], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, SALLYPORT_IO: io },
    });
    this.tree = new ProcessTree(this.child.pid ?? 0);
  }

  /** Waits for its first answer. */
  async answers(): Promise<void> {
    const deadlineMs = Date.now() + START_MS_MAX;
    for (;;) {
      try {
        const response = await fetch(`http://127.0.0.1:${this.port}/file`);
        await response.arrayBuffer();
        if (response.ok) return;
      } catch (error) {
        if (this.child.exitCode !== null || Date.now() > deadlineMs) throw error;
      }
      await sleep(50);
    }
  }

  /** Microseconds of processor time for each request under load, log entries that come after it included. */
  async measure(scene: Scene, seconds: number): Promise<number> {
    const before = this.tree.processorNs();
    const requests = await load(this.port, scene.path, seconds);
    if (this.variant.logs) await sleep(FLUSH_MS);
    return (this.tree.processorNs() - before) / 1000 / requests;
  }

  async stop(): Promise<void> {
    const exited = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await exited;
  }
}

/** Closed loop by wrk; the number of requests that were answered. */
async function load(port: number, path: string, seconds: number): Promise<number> {
  const args = ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, `http://127.0.0.1:${port}${path}`];
  const child = spawn('wrk', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  await once(child, 'close');
  const wrong = /Non-2xx or 3xx responses: \d+|Socket errors: .*/.exec(text);
  if (wrong !== null) throw new Error(wrong[0]);
  return Number(/(\d+) requests in/.exec(text)?.[1] ?? Number.NaN);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '12' },
      seconds: { type: 'string', default: '1' },
      io: { type: 'string', default: 'uring' },
      port: { type: 'string', default: '24300' },
    },
  });
  spawnSync('taskset', ['-acp', String(LOAD_CORE), String(process.pid)]);
  spawnSync('renice', ['-n', '-10', '-p', String(process.pid)]);
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-observability-'));
  chmodSync(folder, 0o755);
  writeFileSync(join(folder, 'file.txt'), 'f'.repeat(CONTENT_BYTES));
  const origin = await startOrigin();
  const houses = VARIANTS.map((variant, index) => {
    const port = Number(values.port) + index;
    const config = join(folder, `${index}.toml`);
    writeFileSync(config, configOf(variant, port, origin.port, folder));
    return new House(variant, port, config, values.io);
  });
  try {
    for (const house of houses) await house.answers();
    for (const scene of SCENES)
      await measureScene(scene, houses, Number(values.rounds), Number(values.seconds));
  } finally {
    for (const house of houses) await house.stop();
    origin.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measureScene(scene: Scene, houses: readonly House[], rounds: number, seconds: number) {
  for (const house of houses) await house.measure(scene, WARM_UP_SECONDS);
  const costs = houses.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    // Each is first, second, … as often as the others.
    for (let place = 0; place < houses.length; place++) {
      const index = (round + place) % houses.length;
      costs[index].push(await houses[index].measure(scene, seconds));
    }
  }
  console.log(`\n${scene.name}:\n`);
  // Others on the machine can only add to a cost: the least of many rounds is nearest to what it is without them.
  console.log('| | µs a request, least | against off | median | against off, median of the rounds |');
  console.log('|---|---:|---:|---:|---:|');
  for (const [index, { variant }] of houses.entries()) {
    const ratios = costs[index].map((cost, round) => cost / costs[0][round]);
    const least = Math.min(...costs[index]);
    const cells = [
      variant.name,
      least.toFixed(2),
      (least / Math.min(...costs[0])).toFixed(3),
      median(costs[index]).toFixed(2),
      median(ratios).toFixed(3),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
}

if (import.meta.main) await main();
