import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it, mock } from 'node:test';
import { AccessRecord, Log, type LogOptions } from '../../src/log/log.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-log-'));
after(() => rmSync(folder, { recursive: true }));

let count = 0;
function newPath(): string {
  return join(folder, `${++count}.log`);
}

const OPTIONS = {
  level: 'info',
  format: 'text',
  channelSize: 100,
  flushIntervalMs: 1000,
  maxLogSize: 0,
} as const;

function open(options: Partial<LogOptions> & { filePath: string }): Log {
  return new Log({ ...OPTIONS, ...options }, () => 0);
}

const PREFIX = '1970-01-01T00:00:00.000Z ';

/** Lines without their time. */
function linesOf(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  assert.ok(text === '' || text.endsWith('\n'), 'a broken last line');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => line.replace(PREFIX, ''));
}

describe('Log', () => {
  it('writes entries from its level on, in order', async () => {
    const filePath = newPath();
    const log = open({ filePath, level: 'warn' });
    log.info('too low');
    log.error('first');
    log.warn('second', { code: 7 });
    assert.ok(!log.accessEnabled);
    log.access(new AccessRecord());
    await log.close();
    assert.deepEqual(linesOf(filePath), ['[ERROR] first', '[WARN] second code=7']);
  });

  it('opens no file and writes nothing when it is off', async () => {
    const filePath = newPath();
    const log = open({ filePath, level: 'off' });
    log.error('never');
    await log.close();
    assert.ok(!existsSync(filePath));
  });

  it('appends to what is there', async () => {
    const filePath = newPath();
    for (const message of ['one', 'two']) {
      const log = open({ filePath });
      log.info(message);
      await log.close();
    }
    assert.deepEqual(linesOf(filePath), ['[INFO] one', '[INFO] two']);
  });

  it('writes JSON lines', async () => {
    const filePath = newPath();
    const log = open({ filePath, format: 'json' });
    log.info('hello', { n: 1 });
    log.access(Object.assign(new AccessRecord(), { path: '/x\n' }));
    await log.close();
    const [first, second] = linesOf(filePath).map((line) => JSON.parse(line));
    assert.deepEqual([first.message, first.n, second.message, second.path], ['hello', 1, 'access', '/x\n']);
  });

  it('throws at the start where the file can’t be opened', () => {
    assert.throws(() => open({ filePath: join(folder, 'missing', 'x.log') }), /ENOENT/);
  });

  it('writes access entries when the flush interval has passed, others at once', async (test) => {
    mock.timers.enable({ apis: ['setTimeout'] });
    test.after(() => mock.timers.reset());
    const filePath = newPath();
    const log = open({ filePath, flushIntervalMs: 500 });
    log.access(new AccessRecord());
    mock.timers.tick(499);
    assert.deepEqual(linesOf(filePath), []);
    mock.timers.tick(1);
    await log.flush();
    assert.equal(linesOf(filePath).length, 1);
    log.access(new AccessRecord());
    log.info('soon');
    mock.timers.tick(1);
    await log.flush();
    assert.equal(linesOf(filePath).length, 3);
    await log.close();
  });

  it('drops what is above the channel size, counts it and says so', async () => {
    const filePath = newPath();
    const log = open({ filePath, channelSize: 3 });
    for (let entry = 0; entry < 10; entry++) log.info(`entry ${entry}`);
    assert.equal(log.dropped, 7);
    await log.flush();
    log.info('room again');
    await log.close();
    assert.deepEqual(linesOf(filePath), [
      '[INFO] entry 0',
      '[INFO] entry 1',
      '[INFO] entry 2',
      '[WARN] Log entries dropped: the queue was full dropped=7',
      '[INFO] room again',
    ]);
  });

  it('loses nothing that comes while it writes', async () => {
    const filePath = newPath();
    const log = open({ filePath, channelSize: 10_000 });
    for (let entry = 0; entry < 5000; entry++) {
      log.info(`entry ${entry} ${'x'.repeat(100)}`);
      if (entry % 1000 === 0) void log.flush();
      if (entry % 700 === 0) await new Promise(setImmediate);
    }
    await log.close();
    assert.deepEqual(
      linesOf(filePath).map((line) => Number(line.split(' ')[2])),
      Array.from({ length: 5000 }, (_, index) => index),
    );
  });

  it('writes what waits when the process ends at once', () => {
    const filePath = newPath();
    const log = open({ filePath });
    log.info('last words');
    log.flushSync();
    assert.deepEqual(linesOf(filePath), ['[INFO] last words']);
  });
});

