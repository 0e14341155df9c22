/** Requests that are wrong in their first line or their field section (RFC 9112 §2, §3, §5). */

import { get, HOST, post, type RejectedCase, refused, rejected } from './request-case.ts';

function line(name: string, requestLine: string, status: number | readonly number[] = 400): RejectedCase {
  return rejected(name, `${requestLine}\r\n${HOST}\r\n`, status);
}

function version(text: string, status: number | readonly number[] = 400): RejectedCase {
  return line(`version ${JSON.stringify(text)}`, `GET /$ID ${text}`, status);
}

function method(name: string, token: string, status: number | readonly number[] = 400): RejectedCase {
  return line(name, `${token} /$ID HTTP/1.1`, status);
}

function field(name: string, lines: string): RejectedCase {
  return rejected(name, get(`${lines}\r\n`));
}

function host(name: string, value: string, status: number | readonly number[] = 400): RejectedCase {
  return rejected(name, `GET /$ID HTTP/1.1\r\nHost: ${value}\r\n\r\n`, status);
}

const UNSUPPORTED = [400, 505];

const LINES: readonly RejectedCase[] = [
  line('two spaces before the target', 'GET  /$ID HTTP/1.1'),
  line('two spaces behind the target', 'GET /$ID  HTTP/1.1'),
  line('a tab before the target', 'GET\t/$ID HTTP/1.1'),
  line('a tab behind the target', 'GET /$ID\tHTTP/1.1'),
  line('a vertical tab behind the target', 'GET /$ID\x0bHTTP/1.1'),
  line('a space behind the version', 'GET /$ID HTTP/1.1 '),
  line('a tab behind the version', 'GET /$ID HTTP/1.1\t'),
  line('a bare CR behind the version', 'GET /$ID HTTP/1.1\r'),
  line('a space before the method', ' GET /$ID HTTP/1.1'),
  line('a tab before the method', '\tGET /$ID HTTP/1.1'),
  line('a NUL before the method', '\0GET /$ID HTTP/1.1'),
  line('a byte order mark before the method', '\xef\xbb\xbfGET /$ID HTTP/1.1'),
  line('no version', 'GET /$ID', UNSUPPORTED),
  line('no version but its space', 'GET /$ID '),
  line('no target', 'GET HTTP/1.1'),
  line('no target but its spaces', 'GET  HTTP/1.1'),
  line('a method alone', 'GET'),
  line('no method', '/$ID HTTP/1.1'),
  line('no method but its space', ' /$ID HTTP/1.1'),
  line('a fourth word', 'GET /$ID HTTP/1.1 HTTP/1.1'),
  rejected('a request line that ends in a bare LF', `GET /$ID HTTP/1.1\n${HOST}\r\n`),
  rejected('a request line that ends in a bare CR', `GET /$ID HTTP/1.1\r${HOST}\r\n`),
  rejected('a request line that ends in LF CR', `GET /$ID HTTP/1.1\n\r${HOST}\r\n`),
  rejected('a request of bare LFs', 'GET /$ID HTTP/1.1\nHost: example.com\n\n'),
  rejected('a request of bare CRs', 'GET /$ID HTTP/1.1\rHost: example.com\r\r'),
  rejected('a bare LF before the request line', `\n${get('')}`),
  rejected('a bare CR before the request line', `\r${get('')}`),
  rejected('two empty lines before the request line', `\r\n\r\n${get('')}`),
  rejected('an empty line with a space before the request line', ` \r\n${get('')}`),
  rejected('a request line folded', `GET /$ID\r\n HTTP/1.1\r\n${HOST}\r\n`),
  version('HTTP/1.2', UNSUPPORTED),
  version('HTTP/1.9', UNSUPPORTED),
  version('HTTP/2.0', UNSUPPORTED),
  version('HTTP/3.0', UNSUPPORTED),
  version('HTTP/9.9', UNSUPPORTED),
  version('HTTP/0.9', UNSUPPORTED),
  version('HTTP/0.0', UNSUPPORTED),
  version('HTTP/1.10'),
  version('HTTP/1.01'),
  version('HTTP/01.1'),
  version('HTTP/11', UNSUPPORTED),
  version('HTTP/1'),
  version('HTTP/2', UNSUPPORTED),
  version('HTTP/1.'),
  version('HTTP/.1'),
  version('HTTP/1.1.1'),
  version('HTTP/1,1'),
  version('HTTP/+1.1'),
  version('HTTP/-1.1'),
  version('HTTP/1.x'),
  version('HTTP/x.1'),
  version('HTTP /1.1'),
  version('HTTP/ 1.1'),
  version('http/1.1'),
  version('Http/1.1'),
  version('HTTPS/1.1'),
  version('HTP/1.1'),
  version('HTTP1.1'),
  version('HTTP\\1.1'),
  version('ICY/1.1'),
  version('RTSP/1.0'),
  version('HTTP/1.1\0'),
  version('HTTP/1.1\x0b'),
  version('HTTP/1.1;'),
];

