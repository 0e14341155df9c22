/** The metrics page in a simulated world: what is counted when nothing goes well, and who may read how much of it. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { AREA_BYTES } from '../../src/metrics/layout.ts';
import { MetricsPage } from '../fixtures/metrics.ts';
import {
  bodyOf,
  dechunked,
  EdgeWorld,
  fieldsOf,
  get,
  ORIGIN,
  ok,
  type Peer,
  statuses,
  withBody,
} from './edge-world.ts';

const REQUESTS = 'zerocopy_proxy_http_requests_total';
const ACTIVE = 'zerocopy_proxy_http_active_connections';
const HEALTH = 'zerocopy_proxy_http_upstream_health';
const PAGE = get('/__metrics');
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = createHash('sha1').update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
const SWITCHING = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`;

function proxying(lines = '', servers = `"http://${ORIGIN}:8080"`): string {
  return `[prometheus]
enabled = true
${lines}
[upstreams.pool]
servers = [${servers}]
[host_routes."example.com"]
type = "Proxy"
upstream = "pool"
[host_routes."example.com".security]
backend_response_timeout_secs = 5
`;
}

function pageFrom(client: Peer): MetricsPage {
  return new MetricsPage(dechunked(bodyOf(client.take())));
}

/** The page, by a client of its own that goes again. */
function read(world: EdgeWorld): MetricsPage {
  const client = world.client(PAGE);
  const page = pageFrom(client);
  client.close();
  world.settle();
  return page;
}

