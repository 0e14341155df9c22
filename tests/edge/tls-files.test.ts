import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { LARGE, MEDIUM, SMALL } from '../../src/io/buffer-pool.ts';
import { roughFaults } from '../../src/io/sim-faults.ts';
import { EIO } from '../../src/sys/errno.ts';
import { type End, TlsWorld, type TlsWorldOptions } from './tls-world.ts';

const SEEDS = 30;
const ROOT = '/files';
const PATH = '/files/f';
const LENGTHS = [1, 4000, 4032, 4033, 16_384, 20_480, 20_481, 131_072, 131_073, 700_000];

function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const random = new Random(length + 1);
  for (let at = 0; at < length; at++) bytes[at] = random.below(256);
  return bytes;
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A world with one file, which the server has open. */
function withFile(
  content: Buffer,
  options: TlsWorldOptions = {},
): { world: TlsWorld; file: number; close: () => void } {
  const world = TlsWorld.open(options);
  world.network.files.writeFile(PATH, content, 1000);
  const root = world.near.openRoot(ROOT);
  const { pool } = world.near;
  const id = pool.acquire(SMALL);
  const at = pool.offsetOf(id);
  pool.text.latin1Write('f\0', at, 2);
  let file = 0;
  const handler = {
    onOpen: (_tag: number, opened: number): void => {
      file = opened;
    },
    onRead: (): void => {},
  };
  const result = world.near.openFile(root, at, 1, handler, 0);
  if (result > 0) file = result;
  else world.until(() => file !== 0, 'the file');
  assert(file > 0);
  pool.release(id);
  const close = (): void => {
    world.near.closeFile(file);
    world.near.closeFile(root);
  };
  return { world, file, close };
}

function results(end: End, tags: readonly number[]): (number | undefined)[] {
  return tags.map((tag) => end.resultOf(tag));
}

for (const length of LENGTHS) {
  test(`a file of ${length} bytes arrives, between what is sent before and after it`, () => {
    const content = pattern(length);
    const { world, file, close } = withFile(content);
    const { server, client } = world;
    const tags = [
      ...server.send(Buffer.from('before')),
      server.sendFile(file, 0, length),
      ...server.send(Buffer.from('after')),
    ];
    world.settle();
    assert.equal(
      digest(client.bytes),
      digest(Buffer.concat([Buffer.from('before'), content, Buffer.from('after')])),
    );
    assert.deepEqual(
      server.sent.map(([tag]) => tag),
      tags,
      'in order',
    );
    assert.equal(server.resultOf(tags[1]), length);
    close();
    world.finish();
  });
}

test('files arrive whole, however the disk and the network are', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = new Random(seed);
    const content = pattern(1 + random.below(400_000));
    const faults = { ...roughFaults(random), windowBytesMin: 2048 };
    const { world, file, close } = withFile(content, { faults, seed });
    const { server, client } = world;
    const from = random.below(content.length);
    const tags = [
      server.sendFile(file, 0, content.length),
      ...server.send(Buffer.from('--')),
      server.sendFile(file, from, content.length - from),
    ];
    server.call((socket) => socket.shutdownSend());
    world.until(() => client.ended !== 1, `seed ${seed}: the end`);
    assert.equal(client.ended, 0);
    const expected = Buffer.concat([content, Buffer.from('--'), content.subarray(from)]);
    assert.equal(digest(client.bytes), digest(expected), `seed ${seed}`);
    assert.equal(server.resultOf(tags[0]), content.length);
    assert.equal(server.resultOf(tags[2]), content.length - from);
    close();
    world.finish();
  }
});

test('a file is read no faster than the peer takes it', () => {
  const content = pattern(4_000_000);
  const { world, file, close } = withFile(content, {
    faults: { windowBytesMin: 8192, windowBytesMax: 8192 },
    pool: { small: 16, medium: 16, large: 24 },
  });
  world.client.call((socket) => socket.receiveStop());
  world.server.sendFile(file, 0, content.length);
  world.settle(2000);
  assert.ok(world.near.pool.freeCount(LARGE) >= 20, 'few buffers are filled ahead');
  world.client.call((socket) => socket.receiveStart());
  world.until(() => world.client.contentBytes === content.length, 'all of it');
  assert.equal(digest(world.client.bytes), digest(content));
  close();
  world.finish();
});

test('a file arrives though few buffers are free, of whatever class', () => {
  for (const classes of [[LARGE], [LARGE, MEDIUM], [SMALL, LARGE]] as const) {
    const content = pattern(150_000);
    const { world, file, close } = withFile(content, { pool: { small: 8, medium: 6, large: 3 } });
    const giveBack = world.hog(...classes);
    const tag = world.server.sendFile(file, 0, content.length);
    world.until(() => world.client.contentBytes === content.length, `without ${classes}`);
    assert.equal(digest(world.client.bytes), digest(content));
    world.settle();
    assert.equal(world.server.resultOf(tag), content.length);
    giveBack();
    close();
    world.finish();
  }
});

