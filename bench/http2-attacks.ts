/**
 * `npm run bench:attacks`: what each known attack on HTTP/2 costs others. A bystander (h2load) asks as much as it can,
 * while one attacker, from another address, comes back at once whenever it is cut; and without it, in turns, in one
 * run. Prints Markdown.
 *
 * The edge has core 0; bystander, attacker and origin share core 1, so that the bystander's own rate also tells what the
 * attacker took from it there. What the attack costs at the edge is the share of its core that it takes for the attacker
 * alone: so many requests of others are lost where the core is full. Beside it stands the edge's processor time for each
 * of the bystander's requests without and with the attacker, on which other work on the machine shows, too.
 */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { BenchError, Child, killChildren, LOAD_CORE } from './children.ts';
import { type AttackerFate, attacksOf } from './http2-attacker.ts';
import { runLoad } from './load-generator.ts';
import { memoryOf } from './proc.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';
import { median } from './statistics.ts';
import { checkWork, originPort, prepareFiles, System, startH2cOrigin, type Workplace } from './systems.ts';

/** An attack may cost others no more than this share of their requests. */
const LOSS_MAX = 0.1;
const TIME_LIMIT_MS = 15 * 60_000;
const STOP_MS = 5000;
/** What holds a connection is measured while it holds it, not while its requests begin. */
const SETTLE_MS = 1000;

interface Window {
  readonly requestsPerSecond: number;
  readonly processorNsPerRequest: number;
}

interface Measured {
  readonly name: string;
  readonly without: Window[];
  readonly with: Window[];
  /** Share of a core that the edge took with the attacker alone. */
  readonly alone: number[];
  readonly fates: AttackerFate[];
  /** Proportional memory of all its processes after it, KiB. */
  pssKib: number;
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '1' },
    port: { type: 'string', default: '24000' },
    only: { type: 'string', default: '' },
    secure: { type: 'boolean', default: false },
  },
});

const seconds = Number(values.seconds);
let addresses = 0;

/** The bystander: fewer at once than what is measured elsewhere, so that it waits for the edge and not for itself. */
function bystander(): Scenario {
  const name = values.secure ? 'h2-http1' : 'h2c-http1';
  const scenario = SCENARIOS.find((candidate) => candidate.name === name);
  if (scenario === undefined) throw new BenchError(`no scenario ${name}`);
  return scenario;
}

async function measure(place: Workplace, system: System): Promise<Window> {
  const before = system.processes.processorNs();
  const { requests, requestsPerSecond } = await runLoad(place, 'h2load', bystander(), system.port, {
    seconds,
  });
  const used = system.processes.processorNs() - before;
  return { requestsPerSecond, processorNsPerRequest: used / requests };
}

/** Share of a core that the edge takes for an attack while nobody else asks anything. */
async function alone(system: System, number: number, holds: boolean): Promise<number> {
  const attacker = await startAttacker(system, number);
  if (holds) await sleep(SETTLE_MS);
  const before = system.processes.processorNs();
  await sleep(seconds * 1000);
  const used = system.processes.processorNs() - before;
  attacker.process.kill('SIGTERM');
  await attacker.stop();
  return used / (seconds * 1e9);
}

/** Each time from an address that was not seen before, whose first connections have whole budgets. */
async function startAttacker(system: System, number: number): Promise<Child> {
  const address = `127.0.${3 + (addresses >> 7)}.${1 + (addresses++ & 127)}`;
  const script = join(import.meta.dirname, 'http2-attacker.ts');
  const args = [String(system.port), String(values.secure), address, String(number)];
  const attacker = new Child('attacker', LOAD_CORE, [process.execPath, script, ...args], {});
  await attacker.firstLine(STOP_MS);
  return attacker;
}

async function underAttack(
  place: Workplace,
  system: System,
  number: number,
  holds: boolean,
  into: Measured,
): Promise<void> {
  const attacker = await startAttacker(system, number);
  if (holds) await sleep(SETTLE_MS);
  const fate = attacker.firstLine(STOP_MS + seconds * 20_000);
  into.with.push(await measure(place, system));
  attacker.process.kill('SIGTERM');
  into.fates.push(JSON.parse(await fate) as AttackerFate);
  await attacker.stop();
}

