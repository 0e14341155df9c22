/**
 * The reactor on io_uring (Linux 6.1 or newer).
 *
 * A turn is one system call: what the handlers asked for is written into the submission queue (`flush`),
 * `io_uring_enter` submits it and waits, then completions and due timers run. Methods only note what is
 * wanted and put the socket on the dirty list, so that wishes which cancel each other within a turn cost
 * nothing and all segments of a turn leave in one operation.
 *
 * user_data: word 0 is the handle (or a pending file operation's index), word 1 the kind of operation.
 * Invariants: per socket at most one receive, one send and one poll are in flight; a slot is free only after
 * the last completion of everything in flight; the buffer of a completion always ends with its owner or in
 * the pool. No handler is called outside `turn`.
 */

import { performance } from 'node:perf_hooks';
import { assert } from '../base/assert.ts';
import { SLOT_MASK } from '../base/slot-table.ts';
import { EAGAIN, ECANCELED, EINTR, EINVAL, ENOBUFS, EOPNOTSUPP } from '../sys/errno.ts';
import {
  DOT_ADDRESS,
  HOW_WAITING_ADDRESS,
  OPEN_HOW_BYTES,
  openBeneathCached,
  readCached,
} from '../sys/file.ts';
import {
  IORING_ACCEPT_MULTISHOT,
  IORING_CQE_BUFFER_SHIFT,
  IORING_CQE_F_BUFFER,
  IORING_CQE_F_MORE,
  IORING_OP_ACCEPT,
  IORING_OP_ASYNC_CANCEL,
  IORING_OP_CLOSE,
  IORING_OP_CONNECT,
  IORING_OP_OPENAT2,
  IORING_OP_POLL_ADD,
  IORING_OP_READ,
  IORING_OP_RECV,
  IORING_OP_SEND,
  IORING_OP_SENDMSG,
  IORING_POLL_ADD_MULTI,
  IORING_RECV_MULTISHOT,
  IOSQE_BUFFER_SELECT,
  IOSQE_CQE_SKIP_SUCCESS,
  POLLIN,
  POLLOUT,
} from '../sys/io-uring.ts';
import { close } from '../sys/libc.ts';
import { type MappedMemory, mapPrivate } from '../sys/memory.ts';
import { nodeLoopDescriptor } from '../sys/node-loop.ts';
import { addressFamily, SOCKADDR_BYTES_MAX, type SocketAddress } from '../sys/sockaddr.ts';
import {
  createSocketPair,
  createStreamSocket,
  MSG_NOSIGNAL,
  MSG_WAITALL,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  shutdownWrite,
} from '../sys/socket.ts';
import { LARGE, MEDIUM, type PoolShape } from './buffer-pool.ts';
import { ACCEPT_LEFT } from './deferred-events.ts';
import { DEFAULT_LIMITS, KernelReactor, type ReactorLimits } from './kernel-reactor.ts';
import { type FileHandle, type FileHandler, type Handle, PENDING, type SocketHandler } from './reactor.ts';
import { BLOCKED, BUDGET_SPENT, SOURCE_WAITS } from './send-segments.ts';
import { NO_HANDLER, NO_SEGMENT, NOT_ENDED, NOTHING, ONCE, type ReceiveMode, STREAM } from './socket-slot.ts';
import { UringBuffers } from './uring-buffers.ts';
import { UringRing } from './uring-ring.ts';
import { UringSocket } from './uring-socket.ts';

export { DEFAULT_LIMITS };

// Kinds of operations, word 1 of user_data.
const ACCEPT = 1;
const CONNECT = 2;
const RECEIVE_STREAM = 3;
const RECEIVE_ONCE = 4;
const SEND = 5;
const CLOSE = 6;
const POLL = 7;
const WATCH = 8;
// From here on the first word is no socket's handle.
const CANCEL = 9;
const NODE_LOOP = 10;
const FILE_OPERATION = 11;
const WAKE = 12;

/** Submissions that fit before the kernel is entered early, and completions that fit before it spills. */
export const SQ_ENTRIES = 4096;
const CQ_ENTRIES = 16384;

/** Entries of the buffer rings, and how many buffers circulate at first; see UringBuffers. */
const MEDIUM_ENTRIES = 2048;
const MEDIUM_TARGET = 64;
const LARGE_ENTRIES = 256;
const LARGE_TARGET = 4;
const MEDIUM_GROUP = 1;
const LARGE_GROUP = 2;

