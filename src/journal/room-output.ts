/**
 * What another room's process writes to its standard output and error, line by line: last words of a room that dies, warnings of
 * Node.js. Always read, so that no room waits for it; limited in how much of it becomes entries.
 */

import { isUtf8 } from 'node:buffer';
import { closeSync, readSync } from 'node:fs';
import { type Watch, watchDescriptor } from '../sys/descriptors.ts';

/** Bytes of a line that are kept. Our own choice, as the next ones are. */
export const LINE_BYTES_MAX = 2048;
/** Lines that become entries: so many at once, so many a second. */
export const LINES_AT_ONCE = 1000;
export const LINES_PER_SECOND = 100;
/** A line whose end doesn't come is taken as it is after this. */
const PARTIAL_LINE_MS = 500;
/** For what is read within a turn. */
const READ_BUFFER = Buffer.allocUnsafeSlow(65_536);
/** Reads of one turn, so that a room that writes without end doesn't keep the others waiting. */
const READS_PER_TURN = 8;
const NEWLINE = 0x0a;

/** Puts lines together from bytes as they come. Pure. */
export class OutputLines {
  private readonly onLine: (line: string) => void;
  private readonly bytes: Buffer;
  private length: number;
  private isCut: boolean;

  constructor(onLine: (line: string) => void) {
    this.onLine = onLine;
    this.bytes = Buffer.alloc(LINE_BYTES_MAX);
    this.length = 0;
    this.isCut = false;
  }

  /** Whether a line has begun and not ended. */
  get isPartial(): boolean {
    return this.length > 0;
  }

  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const newline = bytes.indexOf(NEWLINE, at);
      const end = newline < 0 ? bytes.length : newline;
      const kept = Math.min(end - at, LINE_BYTES_MAX - this.length);
      this.bytes.set(bytes.subarray(at, at + kept), this.length);
      this.length += kept;
      if (kept < end - at) this.isCut = true;
      if (newline >= 0) this.end();
      at = end + 1;
    }
  }

  /** The line ends here. Empty ones are passed over. */
  end(): void {
    const bytes = this.bytes.subarray(0, this.length);
    if (this.length > 0) this.onLine(textOf(bytes, this.isCut));
    this.length = 0;
    this.isCut = false;
  }
}

/** Bytes that are no text as `\xff`; the rest is escaped where it is written. */
function textOf(bytes: Buffer, isCut: boolean): string {
  const whole = isCut ? withoutCutCharacter(bytes) : bytes;
  const text = isUtf8(whole)
    ? whole.toString('utf8')
    : whole
        .toString('latin1')
        .replaceAll(/[\x80-\xff]/g, (character) => `\\x${character.charCodeAt(0).toString(16)}`);
  return isCut ? `${text}…` : text;
}

/** The last character may have been cut in the middle: at most three bytes of one. */
function withoutCutCharacter(bytes: Buffer): Buffer {
  for (let less = 0; less <= 3 && less < bytes.length; less++) {
    const shorter = bytes.subarray(0, bytes.length - less);
    if (isUtf8(shorter)) return shorter;
  }
  return bytes;
}

export interface OutputReader {
  onLine(line: string): void;
  /** Lines that are no entries since there were too many. */
  onDropped(count: number): void;
  /** Nobody writes any more, and all is read; the descriptor is closed. */
  onEnd(): void;
}

/** The pipe's end for reading, which is its own from now on. */
export class RoomOutput {
  private readonly descriptor: number;
  private readonly reader: OutputReader;
  private readonly lines: OutputLines;
  private readonly watch: Watch;
  private readonly clock: () => number;
  private allowance: number;
  private allowedMs: number;
  private partial: NodeJS.Timeout | null;
  private isClosed: boolean;

  /** Throws where the descriptor can't be waited for. `clock`: milliseconds from anywhere. */
  constructor(descriptor: number, reader: OutputReader, clock: () => number = () => performance.now()) {
    this.descriptor = descriptor;
    this.reader = reader;
    this.lines = new OutputLines((line) => this.onLine(line));
    this.clock = clock;
    this.allowance = LINES_AT_ONCE;
    this.allowedMs = clock();
    this.partial = null;
    this.isClosed = false;
    this.watch = watchDescriptor(
      descriptor,
      () => this.read(),
      () => {},
    );
  }

  /** Takes what is there, and what has no end as it is. */
  finish(): void {
    this.read();
    this.lines.end();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.partial !== null) clearTimeout(this.partial);
    this.watch.stop();
    closeSync(this.descriptor);
  }

  private read(): void {
    for (let count = 0; count < READS_PER_TURN && !this.isClosed; count++) {
      const length = readSome(this.descriptor);
      if (length < 0) break;
      if (length === 0) {
        this.lines.end();
        this.close();
        this.reader.onEnd();
        return;
      }
      this.lines.add(READ_BUFFER.subarray(0, length));
    }
    this.watchPartial();
  }

  private watchPartial(): void {
    if (this.partial !== null) clearTimeout(this.partial);
    this.partial = this.lines.isPartial ? setTimeout(() => this.lines.end(), PARTIAL_LINE_MS) : null;
    this.partial?.unref();
  }

  private onLine(line: string): void {
    const nowMs = this.clock();
    const more = ((nowMs - this.allowedMs) / 1000) * LINES_PER_SECOND;
    this.allowance = Math.min(LINES_AT_ONCE, this.allowance + more);
    this.allowedMs = nowMs;
    if (this.allowance < 1) {
      this.reader.onDropped(1);
      return;
    }
    this.allowance--;
    this.reader.onLine(line);
  }
}

/** Bytes read; 0: nobody writes any more; -1: nothing is there now. */
function readSome(descriptor: number): number {
  try {
    return readSync(descriptor, READ_BUFFER);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? -1 : 0;
  }
}
