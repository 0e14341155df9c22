/** What holds for every key of the schema: wrong types and values out of range are refused at the key. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SCHEMA } from '../../src/config/schema.ts';
import { eachKey, type SchemaLine } from '../../src/config/schema-nodes.ts';
import { brief, load } from './fixture.ts';

/** A table of the file that holds the key, and how messages name it. */
interface Place {
  readonly header: string;
  readonly path: string;
  /** What the table needs besides. */
  readonly lines: Readonly<Record<string, string>>;
}

const PROXY = { type: '"Proxy"', url: '"https://localhost"' };

function placeOf({ pattern }: SchemaLine): Place {
  const table = pattern.slice(0, -1).join('.');
  const places: Readonly<Record<string, Place>> = {
    'tls.certificates.*': { header: '[[tls.certificates]]', path: 'tls.certificates[0]', lines: {} },
    'host_routes.*': { header: '[host_routes.h]', path: 'host_routes.h', lines: PROXY },
    'host_routes.*.security': {
      header: '[host_routes.h.security]',
      path: 'host_routes.h.security',
      lines: {},
    },
    'path_routes.*.*': { header: '[path_routes.h."/p"]', path: 'path_routes.h."/p"', lines: PROXY },
    'path_routes.*.*.security': {
      header: '[path_routes.h."/p".security]',
      path: 'path_routes.h."/p".security',
      lines: {},
    },
    'upstreams.*': { header: '[upstreams.u]', path: 'upstreams.u', lines: { servers: '["http://a"]' } },
    'upstreams.*.servers.*': {
      header: '[[upstreams.u.servers]]',
      path: 'upstreams.u.servers[0]',
      lines: { url: '"https://a"' },
    },
    'upstreams.*.health_check': {
      header: '[upstreams.u.health_check]',
      path: 'upstreams.u.health_check',
      lines: {},
    },
  };
  return places[table] ?? { header: `[${table}]`, path: table, lines: {} };
}

/** Problems that a file has at this key when it has this value. */
function problemsAt(line: SchemaLine, value: string): string[] {
  const place = placeOf(line);
  const lines = Object.entries({ ...place.lines, [line.name]: value }).map(
    ([name, each]) => `${name} = ${each}`,
  );
  const toml = `${place.header}\n${lines.join('\n')}\n`;
  const at = `${place.path}.${line.name}`;
  const wrong = load(toml).problems.filter(({ kind, path }) => kind === 'value' && path.startsWith(at));
  return wrong.map(brief);
}

const LINES = [...eachKey(SCHEMA)];

