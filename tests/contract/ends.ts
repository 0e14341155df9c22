/** Rules of ends: FIN, reset, half-close, failing sends. */

import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import {
  closeAll,
  connection,
  heldBuffers,
  LOOPBACK4,
  type MakePair,
  type Pair,
  pattern,
  settle,
  until,
} from './pair.ts';

const { ECONNRESET, EPIPE } = constants.errno;

export function endRules(makePair: MakePair): void {
  const eachFamily = (name: string, run: (pair: Pair, unix: boolean) => void): void => {
    for (const unix of [false, true]) {
      test(`${name} (${unix ? 'Unix' : 'TCP'})`, () => {
        const pair = makePair();
        run(pair, unix);
        pair.dispose();
      });
    }
  };
  const connected = (pair: Pair, unix: boolean, receive = true) =>
    connection(pair, unix ? { family: 'unix', path: pair.socketPath() } : LOOPBACK4, receive);

  eachFamily(
    'shutdownSend ends one direction after all that was queued; the other lives on',
    (pair, unix) => {
      const ends = connected(pair, unix);
      const there = pattern(300_000, 1);
      ends.client.send(there, 1);
      pair.client.shutdownSend(ends.client.handle);
      until(pair, 'the end', () => ends.server.ended);
      assert.equal(ends.server.endErrno, 0);
      assert.equal(Buffer.compare(ends.server.bytes(), there), 0);
      const back = pattern(300_000, 2);
      ends.server.send(back);
      until(pair, 'the answer', () => ends.client.receivedBytes === back.length);
      assert.equal(Buffer.compare(ends.client.bytes(), back), 0);
      assert.equal(ends.client.ended, false);
      pair.server.shutdownSend(ends.server.handle);
      until(pair, 'the other end', () => ends.client.ended);
      assert.equal(ends.client.endErrno, 0);
      assert.equal(ends.client.closed || ends.server.closed, false, 'an end is not a close');
      closeAll(pair, ends);
    },
  );

  eachFamily('a close after everything left brings the peer all bytes and an end', (pair, unix) => {
    const ends = connected(pair, unix, false);
    const bytes = pattern(100_000, 3);
    ends.client.send(bytes, 1);
    ends.client.react = (event) => {
      if (event === 'send') pair.client.close(ends.client.handle, false);
    };
    pair.server.receiveStart(ends.server.handle);
    until(pair, 'the end', () => ends.server.ended);
    assert.equal(ends.server.endErrno, 0);
    assert.equal(Buffer.compare(ends.server.bytes(), bytes), 0);
    closeAll(pair, ends);
  });

  eachFamily(
    'the end is reported after all bytes, even if both were there before receiving began',
    (pair, unix) => {
      const ends = connected(pair, unix, false);
      ends.client.sendText('last words');
      pair.client.shutdownSend(ends.client.handle);
      settle(pair);
      assert.equal(ends.server.ended, false, 'the end is reported though nobody receives');
      pair.server.receiveStart(ends.server.handle);
      until(pair, 'the end', () => ends.server.ended);
      assert.equal(ends.server.text(), 'last words');
      closeAll(pair, ends);
    },
  );

  eachFamily('while receiving is stopped the end is not reported', (pair, unix) => {
    const ends = connected(pair, unix);
    ends.client.sendText('x');
    until(pair, 'a byte', () => ends.server.receivedBytes === 1);
    pair.server.receiveStop(ends.server.handle);
    settle(pair);
    pair.client.shutdownSend(ends.client.handle);
    settle(pair);
    assert.equal(ends.server.ended, false);
    pair.server.receiveStart(ends.server.handle);
    until(pair, 'the end', () => ends.server.ended);
    assert.equal(ends.server.endErrno, 0);
    closeAll(pair, ends);
  });

  eachFamily('receiveOnce reports an end', (pair, unix) => {
    const ends = connected(pair, unix, false);
    pair.server.receiveOnce(ends.server.handle);
    pair.client.shutdownSend(ends.client.handle);
    until(pair, 'the end', () => ends.server.ended);
    assert.equal(ends.server.endErrno, 0);
    closeAll(pair, ends);
  });

  test('an abortive close is a reset to the peer', () => {
    const pair = makePair();
    const ends = connected(pair, false);
    pair.client.close(ends.client.handle, true);
    until(pair, 'the reset', () => ends.server.ended);
    assert.equal(ends.server.endErrno, -ECONNRESET);
    closeAll(pair, ends);
    pair.dispose();
  });

  eachFamily('an abortive close with bytes queued releases them', (pair, unix) => {
    const ends = connected(pair, unix, false);
    for (let count = 0; count < 6; count++) ends.client.send(new Uint8Array(1_000_000 / 8), count + 1);
    settle(pair);
    pair.client.close(ends.client.handle, true);
    until(pair, 'onClose', () => ends.client.closed);
    pair.server.receiveStart(ends.server.handle);
    until(pair, 'the end', () => ends.server.ended);
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  eachFamily('a close drops what is queued and releases its buffers', (pair, unix) => {
    const ends = connected(pair, unix, false);
    const bytes = pattern(130_000, 4);
    for (let count = 0; count < 8; count++) ends.client.send(bytes, count + 1);
    settle(pair);
    const told = ends.client.sends.length;
    pair.client.close(ends.client.handle, false);
    until(pair, 'onClose', () => ends.client.closed);
    assert.equal(ends.client.sends.length, told, 'onSend after close');
    assert.equal(pair.client.pool.heldCount(), 0);
    pair.server.receiveStart(ends.server.handle);
    until(pair, 'the end', () => ends.server.ended);
    const got = ends.server.bytes();
    for (let at = 0; at < got.length; at += bytes.length) {
      const part = got.subarray(at, at + bytes.length);
      assert.equal(Buffer.compare(part, bytes.subarray(0, part.length)), 0);
    }
    closeAll(pair, ends);
  });

  eachFamily('after a send failed all later ones fail too, each with its own onSend', (pair, unix) => {
    const ends = connected(pair, unix);
    pair.server.close(ends.server.handle, true);
    until(pair, 'the other side to close', () => ends.server.closed);
    let tag = 0;
    // The first may still be taken, before the kernel knows.
    until(pair, 'a failure', () => {
      if (ends.client.sends.length === tag) ends.client.sendText('anybody there?', ++tag);
      return ends.client.sends.some((send) => send.result < 0);
    });
    for (let count = 0; count < 5; count++) ends.client.sendText('hello?', ++tag);
    until(pair, 'all results', () => ends.client.sends.length === tag);
    assert.deepEqual(
      ends.client.sends.map((send) => send.tag),
      Array.from({ length: tag }, (_, index) => index + 1),
    );
    for (const send of ends.client.sends.slice(-5)) {
      assert.ok(send.result === -EPIPE || send.result === -ECONNRESET, `result ${send.result}`);
    }
    assert.equal(pair.client.sendQueuedBytes(ends.client.handle), 0);
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  eachFamily('many segments queued when the peer resets all come back, and their buffers', (pair, unix) => {
    const ends = connected(pair, unix, false);
    let tags = 0;
    // More than the kernel takes with nobody reading.
    while (ends.client.sends.length === tags) {
      for (let count = 0; count < 20; count++) ends.client.send(new Uint8Array(130_000), ++tags);
      settle(pair);
    }
    pair.server.close(ends.server.handle, true);
    until(pair, 'all results', () => ends.client.sends.length === tags);
    assert.deepEqual(
      ends.client.sends.map((send) => send.tag),
      Array.from({ length: tags }, (_, index) => index + 1),
    );
    let failed = false;
    for (const send of ends.client.sends) {
      if (send.result < 0) failed = true;
      assert.equal(send.result < 0, failed, 'a success after a failure');
    }
    assert.ok(failed);
    assert.equal(pair.client.pool.heldCount(), 0);
    closeAll(pair, ends);
  });

  eachFamily('a segment queued after shutdownSend fails with -EPIPE', (pair, unix) => {
    const ends = connected(pair, unix);
    ends.client.sendText('before', 1);
    pair.client.shutdownSend(ends.client.handle);
    pair.client.shutdownSend(ends.client.handle);
    until(pair, 'the end', () => ends.server.ended && ends.client.sends.length === 1);
    ends.client.sendText('after', 2);
    until(pair, 'both results', () => ends.client.sends.length === 2);
    assert.deepEqual(ends.client.sends, [
      { tag: 1, result: 6 },
      { tag: 2, result: -EPIPE },
    ]);
    assert.equal(ends.server.text(), 'before');
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  eachFamily('both sides may close at the same time', (pair, unix) => {
    const ends = connected(pair, unix);
    ends.client.sendText('a', 1);
    ends.server.sendText('b', 1);
    pair.client.close(ends.client.handle, false);
    pair.server.close(ends.server.handle, false);
    until(pair, 'both', () => ends.client.closed && ends.server.closed);
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  eachFamily('a handler may close its socket within each of its events', (pair, unix) => {
    for (const event of ['connect', 'receive', 'end', 'send']) {
      const ends = connected(pair, unix);
      ends.server.react = (name) => {
        if (name === event) pair.server.close(ends.server.handle, false);
      };
      ends.client.sendText('question', 1);
      ends.server.sendText('answer', 1);
      pair.client.shutdownSend(ends.client.handle);
      if (event === 'connect') pair.server.close(ends.server.handle, false);
      until(pair, `onClose after ${event}`, () => ends.server.closed);
      closeAll(pair, ends);
    }
    assert.equal(heldBuffers(pair), 0);
  });
}
