/**
 * Descriptors that processes share: pairs of sockets that keep messages apart (SOCK_SEQPACKET), memory, and what is
 * passed over such a pair (SCM_RIGHTS, SCM_CREDENTIALS). Results are values or -errno.
 *
 * A message longer than its receiver's room, or with more descriptors than that expects, is cut by the kernel, which
 * says so; its descriptors are closed here, and the receiver learns -EMSGSIZE.
 */

import { readdirSync } from 'node:fs';
import koffi from 'koffi';
import { assert } from '../base/assert.ts';
import { EINTR, EINVAL, EMSGSIZE } from './errno.ts';
import { close, negated, recvmsg, sendmsg, setsockopt, socket, socketpair } from './libc.ts';
import { type MappedMemory, mapPrivate, mapShared } from './memory.ts';
import { fcntl, ftruncate, lseek, memfd_create, pipe2, poll, sendto } from './process-calls.ts';
import { AF_UNIX, encodeAddress } from './sockaddr.ts';
import { MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_CLOEXEC } from './socket.ts';

const O_CLOEXEC = 0o2000000;
const SOCK_DGRAM = 2;
const SOCK_SEQPACKET = 5;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_PASSCRED = 16;
const SCM_RIGHTS = 1;
const SCM_CREDENTIALS = 2;
const MSG_CTRUNC = 0x08;
const MSG_TRUNC = 0x20;
const MSG_CMSG_CLOEXEC = 0x40000000;
const F_GETFD = 1;
const F_SETFD = 2;
const F_DUPFD_CLOEXEC = 1030;
const F_ADD_SEALS = 1033;
const FD_CLOEXEC = 1;
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
/** Its size can't be changed, and neither can that: nobody who maps it dies because another one shrank it. */
const SEAL_SIZE = 0x01 | 0x02 | 0x04;
const POLLIN = 1;
const POLLOUT = 4;
const SEEK_SET = 0;

/** Room for a socket's address before what is sent there. */
const ADDRESS_ROOM = 128;

/** Descriptors in one message. */
export const PASSED_MAX = 8;

/** Two ends; what is written to one is read at the other, message by message. Both are closed by execve. */
export function createMessagePair(sendBufferBytes: number): readonly [number, number] | number {
  const memory = scratch();
  const result = negated(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, memory.address));
  if (result < 0) return result;
  const pair = [memory.words[0], memory.words[1]] as const;
  for (const fd of pair) {
    memory.words[2] = sendBufferBytes;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, memory.address + 8, 4);
  }
  return pair;
}

/** A pipe: its ends for reading and for writing, or -errno. Both are closed by execve. */
export function createPipe(): readonly [number, number] | number {
  const memory = scratch();
  const result = negated(pipe2(memory.address, O_CLOEXEC));
  return result < 0 ? result : [memory.words[0], memory.words[1]];
}

/** Whether execve keeps a descriptor. Node.js sets the flag at its start on all it was given. */
export function keepOverExecve(fd: number, keep: boolean): number {
  return negated(fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC));
}

/** Another descriptor of the same open file, closed by execve; or -errno. */
export function duplicateDescriptor(fd: number): number {
  return negated(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

/**
 * Places for descriptors that are passed to a process which may have used up all others: given free while a message is
 * received, taken again afterwards.
 */
export class DescriptorReserve {
  private readonly source: number;
  private readonly held: number[];

  /** `source`: any open descriptor that stays. */
  constructor(source: number) {
    this.source = source;
    this.held = [];
  }

  /** Takes as many as a message may bring, or as there are. */
  take(): void {
    while (this.held.length < PASSED_MAX) {
      const copy = duplicateDescriptor(this.source);
      if (copy < 0) return;
      this.held.push(copy);
    }
  }

  release(): void {
    for (const copy of this.held.splice(0)) close(copy);
  }
}

export function isOpenDescriptor(fd: number): boolean {
  return fcntl(fd, F_GETFD, 0) >= 0;
}

/** A file is read from its start again, by all who share the descriptor's position. Returns 0 or -errno. */
export function rewindFile(fd: number): number {
  return negated(lseek(fd, 0, SEEK_SET));
}

/** Whether up to PIPE_BUF (4096) bytes can be written without waiting, or the write would fail at once. */
export function isWritable(fd: number): boolean {
  const memory = scratch();
  // struct pollfd: descriptor s32, events s16, results s16.
  memory.words[0] = fd;
  memory.words[1] = POLLOUT;
  return negated(poll(memory.address, 1, 0)) > 0;
}

/** All open descriptors of this process; needs /proc. */
export function openDescriptors(): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((fd) => isOpenDescriptor(fd));
}

/** Every message that comes names its sender as the kernel knows it. SO_PEERCRED names who made the pair. */
export function askForCredentials(fd: number): number {
  const memory = scratch();
  memory.words[0] = 1;
  return negated(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, memory.address, 4));
}

