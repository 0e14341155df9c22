/** Results as Markdown: a table a scenario, the memory, and the bars that Sallyport has to clear. */

import { WORKER_ROLES } from './proc.ts';
import type { HouseMember, MemorySample, Results, Sample } from './results.ts';
import { valuesOf } from './results.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';
import { median, medianRatio } from './statistics.ts';
import { SYSTEM_NAMES, SYSTEM_TITLES, type SystemName } from './systems.ts';

const processorUs = (sample: Sample): number => sample.processorNsPerRequest / 1000;
const perSecond = (sample: Sample): number => 1e9 / sample.processorNsPerRequest;

/** Of the process that serves connections, alone: all that there is where nothing stands beside it. */
const workerUs = (sample: Sample): number => {
  const workers = sample.roles.filter(({ role }) => WORKER_ROLES.includes(role));
  const counted = workers.length > 0 ? workers : sample.roles;
  return counted.reduce((sum, role) => sum + role.processorNsPerRequest, 0) / 1000;
};

/** Above this share of the proxy's core, what others do colours the figures. */
export const DISTURBANCE_MAX = 0.05;

export interface Bar {
  readonly title: string;
  readonly measured: string;
  readonly met: boolean;
}

/** Tables come in families, which have their places in the documents. */
export const FAMILIES = ['http', 'https', 'http2'] as const;
export type Family = (typeof FAMILIES)[number];

/** All that was measured. */
export function markdown(results: Results): string {
  const parts = FAMILIES.flatMap((family) => tablesOf(results, family));
  return `${[environmentText(results, results.samples), ...parts].join('\n\n')}\n`;
}

/** What was measured of one family, with what is to be known of the machine. */
export function familyTables(results: Results, family: Family): string {
  return `${[environmentText(results, samplesOf(results, family)), ...tablesOf(results, family)].join('\n\n')}\n`;
}

export function hasFamily(results: Results, family: Family): boolean {
  return tablesOf(results, family).length > 0;
}

function familyOf(scenario: Scenario): Family {
  if (scenario.streams > 0) return 'http2';
  return scenario.tls === null ? 'http' : 'https';
}

function scenariosOf(family: Family): Scenario[] {
  return SCENARIOS.filter((scenario) => familyOf(scenario) === family);
}

function samplesOf(results: Results, family: Family): Sample[] {
  const names = scenariosOf(family).map((scenario) => scenario.name);
  return results.samples.filter((sample) => names.includes(sample.scenario));
}

function memoryOf(results: Results, family: Family): MemorySample[] {
  return results.memory.filter(({ secure }) => (secure ? 'https' : 'http') === family);
}

function isMeasured(results: Results, scenario: Scenario): boolean {
  return results.samples.some((sample) => sample.scenario === scenario.name);
}

function tablesOf(results: Results, family: Family): string[] {
  const measured = scenariosOf(family).filter((scenario) => isMeasured(results, scenario));
  const parts = measured.map((scenario) => scenarioTable(results, scenario));
  const memory = memoryOf(results, family);
  if (memory.length > 0) parts.push(memoryTable(memory));
  if (family === 'http' && results.house.length > 0) parts.push(houseTable(results.house));
  const all = bars(results, family);
  if (all.length > 0) parts.push(barsTable(all));
  return parts;
}

/** The family in one table: processor time, and the ratio to nginx in brackets. */
export function summary(results: Results, family: Family): string {
  const measured = scenariosOf(family).filter((scenario) => isMeasured(results, scenario));
  const samples = samplesOf(results, family);
  const systems = SYSTEM_NAMES.filter((name) =>
    [...samples, ...memoryOf(results, family)].some(({ system }) => system === name),
  );
  const cell = (scenario: Scenario, system: SystemName): string => {
    const cost = valuesOf(results, scenario.name, system, processorUs);
    if (cost.length === 0) return '–';
    const ratio = medianRatio(cost, valuesOf(results, scenario.name, 'nginx', processorUs));
    const middle = median(cost);
    return system === 'nginx' || Number.isNaN(ratio)
      ? number(middle, middle < 100 ? 1 : 0)
      : `${number(middle, middle < 100 ? 1 : 0)} (${number(ratio, 2)})`;
  };
  const rows = measured.map((scenario) => [scenario.title, ...systems.map((name) => cell(scenario, name))]);
  const each = memoryOf(results, family);
  if (each.length > 0) {
    const kib = (name: SystemName): string => {
      const sample = each.find(({ system }) => system === name);
      return sample === undefined ? '–' : `${number(idleKib(sample), 1)} KiB`;
    };
    rows.push(['Memory of an idle connection', ...systems.map(kib)]);
  }
  const { processor, nginx, haproxy } = results.environment;
  const rounds = Math.max(0, ...samples.map((sample) => sample.round + 1));
  const words = `Processor time in µs per request, medians of ${rounds} rounds on ${processor}, nginx ${nginx}, HAProxy ${haproxy} (the command and all columns are in [docs/BENCHMARKS.md](docs/BENCHMARKS.md)); in brackets the ratio to nginx, paired round by round. Less is better.`;
  const warning = isDisturbed(samples) ? `\n\n${DISTURBED}` : '';
  const columns = ['scenario', ...systems.map((name) => SYSTEM_TITLES[name])];
  return `${words}${warning}\n\n${table(columns, rows)}\n`;
}

