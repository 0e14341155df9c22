/** Who waits for whom, and how much the edge holds meanwhile (SPEC: "memory per connection stays bounded"). */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LARGE, MEDIUM, SMALL } from '../../src/io/buffer-pool.ts';
import { bodyOf, dechunked, EdgeWorld, get, ok, statuses, withBody } from './edge-world.ts';

/** What one connection may hold in either direction: the high mark, a large piece beyond it, and what was on its way. */
const HELD_BYTES_MAX = 1_500_000;
const MUCH = 'abcdefgh'.repeat(500_000);
const NARROW = { windowBytesMin: 16_384, windowBytesMax: 16_384 };

/** Bytes of all buffers that somebody holds, used or not. */
function heldBytes(world: EdgeWorld): number {
  const { pool } = world.edge;
  const { small, medium, large } = pool.shape;
  return (
    (small - pool.freeCount(SMALL)) * 4096 +
    (medium - pool.freeCount(MEDIUM)) * 16_384 +
    (large - pool.freeCount(LARGE)) * 131_072
  );
}

describe('a client that does not read', () => {
  for (const framing of ['length', 'chunked', 'close'] as const) {
    it(`stops its backend, and gets all when it does (${framing})`, () => {
      const world = new EdgeWorld({ faults: NARROW });
      const origin = world.origin();
      const client = world.client(get());
      client.stopReading();
      if (framing === 'length') origin.last.send(ok(MUCH));
      else if (framing === 'chunked') {
        origin.last.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
        for (let at = 0; at < MUCH.length; at += 100_000) {
          origin.last.send(`186a0\r\n${MUCH.slice(at, at + 100_000)}\r\n`);
        }
        origin.last.send('0\r\n\r\n');
      } else {
        origin.last.send(`HTTP/1.0 200 OK\r\n\r\n${MUCH}`);
        origin.last.finish();
      }
      world.pass(200);
      assert.ok(heldBytes(world) < HELD_BYTES_MAX, `the edge holds ${heldBytes(world)} bytes`);
      assert.ok(world.edge.counters.bytesReceived < HELD_BYTES_MAX);
      client.read();
      world.pass(5000);
      const body = bodyOf(client.text);
      assert.ok((framing === 'length' ? body : dechunked(body)) === MUCH, 'the content is another');
      world.end();
    });
  }

  it('does not let its backend time out', () => {
    const world = new EdgeWorld({
      faults: NARROW,
      security: 'backend_response_timeout_secs = 2',
      server: 'write_timeout_secs = 60',
    });
    const origin = world.origin();
    const client = world.client(get());
    client.stopReading();
    origin.last.send(ok(MUCH));
    world.pass(20_000);
    client.read();
    world.pass(5000);
    assert.equal(bodyOf(client.text).length, MUCH.length);
    world.end();
  });

  it('is cut after write_timeout_secs, and its backend with it', () => {
    const world = new EdgeWorld({ faults: NARROW, server: 'write_timeout_secs = 5' });
    const origin = world.origin();
    const client = world.client(get());
    client.stopReading();
    origin.last.send(ok(MUCH));
    world.pass(8000);
    assert.equal(world.worker.openConnections, 0);
    assert.notEqual(origin.last.end, null);
    world.end();
  });

  it('may send many requests ahead without filling the edge', () => {
    const world = new EdgeWorld({ faults: NARROW });
    const origin = world.origin();
    origin.answers(ok('x'.repeat(30_000)));
    const client = world.client();
    client.stopReading();
    const request = get('/a', `X-Fill: ${'f'.repeat(1000)}`);
    client.send(request.repeat(2000));
    world.pass(500);
    assert.ok(heldBytes(world) < HELD_BYTES_MAX, `the edge holds ${heldBytes(world)} bytes`);
    assert.ok(world.edge.counters.bytesReceived < HELD_BYTES_MAX);
    client.read();
    world.pass(20_000);
    assert.equal(statuses(client.text).length, 2000);
    world.end();
  });

  it('gets small pieces of a backend without a buffer for each of them', () => {
    const world = new EdgeWorld({ faults: { windowBytesMin: 4096, windowBytesMax: 4096 } });
    const origin = world.origin();
    const client = world.client(get());
    client.stopReading();
    origin.last.send('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n');
    for (let piece = 0; piece < 1000; piece++) {
      origin.last.send('0123456789'.repeat(10));
      world.pass(1 / 8);
    }
    world.settle();
    assert.ok(heldBytes(world) < HELD_BYTES_MAX, `the edge holds ${heldBytes(world)} bytes`);
    client.read();
    world.pass(1000);
    assert.equal(bodyOf(client.text), '0123456789'.repeat(10_000));
    world.end();
  });

  it('gets small chunks of a backend without a buffer for each of them', () => {
    const world = new EdgeWorld({ faults: { windowBytesMin: 4096, windowBytesMax: 4096 } });
    const origin = world.origin();
    const client = world.client(get());
    client.stopReading();
    origin.last.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let piece = 0; piece < 1000; piece++) {
      origin.last.send(`64\r\n${'0123456789'.repeat(10)}\r\n`);
      world.pass(1 / 8);
    }
    origin.last.send('0\r\n\r\n');
    world.settle();
    assert.ok(heldBytes(world) < HELD_BYTES_MAX, `the edge holds ${heldBytes(world)} bytes`);
    client.read();
    world.pass(1000);
    assert.ok(dechunked(bodyOf(client.text)) === '0123456789'.repeat(10_000), 'the content is another');
    world.end();
  });
});

