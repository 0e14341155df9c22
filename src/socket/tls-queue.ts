/**
 * What a TLS socket has still to seal, in order: files, which are read piece by piece as the peer takes them, and
 * content for which no buffer was free. Exists only while there is some.
 */

import {
  type BufferId,
  type BufferPool,
  LARGE,
  LARGE_BYTES,
  MEDIUM,
  MEDIUM_BYTES,
  NO_BUFFER,
  SMALL,
  SMALL_BYTES,
} from '../io/buffer-pool.ts';
import { type FileHandle, type FileHandler, PENDING, type Reactor } from '../io/reactor.ts';

/** Sealed bytes under way from which on no more of a file is read. */
const FILE_AHEAD_BYTES = 262144;
/** Files are read in small pieces while fewer large buffers than this are free: they are for what is under way already. */
const FREE_LARGE_MIN = 8;
/** Read into a buffer of each class. Sealed they fit into one again, but for the end of a file in a medium one. */
const SMALL_PART_BYTES = SMALL_BYTES - 64;
const MEDIUM_PART_BYTES = 16384;
const LARGE_PART_BYTES = LARGE_BYTES >> 1;

/** One entry: content (`buffer` with a reference) or, where `file` > 0, a part of a file. */
interface Entry {
  buffer: BufferId;
  file: FileHandle;
  /** Arena offset of the content, or offset in the file. */
  offset: number;
  /** Bytes still to be sealed, and how many there were. */
  length: number;
  readonly total: number;
  readonly tag: number;
}

/** The TLS socket, as its queue sees it. */
export interface Sealer {
  readonly reactor: Reactor;
  /** Sealed bytes that the kernel has not taken. */
  sealedBytesQueued(): number;
  /** Seals and sends up to `length` bytes; returns how many, 0 where no buffer is free. `tag` is given to the last of them. */
  seal(offset: number, length: number, tag: number): number;
  /** The last bytes of a file were sealed: `onSend` of the segment with FILE_END_TAG tells when they have left. */
  fileSealed(tag: number, total: number): void;
  /** A file ended early: `result` bytes were sealed. */
  fileShort(tag: number, result: number): void;
  /** A file can't be read: nothing behind it may be sent, and the queue is cleared. */
  fileFailed(tag: number, errno: number): void;
  /** All is sealed. */
  queueEmpty(): void;
  /** Memory is short: `pump` is to be called again soon. */
  retryLater(): void;
}

/** Tags of the reactor's segments, above all tags of content: a part of something, and the end of a file. */
export const PART_TAG = 0x10000;
export const FILE_END_TAG = 0x10001;

export class TlsQueue implements FileHandler {
  private readonly sealer: Sealer;
  private readonly pool: BufferPool;
  private readonly entries: Entry[];
  /** Plaintext bytes in the queue. */
  bytes: number;
  /** Where a read is to be put that is under way. */
  private reading: BufferId;
  private closed: boolean;

  constructor(sealer: Sealer) {
    this.sealer = sealer;
    this.pool = sealer.reactor.pool;
    this.entries = [];
    this.bytes = 0;
    this.reading = NO_BUFFER;
    this.closed = false;
  }

  get isEmpty(): boolean {
    return this.entries.length === 0;
  }

  content(buffer: BufferId, offset: number, length: number, tag: number): void {
    this.entries.push({ buffer, file: 0, offset, length, total: length, tag });
    this.bytes += length;
  }

  file(file: FileHandle, offset: number, length: number, tag: number): void {
    this.entries.push({ buffer: NO_BUFFER, file, offset, length, total: length, tag });
    this.bytes += length;
  }

  /** Seals what it can. Calls no handler but the sealer. */
  pump(): void {
    while (!this.closed && this.reading === NO_BUFFER) {
      const entry = this.entries[0];
      if (entry === undefined) {
        this.sealer.queueEmpty();
        return;
      }
      if (!(entry.file > 0 ? this.readPart(entry) : this.sealContent(entry))) return;
    }
  }

