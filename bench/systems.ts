/**
 * The systems that are compared: how each is configured, started pinned to the proxy's core, and checked to
 * do the same work before anything is measured.
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { get as getSecurely } from 'node:https';
import { join } from 'node:path';
import { askHttp2 } from './ask-http2.ts';
import { BenchError, Child, LOAD_CORE, PROXY_CORE } from './children.ts';
import { ProcessTree } from './proc.ts';

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

/** Which of a system's instances: the long-lived one or the fresh one of memory runs; over TLS or in plain HTTP; for HTTP/2. */
export interface Instance {
  readonly fresh: boolean;
  readonly secure: boolean;
  readonly http2: boolean;
}

/** Instances of a system: fresh or not, secure or not, HTTP/2 or not. */
const ROWS = 8;

/** Every instance of a system has a port of its own. */
export function portOf(place: Workplace, name: SystemName, { fresh, secure, http2 }: Instance): number {
  const row = (fresh ? 1 : 0) + (secure ? 2 : 0) + (http2 ? 4 : 0);
  return place.portBase + 1 + SYSTEM_NAMES.indexOf(name) + row * SYSTEM_NAMES.length;
}

/** Where the origin is that speaks h2c. */
export function h2cOriginPort(place: Workplace): number {
  return place.portBase + 1 + ROWS * SYSTEM_NAMES.length;
}

/** The origin that speaks h2c: nginx, since the other one knows HTTP/1.1 alone. */
export async function startH2cOrigin(place: Workplace): Promise<Child> {
  const port = h2cOriginPort(place);
  const file = fill(place, 'h2c-origin.conf', port, { fresh: false, secure: false, http2: true });
  const child = new Child('h2c origin', LOAD_CORE, ['nginx', '-p', place.dir, '-c', file], {});
  await child.listening(port, START_TIMEOUT_MS);
  return child;
}

export class System {
  readonly name: SystemName;
  readonly secure: boolean;
  readonly http2: boolean;
  readonly port: number;
  private readonly child: Child;
  private readonly tree: ProcessTree;

  private constructor(name: SystemName, { secure, http2 }: Instance, port: number, child: Child) {
    this.name = name;
    this.secure = secure;
    this.http2 = http2;
    this.port = port;
    this.child = child;
    this.tree = new ProcessTree(child.pid);
  }

  static async start(place: Workplace, name: SystemName, instance: Instance): Promise<System> {
    const port = portOf(place, name, instance);
    const { command, env } = launch(place, name, port, instance);
    const child = new Child(SYSTEM_TITLES[name], PROXY_CORE, command, env);
    await child.listening(port, START_TIMEOUT_MS);
    return new System(name, instance, port, child);
  }

  /** All processes of the system, right now and over time. */
  get processes(): ProcessTree {
    if (this.child.ended) throw new BenchError(`${this.child.name} died: ${this.child.errorOutput}`);
    return this.tree;
  }

  async stop(): Promise<void> {
    await this.child.stop();
  }
}

/** Writes the files that are served, world-readable, since nginx's worker runs as another user; and the certificate. */
export function prepareFiles(place: Workplace): void {
  const root = join(place.dir, 'www');
  mkdirSync(root, { recursive: true, mode: 0o755 });
  writeFileSync(join(root, '1k.bin'), Buffer.alloc(1024, 'file '));
  writeFileSync(join(root, '1m.bin'), Buffer.alloc(1024 * 1024, 'file '));
  writeFileSync(join(root, '10m.bin'), Buffer.alloc(10 * 1024 * 1024, 'file '));
  writeFileSync(join(root, 'index.html'), '<!doctype html><title>bench</title>\n');
  makeCertificate(place);
}

/** ECDSA P-256, signed by itself, for as long as the run lasts. HAProxy reads certificate and key from one file. */
function makeCertificate(place: Workplace): void {
  const [cert, key] = [certPathOf(place), join(place.dir, 'tls-key.pem')];
  const names = 'subjectAltName=DNS:bench.example.com,DNS:www.example.com,DNS:example.com';
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '60'];
  const subject = ['-subj', '/CN=bench.example.com', '-addext', names];
  const args = ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', cert];
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const both = readFileSync(cert, 'latin1') + readFileSync(key, 'latin1');
  writeFileSync(join(place.dir, 'tls-both.pem'), both, { mode: 0o600 });
}

function certPathOf(place: Workplace): string {
  return join(place.dir, 'tls-cert.pem');
}

function launch(place: Workplace, name: SystemName, port: number, instance: Instance) {
  const file = (template: string): string => fill(place, template, port, instance);
  const env: Record<string, string> = {};
  let command: string[];
  switch (name) {
    case 'nginx':
      command = ['nginx', '-p', place.dir, '-c', file('nginx.conf')];
      break;
    case 'haproxy':
      command = ['haproxy', '-db', '-f', file('haproxy.cfg')];
      break;
    case 'forwarder':
      command = [join(place.dir, 'forwarder'), String(port), String(originPort(place))];
      break;
    case 'sallyport':
    case 'sallyport-epoll':
      command = [LAUNCHER, 'serve', '-c', file('sallyport.toml')];
      if (name === 'sallyport-epoll') env['SALLYPORT_IO'] = 'epoll';
      break;
  }
  return { command, env };
}

