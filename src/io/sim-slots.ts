/**
 * What a handle of the simulated reactor stands for: a listener or a socket. A slot is stepped by its
 * node's turn whenever something may have changed for it; all calls to handlers come from here.
 */

import { constants } from 'node:os';
import type { BufferId } from './buffer-pool.ts';
import { NO_BUFFER } from './buffer-pool.ts';
import type { FileHandle, Handle, ListenerHandler, SocketHandler } from './reactor.ts';
import type { SimReactor, Work } from './sim.ts';
import { CONNECT_PENDING, type Endpoint, type EndpointOwner } from './sim-endpoint.ts';
import type { SimListener } from './sim-network.ts';

const { EAGAIN, EMFILE, EPIPE } = constants.errno;

/** Bytes of a file that are taken from it at once. */
const FILE_PART_BYTES = 16384;
/** What may still come after `receiveStop`. */
const LATE_BYTES_MAX = 524288;
/** Receives of one socket in one turn. */
const RECEIVES_PER_TURN = 4;
/** How long a receive without a buffer waits before it looks again. */
const STARVED_MS = 4;

export interface Slot extends Work {
  handle: Handle;
  closing: boolean;
  /** The slot is free again: this is a shell that something late may still wake. */
  gone: boolean;
  close(abortive: boolean): void;
  /** Gives everything back without a word. */
  destroy(): void;
}

export class ListenerSlot implements Slot, EndpointOwner {
  handle: Handle;
  closing: boolean;
  gone: boolean;
  queued: boolean;
  listener: SimListener | null;
  private readonly node: SimReactor;
  private readonly handler: ListenerHandler;
  private paused: boolean;
  /** Paused for good: its owner is to be told when the late ones have come. */
  private leaving: boolean;
  /** Connections that the kernel had handed over before `acceptPause`. */
  private late: number;

  constructor(node: SimReactor, handler: ListenerHandler) {
    this.handle = 0;
    this.closing = false;
    this.gone = false;
    this.queued = false;
    this.listener = null;
    this.node = node;
    this.handler = handler;
    this.paused = false;
    this.leaving = false;
    this.late = 0;
  }

  wake(): void {
    this.node.ready(this);
  }

  pause(): void {
    this.paused = true;
    this.late = this.node.network.random.chance(this.node.faults.late) ? 1 : 0;
  }

  resume(): void {
    this.paused = false;
    this.leaving = false;
    this.node.ready(this);
  }

  leave(): void {
    this.pause();
    this.leaving = true;
    this.node.ready(this);
  }

  close(): void {
    this.closing = true;
    if (this.listener !== null) this.node.network.closeListener(this.listener);
    this.node.ready(this);
  }

  destroy(): void {
    if (this.listener !== null && !this.closing) this.node.network.closeListener(this.listener);
  }

  step(): void {
    if (this.gone) return;
    if (this.closing) {
      this.gone = true;
      this.node.vacate(this);
      return;
    }
    const queue = this.listener?.queue ?? [];
    while (queue.length > 0 && !this.closing && (!this.paused || this.late > 0)) {
      if (this.node.exhausted(this.node.faults.acceptFailure)) {
        this.paused = true;
        this.late = 0;
        if (this.leaving) this.node.ready(this);
        this.node.counters.acceptErrors++;
        this.handler.onAcceptError(this.handle, -EMFILE);
        return;
      }
      if (this.paused) this.late--;
      const endpoint = queue.shift() as Endpoint;
      const socket = this.node.accepted(endpoint);
      this.handler.onAccept(this.handle, socket.handle);
      if (socket.handler === null && !socket.closing) socket.close(false);
      else this.node.ready(socket);
      if (this.node.network.random.chance(this.node.faults.reorder)) break;
    }
    if (queue.length > 0 && !this.paused) this.node.ready(this);
    if (this.leaving && !this.closing) {
      this.leaving = false;
      this.late = 0;
      this.handler.onAcceptLeft?.(this.handle);
    }
  }
}

const NO_BYTES = new Uint8Array(0);

/** Bytes, a part of a file, or what another socket is to receive, that wait to be sent. */
class Segment {
  readonly buffer: BufferId;
  readonly file: FileHandle;
  readonly source: SocketSlot | null;
  /** Arena offset, or offset in the file. */
  readonly offset: number;
  readonly length: number;
  readonly tag: number;
  /** Queued after `shutdownSend`. */
  readonly afterFin: boolean;
  sent: number;
  /** What came from `source` and has not left. */
  piped: Uint8Array;

