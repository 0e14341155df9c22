/**
 * One io_uring: its mapped queues, submission entries and completions; it knows nothing of sockets.
 *
 * Owns the ring's descriptor and mappings. The caller fills an entry right after `nextSqe` (no other call
 * in between), and reads completions between `completionsBegin` and `completionsEnd`. What an entry points
 * at must stay until the next `enter` (the kernel has then copied it: IORING_FEAT_SUBMIT_STABLE), but for
 * the data buffers themselves, which stay until the completion.
 *
 * Deferred task work (IORING_SETUP_DEFER_TASKRUN) means that completions appear only inside `enter`, so
 * that one thread does everything without a lock.
 */

import { assert } from '../base/assert.ts';
import { measureMonotonicOffset, writeTimespec } from '../sys/clock.ts';
import { EAGAIN, EBUSY, EINTR, EINVAL } from '../sys/errno.ts';
import {
  IORING_ASYNC_CANCEL_ALL,
  IORING_ASYNC_CANCEL_ANY,
  IORING_ENTER_GETEVENTS,
  IORING_ENTER_REGISTERED_RING,
  IORING_FEAT_CQE_SKIP,
  IORING_FEAT_FAST_POLL,
  IORING_FEAT_NODROP,
  IORING_FEAT_SINGLE_MMAP,
  IORING_FEAT_SUBMIT_STABLE,
  IORING_OFF_SQ_RING,
  IORING_OFF_SQES,
  IORING_OP_ASYNC_CANCEL,
  IORING_OP_TIMEOUT,
  IORING_OP_TIMEOUT_REMOVE,
  IORING_REGISTER_RING_FDS,
  IORING_SETUP_CQSIZE,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_NO_SQARRAY,
  IORING_SETUP_R_DISABLED,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SUBMIT_ALL,
  IORING_TIMEOUT_ABS,
  IORING_TIMEOUT_UPDATE,
  IORING_UNREGISTER_RING_FDS,
  IOSQE_CQE_SKIP_SUCCESS,
  PARAMS_BYTES,
  PARAMS_CQ_CQES,
  PARAMS_CQ_ENTRIES,
  PARAMS_CQ_HEAD,
  PARAMS_CQ_TAIL,
  PARAMS_FEATURES,
  PARAMS_FLAGS,
  PARAMS_SQ_ARRAY,
  PARAMS_SQ_ENTRIES,
  PARAMS_SQ_HEAD,
  PARAMS_SQ_TAIL,
  SYS_io_uring_enter,
  SYS_io_uring_register,
  SYS_io_uring_setup,
} from '../sys/io-uring.ts';
import { close, io_uring_enter, io_uring_register, io_uring_setup, negated } from '../sys/libc.ts';
import { type MappedMemory, mapPrivate, mapShared } from '../sys/memory.ts';
import { restrictRing } from './uring-restrictions.ts';

const NEEDED_FEATURES =
  IORING_FEAT_SINGLE_MMAP |
  IORING_FEAT_NODROP |
  IORING_FEAT_SUBMIT_STABLE |
  IORING_FEAT_FAST_POLL |
  IORING_FEAT_CQE_SKIP;

// The argument page: a timespec, and what registrations need.
const TIMESPEC = 32;
const REGISTER = 64;
const PARAMS = 128;
const ARGUMENT_BYTES = 4096;

export class UringRing {
  /** Submission entries as words; an entry starts at the index that `nextSqe` returns. */
  readonly sqes: Int32Array;
  /** The 16-bit view of the same, for buffer groups (word 10 of an entry is half-words 20 and 21). */
  readonly sqeHalves: Uint16Array;
  /** Both queues' heads and tails, and the completion entries (from word `cqes` on). */
  readonly words: Int32Array;
  readonly cqes: number;
  readonly cqMask: number;
  /** Times the kernel was entered. For measurements. */
  enters: number;
  private fd: number;
  /** What `enter` names the ring by: its registered index, or the descriptor. */
  private readonly enterFd: number;
  private readonly enterFlags: number;
  private readonly queues: MappedMemory;
  private readonly entries: MappedMemory;
  private readonly argument: MappedMemory;
  private readonly sqHead: number;
  private readonly sqTail: number;
  private readonly sqMask: number;
  private readonly sqEntries: number;
  private readonly cqHead: number;
  private readonly cqTail: number;
  /** Entries handed out, and entries that the kernel has taken; both wrap as 32-bit integers. */
  private tail: number;
  private submitted: number;
  /** When the armed timeout fires, on the clock of performance.now; infinite when none is armed. */
  private wakeMs: number;
  private readonly monotonicOffsetMs: number;
  private readonly wakeKind: number;
  private readonly ignoredKind: number;

