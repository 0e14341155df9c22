import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  ALERT_DECODE_ERROR,
  ALERT_ILLEGAL_PARAMETER,
  ALERT_UNEXPECTED_MESSAGE,
} from '../../src/tls/alert.ts';
import {
  M_CONTINUES,
  M_KEY_UPDATE,
  M_KEY_UPDATE_REQUESTED,
  M_RENEGOTIATION,
  M_TICKET,
  PostHandshake,
} from '../../src/tls/post-handshake.ts';
import { TLS12, TLS13 } from '../../src/tls/suites.ts';

const RUNS = 2000;
const SEED = 20260401;

function message(type: number, content: Uint8Array): Buffer {
  const { length } = content;
  return Buffer.concat([Buffer.of(type, length >> 16, (length >> 8) & 0xff, length & 0xff), content]);
}

const UPDATE = message(24, Buffer.of(0));
const UPDATE_REQUESTED = message(24, Buffer.of(1));
const ticket = (length: number): Buffer => message(4, Buffer.alloc(length, 7));

/** What is found in records with these contents, M_CONTINUES left out; ends with the first fault. */
function read(post: PostHandshake, records: readonly Uint8Array[]): number[] {
  const found: number[] = [];
  for (const record of records) {
    post.begin(0, record.length);
    for (;;) {
      const event = post.next(record);
      if (event === M_CONTINUES) break;
      found.push(event);
      if (event < 0 || event === M_RENEGOTIATION) return found;
    }
  }
  return found;
}

/** All ways to cut `bytes` in two. */
function* halves(bytes: Buffer): Generator<Buffer[]> {
  for (let at = 1; at < bytes.length; at++) yield [bytes.subarray(0, at), bytes.subarray(at)];
}

interface Case {
  readonly name: string;
  readonly isServer: boolean;
  readonly version: typeof TLS12 | typeof TLS13;
  readonly bytes: Buffer;
  readonly expected: readonly number[];
}

const CASES: readonly Case[] = [
  { name: 'a KeyUpdate', isServer: true, version: TLS13, bytes: UPDATE, expected: [M_KEY_UPDATE] },
  {
    name: 'a KeyUpdate that asks for ours',
    isServer: false,
    version: TLS13,
    bytes: UPDATE_REQUESTED,
    expected: [M_KEY_UPDATE_REQUESTED],
  },
  {
    name: 'a KeyUpdate that asks for something else (RFC 8446 §4.6.3)',
    isServer: true,
    version: TLS13,
    bytes: message(24, Buffer.of(2)),
    expected: [-ALERT_ILLEGAL_PARAMETER],
  },
  {
    name: 'a KeyUpdate that is empty',
    isServer: true,
    version: TLS13,
    bytes: message(24, Buffer.alloc(0)),
    expected: [-ALERT_DECODE_ERROR],
  },
  {
    name: 'a KeyUpdate of two bytes',
    isServer: true,
    version: TLS13,
    bytes: message(24, Buffer.of(0, 0)),
    expected: [-ALERT_DECODE_ERROR],
  },
  {
    name: 'a ticket for a client',
    isServer: false,
    version: TLS13,
    bytes: ticket(200),
    expected: [M_TICKET],
  },
  {
    name: 'three tickets and a KeyUpdate for a client',
    isServer: false,
    version: TLS13,
    bytes: Buffer.concat([ticket(1), ticket(0), ticket(300), UPDATE]),
    expected: [M_TICKET, M_TICKET, M_TICKET, M_KEY_UPDATE],
  },
  {
    name: 'a ticket for a server',
    isServer: true,
    version: TLS13,
    bytes: ticket(10),
    expected: [-ALERT_UNEXPECTED_MESSAGE],
  },
  {
    name: 'a ticket that is longer than tickets are',
    isServer: false,
    version: TLS13,
    bytes: Buffer.of(4, 255, 255, 255, 0),
    expected: [-ALERT_DECODE_ERROR],
  },
  {
    name: 'a certificate request, which nobody offered to answer',
    isServer: false,
    version: TLS13,
    bytes: message(13, Buffer.alloc(20)),
    expected: [-ALERT_UNEXPECTED_MESSAGE],
  },
  {
    name: 'a ClientHello in TLS 1.3',
    isServer: true,
    version: TLS13,
    bytes: message(1, Buffer.alloc(100)),
    expected: [-ALERT_UNEXPECTED_MESSAGE],
  },
  {
    name: 'a renegotiation in TLS 1.2',
    isServer: true,
    version: TLS12,
    bytes: message(1, Buffer.alloc(100)),
    expected: [M_RENEGOTIATION],
  },
  {
    name: 'a wish to renegotiate in TLS 1.2',
    isServer: false,
    version: TLS12,
    bytes: message(0, Buffer.alloc(0)),
    expected: [M_RENEGOTIATION],
  },
  {
    name: 'a KeyUpdate in TLS 1.2',
    isServer: true,
    version: TLS12,
    bytes: UPDATE,
    expected: [-ALERT_UNEXPECTED_MESSAGE],
  },
];