const METHODS: readonly RejectedCase[] = [
  method('an at sign in the method', 'G@T'),
  method('a parenthesis in the method', 'GE(T'),
  method('a colon in the method', 'GET:'),
  method('a slash in the method', 'GE/T'),
  method('a quote in the method', '"GET"'),
  method('a comma in the method', 'GET,POST'),
  method('a bracket in the method', '[GET]'),
  method('a brace in the method', '{GET}'),
  method('a backslash in the method', 'GET\\'),
  method('an equals sign in the method', 'GET=1'),
  method('a NUL in the method', 'GE\0T'),
  method('a NUL behind the method', 'GET\0'),
  method('a control character in the method', 'GE\x01T'),
  method('a DEL in the method', 'GE\x7fT'),
  method('a byte above 127 in the method', 'G\xcbT'),
  method('a bare CR in the method', 'GE\rT'),
  method('a bare LF in the method', 'GE\nT'),
  rejected(
    'CONNECT',
    'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nX-Case: $ID\r\n\r\n',
    405,
  ),
  rejected('CONNECT with a path', `CONNECT /$ID HTTP/1.1\r\n${HOST}\r\n`, [400, 405]),
  rejected(
    'CONNECT without a port',
    `CONNECT example.com HTTP/1.1\r\n${HOST}X-Case: $ID\r\n\r\n`,
    [400, 405],
  ),
  rejected(
    'CONNECT with content',
    `CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nContent-Length: 5\r\n\r\nhello`,
    [400, 405],
  ),
  rejected('an endless method', `${'A'.repeat(65536)} /$ID HTTP/1.1\r\n${HOST}\r\n`, [400, 414, 431]),
  rejected('an endless method without a line end', 'A'.repeat(131072), [400, 414, 431]),
];