  private constructor(
    fd: number,
    params: DataView,
    queues: MappedMemory,
    entries: MappedMemory,
    argument: MappedMemory,
    wakeKind: number,
    ignoredKind: number,
  ) {
    this.fd = fd;
    this.queues = queues;
    this.entries = entries;
    this.argument = argument;
    this.sqes = entries.words;
    this.sqeHalves = new Uint16Array(entries.buffer);
    this.words = queues.words;
    this.sqHead = params.getUint32(PARAMS_SQ_HEAD, true) >> 2;
    this.sqTail = params.getUint32(PARAMS_SQ_TAIL, true) >> 2;
    this.sqEntries = params.getUint32(PARAMS_SQ_ENTRIES, true);
    this.sqMask = this.sqEntries - 1;
    this.cqHead = params.getUint32(PARAMS_CQ_HEAD, true) >> 2;
    this.cqTail = params.getUint32(PARAMS_CQ_TAIL, true) >> 2;
    this.cqMask = params.getUint32(PARAMS_CQ_ENTRIES, true) - 1;
    this.cqes = params.getUint32(PARAMS_CQ_CQES, true) >> 2;
    this.tail = this.words[this.sqTail];
    this.submitted = this.words[this.sqHead];
    this.enters = 0;
    if ((params.getUint32(PARAMS_FLAGS, true) & IORING_SETUP_NO_SQARRAY) === 0) {
      const array = params.getUint32(PARAMS_SQ_ARRAY, true) >> 2;
      for (let index = 0; index < this.sqEntries; index++) this.words[array + index] = index;
    }
    const registered = this.registerRingDescriptor();
    this.enterFd = registered >= 0 ? registered : fd;
    this.enterFlags = registered >= 0 ? IORING_ENTER_REGISTERED_RING : 0;
    this.monotonicOffsetMs = measureMonotonicOffset();
    this.wakeMs = Number.POSITIVE_INFINITY;
    this.wakeKind = wakeKind;
    this.ignoredKind = ignoredKind;
  }

  /**
   * Creates a ring with room for `sqEntries` submissions and `cqEntries` completions, powers of two. The
   * completions of its own operations bear these kinds in word 1 of user_data: the timeout of `wakeAt`, and
   * what is to be ignored.
   * With `operations` the ring takes these, and what the ring itself needs, and nothing else for good.
   * Returns the ring, or -errno: EPERM or ENOSYS where io_uring is forbidden or missing, EINVAL where the
   * kernel is too old (before 6.1).
   */
  static create(
    sqEntries: number,
    cqEntries: number,
    wakeKind: number,
    ignoredKind: number,
    operations: readonly number[] | null = null,
  ): UringRing | number {
    const argument = mapPrivate(ARGUMENT_BYTES);
    const flags =
      IORING_SETUP_CQSIZE |
      IORING_SETUP_SUBMIT_ALL |
      IORING_SETUP_SINGLE_ISSUER |
      IORING_SETUP_DEFER_TASKRUN |
      (operations === null ? 0 : IORING_SETUP_R_DISABLED);
    let fd = setUp(argument, sqEntries, cqEntries, flags | IORING_SETUP_NO_SQARRAY);
    if (fd === -EINVAL) fd = setUp(argument, sqEntries, cqEntries, flags);
    if (fd < 0) {
      argument.unmap();
      return fd;
    }
    const restricted = operations === null ? 0 : restrictRing(fd, operations);
    if (restricted < 0) {
      argument.unmap();
      close(fd);
      return restricted;
    }
    const params = new DataView(argument.buffer, PARAMS, PARAMS_BYTES);
    const ringBytes = Math.max(
      params.getUint32(PARAMS_CQ_CQES, true) + params.getUint32(PARAMS_CQ_ENTRIES, true) * 16,
      params.getUint32(PARAMS_SQ_ARRAY, true) + params.getUint32(PARAMS_SQ_ENTRIES, true) * 4,
    );
    const missing = ~params.getUint32(PARAMS_FEATURES, true) & NEEDED_FEATURES;
    const queues = mapShared(fd, IORING_OFF_SQ_RING, ringBytes, true);
    const entries = mapShared(fd, IORING_OFF_SQES, params.getUint32(PARAMS_SQ_ENTRIES, true) * 64, true);
    if (missing === 0 && queues !== undefined && entries !== undefined) {
      return new UringRing(fd, params, queues, entries, argument, wakeKind, ignoredKind);
    }
    queues?.unmap();
    entries?.unmap();
    argument.unmap();
    close(fd);
    return -EINVAL;
  }

