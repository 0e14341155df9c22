/** Cuts of HTTP/2 connections count in the whole house: two workers, an attacker at both, a worker that dies, a reload. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { heldConnections } from '../fixtures/connections.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { until } from '../fixtures/patience.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';
import { Attacker } from '../hostile/http2-attacker.ts';
import { describeFrame, frame, GET, HELLO, headers, uint32 } from '../http2/raw-frames.ts';

const PATIENCE_MS = 20_000;
const WORKERS = 2;
const ATTACKER = '127.0.3.1';
const BYSTANDER = '127.0.3.2';
/** Cuts after which an address is refused (docs/HTTP2.md). */
const CUTS_MAX = 4;
/** Workers are chosen by a hash of ports: this many connections are all at one of two in 2⁻¹⁰⁰ of all runs. */
const TRIES_MAX = 100;
const CANCEL = 8;
const RESET_BURST = 10;
/** So long that no test sees strikes halve. */
const HALF_LIFE_SECS = 3600;

const FLOOD = Buffer.concat(
  Array.from({ length: 2 * RESET_BURST }, (_, index) => {
    const id = 2 * index + 1;
    return Buffer.concat([headers(id, GET), frame(3, 0, id, uint32(CANCEL))]);
  }),
);

function configuration(port: number, url: string): string {
  return `
[server]
listen = "127.0.0.1:${port}"
threads = ${WORKERS}
[logging]
level = "info"
[http2]
resets_burst = ${RESET_BURST}
resets_per_sec = 1
abuse_half_life_secs = ${HALF_LIFE_SECS}
[path_routes."*"."/"]
type = "Proxy"
url = "${url}"
`;
}

for (const io of IO_BACKENDS)
  describe(`an address whose connections were cut, at ${WORKERS} workers (${io})`, () => {
    let origin: NodeServer;
    let edge: Edge;

    before(async () => {
      origin = await startNodeServer((_incoming, response) => response.end('served'));
      edge = await startEdge('', { io, config: (port) => configuration(port, origin.url) });
    });
    after(async () => {
      await edge?.kill();
      await origin?.close();
    });

    /** A connection from an address to one worker. */
    async function connectTo(pid: number, from: string): Promise<Attacker> {
      for (let tries = 0; tries < TRIES_MAX; tries++) {
        const client = await Attacker.connect(edge.port, false, true, from);
        const { localPort } = client.socket;
        let holder = 0;
        await until(
          () => {
            const held = heldConnections(edge).find(
              ({ address, port }) => address === from && port === localPort,
            );
            holder = held?.pid ?? 0;
            return holder !== 0;
          },
          PATIENCE_MS,
          'the connection at a worker',
        );
        if (holder === pid) return client;
        client.socket.destroy();
      }
      assert.fail(`${TRIES_MAX} connections, none of them at worker ${pid}`);
    }

    async function cutAt(pid: number): Promise<string> {
      const attacker = await connectTo(pid, ATTACKER);
      await attacker.send(Buffer.concat([HELLO, FLOOD]));
      await attacker.cut('a flood');
      return attacker.goaway;
    }

    async function answerAt(pid: number, from: string): Promise<string> {
      const client = await connectTo(pid, from);
      await client.send(Buffer.concat([HELLO, headers(1, GET)]));
      const last = (): string => {
        const found = client.frames.findLast(({ type }) => type === 0 || type === 7);
        return found === undefined ? '' : describeFrame(found);
      };
      await until(() => last() !== '' || client.ending !== 'open', PATIENCE_MS, 'an answer');
      client.socket.destroy();
      return last();
    }

    const SERVED = /^DATA 1/;
    const REFUSED = 'GOAWAY 0 code 11 penalty';

    async function assertRefused(): Promise<void> {
      const workers = edge.rooms('edge');
      assert.equal(workers.length, WORKERS);
      for (const pid of workers) {
        assert.equal(await answerAt(pid, ATTACKER), REFUSED);
        assert.match(await answerAt(pid, BYSTANDER), SERVED);
      }
    }

    test('is served by both up to the last cut but one, and refused by both from then on; a bystander is not', async () => {
      const workers = edge.rooms('edge');
      for (let cuts = 0; cuts < CUTS_MAX; cuts++) {
        for (const pid of workers) assert.match(await answerAt(pid, ATTACKER), SERVED, `after ${cuts} cuts`);
        assert.match(await cutAt(workers[cuts % WORKERS]), /^GOAWAY \d+ code 11 reset-flood$/);
      }
      await assertRefused();
    });

    test('is refused by workers that come in the place of those that died', async () => {
      const before = edge.rooms('edge');
      for (const pid of before) process.kill(pid, 'SIGKILL');
      await until(
        () => edge.rooms('edge').filter((pid) => !before.includes(pid)).length === WORKERS,
        PATIENCE_MS,
        'new workers',
      );
      await assertRefused();
    });

    test('is refused after a reload, in which workers are replaced', async () => {
      const before = edge.rooms('edge');
      edge.rewriteWhole(configuration(edge.port, origin.url).replace('[http2]', '[http2]\npings_burst = 50'));
      edge.signal('SIGHUP');
      await until(
        () =>
          edge.rooms('edge').length === WORKERS && edge.rooms('edge').every((pid) => !before.includes(pid)),
        PATIENCE_MS,
        'new workers',
      );
      await assertRefused();
      await edge.stop();
    });
  });
