/** What people use: curl through the edge to nginx and to Node, over TCP and a Unix socket. */

import assert from 'node:assert/strict';
import { type ExecFileException, execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type NodeServer, type RunningServer, startNginx, startNodeServer } from '../fixtures/servers.ts';

const CURL_SECS_MAX = 20;

interface CurlRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function curl(...args: string[]): Promise<CurlRun> {
  return new Promise((resolve, reject) => {
    const common = ['--silent', '--show-error', '--max-time', String(CURL_SECS_MAX)];
    execFile(
      'curl',
      [...common, ...args],
      { maxBuffer: 1 << 26 },
      (error: ExecFileException | null, stdout, stderr) => {
        if (error !== null && typeof error.code !== 'number')
          reject(new Error(`curl is needed by this test: ${error}`));
        else resolve({ code: Number(error?.code ?? 0), stdout, stderr });
      },
    );
  });
}

function proxy(path: string, url: string): string {
  return `
[path_routes."127.0.0.1"."${path}"]
type = "Proxy"
url = "${url}"
[path_routes."127.0.0.1"."${path}".security]
max_request_body_size = 67108864
max_chunked_body_size = 67108864
`;
}

function suite(io: IoBackend): void {
  describe(`curl (${io})`, { concurrency: 6 }, () => {
    let nginx: RunningServer;
    let node: NodeServer;
    let unix: NodeServer;
    let edge: Edge;
    let directory: string;
    const url = (path: string): string => `http://127.0.0.1:${edge.port}${path}`;

    before(async () => {
      directory = openFolder('curl');
      writeFileSync(join(directory, 'big'), randomBytes(10 * 1024 * 1024));
      nginx = await startNginx((home) => {
        writeFileSync(join(home, 'www/page.html'), '<h1>hello</h1>\n'.repeat(1000));
        writeFileSync(join(home, 'www/big'), readFileSync(join(directory, 'big')));
        return `
        root ${home}/www; gzip on; gzip_types text/html; gzip_min_length 1; client_max_body_size 64m;
        location / { types { text/html html; } }
        location /put/ { dav_methods PUT; create_full_put_path on; }
        location /moved { return 302 /page.html; }
        location /status { return 418 "teapot"; }`;
      });
      const handler: Parameters<typeof startNodeServer>[0] = (request, response) => {
        let length = 0;
        request.on('data', (chunk: Buffer) => (length += chunk.length));
        request.on('end', () => {
          response.setHeader('Content-Type', 'application/json');
          response.end(
            JSON.stringify({ method: request.method, url: request.url, headers: request.headers, length }),
          );
        });
      };
      node = await startNodeServer(handler);
      unix = await startNodeServer(handler, true);
      edge = await startEdge(
        proxy('/nginx', nginx.url) + proxy('/node', node.url) + proxy('/unix', unix.url),
        { io },
      );
    });

    after(async () => {
      await edge.stop();
      await nginx.close();
      await node.close();
      await unix.close();
      rmSync(directory, { recursive: true, force: true });
    });

    test('a page, plain and compressed', async () => {
      const plain = await curl(url('/nginx/page.html'));
      assert.equal(plain.stdout, '<h1>hello</h1>\n'.repeat(1000));
      const compressed = await curl('--compressed', '-D', '-', url('/nginx/page.html'));
      assert.match(compressed.stdout, /content-encoding: gzip/i);
      assert.ok(compressed.stdout.endsWith('<h1>hello</h1>\n'.repeat(1000)));
    });

    test('HEAD', async () => {
      const { stdout } = await curl('-I', url('/nginx/page.html'));
      assert.match(stdout, /^HTTP\/1\.1 200 OK\r\n/);
      assert.match(stdout, /content-length: 15000\r\n/i);
    });

    test('a conditional request', async () => {
      const first = await curl('-I', url('/nginx/page.html'));
      const etag = /etag: (.*)\r\n/i.exec(first.stdout)?.[1] ?? '';
      const second = await curl(
        '-o',
        '/dev/null',
        '-w',
        '%{http_code} %{size_download}',
        '-H',
        `If-None-Match: ${etag}`,
        url('/nginx/page.html'),
      );
      assert.equal(second.stdout, '304 0');
    });

    test('ranges', async () => {
      const big = readFileSync(join(directory, 'big'));
      const file = join(directory, `range-${io}`);
      await curl('-r', '1000000-1999999', '-o', file, url('/nginx/big'));
      assert.ok(readFileSync(file).equals(big.subarray(1_000_000, 2_000_000)));
    });

    test('a big file', async () => {
      const file = join(directory, `download-${io}`);
      const run = await curl('-o', file, url('/nginx/big'));
      assert.equal(run.code, 0, run.stderr);
      assert.ok(readFileSync(file).equals(readFileSync(join(directory, 'big'))));
    });

    test('a resumed download', async () => {
      const big = readFileSync(join(directory, 'big'));
      const file = join(directory, `resumed-${io}`);
      writeFileSync(file, big.subarray(0, 3_333_333));
      const run = await curl('-C', '-', '-o', file, url('/nginx/big'));
      assert.equal(run.code, 0, run.stderr);
      assert.ok(readFileSync(file).equals(big));
    });

    for (const [name, args] of [
      ['with a length (and 100-continue, which curl asks for)', []],
      ['in chunks', ['-H', 'Transfer-Encoding: chunked']],
      ['without 100-continue', ['-H', 'Expect:']],
    ] as const) {
      test(`an upload ${name}`, async () => {
        const path = `/nginx/put/${io}-${name.replaceAll(/\W/g, '')}`;
        const put = await curl(...args, '-T', join(directory, 'big'), '-w', '%{http_code}', url(path));
        assert.match(put.stdout, /20[14]$/);
        const file = join(directory, path.replaceAll('/', '-'));
        await curl('-o', file, url(path));
        assert.ok(readFileSync(file).equals(readFileSync(join(directory, 'big'))));
      });
    }

    for (const backend of ['node', 'unix']) {
      test(`a form by POST (${backend})`, async () => {
        const { stdout } = await curl('-d', 'a=b&c=d', url(`/${backend}/form?x=y`));
        const seen = JSON.parse(stdout);
        assert.deepEqual([seen.method, seen.url, seen.length], ['POST', '/form?x=y', 7]);
        assert.equal(seen.headers.host, `127.0.0.1:${edge.port}`);
      });

      test(`a file in a form (${backend})`, async () => {
        const { stdout } = await curl('-F', `file=@${join(directory, 'big')}`, url(`/${backend}/`));
        assert.ok(JSON.parse(stdout).length > 10 * 1024 * 1024);
      });

      test(`HTTP/1.0 (${backend})`, async () => {
        const { stdout } = await curl('--http1.0', '-D', '-', url(`/${backend}/`));
        assert.match(stdout, /^HTTP\/1\.1 200 OK\r\n/);
        assert.match(stdout, /"method":"GET"/);
      });
    }

    test('redirects are followed within the edge', async () => {
      const { stdout } = await curl(
        '-o',
        '/dev/null',
        '-w',
        '%{http_code} %{redirect_url}',
        url('/nginx/moved'),
      );
      assert.match(stdout, /^302 http/);
    });

    test('odd statuses', async () => {
      const { stdout } = await curl('-w', '%{http_code}', url('/nginx/status'));
      assert.equal(stdout, 'teapot418');
    });

    test('several requests on one connection', async () => {
      const urls = Array.from({ length: 20 }, (_, index) => url(`/node/${index}`));
      const outputs = urls.flatMap((one) => ['-o', '/dev/null', one]);
      const { stdout } = await curl('-w', '%{num_connects}\n', ...outputs);
      assert.deepEqual(stdout.trim().split('\n'), ['1', ...Array(19).fill('0')]);
    });

    test('an h2c upgrade that curl proposes is declined, and the request served', async () => {
      const { stdout } = await curl(
        '--http2',
        '-w',
        '%{http_version} %{http_code}',
        '-o',
        '/dev/null',
        url('/node/'),
      );
      assert.equal(stdout, '1.1 200');
    });

    test('a path as it is', async () => {
      const { stdout } = await curl('--path-as-is', url('/node/a/../b/./c%20d'));
      assert.equal(JSON.parse(stdout).url, '/b/c%20d');
    });

    test('an absolute target, as a proxy’s client sends it', async () => {
      const { stdout } = await curl('-x', `http://127.0.0.1:${edge.port}`, url('/node/via-proxy'));
      assert.equal(JSON.parse(stdout).url, '/via-proxy');
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
