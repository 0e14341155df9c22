/** Workers of the started product: whose connections each has, by the kernel's tables. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { availableParallelism } from 'node:os';
import { describe, it } from 'node:test';
import { coreAffinity } from '../../src/sys/process.ts';
import { heldConnections } from '../fixtures/connections.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { until } from '../fixtures/patience.ts';

const WORKERS = 3;
const CLIENTS = 40;
const CONNECTIONS_PER_CLIENT = 5;

/** The clients whose connections each worker holds, one entry a connection. */
function holdings(edge: Edge): string[][] {
  const held = heldConnections(edge);
  return edge
    .rooms('edge')
    .map((pid) => held.filter((each) => each.pid === pid).map(({ address }) => address));
}

for (const io of IO_BACKENDS)
  describe(`several workers on ${io}`, () => {
    it('have all connections of a client on one of them where its address chooses', async () => {
      const edge = await startEdge('', {
        io,
        config: (port) =>
          `[server]\nlisten = "0.0.0.0:${port}"\nthreads = ${WORKERS}\n[performance]\nreuseport_balancing = "cbpf"\n[host_routes.a]\npath = "${openFolder('balancing')}"\n`,
      });
      await edge.logged('ready, with');
      const sockets: Socket[] = [];
      const clients = Array.from({ length: CLIENTS }, (_, index) => `127.0.${index % 3}.${index + 2}`);
      for (const localAddress of clients)
        for (let count = 0; count < CONNECTIONS_PER_CLIENT; count++) {
          const socket = connect({ port: edge.port, host: '127.0.0.1', localAddress });
          sockets.push(socket);
          await once(socket, 'connect');
        }
      const all = CLIENTS * CONNECTIONS_PER_CLIENT;
      await until(() => holdings(edge).flat().length >= all, 10_000, 'all connections at workers');
      const held = holdings(edge);
      assert.equal(held.length, WORKERS);
      for (const client of clients) {
        const counts = held.map((each) => each.filter((one) => one === client).length);
        assert.deepEqual(counts.sort(), [0, 0, CONNECTIONS_PER_CLIENT], client);
      }
      for (const each of held) assert.ok(each.length > 0, 'no worker is left out');
      for (const socket of sockets) socket.destroy();
      await edge.stop();
    });

    it('are each on a core that the program was given', async () => {
      const edge = await startEdge(`[host_routes.a]\npath = "${openFolder('balancing')}"\n`, {
        io,
        config: (port) =>
          `[server]\nlisten = "127.0.0.1:${port}"\nthreads = 2\n[host_routes.a]\npath = "${openFolder('balancing')}"\n`,
      });
      await edge.logged('ready, with');
      const allowed = (pid: number, task = pid): string =>
        /^Cpus_allowed_list:\s+(\S+)$/m.exec(readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8'))?.[1] ??
        '';
      const own = allowed(process.pid);
      const cores = edge.rooms('edge').map((pid) => {
        const tasks = readdirSync(`/proc/${pid}/task`).map(Number);
        assert.deepEqual(new Set(tasks.map((task) => allowed(pid, task))).size, 1, 'all threads on one');
        return allowed(pid);
      });
      const has = coreAffinity().length;
      if (availableParallelism() < has) {
        // A quota of time, which any core may use.
        for (const core of cores) assert.equal(core, own);
      } else {
        for (const core of cores) assert.match(core, /^\d+$/);
        assert.equal(new Set(cores).size, Math.min(has, 2), cores.join(' '));
      }
      assert.equal(allowed(edge.pid), own, 'the master is bound to none');
      await edge.stop();
    });
  });
