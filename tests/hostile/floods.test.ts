/** Many of everything: connections, requests, resets. Each is answered or bounded, and nothing is left behind. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Origin, parseEcho, responseText, serveEcho, startOrigin } from '../fixtures/origin.ts';
import { pause, until } from '../fixtures/patience.ts';
import { exchangeOnce, RawClient } from '../fixtures/raw-client.ts';

const MIB = 1024 * 1024;
/** `max_idle_connections_per_host`, its default. */
const POOL_SIZE = 8;

function get(target: string): string {
  return `GET ${target} HTTP/1.1\r\nHost: example.com\r\n\r\n`;
}

function post(target: string, fields: string, content: string): string {
  return `POST ${target} HTTP/1.1\r\nHost: example.com\r\n${fields}\r\n${content}`;
}

async function startPair(io: IoBackend, server = ''): Promise<{ edge: Edge; origin: Origin }> {
  const origin = await startOrigin(serveEcho);
  const toml = `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${origin.url}"\n`;
  return { edge: await startEdge(toml, { io, server }), origin };
}

async function stopPair({ edge, origin }: { edge: Edge; origin: Origin }): Promise<void> {
  await edge.stop();
  assert.deepEqual(origin.violations, []);
  await origin.close();
}

/** Runs `count` times `work`, `width` at a time. */
async function inParallel(
  count: number,
  width: number,
  work: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

function suite(io: IoBackend): void {
  describe(`floods (${io})`, { concurrency: 2 }, () => {
    test('three thousand idle connections cost little memory, and a request among them is served', async () => {
      const pair = await startPair(io);
      const { edge } = pair;
      const clients: RawClient[] = [];
      const idle = async (index: number): Promise<void> => {
        const client = await RawClient.connect(edge.port);
        clients.push(client);
        const response = await client.request(get(`/idle/${index}`));
        assert.equal(parseEcho(response.body).target, `/idle/${index}`);
      };
      // Compiled code and buffers have their size after the first thousand; the heap still grows in one step.
      const socketsBefore = edge.socketCount();
      await inParallel(1000, 32, idle);
      await inParallel(2000, 8, async () => void (await exchangeOnce(edge.port, get('/warm'))));
      const residentBefore = edge.residentBytes();
      await inParallel(2000, 32, idle);
      const each = (edge.residentBytes() - residentBefore) / 2000;
      assert.ok(each < 6 * 1024, `${each} bytes of resident memory for each idle connection`);
      assert.equal((await exchangeOnce(edge.port, get('/among'))).status, 200);
      for (const client of clients) client.destroy();
      await edge.settles(socketsBefore + POOL_SIZE);
      await stopPair(pair);
    });

    test('five thousand pipelined requests are answered in order', async () => {
      const pair = await startPair(io);
      const client = await RawClient.connect(pair.edge.port);
      const count = 5000;
      const requests = Array.from({ length: count }, (_, index) => get(`/${index}`)).join('');
      const sending = client.send(requests);
      for (let index = 0; index < count; index++) {
        const response = await client.response();
        assert.equal(parseEcho(response.body).target, `/${index}`);
      }
      await sending;
      client.destroy();
      await stopPair(pair);
    });

    test('a pipeline whose answers nobody reads costs little memory, then its connection', async () => {
      const pair = await startPair(io, 'write_timeout_secs = 2');
      const { edge } = pair;
      const socketsBefore = edge.socketCount();
      await exchangeOnce(edge.port, get('/warm'));
      const residentBefore = edge.residentBytes();
      const client = await RawClient.connect(edge.port);
      client.pauseReading();
      const sending = client.send(get(`/${'x'.repeat(1000)}`).repeat(30_000));
      await pause(1500);
      const grown = edge.residentBytes() - residentBefore;
      assert.ok(grown < 32 * MIB, `resident memory grew by ${grown}`);
      await edge.settles(socketsBefore + POOL_SIZE, 8000);
      client.destroy();
      await sending;
      await stopPair(pair);
    });

    test('connections that come and go, politely or not, leave nothing behind', async () => {
      const pair = await startPair(io);
      const { edge, origin } = pair;
      await exchangeOnce(edge.port, get('/first'));
      const socketsBefore = edge.socketCount();
      await inParallel(2400, 24, async (index) => {
        const client = await RawClient.connect(edge.port);
        switch (index % 6) {
          case 0:
            assert.equal((await client.request(get(`/${index}`))).status, 200);
            client.destroy();
            break;
          case 1:
            client.reset();
            break;
          case 2:
            client.destroy();
            break;
          case 3:
            await client.send('GET /half HTTP/1.1\r\nHos');
            client.reset();
            break;
          case 4:
            await client.send(get('/unread'));
            client.reset();
            break;
          case 5:
            await client.send(get('/a') + get('/b') + get('/c'));
            client.destroy();
            break;
        }
      });
      await edge.settles(socketsBefore + POOL_SIZE);
      assert.equal((await exchangeOnce(edge.port, get('/last'))).status, 200);
      assert.ok(!origin.text().includes('/half'));
      await stopPair(pair);
    });
  });
}

/** Where a client breaks off, and what must have become of it at the origin. */
const BREAKS: readonly { name: string; request: string; afterMs: number }[] = [
  { name: 'before the first byte', request: '', afterMs: 0 },
  { name: 'within the request line', request: 'GET /br', afterMs: 20 },
  { name: 'within a field', request: 'GET /break HTTP/1.1\r\nHost: exa', afterMs: 20 },
  { name: 'at once behind a request', request: get('/break'), afterMs: 0 },
  { name: 'while the origin thinks', request: get('/slow'), afterMs: 50 },
  {
    name: 'within declared content',
    request: post('/break', 'Content-Length: 100\r\n', 'hello'),
    afterMs: 30,
  },
  {
    name: 'within a chunk',
    request: post('/break', 'Transfer-Encoding: chunked\r\n', '64\r\nhello'),
    afterMs: 30,
  },
  {
    name: 'within a chunk size',
    request: post('/break', 'Transfer-Encoding: chunked\r\n', '6'),
    afterMs: 30,
  },
  {
    name: 'before the last chunk',
    request: post('/break', 'Transfer-Encoding: chunked\r\n', '5\r\nhello\r\n'),
    afterMs: 30,
  },
  {
    name: 'within the trailers',
    request: post('/break', 'Transfer-Encoding: chunked\r\n', '0\r\nX: y'),
    afterMs: 30,
  },
  { name: 'within a response', request: get('/endless'), afterMs: 50 },
  {
    name: 'while it waits for 100',
    request: post('/break', 'Content-Length: 5\r\nExpect: 100-continue\r\n', ''),
    afterMs: 50,
  },
  { name: 'behind a pipeline', request: get('/slow').repeat(20), afterMs: 50 },
];

async function serveBreaks(connection: Parameters<typeof serveEcho>[0]): Promise<void> {
  for (;;) {
    const request = await connection.readRequest();
    if (request === null) break;
    if (request.target === '/slow') await pause(300);
    if (request.target === '/endless') {
      await connection.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      while (!connection.ended) {
        await connection.write(`1000\r\n${'x'.repeat(4096)}\r\n`);
        await pause(5);
      }
      break;
    }
    await connection.write(responseText('200 OK', request.target));
  }
  connection.end();
}

function breaks(io: IoBackend): void {
  describe(`clients that break off (${io})`, () => {
    let origin: Origin;
    let edge: Edge;
    let socketsAtRest: number;

    before(async () => {
      origin = await startOrigin(serveBreaks);
      edge = await startEdge(`[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${origin.url}"\n`, {
        io,
      });
      socketsAtRest = edge.socketCount();
    });

    after(async () => {
      await edge.stop();
      await origin.close();
    });

    for (const { name, request, afterMs } of BREAKS) {
      for (const manner of ['reset', 'end'] as const) {
        test(`a ${manner} ${name}`, async () => {
          const completeBefore = origin.requests().filter(({ target }) => target === '/break').length;
          const clients = await Promise.all(Array.from({ length: 8 }, () => RawClient.connect(edge.port)));
          await Promise.all(clients.map((client) => client.send(request)));
          await pause(afterMs);
          for (const client of clients) {
            if (manner === 'reset') client.reset();
            else client.destroy();
          }
          await edge.settles(socketsAtRest + POOL_SIZE);
          assert.equal((await exchangeOnce(edge.port, get('/after'))).text(), '/after');
          if (request.startsWith('POST')) {
            const complete = origin.requests().filter(({ target }) => target === '/break').length;
            assert.equal(complete, completeBefore, 'a request that broke off was completed');
          }
        });
      }
    }

    test('a half-closed client gets its response', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send(get('/slow'));
      client.finish();
      const response = await client.response();
      assert.equal(response.text(), '/slow');
      await client.closed();
    });

    test('a half-closed client gets the responses to its whole pipeline', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send(get('/1') + get('/2') + get('/3'));
      client.finish();
      for (const target of ['/1', '/2', '/3']) assert.equal((await client.response()).text(), target);
      await client.closed();
    });

    test('a client that half-closes within its content is not served', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send(post('/half', 'Content-Length: 100\r\n', 'hello'));
      client.finish();
      await client.closed();
      const said = client.unread().toString('latin1');
      assert.ok(said === '' || /^HTTP\/1\.1 4/.test(said), said);
      assert.ok(!origin.requests().some(({ target }) => target === '/half'));
    });

    test('a client that half-closes within its head is not served', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send('GET /head HTTP/1.1\r\nHost: exam');
      client.finish();
      await client.closed();
      const said = client.unread().toString('latin1');
      assert.ok(said === '' || /^HTTP\/1\.1 4/.test(said), said);
      assert.ok(!origin.text().includes('/head HTTP'));
    });
  });
}

