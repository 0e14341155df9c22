import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { LARGE, MEDIUM, SMALL } from '../../src/io/buffer-pool.ts';
import { randomFaults, roughFaults } from '../../src/io/sim-faults.ts';
import { ECONNABORTED, EPROTO } from '../../src/sys/errno.ts';
import { KEY_RECORDS_MAX } from '../../src/tls/record-layer.ts';
import { TLS12, TLS13 } from '../../src/tls/suites.ts';
import { type End, TlsWorld } from './tls-world.ts';

const SEEDS = 40;
const DATA = 23;
const ALERT = 21;
const BAD_RECORD_MAC = 20;

/** Bytes that are nowhere the same. */
function pattern(length: number, salt = 0): Buffer {
  const bytes = Buffer.alloc(length);
  const random = new Random(length * 31 + salt + 1);
  for (let at = 0; at < length; at++) bytes[at] = random.below(256);
  return bytes;
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Sends in pieces of random sizes, as the end before has left. */
function talk(end: End, bytes: Buffer, random: Random): { done: () => boolean } {
  let at = 0;
  let under = 0;
  const more = (): void => {
    while (at < bytes.length && under < 3 && !end.isClosing) {
      const length = Math.min(bytes.length - at, 1 + random.below(random.chance(0.3) ? 60 : 20_000));
      under += end.send(bytes.subarray(at, at + length)).length;
      at += length;
    }
  };
  end.onSent = (_tag, result) => {
    under--;
    if (result < 0) at = bytes.length;
    more();
  };
  more();
  return { done: () => at === bytes.length && under === 0 };
}

/** Reads by pieces: stops and goes on as chance has it. */
function readHaltingly(world: TlsWorld, end: End, random: Random): void {
  end.onContent = () => {
    if (random.chance(0.4) && !end.isClosing) {
      end.call((socket) => socket.receiveStop());
      const once = random.chance(0.5);
      world.network.at(world.network.timeMs + random.below(30), () => {
        if (end.isClosing || end.ended !== 1) return;
        end.call((socket) => (once ? socket.receiveOnce() : socket.receiveStart()));
      });
    } else if (random.chance(0.3) && !end.isClosing) {
      end.call((socket) => socket.receiveOnce());
    } else if (!end.isClosing) {
      end.call((socket) => socket.receiveStart());
    }
  };
}

for (const version of [TLS12, TLS13] as const) {
  const label = version === TLS13 ? 'TLS 1.3' : 'TLS 1.2';

  test(`content passes both ways, whatever the network does to it (${label})`, () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = new Random(seed);
      const faults = { ...roughFaults(random), windowBytesMin: 512 };
      const fragments = seed % 3 === 0 ? { fragmentCode: 1 + (seed % 4) } : {};
      const world = TlsWorld.open({ tls: { version, ...fragments }, faults, seed });
      const { server, client } = world;
      const [down, up] = [
        pattern(random.below(120_000) + 1, seed),
        pattern(random.below(120_000) + 1, ~seed),
      ];
      readHaltingly(world, server, random);
      readHaltingly(world, client, random);
      const talks = [talk(server, down, random), talk(client, up, random)];
      const arrived = (): boolean => client.contentBytes === down.length && server.contentBytes === up.length;
      world.until(() => arrived() && talks.every(({ done }) => done()), `seed ${seed}: all content`);
      assert.equal(digest(client.bytes), digest(down), `seed ${seed}`);
      assert.equal(digest(server.bytes), digest(up), `seed ${seed}`);
      for (const end of [server, client]) for (const [, result] of end.sent) assert.ok(result > 0);
      server.onContent = () => {};
      client.call((socket) => socket.shutdownSend());
      server.call((socket) => socket.receiveStart());
      world.until(() => server.ended !== 1, 'the close_notify');
      assert.equal(server.ended, 0);
      server.close();
      world.settle(3000);
      world.finish();
    }
  });

  test(`on a network that fails, what arrives is right and nothing is left (${label})`, () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = new Random(seed * 7919);
      const world = new TlsWorld({ tls: { version }, faults: randomFaults(random), seed });
      const { server, client } = world;
      const [down, up] = [pattern(60_000, seed), pattern(60_000, ~seed)];
      world.connect();
      world.network.run(() => client.connected !== 1, world.network.timeMs + 20_000);
      for (const end of [server, client]) {
        if (end.socket === null || end.connected !== 0 || end.isClosing) continue;
        readHaltingly(world, end, random);
        talk(end, end === server ? down : up, random);
      }
      const closer = random.chance(0.5) ? server : client;
      world.network.run(world.network.timeMs + random.below(3000));
      if (closer.socket !== null && closer.connected === 0 && !closer.isClosing)
        closer.close(random.chance(0.5));
      world.network.run(world.network.timeMs + 5000);
      assert.equal(Buffer.compare(client.bytes, down.subarray(0, client.contentBytes)), 0, `seed ${seed}`);
      assert.equal(Buffer.compare(server.bytes, up.subarray(0, server.contentBytes)), 0, `seed ${seed}`);
      if (client.connected !== 0 && !client.isClosing) client.close(true);
      world.finish();
    }
  });

  test(`records that come split at any byte are the same (${label})`, () => {
    const { world, raw } = TlsWorld.openRaw({ tls: { version } });
    const length = raw.own.seal(DATA, 'x'.repeat(30)).length;
    world.finish(raw);
    for (let cut = 1; cut < 2 * length; cut++) {
      const split = TlsWorld.openRaw({ tls: { version } });
      const { own } = split.raw;
      const wire = Buffer.concat([own.seal(DATA, 'a'.repeat(30)), own.seal(DATA, 'b'.repeat(30))]);
      split.raw.wire(wire.subarray(0, cut));
      split.world.settle(5);
      split.raw.wire(wire.subarray(cut));
      split.world.settle(5);
      assert.equal(split.world.server.bytes.toString(), 'a'.repeat(30) + 'b'.repeat(30), `cut ${cut}`);
      split.world.finish(split.raw);
    }
  });

  test(`a large piece that was asked for comes though its record comes in parts (${label})`, () => {
    const { world, raw } = TlsWorld.openRaw({ tls: { version } });
    const { server } = world;
    const content = pattern(16_384);
    const wire = raw.own.seal(DATA, content);
    server.call((socket) => socket.receiveOnce());
    for (let at = 0; at < wire.length; at += 1000) {
      raw.wire(wire.subarray(at, at + 1000));
      world.settle(2);
    }
    assert.equal(digest(server.bytes), digest(content));
    raw.wire(raw.own.seal(DATA, 'not asked for'));
    world.settle();
    assert.equal(server.contentBytes, content.length, 'nothing comes that was not asked for');
    server.call((socket) => socket.receiveOnce());
    world.settle();
    assert.equal(server.contentBytes, content.length + 13);
    server.call((socket) => socket.receiveOnce());
    server.call((socket) => socket.receiveStop());
    raw.wire(raw.own.seal(DATA, 'asked for, and then not'));
    world.settle();
    assert.equal(server.contentBytes, content.length + 13);
    world.finish(raw);
  });

  test(`a handler that closes amid the records of one buffer hears no more of them (${label})`, () => {
    for (const abortive of [false, true]) {
      const { world, raw } = TlsWorld.openRaw({ tls: { version } });
      const { server } = world;
      server.onContent = () => server.close(abortive);
      raw.wire(Buffer.concat(Array.from({ length: 9 }, () => raw.own.seal(DATA, 'piece'))));
      world.settle(3000);
      assert.equal(server.bytes.toString(), 'piece');
      assert.equal(server.closes, 1);
      world.finish(raw);
    }
  });

  test(`a bad record: the handler hears of it, sends fail, the alert leaves, and then the end (${label})`, () => {
    const { world, raw } = TlsWorld.openRaw({ tls: { version } });
    const { server } = world;
    let tags: number[] = [];
    server.onEnd = () => {
      tags = server.send(Buffer.from('into the void'));
    };
    raw.own.records.length = 0;
    const spoilt = raw.own.seal(DATA, 'good');
    spoilt[spoilt.length - 1] ^= 1;
    raw.wire(Buffer.concat([spoilt, raw.own.seal(DATA, 'never read')]));
    world.settle();
    assert.equal(server.ended, -EPROTO);
    assert.deepEqual(
      tags.map((tag) => server.resultOf(tag)),
      [-EPROTO],
    );
    server.close();
    world.settle(3000);
    assert.deepEqual(raw.own.records, [{ type: ALERT, content: Buffer.of(2, BAD_RECORD_MAC) }]);
    assert.equal(raw.ended, 0);
    assert.equal(server.contentBytes, 0);
    world.finish(raw);
  });

  test(`an end without close_notify is no end (${label})`, () => {
    const { world, raw } = TlsWorld.openRaw({ tls: { version } });
    world.far.shutdownSend(raw.handle);
    world.settle();
    assert.equal(world.server.ended, -ECONNABORTED);
    world.finish(raw);
  });
}