const DISTURBED = '**The machine was busy with something else: these figures are not to be trusted.**';

function isDisturbed(samples: readonly Sample[]): boolean {
  return median(samples.map((sample) => sample.disturbance)) > DISTURBANCE_MAX;
}

function environmentText(results: Results, samples: readonly Sample[]): string {
  const lines = Object.entries(results.environment).map(([key, value]) => `- ${key}: ${value}`);
  const rounds = Math.max(0, ...samples.map((sample) => sample.round + 1));
  if (rounds > 0)
    lines.push(`- medians of ${rounds} rounds of ${results.seconds} s, generator: ${results.generator}`);
  const disturbance = samples.map((sample) => sample.disturbance);
  if (disturbance.length > 0) {
    const [middle, worst] = [median(disturbance), Math.max(...disturbance)].map((share) =>
      number(share * 100, 0),
    );
    lines.push(`- taken by others on the proxy's core: ${middle} % in the median, ${worst} % at worst`);
    if (isDisturbed(samples)) lines.push(`- ${DISTURBED}`);
  }
  return lines.join('\n');
}

interface Column {
  readonly title: string;
  /** From what was measured of a row's system. */
  readonly value: (of: Values, samples: readonly Sample[]) => string;
}

/** Values of a scenario's system, one a round; of the row's where none is named. */
type Values = (value: (sample: Sample) => number, system?: SystemName) => number[];

/** The columns that tell something about the scenario. */
function columnsOf(scenario: Scenario): Column[] {
  const { bodyBytes, tls, streams, closeEach, rate } = scenario;
  const middle = (of: Values, value: (sample: Sample) => number, digits = 0): string =>
    number(median(of(value)), digits);
  const beside = (system: SystemName) => (of: Values) =>
    number(medianRatio(of(processorUs), of(processorUs, system)), 2);
  const columns: Column[] = [
    { title: 'CPU µs/request', value: (of) => middle(of, processorUs, 2) },
    { title: '× nginx', value: beside('nginx') },
  ];
  if (streams > 0) columns.push({ title: '× HAProxy', value: beside('haproxy') });
  else if (tls === null) columns.push({ title: '× forwarder', value: beside('forwarder') });
  else if (closeEach)
    columns.push(
      { title: 'worker alone, µs', value: (of) => middle(of, workerUs, 2) },
      {
        title: '× nginx’s worker',
        value: (of) => number(medianRatio(of(workerUs), of(workerUs, 'nginx')), 2),
      },
      { title: 'beside it, µs', value: (_of, samples) => othersText(samples) },
      { title: 'handshakes per CPU second', value: (of) => middle(of, perSecond) },
    );
  columns.push(
    { title: 'requests/s', value: (of) => middle(of, (sample) => sample.requestsPerSecond) },
    { title: 'core busy', value: (of) => `${middle(of, (sample) => sample.utilisation * 100)} %` },
  );
  if (bodyBytes >= 1024 * 1024)
    columns.push({
      title: 'MB per CPU second',
      value: (of) => number(bodyBytes / median(of(processorUs)), 0),
    });
  // h2load prints no percentiles.
  if (streams > 0) return columns;
  columns.push(
    { title: 'p50 µs', value: (of) => middle(of, (sample) => sample.p50Us) },
    { title: 'p99 µs', value: (of) => middle(of, (sample) => sample.p99Us) },
  );
  if (rate > 0) columns.push({ title: 'p99.9 µs', value: (of) => middle(of, (sample) => sample.p999Us) });
  return columns;
}

/** Medians of the processes that stand beside the worker, those that use something. */
function othersText(samples: readonly Sample[]): string {
  const roles = new Set(samples.flatMap((sample) => sample.roles.map(({ role }) => role)));
  if (!WORKER_ROLES.some((role) => roles.has(role))) return '–';
  const others = [...roles].filter((role) => !WORKER_ROLES.includes(role));
  const costs = others.map((role) => {
    const ofRole = samples.map((sample) => sample.roles.find((each) => each.role === role));
    return { role, us: median(ofRole.map((cost) => (cost?.processorNsPerRequest ?? 0) / 1000)) };
  });
  const seen = costs.filter(({ us }) => us >= 0.05).toSorted((a, b) => b.us - a.us);
  return seen.map(({ role, us }) => `${role} ${number(us, 1)}`).join(', ') || '–';
}

