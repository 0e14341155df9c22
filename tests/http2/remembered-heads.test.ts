import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RequestHead, ResponseHead } from '../../src/http/message.ts';
import { HEAD_OK, HEAD_UNDECODABLE, HeadReader } from '../../src/http2/head-reader.ts';
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts';
import { REMEMBERED_BYTES } from '../../src/http2/remembered-heads.ts';
import { DEFAULT_SETTINGS } from '../../src/http2/settings.ts';
import { Http2Workspace, workspaceBytes } from '../../src/http2/workspace.ts';
import { block as plain } from './raw-frames.ts';

const LIST_BYTES_MAX = DEFAULT_SETTINGS.maxHeaderListSize;
const WORKSPACE_BYTES = workspaceBytes(DEFAULT_SETTINGS);
const ROOM = 4096;

/** Connections that share a workspace: what their blocks become, and how many of them were known. */
class Readers {
  readonly bytes = Buffer.alloc(WORKSPACE_BYTES + ROOM);
  readonly workspace = new Http2Workspace(this.bytes, 0, DEFAULT_SETTINGS);
  readonly decoders: HpackDecoder[] = [];
  readonly heads: HeadReader[] = [];
  known = 0;

  constructor(remembers: boolean, connections: number) {
    const { remembered } = this.workspace;
    const find = remembered.find.bind(remembered);
    remembered.find = (...found) => {
      const head = remembers ? find(...found) : null;
      if (head !== null) this.known++;
      return head;
    };
    for (let index = 0; index < connections; index++) {
      const decoder = new HpackDecoder();
      this.decoders.push(decoder);
      this.heads.push(new HeadReader(this.workspace, decoder, LIST_BYTES_MAX, 8));
    }
  }

  request(connection: number, block: Uint8Array, ended: boolean): unknown {
    const head = new RequestHead(this.bytes);
    const reader = this.heads[connection];
    this.bytes.set(block, WORKSPACE_BYTES);
    const to = WORKSPACE_BYTES + block.length;
    const result = reader.readRequest(head, this.bytes, WORKSPACE_BYTES, to, ended, true);
    return result === HEAD_OK ? { ...this.told(head, reader.start), priority: reader.priority } : result;
  }

  response(connection: number, block: Uint8Array, ended: boolean): unknown {
    const head = new ResponseHead(this.bytes);
    const reader = this.heads[connection];
    this.bytes.set(block, WORKSPACE_BYTES);
    const to = WORKSPACE_BYTES + block.length;
    const result = reader.readResponse(head, this.bytes, WORKSPACE_BYTES, to, ended, false);
    return result === HEAD_OK ? this.told(head, reader.start) : result;
  }

  /** All of a head, whose positions are told from where what was decoded begins. */
  private told(head: RequestHead | ResponseHead, start: number): Record<string, unknown> {
    const { fields } = head;
    const told: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(head)) {
      if (typeof value === 'number' || typeof value === 'boolean') told[key] = value;
    }
    if (head instanceof RequestHead) {
      told['method'] = this.text(head.methodOffset, head.methodLength);
      told['authority'] = this.text(head.authorityOffset, head.authorityLength);
      told['path'] = this.text(head.pathOffset, head.pathLength);
      told['query'] = head.queryOffset < 0 ? null : this.text(head.queryOffset, head.queryLength);
      for (const key of ['methodOffset', 'authorityOffset', 'pathOffset', 'queryOffset']) delete told[key];
    }
    told['fields'] = Array.from({ length: fields.count }, (_, index) => [
      fields.id(index),
      fields.nameOffset(index) - start,
      this.text(fields.nameOffset(index), fields.nameLength(index)),
      this.text(fields.valueOffset(index), fields.valueLength(index)),
    ]);
    told['seen'] = [fields.seenLow, fields.seenHigh];
    return told;
  }

  private text(at: number, length: number): string {
    return this.bytes.latin1Slice(at, at + length);
  }
}

const text = (value: string): Buffer => Buffer.concat([Buffer.of(value.length), Buffer.from(value)]);
/** With an entry in the table. */
const inserting = (name: string, value: string): Buffer =>
  Buffer.concat([Buffer.of(0x40), text(name), text(value)]);
const GET = Buffer.of(0x82, 0x86, 0x84);
const AUTHORITY = Buffer.concat([Buffer.of(0x01), text('example.com')]);
const REQUEST = Buffer.concat([GET, AUTHORITY]);
const OK = Buffer.of(0x88);

function thrice(readers: Readers, block: Uint8Array): unknown[] {
  return [0, 1, 2].map(() => readers.request(0, block, true));
}

