/** Fields on their way to the backend and back: rules, variables, forwarding fields, hop-by-hop fields. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import {
  type Echo,
  echoed,
  echoOf,
  type Origin,
  type OriginConnection,
  parseEcho,
  responseText,
  startOrigin,
} from '../fixtures/origin.ts';
import { exchangeOnce } from '../fixtures/raw-client.ts';

/** Fields that the origin sends with every response. */
const ORIGIN_FIELDS = [
  'Server: origin/1.0',
  'X-Powered-By: tests',
  'X-Kept: a',
  'X-Kept: b',
  'X-Replaced: by-origin',
  'Connection: X-Secret',
  'X-Secret: hop',
  'Keep-Alive: timeout=5',
  'Proxy-Authenticate: Basic',
  'Set-Cookie: a=1',
  'Set-Cookie: b=2',
].join('\r\n');

async function serve(connection: OriginConnection): Promise<void> {
  for (;;) {
    const request = await connection.readRequest();
    if (request === null) break;
    const body = JSON.stringify(echoOf(request, connection.number));
    await connection.write(responseText('200 OK', body, `${ORIGIN_FIELDS}\r\n`));
  }
  connection.end();
}

function proxy(path: string, url: string, keys = '', security = ''): string {
  return `
[path_routes."example.com"."${path}"]
type = "Proxy"
url = "${url}"
${keys}
[path_routes."example.com"."${path}".security]
${security}
`;
}

const RULES = `
add_request_headers = { "X-Real-IP" = "$client_ip", "X-Asked-Host" = "$host", "X-Asked-Uri" = "$request_uri", "X-Scheme" = "$scheme", "X-Id" = "$request_id", "X-Mixed" = "<$client_ip|$host>", "X-Env" = "fixed", "X-Dollar" = "100" }
remove_request_headers = ["X-Debug-Token", "x-internal-auth"]
add_response_headers = { "Strict-Transport-Security" = "max-age=31536000; includeSubDomains", "X-Frame-Options" = "DENY", "X-Replaced" = "by-edge" }
remove_response_headers = ["X-Powered-By", "Server"]
`;

