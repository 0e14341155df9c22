/**
 * What a backend may do wrong, each as a script of its first connection; every later connection is honest.
 * Beside it stands what the client must see.
 */

import { type OriginConnection, responseText, serveEcho } from '../fixtures/origin.ts';
import { pause } from '../fixtures/patience.ts';

export type Expectation =
  /** A complete response with one of these statuses. */
  | { readonly kind: 'status'; readonly statuses: readonly number[] }
  /** A complete response 200 with exactly this body. */
  | { readonly kind: 'whole'; readonly body: string }
  /** A head of 200, at most this body, and a connection that visibly ends too early. */
  | { readonly kind: 'cut'; readonly body: string }
  /** 502, or cut, whichever the fault is noticed in time for. */
  | { readonly kind: 'refused or cut'; readonly body: string };

export interface Lie {
  readonly name: string;
  readonly script: (connection: OriginConnection) => Promise<void>;
  readonly expected: Expectation;
  readonly method: string;
  /** The client speaks HTTP/1.0. */
  readonly http10: boolean;
  /** How long the lie goes on behind the response, ms. */
  readonly settleMs: number;
  /** `backend_response_timeout_secs` of the route. */
  readonly responseTimeoutSecs: number;
  /** Odd, but no lie: the connection goes on, and may be used again. */
  readonly isHonest: boolean;
}

type Ending = 'open' | 'end' | 'reset';

const BAD_GATEWAY: Expectation = { kind: 'status', statuses: [502] };
const GATEWAY_TIMEOUT: Expectation = { kind: 'status', statuses: [504] };

function lie(
  name: string,
  script: (connection: OriginConnection) => Promise<void>,
  expected: Expectation,
  more: Partial<Lie> = {},
): Lie {
  return {
    name,
    script,
    expected,
    method: 'GET',
    http10: false,
    settleMs: 0,
    responseTimeoutSecs: 10,
    isHonest: false,
    ...more,
  };
}

/** Reads a request, says `text`, then does nothing more, or ends. */
function says(
  name: string,
  text: string,
  ending: Ending,
  expected: Expectation,
  more: Partial<Lie> = {},
): Lie {
  return lie(
    name,
    async (connection) => {
      await connection.readRequest();
      await connection.write(text);
      if (ending === 'reset') {
        // What is written must have been read, and be on its way to the client, before a reset throws it away.
        await connection.untilRead();
        await pause(100);
      }
      if (ending === 'end') connection.end();
      if (ending === 'reset') connection.reset();
      if (more.isHonest === true) await serveEcho(connection);
    },
    expected,
    more,
  );
}

const POISON = responseText('200 OK', 'poison');

function head(name: string, text: string): Lie {
  return says(name, text, 'open', BAD_GATEWAY);
}

function field(name: string, lines: string): Lie {
  return head(name, `HTTP/1.1 200 OK\r\n${lines}\r\nContent-Length: 5\r\n\r\nhello`);
}

function framing(name: string, lines: string): Lie {
  return head(name, `HTTP/1.1 200 OK\r\n${lines}\r\n\r\n5\r\nhello\r\n0\r\n\r\n`);
}

function statusLine(line: string): Lie {
  return head(`the status line ${JSON.stringify(line)}`, `${line}\r\nContent-Length: 5\r\n\r\nhello`);
}

