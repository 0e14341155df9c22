/** What backends get of a request and clients of a response (SPEC "Requests to backends"; RFC 9110, RFC 9112). */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  bodyOf,
  CLIENT,
  EdgeWorld,
  type EdgeWorldOptions,
  fieldsOf,
  get,
  ORIGIN,
  ok,
  statuses,
  withBody,
} from './edge-world.ts';

/** The request that reaches the backend when a client sends this one. */
function forwarded(text: string, options: EdgeWorldOptions = {}): string {
  const world = new EdgeWorld(options);
  const origin = world.origin();
  world.client(text);
  const request = origin.last.text;
  world.end();
  return request;
}

/** What a client gets when it sends this and the backend answers that. */
function answered(response: string, options: EdgeWorldOptions = {}, request = get()): string {
  const world = new EdgeWorld(options);
  const origin = world.origin();
  const client = world.client(request);
  origin.last.send(response);
  world.settle();
  const { text } = client;
  world.end();
  return text;
}

function targetOf(request: string): string {
  return request.split(' ', 2)[1];
}

function names(text: string): string[] {
  const head = text.slice(0, text.indexOf('\r\n\r\n'));
  return head
    .split('\r\n')
    .slice(1)
    .map((line) => line.slice(0, line.indexOf(':')).toLowerCase());
}

