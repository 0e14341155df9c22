import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { E_METHOD_REFUSED, E_NOT_FOUND } from '../../src/http/fault.ts';
import { type FakeTarget, FILE_DATE, FILE_MS, type Question, RouteBench } from './file-fixture.ts';
import { BIG, site } from './file-site.ts';

interface Row {
  readonly name: string;
  readonly key?: string;
  readonly index?: string;
  readonly ask: Question | string;
  readonly status: number;
  readonly body?: string;
  readonly fields?: Readonly<Record<string, string | undefined>>;
}

// The tables of the zerocopy-server document, and what SPEC "Static files" adds.
const ROWS: readonly Row[] = [
  {
    name: 'a file beneath the prefix',
    key: '/static/',
    ask: '/static/css/style.css',
    status: 200,
    body: 'body { color: red }',
  },
  {
    name: 'the index for the prefix with a slash',
    key: '/static/',
    ask: '/static/',
    status: 200,
    body: '<h1>home</h1>',
  },
  {
    name: 'the index for the prefix without a slash, and no redirect',
    key: '/docs',
    ask: '/docs',
    status: 200,
    body: '<h1>home</h1>',
  },
  {
    name: 'the index for /docs/ where the key is /docs',
    key: '/docs',
    ask: '/docs/',
    status: 200,
    body: '<h1>home</h1>',
  },
  {
    name: 'a file in a directory beneath',
    key: '/docs',
    ask: '/docs/guide/intro.html',
    status: 200,
    body: 'intro',
  },
  { name: 'the index of a directory beneath', key: '/docs', ask: '/docs/guide/', status: 200, body: 'guide' },
  {
    name: 'the index that the configuration names',
    index: 'intro.html',
    ask: '/guide/',
    status: 200,
    body: 'intro',
  },
  { name: 'the root', ask: '/', status: 200, body: '<h1>home</h1>' },
  {
    name: 'a directory without its slash is redirected',
    ask: '/guide',
    status: 301,
    fields: { location: '/guide/' },
  },
  {
    name: 'such a redirect keeps prefix and query',
    key: '/docs',
    ask: '/docs/guide?a=1&b',
    status: 301,
    fields: { location: '/docs/guide/?a=1&b' },
  },
  {
    name: 'such a redirect never begins with two slashes',
    ask: '//guide',
    status: 301,
    fields: { location: '/guide/' },
  },
  { name: 'a directory without an index is forbidden', ask: '/bare/', status: 403 },
  { name: 'a directory whose index is a directory is forbidden', ask: '/odd/', status: 403 },
  { name: 'a missing file', ask: '/nothing', status: 404 },
  { name: 'a missing directory', ask: '/nothing/', status: 404 },
  { name: 'a file is no directory', ask: '/css/style.css/', status: 404 },
  { name: 'nothing lies beneath a file', ask: '/css/style.css/extra', status: 404 },
  { name: 'an unreadable file', ask: '/locked.txt', status: 403 },
  { name: 'neither file nor directory', ask: '/fifo', status: 403 },
  { name: 'a link out of the root', ask: '/escape', status: 403 },
  { name: 'an absolute link', ask: '/absolute', status: 403 },
  { name: 'a link in a circle', ask: '/loop', status: 403 },
  { name: 'a link within the root', ask: '/inside', status: 200, body: 'body { color: red }' },
  { name: 'an escaped name', ask: '/a%20b/%C3%BC.txt', status: 200, body: 'umlaut' },
  { name: 'an escaped slash separates nothing', ask: '/css%2Fstyle.css', status: 404 },
  { name: 'a doubled slash is one', ask: '/css//style.css', status: 200, body: 'body { color: red }' },
  {
    name: 'dots are resolved before',
    ask: '/guide/../css/./style.css',
    status: 200,
    body: 'body { color: red }',
  },
  {
    name: 'the query is not part of the name',
    ask: '/css/style.css?v=2',
    status: 200,
    body: 'body { color: red }',
  },
  { name: 'a name that is too long', ask: `/${'x'.repeat(300)}`, status: 404 },
  { name: 'a path that is too long', ask: `/${'x/'.repeat(1800)}`, status: 404 },
  { name: 'an empty file', ask: '/empty.txt', status: 200, body: '' },
  { name: 'a large file', ask: '/big.bin', status: 200 },
  { name: 'HEAD', ask: { target: '/css/style.css', method: 'HEAD' }, status: 200, body: '' },
  { name: 'HEAD of what is missing', ask: { target: '/nothing', method: 'HEAD' }, status: 404 },
  { name: 'POST', ask: { target: '/css/style.css', method: 'POST' }, status: 405 },
  { name: 'OPTIONS', ask: { target: '/css/style.css', method: 'OPTIONS' }, status: 405 },
  { name: 'another method', ask: { target: '/css/style.css', method: 'PROPFIND' }, status: 405 },
  {
    name: 'the fields of a text file',
    ask: '/css/style.css',
    status: 200,
    fields: {
      'content-type': 'text/css; charset=utf-8',
      'last-modified': FILE_DATE,
      'accept-ranges': 'bytes',
      vary: 'Accept-Encoding',
      'content-encoding': undefined,
    },
  },
  {
    name: 'the fields of other files',
    ask: '/data',
    status: 200,
    fields: { 'content-type': 'application/octet-stream', vary: undefined },
  },
];

