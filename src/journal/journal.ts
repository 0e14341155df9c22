/**
 * The journal: hears all rooms and the master, and hands what they say to its writer in the order in which it came. A
 * room that sends what is no message, or what are no lines of text, is not heard any more; one that sends more than can
 * be written loses the rest, and the others lose nothing by it.
 */

import type { Message, Purpose } from '../ipc/message.ts';
import { PolledChannel } from '../ipc/polled-channel.ts';
import type { Role } from '../ipc/roles.ts';
import type { LogFields } from '../log/line.ts';
import { areWholeLines, countLines } from './entry-text.ts';
import { type JournalOptions, LogWriter, Share } from './log-writer.ts';
import { RoomOutput } from './room-output.ts';

/** What was dropped is told after this, together. */
const TELL_MS = 1000;
/** How long rooms that are still there are heard when the journal is to end: they have ended before it, or never will. */
const LAST_WORDS_MS_MAX = 1000;
/** How long what waits then may take to be written: somebody may have stopped to read it. */
const LAST_WRITE_MS_MAX = 5000;

/** Whoever sends entries. */
class Source {
  readonly name: string;
  /** How entries name it. */
  readonly fields: LogFields;
  readonly share: Share;
  channel: PolledChannel | null;
  /** Entries dropped since that was last said. */
  untold: number;

  constructor(name: string, fields: LogFields, isPrivileged: boolean) {
    this.name = name;
    this.fields = fields;
    this.share = new Share(isPrivileged);
    this.channel = null;
    this.untold = 0;
  }
}

/** What one process of a room writes to its standard output and error. */
class OutputSource {
  /** How entries name it. */
  readonly fields: LogFields;
  /** Null until it is read. */
  output: RoomOutput | null;
  /** Lines dropped since that was last said. */
  untold: number;

  constructor(role: Role, pid: number) {
    this.fields = { room: role, pid };
    this.output = null;
    this.untold = 0;
  }
}

/** A descriptor that came before its time. `index`: of a channel, the worker's slot; of output, the process' id. */
interface Early {
  readonly purpose: 'channel' | 'output';
  readonly role: Role;
  readonly index: number;
  readonly descriptor: number;
}

export class Journal {
  private readonly writer: LogWriter;
  private readonly master: Source;
  /** By role and number. */
  private readonly sources: Map<string, Source>;
  private readonly outputs: Set<OutputSource>;
  private readonly early: Early[];
  private isListening: boolean;
  private telling: NodeJS.Timeout | null;
  private onAllGone: (() => void) | null;

  constructor(askForRotation: () => void) {
    this.writer = new LogWriter(askForRotation);
    this.master = new Source('master', { room: 'master' }, true);
    this.sources = new Map();
    this.outputs = new Set();
    this.early = [];
    this.isListening = false;
    this.telling = null;
    this.onAllGone = null;
  }

  /** Entries that it got and could not write. */
  get unwritten(): number {
    return this.writer.dropped;
  }

  follow(options: JournalOptions): void {
    this.writer.follow(options);
  }

  /** A descriptor from the master; -1 where it sent too few. */
  onDescriptor(purpose: Purpose, peer: Role, index: number, descriptor: number): void {
    if (descriptor < 0) return;
    if (purpose === 'output' && peer === 'journal') this.writer.useComplaints(descriptor);
    else if (purpose === 'channel' || purpose === 'output')
      this.early.push({ purpose, role: peer, index, descriptor });
    if (this.isListening) this.connectAll();
  }

  /** From the master: entries of its own, or another file. */
  onMaster(message: Message, take: () => number): void {
    if (message.kind === 'log') this.add(this.master, message.dropped, message.bytes);
    if (message.kind === 'log-file') this.writer.useFile(take(), message.bytes, message.rotates);
  }

  /** Rooms are heard from now on: what they send is not looked at before the journal is sealed. */
  listen(): void {
    this.isListening = true;
    this.connectAll();
  }