  /**
   * A submission entry with everything that not each operation sets already zero: offset, address, length,
   * operation flags, buffer group, file index, third address. Words 0, 1, 8 and 9 are the caller's to set.
   * Submits what is queued when the queue is full.
   */
  nextSqe(): number {
    if (((this.tail - this.submitted) | 0) >= this.sqEntries) this.submit();
    const sqes = this.sqes;
    const index = (this.tail & this.sqMask) << 4;
    this.tail = (this.tail + 1) | 0;
    sqes[index + 2] = 0;
    sqes[index + 3] = 0;
    sqes[index + 4] = 0;
    sqes[index + 5] = 0;
    sqes[index + 6] = 0;
    sqes[index + 7] = 0;
    sqes[index + 10] = 0;
    sqes[index + 11] = 0;
    sqes[index + 12] = 0;
    sqes[index + 13] = 0;
    return index;
  }

  /** Whether the kernel has taken all that was queued, and what it pointed at. */
  isDrained(): boolean {
    return this.tail === this.submitted;
  }

  /** Submits all that is queued, without running completions. */
  submit(): void {
    // Each call takes at least one entry unless the kernel is out of memory for a moment.
    for (let attempt = 0; attempt < 1000 && this.tail !== this.submitted; attempt++) {
      this.publish();
      this.taken(
        io_uring_enter(
          SYS_io_uring_enter,
          this.enterFd,
          (this.tail - this.submitted) | 0,
          0,
          this.enterFlags,
          0,
          0,
        ),
      );
    }
    assert(this.tail === this.submitted, 'the kernel takes no submissions');
  }

  /**
   * Submits all that is queued and waits until `completionsMin` completions are there (0: doesn't wait).
   * Completions that are due are posted in any case. There is no time limit but `wakeAt`.
   */
  enter(completionsMin: number): void {
    this.publish();
    this.enters++;
    this.taken(
      io_uring_enter(
        SYS_io_uring_enter,
        this.enterFd,
        (this.tail - this.submitted) | 0,
        completionsMin,
        this.enterFlags | IORING_ENTER_GETEVENTS,
        0,
        0,
      ),
    );
  }

  /**
   * Makes a wait end at `timeMs` (of performance.now) or before: one timeout stays in the kernel, which is moved
   * only when it would come too late. A time limit of each wait would program the timer hardware each
   * time, which costs a microsecond, more on virtual machines. Its completion must be told to `onWake`.
   */
  wakeAt(timeMs: number): void {
    if (this.wakeMs <= timeMs) return;
    const index = this.nextSqe();
    const { sqes, argument } = this;
    writeTimespec(argument.words, TIMESPEC >> 2, timeMs + this.monotonicOffsetMs);
    const address = (argument.low + TIMESPEC) | 0;
    sqes[index + 1] = -1;
    if (this.wakeMs === Number.POSITIVE_INFINITY) {
      sqes[index] = IORING_OP_TIMEOUT;
      sqes[index + 4] = address;
      sqes[index + 5] = argument.high;
      sqes[index + 6] = 1;
      sqes[index + 7] = IORING_TIMEOUT_ABS;
      sqes[index + 8] = 0;
      sqes[index + 9] = this.wakeKind;
    } else {
      // Fails when the timeout has fired meanwhile, and then the wait ends as well.
      sqes[index] = IORING_OP_TIMEOUT_REMOVE | (IOSQE_CQE_SKIP_SUCCESS << 8);
      sqes[index + 2] = address;
      sqes[index + 3] = argument.high;
      sqes[index + 4] = 0;
      sqes[index + 5] = this.wakeKind;
      sqes[index + 7] = IORING_TIMEOUT_ABS | IORING_TIMEOUT_UPDATE;
      sqes[index + 8] = 0;
      sqes[index + 9] = this.ignoredKind;
    }
    this.wakeMs = timeMs;
  }

