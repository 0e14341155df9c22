/**
 * The simulator's backend of the reactor: one node on a simulated network (sim-network.ts), driven by it in
 * virtual time. It owns the node's handles, files, timers and buffers, and breaks every habit that the
 * interface does not promise: completions of different sockets come in any order, receives and sends in any
 * pieces, descriptors and buffers run out.
 *
 * Stricter than a kernel: a segment outside its buffer or a turn within a turn fails an assertion, and a
 * released buffer is overwritten, so that its late use shows as wrong bytes.
 */

import { constants } from 'node:os';
import { assert } from '../base/assert.ts';
import { TimerWheel } from '../base/timer-wheel.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import {
  arenaBytes,
  type BufferId,
  BufferPool,
  LARGE,
  MEDIUM,
  NO_BUFFER,
  type PoolShape,
} from './buffer-pool.ts';
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
import { DIRECTORY, PENDING, REGULAR, ReactorCounters } from './reactor.ts';
import type { Endpoint } from './sim-endpoint.ts';
import type { SimFaults } from './sim-faults.ts';
import { INODE_DIRECTORY, INODE_FIFO, type SimInode } from './sim-files.ts';
import { type SimNetwork, type SimNode, shuffle, WALL_START_MS } from './sim-network.ts';
import { ListenerSlot, type Slot, SocketSlot } from './sim-slots.ts';

const { EACCES, EBADF, EBUSY, EIO, EISDIR, EMFILE, EOPNOTSUPP } = constants.errno;

const SLOT_BITS = 20;
const SLOT_MASK = (1 << SLOT_BITS) - 1;
const GENERATION_MAX = 2047;

/** Byte that fills a buffer when it goes home. */
const POISON = 0xdd;

/** Small enough that a few dozen connections exhaust it. */
export const SIM_SHAPE: PoolShape = { small: 128, medium: 48, large: 12 };

/** A pool whose buffers are overwritten as soon as nobody owns them. */
export class SimBufferPool extends BufferPool {
  /** `memory` where OpenSSL works on it, which needs an address. */
  constructor(
    shape: PoolShape,
    memory: { readonly buffer: ArrayBuffer; readonly address: number } | null = null,
  ) {
    super(memory?.buffer ?? new ArrayBuffer(arenaBytes(shape)), memory?.address ?? 0, shape);
    this.bytes.fill(POISON);
  }

  override release(id: BufferId): void {
    super.release(id);
    if (this.referencesOf(id) !== 0) return;
    const start = this.offsetOf(id);
    this.bytes.fill(POISON, start, start + this.sizeOf(id));
  }
}

export interface SimNodeOptions {
  /** Names the node in messages. */
  readonly label: string;
  readonly ipv4: string;
  readonly ipv6?: string;
  readonly pool?: BufferPool;
  /** Handles and open files at once; beyond it EMFILE. */
  readonly descriptorsMax?: number;
  /** What goes wrong on this node (its links follow the network's). */
  readonly faults?: SimFaults;
  /** Whether its kernel moves bytes from socket to socket (`sendFrom`); true where absent. */
  readonly forwards?: boolean;
}

/** An open file or root. */
class OpenFile {
  readonly inode: SimInode;
  readonly sizeAtOpen: number;
  readonly modifiedAtOpen: number;

  constructor(inode: SimInode) {
    this.inode = inode;
    this.sizeAtOpen = inode.bytes.length;
    this.modifiedAtOpen = inode.modifiedMs;
  }
}

/** Something that a turn can take a step with: a slot or a finished file operation. */
export interface Work {
  /** In the node's list already. */
  queued: boolean;
  step(): void;
}

export class SimReactor implements Reactor, SimNode {
  readonly name = 'sim';
  readonly network: SimNetwork;
  readonly label: string;
  readonly pool: BufferPool;
  readonly timers: TimerWheel;
  readonly counters: ReactorCounters;
  readonly faults: SimFaults;
  nowMs: number;
  wallMs: number;
  private readonly options: SimNodeOptions;
  private readonly descriptorsMax: number;
  private readonly forwards: boolean;
  private readonly slots: (Slot | null)[];
  private readonly generations: number[];
  private readonly freeSlots: number[];
  private readonly files: (OpenFile | null)[];
  private openFiles: number;
  private work: Work[];
  private turning: boolean;
  private destroyed: boolean;
  private baseline: readonly number[];

