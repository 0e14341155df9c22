/**
 * Each file of examples/ as its reader would use it: with names of files and addresses put in that are there, `check` accepts it
 * without a warning, and the product that runs on it does what its comments promise.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import {
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as requestHttp,
  type ServerResponse,
} from 'node:http';
import { request as requestHttps } from 'node:https';
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, runCommand, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { until, within } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';
import { startHttpsServer, type TlsOrigin } from '../fixtures/tls-origin.ts';

const EXAMPLES = resolve(import.meta.dirname, '../../examples');
const PATIENCE_MS = 10_000;
const authority = testAuthority();
const folder = openFolder('examples');
after(() => rmSync(folder, { recursive: true, force: true }));

/** What stands in an example, and what stands there in the test. */
type Substitutes = Readonly<Record<string, string>>;

/** The example with every substitute put in; each must be there, so that the test sees what readers see. */
function filled(name: string, substitutes: Substitutes): string {
  let text = readFileSync(join(EXAMPLES, name), 'utf8');
  for (const [written, real] of Object.entries(substitutes)) {
    assert.ok(text.includes(written), `${name} has ${written}`);
    text = text.replaceAll(written, real);
  }
  return text;
}

/** The listeners and the certificate that all examples over HTTPS have. */
async function secure(directory: string, names: readonly string[]): Promise<Substitutes> {
  const { certPath, keyPath } = authority.server(names);
  return {
    '"0.0.0.0:80"': `"127.0.0.1:${await freePort()}"`,
    [`/etc/ssl/${directory}/fullchain.pem`]: certPath,
    [`/etc/ssl/${directory}/privkey.pem`]: keyPath,
  };
}

/** Holds `check` to it, then starts it. */
async function start(name: string, substitutes: Substitutes, listen = '"0.0.0.0:443"'): Promise<Edge> {
  const path = join(folder, name);
  writeFileSync(path, filled(name, substitutes));
  const { code, stdout, stderr } = runCommand(['check', '-c', path]);
  assert.equal(code, 0, stderr);
  assert.ok(stdout.endsWith(`\n${path} is valid.\n`), `check has nothing to warn of:\n${stdout}`);
  const config = (port: number): string => filled(name, { ...substitutes, [listen]: `"127.0.0.1:${port}"` });
  return startEdge('', { io: 'uring', config });
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Question {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Asks the edge for `https://HOST/PATH` (`http` where `plainPort` is given). */
function ask(edge: Edge, url: string, question: Question = {}, plainPort = 0): Promise<Answer> {
  const { hostname, pathname, search } = new URL(url);
  const isPlain = plainPort !== 0;
  const options = {
    host: '127.0.0.1',
    port: isPlain ? plainPort : edge.port,
    path: pathname + search,
    method: question.method ?? 'GET',
    headers: { host: hostname, ...question.headers },
    servername: hostname,
    ca: authority.cert,
    agent: false,
  };
  const asked = new Promise<Answer>((done, fail) => {
    const request = isPlain ? requestHttp(options) : requestHttps(options);
    request.on('error', fail);
    request.on('response', (response) => {
      const content: Buffer[] = [];
      response.on('data', (chunk: Buffer) => content.push(chunk));
      response.on('end', () =>
        done({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(content).toString(),
        }),
      );
    });
    request.end(question.body);
  });
  return within(asked, PATIENCE_MS, url);
}

/** Tells what it was asked: `NAME METHOD /path` and the fields. */
function telling(name: string): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    let bytes = 0;
    request.on('data', (chunk: Buffer) => (bytes += chunk.length));
    request.on('end', () => {
      response.setHeader('X-Powered-By', 'a test');
      response.end(
        JSON.stringify({ name, method: request.method, path: request.url, headers: request.headers, bytes }),
      );
    });
  };
}

interface Told {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: number;
}

function told(answer: Answer): Told {
  assert.equal(answer.status, 200, answer.body);
  return JSON.parse(answer.body) as Told;
}

function authorityOf(server: { readonly url: string }): string {
  return new URL(server.url).host;
}

function portIn(substitutes: Substitutes): number {
  return Number(/:(\d+)/.exec(substitutes['"0.0.0.0:80"'])?.[1]);
}

test('README.md names every example, and no other', () => {
  const readme = readFileSync(join(EXAMPLES, 'README.md'), 'utf8');
  const named = [...readme.matchAll(/\]\(([a-z-]+\.toml)\)/g)].map((match) => match[1]).sort();
  const there = readdirSync(EXAMPLES)
    .filter((name) => name.endsWith('.toml'))
    .sort();
  assert.deepEqual(named, there);
});

