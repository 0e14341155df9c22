/**
 * Legal neighbours of the hostile requests: whatever stands beside a refused form and is in order must be
 * served, or the strictness is worth nothing. `check` looks at what the origin was asked.
 */

import assert from 'node:assert/strict';
import { type Echo, echoed } from '../fixtures/origin.ts';
import { chunked, get, HOST, post } from './request-case.ts';

export interface AcceptedCase {
  readonly name: string;
  readonly request: string;
  /** Statuses of the responses, in order. */
  readonly statuses: readonly number[];
  /** The connection ends behind the responses. */
  readonly closes: boolean;
  /** Gets the origin's accounts of the requests, in order. */
  readonly check: (echoes: readonly Echo[]) => void;
}

const nothing = (): void => {};

function accepted(
  name: string,
  request: string,
  check: (echo: Echo) => void = nothing,
  closes = false,
): AcceptedCase {
  return { name, request, statuses: [200], closes, check: (echoes) => check(echoes[0]) };
}

function target(text: string, forwarded: string): AcceptedCase {
  return accepted(`the target ${text.slice(0, 60)}`, `GET ${text} HTTP/1.1\r\n${HOST}\r\n`, (echo) => {
    assert.equal(echo.target, forwarded);
  });
}

function forwardedField(name: string, line: string, field: string, value: string | undefined): AcceptedCase {
  return accepted(name, get(`${line}\r\n`), (echo) => assert.equal(echoed(echo, field), value));
}

function hasBody(length: number): (echo: Echo) => void {
  return (echo) => assert.equal(echo.bodyLength, length);
}

const SMUGGLED = 'GET /poison-$ID HTTP/1.1\r\nHost: example.com\r\n\r\n';

