/** HTTP/2 of clients, over TLS (by ALPN) and without (prior knowledge): curl, nghttp, h2load and Node.js before the started product. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { sha256 } from '../fixtures/origin.ts';
import { until, within } from '../fixtures/patience.ts';
import { RawClient } from '../fixtures/raw-client.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

const PATIENCE_MS = 20_000;
const LARGE_BYTES = 10 * 1024 * 1024;
const large = randomBytes(LARGE_BYTES);
const HOST = 'www.example';
const LIMITED = 'limited.example';
const BODY_BYTES_MAX = 1000;
const SESSION_MEGABYTES_MAX = 200;

const authority = testAuthority();
const certificate = authority.server([HOST, LIMITED, 'nowhere.example']);

/** A program with nothing on its standard input: all that it writes. It must succeed. */
function run(command: string, ...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      args,
      { timeout: 60_000, maxBuffer: 1 << 26, encoding: 'latin1' },
      (error, stdout, stderr) => {
        if (error !== null) reject(new Error(`${command}: ${error}\n${stderr}`));
        else resolve(stdout + stderr);
      },
    );
    child.stdin?.end();
  });
}

// ---- The backend -------------------------------------------------------------------------------------

/** What the backend knows of requests that it holds back, by their paths. */
const held = new Map<string, ServerResponse>();
const gone: string[] = [];

function answer(incoming: IncomingMessage, response: ServerResponse): void {
  const path = String(incoming.url);
  incoming.on('error', () => undefined);
  if (path.startsWith('/held')) {
    held.set(path, response);
    response.on('close', () => {
      if (!response.writableFinished) gone.push(path);
    });
    incoming.resume();
    return;
  }
  if (path === '/large') {
    response.writeHead(200, { 'content-length': LARGE_BYTES });
    response.end(large);
  } else if (path === '/hints') {
    response.writeEarlyHints({ link: '</app.js>; rel=preload; as=script' });
    response.end('hinted');
  } else if (path === '/trailers') {
    response.writeHead(200, { trailer: 'checksum' });
    response.write('content');
    response.addTrailers({ checksum: 'abc' });
    response.end();
  } else if (path === '/early') {
    response.writeHead(403, { 'content-length': 3 });
    response.end('no.');
  } else {
    const content: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => content.push(chunk));
    incoming.on('end', () => {
      const body = Buffer.concat(content);
      const { method, headers, trailers, httpVersion } = incoming;
      response.end(
        JSON.stringify({
          method,
          path,
          headers,
          trailers,
          httpVersion,
          bytes: body.length,
          hash: sha256(body),
        }),
      );
    });
  }
}

// ---- The client --------------------------------------------------------------------------------------

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly trailers: IncomingHttpHeaders;
  readonly informational: readonly IncomingHttpHeaders[];
}

/** The rest of a stream. Rejects when it is reset. */
function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  const got = new Promise<Answer>((resolve, reject) => {
    const content: Buffer[] = [];
    const informational: IncomingHttpHeaders[] = [];
    let headers: IncomingHttpHeaders & IncomingHttpStatusHeader = {};
    let trailers: IncomingHttpHeaders = {};
    stream.on('headers', (each) => informational.push(each));
    stream.on('response', (each) => {
      headers = each;
    });
    stream.on('trailers', (each) => {
      trailers = each;
    });
    stream.on('data', (chunk: Buffer) => content.push(chunk));
    stream.on('error', reject);
    stream.on('close', () => {
      if (headers[':status'] === undefined) reject(new Error(`closed unanswered, code ${stream.rstCode}`));
      else
        resolve({
          status: Number(headers[':status']),
          headers,
          body: Buffer.concat(content),
          trailers,
          informational,
        });
    });
  });
  return within(got, PATIENCE_MS, 'an answer');
}

class Client {
  readonly session: ClientHttp2Session;
  /** Last stream identifiers of the GOAWAY frames that came. */
  readonly goaways: number[] = [];
  private readonly scheme: string;