describe('static-site.toml', () => {
  let edge: Edge;
  let substitutes: Substitutes;

  before(async () => {
    const site = join(folder, 'site');
    for (const [path, content] of [
      ['index.html', 'the start'],
      ['docs/index.html', 'the documents'],
      ['assets/app.123.js', 'plain'],
      ['assets/app.123.js.gz', 'packed'],
      ['robots.txt', 'robots'],
    ]) {
      mkdirSync(dirname(join(site, path)), { recursive: true });
      writeFileSync(join(site, path), content);
    }
    substitutes = {
      ...(await secure('example.com', ['example.com', 'www.example.com'])),
      '/var/www/example.com': site,
    };
    edge = await start('static-site.toml', substitutes);
  });
  after(() => edge?.stop());

  test('serves the site with its fields, and nothing but GET and HEAD', async () => {
    const index = await ask(edge, 'https://example.com/');
    assert.deepEqual([index.status, index.body], [200, 'the start']);
    assert.equal(index.headers['strict-transport-security'], 'max-age=31536000');
    assert.equal((await ask(edge, 'https://example.com/docs/')).body, 'the documents');
    assert.equal((await ask(edge, 'https://example.com/robots.txt')).body, 'robots');
    assert.equal((await ask(edge, 'https://example.com/none')).status, 404);
    assert.equal((await ask(edge, 'https://example.com/', { method: 'POST' })).status, 405);
    const asset = await ask(edge, 'https://example.com/assets/app.123.js', {
      headers: { 'accept-encoding': 'gzip' },
    });
    assert.deepEqual([asset.body, asset.headers['content-encoding']], ['packed', 'gzip']);
    assert.equal(asset.headers['cache-control'], 'public, max-age=31536000, immutable');
  });

  test('redirects www and HTTP', async () => {
    const www = await ask(edge, 'https://www.example.com/page?x=1');
    assert.deepEqual([www.status, www.headers.location], [301, 'https://example.com/page?x=1']);
    const plain = await ask(edge, 'http://example.com/page', {}, portIn(substitutes));
    assert.equal(plain.status, 301);
    assert.match(plain.headers.location ?? '', /^https:\/\/example\.com(:\d+)?\/page$/);
  });
});

describe('single-backend.toml', () => {
  let application: NodeServer;
  let edge: Edge;

  before(async () => {
    application = await startNodeServer(telling('application'));
    mkdirSync(join(folder, 'static'));
    writeFileSync(join(folder, 'static/a.css'), 'css');
    edge = await start('single-backend.toml', {
      ...(await secure('app.example.com', ['app.example.com'])),
      'http://127.0.0.1:3000': application.url,
      '/srv/app/static': join(folder, 'static'),
    });
  });
  after(async () => {
    await edge?.stop();
    await application?.close();
  });

  test('the application is told who asks, and its answer goes without what nobody needs to know', async () => {
    const answer = await ask(edge, 'https://app.example.com/page?x=1', {
      headers: { 'x-forwarded-for': '203.0.113.9' },
    });
    const { method, path, headers } = told(answer);
    assert.deepEqual([method, path, headers['host']], ['GET', '/page?x=1', 'app.example.com']);
    assert.deepEqual([headers['x-real-ip'], headers['x-forwarded-for']], ['127.0.0.1', '127.0.0.1']);
    assert.equal(headers['x-forwarded-proto'], 'https');
    assert.match(headers['x-request-id'], /^[0-9a-f]{32}$/);
    assert.equal(answer.headers['x-powered-by'], undefined);
  });

  test('uploads may be larger than other requests, and not too many', async () => {
    const body = 'x'.repeat(2_000_000);
    assert.equal((await ask(edge, 'https://app.example.com/', { method: 'POST', body })).status, 413);
    const upload = told(await ask(edge, 'https://app.example.com/upload/a', { method: 'PUT', body }));
    assert.deepEqual([upload.path, upload.bytes], ['/upload/a', body.length]);
    assert.equal((await ask(edge, 'https://app.example.com/upload/a')).status, 405);
    const statuses: number[] = [];
    for (let each = 0; each < 31; each++)
      statuses.push((await ask(edge, 'https://app.example.com/upload/b', { method: 'POST' })).status);
    assert.deepEqual(new Set(statuses.slice(0, 29)), new Set([200]));
    assert.deepEqual(new Set(statuses.slice(29)), new Set([429]));
  });

  test('static files don’t ask the application', async () => {
    assert.equal((await ask(edge, 'https://app.example.com/static/a.css')).body, 'css');
  });
});

