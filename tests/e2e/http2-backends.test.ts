/** Backends that are spoken to in HTTP/2: Node's http2 behind the started product, clients of HTTP/1.1 before it. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, unlinkSync } from 'node:fs';
import { Agent, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import {
  createSecureServer,
  createServer,
  type IncomingHttpHeaders as Http2Headers,
  type Http2SecureServer,
  type Http2Server,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { sha256, socketPath } from '../fixtures/origin.ts';
import { until, within } from '../fixtures/patience.ts';
import { RawClient } from '../fixtures/raw-client.ts';

const LARGE_BYTES = 10 * 1024 * 1024;
const large = randomBytes(LARGE_BYTES);
const PATIENCE_MS = 20_000;

type Script = (stream: ServerHttp2Stream, headers: Http2Headers) => void;

class Backend {
  readonly sessions: ServerHttp2Session[] = [];
  /** Streams at once, at most, on one connection. */
  busiest = 0;
  requests = 0;
  readonly paths: string[] = [];
  script: Script = answer;
  readonly server: Http2Server | Http2SecureServer;
  url = '';

  private readonly isSecure: boolean;

  constructor(options: ServerOptions | SecureServerOptions) {
    this.isSecure = 'key' in options;
    this.server = this.isSecure ? createSecureServer(options) : createServer(options);
    this.server.on('session', (session) => {
      this.sessions.push(session);
      session.on('error', () => session.destroy());
    });
    this.server.on('stream', (stream: ServerHttp2Stream, headers) => {
      stream.on('error', () => stream.destroy());
      this.requests++;
      this.paths.push(String(headers[':path']));
      this.script(stream, headers);
    });
  }

  async listen(path: string | null): Promise<this> {
    if (path === null) this.server.listen(0, '127.0.0.1');
    else this.server.listen(path);
    await once(this.server, 'listening');
    this.url =
      path === null
        ? `${this.isSecure ? 'https' : 'http'}://127.0.0.1:${(this.server.address() as AddressInfo).port}`
        : `unix:${path}`;
    return this;
  }

  get open(): number {
    return this.sessions.filter((session) => !session.destroyed).length;
  }

  reset(): void {
    this.script = answer;
    this.requests = 0;
    this.paths.length = 0;
  }

  close(): void {
    for (const session of this.sessions) session.destroy();
    this.server.close();
  }
}

/** Answers with what was asked, or with what the path names. */
function answer(stream: ServerHttp2Stream, headers: Http2Headers): void {
  const path = String(headers[':path']);
  if (path === '/large') {
    const isHead = headers[':method'] === 'HEAD';
    stream.respond({ ':status': 200, 'content-length': LARGE_BYTES }, { endStream: isHead });
    if (!isHead) stream.end(large);
    return;
  }
  if (path === '/empty') {
    stream.respond({ ':status': 200 }, { endStream: true });
    return;
  }
  if (path === '/nothing' || path === '/unchanged') {
    stream.respond({ ':status': path === '/nothing' ? 204 : 304, etag: '"a"' }, { endStream: true });
    return;
  }
  if (path === '/hints') stream.additionalHeaders({ ':status': 103, link: '</a.css>; rel=preload' });
  const content: Buffer[] = [];
  let trailers: Http2Headers = {};
  stream.on('trailers', (fields) => (trailers = fields));
  stream.on('data', (chunk: Buffer) => content.push(chunk));
  stream.on('end', () => {
    if (stream.destroyed) return;
    const body = Buffer.concat(content);
    const told = JSON.stringify({ headers, trailers, length: body.length, sha256: sha256(body) });
    stream.respond(
      { ':status': 200, 'set-cookie': ['a=1', 'b=2'] },
      { waitForTrailers: path === '/trailers' },
    );
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'abc' }));
    stream.end(told);
  });
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
  readonly body: Buffer;
  readonly complete: boolean;
  readonly hints: number[];
}

interface Told {
  readonly headers: Record<string, string>;
  readonly trailers: Record<string, string>;
  readonly length: number;
  readonly sha256: string;
}

function told(reply: Answer): Told {
  assert.equal(reply.status, 200, reply.body.toString());
  return JSON.parse(reply.body.toString()) as Told;
}

const agent = new Agent({ keepAlive: true, maxSockets: 200 });

interface Ask {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: Buffer;
  readonly trailers?: Record<string, string>;
}

