/**
 * Whether those suffer who have nothing to do with it: a steady load on many backends while a twentieth of them fails, is slow,
 * or lies. `npm run bench:bystanders [-- --seconds N] [--calm N] [--rate N] [--backends N] [--io io_uring|epoll] [--port N]`
 *
 * Calm, storm, calm, in one run over the same connections' rate: the times of requests to backends that were well all the time
 * are compared, and so is the memory of the worker. tests/e2e/bystanders.test.ts runs a short one and judges counts alone.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Backends, type Trouble } from './bystanders/backends.ts';
import { type Outcomes, quantile, runLoad, type Side } from './bystanders/clients.ts';
import { accepts } from './children.ts';
import { LAUNCHER } from './systems.ts';

export interface BystanderOptions {
  readonly port: number;
  readonly backends: Backends;
  readonly perSecond: number;
  readonly calmSeconds: number;
  readonly stormSeconds: number;
  readonly seed: number;
  /** Bytes that the edge's worker has resident now. */
  readonly residentBytes: () => number;
  readonly onPart?: (name: string) => void;
}

export interface Part {
  readonly name: 'before' | 'storm' | 'after';
  readonly sides: Readonly<Record<Side, Outcomes>>;
  /** Resident bytes of the worker, once a second. */
  readonly resident: readonly number[];
}

const TROUBLES: readonly Trouble[] = ['failing', 'slow', 'lying'];
/** One backend in this many is in trouble. */
const TROUBLED_EACH = 20;
/** Backends in trouble change what is wrong with them this often. */
const CHANGE_MS = 5000;
const START_MS_MAX = 15_000;
/** For what is under way when a part ends, and for servers that were out to be tried again. */
const SETTLE_MS = 1000;
/** For compilers and connections; what is measured then is thrown away. */
const WARM_UP_SECONDS = 1;

/** What the edge runs on: a route for each backend, and one for the group of all. */
export function bystanderConfig(port: number, backendPorts: readonly number[]): string {
  const urls = backendPorts.map((each) => `http://127.0.0.1:${each}`);
  const limits = '{ backend_connect_timeout_secs = 1, backend_response_timeout_secs = 2 }';
  const routes = urls.map(
    (url, number) => `[path_routes."*"."/${number}"]\ntype = "Proxy"\nurl = "${url}"\nsecurity = ${limits}\n`,
  );
  return `[server]
listen = "127.0.0.1:${port}"
threads = 1
[logging]
level = "error"
[upstreams.all]
algorithm = "round_robin"
servers = ${JSON.stringify(urls)}
[path_routes."*"."/group"]
type = "Proxy"
upstream = "all"
security = ${limits}
${routes.join('')}`;
}

/** Numbers of the backends that will be in trouble. */
export function troubledOf(backends: number): number[] {
  return Array.from({ length: Math.ceil(backends / TROUBLED_EACH) }, (_, index) => index * TROUBLED_EACH + 7);
}

/** Runs calm, storm and calm against an edge that runs on `bystanderConfig`. */
export async function runBystanders(options: BystanderOptions): Promise<Part[]> {
  const { calmSeconds, stormSeconds } = options;
  await answers(options.port);
  await runPart(options, 'before', WARM_UP_SECONDS);
  const parts: Part[] = [];
  for (const [name, seconds] of [
    ['before', calmSeconds],
    ['storm', stormSeconds],
    ['after', calmSeconds],
  ] as const) {
    options.onPart?.(name);
    parts.push(await runPart(options, name, seconds));
    await sleep(SETTLE_MS);
  }
  return parts;
}

