import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FAULTS, NEED_MORE } from '../../src/http/fault.ts';
import { BODY_STREAM, M_GET } from '../../src/http/message.ts';
import { B_END } from '../../src/http1/body-decoder.ts';
import { bytesOf, decodeBody, parseRequest, parseResponse } from './feed.ts';
import {
  blanks,
  cutFractions,
  cutsAt,
  fieldValue,
  holds,
  hostileChunks,
  hostileHead,
  mutate,
  mutations,
  textOf,
  token,
} from './fuzzing.ts';
import { referenceChunked, referenceRequest } from './reference.ts';

const FILE = 'tests/http1/properties.test.ts';
const ALPHANUMERIC = 'abcdefghijklmnopqrstuvwxyz0123456789';

const plainName = token.filter(
  (name) =>
    !name.includes('_') &&
    !/^(host|te|expect|upgrade|connection|content-length|transfer-encoding)$/i.test(name),
);
const field = fc.record({ name: plainName, before: blanks, value: fieldValue, after: blanks });
const method = token.filter((name) => name !== 'CONNECT' && name !== 'TRACE');
const path = textOf(`${ALPHANUMERIC}-._~!$&'()*+,;=:@/[]|`, 0, 40);
const query = fc.option(textOf(`${ALPHANUMERIC}-._~!$&'()*+,;=:@/?{}[]|^\\\`%`, 0, 40));
const host = fc
  .tuple(
    fc.array(textOf(`${ALPHANUMERIC}-_~`, 1, 12), { minLength: 1, maxLength: 4 }),
    fc.option(fc.nat(65535)),
  )
  .map(([labels, port]) => labels.join('.') + (port === null ? '' : `:${port}`));
const framing = fc.oneof(
  fc.constant(''),
  fc.nat().map((length) => `Content-Length: ${length}\r\n`),
  fc.constantFrom('chunked', 'Chunked', 'CHUNKED').map((coding) => `Transfer-Encoding: ${coding}\r\n`),
);

const request = fc
  .record({ method, path, query, host, fields: fc.array(field, { maxLength: 12 }), framing })
  .map((parts) => {
    const target = `/${parts.path}${parts.query === null ? '' : `?${parts.query}`}`;
    const lines = parts.fields.map((f) => `${f.name}:${f.before}${f.value}${f.after}\r\n`);
    return {
      ...parts,
      text: `${parts.method} ${target} HTTP/1.1\r\nHost: ${parts.host}\r\n${lines.join('')}${parts.framing}\r\n`,
    };
  });

test('a valid request parses to what it was made from, however it arrives', () => {
  holds(FILE, fc.tuple(request, cutFractions, fc.boolean()), ([made, fractions, move]) => {
    const bytes = bytesOf(made.text);
    const parsed = parseRequest(bytes, cutsAt(fractions, bytes.length), move);
    assert.equal(parsed.result, bytes.length);
    assert.equal(parsed.method, made.method);
    assert.equal(parsed.path, `/${made.path}`);
    assert.equal(parsed.query, made.query);
    assert.equal(parsed.authority, made.host);
    const fields = made.fields.map((f) => [f.name, f.value]);
    assert.deepEqual(parsed.fields.slice(1, fields.length + 1), fields);
  });
});

/** Requests that mutations start from: between them they reach every branch. */
const seeds = fc.oneof(
  request.map((made) => made.text),
  fc.constantFrom(
    'GET /a%20b?x=y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, te\r\nTE: trailers\r\n\r\n',
    'POST http://[::1]:80/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n0\r\n\r\n',
    'PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nX_Y: 1\r\n\r\n0123456789',
    'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    '\r\nOPTIONS * HTTP/1.1\r\nHost: a.example:8080\r\n\r\n',
    'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
    'OPTIONS https://h.example HTTP/1.1\r\nHost:\r\nX_Forwarded_For: 1\r\n\r\n',
  ),
);

const judged = fc.oneof(
  hostileHead,
  fc.tuple(seeds, mutations).map(([text, list]) => mutate(text, list)),
);

function isFault(result: number): boolean {
  return result < 0 && FAULTS[-result] !== undefined;
}

test('a mutated request is judged alike however it arrives, and never beyond its bytes', () => {
  holds(FILE, fc.tuple(judged, cutFractions, fc.boolean()), ([input, fractions, move]) => {
    const bytes = bytesOf(input);
    const whole = parseRequest(bytes);
    assert.ok(isFault(whole.result) || (whole.result >= 0 && whole.result <= bytes.length));
    assert.deepEqual(parseRequest(bytes, cutsAt(fractions, bytes.length), move), whole);
  });
});

