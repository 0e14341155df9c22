/** Kernel TLS on a kernel that has none: the fallback, and the refusal. Run by tools/test-ktls.ts before the module is loaded. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { freePort } from '../fixtures/ports.ts';
import { Client, startSite } from './site.ts';

for (const io of IO_BACKENDS) {
  test(`${io}: without the kernel's help records are sealed in user space, and the log says why`, async () => {
    const site = await startSite(io, 'ktls_enabled = true');
    await site.edge.logged(
      /kernel TLS can't be had: .*no module `tls`.*modprobe tls.*Records are sealed in user space/,
    );
    const client = new Client(site);
    assert.equal((await client.ask('GET', '/small')).body.toString(), 'a small file\n');
    client.close();
    await site.stop();
  });
}

test('where there may be no fallback, the start is refused with the reason and the mend', async () => {
  const site = await startSite(IO_BACKENDS[0], '');
  const listen = `[server]\nlisten = "127.0.0.1:${await freePort()}"\n`;
  const route = '[path_routes."*"."/"]\ntype = "Redirect"\nredirect_url = "https://one.example/"\n';
  const lines = site.tls('ktls_enabled = true\nktls_fallback_enabled = false');
  const { exit, output } = await runEdge(`${listen}${lines}${route}`, IO_BACKENDS[0]);
  assert.deepEqual(exit, { code: 3, signal: null }, output);
  assert.match(output, /^Error: tls.ktls_enabled: kernel TLS can't be had: .*modprobe tls/m);
  assert.match(output, /set tls.ktls_fallback_enabled = true/);
  await site.stop();
});
