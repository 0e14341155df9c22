import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fault from '../../src/http/fault.ts';
import { BODY_LENGTH, BODY_NONE, BODY_STREAM, BODY_UNTIL_CLOSE } from '../../src/http/message.ts';
import {
  B_DATA,
  B_END,
  B_NEED_MORE,
  BodyDecoder,
  EXTENSION_BYTES_MAX,
  EXTENSION_BYTES_TOTAL_MAX,
  TRAILER_BYTES_MAX,
  TRAILER_FIELDS_MAX,
} from '../../src/http1/body-decoder.ts';
import { type BodySummary, bytesOf, decodeBody, everySplit, nameOf } from './feed.ts';

function check(
  input: string,
  kind: number,
  length: number,
  expected: Partial<BodySummary>,
  splits = true,
): void {
  const bytes = bytesOf(input);
  const whole = decodeBody(bytes, kind, length);
  for (const key of Object.keys(expected) as (keyof BodySummary)[]) {
    const actual = key === 'result' ? nameOf(whole.result) : whole[key];
    assert.deepEqual(actual, key === 'result' ? nameOf(expected.result!) : expected[key], key);
  }
  if (!splits) return;
  // Content that came before a fault depends on how it came; the fault doesn't.
  const comparable = (summary: BodySummary) => (summary.result < 0 ? summary.result : summary);
  everySplit(bytes.length, (cuts) => comparable(decodeBody(bytes, kind, length, cuts)), comparable(whole));
}

const CHUNKED: { name: string; input: string; expected: Partial<BodySummary> }[] = [
  {
    name: 'decodes chunks (RFC 9112 §7.1)',
    input: '5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n',
    expected: { result: B_END, content: 'hello world', used: 26, trailers: [] },
  },
  {
    name: 'decodes an empty chunked body',
    input: '0\r\n\r\n',
    expected: { result: B_END, content: '', used: 5 },
  },
  {
    name: 'reads nothing behind the last chunk',
    input: '1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n',
    expected: { result: B_END, content: 'a', used: 11 },
  },
  {
    name: 'takes sizes in either case',
    input: 'a\r\n0123456789\r\nB\r\n0123456789A\r\n0\r\n\r\n',
    expected: { result: B_END },
  },
  {
    name: 'takes leading zeros in a size',
    input: '0005\r\nhello\r\n00\r\n\r\n',
    expected: { result: B_END, content: 'hello' },
  },
  {
    name: 'takes content that looks like framing',
    input: '7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n',
    expected: { result: B_END, content: '\r\n0\r\n\r\n' },
  },
  {
    name: 'waits for the rest of the content',
    input: '5\r\nhel',
    expected: { result: B_NEED_MORE, content: 'hel' },
  },
  { name: 'waits for the last CRLF', input: '0\r\n\r', expected: { result: B_NEED_MORE } },
  {
    name: 'drops extensions (RFC 9112 §7.1.1)',
    input: '1;a\r\nx\r\n1;a=b;c\r\ny\r\n1;a="q;\\" \t\xe9=";z\r\nz\r\n0;last\r\n\r\n',
    expected: { result: B_END, content: 'xyz' },
  },
  {
    name: 'keeps trailers that may come late (RFC 9110 §6.5)',
    input: '1\r\nx\r\n0\r\nServer-Timing: a\r\nETag: "1"\r\nX_Y: 2\r\n\r\nrest',
    expected: {
      result: B_END,
      used: 48,
      trailers: [
        ['Server-Timing', 'a'],
        ['ETag', '"1"'],
        ['X_Y', '2'],
      ],
    },
  },
  {
    name: 'drops trailers that must not come late (RFC 9110 §6.5.1)',
    input:
      '0\r\nAuthorization: x\r\nset-cookie: a=b\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nConnection: close\r\nX-Forwarded-For: 1\r\nX_Forwarded_For: 1\r\nCookie: a\r\nExpect: 100-continue\r\nDigest: z\r\n\r\n',
    expected: { result: B_END, trailers: [['Digest', 'z']] },
  },
];