/**
 * Bytes after which a multishot receive ends and is armed anew (Linux 6.17). Without a limit the kernel
 * delivers megabytes of one socket in one turn, before its owner can stop it or ask for large buffers.
 */
const STREAM_BYTES_MAX = 65536;

/** Segments that one operation sends at most. */
const VECTORS_PER_SEND = 16;
/** Bytes of files that one socket may send in one turn: fairness among sockets. */
const FILE_BYTES_PER_TURN = 524288;

/** Turns that destruction waits for the last completions, a millisecond each. */
const DESTROY_ATTEMPTS = 100;

/** Memory for what submissions point at until they are submitted: msghdr, iovec, sockaddr. */
const ARGUMENT_BYTES = 262144;
const MSGHDR_BYTES = 64;

export class UringReactor extends KernelReactor<UringSocket> {
  readonly name = 'io_uring';
  private readonly ring: UringRing;
  private readonly medium: UringBuffers;
  private readonly large: UringBuffers;
  private readonly arenaLow: number;
  private readonly arenaHigh: number;
  private readonly argument: MappedMemory;
  private argumentUsed: number;
  /** STREAM_BYTES_MAX, or 0 where the kernel has no such limit. */
  private readonly streamBytesMax: number;

  private constructor(ring: UringRing, shape: PoolShape, limits: ReactorLimits) {
    super(shape, limits, () => new UringSocket());
    this.ring = ring;
    this.medium = new UringBuffers(ring, MEDIUM_GROUP, this.pool, MEDIUM, MEDIUM_ENTRIES, MEDIUM_TARGET);
    this.large = new UringBuffers(ring, LARGE_GROUP, this.pool, LARGE, LARGE_ENTRIES, LARGE_TARGET);
    this.arenaLow = this.pool.address | 0;
    this.arenaHigh = Math.floor(this.pool.address / 0x100000000);
    this.argument = mapPrivate(ARGUMENT_BYTES);
    this.argumentUsed = 0;
    this.streamBytesMax = this.knowsStreamLimit() ? STREAM_BYTES_MAX : 0;
    this.watchNodeLoop();
  }

  /** Returns the reactor, or -errno where the kernel has no io_uring as it is needed here. `operations` as for UringRing. */
  static create(
    shape: PoolShape,
    limits: ReactorLimits,
    operations: readonly number[] | null = null,
  ): UringReactor | number {
    const ring = UringRing.create(SQ_ENTRIES, CQ_ENTRIES, WAKE, CANCEL, operations);
    return typeof ring === 'number' ? ring : new UringReactor(ring, shape, limits);
  }

  connect(address: SocketAddress, handler: SocketHandler): Handle {
    const bytes = this.encode(address);
    if (bytes.length === 0) return -EINVAL;
    const fd = createStreamSocket(addressFamily(address));
    if (fd < 0) return fd;
    const socket = this.openSlot(fd, false);
    if (socket === this.nobody) {
      close(fd);
      return -ENOBUFS;
    }
    socket.handler = handler;
    const offset = this.takeArgument(SOCKADDR_BYTES_MAX);
    this.argument.bytes.set(bytes, offset);
    const index = this.prepare(IORING_OP_CONNECT, socket, CONNECT);
    const { sqes } = this.ring;
    sqes[index + 2] = bytes.length;
    sqes[index + 4] = (this.argument.low + offset) | 0;
    sqes[index + 5] = this.argument.high;
    return socket.handle;
  }

