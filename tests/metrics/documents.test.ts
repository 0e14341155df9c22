/** docs/METRICS.md, the dashboard and the alert rules speak of the metrics that there are, and of all of them. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { FAMILIES } from '../../src/metrics/families.ts';

const ROOT = join(import.meta.dirname, '../..');
const RULES = join(ROOT, 'contrib/prometheus/sallyport.rules.yml');
const DASHBOARD = join(ROOT, 'contrib/grafana/sallyport.json');
const NAME = /\b(?:zerocopy_proxy|sallyport|process)_[a-z0-9_]+\b/g;

function read(path: string): string {
  return readFileSync(path, 'utf8');
}

/** Names of metrics in a text, without what histograms add to them. */
function namesIn(text: string): Set<string> {
  const histograms = FAMILIES.filter(({ type }) => type === 'histogram').map(({ name }) => name);
  return new Set(
    (text.match(NAME) ?? []).map((name) => histograms.find((each) => name.startsWith(`${each}_`)) ?? name),
  );
}

const known = new Set(FAMILIES.map(({ name }) => name));

function promtool(...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync('promtool', args, { encoding: 'utf8' });
  assert.equal(error, undefined);
  assert.equal(status, 0, `${stdout}${stderr}`);
  return stdout;
}

describe('docs/METRICS.md', () => {
  it('has a line for each metric, with its type, labels and meaning', () => {
    const lines = read(join(ROOT, 'docs/METRICS.md'))
      .split('\n')
      .filter((line) => line.startsWith('| `'));
    const expected = FAMILIES.map(
      ({ name, type, labels, help }) => `| \`${name}\` | ${type} | ${labels.join(', ') || '–'} | ${help} |`,
    );
    assert.deepEqual(lines, expected);
  });
});

describe('the dashboard', () => {
  interface Panel {
    readonly title: string;
    readonly type: string;
    readonly gridPos: { readonly x: number; readonly w: number };
    readonly targets?: readonly { readonly expr: string }[];
  }
  const { panels } = JSON.parse(read(DASHBOARD)) as { panels: Panel[] };
  const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

  it('asks for metrics that there are, and leaves none out', () => {
    const named = namesIn(expressions.join('\n'));
    assert.deepEqual(
      [...known].filter((name) => !named.has(name)),
      [],
    );
    assert.deepEqual(
      [...named].filter((name) => !known.has(name)),
      [],
    );
  });

  it('asks questions that Prometheus understands', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-rules-'));
    const plain = expressions.map((expr) =>
      expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$(job|instance|host)\b/g, 'any'),
    );
    const rules = plain.map((expr, index) => ({ record: `panel:${index}`, expr }));
    const path = join(folder, 'panels.yml');
    // JSON is YAML.
    writeFileSync(path, JSON.stringify({ groups: [{ name: 'panels', rules }] }));
    assert.match(promtool('check', 'rules', path), new RegExp(`SUCCESS: ${plain.length} rules found`));
    rmSync(folder, { recursive: true });
  });

  it('has its panels within its width, each with a title', () => {
    for (const { title, gridPos } of panels) {
      assert.notEqual(title, '');
      assert.ok(gridPos.x + gridPos.w <= 24, title);
    }
  });
});

