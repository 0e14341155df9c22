/** Rules of sending and receiving. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LARGE_BYTES, MEDIUM, MEDIUM_BYTES } from '../../src/io/buffer-pool.ts';
import {
  acceptorOn,
  closeAll,
  connection,
  connectTo,
  handlesOpen,
  heldBuffers,
  LOOPBACK4,
  type MakePair,
  type Pair,
  pattern,
  settle,
  until,
} from './pair.ts';

/** What may come after receiveStop, and then some for what a kernel counts apart. */
const LATE_BYTES_MAX = 524288;

export function streamRules(makePair: MakePair): void {
  const rule = (name: string, run: (pair: Pair) => void): void => {
    test(name, () => {
      const pair = makePair();
      run(pair);
      pair.dispose();
    });
  };
  const eachFamily = (name: string, run: (pair: Pair, unix: boolean) => void): void => {
    rule(`${name} (TCP)`, (pair) => run(pair, false));
    rule(`${name} (Unix)`, (pair) => run(pair, true));
  };
  const connected = (pair: Pair, unix: boolean, receive = true) =>
    connection(pair, unix ? { family: 'unix', path: pair.socketPath() } : LOOPBACK4, receive);

  for (const size of [1, 4095, 4096, 16384, 16385, 131072, 1_048_579]) {
    eachFamily(`${size} bytes arrive intact in both directions at once`, (pair, unix) => {
      const ends = connected(pair, unix);
      const there = pattern(size, 1);
      const back = pattern(size, 2);
      ends.client.send(there);
      ends.server.send(back);
      until(pair, 'all bytes', () => ends.server.receivedBytes >= size && ends.client.receivedBytes >= size);
      assert.deepEqual(Buffer.compare(ends.server.bytes(), there), 0);
      assert.deepEqual(Buffer.compare(ends.client.bytes(), back), 0);
      assert.equal(pair.client.sendQueuedBytes(ends.client.handle), 0);
      closeAll(pair, ends);
      assert.equal(heldBuffers(pair), 0);
    });
  }

  rule('an empty segment leaves in its turn and sends nothing', (pair) => {
    const ends = connection(pair);
    ends.client.sendText('a', 1);
    ends.client.send(new Uint8Array(0), 2);
    ends.client.sendText('b', 3);
    until(pair, 'three results', () => ends.client.sends.length === 3 && ends.server.receivedBytes === 2);
    assert.deepEqual(ends.client.sends, [
      { tag: 1, result: 1 },
      { tag: 2, result: 0 },
      { tag: 3, result: 1 },
    ]);
    assert.equal(ends.server.text(), 'ab');
    closeAll(pair, ends);
  });

  eachFamily(
    'segments of one turn arrive in order, and onSend tells each tag once, in order',
    (pair, unix) => {
      const ends = connected(pair, unix);
      let expected = '';
      for (let index = 1; index <= 100; index++) {
        const text = `segment ${index};`;
        expected += text;
        // Every third one has no tag, and must not be told.
        ends.client.sendText(text, index % 3 === 0 ? 0 : index);
        if (index % 10 === 0) pair.turn();
      }
      const tagged = Array.from({ length: 100 }, (_, at) => at + 1).filter((index) => index % 3 !== 0);
      until(pair, 'all bytes', () => ends.server.receivedBytes === expected.length);
      until(pair, 'all results', () => ends.client.sends.length === tagged.length);
      assert.equal(ends.server.text(), expected);
      assert.deepEqual(
        ends.client.sends,
        tagged.map((tag) => ({ tag, result: `segment ${tag};`.length })),
      );
      closeAll(pair, ends);
    },
  );

  rule('2,000 segments that share one buffer leave in order and release it', (pair) => {
    const ends = connection(pair);
    const { pool } = pair.client;
    const held = pair.client.pool.heldCount();
    const buffer = pool.acquire(MEDIUM);
    const offset = pool.offsetOf(buffer);
    const bytes = pattern(8000, 9);
    pool.bytes.set(bytes, offset);
    for (let index = 0; index < 2000; index++) {
      pool.retain(buffer);
      pair.client.send(ends.client.handle, buffer, offset + index * 4, 4, 0);
    }
    pool.release(buffer);
    until(pair, 'all bytes', () => ends.server.receivedBytes === 8000);
    assert.equal(Buffer.compare(ends.server.bytes(), bytes), 0);
    until(pair, 'the buffer', () => pair.client.pool.heldCount() <= held);
    closeAll(pair, ends);
  });

  eachFamily('a slow reader holds its writer up, and nothing is lost', (pair, unix) => {
    const ends = connected(pair, unix, false);
    const total = 8 * 1024 * 1024;
    const part = pattern(LARGE_BYTES, 3);
    let queued = 0;
    let highest = 0;
    const feed = (): void => {
      while (queued < total && pair.client.sendQueuedBytes(ends.client.handle) < 4 * LARGE_BYTES) {
        ends.client.send(part, 1);
        queued += LARGE_BYTES;
      }
      highest = Math.max(highest, pair.client.sendQueuedBytes(ends.client.handle));
    };
    ends.client.react = (event) => {
      if (event === 'send') feed();
    };
    feed();
    // A kernel that is busy elsewhere takes what it takes in more than one go.
    for (let before = -1; before !== queued; ) {
      before = queued;
      settle(pair);
    }
    assert.ok(queued < total, 'the kernel took all of it with nobody reading');
    assert.ok(pair.client.sendQueuedBytes(ends.client.handle) > 0);
    pair.server.receiveStart(ends.server.handle);
    until(pair, 'all bytes', () => ends.server.receivedBytes === total);
    assert.ok(highest <= 5 * LARGE_BYTES);
    assert.equal(pair.client.sendQueuedBytes(ends.client.handle), 0);
    assert.equal(ends.client.sends.length, total / LARGE_BYTES);
    const got = ends.server.bytes();
    for (let at = 0; at < total; at += LARGE_BYTES) {
      assert.equal(Buffer.compare(got.subarray(at, at + LARGE_BYTES), part), 0, `wrong bytes after ${at}`);
    }
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('nothing is received before it is asked for, then all of it', (pair) => {
    const ends = connection(pair, LOOPBACK4, false);
    ends.client.sendText('early');
    settle(pair);
    assert.equal(ends.server.receivedBytes, 0);
    pair.server.receiveStart(ends.server.handle);
    until(pair, 'the bytes', () => ends.server.text() === 'early');
    closeAll(pair, ends);
  });

  eachFamily('receiveOnce delivers one large buffer at most and then stops', (pair, unix) => {
    const ends = connected(pair, unix, false);
    const bytes = pattern(600_000, 4);
    ends.client.send(bytes);
    settle(pair);
    let asked = 0;
    while (ends.server.receivedBytes < bytes.length) {
      pair.server.receiveOnce(ends.server.handle);
      asked++;
      until(pair, 'one piece', () => ends.server.pieces.length === asked);
      if (asked < 4) settle(pair);
      assert.equal(ends.server.pieces.length, asked, 'more pieces than were asked for');
      assert.ok(ends.server.pieces[asked - 1] <= LARGE_BYTES);
    }
    assert.equal(Buffer.compare(ends.server.bytes(), bytes), 0);
    closeAll(pair, ends);
  });

  rule('receiveOnce waits for bytes that come later, and asking twice is asking once', (pair) => {
    const ends = connection(pair, LOOPBACK4, false);
    pair.server.receiveOnce(ends.server.handle);
    pair.server.receiveOnce(ends.server.handle);
    settle(pair);
    ends.client.sendText('first');
    until(pair, 'the first', () => ends.server.pieces.length > 0);
    const first = ends.server.receivedBytes;
    ends.client.sendText('second');
    settle(pair);
    assert.equal(ends.server.receivedBytes, first);
    pair.server.receiveStart(ends.server.handle);
    until(pair, 'the rest', () => ends.server.text() === 'firstsecond');
    closeAll(pair, ends);
  });

  rule('receiveOnce from within onReceive asks for the next piece', (pair) => {
    const ends = connection(pair, LOOPBACK4, false);
    const bytes = pattern(700_000, 5);
    ends.server.react = (event) => {
      if (event === 'receive') pair.server.receiveOnce(ends.server.handle);
    };
    pair.server.receiveOnce(ends.server.handle);
    ends.client.send(bytes);
    until(pair, 'all bytes', () => ends.server.receivedBytes === bytes.length);
    assert.equal(Buffer.compare(ends.server.bytes(), bytes), 0);
    closeAll(pair, ends);
  });

  rule('receiveStop stops soon, and receiveStart goes on where it was', (pair) => {
    const ends = connection(pair, LOOPBACK4, false);
    const bytes = pattern(4 * 1024 * 1024, 6);
    // As much as the pool allows at once; the rest follows as segments leave.
    let at = 0;
    const feed = (): void => {
      while (at < bytes.length && pair.client.sendQueuedBytes(ends.client.handle) < 4 * LARGE_BYTES) {
        ends.client.send(bytes.subarray(at, at + LARGE_BYTES), 1);
        at += LARGE_BYTES;
      }
    };
    ends.client.react = (event) => {
      if (event === 'send') feed();
    };
    feed();
    let stops = 0;
    while (ends.server.receivedBytes < bytes.length) {
      const before = ends.server.receivedBytes;
      pair.server.receiveStart(ends.server.handle);
      until(pair, 'more bytes', () => ends.server.receivedBytes > before);
      pair.server.receiveStop(ends.server.handle);
      const atStop = ends.server.receivedBytes;
      if (stops++ < 5) settle(pair);
      assert.ok(
        ends.server.receivedBytes - atStop <= LATE_BYTES_MAX + LARGE_BYTES,
        'too much after the stop',
      );
    }
    assert.equal(Buffer.compare(ends.server.bytes(), bytes), 0);
    assert.ok(stops > 1);
    closeAll(pair, ends);
  });

  rule('receiveStop and receiveStart in one turn, also from within onReceive, lose nothing', (pair) => {
    const ends = connection(pair, LOOPBACK4, false);
    const bytes = pattern(300_000, 7);
    ends.server.react = (event) => {
      if (event !== 'receive') return;
      pair.server.receiveStop(ends.server.handle);
      pair.server.receiveStart(ends.server.handle);
    };
    pair.server.receiveStart(ends.server.handle);
    pair.server.receiveStop(ends.server.handle);
    pair.server.receiveStart(ends.server.handle);
    ends.client.send(bytes);
    until(pair, 'all bytes', () => ends.server.receivedBytes === bytes.length);
    assert.equal(Buffer.compare(ends.server.bytes(), bytes), 0);
    closeAll(pair, ends);
  });

  rule('a buffer that its receiver keeps stays as it is while more comes', (pair) => {
    const ends = connection(pair);
    ends.server.keep = true;
    let expected = 0;
    for (let round = 0; round < 20; round++) {
      ends.client.send(pattern(1000, round));
      expected += 1000;
      until(pair, 'the bytes', () => ends.server.receivedBytes === expected);
    }
    const whole = ends.server.bytes();
    let at = 0;
    for (const { offset, length } of ends.server.kept) {
      const now = pair.server.pool.bytes.subarray(offset, offset + length);
      assert.equal(Buffer.compare(now, whole.subarray(at, at + length)), 0, `changed after ${at} bytes`);
      at += length;
    }
    assert.equal(at, expected);
    ends.server.releaseKept();
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('a received buffer can be sent on as it is', (pair) => {
    const ends = connection(pair);
    const bytes = pattern(200_000, 8);
    ends.server.keep = true;
    ends.server.react = (event) => {
      if (event !== 'receive') return;
      for (const { buffer, offset, length } of ends.server.kept.splice(0)) {
        pair.server.send(ends.server.handle, buffer, offset, length, 0);
      }
    };
    ends.client.send(bytes);
    until(pair, 'the echo', () => ends.client.receivedBytes === bytes.length);
    assert.equal(Buffer.compare(ends.client.bytes(), bytes), 0);
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('an idle connection that receives holds no buffer', (pair) => {
    const acceptor = acceptorOn(pair, LOOPBACK4);
    const clients = [connectTo(pair, acceptor)];
    until(pair, 'one connection', () => acceptor.peers.length === 1 && clients[0].connected);
    settle(pair);
    const held = heldBuffers(pair);
    for (let count = 0; count < 60; count++) clients.push(connectTo(pair, acceptor));
    until(pair, 'all connections', () => acceptor.peers.length === 61);
    settle(pair);
    assert.equal(heldBuffers(pair), held);
    for (const peer of clients) pair.client.close(peer.handle, false);
    for (const peer of acceptor.peers) pair.server.close(peer.handle, false);
    pair.server.close(acceptor.handle, false);
    until(pair, 'all handles to be free', () => handlesOpen(pair) === 0);
  });

  rule('counts connections and bytes', (pair) => {
    const ends = connection(pair);
    ends.client.send(new Uint8Array(MEDIUM_BYTES * 3));
    ends.server.send(new Uint8Array(77));
    until(pair, 'all bytes', () => ends.server.receivedBytes === MEDIUM_BYTES * 3);
    until(pair, 'all bytes', () => ends.client.receivedBytes === 77);
    assert.equal(pair.server.counters.accepted, 1);
    assert.equal(pair.client.counters.connected, 1);
    assert.equal(pair.client.counters.bytesSent, MEDIUM_BYTES * 3);
    assert.equal(pair.server.counters.bytesReceived, MEDIUM_BYTES * 3);
    assert.equal(pair.server.counters.bytesSent, 77);
    assert.equal(handlesOpen(pair), 3);
    assert.ok(pair.server.counters.turns > 0);
    closeAll(pair, ends);
  });

  rule('acknowledged bytes grow to what the peer has, and are unknown for a Unix socket', (pair) => {
    const ends = connection(pair);
    const before = pair.client.sendAcknowledgedBytes(ends.client.handle);
    assert.ok(before >= 0);
    ends.client.send(new Uint8Array(50_000));
    until(pair, 'all bytes', () => ends.server.receivedBytes === 50_000);
    until(pair, 'the acknowledgements', () => {
      return pair.client.sendAcknowledgedBytes(ends.client.handle) >= before + 50_000;
    });
    closeAll(pair, ends);
    const unix = connection(pair, { family: 'unix', path: pair.socketPath() });
    assert.equal(pair.client.sendAcknowledgedBytes(unix.client.handle), -1);
    closeAll(pair, unix);
  });
}
