/** Rules of `sendFrom`: what one socket is to receive leaves through another without being seen. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LARGE_BYTES } from '../../src/io/buffer-pool.ts';
import {
  type Connection,
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

/** Two connections: what `from.client` sends is moved to `to.client`. */
interface Route {
  readonly from: Connection;
  readonly to: Connection;
}

function route(pair: Pair, fromUnix: boolean, toUnix: boolean): Route {
  const address = (unix: boolean) =>
    unix ? ({ family: 'unix', path: pair.socketPath() } as const) : LOOPBACK4;
  return { from: connection(pair, address(fromUnix), false), to: connection(pair, address(toUnix)) };
}

function forward(pair: Pair, { from, to }: Route, length: number, tag: number): void {
  assert.equal(pair.server.sendFrom(to.server.handle, from.server.handle, length, tag), 0);
}

/** Sends much with few buffers. */
function feed(pair: Pair, { client }: Connection, bytes: Uint8Array): void {
  let at = 0;
  const more = (): void => {
    while (at < bytes.length && pair.client.sendQueuedBytes(client.handle) < 4 * LARGE_BYTES) {
      client.send(bytes.subarray(at, at + LARGE_BYTES), 1);
      at += LARGE_BYTES;
    }
  };
  client.react = (event) => {
    if (event === 'send') more();
  };
  more();
}

