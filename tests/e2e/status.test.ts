/**
 * The status page in a browser: Chromium, on a desk and on a phone, by day and by night. SALLYPORT_SCREENSHOTS names a
 * folder for what it looked like.
 */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import { StatusRoute } from '../../src/edge/status-route.ts';
import { EdgeWorker } from '../../src/edge/worker.ts';
import { type RunningReactor, runReactor } from '../../src/io/loop.ts';
import { openReactor } from '../../src/io/open.ts';
import type { Reactor } from '../../src/io/reactor.ts';
import { Log } from '../../src/log/log.ts';
import type { House, HouseRoom } from '../../src/shared/house-board.ts';
import { SharedState } from '../../src/shared/state.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { Chromium } from '../fixtures/chromium.ts';
import { FileSink } from '../fixtures/log-sink.ts';
import { until } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

const DAY_SECONDS = 86_400;
const HOSTILE = '<img src=x onerror="document.title=`owned`">';
const MEASURES = [
  'a user of its own, without capabilities',
  'seccomp: 48 system calls, all others end the process',
  'Landlock: reads what the configuration names, writes nothing',
  'no new privileges; not dumpable',
  'namespaces of its own: mount, pid, ipc, uts',
];

function room(name: string, change: Partial<HouseRoom>): HouseRoom {
  return {
    name,
    role: name.split(' ')[0],
    state: 'ready',
    pid: 4200 + name.length,
    restarts: 0,
    residentBytes: 60 * 2 ** 20,
    startedSeconds: Math.round(Date.now() / 1000) - 93_784,
    measures: MEASURES,
    ...change,
  };
}

const HOUSE: House = {
  version: '1.0.0',
  startedSeconds: Math.round(Date.now() / 1000) - 3 * DAY_SECONDS,
  generation: 7,
  configuredSeconds: Math.round(Date.now() / 1000) - 7000,
  lastReload: { atSeconds: 1, succeeded: false, reason: `server.listen: ${HOSTILE}` },
  reloads: { succeeded: 6, failed: 1 },
  logDropped: 0,
  rooms: [
    room('master', { measures: ['capabilities: those that it needs'] }),
    room('journal', { residentBytes: 41 * 2 ** 20 }),
    room('keys', { residentBytes: 44 * 2 ** 20 }),
    room('outbound', { state: 'starting', pid: 0, startedSeconds: 0, residentBytes: 0 }),
    room('edge 1', { restarts: 2, residentBytes: 131 * 2 ** 20 }),
    room('edge 2', { state: 'draining', residentBytes: 128 * 2 ** 20 }),
    room(HOSTILE, { measures: [HOSTILE] }),
  ],
};