describe('a file route', () => {
  for (const mode of ['sendfile', 'memory'] as const) {
    for (const pending of [false, true]) {
      describe(`in mode ${mode}, its reactor answering ${pending ? 'later' : 'at once'}`, () => {
        for (const row of ROWS) {
          it(`${row.name}: ${row.status}`, () => {
            const bench = site({
              mode,
              ...(row.key === undefined ? {} : { key: row.key }),
              ...(row.index === undefined ? {} : { index: row.index }),
            });
            bench.reactor.pending = pending;
            // The second time from memory, where it may be.
            for (let time = 0; time < 2; time++) {
              const target = bench.ask(row.ask);
              assert.equal(target.status, row.status);
              if (row.body !== undefined) assert.equal(target.body.toString(), row.body);
              for (const [name, value] of Object.entries(row.fields ?? {})) {
                assert.equal(target.fields.get(name), value, name);
              }
            }
            bench.close();
          });
        }
      });
    }
  }

  it('sends large files whole', () => {
    for (const mode of ['sendfile', 'memory'] as const) {
      const bench = site({ mode });
      assert.deepEqual(bench.ask('/big.bin').body, Buffer.from(BIG));
      assert.deepEqual(bench.ask('/big.bin').body, Buffer.from(BIG));
      bench.close();
    }
  });

  it('sends files of every size around its limits whole, in small reads too', () => {
    const bench = site();
    for (const size of [1, 4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536, 65537, 81920, 131073]) {
      bench.write('/srv/sized.bin', BIG.subarray(0, size));
      for (const readMost of [1000, 1 << 30]) {
        bench.reactor.readMost = readMost;
        const target = bench.ask('/sized.bin');
        assert.equal(target.status, 200);
        assert.deepEqual(target.body, Buffer.from(BIG.subarray(0, size)), `${size} bytes`);
      }
    }
    bench.close();
  });

  it('of one file matches its path only', () => {
    const bench = RouteBench.files({ path: '/srv/robots.txt', isDirectory: false }, '/robots.txt');
    bench.write('/srv/robots.txt', 'robots');
    assert.equal(bench.ask('/robots.txt').body.toString(), 'robots');
    for (const path of ['/robots.txt/', '/robots.txt/extra', '/robots.txt//']) {
      assert.equal(bench.ask(path).fault, E_NOT_FOUND, path);
    }
    bench.close();
  });

  it('of one file at / matches / only', () => {
    const bench = RouteBench.files({ path: '/srv/page.html', isDirectory: false });
    bench.write('/srv/page.html', 'page');
    assert.equal(bench.ask('/').body.toString(), 'page');
    assert.equal(bench.ask('/page.html').fault, E_NOT_FOUND);
    bench.close();
  });

  it('refuses other methods before it looks at the file', () => {
    const bench = site();
    assert.equal(bench.ask({ target: '/nothing', method: 'DELETE' }).fault, E_METHOD_REFUSED);
    assert.deepEqual(bench.reactor.opens, []);
    bench.close();
  });

  it('lets go of request content', () => {
    const bench = site();
    bench.reactor.pending = true;
    const target = bench.begin('/css/style.css');
    const buffer = bench.reactor.pool.acquire(1);
    target.responder?.onRequestData(buffer, 0, 10);
    target.responder?.onRequestEnd();
    bench.settle(target);
    assert.equal(target.status, 200);
    bench.close();
  });

  it('declares a length that HEAD and GET agree upon', () => {
    const bench = site();
    const head = bench.begin({ target: '/big.bin', method: 'HEAD' });
    assert.equal(head.response.contentLength, BIG.length);
    bench.close();
  });

  it('never sends a Last-Modified that lies in the future', () => {
    const bench = site();
    bench.write('/srv/new.txt', 'new', bench.reactor.wallMs + 86400_000);
    const target = bench.ask('/new.txt');
    assert.equal(target.fields.get('last-modified'), 'Sun, 01 Jun 2025 00:00:00 GMT');
    bench.reactor.wallMs += 1000;
    assert.equal(bench.ask('/new.txt').fields.get('last-modified'), 'Sun, 01 Jun 2025 00:00:01 GMT');
    bench.close();
  });

  it('follows a root that was replaced, within a second', () => {
    const bench = site();
    const { files } = bench.reactor;
    assert.equal(bench.ask('/css/style.css').status, 200);
    bench.write('/release2/css/style.css', 'second');
    files.remove('/srv');
    files.makeSymlink('/srv', 'release2');
    bench.reactor.nowMs += 1001;
    assert.equal(bench.ask('/css/style.css').body.toString(), 'second');
    files.remove('/srv');
    bench.reactor.nowMs += 1001;
    assert.equal(bench.ask('/css/style.css').body.toString(), 'second', 'a root that is gone stays in use');
    bench.close();
  });
});

