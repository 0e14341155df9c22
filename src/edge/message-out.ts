/**
 * Writes one HTTP/1.1 message to a socket: its head, then content with or without chunked coding. Small pieces
 * are gathered in one buffer and leave as one segment; large ones go out of the buffer that they came in.
 *
 * Behind bytes that the peer has not taken yet, pieces are gathered until a buffer is full or the peer takes
 * more: otherwise pieces of a few bytes each would hold a whole buffer each, and a slow reader all memory.
 *
 * Owns the open buffer. What was written leaves with `flush`, at the latest with `end`.
 */

import { copyWithin } from '../base/bytes.ts';
import type { FieldSection } from '../http/fields.ts';
import { writeChunkHeader, writeFields } from '../http1/writer.ts';
import {
  type BufferId,
  type BufferPool,
  LARGE,
  LARGE_BYTES,
  MEDIUM,
  NO_BUFFER,
  type SizeClass,
  SMALL,
  SMALL_BYTES,
} from '../io/buffer-pool.ts';
import type { FileHandle, Handle } from '../io/reactor.ts';
import type { SocketPort } from '../socket/port.ts';
import type { Scratch } from './scratch.ts';

/** Content up to this length is copied next to what is already there, rather than sent as a segment of its own. */
const COPY_BYTES_MAX = 2048;
/** From this many unsent bytes on pieces are gathered in large buffers, but for those that fill half of theirs. */
const BACKLOG_BYTES = 131072;
/** Below that, only those that fill less than a sixteenth: more is mostly what leaves in this same turn. */
const SPARSE_SHIFT = 4;
/** CRLF, 16 hexadecimal digits, CRLF; and the CRLF after the data. */
const CHUNK_OVERHEAD_BYTES = 24;
/** Room for a head that is written behind the one that it comes from. */
const CEDED_BYTES = 6144;
const CR = 0x0d;
const LF = 0x0a;
const ZERO = 0x30;

/** Tag of every segment of content and heads: its sender hears of it. */
export const TAG_BYTES = 1;
/** Tag of a file's segment. */
export const TAG_FILE = 2;
/** Tag of what the kernel moves out of another socket. */
export const TAG_FORWARDED = 3;

export class MessageOut {
  private readonly pool: BufferPool;
  private port: SocketPort | null;
  private handle: Handle;
  private buffer: BufferId;
  private start: number;
  /** Where the next byte goes, and the end of the open buffer; writers outside use these after `open`. */
  at: number;
  limit: number;
  /** Content is coded as chunks. */
  chunked: boolean;
  /** The CRLF that ends the last chunk's data is still to be written. */
  private crlfDue: boolean;
  /** Nothing of the message that `open` began has left its buffer. */
  private isWhole: boolean;

  constructor(pool: BufferPool) {
    this.pool = pool;
    this.port = null;
    this.handle = 0;
    this.buffer = NO_BUFFER;
    this.start = 0;
    this.at = 0;
    this.limit = 0;
    this.chunked = false;
    this.crlfDue = false;
    this.isWhole = false;
  }

  attach(port: SocketPort, handle: Handle): void {
    this.port = port;
    this.handle = handle;
    this.chunked = false;
    this.crlfDue = false;
    this.isWhole = false;
  }

  /** Drops what did not leave. */
  detach(): void {
    if (this.buffer !== NO_BUFFER) this.pool.release(this.buffer);
    this.buffer = NO_BUFFER;
    this.port = null;
    this.handle = 0;
  }

  /** Makes room for at least a small buffer's worth at `at`, after what was written before. False: memory is exhausted. */
  open(): boolean {
    if (this.buffer !== NO_BUFFER) this.flush();
    this.isWhole = true;
    return this.take(SMALL);
  }

  /** As `open`, in what an exchange was lent where that is enough: what was received there is at hand already. */
  openIn(scratch: Scratch): boolean {
    if (this.buffer !== NO_BUFFER) this.flush();
    this.isWhole = true;
    const at = scratch.cede(CEDED_BYTES);
    if (at < 0) return this.take(SMALL);
    this.buffer = scratch.lentBuffer;
    this.start = at;
    this.at = at;
    this.limit = at + CEDED_BYTES;
    return true;
  }