describe('the alert rules', () => {
  it('are rules to promtool, about metrics that there are', () => {
    assert.match(promtool('check', 'rules', RULES), /SUCCESS: 17 rules found/);
    const expressions = read(RULES).replaceAll(/description: .*/g, '');
    assert.deepEqual(
      [...namesIn(expressions)].filter((name) => !known.has(name)),
      [],
    );
  });

  /** Series with a value each minute, the alerts that fire after 20 minutes, and those that don't. */
  const days: readonly {
    name: string;
    series: readonly (readonly [string, string])[];
    fire: readonly string[];
  }[] = [
    {
      name: 'are silent on a good day',
      series: [
        ['up{job="sallyport"}', '1x60'],
        ['zerocopy_proxy_http_requests_total{host="a",status="200"}', '0+1000x60'],
        ['zerocopy_proxy_http_requests_total{host="a",status="502"}', '0+1x60'],
        ['zerocopy_proxy_http_upstream_health{upstream="u",server="s"}', '1x60'],
        ['sallyport_connections_open', '100x60'],
        ['sallyport_connections_limit', '1000x60'],
        ['process_open_fds{job="sallyport"}', '100x60'],
        ['process_max_fds{job="sallyport"}', '1000x60'],
        ['sallyport_buffers{size="medium",state="free"}', '900x60'],
        ['sallyport_buffers{size="medium",state="used"}', '100x60'],
        ['sallyport_log_entries_dropped_total', '5x60'],
        ['sallyport_accept_pauses_total', '1x60'],
        ['sallyport_tls_certificate_expiry_timestamp_seconds{certificate="c"}', '9000000x60'],
        ['sallyport_tls_handshakes_total{kind="full"}', '0+100x60'],
        ['sallyport_tls_handshake_failures_total{reason="client-gone"}', '0+900x60'],
        ['sallyport_config_last_reload_successful', '1x60'],
        ['process_start_time_seconds{job="sallyport"}', '1x60'],
        ['sallyport_room_restarts_total{room="edge-1"}', '2x60'],
      ],
      fire: [],
    },
    {
      name: 'wake somebody on a bad one',
      series: [
        ['zerocopy_proxy_http_requests_total{host="a",status="200"}', '0+90x60'],
        ['zerocopy_proxy_http_requests_total{host="a",status="502"}', '0+10x60'],
        ['zerocopy_proxy_http_request_duration_seconds_bucket{host="a",le="2.5"}', '0+50x60'],
        ['zerocopy_proxy_http_request_duration_seconds_bucket{host="a",le="5"}', '0+100x60'],
        ['zerocopy_proxy_http_request_duration_seconds_bucket{host="a",le="+Inf"}', '0+100x60'],
        ['zerocopy_proxy_http_upstream_health{upstream="u",server="s"}', '0x60'],
        ['sallyport_upstream_failures_total{server="s",reason="connect-failed"}', '0+10x60'],
        ['sallyport_upstream_response_seconds_count{server="s"}', '0+90x60'],
        ['sallyport_connections_open', '900x60'],
        ['sallyport_connections_limit', '1000x60'],
        ['process_open_fds{job="sallyport"}', '900x60'],
        ['process_max_fds{job="sallyport"}', '1000x60'],
        ['sallyport_buffers{size="medium",state="free"}', '100x60'],
        ['sallyport_buffers{size="medium",state="used"}', '900x60'],
        ['sallyport_log_entries_dropped_total', '0+5x60'],
        ['sallyport_accept_pauses_total', '0+1x60'],
        ['sallyport_tls_certificate_expiry_timestamp_seconds{certificate="c"}', '90000x60'],
        ['sallyport_tls_handshakes_total{kind="full"}', '0+100x60'],
        ['sallyport_tls_handshake_failures_total{reason="alert"}', '0+100x60'],
        ['sallyport_config_last_reload_successful', '0x60'],
        ['process_start_time_seconds{job="sallyport"}', '0+60x60'],
        ['sallyport_room_restarts_total{room="edge-1"}', '0+1x60'],
        ['up{job="sallyport"}', '0x60'],
      ],
      fire: [...read(RULES).matchAll(/- alert: (\w+)/g)].map(([, name]) => name),
    },
  ];
  for (const { name, series, fire } of days) {
    it(name, () => {
      const folder = mkdtempSync(join(tmpdir(), 'sallyport-rules-'));
      const alerts = [...read(RULES).matchAll(/- alert: (\w+)/g)].map(([, alert]) => alert);
      const path = join(folder, 'day.yml');
      const day = {
        rule_files: [RULES],
        tests: [
          {
            interval: '1m',
            input_series: series.map(([each, values]) => ({ series: each, values })),
            // What an expression gives is compared whole; how many alerts fire is enough here.
            promql_expr_test: alerts.map((alert) => ({
              expr: `count(ALERTS{alertname="${alert}",alertstate="firing"}) or vector(0)`,
              eval_time: '25m',
              exp_samples: [{ labels: '{}', value: fire.includes(alert) ? 1 : 0 }],
            })),
          },
        ],
      };
      writeFileSync(path, JSON.stringify(day));
      promtool('test', 'rules', path);
      rmSync(folder, { recursive: true });
    });
  }
});
