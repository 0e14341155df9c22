/**
 * The delimiters of a multipart/byteranges response (RFC 9110 §14.6): what stands before each part and after
 * the last. All of them are written into one small buffer before the response begins, so that its length is known.
 */

import { randomBytes } from 'node:crypto';
import { RANGES_MAX, type RangeSet } from '../http/ranges.ts';
import { type BufferId, type BufferPool, NO_BUFFER, SMALL, SMALL_BYTES } from '../io/buffer-pool.ts';

/**
 * No content can be made to hold it: it is drawn once for a process, and a client that learns it can't write
 * files. RFC 2046 §5.1.1 allows 70 bytes.
 */
const BOUNDARY = randomBytes(15).toString('hex');

/** Value of Content-Type. */
export const MULTIPART_TYPE = `multipart/byteranges; boundary=${BOUNDARY}`;

const CLOSING = `\r\n--${BOUNDARY}--\r\n`;

export class MultipartRanges {
  private readonly pool: BufferPool;
  buffer: BufferId;
  /** Arena offset of the delimiter before each part, and, last, of the closing one; and where that ends. */
  private readonly offsets: Int32Array;
  private count: number;

  constructor(pool: BufferPool) {
    this.pool = pool;
    this.buffer = NO_BUFFER;
    this.offsets = new Int32Array(RANGES_MAX + 2);
    this.count = 0;
  }

  /** Writes all delimiters. False: there is no memory. */
  prepare(ranges: RangeSet, type: string, size: number): boolean {
    const id = this.pool.acquire(SMALL);
    if (id === NO_BUFFER) return false;
    this.buffer = id;
    this.count = ranges.count;
    let at = this.pool.offsetOf(id);
    const limit = at + SMALL_BYTES;
    for (let part = 0; part <= ranges.count; part++) {
      const last = part === ranges.count;
      const range = last ? '' : `${ranges.starts[part]}-${ranges.ends[part] - 1}/${size}`;
      const written = last
        ? CLOSING
        : `\r\n--${BOUNDARY}\r\nContent-Type: ${type}\r\nContent-Range: bytes ${range}\r\n\r\n`;
      if (at + written.length > limit) {
        this.release();
        return false;
      }
      this.offsets[part] = at;
      at += this.pool.text.latin1Write(written, at, written.length);
    }
    this.offsets[ranges.count + 1] = at;
    return true;
  }

  /** Bytes of all delimiters. */
  get bytes(): number {
    return this.offsets[this.count + 1] - this.offsets[0];
  }

  /** Arena offset of the delimiter before `part`; the closing one is at the number of parts. */
  offset(part: number): number {
    return this.offsets[part];
  }

  length(part: number): number {
    return this.offsets[part + 1] - this.offsets[part];
  }

  release(): void {
    if (this.buffer !== NO_BUFFER) this.pool.release(this.buffer);
    this.buffer = NO_BUFFER;
  }
}
