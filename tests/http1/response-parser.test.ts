import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fault from '../../src/http/fault.ts';
import {
  BODY_LENGTH,
  BODY_NONE,
  BODY_STREAM,
  BODY_UNTIL_CLOSE,
  M_GET,
  M_HEAD,
  ResponseHead,
} from '../../src/http/message.ts';
import { ResponseParser } from '../../src/http1/response-parser.ts';
import { bytesOf, everySplit, LIMITS, nameOf, parseResponse, type ResponseSummary } from './feed.ts';

interface AcceptVector {
  name: string;
  input: string;
  method?: number;
  expected: Partial<ResponseSummary>;
}

const OK = 'HTTP/1.1 200 OK\r\n';

const ACCEPTED: AcceptVector[] = [
  {
    name: 'takes a response with a length (RFC 9112 §6.3)',
    input: `${OK}Content-Length: 5\r\nServer: x\r\n\r\n`,
    expected: {
      status: 200,
      reason: 'OK',
      version: 11,
      bodyKind: BODY_LENGTH,
      contentLength: 5,
      closeAfter: false,
      fields: [
        ['Content-Length', '5'],
        ['Server', 'x'],
      ],
    },
  },
  {
    name: 'takes a chunked response',
    input: `${OK}Transfer-Encoding: CHUNKED\r\n\r\n`,
    expected: { bodyKind: BODY_STREAM, contentLength: -1, closeAfter: false },
  },
  {
    name: 'reads until close where nothing says how long (RFC 9112 §6.3)',
    input: `${OK}\r\n`,
    expected: { bodyKind: BODY_UNTIL_CLOSE, closeAfter: true },
  },
  {
    name: 'has no content after a length of 0',
    input: `${OK}Content-Length: 0\r\n\r\n`,
    expected: { bodyKind: BODY_NONE, contentLength: 0, closeAfter: false },
  },
  {
    name: 'has no content in answer to HEAD, and keeps the length',
    input: `${OK}Content-Length: 5\r\n\r\n`,
    method: M_HEAD,
    expected: { bodyKind: BODY_NONE, contentLength: 5, closeAfter: false },
  },
  {
    name: 'has no content in answer to HEAD where nothing says how long',
    input: `${OK}\r\n`,
    method: M_HEAD,
    expected: { bodyKind: BODY_NONE, contentLength: -1, closeAfter: false },
  },
  {
    name: 'has no content in answer to HEAD though it says chunked',
    input: `${OK}Transfer-Encoding: chunked\r\n\r\n`,
    method: M_HEAD,
    expected: { bodyKind: BODY_NONE, closeAfter: false },
  },
  {
    name: 'has no content in a 304, and keeps the length',
    input: 'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n',
    expected: { bodyKind: BODY_NONE, contentLength: 9, closeAfter: false },
  },
  {
    name: 'has no content in a 204, and drops a length of 0',
    input: 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX: 1\r\n\r\n',
    expected: { bodyKind: BODY_NONE, contentLength: -1, closeAfter: false, fields: [['X', '1']] },
  },
  {
    name: 'does not use the connection again after a 204 that announces content',
    input: 'HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n',
    expected: { bodyKind: BODY_NONE, contentLength: -1, closeAfter: true, fields: [] },
  },
  {
    name: 'does not use the connection again after a chunked 204',
    input: 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n',
    expected: { bodyKind: BODY_NONE, closeAfter: true, fields: [] },
  },
  {
    name: 'takes an interim response (RFC 9110 §15.2)',
    input: 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n',
    expected: { status: 103, bodyKind: BODY_NONE, closeAfter: false },
  },
  {
    name: 'takes a 101 with its upgrade',
    input: 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    expected: { status: 101, bodyKind: BODY_NONE, upgrade: 'websocket', closeAfter: true },
  },
  {
    name: 'sees no upgrade in a 101 that Connection does not list',
    input: 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n',
    expected: { status: 101, upgrade: null },
  },
  {
    name: 'sees no upgrade in a 200 that advertises one',
    input: `${OK}Connection: upgrade\r\nUpgrade: h2\r\nContent-Length: 1\r\n\r\n`,
    expected: { upgrade: null, closeAfter: false },
  },
  {
    name: 'closes after Connection: close',
    input: `${OK}Connection: close\r\nContent-Length: 1\r\n\r\n`,
    expected: { closeAfter: true },
  },
  {
    name: 'closes after a response of HTTP/1.0',
    input: 'HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n',
    expected: { version: 10, closeAfter: true, bodyKind: BODY_LENGTH },
  },
  {
    name: 'keeps a connection of HTTP/1.0 that says keep-alive',
    input: 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n',
    expected: { version: 10, closeAfter: false },
  },
  {
    name: 'takes an empty reason phrase (RFC 9112 §4)',
    input: 'HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\n',
    expected: { status: 200, reason: '' },
  },
  {
    name: 'takes a status without the space after it',
    input: 'HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n',
    expected: { status: 200, reason: '' },
  },
  {
    name: 'takes a reason phrase with tabs and obs-text',
    input: 'HTTP/1.1 404 Nicht\tda \xfc\r\nContent-Length: 1\r\n\r\n',
    expected: { status: 404, reason: 'Nicht\tda \xfc' },
  },
  {
    name: 'takes a status that is not registered',
    input: 'HTTP/1.1 999 Odd\r\nContent-Length: 1\r\n\r\n',
    expected: { status: 999 },
  },
  {
    name: 'leaves a field with an underscore alone',
    input: `${OK}Content_Length: 3\r\nContent-Length: 1\r\n\r\n`,
    expected: {
      contentLength: 1,
      fields: [
        ['Content_Length', '3'],
        ['Content-Length', '1'],
      ],
    },
  },
  { name: 'waits for the rest of a head', input: `${OK}X: 1\r\n\r`, expected: { result: fault.NEED_MORE } },
];

