/** What becomes of a request whose backend connection fails (SPEC "Requests to backends"). */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  bodyOf,
  EdgeWorld,
  fieldsOf,
  get,
  ORIGIN,
  type Origin,
  ok,
  type Peer,
  statuses,
  withBody,
} from './edge-world.ts';

interface Warm {
  readonly world: EdgeWorld;
  readonly origin: Origin;
  readonly client: Peer;
  /** The backend connection that has carried one exchange. */
  readonly first: Peer;
}

/** A backend connection that idles in the pool. */
function warm(options: ConstructorParameters<typeof EdgeWorld>[0] = {}): Warm {
  const world = new EdgeWorld(options);
  const origin = world.origin();
  const client = world.client(get('/warm'));
  const first = origin.last;
  first.take();
  first.send(ok('warm'));
  world.settle();
  assert.deepEqual(statuses(client.take()), [200]);
  return { world, origin, client, first };
}

describe('a request on a reused backend connection that dies before a response byte', () => {
  for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
    it(`is sent once more on a fresh one when it is ${method}`, () => {
      const { world, origin, client, first } = warm();
      client.send(`${method} /again HTTP/1.1\r\nHost: example.com\r\n\r\n`);
      world.settle();
      assert.ok(first.text.startsWith(`${method} /again`));
      first.close();
      world.settle();
      assert.equal(origin.peers.length, 2);
      assert.ok(origin.last.text.startsWith(`${method} /again`));
      origin.last.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      world.settle();
      assert.deepEqual(statuses(client.text), [200]);
      world.end();
    });
  }

  it('is sent once more when the connection is reset', () => {
    const { world, origin, client, first } = warm();
    client.send(get('/again'));
    world.settle();
    first.reset();
    world.settle();
    origin.last.send(ok('second'));
    world.settle();
    assert.equal(bodyOf(client.text), 'second');
    world.end();
  });

  it('is 502 when it is a POST whose content was sent', () => {
    const { world, origin, client, first } = warm();
    client.send(withBody('POST', '/once', 'content'));
    world.settle();
    first.close();
    world.settle();
    assert.equal(origin.peers.length, 1);
    assert.deepEqual(statuses(client.text), [502]);
    world.end();
  });

  it('is sent once more when it is a POST of whose content nothing was sent', () => {
    const { world, origin, client, first } = warm();
    client.send(withBody('POST', '/once', 'content').replace('content', ''));
    client.take();
    world.settle();
    first.close();
    world.settle();
    assert.equal(origin.peers.length, 2);
    client.send('content');
    world.settle();
    assert.equal(bodyOf(origin.last.text), 'content');
    origin.last.send(ok('done'));
    world.settle();
    assert.equal(bodyOf(client.text), 'done');
    world.end();
  });

  it('is 502 when the fresh connection dies too', () => {
    const { world, origin, client, first } = warm();
    client.send(get('/again'));
    world.settle();
    first.close();
    world.settle();
    origin.last.close();
    world.settle();
    assert.equal(origin.peers.length, 2);
    assert.deepEqual(statuses(client.text), [502]);
    world.end();
  });

  it('does not take another idle connection for the second attempt', () => {
    const { world, origin, client, first } = warm();
    const other = world.client();
    client.send(get('/slow'));
    other.send(get('/other'));
    world.settle();
    assert.equal(origin.peers.length, 2);
    const second = origin.last;
    first.send(ok('slow'));
    second.send(ok('other'));
    world.settle();
    client.take();
    // Both idle now; the one that was used last is taken first.
    client.send(get('/again'));
    world.settle();
    const taken = first.text.includes('/again') ? first : second;
    taken.close();
    world.settle();
    assert.equal(origin.peers.length, 3);
    origin.last.send(ok('third'));
    world.settle();
    assert.equal(bodyOf(client.text), 'third');
    world.end();
  });

  it('is sent once more with all of its content', () => {
    const { world, origin, client, first } = warm();
    const content = 'abcdefghij'.repeat(3000);
    client.send(withBody('PUT', '/file', content));
    world.settle();
    assert.equal(bodyOf(first.text), content);
    first.close();
    world.settle();
    assert.equal(bodyOf(origin.last.text), content);
    origin.last.send(ok('stored'));
    world.settle();
    assert.equal(bodyOf(client.text), 'stored');
    world.end();
  });

  it('is sent once more with the content that came while the connection was dying', () => {
    // The reset is noticed by sending before it is noticed by receiving.
    for (let seed = 1; seed <= 40; seed++) {
      const { world, origin, client, first } = warm({ seed, faults: { reorder: 0.6 } });
      const request = withBody('PUT', '/file', '0123456789'.repeat(20));
      const head = request.indexOf('0123456789');
      client.send(request.slice(0, head + 20));
      world.settle();
      first.reset();
      for (let at = head + 20; at < request.length; at += 20) {
        client.send(request.slice(at, at + 20));
        world.pass(1 / 32);
      }
      world.settle();
      if (statuses(client.text).length === 0) {
        const { last } = origin;
        assert.equal(bodyOf(last.text).length, 200, `seed ${seed}: content is missing`);
        last.send(ok('stored'));
        world.settle();
      }
      assert.ok([200, 502].includes(statuses(client.text)[0]), `seed ${seed}`);
      world.end();
    }
  });

  it('is 502 when it has sent too much content to keep', () => {
    const { world, origin, client, first } = warm();
    client.send(withBody('PUT', '/file', 'x'.repeat(100_000)).slice(0, 90_000));
    world.settle();
    first.close();
    world.settle();
    assert.equal(origin.peers.length, 1);
    assert.deepEqual(statuses(client.text), [502]);
    world.end();
  });

  it('is not sent once more after an interim response', () => {
    const { world, origin, client, first } = warm();
    client.send(get('/again'));
    world.settle();
    first.send('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n');
    world.settle();
    first.close();
    world.settle();
    assert.equal(origin.peers.length, 1);
    assert.deepEqual(statuses(client.text), [103, 502]);
    world.end();
  });

  it('is 502 after a part of a response head', () => {
    const { world, origin, client, first } = warm();
    client.send(get('/again'));
    world.settle();
    first.send('HTTP/1.1 200 O');
    world.settle();
    first.close();
    world.settle();
    assert.equal(origin.peers.length, 1);
    assert.deepEqual(statuses(client.text), [502]);
    world.end();
  });
});

