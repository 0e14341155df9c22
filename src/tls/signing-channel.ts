/**
 * Carries signature requests over a SOCK_SEQPACKET descriptor: one datagram each way, blocking, with a limit on
 * the wait. Nothing hangs on a keys process that is dead (the kernel says so at once) or stuck (the wait ends, and
 * for a while nobody waits again). The reply that comes too late for its request is dropped at the next one.
 */

import { PATIENCE } from '../base/patience.ts';
import { EAGAIN, EINTR } from '../sys/errno.ts';
import { negated, recv, send, setsockopt } from '../sys/libc.ts';
import { mapPrivate } from '../sys/memory.ts';
import { MSG_NOSIGNAL } from '../sys/socket.ts';
import {
  decodeReply,
  REPLY_BYTES_MAX,
  REPLY_HEAD_BYTES,
  REQUEST_BYTES_MAX,
  repliedSequence,
  sequenceOf,
} from './signature-request.ts';

const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
/** struct timeval: seconds and microseconds, 64 bits each. */
const TIMEVAL_BYTES = 16;

/** Longest wait for a reply, milliseconds. A signature takes 0.1 to 3; a queue of handshakes of others is before it. */
export const REPLY_TIMEOUT_MS: number = 250 * PATIENCE;
/** After a wait that was in vain: for so long, requests fail at once, so that this process serves its connections. */
export const PAUSE_MS = 1000;

// What is sent and received, and struct timeval before it.
const REQUEST = 4096;
const REPLY = REQUEST + REQUEST_BYTES_MAX;
/** One byte more than a reply may have, so that a longer one is told from the longest. */
const REPLY_ROOM = REPLY_BYTES_MAX + 1;

/** The global one is looked up by a getter each time. */
const clock = performance;

export class SigningChannel {
  /** Replies that were not for the request that was asked last. */
  lateReplies: number;
  private readonly descriptor: number;
  private readonly timeoutMs: number;
  private readonly now: () => number;
  private readonly memory: ReturnType<typeof mapPrivate>;
  /** Until then, requests fail at once; in milliseconds of `now`. */
  private pausedUntilMs: number;

  /**
   * The descriptor is blocking and stays the caller's. `now` is a clock in milliseconds that never goes back. Throws
   * where the descriptor is no socket.
   */
  constructor(descriptor: number, timeoutMs: number = REPLY_TIMEOUT_MS, now = (): number => clock.now()) {
    this.lateReplies = 0;
    this.descriptor = descriptor;
    this.timeoutMs = timeoutMs;
    this.now = now;
    this.memory = mapPrivate(REPLY + REPLY_ROOM);
    this.pausedUntilMs = Number.NEGATIVE_INFINITY;
    this.limitWaits();
  }

  /** Whether requests fail at once, since a wait was in vain. */
  get isPaused(): boolean {
    return this.pausedUntilMs !== Number.NEGATIVE_INFINITY && this.now() < this.pausedUntilMs;
  }

  /** The reply to `request`, valid until the next call, or null. A `SignatureExchange`, bound to this channel. */
  readonly exchange = (request: Uint8Array): Uint8Array | null => {
    const startMs = this.now();
    if (startMs < this.pausedUntilMs || request.length > REQUEST_BYTES_MAX) return null;
    this.memory.bytes.set(request, REQUEST);
    const untilMs = startMs + this.timeoutMs;
    return this.send(request.length, untilMs) ? this.receive(sequenceOf(request), untilMs) : null;
  };

  /** Gives its memory back. Nothing is exchanged afterwards. */
  free(): void {
    this.memory.unmap();
  }

  private limitWaits(): void {
    const { view, address } = this.memory;
    const seconds = Math.floor(this.timeoutMs / 1000);
    view.setUint32(0, seconds, true);
    view.setUint32(8, Math.max(1, Math.round((this.timeoutMs - seconds * 1000) * 1000)), true);
    for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) {
      const result = negated(setsockopt(this.descriptor, SOL_SOCKET, option, address, TIMEVAL_BYTES));
      if (result < 0) throw new Error(`the descriptor of the keys process is no socket: errno ${-result}`);
    }
  }

  private send(length: number, untilMs: number): boolean {
    for (;;) {
      const result = negated(send(this.descriptor, this.memory.address + REQUEST, length, MSG_NOSIGNAL));
      if (result === length) return true;
      if (result !== -EINTR && result !== -EAGAIN) return false;
      if (result === -EAGAIN || this.now() >= untilMs) return this.pause() !== null;
    }
  }

  /** Receives until the reply of that number comes; the wait ends after two timeouts, whatever else comes. */
  private receive(sequence: number, untilMs: number): Uint8Array | null {
    for (;;) {
      const length = negated(recv(this.descriptor, this.memory.address + REPLY, REPLY_ROOM, 0));
      if (length === 0 || (length < 0 && length !== -EINTR && length !== -EAGAIN)) return null;
      if (length > 0) {
        const bytes = this.memory.bytes.subarray(REPLY, REPLY + length);
        if (length < REPLY_HEAD_BYTES || repliedSequence(bytes, 0) === sequence) return bytes;
        // What is no reply at all is for the asker to judge.
        if (decodeReply(bytes) === null) return bytes;
        this.lateReplies++;
      }
      if (length === -EAGAIN || this.now() >= untilMs) return this.pause();
    }
  }

  private pause(): null {
    this.pausedUntilMs = this.now() + PAUSE_MS;
    return null;
  }
}