describe('rotation', () => {
  it('starts a new file before a line that would exceed the size, and keeps five', async () => {
    const filePath = newPath();
    const entryBytes = PREFIX.length + '[INFO] 00\n'.length;
    const log = open({ filePath, maxLogSize: entryBytes * 3 });
    for (let entry = 10; entry < 40; entry++) log.info(String(entry));
    await log.close();
    assert.deepEqual(linesOf(filePath), ['[INFO] 37', '[INFO] 38', '[INFO] 39']);
    assert.deepEqual(linesOf(`${filePath}.1`), ['[INFO] 34', '[INFO] 35', '[INFO] 36']);
    assert.deepEqual(linesOf(`${filePath}.5`), ['[INFO] 22', '[INFO] 23', '[INFO] 24']);
    assert.equal(readdirSync(folder).filter((name) => name.startsWith(`${count}.log`)).length, 6);
  });

  it('fills a file to the last byte, and not beyond', async () => {
    const filePath = newPath();
    const entryBytes = PREFIX.length + '[INFO] 0\n'.length;
    const log = open({ filePath, maxLogSize: entryBytes * 2 - 1 });
    log.info('1');
    log.info('2');
    await log.close();
    assert.deepEqual([linesOf(`${filePath}.1`), linesOf(filePath)], [['[INFO] 1'], ['[INFO] 2']]);
  });

  it('gives a line that is longer than a file one to itself', async () => {
    const filePath = newPath();
    const log = open({ filePath, maxLogSize: 64 });
    for (const letter of 'abc') log.info(letter.repeat(100));
    await log.close();
    assert.equal(linesOf(filePath)[0], `[INFO] ${'c'.repeat(100)}`);
    assert.equal(linesOf(`${filePath}.2`)[0], `[INFO] ${'a'.repeat(100)}`);
    assert.ok(!existsSync(`${filePath}.3`));
  });

  it('counts what the file held at the start', async () => {
    const filePath = newPath();
    for (const message of ['one', 'two']) {
      const log = open({ filePath, maxLogSize: 50 });
      log.info(message);
      await log.close();
    }
    assert.deepEqual([linesOf(`${filePath}.1`), linesOf(filePath)], [['[INFO] one'], ['[INFO] two']]);
  });

  it('opens the path anew when it is asked to', async () => {
    const filePath = newPath();
    const log = open({ filePath });
    log.info('before');
    await log.flush();
    renameSync(filePath, `${filePath}.moved`);
    log.reopen();
    log.info('after');
    await log.close();
    assert.deepEqual(
      [linesOf(`${filePath}.moved`), linesOf(filePath)],
      [['[INFO] before'], ['[INFO] after']],
    );
  });
});

describe('other options', () => {
  it('hold for what comes, and their file takes what waits', async () => {
    const [first, second] = [newPath(), newPath()];
    const log = open({ filePath: first });
    log.info('written');
    await log.flush();
    log.debug('too low');
    log.info('waiting');
    log.follow({ ...OPTIONS, level: 'debug', format: 'json', filePath: second });
    log.debug('low');
    assert.ok(log.accessEnabled);
    await log.close();
    assert.deepEqual(linesOf(first), ['[INFO] written']);
    const [waiting, low] = readFileSync(second, 'utf8').split('\n');
    assert.equal(waiting.replace(PREFIX, ''), '[INFO] waiting');
    assert.equal(JSON.parse(low).message, 'low');
  });

  it('lose nothing of a write that is under way', async () => {
    const [first, second] = [newPath(), newPath()];
    const log = open({ filePath: first });
    log.info('under way');
    const flushed = log.flush();
    log.follow({ ...OPTIONS, level: 'warn', filePath: second });
    log.info('too low');
    log.warn('after');
    await flushed;
    await log.close();
    assert.deepEqual([linesOf(first), linesOf(second)], [['[INFO] under way'], ['[WARN] after']]);
    assert.ok(!log.accessEnabled);
  });

  it('change nothing where their file can’t be opened', async () => {
    const filePath = newPath();
    const log = open({ filePath });
    assert.throws(
      () => log.follow({ ...OPTIONS, level: 'error', filePath: join(folder, 'none', 'x.log') }),
      /ENOENT/,
    );
    log.info('as before');
    await log.close();
    assert.deepEqual(linesOf(filePath), ['[INFO] as before']);
  });
});

describe('a full disk', () => {
  it('drops entries, counts and reports them, and goes on when there is room', async (test) => {
    const complaints: string[] = [];
    test.mock.method(process.stderr, 'write', (line: Buffer) => complaints.push(line.toString()) > 0);
    const filePath = newPath();
    symlinkSync('/dev/full', filePath);
    const log = open({ filePath });
    log.info('lost');
    log.info('lost too');
    await log.flush();
    assert.equal(log.dropped, 2);
    log.info('lost as well');
    await log.flush();
    assert.equal(complaints.length, 1, 'one complaint a minute');
    assert.match(complaints[0], /could not be written dropped=2 reason="ENOSPC/);
    rmSync(filePath);
    log.reopen();
    log.info('written');
    await log.close();
    assert.equal(log.dropped, 3);
    const lines = linesOf(filePath).sort();
    assert.equal(lines[0], '[INFO] written');
    assert.match(
      lines[1],
      /^\[WARN\] Log entries dropped: the log could not be written dropped=3 reason="ENOSPC/,
    );
  });

  it('does not lose a line when the file can’t be reopened, and complains', async (test) => {
    const complaints: string[] = [];
    test.mock.method(process.stderr, 'write', (line: Buffer) => complaints.push(line.toString()) > 0);
    const filePath = newPath();
    const log = open({ filePath });
    log.info('before');
    await log.flush();
    renameSync(filePath, `${filePath}.moved`);
    symlinkSync(join(folder, 'missing', 'x'), filePath);
    log.reopen();
    log.info('between');
    await log.flush();
    assert.match(complaints[0], /The log file could not be changed reason="ENOENT/);
    rmSync(filePath);
    log.info('after');
    await log.close();
    assert.equal(log.dropped, 0);
    assert.deepEqual(linesOf(`${filePath}.moved`), ['[INFO] before', '[INFO] between']);
    assert.deepEqual(linesOf(filePath), ['[INFO] after']);
  });

  it('goes on with the old file when it can’t be rotated', async (test) => {
    test.mock.method(process.stderr, 'write', () => true);
    const filePath = newPath();
    const log = open({ filePath, maxLogSize: 50 });
    writeFileSync(`${filePath}.4`, '');
    mkdirSync(`${filePath}.5`);
    for (const message of ['one', 'two', 'three']) {
      log.info(message);
      await log.flush();
    }
    await log.close();
    assert.equal(log.dropped, 0);
    assert.deepEqual(linesOf(filePath), ['[INFO] one', '[INFO] two', '[INFO] three']);
  });
});
