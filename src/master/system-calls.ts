/**
 * Lists of system calls, from which compartments.ts makes what each room may call: first while Node.js starts, then,
 * sealed, while the room works. Each entry is there because a run under `strict` died without it, or because the
 * source of Node.js, libuv or glibc has it on a path that such a run didn't take (another kernel, memory pressure).
 *
 * Names that an architecture doesn't have are left out for it.
 */

import { ENOENT, ENOSYS, EPERM } from '../sys/errno.ts';
import type { CallRule } from '../sys/seccomp.ts';

const PROT_EXEC = 4;
const CLONE_THREAD = 0x00010000;
/** Every flag of clone(2) that makes a namespace. */
const CLONE_NEW = 0x7e020080;
/** Opening for anything but reading: O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, and the bit of O_TMPFILE. */
const OPEN_TO_WRITE = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000;
const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const FIONREAD = 0x541b;
const FIONBIO = 0x5421;
const FIONCLEX = 0x5450;
const FIOCLEX = 0x5451;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCKET_TYPE_MASK = 0xf;
const IORING_UNREGISTER_RING_FDS = 21;
const PR_SET_NAME = 15;
const PR_SET_VMA = 0x53564d41;

/** A process that has started and computes: V8's heap, threads that are there already, their locks, their end. */
const RUNNING: readonly CallRule[] = [
  'futex',
  'munmap',
  'madvise',
  'mremap',
  'brk',
  'membarrier',
  'sched_yield',
  'sched_getaffinity',
  // pthread_getschedparam, which V8's compiler threads ask.
  'sched_getscheduler',
  'sched_getparam',
  'getcpu',
  'getpid',
  'gettid',
  'getppid',
  'getrandom',
  'getrusage',
  'sysinfo',
  'rt_sigprocmask',
  'rt_sigaction',
  'rt_sigreturn',
  'sigaltstack',
  'restart_syscall',
  'exit',
  'exit_group',
  // abort(3) of an assertion; a process id that is not the own one is refused by Landlock or the other user.
  'tgkill',
  // Where the vDSO has no clock (some virtual machines), V8 ends the process without these.
  'clock_gettime',
  'clock_getres',
  'gettimeofday',
  'time',
  'clock_nanosleep',
  'nanosleep',
  // Memory protection keys, which V8 uses for its code where the processor has them.
  'pkey_alloc',
  'pkey_free',
  // The pages of V8's code are there since the start, writable and executable: no new ones.
  { call: 'mmap', checks: [{ argument: 2, hasNoneOf: PROT_EXEC }] },
  { call: 'mprotect', checks: [{ argument: 2, hasNoneOf: PROT_EXEC }] },
  { call: 'pkey_mprotect', checks: [{ argument: 2, hasNoneOf: PROT_EXEC }] },
  // Names of threads and of mappings: asked for wherever memory is mapped or a thread comes; harmless, not needed.
  { call: 'prctl', checks: [{ argument: 0, isOneOf: [PR_SET_NAME, PR_SET_VMA] }], otherwise: EPERM },
  { call: 'clone3', errno: ENOSYS },
];

/** libuv's loop: waiting, its own pipes and events, signals that arrive through them. */
const EVENT_LOOP: readonly CallRule[] = [
  'epoll_wait',
  'epoll_pwait',
  'epoll_pwait2',
  'epoll_ctl',
  'read',
  'write',
  'writev',
  'close',
  'fstat',
  // Of standard output, when the process ends in order.
  'fsync',
  {
    call: 'fcntl',
    checks: [{ argument: 1, isOneOf: [F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC] }],
    otherwise: EPERM,
  },
  {
    call: 'ioctl',
    checks: [{ argument: 1, isOneOf: [FIONREAD, FIONBIO, FIOCLEX, FIONCLEX] }],
    otherwise: EPERM,
  },
];

/** Channels: messages, and whether one is there. */
const CHANNELS: readonly CallRule[] = ['sendmsg', 'recvmsg', 'sendto', 'recvfrom', 'poll', 'ppoll'];

/** Sockets that were made before, whatever they are. */
const SOCKET_NAMES: readonly CallRule[] = [
  'setsockopt',
  'getsockopt',
  'getsockname',
  'getpeername',
  'shutdown',
];