/** The keys of the zerocopy-server document, and those that SPEC.md adds, by section. */
const DOCUMENTED: Readonly<Record<string, string>> = {
  server: `listen http threads http2_enabled http3_enabled route_precedence trusted_proxies shutdown_timeout_secs
    keep_alive_timeout_secs write_timeout_secs min_rate_bytes_per_sec via`,
  logging: 'level channel_size flush_interval_ms max_log_size file_path format',
  security: `drop_privileges_user drop_privileges_group max_concurrent_connections max_connections_per_ip enable_seccomp seccomp_mode
    enable_landlock landlock_read_paths landlock_write_paths enable_sandbox sandbox_unshare_mount
    sandbox_unshare_uts sandbox_unshare_ipc sandbox_unshare_pid sandbox_unshare_user sandbox_unshare_net
    sandbox_keep_capabilities sandbox_ro_bind_mounts sandbox_rw_bind_mounts sandbox_tmpfs_mounts
    sandbox_mount_proc sandbox_mount_dev sandbox_hostname sandbox_no_new_privs allow_degraded`,
  performance: 'reuseport_balancing huge_pages_enabled',
  tls: `cert_path key_path ocsp_path ktls_enabled ktls_fallback_enabled min_version ciphers cipher_suites groups
    client_auth client_ca_path session_tickets session_ticket_key_path session_ticket_rotation_secs`,
  'tls.certificates.*': 'cert_path key_path ocsp_path',
  'path_routes.*.*': `type url upstream path mode index redirect_url redirect_status preserve_path sni_name use_h2c
    ca_path client_cert_path client_key_path insecure host_header allowed_upgrades`,
  'path_routes.*.*.security': `max_request_body_size max_chunked_body_size max_request_header_size
    client_header_timeout_secs client_body_timeout_secs backend_connect_timeout_secs backend_response_timeout_secs
    allowed_methods rate_limit_requests_per_min allowed_ips denied_ips max_idle_connections_per_host
    idle_connection_timeout_secs add_request_headers remove_request_headers add_response_headers
    remove_response_headers websocket_poll_mode websocket_poll_timeout_ms websocket_poll_max_timeout_ms
    websocket_poll_backoff_multiplier websocket_idle_timeout_secs`,
  'upstreams.*': 'algorithm',
  'upstreams.*.servers.*': 'url sni_name weight use_h2c ca_path client_cert_path client_key_path insecure',
  'upstreams.*.health_check': `interval_secs path timeout_secs healthy_statuses unhealthy_threshold
    healthy_threshold`,
  prometheus: 'enabled path allowed_ips',
  status: 'listen',
  http2: `header_table_size max_concurrent_streams initial_window_size max_frame_size max_header_list_size
    connection_window_size resets_burst resets_per_sec settings_burst settings_per_sec pings_burst pings_per_sec
    priorities_burst priorities_per_sec empty_frames_burst empty_frames_per_sec window_updates_burst
    window_updates_per_sec tiny_data_burst tiny_data_per_sec max_continuation_frames max_field_block_size
    abuse_half_life_secs`,
  http3: `listen max_idle_timeout max_udp_payload_size initial_max_data initial_max_streams_bidi
    initial_max_streams_uni`,
};

test('the schema has the documented keys and no others', () => {
  const documented = Object.entries(DOCUMENTED).flatMap(([section, names]) =>
    names.split(/\s+/).map((name) => `${section}.${name}`),
  );
  // Host routes have the keys of path routes.
  const hosts = documented
    .filter((name) => name.startsWith('path_routes.*.*.'))
    .map((name) => name.replace('path_routes.*.*.', 'host_routes.*.'));
  assert.deepEqual(LINES.map(({ pattern }) => pattern.join('.')).sort(), [...documented, ...hosts].sort());
});

for (const line of LINES) {
  const name = line.pattern.join('.');

  test(`${name} refuses values of other types`, () => {
    const type = line.key.type.words;
    for (const [words, value] of [
      ['date', '1979-05-27'],
      ['boolean', 'true'],
      ['integer', '2_000_000_000_000_000_000'],
      ['number', '0.5'],
      ['string', '"\\u0000"'],
      ['array', '[[]]'],
      ['table', '{ "" = 1 }'],
    ] as const) {
      if (words === 'boolean' && type.startsWith('boolean')) continue;
      assert.equal(problemsAt(line, value).length > 0, true, `${words} ${value} is taken for ${type}`);
    }
  });

  test(`${name} takes the example of the reference`, () => {
    assert.deepEqual(problemsAt(line, line.key.example), []);
  });

  const range = /^integer, (-?[0-9]+) to ([0-9]+)$/.exec(line.key.type.words);
  if (range !== null) {
    test(`${name} takes ${range[1]} and ${range[2]}, and nothing beyond`, () => {
      const [min, max] = [BigInt(range[1]), BigInt(range[2])];
      assert.deepEqual(onlyRange(problemsAt(line, String(min))), []);
      assert.deepEqual(onlyRange(problemsAt(line, String(max))), []);
      assert.equal(onlyRange(problemsAt(line, String(min - 1n))).length, 1);
      assert.equal(onlyRange(problemsAt(line, String(max + 1n))).length, 1);
    });
  }
}

function onlyRange(problems: readonly string[]): string[] {
  return problems.filter((problem) => problem.includes('Out of range'));
}

test('the reference tells what an absent key means', () => {
  for (const { key, pattern } of LINES) {
    assert.notEqual(key.fallbackWords, '', pattern.join('.'));
    assert.notEqual(key.meaning, '', pattern.join('.'));
  }
});
