import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { RedirectAction } from '../../src/config/model.ts';
import { E_HOST_MISSING } from '../../src/http/fault.ts';
import { normalizePath } from '../../src/http/path.ts';
import { type Question, RouteBench } from './file-fixture.ts';

interface Row {
  readonly name: string;
  readonly url: string;
  readonly key?: string;
  readonly preserve?: boolean;
  readonly ask: Question | string;
  readonly location: string;
}

const V2 = 'https://example.com/v2';

// The table of the zerocopy-server document first.
const ROWS: readonly Row[] = [
  {
    name: 'a fixed URL',
    url: 'https://www.example.com/',
    ask: '/any?x=1',
    location: 'https://www.example.com/',
  },
  {
    name: 'preserve_path',
    url: V2,
    key: '/legacy/',
    preserve: true,
    ask: '/legacy/users',
    location: `${V2}/users`,
  },
  {
    name: 'preserve_path, deeper',
    url: V2,
    key: '/legacy/',
    preserve: true,
    ask: '/legacy/api/data',
    location: `${V2}/api/data`,
  },
  {
    name: '$request_uri',
    url: 'https://example.com$request_uri',
    ask: '/a/b?c=d&e',
    location: 'https://example.com/a/b?c=d&e',
  },
  {
    name: '$request_uri holds the prefix',
    url: 'https://example.com$request_uri',
    key: '/old',
    ask: '/old/a',
    location: 'https://example.com/old/a',
  },
  {
    name: '$path',
    url: 'https://example.com/new$path',
    key: '/old',
    ask: '/old/a?q',
    location: 'https://example.com/new/a',
  },
  {
    name: '$path behind a slash',
    url: 'https://example.com/new/$path',
    key: '/old',
    ask: '/old/a',
    location: 'https://example.com/new/a',
  },
  {
    name: '$path of the prefix itself',
    url: 'https://example.com$path',
    key: '/old',
    ask: '/old',
    location: 'https://example.com',
  },
  {
    name: '$host without its port, in lower case',
    url: 'https://$host/x',
    ask: { target: '/', host: 'WWW.Example.com:8080' },
    location: 'https://www.example.com/x',
  },
  {
    name: '$host of an IPv6 literal',
    url: 'https://$host/',
    ask: { target: '/', host: '[2001:db8::1]:80' },
    location: 'https://[2001:db8::1]/',
  },
  {
    name: '$host and $request_uri',
    url: 'https://$host$request_uri',
    ask: { target: '/p?q', host: 'h:1' },
    location: 'https://h/p?q',
  },
  {
    name: 'a variable in the query',
    url: 'https://id.example/?from=$request_uri',
    ask: '/p?q=1',
    location: 'https://id.example/?from=/p?q=1',
  },
  {
    name: 'a name that only begins like a variable',
    url: 'https://e.com/$paths$hosted$',
    ask: '/p',
    location: 'https://e.com/$paths$hosted$',
  },
  {
    name: 'one slash between two',
    url: `${V2}/`,
    key: '/legacy',
    preserve: true,
    ask: '/legacy/users',
    location: `${V2}/users`,
  },
  { name: 'the prefix alone', url: V2, key: '/legacy', preserve: true, ask: '/legacy', location: V2 },
  {
    name: 'the prefix with a slash',
    url: V2,
    key: '/legacy',
    preserve: true,
    ask: '/legacy/',
    location: `${V2}/`,
  },
  {
    name: 'a URL without a path',
    url: 'https://e.com',
    preserve: true,
    ask: '/a',
    location: 'https://e.com/a',
  },
  { name: 'the root', url: 'https://e.com/', preserve: true, ask: '/', location: 'https://e.com/' },
  { name: 'the query is kept', url: V2, preserve: true, ask: '/a?b=c', location: `${V2}/a?b=c` },
  { name: 'an empty query is kept', url: V2, preserve: true, ask: '/a?', location: `${V2}/a?` },
  {
    name: 'two queries become one',
    url: `${V2}?src=old`,
    preserve: true,
    ask: '/a?b=c',
    location: `${V2}/a?src=old&b=c`,
  },
  {
    name: 'the URL keeps its fragment',
    url: `${V2}#top`,
    preserve: true,
    ask: '/a?b',
    location: `${V2}/a?b#top`,
  },
  {
    name: 'preserve_path adds nothing to a URL that holds the path',
    url: 'https://e.com$request_uri',
    preserve: true,
    ask: '/a?b',
    location: 'https://e.com/a?b',
  },
  { name: 'two slashes name no host', url: '$request_uri', ask: '//evil.com/x', location: '/evil.com/x' },
  {
    name: 'two slashes after preserve_path name no host',
    url: '/',
    preserve: true,
    ask: '//evil.com/x',
    location: '/evil.com/x',
  },
  { name: 'nor behind a prefix', url: '$path', key: '/go', ask: '/go//evil.com', location: '/evil.com' },
  {
    name: 'bytes that are none of a URI are escaped',
    url: V2,
    preserve: true,
    ask: '/a"<\xe9>?b|"',
    location: `${V2}/a%22%3C%E9%3E?b%7C%22`,
  },
  { name: 'escapes stay', url: V2, preserve: true, ask: '/a%20b%2Fc', location: `${V2}/a%20b%2Fc` },
  { name: 'a relative URL', url: '/new', key: '/old', preserve: true, ask: '/old/a', location: '/new/a' },
];

