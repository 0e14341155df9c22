/** Every limit in time and size that holds for clients (SPEC "Security per route"). */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bodyOf, CLIENT, EdgeWorld, fieldsOf, get, ok, statuses, withBody } from './edge-world.ts';

describe('a client that is slow with its head', () => {
  it('is closed without a word when it sends none', () => {
    const world = new EdgeWorld({ security: 'client_header_timeout_secs = 3' });
    const client = world.client();
    world.pass(2900);
    assert.equal(client.end, null);
    world.pass(200);
    assert.equal(client.end, 0);
    assert.equal(client.text, '');
    world.end();
  });

  it('gets 408 when the head is not complete in time, however steadily it comes', () => {
    const world = new EdgeWorld({ security: 'client_header_timeout_secs = 3' });
    const client = world.client();
    for (const byte of get('/', `X-Long: ${'v'.repeat(100)}`).slice(0, 20)) {
      client.send(byte);
      world.pass(250);
    }
    assert.deepEqual(statuses(client.text), [408]);
    assert.deepEqual(fieldsOf(client.text, 'connection'), ['close']);
    world.pass(3000);
    assert.notEqual(client.end, null);
    world.end();
  });

  it('has its time anew for each request', () => {
    const world = new EdgeWorld({ security: 'client_header_timeout_secs = 3' });
    const origin = world.origin();
    origin.answers(ok('x'));
    const client = world.client();
    for (let count = 0; count < 4; count++) {
      client.send(get().slice(0, 10));
      world.pass(2000);
      client.send(get().slice(10));
      world.settle();
    }
    assert.deepEqual(statuses(client.text), [200, 200, 200, 200]);
    world.end();
  });
});

describe('a connection that idles', () => {
  it('is closed after keep_alive_timeout_secs', () => {
    const world = new EdgeWorld({ server: 'keep_alive_timeout_secs = 5' });
    world.origin().answers(ok('x'));
    const client = world.client(get());
    world.pass(4500);
    assert.equal(client.end, null);
    world.pass(1000);
    assert.equal(client.end, 0);
    world.end();
  });

  it('holds no buffer', () => {
    const world = new EdgeWorld();
    world.origin().answers(ok('x'));
    const before = world.edge.pool.heldCount();
    const clients = Array.from({ length: 20 }, () => world.client(get()));
    assert.ok(clients.every((client) => bodyOf(client.text) === 'x'));
    assert.equal(world.edge.pool.heldCount(), before);
    world.end();
  });
});

describe('a client that is slow with its content', () => {
  const head = withBody('POST', '/', 'x'.repeat(10_000)).slice(0, -10_000);

  it('gets 408 after client_body_timeout_secs without a byte', () => {
    const world = new EdgeWorld({ security: 'client_body_timeout_secs = 3' });
    const origin = world.origin();
    const client = world.client(`${head}xxx`);
    world.pass(2500);
    assert.deepEqual(statuses(client.text), []);
    world.pass(3000);
    assert.deepEqual(statuses(client.text), [408]);
    assert.deepEqual(fieldsOf(client.text, 'connection'), ['close']);
    assert.notEqual(origin.last.end, null);
    world.end();
  });

  it('is waited for while bytes come', () => {
    const world = new EdgeWorld({
      security: 'client_body_timeout_secs = 3',
      server: 'min_rate_bytes_per_sec = 0',
    });
    const origin = world.origin();
    const client = world.client(head);
    for (let count = 0; count < 20; count++) {
      client.send('x'.repeat(500));
      world.pass(2000);
    }
    assert.equal(bodyOf(origin.last.text).length, 10_000);
    origin.last.send(ok('slow'));
    world.settle();
    assert.equal(bodyOf(client.text), 'slow');
    world.end();
  });

  it('gets 408 below min_rate_bytes_per_sec', () => {
    const world = new EdgeWorld({ server: 'min_rate_bytes_per_sec = 100' });
    world.origin();
    const client = world.client(head);
    for (let second = 0; second < 60 && client.text === ''; second++) {
      client.send('x');
      world.pass(1000);
    }
    assert.deepEqual(statuses(client.text), [408]);
    world.end();
  });

  it('is cut when the response has begun', () => {
    const world = new EdgeWorld({ security: 'client_body_timeout_secs = 3' });
    const origin = world.origin();
    const client = world.client(head);
    origin.last.send(ok('12345').slice(0, -3));
    world.pass(6000);
    assert.deepEqual(statuses(client.text), [200]);
    assert.notEqual(client.end, null);
    world.end();
  });
});

