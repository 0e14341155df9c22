/** Whatever a peer sends, an engine answers, ends the connection, or waits: it never throws, and never leaks a stream. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { M_GET, M_POST } from '../../src/http/message.ts';
import { End } from './end.ts';
import { block, frame, framesOf, HELLO, POST, settings, uint32 } from './raw-frames.ts';

const id = fc.constantFrom(0, 1, 1, 1, 2, 3, 3, 5, 7, 0x7fffffff, 0x80000001);
const flags = fc.constantFrom(0, 1, 4, 5, 5, 8, 9, 0xd, 0x20, 0x25, 0x2d, 0xff);
const fieldsOf = fc.array(
  fc.constantFrom<[string, string]>(
    ...POST.map(([name, value]): [string, string] => [name, value]),
    ['content-length', '5'],
    ['cookie', 'a=b'],
    ['te', 'trailers'],
    [':status', '200'],
    [':status', '103'],
    [':protocol', 'websocket'],
    ['priority', 'u=1,i'],
    ['X', ''],
    ['x_y', 'z'],
  ),
  { maxLength: 8 },
);
const number = fc.constantFrom(0, 1, 5, 100, 65_535, 0x7fffffff, 0xffffffff);
const wellFormed = fc.oneof(
  fc.tuple(id, fc.boolean()).map(([stream, ends]) => frame(1, ends ? 5 : 4, stream, block(POST))),
  fc
    .tuple(id, fc.boolean())
    .map(([stream, ends]) => frame(1, ends ? 5 : 4, stream, block([[':status', '200']]))),
  fc.tuple(flags, id, fieldsOf).map(([bits, stream, fields]) => frame(1, bits, stream, block(fields))),
  fc.tuple(flags, id, fieldsOf).map(([bits, stream, fields]) => frame(9, bits, stream, block(fields))),
  fc
    .tuple(flags, id, fc.nat(300))
    .map(([bits, stream, length]) => frame(0, bits, stream, Buffer.alloc(length, 2))),
  fc.tuple(id, number).map(([stream, value]) => frame(8, 0, stream, uint32(value))),
  fc.tuple(id, number).map(([stream, value]) => frame(3, 0, stream, uint32(value))),
  fc.tuple(id, number).map(([stream, value]) => frame(7, 0, 0, uint32(stream, value))),
  fc.tuple(fc.integer({ min: 1, max: 9 }), number).map(([setting, value]) => settings([setting, value])),
  fc.constantFrom(frame(4, 1, 0), frame(6, 0, 0, uint32(1, 2)), frame(6, 1, 0, uint32(1, 2))),
  id.map((stream) => frame(16, 0, 0, Buffer.concat([uint32(stream), Buffer.from('u=0,i')]))),
);
const anyFrame = fc
  .tuple(fc.nat(20), flags, id, fc.uint8Array({ maxLength: 40 }))
  .map(([type, bits, stream, payload]) => frame(type, bits, stream, payload));
const bytes = fc.uint8Array({ maxLength: 60 }).map((each) => Buffer.from(each));
const input = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: wellFormed },
    { weight: 2, arbitrary: anyFrame },
    { weight: 1, arbitrary: bytes },
  ),
  {
    maxLength: 40,
  },
);

/** Damages a byte now and then, and cuts everything at random. */
const wire = fc.record({
  input,
  damage: fc.array(fc.tuple(fc.nat(4000), fc.nat(255)), { maxLength: 2 }),
  cuts: fc.array(fc.nat(4000), { maxLength: 6 }),
});

function drive(end: End, pieces: Buffer[]): void {
  for (const piece of pieces) {
    const lives = end.receive(piece);
    framesOf(end.flush());
    if (!lives) break;
  }
  const before = end.all.filter((stream) => !stream.closed).length;
  assert.equal(end.engine.streams.count, before, 'the table holds what is open');
  end.engine.abandon(2);
  assert.ok(end.all.every(({ closed }) => closed));
}

function piecesOf(whole: Buffer, cuts: number[]): Buffer[] {
  const places = [...new Set([0, ...cuts.filter((cut) => cut < whole.length), whole.length])].sort(
    (a, b) => a - b,
  );
  return places.slice(1).map((to, index) => whole.subarray(places[index], to));
}

function damaged(whole: Buffer, damage: [number, number][], from: number): Buffer {
  for (const [at, value] of damage) if (at >= from && at < whole.length) whole[at] = value;
  return whole;
}

test('a server survives any client', () => {
  fc.assert(
    fc.property(wire, fc.nat(3), (sent, kind) => {
      const server = new End(true, {
        consumes: kind !== 3,
        onRequest: (stream) => {
          if (kind === 0) server.respond(stream, 200, [['x', 'y']], Buffer.alloc(100_000));
          else if (kind === 1) server.respond(stream, 200, [], null);
          else if (kind === 2) server.engine.reset(stream, 8);
        },
      });
      const whole = damaged(Buffer.concat([HELLO, ...sent.input]), sent.damage, HELLO.length);
      drive(server, piecesOf(whole, sent.cuts));
    }),
    { numRuns: 3000 },
  );
});

test('a client survives any server', () => {
  fc.assert(
    fc.property(wire, (sent) => {
      const client = new End(false);
      for (const path of ['/a', '/b', '/c']) client.request(M_GET, 'GET', path, [], true);
      const upload = client.request(M_POST, 'POST', '/d', [], false);
      if (upload !== null) client.finish(upload, Buffer.alloc(100_000));
      client.flush();
      const whole = damaged(Buffer.concat([settings(), ...sent.input]), sent.damage, 9);
      drive(client, piecesOf(whole, sent.cuts));
    }),
    { numRuns: 3000 },
  );
});
