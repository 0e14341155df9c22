/** Two engines, client and server, over a wire that cuts their bytes at random. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { M_CONNECT, M_GET, M_HEAD, M_OTHER, M_POST, ResponseHead } from '../../src/http/message.ts';
import type { Http2Budgets } from '../../src/http2/budget.ts';
import { INCREMENTAL } from '../../src/http2/priority.ts';
import { End, type EndOptions, exchange, type Fields, type TestStream } from './end.ts';
import { describeFrame, frame, framesOf, headers, SETTINGS_ACK, settings, uint32 } from './raw-frames.ts';

function pair(client: EndOptions = {}, server: EndOptions = {}): [End, End] {
  return [new End(false, client), new End(true, server)];
}

const text = (chunks: Buffer[]): string => Buffer.concat(chunks).toString('latin1');

describe('a request and its response between two engines', () => {
  it('arrive with fields, content and trailers', () => {
    const [client, server] = pair();
    const stream = client.request(
      M_POST,
      'POST',
      '/a?b',
      [
        ['X-One', '1'],
        ['Cookie', 'a'],
      ],
      false,
    );
    assert.ok(stream !== null);
    client.finish(stream, Buffer.from('question'), [['x-sum', '8']]);
    exchange(client, server);
    const [request] = server.all;
    assert.deepEqual(
      [
        request.method,
        request.path,
        request.query,
        request.authority,
        text(request.content),
        request.trailers,
      ],
      ['POST', '/a', 'b', 'example.com:8443', 'question', [['x-sum', '8']]],
    );
    assert.deepEqual(request.fields, [
      ['x-one', '1'],
      ['cookie', 'a'],
      ['te', 'trailers'],
    ]);
    server.respond(
      request,
      200,
      [
        ['Content-Type', 'text/plain'],
        ['Connection', 'close'],
      ],
      Buffer.from('answer'),
      [['grpc-status', '0']],
    );
    exchange(client, server);
    assert.deepEqual(
      [stream.status, stream.fields, text(stream.content), stream.trailers],
      [200, [['content-type', 'text/plain']], 'answer', [['grpc-status', '0']]],
    );
    assert.deepEqual(
      [stream.closed, request.closed, client.engine.streams.count, server.engine.streams.count],
      [true, true, 0, 0],
    );
    assert.deepEqual([stream.resetCode, request.resetCode], [-1, -1]);
  });

  it('know interim responses, HEAD, other methods and extended CONNECT', () => {
    const [client, server] = pair();
    exchange(client, server);
    assert.equal(client.engine.peer.enableConnectProtocol, true);
    const head = client.request(M_HEAD, 'HEAD', '/', [], true);
    const other = client.request(M_OTHER, 'QUERY', '/', [], true);
    const tunnel = client.request(M_CONNECT, 'CONNECT', '/chat', [], false, 'websocket');
    assert.ok(head !== null && other !== null && tunnel !== null);
    exchange(client, server);
    const [first, second, third] = server.all;
    assert.deepEqual(
      [first.method, second.method, third.method, third.upgrade],
      ['HEAD', 'QUERY', 'CONNECT', 'websocket'],
    );
    const interim = new ResponseHead(server.arena);
    interim.status = 103;
    server.engine.inform(first, interim);
    server.engine.respond(first, 200, interim.fields, 1234, true);
    server.engine.respond(second, 204, interim.fields, -1, true);
    server.engine.respond(third, 200, interim.fields, -1, false);
    tunnel.isTunnel = true;
    exchange(client, server);
    assert.deepEqual([head.interim, head.status, head.contentLength, head.closed], [[103], 200, 1234, true]);
    assert.deepEqual([other.status, other.closed], [204, true]);
    client.finish(tunnel, Buffer.from('ping'));
    exchange(client, server);
    assert.equal(text(third.content), 'ping');
    server.finish(third, Buffer.from('pong'));
    exchange(client, server);
    assert.deepEqual([text(tunnel.content), tunnel.closed, third.closed], ['pong', true, true]);
  });

  it('may have a head of many frames', () => {
    const [client, server] = pair({}, { settings: { maxHeaderListSize: 65_536 } });
    const long: Fields = [
      ['x-long', 'y'.repeat(40_000)],
      ['x-more', 'z'.repeat(10_000)],
    ];
    assert.ok(client.request(M_GET, 'GET', '/', long, true) !== null);
    exchange(client, server);
    assert.deepEqual(server.all[0].fields.slice(0, 2), long);
  });

  it('end at a reset of either side', () => {
    for (const byClient of [true, false]) {
      const [client, server] = pair();
      const stream = client.request(M_POST, 'POST', '/', [], false);
      assert.ok(stream !== null);
      exchange(client, server);
      const [request] = server.all;
      if (byClient) client.engine.reset(stream, 8);
      else server.engine.reset(request, 8);
      exchange(client, server);
      const other = byClient ? request : stream;
      assert.deepEqual([other.resetCode, other.resetByPeer, other.closed], [8, true, true]);
      assert.deepEqual([client.engine.streams.count, server.engine.streams.count], [0, 0]);
      assert.deepEqual([client.engine.isDead, server.engine.isDead], [false, false]);
    }
  });
});

describe('a response that is malformed (RFC 9113 §8.3.2)', () => {
  const cases: { name: string; frames: Buffer[]; head?: boolean }[] = [
    { name: 'no :status', frames: [headers(1, [['x', 'y']])] },
    {
      name: 'two of :status',
      frames: [
        headers(1, [
          [':status', '200'],
          [':status', '200'],
        ]),
      ],
    },
    { name: 'a :status of two digits', frames: [headers(1, [[':status', '20']])] },
    { name: 'a :status of letters', frames: [headers(1, [[':status', '2a0']])] },
    { name: 'a :status below 100', frames: [headers(1, [[':status', '099']])] },
    { name: '101', frames: [headers(1, [[':status', '101']], false)] },
    { name: 'an interim response that ends the stream', frames: [headers(1, [[':status', '103']])] },
    {
      name: 'a pseudo-field of requests',
      frames: [
        headers(1, [
          [':status', '200'],
          [':path', '/'],
        ]),
      ],
    },
    {
      name: 'connection',
      frames: [
        headers(1, [
          [':status', '200'],
          ['connection', 'close'],
        ]),
      ],
    },
    {
      name: 'transfer-encoding',
      frames: [
        headers(
          1,
          [
            [':status', '200'],
            ['transfer-encoding', 'chunked'],
          ],
          false,
        ),
      ],
    },
    {
      name: 'a name in upper case',
      frames: [
        headers(1, [
          [':status', '200'],
          ['Server', 'x'],
        ]),
      ],
    },
    {
      name: 'two of content-length',
      frames: [
        headers(
          1,
          [
            [':status', '200'],
            ['content-length', '1'],
            ['content-length', '1'],
          ],
          false,
        ),
      ],
    },
    {
      name: 'content-length without content',
      frames: [
        headers(1, [
          [':status', '200'],
          ['content-length', '1'],
        ]),
      ],
    },
    {
      name: 'less content than declared',
      frames: [
        headers(
          1,
          [
            [':status', '200'],
            ['content-length', '2'],
          ],
          false,
        ),
        frame(0, 1, 1, 'x'),
      ],
    },
    {
      name: 'more content than declared',
      frames: [
        headers(
          1,
          [
            [':status', '200'],
            ['content-length', '2'],
          ],
          false,
        ),
        frame(0, 0, 1, 'xyz'),
      ],
    },
    { name: 'content before the head', frames: [frame(0, 0, 1, 'x')] },
    {
      name: 'content behind an interim response',
      frames: [headers(1, [[':status', '100']], false), frame(0, 0, 1, 'x')],
    },
    {
      name: 'content of HEAD',
      head: true,
      frames: [
        headers(
          1,
          [
            [':status', '200'],
            ['content-length', '1'],
          ],
          false,
        ),
        frame(0, 1, 1, 'x'),
      ],
    },
    { name: 'content of 304', frames: [headers(1, [[':status', '304']], false), frame(0, 1, 1, 'x')] },
    {
      name: 'a head above the limit',
      frames: [
        headers(1, [
          [':status', '200'],
          ['x', 'y'.repeat(16_350)],
        ]),
      ],
    },
  ];
  for (const { name, frames, head = false } of cases) {
    it(`is reset: ${name}`, () => {
      const client = new End(false);
      const stream = client.request(head ? M_HEAD : M_GET, head ? 'HEAD' : 'GET', '/', [], true);
      assert.ok(stream !== null);
      client.flush();
      client.receive(Buffer.concat([settings(), SETTINGS_ACK, ...frames]));
      assert.deepEqual([stream.resetCode, stream.resetByPeer, stream.closed], [1, false, true]);
      assert.deepEqual(framesOf(client.flush()).map(describeFrame), ['SETTINGS ack', 'RST_STREAM 1 code 1']);
    });
  }

  const dead: { name: string; frames: Buffer[] }[] = [
    { name: 'a pushed stream', frames: [frame(5, 4, 1, uint32(2))] },
    { name: 'HEADERS on a stream of its own', frames: [headers(2, [[':status', '200']])] },
    { name: 'HEADERS on a stream that was not begun', frames: [headers(3, [[':status', '200']])] },
    { name: 'ENABLE_PUSH 1', frames: [settings([2, 1])] },
    { name: 'a PRIORITY_UPDATE', frames: [frame(16, 0, 0, uint32(1))] },
  ];
  for (const { name, frames } of dead) {
    it(`ends the connection: ${name}`, () => {
      const client = new End(false);
      client.request(M_GET, 'GET', '/', [], true);
      client.receive(Buffer.concat([settings(), ...frames]));
      assert.equal(client.engine.errorCode, 1);
    });
  }
});

describe('leaving (RFC 9113 §6.8)', () => {
  it('takes two steps: what is on its way is served, what comes later is refused', () => {
    const [client, server] = pair();
    const first = client.request(M_GET, 'GET', '/', [], true);
    exchange(client, server);
    server.engine.beginLeave();
    // It crosses the first GOAWAY on the wire.
    const second = client.request(M_GET, 'GET', '/', [], true);
    const crossing = client.flush();
    client.receive(server.flush());
    assert.deepEqual(client.goaway, [0x7fffffff, 0]);
    assert.equal(client.request(M_GET, 'GET', '/', [], true), null);
    server.receive(crossing);
    exchange(client, server);
    assert.deepEqual(client.goaway, [3, 0]);
    assert.equal(server.engine.isLeft, false);
    for (const request of server.all) server.respond(request, 200, [], Buffer.from('x'));
    exchange(client, server);
    assert.deepEqual([first?.status, second?.status], [200, 200]);
    assert.equal(server.engine.isLeft, true);
    server.receive(headers(5, [[':method', 'GET']]));
    assert.deepEqual(framesOf(server.flush()).map(describeFrame), ['RST_STREAM 5 code 7']);
  });

  it('tells a client which of its requests are safe to retry', () => {
    const [client, server] = pair();
    const streams = [1, 2, 3].map(() => client.request(M_GET, 'GET', '/', [], true));
    exchange(client, server);
    client.receive(frame(7, 0, 0, uint32(1, 0)));
    assert.deepEqual(
      streams.map((stream) => [stream?.closed, stream?.resetCode]),
      [
        [false, -1],
        [true, 7],
        [true, 7],
      ],
    );
    server.respond(server.all[0], 200, [], null);
    client.receive(server.flush());
    assert.equal(streams[0]?.status, 200);
  });

  it('ends every stream when the connection is abandoned', () => {
    const [client, server] = pair();
    client.request(M_POST, 'POST', '/', [], false);
    client.request(M_POST, 'POST', '/', [], false);
    exchange(client, server);
    server.engine.abandon(8);
    assert.deepEqual(
      server.all.map(({ closed, resetCode }) => [closed, resetCode]),
      [
        [true, 8],
        [true, 8],
      ],
    );
    assert.equal(server.engine.streams.count, 0);
  });
});

describe("a client's limits", () => {
  it('are those that the server tells', () => {
    const [client, server] = pair({}, { settings: { maxConcurrentStreams: 2 } });
    exchange(client, server);
    const streams = [1, 2, 3].map(() => client.request(M_POST, 'POST', '/', [], false));
    assert.deepEqual(
      streams.map((stream) => stream !== null),
      [true, true, false],
    );
    exchange(client, server);
    assert.equal(server.engine.streams.count, 2);
    client.engine.reset(streams[0] as TestStream, 8);
    assert.notEqual(client.request(M_POST, 'POST', '/', [], false), null);
  });

  it('let the server shrink windows below nothing, and widen them again (§6.9.2)', () => {
    const [client, server] = pair();
    const stream = client.request(M_POST, 'POST', '/', [], false);
    assert.ok(stream !== null);
    exchange(client, server);
    client.finish(stream, Buffer.alloc(60_000, 0x61));
    client.flush(2);
    assert.equal(stream.sendWindow, 65_535 - 32_768);
    client.receive(settings([4, 1000]));
    assert.equal(stream.sendWindow, 1000 - 32_768);
    assert.equal(client.engine.nextToSend(), null);
    client.receive(frame(8, 0, 1, uint32(31_768)));
    assert.equal(client.engine.nextToSend(), null);
    client.receive(settings([4, 1001]));
    assert.equal(client.engine.nextToSend(), stream);
    assert.equal(client.engine.grantOf(stream), 1);
  });
});

describe('priorities (RFC 9218)', () => {
  function order(priorities: string[], update: Buffer | null = null): number[] {
    const server = new End(true);
    server.receive(
      Buffer.concat([
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
        settings([4, 1 << 20]),
        frame(8, 0, 0, uint32(1 << 24)),
      ]),
    );
    priorities.forEach((priority, index) => {
      const fields: Fields = [
        [':method', 'GET'],
        [':scheme', 'https'],
        [':path', '/'],
        [':authority', 'x'],
      ];
      server.receive(headers(index * 2 + 1, priority === '' ? fields : [...fields, ['priority', priority]]));
    });
    for (const stream of server.all) server.respond(stream, 200, [], Buffer.alloc(40_000));
    if (update !== null) server.receive(update);
    return framesOf(server.flush())
      .filter(({ type }) => type === 0)
      .map(({ id }) => id);
  }

  it('send the most urgent first, and those that are not incremental one after another', () => {
    assert.deepEqual(order(['u=5', '', 'u=0', '']), [5, 5, 5, 3, 3, 3, 7, 7, 7, 1, 1, 1]);
  });

  it('mix those that are incremental', () => {
    assert.deepEqual(order(['i', 'i', 'u=1']), [5, 5, 5, 1, 3, 1, 3, 1, 3]);
  });

  it('change with PRIORITY_UPDATE', () => {
    const update = frame(16, 0, 0, Buffer.concat([uint32(3), Buffer.from('u=0')]));
    assert.deepEqual(order(['u=1', 'u=2'], update), [3, 3, 3, 1, 1, 1]);
  });

  it('let nobody starve', () => {
    const server = new End(true);
    server.receive(
      Buffer.concat([
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
        settings([4, 1 << 26]),
        frame(8, 0, 0, uint32(1 << 28)),
      ]),
    );
    const fields: Fields = [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/'],
      [':authority', 'x'],
    ];
    server.receive(headers(1, [...fields, ['priority', 'u=0']]));
    server.receive(headers(3, [...fields, ['priority', 'u=0']]));
    server.receive(headers(5, [...fields, ['priority', 'u=7']]));
    server.receive(headers(7, [...fields, ['priority', 'u=6']]));
    for (const stream of server.all) server.respond(stream, 200, [], Buffer.alloc(4 << 20));
    const first = framesOf(server.flush(200))
      .filter(({ type }) => type === 0)
      .map(({ id }) => id);
    for (const id of [1, 3, 5, 7]) assert.ok(first.includes(id), `stream ${id} had its turn`);
    assert.ok(first.filter((id) => id > 3).length < 12);
  });

  it('are read as structured fields, and ignored where they are not', () => {
    const read = (value: string): number => {
      const server = new End(true);
      const fields: Fields = [
        [':method', 'GET'],
        [':scheme', 'https'],
        [':path', '/'],
        [':authority', 'x'],
        ['priority', value],
      ];
      server.receive(
        Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings(), headers(1, fields)]),
      );
      return server.all[0].priority;
    };
    const cases: [string, number][] = [
      ['u=0', 0],
      ['u=7', 7],
      ['u=8', 3],
      ['u=-1', 3],
      ['u=1.5', 3],
      ['i', 3 + INCREMENTAL],
      ['i=?1', 3 + INCREMENTAL],
      ['i=?0', 3],
      ['u=2,i', 2 + INCREMENTAL],
      ['u=2 , i', 2 + INCREMENTAL],
      ['i;a=b, u=5;x', 5 + INCREMENTAL],
      ['u=1, u=6', 6],
      ['x="u=1, i", u=4', 4],
      ['x="\\", i', 3],
      ['', 3],
      [',,,', 3],
      ['U=1', 3],
    ];
    for (const [value, expected] of cases) assert.equal(read(value), expected, value);
  });
});

interface Plan {
  requestBytes: number;
  responseBytes: number;
  requestTrailers: boolean;
  responseTrailers: boolean;
  priority: string;
  resetAfter: number;
}

const plan = fc.record({
  requestBytes: fc.oneof(
    fc.constant(0),
    fc.integer({ min: 0, max: 300 }),
    fc.integer({ min: 0, max: 60_000 }),
  ),
  responseBytes: fc.oneof(
    fc.constant(0),
    fc.integer({ min: 0, max: 300 }),
    fc.integer({ min: 0, max: 60_000 }),
  ),
  requestTrailers: fc.boolean(),
  responseTrailers: fc.boolean(),
  priority: fc.constantFrom('', 'u=1', 'i', 'u=6, i'),
  resetAfter: fc.oneof(fc.constant(-1), fc.constant(-1), fc.constant(-1), fc.integer({ min: 0, max: 30 })),
});
const options = fc.record({
  initialWindowSize: fc.constantFrom(300, 1000, 10_000, 65_535, 200_000),
  connectionWindowSize: fc.constantFrom(65_535, 100_000, 1 << 20),
  maxFrameSize: fc.constantFrom(16_384, 20_000),
  headerTableSize: fc.constantFrom(0, 100, 4096, 8192),
  outputBytes: fc.constantFrom(128, 1000, 16_384),
});
const generous: Partial<Http2Budgets> = { bursts: new Array<number>(7).fill(1 << 30) };

function content(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + seed) & 0xff;
  return bytes;
}

/** Random numbers for the wire, from a seed. */
function generator(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
}