  openFile(
    root: FileHandle,
    pathOffset: number,
    pathLength: number,
    handler: FileHandler,
    tag: number,
  ): number {
    const directory = this.files.descriptor(root);
    if (directory < 0) return directory;
    const path = pathLength === 0 ? DOT_ADDRESS : this.pool.address + pathOffset;
    const fd = openBeneathCached(directory, path);
    if (fd >= 0) return this.files.admit(fd);
    if (fd !== -EAGAIN) return fd;
    const operation = this.files.begin(handler, tag, 0);
    if (operation < 0) return operation;
    // The caller's memory may hold something else by the time of the submission.
    const copy = this.takeArgument(pathLength + 1);
    const { bytes } = this.argument;
    bytes.set(this.pool.bytes.subarray(pathOffset, pathOffset + pathLength), copy);
    bytes[copy + pathLength] = 0;
    const index = this.prepareFileOperation(IORING_OP_OPENAT2, directory, operation);
    const { sqes } = this.ring;
    setAddress(sqes, index + 4, pathLength === 0 ? path : this.argument.address + copy);
    setAddress(sqes, index + 2, HOW_WAITING_ADDRESS);
    sqes[index + 6] = OPEN_HOW_BYTES;
    return PENDING;
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
    const index = this.prepareFileOperation(IORING_OP_READ, fd, operation);
    const { sqes } = this.ring;
    setAddress(sqes, index + 2, fileOffset);
    setAddress(sqes, index + 4, address);
    sqes[index + 6] = length;
    return PENDING;
  }

  turn(waitMsMax: number): boolean {
    this.nodeHasWork = false;
    this.flush();
    const waitMs = this.waitMs(waitMsMax);
    if (waitMs > 0) this.ring.wakeAt(this.nowMs + waitMs);
    this.ring.enter(waitMs > 0 ? 1 : 0);
    if (this.ring.isDrained()) this.argumentUsed = 0;
    this.updateClock();
    this.counters.turns++;
    this.deferred.deliver(this);
    this.deliverCompletions();
    this.timers.advance(this.nowMs);
    return this.nodeHasWork;
  }

  destroy(): void {
    if (this.destroying) return;
    this.destroying = true;
    for (const socket of this.sockets) {
      socket.handler = NO_HANDLER;
      if (socket.handle !== 0 && !socket.closing) this.startClose(socket);
    }
    for (let attempt = 0; attempt < DESTROY_ATTEMPTS && this.slots.used > 0; attempt++) {
      this.nowMs = Math.floor(performance.now());
      this.ring.wakeAt(this.nowMs + 1);
      this.ring.enter(1);
      this.deliverCompletions();
    }
    this.ring.cancelAll();
    this.deliverCompletions();
    this.ring.destroy();
    this.medium.destroy();
    this.large.destroy();
    this.files.destroy();
    this.pipes.destroy();
    this.argument.unmap();
    // The arena stays mapped: what the kernel ends late must find its memory.
  }

  // Flushing: from wishes to submissions.

  private flush(): void {
    const { dirty, dirtyOutgoing } = this;
    const count = this.dirtyCount;
    this.dirtyCount = 0;
    let outgoing = 0;
    // A socket that marks itself again (a file's next piece) writes below `index`, which was read already.
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
    this.medium.refill();
    this.large.refill();
  }

  private flushSocket(socket: UringSocket): void {
    if (!socket.connected || socket.closing) return;
    this.flushReceive(socket);
    this.flushSend(socket);
  }

  private flushAccept(listener: UringSocket): void {
    if (!listener.paused) {
      if (listener.armed === NOTHING) this.armAccept(listener);
    } else if (listener.armed !== NOTHING) this.disarmAccept(listener);
    else if (listener.leaving > 0 && !listener.polling) this.lookForLeft(listener);
  }

  private armAccept(listener: UringSocket): void {
    const index = this.prepare(IORING_OP_ACCEPT | (IORING_ACCEPT_MULTISHOT << 16), listener, ACCEPT);
    this.ring.sqes[index + 7] = SOCK_NONBLOCK | SOCK_CLOEXEC;
    listener.armed = STREAM;
  }

  private disarmAccept(listener: UringSocket): void {
    if (listener.cancelling) return;
    listener.cancelling = true;
    this.cancel(listener.handle, ACCEPT);
  }

  /**
   * An accept that waits in the kernel is woken exclusively, and the cancellation of one that was woken leaves the
   * connection where it is, with nobody told. So whoever stops accepting looks once more: a poll, which takes no
   * wake-up from others and is cancelled at once, tells what waited when it was submitted.
   */
  private lookForLeft(listener: UringSocket): void {
    const index = this.prepare(IORING_OP_POLL_ADD, listener, POLL);
    this.ring.sqes[index + 7] = POLLIN;
    listener.polling = true;
    this.cancel(listener.handle, POLL);
  }