describe('metrics', () => {
  it('count a head that never comes, content that is too slow, and a backend that is silent', () => {
    const world = new EdgeWorld({ config: proxying() });
    world.origin();
    world.client('GET /half HTTP/1.1\r\nHost: exam');
    world.client(withBody('POST', '/', 'b').replace('Content-Length: 1', 'Content-Length: 5'));
    world.client(get('/silent'));
    assert.equal(read(world).value(ACTIVE, 'host="example.com"'), 3, 'two that wait, and the page');
    world.pass(60_000);
    const page = read(world);
    const key = (method: string, status: number, host: string): string =>
      `method="${method}",status="${status}",host="${host}"`;
    assert.equal(page.value(REQUESTS, key('GET', 408, 'other')), 1);
    assert.equal(page.value(REQUESTS, key('POST', 408, 'example.com')), 1);
    assert.equal(page.value(REQUESTS, key('GET', 504, 'example.com')), 1);
    assert.equal(page.value(ACTIVE, 'host="example.com"'), 1, 'the page alone');
    const seconds = page.value(
      'zerocopy_proxy_http_request_duration_seconds_sum',
      'method="GET",host="example.com"',
    );
    assert.ok(seconds >= 5 && seconds < 7, `${seconds} s`);
    world.end();
  });

  it('count nothing for a client that says nothing, or leaves within its head', () => {
    const world = new EdgeWorld({ config: proxying() });
    world.client().close();
    world.client('GET / HT').close();
    world.settle();
    const page = read(world);
    assert.equal(page.sum(REQUESTS), 0);
    assert.equal(page.value('sallyport_connections_accepted_total'), 3);
    world.end();
  });

  it('count a retry and the failure before it, and the request once', () => {
    const world = new EdgeWorld({ config: proxying() });
    const origin = world.origin();
    origin.answers(ok('first'));
    const client = world.client(get('/'));
    origin.onText = (peer) => peer.reset();
    const before = origin.peers.length;
    client.take();
    client.send(get('/again'));
    world.until(() => origin.peers.length > before, 1000);
    origin.last.onText = null;
    world.settle();
    origin.last.send(ok('second'));
    world.settle();
    assert.deepEqual(statuses(client.take()), [200]);
    const page = read(world);
    const server = `server="http://${ORIGIN}:8080"`;
    assert.equal(page.value('sallyport_upstream_retries_total', server), 1);
    assert.equal(
      page.value('sallyport_upstream_failures_total', `${server},reason="reset-before-response"`),
      1,
    );
    assert.equal(page.value('sallyport_upstream_connects_total', server), 2);
    assert.equal(page.value('sallyport_upstream_response_seconds_count', server), 2);
    assert.equal(page.value('sallyport_upstream_connections', `${server},state="idle"`), 1);
    assert.equal(page.value(REQUESTS, 'method="GET",status="200",host="example.com"'), 2);
    world.end();
  });

  it('say that a server is out, and that it is in again', () => {
    const servers = `"http://${ORIGIN}:8080", "http://${ORIGIN}:8081"`;
    const world = new EdgeWorld({ config: proxying('', servers) });
    world.origin(8080).answers(ok('here'));
    const value = (page: MetricsPage): number =>
      page.value(HEALTH, `upstream="pool",server="http://${ORIGIN}:8081"`);
    assert.equal(value(read(world)), 1);
    for (let round = 0; round < 12; round++) world.client(get('/')).close();
    world.settle();
    const page = read(world);
    assert.equal(value(page), 0);
    assert.equal(page.value(HEALTH, `upstream="pool",server="http://${ORIGIN}:8080"`), 1);
    world.origin(8081).answers(ok('there'));
    world.pass(2000);
    for (let round = 0; round < 12; round++) world.client(get('/')).close();
    world.settle();
    assert.equal(value(read(world)), 1);
    world.end();
  });

  it('are right about a tunnel that was open before anybody asked for them', () => {
    const config = proxying();
    const world = new EdgeWorld({ config: config.replace('enabled = true', 'enabled = false') });
    const origin = world.origin();
    const handshake = get(
      '/',
      'Connection: Upgrade',
      'Upgrade: websocket',
      `Sec-WebSocket-Key: ${KEY}`,
      'Sec-WebSocket-Version: 13',
    );
    const early = world.client(handshake);
    const late = world.client(handshake);
    const [first, second] = origin.peers;
    first.send(SWITCHING);
    world.settle();
    world.reload({ config });
    second.send(SWITCHING);
    world.settle();
    assert.deepEqual(statuses(early.take() + late.take()), [101, 101]);
    const third = world.client(handshake);
    origin.last.send(SWITCHING);
    world.settle();
    assert.equal(read(world).value('sallyport_tunnels_open'), 1);
    for (const client of [early, late, third]) client.close();
    world.pass(5000);
    const page = read(world);
    assert.equal(page.value('sallyport_tunnels_open'), 0);
    assert.equal(page.value(ACTIVE, 'host="example.com"'), 1, 'the page alone');
    assert.equal(page.value(REQUESTS, 'method="GET",status="101",host="other"'), 2);
    assert.equal(page.value(REQUESTS, 'method="GET",status="101",host="example.com"'), 1);
    world.end();
  });

  it('keep their numbers over reloads that turn the page off and on', () => {
    const config = proxying();
    const world = new EdgeWorld({ config });
    world.origin().answers(ok('here'));
    world.client(get('/')).close();
    world.reload({ config: config.replace('enabled = true', 'enabled = false') });
    const client = world.client(PAGE);
    assert.equal(bodyOf(client.take()), 'here', 'the page is a path like any other');
    world.reload({ config });
    assert.equal(read(world).value(REQUESTS, 'method="GET",status="200",host="example.com"'), 2);
    world.end();
  });
});

describe('metrics of several workers', () => {
  it('are the same page, whoever is asked for it, and go on when one of them is replaced', () => {
    const workers = 2;
    const memory = new SharedArrayBuffer(workers * AREA_BYTES);
    const [one, two] = [0, 1].map(
      (own) => new EdgeWorld({ config: proxying(), metrics: { memory, offset: 0, workers, own } }),
    );
    for (const world of [one, two]) {
      world.origin().answers(ok('here'));
      world.client(get('/'));
      world.pass(1500);
    }
    const key = 'method="GET",status="200",host="example.com"';
    for (const [asked, others] of [
      [one, 0],
      [two, 1],
    ] as const) {
      const page = read(asked);
      assert.equal(page.value(REQUESTS, key), 2 + others, 'both, and the page before');
      // What one shows of itself the other sees a second later.
      asked.pass(1500);
      assert.equal(page.value('sallyport_workers'), 2);
      assert.equal(page.value('sallyport_connections_open'), 3, 'two that idle, and the one that asks');
      assert.equal(page.value('sallyport_upstream_connects_total', `server="http://${ORIGIN}:8080"`), 2);
    }
    two.end();
    assert.equal(read(one).value('sallyport_workers'), 1);
    one.pass(1500);
    const three = new EdgeWorld({ config: proxying(), metrics: { memory, offset: 0, workers, own: 1 } });
    const page = read(three);
    assert.equal(page.value(REQUESTS, key), 5);
    assert.equal(page.value('sallyport_connections_accepted_total'), 6);
    assert.equal(page.value('sallyport_connections_open'), 2);
    one.end();
    three.end();
  });
});