describe('a forwarded request', () => {
  it('has no hop-by-hop fields, nor those that Connection names', () => {
    const request = forwarded(
      get(
        '/',
        'Connection: close, X-Mine',
        'Keep-Alive: timeout=5',
        'Proxy-Connection: keep-alive',
        'Proxy-Authorization: Basic eDp5',
        'TE: gzip',
        'X-Mine: 1',
        'X-Yours: 2',
      ),
    );
    for (const name of [
      'connection',
      'keep-alive',
      'proxy-connection',
      'proxy-authorization',
      'te',
      'x-mine',
    ]) {
      assert.deepEqual(fieldsOf(request, name), [], name);
    }
    assert.deepEqual(fieldsOf(request, 'x-yours'), ['2']);
  });

  it('keeps what the edge sets although Connection names it', () => {
    const request = forwarded(get('/', 'Connection: X-Forwarded-For, Host, Forwarded, X-Mine', 'X-Mine: 1'));
    assert.deepEqual(fieldsOf(request, 'x-forwarded-for'), [CLIENT]);
    assert.deepEqual(fieldsOf(request, 'host'), ['example.com']);
    assert.equal(fieldsOf(request, 'forwarded').length, 1);
  });

  it('says once who asks, whatever the client says', () => {
    const request = forwarded(
      get(
        '/',
        'X-Forwarded-For: 1.2.3.4',
        'X-Forwarded-For: 5.6.7.8',
        'X-Forwarded-Proto: https',
        'X-Forwarded-Host: evil.test',
        'X-Forwarded-Port: 1',
        'X-Real-IP: 1.2.3.4',
        'Forwarded: for=1.2.3.4',
        'X_Forwarded_For: 1.2.3.4',
      ),
    );
    assert.deepEqual(fieldsOf(request, 'x-forwarded-for'), [CLIENT]);
    assert.deepEqual(fieldsOf(request, 'x-forwarded-proto'), ['http']);
    assert.deepEqual(fieldsOf(request, 'x-forwarded-host'), ['example.com']);
    assert.deepEqual(fieldsOf(request, 'forwarded'), [`for=${CLIENT};host="example.com";proto=http`]);
    for (const name of ['x-forwarded-port', 'x-real-ip', 'x_forwarded_for']) {
      assert.deepEqual(fieldsOf(request, name), [], name);
    }
  });

  it('extends what a trusted proxy says', () => {
    const lines = ['X-Forwarded-For: 1.2.3.4', 'X-Forwarded-Proto: https', 'Forwarded: for=1.2.3.4'];
    const request = forwarded(get('/', ...lines), { server: `trusted_proxies = ["${CLIENT}"]` });
    assert.deepEqual(fieldsOf(request, 'x-forwarded-for'), [`1.2.3.4, ${CLIENT}`]);
    assert.deepEqual(fieldsOf(request, 'x-forwarded-proto'), ['https']);
    assert.deepEqual(fieldsOf(request, 'forwarded'), [
      `for=1.2.3.4, for=${CLIENT};host="example.com";proto=http`,
    ]);
  });

  it('names an IPv6 client in brackets in Forwarded', () => {
    const world = new EdgeWorld({
      config: `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "http://[fd00::2]:8080"\n`,
      listen: '["10.0.0.1:80", "[fd00::1]:80"]',
    });
    const origin = world.origin({ family: 'ipv6', address: 'fd00::2', port: 8080 });
    const client = world.client(get('/six'), { family: 'ipv6', address: 'fd00::1', port: 80 });
    assert.deepEqual(fieldsOf(origin.last.text, 'x-forwarded-for'), ['fd00::3']);
    assert.deepEqual(fieldsOf(origin.last.text, 'forwarded'), [
      'for="[fd00::3]";host="example.com";proto=http',
    ]);
    origin.last.send(ok('six'));
    world.settle();
    assert.equal(bodyOf(client.text), 'six');
    world.end();
  });

  it('goes over Unix sockets on both sides', () => {
    const world = new EdgeWorld({
      config: `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "unix:/run/app.sock:/base"\n`,
      listen: '"unix:/run/edge.sock"',
    });
    const origin = world.origin({ family: 'unix', path: '/run/app.sock' });
    const client = world.client(get('/x'), { family: 'unix', path: '/run/edge.sock' });
    assert.equal(targetOf(origin.last.text), '/base/x');
    assert.deepEqual(fieldsOf(origin.last.text, 'forwarded'), ['for=unknown;host="example.com";proto=http']);
    origin.last.send(ok('local'));
    world.settle();
    assert.equal(bodyOf(client.text), 'local');
    world.end();
  });

  it('has no Via unless asked for', () => {
    assert.deepEqual(fieldsOf(forwarded(get()), 'via'), []);
    assert.deepEqual(fieldsOf(forwarded(get(), { server: 'via = true' }), 'via'), ['1.1 sallyport']);
  });

  for (const [mode, host] of [
    ['', 'example.com:8443'],
    ['host_header = "upstream"', `${ORIGIN}:8080`],
    ['host_header = "app.internal"', 'app.internal'],
  ] as const) {
    it(`has the Host ${host} with ${mode === '' ? 'no host_header' : mode}`, () => {
      const request = forwarded(get().replace('example.com', 'example.com:8443'), { route: mode });
      assert.deepEqual(fieldsOf(request, 'host'), [host]);
    });
  }

  it('has the authority of an absolute-form target for its Host', () => {
    const request = forwarded('GET http://example.com:81/x HTTP/1.1\r\nHost: other.test\r\n\r\n');
    assert.ok(request.startsWith('GET /x HTTP/1.1\r\n'));
    assert.deepEqual(fieldsOf(request, 'host'), ['example.com:81']);
  });

  for (const [path, base, target] of [
    ['/api', '', '/'],
    ['/api/', '', '/'],
    ['/api/x?y=/../z', '', '/x?y=/../z'],
    ['/api/x', '/app', '/app/x'],
    ['/api/x', '/app/', '/app/x'],
    ['/api', '/app', '/app'],
    ['/api', '/app/', '/app/'],
    ['/api/', '/app', '/app/'],
    ['/api/./a/../b', '/app', '/app/b'],
    ['/api/%61%2fb', '/app', '/app/a%2Fb'],
    ['/api?', '/app', '/app?'],
  ] as const) {
    it(`for ${path} asks a backend with the base path '${base}' for ${target}`, () => {
      const config = `[path_routes."example.com"."/api"]\ntype = "Proxy"\nurl = "http://${ORIGIN}:8080${base}"\n`;
      assert.equal(targetOf(forwarded(get(path), { config })), target);
    });
  }

  it('has the fields that rules add, in place of the client’s, with variables that mean what they do in redirects', () => {
    const rules =
      'add_request_headers = { "X-Real-IP" = "$client_ip", "X-What" = "$scheme://$host$request_uri", "X-Fixed" = "1" }\nremove_request_headers = ["Cookie"]';
    const request = forwarded(
      get('/a%41?b=c', 'x-real-ip: 6.6.6.6', 'X-FIXED: 2', 'Cookie: c', 'Connection: X-Fixed').replace(
        'Host: example.com',
        'Host: Example.COM:80',
      ),
      { security: rules },
    );
    assert.deepEqual(fieldsOf(request, 'x-real-ip'), [CLIENT]);
    assert.deepEqual(fieldsOf(request, 'x-what'), ['http://example.com/a%41?b=c']);
    assert.deepEqual(fieldsOf(request, 'x-fixed'), ['1']);
    assert.deepEqual(fieldsOf(request, 'cookie'), []);
  });

  it('has no field whose name could pass for one that rules add or remove', () => {
    const security =
      'add_request_headers = { "X-User" = "nobody" }\nremove_request_headers = ["X-Admin", "User-Agent"]';
    const request = forwarded(
      get('/', 'X_User: root', 'x-user: root', 'X_Admin: 1', 'User_Agent: me', 'X_Other: 2'),
      { security },
    );
    assert.deepEqual(fieldsOf(request, 'x-user'), ['nobody']);
    for (const name of ['x_user', 'x_admin', 'user_agent'])
      assert.deepEqual(fieldsOf(request, name), [], name);
    assert.deepEqual(fieldsOf(request, 'x_other'), ['2']);
  });

  it('has no trailer that rules add or remove as a field', () => {
    const security = 'add_request_headers = { "X-User" = "nobody" }\nremove_request_headers = ["X-Admin"]';
    const chunked = get('/', 'Transfer-Encoding: chunked').replace('GET', 'POST');
    const request = forwarded(`${chunked}0\r\nX-User: root\r\nX_Admin: 1\r\nX-Sum: 2\r\n\r\n`, { security });
    assert.equal(bodyOf(request), '0\r\nX-Sum: 2\r\n\r\n');
  });

  it('may have 128 fields of the client beside those that the edge adds', () => {
    const lines = Array.from({ length: 127 }, (_, index) => `X-F${index}: ${index}`);
    const security =
      'max_request_header_size = 16384\nadd_request_headers = { "X-One" = "$host", "X-Two" = "2", "X-Three" = "3" }';
    const request = forwarded(get('/', ...lines), { security, server: 'via = true' });
    assert.equal(
      names(request).filter((name) => name.startsWith('x-f') && !name.startsWith('x-forwarded')).length,
      127,
    );
    assert.deepEqual(fieldsOf(request, 'x-three'), ['3']);
  });

  it('may have a head of 64 KiB', () => {
    const value = 'v'.repeat(64_500);
    const request = forwarded(get('/', `X-Long: ${value}`), { security: 'max_request_header_size = 65536' });
    assert.deepEqual(fieldsOf(request, 'x-long'), [value]);
  });

  it('may have a head of 64 KiB that comes byte by byte', () => {
    const value = 'v'.repeat(20_000);
    const options: EdgeWorldOptions = {
      security: 'max_request_header_size = 65536',
      faults: { partialReceive: 0.9, offsetReceive: 1 },
    };
    assert.deepEqual(fieldsOf(forwarded(get('/', `X-Long: ${value}`), options), 'x-long'), [value]);
  });

  it('asks for trailers only when the client does', () => {
    const asked = forwarded(get('/', 'TE: trailers, deflate', 'Connection: TE'));
    assert.deepEqual(fieldsOf(asked, 'te'), ['trailers']);
    assert.deepEqual(fieldsOf(asked, 'connection'), ['TE']);
    assert.deepEqual(fieldsOf(forwarded(get()), 'te'), []);
  });

  it('of HTTP/1.0 is one of HTTP/1.1', () => {
    const request = forwarded('GET /old HTTP/1.0\r\nHost: example.com\r\n\r\n');
    assert.ok(request.startsWith('GET /old HTTP/1.1\r\n'));
  });

  it('has its content, by length', () => {
    const request = forwarded(withBody('POST', '/', 'content'));
    assert.equal(bodyOf(request), 'content');
    assert.deepEqual(fieldsOf(request, 'content-length'), ['7']);
  });

  it('has its content in chunks, with trailers and without extensions', () => {
    const request = forwarded(
      `${get('/', 'Transfer-Encoding: chunked', 'Trailer: X-Sum').replace('GET', 'POST')}5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 42\r\nHost-Not: x\r\n\r\n`,
    );
    assert.deepEqual(fieldsOf(request, 'transfer-encoding'), ['chunked']);
    assert.deepEqual(fieldsOf(request, 'trailer'), ['X-Sum']);
    const body = bodyOf(request);
    assert.ok(!body.includes('ext'));
    assert.ok(body.endsWith('0\r\nX-Sum: 42\r\nHost-Not: x\r\n\r\n'));
    assert.equal(body.replaceAll(/[0-9a-f]+\r\n([a-z ]+)\r\n/g, '$1').slice(0, 11), 'hello world');
  });
});

