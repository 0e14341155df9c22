/**
 * What the reactors on a kernel have in common: the arena, the clock, the table of sockets, the queues of
 * what is to be sent, and the files. A backend adds how it learns of events and how bytes move.
 *
 * Methods of the interface only note what is wanted and put the socket on the dirty list; the backend looks
 * at that list once a turn, so that wishes which cancel each other within a turn cost nothing and all
 * segments of a turn leave together.
 */

import { performance } from 'node:perf_hooks';
import { unreachable } from '../base/assert.ts';
import { NO_SLOT, SLOT_MASK, SlotTable } from '../base/slot-table.ts';
import { TimerWheel } from '../base/timer-wheel.ts';
import {
  EAGAIN,
  EBADF,
  EBUSY,
  EINTR,
  EINVAL,
  EIO,
  EMFILE,
  ENFILE,
  ENOBUFS,
  ENOMEM,
  EOPNOTSUPP,
} from '../sys/errno.ts';
import {
  attachKernelTls,
  type KernelTlsDirection,
  type KernelTlsKey,
  receivedRecord,
  receiveRecord,
  setKernelTlsKey,
  TLS_RX,
} from '../sys/kernel-tls.ts';
import { close } from '../sys/libc.ts';
import { mapPrivate, mapPrivateHuge } from '../sys/memory.ts';
import { encodeAddress, SOCKADDR_BYTES_MAX, type SocketAddress } from '../sys/sockaddr.ts';
import {
  acknowledgedBytesOf,
  createListener,
  localAddressOf,
  peerAddressOf,
  setAbortiveClose,
  takeSocketError,
} from '../sys/socket.ts';
import { arenaBytes, type BufferId, BufferPool, type PoolShape } from './buffer-pool.ts';
import {
  ACCEPT_LEFT,
  CLOSED,
  CONNECTED,
  DeferredEvents,
  type DeferredKind,
  type DeferredReceiver,
  FILE_RESULT,
  RECEIVE_END,
  SEND_RESULT,
  SOURCE_FREE,
} from './deferred-events.ts';
import { OpenFiles } from './open-files.ts';
import { Pipes } from './pipes.ts';
import type {
  FileHandle,
  FileHandler,
  FileKind,
  Handle,
  ListenerHandler,
  ListenOptions,
  Reactor,
  SocketHandler,
} from './reactor.ts';
import { ReactorCounters } from './reactor.ts';
import { SendSegments } from './send-segments.ts';
import {
  NO_HANDLER,
  NO_SEGMENT,
  NOT_ENDED,
  NOTHING,
  ONCE,
  type ReceiveMode,
  type SocketSlot,
  STREAM,
} from './socket-slot.ts';

/** Bounds of a backend's tables, and how its memory is mapped. */
export interface ReactorLimits {
  /** Sockets and listeners. */
  readonly handlesMax: number;
  readonly filesMax: number;
  /** Opens and reads that wait for a disk. */
  readonly fileOperationsMax: number;
  /** Queued segments of all sockets together. */
  readonly segmentsMax: number;
  /** Pairs of sockets that bytes are moved between at once (`sendFrom`). */
  readonly pipes: number;
  /** Whether the arena asks for huge pages. */
  readonly hugePages: boolean;
}

export const DEFAULT_LIMITS: ReactorLimits = {
  handlesMax: 65536,
  filesMax: 16384,
  fileOperationsMax: 4096,
  segmentsMax: 131072,
  pipes: 32,
  hugePages: false,
};

/**
 * How often a listener that leaves looks whether connections wait. Where others accept it finds some once or twice;
 * where nobody does it must end some time.
 */
const LOOKS_MAX = 64;

/** How soon a step of the wall clock is noticed. */
const WALL_CHECK_INTERVAL_MS = 500;

