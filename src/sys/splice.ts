/** splice(2): bytes go from socket to socket through a pipe, whose pages are the kernel's own, without being copied. */

import { EAGAIN } from './errno.ts';
import { close, negated, read, splice } from './libc.ts';
import { mapPrivate } from './memory.ts';
import { fcntl, pipe2 } from './process-calls.ts';

const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const F_SETPIPE_SZ = 1031;
const SPLICE_F_MOVE = 1;
const SPLICE_F_NONBLOCK = 2;
const FLAGS = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
/** What every user may have: the kernel's default. */
const SMALLEST_BYTES = 65536;

/** For what is taken out of a pipe to be forgotten, and for the two descriptors of a new one. */
const scratch = mapPrivate(65536);

export interface Pipe {
  readonly readEnd: number;
  readonly writeEnd: number;
  /** Bytes that fit, if they come in full pages. */
  readonly capacity: number;
}

/** A pipe for `capacity` bytes, or as many as this user may have. -errno where there can be none. Set-up only. */
export function openPipe(capacity: number): Pipe | number {
  const result = negated(pipe2(scratch.address, O_NONBLOCK | O_CLOEXEC));
  if (result < 0) return result;
  const [readEnd, writeEnd] = scratch.words;
  // More than /proc/sys/fs/pipe-max-size, or than the user's pipes may have together: half of it may be had.
  let granted = -1;
  for (let wanted = capacity; granted < 0 && wanted >= SMALLEST_BYTES; wanted >>= 1)
    granted = negated(fcntl(writeEnd, F_SETPIPE_SZ, wanted));
  const pipe = { readEnd, writeEnd, capacity: granted };
  if (granted >= 0) return pipe;
  closePipe(pipe);
  return granted;
}

export function closePipe({ readEnd, writeEnd }: Pipe): void {
  close(readEnd);
  close(writeEnd);
}

/** Takes up to `length` bytes from a socket, which is non-blocking. Bytes, 0 at its end, or -errno. */
export function fillPipe({ writeEnd }: Pipe, socket: number, length: number): number {
  return negated(splice(socket, 0, writeEnd, 0, length, FLAGS));
}

/** Gives up to `length` bytes to a socket, which is non-blocking. Bytes, or -errno. */
export function emptyPipe({ readEnd }: Pipe, socket: number, length: number): number {
  return negated(splice(readEnd, 0, socket, 0, length, FLAGS));
}

/** Forgets what is in a pipe. */
export function discardPipe({ readEnd }: Pipe): void {
  for (;;) {
    const result = negated(read(readEnd, scratch.address, scratch.bytes.length));
    if (result === 0 || result === -EAGAIN) return;
  }
}
