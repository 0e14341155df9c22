/**
 * Whatever a backend does, the client gets a correct error or a connection that visibly broke off; it never
 * waits for ever; nobody gets a byte that was meant for, or left over from, another; and the next request
 * is served.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Origin, parseEcho, responseText, serveEcho, startOrigin } from '../fixtures/origin.ts';
import { pause, until } from '../fixtures/patience.ts';
import { exchangeOnce, type Outcome, RawClient } from '../fixtures/raw-client.ts';
import { LIES, type Lie } from './lies.ts';

interface Case {
  readonly lie: Lie;
  readonly path: string;
  readonly origin: Origin;
}

async function startLiar(lie: Lie, index: number): Promise<Case> {
  const origin = await startOrigin((connection) => {
    if (connection.number === 1) return lie.script(connection);
    return serveEcho(connection);
  });
  return { lie, path: `/lie-${index}`, origin };
}

function route({ lie, path, origin }: Case): string {
  return `
[path_routes."example.com"."${path}"]
type = "Proxy"
url = "${origin.url}"
[path_routes."example.com"."${path}".security]
backend_response_timeout_secs = ${lie.responseTimeoutSecs}
`;
}

function requestText(method: string, target: string, minor = 1): string {
  return `${method} ${target} HTTP/1.${minor}\r\nHost: example.com\r\n\r\n`;
}

function assertExpected(lie: Lie, outcome: Outcome): void {
  const { expected } = lie;
  const status = outcome.response?.status ?? 0;
  const seen = `${status} ${outcome.complete ? 'complete' : 'not complete'}, ${outcome.ending}: ${outcome.body.toString('latin1').slice(0, 300)}`;
  switch (expected.kind) {
    case 'status':
      assert.ok(outcome.complete && expected.statuses.includes(status), seen);
      break;
    case 'whole':
      assert.ok(outcome.complete && status === 200, seen);
      assert.equal(outcome.body.toString('latin1'), expected.body);
      break;
    case 'refused or cut':
      if (status === 502) assert.ok(outcome.complete, seen);
      else assertCut(expected.body, status, outcome, seen);
      break;
    case 'cut':
      assertCut(expected.body, status, outcome, seen);
      break;
  }
  assert.ok(!outcome.body.includes('poison'), seen);
}

function assertCut(body: string, status: number, outcome: Outcome, seen: string): void {
  // A reset, the only sign that a client of HTTP/1.0 can see, may overtake the head.
  if (status !== 0 || outcome.ending !== 'reset') assert.equal(status, 200, seen);
  assert.ok(!outcome.complete, seen);
  assert.notEqual(outcome.ending, 'open', seen);
  assert.ok(body.startsWith(outcome.body.toString('latin1')), seen);
}

/** The next exchange gets its own answer, from a connection that has told no lie. */
async function assertHonest(client: RawClient, { lie, path, origin }: Case, nonce: string): Promise<void> {
  const response = await client.request(requestText('GET', `${path}/${nonce}`));
  assert.equal(response.status, 200, response.text());
  const echo = parseEcho(response.body);
  assert.equal(echo.target, `/${nonce}`);
  if (lie.isHonest) return;
  assert.ok(echo.connection > 1, 'the connection of the lie was used again');
  assert.ok(origin.connections.length > 1);
}

async function runLie(edge: Edge, case_: Case): Promise<void> {
  const { lie, path, origin } = case_;
  const client = await RawClient.connect(edge.port);
  const other = await RawClient.connect(edge.port);
  try {
    await client.send(requestText(lie.method, path, lie.http10 ? 0 : 1));
    const outcome = await client.outcome(lie.method);
    assertExpected(lie, outcome);
    if (outcome.complete && client.ending === 'open' && !lie.http10) {
      assert.equal(client.unreadLength(), 0, client.unread().toString('latin1'));
      if (lie.settleMs > 0) await pause(lie.settleMs);
      await assertHonest(client, case_, 'same-connection');
    }
    await assertHonest(other, case_, 'other-connection');
    if (lie.isHonest) return;
    await until(() => origin.connections[0].ended, 3000, 'the end of the connection of the lie');
  } finally {
    client.destroy();
    other.destroy();
  }
}