describe('balanced-pool.toml', () => {
  const servers: NodeServer[] = [];
  let edge: Edge;

  before(async () => {
    for (const name of ['11', '12', '13']) servers.push(await startNodeServer(telling(name)));
    edge = await start('balanced-pool.toml', {
      ...(await secure('shop.example.com', ['shop.example.com'])),
      '10.0.0.11:8080': authorityOf(servers[0]),
      '10.0.0.12:8080': authorityOf(servers[1]),
      '10.0.0.13:8080': authorityOf(servers[2]),
      // Counts are of one worker; what is shared among several is tested elsewhere.
      '[server]\n': '[server]\nthreads = 1\n',
    });
  });
  after(async () => {
    await edge?.stop();
    for (const server of servers) await server.close();
  });

  async function names(path: string, count: number): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for (let each = 0; each < count; each++) {
      const { name } = told(await ask(edge, `https://shop.example.com${path}`));
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return counts;
  }

  test('requests go by weight, those with a cart stay', async () => {
    const shared = await names('/', 20);
    assert.deepEqual([shared.get('11'), shared.get('12'), shared.get('13')], [8, 8, 4]);
    assert.deepEqual([...(await names('/cart/42', 10)).values()], [10]);
    const cart = told(await ask(edge, 'https://shop.example.com/cart/42'));
    assert.deepEqual([cart.path, cart.headers['x-forwarded-prefix']], ['/42', '/cart']);
  });

  test('a server that is gone costs nobody an answer', async () => {
    await servers[2].close();
    const left = await names('/', 20);
    assert.deepEqual([...left.keys()].sort(), ['11', '12']);
  });

  test('metrics and the log tell of it', async () => {
    const page = await ask(edge, 'https://shop.example.com/__metrics');
    assert.match(page.body, /^zerocopy_proxy_http_requests_total\{.*host="shop\.example\.com".*\} \d+$/m);
    await edge.logged(/^\{"time":.*"message":"access".*"path":"\/cart\/42","status":200/m);
  });
});

describe('websocket.toml', () => {
  const servers: NodeServer[] = [];
  let edge: Edge;

  before(async () => {
    const substitutes: Record<string, string> = {};
    for (const port of ['3001', '3002', '3003', '3004']) {
      const server = await startNodeServer(telling(port));
      // Every frame of a client is answered with one that names the server; a close is answered by the end.
      server.server.on('upgrade', (request, socket) => {
        const accept = createHash('sha1')
          .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
          .digest('base64');
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
        );
        socket.on('error', () => socket.destroy());
        socket.on('end', () => socket.end());
        socket.on('data', (frame: Buffer) => {
          if ((frame[0] & 0x0f) === 8) socket.end(Buffer.from([0x88, 0]));
          else socket.write(Buffer.concat([Buffer.from([0x81, port.length]), Buffer.from(port)]));
        });
      });
      servers.push(server);
      substitutes[`http://127.0.0.1:${port}`] = server.url;
    }
    edge = await start('websocket.toml', {
      ...(await secure('live.example.com', ['live.example.com'])),
      ...substitutes,
    });
  });
  after(async () => {
    await edge?.stop();
    for (const server of servers) await server.close();
  });

  /** The first message that comes back over a WebSocket, by a handshake and a frame of our own over TLS. */
  function saidOver(path: string): Promise<string> {
    const said = new Promise<string>((done, fail) => {
      const request = requestHttps({
        host: '127.0.0.1',
        port: edge.port,
        path,
        servername: 'live.example.com',
        ca: authority.cert,
        agent: false,
        headers: {
          host: 'live.example.com',
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        },
      });
      request.on('error', fail);
      request.on('response', (response) => fail(new Error(`${path}: ${response.statusCode}`)));
      request.on('upgrade', (_response, socket: TLSSocket) => {
        let heard = Buffer.alloc(0);
        socket.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]));
        socket.on('data', (chunk: Buffer) => {
          heard = Buffer.concat([heard, chunk]);
          if (heard.length < 6) return;
          done(heard.subarray(2, 6).toString());
          socket.end(Buffer.from([0x88, 0x80, 0, 0, 0, 0]));
        });
        socket.on('error', fail);
      });
      request.end();
    });
    return within(said, PATIENCE_MS, path);
  }

  test('each path talks with its server', async () => {
    assert.ok(['3001', '3002'].includes(await saidOver('/chat')));
    assert.equal(await saidOver('/game'), '3003');
    assert.equal(await saidOver('/dashboard'), '3004');
  });

  test('check says what each does with messages', () => {
    const { stdout } = runCommand(['check', '-c', join(folder, 'websocket.toml')]);
    const words = stdout.replaceAll(/\s+/g, ' ');
    assert.match(
      words,
      /may wait 1 ms for each other, after a long silence up to 50 ms; closed after 3600 s/,
    );
    assert.match(words, /WebSockets: every message is passed on at once/);
    assert.match(words, /may wait 10 ms for each other, after a long silence up to 200 ms/);
  });
});

