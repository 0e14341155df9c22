/** Backends that can't be reached or die: statuses, retries, timeouts, the pool of idle connections. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import {
  type Origin,
  type OriginConnection,
  type OriginScript,
  parseEcho,
  responseText,
  serveEcho,
  socketPath,
  startOrigin,
} from '../fixtures/origin.ts';
import { pause, until } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { exchangeOnce, PATIENCE_MS, RawClient } from '../fixtures/raw-client.ts';

const HOST = 'Host: example.com\r\n';
/** No packet to this address is ever answered (RFC 5737), unless the machine refuses to send it. */
const BLACK_HOLE = 'http://192.0.2.1:81';

function get(target: string): string {
  return `GET ${target} HTTP/1.1\r\n${HOST}\r\n`;
}

function proxy(path: string, url: string, security: string): string {
  return `
[path_routes."example.com"."${path}"]
type = "Proxy"
url = "${url}"
[path_routes."example.com"."${path}".security]
${security}
`;
}

/** What a test of one route works with. */
interface Rig {
  readonly edge: Edge;
  readonly origin: Origin;
  /** Where its route is. */
  readonly path: string;
}

/** A test with a route and an origin of its own; all of a suite share one edge. */
interface OriginCase {
  readonly name: string;
  readonly script: OriginScript;
  readonly security?: string;
  readonly run: (rig: Rig) => Promise<void>;
}

/** Serves the first `served` requests of its first connection; the next one is read, then it dies. */
function diesAfter(served: number, how: 'end' | 'reset', partial = ''): OriginScript {
  return async (connection) => {
    if (connection.number > 1) return serveEcho(connection);
    for (let count = 0; count < served; count++) {
      const request = await connection.readRequest();
      if (request === null) return;
      await connection.write(responseText('200 OK', `served ${count}`));
    }
    const before = connection.bytes().length;
    await until(() => connection.bytes().length > before || connection.ended, 5000, 'the next request');
    await pause(30);
    if (partial !== '') {
      await connection.write(partial);
      await connection.untilRead();
      await pause(30);
    }
    if (how === 'end') connection.end();
    else connection.reset();
  };
}

/** A client whose first request has put a connection into the pool. */
async function warmClient({ edge, path }: Rig): Promise<RawClient> {
  const client = await RawClient.connect(edge.port);
  assert.equal((await client.request(get(path))).text(), 'served 0');
  return client;
}

function retriedCase(method: string, how: 'end' | 'reset'): OriginCase {
  return {
    name: `${method} on a pooled connection that dies (${how}) is sent again on a fresh one`,
    script: diesAfter(1, how),
    run: async (rig) => {
      const client = await warmClient(rig);
      const response = await client.request(`${method} ${rig.path}/again HTTP/1.1\r\n${HOST}\r\n`);
      assert.equal(response.status, 200);
      assert.equal(rig.origin.connections.length, 2);
      assert.equal(rig.origin.connections[1].requests[0].method, method);
      client.destroy();
    },
  };
}