describe('the last frame of a stream', () => {
  it('is whole before anything that its end gives rise to is written', () => {
    const [client, server] = pair({ consumes: false });
    const stream = client.request(M_POST, 'POST', '/', [], false);
    assert.ok(stream !== null);
    exchange(client, server);
    // What is held of it is given back to the connection's window when it is closed.
    server.respond(server.all[0], 200, [], Buffer.alloc(60_000));
    exchange(client, server);
    client.finish(stream, Buffer.from('last'));
    assert.deepEqual(framesOf(client.flush()).map(describeFrame), ['DATA 1 end 4', 'WINDOW_UPDATE 0 60000']);
  });
});

describe('two engines over any wire', () => {
  it('deliver every byte once and in order, overdraw no window, and leak no stream', () => {
    fc.assert(fc.property(fc.array(plan, { minLength: 1, maxLength: 8 }), options, options, fc.nat(), run), {
      numRuns: 80,
    });
  });
});

function run(
  plans: Plan[],
  clientOptions: Record<string, number>,
  serverOptions: Record<string, number>,
  seed: number,
): void {
  const random = generator(seed);
  const held: [End, TestStream, number][] = [];
  const make = (isServer: boolean, chosen: Record<string, number>): End => {
    const end = new End(isServer, {
      settings: chosen,
      budgets: generous,
      outputBytes: chosen['outputBytes'] ?? 4096,
      consumes: false,
      onRequest: (stream) => {
        const index = Number(stream.path.slice(1));
        const { responseBytes, responseTrailers } = plans[index];
        end.respond(
          stream,
          200,
          [['x-plan', String(index)]],
          content(index, responseBytes),
          responseTrailers ? [['x-t', '1']] : null,
        );
      },
    });
    const onData = end.onData.bind(end);
    end.onData = (stream, offset, length) => {
      onData(stream, offset, length);
      held.push([end, stream, length]);
    };
    return end;
  };
  const client = make(false, clientOptions);
  const server = make(true, serverOptions);
  const streams = plans.map((each, index) => {
    const fields: Fields = each.priority === '' ? [] : [['priority', each.priority]];
    const stream = client.request(M_POST, 'POST', `/${index}`, fields, false);
    assert.ok(stream !== null);
    client.finish(
      stream,
      content(index + 100, each.requestBytes),
      each.requestTrailers ? [['x-t', '1']] : null,
    );
    return stream;
  });

  const wires: [End, End, Buffer][] = [
    [client, server, Buffer.alloc(0)],
    [server, client, Buffer.alloc(0)],
  ];
  let idle = 0;
  for (let turn = 0; idle < 3; turn++) {
    assert.ok(turn < 200_000, 'it comes to an end');
    let moved = false;
    plans.forEach(({ resetAfter }, index) => {
      if (resetAfter === turn && !streams[index].closed) client.engine.reset(streams[index], 8);
    });
    for (const wire of wires) {
      const [from, to] = wire;
      wire[2] = Buffer.concat([wire[2], from.flush(1 + random(4), 1 + random(20_000))]);
      const taken = Math.min(wire[2].length, 1 + random(30_000));
      if (taken === 0) continue;
      moved = true;
      assert.ok(
        to.receive(wire[2].subarray(0, taken)),
        `nobody breaks the rules: ${to.engine.isServer} ${to.engine.errorCode}`,
      );
      wire[2] = wire[2].subarray(taken);
    }
    for (let left = random(4) + 1; left > 0 && held.length > 0; left--) {
      const [end, stream, length] = held.shift() as [End, TestStream, number];
      moved = true;
      if (stream.id !== 0) end.engine.consumed(stream, length);
    }
    idle = moved ? 0 : idle + 1;
  }

  assert.deepEqual([client.engine.streams.count, server.engine.streams.count], [0, 0]);
  plans.forEach((each, index) => {
    const stream = streams[index];
    assert.equal(stream.closed, true);
    if (each.resetAfter >= 0) return;
    const request = server.all.find(({ path }) => path === `/${index}`);
    assert.ok(request !== undefined);
    assert.ok(Buffer.concat(request.content).equals(content(index + 100, each.requestBytes)));
    assert.ok(Buffer.concat(stream.content).equals(content(index, each.responseBytes)));
    assert.deepEqual(request.trailers, each.requestTrailers ? [['x-t', '1']] : []);
    assert.deepEqual(stream.trailers, each.responseTrailers ? [['x-t', '1']] : []);
    assert.deepEqual([stream.resetCode, request.resetCode], [-1, -1]);
  });
}
