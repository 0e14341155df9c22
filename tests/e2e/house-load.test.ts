/**
 * The house under load while rooms are killed and configurations change: nobody is failed but those whose worker was
 * killed with their connection. TROUBLE_ROUNDS says how many kills and reloads; TROUBLE_SEED which ones.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Agent, request } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { until } from '../fixtures/patience.ts';

const ROUNDS = Number(process.env['TROUBLE_ROUNDS'] ?? 6);
const SEED = Number(process.env['TROUBLE_SEED'] ?? Date.now() % 1_000_000);
const CLIENTS = 8;
const WORKERS = 2;
const ROLES = ['journal', 'keys', 'outbound', 'edge'] as const;

/** From before a worker was told to die until it was gone. */
interface Kill {
  readonly fromMs: number;
  toMs: number;
}

interface Failure {
  readonly openedMs: number;
  readonly atMs: number;
  readonly reason: string;
}

const authority = testAuthority();

class Load {
  answered = 0;
  readonly failures: Failure[] = [];
  private readonly port: number;
  private isOver = false;
  private readonly clients: Promise<void>[];

  constructor(port: number) {
    this.port = port;
    this.clients = Array.from({ length: CLIENTS }, (_, index) => this.ask(index));
  }

  async stop(): Promise<void> {
    this.isOver = true;
    await Promise.all(this.clients);
  }

  /** Even clients keep their connection, odd ones have a new one for each request. */
  private async ask(index: number): Promise<void> {
    const agent = new Agent({ keepAlive: index % 2 === 0, maxSockets: 1, ca: authority.cert });
    const opened = new WeakMap<Socket, number>();
    for (let count = 0; !this.isOver; count++) {
      const openedMs = performance.now();
      const path = (index + count) % 3 === 0 ? '/files/a.txt' : '/';
      let socketOpenedMs = openedMs;
      const failure = await new Promise<string>((resolve) => {
        const sent = request(
          { host: '127.0.0.1', port: this.port, path, servername: 'example.com', agent, timeout: 20_000 },
          (response) => {
            response.resume();
            response.once('end', () =>
              resolve(response.statusCode === 200 ? '' : `status ${response.statusCode}`),
            );
            response.once('error', (error) => resolve(error.message));
          },
        );
        sent.once('socket', (socket) => {
          if (!opened.has(socket)) opened.set(socket, openedMs);
          socketOpenedMs = opened.get(socket) ?? openedMs;
        });
        sent.once('timeout', () => sent.destroy(new Error('no answer within 20 s')));
        sent.once('error', (error) => resolve(error.message));
        sent.end();
      });
      if (failure === '') this.answered++;
      else this.failures.push({ openedMs: socketOpenedMs, atMs: performance.now(), reason: failure });
    }
    agent.destroy();
  }
}

async function killOne(edge: Edge, role: (typeof ROLES)[number], kills: Kill[]): Promise<void> {
  const [victim] = edge.rooms(role);
  if (victim === undefined) return;
  const kill: Kill = { fromMs: performance.now(), toMs: Number.POSITIVE_INFINITY };
  if (role === 'edge') kills.push(kill);
  process.kill(victim, 'SIGKILL');
  await until(() => !edge.rooms(role).includes(victim), 10_000, `the end of ${role}`);
  kill.toMs = performance.now();
  const count = role === 'edge' ? WORKERS : 1;
  await until(() => edge.rooms(role).length >= count, 20_000, `another ${role}`);
}

test(`${ROUNDS} kills and ${ROUNDS} reloads under load (seed ${SEED})`, async (t) => {
  const random = new Random(SEED);
  const origin = createServer((_, response) => response.end('from the origin'));
  origin.keepAliveTimeout = 60_000;
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  const { port: originPort } = origin.address() as AddressInfo;
  const certificate = authority.server(['example.com']);
  const [first, second] = [openFolder('load-1'), openFolder('load-2')];
  for (const folder of [first, second]) writeFileSync(join(folder, 'a.txt'), 'a file\n');
  const config = (port: number, folder: string, limit: number): string => `[server]
listen = "127.0.0.1:${port}"
threads = ${WORKERS}
shutdown_timeout_secs = 20
[logging]
level = "info"
[tls]
cert_path = "${certificate.certPath}"
key_path = "${certificate.keyPath}"
[path_routes."*"."/"]
type = "Proxy"
url = "http://localhost:${originPort}"
[path_routes."*"."/".security]
rate_limit_requests_per_min = ${limit}
[path_routes."*"."/files"]
type = "File"
path = "${folder}"
mode = "sendfile"
`;
  const edge = await startEdge('', { io: 'uring', config: (port) => config(port, first, 1_000_000) });
  const load = new Load(edge.port);
  const kills: Kill[] = [];
  try {
    await until(() => load.answered > 50, 30_000, 'the first answers');
    for (let round = 0; round < ROUNDS; round++) {
      const before = load.answered;
      await killOne(edge, ROLES[random.below(ROLES.length)], kills);
      // Each other one needs new workers: another document root.
      const folder = round % 2 === 0 ? second : first;
      edge.rewriteWhole(config(edge.port, folder, 1_000_000 + round));
      const from = edge.stderr().length;
      edge.signal('SIGHUP');
      await edge.logged('reload: the new configuration is in force', from, 30_000);
      await until(() => load.answered > before + 20, 30_000, 'answers');
    }
    await load.stop();
  } catch (error) {
    await load.stop();
    await edge.kill();
    origin.closeAllConnections();
    origin.close();
    throw error;
  }
  const isHeld = ({ openedMs, atMs }: Failure): boolean =>
    kills.some(({ fromMs, toMs }) => openedMs <= toMs && atMs >= fromMs);
  const unexplained = load.failures.filter((failure) => !isHeld(failure));
  t.diagnostic(
    `${load.answered} answered; ${load.failures.length} had their worker killed, ${kills.length} workers were`,
  );
  await edge.stop();
  origin.closeAllConnections();
  origin.close();
  assert.deepEqual(unexplained, [], edge.stderr());
  for (const folder of [first, second]) rmSync(folder, { recursive: true });
});
