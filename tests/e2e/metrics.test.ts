/**
 * What the metrics page tells, held against what clients saw: some 200 requests of every kind, one after another and
 * side by side, to the request.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { assertPromtoolAccepts, MetricsPage } from '../fixtures/metrics.ts';
import { type Origin, type OriginConnection, responseText, startOrigin } from '../fixtures/origin.ts';
import { until, within } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { exchangeOnce, RawClient } from '../fixtures/raw-client.ts';

const REQUESTS = 'zerocopy_proxy_http_requests_total';
const DURATION = 'zerocopy_proxy_http_request_duration_seconds';
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = createHash('sha1').update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
const FILE = 'x'.repeat(5000);

/** What clients sent and saw, in the words of the page. */
class Tally {
  readonly requests = new Map<string, number>();
  requestBytes = 0;
  responseBytes = 0;

  add(method: string, status: string, host: string, requestBytes: number, responseBytes: number): void {
    const key = `method="${method}",status="${status}",host="${host}"`;
    this.requests.set(key, (this.requests.get(key) ?? 0) + 1);
    this.requestBytes += requestBytes;
    this.responseBytes += responseBytes;
  }

  get count(): number {
    return [...this.requests.values()].reduce((sum, count) => sum + count, 0);
  }
}

/** Answers by path: a status, badly, or not at all. */
async function answer(connection: OriginConnection): Promise<void> {
  for (;;) {
    const request = await connection.readRequest();
    if (request === null) break;
    const path = request.target;
    if (path.startsWith('/status/')) {
      const status = Number(path.slice(8));
      const bare = status === 204 || status === 304 || request.method === 'HEAD';
      await connection.write(
        bare ? `HTTP/1.1 ${status} Any\r\n\r\n` : responseText(`${status} Any`, 'answer'),
      );
    } else if (path === '/echo') {
      await connection.write(responseText('200 OK', `${request.body.length}`));
    } else if (path === '/close') {
      connection.end();
      return;
    } else if (path === '/garbage') {
      await connection.write('this is no HTTP\r\n\r\n');
      return;
    } else if (path === '/cut') {
      await connection.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf');
      connection.end();
      return;
    } else if (path === '/chat') {
      await connection.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`,
      );
      return;
    } else if (path !== '/silent') {
      await connection.write(responseText('200 OK', 'answer'));
    }
  }
  connection.end();
}

function suite(io: IoBackend): void {
  describe(`metrics (${io})`, () => {
    let folder: string;
    let origin: Origin;
    let deadPort: number;
    let edge: Edge;
    const tally = new Tally();

    before(async () => {
      folder = openFolder('metrics');
      writeFileSync(join(folder, 'file.txt'), FILE);
      origin = await startOrigin(answer);
      deadPort = await freePort();
      const proxy = (path: string, url: string, security = ''): string =>
        `[path_routes."app.test"."${path}"]\ntype = "Proxy"\nurl = "${url}"\n[path_routes."app.test"."${path}".security]\n${security}\n`;
      edge = await startEdge(
        `[prometheus]\nenabled = true\nallowed_ips = ["127.0.0.1"]
[host_routes."files.test"]
type = "File"
path = "${folder}"
[host_routes."old.test"]
type = "Redirect"
redirect_url = "https://new.test"
redirect_status = 308
[host_routes."*.wild.test"]
type = "Redirect"
redirect_url = "https://new.test"
` +
          proxy('/', origin.url, 'backend_response_timeout_secs = 1\nmax_request_body_size = 1000') +
          proxy('/dead', `http://127.0.0.1:${deadPort}`) +
          proxy('/denied', origin.url, 'denied_ips = ["127.0.0.1"]') +
          proxy('/get', origin.url, 'allowed_methods = ["GET"]') +
          proxy('/rated', origin.url, 'rate_limit_requests_per_min = 2'),
        { io },
      );
    });

    after(async () => {
      await edge.stop();
      await origin.close();
      rmSync(folder, { recursive: true, force: true });
    });

    async function page(): Promise<MetricsPage> {
      const response = await exchangeOnce(edge.port, 'GET /__metrics HTTP/1.1\r\nHost: app.test\r\n\r\n');
      assert.equal(response.status, 200);
      return new MetricsPage(response.text());
    }

    /** The page itself, once the request that it answers is known to be counted: the next page has it. */
    async function countedPage(): Promise<MetricsPage> {
      const counted = await page();
      tally.add('GET', '200', 'app.test', 0, Buffer.byteLength(counted.text));
      return counted;
    }

    /** A request on a connection of its own, and its place in the tally. */
    async function ask(
      host: string,
      method: string,
      path: string,
      { label = host, body = '', lines = '', methodLabel = method }: AskOptions = {},
    ): Promise<number> {
      const length = body === '' ? '' : `Content-Length: ${body.length}\r\n`;
      const client = await RawClient.connect(edge.port);
      await client.send(`${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${lines}${length}\r\n${body}`);
      const { response, body: content } = await client.outcome(method).catch((error: Error) => {
        throw new Error(`${method} ${path} of ${host}: ${error.message}`);
      });
      client.destroy();
      const status = response?.status ?? 0;
      const taken = status === 413 ? 0 : body.length;
      tally.add(methodLabel, status === 0 ? 'none' : `${status}`, label, taken, content.length);
      return status;
    }

    interface AskOptions {
      readonly label?: string;
      readonly body?: string;
      readonly lines?: string;
      readonly methodLabel?: string;
    }

    /** Bytes that are no good request. */
    async function send(text: string, method: string, label = 'other'): Promise<number> {
      const response = await exchangeOnce(edge.port, text).catch((error: Error) => {
        throw new Error(`${text.slice(0, 40)}: ${error.message}`);
      });
      tally.add(method, `${response.status}`, label, 0, response.body.length);
      return response.status;
    }

    test('agrees with clients to the request, whatever became of it', async () => {
      const statuses = new Set<number>();
      const note = async (asked: Promise<number>): Promise<void> => {
        statuses.add(await asked);
      };
      const many: (() => Promise<number>)[] = [];
      for (const status of [200, 201, 204, 206, 301, 302, 304, 400, 401, 404, 410, 418, 451, 500, 503, 599])
        for (const method of ['GET', 'HEAD', 'POST', 'DELETE'])
          many.push(() => ask('app.test', method, `/status/${status}`));
      for (let round = 0; round < 8; round++) {
        many.push(() => ask('files.test', 'GET', '/file.txt'));
        many.push(() => ask('files.test', 'HEAD', '/file.txt'));
        many.push(() => ask('files.test', 'GET', '/missing'));
        many.push(() => ask('files.test', 'GET', '/file.txt', { lines: 'Range: bytes=0-9\r\n' }));
        many.push(() => ask('old.test', 'GET', '/there'));
        many.push(() => ask('any.wild.test', 'GET', '/there', { label: '*.wild.test' }));
        many.push(() => ask(`unknown${round}.test`, 'GET', '/', { label: 'other' }));
        many.push(() => ask('app.test', 'GET', '/dead'));
        many.push(() => ask('app.test', 'POST', '/echo', { body: 'b'.repeat(round * 100 + 1) }));
        many.push(() => ask('app.test', 'GET', '/denied'));
        many.push(() => ask('app.test', 'POST', '/get'));
        many.push(() => ask('app.test', 'BREW', '/status/200', { methodLabel: 'other' }));
        many.push(() => ask('app.test', 'GET', '/close'));
        many.push(() => ask('app.test', 'GET', '/garbage'));
      }
      many.push(() => ask('app.test', 'POST', '/echo', { body: 'b'.repeat(1001) }));
      many.push(() => ask('app.test', 'GET', '/silent'));
      many.push(() => ask('files.test', 'GET', '/file.txt', { lines: 'Range: bytes=9999-\r\n' }));
      many.push(() =>
        ask('app.test', 'PUT', '/echo', { lines: 'Expect: the-unexpected\r\n', label: 'other' }),
      );
      many.push(() => send('GET / HTTP/1.1\r\n\r\n', 'GET'));
      many.push(() => send('GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 'GET'));
      many.push(() => send('no request at all\r\n\r\n', 'other'));
      many.push(() => send('GET / HTTP/3.0\r\nHost: app.test\r\n\r\n', 'GET'));
      many.push(() => send(`GET /${'p'.repeat(9000)} HTTP/1.1\r\nHost: app.test\r\n\r\n`, 'GET'));
      many.push(() => send(`GET / HTTP/1.1\r\nHost: app.test\r\nX: ${'p'.repeat(9000)}\r\n\r\n`, 'GET'));
      many.push(() => send('OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n', 'OPTIONS'));
      many.push(() => send('CONNECT app.test:80 HTTP/1.1\r\nHost: app.test:80\r\n\r\n', 'CONNECT'));
      many.push(() => send('GET /__metrics?x HTTP/1.1\r\nHost: nobody.test\r\n\r\n', 'GET'));
      many.push(() => ask('app.test', 'POST', '/__metrics'));
      many.push(() => ask('app.test', 'HEAD', '/__metrics'));
      many.push(() => ask('app.test', 'GET', '/cut'));
      // Eight at a time, in an order that has nothing to do with their kinds.
      const order = many.map((each, index) => ({ each, at: (index * 7919) % many.length }));
      order.sort((a, b) => a.at - b.at);
      const queue = order.map(({ each }) => each);
      const work = async (): Promise<void> => {
        for (let next = queue.shift(); next !== undefined; next = queue.shift()) await note(next());
      };
      await Promise.all(Array.from({ length: 8 }, work));
      for (let round = 0; round < 4; round++) await note(ask('app.test', 'GET', '/rated'));
      const provoked = [400, 403, 404, 405, 413, 414, 416, 417, 421, 429, 431, 502, 504, 505];
      for (const status of provoked) assert.ok(statuses.has(status), `somebody saw ${status}`);
      assert.ok(tally.count >= 190, `${tally.count} requests`);

      const counted = await countedPage();
      const told = counted.all(REQUESTS);
      assert.deepEqual([...told].sort(), [...expectedBefore(tally, counted)].sort());
    });

    /** The tally without the page itself, which is counted when it is complete. */
    function expectedBefore(all: Tally, counted: MetricsPage): Map<string, number> {
      const expected = new Map(all.requests);
      const own = 'method="GET",status="200",host="app.test"';
      expected.set(own, (expected.get(own) ?? 0) - 1);
      assert.equal(counted.sum(REQUESTS), all.count - 1);
      return expected;
    }

    test('counts each request once in every family, and the bytes that were sent', async () => {
      const counted = await countedPage();
      const requests = counted.sum(REQUESTS);
      assert.equal(counted.sum(`${DURATION}_count`), requests);
      const own = Buffer.byteLength(counted.text);
      for (const [side, bytes] of [
        ['request', tally.requestBytes],
        ['response', tally.responseBytes - own],
      ] as const) {
        const name = `zerocopy_proxy_http_${side}_size_bytes`;
        assert.equal(counted.value(`${name}_count`), requests, side);
        assert.equal(counted.value(`${name}_sum`), bytes, side);
      }
      for (const [labels, count] of counted.all(`${DURATION}_count`)) {
        assert.equal(counted.value(`${DURATION}_bucket`, `${labels},le="+Inf"`), count);
      }
    });

    test('tells why requests failed, and what each backend had to do with it', async () => {
      const counted = await countedPage();
      const fault = (reason: string): number =>
        counted.value('sallyport_request_faults_total', `reason="${reason}"`);
      assert.equal(fault('unknown-host'), 8);
      assert.equal(fault('ip-denied'), 8);
      assert.equal(fault('connect-failed'), 8);
      assert.equal(fault('rate-limited'), 2);
      assert.equal(fault('body-too-large'), 1);
      assert.equal(fault('response-timeout'), 1);
      const failures = (url: string, reason: string): number =>
        counted.value('sallyport_upstream_failures_total', `server="${url}",reason="${reason}"`);
      assert.equal(failures(`http://127.0.0.1:${deadPort}`, 'connect-failed'), 8);
      assert.equal(failures(origin.url, 'response-timeout'), 1);
      assert.equal(failures(origin.url, 'malformed-response'), 8);
      assert.equal(
        counted.value('sallyport_upstream_connects_total', `server="${origin.url}"`),
        origin.connections.length,
      );
      const answered = counted.value('sallyport_upstream_response_seconds_count', `server="${origin.url}"`);
      assert.ok(answered >= 64 + 8 + 8, `${answered} answers`);
    });

    test('counts a client that leaves before its response, and shows it until then', async () => {
      const before = await countedPage();
      const leaver = await RawClient.connect(edge.port);
      await leaver.send('GET /silent HTTP/1.1\r\nHost: app.test\r\n\r\n');
      const key = 'method="GET",status="none",host="app.test"';
      const active = 'zerocopy_proxy_http_active_connections';
      let now = before;
      const look = async (): Promise<MetricsPage> => (now = await countedPage());
      await until(
        async () => (await look()).value(active, 'host="app.test"') === 2,
        5000,
        'a request under way',
      );
      leaver.reset();
      await until(
        async () => (await look()).value(REQUESTS, key) === before.value(REQUESTS, key) + 1,
        5000,
        '"none"',
      );
      tally.add('GET', 'none', 'app.test', 0, 0);
      assert.equal(now.value(active, 'host="app.test"'), 1, 'only the page itself');
    });

    test('shows a tunnel while it is open, and counts its handshake and bytes when it has ended', async () => {
      const before = await countedPage();
      const client = await RawClient.connect(edge.port);
      const { status } = await client.request(
        `GET /chat HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
      );
      assert.equal(status, 101);
      const open = await countedPage();
      assert.equal(open.value('sallyport_tunnels_open'), 1);
      await client.send('hello');
      const backend = origin.connections.find(({ requests }) => requests.at(-1)?.target === '/chat')!;
      assert.ok(await backend.readThrough('hello'));
      await backend.write('greetings');
      await client.unreadAtLeast(9);
      client.destroy();
      let now = open;
      const ended = async (): Promise<boolean> =>
        (now = await countedPage()).value('sallyport_tunnels_open') === 0;
      await until(ended, 8000, 'the end of the tunnel');
      tally.add('GET', '101', 'app.test', 0, 0);
      assert.equal(now.value(REQUESTS, 'method="GET",status="101",host="app.test"'), 1);
      const bytes = 'sallyport_tunnel_bytes_total';
      assert.equal(now.value(bytes, 'direction="from_client"'), 5);
      assert.equal(now.value(bytes, 'direction="to_client"'), 9);
      assert.equal(now.sum(`${DURATION}_count`), now.sum(REQUESTS));
      assert.ok(now.sum(REQUESTS) > before.sum(REQUESTS));
    });

    test('is a page that promtool has nothing to say against, in both formats', async () => {
      const counted = await countedPage();
      assertPromtoolAccepts(counted.text);
      const response = await exchangeOnce(
        edge.port,
        'GET /__metrics HTTP/1.1\r\nHost: app.test\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n\r\n',
      );
      tally.add('GET', '200', 'app.test', 0, response.body.length);
      assert.equal(
        response.get('Content-Type'),
        'application/openmetrics-text; version=1.0.0; charset=utf-8',
      );
      assert.ok(response.text().endsWith('\n# EOF\n'));
      assert.ok(response.text().includes('# TYPE zerocopy_proxy_http_requests counter\n'));
      assert.ok(new MetricsPage(response.text()).sum(REQUESTS) > 190);
    });

    test('tells of the process, its limits, its build and its reloads', async () => {
      const first = await countedPage();
      for (const name of [
        'process_cpu_seconds_total',
        'process_resident_memory_bytes',
        'process_open_fds',
        'process_max_fds',
        'process_start_time_seconds',
        'sallyport_connections_accepted_total',
        'sallyport_workers',
        'sallyport_config_last_reload_success_timestamp_seconds',
      ])
        assert.ok(first.value(name) > 0, name);
      // The connection that asked before may be on its way out still.
      const open = first.value('sallyport_connections_open');
      assert.ok(open === 1 || open === 2, `${open} open connections`);
      assert.equal(first.sum('sallyport_build_info'), 1);
      for (const room of ['master', 'journal', 'edge 1']) {
        assert.equal(first.value('sallyport_room_state', `room="${room}",state="ready"`), 1, room);
        assert.equal(first.value('sallyport_room_restarts_total', `room="${room}"`), 0, room);
      }
      assert.equal(first.sum('sallyport_config_reloads_total'), 0);
      const from = edge.stderr().length;
      edge.rewrite('[host_routes.broken]\n');
      edge.signal('SIGHUP');
      await edge.logged('the old configuration stays in force', from);
      const second = await countedPage();
      assert.equal(second.value('sallyport_config_reloads_total', 'result="failed"'), 1);
      assert.equal(second.value('sallyport_config_last_reload_successful'), 0);
      edge.rewrite(
        '[prometheus]\nenabled = true\n[host_routes."app.test"]\ntype = "Redirect"\nredirect_url = "https://new.test"',
      );
      edge.signal('SIGHUP');
      await edge.logged('the new configuration is in force', from);
      const third = await countedPage();
      assert.equal(third.value('sallyport_config_reloads_total', 'result="ok"'), 1);
      assert.equal(third.value('sallyport_config_last_reload_successful'), 1);
      assert.equal(third.sum(REQUESTS), tally.count - 1, 'counters go on over a reload');
    });
  });
}

describe('the metrics page', { concurrency: true }, () => {
  test('is not there unless it is asked for, and is for its addresses alone', async () => {
    const route = '[host_routes."a.test"]\ntype = "Redirect"\nredirect_url = "https://new.test"\n';
    const get = 'GET /__metrics HTTP/1.1\r\nHost: a.test\r\n\r\n';
    const off = await startEdge(route, { io: 'epoll' });
    assert.equal((await exchangeOnce(off.port, get)).status, 301);
    await off.stop();
    const closed = await startEdge(
      `${route}[prometheus]\nenabled = true\npath = "/numbers"\nallowed_ips = ["10.0.0.0/8"]`,
      { io: 'epoll' },
    );
    assert.equal((await exchangeOnce(closed.port, get)).status, 301);
    assert.equal((await exchangeOnce(closed.port, get.replace('__metrics', 'numbers'))).status, 403);
    await closed.stop();
  });

  test('counts redirects to HTTPS, handshakes by their kind and failures by their class, and tells when a certificate ends', async () => {
    const authority = testAuthority();
    const certificate = authority.server(['a.test'], { days: 30 });
    const httpPort = await freePort();
    const config = (port: number): string => `[server]
listen = "127.0.0.1:${port}"
http = "127.0.0.1:${httpPort}"
http2_enabled = false
[tls]
cert_path = "${certificate.certPath}"
key_path = "${certificate.keyPath}"
[prometheus]
enabled = true
[host_routes."a.test"]
type = "Redirect"
redirect_url = "https://new.test"
`;
    const edge = await startEdge('', { io: 'epoll', config });
    for (const host of ['a.test', 'b.test'])
      assert.equal(
        (await exchangeOnce(httpPort, `GET /__metrics HTTP/1.1\r\nHost: ${host}\r\n\r\n`)).status,
        301,
      );
    const ca = authority.cert;
    let session: Buffer | undefined;
    const get = (): Promise<MetricsPage> => {
      const asked = new Promise<MetricsPage>((resolve, reject) => {
        const socket = connectTls({ port: edge.port, host: '127.0.0.1', servername: 'a.test', ca, session });
        let text = '';
        socket.on('session', (each) => (session ??= each));
        socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
        socket.on('error', reject);
        socket.on('end', () => resolve(new MetricsPage(text.slice(text.indexOf('# HELP')))));
        socket.write('GET /__metrics HTTP/1.0\r\nHost: a.test\r\n\r\n');
      });
      return within(asked, 10_000, 'the page');
    };
    await get();
    assert.equal((await exchangeOnce(edge.port, 'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n')).status, 400);
    const page = await get();
    assert.equal(page.value(REQUESTS, 'method="GET",status="301",host="a.test"'), 1);
    assert.equal(page.value(REQUESTS, 'method="GET",status="301",host="other"'), 1);
    const handshakes = 'sallyport_tls_handshakes_total';
    assert.equal(page.value(handshakes, 'kind="full"'), 1);
    assert.equal(page.value(handshakes, 'kind="resumed"'), 1);
    // Whoever waited for the port to open left without a word.
    const failures = page.all('sallyport_tls_handshake_failures_total');
    assert.equal(failures.get('reason="plain-http"'), 1);
    const expiry = page.value(
      'sallyport_tls_certificate_expiry_timestamp_seconds',
      `certificate="${certificate.certPath}"`,
    );
    const days = (expiry - Date.now() / 1000) / 86_400;
    assert.ok(days > 29 && days < 31, `${days} days`);
    await edge.stop();
  });
});

for (const io of IO_BACKENDS) suite(io);