const HEADS: readonly Lie[] = [
  ...[
    'HTTP/1.1 abc OK',
    'HTTP/1.1 20 OK',
    'HTTP/1.1 2000 OK',
    'HTTP/1.1 000 OK',
    'HTTP/1.1 099 OK',
    'HTTP/1.1 -20 OK',
    'HTTP/1.1  200 OK',
    'HTTP/1.1 200OK',
    'HTTP/1.1\t200 OK',
    'HTTP/1.1200 OK',
    'HTTP/1.1',
    'HTTP/2.0 200 OK',
    'HTTP/2 200',
    'HTTP/0.9 200 OK',
    'http/1.1 200 OK',
    'ICY 200 OK',
    '200 OK',
    ' HTTP/1.1 200 OK',
    'HTTP/1.1 200 O\0K',
    'HTTP/1.1 200 O\rK',
    'HTTP/1.1 200 OK\r',
    '',
    '<html>hello</html>',
    '\x16\x03\x01\x02\0\x01\0',
  ].map(statusLine),
  head('a head of bare LFs', 'HTTP/1.1 200 OK\nContent-Length: 5\n\nhello'),
  head('a status line that ends in a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello'),
  head('a body alone, as HTTP/0.9', 'hello'.repeat(100)),
  field('a line without a colon', 'garbage'),
  field('an empty field name', ': x'),
  field('a space in a field name', 'X Y: z'),
  field('a NUL in a field name', 'X\0: z'),
  field('a NUL in a field value', 'X: \0'),
  field('a control character in a field value', 'X: a\x01'),
  field('a bare CR in a field value', 'X: a\rb'),
  field('a bare CR that would split the response', 'X: a\rSet-Cookie: b'),
  field('a bare LF in a field', 'X: a\nY: b'),
  framing('a length and a coding', 'Content-Length: 5\r\nTransfer-Encoding: chunked'),
  framing('a coding and a length', 'Transfer-Encoding: chunked\r\nContent-Length: 5'),
  framing('two lengths that differ', 'Content-Length: 5\r\nContent-Length: 6'),
  framing('a list of lengths that differ', 'Content-Length: 5, 6'),
  framing('a length with a sign', 'Content-Length: +5'),
  framing('a negative length', 'Content-Length: -5'),
  framing('a length that is a word', 'Content-Length: five'),
  framing('a length of 2^64 + 5', 'Content-Length: 18446744073709551621'),
  framing('an empty length', 'Content-Length:'),
  framing('an unknown coding', 'Transfer-Encoding: cow'),
  framing('an identity coding', 'Transfer-Encoding: identity'),
  framing('a coding over chunked', 'Transfer-Encoding: gzip, chunked'),
  framing('chunked not last', 'Transfer-Encoding: chunked, identity'),
  framing('chunked twice', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked'),
  head('fields of 256 KiB', `HTTP/1.1 200 OK\r\nX: ${'y'.repeat(262144)}\r\nContent-Length: 5\r\n\r\nhello`),
  head('a thousand fields', `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(1000)}Content-Length: 5\r\n\r\nhello`),
  lie(
    'a head that never ends',
    async (connection) => {
      await connection.readRequest();
      await connection.write('HTTP/1.1 200 OK\r\n');
      while (!connection.ended) await connection.write('X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n'.repeat(100));
    },
    BAD_GATEWAY,
  ),
  lie(
    'a status line that never ends',
    async (connection) => {
      await connection.readRequest();
      await connection.write('HTTP/1.1 200 ');
      while (!connection.ended) await connection.write('y'.repeat(4096));
    },
    BAD_GATEWAY,
  ),
];

const CHUNKED_HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

function chunks(name: string, content: string, body = 'hello'): Lie {
  return says(name, `${CHUNKED_HEAD}${content}`, 'open', { kind: 'refused or cut', body });
}

const CHUNKS: readonly Lie[] = [
  chunks('a chunk size that is no hexadecimal', '5\r\nhello\r\ng\r\nworld\r\n0\r\n\r\n'),
  chunks('a negative chunk size', '5\r\nhello\r\n-5\r\nworld\r\n0\r\n\r\n'),
  chunks('a chunk size with 0x', '5\r\nhello\r\n0x5\r\nworld\r\n0\r\n\r\n'),
  chunks('a chunk size of 2^64 + 5', '5\r\nhello\r\n10000000000000005\r\nworld\r\n0\r\n\r\n'),
  chunks('an empty chunk size', '5\r\nhello\r\n\r\nworld\r\n0\r\n\r\n'),
  chunks('a chunk without its CRLF', '5\r\nhello5\r\nworld\r\n0\r\n\r\n'),
  chunks('a chunk that is longer than its size', '5\r\nhello world\r\n0\r\n\r\n'),
  chunks('a chunk size line that ends in a bare LF', '5\r\nhello\r\n5\nworld\r\n0\r\n\r\n'),
  chunks('a bare LF in a chunk extension', '5\r\nhello\r\n5;a\n=b\r\nworld\r\n0\r\n\r\n'),
  chunks('a chunk extension of 64 KiB', `5\r\nhello\r\n5;a=${'b'.repeat(65536)}\r\nworld\r\n0\r\n\r\n`),
  chunks('an end that is a bare LF', '5\r\nhello\r\n0\r\n\n'),
  chunks('a trailer without a colon', '5\r\nhello\r\n0\r\ngarbage\r\n\r\n'),
  chunks('a trailer with a NUL', '5\r\nhello\r\n0\r\nX: \0\r\n\r\n'),
  chunks('trailers of 256 KiB', `5\r\nhello\r\n0\r\nX: ${'y'.repeat(262144)}\r\n\r\n`),
  chunks('no chunks, but the plain body', 'hello world, this is no chunk', ''),
];

const LENGTHS: readonly Lie[] = [
  says('more bytes than the length declares', `${responseText('200 OK', 'hello')}, world`, 'open', {
    kind: 'whole',
    body: 'hello',
  }),
  says('a second response behind the first', responseText('200 OK', 'hello') + POISON, 'open', {
    kind: 'whole',
    body: 'hello',
  }),
  says('a second response behind the last chunk', `${CHUNKED_HEAD}5\r\nhello\r\n0\r\n\r\n${POISON}`, 'open', {
    kind: 'whole',
    body: 'hello',
  }),
  lie(
    'more bytes than the length declares, a little later',
    async (connection) => {
      await connection.readRequest();
      await connection.write(responseText('200 OK', 'hello'));
      await pause(50);
      await connection.write(', world');
    },
    { kind: 'whole', body: 'hello' },
    { settleMs: 200 },
  ),
  lie(
    'a response on an idle connection that nobody asked for',
    async (connection) => {
      await connection.readRequest();
      await connection.write(responseText('200 OK', 'hello'));
      await pause(50);
      await connection.write(POISON);
    },
    { kind: 'whole', body: 'hello' },
    { settleMs: 200 },
  ),
  lie(
    '408 on an idle connection',
    async (connection) => {
      await connection.readRequest();
      await connection.write(responseText('200 OK', 'hello'));
      await pause(50);
      await connection.write(responseText('408 Request Timeout', '', 'Connection: close\r\n'));
      connection.end();
    },
    { kind: 'whole', body: 'hello' },
    { settleMs: 200 },
  ),
  lie(
    'an end on an idle connection',
    async (connection) => {
      await connection.readRequest();
      await connection.write(responseText('200 OK', 'hello'));
      await pause(50);
      connection.end();
    },
    { kind: 'whole', body: 'hello' },
    { settleMs: 200 },
  ),
  lie(
    'a reset on an idle connection',
    async (connection) => {
      await connection.readRequest();
      await connection.write(responseText('200 OK', 'hello'));
      await connection.untilRead();
      await pause(50);
      connection.reset();
    },
    { kind: 'whole', body: 'hello' },
    { settleMs: 200 },
  ),
  says('fewer bytes than the length declares', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello', 'end', {
    kind: 'cut',
    body: 'hello',
  }),
  says('no body at all where a length is declared', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n', 'end', {
    kind: 'refused or cut',
    body: '',
  }),
  says(
    'content behind a response to HEAD',
    responseText('200 OK', 'poison'),
    'open',
    { kind: 'whole', body: '' },
    { method: 'HEAD' },
  ),
  says(
    'chunked content behind a response to HEAD',
    `${CHUNKED_HEAD}6\r\npoison\r\n0\r\n\r\n`,
    'open',
    { kind: 'whole', body: '' },
    { method: 'HEAD' },
  ),
  says('content behind 204', responseText('204 No Content', 'poison'), 'open', {
    kind: 'status',
    statuses: [204, 502],
  }),
  says(
    'chunked content behind 204',
    `HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n`,
    'open',
    {
      kind: 'status',
      statuses: [204, 502],
    },
  ),
  says('content behind 304', responseText('304 Not Modified', 'poison'), 'open', {
    kind: 'status',
    statuses: [304],
  }),
  says(
    'a close that is announced and never comes',
    responseText('200 OK', 'hello', 'Connection: close\r\n'),
    'open',
    { kind: 'whole', body: 'hello' },
  ),
  says(
    'a close that is announced and never comes, behind chunks',
    'HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    'open',
    { kind: 'whole', body: 'hello' },
  ),
  says(
    'two lengths that agree',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello',
    'open',
    {
      kind: 'status',
      statuses: [200, 502],
    },
  ),
];