async function measureAll(place: Workplace, system: System): Promise<void> {
  const attacks = attacksOf(values.secure);
  process.stdout.write(`${HEAD.join('\n')}\n`);
  for (const [number, { name, holds }] of attacks.entries()) {
    if (!name.includes(values.only)) continue;
    process.stderr.write(`bench: ${name}\n`);
    const result: Measured = { name, without: [], with: [], alone: [], fates: [], pssKib: 0 };
    for (let round = 0; round < Number(values.rounds); round++) {
      result.without.push(await measure(place, system));
      await underAttack(place, system, number, holds, result);
      result.alone.push(await alone(system, number, holds));
    }
    result.pssKib = memoryOf(system.processes.pids()).pssKib;
    process.stdout.write(`${row(result)}\n`);
  }
}

function fateOf({ fates }: Measured): string {
  const told = new Map<string, number>();
  for (const fate of fates)
    for (const [words, count] of Object.entries(fate.told)) told.set(words, (told.get(words) ?? 0) + count);
  const connections = fates.reduce((sum, fate) => sum + fate.connections, 0);
  const all = [...told].map(([words, count]) => `${count} × ${words.replace('code 11 ', '')}`);
  return `${connections} connections: ${all.length === 0 ? 'held' : all.join(', ')}`;
}

const HEAD = [
  '| attack | alone, of the edge’s core | bystander, requests/s | edge, CPU µs/request | the attacker | edge, PSS |',
  '| --- | ---: | --- | --- | --- | ---: |',
];

function row(result: Measured): string {
  const rate = (windows: readonly Window[]): string =>
    median(windows.map((window) => window.requestsPerSecond)).toFixed(0);
  const cost = (windows: readonly Window[]): string =>
    (median(windows.map((window) => window.processorNsPerRequest)) / 1000).toFixed(1);
  const loss = median(result.alone);
  const verdict = `${(loss * 100).toFixed(1)} %${loss > LOSS_MAX ? ' **not met**' : ''}`;
  const memory = `${(result.pssKib / 1024).toFixed(0)} MiB`;
  const rates = `${rate(result.without)} → ${rate(result.with)}`;
  const costs = `${cost(result.without)} → ${cost(result.with)}`;
  return `| ${[result.name, verdict, rates, costs, fateOf(result), memory].join(' | ')} |`;
}

async function main(): Promise<void> {
  const place: Workplace = {
    dir: mkdtempSync(join(tmpdir(), 'sallyport-attacks-')),
    portBase: Number(values.port),
  };
  process.once('exit', () => rmSync(place.dir, { recursive: true, force: true }));
  chmodSync(place.dir, 0o755);
  prepareFiles(place);
  const source = join(import.meta.dirname, 'origin', 'origin.c');
  execFileSync('gcc', ['-O2', '-o', join(place.dir, 'origin'), source, '-lm'], { stdio: 'inherit' });
  execFileSync('taskset', ['-a', '-cp', String(LOAD_CORE), String(process.pid)], { stdio: 'ignore' });
  const origin = new Child('origin', LOAD_CORE, [join(place.dir, 'origin'), String(originPort(place))], {});
  await origin.listening(originPort(place), STOP_MS);
  await startH2cOrigin(place);
  const system = await System.start(place, 'sallyport', { fresh: false, secure: values.secure, http2: true });
  await checkWork(place, system);
  // As long as its compilers need.
  await runLoad(place, 'h2load', bystander(), system.port, { seconds: 4 });
  await measureAll(place, system);
}

function leave(code: number, message: string): void {
  if (message !== '') process.stderr.write(`bench: ${message}\n`);
  killChildren();
  process.exit(code);
}

process.on('exit', killChildren);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => leave(1, `stopped by ${signal}`));
setTimeout(() => leave(1, 'the time limit is reached'), TIME_LIMIT_MS);
try {
  await main();
  leave(0, '');
} catch (error) {
  leave(1, error instanceof BenchError ? error.message : String((error as Error).stack));
}