  private onLooked(listener: UringSocket, result: number): void {
    listener.leaving--;
    if (result <= 0 || listener.leaving === 0) {
      listener.leaving = 0;
      this.deferred.push(ACCEPT_LEFT, listener.handle, 0, 0);
      return;
    }
    // Takes what waits now; being cancelled it may again have been told of one more, hence the next look.
    this.armAccept(listener);
    this.disarmAccept(listener);
  }

  private flushReceive(socket: UringSocket): void {
    const { armed, receiveWant } = socket;
    if (armed === receiveWant || socket.forwardTo !== null) {
      // A cancellation that is under way ends with a completion, which comes back here.
      return;
    }
    if (armed !== NOTHING) {
      // One that is armed for one buffer may deliver it, whatever comes after.
      if (!socket.cancelling && (armed === STREAM || receiveWant === NOTHING)) {
        socket.cancelling = true;
        this.cancel(socket.handle, armed === STREAM ? RECEIVE_STREAM : RECEIVE_ONCE);
      }
      return;
    }
    if (socket.starved || socket.receiveEnd !== NOT_ENDED) return;
    this.armReceive(socket, receiveWant);
  }

  private armReceive(socket: UringSocket, mode: ReceiveMode): void {
    const stream = mode === STREAM;
    const index = this.prepare(
      IORING_OP_RECV | (IOSQE_BUFFER_SELECT << 8) | (stream ? IORING_RECV_MULTISHOT << 16 : 0),
      socket,
      stream ? RECEIVE_STREAM : RECEIVE_ONCE,
    );
    this.ring.sqeHalves[(index << 1) + 20] = stream ? MEDIUM_GROUP : LARGE_GROUP;
    if (stream) this.ring.sqes[index + 11] = this.streamBytesMax;
    else this.ring.sqes[index + 6] = socket.receiveBytesMax;
    socket.armed = mode;
  }

  /** Arms starved sockets again, as many as there are buffers: each of them has bytes waiting. */
  private feedStarved(): void {
    this.medium.refill();
    this.large.refill();
    const { starved } = this;
    let medium = this.medium.available;
    let large = this.large.available;
    let kept = 0;
    for (let index = 0; index < starved.length; index++) {
      const socket = starved[index];
      const usesLarge = socket.receiveWant === ONCE;
      if (!socket.closing && socket.handle !== 0 && (usesLarge ? large : medium) <= 0) {
        starved[kept++] = socket;
        continue;
      }
      socket.starved = false;
      if (socket.closing || socket.handle === 0) continue;
      if (usesLarge) large--;
      else medium--;
      this.flushReceive(socket);
    }
    starved.length = kept;
  }

  private flushSend(socket: UringSocket): void {
    if (socket.sendingCount !== 0 || socket.polling) return;
    if (socket.sendHead === NO_SEGMENT) {
      if (socket.shutdownWanted) this.shutDown(socket);
    } else if (socket.sendFiles > 0) this.flushFiles(socket);
    else this.flushBuffers(socket);
  }

  private shutDown(socket: UringSocket): void {
    socket.shutdownWanted = false;
    if (socket.sendErrno === 0) shutdownWrite(socket.fd);
  }

  /** Sends all that is queued in one operation: a plain send of one segment, or a vector of several. */
  private flushBuffers(socket: UringSocket): void {
    const { segments } = this;
    const { sqes } = this.ring;
    const first = socket.sendHead;
    const second = segments.next(first);
    const low = this.arenaLow;
    if (second === NO_SEGMENT) {
      const index = this.prepare(IORING_OP_SEND, socket, SEND);
      sqes[index + 4] = (low + segments.offset(first)) | 0;
      sqes[index + 5] = this.arenaHigh;
      sqes[index + 6] = segments.length(first);
      sqes[index + 7] = sendFlags(socket);
      socket.sendingCount = 1;
      return;
    }
    const header = this.takeArgument(MSGHDR_BYTES + VECTORS_PER_SEND * 16);
    const { words } = this.argument;
    let count = 0;
    for (let segment = first; segment !== NO_SEGMENT && count < VECTORS_PER_SEND; count++) {
      const vector = (header + MSGHDR_BYTES + count * 16) >> 2;
      words[vector] = (low + segments.offset(segment)) | 0;
      words[vector + 1] = this.arenaHigh;
      words[vector + 2] = segments.length(segment);
      words[vector + 3] = 0;
      segment = segments.next(segment);
    }
    // struct msghdr: name u64, its length u32, vectors u64, their number u64, control u64, its length u64, flags.
    words.fill(0, header >> 2, (header + MSGHDR_BYTES) >> 2);
    words[(header >> 2) + 4] = (this.argument.low + header + MSGHDR_BYTES) | 0;
    words[(header >> 2) + 5] = this.argument.high;
    words[(header >> 2) + 6] = count;
    const index = this.prepare(IORING_OP_SENDMSG, socket, SEND);
    sqes[index + 4] = (this.argument.low + header) | 0;
    sqes[index + 5] = this.argument.high;
    sqes[index + 6] = 1;
    sqes[index + 7] = sendFlags(socket);
    socket.sendingCount = count;
  }