  constructor(port: number, isSecure: boolean) {
    this.scheme = isSecure ? 'https' : 'http';
    const tls = isSecure ? { ca: authority.cert, servername: HOST } : {};
    // What it holds for tests is more than Node.js allows by itself.
    const options = { ...tls, maxSessionMemory: SESSION_MEGABYTES_MAX };
    this.session = connect(`${this.scheme}://127.0.0.1:${port}`, options);
    this.session.on('error', () => undefined);
    this.session.on('goaway', (_code, lastId) => this.goaways.push(lastId ?? -1));
  }

  start(fields: OutgoingHttpHeaders, endStream = true): ClientHttp2Stream {
    return this.session.request(
      { ':scheme': this.scheme, ':authority': HOST, ...fields },
      { endStream, waitForTrailers: false },
    );
  }

  get(path: string, fields: OutgoingHttpHeaders = {}): Promise<Answer> {
    return answerOf(this.start({ ':path': path, ...fields }));
  }

  post(path: string, body: Buffer, fields: OutgoingHttpHeaders = {}): Promise<Answer> {
    const stream = this.start({ ':method': 'POST', ':path': path, ...fields }, false);
    const answered = answerOf(stream);
    stream.end(body);
    return answered;
  }

  close(): void {
    this.session.destroy();
  }
}

// ---- The edge ----------------------------------------------------------------------------------------

let directory: string;
let origin: NodeServer;

function configuration(port: number, isSecure: boolean): string {
  const tls = isSecure
    ? `[tls]\ncert_path = "${certificate.certPath}"\nkey_path = "${certificate.keyPath}"\n`
    : '';
  return `
[server]
listen = "127.0.0.1:${port}"
threads = 1
[logging]
level = "info"
${tls}
[path_routes."${HOST}"."/"]
type = "Proxy"
url = "${origin.url}"
[path_routes."${HOST}"."/site"]
type = "File"
path = "${join(directory, 'site')}"
[path_routes."${LIMITED}"."/"]
type = "Proxy"
url = "${origin.url}"
[path_routes."${LIMITED}"."/".security]
max_request_body_size = ${BODY_BYTES_MAX}
max_chunked_body_size = ${BODY_BYTES_MAX}
max_request_header_size = 2048
client_body_timeout_secs = 1
`;
}

function start(io: IoBackend, isSecure: boolean): Promise<Edge> {
  return startEdge('', { io, config: (port) => configuration(port, isSecure) });
}

before(async () => {
  directory = openFolder('http2');
  mkdirSync(join(directory, 'site'));
  writeFileSync(join(directory, 'site/large'), large);
  writeFileSync(join(directory, 'site/small.txt'), 'A small file.\n');
  writeFileSync(join(directory, 'upload'), large);
  origin = await startNodeServer(answer);
});

after(async () => {
  await origin?.close();
  rmSync(directory, { recursive: true, force: true });
});