test('a file that finds no buffer at all waits for one', () => {
  const content = pattern(50_000);
  const { world, file, close } = withFile(content, { pool: { small: 8, medium: 6, large: 3 } });
  const giveBack = world.hog(SMALL, MEDIUM, LARGE);
  world.server.sendFile(file, 0, content.length);
  world.settle(1000);
  assert.equal(world.client.contentBytes, 0);
  giveBack();
  world.settle();
  assert.equal(digest(world.client.bytes), digest(content));
  close();
  world.finish();
});

test('a file that has shrunk: its segment says how much was there, and what follows is sent', () => {
  const content = pattern(300_000);
  const { world, file, close } = withFile(content);
  const { server, client } = world;
  world.network.files.truncate(PATH, 200_000, 2000);
  const tags = [server.sendFile(file, 0, content.length), ...server.send(Buffer.from('after'))];
  world.settle();
  assert.equal(server.resultOf(tags[0]), 200_000);
  assert.equal(
    digest(client.bytes),
    digest(Buffer.concat([content.subarray(0, 200_000), Buffer.from('after')])),
  );
  close();
  world.finish();
});

test('a file that is closed under it fails, and so does all behind it, each by itself', () => {
  for (const filePending of [0, 1]) {
    const content = pattern(900_000);
    const faults = {
      filePending,
      filePendingMsMax: 3,
      windowBytesMin: 8192,
      windowBytesMax: 8192,
      latencyMsMax: 2,
    };
    const { world, file, close } = withFile(content, { faults });
    const { server, client } = world;
    const first = server.sendFile(file, 0, content.length);
    const behind = [...server.send(Buffer.from('behind')), server.sendFile(file, 0, 10)];
    world.until(() => client.contentBytes > 10_000, 'a beginning');
    close();
    world.settle(3000);
    assert.ok((server.resultOf(first) ?? 0) < 0);
    for (const result of results(server, behind)) assert.ok((result ?? 0) < 0);
    const later = [...server.send(Buffer.from('later')), server.sendFile(file, 0, 10)];
    assert.deepEqual(results(server, later), [undefined, undefined], 'not from inside the call');
    world.settle();
    for (const result of results(server, later)) assert.ok((result ?? 0) < 0);
    server.call((socket) => socket.shutdownSend());
    world.settle(3000);
    assert.equal(Buffer.compare(client.bytes, content.subarray(0, client.contentBytes)), 0);
    assert.notEqual(client.ended, 0, 'a response that was cut must not look complete');
    world.finish();
  }
});

test('a disk that fails fails the file, and nothing that comes behind it arrives', () => {
  let failed = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const content = pattern(400_000);
    const { world, file, close } = withFile(content, { seed });
    const { server, client } = world;
    // From here on one read in three fails.
    Object.assign(world.near.faults, { fileFailure: 0.3, filePending: 0.5, filePendingMsMax: 4 });
    const tags = [server.sendFile(file, 0, content.length), ...server.send(Buffer.from('behind'))];
    world.settle(2000);
    Object.assign(world.near.faults, { fileFailure: 0 });
    if (server.resultOf(tags[0]) === content.length) {
      assert.equal(client.contentBytes, content.length + 6);
    } else {
      failed++;
      assert.deepEqual(results(server, tags), [-EIO, -EIO]);
      assert.equal(Buffer.compare(client.bytes, content.subarray(0, client.contentBytes)), 0);
    }
    close();
    world.finish();
  }
  assert.ok(failed > 0 && failed < SEEDS);
});

for (const abortive of [false, true]) {
  test(`a socket that is closed while a read is under way gives everything back (${abortive ? '' : 'not '}abortive)`, () => {
    for (let rounds = 0; rounds < 12; rounds++) {
      const content = pattern(500_000);
      const { world, file, close } = withFile(content, { faults: { filePending: 1, filePendingMsMax: 20 } });
      world.server.sendFile(file, 0, content.length);
      world.settle(rounds * 2);
      world.server.close(abortive);
      world.settle(1000);
      close();
      world.finish();
    }
  });
}

test('a peer that resets amid a file: the file’s segment fails once', () => {
  const content = pattern(900_000);
  const { world, file, close } = withFile(content, {
    faults: { windowBytesMin: 8192, windowBytesMax: 8192 },
  });
  const { server } = world;
  world.client.call((socket) => socket.receiveStop());
  const tags = [server.sendFile(file, 0, content.length), ...server.send(Buffer.from('behind'))];
  world.settle(100);
  world.client.close(true);
  world.settle(3000);
  for (const result of results(server, tags)) assert.ok((result ?? 0) < 0);
  close();
  world.finish();
});

test('no bytes of a file are nothing, and are told', () => {
  const { world, file, close } = withFile(pattern(10));
  const tag = world.server.sendFile(file, 0, 0);
  world.settle();
  assert.equal(world.server.resultOf(tag), 0);
  close();
  world.finish();
});