  /** A queue with pieces of files is written with plain system calls, which know sendfile. */
  private flushFiles(socket: UringSocket): void {
    const status = this.segments.writeNow(socket, FILE_BYTES_PER_TURN);
    if (status === BLOCKED) {
      const index = this.prepare(IORING_OP_POLL_ADD, socket, POLL);
      this.ring.sqes[index + 7] = POLLOUT;
      socket.polling = true;
    } else if (status === BUDGET_SPENT) this.markDirty(socket);
    else if (status === SOURCE_WAITS) this.watchSource(socket.forwardFrom as UringSocket);
    else if (socket.shutdownWanted) this.shutDown(socket);
  }

  private watchSource(source: UringSocket): void {
    if (source.watched) return;
    const index = this.prepare(IORING_OP_POLL_ADD, source, WATCH);
    this.ring.sqes[index + 7] = POLLIN;
    source.watched = true;
  }

  // Delivery: completions to handlers.

  private deliverCompletions(): void {
    const { ring } = this;
    const { words, cqes, cqMask } = ring;
    let position = ring.completionsBegin();
    const end = ring.completionsAvailable();
    while (position !== end) {
      const entry = cqes + ((position & cqMask) << 2);
      const handle = words[entry];
      const kind = words[entry + 1];
      const result = words[entry + 2];
      const flags = words[entry + 3];
      position = (position + 1) | 0;
      this.onCompletion(handle, kind, result, flags);
    }
    ring.completionsEnd(position);
  }

  private onCompletion(handle: number, kind: number, result: number, flags: number): void {
    if (kind >= CANCEL) {
      this.onOther(handle, kind, result, flags);
      return;
    }
    const socket = this.sockets[handle & SLOT_MASK];
    assert(socket.handle === handle, 'a completion for a socket that is gone');
    switch (kind) {
      case RECEIVE_STREAM:
        this.onReceived(socket, this.medium, result, flags);
        break;
      case SEND:
        this.onSent(socket, result);
        break;
      case RECEIVE_ONCE:
        this.onReceived(socket, this.large, result, flags);
        break;
      case ACCEPT:
        this.onAccepted(socket, result, flags);
        break;
      case CONNECT:
        this.onConnected(socket, result);
        break;
      case CLOSE:
        socket.inFlight--;
        socket.fd = -1;
        this.freeWhenQuiet(socket);
        break;
      case POLL:
        socket.inFlight--;
        socket.polling = false;
        if (socket.closing) this.freeWhenQuiet(socket);
        else if (socket.isListener) this.onLooked(socket, result);
        else this.markDirty(socket);
        break;
      case WATCH:
        socket.inFlight--;
        socket.watched = false;
        if (socket.closing) this.freeWhenQuiet(socket);
        else if (socket.forwardTo !== null) this.markDirty(socket.forwardTo as UringSocket);
        break;
      default:
        assert(false, 'a completion of an unknown kind');
    }
  }

