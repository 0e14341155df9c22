/** HTTP/2 to clients on the simulated network: the exchange model carries it as it carries HTTP/1.1. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { ClientAddress } from '../../src/edge/client-address.ts';
import { grpcStatusOf } from '../../src/edge/grpc.ts';
import { Http1Connection } from '../../src/edge/http1-connection.ts';
import { Http2Connection } from '../../src/edge/http2-connection.ts';
import { Http2Shared } from '../../src/edge/http2-shared.ts';
import { PlainAcceptor, type PlainConnections } from '../../src/edge/plain-acceptor.ts';
import type { RouteAction } from '../../src/edge/route.ts';
import { FAULTS, faultOf } from '../../src/http/fault.ts';
import { M_CONNECT, M_GET, M_HEAD, M_POST, M_TRACE, SCHEME_HTTP } from '../../src/http/message.ts';
import type { Handle, ListenerHandler, SocketHandler } from '../../src/io/reactor.ts';
import type { SimReactor } from '../../src/io/sim.ts';
import { End, type TestStream } from '../http2/end.ts';
import { describeFrame, framesOf } from '../http2/raw-frames.ts';
import { dechunked, EdgeWorld, ok } from './edge-world.ts';
import { H2, type Http2Client, Http2World } from './http2-world.ts';

/** A world whose edge finds out on one more port which protocol a client speaks. */
class ChoosingWorld implements ListenerHandler, PlainConnections {
  readonly world: EdgeWorld;
  readonly reactor: SimReactor;
  readonly acceptor: PlainAcceptor;
  readonly shared: Http2Shared;
  readonly connections: (Http1Connection | Http2Connection)[] = [];
  gone = 0;
  private readonly listener: Handle;

  constructor() {
    this.world = new EdgeWorld();
    this.reactor = this.world.edge;
    this.acceptor = new PlainAcceptor(this);
    const { http2 } = this.world.worker.config;
    this.shared = new Http2Shared(this.reactor.pool, http2, this.world.worker.shared.strikes);
    this.listener = this.reactor.listen(H2, { backlog: 100, reusePort: false }, this);
    this.world.origin().answers(ok('chosen'));
  }

  onAccept(_listener: Handle, handle: Handle): void {
    const client = ClientAddress.of(this.reactor.peerAddress(handle));
    this.world.worker.shared.connections.take(client.words, 0, 0);
    this.acceptor.accept(handle, client, null, 10_000);
  }

  onAcceptError(): void {}

  onChosen(
    handle: Handle,
    client: ClientAddress,
    action: RouteAction | null,
    isHttp2: boolean,
  ): SocketHandler {
    const { worker } = this.world;
    const connection = isHttp2
      ? new Http2Connection(worker, this.reactor, handle, client, SCHEME_HTTP, action, this.shared)
      : new Http1Connection(worker, this.reactor, handle, client, SCHEME_HTTP, action);
    this.reactor.adopt(handle, connection);
    this.connections.push(connection);
    connection.start();
    return connection;
  }

  onChoiceGone(client: ClientAddress): void {
    this.world.worker.shared.connections.give(client.words);
    this.gone++;
  }

  end(): void {
    this.reactor.close(this.listener, false);
    this.acceptor.abort();
    for (const connection of this.connections) connection.shutdown(false);
    this.world.pass(5000);
    this.shared.leave();
    this.world.end();
  }
}

const text = (stream: TestStream): string => Buffer.concat(stream.content).toString('latin1');
const value = (stream: TestStream, name: string): string | undefined => new Map(stream.fields).get(name);

