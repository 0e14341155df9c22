/**
 * What an HTTP/2 connection sends: frames are written one after another into an open buffer; content of any size follows
 * the header of its frame there, or leaves out of the buffer that it came in.
 */

import { copyBytes } from '../base/bytes.ts';
import type { Http2Output } from '../http2/frame-writer.ts';
import {
  type BufferId,
  type BufferPool,
  MEDIUM,
  NO_BUFFER,
  type SizeClass,
  SMALL,
  SMALL_BYTES,
} from '../io/buffer-pool.ts';
import type { Handle } from '../io/reactor.ts';
import type { SocketPort } from '../socket/port.ts';
import { TAG_BYTES } from './message-out.ts';

/** Content up to this length is copied behind its frame's header, rather than sent as a segment of its own. */
const COPY_BYTES_MAX = 4096;

export class Http2Out implements Http2Output {
  readonly bytes: Uint8Array;
  at: number;
  limit: number;
  private readonly pool: BufferPool;
  private readonly port: SocketPort;
  private readonly handle: Handle;
  private buffer: BufferId;
  private start: number;

  constructor(pool: BufferPool, port: SocketPort, handle: Handle) {
    this.bytes = pool.bytes;
    this.at = 0;
    this.limit = 0;
    this.pool = pool;
    this.port = port;
    this.handle = handle;
    this.buffer = NO_BUFFER;
    this.start = 0;
  }

  makeRoom(length: number): boolean {
    if (this.limit - this.at >= length) return true;
    const isLong = this.at - this.start > SMALL_BYTES >> 1;
    this.flush();
    return this.take(isLong ? MEDIUM : SMALL);
  }

  private take(sizeClass: SizeClass): boolean {
    const buffer = this.pool.acquire(sizeClass);
    if (buffer === NO_BUFFER) return false;
    this.buffer = buffer;
    this.start = this.pool.offsetOf(buffer);
    this.at = this.start;
    this.limit = this.start + this.pool.sizeOf(buffer);
    return true;
  }

  /** Content behind the header of its frame; one reference of `buffer` passes. */
  content(buffer: BufferId, offset: number, length: number): void {
    if (length <= COPY_BYTES_MAX && this.limit - this.at < length) {
      this.flush();
      // Room for the frames that come next too: many small responses leave as one segment.
      if (!this.take(MEDIUM)) this.limit = this.at;
    }
    if (length <= COPY_BYTES_MAX && this.limit - this.at >= length) {
      copyBytes(this.bytes, this.at, offset, length);
      this.at += length;
      this.pool.release(buffer);
      return;
    }
    this.flush();
    this.port.send(this.handle, buffer, offset, length, TAG_BYTES);
  }

  /** What was written leaves. */
  flush(): void {
    const { buffer } = this;
    if (buffer === NO_BUFFER) return;
    const length = this.at - this.start;
    this.buffer = NO_BUFFER;
    this.limit = this.at;
    if (length > 0) this.port.send(this.handle, buffer, this.start, length, TAG_BYTES);
    else this.pool.release(buffer);
  }

  /** Drops what did not leave. */
  drop(): void {
    if (this.buffer !== NO_BUFFER) this.pool.release(this.buffer);
    this.buffer = NO_BUFFER;
    this.limit = this.at;
  }
}
