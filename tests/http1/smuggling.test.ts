/**
 * Requests that two readers could frame differently. Each one must be refused, or be framed in the one way
 * that RFC 9112 knows, with nothing left over that a second reader could take for a request.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fault from '../../src/http/fault.ts';
import { BODY_STREAM } from '../../src/http/message.ts';
import { bytesOf, decodeBody, everySplit, nameOf, parseRequest } from './feed.ts';

const POST = 'POST / HTTP/1.1\r\nHost: a\r\n';
const INNER = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n';

function withFields(fields: string): string {
  return `${POST}${fields}\r\n\r\n0\r\n\r\n${INNER}`;
}

const HEADS: { name: string; input: string; expected: number }[] = [
  // CL.TE and TE.CL (RFC 9112 §6.1, §6.3).
  {
    name: 'Content-Length then Transfer-Encoding',
    input: withFields('Content-Length: 6\r\nTransfer-Encoding: chunked'),
    expected: fault.E_LENGTH_AND_CODING,
  },
  {
    name: 'Transfer-Encoding then Content-Length',
    input: withFields('Transfer-Encoding: chunked\r\nContent-Length: 6'),
    expected: fault.E_LENGTH_AND_CODING,
  },
  {
    name: 'a Content-Length of 0 beside Transfer-Encoding',
    input: withFields('Content-Length: 0\r\nTransfer-Encoding: chunked'),
    expected: fault.E_LENGTH_AND_CODING,
  },
  {
    name: 'identity beside a Content-Length',
    input: withFields('Content-Length: 6\r\nTransfer-Encoding: identity'),
    expected: fault.E_CODING_UNKNOWN,
  },
  // Content-Length (RFC 9110 §8.6).
  ...[
    ['a plus sign', '+6'],
    ['a minus sign', '-6'],
    ['minus zero', '-0'],
    ['a decimal point', '6.0'],
    ['an exponent', '6e0'],
    ['hexadecimal', '0x6'],
    ['an octal look', '06'],
    ['two zeros', '00'],
    ['a space inside', '6 6'],
    ['nothing', ''],
    ['only blanks', ' \t '],
    ['a list of equal values', '6, 6'],
    ['a list of different values', '6, 7'],
    ['a list without blanks', '6,6'],
    ['a comma after it', '6,'],
    ['a comma before it', ',6'],
    ['a semicolon after it', '6;'],
    ['an underscore', '1_000'],
    ['a letter after it', '6a'],
    ['quotes', '"6"'],
    ['2^53', '9007199254740992'],
    ['2^63', '9223372036854775808'],
    ['2^64 + 6', '18446744073709551622'],
    ['a very long number', '6'.repeat(400)],
    ['zeros before it', `${'0'.repeat(400)}6`],
    ['a non-ASCII digit', '\xb2'],
  ].map(([name, value]) => ({
    name: `a Content-Length with ${name}`,
    input: withFields(`Content-Length: ${value}`),
    expected: fault.E_LENGTH_INVALID,
  })),
  {
    name: 'a Content-Length with a vertical tab',
    input: withFields('Content-Length: \x0b6'),
    expected: fault.E_FIELD_VALUE,
  },
  {
    name: 'a Content-Length with a NUL',
    input: withFields('Content-Length: 6\0'),
    expected: fault.E_FIELD_VALUE,
  },
  {
    name: 'two Content-Lengths',
    input: withFields('Content-Length: 6\r\nContent-Length: 0'),
    expected: fault.E_LENGTH_REPEATED,
  },
  {
    name: 'the same Content-Length twice',
    input: withFields('Content-Length: 6\r\ncontent-length: 6'),
    expected: fault.E_LENGTH_REPEATED,
  },
  // Transfer-Encoding (RFC 9112 §6.1, §7).
  ...[
    ['another word before it', 'xchunked'],
    ['another word after it', 'chunkedx'],
    ['identity after it', 'chunked, identity'],
    ['identity before it', 'identity, chunked'],
    ['gzip before it', 'gzip, chunked'],
    ['gzip after it', 'chunked, gzip'],
    ['gzip alone', 'gzip'],
    ['identity alone', 'identity'],
    ['itself after it', 'chunked, chunked'],
    ['a comma after it', 'chunked,'],
    ['a comma before it', ', chunked'],
    ['a parameter', 'chunked;q=1'],
    ['a semicolon', 'chunked;'],
    ['quotes', '"chunked"'],
    ['single quotes', "'chunked'"],
    ['a space inside', 'chun ked'],
    ['a colon before it', ': chunked'],
    ['its name before it', 'Transfer-Encoding: chunked'],
    ['nothing', ''],
    ['a non-breaking space', '\xa0chunked'],
    ['a next-line character', 'chunked\x85'],
    ['a long s', 'chunke\xf0'],
  ].map(([name, value]) => ({
    name: `a Transfer-Encoding with ${name}`,
    input: withFields(`Transfer-Encoding: ${value}`),
    expected: fault.E_CODING_UNKNOWN,
  })),
  ...[
    ['a vertical tab before it', '\x0bchunked'],
    ['a form feed after it', 'chunked\x0c'],
    ['a NUL after it', 'chunked\0'],
    ['a DEL after it', 'chunked\x7f'],
    ['a backspace', 'x\x08chunked'],
  ].map(([name, value]) => ({
    name: `a Transfer-Encoding with ${name}`,
    input: withFields(`Transfer-Encoding: ${value}`),
    expected: fault.E_FIELD_VALUE,
  })),
  {
    name: 'two Transfer-Encodings',
    input: withFields('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity'),
    expected: fault.E_CODING_UNKNOWN,
  },
  {
    name: 'two Transfer-Encodings, chunked last',
    input: withFields('Transfer-Encoding: identity\r\nTransfer-Encoding: chunked'),
    expected: fault.E_CODING_UNKNOWN,
  },
  {
    name: 'chunked twice',
    input: withFields('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked'),
    expected: fault.E_CODING_UNKNOWN,
  },
  {
    name: 'Transfer-Encoding in HTTP/1.0',
    input: 'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    expected: fault.E_CODING_HTTP10,
  },
  {
    name: 'Transfer-Encoding beside a Content-Length in HTTP/1.0',
    input: 'POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    expected: fault.E_CODING_HTTP10,
  },
  // Names that one reader takes for Transfer-Encoding and another doesn't (RFC 9112 §5.1).
  ...[
    ['a space before the colon', 'Transfer-Encoding : chunked', fault.E_FIELD_NAME],
    ['a tab before the colon', 'Transfer-Encoding\t: chunked', fault.E_FIELD_NAME],
    ['a vertical tab before the colon', 'Transfer-Encoding\x0b: chunked', fault.E_FIELD_NAME],
    ['a NUL before the colon', 'Transfer-Encoding\0: chunked', fault.E_FIELD_NAME],
    ['a carriage return before the colon', 'Transfer-Encoding\r: chunked', fault.E_FIELD_NAME],
    ['a line feed before the colon', 'Transfer-Encoding\n: chunked', fault.E_BARE_LF],
    ['a space before the name', ' Transfer-Encoding: chunked', fault.E_OBS_FOLD],
    ['a tab before the name', '\tTransfer-Encoding: chunked', fault.E_OBS_FOLD],
    ['a vertical tab before the name', '\x0bTransfer-Encoding: chunked', fault.E_FIELD_NAME],
    ['a NUL before the name', '\0Transfer-Encoding: chunked', fault.E_FIELD_NAME],
    ['a non-breaking space before the name', '\xa0Transfer-Encoding: chunked', fault.E_FIELD_NAME],
    ['quotes around the name', '"Transfer-Encoding": chunked', fault.E_FIELD_NAME],
    ['a space inside the name', 'Transfer Encoding: chunked', fault.E_FIELD_NAME],
    ['an equals sign for the colon', 'Transfer-Encoding=chunked', fault.E_FIELD_NAME],
    ['a value on the next line', 'Transfer-Encoding:\r\n chunked', fault.E_CODING_UNKNOWN],
    ['a name cut by a line end', 'Transfer-\r\nEncoding: chunked', fault.E_FIELD_NAME],
  ].map(([name, fields, expected]) => ({
    name: `Transfer-Encoding with ${name}`,
    input: withFields(`X: y\r\n${fields}`),
    expected: expected as number,
  })),
  // Lines that end in another way (RFC 9112 §2.2).
  ...[
    ['a field hidden behind a bare LF', 'X: y\nTransfer-Encoding: chunked', fault.E_BARE_LF],
    ['a field hidden behind a bare CR', 'X: y\rTransfer-Encoding: chunked', fault.E_BARE_CR],
    ['a field hidden behind LF CR', 'X: y\n\rTransfer-Encoding: chunked', fault.E_BARE_LF],
    ['a field hidden behind CR CR LF', 'X: y\r\r\nTransfer-Encoding: chunked', fault.E_BARE_CR],
    ['a folded Transfer-Encoding', 'Transfer-Encoding: chunked\r\n , identity', fault.E_OBS_FOLD],
    ['a folded Content-Length', 'Content-Length: 6\r\n 0', fault.E_OBS_FOLD],
    ['a fold of a blank line', 'X: y\r\n \r\nContent-Length: 6', fault.E_OBS_FOLD],
    ['an end of head in bare LFs', 'X: y\r\n\nGET / HTTP/1.1', fault.E_BARE_LF],
    ['an end of head in a bare CR', 'X: y\r\n\rGET / HTTP/1.1', fault.E_BARE_CR],
  ].map(([name, fields, expected]) => ({
    name: name as string,
    input: withFields(fields as string),
    expected: expected as number,
  })),
  // What the request is for (RFC 9112 §3.2).
  {
    name: 'two Hosts',
    input: `GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`,
    expected: fault.E_HOST_REPEATED,
  },
  {
    name: 'a Host with a space before the colon',
    input: 'GET / HTTP/1.1\r\nHost : a\r\nHost: b\r\n\r\n',
    expected: fault.E_FIELD_NAME,
  },
  { name: 'a folded Host', input: 'GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n', expected: fault.E_OBS_FOLD },
  {
    name: 'userinfo in the target',
    input: `GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n`,
    expected: fault.E_TARGET,
  },
  { name: 'userinfo in Host', input: `GET / HTTP/1.1\r\nHost: a@b\r\n\r\n`, expected: fault.E_HOST_INVALID },
  {
    name: 'a target with a second version',
    input: 'GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n',
    expected: fault.E_VERSION,
  },
  {
    name: 'a target with a space',
    input: 'GET /a /b HTTP/1.1\r\nHost: a\r\n\r\n',
    expected: fault.E_VERSION,
  },
  { name: 'a target with a tab', input: 'GET /a\t/b HTTP/1.1\r\nHost: a\r\n\r\n', expected: fault.E_TARGET },
  {
    name: 'a target with a CR',
    input: 'GET /a\r/b HTTP/1.1\r\nHost: a\r\n\r\n',
    expected: fault.E_REQUEST_LINE,
  },
  { name: 'CONNECT', input: 'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n', expected: fault.E_METHOD_REFUSED },
  {
    name: 'an upgrade with a body',
    input: withFields('Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 6'),
    expected: fault.E_UPGRADE,
  },
  { name: 'a second empty line', input: `\r\n\r\n${INNER}`, expected: fault.E_REQUEST_LINE },
];

for (const { name, input, expected } of HEADS) {
  test(`refuses ${name}`, () => {
    const bytes = bytesOf(input);
    const whole = parseRequest(bytes);
    assert.equal(nameOf(whole.result), nameOf(expected));
    everySplit(bytes.length, (cuts, move) => parseRequest(bytes, cuts, move), whole);
  });
}

test('an absolute-form target that differs from Host leaves one authority only', () => {
  const parsed = parseRequest(bytesOf('GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n'));
  assert.equal(parsed.authority, 'b');
  assert.deepEqual(parsed.fields, [['Host', 'b']]);
});

test('a target that looks like another host in origin-form stays a path', () => {
  const parsed = parseRequest(bytesOf('GET //b/x HTTP/1.1\r\nHost: a\r\n\r\n'));
  assert.equal(parsed.authority, 'a');
  assert.equal(parsed.path, '//b/x');
});

test('an underscore does not make a second Content-Length or Transfer-Encoding', () => {
  const parsed = parseRequest(
    bytesOf(`${POST}Content-Length: 3\r\nContent_Length: 9\r\nTransfer_Encoding: chunked\r\n\r\n`),
  );
  assert.equal(parsed.contentLength, 3);
  assert.deepEqual(parsed.fields, [
    ['Host', 'a'],
    ['Content-Length', '3'],
  ]);
});

const BODIES: { name: string; input: string; expected: number }[] = [
  { name: 'a chunk ended by a bare LF', input: `1\r\nx\n0\r\n\r\n${INNER}`, expected: fault.E_CHUNK },
  { name: 'a chunk line ended by a bare LF', input: `1\nx\r\n0\r\n\r\n`, expected: fault.E_BARE_LF },
  { name: 'a chunk line ended by a bare CR', input: `1\rx\r\n0\r\n\r\n`, expected: fault.E_BARE_CR },
  { name: 'an extension with a bare LF', input: `1;a\nx\r\n0\r\n\r\n`, expected: fault.E_BARE_LF },
  {
    name: 'an extension with a hidden request',
    input: `2;\nxx\r\n4c\r\n0\r\n\r\n${INNER}`,
    expected: fault.E_BARE_LF,
  },
  { name: 'a size with 0x', input: '0x1\r\nx\r\n0\r\n\r\n', expected: fault.E_CHUNK },
  { name: 'a size with a sign', input: '+1\r\nx\r\n0\r\n\r\n', expected: fault.E_CHUNK },
  { name: 'a size with a blank after it', input: '1 \r\nx\r\n0\r\n\r\n', expected: fault.E_CHUNK },
  { name: 'a size that wraps around 32 bits', input: '100000001\r\nx\r\n0\r\n\r\n', expected: 0 },
  {
    name: 'a size that wraps around 64 bits',
    input: '10000000000000001\r\nx\r\n0\r\n\r\n',
    expected: fault.E_CHUNK,
  },
  { name: 'a last chunk ended by a bare LF', input: `0\n\n${INNER}`, expected: fault.E_BARE_LF },
  { name: 'a body ended by a bare LF', input: `0\r\n\n${INNER}`, expected: fault.E_BARE_LF },
  { name: 'a body ended by a bare CR', input: `0\r\n\r${INNER}`, expected: fault.E_BARE_CR },
  { name: 'a request in the trailers', input: `0\r\n${INNER}`, expected: fault.E_FIELD_NAME },
  {
    name: 'a Transfer-Encoding in the trailers',
    input: '0\r\nTransfer-Encoding: chunked\r\n\r\n',
    expected: fault.E_TRAILER,
  },
  { name: 'a minus zero for the last chunk', input: `-0\r\n\r\n${INNER}`, expected: fault.E_CHUNK },
];

for (const { name, input, expected } of BODIES) {
  test(`does not frame ${name} in two ways`, () => {
    const bytes = bytesOf(input);
    const whole = decodeBody(bytes, BODY_STREAM, -1).result;
    assert.equal(nameOf(whole), nameOf(expected));
    everySplit(bytes.length, (cuts) => decodeBody(bytes, BODY_STREAM, -1, cuts).result, whole);
  });
}