  /** The head did not fit: the same again in a large buffer. What was written since `open` is dropped. */
  reopenLarge(): boolean {
    this.pool.release(this.buffer);
    this.buffer = NO_BUFFER;
    return this.take(LARGE);
  }

  /** Forgets the message, where none of it has left since `open`: as if it had never begun. False: some has. */
  takeBack(): boolean {
    if (!this.isWhole || this.buffer === NO_BUFFER) return false;
    this.pool.release(this.buffer);
    this.buffer = NO_BUFFER;
    this.chunked = false;
    this.crlfDue = false;
    return true;
  }

  private take(sizeClass: SizeClass): boolean {
    const id = this.pool.acquire(sizeClass);
    if (id === NO_BUFFER) return false;
    this.buffer = id;
    this.start = this.pool.offsetOf(id);
    this.at = this.start;
    this.limit = this.start + this.pool.sizeOf(id);
    return true;
  }

  /**
   * Content; one reference of `buffer` passes. The `room` bytes before it are nobody's. False: memory is exhausted, and
   * the message can't be ended properly.
   */
  data(buffer: BufferId, offset: number, length: number, room = 0): boolean {
    if (this.chunked) return this.chunk(buffer, offset, length);
    if (room > 0 && this.putBefore(buffer, offset, length, room)) return true;
    if (length <= COPY_BYTES_MAX && this.buffer !== NO_BUFFER && this.limit - this.at >= length) {
      this.copy(buffer, offset, length);
      return true;
    }
    if (this.gathers(buffer, length) && this.makeRoom(length)) {
      this.copy(buffer, offset, length);
      return true;
    }
    this.flush();
    this.send(buffer, offset, length, TAG_BYTES);
    return true;
  }

  /** What was written goes before the content, where it is shorter: one segment leaves, and less is copied. False: it can't. */
  private putBefore(buffer: BufferId, offset: number, length: number, room: number): boolean {
    const written = this.at - this.start;
    if (!this.isWhole || this.buffer === NO_BUFFER || written > room || written >= length) return false;
    // Behind bytes that the peer does not take, content must not hold more memory than its own.
    if (this.unsentBytes > 0) return false;
    copyWithin(this.pool, offset - written, this.start, written);
    this.pool.release(this.buffer);
    this.buffer = buffer;
    this.start = offset - written;
    this.at = offset + length;
    this.limit = this.at;
    return true;
  }

  private copy(buffer: BufferId, offset: number, length: number): void {
    copyWithin(this.pool, this.at, offset, length);
    this.at += length;
    this.pool.release(buffer);
  }

  /** Bytes that the peer has not taken, beside the open buffer. */
  private get unsentBytes(): number {
    return this.port === null ? 0 : this.port.sendQueuedBytes(this.handle);
  }

  /** Whether a piece is copied rather than sent out of the buffer that it came in. */
  private gathers(buffer: BufferId, length: number): boolean {
    if (length > LARGE_BYTES >> 1) return false;
    const unsent = this.unsentBytes;
    if (unsent === 0) return false;
    const size = this.pool.sizeOf(buffer);
    return length <= (unsent < BACKLOG_BYTES ? Math.max(COPY_BYTES_MAX, size >> SPARSE_SHIFT) : size >> 1);
  }

  /** Room for a piece in the open buffer or another one; false: memory is exhausted. */
  private makeRoom(length: number): boolean {
    if (this.buffer !== NO_BUFFER) {
      if (this.limit - this.at >= length) return true;
      this.flush();
    }
    if (this.unsentBytes >= BACKLOG_BYTES) return this.take(LARGE);
    return this.take(length <= SMALL_BYTES >> 1 ? SMALL : MEDIUM);
  }

