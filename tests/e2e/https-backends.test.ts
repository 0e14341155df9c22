/** Backends that are spoken to over TLS: nginx, Node.js and OpenSSL behind the started product. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { TestAuthority, testAuthority, testFile } from '../fixtures/certificates.ts';
import { type Edge, runCommand, runEdge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { sha256 } from '../fixtures/origin.ts';
import { until } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { exchangeOnce, RawClient } from '../fixtures/raw-client.ts';
import { type RunningServer, startNginx } from '../fixtures/servers.ts';
import {
  startHttpsServer,
  startRelay,
  startSilence,
  startTlsOrigin,
  type TlsOrigin,
} from '../fixtures/tls-origin.ts';

const authority = testAuthority();
const NAME = 'backend.example';
const good = authority.server([NAME, '127.0.0.1']);
const LARGE_BYTES = 8 * 1024 * 1024;
const large = randomBytes(LARGE_BYTES);

/** A route for the host `NAME.test`. Every request opens a connection of its own where `pooled` is false. */
function route(host: string, url: string, keys: string, pooled = true): string {
  const security = pooled ? '' : `security = { max_idle_connections_per_host = 0 }`;
  return `[host_routes."${host}.test"]\ntype = "Proxy"\nurl = "${url}"\n${keys}\n${security}\n`;
}

/** Verified by the test's authority, under the name `sni`. */
function trusting(sni = NAME): string {
  return `ca_path = "${authority.certPath}"\nsni_name = "${sni}"`;
}

function get(host: string, path = '/'): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${host}.test\r\n\r\n`;
}

/** What the Node.js origins answer with: the protocol, whether the session was resumed, the name, the client. */
function account(request: IncomingMessage, response: ServerResponse): void {
  const socket = request.socket as TLSSocket & { servername: string | false };
  const hash = createHash('sha256');
  let length = 0;
  request.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    length += chunk.length;
  });
  request.on('end', () => {
    if (request.url === '/large') {
      response.end(large);
      return;
    }
    const told = {
      version: socket.getProtocol(),
      resumed: socket.isSessionReused(),
      name: socket.servername,
      alpn: socket.alpnProtocol,
      client: socket.getPeerCertificate()?.subject?.CN ?? '',
      length,
      sha256: hash.digest('hex'),
    };
    response.end(JSON.stringify(told));
  });
}

interface Account {
  readonly version: string;
  readonly resumed: boolean;
  readonly name: string | false;
  readonly alpn: string;
  readonly client: string;
  readonly length: number;
  readonly sha256: string;
}

async function accountOf(edge: Edge, host: string): Promise<Account> {
  const response = await exchangeOnce(edge.port, get(host));
  assert.equal(response.status, 200, response.text());
  return JSON.parse(response.text()) as Account;
}

/** nginx that tells in `/` how it was spoken to, for one version of TLS. */
async function startSecureNginx(version: 'TLSv1.2' | 'TLSv1.3'): Promise<RunningServer & { tls: string }> {
  const port = await freePort();
  const server = await startNginx(
    (directory) => `
    listen 127.0.0.1:${port} ssl; ssl_protocols ${version};
    ssl_certificate ${good.certPath}; ssl_certificate_key ${good.keyPath};
    ssl_client_certificate ${authority.certPath}; ssl_verify_client optional;
    client_max_body_size 100m; root ${directory}/www;
    location = / { return 200 "$ssl_session_reused $ssl_protocol $connection_requests"; }
    location = /verified { return 200 "$ssl_client_verify"; }`,
  );
  writeFileSync(`${server.directory}/www/large`, large);
  return { ...server, tls: `https://127.0.0.1:${port}` };
}

interface Rig {
  readonly edge: Edge;
  readonly origins: Map<string, TlsOrigin>;
}

// ---- Who is refused, and what is said -------------------------------------------------------------------

interface Refusal {
  readonly name: string;
  readonly host: string;
  readonly keys: string;
  readonly origin: () => Promise<TlsOrigin>;
  readonly log: RegExp;
}

