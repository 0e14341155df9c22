import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { MessageOut } from '../../src/edge/message-out.ts';
import { FieldSection } from '../../src/http/fields.ts';
import { arenaBytes, type BufferId, BufferPool, MEDIUM, MEDIUM_BYTES } from '../../src/io/buffer-pool.ts';
import type { SocketPort } from '../../src/socket/port.ts';

const SHAPE = { small: 64, medium: 64, large: 8 };
const NO_TRAILERS = new FieldSection(new Uint8Array(0));
const pool = new BufferPool(new ArrayBuffer(arenaBytes(SHAPE)), 0, SHAPE);

/** A socket that takes what is queued when it is told to. */
class SlowSocket {
  readonly taken: number[] = [];
  segments = 0;
  private readonly queue: [BufferId, number, number][] = [];
  private queued = 0;

  send(_handle: number, buffer: BufferId, offset: number, length: number): void {
    this.queue.push([buffer, offset, length]);
    this.queued += length;
    this.segments++;
  }
  sendQueuedBytes(): number {
    return this.queued;
  }
  take(): void {
    for (const [buffer, offset, length] of this.queue.splice(0)) {
      this.taken.push(...pool.bytes.subarray(offset, offset + length));
      pool.release(buffer);
    }
    this.queued = 0;
  }
}

function outTo(socket: SlowSocket): MessageOut {
  const out = new MessageOut(pool);
  out.attach(socket as unknown as SocketPort, 1);
  assert.ok(out.open());
  return out;
}

function writeHead(out: MessageOut, length: number): number[] {
  const head = Array.from({ length }, (_, index) => index & 0xff);
  pool.bytes.set(head, out.at);
  out.at += length;
  return head;
}

/** Content in a buffer of its own, behind `room` bytes; filled with what must not be sent. */
function content(random: Random, room: number, length: number): { buffer: BufferId; bytes: number[] } {
  const buffer = pool.acquire(MEDIUM);
  const start = pool.offsetOf(buffer);
  pool.bytes.fill(0xee, start, start + MEDIUM_BYTES);
  const bytes = Array.from({ length }, () => random.below(256));
  pool.bytes.set(bytes, start + room);
  return { buffer, bytes };
}

test('a head goes before content that comes with room, and leaves with it in one segment', () => {
  const random = new Random(1);
  for (const [head, room, length, segments] of [
    [100, 100, 5000, 1],
    [100, 99, 5000, 2],
    [100, 600, 1000, 1],
    [600, 600, 600, 1],
  ]) {
    const socket = new SlowSocket();
    const out = outTo(socket);
    const expected = writeHead(out, head);
    const { buffer, bytes } = content(random, room, length);
    assert.ok(out.data(buffer, pool.offsetOf(buffer) + room, length, room));
    assert.ok(out.end(NO_TRAILERS));
    assert.equal(socket.segments, segments, `${head} ${room} ${length}`);
    socket.take();
    assert.deepEqual(socket.taken, [...expected, ...bytes]);
    out.detach();
    assert.equal(pool.heldCount(), 0);
  }
});

test('a message of which nothing has left is taken back, content and all', () => {
  const socket = new SlowSocket();
  const out = outTo(socket);
  writeHead(out, 80);
  const { buffer } = content(new Random(2), 200, 4000);
  assert.ok(out.data(buffer, pool.offsetOf(buffer) + 200, 4000, 200));
  assert.ok(out.takeBack());
  assert.equal(pool.heldCount(), 0);
  assert.ok(out.open());
  const head = writeHead(out, 20);
  assert.ok(out.end(NO_TRAILERS));
  socket.take();
  assert.deepEqual(socket.taken, head);
  out.detach();
  assert.equal(pool.heldCount(), 0);
});

test('whatever the pieces, their room and the pace of the peer, the bytes are those that were given', () => {
  const random = new Random(20261122);
  for (let message = 0; message < 2000; message++) {
    const socket = new SlowSocket();
    const out = outTo(socket);
    const expected = writeHead(out, 1 + random.below(600));
    for (let buffers = 1 + random.below(4); buffers > 0; buffers--) {
      const { buffer } = content(random, 0, 0);
      const start = pool.offsetOf(buffer);
      let at = start + random.below(700);
      for (let pieces = 1 + random.below(3); pieces > 0; pieces--) {
        const length = random.below(random.chance(0.3) ? 6000 : 300);
        if (at + length > start + MEDIUM_BYTES) break;
        for (let index = 0; index < length; index++) {
          pool.bytes[at + index] = random.below(256);
          expected.push(pool.bytes[at + index]);
        }
        // As a connection to a backend counts it.
        const room = pool.referencesOf(buffer) === 1 ? at - start : 0;
        pool.retain(buffer);
        assert.ok(out.data(buffer, at, length, room));
        at += length + random.below(3);
        if (random.chance(0.25)) socket.take();
        if (random.chance(0.2)) out.pass();
      }
      pool.release(buffer);
    }
    assert.ok(out.end(NO_TRAILERS));
    socket.take();
    out.detach();
    assert.deepEqual(socket.taken, expected, `message ${message}`);
    assert.equal(pool.heldCount(), 0);
  }
});
