/** `npm start`, as a newcomer sees it: what it prints works, and Ctrl-C leaves nothing behind. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { until, within } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';

const DEMO = join(import.meta.dirname, '../../demo/main.ts');
const START_MS_MAX = 30_000;
const STOP_MS_MAX = 15_000;

let demo: ChildProcess;
let url: string;
let output = '';

async function start(environment: Readonly<Record<string, string>>): Promise<ChildProcess> {
  output = '';
  const child = spawn(process.execPath, [DEMO], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await until(
    () => output.includes('Ctrl-C stops it.') || child.exitCode !== null,
    START_MS_MAX,
    `the demo's start; it said:\n${output}`,
  );
  return child;
}

/** Processes that this one started, directly or not. */
function descendants(pid: number): number[] {
  const path = `/proc/${pid}/task/${pid}/children`;
  const children = existsSync(path) ? readFileSync(path, 'utf8').split(' ').filter(Boolean).map(Number) : [];
  return children.flatMap((child) => [child, ...descendants(child)]);
}

async function stopBy(signal: NodeJS.Signals): Promise<number | null> {
  const exit = once(demo, 'exit');
  demo.kill(signal);
  const [code] = await within(exit, STOP_MS_MAX, `the demo's end; it said:\n${output}`);
  return code;
}

describe('npm start', () => {
  before(async () => {
    const port = await freePort();
    url = `http://localhost:${port}`;
    demo = await start({ PORT: String(port) });
  });
  after(() => demo.kill('SIGKILL'));

  it('tells where it listens and what to try', () => {
    assert.equal(demo.exitCode, null, output);
    assert.ok(output.includes(`${url}/api/hello`), output);
  });

  it('serves the site', async () => {
    const page = await fetch(`${url}/`);
    assert.equal(page.status, 200);
    assert.equal(page.headers.get('content-type'), 'text/html; charset=utf-8');
    assert.equal(page.headers.get('x-content-type-options'), 'nosniff');
    const text = await page.text();
    assert.match(text, /<h1>It works<\/h1>/);
    for (const [, path] of text.matchAll(/href="([^"]+)"/g)) {
      const response = await fetch(url + path);
      await response.body?.cancel();
      assert.equal(response.status, path === '/missing' ? 404 : 200, path);
    }
  });

  it('passes requests on to the application, and tells it who asks', async () => {
    const answer = (await (await fetch(`${url}/api/hello?x=1`)).json()) as Record<string, unknown>;
    assert.equal(answer['url'], '/hello?x=1');
    const headers = answer['headers'] as Record<string, string>;
    assert.match(headers['x-real-ip'], /^(127\.0\.0\.1|::1)$/);
    assert.match(headers['x-request-id'], /^[0-9a-f]{32}$/);
  });

  it('passes content both ways', async () => {
    const content = 'some content '.repeat(100_000);
    const response = await fetch(`${url}/api/echo`, { method: 'POST', body: content });
    assert.equal(await response.text(), content);
  });

  it('streams what the application streams', async () => {
    const response = await fetch(`${url}/api/clock`);
    const reader = response.body?.getReader();
    const first = await reader?.read();
    const [line] = Buffer.from(first?.value ?? [])
      .toString()
      .split('\n');
    assert.match(line, /^\d{4}-\d\d-\d\dT/);
    // The last line is written 9 s after the first.
    assert.ok(Date.now() - Date.parse(line) < 8000, 'before the response is complete');
    await reader?.cancel();
  });

  it('redirects with path and query', async () => {
    const response = await fetch(`${url}/old/style.css?x=1`, { redirect: 'manual' });
    assert.equal(response.status, 301);
    assert.equal(response.headers.get('location'), `${url}/style.css?x=1`);
  });

  it('limits the rate where it says so', async () => {
    const statuses: number[] = [];
    for (let request = 0; request < 12; request++) {
      const response = await fetch(`${url}/limited/hello`);
      await response.body?.cancel();
      statuses.push(response.status);
    }
    assert.ok(statuses.includes(429), statuses.join(' '));
    const refused = await fetch(`${url}/limited/hello`, { method: 'POST', body: 'x' });
    assert.equal(refused.status, 405);
    assert.match(refused.headers.get('allow') ?? '', /GET/);
  });

  it('stops on Ctrl-C with exit code 0 and leaves no process and no file', async () => {
    const configPath = /configuration: (.*)$/m.exec(output)?.[1] ?? '';
    assert.ok(existsSync(configPath), output);
    const processes = descendants(demo.pid ?? 0);
    assert.ok(processes.length >= 2, 'the server and the application');
    assert.equal(await stopBy('SIGINT'), 0, output);
    for (const pid of processes)
      await until(() => !existsSync(`/proc/${pid}`), STOP_MS_MAX, `the end of ${pid}`);
    assert.ok(!existsSync(dirname(configPath)));
  });
});

describe('npm start, killed', () => {
  it('leaves no process', async () => {
    demo = await start({ PORT: String(await freePort()) });
    const processes = descendants(demo.pid ?? 0);
    assert.ok(processes.length >= 2, output);
    const configPath = /configuration: (.*)$/m.exec(output)?.[1] ?? '';
    await stopBy('SIGKILL');
    rmSync(dirname(configPath), { recursive: true });
    for (const pid of processes)
      await until(() => !existsSync(`/proc/${pid}`), STOP_MS_MAX, `the end of ${pid}`);
  });
});

describe('npm start on a port that is taken', () => {
  it('says so and ends with exit code 3', async () => {
    const port = await freePort();
    const { createServer } = await import('node:net');
    const other = createServer().listen(port, '127.0.0.1');
    await once(other, 'listening');
    demo = await start({ PORT: String(port) });
    other.close();
    assert.equal(demo.exitCode, 3);
    assert.match(output, new RegExp(`127\\.0\\.0\\.1:${port} is taken`));
    assert.doesNotMatch(output, /Sallyport is running/);
  });
});
