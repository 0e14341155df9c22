import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_SLOT, SLOT_MASK, SlotTable } from '../../src/base/slot-table.ts';

test('handles are positive 32-bit integers with the slot in the low 20 bits, given out from 0 on', () => {
  const table = new SlotTable(4);
  const handles = [table.take(), table.take(), table.take(), table.take()];
  assert.deepEqual(
    handles.map((handle) => handle & SLOT_MASK),
    [0, 1, 2, 3],
  );
  for (const handle of handles) assert.ok(handle > SLOT_MASK && handle < 2 ** 31);
  assert.equal(table.used, 4);
});

test('a full table has no slot, and has one again when one comes back', () => {
  const table = new SlotTable(2);
  const first = table.take();
  table.take();
  assert.equal(table.take(), NO_SLOT);
  table.give(first);
  const again = table.take();
  assert.equal(again & SLOT_MASK, first & SLOT_MASK);
  assert.notEqual(again, first);
});

test('the slot that was freed last is used first', () => {
  const table = new SlotTable(8);
  const [a, b] = [table.take(), table.take()];
  table.give(a);
  table.give(b);
  assert.equal(table.take() & SLOT_MASK, b & SLOT_MASK);
});

test('a handle is not given out again for 2,046 uses of its slot', () => {
  const table = new SlotTable(1);
  const seen = new Set<number>();
  for (let use = 0; use < 2047; use++) {
    const handle = table.take();
    assert.equal(seen.has(handle), false);
    assert.ok(handle > 0);
    seen.add(handle);
    table.give(handle);
  }
  assert.ok(seen.has(table.take()));
});

test('giving a stale handle back is a bug that is noticed', () => {
  const table = new SlotTable(1);
  const handle = table.take();
  table.give(handle);
  table.take();
  assert.throws(() => table.give(handle), /stale/);
});