const DEATHS: readonly Lie[] = [
  lie('an end before the request is read', async (connection) => connection.end(), BAD_GATEWAY),
  lie('a reset before the request is read', async (connection) => connection.reset(), BAD_GATEWAY),
  says('an end before the head', '', 'end', BAD_GATEWAY),
  says('a reset before the head', '', 'reset', BAD_GATEWAY),
  says('an end within the status line', 'HTTP/1.1 20', 'end', BAD_GATEWAY),
  says('a reset within the status line', 'HTTP/1.1 20', 'reset', BAD_GATEWAY),
  says('an end within a field', 'HTTP/1.1 200 OK\r\nContent-Le', 'end', BAD_GATEWAY),
  says('a reset within a field', 'HTTP/1.1 200 OK\r\nContent-Le', 'reset', BAD_GATEWAY),
  says('an end behind 103', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n', 'end', BAD_GATEWAY),
  says('a reset within a body', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello', 'reset', {
    kind: 'cut',
    body: 'hello',
  }),
  says('an end within a chunk', `${CHUNKED_HEAD}a\r\nhello`, 'end', { kind: 'cut', body: 'hello' }),
  says('a reset within a chunk', `${CHUNKED_HEAD}a\r\nhello`, 'reset', { kind: 'cut', body: 'hello' }),
  says('an end within a chunk size', `${CHUNKED_HEAD}5\r\nhello\r\n1`, 'end', { kind: 'cut', body: 'hello' }),
  says('an end before the last chunk', `${CHUNKED_HEAD}5\r\nhello\r\n`, 'end', {
    kind: 'cut',
    body: 'hello',
  }),
  says('a reset before the last chunk', `${CHUNKED_HEAD}5\r\nhello\r\n`, 'reset', {
    kind: 'cut',
    body: 'hello',
  }),
  says('an end within the last chunk', `${CHUNKED_HEAD}5\r\nhello\r\n0\r\n`, 'end', {
    kind: 'cut',
    body: 'hello',
  }),
  says('an end within the trailers', `${CHUNKED_HEAD}5\r\nhello\r\n0\r\nX: y`, 'end', {
    kind: 'cut',
    body: 'hello',
  }),
  says(
    'a reset where the end of the body is the end of the connection',
    'HTTP/1.1 200 OK\r\n\r\nhello',
    'reset',
    {
      kind: 'cut',
      body: 'hello',
    },
  ),
  says(
    'an end before the last chunk, for a client of HTTP/1.0',
    `${CHUNKED_HEAD}5\r\nhello\r\n`,
    'end',
    { kind: 'cut', body: 'hello' },
    { http10: true },
  ),
  says(
    'a reset within a body without a length, for a client of HTTP/1.0',
    'HTTP/1.0 200 OK\r\n\r\nhello',
    'reset',
    { kind: 'cut', body: 'hello' },
    { http10: true },
  ),
  says(
    'fewer bytes than the length declares, for a client of HTTP/1.0',
    'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello',
    'end',
    { kind: 'cut', body: 'hello' },
    { http10: true },
  ),
];