/** The record layer inside. */
function layerOf(end: End): { readSequence: number; writeSequence: number } {
  const { layer } = end.socket as unknown as { layer: { readSequence: number; writeSequence: number } };
  return layer;
}

for (const version of [TLS12, TLS13] as const) {
  const label = version === TLS13 ? 'TLS 1.3 changes it' : 'TLS 1.2 goes on with it';
  test(`a key that sealed 2^24 records has done enough: ${label}`, () => {
    const world = TlsWorld.open({ tls: { version } });
    const { server, client } = world;
    layerOf(server).writeSequence = KEY_RECORDS_MAX - 1;
    layerOf(client).readSequence = KEY_RECORDS_MAX - 1;
    const content = pattern(50_000);
    for (let at = 0; at < content.length; at += 10_000) server.send(content.subarray(at, at + 10_000));
    world.settle();
    assert.equal(digest(client.bytes), digest(content));
    const expected = version === TLS13 ? 4 : KEY_RECORDS_MAX + 4;
    assert.equal(layerOf(server).writeSequence, expected);
    assert.equal(layerOf(client).readSequence, expected);
    world.finish();
  });
}

describe('close', () => {
  for (const abortive of [false, true]) {
    const how = abortive ? 'abortive' : 'not abortive';

    test(`while it connects, at every step of the handshake (${how})`, () => {
      for (let rounds = 0; rounds < 25; rounds++) {
        const world = new TlsWorld({ faults: { latencyMsMax: 5 }, seed: rounds + 1 });
        world.connect();
        for (let round = 0; round < rounds && world.client.connected === 1; round++)
          world.network.step(world.network.timeMs + 10);
        if (!world.client.isClosing) world.client.close(abortive);
        world.settle(12_000);
        world.finish();
      }
    });

    test(`an accepted socket is given up at every step of the handshake (${how})`, () => {
      for (let rounds = 0; rounds < 25; rounds++) {
        const world = new TlsWorld({ faults: { latencyMsMax: 5 }, seed: rounds + 1 });
        world.connect();
        for (let round = 0; round < rounds && world.server.connected === 1; round++)
          world.network.step(world.network.timeMs + 10);
        if (world.server.connected === 1) world.accepted?.abandon();
        world.settle(1000);
        if (world.server.connected === 1 && world.accepted !== null) assert.equal(world.goneEarly, 1);
        if (world.client.connected !== 1 && world.client.connected !== 0)
          assert.ok(world.client.connected < 0);
        world.finish();
      }
    });

    test(`with nothing, something, or much unsent, and with a queue (${how})`, () => {
      for (const bytes of [0, 10, 100_000, 1_500_000]) {
        const world = TlsWorld.open({
          faults: { windowBytesMin: 4096, windowBytesMax: 4096, latencyMsMax: 3 },
        });
        const { server, client } = world;
        client.call((socket) => socket.receiveStop());
        const giveBack = bytes === 1_500_000 ? world.hog(SMALL, MEDIUM) : () => {};
        server.send(pattern(bytes), LARGE);
        server.close(abortive);
        giveBack();
        world.settle(3000);
        assert.equal(server.closes, 1);
        world.finish();
      }
    });

    test(`from inside onSend and onReceiveEnd (${how})`, () => {
      const world = TlsWorld.open();
      world.server.onSent = () => {
        if (!world.server.isClosing) world.server.close(abortive);
      };
      world.server.send(pattern(50_000));
      world.client.onEnd = () => world.client.close(abortive);
      world.settle(3000);
      assert.equal(world.server.closes, 1);
      assert.equal(world.client.closes, 1);
      world.finish();
    });
  }

  test('a close after all has left says close_notify; one that drops something does not', () => {
    for (const unsent of [false, true]) {
      const world = TlsWorld.open({ faults: { windowBytesMin: 4096, windowBytesMax: 4096 } });
      if (unsent) world.server.send(pattern(50_000));
      world.server.close();
      world.settle(3000);
      assert.equal(world.client.ended === 0, !unsent);
      world.finish();
    }
  });

  test('a client’s close_notify that comes behind the close does not cost it the answer', () => {
    for (let delayMs = 0; delayMs < 12; delayMs++) {
      const { world, raw } = TlsWorld.openRaw({
        faults: { latencyMsMax: 4, resetDiscards: 1 },
        seed: delayMs + 1,
      });
      const { server } = world;
      server.onContent = () => {
        server.send(Buffer.from('the answer'));
      };
      server.onSent = () => server.close();
      raw.wire(raw.own.seal(DATA, 'a question'));
      world.settle(delayMs);
      raw.wire(raw.own.seal(ALERT, Buffer.of(1, 0)));
      world.far.shutdownSend(raw.handle);
      world.settle(3000);
      assert.equal(raw.own.text(), 'the answer', `after ${delayMs} ms`);
      assert.equal(raw.ended, 0);
      assert.equal(raw.own.alertSeen?.code, 0);
      world.finish(raw);
    }
  });

  test('a peer that never reads does not keep a closed socket', () => {
    const world = TlsWorld.open({ faults: { windowBytesMin: 64, windowBytesMax: 64 } });
    world.client.call((socket) => socket.receiveStop());
    world.server.close();
    world.settle(3000);
    assert.equal(world.server.closes, 1);
    world.finish();
  });
});

