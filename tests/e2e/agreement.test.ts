/**
 * A thousand requests of every kind through the started product, with two workers, over HTTP/1.1 and HTTP/2: what clients saw,
 * what the access log says of each, and what the metrics add up to are the same, to the request.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { FAULTS } from '../../src/http/fault.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import type { IoBackend } from '../fixtures/io-backends.ts';
import { MetricsPage } from '../fixtures/metrics.ts';
import { type Origin, type OriginConnection, responseText, startOrigin } from '../fixtures/origin.ts';
import { until, within } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { exchangeOnce, RawClient } from '../fixtures/raw-client.ts';

const REQUESTS_MIN = 1000;
const AT_ONCE = 24;
const PATIENCE_MS = 20_000;
const FILE_BYTES = 5000;
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** What a client knows of one request. */
interface Seen {
  readonly id: number;
  readonly kind: string;
  readonly method: string;
  /** The host's label on the page. */
  readonly label: string;
  /** 0: no response. */
  readonly status: number;
  /** Bytes of content; -1 where the client can't know what was sent. */
  readonly bytes: number;
  /** The reason that must be given; null: whatever belongs to this status. */
  readonly reason: string;
}

type Result = Pick<Seen, 'status' | 'bytes'> & { readonly reason?: string };

/** A kind of request, and how it is made. */
interface Kind {
  readonly name: string;
  readonly method?: string;
  readonly label?: string;
  /** Statuses that it may have, and the reason that goes with each. */
  readonly ends: Readonly<Record<number, string>>;
  /** How many of them; kinds that take time are few. */
  readonly count?: number;
  run(world: World, id: number): Promise<Result>;
}

interface World {
  readonly edge: Edge;
  readonly session: ClientHttp2Session;
}

// ---- The backend -------------------------------------------------------------------------------------

