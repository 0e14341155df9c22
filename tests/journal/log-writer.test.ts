/** How the journal writes: gathered, within a file's size, and what it says when it can't. */

import assert from 'node:assert/strict';
import {
  closeSync,
  mkdtempSync,
  openSync,
  read as readFile,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { areWholeLines, countLines } from '../../src/journal/entry-text.ts';
import { LogWriter, SHARE_BYTES_MAX, Share } from '../../src/journal/log-writer.ts';
import { createPipe } from '../../src/sys/descriptors.ts';
import { until, within } from '../fixtures/patience.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-writer-'));
after(() => rmSync(folder, { recursive: true }));

let count = 0;
function newPath(): string {
  return join(folder, `${++count}.log`);
}

/** A writer whose files are rotated here: `path`, `path.1`, and so on, the youngest without a number. */
function open(path: string, maxLogSize = 0): LogWriter {
  let number = 0;
  const writer = new LogWriter(
    () => {
      renameSync(path, `${path}.${++number}`);
      writer.useFile(openSync(path, 'a'), 0, true);
    },
    () => 0,
  );
  writer.follow({ level: 'info', format: 'text', maxLogSize });
  writer.useFile(openSync(path, 'a'), statSync(path).size, true);
  return writer;
}

const share = (): Share => new Share();
const bytes = (text: string): Buffer => Buffer.from(text);
const read = (path: string): string => readFileSync(path, 'utf8');

const readSome = (fd: number, buffer: Buffer): Promise<number> =>
  new Promise((resolve) => readFile(fd, buffer, 0, buffer.length, null, (_, length) => resolve(length)));

function pipe(): readonly [number, number] {
  const made = createPipe();
  assert.ok(typeof made !== 'number');
  return made;
}