// The engine's client asks for example.com:8443, which the standard route serves.
describe('a request over HTTP/2', () => {
  it('reaches a backend of HTTP/1.1, and its response comes back', () => {
    const h2 = new Http2World();
    h2.origin.answers(ok('hello', 'X-Origin: yes', 'Connection: keep-alive', 'Keep-Alive: timeout=5'));
    const heads: string[] = [];
    const answers = h2.origin.onText;
    h2.origin.onText = (peer) => {
      heads.push(peer.text);
      answers?.(peer);
    };
    const stream = h2.client().request(M_GET, 'GET', '/a?b=c', [
      ['cookie', 'a=1'],
      ['x-test', 'y'],
      ['cookie', 'b=2'],
    ]);
    assert.deepEqual(
      [stream.status, text(stream), stream.closed, stream.resetCode],
      [200, 'hello', true, -1],
    );
    assert.equal(value(stream, 'x-origin'), 'yes');
    assert.equal(value(stream, 'content-length'), '5');
    assert.equal(value(stream, 'connection'), undefined);
    assert.match(heads[0], /^GET \/a\?b=c HTTP\/1\.1\r\nHost: [^\r]+\r\n/);
    assert.match(heads[0], /\r\ncookie: a=1; b=2\r\n/i);
    assert.match(heads[0], /\r\nx-test: y\r\n/);
    assert.match(heads[0], /\r\nX-Forwarded-For: 10\.0\.0\.3\r\n/);
    assert.doesNotMatch(heads[0], /:method|:path|transfer-encoding/i);
    h2.end();
  });

  it('may be one of many at once', () => {
    const h2 = new Http2World();
    h2.origin.answers(ok('many'));
    const client = h2.client();
    const streams = Array.from({ length: 90 }, () => client.end.request(M_GET, 'GET', '/', [], true));
    client.settle();
    h2.world.pass(1000);
    assert.ok(streams.every((stream) => stream !== null && stream.status === 200 && text(stream) === 'many'));
    assert.equal(h2.connections[0].engine.streams.count, 0);
    h2.end();
  });

  it('streams its content, declared or not', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const declared = client.request(M_POST, 'POST', '/', [['content-length', '8']], Buffer.from('question'));
    assert.match(h2.origin.last.text, /\r\ncontent-length: 8\r\n[\s\S]*\r\n\r\nquestion$/);
    h2.origin.last.send(ok(''));
    h2.world.settle();
    assert.deepEqual([declared.status, declared.closed], [200, true]);
    h2.origin.last.take();
    const streamed = client.request(M_POST, 'POST', '/', [], Buffer.alloc(200_000, 'x'));
    h2.world.pass(1000);
    client.settle();
    assert.match(h2.origin.last.text, /\r\nTransfer-Encoding: chunked\r\n/);
    const chunked = h2.origin.last.text.slice(h2.origin.last.text.indexOf('\r\n\r\n') + 4);
    assert.equal(dechunked(chunked).length, 200_000);
    h2.origin.last.send(ok('done'));
    h2.world.settle();
    assert.deepEqual([streamed.status, text(streamed)], [200, 'done']);
    h2.end();
  });

  it('goes on in the middle of being received, once for all of it that was held back', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const { origin, world } = h2;
    origin.deaf = true;
    const size = 1_000_000;
    const stream = client.end.request(M_POST, 'POST', '/', [['content-length', String(size)]], false);
    assert.ok(stream !== null);
    client.end.finish(stream, Buffer.alloc(size, 'x'));
    const pass = client.peer.onText;
    client.peer.onText = () => void client.end.receive(Buffer.from(client.peer.take(), 'latin1'));
    const sendFrame = (): void => {
      client.peer.send(client.end.flush(1).toString('latin1'));
      world.settle();
    };
    sendFrame();
    const served = h2.connections[0].engine.streams.find(stream.id);
    assert.ok(served !== null);
    for (let frames = 0; !served.paused; frames++) {
      assert.ok(frames < 100, 'the request is held back');
      sendFrame();
    }
    // The backend reads too little to be heard of: what it has room for is seen only when more comes.
    origin.last.onText = () => origin.last.bytes > 50_000 && origin.last.stopReading();
    origin.last.read();
    world.settle();
    assert.deepEqual([served.paused, served.heldBytes], [true, 16_384]);
    sendFrame();
    assert.deepEqual([served.paused, served.heldBytes], [false, 0]);
    client.peer.onText = pass;
    origin.last.onText = null;
    origin.last.read();
    client.settle();
    world.pass(1000);
    origin.last.send(ok('done'));
    world.settle();
    const told = origin.last.text;
    assert.equal(told.length - told.indexOf('\r\n\r\n') - 4, size);
    assert.deepEqual([stream.status, text(stream), stream.resetCode], [200, 'done', -1]);
    h2.end();
  });

  it('gets chunked content as frames, and trailers', () => {
    const h2 = new Http2World();
    const stream = h2.client().request(M_GET, 'GET', '/');
    h2.origin.last.send(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n',
    );
    h2.world.settle();
    assert.deepEqual([stream.status, text(stream), stream.ended], [200, 'abc', false]);
    h2.origin.last.send('2\r\nde\r\n0\r\nx-sum: 5\r\n\r\n');
    h2.world.settle();
    assert.deepEqual([text(stream), stream.trailers, stream.closed], ['abcde', [['x-sum', '5']], true]);
    assert.equal(value(stream, 'transfer-encoding'), undefined);
    h2.end();
  });

  it('gets megabytes through its windows, with backpressure', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const body = Array.from({ length: 400_000 }, (_, index) => String.fromCharCode(33 + (index % 90))).join(
      '',
    );
    const stream = client.request(M_GET, 'GET', '/');
    h2.origin.last.send(ok(body));
    h2.world.pass(3000);
    assert.equal(text(stream), body);
    assert.equal(stream.closed, true);
    h2.end();
  });

  it('knows HEAD, interim responses, and answers of the edge itself', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const head = client.request(M_HEAD, 'HEAD', '/');
    h2.origin.last.send(
      'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n',
    );
    h2.world.settle();
    assert.deepEqual([head.interim, head.status, head.contentLength, head.closed], [[103], 200, 10, true]);
    const trace = client.request(M_TRACE, 'TRACE', '/');
    assert.equal(trace.status, 405);
    const long = client.request(M_GET, 'GET', '/', [['x', 'y'.repeat(17_000)]]);
    assert.equal(long.status, 431);
    assert.deepEqual([trace.closed, long.closed], [true, true]);
    h2.end();
  });

  it('that is malformed is reset, and leaves nothing behind', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const stream = client.end.request(M_GET, 'GET', 'no-slash', [], true);
    client.settle();
    assert.deepEqual([stream?.resetCode, stream?.resetByPeer], [1, true]);
    h2.origin.answers(ok('next'));
    assert.equal(text(client.request(M_GET, 'GET', '/')), 'next');
    h2.end();
  });

  it('ends where its client cancels it, and its connection goes on', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const stream = client.request(M_GET, 'GET', '/');
    const origin = h2.origin.last;
    client.end.engine.reset(stream, 8);
    client.settle();
    assert.notEqual(origin.end, null);
    const next = client.request(M_GET, 'GET', '/');
    h2.origin.last.send(ok('next'));
    h2.world.settle();
    assert.equal(text(next), 'next');
    h2.end();
  });

  it('is cut, alone, where its response is cut short', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const stream = client.request(M_GET, 'GET', '/');
    h2.origin.last.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc');
    h2.world.settle();
    h2.origin.last.close();
    h2.world.settle();
    assert.deepEqual([stream.status, stream.resetByPeer, stream.ended], [200, true, false]);
    assert.equal(client.end.engine.isDead, false);
    h2.end();
  });

  it('becomes a WebSocket by extended CONNECT', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const stream = client.request(
      M_CONNECT,
      'CONNECT',
      '/chat',
      [['sec-websocket-version', '13']],
      null,
      'websocket',
    );
    stream.isTunnel = true;
    const asked = h2.origin.last.take();
    assert.match(asked, /^GET \/chat HTTP\/1\.1\r\n/);
    assert.match(asked, /\r\nupgrade: websocket\r\n/i);
    const key = /Sec-WebSocket-Key: ([^\r]+)/.exec(asked)?.[1] ?? '';
    h2.origin.last.send(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`,
    );
    h2.world.settle();
    assert.equal(stream.status, 200);
    assert.deepEqual(
      [value(stream, 'upgrade'), value(stream, 'sec-websocket-accept')],
      [undefined, undefined],
    );
    stream.queue = Buffer.from('ping');
    client.end.engine.offer(stream, 4);
    client.settle();
    assert.equal(h2.origin.last.take(), 'ping');
    h2.origin.last.send('pong');
    h2.world.settle();
    assert.equal(text(stream), 'pong');
    h2.origin.last.finish();
    h2.world.settle();
    assert.equal(stream.ended, true);
    client.end.engine.end(stream);
    client.settle();
    assert.equal(stream.closed, true);
    h2.end();
  });
});

describe("a client's HTTP/2 connection", () => {
  it('is closed in two steps when the edge stops', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const stream = client.request(M_GET, 'GET', '/');
    h2.connections[0].shutdown();
    h2.world.settle();
    assert.deepEqual(client.end.goaway, [1, 0]);
    h2.origin.last.send(ok('last'));
    h2.world.settle();
    assert.equal(text(stream), 'last');
    assert.equal(client.peer.end, 0);
    h2.end();
  });

  it('is closed when it is idle for too long', () => {
    const h2 = new Http2World();
    const client = h2.client();
    h2.origin.answers(ok('x'));
    client.request(M_GET, 'GET', '/');
    h2.world.pass(200_000);
    assert.equal(client.peer.end, 0);
    assert.deepEqual(client.end.goaway, [1, 0]);
    h2.end();
  });

  it('ends with GOAWAY where its client breaks the rules', () => {
    const h2 = new Http2World();
    const peer = h2.world.client('PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n', H2);
    const frames = framesOf(Buffer.from(peer.text, 'latin1')).map(describeFrame);
    assert.deepEqual(frames, ['SETTINGS', 'GOAWAY 0 code 1']);
    h2.world.pass(3000);
    assert.equal(peer.end, 0);
    h2.end();
  });

  it('loses the stream that its client never opens a window for', () => {
    const h2 = new Http2World({}, {});
    const client = h2.client({ settings: { initialWindowSize: 10 }, consumes: false });
    const stream = client.request(M_GET, 'GET', '/');
    h2.origin.last.send(ok('x'.repeat(1000)));
    h2.world.pass(200_000);
    assert.deepEqual([stream.receivedBytes, stream.resetByPeer], [10, true]);
    h2.end();
  });

  it('keeps the stream whose client listens to what the backend says meanwhile', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const stream = client.end.request(M_POST, 'POST', '/', [], false);
    assert.ok(stream !== null);
    client.settle();
    h2.origin.last.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let round = 0; round < 10; round++) {
      h2.origin.last.send('1\r\nx\r\n');
      h2.world.pass(20_000);
    }
    assert.deepEqual([text(stream), stream.closed], ['x'.repeat(10), false]);
    h2.world.pass(40_000);
    assert.deepEqual([stream.closed, stream.resetByPeer], [true, true]);
    h2.end();
  });

  it('loses the stream whose content never comes', () => {
    const h2 = new Http2World();
    const client = h2.client();
    const stream = client.end.request(M_POST, 'POST', '/', [], false);
    client.settle();
    h2.world.pass(100_000);
    assert.equal(stream?.status, 408);
    h2.end();
  });
});

describe('a file over HTTP/2', () => {
  const BIG = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 31 + (at >> 8)) & 255));
  function site(): Http2World {
    const h2 = new Http2World();
    const { files } = h2.world.network;
    files.writeFile('/srv/big.bin', new Uint8Array(BIG), 1_700_000_000_000);
    files.writeFile('/srv/small.txt', new Uint8Array(Buffer.from('small')), 1_700_000_000_000);
    files.writeFile('/srv/empty.txt', new Uint8Array(0), 1_700_000_000_000);
    h2.world.reload({
      config: '[path_routes."example.com"."/"]\ntype = "File"\npath = "/srv"\nmode = "sendfile"\n',
    });
    return h2;
  }

  it('arrives whole, in parts, not at all where it has not changed, and empty', () => {
    const h2 = site();
    const client = h2.client();
    const big = client.request(M_GET, 'GET', '/big.bin');
    h2.world.pass(2000);
    assert.deepEqual([big.status, value(big, 'content-length'), big.closed], [200, '300000', true]);
    assert.ok(Buffer.concat(big.content).equals(BIG));
    const part = client.request(M_GET, 'GET', '/big.bin', [['range', 'bytes=100000-199999']]);
    h2.world.pass(2000);
    assert.equal(part.status, 206);
    assert.ok(Buffer.concat(part.content).equals(BIG.subarray(100_000, 200_000)));
    const same = client.request(M_GET, 'GET', '/big.bin', [['if-none-match', value(big, 'etag') ?? '']]);
    const head = client.request(M_HEAD, 'HEAD', '/big.bin');
    const empty = client.request(M_GET, 'GET', '/empty.txt');
    h2.world.pass(1000);
    assert.deepEqual([same.status, head.status, empty.status], [304, 200, 200]);
    assert.ok([same, head, empty].every((stream) => stream.closed && stream.receivedBytes === 0));
    const parts = client.request(M_GET, 'GET', '/big.bin', [['range', 'bytes=0-9,200000-299999']]);
    h2.world.pass(2000);
    assert.equal(parts.status, 206);
    assert.ok(Buffer.concat(parts.content).includes(BIG.subarray(200_000)));
    h2.end();
  });

  it('may be many at once, and be cancelled at any time', () => {
    for (let cancelAtMs = 0; cancelAtMs < 12; cancelAtMs++) {
      const h2 = site();
      const client = h2.client();
      const streams = Array.from({ length: 6 }, () => client.end.request(M_GET, 'GET', '/big.bin', [], true));
      client.flush();
      h2.world.pass(cancelAtMs);
      for (const stream of streams.slice(0, 3))
        if (stream !== null && stream.id !== 0) client.end.engine.reset(stream, 8);
      client.flush();
      h2.world.pass(5000);
      for (const stream of streams.slice(3))
        assert.ok(stream !== null && Buffer.concat(stream.content).equals(BIG));
      h2.end();
    }
  });

  it('that becomes shorter meanwhile is cut, alone', () => {
    const h2 = site();
    const client = h2.client({ consumes: false });
    const stream = client.request(M_GET, 'GET', '/big.bin');
    h2.world.network.files.truncate('/srv/big.bin', 100_000, 1_700_000_100_000);
    client.end.engine.consumed(stream, stream.heldBytes);
    client.settle();
    h2.world.pass(3000);
    assert.deepEqual([stream.status, stream.ended, stream.resetByPeer], [200, false, true]);
    const small = client.request(M_GET, 'GET', '/small.txt');
    h2.world.pass(100);
    assert.equal(text(small), 'small');
    h2.end();
  });
});

describe('a plain listener', () => {
  it('tells clients of both versions apart, however the first bytes are cut', () => {
    const edge = new ChoosingWorld();
    for (const first of ['G', 'P', 'PRI', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r']) {
      const peer = edge.world.client(first, H2);
      edge.world.settle();
      const isHttp2 = first.startsWith('PRI');
      if (isHttp2) {
        const end = new End(false);
        const stream = end.request(M_GET, 'GET', '/', [], true);
        peer.send(end.flush().toString('latin1').slice(first.length));
        edge.world.settle();
        end.receive(Buffer.from(peer.take(), 'latin1'));
        assert.equal(stream === null ? '' : text(stream), 'chosen');
      } else {
        const method = first === 'G' ? 'GET' : 'POST';
        peer.send(`${method.slice(1)} / HTTP/1.1\r\nHost: example.com\r\n\r\n`);
        edge.world.settle();
        assert.match(peer.text, /\r\n\r\nchosen$/);
      }
    }
    assert.deepEqual(
      edge.connections.map((connection) => connection instanceof Http2Connection),
      [false, false, true, true],
    );
    edge.end();
  });

  it('closes connections that say nothing, and those that end or stop in the preface', () => {
    const edge = new ChoosingWorld();
    const silent = edge.world.client('', H2);
    const begun = edge.world.client('PRI * HTTP', H2);
    const ended = edge.world.client('', H2);
    ended.finish();
    const cut = edge.world.client('PRI * HTTP/2', H2);
    cut.finish();
    edge.world.settle();
    assert.equal(edge.acceptor.size, 2);
    edge.world.pass(11_000);
    assert.deepEqual([silent.end, begun.end, ended.end], [0, 0, 0]);
    assert.equal(edge.acceptor.size, 0);
    assert.equal(edge.gone, 3);
    edge.end();
  });
});

function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}

describe('a call of gRPC that the edge answers', () => {
  const call = (client: Http2Client, type: string): TestStream =>
    client.request(M_POST, 'POST', '/a.B/C', [['content-type', type]], Buffer.alloc(5));

  it('gets its status in one head where its backend is not there', () => {
    const h2 = new Http2World();
    h2.origin.close();
    const client = h2.client();
    for (const type of ['application/grpc', 'application/grpc+proto', 'Application/gRPC; a=b']) {
      const stream = call(client, type);
      assert.deepEqual(
        [stream.status, value(stream, 'content-type'), value(stream, 'grpc-status')],
        [200, 'application/grpc', '14'],
        type,
      );
      assert.equal(value(stream, 'grpc-message'), '502 Bad Gateway');
      assert.deepEqual([text(stream), stream.trailers, stream.closed], ['', null, true]);
    }
    for (const type of ['application/grpc-web', 'application/grpcs', 'application/grp', 'text/plain']) {
      const stream = call(client, type);
      assert.deepEqual([stream.status, value(stream, 'grpc-status')], [502, undefined], type);
    }
    h2.end();
  });

  it('is over its time where its backend was too slow', () => {
    const h2 = new Http2World();
    const stream = call(h2.client(), 'application/grpc');
    h2.world.pass(100_000);
    assert.deepEqual(
      [stream.status, value(stream, 'grpc-status'), value(stream, 'grpc-message'), stream.closed],
      [200, '4', '504 Gateway Timeout', true],
    );
    h2.end();
  });

  it('is UNAVAILABLE for everything that may be tried again, and never OK', () => {
    const statuses = new Map<number, Set<number>>();
    for (let code = 1 - FAULTS.length; code < 0; code++) {
      const { status } = faultOf(code);
      if (!statuses.has(status)) statuses.set(status, new Set());
      statuses.get(status)?.add(grpcStatusOf(code));
    }
    const found = Object.fromEntries([...statuses].map(([status, all]) => [status, [...all]]));
    assert.deepEqual(found, {
      0: [2],
      400: [13],
      403: [7],
      404: [12],
      405: [2],
      408: [2],
      413: [8],
      414: [8],
      417: [2],
      421: [2],
      429: [14],
      431: [8],
      500: [2],
      502: [14],
      503: [14],
      504: [4, 14],
      505: [2],
    });
  });
});
