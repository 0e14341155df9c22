/** `websocket_poll_*`: what of a WebSocket leaves at once, what waits for company and how long, and what nothing may hold up. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { backOffMs, type PaceTerms } from '../../src/edge/tunnel-pace.ts';
import { NO_BUFFER, SMALL } from '../../src/io/buffer-pool.ts';
import { EdgeWorld, type EdgeWorldOptions, get, type Peer, statuses } from './edge-world.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = createHash('sha1').update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
const HANDSHAKE = get(
  '/chat',
  'Connection: Upgrade',
  'Upgrade: websocket',
  `Sec-WebSocket-Key: ${KEY}`,
  'Sec-WebSocket-Version: 13',
);
const SWITCHING = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`;
/** 100, 200, 400, 800 ms: far longer than anything takes on the simulated network. */
const SLOW = `websocket_poll_mode = "adaptive"
websocket_poll_timeout_ms = 100
websocket_poll_max_timeout_ms = 800
websocket_poll_backoff_multiplier = 2.0`;
/** Longer than a way through the edge, shorter than the shortest back-off. */
const WAY_MS = 20;

interface Tunnel {
  readonly world: EdgeWorld;
  readonly client: Peer;
  readonly backend: Peer;
}

function tunnel(options: EdgeWorldOptions = {}): Tunnel {
  const world = new EdgeWorld({ security: SLOW, ...options });
  const origin = world.origin();
  const client = world.client(HANDSHAKE);
  const backend = origin.last;
  backend.take();
  backend.send(SWITCHING);
  world.settle();
  assert.deepEqual(statuses(client.take()), [101]);
  return { world, client, backend };
}

/** How often bytes came, and what. */
function arrivals(peer: Peer): string[] {
  const pieces: string[] = [];
  peer.onText = () => pieces.push(peer.take());
  return pieces;
}

describe('the back-off', () => {
  const terms = (firstMs: number, maxMs: number, multiplier: number): PaceTerms => ({
    gathers: true,
    firstMs,
    maxMs,
    multiplier,
    silenceMs: 0,
  });

  it('grows as the document’s example does: 1, 2, 4, 8, 16, 32, 64, 100 ms', () => {
    const grown = [0, 1, 3, 7, 15, 31, 63, 127, 227, 100_000];
    assert.deepEqual(
      grown.map((silentMs) => backOffMs(terms(1, 100, 2), silentMs)),
      [1, 2, 4, 8, 16, 32, 64, 100, 100, 100],
    );
    assert.deepEqual(
      [2, 6, 14, 62, 126].map((silentMs) => backOffMs(terms(1, 100, 2), silentMs)),
      [2, 4, 8, 32, 64],
    );
  });

  for (const [name, given, silentMs, expected] of [
    ['a multiplier of 1 keeps the first', terms(7, 100, 1), 3_600_000, 7],
    ['a multiplier near 1 grows slowly', terms(10, 60_000, 1.0001), 20, 10],
    ['a fraction is rounded', terms(10, 200, 1.5), 10, 15],
    ['the longest is the longest', terms(10, 200, 100), 11, 200],
    ['days of silence are as good as minutes', terms(1, 60_000, 1.0001), 2 ** 40, 60_000],
  ] as const) {
    it(name, () => assert.equal(backOffMs(given, silentMs), expected));
  }
});

