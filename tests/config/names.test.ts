/** Hosts, prefixes, addresses and URLs as a configuration may write them, and the one form they get. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  maskIpRange,
  parseIpRange,
  parseListenAddress,
  parseRouteHost,
} from '../../src/config/network-names.ts';
import { Complaint } from '../../src/config/problem.ts';
import { normalisePrefix, parseBackendUrl, parseRedirectUrl } from '../../src/config/url-parts.ts';
import { isNormalPath, normalizePath } from '../../src/http/path.ts';

/** The result, or the reason of the complaint. */
function outcome<T>(result: T | Complaint): T | string {
  return result instanceof Complaint ? `refused: ${result.why}` : result;
}

const HOSTS: readonly (readonly [string, string])[] = [
  ['example.com', 'example.com'],
  ['EXAMPLE.com.', 'example.com'],
  ['localhost', 'localhost'],
  ['my_host', 'my_host'],
  ['bücher.example', 'xn--bcher-kva.example'],
  ['*', '*'],
  ['*.Example.com', '*.example.com'],
  ['192.0.2.1', '192.0.2.1'],
  ['[2001:DB8::0:1]', '[2001:db8::1]'],
  ['2001:db8::1', '[2001:db8::1]'],
  ['', 'refused: the host name is empty'],
  ['a..b', 'refused: it is not a host name'],
  ['-a', 'refused: it is not a host name'],
  ['a b', 'refused: it is not a host name'],
  ['a/b', 'refused: it is not a host name'],
  [`${'a'.repeat(63)}.b`, `${'a'.repeat(63)}.b`],
  [`${'a'.repeat(64)}.b`, 'refused: it is not a host name'],
  [`${'a.'.repeat(126)}a`, `${'a.'.repeat(126)}a`],
  [`${'a.'.repeat(126)}ab`, 'refused: a host name has at most 253 characters'],
  ['1.2.3', 'refused: it is neither a name nor an IPv4 address'],
  ['1.2.3.256', 'refused: it is neither a name nor an IPv4 address'],
  ['example.com:80', 'refused: a port has no place here'],
  ['[::1]:80', 'refused: nothing may follow the bracket'],
  ['[::1', 'refused: it is not an IPv6 address in brackets'],
  ['[fe80::1%eth0]', 'refused: it is not an IPv6 address in brackets'],
  ['*.', 'refused: the host name is empty'],
  ['*.*.a', 'refused: a wildcard stands for whole labels at the beginning'],
  ['a*.b', 'refused: a wildcard stands for whole labels at the beginning'],
  ['*.1.2.3.4', 'refused: it is neither a name nor an IPv4 address'],
];

for (const [text, expected] of HOSTS) {
  test(`host ${JSON.stringify(text)} → ${expected}`, () =>
    assert.equal(outcome(parseRouteHost(text)), expected));
}

const PREFIXES: readonly (readonly [string, string])[] = [
  ['/', '/'],
  ['/api', '/api'],
  ['/api/', '/api'],
  ['/a/./b/../c/', '/a/c'],
  ['/a/..', '/'],
  ['/%61%2dz', '/a-z'],
  ['/%2f%2F', '/%2F%2F'],
  ['/%2e%2E/a', 'refused: .. climbs above the root'],
  ['/a b', '/a%20b'],
  ['/日本', '/%E6%97%A5%E6%9C%AC'],
  ["/a:@!$&'()*+,;=~", "/a:@!$&'()*+,;=~"],
  ['', 'refused: a path begins with /'],
  ['api', 'refused: a path begins with /'],
  ['//', 'refused: two slashes follow each other'],
  ['/a//b', 'refused: two slashes follow each other'],
  ['/a//', 'refused: two slashes follow each other'],
  ['/..', 'refused: .. climbs above the root'],
  ['/a?b', 'refused: only paths are matched, never queries'],
  ['/a#b', 'refused: a fragment never reaches a server'],
  ['/a%', 'refused: % is not followed by two hexadecimal digits'],
  ['/a%zz', 'refused: % is not followed by two hexadecimal digits'],
  ['/a%00', 'refused: it holds an encoded NUL'],
  ['/a\u0000', 'refused: it holds a control character'],
  ['/a\\b', 'refused: it holds a backslash'],
  ['/\ud800', 'refused: it holds half a surrogate pair'],
];

