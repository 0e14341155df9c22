/** Rules of scarcity and time: buffers, slots, descriptors, timers, destruction. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Timer } from '../../src/base/timer-wheel.ts';
import { type BufferId, LARGE, MEDIUM, NO_BUFFER } from '../../src/io/buffer-pool.ts';
import type { Reactor } from '../../src/io/reactor.ts';
import {
  Acceptor,
  closeAll,
  connection,
  connectTo,
  handlesOpen,
  heldBuffers,
  LOOPBACK4,
  type MakePair,
  type Pair,
  type Peer,
  pattern,
  settle,
  turnOf,
  until,
} from './pair.ts';

/** Takes every free medium and large buffer of a reactor's pool. */
function takeAll(reactor: Reactor): BufferId[] {
  const taken: BufferId[] = [];
  for (const sizeClass of [MEDIUM, LARGE] as const) {
    for (let buffer = reactor.pool.acquire(sizeClass); buffer !== NO_BUFFER; ) {
      taken.push(buffer);
      buffer = reactor.pool.acquire(sizeClass);
    }
  }
  return taken;
}

export function limitRules(makePair: MakePair): void {
  const rule = (name: string, run: (pair: Pair) => void): void => {
    test(name, () => {
      const pair = makePair();
      run(pair);
      pair.dispose();
    });
  };

  rule('receiving waits while no buffer is free, counts it, and goes on when there is one', (pair) => {
    const ends = connection(pair);
    // Keeps all that comes, until there is nothing more to receive into.
    ends.server.keep = true;
    const bytes = pattern(4 * 1024 * 1024, 1);
    let at = 0;
    const feed = (): void => {
      while (at < bytes.length && pair.client.sendQueuedBytes(ends.client.handle) < 400_000) {
        ends.client.send(bytes.subarray(at, at + 65_536), 1);
        at += 65_536;
      }
    };
    ends.client.react = feed;
    const taken = takeAll(pair.server);
    feed();
    until(pair, 'a starvation', () => pair.server.counters.bufferStarvations > 0);
    settle(pair);
    assert.ok(ends.server.receivedBytes < bytes.length);
    for (const buffer of taken) pair.server.pool.release(buffer);
    ends.server.releaseKept();
    ends.server.keep = false;
    until(pair, 'all bytes', () => ends.server.receivedBytes === bytes.length);
    assert.equal(Buffer.compare(ends.server.bytes(), bytes), 0);
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('every one of many starved sockets recovers, those that ask once too', (pair) => {
    const acceptor = new Acceptor(pair.server);
    acceptor.receive = false;
    acceptor.listen(LOOPBACK4);
    const clients = Array.from({ length: 20 }, () => connectTo(pair, acceptor));
    until(
      pair,
      'the connections',
      () => acceptor.peers.length === 20 && clients.every((peer) => peer.connected),
    );
    const taken = takeAll(pair.server);
    for (const [index, peer] of acceptor.peers.entries()) {
      peer.keep = true;
      if (index % 2 === 0) pair.server.receiveStart(peer.handle);
      else pair.server.receiveOnce(peer.handle);
    }
    for (const client of clients) client.sendText('hello');
    settle(pair);
    // A backend may have had a few buffers with the kernel already; whatever came is kept.
    for (const buffer of taken) pair.server.pool.release(buffer);
    for (const peer of acceptor.peers) {
      peer.releaseKept();
      peer.keep = false;
      peer.react = (event) => {
        if (event === 'receive') pair.server.receiveOnce(peer.handle);
      };
    }
    until(pair, 'all bytes', () => acceptor.peers.every((peer) => peer.text() === 'hello'));
    for (const peer of clients) pair.client.close(peer.handle, false);
    for (const peer of acceptor.peers) pair.server.close(peer.handle, false);
    pair.server.close(acceptor.handle, false);
    until(pair, 'all handles to be free', () => handlesOpen(pair) === 0);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('a starved socket can be stopped and closed', (pair) => {
    const ends = connection(pair);
    ends.server.keep = true;
    const taken = takeAll(pair.server);
    ends.client.send(new Uint8Array(300_000));
    settle(pair);
    pair.server.receiveStop(ends.server.handle);
    settle(pair);
    pair.server.close(ends.server.handle, false);
    until(pair, 'onClose', () => ends.server.closed);
    for (const buffer of taken) pair.server.pool.release(buffer);
    ends.server.releaseKept();
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('5,000 connections, one batch after the other, leave no slot, buffer or descriptor behind', (pair) => {
    const acceptor = new Acceptor(pair.server);
    acceptor.listen(LOOPBACK4, 512);
    let highest = 0;
    for (let round = 0; round < 50; round++) {
      const clients: Peer[] = [];
      for (let count = 0; count < 100; count++) {
        const client = connectTo(pair, acceptor);
        client.react = (event) => {
          if (event === 'connect') client.sendText(`${round}:${count}`);
        };
        clients.push(client);
      }
      until(pair, 'their bytes', () => {
        return acceptor.peers.length === 100 && acceptor.peers.every((peer) => peer.receivedBytes > 0);
      });
      highest = Math.max(highest, ...clients.map((client) => client.handle & 0xfffff));
      const servers = acceptor.peers.splice(0);
      for (const [index, client] of clients.entries()) pair.client.close(client.handle, index % 2 === 0);
      for (const server of servers) pair.server.close(server.handle, false);
      until(pair, 'their end', () => [...clients, ...servers].every((peer) => peer.closed));
    }
    assert.equal(handlesOpen(pair), 1);
    assert.equal(pair.server.counters.accepted, 5000);
    assert.equal(heldBuffers(pair), 0);
    assert.ok(highest < 2000, `slots are not used again: ${highest}`);
    pair.server.close(acceptor.handle, false);
    until(pair, 'all handles to be free', () => handlesOpen(pair) === 0);
  });

  rule('a timer fires in a turn, at its time and not before', (pair) => {
    const { server } = pair;
    const fired: number[] = [];
    const handler = {
      onTimer(timer: Timer): void {
        fired.push(timer.kind);
        assert.ok(server.nowMs >= due);
      },
    };
    const timer = new Timer(handler, 7);
    const due = server.nowMs + 40;
    server.timers.arm(timer, due);
    assert.deepEqual(fired, []);
    until(pair, 'the timer', () => fired.length > 0);
    assert.deepEqual(fired, [7]);
  });

  rule('a turn that may wait long returns when a timer is due', (pair) => {
    const { server } = pair;
    let fired = 0;
    const timer = new Timer({ onTimer: () => fired++ }, 0);
    const startMs = pair.nowMs();
    turnOf(server, 0);
    server.timers.arm(timer, server.nowMs + 30);
    for (let turns = 0; fired === 0 && turns < 20; turns++) turnOf(server, 5000);
    assert.equal(fired, 1);
    assert.ok(pair.nowMs() - startMs < 2000);
  });

  rule('a turn that may not wait does not wait', (pair) => {
    const startMs = pair.nowMs();
    for (let turns = 0; turns < 20; turns++) turnOf(pair.server, 0);
    assert.ok(pair.nowMs() - startMs < 500);
  });

  rule('the clock counts whole milliseconds, stands still within a turn, and never goes back', (pair) => {
    let last = pair.server.nowMs;
    for (let turns = 0; turns < 20; turns++) {
      turnOf(pair.server, 1);
      const { nowMs, wallMs } = pair.server;
      assert.ok(Number.isInteger(nowMs) && nowMs >= last && nowMs >= 0);
      assert.ok(wallMs > 1.7e12 && wallMs < 4e12);
      const spinEnd = performance.now() + 2;
      while (performance.now() < spinEnd) assert.equal(pair.server.nowMs, nowMs);
      last = nowMs;
    }
  });

  rule('a timer may close a socket in the middle of things', (pair) => {
    const ends = connection(pair);
    ends.client.send(new Uint8Array(1_000_000), 1);
    const timer = new Timer({ onTimer: () => pair.client.close(ends.client.handle, true) }, 0);
    pair.client.timers.arm(timer, pair.client.nowMs + 1);
    until(pair, 'onClose', () => ends.client.closed);
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('destroy calls no handler, whatever is under way', (pair) => {
    const ends = connection(pair);
    ends.client.send(new Uint8Array(500_000), 1);
    ends.server.send(new Uint8Array(500_000), 1);
    connectTo(pair, ends.acceptor);
    pair.turn();
    const { client, server } = ends;
    const seen = [client.sends.length, server.sends.length, client.receivedBytes, server.receivedBytes];
    // `dispose` destroys both; a handler called there would find no turn.
    pair.server.destroy();
    pair.client.destroy();
    assert.deepEqual(seen, [
      client.sends.length,
      server.sends.length,
      client.receivedBytes,
      server.receivedBytes,
    ]);
    assert.equal(client.closed || server.closed, false);
  });
}
