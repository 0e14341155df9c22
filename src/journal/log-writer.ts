/**
 * Writes lines to the log's file in the order in which they came: gathered, one write after the other, by libuv's
 * threads, so that a slow disk or a reader that has stopped keeps nobody waiting. The file comes from outside, opened;
 * where it is full, another one is asked for.
 *
 * What can't be written is dropped, counted, told on standard error once a minute, and in the log when it works again.
 * Nothing here throws, blocks, or grows beyond QUEUE_BYTES_MAX.
 */

import { closeSync, write } from 'node:fs';
import { assert } from '../base/assert.ts';
import { type Format, formatEntry, type Level, type LogFields } from '../log/line.ts';
import { reaches } from '../log/log.ts';
import { countLines } from './entry-text.ts';

/** What `[logging]` says to the journal. */
export interface JournalOptions {
  readonly level: Level | 'off';
  readonly format: Format;
  /** Bytes; 0: no rotation. */
  readonly maxLogSize: number;
}

/** Bytes that may wait, of all together. Our own choice, as the next ones are. */
export const QUEUE_BYTES_MAX = 16 * 1024 * 1024;
/** Bytes that one source may have waiting, so that none takes the others' room. */
export const SHARE_BYTES_MAX = QUEUE_BYTES_MAX / 4;
/** Room beyond that, for the master and for what the journal itself has to say. */
const RESERVE_BYTES = 1024 * 1024;
/** Lines are gathered in pieces of this size, each written with one call. */
const BATCH_BYTES = 256 * 1024;
const SPARE_BATCHES_MAX = 4;
/** How long another file is waited for before the old one grows beyond its size. */
const ROTATION_MS_MAX = 1000;
/** What takes nothing at the moment (a pipe) is asked again this often, this many times. */
const RETRY_MS = 20;
const RETRIES_MAX = 50;
/** Whether the log works again is tried this often when nothing else is to be written. */
const RECOVERY_MS = 1000;
const COMPLAINT_INTERVAL_MS = 60_000;
const NEWLINE = 0x0a;

/** One source's part of what waits. */
export class Share {
  readonly bytesMax: number;
  readonly isPrivileged: boolean;
  queuedBytes: number;

  /** A privileged one may use the reserve. */
  constructor(isPrivileged = false) {
    this.bytesMax = SHARE_BYTES_MAX;
    this.isPrivileged = isPrivileged;
    this.queuedBytes = 0;
  }
}

/** Lines that leave together, and whose they are. */
class Batch {
  readonly bytes: Buffer;
  used: number;
  readonly shares: Map<Share, number>;

  constructor() {
    this.bytes = Buffer.allocUnsafeSlow(BATCH_BYTES);
    this.used = 0;
    this.shares = new Map();
  }
}

interface LogFile {
  readonly descriptor: number;
  readonly rotates: boolean;
  bytes: number;
  /** A write ended in the middle of a line. */
  isBroken: boolean;
}

export class LogWriter {
  /** Lines that were not written since the start. */
  dropped: number;
  private options: JournalOptions;
  private readonly askForRotation: () => void;
  private readonly clock: () => number;
  private readonly own: Share;
  private file: LogFile | null;
  private complaints: number;
  private complainedMs: number;
  private isComplaining: boolean;
  /** In order; the last one is being filled. */
  private readonly queue: Batch[];
  private readonly spare: Batch[];
  private queuedBytes: number;
  private isRunning: boolean;
  private isWriting: boolean;
  /** How far the last write came. */
  private reached: number;
  /** Files that others have taken the place of, while one of them is written to. */
  private readonly retired: number[];
  private onAnotherFile: (() => void) | null;
  private onIdle: (() => void)[];
  /** Lines lost since that was last said in the log, and why. */
  private lost: number;
  private failure: string;
  private recovery: NodeJS.Timeout | null;

  /** `clock`: milliseconds since 1970. */
  constructor(askForRotation: () => void, clock: () => number = Date.now) {
    this.dropped = 0;
    this.options = { level: 'info', format: 'text', maxLogSize: 0 };
    this.askForRotation = askForRotation;
    this.clock = clock;
    this.own = new Share(true);
    this.file = null;
    this.complaints = -1;
    this.complainedMs = Number.NEGATIVE_INFINITY;
    this.isComplaining = false;
    this.queue = [];
    this.spare = [];
    this.queuedBytes = 0;
    this.isRunning = false;
    this.isWriting = false;
    this.reached = 0;
    this.retired = [];
    this.onAnotherFile = null;
    this.onIdle = [];
    this.lost = 0;
    this.failure = '';
    this.recovery = null;
  }