  constructor(
    buffer: BufferId,
    file: FileHandle,
    source: SocketSlot | null,
    offset: number,
    length: number,
    tag: number,
    afterFin: boolean,
  ) {
    this.buffer = buffer;
    this.file = file;
    this.source = source;
    this.offset = offset;
    this.length = length;
    this.tag = tag;
    this.afterFin = afterFin;
    this.sent = 0;
    this.piped = NO_BYTES;
  }

  get isForwarded(): boolean {
    return this.buffer === NO_BUFFER && this.file === 0;
  }
}

const RECEIVE_OFF = 0;
const RECEIVE_ONCE = 1;
const RECEIVE_ON = 2;

/** Where bytes pass that come from no buffer. */
const part = new Uint8Array(FILE_PART_BYTES);

export class SocketSlot implements Slot, EndpointOwner {
  handle: Handle;
  closing: boolean;
  gone: boolean;
  queued: boolean;
  endpoint: Endpoint | null;
  handler: SocketHandler | null;
  connecting: boolean;
  queuedBytes: number;
  private readonly node: SimReactor;
  private receiving: number;
  /** Bytes that were taken from the kernel before `receiveStop`. */
  private lateBytes: number;
  private endReported: boolean;
  private readonly segments: Segment[];
  private sendErrno: number;
  private finWanted: boolean;
  /** Takes all that this socket is to receive. */
  forwardTo: SocketSlot | null;
  /** A segment that the kernel may still be reading when the socket is closed. */
  private inFlight: BufferId;
  /** Pairs of tag and result of segments that leave in one operation, to be told together. */
  private readonly results: number[];

  constructor(node: SimReactor, handler: SocketHandler | null) {
    this.handle = 0;
    this.closing = false;
    this.gone = false;
    this.queued = false;
    this.endpoint = null;
    this.handler = handler;
    this.connecting = false;
    this.queuedBytes = 0;
    this.node = node;
    this.receiving = RECEIVE_OFF;
    this.lateBytes = 0;
    this.endReported = false;
    this.segments = [];
    this.sendErrno = 0;
    this.finWanted = false;
    this.forwardTo = null;
    this.inFlight = NO_BUFFER;
    this.results = [];
  }

  wake(): void {
    this.node.ready(this);
    if (this.forwardTo !== null) this.node.ready(this.forwardTo);
  }

  receiveStart(): void {
    this.receiving = RECEIVE_ON;
    this.node.ready(this);
  }

  receiveOnce(): void {
    this.receiving = RECEIVE_ONCE;
    this.node.ready(this);
  }

  receiveStop(): void {
    if (this.receiving === RECEIVE_OFF) return;
    this.receiving = RECEIVE_OFF;
    const { random } = this.node.network;
    const readable = this.endpoint?.readableBytes ?? 0;
    if (readable > 0 && random.chance(this.node.faults.late)) {
      this.lateBytes = Math.min(LATE_BYTES_MAX, 1 + random.below(readable));
      this.node.ready(this);
    }
  }

  send(buffer: BufferId, offset: number, length: number, tag: number): void {
    this.push(new Segment(buffer, 0, null, offset, length, tag, this.finWanted));
  }

  sendFile(file: FileHandle, fileOffset: number, length: number, tag: number): void {
    this.push(new Segment(NO_BUFFER, file, null, fileOffset, length, tag, this.finWanted));
  }

  /** Whether bytes may come by themselves. */
  get mayReceive(): boolean {
    return this.receiving !== RECEIVE_OFF || this.lateBytes > 0;
  }

  /** Whether another socket's bytes go here. */
  get forwards(): boolean {
    return this.forwarding !== null;
  }

  /** Bytes that another socket is still to deliver here. */
  get forwardLeft(): number {
    const { forwarding } = this;
    return forwarding === null ? 0 : forwarding.length - forwarding.sent - forwarding.piped.length;
  }

  private get forwarding(): Segment | null {
    return this.segments.find((segment) => segment.isForwarded) ?? null;
  }

  sendFrom(source: SocketSlot, length: number, tag: number): void {
    source.forwardTo = this;
    this.push(new Segment(NO_BUFFER, 0, source, 0, length, tag, this.finWanted));
  }