/** Waits for the edge's first answer: it may accept before its worker is ready. */
async function answers(port: number): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${port}/0/x`, { signal: AbortSignal.timeout(START_MS_MAX) });
  await response.arrayBuffer();
  if (response.status !== 200) throw new Error(`the edge answers ${response.status}`);
}

async function runPart(options: BystanderOptions, name: Part['name'], seconds: number): Promise<Part> {
  const count = options.backends.ports.length;
  const troubled = troubledOf(count);
  let turn = 0;
  const stir = (): void => {
    const storm = troubled.map(
      (number, index) => [number, TROUBLES[(index + turn) % TROUBLES.length]] as const,
    );
    turn++;
    options.backends.storm(storm);
  };
  if (name === 'storm') stir();
  const changes = name === 'storm' ? setInterval(stir, CHANGE_MS) : null;
  const resident: number[] = [];
  const sampling = setInterval(() => resident.push(options.residentBytes()), 1000);
  try {
    const { port, perSecond } = options;
    const seed = options.seed + name.length;
    const sides = await runLoad({
      port,
      backends: count,
      troubled: new Set(troubled),
      perSecond,
      seconds,
      seed,
    });
    return { name, sides, resident };
  } finally {
    clearInterval(sampling);
    if (changes !== null) clearInterval(changes);
    options.backends.storm([]);
  }
}

// ---- The command -----------------------------------------------------------------------------------------

function told(parts: readonly Part[]): string {
  const ms = (value: number): string => value.toFixed(2);
  const rows: string[] = [];
  for (const { name, sides } of parts) {
    for (const side of ['bystander', 'group', 'troubled'] as const) {
      const { times, ends } = sides[side];
      const counts = [...ends].sort().map(([end, count]) => `${count} × ${end}`);
      rows.push(
        `| ${name} | ${side} | ${ms(quantile(times, 0.5))} | ${ms(quantile(times, 0.99))} | ${ms(quantile(times, 0.999))} | ${counts.join(', ')} |`,
      );
    }
  }
  const [before, storm, after] = parts.map(({ sides }) => quantile(sides.bystander.times, 0.99));
  const calm = (before + after) / 2;
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const { resident } = parts[1];
  const third = Math.floor(resident.length / 3);
  const middle = mean(resident.slice(third, 2 * third)) / 2 ** 20;
  const last = mean(resident.slice(2 * third)) / 2 ** 20;
  return [
    '| part | requests to | p50 ms | p99 ms | p99.9 ms | ends |',
    '|---|---|---|---|---|---|',
    ...rows,
    '',
    `Bystanders' p99 in the storm: ${ms(storm)} ms, ${(storm / calm).toFixed(2)} times that of the calm (${ms(before)} ms before, ${ms(after)} ms after).`,
    `Resident memory of the worker in the storm: ${middle.toFixed(1)} MiB in its middle third, ${last.toFixed(1)} MiB in its last.`,
  ].join('\n');
}

/** Resident bytes of the worker, a child of the master. */
function residentOf(master: number): number {
  const children = readFileSync(`/proc/${master}/task/${master}/children`, 'utf8').trim().split(' ');
  for (const pid of children) {
    if (!readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('/edge/main.js')) continue;
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
  }
  throw new Error('the edge has no worker');
}

/** This process and what it starts: on one core, before whatever else the machine does where that is allowed. */
function takeCore(core: number): void {
  spawnSync('taskset', ['-acp', String(core), String(process.pid)]);
  spawnSync('renice', ['-n', '-10', '-p', String(process.pid)]);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '120' },
      calm: { type: 'string', default: '60' },
      rate: { type: 'string', default: '1000' },
      backends: { type: 'string', default: '60' },
      io: { type: 'string', default: 'uring' },
      port: { type: 'string', default: '24200' },
      seed: { type: 'string', default: '1' },
    },
  });
  takeCore(1);
  const port = Number(values.port);
  const backends = await Backends.start(Number(values.backends), Number(values.seed));
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bystanders-'));
  chmodSync(folder, 0o755);
  const config = join(folder, 'config.toml');
  writeFileSync(config, bystanderConfig(port, backends.ports));
  // The edge has a core to itself, clients and backends share the other.
  const edge = spawn('taskset', ['-c', '0', LAUNCHER, 'serve', '-c', config], {
    stdio: 'inherit',
    env: { ...process.env, SALLYPORT_IO: values.io },
  });
  const exited = once(edge, 'exit');
  try {
    const deadlineMs = Date.now() + START_MS_MAX;
    while (!(await accepts(port))) {
      if (edge.exitCode !== null || Date.now() > deadlineMs) throw new Error('the edge does not accept');
      await sleep(50);
    }
    const pid = edge.pid ?? 0;
    const parts = await runBystanders({
      port,
      backends,
      perSecond: Number(values.rate),
      calmSeconds: Number(values.calm),
      stormSeconds: Number(values.seconds),
      seed: Number(values.seed),
      residentBytes: () => residentOf(pid),
      onPart: (name) => process.stderr.write(`${name} …\n`),
    });
    console.log(told(parts));
  } finally {
    backends.close();
    edge.kill('SIGTERM');
    await exited;
    rmSync(folder, { recursive: true, force: true });
  }
}

if (import.meta.main) await main();
