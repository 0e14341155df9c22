/** Static files over the wire: every row of the document's tables, asked by curl, and files that change. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { until } from '../fixtures/patience.ts';
import { exchangeOnce, RawClient } from '../fixtures/raw-client.ts';

const run = promisify(execFile);

const CURL_OUTPUT_MAX = 64 << 20;
/** When the files of the site were modified. */
const MODIFIED = new Date('2024-01-02T03:04:05.678Z');
const MODIFIED_DATE = 'Tue, 02 Jan 2024 03:04:05 GMT';
/** More than all socket buffers between two processes can hold. */
const HUGE_BYTES = 48 << 20;
/** How long after a change a file's old answer may still be given, and that of a root, with some to spare. */
const STALE_MS_MAX = 1500;
const STALE_ROOT_MS_MAX = 2500;
const RANGES = 1000;

interface Answer {
  readonly status: number;
  readonly fields: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** Asks with curl; the path is sent as it is written. */
async function curl(port: number, path: string, ...args: string[]): Promise<Answer> {
  return curlHost('example.com', port, path, args);
}

async function curlHost(host: string, port: number, path: string, args: readonly string[]): Promise<Answer> {
  const all = ['-s', '-i', '--path-as-is', '--max-time', '20', ...args, `http://127.0.0.1:${port}${path}`];
  const options = { encoding: 'buffer' as const, maxBuffer: CURL_OUTPUT_MAX };
  const { stdout } = await run('curl', ['-H', `Host: ${host}`, ...all], options);
  const end = stdout.indexOf('\r\n\r\n');
  const [line, ...fields] = stdout.toString('latin1', 0, end).split('\r\n');
  const pairs = fields.map((field): [string, string] => {
    const colon = field.indexOf(':');
    return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
  });
  return { status: Number(line.split(' ')[1]), fields: new Map(pairs), body: stdout.subarray(end + 4) };
}

/** The tree that is served, and what is not. */
class Site {
  readonly root: string;
  readonly large: Buffer;

  constructor() {
    this.root = openFolder('site');
    this.large = randomBytes(1_500_000);
    this.write('assets/index.html', 'assets index');
    this.write('assets/css/style.css', 'body { color: red }');
    this.write('assets/sub/index.html', 'sub index');
    this.write('assets/bare/file.txt', 'in bare');
    this.write('assets/large.bin', this.large);
    this.write('assets/medium.bin', this.large.subarray(0, 40_000));
    this.write('assets/empty.txt', '');
    this.write('assets/name with space.txt', 'space');
    this.write('assets/ü.txt', 'umlaut');
    this.write('assets/locked.txt', 'locked');
    chmodSync(this.path('assets/locked.txt'), 0);
    const script = 'console.log("sallyport");\n'.repeat(200);
    this.write('assets/app.js', script);
    this.write('assets/app.js.br', brotliCompressSync(script));
    this.write('assets/app.js.zst', zstdCompressSync(script));
    this.write('assets/app.js.gz', gzipSync(script));
    this.write('assets/outdated.js', script);
    this.write('assets/outdated.js.gz', gzipSync('old'));
    utimesSync(this.path('assets/outdated.js.gz'), MODIFIED, new Date(MODIFIED.getTime() - 60_000));
    this.write('docs/index.html', 'docs index');
    this.write('docs/guide/intro.html', 'intro');
    this.write('user/profile.html', 'profile');
    this.write('app/dashboard.html', 'dashboard');
    this.write('robots.txt', 'robots');
    this.write('favicon.ico', randomBytes(5000));
    this.write('index.html', 'the one page');
    this.write('secret.txt', 'secret');
    symlinkSync('../secret.txt', this.path('assets/escape'));
    symlinkSync('/etc/passwd', this.path('assets/absolute'));
    symlinkSync('css/style.css', this.path('assets/inside'));
  }

  path(name: string): string {
    return join(this.root, name);
  }

  write(name: string, content: string | Buffer): void {
    mkdirSync(dirname(this.path(name)), { recursive: true });
    writeFileSync(this.path(name), content);
    utimesSync(this.path(name), MODIFIED, MODIFIED);
  }

