import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { F_CONTENT_LENGTH, F_HOST, FieldSection, latin1 } from '../../src/http/fields.ts';
import { RequestHead } from '../../src/http/message.ts';
import { RequestParser } from '../../src/http1/request-parser.ts';
import * as writer from '../../src/http1/writer.ts';
import { LIMITS } from './feed.ts';
import { blanks, fieldValue, holds, token } from './fuzzing.ts';

const AT = 1000;
const arena = Buffer.alloc(4096);
const memory = { bytes: arena, view: new DataView(arena.buffer, arena.byteOffset, arena.length) };

/** What `write` writes; checks that every smaller limit is refused, and that nothing is written beyond the end. */
function written(write: (at: number, limit: number) => number): string {
  arena.fill(0x23, AT);
  const end = write(AT, arena.length);
  assert.ok(end > AT);
  const text = latin1(arena, AT, end - AT);
  assert.equal(arena[end], 0x23);
  for (let limit = AT; limit < end; limit++) {
    arena.fill(0x23, AT);
    assert.equal(write(AT, limit), -1, `limit ${limit - AT} of ${end - AT}`);
    for (let at = limit; at < end; at++) assert.equal(arena[at], 0x23, 'written beyond the limit');
  }
  assert.equal(write(AT, end), end, 'does not fit exactly');
  assert.equal(write(-1, arena.length), -1, 'a failure is not passed on');
  return text;
}

function parsed(text: string): RequestHead {
  const length = arena.write(text, 0, 'latin1');
  const head = new RequestHead(arena);
  assert.equal(new RequestParser(LIMITS).parse(head, arena, 0, length), length);
  return head;
}

test('writes a status line with the standard phrase', () => {
  assert.equal(
    written((at, limit) => writer.writeStatusLine(memory, at, limit, 200, 0, 0)),
    'HTTP/1.1 200 OK\r\n',
  );
});

test('writes a status line without a phrase where there is none', () => {
  assert.equal(
    written((at, limit) => writer.writeStatusLine(memory, at, limit, 299, 0, 0)),
    'HTTP/1.1 299 \r\n',
  );
});

test('writes the phrase that was received', () => {
  arena.write('Fine', 0, 'latin1');
  const line = written((at, limit) => writer.writeStatusLine(memory, at, limit, 200, 0, 4));
  assert.equal(line, 'HTTP/1.1 200 Fine\r\n');
});

test('writes the parts of a request line', () => {
  const head = parsed('PROPFIND /x HTTP/1.0\r\n\r\n');
  const line = written((at, limit) => {
    let next = writer.writeMethod(memory, at, limit, head);
    next = writer.writeRange(memory, next, limit, head.pathOffset, head.pathLength);
    return writer.writeVersion(memory, next, limit);
  });
  assert.equal(line, 'PROPFIND /x HTTP/1.1\r\n');
});

test('writes single fields', () => {
  arena.write('a.example', 0, 'latin1');
  assert.equal(
    written((at, limit) => writer.writeField(memory, at, limit, F_HOST, 0, 9)),
    'Host: a.example\r\n',
  );
  assert.equal(
    written((at, limit) => writer.writeFieldText(memory, at, limit, F_HOST, 'b\xff')),
    'Host: b\xff\r\n',
  );
  assert.equal(
    written((at, limit) => writer.writeFieldDecimal(memory, at, limit, F_CONTENT_LENGTH, 9007199254740991)),
    'Content-Length: 9007199254740991\r\n',
  );
  assert.equal(
    written((at, limit) => writer.writeNamedField(memory, at, limit, 'X-Y', 'z')),
    'X-Y: z\r\n',
  );
});