function ask(edge: Edge, host: string, path: string, options: Ask = {}): Promise<Answer> {
  const replied = new Promise<Answer>((resolve, reject) => {
    const hints: number[] = [];
    const outgoing = request({
      port: edge.port,
      path,
      agent,
      method: options.method ?? 'GET',
      headers: { host: `${host}.test`, ...options.headers },
    });
    outgoing.on('information', (info: { statusCode: number }) => hints.push(info.statusCode));
    outgoing.on('error', reject);
    outgoing.on('response', (incoming: IncomingMessage) => {
      const content: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => content.push(chunk));
      incoming.on('error', () => undefined);
      incoming.on('close', () =>
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers,
          trailers: incoming.trailers,
          body: Buffer.concat(content),
          complete: incoming.complete,
          hints,
        }),
      );
    });
    if (options.trailers !== undefined) {
      outgoing.setHeader('trailer', Object.keys(options.trailers).join(', '));
      outgoing.write(options.body ?? '');
      outgoing.addTrailers(options.trailers);
      outgoing.end();
    } else outgoing.end(options.body);
  });
  return within(replied, PATIENCE_MS, `an answer to ${path}`);
}

for (const io of IO_BACKENDS) {
  describe(`a backend that speaks h2c (${io})`, () => {
    let edge: Edge;
    let tcp: Backend;
    let unix: Backend;
    let narrow: Backend;
    let talks: Backend;
    const path = socketPath();

    before(async () => {
      tcp = await new Backend({ settings: { maxConcurrentStreams: 1000 } }).listen(null);
      unix = await new Backend({}).listen(path);
      narrow = await new Backend({ settings: { maxConcurrentStreams: 2 } }).listen(null);
      talks = await new Backend({ settings: { enableConnectProtocol: true } }).listen(null);
      const route = (host: string, url: string, more = ''): string =>
        `[host_routes."${host}.test"]\ntype = "Proxy"\nurl = "${url}"\nuse_h2c = true\n${more}\n`;
      edge = await startEdge(
        [
          route('tcp', tcp.url),
          route('unix', unix.url),
          route('narrow', narrow.url),
          route('talks', talks.url),
          route('base', `${tcp.url}/base`, 'host_header = "upstream"'),
          route('hasty', tcp.url, 'security = { backend_response_timeout_secs = 1 }'),
          route('brief', tcp.url, 'security = { idle_connection_timeout_secs = 1 }'),
        ].join('\n'),
        { io },
      );
    });

    after(async () => {
      await edge.stop();
      for (const backend of [tcp, unix, narrow, talks]) backend.close();
      if (existsSync(path)) unlinkSync(path);
    });

    test('gets the request in pseudo-fields, without the fields of the hop', async () => {
      const { headers } = told(
        await ask(edge, 'tcp', '/a/b?c=d', {
          headers: { connection: 'keep-alive, te, x-hop', te: 'trailers', 'x-hop': '1', 'x-end': '2' },
        }),
      );
      assert.equal(headers[':method'], 'GET');
      assert.equal(headers[':scheme'], 'http');
      assert.equal(headers[':authority'], 'tcp.test');
      assert.equal(headers[':path'], '/a/b?c=d');
      assert.equal(headers['te'], 'trailers');
      assert.equal(headers['x-end'], '2');
      assert.equal(headers['x-forwarded-for'], '127.0.0.1');
      for (const name of ['host', 'connection', 'keep-alive', 'x-hop', 'transfer-encoding'])
        assert.equal(headers[name], undefined, name);
    });

    test('gets its own path and authority where the route says so', async () => {
      const { headers } = told(await ask(edge, 'base', '/x?y'));
      assert.equal(headers[':path'], '/base/x?y');
      assert.equal(headers[':authority'], tcp.url.slice('http://'.length));
    });

    for (const host of ['tcp', 'unix']) {
      test(`takes 10 MiB and sends as much (${host})`, async () => {
        const up = told(await ask(edge, host, '/up', { method: 'POST', body: large }));
        assert.equal(up.length, LARGE_BYTES);
        assert.equal(up.sha256, sha256(large));
        assert.equal(up.headers['content-length'], String(LARGE_BYTES));
        const down = await ask(edge, host, '/large');
        assert.equal(sha256(down.body), sha256(large));
      });
    }

    test('gets trailers and sends them', async () => {
      const reply = await ask(edge, 'tcp', '/trailers', {
        method: 'POST',
        body: Buffer.from('hello'),
        headers: { te: 'trailers', connection: 'te', 'transfer-encoding': 'chunked' },
        trailers: { 'x-check': '17' },
      });
      const { trailers, length } = told(reply);
      assert.equal(trailers['x-check'], '17');
      assert.equal(length, 5);
      assert.equal(reply.trailers['x-sum'], 'abc');
      assert.deepEqual(reply.headers['set-cookie'], ['a=1', 'b=2']);
    });

    test('answers without content', async () => {
      for (const [at, status] of [
        ['/empty', 200],
        ['/nothing', 204],
        ['/unchanged', 304],
      ] as const) {
        const reply = await ask(edge, 'tcp', at);
        assert.equal(reply.status, status);
        assert.equal(reply.body.length, 0);
      }
      const head = await ask(edge, 'tcp', '/large', { method: 'HEAD' });
      assert.equal(head.status, 200);
      assert.equal(head.headers['content-length'], String(LARGE_BYTES));
      assert.equal(head.body.length, 0);
    });

    test('may hint before it answers', async () => {
      const reply = await ask(edge, 'tcp', '/hints');
      assert.deepEqual(reply.hints, [103]);
      assert.equal(reply.status, 200);
    });

    test('serves 100 exchanges at once on one connection', async () => {
      tcp.reset();
      await ask(edge, 'tcp', '/warm');
      const connections = tcp.sessions.length;
      const held: ServerHttp2Stream[] = [];
      tcp.script = (stream) => {
        held.push(stream);
        if (held.length < 100) return;
        for (const [index, one] of held.entries()) {
          one.respond({ ':status': 200 });
          one.end(String(index));
        }
      };
      const replies = await Promise.all(
        Array.from({ length: 100 }, (_, index) => ask(edge, 'tcp', `/${index}`)),
      );
      assert.deepEqual(
        replies.map(({ status }) => status),
        Array(100).fill(200),
      );
      assert.equal(tcp.sessions.length, connections);
      tcp.reset();
    });

    test('gets a further connection for each two where it takes two at once', async () => {
      narrow.reset();
      const held: ServerHttp2Stream[] = [];
      narrow.script = (stream) => {
        held.push(stream);
        if (held.length < 6) return;
        for (const one of held) {
          one.respond({ ':status': 200 });
          one.end('ok');
        }
      };
      const replies = await Promise.all(
        Array.from({ length: 6 }, (_, index) => ask(edge, 'narrow', `/${index}`)),
      );
      assert.ok(replies.every(({ status }) => status === 200));
      assert.equal(narrow.sessions.length, 3);
      narrow.reset();
    });

    test('leaves with GOAWAY: what it took it ends, what comes then goes over another connection', async () => {
      tcp.reset();
      await ask(edge, 'tcp', '/warm');
      const before = tcp.sessions.length;
      let held: ServerHttp2Stream | null = null;
      tcp.script = (stream, headers) => {
        if (headers[':path'] !== '/slow') {
          answer(stream, headers);
          return;
        }
        held = stream;
        stream.session?.goaway(0);
      };
      const slow = ask(edge, 'tcp', '/slow');
      await until(() => held !== null, PATIENCE_MS, 'the slow request');
      assert.equal((await ask(edge, 'tcp', '/next')).status, 200);
      (held as ServerHttp2Stream | null)?.respond({ ':status': 200 });
      (held as ServerHttp2Stream | null)?.end('late');
      assert.equal((await slow).body.toString(), 'late');
      assert.ok(tcp.sessions.length > before, 'a further connection');
      tcp.reset();
    });

    test('refuses a stream: the request, whatever its method, comes once more', async () => {
      tcp.reset();
      let refused = 0;
      tcp.script = (stream, headers) => {
        if (refused++ === 0) stream.close(7);
        else answer(stream, headers);
      };
      const body = Buffer.from('once');
      const reply = told(await ask(edge, 'tcp', '/refused', { method: 'POST', body }));
      assert.equal(reply.length, 4);
      assert.equal(refused, 2);
      tcp.reset();
    });

    test('resets a stream: 502, or a response that is cut', async () => {
      tcp.reset();
      tcp.script = (stream) => stream.close(2);
      assert.equal((await ask(edge, 'tcp', '/reset')).status, 502);
      assert.equal(tcp.requests, 1);
      tcp.script = (stream) => {
        stream.respond({ ':status': 200 });
        stream.write('begun', () => stream.destroy(new Error('on purpose')));
      };
      const cut = await ask(edge, 'tcp', '/cut').catch(() => null);
      // While nothing of it has left, a broken response gives way to a 502.
      assert.ok(cut === null || !cut.complete || cut.status === 502);
      await edge.logged(/status=502 .*reason=stream-reset-by-backend/);
      tcp.reset();
    });

    test('answers before it has the whole request, and resets the rest', async () => {
      tcp.reset();
      tcp.script = (stream) => {
        stream.respond({ ':status': 413 });
        stream.end('no', () => stream.close(0));
      };
      const client = await RawClient.connect(edge.port);
      client.socket.write('POST /early HTTP/1.1\r\nHost: tcp.test\r\nContent-Length: 1000000\r\n\r\nabc');
      const outcome = await client.outcome();
      assert.equal(outcome.response?.status, 413);
      client.socket.destroy();
      tcp.reset();
      assert.equal((await ask(edge, 'tcp', '/after')).status, 200);
    });

    test('is too slow: 504 for the one request, and the connection goes on', async () => {
      tcp.reset();
      let code = -1;
      tcp.script = (stream, headers) => {
        if (headers[':path'] === '/never') stream.on('close', () => (code = stream.rstCode));
        else answer(stream, headers);
      };
      await ask(edge, 'hasty', '/warm');
      const before = tcp.sessions.length;
      const never = ask(edge, 'hasty', '/never');
      assert.equal((await ask(edge, 'hasty', '/other')).status, 200);
      assert.equal((await never).status, 504);
      await until(() => code === 8, PATIENCE_MS, 'RST_STREAM with CANCEL');
      assert.equal((await ask(edge, 'tcp', '/after')).status, 200);
      assert.equal(tcp.sessions.length, before);
      tcp.reset();
    });

    test('is not stopped by a client that does not read', async () => {
      tcp.reset();
      const client = await RawClient.connect(edge.port);
      client.socket.pause();
      client.socket.write('GET /large HTTP/1.1\r\nHost: tcp.test\r\n\r\n');
      await until(() => tcp.requests === 1, PATIENCE_MS, 'the request');
      for (let count = 0; count < 5; count++)
        assert.equal((await ask(edge, 'tcp', '/large')).body.length, LARGE_BYTES);
      client.socket.resume();
      const outcome = await client.outcome();
      assert.equal(sha256(outcome.body), sha256(large));
      client.socket.destroy();
    });

    test('goes away in the middle: what it had begun to answer is cut, the rest 502', async () => {
      tcp.reset();
      tcp.script = (stream) => {
        stream.respond({ ':status': 200 });
        stream.write('begun', () => stream.session?.destroy());
      };
      const cut = await ask(edge, 'tcp', '/gone').catch(() => null);
      assert.ok(cut === null || !cut.complete || cut.status === 502);
      tcp.reset();
      assert.equal((await ask(edge, 'tcp', '/after')).status, 200);
    });

    test('gets a websocket by extended CONNECT where it allows that', async () => {
      const seen: Http2Headers[] = [];
      let ended = false;
      talks.script = (stream, headers) => {
        seen.push(headers);
        stream.respond({ ':status': 200, 'sec-websocket-protocol': 'chat' });
        stream.on('data', (chunk: Buffer) => stream.write(chunk));
        stream.on('end', () => {
          ended = true;
          stream.end();
        });
      };
      const client = await RawClient.connect(edge.port);
      await client.send(
        'GET /ws?x HTTP/1.1\r\nHost: talks.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n' +
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
      );
      const head = (await client.unreadAtLeast(100)).toString('latin1');
      assert.match(head, /^HTTP\/1\.1 101 /);
      assert.match(head, /sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/i);
      assert.match(head, /upgrade: websocket\r\n/i);
      assert.match(head, /sec-websocket-protocol: chat\r\n/i);
      assert.equal(seen[0][':method'], 'CONNECT');
      assert.equal(seen[0][':protocol'], 'websocket');
      assert.equal(seen[0][':path'], '/ws?x');
      assert.equal(seen[0][':scheme'], 'http');
      assert.equal(seen[0]['sec-websocket-key'], undefined);
      client.discard(client.unreadLength());
      await client.send(large.subarray(0, 1_000_000));
      assert.equal(sha256(await client.unreadAtLeast(1_000_000)), sha256(large.subarray(0, 1_000_000)));
      client.finish();
      assert.equal(await client.closed(), 'end');
      assert.ok(ended);
      assert.equal((await ask(edge, 'talks', '/after')).status, 200);
    });

    test('is told nothing of a websocket where it does not: 502', async () => {
      const reply = await ask(edge, 'tcp', '/ws', {
        headers: {
          connection: 'upgrade',
          upgrade: 'websocket',
          'sec-websocket-key': 'x3JJHMbDL1EzLkh9GBhXDw==',
          'sec-websocket-version': '13',
        },
      });
      assert.equal(reply.status, 502);
    });
  });
}