test('a request is accepted exactly when the plain grammar accepts it, and framed alike', () => {
  holds(FILE, judged, (input) => {
    const parsed = parseRequest(bytesOf(input));
    const expected = referenceRequest(input);
    if (expected === null) {
      assert.ok(parsed.result <= 0, `accepted: ${JSON.stringify(input)}`);
      return;
    }
    assert.equal(parsed.result, expected.length, `refused: ${JSON.stringify(input)}`);
    const { method, authority, bodyKind, contentLength, closeAfter, expectContinue, fields } = parsed;
    const upgrade = parsed.upgrade !== null;
    assert.deepEqual(
      {
        length: parsed.result,
        method,
        authority,
        bodyKind,
        contentLength,
        closeAfter,
        expectContinue,
        upgrade,
        fields,
      },
      expected,
    );
  });
});

test('arbitrary bytes are never more than a fault', () => {
  holds(FILE, fc.tuple(fc.uint8Array({ maxLength: 200 }), cutFractions), ([array, fractions]) => {
    const bytes = Buffer.from(array);
    const cuts = cutsAt(fractions, bytes.length);
    const requestResult = parseRequest(bytes).result;
    assert.ok(requestResult === NEED_MORE || isFault(requestResult));
    assert.equal(parseRequest(bytes, cuts).result, requestResult);
    assert.equal(parseResponse(bytes, M_GET, cuts).result, parseResponse(bytes, M_GET).result);
    assert.equal(decodeBody(bytes, BODY_STREAM, -1, cuts).result, decodeBody(bytes, BODY_STREAM, -1).result);
  });
});

const responseSeeds = fc.constantFrom(
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello',
  'HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n',
  'HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
);

test('a mutated response is judged alike however it arrives, and never framed in two ways', () => {
  holds(
    FILE,
    fc.tuple(responseSeeds, mutations, cutFractions, fc.boolean()),
    ([text, list, fractions, move]) => {
      const bytes = bytesOf(mutate(text, list));
      const whole = parseResponse(bytes, M_GET);
      assert.ok(isFault(whole.result) || (whole.result >= 0 && whole.result <= bytes.length));
      assert.deepEqual(parseResponse(bytes, M_GET, cutsAt(fractions, bytes.length), move), whole);
      if (whole.result <= 0) return;
      const names = whole.fields.map(([name]) => name.toLowerCase());
      const lengths = names.filter((name) => name === 'content-length').length;
      const codings = names.filter((name) => name === 'transfer-encoding').length;
      assert.ok(lengths + codings <= 1);
    },
  );
});

const extension = fc
  .tuple(
    token,
    fc.option(
      fc.oneof(
        token,
        fieldValue.map((value) => JSON.stringify(value).replace(/\\[unrtbf]/g, 'x')),
      ),
    ),
  )
  .map(([name, value]) => (value === null ? `;${name}` : `;${name}=${value}`));
const chunk = fc.record({
  content: fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 1, maxLength: 40 }),
  zeros: fc.nat(3),
  upper: fc.boolean(),
  extensions: fc.array(extension, { maxLength: 2 }),
});
const chunkedBody = fc
  .tuple(fc.array(chunk, { maxLength: 6 }), fc.array(fc.tuple(plainName, fieldValue), { maxLength: 3 }))
  .map(([chunks, trailers]) => {
    const content = chunks.map((c) => String.fromCharCode(...c.content)).join('');
    const coded = chunks.map((c) => {
      const size = '0'.repeat(c.zeros) + c.content.length.toString(16);
      const line = (c.upper ? size.toUpperCase() : size) + c.extensions.join('');
      return `${line}\r\n${String.fromCharCode(...c.content)}\r\n`;
    });
    const lines = trailers.map(([name, value]) => `${name}: ${value}\r\n`);
    return { content, text: `${coded.join('')}0\r\n${lines.join('')}\r\n` };
  });

test('a chunked body decodes to what it was made from, however it arrives', () => {
  holds(FILE, fc.tuple(chunkedBody, cutFractions), ([made, fractions]) => {
    const bytes = bytesOf(made.text);
    const decoded = decodeBody(bytes, BODY_STREAM, -1, cutsAt(fractions, bytes.length));
    assert.equal(decoded.result, B_END);
    assert.equal(decoded.content, made.content);
    assert.equal(decoded.used, bytes.length);
  });
});

const judgedChunks = fc.oneof(
  hostileChunks,
  fc.tuple(chunkedBody, mutations).map(([made, list]) => mutate(made.text, list)),
);

test('a chunked body is complete exactly when the plain grammar says so, and has the same content', () => {
  holds(FILE, fc.tuple(judgedChunks, cutFractions), ([input, fractions]) => {
    const bytes = bytesOf(input);
    const decoded = decodeBody(bytes, BODY_STREAM, -1, cutsAt(fractions, bytes.length));
    const expected = referenceChunked(input);
    if (expected === null) assert.notEqual(decoded.result, B_END, `accepted: ${JSON.stringify(input)}`);
    else assert.deepEqual({ content: decoded.content, used: decoded.used }, expected);
  });
});
