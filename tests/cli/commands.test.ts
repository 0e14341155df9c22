/** The commands as an operator meets them: output, exit codes, and nothing started when the configuration is wrong. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { main } from '../../src/cli/main.ts';
import type { Terminal } from '../../src/cli/terminal.ts';
import { testAuthority } from '../fixtures/certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-cli-'));
after(() => rmSync(folder, { recursive: true, force: true }));
mkdirSync(join(folder, 'site'));
writeFileSync(join(folder, 'site/index.html'), 'hello');

/** Runs a command within this process. */
async function run(
  argv: readonly string[],
  argv0 = 'sallyport',
): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const terminal: Terminal = {
    out: (text) => void (out += `${text}\n`),
    err: (text) => void (err += `${text}\n`),
    columns: 100,
  };
  const code = await main(argv, terminal, argv0);
  return { code, out, err };
}

function write(name: string, toml: string): string {
  const path = join(folder, name);
  writeFileSync(path, toml);
  return path;
}

test('check tells what serve would do', async () => {
  const path = write(
    'good.toml',
    `[server]
listen = ["127.0.0.1:23100", "unix:edge.sock"]
threads = 1
write_timeout_secs = 10

[host_routes."www.example.com"]
type = "Redirect"
redirect_url = "https://example.com"
preserve_path = true

[path_routes."example.com"."/api/"]
type = "Proxy"
url = "http://localhost:8080/app/"
host_header = "upstream"
  [path_routes."example.com"."/api/".security]
  allowed_methods = ["GET"]
  client_body_timeout_secs = 5
  backend_connect_timeout_secs = 10

[path_routes."example.com"."/pool"]
type = "Proxy"
upstream = "pool"

[path_routes."example.com"."/"]
path = "site"

[upstreams.pool]
servers = [{ url = "http://127.0.0.1:9000" }]
`,
  );
  const { code, out, err } = await run(['check', '-c', path]);
  assert.equal(err, '');
  assert.equal(code, 0);
  const [stated, machine] = out.split('On this machine\n');
  assert.equal(
    stated,
    `Listens on
  127.0.0.1:23100  (HTTP/2 and HTTP/1.1, without TLS)
  unix:${folder}/edge.sock  (HTTP/2 and HTTP/1.1, without TLS)

Routes, in the order in which they are tried (host routes first)
  example.com /pool and below
    → proxy to a server of "pool"; /pool removed from the path
  example.com /api and below
    → proxy to http://localhost:8080/app; /api removed from the path; Host is the backend’s own
    client_body_timeout_secs = 5 (default: 30)
      How long a client may pause within a request’s content (over HTTP/2: while no response comes
          either). Longer: 408.
    allowed_methods = ["GET"] (default: all)
      Methods that are let through. Others: 405.
  example.com, all paths
    → files beneath ${folder}/site; a directory answers with its index.html
  www.example.com, all paths
    → redirect (301) to https://example.com, with the rest of the path and the query appended
  otherwise
    → 404 where the host has routes, 421 where no route knows the host

Groups of backends
  "pool": one server; no health check
    http://127.0.0.1:9000

Tells of itself
  Log: requests and events, as text, to standard error
  Metrics: none
  Status page: none

Other keys that differ from their defaults
  server.write_timeout_secs = 10 (default: 30)
    How long a client may take nothing of what is sent to it.

`,
  );
  assert.match(machine, /^ {2}I\/O: (io_uring|epoll)/);
  assert.match(machine, /^ {2}Workers: 1 \(threads = 1\), on any core$/m);
  assert.match(machine, /^ {4}journal: writes all logs \(runs always\)$/m);
  assert.match(machine, /^ {4}outbound: .* \(runs for a backend’s name\)$/m);
  assert.match(machine, /^ {6}no_new_privs: set$/m);
  assert.doesNotMatch(machine, /^ {4}keys:/m);
  assert.ok(out.endsWith(`\n${path} is valid.\n`), out);
});