const FRAMING: readonly AcceptedCase[] = [
  accepted('a GET with a length of 0', get('Content-Length: 0\r\n'), hasBody(0)),
  accepted('a GET with content', `${get('Content-Length: 5\r\n')}hello`, hasBody(5)),
  accepted(
    'a GET with chunked content',
    `${get('Transfer-Encoding: chunked\r\n')}5\r\nhello\r\n0\r\n\r\n`,
    hasBody(5),
  ),
  accepted(
    'a DELETE with content',
    `DELETE /$ID HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
    hasBody(5),
  ),
  accepted(
    'an OPTIONS with content',
    `OPTIONS /$ID HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
    hasBody(5),
  ),
  accepted('a POST without a length', post('', ''), hasBody(0)),
  accepted('a POST with a length of 0', post('Content-Length: 0\r\n', ''), hasBody(0)),
  accepted(
    'a length with spaces and tabs around it',
    post('Content-Length: \t 5 \t\r\n', 'hello'),
    hasBody(5),
  ),
  accepted('a length without a space', post('Content-Length:5\r\n', 'hello'), hasBody(5)),
  accepted('a length in lower case', post('content-length: 5\r\n', 'hello'), hasBody(5)),
  accepted('a length in upper case', post('CONTENT-LENGTH: 5\r\n', 'hello'), hasBody(5)),
  accepted(
    'CL.0: content that looks like a request',
    post(`Content-Length: ${48}\r\n`, 'x'.repeat(48)),
    hasBody(48),
  ),
  accepted(
    'content that is a request, under a length',
    post('Content-Length: 100\r\n', SMUGGLED.replace('$ID', 'literally').padEnd(100, 'x')),
    hasBody(100),
  ),
  accepted(
    'content that is a request, behind a GET',
    `${get('Content-Length: 100\r\n')}${SMUGGLED.replace('$ID', 'literally').padEnd(100, 'x')}`,
    hasBody(100),
  ),
  accepted('chunked content', chunked('5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n'), hasBody(11)),
  accepted(
    'a coding in mixed case',
    post('Transfer-Encoding: Chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'),
    hasBody(5),
  ),
  accepted(
    'a coding in upper case',
    post('TRANSFER-ENCODING: CHUNKED\r\n', '5\r\nhello\r\n0\r\n\r\n'),
    hasBody(5),
  ),
  accepted(
    'a coding without a space',
    post('transfer-encoding:chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'),
    hasBody(5),
  ),
  accepted(
    'a coding with spaces and tabs around it',
    post('Transfer-Encoding: \t chunked \t\r\n', '5\r\nhello\r\n0\r\n\r\n'),
    hasBody(5),
  ),
  accepted('chunked content that is empty', chunked('0\r\n\r\n'), hasBody(0)),
  accepted('a chunk size in upper case', chunked('A\r\nhellohello\r\n0\r\n\r\n'), hasBody(10)),
  accepted('a chunk size in lower case', chunked('a\r\nhellohello\r\n0\r\n\r\n'), hasBody(10)),
  accepted('a chunk size with leading noughts', chunked('0005\r\nhello\r\n0\r\n\r\n'), hasBody(5)),
  accepted('a last chunk of several noughts', chunked('5\r\nhello\r\n000\r\n\r\n'), hasBody(5)),
  accepted('chunks of one byte', chunked('1\r\nh\r\n1\r\ni\r\n0\r\n\r\n'), hasBody(2)),
  accepted('content that looks like a last chunk', chunked('5\r\n0\r\n\r\n\r\n0\r\n\r\n'), hasBody(5)),
  accepted('a chunk extension without a value', chunked('5;a\r\nhello\r\n0\r\n\r\n'), hasBody(5)),
  accepted('a chunk extension with a value', chunked('5;a=b\r\nhello\r\n0\r\n\r\n'), hasBody(5)),
  accepted('a chunk extension in quotes', chunked('5;a="b c;d=\\"e"\r\nhello\r\n0\r\n\r\n'), hasBody(5)),
  accepted('several chunk extensions', chunked('5;a=b;c;d="e"\r\nhello\r\n0;f\r\n\r\n'), hasBody(5)),
  accepted('trailers', chunked('5\r\nhello\r\n0\r\nX-Checksum: abc\r\nX-Other: \r\n\r\n'), hasBody(5)),
  {
    ...accepted(
      'an unread pipeline of three',
      get('') + post('Content-Length: 5\r\n', 'hello') + get('X: y\r\n'),
    ),
    statuses: [200, 200, 200],
    check: (echoes) =>
      assert.deepEqual(
        echoes.map(({ method }) => method),
        ['GET', 'POST', 'GET'],
      ),
  },
  {
    ...accepted(
      'an empty line behind a POST, then a GET',
      `${post('Content-Length: 5\r\n', 'hello')}\r\n${get('')}`,
    ),
    statuses: [200, 200],
    check: (echoes) =>
      assert.deepEqual(
        echoes.map(({ method }) => method),
        ['POST', 'GET'],
      ),
  },
  accepted(
    'a length beside an alias of a coding',
    post('Content-Length: 5\r\nTransfer_Encoding: chunked\r\n', 'hello'),
    hasBody(5),
  ),
  accepted(
    'a length beside an alias of a length',
    post('Content-Length: 5\r\nContent_Length: 3\r\n', 'hello'),
    hasBody(5),
  ),
  accepted(
    'a length beside a name that ends like a coding',
    post('Content-Length: 5\r\nX-Transfer-Encoding: chunked\r\n', 'hello'),
    hasBody(5),
  ),
];

