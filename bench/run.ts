/**
 * `npm run bench`: Sallyport (io_uring and epoll), nginx, HAProxy and a blind forwarder, in one run,
 * alternating in rounds, the proxy alone on one core, load generator and origin on the other. Prints Markdown,
 * writes JSON to bench/out/. See docs/BENCHMARKS.md.
 *
 * All that it starts ends with it, whatever happens; the whole run is bounded in time. What it measures
 * decides no test: the exit code is 0 when the run was completed, whether the bars are met or not.
 */

import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { ensurePrerequisites } from '../tools/prerequisites.ts';
import { accepts, BenchError, Child, killChildren, LOAD_CORE, PROXY_CORE } from './children.ts';
import { HOUSE_NAME, measureHouse } from './house.ts';
import { runLoad } from './load-generator.ts';
import {
  FULL_MEMORY,
  MEMORY_NAME,
  type MemoryPlan,
  measureMemory,
  QUICK_MEMORY,
  TLS_MEMORY_NAME,
} from './memory.ts';
import { coreBusyNs, kernelThreadNs, setting, softInterruptThread } from './proc.ts';
import { DISTURBANCE_MAX, markdown } from './report.ts';
import type { Results } from './results.ts';
import {
  type Generator,
  MEMORY_SCENARIO,
  SCENARIOS,
  type Scenario,
  TLS_MEMORY_SCENARIO,
} from './scenarios.ts';
import {
  checkWork,
  h2cOriginPort,
  type Instance,
  LAUNCHER,
  originPort,
  portOf,
  prepareFiles,
  SYSTEM_NAMES,
  System,
  type SystemName,
  startH2cOrigin,
  type Workplace,
} from './systems.ts';
import { writeDocs } from './write-docs.ts';

const KNOWN_NAMES = [...SCENARIOS.map((scenario) => scenario.name), MEMORY_NAME, TLS_MEMORY_NAME, HOUSE_NAME];

const USAGE = `usage: npm run bench -- [options]
  --quick            short rounds, for a first look (at most 4 minutes; the whole takes up to 20)
  --only NAME        only this scenario (may be repeated)
  --systems A,B      only these: ${SYSTEM_NAMES.join(', ')}
  --rounds N         rounds (3; quick: 2)
  --seconds S        seconds of load for each measurement (1.5; quick: 0.5)
  --generator wrk    all closed loops with wrk (each for whole seconds)
  --json FILE        where the results go (bench/out/bench.json)
  --write-docs       puts the tables into docs/BENCHMARKS.md and README.md: those of plain HTTP, of HTTPS,
                     and of HTTP/2 (which the README leaves out), by what was measured
  --port N           first of the ports that are used (24000)
  --no-build         don't build Sallyport first
scenarios: ${KNOWN_NAMES.join(', ')}
`;

interface Plan {
  readonly scenarios: readonly Scenario[];
  readonly systems: readonly SystemName[];
  readonly memory: MemoryPlan | null;
  readonly tlsMemory: MemoryPlan | null;
  readonly house: boolean;
  readonly rounds: number;
  readonly seconds: number;
  /** Instead of each scenario's own. */
  readonly generator: Generator | null;
  readonly json: string;
  readonly writeDocs: boolean;
  readonly build: boolean;
  readonly startMs: number;
  readonly timeLimitMs: number;
  readonly portBase: number;
}

/** What the rounds of one run share. */
interface Run {
  readonly plan: Plan;
  readonly place: Workplace;
  /** No measurement is repeated after this time. */
  readonly repeatUntilMs: number;
}

/** Share of the time limit within which disturbed measurements are repeated. */
const REPEAT_SHARE = 0.25;
/** Share of the time limit after which no further round begins, and after which no further system's memory is measured. */
const ROUNDS_SHARE = 0.6;
const MEMORY_SHARE = 0.85;
const repository = join(import.meta.dirname, '..');
/** Descriptors of a proxy with 5,000 idle clients, as HAProxy counts them. */
const FILES_NEEDED = 16_384;
const WARM_UP_SHARE = 0.2;
/** Our passes through all scenarios before anything is measured, and seconds of the first scenario in them. */
const COMPILERS_PASSES = 3;
const COMPILERS_SECONDS = 12;
/** Of handshakes there are fewer in a second, and what compiles is what runs often. */
const HANDSHAKE_COMPILERS_SECONDS = 20;

class UsageError extends Error {
  override readonly name = 'UsageError';
}

