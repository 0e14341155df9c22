/**
 * Long content that the kernel moves from a backend to a client: it comes whole and in order, and either side's failing or
 * stalling is told as if the edge had received and sent it. What it is that moves the bytes is seen in the contract suite.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Origin, type OriginConnection, sha256, startOrigin } from '../fixtures/origin.ts';
import { pause, until } from '../fixtures/patience.ts';
import { RawClient } from '../fixtures/raw-client.ts';

const MIB = 1024 * 1024;
/** More than there are pipes. */
const CLIENTS = 48;
const RESPONSE_SECS = 3;
const PATIENT_SECS = 60;

/** Content that differs with `salt` and is the same at no two near places. */
function content(length: number, salt: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE((at * 2654435761 + salt * 40503) >>> 0, at);
  return bytes;
}

/** `/whole/BYTES/SALT`, `/stall/…` (half of it, then nothing), `/die/…` (half, then a reset), `/short/…` (half, then an end), `/slow/…`. */
async function serve(connection: OriginConnection): Promise<void> {
  for (;;) {
    const request = await connection.readRequest();
    if (request === null) return;
    const [, how, length, salt] = request.target.split('/');
    const body = content(Number(length), Number(salt));
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
    if (how === 'whole') await connection.write(body);
    else if (how === 'slow') await writeSlowly(connection, body);
    else {
      await connection.write(body.subarray(0, body.length >> 1));
      if (how === 'stall') continue;
      await connection.untilRead();
      if (how === 'die') connection.reset();
      else connection.end();
      return;
    }
  }
}

/** Takes longer than the time limit, but never stands still for so long. */
async function writeSlowly(connection: OriginConnection, body: Buffer): Promise<void> {
  const part = Math.ceil(body.length / 10);
  for (let at = 0; at < body.length; at += part) {
    await connection.write(body.subarray(at, at + part));
    await pause(RESPONSE_SECS * 150);
  }
}

function get(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: example.com\r\n\r\n`;
}

async function withEdge(
  io: IoBackend,
  responseSecs: number,
  run: (edge: Edge, origin: Origin) => Promise<void>,
): Promise<void> {
  const origin = await startOrigin(serve);
  const route = `[path_routes."example.com"."/"]
type = "Proxy"
url = "${origin.url}"
[path_routes."example.com"."/".security]
backend_response_timeout_secs = ${responseSecs}
`;
  const edge = await startEdge(route, { io, server: 'write_timeout_secs = 2' });
  try {
    await run(edge, origin);
  } finally {
    await edge.stop();
    await origin.close();
  }
}

/** The client's connection ends before the content does. Returns how much of it came. */
async function cutShort(edge: Edge, path: string): Promise<number> {
  const client = await RawClient.connect(edge.port);
  await client.send(get(path));
  const { complete, body, ending } = await client.outcome('GET', 30_000);
  assert.deepEqual([complete, ending === 'open'], [false, false]);
  client.destroy();
  return body.length;
}

function suite(io: IoBackend): void {
  describe(`long content (${io})`, { concurrency: true }, () => {
    test('one connection after the other carries it, and short content between', async () => {
      await withEdge(io, PATIENT_SECS, async (edge, origin) => {
        const client = await RawClient.connect(edge.port);
        for (const [index, length] of [3 * MIB, 10, 131_072, 600_000, 1_234_567, 0, 262_145].entries()) {
          const response = await client.request(get(`/whole/${length}/${index}`), 20_000);
          assert.equal(response.status, 200);
          assert.equal(sha256(response.body), sha256(content(length, index)), `${length} bytes`);
        }
        assert.equal(origin.openConnections(), 1, 'the backend connection was kept');
        client.destroy();
      });
    });

    test(`${CLIENTS} at once get each their own`, async () => {
      await withEdge(io, PATIENT_SECS, async (edge) => {
        const length = 2 * MIB;
        await Promise.all(
          Array.from({ length: CLIENTS }, async (_, index) => {
            const client = await RawClient.connect(edge.port);
            const { status, body } = await client.request(get(`/whole/${length}/${index}`), 60_000);
            assert.deepEqual([status, sha256(body)], [200, sha256(content(length, index))]);
            client.destroy();
          }),
        );
      });
    });

    test('a backend that stands still is given up, one that is slow is not', async () => {
      await withEdge(io, RESPONSE_SECS, async (edge, origin) => {
        const slow = (async () => {
          const client = await RawClient.connect(edge.port);
          const { body } = await client.request(get(`/slow/${4 * MIB}/1`), 60_000);
          assert.equal(sha256(body), sha256(content(4 * MIB, 1)));
          client.destroy();
        })();
        const came = await cutShort(edge, `/stall/${4 * MIB}/2`);
        assert.ok(came === 2 * MIB, `${came} bytes came`);
        await edge.logged(/\/stall\/.* reason=response-timeout/);
        await slow;
        await until(() => origin.openConnections() <= 1, 10_000, 'the end of the backend connection');
      });
    });

    for (const how of ['die', 'short'])
      test(`a backend that ends early cuts its client, and nobody else (${how})`, async () => {
        await withEdge(io, PATIENT_SECS, async (edge) => {
          const came = await cutShort(edge, `/${how}/${4 * MIB}/3`);
          assert.ok(came <= 2 * MIB, `${came} bytes came`);
          await edge.logged(new RegExp(`/${how}/.* reason=truncated-response`));
          const client = await RawClient.connect(edge.port);
          const { body } = await client.request(get(`/whole/${MIB}/4`), 20_000);
          assert.equal(sha256(body), sha256(content(MIB, 4)));
          client.destroy();
        });
      });

    test('a client that leaves ends its backend connection, and its pipe serves the next', async () => {
      await withEdge(io, PATIENT_SECS, async (edge, origin) => {
        for (let round = 0; round < 40; round++) {
          const client = await RawClient.connect(edge.port);
          client.pauseReading();
          await client.send(get(`/whole/${100 * MIB}/${round}`));
          await until(() => origin.openConnections() > 0, 10_000, 'the backend connection');
          client.reset();
          await until(() => origin.openConnections() === 0, 10_000, 'its end');
        }
        const client = await RawClient.connect(edge.port);
        const { body } = await client.request(get(`/whole/${2 * MIB}/5`), 20_000);
        assert.equal(sha256(body), sha256(content(2 * MIB, 5)));
        client.destroy();
      });
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
