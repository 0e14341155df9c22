/** What the kernel says of processes: processor time in nanoseconds and memory in KiB, from /proc. */

import { readdirSync, readFileSync } from 'node:fs';

/**
 * Processor time of all threads of these processes, user and system, in nanoseconds (schedstat's first
 * number). Soft interrupts that ran in their context are in it, as the kernel counts them.
 */
export function processorNs(pids: readonly number[]): number {
  let total = 0;
  for (const pid of pids) {
    for (const thread of list(`/proc/${pid}/task`)) {
      const text = read(`/proc/${pid}/task/${thread}/schedstat`);
      total += Number(text.split(' ')[0] ?? 0);
    }
  }
  return total;
}

export interface Memory {
  /** Resident set size, KiB, summed over the processes. */
  readonly rssKib: number;
  /** Proportional set size, KiB: pages shared by n processes count 1/n each. */
  readonly pssKib: number;
}

export function memoryOf(pids: readonly number[]): Memory {
  let rssKib = 0;
  let pssKib = 0;
  for (const pid of pids) {
    rssKib += kib(read(`/proc/${pid}/status`), 'VmRSS');
    pssKib += kib(read(`/proc/${pid}/smaps_rollup`), 'Pss');
  }
  return { rssKib, pssKib };
}

/** Kernel ticks are hundredths of a second wherever Linux runs (USER_HZ). */
const NS_PER_TICK = 10_000_000;

/** Time that a core was not idle since the start, whoever used it (the hypervisor included), in nanoseconds. */
export function coreBusyNs(core: number): number {
  const line = read('/proc/stat')
    .split('\n')
    .find((candidate) => candidate.startsWith(`cpu${core} `));
  const [user, nice, system, , , irq, softirq, steal] = (line ?? '').split(' ').slice(1).map(Number);
  return (
    ((user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0) + (steal ?? 0)) * NS_PER_TICK
  );
}

/** Process id of the thread that runs soft interrupts of a core when they don't fit elsewhere; 0 if unknown. */
export function softInterruptThread(core: number): number {
  for (const name of list('/proc')) {
    if (/^\d+$/.test(name) && read(`/proc/${name}/comm`).trim() === `ksoftirqd/${core}`) return Number(name);
  }
  return 0;
}

/** First line of a kernel setting, or '' where it can't be read. */
export function setting(path: string): string {
  return read(path).trim();
}

function kib(text: string, key: string): number {
  const match = new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text);
  return match?.[1] === undefined ? 0 : Number(match[1]);
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