function scenarioTable(results: Results, scenario: Scenario): string {
  const columns = columnsOf(scenario);
  const rows = scenario.systems
    .map((system) => ({
      system,
      of: ((value, other = system) => valuesOf(results, scenario.name, other, value)) as Values,
    }))
    .filter(({ of }) => of(processorUs).length > 0)
    .map(({ system, of }) => {
      const samples = results.samples.filter(
        (sample) => sample.scenario === scenario.name && sample.system === system,
      );
      return [SYSTEM_TITLES[system], ...columns.map(({ value }) => value(of, samples))];
    });
  return `#### ${scenario.title}\n\n${table(['system', ...columns.map(({ title }) => title)], rows)}`;
}

const idleKib = (sample: MemorySample): number =>
  (sample.rssIdleKib - sample.rssBeforeKib) / sample.idleConnections;

function memoryTable(samples: readonly MemorySample[]): string {
  const rows = samples.map((sample) => [
    SYSTEM_TITLES[sample.system],
    number(sample.pssBeforeKib / 1024, 1),
    number(idleKib(sample), 2),
    number((sample.pssIdleKib - sample.pssBeforeKib) / sample.idleConnections, 2),
    number((sample.rssHalfKib - sample.rssBeforeKib) / 1024, 1),
    number((sample.rssAfterKib - sample.rssHalfKib) / 1024, 1),
    number((sample.pssAfterKib - sample.pssHalfKib) / 1024, 1),
  ]);
  const [first] = samples;
  const columns = [
    'system',
    'PSS after warm-up, MiB',
    'RSS per idle connection, KiB',
    'PSS per idle connection, KiB',
    'RSS growth, first half, MiB',
    'second half, MiB',
    'PSS, second half, MiB',
  ];
  const title = `#### Memory${first.secure ? ' over TLS' : ''}: ${first.idleConnections} idle connections, then ${first.requests} requests`;
  return `${title}\n\n${table(columns, rows)}`;
}

/** Proportional memory of the idle house, in megabytes of 1,000,000 bytes. */
const HOUSE_MB_MAX = 130;

function megabytes(kib: number): number {
  return (kib * 1024) / 1e6;
}

function houseMb(members: readonly HouseMember[]): number {
  return members.reduce((sum, { pssKib }) => sum + megabytes(pssKib), 0);
}

function houseTable(members: readonly HouseMember[]): string {
  const rows = members.map(({ role, pssKib, rssKib }) => [
    role,
    number(megabytes(pssKib), 1),
    number(megabytes(rssKib), 1),
  ]);
  rows.push(['together', number(houseMb(members), 1), '']);
  return `#### Memory of the idle house (two workers, TLS, health checks)\n\n${table(['process', 'PSS, MB', 'RSS, MB'], rows)}`;
}

function houseBars({ house }: Results): Bar[] {
  if (house.length === 0) return [];
  const mb = houseMb(house);
  return [
    {
      title: `Idle house, PSS: at most ${HOUSE_MB_MAX} MB`,
      measured: `${number(mb, 1)} MB`,
      met: mb <= HOUSE_MB_MAX,
    },
  ];
}

function ratioBar(
  results: Results,
  title: string,
  scenario: string,
  pair: readonly [SystemName, SystemName],
  limit: number,
): Bar[] {
  const [ours, theirs] = pair;
  const ratio = medianRatio(
    valuesOf(results, scenario, ours, processorUs),
    valuesOf(results, scenario, theirs, processorUs),
  );
  if (Number.isNaN(ratio)) return [];
  return [{ title: `${title}: at most ${limit}`, measured: number(ratio, 3), met: ratio <= limit }];
}

/** Full handshakes that a second of processor time makes, of nginx's: over all processes, and of the worker alone. */
const HANDSHAKES_OF_NGINX_MIN = { tree: 0.75, worker: 1 } as const;

function handshakeBars(results: Results): Bar[] {
  const share = (value: (sample: Sample) => number): number =>
    medianRatio(
      valuesOf(results, 'https-handshakes', 'nginx', value),
      valuesOf(results, 'https-handshakes', 'sallyport', value),
    );
  const [tree, worker] = [share(processorUs), share(workerUs)];
  if (Number.isNaN(tree)) return [];
  const { tree: treeMin, worker: workerMin } = HANDSHAKES_OF_NGINX_MIN;
  return [
    {
      title: `Full handshakes per CPU second of all processes, of nginx: at least ${treeMin}`,
      measured: number(tree, 3),
      met: tree >= treeMin,
    },
    {
      title: `Full handshakes per CPU second of a worker, of nginx’s: more than ${workerMin}`,
      measured: number(worker, 3),
      met: worker > workerMin,
    },
  ];
}

