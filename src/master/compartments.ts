/**
 * The compartments: one table from which everything that keeps them apart follows. What a room may do is what its
 * line says; plan.ts makes of it what this machine can hold it to.
 */

import { SQ_ENTRIES } from '../io/uring.ts';
import { CLIENT_OPERATIONS, REACTOR_OPERATIONS } from '../io/uring-restrictions.ts';
import type { Role } from '../ipc/roles.ts';
import type { CallRule } from '../sys/seccomp.ts';
import { LOCAL_START, networkStart, outboundStart, SEALED, STARTING } from './system-calls.ts';

export type { Role };

/** How the room does I/O; the lists of system calls differ. */
export type IoBackend = 'io_uring' | 'epoll';

export interface Compartment {
  readonly role: Exclude<Role, 'master'>;
  /** For `check` and the status page. */
  readonly does: string;
  /** Added to the first of our user ids where no user is configured; workers count on from theirs. */
  readonly userOffset: number;
  /** Rooms that it has a channel to, besides the master. */
  readonly peers: readonly Role[];
  /** TCP: it may connect to the ports that the configuration names, to any, or has no network at all. */
  readonly network: 'named-ports' | 'any-port' | 'none';
  /** It gets a namespace of its own for the network, with nothing in it. */
  readonly hasOwnNetwork: boolean;
  /** Whether it reads the files that the configuration names for it; nothing where null. No room writes any by name. */
  readonly files: 'read' | null;
  /** Files of the system that it reads. */
  readonly systemFiles: readonly string[];
  readonly starting: (io: IoBackend) => readonly CallRule[];
  readonly sealed: (io: IoBackend) => readonly CallRule[];
  /** What its io_uring takes; empty: it has none. */
  readonly uringOperations: readonly number[];
  /** Flags of Node.js; sizes are MiB. */
  readonly heap: readonly string[];
  /** Descriptors at once; 0: as many as the master may have. */
  readonly openFiles: number;
  /** Bytes of one file that it writes; 0: none at all. */
  readonly fileBytes: number;
}

/** No limit, in setrlimit's words as far as a number carries them. */
const UNLIMITED_FILE_BYTES = Number.MAX_SAFE_INTEGER;
/** Rooms that wait most of their time: small heaps, collected often, by one thread beside. */
const SMALL_HEAP = ['--max-semi-space-size=1', '--max-old-space-size=48', '--v8-pool-size=1'];

export const COMPARTMENTS: Readonly<Record<Exclude<Role, 'master'>, Compartment>> = {
  journal: {
    role: 'journal',
    does: 'writes all logs',
    userOffset: 1,
    peers: ['edge', 'outbound'],
    network: 'none',
    hasOwnNetwork: true,
    files: null,
    systemFiles: [],
    starting: () => [...STARTING, ...LOCAL_START],
    sealed: () => SEALED.journal,
    uringOperations: [],
    heap: SMALL_HEAP,
    // A channel and a pipe of each room, workers that drain included.
    openFiles: 1024,
    fileBytes: UNLIMITED_FILE_BYTES,
  },
  keys: {
    role: 'keys',
    does: 'holds the private keys and signs handshakes',
    userOffset: 2,
    peers: ['edge', 'outbound'],
    network: 'none',
    hasOwnNetwork: true,
    files: null,
    systemFiles: [],
    starting: () => [...STARTING, ...LOCAL_START],
    sealed: () => SEALED.keys,
    uringOperations: [],
    heap: SMALL_HEAP,
    openFiles: 512,
    fileBytes: 0,
  },
  outbound: {
    role: 'outbound',
    does: 'resolves names and probes the health of backends',
    userOffset: 3,
    peers: ['edge', 'keys', 'journal'],
    network: 'any-port',
    hasOwnNetwork: false,
    files: 'read',
    systemFiles: ['/etc/resolv.conf', '/etc/hosts', '/etc/nsswitch.conf', '/etc/host.conf', '/etc/gai.conf'],
    starting: () => [...STARTING, ...outboundStart(SQ_ENTRIES)],
    sealed: (io) => (io === 'io_uring' ? SEALED.outboundOnUring : SEALED.outboundOnEpoll),
    uringOperations: CLIENT_OPERATIONS,
    // Nothing that it does is done often enough to be compiled.
    heap: [...SMALL_HEAP, '--lite-mode'],
    openFiles: 4096,
    fileBytes: 0,
  },
  edge: {
    role: 'edge',
    does: 'accepts, TLS records, HTTP, proxying, files',
    userOffset: 16,
    peers: ['keys', 'journal', 'outbound'],
    network: 'named-ports',
    hasOwnNetwork: false,
    files: 'read',
    // Whether the kernel gives huge pages.
    systemFiles: ['/sys/kernel/mm/transparent_hugepage/enabled'],
    starting: () => [...STARTING, ...networkStart(SQ_ENTRIES)],
    sealed: (io) => (io === 'io_uring' ? SEALED.edgeOnUring : SEALED.edgeOnEpoll),
    uringOperations: REACTOR_OPERATIONS,
    heap: [
      '--max-semi-space-size=8',
      '--v8-pool-size=1',
      // The engine's own copy of its built-in functions is two megabytes for each worker.
      '--no-short-builtin-calls',
      // What a request passes through are many small functions: more of them become parts of their callers.
      '--max-inlined-bytecode-size-cumulative=4500',
    ],
    openFiles: 0,
    fileBytes: 0,
  },
};

/** The order in which rooms start; they stop the other way round, so that the last words are still written. */
export const START_ORDER: readonly Exclude<Role, 'master'>[] = ['journal', 'keys', 'outbound', 'edge'];