for (const [text, expected] of PREFIXES) {
  test(`prefix ${JSON.stringify(text)} → ${expected}`, () =>
    assert.equal(outcome(normalisePrefix(text)), expected));
}

test('a prefix is in the very form that request paths are brought into', () => {
  const path = fc.array(
    fc.constantFrom('/', '.', '..', 'a', 'B', '%41', '%2f', '%2e', '%7e', '%c3%a4', ' ', 'ä', ':', '%'),
    {
      maxLength: 12,
    },
  );
  fc.assert(
    fc.property(path, (parts) => {
      const prefix = normalisePrefix(`/${parts.join('')}`);
      if (prefix instanceof Complaint) return;
      const bytes = Buffer.from(prefix, 'latin1');
      assert.ok(isNormalPath(bytes, 0, bytes.length), prefix);
      // As a request writes the same path: escaped where it must be.
      const sent = Buffer.from(`/${parts.join('').replaceAll(/[ ä]/g, encodeURIComponent)}`, 'latin1');
      const length = normalizePath(sent, 0, sent.length, 0);
      assert.equal(sent.latin1Slice(0, length).replace(/(?<=.)\/$/, ''), prefix);
    }),
    { numRuns: 3000 },
  );
});

const LISTEN: readonly (readonly [string, unknown])[] = [
  ['0.0.0.0:443', { family: 'ipv4', address: '0.0.0.0', port: 443 }],
  ['127.0.0.1:0', { family: 'ipv4', address: '127.0.0.1', port: 0 }],
  ['127.0.0.1:65535', { family: 'ipv4', address: '127.0.0.1', port: 65535 }],
  ['127.0.0.1:65536', 'refused: the port is not a number from 0 to 65535'],
  ['127.0.0.1:', 'refused: the port is not a number from 0 to 65535'],
  ['127.0.0.1:+80', 'refused: the port is not a number from 0 to 65535'],
  ['[::]:443', { family: 'ipv6', address: '::', port: 443 }],
  ['[2001:DB8:0::1]:80', { family: 'ipv6', address: '2001:db8::1', port: 80 }],
  ['unix:/run/edge.sock', { family: 'unix', path: '/run/edge.sock' }],
  [`unix:/${'a'.repeat(106)}`, { family: 'unix', path: `/${'a'.repeat(106)}` }],
  [`unix:/${'a'.repeat(107)}`, 'refused: the path of a Unix socket has at most 107 bytes'],
  ['unix:///run/a', 'refused: two slashes follow unix:'],
  [':80', 'refused: the address is missing'],
  ['*:80', 'refused: it is not an IP address and a port'],
  ['', 'refused: the address is missing'],
];

for (const [text, expected] of LISTEN) {
  test(`listener ${JSON.stringify(text)}`, () =>
    assert.deepEqual(outcome(parseListenAddress(text)), expected));
}

const BACKENDS: readonly (readonly [string, unknown])[] = [
  ['http://localhost', ['http', 'localhost', 80, '/', 'localhost']],
  ['HTTP://Localhost:8080/App/', ['http', 'localhost', 8080, '/App', 'localhost:8080']],
  ['https://a.example:443/', ['https', 'a.example', 443, '/', 'a.example']],
  ['https://a.example:80', ['https', 'a.example', 80, '/', 'a.example:80']],
  ['http://[::1]:80/a/b', ['http', '::1', 80, '/a/b', '[::1]']],
  ['http://[::1]', ['http', '::1', 80, '/', '[::1]']],
  ['unix:/run/app.sock', ['http', '/run/app.sock', null, '/', 'localhost']],
  ['unix:/run/app.sock:/base/', ['http', '/run/app.sock', null, '/base', 'localhost']],
  ['unix:/run/app.sock:base', 'refused: a path begins with /'],
  ['unix://run/app.sock', 'refused: two slashes follow unix:'],
  ['http://', 'refused: the host name is empty'],
  ['http://:80', 'refused: the host name is empty'],
  ['http://a:0', 'refused: the port is not a number from 1 to 65535'],
  ['http://a:', 'refused: the port is not a number from 1 to 65535'],
  ['http://a:65536', 'refused: the port is not a number from 1 to 65535'],
  ['http://a b/', 'refused: it holds a space or a control character'],
  ['http://a/\n', 'refused: it holds a space or a control character'],
  ['http://user:pass@a/', 'refused: credentials have no place in it'],
  ['http://a/?q', 'refused: a query or fragment has no place in it'],
  ['http://a#f', 'refused: a query or fragment has no place in it'],
  ['ftp://a', 'refused: it has no scheme that is known'],
  ['a:80', 'refused: it has no scheme that is known'],
  ['http://a/../b', 'refused: .. climbs above the root'],
];