function suite(io: IoBackend): void {
  describe(`fields (${io})`, { concurrency: 8 }, () => {
    let origin: Origin;
    let unix: Origin;
    let edge: Edge;
    let trusting: Edge;

    before(async () => {
      origin = await startOrigin(serve);
      unix = await startOrigin(serve, { unix: true });
      const authority = origin.url.slice('http://'.length);
      const toml =
        proxy('/', origin.url) +
        proxy('/rules', origin.url, '', RULES) +
        proxy('/upstream-host', `http://localhost:${origin.port}`, 'host_header = "upstream"') +
        proxy('/upstream-ip', `http://${authority}`, 'host_header = "upstream"') +
        proxy('/literal-host', origin.url, 'host_header = "internal.example:8443"') +
        proxy('/unix-host', unix.url, 'host_header = "upstream"') +
        proxy('/forbidden', origin.url, '', `allowed_methods = ["POST"]\n${RULES}`) +
        proxy('/down', 'http://127.0.0.1:1', '', RULES) +
        `
[path_routes."example.com"."/moved"]
type = "Redirect"
redirect_url = "https://www.example.com/"
[path_routes."example.com"."/moved".security]
add_response_headers = { "X-Frame-Options" = "DENY" }
`;
      edge = await startEdge(toml, { io });
      trusting = await startEdge(toml, { io, server: 'trusted_proxies = ["127.0.0.0/8"]\nvia = true' });
    });

    after(async () => {
      await edge.stop();
      await trusting.stop();
      assert.deepEqual(origin.violations, []);
      assert.deepEqual(unix.violations, []);
      await origin.close();
      await unix.close();
    });

    const asked = async (
      target: string,
      fields = '',
      through = edge,
      host = 'example.com',
    ): Promise<Echo> => {
      const response = await exchangeOnce(
        through.port,
        `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`,
      );
      assert.equal(response.status, 200, response.text());
      return parseEcho(response.body);
    };

    test('variables expand in request fields', async () => {
      const echo = await asked('/rules/a%20b?c=d&e', '', edge, 'Example.com:8080');
      assert.equal(echoed(echo, 'X-Real-IP'), '127.0.0.1');
      assert.match(echoed(echo, 'X-Asked-Host') ?? '', /^example\.com(?::8080)?$/i);
      assert.equal(echoed(echo, 'X-Asked-Uri'), '/rules/a%20b?c=d&e');
      assert.equal(echoed(echo, 'X-Scheme'), 'http');
      assert.match(echoed(echo, 'X-Mixed') ?? '', /^<127\.0\.0\.1\|example\.com(?::8080)?>$/i);
      assert.equal(echoed(echo, 'X-Env'), 'fixed');
      assert.equal(echoed(echo, 'X-Dollar'), '100');
    });

    test('each request has an id of its own', async () => {
      const ids = await Promise.all([1, 2, 3, 4].map(async () => echoed(await asked('/rules/'), 'X-Id')));
      assert.equal(new Set(ids).size, 4);
      for (const id of ids) assert.match(id ?? '', /^[\w-]{8,}$/);
    });

    test('an added request field replaces the client’s', async () => {
      const echo = await asked('/rules/', 'X-Real-IP: 10.9.8.7\r\nx-env: forged\r\nX-Env: twice\r\n');
      assert.equal(echoed(echo, 'X-Real-IP'), '127.0.0.1');
      assert.equal(echoed(echo, 'X-Env'), 'fixed');
    });

    test('removed request fields don’t reach the backend, in whatever case they come', async () => {
      const echo = await asked('/rules/', 'x-debug-TOKEN: 1\r\nX-Internal-Auth: 2\r\nX-Other: 3\r\n');
      assert.equal(echoed(echo, 'X-Debug-Token'), undefined);
      assert.equal(echoed(echo, 'X-Internal-Auth'), undefined);
      assert.equal(echoed(echo, 'X-Other'), '3');
    });

    test('response rules apply, and what they don’t name stays', async () => {
      const response = await exchangeOnce(edge.port, 'GET /rules/ HTTP/1.1\r\nHost: example.com\r\n\r\n');
      assert.equal(response.get('Strict-Transport-Security'), 'max-age=31536000; includeSubDomains');
      assert.equal(response.get('X-Frame-Options'), 'DENY');
      assert.deepEqual(response.all('X-Replaced'), ['by-edge']);
      assert.equal(response.get('X-Powered-By'), undefined);
      assert.equal(response.get('Server'), undefined);
      assert.deepEqual(response.all('X-Kept'), ['a', 'b']);
      assert.deepEqual(response.all('Set-Cookie'), ['a=1', 'b=2']);
    });

    test('response rules apply to the edge’s own answers too', async () => {
      for (const [target, status] of [
        ['/forbidden/', 405],
        ['/down/', 502],
        ['/moved/', 301],
      ] as const) {
        const response = await exchangeOnce(edge.port, `GET ${target} HTTP/1.1\r\nHost: example.com\r\n\r\n`);
        assert.equal(response.status, status);
        assert.equal(response.get('X-Frame-Options'), 'DENY', target);
      }
    });

    test('hop-by-hop fields of a response stay behind', async () => {
      const response = await exchangeOnce(edge.port, 'GET / HTTP/1.1\r\nHost: example.com\r\n\r\n');
      assert.equal(response.get('X-Secret'), undefined);
      assert.equal(response.get('Keep-Alive'), undefined);
      assert.doesNotMatch(response.get('Connection') ?? '', /x-secret/i);
      assert.equal(response.get('Server'), 'origin/1.0');
    });

    test('a response has one date, the backend’s if it has one', async () => {
      const response = await exchangeOnce(edge.port, 'GET / HTTP/1.1\r\nHost: example.com\r\n\r\n');
      assert.equal(response.all('Date').length, 1);
    });

    test('Host is preserved by default', async () => {
      assert.equal(echoed(await asked('/', '', edge, 'example.com'), 'Host'), 'example.com');
      assert.equal(echoed(await asked('/', '', edge, 'example.com:8080'), 'Host'), 'example.com:8080');
    });

    test('host_header = "upstream" names the backend', async () => {
      assert.equal(echoed(await asked('/upstream-host/'), 'Host'), `localhost:${origin.port}`);
      assert.equal(echoed(await asked('/upstream-ip/'), 'Host'), `127.0.0.1:${origin.port}`);
      assert.equal(echoed(await asked('/unix-host/'), 'Host'), 'localhost');
    });

    test('host_header takes a literal', async () => {
      assert.equal(echoed(await asked('/literal-host/'), 'Host'), 'internal.example:8443');
    });

    test('forwarding fields are set for a client without any', async () => {
      const echo = await asked('/', '', edge, 'example.com:8080');
      assert.equal(echoed(echo, 'X-Forwarded-For'), '127.0.0.1');
      assert.equal(echoed(echo, 'X-Forwarded-Proto'), 'http');
      assert.equal(echoed(echo, 'X-Forwarded-Host'), 'example.com:8080');
      const forwarded = echoed(echo, 'Forwarded') ?? '';
      for (const part of [
        /(^|;)for="?127\.0\.0\.1"?(;|$)/,
        /(^|;)proto=http(;|$)/,
        /(^|;)host="example\.com:8080"(;|$)/,
      ]) {
        assert.match(forwarded, part);
      }
      assert.equal(echoed(echo, 'Via'), undefined);
    });

    const FORGED = [
      'X-Forwarded-For: 10.1.1.1, 10.2.2.2',
      'X-Forwarded-For: 10.3.3.3',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: forged.example',
      'Forwarded: for=10.1.1.1;proto=https;host=forged.example',
      '',
    ].join('\r\n');

    test('forwarding fields of a stranger are replaced', async () => {
      const echo = await asked('/rules/', FORGED);
      assert.equal(echoed(echo, 'X-Forwarded-For'), '127.0.0.1');
      assert.equal(echoed(echo, 'X-Forwarded-Proto'), 'http');
      assert.equal(echoed(echo, 'X-Forwarded-Host'), 'example.com');
      assert.doesNotMatch(echoed(echo, 'Forwarded') ?? '', /10\.|https|forged/);
      assert.equal(echoed(echo, 'X-Real-IP'), '127.0.0.1');
    });

    test('forwarding fields of a trusted proxy are believed', async () => {
      const echo = await asked('/rules/', FORGED, trusting);
      assert.equal(echoed(echo, 'X-Forwarded-For'), '10.1.1.1, 10.2.2.2, 10.3.3.3, 127.0.0.1');
      assert.equal(echoed(echo, 'X-Forwarded-Proto'), 'https');
      assert.equal(echoed(echo, 'X-Forwarded-Host'), 'forged.example');
      // The nearest address that is no trusted proxy is the client.
      assert.equal(echoed(echo, 'X-Real-IP'), '10.3.3.3');
    });

    test('Via is added where it is asked for, each way', async () => {
      const response = await exchangeOnce(
        trusting.port,
        'GET / HTTP/1.1\r\nHost: example.com\r\nVia: 1.0 fred\r\n\r\n',
      );
      const via = echoed(parseEcho(response.body), 'Via') ?? '';
      assert.match(via, /^1\.0 fred, 1\.1 \S+/);
    });

    test('fields come through unchanged and in order', async () => {
      const fields = Array.from({ length: 40 }, (_, index) => `X-Field-${index}: value ${index} \u00e9`);
      const echo = await asked('/', `${fields.join('\r\n')}\r\n`);
      const seen = echo.fields
        .filter(([name]) => /^x-field-/i.test(name))
        .map(([name, value]) => `${name}: ${value}`);
      assert.deepEqual(seen, fields);
    });

    test('cookies, authorisation and content fields pass', async () => {
      const echo = await asked(
        '/',
        'Cookie: a=b; c=d\r\nAuthorization: Bearer x.y.z\r\nAccept-Encoding: br, gzip\r\nIf-None-Match: "x"\r\nRange: bytes=0-1\r\nUser-Agent: t/1\r\n',
      );
      for (const [name, value] of [
        ['Cookie', 'a=b; c=d'],
        ['Authorization', 'Bearer x.y.z'],
        ['Accept-Encoding', 'br, gzip'],
        ['If-None-Match', '"x"'],
        ['Range', 'bytes=0-1'],
        ['User-Agent', 't/1'],
      ]) {
        assert.equal(echoed(echo, name), value);
      }
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