const STREAM_SOCKETS: CallRule = {
  call: 'socket',
  checks: [
    { argument: 0, isOneOf: [AF_UNIX, AF_INET, AF_INET6] },
    { argument: 1, mask: SOCKET_TYPE_MASK, are: SOCK_STREAM },
  ],
};

/**
 * Resolving names asks by datagrams too. getaddrinfo would like to see the machine's addresses by a socket of netlink,
 * and does without.
 */
const STREAM_AND_DATAGRAM_SOCKETS: CallRule = {
  call: 'socket',
  checks: [
    { argument: 0, isOneOf: [AF_UNIX, AF_INET, AF_INET6] },
    { argument: 1, isOneOf: [SOCK_STREAM, SOCK_DGRAM].flatMap(withSocketFlags) },
  ],
  otherwise: EPERM,
};

/** With and without SOCK_NONBLOCK and SOCK_CLOEXEC. */
function withSocketFlags(type: number): number[] {
  return [0, 0o4000, 0o2000000, 0o2004000].map((flags) => type | flags);
}

/** Opening, for reading only; what may be opened is Landlock's to say. */
const OPEN_TO_READ: readonly CallRule[] = [
  { call: 'openat', checks: [{ argument: 2, hasNoneOf: OPEN_TO_WRITE }] },
];

/** Files of a document root. openat2 has its flags in memory, where no filter can see them: Landlock looks at those. */
const SERVE_FILES: readonly CallRule[] = [
  ...OPEN_TO_READ,
  'openat2',
  'statx',
  'newfstatat',
  'lseek',
  'pread64',
  'preadv2',
  'sendfile',
];

/** A room without files. glibc counts the processors, from /sys, when threads compete for memory, and does without. */
const NO_FILES: readonly CallRule[] = [{ call: 'openat', errno: ENOENT }];

/** The ring that is there already; a room that ends in order gives its number back. */
const URING_RUNNING: readonly CallRule[] = [
  'io_uring_enter',
  {
    call: 'io_uring_register',
    checks: [{ argument: 1, isOneOf: [IORING_UNREGISTER_RING_FDS] }],
    otherwise: EPERM,
  },
];

/** The reactor on epoll where it only connects; and where it serves. */
const EPOLL_CLIENT: readonly CallRule[] = ['connect', 'timerfd_settime'];
const EPOLL_RUNNING: readonly CallRule[] = [...EPOLL_CLIENT, 'accept4'];

/** From socket to socket through pipes that are there already: content that nobody needs to see. */
const FORWARD: readonly CallRule[] = ['splice'];

/** Names: resolv.conf and its like, sockets to the servers. */
const RESOLVE: readonly CallRule[] = [
  ...OPEN_TO_READ,
  'newfstatat',
  'statx',
  'lseek',
  'uname',
  'connect',
  'sendmmsg',
];

/** From execve until a room is sealed: what the loader, Node.js, V8 and libuv do at their start. */
export const STARTING: readonly CallRule[] = [
  'execve',
  'arch_prctl',
  'set_tid_address',
  'set_robust_list',
  'rseq',
  'futex',
  'mmap',
  'munmap',
  'mprotect',
  'pkey_mprotect',
  'pkey_alloc',
  'pkey_free',
  'madvise',
  'mremap',
  'brk',
  'membarrier',
  'read',
  'pread64',
  'preadv2',
  'write',
  'writev',
  'close',
  'fstat',
  'newfstatat',
  'statx',
  'fsync',
  'access',
  'faccessat',
  'faccessat2',
  'lseek',
  'openat',
  'openat2',
  'getdents64',
  'readlink',
  'readlinkat',
  'getcwd',
  'fcntl',
  'dup',
  'dup2',
  'dup3',
  'ioctl',
  'pipe2',
  'eventfd2',
  'epoll_create1',
  'epoll_ctl',
  'epoll_wait',
  'epoll_pwait',
  'epoll_pwait2',
  'timerfd_create',
  'timerfd_settime',
  'poll',
  'ppoll',
  'getpid',
  'getppid',
  'gettid',
  'getuid',
  'geteuid',
  'getgid',
  'getegid',
  'getgroups',
  'capget',
  'uname',
  'sysinfo',
  'getrandom',
  'getrusage',
  'getpriority',
  'prlimit64',
  'prctl',
  'sched_yield',
  'sched_getaffinity',
  'sched_setaffinity',
  'sched_getscheduler',
  'sched_getparam',
  'rt_sigaction',
  'rt_sigprocmask',
  'rt_sigreturn',
  'sigaltstack',
  'restart_syscall',
  'tgkill',
  'exit',
  'exit_group',
  'clock_gettime',
  'clock_getres',
  'clock_nanosleep',
  'nanosleep',
  'gettimeofday',
  'time',
  'getcpu',
  'seccomp',
  ...CHANNELS,
  ...SOCKET_NAMES,
  // Threads, never processes; clone3 has its flags in memory, and everybody falls back to clone.
  {
    call: 'clone',
    checks: [{ argument: 0, mask: CLONE_THREAD | CLONE_NEW, are: CLONE_THREAD }],
    otherwise: EPERM,
  },
  { call: 'clone3', errno: ENOSYS },
];

