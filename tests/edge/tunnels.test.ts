/** Upgrades: the handshake, the bytes behind it, and how a tunnel ends (SPEC "WebSocket"). */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import {
  bodyOf,
  EdgeWorld,
  type EdgeWorldOptions,
  fieldsOf,
  get,
  type Origin,
  ok,
  type Peer,
  statuses,
} from './edge-world.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = createHash('sha1').update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
const HANDSHAKE = get(
  '/chat',
  'Connection: Upgrade',
  'Upgrade: websocket',
  `Sec-WebSocket-Key: ${KEY}`,
  'Sec-WebSocket-Version: 13',
);

function switching(accept = ACCEPT, ...lines: string[]): string {
  const more = lines.map((line) => `${line}\r\n`).join('');
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n${more}\r\n`;
}

interface Tunnel {
  readonly world: EdgeWorld;
  readonly origin: Origin;
  readonly client: Peer;
  readonly backend: Peer;
}

/** A tunnel that is open, with nothing in it yet. */
function tunnel(options: EdgeWorldOptions = {}): Tunnel {
  const world = new EdgeWorld(options);
  const origin = world.origin();
  const client = world.client(HANDSHAKE);
  const backend = origin.last;
  backend.take();
  backend.send(switching());
  world.settle();
  assert.deepEqual(statuses(client.take()), [101]);
  return { world, origin, client, backend };
}

describe('the handshake of an upgrade', () => {
  it('is forwarded with Connection and Upgrade of its own', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    world.client(HANDSHAKE);
    const request = origin.last.text;
    assert.deepEqual(fieldsOf(request, 'connection'), ['upgrade']);
    assert.deepEqual(fieldsOf(request, 'upgrade'), ['websocket']);
    assert.deepEqual(fieldsOf(request, 'sec-websocket-key'), [KEY]);
    world.end();
  });

  it('is answered with the 101 of the backend', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(HANDSHAKE);
    origin.last.send(switching(ACCEPT, 'Sec-WebSocket-Protocol: chat'));
    world.settle();
    assert.deepEqual(statuses(client.text), [101]);
    assert.deepEqual(fieldsOf(client.text, 'connection'), ['upgrade']);
    assert.deepEqual(fieldsOf(client.text, 'upgrade'), ['websocket']);
    assert.deepEqual(fieldsOf(client.text, 'sec-websocket-accept'), [ACCEPT]);
    assert.deepEqual(fieldsOf(client.text, 'sec-websocket-protocol'), ['chat']);
    world.end();
  });

  for (const [name, response] of [
    ['a Sec-WebSocket-Accept that is wrong', switching('AAAAAAAAAAAAAAAAAAAAAAAAAAA=')],
    ['no Sec-WebSocket-Accept', switching().replace(/Sec-WebSocket-Accept[^\n]*\n/, '')],
    ['another protocol', switching().replace('Upgrade: websocket', 'Upgrade: other')],
    ['no Upgrade', switching().replace('Upgrade: websocket\r\n', '')],
    ['no Connection', switching().replace('Connection: Upgrade\r\n', '')],
  ] as const) {
    it(`fails with 502 when the 101 has ${name}`, () => {
      const world = new EdgeWorld();
      const origin = world.origin();
      const client = world.client(HANDSHAKE);
      origin.last.send(`${response}secret`);
      world.settle();
      assert.deepEqual(statuses(client.text), [502]);
      assert.ok(!client.text.includes('secret'));
      assert.notEqual(origin.last.end, null);
      world.end();
    });
  }

  it('fails with 502 when nobody asked for the 101', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send(switching());
    world.settle();
    assert.deepEqual(statuses(client.text), [502]);
    world.end();
  });

  it('is answered with any other response as it is', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(HANDSHAKE);
    origin.last.send(ok('no'));
    world.settle();
    assert.deepEqual(statuses(client.text), [200]);
    assert.equal(bodyOf(client.text), 'no');
    client.take();
    client.send(get());
    world.settle();
    origin.last.send(ok('yes'));
    world.settle();
    assert.equal(bodyOf(client.text), 'yes');
    world.end();
  });

  it('takes its backend connection out of use when it is refused', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(HANDSHAKE);
    const first = origin.last;
    first.send(ok('no'));
    world.settle();
    assert.notEqual(first.end, null);
    client.send(get());
    world.settle();
    assert.equal(origin.peers.length, 2);
    world.end();
  });

  it('is 400 and closes when it has content', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(HANDSHAKE.replace('\r\n\r\n', '\r\nContent-Length: 2\r\n\r\nhi'));
    assert.deepEqual(statuses(client.text), [400]);
    assert.equal(client.end, 0);
    assert.equal(origin.peers.length, 0);
    world.end();
  });

  it('is 400 for a token that the route does not allow', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get('/', 'Connection: upgrade', 'Upgrade: irc'));
    assert.deepEqual(statuses(client.text), [400]);
    assert.equal(origin.peers.length, 0);
    world.end();
  });

  it('is forwarded for a token that the route allows', () => {
    const world = new EdgeWorld({ route: 'allowed_upgrades = ["irc"]' });
    const origin = world.origin();
    const client = world.client(get('/', 'Connection: upgrade', 'Upgrade: irc'));
    assert.deepEqual(fieldsOf(origin.last.text, 'upgrade'), ['irc']);
    origin.last.send('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: irc\r\n\r\nhi');
    world.settle();
    assert.deepEqual(statuses(client.text), [101]);
    assert.equal(bodyOf(client.text), 'hi');
    world.end();
  });

  it('never forwards h2c nor HTTP2-Settings', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const lines = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAA'];
    const client = world.client(get('/', ...lines));
    assert.deepEqual(fieldsOf(origin.last.text, 'upgrade'), []);
    assert.deepEqual(fieldsOf(origin.last.text, 'connection'), []);
    assert.deepEqual(fieldsOf(origin.last.text, 'http2-settings'), []);
    origin.last.send(ok('plain'));
    world.settle();
    assert.equal(bodyOf(client.text), 'plain');
    world.end();
  });
});

describe('a tunnel', () => {
  it('carries bytes both ways', () => {
    const { world, client, backend } = tunnel();
    client.send('up');
    backend.send('down');
    world.settle();
    assert.equal(backend.text, 'up');
    assert.equal(client.text, 'down');
    world.end();
  });

  it('begins with the bytes that the client sent before the 101', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(`${HANDSHAKE}early`);
    client.send(' and late');
    world.settle();
    assert.ok(!origin.last.text.includes('early'));
    origin.last.take();
    origin.last.send(`${switching()}hello`);
    world.settle();
    assert.equal(origin.last.text, 'early and late');
    assert.equal(bodyOf(client.text), 'hello');
    world.end();
  });

  it('passes on bytes and end of a client that ended its half before the 101', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(`${HANDSHAKE}early`);
    client.finish();
    world.settle();
    const backend = origin.last;
    backend.take();
    backend.send(switching());
    world.settle();
    assert.equal(backend.text, 'early');
    assert.equal(backend.end, 0);
    backend.send('late');
    backend.finish();
    world.settle();
    assert.equal(bodyOf(client.text), 'late');
    assert.equal(client.end, 0);
    world.end();
  });

  it('passes on the end of a client that ended its half right behind the handshake', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(HANDSHAKE);
    client.finish();
    world.settle();
    origin.last.send(switching());
    world.settle();
    assert.equal(origin.last.end, 0);
    world.end();
  });

  it('goes on downwards when the client has ended its half', () => {
    const { world, client, backend } = tunnel();
    client.send('bye');
    client.finish();
    world.settle();
    assert.equal(backend.text, 'bye');
    assert.equal(backend.end, 0);
    backend.send('one more thing');
    world.settle();
    assert.equal(client.text, 'one more thing');
    backend.close();
    world.settle();
    assert.equal(client.end, 0);
    world.end();
  });

  it('goes on upwards when the backend has ended its half', () => {
    const { world, client, backend } = tunnel();
    backend.send('bye');
    backend.finish();
    world.settle();
    assert.equal(client.text, 'bye');
    assert.equal(client.end, 0);
    client.send('one more thing');
    world.settle();
    assert.equal(backend.text, 'one more thing');
    client.close();
    world.settle();
    assert.equal(backend.end, 0);
    world.end();
  });

  it('delivers what a client sent last although the backend has ended its half', () => {
    const { world, client, backend } = tunnel({ faults: { windowBytesMin: 4096, windowBytesMax: 4096 } });
    backend.finish();
    backend.stopReading();
    world.settle();
    const last = 'x'.repeat(30_000);
    client.send(last);
    client.finish();
    world.settle();
    backend.read();
    world.settle();
    assert.equal(backend.text.length, last.length);
    assert.equal(backend.end, 0);
    world.end();
  });

  it('ends with a reset for the client when the backend resets it', () => {
    const { world, client, backend } = tunnel();
    backend.send('half a mess');
    world.settle();
    backend.reset();
    world.pass(500);
    assert.equal(client.text, 'half a mess');
    assert.ok(client.end !== null && client.end < 0, 'the client sees a reset');
    world.end();
  });

  it('ends with a reset for the client when the backend resets it, also after the client ended its half', () => {
    const { world, client, backend } = tunnel();
    client.finish();
    world.settle();
    backend.send('half a mess');
    world.settle();
    backend.reset();
    world.pass(500);
    assert.ok(client.end !== null && client.end < 0, 'the client sees a reset');
    world.end();
  });

  it('ends for the backend when the client resets it', () => {
    const { world, client, backend } = tunnel();
    client.reset();
    world.settle();
    assert.notEqual(backend.end, null);
    world.end();
  });

  it('lives on without a byte for hours', () => {
    const { world, client, backend } = tunnel();
    world.pass(4 * 3600 * 1000);
    client.send('still there?');
    world.settle();
    assert.equal(backend.text, 'still there?');
    world.end();
  });

  it('does not live on for ever once one side has ended and the other is silent', () => {
    for (const side of ['client', 'backend'] as const) {
      const parts = tunnel();
      parts[side].finish();
      parts.world.pass(600_000);
      assert.equal(parts.world.worker.openConnections, 0, `after the end of the ${side}`);
      parts.world.end();
    }
  });

  it('stops the backend while the client does not read, and goes on when it does', () => {
    const { world, client, backend } = tunnel();
    client.stopReading();
    const much = 'm'.repeat(3_000_000);
    backend.send(much);
    world.settle();
    assert.ok(world.edge.counters.bytesReceived < 1_500_000, 'the edge holds little');
    client.read();
    world.settle();
    assert.equal(client.text.length, much.length);
    world.end();
  });

  it('stops the client while the backend does not read, and goes on when it does', () => {
    const { world, client, backend } = tunnel();
    backend.stopReading();
    const much = 'm'.repeat(3_000_000);
    client.send(much);
    world.settle();
    assert.ok(world.edge.counters.bytesReceived < 1_500_000, 'the edge holds little');
    backend.read();
    world.settle();
    assert.equal(backend.text.length, much.length);
    world.end();
  });

  it('is cut when the client does not read for write_timeout_secs', () => {
    const { world, client, backend } = tunnel({ server: 'write_timeout_secs = 10' });
    client.stopReading();
    backend.send('m'.repeat(1_000_000));
    world.pass(30_000);
    assert.equal(world.worker.openConnections, 0);
    world.end();
  });

  it('is cut when the backend does not read for backend_response_timeout_secs', () => {
    const { world, client, backend } = tunnel({ security: 'backend_response_timeout_secs = 10' });
    backend.stopReading();
    client.send('m'.repeat(1_000_000));
    world.pass(60_000);
    assert.equal(world.worker.openConnections, 0);
    world.end();
  });

  it('that is silent holds no buffer', () => {
    const { world, client, backend } = tunnel();
    const { pool } = world.edge;
    client.close();
    world.settle();
    backend.close();
    world.settle();
    const held = pool.heldCount();
    const clients = Array.from({ length: 20 }, () => world.client(HANDSHAKE));
    for (const peer of world.origins[0].peers) if (peer !== backend) peer.send(switching());
    world.settle();
    assert.ok(clients.every((each) => statuses(each.text)[0] === 101));
    assert.equal(pool.heldCount(), held);
    world.end();
  });

  it('lives on when the configuration is reloaded', () => {
    const { world, client, backend } = tunnel();
    world.reload({ security: 'backend_response_timeout_secs = 7' });
    world.pass(10_000);
    client.send('up');
    backend.send('down');
    world.settle();
    assert.equal(backend.text, 'up');
    assert.equal(client.text, 'down');
    world.end();
  });
});