describe('a client that is slow to read', () => {
  const slow = { windowBytesMin: 1000, windowBytesMax: 1000 };

  it('is cut below min_rate_bytes_per_sec', () => {
    const world = new EdgeWorld({ server: 'min_rate_bytes_per_sec = 100000', faults: slow });
    const origin = world.origin();
    const client = world.client(get());
    client.stopReading();
    origin.last.send(ok('x'.repeat(3_000_000)));
    for (let second = 0; second < 60; second++) {
      client.read();
      world.pass(1);
      client.stopReading();
      world.pass(999);
    }
    assert.equal(world.worker.openConnections, 0);
    world.end();
  });

  it('is served above it', () => {
    const world = new EdgeWorld({ server: 'min_rate_bytes_per_sec = 1000', faults: slow });
    const origin = world.origin();
    const client = world.client(get());
    client.stopReading();
    origin.last.send(ok('x'.repeat(1_000_000)));
    for (let second = 0; second < 90 && client.bytes < 1_000_000; second++) {
      client.read();
      world.pass(1);
      client.stopReading();
      world.pass(999);
    }
    client.read();
    world.pass(1000);
    assert.equal(bodyOf(client.text).length, 1_000_000);
    world.end();
  });
});

describe('a backend that is slow with its response', () => {
  it('is not held against its client', () => {
    const world = new EdgeWorld({ server: 'min_rate_bytes_per_sec = 1000\nwrite_timeout_secs = 5' });
    const origin = world.origin();
    const client = world.client(get());
    const response = ok('x'.repeat(600_000));
    let sent = 20_000;
    origin.last.send(response.slice(0, sent));
    for (let second = 0; second < 90; second++) {
      origin.last.send(response.slice(sent, sent + 100));
      sent += 100;
      world.pass(1000);
      if (second % 30 === 10) world.pass(12_000);
    }
    origin.last.send(response.slice(sent));
    world.settle();
    assert.equal(bodyOf(client.text).length, 600_000);
    world.end();
  });
});

describe('a backend that stops in the middle of a response', () => {
  it('cuts it after backend_response_timeout_secs', () => {
    const world = new EdgeWorld({ security: 'backend_response_timeout_secs = 3' });
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send(ok('hello').slice(0, -2));
    world.pass(2500);
    assert.equal(client.end, null);
    world.pass(3000);
    assert.equal(bodyOf(client.text), 'hel');
    assert.notEqual(client.end, null);
    world.end();
  });

  it('has its time anew after each byte', () => {
    const world = new EdgeWorld({ security: 'backend_response_timeout_secs = 3' });
    const origin = world.origin();
    const client = world.client(get());
    for (const byte of ok('hello')) {
      origin.last.send(byte);
      world.pass(900);
    }
    assert.equal(bodyOf(client.text), 'hello');
    world.end();
  });
});