describe('a backend that does not read', () => {
  for (const framing of ['length', 'chunked'] as const) {
    it(`stops its client, and gets all when it does (${framing})`, () => {
      const world = new EdgeWorld({ faults: NARROW });
      const origin = world.origin();
      origin.deaf = true;
      const client = world.client();
      if (framing === 'length') client.send(withBody('POST', '/', MUCH));
      else {
        client.send(get('/', 'Transfer-Encoding: chunked').replace('GET', 'POST'));
        for (let at = 0; at < MUCH.length; at += 100_000) {
          client.send(`186a0\r\n${MUCH.slice(at, at + 100_000)}\r\n`);
        }
        client.send('0\r\n\r\n');
      }
      world.pass(200);
      assert.ok(heldBytes(world) < HELD_BYTES_MAX, `the edge holds ${heldBytes(world)} bytes`);
      origin.last.read();
      world.pass(5000);
      const body = bodyOf(origin.last.text);
      assert.ok((framing === 'length' ? body : dechunked(body)) === MUCH, 'the content is another');
      origin.last.send(ok('stored'));
      world.settle();
      assert.equal(bodyOf(client.text), 'stored');
      world.end();
    });
  }

  it('is 504 after backend_response_timeout_secs', () => {
    const world = new EdgeWorld({ faults: NARROW, security: 'backend_response_timeout_secs = 5' });
    const origin = world.origin();
    origin.deaf = true;
    const client = world.client(withBody('POST', '/', MUCH));
    world.pass(9000);
    assert.deepEqual(statuses(client.text), [504]);
    world.end();
  });

  it('is waited for as long as it takes something', () => {
    const world = new EdgeWorld({
      faults: { windowBytesMin: 2000, windowBytesMax: 2000 },
      security: 'backend_response_timeout_secs = 5',
    });
    const origin = world.origin();
    origin.deaf = true;
    const client = world.client(withBody('POST', '/', 'x'.repeat(200_000)));
    for (let round = 0; round < 6; round++) {
      origin.last.read();
      world.pass(1);
      origin.last.stopReading();
      world.pass(4000);
      assert.deepEqual(statuses(client.text), []);
    }
    origin.last.read();
    world.pass(1000);
    assert.equal(bodyOf(origin.last.text).length, 200_000);
    origin.last.send(ok('slow'));
    world.settle();
    assert.equal(bodyOf(client.text), 'slow');
    world.end();
  });

  it('gets small pieces of a client without a buffer for each of them', () => {
    const world = new EdgeWorld({ faults: { windowBytesMin: 4096, windowBytesMax: 4096 } });
    const origin = world.origin();
    origin.deaf = true;
    const client = world.client(withBody('POST', '/', 'x'.repeat(100_000)).slice(0, -100_000));
    for (let piece = 0; piece < 1000; piece++) {
      client.send('0123456789'.repeat(10));
      world.pass(1 / 8);
    }
    world.settle();
    assert.ok(heldBytes(world) < HELD_BYTES_MAX, `the edge holds ${heldBytes(world)} bytes`);
    origin.last.read();
    world.pass(1000);
    assert.equal(bodyOf(origin.last.text), '0123456789'.repeat(10_000));
    world.end();
  });

  it('nor answers does not let a client that sends ahead fill the edge, byte by byte', () => {
    const world = new EdgeWorld();
    world.origin();
    const client = world.client(get());
    for (const byte of get('/next', `X-Fill: ${'f'.repeat(2000)}`)) {
      client.send(byte);
      world.pass(1 / 8);
    }
    assert.ok(heldBytes(world) < 400_000, `the edge holds ${heldBytes(world)} bytes`);
    world.end();
  });
});

