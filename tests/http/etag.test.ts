import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { entityTagIs, entityTagListHas, formatEntityTag } from '../../src/http/etag.ts';
import { embed } from './section.ts';

function has(list: string, strongly: boolean): boolean {
  const { bytes, offset, length } = embed(list);
  return entityTagListHas(bytes, offset, length, '"abc"', strongly);
}

// RFC 9110 §8.8.3 and §13.1.
const LISTS: readonly { list: string; strong: boolean; weak: boolean }[] = [
  { list: '"abc"', strong: true, weak: true },
  { list: 'W/"abc"', strong: false, weak: true },
  { list: 'w/"abc"', strong: false, weak: false },
  { list: '"x", "abc"', strong: true, weak: true },
  { list: '"x" ,\t"abc" , "y"', strong: true, weak: true },
  { list: ', ,"abc",', strong: true, weak: true },
  { list: '"x", W/"abc"', strong: false, weak: true },
  { list: 'W/"x", "abc"', strong: true, weak: true },
  { list: '"", "abc"', strong: true, weak: true },
  { list: '"a,b", "abc"', strong: true, weak: true },
  { list: '"abc', strong: false, weak: false },
  { list: 'abc', strong: false, weak: false },
  { list: '"ab"', strong: false, weak: false },
  { list: '"abcd"', strong: false, weak: false },
  { list: '"x" "abc"', strong: false, weak: false },
  { list: 'x, "abc"', strong: false, weak: false },
  { list: '"a bc", "abc"', strong: false, weak: false },
  { list: 'W/', strong: false, weak: false },
  { list: '', strong: false, weak: false },
];

describe('entity tags', () => {
  for (const { list, strong, weak } of LISTS) {
    it(`compares "abc" with ${list || 'an empty list'}`, () => {
      assert.equal(has(list, true), strong, 'strong comparison');
      assert.equal(has(list, false), weak, 'weak comparison');
    });
  }

  it('differ by time below a second, by size, and by coding', () => {
    const tags = [
      formatEntityTag(1700000000000, 10, ''),
      formatEntityTag(1700000000000.25, 10, ''),
      formatEntityTag(1700000000000, 11, ''),
      formatEntityTag(1700000000000, 10, '-br'),
      formatEntityTag(1700000000000, 10, '-gz'),
    ];
    assert.equal(new Set(tags).size, tags.length);
    for (const tag of tags) assert.match(tag, /^"[0-9a-f]+-[0-9a-f]+(-br|-gz)?"$/);
  });

  it('of a file from before 1970 is well-formed', () => {
    assert.equal(formatEntityTag(-5, 1, ''), '"0-1"');
  });

  it('must be the very same for If-Range', () => {
    const same = embed('"abc"');
    const weak = embed('W/"abc"');
    assert.equal(entityTagIs(same.bytes, same.offset, same.length, '"abc"'), true);
    assert.equal(entityTagIs(weak.bytes, weak.offset, weak.length, '"abc"'), false);
  });
});
