/**
 * Log entries on their way to the journal: gathered, sent without waiting, dropped and counted where the journal is
 * behind. What a room logs never makes it wait.
 */

import { LOG_BYTES_MAX, type Message } from './message.ts';

/** Batches that wait for the journal. */
const BATCHES_MAX = 16;

export class LogSender {
  /** Entries lost since the last message that told of them. */
  dropped: number;
  private readonly trySend: (message: Message) => boolean;
  /** The batch that grows, and how many entries it has. */
  private readonly bytes: Uint8Array;
  private length: number;
  private entries: number;
  private readonly waiting: { readonly bytes: Uint8Array; readonly entries: number }[];

  /** `trySend` as that of a PolledChannel. */
  constructor(trySend: (message: Message) => boolean) {
    this.trySend = trySend;
    this.dropped = 0;
    this.bytes = new Uint8Array(LOG_BYTES_MAX);
    this.length = 0;
    this.entries = 0;
    this.waiting = [];
  }

  /** Adds an entry, its end of line included. One that is longer than a message is dropped. */
  add(entry: Uint8Array): void {
    if (this.length + entry.length > LOG_BYTES_MAX) this.flush();
    if (this.length + entry.length > LOG_BYTES_MAX) {
      this.dropped++;
      return;
    }
    this.bytes.set(entry, this.length);
    this.length += entry.length;
    this.entries++;
  }

  /** Sends what has gathered, as far as the journal takes it. Once a turn, or when a batch is full. */
  flush(): void {
    while (this.waiting.length > 0) {
      const batch = this.waiting[0];
      if (!this.sendBatch(batch.bytes)) break;
      this.waiting.shift();
    }
    if (this.entries === 0) return;
    const batch = this.bytes.subarray(0, this.length);
    if (this.waiting.length > 0 || !this.sendBatch(batch)) {
      if (this.waiting.length < BATCHES_MAX)
        this.waiting.push({ bytes: batch.slice(), entries: this.entries });
      else this.dropped += this.entries;
    }
    this.length = 0;
    this.entries = 0;
  }

  private sendBatch(bytes: Uint8Array): boolean {
    const isSent = this.trySend({ kind: 'log', dropped: this.dropped, bytes });
    if (isSent) this.dropped = 0;
    return isSent;
  }
}
