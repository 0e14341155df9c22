/** What is wrong with a file, and the very messages that tell it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NOT_BUILT } from '../../src/config/not-built.ts';
import {
  FakeFiles,
  load,
  problemsOf,
  textOf,
  WORLD,
  warningsOf,
  withRoute,
  withSecurity,
  withServer,
} from './fixture.ts';

interface Case {
  readonly name: string;
  readonly toml: string;
  /** `path: message` of each problem, in the file's order. */
  readonly expected: readonly string[];
}

const API = 'path_routes."example.com"."/api/"';

const CASES: readonly Case[] = [
  { name: 'a file without a listener', toml: '', expected: ["server.listen: Missing key 'server.listen'"] },
  {
    name: 'an unknown key',
    toml: withServer('[logging]\nlevl = "info"'),
    expected: ["logging.levl: Unknown key 'levl' in [logging]; the nearest known key is 'level'"],
  },
  {
    name: 'an unknown section',
    toml: withServer('[upstream.pool]\nservers = []'),
    expected: ["upstream: Unknown key 'upstream' in the file; the nearest known key is 'upstreams'"],
  },
  {
    name: 'a key of another section',
    toml: withServer('[performance]\nthreads = 4'),
    expected: [
      "performance.threads: Unknown key 'threads' in [performance]; the nearest known key is 'server.threads'",
    ],
  },
  {
    name: 'a key of security in the route itself',
    toml: withRoute('path = "/srv/site"\nallowed_methods = ["GET"]'),
    expected: [
      `${API}.allowed_methods: Unknown key 'allowed_methods' in [${API}]; the nearest known key is '${API}.security.allowed_methods'`,
    ],
  },
  {
    name: 'a key outside every section',
    toml: `level = "info"\n${withServer('')}`,
    expected: ["level: Unknown key 'level' in the file; the nearest known key is 'logging.level'"],
  },
  {
    name: 'a section that is a value',
    toml: `logging = "info"\n${withServer('')}`,
    expected: ['logging: Expected a table, found the string "info"'],
  },
  {
    name: 'a route that is a value',
    toml: withServer('[host_routes]\n"a.example" = "/srv/site"'),
    expected: ['host_routes."a.example": Expected a table, found the string "/srv/site"'],
  },
  {
    name: 'a list where one problem of each element is told',
    toml: withSecurity('allowed_ips = ["10.0.0.0/33", "10.0.0.1", "example.com", 5]'),
    expected: [
      `${API}.security.allowed_ips[0]: Invalid value "10.0.0.0/33": the prefix length is not a number from 0 to 32`,
      `${API}.security.allowed_ips[2]: Invalid value "example.com": it is not an IP address`,
      `${API}.security.allowed_ips[3]: Expected a string, found the integer 5`,
    ],
  },
  {
    name: 'a float where an integer is wanted',
    toml: withServer('[security]\nmax_concurrent_connections = 10.0'),
    expected: ['security.max_concurrent_connections: Expected an integer, found the float 10.0'],
  },
  {
    name: 'a status page that others could reach',
    toml: withServer('[status]\nlisten = "0.0.0.0:9090"'),
    expected: [
      'status.listen: The status page can’t be at 0.0.0.0:9090: it asks nobody for a password, and others could reach it there',
    ],
  },
  {
    name: 'a status page without an address',
    toml: withServer('[status]'),
    expected: ['status.listen: status.listen is missing'],
  },
  {
    name: 'a status page where clients connect',
    toml: withServer('[status]\nlisten = "127.0.0.1:8080"'),
    expected: ['status.listen: status.listen names 127.0.0.1:8080, which is listened on already'],
  },
  {
    name: 'no methods at all',
    toml: withSecurity('allowed_methods = []'),
    expected: [`${API}.security.allowed_methods: The array is empty`],
  },
  {
    name: 'fields that frame a message, or would split one',
    toml: withSecurity(
      'add_request_headers = { "Content-Length" = "5", "X-A" = "a\\r\\nb", "X B" = "b", "X-C" = "\\u0000", "X-D" = 1, Host = "x" }\n' +
        'remove_request_headers = ["Transfer-Encoding", "X-A:"]\n' +
        'add_response_headers = { Connection = "close", "X-Ä" = "a" }\n' +
        'remove_response_headers = ["content-length"]',
    ),
    expected: [
      `${API}.security.add_request_headers.Content-Length: The field "Content-Length" can't be set: it frames the message or belongs to the connection, and is the edge’s own matter`,
      `${API}.security.add_request_headers.X-A: Invalid field value "a\\r\\nb": it holds a control character (CR, LF and NUL would split the message)`,
      `${API}.security.add_request_headers."X B": The field "X B" can't be set: it is not a field name (RFC 9110 token)`,
      `${API}.security.add_request_headers.X-C: Invalid field value "\\u0000": it holds a control character (CR, LF and NUL would split the message)`,
      `${API}.security.add_request_headers.X-D: Expected a string, found the integer 1`,
      `${API}.security.add_request_headers.Host: The field "Host" can't be set: Host is not a matter of rules`,
      `${API}.security.remove_request_headers[0]: Invalid value "Transfer-Encoding": it frames the message or belongs to the connection, and is the edge’s own matter`,
      `${API}.security.remove_request_headers[1]: Invalid value "X-A:": it is not a field name (RFC 9110 token)`,
      `${API}.security.add_response_headers.Connection: The field "Connection" can't be set: it frames the message or belongs to the connection, and is the edge’s own matter`,
      `${API}.security.add_response_headers."X-Ä": The field "X-Ä" can't be set: it is not a field name (RFC 9110 token)`,
      `${API}.security.remove_response_headers[0]: Invalid value "content-length": it frames the message or belongs to the connection, and is the edge’s own matter`,
    ],
  },
  {
    name: 'one field set twice',
    toml: withSecurity('add_request_headers = { "X-A" = "1", "x-a" = "2" }'),
    expected: [`${API}.security.add_request_headers.x-a: The field x-a is set twice (as X-A and x-a)`],
  },
  {
    name: 'a variable that does not exist',
    toml: withSecurity('add_request_headers = { "X-A" = "$client_pi", "X-B" = "costs 5$ or $5" }'),
    expected: [`${API}.security.add_request_headers.X-A: $client_pi is not a variable`],
  },
  {
    name: 'both url and upstream',
    toml: withRoute('type = "Proxy"\nurl = "http://a"\nupstream = "b"'),
    expected: [`${API}: Proxy route 'example.com:/api/' has both url and upstream`],
  },
  {
    name: 'neither url nor upstream',
    toml: withRoute('type = "Proxy"'),
    expected: [`${API}: Proxy route 'example.com:/api/' has neither url nor upstream`],
  },
  {
    name: 'a url of the wrong type, which is not said to be missing',
    toml: withRoute('type = "Proxy"\nurl = 8080'),
    expected: [`${API}.url: Expected a string, found the integer 8080`],
  },
  {
    name: 'a url that is none',
    toml: withRoute('type = "Proxy"\nurl = "invalid-url"'),
    expected: [`${API}.url: Invalid proxy URL for route 'example.com:/api/': invalid-url`],
  },
  {
    name: 'a url without a type',
    toml: withRoute('url = "http://a"'),
    expected: [`${API}.url: url belongs to type = "Proxy"; this route has no type, which means "File"`],
  },
  {
    name: 'keys of another type',
    toml: withRoute('type = "Redirect"\nredirect_url = "/new"\nmode = "memory"\nuse_h2c = true'),
    expected: [
      `${API}.mode: mode belongs to type = "File"; this route's type is "Redirect"`,
      `${API}.use_h2c: use_h2c belongs to type = "Proxy"; this route's type is "Redirect"`,
    ],
  },
  {
    name: 'a type in lower case',
    toml: withRoute('type = "proxy"\nurl = "http://a"'),
    expected: [`${API}.type: Unknown value "proxy"`],
  },
  {
    name: 'an unknown mode',
    toml: withRoute('path = "/srv/site"\nmode = "mmap"'),
    expected: [`${API}.mode: Unknown value "mmap"`],
  },
  {
    name: 'a path that does not exist',
    toml: withRoute('path = "/srv/nothing"'),
    expected: [`${API}.path: File path for route 'example.com:/api/' not found: /srv/nothing`],
  },
  {
    name: 'a path to a socket',
    toml: withRoute('path = "/run/app.sock"'),
    expected: [
      `${API}.path: File path for route 'example.com:/api/' is neither a file nor a directory: /run/app.sock`,
    ],
  },
  {
    name: 'a file route without a path',
    toml: withRoute('mode = "memory"'),
    expected: [`${API}.path: File route 'example.com:/api/' has no path`],
  },
  {
    name: 'an index outside its directory',
    toml: withRoute('path = "/srv/site"\nindex = "../secret"'),
    expected: [`${API}.index: Invalid value "../secret": it is not a file name`],
  },
  {
    name: 'a redirect without a target',
    toml: withRoute('type = "Redirect"'),
    expected: [`${API}.redirect_url: Redirect route 'example.com:/api/' has no redirect_url`],
  },
  {
    name: 'a status that is no redirect',
    toml: withRoute('type = "Redirect"\nredirect_url = "/x"\nredirect_status = 304'),
    expected: [`${API}.redirect_status: Unknown value 304`],
  },
  {
    name: 'use_h2c over https',
    toml: withRoute('type = "Proxy"\nurl = "https://a"\nuse_h2c = true'),
    expected: [`${API}.use_h2c: use_h2c can’t be used with an https:// URL`],
  },
  {
    name: 'keys of TLS without TLS',
    toml: withRoute('type = "Proxy"\nurl = "http://a"\nsni_name = "a"\ninsecure = true'),
    expected: [
      `${API}.sni_name: sni_name has no meaning with an http:// URL`,
      `${API}.insecure: insecure has no meaning with an http:// URL`,
    ],
  },
  {
    name: 'a client certificate without its key, which also does not exist',
    toml: withRoute('type = "Proxy"\nurl = "https://a"\nclient_cert_path = "client.crt"'),
    expected: [
      `${API}: client_key_path is missing`,
      `${API}.client_cert_path: Client certificate file not found: client.crt`,
    ],
  },
  {
    name: 'keys of a url beside upstream',
    toml: `${withRoute('type = "Proxy"\nupstream = "u"\nsni_name = "a"')}[upstreams.u]\nservers = ["http://a"]`,
    expected: [`${API}.sni_name: sni_name belongs beside url, not beside upstream`],
  },
  {
    name: 'an upgrade that is never allowed, and one that is no protocol',
    toml: withRoute('type = "Proxy"\nurl = "http://a"\nallowed_upgrades = ["h2c", "a b"]'),
    expected: [
      `${API}.allowed_upgrades[0]: h2c can’t be upgraded to: it is always removed from requests`,
      `${API}.allowed_upgrades[1]: Not the name of a protocol: "a b"`,
    ],
  },
  {
    name: 'a Host that is none, and a mistyped word',
    toml: `${withRoute('type = "Proxy"\nurl = "http://a"\nhost_header = "a b"')}[host_routes.b]\ntype = "Proxy"\nurl = "http://a"\nhost_header = "upsteam"`,
    expected: [
      `${API}.host_header: Invalid value "a b": it is not a host name`,
      'host_routes.b.host_header: Unknown value "upsteam"',
    ],
  },
  {
    name: 'an upstream that does not exist',
    toml: `${withRoute('type = "Proxy"\nupstream = "backend-pool"')}[upstreams.backend-pol]\nservers = ["http://a"]`,
    expected: [`${API}.upstream: Upstream 'backend-pool' not found`],
  },
  {
    name: 'servers that are none',
    toml: withServer(
      '[upstreams.u]\nservers = ["http://a",\n"b",\n{ weight = 2 },\n5,\n{ url = "ftp://c", wait = 1 }]',
    ),
    expected: [
      "upstreams.u.servers[1]: Invalid server URL for upstream 'u': b",
      "upstreams.u.servers[2].url: Missing key 'upstreams.u.servers[2].url'",
      'upstreams.u.servers[3]: Expected a string or a table with the key url, found the integer 5',
      "upstreams.u.servers[4].wait: Unknown key 'wait' in [upstreams.u.servers[4]]; the nearest known key is 'weight'",
      "upstreams.u.servers[4].url: Invalid server URL for upstream 'u': ftp://c",
    ],
  },
  {
    name: 'a group without servers',
    toml: withServer('[upstreams.u]\nservers = []\n[upstreams.v]'),
    expected: [
      'upstreams.u.servers: The array has 0 elements',
      "upstreams.v.servers: Missing key 'upstreams.v.servers'",
    ],
  },
  {
    name: 'a group with a name of the program’s own',
    toml: withServer('[upstreams."route a"]\nservers = ["http://a"]'),
    expected: [
      'upstreams."route a": Invalid name "route a": names that begin with "route " are the program’s own',
    ],
  },
  {
    name: 'the same route twice',
    toml: withServer(
      '[path_routes."EXAMPLE.com."."/a"]\npath = "/srv/site"\n[path_routes."example.com"."/%61/"]\npath = "/srv/site"\n[host_routes."::1"]\npath = "/srv/site"\n[host_routes."[0::1]"]\npath = "/srv/site"',
    ),
    expected: [
      `path_routes."EXAMPLE.com."."/a": Route 'EXAMPLE.com.:/a' is the same as 'example.com:/%61/'`,
      `host_routes."[0::1]": Route '[0::1]' is the same as '::1'`,
    ],
  },
  {
    name: 'hosts and paths that are none',
    toml: withServer(
      '[host_routes."a.example:80"]\npath = "/srv/site"\n[host_routes."a.*"]\npath = "/srv/site"\n[path_routes.b."x"]\npath = "/srv/site"\n[path_routes.b."/x?y"]\npath = "/srv/site"',
    ),
    expected: [
      'host_routes."a.example:80": Invalid host "a.example:80": a port has no place here',
      'host_routes."a.*": Invalid host "a.*": a wildcard stands for whole labels at the beginning',
      'path_routes.b.x: Invalid path "x": a path begins with /',
      'path_routes.b."/x?y": Invalid path "/x?y": only paths are matched, never queries',
    ],
  },
  {
    name: 'one listener twice',
    toml: '[server]\nlisten = ["[::]:80", "[0:0::0]:80", "127.0.0.1:0", "127.0.0.1:0"]',
    expected: ['server.listen: server.listen names [::]:80, which is listened on already'],
  },
  {
    name: 'listeners that are none',
    toml: '[server]\nlisten = ["8080", "localhost:80", "1.2.3.4", "1.2.3.4:65536", "::1:80x", "[::1]", "unix:", "[fe80::1%eth0]:80"]',
    expected: [
      'server.listen[0]: Invalid value "8080": the address is missing',
      'server.listen[1]: Invalid value "localhost:80": it is not an IP address and a port',
      'server.listen[2]: Invalid value "1.2.3.4": the port is missing',
      'server.listen[3]: Invalid value "1.2.3.4:65536": the port is not a number from 0 to 65535',
      'server.listen[4]: Invalid value "::1:80x": it is not an IP address and a port',
      'server.listen[5]: Invalid value "[::1]": the port is missing',
      'server.listen[6]: Invalid value "unix:": the path is missing',
      'server.listen[7]: Invalid value "[fe80::1%eth0]:80": it is not an IP address and a port',
    ],
  },
  {
    name: 'a socket in a folder that does not exist, and one where a file is',
    toml: '[server]\nlisten = ["unix:/nowhere/a.sock", "unix:/srv/site/robots.txt"]',
    expected: [
      'server.listen: Folder of the socket not found: /nowhere',
      'server.listen: There is something else where the socket should be: /srv/site/robots.txt',
    ],
  },
  {
    name: 'a redirecting listener and HTTP/3 without [tls]',
    toml: '[server]\nlisten = "0.0.0.0:443"\nhttp = "0.0.0.0:80"\nhttp3_enabled = true',
    expected: [
      'server.http: server.http redirects to HTTPS, but there is no [tls]',
      'server.http3_enabled: HTTP/3 needs TLS, but there is no [tls]',
    ],
  },
  {
    name: 'certificates that do not exist, and one that is a directory',
    toml: withServer(
      '[tls]\ncert_path = "/etc/edge"\nkey_path = "no.key"\n[[tls.certificates]]\ncert_path = "a.crt"',
    ),
    expected: [
      'tls.cert_path: TLS certificate file is not a file: /etc/edge',
      'tls.key_path: TLS private key file not found: no.key',
      "tls.certificates[0].key_path: Missing key 'tls.certificates[0].key_path'",
      'tls.certificates[0].cert_path: TLS certificate file not found: a.crt',
    ],
  },
  {
    name: 'seccomp asked for and disabled',
    toml: withServer('[security]\nenable_seccomp = true\nseccomp_mode = "disabled"'),
    expected: ['security.seccomp_mode: enable_seccomp = true contradicts seccomp_mode = "disabled"'],
  },
  {
    name: 'a first back-off beyond the longest',
    toml: withSecurity('websocket_poll_timeout_ms = 200'),
    expected: [
      `${API}.security.websocket_poll_timeout_ms: websocket_poll_timeout_ms, 200 is above websocket_poll_max_timeout_ms, 100`,
    ],
  },
  {
    name: 'a log file in a folder that does not exist',
    toml: withServer('[logging]\nfile_path = "/var/nolog/edge.log"'),
    expected: ['logging.file_path: Folder of the log file not found: /var/nolog'],
  },
];

