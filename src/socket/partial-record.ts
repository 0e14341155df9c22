/** A TLS record of which only the beginning has come: a copy of it, in a buffer that holds the whole of it. */

import { type BufferId, type BufferPool, MEDIUM_BYTES, NO_BUFFER, SMALL_BYTES } from '../io/buffer-pool.ts';
import { CIPHERTEXT_MAX, HEADER_BYTES } from '../tls/record-layer.ts';
import { acquireAtLeast } from './tls-buffers.ts';

/** Results of `append` that are not an offset. */
export const RECORD_TOO_LONG = -1;
export const RECORD_NO_MEMORY = -2;

/** Bytes of the record whose whole header lies at `offset`. */
export function recordBytesAt(bytes: Uint8Array, offset: number): number {
  return HEADER_BYTES + ((bytes[offset + 3] << 8) | bytes[offset + 4]);
}

export const RECORD_BYTES_MAX: number = HEADER_BYTES + CIPHERTEXT_MAX;

export class PartialRecord {
  private readonly pool: BufferPool;
  buffer: BufferId;
  /** Arena offsets of the record's first byte and of the end of what came. */
  start: number;
  private end: number;

  constructor(pool: BufferPool) {
    this.pool = pool;
    this.buffer = NO_BUFFER;
    this.start = 0;
    this.end = 0;
  }

  /** Copies the beginning of a record, which lies at `offset … end`. False: no buffer is free. */
  keep(offset: number, end: number): boolean {
    const { bytes } = this.pool;
    const isLong = end - offset >= HEADER_BYTES && recordBytesAt(bytes, offset) > SMALL_BYTES;
    this.buffer = acquireAtLeast(this.pool, isLong ? MEDIUM_BYTES : SMALL_BYTES);
    if (this.buffer === NO_BUFFER) return false;
    this.start = this.pool.offsetOf(this.buffer);
    this.end = this.start;
    this.copy(offset, end - offset);
    return true;
  }

  /** Bytes of the whole record; 0 while its header is not whole. */
  get recordBytes(): number {
    return this.end - this.start < HEADER_BYTES ? 0 : recordBytesAt(this.pool.bytes, this.start);
  }

  /** Bytes that are known to be missing: of the header, then of the record. */
  get bytesMissing(): number {
    const { recordBytes } = this;
    return (recordBytes === 0 ? HEADER_BYTES : recordBytes) - (this.end - this.start);
  }

  get isWhole(): boolean {
    return this.end - this.start === this.recordBytes;
  }

  /** Appends what of `offset … end` belongs to the record. Returns the offset after it, or RECORD_… */
  append(offset: number, end: number): number {
    const header = Math.min(HEADER_BYTES - (this.end - this.start), end - offset);
    let at = offset;
    if (header > 0) {
      this.copy(at, header);
      at += header;
    }
    const { recordBytes } = this;
    if (recordBytes === 0) return at;
    if (recordBytes > RECORD_BYTES_MAX) return RECORD_TOO_LONG;
    if (recordBytes > this.pool.sizeOf(this.buffer) && !this.grow()) return RECORD_NO_MEMORY;
    const taken = Math.min(recordBytes - (this.end - this.start), end - at);
    this.copy(at, taken);
    return at + taken;
  }

  private copy(offset: number, length: number): void {
    this.pool.bytes.copyWithin(this.end, offset, offset + length);
    this.end += length;
  }

  private grow(): boolean {
    const larger = acquireAtLeast(this.pool, MEDIUM_BYTES);
    if (larger === NO_BUFFER) return false;
    const { buffer, start, end } = this;
    this.buffer = larger;
    this.start = this.pool.offsetOf(larger);
    this.end = this.start;
    this.copy(start, end - start);
    this.pool.release(buffer);
    return true;
  }

  release(): void {
    if (this.buffer !== NO_BUFFER) this.pool.release(this.buffer);
    this.buffer = NO_BUFFER;
  }
}
