/**
 * The reactor on epoll, for hosts where io_uring is missing or forbidden.
 *
 * Sockets are watched edge-triggered, once for their whole life, and read when an event has said that there
 * is something; a read that the kernel fills only in part has emptied it, so that no read is wasted on
 * learning that. Sending happens at the turn's start with one system call for all that a socket has queued;
 * writability is watched only from the first time that the kernel takes less. Listeners are watched
 * level-triggered.
 *
 * Files are opened as they are with nginx, waiting for the disk where that is needed; reads that would have
 * to wait go to libuv's thread pool and end in a later turn, after Node's event loop has run.
 *
 * Invariants: a socket is on the ready list only once; no handler is called outside `turn`; a slot is free
 * only after the turn in which its descriptor was closed.
 */

import { assert } from '../base/assert.ts';
import { createTimer, measureMonotonicOffset, setTimer } from '../sys/clock.ts';
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EpollSet } from '../sys/epoll.ts';
import { EAGAIN, EINPROGRESS, EINTR, EINVAL, EIO, ENOBUFS, EOPNOTSUPP } from '../sys/errno.ts';
import { DOT_ADDRESS, openBeneath, readCached } from '../sys/file.ts';
import type { KernelTlsDirection, KernelTlsKey } from '../sys/kernel-tls.ts';
import { accept4, close, connect, negated, preadAsync, recv } from '../sys/libc.ts';
import { type MappedMemory, mapPrivate } from '../sys/memory.ts';
import { nodeLoopDescriptor } from '../sys/node-loop.ts';
import { addressFamily, type SocketAddress } from '../sys/sockaddr.ts';
import {
  createStreamSocket,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  shutdownWrite,
  takeSocketError,
} from '../sys/socket.ts';
import {
  HEAD_ROOM_BYTES,
  LARGE,
  LARGE_BYTES,
  MEDIUM,
  MEDIUM_BYTES,
  NO_BUFFER,
  type PoolShape,
} from './buffer-pool.ts';
import { ACCEPT_LEFT, CLOSED, CONNECTED, FILE_RESULT } from './deferred-events.ts';
import { EpollSocket } from './epoll-socket.ts';
import { KernelReactor, type ReactorLimits } from './kernel-reactor.ts';
import { type FileHandle, type FileHandler, type Handle, PENDING, type SocketHandler } from './reactor.ts';
import { BLOCKED, BUDGET_SPENT, SOURCE_WAITS } from './send-segments.ts';
import { NO_HANDLER, NO_SEGMENT, NOT_ENDED, NOTHING, ONCE } from './socket-slot.ts';

/** What an event's data says for the descriptor of Node's loop; no handle is 0. */
const NODE_LOOP = 0;
/** And for the timer that ends waits; handles begin far above. */
const WAKE = 1;

/** Fairness within a turn: connections accepted from one listener, buffers read from and bytes written to one socket. */
const ACCEPTS_PER_TURN = 64;
const READS_PER_TURN = 4;
const WRITE_BYTES_PER_TURN = 524288;

/** Reads that wait for a disk in libuv's pool. */
const FILE_OPERATIONS_MAX = 128;

const WATCH_READS = EPOLLIN | EPOLLRDHUP | EPOLLET;

export class EpollReactor extends KernelReactor<EpollSocket> {
  readonly name = 'epoll';
  private readonly set: EpollSet;
  private readonly timer: number;
  /** When the timer fires, on the clock of performance.now; infinite when it is not armed. */
  private wakeMs: number;
  private readonly monotonicOffsetMs: number;
  /** Sockets that are readable and wanted. */
  private ready: EpollSocket[];
  private readyNext: EpollSocket[];
  /** Memory of an address that is connected to. */
  private readonly argument: MappedMemory;

  constructor(shape: PoolShape, limits: ReactorLimits) {
    super(
      shape,
      { ...limits, fileOperationsMax: Math.min(limits.fileOperationsMax, FILE_OPERATIONS_MAX) },
      () => new EpollSocket(),
    );
    const set = EpollSet.create();
    assert(typeof set !== 'number', `cannot create an epoll set: ${set}`);
    this.set = set;
    this.ready = [];
    this.readyNext = [];
    this.argument = mapPrivate(4096);
    this.timer = createTimer();
    this.wakeMs = Number.POSITIVE_INFINITY;
    this.monotonicOffsetMs = measureMonotonicOffset();
    const watchesNode = set.add(nodeLoopDescriptor(), EPOLLIN, NODE_LOOP);
    assert(watchesNode === 0, `cannot watch Node's event loop: ${watchesNode}`);
    const watchesTimer = set.add(this.timer, EPOLLIN | EPOLLET, WAKE);
    assert(watchesTimer === 0, `cannot watch a timer: ${watchesTimer}`);
  }