const SECTIONS: { name: string; lines: string; remove: number[]; expected: string }[] = [
  { name: 'all fields', lines: 'A: 1\r\nB: 2\r\n', remove: [], expected: 'Host: h\r\nA: 1\r\nB: 2\r\n' },
  { name: 'fields without the first', lines: 'A: 1\r\nB: 2\r\n', remove: [0], expected: 'A: 1\r\nB: 2\r\n' },
  {
    name: 'fields without one in the middle',
    lines: 'A: 1\r\nB: 2\r\n',
    remove: [1],
    expected: 'Host: h\r\nB: 2\r\n',
  },
  {
    name: 'fields without the last',
    lines: 'A: 1\r\nB: 2\r\n',
    remove: [2],
    expected: 'Host: h\r\nA: 1\r\n',
  },
  {
    name: 'blanks in the one right way',
    lines: 'A:1\r\nB: \t2 \r\nC:\r\nD: \r\n',
    remove: [],
    expected: 'Host: h\r\nA: 1\r\nB: 2\r\nC: \r\nD: \r\n',
  },
  {
    name: 'a tab after the colon as a space',
    lines: 'A:\t1\r\nB: 2\r\n',
    remove: [],
    expected: 'Host: h\r\nA: 1\r\nB: 2\r\n',
  },
  {
    name: 'no field that the parser dropped',
    lines: 'X_Real_IP: 1\r\nB: 2\r\n',
    remove: [],
    expected: 'Host: h\r\nB: 2\r\n',
  },
];

for (const { name, lines, remove, expected } of SECTIONS) {
  test(`writes ${name}`, () => {
    const head = parsed(`GET / HTTP/1.1\r\nHost: h\r\n${lines}\r\n`);
    for (const index of remove) head.fields.remove(index);
    assert.equal(
      written((at, limit) => writer.writeFields(memory, at, limit, head.fields)),
      expected,
    );
  });
}

test('writes the authority of an absolute-form target as Host', () => {
  const head = parsed('GET http://b/ HTTP/1.1\r\nA: 1\r\nHost: h\r\nC: 2\r\n\r\n');
  const text = written((at, limit) => writer.writeFields(memory, at, limit, head.fields));
  assert.equal(text, 'A: 1\r\nHost: b\r\nC: 2\r\n');
});

test('does not take two fields two bytes apart for one line after the other', () => {
  const section = new FieldSection(arena);
  arena.write('A: 1xxB: 2', 0, 'latin1');
  section.add(0, 1, 3, 1, 0);
  section.add(6, 1, 9, 1, 0);
  const text = written((at, limit) => writer.writeFields(memory, at, limit, section));
  assert.equal(text, 'A: 1\r\nB: 2\r\n');
});

test('writes nothing of an empty section', () => {
  assert.equal(writer.writeFields(memory, AT, AT, new FieldSection(arena)), AT);
});

test('writes chunk headers', () => {
  assert.equal(
    written((at, limit) => writer.writeChunkHeader(memory, at, limit, 1)),
    '1\r\n',
  );
  assert.equal(
    written((at, limit) => writer.writeChunkHeader(memory, at, limit, 65536)),
    '10000\r\n',
  );
  assert.equal(
    written((at, limit) => writer.writeChunkHeader(memory, at, limit, Number.MAX_SAFE_INTEGER)),
    '1fffffffffffff\r\n',
  );
});

test('writes the last chunk with trailers from memory of their own', () => {
  const trailers = new FieldSection(Buffer.from('A: 1\r\nB: 2\r\nC: 3\r\n'));
  trailers.add(0, 1, 3, 1, 0);
  trailers.add(6, 1, 9, 1, 0);
  trailers.add(12, 1, 15, 1, 0);
  trailers.remove(1);
  const text = written((at, limit) => writer.writeLastChunk(memory, at, limit, trailers));
  assert.equal(text, '0\r\nA: 1\r\nC: 3\r\n\r\n');
});

test('what is written parses to what was read', () => {
  const lines = fc.array(fc.tuple(token, blanks, fieldValue, blanks), {
    maxLength: 10,
  });
  holds(
    'tests/http1/writer.test.ts',
    fc.tuple(lines, fc.array(fc.nat(9), { maxLength: 3 })),
    ([list, remove]) => {
      const text = list
        .map(([name, before, value, after]) => `x${name}:${before}${value}${after}\r\n`)
        .join('');
      const head = parsed(`GET / HTTP/1.1\r\nHost: h\r\n${text}\r\n`);
      for (const index of remove) if (index + 1 < head.fields.count) head.fields.remove(index + 1);
      const expected = list
        .filter((_, index) => !remove.includes(index) && head.fields.id(index + 1) >= 0)
        .map(([name, , value]) => `x${name}: ${value}\r\n`);
      const end = writer.writeFields(memory, AT, arena.length, head.fields);
      assert.equal(latin1(arena, AT, end - AT), `Host: h\r\n${expected.join('')}`);
    },
  );
});
