/**
 * A room that, once sealed, tries what it must not do, and writes what came of each attempt to standard output: one JSON
 * object of name and result, `-errno` by name or what succeeded. Arguments: the names of what to try, then what they
 * need as JSON: `Given`.
 */

import { openSync, readFileSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { CLIENT_OPERATIONS, REACTOR_OPERATIONS } from '../../../src/io/uring-restrictions.ts';
import { UringRing } from '../../../src/io/uring-ring.ts';
import { errnoName } from '../../../src/sys/errno.ts';
import { connect, io_uring_setup, negated, socket } from '../../../src/sys/libc.ts';
import { mapPrivate } from '../../../src/sys/memory.ts';
import { syscall4 } from '../../../src/sys/process-calls.ts';
import { seal, warmUp } from '../../../src/sys/process-seal.ts';
import { architecture, callNumber } from '../../../src/sys/seccomp.ts';
import { encodeAddress } from '../../../src/sys/sockaddr.ts';

export interface Given {
  /** A file that it may read. */
  readonly file: string;
  /** A folder that everybody may write. */
  readonly folder: string;
  readonly grantedPort: number;
  readonly deniedPort: number;
  /** A process of the same user. */
  readonly victim: number;
}

const names = process.argv[2].split(',');
const given = JSON.parse(process.argv[3]) as Given;
const on = architecture() ?? 'x64';
const memory = mapPrivate(65536);
const spare = mapPrivate(4096);
const operations = process.env['SALLYPORT_ROLE'] === 'outbound' ? CLIENT_OPERATIONS : REACTOR_OPERATIONS;
const ring = UringRing.create(4096, 16384, 11, 8, operations);

/** The address of a string with its NUL. */
function text(value: string, at = 4096): number {
  memory.bytes.set(Buffer.from(`${value}\0`), at);
  return memory.address + at;
}

function call(name: string, a = 0, b = 0, c = 0, d = 0): string {
  return said(negated(syscall4(callNumber(name, on), a, b, c, d)));
}

function said(result: number): string {
  return result < 0 ? errnoName(result) : 'done';
}

function reach(port: number): string {
  const fd = negated(socket(2, 1, 0));
  if (fd < 0) return errnoName(fd);
  const length = encodeAddress({ family: 'ipv4', address: '127.0.0.1', port }, memory.bytes, 0);
  return said(negated(connect(fd, memory.address, length)));
}

/** The result of one operation of the restricted ring. */
function viaRing(operation: number, words: Record<number, number> = {}): string {
  if (typeof ring === 'number') return `no ring: ${ring}`;
  const index = ring.nextSqe();
  ring.sqes[index] = operation;
  ring.sqes[index + 1] = -1;
  for (const [word, value] of Object.entries(words)) ring.sqes[index + Number(word)] = value;
  ring.sqes[index + 8] = 1;
  ring.sqes[index + 9] = 99;
  ring.enter(1);
  const at = ring.completionsBegin();
  const result = ring.words[ring.cqes + (at & ring.cqMask) * 4 + 2];
  ring.completionsEnd(at + 1);
  return said(result);
}

function attempt(action: () => unknown): string {
  try {
    action();
    return 'done';
  } catch (error) {
    return said((error as NodeJS.ErrnoException).errno ?? -1);
  }
}

function reachViaRing(port: number): string {
  const fd = negated(socket(2, 1, 0));
  if (fd < 0) return said(fd);
  const length = encodeAddress({ family: 'ipv4', address: '127.0.0.1', port }, memory.bytes, 0);
  return viaRing(16, { 1: fd, 2: length, 4: memory.low, 5: memory.high });
}

const AT_FDCWD = -100;
const O_WRONLY_CREATE = 0o101;

const probes: Record<string, () => string> = {
  'read /etc/shadow': () => attempt(() => readFileSync('/etc/shadow')),
  'read its file': () => attempt(() => readFileSync(given.file)),
  'write its file': () => call('openat', AT_FDCWD, text(given.file), O_WRONLY_CREATE, 0o600),
  'make a file': () => call('openat', AT_FDCWD, text(`${given.folder}/new`), O_WRONLY_CREATE, 0o600),
  'unlink its file': () => call('unlinkat', AT_FDCWD, text(given.file), 0),
  'chmod its file': () => call('fchmodat', AT_FDCWD, text(given.file), 0o777),
  'make a directory': () => call('mkdirat', AT_FDCWD, text(`${given.folder}/directory`), 0o700),
  execve: () => {
    memory.view.setBigUint64(0, 0n, true);
    return call('execve', text('/bin/true'), memory.address, memory.address);
  },
  'start a process': () => call('clone', 17, 0, 0, 0),
  'start a process (clone3)': () => call('clone3', memory.address, 88),
  'socket of netlink': () => call('socket', 16, 3, 0),
  'socket of packets': () => call('socket', 17, 3, 0),
  'raw socket': () => call('socket', 2, 3, 1),
  'connect to a granted port': () => reach(given.grantedPort),
  'connect to another port': () => reach(given.deniedPort),
  'bind a port': () => {
    const fd = negated(socket(2, 1, 0));
    const length = encodeAddress({ family: 'ipv4', address: '127.0.0.1', port: 29499 }, memory.bytes, 0);
    return fd < 0 ? errnoName(fd) : call('bind', fd, memory.address, length);
  },
  listen: () => {
    const fd = negated(socket(2, 1, 0));
    return fd < 0 ? errnoName(fd) : call('listen', fd, 1);
  },
  accept: () => {
    const fd = negated(socket(2, 1, 0));
    return fd < 0 ? errnoName(fd) : call('accept4', fd, 0, 0, 0);
  },
  'socket of datagrams': () => said(negated(socket(2, 2, 0))),
  'trace a process': () => call('ptrace', 0x4206, given.victim, 0, 0),
  'signal a process': () => call('kill', given.victim, 0),
  'read memory of a process': () => attempt(() => openSync(`/proc/${given.victim}/mem`, 'r')),
  'hold a process': () => call('pidfd_open', given.victim, 0),
  mount: () => call('mount', text('none', 0), text('/tmp'), text('tmpfs', 8192), 0),
  'leave the user namespace': () => call('unshare', 0x10000000),
  'become root': () => call('setresuid', 0, 0, 0),
  'load a program into the kernel': () => call('bpf', 0, memory.address, 64),
  'watch the processor': () => call('perf_event_open', memory.address, 0, -1, -1),
  'add a key': () => call('add_key', text('user', 0), text('x'), memory.address, 1),
  'handle page faults': () => call('userfaultfd', 1),
  'change what is executable': () => call('mprotect', spare.address, 4096, 5),
  'map memory to execute': () => call('mmap', 0, 4096, 7, 0x22),
  personality: () => call('personality', 0x0400000),
  'a new ring': () => said(negated(io_uring_setup(425, 8, memory.address))),
  'register with the ring': () => call('io_uring_register', 3, 2, memory.address, 1),
  'open through the ring': () =>
    viaRing(18, { 1: AT_FDCWD, 4: text('/etc/passwd') | 0, 5: Math.floor(memory.address / 2 ** 32) }),
  'connect to a granted port through the ring': () => reachViaRing(given.grantedPort),
  'connect to another port through the ring': () => reachViaRing(given.deniedPort),
  'accept through the ring': () => {
    const fd = negated(socket(2, 1, 0));
    return fd < 0 ? said(fd) : viaRing(13, { 1: fd });
  },
  'write through the ring': () => viaRing(23, { 1: 1 }),
  'socket through the ring': () => viaRing(45, { 1: 2, 2: 1 }),
  'unlink through the ring': () => viaRing(36),
  'name of the host': () => {
    let name = '';
    const result = attempt(() => {
      name = hostname();
    });
    return result === 'done' ? name : result;
  },
  'see /proc': () => attempt(() => readFileSync('/proc/self/status')),
  'see /sys': () => attempt(() => readFileSync('/sys/kernel/mm/transparent_hugepage/defrag')),
  'see /dev': () => attempt(() => openSync('/dev/urandom', 'r')),
  'its own number': () => String(process.pid),
};

await warmUp();
const sealed = seal();
if (sealed < 0) throw new Error(`cannot be sealed: ${sealed}`);
const results: Record<string, string> = {};
for (const name of names) results[name] = probes[name]();
writeSync(1, `${JSON.stringify(results)}\n`);
process.exit(0);