describe('the writer', () => {
  it('gathers what comes in one turn, in order, and waits for a file where there is none yet', async () => {
    const writer = new LogWriter(() => assert.fail('nothing is to be rotated'));
    for (let entry = 0; entry < 100; entry++) writer.add(bytes(`${entry}\n`), share());
    const path = newPath();
    writer.useFile(openSync(path, 'a'), 0, true);
    await writer.idle();
    assert.equal(read(path), [...Array(100).keys()].map((entry) => `${entry}\n`).join(''));
  });

  it('fills a file to the last byte, and not beyond', async () => {
    const path = newPath();
    const writer = open(path, 10);
    for (const line of ['1234\n', '6789\n', 'x\n']) writer.add(bytes(line), share());
    await writer.idle();
    assert.deepEqual([read(`${path}.1`), read(path)], ['1234\n6789\n', 'x\n']);
  });

  it('starts a new file before a line that would exceed the size', async () => {
    const path = newPath();
    const writer = open(path, 9);
    for (const line of ['1234\n', '6789\n']) writer.add(bytes(line), share());
    await writer.idle();
    assert.deepEqual([read(`${path}.1`), read(path)], ['1234\n', '6789\n']);
  });

  it('gives a line that is longer than a file one to itself', async () => {
    const path = newPath();
    const writer = open(path, 4);
    for (const line of ['aaaaaaaa\n', 'bbbbbbbb\n', 'c\n']) writer.add(bytes(line), share());
    await writer.idle();
    assert.deepEqual([`${path}.1`, `${path}.2`, path].map(read), ['aaaaaaaa\n', 'bbbbbbbb\n', 'c\n']);
  });

  it('counts what the file had', async () => {
    const path = newPath();
    const first = open(path, 10);
    first.add(bytes('1234\n'), share());
    await first.idle();
    const second = open(path, 10);
    second.add(bytes('6789\n'), share());
    second.add(bytes('x\n'), share());
    await second.idle();
    assert.deepEqual([read(`${path}.1`), read(path)], ['1234\n6789\n', 'x\n']);
  });

  it('goes on where another file is as full as the old one', async () => {
    const path = newPath();
    let asked = 0;
    const writer = new LogWriter(() => {
      asked++;
      writer.useFile(openSync(path, 'a'), statSync(path).size, true);
    });
    writer.follow({ level: 'info', format: 'text', maxLogSize: 6 });
    writer.useFile(openSync(path, 'a'), 0, true);
    for (const line of ['1234\n', '6789\n', 'abcd\n']) writer.add(bytes(line), share());
    await writer.idle();
    assert.equal(read(path), '1234\n6789\nabcd\n');
    assert.equal(asked, 2);
  });

  it('has room for so much of one source, and still for the others and for itself', async () => {
    const writer = new LogWriter(() => {});
    const [greedy, other, master] = [share(), share(), new Share(true)];
    const piece = Buffer.alloc(60_000, 'x\n');
    let added = 0;
    while (writer.add(piece, greedy)) added++;
    assert.equal(added, Math.floor(SHARE_BYTES_MAX / piece.length));
    assert.ok(writer.add(piece, other));
    const crowd = Array.from({ length: 8 }, share);
    for (const each of crowd) while (writer.add(piece, each));
    assert.ok(!writer.add(piece, share()), 'all together have a bound');
    assert.ok(writer.add(piece, master), 'the master has room beyond it');
    const path = newPath();
    writer.useFile(openSync(path, 'a'), 0, true);
    await writer.idle();
    assert.equal(greedy.queuedBytes, 0);
    assert.ok(writer.add(piece, greedy));
    await writer.idle();
    assert.equal(writer.dropped, 0);
  });

  it('counts lines that can’t be written, complains once a minute, and tells in the log when it works again', async () => {
    const [reader, complaints] = pipe();
    const writer = new LogWriter(
      () => {},
      () => nowMs,
    );
    let nowMs = 0;
    writer.useComplaints(complaints);
    writer.useFile(openSync('/dev/full', 'a'), 0, false);
    writer.add(bytes('one\ntwo\n'), share());
    await writer.idle();
    assert.equal(writer.dropped, 2);
    writer.add(bytes('three\n'), share());
    await writer.idle();
    const told: string[] = [];
    const complaint = async (): Promise<void> => {
      const buffer = Buffer.alloc(4096);
      const length = await within(readSome(reader, buffer), 5000, 'it complains');
      told.push(buffer.toString('utf8', 0, length));
    };
    await complaint();
    nowMs = 60_000;
    writer.add(bytes('four\n'), share());
    await writer.idle();
    await complaint();
    assert.match(told[0], /Log entries dropped: the log could not be written dropped=2 reason="ENOSPC/);
    assert.match(told[1], /dropped=3 reason="ENOSPC/, 'there was none in between');
    const path = newPath();
    writer.useFile(openSync(path, 'a'), 0, true);
    writer.add(bytes('five\n'), share());
    await writer.idle();
    assert.equal(writer.dropped, 4);
    assert.match(read(path), /could not be written dropped=4 reason="ENOSPC[^\n]*\nfive\n$/);
    closeSync(reader);
    closeSync(complaints);
  });

  it('tells so by itself when nothing else is to be written', { timeout: 60_000 }, async () => {
    const writer = new LogWriter(() => {});
    writer.useFile(openSync('/dev/full', 'a'), 0, false);
    writer.add(bytes('one\n'), share());
    await writer.idle();
    const path = newPath();
    writer.useFile(openSync(path, 'a'), 0, true);
    await until(() => read(path) !== '', 5000, 'it is told');
    assert.match(read(path), /dropped=1 /);
  });

  it('says nothing that its level leaves out', async () => {
    const path = newPath();
    const writer = open(path);
    writer.follow({ level: 'error', format: 'json', maxLogSize: 0 });
    writer.entry('warn', 'too low', {});
    writer.entry('error', 'high', { room: 'keys' });
    await writer.idle();
    assert.equal(JSON.parse(read(path)).message, 'high');
  });
});

describe('what rooms hand over', () => {
  const cases: [string, Buffer, boolean][] = [
    ['nothing', Buffer.alloc(0), true],
    ['one line', bytes('a\n'), true],
    ['lines in any language', bytes('a\nü 日本 😀\n'), true],
    ['an empty line', bytes('\n'), true],
    ['a line without its end', bytes('a\nb'), false],
    ['a tabulator', bytes('a\tb\n'), false],
    ['a carriage return', bytes('a\rb\n'), false],
    ['an escape', bytes('a\x1b[2J\n'), false],
    ['a null', bytes('a\0\n'), false],
    ['a delete', bytes('a\x7f\n'), false],
    ['half a character', Buffer.of(0x61, 0xc3, 0x0a), false],
    ['an overlong character', Buffer.of(0xc0, 0xaf, 0x0a), false],
  ];
  for (const [what, input, expected] of cases) {
    it(`${expected ? 'may' : 'may not'} be ${what}`, () => {
      assert.equal(areWholeLines(input), expected);
      // Wherever it stands.
      for (let before = 0; before < 9; before++)
        assert.equal(areWholeLines(Buffer.concat([bytes(`${'x'.repeat(before)}\n`), input])), expected);
    });
  }

  it('is counted by its lines, from anywhere', () => {
    assert.deepEqual(
      [countLines(bytes('')), countLines(bytes('a\n\nb\n')), countLines(bytes('a\nb\n'), 2)],
      [0, 3, 1],
    );
  });
});
