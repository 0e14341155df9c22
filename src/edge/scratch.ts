/**
 * An exchange's own memory for bytes that are made during it: a normalised path, values of added fields. Small
 * arena buffers, taken when first needed and given back together. What was written stays where it is until
 * `release`, so that field sections may point to it.
 */

import { FIELD_NAMES, type FieldSection } from '../http/fields.ts';
import {
  type BufferId,
  type BufferPool,
  LARGE,
  MEDIUM,
  MEDIUM_BYTES,
  NO_BUFFER,
  SMALL,
  SMALL_BYTES,
} from '../io/buffer-pool.ts';

const COLON = 0x3a;
const SPACE = 0x20;
const CR = 0x0d;
const LF = 0x0a;

export class Scratch {
  readonly pool: BufferPool;
  /** Buffers held; the last one is written to. Empty for most exchanges that are not proxied. */
  private readonly held: BufferId[];
  /** Whose free end is written to while none is held, or NO_BUFFER. */
  private lender: BufferId;
  private at: number;
  private end: number;

  constructor(pool: BufferPool) {
    this.pool = pool;
    this.held = [];
    this.lender = NO_BUFFER;
    this.at = 0;
    this.end = 0;
  }

  /**
   * `[at, end)` may be written to before a buffer is taken: what is free of one that somebody else holds until `release`.
   * So an exchange touches one page rather than two.
   */
  lend(buffer: BufferId, at: number, end: number): void {
    if (this.held.length > 0) return;
    this.lender = buffer;
    this.at = at;
    this.end = end;
  }

  /**
   * A part of what was lent, for somebody who sends it: it is theirs from now on, with a reference of `lentBuffer`.
   * Returns its arena offset, or -1 where less than twice as much is left.
   */
  cede(length: number): number {
    if (this.lender === NO_BUFFER || this.end - this.at < 2 * length) return -1;
    const at = this.at;
    this.at = at + length;
    this.pool.retain(this.lender);
    return at;
  }

  get lentBuffer(): BufferId {
    return this.lender;
  }

  /** Arena offset of at least `length` bytes to write to, or -1 when memory is exhausted. `commit` keeps what was written. */
  reserve(length: number): number {
    if (this.end - this.at >= length) return this.at;
    const sizeClass = length <= SMALL_BYTES ? SMALL : length <= MEDIUM_BYTES ? MEDIUM : LARGE;
    const id = this.pool.acquire(sizeClass);
    if (id === NO_BUFFER) return -1;
    this.held.push(id);
    this.lender = NO_BUFFER;
    this.at = this.pool.offsetOf(id);
    this.end = this.at + this.pool.sizeOf(id);
    return length <= this.end - this.at ? this.at : -1;
  }

  /** The first `length` bytes of what was reserved are in use from now on. */
  commit(length: number): void {
    this.at += length;
  }

  /**
   * Adds a field to a section, its line written as `name: value CRLF`, so that lines added one after another
   * are written out as one run. Returns false when memory or the section is exhausted.
   */
  addField(fields: FieldSection, id: number, name: string, value: string): boolean {
    const nameText = id === 0 ? name : FIELD_NAMES[id];
    const length = nameText.length + value.length + 4;
    const at = this.reserve(length);
    if (at < 0) return false;
    const text = this.pool.text;
    text.latin1Write(nameText, at, nameText.length);
    const valueAt = this.endName(at + nameText.length);
    text.latin1Write(value, valueAt, value.length);
    this.endLine(valueAt + value.length);
    this.commit(length);
    return fields.add(at, nameText.length, valueAt, value.length, id);
  }

  /** Writes `: ` at an offset and returns where the value begins. */
  endName(at: number): number {
    const bytes = this.pool.bytes;
    bytes[at] = COLON;
    bytes[at + 1] = SPACE;
    return at + 2;
  }

  /** Writes CRLF at an offset and returns what follows it. */
  endLine(at: number): number {
    const bytes = this.pool.bytes;
    bytes[at] = CR;
    bytes[at + 1] = LF;
    return at + 2;
  }

  release(): void {
    const held = this.held;
    while (held.length > 0) {
      const id = held.pop();
      if (id !== undefined) this.pool.release(id);
    }
    this.lender = NO_BUFFER;
    this.at = 0;
    this.end = 0;
  }
}