/** What a room that serves the network does besides, at its start. */
export function networkStart(ringEntries: number): CallRule[] {
  return [
    STREAM_SOCKETS,
    'socketpair',
    'bind',
    'listen',
    'connect',
    'accept4',
    // Used later: what the first filter forbids, the second can't allow.
    'sendfile',
    'splice',
    ...ringStart(ringEntries),
  ];
}

/** What a room that only reaches out does besides, at its start. */
export function outboundStart(ringEntries: number): CallRule[] {
  return [STREAM_AND_DATAGRAM_SOCKETS, 'socketpair', 'connect', 'sendmmsg', ...ringStart(ringEntries)];
}

function ringStart(entries: number): CallRule[] {
  return [
    'io_uring_enter',
    'io_uring_register',
    // Our own ring alone, known by its size: libuv's rings would be three more that nobody restricts.
    { call: 'io_uring_setup', checks: [{ argument: 0, isOneOf: [entries] }], otherwise: ENOSYS },
  ];
}

/** A room without network and ring, at its start. */
export const LOCAL_START: readonly CallRule[] = [{ call: 'io_uring_setup', errno: ENOSYS }];

/**
 * The system's resolver may want to load a module that nsswitch.conf names and that is not part of the C library (files
 * and dns are). It fails to, and goes on to the next one.
 */
const RUNNING_WITHOUT_MODULES: readonly CallRule[] = RUNNING.map((rule) =>
  typeof rule !== 'string' && rule.call === 'mmap' && 'checks' in rule ? { ...rule, otherwise: EPERM } : rule,
);

const OUTBOUND: readonly CallRule[] = [
  ...RUNNING_WITHOUT_MODULES,
  ...EVENT_LOOP,
  ...CHANNELS,
  ...SOCKET_NAMES,
  STREAM_AND_DATAGRAM_SOCKETS,
  ...RESOLVE,
];

export const SEALED = {
  edgeOnUring: [
    ...RUNNING,
    ...EVENT_LOOP,
    ...CHANNELS,
    ...SOCKET_NAMES,
    STREAM_SOCKETS,
    ...SERVE_FILES,
    ...FORWARD,
    ...URING_RUNNING,
  ],
  edgeOnEpoll: [
    ...RUNNING,
    ...EVENT_LOOP,
    ...CHANNELS,
    ...SOCKET_NAMES,
    STREAM_SOCKETS,
    ...SERVE_FILES,
    ...FORWARD,
    ...EPOLL_RUNNING,
  ],
  keys: [...RUNNING, ...EVENT_LOOP, ...CHANNELS, ...NO_FILES],
  journal: [...RUNNING, ...EVENT_LOOP, ...CHANNELS, ...NO_FILES],
  outboundOnUring: [...OUTBOUND, ...URING_RUNNING],
  outboundOnEpoll: [...OUTBOUND, ...EPOLL_CLIENT],
} satisfies Readonly<Record<string, readonly CallRule[]>>;
