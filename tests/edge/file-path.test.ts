import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { writeRelativePath } from '../../src/edge/file-path.ts';

function relative(path: string, room = 100): string | null {
  const bytes = new Uint8Array(1000).fill(0x2e);
  bytes.set(Buffer.from(path, 'latin1'), 3);
  const length = writeRelativePath(bytes, 3, path.length, 600, room);
  return length < 0 ? null : Buffer.from(bytes.subarray(600, 600 + length)).toString('latin1');
}

const VECTORS: readonly (readonly [string, string | null])[] = [
  ['', ''],
  ['/', ''],
  ['///', ''],
  ['/a/b.txt', 'a/b.txt'],
  ['//a//b/', 'a//b/'],
  ['/a%20b', 'a b'],
  ['/%C3%BC', '\xc3\xbc'],
  ['/100%25', '100%'],
  ['/%252F', '%2F'],
  ['/%5C', '\\'],
  ['/a%2Fb', null],
  ['/a%2fb', null],
  ['/%00', null],
  ['/a%', null],
  ['/a%2', null],
  ['/a%zz', null],
];

describe('paths of files', () => {
  for (const [path, name] of VECTORS) {
    it(`${path || '(empty)'} is ${name === null ? 'no name of a file' : JSON.stringify(name)}`, () => {
      assert.equal(relative(path), name);
    });
  }

  it('fit exactly into the room that there is', () => {
    assert.equal(relative(`/${'x'.repeat(9)}`, 10), 'x'.repeat(9));
    assert.equal(relative(`/${'x'.repeat(10)}`, 10), 'x'.repeat(10));
    assert.equal(relative(`/${'x'.repeat(11)}`, 10), null);
    assert.equal(relative(`/${'%41'.repeat(10)}`, 10), 'A'.repeat(10));
  });
});
