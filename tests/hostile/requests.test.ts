/**
 * Every hostile request of the tables, in several cuts, on both backends of the reactor: refused with its
 * status, the connection closed, and not one byte of it (or behind it) at the origin.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Origin, serveEcho, startOrigin } from '../fixtures/origin.ts';
import { until } from '../fixtures/patience.ts';
import { exchangeOnce } from '../fixtures/raw-client.ts';
import { FRAMING_CASES } from './framing-cases.ts';
import { HEAD_CASES } from './head-cases.ts';
import type { RejectedCase } from './request-case.ts';
import { complaints, DELIVERIES, type Delivery, nextId, sendCase } from './send-case.ts';
import { TARGET_CASES } from './target-cases.ts';

/** A close that takes longer is none. */
const CLOSE_MS_MAX = 5000;

const ALL: readonly RejectedCase[] = [...FRAMING_CASES, ...HEAD_CASES, ...TARGET_CASES];
/** Nothing of these may reach the origin at all. */
const WHOLLY = ALL.filter((case_) => case_.stage === 'head' && case_.answered === 0);
const PARTLY = ALL.filter((case_) => case_.stage === 'body' || case_.answered > 0);

function route(origin: Origin): string {
  return `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${origin.url}"\n`;
}

async function assertRejected(
  edge: Edge,
  origin: Origin,
  case_: RejectedCase,
  delivery: Delivery,
): Promise<void> {
  const id = nextId();
  const verdict = await sendCase(edge.port, case_, id, delivery, CLOSE_MS_MAX);
  const found = complaints(case_, verdict, origin.text(), id);
  if (case_.stage === 'body' && origin.requests().some(({ target }) => target.includes(id))) {
    found.push('the origin got it as a complete request');
  }
  assert.deepEqual(found, [], `cut at ${verdict.cuts.join(',')}; log:\n${edge.stderr().slice(-600)}`);
}

function suite(io: IoBackend): void {
  describe(`refused before anything is forwarded (${io})`, { concurrency: 24 }, () => {
    let origin: Origin;
    let edge: Edge;

    before(async () => {
      // One connection, one request: the control shows that the origin would record what reached it.
      origin = await startOrigin(serveEcho);
      edge = await startEdge(route(origin), { io });
      const response = await exchangeOnce(edge.port, 'GET /control HTTP/1.1\r\nHost: example.com\r\n\r\n');
      assert.equal(response.status, 200, response.text());
      assert.match(origin.text(), /^GET \/control HTTP\/1\.1\r\n/);
    });

    after(async () => {
      await edge.stop();
      assert.deepEqual(origin.violations, []);
      const received = origin.text().replace(/^GET \/control HTTP\/1\.1\r\n(?:[^\r\n]+\r\n)*\r\n/, '');
      assert.equal(received.replaceAll('\n--\n', ''), '', 'bytes at the origin');
      await origin.close();
    });

    for (const case_ of WHOLLY) {
      test(`${case_.name}`, async () => {
        for (const delivery of DELIVERIES) await assertRejected(edge, origin, case_, delivery);
      });
    }
  });

  describe(`refused behind what was in order (${io})`, { concurrency: 24 }, () => {
    let origin: Origin;
    let edge: Edge;

    before(async () => {
      origin = await startOrigin(serveEcho);
      edge = await startEdge(route(origin), { io });
    });

    after(async () => {
      // A request that broke off must cost its connection to the origin: never pooled, never completed.
      const dangling = (): boolean => origin.connections.every((connection) => connection.closed);
      await edge.stop();
      await until(dangling, CLOSE_MS_MAX, 'the end of all connections to the origin');
      assert.deepEqual(origin.violations, []);
      await origin.close();
    });

    for (const case_ of PARTLY) {
      test(`${case_.name}`, async () => {
        for (const delivery of DELIVERIES) await assertRejected(edge, origin, case_, delivery);
      });
    }
  });
}

assert.ok(ALL.length >= 120, `${ALL.length} cases`);
assert.equal(new Set(ALL.map(({ name }) => name)).size, ALL.length, 'two cases have the same name');

for (const io of IO_BACKENDS) suite(io);
