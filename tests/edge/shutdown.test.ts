/** How the edge stops, reloads, and lives at its limits (SPEC "Lifecycle"). */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bodyOf, EdgeWorld, fieldsOf, get, ORIGIN, ok, statuses, withBody } from './edge-world.ts';

/** Asks the edge to stop; tells whether it has. */
function stop(world: EdgeWorld, timeoutMs: number): () => boolean {
  let stopped = false;
  world.worker.shutdown(timeoutMs, false, () => {
    stopped = true;
  });
  return () => stopped;
}

describe('a shutdown', () => {
  it('is over at once when nobody is there', () => {
    const world = new EdgeWorld();
    const stopped = stop(world, 30_000);
    assert.ok(stopped());
    world.settle();
    world.network.assertQuiet();
  });

  it('closes idle connections of clients and backends', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    origin.answers(ok('x'));
    const client = world.client(get());
    const fresh = world.client();
    const stopped = stop(world, 30_000);
    world.settle();
    assert.equal(client.end, 0);
    assert.equal(fresh.end, 0);
    assert.equal(origin.last.end, 0);
    assert.ok(stopped());
    client.close();
    fresh.close();
    origin.last.close();
    origin.close();
    world.settle();
    world.network.assertQuiet();
  });

  it('accepts nobody any more', () => {
    const world = new EdgeWorld();
    stop(world, 30_000);
    const late = world.client();
    assert.ok(late.connectErrno !== null && late.connectErrno < 0);
  });

  it('finishes the request in flight, and says that the connection closes', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    const stopped = stop(world, 30_000);
    world.pass(2000);
    assert.ok(!stopped());
    origin.last.send(ok('late'));
    world.settle();
    assert.equal(bodyOf(client.text), 'late');
    assert.deepEqual(fieldsOf(client.text, 'connection'), ['close']);
    client.close();
    world.settle();
    assert.ok(stopped());
    assert.equal(origin.last.end, 0);
  });

  it('finishes a response whose head has left already', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send(ok('all of it').slice(0, -5));
    world.settle();
    const stopped = stop(world, 30_000);
    origin.last.send('of it');
    world.settle();
    assert.equal(bodyOf(client.text), 'all of it');
    client.close();
    world.settle();
    assert.ok(stopped());
  });

  it('finishes a request whose head is not complete', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get().slice(0, 20));
    stop(world, 30_000);
    client.send(get().slice(20));
    world.settle();
    origin.last.send(ok('x'));
    world.settle();
    assert.equal(bodyOf(client.text), 'x');
  });

  it('reads no request behind the one in flight', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get('/1') + get('/2'));
    const stopped = stop(world, 30_000);
    origin.last.send(ok('one'));
    world.pass(3000);
    assert.deepEqual(statuses(client.text), [200]);
    assert.equal(client.end, 0);
    assert.ok(stopped());
  });

  it('does not wait for a client that has sent requests ahead and reads nothing', () => {
    const world = new EdgeWorld({
      faults: { windowBytesMin: 8192, windowBytesMax: 8192 },
      server: 'write_timeout_secs = 5',
    });
    const origin = world.origin();
    origin.answers(ok('x'.repeat(20_000)));
    const client = world.client();
    client.stopReading();
    client.send(get().repeat(20));
    world.settle();
    const stopped = stop(world, 30_000);
    world.pass(10_000);
    assert.ok(stopped());
  });

  it('goes on with what was sent ahead once the client reads, but not with more', () => {
    const world = new EdgeWorld({ faults: { windowBytesMin: 8192, windowBytesMax: 8192 } });
    const origin = world.origin();
    origin.answers(ok('x'.repeat(40_000)));
    const client = world.client();
    client.stopReading();
    client.send(get().repeat(20));
    world.settle();
    const stopped = stop(world, 30_000);
    world.settle();
    client.read();
    world.pass(3000);
    assert.ok(stopped());
    assert.ok(statuses(client.text).length < 20);
    assert.equal(client.bytes - client.text.lastIndexOf('\r\n\r\n') - 4, 40_000);
  });

  it('cuts what is still in flight after its time', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    const stopped = stop(world, 3000);
    world.pass(2900);
    assert.ok(!stopped());
    world.pass(200);
    assert.ok(stopped());
    assert.notEqual(client.end, null);
    assert.notEqual(origin.last.end, null);
  });

  it('resets a response that would look complete when it is cut', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client('GET / HTTP/1.0\r\nHost: example.com\r\n\r\n');
    origin.last.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    world.settle();
    stop(world, 1000);
    world.pass(2000);
    assert.ok(client.end !== null && client.end < 0);
  });

  it('lets an upload finish', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const request = withBody('POST', '/', 'x'.repeat(100_000));
    const client = world.client(request.slice(0, 50_000));
    const stopped = stop(world, 30_000);
    client.send(request.slice(50_000));
    world.settle();
    assert.equal(bodyOf(origin.last.text).length, 100_000);
    origin.last.send(ok('stored'));
    world.settle();
    assert.equal(bodyOf(client.text), 'stored');
    client.close();
    world.settle();
    assert.ok(stopped());
  });
});

