import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConstantBytes, HeaderRules } from '../../src/edge/header-rules.ts';
import { E_LENGTH_INVALID, E_TOO_MANY_FIELDS } from '../../src/http/fault.ts';
import { type FieldSection, latin1 } from '../../src/http/fields.ts';
import type { KnownSection } from '../../src/http/known-section.ts';
import { M_GET, RequestHead, ResponseHead } from '../../src/http/message.ts';
import { removeHopByHop } from '../../src/http1/hop-by-hop.ts';
import { RecentHeads } from '../../src/http1/recent-heads.ts';
import { type HeadLimits, RequestParser } from '../../src/http1/request-parser.ts';
import { ResponseParser } from '../../src/http1/response-parser.ts';
import { writeFields } from '../../src/http1/writer.ts';
import { arenaBytes, BufferPool } from '../../src/io/buffer-pool.ts';
import { LIMITS } from './feed.ts';
import { fieldValue, holds, textOf } from './fuzzing.ts';

const SHAPE = { small: 1, medium: 2, large: 1 };
const pool = new BufferPool(new ArrayBuffer(arenaBytes(SHAPE)), 0, SHAPE);
const constants = new ConstantBytes(pool);
const OUTPUT = 16384;
const OUTPUT_END = 24576;

const REQUEST_LINE = 'GET /a/path?of=some&length HTTP/1.1\r\n';

interface Parsed {
  readonly result: number;
  readonly head: RequestHead;
  readonly closeAfter: boolean;
}

/** Parses a request that stands at `at`, with something else behind it. */
function parse(recent: RecentHeads | null, text: string, at = 64, limits: HeadLimits = LIMITS): Parsed {
  const length = pool.text.latin1Write(text, at, text.length);
  pool.bytes.fill(0x58, at + length, at + length + 64);
  const head = new RequestHead(pool.bytes);
  const parser = new RequestParser(limits, recent);
  const result = parser.parse(head, pool.bytes, at, at + length);
  return { result, head, closeAfter: parser.closeAfter };
}

function request(fields: string, at = 64, recent: RecentHeads | null = null): Parsed {
  return parse(recent, `${REQUEST_LINE}${fields}\r\n`, at);
}

function listOf(fields: FieldSection): string[] {
  return Array.from(
    { length: fields.count },
    (_, index) => `${fields.id(index)} ${fields.nameText(index)}=${fields.valueText(index)}`,
  );
}

function written(fields: FieldSection): string {
  const end = writeFields(pool, OUTPUT, OUTPUT_END, fields);
  assert.ok(end >= OUTPUT);
  return latin1(pool.bytes, OUTPUT, end - OUTPUT);
}

/** All that is kept of requests and responses, as text. */
function kept(recent: RecentHeads): string {
  const all = [recent.requests, recent.responses].flatMap(
    (sections) => (sections as unknown as { sections: (KnownSection | null)[] }).sections,
  );
  return all
    .map((known) => (known === null ? '' : Buffer.from(known.pattern.buffer).toString('latin1')))
    .join('\n');
}

const PLAIN =
  'Host: www.example.com:8080\r\nUser-Agent: something/1\r\nAccept: */*\r\nConnection: keep-alive, x-hop\r\nX-Hop: y\r\n';

test('a section that comes again is known, wherever it stands, and says the same', () => {
  const recent = new RecentHeads();
  const first = request(PLAIN, 64, recent);
  assert.equal(first.head.fields.known, null);
  for (let at = 65; at < 90; at++) {
    const { result, head, closeAfter } = request(PLAIN, at, recent);
    assert.notEqual(head.fields.known, null, 'not known');
    assert.equal(result, first.result);
    assert.equal(closeAfter, false);
    assert.deepEqual(listOf(head.fields), listOf(request(PLAIN, 4096).head.fields));
    assert.equal(latin1(pool.bytes, head.authorityOffset, head.authorityLength), 'www.example.com:8080');
    removeHopByHop(head.fields, false);
    assert.equal(
      written(head.fields),
      'Host: www.example.com:8080\r\nUser-Agent: something/1\r\nAccept: */*\r\n',
    );
  }
});

test('what differs in any byte says what it says by itself', () => {
  const recent = new RecentHeads();
  const text = `${REQUEST_LINE}${PLAIN}X-Token: abcdef\r\nContent-Length: 12\r\n\r\n`;
  for (let round = 0; round < 3; round++) assert.ok(parse(recent, text).result > 0);
  for (let at = 0; at < text.length; at++) {
    for (const change of [1, 0x20, 0x80, 0x0a]) {
      const bytes = Buffer.from(text, 'latin1');
      bytes[at] ^= change;
      const changed = bytes.toString('latin1');
      const alone = parse(null, changed);
      const expected = [alone.result, alone.closeAfter, alone.head.contentLength, listOf(alone.head.fields)];
      const { result, head, closeAfter } = parse(recent, changed);
      assert.deepEqual(
        alone.result > 0 ? [result, closeAfter, head.contentLength, listOf(head.fields)] : [result],
        alone.result > 0 ? expected : [alone.result],
        `byte ${at} changed by ${change}`,
      );
    }
  }
});

