/**
 * The reactor: the one interface between the edge and the operating system's sockets, files and clock.
 * Three backends implement it with the same behaviour, held to it by tests/contract: io_uring (uring.ts),
 * epoll (epoll.ts) and a simulated network with virtual time (sim.ts).
 *
 * Rules that every backend keeps:
 * - No handler is ever called from inside a method of this interface; events come only from `turn()`.
 * - Handles carry slot and generation: an operation on a handle that is closed is ignored (and releases
 *   the buffer that it was given); no event comes for it but its `onClose`.
 * - A socket's events come in order. `onClose` is the last one, exactly once for each handle.
 * - Nothing here throws on what a peer or the kernel does; results are values (`-errno`).
 */

import type { Timer, TimerWheel } from '../base/timer-wheel.ts';
import type { KernelTlsDirection, KernelTlsKey } from '../sys/kernel-tls.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { BufferId, BufferPool } from './buffer-pool.ts';

export type { Timer, TimerWheel };

/** A socket or listener: slot in the low 20 bits, generation above; always > 0. */
export type Handle = number;

/** A directory that file operations start from, or an open file; always > 0. */
export type FileHandle = number;

/** Returned by a file operation whose result will come to the handler. Not an errno. */
export const PENDING = -0x10000;

/** What owns a connected (or connecting) socket. */
export interface SocketHandler {
  /** The result of `connect`: 0, or -errno, after which the handle is already closed but for `onClose`. */
  onConnect(handle: Handle, errno: number): void;
  /** `length` > 0 bytes at arena offset `offset`, inside `buffer`, one reference of which is now the handler's. */
  onReceive(handle: Handle, buffer: BufferId, offset: number, length: number): void;
  /** No more bytes will come: the peer's FIN (errno 0) or a failure (-errno). The socket is still to be closed. */
  onReceiveEnd(handle: Handle, errno: number): void;
  /**
   * A segment with a tag other than 0 has left: `result` is its whole length, less if a file ended early,
   * or -errno. After a failure all later segments of the socket fail with it, each with its own call.
   */
  onSend(handle: Handle, tag: number, result: number): void;
  /**
   * Kernel TLS: a record of a type other than application data came, between what was received before and after it.
   * `bytes[0 … length)` is its content, valid during the call. Receiving goes on afterwards as it was wanted.
   */
  onRecord?(handle: Handle, type: number, bytes: Uint8Array, length: number): void;
  /** The descriptor is closed and nothing is in flight any more. */
  onClose(handle: Handle): void;
}

export interface ListenerHandler {
  /** A new connection; its handler must be set with `adopt` before this returns, or the socket is closed. */
  onAccept(listener: Handle, handle: Handle): void;
  /** Accepting failed (EMFILE, ENFILE, ENOBUFS, ENOMEM …) and is paused: `acceptResume` tries again. */
  onAcceptError(listener: Handle, errno: number): void;
  /** What `acceptLeave` asked for is done: no connection waits for this process alone, and none will. */
  onAcceptLeft?(listener: Handle): void;
}

export interface FileHandler {
  /** The end of an `openFile` that was PENDING: a FileHandle, or -errno. */
  onOpen(tag: number, file: number): void;
  /** The end of a `readFile` that was PENDING: bytes read (0 at the file's end), or -errno. */
  onRead(tag: number, result: number): void;
}

/** What a file is; anything that is neither is refused by `openFile` with -EACCES. */
export const REGULAR = 1;
export const DIRECTORY = 2;
export type FileKind = typeof REGULAR | typeof DIRECTORY;

export interface ListenOptions {
  /** Length of the kernel's queue of connections that are not accepted yet. */
  readonly backlog: number;
  readonly reusePort: boolean;
  /** Permission bits of a Unix socket's file. */
  readonly unixMode?: number;
}