  connect(address: SocketAddress, handler: SocketHandler): Handle {
    const bytes = this.encode(address);
    if (bytes.length === 0) return -EINVAL;
    const family = addressFamily(address);
    const fd = createStreamSocket(family);
    if (fd < 0) return fd;
    const socket = this.openSlot(fd, false);
    if (socket === this.nobody) {
      close(fd);
      return -ENOBUFS;
    }
    socket.handler = handler;
    this.argument.bytes.set(bytes);
    let result = negated(connect(fd, this.argument.address, bytes.length));
    const under = result === -EINPROGRESS;
    if (under || result === 0) {
      socket.watchesWritable = under;
      result = this.set.add(fd, under ? WATCH_READS | EPOLLOUT : WATCH_READS, socket.handle);
    }
    if (!under || result < 0) this.deferred.push(CONNECTED, socket.handle, result, 0);
    return socket.handle;
  }

  /** Waits for a disk where it must (as nginx does): never PENDING, for a thread would cost more than most opens. */
  openFile(root: FileHandle, pathOffset: number, pathLength: number): number {
    const directory = this.files.descriptor(root);
    if (directory < 0) return directory;
    const fd = openBeneath(directory, pathLength === 0 ? DOT_ADDRESS : this.pool.address + pathOffset);
    return fd < 0 ? fd : this.files.admit(fd);
  }

  readFile(
    file: FileHandle,
    fileOffset: number,
    offset: number,
    length: number,
    handler: FileHandler,
    tag: number,
  ): number {
    const fd = this.files.descriptor(file);
    if (fd < 0) return fd;
    const address = this.pool.address + offset;
    const result = readCached(fd, fileOffset, address, length);
    // Some file systems don't know how not to wait.
    if (result !== -EAGAIN && result !== -EOPNOTSUPP) return result;
    const operation = this.files.begin(handler, tag, file);
    if (operation < 0) return operation;
    preadAsync(fd, address, length, fileOffset, (_error, bytes) => {
      // The thread's errno is lost; what remains to fail is the disk.
      this.fileEnded(operation, bytes >= 0 ? bytes : -EIO);
    });
    return PENDING;
  }

  turn(waitMsMax: number): boolean {
    this.nodeHasWork = false;
    this.flush();
    const count = this.set.wait(this.mayWait(waitMsMax));
    assert(count >= 0 || count === -EINTR, `epoll_wait failed: ${count}`);
    this.updateClock();
    this.counters.turns++;
    this.deferred.deliver(this);
    for (let index = 0; index < count; index++) this.onEvent(this.set.data(index), this.set.mask(index));
    this.readReady();
    this.timers.advance(this.nowMs);
    return this.nodeHasWork;
  }

  /**
   * Whether the turn waits, and if so, makes it end in time: one timer stays in the kernel, which is moved only
   * when it would come too late. A time limit of each wait would program the timer hardware each time.
   */
  private mayWait(waitMsMax: number): boolean {
    const waitMs = this.ready.length > 0 ? 0 : this.waitMs(waitMsMax);
    if (waitMs <= 0) return false;
    const wakeMs = this.nowMs + waitMs;
    if (wakeMs < this.wakeMs) {
      this.wakeMs = wakeMs;
      setTimer(this.timer, wakeMs + this.monotonicOffsetMs);
    }
    return true;
  }

  destroy(): void {
    if (this.destroying) return;
    this.destroying = true;
    for (const socket of this.sockets) {
      socket.handler = NO_HANDLER;
      if (socket.handle !== 0 && !socket.closing) this.startClose(socket);
    }
    close(this.set.fd);
    close(this.timer);
    this.files.destroy();
    this.pipes.destroy();
    this.argument.unmap();
    // The arena stays mapped: a read on another thread may still end.
  }

  // Flushing: from wishes to system calls.

