/**
 * The example file of the zerocopy-server document, as it stands there (document-example.toml): what it is
 * refused for today, and that the rest of it loads.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { describeAction, describeMatch } from '../../src/config/describe.ts';
import { loadConfig } from '../../src/config/load.ts';
import { brief, FakeFiles, problemsOf } from './fixture.ts';

const EXAMPLE = readFileSync(new URL('document-example.toml', import.meta.url), 'utf8');

/** A machine on which all the paths of the example exist. */
const FILES = new FakeFiles([
  '/path/to/cert.pem',
  '/path/to/key.pem',
  '/etc/zerocopy-server/',
  '/usr/',
  '/lib/',
  '/lib64/',
  '/var/log/zerocopy-server/',
  '/var/www/example/',
  '/var/www/robots.txt',
  '/var/www/assets/',
  '/var/www/docs/',
  '/var/www/user/',
  '/var/www/index.html',
]);

const SOURCE = '/etc/zerocopy-server/config.toml';

test('the example is refused for what is not built yet, and for nothing else', () => {
  const { config, problems } = loadConfig(EXAMPLE, SOURCE, { files: FILES });
  assert.equal(config, null);
  assert.deepEqual(
    problems.map((problem) => `${problem.line} ${brief(problem)}`),
    ['12 server.http3_enabled: Not supported yet: HTTP/3'],
  );
});

test('the example loads once everything is built', () => {
  const { config, problems } = loadConfig(EXAMPLE, SOURCE, { files: FILES, notBuilt: [] });
  assert.deepEqual(problems, []);
  assert.ok(config !== null);
  assert.deepEqual(config.server.listen, [{ family: 'ipv4', address: '0.0.0.0', port: 443 }]);
  assert.deepEqual(config.server.http, [{ family: 'ipv4', address: '0.0.0.0', port: 80 }]);
  assert.equal(config.server.threads, 4);
  assert.equal(config.server.http3Enabled, true);
  assert.equal(config.security.dropPrivilegesUser, 'nobody');
  assert.equal(config.security.seccompMode, 'filter');
  assert.equal(config.security.maxConcurrentConnections, 10_000);
  assert.deepEqual(config.security.landlockReadPaths, ['/etc/zerocopy-server', '/usr', '/lib', '/lib64']);
  assert.deepEqual(config.performance, { reuseportBalancing: 'cbpf', hugePagesEnabled: true });
  assert.equal(config.tls?.certPath, '/path/to/cert.pem');
  assert.equal(config.tls.keyPath, '/path/to/key.pem');
  assert.deepEqual([config.tls.ktlsEnabled, config.tls.ktlsFallbackEnabled], [true, true]);
  assert.deepEqual(config.tls.certificates, []);
  assert.deepEqual(
    config.routes.map((route) => `${describeMatch(route)} → ${describeAction(route, config)}`),
    [
      'api.example.com, all paths → proxy to http://localhost:8080',
      'example.com, all paths → files beneath /var/www/example; a directory answers with its index.html',
      'example.com /robots.txt alone → the file /var/www/robots.txt',
      'example.com /backend and below → proxy to http://localhost:3000; /backend removed from the path',
      'example.com /static and below → files beneath /var/www/assets; a directory answers with its index.html',
      'example.com /docs and below → files beneath /var/www/docs; a directory answers with its index.html',
      'example.com /user and below → files beneath /var/www/user; a directory answers with its profile.html',
      'example.com /api and below → proxy to http://localhost:8080/app; /api removed from the path',
      'example.com / alone → the file /var/www/index.html',
    ],
  );
});

test('the host route of the example shadows all path routes of its host, and each is named', () => {
  const { warnings } = loadConfig(EXAMPLE, SOURCE, { files: FILES, notBuilt: [] });
  const shadowed = warnings.filter(({ message }) => message.includes('is never reached'));
  assert.deepEqual(
    shadowed.map(({ path }) => path),
    ['robots.txt', 'static/', 'docs', 'user/', 'api/', 'backend', ''].map(
      (name) => `path_routes."example.com"."/${name}"`,
    ),
  );
});

