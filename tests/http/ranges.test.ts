import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RANGE_IGNORED, RANGE_UNSATISFIABLE, RANGES_MAX, RangeSet } from '../../src/http/ranges.ts';
import { embed } from './section.ts';

function parse(value: string, size: number): { result: number; parts: number[][] } {
  const set = new RangeSet();
  const { bytes, offset, length } = embed(value);
  const result = set.parse(bytes, offset, length, size);
  const parts = Array.from({ length: Math.max(result, 0) }, (_, i) => [set.starts[i], set.ends[i] - 1]);
  return { result, parts };
}

// RFC 9110 §14.1.2 and §14.2; parts are first and last byte, inclusive.
const SATISFIABLE: readonly { value: string; size: number; parts: number[][] }[] = [
  { value: 'bytes=0-499', size: 10000, parts: [[0, 499]] },
  { value: 'bytes=500-999', size: 10000, parts: [[500, 999]] },
  { value: 'bytes=-500', size: 10000, parts: [[9500, 9999]] },
  { value: 'bytes=9500-', size: 10000, parts: [[9500, 9999]] },
  {
    value: 'bytes=0-0,-1',
    size: 10000,
    parts: [
      [0, 0],
      [9999, 9999],
    ],
  },
  {
    value: 'bytes= 0-999, 4500-5499, -1000',
    size: 10000,
    parts: [
      [0, 999],
      [4500, 5499],
      [9000, 9999],
    ],
  },
  { value: 'bytes=500-600,601-999', size: 10000, parts: [[500, 999]] },
  { value: 'bytes=500-700,601-999', size: 10000, parts: [[500, 999]] },
  { value: 'BYTES=0-1', size: 10, parts: [[0, 1]] },
  { value: 'bytes=0-', size: 1, parts: [[0, 0]] },
  { value: 'bytes=5-100', size: 10, parts: [[5, 9]] },
  { value: 'bytes=-100', size: 10, parts: [[0, 9]] },
  { value: 'bytes=0-99999999999999999999999', size: 10, parts: [[0, 9]] },
  { value: 'bytes=20-30,0-1', size: 10, parts: [[0, 1]] },
  { value: 'bytes=-0,3-4', size: 10, parts: [[3, 4]] },
  {
    value: 'bytes=0-1,,4-5,',
    size: 10,
    parts: [
      [0, 1],
      [4, 5],
    ],
  },
  {
    value: 'bytes=6-7,0-1',
    size: 10,
    parts: [
      [6, 7],
      [0, 1],
    ],
  },
  { value: 'bytes=0-1,8-9,1-8', size: 10, parts: [[0, 9]] },
  { value: 'bytes=4294967296-4294967297', size: 5e9, parts: [[4294967296, 4294967297]] },
];

const IGNORED: readonly string[] = [
  '',
  'bytes',
  'bytes=',
  'bytes=,',
  'bytes 0-1',
  'octets=0-1',
  'bytes=-',
  'bytes=x-1',
  'bytes=0-x',
  'bytes=1',
  'bytes=5-4',
  'bytes=0-1,5-4',
  'bytes=+0-1',
  'bytes=0--1',
  'bytes=--1',
  'bytes=0 -1',
  'bytes=0- 1',
  'bytes=0-1;2-3',
  'bytes=0-1 2-3',
  'bytes=0x0-1',
  'bytes=0.0-1',
];

const UNSATISFIABLE: readonly { value: string; size: number }[] = [
  { value: 'bytes=10-', size: 10 },
  { value: 'bytes=10-20', size: 10 },
  { value: 'bytes=-0', size: 10 },
  { value: 'bytes=10-,20-30,-0', size: 10 },
  { value: 'bytes=0-', size: 0 },
  { value: 'bytes=0-0', size: 0 },
  { value: 'bytes=99999999999999999999999-', size: 10 },
];

describe('ranges', () => {
  for (const { value, size, parts } of SATISFIABLE) {
    it(`${value} of ${size} bytes`, () => assert.deepEqual(parse(value, size).parts, parts));
  }
  for (const value of IGNORED) {
    it(`ignores "${value}"`, () => assert.equal(parse(value, 10).result, RANGE_IGNORED));
  }
  for (const { value, size } of UNSATISFIABLE) {
    it(`cannot satisfy ${value} of ${size} bytes`, () => {
      assert.equal(parse(value, size).result, RANGE_UNSATISFIABLE);
    });
  }

  it('answers a suffix of an empty file with the whole of it', () => {
    assert.equal(parse('bytes=-5', 0).result, RANGE_IGNORED);
  });

  it('reads as many ranges as the limit allows, and ignores the field above it', () => {
    const list = (count: number): string =>
      `bytes=${Array.from({ length: count }, (_, i) => `${i * 10}-${i * 10 + 1}`).join(',')}`;
    assert.equal(parse(list(RANGES_MAX - 1), 1000).result, RANGES_MAX - 1);
    assert.equal(parse(list(RANGES_MAX), 1000).result, RANGES_MAX);
    assert.equal(parse(list(RANGES_MAX + 1), 1000).result, RANGE_IGNORED);
  });

  it('cover exactly the bytes that were asked for, apart from each other', () => {
    const spec = fc.oneof(
      fc.tuple(fc.nat(120), fc.nat(40)).map(([first, more]) => ({ first, last: first + more })),
      fc.nat(120).map((first) => ({ first, last: -1 })),
      fc.nat(120).map((last) => ({ first: -1, last })),
    );
    const specs = fc.array(spec, { minLength: 1, maxLength: RANGES_MAX });
    fc.assert(
      fc.property(specs, fc.integer({ min: 1, max: 100 }), (list, size) => {
        const wanted = new Set<number>();
        for (const { first, last } of list) {
          const from = first < 0 ? Math.max(0, size - last) : first;
          const to = first < 0 || last < 0 ? size - 1 : last;
          for (let at = from; at <= to && at < size; at++) wanted.add(at);
        }
        const text = list
          .map(({ first, last }) => `${first < 0 ? '' : first}-${last < 0 ? '' : last}`)
          .join(', ');
        const { result, parts } = parse(`bytes=${text}`, size);
        if (wanted.size === 0) return assert.equal(result, RANGE_UNSATISFIABLE);
        const sent: number[] = [];
        for (const [first, last] of parts) for (let at = first; at <= last; at++) sent.push(at);
        assert.equal(new Set(sent).size, sent.length, 'no byte twice');
        assert.deepEqual(
          sent.toSorted((a, b) => a - b),
          [...wanted].sort((a, b) => a - b),
        );
      }),
      { numRuns: 2000 },
    );
  });

  it('stay within the file for arbitrary bytes, and never throw', () => {
    const noise = fc.string({ unit: fc.constantFrom(...'0123456789-,= \tbytesx'), maxLength: 60 });
    fc.assert(
      fc.property(noise, fc.nat(50), (text, size) => {
        for (const [first, last] of parse(`bytes=${text}`, size).parts) {
          assert.ok(first >= 0 && first <= last && last < size);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