function descriptors(io: IoBackend): void {
  describe(`out of descriptors (${io})`, { concurrency: 2 }, () => {
    test('accepting pauses, says so, and resumes; who is in goes on', async () => {
      const origin = await startOrigin(serveEcho);
      const toml = `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${origin.url}"\n`;
      const edge = await startEdge(toml, { io, descriptorsMax: 64 });
      const inside = await RawClient.connect(edge.port);
      assert.equal((await inside.request(get('/before'))).status, 200);
      const crowd = await Promise.all(Array.from({ length: 120 }, () => RawClient.connect(edge.port)));
      await edge.logged(/accept.*(?:paus|descriptor|EMFILE)|(?:paus|descriptor|EMFILE).*accept/i);
      // Its connection to the origin is pooled: no descriptor is needed.
      for (let round = 0; round < 5; round++) {
        assert.equal((await inside.request(get(`/during/${round}`))).status, 200);
      }
      const logged = edge.stderr().length;
      for (const client of crowd) client.destroy();
      for (let round = 0; round < 5; round++) {
        assert.equal((await exchangeOnce(edge.port, get(`/after/${round}`))).status, 200);
      }
      // It says so when accepting has gone on for a while.
      await edge.logged(/accept.*(?:resum|again)|(?:resum|again).*accept/i, logged, 15_000);
      assert.equal((await inside.request(get('/still'))).status, 200);
      inside.destroy();
      await edge.stop();
      await origin.close();
    });

    test('a request that finds no descriptor for its backend gets an error, not a hang', async () => {
      const origin = await startOrigin(serveEcho);
      const toml = `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${origin.url}"\n`;
      const edge = await startEdge(toml, { io, descriptorsMax: 64 });
      const crowd = await Promise.all(Array.from({ length: 120 }, () => RawClient.connect(edge.port)));
      await pause(300);
      const answers: number[] = [];
      await Promise.all(
        crowd.slice(0, 10).map(async (client) => {
          answers.push((await client.request(get('/'))).status);
        }),
      );
      assert.ok(
        answers.every((status) => status === 200 || status === 502 || status === 503),
        answers.join(' '),
      );
      for (const client of crowd) client.destroy();
      await until(
        async () => (await exchangeOnce(edge.port, get('/'))).status === 200,
        8000,
        'a served request after the crowd has gone',
      );
      await edge.stop();
      await origin.close();
    });

    test('at max_concurrent_connections the backlog holds the rest', async () => {
      const origin = await startOrigin(serveEcho);
      const toml = `[security]\nmax_concurrent_connections = 4\n[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${origin.url}"\n`;
      const edge = await startEdge(toml, { io });
      const clients = await Promise.all(Array.from({ length: 4 }, () => RawClient.connect(edge.port)));
      for (const client of clients) assert.equal((await client.request(get('/in'))).status, 200);
      const waiting = await RawClient.connect(edge.port);
      await waiting.send(get('/waiting'));
      await pause(300);
      assert.equal(waiting.unreadLength(), 0, 'a connection above the limit was served');
      assert.equal((await clients[1].request(get('/in'))).status, 200);
      clients[0].destroy();
      assert.equal(parseEcho((await waiting.response()).body).target, '/waiting');
      for (const client of [...clients, waiting]) client.destroy();
      await edge.stop();
      await origin.close();
    });
  });
}

for (const io of IO_BACKENDS) {
  suite(io);
  breaks(io);
  descriptors(io);
}
