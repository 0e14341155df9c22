import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { F_HOST, F_OTHER, FIELDS_HELD_MAX, FieldSection } from '../../src/http/fields.ts';

const NO_BYTES = new Uint8Array(0);

describe('a field section', () => {
  it('keeps its fields as it grows, and refuses one more than it may hold', () => {
    const fields = new FieldSection(NO_BYTES);
    for (let index = 0; index < FIELDS_HELD_MAX; index++)
      assert.ok(fields.add(index, 1, index + 10_000, 2, index === 150 ? F_HOST : F_OTHER));
    assert.equal(fields.add(0, 1, 2, 3, F_OTHER), false);
    assert.equal(fields.count, FIELDS_HELD_MAX);
    for (let index = 0; index < FIELDS_HELD_MAX; index++)
      assert.deepEqual([fields.nameOffset(index), fields.valueOffset(index)], [index, index + 10_000]);
    assert.equal(fields.find(F_HOST, 0), 150);
  });

  it('becomes what another was, however long that is', () => {
    const long = new FieldSection(NO_BYTES);
    for (let index = 0; index < 100; index++)
      long.add(index, 1, index + 100, 2, index === 90 ? F_HOST : F_OTHER);
    const fields = new FieldSection(NO_BYTES);
    fields.restore(long.wordsMovedBy(7), long.seenLow, long.seenHigh);
    assert.deepEqual([fields.count, fields.find(F_HOST, 0)], [100, 90]);
    assert.deepEqual([fields.nameOffset(99), fields.valueOffset(99), fields.valueLength(99)], [106, 206, 2]);
  });
});
