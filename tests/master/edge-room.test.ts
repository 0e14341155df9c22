/** The whole edge in its room, confined as strictly as can be: TLS, files, a backend, everything that V8 does in time. As root. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { IoBackend } from '../../src/master/compartments.ts';
import { STRONGEST } from '../../src/master/plan.ts';
import type { Room } from '../../src/master/room.ts';
import { createListener } from '../../src/sys/socket.ts';
import { testAuthority } from '../fixtures/certificates.ts';
import { until, within } from '../fixtures/patience.ts';
import {
  drainPipe,
  needRoot,
  openFolder,
  openPipe,
  planFor,
  prepareMaster,
  startRoom,
  statusOf,
} from './house.ts';

const PORT = 29050;
const BACKEND_PORT = 29051;
const BIG_BYTES = 3_000_000;

const run = promisify(execFile);
let backend: Server;
let folder: string;

before(async () => {
  needRoot();
  backend = createServer((request, response) => response.end(`backend ${request.url}`));
  await new Promise<void>((resolve) => backend.listen(BACKEND_PORT, '127.0.0.1', resolve));
  folder = openFolder();
  mkdirSync(join(folder, 'www'));
  writeFileSync(join(folder, 'www/index.html'), 'a file\n');
  writeFileSync(join(folder, 'www/big.bin'), Buffer.alloc(BIG_BYTES, 7));
  const { cert, key } = testAuthority().server(['localhost']);
  writeFileSync(join(folder, 'cert.pem'), cert);
  writeFileSync(join(folder, 'key.pem'), key);
  chmodSync(join(folder, 'key.pem'), 0o644);
  writeFileSync(
    join(folder, 'config.toml'),
    `[server]
listen = "127.0.0.1:${PORT}"
[tls]
cert_path = "${folder}/cert.pem"
key_path = "${folder}/key.pem"
[path_routes."localhost"."/files"]
type = "File"
path = "${folder}/www"
[path_routes."localhost"."/api"]
type = "Proxy"
url = "http://127.0.0.1:${BACKEND_PORT}/"
`,
  );
});

after(() => {
  backend?.close();
});

async function ask(path: string): Promise<string> {
  const parameters = ['-sk', '--max-time', '30', `https://localhost:${PORT}${path}`, '-w', ' %{http_code}'];
  const { stdout } = await run('curl', parameters, { maxBuffer: 2 * BIG_BYTES });
  return stdout;
}

describe('the edge under strict confinement', () => {
  for (const io of ['io_uring', 'epoll'] as const satisfies readonly IoBackend[]) {
    it(`serves files, a backend and TLS on ${io}, and ends in order`, { timeout: 240_000 }, async () => {
      await prepareMaster();
      const listener = createListener({ family: 'ipv4', address: '127.0.0.1', port: PORT }, 64, true, -1);
      assert.ok(listener >= 0);
      const output = openPipe();
      const more = {
        io,
        program: [folder],
        files: [join(folder, 'www')],
        connectPorts: [BACKEND_PORT],
      };
      const planned = planFor('edge', 'edge-room', [join(folder, 'config.toml'), io], STRONGEST, more);
      assert.deepEqual(
        planned.measures.filter(({ state }) => state !== 'on'),
        [],
      );
      let text = '';
      let room: Room | undefined;
      const ended = new Promise<string>((resolve) => {
        room = startRoom('edge', planned, [listener], output, {
          onReady() {},
          onMessage() {},
          onEnded: (_, reason) => resolve(reason),
        });
      });
      const isReady = (): boolean => {
        text += drainPipe(output);
        assert.notEqual(room?.state, 'ended', text);
        return text.includes(`ready with ${io}`);
      };
      await until(isReady, 30_000, 'the room gets ready');
      assert.equal(statusOf(room?.pid ?? -1)['Seccomp_filters'], '2');
      // Concurrently and repeatedly: optimised code, records of all sizes, kept connections to the backend.
      for (let round = 0; round < 5; round++) {
        const answers = await Promise.all([
          ask('/files/index.html'),
          ask('/api/x'),
          ask('/files/big.bin'),
          ask('/files/none'),
        ]);
        assert.equal(answers[0], 'a file\n 200');
        assert.equal(answers[1], 'backend /x 200');
        assert.equal(answers[2].length, BIG_BYTES + ' 200'.length);
        assert.match(answers[3], / 404$/);
      }
      process.kill(room?.pid ?? -1, 'SIGTERM');
      assert.equal(await within(ended, 10_000, 'the room ends'), 'exit code 0');
    });
  }
});
