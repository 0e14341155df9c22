/**
 * Foreign functions that change what a process may do: for the master, the launcher and a room's start, never for
 * the hot path. The rest of the program calls the modules beside this one, which return 0 or -errno.
 */

import koffi from 'koffi';

const program = koffi.load(null);

// biome-ignore lint/suspicious/noExplicitAny: a foreign function has the type that its declaration says.
function declare<F extends (...parameters: any[]) => unknown>(
  name: string,
  result: string,
  parameters: readonly string[],
): F {
  return program.func(name, result, [...parameters]) as unknown as F;
}

const INT = 'int';
const LONG = 'int64_t';

type Numbers<N extends number> = N extends 1
  ? (a: number) => number
  : N extends 2
    ? (a: number, b: number) => number
    : N extends 3
      ? (a: number, b: number, c: number) => number
      : N extends 4
        ? (a: number, b: number, c: number, d: number) => number
        : (a: number, b: number, c: number, d: number, e: number) => number;

export const prctl = declare<Numbers<5>>('prctl', INT, [INT, LONG, LONG, LONG, LONG]);
/** syscall(2) with four arguments behind the number; for calls that have no wrapper. */
export const syscall4 = declare<Numbers<5>>('syscall', LONG, [LONG, LONG, LONG, LONG, LONG]);

export const setgroups = declare<Numbers<2>>('setgroups', INT, [LONG, LONG]);
export const setresgid = declare<Numbers<3>>('setresgid', INT, ['uint32_t', 'uint32_t', 'uint32_t']);
export const setresuid = declare<Numbers<3>>('setresuid', INT, ['uint32_t', 'uint32_t', 'uint32_t']);
export const getrlimit = declare<Numbers<2>>('getrlimit', INT, [INT, LONG]);
export const setfsuid = declare<Numbers<1>>('setfsuid', INT, ['uint32_t']);
export const setrlimit = declare<Numbers<2>>('setrlimit', INT, [INT, LONG]);
export const sched_getaffinity = declare<Numbers<3>>('sched_getaffinity', INT, [INT, LONG, LONG]);
export const sched_setaffinity = declare<Numbers<3>>('sched_setaffinity', INT, [INT, LONG, LONG]);

export const unshare = declare<Numbers<1>>('unshare', INT, [INT]);
export const setns = declare<Numbers<2>>('setns', INT, [INT, INT]);
/** Source, target, type, flags, options; strings are copied for the call, null is NULL. */
export const mount = declare<
  (
    source: string | null,
    target: string,
    type: string | null,
    flags: number,
    options: string | null,
  ) => number
>('mount', INT, ['str', 'str', 'str', LONG, 'str']);
export const umount2 = declare<(target: string, flags: number) => number>('umount2', INT, ['str', INT]);
/** pivot_root(2), which has no wrapper: its number, the new root, where the old one goes. */
export const pivot_root = declare<(number: number, root: string, old: string) => number>('syscall', LONG, [
  LONG,
  'str',
  'str',
]);
export const sethostname = declare<(name: string, length: number) => number>('sethostname', INT, [
  'str',
  LONG,
]);

/** How (SIG_BLOCK and so on), the address of a sigset_t, that of the old one or 0. Returns an error number. */
export const pthread_sigmask = declare<Numbers<3>>('pthread_sigmask', INT, [INT, LONG, LONG]);

export const fcntl = declare<Numbers<3>>('fcntl', INT, [INT, INT, LONG]);
export const poll = declare<Numbers<3>>('poll', INT, [LONG, LONG, INT]);
export const memfd_create = declare<(name: string, flags: number) => number>('memfd_create', INT, [
  'str',
  'uint32_t',
]);
/** An entry of the auxiliary vector; 0 where there is none. */
export const getauxval = declare<Numbers<1>>('getauxval', LONG, [LONG]);
/** Returns free memory at the heap's end and between to the kernel. */
export const malloc_trim = declare<Numbers<1>>('malloc_trim', INT, [LONG]);
export const pipe2 = declare<Numbers<2>>('pipe2', INT, [LONG, INT]);
export const lseek = declare<Numbers<3>>('lseek', LONG, [INT, LONG, INT]);
export const ftruncate = declare<Numbers<2>>('ftruncate', INT, [INT, LONG]);
export const sendto = declare<
  (fd: number, bytes: number, length: number, flags: number, address: number, addressLength: number) => number
>('sendto', LONG, [INT, LONG, LONG, INT, LONG, INT]);
/** Opens only what is reached by name, for Landlock: no right to its content. */
export const openPath = declare<(path: string, flags: number) => number>('open', INT, ['str', INT]);