/** Rejected with E_RESPONSE_MALFORMED; `detail` is what the log will say. */
const REJECTED: { name: string; input: string; detail: number; after?: number }[] = [
  { name: 'garbage', input: '<html>', detail: fault.E_VERSION, after: 1 },
  { name: 'an empty line before the head', input: `\r\n${OK}\r\n`, detail: fault.E_VERSION, after: 1 },
  { name: 'another protocol', input: 'ICY 200 OK\r\n\r\n', detail: fault.E_VERSION, after: 1 },
  { name: 'a version in lower case', input: 'http/1.1 200 OK\r\n\r\n', detail: fault.E_VERSION },
  { name: 'HTTP/2.0', input: 'HTTP/2.0 200 OK\r\n\r\n', detail: fault.E_VERSION, after: 6 },
  { name: 'HTTP/1.2', input: 'HTTP/1.2 200 OK\r\n\r\n', detail: fault.E_VERSION, after: 8 },
  { name: 'two spaces before the status', input: 'HTTP/1.1  200 OK\r\n\r\n', detail: fault.E_REQUEST_LINE },
  { name: 'a status of two digits', input: 'HTTP/1.1 20 OK\r\n\r\n', detail: fault.E_REQUEST_LINE },
  { name: 'a status of four digits', input: 'HTTP/1.1 2000 OK\r\n\r\n', detail: fault.E_REQUEST_LINE },
  { name: 'a status under 100', input: 'HTTP/1.1 099 OK\r\n\r\n', detail: fault.E_REQUEST_LINE, after: 10 },
  { name: 'a status with a letter', input: 'HTTP/1.1 2x0 OK\r\n\r\n', detail: fault.E_REQUEST_LINE },
  { name: 'a NUL in the reason phrase', input: 'HTTP/1.1 200 O\0K\r\n\r\n', detail: fault.E_REQUEST_LINE },
  {
    name: 'a status line that ends in a bare LF',
    input: 'HTTP/1.1 200 OK\nX: 1\r\n\r\n',
    detail: fault.E_BARE_LF,
  },
  { name: 'a status line with a bare CR', input: 'HTTP/1.1 200 OK\rX: 1\r\n\r\n', detail: fault.E_BARE_CR },
  { name: 'a folded line', input: `${OK}X: 1\r\n 2\r\n\r\n`, detail: fault.E_OBS_FOLD },
  { name: 'a space before the colon', input: `${OK}X : 1\r\n\r\n`, detail: fault.E_FIELD_NAME },
  { name: 'a NUL in a value', input: `${OK}X: \0\r\n\r\n`, detail: fault.E_FIELD_VALUE },
  { name: 'a bare LF after a field', input: `${OK}X: 1\n\r\n`, detail: fault.E_BARE_LF },
  { name: 'a bare CR in a value', input: `${OK}X: 1\rY: 2\r\n\r\n`, detail: fault.E_BARE_CR },
  {
    name: 'a length beside a coding',
    input: `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
    detail: fault.E_LENGTH_AND_CODING,
  },
  {
    name: 'a coding beside a length',
    input: `${OK}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n`,
    detail: fault.E_LENGTH_AND_CODING,
  },
  {
    name: 'two lengths that differ',
    input: `${OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\n`,
    detail: fault.E_LENGTH_REPEATED,
  },
  {
    name: 'the same length twice',
    input: `${OK}Content-Length: 5\r\nContent-Length: 5\r\n\r\n`,
    detail: fault.E_LENGTH_REPEATED,
  },
  { name: 'a list of lengths', input: `${OK}Content-Length: 5, 5\r\n\r\n`, detail: fault.E_LENGTH_INVALID },
  { name: 'a signed length', input: `${OK}Content-Length: +5\r\n\r\n`, detail: fault.E_LENGTH_INVALID },
  { name: 'an empty length', input: `${OK}Content-Length:\r\n\r\n`, detail: fault.E_LENGTH_INVALID },
  {
    name: 'a length above 2^53-1',
    input: `${OK}Content-Length: 9007199254740992\r\n\r\n`,
    detail: fault.E_LENGTH_INVALID,
  },
  {
    name: 'an unknown coding',
    input: `${OK}Transfer-Encoding: gzip\r\n\r\n`,
    detail: fault.E_CODING_UNKNOWN,
  },
  {
    name: 'a coding under chunked',
    input: `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n`,
    detail: fault.E_CODING_UNKNOWN,
  },
  {
    name: 'chunked twice',
    input: `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`,
    detail: fault.E_CODING_UNKNOWN,
  },
  {
    name: 'a coding in HTTP/1.0',
    input: 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    detail: fault.E_CODING_HTTP10,
  },
  {
    name: 'a coding in answer to HEAD beside a length',
    input: `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
    detail: fault.E_LENGTH_AND_CODING,
  },
  {
    name: 'a Connection that is no list',
    input: `${OK}Connection: a b\r\n\r\n`,
    detail: fault.E_FIELD_VALUE,
  },
];

for (const { name, input, method = M_GET, expected } of ACCEPTED) {
  test(name, () => {
    const bytes = bytesOf(input);
    const whole = parseResponse(bytes, method);
    for (const key of Object.keys(expected) as (keyof ResponseSummary)[]) {
      assert.deepEqual(whole[key], expected[key], `${key} (detail: ${nameOf(whole.detail)})`);
    }
    if (expected.result === undefined) assert.equal(nameOf(whole.result), bytes.length);
    everySplit(bytes.length, (cuts, move) => parseResponse(bytes, method, cuts, move), whole);
  });
}

for (const { name, input, detail, after } of REJECTED) {
  test(`rejects a response with ${name}`, () => {
    const bytes = bytesOf(input);
    const whole = parseResponse(bytes, M_GET);
    assert.equal(nameOf(whole.result), nameOf(fault.E_RESPONSE_MALFORMED));
    assert.equal(nameOf(whole.detail), nameOf(detail));
    everySplit(bytes.length, (cuts, move) => parseResponse(bytes, M_GET, cuts, move), whole);
    if (after === undefined) return;
    assert.equal(parseResponse(bytes.subarray(0, after), M_GET).result, fault.E_RESPONSE_MALFORMED);
    assert.equal(parseResponse(bytes.subarray(0, after - 1), M_GET).result, fault.NEED_MORE);
  });
}

const SMALL = { requestLineBytesMax: 32, headBytesMax: 64, fieldsMax: 2 };
const SIZES = [
  { name: 'takes a head at its limit', input: `${OK}X: ${'v'.repeat(40)}\r\n\r\n`, expected: 64 },
  {
    name: 'refuses a head over its limit',
    input: `${OK}X: ${'v'.repeat(41)}\r\n\r\n`,
    expected: fault.E_HEAD_TOO_LARGE,
  },
  { name: 'takes a status line at its limit', input: `HTTP/1.1 200 ${'r'.repeat(17)}\r\n\r\n`, expected: 34 },
  {
    name: 'refuses a status line over its limit',
    input: `HTTP/1.1 200 ${'r'.repeat(18)}\r\n\r\n`,
    expected: fault.E_HEAD_TOO_LARGE,
  },
  { name: 'takes as many fields as are allowed', input: `${OK}A: 1\r\nB: 1\r\n\r\n`, expected: 31 },
  {
    name: 'refuses one field more',
    input: `${OK}A: 1\r\nB: 1\r\nC: 1\r\n\r\n`,
    expected: fault.E_TOO_MANY_FIELDS,
  },
];

for (const { name, input, expected } of SIZES) {
  test(`${name} (response)`, () => {
    const bytes = bytesOf(input);
    const whole = parseResponse(bytes, M_GET, [], false, SMALL);
    if (expected > 0) assert.equal(nameOf(whole.result), expected);
    else assert.equal(nameOf(whole.detail), nameOf(expected));
    everySplit(bytes.length, (cuts, move) => parseResponse(bytes, M_GET, cuts, move, SMALL), whole);
  });
}

test('parses an interim head and then the final one with one parser', () => {
  const interim = 'HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n';
  const final = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n';
  const bytes = bytesOf(interim + final);
  const parser = new ResponseParser(LIMITS);
  const head = new ResponseHead(bytes);
  assert.equal(parser.parse(head, M_GET, bytes, 0, bytes.length), interim.length);
  assert.equal(head.status, 100);
  assert.equal(parser.parse(head, M_GET, bytes, interim.length, bytes.length), final.length);
  assert.equal(head.status, 200);
  assert.equal(parser.closeAfter, false);
});

test('tells whether a head has begun', () => {
  const bytes = bytesOf(OK);
  const parser = new ResponseParser(LIMITS);
  assert.equal(parser.begun, false);
  parser.parse(new ResponseHead(bytes), M_GET, bytes, 0, 3);
  assert.equal(parser.begun, true);
  parser.reset();
  assert.equal(parser.begun, false);
});
