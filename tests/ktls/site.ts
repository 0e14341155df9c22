/** One edge with [tls] and kernel TLS, its files and its backend, and clients that look closely. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { request } from 'node:https';
import { type AddressInfo, connect as connectPlain, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { type TestAuthority, type TestCertificate, testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import type { IoBackend } from '../fixtures/io-backends.ts';
import { until, within } from '../fixtures/patience.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

export const BIG_BYTES = 10 * 1024 * 1024;
export const BODY_BYTES = 300_000;
/** An emulated processor is slow; a new worker, which a request may have to wait for, takes it longest. */
export const ANSWER_MS_MAX = 120_000;
const PATIENCE = Number(process.env['SALLYPORT_TEST_PATIENCE'] ?? 1);
const RELOAD_MS_MAX = 30_000 * PATIENCE;

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** What the backend saw. */
export interface Backend {
  /** Bytes of requests' content. */
  contentBytes: number;
  /** Requests whose content ended before it was complete. */
  aborted: number;
}

export interface Site {
  readonly edge: Edge;
  readonly authority: TestAuthority;
  readonly big: Buffer;
  readonly body: Buffer;
  readonly backend: Backend;
  /** Has other lines of `[tls]` put in force; waits until the log says what came of it. Returns what it says. */
  reload(lines: string, outcome?: string): Promise<string>;
  /** Waits until the process of the one worker is another than `pid`. Returns it. */
  nextWorker(pid: number): Promise<number>;
  stop(): Promise<void>;
}

/** An authority, and `[tls]` with a certificate of it for one.example. */
export function certified(): { readonly authority: TestAuthority; tls(lines: string): string } {
  const authority = testAuthority();
  const { certPath, keyPath }: TestCertificate = authority.server(['one.example']);
  return {
    authority,
    tls: (lines) => `[tls]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"\n${lines}\n`,
  };
}

function answer(body: Buffer, backend: Backend) {
  return (incoming: IncomingMessage, response: ServerResponse): void => {
    const hash = createHash('sha256');
    incoming.on('data', (chunk: Buffer) => {
      backend.contentBytes += chunk.length;
      hash.update(chunk);
    });
    incoming.on('aborted', () => backend.aborted++);
    incoming.on('error', () => {});
    incoming.on('end', () => response.end(incoming.url === '/download' ? body : hash.digest('hex')));
  };
}

/** Starts an edge that speaks HTTP/1.1 and HTTP/2, with `lines` in its `[tls]`. */
export async function startSite(io: IoBackend, lines: string, workers = 1): Promise<Site> {
  const directory = openFolder('ktls');
  const { authority, tls } = certified();
  const big = randomBytes(BIG_BYTES);
  const body = big.subarray(0, BODY_BYTES);
  writeFileSync(join(directory, 'big'), big);
  writeFileSync(join(directory, 'small'), 'a small file\n');
  const backend: Backend = { contentBytes: 0, aborted: 0 };
  const origin: NodeServer = await startNodeServer(answer(body, backend));
  const routes = `
[path_routes."*"."/small"]
type = "File"
path = "${join(directory, 'small')}"
[path_routes."*"."/big"]
type = "File"
path = "${join(directory, 'big')}"
[path_routes."*"."/"]
type = "Proxy"
url = "${origin.url}"
`;
  const config = (port: number, more: string): string =>
    `[server]\nlisten = "127.0.0.1:${port}"\nthreads = ${workers}\nhttp2_enabled = true\n[logging]\nlevel = "info"\n${tls(more)}${routes}`;
  const edge = await startEdge('', { io, config: (port) => config(port, lines) });
  return {
    edge,
    authority,
    big,
    body,
    backend,
    async reload(more, outcome = 'the new configuration is in force') {
      const from = edge.stderr().length;
      edge.rewriteWhole(config(edge.port, more));
      edge.signal('SIGHUP');
      return edge.logged(outcome, from, RELOAD_MS_MAX);
    },
    async nextWorker(pid) {
      let [worker] = edge.rooms('edge');
      const isNew = (): boolean => {
        [worker] = edge.rooms('edge');
        return worker !== undefined && worker !== pid;
      };
      await until(isNew, ANSWER_MS_MAX, `another worker than ${pid}`);
      return worker;
    },
    async stop() {
      await edge.stop();
      await origin.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The kernel's counters of TLS (linux/Documentation/networking/tls.rst). */
export function kernelCounters(): Readonly<Record<string, number>> {
  const lines = readFileSync('/proc/net/tls_stat', 'utf8').trim().split('\n');
  return Object.fromEntries(
    lines.map((line) => {
      const [name, value] = line.trim().split(/\s+/);
      return [name, Number(value)] as const;
    }),
  );
}

/** How much the kernel's counters went up while `action` ran. */
export async function counted(action: () => Promise<void>): Promise<(name: string) => number> {
  const before = kernelCounters();
  await action();
  const after = kernelCounters();
  return (name) => (after[name] ?? 0) - (before[name] ?? 0);
}

export function clientOf(site: Site, more: ConnectionOptions = {}): ConnectionOptions {
  return {
    host: '127.0.0.1',
    port: site.edge.port,
    servername: 'one.example',
    ca: site.authority.cert,
    ...more,
  };
}

/** One connection, over which `ask` makes one request after another. */
export class Client {
  private readonly socket: TLSSocket;

  constructor(site: Site, more: ConnectionOptions = {}) {
    this.socket = connect(clientOf(site, more));
    this.socket.on('error', () => {});
  }

  get cipher(): string {
    return `${this.socket.getProtocol()} ${this.socket.getCipher().name}`;
  }

  ask(
    method: string,
    path: string,
    content?: Buffer | readonly Buffer[],
  ): Promise<{ status: number; body: Buffer }> {
    const answered = new Promise<{ status: number; body: Buffer }>((resolve, reject) => {
      const call = request(
        {
          method,
          path,
          createConnection: () => this.socket,
          headers: { Host: 'one.example', Connection: 'keep-alive' },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }),
          );
        },
      );
      call.on('error', reject);
      if (content === undefined) call.end();
      else if (Buffer.isBuffer(content)) call.end(content);
      else {
        for (const chunk of content) call.write(chunk);
        call.end();
      }
    });
    return within(answered, ANSWER_MS_MAX, `${method} ${path}`);
  }

  close(): void {
    this.socket.destroy();
  }
}

