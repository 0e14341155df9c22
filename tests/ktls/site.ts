/** One edge with [tls] and kernel TLS, its files and its backend, and clients that look closely. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { request } from 'node:https';
import { type AddressInfo, connect as connectPlain, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { type TestAuthority, type TestCertificate, testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import type { IoBackend } from '../fixtures/io-backends.ts';
import { within } from '../fixtures/patience.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

export const BIG_BYTES = 10 * 1024 * 1024;
export const BODY_BYTES = 300_000;
/** An emulated processor is slow. */
export const ANSWER_MS_MAX = 60_000;

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
  /** `[tls]` of a configuration of its own. */
  tls(lines: string): string;
  stop(): Promise<void>;
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

export async function startSite(io: IoBackend, lines: string): Promise<Site> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-ktls-'));
  const authority = testAuthority();
  const certificate: TestCertificate = authority.server(['one.example']);
  const big = randomBytes(BIG_BYTES);
  const body = big.subarray(0, BODY_BYTES);
  writeFileSync(join(directory, 'big'), big);
  writeFileSync(join(directory, 'small'), 'a small file\n');
  const backend: Backend = { contentBytes: 0, aborted: 0 };
  const origin: NodeServer = await startNodeServer(answer(body, backend));
  const tls = (more: string): string =>
    `[tls]\ncert_path = "${certificate.certPath}"\nkey_path = "${certificate.keyPath}"\n${more}\n`;
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
  const edge = await startEdge(tls(lines) + routes, { io });
  return {
    edge,
    authority,
    big,
    body,
    backend,
    tls,
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
