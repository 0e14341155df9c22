/**
 * The cost of HTTP/1.1 heads: nanoseconds to parse one, and to parse it, remove what ends at this hop and
 * write it out again, for a head as load generators send it and one as browsers do; a response likewise; and
 * a small chunked body. Medians of rounds; heads cycle through places in the arena as received ones do.
 * Prints bytes of heap that each operation leaves behind, too: it must be none.
 */

import { M_GET, RequestHead, ResponseHead } from '../../src/http/message.ts';
import { B_DATA, BodyDecoder } from '../../src/http1/body-decoder.ts';
import { removeHopByHop } from '../../src/http1/hop-by-hop.ts';
import { type HeadLimits, RequestParser } from '../../src/http1/request-parser.ts';
import { ResponseParser } from '../../src/http1/response-parser.ts';
import {
  writeFields,
  writeLineEnd,
  writeMethod,
  writeRange,
  writeStatusLine,
  writeVersion,
} from '../../src/http1/writer.ts';

const LIMITS: HeadLimits = { requestLineBytesMax: 8192, headBytesMax: 8192, fieldsMax: 128 };
const PLACE_BYTES = 4096;
/** Places that the input cycles through, and the one that output goes to. */
const PLACES = 64;
const OUTPUT = PLACES * PLACE_BYTES;
const ROUNDS = 15;
const OPERATIONS = 200_000;

const LOAD_GENERATOR = [
  'GET /path/of/a/page HTTP/1.1',
  'Host: 127.0.0.1:9104',
  'User-Agent: wrk/4.2.0',
  'Accept: */*',
  'Connection: keep-alive',
  '',
  '',
].join('\r\n');

const BROWSER = [
  'GET /articles/2024/an-ordinary-page.html?utm_source=newsletter&id=58213 HTTP/1.1',
  'Host: www.example.com',
  'Connection: keep-alive',
  'Cache-Control: max-age=0',
  'sec-ch-ua: "Chromium";v="136", "Not.A/Brand";v="99"',
  'sec-ch-ua-mobile: ?0',
  'sec-ch-ua-platform: "Linux"',
  'Upgrade-Insecure-Requests: 1',
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/136.0.0.0 Safari/537.36',
  'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
  'Sec-Fetch-Site: same-origin',
  'Sec-Fetch-Mode: navigate',
  'Referer: https://www.example.com/articles/',
  'Accept-Encoding: gzip, deflate, br, zstd',
  'Accept-Language: en-GB,en;q=0.9',
  'Cookie: session=0f8fad5b-d9cb-469f-a165-70867728950e; theme=dark',
  '',
  '',
].join('\r\n');

const RESPONSE = [
  'HTTP/1.1 200 OK',
  'Server: nginx/1.22.1',
  'Date: Tue, 03 Jun 2025 08:12:31 GMT',
  'Content-Type: text/html; charset=utf-8',
  'Content-Length: 1024',
  'Last-Modified: Mon, 02 Jun 2025 10:00:00 GMT',
  'Connection: keep-alive',
  'ETag: "683d7a60-400"',
  'Accept-Ranges: bytes',
  '',
  '',
].join('\r\n');

const CHUNKED = `400\r\n${'x'.repeat(1024)}\r\n0\r\n\r\n`;

const arena = new Uint8Array((PLACES + 1) * PLACE_BYTES);
const memory = { bytes: arena, view: new DataView(arena.buffer, arena.byteOffset, arena.length) };

/** Puts the input at every place; returns its length. */
function fill(input: string): number {
  const bytes = Buffer.from(input, 'latin1');
  for (let place = 0; place < PLACES; place++) arena.set(bytes, place * PLACE_BYTES);
  return bytes.length;
}

/** One operation on the input at `offset`; its result must be positive. */
type Operation = (offset: number, length: number) => number;

function measure(name: string, input: string, operation: Operation): void {
  const length = fill(input);
  const rounds: number[] = [];
  let heapBytes = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const isLast = round === ROUNDS - 1;
    if (isLast) globalThis.gc?.();
    const heapBefore = process.memoryUsage().heapUsed;
    const began = performance.now();
    for (let index = 0; index < OPERATIONS; index++) {
      const result = operation((index & (PLACES - 1)) * PLACE_BYTES, length);
      if (result <= 0) throw new Error(`${name}: ${result}`);
    }
    rounds.push(((performance.now() - began) * 1e6) / OPERATIONS);
    if (isLast) heapBytes = (process.memoryUsage().heapUsed - heapBefore) / OPERATIONS;
  }
  rounds.sort((a, b) => a - b);
  const median = rounds[ROUNDS >> 1];
  const columns = [
    name.padEnd(44),
    `${length} B`.padStart(7),
    `${median.toFixed(0)} ns`.padStart(9),
    `${(median / length).toFixed(2)} ns/B`.padStart(11),
    `${heapBytes.toFixed(2)} heap B`.padStart(13),
  ];
  process.stdout.write(`${columns.join(' ')}\n`);
}

const requestParser = new RequestParser(LIMITS);
const requestHead = new RequestHead(arena);
const responseParser = new ResponseParser(LIMITS);
const responseHead = new ResponseHead(arena);
const decoder = new BodyDecoder();

function parseRequest(offset: number, length: number): number {
  return requestParser.parse(requestHead, arena, offset, offset + length);
}

function forwardRequest(offset: number, length: number): number {
  if (parseRequest(offset, length) <= 0) return -1;
  const limit = OUTPUT + PLACE_BYTES;
  removeHopByHop(requestHead.fields, false);
  let at = writeMethod(memory, OUTPUT, limit, requestHead);
  at = writeRange(memory, at, limit, requestHead.pathOffset, requestHead.pathLength);
  at = writeVersion(memory, at, limit);
  at = writeFields(memory, at, limit, requestHead.fields);
  return writeLineEnd(memory, at, limit);
}

function parseResponse(offset: number, length: number): number {
  return responseParser.parse(responseHead, M_GET, arena, offset, offset + length);
}

function forwardResponse(offset: number, length: number): number {
  if (parseResponse(offset, length) <= 0) return -1;
  const limit = OUTPUT + PLACE_BYTES;
  removeHopByHop(responseHead.fields, false);
  let at = writeStatusLine(
    memory,
    OUTPUT,
    limit,
    responseHead.status,
    responseHead.reasonOffset,
    responseHead.reasonLength,
  );
  at = writeFields(memory, at, limit, responseHead.fields);
  return writeLineEnd(memory, at, limit);
}

function decodeChunked(offset: number, length: number): number {
  decoder.start(2, -1);
  const end = offset + length;
  let at = offset;
  let result = decoder.decode(arena, at, end);
  while (result === B_DATA) {
    at += decoder.consumed;
    result = decoder.decode(arena, at, end);
  }
  return result;
}

measure('parse, load generator, 4 fields', LOAD_GENERATOR, parseRequest);
measure('parse and write, load generator', LOAD_GENERATOR, forwardRequest);
measure('parse, browser, 15 fields', BROWSER, parseRequest);
measure('parse and write, browser', BROWSER, forwardRequest);
measure('parse, response, 8 fields', RESPONSE, parseResponse);
measure('parse and write, response', RESPONSE, forwardResponse);
measure('decode, one chunk of 1 KiB', CHUNKED, decodeChunked);