function readPlan(argv: readonly string[]): Plan {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true },
      systems: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      generator: { type: 'string' },
      json: { type: 'string', default: join(repository, 'bench/out/bench.json') },
      port: { type: 'string', default: '24000' },
      'write-docs': { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
    },
  });
  const quick = values.quick;
  const only = values.only ?? [];
  const systems = values.systems?.split(',') ?? [...SYSTEM_NAMES];
  for (const name of only) if (!KNOWN_NAMES.includes(name)) throw new UsageError(`no scenario ${name}`);
  for (const name of systems) {
    if (!SYSTEM_NAMES.includes(name as SystemName)) throw new UsageError(`no system ${name}`);
  }
  const { generator } = values;
  if (generator !== undefined && generator !== 'load' && generator !== 'wrk') {
    throw new UsageError('generator: load or wrk');
  }
  const wanted = (name: string): boolean => only.length === 0 || only.includes(name);
  const memory = quick ? QUICK_MEMORY : FULL_MEMORY;
  return {
    scenarios: SCENARIOS.filter((scenario) => wanted(scenario.name)),
    systems: systems as SystemName[],
    memory: wanted(MEMORY_NAME) ? memory : null,
    tlsMemory: wanted(TLS_MEMORY_NAME) ? memory : null,
    house: wanted(HOUSE_NAME),
    rounds: positive(values.rounds, quick ? 2 : 3),
    seconds: positive(values.seconds, quick ? 0.5 : 1.5),
    generator: generator ?? null,
    json: values.json,
    writeDocs: values['write-docs'],
    build: !values['no-build'],
    startMs: Date.now(),
    timeLimitMs: (quick ? 4 : 20) * 60_000,
    portBase: positive(values.port, 24000),
  };
}

function positive(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!(value > 0)) throw new UsageError(`${text} is not a positive number`);
  return value;
}

/** Fails before anything is started when something that the run needs is missing. */
function checkTools(plan: Plan): void {
  if (cpus().length < 2) throw new BenchError('two cores are needed: one for the proxy, one for the load');
  if (!ensurePrerequisites()) throw new BenchError('programs are missing');
  const files = Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim());
  if (files < FILES_NEEDED)
    throw new BenchError(`ulimit -Hn is ${files}; at least ${FILES_NEEDED} are needed`);
  if (plan.systems.some(isOurs) && !existsSync(LAUNCHER)) {
    throw new BenchError(`${LAUNCHER} is missing`);
  }
}

function isOurs(name: SystemName): boolean {
  return name.startsWith('sallyport');
}

function build(plan: Plan, place: Workplace): void {
  for (const program of ['origin', 'forwarder', 'load', 'load-tls']) {
    const source = join(import.meta.dirname, program, `${program}.c`);
    const libraries = program === 'load-tls' ? ['-lssl', '-lcrypto', '-lm'] : ['-lm'];
    execFileSync('gcc', ['-O2', '-o', join(place.dir, program), source, ...libraries], { stdio: 'inherit' });
  }
  if (plan.build && plan.systems.some(isOurs)) {
    execFileSync('npm', ['run', '--silent', 'build'], { cwd: repository, stdio: ['ignore', 2, 2] });
  }
}

const INSTANCES: readonly Instance[] = [false, true].flatMap((fresh) =>
  [false, true].flatMap((secure) => [false, true].map((http2) => ({ fresh, secure, http2 }))),
);

async function checkPorts(plan: Plan, place: Workplace): Promise<void> {
  const ports = [originPort(place), h2cOriginPort(place)];
  for (const name of plan.systems) {
    for (const instance of INSTANCES) ports.push(portOf(place, name, instance));
  }
  for (const port of ports) {
    if (await accepts(port)) throw new BenchError(`port ${port} is taken; choose others with --port`);
  }
}