describe('a forwarded response', () => {
  it('has no hop-by-hop fields, nor those that Connection names', () => {
    const text = answered(ok('x', 'Connection: X-Hop', 'X-Hop: 1', 'Keep-Alive: timeout=5', 'X-End: 2'));
    for (const name of ['connection', 'keep-alive', 'x-hop'])
      assert.deepEqual(fieldsOf(text, name), [], name);
    assert.deepEqual(fieldsOf(text, 'x-end'), ['2']);
  });

  it('has a Date, the backend’s where it has one', () => {
    assert.equal(fieldsOf(answered(ok('x')), 'date').length, 1);
    const date = 'Sun, 06 Nov 1994 08:49:37 GMT';
    assert.deepEqual(fieldsOf(answered(ok('x', `Date: ${date}`)), 'date'), [date]);
  });

  it('has the backend’s Server, or none', () => {
    assert.deepEqual(fieldsOf(answered(ok('x', 'Server: app')), 'server'), ['app']);
    assert.deepEqual(fieldsOf(answered(ok('x')), 'server'), []);
  });

  it('follows the route’s rules, also when it has 128 fields', () => {
    const lines = Array.from({ length: 127 }, (_, index) => `X-F${index}: ${index}`);
    const security =
      'add_response_headers = { "Strict-Transport-Security" = "max-age=1" }\nremove_response_headers = ["X-F3"]';
    const text = answered(ok('x', ...lines), { security });
    assert.deepEqual(fieldsOf(text, 'strict-transport-security'), ['max-age=1']);
    assert.deepEqual(fieldsOf(text, 'x-f3'), []);
    assert.deepEqual(fieldsOf(text, 'x-f126'), ['126']);
    assert.equal(fieldsOf(text, 'date').length, 1);
  });

  it('follows the route’s rules also when the edge itself answers', () => {
    const world = new EdgeWorld({
      security: 'add_response_headers = { "X-Rule" = "yes" }\nallowed_methods = ["POST"]',
    });
    const refused = world.client(get());
    assert.deepEqual(statuses(refused.text), [405]);
    assert.deepEqual(fieldsOf(refused.text, 'x-rule'), ['yes']);
    const failed = world.client(withBody('POST', '/', ''));
    assert.deepEqual(statuses(failed.text), [502]);
    assert.deepEqual(fieldsOf(failed.text, 'x-rule'), ['yes']);
    world.end();
  });

  for (const bytes of [4000, 4096, 5000, 16_384, 20_000, 60_000]) {
    it(`may have a head of ${bytes} bytes`, () => {
      const value = 'v'.repeat(bytes);
      const text = answered(ok('x', `X-Long: ${value}`));
      assert.deepEqual(statuses(text), [200]);
      assert.deepEqual(fieldsOf(text, 'x-long'), [value]);
      assert.equal(bodyOf(text), 'x');
    });
  }

  it('is 502 when its content is malformed before anything has left', () => {
    const head = 'HTTP/1.1 200 OK\r\nX-Secret: 1\r\nTransfer-Encoding: chunked\r\n\r\n';
    for (const body of ['zz\r\n', '5\r\nhello\r\nzz\r\n', '5\r\nhello!\r\n']) {
      const text = answered(head + body);
      assert.deepEqual(statuses(text), [502]);
      assert.deepEqual(fieldsOf(text, 'x-secret'), []);
      assert.equal(bodyOf(text), '502 Bad Gateway\n');
    }
  });

  it('is cut off when its content is malformed later', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    world.settle();
    origin.last.send('zz\r\n');
    world.settle();
    assert.deepEqual(statuses(client.text), [200]);
    assert.ok(!bodyOf(client.text).includes('0\r\n\r\n'));
    assert.notEqual(client.end, null);
    world.end();
  });

  it('is 502 when its head is larger than 64 KiB', () => {
    assert.deepEqual(statuses(answered(ok('x', `X-Long: ${'v'.repeat(70_000)}`))), [502]);
  });

  it('keeps its reason phrase', () => {
    assert.ok(answered('HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n').startsWith('HTTP/1.1 200 Fine\r\n'));
  });

  it('of a HEAD has the length and no content', () => {
    const head = get().replace('GET', 'HEAD');
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(head);
    origin.last.send('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');
    world.settle();
    assert.deepEqual(fieldsOf(client.text, 'content-length'), ['1000']);
    assert.equal(bodyOf(client.text), '');
    client.take();
    client.send(get('/next'));
    world.settle();
    origin.last.send(ok('next'));
    world.settle();
    assert.equal(bodyOf(client.text), 'next');
    assert.equal(origin.peers.length, 1);
    world.end();
  });

  for (const status of [204, 304]) {
    it(`of ${status} has no content, and the connections go on`, () => {
      const world = new EdgeWorld();
      const origin = world.origin();
      const client = world.client(get());
      origin.last.send(`HTTP/1.1 ${status} None\r\nETag: "a"\r\n\r\n`);
      world.settle();
      assert.deepEqual(statuses(client.text), [status]);
      assert.deepEqual(fieldsOf(client.text, 'content-length'), []);
      assert.deepEqual(fieldsOf(client.text, 'transfer-encoding'), []);
      client.take();
      client.send(get('/next'));
      world.settle();
      origin.last.send(ok('next'));
      world.settle();
      assert.equal(bodyOf(client.text), 'next');
      assert.equal(origin.peers.length, 1);
      world.end();
    });
  }

  it('that ends with its connection is chunked for HTTP/1.1', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send('HTTP/1.0 200 OK\r\n\r\nhello');
    world.settle();
    origin.last.close();
    world.settle();
    assert.deepEqual(fieldsOf(client.text, 'transfer-encoding'), ['chunked']);
    assert.equal(bodyOf(client.text), '5\r\nhello\r\n0\r\n\r\n');
    assert.equal(client.end, null);
    world.end();
  });

  it('in chunks ends with the connection for HTTP/1.0', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client('GET / HTTP/1.0\r\nHost: example.com\r\nConnection: keep-alive\r\n\r\n');
    origin.last.send(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n',
    );
    world.pass(3000);
    assert.deepEqual(fieldsOf(client.text, 'transfer-encoding'), []);
    assert.deepEqual(fieldsOf(client.text, 'connection'), ['close']);
    assert.equal(bodyOf(client.text), 'hello');
    assert.equal(client.end, 0);
    world.end();
  });

  it('of known length keeps a connection of HTTP/1.0 that asks for it', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client('GET / HTTP/1.0\r\nHost: example.com\r\nConnection: keep-alive\r\n\r\n');
    origin.last.send(ok('x'));
    world.settle();
    assert.deepEqual(fieldsOf(client.text, 'connection'), ['keep-alive']);
    assert.equal(client.end, null);
    world.end();
  });

  it('has its trailers', () => {
    const response =
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n';
    const text = answered(response, {}, get('/', 'TE: trailers', 'Connection: TE'));
    assert.ok(text.endsWith('0\r\nX-Sum: 42\r\n\r\n'));
    assert.deepEqual(fieldsOf(text, 'trailer'), ['X-Sum']);
  });

  it('has no trailer that rules remove', () => {
    const response =
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Secret: 42\r\nX-Sum: 1\r\n\r\n';
    const text = answered(response, { security: 'remove_response_headers = ["X-Secret"]' });
    assert.equal(bodyOf(text), '0\r\nX-Sum: 1\r\n\r\n');
  });

  it('is cut when the backend ends before all that it declared', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send(ok('hello').replace('Content-Length: 5', 'Content-Length: 50'));
    origin.last.finish();
    world.pass(3000);
    assert.equal(bodyOf(client.text), 'hello');
    assert.notEqual(client.end, null);
    world.end();
  });

  it('in chunks has no last chunk when the backend ends before its own', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    world.settle();
    origin.last.finish();
    world.pass(3000);
    assert.ok(client.text.endsWith('5\r\nhello\r\n') || client.text.endsWith('5\r\nhello'));
    assert.notEqual(client.end, null);
    world.end();
  });

  it('is reset for HTTP/1.0 when its end would look like the content’s', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client('GET / HTTP/1.0\r\nHost: example.com\r\n\r\n');
    origin.last.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    world.settle();
    origin.last.finish();
    world.pass(3000);
    assert.ok(client.end !== null && client.end < 0);
    world.end();
  });

  it('of 1xx comes before the final one', () => {
    const text = answered(
      `HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\nConnection: close\r\n\r\n${ok('x')}`,
    );
    assert.deepEqual(statuses(text), [103, 200]);
    assert.deepEqual(fieldsOf(text, 'link'), ['</s.css>']);
    assert.deepEqual(fieldsOf(text, 'connection'), []);
  });

  it('of 1xx does not reach HTTP/1.0', () => {
    const request = 'GET / HTTP/1.0\r\nHost: example.com\r\n\r\n';
    const text = answered(`HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n${ok('x')}`, {}, request);
    assert.deepEqual(statuses(text), [200]);
  });

  it('is 502 after more interim ones than anybody needs', () => {
    const interim = 'HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n';
    const text = answered(interim.repeat(40) + ok('x'));
    assert.equal(statuses(text).at(-1), 502);
  });

  it('leaves at once, piece by piece', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    origin.last.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    world.settle();
    assert.deepEqual(statuses(client.text), [200]);
    for (const piece of ['one', 'two', 'three']) {
      client.take();
      origin.last.send(`${piece.length}\r\n${piece}\r\n`);
      world.settle();
      assert.ok(client.text.includes(piece));
    }
    world.end();
  });
});

