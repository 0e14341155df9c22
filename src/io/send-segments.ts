/**
 * The queues of what sockets are to send: segments of buffers and of files, in pooled records that are
 * linked per socket, so that queueing allocates nothing.
 *
 * A segment owns one reference of its buffer until it has left or failed. Bounded: `segmentsMax` records
 * for all sockets together; a socket that finds none fails with -ENOBUFS.
 *
 * `writeNow` sends with plain system calls on a non-blocking socket: all that the epoll backend does, and
 * what the io_uring backend does for files and for what another socket receives.
 */

import { assert } from '../base/assert.ts';
import { EAGAIN, EINTR, EIO, ENOBUFS } from '../sys/errno.ts';
import { sendFromFile } from '../sys/file.ts';
import { sendRecord } from '../sys/kernel-tls.ts';
import { negated, send, sendmsg } from '../sys/libc.ts';
import { type MappedMemory, mapPrivate } from '../sys/memory.ts';
import { MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL } from '../sys/socket.ts';
import { emptyPipe, fillPipe } from '../sys/splice.ts';
import { type BufferId, type BufferPool, NO_BUFFER } from './buffer-pool.ts';
import { type DeferredEvents, SEND_RESULT } from './deferred-events.ts';
import type { OpenFiles } from './open-files.ts';
import type { Pipes } from './pipes.ts';
import type { FileHandle, ReactorCounters } from './reactor.ts';
import { NO_SEGMENT, type SocketSlot } from './socket-slot.ts';

// A record is eight words.
const BUFFER = 0; // BufferId, or NO_BUFFER for a piece of a file and for what another socket receives
const OFFSET = 1; // arena offset of what is left
const LEFT = 2; // bytes left
const TOTAL = 3; // bytes at the start
const TAG = 4;
const NEXT = 5;
const FILE = 6; // FileHandle, or FORWARDED
const RECORD = 7; // type of a record that kernel TLS is to send; 0 for content
const RECORD_SHIFT = 3;

/** In place of a file: what another socket is to receive, of which the socket itself knows the rest. */
const FORWARDED = -1;
/** `writeForwarded`: the source has nothing at present. Not an errno. */
const SOURCE_EMPTY = -0x10000;

/** iovec entries of one sendmsg(2), behind the msghdr in the argument page. */
const VECTORS_MAX = 64;
const MSGHDR = 0;
const VECTORS = 64;

/** What `writeNow` returns. */
export const QUEUE_EMPTY = 0;
export const BLOCKED = 1;
export const BUDGET_SPENT = 2;
export const FAILED = 3;
/** The socket that the next bytes come from has none at present. */
export const SOURCE_WAITS = 4;
export type WriteStatus =
  | typeof QUEUE_EMPTY
  | typeof BLOCKED
  | typeof BUDGET_SPENT
  | typeof FAILED
  | typeof SOURCE_WAITS;

export class SendSegments {
  private readonly pool: BufferPool;
  private readonly files: OpenFiles;
  private readonly pipes: Pipes;
  private readonly deferred: DeferredEvents;
  private readonly counters: ReactorCounters;
  private readonly records: Int32Array;
  /** Of a file's segment: offset in the file, bytes left, bytes at the start. */
  private readonly filePieces: Float64Array;
  private readonly segmentsMax: number;
  private freeHead: number;
  private touched: number;
  private readonly argument: MappedMemory;

  constructor(
    pool: BufferPool,
    files: OpenFiles,
    pipes: Pipes,
    deferred: DeferredEvents,
    counters: ReactorCounters,
    segmentsMax: number,
  ) {
    this.pool = pool;
    this.files = files;
    this.pipes = pipes;
    this.deferred = deferred;
    this.counters = counters;
    this.segmentsMax = segmentsMax;
    this.records = new Int32Array(segmentsMax << RECORD_SHIFT);
    this.filePieces = new Float64Array(segmentsMax * 3);
    this.freeHead = NO_SEGMENT;
    this.touched = 0;
    this.argument = mapPrivate(4096);
    const words = this.argument.words;
    // struct msghdr: name u64, its length u32, vectors u64, their number u64, control u64, its length u64, flags.
    words[(MSGHDR >> 2) + 4] = (this.argument.low + VECTORS) | 0;
    words[(MSGHDR >> 2) + 5] = this.argument.high;
  }

