/** The suite must be able to fail: a proxy of which it is known that it lets some of these requests pass. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serveEcho, startOrigin } from '../fixtures/origin.ts';
import { ALL_CASES, failures, nginxProxy } from './peers.ts';

/** nginx 1.22 accepts all of these; a suite that doesn't notice is worth nothing. */
const LENIENT = [
  'a coding hidden behind a bare LF',
  'a request of bare LFs',
  'TERM.EXT: a bare LF in an extension',
  'a chunk that ends in a bare LF',
  'a folded trailer',
  'two spaces before the target',
  '( in a name',
];

test('the hostile suite catches a lenient proxy', async () => {
  const origin = await startOrigin(serveEcho);
  const proxy = await nginxProxy(origin.url);
  const cases = ALL_CASES.filter(({ name }) => LENIENT.includes(name));
  const wrong = await failures(proxy, () => origin.text(), cases);
  await proxy.close();
  await origin.close();
  assert.deepEqual([...wrong.keys()].sort(), [...LENIENT].sort());
});
