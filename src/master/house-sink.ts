/**
 * Where the master's own log goes: to the journal over the channel that they have anyway, or to standard error while
 * there is no journal. The master waits for neither: whoever doesn't read standard error loses entries, nothing else.
 */

import { writeSync } from 'node:fs';
import { LOG_BYTES_MAX, type Message } from '../ipc/message.ts';
import type { LogSink } from '../log/log.ts';
import { isWritable } from '../sys/descriptors.ts';

const STDERR = 2;
/** Of a pipe that is writable so much doesn't wait. */
const WRITE_BYTES_MAX = 4096;
const NOTHING = Buffer.alloc(0);

/** `full`: the journal is behind. `absent`: there is none that is ready. */
export type Told = 'sent' | 'full' | 'absent';

export class HouseSink implements LogSink {
  readonly bytesMax: number;
  private tell: (message: Message) => Told;
  /** What standard error hasn't taken yet. */
  private rest: Buffer;
  private isEnding: boolean;

  /** To standard error, at first. */
  constructor() {
    this.bytesMax = LOG_BYTES_MAX;
    this.tell = noJournal;
    this.rest = NOTHING;
    this.isEnding = false;
  }

  /** To the journal whenever there is one. */
  toJournal(tell: (message: Message) => Told): void {
    this.tell = tell;
  }

  /** For the end of the process: to standard error, at once. */
  toStandardError(): void {
    this.tell = noJournal;
    this.isEnding = true;
  }

  take(lines: Uint8Array, _entries: number, dropped: number): boolean {
    const told = this.tell({ kind: 'log', dropped, bytes: lines });
    if (told !== 'absent') return told === 'sent';
    if (!this.writeRest()) return this.isEnding;
    this.rest = Buffer.from(lines);
    this.writeRest();
    return true;
  }

  /** As much as doesn't wait; whether that was all. */
  private writeRest(): boolean {
    try {
      while (this.rest.length > 0 && isWritable(STDERR)) {
        const length = Math.min(this.rest.length, WRITE_BYTES_MAX);
        this.rest = this.rest.subarray(writeSync(STDERR, this.rest, 0, length));
      }
    } catch {
      // What can't be written there can be told nowhere.
      this.rest = NOTHING;
    }
    return this.rest.length === 0;
  }
}

function noJournal(): Told {
  return 'absent';
}
