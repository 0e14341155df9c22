/** One exchange in all its forms: 100-continue, interim responses, trailers, HEAD, 204, 304, versions, reuse. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import {
  echoed,
  echoOf,
  type Origin,
  type OriginConnection,
  parseEcho,
  responseText,
  startOrigin,
} from '../fixtures/origin.ts';
import { pause, until } from '../fixtures/patience.ts';
import { exchangeOnce, RawClient } from '../fixtures/raw-client.ts';

const HOST = 'Host: example.com\r\n';

function get(target: string, fields = ''): string {
  return `GET ${target} HTTP/1.1\r\n${HOST}${fields}\r\n`;
}

/** Responses by target; everything else is echoed. */
const RESPONSES: Readonly<Record<string, string>> = {
  '/empty': 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  '/204': 'HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n',
  '/204-length': 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
  '/205': 'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n',
  '/304': 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',
  '/304-length': 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 1234\r\n\r\n',
  '/chunked':
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a="b"\r\n world\r\n0\r\n\r\n',
  '/trailers':
    'HTTP/1.1 200 OK\r\nTrailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n',
  '/103': `HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n${responseText('200 OK', 'hinted')}`,
  '/103-103': `${'HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n'.repeat(2)}${responseText('200 OK', 'hinted')}`,
  '/102': `HTTP/1.1 102 Processing\r\n\r\n${responseText('200 OK', 'processed')}`,
  '/odd-status': responseText('299 Whatever You Like', 'odd'),
  '/no-reason': responseText('200 ', 'unreasonable'),
  '/404': responseText('404 Not Found', 'no such thing'),
  '/500': responseText('500 Internal Server Error', 'broken'),
  '/old': 'HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold',
  '/old-kept': 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold',
};

async function serve(connection: OriginConnection): Promise<void> {
  for (;;) {
    const request = await connection.readRequest();
    if (request === null) break;
    const { target } = request;
    if (target === '/until-close') {
      await connection.write('HTTP/1.1 200 OK\r\n\r\nall that comes');
      break;
    }
    let response = RESPONSES[target];
    if (target.startsWith('/head-')) response = 'HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n';
    if (target === '/head-chunked') response = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
    if (response === undefined) {
      const body = JSON.stringify(echoOf(request, connection.number));
      response = request.method === 'HEAD' ? 'HTTP/1.1 200 OK\r\n\r\n' : responseText('200 OK', body);
    }
    await connection.write(response);
  }
  connection.end();
}

