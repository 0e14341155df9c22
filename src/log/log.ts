/**
 * The log of one process: entries are formatted where they happen, wait in a bounded queue, and are written
 * behind the back of the data plane. Nothing here throws after the start, blocks, or grows without bound:
 * what the queue can't take, or the disk can't, is dropped, counted and reported.
 */

import {
  type AccessRecord,
  type Format,
  formatAccess,
  formatEntry,
  type Level,
  type LogFields,
} from './line.ts';
import { LogFile } from './log-file.ts';

export { AccessRecord, type Level, type LogFields } from './line.ts';

/** What `[logging]` of the configuration says. */
export interface LogOptions {
  readonly level: Level | 'off';
  readonly format: Format;
  /** Entries that may wait to be written. */
  readonly channelSize: number;
  /** Access entries, and those below `info`, wait at most this long; others go at once. */
  readonly flushIntervalMs: number;
  /** Bytes; 0: no rotation. */
  readonly maxLogSize: number;
  /** Null: standard error. */
  readonly filePath: string | null;
}

const SEVERITY: Readonly<Record<Level | 'off', number>> = {
  trace: 0,
  debug: 1,
  info: 2,
  warn: 3,
  error: 4,
  off: 5,
};

/** Lines are gathered in pieces of this size, each written with one call. */
const CHUNK_BYTES = 65536;
/** Written chunks that are kept for what comes next. */
const SPARE_CHUNKS_MAX = 8;
/** Bytes that may wait, whatever the number of entries. Our own choice. */
const QUEUE_BYTES_MAX = 64 * 1024 * 1024;
/** Failures of the file itself are told to standard error this often at most. */
const COMPLAINT_INTERVAL_MS = 60_000;
const NO_FIELDS: LogFields = {};

/** Throws what the operating system says. */
function openFile(options: LogOptions): LogFile {
  return new LogFile(options.level === 'off' ? null : options.filePath, options.maxLogSize);
}

/** Lines that leave together. */
class Chunk {
  readonly bytes: Buffer;
  used: number;
  entries: number;

  constructor(capacity: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacity);
    this.used = 0;
    this.entries = 0;
  }
}

export class Log {
  /** Entries that were not written: the queue was full, or the file failed. */
  dropped: number;
  /** Whether requests are logged at all (level `info` or below): callers skip filling a record otherwise. */
  accessEnabled: boolean;
  private options: LogOptions;
  private threshold: number;
  private readonly clock: () => number;
  private file: LogFile;
  /** In order; the last one is being filled. */
  private queue: Chunk[];
  private readonly spare: Chunk[];
  private queuedEntries: number;
  private queuedBytes: number;
  /** Dropped because of a full queue since that was last said. */
  private overflowed: number;
  /** Dropped because of a failing file since that was last said, and its last failure. */
  private lost: number;
  private failure: string;
  private complainedMs: number;
  private timer: NodeJS.Timeout | null;
  private flushing: Promise<void> | null;

  /** Opens the file; throws what the operating system says when that fails. `clock`: milliseconds since 1970. */
  constructor(options: LogOptions, clock: () => number = Date.now) {
    this.dropped = 0;
    this.options = options;
    this.threshold = SEVERITY[options.level];
    this.accessEnabled = this.threshold <= SEVERITY.info;
    this.clock = clock;
    this.file = openFile(options);
    this.queue = [];
    this.spare = [];
    this.queuedEntries = 0;
    this.queuedBytes = 0;
    this.overflowed = 0;
    this.lost = 0;
    this.failure = '';
    this.complainedMs = Number.NEGATIVE_INFINITY;
    this.timer = null;
    this.flushing = null;
  }

  error(message: string, fields: LogFields = NO_FIELDS): void {
    this.entry('error', message, fields);
  }
  warn(message: string, fields: LogFields = NO_FIELDS): void {
    this.entry('warn', message, fields);
  }
  info(message: string, fields: LogFields = NO_FIELDS): void {
    this.entry('info', message, fields);
  }
  debug(message: string, fields: LogFields = NO_FIELDS): void {
    this.entry('debug', message, fields);
  }
  trace(message: string, fields: LogFields = NO_FIELDS): void {
    this.entry('trace', message, fields);
  }

  isEnabled(level: Level): boolean {
    return SEVERITY[level] >= this.threshold;
  }

  entry(level: Level, message: string, fields: LogFields): void {
    if (!this.isEnabled(level)) return;
    if (!this.hasRoom()) return;
    this.put(formatEntry(this.options.format, this.clock(), level, message, fields));
    this.schedule(SEVERITY[level] >= SEVERITY.info ? 0 : this.options.flushIntervalMs);
  }

  access(record: AccessRecord): void {
    if (!this.accessEnabled || !this.hasRoom()) return;
    this.put(formatAccess(this.options.format, this.clock(), record));
    this.schedule(this.options.flushIntervalMs);
  }