describe('admission', () => {
  it('checks the address before the method, the method before the length', () => {
    const limits = 'allowed_methods = ["GET"]\nmax_request_body_size = 3';
    const denied = new EdgeWorld({ security: `denied_ips = ["${CLIENT}"]\n${limits}` });
    assert.deepEqual(statuses(denied.client(withBody('POST', '/', 'long')).text), [403]);
    denied.end();
    const world = new EdgeWorld({ security: limits });
    const refused = world.client(withBody('POST', '/', 'long'));
    assert.deepEqual(statuses(refused.text), [405]);
    assert.deepEqual(fieldsOf(refused.text, 'allow'), ['GET']);
    assert.deepEqual(statuses(world.client(withBody('GET', '/', 'long')).text), [413]);
    world.end();
  });

  it('lets deny beat allow', () => {
    const world = new EdgeWorld({ security: `allowed_ips = ["10.0.0.0/8"]\ndenied_ips = ["${CLIENT}"]` });
    assert.deepEqual(statuses(world.client(get()).text), [403]);
    world.end();
  });

  it('serves nobody whose address can’t be told, since a reset came before it was looked at', () => {
    const world = new EdgeWorld({ security: `denied_ips = ["${CLIENT}"]` });
    const origin = world.origin();
    world.edge.peerAddress = () => ({ family: 'unix', path: '' });
    const client = world.client(get());
    assert.equal(client.text, '');
    assert.notEqual(client.end, null);
    assert.equal(origin.peers.length, 0);
    world.end();
  });

  it('counts by the client that a trusted proxy vouches for', () => {
    const world = new EdgeWorld({
      security: 'denied_ips = ["192.0.2.7"]',
      server: `trusted_proxies = ["${CLIENT}"]`,
    });
    const origin = world.origin();
    origin.answers(ok('x'));
    const client = world.client(get('/', 'X-Forwarded-For: 192.0.2.7'));
    assert.deepEqual(statuses(client.take()), [403]);
    client.send(get('/', 'X-Forwarded-For: 192.0.2.7, 192.0.2.8'));
    world.settle();
    assert.deepEqual(statuses(client.text), [200]);
    world.end();
  });

  it('limits the rate, and says when to come again', () => {
    const world = new EdgeWorld({ security: 'rate_limit_requests_per_min = 2' });
    world.origin().answers(ok('x'));
    const client = world.client(get() + get() + get());
    assert.deepEqual(statuses(client.text), [200, 200, 429]);
    const at = client.text.lastIndexOf('HTTP/1.1 429');
    const after = Number(fieldsOf(client.text.slice(at), 'retry-after')[0]);
    assert.ok(after >= 1 && after <= 60);
    world.pass(after * 1000);
    assert.deepEqual(statuses(world.client(get()).text), [200]);
    world.end();
  });

  for (const [bytes, status] of [
    [999, 200],
    [1000, 200],
    [1001, 413],
  ] as const) {
    it(`answers ${bytes} declared bytes with ${status} where 1000 are allowed`, () => {
      const world = new EdgeWorld({ security: 'max_request_body_size = 1000' });
      const origin = world.origin();
      const client = world.client(withBody('POST', '/', 'x'.repeat(bytes)));
      if (status === 200) origin.last.send(ok('x'));
      world.settle();
      assert.deepEqual(statuses(client.text), [status]);
      assert.equal(origin.peers.length, status === 200 ? 1 : 0);
      world.end();
    });

    it(`answers ${bytes} bytes in chunks with ${status} where 1000 are allowed`, () => {
      const world = new EdgeWorld({ security: 'max_chunked_body_size = 1000' });
      const origin = world.origin();
      const client = world.client(get('/', 'Transfer-Encoding: chunked').replace('GET', 'POST'));
      client.send(`1f4\r\n${'x'.repeat(500)}\r\n`);
      world.settle();
      const rest = bytes - 500;
      client.send(`${rest.toString(16)}\r\n${'x'.repeat(rest)}\r\n0\r\n\r\n`);
      world.settle();
      if (status === 200) origin.last.send(ok('x'));
      world.settle();
      assert.deepEqual(statuses(client.text), [status]);
      if (status === 413) assert.notEqual(origin.last.end, null);
      world.end();
    });
  }

  for (const [over, status] of [
    [-1, 200],
    [0, 200],
    [1, 431],
  ] as const) {
    it(`answers a head of max_request_header_size ${over < 0 ? '-' : '+'} ${Math.abs(over)} with ${status}`, () => {
      const world = new EdgeWorld({ security: 'max_request_header_size = 2000' });
      world.origin().answers(ok('x'));
      const bare = get('/', 'X-Fill: ').length;
      const client = world.client(get('/', `X-Fill: ${'f'.repeat(2000 + over - bare)}`));
      assert.deepEqual(statuses(client.text), [status]);
      world.end();
    });
  }

  it('answers what the edge itself is asked', () => {
    const world = new EdgeWorld();
    const client = world.client('OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n');
    assert.deepEqual(statuses(client.text), [204]);
    assert.equal(client.end, null);
    assert.deepEqual(statuses(world.client(get().replace('example.com', 'unknown.test')).text), [421]);
    assert.deepEqual(statuses(world.client(get('/%00')).text), [400]);
    assert.deepEqual(statuses(world.client(get('/../x')).text), [400]);
    world.end();
  });
});
