import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Precedence, Router, type RouterEntry } from '../../src/edge/router.ts';

type Entry = RouterEntry<string>;

function route(host: string, path: string | null, exact = false): Entry {
  return { host, path, value: `${host}|${path}`, exact };
}

/** The key of the host that answers, or null. */
function hostOf(router: Router<string>, authority: string): string | null {
  const bytes = Buffer.from(`__${authority}__`, 'latin1');
  return router.findHost(bytes, 2, authority.length)?.host ?? null;
}

/** The route that answers: null for 404, undefined for 421. */
function find(router: Router<string>, authority: string, path: string): string | null | undefined {
  const bytes = Buffer.from(`__${authority}${path}/z`, 'latin1');
  const table = router.findHost(bytes, 2, authority.length);
  return table === null ? undefined : table.find(bytes, 2 + authority.length, path.length);
}

describe('hosts', () => {
  const router = new Router(
    [
      'example.com',
      'a.example.com',
      '*.example.com',
      '*.b.example.com',
      '192.0.2.1',
      '[2001:DB8::1]',
      'LOUD.test',
    ].map((host) => route(host, '/')),
    'host',
  );
  const expectations: [string, string | null][] = [
    ['example.com', 'example.com'],
    ['EXAMPLE.com', 'example.com'],
    ['example.com:8080', 'example.com'],
    ['example.com.', 'example.com'],
    ['example.com.:80', 'example.com'],
    ['example.com:', 'example.com'],
    ['a.example.com', 'a.example.com'],
    ['c.example.com', '*.example.com'],
    ['C.Example.Com.:443', '*.example.com'],
    ['x.y.z.example.com', '*.example.com'],
    ['b.example.com', '*.example.com'],
    ['x.b.example.com', '*.b.example.com'],
    ['y.x.b.example.com', '*.b.example.com'],
    ['x.a.example.com', '*.example.com'],
    ['.example.com', null],
    ['notexample.com', null],
    ['example.com.evil.test', null],
    ['com', null],
    ['', null],
    ['.', null],
    ['loud.test', 'loud.test'],
    ['192.0.2.1', '192.0.2.1'],
    ['192.0.2.1:80', '192.0.2.1'],
    ['192.0.2.2', null],
    ['[2001:db8::1]', '[2001:db8::1]'],
    ['[2001:DB8:0:0::1]:443', '[2001:db8::1]'],
    ['[2001:db8::2]', null],
    ['[', null],
  ];
  for (const [authority, expected] of expectations) {
    it(`gives '${authority}' to ${expected ?? 'nobody'}`, () =>
      assert.equal(hostOf(router, authority), expected));
  }

  it('gives a host that no other key names to *', () => {
    const open = new Router([route('*', '/'), route('example.com', '/'), route('[::1]', '/')], 'host');
    assert.equal(hostOf(open, 'example.com'), 'example.com');
    assert.equal(hostOf(open, 'example.org'), '*');
    assert.equal(hostOf(open, ''), '*');
    assert.equal(hostOf(open, '[::2]'), '*');
    assert.equal(hostOf(open, '[::1]'), '[::1]');
  });

  it('does not fall through to a wildcard when an exact host has no route for a path', () => {
    const both = new Router([route('a.example.com', '/api'), route('*.example.com', '/')], 'host');
    assert.equal(find(both, 'a.example.com', '/other'), null);
    assert.equal(find(both, 'b.example.com', '/other'), '*.example.com|/');
  });

  it('knows nobody without entries', () => assert.equal(hostOf(new Router([], 'host'), 'example.com'), null));
});

describe('paths', () => {
  const router = new Router(
    [
      route('h', '/api'),
      route('h', '/api/v1/'),
      route('h', '/docs/'),
      route('h', '/robots.txt', true),
      route('h', '/robots.txt/deep'),
      route('h', '/'),
      route('h', '/日本'),
      route('file', '/', true),
      route('file', '/x'),
      route('bare', '/only'),
    ],
    'host',
  );
  const expectations: [string, string, string | null][] = [
    ['h', '/api', 'h|/api'],
    ['h', '/api/', 'h|/api'],
    ['h', '/api/x', 'h|/api'],
    ['h', '/api//x', 'h|/api'],
    ['h', '/apix', 'h|/'],
    ['h', '/ap', 'h|/'],
    ['h', '/API', 'h|/'],
    ['h', '/api%2Fv1', 'h|/'],
    ['h', '/api/v1', 'h|/api/v1/'],
    ['h', '/api/v1/users/7', 'h|/api/v1/'],
    ['h', '/api/v10', 'h|/api'],
    ['h', '//api', 'h|/'],
    ['h', '/docs', 'h|/docs/'],
    ['h', '/docs/', 'h|/docs/'],
    ['h', '/', 'h|/'],
    ['h', '/robots.txt', 'h|/robots.txt'],
    ['h', '/robots.txt/', null],
    ['h', '/robots.txt/extra', null],
    ['h', '/robots.txt/deep/er', 'h|/robots.txt/deep'],
    ['h', '/robots.txts', 'h|/'],
    ['h', '/%E6%97%A5%E6%9C%AC/x', 'h|/日本'],
    ['file', '/', 'file|/'],
    ['file', '/index.html', null],
    ['file', '//', null],
    ['file', '/x/y', 'file|/x'],
    ['bare', '/', null],
    ['bare', '/only', 'bare|/only'],
  ];
  for (const [host, path, expected] of expectations) {
    it(`routes ${host}${path} to ${expected ?? '404'}`, () =>
      assert.equal(find(router, host, path), expected));
  }

  it('takes the first of two entries with the same path', () => {
    const twice = new Router(
      [
        { host: 'h', path: '/a', value: 'first', exact: false },
        { host: 'h', path: '/a/', value: 'second', exact: false },
      ],
      'host',
    );
    assert.equal(find(twice, 'h', '/a'), 'first');
  });
});