  private onReceived(socket: UringSocket, buffers: UringBuffers, result: number, flags: number): void {
    const last = (flags & IORING_CQE_F_MORE) === 0;
    if (last) {
      socket.inFlight--;
      socket.armed = NOTHING;
      socket.cancelling = false;
    }
    if ((flags & IORING_CQE_F_BUFFER) !== 0) {
      const buffer = buffers.take(flags >>> IORING_CQE_BUFFER_SHIFT);
      if (result > 0 && !socket.closing) {
        this.counters.bytesReceived += result;
        // One buffer was asked for, and this is it, even when the stream before it delivered it.
        if (socket.receiveWant === ONCE) socket.receiveWant = NOTHING;
        socket.handler.onReceive(
          socket.handle,
          buffer,
          this.pool.offsetOf(buffer) + buffers.headRoom,
          result,
        );
      } else this.pool.release(buffer);
    }
    if (!last) return;
    if (socket.closing) this.freeWhenQuiet(socket);
    else if (isPassing(result) || this.tookRecord(socket, result)) {
      if (!socket.closing && socket.receiveWant !== NOTHING) this.markDirty(socket);
    } else if (result === -ENOBUFS) this.starve(socket, buffers);
    else this.receiveEnded(socket, result);
  }

  private starve(socket: UringSocket, buffers: UringBuffers): void {
    this.counters.bufferStarvations++;
    buffers.grow();
    if (socket.receiveWant === NOTHING || socket.starved) return;
    socket.starved = true;
    this.starved.push(socket);
  }

  private onSent(socket: UringSocket, result: number): void {
    socket.inFlight--;
    const count = socket.sendingCount;
    socket.sendingCount = 0;
    if (socket.closing) {
      if (count > 0) this.segments.drop(socket, 0);
      this.freeWhenQuiet(socket);
      return;
    }
    if (result >= 0) this.segments.consume(socket, result);
    else if (result !== -EAGAIN && result !== -EINTR) this.segments.fail(socket, result);
    if (socket.sendHead !== NO_SEGMENT || socket.shutdownWanted) {
      if (!socket.closing) this.markDirty(socket);
    }
  }

  private onAccepted(listener: UringSocket, result: number, flags: number): void {
    if ((flags & IORING_CQE_F_MORE) === 0) {
      listener.inFlight--;
      listener.armed = NOTHING;
      listener.cancelling = false;
      if (!listener.closing && (!listener.paused || listener.leaving > 0)) this.markDirty(listener);
    }
    if (result >= 0) this.admit(listener, result);
    else if (result !== -ECANCELED && !listener.closing) this.acceptFailed(listener, result);
    if (listener.closing) this.freeWhenQuiet(listener);
  }

  protected override onAdmitted(): void {
    // Nothing is armed before its owner wants to receive.
  }

  private onConnected(socket: UringSocket, result: number): void {
    socket.inFlight--;
    if (socket.closing) {
      this.freeWhenQuiet(socket);
      return;
    }
    this.connectEnded(socket, result);
  }

  private onOther(operation: number, kind: number, result: number, flags: number): void {
    if (kind === NODE_LOOP) this.onNodeLoop(flags);
    else if (kind === WAKE) this.ring.onWake();
    else if (kind === FILE_OPERATION) {
      if (this.destroying) this.files.abandon(operation, result);
      else this.files.finish(operation, result);
    }
  }

  private onNodeLoop(flags: number): void {
    this.nodeHasWork = true;
    if ((flags & IORING_CQE_F_MORE) === 0) this.watchNodeLoop();
  }

  protected override receiveIsArmed(socket: UringSocket): boolean {
    return socket.armed !== NOTHING;
  }

  // Slots, from open to free.

  /** Cancels what is in flight and closes the descriptor; `onClose` follows when all has ended. */
  protected override startClose(socket: UringSocket): void {
    const { handle } = socket;
    socket.liveHandle = 0;
    socket.closing = true;
    this.leaveForward(socket);
    this.segments.drop(socket, socket.sendingCount);
    if (socket.isListener) {
      if (socket.armed !== NOTHING) this.cancel(handle, ACCEPT);
      if (socket.polling) this.cancel(handle, POLL);
    } else {
      if (!socket.connected && socket.inFlight > 0) this.cancel(handle, CONNECT);
      if (socket.armed !== NOTHING) {
        this.cancel(handle, socket.armed === STREAM ? RECEIVE_STREAM : RECEIVE_ONCE);
      }
      if (socket.sendingCount > 0) this.cancel(handle, SEND);
      if (socket.polling) this.cancel(handle, POLL);
      if (socket.watched) this.cancel(handle, WATCH);
    }
    this.prepare(IORING_OP_CLOSE, socket, CLOSE);
  }

