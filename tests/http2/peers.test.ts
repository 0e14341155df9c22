/** Independent peers over loopback sockets: Node.js's http2 (nghttp2) in both roles, and the nghttp and h2load programs. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { M_GET, M_POST } from '../../src/http/message.ts';
import type { Fields, TestStream } from './end.ts';
import { dial, listen, type SocketEnd } from './socket-end.ts';

const run = promisify(execFile);

interface Answer {
  headers: IncomingHttpHeaders;
  body: Buffer;
  trailers: IncomingHttpHeaders;
}

async function ask(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body: Buffer | null = null,
): Promise<Answer> {
  const stream: ClientHttp2Stream = session.request(headers, { endStream: body === null });
  let trailers: IncomingHttpHeaders = {};
  stream.on('trailers', (fields) => {
    trailers = fields;
  });
  const answered = once(stream, 'response') as Promise<[IncomingHttpHeaders]>;
  if (body !== null) stream.end(body);
  const [fields] = await answered;
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return { headers: fields, body: Buffer.concat(chunks), trailers };
}

/** Bytes that tell their place. */
function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(at, at);
  return bytes;
}

const OBS_TEXT = Buffer.from(
  Array.from({ length: 256 - 0x21 }, (_, index) => index + 0x21).filter((byte) => byte !== 0x7f),
).toString('latin1');
const BIG_BYTES = 3_000_000;

