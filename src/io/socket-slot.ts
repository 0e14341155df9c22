/**
 * What a socket is to any kernel backend: its handle, descriptor, owner and queue of segments. A backend
 * extends it with the state of its own operations. Slots are pooled: constructed once, reused for ever.
 */

import { assert } from '../base/assert.ts';
import type { Pipe } from '../sys/splice.ts';
import type { Handle, ListenerHandler, SocketHandler } from './reactor.ts';

/** The index of no segment. */
export const NO_SEGMENT = -1;

/** `receiveEnd` while the peer has not ended. */
export const NOT_ENDED = 1;

// What a socket wants to receive, and what is armed to do it.
export const NOTHING = 0;
export const STREAM = 1;
export const ONCE = 2;
export type ReceiveMode = typeof NOTHING | typeof STREAM | typeof ONCE;

/** Owns a socket that nobody has adopted. */
export const NO_HANDLER: SocketHandler = {
  onConnect: notAdopted,
  onReceive: notAdopted,
  onReceiveEnd: notAdopted,
  onSend: notAdopted,
  // A connection that its listener's owner did not adopt is closed, and nobody cares.
  onClose(): void {},
};

/** Owns a socket that is not a listener. */
export const NO_LISTENER_HANDLER: ListenerHandler = { onAccept: notAdopted, onAcceptError: notAdopted };

function notAdopted(): void {
  assert(false, 'an event for a socket that has no owner');
}

export class SocketSlot {
  /** The handle while operations are allowed; 0 when free or closing. */
  liveHandle: Handle;
  /** The handle until the slot is free. */
  handle: Handle;
  fd: number;
  handler: SocketHandler;
  listenerHandler: ListenerHandler;
  isListener: boolean;
  connected: boolean;
  /** We connected it: somebody serves us there. */
  outgoing: boolean;
  closing: boolean;
  /** Accepting is paused. */
  paused: boolean;
  /** It is paused for good: looks at what waits that are left. */
  leaving: number;
  receiveWant: ReceiveMode;
  /** Bytes that a receive of one buffer takes at most; 0: as many as fit. */
  receiveBytesMax: number;
  /** An end (0) or failure (-errno) that has come; NOT_ENDED before. */
  receiveEnd: number;
  /** The end has been reported. */
  endReported: boolean;
  /** First and last segment that the kernel has not taken; NO_SEGMENT when there is none. */
  sendHead: number;
  sendTail: number;
  sendQueuedBytes: number;
  /** `sendFrom`: where what this socket receives goes; null where it receives by itself. */
  forwardTo: SocketSlot | null;
  /** `sendFrom`: where the bytes come from (null: it is closed), through which pipe (null: nothing is forwarded here). */
  forwardFrom: SocketSlot | null;
  pipe: Pipe | null;
  /** Bytes in the pipe, those that the source is still to deliver, and those that were asked for. */
  pipeBytes: number;
  forwardLeft: number;
  forwardTotal: number;
  /** Segments in the queue that are pieces of files, records of their own type, or what another socket receives. */
  sendFiles: number;
  /** Why sending failed, -errno; 0 while it works. */
  sendErrno: number;
  shutdownWanted: boolean;
  /** The kernel's TLS is attached; it seals what is sent; it opens what is received. */
  kernelTls: boolean;
  kernelSeals: boolean;
  kernelOpens: boolean;
  /** It is on the list of sockets that the next flush looks at. */
  dirty: boolean;

  constructor() {
    // In this order they lie in memory: what every message looks at comes last, next to what a backend adds.
    this.listenerHandler = NO_LISTENER_HANDLER;
    this.isListener = false;
    this.paused = false;
    this.leaving = 0;
    this.receiveBytesMax = 0;
    this.endReported = false;
    this.forwardFrom = null;
    this.pipe = null;
    this.pipeBytes = 0;
    this.forwardLeft = 0;
    this.forwardTotal = 0;
    this.kernelTls = false;
    this.kernelOpens = false;
    this.connected = false;
    this.outgoing = false;
    this.receiveEnd = NOT_ENDED;
    this.forwardTo = null;
    this.kernelSeals = false;
    this.shutdownWanted = false;
    this.sendErrno = 0;
    this.sendFiles = 0;
    this.fd = -1;
    this.liveHandle = 0;
    this.handle = 0;
    this.handler = NO_HANDLER;
    this.closing = false;
    this.receiveWant = NOTHING;
    this.sendHead = NO_SEGMENT;
    this.sendTail = NO_SEGMENT;
    this.sendQueuedBytes = 0;
    this.dirty = false;
  }

  /** Makes a free slot a new socket. */
  open(handle: Handle, fd: number, connected: boolean): void {
    this.liveHandle = handle;
    this.handle = handle;
    this.fd = fd;
    this.handler = NO_HANDLER;
    this.listenerHandler = NO_LISTENER_HANDLER;
    this.isListener = false;
    this.connected = connected;
    this.outgoing = !connected;
    this.closing = false;
    this.paused = false;
    this.leaving = 0;
    this.receiveWant = NOTHING;
    this.receiveBytesMax = 0;
    this.receiveEnd = NOT_ENDED;
    this.endReported = false;
    this.kernelTls = false;
    this.kernelSeals = false;
    this.kernelOpens = false;
    this.sendErrno = 0;
    this.shutdownWanted = false;
    assert(this.sendHead === NO_SEGMENT && this.sendQueuedBytes === 0, 'a free slot has segments');
    assert(this.pipe === null && this.forwardTo === null, 'a free slot forwards');
  }

  /** Makes it free; the owner is let go. */
  release(): void {
    this.handle = 0;
    this.fd = -1;
    this.closing = false;
    this.handler = NO_HANDLER;
    this.listenerHandler = NO_LISTENER_HANDLER;
  }
}
