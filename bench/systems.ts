/**
 * The systems that are compared: how each is configured, started pinned to the proxy's core, and checked to
 * do the same work before anything is measured.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { BenchError, Child, PROXY_CORE, processTree } from './children.ts';

export type SystemName = 'sallyport' | 'sallyport-epoll' | 'nginx' | 'haproxy' | 'forwarder';

export const SYSTEM_NAMES: readonly SystemName[] = [
  'sallyport',
  'sallyport-epoll',
  'nginx',
  'haproxy',
  'forwarder',
];

export const SYSTEM_TITLES: Readonly<Record<SystemName, string>> = {
  sallyport: 'Sallyport (io_uring)',
  'sallyport-epoll': 'Sallyport (epoll)',
  nginx: 'nginx',
  haproxy: 'HAProxy',
  forwarder: 'blind forwarder',
};

/** Sent with every request, beside the request line; proxies remove the last one. */
export const REQUEST_FIELDS: readonly string[] = [
  'Host: bench.example.com',
  'User-Agent: sallyport-bench/1',
  'Accept: */*',
  'X-Debug-Token: 0123456789abcdef',
];

const START_TIMEOUT_MS = 10_000;
/** Where another build is to be measured (an installed package), its launcher. */
export const LAUNCHER = process.env['SALLYPORT_BIN'] ?? join(import.meta.dirname, '../bin/sallyport');

/** Where a run keeps what it makes: binaries, filled-in configurations, the files that are served. */
export interface Workplace {
  readonly dir: string;
  readonly portBase: number;
}

export function originPort(place: Workplace): number {
  return place.portBase;
}

/** Two ports for each system: one for the long-lived instance, one for the fresh instance of memory runs. */
export function portOf(place: Workplace, name: SystemName, fresh: boolean): number {
  return place.portBase + 1 + SYSTEM_NAMES.indexOf(name) + (fresh ? SYSTEM_NAMES.length : 0);
}

export class System {
  readonly name: SystemName;
  readonly port: number;
  private readonly child: Child;

  private constructor(name: SystemName, port: number, child: Child) {
    this.name = name;
    this.port = port;
    this.child = child;
  }

  static async start(place: Workplace, name: SystemName, fresh: boolean): Promise<System> {
    const port = portOf(place, name, fresh);
    const { command, env } = launch(place, name, port);
    const system = new System(name, port, new Child(SYSTEM_TITLES[name], PROXY_CORE, command, env));
    await system.child.listening(port, START_TIMEOUT_MS);
    return system;
  }

  /** All processes of the system, right now. */
  pids(): number[] {
    if (this.child.ended) throw new BenchError(`${this.child.name} died: ${this.child.errorOutput}`);
    return processTree(this.child.pid);
  }

  async stop(): Promise<void> {
    await this.child.stop();
  }
}

/** Writes the files that are served. World-readable: nginx's worker runs as another user. */
export function prepareFiles(place: Workplace): void {
  const root = join(place.dir, 'www');
  mkdirSync(root, { recursive: true, mode: 0o755 });
  writeFileSync(join(root, '1k.bin'), Buffer.alloc(1024, 'file '));
  writeFileSync(join(root, '1m.bin'), Buffer.alloc(1024 * 1024, 'file '));
  writeFileSync(join(root, 'index.html'), '<!doctype html><title>bench</title>\n');
}

function launch(place: Workplace, name: SystemName, port: number) {
  const env: Record<string, string> = {};
  let command: string[];
  switch (name) {
    case 'nginx':
      command = ['nginx', '-p', place.dir, '-c', fill(place, 'nginx.conf', port)];
      break;
    case 'haproxy':
      command = ['haproxy', '-db', '-f', fill(place, 'haproxy.cfg', port)];
      break;
    case 'forwarder':
      command = [join(place.dir, 'forwarder'), String(port), String(originPort(place))];
      break;
    case 'sallyport':
    case 'sallyport-epoll':
      command = [LAUNCHER, 'serve', '-c', fill(place, 'sallyport.toml', port)];
      if (name === 'sallyport-epoll') env['SALLYPORT_IO'] = 'epoll';
      break;
  }
  return { command, env };
}

/** Fills a template in; the path of the result, which is named by its port. */
function fill(place: Workplace, template: string, port: number): string {
  const text = readFileSync(join(import.meta.dirname, 'peers', template), 'utf8')
    .replaceAll('{{dir}}', place.dir)
    .replaceAll('{{port}}', String(port))
    .replaceAll('{{origin}}', String(originPort(place)));
  const path = join(place.dir, `${port}-${template}`);
  writeFileSync(path, text);
  return path;
}

/**
 * Checks that a proxy does the work that it is measured for: Host preserved, the forwarding fields set, the
 * header rules applied, an unknown host and a closed path refused. The forwarder only has to forward.
 */
export async function checkWork(name: SystemName, port: number): Promise<void> {
  const echo = await request(port, 'bench.example.com', '/api/echo');
  if (echo.status !== 200) throw new BenchError(`${name}: /api/echo is ${echo.status}`);
  if (name === 'forwarder') return;
  const head = echo.body.toLowerCase();
  for (const line of [
    'get /api/echo http/1.1\r\n',
    '\r\nhost: bench.example.com\r\n',
    '\r\nx-forwarded-for: 127.0.0.1\r\n',
    '\r\nx-forwarded-proto: http\r\n',
    '\r\nx-forwarded-host: bench.example.com\r\n',
    '\r\nx-real-ip: 127.0.0.1\r\n',
  ]) {
    if (!head.includes(line))
      throw new BenchError(`${name} did not forward ${JSON.stringify(line)}:\n${head}`);
  }
  if (head.includes('x-debug-token')) throw new BenchError(`${name} forwarded X-Debug-Token`);
  if (echo.fields['x-powered-by'] !== undefined) throw new BenchError(`${name} kept X-Powered-By`);
  if (echo.fields['x-content-type-options'] !== 'nosniff') {
    throw new BenchError(`${name} did not add X-Content-Type-Options`);
  }
  await expectStatus(name, port, 'other.example.org', '/', 421);
  await expectStatus(name, port, 'bench.example.com', '/admin/', 403);
  await expectStatus(name, port, 'bench.example.com', '/elsewhere', 301);
}

async function expectStatus(name: string, port: number, host: string, path: string, status: number) {
  const answer = await request(port, host, path);
  if (answer.status !== status) {
    throw new BenchError(`${name}: ${host}${path} is ${answer.status}, not ${status}`);
  }
}

interface Answer {
  readonly status: number;
  readonly fields: IncomingMessage['headers'];
  readonly body: string;
}

function request(port: number, host: string, path: string): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const headers = { Host: host, 'X-Debug-Token': 'secret' };
  const outgoing = get(
    { port, host: '127.0.0.1', path, headers, agent: false, timeout: 5000 },
    (response) => {
      let body = '';
      response.setEncoding('latin1');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, fields: response.headers, body }));
    },
  );
  outgoing.on('timeout', () => outgoing.destroy(new BenchError(`no answer from port ${port} for ${path}`)));
  outgoing.on('error', (error) => reject(new BenchError(`port ${port}, ${host}${path}: ${error.message}`)));
  return promise;
}