describe('https-backends.toml', () => {
  const servers: TlsOrigin[] = [];
  let edge: Edge;

  before(async () => {
    const api = authority.server(['api.internal.example.com']);
    const ledger = authority.server(['ledger.internal.example.com']);
    const client = authority.client('edge');
    for (const name of ['100', '101'])
      servers.push(await startHttpsServer({ cert: api.cert, key: api.key }, telling(name)));
    servers.push(
      await startHttpsServer(
        {
          cert: ledger.cert,
          key: ledger.key,
          ca: authority.cert,
          requestCert: true,
          rejectUnauthorized: true,
        },
        telling('ledger'),
      ),
    );
    edge = await start('https-backends.toml', {
      ...(await secure('example.com', ['example.com'])),
      'https://192.168.1.100:443': servers[0].url,
      'https://192.168.1.101:443': servers[1].url,
      'https://192.168.1.110:8443': servers[2].url,
      '/etc/ssl/internal-ca.pem': authority.certPath,
      '/etc/ssl/edge-client.pem': client.certPath,
      '/etc/ssl/edge-client.key': client.keyPath,
    });
  });
  after(async () => {
    await edge?.stop();
    for (const server of servers) await server.close();
  });

  test('backends are verified by their name, asked for it, and shown the client certificate that they want', async () => {
    const heard = new Set<string>();
    for (let each = 0; each < 6; each++) {
      const { name, path, headers } = told(await ask(edge, 'https://example.com/api/users'));
      assert.deepEqual([path, headers['host']], ['/users', 'api.internal.example.com']);
      heard.add(name);
    }
    assert.deepEqual([...heard].sort(), ['100', '101']);
    const ledger = told(await ask(edge, 'https://example.com/ledger/entries'));
    assert.deepEqual([ledger.name, ledger.path], ['ledger', '/v2/entries']);
  });
});

describe('behind-a-balancer.toml', () => {
  let application: NodeServer;
  let edge: Edge;

  before(async () => {
    application = await startNodeServer(telling('application'), true);
    const health = join(folder, 'healthz.txt');
    writeFileSync(health, 'well\n');
    const path = application.url.slice('unix:'.length);
    edge = await start(
      'behind-a-balancer.toml',
      { '/run/app.sock': path, '/srv/edge/healthz.txt': health, '"10.0.0.0/8"': '"127.0.0.0/8"' },
      '"0.0.0.0:8080"',
    );
  });
  after(async () => {
    await edge?.stop();
    await application?.close();
  });

  function from(client: string, url: string): Promise<Answer> {
    const headers = { 'x-forwarded-for': client, 'x-forwarded-proto': 'https' };
    return ask(edge, url, { headers }, edge.port);
  }

  test('the balancer’s health checks are answered here, whatever Host they have', async () => {
    assert.equal((await ask(edge, 'http://10.1.2.3/healthz', {}, edge.port)).body, 'well\n');
    assert.equal((await from('203.0.113.7', 'http://10.1.2.3/healthz')).status, 403);
  });

  test('clients have their own addresses: for the application, for the log, for what only the office may see', async () => {
    const { headers } = told(await from('203.0.113.7', 'http://example.com/x'));
    assert.deepEqual([headers['x-real-ip'], headers['x-forwarded-proto']], ['203.0.113.7', 'https']);
    assert.match(headers['x-forwarded-for'], /^203\.0\.113\.7/);
    assert.equal((await from('203.0.113.7', 'http://example.com/admin/users')).status, 403);
    assert.equal(told(await from('198.51.100.9', 'http://example.com/admin/users')).path, '/admin/users');
    await edge.logged(/"client":"203\.0\.113\.7".*"path":"\/x","status":200/);
    assert.equal(
      (await from('203.0.113.7', 'http://www.example.com/y?z')).headers.location,
      'https://example.com/y?z',
    );
  });

  test('one client’s limit is not another’s', async () => {
    let status = 200;
    let admitted = 0;
    while (status === 200 && admitted <= 700) {
      status = (await from('203.0.113.8', 'http://example.com/')).status;
      if (status === 200) admitted++;
    }
    assert.deepEqual([status, admitted], [429, 600]);
    assert.equal((await from('203.0.113.9', 'http://example.com/')).status, 200);
    await until(() => edge.stderr().includes('"status":429'), PATIENCE_MS, 'the refusal in the log');
  });
});
