/** Redirects over the wire, asked by curl. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { RawClient } from '../fixtures/raw-client.ts';

const run = promisify(execFile);

interface Route {
  readonly host: string;
  readonly path: string;
  readonly url: string;
  readonly status?: number;
  readonly preserve?: boolean;
}

const ROUTES: readonly Route[] = [
  // The document's examples.
  { host: 'example.com', path: '/', url: 'https://www.example.com/', status: 301 },
  { host: 'example.com', path: '/legacy/', url: 'https://example.com/v2', status: 301, preserve: true },
  { host: 'http.example.com', path: '/', url: 'https://example.com$request_uri', status: 301 },
  // And the rest of what SPEC says.
  { host: 'example.com', path: '/s302', url: 'https://new.example/', status: 302 },
  { host: 'example.com', path: '/s303', url: 'https://new.example/', status: 303 },
  { host: 'example.com', path: '/s307', url: 'https://new.example/', status: 307 },
  { host: 'example.com', path: '/s308', url: 'https://new.example/', status: 308 },
  { host: 'example.com', path: '/default', url: 'https://new.example/' },
  { host: 'example.com', path: '/path', url: 'https://new.example/base/$path' },
  { host: 'example.com', path: '/host', url: 'https://$host$request_uri' },
  { host: 'example.com', path: '/slash', url: 'https://new.example/base/', preserve: true },
  { host: 'example.com', path: '/local', url: '/$path' },
  { host: 'example.com', path: '/up', url: '/', preserve: true },
];

interface Row {
  readonly path: string;
  readonly host?: string;
  readonly args?: readonly string[];
  readonly status: number;
  readonly location: string;
}

const ROWS: readonly Row[] = [
  { path: '/', status: 301, location: 'https://www.example.com/' },
  { path: '/anything?at=all', status: 301, location: 'https://www.example.com/' },
  { path: '/legacy/users', status: 301, location: 'https://example.com/v2/users' },
  { path: '/legacy/api/data', status: 301, location: 'https://example.com/v2/api/data' },
  { path: '/legacy', status: 301, location: 'https://example.com/v2' },
  { path: '/legacy/', status: 301, location: 'https://example.com/v2/' },
  { path: '/legacy/users?a=1&b', status: 301, location: 'https://example.com/v2/users?a=1&b' },
  { path: '/a/b?c', host: 'http.example.com', status: 301, location: 'https://example.com/a/b?c' },
  { path: '//a', host: 'http.example.com', status: 301, location: 'https://example.com/a' },
  { path: '/s302', status: 302, location: 'https://new.example/' },
  { path: '/s303', args: ['-X', 'POST', '-d', 'a=b'], status: 303, location: 'https://new.example/' },
  { path: '/s307', args: ['-X', 'POST', '-d', 'a=b'], status: 307, location: 'https://new.example/' },
  { path: '/s308', args: ['-X', 'DELETE'], status: 308, location: 'https://new.example/' },
  { path: '/s308', args: ['-I'], status: 308, location: 'https://new.example/' },
  { path: '/default', status: 301, location: 'https://new.example/' },
  { path: '/path/a/b?c', status: 301, location: 'https://new.example/base/a/b' },
  { path: '/path', status: 301, location: 'https://new.example/base/' },
  { path: '/host/x?y', host: 'EXAMPLE.com:8080', status: 301, location: 'https://example.com/host/x?y' },
  { path: '/slash/x', status: 301, location: 'https://new.example/base/x' },
  { path: '/slash//x', status: 301, location: 'https://new.example/base/x' },
  { path: '/local//evil.example/', status: 301, location: '/evil.example/' },
  { path: '/up//evil.example/', status: 301, location: '/evil.example/' },
  { path: '/legacy/a%0d%0aX-Evil:%201', status: 301, location: 'https://example.com/v2/a%0D%0AX-Evil:%201' },
  { path: '/legacy/a%5Cb', status: 301, location: 'https://example.com/v2/a%5Cb' },
];

function configOf(): string {
  return ROUTES.map(
    ({ host, path, url, status, preserve }) =>
      `[path_routes."${host}"."${path}"]\ntype = "Redirect"\nredirect_url = "${url}"\n${
        status === undefined ? '' : `redirect_status = ${status}\n`
      }${preserve ? 'preserve_path = true\n' : ''}`,
  ).join('\n');
}

function suite(io: IoBackend): void {
  describe(`redirects (${io})`, () => {
    let edge: Edge;

    before(async () => {
      edge = await startEdge(configOf(), { io });
    });
    after(() => edge.stop());

    for (const { path, host, args, status, location } of ROWS) {
      test(`${args?.join(' ') ?? ''} ${path} of ${host ?? 'example.com'}: ${status} ${location}`, async () => {
        const url = `http://127.0.0.1:${edge.port}${path}`;
        const hostLine = `Host: ${host ?? 'example.com'}`;
        const { stdout } = await run('curl', [
          '-s',
          '-i',
          '--path-as-is',
          '-H',
          hostLine,
          ...(args ?? []),
          url,
        ]);
        const [head, body] = stdout.split('\r\n\r\n');
        const lines = head.split('\r\n');
        assert.equal(Number(lines[0].split(' ')[1]), status);
        assert.equal(lines.find((line) => /^location:/i.test(line))?.slice(10), location);
        assert.ok(lines.some((line) => /^content-length: 0$/i.test(line)));
        assert.equal(body, '');
      });
    }

    test('a backslash in the path is refused', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request('GET /up/\\evil.example HTTP/1.1\r\nHost: example.com\r\n\r\n');
      assert.equal(response.status, 400);
      client.destroy();
    });

    test('content that was sent with a request is read, and the connection goes on', async () => {
      const client = await RawClient.connect(edge.port);
      for (let time = 0; time < 3; time++) {
        const chunked = 'POST /s307 HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n';
        const response = await client.request(`${chunked}5\r\nhello\r\n0\r\n\r\n`);
        assert.equal(response.status, 307);
      }
      client.destroy();
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