test('a head of which the end is missing is waited for, and known when it is there', () => {
  const recent = new RecentHeads();
  const text = `${REQUEST_LINE}${PLAIN}\r\n`;
  parse(recent, text);
  for (let cut = 0; cut < text.length; cut++) {
    const head = new RequestHead(pool.bytes);
    const parser = new RequestParser(LIMITS, recent);
    pool.text.latin1Write(text, 64, text.length);
    assert.equal(parser.parse(head, pool.bytes, 64, 64 + cut), 0, `${cut} bytes`);
    assert.equal(parser.parse(head, pool.bytes, 64, 64 + text.length), text.length);
    assert.deepEqual(listOf(head.fields), listOf(request(PLAIN, 4096).head.fields));
  }
});

test('secrets, and what differs each time, are not kept, and a section with other ones is the same', () => {
  const recent = new RecentHeads();
  const lines = (value: string): string =>
    ['Cookie', 'X-Api-Key', 'Authorization', 'Referer', 'Traceparent', 'X-B3-SpanId', 'Content-Length']
      .map((name) => `${name}: ${name === 'Content-Length' ? value.length : value}\r\n`)
      .join('');
  request(`Host: a\r\nAccept: */*\r\n${lines('hidden')}`, 64, recent);
  assert.ok(kept(recent).includes('Cookie: \r\nX-Api-Key: \r\n'));
  assert.ok(!kept(recent).includes('hidden'));
  for (const value of ['', 'x', 'longer than it was', 'with \t blanks', 'caf\xe9']) {
    const fields = `Host: a\r\nAccept: */*\r\n${lines(value)}`;
    const alone = request(fields, 4096).head;
    const { head } = parse(recent, `${REQUEST_LINE}${fields}\r\n`, 64);
    assert.deepEqual(listOf(head.fields), listOf(alone.fields), value);
    assert.equal(head.contentLength, alone.contentLength);
    assert.equal(head.bodyKind, alone.bodyKind);
    assert.equal(written(head.fields), fields);
  }
  // Requests of the same length are looked for in the same place.
  const { head } = request(`Host: a\r\nAccept: */*\r\n${lines('secret')}`, 64, recent);
  assert.notEqual(head.fields.known, null);
});

test('a value with white space around it is for those who take lines apart', () => {
  const recent = new RecentHeads();
  for (const value of ['5', ' 5', '5 ', '\t5\t', ' ']) {
    const text = `HTTP/1.1 200 OK\r\nServer: something\r\nETag:${value}\r\nVary: a\r\n\r\n`;
    const alone = response(null, text);
    for (let round = 0; round < 12; round++) assert.deepEqual(response(recent, text), alone, value);
  }
});

/** All that is to be told of a response. */
function response(recent: RecentHeads | null, text: string): string[] {
  const length = pool.text.latin1Write(text, 64, text.length);
  const head = new ResponseHead(pool.bytes);
  const parser = new ResponseParser(LIMITS, recent);
  const result = parser.parse(head, M_GET, pool.bytes, 64, 64 + length);
  return [`${result} ${parser.closeAfter} ${head.bodyKind}`, ...listOf(head.fields), written(head.fields)];
}

test('a length that is none is a fault, in a section that is known too', () => {
  const recent = new RecentHeads();
  const fields = (length: string): string => `Host: a\r\nAccept: */*\r\nContent-Length: ${length}\r\n`;
  for (let round = 0; round < 2; round++) assert.ok(request(fields('12'), 64, recent).result > 0);
  for (const length of ['1x', '-1', '+1', ', ', '99']) {
    assert.equal(
      request(fields(length), 64, recent).result,
      length === '99' ? REQUEST_LINE.length + fields('99').length + 2 : E_LENGTH_INVALID,
    );
  }
});

test('limits hold for sections that are known', () => {
  const recent = new RecentHeads();
  const text = `${REQUEST_LINE}${PLAIN}\r\n`;
  for (let round = 0; round < 2; round++) parse(recent, text);
  assert.equal(parse(recent, text, 64, { ...LIMITS, fieldsMax: 4 }).result, E_TOO_MANY_FIELDS);
  assert.equal(parse(recent, text, 64, { ...LIMITS, fieldsMax: 5 }).result, text.length);
  assert.equal(parse(recent, text, 64, { ...LIMITS, headBytesMax: text.length }).result, text.length);
  assert.ok(parse(recent, text, 64, { ...LIMITS, headBytesMax: text.length - 1 }).result < 0);
});

test('what depends on the first line is not taken from a section that had another one', () => {
  const recent = new RecentHeads();
  const fields = 'Host: www.example.com\r\nTransfer-Encoding: chunked\r\n\r\n';
  for (let round = 0; round < 2; round++)
    assert.ok(parse(recent, `POST /some/path HTTP/1.1\r\n${fields}`).result > 0);
  for (const line of ['POST /some/path HTTP/1.0', 'POST http://b/th HTTP/1.1', 'POST / HTTP/1.1']) {
    const alone = parse(null, `${line}\r\n${fields}`, 4096);
    const { result, head } = parse(recent, `${line}\r\n${fields}`);
    assert.equal(result, alone.result, line);
    if (result > 0) assert.equal(written(head.fields), written(alone.head.fields));
  }
});

