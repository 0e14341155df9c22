/** The journal's real room under the real launcher, its master, and peers that talk to it. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { splitConfiguration } from '../../src/ipc/configuration-parts.ts';
import { JournalSink } from '../../src/ipc/journal-sink.ts';
import type { Message } from '../../src/ipc/message.ts';
import type { Role } from '../../src/ipc/roles.ts';
import type { JournalOptions } from '../../src/journal/log-writer.ts';
import { LogFiles } from '../../src/master/log-files.ts';
import { Room, type RoomOwner } from '../../src/master/room.ts';
import { RoomOutputs } from '../../src/master/room-outputs.ts';
import { createMessagePair, createPipe } from '../../src/sys/descriptors.ts';
import { close } from '../../src/sys/libc.ts';
import { until } from '../fixtures/patience.ts';
import { drainPipe, LAUNCHER, openPipe, planFor } from '../master/house.ts';

export const OUTPUT_PID = 4711;
export const OPTIONS: JournalOptions = { level: 'info', format: 'text', maxLogSize: 0 };

/** What a master does for its journal. */
export class JournalHouse implements RoomOwner {
  readonly files: LogFiles;
  /** Whether `rotate` is answered. */
  rotates = true;
  rotations = 0;
  ended = '';
  generation = 0;
  ready = 0;
  room: Room;
  readonly outputs: RoomOutputs;
  /** For what the room `outbound` writes to its standard error, as process OUTPUT_PID: the end for writing. */
  readonly output: number;
  private readonly ownOutput: number;
  private options: JournalOptions;
  private readonly sinks: JournalSink[] = [];

  constructor(filePath: string, options: Partial<JournalOptions> = {}) {
    this.options = { ...OPTIONS, ...options };
    this.files = new LogFiles({ ...this.options, filePath });
    this.outputs = new RoomOutputs();
    this.output = this.outputs.open('outbound', 'outbound');
    this.outputs.started('outbound', OUTPUT_PID, null);
    this.ownOutput = openPipe();
    this.room = this.newRoom();
  }

  /** Another journal in the place of one that is gone. */
  newRoom(): Room {
    const { plan } = planFor('journal', 'journal');
    this.ended = '';
    this.room = new Room(
      'journal',
      {
        plan,
        descriptors: [],
        onStarted: (channel) => {
          this.outputs.giveTo(channel);
          assert.equal(this.files.giveTo(channel), '');
          for (const part of this.configuration()) channel.send(part);
        },
      },
      { launcher: LAUNCHER, output: this.ownOutput },
      this,
    );
    return this.room;
  }

  configure(options: Partial<JournalOptions>): void {
    this.options = { ...this.options, ...options };
    for (const part of this.configuration()) this.room.send(part);
  }

  private configuration(): Message[] {
    const bytes = Buffer.from(JSON.stringify({ logging: this.options }));
    return splitConfiguration(++this.generation, bytes) ?? [];
  }

  async isReady(): Promise<void> {
    await until(() => this.ready >= this.generation || this.ended !== '', 20_000, 'the journal is ready');
    assert.equal(this.ended, '', this.words());
  }

  /** What the journal itself wrote to its standard error. */
  words(): string {
    return drainPipe(this.ownOutput);
  }

  /** A room's end of a channel to the journal; the journal has the other. */
  connect(role: Role, index = 0xffff): number {
    const pair = createMessagePair(262_144);
    assert.ok(typeof pair !== 'number');
    this.room.handOver({ kind: 'descriptors', purpose: 'channel', peer: role, index }, [pair[1]]);
    return pair[0];
  }

  peer(role: Role, index = 0xffff): JournalSink {
    const sink = new JournalSink(role);
    this.sinks.push(sink);
    sink.connect(this.connect(role, index));
    return sink;
  }

  /** A pipe as the log, whose writers wait where nobody reads. Returns its end for reading. */
  usePipe(): number {
    const pipe = createPipe();
    assert.ok(typeof pipe !== 'number');
    this.room.handOver({ kind: 'log-file', bytes: 0, rotates: false }, [pipe[1]]);
    return pipe[0];
  }

  async stop(): Promise<void> {
    for (const sink of this.sinks) sink.disconnect();
    this.room.drain(5000, false);
    await until(() => this.ended !== '', 10_000, 'the journal ends');
    this.files.close();
    this.outputs.close();
    close(this.output);
  }

  onReady(_room: Room, generation: number): void {
    this.ready = generation;
  }

  onMessage(_room: Room, message: Message): void {
    if (message.kind !== 'rotate' || !this.rotates) return;
    this.rotations++;
    assert.equal(this.files.rotate(), '');
    this.files.giveTo(this.room);
  }

  onEnded(room: Room, reason: string): void {
    if (room === this.room) this.ended = reason;
  }
}

/** Hands over lines as fast as the journal takes them. */
export async function sendAll(sink: JournalSink, lines: readonly string[]): Promise<void> {
  for (let at = 0; at < lines.length; ) {
    const piece = lines.slice(at, at + 100);
    const bytes = Buffer.from(`${piece.join('\n')}\n`);
    await until(() => sink.take(bytes, piece.length, 0), 20_000, 'the journal takes entries');
    at += piece.length;
  }
}

/** Lines that are complete: the last one may be about to be written. */
export function linesOf(path: string): string[] {
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : [];
}