  read(name: string): Buffer {
    return readFileSync(this.path(name));
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  /** The routes of the document's examples; everything is there a second time in the other mode. */
  routes(mode: 'sendfile' | 'memory'): string {
    const route = (key: string, path: string, more = ''): string =>
      `[path_routes."example.com"."${key}"]\ntype = "File"\npath = "${this.path(path)}"\nmode = "${mode}"\n${more}\n`;
    return [
      route('/robots.txt', 'robots.txt'),
      route('/static/', 'assets/'),
      route('/docs', 'docs/'),
      route('/user/', 'user/', 'index = "profile.html"'),
      route('/app/', 'app/', 'index = "dashboard.html"'),
      route('/favicon.ico', 'favicon.ico'),
      route('/', 'index.html'),
      route(
        '/ruled',
        'docs/',
        `[path_routes."example.com"."/ruled".security]
add_response_headers = { "X-Frame-Options" = "DENY" }
remove_response_headers = ["Accept-Ranges"]`,
      ),
      `[path_routes."example.com"."/plain"]\npath = "${this.path('docs')}"\n`,
      `[host_routes."files.example.com"]\ntype = "File"\npath = "${this.path('assets')}"\nmode = "${mode}"\n`,
    ].join('\n');
  }
}

interface Row {
  readonly path: string;
  readonly host?: string;
  readonly args?: readonly string[];
  readonly status: number;
  /** Content, or the name of the file that it is. */
  readonly body?: string;
  readonly file?: string;
  readonly fields?: Readonly<Record<string, string | null>>;
}

const ROWS: readonly Row[] = [
  // The document's tables.
  {
    path: '/robots.txt',
    status: 200,
    body: 'robots',
    fields: { 'content-type': 'text/plain; charset=utf-8' },
  },
  { path: '/robots.txt/extra', status: 404 },
  { path: '/static/css/style.css', status: 200, body: 'body { color: red }' },
  { path: '/static/', status: 200, body: 'assets index' },
  { path: '/static', status: 200, body: 'assets index' },
  { path: '/docs', status: 200, body: 'docs index' },
  { path: '/docs/', status: 200, body: 'docs index' },
  { path: '/docs/guide/intro.html', status: 200, body: 'intro' },
  { path: '/user/', status: 200, body: 'profile' },
  { path: '/app/', status: 200, body: 'dashboard' },
  { path: '/favicon.ico', status: 200, file: 'favicon.ico', fields: { 'content-type': 'image/x-icon' } },
  { path: '/plain/', status: 200, body: 'docs index' },
  { path: '/', status: 200, body: 'the one page' },
  { path: '/other', status: 404 },
  // What users expect beside them.
  { path: '/static/large.bin', status: 200, file: 'assets/large.bin' },
  { path: '/static/medium.bin', status: 200, file: 'assets/medium.bin' },
  { path: '/static/empty.txt', status: 200, body: '', fields: { 'content-length': '0' } },
  { path: '/static/name%20with%20space.txt', status: 200, body: 'space' },
  { path: '/static/%C3%BC.txt', status: 200, body: 'umlaut' },
  { path: '/static/css%2Fstyle.css', status: 404 },
  { path: '/static/%00', status: 400 },
  { path: '/static/sub/', status: 200, body: 'sub index' },
  { path: '/static/sub?x=1', status: 301, fields: { location: '/static/sub/?x=1' } },
  { path: '/static/bare/', status: 403 },
  { path: '/static/nothing', status: 404 },
  { path: '/static/css/style.css/', status: 404 },
  { path: '/static/escape', status: 403 },
  { path: '/static/absolute', status: 403 },
  { path: '/static/inside', status: 200, body: 'body { color: red }' },
  { path: '/static/../secret.txt', status: 404 },
  { path: '/static/%2e%2e/%2e%2e/etc/passwd', status: 400 },
  { path: '/static/..%2fsecret.txt', status: 404 },
  { path: '/static/locked.txt', status: 403 },
  {
    path: '/static/css/style.css',
    args: ['-X', 'POST', '-d', 'x=1'],
    status: 405,
    fields: { allow: 'GET, HEAD' },
  },
  { path: '/static/css/style.css', args: ['-X', 'OPTIONS'], status: 405, fields: { allow: 'GET, HEAD' } },
  {
    path: '/ruled/',
    status: 200,
    body: 'docs index',
    fields: { 'x-frame-options': 'DENY', 'accept-ranges': null },
  },
  { path: '/ruled/nothing', status: 404, fields: { 'x-frame-options': 'DENY' } },
  { path: '/sub/', host: 'files.example.com', status: 200, body: 'sub index' },
  // Conditions.
  {
    path: '/static/css/style.css',
    args: ['-z', MODIFIED_DATE],
    status: 304,
    body: '',
    fields: { 'content-length': null },
  },
  { path: '/static/css/style.css', args: ['-z', 'Mon, 01 Jan 2024 00:00:00 GMT'], status: 200 },
  { path: '/static/css/style.css', args: ['-H', 'If-Match: "other"'], status: 412 },
  {
    path: '/static/css/style.css',
    args: ['-H', 'If-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT'],
    status: 412,
  },
  { path: '/static/css/style.css', args: ['-H', 'If-None-Match: *'], status: 304 },
  // Ranges.
  {
    path: '/static/css/style.css',
    args: ['-r', '0-3'],
    status: 206,
    body: 'body',
    fields: { 'content-range': 'bytes 0-3/19' },
  },
  { path: '/static/css/style.css', args: ['-r', '-5'], status: 206, body: 'red }' },
  {
    path: '/static/css/style.css',
    args: ['-r', '19-'],
    status: 416,
    fields: { 'content-range': 'bytes */19' },
  },
  { path: '/static/css/style.css', args: ['-r', '9-'], status: 206, body: 'lor: red }' },
  { path: '/static/css/style.css', args: ['-H', 'Range: lines=1-2'], status: 200 },
  {
    path: '/static/css/style.css',
    args: ['-r', '0-3', '-H', 'If-Range: "other"'],
    status: 200,
    body: 'body { color: red }',
  },
  {
    path: '/static/css/style.css',
    args: ['-r', '0-3', '-H', `If-Range: ${MODIFIED_DATE}`],
    status: 206,
    body: 'body',
  },
  // Precompressed neighbours; curl undoes the coding.
  {
    path: '/static/app.js',
    status: 200,
    file: 'assets/app.js',
    fields: { 'content-encoding': null, vary: 'Accept-Encoding' },
  },
  {
    path: '/static/app.js',
    args: ['--compressed'],
    status: 200,
    file: 'assets/app.js',
    fields: {
      'content-encoding': 'br',
      vary: 'Accept-Encoding',
      'content-type': 'text/javascript; charset=utf-8',
    },
  },
  {
    path: '/static/app.js',
    args: ['-H', 'Accept-Encoding: gzip, zstd;q=0.9'],
    status: 200,
    file: 'assets/app.js.gz',
    fields: { 'content-encoding': 'gzip' },
  },
  {
    path: '/static/app.js',
    args: ['-H', 'Accept-Encoding: zstd'],
    status: 200,
    file: 'assets/app.js.zst',
    fields: { 'content-encoding': 'zstd' },
  },
  {
    path: '/static/app.js',
    args: ['-H', 'Accept-Encoding: br;q=0, gzip;q=0'],
    status: 200,
    file: 'assets/app.js',
    fields: { 'content-encoding': null },
  },
  {
    path: '/static/app.js.gz',
    status: 200,
    file: 'assets/app.js.gz',
    fields: { 'content-type': 'application/gzip', 'content-encoding': null },
  },
  {
    path: '/static/outdated.js',
    args: ['-H', 'Accept-Encoding: gzip'],
    status: 200,
    file: 'assets/outdated.js',
    fields: { 'content-encoding': null },
  },
];

/** root may read everything; without these capabilities it is refused as anyone else. */
const WITHOUT_OVERRIDE =
  process.getuid?.() === 0
    ? [
        'setpriv',
        '--inh-caps=-dac_override,-dac_read_search',
        '--bounding-set=-dac_override,-dac_read_search',
      ]
    : [];

/** Regular files that a process has open beneath a directory. */
function openFilesOf(pid: number, root: string): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
    try {
      const target = readlinkSync(`/proc/${pid}/fd/${name}`);
      return target.startsWith(`${root}/`) && /\.[a-z]+( \(deleted\))?$/.test(target) ? [target] : [];
    } catch {
      // It was closed meanwhile.
      return [];
    }
  });
}