test('a section of a request with Expect, Upgrade or TE is not kept', () => {
  for (const extra of [
    'Expect: 100-continue\r\nContent-Length: 5',
    'Connection: upgrade\r\nUpgrade: x',
    'TE: trailers',
  ]) {
    const recent = new RecentHeads();
    for (let round = 0; round < 20; round++)
      assert.equal(request(`Host: a\r\nAccept: */*\r\n${extra}\r\n`, 64, recent).head.fields.known, null);
    assert.equal(kept(recent).trim(), '');
  }
});

test('a section gives way to another one with the same beginning that comes more often', () => {
  const recent = new RecentHeads();
  const section = (value: string): string => `Host: www.example.com\r\nX-Kind: ${value}\r\n`;
  for (let round = 0; round < 40; round++) {
    for (const value of ['one', 'two']) request(section(value), 64, recent);
  }
  assert.ok(kept(recent).includes('one') && kept(recent).includes('two'));
  for (let round = 0; round < 40; round++) request(section('six'), 64, recent);
  assert.ok(kept(recent).includes('six'));
});

test('where sections never come again, few are kept', () => {
  const recent = new RecentHeads();
  const seen = new Set<string>();
  for (let round = 1000; round < 6000; round++) {
    request(`Host: www.example.com\r\nX-Kind: ${round}\r\n`, 64, recent);
    seen.add(kept(recent));
  }
  assert.ok(seen.size < 20, `${seen.size} were kept`);
});

// ---- Rules and writing ----------------------------------------------------------------------------------

const NAMES = [
  'Host',
  'Accept',
  'Cookie',
  'X-One',
  'X-Two',
  'X_Two',
  'Date',
  'ETag',
  'Via',
  'X-Api-Key',
  'x-one',
];
const values = fc.oneof(fieldValue, textOf('ab \t', 0, 5));

test('rules and the writer make the same of a known section as of one that is not', () => {
  const name = fc.constantFrom(...NAMES);
  const line = fc.tuple(name, fc.constantFrom(' ', '', '  ', '\t'), values);
  const rules = fc.record({
    remove: fc.array(name, { maxLength: 3 }),
    add: fc.array(fc.tuple(name, fc.constant('added')), { maxLength: 2 }),
  });
  holds(
    'tests/http1/recent-sections.test.ts',
    fc.tuple(
      fc.array(line, { maxLength: 12 }),
      fc.array(rules, { maxLength: 2 }),
      fc.array(fc.nat(14), { maxLength: 3 }),
    ),
    ([lines, ruleTexts, removals]) => {
      const text = lines.map(([field, blank, value]) => `${field}:${blank}${value}\r\n`).join('');
      const full = `HTTP/1.1 200 OK\r\nServer: something\r\n${text}\r\n`;
      const compiled = ruleTexts.map((texts) => new HeaderRules(texts, constants, false));
      const recent = new RecentHeads();
      const outcomes = [null, recent, recent, recent, recent].map((heads, round) => {
        const length = pool.text.latin1Write(full, 64, full.length);
        const head = new ResponseHead(pool.bytes);
        assert.equal(
          new ResponseParser(LIMITS, heads).parse(head, M_GET, pool.bytes, 64, 64 + length),
          length,
        );
        const { fields } = head;
        removeHopByHop(fields, false);
        // Each round but the first two removes less by itself, which must not change what others find out later.
        for (const index of removals.slice(Math.max(0, round - 2)))
          if (index < fields.count) fields.remove(index);
        for (const one of compiled) one.apply(fields);
        return [listOf(fields).join(), written(fields)];
      });
      constants.release();
      assert.deepEqual(outcomes[1], outcomes[0]);
      assert.deepEqual(outcomes[2], outcomes[0]);
      for (const round of [3, 4]) {
        const length = pool.text.latin1Write(full, 64, full.length);
        const head = new ResponseHead(pool.bytes);
        new ResponseParser(LIMITS, null).parse(head, M_GET, pool.bytes, 64, 64 + length);
        removeHopByHop(head.fields, false);
        for (const index of removals.slice(round - 2))
          if (index < head.fields.count) head.fields.remove(index);
        const again = ruleTexts.map((texts) => new HeaderRules(texts, constants, false));
        for (const one of again) one.apply(head.fields);
        assert.deepEqual(outcomes[round], [listOf(head.fields).join(), written(head.fields)]);
        constants.release();
      }
    },
  );
});

test('a field that changes after it was parsed is written as it is then', () => {
  const recent = new RecentHeads();
  request(PLAIN, 64, recent);
  written(request(PLAIN, 64, recent).head.fields);
  const { head } = request(PLAIN, 64, recent);
  assert.notEqual(head.fields.known, null);
  pool.text.latin1Write('other', 8192, 5);
  head.fields.setValue(1, 8192, 5);
  assert.ok(written(head.fields).includes('User-Agent: other\r\n'));
});
