/** Results as Markdown: a table a scenario, the memory, and the bars that Sallyport has to clear. */

import type { Results, Sample } from './results.ts';
import { valuesOf } from './results.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';
import { median, medianRatio } from './statistics.ts';
import { SYSTEM_TITLES, type SystemName } from './systems.ts';

const processorUs = (sample: Sample): number => sample.processorNsPerRequest / 1000;

/** Above this share of the proxy's core, what others do colours the figures. */
export const DISTURBANCE_MAX = 0.05;

export interface Bar {
  readonly title: string;
  readonly measured: string;
  readonly met: boolean;
}

export function markdown(results: Results): string {
  const parts = [environmentText(results)];
  for (const scenario of SCENARIOS) {
    if (results.samples.some((sample) => sample.scenario === scenario.name)) {
      parts.push(scenarioTable(results, scenario));
    }
  }
  if (results.memory.length > 0) parts.push(memoryTable(results));
  const all = bars(results);
  if (all.length > 0) parts.push(barsTable(all));
  return `${parts.join('\n\n')}\n`;
}

function environmentText(results: Results): string {
  const lines = Object.entries(results.environment).map(([key, value]) => `- ${key}: ${value}`);
  const rounds = Math.max(0, ...results.samples.map((sample) => sample.round + 1));
  lines.push(`- medians of ${rounds} rounds of ${results.seconds} s, generator: ${results.generator}`);
  const disturbance = results.samples.map((sample) => sample.disturbance);
  if (disturbance.length > 0) {
    const [middle, worst] = [median(disturbance), Math.max(...disturbance)].map((share) =>
      number(share * 100, 0),
    );
    lines.push(`- taken by others on the proxy's core: ${middle} % in the median, ${worst} % at worst`);
    if (median(disturbance) > DISTURBANCE_MAX) {
      lines.push('- **the machine was busy with something else: these figures are not to be trusted**');
    }
  }
  return lines.join('\n');
}

function scenarioTable(results: Results, scenario: Scenario): string {
  const bulk = scenario.bodyBytes >= 1024 * 1024;
  const columns = ['system', 'CPU µs/request', '× nginx', '× forwarder', 'requests/s', 'core busy'];
  if (bulk) columns.push('MB per CPU second');
  columns.push('p50 µs', 'p99 µs');
  if (scenario.rate > 0) columns.push('p99.9 µs');
  const rows = scenario.systems.map((system) => scenarioRow(results, scenario, system, bulk));
  return `### ${scenario.title}\n\n${table(
    columns,
    rows.filter((row) => row.length > 0),
  )}`;
}

function scenarioRow(results: Results, scenario: Scenario, system: SystemName, bulk: boolean): string[] {
  const of = (value: (sample: Sample) => number, name: SystemName = system) =>
    valuesOf(results, scenario.name, name, value);
  const cost = of(processorUs);
  if (cost.length === 0) return [];
  const row = [
    SYSTEM_TITLES[system],
    number(median(cost), 2),
    number(medianRatio(cost, of(processorUs, 'nginx')), 2),
    number(medianRatio(cost, of(processorUs, 'forwarder')), 2),
    number(median(of((sample) => sample.requestsPerSecond)), 0),
    `${number(median(of((sample) => sample.utilisation)) * 100, 0)} %`,
  ];
  if (bulk) row.push(number(scenario.bodyBytes / median(cost), 0));
  row.push(number(median(of((sample) => sample.p50Us)), 0), number(median(of((sample) => sample.p99Us)), 0));
  if (scenario.rate > 0) row.push(number(median(of((sample) => sample.p999Us)), 0));
  return row;
}

function memoryTable(results: Results): string {
  const rows = results.memory.map((sample) => [
    SYSTEM_TITLES[sample.system],
    number(sample.rssBeforeKib / 1024, 1),
    number((sample.rssIdleKib - sample.rssBeforeKib) / sample.idleConnections, 2),
    number((sample.pssIdleKib - sample.pssBeforeKib) / sample.idleConnections, 2),
    number((sample.rssHalfKib - sample.rssBeforeKib) / 1024, 1),
    number((sample.rssAfterKib - sample.rssHalfKib) / 1024, 1),
    number((sample.pssAfterKib - sample.pssHalfKib) / 1024, 1),
  ]);
  const first = results.memory[0];
  const columns = [
    'system',
    'RSS after warm-up, MiB',
    'RSS per idle connection, KiB',
    'PSS per idle connection, KiB',
    'RSS growth, first half, MiB',
    'second half, MiB',
    'PSS, second half, MiB',
  ];
  const title = `### Memory: ${first.idleConnections} idle connections, then ${first.requests} requests`;
  return `${title}\n\n${table(columns, rows)}`;
}

function ratioBar(
  results: Results,
  title: string,
  scenario: string,
  pair: readonly [SystemName, SystemName],
  limit: number,
) {
  const [ours, theirs] = pair;
  const ratio = medianRatio(
    valuesOf(results, scenario, ours, processorUs),
    valuesOf(results, scenario, theirs, processorUs),
  );
  if (Number.isNaN(ratio)) return [];
  return [{ title: `${title}: at most ${limit}`, measured: number(ratio, 3), met: ratio <= limit }];
}

/** Growth of RSS over the second half of the requests that still counts as none: an allocator's own drift. */
const GROWTH_KIB_MAX = 2048;
const IDLE_KIB_MAX = 2;

/** Only those whose scenarios were run. */
export function bars(results: Results): Bar[] {
  const found: Bar[] = [
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
  ];
  for (const sample of results.memory) {
    if (!sample.system.startsWith('sallyport')) continue;
    const each = (sample.rssIdleKib - sample.rssBeforeKib) / sample.idleConnections;
    const growth = sample.rssAfterKib - sample.rssHalfKib;
    found.push({
      title: `${SYSTEM_TITLES[sample.system]}: at most ${IDLE_KIB_MAX} KiB of RSS per idle connection`,
      measured: `${number(each, 2)} KiB`,
      met: each <= IDLE_KIB_MAX,
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
  return `### Bars\n\n${table(['bar', 'measured', ''], rows)}`;
}

function number(value: number, digits: number): string {
  return Number.isFinite(value) ? value.toFixed(digits) : '–';
}

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = columns.map((_, index) => (index === 0 ? '---' : '---:'));
  return [line(columns), line(rule), ...rows.map((row) => line(row))].join('\n');
}
