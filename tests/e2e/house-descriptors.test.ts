import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { until } from '../fixtures/patience.ts';
import { RawClient } from '../fixtures/raw-client.ts';

const REQUEST = 'GET /a.txt HTTP/1.1\r\nHost: example.com\r\n\r\n';

for (const io of IO_BACKENDS) {
  test(`a worker without a free descriptor keeps its connections when another room starts anew (${io})`, async () => {
    const folder = openFolder('descriptors');
    writeFileSync(join(folder, 'a.txt'), 'a');
    const edge = await startEdge(
      `[path_routes."*"."/"]\ntype = "File"\npath = "${folder}"\nmode = "memory"\n`,
      {
        io,
        descriptorsMax: 80,
      },
    );
    const first = await RawClient.connect(edge.port);
    assert.equal((await first.request(REQUEST)).status, 200);
    const others: RawClient[] = [];
    for (let index = 0; index < 90; index++) others.push(await RawClient.connect(edge.port));
    await edge.logged('accepting is paused: EMFILE');
    const worker = edge.workerPid;
    for (let round = 0; round < 3; round++) {
      const [journal] = edge.rooms('journal');
      process.kill(journal, 'SIGKILL');
      const isBack = (): boolean =>
        edge.rooms('journal').length === 1 && edge.rooms('journal')[0] !== journal;
      await until(isBack, 10_000, 'another journal');
      const from = edge.stderr().length;
      const says = async (): Promise<boolean> => {
        await first.request(REQUEST.replace('/a.txt', `/round-${round}`));
        return edge.stderr().slice(from).includes(`path=/round-${round}`);
      };
      await until(says, 10_000, 'an entry in the log of the next journal');
    }
    assert.equal(edge.workerPid, worker);
    for (const client of [first, ...others]) client.destroy();
    await edge.stop();
  });
}