function suite(io: IoBackend, mode: 'sendfile' | 'memory'): void {
  describe(`static files in mode ${mode} (${io})`, () => {
    let site: Site;
    let edge: Edge;

    before(async () => {
      site = new Site();
      edge = await startEdge(site.routes(mode), { io, prefix: WITHOUT_OVERRIDE });
    });
    after(async () => {
      await until(
        () => edge.rooms('edge').flatMap((pid) => openFilesOf(pid, site.root)).length === 0,
        5000,
        'all files to be closed',
      );
      await edge.stop();
      site.remove();
    });

    for (const row of ROWS) {
      test(`${row.path} ${row.args?.join(' ') ?? ''}: ${row.status}`, async () => {
        // Twice: what is remembered of a file must not change the answer.
        for (let time = 0; time < 2; time++) {
          const answer = await curlHost(row.host ?? 'example.com', edge.port, row.path, row.args ?? []);
          assert.equal(answer.status, row.status);
          const body = row.file === undefined ? row.body : site.read(row.file).toString('latin1');
          if (body !== undefined) assert.equal(answer.body.toString('latin1'), body);
          for (const [name, value] of Object.entries(row.fields ?? {})) {
            assert.equal(answer.fields.get(name) ?? null, value, name);
          }
        }
      });
    }

    test('HEAD has the fields of GET and no content', async () => {
      for (const path of ['/static/css/style.css', '/static/large.bin', '/static/app.js']) {
        const get = await curl(edge.port, path);
        const head = await curl(edge.port, path, '-I');
        assert.equal(head.body.length, 0);
        for (const [name, value] of get.fields)
          if (name !== 'date') assert.equal(head.fields.get(name), value);
        assert.equal(head.fields.get('content-length'), String(get.body.length));
      }
    });

    test('a tag that was sent answers 304', async () => {
      const { fields } = await curl(edge.port, '/static/css/style.css');
      const again = await curl(
        edge.port,
        '/static/css/style.css',
        '-H',
        `If-None-Match: ${fields.get('etag')}`,
      );
      assert.equal(again.status, 304);
      assert.equal(again.fields.get('etag'), fields.get('etag'));
      assert.equal(again.body.length, 0);
    });

    test(`${RANGES} random ranges are the bytes of the file`, { timeout: 240_000 }, async () => {
      const directory = openFolder('ranges');
      const size = site.large.length;
      const ranges = Array.from({ length: RANGES }, () => {
        const first = Math.floor(Math.random() * size);
        // Short and long ones, some beyond the end.
        const length = 1 + Math.floor(Math.random() ** 4 * size);
        return { first, last: first + length - 1 };
      });
      const config = ranges.map(
        ({ first, last }, at) =>
          `url = "http://127.0.0.1:${edge.port}/static/large.bin"\nheader = "Host: example.com"\n` +
          `range = "${first}-${last}"\noutput = "${join(directory, String(at))}"\nsilent\nfail\n`,
      );
      writeFileSync(join(directory, 'config'), config.join('next\n'));
      await run('curl', ['-K', join(directory, 'config')]);
      for (const [at, { first, last }] of ranges.entries()) {
        const got = readFileSync(join(directory, String(at)));
        assert.ok(got.equals(site.large.subarray(first, last + 1)), `bytes ${first}-${last}`);
      }
      rmSync(directory, { recursive: true });
    });

    test('several ranges come as parts', async () => {
      const answer = await curl(edge.port, '/static/large.bin', '-r', '0-99,700000-899999,-1');
      assert.equal(answer.status, 206);
      const boundary = /^multipart\/byteranges; boundary=(\S+)$/.exec(
        answer.fields.get('content-type') ?? '',
      );
      assert.ok(boundary);
      const part = (first: number, last: number): Buffer =>
        Buffer.concat([
          Buffer.from(
            `\r\n--${boundary[1]}\r\nContent-Type: application/octet-stream\r\n` +
              `Content-Range: bytes ${first}-${last}/${site.large.length}\r\n\r\n`,
          ),
          site.large.subarray(first, last + 1),
        ]);
      const end = site.large.length - 1;
      const whole = [
        part(0, 99),
        part(700000, 899999),
        part(end, end),
        Buffer.from(`\r\n--${boundary[1]}--\r\n`),
      ];
      assert.ok(answer.body.equals(Buffer.concat(whole)));
      assert.equal(answer.fields.get('content-length'), String(answer.body.length));
    });

    test('pipelined requests are answered in order', async () => {
      const client = await RawClient.connect(edge.port);
      const names = ['css/style.css', 'medium.bin', 'large.bin', 'nothing', 'empty.txt', 'app.js', 'sub/'];
      const get = (name: string): string => `GET /static/${name} HTTP/1.1\r\nHost: example.com\r\n\r\n`;
      await client.send(names.map(get).join(''));
      for (const name of names) {
        const response = await client.response();
        assert.equal(response.status, name === 'nothing' ? 404 : 200, name);
        if (name !== 'nothing') {
          const file = name.endsWith('/') ? `${name}index.html` : name;
          assert.ok(response.body.equals(site.read(`assets/${file}`)), name);
        }
      }
      client.destroy();
    });

    test('many clients get each its own file', async () => {
      for (let index = 0; index < 40; index++)
        site.write(`assets/n/${index}.bin`, randomBytes(1 + index * 5000));
      await Promise.all(
        Array.from({ length: 200 }, async (_, at) => {
          const name = `n/${(at * 7) % 40}.bin`;
          const request = `GET /static/${name} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n`;
          const response = await exchangeOnce(edge.port, request);
          assert.ok(response.body.equals(site.read(`assets/${name}`)), name);
        }),
      );
    });

    test('clients that leave in the middle leave no file open', async () => {
      site.write('assets/huge.bin', Buffer.alloc(HUGE_BYTES, 'x'));
      const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(edge.port)));
      for (const client of clients) {
        await client.send('GET /static/huge.bin HTTP/1.1\r\nHost: example.com\r\n\r\n');
        client.pauseReading();
      }
      await until(
        () => edge.rooms('edge').flatMap((pid) => openFilesOf(pid, site.root)).length > 0,
        5000,
        'the file to be open',
      );
      for (const client of clients) client.reset();
      await until(
        () => edge.rooms('edge').flatMap((pid) => openFilesOf(pid, site.root)).length === 0,
        5000,
        'the file to be closed',
      );
    });

    /** Asks on and on; no question that is put more than `staleMs` from now may be answered with what was. */
    async function isSoonSaid(path: string, expected: string, staleMs: number): Promise<void> {
      const changedMs = performance.now();
      for (;;) {
        const askedMs = performance.now() - changedMs;
        const said = (await curl(edge.port, path)).body.toString();
        if (said === expected) return;
        assert.ok(askedMs < staleMs, `after ${askedMs} ms: ${said}`);
      }
    }

    test('a file that is new, changed or removed is so for its clients within a second', async () => {
      site.write('assets/change.txt', 'first');
      assert.equal((await curl(edge.port, '/static/change.txt')).body.toString(), 'first');
      writeFileSync(site.path('assets/change.txt'), 'second');
      await isSoonSaid('/static/change.txt', 'second', STALE_MS_MAX);
      rmSync(site.path('assets/change.txt'));
      await isSoonSaid('/static/change.txt', '404 Not Found\n', STALE_MS_MAX);
    });

    test('a root that is switched to another directory is followed', async () => {
      // The route of /docs: its directory is replaced by a symbolic link.
      site.write('release/index.html', 'next release');
      renameSync(site.path('docs'), site.path('docs.old'));
      symlinkSync('release', site.path('docs'));
      await isSoonSaid('/docs/', 'next release', STALE_ROOT_MS_MAX);
      rmSync(site.path('docs'));
      renameSync(site.path('docs.old'), site.path('docs'));
      await isSoonSaid('/docs/', 'docs index', STALE_ROOT_MS_MAX);
    });
  });
}