/** What `{{ssl}}` stands for in the instances that speak TLS; nothing in the others. */
const TLS_SETTINGS: Readonly<Record<string, string>> = {
  'nginx.conf': ' ssl',
  'haproxy.cfg': ' ssl crt tls-both.pem',
  'sallyport.toml': '[tls]\ncert_path = "{{dir}}/tls-cert.pem"\nkey_path = "{{dir}}/tls-key.pem"\n',
};

/** What `{{http2}}` stands for: in instances for HTTP/2, and in the others. */
function http2Setting(template: string, { secure, http2 }: Instance): string {
  if (template === 'sallyport.toml') return String(http2);
  if (!http2) return '';
  if (template === 'haproxy.cfg') return secure ? ' alpn h2,http/1.1' : ' proto h2';
  return ' http2';
}

/** Fills a template in; the path of the result, which is named by its port. */
export function fill(place: Workplace, template: string, port: number, instance: Instance): string {
  const { secure } = instance;
  const text = readFileSync(join(import.meta.dirname, 'peers', template), 'utf8')
    .replaceAll('{{ssl}}', secure ? (TLS_SETTINGS[template] ?? '') : '')
    .replaceAll('{{http2}}', http2Setting(template, instance))
    .replaceAll('{{scheme}}', secure ? 'https' : 'http')
    .replaceAll('{{dir}}', place.dir)
    .replaceAll('{{port}}', String(port))
    .replaceAll('{{h2c-origin}}', String(h2cOriginPort(place)))
    .replaceAll('{{origin}}', String(originPort(place)));
  const path = join(place.dir, `${port}-${template}`);
  writeFileSync(path, text);
  return path;
}

/**
 * Checks that a proxy does the work that it is measured for: Host preserved, the forwarding fields set, the
 * header rules applied, an unknown host and a closed path refused. The forwarder only has to forward.
 */
export async function checkWork(place: Workplace, system: System): Promise<void> {
  const { name, port, secure, http2 } = system;
  const authority = secure ? readFileSync(certPathOf(place)) : null;
  const ask = (host: string, path: string): Promise<Answer> =>
    http2 ? askHttp2(port, host, path, authority) : request(port, host, path, authority);
  await checkForwarding(name, secure, '/api/echo', ask);
  if (name === 'forwarder') return;
  if (http2 && name !== 'nginx') await checkForwarding(name, secure, '/h2c/echo', ask);
  const expected = [
    { host: 'other.example.org', path: '/', status: 421 },
    { host: 'bench.example.com', path: '/admin/', status: 403 },
    { host: 'bench.example.com', path: '/elsewhere', status: 301 },
  ];
  for (const { host, path, status } of expected) {
    const answer = await ask(host, path);
    if (answer.status !== status)
      throw new BenchError(`${name}: ${host}${path} is ${answer.status}, not ${status}`);
  }
}

/** What reaches the origin, and what of its answer comes back. */
async function checkForwarding(
  name: SystemName,
  secure: boolean,
  path: string,
  ask: (host: string, path: string) => Promise<Answer>,
): Promise<void> {
  const echo = await ask('bench.example.com', path);
  if (echo.status !== 200) throw new BenchError(`${name}: ${path} is ${echo.status}`);
  if (name === 'forwarder') return;
  const head = echo.body.toLowerCase();
  for (const line of [
    `get ${path} http/`,
    '\r\nhost: bench.example.com\r\n',
    '\r\nx-forwarded-for: 127.0.0.1\r\n',
    `\r\nx-forwarded-proto: ${secure ? 'https' : 'http'}\r\n`,
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
}

export interface Answer {
  readonly status: number;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly body: string;
}

/** Over TLS where an authority is given: the certificate is verified by it, for bench.example.com. */
function request(port: number, host: string, path: string, authority: Buffer | null): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const headers = { Host: host, 'X-Debug-Token': 'secret' };
  const options = { port, host: '127.0.0.1', path, headers, agent: false, timeout: 5000 } as const;
  const onResponse = (response: IncomingMessage): void => {
    let body = '';
    response.setEncoding('latin1');
    response.on('data', (chunk: string) => {
      body += chunk;
    });
    response.on('end', () => resolve({ status: response.statusCode ?? 0, fields: response.headers, body }));
  };
  const outgoing =
    authority === null
      ? get(options, onResponse)
      : getSecurely({ ...options, ca: authority, servername: 'bench.example.com' }, onResponse);
  outgoing.on('timeout', () => outgoing.destroy(new BenchError(`no answer from port ${port} for ${path}`)));
  outgoing.on('error', (error) => reject(new BenchError(`port ${port}, ${host}${path}: ${error.message}`)));
  return promise;
}