/** The document's other examples of routes and groups, each a file's worth. */
const FRAGMENTS: readonly { readonly name: string; readonly toml: string }[] = [
  {
    name: 'a route without type and mode',
    toml: '[path_routes."example.com"."/"]\npath = "/var/www/example"',
  },
  {
    name: 'SNI for an IP address',
    toml: '[path_routes."example.com"."/internal-api/"]\ntype = "Proxy"\nurl = "https://192.168.1.100:443"\nsni_name = "api.internal.example.com"',
  },
  {
    name: 'h2c',
    toml: '[path_routes."example.com"."/grpc/"]\ntype = "Proxy"\nurl = "http://localhost:50051"\nuse_h2c = true',
  },
  {
    name: 'a group with a health check',
    toml: `[upstreams."api-pool"]
algorithm = "round_robin"
servers = ["http://api1:8080", "http://api2:8080", "http://api3:8080"]
  [upstreams."api-pool".health_check]
  interval_secs = 10
  path = "/health"
  timeout_secs = 5
  healthy_statuses = [200]
  unhealthy_threshold = 3
  healthy_threshold = 2
[path_routes."example.com"."/api/"]
type = "Proxy"
upstream = "api-pool"`,
  },
  {
    name: 'servers of both forms',
    toml: `[upstreams."https-pool"]
algorithm = "least_conn"
servers = [
  { url = "https://192.168.1.100:443", sni_name = "api.example.com" },
  "https://api.example.com:443"
]`,
  },
  {
    name: 'polling of WebSockets',
    toml: `[path_routes."monitor.example.com"."/ws/"]
type = "Proxy"
url = "http://localhost:3002"
  [path_routes."monitor.example.com"."/ws/".security]
  websocket_poll_mode = "adaptive"
  websocket_poll_timeout_ms = 10
  websocket_poll_max_timeout_ms = 200
  websocket_poll_backoff_multiplier = 1.5`,
  },
  {
    name: 'the sandbox',
    toml: `[security]
enable_sandbox = true
sandbox_unshare_mount = true
sandbox_unshare_uts = true
sandbox_unshare_ipc = true
sandbox_keep_capabilities = ["CAP_NET_BIND_SERVICE"]
sandbox_ro_bind_mounts = ["/usr:/usr", "/lib:/lib", "/lib64:/lib64"]
sandbox_tmpfs_mounts = ["/tmp"]`,
  },
  {
    name: 'header rules',
    toml: `[path_routes."example.com"."/api/"]
type = "Proxy"
url = "http://localhost:8080"
  [path_routes."example.com"."/api/".security]
  add_request_headers = { "X-Real-IP" = "$client_ip", "X-Forwarded-Proto" = "https" }
  remove_request_headers = ["X-Debug-Token", "X-Internal-Auth"]
  add_response_headers = { "Strict-Transport-Security" = "max-age=31536000; includeSubDomains", "X-Frame-Options" = "DENY", "X-Content-Type-Options" = "nosniff" }
  remove_response_headers = ["X-Powered-By"]`,
  },
  {
    name: 'redirects',
    toml: `[path_routes."example.com"."/legacy/"]
type = "Redirect"
redirect_url = "https://example.com/v2"
redirect_status = 301
preserve_path = true
[path_routes."http.example.com"."/"]
type = "Redirect"
redirect_url = "https://example.com$request_uri"`,
  },
  {
    name: 'metrics for internal networks',
    toml: '[prometheus]\nenabled = true\npath = "/metrics"\nallowed_ips = ["127.0.0.1", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]',
  },
  {
    name: 'HTTP/2 and HTTP/3',
    toml: `[http2]
header_table_size = 65536
max_concurrent_streams = 1000
initial_window_size = 4194304
max_frame_size = 65536
max_header_list_size = 65536
connection_window_size = 16777216
[http3]
listen = "0.0.0.0:443"
max_idle_timeout = 30000
max_udp_payload_size = 1350
initial_max_data = 10000000
initial_max_streams_bidi = 100
initial_max_streams_uni = 100`,
  },
];

for (const { name, toml } of FRAGMENTS) {
  test(`loads the document's example of ${name}`, () => {
    const result = loadConfig(`[server]\nlisten = "127.0.0.1:80"\n${toml}`, SOURCE, {
      files: FILES,
      notBuilt: [],
    });
    assert.deepEqual(problemsOf(result), []);
  });
}