describe('a head that was decoded before', () => {
  it('is known when its block comes for the third time', () => {
    const readers = new Readers(true, 1);
    const [first, second, third] = thrice(readers, REQUEST);
    assert.equal(readers.known, 1);
    assert.deepEqual(second, first);
    assert.deepEqual(third, first);
  });

  it('is not known to another connection', () => {
    const readers = new Readers(true, 2);
    thrice(readers, REQUEST);
    readers.request(1, REQUEST, true);
    assert.equal(readers.known, 1);
  });

  it('is another where the stream goes on', () => {
    const readers = new Readers(true, 1);
    thrice(readers, REQUEST);
    assert.notDeepEqual(readers.request(0, REQUEST, false), readers.request(0, REQUEST, true));
    assert.equal(readers.known, 2);
  });

  it('inserts into the table each time', () => {
    const readers = new Readers(true, 1);
    const block = Buffer.concat([OK, inserting('a', '1'), inserting('b', '2')]);
    for (let time = 0; time < 5; time++) readers.response(0, block, true);
    assert.equal(readers.known, 3);
    // The newest of ten entries is b, the oldest a; there is no eleventh.
    const names = (index: number): unknown => readers.response(0, Buffer.of(0x88, 0x80 | (61 + index)), true);
    assert.match(JSON.stringify(names(1)), /"b","2"/);
    assert.match(JSON.stringify(names(10)), /"a","1"/);
    assert.equal(names(11), HEAD_UNDECODABLE);
  });

  it('is decoded again where the table is another, to which it refers', () => {
    const readers = new Readers(true, 1);
    readers.response(0, Buffer.concat([OK, inserting('a', '1')]), true);
    const refers = Buffer.of(0x88, 0x90, 0x91, 0xbe);
    for (let time = 0; time < 3; time++)
      assert.match(JSON.stringify(readers.response(0, refers, true)), /"a","1"/);
    assert.equal(readers.known, 1);
    readers.response(0, Buffer.concat([OK, inserting('b', '2')]), true);
    assert.match(JSON.stringify(readers.response(0, refers, true)), /"b","2"/);
    assert.equal(readers.known, 1);
  });

  it('is an error where the table was to shrink first (RFC 7541 §4.2)', () => {
    const readers = new Readers(true, 1);
    thrice(readers, REQUEST);
    readers.decoders[0].allowTable(0);
    assert.equal(readers.request(0, REQUEST, true), HEAD_UNDECODABLE);
  });

  it('gives way to others, of which there may be any number', () => {
    const readers = new Readers(true, 1);
    const count = (4 * REMEMBERED_BYTES) / 768;
    const paths = Array.from({ length: count }, (_, index) =>
      plain([
        [':method', 'GET'],
        [':scheme', 'http'],
        [':authority', 'example.com'],
        [':path', `/${index}`],
      ]),
    );
    for (let time = 0; time < 2; time++) {
      for (const [index, path] of paths.entries()) {
        for (const head of thrice(readers, path))
          assert.match(JSON.stringify(head), new RegExp(`"/${index}"`));
      }
    }
    assert.ok(readers.known >= count);
  });

  it('is what it would be without being remembered, whatever came between', () => {
    const name = fc.constantFrom(
      'a',
      'cookie',
      'te',
      'priority',
      'x_other',
      'user-agent',
      'accept',
      'server',
      'date',
    );
    const value = fc.constantFrom('', '1', 'u=1', 'trailers', 'trailers', 'x'.repeat(70));
    const field = fc.oneof(
      fc.tuple(name, value).map(([each, text]) => inserting(each, text)),
      fc.tuple(name, value).map((one) => plain([one])),
      fc.integer({ min: 62, max: 64 }).map((index) => Buffer.of(0x80 | index)),
      fc.integer({ min: 15, max: 27 }).map((index) => Buffer.of(0x80 | index)),
      // A name of the table, a value of its own.
      fc
        .tuple(fc.integer({ min: 62, max: 66 }), value)
        .map(([index, own]) => Buffer.concat([Buffer.of(0x0f, index - 15), text(own)])),
    );
    const fields = fc.array(field, { maxLength: 3 }).map((all) => Buffer.concat(all));
    const size = fc.constantFrom(Buffer.alloc(0), Buffer.of(0x20), Buffer.of(0x3f, 0x81, 0x1f));
    const starts = fc.oneof(
      { weight: 9, arbitrary: fc.constant(Buffer.alloc(0)) },
      { weight: 1, arbitrary: size },
    );
    const blocks = fc.array(fc.tuple(starts, fields), { minLength: 1, maxLength: 5 });
    const turn = fc.record({
      which: fc.nat(4),
      times: fc.integer({ min: 1, max: 5 }),
      connection: fc.nat(1),
      isRequest: fc.boolean(),
      ended: fc.boolean(),
      allowed: fc.option(fc.constantFrom(0, 64, 4096), { freq: 12 }),
    });
    let known = 0;
    fc.assert(
      fc.property(blocks, fc.array(turn, { maxLength: 30 }), (all, turns) => {
        const one = new Readers(true, 2);
        const other = new Readers(false, 2);
        // Entries to refer to.
        const first = Buffer.concat([OK, inserting('a', '1'), inserting('b', '2'), inserting('c', '3')]);
        for (const readers of [one, other])
          for (const connection of [0, 1]) readers.response(connection, first, true);
        const dead = [false, false];
        for (const { which, times, connection, isRequest, ended, allowed } of turns) {
          const [start, rest] = all[which % all.length];
          const block = Buffer.concat([start, isRequest ? REQUEST : OK, rest]);
          if (allowed !== null)
            for (const readers of [one, other]) readers.decoders[connection].allowTable(allowed);
          for (let time = 0; time < times && !dead[connection]; time++) {
            const read = (readers: Readers): unknown =>
              isRequest
                ? readers.request(connection, block, ended)
                : readers.response(connection, block, ended);
            const result = read(one);
            assert.deepEqual(result, read(other));
            dead[connection] = result === HEAD_UNDECODABLE;
          }
        }
        known += one.known;
      }),
      { numRuns: 2000 },
    );
    assert.ok(known > 400, `only ${known} were known`);
  });
});
