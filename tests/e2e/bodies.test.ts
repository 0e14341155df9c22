/** Content of every size, declared and chunked, in both directions, byte for byte, with backpressure. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Agent, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { pause, within } from '../fixtures/patience.ts';
import { RawClient } from '../fixtures/raw-client.ts';
import { type NodeServer, type RunningServer, startNginx, startNodeServer } from '../fixtures/servers.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const EXCHANGE_MS_MAX = 30_000;

/** Around what buffers, chunks and segments are long. */
const SIZES = [0, 1, 2, 15, 16, 17, 255, 256, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 8193];
const LARGE_SIZES = [
  16_383,
  16_385,
  65_535,
  65_536,
  65_537,
  262_143,
  262_145,
  MIB - 1,
  MIB,
  MIB + 1,
  5 * MIB,
];

/** Bytes that differ at every place, so that a block that is lost, doubled or moved is noticed. */
export function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let index = 0; index < length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state;
  }
  return bytes;
}

const BLOCK = pattern(50 * MIB, 7);

function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

interface Reply {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly length: number;
  readonly sha256: string;
}

/** One exchange with Node's client; `pieces` are written one by one, as the socket takes them. */
function exchange(options: RequestOptions, pieces: readonly Buffer[]): Promise<Reply> {
  const done = new Promise<Reply>((resolve, reject) => {
    const outgoing = request(options, (response) => {
      const hash = createHash('sha256');
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        hash.update(chunk);
        length += chunk.length;
      });
      response.on('error', reject);
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          length,
          sha256: hash.digest('hex'),
        });
      });
    });
    outgoing.on('error', reject);
    const write = (index: number): void => {
      if (index === pieces.length) outgoing.end();
      else if (outgoing.write(pieces[index])) write(index + 1);
      else outgoing.once('drain', () => write(index + 1));
    };
    write(0);
  });
  return within(done, EXCHANGE_MS_MAX, `${options.method} ${options.path}`);
}

/** Sends the content back, framed as the request was; `/size/N` sends N bytes, `/chunked/N` in chunks. */
function startEchoServer(unix: boolean): Promise<NodeServer> {
  return startNodeServer((incoming, outgoing) => {
    const [, kind, size] = (incoming.url ?? '').split('/');
    if (kind === 'size' || kind === 'chunked') {
      const length = Number(size);
      if (kind === 'size') outgoing.setHeader('Content-Length', length);
      incoming.resume();
      const send = (offset: number): void => {
        const end = Math.min(offset + 100_000, length);
        const more = end < length;
        const flows = outgoing.write(BLOCK.subarray(offset, end));
        if (!more) outgoing.end();
        else if (flows) send(end);
        else outgoing.once('drain', () => send(end));
      };
      if (length === 0) outgoing.end();
      else send(0);
      return;
    }
    const length = incoming.headers['content-length'];
    if (length !== undefined) outgoing.setHeader('Content-Length', length);
    outgoing.setHeader('X-Request-Framing', incoming.headers['transfer-encoding'] ?? `length ${length}`);
    incoming.pipe(outgoing);
  }, unix);
}

/** Reads its requests in jerks, and answers with their digest. */
function startJerkyServer(): Promise<NodeServer> {
  return startNodeServer((incoming, outgoing) => {
    const hash = createHash('sha256');
    incoming.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      incoming.pause();
      setTimeout(() => incoming.resume(), chunk.length % 3);
    });
    incoming.on('end', () => {
      outgoing.setHeader('X-SHA256', hash.digest('hex'));
      outgoing.end();
    });
  });
}

function cut(data: Buffer, pieceLength: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < data.length; offset += pieceLength) {
    pieces.push(data.subarray(offset, offset + pieceLength));
  }
  return pieces;
}

function route(path: string, url: string): string {
  return `
[path_routes."example.com"."${path}"]
type = "Proxy"
url = "${url}"
[path_routes."example.com"."${path}".security]
max_request_body_size = ${64 * MIB}
max_chunked_body_size = ${64 * MIB}
`;
}

