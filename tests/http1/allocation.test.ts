/** The hot path leaves nothing on the heap: not a byte a message, over many messages. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BODY_STREAM, M_GET, RequestHead, ResponseHead } from '../../src/http/message.ts';
import { B_DATA, B_END, BodyDecoder } from '../../src/http1/body-decoder.ts';
import { removeHopByHop } from '../../src/http1/hop-by-hop.ts';
import { RequestParser } from '../../src/http1/request-parser.ts';
import { ResponseParser } from '../../src/http1/response-parser.ts';
import { writeChunkHeader, writeFields, writeStatusLine } from '../../src/http1/writer.ts';
import { leastAllocated } from '../fixtures/heap.ts';
import { LIMITS } from './feed.ts';

/** Few enough that no garbage is collected meanwhile, which would hide what was left. */
const MESSAGES = 20_000;
/** What the measurement itself may cost in all, in bytes: less than two a message. */
const SLACK_BYTES = 32 * 1024;

const arena = Buffer.alloc(8192);
const memory = { bytes: arena, view: new DataView(arena.buffer, arena.byteOffset, arena.length) };
const OUTPUT = 4096;

/** Heap bytes that MESSAGES calls leave: the least of several rounds, since compiling what is hot leaves some too. */
function heapGrowth(work: () => void): number {
  return leastAllocated(SLACK_BYTES, () => {
    for (let index = 0; index < MESSAGES; index++) work();
  });
}

test('parsing and writing requests leaves nothing on the heap', () => {
  const text =
    'POST /a?b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\nContent-Length: 1048576\r\nX: 1\r\nTE: trailers\r\nUser-Agent: y\r\n\r\n';
  const length = arena.write(text, 0, 'latin1');
  const parser = new RequestParser(LIMITS);
  const head = new RequestHead(arena);
  const growth = heapGrowth(() => {
    if (parser.parse(head, arena, 0, 60) !== 0) throw new Error('complete too early');
    if (parser.parse(head, arena, 0, length) !== length) throw new Error('not complete');
    removeHopByHop(head.fields, false);
    if (writeFields(memory, OUTPUT, arena.length, head.fields) < 0) throw new Error('does not fit');
  });
  assert.ok(growth < SLACK_BYTES, `${growth / MESSAGES} bytes a request`);
});

test('parsing and writing responses leaves nothing on the heap', () => {
  const text =
    'HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\nConnection: keep-alive\r\nETag: "1"\r\n\r\n';
  const length = arena.write(text, 0, 'latin1');
  const parser = new ResponseParser(LIMITS);
  const head = new ResponseHead(arena);
  const growth = heapGrowth(() => {
    if (parser.parse(head, M_GET, arena, 0, length) !== length) throw new Error('not complete');
    removeHopByHop(head.fields, false);
    const at = writeStatusLine(memory, OUTPUT, arena.length, head.status, 0, 0);
    if (writeFields(memory, at, arena.length, head.fields) < 0) throw new Error('does not fit');
  });
  assert.ok(growth < SLACK_BYTES, `${growth / MESSAGES} bytes a response`);
});

test('one small object a message would be noticed', () => {
  const kept: { value: number }[] = [];
  const growth = heapGrowth(() => {
    kept.push({ value: kept.length });
    if (kept.length === 16) kept.length = 0;
  });
  assert.ok(growth > SLACK_BYTES, `${growth / MESSAGES} bytes a message`);
});

test('decoding chunks leaves nothing on the heap', () => {
  const length = arena.write('5\r\nhello\r\n10;a=b\r\n0123456789abcdef\r\n0\r\n\r\n', 0, 'latin1');
  const decoder = new BodyDecoder();
  const growth = heapGrowth(() => {
    decoder.start(BODY_STREAM, -1);
    let at = 0;
    let result = decoder.decode(arena, at, length);
    while (result === B_DATA) {
      writeChunkHeader(memory, OUTPUT, arena.length, decoder.dataLength);
      at += decoder.consumed;
      result = decoder.decode(arena, at, length);
    }
    if (result !== B_END) throw new Error('not complete');
  });
  assert.ok(growth < SLACK_BYTES, `${growth / MESSAGES} bytes a body`);
});