for (const { name, toml, expected } of CASES) {
  test(`refuses ${name}`, () => {
    const result = load(toml);
    assert.deepEqual(problemsOf(result), expected);
    assert.equal(result.config, null);
  });
}

const WARNINGS: readonly Case[] = [
  {
    name: 'path routes that a host route keeps all requests from',
    toml: withServer('[host_routes."example.com"]\ntype = "Redirect"\nredirect_url = "/x"'),
    expected: [
      `path_routes."example.com"."/": Route 'example.com:/' is never reached: 'example.com' serves all its requests`,
    ],
  },
  {
    name: 'a host route behind a path route for everything',
    toml: '[server]\nlisten = "127.0.0.1:80"\nroute_precedence = "path"\n[host_routes.a]\npath = "/srv/site"\n[path_routes.a."/"]\npath = "/srv/site"',
    expected: [`host_routes.a: Route 'a' is never reached: 'a:/' serves all its requests`],
  },
  {
    name: 'nothing of a host route behind a single file',
    toml: '[server]\nlisten = "127.0.0.1:80"\nroute_precedence = "path"\n[host_routes.a]\npath = "/srv/site"\n[path_routes.a."/"]\npath = "/srv/site/robots.txt"',
    expected: [],
  },
  {
    name: 'a group that nobody uses, with a server named twice',
    toml: withServer('[upstreams.u]\nservers = ["http://a", "http://a"]'),
    expected: [
      "upstreams.u: No route uses the upstream 'u'",
      'upstreams.u.servers[1]: The server http://a is named twice',
    ],
  },
  {
    name: 'ranges with bits beyond their prefix',
    toml: withSecurity('allowed_ips = ["192.168.1.1/16", "2001:db8::1/32", "10.0.0.0/8", "::/0"]'),
    expected: [
      `${API}.security.allowed_ips[0]: 192.168.1.1/16 has bits beyond its prefix: it means 192.168.0.0/16`,
      `${API}.security.allowed_ips[1]: 2001:db8::1/32 has bits beyond its prefix: it means 2001:db8::/32`,
    ],
  },
  {
    name: 'a socket that is not there yet',
    toml: withRoute('type = "Proxy"\nurl = "unix:/run/later.sock"'),
    expected: [`${API}.url: The socket /run/later.sock does not exist (yet)`],
  },
  {
    name: 'variables in response fields',
    toml: withSecurity('add_response_headers = { "X-A" = "$host" }'),
    expected: [
      `${API}.security.add_response_headers.X-A: Variables are expanded in add_request_headers only: here $ stands for itself`,
    ],
  },
  {
    name: 'a health check that takes longer than its interval',
    toml: `${withRoute('type = "Proxy"\nupstream = "u"')}[upstreams.u]\nservers = ["http://a"]\n[upstreams.u.health_check]\ninterval_secs = 2`,
    expected: ['upstreams.u.health_check.timeout_secs: timeout_secs (5) is longer than interval_secs (2)'],
  },
  {
    name: 'health checks of servers that are spoken to in HTTP/2',
    toml: `${withRoute('type = "Proxy"\nupstream = "u"')}[upstreams.u]\nservers = [{ url = "http://a", use_h2c = true }]\n[upstreams.u.health_check]`,
    expected: ['upstreams.u.health_check: Health checks ask in HTTP/1.1, also where use_h2c = true'],
  },
  {
    name: 'a file without routes',
    toml: '[server]\nlisten = "127.0.0.1:80"',
    expected: ['There are no routes: every request will be answered 421'],
  },
  {
    name: 'a user that does not exist',
    toml: withServer('[security]\ndrop_privileges_user = "nobody-of-this-name"'),
    expected: ['security.drop_privileges_user: The user nobody-of-this-name is not known on this machine'],
  },
  {
    name: 'a redirect that appends the path twice',
    toml: withRoute(
      'type = "Redirect"\nredirect_url = "https://a.example$request_uri"\npreserve_path = true',
    ),
    expected: [
      `${API}.preserve_path: preserve_path appends the path to a redirect_url that already holds it`,
    ],
  },
];

