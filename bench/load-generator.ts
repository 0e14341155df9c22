/** Drives a load generator against a port: bench/load (bench/load-tls where the scenario speaks TLS), or wrk. */

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
  return scenario.rate === 0 && scenario.tls === null;
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

const UNIT_US: Readonly<Record<string, number>> = { us: 1, ms: 1000, s: 1_000_000 };

function wrkPercentile(text: string, percent: string): number {
  const match = new RegExp(`^ *${percent}%\\s+([\\d.]+)(us|ms|s)`, 'm').exec(text);
  return match?.[1] === undefined ? Number.NaN : Number(match[1]) * (UNIT_US[match[2] ?? ''] ?? Number.NaN);
}