  /** Queues bytes of a buffer; the reference is the queue's, released at once when the socket can't send. */
  append(socket: SocketSlot, buffer: BufferId, offset: number, length: number, tag: number): boolean {
    assert(buffer !== NO_BUFFER, 'a segment without a buffer');
    const segment = socket.sendErrno === 0 ? this.take() : NO_SEGMENT;
    if (segment === NO_SEGMENT) {
      this.pool.release(buffer);
      this.refuse(socket, tag);
      return false;
    }
    const records = this.records;
    const record = segment << RECORD_SHIFT;
    records[record + BUFFER] = buffer;
    records[record + OFFSET] = offset;
    records[record + LEFT] = length;
    records[record + TOTAL] = length;
    records[record + TAG] = tag;
    records[record + NEXT] = NO_SEGMENT;
    records[record + RECORD] = 0;
    this.link(socket, segment);
    socket.sendQueuedBytes += length;
    return true;
  }

  /** As `append`, for the whole content of one record of the given type: kernel TLS only. */
  appendRecord(
    socket: SocketSlot,
    type: number,
    buffer: BufferId,
    offset: number,
    length: number,
    tag: number,
  ): boolean {
    if (!this.append(socket, buffer, offset, length, tag)) return false;
    this.records[(socket.sendTail << RECORD_SHIFT) + RECORD] = type;
    socket.sendFiles++;
    return true;
  }

  appendFile(socket: SocketSlot, file: FileHandle, fileOffset: number, length: number, tag: number): boolean {
    const segment = this.appendUnbuffered(socket, file, tag);
    if (segment === NO_SEGMENT) return false;
    this.filePieces[segment * 3] = fileOffset;
    this.filePieces[segment * 3 + 1] = length;
    this.filePieces[segment * 3 + 2] = length;
    socket.sendQueuedBytes += length;
    return true;
  }

  /** Queues `length` bytes that `source` is still to receive. A pipe must be free, and neither may forward already. */
  appendForwarded(socket: SocketSlot, source: SocketSlot, length: number, tag: number): boolean {
    if (this.appendUnbuffered(socket, FORWARDED, tag) === NO_SEGMENT) return false;
    source.forwardTo = socket;
    socket.forwardFrom = source;
    socket.pipe = this.pipes.take();
    socket.pipeBytes = 0;
    socket.forwardLeft = length;
    socket.forwardTotal = length;
    return true;
  }

  /** A segment of bytes that are in no buffer: of a file, or FORWARDED. NO_SEGMENT where the socket can't send. */
  private appendUnbuffered(socket: SocketSlot, file: number, tag: number): number {
    const segment = socket.sendErrno === 0 ? this.take() : NO_SEGMENT;
    if (segment === NO_SEGMENT) {
      this.refuse(socket, tag);
      return NO_SEGMENT;
    }
    const record = segment << RECORD_SHIFT;
    this.records[record + BUFFER] = NO_BUFFER;
    this.records[record + FILE] = file;
    this.records[record + TAG] = tag;
    this.records[record + NEXT] = NO_SEGMENT;
    this.records[record + RECORD] = 0;
    this.link(socket, segment);
    socket.sendFiles++;
    return segment;
  }

  next(segment: number): number {
    return this.records[(segment << RECORD_SHIFT) + NEXT];
  }

  /** Arena offset and length of what is left of a buffer's segment. */
  offset(segment: number): number {
    return this.records[(segment << RECORD_SHIFT) + OFFSET];
  }

