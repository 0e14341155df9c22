/** What rooms of the started product write to their standard error: the log says whose words they are. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { until } from '../fixtures/patience.ts';

const PATIENCE_MS = 20_000;
const WORKERS = 2;

for (const io of IO_BACKENDS)
  describe(`standard error of rooms (${io})`, () => {
    let edge: Edge;

    before(async () => {
      const folder = openFolder('output');
      edge = await startEdge('', {
        io,
        config: (port) =>
          `[server]\nlisten = "127.0.0.1:${port}"\nthreads = ${WORKERS}\n[host_routes.a]\npath = "${folder}"\n`,
      });
    });
    after(() => edge?.kill());

    /** Each room that the journal reads, by process id. */
    function writers(): { role: string; pid: number }[] {
      return (['outbound', 'edge'] as const).flatMap((role) =>
        edge.rooms(role).map((pid) => ({ role, pid })),
      );
    }

    async function assertNamed(words: string): Promise<void> {
      const from = edge.stderr().length;
      const all = writers();
      assert.ok(all.filter(({ role }) => role === 'edge').length === WORKERS);
      for (const { pid } of all) writeFileSync(`/proc/${pid}/fd/2`, `${words} of ${pid}\n`);
      for (const { role, pid } of all)
        await edge.logged(new RegExp(`\\[ERROR\\] ${words} of ${pid} room=${role} pid=${pid}$`, 'm'), from);
    }

    test('is in the log with the room’s role and its process', async () => {
      await assertNamed('words');
    });

    test('is still known when another journal reads it, what came in between included', async () => {
      const [journal] = edge.rooms('journal');
      const from = edge.stderr().length;
      const [{ role, pid }] = writers();
      process.kill(journal, 'SIGSTOP');
      writeFileSync(`/proc/${pid}/fd/2`, 'unread\n');
      process.kill(journal, 'SIGKILL');
      await edge.logged(new RegExp(`\\[ERROR\\] unread room=${role} pid=${pid}$`, 'm'), from);
      await assertNamed('later');
    });

    test('is known of a worker that takes another one’s place', async () => {
      const before = edge.rooms('edge');
      process.kill(before[0], 'SIGKILL');
      const isBack = (): boolean =>
        !edge.rooms('edge').includes(before[0]) && edge.rooms('edge').length === WORKERS;
      await until(isBack, PATIENCE_MS, 'another worker');
      await assertNamed('new');
      await edge.stop();
    });
  });