const REJECTED: { name: string; input: string; expected: number }[] = [
  { name: 'a chunk size with a leading plus', input: '+5\r\nhello', expected: fault.E_CHUNK },
  { name: 'a negative chunk size', input: '-1\r\n', expected: fault.E_CHUNK },
  { name: 'a chunk size with 0x', input: '0x10\r\n', expected: fault.E_CHUNK },
  { name: 'a chunk size with a leading space', input: ' 5\r\nhello', expected: fault.E_CHUNK },
  { name: 'a chunk size with a space after it', input: '5 \r\nhello', expected: fault.E_CHUNK },
  { name: 'a chunk size with a tab after it', input: '5\t\r\nhello', expected: fault.E_CHUNK },
  { name: 'a blank before an extension', input: '5 ;a\r\nhello', expected: fault.E_CHUNK },
  { name: 'a chunk size with an underscore', input: '1_0\r\n', expected: fault.E_CHUNK },
  { name: 'a chunk size with a comma', input: '1,0\r\n', expected: fault.E_CHUNK },
  { name: 'a chunk size with a letter after f', input: '5g\r\n', expected: fault.E_CHUNK },
  { name: 'a chunk size with a NUL', input: '5\0\r\n', expected: fault.E_CHUNK },
  { name: 'no chunk size', input: '\r\n', expected: fault.E_CHUNK },
  { name: 'no chunk size before an extension', input: ';a\r\n', expected: fault.E_CHUNK },
  { name: 'a chunk size above 2^53-1', input: '20000000000000\r\n', expected: fault.E_CHUNK },
  { name: 'a chunk size above 2^64', input: '10000000000000005\r\n', expected: fault.E_CHUNK },
  { name: 'a chunk size of too many digits', input: '00000000000000005\r\n', expected: fault.E_CHUNK },
  { name: 'a bare LF after a chunk size', input: '5\nhello\r\n0\r\n\r\n', expected: fault.E_BARE_LF },
  { name: 'a bare LF where a chunk size belongs', input: '\n', expected: fault.E_BARE_LF },
  { name: 'a bare CR after a chunk size', input: '5\rhello', expected: fault.E_BARE_CR },
  { name: 'a bare CR in a chunk extension', input: '5;a\rX\nhello', expected: fault.E_BARE_CR },
  { name: 'a bare LF in a chunk extension', input: '5;a\nhello', expected: fault.E_BARE_LF },
  { name: 'a bare LF in a quoted extension value', input: '5;a="\n"\r\nhello', expected: fault.E_BARE_LF },
  {
    name: 'a CRLF in a quoted extension value',
    input: '5;a="\r\n"\r\nhello',
    expected: fault.E_CHUNK_EXTENSION,
  },
  {
    name: 'a quoted CR in an extension value',
    input: '5;a="\\\r\n"\r\nhello',
    expected: fault.E_CHUNK_EXTENSION,
  },
  { name: 'an extension without a name', input: '5;\r\nhello', expected: fault.E_CHUNK_EXTENSION },
  { name: 'an extension whose name is empty', input: '5;=a\r\nhello', expected: fault.E_CHUNK_EXTENSION },
  { name: 'an extension without its value', input: '5;a=\r\nhello', expected: fault.E_CHUNK_EXTENSION },
  { name: 'an extension with a blank', input: '5; a\r\nhello', expected: fault.E_CHUNK_EXTENSION },
  { name: 'an extension with two values', input: '5;a=b=c\r\nhello', expected: fault.E_CHUNK_EXTENSION },
  {
    name: 'bytes after a quoted extension value',
    input: '5;a="b"c\r\nhello',
    expected: fault.E_CHUNK_EXTENSION,
  },
  { name: 'content longer than its chunk', input: '5\r\nhelloX\r\n', expected: fault.E_CHUNK },
  { name: 'content shorter than its chunk', input: '5\r\nhel\r\n0\r\n\r\n', expected: fault.E_CHUNK },
  { name: 'a bare LF after content', input: '5\r\nhello\n0\r\n\r\n', expected: fault.E_CHUNK },
  { name: 'a bare CR after content', input: '5\r\nhello\r0\r\n\r\n', expected: fault.E_CHUNK },
  { name: 'any byte for the CR after content', input: '5\r\nhelloX\n0\r\n\r\n', expected: fault.E_CHUNK },
  { name: 'any byte for the LF after content', input: '5\r\nhello\rX0\r\n\r\n', expected: fault.E_CHUNK },
  { name: 'no CRLF after content', input: '5\r\nhello0\r\n\r\n', expected: fault.E_CHUNK },
  { name: 'a bare CR at the end', input: '0\r\n\rX', expected: fault.E_BARE_CR },
  { name: 'a bare LF at the end', input: '0\r\n\n', expected: fault.E_BARE_LF },
  { name: 'a bare LF after a trailer', input: '0\r\nA: b\n\r\n', expected: fault.E_BARE_LF },
  { name: 'a folded trailer', input: '0\r\nA: b\r\n c\r\n\r\n', expected: fault.E_OBS_FOLD },
  {
    name: 'a trailer with a space before the colon',
    input: '0\r\nA : b\r\n\r\n',
    expected: fault.E_FIELD_NAME,
  },
  { name: 'a trailer with a NUL', input: '0\r\nA: \0\r\n\r\n', expected: fault.E_FIELD_VALUE },
  {
    name: 'Transfer-Encoding as a trailer',
    input: '0\r\nTransfer-Encoding: chunked\r\n\r\n',
    expected: fault.E_TRAILER,
  },
  { name: 'Content-Length as a trailer', input: '0\r\ncontent-length: 5\r\n\r\n', expected: fault.E_TRAILER },
  { name: 'Host as a trailer', input: '0\r\nHost: a\r\n\r\n', expected: fault.E_TRAILER },
  {
    name: 'a request where trailers belong',
    input: '0\r\nGET / HTTP/1.1\r\n\r\n',
    expected: fault.E_FIELD_NAME,
  },
];

for (const { name, input, expected } of CHUNKED) {
  test(name, () => check(input, BODY_STREAM, -1, expected));
}

for (const { name, input, expected } of REJECTED) {
  test(`rejects ${name}`, () => check(input, BODY_STREAM, -1, { result: expected }));
}

