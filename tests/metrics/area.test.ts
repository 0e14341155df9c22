/** What is counted comes out again, whoever counted it, and no number of labels makes it grow. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AreaViews, hostOfKey, MetricsArea, methodOfKey, statusOfKey } from '../../src/metrics/area.ts';
import { SIZE_BOUNDS, sizeBucket, TIME_BOUNDS_MS, timeBucket } from '../../src/metrics/buckets.ts';
import {
  AREA_BYTES,
  C_ACCEPT_PAUSES,
  G_CONNECTIONS_OPEN,
  H_MAGIC,
  HOSTS_MAX,
  LAYOUT_MAGIC,
  NAME_BYTES,
  OTHER,
  REQUEST_SIZE_CELL,
  SERVERS_MAX,
  SIZE_CELLS,
} from '../../src/metrics/layout.ts';
import { Totals } from '../../src/metrics/totals.ts';

/** Requests by `host method status`. */
function requestsOf(...areas: MetricsArea[]): Map<string, number> {
  const totals = new Totals(areas.map(({ views }) => views));
  return new Map(
    [...totals.requests].map(([key, count]) => [
      `${totals.hosts[hostOfKey(key)].name} ${methodOfKey(key)} ${statusOfKey(key)}`,
      count,
    ]),
  );
}

describe('buckets', () => {
  it('hold their upper bounds, and nothing above them', () => {
    for (const [index, bound] of TIME_BOUNDS_MS.entries()) {
      assert.equal(timeBucket(bound), index);
      assert.equal(timeBucket(bound + 1), index + 1);
    }
    assert.equal(timeBucket(0), 0);
    for (const [index, bound] of SIZE_BOUNDS.entries()) {
      assert.equal(sizeBucket(bound), index, `${bound}`);
      assert.equal(sizeBucket(bound + 1), index + 1, `${bound + 1}`);
    }
    assert.equal(sizeBucket(2 ** 40), SIZE_BOUNDS.length);
  });
});

describe('an area', () => {
  it('counts each series of requests apart', () => {
    const area = MetricsArea.alone();
    const a = area.hostNumber('a.test');
    const b = area.hostNumber('b.test');
    assert.equal(area.hostNumber('a.test'), a);
    for (let round = 0; round < 3; round++) area.countRequest(a, 1, 200);
    area.countRequest(a, 1, 404);
    area.countRequest(a, 2, 200);
    area.countRequest(b, 1, 200);
    area.countRequest(OTHER, 1, 421);
    assert.deepEqual(
      requestsOf(area),
      new Map([
        ['a.test 1 200', 3],
        ['a.test 1 404', 1],
        ['a.test 2 200', 1],
        ['b.test 1 200', 1],
        ['other 1 421', 1],
      ]),
    );
  });

  it('counts what has no status, or one that is none, as none', () => {
    const area = MetricsArea.alone();
    for (const status of [0, 99, 600, 999]) area.countRequest(OTHER, 1, status);
    for (const status of [100, 599]) area.countRequest(OTHER, 1, status);
    assert.deepEqual(
      requestsOf(area),
      new Map([
        ['other 1 0', 4],
        ['other 1 100', 1],
        ['other 1 599', 1],
      ]),
    );
  });

  it('adds up what does not fit any more, and loses no request', () => {
    const area = MetricsArea.alone();
    const hosts = Array.from({ length: HOSTS_MAX + 100 }, (_, index) => area.hostNumber(`${index}.test`));
    assert.equal(hosts.filter((host) => host === OTHER).length, 101);
    let count = 0;
    for (const host of hosts) {
      for (let status = 200; status < 250; status++) {
        area.countRequest(host, 1, status);
        count++;
      }
    }
    const requests = requestsOf(area);
    assert.equal(
      [...requests.values()].reduce((sum, each) => sum + each, 0),
      count,
    );
    for (let status = 200; status < 250; status++) assert.ok(requests.has(`other 0 ${status}`), `${status}`);
    assert.ok(requests.size < 13_000);
  });

  it('cuts long names between characters', () => {
    const area = MetricsArea.alone();
    area.serverNumber(`x${'é'.repeat(200)}`);
    const name = area.views.serverNames()[1];
    assert.equal(name, `x${'é'.repeat((NAME_BYTES - 2) >> 1)}`);
  });

  it('sums sizes exactly', () => {
    const area = MetricsArea.alone();
    area.observeSizes(0, 10_000_000_000);
    area.observeSizes(300, 1);
    const { cells } = new Totals([area.views]);
    assert.equal(cells[REQUEST_SIZE_CELL + SIZE_CELLS - 1], 300);
    assert.equal(cells[REQUEST_SIZE_CELL + 2 * SIZE_CELLS - 1], 10_000_000_001);
  });
});