export abstract class KernelReactor<S extends SocketSlot> implements Reactor, DeferredReceiver {
  abstract readonly name: 'io_uring' | 'epoll';
  readonly pool: BufferPool;
  /** The arena is on huge pages, as far as the kernel has them. */
  readonly hugePages: boolean;
  readonly timers: TimerWheel;
  readonly counters: ReactorCounters;
  nowMs: number;
  wallMs: number;
  protected readonly slots: SlotTable;
  protected readonly sockets: S[];
  /** What `find` returns for a handle that is not live. */
  protected readonly nobody: S;
  /** Sockets that the next flush looks at. */
  protected readonly dirty: S[];
  protected dirtyCount: number;
  /**
   * Of these the ones that we connected, whose turn comes last: what many backends' sockets get leaves in one go, and
   * what clients get in another, so that whoever is at the other end of several is woken once.
   */
  protected readonly dirtyOutgoing: S[];
  /** Sockets whose receive found no buffer. */
  protected readonly starved: S[];
  protected readonly deferred: DeferredEvents;
  protected readonly pipes: Pipes;
  protected readonly files: OpenFiles;
  protected readonly segments: SendSegments;
  /** Node's event loop has work; what `turn` returns. */
  protected nodeHasWork: boolean;
  protected destroying: boolean;
  /** What turns `nowMs` into wall-clock time, and when it is looked at again. */
  private wallOffsetMs: number;
  private wallCheckMs: number;
  private readonly makeSocket: () => S;
  /** Kernel forms of addresses that are connected to. */
  private readonly encoded: WeakMap<SocketAddress, Uint8Array>;

  protected constructor(shape: PoolShape, limits: ReactorLimits, makeSocket: () => S) {
    const { memory, granted } = limits.hugePages
      ? mapPrivateHuge(arenaBytes(shape))
      : { memory: mapPrivate(arenaBytes(shape)), granted: false };
    this.hugePages = granted;
    this.pool = new BufferPool(memory.buffer, memory.address, shape);
    this.nowMs = Math.floor(performance.now());
    this.wallMs = Date.now();
    this.wallOffsetMs = this.wallMs - this.nowMs;
    this.wallCheckMs = this.nowMs + WALL_CHECK_INTERVAL_MS;
    this.timers = new TimerWheel(this.nowMs);
    this.counters = new ReactorCounters();
    this.slots = new SlotTable(limits.handlesMax);
    this.sockets = [];
    this.nobody = makeSocket();
    this.dirty = [];
    this.dirtyCount = 0;
    this.dirtyOutgoing = [];
    this.starved = [];
    this.deferred = new DeferredEvents();
    this.files = new OpenFiles(limits.filesMax, limits.fileOperationsMax);
    this.pipes = new Pipes(limits.pipes, ({ handle }) => this.deferred.push(SOURCE_FREE, handle, 0, 0));
    this.segments = new SendSegments(
      this.pool,
      this.files,
      this.pipes,
      this.deferred,
      this.counters,
      limits.segmentsMax,
    );
    this.nodeHasWork = false;
    this.destroying = false;
    this.makeSocket = makeSocket;
    this.encoded = new WeakMap();
  }

  abstract connect(address: SocketAddress, handler: SocketHandler): Handle;
  abstract openFile(
    root: FileHandle,
    pathOffset: number,
    pathLength: number,
    handler: FileHandler,
    tag: number,
  ): number;
  abstract readFile(
    file: FileHandle,
    fileOffset: number,
    offset: number,
    length: number,
    handler: FileHandler,
    tag: number,
  ): number;
  abstract turn(waitMsMax: number): boolean;
  abstract destroy(): void;
  /** Ends what is in flight and closes the descriptor; `onClose` follows from a later turn. */
  protected abstract startClose(socket: S): void;
  /** Whether a receive may still bring bytes that the kernel has not opened. */
  protected abstract receiveIsArmed(socket: S): boolean;

  listen(address: SocketAddress, options: ListenOptions, handler: ListenerHandler): Handle {
    const fd = createListener(address, options.backlog, options.reusePort, options.unixMode ?? -1);
    return fd < 0 ? fd : this.listenOn(fd, handler);
  }

  /** Starts to accept on a socket that listens already, made by another process perhaps; it is the reactor's from now on. */
  listenOn(fd: number, handler: ListenerHandler): Handle {
    const socket = this.openSlot(fd, true);
    if (socket === this.nobody) {
      close(fd);
      return -EMFILE;
    }
    socket.isListener = true;
    socket.listenerHandler = handler;
    this.markDirty(socket);
    return socket.handle;
  }

  localAddress(handle: Handle): SocketAddress {
    return localAddressOf(this.find(handle).fd);
  }