describe('memory', () => {
  const TINY = { small: 6, medium: 4, large: 2 };

  test('content that finds no buffer waits, and nothing of it is lost or out of order', () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = new Random(seed);
      const world = TlsWorld.open({
        faults: roughFaults(random),
        pool: { small: 8, medium: 12, large: 3 },
        seed,
      });
      const { server, client } = world;
      const content = pattern(100_000, seed);
      let at = 0;
      let giveBack = (): void => {};
      for (let piece = 0; at < content.length; piece++) {
        if (world.near.pool.freeCount(MEDIUM) === 0) giveBack();
        else if (piece % 3 === 0) {
          // All is taken but the one buffer that the content comes in.
          server.send(content.subarray(at, at + 5000));
          at += 5000;
          giveBack = world.hog(SMALL, MEDIUM, LARGE);
        }
        world.settle(20);
        giveBack();
        giveBack = () => {};
      }
      giveBack();
      server.call((socket) => socket.shutdownSend());
      world.until(() => client.ended !== 1, `seed ${seed}: the end`);
      assert.equal(digest(client.bytes), digest(content), `seed ${seed}`);
      assert.equal(client.ended, 0);
      world.finish();
    }
  });

  test('content that waits is sealed when buffers come back, in order, and then the end', () => {
    const world = TlsWorld.open({ pool: TINY });
    const { server, client } = world;
    const content = pattern(2 * 20_480);
    const ids = [content.subarray(0, 20_480), content.subarray(20_480)];
    const pool = world.near.pool;
    const buffers = ids.map((piece) => {
      const id = pool.acquire(MEDIUM);
      pool.bytes.set(piece, pool.offsetOf(id));
      return id;
    });
    const giveBack = world.hog(SMALL, MEDIUM, LARGE);
    for (const id of buffers)
      server.call((socket) => socket.send(server.handle, id, pool.offsetOf(id), 20_480, 0));
    server.call((socket) => socket.shutdownSend());
    world.settle(1000);
    assert.equal(client.contentBytes, 0);
    assert.equal(client.ended, 1);
    giveBack();
    world.settle();
    assert.equal(digest(client.bytes), digest(content));
    assert.equal(client.ended, 0, 'the close_notify came behind it');
    world.finish();
  });

  test('a close_notify that finds no buffer comes when there is one', () => {
    const world = TlsWorld.open({ pool: TINY });
    const giveBack = world.hog(SMALL, MEDIUM, LARGE);
    world.server.call((socket) => socket.shutdownSend());
    world.settle(1000);
    assert.equal(world.client.ended, 1);
    giveBack();
    world.settle();
    assert.equal(world.client.ended, 0);
    world.finish();
  });

  test('buffers of any class will do', () => {
    for (const classes of [[SMALL], [SMALL, MEDIUM], [MEDIUM, LARGE], [SMALL, LARGE]] as const) {
      const world = TlsWorld.open({ pool: TINY });
      const pool = world.near.pool;
      const id = pool.acquire(LARGE);
      const content = pattern(200_000);
      pool.bytes.set(content, pool.offsetOf(id));
      const giveBack = world.hog(...classes);
      world.server.call((socket) => socket.send(world.server.handle, id, pool.offsetOf(id), 200_000, 0));
      world.until(() => world.client.contentBytes === 200_000, 'all content');
      assert.equal(digest(world.client.bytes), digest(content));
      giveBack();
      world.finish();
    }
  });

  test('a record that comes in parts while nothing is free ends the connection, and leaves nothing behind', () => {
    const { world, raw } = TlsWorld.openRaw({ pool: { small: 4, medium: 3, large: 1 } });
    const wire = raw.own.seal(DATA, 'split');
    const pool = world.near.pool;
    // The one medium buffer that is left is what the part is received in.
    const spare = pool.acquire(MEDIUM);
    const giveBack = world.hog(SMALL, MEDIUM, LARGE);
    pool.release(spare);
    raw.wire(wire.subarray(0, 10));
    world.settle();
    assert.ok(world.server.ended < 0);
    giveBack();
    world.finish(raw);
  });
});