describe('as a server, with Node.js for a client', () => {
  let port = 0;
  let ends: SocketEnd[] = [];
  let close = (): void => undefined;
  let session: ClientHttp2Session;

  before(async () => {
    const listening = await listen({
      settings: { maxHeaderListSize: 100_000, initialWindowSize: 100_000, connectionWindowSize: 200_000 },
      onRequest: (stream) => answer(stream),
    });
    ({ port, ends } = listening);
    close = () => listening.server.close();
    session = connect(`http://127.0.0.1:${port}`, { settings: { initialWindowSize: 300_000 } });
    await once(session, 'connect');
  });
  after(() => {
    session.close();
    close();
  });

  function answer(stream: TestStream): void {
    const end = ends.find((each) => each.end.all.includes(stream))?.end;
    assert.ok(end !== undefined);
    const fields: Fields = stream.fields.map(([name, value]): [string, string] => [`Echo-${name}`, value]);
    if (stream.path === '/big') end.respond(stream, 200, fields, pattern(BIG_BYTES));
    else if (stream.path === '/trailers')
      end.respond(stream, 200, fields, Buffer.from('content'), [['grpc-status', '0']]);
    else if (stream.path === '/echo') stream.isTunnel = false;
    else end.respond(stream, 200, fields, stream.method === 'HEAD' ? null : Buffer.from(stream.path));
  }

  it('answers requests, one after another and a hundred at once', async () => {
    for (const path of ['/one', '/two']) {
      const { headers, body } = await ask(session, { ':path': path, 'x-name': 'value' });
      assert.equal(headers[':status'], 200);
      assert.equal(headers['echo-x-name'], 'value');
      assert.equal(body.toString(), path);
    }
    const paths = Array.from({ length: 100 }, (_, index) => `/${index}`);
    const answers = await Promise.all(paths.map((path) => ask(session, { ':path': path })));
    assert.deepEqual(
      answers.map(({ body }) => body.toString()),
      paths,
    );
  });

  it('answers HEAD', async () => {
    const { headers, body } = await ask(session, { ':method': 'HEAD', ':path': '/head' });
    assert.deepEqual([headers[':status'], body.length], [200, 0]);
  });

  it('takes values of all bytes, coded as nghttp2 codes them, and sends them', async () => {
    const { headers } = await ask(session, { ':path': '/', 'x-all': OBS_TEXT, 'x-long': 'y'.repeat(50_000) });
    assert.equal(headers['echo-x-all'], OBS_TEXT);
    assert.equal(headers['echo-x-long'], 'y'.repeat(50_000));
  });

  it('takes fields through the dynamic table, in any order of indexed and new ones', async () => {
    const pool = Array.from({ length: 40 }, (_, index) => [
      `x-field-${index % 13}`,
      `value ${index}`.repeat((index % 5) + 1),
    ]);
    for (let round = 0; round < 60; round++) {
      const chosen = pool.filter((_, index) => (index * 7 + round * 11) % 5 < 2);
      const fields = Object.fromEntries(chosen);
      const { headers } = await ask(session, { ':path': '/', ...fields });
      for (const [name, value] of Object.entries(fields)) assert.equal(headers[`echo-${name}`], value);
    }
  });

  it('sends megabytes through windows', async () => {
    const [first, second] = await Promise.all([
      ask(session, { ':path': '/big' }),
      ask(session, { ':path': '/big' }),
    ]);
    assert.ok(first.body.equals(pattern(BIG_BYTES)) && second.body.equals(pattern(BIG_BYTES)));
  });

  it('takes megabytes through windows', async () => {
    const stream = session.request({ ':method': 'POST', ':path': '/echo' });
    stream.end(pattern(BIG_BYTES));
    await once(stream, 'finish');
    const [connection] = ends;
    const taken = connection.end.all.at(-1);
    assert.ok(taken !== undefined);
    while (!taken.ended) await once(connection.socket, 'data');
    assert.ok(Buffer.concat(taken.content).equals(pattern(BIG_BYTES)));
    connection.end.respond(taken, 204, [], null);
    connection.flush();
    const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
    assert.equal(headers[':status'], 204);
    stream.resume();
    await once(stream, 'close');
    assert.equal(connection.end.engine.streams.count, 0);
  });

  it('sends trailers', async () => {
    const { body, trailers } = await ask(session, { ':path': '/trailers' });
    assert.equal(body.toString(), 'content');
    assert.equal(trailers['grpc-status'], '0');
  });

  it('answers PING, and takes changes of settings', async () => {
    const [, duration] = await new Promise<[unknown, number]>((resolve, reject) => {
      session.ping((error, time) => (error === null ? resolve([error, time]) : reject(error)));
    });
    assert.ok(duration >= 0);
    session.settings({ headerTableSize: 0, initialWindowSize: 1000 });
    await once(session, 'localSettings');
    const { headers, body } = await ask(session, { ':path': '/after', 'x-name': 'value' });
    assert.deepEqual([headers['echo-x-name'], body.toString()], ['value', '/after']);
    session.settings({ headerTableSize: 4096, initialWindowSize: 65_535 });
    await once(session, 'localSettings');
    assert.equal((await ask(session, { ':path': '/again' })).body.toString(), '/again');
  });

  it('hears of a stream that its client has cancelled', async () => {
    const stream = session.request({ ':method': 'POST', ':path': '/echo' });
    stream.write('x');
    const [connection] = ends;
    const known = connection.end.all.length;
    while (connection.end.all.length === known) await once(connection.socket, 'data');
    const taken = connection.end.all.at(-1);
    stream.close(constants.NGHTTP2_CANCEL);
    while (taken?.closed === false) await once(connection.socket, 'data');
    assert.deepEqual([taken?.resetCode, taken?.resetByPeer], [constants.NGHTTP2_CANCEL, true]);
  });

  it('answers nghttp and h2load', async () => {
    const { stdout } = await run('nghttp', ['-v', '--no-dep', `http://127.0.0.1:${port}/nghttp`]);
    assert.match(stdout, /:status: 200/);
    assert.match(stdout, /\/nghttp/);
    const load = await run('h2load', ['-n', '2000', '-c', '4', '-m', '32', `http://127.0.0.1:${port}/load`]);
    assert.match(load.stdout, /2000 succeeded, 0 failed/);
  });

  it('leaves in two steps', async () => {
    const other = connect(`http://127.0.0.1:${port}`);
    await once(other, 'connect');
    await ask(other, { ':path': '/x' });
    const connection = ends.at(-1);
    assert.ok(connection !== undefined);
    const heard = once(other, 'goaway');
    connection.end.engine.beginLeave();
    connection.flush();
    const [code] = (await heard) as [number];
    assert.equal(code, constants.NGHTTP2_NO_ERROR);
    while (!connection.end.engine.isLeft) await once(connection.socket, 'data');
    connection.socket.end();
    if (!other.destroyed) await once(other, 'close');
  });
});