describe('Expect: 100-continue', () => {
  const request = withBody('POST', '/', 'content', 'Expect: 100-continue').replace('content', '');

  it('is forwarded, and so are the 100 and the content after it', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(request);
    assert.deepEqual(fieldsOf(origin.last.text, 'expect'), ['100-continue']);
    assert.equal(client.text, '');
    origin.last.send('HTTP/1.1 100 Continue\r\n\r\n');
    world.settle();
    assert.deepEqual(statuses(client.text), [100]);
    client.send('content');
    world.settle();
    assert.equal(bodyOf(origin.last.text), 'content');
    origin.last.send(ok('done'));
    world.settle();
    assert.deepEqual(statuses(client.text), [100, 200]);
    assert.equal(client.end, null);
    world.end();
  });

  it('may go unanswered by the backend: a client that sends its content after all is served', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(request);
    world.pass(1000);
    client.send('content');
    world.settle();
    assert.equal(bodyOf(origin.last.text), 'content');
    origin.last.send(ok('done'));
    world.settle();
    assert.deepEqual(statuses(client.text), [200]);
    assert.equal(client.end, null);
    world.end();
  });

  it('with a final response instead of a 100 ends the connection', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(request);
    origin.last.send(ok('no'));
    world.pass(3000);
    assert.deepEqual(statuses(client.text), [200]);
    assert.deepEqual(fieldsOf(client.text, 'connection'), ['close']);
    assert.equal(client.end, 0);
    assert.notEqual(origin.last.end, null);
    world.end();
  });

  it('is 504 when neither the backend answers nor the client sends', () => {
    const world = new EdgeWorld({ security: 'backend_response_timeout_secs = 5' });
    world.origin();
    const client = world.client(request);
    world.pass(8000);
    assert.deepEqual(statuses(client.text), [504]);
    world.end();
  });

  it('is 504 when the backend says 103 and nothing more', () => {
    const world = new EdgeWorld({ security: 'backend_response_timeout_secs = 5' });
    const origin = world.origin();
    const client = world.client(request);
    origin.last.send('HTTP/1.1 103 Early Hints\r\n\r\n');
    world.pass(8000);
    assert.deepEqual(statuses(client.text), [103, 504]);
    world.end();
  });

  it('is 408 when the client is told to continue and does not', () => {
    const world = new EdgeWorld({ security: 'client_body_timeout_secs = 5' });
    const origin = world.origin();
    const client = world.client(request);
    origin.last.send('HTTP/1.1 100 Continue\r\n\r\n');
    world.pass(9000);
    assert.deepEqual(statuses(client.text), [100, 408]);
    assert.notEqual(origin.last.end, null);
    world.end();
  });

  it('is not forwarded for HTTP/1.0', () => {
    const text = request.replace('HTTP/1.1', 'HTTP/1.0');
    assert.deepEqual(fieldsOf(forwarded(`${text}content`), 'expect'), []);
  });

  it('is answered with the refusal at once where the request is refused', () => {
    const world = new EdgeWorld({ security: 'max_request_body_size = 3' });
    const origin = world.origin();
    const client = world.client(request);
    assert.deepEqual(statuses(client.text), [413]);
    assert.deepEqual(fieldsOf(client.text, 'connection'), ['close']);
    assert.equal(origin.peers.length, 0);
    world.end();
  });
});