export function forwardingRules(makePair: MakePair): void {
  const rule = (name: string, run: (pair: Pair) => void): void => {
    test(name, () => {
      const pair = makePair();
      run(pair);
      pair.dispose();
    });
  };

  for (const [fromUnix, toUnix] of [
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ]) {
    const name = `${fromUnix ? 'Unix' : 'TCP'} to ${toUnix ? 'Unix' : 'TCP'}`;
    rule(`4 MiB are moved intact (${name})`, (pair) => {
      const ends = route(pair, fromUnix, toUnix);
      const bytes = pattern(4 * 1024 * 1024, 1);
      forward(pair, ends, bytes.length, 7);
      feed(pair, ends.from, bytes);
      until(pair, 'all bytes', () => ends.to.client.receivedBytes === bytes.length);
      until(pair, 'the result', () => ends.to.server.sends.length === 1);
      assert.equal(Buffer.compare(ends.to.client.bytes(), bytes), 0);
      assert.deepEqual(ends.to.server.sends, [{ tag: 7, result: bytes.length }]);
      assert.equal(ends.from.server.receivedBytes, 0);
      closeAll(pair, ends.from, ends.to);
      assert.equal(heldBuffers(pair), 0);
    });
  }

  rule('exactly as much is moved as was asked for, in its place among other segments', (pair) => {
    const ends = route(pair, false, false);
    ends.from.client.sendText('first second rest');
    ends.to.server.sendText('<', 1);
    forward(pair, ends, 5, 2);
    ends.to.server.sendText('|', 3);
    until(pair, 'the first results', () => ends.to.server.sends.length === 3);
    forward(pair, ends, 7, 4);
    ends.to.server.sendText('>', 5);
    until(pair, 'all results', () => ends.to.server.sends.length === 5);
    until(pair, 'the bytes', () => ends.to.client.receivedBytes === 15);
    assert.equal(ends.to.client.text(), '<first| second>');
    assert.deepEqual(
      ends.to.server.sends.map((send) => send.result),
      [1, 5, 1, 7, 1],
    );
    pair.server.receiveStart(ends.from.server.handle);
    until(pair, 'the rest', () => ends.from.server.text() === ' rest');
    closeAll(pair, ends.from, ends.to);
  });

  rule('what was received before is the receiver’s, what comes after is moved', (pair) => {
    const ends = route(pair, false, false);
    const source = ends.from.server;
    source.react = (event) => {
      // A piece may be any part of what came.
      if (event === 'receive' && source.receivedBytes !== 4) pair.server.receiveOnce(source.handle);
    };
    ends.from.client.sendText('head');
    pair.server.receiveOnce(source.handle);
    until(pair, 'the head', () => source.text() === 'head');
    forward(pair, ends, 4, 1);
    ends.from.client.sendText('bodynext');
    until(pair, 'the body', () => ends.to.client.text() === 'body' && ends.to.server.sends.length === 1);
    pair.server.receiveOnce(source.handle);
    until(pair, 'the next', () => source.text() === 'headnext');
    closeAll(pair, ends.from, ends.to);
  });

  rule('while it lasts the source receives nothing, even if it asks', (pair) => {
    const ends = route(pair, false, false);
    forward(pair, ends, 10, 1);
    pair.server.receiveStart(ends.from.server.handle);
    ends.from.client.sendText('12345');
    until(pair, 'the bytes', () => ends.to.client.text() === '12345');
    settle(pair);
    assert.equal(ends.from.server.receivedBytes, 0);
    assert.equal(ends.to.server.sends.length, 0);
    ends.from.client.sendText('67890rest');
    until(pair, 'the rest', () => ends.from.server.text() === 'rest');
    until(pair, 'the bytes', () => ends.to.client.text() === '1234567890');
    assert.deepEqual(ends.to.server.sends, [{ tag: 1, result: 10 }]);
    closeAll(pair, ends.from, ends.to);
  });

  rule('a source that ends gives a short result, later segments follow, and then its end is told', (pair) => {
    const ends = route(pair, false, false);
    forward(pair, ends, 100, 1);
    ends.to.server.sendText('!', 2);
    ends.from.client.sendText('short');
    pair.client.shutdownSend(ends.from.client.handle);
    until(pair, 'both results', () => ends.to.server.sends.length === 2);
    assert.deepEqual(ends.to.server.sends, [
      { tag: 1, result: 5 },
      { tag: 2, result: 1 },
    ]);
    assert.equal(ends.from.server.ended, false);
    pair.server.receiveStart(ends.from.server.handle);
    until(pair, 'the end', () => ends.from.server.ended);
    assert.equal(ends.from.server.endErrno, 0);
    until(pair, 'the bytes', () => ends.to.client.text() === 'short!');
    assert.equal(pair.server.sendQueuedBytes(ends.to.server.handle), 0);
    closeAll(pair, ends.from, ends.to);
  });

  rule('an end that was asked for follows what is forwarded', (pair) => {
    const ends = route(pair, false, false);
    forward(pair, ends, 6, 1);
    pair.server.shutdownSend(ends.to.server.handle);
    settle(pair);
    assert.equal(ends.to.client.ended, false);
    ends.from.client.sendText('abc');
    until(pair, 'a part', () => ends.to.client.text() === 'abc');
    settle(pair);
    assert.equal(ends.to.client.ended, false);
    ends.from.client.sendText('def');
    until(pair, 'the end', () => ends.to.client.ended);
    assert.equal(ends.to.client.text(), 'abcdef');
    assert.deepEqual(ends.to.server.sends, [{ tag: 1, result: 6 }]);
    closeAll(pair, ends.from, ends.to);
  });

  rule('a source that is reset gives a short result', (pair) => {
    const ends = route(pair, false, false);
    forward(pair, ends, 100, 1);
    pair.client.close(ends.from.client.handle, true);
    until(pair, 'the result', () => ends.to.server.sends.length === 1);
    assert.deepEqual(ends.to.server.sends, [{ tag: 1, result: 0 }]);
    closeAll(pair, ends.from, ends.to);
  });

  rule('closing the source ends the segment early', (pair) => {
    const ends = route(pair, false, false);
    forward(pair, ends, 100, 1);
    ends.from.client.sendText('some');
    until(pair, 'some bytes', () => ends.to.client.text() === 'some');
    pair.server.close(ends.from.server.handle, false);
    ends.to.server.sendText('!', 2);
    until(pair, 'both results', () => ends.to.server.sends.length === 2);
    assert.deepEqual(ends.to.server.sends, [
      { tag: 1, result: 4 },
      { tag: 2, result: 1 },
    ]);
    until(pair, 'the bytes', () => ends.to.client.text() === 'some!');
    closeAll(pair, ends.from, ends.to);
  });

  rule('closing the destination lets the source receive by itself again', (pair) => {
    const ends = route(pair, false, false);
    forward(pair, ends, 100, 1);
    settle(pair);
    pair.server.close(ends.to.server.handle, true);
    until(pair, 'onClose', () => ends.to.server.closed);
    assert.deepEqual(ends.to.server.sends, []);
    pair.server.receiveStart(ends.from.server.handle);
    ends.from.client.sendText('mine');
    until(pair, 'the bytes', () => ends.from.server.text() === 'mine');
    closeAll(pair, ends.from, ends.to);
  });

  rule('a destination that fails tells so', (pair) => {
    const ends = route(pair, false, false);
    pair.client.close(ends.to.client.handle, true);
    until(pair, 'the reset', () => ends.to.server.ended);
    forward(pair, ends, 1_000_000, 1);
    feed(pair, ends.from, new Uint8Array(1_000_000));
    until(pair, 'the result', () => ends.to.server.sends.length === 1);
    assert.ok(ends.to.server.sends[0].result < 0);
    closeAll(pair, ends.from, ends.to);
  });

  rule('a slow reader of the destination holds the sender of the source up', (pair) => {
    const ends = route(pair, false, false);
    pair.client.receiveStop(ends.to.client.handle);
    const bytes = pattern(24 * 1024 * 1024, 5);
    forward(pair, ends, bytes.length, 1);
    feed(pair, ends.from, bytes);
    settle(pair);
    settle(pair);
    const told = ends.from.client.sends.length;
    settle(pair);
    assert.equal(ends.from.client.sends.length, told, 'the sender goes on though nobody reads');
    assert.ok(told < bytes.length / LARGE_BYTES);
    pair.client.receiveStart(ends.to.client.handle);
    until(pair, 'all bytes', () => ends.to.client.receivedBytes === bytes.length);
    assert.equal(Buffer.compare(ends.to.client.bytes(), bytes), 0);
    closeAll(pair, ends.from, ends.to);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('what was under way when the destination closed reaches nobody else', (pair) => {
    const first = route(pair, false, false);
    pair.client.receiveStop(first.to.client.handle);
    forward(pair, first, 24 * 1024 * 1024, 1);
    feed(pair, first.from, pattern(24 * 1024 * 1024, 3));
    until(pair, 'bytes that wait', () => pair.server.sendQueuedBytes(first.to.server.handle) > 0);
    settle(pair);
    pair.server.close(first.to.server.handle, true);
    until(pair, 'onClose', () => first.to.server.closed);
    const second = route(pair, false, false);
    const bytes = pattern(100_000, 4);
    forward(pair, second, bytes.length, 2);
    second.from.client.send(bytes);
    until(pair, 'all bytes', () => second.to.client.receivedBytes === bytes.length);
    assert.equal(Buffer.compare(second.to.client.bytes(), bytes), 0);
    first.from.client.react = () => {};
    pair.client.close(first.from.client.handle, true);
    pair.client.close(first.to.client.handle, true);
    pair.server.close(first.from.server.handle, true);
    pair.server.close(first.from.acceptor.handle, false);
    pair.server.close(first.to.acceptor.handle, false);
    until(pair, 'their ends', () => first.from.client.closed && first.to.client.closed);
    closeAll(pair, second.from, second.to);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('what is still to come, and what waits to leave, can be seen', (pair) => {
    const ends = route(pair, false, false);
    const [source, destination] = [ends.from.server.handle, ends.to.server.handle];
    assert.equal(pair.server.sendFromLeft(source), 0);
    forward(pair, ends, 100, 1);
    settle(pair);
    assert.equal(pair.server.sendFromLeft(source), 100);
    assert.equal(pair.server.sendQueuedBytes(destination), 0, 'what did not come does not wait');
    ends.from.client.sendText('x'.repeat(40));
    until(pair, 'some bytes', () => ends.to.client.receivedBytes === 40);
    assert.equal(pair.server.sendFromLeft(source), 60);
    ends.from.client.sendText('x'.repeat(60));
    until(pair, 'the result', () => ends.to.server.sends.length === 1);
    assert.equal(pair.server.sendFromLeft(source), 0);
    assert.equal(pair.server.sendQueuedBytes(destination), 0);
    closeAll(pair, ends.from, ends.to);
  });

  rule('a source that receives by itself, or forwards already, is refused', (pair) => {
    const ends = route(pair, false, false);
    const other = connection(pair);
    const [source, destination] = [ends.from.server.handle, ends.to.server.handle];
    pair.server.receiveStart(source);
    settle(pair);
    assert.ok(pair.server.sendFrom(destination, source, 10, 1) < 0);
    pair.server.receiveStop(source);
    until(pair, 'the end of receiving', () => pair.server.sendFrom(destination, source, 10, 2) === 0);
    assert.ok(pair.server.sendFrom(other.server.handle, source, 10, 3) < 0);
    assert.ok(pair.server.sendFrom(destination, other.server.handle, 10, 4) < 0);
    ends.from.client.sendText('0123456789');
    until(pair, 'the bytes', () => ends.to.client.text() === '0123456789');
    assert.ok(pair.server.sendFrom(destination, 0x7fffffff, 10, 5) < 0);
    closeAll(pair, ends.from, ends.to, other);
  });

  rule('20 pairs of sockets forward at once, and each gets its own', (pair) => {
    const routes = Array.from({ length: 20 }, () => route(pair, false, false));
    for (const [index, ends] of routes.entries()) {
      forward(pair, ends, 60_000, 1);
      ends.from.client.send(pattern(60_000, index));
    }
    until(pair, 'all bytes', () => routes.every((ends) => ends.to.client.receivedBytes === 60_000));
    until(pair, 'all results', () => routes.every((ends) => ends.to.server.sends.length === 1));
    for (const [index, ends] of routes.entries()) {
      assert.equal(Buffer.compare(ends.to.client.bytes(), pattern(60_000, index)), 0, `route ${index}`);
      closeRoute(pair, ends);
    }
    until(pair, 'all handles to be free', () => pair.server.counters.handlesOpen === 0);
    assert.equal(heldBuffers(pair), 0);
  });
}

/** Closes a route among others that are still open. */
function closeRoute(pair: Pair, { from, to }: Route): void {
  for (const { acceptor, client, server } of [from, to]) {
    pair.client.close(client.handle, false);
    pair.server.close(server.handle, false);
    pair.server.close(acceptor.handle, false);
    until(pair, 'both ends to close', () => client.closed && server.closed);
  }
}