const refusals: readonly Refusal[] = [
  {
    name: 'a certificate for another name',
    host: 'wrong-name',
    keys: trusting('other.example'),
    origin: () => startHttpsServer(good, account),
    log: /its certificate is not for other\.example but for backend\.example, 127\.0\.0\.1/,
  },
  {
    name: 'a certificate that has expired',
    host: 'expired',
    keys: trusting(),
    origin: () => startHttpsServer(authority.server([NAME], { days: -3 }), account),
    log: /its certificate has expired/,
  },
  {
    name: 'a certificate of an unknown authority',
    host: 'unknown',
    keys: trusting(),
    origin: () => startHttpsServer(TestAuthority.root('Nobody').server([NAME]), account),
    log: /its certificate has an unknown issuer, CN=Nobody/,
  },
  {
    name: 'a certificate that the system does not know, where no ca_path is given',
    host: 'system',
    keys: `sni_name = "${NAME}"`,
    origin: () => startHttpsServer(good, account),
    log: /its certificate has an unknown issuer, CN=Test Root/,
  },
  {
    name: 'a self-signed certificate',
    host: 'self-signed',
    keys: trusting(),
    origin: () => {
      const own = TestAuthority.root('Self');
      const key = own.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
      return startHttpsServer({ cert: own.cert, key }, account);
    },
    log: /its certificate is self-signed \(CN=Self\)/,
  },
  {
    name: 'a backend that wants a client certificate, in TLS 1.2',
    host: 'no-client-12',
    keys: trusting(),
    origin: () =>
      startHttpsServer(
        { ...good, requestCert: true, ca: authority.cert, rejectUnauthorized: true, maxVersion: 'TLSv1.2' },
        account,
      ),
    log: /probably it asks for a client certificate/,
  },
  {
    name: 'a backend that speaks TLS 1.1 at most',
    host: 'old',
    keys: trusting(),
    origin: () =>
      startHttpsServer(
        { ...good, minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
        account,
      ),
    log: /it speaks no version of TLS that is spoken here/,
  },
  {
    name: 'a backend that does not speak TLS',
    host: 'plain',
    keys: trusting(),
    origin: async () => {
      const plain = await startNginx(() => 'return 200;');
      return { ...plain, url: `https://127.0.0.1:${plain.port}`, connections: () => 0, failures: [] };
    },
    log: /it does not speak TLS on this port/,
  },
];

function verification(io: IoBackend): void {
  let rig: Rig;

  before(async () => {
    const origins = new Map<string, TlsOrigin>();
    let toml = '';
    for (const { host, keys, origin } of refusals) {
      const started = await origin();
      origins.set(host, started);
      toml += route(host, started.url, keys);
    }
    const shared = await startHttpsServer(good, account);
    origins.set('shared', shared);
    toml += route('trusting', shared.url, trusting());
    toml += route('address', shared.url, `ca_path = "${authority.certPath}"`);
    toml += route('insecure', shared.url, 'sni_name = "whatever.example"\ninsecure = true');
    toml += route('distrusting', shared.url, 'sni_name = "whatever.example"');
    rig = { edge: await startEdge(toml, { io }), origins };
  });

  after(async () => {
    await rig.edge.stop();
    for (const origin of rig.origins.values()) await origin.close();
  });

  for (const { name, host, log } of refusals) {
    test(`${name} is a 502, told in the log, and not tried again`, async () => {
      const from = rig.edge.stderr().length;
      const origin = rig.origins.get(host);
      const before = origin?.connections() ?? 0;
      const response = await exchangeOnce(rig.edge.port, get(host));
      assert.equal(response.status, 502);
      const logged = await rig.edge.logged(`host=${host}.test`, from);
      assert.match(logged, log);
      assert.match(logged, /status=502 .*reason=backend-tls-failed/);
      if (host !== 'plain') assert.equal((origin?.connections() ?? 0) - before, 1);
    });
  }

  for (const [host, alert] of [
    ['unknown', 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA'],
    ['expired', 'ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED'],
    ['wrong-name', 'ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE'],
  ] as const) {
    test(`a backend whose certificate is refused is told by an alert: ${host}`, async () => {
      await exchangeOnce(rig.edge.port, get(host));
      const failures = rig.origins.get(host)?.failures ?? [];
      await until(() => failures.length > 0, 5000, 'the alert');
      assert.equal(failures.at(-1), alert);
    });
  }

  test('a failure that repeats is logged now and then, not each time', async () => {
    const from = rig.edge.stderr().length;
    for (let round = 0; round < 30; round++) await exchangeOnce(rig.edge.port, get('expired'));
    await until(
      () =>
        (
          rig.edge
            .stderr()
            .slice(from)
            .match(/reason=backend-tls-failed/g) ?? []
        ).length >= 30,
      5000,
      'thirty entries of access',
    );
    const told =
      rig.edge
        .stderr()
        .slice(from)
        .match(/TLS failed: its certificate has expired/g) ?? [];
    assert.ok(told.length <= 5, `told ${told.length} times`);
  });

  test('the name is sent, and verified; http/1.1 is agreed on', async () => {
    const { name, alpn, version } = await accountOf(rig.edge, 'trusting');
    assert.deepEqual({ name, alpn, version }, { name: NAME, alpn: 'http/1.1', version: 'TLSv1.3' });
  });

  test('an address is verified without a name being sent', async () => {
    assert.equal((await accountOf(rig.edge, 'address')).name, false);
  });

  test('a connection that was not verified is used by nobody who verifies', async () => {
    const shared = rig.origins.get('shared');
    let before = -1;
    const isPooled = async (): Promise<boolean> => {
      before = shared?.connections() ?? 0;
      assert.equal((await accountOf(rig.edge, 'insecure')).name, 'whatever.example');
      return shared?.connections() === before;
    };
    await until(isPooled, 5000, 'the pooled connection to be used again');
    const response = await exchangeOnce(rig.edge.port, get('distrusting'));
    assert.equal(response.status, 502);
    assert.equal(shared?.connections(), before + 1);
  });

  test('a backend that is not verified is warned of at the start, at each reload, and by check', async () => {
    assert.match(rig.edge.stderr(), /\[WARN\] backend https:\S+ is not verified/);
    const from = rig.edge.stderr().length;
    rig.edge.signal('SIGHUP');
    assert.match(
      await rig.edge.logged('the new configuration is in force', from),
      /\[WARN\] .*The backend is not verified/,
    );
    assert.match(runCommand(['check', '-c', rig.edge.configPath]).stdout, /The backend is not verified/);
  });

  test('system roots come from SSL_CERT_FILE', async () => {
    const origin = await startHttpsServer(good, account);
    const toml = route('rooted', origin.url, '');
    const edge = await startEdge(toml, { io, env: { SSL_CERT_FILE: authority.certPath, SSL_CERT_DIR: '' } });
    assert.equal((await accountOf(edge, 'rooted')).name, false);
    await edge.stop();
    await origin.close();
  });

  test('without system roots it says at the start which package has them', async () => {
    const config = `[server]\nlisten = "127.0.0.1:${await freePort()}"\nhttp2_enabled = false\n${route('a', 'https://127.0.0.1:1', '')}`;
    const { exit, output } = await runEdge(config, io, {
      SSL_CERT_FILE: testFile('none.pem', ''),
      SSL_CERT_DIR: '',
    });
    assert.equal(exit.code, 1);
    assert.match(output, /Install the package ca-certificates/);
    assert.doesNotMatch(output, /^ {4}at /m);
  });
}

// ---- Real servers ---------------------------------------------------------------------------------------

function peers(io: IoBackend): void {
  let edge: Edge;
  let modern: RunningServer & { tls: string };
  let old: RunningServer & { tls: string };
  let node: TlsOrigin;
  let demanding: TlsOrigin;
  let echo: TlsOrigin;
  let relay: TlsOrigin;
  let toml = '';
  const client = authority.client('the-edge');
  // More than the other routes trust, so that this route has connections and sessions of its own.
  const trusted = authority.cert + TestAuthority.root('Another').cert;
  const trust = testFile('replaced-ca.pem', trusted);

  before(async () => {
    [modern, old] = await Promise.all([startSecureNginx('TLSv1.3'), startSecureNginx('TLSv1.2')]);
    node = await startHttpsServer(good, account);
    const required = { requestCert: true, ca: authority.cert, rejectUnauthorized: true };
    demanding = await startHttpsServer({ ...good, ...required }, account);
    echo = await startTlsOrigin(good, echoWebSocket);
    relay = await startRelay(node.port, 1000);
    const shows = `client_cert_path = "${client.certPath}"\nclient_key_path = "${client.keyPath}"`;
    const replaced = `ca_path = "${trust}"\nsni_name = "${NAME}"`;
    toml = [
      route('nginx13', modern.tls, trusting()),
      route('nginx12', old.tls, trusting()),
      route('fresh13', modern.tls, `${replaced}`, false),
      route('fresh12', old.tls, `${replaced}`, false),
      route('node', node.url, trusting()),
      route('shown', demanding.url, `${trusting()}\n${shows}`),
      route('shown12', old.tls, `${trusting()}\n${shows}`),
      route('not-shown', demanding.url, trusting()),
      route('echo', echo.url, trusting()),
      route('relay', relay.url, trusting()),
    ].join('\n');
    edge = await startEdge(toml, { io, logging: 'level = "info"' });
  });

  after(async () => {
    await edge.stop();
    for (const each of [modern, old, node, demanding, echo, relay]) await each.close();
  });

  for (const [host, version] of [
    ['nginx13', 'TLSv1.3'],
    ['nginx12', 'TLSv1.2'],
  ] as const) {
    test(`${version} of nginx is spoken, on connections that are kept`, async () => {
      const isKept = async (): Promise<boolean> => {
        const [, spoken, requests] = (await exchangeOnce(edge.port, get(host))).text().split(' ');
        assert.equal(spoken, version);
        return Number(requests) > 1;
      };
      await until(isKept, 5000, 'a second request on a connection');
    });

    test(`a large response of ${version} arrives as it is`, async () => {
      const response = await exchangeOnce(edge.port, get(host, '/large'), 20_000);
      assert.equal(sha256(response.body), sha256(large));
    });
  }

  for (const [host, version] of [
    ['fresh13', 'TLSv1.3'],
    ['fresh12', 'TLSv1.2'],
  ] as const) {
    test(`sessions of ${version} are resumed, over reloads too, until other certificates are trusted`, async () => {
      const ask = async (): Promise<string> =>
        (await exchangeOnce(edge.port, get(host))).text().trim().split(' ')[0];
      const reload = async (): Promise<void> => {
        const from = edge.stderr().length;
        edge.signal('SIGHUP');
        await edge.logged('the new configuration is in force', from);
      };
      writeFileSync(trust, trusted);
      await reload();
      await ask();
      assert.equal(await ask(), 'r');
      assert.equal(await ask(), 'r');
      await reload();
      assert.equal(await ask(), 'r');
      writeFileSync(trust, trusted + TestAuthority.root(`One more for ${version}`).cert);
      await reload();
      assert.equal(await ask(), '.');
      assert.equal(await ask(), 'r');
    });
  }

  test('a client certificate is shown where one is configured', async () => {
    assert.equal((await accountOf(edge, 'shown')).client, 'the-edge');
    assert.equal((await exchangeOnce(edge.port, get('shown12', '/verified'))).text(), 'SUCCESS');
    assert.equal((await exchangeOnce(edge.port, get('nginx12', '/verified'))).text(), 'NONE');
  });

  test('a backend of TLS 1.3 that misses a client certificate is a 502, told in the log', async () => {
    const from = edge.stderr().length;
    const response = await exchangeOnce(edge.port, get('not-shown'));
    assert.equal(response.status, 502);
    const logged = await edge.logged('host=not-shown.test', from);
    assert.match(logged, /it asks for a client certificate, and none is configured/);
    assert.match(logged, /reason=backend-tls-failed/);
  });

  test('large bodies go both ways', async () => {
    const head = `POST / HTTP/1.1\r\nHost: node.test\r\nContent-Length: ${LARGE_BYTES}\r\n\r\n`;
    const sent = await exchangeOnce(edge.port, Buffer.concat([Buffer.from(head), large]), 20_000);
    const told = JSON.parse(sent.text()) as Account;
    assert.deepEqual([told.length, told.sha256], [LARGE_BYTES, sha256(large)]);
    const received = await exchangeOnce(edge.port, get('node', '/large'), 20_000);
    assert.equal(sha256(received.body), sha256(large));
  });

  test('records that come in small segments are put together', async () => {
    const received = await exchangeOnce(edge.port, get('relay', '/large'), 30_000);
    assert.equal(sha256(received.body), sha256(large));
  });

  test('a WebSocket goes through, both ways', async () => {
    const client = await RawClient.connect(edge.port);
    await client.send(
      'GET / HTTP/1.1\r\nHost: echo.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    assert.equal((await client.response()).status, 101);
    const message = large.subarray(0, 300_000);
    await client.send(message);
    const echoed = await client.unreadAtLeast(message.length);
    assert.equal(sha256(echoed), sha256(message));
    client.finish();
    assert.equal(await client.closed(), 'end');
  });

  test('keys that the backend updates in the middle of a response are followed', async () => {
    const server = await startOpensslServer();
    const from = edge.stderr().length;
    edge.rewrite(`${toml}\n${route('openssl', `https://127.0.0.1:${server.port}`, trusting())}`);
    edge.signal('SIGHUP');
    await edge.logged('the new configuration is in force', from);
    const client = await RawClient.connect(edge.port);
    await client.send(get('openssl'));
    await server.says('GET / HTTP/1.1');
    server.type('HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nfour');
    await received(client, 'four');
    server.type('k\n');
    await server.says('>>> TLS 1.3, Handshake [length 0005], KeyUpdate');
    server.type('more');
    await received(client, 'fourmore');
    // This one asks for ours, too: it goes out before the next request.
    server.type('K\n');
    await server.says('>>> TLS 1.3, Handshake [length 0005], KeyUpdate', 2);
    server.type('last');
    assert.equal((await client.response()).text(), 'fourmorelast');
    // A connection rests for some turns before it is used again, and openssl serves one at a time.
    for (let round = 0; round < 3; round++) await accountOf(edge, 'node');
    await client.send(get('openssl', '/again'));
    await server.says('<<< TLS 1.3, Handshake [length 0005], KeyUpdate');
    await server.says('GET /again HTTP/1.1');
    client.destroy();
    await server.close();
  });
}

/** Answers an upgrade, and gives back all that comes after it. */
function echoWebSocket(socket: TLSSocket): void {
  socket.once('data', () => {
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
    );
    socket.pipe(socket);
  });
}

async function received(client: RawClient, end: string): Promise<void> {
  await until(() => client.unread().toString('latin1').endsWith(end), 5000, end);
}

interface OpensslServer {
  readonly port: number;
  /** Types into its terminal: content for the peer, or one of its commands. Each a piece of its own. */
  type(text: string): void;
  /** Waits until its output has `text` so many times. */
  says(text: string, times?: number): Promise<void>;
  close(): Promise<void>;
}

async function startOpensslServer(): Promise<OpensslServer> {
  const port = await freePort();
  const arguments_ = [
    's_server',
    '-accept',
    `127.0.0.1:${port}`,
    '-cert',
    good.certPath,
    '-key',
    good.keyPath,
  ];
  const child: ChildProcess = spawn('openssl', [...arguments_, '-tls1_3', '-msg'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let output = '';
  // A test that failed before it closed its server must not keep the process alive, nor leave it behind.
  child.unref();
  process.once('exit', () => child.kill('SIGKILL'));
  for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as Socket).unref();
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => (output += chunk.toString('latin1')));
  const exited = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const says = (text: string, times = 1): Promise<void> =>
    until(() => output.split(text).length > times, 5000, `openssl to say ${text} (it says ${output})`);
  await says('ACCEPT');
  return {
    port,
    says,
    type: (text) => void child.stdin?.write(text),
    async close() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

// ---- Ends and waits -------------------------------------------------------------------------------------

function endings(io: IoBackend): void {
  let edge: Edge;
  let origin: TlsOrigin;
  let silence: TlsOrigin;
  const HEAD = 'HTTP/1.1 200 OK\r\n';

  before(async () => {
    origin = await startTlsOrigin(good, (socket) =>
      socket.on('data', (chunk: Buffer) => {
        switch (chunk.toString('latin1').split(' ')[1]) {
          case '/closed':
            socket.end(`${HEAD}\r\nall of it`);
            break;
          case '/cut':
            socket.write(`${HEAD}\r\nall of it`, () => socket.destroy());
            break;
          case '/counted-cut':
            socket.write(`${HEAD}Content-Length: 9\r\n\r\nall of it`, () => socket.destroy());
            break;
          case '/nothing':
            socket.destroy();
            break;
          default:
            socket.write(`${HEAD}Content-Length: 2\r\n\r\nok`);
        }
      }),
    );
    silence = await startSilence();
    const waits = 'security = { backend_connect_timeout_secs = 1 }';
    const toml =
      route('origin', origin.url, trusting()) + route('silence', silence.url, `${trusting()}\n${waits}`);
    edge = await startEdge(toml, { io });
  });

  after(async () => {
    await edge.stop();
    await origin.close();
    await silence.close();
  });

  test('content that ends with a close_notify is complete', async () => {
    const response = await exchangeOnce(edge.port, get('origin', '/closed'));
    assert.equal(response.text(), 'all of it');
  });

  test('content that ends with the connection, unannounced, does not look complete', async () => {
    const client = await RawClient.connect(edge.port);
    await client.send(get('origin', '/cut'));
    const { complete } = await client.outcome();
    assert.equal(complete, false);
    client.destroy();
  });

  test('content of a known length needs no close_notify', async () => {
    const response = await exchangeOnce(edge.port, get('origin', '/counted-cut'));
    assert.equal(response.text(), 'all of it');
  });

  test('an idle connection that the backend cuts is just closed', async () => {
    await exchangeOnce(edge.port, get('origin', '/counted-cut'));
    const response = await exchangeOnce(edge.port, get('origin', '/'));
    assert.equal(response.text(), 'ok');
  });

  test('a backend that closes without an answer is a 502', async () => {
    assert.equal((await exchangeOnce(edge.port, get('origin', '/nothing'))).status, 502);
  });

  test('a handshake that does not end in time is a 504', async () => {
    assert.equal((await exchangeOnce(edge.port, get('silence'))).status, 504);
  });
}

for (const io of IO_BACKENDS) {
  describe(`https backends on ${io}: verification`, () => verification(io));
  describe(`https backends on ${io}: peers`, () => peers(io));
  describe(`https backends on ${io}: endings`, () => endings(io));
}