/** Zeroed memory without a file, whose size is final. Descriptor or -errno. */
export function createSharedMemory(name: string, bytes: number): number {
  const fd = negated(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (fd < 0) return fd;
  let result = negated(ftruncate(fd, bytes));
  if (result === 0) result = negated(fcntl(fd, F_ADD_SEALS, SEAL_SIZE));
  if (result === 0) return fd;
  close(fd);
  return result;
}

/** Maps shared memory of at least `bytes`. */
export function mapSharedMemory(fd: number, bytes: number): MappedMemory | undefined {
  return mapShared(fd, 0, bytes, false);
}

function doNothing(): void {}

export interface Watch {
  /** Whether `onWritable` is called, too. */
  wantWritable(wanted: boolean): void;
  stop(): void;
}

/**
 * Calls `onReadable` from Node's event loop whenever there is something to receive, or the other end has gone. Stop it
 * before the descriptor is closed.
 */
export function watchDescriptor(fd: number, onReadable: () => void, onWritable: () => void): Watch {
  let stopped = false;
  // koffi calls with a status and the events, whatever its type declarations say.
  const onEvents = (status: number, events: { readable: boolean; writable: boolean }): void => {
    if (events.writable && !stopped) onWritable();
    if (!stopped && (events.readable || status < 0)) onReadable();
    // It calls from outside of Node's own callbacks: promises would go on only with the next of those.
    setImmediate(doNothing);
  };
  const callback = onEvents as unknown as (events: { readable: boolean; writable: boolean }) => void;
  const handle = koffi.node.poll(fd, { readable: true }, callback);
  return {
    wantWritable: (writable) => {
      if (stopped) return;
      // A handle that runs doesn't take other wishes.
      handle.stop();
      handle.start({ readable: true, writable }, callback);
    },
    stop: () => {
      stopped = true;
      handle.stop();
      handle.close();
    },
  };
}

/** Sends one datagram to a Unix socket, from none of its own. Returns 0 or -errno. */
export function sendDatagram(path: string, content: Uint8Array): number {
  const memory = mapPrivate(ADDRESS_ROOM + content.length);
  const length = encodeAddress({ family: 'unix', path }, memory.bytes, 0);
  memory.bytes.set(content, ADDRESS_ROOM);
  let result = length === 0 ? -EINVAL : negated(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (result >= 0) {
    const fd = result;
    const { address } = memory;
    result = negated(sendto(fd, address + ADDRESS_ROOM, content.length, MSG_DONTWAIT, address, length));
    close(fd);
  }
  memory.unmap();
  return Math.min(0, result);
}

let page: MappedMemory | undefined;

function scratch(): MappedMemory {
  page ??= mapPrivate(4096);
  return page;
}

/** Waits until one of them can be read or has ended; the blocking rooms' loop. */
export class DescriptorPoll {
  private readonly memory: MappedMemory;
  private count: number;

  constructor() {
    this.memory = mapPrivate(4096);
    this.count = 0;
  }

  /** At most 256 at a time. Its position is what `isReady` asks for. */
  add(fd: number): number {
    assert(this.count < 256, 'too many descriptors to wait for');
    // struct pollfd: descriptor s32, events s16, results s16.
    this.memory.view.setInt32(this.count * 8, fd, true);
    this.memory.view.setInt16(this.count * 8 + 4, POLLIN, true);
    return this.count++;
  }

  /** Not asked for any more; its position stays. */
  drop(position: number): void {
    this.memory.view.setInt32(position * 8, -1, true);
  }

  /** Another one at that position. */
  replace(position: number, fd: number): void {
    this.memory.view.setInt32(position * 8, fd, true);
  }

  /** How many are ready; 0 after `timeoutMs` (-1: no limit), or -errno; interruptions count as nothing ready. */
  wait(timeoutMs: number): number {
    const result = negated(poll(this.memory.address, this.count, timeoutMs));
    return result === -EINTR ? 0 : result;
  }

  isReady(position: number): boolean {
    return this.memory.view.getInt16(position * 8 + 6, true) !== 0;
  }
}

// Layout of a transfer's memory: struct msghdr (56 bytes), struct iovec, control messages, then the data.
const IOVEC = 64;
const CONTROL = 128;
const CONTROL_BYTES = 256;
const DATA = 512;
const CMSG_HEAD_BYTES = 16;

/** One sender's or receiver's memory for messages of up to `bytesMax`. */
export class MessageTransfer {
  readonly bytesMax: number;
  /** What is sent, and what was received, until the next call. */
  readonly bytes: Uint8Array;
  /** Descriptors that came with the last message; whoever takes one closes it, the rest are closed by `closePassed`. */
  readonly passed: number[];
  /** The process that sent the last message, where `askForCredentials` was called; else -1. */
  senderPid: number;
  private readonly memory: MappedMemory;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
    // One byte more than a message may have, so that a longer one is told from the longest.
    this.memory = mapPrivate(DATA + bytesMax + 1);
    this.bytes = this.memory.bytes.subarray(DATA, DATA + bytesMax);
    this.passed = [];
    this.senderPid = -1;
  }

  /** Sends `length` bytes of `bytes`. Length or -errno; -EAGAIN: the other end is behind, and `wait` is false. */
  send(fd: number, length: number, descriptors: readonly number[], wait: boolean): number {
    assert(length <= this.bytesMax && descriptors.length <= PASSED_MAX, 'a message is too long');
    const { view } = this.memory;
    const controlBytes = descriptors.length === 0 ? 0 : CMSG_HEAD_BYTES + descriptors.length * 4;
    if (controlBytes > 0) {
      // struct cmsghdr: length u64, level s32, type s32.
      view.setBigUint64(CONTROL, BigInt(controlBytes), true);
      view.setInt32(CONTROL + 8, SOL_SOCKET, true);
      view.setInt32(CONTROL + 12, SCM_RIGHTS, true);
      descriptors.forEach((descriptor, index) => {
        view.setInt32(CONTROL + CMSG_HEAD_BYTES + index * 4, descriptor, true);
      });
    }
    this.writeHead(length, Math.ceil(controlBytes / 8) * 8);
    const flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
    for (;;) {
      const result = negated(sendmsg(fd, this.memory.address, flags));
      if (result !== -EINTR) return result;
    }
  }

  /** Receives a message. Its length (0: the other end has gone, or an empty message), or -errno. */
  receive(fd: number, wait: boolean): number {
    const { view, address } = this.memory;
    this.passed.length = 0;
    this.senderPid = -1;
    this.writeHead(this.bytesMax + 1, CONTROL_BYTES);
    let result: number;
    do result = negated(recvmsg(fd, address, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT)));
    while (result === -EINTR && wait);
    if (result < 0) return result;
    this.readControl(view.getUint32(40, true));
    const isCut = (view.getInt32(48, true) & (MSG_CTRUNC | MSG_TRUNC)) !== 0 || result > this.bytesMax;
    if (!isCut && this.passed.length <= PASSED_MAX) return result;
    this.closePassed();
    return -EMSGSIZE;
  }

  /** Closes the descriptors that nobody took out of `passed`. */
  closePassed(): void {
    for (const fd of this.passed) close(fd);
    this.passed.length = 0;
  }

  unmap(): void {
    this.memory.unmap();
  }

  /** struct msghdr: name, its length, vectors, their count, control, its length, flags. */
  private writeHead(bytes: number, controlBytes: number): void {
    const { view, address } = this.memory;
    view.setBigUint64(IOVEC, BigInt(address + DATA), true);
    view.setBigUint64(IOVEC + 8, BigInt(bytes), true);
    view.setBigUint64(16, BigInt(address + IOVEC), true);
    view.setUint32(24, 1, true);
    view.setBigUint64(32, controlBytes === 0 ? 0n : BigInt(address + CONTROL), true);
    view.setUint32(40, controlBytes, true);
    view.setInt32(48, 0, true);
  }

  private readControl(end: number): void {
    const { view } = this.memory;
    for (let at = 0; at + CMSG_HEAD_BYTES <= end; ) {
      const length = view.getUint32(CONTROL + at, true);
      if (length < CMSG_HEAD_BYTES || at + length > end) return;
      const type = view.getInt32(CONTROL + at + 12, true);
      if (view.getInt32(CONTROL + at + 8, true) === SOL_SOCKET) {
        const content = CONTROL + at + CMSG_HEAD_BYTES;
        if (type === SCM_CREDENTIALS) this.senderPid = view.getInt32(content, true);
        if (type === SCM_RIGHTS) {
          for (let fd = content; fd + 4 <= CONTROL + at + length; fd += 4)
            this.passed.push(view.getInt32(fd, true));
        }
      }
      at += Math.ceil(length / 8) * 8;
    }
  }
}