  private freeWhenQuiet(socket: UringSocket): void {
    if (socket.inFlight > 0) return;
    assert(socket.closing && socket.fd === -1, 'a socket fell quiet without having been closed');
    this.free(socket);
  }

  // Submissions.

  /** An entry for a socket, which counts as in flight. `head` is the entry's word 0. */
  private prepare(head: number, socket: UringSocket, kind: number): number {
    const { ring } = this;
    const index = ring.nextSqe();
    const { sqes } = ring;
    sqes[index] = head;
    sqes[index + 1] = socket.fd;
    sqes[index + 8] = socket.handle;
    sqes[index + 9] = kind;
    socket.inFlight++;
    return index;
  }

  private prepareFileOperation(opcode: number, fd: number, operation: number): number {
    const index = this.ring.nextSqe();
    const { sqes } = this.ring;
    sqes[index] = opcode;
    sqes[index + 1] = fd;
    sqes[index + 8] = operation;
    sqes[index + 9] = FILE_OPERATION;
    return index;
  }

  /** Asks for the end of an operation in flight, whose last completion follows in any case. */
  private cancel(handle: Handle, kind: number): void {
    const index = this.ring.nextSqe();
    const { sqes } = this.ring;
    sqes[index] = IORING_OP_ASYNC_CANCEL | (IOSQE_CQE_SKIP_SUCCESS << 8);
    sqes[index + 1] = -1;
    sqes[index + 4] = handle;
    sqes[index + 5] = kind;
    sqes[index + 8] = handle;
    sqes[index + 9] = CANCEL;
  }

  /** Whether the kernel takes a receive with STREAM_BYTES_MAX: one that doesn't refuses it at once. */
  private knowsStreamLimit(): boolean {
    const pair = createSocketPair();
    assert(pair !== undefined, 'cannot create a pair of sockets');
    const { ring } = this;
    const index = ring.nextSqe();
    ring.sqes[index] = IORING_OP_RECV | (IOSQE_BUFFER_SELECT << 8) | (IORING_RECV_MULTISHOT << 16);
    ring.sqes[index + 1] = pair[0];
    ring.sqes[index + 8] = 0;
    ring.sqes[index + 9] = CANCEL;
    ring.sqes[index + 11] = STREAM_BYTES_MAX;
    ring.sqeHalves[(index << 1) + 20] = MEDIUM_GROUP;
    // Without a buffer it would be refused for that.
    this.medium.refill();
    ring.enter(0);
    const refused = ring.completionsAvailable() !== ring.completionsBegin();
    // What waits for bytes ends with the pair; the kind CANCEL is ignored.
    close(pair[0]);
    close(pair[1]);
    ring.enter(0);
    ring.completionsEnd(ring.completionsAvailable());
    return !refused;
  }

  private watchNodeLoop(): void {
    const index = this.ring.nextSqe();
    const { sqes } = this.ring;
    sqes[index] = IORING_OP_POLL_ADD;
    sqes[index + 1] = nodeLoopDescriptor();
    sqes[index + 6] = IORING_POLL_ADD_MULTI;
    sqes[index + 7] = POLLIN;
    sqes[index + 8] = 0;
    sqes[index + 9] = NODE_LOOP;
  }

  /** Offset of argument memory that lasts until the next submission. */
  private takeArgument(bytes: number): number {
    const length = (bytes + 15) & ~15;
    if (this.argumentUsed + length > ARGUMENT_BYTES) {
      this.ring.submit();
      this.argumentUsed = 0;
    }
    const offset = this.argumentUsed;
    this.argumentUsed = offset + length;
    return offset;
  }
}

/** What a receive ended with is no end of receiving. */
function isPassing(result: number): boolean {
  return result > 0 || result === -ECANCELED || result === -EINTR || result === -EAGAIN;
}

/** All of it in one completion; kernel TLS knows no MSG_WAITALL, and what it leaves over is sent again. */
function sendFlags(socket: UringSocket): number {
  return socket.kernelSeals ? MSG_NOSIGNAL : MSG_NOSIGNAL | MSG_WAITALL;
}

function setAddress(words: Int32Array, index: number, value: number): void {
  words[index] = value | 0;
  words[index + 1] = Math.floor(value / 0x100000000);
}