  shutdownSend(): void {
    this.finWanted = true;
    this.node.ready(this);
  }

  close(abortive: boolean): void {
    this.closing = true;
    // The kernel may be at the first segment: its buffer comes home when the descriptor is closed.
    const head = this.segments.length > 0 ? this.segments[0] : null;
    if (head !== null && head.buffer !== NO_BUFFER) {
      this.segments.shift();
      this.inFlight = head.buffer;
    }
    this.drop();
    this.endpoint?.close(abortive);
    this.wake();
  }

  destroy(): void {
    this.drop();
    if (this.inFlight !== NO_BUFFER) this.node.pool.release(this.inFlight);
    this.endpoint?.close(true);
  }

  step(): void {
    if (this.gone) return;
    if (this.closing) {
      this.finishClose();
      return;
    }
    if (this.connecting && !this.finishConnect()) return;
    const { faults, network } = this.node;
    const receivesFirst = faults.reorder > 0 && network.random.chance(0.5);
    const worked = this.sendErrno === 0;
    if (receivesFirst) this.stepReceive();
    if (!this.closing) this.stepSend();
    if (receivesFirst || this.closing) return;
    // That sending failed may be known well before a receive tells the same.
    if (worked && this.sendErrno !== 0 && network.random.chance(faults.reorder)) this.node.ready(this);
    else this.stepReceive();
  }

  private finishClose(): void {
    if (this.inFlight !== NO_BUFFER) {
      this.node.pool.release(this.inFlight);
      this.inFlight = NO_BUFFER;
    }
    this.gone = true;
    this.node.vacate(this);
    this.handler?.onClose(this.handle);
  }

  /** True when the connection is there. */
  private finishConnect(): boolean {
    const errno = this.endpoint?.connectErrno ?? CONNECT_PENDING;
    if (errno === CONNECT_PENDING) return false;
    this.connecting = false;
    if (errno === 0) this.node.counters.connected++;
    else this.close(true);
    this.handler?.onConnect(this.handle, errno);
    return !this.closing;
  }

  // ---- Sending ----------------------------------------------------------------------------------------

  private push(segment: Segment): void {
    this.segments.push(segment);
    if (!segment.isForwarded) this.queuedBytes += segment.length;
    this.node.ready(this);
  }

  private stepSend(): void {
    const endpoint = this.endpoint;
    if (endpoint === null || (this.segments.length === 0 && !this.finWanted)) return;
    const together = this.node.faults.reorder > 0 && this.node.network.random.chance(0.5);
    this.sendSegments(endpoint, together);
    const { results } = this;
    for (let at = 0; at < results.length && !this.closing; at += 2) {
      this.handler?.onSend(this.handle, results[at], results[at + 1]);
    }
    results.length = 0;
  }

  /** `together`: what leaves now is told when all of it has left. */
  private sendSegments(endpoint: Endpoint, together: boolean): void {
    while (this.segments.length > 0 && !this.closing) {
      const segment = this.segments[0];
      if (segment.afterFin) this.sendFin(endpoint);
      if (this.sendErrno !== 0) {
        this.finishSegment(segment, this.sendErrno, together);
        continue;
      }
      const left = segment.length - segment.sent;
      const taken = left === 0 ? 0 : this.write(endpoint, segment, left);
      if (taken === -EAGAIN) return;
      if (taken < 0) {
        this.sendErrno = taken;
        continue;
      }
      segment.sent += taken;
      this.queuedBytes -= taken;
      this.node.counters.bytesSent += taken;
      // A file that has ended early gives no bytes: its segment is done.
      if (segment.sent === segment.length || taken === 0) this.finishSegment(segment, segment.sent, together);
      else if (taken < left && this.node.network.random.chance(this.node.faults.shortSend)) {
        this.node.ready(this);
        return;
      }
    }
    if (!this.closing && this.finWanted && this.segments.length === 0) this.sendFin(endpoint);
  }

  private sendFin(endpoint: Endpoint): void {
    endpoint.writeFin();
    if (this.sendErrno === 0) this.sendErrno = -EPIPE;
  }

