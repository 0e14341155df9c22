/** The status page's listener on a simulated network: who may read it, and what it tells. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StatusDocument } from '../../src/edge/status-data.ts';
import { STATUS_PAGE } from '../../src/edge/status-page.ts';
import { StatusRoute } from '../../src/edge/status-route.ts';
import { SharedState } from '../../src/shared/state.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { houseOf } from '../shared/hammer-words.ts';
import { EdgeWorld, type EdgeWorldOptions, fieldsOf, get, ORIGIN, ok, statuses } from './edge-world.ts';

const AT: SocketAddress = { family: 'ipv4', address: '10.0.0.1', port: 9090 };
const UNIX: SocketAddress = { family: 'unix', path: '/run/status.sock' };

const POOL = `
[path_routes."example.com"."/"]
type = "Proxy"
upstream = "pool"
[upstreams.pool]
servers = [{ url = "http://${ORIGIN}:8080", weight = 3 }, "http://${ORIGIN}:8081"]
[status]
listen = "127.0.0.1:9090"
`;

function worldOf(options: EdgeWorldOptions = {}, addresses: readonly SocketAddress[] = [AT]): EdgeWorld {
  const world = new EdgeWorld({ config: POOL, ...options });
  const { worker } = world;
  const route = new StatusRoute(() => worker.status());
  for (const address of addresses)
    assert.ok(typeof worker.listen(address, route) !== 'number', 'the edge listens');
  return world;
}

const request = (target: string, host = 'localhost:9090', method = 'GET'): string =>
  `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

function ask(world: EdgeWorld, text = request('/status.json'), at = AT): string {
  const client = world.client(text, at);
  const answer = client.text;
  client.close();
  world.settle();
  return answer;
}

function read(world: EdgeWorld): StatusDocument {
  const answer = ask(world);
  return JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)) as StatusDocument;
}

describe('the status page', () => {
  it('is one small document that asks for nothing else, under a policy that allows nothing else', () => {
    const world = worldOf();
    const answer = ask(world, request('/'));
    const [head] = answer.split('\r\n\r\n', 1);
    assert.deepEqual(statuses(head), [200]);
    assert.equal(answer.slice(head.length + 4), Buffer.from(STATUS_PAGE).toString('latin1'));
    assert.ok(STATUS_PAGE.length < 30_000, `${STATUS_PAGE.length} characters`);
    assert.doesNotMatch(STATUS_PAGE, /https?:|innerHTML|\bsrc=|eval\(/);
    const [policy] = fieldsOf(answer, 'content-security-policy');
    assert.match(
      policy,
      /^default-src 'none'; style-src 'sha256-\S+'; script-src 'sha256-\S+'; connect-src 'self';/,
    );
    assert.doesNotMatch(policy, /unsafe/);
    assert.deepEqual(fieldsOf(answer, 'x-content-type-options'), ['nosniff']);
    assert.deepEqual(fieldsOf(answer, 'cache-control'), ['no-store']);
    assert.deepEqual(fieldsOf(answer, 'access-control-allow-origin'), []);
    world.end();
  });

  const hosts: readonly { readonly host: string; readonly status: number }[] = [
    { host: 'localhost', status: 200 },
    { host: 'LOCALHOST:9090', status: 200 },
    { host: 'edge.localhost:9090', status: 200 },
    { host: '127.0.0.1:9090', status: 200 },
    { host: '127.1.2.3', status: 200 },
    { host: '[::1]:9090', status: 200 },
    { host: 'evil.example', status: 421 },
    { host: 'evil.example:9090', status: 421 },
    { host: '127.0.0.1.evil.example', status: 421 },
    { host: 'localhost.evil.example', status: 421 },
    { host: 'notlocalhost', status: 421 },
    { host: '10.0.0.1:9090', status: 421 },
    { host: '[::2]', status: 421 },
    { host: '', status: 421 },
  ];
  for (const { host, status } of hosts) {
    it(`answers ${status} where the request’s host is '${host}', so that no other site’s name leads to it`, () => {
      const world = worldOf();
      for (const target of ['/', '/status.json'])
        assert.deepEqual(statuses(ask(world, request(target, host))), [status]);
      world.end();
    });
  }

  it('believes the host of an absolute target, not the Host field beside it', () => {
    const world = worldOf();
    assert.deepEqual(statuses(ask(world, request('http://evil.example/status.json'))), [421]);
    assert.deepEqual(
      statuses(ask(world, request('http://localhost:9090/status.json', 'evil.example'))),
      [200],
    );
    world.end();
  });

  it('answers whatever host is named on a Unix socket, which no browser reaches', () => {
    const world = worldOf({}, [UNIX]);
    assert.deepEqual(statuses(ask(world, request('/', 'whatever'), UNIX)), [200]);
    world.end();
  });

  it('is read with GET and HEAD alone, at two paths', () => {
    const world = worldOf();
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'BREW']) {
      const answer = ask(world, request('/status.json', 'localhost', method));
      assert.deepEqual(statuses(answer), [405], method);
      assert.deepEqual(fieldsOf(answer, 'allow'), ['GET, HEAD']);
    }
    const head = ask(world, request('/', 'localhost', 'HEAD'));
    assert.deepEqual(statuses(head), [200]);
    assert.ok(head.endsWith('\r\n\r\n'));
    for (const path of ['/x', '/status', '/status.json/', '//', '/index.html'])
      assert.deepEqual(statuses(ask(world, request(path))), [404], path);
    assert.deepEqual(statuses(ask(world, request('/?a=b'))), [200]);
    world.end();
  });

  it('tells of requests, servers and connections what clients saw', () => {
    const world = worldOf();
    world.origin(8080).answers(ok('x'));
    world.origin(8081).answers('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
    for (let count = 0; count < 8; count++) world.client(get());
    world.client('GET / HTTP/1.1\r\nHost: other.net\r\n\r\n');
    const told = read(world);
    assert.equal(told.requests.total, 9);
    assert.deepEqual(told.requests.classes, { '2xx': 6, '4xx': 1, '5xx': 2 });
    assert.equal(
      told.requests.durations.reduce((sum, count) => sum + count, 0),
      9,
    );
    assert.equal(told.connections.open, 9, 'without the reader’s');
    assert.equal(told.connections.accepted, 9);
    assert.deepEqual(told.upstreams, [
      {
        name: 'pool',
        servers: [
          { url: `http://${ORIGIN}:8080`, weight: 3, trouble: '' },
          { url: `http://${ORIGIN}:8081`, weight: 1, trouble: '' },
        ],
      },
    ]);
    assert.deepEqual(
      told.servers.map(({ url, inFlight, latency }) => [
        url,
        inFlight,
        latency.reduce((sum, each) => sum + each, 0),
      ]),
      [
        [`http://${ORIGIN}:8080`, 0, 6],
        [`http://${ORIGIN}:8081`, 0, 2],
      ],
    );
    assert.deepEqual(told.rooms, []);
    world.end();
  });

  it('tells why a server gets no requests', () => {
    const world = worldOf();
    world.origin(8080).answers(ok('x'));
    for (let count = 0; count < 30; count++) world.client(get());
    const [{ servers }] = read(world).upstreams;
    assert.deepEqual(
      servers.map(({ trouble }) => trouble),
      ['', 'requests fail'],
    );
    world.end();
  });

  it('tells of rooms, restarts and the configuration what the master does', () => {
    const shared = SharedState.alone();
    const world = worldOf({ shared });
    shared.house.write({
      ...houseOf(3),
      lastReload: { atSeconds: 5, succeeded: false, reason: 'server.listen: <b>wrong</b>' },
    });
    const told = read(world);
    assert.deepEqual(told.rooms, houseOf(3).rooms);
    assert.equal(told.configuration.generation, 3);
    assert.equal(told.configuration.refused, 'server.listen: <b>wrong</b>');
    assert.equal(told.log.dropped, 3);
    world.end();
  });

  it('is neither logged nor counted, and takes no place of a client', () => {
    const world = worldOf({ config: `${POOL}[security]\nmax_concurrent_connections = 1\n` });
    world.origin(8080).answers(ok('x'));
    const reader = world.client(request('/status.json'), AT);
    assert.deepEqual(statuses(reader.text), [200]);
    world.client(get());
    world.client(get());
    // All places are taken now, and the page can still be read.
    assert.equal(read(world).connections.open, 1);
    assert.equal(read(world).requests.total, 1);
    assert.equal(world.worker.counters.exchanges, 1);
    assert.equal(world.worker.counters.connections, 1);
    world.end();
  });

  it('has thirty-two readers at once, and closes one more', () => {
    const world = worldOf();
    const readers = Array.from({ length: 32 }, () => world.client(request('/status.json'), AT));
    assert.ok(readers.every((reader) => statuses(reader.text)[0] === 200));
    const more = world.client(request('/status.json'), AT);
    assert.equal(more.text, '');
    readers[0].close();
    world.settle();
    assert.deepEqual(statuses(ask(world)), [200]);
    world.end();
  });
});