/** One connection of HTTP/2, over which any number of requests go at once. */
export class Http2Client {
  private readonly session: ClientHttp2Session;

  constructor(site: Site, more: ConnectionOptions = {}) {
    const options = clientOf(site, { ...more, ALPNProtocols: ['h2'] });
    this.session = connectHttp2('https://one.example', { createConnection: () => connect(options) });
    this.session.on('error', () => {});
  }

  ask(method: string, path: string, content?: Buffer): Promise<{ status: number; body: Buffer }> {
    const answered = new Promise<{ status: number; body: Buffer }>((resolve, reject) => {
      const chunks: Buffer[] = [];
      let status = 0;
      const stream = this.session.request({ ':method': method, ':path': path });
      stream.on('response', (head) => (status = Number(head[':status'])));
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('error', reject);
      stream.on('end', () => resolve({ status, body: Buffer.concat(chunks) }));
      stream.end(content);
    });
    return within(answered, ANSWER_MS_MAX, `${method} ${path} over HTTP/2`);
  }

  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.session.close(resolve));
    return within(closed, ANSWER_MS_MAX, 'the end of a session');
  }
}

/** What stands between a client and the edge, and does harm when it is asked to. */
export interface Relay {
  readonly port: number;
  /** From now on the last bit of each piece of the client's bytes is another. */
  flip(): void;
  /** Ends the client's direction of the stream, in the middle of whatever it was. */
  cut(): void;
  close(): void;
}

export async function startRelay(site: Site): Promise<Relay> {
  let flips = false;
  let far: Socket | null = null;
  const server = createServer((near) => {
    const socket = connectPlain({ port: site.edge.port, host: '127.0.0.1', allowHalfOpen: true });
    far = socket;
    near.on('data', (chunk: Buffer) => {
      if (flips) chunk[chunk.length - 1] ^= 1;
      if (!socket.writableEnded) socket.write(chunk);
    });
    near.on('close', () => socket.destroy());
    near.on('error', () => {});
    socket.on('error', () => {});
    socket.pipe(near);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    flip() {
      flips = true;
    },
    cut() {
      far?.end();
    },
    close() {
      far?.destroy();
      server.close();
    },
  };
}

/** openssl s_client, whose interactive commands change keys. */
export class OpensslClient {
  private readonly child;
  private said = '';
  readonly ended: Promise<void>;

  constructor(site: Site, ...args: readonly string[]) {
    const all = [
      's_client',
      '-connect',
      `127.0.0.1:${site.edge.port}`,
      '-servername',
      'one.example',
      ...args,
    ];
    this.child = spawn('openssl', all, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stdin.on('error', () => {});
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.on('data', (chunk: Buffer) => (this.said += chunk.toString('latin1')));
    this.ended = new Promise((resolve) => this.child.on('close', () => resolve()));
  }

  get output(): string {
    return this.said;
  }

  write(text: string): void {
    this.child.stdin.write(text);
  }

  /** Waits until its output contains `text` at least `count` times. */
  async says(text: RegExp, count = 1): Promise<void> {
    const found = (): boolean => (this.said.match(new RegExp(text, 'g')) ?? []).length >= count;
    const deadlineMs = performance.now() + ANSWER_MS_MAX;
    while (!found()) {
      assert.ok(performance.now() < deadlineMs, `openssl never said ${text}:\n${this.said}`);
      assert.ok(this.child.exitCode === null, `openssl ended without saying ${text}:\n${this.said}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async stop(): Promise<void> {
    this.child.kill();
    await this.ended;
  }
}
