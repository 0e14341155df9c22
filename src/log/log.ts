/**
 * The log of one process: entries are formatted where they happen and wait in a bounded queue until their sink takes
 * them, which is the journal's room in production. Nothing here throws, blocks, or grows without bound: what the queue
 * can't hold is dropped, counted, and told to the sink.
 */

import { accessBytesMax, NOT_PLAIN, putAccess } from './access-line.ts';
import {
  type AccessRecord,
  type Format,
  formatAccess,
  formatEntry,
  type Level,
  type LogFields,
} from './line.ts';

export { AccessRecord, type Level, type LogFields } from './line.ts';

/** What `[logging]` of the configuration says to whoever logs. */
export interface LogOptions {
  readonly level: Level | 'off';
  readonly format: Format;
  /** Entries that may wait to be taken. */
  readonly channelSize: number;
  /** Access entries, and those below `info`, wait at most this long; others go at once. */
  readonly flushIntervalMs: number;
}

/** Where entries go. */
export interface LogSink {
  /** The longest piece that it takes, at least 4096. */
  readonly bytesMax: number;
  /**
   * Takes whole lines, which are valid during the call, and learns how many entries were dropped before them since the
   * last that it took. False: not now; all of it stays and is offered again soon. Never throws.
   */
  take(lines: Uint8Array, entries: number, dropped: number): boolean;
}

const SEVERITY: Readonly<Record<Level | 'off', number>> = {
  trace: 0,
  debug: 1,
  info: 2,
  warn: 3,
  error: 4,
  off: 5,
};

/** Whether entries of `level` are written where `[logging]` says `threshold`. */
export function reaches(level: Level, threshold: Level | 'off'): boolean {
  return SEVERITY[level] >= SEVERITY[threshold];
}

/** Taken pieces whose memory is kept for what comes next. */
const SPARE_PIECES_MAX = 8;
/** Bytes that may wait, whatever the number of entries. Our own choice. */
const QUEUE_BYTES_MAX = 64 * 1024 * 1024;
/** A sink that takes nothing at the moment is asked again after this, twice as long each time, up to the maximum. */
const RETRY_MS_FIRST = 2;
const RETRY_MS_MAX = 64;
const NO_FIELDS: LogFields = {};

/** Lines that leave together. */
class Piece {
  readonly bytes: Buffer;
  readonly view: DataView;
  used: number;
  entries: number;

  constructor(bytesMax: number) {
    this.bytes = Buffer.allocUnsafeSlow(bytesMax);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, bytesMax);
    this.used = 0;
    this.entries = 0;
  }
}

export class Log {
  /** Entries that never left: the queue was full, or they were too long. */
  dropped: number;
  /** Whether requests are logged at all (level `info` or below): callers skip filling a record otherwise. */
  accessEnabled: boolean;
  private options: LogOptions;
  private threshold: number;
  private readonly sink: LogSink;
  private readonly room: string;
  private readonly clock: () => number;
  /** In order; the last one is being filled. */
  private readonly queue: Piece[];
  private readonly spare: Piece[];
  private queuedEntries: number;
  private queuedBytes: number;
  /** Dropped since the sink was last told. */
  private untold: number;
  private retryMs: number;
  private timer: NodeJS.Timeout | null;

  /**
   * `room` is added to entries, but not to those of requests, as the field of that name; empty: it isn't. `clock`:
   * milliseconds since 1970.
   */
  constructor(options: LogOptions, sink: LogSink, room = '', clock: () => number = Date.now) {
    this.dropped = 0;
    this.options = options;
    this.threshold = SEVERITY[options.level];
    this.accessEnabled = this.threshold <= SEVERITY.info;
    this.sink = sink;
    this.room = room;
    this.clock = clock;
    this.queue = [];
    this.spare = [];
    this.queuedEntries = 0;
    this.queuedBytes = 0;
    this.untold = 0;
    this.retryMs = RETRY_MS_FIRST;
    this.timer = null;
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
    if (!this.isEnabled(level) || !this.hasRoom()) return;
    const all = this.room === '' ? fields : { ...fields, room: this.room };
    this.put(formatEntry(this.options.format, this.clock(), level, message, all));
    this.schedule(SEVERITY[level] >= SEVERITY.info ? 0 : this.options.flushIntervalMs);
  }

