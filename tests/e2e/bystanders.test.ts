/**
 * Nobody suffers for others: a short storm of bench/bystanders.ts, in which one backend in twenty fails, is slow, or lies. Counts
 * decide here; times are for the bench, which runs for minutes on a machine of its own.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Backends } from '../../bench/bystanders/backends.ts';
import { bystanderConfig, type Part, runBystanders } from '../../bench/bystanders.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { exchangeOnce } from '../fixtures/raw-client.ts';

const SEED = 3;
const BACKENDS = 40;
const PER_SECOND = 200;
const CALM_SECONDS = 1;
const STORM_SECONDS = 5;
const MEMORY_BYTES_MAX = 96 * 1024 * 1024;

/** Words for an end that must never be: a response that is another's or not whole, or none at all. */
const NEVER = ['wrong', 'unanswered'];

describe('while backends fail, are slow, and lie', () => {
  let backends: Backends;
  let edge: Edge;
  let worker: number;
  let residentBefore: number;
  let parts: Part[];

  before(async () => {
    backends = await Backends.start(BACKENDS, SEED);
    edge = await startEdge('', { io: 'uring', config: (port) => bystanderConfig(port, backends.ports) });
    // It accepts before its worker is ready.
    assert.equal((await exchangeOnce(edge.port, 'GET /0/x HTTP/1.1\r\nHost: a.test\r\n\r\n')).status, 200);
    worker = edge.workerPid;
    residentBefore = edge.residentBytes();
    parts = await runBystanders({
      port: edge.port,
      backends,
      perSecond: PER_SECOND,
      calmSeconds: CALM_SECONDS,
      stormSeconds: STORM_SECONDS,
      seed: SEED,
      residentBytes: () => edge.residentBytes(),
    });
  });

  after(async () => {
    backends?.close();
    await edge?.stop();
  });

  function ends(name: Part['name'], side: 'bystander' | 'group' | 'troubled'): Map<string, number> {
    const part = parts.find((each) => each.name === name);
    assert.ok(part !== undefined);
    return part.sides[side].ends;
  }

  test('every request to a backend that is well gets its own answer, whole', () => {
    for (const { name, sides } of parts) {
      assert.deepEqual([...sides.bystander.ends.keys()], ['200'], name);
      assert.ok((sides.bystander.ends.get('200') ?? 0) > 100, name);
    }
  });

  test('every request to one in trouble ends, and none with what is not its own', () => {
    const all = ends('storm', 'troubled');
    for (const word of NEVER) assert.equal(all.get(word), undefined, JSON.stringify([...all]));
    assert.ok(
      [...all.keys()].some((end) => end === '502' || end === '504'),
      'there was trouble',
    );
  });

  test('a group leaves out its servers that are in trouble', () => {
    const all = ends('storm', 'group');
    const total = [...all.values()].reduce((sum, count) => sum + count, 0);
    const good = all.get('200') ?? 0;
    for (const word of NEVER) assert.equal(all.get(word), undefined, JSON.stringify([...all]));
    assert.ok((total - good) * 20 <= total, `${total - good} of ${total} went to servers in trouble`);
  });

  test('when it is over everything is as before', () => {
    for (const side of ['bystander', 'group', 'troubled'] as const)
      assert.deepEqual([...ends('after', side).keys()], ['200'], side);
    assert.equal(edge.workerPid, worker, 'the worker is the same');
    assert.ok(edge.residentBytes() - residentBefore < MEMORY_BYTES_MAX, 'memory');
  });
});