function suite(io: IoBackend): void {
  describe(`content (${io})`, { concurrency: 4 }, () => {
    let tcp: NodeServer;
    let unix: NodeServer;
    let jerky: NodeServer;
    let nginx: RunningServer;
    let edge: Edge;
    const agent = new Agent({ keepAlive: true, maxSockets: 8 });

    before(async () => {
      tcp = await startEchoServer(false);
      unix = await startEchoServer(true);
      jerky = await startJerkyServer();
      nginx = await startNginx(
        (directory) => `
        root ${directory}/www; client_max_body_size 64m; client_body_in_file_only off;
        location /upload/ { dav_methods PUT DELETE; create_full_put_path on; }`,
      );
      edge = await startEdge(
        route('/tcp', tcp.url) +
          route('/unix', unix.url) +
          route('/nginx', nginx.url) +
          route('/jerk', jerky.url),
        {
          io,
        },
      );
    });

    after(async () => {
      agent.destroy();
      await edge.stop();
      await tcp.close();
      await unix.close();
      await jerky.close();
      await nginx.close();
    });

    const options = (
      method: string,
      path: string,
      headers: Record<string, string | number> = {},
    ): RequestOptions => ({
      host: '127.0.0.1',
      port: edge.port,
      agent,
      method,
      path,
      headers: { Host: 'example.com', ...headers },
    });

    for (const backend of ['tcp', 'unix']) {
      test(`small content of ${SIZES.length} sizes goes there and back (${backend})`, async () => {
        for (const size of SIZES) {
          const data = pattern(size, size);
          const declared = await exchange(options('POST', `/${backend}/echo`, { 'Content-Length': size }), [
            data,
          ]);
          assert.deepEqual([declared.status, declared.length, declared.sha256], [200, size, sha256(data)]);
          assert.equal(declared.headers['content-length'], String(size));
          const chunked = await exchange(
            options('POST', `/${backend}/echo`, { 'Transfer-Encoding': 'chunked' }),
            cut(data, 1000),
          );
          assert.deepEqual([chunked.status, chunked.length, chunked.sha256], [200, size, sha256(data)]);
          assert.equal(chunked.headers['x-request-framing'], 'chunked');
        }
      });

      test(`large content of ${LARGE_SIZES.length} sizes goes there and back (${backend})`, async () => {
        for (const size of LARGE_SIZES) {
          const data = BLOCK.subarray(0, size);
          const pieces = cut(data, 70_001);
          const declared = await exchange(
            options('PUT', `/${backend}/echo`, { 'Content-Length': size }),
            pieces,
          );
          assert.deepEqual([declared.status, declared.length, declared.sha256], [200, size, sha256(data)]);
          const chunked = await exchange(
            options('PUT', `/${backend}/echo`, { 'Transfer-Encoding': 'chunked' }),
            pieces,
          );
          assert.deepEqual([chunked.status, chunked.length, chunked.sha256], [200, size, sha256(data)]);
        }
      });

      test(`responses of all sizes, declared and chunked (${backend})`, async () => {
        for (const size of [...SIZES, ...LARGE_SIZES]) {
          for (const kind of ['size', 'chunked']) {
            const reply = await exchange(options('GET', `/${backend}/${kind}/${size}`), []);
            assert.deepEqual([reply.status, reply.length], [200, size]);
            assert.equal(reply.sha256, sha256(BLOCK.subarray(0, size)), `${kind} ${size}`);
          }
        }
      });

      test(`50 MiB there and back (${backend})`, async () => {
        const reply = await exchange(
          options('POST', `/${backend}/echo`, { 'Transfer-Encoding': 'chunked' }),
          cut(BLOCK, MIB),
        );
        assert.deepEqual([reply.status, reply.length, reply.sha256], [200, BLOCK.length, sha256(BLOCK)]);
      });
    }

    test('16 exchanges at once keep their content apart', async () => {
      const exchanges = Array.from({ length: 16 }, async (_, index) => {
        const data = pattern(300_000 + index * 7919, index + 1);
        for (let round = 0; round < 3; round++) {
          const chunked = (index + round) % 2 === 0;
          const framing = chunked ? { 'Transfer-Encoding': 'chunked' } : { 'Content-Length': data.length };
          const path = index % 2 === 0 ? '/tcp/echo' : '/unix/echo';
          const reply = await exchange(options('POST', path, framing), cut(data, 10_007));
          assert.deepEqual([reply.status, reply.sha256], [200, sha256(data)]);
        }
      });
      await Promise.all(exchanges);
    });

    for (const backend of ['tcp', 'unix']) {
      for (const kind of ['size', 'chunked']) {
        test(`a reader that pauses again and again gets every byte in its place (${backend}, ${kind})`, async () => {
          const size = 24 * MIB;
          const client = await RawClient.connect(edge.port);
          await client.send(`GET /${backend}/${kind}/${size} HTTP/1.1\r\nHost: example.com\r\n\r\n`);
          const response = client.response('GET', EXCHANGE_MS_MAX);
          let done = false;
          const jerking = (async () => {
            while (!done) {
              client.pauseReading();
              await pause(8);
              client.resumeReading();
              await pause(2);
            }
          })();
          const { body } = await response;
          done = true;
          await jerking;
          client.destroy();
          assert.equal(body.length, size);
          assert.equal(sha256(body), sha256(BLOCK.subarray(0, size)));
        });
      }
    }

    test('an origin that pauses again and again gets every byte in its place', async () => {
      const size = 24 * MIB;
      for (const framing of [{ 'Content-Length': size }, { 'Transfer-Encoding': 'chunked' }]) {
        const reply = await exchange(options('PUT', '/jerk/', framing), cut(BLOCK.subarray(0, size), 64_000));
        assert.deepEqual([reply.status, reply.headers['x-sha256']], [200, sha256(BLOCK.subarray(0, size))]);
      }
    });

    test('uploads to nginx and downloads from it', async () => {
      for (const size of [0, 1, 8192, 65_537, 3 * MIB, 20 * MIB]) {
        const data = BLOCK.subarray(0, size);
        const put = await exchange(
          options('PUT', `/nginx/upload/${io}-${size}`, { 'Content-Length': size }),
          cut(data, 99_991),
        );
        assert.ok(put.status === 201 || put.status === 204, `${put.status}`);
        const got = await exchange(options('GET', `/nginx/upload/${io}-${size}`), []);
        assert.deepEqual([got.status, got.length, got.sha256], [200, size, sha256(data)]);
      }
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