describe('a reload', () => {
  const other = `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "http://${ORIGIN}:9090"\n`;

  it('counts for the next request on a kept-alive connection', () => {
    const world = new EdgeWorld();
    const old = world.origin();
    const next = world.origin(9090);
    old.answers(ok('old'));
    next.answers(ok('new'));
    const client = world.client(get());
    assert.equal(bodyOf(client.take()), 'old');
    world.reload({ config: other });
    client.send(get());
    world.settle();
    assert.equal(bodyOf(client.text), 'new');
    world.end();
  });

  it('leaves a request in flight where it is', () => {
    const world = new EdgeWorld({ security: 'add_response_headers = { "X-Old" = "yes" }' });
    const old = world.origin();
    const client = world.client(get());
    world.reload({ config: other });
    world.pass(1000);
    assert.equal(old.last.end, null);
    old.last.send(ok('old'));
    world.settle();
    assert.equal(bodyOf(client.text), 'old');
    assert.deepEqual(fieldsOf(client.text, 'x-old'), ['yes']);
    assert.equal(old.last.end, 0);
    world.end();
  });

  it('in the middle of a head counts for that request or the next one', () => {
    const world = new EdgeWorld();
    const old = world.origin();
    const next = world.origin(9090);
    old.answers(ok('old'));
    next.answers(ok('new'));
    const client = world.client(get().slice(0, 20));
    world.reload({ config: other });
    client.send(get().slice(20));
    world.settle();
    assert.deepEqual(statuses(client.text), [200]);
    world.end();
  });

  it('that is repeated many times leaves nothing behind', () => {
    const world = new EdgeWorld({ security: 'add_response_headers = { "X-A" = "b" }' });
    const origin = world.origin();
    origin.answers(ok('x'));
    const client = world.client(get());
    const held = world.edge.pool.heldCount();
    for (let count = 0; count < 50; count++) {
      world.reload({ security: `add_response_headers = { "X-A" = "${count}" }` });
      client.send(get());
      world.settle();
    }
    assert.equal(world.edge.pool.heldCount(), held);
    assert.equal(statuses(client.text).length, 51);
    world.end();
  });
});

describe('at its limits', () => {
  it('the edge accepts as many connections as max_concurrent_connections, and the next when one leaves', () => {
    const security = '[security]\nmax_concurrent_connections = 2\n';
    const world = new EdgeWorld({
      config: `${security}[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "http://${ORIGIN}:8080"\n`,
    });
    const origin = world.origin();
    origin.answers(ok('x'));
    const clients = [1, 2, 3].map(() => world.client(get()));
    assert.deepEqual(
      clients.map((client) => statuses(client.text).length),
      [1, 1, 0],
    );
    clients[0].close();
    world.settle();
    assert.deepEqual(statuses(clients[2].text), [200]);
    assert.equal(world.worker.counters.acceptPauses, 2);
    world.end();
  });

  it('the edge pauses accepting without descriptors, and goes on by itself', () => {
    const world = new EdgeWorld({ descriptorsMax: 4 });
    const origin = world.origin();
    origin.answers(ok('x'));
    const first = world.client(get());
    const more = [1, 2, 3].map(() => world.client(get()));
    assert.deepEqual(statuses(first.text), [200]);
    assert.ok(more.some((client) => client.text === ''));
    first.close();
    for (const client of more) if (client.text !== '') client.close();
    world.pass(40_000);
    for (const client of more) client.close();
    world.pass(2000);
    const last = world.client(get());
    world.pass(1000);
    assert.deepEqual(statuses(last.text), [200]);
    world.end();
  });

  it('a time without descriptors is told once, and its end', (test) => {
    const world = new EdgeWorld({ descriptorsMax: 3 });
    const errors = test.mock.method(world.worker.log, 'error').mock;
    const infos = test.mock.method(world.worker.log, 'info').mock;
    const clients = [1, 2, 3, 4].map(() => world.client('GET'));
    world.pass(10_000);
    assert.ok(world.worker.counters.acceptPauses > 10);
    assert.deepEqual(
      errors.calls.map((call) => call.arguments[0]),
      ['accepting is paused: EMFILE'],
    );
    // One after the other finds its place: that is no end yet.
    for (const client of clients) {
      client.close();
      world.pass(300);
    }
    assert.equal(infos.callCount(), 0);
    world.pass(6000);
    assert.deepEqual(
      infos.calls.map((call) => call.arguments[0]),
      ['accepting again'],
    );
    assert.equal(errors.callCount(), 1);
    world.end();
  });

  it('a worker whose memory is full of requests that wait refuses more with 503, and serves again later', () => {
    const world = new EdgeWorld({ pool: { small: 256, medium: 64, large: 4 } });
    const origin = world.origin();
    const clients = Array.from({ length: 90 }, () => world.client(get()));
    const refused = clients.filter((client) => statuses(client.text)[0] === 503);
    assert.ok(refused.length > 0, 'nobody is refused');
    for (const peer of origin.peers) peer.send(ok('x'));
    world.pass(1000);
    const served = clients.filter((client) => statuses(client.text)[0] === 200);
    assert.equal(served.length, clients.length - refused.length);
    assert.ok(served.length > 40);
    for (const client of clients) client.close();
    world.settle();
    const last = world.client(get());
    for (const peer of origin.peers) if (peer.end === null) peer.send(ok('x'));
    world.settle();
    assert.deepEqual(statuses(last.text), [200]);
    world.end();
  });
});