function benchOf(row: Row, status: RedirectAction['status'] = 301): RouteBench {
  return RouteBench.redirect({ url: row.url, preservePath: row.preserve ?? false, status }, row.key);
}

describe('a redirect', () => {
  for (const row of ROWS) {
    it(`${row.name}: ${row.location}`, () => {
      const target = benchOf(row).ask(row.ask);
      assert.equal(target.status, 301);
      assert.equal(target.fields.get('location'), row.location);
      assert.equal(target.body.length, 0);
      assert.equal(target.response.contentLength, 0);
    });
  }

  for (const status of [301, 302, 303, 307, 308] as const) {
    for (const method of ['GET', 'HEAD', 'POST', 'DELETE', 'PROPFIND']) {
      it(`answers ${method} with ${status}`, () => {
        const target = benchOf({ name: '', url: V2, ask: '', location: '' }, status).ask({
          target: '/',
          method,
        });
        assert.equal(target.status, status);
        assert.equal(target.fields.get('location'), V2);
      });
    }
  }

  it('without a host to name is refused', () => {
    const bench = RouteBench.redirect({ url: 'https://$host/' });
    assert.equal(bench.ask({ target: '/', host: '' }).fault, E_HOST_MISSING);
  });

  it('never leads to a host that the configuration does not name', () => {
    const url = 'http://edge.example/page';
    const templates = [
      '$request_uri',
      '$path',
      '/',
      '/x',
      'https://good.example',
      'https://good.example/$path',
    ];
    const segment = fc.string({ unit: fc.constantFrom(...'/.:@ae%2Fvil\x80;'), maxLength: 12 });
    const benches = templates.flatMap((template) =>
      [false, true].map((preservePath) => ({
        host: template.startsWith('https:') ? 'good.example' : 'edge.example',
        bench: RouteBench.redirect({ url: template, preservePath }),
      })),
    );
    fc.assert(
      fc.property(fc.constantFrom(...benches), segment, ({ host, bench }, text) => {
        const path = `/${text.replaceAll(/%(?![0-9A-F]{2})/g, '%25').replaceAll('%00', '%25')}`;
        // What climbs above the root never reaches a route.
        const bytes = new Uint8Array(Buffer.from(path, 'latin1'));
        fc.pre(normalizePath(bytes, 0, bytes.length, 0) > 0);
        const location = bench.ask(path).fields.get('location') ?? '';
        assert.match(location, /^[\x21-\x7e]+$/);
        assert.equal(new URL(location, url).hostname, host);
      }),
      { numRuns: 3000 },
    );
  });
});