for (const { name, toml, expected } of WARNINGS) {
  test(`warns of ${name}`, () => {
    const result = load(toml);
    assert.deepEqual(problemsOf(result), []);
    assert.deepEqual(warningsOf(result), expected);
  });
}

test('warns of files that the edge’s user may not read', () => {
  const files = new FakeFiles(['/', '/srv/site/'], ['/srv/site']);
  assert.match(warningsOf(load(withServer(''), { files }))[0], /may not read the directory \/srv\/site$/);
});

test('a message tells file, line and key, what is allowed, and how to mend it', () => {
  const { problems } = load(withSecurity('max_request_body_size = "10MB"'));
  assert.equal(
    textOf(problems),
    [
      'Error: Expected an integer, found the string "10MB"',
      '  at config.toml:7, path_routes."example.com"."/api/".security.max_request_body_size',
      '  allowed: integer, 0 to 1099511627776',
      '  mend: write 10485760 (bytes)',
    ].join('\n'),
  );
});

test('a mistyped key of another section is sent home', () => {
  const { problems } = load(withServer('[performance]\nthreads = 4'));
  assert.equal(problems[0].mend, 'it belongs in [server]');
});

test('a syntax error has its line and column, and shows the place', () => {
  const { problems } = load('[server]\nlisten = 0.0.0.0:80\n');
  assert.equal(problems.length, 1);
  assert.equal(problems[0].line, 2);
  assert.equal(problems[0].column > 0, true);
  assert.match(
    textOf(problems),
    /^Error: Not valid TOML: .*\n {4}listen = 0\.0\.0\.0:80\n +\^\n {2}at config\.toml:2:\d+\n/,
  );
});

