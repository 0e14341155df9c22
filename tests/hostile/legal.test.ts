/** What stands beside the hostile requests and is in order must be served, however it is cut. */

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Echo, type Origin, parseEcho, serveEcho, startOrigin } from '../fixtures/origin.ts';
import { bytes, RawClient } from '../fixtures/raw-client.ts';
import { type AcceptedCase, LEGAL_CASES } from './legal-cases.ts';

function cuts(delivery: string, length: number): number[] {
  if (delivery === 'whole') return [];
  if (delivery === 'two halves' || length > 400) return [randomInt(1, length)];
  return Array.from({ length: length - 1 }, (_, index) => index + 1);
}

async function assertAccepted(edge: Edge, case_: AcceptedCase, delivery: string): Promise<void> {
  const data = bytes(case_.request);
  const places = cuts(delivery, data.length);
  const client = await RawClient.connect(edge.port);
  try {
    await client.sendInPieces(data, places);
    const echoes: Echo[] = [];
    for (const status of case_.statuses) {
      const response = await client.response();
      assert.equal(response.status, status, `${response.text()} (cut at ${places.join(',')})`);
      if (status === 200) echoes.push(parseEcho(response.body));
    }
    case_.check(echoes);
    if (case_.closes) {
      await client.closed();
      assert.equal(client.unreadLength(), 0);
    } else {
      // Both sides agree on where the request ended, or this one would not be answered.
      const next = await client.request('GET /next HTTP/1.1\r\nHost: example.com\r\n\r\n');
      assert.equal(parseEcho(next.body).target, '/next');
    }
  } finally {
    client.destroy();
  }
}

function suite(io: IoBackend): void {
  describe(`served (${io})`, { concurrency: 16 }, () => {
    let origin: Origin;
    let edge: Edge;

    before(async () => {
      origin = await startOrigin(serveEcho);
      edge = await startEdge(`[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${origin.url}"\n`, {
        io,
      });
    });

    after(async () => {
      await edge.stop();
      assert.deepEqual(origin.violations, []);
      const targets = origin.requests().map(({ target }) => target);
      assert.ok(!targets.some((target) => target.includes('poison')), 'content was taken for a request');
      await origin.close();
    });

    for (const case_ of LEGAL_CASES) {
      test(case_.name, async () => {
        for (const delivery of ['whole', 'single bytes', 'two halves']) {
          await assertAccepted(edge, case_, delivery);
        }
      });
    }

    for (const name of ['Content-Length', 'Transfer-Encoding', 'Host', 'Connection', 'X-Forwarded-For']) {
      test(`a trailer named ${name} never reaches the origin`, async () => {
        const id = `trailer-${io}-${name}`;
        const content = `5\r\nhello\r\n0\r\n${name}: 5\r\n\r\n`;
        const client = await RawClient.connect(edge.port);
        await client.send(
          `POST /${id} HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n${content}`,
        );
        const response = await client.response();
        client.destroy();
        assert.ok(response.status === 200 || response.status === 400, `${response.status}`);
        if (response.status === 200) assert.deepEqual(parseEcho(response.body).trailers, []);
      });
    }

    test('a length with leading noughts means one thing only', async () => {
      const client = await RawClient.connect(edge.port);
      const request = 'POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 010\r\n\r\nhellohello';
      const response = await client.request(request);
      client.destroy();
      assert.ok(response.status === 200 || response.status === 400, `${response.status}`);
      if (response.status === 200) assert.equal(parseEcho(response.body).bodyLength, 10);
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
