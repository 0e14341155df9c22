/** The text of the page: escapes, numbers, both formats, what promtool thinks of it, and what a client prefers. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MetricsArea } from '../../src/metrics/area.ts';
import { Exposition, prefersOpenMetrics } from '../../src/metrics/exposition.ts';
import { FAMILIES, type Facts, writePage } from '../../src/metrics/families.ts';
import { Totals } from '../../src/metrics/totals.ts';
import { assertPromtoolAccepts, MetricsPage } from '../fixtures/metrics.ts';

const FACTS: Facts = {
  methods: ['', 'GET', 'HEAD'],
  faults: ['', 'bad-host'],
  failures: ['connect-failed'],
  tlsFailures: ['timeout'],
  http2Floods: ['reset-flood'],
  upstreams: [{ upstream: 'quoted "name"', server: 'http://s', healthy: false }],
  certificates: [{ name: '/etc/back\\slash.crt', expirySeconds: 2_000_000_000 }],
  reloadedSeconds: 1_700_000_000,
  reloads: { succeeded: 0, failed: 0 },
  reloadSucceeded: true,
  startSeconds: 1_700_000_000,
  build: { version: '1', nodejs: '26', openssl: '3', io: 'sim' },
  connectionsMax: 100,
  rooms: [{ name: 'edge-1', state: 'ready', restarts: 2 }],
  journalDropped: 3,
};

function pageOf(area: MetricsArea, openMetrics = false): string {
  return [...writePage(new Exposition(openMetrics), new Totals([area.views]), FACTS)].join('');
}

describe('the page', () => {
  it('satisfies promtool when nothing was counted, and when everything was', () => {
    const area = MetricsArea.alone();
    assertPromtoolAccepts(pageOf(area));
    const host = area.hostNumber('*.test');
    const server = area.serverNumber('http://ü');
    area.countRequest(host, 0, 0);
    area.observeDuration(host, 0, 70_000);
    area.observeSizes(1, 2 ** 31);
    area.countFault(1);
    area.observeLatency(server, 3);
    area.countFailure(server, 0);
    assertPromtoolAccepts(pageOf(area));
  });

  it('names every family that it has a line of help for, once', () => {
    const names = pageOf(MetricsArea.alone()).match(/(?<=^# HELP )\S+/gm) ?? [];
    assert.deepEqual(
      names,
      FAMILIES.map(({ name }) => name),
    );
    assert.equal(new Set(names).size, names.length);
  });

  it('escapes what operators write', () => {
    const page = pageOf(MetricsArea.alone());
    assert.ok(page.includes('{upstream="quoted \\"name\\"",server="http://s"} 0\n'));
    assert.ok(page.includes('{certificate="/etc/back\\\\slash.crt"} 2000000000\n'));
  });

  it('has cumulative buckets, in seconds', () => {
    const area = MetricsArea.alone();
    const host = area.hostNumber('a.test');
    for (const ms of [0, 1, 2, 3, 40, 100_000]) area.observeDuration(host, 1, ms);
    const page = new MetricsPage(pageOf(area));
    const bucket = (le: string): number =>
      page.value(
        'zerocopy_proxy_http_request_duration_seconds_bucket',
        `method="GET",host="a.test",le="${le}"`,
      );
    assert.deepEqual(['0.001', '0.002', '0.005', '0.05', '60', '+Inf'].map(bucket), [2, 3, 4, 5, 5, 6]);
    const labels = 'method="GET",host="a.test"';
    assert.equal(page.value('zerocopy_proxy_http_request_duration_seconds_sum', labels), 100.046);
    assert.equal(page.value('zerocopy_proxy_http_request_duration_seconds_count', labels), 6);
  });

  it('is written in pieces of a bounded size, however much there is', () => {
    const area = MetricsArea.alone();
    for (let index = 0; index < 400; index++) {
      const host = area.hostNumber(`host-${index}.test`);
      area.countRequest(host, 1, 200);
      area.observeDuration(host, 1, index);
    }
    const pieces = [...writePage(new Exposition(false), new Totals([area.views]), FACTS)];
    assert.ok(pieces.length > 50);
    assert.ok(pieces.every((piece) => piece.length < 16_384));
    assertPromtoolAccepts(pieces.join(''));
  });

  it('ends with a mark in OpenMetrics, and names counters without _total there', () => {
    const page = pageOf(MetricsArea.alone(), true);
    assert.ok(page.endsWith('# EOF\n'));
    assert.ok(page.includes('# TYPE sallyport_config_reloads counter\n'));
    assert.ok(page.includes('\nsallyport_config_reloads_total{result="ok"} 0\n'));
    assert.ok(page.includes('zerocopy_proxy_http_request_size_bytes_bucket{le="256.0"} 0\n'));
  });
});

describe('OpenMetrics', () => {
  const cases: readonly (readonly [string, boolean])[] = [
    ['', false],
    ['*/*', false],
    ['text/plain', false],
    ['text/html,application/xhtml+xml,*/*;q=0.8', false],
    ['application/openmetrics-text', true],
    ['application/openmetrics-text; version=1.0.0', true],
    ['APPLICATION/OpenMetrics-Text;version="1.0.0"', true],
    ['application/openmetrics-text;version=0.0.1', false],
    ['application/openmetrics-text;q=0', false],
    ['application/openmetrics-text;q=0.3,text/plain;q=0.5', false],
    ['application/openmetrics-text;q=broken', false],
    [
      'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
      true,
    ],
  ];
  for (const [accept, expected] of cases) {
    it(`is ${expected ? '' : 'not '}preferred by '${accept}'`, () => {
      assert.equal(prefersOpenMetrics(accept), expected);
    });
  }
});