  length(segment: number): number {
    return this.records[(segment << RECORD_SHIFT) + LEFT];
  }

  isFile(segment: number): boolean {
    return this.records[(segment << RECORD_SHIFT) + BUFFER] === NO_BUFFER;
  }

  private isForwarded(segment: number): boolean {
    return this.isFile(segment) && this.records[(segment << RECORD_SHIFT) + FILE] === FORWARDED;
  }

  private isRecord(segment: number): boolean {
    return this.records[(segment << RECORD_SHIFT) + RECORD] !== 0;
  }

  /**
   * Takes `sent` bytes off the queue's front and releases what has left wholly, `onSend` included. The
   * socket may be closed by its owner meanwhile.
   */
  consume(socket: SocketSlot, sent: number): void {
    const { records, pool } = this;
    let left = sent;
    socket.sendQueuedBytes -= sent;
    this.counters.bytesSent += sent;
    while (socket.sendHead !== NO_SEGMENT) {
      const segment = socket.sendHead;
      const record = segment << RECORD_SHIFT;
      const length = records[record + LEFT];
      if (left < length || records[record + BUFFER] === NO_BUFFER) {
        if (left === 0) return;
        assert(left < length, 'more was sent than queued');
        records[record + OFFSET] += left;
        records[record + LEFT] = length - left;
        return;
      }
      left -= length;
      this.unlinkHead(socket, segment, record);
      pool.release(records[record + BUFFER]);
      const tag = records[record + TAG];
      if (tag !== 0) socket.handler.onSend(socket.handle, tag, records[record + TOTAL]);
    }
  }

  /** Sending has failed for good: releases all segments and defers the failure of each that has a tag. */
  fail(socket: SocketSlot, errno: number): void {
    socket.sendErrno = errno;
    while (socket.sendHead !== NO_SEGMENT) {
      const tag = this.records[(socket.sendHead << RECORD_SHIFT) + TAG];
      if (tag !== 0) this.deferred.push(SEND_RESULT, socket.handle, tag, errno);
      this.dropHead(socket);
    }
    socket.sendQueuedBytes = 0;
  }

  /** Drops the queue but for its first `keep` segments, which the kernel still reads. */
  drop(socket: SocketSlot, keep: number): void {
    if (keep === 0) {
      while (socket.sendHead !== NO_SEGMENT) this.dropHead(socket);
      socket.sendQueuedBytes = 0;
      return;
    }
    const head = socket.sendHead;
    let last = head;
    for (let count = 1; count < keep; count++) last = this.next(last);
    const rest = this.next(last);
    this.records[(last << RECORD_SHIFT) + NEXT] = NO_SEGMENT;
    socket.sendHead = rest;
    while (socket.sendHead !== NO_SEGMENT) this.dropHead(socket);
    socket.sendHead = head;
    socket.sendTail = last;
    socket.sendQueuedBytes = 0;
  }

  /**
   * Sends what the kernel takes without waiting, at most about `budget` bytes. Results with a tag are
   * deferred to the turn's delivery.
   */
  writeNow(socket: SocketSlot, budget: number): WriteStatus {
    let left = budget;
    while (socket.sendHead !== NO_SEGMENT) {
      if (left <= 0) return BUDGET_SPENT;
      const isRecord = this.isRecord(socket.sendHead);
      const result = isRecord
        ? this.writeRecord(socket, socket.sendHead)
        : this.isForwarded(socket.sendHead)
          ? this.writeForwarded(socket, socket.sendHead)
          : this.isFile(socket.sendHead)
            ? this.writeFile(socket, socket.sendHead, left)
            : this.writeBuffers(socket);
      if (result === -EINTR) continue;
      if (result === SOURCE_EMPTY) return SOURCE_WAITS;
      if (result === -EAGAIN) return BLOCKED;
      if (result < 0) {
        this.fail(socket, result);
        return FAILED;
      }
      // What follows a record waits until its owner has heard that it left.
      if (isRecord) return BUDGET_SPENT;
      left -= result;
    }
    return QUEUE_EMPTY;
  }