describe('a slow client and a slow backend at once', () => {
  it('hold little, and lose nothing', () => {
    const world = new EdgeWorld({ faults: NARROW });
    const origin = world.origin();
    origin.deaf = true;
    const client = world.client();
    client.stopReading();
    client.send(withBody('POST', '/', MUCH));
    world.pass(100);
    origin.last.send(ok(MUCH));
    world.pass(1000);
    assert.ok(heldBytes(world) < 2 * HELD_BYTES_MAX, `the edge holds ${heldBytes(world)} bytes`);
    for (let round = 0; round < 200; round++) {
      client.read();
      origin.last.read();
      world.pass(3);
      client.stopReading();
      origin.last.stopReading();
      world.pass(7);
    }
    client.read();
    origin.last.read();
    world.pass(5000);
    assert.equal(bodyOf(client.text).length, MUCH.length);
    world.end();
  });
});

describe('a response that is complete', () => {
  it('is sent to its last byte before the connection closes, however the client takes it', () => {
    // The backend goes on in the moment in which the client has taken all, and the response ends with it.
    for (let seed = 1; seed <= 20; seed++) {
      const world = new EdgeWorld({
        seed,
        faults: { reorder: 0.9, windowBytesMin: 380_000, windowBytesMax: 380_000 },
      });
      const origin = world.origin();
      const client = world.client(get('/', 'Connection: close'));
      client.stopReading();
      const chunks = `2710\r\n${'c'.repeat(10_000)}\r\n`.repeat(60);
      origin.last.send(
        `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}5\r\nhello\r\n0\r\n\r\n`,
      );
      world.pass(50);
      client.read();
      world.pass(3000);
      assert.ok(client.text.endsWith('\r\n5\r\nhello\r\n0\r\n\r\n'), `seed ${seed}: the response is cut`);
      assert.equal(dechunked(bodyOf(client.text)).length, 600_005);
      assert.equal(client.end, 0);
      world.end();
    }
  });

  it('is sent to its last byte although the client has sent a request ahead that is not read', () => {
    const world = new EdgeWorld({ faults: NARROW });
    const origin = world.origin();
    const client = world.client('GET / HTTP/1.0\r\nHost: example.com\r\nConnection: keep-alive\r\n\r\n');
    client.stopReading();
    origin.last.send(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(100_000)}`);
    origin.last.finish();
    world.settle();
    client.send('GET /next HTTP/1.0\r\nHost: example.com\r\n\r\n');
    world.settle();
    client.read();
    world.pass(3000);
    assert.equal(bodyOf(client.text).length, 100_000);
    assert.equal(client.end, 0);
    world.end();
  });
});