describe('the status page in Chromium', () => {
  let origin: NodeServer;
  let reactor: Reactor;
  let worker: EdgeWorker;
  let running: RunningReactor;
  let browser: Chromium;
  let port: number;
  let statusPort: number;
  let deadPort: number;

  before(async () => {
    origin = await startNodeServer((incoming, response) => {
      const path = incoming.url ?? '';
      setTimeout(
        () => {
          response.statusCode = path === '/missing' ? 404 : path === '/moved' ? 302 : 200;
          response.end('x'.repeat(2000));
        },
        path === '/slow' ? 80 : 3,
      );
    });
    [port, statusPort, deadPort] = [await freePort(), await freePort(), await freePort()];
    const toml = `
[server]
listen = "127.0.0.1:${port}"
[status]
listen = "127.0.0.1:${statusPort}"
[logging]
level = "off"
[security]
max_concurrent_connections = 1000
[path_routes."*"."/"]
type = "Proxy"
upstream = "pool"
[path_routes."*"."/api"]
type = "Proxy"
url = "${origin.url}/"
[upstreams.pool]
servers = [{ url = "${origin.url}", weight = 3 }, "http://127.0.0.1:${deadPort}"]
`;
    const { config, problems } = loadConfig(toml, '/etc/sallyport/config.toml', {
      files: { kindOf: () => 'directory', isReachable: () => true },
    });
    assert.deepEqual(problems, []);
    assert.ok(config !== null);
    reactor = openReactor({ backend: 'epoll' }).reactor;
    const shared = SharedState.alone();
    shared.house.write(HOUSE);
    worker = new EdgeWorker(reactor, new Log(config.logging, new FileSink(null)), shared);
    const addressOf = (url: string): readonly SocketAddress[] => [
      { family: 'ipv4', address: '127.0.0.1', port: Number(new URL(url).port) },
    ];
    const servers = config.upstreams.flatMap((upstream) => upstream.servers);
    worker.configure(config, new Map(servers.map(({ url }) => [url, addressOf(url)])));
    worker.metrics?.followCertificates([
      { name: '/etc/sallyport/example.com.pem', expirySeconds: Date.now() / 1000 + 61.5 * DAY_SECONDS },
      { name: '/etc/sallyport/shop.example.com.pem', expirySeconds: Date.now() / 1000 + 5.5 * DAY_SECONDS },
    ]);
    const listens = (address: SocketAddress, route: StatusRoute | null): void =>
      assert.ok(typeof worker.listen(address, route) !== 'number', 'the edge listens');
    listens({ family: 'ipv4', address: '127.0.0.1', port }, null);
    listens(
      { family: 'ipv4', address: '127.0.0.1', port: statusPort },
      new StatusRoute(() => worker.status()),
    );
    running = runReactor(reactor);
    browser = await Chromium.start('MAP evil.example 127.0.0.1');
    for (const domain of ['Network', 'Page', 'Log', 'Runtime']) await browser.call(`${domain}.enable`);
  });

  after(async () => {
    await browser?.stop();
    running?.stop();
    reactor?.destroy();
    await origin?.close();
  });

  async function ask(path: string): Promise<void> {
    await fetch(`http://127.0.0.1:${port}${path}`, { redirect: 'manual' })
      .then((response) => response.arrayBuffer())
      .catch(() => {});
  }

  /** Requests of several kinds until something holds in the page. */
  async function trafficUntil(expression: string, what: string): Promise<void> {
    await until(
      async () => {
        const paths = ['/', '/a', '/slow', '/api/b', '/missing', '/moved'];
        await Promise.all([...paths, ...paths].map(ask));
        return (await browser.evaluate(expression)) === true;
      },
      20_000,
      what,
    );
  }

  async function view(
    name: string,
    width: number,
    height: number,
    isPhone: boolean,
    scheme: string,
  ): Promise<void> {
    await browser.call('Emulation.setDeviceMetricsOverride', {
      width,
      height,
      deviceScaleFactor: isPhone ? 2 : 1,
      mobile: isPhone,
    });
    const features = [{ name: 'prefers-color-scheme', value: scheme }];
    await browser.call('Emulation.setEmulatedMedia', { features });
    const widest = await browser.evaluate('document.documentElement.scrollWidth');
    assert.ok(Number(widest) <= width, `${widest} pixels wide where there are ${width}`);
    const { data } = await browser.call('Page.captureScreenshot', { captureBeyondViewport: true });
    const picture = Buffer.from(data, 'base64');
    assert.ok(picture.length > 10_000, 'the picture shows something');
    const folder = process.env['SALLYPORT_SCREENSHOTS'];
    if (folder !== undefined) writeFileSync(join(folder, `status-${name}.png`), picture);
  }

  test('shows traffic, servers, rooms and certificates as they are, and goes on doing so', async () => {
    await browser.call('Page.navigate', { url: `http://127.0.0.1:${statusPort}/` });
    await until(
      async () => (await browser.evaluate("document.getElementById('live-text')?.textContent")) === 'live',
      10_000,
      'the page to be live',
    );
    await trafficUntil(
      "Number.parseFloat(document.getElementById('rate').textContent) > 5",
      'requests a second',
    );
    await trafficUntil("document.querySelectorAll('.row .dot.bad').length > 0", 'a server that is out');
    const text = String(await browser.evaluate('document.body.innerText'));
    for (const expected of [
      'configuration 7',
      '2xx',
      'route *:/api',
      `http://127.0.0.1:${deadPort} – requests fail`,
      '1 of 2 healthy',
      'outbound',
      '61 days, until',
      '/etc/sallyport/config.toml',
    ])
      assert.ok(text.includes(expected), `${expected} in ${text}`);
    assert.equal(
      await browser.evaluate("document.querySelectorAll('#rooms > .card').length"),
      HOUSE.rooms.length,
    );
    // What a reader has opened stays open while figures change.
    await browser.evaluate("document.querySelector('#rooms details').open = true");
    const total = await browser.evaluate("document.getElementById('active').textContent");
    await trafficUntil(
      `document.getElementById('active').textContent !== ${JSON.stringify(total)}`,
      'the next figures',
    );
    assert.equal(await browser.evaluate("document.querySelector('#rooms details').open"), true);
  });

  test('shows what a name holds as text, whatever it holds', async () => {
    const text = String(await browser.evaluate('document.body.textContent'));
    assert.ok(text.includes(HOSTILE));
    assert.equal(await browser.evaluate("document.querySelectorAll('img').length"), 0);
    assert.notEqual(await browser.evaluate('document.title'), 'owned');
  });

  test('fits a desk and a phone, by day and by night', async () => {
    await view('desk', 1280, 900, false, 'light');
    await view('desk-night', 1280, 900, false, 'dark');
    await view('phone', 390, 844, true, 'light');
    await view('phone-night', 390, 844, true, 'dark');
    await browser.call('Emulation.clearDeviceMetricsOverride');
  });

  test('asks for nothing but itself and its figures, and breaks no policy of its own', () => {
    const asked = browser.events
      .filter(({ method }) => method === 'Network.requestWillBeSent')
      .map(({ params }) => String(params.request.url));
    const own = [`http://127.0.0.1:${statusPort}/`, `http://127.0.0.1:${statusPort}/status.json`, 'data:,'];
    assert.deepEqual(
      asked.filter((url) => !own.includes(url)),
      [],
    );
    const complaints = browser.events.filter(
      ({ method }) => method === 'Log.entryAdded' || method === 'Runtime.exceptionThrown',
    );
    assert.deepEqual(
      complaints.map(({ params }) => params),
      [],
    );
  });

  test('can’t be read by another site, under a name of its own or across origins', async () => {
    await browser.call('Page.navigate', { url: `http://evil.example:${statusPort}/` });
    await until(
      async () => String(await browser.evaluate('document.body?.innerText ?? ""')).includes('421'),
      10_000,
      'the refusal',
    );
    // A page of another site, from where a browser could reach both.
    await browser.call('Page.navigate', { url: `http://127.0.0.1:${port}/` });
    await until(
      async () => (await browser.evaluate('location.port')) === String(port),
      10_000,
      'the page of another origin',
    );
    const read = `fetch('http://127.0.0.1:${statusPort}/status.json').then(() => 'read', () => 'refused')`;
    assert.equal(await browser.evaluate(read), 'refused');
  });

  test('says so when the server does not answer any more', async () => {
    await browser.call('Page.navigate', { url: `http://localhost:${statusPort}/` });
    const live = async (): Promise<string> =>
      String(await browser.evaluate("document.getElementById('live-text')?.textContent ?? ''"));
    await until(async () => (await live()) === 'live', 10_000, 'the page to be live');
    await new Promise<void>((resolve) => worker.shutdown(1000, false, resolve));
    await until(async () => (await live()).startsWith('no answer for'), 15_000, 'the page to notice');
    const gone = await new Promise<boolean>((resolve) => {
      const socket = connect(statusPort, '127.0.0.1');
      socket.once('error', () => resolve(true));
      socket.once('connect', () => resolve(false));
    });
    assert.ok(gone);
  });
});
