/**
 * A room's log on its way to the journal. It sends without waiting and says when the journal takes nothing: because it
 * is behind, has died, or was never there. The log keeps its entries meanwhile, within its bounds; what a journal had
 * received and not written when it died is lost, and nobody knows how much that was.
 */

import type { LogSink } from '../log/log.ts';
import { Channel } from './channel.ts';
import { LOG_BYTES_MAX } from './message.ts';
import type { Role } from './roles.ts';

export class JournalSink implements LogSink {
  readonly bytesMax: number;
  private readonly self: Role;
  private channel: Channel | null;

  constructor(self: Role) {
    this.bytesMax = LOG_BYTES_MAX;
    this.self = self;
    this.channel = null;
  }

  /** Whether the journal was there when something was last sent. */
  get isConnected(): boolean {
    return this.channel !== null;
  }

  /** A channel to the journal, which takes the old one's place; the descriptor is the sink's from now on. */
  connect(descriptor: number): void {
    this.disconnect();
    this.channel = new Channel(descriptor, this.self, 'journal');
  }

  take(lines: Uint8Array, _entries: number, dropped: number): boolean {
    if (this.channel === null) return false;
    const result = this.channel.send({ kind: 'log', dropped, bytes: lines });
    if (result === 'ended') this.disconnect();
    return result === 'sent';
  }

  disconnect(): void {
    this.channel?.close();
    this.channel = null;
  }
}