test('check tells of certificates, and warns of those that need care', async () => {
  const authority = testAuthority();
  const [main, soon] = [
    authority.server(['example.com', '*.example.com']),
    authority.server(['example.org'], { key: 'P-384', days: 3 }),
  ];
  const path = write(
    'tls.toml',
    `[server]
listen = "127.0.0.1:23100"
http = "127.0.0.1:23102"
[tls]
cert_path = "${main.certPath}"
key_path = "${main.keyPath}"
[[tls.certificates]]
cert_path = "${soon.certPath}"
key_path = "${soon.keyPath}"
[host_routes."www.example.com"]
type = "Redirect"
redirect_url = "https://example.com"
[host_routes."example.net"]
type = "Redirect"
redirect_url = "https://example.com"
`,
  );
  const { code, out } = await run(['check', '-c', path]);
  assert.equal(code, 0);
  assert.match(out, /^ {2}127\.0\.0\.1:23100 {2}\(HTTP\/2 and HTTP\/1\.1 over TLS 1\.2 and 1\.3\)$/m);
  assert.match(out, /^ {2}127\.0\.0\.1:23102 {2}\(redirects to HTTPS\)$/m);
  assert.match(
    out,
    /^ {2}example\.com, \*\.example\.com: ECDSA P-256, by Test Root, until \d{4}-\d\d-\d\d$/m,
  );
  assert.match(out, /^ {2}example\.org: ECDSA P-384, by Test Root, until \d{4}-\d\d-\d\d$/m);
  const warnings = out.slice(out.indexOf('\nWarnings\n'));
  assert.match(warnings, /expires in [23] days, on /);
  assert.match(warnings, /at .*tls\.toml:8, tls\.certificates\[0\]\.cert_path/);
  assert.match(warnings, /There are routes for example\.net, but no certificate is for them/);
  assert.match(warnings, /is for example\.org, which no route\s+knows/);
});

for (const command of ['check', 'serve']) {
  test(`${command} refuses a key that doesn’t fit its certificate, and starts nothing`, async () => {
    const authority = testAuthority();
    const [one, other] = [authority.server(['one.example']), authority.server(['other.example'])];
    const path = write(
      'pair.toml',
      `[server]\nlisten = "127.0.0.1:23101"\n[tls]\ncert_path = "${one.certPath}"\nkey_path = "${other.keyPath}"\ngroups = "P-999"\n`,
    );
    const { code, err } = await run([command, '-c', path]);
    assert.equal(code, 1);
    assert.match(err, /^Error: TLS private key .* does not belong to the certificate in /m);
    assert.match(err, /pair\.toml:5, tls\.key_path$/m);
    assert.match(err, /^Error: Invalid value "P-999": OpenSSL knows no group "P-999"$/m);
  });
}

test('check tells of WebSockets, of what is logged, of metrics and of routes that are never reached, in words', async () => {
  const path = write(
    'words.toml',
    `[server]
listen = "127.0.0.1:23100"
http2_enabled = false
[logging]
level = "warn"
format = "json"
file_path = "${folder}/edge.log"
max_log_size = 1048576
[prometheus]
enabled = true
allowed_ips = ["127.0.0.1"]
[upstreams.pool]
servers = ["http://127.0.0.1:9000", "http://127.0.0.1:9001"]
[upstreams.pool.health_check]
path = "/health"
healthy_threshold = 1
[path_routes."example.com"."/chat"]
type = "Proxy"
upstream = "pool"
[path_routes."example.com"."/chat".security]
websocket_poll_mode = "adaptive"
websocket_poll_max_timeout_ms = 50
websocket_idle_timeout_secs = 600
[path_routes."example.com"."/game"]
type = "Proxy"
upstream = "pool"
[path_routes."example.com"."/game".security]
websocket_poll_mode = "fixed"
[host_routes."example.org"]
type = "Redirect"
redirect_url = "https://example.com"
[path_routes."example.org"."/x"]
type = "Redirect"
redirect_url = "https://example.com/x"
`,
  );
  const { code, out } = await run(['check', '-c', path]);
  assert.equal(code, 0);
  const words = out.replaceAll(/\s+/g, ' ');
  for (const told of [
    '127.0.0.1:23100 (HTTP/1.1, without TLS)',
    'WebSockets: a message after a silence is passed on at once; small ones that follow may wait 1 ms for each other, after a long silence up to 50 ms; closed after 600 s of silence',
    'WebSockets: every message is passed on at once',
    'example.org /x and below → redirect (301) to https://example.com/x (never reached: example.org takes all requests for its host)',
    '2 servers, in turn; each is asked for /health every 10 s (well: 200, 201, 202, 204, 301, 302, 304 within 5 s), left out after 3 failures in a row, back after one success',
    `Log: warnings and errors, no requests, as JSON, to ${folder}/edge.log, rotated at 1 MiB`,
    'Metrics: at /__metrics on every host, for 127.0.0.1',
  ])
    assert.ok(words.includes(told), `${told}\nin\n${words}`);
  assert.doesNotMatch(out, /websocket_poll|level = /);
});

