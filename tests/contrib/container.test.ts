/** What containers forbid, and what the server says and does then. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';

const FILTER = [process.execPath, join(import.meta.dirname, 'programs/without-calls.ts')];
const [EPERM, ENOSYS] = [1, 38];
const SITE = openFolder('container');
writeFileSync(join(SITE, 'index.html'), 'from a container');

/** Started where these calls are forbidden, by an ordinary user without any capability. */
async function startWithout(calls: string): Promise<Edge> {
  const edge = await startEdge(`[host_routes."*"]\npath = "${SITE}"\n`, {
    // Whichever it can have.
    io: 'uring',
    env: { SALLYPORT_IO: '' },
    prefix: [
      ...FILTER,
      calls,
      ...['/usr/bin/setpriv', '--reuid', '65532', '--regid', '65532', '--clear-groups'],
      ...['--bounding-set=-all', '--inh-caps=-all'],
    ],
  });
  await edge.logged('ready, with');
  return edge;
}

describe('in a container', () => {
  it('whose filter forbids io_uring, as Docker’s does, epoll does the same', async () => {
    const edge = await startWithout(`io_uring_setup=${EPERM}`);
    assert.match(edge.stderr(), /ready, with epoll because="io_uring is forbidden here/);
    assert.equal(await (await fetch(`http://127.0.0.1:${edge.port}/`)).text(), 'from a container');
    assert.doesNotMatch(edge.stderr(), /no file can be served|degraded: NOT capabilities/);
    await edge.stop();
  });

  it('whose filter forbids openat2, the log says from the start why no file is served', async () => {
    const edge = await startWithout(`openat2=${ENOSYS}`);
    await edge.logged(/\[ERROR\] no file can be served: openat2 is forbidden here/);
    assert.equal((await fetch(`http://127.0.0.1:${edge.port}/`)).status, 500);
    await edge.stop();
  });
});
