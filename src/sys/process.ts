/** A process's limits, its end with its parent, the cores it runs on. All return 0 or -errno. */

import { ESRCH } from './errno.ts';
import { negated } from './libc.ts';
import { mapPrivate } from './memory.ts';
import {
  getrlimit,
  prctl,
  pthread_sigmask,
  sched_getaffinity,
  sched_setaffinity,
  setrlimit,
} from './process-calls.ts';

const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
const SIGKILL = 9;
const RLIM_INFINITY = 0xffffffffffffffffn;
const SIG_UNBLOCK = 1;
/** sizeof(sigset_t) of glibc. */
const SIGNAL_SET_BYTES = 128;
/** 8192 cores, the most that a kernel can be built for. */
const CPU_SET_BYTES = 1024;

/** Resources of setrlimit(2), the same numbers on x86-64 and arm64. */
export const RLIMIT_FSIZE = 1;
export const RLIMIT_CORE = 4;
export const RLIMIT_NPROC = 6;
export const RLIMIT_NOFILE = 7;

const scratch = mapPrivate(4096);

/** The soft limit, Infinity where there is none, or -errno. Unlike /proc/self/limits it is there in a room, too. */
export function softLimit(resource: number): number {
  const result = negated(getrlimit(resource, scratch.address));
  if (result < 0) return result;
  const value = scratch.view.getBigUint64(0, true);
  return value === RLIM_INFINITY ? Number.POSITIVE_INFINITY : Number(value);
}

/** Lowers the soft and the hard limit; one that is lower already stays. */
export function limitResource(resource: number, value: number): number {
  const result = negated(getrlimit(resource, scratch.address));
  if (result < 0) return result;
  const hard = scratch.view.getBigUint64(8, true);
  const limit = hard < BigInt(value) ? hard : BigInt(value);
  scratch.view.setBigUint64(0, limit, true);
  scratch.view.setBigUint64(8, limit, true);
  return negated(setrlimit(resource, scratch.address));
}

/**
 * The kernel kills this process when its parent (more exactly the thread that started it) ends; `parent` is the
 * parent's id as told by itself, against one that has ended already (0: it can't be known here, since this process
 * has a namespace of its own for ids). Call after the user is changed, which clears it; execve keeps it.
 */
export function endWithParent(parent: number): number {
  const result = negated(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
  if (result < 0) return result;
  return parent !== 0 && process.ppid !== parent ? -ESRCH : 0;
}

/** No core dump, and no look at its memory by others of the same user. execve sets it back: call it in the room. */
export function setUndumpable(): number {
  return negated(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

/**
 * Signals of that number reach the calling thread. With --disable-sigusr1 Node.js leaves SIGUSR1 blocked, so that a
 * handler for it never runs.
 */
export function unblockSignal(number: number): number {
  scratch.bytes.fill(0, 0, SIGNAL_SET_BYTES);
  const bit = number - 1;
  scratch.bytes[bit >> 3] = 1 << (bit & 7);
  return -pthread_sigmask(SIG_UNBLOCK, scratch.address, 0);
}

/** Runs the calling thread, and those that it starts later, on that core alone. */
export function pinToCore(core: number): number {
  scratch.bytes.fill(0, 0, CPU_SET_BYTES);
  if (core < 0 || core >= CPU_SET_BYTES * 8) return -ESRCH;
  scratch.bytes[core >> 3] = 1 << (core & 7);
  return negated(sched_setaffinity(0, CPU_SET_BYTES, scratch.address));
}

/** The cores that this process may run on, as it has inherited it; empty where the kernel doesn't say. */
export function coreAffinity(): number[] {
  scratch.bytes.fill(0, 0, CPU_SET_BYTES);
  if (negated(sched_getaffinity(0, CPU_SET_BYTES, scratch.address)) < 0) return [];
  const cores: number[] = [];
  for (let core = 0; core < CPU_SET_BYTES * 8; core++)
    if ((scratch.bytes[core >> 3] & (1 << (core & 7))) !== 0) cores.push(core);
  return cores;
}
