/** Counting leaves nothing on the heap: not a byte a request, over many requests. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricsArea } from '../../src/metrics/area.ts';
import { leastAllocated } from '../fixtures/heap.ts';

const REQUESTS = 20_000;
/** What the measurement itself may cost in all, in bytes: less than two a request. */
const SLACK_BYTES = 32 * 1024;

test('counting a request leaves nothing on the heap', () => {
  const area = MetricsArea.alone();
  const hosts = Array.from({ length: 10 }, (_, index) => area.hostNumber(`${index}.test`));
  const server = area.serverNumber('http://s');
  const least = leastAllocated(SLACK_BYTES, () => {
    for (let index = 0; index < REQUESTS; index++) {
      const host = hosts[index % hosts.length];
      area.addActive(host, 1);
      area.addActive(host, -1);
      area.countRequest(host, index & 7, 200 + (index % 300));
      area.observeDuration(host, index & 7, index);
      area.observeSizes(index, index * 1000);
      area.observeLatency(server, index);
      area.countFault(index & 63);
    }
  });
  assert.ok(least < SLACK_BYTES, `${least} bytes for ${REQUESTS} requests`);
});
