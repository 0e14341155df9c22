/** The started product's log: every request once, whatever happens to its file and to the journal meanwhile. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, statSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { until } from '../fixtures/patience.ts';
import { exchangeOnce } from '../fixtures/raw-client.ts';

const ROUTES = `
[path_routes."example.com"."/"]
type = "Redirect"
redirect_url = "https://www.example.com/"
redirect_status = 301
`;
const CLIENTS = 16;

let edge: Edge | null = null;
afterEach(async () => {
  if (edge !== null && !edge.hasExited()) await edge.stop();
  edge = null;
});

/** Two workers that log to a file. */
async function open(logging = ''): Promise<{ edge: Edge; path: string }> {
  const path = join(openFolder('logs'), 'access.log');
  const started = await startEdge('', {
    io: 'uring',
    config: (port) =>
      [
        `[server]\nlisten = "127.0.0.1:${port}"\nthreads = 2`,
        `[logging]\nlevel = "info"\nfile_path = "${path}"\nflush_interval_ms = 50\n${logging}`,
        ROUTES,
      ].join('\n'),
  });
  edge = started;
  return { edge: started, path };
}

/** Requests for `/<from>` up to below `/<to>` over kept-alive connections; all are answered. */
async function ask(
  port: number,
  from: number,
  to: number,
  meanwhile = (_: number): void => {},
): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  let next = from;
  const client = async (): Promise<void> => {
    for (let number = next++; number < to; number = next++) {
      meanwhile(number);
      const status = await statusOf(agent, port, `/${number}`);
      assert.equal(status, 301, `request ${number}`);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  agent.destroy();
}

function statusOf(agent: Agent, port: number, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = get({ agent, port, host: '127.0.0.1', path, headers: { host: 'example.com' } });
    request.once('response', (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode ?? 0));
    });
    request.once('error', reject);
  });
}

/** How often each request is in the log's files. */
function logged(paths: readonly string[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const path of paths) {
    if (!existsSync(path)) continue;
    for (const [, number] of readFileSync(path, 'utf8').matchAll(/ access .* path=\/(\d+) status=301 /g))
      counts.set(Number(number), (counts.get(Number(number)) ?? 0) + 1);
  }
  return counts;
}

async function hasAll(paths: readonly string[], count: number): Promise<void> {
  await until(() => logged(paths).size >= count, 10_000, 'all requests are in the log');
  const counts = logged(paths);
  assert.equal(counts.size, count);
  for (const [number, times] of counts) assert.equal(times, 1, `request ${number}`);
}

describe('the log', { timeout: 240_000 }, () => {
  test('has every request once, over files that are rotated by size', async () => {
    const maxLogSize = 200_000;
    const { edge, path } = await open(`max_log_size = ${maxLogSize}`);
    await ask(edge.port, 0, 4000);
    const paths = [path, ...[1, 2, 3, 4, 5].map((number) => `${path}.${number}`)];
    await hasAll(paths, 4000);
    assert.ok(existsSync(`${path}.3`));
    for (const each of paths) if (existsSync(each)) assert.ok(statSync(each).size <= maxLogSize, each);
  });

  test('has every request once where its file is moved away under load and SIGUSR1 follows', async () => {
    const { edge, path } = await open();
    const moved: string[] = [];
    await ask(edge.port, 0, 4000, (number) => {
      if (number % 1000 !== 500) return;
      moved.push(`${path}.moved${number}`);
      renameSync(path, moved[moved.length - 1]);
      edge.signal('SIGUSR1');
      // The next one needs something to move.
      const deadlineMs = performance.now() + 20_000;
      while (!existsSync(path)) assert.ok(performance.now() < deadlineMs, 'there is a new file');
    });
    await hasAll([path, ...moved], 4000);
    assert.equal(moved.length, 4);
  });

  test('entries that a full disk did not take are in the metrics', async () => {
    edge = await startEdge(`${ROUTES}[prometheus]\nenabled = true\n`, {
      io: 'uring',
      logging: 'level = "info"\nflush_interval_ms = 10\nfile_path = "/dev/full"',
    });
    const page = 'GET /__metrics HTTP/1.1\r\nHost: example.com\r\n\r\n';
    const { port } = edge;
    const dropped = async (): Promise<number> => {
      const text = (await exchangeOnce(port, page)).text();
      return Number(/^sallyport_log_entries_dropped_total (\d+)$/m.exec(text)?.[1]);
    };
    await until(async () => (await dropped()) > 0, 20_000, 'dropped entries in the metrics');
  });

  test('goes on when the journal is killed under load, and no request is harmed', async () => {
    const { edge, path } = await open();
    await ask(edge.port, 0, 3000, (number) => {
      if (number === 1000) process.kill(edge.rooms('journal')[0], 'SIGKILL');
    });
    await until(
      () => /the room journal is gone/.test(readFileSync(path, 'utf8') + edge.stderr()),
      10_000,
      'it is told',
    );
    await ask(edge.port, 3000, 4000);
    const after = (): number => [...logged([path]).keys()].filter((number) => number >= 3000).length;
    await until(() => after() === 1000, 10_000, 'later requests are in the log');
    const counts = logged([path]);
    for (const [number, times] of counts) assert.equal(times, 1, `request ${number}`);
    // What the dead one had received and not written is lost: at most what comes in one flush interval.
    assert.ok(counts.size > 2500, `${counts.size} of 4000 are in the log`);
  });
});
