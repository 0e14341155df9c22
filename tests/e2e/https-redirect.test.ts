/** The listener of `server.http` over the wire, before an edge that speaks TLS. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { testAuthority, testFile } from '../fixtures/certificates.ts';
import { type Edge, runEdge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { HAS_IPV6, WITHOUT_IPV6 } from '../fixtures/ipv6.ts';
import { freePort } from '../fixtures/ports.ts';
import { RawClient } from '../fixtures/raw-client.ts';

const run = promisify(execFile);
const CONTENT = 'only over TLS\n';

const authority = testAuthority();
const { certPath, keyPath } = authority.server(['example.com', '127.0.0.1', '::1']);
const page = testFile('page.txt', CONTENT, 0o644);

function configOf(listen: string, http: string): string {
  return `[server]
listen = ${listen}
http = ${http}
threads = 1
[tls]
cert_path = "${certPath}"
key_path = "${keyPath}"
[path_routes."example.com"."/page"]
type = "File"
path = "${page}"
`;
}

/** Head and body of one request by curl, which follows no redirect unless it is told to. */
async function curl(url: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await run('curl', ['-s', '-i', '--path-as-is', '--max-time', '30', ...args, url]);
  return stdout;
}

const locationOf = (text: string): string => /^location: (.*)\r$/im.exec(text)?.[1] ?? '';

function suite(io: IoBackend): void {
  describe(`the redirect to HTTPS (${io})`, () => {
    let edge: Edge;
    let httpPort: number;
    let ipv6Port: number;
    let url: string;

    before(async () => {
      httpPort = await freePort();
      ipv6Port = await freePort();
      const http = `["127.0.0.1:${httpPort}"${HAS_IPV6 ? `, "[::1]:${ipv6Port}"` : ''}]`;
      edge = await startEdge('', { io, config: (port) => configOf(`"127.0.0.1:${port}"`, http) });
      await edge.logged('ready');
      url = `http://127.0.0.1:${httpPort}`;
    });
    after(() => edge.stop());

    test('leads curl to the content in one step', async () => {
      const start = `http://example.com:${httpPort}/page?q=1`;
      const resolve = [httpPort, edge.port].flatMap((port) => ['--resolve', `example.com:${port}:127.0.0.1`]);
      const text = await curl(start, '-L', '--cacert', authority.certPath, ...resolve);
      assert.match(text, /^HTTP\/1\.1 301 /);
      assert.equal(locationOf(text), `https://example.com:${edge.port}/page?q=1`);
      assert.match(text, /^HTTP\/2 200/m);
      assert.ok(text.endsWith(CONTENT), text);
    });

    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      test(`answers ${method} with 301 and no content`, async () => {
        const content = method === 'POST' || method === 'PUT' || method === 'PATCH' ? ['-d', 'a=b'] : [];
        const how = method === 'HEAD' ? ['-I'] : ['-X', method, ...content];
        const text = await curl(`${url}/m?n`, '-H', 'Host: example.com:80', ...how);
        assert.match(text, /^HTTP\/1\.1 301 Moved Permanently\r\n/);
        assert.equal(locationOf(text), `https://example.com:${edge.port}/m?n`);
        assert.match(text, /\r\n\r\n$/);
      });
    }

    test('puts an IPv6 host into brackets', { skip: WITHOUT_IPV6 }, async () => {
      const text = await curl(`http://[::1]:${ipv6Port}/a`, '-g');
      assert.equal(locationOf(text), `https://[::1]:${edge.port}/a`);
    });

    test('answers kept-alive and pipelined requests in order', async () => {
      const client = await RawClient.connect(httpPort);
      const request = (index: number): string => `GET /${index} HTTP/1.1\r\nHost: example.com\r\n\r\n`;
      await client.send(Array.from({ length: 50 }, (_, index) => request(index)).join(''));
      for (let index = 0; index < 50; index++) {
        const response = await client.response();
        assert.equal(response.status, 301);
        assert.equal(response.get('location'), `https://example.com:${edge.port}/${index}`);
      }
      client.destroy();
    });

    for (const [name, head] of [
      ['no Host', 'GET / HTTP/1.1\r\n\r\n'],
      ['no Host in HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n'],
      ['an invalid Host', 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n'],
      ['a backslash in the target', 'GET /\\evil.example HTTP/1.1\r\nHost: example.com\r\n\r\n'],
      ['a TLS handshake', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'],
    ] as const) {
      test(`refuses ${name}`, async () => {
        const client = await RawClient.connect(httpPort);
        const response = await client.request(head);
        assert.equal(response.status, 400);
        assert.equal(await client.closed(), 'end');
      });
    }

    test('says that a reload does not move it', async () => {
      const from = edge.stderr().length;
      edge.rewriteWhole(configOf(`"127.0.0.1:${edge.port}"`, '"127.0.0.1:1"'));
      edge.signal('SIGHUP');
      await edge.logged('server.http needs a restart', from);
      assert.equal(
        locationOf(await curl(`${url}/`, '-H', 'Host: example.com')).slice(0, 20),
        'https://example.com:',
      );
    });
  });

  test(`an address of server.http that is taken is named (${io})`, async () => {
    const port = await freePort();
    const taken = createServer().listen(port, '127.0.0.1');
    await once(taken, 'listening');
    const config = configOf(`"127.0.0.1:${await freePort()}"`, `"127.0.0.1:${port}"`);
    const { exit, output } = await runEdge(config, io);
    taken.close();
    assert.equal(exit.code, 3);
    assert.match(
      output,
      new RegExp(`^Error: 127\\.0\\.0\\.1:${port} is taken: .* change server\\.http\\.$`, 'm'),
    );
  });
}

for (const io of IO_BACKENDS) suite(io);

test('an address of server.listen can’t be one of server.http as well', async () => {
  const { exit, output } = await runEdge(configOf('"127.0.0.1:8443"', '"127.0.0.1:8443"'), 'epoll');
  assert.equal(exit.code, 1);
  assert.match(output, /server\.http names 127\.0\.0\.1:8443, which is listened on already/);
});