  follow(options: JournalOptions): void {
    this.options = options;
  }

  /** Where lines go from now on; the descriptor is the writer's. `bytes`: what the file has. */
  useFile(descriptor: number, bytes: number, rotates: boolean): void {
    if (this.file !== null) this.retired.push(this.file.descriptor);
    if (!this.isWriting) this.closeRetired();
    this.file = { descriptor, rotates, bytes, isBroken: false };
    this.onAnotherFile?.();
    this.start();
  }

  /** Where it complains when the log can't be written. */
  useComplaints(descriptor: number): void {
    this.complaints = descriptor;
  }

  /** Adds whole lines, of a message's size at most. False: there is no room. */
  add(lines: Uint8Array, share: Share): boolean {
    const { length } = lines;
    assert(length <= BATCH_BYTES, 'lines fit a batch');
    if (length === 0) return true;
    const most = share.isPrivileged ? QUEUE_BYTES_MAX + RESERVE_BYTES : QUEUE_BYTES_MAX;
    if (this.queuedBytes + length > most || share.queuedBytes + length > share.bytesMax) return false;
    let batch = this.queue.at(-1);
    if (batch === undefined || batch.used + length > BATCH_BYTES) {
      batch = this.spare.pop() ?? new Batch();
      this.queue.push(batch);
    }
    batch.bytes.set(lines, batch.used);
    batch.used += length;
    batch.shares.set(share, (batch.shares.get(share) ?? 0) + length);
    share.queuedBytes += length;
    this.queuedBytes += length;
    this.start();
    return true;
  }

  /** An entry of the journal's own. */
  entry(level: Level, message: string, fields: LogFields): void {
    if (!reaches(level, this.options.level)) return;
    if (!this.add(this.format(level, message, fields), this.own)) this.lose(1, 'the queue is full');
  }

  /** Resolves when nothing waits any more. Never rejects. */
  idle(): Promise<void> {
    if (!this.isRunning) return Promise.resolve();
    return new Promise((resolve) => {
      this.onIdle.push(resolve);
    });
  }

  /** Begins in the next turn, so that what comes in this one leaves together. */
  private start(): void {
    if (this.isRunning || this.file === null) return;
    this.isRunning = true;
    setImmediate(() => void this.run());
  }

  private async run(): Promise<void> {
    if (this.queue.length === 0) await this.tellOfLoss();
    for (let batch = this.queue.shift(); batch !== undefined; batch = this.queue.shift()) {
      const lines = batch.bytes.subarray(0, batch.used);
      if (await this.tellOfLoss()) await this.writeLines(lines);
      else this.lose(countLines(lines), this.failure);
      this.forget(batch);
    }
    this.isRunning = false;
    if (this.lost > 0) this.recoverLater();
    for (const resolve of this.onIdle.splice(0)) resolve();
  }

  /** The batch does not wait any more, and may be used again. */
  private forget(batch: Batch): void {
    for (const [share, bytes] of batch.shares) share.queuedBytes -= bytes;
    this.queuedBytes -= batch.used;
    batch.shares.clear();
    batch.used = 0;
    if (this.spare.length < SPARE_BATCHES_MAX) this.spare.push(batch);
  }

  /** Writes lines, into several files where one becomes full. False: some of them are lost. */
  private async writeLines(lines: Uint8Array): Promise<boolean> {
    for (let at = 0; at < lines.length; at = this.reached) {
      const end = this.fittingEnd(lines, at);
      if (end === at) {
        await this.rotate();
        // Where it could not be rotated, going on for as long again beats asking at each line.
        if (this.file !== null && this.fittingEnd(lines, at) === at) this.file.bytes = 0;
        this.reached = at;
        continue;
      }
      const failure = await this.append(lines, at, end);
      if (failure === '') continue;
      this.lose(countLines(lines, this.reached), failure);
      return false;
    }
    return true;
  }