describe('adaptive: small messages of a WebSocket', () => {
  for (const [from, to] of [
    ['client', 'backend'],
    ['backend', 'client'],
  ] as const) {
    it(`that come one by one from the ${from} never wait`, () => {
      const parts = tunnel();
      const pieces = arrivals(parts[to]);
      for (let each = 0; each < 10; each++) {
        parts.world.pass(1500);
        parts[from].send(`message ${each}`);
        parts.world.pass(WAY_MS);
        assert.equal(pieces[each], `message ${each}`);
      }
      parts.world.end();
    });

    it(`that follow one another from the ${from} within the back-off leave together at its end`, () => {
      const parts = tunnel();
      const pieces = arrivals(parts[to]);
      parts.world.pass(5000);
      for (let each = 0; each < 5; each++) {
        parts[from].send(`${each};`);
        parts.world.pass(WAY_MS);
      }
      assert.deepEqual(pieces, ['0;']);
      parts.world.pass(800 - 6 * WAY_MS);
      assert.deepEqual(pieces, ['0;'], 'the back-off had grown to 800 ms');
      parts.world.pass(3 * WAY_MS);
      assert.deepEqual(pieces, ['0;', '1;2;3;4;']);
      parts.world.end();
    });
  }

  it('wait no longer than the first back-off while they come all the time', () => {
    const { world, client, backend } = tunnel();
    const pieces = arrivals(backend);
    for (let each = 0; each < 100; each++) {
      client.send('.');
      world.pass(10);
    }
    world.pass(2000);
    assert.equal(pieces.join('').length, 100);
    assert.ok(pieces.length <= 14, `${pieces.length} pieces in 1000 ms of windows of 100 ms`);
    assert.ok(pieces.every((piece) => piece.length <= 21));
    world.end();
  });

  it('wait no longer than the first back-off once something comes the other way', () => {
    const { world, client, backend } = tunnel();
    const pieces = arrivals(backend);
    world.pass(5000);
    client.send('a');
    world.pass(WAY_MS);
    client.send('b');
    world.pass(WAY_MS);
    assert.deepEqual(pieces, ['a']);
    backend.send('an answer');
    world.pass(100 + WAY_MS);
    assert.deepEqual(pieces, ['a', 'b']);
    assert.equal(client.text, 'an answer');
    world.end();
  });

  it('leave at once, in order, with one that is too long to wait', () => {
    const { world, client, backend } = tunnel();
    world.pass(5000);
    client.send('a');
    world.pass(WAY_MS);
    client.send('b');
    world.pass(WAY_MS);
    const long = 'x'.repeat(5000);
    client.send(long);
    world.pass(WAY_MS);
    assert.equal(backend.text, `ab${long}`);
    world.end();
  });

  it('leave at once when as many have gathered as a small buffer holds', () => {
    const { world, client, backend } = tunnel();
    world.pass(5000);
    for (let each = 0; each < 7; each++) {
      client.send(String(each).repeat(900));
      world.pass(WAY_MS);
    }
    assert.ok(backend.text.length >= 5 * 900, `${backend.text.length} bytes have left`);
    world.pass(1000);
    assert.equal(backend.text, Array.from({ length: 7 }, (_, each) => String(each).repeat(900)).join(''));
    world.end();
  });

  for (const [name, first] of [
    ['close', 0x88],
    ['ping', 0x89],
    ['pong', 0x8a],
  ] as const) {
    it(`don’t hold up a ${name}`, () => {
      const { world, client, backend } = tunnel();
      world.pass(5000);
      backend.send('a');
      world.pass(WAY_MS);
      backend.send('b');
      world.pass(WAY_MS);
      const frame = `${String.fromCharCode(first)}\x02\x03\xe8`;
      backend.send(frame);
      world.pass(WAY_MS);
      assert.equal(client.text, `ab${frame}`);
      world.end();
    });
  }

  it('leave at once where the bytes are another protocol’s', () => {
    const world = new EdgeWorld({ security: SLOW, route: 'allowed_upgrades = ["irc"]' });
    const origin = world.origin();
    const client = world.client(get('/', 'Connection: upgrade', 'Upgrade: irc'));
    origin.last.take();
    origin.last.send('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: irc\r\n\r\n');
    world.pass(5000);
    const pieces = arrivals(origin.last);
    for (const piece of ['a', 'b', 'c']) {
      client.send(piece);
      world.pass(WAY_MS);
    }
    assert.deepEqual(pieces, ['a', 'b', 'c']);
    world.end();
  });

  it('leave at once with websocket_poll_mode = "fixed"', () => {
    const { world, client, backend } = tunnel({
      security: 'websocket_poll_mode = "fixed"\nwebsocket_poll_timeout_ms = 60000',
    });
    const up = arrivals(backend);
    const down = arrivals(client);
    world.pass(5000);
    for (const piece of ['a', 'b', 'c']) {
      client.send(piece);
      backend.send(piece);
      world.pass(WAY_MS);
    }
    assert.deepEqual(up, ['a', 'b', 'c']);
    assert.deepEqual(down, ['a', 'b', 'c']);
    world.end();
  });

  it('leave at once where there is no memory to gather them in', () => {
    const { world, client, backend } = tunnel();
    const { pool } = world.edge;
    world.pass(5000);
    const taken: number[] = [];
    for (let id = pool.acquire(SMALL); id !== NO_BUFFER; id = pool.acquire(SMALL)) taken.push(id);
    const pieces = arrivals(backend);
    for (const piece of ['a', 'b', 'c']) {
      client.send(piece);
      world.pass(WAY_MS);
    }
    assert.equal(pieces.join(''), 'abc');
    for (const id of taken) pool.release(id);
    world.end();
  });

  it('hold one small buffer for each direction while they wait, and none after', () => {
    const { world, client, backend } = tunnel();
    const { pool } = world.edge;
    world.pass(5000);
    const before = pool.heldCount();
    for (let each = 0; each < 20; each++) {
      client.send('up');
      backend.send('down');
    }
    world.pass(WAY_MS);
    client.send('up');
    backend.send('down');
    world.pass(WAY_MS);
    assert.ok(pool.heldCount() <= before + 2, `${pool.heldCount() - before} buffers`);
    world.pass(2000);
    assert.equal(pool.heldCount(), before);
    world.end();
  });
});