  peerAddress(handle: Handle): SocketAddress {
    return peerAddressOf(this.find(handle).fd);
  }

  acceptPause(listener: Handle): void {
    const socket = this.find(listener);
    if (!socket.isListener) return;
    socket.paused = true;
    this.markDirty(socket);
  }

  acceptResume(listener: Handle): void {
    const socket = this.find(listener);
    if (!socket.isListener) return;
    socket.paused = false;
    socket.leaving = 0;
    this.markDirty(socket);
  }

  acceptLeave(listener: Handle): void {
    const socket = this.find(listener);
    if (!socket.isListener || socket.leaving > 0) return;
    socket.paused = true;
    socket.leaving = LOOKS_MAX;
    this.markDirty(socket);
  }

  adopt(handle: Handle, handler: SocketHandler): void {
    const socket = this.find(handle);
    if (socket !== this.nobody) socket.handler = handler;
  }

  receiveStart(handle: Handle): void {
    this.wantReceive(this.find(handle), STREAM);
  }

  receiveOnce(handle: Handle): void {
    this.wantReceive(this.find(handle), ONCE);
  }

  receiveStop(handle: Handle): void {
    const socket = this.find(handle);
    if (socket === this.nobody || socket.receiveWant === NOTHING) return;
    socket.receiveWant = NOTHING;
    this.markDirty(socket);
  }

  send(handle: Handle, buffer: BufferId, offset: number, length: number, tag: number): void {
    const socket = this.find(handle);
    if (socket === this.nobody) {
      this.pool.release(buffer);
      return;
    }
    if (this.segments.append(socket, buffer, offset, length, tag)) this.markDirty(socket);
  }

  sendFile(handle: Handle, file: FileHandle, fileOffset: number, length: number, tag: number): void {
    const socket = this.find(handle);
    if (socket === this.nobody) return;
    if (this.segments.appendFile(socket, file, fileOffset, length, tag)) this.markDirty(socket);
  }

  sendFrom(handle: Handle, source: Handle, length: number, tag: number): number {
    const socket = this.find(handle);
    const from = this.find(source);
    if (socket === this.nobody || from === this.nobody) return -EBADF;
    const isBusy = from.receiveWant !== NOTHING || from.receiveEnd !== NOT_ENDED || this.receiveIsArmed(from);
    if (isBusy || from.forwardTo !== null || socket.pipe !== null) return -EBUSY;
    if (from.kernelTls || socket.kernelTls) return -EOPNOTSUPP;
    if (this.pipes.isEmpty) return -EMFILE;
    if (this.segments.appendForwarded(socket, from, length, tag)) this.markDirty(socket);
    return 0;
  }

  sendFromLeft(source: Handle): number {
    return this.find(source).forwardTo?.forwardLeft ?? 0;
  }

  startKernelTls(handle: Handle, direction: KernelTlsDirection, key: KernelTlsKey): number {
    const socket = this.find(handle);
    if (socket === this.nobody) return -EBADF;
    const isBusy =
      direction === TLS_RX
        ? this.receiveIsArmed(socket)
        : !socket.kernelSeals && socket.sendHead !== NO_SEGMENT;
    if (isBusy) return -EBUSY;
    if (!socket.kernelTls) {
      const result = attachKernelTls(socket.fd);
      if (result < 0) return result;
      socket.kernelTls = true;
    }
    const result = setKernelTlsKey(socket.fd, direction, key);
    if (result === 0) {
      if (direction === TLS_RX) socket.kernelOpens = true;
      else socket.kernelSeals = true;
    }
    return result;
  }

  receiveAtMost(handle: Handle, bytesMax: number): void {
    const socket = this.find(handle);
    this.wantReceive(socket, ONCE);
    socket.receiveBytesMax = bytesMax;
  }

  sendRecord(
    handle: Handle,
    type: number,
    buffer: BufferId,
    offset: number,
    length: number,
    tag: number,
  ): void {
    const socket = this.find(handle);
    if (socket === this.nobody) {
      this.pool.release(buffer);
      return;
    }
    if (this.segments.appendRecord(socket, type, buffer, offset, length, tag)) this.markDirty(socket);
  }

  sendQueuedBytes(handle: Handle): number {
    return this.find(handle).sendQueuedBytes;
  }