const FIELDS: readonly RejectedCase[] = [
  field('a line without a colon', 'garbage'),
  field('a line of a colon alone', ':'),
  field('an empty name', ': value'),
  field('a space for a name', ' : value'),
  field('a space in a name', 'X Y: z'),
  field('a tab in a name', 'X\tY: z'),
  field('a space before a colon', 'X : y'),
  field('a tab before a colon', 'X\t: y'),
  ...['(', ')', '<', '>', '@', ',', ';', '\\', '"', '/', '[', ']', '?', '=', '{', '}'].map((character) =>
    field(`${character} in a name`, `X${character}Y: z`),
  ),
  field('a NUL in a name', 'X\0Y: z'),
  field('a control character in a name', 'X\x01Y: z'),
  field('a DEL in a name', 'X\x7fY: z'),
  field('a byte above 127 in a name', 'X\x80Y: z'),
  field('a bare CR in a name', 'X\rY: z'),
  field('a NUL in a value', 'X: a\0b'),
  field('a NUL for a value', 'X: \0'),
  field('a control character in a value', 'X: a\x01b'),
  field('a backspace in a value', 'X: a\bb'),
  field('an escape in a value', 'X: a\x1bb'),
  field('a vertical tab in a value', 'X: a\x0bb'),
  field('a form feed in a value', 'X: a\x0cb'),
  field('a DEL in a value', 'X: a\x7fb'),
  field('a bare CR in a value', 'X: a\rb'),
  field('a bare CR at the end of a value', 'X: a\r'),
  field('a bare CR before a value', 'X:\ra'),
  field('a bare LF in a value', 'X: a\nb'),
  field('a bare LF between two fields', 'X: a\nY: b'),
  field('a LF CR between two fields', 'X: a\n\rY: b'),
  field('an obs-fold with a space', 'X: a\r\n b'),
  field('an obs-fold with a tab', 'X: a\r\n\tb'),
  field('an obs-fold of an empty value', 'X:\r\n a'),
  field('an obs-fold with nothing in it', 'X: a\r\n '),
  field('a line of a space alone', ' '),
  field('a line of a tab alone', '\t'),
  rejected('a space before the first field', `GET /$ID HTTP/1.1\r\n ${HOST}\r\n`),
  rejected('a tab before the first field', `GET /$ID HTTP/1.1\r\n\t${HOST}\r\n`),
  rejected('a line of a space before the first field', `GET /$ID HTTP/1.1\r\n \r\n${HOST}\r\n`),
  rejected('a head that ends in two bare LFs', `GET /$ID HTTP/1.1\r\n${HOST}X: y\n\n`),
  rejected('a head that ends in CRLF and a bare LF', `GET /$ID HTTP/1.1\r\n${HOST}X: y\r\n\n`),
  rejected('a head that ends in LF CRLF', `GET /$ID HTTP/1.1\r\n${HOST}X: y\n\r\n`),
  rejected('a head that ends in CRLF and a bare CR', `GET /$ID HTTP/1.1\r\n${HOST}X: y\r\n\rX`),
  rejected('a head that ends in CR CR LF', `GET /$ID HTTP/1.1\r\n${HOST}X: y\r\n\r\r\n`),
  rejected('a field of 16 KiB', get(`X: ${'y'.repeat(16384)}\r\n`), 431),
  rejected('a field name of 16 KiB', get(`${'X'.repeat(16384)}: y\r\n`), 431),
  rejected('a field of 1 MiB', get(`X: ${'y'.repeat(1048576)}\r\n`), 431),
  rejected('a field that never ends', `GET /$ID HTTP/1.1\r\n${HOST}X: ${'y'.repeat(262144)}`, 431),
  rejected('fields that never end', `GET /$ID HTTP/1.1\r\n${HOST}${'X: yyyyyyyyyyyy\r\n'.repeat(8192)}`, 431),
  rejected('400 fields within the size limit', get('a: b\r\n'.repeat(400)), 431),
  rejected('200 fields without values', get('a:\r\n'.repeat(200)), 431),
];

