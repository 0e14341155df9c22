/** Kernel TLS on the machine that the tests run on, whatever it can: used, fallen back from, or refused. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { probeKernelTls } from '../../src/sys/kernel-tls.ts';
import { runEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { freePort } from '../fixtures/ports.ts';
import { Client, certified, startSite } from '../ktls/site.ts';

const { problem } = probeKernelTls();
const REFUSED = /^Error: tls.ktls_enabled: kernel TLS can't be had: .*set tls.ktls_fallback_enabled = true/m;

for (const io of IO_BACKENDS) {
  test(`ktls_enabled serves with the kernel's help or without it, and says so (${io})`, async () => {
    const site = await startSite(io, 'ktls_enabled = true');
    if (problem !== '') await site.edge.logged(/kernel TLS can't be had: .*sealed in user space/);
    const client = new Client(site);
    assert.equal((await client.ask('GET', '/small')).body.toString(), 'a small file\n');
    assert.equal((await client.ask('GET', '/download')).body.compare(site.body), 0);
    client.close();
    if (problem === '') assert.doesNotMatch(site.edge.stderr(), /kernel TLS/);
    await site.stop();
  });
}

test('ktls_fallback_enabled = false starts where the kernel can, and is refused with exit code 3 where it cannot', async () => {
  const [io] = IO_BACKENDS;
  const lines = 'ktls_enabled = true\nktls_fallback_enabled = false';
  if (problem === '') {
    const required = await startSite(io, lines);
    await required.stop();
    return;
  }
  const route = '[path_routes."*"."/"]\ntype = "Redirect"\nredirect_url = "https://one.example/"\n';
  const server = `[server]\nlisten = "127.0.0.1:${await freePort()}"\n`;
  const { exit, output } = await runEdge(`${server}${certified().tls(lines)}${route}`, io);
  assert.deepEqual(exit, { code: 3, signal: null }, output);
  assert.match(output, REFUSED);
});
