import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { HouseBoard, houseBytes } from '../../src/shared/house-board.ts';
import { houseOf } from './hammer-words.ts';

function boardOf(): { board: HouseBoard; words: Int32Array } {
  const words = new Int32Array(new SharedArrayBuffer(houseBytes()));
  return { board: new HouseBoard(words), words };
}

/** Puts a text where a house should be, as a room that was taken over could. */
function forge(words: Int32Array, text: string): void {
  const bytes = new TextEncoder().encode(text);
  new Uint8Array(words.buffer, 16).set(bytes);
  words[0] = 2;
  words[1] = bytes.length;
}

describe('HouseBoard', () => {
  it('shows nothing before anything was written, then what was written last', () => {
    const { board } = boardOf();
    assert.equal(board.read(), null);
    assert.equal(board.write(houseOf(7)), true);
    assert.equal(board.write(houseOf(8)), true);
    assert.deepEqual(board.read(), houseOf(8));
  });

  it('keeps what it shows when the next house is too long', () => {
    const { board } = boardOf();
    board.write(houseOf(1));
    const rooms = Array.from({ length: 250 }, (_, index) => ({
      ...houseOf(1).rooms[0],
      name: `edge-${index}`,
      measures: ['x'.repeat(300)],
    }));
    assert.equal(board.write({ ...houseOf(2), rooms }), false);
    assert.deepEqual(board.read(), houseOf(1));
  });

  it('shows nothing while it is being written, however long that takes, and the next whole house', () => {
    const { board, words } = boardOf();
    board.write(houseOf(1));
    words[0] |= 1;
    assert.equal(board.read(), null);
    board.write(houseOf(2));
    assert.deepEqual(board.read(), houseOf(2));
  });

  const hostile: readonly { name: string; text: string }[] = [
    { name: 'no JSON', text: '{"rooms":[' },
    { name: 'no object', text: '"house"' },
    { name: 'no rooms', text: '{}' },
    { name: 'rooms that are no list', text: '{"rooms":{"length":3}}' },
    { name: 'a room that is none', text: '{"rooms":[7]}' },
    { name: 'a state that there is not', text: '{"rooms":[{"name":"a","state":"happy"}]}' },
    {
      name: 'two rooms of one name',
      text: '{"rooms":[{"name":"a","state":"ready"},{"name":"a","state":"ready"}]}',
    },
    { name: 'much nesting', text: '['.repeat(60_000) },
  ];
  for (const { name, text } of hostile) {
    it(`shows nothing of ${name}`, () => {
      const { board, words } = boardOf();
      forge(words, text);
      assert.equal(board.read(), null);
    });
  }

  it('takes nothing but counts for counts and texts for texts, and cuts what is too long', () => {
    const { board, words } = boardOf();
    const room = {
      name: 'x'.repeat(5000),
      state: 'ready',
      pid: -1,
      restarts: 1e300,
      residentBytes: '7',
      measures: [1],
    };
    forge(words, JSON.stringify({ version: 5, logDropped: null, lastReload: 3, rooms: [room] }));
    const house = board.read();
    assert.equal(house?.version, '');
    assert.equal(house?.logDropped, 0);
    assert.equal(house?.lastReload, null);
    assert.deepEqual(house?.rooms[0], {
      name: 'x'.repeat(200),
      role: '',
      state: 'ready',
      pid: 0,
      restarts: 0,
      residentBytes: 0,
      startedSeconds: 0,
      measures: [''],
    });
  });

  it('never throws, whatever is in its memory', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer(),
        fc.uint8Array({ maxLength: 300 }),
        (sequence, length, bytes) => {
          const { board, words } = boardOf();
          new Uint8Array(words.buffer, 16).set(bytes);
          words[0] = sequence;
          words[1] = length;
          board.read();
        },
      ),
    );
  });
});
