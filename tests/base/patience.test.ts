import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PATIENCE, patienceOf } from '../../src/base/patience.ts';

const VALUES: readonly { name: string; value: string | undefined; factor: number }[] = [
  { name: 'nothing', value: undefined, factor: 1 },
  { name: 'one', value: '1', factor: 1 },
  { name: 'ten', value: '10', factor: 10 },
  { name: 'the most', value: '100', factor: 100 },
  { name: 'more than the most', value: '101', factor: 1 },
  { name: 'none', value: '0', factor: 1 },
  { name: 'less than none', value: '-3', factor: 1 },
  { name: 'half', value: '0.5', factor: 1 },
  { name: 'no number', value: 'much', factor: 1 },
  { name: 'without an end', value: 'Infinity', factor: 1 },
  { name: 'empty', value: '', factor: 1 },
];

for (const { name, value, factor } of VALUES) {
  test(`patience for slow machines: ${name} is ${factor}`, () => assert.equal(patienceOf(value), factor));
}

test('limits are not stretched unless the environment says so', () => assert.equal(PATIENCE, 1));