  constructor(network: SimNetwork, options: SimNodeOptions) {
    this.network = network;
    this.options = options;
    this.label = options.label;
    this.pool = options.pool ?? new SimBufferPool(SIM_SHAPE);
    this.faults = options.faults ?? network.faults;
    this.descriptorsMax = options.descriptorsMax ?? 1 << 16;
    this.nowMs = Math.floor(network.timeMs);
    this.wallMs = WALL_START_MS + this.nowMs;
    this.timers = new TimerWheel(this.nowMs);
    this.counters = new ReactorCounters();
    this.slots = [null];
    this.generations = [0];
    this.freeSlots = [];
    this.files = [null];
    this.openFiles = 0;
    this.work = [];
    this.turning = false;
    this.destroyed = false;
    this.baseline = [0, 0, 0, 0];
    this.forwards = options.forwards !== false;
    network.nodes.push(this);
  }

  // ---- Listeners and connections ----------------------------------------------------------------------

  listen(address: SocketAddress, options: ListenOptions, handler: ListenerHandler): Handle {
    if (this.descriptorsUsed() >= this.descriptorsMax) return -EMFILE;
    const slot = new ListenerSlot(this, handler);
    const listener = this.network.listen(address, options.backlog, options.reusePort, slot);
    if (typeof listener === 'number') return listener;
    slot.listener = listener;
    return this.occupy(slot);
  }

  localAddress(handle: Handle): SocketAddress {
    const slot = this.slots[handle & SLOT_MASK];
    assert(slot instanceof ListenerSlot && slot.handle === handle, 'localAddress of what is no listener');
    assert(slot.listener !== null, 'a listener without its socket');
    return slot.listener.address;
  }

  acceptPause(listener: Handle): void {
    this.listenerAt(listener)?.pause();
  }

  acceptResume(listener: Handle): void {
    this.listenerAt(listener)?.resume();
  }

  acceptLeave(listener: Handle): void {
    this.listenerAt(listener)?.leave();
  }

  adopt(handle: Handle, handler: SocketHandler): void {
    const socket = this.socketAt(handle);
    if (socket !== null) socket.handler = handler;
  }

  connect(address: SocketAddress, handler: SocketHandler): Handle {
    if (this.exhausted(this.faults.connectFailure)) return -EMFILE;
    const slot = new SocketSlot(this, handler);
    slot.endpoint = this.network.connect(this.sourceFor(address), address, slot);
    slot.connecting = true;
    return this.occupy(slot);
  }

  peerAddress(handle: Handle): SocketAddress {
    const socket = this.socketAt(handle);
    return socket?.endpoint?.remote ?? { family: 'unix', path: '' };
  }

  // ---- Streams ----------------------------------------------------------------------------------------

  receiveStart(handle: Handle): void {
    this.socketAt(handle)?.receiveStart();
  }

  receiveOnce(handle: Handle): void {
    this.socketAt(handle)?.receiveOnce();
  }

  receiveStop(handle: Handle): void {
    this.socketAt(handle)?.receiveStop();
  }

  send(handle: Handle, buffer: BufferId, offset: number, length: number, tag: number): void {
    const start = this.pool.offsetOf(buffer);
    assert(this.pool.referencesOf(buffer) > 0, 'a free buffer is sent');
    assert(
      length >= 0 && offset >= start && offset + length <= start + this.pool.sizeOf(buffer),
      'a segment outside its buffer',
    );
    const socket = this.socketAt(handle);
    if (socket === null) this.pool.release(buffer);
    else socket.send(buffer, offset, length, tag);
  }

  sendFile(handle: Handle, file: FileHandle, fileOffset: number, length: number, tag: number): void {
    assert(tag !== 0, 'sendFile without a tag');
    assert(length >= 0 && fileOffset >= 0, 'sendFile of a negative length');
    const open = this.fileAt(file);
    assert(open !== null && open.inode.kind !== INODE_DIRECTORY, 'sendFile of what is no open file');
    this.socketAt(handle)?.sendFile(file, fileOffset, length, tag);
  }

