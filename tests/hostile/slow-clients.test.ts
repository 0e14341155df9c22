/**
 * Clients that send or read as slowly as they dare: each is bounded in time, none costs memory that grows,
 * and nobody else notices them.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Origin, parseEcho, responseText, serveEcho, startOrigin } from '../fixtures/origin.ts';
import { pause, until } from '../fixtures/patience.ts';
import { exchangeOnce, RawClient } from '../fixtures/raw-client.ts';

const MIB = 1024 * 1024;
/** The most that the kernel gives a TCP socket's buffer in one direction: the third number. */
function socketBytesMax(name: 'tcp_rmem' | 'tcp_wmem'): number {
  return Number(readFileSync(`/proc/sys/net/ipv4/${name}`, 'utf8').trim().split(/\s+/)[2]);
}

/** What the kernel's buffers on both hops and the edge's own may hold of one body. */
const IN_FLIGHT_BYTES_MAX = 2 * (socketBytesMax('tcp_rmem') + socketBytesMax('tcp_wmem')) + 8 * MIB;
/** A body that doesn't fit there. */
const LONG_MIB = Math.ceil(IN_FLIGHT_BYTES_MAX / MIB) + 32;
const GET = 'GET / HTTP/1.1\r\nHost: example.com\r\n\r\n';

/** Long enough that this process, busy with its other clients, doesn't miss it where it means not to. */
const TIMEOUT_SECS = 3;
/** By default all those limits are 30 s or more. */
const LATE_MS = 20_000;

const SECURITY = `
client_header_timeout_secs = ${TIMEOUT_SECS}
client_body_timeout_secs = ${TIMEOUT_SECS}
max_request_body_size = ${LONG_MIB * MIB}
max_chunked_body_size = ${LONG_MIB * MIB}
`;

function route(path: string, origin: Origin, security = SECURITY): string {
  return `
[path_routes."example.com"."${path}"]
type = "Proxy"
url = "${origin.url}"
[path_routes."example.com"."${path}".security]
${security}
`;
}

/** Milliseconds from now until the edge ends the connection, and what it says before. */
async function untilClosed(client: RawClient, timeoutMs: number): Promise<{ ms: number; said: string }> {
  const startMs = performance.now();
  await client.closed(timeoutMs);
  return { ms: performance.now() - startMs, said: client.unread().toString('latin1') };
}

/** Sends byte after byte for as long as the edge listens. */
async function drip(client: RawClient, text: string, pauseMs: number): Promise<void> {
  for (const byte of text) {
    if (client.ending !== 'open') return;
    await client.send(byte);
    await pause(pauseMs);
  }
}