const SLOWNESS: readonly Lie[] = [
  lie(
    'no answer',
    async (connection) => {
      await connection.readRequest();
    },
    GATEWAY_TIMEOUT,
    { responseTimeoutSecs: 1 },
  ),
  says('half a head and then nothing', 'HTTP/1.1 200 OK\r\nX: ', 'open', GATEWAY_TIMEOUT, {
    responseTimeoutSecs: 1,
  }),
  says('103 and then nothing', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n', 'open', GATEWAY_TIMEOUT, {
    responseTimeoutSecs: 1,
  }),
  says(
    'half a body and then nothing',
    'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello',
    'open',
    { kind: 'cut', body: 'hello' },
    { responseTimeoutSecs: 1 },
  ),
  says(
    'a chunk and then nothing',
    `${CHUNKED_HEAD}5\r\nhello\r\n`,
    'open',
    { kind: 'cut', body: 'hello' },
    { responseTimeoutSecs: 1 },
  ),
  says(
    'a body without a length and then nothing',
    'HTTP/1.1 200 OK\r\n\r\nhello',
    'open',
    { kind: 'cut', body: 'hello' },
    { responseTimeoutSecs: 1 },
  ),
  lie(
    'a head that drips, byte by byte',
    async (connection) => {
      await connection.readRequest();
      for (const byte of responseText('200 OK', 'hello', 'X-Drip: 1\r\n')) {
        await connection.write(byte);
        await pause(2);
      }
      await serveEcho(connection);
    },
    { kind: 'whole', body: 'hello' },
    { isHonest: true },
  ),
  lie(
    'a body that drips, byte by byte',
    async (connection) => {
      await connection.readRequest();
      await connection.write('HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n');
      for (const byte of 'abcdefghijklmnopqrstuvwxyz') {
        await connection.write(byte);
        await pause(10);
      }
      await serveEcho(connection);
    },
    { kind: 'whole', body: 'abcdefghijklmnopqrstuvwxyz' },
    { isHonest: true },
  ),
  lie(
    'chunks that drip, byte by byte',
    async (connection) => {
      await connection.readRequest();
      await connection.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      for (const byte of '5\r\nhello\r\n6;a="b"\r\n world\r\n0\r\nX: y\r\n\r\n') {
        await connection.write(byte);
        await pause(5);
      }
      await serveEcho(connection);
    },
    { kind: 'whole', body: 'hello world' },
    { isHonest: true },
  ),
];

