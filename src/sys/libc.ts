/**
 * Foreign functions of the C library (and of libuv, which the Node.js binary exports). The only place that
 * declares them; everybody else calls these constants.
 *
 * Addresses are plain numbers (user space ends below 2^47), which cost less than BigInt pointers. A failed
 * call returns -1 and leaves its reason in `lastErrno()`; `negated` turns that into the -errno which the
 * rest of the program speaks. A call costs about 50 ns beside what it does.
 */

import koffi from 'koffi';

const process = koffi.load(null);

// biome-ignore lint/suspicious/noExplicitAny: a foreign function has the type that its declaration says.
function declare<F extends (...parameters: any[]) => unknown>(
  name: string,
  result: string,
  parameters: readonly string[],
): F {
  return process.func(name, result, [...parameters]) as unknown as F;
}

/** The errno of the last call that failed. */
export function lastErrno(): number {
  return koffi.errno();
}

/** `result` unless it is -1; then -errno. */
export function negated(result: number): number {
  return result < 0 ? -koffi.errno() : result;
}

type Call1 = (a: number) => number;
type Call2 = (a: number, b: number) => number;
type Call3 = (a: number, b: number, c: number) => number;
type Call4 = (a: number, b: number, c: number, d: number) => number;
type Call5 = (a: number, b: number, c: number, d: number, e: number) => number;
type Call6 = (a: number, b: number, c: number, d: number, e: number, f: number) => number;

const INT = 'int';
const ADDRESS = 'int64_t';
const SIZE = 'int64_t';

export const mmap = declare<Call6>('mmap', ADDRESS, [ADDRESS, SIZE, INT, INT, INT, 'int64_t']);
export const munmap = declare<Call2>('munmap', INT, [ADDRESS, SIZE]);
export const madvise = declare<Call3>('madvise', INT, [ADDRESS, SIZE, INT]);

export const socket = declare<Call3>('socket', INT, [INT, INT, INT]);
export const socketpair = declare<Call4>('socketpair', INT, [INT, INT, INT, ADDRESS]);
export const bind = declare<Call3>('bind', INT, [INT, ADDRESS, INT]);
export const listen = declare<Call2>('listen', INT, [INT, INT]);
export const connect = declare<Call3>('connect', INT, [INT, ADDRESS, INT]);
export const accept4 = declare<Call4>('accept4', INT, [INT, ADDRESS, ADDRESS, INT]);
export const getsockname = declare<Call3>('getsockname', INT, [INT, ADDRESS, ADDRESS]);
export const getpeername = declare<Call3>('getpeername', INT, [INT, ADDRESS, ADDRESS]);
export const setsockopt = declare<Call5>('setsockopt', INT, [INT, INT, INT, ADDRESS, INT]);
export const getsockopt = declare<Call5>('getsockopt', INT, [INT, INT, INT, ADDRESS, ADDRESS]);
export const shutdown = declare<Call2>('shutdown', INT, [INT, INT]);
export const recv = declare<Call4>('recv', INT, [INT, ADDRESS, SIZE, INT]);
export const send = declare<Call4>('send', INT, [INT, ADDRESS, SIZE, INT]);
export const sendmsg = declare<Call3>('sendmsg', INT, [INT, ADDRESS, INT]);
export const recvmsg = declare<Call3>('recvmsg', INT, [INT, ADDRESS, INT]);
export const sendfile = declare<Call4>('sendfile', INT, [INT, INT, ADDRESS, SIZE]);
export const splice = declare<Call6>('splice', SIZE, [INT, ADDRESS, INT, ADDRESS, SIZE, INT]);
/** _exit(2): ends at once, whatever other threads do. */
export const exitNow = declare<(code: number) => void>('_exit', 'void', [INT]);
export const read = declare<Call3>('read', SIZE, [INT, ADDRESS, SIZE]);
export const close = declare<Call1>('close', INT, [INT]);

export const open = declare<Call3>('open', INT, [ADDRESS, INT, INT]);
export const chmod = declare<Call2>('chmod', INT, [ADDRESS, INT]);
export const unlink = declare<Call1>('unlink', INT, [ADDRESS]);
export const statx = declare<Call5>('statx', INT, [INT, ADDRESS, INT, INT, ADDRESS]);
export const pread = declare<Call4>('pread', INT, [INT, ADDRESS, SIZE, 'int64_t']);
export const preadv2 = declare<Call5>('preadv2', INT, [INT, ADDRESS, INT, 'int64_t', INT]);

export const epoll_create1 = declare<Call1>('epoll_create1', INT, [INT]);
export const epoll_ctl = declare<Call4>('epoll_ctl', INT, [INT, INT, INT, ADDRESS]);
export const epoll_wait = declare<Call4>('epoll_wait', INT, [INT, ADDRESS, INT, INT]);

export const timerfd_create = declare<Call2>('timerfd_create', INT, [INT, INT]);
export const timerfd_settime = declare<Call4>('timerfd_settime', INT, [INT, INT, ADDRESS, ADDRESS]);

/** openat2(2), which has no wrapper: number 437 on every architecture. */
export const openat2 = declare<Call5>('syscall', INT, [INT, INT, ADDRESS, ADDRESS, SIZE]);
/** io_uring_setup(2), number 425. */
export const io_uring_setup = declare<Call3>('syscall', INT, [INT, INT, ADDRESS]);
/** io_uring_enter(2), number 426: descriptor, to submit, to wait for, flags, argument, its size. */
export const io_uring_enter = declare<
  (number: number, a: number, b: number, c: number, d: number, e: number, f: number) => number
>('syscall', INT, [INT, INT, INT, INT, INT, ADDRESS, SIZE]);
/** io_uring_register(2), number 427. */
export const io_uring_register = declare<Call5>('syscall', INT, [INT, INT, INT, ADDRESS, INT]);

export const uv_default_loop = declare<() => number>('uv_default_loop', ADDRESS, []);
/** The epoll descriptor on which Node's event loop waits; readable when it has work. */
export const uv_backend_fd = declare<Call1>('uv_backend_fd', INT, [ADDRESS]);
export const uv_walk = declare<(loop: number, callback: number, argument: number) => void>(
  'uv_walk',
  'void',
  [ADDRESS, ADDRESS, ADDRESS],
);
export const uv_handle_get_type = declare<Call1>('uv_handle_get_type', INT, [ADDRESS]);
export const uv_is_active = declare<Call1>('uv_is_active', INT, [ADDRESS]);
export const uv_timer_get_due_in = declare<Call1>('uv_timer_get_due_in', 'int64_t', [ADDRESS]);

/** A foreign call that runs on a thread of libuv's pool. Its errno is lost: only that it failed is known. */
type Asynchronous<A extends number[]> = (
  ...parameters: [...A, (error: unknown, result: number) => void]
) => void;

export const preadAsync = (pread as unknown as { async: Asynchronous<[number, number, number, number]> })
  .async;