  /** `wallMs`: milliseconds since 1970, where the caller knows them. */
  access(record: AccessRecord, wallMs = this.clock()): void {
    if (!this.accessEnabled || !this.hasRoom()) return;
    if (!this.putPlain(wallMs, record)) this.put(formatAccess(this.options.format, wallMs, record));
    this.schedule(this.options.flushIntervalMs);
  }

  /** Does from now on what other options say; what waits already goes as it is. */
  follow(options: LogOptions): void {
    this.options = options;
    this.threshold = SEVERITY[options.level];
    this.accessEnabled = this.threshold <= SEVERITY.info;
    this.flush();
  }

  /** Hands over what waits, as far as the sink takes it. Rooms without an event loop call it once a turn. */
  flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    while (this.queue.length > 0) {
      const piece = this.queue[0];
      if (!this.sink.take(piece.bytes.subarray(0, piece.used), piece.entries, this.untold)) {
        this.schedule(this.retryMs);
        this.retryMs = Math.min(RETRY_MS_MAX, this.retryMs * 2);
        return;
      }
      this.retryMs = RETRY_MS_FIRST;
      this.untold = 0;
      this.queue.shift();
      this.forget(piece);
    }
  }

  /** Whether one more entry may wait; counts it as dropped otherwise. */
  private hasRoom(): boolean {
    if (this.queuedEntries < this.options.channelSize && this.queuedBytes < QUEUE_BYTES_MAX) return true;
    this.drop();
    return false;
  }

  private drop(): void {
    this.dropped++;
    this.untold++;
  }

  /** A request's line, where nothing in it needs an escape. False: something does, or it is very long. */
  private putPlain(nowMs: number, record: AccessRecord): boolean {
    const most = accessBytesMax(record);
    if (most > this.sink.bytesMax) return false;
    const piece = this.pieceFor(most);
    const end = putAccess(piece.bytes, piece.view, piece.used, this.options.format, nowMs, record);
    if (end === NOT_PLAIN) return false;
    this.added(piece, end - piece.used);
    return true;
  }

  private put(line: string): void {
    const { bytesMax } = this.sink;
    // UTF-8 takes at most three bytes for each unit of UTF-16.
    const most = line.length * 3;
    if (most > bytesMax && Buffer.byteLength(line) > bytesMax) {
      this.drop();
      return;
    }
    const piece = this.pieceFor(Math.min(most, bytesMax));
    this.added(piece, piece.bytes.write(line, piece.used, 'utf8'));
  }

  /** The piece that is being filled, where it has room for as many bytes, or another one. */
  private pieceFor(bytes: number): Piece {
    const { bytesMax } = this.sink;
    const last = this.queue.at(-1);
    if (last !== undefined && bytesMax - last.used >= bytes) return last;
    const piece = this.spare.pop() ?? new Piece(bytesMax);
    this.queue.push(piece);
    if (this.queue.length > 1) this.schedule(0);
    return piece;
  }

  private added(piece: Piece, length: number): void {
    piece.used += length;
    piece.entries++;
    this.queuedEntries++;
    this.queuedBytes += length;
  }

  private schedule(delayMs: number): void {
    if (this.timer !== null) {
      if (delayMs > 0) return;
      clearTimeout(this.timer);
    }
    this.timer = setTimeout(() => this.flush(), delayMs);
    this.timer.unref();
  }

  /** The piece does not wait any more, and may be used again. */
  private forget(piece: Piece): void {
    this.queuedEntries -= piece.entries;
    this.queuedBytes -= piece.used;
    piece.used = 0;
    piece.entries = 0;
    if (this.spare.length < SPARE_PIECES_MAX) this.spare.push(piece);
  }
}