function exchanges(io: IoBackend, isSecure: boolean): void {
  const how = isSecure ? 'over TLS' : 'with prior knowledge';

  describe(`HTTP/2 ${how} (${io})`, () => {
    let edge: Edge;
    let client: Client;
    let base: string;

    before(async () => {
      edge = await start(io, isSecure);
      client = new Client(edge.port, isSecure);
      base = `${isSecure ? 'https' : 'http'}://${HOST}:${edge.port}`;
    });
    after(async () => {
      client?.close();
      await edge?.stop();
    });

    function curl(path: string, ...args: string[]): Promise<string> {
      const flags = isSecure ? ['--http2', '--cacert', authority.certPath] : ['--http2-prior-knowledge'];
      const resolved = ['--resolve', `${HOST}:${edge.port}:127.0.0.1`];
      return run('curl', '-sS', '--max-time', '30', ...flags, ...resolved, ...args, `${base}${path}`);
    }

    test('curl gets an answer in HTTP/2, and the backend a request in HTTP/1.1', async () => {
      const answered = await curl('/seen', '-w', '\n%{http_version} %{http_code}');
      const [json, version] = answered.split('\n');
      const seen = JSON.parse(json);
      assert.equal(version, '2 200');
      assert.equal(seen.httpVersion, '1.1');
      assert.equal(seen.headers.host, `${HOST}:${edge.port}`);
      assert.equal(seen.headers['x-forwarded-for'], '127.0.0.1');
      assert.equal(seen.headers['x-forwarded-proto'], isSecure ? 'https' : 'http');
      assert.equal(seen.headers['x-forwarded-host'], `${HOST}:${edge.port}`);
    });

    test('curl sends and gets 10 MiB unspoilt', async () => {
      const seen = JSON.parse(await curl('/upload', '--data-binary', `@${join(directory, 'upload')}`));
      assert.deepEqual([seen.bytes, seen.hash], [LARGE_BYTES, sha256(large)]);
      const file = join(directory, `download-${io}-${isSecure}`);
      await curl('/large', '-o', file);
      assert.equal(sha256(readFileSync(file)), sha256(large));
    });

    test('curl gets files, parts of files, and what has not changed', async () => {
      const file = join(directory, `file-${io}-${isSecure}`);
      await curl('/site/large', '-o', file);
      assert.equal(sha256(readFileSync(file)), sha256(large));
      await curl('/site/large', '-o', file, '-r', '1000000-1999999');
      assert.equal(sha256(readFileSync(file)), sha256(large.subarray(1_000_000, 2_000_000)));
      const head = await curl('/site/small.txt', '-I');
      const etag = /^etag: (.+)\r$/m.exec(head)?.[1] ?? '';
      assert.match(head, /^HTTP\/2 200 \r\n/);
      const same = await curl('/site/small.txt', '-i', '-H', `If-None-Match: ${etag}`);
      assert.match(same, /^HTTP\/2 304 \r\n/);
    });

    test('nghttp gets several files at once', async () => {
      const paths = ['/site/small.txt', '/large', '/seen', '/site/large'];
      const urls = paths.map((path) => `${isSecure ? 'https' : 'http'}://127.0.0.1:${edge.port}${path}`);
      const said = await run('nghttp', '-s', '-n', `-H:authority: ${HOST}`, ...urls);
      for (const path of paths)
        assert.match(said, new RegExp(`\\b200 +\\S+ ${path}$`, 'm'), `${path} is in ${said}`);
    });

    test('h2load: ten connections of 32 streams, and no request fails', async () => {
      const url = `${isSecure ? 'https' : 'http'}://127.0.0.1:${edge.port}/site/small.txt`;
      const said = await run('h2load', '-n', '4000', '-c', '10', '-m', '32', `-H:authority: ${HOST}`, url);
      assert.match(said, /4000 succeeded, 0 failed, 0 errored, 0 timeout/);
      assert.match(said, /status codes: 4000 2xx/);
    });

    test('10 MiB both ways on many streams at once', async () => {
      const all = await Promise.all([
        client.post('/one', large),
        client.get('/large'),
        client.get('/site/large'),
        client.post('/two', large),
        client.get('/seen'),
      ]);
      for (const index of [0, 3]) assert.equal(JSON.parse(all[index].body.toString()).hash, sha256(large));
      for (const index of [1, 2]) assert.equal(sha256(all[index].body), sha256(large));
    });

    test('trailers of responses', async () => {
      const { body, trailers } = await client.get('/trailers', { te: 'trailers' });
      assert.equal(body.toString(), 'content');
      assert.equal(trailers['checksum'], 'abc');
    });

    test('trailers of requests', async () => {
      const stream = client.session.request(
        { ':scheme': isSecure ? 'https' : 'http', ':authority': HOST, ':method': 'POST', ':path': '/sent' },
        { waitForTrailers: true },
      );
      stream.on('wantTrailers', () => stream.sendTrailers({ checksum: 'def' }));
      const answered = answerOf(stream);
      stream.end('content');
      const seen = JSON.parse((await answered).body.toString());
      assert.equal(seen.bytes, 7);
      assert.equal(seen.trailers.checksum, 'def');
    });

    test('103 Early Hints and 100 Continue', async () => {
      const hinted = await client.get('/hints');
      assert.equal(hinted.informational[0]?.[':status' as 'link'], 103);
      assert.equal(hinted.informational[0]?.['link'], '</app.js>; rel=preload; as=script');
      assert.equal(hinted.body.toString(), 'hinted');
      const said = await curl(
        '/upload',
        '-v',
        '-H',
        'Expect: 100-continue',
        '--data-binary',
        'x'.repeat(100),
      );
      assert.match(said, /^< HTTP\/2 100/m);
      assert.match(said, /"bytes":100/);
    });

    test('an answer before the content is there', async () => {
      const stream = client.start({ ':method': 'POST', ':path': '/early' }, false);
      const answered = answerOf(stream);
      stream.write(Buffer.alloc(1000));
      const { status, body } = await answered;
      assert.equal(status, 403);
      assert.equal(body.toString(), 'no.');
      assert.equal((await client.get('/seen')).status, 200);
    });

    test('cookie crumbs are one field again', async () => {
      const { body } = await client.get('/seen', { cookie: ['a=1', 'b=2'] });
      assert.equal(JSON.parse(body.toString()).headers.cookie, 'a=1; b=2');
    });

    test('a stream that is reset ends its request at the backend, and no other', async () => {
      const path = `/held/reset-${io}-${isSecure}`;
      const stream = client.start({ ':path': path });
      stream.on('error', () => undefined);
      await until(() => held.has(path), PATIENCE_MS, 'the request at the backend');
      stream.close(constants.NGHTTP2_CANCEL);
      await until(() => gone.includes(path), PATIENCE_MS, 'the end of the request at the backend');
      assert.equal((await client.get('/seen')).status, 200);
    });

    test('a stream that is not read holds up no other', async () => {
      const slow = client.start({ ':path': '/large' });
      const head = once(slow, 'response');
      const answered = answerOf(slow);
      slow.pause();
      await within(head, PATIENCE_MS, 'the head of the slow one');
      assert.equal((await client.get('/seen')).status, 200);
      slow.resume();
      assert.equal(sha256((await answered).body), sha256(large));
    });

    test('an unknown host is 421, on its stream only', async () => {
      assert.equal((await client.get('/', { ':authority': 'nowhere.example' })).status, 421);
      assert.equal((await client.get('/seen')).status, 200);
    });

    test('limits are those of the route: 431, 413, 408', async () => {
      const limited = { ':authority': LIMITED };
      assert.equal((await client.get('/x', { ...limited, filler: 'x'.repeat(2100) })).status, 431);
      assert.equal((await client.post('/x', Buffer.alloc(BODY_BYTES_MAX), limited)).status, 200);
      assert.equal((await client.post('/x', Buffer.alloc(BODY_BYTES_MAX + 1), limited)).status, 413);
      const declared = { ...limited, 'content-length': BODY_BYTES_MAX + 1 };
      assert.equal((await client.post('/x', Buffer.alloc(BODY_BYTES_MAX + 1), declared)).status, 413);
      const stalled = client.start({ ...limited, ':method': 'POST', ':path': '/x' }, false);
      const answered = answerOf(stalled);
      stalled.write('half');
      assert.equal((await answered).status, 408);
      assert.equal((await client.get('/seen')).status, 200);
    });

    test('a field section beyond the largest limit is 431 as well', async () => {
      const fields = Object.fromEntries(
        Array.from({ length: 9 }, (_, index) => [`filler-${index}`, 'x'.repeat(2000)]),
      );
      assert.equal((await client.get('/seen', fields)).status, 431);
      assert.equal((await client.get('/seen')).status, 200);
    });

    test('each request has its line in the log', async () => {
      const from = edge.stderr().length;
      await client.get('/seen?logged');
      const said = await edge.logged(/access .*path=\/seen/, from);
      assert.match(
        said,
        new RegExp(`client=127\\.0\\.0\\.1 method=GET host=${HOST} path=/seen\\S* status=200 `),
      );
    });
  });
}