  sendFrom(handle: Handle, source: Handle, length: number, tag: number): number {
    assert(tag !== 0 && length > 0 && source !== handle, 'sendFrom of nothing');
    const from = this.socketAt(source);
    const to = this.socketAt(handle);
    if (from === null || to === null) return -EBADF;
    assert(!from.connecting, 'sendFrom a socket that is not connected');
    if (!this.forwards) return -EOPNOTSUPP;
    if (from.forwardTo !== null || to.forwards || from.mayReceive) return -EBUSY;
    if (this.exhausted(this.faults.pipeFailure)) return -EMFILE;
    to.sendFrom(from, length, tag);
    return 0;
  }

  sendFromLeft(source: Handle): number {
    return this.socketAt(source)?.forwardTo?.forwardLeft ?? 0;
  }

  sendQueuedBytes(handle: Handle): number {
    return this.socketAt(handle)?.queuedBytes ?? 0;
  }

  sendAcknowledgedBytes(handle: Handle): number {
    const endpoint = this.socketAt(handle)?.endpoint ?? null;
    return endpoint === null || endpoint.local.family === 'unix' ? -1 : endpoint.acknowledgedBytes;
  }

  shutdownSend(handle: Handle): void {
    this.socketAt(handle)?.shutdownSend();
  }

  close(handle: Handle, abortive: boolean): void {
    const slot = this.slotAt(handle);
    if (slot !== null && !slot.closing) slot.close(abortive);
  }

  // ---- Files ------------------------------------------------------------------------------------------

  openRoot(path: string): FileHandle {
    const inode = this.network.files.open(path);
    return typeof inode === 'number' ? inode : this.keepFile(inode);
  }

  openFile(
    root: FileHandle,
    pathOffset: number,
    pathLength: number,
    handler: FileHandler,
    tag: number,
  ): number {
    const open = this.fileAt(root);
    assert(open !== null, 'openFile beneath what is not open');
    assert(this.pool.bytes[pathOffset + pathLength] === 0, 'a path without its NUL');
    if (!this.isPending()) return this.openNow(open.inode, this.pathAt(pathOffset, pathLength));
    // As a ring does: the path is read when the turn's submissions reach the kernel.
    let path = '';
    this.network.at(this.network.timeMs, () => {
      path = this.pathAt(pathOffset, pathLength);
    });
    this.later(() => handler.onOpen(tag, this.openNow(open.inode, path)));
    return PENDING;
  }

  fileKind(file: FileHandle): FileKind {
    return this.openFileAt(file).inode.kind === INODE_DIRECTORY ? DIRECTORY : REGULAR;
  }

  fileSize(file: FileHandle): number {
    return this.openFileAt(file).sizeAtOpen;
  }

  fileModifiedMs(file: FileHandle): number {
    return this.openFileAt(file).modifiedAtOpen;
  }

  fileInode(file: FileHandle): number {
    return this.openFileAt(file).inode.number;
  }

  fileChanged(file: FileHandle): boolean {
    const { inode, sizeAtOpen, modifiedAtOpen } = this.openFileAt(file);
    return inode.bytes.length !== sizeAtOpen || inode.modifiedMs !== modifiedAtOpen;
  }

  readFile(
    file: FileHandle,
    fileOffset: number,
    offset: number,
    length: number,
    handler: FileHandler,
    tag: number,
  ): number {
    const open = this.fileAt(file);
    if (open === null) return -EBADF;
    if (!this.isPending()) return this.readNow(open.inode, fileOffset, offset, length);
    this.later(() => handler.onRead(tag, this.readNow(open.inode, fileOffset, offset, length)));
    return PENDING;
  }

  closeFile(file: FileHandle): void {
    assert(this.fileAt(file) !== null, 'a file is closed twice');
    this.files[file] = null;
    this.openFiles--;
  }

  /** Bytes of a file for a segment: at most `into.length` from `fileOffset`, 0 at its end, or -errno. */
  fileBytes(file: FileHandle, fileOffset: number, into: Uint8Array): number {
    if (this.network.random.chance(this.faults.fileFailure / 8)) return -EIO;
    const open = this.fileAt(file);
    if (open === null) return -EBADF;
    const { bytes } = open.inode;
    const count = Math.max(0, Math.min(into.length, bytes.length - fileOffset));
    into.set(bytes.subarray(fileOffset, fileOffset + count));
    return count;
  }