function slowSenders(io: IoBackend): void {
  describe(`slow senders (${io})`, { concurrency: true }, () => {
    let origin: Origin;
    let edge: Edge;

    before(async () => {
      origin = await startOrigin(serveEcho);
      edge = await startEdge(route('/', origin), {
        io,
        server: `keep_alive_timeout_secs = ${TIMEOUT_SECS}`,
      });
    });

    after(async () => {
      await edge.stop();
      assert.deepEqual(origin.violations, []);
      await origin.close();
    });

    test('fifty heads that drip get 408 when their time is over, and a quick client doesn’t notice', async () => {
      const clients = await Promise.all(Array.from({ length: 50 }, () => RawClient.connect(edge.port)));
      const slow = clients.map(async (client) => {
        const dripping = drip(client, `GET /slow HTTP/1.1\r\nHost: example.com\r\nX: ${'y'.repeat(100)}`, 50);
        const { ms, said } = await untilClosed(client, 8000);
        // Whoever still drips when the edge is gone may be reset before it has read why.
        if (client.ending === 'end') assert.match(said, /^HTTP\/1\.1 408 /);
        else assert.match(said, /^(HTTP\/1\.1 408 |$)/);
        assert.ok(ms > TIMEOUT_SECS * 800 && ms < LATE_MS, `after ${ms} ms`);
        await dripping;
        return said;
      });
      const quickMs = performance.now();
      assert.equal((await exchangeOnce(edge.port, GET)).status, 200);
      assert.ok(performance.now() - quickMs < TIMEOUT_SECS * 1000);
      assert.ok((await Promise.all(slow)).some((said) => said.startsWith('HTTP/1.1 408 ')));
      assert.ok(!origin.text().includes('/slow'));
    });

    test('half a head behind an answered request gets 408', async () => {
      const client = await RawClient.connect(edge.port);
      await client.request(GET);
      await client.send('GET /half HTTP/1.1\r\nHo');
      const { ms, said } = await untilClosed(client, 8000);
      assert.match(said, /^HTTP\/1\.1 408 /);
      assert.ok(ms > 400 && ms < LATE_MS, `after ${ms} ms`);
    });

    test('a connection that says nothing at all is closed', async () => {
      const client = await RawClient.connect(edge.port);
      const { ms, said } = await untilClosed(client, 8000);
      assert.ok(said === '' || said.startsWith('HTTP/1.1 408 '), said);
      assert.ok(ms > 400 && ms < LATE_MS, `after ${ms} ms`);
    });

    test('an idle kept-alive connection is closed without a word', async () => {
      const client = await RawClient.connect(edge.port);
      await client.request(GET);
      const { ms, said } = await untilClosed(client, 8000);
      assert.equal(said, '');
      assert.equal(client.ending, 'end');
      assert.ok(ms > 400 && ms < LATE_MS, `after ${ms} ms`);
    });

    for (const [name, field, content] of [
      ['declared', 'Content-Length: 100', 'hello'],
      ['chunked', 'Transfer-Encoding: chunked', '64\r\nhello'],
    ]) {
      test(`${name} content that stalls gets 408, and its origin sees no end of it`, async () => {
        const client = await RawClient.connect(edge.port);
        const target = `/stalled-${name}`;
        await client.send(`POST ${target} HTTP/1.1\r\nHost: example.com\r\n${field}\r\n\r\n${content}`);
        const { ms, said } = await untilClosed(client, 8000);
        assert.match(said, /^HTTP\/1\.1 408 /);
        assert.ok(ms > 800 && ms < LATE_MS, `after ${ms} ms`);
        assert.ok(!origin.requests().some((request) => request.target === target));
        const connection = origin.connections.find((one) => one.bytes().includes(target));
        await until(() => connection === undefined || connection.ended, 3000, 'the end at the origin');
      });
    }

    test('content that pauses for less than the timeout is served', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send('POST /pauses HTTP/1.1\r\nHost: example.com\r\nContent-Length: 8\r\n\r\n');
      await drip(client, 'abcdefgh', 350);
      const response = await client.response('POST');
      assert.equal(parseEcho(response.body).bodyLength, 8);
      client.destroy();
    });

    test('chunked content that drips within its chunk lines is served', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send('POST /drips HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n');
      await drip(client, '3;a=b\r\nabc\r\n0\r\n\r\n', 100);
      const response = await client.response('POST');
      assert.equal(parseEcho(response.body).bodyLength, 3);
      client.destroy();
    });
  });
}

function minimumRate(io: IoBackend): void {
  describe(`minimum rate (${io})`, { concurrency: true }, () => {
    test('content that drips below the minimum rate for long is refused', async () => {
      const origin = await startOrigin(serveEcho);
      const edge = await startEdge(route('/', origin, ''), { io, server: 'min_rate_bytes_per_sec = 1000' });
      const client = await RawClient.connect(edge.port);
      await client.send('POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 100000\r\n\r\n');
      const dripping = drip(client, 'x'.repeat(400), 100);
      const { ms, said } = await untilClosed(client, 35_000);
      assert.match(said, /^HTTP\/1\.1 408 /);
      assert.ok(ms > 5000, `after ${ms} ms`);
      await dripping;
      await edge.stop();
      await origin.close();
    });
  });
}

/** An origin whose responses are as long as the path says, in MiB, and that counts what it could send. */
async function startFirehose(): Promise<{ origin: Origin; sent: () => number }> {
  let sent = 0;
  const block = Buffer.alloc(65536, 'z');
  const origin = await startOrigin(async (connection) => {
    for (;;) {
      const request = await connection.readRequest();
      if (request === null) break;
      const size = Number(request.target.slice(1)) * MIB;
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
      for (let left = size; left > 0 && !connection.closed; left -= block.length) {
        await connection.write(block);
        sent += block.length;
      }
    }
  });
  return { origin, sent: () => sent };
}