  sendAcknowledgedBytes(handle: Handle): number {
    const socket = this.find(handle);
    return socket === this.nobody ? -1 : acknowledgedBytesOf(socket.fd);
  }

  shutdownSend(handle: Handle): void {
    const socket = this.find(handle);
    if (socket === this.nobody) return;
    socket.shutdownWanted = true;
    this.markDirty(socket);
  }

  close(handle: Handle, abortive: boolean): void {
    const socket = this.find(handle);
    if (socket === this.nobody) return;
    if (abortive && !socket.isListener) setAbortiveClose(socket.fd);
    this.startClose(socket);
  }

  openRoot(path: string): FileHandle {
    return this.files.openRoot(path);
  }

  fileKind(file: FileHandle): FileKind {
    return this.files.kind(file);
  }

  fileSize(file: FileHandle): number {
    return this.files.size(file);
  }

  fileModifiedMs(file: FileHandle): number {
    return this.files.modifiedMs(file);
  }

  fileInode(file: FileHandle): number {
    return this.files.inode(file);
  }

  fileChanged(file: FileHandle): boolean {
    return this.files.changed(file);
  }

  closeFile(file: FileHandle): void {
    this.files.close(file);
  }

  // For the backends.

  /** Reads the clock: once a turn, when the wait is over. */
  protected updateClock(): void {
    const nowMs = Math.floor(performance.now());
    this.nowMs = nowMs;
    if (nowMs >= this.wallCheckMs) {
      this.wallOffsetMs = Date.now() - nowMs;
      this.wallCheckMs = nowMs + WALL_CHECK_INTERVAL_MS;
    }
    this.wallMs = nowMs + this.wallOffsetMs;
  }

  /**
   * How long from `nowMs` the turn may wait: not at all when there is work, not beyond the next timer. What
   * the handlers took since the clock was read is in it, for the wait ends at a point in time.
   */
  protected waitMs(waitMsMax: number): number {
    if (waitMsMax <= 0 || !this.deferred.isEmpty || this.dirtyCount !== 0) return 0;
    return this.timers.waitMs(this.nowMs, waitMsMax);
  }

  onDeferred(kind: DeferredKind, handle: number, first: number, second: number): void {
    if (kind === FILE_RESULT) {
      this.files.finish(first, second);
      return;
    }
    if (kind === CLOSED) {
      this.free(this.sockets[handle & SLOT_MASK]);
      return;
    }
    const socket = this.find(handle);
    if (socket === this.nobody) return;
    switch (kind) {
      case SEND_RESULT:
        socket.handler.onSend(handle, first, second);
        break;
      case RECEIVE_END:
        if (socket.receiveWant !== NOTHING && !socket.endReported) this.reportEnd(socket, first);
        break;
      case CONNECTED:
        this.connectEnded(socket, first);
        break;
      case SOURCE_FREE:
        this.sourceFree(socket);
        break;
      case ACCEPT_LEFT:
        socket.listenerHandler.onAcceptLeft?.(handle);
        break;
      default:
        unreachable(kind);
    }
  }

  /** What came from this socket has gone elsewhere, and does so no more. */
  protected sourceFree(source: S): void {
    if (source.receiveWant !== NOTHING) this.markDirty(source);
  }

  /** For one that closes: what it was to deliver ends early. */
  protected leaveForward(socket: S): void {
    const to = socket.forwardTo as S | null;
    if (to === null) return;
    socket.forwardTo = null;
    to.forwardFrom = null;
    this.markDirty(to);
  }

  /** A connect ended: 0 or -errno. */
  protected connectEnded(socket: S, errno: number): void {
    if (errno < 0) this.startClose(socket);
    else {
      socket.connected = true;
      this.counters.connected++;
      this.markDirty(socket);
    }
    socket.handler.onConnect(socket.handle, errno);
  }

  /** No more bytes will come: reported now, or when somebody wants to receive. */
  protected receiveEnded(socket: S, errno: number): void {
    socket.receiveEnd = errno;
    if (socket.receiveWant !== NOTHING) this.reportEnd(socket, errno);
  }

