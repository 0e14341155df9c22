/** Reads that the page cache cannot serve: they end in a later turn, with the right bytes. */

import assert from 'node:assert/strict';
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import koffi from 'koffi';
import { LARGE, LARGE_BYTES, SMALL } from '../../src/io/buffer-pool.ts';
import { openReactor } from '../../src/io/open.ts';
import { type FileHandler, PENDING, type Reactor } from '../../src/io/reactor.ts';

const SHAPE = { small: 16, medium: 64, large: 16 };
const FILE_BYTES = 8 * 1024 * 1024;
const POSIX_FADV_DONTNEED = 4;
const posixFadvise = koffi
  .load(null)
  .func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');

class Results implements FileHandler {
  readonly reads = new Map<number, number>();

  onOpen(): void {
    assert.fail('nothing is opened here');
  }

  onRead(tag: number, result: number): void {
    assert.equal(this.reads.has(tag), false);
    this.reads.set(tag, result);
  }
}

function byteAt(position: number): number {
  return (position * 31 + (position >> 9)) & 255;
}

function writeColdFile(path: string): void {
  const fd = openSync(path, 'w');
  const bytes = new Uint8Array(FILE_BYTES);
  for (let index = 0; index < FILE_BYTES; index++) bytes[index] = byteAt(index);
  writeSync(fd, bytes);
  fsyncSync(fd);
  assert.equal(posixFadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  closeSync(fd);
}

function openBy(reactor: Reactor, root: number, name: string): number {
  const { pool } = reactor;
  const buffer = pool.acquire(SMALL);
  const offset = pool.offsetOf(buffer);
  pool.text.latin1Write(`${name}\0`, offset, 4096);
  const file = reactor.openFile(root, offset, name.length, new Results(), 1);
  pool.release(buffer);
  return file;
}

/** Reads at `position`, and lets Node's event loop run while the result is not there. */
async function readAt(reactor: Reactor, file: number, position: number): Promise<boolean> {
  const { pool } = reactor;
  const results = new Results();
  const buffer = pool.acquire(LARGE);
  const offset = pool.offsetOf(buffer);
  let result = reactor.readFile(file, position, offset, LARGE_BYTES, results, 7);
  const pending = result === PENDING;
  if (pending) {
    // The file stays open for the read.
    reactor.closeFile(file);
    const endMs = performance.now() + 60_000;
    while (!results.reads.has(7)) {
      assert.ok(performance.now() < endMs, 'the read never ended');
      reactor.turn(1);
      await new Promise((resolve) => setImmediate(resolve));
    }
    result = results.reads.get(7) ?? 0;
  }
  assert.ok(result > 0, `result ${result}`);
  for (let index = 0; index < result; index++) {
    if (pool.bytes[offset + index] !== byteAt(position + index)) assert.fail(`wrong byte ${index}`);
  }
  pool.release(buffer);
  return pending;
}

for (const backend of ['uring', 'epoll']) {
  test(`${backend}: a read that must wait for the disk is pending, and its bytes come`, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sallyport-cold-'));
    const { reactor } = openReactor({ shape: SHAPE, backend });
    const root = reactor.openRoot(directory);
    assert.ok(root > 0);
    let pending = 0;
    for (let round = 0; round < 8; round++) {
      writeColdFile(join(directory, `cold-${round}`));
      const file = openBy(reactor, root, `cold-${round}`);
      assert.ok(file > 0, `open: ${file}`);
      if (await readAt(reactor, file, 4 * 1024 * 1024 + round * 4096)) pending++;
      else reactor.closeFile(file);
    }
    assert.ok(pending > 0, 'everything was cached: the test shows nothing');
    reactor.closeFile(root);
    assert.equal(reactor.pool.heldCount(), 0);
    reactor.destroy();
    rmSync(directory, { recursive: true });
  });
}