test('delivers a body of a length and nothing behind it', () => {
  check('helloGET', BODY_LENGTH, 5, { result: B_END, content: 'hello', used: 5 });
});

test('waits for a body of a length to be complete', () => {
  check('hell', BODY_LENGTH, 5, { result: B_NEED_MORE, content: 'hell' });
});

test('ends at once where there is no body', () => {
  check('GET', BODY_NONE, 0, { result: B_END, content: '', used: 0 });
});

test('delivers all until the connection ends', () => {
  check('anything\r\n', BODY_UNTIL_CLOSE, -1, { result: B_NEED_MORE, content: 'anything\r\n' });
});

test('takes the end of the connection for the end of such a body only', () => {
  const decoder = new BodyDecoder();
  decoder.start(BODY_UNTIL_CLOSE, -1);
  assert.equal(decoder.finish(), true);
  decoder.start(BODY_LENGTH, 1);
  assert.equal(decoder.finish(), false);
  decoder.start(BODY_STREAM, -1);
  assert.equal(decoder.finish(), false);
  decoder.decode(bytesOf('0\r\n\r'), 0, 4);
  assert.equal(decoder.finish(), false);
  decoder.start(BODY_NONE, -1);
  assert.equal(decoder.finish(), true);
});

test('has ended with the last byte of a body of a length', () => {
  const decoder = new BodyDecoder();
  decoder.start(BODY_LENGTH, 3);
  assert.equal(decoder.decode(bytesOf('ab'), 0, 2), B_DATA);
  assert.equal(decoder.ended, false);
  assert.equal(decoder.remainingBytes, 1);
  assert.equal(decoder.decode(bytesOf('cd'), 0, 2), B_DATA);
  assert.equal(decoder.consumed, 1);
  assert.equal(decoder.ended, true);
  assert.equal(decoder.decode(bytesOf('cd'), 1, 2), B_END);
  assert.equal(decoder.consumed, 0);
});

test('takes a chunk size of 2^53-1', () => {
  check('1fffffffffffff\r\nx', BODY_STREAM, -1, { result: B_NEED_MORE, content: 'x' });
});

test('takes an extension at the limit of a chunk and rejects one over it', () => {
  const extension = (bytes: number) => `1;${'e'.repeat(bytes - 1)}\r\nx\r\n0\r\n\r\n`;
  check(extension(EXTENSION_BYTES_MAX), BODY_STREAM, -1, { result: B_END, content: 'x' });
  check(extension(EXTENSION_BYTES_MAX + 1), BODY_STREAM, -1, { result: fault.E_CHUNK_EXTENSION });
});

test('takes extensions at the limit of a body and rejects them over it', () => {
  const chunk = `1;${'e'.repeat(EXTENSION_BYTES_MAX - 1)}\r\nx\r\n`;
  const full = chunk.repeat(EXTENSION_BYTES_TOTAL_MAX / EXTENSION_BYTES_MAX);
  check(`${full}0\r\n\r\n`, BODY_STREAM, -1, { result: B_END }, false);
  check(`${full}0;e\r\n\r\n`, BODY_STREAM, -1, { result: fault.E_CHUNK_EXTENSION }, false);
});

test('takes a trailer section at its limit and rejects one over it', () => {
  const trailers = (bytes: number) => `0\r\nX: ${'v'.repeat(bytes - 7)}\r\n\r\n`;
  check(trailers(TRAILER_BYTES_MAX), BODY_STREAM, -1, { result: B_END }, false);
  check(trailers(TRAILER_BYTES_MAX + 1), BODY_STREAM, -1, { result: fault.E_TRAILER }, false);
});

test('takes as many trailers as are allowed and rejects one more', () => {
  check(`0\r\n${'X: 1\r\n'.repeat(TRAILER_FIELDS_MAX)}\r\n`, BODY_STREAM, -1, { result: B_END });
  check(`0\r\n${'X: 1\r\n'.repeat(TRAILER_FIELDS_MAX + 1)}\r\n`, BODY_STREAM, -1, {
    result: fault.E_TOO_MANY_FIELDS,
  });
});

test('forgets the trailers of the body before', () => {
  const decoder = new BodyDecoder();
  const bytes = bytesOf('0\r\nA: b\r\n\r\n');
  decoder.start(BODY_STREAM, -1);
  assert.equal(decoder.decode(bytes, 0, bytes.length), B_END);
  assert.equal(decoder.trailers.count, 1);
  decoder.start(BODY_STREAM, -1);
  assert.equal(decoder.trailers.count, 0);
});

test('counts content that went by another way', () => {
  const decoder = new BodyDecoder();
  decoder.start(BODY_LENGTH, 10);
  assert.equal(decoder.announcedBytes, 10);
  assert.equal(decoder.decode(bytesOf('abc'), 0, 3), B_DATA);
  decoder.skip(6);
  assert.equal(decoder.remainingBytes, 1);
  assert.equal(decoder.dataBytes, 9);
  assert.equal(decoder.announcedBytes, 10);
  decoder.skip(1);
  assert.equal(decoder.ended, true);
});
