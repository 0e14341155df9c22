import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fault from '../../src/http/fault.ts';
import {
  BODY_LENGTH,
  BODY_NONE,
  BODY_STREAM,
  METHOD_BYTES_MAX,
  RequestHead,
  SCHEME_HTTP,
  SCHEME_HTTPS,
  TARGET_ABSOLUTE,
  TARGET_ASTERISK,
  TARGET_ORIGIN,
} from '../../src/http/message.ts';
import { RequestParser } from '../../src/http1/request-parser.ts';
import { bytesOf, everySplit, LIMITS, nameOf, parseRequest, type RequestSummary } from './feed.ts';

interface AcceptVector {
  name: string;
  input: string;
  expected: Partial<RequestSummary>;
}

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n';

const ACCEPTED: AcceptVector[] = [
  {
    name: 'takes a minimal request (RFC 9112 §2.1)',
    input: `${GET}\r\n`,
    expected: {
      method: 'GET',
      form: TARGET_ORIGIN,
      path: '/',
      query: null,
      authority: 'a',
      version: 11,
      bodyKind: BODY_NONE,
      contentLength: -1,
      closeAfter: false,
      upgrade: null,
      fields: [['Host', 'a']],
    },
  },
  {
    name: 'reads nothing behind the end of the head',
    input: `${GET}\r\nGET /second`,
    expected: { result: GET.length + 2 },
  },
  {
    name: 'ignores one empty line before the request line (RFC 9112 §2.2)',
    input: `\r\n${GET}\r\n`,
    expected: { result: GET.length + 4, method: 'GET', authority: 'a' },
  },
  {
    name: 'splits path and query at the first question mark (RFC 3986 §3.4)',
    input: 'GET /a/b?c=d?e/ HTTP/1.1\r\nHost: a\r\n\r\n',
    expected: { path: '/a/b', query: 'c=d?e/' },
  },
  {
    name: 'tells an empty query from none',
    input: 'GET /a? HTTP/1.1\r\nHost: a\r\n\r\n',
    expected: { path: '/a', query: '' },
  },
  {
    name: 'takes all of pchar in a path (RFC 3986 §3.3)',
    input: "GET /-._~!$&'()*+,;=:@/%00%aF HTTP/1.1\r\nHost: a\r\n\r\n",
    expected: { path: "/-._~!$&'()*+,;=:@/%00%aF" },
  },
  {
    name: 'takes in a path what browsers leave unescaped (WHATWG URL)',
    input: 'GET /[slug]|x HTTP/1.1\r\nHost: a\r\n\r\n',
    expected: { path: '/[slug]|x' },
  },
  {
    name: 'takes in a query what browsers leave unescaped (WHATWG URL)',
    input: "GET /?a[]={b}|\\^`'% HTTP/1.1\r\nHost: a\r\n\r\n",
    expected: { query: "a[]={b}|\\^`'%" },
  },
  {
    name: 'takes a path that begins with two slashes as a path',
    input: 'GET //evil/x HTTP/1.1\r\nHost: a\r\n\r\n',
    expected: { form: TARGET_ORIGIN, path: '//evil/x', authority: 'a' },
  },
  {
    name: 'takes any token as a method (RFC 9110 §9.1)',
    input: "M-!#$%&'*+.^_`|~9 / HTTP/1.1\r\nHost: a\r\n\r\n",
    expected: { method: "M-!#$%&'*+.^_`|~9" },
  },
  {
    name: 'lets the authority of an absolute-form target stand above Host (RFC 9112 §3.2.2)',
    input: 'GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n',
    expected: {
      form: TARGET_ABSOLUTE,
      scheme: SCHEME_HTTP,
      authority: 'b:81',
      path: '/x',
      query: 'y',
      fields: [
        ['Host', 'b:81'],
        ['X', '1'],
      ],
    },
  },
  {
    name: 'takes an absolute-form target in any case of its scheme',
    input: 'GET hTTpS://b/ HTTP/1.1\r\nHost: a\r\n\r\n',
    expected: { form: TARGET_ABSOLUTE, scheme: SCHEME_HTTPS, authority: 'b', path: '/' },
  },
  {
    name: 'takes an absolute-form target without a path for the root (RFC 9110 §4.2.3)',
    input: 'GET http://b HTTP/1.1\r\nHost: b\r\n\r\n',
    expected: { form: TARGET_ABSOLUTE, authority: 'b', path: '/', query: null },
  },
  {
    name: 'takes a query right after the authority',
    input: 'GET http://[::1]:80?q HTTP/1.1\r\nHost: b\r\n\r\n',
    expected: { authority: '[::1]:80', path: '/', query: 'q' },
  },
  {
    name: 'takes OPTIONS with an asterisk (RFC 9112 §3.2.4)',
    input: 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n',
    expected: { form: TARGET_ASTERISK, path: '', authority: 'a' },
  },
  {
    name: 'takes OPTIONS of an absolute-form target without a path for an asterisk (RFC 9112 §3.2.4)',
    input: 'OPTIONS http://b:1 HTTP/1.1\r\nHost: a\r\n\r\n',
    expected: { form: TARGET_ASTERISK, path: '', authority: 'b:1' },
  },
  {
    name: 'takes an empty Host (RFC 9112 §3.2)',
    input: 'GET / HTTP/1.1\r\nHost:\r\n\r\n',
    expected: { authority: '', fields: [['Host', '']] },
  },
  {
    name: 'takes a request of HTTP/1.0 without Host, and closes after it',
    input: 'GET / HTTP/1.0\r\n\r\n',
    expected: { version: 10, authority: '', closeAfter: true, fields: [] },
  },
  {
    name: 'keeps a connection of HTTP/1.0 that asks for it (RFC 9112 §9.3)',
    input: 'GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n',
    expected: { version: 10, closeAfter: false },
  },
  {
    name: 'closes after Connection: close wherever it stands in the list (RFC 9112 §9.6)',
    input: `${GET}Connection: foo, ,CLOSE\r\n\r\n`,
    expected: { closeAfter: true },
  },
  {
    name: 'lets close win over keep-alive',
    input: 'GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n',
    expected: { closeAfter: true },
  },
  {
    name: 'does not take a longer option for close',
    input: `${GET}Connection: closed, xclose\r\n\r\n`,
    expected: { closeAfter: false },
  },
  {
    name: 'trims blanks around a value (RFC 9110 §5.5)',
    input: `${GET}X: \t a b\t \r\nY:c\r\nZ:\r\nW: \t\r\n\r\n`,
    expected: {
      fields: [
        ['Host', 'a'],
        ['X', 'a b'],
        ['Y', 'c'],
        ['Z', ''],
        ['W', ''],
      ],
    },
  },
  {
    name: 'takes obs-text and tabs in a value (RFC 9110 §5.5)',
    input: `${GET}X: a\tb\x80\xff\r\n\r\n`,
    expected: {
      fields: [
        ['Host', 'a'],
        ['X', 'a\tb\x80\xff'],
      ],
    },
  },
  {
    name: 'takes every tchar in a name (RFC 9110 §5.6.2)',
    input: `${GET}!#$%&'*+-.^_\`|~09AZaz: 1\r\n\r\n`,
    expected: {
      fields: [
        ['Host', 'a'],
        ["!#$%&'*+-.^_`|~09AZaz", '1'],
      ],
    },
  },
  {
    name: 'knows field names in any case',
    input: 'POST / HTTP/1.1\r\nhOST: a\r\ncONTENT-lENGTH: 3\r\n\r\n',
    expected: { authority: 'a', bodyKind: BODY_LENGTH, contentLength: 3 },
  },
  {
    name: 'frames a body of GET too (RFC 9112 §6)',
    input: `${GET}Content-Length: 5\r\n\r\n`,
    expected: { method: 'GET', bodyKind: BODY_LENGTH, contentLength: 5 },
  },
  {
    name: 'has no body after a Content-Length of 0',
    input: `${GET}Content-Length: 0\r\n\r\n`,
    expected: { bodyKind: BODY_NONE, contentLength: 0 },
  },
  {
    name: 'takes the largest Content-Length that a number holds',
    input: `${GET}Content-Length: 9007199254740991\r\n\r\n`,
    expected: { bodyKind: BODY_LENGTH, contentLength: 9007199254740991 },
  },
  {
    name: 'takes chunked in any case (RFC 9112 §7)',
    input: `${GET}Transfer-Encoding: ChunkeD \r\n\r\n`,
    expected: { bodyKind: BODY_STREAM, contentLength: -1 },
  },
  {
    name: 'hears Expect: 100-continue where a body follows (RFC 9110 §10.1.1)',
    input: `${GET}Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n`,
    expected: { expectContinue: true },
  },
  {
    name: 'does not wait to continue where no body follows',
    input: `${GET}Expect: 100-continue\r\n\r\n`,
    expected: { expectContinue: false },
  },
  {
    name: 'does not hear Expect in HTTP/1.0 (RFC 9110 §10.1.1)',
    input: 'POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n',
    expected: { expectContinue: false, bodyKind: BODY_LENGTH },
  },
  {
    name: 'sees an upgrade that Connection lists (RFC 9110 §7.8)',
    input: `${GET}Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    expected: { upgrade: 'websocket', closeAfter: false },
  },
  {
    name: 'sees an upgrade whose Connection comes after it',
    input: `${GET}Upgrade: websocket\r\nConnection: upgrade\r\n\r\n`,
    expected: { upgrade: 'websocket' },
  },
  {
    name: 'ignores Upgrade that Connection does not list',
    input: `${GET}Upgrade: websocket\r\nContent-Length: 4\r\n\r\n`,
    expected: { upgrade: null, bodyKind: BODY_LENGTH },
  },
  {
    name: 'ignores Upgrade in HTTP/1.0 (RFC 9110 §7.8)',
    input: 'GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n',
    expected: { upgrade: null },
  },
  {
    name: 'ignores an upgrade to h2c, body or not (RFC 9113 §3.1)',
    input: `${GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: H2C\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 2\r\n\r\n`,
    expected: { upgrade: null, contentLength: 2 },
  },
  {
    name: 'hears TE: trailers (RFC 9110 §10.1.4)',
    input: `${GET}TE: gzip;q=0.5, Trailers\r\n\r\n`,
    expected: { acceptsTrailers: true },
  },
  {
    name: 'does not take a parameter for trailers',
    input: `${GET}TE: gzip;trailers, xtrailers\r\n\r\n`,
    expected: { acceptsTrailers: false },
  },
  {
    name: 'drops a field that aliases a trusted one with an underscore',
    input: `${GET}X_Forwarded_For: 1\r\nx-forwarded_proto: 2\r\nContent_Length: 3\r\nTransfer_Encoding: 4\r\nX_Other: 5\r\n\r\n`,
    expected: {
      bodyKind: BODY_NONE,
      fields: [
        ['Host', 'a'],
        ['X_Other', '5'],
      ],
    },
  },
  {
    name: 'does not take an unfinished head for a head',
    input: `${GET}X: 1\r\n\r`,
    expected: { result: fault.NEED_MORE },
  },
];

interface RejectVector {
  name: string;
  input: string;
  expected: number;
  /** Bytes after which the answer must be there; all by default. */
  after?: number;
}

function line(method: string, target: string): string {
  return `${method} ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
}

const REJECTED: RejectVector[] = [
  // The start of a request (RFC 9112 §2.2).
  { name: 'a second empty line', input: `\r\n\r\n${GET}\r\n`, expected: fault.E_REQUEST_LINE, after: 3 },
  { name: 'an empty line that is a bare LF', input: `\n${GET}\r\n`, expected: fault.E_BARE_LF, after: 1 },
  { name: 'a bare CR first', input: `\r${GET}\r\n`, expected: fault.E_BARE_CR, after: 2 },
  { name: 'a space before the method', input: ` ${GET}\r\n`, expected: fault.E_REQUEST_LINE, after: 1 },
  { name: 'a tab before the method', input: `\t${GET}\r\n`, expected: fault.E_REQUEST_LINE, after: 1 },
  { name: 'a space after an empty line', input: `\r\n ${GET}\r\n`, expected: fault.E_REQUEST_LINE, after: 3 },
  // Methods (RFC 9110 §9.1).
  { name: 'a TLS hello', input: '\x16\x03\x01\x02\x00', expected: fault.E_METHOD, after: 1 },
  { name: 'a NUL first', input: `\0${GET}\r\n`, expected: fault.E_METHOD, after: 1 },
  { name: 'a colon in the method', input: line('GE:T', '/'), expected: fault.E_METHOD, after: 3 },
  { name: 'a non-ASCII method', input: line('G\xc9T', '/'), expected: fault.E_METHOD, after: 2 },
  { name: 'a tab after the method', input: 'GET\t/ HTTP/1.1\r\n\r\n', expected: fault.E_METHOD, after: 4 },
  {
    name: 'a method that is too long',
    input: line('M'.repeat(METHOD_BYTES_MAX + 1), '/'),
    expected: fault.E_METHOD,
    after: METHOD_BYTES_MAX + 1,
  },
  { name: 'CONNECT', input: line('CONNECT', 'a:443'), expected: fault.E_METHOD_REFUSED, after: 8 },
  { name: 'TRACE', input: line('TRACE', '/'), expected: fault.E_METHOD_REFUSED, after: 6 },
  // Request lines (RFC 9112 §3).
  { name: 'a method alone', input: 'GET\r\n\r\n', expected: fault.E_REQUEST_LINE, after: 4 },
  { name: 'a request of HTTP/0.9', input: 'GET /\r\n\r\n', expected: fault.E_REQUEST_LINE, after: 6 },
  {
    name: 'a line that ends in a bare LF',
    input: 'GET / HTTP/1.1\nHost: a\n\n',
    expected: fault.E_BARE_LF,
    after: 15,
  },
  { name: 'a target that ends in a bare LF', input: 'GET /\n', expected: fault.E_BARE_LF, after: 6 },
  {
    name: 'two spaces before the target',
    input: 'GET  / HTTP/1.1\r\n',
    expected: fault.E_REQUEST_LINE,
    after: 5,
  },
  { name: 'two spaces after the target', input: 'GET /  HTTP/1.1\r\n', expected: fault.E_VERSION, after: 7 },
  { name: 'a tab after the target', input: 'GET /\tHTTP/1.1\r\n', expected: fault.E_TARGET, after: 6 },
  { name: 'a space in the target', input: line('GET', '/a b'), expected: fault.E_VERSION, after: 8 },
  { name: 'a space after the version', input: 'GET / HTTP/1.1 \r\n', expected: fault.E_VERSION, after: 15 },
  {
    name: 'a bare CR after the version',
    input: 'GET / HTTP/1.1\rHost: a\r\n',
    expected: fault.E_BARE_CR,
    after: 16,
  },
  // Targets (RFC 9112 §3.2, RFC 3986 §3).
  { name: 'a target without a slash', input: line('GET', 'a'), expected: fault.E_TARGET, after: 5 },
  { name: 'an asterisk for GET', input: line('GET', '*'), expected: fault.E_TARGET, after: 5 },
  {
    name: 'an asterisk with more after it',
    input: line('OPTIONS', '*a'),
    expected: fault.E_TARGET,
    after: 10,
  },
  {
    name: 'the preface of HTTP/2',
    input: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    expected: fault.E_TARGET,
    after: 5,
  },
  { name: 'an authority-form target for GET', input: line('GET', 'a:80'), expected: fault.E_TARGET },
  { name: 'a scheme that is no http', input: line('GET', 'ftp://a/'), expected: fault.E_TARGET, after: 5 },
  {
    name: 'a scheme that begins like http',
    input: line('GET', 'httpx://a/'),
    expected: fault.E_TARGET,
    after: 9,
  },
  { name: 'a scheme with one slash', input: line('GET', 'http:/a/'), expected: fault.E_TARGET, after: 11 },
  { name: 'userinfo', input: line('GET', 'http://u@b/'), expected: fault.E_TARGET, after: 13 },
  { name: 'userinfo with a password', input: line('GET', 'http://u:p@b/'), expected: fault.E_TARGET },
  {
    name: 'an absolute-form target without a host',
    input: line('GET', 'http:///x'),
    expected: fault.E_TARGET,
    after: 12,
  },
  {
    name: 'an absolute-form target with a port only',
    input: line('GET', 'http://:80/'),
    expected: fault.E_TARGET,
  },
  {
    name: 'an absolute-form target with a bad port',
    input: line('GET', 'http://a:65536/'),
    expected: fault.E_TARGET,
  },
  { name: 'a percent sign in an authority', input: line('GET', 'http://a%2e/'), expected: fault.E_TARGET },
  { name: 'a fragment', input: line('GET', '/a#b'), expected: fault.E_TARGET, after: 7 },
  { name: 'a fragment after a query', input: line('GET', '/?a#b'), expected: fault.E_TARGET },
  { name: 'a backslash in the path', input: line('GET', '/a\\b'), expected: fault.E_TARGET, after: 7 },
  { name: 'a quote in the path', input: line('GET', '/a"b'), expected: fault.E_TARGET },
  { name: 'an angle bracket in the path', input: line('GET', '/<b'), expected: fault.E_TARGET },
  { name: 'a brace in the path', input: line('GET', '/{b}'), expected: fault.E_TARGET },
  { name: 'a caret in the path', input: line('GET', '/^'), expected: fault.E_TARGET },
  { name: 'a backtick in the path', input: line('GET', '/`'), expected: fault.E_TARGET },
  { name: 'a quote in the query', input: line('GET', '/?"'), expected: fault.E_TARGET },
  { name: 'an angle bracket in the query', input: line('GET', '/?<'), expected: fault.E_TARGET },
  { name: 'UTF-8 in the path', input: line('GET', '/\xc3\xa9'), expected: fault.E_TARGET, after: 6 },
  { name: 'UTF-8 in the query', input: line('GET', '/?\xc3\xa9'), expected: fault.E_TARGET },
  { name: 'a NUL in the path', input: line('GET', '/\0'), expected: fault.E_TARGET },
  { name: 'a DEL in the path', input: line('GET', '/\x7f'), expected: fault.E_TARGET },
  { name: 'a control character in the query', input: line('GET', '/?\x01'), expected: fault.E_TARGET },
  { name: 'a percent sign without digits', input: line('GET', '/%'), expected: fault.E_TARGET, after: 7 },
  { name: 'a percent sign with one digit', input: line('GET', '/%a'), expected: fault.E_TARGET, after: 8 },
  {
    name: 'a percent sign with a wrong digit',
    input: line('GET', '/%ag'),
    expected: fault.E_TARGET,
    after: 8,
  },
  { name: 'a Unicode escape', input: line('GET', '/%u0041'), expected: fault.E_TARGET, after: 7 },
  // Versions (RFC 9112 §2.3).
  { name: 'a version in lower case', input: 'GET / http/1.1\r\n\r\n', expected: fault.E_VERSION, after: 7 },
  { name: 'another protocol', input: 'GET / HTTPS/1.1\r\n\r\n', expected: fault.E_VERSION, after: 11 },
  {
    name: 'a version with two digits',
    input: 'GET / HTTP/1.10\r\n\r\n',
    expected: fault.E_VERSION,
    after: 15,
  },
  {
    name: 'a version without a minor part',
    input: 'GET / HTTP/1\r\n\r\n',
    expected: fault.E_VERSION,
    after: 13,
  },
  { name: 'a version with a letter', input: 'GET / HTTP/1.x\r\n\r\n', expected: fault.E_VERSION, after: 14 },
  { name: 'no version after the space', input: 'GET / \r\n\r\n', expected: fault.E_VERSION, after: 7 },
  { name: 'HTTP/2.0', input: 'GET / HTTP/2.0\r\n\r\n', expected: fault.E_VERSION_UNSUPPORTED, after: 16 },
  { name: 'HTTP/1.2', input: 'GET / HTTP/1.2\r\n\r\n', expected: fault.E_VERSION_UNSUPPORTED, after: 16 },
  {
    name: 'HTTP/0.9 spelt out',
    input: 'GET / HTTP/0.9\r\n\r\n',
    expected: fault.E_VERSION_UNSUPPORTED,
    after: 16,
  },
  { name: 'HTTP/3.1', input: 'GET / HTTP/3.1\r\n\r\n', expected: fault.E_VERSION_UNSUPPORTED, after: 16 },
  // Field lines (RFC 9112 §5, RFC 9110 §5).
  {
    name: 'a blank before the first field',
    input: 'GET / HTTP/1.1\r\n Host: a\r\n\r\n',
    expected: fault.E_OBS_FOLD,
    after: 17,
  },
  {
    name: 'a folded line',
    input: `${GET}X: a\r\n b\r\n\r\n`,
    expected: fault.E_OBS_FOLD,
    after: GET.length + 7,
  },
  { name: 'a line folded with a tab', input: `${GET}X: a\r\n\tb\r\n\r\n`, expected: fault.E_OBS_FOLD },
  { name: 'a line of blanks', input: `${GET} \r\n\r\n`, expected: fault.E_OBS_FOLD },
  {
    name: 'a space before the colon',
    input: `${GET}X : a\r\n\r\n`,
    expected: fault.E_FIELD_NAME,
    after: GET.length + 2,
  },
  { name: 'a tab before the colon', input: `${GET}X\t: a\r\n\r\n`, expected: fault.E_FIELD_NAME },
  { name: 'an empty name', input: `${GET}: a\r\n\r\n`, expected: fault.E_FIELD_NAME, after: GET.length + 1 },
  {
    name: 'a line without a colon',
    input: `${GET}X\r\n\r\n`,
    expected: fault.E_FIELD_NAME,
    after: GET.length + 2,
  },
  { name: 'a space in a name', input: `${GET}X Y: a\r\n\r\n`, expected: fault.E_FIELD_NAME },
  { name: 'a NUL in a name', input: `${GET}X\0: a\r\n\r\n`, expected: fault.E_FIELD_NAME },
  { name: 'a non-ASCII name', input: `${GET}X\xe9: a\r\n\r\n`, expected: fault.E_FIELD_NAME },
  { name: 'a name in brackets', input: `${GET}X[0]: a\r\n\r\n`, expected: fault.E_FIELD_NAME },
  { name: 'a vertical tab in a name', input: `${GET}X\x0b: a\r\n\r\n`, expected: fault.E_FIELD_NAME },
  {
    name: 'a NUL in a value',
    input: `${GET}X: a\0b\r\n\r\n`,
    expected: fault.E_FIELD_VALUE,
    after: GET.length + 5,
  },
  { name: 'a DEL in a value', input: `${GET}X: a\x7f\r\n\r\n`, expected: fault.E_FIELD_VALUE },
  { name: 'a vertical tab in a value', input: `${GET}X: \x0b\r\n\r\n`, expected: fault.E_FIELD_VALUE },
  { name: 'an escape in a value', input: `${GET}X: \x1b[0m\r\n\r\n`, expected: fault.E_FIELD_VALUE },
  {
    name: 'a bare LF after a value',
    input: `${GET}X: a\nY: b\r\n\r\n`,
    expected: fault.E_BARE_LF,
    after: GET.length + 5,
  },
  { name: 'a bare LF in a name', input: `${GET}X\nY: b\r\n\r\n`, expected: fault.E_BARE_LF },
  {
    name: 'a bare LF that ends the head',
    input: `${GET}\n`,
    expected: fault.E_BARE_LF,
    after: GET.length + 1,
  },
  {
    name: 'a bare CR in a value',
    input: `${GET}X: a\rb\r\n\r\n`,
    expected: fault.E_BARE_CR,
    after: GET.length + 6,
  },
  { name: 'two CRs before the LF', input: `${GET}X: a\r\r\n\r\n`, expected: fault.E_BARE_CR },
  {
    name: 'a bare CR that ends the head',
    input: `${GET}\rX`,
    expected: fault.E_BARE_CR,
    after: GET.length + 2,
  },
  // Host (RFC 9112 §3.2).
  { name: 'no Host', input: 'GET / HTTP/1.1\r\nX: 1\r\n\r\n', expected: fault.E_HOST_MISSING },
  { name: 'no fields at all', input: 'GET / HTTP/1.1\r\n\r\n', expected: fault.E_HOST_MISSING },
  {
    name: 'no Host beside an absolute-form target',
    input: 'GET http://a/ HTTP/1.1\r\n\r\n',
    expected: fault.E_HOST_MISSING,
  },
  { name: 'two Hosts', input: `${GET}Host: b\r\n\r\n`, expected: fault.E_HOST_REPEATED },
  { name: 'the same Host twice', input: `${GET}host: a\r\n\r\n`, expected: fault.E_HOST_REPEATED },
  {
    name: 'two Hosts in HTTP/1.0',
    input: 'GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n',
    expected: fault.E_HOST_REPEATED,
  },
  {
    name: 'a Host with a space',
    input: 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n',
    expected: fault.E_HOST_INVALID,
  },
  { name: 'a list of Hosts', input: 'GET / HTTP/1.1\r\nHost: a, b\r\n\r\n', expected: fault.E_HOST_INVALID },
  {
    name: 'a Host with a path',
    input: 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n',
    expected: fault.E_HOST_INVALID,
  },
  {
    name: 'a Host with userinfo',
    input: 'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n',
    expected: fault.E_HOST_INVALID,
  },
  {
    name: 'a bad Host beside an absolute-form target',
    input: 'GET http://a/ HTTP/1.1\r\nHost: /\r\n\r\n',
    expected: fault.E_HOST_INVALID,
  },
  {
    name: 'a bad Host in HTTP/1.0',
    input: 'GET / HTTP/1.0\r\nHost: a b\r\n\r\n',
    expected: fault.E_HOST_INVALID,
  },
  // Other fields with a meaning.
  { name: 'an unknown expectation', input: `${GET}Expect: 200-ok\r\n\r\n`, expected: fault.E_EXPECT },
  {
    name: 'an expectation with another beside it',
    input: `${GET}Expect: 100-continue, x\r\n\r\n`,
    expected: fault.E_EXPECT,
  },
  { name: 'an empty expectation', input: `${GET}Expect:\r\n\r\n`, expected: fault.E_EXPECT },
  {
    name: 'a Connection that is no list of tokens',
    input: `${GET}Connection: a b\r\n\r\n`,
    expected: fault.E_FIELD_VALUE,
  },
  {
    name: 'a Connection with a parameter',
    input: `${GET}Connection: close;x\r\n\r\n`,
    expected: fault.E_FIELD_VALUE,
  },
  {
    name: 'a Connection with too many options',
    input: `${GET}Connection: ${'a,'.repeat(33)}\r\n\r\n`,
    expected: fault.E_FIELD_VALUE,
  },
  {
    name: 'an upgrade with a length',
    input: `${GET}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\n`,
    expected: fault.E_UPGRADE,
  },
  {
    name: 'an upgrade with a chunked body',
    input: `${GET}Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n`,
    expected: fault.E_UPGRADE,
  },
  {
    name: 'two upgrades',
    input: `${GET}Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: x\r\n\r\n`,
    expected: fault.E_UPGRADE,
  },
];

for (const { name, input, expected } of ACCEPTED) {
  test(name, () => {
    const bytes = bytesOf(input);
    const whole = parseRequest(bytes);
    for (const key of Object.keys(expected) as (keyof RequestSummary)[]) {
      assert.deepEqual(whole[key], expected[key], `${key} (result: ${nameOf(whole.result)})`);
    }
    if (expected.result === undefined) assert.equal(nameOf(whole.result), bytes.length);
    everySplit(bytes.length, (cuts, move) => parseRequest(bytes, cuts, move), whole);
  });
}

for (const { name, input, expected, after } of REJECTED) {
  test(`rejects ${name}`, () => {
    const bytes = bytesOf(input);
    const whole = parseRequest(bytes);
    assert.equal(nameOf(whole.result), nameOf(expected));
    everySplit(bytes.length, (cuts, move) => parseRequest(bytes, cuts, move), whole);
    if (after === undefined) return;
    assert.equal(nameOf(parseRequest(bytes.subarray(0, after)).result), nameOf(expected), 'known too late');
    assert.equal(parseRequest(bytes.subarray(0, after - 1)).result, fault.NEED_MORE, 'known too early');
  });
}

/** A request of exactly `total` head bytes with a request line of `lineBytes`. */
function sized(lineBytes: number, total: number): Buffer {
  const path = `/${'p'.repeat(lineBytes - 'GET / HTTP/1.1\r\n'.length)}`;
  const start = `GET ${path} HTTP/1.1\r\nHost: a\r\nX: `;
  return bytesOf(`${start}${'v'.repeat(total - start.length - 4)}\r\n\r\n`);
}

const SMALL = { requestLineBytesMax: 64, headBytesMax: 128, fieldsMax: 4 };

const SIZES = [
  { name: 'takes a request line just under its limit', input: sized(63, 120), expected: 120 },
  { name: 'takes a request line at its limit', input: sized(64, 120), expected: 120 },
  {
    name: 'refuses a request line just over its limit',
    input: sized(65, 120),
    expected: fault.E_TARGET_TOO_LONG,
  },
  { name: 'takes a head just under its limit', input: sized(20, 127), expected: 127 },
  { name: 'takes a head at its limit', input: sized(20, 128), expected: 128 },
  { name: 'refuses a head just over its limit', input: sized(20, 129), expected: fault.E_HEAD_TOO_LARGE },
  { name: 'refuses a head far over its limit', input: sized(20, 4000), expected: fault.E_HEAD_TOO_LARGE },
  {
    name: 'counts an ignored empty line to the head',
    input: Buffer.concat([bytesOf('\r\n'), sized(20, 127)]),
    expected: fault.E_HEAD_TOO_LARGE,
  },
  {
    name: 'takes as many fields as are allowed',
    input: bytesOf('GET / HTTP/1.1\r\nHost: a\r\nB: \r\nC: \r\nD: \r\n\r\n'),
    expected: 42,
  },
  {
    name: 'refuses one field more than is allowed',
    input: bytesOf('GET / HTTP/1.1\r\nHost: a\r\nB: \r\nC: \r\nD: \r\nE: \r\n\r\n'),
    expected: fault.E_TOO_MANY_FIELDS,
  },
];

for (const { name, input, expected } of SIZES) {
  test(name, () => {
    const whole = parseRequest(input, [], false, SMALL);
    assert.equal(nameOf(whole.result), nameOf(expected));
    everySplit(input.length, (cuts, move) => parseRequest(input, cuts, move, SMALL), whole);
  });
}

test('a fault behind the limit does not hide that the limit was passed', () => {
  const input = bytesOf(`GET /${'p'.repeat(100)}\0 HTTP/1.1\r\n\r\n`);
  assert.equal(parseRequest(input, [], false, SMALL).result, fault.E_TARGET_TOO_LONG);
});

test('parses one request after the other from the same bytes with one parser', () => {
  const one = 'POST /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 7\r\n\r\n';
  const two = 'GET /2 HTTP/1.1\r\nHost: b\r\n\r\n';
  const bytes = bytesOf(one + two);
  const parser = new RequestParser(LIMITS);
  const head = new RequestHead(bytes);
  assert.equal(parser.parse(head, bytes, 0, bytes.length), one.length);
  assert.equal(parser.closeAfter, true);
  assert.equal(parser.parse(head, bytes, one.length, bytes.length), two.length);
  assert.equal(parser.closeAfter, false);
  assert.equal(head.bodyKind, BODY_NONE);
  assert.equal(head.fields.count, 1);
});

test('forgets an unfinished head when it is reset', () => {
  const bytes = bytesOf('GET /unfinished HTTP/1.1\r\nHost: a\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n');
  const parser = new RequestParser(LIMITS);
  const head = new RequestHead(bytes);
  assert.equal(parser.parse(head, bytes, 0, 35), fault.NEED_MORE);
  parser.reset();
  assert.equal(parser.parse(head, bytes, 35, bytes.length), bytes.length - 35);
  assert.equal(head.fields.count, 1);
});

test('judges each byte of a value alike wherever it stands in it', () => {
  for (let byte = 0; byte < 256; byte++) {
    if (byte === 0x0a || byte === 0x0d) continue;
    const allowed = byte === 0x09 || (byte >= 0x20 && byte !== 0x7f);
    for (let before = 0; before < 9; before++) {
      for (const after of [0, 1, 2, 3, 4, 9]) {
        const value = `${'\xffa'.repeat(5).slice(0, before)}${String.fromCharCode(byte)}${'b'.repeat(after)}`;
        const parsed = parseRequest(bytesOf(`${GET}X: ${value}\r\n\r\n`));
        const place = `byte ${byte} after ${before} and before ${after}`;
        if (!allowed) assert.equal(nameOf(parsed.result), 'bad-field-value', place);
        else assert.equal(parsed.fields[1]?.[1], value.replace(/^[ \t]+|[ \t]+$/g, ''), place);
      }
    }
  }
});
