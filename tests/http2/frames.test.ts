import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { End, type EndOptions } from './end.ts';
import {
  block,
  describeFrame,
  frame,
  framesOf,
  GET,
  HELLO,
  headers,
  POST,
  PREFACE,
  SETTINGS_ACK,
  settings,
  uint32,
} from './raw-frames.ts';

const NO_ERROR = 0;
const PROTOCOL = 1;
const FLOW_CONTROL = 3;
const STREAM_CLOSED = 5;
const FRAME_SIZE = 6;
const REFUSED = 7;
const COMPRESSION = 9;
const CALM = 11;

/** What a server answers after its own SETTINGS, frame by frame. */
function answer(input: Buffer, cuts: readonly number[], options: EndOptions): string[] {
  const server = new End(true, options);
  server.flush();
  server.receive(input, cuts);
  return framesOf(server.flush()).map(describeFrame);
}

interface Case {
  name: string;
  input: Buffer[];
  /** Frames that it answers, behind the acknowledgement of our empty SETTINGS. */
  expected: string[];
  options?: EndOptions;
  /** The input does not begin with HELLO. */
  bare?: boolean;
}

const goaway = (last: number, code: number): string => `GOAWAY ${last} code ${code}`;
const rst = (id: number, code: number): string => `RST_STREAM ${id} code ${code}`;
const data = (id: number, content: string, endStream = false): Buffer =>
  frame(0, endStream ? 1 : 0, id, content);
const openPost = headers(1, POST, false);
const PRIORITY_SELF = uint32(1).subarray(0, 4);