const HOSTS: readonly RejectedCase[] = [
  rejected('no Host', 'GET /$ID HTTP/1.1\r\n\r\n'),
  rejected('no Host, but a name that ends like it', 'GET /$ID HTTP/1.1\r\nX-Host: example.com\r\n\r\n'),
  rejected('two Hosts that differ', `GET /$ID HTTP/1.1\r\n${HOST}Host: evil.example\r\n\r\n`),
  rejected('two Hosts that agree', `GET /$ID HTTP/1.1\r\n${HOST}${HOST}\r\n`),
  rejected('two Hosts in two spellings', `GET /$ID HTTP/1.1\r\n${HOST}hOsT: example.com\r\n\r\n`),
  rejected('two Hosts in HTTP/1.0', `GET /$ID HTTP/1.0\r\n${HOST}${HOST}\r\n`),
  rejected('two Hosts, the second empty', `GET /$ID HTTP/1.1\r\n${HOST}Host:\r\n\r\n`),
  rejected('a space before the colon of Host', 'GET /$ID HTTP/1.1\r\nHost : example.com\r\n\r\n'),
  rejected('a folded Host', 'GET /$ID HTTP/1.1\r\nHost:\r\n example.com\r\n\r\n'),
  rejected('no Host with an absolute target', 'GET http://example.com/$ID HTTP/1.1\r\n\r\n'),
  rejected('two Hosts with an absolute target', `GET http://example.com/$ID HTTP/1.1\r\n${HOST}${HOST}\r\n`),
  rejected('a bad Host with an absolute target', 'GET http://example.com/$ID HTTP/1.1\r\nHost: a b\r\n\r\n'),
  rejected('an empty Host', 'GET /$ID HTTP/1.1\r\nHost:\r\n\r\n', [400, 421]),
  host('a space in Host', 'exam ple.com'),
  host('two names in Host', 'example.com, evil.example'),
  host('two names and a space in Host', 'example.com evil.example'),
  host('a path in Host', 'example.com/evil'),
  host('a query in Host', 'example.com?evil'),
  host('a fragment in Host', 'example.com#evil'),
  host('a scheme in Host', 'http://example.com'),
  host('userinfo in Host', 'user@example.com'),
  host('userinfo and a password in Host', 'user:password@example.com'),
  host('a backslash in Host', 'example.com\\evil'),
  host('a NUL in Host', 'example.com\0.evil'),
  host('a control character in Host', 'example\x01.com'),
  host('a DEL in Host', 'example.com\x7f'),
  host('a bare CR in Host', 'example.com\revil'),
  host('a byte above 127 in Host', 'ex\xe4mple.com'),
  host('quotes in Host', '"example.com"'),
  host('angle brackets in Host', '<example.com>'),
  host('a caret in Host', 'exa^mple.com'),
  host('a backtick in Host', 'exa`mple.com'),
  host('a bar in Host', 'exa|mple.com'),
  host('braces in Host', '{example.com}'),
  host('a broken escape in Host', 'example.com%'),
  host('an encoded NUL in Host', 'example.com%00', [400, 421]),
  host('an encoded slash in Host', 'example.com%2fevil', [400, 421]),
  host('a port that is no number', 'example.com:abc'),
  host('a port with a sign', 'example.com:+80'),
  host('a negative port', 'example.com:-80'),
  host('a port with a letter behind', 'example.com:80a'),
  host('a port above 65535', 'example.com:65536'),
  host('a port of many digits', 'example.com:18446744073709551696'),
  host('two ports', 'example.com:80:80'),
  host('a port without a name', ':80', [400, 421]),
  host('an address in brackets that stay open', '[::1'),
  host('an IPv6 address without brackets', '::1'),
  host('words in brackets', '[example.com]'),
  host('an IPv6 address with too many groups', '[1:2:3:4:5:6:7:8:9]'),
  host('an IPv6 address with a group too long', '[::12345]'),
  host('an IPv6 address with two gaps', '[1::2::3]'),
  host('an IPv6 address with a zone', '[fe80::1%eth0]'),
  host('letters behind brackets', '[::1]x'),
  host('empty brackets', '[]'),
  host('a Host of 4 KiB', 'a'.repeat(4096), [400, 421]),
];

