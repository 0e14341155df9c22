/** Kernel TLS on the machine that the tests run on, whatever it can: used, fallen back from, or refused. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { probeKernelTls } from '../../src/sys/kernel-tls.ts';
import { runEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { freePort } from '../fixtures/ports.ts';
import { Client, certified, startSite } from '../ktls/site.ts';

const { problem } = probeKernelTls();
const REQUIRED = 'ktls_enabled = true\nktls_fallback_enabled = false';
const FALLBACK = /kernel TLS can't be had: .*sealed in user space/;
const REFUSED = /^Error: tls.ktls_enabled: kernel TLS can't be had: .*set tls.ktls_fallback_enabled = true/m;
const REFUSED_RELOAD =
  /reload: tls.ktls_enabled: kernel TLS can't be had: .*set tls.ktls_fallback_enabled = true; the old/;

for (const io of IO_BACKENDS) {
  test(`ktls_enabled serves with the kernel's help or without it, and says so once for all workers (${io})`, async () => {
    const site = await startSite(io, 'ktls_enabled = true', 2);
    if (problem !== '') await site.edge.logged(FALLBACK);
    const client = new Client(site);
    assert.equal((await client.ask('GET', '/small')).body.toString(), 'a small file\n');
    assert.equal((await client.ask('GET', '/download')).body.compare(site.body), 0);
    client.close();
    assert.equal(site.edge.stderr().match(/kernel TLS/g)?.length ?? 0, problem === '' ? 0 : 1);
    if (problem !== '') {
      const said = await site.reload(REQUIRED, 'the old configuration stays in force');
      assert.match(said, REFUSED_RELOAD);
    }
    await site.stop();
  });
}

test('ktls_fallback_enabled = false starts where the kernel can, and is refused with exit code 3 where it cannot', async () => {
  const [io] = IO_BACKENDS;
  if (problem === '') {
    const required = await startSite(io, REQUIRED);
    await required.stop();
    return;
  }
  const route = '[path_routes."*"."/"]\ntype = "Redirect"\nredirect_url = "https://one.example/"\n';
  const server = `[server]\nlisten = "127.0.0.1:${await freePort()}"\n`;
  const { exit, output } = await runEdge(`${server}${certified().tls(REQUIRED)}${route}`, io);
  assert.deepEqual(exit, { code: 3, signal: null }, output);
  assert.match(output, REFUSED);
});
