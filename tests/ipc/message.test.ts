/** Messages between compartments: exactly what was meant, or nothing. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ConfigurationParts, splitConfiguration } from '../../src/ipc/configuration-parts.ts';
import {
  ADDRESSES_MAX,
  BODY_BYTES_MAX,
  decodeMessage,
  encodeMessage,
  KINDS,
  LOG_BYTES_MAX,
  MESSAGE_BYTES_MAX,
  type Message,
  NAME_BYTES_MAX,
  PART_BYTES_MAX,
  PARTS_MAX,
  PURPOSES,
} from '../../src/ipc/message.ts';
import { RULES, ruleFor } from '../../src/ipc/rules.ts';

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const bytes = fc.uint8Array({ maxLength: 300 });
const address = fc.oneof(
  fc.record({ family: fc.constant(4 as const), bytes: fc.uint8Array({ minLength: 4, maxLength: 4 }) }),
  fc.record({ family: fc.constant(6 as const), bytes: fc.uint8Array({ minLength: 16, maxLength: 16 }) }),
);
const name = fc.string({
  unit: fc.constantFrom(...'abcxyz0189-._'),
  minLength: 1,
  maxLength: NAME_BYTES_MAX,
});

const message: fc.Arbitrary<Message> = fc.oneof(
  fc
    .record({ generation: u32, part: fc.nat(PARTS_MAX - 1), more: fc.nat(50), bytes })
    .map(({ generation, part, more, bytes }) => ({
      kind: 'configure' as const,
      generation,
      part,
      parts: Math.min(PARTS_MAX, part + 1 + more),
      bytes,
    })),
  fc.record({
    kind: fc.constant('descriptors' as const),
    purpose: fc.constantFrom(...PURPOSES),
    peer: fc.constantFrom('master' as const, 'edge' as const, 'outbound' as const),
    index: u32,
  }),
  fc.record({ kind: fc.constant('drain' as const), timeoutMs: u32, isReplaced: fc.boolean() }),
  fc.constantFrom({ kind: 'rotate' as const }, { kind: 'drained' as const }),
  fc.record({
    kind: fc.constant('log-file' as const),
    bytes: fc.oneof(fc.maxSafeNat(), fc.constantFrom(0xffffffff, 0x1_0000_0000, Number.MAX_SAFE_INTEGER)),
    rotates: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('ping' as const), sequence: u32 }),
  fc.record({ kind: fc.constant('ready' as const), generation: u32 }),
  fc.record({
    kind: fc.constant('refused' as const),
    generation: u32,
    reason: fc.string({ maxLength: 200 }),
  }),
  fc.record({ kind: fc.constant('pong' as const), sequence: u32, openConnections: u32, unwritten: u32 }),
  fc.record({ kind: fc.constant('log' as const), dropped: u32, bytes }),
  fc.record({ kind: fc.constant('resolve' as const), question: u32, name }),
  fc.record({
    kind: fc.constant('resolved' as const),
    question: u32,
    status: fc.constant('found' as const),
    addresses: fc.array(address, { minLength: 1, maxLength: ADDRESSES_MAX }),
  }),
);

function encoded(value: Message, descriptors = 0): Uint8Array {
  const target = new Uint8Array(MESSAGE_BYTES_MAX);
  return target.slice(0, encodeMessage(target, value, descriptors));
}

/** Without views of larger buffers, for comparison. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, each) =>
      each instanceof Uint8Array ? Buffer.from(each).toString('hex') : each,
    ),
  );
}

describe('a message', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(message, fc.nat(8), (value, descriptors) => {
        const decoded = decodeMessage(encoded(value, descriptors));
        assert.deepEqual(plain(decoded), plain({ message: value, descriptors }));
      }),
      { numRuns: 2000 },
    );
  });

  it('is nothing when it is cut or has a byte too many, wherever it has no end of its own', () => {
    fc.assert(
      fc.property(message, (value) => {
        const whole = encoded(value);
        for (let length = 0; length < whole.length; length++)
          assert.equal(decodeMessage(whole.subarray(0, length)), null);
        assert.equal(decodeMessage(Uint8Array.of(...whole, 0)), null);
      }),
    );
  });

  it('is never an exception, and if anything a message that can be written again, whatever its bytes are', () => {
    const check = (input: Uint8Array): void => {
      const decoded = decodeMessage(input);
      if (decoded === null) return;
      assert.ok(KINDS.includes(decoded.message.kind));
      assert.ok(encoded(decoded.message).length > 0);
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), check), { numRuns: 5000 });
    // Close to the truth: a valid one with bytes that changed.
    const damage = fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(message, damage, (value, changes) => {
        const input = encoded(value);
        for (const [at, byte] of changes) if (at < input.length) input[at] = byte;
        check(input);
      }),
      { numRuns: 20_000 },
    );
  });

  const limits: [string, (size: number) => Message, number][] = [
    [
      'a part',
      (size) => ({ kind: 'configure', generation: 1, part: 0, parts: 1, bytes: new Uint8Array(size) }),
      PART_BYTES_MAX,
    ],
    ['log entries', (size) => ({ kind: 'log', dropped: 0, bytes: new Uint8Array(size) }), LOG_BYTES_MAX],
    ['a name', (size) => ({ kind: 'resolve', question: 1, name: 'x'.repeat(size) }), NAME_BYTES_MAX],
    [
      'parts',
      (size) => ({ kind: 'configure', generation: 1, part: 0, parts: size, bytes: new Uint8Array(1) }),
      PARTS_MAX,
    ],
  ];
  for (const [what, make, max] of limits) {
    it(`has at most ${max}: ${what}`, () => {
      assert.ok(encoded(make(max - 1)).length > 0);
      assert.ok(encoded(make(max)).length > 0);
      assert.equal(encoded(make(max + 1)).length, 0);
    });
  }

  for (const name of ['', 'a b', 'ü', 'a\0', '\x7f'])
    it(`asks for no name like ${JSON.stringify(name)}`, () => {
      assert.equal(encoded({ kind: 'resolve', question: 1, name }).length, 0);
    });

  it('fits a datagram with its head', () => assert.ok(BODY_BYTES_MAX + 8 === MESSAGE_BYTES_MAX));
});

describe('the rules', () => {
  it('have one rule at most for each case, and at least one for each kind', () => {
    for (const kind of KINDS) {
      assert.ok(RULES.some((rule) => rule.kind === kind));
      for (const from of ['master', 'edge', 'keys', 'journal', 'outbound'] as const)
        for (const to of ['master', 'edge', 'keys', 'journal', 'outbound'] as const)
          for (const state of ['starting', 'running', 'draining'] as const) {
            const fitting = RULES.filter(
              (rule) =>
                rule.kind === kind &&
                rule.from.includes(from) &&
                rule.to.includes(to) &&
                rule.during.includes(state),
            );
            assert.ok(fitting.length <= 1);
            assert.equal(ruleFor(kind, from, to, state), fitting[0]);
          }
    }
  });

  it('let no room pass descriptors, configure another, or tell the master what to do', () => {
    for (const { kind, from, descriptorsMax } of RULES) {
      if (['configure', 'descriptors', 'drain', 'log-file'].includes(kind))
        assert.deepEqual(from, ['master']);
      if (!from.includes('master')) assert.equal(descriptorsMax, 0);
    }
  });
});

describe('a configuration', () => {
  it('comes whole out of its parts, whatever its length', () => {
    for (const length of [0, 1, PART_BYTES_MAX, PART_BYTES_MAX + 1, 3 * PART_BYTES_MAX]) {
      const whole = new Uint8Array(length).map((_, at) => at * 7);
      const parts = splitConfiguration(5, whole) ?? [];
      const receiver = new ConfigurationParts();
      parts.forEach((part, index) => {
        const result = receiver.add(part);
        if (index < parts.length - 1) assert.equal(result, 'incomplete');
        else assert.deepEqual(Buffer.from(result as Uint8Array), Buffer.from(whole));
      });
    }
  });

  it('has at most 256 parts', () => {
    assert.equal(splitConfiguration(1, new Uint8Array(PARTS_MAX * PART_BYTES_MAX + 1)), null);
    assert.equal(splitConfiguration(1, new Uint8Array(PARTS_MAX * PART_BYTES_MAX))?.length, PARTS_MAX);
  });

  it('is refused out of order, mixed, or older than the last', () => {
    const parts = splitConfiguration(2, new Uint8Array(PART_BYTES_MAX * 2)) ?? [];
    const receiver = new ConfigurationParts();
    assert.equal(receiver.add(parts[1]), 'wrong');
    assert.equal(receiver.add(parts[0]), 'incomplete');
    assert.equal(receiver.add({ ...parts[1], generation: 3 }), 'wrong');
    assert.ok(receiver.add(parts[1]) instanceof Uint8Array);
    assert.equal(receiver.add(parts[0]), 'wrong');
  });
});