describe('an early response', () => {
  const head = withBody('POST', '/', 'x'.repeat(50_000)).slice(0, -50_000);

  it('reaches a client that is still sending, whose connection is of use when the rest has come', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(`${head}${'x'.repeat(10)}`);
    origin.last.send(ok('early'));
    world.settle();
    assert.equal(bodyOf(client.take()), 'early');
    assert.notEqual(origin.last.end, null);
    client.send('x'.repeat(49_990));
    client.send(get('/next'));
    world.settle();
    assert.equal(origin.peers.length, 2);
    origin.last.send(ok('next'));
    world.settle();
    assert.equal(bodyOf(client.text), 'next');
    world.end();
  });

  it('ends the connection of a client whose rest is too long', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(head.replace('50000', '500000'));
    origin.last.send(ok('early'));
    world.settle();
    client.send('x'.repeat(400_000));
    world.pass(5000);
    assert.equal(bodyOf(client.text), 'early');
    assert.notEqual(client.end, null);
    world.end();
  });

  it('in pieces goes on while the request comes in pieces', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(head);
    origin.last.send('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na');
    client.send('x'.repeat(25_000));
    world.settle();
    assert.equal(bodyOf(client.text), 'a');
    origin.last.send('b');
    client.send('x'.repeat(25_000));
    world.settle();
    assert.equal(bodyOf(origin.last.text).length, 50_000);
    origin.last.send('c');
    world.settle();
    assert.equal(bodyOf(client.text), 'abc');
    client.send(get('/next'));
    world.settle();
    assert.equal(origin.peers.length, 1);
    world.end();
  });
});