for (const [url, expected] of BACKENDS) {
  test(`backend ${JSON.stringify(url)}`, () => {
    const result = parseBackendUrl(url);
    if (result instanceof Complaint) {
      assert.equal(outcome(result), expected);
      return;
    }
    const { scheme, target, basePath, authority } = result;
    const [place, port] = target.kind === 'tcp' ? [target.host, target.port] : [target.path, null];
    assert.deepEqual([scheme, place, port, basePath, authority], expected);
  });
}

const REDIRECTS: readonly (readonly [string, string])[] = [
  ['https://www.example.com/', ''],
  ['https://example.com$request_uri', ''],
  ['https://$host$request_uri', ''],
  ['https://www.$host:8443/a?b=$path#c', ''],
  ['/new', ''],
  ['/new$path', ''],
  ['/costs-5$', ''],
  ['//evil.example', 'it is neither an http:// or https:// URL nor a path that begins with one /'],
  ['example.com', 'it is neither an http:// or https:// URL nor a path that begins with one /'],
  ['javascript:alert(1)', 'it is neither an http:// or https:// URL nor a path that begins with one /'],
  ['/\\evil.example', 'it holds a backslash'],
  ['https://a/\r\nX: y', 'it holds a space, a control character, or one outside ASCII'],
  ['https://a/é', 'it holds a space, a control character, or one outside ASCII'],
  ['https://a/$uri', '$uri is not a variable'],
  ['https://a/$hostname', '$hostname is not a variable'],
  ['https:///a', 'the host name is empty'],
  ['https://a:99999/', 'the port is not a number from 1 to 65535'],
  ['https://u@a/', 'credentials have no place in it'],
];

for (const [url, why] of REDIRECTS) {
  test(`redirect to ${JSON.stringify(url)}`, () => {
    assert.equal(outcome(parseRedirectUrl(url)), why === '' ? url : `refused: ${why}`);
  });
}

const RANGES: readonly (readonly [string, string])[] = [
  ['192.168.1.1', '192.168.1.1'],
  ['192.168.0.0/24', '192.168.0.0/24'],
  ['192.168.1.77/24', '192.168.1.0/24'],
  ['1.2.3.4/0', '0.0.0.0/0'],
  ['1.2.3.4/32', '1.2.3.4/32'],
  ['1.2.3.4/33', 'refused: the prefix length is not a number from 0 to 32'],
  ['1.2.3.4/', 'refused: the prefix length is not a number from 0 to 32'],
  ['1.2.3.4/-1', 'refused: the prefix length is not a number from 0 to 32'],
  ['1.2.3', 'refused: it is not an IP address'],
  ['01.2.3.4', 'refused: it is not an IP address'],
  ['::1', '::1'],
  ['2001:db8::/32', '2001:db8::/32'],
  ['2001:db8:ffff::1/33', '2001:db8:8000::/33'],
  ['::/128', '::/128'],
  ['::1/129', 'refused: the prefix length is not a number from 0 to 128'],
  ['::ffff:1.2.3.4/120', '::ffff:102:300/120'],
  ['fe80::1%eth0', 'refused: it is not an IP address'],
];

for (const [text, expected] of RANGES) {
  test(`range ${text} → ${expected}`, () => {
    const range = parseIpRange(text);
    assert.equal(range instanceof Complaint ? outcome(range) : maskIpRange(range), expected);
  });
}