const authority = testAuthority();
const identity = authority.server(['127.0.0.1']);

for (const io of IO_BACKENDS) {
  describe(`a backend that chooses HTTP/2 over TLS (${io})`, () => {
    let edge: Edge;
    let backend: Backend;
    let narrow: Backend;
    let upgrades = 0;
    const files = { key: identity.key, cert: identity.cert };

    before(async () => {
      backend = await new Backend({
        ...files,
        allowHTTP1: true,
        settings: { maxConcurrentStreams: 1000 },
      }).listen(null);
      narrow = await new Backend({ ...files, settings: { maxConcurrentStreams: 2 } }).listen(null);
      backend.server.on('upgrade', (_request: IncomingMessage, socket: Socket) => {
        upgrades++;
        socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi');
      });
      const route = (host: string, url: string): string =>
        `[host_routes."${host}.test"]\ntype = "Proxy"\nurl = "${url}"\nca_path = "${authority.certPath}"\n`;
      edge = await startEdge([route('tls', backend.url), route('narrow', narrow.url)].join('\n'), { io });
    });

    after(async () => {
      await edge.stop();
      backend.close();
      narrow.close();
    });

    test('gets requests that come together at the very start', async () => {
      const replies = await Promise.all(
        Array.from({ length: 20 }, (_, index) => ask(edge, 'tls', `/${index}`)),
      );
      for (const reply of replies) assert.equal(told(reply).headers[':scheme'], 'https');
      const before = backend.sessions.length;
      assert.ok(before <= 20);
    });

    test('takes 10 MiB and sends as much', async () => {
      const up = told(await ask(edge, 'tls', '/up', { method: 'POST', body: large }));
      assert.equal(up.sha256, sha256(large));
      assert.equal(sha256((await ask(edge, 'tls', '/large')).body), sha256(large));
    });

    test('serves 100 exchanges at once without a further connection', async () => {
      backend.reset();
      await ask(edge, 'tls', '/warm');
      const before = backend.sessions.length;
      const held: ServerHttp2Stream[] = [];
      backend.script = (stream) => {
        held.push(stream);
        if (held.length < 100) return;
        for (const one of held) {
          one.respond({ ':status': 200 });
          one.end('ok');
        }
      };
      const replies = await Promise.all(
        Array.from({ length: 100 }, (_, index) => ask(edge, 'tls', `/${index}`)),
      );
      assert.ok(replies.every(({ status }) => status === 200));
      assert.equal(backend.sessions.length, before);
      backend.reset();
    });

    test('gets further connections where it takes two at once', async () => {
      narrow.reset();
      const held: ServerHttp2Stream[] = [];
      narrow.script = (stream) => {
        held.push(stream);
        if (held.length < 6) return;
        for (const one of held) {
          one.respond({ ':status': 200 });
          one.end('ok');
        }
      };
      const replies = await Promise.all(
        Array.from({ length: 6 }, (_, index) => ask(edge, 'narrow', `/${index}`)),
      );
      assert.ok(replies.every(({ status }) => status === 200));
      narrow.reset();
    });

    test('is asked for a websocket in HTTP/1.1', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send(
        'GET /ws HTTP/1.1\r\nHost: tls.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n' +
          'Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n',
      );
      await until(() => upgrades === 1, PATIENCE_MS, 'the upgrade');
      client.destroy();
      assert.equal(told(await ask(edge, 'tls', '/after')).headers[':scheme'], 'https');
    });

    test('leaves with GOAWAY, and is connected to again', async () => {
      backend.reset();
      for (const session of backend.sessions) if (!session.destroyed) session.goaway(0);
      assert.equal((await ask(edge, 'tls', '/next')).status, 200);
    });
  });
}