describe('a request on a fresh backend connection', () => {
  it('is 502 when the connection dies before a response byte', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.close();
    world.settle();
    assert.equal(origin.peers.length, 1);
    assert.deepEqual(statuses(client.text), [502]);
    world.end();
  });

  it('is 502 when the connection is refused', () => {
    const world = new EdgeWorld();
    const client = world.client(get());
    assert.deepEqual(statuses(client.text), [502]);
    world.end();
  });

  it('is 504 when the connection is not made in backend_connect_timeout_secs', () => {
    const world = new EdgeWorld({ faults: {}, security: 'backend_connect_timeout_secs = 2' });
    world.origin();
    const client = world.client();
    Object.assign(world.network.faults, { deadConnect: 1 });
    client.send(get());
    world.pass(1900);
    assert.deepEqual(statuses(client.text), []);
    world.pass(200);
    assert.deepEqual(statuses(client.text), [504]);
    world.end();
  });

  it('is 504 when no byte of a response comes in backend_response_timeout_secs', () => {
    const world = new EdgeWorld({ security: 'backend_response_timeout_secs = 2' });
    const origin = world.origin();
    const client = world.client(get());
    world.pass(1900);
    assert.deepEqual(statuses(client.text), []);
    world.pass(1500);
    assert.deepEqual(statuses(client.text), [504]);
    assert.notEqual(origin.last.end, null);
    world.end();
  });

  it('is 503 when no descriptor is left for the connection', () => {
    const world = new EdgeWorld({ descriptorsMax: 2 });
    world.origin();
    const client = world.client(get());
    assert.deepEqual(statuses(client.text), [503]);
    assert.equal(fieldsOf(client.text, 'retry-after').length, 1);
    world.end();
  });

  it('is 502 when the response is malformed', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send('HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello');
    world.settle();
    assert.deepEqual(statuses(client.text), [502]);
    assert.ok(!client.text.includes('hello'));
    world.end();
  });
});

