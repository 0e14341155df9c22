import assert from 'node:assert/strict';
import { readSync, writeSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { Message } from '../../src/ipc/message.ts';
import { RoomOutputs } from '../../src/master/room-outputs.ts';
import { close } from '../../src/sys/libc.ts';

/** A journal that keeps what it is given. */
class TakingJournal {
  /** `edge 12`: whose output, by descriptor. */
  readonly given: [string, number][] = [];

  send(message: Message, [descriptor]: readonly number[] = []): boolean {
    assert.equal(descriptor, 2, 'standard error stays the master’s');
    return this.take(message, descriptor);
  }

  handOver(message: Message, [descriptor]: readonly number[]): boolean {
    return this.take(message, descriptor);
  }

  private take(message: Message, descriptor: number): boolean {
    assert.ok(message.kind === 'descriptors' && message.purpose === 'output');
    this.given.push([`${message.peer} ${message.index}`, descriptor]);
    return true;
  }

  get names(): string[] {
    return this.given.map(([name]) => name);
  }

  words(at: number): string {
    const buffer = Buffer.alloc(100);
    return buffer.toString('latin1', 0, readSync(this.given[at][1], buffer));
  }

  close(): void {
    for (const [, descriptor] of this.given) if (descriptor !== 2) close(descriptor);
  }
}

describe('the output of rooms', () => {
  it('is given to the journal by process, and to the next one again', () => {
    const outputs = new RoomOutputs();
    const first = new TakingJournal();
    outputs.giveTo(first);
    const ends = [outputs.open('outbound', 'outbound'), outputs.open('edge 1', 'edge')];
    outputs.started('outbound', 11, first);
    writeSync(ends[0], 'early');
    assert.deepEqual(first.names, ['journal 0', 'outbound 11']);
    assert.equal(first.words(1), 'early');
    first.close();
    writeSync(ends[0], 'meanwhile');
    const second = new TakingJournal();
    outputs.giveTo(second);
    assert.deepEqual(second.names, ['journal 0', 'outbound 11'], 'the other one does not run yet');
    outputs.started('edge 1', 12, second);
    assert.deepEqual(second.names.slice(2), ['edge 12']);
    assert.equal(second.words(1), 'meanwhile');
    for (const end of ends) close(end);
    second.close();
    outputs.close();
  });

  it('of a process that is gone is read to its end, and given to nobody else', () => {
    const outputs = new RoomOutputs();
    const journal = new TakingJournal();
    const before = outputs.open('edge 1', 'edge');
    outputs.started('edge 1', 11, journal);
    writeSync(before, 'last words');
    close(before);
    const after = outputs.open('edge 1', 'edge');
    assert.equal(journal.words(0), 'last words');
    assert.equal(journal.words(0), '', 'nobody else has an end for writing');
    outputs.started('edge 1', 12, null);
    const next = new TakingJournal();
    outputs.giveTo(next);
    assert.deepEqual(next.names, ['journal 0', 'edge 12']);
    outputs.remove('edge 1');
    outputs.started('edge 1', 13, next);
    assert.equal(next.given.length, 2, 'its place is gone');
    for (const each of [journal, next]) each.close();
    close(after);
    outputs.close();
  });
});
