import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_BUDGETS, type Http2Budgets } from '../../src/http2/budget.ts';
import { End, type EndOptions } from './end.ts';
import {
  block,
  describeFrame,
  frame,
  framesOf,
  GET,
  HELLO,
  headers,
  POST,
  SETTINGS_ACK,
  settings,
  uint32,
} from './raw-frames.ts';

interface Attack {
  name: string;
  reason: string;
  /** What comes before the attack. */
  before?: Buffer[];
  /** The piece that is repeated, by its number from 1 on. */
  piece: (number: number) => Buffer;
  /** Pieces that are still taken, and the one after them no more. */
  burst: number;
  /** Pieces that a second gives back; 0: time doesn't help. */
  perSecond: number;
  options?: EndOptions;
}

const [RESETS, SETTINGS, PINGS, PRIORITIES, EMPTY, UPDATES, TINY] = DEFAULT_BUDGETS.bursts;
const rates = DEFAULT_BUDGETS.perSecond;
const open = headers(1, POST, false);
const id = (number: number): number => number * 2 - 1;

const ATTACKS: Attack[] = [
  {
    name: 'Rapid Reset (CVE-2023-44487)',
    reason: 'reset-flood',
    piece: (number) => Buffer.concat([headers(id(number), GET), frame(3, 0, id(number), uint32(8))]),
    burst: RESETS,
    perSecond: rates[0],
  },
  {
    name: 'MadeYouReset by a window that overflows (CVE-2025-8671)',
    reason: 'reset-flood',
    piece: (number) =>
      Buffer.concat([headers(id(number), POST, false), frame(8, 0, id(number), uint32(0x7fffffff))]),
    burst: RESETS,
    perSecond: rates[0],
  },
  {
    name: 'MadeYouReset by WINDOW_UPDATEs of nothing',
    reason: 'reset-flood',
    piece: (number) => Buffer.concat([headers(id(number), POST, false), frame(8, 0, id(number), uint32(0))]),
    burst: RESETS,
    perSecond: rates[0],
  },
  {
    name: 'MadeYouReset by DATA behind the end',
    reason: 'reset-flood',
    piece: (number) => Buffer.concat([headers(id(number), GET), frame(0, 1, id(number), 'x')]),
    burst: RESETS,
    perSecond: rates[0],
  },
  {
    name: 'malformed requests',
    reason: 'reset-flood',
    piece: (number) => headers(id(number), [['X', 'y']]),
    burst: RESETS,
    perSecond: rates[0],
  },
  {
    name: 'streams beyond the limit',
    reason: 'reset-flood',
    options: { settings: { maxConcurrentStreams: 1 } },
    before: [headers(1, GET)],
    piece: (number) => headers(id(number + 1), GET),
    burst: RESETS,
    perSecond: rates[0],
  },
  {
    name: 'a flood of SETTINGS (CVE-2019-9515)',
    reason: 'settings-flood',
    piece: () => settings(),
    burst: SETTINGS - 1,
    perSecond: rates[1],
  },
  {
    name: 'a flood of acknowledgements',
    reason: 'settings-flood',
    before: [SETTINGS_ACK],
    piece: () => SETTINGS_ACK,
    burst: SETTINGS - 1,
    perSecond: rates[1],
  },
  {
    name: 'a flood of PINGs (CVE-2019-9512)',
    reason: 'ping-flood',
    piece: () => frame(6, 0, 0, uint32(1, 2)),
    burst: PINGS,
    perSecond: rates[2],
  },
  {
    name: 'a flood of PRIORITY (CVE-2019-9513)',
    reason: 'priority-flood',
    piece: (number) => frame(2, 0, id(number), Buffer.alloc(5)),
    burst: PRIORITIES,
    perSecond: rates[3],
  },
  {
    name: 'a flood of PRIORITY_UPDATE',
    reason: 'priority-flood',
    piece: () => frame(16, 0, 0, Buffer.concat([uint32(1), Buffer.from('u=1')])),
    burst: PRIORITIES,
    perSecond: rates[3],
  },
  {
    name: 'a flood of empty DATA (CVE-2019-9518)',
    reason: 'empty-frame-flood',
    before: [open],
    piece: () => frame(0, 0, 1),
    burst: EMPTY,
    perSecond: rates[4],
  },
  {
    name: 'a flood of DATA that is all padding',
    reason: 'empty-frame-flood',
    before: [open],
    piece: () => frame(0, 8, 1, Buffer.of(2, 0, 0)),
    burst: EMPTY,
    perSecond: rates[4],
  },
  {
    name: 'a flood of unknown frames',
    reason: 'empty-frame-flood',
    piece: () => frame(0xaa, 0, 0),
    burst: EMPTY,
    perSecond: rates[4],
  },
  {
    name: 'a flood of WINDOW_UPDATEs',
    reason: 'window-update-flood',
    piece: () => frame(8, 0, 0, uint32(1)),
    burst: UPDATES,
    perSecond: rates[5],
  },
  {
    name: 'DATA of one byte each',
    reason: 'tiny-data-flood',
    before: [open],
    piece: () => frame(0, 0, 1, 'x'),
    burst: TINY,
    perSecond: rates[6],
  },
];

