/** Rules of files. */

import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import { DIRECTORY, REGULAR } from '../../src/io/reactor.ts';
import {
  closeAll,
  connection,
  Files,
  heldBuffers,
  LOOPBACK4,
  type MakePair,
  type Pair,
  pattern,
  settle,
  until,
} from './pair.ts';

const { EACCES, EBADF, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV } = constants.errno;

const BIG = 1_300_001;

export function fileRules(makePair: MakePair): void {
  const rule = (name: string, run: (pair: Pair, files: Files, root: number) => void): void => {
    test(name, () => {
      const pair = makePair();
      const { directory } = pair;
      directory.makeDirectory('site/deep/er');
      directory.writeFile('site/hello.txt', Buffer.from('hello, file'));
      directory.writeFile('site/deep/er/below.txt', Buffer.from('below'));
      directory.writeFile('site/empty', new Uint8Array(0));
      directory.writeFile('site/big', pattern(BIG, 11));
      directory.writeFile('outside.txt', Buffer.from('secret'));
      const root = pair.server.openRoot(`${directory.path}/site`);
      assert.ok(root > 0, `openRoot failed: ${root}`);
      const files = new Files(pair);
      run(pair, files, root);
      pair.server.closeFile(root);
      pair.dispose();
    });
  };

  rule('opens a file beneath its root and tells kind, size, time and inode', (pair, files, root) => {
    const file = files.open(root, 'hello.txt');
    assert.ok(file > 0, `open failed: ${file}`);
    assert.equal(pair.server.fileKind(file), REGULAR);
    assert.equal(pair.server.fileSize(file), 11);
    assert.ok(pair.server.fileModifiedMs(file) >= 0);
    assert.ok(pair.server.fileInode(file) > 0);
    assert.equal(Buffer.from(files.readAll(file, 0, 100)).toString(), 'hello, file');
    pair.server.closeFile(file);
    const below = files.open(root, 'deep/er/below.txt');
    assert.equal(Buffer.from(files.readAll(below, 0, 100)).toString(), 'below');
    pair.server.closeFile(below);
  });

  rule('tells the modification time of a file with its fraction', (pair, files, root) => {
    const file = files.open(root, 'hello.txt');
    const modifiedMs = pair.server.fileModifiedMs(file);
    // Made a moment ago on the wall clock (in the simulator, at its virtual time).
    assert.ok(Math.abs(pair.server.wallMs - modifiedMs) < 60_000, `${modifiedMs} at ${pair.server.wallMs}`);
    pair.server.closeFile(file);
  });

  rule('reads at offsets, up to the end and not beyond', (pair, files, root) => {
    const file = files.open(root, 'big');
    const whole = pattern(BIG, 11);
    for (const [offset, length] of [
      [0, 1],
      [1, 131072],
      [BIG - 10, 10],
      [700_000, 300_000],
    ]) {
      const part = files.readAll(file, offset, length);
      assert.equal(Buffer.compare(part, whole.subarray(offset, offset + length)), 0, `at ${offset}`);
    }
    assert.equal(files.readAll(file, BIG - 10, 1000).length, 10);
    assert.deepEqual(files.read(file, BIG, 10), new Uint8Array(0));
    assert.deepEqual(files.read(file, BIG + 5000, 10), new Uint8Array(0));
    pair.server.closeFile(file);
    const empty = files.open(root, 'empty');
    assert.equal(pair.server.fileSize(empty), 0);
    assert.deepEqual(files.read(empty, 0, 10), new Uint8Array(0));
    pair.server.closeFile(empty);
  });

  rule('an empty path is the root, and a directory says so', (pair, files, root) => {
    for (const path of ['', 'deep', 'deep/', 'deep/er/']) {
      const file = files.open(root, path);
      assert.ok(file > 0, `${path}: ${file}`);
      assert.equal(pair.server.fileKind(file), DIRECTORY);
      pair.server.closeFile(file);
    }
  });

  rule('nothing leads out of the root', (pair, files, root) => {
    const { directory } = pair;
    directory.makeSymlink('site/up', '../outside.txt');
    directory.makeSymlink('site/deep/up', '../../outside.txt');
    directory.makeSymlink('site/absolute', `${directory.path}/outside.txt`);
    directory.makeSymlink('site/inside-absolute', `${directory.path}/site/hello.txt`);
    directory.makeSymlink('site/out-and-in', '../site/hello.txt');
    for (const path of [
      '..',
      '../outside.txt',
      'deep/../../outside.txt',
      '../site/hello.txt',
      '/etc/passwd',
      'up',
      'deep/up',
      'absolute',
      'inside-absolute',
      'out-and-in',
    ]) {
      assert.equal(files.open(root, path), -EXDEV, path);
    }
  });

  rule('symbolic links and .. within the root are followed', (pair, files, root) => {
    const { directory } = pair;
    directory.makeSymlink('site/link', 'deep/er/below.txt');
    directory.makeSymlink('site/deep/back', '../hello.txt');
    directory.makeSymlink('site/to-directory', 'deep/er');
    directory.makeSymlink('site/loop', 'loop');
    for (const [path, text] of [
      ['link', 'below'],
      ['deep/back', 'hello, file'],
      ['to-directory/below.txt', 'below'],
      ['deep/er/../../hello.txt', 'hello, file'],
    ]) {
      const file = files.open(root, path);
      assert.ok(file > 0, `${path}: ${file}`);
      assert.equal(Buffer.from(files.readAll(file, 0, 100)).toString(), text);
      pair.server.closeFile(file);
    }
    assert.equal(files.open(root, 'loop'), -ELOOP);
  });

  rule(
    'what is missing, not a directory, too long or no file is refused with its reason',
    (pair, files, root) => {
      pair.directory.makeFifo('site/fifo');
      assert.equal(files.open(root, 'nothing'), -ENOENT);
      assert.equal(files.open(root, 'nothing/more'), -ENOENT);
      assert.equal(files.open(root, 'hello.txt/more'), -ENOTDIR);
      assert.equal(files.open(root, 'hello.txt/'), -ENOTDIR);
      assert.equal(files.open(root, 'x'.repeat(256)), -ENAMETOOLONG);
      assert.equal(files.open(root, 'fifo'), -EACCES, 'a fifo is neither file nor directory');
      assert.equal(pair.server.openRoot(`${pair.directory.path}/nowhere`), -ENOENT);
    },
  );

  rule('names are bytes', (pair, files, root) => {
    pair.directory.writeFile('site/grüße 🌍.txt', Buffer.from('world'));
    const file = files.open(root, 'grüße 🌍.txt');
    assert.ok(file > 0, `open failed: ${file}`);
    assert.equal(Buffer.from(files.readAll(file, 0, 10)).toString(), 'world');
    pair.server.closeFile(file);
  });

  rule('sendFile sends a whole file, a part of one, and nothing of an empty one', (pair, files, root) => {
    const ends = connection(pair);
    const whole = pattern(BIG, 11);
    const file = files.open(root, 'big');
    const empty = files.open(root, 'empty');
    pair.server.sendFile(ends.server.handle, file, 0, BIG, 1);
    pair.server.sendFile(ends.server.handle, empty, 0, 0, 2);
    pair.server.sendFile(ends.server.handle, file, 1000, 500_000, 3);
    assert.equal(pair.server.sendQueuedBytes(ends.server.handle), BIG + 500_000);
    until(pair, 'all results', () => ends.server.sends.length === 3);
    until(pair, 'all bytes', () => ends.client.receivedBytes === BIG + 500_000);
    assert.deepEqual(ends.server.sends, [
      { tag: 1, result: BIG },
      { tag: 2, result: 0 },
      { tag: 3, result: 500_000 },
    ]);
    assert.equal(Buffer.compare(ends.client.bytes().subarray(0, BIG), whole), 0);
    assert.equal(Buffer.compare(ends.client.bytes().subarray(BIG), whole.subarray(1000, 501_000)), 0);
    assert.equal(pair.server.sendQueuedBytes(ends.server.handle), 0);
    pair.server.closeFile(file);
    pair.server.closeFile(empty);
    closeAll(pair, ends);
  });

  rule('sendFile over a Unix socket', (pair, files, root) => {
    const ends = connection(pair, { family: 'unix', path: pair.socketPath() });
    const file = files.open(root, 'big');
    pair.server.sendFile(ends.server.handle, file, 0, BIG, 1);
    until(pair, 'all bytes', () => ends.client.receivedBytes === BIG && ends.server.sends.length === 1);
    assert.equal(Buffer.compare(ends.client.bytes(), pattern(BIG, 11)), 0);
    pair.server.closeFile(file);
    closeAll(pair, ends);
  });

  rule('sendFile keeps its place among other segments', (pair, files, root) => {
    const ends = connection(pair);
    const file = files.open(root, 'hello.txt');
    for (let round = 0; round < 5; round++) {
      ends.server.sendText('<', 10 + round);
      pair.server.sendFile(ends.server.handle, file, 0, 5, 20 + round);
      pair.server.sendFile(ends.server.handle, file, 7, 4, 30 + round);
      ends.server.sendText('>', 40 + round);
    }
    until(pair, 'all results', () => ends.server.sends.length === 20);
    until(pair, 'all bytes', () => ends.client.receivedBytes === 5 * 11);
    assert.equal(ends.client.text(), '<hellofile>'.repeat(5));
    assert.deepEqual(
      ends.server.sends.map((send) => send.tag),
      [0, 1, 2, 3, 4].flatMap((round) => [10 + round, 20 + round, 30 + round, 40 + round]),
    );
    pair.server.closeFile(file);
    closeAll(pair, ends);
  });

  rule(
    'sendFile of more than the file has tells how much it was, and later segments follow',
    (pair, files, root) => {
      const ends = connection(pair);
      const file = files.open(root, 'hello.txt');
      pair.server.sendFile(ends.server.handle, file, 7, 1000, 1);
      ends.server.sendText('!', 2);
      pair.server.sendFile(ends.server.handle, file, 5000, 10, 3);
      until(pair, 'all results', () => ends.server.sends.length === 3);
      assert.deepEqual(ends.server.sends, [
        { tag: 1, result: 4 },
        { tag: 2, result: 1 },
        { tag: 3, result: 0 },
      ]);
      until(pair, 'all bytes', () => ends.client.receivedBytes === 5);
      assert.equal(ends.client.text(), 'file!');
      assert.equal(pair.server.sendQueuedBytes(ends.server.handle), 0);
      pair.server.closeFile(file);
      closeAll(pair, ends);
    },
  );

  rule('a file that shrinks while it is sent gives a short result', (pair, files, root) => {
    const ends = connection(pair);
    pair.client.receiveStop(ends.client.handle);
    pair.directory.writeFile('site/shrinks', pattern(8_000_000, 5));
    const file = files.open(root, 'shrinks');
    pair.server.sendFile(ends.server.handle, file, 0, 8_000_000, 1);
    settle(pair);
    assert.equal(ends.server.sends.length, 0, 'the kernel took it all');
    pair.directory.truncate('site/shrinks', 100);
    pair.client.receiveStart(ends.client.handle);
    until(pair, 'the result', () => ends.server.sends.length === 1);
    const { result } = ends.server.sends[0];
    assert.ok(result >= 0 && result < 8_000_000, `result ${result}`);
    until(pair, 'the bytes', () => ends.client.receivedBytes === result);
    pair.server.closeFile(file);
    closeAll(pair, ends);
  });

  rule('size and modification time are those at the time of opening', (pair, files, root) => {
    pair.directory.writeFile('site/changes', pattern(5000, 1));
    const before = files.open(root, 'changes');
    const modifiedMs = pair.server.fileModifiedMs(before);
    settle(pair);
    pair.directory.truncate('site/changes', 100);
    const after = files.open(root, 'changes');
    assert.equal(pair.server.fileSize(before), 5000);
    assert.equal(pair.server.fileModifiedMs(before), modifiedMs);
    assert.equal(pair.server.fileInode(after), pair.server.fileInode(before));
    assert.equal(pair.server.fileSize(after), 100);
    assert.ok(pair.server.fileModifiedMs(after) > modifiedMs);
    pair.server.closeFile(before);
    pair.server.closeFile(after);
  });

  rule('a file says whether it was changed since it was opened', (pair, files, root) => {
    const truncated = files.open(root, 'hello.txt');
    const replaced = files.open(root, 'deep/er/below.txt');
    assert.equal(pair.server.fileChanged(truncated), false);
    settle(pair);
    pair.directory.truncate('site/hello.txt', 5);
    pair.directory.writeFile('site/deep/er/below.txt', Buffer.from('another'));
    assert.equal(pair.server.fileChanged(truncated), true);
    assert.equal(pair.server.fileChanged(replaced), false, 'it was replaced, not changed');
    pair.server.closeFile(truncated);
    pair.server.closeFile(replaced);
  });

  rule('a file that is closed while it is sent fails its segment', (pair, files, root) => {
    const ends = connection(pair);
    pair.client.receiveStop(ends.client.handle);
    pair.directory.writeFile('site/closed', pattern(8_000_000, 5));
    const file = files.open(root, 'closed');
    pair.server.sendFile(ends.server.handle, file, 0, 8_000_000, 1);
    settle(pair);
    assert.equal(ends.server.sends.length, 0, 'the kernel took it all');
    pair.server.closeFile(file);
    pair.client.receiveStart(ends.client.handle);
    until(pair, 'the result', () => ends.server.sends.length === 1);
    assert.equal(ends.server.sends[0].result, -EBADF);
    closeAll(pair, ends);
  });

  rule('a file whose name is given to another keeps its bytes', (pair, files, root) => {
    const file = files.open(root, 'hello.txt');
    const inode = pair.server.fileInode(file);
    pair.directory.writeFile('site/hello.txt', Buffer.from('another'));
    assert.equal(Buffer.from(files.readAll(file, 0, 100)).toString(), 'hello, file');
    const other = files.open(root, 'hello.txt');
    assert.notEqual(pair.server.fileInode(other), inode);
    assert.equal(Buffer.from(files.readAll(other, 0, 100)).toString(), 'another');
    pair.server.closeFile(file);
    pair.server.closeFile(other);
  });

  rule('sendFile to a peer that is gone fails, and so does what follows', (pair, files, root) => {
    const ends = connection(pair);
    const file = files.open(root, 'big');
    pair.client.close(ends.client.handle, true);
    until(pair, 'the reset', () => ends.server.ended);
    pair.server.sendFile(ends.server.handle, file, 0, BIG, 1);
    pair.server.sendFile(ends.server.handle, file, 0, BIG, 2);
    until(pair, 'both results', () => ends.server.sends.length === 2);
    assert.ok(ends.server.sends[0].result < 0 && ends.server.sends[1].result < 0);
    pair.server.closeFile(file);
    closeAll(pair, ends);
  });

  rule('a socket may be closed in the middle of a sendFile, and its file after it', (pair, files, root) => {
    for (const abortive of [false, true]) {
      const ends = connection(pair);
      pair.client.receiveStop(ends.client.handle);
      const file = files.open(root, 'big');
      for (let tag = 1; tag <= 8; tag++) pair.server.sendFile(ends.server.handle, file, 0, BIG, tag);
      settle(pair);
      const told = ends.server.sends.length;
      assert.ok(told < 8);
      pair.server.close(ends.server.handle, abortive);
      pair.server.closeFile(file);
      until(pair, 'onClose', () => ends.server.closed);
      assert.equal(ends.server.sends.length, told, 'onSend after close');
      closeAll(pair, ends);
    }
    assert.equal(heldBuffers(pair), 0);
  });

  rule('40 connections send files at once and each gets its own', (pair, files, root) => {
    const many = Array.from({ length: 40 }, () => connection(pair, LOOPBACK4));
    const opened: number[] = [];
    for (const [index, ends] of many.entries()) {
      const file = files.open(root, 'big');
      opened.push(file);
      pair.server.sendFile(ends.server.handle, file, index * 1000, 200_000, 1);
    }
    until(pair, 'all bytes', () => many.every((ends) => ends.client.receivedBytes === 200_000));
    until(pair, 'all results', () => many.every((ends) => ends.server.sends.length === 1));
    const whole = pattern(BIG, 11);
    for (const [index, ends] of many.entries()) {
      const expected = whole.subarray(index * 1000, index * 1000 + 200_000);
      assert.equal(Buffer.compare(ends.client.bytes(), expected), 0, `connection ${index}`);
      pair.server.closeFile(opened[index]);
    }
    closeAll(pair, ...many);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('opening and closing 500 files leaves nothing open', (pair, files, root) => {
    for (let count = 0; count < 500; count++) {
      const file = files.open(root, 'hello.txt');
      assert.ok(file > 0);
      pair.server.closeFile(file);
    }
  });
}