function slowReaders(io: IoBackend): void {
  describe(`slow readers (${io})`, { concurrency: true }, () => {
    test('readers of big bodies that don’t read cost little memory, then their connections', async () => {
      const { origin, sent } = await startFirehose();
      const edge = await startEdge(route('/', origin), { io, server: 'write_timeout_secs = 2' });
      const socketsBefore = edge.socketCount();
      await exchangeOnce(edge.port, 'GET /1 HTTP/1.1\r\nHost: example.com\r\n\r\n');
      const residentBefore = edge.residentBytes();
      const sentBefore = sent();
      const count = 12;
      const clients = await Promise.all(Array.from({ length: count }, () => RawClient.connect(edge.port)));
      for (const client of clients) {
        client.pauseReading();
        await client.send(`GET /${LONG_MIB} HTTP/1.1\r\nHost: example.com\r\n\r\n`);
      }
      await pause(1200);
      const each = (sent() - sentBefore) / count;
      assert.ok(
        each < IN_FLIGHT_BYTES_MAX,
        `the origin could send ${each} bytes to a client that reads none`,
      );
      const grown = edge.residentBytes() - residentBefore;
      assert.ok(grown < 48 * MIB, `resident memory grew by ${grown}`);
      // The write timeout ends them, on both sides.
      await until(() => origin.openConnections() <= 1, 10_000, 'the end of the origin’s connections');
      await edge.settles(socketsBefore + 1, 5000);
      for (const client of clients) client.destroy();
      await edge.stop();
      await origin.close();
    });

    test('a reader that pauses, but not too long, gets everything', async () => {
      const { origin } = await startFirehose();
      const edge = await startEdge(route('/', origin), { io, server: 'write_timeout_secs = 2' });
      const client = await RawClient.connect(edge.port);
      await client.send('GET /24 HTTP/1.1\r\nHost: example.com\r\n\r\n');
      const response = client.response('GET', 20_000);
      for (let round = 0; round < 3; round++) {
        client.pauseReading();
        await pause(900);
        client.resumeReading();
        await pause(5);
      }
      assert.equal((await response).body.length, 24 * MIB);
      client.destroy();
      await edge.stop();
      await origin.close();
    });

    test('an origin that doesn’t read stops its client, and memory stays bounded', async () => {
      let reading = (): void => {};
      const mayRead = new Promise<void>((resolve) => (reading = resolve));
      const size = LONG_MIB * MIB;
      const origin = await startOrigin(async (connection) => {
        connection.socket.pause();
        await mayRead;
        connection.socket.resume();
        const request = await connection.readRequest();
        if (request !== null) await connection.write(responseText('200 OK', String(request.body.length)));
      });
      const edge = await startEdge(route('/', origin, SECURITY.replace('client_body_timeout_secs = 1', '')), {
        io,
      });
      const client = await RawClient.connect(edge.port);
      const residentBefore = edge.residentBytes();
      await client.send(`POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: ${size}\r\n\r\n`);
      let sent = 0;
      const block = Buffer.alloc(65536, 'u');
      const sending = (async () => {
        for (; sent < size && client.ending === 'open'; sent += block.length) await client.send(block);
      })();
      await pause(1000);
      assert.ok(sent < IN_FLIGHT_BYTES_MAX, `${sent} bytes were taken for an origin that reads none`);
      const grown = edge.residentBytes() - residentBefore;
      assert.ok(grown < 40 * MIB, `resident memory grew by ${grown}`);
      reading();
      const response = await client.response('POST', 30_000);
      assert.equal(response.text(), String(size));
      await sending;
      client.destroy();
      await edge.stop();
      await origin.close();
    });
  });
}

describe('slow clients', { concurrency: true }, () => {
  for (const io of IO_BACKENDS) {
    slowSenders(io);
    minimumRate(io);
  }
});
// What these move would keep this process from sending in time what the others must.
for (const io of IO_BACKENDS) slowReaders(io);
