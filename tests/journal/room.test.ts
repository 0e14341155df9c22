/** The journal's room, sealed: what it writes whatever rooms, disks and readers do. As root. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  closeSync,
  createReadStream,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, before, describe, it } from 'node:test';
import { Channel } from '../../src/ipc/channel.ts';
import { Log } from '../../src/log/log.ts';
import { MessageTransfer } from '../../src/sys/descriptors.ts';
import { until } from '../fixtures/patience.ts';
import { needRoot, openFolder, prepareMaster, statusOf } from '../master/house.ts';
import { JournalHouse, linesOf, sendAll } from './journal-room.ts';

before(async () => {
  needRoot();
  await prepareMaster();
});

let house: JournalHouse | null = null;
afterEach(async () => {
  if (house !== null && house.ended === '') await house.stop();
  house = null;
});

async function open(...[path, options]: ConstructorParameters<typeof JournalHouse>): Promise<JournalHouse> {
  house = new JournalHouse(path, options);
  await house.isReady();
  return house;
}

function newPath(): string {
  return join(openFolder(), 'access.log');
}

const numbered = (name: string, count: number, bytes = 0): string[] =>
  Array.from({ length: count }, (_, index) => `${name} ${index} ${'x'.repeat(bytes)}`);

function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

describe('the journal', { timeout: 240_000 }, () => {
  it('is sealed, and has no file but the log’s', async () => {
    const path = newPath();
    const { room } = await open(path);
    assert.equal(statusOf(room.pid)['Seccomp'], '2');
    const files = readdirSync(`/proc/${room.pid}/fd`)
      .map((fd) => readlinkSync(`/proc/${room.pid}/fd/${fd}`))
      .filter((target) => target.startsWith('/') && target !== '/dev/null');
    assert.deepEqual(
      files.filter((target) => !/\/output$|^\/dev\/(tty|pts)/.test(target)),
      [path],
    );
    assert.equal(statSync(path).mode & 0o777, 0o640);
  });

  it('writes what rooms and the master say, each in its order', async () => {
    const path = newPath();
    const home = await open(path);
    const peers = [home.peer('edge', 0), home.peer('edge', 1), home.peer('keys'), home.peer('outbound')];
    await Promise.all(peers.map((sink, index) => sendAll(sink, numbered(`peer${index}`, 3000))));
    const bytes = Buffer.from('master 0\n');
    assert.ok(home.room.trySend({ kind: 'log', dropped: 0, bytes }));
    await until(() => linesOf(path).length === 12_001, 10_000, 'all entries are written');
    for (let peer = 0; peer < 4; peer++) {
      const own = linesOf(path).filter((line) => line.startsWith(`peer${peer} `));
      assert.deepEqual(own, numbered(`peer${peer}`, 3000));
    }
    assert.ok(linesOf(path).includes('master 0'));
  });

  it('writes all that was said before it is told to end, and ends', async () => {
    const path = newPath();
    const home = await open(path);
    const sink = home.peer('edge', 0);
    await sendAll(sink, numbered('last', 5000, 100));
    sink.disconnect();
    await home.stop();
    assert.equal(linesOf(path).length, 5000);
    assert.doesNotMatch(home.ended, /SIG/);
  });

  it('rotates by its master under load, keeps each file within its size, and loses nothing', async () => {
    const path = newPath();
    const maxLogSize = 700_000;
    const home = await open(path, { maxLogSize });
    const peers = [home.peer('edge', 0), home.peer('edge', 1)];
    await Promise.all(peers.map((sink, index) => sendAll(sink, numbered(`peer${index}`, 10_000, 150))));
    const paths = [5, 4, 3, 2, 1].map((number) => `${path}.${number}`).concat(path);
    const all = (): string[] => paths.flatMap(linesOf);
    await until(() => all().length === 20_000, 20_000, 'all entries are written');
    assert.equal(home.rotations, 4);
    for (const each of paths.slice(1))
      assert.ok(statSync(each).size <= maxLogSize && statSync(each).size > 0);
    for (let peer = 0; peer < 2; peer++) {
      const own = all().filter((line) => line.startsWith(`peer${peer} `));
      assert.deepEqual(own, numbered(`peer${peer}`, 10_000, 150));
    }
  });

  it('goes on with a file that is too large where its master has no other, and asks again later', async () => {
    const path = newPath();
    const home = await open(path, { maxLogSize: 10_000 });
    home.rotates = false;
    const sink = home.peer('edge', 0);
    await sendAll(sink, numbered('entry', 150, 100));
    await until(() => linesOf(path).length === 150, 10_000, 'all entries are written');
    home.rotates = true;
    await sendAll(sink, numbered('later', 100, 100));
    await until(() => home.rotations === 1, 10_000, 'another file is asked for');
    await until(
      () => linesOf(`${path}.1`).length + linesOf(path).length === 250,
      10_000,
      'all entries are written',
    );
  });

  it('writes to the new file when the old one was moved away', async () => {
    const path = newPath();
    const home = await open(path);
    const sink = home.peer('edge', 0);
    await sendAll(sink, ['before']);
    await until(() => linesOf(path).length === 1, 10_000, 'the entry is written');
    renameSync(path, `${path}.moved`);
    await sendAll(sink, ['between']);
    await until(() => linesOf(`${path}.moved`).length === 2, 10_000, 'the entry is written');
    assert.equal(home.files.reopen(), '');
    home.files.giveTo(home.room);
    await sendAll(sink, ['after']);
    await until(() => linesOf(path).length === 1, 10_000, 'the entry is written');
    assert.deepEqual([linesOf(`${path}.moved`), linesOf(path)], [['before', 'between'], ['after']]);
    const held = readdirSync(`/proc/${home.room.pid}/fd`).map((fd) =>
      readlinkSync(`/proc/${home.room.pid}/fd/${fd}`),
    );
    assert.ok(!held.includes(`${path}.moved`), 'the old file is given back');
  });

  it('takes another configuration', async () => {
    const path = newPath();
    const home = await open(path);
    home.configure({ format: 'json' });
    await home.isReady();
    writeSync(home.output, 'words\n');
    await until(() => linesOf(path).length === 1, 10_000, 'the entry is written');
    assert.equal(JSON.parse(linesOf(path)[0]).message, 'words');
  });

  it('survives a full disk: counts what it loses, and tells when there is room again', async () => {
    const disk = await smallDisk();
    const path = join(disk.folder, 'access.log');
    const filler = join(disk.folder, 'filler');
    const home = await open(path);
    const sink = home.peer('edge', 0);
    // Without it there is room for all that may still wait.
    writeFileSync(filler, Buffer.alloc(DISK_BYTES - 65_536));
    await sendAll(sink, numbered('entry', 2000, 100));
    await until(() => home.room.unwritten > 0, 20_000, 'the disk is full');
    rmSync(filler);
    // No entry has to come for that.
    await until(() => /Log entries dropped/.test(readFileSync(path, 'utf8')), 10_000, 'it tells');
    await sendAll(sink, ['at last']);
    await until(() => linesOf(path).at(-1) === 'at last', 10_000, 'it goes on');
    const lines = linesOf(path);
    const written = lines.filter((line) => /^entry \d+ x{100}$/.test(line)).length;
    const told = lines.flatMap((line) => /dropped=(\d+) reason="ENOSPC/.exec(line)?.[1] ?? []).map(Number);
    assert.ok(written > 0 && told.length > 0);
    assert.equal(written + told.reduce((sum, each) => sum + each, 0), 2000);
    await home.stop();
    disk.end();
  });

  const garbage: [string, (channel: number) => void, RegExp][] = [
    ['bytes that are no message', (fd) => sendRaw(fd, [1, 200, 0, 0, 0, 0, 0, 0]), /a malformed message/],
    ['another room’s message', (fd) => sendRaw(fd, [1, 11, 0, 0, 0, 0, 0, 0]), /a m/],
    ['a line without an end', (fd) => sendLog(fd, 'no end'), /what are no lines of text/],
    ['what moves a terminal', (fd) => sendLog(fd, 'clear \x1b[2J\n'), /what are no lines of text/],
    ['bytes that are no text', (fd) => sendLog(fd, Buffer.of(0xff, 0xfe, 10)), /what are no lines of text/],
  ];
  for (const [what, send, reason] of garbage) {
    it(`hears a room no more that sends ${what}, and the others as before`, async () => {
      const path = newPath();
      const home = await open(path);
      const bad = home.connect('edge', 3);
      const good = home.peer('edge', 4);
      await sendAll(good, ['one']);
      await until(() => linesOf(path).length === 1, 10_000, 'the entry is written');
      send(bad);
      await until(() => linesOf(path).length === 2, 10_000, 'it is told');
      const told = linesOf(path)[1];
      assert.match(told, reason);
      assert.match(told, /\[ERROR\] a room is not heard any more: it sent .* room=edge slot=3$/);
      const ended = new Channel(bad, 'edge', 'journal');
      assert.equal(ended.send({ kind: 'log', dropped: 0, bytes: Buffer.from('again\n') }), 'ended');
      ended.close();
      await sendAll(good, ['two']);
      await until(() => linesOf(path).length === 3, 10_000, 'the other is heard');
      assert.ok(home.room.state === 'ready');
    });
  }

  it('bounds what a room that floods it may have waiting, and keeps the others’ entries', async () => {
    const home = await open(newPath());
    const reader = home.usePipe();
    const before = residentMiB(home.room.pid);
    const [flood, quiet] = [home.peer('edge', 0), home.peer('edge', 1)];
    const lines = numbered('flood', 400, 120);
    const piece = Buffer.from(`${lines.join('\n')}\n`);
    let flooded = 0;
    for (const untilMs = performance.now() + 60_000; flooded < 800; ) {
      if (flood.take(piece, lines.length, 0)) flooded++;
      else await new Promise(setImmediate);
      assert.ok(performance.now() < untilMs, 'the journal goes on reading');
    }
    await sendAll(quiet, numbered('quiet', 500, 100));
    assert.ok(residentMiB(home.room.pid) - before < 40, 'its memory is bounded');
    const text = await readUntil(reader, (all) => {
      const dropped = sumOf(all, /queue was full dropped=(\d+) room=edge slot=0/g);
      return countOf(all, /^flood /gm) + dropped === flooded * lines.length && /quiet 499/.test(all);
    });
    assert.ok(sumOf(text, /queue was full dropped=(\d+) room=edge slot=0/g) > 100_000);
    assert.deepEqual(
      text.split('\n').filter((line) => line.startsWith('quiet ')),
      numbered('quiet', 500, 100),
    );
  });

  it('ends although nobody reads what it writes', async () => {
    const home = await open(newPath());
    const reader = home.usePipe();
    await sendAll(home.peer('edge', 0), numbered('entry', 5000, 100));
    home.room.drain(200, false);
    await until(() => home.ended !== '', 10_000, 'the journal ends');
    closeSync(reader);
  });

  it('is followed by another one when it is killed, which goes on where it was', async () => {
    const path = newPath();
    const home = await open(path);
    const sink = home.peer('edge', 0);
    const log = new Log(
      { level: 'info', format: 'text', channelSize: 10_000, flushIntervalMs: 10 },
      sink,
      'edge',
    );
    log.info('before');
    await until(() => linesOf(path).length === 1, 10_000, 'the entry is written');
    process.kill(home.room.pid, 'SIGKILL');
    await until(() => home.ended !== '', 10_000, 'it is dead');
    writeSync(home.output, 'somebody’s last words\n');
    for (let entry = 0; entry < 1000; entry++) log.info(`between ${entry}`);
    log.flush();
    home.generation = 0;
    home.ready = 0;
    home.newRoom();
    sink.connect(home.connect('edge', 0));
    await home.isReady();
    log.info('after');
    await until(() => linesOf(path).length === 1003, 10_000, 'all entries are written');
    assert.equal(log.dropped, 0);
    const lines = linesOf(path).map((line) => line.replace(/^\S+ /, ''));
    assert.equal(lines[0], '[INFO] before room=edge');
    assert.ok(lines.includes('[ERROR] somebody’s last words room=outbound pid=4711'));
    assert.equal(lines.filter((line) => line.startsWith('[INFO] between ')).length, 1000);
    assert.equal(lines.filter((line) => line === '[INFO] after room=edge').length, 1);
  });

  it('writes a room’s last words before those of the room that took its place', async () => {
    const path = newPath();
    const home = await open(path);
    const first = home.peer('edge', 0);
    const second = home.peer('edge', 0);
    await sendAll(second, ['second']);
    await until(() => linesOf(path).includes('second'), 10_000, 'the entry is written');
    assert.ok(!first.take(Buffer.from('x\n'), 1, 0) || !first.take(Buffer.from('x\n'), 1, 0));
  });

  it('tells what rooms had to drop themselves', async () => {
    const path = newPath();
    const home = await open(path);
    const sink = home.peer('outbound');
    assert.ok(sink.take(Buffer.from('one\n'), 1, 7));
    assert.ok(sink.take(Buffer.from('two\n'), 1, 5));
    await until(() => linesOf(path).length === 3, 10_000, 'it is told');
    assert.match(
      linesOf(path)[2],
      /\[WARN\] Log entries dropped: the queue was full dropped=12 room=outbound$/,
    );
  });

  it('writes what rooms say on standard error line by line, and limits it', async () => {
    const path = newPath();
    const home = await open(path);
    writeSync(home.output, 'first\nsec');
    writeSync(home.output, 'ond\n\n');
    writeSync(home.output, Buffer.from([0x61, 0xff, 0x1b, 0x0a]));
    writeSync(home.output, 'no end');
    await until(() => linesOf(path).length === 4, 10_000, 'all lines are written');
    assert.deepEqual(
      linesOf(path).map((line) => line.replace(/^\S+ /, '')),
      ['first', 'second', 'a\\\\xff\\u001b', 'no end'].map(
        (line) => `[ERROR] ${line} room=outbound pid=4711`,
      ),
    );
    for (let count = 0; count < 50; count++) writeSync(home.output, 'again and again\n'.repeat(200));
    await until(() => /standard error dropped/.test(linesOf(path).join()), 10_000, 'it is told');
    const entries = (): number => linesOf(path).filter((line) => /again and again/.test(line)).length;
    const dropped = (): number =>
      sumOf(linesOf(path).join('\n'), /too many dropped=(\d+) room=outbound pid=4711/g);
    await until(() => entries() + dropped() === 10_000, 10_000, 'all lines are accounted for');
    assert.ok(entries() < 2500);
  });
});

function sendRaw(channel: number, bytes: readonly number[]): void {
  const transfer = new MessageTransfer(64);
  transfer.bytes.set(bytes);
  assert.equal(transfer.send(channel, bytes.length, [], true), bytes.length);
  transfer.unmap();
}

function sendLog(descriptor: number, content: string | Uint8Array): void {
  const channel = new Channel(descriptor, 'edge', 'journal');
  assert.equal(channel.send({ kind: 'log', dropped: 0, bytes: Buffer.from(content) }), 'sent');
}

function countOf(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0;
}

function sumOf(text: string, pattern: RegExp): number {
  return [...text.matchAll(pattern)].reduce((sum, match) => sum + Number(match[1]), 0);
}

/** Reads until all that was read is what is waited for, and closes it. */
async function readUntil(reader: number, isAll: (text: string) => boolean): Promise<string> {
  const stream = createReadStream('', { fd: reader, highWaterMark: 1_048_576 });
  const chunks: Buffer[] = [];
  let text = '';
  stream.on('data', (chunk) => {
    chunks.push(chunk as Buffer);
  });
  await until(
    () => {
      text = Buffer.concat(chunks).toString();
      return isAll(text);
    },
    30_000,
    'all that was waited for is read',
  );
  stream.destroy();
  return text;
}

const DISK_BYTES = 512 * 1024;

/** A disk of DISK_BYTES, seen from here through another process’ eyes: nobody else has it mounted. */
async function smallDisk(): Promise<{ folder: string; end: () => void }> {
  const folder = openFolder();
  const script = `mount -t tmpfs -o size=${DISK_BYTES},mode=755 none ${folder} && echo mounted && exec cat`;
  const holder = spawn('unshare', ['--mount', 'sh', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  return { folder: `/proc/${holder.pid}/root${folder}`, end: () => holder.stdin.end() };
}