  // ---- Turns ------------------------------------------------------------------------------------------

  /**
   * Driven by `SimNetwork.run`, with 0. Called alone with more it lets virtual time pass as far as
   * something can happen on this node, at most so long.
   */
  turn(waitMsMax: number): boolean {
    assert(!this.turning, 'a turn within a turn');
    if (this.destroyed) return false;
    const { network, faults } = this;
    const endMs = network.timeMs + waitMsMax;
    while (!this.hasWork() && network.timeMs < endMs) network.pass(Math.min(network.nextMs(), endMs));
    this.turning = true;
    this.counters.turns++;
    this.nowMs = Math.floor(network.timeMs);
    this.wallMs = WALL_START_MS + this.nowMs;
    const timersFirst = faults.reorder > 0 && network.random.chance(0.5);
    if (timersFirst) this.timers.advance(this.nowMs);
    this.stepAll();
    if (!timersFirst) this.timers.advance(this.nowMs);
    this.turning = false;
    return false;
  }

  destroy(): void {
    this.destroyed = true;
    for (const slot of this.slots) slot?.destroy();
    this.slots.length = 1;
    this.files.length = 1;
    this.openFiles = 0;
    this.work = [];
    this.counters.handlesOpen = 0;
  }

  hasWork(): boolean {
    return !this.destroyed && (this.work.length > 0 || this.nextTimerMs() <= this.network.timeMs);
  }

  nextTimerMs(): number {
    if (this.destroyed || this.timers.armedCount === 0) return Number.POSITIVE_INFINITY;
    const nowMs = Math.floor(this.network.timeMs);
    return nowMs + this.timers.waitMs(nowMs, Number.POSITIVE_INFINITY);
  }

  // ---- For checkers -----------------------------------------------------------------------------------

  /** What is open, held and armed now is permanent: `leftovers` tells only what goes beyond. */
  markBaseline(): void {
    this.baseline = this.usage();
  }

  leftovers(): string[] {
    const words = ['handles open', 'files open', 'buffers held', 'timers armed'];
    const usage = this.usage();
    return words.flatMap((word, index) =>
      usage[index] > this.baseline[index]
        ? [`${this.label}: ${usage[index] - this.baseline[index]} ${word}`]
        : [],
    );
  }

  private usage(): readonly number[] {
    return [this.counters.handlesOpen, this.openFiles, this.pool.heldCount(), this.timers.armedCount];
  }

  // ---- For slots (sim-slots.ts) -----------------------------------------------------------------------

  /** Puts work on the list of the next turn, once. */
  ready(work: Work): void {
    if (work.queued || this.destroyed) return;
    work.queued = true;
    this.work.push(work);
  }

  /** The same after `delayMs`. */
  readyAfter(work: Work, delayMs: number): void {
    this.network.at(this.network.timeMs + delayMs, () => this.ready(work));
  }

  /** A slot for an accepted connection. */
  accepted(endpoint: Endpoint): SocketSlot {
    const slot = new SocketSlot(this, null);
    slot.endpoint = endpoint;
    endpoint.owner = slot;
    this.counters.accepted++;
    this.occupy(slot);
    return slot;
  }

  /** Frees a slot whose last event is being delivered. */
  vacate(slot: Slot): void {
    const index = slot.handle & SLOT_MASK;
    this.slots[index] = null;
    this.freeSlots.push(index);
    this.counters.handlesOpen--;
  }

  /** True where a descriptor can't be had, really or by a fault. */
  exhausted(chance: number): boolean {
    return this.descriptorsUsed() >= this.descriptorsMax || this.network.random.chance(chance);
  }

  /** A buffer to receive into; NO_BUFFER counts as a starvation. */
  receiveBuffer(large: boolean): BufferId {
    if (!this.network.random.chance(this.faults.starve)) {
      const buffer = large ? this.pool.acquire(LARGE) : NO_BUFFER;
      const found = buffer === NO_BUFFER ? this.pool.acquire(MEDIUM) : buffer;
      if (found !== NO_BUFFER) return found;
    }
    this.counters.bufferStarvations++;
    return NO_BUFFER;
  }

