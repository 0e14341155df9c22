import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fault from '../../src/http/fault.ts';
import { BODY_LENGTH, BODY_NONE, BODY_STREAM } from '../../src/http/message.ts';
import { INCREMENTAL } from '../../src/http2/priority.ts';
import { nameOf } from '../http1/feed.ts';
import { End, type Fields, type TestStream } from './end.ts';
import { block, describeFrame, frame, framesOf, GET, HELLO, headers, POST } from './raw-frames.ts';

/** Gives a server one request; what became of it. */
function request(
  fields: Fields,
  endStream = true,
  more: Buffer[] = [],
): { stream: TestStream; frames: string[] } {
  const server = new End(true);
  server.flush();
  server.receive(Buffer.concat([HELLO, headers(1, fields, endStream), ...more]));
  const frames = framesOf(server.flush()).map(describeFrame).slice(1);
  return { stream: server.all[0], frames };
}

const without = (name: string): Fields => GET.filter(([each]) => each !== name);
const replaced = (name: string, value: string): Fields =>
  GET.map(([each, old]) => [each, each === name ? value : old]);

describe('a request (RFC 9113 §8.3.1)', () => {
  it('becomes a head like any other', () => {
    const { stream, frames } = request(
      [
        [':method', 'POST'],
        [':scheme', 'https'],
        [':path', '/a%20b/?q=1?2'],
        [':authority', 'Example.com:8443'],
        ['te', 'trailers'],
        ['cookie', 'a=1'],
        ['x-other', 'y'],
        ['cookie', 'b=2'],
        ['cookie', 'c=3'],
        ['priority', 'u=1, i'],
      ],
      false,
    );
    assert.deepEqual(frames, []);
    const { method, path, query, authority, bodyKind, contentLength, acceptsTrailers, priority } = stream;
    assert.deepEqual(
      { method, path, query, authority, bodyKind, contentLength, acceptsTrailers, priority },
      {
        method: 'POST',
        path: '/a%20b/',
        query: 'q=1?2',
        authority: 'Example.com:8443',
        bodyKind: BODY_STREAM,
        contentLength: -1,
        acceptsTrailers: true,
        priority: 1 + INCREMENTAL,
      },
    );
    assert.deepEqual(stream.fields, [
      ['te', 'trailers'],
      ['cookie', 'a=1; b=2; c=3'],
      ['x-other', 'y'],
      ['priority', 'u=1, i'],
    ]);
    assert.equal(stream.requestHead.version, 20);
  });

  it('declares its content by length, by its end, or not at all', () => {
    assert.equal(request(GET).stream.bodyKind, BODY_NONE);
    assert.equal(request([...GET, ['content-length', '0']]).stream.bodyKind, BODY_NONE);
    const { stream } = request([...POST, ['content-length', '5']], false);
    assert.deepEqual([stream.bodyKind, stream.contentLength], [BODY_LENGTH, 5]);
  });

  it('takes its authority from host where there is no :authority', () => {
    const { stream } = request([...without(':authority'), ['host', 'other.example']]);
    assert.equal(stream.authority, 'other.example');
    assert.equal(stream.fault, 0);
  });

  it('may say both, if they are the same', () => {
    assert.equal(request([...GET, ['host', 'EXAMPLE.com']]).stream.fault, 0);
  });

  it('asks for the server as a whole with OPTIONS *', () => {
    const { stream } = request([[':method', 'OPTIONS'], ...replaced(':path', '*').slice(1)]);
    assert.equal(stream.requestHead.pathLength, 0);
    assert.equal(stream.fault, 0);
  });

  it('upgrades by extended CONNECT (RFC 8441)', () => {
    const { stream } = request([[':method', 'CONNECT'], [':protocol', 'websocket'], ...GET.slice(1)], false);
    assert.equal(stream.upgrade, 'websocket');
    assert.equal(stream.isTunnel, true);
    assert.equal(stream.fault, 0);
  });

  it('waits for a 100 where it says so', () => {
    assert.equal(request([...POST, ['expect', '100-Continue']], false).stream.expectContinue, true);
    assert.equal(request([...GET, ['expect', '100-continue']]).stream.expectContinue, false);
  });

  it('loses fields that would alias trusted ones, and HTTP2-Settings', () => {
    const { stream } = request([
      ...GET,
      ['x_forwarded_for', '1'],
      ['x_other', '2'],
      ['http2-settings', 'AAA'],
    ]);
    assert.deepEqual(stream.fields, [['x_other', '2']]);
  });

  it('joins as many crumbs of a cookie as fit the list', () => {
    const crumbs = Array.from({ length: 300 }, (_, index): [string, string] => ['cookie', `c${index}=1`]);
    const { stream } = request([...GET, ...crumbs]);
    assert.equal(stream.fault, 0);
    assert.deepEqual(stream.fields, [['cookie', crumbs.map(([, value]) => value).join('; ')]]);
  });

  const malformed: { name: string; fields: Fields; endStream?: boolean; more?: Buffer[] }[] = [
    { name: 'no :method', fields: without(':method') },
    { name: 'no :scheme', fields: without(':scheme') },
    { name: 'no :path', fields: without(':path') },
    { name: 'an empty :path', fields: replaced(':path', '') },
    { name: 'a :path without a slash', fields: replaced(':path', 'a') },
    { name: 'a :path of * for GET', fields: replaced(':path', '*') },
    { name: 'an empty :method', fields: replaced(':method', '') },
    { name: 'a :method that is no token', fields: replaced(':method', 'GE T') },
    { name: 'two of :method', fields: [...GET, [':method', 'GET']] },
    { name: 'two of :path', fields: [...GET, [':path', '/']] },
    { name: 'two of :authority', fields: [...GET, [':authority', 'example.com']] },
    { name: 'a pseudo-field behind a field', fields: [['x', 'y'], ...GET] },
    { name: 'an unknown pseudo-field', fields: [[':test', 'x'], ...GET] },
    { name: 'a pseudo-field of responses', fields: [...GET, [':status', '200']] },
    { name: 'a name in upper case', fields: [...GET, ['X-Test', 'y']] },
    { name: 'an empty name', fields: [...GET, ['', 'y']] },
    { name: 'a name with a colon', fields: [...GET, ['a:b', 'y']] },
    { name: 'a name with a blank', fields: [...GET, ['a b', 'y']] },
    { name: 'a name with CR', fields: [...GET, ['a\r', 'y']] },
    { name: 'a value with CR LF', fields: [...GET, ['a', 'x\r\nb: c']] },
    { name: 'a value with NUL', fields: [...GET, ['a', 'x\0']] },
    { name: 'a value with a blank before it', fields: [...GET, ['a', ' x']] },
    { name: 'a value with a blank behind it', fields: [...GET, ['a', 'x ']] },
    { name: 'a :path with CR LF', fields: replaced(':path', '/ HTTP/1.1\r\nHost: x') },
    { name: 'a :method with LF', fields: replaced(':method', 'GET\n') },
    { name: 'an :authority with NUL', fields: replaced(':authority', 'a\0') },
    { name: 'connection', fields: [...GET, ['connection', 'close']] },
    { name: 'keep-alive', fields: [...GET, ['keep-alive', '5']] },
    { name: 'proxy-connection', fields: [...GET, ['proxy-connection', 'x']] },
    { name: 'transfer-encoding', fields: [...POST, ['transfer-encoding', 'chunked']], endStream: false },
    { name: 'upgrade', fields: [...GET, ['upgrade', 'websocket']] },
    { name: 'te with anything but trailers', fields: [...GET, ['te', 'trailers, deflate;q=0.5']] },
    { name: 'host that differs from :authority', fields: [...GET, ['host', 'other.example']] },
    { name: 'two of host', fields: [...GET, ['host', 'example.com'], ['host', 'example.com']] },
    {
      name: 'a content-length that is no number',
      fields: [...POST, ['content-length', '+5']],
      endStream: false,
    },
    {
      name: 'two of content-length',
      fields: [...POST, ['content-length', '5'], ['content-length', '5']],
      endStream: false,
    },
    { name: 'content-length without content', fields: [...POST, ['content-length', '5']] },
    {
      name: 'content that is too long',
      fields: [...POST, ['content-length', '2']],
      endStream: false,
      more: [frame(0, 1, 1, 'abc')],
    },
    {
      name: 'content that is too long, in two frames',
      fields: [...POST, ['content-length', '2']],
      endStream: false,
      more: [frame(0, 0, 1, 'ab'), frame(0, 1, 1, 'c')],
    },
    {
      name: 'content that is too short',
      fields: [...POST, ['content-length', '4']],
      endStream: false,
      more: [frame(0, 1, 1, 'abc')],
    },
    {
      name: 'content that trailers cut short',
      fields: [...POST, ['content-length', '4']],
      endStream: false,
      more: [frame(0, 0, 1, 'abc'), headers(1, [['x', 'y']])],
    },
    {
      name: 'trailers that end nothing',
      fields: POST,
      endStream: false,
      more: [headers(1, [['x', 'y']], false)],
    },
    {
      name: 'a pseudo-field in trailers',
      fields: POST,
      endStream: false,
      more: [headers(1, [[':path', '/']])],
    },
    {
      name: 'content-length in trailers',
      fields: POST,
      endStream: false,
      more: [headers(1, [['content-length', '0']])],
    },
    {
      name: 'connection in trailers',
      fields: POST,
      endStream: false,
      more: [headers(1, [['connection', 'x']])],
    },
    { name: 'CONNECT with a path', fields: [[':method', 'CONNECT'], ...GET.slice(1)] },
    { name: 'CONNECT without an authority', fields: [[':method', 'CONNECT']] },
    { name: ':protocol without CONNECT', fields: [[':protocol', 'websocket'], ...GET] },
    {
      name: ':protocol without :path',
      fields: [
        [':method', 'CONNECT'],
        [':protocol', 'websocket'],
        [':scheme', 'https'],
        [':authority', 'x'],
      ],
    },
    {
      name: ':protocol without :authority',
      fields: [
        [':method', 'CONNECT'],
        [':protocol', 'websocket'],
        [':scheme', 'https'],
        [':path', '/'],
      ],
    },
    {
      name: ':protocol that is no token',
      fields: [[':method', 'CONNECT'], [':protocol', 'a b'], ...GET.slice(1)],
    },
    {
      name: 'trailers of a tunnel',
      fields: [[':method', 'CONNECT'], [':protocol', 'websocket'], ...GET.slice(1)],
      endStream: false,
      more: [headers(1, [['x', 'y']])],
    },
  ];
  for (const { name, fields, endStream = true, more = [] } of malformed) {
    it(`is reset for ${name}`, () => {
      const { stream, frames } = request(fields, endStream, more);
      assert.deepEqual(frames, ['RST_STREAM 1 code 1']);
      assert.deepEqual([stream.closed, stream.resetCode, stream.resetByPeer], [true, 1, false]);
    });
  }

  const refused: { name: string; fields: Fields; expected: number }[] = [
    { name: 'TRACE', fields: replaced(':method', 'TRACE'), expected: fault.E_METHOD_REFUSED },
    {
      name: 'a plain CONNECT',
      fields: [
        [':method', 'CONNECT'],
        [':authority', 'x:1'],
      ],
      expected: fault.E_METHOD_REFUSED,
    },
    { name: 'a method of 33 bytes', fields: replaced(':method', 'M'.repeat(33)), expected: fault.E_METHOD },
    { name: 'a scheme that is not HTTP', fields: replaced(':scheme', 'ftp'), expected: fault.E_TARGET },
    { name: 'a path with a quote', fields: replaced(':path', '/"'), expected: fault.E_TARGET },
    { name: 'a path with a fragment', fields: replaced(':path', '/#a'), expected: fault.E_TARGET },
    { name: 'a path with a percent sign alone', fields: replaced(':path', '/%2'), expected: fault.E_TARGET },
    { name: 'a path with a blank', fields: replaced(':path', '/a b'), expected: fault.E_TARGET },
    { name: 'a path of obs-text', fields: replaced(':path', '/\xe4'), expected: fault.E_TARGET },
    { name: 'a query with a fragment', fields: replaced(':path', '/?a#b'), expected: fault.E_TARGET },
    { name: 'userinfo', fields: replaced(':authority', 'user@example.com'), expected: fault.E_HOST_INVALID },
    { name: 'an empty authority', fields: replaced(':authority', ''), expected: fault.E_HOST_INVALID },
    { name: 'a port above 65535', fields: replaced(':authority', 'a:65536'), expected: fault.E_HOST_INVALID },
    { name: 'no authority', fields: without(':authority'), expected: fault.E_HOST_MISSING },
    { name: 'an unknown expectation', fields: [...GET, ['expect', '200-ok']], expected: fault.E_EXPECT },
    {
      name: 'a list above its limit',
      fields: [...GET, ['x', 'y'.repeat(17_000)]],
      expected: fault.E_HEAD_TOO_LARGE,
    },
    {
      name: '129 fields',
      fields: [...GET, ...Array.from({ length: 129 }, (_, index): [string, string] => [`x-${index}`, ''])],
      expected: fault.E_TOO_MANY_FIELDS,
    },
  ];
  for (const { name, fields, expected } of refused) {
    it(`is answered with a status for ${name}`, () => {
      const server = new End(true, { settings: { maxFrameSize: 65_536 } });
      server.receive(Buffer.concat([HELLO, headers(1, fields)]));
      assert.equal(nameOf(server.all[0].fault), nameOf(expected));
      assert.equal(server.engine.isDead, false);
    });
  }

  it('passes just below what is refused: 128 fields, and a list at its limit', () => {
    const many = Array.from({ length: 128 }, (_, index): [string, string] => [`x-${index}`, '']);
    assert.equal(request([...GET, ...many]).stream.fault, 0);
    const used = GET.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
    const rest = 16_384 - used - 33;
    const parts = block([...GET, ['x', 'y'.repeat(rest)]]);
    for (const extra of [0, 1]) {
      const server = new End(true);
      const list = extra === 0 ? parts : block([...GET, ['x', 'y'.repeat(rest + 1)]]);
      const frames = [frame(1, 1, 1, list.subarray(0, 9000)), frame(9, 4, 1, list.subarray(9000))];
      server.receive(Buffer.concat([HELLO, ...frames]));
      assert.equal(server.all[0].fault, extra === 0 ? 0 : fault.E_HEAD_TOO_LARGE);
    }
  });

  it('may have trailers, of which those that frame or route are dropped', () => {
    const trailers: Fields = [
      ['x-sum', '1'],
      ['etag', '"a"'],
      ['authorization', 'x'],
      ['cookie', 'a'],
      ['x_real_ip', '1'],
    ];
    const { stream, frames } = request(POST, false, [frame(0, 0, 1, 'abc'), headers(1, trailers)]);
    assert.deepEqual(frames, []);
    assert.deepEqual(stream.trailers, [
      ['x-sum', '1'],
      ['etag', '"a"'],
    ]);
    assert.equal(Buffer.concat(stream.content).toString(), 'abc');
  });

  it('lies on its wire as an HTTP/1.1 head would', () => {
    const server = new End(true, {
      onRequest: (stream) => {
        const { fields } = stream.requestHead;
        const at = fields.nameOffset(0);
        const end = fields.valueOffset(1) + fields.valueLength(1) + 2;
        assert.equal(server.arena.toString('latin1', at, end), 'accept: */*\r\nx-other: y\r\n');
      },
    });
    server.receive(Buffer.concat([HELLO, headers(1, [...GET, ['accept', '*/*'], ['x-other', 'y']])]));
    assert.equal(server.all[0].fault, 0);
  });
});