describe('a client that ends its half', () => {
  it('behind a request still gets the response, and then the end', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    client.finish();
    world.settle();
    assert.equal(origin.last.end, null);
    origin.last.send(ok('late'));
    world.settle();
    assert.equal(bodyOf(client.text), 'late');
    assert.equal(client.end, 0);
    world.end();
  });

  it('behind three requests gets three responses', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    origin.answers(ok('x'));
    const client = world.client();
    client.send(get('/1') + get('/2') + get('/3'));
    client.finish();
    world.settle();
    assert.deepEqual(statuses(client.text), [200, 200, 200]);
    assert.equal(client.end, 0);
    world.end();
  });

  it('in the middle of its content is cut off, and so is the request', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(withBody('POST', '/', 'content').slice(0, -3));
    client.finish();
    world.settle();
    assert.notEqual(client.end, null);
    assert.ok(origin.last.end !== null && origin.last.end < 0);
    world.end();
  });

  it('in the middle of a head is cut off', () => {
    const world = new EdgeWorld();
    const client = world.client('GET / HTTP/1.1\r\nHo');
    client.finish();
    world.settle();
    assert.equal(client.end, 0);
    assert.equal(world.worker.openConnections, 0);
    world.end();
  });
});

describe('a client that goes away', () => {
  it('while it waits takes the backend connection with it', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client(get());
    client.reset();
    world.settle();
    assert.notEqual(origin.last.end, null);
    assert.equal(world.worker.openConnections, 0);
    world.end();
  });

  it('while the backend is being connected leaves nothing behind', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const client = world.client();
    Object.assign(world.network.faults, { slowConnect: 1, stallMsMax: 1000 });
    client.send(withBody('POST', '/', 'content'));
    world.pass(1);
    client.reset();
    world.pass(2000);
    assert.equal(world.worker.openConnections, 0);
    for (const peer of origin.peers) assert.equal(peer.text, '');
    world.end();
  });
});

describe('a backend on a Unix socket', () => {
  it('that is missing is 502', () => {
    const world = new EdgeWorld({
      config: `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "unix:/run/nobody.sock"\n`,
    });
    assert.deepEqual(statuses(world.client(get()).text), [502]);
    world.end();
  });
});