  /** How far the file takes the lines from `at`: to the end of a line, or nowhere (`at`). */
  private fittingEnd(lines: Uint8Array, at: number): number {
    const { file } = this;
    const { maxLogSize } = this.options;
    if (file === null || !file.rotates || maxLogSize === 0) return lines.length;
    const room = maxLogSize - file.bytes;
    if (lines.length - at <= room) return lines.length;
    const end = room > 0 ? lines.lastIndexOf(NEWLINE, at + room - 1) + 1 : at;
    if (end > at) return end;
    // One line may be longer than a whole file: then it has one to itself.
    return file.bytes > 0 ? at : lines.indexOf(NEWLINE, at) + 1;
  }

  /** Asks for another file and waits for it, but not for long. */
  private async rotate(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ROTATION_MS_MAX);
      this.onAnotherFile = () => {
        clearTimeout(timer);
        resolve();
      };
      this.askForRotation();
    });
    this.onAnotherFile = null;
  }

  /** Writes `lines` from `at` to `end` into the file of now; `reached` says how far it came. Empty text, or why no further. */
  private async append(lines: Uint8Array, at: number, end: number): Promise<string> {
    const { file } = this;
    this.reached = at;
    if (file === null) return 'there is no file';
    this.isWriting = true;
    const failure = await this.appendTo(file, lines, end);
    this.isWriting = false;
    this.closeRetired();
    return failure;
  }

  private async appendTo(file: LogFile, lines: Uint8Array, end: number): Promise<string> {
    for (let retries = 0; this.reached < end; ) {
      // A line that was cut must not become part of another one.
      const isMending = file.isBroken;
      const result = isMending
        ? await writeSome(file.descriptor, LINE_END, 0, 1)
        : await writeSome(file.descriptor, lines, this.reached, end);
      if (typeof result === 'string') return result;
      if (result === 0) {
        if (++retries > RETRIES_MAX) return 'EAGAIN: nobody reads it';
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        continue;
      }
      file.bytes += result;
      if (isMending) file.isBroken = false;
      else {
        this.reached += result;
        file.isBroken = lines[this.reached - 1] !== NEWLINE;
      }
    }
    return '';
  }

  private closeRetired(): void {
    for (const descriptor of this.retired.splice(0)) closeSync(descriptor);
  }

  private lose(count: number, failure: string): void {
    this.dropped += count;
    this.lost += count;
    this.failure = failure;
  }

  /** Says in the log how many lines are lost, or on standard error where that isn't possible. False: it isn't. */
  private async tellOfLoss(): Promise<boolean> {
    if (this.lost === 0) return true;
    const { lost, failure } = this;
    const line = this.format('warn', 'Log entries dropped: the log could not be written', {
      dropped: lost,
      reason: failure,
    });
    if (await this.writeLines(line)) {
      this.lost -= lost;
      return true;
    }
    // That line is not among the lost.
    this.lost--;
    this.dropped--;
    this.complain(line);
    return false;
  }

  private complain(line: Uint8Array): void {
    const nowMs = this.clock();
    if (this.complaints < 0 || this.isComplaining || nowMs - this.complainedMs < COMPLAINT_INTERVAL_MS)
      return;
    this.complainedMs = nowMs;
    this.isComplaining = true;
    void writeSome(this.complaints, line, 0, line.length).then(() => {
      this.isComplaining = false;
    });
  }

  private recoverLater(): void {
    if (this.recovery !== null) return;
    this.recovery = setTimeout(() => {
      this.recovery = null;
      this.start();
    }, RECOVERY_MS);
    this.recovery.unref();
  }

  private format(level: Level, message: string, fields: LogFields): Buffer {
    return Buffer.from(formatEntry(this.options.format, this.clock(), level, message, fields), 'utf8');
  }
}

const LINE_END = Uint8Array.of(NEWLINE);

/** Bytes written, 0 where nothing can be at the moment, or why nothing was. */
function writeSome(
  descriptor: number,
  bytes: Uint8Array,
  from: number,
  to: number,
): Promise<number | string> {
  return new Promise((resolve) => {
    write(descriptor, bytes, from, to - from, null, (error, written) => {
      if (error === null || error === undefined) resolve(written);
      else if (error.code === 'EAGAIN') resolve(0);
      else resolve(error.message);
    });
  });
}