function unretriedCase(how: 'end' | 'reset'): OriginCase {
  return {
    name: `POST on a pooled connection that dies (${how}) is not sent twice if its content was sent`,
    script: diesAfter(1, how),
    run: async (rig) => {
      const client = await warmClient(rig);
      const response = await client.request(
        `POST ${rig.path}/once HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
      );
      assert.equal(response.status, 502);
      assert.equal(rig.origin.text().split('POST /once').length - 1, 1);
      client.destroy();
    },
  };
}

/** Requests at once, each of which needs a connection of its own. */
const CROWD = 10;

/** Answers nobody until the whole crowd is there. */
async function serveCrowd(connection: OriginConnection, origin: Origin): Promise<void> {
  for (;;) {
    if ((await connection.readRequest()) === null) break;
    await until(() => origin.connections.length >= CROWD, PATIENCE_MS, 'the rest of the crowd');
    await connection.write(responseText('200 OK', 'together'));
  }
  connection.end();
}

const RETRIES: readonly OriginCase[] = [
  ...['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'].flatMap((method) => [
    retriedCase(method, 'end'),
    retriedCase(method, 'reset'),
  ]),
  unretriedCase('end'),
  unretriedCase('reset'),
  {
    name: 'GET is not sent again once a byte of its response has come',
    script: diesAfter(1, 'reset', 'HTTP/1.1 200 OK\r\nContent-Le'),
    run: async (rig) => {
      const client = await warmClient(rig);
      assert.equal((await client.request(get(rig.path))).status, 502);
      assert.equal(rig.origin.connections.length, 1);
      client.destroy();
    },
  },
  {
    name: 'GET on a fresh connection that dies is not sent again',
    script: diesAfter(0, 'end'),
    run: async ({ edge, path, origin }) => {
      assert.equal((await exchangeOnce(edge.port, get(path))).status, 502);
      assert.equal(origin.connections.length, 1);
    },
  },
  {
    name: 'a retry that dies too is not tried a third time',
    script: async (connection, origin) => {
      if (connection.number === 1) return diesAfter(1, 'end')(connection, origin);
      await connection.readRequest();
      connection.end();
    },
    run: async (rig) => {
      const client = await warmClient(rig);
      assert.equal((await client.request(get(rig.path))).status, 502);
      assert.equal(rig.origin.connections.length, 2);
      client.destroy();
    },
  },
  {
    name: 'PUT whose content was sent in part is never sent again with a part of it',
    script: diesAfter(1, 'reset'),
    run: async (rig) => {
      const client = await warmClient(rig);
      await client.send(`PUT ${rig.path} HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nhello`);
      await pause(100);
      await client.send('world');
      const response = await client.response('PUT');
      if (response.status === 200) assert.equal(rig.origin.connections[1].requests[0].text(), 'helloworld');
      else assert.equal(response.status, 502);
      client.destroy();
    },
  },
];

const POOLING: readonly OriginCase[] = [
  {
    name: 'idle connections beyond the pool’s limit are closed, those within it are kept',
    script: serveCrowd,
    security: 'max_idle_connections_per_host = 3',
    run: async ({ edge, path, origin }) => {
      await Promise.all(Array.from({ length: CROWD }, () => exchangeOnce(edge.port, get(path))));
      assert.equal(origin.connections.length, CROWD);
      const open = (): boolean => origin.connections.filter(({ ended }) => !ended).length === 3;
      await until(open, 6000, 'a pool of three');
      await exchangeOnce(edge.port, get(path));
      assert.equal(origin.connections.length, CROWD, 'no idle connection was used again');
    },
  },
  {
    name: 'an idle connection is closed after idle_connection_timeout_secs',
    script: serveEcho,
    security: 'idle_connection_timeout_secs = 1',
    run: async ({ edge, path, origin }) => {
      await exchangeOnce(edge.port, get(path));
      await until(() => origin.connections[0].ended, 4000, 'the end of the idle connection');
    },
  },
  {
    name: 'max_idle_connections_per_host = 0 keeps none',
    script: serveEcho,
    security: 'max_idle_connections_per_host = 0',
    run: async ({ edge, path }) => {
      for (let round = 1; round <= 3; round++) {
        const echo = parseEcho((await exchangeOnce(edge.port, get(path))).body);
        assert.equal(echo.connection, round);
      }
    },
  },
];

const TIMEOUTS: readonly OriginCase[] = [
  {
    name: 'a backend that doesn’t answer is 504 after the response timeout, and its connection is closed',
    script: async (connection) => {
      await connection.readRequest();
    },
    security: 'backend_response_timeout_secs = 1',
    run: async ({ edge, path, origin }) => {
      const startMs = performance.now();
      const response = await exchangeOnce(edge.port, get(path));
      const ms = performance.now() - startMs;
      assert.equal(response.status, 504);
      // By default it would be 30 s.
      assert.ok(ms > 800 && ms < 15_000, `after ${ms} ms`);
      await origin.connections[0].untilEnded();
    },
  },
  {
    name: 'the response timeout doesn’t run while the client still sends',
    script: serveEcho,
    security: 'backend_response_timeout_secs = 1',
    run: async ({ edge, path }) => {
      const client = await RawClient.connect(edge.port);
      await client.send(`POST ${path} HTTP/1.1\r\n${HOST}Content-Length: 8\r\n\r\n`);
      for (const byte of 'abcdefgh') {
        await client.send(byte);
        await pause(250);
      }
      assert.equal((await client.response('POST')).status, 200);
      client.destroy();
    },
  },
];

const ORIGIN_CASES = [...RETRIES, ...POOLING, ...TIMEOUTS];

function originSuite(io: IoBackend): void {
  describe(`backends that die or dally (${io})`, { concurrency: 8 }, () => {
    const origins: Origin[] = [];
    let edge: Edge;

    before(async () => {
      for (const { script } of ORIGIN_CASES) origins.push(await startOrigin(script));
      const routes = ORIGIN_CASES.map(({ security }, index) =>
        proxy(`/case-${index}`, origins[index].url, security ?? ''),
      );
      edge = await startEdge(routes.join(''), { io });
    });

    after(async () => {
      await edge.stop();
      for (const origin of origins) {
        assert.deepEqual(origin.violations, []);
        await origin.close();
      }
    });

    for (const [index, { name, run }] of ORIGIN_CASES.entries()) {
      test(name, () => run({ edge, origin: origins[index], path: `/case-${index}` }));
    }
  });
}

/** A listener that never accepts and whose backlog is full: the kernel drops further connections. */
async function startFullBacklog(): Promise<{ url: string; child: ChildProcess }> {
  const program = `
import socket, time
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(0)
held = [socket.socket() for _ in range(8)]
for c in held:
    c.setblocking(False); c.connect_ex(s.getsockname())
print(s.getsockname()[1], flush=True)
time.sleep(600)
`;
  const child = spawn('python3', ['-c', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  child.unref();
  const port = await new Promise<string>((resolve, reject) => {
    child.stdout.once('data', (data: Buffer) => resolve(data.toString().trim()));
    child.once('error', reject);
  });
  return { url: `http://127.0.0.1:${port}`, child };
}

/** The file of a Unix socket that nobody listens on any more. */
async function abandonedSocket(): Promise<string> {
  const path = socketPath();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  // Node removes the file that it made, but not under another name.
  renameSync(path, `${path}.kept`);
  await new Promise((resolve) => server.close(resolve));
  return `${path}.kept`;
}

function unreachableSuite(io: IoBackend): void {
  describe(`backends out of reach (${io})`, { concurrency: 8 }, () => {
    let edge: Edge;
    let full: { url: string; child: ChildProcess };
    let abandoned: string;
    let latePort: number;

    before(async () => {
      full = await startFullBacklog();
      abandoned = await abandonedSocket();
      latePort = await freePort();
      edge = await startEdge(
        proxy('/nothing', `http://127.0.0.1:${await freePort()}`, '') +
          proxy('/late', `http://127.0.0.1:${latePort}`, '') +
          proxy('/no-file', `unix:${socketPath()}`, '') +
          proxy('/abandoned', `unix:${abandoned}`, '') +
          proxy('/full', full.url, 'backend_connect_timeout_secs = 1') +
          proxy('/full-patient', full.url, 'backend_connect_timeout_secs = 60') +
          proxy('/black-hole', BLACK_HOLE, 'backend_connect_timeout_secs = 1'),
        { io },
      );
    });

    after(async () => {
      full.child.kill('SIGKILL');
      rmSync(abandoned, { force: true });
      await edge.stop();
    });

    for (const [path, what] of [
      ['/nothing', 'a port on which nothing listens'],
      ['/no-file', 'a Unix socket that doesn’t exist'],
      ['/abandoned', 'a Unix socket that nobody listens on'],
    ]) {
      test(`${what} is 502, at once, for every method`, async () => {
        for (const method of ['GET', 'POST', 'PUT', 'OPTIONS']) {
          const startMs = performance.now();
          const response = await exchangeOnce(edge.port, `${method} ${path} HTTP/1.1\r\n${HOST}\r\n`);
          assert.equal(response.status, 502);
          // The connect timeout would take 10 s.
          assert.ok(performance.now() - startMs < 8000);
        }
      });
    }

    test('content for a backend out of reach doesn’t confuse its connection', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send(`POST /nothing HTTP/1.1\r\n${HOST}Content-Length: 100000\r\n\r\n`);
      const sending = client.send('x'.repeat(100_000));
      const response = await client.response('POST');
      assert.equal(response.status, 502);
      await sending;
      if (client.ending === 'open' && !/close/i.test(response.get('connection') ?? '')) {
        assert.equal((await client.request(get('/no-file'))).status, 502);
      }
      client.destroy();
    });

    test('a backend that comes up later is found', async () => {
      assert.equal((await exchangeOnce(edge.port, get('/late'))).status, 502);
      const origin = await startOrigin(serveEcho, { port: latePort });
      const served = async (): Promise<boolean> =>
        (await exchangeOnce(edge.port, get('/late'))).status === 200;
      await until(served, 8000, 'the backend to be used');
      await origin.close();
    });

    test('a backend that doesn’t accept is 504 after the connect timeout', async () => {
      const startMs = performance.now();
      const response = await exchangeOnce(edge.port, get('/full'));
      const ms = performance.now() - startMs;
      assert.equal(response.status, 504);
      // By default it would be 10 s.
      assert.ok(ms > 800 && ms < 8000, `after ${ms} ms`);
    });

    test('an address that leads nowhere is 504 or 502, within the connect timeout', async () => {
      const response = await exchangeOnce(edge.port, get('/black-hole'));
      assert.ok(response.status === 504 || response.status === 502, `${response.status}`);
    });

    test('a client that leaves while the edge connects leaves nothing behind', async () => {
      const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(edge.port)));
      await Promise.all(clients.map((client) => client.send(get('/full-patient'))));
      await until(() => edge.socketCount() >= 40, 3000, 'twenty attempts to connect');
      for (const client of clients) client.reset();
      // Other tests of this suite hold a few meanwhile.
      await edge.settles(20);
    });
  });
}

for (const io of IO_BACKENDS) {
  originSuite(io);
  unreachableSuite(io);
}