  private flush(): void {
    const { dirty, dirtyOutgoing } = this;
    const count = this.dirtyCount;
    this.dirtyCount = 0;
    let outgoing = 0;
    // A socket that marks itself again (bytes beyond its share) writes below `index`, which was read already.
    for (let index = 0; index < count; index++) {
      const socket = dirty[index];
      socket.dirty = false;
      if (socket.closing || socket.handle === 0) continue;
      if (socket.isListener) this.flushAccept(socket);
      else if (socket.outgoing) dirtyOutgoing[outgoing++] = socket;
      else this.flushSocket(socket);
    }
    for (let index = 0; index < outgoing; index++) this.flushSocket(dirtyOutgoing[index]);
    if (this.starved.length > 0) this.feedStarved();
  }

  private flushSocket(socket: EpollSocket): void {
    if (!socket.connected || socket.closing) return;
    if (socket.readable && socket.receiveWant !== NOTHING && socket.forwardTo === null)
      this.markReady(socket);
    if (!socket.blocked) this.flushSend(socket);
  }

  private flushAccept(listener: EpollSocket): void {
    // Everybody who watches is told of every connection: what waits is taken by others.
    if (listener.leaving > 0) {
      listener.leaving = 0;
      this.deferred.push(ACCEPT_LEFT, listener.handle, 0, 0);
    }
    if (listener.paused === !listener.watched) return;
    listener.watched = !listener.paused;
    if (listener.paused) this.set.remove(listener.fd);
    else this.set.add(listener.fd, EPOLLIN, listener.handle);
  }

  private flushSend(socket: EpollSocket): void {
    if (socket.sendHead !== NO_SEGMENT) {
      const status = this.segments.writeNow(socket, WRITE_BYTES_PER_TURN);
      if (status === BLOCKED) {
        socket.blocked = true;
        if (!socket.watchesWritable) {
          socket.watchesWritable = true;
          // Reports at once if room has come meanwhile.
          this.set.modify(socket.fd, WATCH_READS | EPOLLOUT, socket.handle);
        }
        return;
      }
      if (status === BUDGET_SPENT) {
        this.markDirty(socket);
        return;
      }
      // An event of the source's comes back here.
      if (status === SOURCE_WAITS) return;
    }
    if (socket.shutdownWanted) {
      socket.shutdownWanted = false;
      if (socket.sendErrno === 0) shutdownWrite(socket.fd);
    }
  }

  private feedStarved(): void {
    const { starved, pool } = this;
    let kept = 0;
    for (let index = 0; index < starved.length; index++) {
      const socket = starved[index];
      const gone = socket.closing || socket.handle === 0 || socket.receiveWant === NOTHING;
      if (!gone && pool.freeCount(socket.receiveWant === ONCE ? LARGE : MEDIUM) === 0) {
        starved[kept++] = socket;
        continue;
      }
      socket.starved = false;
      if (!gone) this.markReady(socket);
    }
    starved.length = kept;
  }

  // Delivery: events to handlers.