function lastFrame(server: End): string {
  return framesOf(server.flush()).map(describeFrame).at(-1) ?? '';
}

describe('a budget', () => {
  for (const { name, reason, before = [], piece, burst, perSecond, options } of ATTACKS) {
    it(`ends ${name}`, () => {
      const server = new End(true, options);
      server.receive(Buffer.concat([HELLO, ...before]));
      let number = 1;
      for (; number <= burst; number++) {
        assert.equal(server.receive(piece(number)), true, `piece ${number} of ${burst}`);
        server.flush();
      }
      // A second later as many more are taken as the rate gives back, and then no more.
      server.nowMs += 1000;
      for (let more = 0; more < perSecond; more++) assert.equal(server.receive(piece(number++)), true);
      assert.equal(server.receive(piece(number)), false);
      assert.match(lastFrame(server), new RegExp(`^GOAWAY \\d+ code 11 ${reason}$`));
      assert.equal(server.engine.errorCode, 11);
    });
  }

  it('lets a client acknowledge large responses with as many WINDOW_UPDATEs as it likes', () => {
    const server = new End(true);
    server.receive(Buffer.concat([HELLO, settings([4, 0x7fffffff]), headers(1, GET)]));
    server.respond(server.all[0], 200, [], Buffer.alloc(64 << 20));
    let updates = 0;
    while (server.all[0].pendingBytes > 0) {
      const frames = framesOf(server.flush()).filter(({ type }) => type === 0);
      for (const { payload } of frames) {
        assert.equal(server.receive(frame(8, 0, 0, uint32(payload.length))), true);
        updates++;
      }
    }
    assert.ok(updates > UPDATES, `${updates} updates`);
  });

  it('lets a client that is answered cancel every third request, and reset what is over already', () => {
    const server = new End(true);
    server.receive(HELLO);
    for (let number = 1; number <= 3000; number++) {
      const stream = headers(id(number), number % 3 === 0 ? POST : GET, number % 3 !== 0);
      assert.equal(server.receive(stream), true, `request ${number}`);
      const request = server.all.at(-1);
      assert.ok(request !== undefined);
      if (number % 3 !== 0) server.respond(request, 200, [], null);
      assert.equal(server.receive(frame(3, 0, id(number), uint32(8))), true, `reset ${number}`);
      server.flush();
    }
    assert.equal(server.engine.streams.count, 0);
  });

  it('bounds the dribble of one byte at a time (CVE-2019-9511)', () => {
    const server = new End(true);
    server.receive(Buffer.concat([HELLO, settings([4, 0]), headers(1, GET)]));
    server.respond(server.all[0], 200, [], Buffer.alloc(1 << 20));
    let taken = 0;
    while (server.receive(frame(8, 0, 1, uint32(1)))) {
      server.flush();
      taken++;
    }
    assert.equal(taken, UPDATES);
    assert.match(lastFrame(server), /window-update-flood$/);
  });
});