for (const { name, isServer, version, bytes, expected } of CASES) {
  describe(name, () => {
    test('in one record', () => {
      assert.deepEqual(read(new PostHandshake(version, isServer), [bytes]), expected);
    });
    test('in two records, however cut', () => {
      for (const records of halves(bytes))
        assert.deepEqual(read(new PostHandshake(version, isServer), records), expected);
    });
    test('in records of one byte', () => {
      const records = Array.from(bytes, (byte) => Buffer.of(byte));
      assert.deepEqual(read(new PostHandshake(version, isServer), records), expected);
    });
  });
}

test('nothing may follow a KeyUpdate in its record: it is not under the new keys (RFC 8446 §5.1)', () => {
  for (const rest of [UPDATE, ticket(3), Buffer.of(4)]) {
    const found = read(new PostHandshake(TLS13, false), [Buffer.concat([UPDATE, rest])]);
    assert.deepEqual(found, [-ALERT_UNEXPECTED_MESSAGE]);
  }
});

test('it knows whether a message is half read', () => {
  const post = new PostHandshake(TLS13, false);
  assert.ok(post.isBetween);
  for (const byte of ticket(5).subarray(0, 8)) {
    read(post, [Buffer.of(byte)]);
    assert.ok(!post.isBetween);
  }
  assert.deepEqual(read(post, [Buffer.of(7)]), [M_TICKET]);
  assert.ok(post.isBetween);
});

test('messages are the same in whatever records they come', () => {
  const messages = fc.array(
    fc.oneof(
      fc.constantFrom(UPDATE, UPDATE_REQUESTED),
      fc.integer({ min: 0, max: 400 }).map((length) => ticket(length)),
    ),
    { minLength: 1, maxLength: 6 },
  );
  const property = fc.property(
    messages,
    fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }),
    (all, cuts) => {
      // A KeyUpdate ends its record.
      const records: Buffer[] = [];
      let open: Buffer[] = [];
      const cut = (): void => {
        let rest = Buffer.concat(open);
        for (let index = 0; rest.length > 0; index++) {
          const length = cuts[index % cuts.length];
          records.push(rest.subarray(0, length));
          rest = rest.subarray(length);
        }
        open = [];
      };
      for (const each of all) {
        open.push(each);
        if (each[0] === 24) cut();
      }
      cut();
      const expected = all.map((each) =>
        each[0] === 4 ? M_TICKET : each[4] === 1 ? M_KEY_UPDATE_REQUESTED : M_KEY_UPDATE,
      );
      assert.deepEqual(read(new PostHandshake(TLS13, false), records), expected);
    },
  );
  fc.assert(property, { numRuns: RUNS, seed: SEED });
});

test('whatever comes, it ends with a verdict, and never reads beyond the record', () => {
  const record = fc.uint8Array({ minLength: 0, maxLength: 60 });
  const property = fc.property(
    fc.array(record, { maxLength: 20 }),
    fc.boolean(),
    fc.constantFrom(TLS12, TLS13),
    (records, isServer, version) => {
      for (const event of read(new PostHandshake(version, isServer), records))
        assert.ok(event >= M_KEY_UPDATE && event <= M_RENEGOTIATION ? true : event < 0 && event > -256);
    },
  );
  fc.assert(property, { numRuns: RUNS, seed: SEED });
});
