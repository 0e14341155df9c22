/** Requests that come before the response to the one before has left (RFC 9112 §9.3.2). */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bodyOf, EdgeWorld, fieldsOf, get, ok, statuses } from './edge-world.ts';

describe('pipelined requests', () => {
  it('are answered in order, one at a time', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get('/1') + get('/2') + get('/3'));
    for (const number of ['1', '2', '3']) {
      const asked = origin.peers.filter(({ text }) => text !== '');
      assert.equal(asked.length, 1);
      assert.ok(asked[0].take().startsWith(`GET /${number} `));
      asked[0].send(ok(number));
      world.settle();
      assert.equal(bodyOf(client.take()), number);
    }
    // The one whose response has just ended rests, while the other one is asked.
    assert.equal(origin.peers.length, 2);
    world.end();
  });

  it('behind Connection: close are not read', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    origin.answers(ok('x'));
    const client = world.client(get('/1', 'Connection: close') + get('/2'));
    world.pass(3000);
    assert.deepEqual(statuses(client.text), [200]);
    assert.deepEqual(fieldsOf(client.text, 'connection'), ['close']);
    assert.notEqual(client.end, null);
    world.end();
  });

  it('behind a malformed one are not read', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(`BAD\r\n\r\n${get('/secret')}`);
    world.pass(3000);
    assert.deepEqual(statuses(client.text), [400]);
    assert.equal(client.end, 0);
    assert.equal(origin.peers.length, 0);
    world.end();
  });
});