/** Answers by path: with a status, badly, or not at all. */
async function answer(connection: OriginConnection): Promise<void> {
  for (;;) {
    const request = await connection.readRequest();
    if (request === null) break;
    const path = request.target.split('?')[0];
    if (path.startsWith('/status/')) {
      const status = Number(path.slice(8));
      const isBare = status === 204 || status === 304 || request.method === 'HEAD';
      await connection.write(
        isBare ? `HTTP/1.1 ${status} Any\r\n\r\n` : responseText(`${status} Any`, `answer ${status}`),
      );
    } else if (path === '/close') {
      connection.end();
      return;
    } else if (path === '/garbage') {
      await connection.write('this is no HTTP\r\n\r\n');
      return;
    } else if (path === '/cut') {
      // More than fits in the edge's hands: the head is on its way to the client before the end comes.
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n${'h'.repeat(2_000_000)}`);
      connection.end();
      return;
    } else if (path === '/chat') {
      const accept = createHash('sha1')
        .update(request.get('sec-websocket-key') + GUID)
        .digest('base64');
      await connection.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      connection.socket.on('end', () => connection.end());
      return;
    } else if (path === '/bad-chat') {
      await connection.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      );
      return;
    } else if (path === '/early') {
      await connection.write(
        `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${responseText('200 OK', 'hinted')}`,
      );
    } else if (path === '/chunked') {
      await connection.write(
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nchunks\r\n0\r\nX-Trailer: 1\r\n\r\n',
      );
    } else if (path !== '/silent') {
      await connection.write(responseText('200 OK', `${request.body.length} bytes`));
    }
  }
  connection.end();
}

// ---- Clients -----------------------------------------------------------------------------------------

/** Bytes on a connection of their own, and what comes back. */
async function raw(port: number, text: string, method = 'GET'): Promise<Result> {
  const client = await RawClient.connect(port);
  await client.send(text);
  const { response, complete, body } = await client.outcome(method, PATIENCE_MS);
  client.destroy();
  if (response === null) return { status: 0, bytes: -1 };
  return { status: response.status, bytes: complete ? body.length : -1 };
}

interface Request {
  readonly host?: string;
  readonly method?: string;
  readonly lines?: string;
  readonly body?: string;
}

function requestText(id: number, path: string, request: Request): string {
  const { host = 'app.test', method = 'GET', lines = '', body = '' } = request;
  const mark = path.includes('?') ? '&' : '?';
  const length = body === '' ? '' : `Content-Length: ${body.length}\r\n`;
  return `${method} ${path}${mark}id=${id} HTTP/1.1\r\nHost: ${host}\r\n${lines}${length}\r\n${body}`;
}

/** A kind that is one plain request over HTTP/1.1. */
function plain(
  name: string,
  path: string,
  ends: Kind['ends'],
  request: Request = {},
  more: Partial<Kind> = {},
): Kind {
  const { host = 'app.test', method = 'GET' } = request;
  return {
    name,
    method,
    label: host,
    ends,
    run: ({ edge }, id) => raw(edge.port, requestText(id, path, request), method),
    ...more,
  };
}

/** One over a shared connection of HTTP/2. */
function stream(
  name: string,
  path: string,
  ends: Kind['ends'],
  request: Request = {},
  more: Partial<Kind> = {},
): Kind {
  const { host = 'app.test', method = 'GET', body = '' } = request;
  const fields: Record<string, string> = {};
  for (const line of (request.lines ?? '').split('\r\n').filter((each) => each !== '')) {
    const at = line.indexOf(':');
    fields[line.slice(0, at).toLowerCase()] = line.slice(at + 1).trim();
  }
  return {
    name: `${name} (HTTP/2)`,
    method,
    label: host,
    ends,
    run: ({ session }, id) => {
      const mark = path.includes('?') ? '&' : '?';
      const asked = session.request(
        {
          ':method': method,
          ':path': `${path}${mark}id=${id}`,
          ':authority': host,
          ':scheme': 'http',
          ...fields,
        },
        { endStream: body === '' },
      );
      if (body !== '') asked.end(body);
      return resultOf(asked);
    },
    ...more,
  };
}

function resultOf(asked: ClientHttp2Stream): Promise<Result> {
  let status = 0;
  let bytes = 0;
  asked.on('response', (headers) => {
    status = Number(headers[':status']);
  });
  asked.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  asked.on('error', () => undefined);
  const closed = new Promise<Result>((done) =>
    asked.on('close', () => {
      const isWhole = asked.rstCode === constants.NGHTTP2_NO_ERROR;
      done({ status, bytes: isWhole ? bytes : -1 });
    }),
  );
  return within(closed, PATIENCE_MS, 'the end of a stream');
}

/** Asks for something that the backend never answers, and leaves. */
async function leave({ edge }: World, id: number): Promise<Result> {
  const client = await RawClient.connect(edge.port);
  await client.send(requestText(id, '/silent', {}));
  await until(() => waiting(id), PATIENCE_MS, 'the request at the backend');
  client.reset();
  return { status: 0, bytes: -1 };
}

async function leaveStream({ session }: World, id: number): Promise<Result> {
  const asked = session.request({ ':path': `/silent?id=${id}`, ':authority': 'app.test' });
  asked.on('error', () => undefined);
  await until(() => waiting(id), PATIENCE_MS, 'the request at the backend');
  asked.close(constants.NGHTTP2_CANCEL);
  await once(asked, 'close');
  return { status: 0, bytes: -1 };
}

let origin: Origin;

/** Whether the backend has a request. */
function waiting(id: number): boolean {
  return origin.connections.some(({ requests }) => requests.at(-1)?.target === `/silent?id=${id}`);
}

/** Ends its half in the middle of the content that it has announced. */
async function halfBody({ edge }: World, id: number): Promise<Result> {
  const client = await RawClient.connect(edge.port);
  await client.send(`POST /echo?id=${id} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nhalf`);
  client.finish();
  const { response } = await client.outcome('POST', PATIENCE_MS);
  client.destroy();
  return { status: response?.status ?? 0, bytes: -1 };
}

/** Begins a head, or content, and says no more. */
async function stall({ edge }: World, text: string, method: string): Promise<Result> {
  return raw(edge.port, text, method);
}

async function upgrade({ edge }: World, id: number): Promise<Result> {
  const lines = `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n`;
  const client = await RawClient.connect(edge.port);
  await client.send(requestText(id, '/chat', { lines }));
  const { response, body } = await client.outcome('GET', PATIENCE_MS);
  client.finish();
  await client.closed(PATIENCE_MS);
  return { status: response?.status ?? 0, bytes: body.length };
}

async function extendedConnect({ session }: World, id: number): Promise<Result> {
  const asked = session.request(
    {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'http',
      ':path': `/chat?id=${id}`,
      ':authority': 'app.test',
      'sec-websocket-version': '13',
    },
    { endStream: false },
  );
  const result = resultOf(asked);
  const [headers] = await within(once(asked, 'response'), PATIENCE_MS, 'the answer to CONNECT');
  assert.equal(headers[':status'], 200);
  asked.end();
  await result;
  // Over HTTP/2 a 101 is a 200; the log and the page have the one that the backend gave.
  return { status: 101, bytes: 0 };
}

const CHUNKED_TOO_LONG = `3e9\r\n${'c'.repeat(1001)}\r\n0\r\n\r\n`;

const KINDS: readonly Kind[] = [
  // What is served.
  ...[
    200, 201, 204, 206, 301, 302, 304, 307, 400, 401, 403, 404, 410, 418, 429, 451, 500, 501, 502, 503, 504,
    599,
  ].flatMap((status) => [
    plain(`backend ${status}`, `/status/${status}`, { [status]: '' }),
    stream(`backend ${status}`, `/status/${status}`, { [status]: '' }),
  ]),
  plain('HEAD', '/status/200', { 200: '' }, { method: 'HEAD' }),
  stream('HEAD', '/status/200', { 200: '' }, { method: 'HEAD' }),
  plain('POST', '/echo', { 200: '' }, { method: 'POST', body: 'b'.repeat(500) }),
  stream('POST', '/echo', { 200: '' }, { method: 'POST', body: 'b'.repeat(500) }),
  plain('early hints', '/early', { 200: '' }),
  stream('early hints', '/early', { 200: '' }),
  plain('chunked', '/chunked', { 200: '' }),
  stream('chunked', '/chunked', { 200: '' }),
  plain('another method', '/status/200', { 200: '' }, { method: 'BREW' }, { method: 'other' }),
  plain('a file', '/file.txt', { 200: '' }, { host: 'files.test' }),
  stream('a file', '/file.txt', { 200: '' }, { host: 'files.test' }),
  plain('a range', '/file.txt', { 206: '' }, { host: 'files.test', lines: 'Range: bytes=0-9\r\n' }),
  stream('a range', '/file.txt', { 206: '' }, { host: 'files.test', lines: 'Range: bytes=0-9\r\n' }),
  plain('no such range', '/file.txt', { 416: '' }, { host: 'files.test', lines: 'Range: bytes=9999-\r\n' }),
  plain('not modified', '/file.txt', { 304: '' }, { host: 'files.test', lines: 'If-None-Match: *\r\n' }),
  stream('not modified', '/file.txt', { 304: '' }, { host: 'files.test', lines: 'If-None-Match: *\r\n' }),
  plain('precondition', '/file.txt', { 412: '' }, { host: 'files.test', lines: 'If-Match: "other"\r\n' }),
  plain('no file', '/missing', { 404: 'not-found' }, { host: 'files.test' }),
  stream('no file', '/missing', { 404: 'not-found' }, { host: 'files.test' }),
  plain('no index', '/empty/', { 403: 'forbidden' }, { host: 'files.test' }),
  plain(
    'a file takes no POST',
    '/file.txt',
    { 405: 'method-refused' },
    { host: 'files.test', method: 'POST' },
  ),
  ...[301, 302, 303, 307, 308].map((status) =>
    plain(`redirect ${status}`, `/${status}`, { [status]: '' }, { host: 'old.test' }),
  ),
  stream('redirect', '/308', { 308: '' }, { host: 'old.test' }),
  plain('a wildcard', '/301', { 301: '' }, { host: 'any.wild.test' }, { label: '*.wild.test' }),
  {
    name: 'OPTIONS *',
    method: 'OPTIONS',
    label: 'other',
    ends: { 204: '' },
    run: ({ edge }, id) =>
      raw(edge.port, `OPTIONS * HTTP/1.1\r\nHost: app.test\r\nUser-Agent: ${id}\r\n\r\n`, 'OPTIONS'),
  },
  { name: 'upgrade', ends: { 101: '' }, label: 'app.test', run: upgrade },
  { name: 'upgrade (HTTP/2)', ends: { 101: '' }, label: 'app.test', run: extendedConnect },
  // What is refused.
  plain('no route', '/', { 404: 'no-route' }, { host: 'some.test' }),
  stream('no route', '/', { 404: 'no-route' }, { host: 'some.test' }),
  plain('unknown host', '/', { 421: 'unknown-host' }, { host: 'unknown.test' }, { label: 'other' }),
  stream('unknown host', '/', { 421: 'unknown-host' }, { host: 'unknown.test' }, { label: 'other' }),
  plain('denied', '/denied', { 403: 'ip-denied' }),
  stream('denied', '/denied', { 403: 'ip-denied' }),
  plain('method not allowed', '/get', { 405: 'method-not-allowed' }, { method: 'POST' }),
  stream('method not allowed', '/get', { 405: 'method-not-allowed' }, { method: 'DELETE' }),
  plain('TRACE', '/', { 405: 'method-refused' }, { method: 'TRACE' }, { label: 'other' }),
  plain('too long', '/echo', { 413: 'body-too-large' }, { method: 'POST', body: 'b'.repeat(1001) }),
  stream(
    'too long',
    '/echo',
    { 413: 'body-too-large' },
    { method: 'POST', body: 'b'.repeat(1001), lines: 'Content-Length: 1001\r\n' },
  ),
  {
    ...plain('too long, chunked', '/echo', { 413: 'body-too-large' }, { method: 'POST' }),
    run: ({ edge }, id) =>
      raw(
        edge.port,
        `${requestText(id, '/echo', { method: 'POST', lines: 'Transfer-Encoding: chunked\r\n' })}${CHUNKED_TOO_LONG}`,
        'POST',
      ),
  },
  plain('path too long', `/${'p'.repeat(9000)}`, { 414: 'target-too-long' }, {}, { label: 'other' }),
  plain(
    'expectation',
    '/echo',
    { 417: 'unknown-expectation' },
    { lines: 'Expect: miracles\r\n' },
    { label: 'other' },
  ),
  plain('rate', '/rated', { 200: '', 429: 'rate-limited' }),
  stream('rate', '/rated', { 200: '', 429: 'rate-limited' }),
  plain(
    'head too large',
    '/',
    { 431: 'head-too-large' },
    { lines: `X-Large: ${'x'.repeat(9000)}\r\n` },
    { label: 'other' },
  ),
  // HTTP/1.1 counts bytes of what comes before the route is known; here the head is whole, and the route has its own limit.
  plain(
    'head too large for the route',
    '/small',
    { 431: 'head-too-large' },
    { lines: `X-Large: ${'x'.repeat(400)}\r\n` },
  ),
  stream(
    'head too large for the route',
    '/small',
    { 431: 'head-too-large' },
    { lines: `X-Large: ${'x'.repeat(400)}\r\n` },
  ),
  ...[
    ['no host', 'GET /?id=ID HTTP/1.1\r\n\r\n', 'no-host'],
    ['two hosts', 'GET /?id=ID HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 'two-hosts'],
    ['bad host', 'GET /?id=ID HTTP/1.1\r\nHost: a b\r\n\r\n', 'bad-host'],
    ['a space before the colon', 'GET /?id=ID HTTP/1.1\r\nHost: app.test\r\nA : b\r\n\r\n', 'bad-field-name'],
    [
      'two lengths',
      'POST /?id=ID HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      'repeated-content-length',
    ],
    [
      'length and coding',
      'POST /?id=ID HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      'length-and-coding',
    ],
    ['bare LF', 'GET /?id=ID HTTP/1.1\nHost: app.test\n\n', 'bare-lf'],
  ].map(
    ([name, text, reason]): Kind => ({
      name,
      method: text.startsWith('POST') ? 'POST' : 'GET',
      label: 'other',
      ends: { 400: reason },
      run: ({ edge }, id) => raw(edge.port, text.replace('ID', String(id))),
    }),
  ),
  plain('a path above the root', '/../..', { 400: 'bad-path' }, {}, { label: 'other' }),
  stream('a path with NUL', '/%00', { 400: 'bad-path' }, {}, { label: 'other' }),
  {
    ...plain('bad chunk', '/echo', { 400: 'bad-chunk' }, { method: 'POST' }),
    run: ({ edge }, id) =>
      raw(
        edge.port,
        `${requestText(id, '/echo', { method: 'POST', lines: 'Transfer-Encoding: chunked\r\n' })}no chunk\r\n`,
        'POST',
      ),
  },
  {
    ...plain('a version of the future', '/', { 505: 'version-not-supported' }, {}, { label: 'other' }),
    run: ({ edge }, id) => raw(edge.port, `GET /?id=${id} HTTP/9.9\r\nHost: app.test\r\n\r\n`),
  },
  plain('a bad upgrade', '/', { 400: 'bad-upgrade' }, { lines: 'Connection: Upgrade\r\nUpgrade: irc\r\n' }),
  // Backends that fail.
  plain('dead', '/dead', { 502: 'connect-failed' }),
  stream('dead', '/dead', { 502: 'connect-failed' }),
  plain('dead group', '/pool', { 502: 'connect-failed', 503: 'no-healthy-server' }),
  stream('dead group', '/pool', { 502: 'connect-failed', 503: 'no-healthy-server' }),
  plain('closes', '/close', { 502: 'closed-before-response' }),
  stream('closes', '/close', { 502: 'closed-before-response' }),
  plain('garbage', '/garbage', { 502: 'malformed-response' }),
  stream('garbage', '/garbage', { 502: 'malformed-response' }),
  plain(
    'a bad 101',
    '/bad-chat',
    { 502: 'bad-upgrade-response' },
    {
      lines: `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n`,
    },
  ),
  plain('cut', '/cut', { 200: 'truncated-response' }, {}, { count: 3 }),
  stream('cut', '/cut', { 200: 'truncated-response' }, {}, { count: 3 }),
  plain('silent', '/slow/silent', { 504: 'response-timeout' }, {}, { count: 5 }),
  stream('silent', '/slow/silent', { 504: 'response-timeout' }, {}, { count: 5 }),
  // Clients that fail.
  { name: 'leaves', label: 'app.test', ends: { 0: 'client-gone' }, run: leave },
  { name: 'leaves (HTTP/2)', label: 'app.test', ends: { 0: 'client-gone' }, run: leaveStream },
  { name: 'half a body', label: 'app.test', method: 'POST', ends: { 0: 'body-incomplete' }, run: halfBody },
  {
    name: 'a slow body',
    label: 'app.test',
    method: 'POST',
    ends: { 408: 'body-timeout' },
    count: 5,
    run: (world, id) =>
      stall(
        world,
        `POST /slow/echo?id=${id} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nhalf`,
        'POST',
      ),
  },
  {
    name: 'a slow head',
    label: 'other',
    ends: { 408: 'head-timeout' },
    count: 5,
    run: (world, id) => stall(world, `GET /?id=${id} HTTP/1.1\r\nHost: app.test\r\n`, 'GET'),
  },
];

// ---- The edge ----------------------------------------------------------------------------------------

/** On every route: the longest of all holds for a head. */
const HEAD_TIMEOUT = 'client_header_timeout_secs = 2';

function configuration(port: number, folder: string, deadPort: number, format: string): string {
  const proxy = (path: string, url: string, security = ''): string =>
    `[path_routes."app.test"."${path}"]\ntype = "Proxy"\n${url.startsWith('http') ? `url = "${url}"` : `upstream = "${url}"`}\n[path_routes."app.test"."${path}".security]\n${HEAD_TIMEOUT}\n${security}\n`;
  const redirects = [301, 302, 303, 307, 308].map(
    (status) =>
      `[path_routes."old.test"."/${status}"]\ntype = "Redirect"\nredirect_url = "https://new.test"\nredirect_status = ${status}\nsecurity = { ${HEAD_TIMEOUT} }\n`,
  );
  return `
[server]
listen = "127.0.0.1:${port}"
threads = 2
[logging]
level = "info"
format = "${format}"
flush_interval_ms = 50
[prometheus]
enabled = true
[upstreams.dead]
servers = ["http://127.0.0.1:${deadPort}", "http://127.0.0.1:${deadPort}/second"]
[host_routes."files.test"]
type = "File"
path = "${folder}"
security = { ${HEAD_TIMEOUT} }
[host_routes."*.wild.test"]
type = "Redirect"
redirect_url = "https://new.test"
security = { ${HEAD_TIMEOUT} }
[path_routes."some.test"."/some"]
type = "Redirect"
redirect_url = "https://new.test"
security = { ${HEAD_TIMEOUT} }
${redirects.join('')}
${proxy('/', origin.url, 'max_request_body_size = 1000\nmax_chunked_body_size = 1000')}
${proxy('/slow', origin.url, 'backend_response_timeout_secs = 1\nclient_body_timeout_secs = 1')}
${proxy('/dead', `http://127.0.0.1:${deadPort}`)}
${proxy('/pool', 'dead')}
${proxy('/denied', origin.url, 'denied_ips = ["127.0.0.1"]')}
${proxy('/get', origin.url, 'allowed_methods = ["GET"]')}
${proxy('/small', origin.url, 'max_request_header_size = 256')}
${proxy('/rated', origin.url, 'rate_limit_requests_per_min = 5')}
`;
}

/** One line of the access log. */
interface Entry {
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly status: number;
  readonly bytes: number;
  readonly upstream: string;
  readonly client: string;
  readonly reason: string;
}

/** All entries of the access log, in either format. */
function entriesIn(log: string, format: 'text' | 'json'): Entry[] {
  const entries: Entry[] = [];
  for (const line of log.split('\n')) {
    if (format === 'json') {
      if (!line.startsWith('{') || !line.includes('"message":"access"')) continue;
      entries.push(JSON.parse(line) as Entry);
      continue;
    }
    const access = / \[INFO\] access (.*)$/.exec(line);
    if (access === null) continue;
    const fields: Record<string, string> = {};
    for (const [, name, value] of access[1].matchAll(/(\w+)=("(?:[^"\\]|\\.)*"|\S+)/g)) {
      const text = value.startsWith('"') ? (JSON.parse(value) as string) : value;
      fields[name] = value === '-' ? '' : text;
    }
    entries.push({
      method: fields['method'],
      host: fields['host'],
      path: fields['path'],
      status: Number(fields['status']),
      bytes: Number(fields['bytes']),
      upstream: fields['upstream'],
      client: fields['client'],
      reason: fields['reason'],
    });
  }
  return entries;
}

/** Each kind as often as it is to be, in an order that a seed gives. */
function schedule(seed: number): Kind[] {
  const quick = KINDS.filter(({ count }) => count === undefined).length;
  const slow = KINDS.reduce((sum, { count }) => sum + (count ?? 0), 0);
  const each = Math.ceil((REQUESTS_MIN - slow) / quick);
  const all = KINDS.flatMap((kind) => new Array<Kind>(kind.count ?? each).fill(kind));
  const random = new Random(seed);
  for (let at = all.length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    [all[at], all[other]] = [all[other], all[at]];
  }
  return all;
}

async function runAll(world: World, kinds: readonly Kind[]): Promise<Seen[]> {
  const seen: Seen[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < kinds.length) {
      const id = next++;
      const kind = kinds[id];
      const { status, bytes } = await kind.run(world, id).catch((error: Error) => {
        throw new Error(`${kind.name} (${id}): ${error.message}`);
      });
      const reason = kind.ends[status];
      assert.ok(reason !== undefined, `${kind.name} (${id}) ended with ${status}`);
      seen.push({
        id,
        kind: kind.name,
        method: kind.method ?? 'GET',
        label: kind.label ?? 'other',
        status,
        bytes,
        reason,
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return seen;
}

function counted(keys: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return new Map([...counts].sort());
}

function suite(io: IoBackend, format: 'text' | 'json', seed: number): void {
  describe(`clients, log (${format}) and metrics (${io}) agree`, () => {
    test('on each of a thousand requests, whatever became of it', async () => {
      const folder = openFolder('agreement');
      mkdirSync(join(folder, 'empty'));
      writeFileSync(join(folder, 'file.txt'), 'f'.repeat(FILE_BYTES));
      origin = await startOrigin(answer);
      const deadPort = await freePort();
      const edge = await startEdge('', {
        io,
        config: (port) => configuration(port, folder, deadPort, format),
      });
      const session = connect(`http://127.0.0.1:${edge.port}`);
      await once(session, 'remoteSettings');
      const seen = await runAll({ edge, session }, schedule(seed)).finally(() => session.destroy());
      const page = async (): Promise<MetricsPage> => {
        const answered = await exchangeOnce(edge.port, 'GET /__metrics HTTP/1.1\r\nHost: app.test\r\n\r\n');
        return new MetricsPage(answered.text());
      };
      // Whoever left is noticed a moment later.
      const name = 'zerocopy_proxy_http_requests_total';
      let pages = 0;
      let metrics = await page();
      await until(
        async () => {
          metrics = await page();
          pages++;
          return metrics.sum(name) === seen.length + pages;
        },
        PATIENCE_MS,
        `${seen.length} requests on the page`,
      ).catch((error: Error) => {
        const { sum } = { sum: metrics.sum(name) - pages };
        throw new Error(`${error.message}; there are ${sum}`);
      });
      await edge.stop();
      await origin.close();
      rmSync(folder, { recursive: true, force: true });
      const entries = entriesIn(edge.stderr(), format).filter(({ path }) => path !== '/__metrics');
      agreeWithLog(seen, entries);
      agreeWithMetrics(seen, entries, metrics, pages);
    });
  });
}