const REFUSALS: readonly RejectedCase[] = [
  refused('an unknown expectation', post('Content-Length: 5\r\nExpect: 200-ok\r\n', 'hello'), 417),
  refused(
    'a known and an unknown expectation',
    post('Content-Length: 5\r\nExpect: 100-continue, x\r\n', 'hello'),
    417,
  ),
  refused(
    '100-continue with something behind',
    post('Content-Length: 5\r\nExpect: 100-continuex\r\n', 'hello'),
    417,
  ),
  refused(
    '100-continue with a parameter',
    post('Content-Length: 5\r\nExpect: 100-continue;q=1\r\n', 'hello'),
    417,
  ),
  refused('TRACE', `TRACE /$ID HTTP/1.1\r\n${HOST}\r\n`, 405),
  refused('an unknown host', 'GET /$ID HTTP/1.1\r\nHost: unknown.example\r\n\r\n', 421),
  refused(
    'an unknown host in an absolute target',
    `GET http://unknown.example/$ID HTTP/1.1\r\n${HOST}\r\n`,
    421,
  ),
  refused('an IPv6 address that no route knows', 'GET /$ID HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n', 421),
  refused('an IPv4 address that no route knows', 'GET /$ID HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 421),
];

const UPGRADE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

const UPGRADES: readonly RejectedCase[] = [
  rejected('an upgrade with a body', `${get(`${UPGRADE}Content-Length: 5\r\n`)}hello`),
  rejected(
    'an upgrade with a chunked body',
    `${get(`${UPGRADE}Transfer-Encoding: chunked\r\n`)}5\r\nhello\r\n0\r\n\r\n`,
  ),
  rejected('an upgrade by POST with a body', post(`${UPGRADE}Content-Length: 5\r\n`, 'hello')),
];

const CLIENT_HELLO =
  '\x16\x03\x01\x00\x75\x01\x00\x00\x71\x03\x03' +
  '\x5c\x1b\x9a\x52\x11'.repeat(8).slice(0, 32) +
  '\x00\x00\x1a\xc0\x2f\xc0\x2b\xc0\x11\xc0\x07\xc0\x13\xc0\x09\xc0\x14\xc0\x0a\x00\x05\x00\x2f\x00\x35\xc0\x12\x00\x0a' +
  '\x01\x00\x00\x2e\x00\x05\x00\x05\x01\x00\x00\x00\x00\x00\x0a\x00\x08\x00\x06\x00\x17\x00\x18\x00\x19\x00\x0b\x00\x02\x01\x00' +
  '\x00\x0d\x00\x0a\x00\x08\x04\x01\x04\x03\x02\x01\x02\x03\xff\x01\x00\x01\x00';

const OTHER_PROTOCOLS: readonly RejectedCase[] = [
  rejected('a TLS ClientHello', CLIENT_HELLO),
  rejected('an SSL 2 hello', '\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\r\n\r\n'),
  rejected('the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', UNSUPPORTED),
  rejected('HTTP/0.9', 'GET /$ID\r\n', UNSUPPORTED),
  rejected('HTTP/0.9 with an empty line', 'GET /$ID\r\n\r\n', UNSUPPORTED),
  rejected('a PROXY header, version 1', `PROXY TCP4 10.0.0.1 10.0.0.2 1234 80\r\n${get('')}`),
  rejected(
    'a PROXY header, version 2',
    `\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x04\xd2\0\x50${get('')}`,
  ),
  rejected('an SSH banner', 'SSH-2.0-OpenSSH_9.2\r\n'),
  rejected('SMTP', 'EHLO example.com\r\n'),
  rejected('a Redis command', '*1\r\n$4\r\nPING\r\n'),
  rejected('an FTP command', 'USER anonymous\r\n'),
  rejected('a response', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Case: $ID\r\n\r\n'),
  rejected('RTSP', 'OPTIONS rtsp://example.com/$ID RTSP/1.0\r\nCSeq: 1\r\n\r\n'),
  rejected('SIP', 'INVITE sip:$ID@example.com SIP/2.0\r\nVia: SIP/2.0/UDP example.com\r\n\r\n', UNSUPPORTED),
  rejected('UTF-16', `\xff\xfe${[...'GET /$ID HTTP/1.1\r\n\r\n'].join('\0')}`),
  rejected('a frame of WebSocket', '\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\r\n\r\n'),
  rejected('NULs', `${'\0'.repeat(64)}\r\n\r\n`),
  rejected(
    'bytes of every value',
    `${Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join('')}\r\n\r\n`,
  ),
  rejected('JSON', '{"id": "$ID"}\r\n\r\n'),
];

/** Faults behind a request that is in order: its answer comes first, whole, then the refusal. */
const SEQUENCES: readonly RejectedCase[] = [
  { ...rejected('garbage behind a GET', `${get('')}\0garbage\r\n\r\n`), answered: 1 },
  { ...rejected('early content behind a GET', `${get('')}hello\r\n\r\n`), answered: 1 },
  {
    ...rejected(
      'more content than a length declares',
      `${post('Content-Length: 5\r\n', 'hello')}, world\r\n\r\n`,
    ),
    answered: 1,
  },
  {
    ...rejected(
      'more content than the last chunk ends',
      `${post('Transfer-Encoding: chunked\r\n', '0\r\n\r\n')}5\r\nhello\r\n`,
    ),
    answered: 1,
  },
  { ...rejected('a bare LF behind a GET', `${get('')}\n`), answered: 1 },
  {
    ...rejected('two empty lines behind a POST', `${post('Content-Length: 5\r\n', 'hello')}\r\n\r\n`),
    answered: 1,
  },
  {
    ...rejected('a bad request behind two that are in order', `${get('')}${get('')}GET / HTTP/1.1\r\n\r\n`),
    answered: 2,
  },
  { ...rejected('a TLS ClientHello behind a GET', `${get('')}${CLIENT_HELLO}`), answered: 1 },
];

export const HEAD_CASES: readonly RejectedCase[] = [
  ...LINES,
  ...METHODS,
  ...FIELDS,
  ...HOSTS,
  ...REFUSALS,
  ...UPGRADES,
  ...OTHER_PROTOCOLS,
  ...SEQUENCES,
];
