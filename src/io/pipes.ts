/**
 * The pipes through which bytes go from socket to socket (`sendFrom`). They are opened when the reactor is, since a sealed
 * process opens none, and each serves one pair of sockets at a time. Where none is free, bytes are received and sent instead.
 */

import { assert } from '../base/assert.ts';
import { RLIMIT_NOFILE, softLimit } from '../sys/process.ts';
import { closePipe, discardPipe, openPipe, type Pipe } from '../sys/splice.ts';
import type { SocketSlot } from './socket-slot.ts';

/**
 * Half of what a pipe may have. The pages of all of a user's pipes together are limited (pipe-user-pages-soft, 64 MiB);
 * what is above that gets smaller ones.
 */
const PIPE_BYTES = 524288;
/** Descriptors are for connections first: pipes have a 32nd of what this process may open, two each. */
const LIMIT_SHARE = 64;

export class Pipes {
  private readonly all: Pipe[];
  private readonly free: Pipe[];
  private readonly onSourceFree: (source: SocketSlot) => void;

  /** At most `count` pipes. `onSourceFree` is told when a socket receives by itself again. */
  constructor(count: number, onSourceFree: (source: SocketSlot) => void) {
    this.all = [];
    this.onSourceFree = onSourceFree;
    const affordable = Math.min(count, Math.floor(softLimit(RLIMIT_NOFILE) / LIMIT_SHARE));
    while (this.all.length < affordable) {
      const pipe = openPipe(PIPE_BYTES);
      // Fewer, or none, is no failure: there is the other way.
      if (typeof pipe === 'number') break;
      this.all.push(pipe);
    }
    this.free = [...this.all];
  }

  get isEmpty(): boolean {
    return this.free.length === 0;
  }

  take(): Pipe {
    const pipe = this.free.pop();
    assert(pipe !== undefined, 'no pipe is free');
    return pipe;
  }

  /** Nothing is forwarded to `socket` any more. */
  release(socket: SocketSlot): void {
    const { pipe, forwardFrom } = socket;
    assert(pipe !== null, 'a socket without a pipe forwards');
    if (socket.pipeBytes > 0) discardPipe(pipe);
    this.free.push(pipe);
    socket.pipe = null;
    socket.pipeBytes = 0;
    socket.forwardLeft = 0;
    socket.forwardFrom = null;
    if (forwardFrom === null) return;
    forwardFrom.forwardTo = null;
    this.onSourceFree(forwardFrom);
  }

  destroy(): void {
    for (const pipe of this.all) closePipe(pipe);
  }
}