describe('areas of several workers', () => {
  it('are added up by their names, whatever numbers each gave them', () => {
    const memory = new SharedArrayBuffer(2 * AREA_BYTES);
    const one = new MetricsArea(memory, 0);
    const two = new MetricsArea(memory, AREA_BYTES);
    const a = one.hostNumber('a.test');
    two.hostNumber('b.test');
    one.countRequest(a, 1, 200);
    two.countRequest(two.hostNumber('a.test'), 1, 200);
    two.countRequest(two.hostNumber('b.test'), 1, 200);
    one.addActive(a, 2);
    two.addActive(two.hostNumber('a.test'), 1);
    one.countRetry(one.serverNumber('http://s'));
    two.serverNumber('http://t');
    two.countRetry(two.serverNumber('http://s'));
    assert.deepEqual(
      requestsOf(one, two),
      new Map([
        ['a.test 1 200', 2],
        ['b.test 1 200', 1],
      ]),
    );
    const totals = new Totals([one.views, two.views]);
    assert.equal(totals.hosts.find(({ name }) => name === 'a.test')?.active, 3);
    assert.deepEqual(
      totals.servers.map(({ name }) => name),
      ['other', 'http://s', 'http://t'],
    );
  });

  it('are left out as long as nobody uses them', () => {
    const memory = new SharedArrayBuffer(2 * AREA_BYTES);
    const one = new MetricsArea(memory, 0);
    one.countRequest(OTHER, 1, 200);
    const totals = new Totals([one.views, new AreaViews(memory, AREA_BYTES)]);
    assert.equal(totals.hosts.length, 1);
    assert.equal([...totals.requests.values()][0], 1);
  });

  it('keep their counters and names when another worker takes them over, and not what was at the moment', () => {
    const memory = new SharedArrayBuffer(AREA_BYTES);
    const before = new MetricsArea(memory, 0);
    const host = before.hostNumber('a.test');
    before.countRequest(host, 1, 200);
    before.add(C_ACCEPT_PAUSES, 1);
    before.addActive(host, 5);
    before.set(G_CONNECTIONS_OPEN, 7);
    before.addConnections(before.serverNumber('http://s'), 3, 4, 2);
    const after = new MetricsArea(memory, 0);
    assert.equal(after.hostNumber('a.test'), host);
    after.countRequest(host, 1, 200);
    const totals = new Totals([after.views]);
    assert.deepEqual(requestsOf(after), new Map([['a.test 1 200', 2]]));
    assert.equal(totals.cells[C_ACCEPT_PAUSES], 1);
    assert.equal(totals.cells[G_CONNECTIONS_OPEN], 0);
    assert.equal(totals.hosts[host].active, 0);
    assert.ok(totals.servers[1].cells.every((value) => value === 0));
  });
});

describe('an area that another room has written anything to', () => {
  it('is added up, taken over and counted in all the same', () => {
    for (let seed = 1; seed <= 12; seed++) {
      const memory = new ArrayBuffer(AREA_BYTES);
      const words = new Int32Array(memory);
      let state = seed;
      for (let at = 0; at < words.length; at++) {
        state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + seed;
        words[at] = seed % 3 === 0 ? -1 : seed % 3 === 1 ? 0x7fffffff : state;
      }
      words[H_MAGIC] = LAYOUT_MAGIC;
      const area = new MetricsArea(memory, 0);
      const host = area.hostNumber('a.test');
      area.countRequest(host, 1, 200);
      area.addConnections(area.serverNumber('http://b.test'), 1, 1, 1);
      const totals = new Totals([area.views]);
      assert.ok(totals.hosts.length <= HOSTS_MAX && totals.servers.length <= SERVERS_MAX);
    }
  });
});