/** Counters since the start, and gauges; plain numbers, cheap to keep and to read. */
export class ReactorCounters {
  turns: number;
  accepted: number;
  acceptErrors: number;
  connected: number;
  /** Handles of sockets and listeners that are not free. */
  handlesOpen: number;
  /** Times a receive had to wait because no buffer was free. */
  bufferStarvations: number;
  bytesReceived: number;
  bytesSent: number;

  constructor() {
    this.turns = 0;
    this.accepted = 0;
    this.acceptErrors = 0;
    this.connected = 0;
    this.handlesOpen = 0;
    this.bufferStarvations = 0;
    // Doubles from the start: these two pass 2^31 soon, and V8 would throw away all compiled code that knew them as
    // small integers.
    this.bytesReceived = 0.5;
    this.bytesSent = 0.5;
    this.bytesReceived = 0;
    this.bytesSent = 0;
  }
}

export interface Reactor {
  readonly name: 'io_uring' | 'epoll' | 'sim';
  readonly pool: BufferPool;
  readonly timers: TimerWheel;
  readonly counters: ReactorCounters;
  /** Monotonic milliseconds, an integer, constant within a turn. */
  readonly nowMs: number;
  /** Wall-clock milliseconds since 1970, constant within a turn. */
  readonly wallMs: number;

  /** Opens a listening socket and starts to accept. Returns a Handle or -errno. Set-up only. */
  listen(address: SocketAddress, options: ListenOptions, handler: ListenerHandler): Handle;
  /** The address that a listener is bound to (with the port that the kernel chose). */
  localAddress(handle: Handle): SocketAddress;
  acceptPause(listener: Handle): void;
  acceptResume(listener: Handle): void;
  /**
   * Stops accepting for good from a socket that others go on accepting from. The kernel may have told this process
   * alone of a connection (accepting wakes one of those that wait): such a one is still accepted. Then `onAcceptLeft`
   * comes, and the listener is to be closed.
   */
  acceptLeave(listener: Handle): void;

  /** Gives a socket its handler, at once after accept or when it changes hands. */
  adopt(handle: Handle, handler: SocketHandler): void;
  /** Starts a connection. Returns a Handle or -errno (EMFILE, …) at once. Bounding its time is the caller's. */
  connect(address: SocketAddress, handler: SocketHandler): Handle;
  /** Who is at the other end. A Unix peer has an empty address. Allocates: once a connection, not once a request. */
  peerAddress(handle: Handle): SocketAddress;

  /** Delivers whatever comes, in medium buffers, until `receiveStop`, the end, or `close`. */
  receiveStart(handle: Handle): void;
  /** Delivers one large buffer's worth at most, then stops by itself. For bulk: the caller asks again when it wants more. */
  receiveOnce(handle: Handle): void;
  /**
   * Stops delivering. What was already taken from the kernel still comes (at most about 512 KiB);
   * a later start waits for it. The peer's end is not reported while receiving is stopped.
   */
  receiveStop(handle: Handle): void;

