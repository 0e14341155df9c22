/** The hot path leaves nothing on the heap: not a byte a request, over many requests. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestHead, type ResponseHead } from '../../src/http/message.ts';
import { DEFAULT_BUDGETS } from '../../src/http2/budget.ts';
import { Http2Engine } from '../../src/http2/engine.ts';
import type { Http2Events } from '../../src/http2/events.ts';
import type { Http2Output } from '../../src/http2/frame-writer.ts';
import { DEFAULT_SETTINGS } from '../../src/http2/settings.ts';
import { Http2Stream } from '../../src/http2/stream.ts';
import { Http2Workspace } from '../../src/http2/workspace.ts';
import { leastAllocated } from '../fixtures/heap.ts';
import { sectionOf } from '../http/section.ts';
import { block as blockOf, frame, HELLO, POST, SETTINGS_ACK, settings, uint32 } from './raw-frames.ts';

/** Few enough that no garbage is collected meanwhile, which would hide what was left. */
const REQUESTS = 20_000;
/** What the measurement itself may cost in all, in bytes: less than two a request. */
const SLACK_BYTES = 32 * 1024;

const arena = Buffer.alloc(1 << 20);
const INPUT = 1 << 18;
const OUTPUT = 1 << 19;

/** One stream object for all, and answers of ten bytes. */
class Answering implements Http2Events<Http2Stream>, Http2Output {
  readonly bytes = arena;
  at = OUTPUT;
  limit = arena.length;
  answered = 0;
  readonly engine: Http2Engine<Http2Stream>;
  private readonly stream = new Http2Stream();
  private readonly head = new RequestHead(arena);
  private readonly fields = sectionOf([
    ['Server', 'sallyport'],
    ['Content-Type', 'text/plain'],
    ['ETag', '"abcdef"'],
  ]);

  constructor() {
    const workspace = new Http2Workspace(arena, 0, DEFAULT_SETTINGS);
    this.engine = new Http2Engine(true, DEFAULT_SETTINGS, DEFAULT_BUDGETS, this, this, workspace);
    this.engine.start(0);
  }

  makeRoom(): boolean {
    this.at = OUTPUT;
    return true;
  }
  acceptStream(): Http2Stream {
    return this.stream;
  }
  requestHead(): RequestHead {
    return this.head;
  }
  onRequest(stream: Http2Stream): void {
    this.engine.respond(stream, 200, this.fields, 10, false);
    this.engine.offer(stream, 10);
    this.engine.end(stream);
  }
  onData(stream: Http2Stream, _offset: number, length: number): void {
    this.engine.consumed(stream, length);
  }
  onClosed(): void {
    this.answered++;
  }
  responseHead(): ResponseHead {
    throw new Error('a server receives no responses');
  }
  onResponse(): void {}
  onEnd(): void {}
  onReset(): void {}
  onSettings(): void {}
  onPong(): void {}
  onGoaway(): void {}

  /** What is allowed leaves; the output is used over and over. */
  pump(): void {
    for (let stream = this.engine.nextToSend(); stream !== null; stream = this.engine.nextToSend())
      this.engine.data(stream, this.engine.grantOf(stream));
    this.at = OUTPUT;
  }
}

test('requests, content and responses leave nothing on the heap', () => {
  const server = new Answering();
  const fields: [string, string][] = [...POST, ['user-agent', 'test'], ['x-other', 'value']];
  const hello = Buffer.concat([HELLO, settings([4, 0x7fffffff]), SETTINGS_ACK]);
  arena.set(hello, INPUT);
  server.engine.receive(arena, INPUT, INPUT + hello.length, 0);
  const block = blockOf(fields);
  const request = Buffer.concat([
    frame(1, 4, 1, block),
    frame(0, 0, 1, Buffer.alloc(100)),
    frame(0, 1, 1, Buffer.alloc(100)),
    frame(8, 0, 0, uint32(10)),
  ]);
  arena.set(request, INPUT);
  const idAt = [5, 9 + block.length + 5, 9 + block.length + 109 + 5];
  let id = 1;
  let nowMs = 0;
  const one = (): void => {
    for (let index = 0; index < idAt.length; index++) arena.writeUInt32BE(id, INPUT + idAt[index]);
    id += 2;
    nowMs += 5;
    server.engine.receive(arena, INPUT, INPUT + request.length, nowMs);
    server.pump();
  };
  const least = leastAllocated(SLACK_BYTES, () => {
    for (let index = 0; index < REQUESTS; index++) one();
  });
  assert.equal(server.engine.isDead, false, `reason ${server.engine.reason}`);
  assert.equal(server.answered, (id - 1) / 2);
  assert.ok(least < SLACK_BYTES, `${least} bytes over ${REQUESTS} requests`);
});