  /** The timeout of `wakeAt` has fired. */
  onWake(): void {
    this.wakeMs = Number.POSITIVE_INFINITY;
  }

  /** Position of the first completion that was not consumed. */
  completionsBegin(): number {
    return this.words[this.cqHead];
  }

  /** Position behind the last completion that is there. */
  completionsAvailable(): number {
    return Atomics.load(this.words, this.cqTail);
  }

  /** Gives the completions before `position` back to the kernel. */
  completionsEnd(position: number): void {
    Atomics.store(this.words, this.cqHead, position);
  }

  /** io_uring_register(2). Returns its result or -errno. `words` are copied to the argument page. */
  register(operation: number, words: readonly number[]): number {
    this.argument.words.set(words, REGISTER >> 2);
    return negated(
      io_uring_register(SYS_io_uring_register, this.fd, operation, this.argument.address + REGISTER, 1),
    );
  }

  /** Cancels all that is in flight, so that the kernel writes no memory any more. */
  cancelAll(): void {
    const index = this.nextSqe();
    this.sqes[index] = IORING_OP_ASYNC_CANCEL;
    this.sqes[index + 1] = -1;
    this.sqes[index + 7] = IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY;
    this.sqes[index + 8] = 0;
    this.sqes[index + 9] = this.ignoredKind;
    this.enter(0);
    this.enter(0);
  }

  /** Gives everything back. The ring is not to be used any more. */
  destroy(): void {
    assert(this.fd >= 0, 'ring destroyed twice');
    // The registered index holds a reference to the ring as well.
    if (this.enterFd !== this.fd) this.register(IORING_UNREGISTER_RING_FDS, [this.enterFd, 0, 0, 0]);
    close(this.fd);
    this.fd = -1;
    this.queues.unmap();
    this.entries.unmap();
    this.argument.unmap();
  }

  private publish(): void {
    Atomics.store(this.words, this.sqTail, this.tail);
  }

  private taken(result: number): void {
    if (result >= 0) {
      this.submitted = (this.submitted + result) | 0;
      return;
    }
    const errno = -negated(result);
    // Interrupted, or short of memory for a moment: what was not taken goes with the next call.
    assert(
      errno === EINTR || errno === EAGAIN || errno === EBUSY,
      `io_uring_enter failed with errno ${errno}`,
    );
  }

  /** Saves the kernel a look-up at each call. Returns the index to use, or -errno. */
  private registerRingDescriptor(): number {
    // struct io_uring_rsrc_update: offset u32 (-1: the kernel chooses), reserved u32, descriptor u64.
    const result = this.register(IORING_REGISTER_RING_FDS, [-1, 0, this.fd, 0]);
    return result === 1 ? this.argument.words[REGISTER >> 2] : -EINVAL;
  }
}

function setUp(argument: MappedMemory, sqEntries: number, cqEntries: number, flags: number): number {
  const { view } = argument;
  argument.bytes.fill(0, PARAMS, PARAMS + PARAMS_BYTES);
  view.setUint32(PARAMS + PARAMS_CQ_ENTRIES, cqEntries, true);
  view.setUint32(PARAMS + PARAMS_FLAGS, flags, true);
  return negated(io_uring_setup(SYS_io_uring_setup, sqEntries, argument.address + PARAMS));
}