  /** Bytes taken, 0 where what they come from has ended, or -errno. */
  private write(endpoint: Endpoint, segment: Segment, left: number): number {
    if (segment.buffer !== NO_BUFFER) {
      return endpoint.write(this.node.pool.bytes, segment.offset + segment.sent, left);
    }
    const length = Math.min(left, FILE_PART_BYTES);
    if (segment.isForwarded) return this.writeFrom(endpoint, segment, length);
    const count = this.node.fileBytes(segment.file, segment.offset + segment.sent, part.subarray(0, length));
    return count <= 0 ? count : endpoint.write(part, 0, count);
  }

  /** As much as the pipe takes comes out of the source, whether or not there is room for it here. */
  private writeFrom(endpoint: Endpoint, segment: Segment, length: number): number {
    if (segment.piped.length === 0) {
      const from = segment.source === null || segment.source.closing ? null : segment.source.endpoint;
      if (from === null || from.ended) return 0;
      const count = from.read(part, 0, length);
      if (count === -EAGAIN) return count;
      if (count <= 0) return 0;
      this.node.counters.bytesReceived += count;
      this.queuedBytes += count;
      segment.piped = part.slice(0, count);
    }
    const taken = endpoint.write(segment.piped, 0, segment.piped.length);
    if (taken > 0) segment.piped = segment.piped.subarray(taken);
    return taken;
  }

  private finishSegment(segment: Segment, result: number, together: boolean): void {
    this.segments.shift();
    this.queuedBytes -= segment.isForwarded ? segment.piped.length : segment.length - segment.sent;
    this.release(segment);
    if (segment.tag === 0) return;
    if (together) this.results.push(segment.tag, result);
    else this.handler?.onSend(this.handle, segment.tag, result);
  }

  private release(segment: Segment): void {
    if (segment.buffer !== NO_BUFFER) this.node.pool.release(segment.buffer);
    if (segment.source !== null) segment.source.forwardEnded();
  }

  private forwardEnded(): void {
    this.forwardTo = null;
    if (!this.closing) this.node.ready(this);
  }

  private drop(): void {
    for (const segment of this.segments.splice(0)) this.release(segment);
    this.queuedBytes = 0;
  }

  // ---- Receiving --------------------------------------------------------------------------------------

  private stepReceive(): void {
    const endpoint = this.endpoint;
    if (endpoint === null || this.endReported || this.forwardTo !== null) return;
    for (let count = 0; count < RECEIVES_PER_TURN; count++) {
      if (this.closing || this.forwardTo !== null) return;
      if (this.receiving === RECEIVE_OFF && this.lateBytes === 0) return;
      if (endpoint.readableBytes > 0) {
        if (!this.receive(endpoint)) return;
        continue;
      }
      this.lateBytes = 0;
      if (endpoint.ended && this.receiving !== RECEIVE_OFF) this.reportEnd(endpoint);
      return;
    }
    this.node.ready(this);
  }

  /** Delivers one piece; false when there is no buffer for it. */
  private receive(endpoint: Endpoint): boolean {
    const { node } = this;
    const { random } = node.network;
    const buffer = node.receiveBuffer(this.receiving === RECEIVE_ONCE);
    if (buffer === NO_BUFFER) {
      node.readyAfter(this, 1 + random.below(STARVED_MS));
      return false;
    }
    const late = this.receiving === RECEIVE_OFF;
    const skip = node.receiveSkip(buffer);
    const offset = node.pool.offsetOf(buffer) + skip;
    let length = Math.min(endpoint.readableBytes, node.pool.sizeOf(buffer) - skip);
    if (late) length = Math.min(length, this.lateBytes);
    if (random.chance(node.faults.partialReceive)) {
      length = 1 + random.below(random.chance(0.3) ? Math.min(length, 8) : length);
    }
    endpoint.read(node.pool.bytes, offset, length);
    node.counters.bytesReceived += length;
    if (late) this.lateBytes -= length;
    else if (this.receiving === RECEIVE_ONCE) this.receiving = RECEIVE_OFF;
    const handler = this.handler;
    if (handler === null) node.pool.release(buffer);
    else handler.onReceive(this.handle, buffer, offset, length);
    return true;
  }

  private reportEnd(endpoint: Endpoint): void {
    this.receiving = RECEIVE_OFF;
    this.endReported = true;
    const errno = endpoint.read(this.node.pool.bytes, 0, 0);
    this.handler?.onReceiveEnd(this.handle, errno);
  }
}