  /** Writes to a newly opened file from now on: the old one was moved away. */
  reopen(): void {
    this.file.reopen();
    void this.flush();
  }

  /**
   * Does from now on what other options say, and writes to their file, which what waits already goes to as well. Throws
   * what the operating system says when that can't be opened; then everything stays as it is.
   */
  follow(options: LogOptions): void {
    const old = this.file;
    this.file = openFile(options);
    this.options = options;
    this.threshold = SEVERITY[options.level];
    this.accessEnabled = this.threshold <= SEVERITY.info;
    // A write that is under way still uses the old file.
    void (this.flushing ?? Promise.resolve()).then(() => old.close());
    void this.flush();
  }

  /** Resolves when all that waits has been written, or dropped. Never rejects. */
  flush(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.flushing ??= this.writeQueue().finally(() => {
      this.flushing = null;
      if (this.queue.length > 0) this.schedule(this.options.flushIntervalMs);
    });
    return this.flushing;
  }

  /** The last entries, then the file's end. */
  async close(): Promise<void> {
    while (this.queue.length > 0 || this.flushing !== null) await this.flush();
    this.file.close();
  }

  /** For a process that ends now: writes what waits without giving way to anything. */
  flushSync(): void {
    for (const chunk of this.takeQueue())
      this.account(chunk, this.file.writeSync(chunk.bytes.subarray(0, chunk.used)));
  }

  /** Whether one more entry may wait; counts it as dropped otherwise. */
  private hasRoom(): boolean {
    if (this.queuedEntries < this.options.channelSize && this.queuedBytes < QUEUE_BYTES_MAX) return true;
    this.dropped++;
    this.overflowed++;
    return false;
  }

  private put(line: string): void {
    // UTF-8 takes at most three bytes for each unit of UTF-16.
    const bytesMax = line.length * 3;
    let chunk = this.queue.at(-1);
    if (chunk === undefined || chunk.bytes.length - chunk.used < bytesMax) {
      chunk =
        (bytesMax <= CHUNK_BYTES ? this.spare.pop() : undefined) ??
        new Chunk(Math.max(CHUNK_BYTES, bytesMax));
      this.queue.push(chunk);
      if (this.queue.length > 1) this.schedule(0);
    }
    const length = chunk.bytes.write(line, chunk.used, 'utf8');
    chunk.used += length;
    chunk.entries++;
    this.queuedEntries++;
    this.queuedBytes += length;
  }

  private schedule(delayMs: number): void {
    if (this.flushing !== null) return;
    if (this.timer !== null) {
      if (delayMs > 0) return;
      clearTimeout(this.timer);
    }
    this.timer = setTimeout(() => void this.flush(), delayMs);
    this.timer.unref();
  }

  private takeQueue(): Chunk[] {
    const queue = this.queue;
    this.queue = [];
    return queue;
  }

  private async writeQueue(): Promise<void> {
    // Entries that come meanwhile are taken in the same run, but for those that keep coming for ever.
    for (let round = 0; round < 2; round++) {
      for (const chunk of this.takeQueue()) {
        this.account(chunk, await this.file.write(chunk.bytes.subarray(0, chunk.used)));
      }
      await this.report();
    }
  }

  /** The chunk does not wait any more, and may be used again. */
  private account(chunk: Chunk, failure: string): void {
    this.queuedEntries -= chunk.entries;
    this.queuedBytes -= chunk.used;
    if (failure !== '') {
      this.dropped += chunk.entries;
      this.lost += chunk.entries;
      this.failure = failure;
    }
    chunk.used = 0;
    chunk.entries = 0;
    if (chunk.bytes.length === CHUNK_BYTES && this.spare.length < SPARE_CHUNKS_MAX) this.spare.push(chunk);
  }

  /** Says in the log itself, outside the queue, what was dropped; and on standard error when the file fails. */
  private async report(): Promise<void> {
    if (this.overflowed > 0) {
      const count = this.overflowed;
      const line = this.warning('Log entries dropped: the queue was full', { dropped: count });
      if ((await this.file.write(line)) === '') this.overflowed -= count;
    }
    if (this.file.problem !== '') {
      this.complain(this.warning('The log file could not be changed', { reason: this.file.problem }));
    }
    if (this.lost === 0) return;
    const count = this.lost;
    const line = this.warning('Log entries dropped: the log could not be written', {
      dropped: count,
      reason: this.failure,
    });
    if ((await this.file.write(line)) === '') this.lost -= count;
    else this.complain(line);
  }

  private warning(message: string, fields: LogFields): Buffer {
    return Buffer.from(formatEntry(this.options.format, this.clock(), 'warn', message, fields), 'utf8');
  }

  private complain(line: Buffer): void {
    const nowMs = this.clock();
    if (this.file.path === null || nowMs - this.complainedMs < COMPLAINT_INTERVAL_MS) return;
    this.complainedMs = nowMs;
    process.stderr.write(line);
  }
}
