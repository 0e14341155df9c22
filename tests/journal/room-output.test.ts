/** Lines of what rooms write to their standard error. */

import assert from 'node:assert/strict';
import { closeSync, writeSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  LINE_BYTES_MAX,
  LINES_AT_ONCE,
  LINES_PER_SECOND,
  OutputLines,
  RoomOutput,
} from '../../src/journal/room-output.ts';
import { createPipe } from '../../src/sys/descriptors.ts';
import { until } from '../fixtures/patience.ts';

function linesOf(pieces: readonly Uint8Array[]): string[] {
  const lines: string[] = [];
  const output = new OutputLines((line) => lines.push(line));
  for (const piece of pieces) output.add(piece);
  output.end();
  assert.ok(!output.isPartial);
  return lines;
}

const cut = 'x'.repeat(LINE_BYTES_MAX);
const VECTORS: { name: string; input: Buffer; expected: string[] }[] = [
  { name: 'two lines', input: Buffer.from('one\ntwo\n'), expected: ['one', 'two'] },
  { name: 'a last line without an end', input: Buffer.from('one\ntwo'), expected: ['one', 'two'] },
  { name: 'empty lines, which are passed over', input: Buffer.from('\n\none\n\n'), expected: ['one'] },
  { name: 'characters of several bytes', input: Buffer.from('ü 日本 😀\n'), expected: ['ü 日本 😀'] },
  { name: 'bytes that are no text', input: Buffer.of(0x61, 0xff, 0xc3, 0x0a), expected: ['a\\xff\\xc3'] },
  { name: 'a line just as long as it may be', input: Buffer.from(`${cut}\nb\n`), expected: [cut, 'b'] },
  { name: 'a line that is too long', input: Buffer.from(`${cut}yz\nb\n`), expected: [`${cut}…`, 'b'] },
  {
    name: 'a line that is cut within a character',
    input: Buffer.from(`${cut.slice(1)}üz\nb\n`),
    expected: [`${cut.slice(1)}…`, 'b'],
  },
];

describe('the output of rooms', () => {
  for (const { name, input, expected } of VECTORS)
    it(`is read as lines, wherever it is split: ${name}`, () => {
      assert.deepEqual(linesOf([input]), expected);
      for (let at = 0; at <= input.length; at += input.length > 100 ? 97 : 1)
        assert.deepEqual(linesOf([input.subarray(0, at), input.subarray(at)]), expected);
    });

  it('becomes so many entries at once and so many a second, and the rest is counted', async () => {
    const pipe = createPipe();
    assert.ok(typeof pipe !== 'number');
    let nowMs = 0;
    let lines = 0;
    let dropped = 0;
    const reader = { onLine: () => lines++, onDropped: (count: number) => (dropped += count), onEnd() {} };
    const output = new RoomOutput(pipe[0], reader, () => nowMs);
    const write = async (count: number): Promise<void> => {
      const before = lines + dropped;
      writeSync(pipe[1], 'x\n'.repeat(count));
      await until(() => lines + dropped === before + count, 5000, 'all lines are read');
    };
    await write(LINES_AT_ONCE);
    assert.deepEqual([lines, dropped], [LINES_AT_ONCE, 0]);
    await write(5);
    assert.deepEqual([lines, dropped], [LINES_AT_ONCE, 5]);
    nowMs = 1000;
    await write(LINES_PER_SECOND + 1);
    assert.deepEqual([lines, dropped], [LINES_AT_ONCE + LINES_PER_SECOND, 6]);
    closeSync(pipe[1]);
    output.close();
  });

  it('is over when nobody can write any more, and what has no end is a line', async () => {
    const pipe = createPipe();
    assert.ok(typeof pipe !== 'number');
    const lines: string[] = [];
    let ends = 0;
    const reader = { onLine: (line: string) => lines.push(line), onDropped() {}, onEnd: () => ends++ };
    const output = new RoomOutput(pipe[0], reader);
    writeSync(pipe[1], 'last words');
    closeSync(pipe[1]);
    await until(() => lines.length === 1, 5000, 'they are read');
    assert.deepEqual(lines, ['last words']);
    assert.equal(ends, 1);
    output.finish();
    output.close();
    assert.equal(ends, 1);
  });
});