  /**
   * A receive failed: whether it is because kernel TLS has a record of another type than application data, which
   * has been taken and delivered now.
   */
  protected tookRecord(socket: S, errno: number): boolean {
    if (!socket.kernelOpens) return false;
    if (errno !== -EIO) {
      // A record that can't be opened: the socket remembers that, and would refuse to send the alert about it.
      takeSocketError(socket.fd);
      return false;
    }
    const result = receiveRecord(socket.fd);
    if (result === -EAGAIN || result === -EINTR) return true;
    if (result < 0 || socket.handler.onRecord === undefined) return false;
    socket.handler.onRecord(socket.handle, receivedRecord.type, receivedRecord.bytes, receivedRecord.length);
    return true;
  }

  private reportEnd(socket: S, errno: number): void {
    socket.receiveWant = NOTHING;
    socket.endReported = true;
    socket.handler.onReceiveEnd(socket.handle, errno);
  }

  /** The slot of a closed socket is free from now on, and its owner hears of it. */
  protected free(socket: S): void {
    const { handle, handler, isListener } = socket;
    socket.release();
    this.slots.give(handle);
    this.counters.handlesOpen--;
    if (!isListener) handler.onClose(handle);
  }

  protected find(handle: Handle): S {
    const slot = handle & SLOT_MASK;
    if (slot >= this.sockets.length) return this.nobody;
    const socket = this.sockets[slot];
    return socket.liveHandle === handle && handle !== 0 ? socket : this.nobody;
  }

  protected openSlot(fd: number, connected: boolean): S {
    const handle = this.slots.take();
    if (handle === NO_SLOT) return this.nobody;
    const slot = handle & SLOT_MASK;
    if (slot === this.sockets.length) this.sockets.push(this.makeSocket());
    const socket = this.sockets[slot];
    socket.open(handle, fd, connected);
    this.counters.handlesOpen++;
    return socket;
  }

  private wantReceive(socket: S, mode: ReceiveMode): void {
    if (socket === this.nobody || socket.isListener || socket.endReported) return;
    socket.receiveWant = mode;
    socket.receiveBytesMax = 0;
    if (socket.receiveEnd === NOT_ENDED) this.markDirty(socket);
    else this.deferred.push(RECEIVE_END, socket.handle, socket.receiveEnd, 0);
  }

  protected markDirty(socket: S): void {
    if (socket.dirty) return;
    socket.dirty = true;
    this.dirty[this.dirtyCount++] = socket;
  }

  /** The kernel's form of an address, remembered for as long as the address object lives; empty when it is not valid. */
  protected encode(address: SocketAddress): Uint8Array {
    let bytes = this.encoded.get(address);
    if (bytes === undefined) {
      bytes = new Uint8Array(SOCKADDR_BYTES_MAX);
      bytes = bytes.slice(0, encodeAddress(address, bytes, 0));
      this.encoded.set(address, bytes);
    }
    return bytes;
  }
  /** A connection was accepted: gives it a slot, or pauses the listener when there is none. */
  protected admit(listener: S, fd: number): void {
    const socket = listener.closing ? this.nobody : this.openSlot(fd, true);
    if (socket === this.nobody) {
      close(fd);
      if (!listener.closing && !listener.paused) this.acceptFailed(listener, -ENFILE);
      return;
    }
    this.counters.accepted++;
    this.onAdmitted(socket);
    if (socket.closing) return;
    listener.listenerHandler.onAccept(listener.handle, socket.handle);
    if (socket.handler === NO_HANDLER && !socket.closing) this.startClose(socket);
  }

  /** What a backend does with a connection that was just accepted, before its owner hears of it; it may close it. */
  protected abstract onAdmitted(socket: S): void;

  /** Accepting failed. Errors after which trying again at once is of no use pause the listener. */
  protected acceptFailed(listener: S, errno: number): void {
    this.counters.acceptErrors++;
    if (!pausesAccept(errno)) return;
    listener.paused = true;
    // One that is leaving does so now: the next connection wakes others.
    if (listener.leaving > 0) listener.leaving = 1;
    this.markDirty(listener);
    listener.listenerHandler.onAcceptError(listener.handle, errno);
  }
}

/** Errors of accept(2) after which trying again at once is of no use. */
function pausesAccept(errno: number): boolean {
  switch (-errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EINVAL:
    case EBADF:
    case EOPNOTSUPP:
      return true;
    default:
      return false;
  }
}