const HEADS: readonly AcceptedCase[] = [
  accepted('one empty line before the request line', `\r\n${get('')}`),
  accepted('a mixed case of names', `GET /$ID HTTP/1.1\r\nhOsT: example.com\r\nx-TeSt: a\r\n\r\n`, (echo) => {
    assert.equal(echoed(echo, 'x-test'), 'a');
  }),
  forwardedField('a value without spaces around it', 'X-Test:a', 'x-test', 'a'),
  forwardedField('a value with spaces and tabs around it', 'X-Test: \t a b \t ', 'x-test', 'a b'),
  forwardedField('a tab inside a value', 'X-Test: a\tb', 'x-test', 'a\tb'),
  forwardedField('an empty value', 'X-Test:', 'x-test', ''),
  forwardedField('a value of spaces', 'X-Test:    ', 'x-test', ''),
  forwardedField('a value with bytes above 127', 'X-Test: caf\xe9 \x80\xff', 'x-test', 'caf\xe9 \x80\xff'),
  forwardedField('a value with colons', 'X-Test: a:b: c', 'x-test', 'a:b: c'),
  forwardedField('a name of all token characters', "!#$%&'*+-.^`|~09: a", "!#$%&'*+-.^`|~09", 'a'),
  forwardedField('a name of one character', 'X: a', 'x', 'a'),
  forwardedField('a field on two lines', 'X-Test: a\r\nX-Test: b', 'x-test', 'a, b'),
  accepted(
    'a hundred fields',
    get(Array.from({ length: 100 }, (_, index) => `X-${index}: ${index}\r\n`).join('')),
  ),
  accepted('a field of 6 KiB', get(`X-Test: ${'y'.repeat(6144)}\r\n`), (echo) => {
    assert.equal(echoed(echo, 'x-test')?.length, 6144);
  }),
  accepted('Host in upper case', 'GET /$ID HTTP/1.1\r\nHost: EXAMPLE.COM\r\n\r\n'),
  accepted('Host with a port', 'GET /$ID HTTP/1.1\r\nHost: example.com:8080\r\n\r\n'),
  accepted('Host with a trailing dot', 'GET /$ID HTTP/1.1\r\nHost: example.com.\r\n\r\n'),
  accepted('Host as the last field', `GET /$ID HTTP/1.1\r\nX: y\r\n${HOST}\r\n`),
  accepted('an own method', `PURGE /$ID HTTP/1.1\r\n${HOST}\r\n`, (echo) =>
    assert.equal(echo.method, 'PURGE'),
  ),
  accepted('a method in lower case, which is another method', `get /$ID HTTP/1.1\r\n${HOST}\r\n`, (echo) => {
    assert.equal(echo.method, 'get');
  }),
  accepted('a method of odd token characters', `M-SEARCH /$ID HTTP/1.1\r\n${HOST}\r\n`, (echo) => {
    assert.equal(echo.method, 'M-SEARCH');
  }),
  accepted('HTTP/1.0', `GET /$ID HTTP/1.0\r\n${HOST}\r\n`, (echo) => assert.equal(echo.minor, 1), true),
  accepted('HTTP/1.0 with keep-alive', `GET /$ID HTTP/1.0\r\n${HOST}Connection: keep-alive\r\n\r\n`),
  accepted(
    'HTTP/1.0 with keep-alive and content',
    `POST /$ID HTTP/1.0\r\n${HOST}Connection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello`,
    hasBody(5),
  ),
  accepted('HTTP/1.1 with close', get('Connection: close\r\n'), nothing, true),
  accepted('HTTP/1.1 with close in a list', get('Connection: X-Hop, Close\r\nX-Hop: 1\r\n'), nothing, true),
  accepted('close and keep-alive together', get('Connection: keep-alive, close\r\n'), nothing, true),
  accepted('a Connection list with empty members', get('Connection: , keep-alive, ,\r\n')),
  {
    ...accepted('OPTIONS *', `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`),
    statuses: [204],
    check: (echoes) => assert.equal(echoes.length, 0),
  },
  accepted(
    '100-continue whose content comes at once',
    post('Expect: 100-continue\r\nContent-Length: 5\r\n', 'hello'),
    hasBody(5),
  ),
  accepted(
    '100-continue in mixed case',
    post('Expect: 100-Continue\r\nContent-Length: 5\r\n', 'hello'),
    hasBody(5),
  ),
  accepted('100-continue without content', get('Expect: 100-continue\r\n'), hasBody(0)),
  accepted(
    '100-continue in HTTP/1.0, which doesn’t know it',
    `POST /$ID HTTP/1.0\r\n${HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello`,
    hasBody(5),
    true,
  ),
];

const TARGETS: readonly AcceptedCase[] = [
  target('/', '/'),
  target('/$ID', '/$ID'),
  target('//evil.example/$ID', '//evil.example/$ID'),
  target('/a?b?c=/d', '/a?b?c=/d'),
  target('/?', '/?'),
  target('/a//b', '/a//b'),
  target('/%41%62', '/Ab'),
  target('/a%2fb', '/a%2Fb'),
  target('/a%2Fb', '/a%2Fb'),
  target('/a/./b', '/a/b'),
  target('/a/b/../c', '/a/c'),
  target('/a/%2e%2E/c', '/c'),
  target('/a/..', '/'),
  target('/a/.', '/a/'),
  target('/...', '/...'),
  target("/!$&'()*+,;=:@-._~", "/!$&'()*+,;=:@-._~"),
  target('/*', '/*'),
  target('/a:b/c@d', '/a:b/c@d'),
  target('/%E2%82%AC', '/%E2%82%AC'),
  target('/a?q=%00', '/a?q=%00'),
  target('/a?../../b', '/a?../../b'),
  target(`/${'a'.repeat(4000)}`, `/${'a'.repeat(4000)}`),
  target('http://example.com/$ID', '/$ID'),
  target('http://example.com', '/'),
  target('http://example.com?q=1', '/?q=1'),
  target('http://example.com:8080/$ID', '/$ID'),
  target('https://example.com/$ID', '/$ID'),
  target('HTTP://EXAMPLE.com/$ID', '/$ID'),
  accepted(
    'an absolute target whose authority is not Host',
    'GET http://example.com/$ID HTTP/1.1\r\nHost: evil.example\r\n\r\n',
    (echo) => {
      assert.equal(echoed(echo, 'host'), 'example.com');
      assert.equal(echo.target, '/$ID');
    },
  ),
];