function suite(io: IoBackend): void {
  describe(`exchanges (${io})`, { concurrency: 8 }, () => {
    let origin: Origin;
    let edge: Edge;
    let patient: Origin;

    before(async () => {
      origin = await startOrigin(serve);
      // It says 100 before it reads the content.
      patient = await startOrigin(async (connection) => {
        await connection.readThrough('\r\n\r\n');
        await pause(50);
        await connection.write('HTTP/1.1 100 Continue\r\n\r\n');
        const request = await connection.readRequest();
        if (request === null) return;
        await connection.write(responseText('200 OK', JSON.stringify(echoOf(request, connection.number))));
      });
      edge = await startEdge(
        `
[path_routes."example.com"."/"]
type = "Proxy"
url = "${origin.url}"
[path_routes."example.com"."/patient"]
type = "Proxy"
url = "${patient.url}"
`,
        { io },
      );
    });

    after(async () => {
      await edge.stop();
      assert.deepEqual(origin.violations, []);
      assert.deepEqual(patient.violations, []);
      await origin.close();
      await patient.close();
    });

    for (const [framing, content] of [
      ['Content-Length: 5', 'hello'],
      ['Transfer-Encoding: chunked', '5\r\nhello\r\n0\r\n\r\n'],
    ]) {
      test(`100-continue: a client that waits gets 100, then its response (${framing})`, async () => {
        const client = await RawClient.connect(edge.port);
        await client.send(`POST /patient HTTP/1.1\r\n${HOST}Expect: 100-continue\r\n${framing}\r\n\r\n`);
        assert.match((await client.unreadAtLeast(25)).toString('latin1'), /^HTTP\/1\.1 100 /);
        await client.send(content);
        const response = await client.response('POST');
        assert.equal(response.status, 200);
        assert.deepEqual(
          response.interim.map(({ status }) => status),
          [100],
        );
        assert.equal(parseEcho(response.body).bodyLength, 5);
        client.destroy();
      });
    }

    test('100-continue: a client that gives up waiting for an origin that never says 100 is served', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send(`POST /plain HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`);
      await pause(200);
      await client.send('hello');
      assert.equal(parseEcho((await client.response('POST')).body).bodyLength, 5);
      client.destroy();
    });

    test('100-continue: a refusal comes instead of 100, and the content is not awaited', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send(
        'POST / HTTP/1.1\r\nHost: unknown.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n',
      );
      const response = await client.response('POST');
      assert.equal(response.status, 421);
      assert.deepEqual(response.interim, []);
      client.destroy();
    });

    test('a client that expects nothing gets no 100', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(`POST /a HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`);
      assert.deepEqual(response.interim, []);
      client.destroy();
    });

    for (const [target, interim] of [
      ['/103', [103]],
      ['/103-103', [103, 103]],
      ['/102', [102]],
    ] as const) {
      test(`interim responses pass: ${target}`, async () => {
        const client = await RawClient.connect(edge.port);
        const response = await client.request(get(target));
        assert.equal(response.status, 200);
        assert.deepEqual(
          response.interim.map(({ status }) => status),
          interim,
        );
        if (interim[0] === 103) assert.match(response.interim[0].get('link') ?? '', /a\.css/);
        client.destroy();
      });
    }

    test('a client of HTTP/1.0 gets no interim response', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(`GET /103 HTTP/1.0\r\n${HOST}\r\n`);
      assert.deepEqual([response.status, response.interim.length, response.text()], [200, 0, 'hinted']);
      await client.closed();
    });

    test('trailers of a request reach the origin', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(
        `POST /a HTTP/1.1\r\n${HOST}Trailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n`,
      );
      const echo = parseEcho(response.body);
      assert.equal(echo.bodyLength, 5);
      assert.deepEqual(
        echo.trailers.map(([name, value]) => [name.toLowerCase(), value]),
        [['x-checksum', 'abc']],
      );
      client.destroy();
    });

    test('trailers of a response reach a client that accepts them', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(get('/trailers', 'TE: trailers\r\nConnection: TE\r\n'));
      assert.equal(response.text(), 'hello');
      assert.deepEqual(
        response.trailers.map(([name, value]) => [name.toLowerCase(), value]),
        [['x-checksum', 'abc']],
      );
      client.destroy();
    });

    test('a response with trailers reaches a client that doesn’t accept them', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(get('/trailers'));
      assert.equal(response.text(), 'hello');
      client.destroy();
    });

    test('a chunked response reaches a client of HTTP/1.0 as its connection’s content', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(`GET /chunked HTTP/1.0\r\n${HOST}\r\n`);
      assert.equal(response.get('transfer-encoding'), undefined);
      assert.equal(response.text(), 'hello world');
      assert.equal(client.ending, 'end');
    });

    test('a response that its connection’s end delimits reaches both versions whole', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(get('/until-close'));
      assert.equal(response.text(), 'all that comes');
      client.destroy();
      const old = await exchangeOnce(edge.port, `GET /until-close HTTP/1.0\r\n${HOST}\r\n`);
      assert.equal(old.text(), 'all that comes');
    });

    test('a client of HTTP/1.0 that asks to be kept alive is', async () => {
      const client = await RawClient.connect(edge.port);
      for (const target of ['/1', '/2', '/3']) {
        const response = await client.request(
          `GET ${target} HTTP/1.0\r\n${HOST}Connection: keep-alive\r\n\r\n`,
        );
        assert.equal(parseEcho(response.body).target, target);
        assert.match(response.get('connection') ?? '', /keep-alive/i);
      }
      client.destroy();
    });

    for (const [target, length] of [
      ['/head-length', '1234'],
      ['/head-chunked', undefined],
      ['/nothing', undefined],
    ] as const) {
      test(`HEAD ${target} has no content and leaves the connection in order`, async () => {
        const client = await RawClient.connect(edge.port);
        const response = await client.request(`HEAD ${target} HTTP/1.1\r\n${HOST}\r\n`);
        assert.equal(response.status, 200);
        assert.equal(response.get('content-length'), length);
        assert.equal(parseEcho((await client.request(get('/next'))).body).target, '/next');
        client.destroy();
      });
    }

    for (const [target, status, length] of [
      ['/204', 204, undefined],
      ['/204-length', 204, undefined],
      ['/304', 304, undefined],
      ['/304-length', 304, '1234'],
      ['/205', 205, '0'],
      ['/empty', 200, '0'],
    ] as const) {
      test(`${target} has no content and leaves the connection in order`, async () => {
        const client = await RawClient.connect(edge.port);
        const response = await client.request(get(target));
        assert.deepEqual([response.status, response.body.length], [status, 0]);
        assert.equal(response.get('content-length'), length);
        assert.equal(parseEcho((await client.request(get('/next'))).body).target, '/next');
        client.destroy();
      });
    }

    for (const [target, line, body] of [
      ['/odd-status', 'HTTP/1.1 299 Whatever You Like', 'odd'],
      ['/404', 'HTTP/1.1 404 Not Found', 'no such thing'],
      ['/500', 'HTTP/1.1 500 Internal Server Error', 'broken'],
    ]) {
      test(`${target} passes as it is`, async () => {
        const response = await exchangeOnce(edge.port, get(target));
        assert.equal(response.startLine, line);
        assert.equal(response.text(), body);
      });
    }

    test('a response without a reason passes', async () => {
      const response = await exchangeOnce(edge.port, get('/no-reason'));
      assert.deepEqual([response.status, response.text()], [200, 'unreasonable']);
    });

    for (const target of ['/old', '/old-kept']) {
      test(`a response of HTTP/1.0 is sent as HTTP/1.1: ${target}`, async () => {
        const client = await RawClient.connect(edge.port);
        for (let round = 0; round < 3; round++) {
          const response = await client.request(get(target));
          assert.deepEqual([response.startLine, response.text()], ['HTTP/1.1 200 OK', 'old']);
        }
        client.destroy();
      });
    }

    test('every method passes', async () => {
      for (const method of [
        'GET',
        'POST',
        'PUT',
        'DELETE',
        'PATCH',
        'OPTIONS',
        'PROPFIND',
        'QUERY',
        'M-SEARCH',
      ]) {
        const response = await exchangeOnce(edge.port, `${method} /m HTTP/1.1\r\n${HOST}\r\n`);
        assert.equal(parseEcho(response.body).method, method);
      }
    });

    test('OPTIONS * is answered by the edge', async () => {
      const response = await exchangeOnce(edge.port, `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`);
      assert.equal(response.status, 204);
      assert.equal(response.get('content-length'), undefined);
    });

    test('TRACE and CONNECT are refused', async () => {
      const trace = await exchangeOnce(edge.port, `TRACE / HTTP/1.1\r\n${HOST}\r\n`);
      assert.equal(trace.status, 405);
      const tunnel = await exchangeOnce(
        edge.port,
        'CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n',
      );
      assert.equal(tunnel.status, 405);
    });

    test('an error of the edge’s own is a whole response with a length and a date', async () => {
      const response = await exchangeOnce(edge.port, 'GET / HTTP/1.1\r\nHost: unknown.example\r\n\r\n');
      assert.equal(response.status, 421);
      assert.equal(response.get('content-length'), String(response.body.length));
      assert.ok(!Number.isNaN(Date.parse(response.get('date') ?? '')), 'no date');
    });

    test('a hundred requests of one client use few connections to the origin', async () => {
      const connectionsBefore = origin.connections.length;
      const client = await RawClient.connect(edge.port);
      const used = new Set<number>();
      for (let index = 0; index < 100; index++) {
        const echo = parseEcho((await client.request(get(`/reuse/${index}`))).body);
        assert.equal(echo.target, `/reuse/${index}`);
        used.add(echo.connection);
      }
      client.destroy();
      // Other tests of this suite take and give connections meanwhile.
      assert.ok(used.size <= 20, `${used.size} connections`);
      assert.ok(origin.connections.length - connectionsBefore <= 40);
    });

    test('the origin is spoken to in HTTP/1.1, with no field of the client’s connection', async () => {
      const response = await exchangeOnce(
        edge.port,
        `GET /a HTTP/1.0\r\n${HOST}Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\r\n`,
      );
      const echo = parseEcho(response.body);
      assert.equal(echo.minor, 1);
      for (const name of ['X-Hop', 'Keep-Alive', 'Proxy-Connection'])
        assert.equal(echoed(echo, name), undefined);
    });

    test('a client that leaves while its origin thinks lets the origin know', async () => {
      const thinker = await startOrigin(async (connection) => {
        await connection.readRequest();
      });
      const other = await startEdge(
        `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${thinker.url}"\n`,
        { io },
      );
      const client = await RawClient.connect(other.port);
      await client.send(get('/think'));
      await until(() => thinker.connections.length === 1, 3000, 'the request at the origin');
      client.reset();
      await thinker.connections[0].untilEnded();
      await other.stop();
      await thinker.close();
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