  /** Sends the buffers at the front. Returns bytes or -errno; -EAGAIN also after a part of them went. */
  private writeBuffers(socket: SocketSlot): number {
    const { records, argument, pool } = this;
    const words = argument.words;
    const low = pool.address | 0;
    const high = Math.floor(pool.address / 0x100000000);
    let count = 0;
    let bytes = 0;
    let segment = socket.sendHead;
    while (segment !== NO_SEGMENT && count < VECTORS_MAX) {
      const record = segment << RECORD_SHIFT;
      if (records[record + BUFFER] === NO_BUFFER || records[record + RECORD] !== 0) break;
      const vector = (VECTORS + count * 16) >> 2;
      words[vector] = (low + records[record + OFFSET]) | 0;
      words[vector + 1] = high;
      words[vector + 2] = records[record + LEFT];
      words[vector + 3] = 0;
      bytes += records[record + LEFT];
      segment = records[record + NEXT];
      count++;
    }
    const goesOn = segment !== NO_SEGMENT && !this.isRecord(segment);
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL | (goesOn ? MSG_MORE : 0);
    let result: number;
    if (count === 1) {
      result = send(socket.fd, pool.address + this.offset(socket.sendHead), bytes, flags);
    } else {
      words[(MSGHDR >> 2) + 6] = count;
      result = sendmsg(socket.fd, argument.address + MSGHDR, flags);
    }
    if (result < 0) return negated(result);
    this.defer(socket, result);
    return result < bytes ? -EAGAIN : result;
  }

  /** Sends the record at the front. Returns bytes or -errno. */
  private writeRecord(socket: SocketSlot, segment: number): number {
    const type = this.records[(segment << RECORD_SHIFT) + RECORD];
    const length = this.length(segment);
    const result = sendRecord(socket.fd, type, this.pool.address + this.offset(segment), length);
    if (result < 0) return result;
    // The rest of it would be a record of its own.
    if (result < length) return -EIO;
    socket.sendFiles--;
    this.defer(socket, result);
    return result;
  }

  /** Like `consume`, with the events deferred. */
  private defer(socket: SocketSlot, sent: number): void {
    const { records, pool } = this;
    let left = sent;
    socket.sendQueuedBytes -= sent;
    this.counters.bytesSent += sent;
    while (socket.sendHead !== NO_SEGMENT) {
      const segment = socket.sendHead;
      const record = segment << RECORD_SHIFT;
      const length = records[record + LEFT];
      if (left < length || records[record + BUFFER] === NO_BUFFER) {
        if (left === 0) return;
        records[record + OFFSET] += left;
        records[record + LEFT] = length - left;
        return;
      }
      left -= length;
      this.unlinkHead(socket, segment, record);
      pool.release(records[record + BUFFER]);
      const tag = records[record + TAG];
      if (tag !== 0) this.deferred.push(SEND_RESULT, socket.handle, tag, records[record + TOTAL]);
    }
  }

  /** Sends of the file at the front. Returns bytes, 0 when the segment was empty or the file has ended early, or -errno. */
  private writeFile(socket: SocketSlot, segment: number, budget: number): number {
    const { filePieces } = this;
    const piece = segment * 3;
    const wanted = filePieces[piece + 1];
    const descriptor = this.files.descriptor(this.records[(segment << RECORD_SHIFT) + FILE]);
    if (descriptor < 0) return descriptor;
    const result =
      wanted === 0 ? 0 : sendFromFile(socket.fd, descriptor, filePieces[piece], Math.min(wanted, budget));
    if (result < 0) return result;
    filePieces[piece] += result;
    filePieces[piece + 1] -= result;
    socket.sendQueuedBytes -= result;
    this.counters.bytesSent += result;
    if (result > 0 && result < wanted) return result;
    // All of it has left, or the file has ended.
    const missing = filePieces[piece + 1];
    const record = segment << RECORD_SHIFT;
    socket.sendQueuedBytes -= missing;
    this.unlinkHead(socket, segment, record);
    socket.sendFiles--;
    this.deferred.push(
      SEND_RESULT,
      socket.handle,
      this.records[record + TAG],
      filePieces[piece + 2] - missing,
    );
    return result;
  }

