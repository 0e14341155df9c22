/** Rules of listeners, connections and handles. */

import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import { MEDIUM } from '../../src/io/buffer-pool.ts';
import { WITHOUT_IPV6 } from '../fixtures/ipv6.ts';
import {
  Acceptor,
  acceptorOn,
  closeAll,
  connection,
  connectTo,
  handlesOpen,
  heldBuffers,
  LOOPBACK4,
  LOOPBACK6,
  type MakePair,
  type Pair,
  Peer,
  settle,
  until,
} from './pair.ts';

const { EADDRINUSE, ECONNREFUSED, ENOENT } = constants.errno;

const SLOT_MASK = (1 << 20) - 1;

export function connectionRules(makePair: MakePair): void {
  const rule = (name: string, run: (pair: Pair) => void, skip: string | false = false): void => {
    test(name, { skip }, () => {
      const pair = makePair();
      run(pair);
      pair.dispose();
    });
  };

  rule('connects over IPv4, and each end learns who is at the other', (pair) => {
    const { client, server, acceptor } = connection(pair);
    const bound = pair.server.localAddress(acceptor.handle);
    assert.ok(bound.family === 'ipv4' && bound.port > 0 && bound.address === '127.0.0.1');
    assert.deepEqual(pair.client.peerAddress(client.handle), bound);
    const peer = pair.server.peerAddress(server.handle);
    assert.ok(peer.family === 'ipv4' && peer.port > 0 && peer.address === '127.0.0.1');
    closeAll(pair, { client, server, acceptor });
  });

  const overIpv6 = (pair: Pair): void => {
    const ends = connection(pair, LOOPBACK6);
    const peer = pair.server.peerAddress(ends.server.handle);
    assert.ok(peer.family === 'ipv6' && peer.port > 0 && peer.address === '::1');
    closeAll(pair, ends);
  };
  rule('connects over IPv6', overIpv6, WITHOUT_IPV6);

  rule('connects over a Unix socket, whose peer has an empty address', (pair) => {
    const ends = connection(pair, { family: 'unix', path: pair.socketPath() });
    assert.deepEqual(pair.server.peerAddress(ends.server.handle), { family: 'unix', path: '' });
    ends.client.sendText('over a path');
    until(pair, 'the bytes', () => ends.server.text() === 'over a path');
    closeAll(pair, ends);
  });

  rule('handles are positive, with the slot in the low 20 bits', (pair) => {
    const ends = connection(pair);
    const { acceptor, server, client } = ends;
    for (const handle of [acceptor.handle, server.handle, client.handle]) {
      assert.ok(Number.isInteger(handle) && handle > 0 && handle < 2 ** 31);
    }
    assert.notEqual(acceptor.handle & SLOT_MASK, server.handle & SLOT_MASK);
    closeAll(pair, ends);
  });

  rule('a connection that nobody adopts is closed', (pair) => {
    const acceptor = new Acceptor(pair.server);
    acceptor.onAccept = () => {
      // Takes nothing.
    };
    acceptor.listen(LOOPBACK4);
    const client = connectTo(pair, acceptor);
    pair.client.receiveStart(client.handle);
    until(pair, 'the end', () => client.ended);
    assert.equal(client.receivedBytes, 0);
    pair.client.close(client.handle, false);
    pair.server.close(acceptor.handle, false);
    until(pair, 'all handles to be free', () => handlesOpen(pair) === 0);
  });

  rule('a connection may be closed within onAccept', (pair) => {
    const acceptor = acceptorOn(pair, LOOPBACK4);
    const accept = acceptor.onAccept.bind(acceptor);
    acceptor.onAccept = (listener, handle) => {
      accept(listener, handle);
      pair.server.close(handle, false);
    };
    const client = connectTo(pair, acceptor);
    pair.client.receiveStart(client.handle);
    until(pair, 'the end', () => client.ended && acceptor.peers.length === 1 && acceptor.peers[0].closed);
    pair.client.close(client.handle, false);
    pair.server.close(acceptor.handle, false);
    until(pair, 'all handles to be free', () => handlesOpen(pair) === 0);
  });

  rule('a refused connect is reported, then onClose follows by itself', (pair) => {
    const acceptor = acceptorOn(pair, LOOPBACK4);
    const address = pair.server.localAddress(acceptor.handle);
    pair.server.close(acceptor.handle, false);
    until(pair, 'the listener to close', () => handlesOpen(pair) === 0);
    const client = new Peer(pair.client);
    client.react = (event) => {
      // Closing what is closed already is ignored.
      if (event === 'connect') pair.client.close(client.handle, false);
    };
    assert.ok(pair.client.connect(address, client) > 0);
    until(pair, 'onClose', () => client.closed);
    assert.equal(client.connectErrno, -ECONNREFUSED);
    assert.equal(handlesOpen(pair), 0);
  });

  rule('connecting to a path without a socket fails with -ENOENT', (pair) => {
    const client = new Peer(pair.client);
    const handle = pair.client.connect({ family: 'unix', path: pair.socketPath() }, client);
    if (handle < 0) {
      assert.equal(handle, -ENOENT);
      return;
    }
    until(pair, 'onClose', () => client.closed);
    assert.equal(client.connectErrno, -ENOENT);
  });

  rule('listening where somebody listens returns -EADDRINUSE', (pair) => {
    const acceptor = acceptorOn(pair, LOOPBACK4);
    const address = pair.server.localAddress(acceptor.handle);
    const other = new Acceptor(pair.server);
    const options = { backlog: 1, reusePort: false };
    assert.equal(pair.server.listen(address, options, other), -EADDRINUSE);
    pair.server.close(acceptor.handle, false);
    until(pair, 'the listener to close', () => handlesOpen(pair) === 0);
  });

  rule('an address can be listened on again after its listener closed', (pair) => {
    const ends = connection(pair);
    const address = pair.server.localAddress(ends.acceptor.handle);
    closeAll(pair, ends);
    const again = new Acceptor(pair.server);
    again.listen(address);
    const client = connectTo(pair, again);
    until(pair, 'a connection', () => client.connected && again.peers.length === 1);
    closeAll(pair, { acceptor: again, client, server: again.peers[0] });
  });

  rule('closing while connecting brings onClose and no onConnect', (pair) => {
    const acceptor = acceptorOn(pair, LOOPBACK4);
    const client = connectTo(pair, acceptor);
    pair.client.close(client.handle, false);
    until(pair, 'onClose', () => client.closed);
    settle(pair);
    assert.equal(client.connectErrno, 1);
    for (const peer of acceptor.peers) pair.server.close(peer.handle, false);
    pair.server.close(acceptor.handle, false);
    until(pair, 'all handles to be free', () => handlesOpen(pair) === 0);
  });

  rule('onClose comes exactly once, however often a handle is closed', (pair) => {
    const ends = connection(pair);
    for (let times = 0; times < 3; times++) pair.client.close(ends.client.handle, times === 1);
    assert.equal(ends.client.closed, false, 'not from within close');
    until(pair, 'onClose', () => ends.client.closed);
    pair.client.close(ends.client.handle, true);
    settle(pair);
    closeAll(pair, ends);
  });

  rule('after close no other event comes, not of what was under way either', (pair) => {
    const ends = connection(pair);
    const { client, server } = ends;
    server.send(new Uint8Array(100_000), 1);
    client.send(new Uint8Array(100_000), 2);
    pair.turn();
    pair.client.close(client.handle, false);
    const seen = [client.receivedBytes, client.sends.length, client.endErrno];
    until(pair, 'onClose', () => client.closed);
    assert.deepEqual([client.receivedBytes, client.sends.length, client.endErrno], seen);
    closeAll(pair, ends);
    assert.equal(heldBuffers(pair), 0);
  });

  rule('operations on a closed handle are ignored and release what they were given', (pair) => {
    const ends = connection(pair);
    const { client } = ends;
    const { pool } = pair.client;
    const held = pair.client.pool.heldCount();
    const stale = client.handle;
    pair.client.close(stale, false);
    for (let round = 0; round < 2; round++) {
      const buffer = pool.acquire(MEDIUM);
      pair.client.send(stale, buffer, pool.offsetOf(buffer), 10, 5);
      pair.client.receiveStart(stale);
      pair.client.receiveOnce(stale);
      pair.client.receiveStop(stale);
      pair.client.shutdownSend(stale);
      pair.client.adopt(stale, new Peer(pair.client));
      pair.client.close(stale, true);
      assert.equal(pair.client.sendQueuedBytes(stale), 0);
      until(pair, 'onClose', () => client.closed || round === 1);
    }
    settle(pair);
    assert.deepEqual(client.sends, []);
    assert.ok(pair.client.pool.heldCount() <= held);
    closeAll(pair, ends);
  });

  rule('a stale handle does not touch the socket that has its slot now', (pair) => {
    const acceptor = acceptorOn(pair, LOOPBACK4);
    const first = connectTo(pair, acceptor);
    until(pair, 'the first', () => first.connected && acceptor.peers.length === 1);
    const stale = first.handle;
    pair.client.close(stale, false);
    until(pair, 'its close', () => first.closed);
    const second = connectTo(pair, acceptor);
    until(pair, 'the second', () => second.connected && acceptor.peers.length === 2);
    assert.notEqual(second.handle, stale);
    pair.client.close(stale, true);
    pair.client.shutdownSend(stale);
    second.sendText('still here');
    until(pair, 'the bytes', () => acceptor.peers[1].text() === 'still here');
    pair.server.close(acceptor.peers[0].handle, false);
    closeAll(pair, { acceptor, client: second, server: acceptor.peers[1] });
  });

  rule('a paused listener accepts nothing; resumed, it accepts what waits', (pair) => {
    const acceptor = acceptorOn(pair, LOOPBACK4);
    pair.server.acceptPause(acceptor.handle);
    settle(pair);
    const clients = Array.from({ length: 5 }, () => connectTo(pair, acceptor));
    until(pair, 'the connects', () => clients.every((client) => client.connected));
    settle(pair);
    const early = acceptor.peers.length;
    assert.ok(early <= 1, `${early} accepted while paused`);
    pair.server.acceptResume(acceptor.handle);
    until(pair, 'the accepts', () => acceptor.peers.length === 5);
    for (const [index, client] of clients.entries()) client.sendText(`from ${index}`);
    until(pair, 'the bytes', () => acceptor.peers.every((peer) => peer.receivedBytes === 6));
    pair.server.acceptPause(acceptor.handle);
    pair.server.acceptResume(acceptor.handle);
    const late = connectTo(pair, acceptor);
    until(pair, 'one more', () => acceptor.peers.length === 6);
    for (const peer of [...clients, late]) pair.client.close(peer.handle, false);
    for (const peer of acceptor.peers) pair.server.close(peer.handle, false);
    pair.server.close(acceptor.handle, false);
    until(pair, 'all handles to be free', () => handlesOpen(pair) === 0);
  });

  rule('who leaves a listener is told when no connection can come any more', (pair) => {
    const ends = connection(pair);
    const { acceptor } = ends;
    pair.server.acceptLeave(acceptor.handle);
    pair.server.acceptLeave(acceptor.handle);
    until(pair, 'the leave', () => acceptor.hasLeft);
    const accepted = acceptor.peers.length;
    const late = connectTo(pair, acceptor);
    until(pair, 'the connect', () => late.connected);
    settle(pair);
    assert.equal(acceptor.peers.length, accepted);
    pair.client.close(late.handle, false);
    closeAll(pair, ends);
  });

  rule('a listener that is closed while it leaves says nothing any more', (pair) => {
    const acceptor = acceptorOn(pair, LOOPBACK4);
    settle(pair);
    pair.server.acceptLeave(acceptor.handle);
    pair.turn();
    const hadLeft = acceptor.hasLeft;
    pair.server.close(acceptor.handle, false);
    until(pair, 'all handles to be free', () => handlesOpen(pair) === 0);
    assert.equal(acceptor.hasLeft, hadLeft);
  });

  rule('a closed listener refuses, and its accepted connections live on', (pair) => {
    const ends = connection(pair);
    const address = pair.server.localAddress(ends.acceptor.handle);
    pair.server.close(ends.acceptor.handle, false);
    until(pair, 'the listener to close', () => pair.server.counters.handlesOpen === 1);
    const refused = new Peer(pair.client);
    pair.client.connect(address, refused);
    until(pair, 'the refusal', () => refused.closed);
    assert.equal(refused.connectErrno, -ECONNREFUSED);
    ends.client.sendText('alive');
    until(pair, 'the bytes', () => ends.server.text() === 'alive');
    closeAll(pair, ends);
  });

  rule('adopt hands a socket to another handler', (pair) => {
    const ends = connection(pair);
    ends.client.sendText('one');
    until(pair, 'the first bytes', () => ends.server.text() === 'one');
    const heir = new Peer(pair.server);
    pair.server.adopt(ends.server.handle, heir);
    ends.client.sendText('two');
    pair.client.shutdownSend(ends.client.handle);
    until(pair, 'the end', () => heir.ended);
    assert.equal(heir.text(), 'two');
    assert.equal(ends.server.text(), 'one');
    closeAll(pair, { ...ends, server: heir });
  });

  rule('300 connects in one turn are all accepted', (pair) => {
    const acceptor = new Acceptor(pair.server);
    acceptor.listen(LOOPBACK4, 512);
    const clients = Array.from({ length: 300 }, () => connectTo(pair, acceptor));
    until(
      pair,
      'all accepts',
      () => acceptor.peers.length === 300 && clients.every((peer) => peer.connected),
    );
    const handles = new Set([...acceptor.peers, ...clients].map((peer) => peer.handle));
    assert.ok(handles.size >= 300);
    assert.equal(handlesOpen(pair), 601);
    for (const peer of clients) pair.client.close(peer.handle, false);
    for (const peer of acceptor.peers) pair.server.close(peer.handle, false);
    pair.server.close(acceptor.handle, false);
    until(pair, 'all handles to be free', () => handlesOpen(pair) === 0);
    assert.ok(clients.every((peer) => peer.closed) && acceptor.peers.every((peer) => peer.closed));
  });
}