/** Begins to read a huge file, and stops. */
async function startSlowly(edge: Edge, site: Site): Promise<RawClient> {
  const content = Buffer.alloc(HUGE_BYTES, 'old content ');
  site.write('assets/huge.bin', content);
  const client = await RawClient.connect(edge.port);
  await client.send('GET /static/huge.bin HTTP/1.1\r\nHost: example.com\r\n\r\n');
  await client.unreadAtLeast(1000);
  client.pauseReading();
  return client;
}

function changeSuite(io: IoBackend): void {
  describe(`files that change while a slow client reads (${io})`, () => {
    let site: Site;
    let edge: Edge;

    before(async () => {
      site = new Site();
      edge = await startEdge(site.routes('sendfile'), { io });
    });
    after(async () => {
      await edge.stop();
      site.remove();
    });

    /** Reads on: what comes must end before the length that was declared. */
    async function isCut(client: RawClient): Promise<void> {
      client.resumeReading();
      const { complete, body } = await client.outcome('GET', 20_000);
      assert.equal(complete, false);
      assert.ok(body.length < HUGE_BYTES, `${body.length} bytes`);
      assert.ok(!body.includes('~'), 'new content');
    }

    test('truncated: the connection is cut', async () => {
      const client = await startSlowly(edge, site);
      truncateSync(site.path('assets/huge.bin'), 1 << 20);
      await isCut(client);
      assert.equal((await curl(edge.port, '/static/huge.bin')).body.length, 1 << 20);
    });

    test('overwritten in place with the same length: the connection is cut before it looks complete', async () => {
      const client = await startSlowly(edge, site);
      const file = openSync(site.path('assets/huge.bin'), 'r+');
      writeSync(file, 'altered', 5);
      closeSync(file);
      await isCut(client);
    });

    test('grown: the connection is cut before it looks complete', async () => {
      const client = await startSlowly(edge, site);
      appendFileSync(site.path('assets/huge.bin'), 'more');
      await isCut(client);
    });

    test('replaced: the old content goes on to its end', async () => {
      const client = await startSlowly(edge, site);
      site.write('assets/next.bin', Buffer.alloc(HUGE_BYTES, '~'));
      renameSync(site.path('assets/next.bin'), site.path('assets/huge.bin'));
      client.resumeReading();
      const { body } = await client.response('GET', 20_000);
      assert.equal(body.length, HUGE_BYTES);
      assert.ok(!body.includes('~'), 'new content');
      client.destroy();
    });

    test('removed: the content goes on to its end', async () => {
      const client = await startSlowly(edge, site);
      rmSync(site.path('assets/huge.bin'));
      client.resumeReading();
      assert.equal((await client.response('GET', 20_000)).body.length, HUGE_BYTES);
      client.destroy();
    });
  });

  describe(`files without descriptors (${io})`, () => {
    test('are answered with 503, and again with 200 when there are some', async () => {
      const site = new Site();
      const edge = await startEdge(site.routes('sendfile'), { io, descriptorsMax: 80 });
      const get = 'GET /static/css/style.css HTTP/1.1\r\nHost: example.com\r\n\r\n';
      const first = await RawClient.connect(edge.port);
      assert.equal((await first.request(get)).status, 200);
      const others: RawClient[] = [];
      for (let index = 0; index < 90; index++) others.push(await RawClient.connect(edge.port));
      await until(async () => (await first.request(get)).status === 503, 5000, '503');
      for (const client of others) client.destroy();
      await until(async () => (await first.request(get)).status === 200, 5000, '200 again');
      first.destroy();
      await edge.stop();
      site.remove();
    });
  });
}

for (const io of IO_BACKENDS) {
  suite(io, 'sendfile');
  suite(io, 'memory');
  changeSuite(io);
}