const INTERIM: readonly Lie[] = [
  says(
    '101 that nobody asked for',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    'open',
    BAD_GATEWAY,
  ),
  says(
    '101 without any field, that nobody asked for',
    'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    'open',
    BAD_GATEWAY,
  ),
  says(
    '100 that nobody asked for',
    `HTTP/1.1 100 Continue\r\n\r\n${responseText('200 OK', 'hello')}`,
    'open',
    {
      kind: 'whole',
      body: 'hello',
    },
    { isHonest: true },
  ),
  says(
    '103 that a client of HTTP/1.0 must not see',
    `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${responseText('200 OK', 'hello')}`,
    'open',
    { kind: 'whole', body: 'hello' },
    { http10: true, isHonest: true },
  ),
  says(
    'five hundred interim responses',
    `${'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(500)}${responseText('200 OK', 'hello')}`,
    'open',
    { kind: 'status', statuses: [200, 502] },
  ),
  lie(
    'interim responses without an end',
    async (connection) => {
      await connection.readRequest();
      while (!connection.ended) {
        await connection.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(100));
      }
    },
    { kind: 'status', statuses: [502, 504] },
  ),
  says(
    '103 with content',
    `HTTP/1.1 103 Early Hints\r\nContent-Length: 6\r\n\r\npoison${responseText('200 OK', 'hello')}`,
    'open',
    BAD_GATEWAY,
  ),
];

export const LIES: readonly Lie[] = [...HEADS, ...CHUNKS, ...LENGTHS, ...DEATHS, ...SLOWNESS, ...INTERIM];
