/** The log of one process: what it hands over and when, what it drops, and that it says so. */

import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { AccessRecord, Log, type LogOptions, type LogSink } from '../../src/log/log.ts';

/** Writes down what it takes. */
class Diary implements LogSink {
  readonly bytesMax: number = 4096;
  isOpen = true;
  readonly pieces: { text: string; entries: number; dropped: number }[] = [];

  constructor(bytesMax = 4096) {
    this.bytesMax = bytesMax;
  }

  take(lines: Uint8Array, entries: number, dropped: number): boolean {
    if (this.isOpen) this.pieces.push({ text: Buffer.from(lines).toString(), entries, dropped });
    return this.isOpen;
  }

  get lines(): string[] {
    const text = this.pieces.map((piece) => piece.text).join('');
    assert.ok(text === '' || text.endsWith('\n'), 'a broken last line');
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => line.replace(PREFIX, ''));
  }
}

const OPTIONS = { level: 'info', format: 'text', channelSize: 100, flushIntervalMs: 1000 } as const;
const PREFIX = '1970-01-01T00:00:00.000Z ';

function open(diary: Diary, options: Partial<LogOptions> = {}, room = ''): Log {
  return new Log({ ...OPTIONS, ...options }, diary, room, () => 0);
}

describe('Log', () => {
  it('hands over entries from its level on, in order', () => {
    const diary = new Diary();
    const log = open(diary, { level: 'warn' });
    log.info('too low');
    log.error('first');
    log.warn('second', { code: 7 });
    assert.ok(!log.accessEnabled);
    log.access(new AccessRecord());
    log.flush();
    assert.deepEqual(diary.lines, ['[ERROR] first', '[WARN] second code=7']);
    assert.deepEqual(
      diary.pieces.map(({ entries, dropped }) => [entries, dropped]),
      [[2, 0]],
    );
  });

  it('hands over nothing when it is off', () => {
    const diary = new Diary();
    const log = open(diary, { level: 'off' });
    log.error('never');
    log.flush();
    assert.deepEqual(diary.pieces, []);
  });

  it('formats JSON lines', () => {
    const diary = new Diary();
    const log = open(diary, { format: 'json' });
    log.info('hello', { n: 1 });
    log.access(Object.assign(new AccessRecord(), { path: '/x\n' }));
    log.flush();
    const [first, second] = diary.lines.map((line) => JSON.parse(line));
    assert.deepEqual([first.message, first.n, second.message, second.path], ['hello', 1, 'access', '/x\n']);
  });

  it('names its room in entries, but not in those of requests', () => {
    const diary = new Diary();
    const log = open(diary, {}, 'keys');
    log.info('signed', { n: 1 });
    log.access(new AccessRecord());
    log.flush();
    const [entry, access] = diary.lines;
    assert.equal(entry, '[INFO] signed n=1 room=keys');
    assert.doesNotMatch(access, /room=/);
  });

  it('hands over access entries when the flush interval has passed, others in the same turn', (test) => {
    mock.timers.enable({ apis: ['setTimeout'] });
    test.after(() => mock.timers.reset());
    const diary = new Diary();
    const log = open(diary, { flushIntervalMs: 500 });
    log.access(new AccessRecord());
    mock.timers.tick(499);
    assert.equal(diary.pieces.length, 0);
    mock.timers.tick(1);
    assert.equal(diary.pieces.length, 1);
    log.access(new AccessRecord());
    log.info('soon');
    log.info('together');
    mock.timers.tick(1);
    assert.equal(diary.lines.length, 4);
    assert.equal(diary.pieces.length, 2);
  });

  it('keeps what its sink doesn’t take, offers it again, and loses nothing', (test) => {
    mock.timers.enable({ apis: ['setTimeout'] });
    test.after(() => mock.timers.reset());
    const diary = new Diary();
    diary.isOpen = false;
    const log = open(diary);
    log.info('one');
    mock.timers.tick(1);
    log.info('two');
    mock.timers.tick(1);
    mock.timers.tick(1000);
    diary.isOpen = true;
    mock.timers.tick(64);
    assert.deepEqual(diary.lines, ['[INFO] one', '[INFO] two']);
    assert.equal(log.dropped, 0);
  });

  it('drops what is above the channel size, counts it, and tells its sink once', () => {
    const diary = new Diary();
    const log = open(diary, { channelSize: 3 });
    for (let entry = 0; entry < 10; entry++) log.info(`entry ${entry}`);
    assert.equal(log.dropped, 7);
    log.flush();
    log.info('room again');
    log.flush();
    assert.deepEqual(diary.lines, [
      '[INFO] entry 0',
      '[INFO] entry 1',
      '[INFO] entry 2',
      '[INFO] room again',
    ]);
    assert.deepEqual(
      diary.pieces.map(({ dropped }) => dropped),
      [7, 0],
    );
  });

  it('tells of what it dropped only when its sink takes something', () => {
    const diary = new Diary();
    diary.isOpen = false;
    const log = open(diary, { channelSize: 1 });
    log.info('one');
    log.info('two');
    log.flush();
    log.info('three');
    diary.isOpen = true;
    log.flush();
    assert.deepEqual(
      diary.pieces.map(({ dropped }) => dropped),
      [2],
    );
  });

  it('hands over pieces of whole lines that fit, and drops a line that fits none', () => {
    const diary = new Diary(4096);
    const log = open(diary, { channelSize: 10_000 });
    for (let entry = 0; entry < 500; entry++) log.info(`entry ${entry} ${'ü'.repeat(entry)}`);
    const long = 'x'.repeat(1900);
    log.info('too long', { a: long, b: long, c: long });
    log.info('last');
    log.flush();
    assert.equal(log.dropped, 1);
    assert.ok(diary.pieces.length > 50);
    for (const { text, entries } of diary.pieces) {
      assert.ok(text.endsWith('\n') && Buffer.byteLength(text) <= 4096);
      assert.equal(text.split('\n').length - 1, entries);
    }
    assert.deepEqual(
      diary.lines.slice(0, -1).map((line) => Number(line.split(' ')[2])),
      Array.from({ length: 500 }, (_, index) => index),
    );
    assert.equal(diary.lines.at(-1), '[INFO] last');
  });

  it('does what other options say from then on, and what waits goes as it is', () => {
    const diary = new Diary();
    const log = open(diary);
    log.debug('too low');
    log.info('waiting');
    log.follow({ ...OPTIONS, level: 'debug', format: 'json' });
    log.debug('low');
    assert.ok(log.accessEnabled);
    log.follow({ ...OPTIONS, level: 'warn' });
    assert.ok(!log.accessEnabled);
    log.info('too low');
    log.flush();
    const [waiting, low, ...more] = diary.lines;
    assert.equal(waiting, '[INFO] waiting');
    assert.equal(JSON.parse(low).message, 'low');
    assert.deepEqual(more, []);
  });
});
