/** The master's side of the keys: files are opened and passed on, never read. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readSync, rmSync, truncateSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { Message } from '../../src/ipc/message.ts';
import { KeyRing } from '../../src/master/key-ring.ts';
import { testAuthority, testFile } from '../fixtures/certificates.ts';
import { keyFile } from './keys-house.ts';

const certificate = testAuthority().server(['ring.example']);

/** Notes what is sent: the number of the first key, and the content of the files. */
class Receiver {
  readonly sent: [number, string[]][] = [];

  send(message: Message, descriptors: readonly number[]): boolean {
    assert.ok(message.kind === 'descriptors' && message.purpose === 'key' && message.peer === 'keys');
    const contents = descriptors.map((descriptor) => {
      const bytes = Buffer.alloc(65_536);
      return bytes.toString('utf8', 0, readSync(descriptor, bytes));
    });
    this.sent.push([message.index, contents]);
    return true;
  }
}

function openFiles(): number {
  return readdirSync('/proc/self/fd').length;
}

describe('a ring of keys', () => {
  it('passes keys whose numbers follow one another eight at a time', () => {
    const ring = new KeyRing();
    const ids = [1, 2, 3, 4, 5, 6, 7, 8, 9, 4096, 4098, 4099];
    const receiver = new Receiver();
    ring.furnish(receiver, { keys: ids.map((id) => keyFile(id, certificate)) });
    assert.deepEqual(
      receiver.sent.map(([first, files]) => [first, files.length]),
      [
        [1, 8],
        [9, 1],
        [4096, 1],
        [4098, 2],
      ],
    );
    ring.keepOnly({ keys: [] });
  });

  it('has the whole file for each room that starts, whoever has read it before, though it is gone', () => {
    const ring = new KeyRing();
    const path = testFile('gone.key', certificate.key);
    const keys = [{ ...keyFile(1, certificate), path }];
    ring.open(keys);
    rmSync(path);
    const receiver = new Receiver();
    for (let start = 0; start < 3; start++) ring.furnish(receiver, { keys });
    assert.deepEqual(receiver.sent, Array(3).fill([1, [certificate.key]]));
    ring.keepOnly({ keys: [] });
  });

  it('passes only the new ones to a room that has the others, and orders all of them', () => {
    const ring = new KeyRing();
    const [old, next] = [keyFile(1, certificate), keyFile(2, certificate)];
    ring.furnish(new Receiver(), { keys: [old] });
    ring.keepOnly({ keys: [old] });
    const receiver = new Receiver();
    ring.add(receiver, { keys: [next] });
    assert.deepEqual(
      receiver.sent.map(([first]) => first),
      [2],
    );
    assert.deepEqual(JSON.parse(ring.configuration()), {
      keys: [
        { ...old, isNeeded: false },
        { ...next, isNeeded: true },
      ],
    });
    ring.keepOnly({ keys: [next] });
    assert.deepEqual(JSON.parse(ring.configuration()), { keys: [{ ...next, isNeeded: false }] });
    ring.keepOnly({ keys: [] });
  });

  it('closes what is not needed any more', () => {
    const before = openFiles();
    const ring = new KeyRing();
    ring.open([keyFile(1, certificate), keyFile(2, certificate)]);
    assert.equal(openFiles(), before + 2);
    ring.keepOnly({ keys: [keyFile(2, certificate)] });
    assert.equal(openFiles(), before + 1);
    ring.keepOnly({ keys: [] });
    assert.equal(openFiles(), before);
    assert.equal(ring.size, 0);
  });

  const fifo = testFile('fifo', '');
  rmSync(fifo);
  execFileSync('mkfifo', [fifo]);
  const folder = testFile('folder', '');
  rmSync(folder);
  mkdirSync(folder);
  const long = testFile('long.key', certificate.key);
  truncateSync(long, 1_048_577);
  const missing = testFile('missing.key', '');
  rmSync(missing);
  const WRONG: readonly (readonly [name: string, path: string, reason: RegExp])[] = [
    ['that is missing', missing, /missing.key: it can't be opened \(ENOENT\)$/],
    ['that is a pipe, without waiting for it', fifo, /it is not a regular file$/],
    ['that is a device', '/dev/zero', /it is not a regular file$/],
    ['that is a directory', folder, /it is not a regular file$/],
    ['that is longer than keys are', long, /it has more than 1048576 bytes$/],
  ];
  for (const [name, path, reason] of WRONG) {
    it(`refuses a file ${name}, and opens nothing then`, () => {
      const before = openFiles();
      const ring = new KeyRing();
      ring.open([keyFile(1, certificate)]);
      const keys = [keyFile(2, certificate), { ...keyFile(3, certificate), path }];
      assert.throws(
        () => ring.open(keys),
        (error: Error) => reason.test(error.message),
      );
      assert.equal(ring.size, 1);
      ring.keepOnly({ keys: [] });
      assert.equal(openFiles(), before);
    });
  }
});
