/**
 * What the kernel says of processes: processor time in nanoseconds and memory in KiB, from /proc. A system is the
 * process that was started and all that descend from it.
 */

import { readdirSync, readFileSync } from 'node:fs';

/**
 * A process and its descendants, which may come and go: each thread counts for what it had when it was last seen.
 * What one uses after the last look before its end is lost; so there are looks in between while something is measured.
 */
export class ProcessTree {
  private readonly root: number;
  /** Each thread that was ever seen, by its id: whose it was when it was last seen, and its nanoseconds. */
  private readonly seen: Map<string, { role: string; ns: number }>;

  constructor(root: number) {
    this.root = root;
    this.seen = new Map();
  }

  /** The processes that are there now, parents before their children. */
  pids(): number[] {
    const pids = [this.root];
    for (let index = 0; index < pids.length; index++) {
      for (const thread of list(`/proc/${pids[index]}/task`)) {
        const children = read(`/proc/${pids[index]}/task/${thread}/children`).trim();
        if (children !== '') pids.push(...children.split(' ').map(Number));
      }
    }
    return pids;
  }

  /**
   * Processor time of all threads so far, user and system, in nanoseconds (schedstat's first number). Soft interrupts
   * that ran in their context are in it, as the kernel counts them.
   */
  processorNs(): number {
    let total = 0;
    for (const ns of this.processorNsByRole().values()) total += ns;
    return total;
  }

  /** The same, by what the processes are (`roleOf`). */
  processorNsByRole(): Map<string, number> {
    for (const pid of this.pids()) {
      const role = roleOf(pid);
      for (const thread of list(`/proc/${pid}/task`)) {
        const ns = threadNs(pid, thread);
        if (ns > 0) this.seen.set(thread, { role, ns });
      }
    }
    const byRole = new Map<string, number>();
    for (const { role, ns } of this.seen.values()) byRole.set(role, (byRole.get(role) ?? 0) + ns);
    return byRole;
  }

  /** Looks every LOOK_MS until the returned function is called. */
  watch(): () => void {
    const timer = setInterval(() => this.processorNs(), LOOK_MS);
    return () => clearInterval(timer);
  }
}

const LOOK_MS = 200;

/** Processor time of a thread of the kernel's own; 0 where there is none. */
export function kernelThreadNs(pid: number): number {
  return threadNs(pid, String(pid));
}

function threadNs(pid: number, thread: string): number {
  return Number(read(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0] ?? 0);
}

/** Roles of the processes that serve connections: ours, and nginx's. */
export const WORKER_ROLES: readonly string[] = ['edge', 'worker'];

/** Which compartment a process of ours is, by the main file that it runs; nginx's by its title; the name of any other. */
export function roleOf(pid: number): string {
  const command = read(`/proc/${pid}/cmdline`);
  const found = /\/(\w+)\/main\.(?:js|ts)/.exec(command)?.[1] ?? /^nginx: (master|worker)/.exec(command)?.[1];
  if (found === undefined) return read(`/proc/${pid}/comm`).trim();
  return found === 'cli' ? 'master' : found;
}

export interface Memory {
  /** Resident set size, KiB, summed over the processes. */
  readonly rssKib: number;
  /** Proportional set size, KiB: pages shared by n processes count 1/n each. */
  readonly pssKib: number;
  /** What these processes alone have and can't be read from a file again, KiB: heaps, stacks, buffers. */
  readonly privateKib: number;
}

export function memoryOf(pids: readonly number[]): Memory {
  let rssKib = 0;
  let pssKib = 0;
  let privateKib = 0;
  for (const pid of pids) {
    rssKib += kib(read(`/proc/${pid}/status`), 'VmRSS');
    const rollup = read(`/proc/${pid}/smaps_rollup`);
    pssKib += kib(rollup, 'Pss');
    privateKib += kib(rollup, 'Private_Dirty');
  }
  return { rssKib, pssKib, privateKib };
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