  /**
   * Hears what rooms have left to say, and writes all. Resolves when that is done or `timeoutMs` is over. Never rejects.
   */
  async finish(timeoutMs: number): Promise<void> {
    const gone = new Promise<void>((resolve) => {
      this.onAllGone = resolve;
    });
    if (this.sources.size > 0) await atMost(gone, Math.min(timeoutMs, LAST_WORDS_MS_MAX));
    for (const { output } of [...this.outputs]) output?.finish();
    this.tell();
    await atMost(this.writer.idle(), Math.min(timeoutMs, LAST_WRITE_MS_MAX));
  }

  private connectAll(): void {
    for (const { purpose, role, index, descriptor } of this.early.splice(0)) {
      if (purpose === 'channel') this.connect(role, index, descriptor);
      else this.readOutput(role, index, descriptor);
    }
  }

  private readOutput(role: Role, pid: number, descriptor: number): void {
    const source = new OutputSource(role, pid);
    this.outputs.add(source);
    source.output = new RoomOutput(descriptor, {
      onLine: (line) => this.writer.entry('error', line, source.fields),
      onDropped: (count) => {
        source.untold += count;
        this.tellLater();
      },
      onEnd: () => {
        if (source.untold > 0) this.tell();
        this.outputs.delete(source);
      },
    });
  }

  /** Another channel of a room that has one takes its place, after the last words that are in the old one. */
  private connect(role: Role, index: number, descriptor: number): void {
    const name = `${role} ${index}`;
    const fields = role === 'edge' ? { room: role, slot: index } : { room: role };
    this.sources.get(name)?.channel?.finishReading();
    const source = this.sources.get(name) ?? new Source(name, fields, false);
    this.sources.set(name, source);
    source.channel = new PolledChannel(descriptor, 'journal', role, {
      onMessage: (_, message) => this.onMessage(source, message),
      onEnd: (channel, reason) => this.onEnd(source, channel, reason),
    });
  }

  private onMessage(source: Source, message: Message): void {
    if (message.kind !== 'log') return;
    if (areWholeLines(message.bytes)) {
      this.add(source, message.dropped, message.bytes);
      return;
    }
    const { channel } = source;
    if (channel === null) return;
    channel.close();
    this.onEnd(source, channel, 'what are no lines of text');
  }

  private onEnd(source: Source, channel: PolledChannel, reason: string): void {
    if (source.channel !== channel) return;
    if (reason !== 'gone')
      this.writer.entry('error', `a room is not heard any more: it sent ${reason}`, source.fields);
    source.channel = null;
    if (source.untold > 0) this.tell();
    this.sources.delete(source.name);
    if (this.sources.size === 0) this.onAllGone?.();
  }

  private add(source: Source, dropped: number, lines: Uint8Array): void {
    source.untold += dropped;
    if (!this.writer.add(lines, source.share)) {
      const count = countLines(lines);
      source.untold += count;
      this.writer.dropped += count;
    }
    if (source.untold > 0) this.tellLater();
  }

  private tellLater(): void {
    if (this.telling !== null) return;
    this.telling = setTimeout(() => this.tell(), TELL_MS);
    this.telling.unref();
  }

  private tell(): void {
    if (this.telling !== null) clearTimeout(this.telling);
    this.telling = null;
    for (const source of [this.master, ...this.sources.values()]) {
      if (source.untold === 0) continue;
      this.writer.entry('warn', 'Log entries dropped: the queue was full', {
        dropped: source.untold,
        ...source.fields,
      });
      source.untold = 0;
    }
    for (const source of this.outputs) {
      if (source.untold === 0) continue;
      this.writer.entry('warn', 'Lines of standard error dropped: there were too many', {
        dropped: source.untold,
        ...source.fields,
      });
      source.untold = 0;
    }
  }
}

/** Resolves when `done` does, or after `timeoutMs`. */
function atMost(done: Promise<void>, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeoutMs);
    void done.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