  private chunk(buffer: BufferId, offset: number, length: number): boolean {
    if (this.gathers(buffer, length)) this.makeRoom(length + 2 * CHUNK_OVERHEAD_BYTES);
    if (!this.chunkHeader(length)) {
      this.pool.release(buffer);
      return false;
    }
    const fits = this.limit - this.at >= length + CHUNK_OVERHEAD_BYTES;
    if (fits && (length <= COPY_BYTES_MAX || this.gathers(buffer, length))) {
      this.copy(buffer, offset, length);
      this.crlf();
      return true;
    }
    this.flush();
    this.crlfDue = true;
    this.send(buffer, offset, length, TAG_BYTES);
    return true;
  }

  /** Ends the chunk before and begins one of `length` bytes. */
  private chunkHeader(length: number): boolean {
    if (this.buffer === NO_BUFFER || this.limit - this.at < CHUNK_OVERHEAD_BYTES) {
      this.flush();
      if (!this.take(SMALL)) return false;
    }
    if (this.crlfDue) this.crlf();
    this.crlfDue = false;
    this.at = writeChunkHeader(this.pool, this.at, this.limit, length);
    return true;
  }

  private crlf(): void {
    this.pool.bytes[this.at] = CR;
    this.pool.bytes[this.at + 1] = LF;
    this.at += 2;
  }

  /** Content from a file; `length` > 0. */
  file(file: FileHandle, fileOffset: number, length: number): boolean {
    if (this.chunked && !this.chunkHeader(length)) return false;
    this.flush();
    this.crlfDue = this.chunked;
    this.port?.sendFile(this.handle, file, fileOffset, length, TAG_FILE);
    return true;
  }

  /** Content that another socket is still to receive: moved by the kernel, after what was written. False: it can't be. */
  forward(source: Handle, length: number): boolean {
    const { port } = this;
    if (this.chunked || port?.sendFrom === undefined) return false;
    this.flush();
    return port.sendFrom(this.handle, source, length, TAG_FORWARDED) === 0;
  }

  /** The last chunk with its trailers, if content is chunked; then all leaves. False: memory is exhausted. */
  end(trailers: FieldSection): boolean {
    if (this.chunked && !this.lastChunk(trailers)) return false;
    this.chunked = false;
    this.flush();
    return true;
  }

  private lastChunk(trailers: FieldSection): boolean {
    if (this.buffer === NO_BUFFER || this.limit - this.at < CHUNK_OVERHEAD_BYTES) {
      this.flush();
      if (!this.take(SMALL)) return false;
    }
    if (this.crlfDue) this.crlf();
    this.crlfDue = false;
    this.pool.bytes[this.at++] = ZERO;
    this.crlf();
    if (trailers.count > 0) {
      if (!this.room(2)) return false;
      let at = writeFields(this.pool, this.at, this.limit - 2, trailers);
      if (at < 0) {
        this.flush();
        if (!this.take(LARGE)) return false;
        at = writeFields(this.pool, this.at, this.at + LARGE_BYTES - 2, trailers);
        if (at < 0) return false;
      }
      this.at = at;
    }
    if (!this.room(2)) return false;
    this.crlf();
    return true;
  }

  private room(length: number): boolean {
    if (this.limit - this.at >= length) return true;
    this.flush();
    return this.take(SMALL);
  }

  /** What was written leaves now, or, while the peer has not taken what was sent before, when it does. */
  pass(): void {
    if (this.buffer !== NO_BUFFER && this.unsentBytes === 0) this.flush();
  }

  flush(): void {
    const buffer = this.buffer;
    if (buffer === NO_BUFFER) return;
    this.buffer = NO_BUFFER;
    this.isWhole = false;
    const length = this.at - this.start;
    if (length > 0) this.send(buffer, this.start, length, TAG_BYTES);
    else this.pool.release(buffer);
    this.limit = this.at;
  }

  private send(buffer: BufferId, offset: number, length: number, tag: number): void {
    if (this.port === null) this.pool.release(buffer);
    else this.port.send(this.handle, buffer, offset, length, tag);
  }
}
