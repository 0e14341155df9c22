/**
 * Kernel TLS on a kernel that has none: the fallback, the refusal, and what happens when the module comes while the
 * server runs. Run by tools/test-ktls.ts before the module is loaded, which is in SALLYPORT_TLS_MODULE.
 */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { runEdge } from '../fixtures/edge.ts';
import { freePort } from '../fixtures/ports.ts';
import { Client, certified, counted, type Site, startSite } from './site.ts';

const ABSENT =
  /kernel TLS can't be had: .*no module `tls`.*modprobe tls.*(Records are sealed in user space|set tls.ktls_fallback_enabled = true)/;

async function servesOneFile(site: Site): Promise<void> {
  const client = new Client(site);
  assert.equal((await client.ask('GET', '/small')).body.toString(), 'a small file\n');
  client.close();
}

test('where there may be no fallback, the start is refused with the reason and the mend', async () => {
  const listen = `[server]\nlisten = "127.0.0.1:${await freePort()}"\nthreads = 1\n`;
  const route = '[path_routes."*"."/"]\ntype = "Redirect"\nredirect_url = "https://one.example/"\n';
  const lines = certified().tls('ktls_enabled = true\nktls_fallback_enabled = false');
  const { exit, output } = await runEdge(`${listen}${lines}${route}`, 'epoll');
  assert.deepEqual(exit, { code: 3, signal: null }, output);
  assert.match(output, /^Error: tls.ktls_enabled: kernel TLS can't be had: .*modprobe tls/m);
  assert.match(output, /set tls.ktls_fallback_enabled = true/);
});

test("epoll: without the kernel's help records are sealed in user space, and the log says why", async () => {
  const site = await startSite('epoll', 'ktls_enabled = true');
  await site.edge.logged(ABSENT);
  await servesOneFile(site);
  await site.stop();
});

test('io_uring: the same; when the module is loaded, the next reload uses it', async () => {
  const site = await startSite('uring', 'ktls_enabled = true');
  await site.edge.logged(ABSENT);
  await servesOneFile(site);
  const { status, stderr } = spawnSync('busybox', ['insmod', process.env['SALLYPORT_TLS_MODULE'] ?? ''], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(await site.reload('ktls_enabled = true'), ABSENT);
  const counts = await counted(() => servesOneFile(site));
  assert.equal(counts('TlsTxSw'), 1, 'connections whose records the kernel seals');
  await site.stop();
});
