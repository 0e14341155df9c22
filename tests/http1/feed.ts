/**
 * Feeds the engine's parsers in all the ways a network can: whole, in two pieces at each boundary, byte by
 * byte, and with the bytes moved to another place between two pieces. What lies behind the bytes that have
 * "arrived" is garbage, so that a parser that reads ahead is found out.
 */

import assert from 'node:assert/strict';
import { FAULTS } from '../../src/http/fault.ts';
import type { FieldSection } from '../../src/http/fields.ts';
import { F_REMOVED, latin1 } from '../../src/http/fields.ts';
import { RequestHead, ResponseHead } from '../../src/http/message.ts';
import { B_DATA, B_END, B_NEED_MORE, BodyDecoder } from '../../src/http1/body-decoder.ts';
import { RecentHeads } from '../../src/http1/recent-heads.ts';
import { type HeadLimits, RequestParser } from '../../src/http1/request-parser.ts';
import { ResponseParser } from '../../src/http1/response-parser.ts';

export const LIMITS: HeadLimits = { requestLineBytesMax: 4096, headBytesMax: 8192, fieldsMax: 64 };
/** Bytes before the head, so that offset 0 is not special. */
const LEAD = 37;
/** How far a move goes. */
const MOVE = 20011;

export interface RequestSummary {
  /** Length of the head; NEED_MORE; or a fault's code. */
  result: number;
  method: string;
  form: number;
  scheme: number;
  path: string;
  query: string | null;
  authority: string;
  version: number;
  bodyKind: number;
  contentLength: number;
  expectContinue: boolean;
  upgrade: string | null;
  acceptsTrailers: boolean;
  closeAfter: boolean;
  fields: [string, string][];
}

export interface ResponseSummary {
  result: number;
  detail: number;
  status: number;
  reason: string;
  version: number;
  bodyKind: number;
  contentLength: number;
  closeAfter: boolean;
  upgrade: string | null;
  fields: [string, string][];
}

export interface BodySummary {
  /** B_END, B_NEED_MORE, or a fault's code. */
  result: number;
  content: string;
  /** Bytes used, framing included, when the body has ended. */
  used: number;
  trailers: [string, string][];
}

/** Bytes of a string of Latin-1 characters. */
export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

export function fieldList(fields: FieldSection): [string, string][] {
  const list: [string, string][] = [];
  for (let index = 0; index < fields.count; index++) {
    if (fields.id(index) !== F_REMOVED) list.push([fields.nameText(index), fields.valueText(index)]);
  }
  return list;
}

/** A fault by its word, so that a failing comparison can be read. */
export function nameOf(result: number): string | number {
  return result < 0 ? FAULTS[-result].word : result;
}

interface IncrementalParser {
  parse(bytes: Uint8Array, start: number, end: number): number;
  rebase(delta: number): void;
}

/** Gives `input` to a parser in pieces that end at `cuts`; returns the first result that is not NEED_MORE. */
function feed(
  parser: IncrementalParser,
  arena: Buffer,
  input: Buffer,
  cuts: number[],
  move: boolean,
): number {
  let start = LEAD;
  let had = 0;
  arena.fill(0x0a);
  for (const cut of [...cuts, input.length]) {
    if (move && had > 0) {
      const to = start === LEAD ? LEAD + MOVE : LEAD;
      arena.copyWithin(to, start, start + had);
      arena.fill(0x0a, start, start + had);
      parser.rebase(to - start);
      start = to;
    }
    input.copy(arena, start + had, had, cut);
    had = cut;
    const result = parser.parse(arena, start, start + had);
    if (result !== 0) return result;
  }
  return 0;
}

const arena = Buffer.alloc(65536);
/** Of all heads of a process. */
const recentHeads = new RecentHeads();

/**
 * Parses with and without the memory of heads that came lately, which must make no difference: neither where it is full of
 * others, nor where it is empty, nor when it knows this one.
 */
export function parseRequest(
  input: Buffer,
  cuts: number[] = [],
  move = false,
  limits: HeadLimits = LIMITS,
): RequestSummary {
  const summary = requestOf(input, cuts, move, limits, null);
  const own = new RecentHeads();
  for (const recent of [recentHeads, own, own])
    assert.deepEqual(requestOf(input, cuts, move, limits, recent), summary, 'what is remembered matters');
  return summary;
}

function requestOf(
  input: Buffer,
  cuts: number[],
  move: boolean,
  limits: HeadLimits,
  recent: RecentHeads | null,
): RequestSummary {
  const parser = new RequestParser(limits, recent);
  const head = new RequestHead(arena);
  const result = feed(
    {
      parse: (bytes, start, end) => parser.parse(head, bytes, start, end),
      rebase: (delta) => parser.rebase(delta),
    },
    arena,
    input,
    cuts,
    move,
  );
  if (result <= 0) return { ...NO_REQUEST, result };
  return {
    result,
    method: latin1(arena, head.methodOffset, head.methodLength),
    form: head.targetForm,
    scheme: head.scheme,
    path: latin1(arena, head.pathOffset, head.pathLength),
    query: head.queryOffset < 0 ? null : latin1(arena, head.queryOffset, head.queryLength),
    authority: latin1(arena, head.authorityOffset, head.authorityLength),
    version: head.version,
    bodyKind: head.bodyKind,
    contentLength: head.contentLength,
    expectContinue: head.expectContinue,
    upgrade: head.upgradeIndex < 0 ? null : head.fields.valueText(head.upgradeIndex),
    acceptsTrailers: head.acceptsTrailers,
    closeAfter: parser.closeAfter,
    fields: fieldList(head.fields),
  };
}