describe('conditions and ranges of files', () => {
  const ask = (bench: RouteBench, target: string, ...fields: [string, string][]): FakeTarget =>
    bench.ask({ target, fields });

  for (const mode of ['sendfile', 'memory'] as const) {
    it(`answer 304 to the validators that were sent, with them and without content (${mode})`, () => {
      const bench = site({ mode });
      const first = bench.ask('/css/style.css');
      const etag = first.fields.get('etag') ?? '';
      assert.match(etag, /^"[0-9a-f]+-[0-9a-f]+"$/);
      for (const field of [
        ['If-None-Match', etag],
        ['If-Modified-Since', FILE_DATE],
      ] as const) {
        const again = ask(bench, '/css/style.css', [field[0], field[1]]);
        assert.equal(again.status, 304);
        assert.equal(again.body.length, 0);
        assert.equal(again.fields.get('etag'), etag);
        assert.equal(again.fields.get('last-modified'), FILE_DATE);
        assert.equal(again.fields.get('vary'), 'Accept-Encoding');
        assert.equal(again.fields.has('content-type'), false);
        assert.equal(again.response.contentLength, -1);
      }
      assert.equal(ask(bench, '/css/style.css', ['If-Match', '"other"']).status, 412);
      assert.equal(ask(bench, '/nothing', ['If-Match', '"other"']).status, 404);
      bench.close();
    });

    it(`send single ranges (${mode})`, () => {
      const bench = site({ mode });
      const etag = bench.ask('/big.bin').fields.get('etag') ?? '';
      const target = ask(bench, '/big.bin', ['Range', 'bytes=100-149999'], ['If-Range', etag]);
      assert.equal(target.status, 206);
      assert.equal(target.fields.get('content-range'), 'bytes 100-149999/200000');
      assert.deepEqual(target.body, Buffer.from(BIG.subarray(100, 150000)));
      const changed = ask(bench, '/big.bin', ['Range', 'bytes=100-199'], ['If-Range', '"old"']);
      assert.equal(changed.status, 200);
      assert.equal(changed.body.length, BIG.length);
      const beyond = ask(bench, '/big.bin', ['Range', 'bytes=200000-']);
      assert.equal(beyond.status, 416);
      assert.equal(beyond.fields.get('content-range'), 'bytes */200000');
      assert.equal(beyond.body.length, 0);
      const twice = ask(bench, '/big.bin', ['Range', 'bytes=0-1'], ['Range', 'bytes=4-5']);
      assert.equal(twice.status, 200);
      const head = bench.ask({ target: '/big.bin', method: 'HEAD', fields: [['Range', 'bytes=0-1']] });
      assert.equal(head.status, 200);
      assert.equal(ask(bench, '/empty.txt', ['Range', 'bytes=0-0']).status, 416);
      bench.close();
    });

    it(`send several ranges as parts whose lengths add up (${mode})`, () => {
      fc.assert(
        fc.property(
          fc.array(fc.tuple(fc.nat(199_999), fc.nat(90_000)), { minLength: 2, maxLength: 16 }),
          fc.boolean(),
          (specs, pending) => {
            const bench = site({ mode });
            bench.reactor.pending = pending;
            const list = specs.map(([from, more]) => `${from}-${from + more}`).join(',');
            const target = ask(bench, '/big.bin', ['Range', `bytes=${list}`]);
            assert.equal(target.status, 206);
            assert.equal(target.body.length, target.response.contentLength);
            const type = target.fields.get('content-type') ?? '';
            if (!type.startsWith('multipart/')) {
              assert.ok(target.fields.has('content-range'));
            } else {
              assert.equal(target.fields.has('content-range'), false);
              checkParts(target.body, type.slice(type.indexOf('boundary=') + 9));
            }
            bench.close();
          },
        ),
        { numRuns: 60 },
      );
    });
  }
});