describe('one field block', () => {
  const small: Partial<Http2Budgets> = { continuationsMax: 4, blockBytesMax: 20_000 };

  it('has at most so many CONTINUATION frames (CVE-2024-27316)', () => {
    for (const count of [4, 5]) {
      const server = new End(true, { budgets: small });
      const empty = Array.from({ length: count - 1 }, () => frame(9, 0, 1));
      const sent = server.receive(
        Buffer.concat([HELLO, frame(1, 1, 1, block(GET)), ...empty, frame(9, 4, 1)]),
      );
      assert.equal(sent, count === 4);
      if (count === 4) assert.equal(server.all[0].method, 'GET');
      else assert.equal(lastFrame(server), 'GOAWAY 0 code 11 continuation-flood');
    }
  });

  it('has at most so many bytes, which are not gathered before they are refused', () => {
    for (const bytes of [20_000, 20_001]) {
      const server = new End(true, { budgets: small });
      const whole = block([...GET, ['x', 'y'.repeat(30_000)]]).subarray(0, bytes);
      const first = frame(1, 1, 1, whole.subarray(0, 16_000));
      const header = frame(9, 4, 1, whole.subarray(16_000)).subarray(0, 9);
      assert.equal(server.receive(Buffer.concat([HELLO, first, header])), bytes === 20_000);
      if (bytes > 20_000) assert.equal(lastFrame(server), 'GOAWAY 0 code 11 field-block-too-long');
    }
  });

  it('decodes to at most a multiple of the limit (CVE-2016-6581)', () => {
    // One entry of 3,900 bytes, referred to by one byte each.
    const literal = Buffer.concat([Buffer.from('4001617fbd1d', 'hex'), Buffer.alloc(3900, 0x61)]);
    for (const references of [15, 16]) {
      const server = new End(true);
      const bomb = Buffer.concat([block(GET), literal, Buffer.alloc(references, 0xbe)]);
      const sent = server.receive(Buffer.concat([HELLO, frame(1, 5, 1, bomb)]));
      assert.equal(sent, references === 15);
      if (references === 16) assert.equal(lastFrame(server), 'GOAWAY 1 code 11 hpack-bomb');
    }
  });

  it('of a stream that is refused is bounded likewise', () => {
    const server = new End(true, { accepts: () => false });
    const literal = Buffer.concat([Buffer.from('4001617fbd1d', 'hex'), Buffer.alloc(3900, 0x61)]);
    const bomb = Buffer.concat([literal, Buffer.alloc(1000, 0xbe)]);
    assert.equal(server.receive(Buffer.concat([HELLO, frame(1, 5, 1, bomb)])), false);
    assert.equal(lastFrame(server), 'GOAWAY 1 code 11 hpack-bomb');
  });
});

describe('one SETTINGS frame', () => {
  it('has at most 64 settings', () => {
    for (const count of [64, 65]) {
      const server = new End(true);
      const many = Array.from({ length: count }, (): [number, number] => [0x4a4a, 1]);
      assert.equal(server.receive(Buffer.concat([HELLO, settings(...many)])), count === 64);
      if (count === 65) assert.equal(lastFrame(server), 'GOAWAY 0 code 11 settings-flood');
    }
  });
});

describe('a client that does not take what it asked for', () => {
  it('is told of to the owner: since when a stream waits for its window', () => {
    const server = new End(true);
    server.receive(Buffer.concat([HELLO, settings([4, 5]), headers(1, GET)]));
    const [stream] = server.all;
    server.respond(stream, 200, [], Buffer.from('0123456789'));
    server.flush();
    assert.equal(stream.blockedSinceMs, 1000);
    assert.equal(stream.pendingBytes, 5);
    server.nowMs = 5000;
    server.receive(frame(8, 0, 1, uint32(2)));
    assert.equal(stream.blockedSinceMs, -1);
    server.flush();
    assert.equal(stream.blockedSinceMs, 5000);
    server.receive(frame(8, 0, 1, uint32(3)));
    server.flush();
    assert.equal(stream.closed, true);
  });

  it('is told of to the owner: since when the connection waits for its window', () => {
    const server = new End(true);
    server.receive(Buffer.concat([HELLO, settings([4, 1 << 20]), headers(1, GET)]));
    server.respond(server.all[0], 200, [], Buffer.alloc(100_000));
    server.flush();
    assert.equal(server.engine.sender.blockedSinceMs, 1000);
    assert.equal(server.all[0].pendingBytes, 100_000 - 65_535);
    server.receive(frame(8, 0, 0, uint32(100_000)));
    assert.equal(server.engine.sender.blockedSinceMs, -1);
    server.flush();
    assert.equal(server.all[0].closed, true);
  });
});