function environment(): Record<string, string> {
  return {
    processor: `${cpus()[0]?.model ?? 'unknown'} × ${cpus().length}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: release(),
    'TCP congestion control': setting('/proc/sys/net/ipv4/tcp_congestion_control'),
    'Node.js': process.version,
    nginx: version('nginx', ['-v']),
    haproxy: version('haproxy', ['-v']),
  };
}

function version(command: string, args: readonly string[]): string {
  try {
    const text = execFileSync('sh', ['-c', `${command} ${args.join(' ')} 2>&1`], { encoding: 'utf8' });
    return /\d+\.\d+\.\d+\S*/.exec(text)?.[0] ?? 'unknown';
  } catch {
    return 'not installed';
  }
}

/** A disturbed measurement is repeated, and the calmer of the two counts, as long as there is time for it. */
async function measureCalmly(run: Run, scenario: Scenario, system: System, round: number) {
  const first = await measure(run.plan, run.place, scenario, system, round);
  if (first.disturbance <= DISTURBANCE_MAX || Date.now() > run.repeatUntilMs) return first;
  const second = await measure(run.plan, run.place, scenario, system, round);
  return second.disturbance < first.disturbance ? second : first;
}

/** One system in one scenario, once. */
async function measure(plan: Plan, place: Workplace, scenario: Scenario, system: System, round: number) {
  await runLoad(place, 'load', scenario, system.port, { seconds: plan.seconds * WARM_UP_SHARE });
  const { processes } = system;
  const softThread = softInterruptThread(PROXY_CORE);
  const softBefore = kernelThreadNs(softThread);
  const busyBefore = coreBusyNs(PROXY_CORE);
  const before = processes.processorNsByRole();
  const stopWatching = processes.watch();
  const startNs = process.hrtime.bigint();
  const result = await runLoad(place, plan.generator ?? scenario.generator, scenario, system.port, {
    seconds: plan.seconds,
  });
  const elapsedNs = Number(process.hrtime.bigint() - startNs);
  stopWatching();
  const roles = [...processes.processorNsByRole()].map(([role, ns]) => ({
    role,
    processorNsPerRequest: (ns - (before.get(role) ?? 0)) / result.requests,
  }));
  const processorNsPerRequest = roles.reduce((sum, role) => sum + role.processorNsPerRequest, 0);
  const used = processorNsPerRequest * result.requests;
  const soft = kernelThreadNs(softThread) - softBefore;
  const foreign = coreBusyNs(PROXY_CORE) - busyBefore - used - soft;
  return {
    ...result,
    round,
    scenario: scenario.name,
    system: system.name,
    processorNsPerRequest,
    roles,
    utilisation: used / Math.min(elapsedNs, result.seconds * 1e9),
    softInterruptNsPerRequest: soft / result.requests,
    disturbance: Math.max(0, foreign / elapsedNs),
  };
}

/** The order turns with the round, so that nobody always follows the same neighbour. */
function rotated<T>(list: readonly T[], by: number): T[] {
  const at = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

function isLate(plan: Plan, share: number): boolean {
  return Date.now() - plan.startMs > plan.timeLimitMs * share;
}

/** Whether this instance is the one for the scenario. */
function isPlayedBy(scenario: Scenario, system: System): boolean {
  return scenario.systems.includes(system.name) && isFor(scenario, system);
}

/** Whether an instance speaks what the scenario does. */
function isFor(scenario: Scenario, { secure, http2 }: { secure: boolean; http2: boolean }): boolean {
  return secure === (scenario.tls !== null) && http2 === scenario.streams > 0;
}

/** The arguments as the documentation shows them: where somebody keeps the results is nobody's business. */
function withoutJson(argv: readonly string[]): string[] {
  return argv.filter((argument, index) => argument !== '--json' && argv[index - 1] !== '--json');
}

/**
 * Every scenario for a moment; ours also for as long as its compilers need to have their say. They take back what they
 * have compiled when something happens that has not happened before, so that ours goes through all scenarios more than
 * once: it is a server's days that are measured, not its first half minute.
 */
async function warmUp(plan: Plan, place: Workplace, system: System): Promise<void> {
  const scenarios = plan.scenarios.filter((scenario) => isPlayedBy(scenario, system));
  const [first] = scenarios;
  const passes = isOurs(system.name) ? COMPILERS_PASSES : 1;
  for (let pass = 0; pass < passes; pass++) {
    for (const scenario of scenarios) {
      if (scenario.rate > 0) continue;
      await runLoad(place, 'load', scenario, system.port, { seconds: plan.seconds * WARM_UP_SHARE });
    }
    if (passes > 1 && first !== undefined)
      await runLoad(place, 'load', { ...first, rate: 0 }, system.port, {
        seconds: COMPILERS_SECONDS / passes,
      });
  }
  if (passes === 1) return;
  const handshakes = scenarios.find(({ tls, closeEach }) => tls !== null && closeEach);
  if (handshakes !== undefined)
    await runLoad(place, 'load', handshakes, system.port, { seconds: HANDSHAKE_COMPILERS_SECONDS });
}

/** An instance for plain HTTP, then one for TLS, and so on, of each system that has a part in a scenario of the kind. */
async function startSystems(plan: Plan, place: Workplace): Promise<System[]> {
  const systems: System[] = [];
  for (const instance of INSTANCES.filter(({ fresh }) => !fresh)) {
    for (const name of plan.systems) {
      const playsIn = (scenario: Scenario): boolean =>
        scenario.systems.includes(name) && isFor(scenario, instance);
      if (!plan.scenarios.some(playsIn)) continue;
      const system = await System.start(place, name, instance);
      systems.push(system);
      await checkWork(place, system);
      await warmUp(plan, place, system);
    }
  }
  return systems;
}

async function runRounds(plan: Plan, place: Workplace, results: Results): Promise<void> {
  const run: Run = { plan, place, repeatUntilMs: plan.startMs + plan.timeLimitMs * REPEAT_SHARE };
  if (plan.scenarios.length === 0) return;
  const systems = await startSystems(plan, place);
  for (let round = 0; round < plan.rounds; round++) {
    if (round > 0 && isLate(plan, ROUNDS_SHARE)) {
      progress(`slow machine: only ${round} rounds`);
      break;
    }
    for (const scenario of plan.scenarios) {
      progress(`round ${round + 1}/${plan.rounds}: ${scenario.name}`);
      const players = systems.filter((system) => isPlayedBy(scenario, system));
      for (const system of rotated(players, round)) {
        results.samples.push(await measureCalmly(run, scenario, system, round));
      }
    }
  }
  for (const system of systems) await system.stop();
}

async function runMemory(plan: Plan, place: Workplace, results: Results): Promise<void> {
  const kinds = [
    { memory: plan.memory, scenario: MEMORY_SCENARIO },
    { memory: plan.tlsMemory, scenario: TLS_MEMORY_SCENARIO },
  ];
  for (const { memory, scenario } of kinds) {
    if (memory === null) continue;
    const kind = scenario.tls === null ? MEMORY_NAME : TLS_MEMORY_NAME;
    for (const name of plan.systems) {
      // The forwarder pairs each client with a backend connection: its idle memory says nothing.
      if (name === 'forwarder') continue;
      if (isLate(plan, MEMORY_SHARE)) {
        progress(`slow machine: no ${kind} of ${name}`);
        continue;
      }
      progress(`${kind}: ${name}`);
      results.memory.push(await measureMemory(place, name, scenario, memory));
    }
  }
}

function progress(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

async function bench(plan: Plan): Promise<void> {
  checkTools(plan);
  const place: Workplace = { dir: mkdtempSync(join(tmpdir(), 'sallyport-bench-')), portBase: plan.portBase };
  process.once('exit', () => rmSync(place.dir, { recursive: true, force: true }));
  chmodSync(place.dir, 0o755);
  prepareFiles(place);
  await checkPorts(plan, place);
  build(plan, place);
  execFileSync('taskset', ['-a', '-cp', String(LOAD_CORE), String(process.pid)], { stdio: 'ignore' });
  const results: Results = {
    date: new Date().toISOString(),
    environment: environment(),
    generator:
      plan.generator ?? 'bench/load (bench/load-tls for HTTPS, h2load for HTTP/2), but where wrk is named',
    rounds: plan.rounds,
    seconds: plan.seconds,
    samples: [],
    memory: [],
    house: [],
  };
  const origin = new Child('origin', LOAD_CORE, [join(place.dir, 'origin'), String(originPort(place))], {});
  await origin.listening(originPort(place), 5000);
  const h2cOrigin = plan.scenarios.some(({ streams }) => streams > 0) ? await startH2cOrigin(place) : null;
  await runRounds(plan, place, results);
  await runMemory(plan, place, results);
  if (plan.house && plan.systems.includes('sallyport')) {
    progress(HOUSE_NAME);
    results.house.push(...(await measureHouse(place)));
  }
  await origin.stop();
  await h2cOrigin?.stop();
  mkdirSync(dirname(plan.json), { recursive: true });
  writeFileSync(plan.json, `${JSON.stringify(results, null, 1)}\n`);
  const tables = markdown(results);
  process.stdout.write(tables);
  if (plan.writeDocs) writeDocs(results, withoutJson(process.argv.slice(2)));
  progress(`results written to ${plan.json}`);
}

/** Ends the process and all that it started. */
function leave(code: number, message: string): void {
  if (message !== '') process.stderr.write(`bench: ${message}\n`);
  killChildren();
  process.exit(code);
}

async function main(): Promise<void> {
  process.on('exit', killChildren);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => leave(1, `stopped by ${signal}`));
  process.on('uncaughtException', (error) => leave(1, error.stack ?? error.message));
  try {
    if (process.argv.includes('--help')) {
      process.stdout.write(USAGE);
      return;
    }
    const plan = readPlan(process.argv.slice(2));
    const timer = setTimeout(() => leave(1, 'the time limit is reached'), plan.timeLimitMs);
    await bench(plan);
    clearTimeout(timer);
    leave(0, '');
  } catch (error) {
    if (error instanceof UsageError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS')) {
      leave(2, `${(error as Error).message}\n${USAGE}`);
    }
    leave(1, error instanceof BenchError ? error.message : String((error as Error).stack));
  }
}

await main();
