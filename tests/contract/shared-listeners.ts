/** Rules of a listening socket that two reactors accept from, as workers do while one takes the other's place. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type OpenedReactor, openReactor } from '../../src/io/open.ts';
import type { Handle, ListenerHandler, Reactor } from '../../src/io/reactor.ts';
import { duplicateDescriptor } from '../../src/sys/descriptors.ts';
import { close } from '../../src/sys/libc.ts';
import { createListener, localAddressOf } from '../../src/sys/socket.ts';
import { descriptorCount } from './kernel-pair.ts';
import { LOOPBACK4, Peer, turnOf } from './pair.ts';

const SHAPE = { small: 16, medium: 64, large: 16 };
const CONNECTIONS = 8;
const PATIENCE_MS = 10_000;

/** One of those who accept from the socket. */
class Sharer implements ListenerHandler {
  readonly reactor: Reactor;
  readonly handle: Handle;
  readonly peers: Peer[] = [];
  hasLeft = false;

  constructor({ reactor, listenOn }: OpenedReactor, listening: number) {
    this.reactor = reactor;
    this.handle = listenOn(duplicateDescriptor(listening), this);
    assert.ok(this.handle > 0);
    turnOf(reactor, 0);
  }

  onAccept(_listener: Handle, handle: Handle): void {
    const peer = new Peer(this.reactor);
    peer.handle = handle;
    this.peers.push(peer);
    this.reactor.adopt(handle, peer);
  }

  onAcceptError(_listener: Handle, errno: number): void {
    assert.fail(`accepting failed: ${errno}`);
  }

  onAcceptLeft(listener: Handle): void {
    assert.equal(listener, this.handle);
    assert.equal(this.hasLeft, false, 'left twice');
    this.hasLeft = true;
    this.reactor.close(listener, false);
  }
}

function until(what: string, reactors: readonly Reactor[], done: () => boolean): void {
  const from = performance.now();
  while (!done()) {
    assert.ok(performance.now() - from < PATIENCE_MS, `waited in vain for ${what}`);
    for (const reactor of reactors) turnOf(reactor, 1);
  }
}

export function sharedListenerRules(name: string, backend: string): void {
  test(`${name}: no connection is left behind by one who leaves a shared listener`, () => {
    const descriptors = descriptorCount();
    const opened = Array.from({ length: 3 }, () => openReactor({ shape: SHAPE, backend }));
    const client = opened[2].reactor;
    const listening = createListener(LOOPBACK4, 128, false, -1);
    assert.ok(listening >= 0);
    const address = localAddressOf(listening);
    // The first one waits for longer, and is the one that the kernel tells.
    const [first, second] = opened.slice(0, 2).map((each) => new Sharer(each, listening));
    const connect = (count: number): void => {
      const peers = Array.from({ length: count }, () => new Peer(client));
      for (const peer of peers) peer.handle = client.connect(address, peer);
      until('the connections', [client], () => peers.every((peer) => peer.connected));
    };
    connect(CONNECTIONS);
    first.reactor.acceptLeave(first.handle);
    first.reactor.acceptLeave(first.handle);
    until('the leave', [first.reactor], () => first.hasLeft);
    const accepted = (): number => first.peers.length + second.peers.length;
    until('all of them', [first.reactor, second.reactor], () => accepted() === CONNECTIONS);
    const ofFirst = first.peers.length;
    connect(1);
    until('one more', [first.reactor, second.reactor], () => accepted() === CONNECTIONS + 1);
    assert.equal(first.peers.length, ofFirst, 'one who has left accepts');
    for (const { reactor } of opened) reactor.destroy();
    close(listening);
    assert.equal(descriptorCount(), descriptors, 'descriptors are left open');
  });
}