  /**
   * Queues a segment after those already queued. One reference of `buffer` passes to the reactor, which
   * releases it when the segment has left or failed. Segments queued in one turn leave together. A `tag`
   * other than 0 asks for `onSend`.
   */
  send(handle: Handle, buffer: BufferId, offset: number, length: number, tag: number): void;
  /** Queues `length` bytes of `file` from `fileOffset`. The file stays the caller's, and open until `onSend`; `tag` is not 0. */
  sendFile(handle: Handle, file: FileHandle, fileOffset: number, length: number, tag: number): void;
  /**
   * Queues `length` bytes that `source`, another connected socket, is still to receive; the kernel moves them (splice)
   * without a copy. Until `onSend` the source receives nothing by itself, neither bytes nor its end. `onSend` brings
   * `length`; less where the source ended or failed before that; or -errno where this socket failed. Closing the source
   * ends the segment early. `tag` is not 0. Returns 0, or -errno where nothing was queued and the caller receives and sends
   * instead: -EBUSY while a receive of the source is still armed or either forwards already, -EMFILE when too many do,
   * -EOPNOTSUPP where it can't be.
   */
  sendFrom(handle: Handle, source: Handle, length: number, tag: number): number;
  /** Bytes of a `sendFrom` that this source has not delivered yet: whether it does can be seen from it. */
  sendFromLeft(source: Handle): number;
  /**
   * Kernel TLS, with `receiveAtMost` and `sendRecord`: all three, or none where the backend can't. Gives the kernel the
   * key of one direction: what is sent or received from now on is content of application data. 0 or -errno: -EBUSY
   * while something is queued that is to leave as it is, while a receive is still armed, and where a new key can't
   * take an old one's place; the socket is as it was then.
   */
  startKernelTls?(handle: Handle, direction: KernelTlsDirection, key: KernelTlsKey): number;
  /** `receiveOnce` of `bytesMax` bytes at most; only while nothing is being received. */
  receiveAtMost?(handle: Handle, bytesMax: number): void;
  /**
   * Queues one record of another type than application data, as `send` queues content. Whatever is queued behind it
   * leaves only after its `onSend`, so that a new key may be set there.
   */
  sendRecord?(
    handle: Handle,
    type: number,
    buffer: BufferId,
    offset: number,
    length: number,
    tag: number,
  ): void;
  /** Bytes queued that the kernel has not taken yet; of a `sendFrom` those that have come from its source. */
  sendQueuedBytes(handle: Handle): number;
  /**
   * Bytes that the peer has acknowledged since the connection began (TCP_INFO's tcpi_bytes_acked), or -1 where
   * that is unknown (Unix sockets). A system call: for checks once a second, not for each send.
   */
  sendAcknowledgedBytes(handle: Handle): number;
  /** Sends FIN when all that is queued has left. */
  shutdownSend(handle: Handle): void;

  /**
   * Closes at once; what is queued and unsent is dropped and its buffers are released. `abortive` makes
   * the peer see a reset rather than an end. Only `onClose` follows.
   */
  close(handle: Handle, abortive: boolean): void;

  /** Opens a directory to serve from, or a single file's directory. Blocking: set-up only. FileHandle or -errno. */
  openRoot(path: string): FileHandle;
  /**
   * Opens the file at a relative path beneath `root` for reading; symbolic links and `..` that leave the root
   * fail with -EXDEV. The path is `pathLength` bytes at arena offset `pathOffset`, followed by a NUL. Empty
   * means the root itself. Returns a FileHandle, -errno, or PENDING.
   */
  openFile(
    root: FileHandle,
    pathOffset: number,
    pathLength: number,
    handler: FileHandler,
    tag: number,
  ): number;
  fileKind(file: FileHandle): FileKind;
  /** Bytes at the time it was opened. */
  fileSize(file: FileHandle): number;
  /** Modification time, milliseconds since 1970, with a fraction. */
  fileModifiedMs(file: FileHandle): number;
  fileInode(file: FileHandle): number;
  /** Whether its size or modification time is another by now than when it was opened. A system call. */
  fileChanged(file: FileHandle): boolean;
  /** Reads into the arena at `offset`. Returns bytes read (0 at the end), -errno, or PENDING; fewer bytes than asked are possible. */
  readFile(
    file: FileHandle,
    fileOffset: number,
    offset: number,
    length: number,
    handler: FileHandler,
    tag: number,
  ): number;
  /** Closes a root or a file. A PENDING operation on it still ends; what `sendFile` has queued of it fails with -EBADF. */
  closeFile(file: FileHandle): void;

  /**
   * One turn: submits what is queued, waits at most `waitMsMax` (0: not at all) for something to happen,
   * delivers completions and due timers. Returns true when Node's own event loop has work (a signal, a
   * timer, a descriptor), so that the caller yields to it; always false in the simulator.
   */
  turn(waitMsMax: number): boolean;
  /** Releases everything. No handler is called. */
  destroy(): void;
}
