/** How a check is asked and its answer read: the part of a probe that depends on the protocol. */

import { FIELDS_MAX } from '../http/fields.ts';
import { M_GET, ResponseHead } from '../http/message.ts';
import { ResponseParser } from '../http1/response-parser.ts';
import type { BufferId, BufferPool } from '../io/buffer-pool.ts';
import { PartialHead } from '../socket/partial-head.ts';

/** Interim responses before the one that counts. */
export const INTERIM_MAX = 32;
const LIMITS = { requestLineBytesMax: 8192, headBytesMax: 16_384, fieldsMax: FIELDS_MAX };

// What `read` returns where there is no status.
export const Q_CONTINUES = 0;
export const Q_MALFORMED = -1;
/** Memory is exhausted. */
export const Q_IMPOSSIBLE = -2;
/** The server won't answer. */
export const Q_REFUSED = -3;

export interface Question {
  /** What is to be sent now, in pieces of the asker's making; empty: nothing. */
  take(): Uint8Array;
  /**
   * Reads what came, `bytes[offset … offset + length)` of `buffer`, whose reference stays the caller's. Returns the
   * final status, or one of the Q_ values.
   */
  read(buffer: BufferId, offset: number, length: number, nowMs: number): number;
  release(): void;
}

/** HTTP/1.1. */
export class Http1Question implements Question {
  private readonly pool: BufferPool;
  private readonly parser: ResponseParser;
  private readonly head: ResponseHead;
  private partial: PartialHead | null;
  private text: string;
  private interims: number;

  /** `text`: the request, in ASCII. */
  constructor(pool: BufferPool, text: string) {
    this.pool = pool;
    this.parser = new ResponseParser(LIMITS);
    this.head = new ResponseHead(pool.bytes);
    this.partial = null;
    this.text = text;
    this.interims = 0;
  }

  take(): Uint8Array {
    const bytes = Buffer.from(this.text, 'latin1');
    this.text = '';
    return bytes;
  }

  read(buffer: BufferId, offset: number, length: number): number {
    if (this.partial === null) {
      this.pool.retain(buffer);
      this.partial = new PartialHead(this.pool);
      this.partial.keep(buffer, offset, offset + length);
      return this.parse(this.partial);
    }
    for (let used = 0; used < length; ) {
      const taken = this.partial.append(offset + used, length - used, this.parser);
      if (taken < 0) return Q_IMPOSSIBLE;
      used += taken;
      const status = this.parse(this.partial);
      if (status !== Q_CONTINUES) return status;
    }
    return Q_CONTINUES;
  }

  /** Reads heads until the final one, or as far as they have come. */
  private parse(partial: PartialHead): number {
    const { bytes } = this.pool;
    while (partial.start < partial.end) {
      const used = this.parser.parse(this.head, M_GET, bytes, partial.start, partial.end);
      if (used < 0) return Q_MALFORMED;
      if (used === 0) return Q_CONTINUES;
      partial.start += used;
      const { status } = this.head;
      if (status >= 200 || status === 101) return status;
      if (++this.interims > INTERIM_MAX) return Q_MALFORMED;
    }
    return Q_CONTINUES;
  }

  release(): void {
    this.partial?.release();
    this.partial = null;
  }
}