/** Growth of RSS over the second half of the requests that still counts as none: an allocator's own drift. */
const GROWTH_KIB_MAX = 2048;
const IDLE_KIB_MAX: Readonly<Record<'http' | 'https', number>> = { http: 2, https: 32 };

/** Only those whose scenarios were run. */
export function bars(results: Results, family: Family): Bar[] {
  const own = { http: httpBars, https: httpsBars, http2: http2Bars }[family](results);
  return family === 'http2' ? own : [...own, ...memoryBars(results, family)];
}

function httpsBars(results: Results): Bar[] {
  const pair = ['sallyport', 'nginx'] as const;
  return [
    ...ratioBar(results, 'HTTPS proxy 1 KiB × 64, CPU, of nginx', 'https-1k', pair, 0.8),
    ...handshakeBars(results),
    ...ratioBar(results, 'HTTPS proxy 10 MiB, CPU per byte, of nginx', 'https-10m', pair, 1),
    ...ratioBar(results, 'HTTPS file 10 MiB, CPU per byte, of nginx', 'https-file-10m', pair, 1),
  ];
}

function http2Bars(results: Results): Bar[] {
  return SCENARIOS.filter((scenario) => familyOf(scenario) === 'http2').flatMap(({ name, title }) => [
    ...ratioBar(results, `${title}, CPU, of nginx`, name, ['sallyport', 'nginx'], 0.8),
    ...ratioBar(results, `${title}, CPU, of HAProxy`, name, ['sallyport', 'haproxy'], 1),
  ]);
}

function httpBars(results: Results): Bar[] {
  return [
    ...ratioBar(results, 'Proxy 1 KiB × 64, CPU, of nginx', 'proxy-1k', ['sallyport', 'nginx'], 0.8),
    ...ratioBar(
      results,
      'Proxy 1 KiB × 64, CPU, of the forwarder',
      'proxy-1k',
      ['sallyport', 'forwarder'],
      1.25,
    ),
    ...ratioBar(
      results,
      'Proxy 1 KiB × 64 with wrk, CPU, of nginx',
      'proxy-1k-wrk',
      ['sallyport', 'nginx'],
      0.8,
    ),
    ...ratioBar(
      results,
      'Proxy 1 KiB × 64 with wrk, CPU, of the forwarder',
      'proxy-1k-wrk',
      ['sallyport', 'forwarder'],
      1.25,
    ),
    ...ratioBar(
      results,
      'Proxy 1 KiB × 64 on epoll, CPU, of nginx',
      'proxy-1k',
      ['sallyport-epoll', 'nginx'],
      1.3,
    ),
    ...ratioBar(results, 'File 1 KiB, CPU, of nginx', 'static-1k', ['sallyport', 'nginx'], 1),
    ...ratioBar(results, 'Proxy 10 MiB, CPU per byte, of nginx', 'proxy-10m', ['sallyport', 'nginx'], 1),
    ...houseBars(results),
  ];
}

function memoryBars(results: Results, family: 'http' | 'https'): Bar[] {
  const found: Bar[] = [];
  const limit = IDLE_KIB_MAX[family];
  for (const sample of memoryOf(results, family)) {
    if (!sample.system.startsWith('sallyport')) continue;
    const each = idleKib(sample);
    const growth = sample.rssAfterKib - sample.rssHalfKib;
    found.push({
      title: `${SYSTEM_TITLES[sample.system]}: at most ${limit} KiB of RSS per idle ${family === 'https' ? 'TLS ' : ''}connection`,
      measured: `${number(each, 2)} KiB`,
      met: each <= limit,
    });
    found.push({
      title: `${SYSTEM_TITLES[sample.system]}: no growth over the second half of ${sample.requests} requests (below ${GROWTH_KIB_MAX / 1024} MiB)`,
      measured: `${number(growth / 1024, 1)} MiB`,
      met: growth < GROWTH_KIB_MAX,
    });
  }
  return found;
}

function barsTable(all: readonly Bar[]): string {
  const rows = all.map((bar) => [bar.title, bar.measured, bar.met ? 'met' : '**not met**']);
  return `#### Bars\n\n${table(['bar', 'measured', ''], rows)}`;
}

function number(value: number, digits: number): string {
  return Number.isFinite(value) ? value.toFixed(digits) : '–';
}

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = columns.map((_, index) => (index === 0 ? '---' : '---:'));
  return [line(columns), line(rule), ...rows.map((row) => line(row))].join('\n');
}
