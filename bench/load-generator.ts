/** Drives a load generator against a port: bench/load (bench/load-tls where the scenario speaks TLS), wrk, or h2load. */

import { join } from 'node:path';
import { BenchError, Child, LOAD_CORE } from './children.ts';
import { type Generator, type Scenario, TLS_SUITES } from './scenarios.ts';
import { REQUEST_FIELDS, type Workplace } from './systems.ts';

/** How much load: for so many seconds, or so many requests. */
export type Amount = { readonly seconds: number } | { readonly requests: number };

export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly requestsPerSecond: number;
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
}

/** What a run may take beyond its planned time. */
const GRACE_MS = 20_000;
/** A million requests at the slowest rate that is still worth waiting for. */
const LEAST_REQUESTS_PER_MS = 5;

/** Whether wrk can run the scenario: it knows no open loop, and takes whatever TLS it is offered. */
export function wrkCan(scenario: Scenario): boolean {
  return scenario.rate === 0 && scenario.tls === null && scenario.streams === 0;
}

export async function runLoad(
  place: Workplace,
  generator: Generator,
  scenario: Scenario,
  port: number,
  amount: Amount,
): Promise<LoadResult> {
  if (generator === 'wrk' && wrkCan(scenario) && 'seconds' in amount) {
    return runWrk(scenario, port, Math.max(1, Math.round(amount.seconds)));
  }
  if (scenario.streams > 0) return runH2load(scenario, port, amount);
  const args = [
    ...loadArguments(scenario, port),
    '-c',
    String(scenario.connections),
    ...(scenario.closeEach ? ['-C'] : []),
    ...(scenario.tls?.resumes === true ? ['-r'] : []),
    ...(scenario.rate > 0 ? ['-R', String(scenario.rate)] : []),
    ...('seconds' in amount ? ['-d', String(amount.seconds)] : ['-n', String(amount.requests)]),
  ];
  const plannedMs = 'seconds' in amount ? amount.seconds * 1000 : amount.requests / LEAST_REQUESTS_PER_MS;
  const child = loadChild(place, scenario, args);
  return JSON.parse(await child.output(plannedMs + GRACE_MS)) as LoadResult;
}

/** Opens `count` connections with one request on each and holds them until the child is stopped. */
export async function holdIdle(place: Workplace, scenario: Scenario, port: number, count: number) {
  const args = [...loadArguments(scenario, port), '-i', String(count)];
  const child = loadChild(place, scenario, args);
  const line = await child.firstLine(70_000);
  if (line.trim() !== 'ready') throw new BenchError(`load: ${line}`);
  return child;
}

function loadChild(place: Workplace, scenario: Scenario, args: readonly string[]): Child {
  const program = scenario.tls === null ? 'load' : 'load-tls';
  return new Child(program, LOAD_CORE, [join(place.dir, program), ...args], {});
}

function loadArguments(scenario: Scenario, port: number): string[] {
  const fields = REQUEST_FIELDS.flatMap((field) => ['-H', field]);
  const { tls, status } = scenario;
  const secured =
    tls === null ? [] : ['-V', tls.version, '-s', TLS_SUITES[tls.version], '-S', String(status)];
  return ['-p', String(port), '-u', scenario.path, '-b', String(scenario.bodyBytes), ...secured, ...fields];
}

async function runWrk(scenario: Scenario, port: number, seconds: number): Promise<LoadResult> {
  const fields = [...REQUEST_FIELDS, ...(scenario.closeEach ? ['Connection: close'] : [])];
  const child = new Child(
    'wrk',
    LOAD_CORE,
    [
      'wrk',
      '--latency',
      '-t1',
      `-c${scenario.connections}`,
      `-d${seconds}s`,
      ...fields.flatMap((field) => ['-H', field]),
      `http://127.0.0.1:${port}${scenario.path}`,
    ],
    {},
  );
  const text = await child.output(seconds * 1000 + GRACE_MS);
  const wrong = /Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)/.exec(text);
  if (wrong !== null && !scenario.closeEach) throw new BenchError(`wrk: ${wrong[0]}`);
  const total = /(\d+) requests in ([\d.]+)s/.exec(text);
  if (total === null) throw new BenchError(`wrk printed no result:\n${text}`);
  return {
    requests: Number(total[1]),
    seconds: Number(total[2]),
    requestsPerSecond: Number(total[1]) / Number(total[2]),
    p50Us: wrkPercentile(text, '50'),
    p90Us: wrkPercentile(text, '90'),
    p99Us: wrkPercentile(text, '99'),
    p999Us: Number.NaN,
  };
}

/** It takes no times from h2load, which prints no percentiles. */
async function runH2load(scenario: Scenario, port: number, amount: Amount): Promise<LoadResult> {
  const { tls, connections, streams, path, bodyBytes } = scenario;
  const [, ...others] = REQUEST_FIELDS;
  const fields = others.flatMap((field) => ['-H', field.toLowerCase()]);
  const much =
    'seconds' in amount ? ['-D', `${Math.round(amount.seconds * 1000)}ms`] : ['-n', String(amount.requests)];
  const secured = tls === null ? [] : [`--tls13-ciphers=${TLS_SUITES[tls.version]}`, '--groups=X25519'];
  const load = [`-c${connections}`, `-m${streams}`, ...much, `--connect-to=127.0.0.1:${port}`];
  const uri = `${tls === null ? 'http' : 'https'}://bench.example.com${path}`;
  const child = new Child('h2load', LOAD_CORE, ['h2load', ...load, ...secured, ...fields, uri], {});
  const plannedMs = 'seconds' in amount ? amount.seconds * 1000 : amount.requests / LEAST_REQUESTS_PER_MS;
  const text = await child.output(plannedMs + GRACE_MS);
  const requests = numberIn(text, /(\d+) succeeded, 0 failed, 0 errored, 0 timeout/);
  const answered = numberIn(text, /status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx/);
  const contentBytes = numberIn(text, /\((\d+)\) data/);
  // What was under way at the end has come in part.
  const isWhole = contentBytes >= requests * bodyBytes && contentBytes <= answered * bodyBytes;
  if (!(requests >= 0) || !isWhole) throw new BenchError(`h2load was answered otherwise:\n${text}`);
  const requestsPerSecond = numberIn(text, /finished in .*, ([\d.]+) req\/s/);
  const unknown = { p50Us: Number.NaN, p90Us: Number.NaN, p99Us: Number.NaN, p999Us: Number.NaN };
  return { requests, seconds: requests / requestsPerSecond, requestsPerSecond, ...unknown };
}

function numberIn(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1] ?? Number.NaN);
}

const UNIT_US: Readonly<Record<string, number>> = { us: 1, ms: 1000, s: 1_000_000 };

function wrkPercentile(text: string, percent: string): number {
  const match = new RegExp(`^ *${percent}%\\s+([\\d.]+)(us|ms|s)`, 'm').exec(text);
  return match?.[1] === undefined ? Number.NaN : Number(match[1]) * (UNIT_US[match[2] ?? ''] ?? Number.NaN);
}