const UPGRADE = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

const CONNECTIONS: readonly AcceptedCase[] = [
  forwardedField(
    'a hop-by-hop field that Connection names',
    'Connection: X-Hop\r\nX-Hop: 1',
    'x-hop',
    undefined,
  ),
  forwardedField('a hop-by-hop field in another case', 'Connection: x-hOp\r\nX-Hop: 1', 'x-hop', undefined),
  forwardedField('Keep-Alive', 'Keep-Alive: timeout=5', 'keep-alive', undefined),
  forwardedField('Proxy-Connection', 'Proxy-Connection: keep-alive', 'proxy-connection', undefined),
  forwardedField('TE that isn’t trailers', 'TE: gzip\r\nConnection: TE', 'te', undefined),
  accepted(
    'Connection that names the length',
    post('Connection: content-length\r\nContent-Length: 5\r\n', 'hello'),
    hasBody(5),
  ),
  accepted(
    'Connection that names the coding',
    post('Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'),
    hasBody(5),
  ),
  forwardedField('Connection that names Host', 'Connection: host', 'host', 'example.com'),
  forwardedField(
    'Connection that names X-Forwarded-For',
    'Connection: X-Forwarded-For\r\nX-Forwarded-For: 10.0.0.1',
    'x-forwarded-for',
    '127.0.0.1',
  ),
  forwardedField(
    'Connection that names X-Forwarded-Proto',
    'Connection: X-Forwarded-Proto',
    'x-forwarded-proto',
    'http',
  ),
  forwardedField(
    'Connection that names X-Forwarded-Host',
    'Connection: X-Forwarded-Host',
    'x-forwarded-host',
    'example.com',
  ),
  forwardedField(
    'an X-Forwarded-For that nobody vouches for',
    'X-Forwarded-For: 10.0.0.1',
    'x-forwarded-for',
    '127.0.0.1',
  ),
  forwardedField('an alias of X-Forwarded-For', 'X_Forwarded_For: 10.0.0.1', 'x_forwarded_for', undefined),
  forwardedField(
    'half an alias of X-Forwarded-For',
    'X-Forwarded_For: 10.0.0.1',
    'x-forwarded_for',
    undefined,
  ),
  forwardedField('an alias of X-Forwarded-Proto', 'x_forwarded_proto: https', 'x_forwarded_proto', undefined),
  forwardedField('an alias of X-Forwarded-Host', 'X_FORWARDED_HOST: evil', 'x_forwarded_host', undefined),
  accepted(
    'an upgrade to h2c',
    get('Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n'),
    (echo) => {
      assert.equal(echoed(echo, 'upgrade'), undefined);
      assert.equal(echoed(echo, 'http2-settings'), undefined);
      assert.doesNotMatch(echoed(echo, 'connection') ?? '', /upgrade|http2/i);
    },
  ),
  accepted('HTTP2-Settings without an upgrade', get('HTTP2-Settings: AAMAAABkAAQAAP__\r\n'), (echo) => {
    assert.equal(echoed(echo, 'http2-settings'), undefined);
  }),
  accepted('Upgrade that Connection doesn’t name', get(`Upgrade: websocket\r\n${UPGRADE}`), (echo) => {
    assert.equal(echoed(echo, 'upgrade'), undefined);
  }),
];

export const LEGAL_CASES: readonly AcceptedCase[] = [...FRAMING, ...HEADS, ...TARGETS, ...CONNECTIONS];