  private onEvent(data: number, mask: number): void {
    if (data === NODE_LOOP) {
      this.nodeHasWork = true;
      return;
    }
    if (data === WAKE) {
      this.wakeMs = Number.POSITIVE_INFINITY;
      return;
    }
    const socket = this.find(data);
    if (socket === this.nobody) return;
    if (socket.isListener) {
      this.accept(socket);
      return;
    }
    if (!socket.connected) {
      this.onConnecting(socket, mask);
      return;
    }
    if ((mask & EPOLLOUT) !== 0 && socket.blocked) {
      socket.blocked = false;
      this.markDirty(socket);
    }
    if ((mask & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) {
      socket.endAnnounced = true;
      // A send that waits for room learns of the failure by trying.
      if ((mask & (EPOLLHUP | EPOLLERR)) !== 0 && socket.blocked) {
        socket.blocked = false;
        this.markDirty(socket);
      }
    }
    if ((mask & ~EPOLLOUT) !== 0 && socket.receiveEnd === NOT_ENDED) {
      socket.readable = true;
      if (socket.forwardTo !== null) this.markDirty(socket.forwardTo as EpollSocket);
      else if (socket.receiveWant !== NOTHING) this.receive(socket);
    }
  }

  private onConnecting(socket: EpollSocket, mask: number): void {
    if ((mask & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) return;
    const errno = takeSocketError(socket.fd);
    if (errno === 0 && (mask & EPOLLOUT) === 0) return;
    // Bytes may have come with the same event, which is not told again.
    if ((mask & EPOLLIN) !== 0) socket.readable = true;
    if ((mask & (EPOLLRDHUP | EPOLLHUP)) !== 0) socket.endAnnounced = true;
    this.connectEnded(socket, errno);
  }

  private accept(listener: EpollSocket): void {
    for (let count = 0; count < ACCEPTS_PER_TURN; count++) {
      if (listener.closing || listener.paused) return;
      const fd = negated(accept4(listener.fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd >= 0) this.admit(listener, fd);
      else if (fd === -EAGAIN) return;
      else if (fd !== -EINTR) this.acceptFailed(listener, fd);
    }
  }

  /** What came last may have been left: the next look tells. */
  protected override sourceFree(source: EpollSocket): void {
    source.readable = true;
    super.sourceFree(source);
  }

  protected override onAdmitted(socket: EpollSocket): void {
    // Out of watches or memory: the connection can't be served.
    if (this.set.add(socket.fd, WATCH_READS, socket.handle) < 0) this.startClose(socket);
  }

  private readReady(): void {
    const { ready } = this;
    if (ready.length === 0) return;
    this.ready = this.readyNext;
    this.readyNext = ready;
    for (let index = 0; index < ready.length; index++) {
      const socket = ready[index];
      socket.ready = false;
      const mayRead = socket.liveHandle !== 0 && socket.readable && socket.forwardTo === null;
      if (mayRead && socket.receiveWant !== NOTHING) this.receive(socket);
    }
    ready.length = 0;
  }

  private markReady(socket: EpollSocket): void {
    if (socket.ready) return;
    socket.ready = true;
    this.ready.push(socket);
  }

  /** Reads while there is something and somebody wants it, a few buffers at most. */
  private receive(socket: EpollSocket): void {
    const { pool } = this;
    for (let reads = 0; reads < READS_PER_TURN; reads++) {
      const once = socket.receiveWant === ONCE;
      const buffer = pool.acquire(once ? LARGE : MEDIUM);
      if (buffer === NO_BUFFER) {
        this.starve(socket);
        return;
      }
      const offset = pool.offsetOf(buffer) + (once ? 0 : HEAD_ROOM_BYTES);
      const room = once ? socket.receiveBytesMax || LARGE_BYTES : MEDIUM_BYTES - HEAD_ROOM_BYTES;
      const result = recv(socket.fd, pool.address + offset, room, 0);
      if (result <= 0) {
        pool.release(buffer);
        this.onNothingRead(socket, result === 0 ? 0 : negated(result));
        return;
      }
      // The kernel had no more; the next bytes bring an event. An end that was announced is still to be read, and
      // kernel TLS stops before a record of another type.
      if (result < room && !socket.endAnnounced && !socket.kernelOpens) socket.readable = false;
      if (once) socket.receiveWant = NOTHING;
      this.counters.bytesReceived += result;
      socket.handler.onReceive(socket.handle, buffer, offset, result);
      if (socket.closing || !socket.readable || socket.receiveWant === NOTHING) return;
    }
    this.markReady(socket);
  }

  private onNothingRead(socket: EpollSocket, result: number): void {
    if (result === -EAGAIN) {
      socket.readable = false;
      socket.endAnnounced = false;
    } else if (result === -EINTR || this.tookRecord(socket, result)) this.markReady(socket);
    else {
      socket.readable = false;
      this.receiveEnded(socket, result);
    }
  }

  protected override receiveIsArmed(): boolean {
    return false;
  }

  override startKernelTls(handle: Handle, direction: KernelTlsDirection, key: KernelTlsKey): number {
    const result = super.startKernelTls(handle, direction, key);
    if (result < 0) return result;
    // What came before the key was announced then, and is a record now.
    const socket = this.find(handle);
    socket.readable = true;
    this.markDirty(socket);
    return result;
  }

  private starve(socket: EpollSocket): void {
    this.counters.bufferStarvations++;
    if (socket.starved) return;
    socket.starved = true;
    this.starved.push(socket);
  }

  protected override startClose(socket: EpollSocket): void {
    socket.liveHandle = 0;
    socket.closing = true;
    this.leaveForward(socket);
    this.segments.drop(socket, 0);
    close(socket.fd);
    socket.fd = -1;
    this.deferred.push(CLOSED, socket.handle, 0, 0);
  }

  /** Called from Node's event loop, between turns. */
  private fileEnded(operation: number, result: number): void {
    if (this.destroying) this.files.abandon(operation, result);
    else this.deferred.push(FILE_RESULT, 0, operation, result);
  }
}