function firstLines(io: IoBackend): void {
  describe(`first lines without TLS (${io})`, () => {
    let edge: Edge;
    before(async () => {
      edge = await start(io, false);
    });
    after(async () => {
      await edge?.stop();
    });

    for (const line of ['INVALID CONNECTION PREFACE', 'PRI * HTPP/2.0', 'OPTIONS rtsp://x/ RTSP/1.0']) {
      test(`${line}: another protocol is not answered in HTTP/1.1`, async () => {
        const client = await RawClient.connect(edge.port);
        await client.send(`${line}\r\n\r\n`);
        await client.closed();
        assert.equal(client.unread().length, 0);
      });
    }

    for (const line of [
      'GET / ',
      'GET /',
      'GET / http/1.1',
      'GET / 1.1',
      'GET /a b HTTP/1.1',
      'x'.repeat(300),
    ]) {
      test(`${line.slice(0, 20)}: bad HTTP/1.1 is answered`, async () => {
        const client = await RawClient.connect(edge.port);
        await client.send(`${line}\r\n\r\n`);
        await client.closed();
        assert.match(client.unread().toString('latin1'), /^HTTP\/1\.1 (?:400|414|505) /);
      });
    }
  });
}

function lifecycle(io: IoBackend, isSecure: boolean): void {
  const how = isSecure ? 'over TLS' : 'with prior knowledge';

  describe(`the life of an HTTP/2 connection ${how} (${io})`, () => {
    test('a graceful stop says GOAWAY, and streams in flight are answered', async () => {
      const edge = await start(io, isSecure);
      const client = new Client(edge.port, isSecure);
      const path = `/held/stop-${io}-${isSecure}`;
      const flying = client.get(path);
      const upload = client.start({ ':method': 'POST', ':path': '/upload' }, false);
      const uploaded = answerOf(upload);
      upload.write(large);
      await until(() => held.has(path), PATIENCE_MS, 'the request at the backend');
      edge.signal('SIGTERM');
      await until(() => client.goaways.length > 0, PATIENCE_MS, 'GOAWAY');
      assert.equal(edge.hasExited(), false);
      held.get(path)?.end('late');
      upload.end();
      const { status, body } = await flying;
      assert.deepEqual([status, body.toString()], [200, 'late']);
      assert.equal(JSON.parse((await uploaded).body.toString()).hash, sha256(large));
      await edge.stop();
    });

    test('reloads under load lose no request', async () => {
      const edge = await start(io, isSecure);
      const url = `${isSecure ? 'https' : 'http'}://127.0.0.1:${edge.port}`;
      const load = run(
        'h2load',
        '-n',
        '6000',
        '-c',
        '8',
        '-m',
        '16',
        `-H:authority: ${HOST}`,
        `${url}/site/small.txt`,
        `${url}/seen`,
      );
      let isOver = false;
      const over = load.finally(() => {
        isOver = true;
      });
      for (let reloads = 0; reloads < 5 || !isOver; reloads++) {
        const from = edge.stderr().length;
        edge.signal('SIGHUP');
        await edge.logged(/reload|configuration/i, from);
        if (reloads > 200) break;
      }
      assert.match(await over, /6000 succeeded, 0 failed, 0 errored, 0 timeout/);
      await edge.stop();
    });
  });
}

for (const io of IO_BACKENDS) {
  firstLines(io);
  for (const isSecure of [true, false]) {
    exchanges(io, isSecure);
    lifecycle(io, isSecure);
  }
}
