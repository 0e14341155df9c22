/**
 * Where the master's own log goes: to the journal over the channel that they have anyway, or to standard error while
 * there is no journal. The master waits for neither: whoever doesn't read standard error loses entries, nothing else.
 */

import { write, writeSync } from 'node:fs';
import { LOG_BYTES_MAX, type Message } from '../ipc/message.ts';
import type { LogSink } from '../log/log.ts';

const STDERR = 2;

/** `full`: the journal is behind. `absent`: there is none that is ready. */
export type Told = 'sent' | 'full' | 'absent';

export class HouseSink implements LogSink {
  readonly bytesMax: number;
  private tell: (message: Message) => Told;
  /** A write to standard error is under way. */
  private isWriting: boolean;
  private isEnding: boolean;

  /** To standard error, at first. */
  constructor() {
    this.bytesMax = LOG_BYTES_MAX;
    this.tell = noJournal;
    this.isWriting = false;
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
    if (this.isEnding) return writeNow(lines);
    if (this.isWriting) return false;
    this.isWriting = true;
    // What can't be written there can be told nowhere.
    write(STDERR, Buffer.from(lines), () => {
      this.isWriting = false;
    });
    return true;
  }
}

function noJournal(): Told {
  return 'absent';
}

function writeNow(lines: Uint8Array): true {
  try {
    writeSync(STDERR, lines);
  } catch {
    // There is nobody left to tell.
  }
  return true;
}