test('check tells warnings at the end, and still ends with 0', async () => {
  const path = write(
    'warned.toml',
    '[server]\nlisten = "127.0.0.1:23100"\n[upstreams.u]\nservers = ["http://a"]\n',
  );
  const { code, out } = await run(['check', '-c', path]);
  assert.equal(code, 0);
  assert.match(
    out,
    /^Warnings\n {2}There are no routes: every request will be answered 421\n {4}at .*\n {4}mend: /m,
  );
  assert.match(out, /is valid, with 2 warnings\.$/m);
});

test('check names the backend of the reactor that SALLYPORT_IO asks for', async () => {
  const before = process.env['SALLYPORT_IO'];
  process.env['SALLYPORT_IO'] = 'epoll';
  try {
    const path = write('io.toml', '[server]\nlisten = "127.0.0.1:23100"\n');
    const { out } = await run(['check', '-c', path]);
    assert.match(out, /I\/O: epoll, because SALLYPORT_IO asks for epoll/);
  } finally {
    if (before === undefined) delete process.env['SALLYPORT_IO'];
    else process.env['SALLYPORT_IO'] = before;
  }
});

const WRONG =
  '[server]\nlisten = "127.0.0.1:23101"\nthread = 1\n[host_routes.a]\ntype = "Proxy"\nurl = "invalid-url"\n';

for (const command of ['check', 'serve']) {
  test(`${command} with a wrong configuration tells all problems on standard error and ends with 1`, async () => {
    const path = write('wrong.toml', WRONG);
    const { code, out, err } = await run([command, '-c', path]);
    assert.equal(code, 1);
    assert.equal(out, '');
    assert.match(err, /^Error: Unknown key 'thread' in \[server\]; the nearest known key is 'threads'$/m);
    assert.match(err, /^Error: Invalid proxy URL for route 'a': invalid-url$/m);
    assert.match(err, /2 problems/);
  });

  test(`${command} without a file says so and ends with 1`, async () => {
    const { code, err } = await run([command, '-c', join(folder, 'missing.toml')]);
    assert.equal(code, 1);
    assert.match(err, /^Error: Configuration file .*missing\.toml: there is no such file$/m);
  });
}

test('a file that is not UTF-8, and one that begins with a byte order mark', async () => {
  const latin1 = join(folder, 'latin1.toml');
  writeFileSync(latin1, Buffer.from('# ä\n', 'latin1'));
  const wrong = await run(['check', '-c', latin1]);
  assert.equal(wrong.code, 1);
  assert.match(wrong.err, /^Error: The file is not UTF-8$/m);
  const marked = write('marked.toml', '\uFEFF[server]\nlisten = "127.0.0.1:23100"\n');
  assert.equal((await run(['check', '-c', marked])).code, 0);
});

test('--version and --help go to standard output under the name that was called', async () => {
  assert.match((await run(['--version'])).out, /^sallyport \d+\.\d+\.\d+\n$/);
  assert.match((await run(['-V'], '/usr/bin/zerocopy-server')).out, /^zerocopy-server \d+\.\d+\.\d+\n$/);
  const help = await run(['--help']);
  assert.equal(help.code, 0);
  assert.match(
    help.out,
    /^Usage: sallyport COMMAND \[-c PATH\]\n[\s\S]*serve[\s\S]*check[\s\S]*Exit codes: 0/,
  );
  assert.match((await run(['-h'], 'zerocopy-server')).out, /^Usage: zerocopy-server \[-c PATH\]\n/);
});

test('wrong usage goes to standard error and ends with 2', async () => {
  const { code, out, err } = await run(['chek']);
  assert.deepEqual([code, out], [2, '']);
  assert.equal(err, "sallyport: unknown command 'chek'; did you mean 'check'?\nTry 'sallyport --help'.\n");
});

/** As processes. */
const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;

test('the process ends with the exit code, and serve starts nothing when the configuration is wrong', () => {
  const path = write('wrong.toml', WRONG);
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'serve', '-c', path], {
    encoding: 'utf8',
  });
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /2 problems; nothing was started\.$/m);
});

test('a reader that has read enough does not make check fail', () => {
  const path = write('long.toml', '[server]\nlisten = "127.0.0.1:23100"\n');
  const line = `${process.execPath} ${MAIN} check -c ${path} | head -1; exit $\{PIPESTATUS[0]}`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', line], { encoding: 'utf8' });
  assert.deepEqual([status, stdout, stderr], [0, 'Listens on\n', '']);
});
