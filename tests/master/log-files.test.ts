/** The log's file as the master opens, rotates and passes it on. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Message } from '../../src/ipc/message.ts';
import { LogFiles, type LogPlace } from '../../src/master/log-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-log-files-'));
after(() => rmSync(folder, { recursive: true }));

let count = 0;
function place(options: Partial<LogPlace> = {}): LogPlace & { filePath: string } {
  return {
    level: 'info',
    filePath: join(folder, `${++count}.log`),
    maxLogSize: 1000,
    ...options,
  } as LogPlace & {
    filePath: string;
  };
}

/** What a journal was given. */
function given(files: LogFiles): { message: Message; descriptor: number } {
  const all: { message: Message; descriptor: number }[] = [];
  const take = (message: Message, descriptors: readonly number[] = []): boolean =>
    all.push({ message, descriptor: descriptors[0] }) > 0;
  assert.equal(files.giveTo({ send: take, handOver: take }), '');
  assert.equal(all.length, 1);
  return all[0];
}

function write(files: LogFiles, text: string): void {
  const { descriptor } = given(files);
  writeSync(descriptor, text);
  closeSync(descriptor);
}

describe('the log’s file', () => {
  it('is opened for appending, readable by its group alone, and told with its size', () => {
    const at = place();
    writeFileSync(at.filePath, 'old\n', { mode: 0o640 });
    const files = new LogFiles(at);
    const { message, descriptor } = given(files);
    assert.deepEqual(message, { kind: 'log-file', bytes: 4, rotates: true });
    writeSync(descriptor, 'new\n');
    closeSync(descriptor);
    assert.equal(readFileSync(at.filePath, 'utf8'), 'old\nnew\n');
    files.close();
    const fresh = place();
    new LogFiles(fresh).close();
    assert.equal(statSync(fresh.filePath).mode & 0o777, 0o640);
  });

  it('is standard error where none is named, or nothing is logged; that isn’t rotated', () => {
    for (const at of [place({ filePath: null }), place({ level: 'off' })]) {
      const files = new LogFiles(at);
      const { message, descriptor } = given(files);
      assert.ok(message.kind === 'log-file' && !message.rotates && message.bytes >= 0);
      assert.equal(fstatSync(descriptor).ino, fstatSync(2).ino);
      closeSync(descriptor);
      assert.equal(files.rotate(), '');
      files.close();
    }
    assert.ok(!existsSync(join(folder, `${count}.log`)));
    assert.ok(fstatSync(2).ino > 0);
  });

  it('that another master has rotated is followed, and rotated no further', () => {
    const at = place();
    const [older, newer] = [new LogFiles(at), new LogFiles(at)];
    write(older, `${'x'.repeat(2000)}\n`);
    assert.equal(newer.rotate(), '');
    write(newer, 'of the newer\n');
    assert.equal(older.rotate(), '');
    write(older, 'of the older\n');
    assert.equal(readFileSync(at.filePath, 'utf8'), 'of the newer\nof the older\n');
    assert.equal(statSync(`${at.filePath}.1`).size, 2001);
    assert.ok(!existsSync(`${at.filePath}.2`));
    older.close();
    newer.close();
  });

  it('is told at once where it can’t be opened', () => {
    assert.throws(() => new LogFiles(place({ filePath: join(folder, 'missing', 'x.log') })), /ENOENT/);
    assert.throws(() => new LogFiles(place({ filePath: folder })), /EISDIR/);
    // A pipe that nobody reads would be waited for.
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    assert.throws(() => new LogFiles(place({ filePath: pipe })), /ENXIO/);
  });

  it('becomes .1 when it is full, and five are kept', () => {
    const at = place();
    const files = new LogFiles(at);
    for (const number of [1, 2, 3, 4, 5, 6, 7]) {
      write(files, `${number}\n`);
      assert.equal(files.rotate(), '');
    }
    assert.equal(readFileSync(at.filePath, 'utf8'), '');
    assert.equal(readFileSync(`${at.filePath}.1`, 'utf8'), '7\n');
    assert.equal(readFileSync(`${at.filePath}.5`, 'utf8'), '3\n');
    assert.equal(readdirSync(folder).filter((name) => name.startsWith(`${count}.log`)).length, 6);
    files.close();
  });

  it('is left alone where whatever comes next fits, whoever asks', () => {
    const at = place({ maxLogSize: 200_000 });
    const files = new LogFiles(at);
    write(files, 'x\n'.repeat(50_000));
    assert.equal(files.rotate(), '');
    assert.ok(!existsSync(`${at.filePath}.1`));
    write(files, 'x\n'.repeat(45_000));
    assert.equal(files.rotate(), '');
    assert.ok(existsSync(`${at.filePath}.1`));
    truncateSync(`${at.filePath}.1`);
    files.follow({ ...at, maxLogSize: 0 });
    write(files, 'x\n'.repeat(200_000));
    assert.equal(files.rotate(), '');
    assert.ok(!existsSync(`${at.filePath}.2`), 'without a size it is never rotated');
    files.close();
  });

  it('stays as it was where it can’t be rotated, and says why', () => {
    const at = place();
    const files = new LogFiles(at);
    writeFileSync(`${at.filePath}.4`, '');
    mkdirSync(`${at.filePath}.5`);
    write(files, 'one\n');
    assert.match(files.rotate(), /EISDIR|ENOTEMPTY|EEXIST/);
    write(files, 'two\n');
    assert.equal(readFileSync(at.filePath, 'utf8'), 'one\ntwo\n');
    files.close();
  });

  it('is opened anew for whoever moved it away, and kept where that fails', () => {
    const at = place();
    const files = new LogFiles(at);
    renameSync(at.filePath, `${at.filePath}.moved`);
    assert.equal(files.reopen(), '');
    write(files, 'new\n');
    renameSync(at.filePath, `${at.filePath}.moved`);
    mkdirSync(at.filePath);
    assert.match(files.reopen(), /EISDIR/);
    write(files, 'kept\n');
    assert.equal(readFileSync(`${at.filePath}.moved`, 'utf8'), 'new\nkept\n');
    files.close();
  });

  it('is another one after a change of the configuration, or the old one where that can’t be opened', () => {
    const [first, second] = [place(), place()];
    const files = new LogFiles(first);
    files.follow(second);
    write(files, 'second\n');
    assert.throws(() => files.follow(place({ filePath: folder })), /EISDIR/);
    write(files, 'still\n');
    assert.equal(readFileSync(second.filePath, 'utf8'), 'second\nstill\n');
    assert.equal(readFileSync(first.filePath, 'utf8'), '');
    files.close();
    const open = readdirSync('/proc/self/fd').map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return '';
      }
    });
    assert.deepEqual(
      open.filter((target) => target.startsWith(folder)),
      [],
    );
  });
});