function suite(io: IoBackend): void {
  describe(`lying backends (${io})`, { concurrency: 16 }, () => {
    let edge: Edge;
    let cases: Case[];

    before(async () => {
      cases = await Promise.all(LIES.map(startLiar));
      edge = await startEdge(cases.map(route).join(''), { io });
    });

    after(async () => {
      await edge.stop();
      await Promise.all(cases.map(({ origin }) => origin.close()));
    });

    for (const [index, lie] of LIES.entries()) {
      test(lie.name, () => runLie(edge, cases[index]));
    }
  });

  describe(`backends that mix up their clients (${io})`, { concurrency: 4 }, () => {
    test('leftover bytes never reach another client, however many there are', async () => {
      // Every response is followed by another one, at once or a little later.
      const origin = await startOrigin(async (connection) => {
        for (let count = 0; ; count++) {
          const request = await connection.readRequest();
          if (request === null) break;
          const leftover = responseText('200 OK', 'poison');
          const response = responseText('200 OK', request.target);
          if (count % 3 === 0) await connection.write(response + leftover);
          else {
            await connection.write(response);
            setTimeout(() => connection.write(leftover), count % 3);
          }
        }
      });
      const edge = await startEdge(
        `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${origin.url}"\n`,
        { io },
      );
      const clients = Array.from({ length: 20 }, async (_, client) => {
        for (let round = 0; round < 10; round++) {
          const target = `/${client}/${round}`;
          const response = await exchangeOnce(edge.port, requestText('GET', target));
          if (response.status === 200) assert.equal(response.text(), target);
          else assert.equal(response.status, 502);
          await pause(round % 4);
        }
      });
      await Promise.all(clients);
      await edge.stop();
      await origin.close();
    });

    test('an early response to an upload that goes on is delivered whole', async () => {
      const origin = await startOrigin(async (connection) => {
        if (!(await connection.readThrough('\r\n\r\n'))) return;
        await connection.write(responseText('413 Content Too Large', 'too much', 'Connection: close\r\n'));
        connection.end();
      });
      const edge = await startEdge(
        `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${origin.url}"\n`,
        { io },
      );
      const client = await RawClient.connect(edge.port);
      const size = 4 * 1024 * 1024;
      await client.send(`POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: ${size}\r\n\r\n`);
      const sender = (async () => {
        for (let sent = 0; sent < size && client.ending === 'open'; sent += 65536) {
          await client.send(Buffer.alloc(65536, 'x'));
          await pause(1);
        }
      })();
      const response = await client.response('POST');
      assert.equal(response.status, 413);
      assert.equal(response.text(), 'too much');
      client.destroy();
      await sender;
      await edge.stop();
      await origin.close();
    });

    test('an early response to a client that waits with its upload is delivered, and the connection is not misread', async () => {
      const origin = await startOrigin(async (connection) => {
        if (!(await connection.readThrough('\r\n\r\n'))) return;
        await connection.write(responseText('200 OK', 'early'));
      });
      const edge = await startEdge(
        `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${origin.url}"\n`,
        { io },
      );
      const client = await RawClient.connect(edge.port);
      await client.send('POST /a HTTP/1.1\r\nHost: example.com\r\nContent-Length: 40\r\n\r\n12345');
      const response = await client.response('POST');
      assert.equal(response.text(), 'early');
      // The rest of the content, which looks like a request, must be taken for content or not be read.
      await client.send('GET /poison HTTP/1.1\r\nHost: x\r\n\r\n12345');
      await pause(200);
      assert.ok(!client.unread().includes('HTTP/1.1 '), client.unread().toString('latin1'));
      assert.ok(!origin.text().includes('GET /poison HTTP/1.1\r\nHost: example'), origin.text());
      client.destroy();
      await edge.stop();
      await origin.close();
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