  private sealContent(entry: Entry): boolean {
    const sealed = this.sealer.seal(entry.offset, entry.length, entry.tag);
    if (sealed === 0) {
      this.sealer.retryLater();
      return false;
    }
    this.advance(entry, sealed);
    if (entry.length === 0) {
      this.pool.release(entry.buffer);
      this.entries.shift();
    }
    return true;
  }

  private advance(entry: Entry, length: number): void {
    entry.offset += length;
    entry.length -= length;
    this.bytes -= length;
  }

  /** Reads the next part of a file. False: it is under way, or has to wait. */
  private readPart(entry: Entry): boolean {
    if (this.sealer.sealedBytesQueued() >= FILE_AHEAD_BYTES) return false;
    const buffer = this.acquireFor(entry.length);
    if (buffer === NO_BUFFER) {
      this.sealer.retryLater();
      return false;
    }
    const length = Math.min(entry.length, this.partBytes(buffer, entry.length));
    this.reading = buffer;
    const result = this.sealer.reactor.readFile(
      entry.file,
      entry.offset,
      this.pool.offsetOf(buffer),
      length,
      this,
      0,
    );
    if (result === PENDING) return false;
    return this.partRead(result);
  }

  /** For the next part of `length` bytes that are left. */
  private acquireFor(length: number): BufferId {
    const { pool } = this;
    let id = NO_BUFFER;
    if (length <= SMALL_PART_BYTES) id = pool.acquire(SMALL);
    else if (length > MEDIUM_BYTES && pool.freeCount(LARGE) >= FREE_LARGE_MIN) id = pool.acquire(LARGE);
    if (id === NO_BUFFER) id = pool.acquire(MEDIUM);
    return id === NO_BUFFER ? pool.acquire(SMALL) : id;
  }

  private partBytes(buffer: BufferId, left: number): number {
    const sizeClass = this.pool.classOf(buffer);
    if (sizeClass === LARGE) return LARGE_PART_BYTES;
    if (sizeClass === SMALL) return SMALL_PART_BYTES;
    return left <= MEDIUM_BYTES ? left : MEDIUM_PART_BYTES;
  }

  onOpen(): void {
    // Nothing is opened here.
  }

  onRead(_tag: number, result: number): void {
    if (this.partRead(result)) this.pump();
  }

  /** A part was read, or the file has failed or ended. False: sealing it has to wait. */
  private partRead(result: number): boolean {
    const buffer = this.reading;
    this.reading = NO_BUFFER;
    const entry = this.entries[0];
    if (this.closed || entry === undefined) {
      this.pool.release(buffer);
      return false;
    }
    if (result <= 0) {
      this.pool.release(buffer);
      this.entries.shift();
      this.bytes -= entry.length;
      if (result < 0) this.sealer.fileFailed(entry.tag, result);
      else this.sealer.fileShort(entry.tag, entry.total - entry.length);
      return true;
    }
    this.advance(entry, result);
    const isLast = entry.length === 0;
    if (isLast) {
      this.entries.shift();
      this.sealer.fileSealed(entry.tag, entry.total);
    }
    const tag = isLast ? FILE_END_TAG : PART_TAG;
    const at = this.pool.offsetOf(buffer);
    const sealed = this.sealer.seal(at, result, tag);
    if (sealed === result) {
      this.pool.release(buffer);
      return true;
    }
    // Memory is short: the rest waits as content, before what follows.
    this.entries.unshift({
      buffer,
      file: 0,
      offset: at + sealed,
      length: result - sealed,
      total: result,
      tag,
    });
    this.bytes += result - sealed;
    this.sealer.retryLater();
    return false;
  }

  /** Drops everything; `failed` hears of each segment's tag but PART_TAG and 0. */
  clear(failed: ((tag: number) => void) | null): void {
    this.closed = true;
    for (const entry of this.entries.splice(0)) {
      if (entry.buffer !== NO_BUFFER) this.pool.release(entry.buffer);
      if (failed !== null && entry.tag !== 0 && entry.tag !== PART_TAG) failed(entry.tag);
    }
    this.bytes = 0;
  }
}
