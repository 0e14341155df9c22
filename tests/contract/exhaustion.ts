/** Out of descriptors: the one rule that needs a process (or a simulated node) with a low limit. */

import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { acceptorOn, connectTo, handlesOpen, LOOPBACK4, type Pair, Peer, settle, until } from './pair.ts';

const { EMFILE, ENFILE } = constants.errno;

/**
 * Connects until descriptors run out, on whichever side first, and shows that accepting pauses, says so
 * once, and goes on after `acceptResume` when descriptors are free again. `pair` must have room for fewer
 * than 200 descriptors.
 */
export function runOutOfDescriptors(pair: Pair): void {
  const acceptor = acceptorOn(pair, LOOPBACK4);
  const address = pair.server.localAddress(acceptor.handle);
  const clients: Peer[] = [];
  let refused = 0;
  while (refused === 0 && acceptor.errors.length === 0) {
    assert.ok(clients.length < 200, 'descriptors do not run out');
    const client = new Peer(pair.client);
    const handle = pair.client.connect(address, client);
    if (handle < 0) refused = handle;
    else clients.push(client);
    if (clients.length % 5 === 0) pair.turn();
  }
  if (refused !== 0) {
    assert.equal(refused, -EMFILE, 'connect tells that descriptors ran out');
    // Let the other side run into it as well: it has connections to accept.
    settle(pair);
  }
  assert.ok(acceptor.errors.length <= 1, 'accepting goes on by itself after it failed');
  for (const errno of acceptor.errors) assert.ok(errno === -EMFILE || errno === -ENFILE);
  const accepted = acceptor.peers.length;
  if (acceptor.errors.length > 0) {
    assert.equal(pair.server.counters.acceptErrors, acceptor.errors.length);
    settle(pair);
    assert.equal(acceptor.peers.length, accepted, 'a paused listener accepts');
  }
  // The connections that are there still work.
  const first = clients.find((client) => client.connected);
  assert.ok(first !== undefined && acceptor.peers.length > 0);
  first.sendText('still works');
  until(pair, 'the bytes', () => acceptor.peers.some((peer) => peer.text() === 'still works'));
  // Descriptors come back, and what waited is accepted.
  const half = clients.splice(0, clients.length >> 1);
  for (const client of half) {
    if (!client.closed) pair.client.close(client.handle, false);
  }
  for (const peer of acceptor.peers.splice(0, acceptor.peers.length >> 1)) {
    pair.server.close(peer.handle, false);
  }
  until(pair, 'their closing', () => half.every((client) => client.closed));
  settle(pair);
  pair.server.acceptResume(acceptor.handle);
  const before = pair.server.counters.accepted;
  const late = connectTo(pair, acceptor);
  until(pair, 'accepting to go on', () => pair.server.counters.accepted > before && late.connected);
  for (const peer of [...clients, late]) pair.client.close(peer.handle, false);
  pair.server.close(acceptor.handle, false);
  until(pair, 'the clients to close', () => late.closed);
  for (const peer of acceptor.peers) pair.server.close(peer.handle, false);
  until(pair, 'all handles to be free', () => {
    for (const peer of acceptor.peers) pair.server.close(peer.handle, false);
    return handlesOpen(pair) === 0;
  });
}