describe('as a client, with Node.js for a server', () => {
  const server = createServer();
  let peer: SocketEnd;

  before(async () => {
    server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      stream.on('error', () => undefined);
      const path = headers[':path'];
      if (path === '/big') {
        stream.respond({ ':status': 200, 'content-length': BIG_BYTES });
        stream.end(pattern(BIG_BYTES));
      } else if (path === '/echo') {
        stream.additionalHeaders({ ':status': 103, link: '</a>' });
        stream.respond({ ':status': 200, 'x-name': headers['x-name'] ?? '' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'yes' }));
        stream.pipe(stream);
      } else if (path === '/reset') {
        stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      } else {
        stream.respond({
          ':status': 200,
          'x-authority': headers[':authority'] ?? '',
          'x-all': OBS_TEXT,
          'content-type': 'text/plain',
        });
        stream.end(`${headers[':method']} ${path}`);
      }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    peer = await dial((server.address() as AddressInfo).port, {});
  });
  after(() => {
    peer.socket.destroy();
    server.close();
  });

  async function finished(stream: TestStream | null): Promise<TestStream> {
    assert.ok(stream !== null);
    peer.flush();
    while (!stream.closed) await once(peer.socket, 'data');
    return stream;
  }

  it('asks many times', async () => {
    for (let round = 0; round < 5; round++) {
      const streams = Array.from({ length: 40 }, (_, index) =>
        peer.end.request(M_GET, 'GET', `/${index}`, [['user-agent', 'x']], true),
      );
      peer.flush();
      for (const [index, stream] of streams.entries()) {
        const { status, content, fields } = await finished(stream);
        assert.deepEqual([status, Buffer.concat(content).toString()], [200, `GET /${index}`]);
        const named = Object.fromEntries(fields);
        assert.deepEqual([named['x-authority'], named['x-all']], ['example.com:8443', OBS_TEXT]);
      }
    }
  });

  it('sends and takes content, interim responses and trailers', async () => {
    const stream = peer.end.request(
      M_POST,
      'POST',
      '/echo',
      [
        ['x-name', 'value'],
        ['content-type', 'a/b'],
      ],
      false,
    );
    assert.ok(stream !== null);
    peer.end.finish(stream, pattern(1_000_000), [['x-t', '1']]);
    const { status, content, interim, trailers, fields } = await finished(stream);
    assert.deepEqual([status, interim, trailers], [200, [103], [['x-sum', 'yes']]]);
    assert.ok(fields.some(([name, value]) => name === 'x-name' && value === 'value'));
    assert.ok(Buffer.concat(content).equals(pattern(1_000_000)));
  });

  it('takes megabytes through windows', async () => {
    const { contentLength, content } = await finished(peer.end.request(M_GET, 'GET', '/big', [], true));
    assert.equal(contentLength, BIG_BYTES);
    assert.ok(Buffer.concat(content).equals(pattern(BIG_BYTES)));
  });

  it('hears of a reset', async () => {
    const { resetCode, resetByPeer } = await finished(peer.end.request(M_GET, 'GET', '/reset', [], true));
    assert.deepEqual([resetCode, resetByPeer], [constants.NGHTTP2_INTERNAL_ERROR, true]);
    assert.equal(peer.end.engine.streams.count, 0);
  });
});