const NO_REQUEST: RequestSummary = {
  result: 0,
  method: '',
  form: 0,
  scheme: 0,
  path: '',
  query: null,
  authority: '',
  version: 0,
  bodyKind: 0,
  contentLength: 0,
  expectContinue: false,
  upgrade: null,
  acceptsTrailers: false,
  closeAfter: false,
  fields: [],
};

/** As `parseRequest`. */
export function parseResponse(
  input: Buffer,
  methodId: number,
  cuts: number[] = [],
  move = false,
  limits: HeadLimits = LIMITS,
): ResponseSummary {
  const summary = responseOf(input, methodId, cuts, move, limits, null);
  const own = new RecentHeads();
  for (const recent of [recentHeads, own, own])
    assert.deepEqual(
      responseOf(input, methodId, cuts, move, limits, recent),
      summary,
      'what is remembered matters',
    );
  return summary;
}

function responseOf(
  input: Buffer,
  methodId: number,
  cuts: number[],
  move: boolean,
  limits: HeadLimits,
  recent: RecentHeads | null,
): ResponseSummary {
  const parser = new ResponseParser(limits, recent);
  const head = new ResponseHead(arena);
  const result = feed(
    {
      parse: (bytes, start, end) => parser.parse(head, methodId, bytes, start, end),
      rebase: (delta) => parser.rebase(delta),
    },
    arena,
    input,
    cuts,
    move,
  );
  if (result <= 0) return { ...NO_RESPONSE, result, detail: parser.detail };
  return {
    result,
    detail: parser.detail,
    status: head.status,
    reason: latin1(arena, head.reasonOffset, head.reasonLength),
    version: head.version,
    bodyKind: head.bodyKind,
    contentLength: head.contentLength,
    closeAfter: parser.closeAfter,
    upgrade: head.upgradeIndex < 0 ? null : head.fields.valueText(head.upgradeIndex),
    fields: fieldList(head.fields),
  };
}

const NO_RESPONSE: ResponseSummary = {
  result: 0,
  detail: 0,
  status: 0,
  reason: '',
  version: 0,
  bodyKind: 0,
  contentLength: 0,
  closeAfter: false,
  upgrade: null,
  fields: [],
};

/** Decodes a body that arrives in pieces ending at `cuts`, each piece in a buffer of its own. */
export function decodeBody(
  input: Buffer,
  bodyKind: number,
  contentLength: number,
  cuts: number[] = [],
): BodySummary {
  const decoder = new BodyDecoder();
  decoder.start(bodyKind, contentLength);
  const content: string[] = [];
  let used = 0;
  let had = 0;
  let result = B_NEED_MORE;
  for (const cut of [...cuts, input.length]) {
    const piece = Buffer.alloc(cut - had + 16, 0x0a);
    input.copy(piece, 8, had, cut);
    let at = 8;
    const end = 8 + cut - had;
    had = cut;
    for (;;) {
      result = decoder.decode(piece, at, end);
      if (result < 0) return { result, content: content.join(''), used: 0, trailers: [] };
      assert.ok(decoder.consumed >= 0 && at + decoder.consumed <= end, 'consumed is out of range');
      if (result === B_DATA) {
        assert.ok(decoder.dataLength > 0, 'empty content delivered');
        assert.ok(
          decoder.dataOffset >= at && decoder.dataOffset + decoder.dataLength <= at + decoder.consumed,
        );
        content.push(latin1(piece, decoder.dataOffset, decoder.dataLength));
      }
      used += decoder.consumed;
      at += decoder.consumed;
      if (result !== B_DATA) break;
    }
    if (result === B_END) break;
    assert.equal(at, end, 'more is asked for before all input is used');
  }
  const text = content.join('');
  assert.equal(decoder.dataBytes, text.length);
  return {
    result,
    content: text,
    used: result === B_END ? used : 0,
    trailers: result === B_END ? fieldList(decoder.trailers) : [],
  };
}

/** Runs `parse` with every way to cut `length` bytes in two, byte by byte, and with moves; all must give `expected`. */
export function everySplit<T>(
  length: number,
  parse: (cuts: number[], move: boolean) => T,
  expected: T,
): void {
  for (let cut = 1; cut < length; cut++) {
    assert.deepEqual(parse([cut], false), expected, `split at byte ${cut}`);
    assert.deepEqual(parse([cut], true), expected, `split and moved at byte ${cut}`);
  }
  const bytewise = Array.from({ length: Math.max(0, length - 1) }, (_, index) => index + 1);
  assert.deepEqual(parse(bytewise, false), expected, 'byte by byte');
  assert.deepEqual(parse(bytewise, true), expected, 'byte by byte, moved each time');
}