describe('precedence', () => {
  const entries = [route('h', null), route('h', '/api'), route('h', '/one', true)];

  it('serves a host route before its path routes, as documented', () => {
    const router = new Router(entries, 'host');
    for (const path of ['/', '/api', '/one/two']) assert.equal(find(router, 'h', path), 'h|null');
  });

  it('asks path routes first when turned round', () => {
    const router = new Router(entries, 'path');
    assert.equal(find(router, 'h', '/'), 'h|null');
    assert.equal(find(router, 'h', '/api/x'), 'h|/api');
    assert.equal(find(router, 'h', '/one'), 'h|/one');
    assert.equal(find(router, 'h', '/one/two'), null);
    assert.equal(find(router, 'h', '/other'), 'h|null');
  });

  it('lets path routes have what a host route to a single file leaves', () => {
    const router = new Router([route('h', null, true), route('h', '/api')], 'host');
    assert.equal(find(router, 'h', '/'), 'h|null');
    assert.equal(find(router, 'h', '/api'), 'h|/api');
    assert.equal(find(router, 'h', '/other'), null);
  });
});

describe('against strings', () => {
  /** The rules of the document again, as naively as can be. */
  function naive(entries: readonly Entry[], precedence: Precedence, authority: string, path: string) {
    const host = authority.toLowerCase().replace(/:.*$/, '').replace(/\.$/, '');
    const keys = [...new Set(entries.map((entry) => entry.host))];
    const key =
      keys.find((each) => each === host && each !== '*' && !each.startsWith('*.')) ??
      keys
        .filter((each) => each.startsWith('*.') && host.length >= each.length && host.endsWith(each.slice(1)))
        .sort((a, b) => b.length - a.length)[0] ??
      keys.find((each) => each === '*');
    if (key === undefined) return undefined;
    const whole = entries.find((entry) => entry.host === key && entry.path === null);
    const wholeMatches = whole !== undefined && (!whole.exact || path === '/');
    if (wholeMatches && precedence === 'host') return whole.value;
    const bare = (entry: Entry) => (entry.path as string).replace(/\/+$/, '');
    const matching = entries
      .filter((entry) => entry.host === key && entry.path !== null)
      .filter((entry) => `${path}/`.startsWith(`${bare(entry)}/`))
      .sort((a, b) => bare(b).length - bare(a).length);
    const longest = matching[0];
    if (longest !== undefined && (!longest.exact || path === (bare(longest) || '/'))) return longest.value;
    if (longest !== undefined && bare(longest) !== '') return null;
    return wholeMatches ? whole.value : null;
  }

  const hostKey = fc.constantFrom('a', 'b.a', '*.a', '*.b.a', 'c.b.a', '*', '10.0.0.1', 'ab');
  const authority = fc
    .tuple(
      fc.constantFrom('a', 'A', 'b.a', 'x.b.A', 'c.b.a', 'ab', 'cab', '10.0.0.1', 'a.b', ''),
      fc.constantFrom('', '.', ':80', '.:80'),
    )
    .map((parts) => parts.join(''));
  const path = fc
    .array(fc.constantFrom('a', 'b', 'ab', 'a%2Fb', ''), { minLength: 1, maxLength: 4 })
    .map((segments) => `/${segments.join('/')}`);
  const entry = fc
    .record({ host: hostKey, path: fc.option(path, { freq: 8 }), exact: fc.boolean() })
    .map(({ host, path, exact }) => ({ host, path, exact, value: `${host}|${path}` }));

  it('finds the same routes as a plain implementation with strings', () => {
    fc.assert(
      fc.property(
        fc.array(entry, { maxLength: 12 }),
        fc.constantFrom<Precedence>('host', 'path'),
        fc.array(fc.tuple(authority, path), { minLength: 1, maxLength: 8 }),
        (entries, precedence, requests) => {
          const router = new Router(entries, precedence);
          for (const [host, path] of requests) {
            assert.equal(find(router, host, path), naive(entries, precedence, host, path), `${host} ${path}`);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('finds each of a thousand hosts and paths', () => {
    const entries = Array.from({ length: 1000 }, (_, index) => route(`h${index % 37}.test`, `/p/${index}`));
    const router = new Router(entries, 'host');
    for (const each of entries) assert.equal(find(router, each.host, `${each.path}/x`), each.value);
  });
});
