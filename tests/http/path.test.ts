import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isNormalPath, normalizePath } from '../../src/http/path.ts';

/** The normal form as text, or null where the path is refused; written elsewhere and in place, which must agree. */
function normalize(path: string): string | null {
  const source = Buffer.from(path, 'latin1');
  const apart = Buffer.alloc(7 + source.length * 2 + 8);
  source.copy(apart, 7);
  const to = 7 + source.length;
  const length = normalizePath(apart, 7, source.length, to);
  assert.equal(apart.latin1Slice(7, to), path, 'the path itself is left alone');

  const inPlace = Buffer.alloc(source.length + 1);
  source.copy(inPlace);
  assert.equal(normalizePath(inPlace, 0, source.length, 0), length);
  if (length < 0) return null;
  const text = apart.latin1Slice(to, to + length);
  assert.equal(inPlace.latin1Slice(0, length), text);
  return text;
}

function isNormal(path: string): boolean {
  const bytes = Buffer.from(`xx${path}..`, 'latin1');
  return isNormalPath(bytes, 2, path.length);
}

const vectors: { name: string; input: string; expected: string | null }[] = [
  { name: 'keeps the root', input: '/', expected: '/' },
  { name: 'takes an empty path for the root', input: '', expected: '/' },
  { name: 'keeps an ordinary path', input: '/a/b.html', expected: '/a/b.html' },
  { name: 'keeps a trailing slash', input: '/a/', expected: '/a/' },
  { name: 'keeps dots inside a segment', input: '/a.b/..c/d../...', expected: '/a.b/..c/d../...' },
  { name: 'removes dot segments (RFC 3986 §5.2.4)', input: '/a/b/c/./../../g', expected: '/a/g' },
  { name: 'leaves a slash where a last dot segment was', input: '/a/b/.', expected: '/a/b/' },
  { name: 'leaves a slash where a last double dot was', input: '/a/b/..', expected: '/a/' },
  { name: 'comes back to the root', input: '/a/..', expected: '/' },
  { name: 'removes a lone dot', input: '/.', expected: '/' },
  { name: 'decodes unreserved characters', input: '/%7Euser/%41%2d%5f%2E%30', expected: '/~user/A-_.0' },
  { name: 'takes escaped dots for dots', input: '/a/%2e%2E/b/%2e/.%2e/c', expected: '/c' },
  { name: 'writes hexadecimal digits in upper case', input: '/%c3%a9%3a', expected: '/%C3%A9%3A' },
  { name: 'keeps an encoded slash encoded', input: '/a%2fb%2F..%2fc', expected: '/a%2Fb%2F..%2Fc' },
  { name: 'keeps an encoded backslash encoded', input: '/a%5c..%5Cb', expected: '/a%5C..%5Cb' },
  { name: 'decodes only once', input: '/%252e%252e/%2541', expected: '/%252e%252e/%2541' },
  { name: 'keeps empty segments', input: '//a///b//', expected: '//a///b//' },
  { name: 'removes an empty segment by a double dot', input: '/a//../b', expected: '/a/b' },
  { name: 'keeps a leading empty segment that dots uncover', input: '/a/..//b', expected: '//b' },
  { name: 'keeps bytes above ASCII', input: '/\xe9', expected: '/\xe9' },
  { name: 'refuses climbing above the root', input: '/..', expected: null },
  { name: 'refuses climbing above the root in between', input: '/a/../../a', expected: null },
  { name: 'refuses climbing by escaped dots', input: '/%2e%2e/etc/passwd', expected: null },
  { name: 'refuses climbing over an empty segment', input: '//../etc', expected: null },
  { name: 'refuses climbing over empty segments inside', input: '/a//../../b', expected: null },
  { name: 'refuses NUL', input: '/a\0b', expected: null },
  { name: 'refuses an encoded NUL', input: '/a%00b', expected: null },
  { name: 'refuses a control character', input: '/a\x1fb', expected: null },
  { name: 'refuses a space', input: '/a b', expected: null },
  { name: 'refuses DEL', input: '/a\x7f', expected: null },
  { name: 'refuses a backslash', input: '/a\\..\\b', expected: null },
  { name: 'refuses a number sign', input: '/a#b', expected: null },
  { name: 'refuses an escape without digits', input: '/a%', expected: null },
  { name: 'refuses an escape with one digit', input: '/a%4', expected: null },
  { name: 'refuses an escape across a separator', input: '/a%4/b', expected: null },
  { name: 'refuses an escape that is no number', input: '/%g0', expected: null },
  { name: 'refuses an escape that is half a number', input: '/%0g', expected: null },
  { name: 'refuses a path without its slash', input: 'a', expected: null },
  { name: 'refuses a double dot without its slash', input: '..', expected: null },
];

describe('normalizePath', () => {
  for (const { name, input, expected } of vectors) {
    it(name, () => assert.equal(normalize(input), expected));
  }

  it('is idempotent, and what it writes is normal', () => {
    fc.assert(
      fc.property(anyPath, (path) => {
        const once = normalize(path);
        if (once === null) return;
        assert.equal(normalize(once), once);
        assert.ok(isNormal(once), once);
        assert.ok(once.length <= Math.max(1, path.length));
      }),
    );
  });

  it('agrees with WHATWG URL on paths that neither refuses', () => {
    fc.assert(
      fc.property(plainPath, (path) => {
        const ours = normalize(path);
        if (ours === null) return;
        assert.equal(ours, new URL(`http://h${path}`).pathname.replaceAll(/%2e/gi, '.'));
      }),
    );
  });

  it('never leaves a dot segment or an escaped unreserved character', () => {
    fc.assert(
      fc.property(anyPath, (path) => {
        const text = normalize(path);
        if (text === null) return;
        for (const segment of text.split('/')) assert.ok(segment !== '.' && segment !== '..', text);
        for (const [, hex] of text.matchAll(/%(..)/g)) {
          assert.match(hex, /^[0-9A-F]{2}$/);
          assert.doesNotMatch(String.fromCharCode(Number.parseInt(hex, 16)), /[A-Za-z0-9._~-]/);
        }
      }),
    );
  });
});

describe('isNormalPath', () => {
  it('is true exactly where normalising changes nothing', () => {
    for (const { input } of vectors) assert.equal(isNormal(input), normalize(input) === input, input);
    fc.assert(fc.property(anyPath, (path) => isNormal(path) === (normalize(path) === path)));
  });

  it('looks at nothing beyond its bytes', () => {
    const bytes = Buffer.from('/a/%41', 'latin1');
    assert.ok(isNormalPath(bytes, 0, 3));
    assert.ok(!isNormalPath(bytes, 0, 5));
    assert.ok(isNormalPath(Buffer.from('/..', 'latin1'), 0, 1));
  });
});

const anyPath = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '/',
        '/',
        '.',
        '..',
        '/..',
        '/.',
        '%2e',
        '%2E',
        '%2f',
        '%5c',
        '%00',
        '%',
        '%4',
        '\\',
        ' ',
      ),
      fc.constantFrom('a', 'b', 'api', '~', '%41', '%7e', '%c3', '%A9', '%25', ':', '@', '\0', '\xff'),
    ),
    { maxLength: 14 },
  )
  .map((parts) => `/${parts.join('')}`);

// Without escapes but of dots: URL keeps other escapes as they are.
const plainPath = fc
  .array(fc.constantFrom('/', '/..', '/.', '/a', '/b.c', '/...', '/%2e', '/%2E.', 'd', '..'), {
    maxLength: 12,
  })
  .map((parts) => `/${parts.join('')}`);