test('control characters of a broken line do not reach the terminal', () => {
  const { problems } = load('a = \u001b[31m\n');
  assert.equal(textOf(problems).includes('\u001b'), false);
});

/** A file that asks for the feature with this key, for each entry of the table. */
const ASKING: readonly string[] = ['[server]\nhttp3_enabled = true', '[http3]'];

for (const lines of ASKING) {
  test(`says that it is not supported yet: ${lines.replaceAll('\n', ' ')}`, () => {
    const result = load(withListener(lines), { notBuilt: NOT_BUILT });
    const refused = result.problems.filter(({ kind }) => kind === 'not-built');
    assert.equal(refused.length > 0, true);
    assert.match(refused[0].message, /^Not supported yet: /);
    assert.equal(result.config, null);
  });
}

function withListener(lines: string): string {
  const listen = 'listen = "127.0.0.1:8080"';
  return lines.startsWith('[server]') ? `${lines}\n${listen}` : `[server]\n${listen}\n${lines}`;
}

/** The same keys with values that ask for nothing. */
const CONTENT: readonly string[] = [
  'http = "0.0.0.0:81"\n[tls]\ncert_path = "server.crt"\nkey_path = "server.key"',
  '[server]\nthreads = 0',
  '[server]\nthreads = 2',
  '[server]\nhttp2_enabled = false',
  '[server]\nhttp3_enabled = false',
  '[upstreams.u]\nservers = ["http://a"]',
  '[prometheus]\nenabled = false',
  '[security]\nenable_seccomp = false\nseccomp_mode = "disabled"',
  '[security]\nenable_landlock = false\nlandlock_read_paths = ["/etc"]',
  '[security]\nenable_sandbox = false\nsandbox_hostname = "edge"',
  '[security]\nallow_degraded = true\nseccomp_mode = "log"\nlandlock_read_paths = ["/etc"]',
  '[security]\nenable_sandbox = true\nsandbox_hostname = "edge"',
  '[security]\ndrop_privileges_user = "root"',
  '[performance]\nreuseport_balancing = "cbpf"\nhuge_pages_enabled = true',
];

for (const lines of CONTENT) {
  test(`takes what asks for nothing that is missing: ${lines.replaceAll('\n', ' ')}`, () => {
    assert.deepEqual(problemsOf(load(withListener(lines), { notBuilt: NOT_BUILT })), []);
  });
}

test('the world of these tests has what they name', () => {
  assert.equal(WORLD.kindOf('/run/app.sock'), 'socket');
  assert.equal(WORLD.kindOf('/srv/site'), 'directory');
});