/** Requests whose head was not understood have no path in the log: they are told apart by what became of them. */
function agreeWithLog(seen: readonly Seen[], entries: readonly Entry[]): void {
  const nameless = /[?&]id=(\d+)$/;
  const byId = new Map<number, Entry>();
  const others: Entry[] = [];
  for (const entry of entries) {
    const match = nameless.exec(entry.path);
    if (match === null) {
      others.push(entry);
      continue;
    }
    const id = Number(match[1]);
    assert.ok(!byId.has(id), `request ${id} is in the log once: ${JSON.stringify(entry)}`);
    byId.set(id, entry);
  }
  const unnamed: Seen[] = [];
  const disagreements: string[] = [];
  for (const one of seen) {
    const entry = byId.get(one.id);
    if (entry === undefined) {
      unnamed.push(one);
      continue;
    }
    const agrees =
      entry.status === one.status &&
      entry.reason === one.reason &&
      entry.client === '127.0.0.1' &&
      (one.method === 'other' || entry.method === one.method) &&
      (one.bytes < 0 || entry.bytes === one.bytes);
    if (!agrees) disagreements.push(`${JSON.stringify(one)} is in the log as ${JSON.stringify(entry)}`);
  }
  assert.deepEqual(disagreements, []);
  const words = (status: number, reason: string): string => `${status} ${reason}`;
  assert.deepEqual(
    counted(others.map(({ status, reason }) => words(status, reason))),
    counted(unnamed.map(({ status, reason }) => words(status, reason))),
    'requests that the log can’t name',
  );
  assert.equal(entries.length, seen.length);
}