describe('a backend name with two addresses', () => {
  const config = `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "http://both.test:8080"\n`;

  it('is reached at the second when the first refuses', () => {
    const world = new EdgeWorld({ config });
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send(ok('second'));
    world.settle();
    assert.equal(bodyOf(client.text), 'second');
    world.end();
  });

  it('gets all of the content although the first address refused', () => {
    const world = new EdgeWorld({ config, faults: { latencyMsMax: 5 }, seed: 3 });
    const origin = world.origin();
    const content = 'abcdefghij'.repeat(50_000);
    const client = world.client(withBody('POST', '/', content));
    world.pass(2000);
    assert.equal(bodyOf(origin.last.text).length, content.length);
    origin.last.send(ok('stored'));
    world.pass(100);
    assert.equal(bodyOf(client.text), 'stored');
    world.end();
  });

  it('is 502 when both refuse', () => {
    const world = new EdgeWorld({ config });
    const client = world.client(get());
    assert.deepEqual(statuses(client.text), [502]);
    world.end();
  });
});

describe('an idle backend connection', () => {
  it('is used again for the next request of any client', () => {
    const { world, origin, first } = warm();
    const other = world.client(get('/other'));
    assert.ok(first.text.startsWith('GET /other'));
    first.send(ok('other'));
    world.settle();
    assert.equal(bodyOf(other.text), 'other');
    assert.equal(origin.peers.length, 1);
    world.end();
  });

  it('is closed when bytes come that nobody asked for, which nobody gets', () => {
    const { world, origin, client, first } = warm();
    first.send(ok('poison'));
    world.settle();
    assert.notEqual(first.end, null);
    client.send(get('/next'));
    world.settle();
    assert.equal(origin.peers.length, 2);
    assert.ok(!client.text.includes('poison'));
    world.end();
  });

  it('is closed when more came than the response', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send(`${ok('five!')}${ok('poison')}`);
    world.settle();
    assert.equal(bodyOf(client.text), 'five!');
    client.send(get('/next'));
    world.settle();
    assert.equal(origin.peers.length, 2);
    world.end();
  });

  it('is closed after idle_connection_timeout_secs', () => {
    const { world, first } = warm({ security: 'idle_connection_timeout_secs = 3' });
    world.pass(2500);
    assert.equal(first.end, null);
    world.pass(1000);
    assert.equal(first.end, 0);
    world.end();
  });

  it('above max_idle_connections_per_host is closed when it has been idle for a second', () => {
    const world = new EdgeWorld({ security: 'max_idle_connections_per_host = 1' });
    const origin = world.origin();
    const clients = [1, 2, 3].map(() => world.client(get()));
    for (const peer of origin.peers) peer.send(ok('x'));
    world.settle();
    assert.deepEqual(
      clients.map((client) => statuses(client.text)),
      [[200], [200], [200]],
    );
    world.pass(500);
    assert.equal(origin.peers.filter((peer) => peer.end === null).length, 3);
    world.pass(1500);
    assert.equal(origin.peers.filter((peer) => peer.end === null).length, 1);
    world.end();
  });

  it('is not kept when the backend says Connection: close', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send(ok('x', 'Connection: close'));
    world.settle();
    assert.notEqual(origin.last.end, null);
    assert.deepEqual(fieldsOf(client.text, 'connection'), []);
    client.send(get());
    world.settle();
    assert.equal(origin.peers.length, 2);
    world.end();
  });

  it('follows a reload that lowers max_idle_connections_per_host', () => {
    const world = new EdgeWorld({ security: 'max_idle_connections_per_host = 10' });
    const origin = world.origin();
    const clients = [1, 2, 3].map(() => world.client(get()));
    for (const peer of origin.peers) peer.send(ok('x'));
    world.settle();
    world.reload({ security: 'max_idle_connections_per_host = 1' });
    for (const client of clients) client.send(get());
    world.settle();
    for (const peer of origin.peers) peer.send(ok('x'));
    world.pass(2000);
    assert.equal(origin.peers.filter((peer) => peer.end === null).length, 1);
    world.end();
  });

  it('lives on over a reload that keeps its server', () => {
    const { world, origin, client, first } = warm();
    world.reload({ security: 'backend_response_timeout_secs = 7' });
    client.send(get('/after'));
    world.settle();
    assert.ok(first.text.startsWith('GET /after'));
    assert.equal(origin.peers.length, 1);
    world.end();
  });

  it('is closed by a reload that drops its server', () => {
    const { world, first } = warm();
    const config = `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "http://${ORIGIN}:9090"\n`;
    world.reload({ config });
    world.settle();
    assert.equal(first.end, 0);
    world.end();
  });
});