  /**
   * Moves bytes from the source to the socket: a pipe's worth at most. Returns bytes, 0 when the segment has ended
   * (all has left, or the source has ended, failed or was closed), SOURCE_EMPTY, or -errno of the socket itself.
   */
  private writeForwarded(socket: SocketSlot, segment: number): number {
    const { pipe, forwardFrom } = socket;
    assert(pipe !== null, 'bytes are forwarded without a pipe');
    if (socket.pipeBytes === 0) {
      const wanted = forwardFrom === null ? 0 : Math.min(socket.forwardLeft, pipe.capacity);
      const filled = forwardFrom === null || wanted === 0 ? 0 : fillPipe(pipe, forwardFrom.fd, wanted);
      if (filled === -EAGAIN) return SOURCE_EMPTY;
      if (filled === -EINTR) return filled;
      if (filled <= 0) {
        this.endForwarded(socket, segment);
        return 0;
      }
      this.counters.bytesReceived += filled;
      socket.forwardLeft -= filled;
      socket.pipeBytes = filled;
      socket.sendQueuedBytes += filled;
    }
    const result = emptyPipe(pipe, socket.fd, socket.pipeBytes);
    if (result <= 0) return result === 0 ? -EIO : result;
    this.counters.bytesSent += result;
    socket.pipeBytes -= result;
    socket.sendQueuedBytes -= result;
    if (socket.pipeBytes === 0 && socket.forwardLeft === 0) this.endForwarded(socket, segment);
    return result;
  }

  private endForwarded(socket: SocketSlot, segment: number): void {
    const record = segment << RECORD_SHIFT;
    const moved = socket.forwardTotal - socket.forwardLeft;
    this.unlinkHead(socket, segment, record);
    socket.sendFiles--;
    this.pipes.release(socket);
    this.deferred.push(SEND_RESULT, socket.handle, this.records[record + TAG], moved);
  }

  private refuse(socket: SocketSlot, tag: number): void {
    if (socket.sendErrno === 0) this.fail(socket, -ENOBUFS);
    if (tag !== 0) this.deferred.push(SEND_RESULT, socket.handle, tag, socket.sendErrno);
  }

  private dropHead(socket: SocketSlot): void {
    const segment = socket.sendHead;
    const record = segment << RECORD_SHIFT;
    const buffer = this.records[record + BUFFER];
    if (this.isForwarded(segment)) this.pipes.release(socket);
    this.unlinkHead(socket, segment, record);
    if (buffer === NO_BUFFER || this.isRecord(segment)) socket.sendFiles--;
    if (buffer !== NO_BUFFER) this.pool.release(buffer);
  }

  private link(socket: SocketSlot, segment: number): void {
    if (socket.sendTail === NO_SEGMENT) socket.sendHead = segment;
    else this.records[(socket.sendTail << RECORD_SHIFT) + NEXT] = segment;
    socket.sendTail = segment;
  }

  private unlinkHead(socket: SocketSlot, segment: number, record: number): void {
    const next = this.records[record + NEXT];
    socket.sendHead = next;
    if (next === NO_SEGMENT) socket.sendTail = NO_SEGMENT;
    // The record stays readable until the next `take`.
    this.records[record + NEXT] = this.freeHead;
    this.freeHead = segment;
  }

  private take(): number {
    const segment = this.freeHead;
    if (segment !== NO_SEGMENT) {
      this.freeHead = this.records[(segment << RECORD_SHIFT) + NEXT];
      return segment;
    }
    return this.touched < this.segmentsMax ? this.touched++ : NO_SEGMENT;
  }
}