function agreeWithMetrics(
  seen: readonly Seen[],
  entries: readonly Entry[],
  metrics: MetricsPage,
  pages: number,
): void {
  const labels = seen.map(
    ({ method, status, label }) =>
      `method="${method}",status="${status === 0 ? 'none' : status}",host="${label}"`,
  );
  const expected = counted([
    ...labels,
    ...new Array<string>(pages).fill('method="GET",status="200",host="app.test"'),
  ]);
  const told = new Map([...metrics.all('zerocopy_proxy_http_requests_total')].sort());
  assert.deepEqual(told, expected);
  const reasons = counted(seen.map(({ reason }) => reason).filter((reason) => reason !== ''));
  const faults = [...metrics.all('sallyport_request_faults_total')].filter(([, count]) => count > 0);
  assert.deepEqual(
    new Map(faults.map(([key, count]) => [/reason="(.*)"/.exec(key)?.[1], count] as const).sort()),
    reasons,
  );
  const total = seen.length + pages;
  const ofAll = (suffix: string): number => metrics.sum(`zerocopy_proxy_http_${suffix}`);
  assert.equal(ofAll('request_duration_seconds_count'), total);
  assert.equal(ofAll('request_size_bytes_count'), total);
  assert.equal(ofAll('response_size_bytes_count'), total);
  assert.equal(metrics.sum('zerocopy_proxy_http_active_connections'), 1, 'the page’s own');
  assert.equal(metrics.value('sallyport_tunnels_open'), 0);
  assert.equal(metrics.value('sallyport_log_entries_dropped_total'), 0);
  assert.ok(entries.length > 0);
  // Every status and reason that can be asked for from outside was there.
  const met = new Set(seen.map(({ reason }) => reason));
  const missing = FAULTS.map(({ word }) => word).filter((word) => !met.has(word) && !NOT_HERE.has(word));
  assert.deepEqual(missing, [], 'reasons that no request had');
}

/** Reasons of other tests: rare spellings of a bad request (tests/hostile), TLS, HTTP/2 backends, memory, time. */
const NOT_HERE = new Set([
  'none',
  'bad-request-line',
  'bad-method',
  'bad-target',
  'bad-version',
  'bare-cr',
  'obs-fold',
  'bad-field-value',
  'bad-content-length',
  'unknown-transfer-coding',
  'coding-in-http-1.0',
  'bad-chunk-extension',
  'bad-trailer',
  'too-many-fields',
  'write-timeout',
  'connect-timeout',
  'reset-before-response',
  'overload',
  'shutting-down',
  'file-error',
  'file-changed',
  'backend-tls-failed',
  'refused-by-backend',
  'stream-reset-by-backend',
  'tunnel-idle',
]);

suite('uring', 'text', 1);
suite('epoll', 'json', 2);