describe('what small messages wait for never holds up an end', () => {
  for (const [from, to] of [
    ['client', 'backend'],
    ['backend', 'client'],
  ] as const) {
    for (const how of ['finish', 'close', 'reset'] as const) {
      it(`the ${from}’s ${how}: the last words arrive before it`, () => {
        const parts = tunnel();
        parts.world.pass(5000);
        parts[from].send('a');
        parts.world.pass(WAY_MS);
        parts[from].send('last words');
        parts.world.pass(WAY_MS);
        assert.equal(parts[to].text, 'a');
        parts[from][how]();
        parts.world.pass(how === 'reset' ? 200 : 2 * WAY_MS);
        assert.equal(parts[to].text, 'alast words');
        assert.notEqual(parts[to].end, null);
        parts.world.end();
      });
    }

    it(`after the ${from}’s end nothing that comes the other way waits`, () => {
      const parts = tunnel();
      parts.world.pass(5000);
      parts[from].finish();
      parts.world.pass(WAY_MS);
      const pieces = arrivals(parts[from]);
      for (const piece of ['a', 'b', 'c']) {
        parts[to].send(piece);
        parts.world.pass(WAY_MS);
      }
      assert.deepEqual(pieces, ['a', 'b', 'c']);
      parts.world.end();
    });
  }

  it('a backend that does not read stops its client, and loses nothing', () => {
    const { world, client, backend } = tunnel({ faults: { windowBytesMin: 4096, windowBytesMax: 4096 } });
    backend.stopReading();
    let sent = '';
    for (let each = 0; each < 400; each++) {
      const piece = `${each}:${'x'.repeat((each * 37) % 1500)}`;
      sent += piece;
      client.send(piece);
      if (each % 10 === 0) world.pass(30);
    }
    client.finish();
    world.pass(1000);
    backend.read();
    world.pass(10_000);
    assert.equal(backend.text.length, sent.length);
    assert.ok(backend.text === sent);
    assert.equal(backend.end, 0);
    world.end();
  });

  it('whatever is sent when, each side gets the other’s bytes in order and whole', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new Random(seed);
      const { world, client, backend } = tunnel({ seed });
      const sent = { client: '', backend: '' };
      for (let each = 0; each < 60; each++) {
        const from = random.below(2) === 0 ? 'client' : 'backend';
        const length = random.below(10) === 0 ? random.below(30_000) : random.below(300);
        const piece = String.fromCharCode(33 + random.below(200)).repeat(length + 1);
        sent[from] += piece;
        (from === 'client' ? client : backend).send(piece);
        if (random.below(3) > 0) world.pass(random.below(random.below(8) === 0 ? 3000 : 120));
      }
      const last = random.below(2) === 0 ? client : backend;
      last.finish();
      world.pass(2000);
      assert.ok(backend.text === sent.client, `seed ${seed}: what the client sent`);
      assert.ok(client.text === sent.backend, `seed ${seed}: what the backend sent`);
      world.end();
    }
  });
});

describe('websocket_idle_timeout_secs', () => {
  it('ends a tunnel on which nobody has said anything for that long, politely', () => {
    const { world, client, backend } = tunnel({ security: 'websocket_idle_timeout_secs = 60' });
    world.pass(59_000);
    assert.equal(client.end, null);
    backend.send('here');
    world.pass(59_000);
    assert.equal(client.end, null);
    client.send('here too');
    world.pass(59_500);
    assert.equal(client.end, null);
    world.pass(1000);
    assert.equal(client.end, 0);
    assert.equal(backend.end, 0);
    assert.equal(client.text, 'here');
    assert.equal(backend.text, 'here too');
    world.end();
  });
});
