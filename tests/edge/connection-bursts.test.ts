/** Many connections at one moment on real sockets: the kernel accepts more than there may be before it hears of the limit. */

import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import { EdgeWorker } from '../../src/edge/worker.ts';
import { openReactor } from '../../src/io/open.ts';
import { Log } from '../../src/log/log.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { FileSink } from '../fixtures/log-sink.ts';
import { until } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';

const LIMIT = 4;
const CLIENTS = 60;

describe('security.max_concurrent_connections', () => {
  for (const io of IO_BACKENDS) {
    it(`is never exceeded by a burst, and everybody of it is served (${io})`, async () => {
      const port = await freePort();
      const toml = `[server]\nlisten = "127.0.0.1:${port}"\n[logging]\nlevel = "off"\n[security]\nmax_concurrent_connections = ${LIMIT}\n[path_routes."*"."/"]\ntype = "Redirect"\nredirect_url = "/x"\n`;
      const { config } = loadConfig(toml, '/etc/edge/config.toml', {
        files: { kindOf: () => 'directory', isReachable: () => true },
      });
      assert.ok(config !== null);
      const { reactor } = openReactor({ backend: io });
      const worker = new EdgeWorker(reactor, new Log(config.logging, new FileSink(null)));
      worker.configure(config, new Map());
      assert.ok(typeof worker.listen({ family: 'ipv4', address: '127.0.0.1', port }) !== 'number');
      let most = 0;
      let runs = true;
      const run = (): void => {
        if (!runs) return;
        reactor.turn(0);
        most = Math.max(most, worker.openConnections);
        setImmediate(run);
      };
      run();
      let answered = 0;
      const sockets: Socket[] = [];
      for (let client = 0; client < CLIENTS; client++) {
        const socket = connect(port, '127.0.0.1');
        sockets.push(socket);
        socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
        socket.once('data', () => {
          answered++;
          socket.destroy();
        });
        socket.on('error', () => {});
      }
      await until(() => answered === CLIENTS, 20_000, `${CLIENTS} answers`);
      await until(() => worker.shared.connections.total === 0, 5000, 'all of them to be gone');
      runs = false;
      reactor.destroy();
      assert.equal(worker.counters.refusedByTotal, 0);
      assert.equal(most, LIMIT);
    });
  }
});