  /** Where in a buffer a receive begins, from its start: mostly near it, now and then near its end. */
  receiveSkip(buffer: BufferId): number {
    const { random } = this.network;
    if (!random.chance(this.faults.offsetReceive)) return 0;
    return random.below(random.chance(0.1) ? this.pool.sizeOf(buffer) : 512);
  }

  // ---- Details ----------------------------------------------------------------------------------------

  private stepAll(): void {
    const { network, faults } = this;
    const work = this.work;
    this.work = [];
    if (faults.reorder > 0) shuffle(work, network.random);
    for (const item of work) {
      item.queued = false;
      if (faults.reorder > 0 && network.random.chance(faults.reorder)) this.ready(item);
      else item.step();
    }
  }

  private occupy(slot: Slot): Handle {
    const index = this.freeSlots.pop() ?? this.slots.length;
    assert(index <= SLOT_MASK, 'more sockets than slots');
    const generation = ((this.generations[index] ?? 0) % GENERATION_MAX) + 1;
    this.generations[index] = generation;
    this.slots[index] = slot;
    slot.handle = generation * (SLOT_MASK + 1) + index;
    this.counters.handlesOpen++;
    return slot.handle;
  }

  private slotAt(handle: Handle): Slot | null {
    if (handle <= 0) return null;
    const slot = this.slots[handle & SLOT_MASK] ?? null;
    return slot !== null && slot.handle === handle ? slot : null;
  }

  /** An open socket that is not closing, else null. */
  private socketAt(handle: Handle): SocketSlot | null {
    const slot = this.slotAt(handle);
    return slot instanceof SocketSlot && !slot.closing ? slot : null;
  }

  private listenerAt(handle: Handle): ListenerSlot | null {
    const slot = this.slotAt(handle);
    return slot instanceof ListenerSlot && !slot.closing ? slot : null;
  }

  private sourceFor(remote: SocketAddress): SocketAddress {
    if (remote.family === 'unix') return { family: 'unix', path: '' };
    const port = this.network.nextPort();
    if (remote.family === 'ipv4') return { family: 'ipv4', address: this.options.ipv4, port };
    return { family: 'ipv6', address: this.options.ipv6 ?? '::1', port };
  }

  private descriptorsUsed(): number {
    return this.counters.handlesOpen + this.openFiles;
  }

  private fileAt(file: FileHandle): OpenFile | null {
    return this.files[file] ?? null;
  }

  private openFileAt(file: FileHandle): OpenFile {
    const open = this.fileAt(file);
    assert(open !== null, 'a file that is not open');
    return open;
  }

  private keepFile(inode: SimInode): FileHandle {
    if (this.descriptorsUsed() >= this.descriptorsMax) return -EMFILE;
    // Numbers are not used again, so that a stale one is caught.
    this.files.push(new OpenFile(inode));
    this.openFiles++;
    return this.files.length - 1;
  }

  private openNow(root: SimInode, path: string): number {
    const { random, files } = this.network;
    if (random.chance(this.faults.fileFailure)) return random.chance(0.5) ? -EIO : -EACCES;
    const inode = files.openBeneath(root, path);
    if (typeof inode === 'number') return inode;
    if (!inode.readable || inode.kind === INODE_FIFO) return -EACCES;
    return this.keepFile(inode);
  }

  private readNow(inode: SimInode, fileOffset: number, offset: number, length: number): number {
    const { random } = this.network;
    if (inode.kind === INODE_DIRECTORY) return -EISDIR;
    if (random.chance(this.faults.fileFailure)) return -EIO;
    let count = Math.max(0, Math.min(length, inode.bytes.length - fileOffset));
    if (count > 1 && random.chance(this.faults.shortRead)) count = 1 + random.below(count);
    this.pool.bytes.set(inode.bytes.subarray(fileOffset, fileOffset + count), offset);
    return count;
  }

  private pathAt(offset: number, length: number): string {
    return this.pool.text.latin1Slice(offset, offset + length);
  }

  private isPending(): boolean {
    return this.network.random.chance(this.faults.filePending);
  }

  /** Lets a file operation end in a later turn. */
  private later(end: () => void): void {
    const delayMs = this.network.random.below(this.faults.filePendingMsMax + 1);
    this.readyAfter({ queued: false, step: end }, delayMs);
  }
}
