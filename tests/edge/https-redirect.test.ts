/** The listener that redirects HTTP to HTTPS, on a simulated network: what it answers, and its limits. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { HttpsRedirect, httpsPortOf } from '../../src/edge/https-redirect.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { EdgeWorld, type EdgeWorldOptions, fieldsOf, get, statuses } from './edge-world.ts';

const REDIRECTING: SocketAddress = { family: 'ipv4', address: '10.0.0.1', port: 8080 };

function worldOf(httpsPort = 443, options: EdgeWorldOptions = {}): EdgeWorld {
  const world = new EdgeWorld(options);
  const bound = world.worker.listen(REDIRECTING, new HttpsRedirect(world.edge, httpsPort));
  assert.ok(typeof bound !== 'number', 'the edge listens');
  return world;
}

/** What one request gets; the world is brought to its end after it. */
function ask(request: string, httpsPort = 443): string {
  const world = worldOf(httpsPort);
  const { text } = world.client(request, REDIRECTING);
  world.end();
  return text;
}

const request = (method: string, target: string, ...lines: string[]): string =>
  `${method} ${target} HTTP/1.1\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;

interface Row {
  readonly name: string;
  readonly target: string;
  readonly host?: string;
  readonly method?: string;
  readonly port?: number;
  readonly location: string;
}

// The document's example first.
const REDIRECTS: readonly Row[] = [
  { name: 'the document’s example', target: '/path', location: 'https://example.com/path' },
  { name: 'the root', target: '/', location: 'https://example.com/' },
  { name: 'a query', target: '/a/b?c=d&e=/f?g', location: 'https://example.com/a/b?c=d&e=/f?g' },
  { name: 'an empty query', target: '/a?', location: 'https://example.com/a?' },
  { name: 'escapes', target: '/a%20b%2Fc?%3D', location: 'https://example.com/a%20b%2Fc?%3D' },
  {
    name: 'another port',
    target: '/a?b',
    host: 'example.com',
    port: 8443,
    location: 'https://example.com:8443/a?b',
  },
  {
    name: 'the Host’s own port',
    target: '/',
    host: 'example.com:8080',
    location: 'https://example.com/',
  },
  {
    name: 'both ports',
    target: '/',
    host: 'example.com:8080',
    port: 8443,
    location: 'https://example.com:8443/',
  },
  { name: 'a host in capitals', target: '/A', host: 'EXAMPLE.com', location: 'https://example.com/A' },
  { name: 'an IPv4 address', target: '/', host: '192.0.2.1:80', location: 'https://192.0.2.1/' },
  { name: 'an IPv6 literal', target: '/', host: '[2001:db8::1]', location: 'https://[2001:db8::1]/' },
  {
    name: 'an IPv6 literal and ports',
    target: '/p?q',
    host: '[2001:DB8::1]:80',
    port: 4433,
    location: 'https://[2001:db8::1]:4433/p?q',
  },
  { name: 'a host that no route knows', target: '/', host: 'other.net', location: 'https://other.net/' },
  {
    name: 'a target with a scheme and a host of its own',
    target: 'http://absolute.net:81/a?b',
    location: 'https://absolute.net/a?b',
  },
  { name: 'a target without a path', target: 'http://absolute.net', location: 'https://absolute.net/' },
  { name: 'two slashes', target: '//evil.com/x', location: 'https://example.com/evil.com/x' },
  {
    name: 'bytes that are none of a URI',
    target: '/a[|]?b|',
    location: 'https://example.com/a%5B%7C%5D?b%7C',
  },
  { name: 'OPTIONS for the whole server', target: '*', method: 'OPTIONS', location: 'https://example.com' },
  ...['HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND'].map((method) => ({
    name: method,
    method,
    target: '/m',
    location: 'https://example.com/m',
  })),
];

describe('the listener that redirects to HTTPS', () => {
  for (const { name, target, host, method, port, location } of REDIRECTS) {
    it(`redirects ${name}: ${location}`, () => {
      const text = ask(request(method ?? 'GET', target, `Host: ${host ?? 'example.com'}`), port);
      assert.deepEqual(statuses(text), [301]);
      assert.deepEqual(fieldsOf(text, 'location'), [location]);
      assert.deepEqual(fieldsOf(text, 'content-length'), ['0']);
      assert.match(text, /\r\n\r\n$/);
    });
  }

  const refused: readonly (readonly [string, string, number])[] = [
    ['a request without Host', request('GET', '/'), 400],
    ['an HTTP/1.0 request without Host', 'GET / HTTP/1.0\r\n\r\n', 400],
    ['an empty Host', request('GET', '/', 'Host:'), 400],
    ['two Hosts', request('GET', '/', 'Host: a', 'Host: b'), 400],
    ['a Host with a path', request('GET', '/', 'Host: a/b'), 400],
    ['a Host with userinfo', request('GET', '/', 'Host: good.com@evil.com'), 400],
    ['a Host with a backslash', request('GET', '/', 'Host: evil.com\\.good.com'), 400],
    ['an IPv6 literal without brackets', request('GET', '/', 'Host: 2001:db8::1'), 400],
    ['a port above 65535', request('GET', '/', 'Host: a:65536'), 400],
    ['a control byte in the target', request('GET', '/a\x01', 'Host: a'), 400],
    ['a backslash in the target', request('GET', '/\\evil.com', 'Host: a'), 400],
    ['a byte beyond ASCII in the target', request('GET', '/\xe9', 'Host: a'), 400],
    ['CR in the target', request('GET', '/a\rb', 'Host: a'), 400],
    ['CONNECT', request('CONNECT', 'a:443', 'Host: a:443'), 405],
    ['TRACE', request('TRACE', '/', 'Host: a'), 405],
  ];
  for (const [name, text, status] of refused) {
    it(`refuses ${name} with ${status}`, () => {
      const response = ask(text);
      assert.deepEqual(statuses(response), [status]);
      assert.deepEqual(fieldsOf(response, 'location'), []);
    });
  }

  it('redirects an HTTP/1.0 request with Host, and closes after it', () => {
    const world = worldOf();
    const peer = world.client('GET /a HTTP/1.0\r\nHost: example.com\r\n\r\n', REDIRECTING);
    assert.deepEqual(fieldsOf(peer.text, 'location'), ['https://example.com/a']);
    assert.equal(peer.end, 0);
    world.end();
  });

  it('never asks a route, whatever is sent', () => {
    const world = worldOf();
    const origin = world.origin(8080);
    const peer = world.client(get('/a'), REDIRECTING);
    peer.send(`${get('/b', 'Connection: upgrade', 'Upgrade: websocket')}`);
    world.settle();
    assert.deepEqual(statuses(peer.text), [301, 301]);
    assert.equal(origin.peers.length, 0);
    world.end();
  });

  it('leaves the other listeners to the routes', () => {
    const world = worldOf();
    world.origin(8080).answers('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    assert.deepEqual(statuses(world.client(get('/')).text), [200]);
    assert.deepEqual(statuses(world.client(get('/'), REDIRECTING).text), [301]);
    world.end();
  });

  it('answers requests that are kept alive and pipelined, in their order', () => {
    const world = worldOf();
    const peer = world.client(get('/0'), REDIRECTING);
    peer.send(Array.from({ length: 300 }, (_, index) => get(`/${index + 1}`)).join(''));
    world.settle();
    const locations = [...peer.text.matchAll(/^Location: (.*)\r$/gim)].map((match) => match[1]);
    assert.deepEqual(
      locations,
      Array.from({ length: 301 }, (_, index) => `https://example.com/${index}`),
    );
    world.end();
  });

  it('answers a request that comes byte by byte', () => {
    const world = worldOf();
    const peer = world.client('', REDIRECTING);
    for (const byte of get('/a?b')) {
      peer.send(byte);
      world.settle();
    }
    assert.deepEqual(fieldsOf(peer.text, 'location'), ['https://example.com/a?b']);
    world.end();
  });

  it('answers before the content of a request, passes over a little of it, and goes on', () => {
    const world = worldOf();
    const peer = world.client('', REDIRECTING);
    const head = request('POST', '/up', 'Host: example.com', 'Content-Length: 4');
    peer.send(head);
    world.settle();
    assert.deepEqual(statuses(peer.take()), [301]);
    peer.send(
      `body${request('POST', '/c', 'Host: example.com', 'Transfer-Encoding: chunked')}4\r\nbody\r\n0\r\n\r\n`,
    );
    peer.send(get('/next'));
    world.settle();
    assert.deepEqual(statuses(peer.text), [301, 301]);
    world.end();
  });

  it('does not read content without an end', () => {
    const world = worldOf();
    const head = request('POST', '/up', 'Host: example.com', 'Transfer-Encoding: chunked');
    const peer = world.client(head, REDIRECTING);
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
    for (let count = 0; count < 200 && peer.sendErrno === 0; count++) {
      peer.send(chunk);
      world.settle();
    }
    world.pass(5000);
    assert.deepEqual(statuses(peer.text), [301]);
    assert.equal(world.worker.openConnections, 0);
    world.end();
  });

  it('keeps the limit of a head, just under and just over', () => {
    const { headBytesMax } = worldOf().worker.limits;
    const headOf = (length: number): string => {
      const bare = get('/', 'X-Pad: ').length;
      return get('/', `X-Pad: ${'x'.repeat(length - bare)}`);
    };
    assert.deepEqual(statuses(ask(headOf(headBytesMax))), [301]);
    assert.deepEqual(statuses(ask(headOf(headBytesMax + 1))), [431]);
  });

  it('ends a head that takes too long with 408, and an idle connection without a word', () => {
    const world = worldOf(443, {
      server: 'keep_alive_timeout_secs = 7',
      security: 'client_header_timeout_secs = 3',
    });
    const slow = world.client('GET / HTTP/1.1\r\n', REDIRECTING);
    const idle = world.client(get('/'), REDIRECTING);
    world.pass(2000);
    assert.equal(slow.end, null);
    world.pass(3000);
    assert.deepEqual(statuses(slow.text), [408]);
    assert.equal(idle.end, null);
    world.pass(4000);
    assert.deepEqual(statuses(idle.text), [301]);
    assert.equal(idle.end, 0);
    world.end();
  });

  it('counts its connections towards max_concurrent_connections', () => {
    const world = worldOf(443, { server: '[security]\nmax_concurrent_connections = 1' });
    const first = world.client(get('/'), REDIRECTING);
    const second = world.client(get('/'), REDIRECTING);
    assert.equal(second.text, '');
    first.close();
    world.settle();
    world.pass(1000);
    assert.deepEqual(statuses(second.text), [301]);
    world.end();
  });

  it('stops with the edge', () => {
    const world = worldOf();
    const peer = world.client(get('/'), REDIRECTING);
    world.worker.shutdown(1000, false, () => {});
    world.settle();
    assert.equal(peer.end, 0);
    const late = world.client(get('/'), REDIRECTING);
    assert.notEqual(late.connectErrno, 0);
    peer.close();
    world.pass(5000);
    world.network.assertQuiet();
  });

  it('leads to the host of the request, whatever its target', () => {
    const segment = fc.string({ unit: fc.constantFrom(...'/.:@ae%2F?vil[|];'), maxLength: 14 });
    const world = worldOf(8443);
    const peer = world.client('', REDIRECTING);
    fc.assert(
      fc.property(segment, (text) => {
        peer.send(request('GET', `/${text.replaceAll(/%(?![0-9A-F]{2})/g, '%25')}`, 'Host: example.com'));
        world.settle();
        const answer = peer.take();
        assert.deepEqual(statuses(answer), [301]);
        const [location] = fieldsOf(answer, 'location');
        assert.match(location, /^https:\/\/example\.com:8443\/[\x21-\x7e]*$/);
        assert.equal(new URL(location).host, 'example.com:8443');
      }),
      { numRuns: 500 },
    );
    world.end();
  });
});

describe('the port that redirects name', () => {
  const tcp = (port: number): SocketAddress => ({ family: 'ipv4', address: '127.0.0.1', port });
  const unix: SocketAddress = { family: 'unix', path: '/run/edge.sock' };

  it('is that of the first listener', () => assert.equal(httpsPortOf([tcp(8443), tcp(443)]), 8443));
  it('is that of the first listener that has one', () => assert.equal(httpsPortOf([unix, tcp(9443)]), 9443));
  it('is 443 where none has one', () => assert.equal(httpsPortOf([unix]), 443));
});
