/** Limits of the whole house: two workers, real clients, a worker that dies. */

import assert from 'node:assert/strict';
import { Agent, get as httpGet } from 'node:http';
import { connect, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { StatusDocument } from '../../src/edge/status-data.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { until } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

const WORKERS = 2;
const PER_MINUTE = 60;
const PER_IP = 6;
const CLIENTS = 40;

function configuration(port: number, statusPort: number, url: string, security: string): string {
  return `
[server]
listen = "127.0.0.1:${port}"
threads = ${WORKERS}
[logging]
level = "info"
[status]
listen = "127.0.0.1:${statusPort}"
[security]
${security}
[path_routes."*"."/"]
type = "Proxy"
url = "${url}"
[path_routes."*"."/limited"]
type = "Proxy"
url = "${url}"
[path_routes."*"."/limited".security]
rate_limit_requests_per_min = ${PER_MINUTE}
`;
}

/** The status of one request on a connection of its own or of an agent; 0: there was no answer. */
function statusOf(port: number, path: string, agent?: Agent): Promise<number> {
  return new Promise((resolve) => {
    const request = httpGet({ port, host: '127.0.0.1', path, agent: agent ?? new Agent() }, (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode ?? 0));
    });
    request.once('error', () => resolve(0));
  });
}

async function told(statusPort: number): Promise<StatusDocument> {
  const response = await fetch(`http://127.0.0.1:${statusPort}/status.json`);
  assert.equal(response.status, 200);
  return (await response.json()) as StatusDocument;
}

/** A client that stays: connected, with an answer or without one. */
class Guest {
  readonly socket: Socket;
  text = '';
  isGone = false;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('data', (chunk) => {
      this.text += chunk.toString('latin1');
    });
    this.socket.on('error', () => {});
    this.socket.once('close', () => {
      this.isGone = true;
    });
    this.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  }

  get isServed(): boolean {
    return this.text.startsWith('HTTP/1.1 200');
  }
}

for (const io of IO_BACKENDS) {
  describe(`limits over ${WORKERS} workers (${io})`, () => {
    let origin: NodeServer;
    let edge: Edge;
    let statusPort: number;
    const guests: Guest[] = [];

    async function start(security: string): Promise<void> {
      statusPort = await freePort();
      edge = await startEdge('', {
        io,
        config: (port) => configuration(port, statusPort, origin.url, security),
      });
    }

    before(async () => {
      origin = await startNodeServer((_incoming, response) => response.end('x'));
    });

    after(async () => {
      for (const { socket } of guests) socket.destroy();
      await edge?.kill();
      await origin?.close();
    });

    test('a rate is exactly its number, whichever workers clients get to', async () => {
      await start('');
      const agents = Array.from({ length: CLIENTS }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
      const startMs = performance.now();
      const statuses = await Promise.all(
        agents.flatMap((agent) => Array.from({ length: 10 }, () => statusOf(edge.port, '/limited', agent))),
      );
      assert.ok(performance.now() - startMs < 55_000, 'all of it within the window');
      for (const agent of agents) agent.destroy();
      assert.equal(statuses.filter((status) => status === 200).length, PER_MINUTE);
      assert.equal(statuses.filter((status) => status === 429).length, CLIENTS * 10 - PER_MINUTE);
    });

    test('the status page tells of the house as it is', async () => {
      await until(
        async () => (await told(statusPort)).requests.total === CLIENTS * 10,
        10_000,
        'both workers’ figures',
      );
      const status = await told(statusPort);
      assert.equal(status.workers, WORKERS);
      assert.deepEqual(status.requests.classes, { '2xx': PER_MINUTE, '4xx': CLIENTS * 10 - PER_MINUTE });
      assert.equal(status.configuration.generation, 1);
      assert.equal(status.rooms.filter(({ role }) => role === 'edge').length, WORKERS);
      assert.ok(status.rooms.some(({ role }) => role === 'journal'));
      for (const { name, state, pid, measures } of status.rooms) {
        assert.equal(state, 'ready', name);
        assert.ok(pid > 0, name);
        if (name !== 'master') assert.ok(measures.length > 3, `${name}: ${measures.join()}`);
      }
      const refused = await fetch(`http://127.0.0.1:${statusPort}/`, { method: 'POST' });
      assert.equal(refused.status, 405);
      await edge.stop();
    });

    test('connections of one address are never more than it may have, and the next comes in when one goes', async () => {
      await start(`max_connections_per_ip = ${PER_IP}`);
      // Until the test that the port answers is over, its connection counts.
      await until(async () => (await told(statusPort)).connections.open === 0, 5000, 'nobody to be there');
      const crowd = Array.from({ length: CLIENTS }, () => new Guest(edge.port));
      guests.push(...crowd);
      await until(
        () => crowd.every(({ isServed, isGone }) => isServed || isGone),
        10_000,
        'all to be judged',
      );
      const served = crowd.filter(({ isServed, isGone }) => isServed && !isGone);
      // Workers that take the last place at one moment may both be refused.
      assert.ok(
        served.length <= PER_IP && served.length >= PER_IP - WORKERS + 1,
        `${served.length} are served`,
      );
      for (const { socket } of served) socket.destroy();
      await until(async () => (await statusOf(edge.port, '/')) === 200, 5000, 'the next to be served');
      const refused = async (): Promise<boolean> =>
        (await told(statusPort)).connections.refused >= CLIENTS - PER_IP;
      await until(refused, 5000, 'the other worker’s figures, too');
      assert.match(edge.stderr(), /connections are refused: security\.max_connections_per_ip is reached/);
    });

    test('what a worker held that was killed counts no more', async () => {
      await until(async () => (await told(statusPort)).connections.open === 0, 5000, 'nobody to be there');
      const held: Guest[] = [];
      while (held.length < PER_IP) {
        const guest = new Guest(edge.port);
        guests.push(guest);
        await until(() => guest.isServed || guest.isGone, 5000, 'an answer');
        if (guest.isServed) held.push(guest);
      }
      assert.equal(await statusOf(edge.port, '/'), 0);
      for (const pid of edge.rooms('edge')) process.kill(pid, 'SIGKILL');
      await until(() => held.every(({ isGone }) => isGone), 10_000, 'the connections to be cut');
      await until(async () => (await statusOf(edge.port, '/')) === 200, 20_000, 'new workers to serve');
      const restarted = async (): Promise<boolean> =>
        (await told(statusPort)).rooms.reduce((sum, { restarts }) => sum + restarts, 0) >= WORKERS;
      await until(restarted, 5000, 'the master to tell of restarts');
      await until(async () => (await told(statusPort)).connections.open === 0, 5000, 'all to be gone');
      await edge.stop();
    });
  });
}