describe('the metrics page', () => {
  it('is on every host, in every spelling of its path, and nowhere beneath it', () => {
    const world = new EdgeWorld({ config: proxying('path = "/numbers"') });
    world.origin().answers('HTTP/1.1 299 Backend\r\nContent-Length: 0\r\n\r\n');
    const ask = (request: string): number[] => statuses(world.client(request).take());
    assert.deepEqual(ask(get('/numbers')), [200]);
    assert.deepEqual(ask(get('/numbers').replace('example.com', 'nobody.test')), [200]);
    assert.deepEqual(ask(get('/a/../%6eumbers?query')), [200]);
    assert.deepEqual(ask(get('/numbers/more')), [299]);
    assert.deepEqual(ask(get('/__metrics')), [299]);
    assert.deepEqual(ask(get('/other').replace('example.com', 'nobody.test')), [421]);
    world.end();
  });

  it('answers GET and HEAD, and neither takes content nor other methods', () => {
    const world = new EdgeWorld({ config: proxying() });
    const head = world.client(PAGE.replace('GET', 'HEAD')).take();
    assert.deepEqual(statuses(head), [200]);
    assert.equal(bodyOf(head), '');
    assert.deepEqual(fieldsOf(head, 'Content-Type'), ['text/plain; version=0.0.4; charset=utf-8']);
    const refused = world.client(PAGE.replace('GET', 'DELETE')).take();
    assert.deepEqual(statuses(refused), [405]);
    assert.deepEqual(fieldsOf(refused, 'Allow'), ['GET, HEAD']);
    assert.deepEqual(statuses(world.client(withBody('GET', '/__metrics', 'content')).take()), [413]);
    world.end();
  });

  it('is refused to addresses that are not allowed to read it, behind trusted proxies too', () => {
    const world = new EdgeWorld({
      config: proxying('allowed_ips = ["192.0.2.0/24"]'),
      server: 'trusted_proxies = ["10.0.0.3"]',
    });
    assert.deepEqual(statuses(world.client(PAGE).take()), [403]);
    const forwarded = (address: string): string => get('/__metrics', `X-Forwarded-For: ${address}`);
    assert.deepEqual(statuses(world.client(forwarded('192.0.2.7')).take()), [200]);
    assert.deepEqual(statuses(world.client(forwarded('198.51.100.7')).take()), [403]);
    world.end();
  });

  it('is written as its readers take it, to a few of them at once', () => {
    const hosts = Array.from({ length: 300 }, (_, index) => `host-${index}.test`);
    const routes = hosts.map(
      (host) => `[host_routes."${host}"]\ntype = "Redirect"\nredirect_url = "https://new.test"`,
    );
    const world = new EdgeWorld({ config: `[prometheus]\nenabled = true\n${routes.join('\n')}\n` });
    const busy = world.client();
    for (const host of hosts) busy.send(get('/').replace('example.com', host));
    world.pass(1000);
    assert.equal(statuses(busy.take()).length, hosts.length);
    const small = world.edge.pool.heldCount();
    const readers = Array.from({ length: 8 }, () => {
      const reader = world.client();
      reader.stopReading();
      reader.send(PAGE);
      return reader;
    });
    world.pass(500);
    const held = world.edge.pool.heldCount() - small;
    assert.ok(held > 8 && held < 8 * 48, `${held} buffers are held for eight readers`);
    const ninth = world.client(PAGE);
    assert.deepEqual(statuses(ninth.take()), [503], 'a ninth has to wait');
    assert.deepEqual(statuses(world.client(get('/').replace('example.com', hosts[0])).take()), [301]);
    for (const reader of readers.slice(0, 4)) reader.close();
    for (const reader of readers.slice(4)) reader.read();
    world.pass(2000);
    for (const reader of readers.slice(4)) {
      const page = pageFrom(reader);
      for (const host of hosts)
        assert.equal(page.value(REQUESTS, `method="GET",status="301",host="${host}"`), 1);
    }
    assert.equal(read(world).sum(REQUESTS), hosts.length + 8 + 2);
    world.end();
  });
});