const CASES: Case[] = [
  // §3.4
  {
    name: 'a wrong preface',
    bare: true,
    input: [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'a preface that goes wrong late',
    bare: true,
    input: [Buffer.from(`${PREFACE.toString().slice(0, -1)}x`)],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'a first frame that is not SETTINGS',
    bare: true,
    input: [PREFACE, frame(6, 0, 0, uint32(1, 2))],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'an acknowledgement as the first frame',
    bare: true,
    input: [PREFACE, SETTINGS_ACK],
    expected: [goaway(0, PROTOCOL)],
  },
  // §4.2
  {
    name: 'a frame above the limit',
    input: [frame(0, 0, 1, Buffer.alloc(16_385))],
    expected: [goaway(0, FRAME_SIZE)],
  },
  { name: 'a frame at the limit', input: [openPost, frame(0, 1, 1, Buffer.alloc(16_384))], expected: [] },
  {
    name: 'a header announcing 16 MiB',
    input: [Buffer.from('ffffff010400000001', 'hex')],
    expected: [goaway(0, FRAME_SIZE)],
  },
  // §4.1, §5.5
  {
    name: 'a frame of an unknown type',
    input: [frame(0xbe, 0xff, 5, 'whatever'), frame(6, 0, 0, uint32(7, 8))],
    expected: ['PING ack 0000000700000008'],
  },
  { name: 'an ALTSVC and an ORIGIN', input: [frame(10, 0, 0, 'xx'), frame(12, 0, 0, 'xx')], expected: [] },
  {
    name: 'a reserved bit in a stream identifier',
    input: [headers(0x80000001, POST, false), frame(3, 0, 1, uint32(8)), frame(6, 0, 0, uint32(0, 0))],
    expected: ['PING ack 0000000000000000'],
  },
  // §4.3
  {
    name: 'a block that is no HPACK',
    input: [frame(1, 5, 1, Buffer.of(0x80))],
    expected: [goaway(1, COMPRESSION)],
  },
  {
    name: 'another frame within a field block',
    input: [frame(1, 1, 1, block(GET)), frame(6, 0, 0, uint32(1, 2))],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'another type that is unknown within a field block',
    input: [frame(1, 1, 1, block(GET)), frame(0xbe, 0, 0)],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'a CONTINUATION of another stream',
    input: [frame(1, 1, 1, block(GET)), frame(9, 4, 3)],
    expected: [goaway(0, PROTOCOL)],
  },
  { name: 'a CONTINUATION without HEADERS', input: [frame(9, 4, 1)], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'a CONTINUATION behind END_HEADERS',
    input: [openPost, frame(9, 4, 1)],
    expected: [goaway(1, PROTOCOL)],
  },
  // §5.1, §5.1.1
  { name: 'DATA on an idle stream', input: [data(1, 'x')], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'RST_STREAM on an idle stream',
    input: [frame(3, 0, 1, uint32(8))],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'WINDOW_UPDATE on an idle stream',
    input: [frame(8, 0, 1, uint32(1))],
    expected: [goaway(0, PROTOCOL)],
  },
  { name: 'a request on an even stream', input: [headers(2, GET)], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'a request on a lower stream',
    input: [headers(5, POST, false), headers(3, GET)],
    expected: [goaway(5, STREAM_CLOSED)],
  },
  {
    name: 'DATA behind END_STREAM',
    input: [headers(1, GET), data(1, 'x')],
    expected: [rst(1, STREAM_CLOSED)],
  },
  {
    name: 'HEADERS behind END_STREAM',
    input: [headers(1, GET), headers(1, GET)],
    expected: [rst(1, STREAM_CLOSED)],
  },
  {
    name: 'DATA on a stream that the client has reset',
    input: [openPost, frame(3, 0, 1, uint32(8)), data(1, 'x')],
    expected: [rst(1, STREAM_CLOSED)],
  },
  {
    name: 'HEADERS on a stream that the client has reset',
    input: [openPost, frame(3, 0, 1, uint32(8)), headers(1, GET)],
    expected: [goaway(1, STREAM_CLOSED)],
  },
  {
    name: 'late frames of a stream that we have reset',
    input: [
      headers(1, [[':method', 'GET']], false),
      data(1, 'x'),
      headers(1, [['x', 'y']]),
      frame(8, 0, 1, uint32(1)),
      frame(3, 0, 1, uint32(8)),
    ],
    expected: [rst(1, PROTOCOL)],
  },
  {
    name: 'more streams than are allowed',
    options: { settings: { maxConcurrentStreams: 1 } },
    input: [openPost, headers(3, POST, false), frame(3, 0, 1, uint32(8)), headers(5, POST, false)],
    expected: [rst(3, REFUSED)],
  },
  {
    name: 'a stream that the owner refuses',
    options: { accepts: () => false },
    input: [headers(1, GET)],
    expected: [rst(1, REFUSED)],
  },
  // §5.3, which only h2spec and old clients still use
  {
    name: 'a PRIORITY',
    input: [
      frame(2, 0, 1, Buffer.alloc(5)),
      openPost,
      frame(2, 0, 1, Buffer.alloc(5)),
      frame(2, 0, 99, Buffer.alloc(5)),
    ],
    expected: [],
  },
  {
    name: 'a PRIORITY that depends on itself',
    input: [openPost, frame(2, 0, 1, Buffer.concat([PRIORITY_SELF, Buffer.of(1)]))],
    expected: [rst(1, PROTOCOL)],
  },
  {
    name: 'HEADERS that depend on themselves',
    input: [frame(1, 0x25, 1, Buffer.concat([PRIORITY_SELF, Buffer.of(1), block(GET)]))],
    expected: [rst(1, PROTOCOL)],
  },
  {
    name: 'HEADERS with a priority',
    input: [frame(1, 0x25, 1, Buffer.concat([uint32(0), Buffer.of(1), block(GET)]))],
    expected: [],
  },
  {
    name: 'a PRIORITY of four bytes',
    input: [openPost, frame(2, 0, 1, Buffer.alloc(4))],
    expected: [rst(1, FRAME_SIZE)],
  },
  {
    name: 'a PRIORITY on stream 0',
    input: [frame(2, 0, 0, Buffer.alloc(5))],
    expected: [goaway(0, PROTOCOL)],
  },
  // §6.1
  { name: 'DATA on stream 0', input: [data(0, 'x')], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'DATA with padding',
    input: [openPost, frame(0, 9, 1, Buffer.from('\x03abc\0\0\0'))],
    expected: [],
  },
  {
    name: 'DATA that is all padding',
    input: [openPost, frame(0, 8, 1, Buffer.from('\x03\0\0\0')), data(1, '', true)],
    expected: [],
  },
  {
    name: 'DATA with padding as long as the frame',
    input: [openPost, frame(0, 9, 1, Buffer.from('\x04\0\0\0'))],
    expected: [goaway(1, PROTOCOL)],
  },
  {
    name: 'padded DATA without a byte',
    input: [openPost, frame(0, 9, 1)],
    expected: [goaway(1, FRAME_SIZE)],
  },
  // §6.2
  { name: 'HEADERS on stream 0', input: [headers(0, GET)], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'HEADERS with padding',
    input: [frame(1, 0xd, 1, Buffer.concat([Buffer.of(2), block(GET), Buffer.of(0, 0)]))],
    expected: [],
  },
  {
    name: 'HEADERS with too much padding',
    input: [frame(1, 0xd, 1, Buffer.from('\x04\0\0\0'))],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'HEADERS too short for their priority',
    input: [frame(1, 0x25, 1, Buffer.alloc(4))],
    expected: [goaway(0, FRAME_SIZE)],
  },
  {
    name: 'HEADERS in three frames',
    input: [
      frame(1, 1, 1, block(GET.slice(0, 1))),
      frame(9, 0, 1, block(GET.slice(1, 3))),
      frame(9, 4, 1, block(GET.slice(3))),
    ],
    expected: [],
  },
  // §6.4
  { name: 'RST_STREAM on stream 0', input: [frame(3, 0, 0, uint32(8))], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'RST_STREAM of three bytes',
    input: [openPost, frame(3, 0, 1, Buffer.alloc(3))],
    expected: [goaway(1, FRAME_SIZE)],
  },
  // §6.5
  { name: 'SETTINGS on a stream', input: [frame(4, 0, 1)], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'SETTINGS of five bytes',
    input: [frame(4, 0, 0, Buffer.alloc(5))],
    expected: [goaway(0, FRAME_SIZE)],
  },
  {
    name: 'an acknowledgement with content',
    input: [frame(4, 1, 0, Buffer.alloc(6))],
    expected: [goaway(0, FRAME_SIZE)],
  },
  {
    name: 'unknown settings',
    input: [settings([0x99, 1], [0xffff, 0xffffffff])],
    expected: ['SETTINGS ack'],
  },
  { name: 'ENABLE_PUSH 2', input: [settings([2, 2])], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'INITIAL_WINDOW_SIZE above 2^31-1',
    input: [settings([4, 0x80000000])],
    expected: [goaway(0, FLOW_CONTROL)],
  },
  { name: 'MAX_FRAME_SIZE below 16384', input: [settings([5, 16_383])], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'MAX_FRAME_SIZE above 16777215',
    input: [settings([5, 16_777_216])],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'a protocol for CONNECT that is neither 0 nor 1',
    input: [settings([8, 2])],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'a first window that overflows a stream',
    input: [openPost, frame(8, 0, 1, uint32(0x7fff0000)), settings([4, 0x7fffffff])],
    expected: [goaway(1, FLOW_CONTROL)],
  },
  // §6.6
  {
    name: 'PUSH_PROMISE',
    input: [openPost, frame(5, 4, 1, Buffer.concat([uint32(2), block(GET)]))],
    expected: [goaway(1, PROTOCOL)],
  },
  // §6.7
  {
    name: 'a PING',
    input: [frame(6, 0, 0, uint32(0x01020304, 0x05060708))],
    expected: ['PING ack 0102030405060708'],
  },
  { name: 'an answer to a PING that nobody sent', input: [frame(6, 1, 0, uint32(1, 2))], expected: [] },
  { name: 'a PING on a stream', input: [frame(6, 0, 1, uint32(1, 2))], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'a PING of seven bytes',
    input: [frame(6, 0, 0, Buffer.alloc(7))],
    expected: [goaway(0, FRAME_SIZE)],
  },
  // §6.8
  { name: 'GOAWAY on a stream', input: [frame(7, 0, 1, uint32(0, 0))], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'GOAWAY of seven bytes',
    input: [frame(7, 0, 0, Buffer.alloc(7))],
    expected: [goaway(0, FRAME_SIZE)],
  },
  {
    name: 'GOAWAY, then a PING',
    input: [frame(7, 0, 0, Buffer.concat([uint32(0, 0), Buffer.from('bye')])), frame(6, 0, 0, uint32(0, 1))],
    expected: ['PING ack 0000000000000001'],
  },
  // §6.9
  { name: 'WINDOW_UPDATE of nothing', input: [frame(8, 0, 0, uint32(0))], expected: [goaway(0, PROTOCOL)] },
  {
    name: 'WINDOW_UPDATE of nothing on a stream',
    input: [openPost, frame(8, 0, 1, uint32(0))],
    expected: [rst(1, PROTOCOL)],
  },
  {
    name: 'WINDOW_UPDATE of three bytes',
    input: [frame(8, 0, 0, Buffer.alloc(3))],
    expected: [goaway(0, FRAME_SIZE)],
  },
  {
    name: 'a window above 2^31-1',
    input: [frame(8, 0, 0, uint32(0x7fffffff))],
    expected: [goaway(0, FLOW_CONTROL)],
  },
  {
    name: "a stream's window above 2^31-1",
    input: [openPost, frame(8, 0, 1, uint32(0x7fffffff))],
    expected: [rst(1, FLOW_CONTROL)],
  },
  {
    name: "more content than a stream's window",
    options: { consumes: false, settings: { initialWindowSize: 10, connectionWindowSize: 1 << 20 } },
    input: [SETTINGS_ACK, openPost, data(1, '0123456789'), data(1, 'x')],
    expected: [rst(1, FLOW_CONTROL)],
  },
  {
    name: "more content than the connection's window",
    options: { consumes: false, settings: { initialWindowSize: 1 << 21 } },
    input: [SETTINGS_ACK, openPost, ...Array.from({ length: 65 }, () => data(1, 'x'.repeat(16_384)))],
    expected: ['WINDOW_UPDATE 0 983041', goaway(1, FLOW_CONTROL)],
  },
  {
    name: 'content of two streams that nobody takes, for which the window grows',
    options: { consumes: false },
    input: [openPost, headers(3, POST, false), ...[1, 3, 1, 3].map((id) => data(id, 'x'.repeat(16_384)))],
    expected: ['WINDOW_UPDATE 0 65535'],
  },
  {
    name: 'padding beyond a window',
    options: { consumes: false, settings: { initialWindowSize: 4, connectionWindowSize: 1 << 20 } },
    input: [SETTINGS_ACK, openPost, frame(0, 8, 1, Buffer.from('\x03a\0\0\0'))],
    expected: [rst(1, FLOW_CONTROL)],
  },
  // RFC 9218 §7.1
  {
    name: 'a PRIORITY_UPDATE',
    input: [openPost, frame(16, 0, 0, Buffer.concat([uint32(1), Buffer.from('u=1, i')]))],
    expected: [],
  },
  {
    name: 'a PRIORITY_UPDATE of an idle stream',
    input: [frame(16, 0, 0, Buffer.concat([uint32(9), Buffer.from('u=1')]))],
    expected: [],
  },
  {
    name: 'a PRIORITY_UPDATE of stream 0',
    input: [frame(16, 0, 0, uint32(0))],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'a PRIORITY_UPDATE on a stream',
    input: [frame(16, 0, 1, uint32(1))],
    expected: [goaway(0, PROTOCOL)],
  },
  {
    name: 'a PRIORITY_UPDATE of three bytes',
    input: [frame(16, 0, 0, Buffer.alloc(3))],
    expected: [goaway(0, FRAME_SIZE)],
  },
];

describe('frames of a client (RFC 9113)', () => {
  for (const { name, input, expected, options = {}, bare = false } of CASES) {
    it(`answers ${name}, wherever it is cut`, () => {
      const whole = Buffer.concat(bare ? input : [HELLO, ...input]);
      const answers = bare ? expected : ['SETTINGS ack', ...expected];
      assert.deepEqual(answer(whole, [], options), answers);
      const every = Array.from({ length: Math.min(whole.length, 4000) - 1 }, (_, index) => index + 1);
      assert.deepEqual(answer(whole, every, options), answers, 'byte by byte');
      if (whole.length > 600) return;
      for (const cut of every) assert.deepEqual(answer(whole, [cut], options), answers, `cut at ${cut}`);
    });
  }

  it('has a code for what follows a dead connection: nothing', () => {
    const server = new End(true);
    server.flush();
    assert.equal(server.receive(Buffer.concat([HELLO, frame(9, 4, 1)])), false);
    assert.equal(server.receive(frame(6, 0, 0, uint32(1, 2))), false);
    assert.deepEqual(framesOf(server.flush()).map(describeFrame), ['SETTINGS ack', goaway(0, PROTOCOL)]);
    assert.equal(server.engine.errorCode, PROTOCOL);
    assert.notEqual(server.engine.errorCode, NO_ERROR + CALM);
  });
});

describe("a server's first frames", () => {
  it('are its SETTINGS, and what its window has above the default', () => {
    const server = new End(true, { settings: { connectionWindowSize: 100_000, maxConcurrentStreams: 7 } });
    const [first, second] = framesOf(server.flush());
    const values = new Map<number, number>();
    for (let at = 0; at < first.payload.length; at += 6)
      values.set(first.payload.readUInt16BE(at), first.payload.readUInt32BE(at + 2));
    assert.deepEqual(
      [...values].sort(([a], [b]) => a - b),
      [
        [1, 4096],
        [3, 7],
        [4, 65_535],
        [5, 16_384],
        [6, 16_384],
        [8, 1],
        [9, 1],
      ],
    );
    assert.equal(describeFrame(second), `WINDOW_UPDATE 0 ${100_000 - 65_535}`);
  });
});
