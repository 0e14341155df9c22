/** Groups of real servers behind the started product: shares, a server that is killed under load, health checks. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { Agent, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { after, describe, test } from 'node:test';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { until } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { startHttpsServer, type TlsOrigin } from '../fixtures/tls-origin.ts';

const HOST = 'example.com';
const CLIENTS = 20;

/** A process of its own that answers with its port; 500 for /health between one SIGUSR2 and the next. */
const SERVER = `
let sick = false;
process.on('SIGUSR2', () => { sick = !sick; console.log('turned'); });
require('node:http').createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  if (request.url === '/health') { response.statusCode = sick ? 500 : 200; response.end(); return; }
  let length = 0;
  request.on('data', (chunk) => (length += chunk.length));
  request.on('end', () => setTimeout(() => response.end(process.argv[1] + ' ' + length), request.url === '/slow' ? 1e6 : 2));
}).listen(Number(process.argv[1]), '127.0.0.1', () => console.log('listening'));
`;

class BackendProcess {
  readonly port: number;
  private child: ChildProcess | null = null;
  private output = '';

  constructor(port: number) {
    this.port = port;
  }

  async start(): Promise<void> {
    this.output = '';
    const child = spawn(process.execPath, ['-e', SERVER, String(this.port)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.child = child;
    child.stdout!.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    await until(() => this.output.includes('listening'), 10_000, 'the backend to listen');
  }

  /** Answers health checks the other way from now on. */
  async turn(): Promise<void> {
    this.output = '';
    this.child?.kill('SIGUSR2');
    await until(() => this.output.includes('turned'), 5000, 'the backend to turn');
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child === null) return;
    this.child = null;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  }
}

async function startBackends(count: number): Promise<BackendProcess[]> {
  const backends: BackendProcess[] = [];
  for (let index = 0; index < count; index++) {
    const backend = new BackendProcess(await freePort());
    await backend.start();
    backends.push(backend);
  }
  return backends;
}

function pool(servers: readonly string[], extra = '', algorithm = 'round_robin'): string {
  return `[upstreams.pool]
algorithm = "${algorithm}"
servers = [${servers.join(', ')}]
${extra}
[path_routes."${HOST}"."/"]
type = "Proxy"
upstream = "pool"
`;
}

function urls(backends: readonly BackendProcess[]): string[] {
  return backends.map(({ port }) => `"http://127.0.0.1:${port}"`);
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

function ask(edge: Edge, agent: Agent, method = 'GET', body = '', path = '/'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { port: edge.port, host: '127.0.0.1', agent, method, path, headers: { host: HOST } };
    const sent = request(options, (response: IncomingMessage) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** How many answers each port gave; other statuses under their own number. */
async function tally(edge: Edge, times: number, agent: Agent): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let time = 0; time < times; time++) {
    const { status, body } = await ask(edge, agent);
    const key = status === 200 ? body.split(' ')[0] : String(status);
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

function suite(io: IoBackend): void {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  const processes: BackendProcess[] = [];
  const edges: Edge[] = [];
  after(async () => {
    agent.destroy();
    for (const edge of edges) await edge.stop();
    for (const backend of processes) await backend.kill();
  });

  async function backendsOf(count: number): Promise<BackendProcess[]> {
    const backends = await startBackends(count);
    processes.push(...backends);
    return backends;
  }

  async function edgeOf(toml: string): Promise<Edge> {
    const edge = await startEdge(toml, { io });
    edges.push(edge);
    return edge;
  }

  test('requests are shared by weight', async () => {
    const backends = await backendsOf(2);
    const [first, second] = backends.map(({ port }) => port);
    const servers = [`"http://127.0.0.1:${first}"`, `{ url = "http://127.0.0.1:${second}", weight = 3 }`];
    const edge = await edgeOf(pool(servers));
    assert.deepEqual(await tally(edge, 40, agent), { [first]: 10, [second]: 30 });
  });

  test('a client stays with its server with ip_hash', async () => {
    const backends = await backendsOf(3);
    const edge = await edgeOf(pool(urls(backends), '', 'ip_hash'));
    assert.deepEqual(Object.values(await tally(edge, 30, agent)), [30]);
  });

  test('with ip_hash only the clients of a server that leaves move, and they come back', async () => {
    const backends = await backendsOf(4);
    const edge = await edgeOf(pool(urls(backends), '', 'ip_hash'));
    const clients = Array.from({ length: 60 }, (_, index) => `127.0.1.${index + 1}`);
    const places = async (): Promise<string[]> => {
      const all: string[] = [];
      for (const localAddress of clients) {
        const one = new Agent({ localAddress });
        const { status, body } = await ask(edge, one);
        one.destroy();
        assert.equal(status, 200);
        all.push(body.split(' ')[0]);
      }
      return all;
    };
    const before = await places();
    assert.equal(new Set(before).size, 4, 'every server has clients');
    const victim = backends[2];
    await victim.kill();
    const during = await places();
    for (const [index, place] of before.entries()) {
      if (place !== String(victim.port)) assert.equal(during[index], place, clients[index]);
      else assert.notEqual(during[index], place, clients[index]);
    }
    await victim.start();
    // A server that is out is tried again by a request that would be its own.
    const isBack = async (): Promise<boolean> => {
      await places();
      return edge.stderr().includes(`Upstream 127.0.0.1:${victim.port} is now healthy`);
    };
    await until(isBack, 40_000, 'the server to be used again');
    assert.deepEqual(await places(), before);
  });

  test('what waits at a slow server is counted with least_conn', async () => {
    const backends = await backendsOf(2);
    const edge = await edgeOf(pool(urls(backends), '', 'least_conn'));
    const waiting = connect({ port: edge.port, host: '127.0.0.1' });
    waiting.write(`GET /slow HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    // It has reached its server when the edge says so: by what others get.
    await until(
      async () => Object.keys(await tally(edge, 4, agent)).length === 1,
      5000,
      'one server to be left alone',
    );
    assert.deepEqual(Object.values(await tally(edge, 20, agent)), [20]);
    waiting.resetAndDestroy();
    await until(
      async () => Object.keys(await tally(edge, 4, agent)).length === 2,
      5000,
      'both servers to be used again',
    );
  });

  for (const method of ['GET', 'PUT']) {
    test(`no ${method} meets an error when a server is killed under load, and it is used again when it is back`, async () => {
      const backends = await backendsOf(3);
      const edge = await edgeOf(pool(urls(backends)));
      const content = method === 'PUT' ? 'x'.repeat(20_000) : '';
      const answers: Answer[] = [];
      let stopping = false;
      const load = Array.from({ length: CLIENTS }, async () => {
        while (!stopping) answers.push(await ask(edge, agent, method, content));
      });
      await until(() => answers.length >= 300, 20_000, 'load');
      const victim = backends[1];
      await victim.kill();
      const atDeath = answers.length;
      await until(() => answers.length >= atDeath + 600, 20_000, 'load after the death');
      assert.match(edge.stderr(), new RegExp(`Upstream 127\\.0\\.0\\.1:${victim.port} is now unhealthy`));
      await victim.start();
      await edge.logged(`Upstream 127.0.0.1:${victim.port} is now healthy`, 0, 40_000);
      stopping = true;
      await Promise.all(load);
      const bad = answers.filter(
        ({ status, body }) => status !== 200 || !body.endsWith(` ${content.length}`),
      );
      assert.deepEqual(bad, []);
      const atEnd = await tally(edge, 60, agent);
      assert.ok(atEnd[victim.port] >= 1, JSON.stringify(atEnd));
    });
  }

  test('a server that fails its checks is left out, comes back, and its verdict survives a reload', async () => {
    const backends = await backendsOf(2);
    const [sick, well] = backends;
    const check = `[upstreams.pool.health_check]
interval_secs = 1
path = "/health"
timeout_secs = 1
healthy_statuses = [200]
unhealthy_threshold = 2
healthy_threshold = 2`;
    const edge = await edgeOf(pool(urls(backends), check));
    await sick.turn();
    const log = await edge.logged(`Upstream 127.0.0.1:${sick.port} is now unhealthy`);
    assert.match(log, /because="?status 500/);
    assert.deepEqual(await tally(edge, 10, agent), { [well.port]: 10 });
    edge.rewrite(pool(urls(backends), check, 'least_conn'));
    const from = edge.stderr().length;
    edge.signal('SIGHUP');
    await edge.logged('the new configuration is in force', from);
    assert.deepEqual(await tally(edge, 10, agent), { [well.port]: 10 });
    const recovery = edge.stderr().length;
    const sinceMs = performance.now();
    await sick.turn();
    await edge.logged(`Upstream 127.0.0.1:${sick.port} is now healthy`, recovery, 10_000);
    // Two successes, a second apart, the first at most a second from now.
    const tookMs = performance.now() - sinceMs;
    assert.ok(tookMs >= 900, `${tookMs} ms`);
    await until(
      async () => (await tally(edge, 10, agent))[sick.port] !== undefined,
      20_000,
      'the server to be used again',
    );
    // None is left: 503.
    await sick.turn();
    await well.turn();
    await edge.logged(`Upstream 127.0.0.1:${well.port} is now unhealthy`, 0, 10_000);
    await until(async () => (await ask(edge, agent)).status === 503, 10_000, 'nobody to be left');
  });

  test('all workers know what a check has found, and each shares among what is left', async () => {
    const backends = await backendsOf(3);
    const [sick, ...well] = backends;
    const check = `[upstreams.pool.health_check]
interval_secs = 1
path = "/health"
unhealthy_threshold = 1
healthy_threshold = 1`;
    const config = (port: number): string =>
      `[server]\nlisten = "127.0.0.1:${port}"\nthreads = 3\n${pool(urls(backends), check)}`;
    const edge = await startEdge('', { io, config });
    edges.push(edge);
    await edge.logged('ready, with');
    /** Each request on a connection of its own, so that every worker has some. */
    const shares = async (): Promise<Record<string, number>> => {
      const counts: Record<string, number> = {};
      for (let count = 0; count < 60; count++) {
        const one = new Agent();
        const { status, body } = await ask(edge, one);
        one.destroy();
        const key = status === 200 ? body.split(' ')[0] : String(status);
        counts[key] = (counts[key] ?? 0) + 1;
      }
      return counts;
    };
    assert.equal(Object.keys(await shares()).length, 3);
    await sick.turn();
    await edge.logged(`Upstream 127.0.0.1:${sick.port} is now unhealthy`);
    const left = await shares();
    assert.deepEqual(Object.keys(left).sort(), well.map(({ port }) => String(port)).sort());
    // Each worker takes turns by itself: it is off by one at most, for each of them.
    for (const count of Object.values(left)) assert.ok(Math.abs(count - 30) <= 3, JSON.stringify(left));
    assert.equal(edge.stderr().split('is now unhealthy').length, 2, 'said once for all of them');
    await sick.turn();
    await edge.logged(`Upstream 127.0.0.1:${sick.port} is now healthy`);
    await until(async () => Object.keys(await shares()).length === 3, 20_000, 'all to be used again');
  });

  test('https servers are checked over TLS, and verified as for requests', async () => {
    const authority = testAuthority();
    const paths: string[] = [];
    const origins: TlsOrigin[] = [];
    for (const name of ['backend.example', 'other.example']) {
      origins.push(
        await startHttpsServer(authority.server([name]), (incoming, response) => {
          paths.push(`${name} ${incoming.url} ${incoming.headers.host}`);
          response.end('fine');
        }),
      );
    }
    const servers = origins.map(
      ({ url }) => `{ url = "${url}", sni_name = "backend.example", ca_path = "${authority.certPath}" }`,
    );
    const check = `[upstreams.pool.health_check]\ninterval_secs = 1\npath = "/up"\nunhealthy_threshold = 2`;
    const edge = await edgeOf(pool(servers, check));
    const log = await edge.logged(/is now unhealthy.*/, 0, 10_000);
    assert.match(log, new RegExp(`Upstream 127\\.0\\.0\\.1:${origins[1].port} is now unhealthy.*TLS failed`));
    const wasAsked = (): boolean => paths.includes('backend.example /up backend.example');
    await until(wasAsked, 10_000, 'a check of the server that is well');
    assert.ok(!paths.some((path) => path.startsWith('other')));
    const counts = await tally(edge, 10, agent);
    assert.deepEqual(counts, { fine: 10 });
    for (const origin of origins) await origin.close();
  });
}

for (const io of IO_BACKENDS) describe(`groups of servers with ${io}`, () => suite(io));
