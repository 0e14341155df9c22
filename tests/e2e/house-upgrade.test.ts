/** A new master in the old one's place, when somebody wants something else meanwhile; and houses of thousands of paths. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { until } from '../fixtures/patience.ts';

const PATIENCE_MS = 30_000;
/** Document roots; a plan that names them is longer than an argument of a program may be. */
const ROOTS = 1500;

/** Process ids of masters with that configuration. */
function mastersOf({ configPath }: Edge): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' }).split('\n');
  return lines
    .filter((line) => line.includes(`serve -c ${configPath}`))
    .map((line) => Number.parseInt(line, 10));
}

function ask(port: number, host: string, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path, headers: { host }, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    }).once('error', reject);
  });
}

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = openFolder('upgrade');
  writeFileSync(join(folder, 'a.txt'), 'a file\n');
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function route(folder: string, host = '*'): string {
  return `[path_routes."${host}"."/"]\ntype = "File"\npath = "${folder}"\nmode = "sendfile"\n`;
}

async function startUpgrade(edge: Edge): Promise<number> {
  edge.signal('SIGUSR2');
  const others = (): number[] => mastersOf(edge).filter((pid) => pid !== edge.pid);
  await until(() => others().length === 1, PATIENCE_MS, 'a new master');
  return others()[0];
}

test('SIGTERM during an upgrade ends both masters', () =>
  withFolder(async (folder) => {
    const edge = await startEdge(route(folder), { io: 'uring' });
    const successor = await startUpgrade(edge);
    await edge.stop();
    await until(() => mastersOf(edge).length === 0, PATIENCE_MS, `the end of ${successor}`);
  }));

test('a new master that is told to stop, at any moment, leaves the old one in its place', () =>
  withFolder(async (folder) => {
    const edge = await startEdge(route(folder), { io: 'uring' });
    for (const isEarly of [true, false]) {
      const from = edge.stderr().length;
      const successor = await startUpgrade(edge);
      if (!isEarly) await edge.logged('listening on', from, PATIENCE_MS);
      process.kill(successor, 'SIGTERM');
      await edge.logged(/upgrade: it ended .*; everything stays as it was/, from, PATIENCE_MS);
      assert.equal(await ask(edge.port, 'example.com', '/a.txt'), 200);
    }
    await edge.stop();
  }));

test(`${ROOTS} document roots`, () =>
  withFolder(async (folder) => {
    const routes = Array.from({ length: ROOTS }, (_, index) => {
      const root = join(folder, `the-root-of-site-number-${index}`);
      mkdirSync(root);
      writeFileSync(join(root, 'a.txt'), 'a file\n');
      return route(root, `site-${index}.example.com`);
    });
    const edge = await startEdge(routes.join(''), { io: 'uring' });
    assert.equal(await ask(edge.port, 'site-0.example.com', '/a.txt'), 200);
    assert.equal(await ask(edge.port, `site-${ROOTS - 1}.example.com`, '/a.txt'), 200);
    await edge.stop();
  }));
