/** Bounds and bookkeeping of the send queue, without a kernel. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BufferPool, SMALL, SMALL_BYTES } from '../../src/io/buffer-pool.ts';
import { DeferredEvents, SEND_RESULT } from '../../src/io/deferred-events.ts';
import { OpenFiles } from '../../src/io/open-files.ts';
import { Pipes } from '../../src/io/pipes.ts';
import { ReactorCounters, type SocketHandler } from '../../src/io/reactor.ts';
import { SendSegments } from '../../src/io/send-segments.ts';
import { NO_SEGMENT, SocketSlot } from '../../src/io/socket-slot.ts';

const ENOBUFS = 105;
const SEGMENTS_MAX = 8;

class Bench {
  readonly pool = new BufferPool(new ArrayBuffer(16 * SMALL_BYTES), 0, { small: 16, medium: 0, large: 0 });
  readonly deferred = new DeferredEvents();
  readonly counters = new ReactorCounters();
  readonly segments = new SendSegments(
    this.pool,
    new OpenFiles(1, 1),
    new Pipes(0, () => {}),
    this.deferred,
    this.counters,
    SEGMENTS_MAX,
  );
  readonly told: [number, number][] = [];

  socket(handle: number): SocketSlot {
    const socket = new SocketSlot();
    socket.open(handle, -1, true);
    const told = this.told;
    const handler: Partial<SocketHandler> = {
      onSend: (_handle, tag, result) => {
        told.push([tag, result]);
      },
    };
    socket.handler = handler as SocketHandler;
    return socket;
  }

  append(socket: SocketSlot, length: number, tag: number): boolean {
    const buffer = this.pool.acquire(SMALL);
    return this.segments.append(socket, buffer, this.pool.offsetOf(buffer), length, tag);
  }

  deferredResults(): [number, number, number][] {
    const results: [number, number, number][] = [];
    this.deferred.deliver({
      onDeferred: (kind, handle, tag, result) => {
        assert.equal(kind, SEND_RESULT);
        results.push([handle, tag, result]);
      },
    });
    return results;
  }
}

test('segments are consumed in order, over borders and in part, and each tag is told once', () => {
  const bench = new Bench();
  const socket = bench.socket(5);
  bench.append(socket, 10, 1);
  bench.append(socket, 20, 0);
  bench.append(socket, 30, 3);
  assert.equal(socket.sendQueuedBytes, 60);
  bench.segments.consume(socket, 9);
  assert.deepEqual(bench.told, []);
  assert.equal(bench.segments.length(socket.sendHead), 1);
  bench.segments.consume(socket, 12);
  assert.deepEqual(bench.told, [[1, 10]]);
  assert.equal(bench.segments.length(socket.sendHead), 9);
  bench.segments.consume(socket, 39);
  assert.deepEqual(bench.told, [
    [1, 10],
    [3, 30],
  ]);
  assert.equal(socket.sendQueuedBytes, 0);
  assert.equal(socket.sendHead, NO_SEGMENT);
  assert.equal(bench.pool.heldCount(), 0);
  assert.equal(bench.counters.bytesSent, 60);
});

test('as many segments as there are records can be queued; the next fails its socket, and only that', () => {
  const bench = new Bench();
  const greedy = bench.socket(5);
  const other = bench.socket(6);
  assert.ok(bench.append(other, 4, 9));
  for (let count = 1; count < SEGMENTS_MAX; count++) assert.ok(bench.append(greedy, 4, count));
  assert.equal(bench.append(greedy, 4, 8), false);
  assert.equal(greedy.sendErrno, -ENOBUFS);
  assert.equal(greedy.sendQueuedBytes, 0);
  assert.equal(bench.append(greedy, 4, 10), false);
  assert.deepEqual(
    bench.deferredResults(),
    [1, 2, 3, 4, 5, 6, 7, 8, 10].map((tag) => [5, tag, -ENOBUFS]),
  );
  assert.equal(bench.pool.heldCount(), 1);
  bench.segments.consume(other, 4);
  assert.deepEqual(bench.told, [[9, 4]]);
  for (let count = 0; count < SEGMENTS_MAX; count++) assert.ok(bench.append(other, 4, 0));
});

test('dropping a queue keeps what the kernel still reads, and releases all else', () => {
  const bench = new Bench();
  const socket = bench.socket(5);
  for (let count = 1; count <= 5; count++) bench.append(socket, 4, count);
  bench.segments.drop(socket, 2);
  assert.equal(bench.pool.heldCount(), 2);
  assert.equal(socket.sendQueuedBytes, 0);
  bench.segments.drop(socket, 0);
  assert.equal(bench.pool.heldCount(), 0);
  assert.deepEqual(bench.told, []);
  assert.deepEqual(bench.deferredResults(), []);
});

test('a handler may queue more from within onSend', () => {
  const bench = new Bench();
  const socket = bench.socket(5);
  socket.handler.onSend = (_handle, tag, result) => {
    bench.told.push([tag, result]);
    if (tag < 20) bench.append(socket, 4, tag + 1);
  };
  bench.append(socket, 4, 1);
  for (let round = 0; round < 20; round++) bench.segments.consume(socket, 4);
  assert.equal(bench.told.length, 20);
  assert.equal(bench.pool.heldCount(), 0);
});
