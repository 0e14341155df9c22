/** Connections to backends from one exchange to the next. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bodyOf, EdgeWorld, get, ok } from './edge-world.ts';

describe('a backend connection', () => {
  it('answers no request with what the backend sends right behind a response', () => {
    // In pieces, of which in a few of the worlds (45, 80, …) one ends where the response does.
    for (let seed = 40; seed <= 85; seed++) {
      const world = new EdgeWorld({ seed, faults: { partialReceive: 1 } });
      const origin = world.origin();
      const client = world.client(get('/1') + get('/2'));
      origin.last.send(ok('one') + ok('a lie'));
      world.settle();
      assert.equal(bodyOf(client.take()), 'one');
      assert.equal(origin.peers.length, 2);
      assert.notEqual(origin.peers[0].end, null);
      assert.ok(origin.last.take().startsWith('GET /2 '));
      origin.last.send(ok('the truth'));
      world.settle();
      assert.equal(bodyOf(client.text), 'the truth');
      world.end();
    }
  });

  it('rests a moment after a response, while another takes the next request', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    origin.answers(ok('x'));
    world.client(get('/1') + get('/2') + get('/3') + get('/4'));
    world.settle();
    assert.equal(origin.peers.length, 2);
    for (let number = 0; number < 5; number++) world.client(get());
    assert.equal(origin.peers.length, 2);
    world.end();
  });

  it('gets large buffers for the response after a long one, and small ones again after a short one', (test) => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const large = test.mock.method(world.edge, 'receiveOnce').mock;
    const client = world.client();
    const exchange = (bytes: number): number => {
      const before = large.callCount();
      client.send(get());
      world.settle();
      // What has been asked for until now was for this response.
      const asked = large.callCount() - before;
      origin.last.send(ok('x'.repeat(bytes)));
      world.settle();
      assert.equal(bodyOf(client.take()).length, bytes);
      return asked;
    };
    const idle: number[] = [];
    for (const bytes of [32_767, 32_768, 40_000, 10, 10]) {
      const before = large.callCount();
      assert.equal(exchange(bytes), 0, 'only idle connections ask anew');
      idle.push(large.callCount() - before);
    }
    assert.deepEqual(idle, [0, 1, 1, 0, 0]);
    assert.equal(origin.peers.length, 1);
    world.end();
  });
});