/** Takes a multipart body apart by its own words; every part must be the bytes that it says. */
function checkParts(body: Buffer, boundary: string): void {
  const text = body.toString('latin1');
  let at = 0;
  let parts = 0;
  while (!text.startsWith(`\r\n--${boundary}--\r\n`, at)) {
    const opening = `\r\n--${boundary}\r\n`;
    assert.ok(text.startsWith(opening, at), 'a delimiter');
    const headEnd = text.indexOf('\r\n\r\n', at + opening.length);
    const head = text.slice(at + opening.length, headEnd).split('\r\n');
    assert.equal(head[0], 'Content-Type: application/octet-stream');
    const [, first, last, size] = /^Content-Range: bytes (\d+)-(\d+)\/(\d+)$/.exec(head[1]) ?? [];
    assert.equal(Number(size), BIG.length);
    const length = Number(last) - Number(first) + 1;
    const part = body.subarray(headEnd + 4, headEnd + 4 + length);
    assert.deepEqual(part, Buffer.from(BIG.subarray(Number(first), Number(last) + 1)));
    at = headEnd + 4 + length;
    parts++;
  }
  assert.ok(parts > 1);
  assert.equal(at + `\r\n--${boundary}--\r\n`.length, text.length);
}

describe('precompressed neighbours', () => {
  function precompressed(mode: 'sendfile' | 'memory'): RouteBench {
    const bench = site({ mode });
    bench.write('/srv/app.js', 'plain'.repeat(10));
    bench.write('/srv/app.js.br', 'brotli');
    bench.write('/srv/app.js.gz', 'gzip!');
    bench.write('/srv/photo.png', 'png');
    bench.write('/srv/photo.png.gz', 'no');
    return bench;
  }
  const accepting = (target: string, value: string): Question => ({
    target,
    fields: [['Accept-Encoding', value]],
  });

  for (const mode of ['sendfile', 'memory'] as const) {
    it(`are sent as the client weighs them, each with a tag of its own (${mode})`, () => {
      const bench = precompressed(mode);
      const tags = new Set<string>();
      const rows: readonly (readonly [string, string | undefined, string])[] = [
        ['gzip, br', 'br', 'brotli'],
        ['zstd, gzip', 'gzip', 'gzip!'],
        ['gzip, br;q=0.5', 'gzip', 'gzip!'],
        ['zstd', undefined, 'plain'.repeat(10)],
        ['identity;q=0, gzip;q=0.1', 'gzip', 'gzip!'],
        ['identity;q=0', undefined, 'plain'.repeat(10)],
        ['gzip;q=0, br;q=0', undefined, 'plain'.repeat(10)],
      ];
      for (const pending of [false, true]) {
        bench.reactor.pending = pending;
        for (const [value, coding, body] of rows) {
          const target = bench.ask(accepting('/app.js', value));
          assert.equal(target.body.toString(), body, value);
          assert.equal(target.fields.get('content-encoding'), coding);
          assert.equal(target.fields.get('content-type'), 'text/javascript; charset=utf-8');
          assert.equal(target.fields.get('vary'), 'Accept-Encoding');
          tags.add(target.fields.get('etag') ?? '');
        }
      }
      assert.equal(tags.size, 3);
      const plain = bench.ask('/app.js');
      assert.equal(plain.fields.has('content-encoding'), false);
      assert.equal(plain.fields.get('vary'), 'Accept-Encoding');
      bench.close();
    });

    it(`are what conditions and ranges are about (${mode})`, () => {
      const bench = precompressed(mode);
      const etag = bench.ask(accepting('/app.js', 'br')).fields.get('etag') ?? '';
      const fields = (value: string): [string, string][] => [
        ['Accept-Encoding', value],
        ['If-None-Match', etag],
      ];
      assert.equal(bench.ask({ target: '/app.js', fields: fields('br') }).status, 304);
      assert.equal(bench.ask({ target: '/app.js', fields: fields('gzip') }).status, 200);
      const part = bench.ask({
        target: '/app.js',
        fields: [
          ['Accept-Encoding', 'br'],
          ['Range', 'bytes=1-2'],
        ],
      });
      assert.equal(part.body.toString(), 'ro');
      assert.equal(part.fields.get('content-range'), 'bytes 1-2/6');
      assert.equal(part.fields.get('content-encoding'), 'br');
      bench.close();
    });

    it(`are found within a second, and lost as soon (${mode})`, () => {
      const bench = precompressed(mode);
      assert.equal(bench.ask(accepting('/app.js', 'zstd')).fields.get('content-encoding'), undefined);
      bench.write('/srv/app.js.zst', 'zstd');
      bench.reactor.nowMs += 1001;
      assert.equal(bench.ask(accepting('/app.js', 'zstd')).body.toString(), 'zstd');
      bench.reactor.files.remove('/srv/app.js.zst');
      bench.reactor.nowMs += 1001;
      assert.equal(bench.ask(accepting('/app.js', 'zstd')).body.toString(), 'plain'.repeat(10));
      bench.close();
    });
  }

  it('are not asked for again while they are known to be missing', () => {
    const bench = precompressed('sendfile');
    bench.ask(accepting('/css/style.css', 'gzip, br, zstd'));
    assert.deepEqual(bench.reactor.opens.splice(0), [
      'css/style.css',
      'css/style.css.br',
      'css/style.css.zst',
      'css/style.css.gz',
    ]);
    bench.ask(accepting('/css/style.css', 'gzip, br, zstd'));
    assert.deepEqual(bench.reactor.opens.splice(0), ['css/style.css']);
    bench.close();
  });

  it('are not looked for where compression never pays, nor for a client that says nothing', () => {
    const bench = precompressed('sendfile');
    const target = bench.ask(accepting('/photo.png', 'gzip'));
    assert.equal(target.body.toString(), 'png');
    assert.equal(target.fields.has('vary'), false);
    bench.ask('/app.js');
    assert.deepEqual(bench.reactor.opens, ['photo.png', 'app.js']);
    bench.close();
  });

  it('that are older than their original are not sent', () => {
    const bench = precompressed('sendfile');
    bench.write('/srv/app.js', 'newer', FILE_MS + 1001);
    assert.equal(bench.ask(accepting('/app.js', 'br')).body.toString(), 'newer');
    bench.write('/srv/app.js', 'newer', FILE_MS + 1000);
    bench.reactor.nowMs += 1001;
    assert.equal(bench.ask(accepting('/app.js', 'br')).body.toString(), 'brotli');
    bench.close();
  });

  it('that are no regular files are not sent', () => {
    const bench = site();
    bench.reactor.files.makeDirectory('/srv/css/style.css.br');
    bench.reactor.files.makeSymlink('/srv/css/style.css.gz', '../../outside/secret');
    const target = bench.ask(accepting('/css/style.css', 'br, gzip'));
    assert.equal(target.body.toString(), 'body { color: red }');
    bench.close();
  });

  it('have their own type by their own name', () => {
    const bench = precompressed('memory');
    for (let time = 0; time < 2; time++) {
      assert.equal(bench.ask(accepting('/app.js', 'gzip')).fields.get('content-encoding'), 'gzip');
      const direct = bench.ask('/app.js.gz');
      assert.equal(direct.fields.get('content-type'), 'application/gzip');
      assert.equal(direct.fields.has('content-encoding'), false);
    }
    bench.close();
  });
});

describe('what a route remembers', () => {
  it('is bounded, and right for any number of files in any order', () => {
    const bench = site();
    for (let index = 0; index < 3000; index++) bench.write(`/srv/n/${index}.txt`, `content ${index}`);
    const order = Array.from({ length: 6000 }, (_, at) => (at * 7919) % 3000);
    for (const index of order) {
      const target = bench.ask(`/n/${index}.txt`);
      assert.equal(target.body.toString(), `content ${index}`);
      assert.equal(target.fields.get('content-type'), 'text/plain; charset=utf-8');
    }
    bench.close();
  });
});
