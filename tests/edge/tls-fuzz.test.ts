/** What an opened TLS connection makes of bytes that chance has changed: content that is right, or an alert. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { TLS12, TLS13 } from '../../src/tls/suites.ts';
import { type RawEnd, TlsWorld } from './tls-world.ts';

const SEEDS = 400;
const DATA = 23;
const ALERT = 21;
const HANDSHAKE = 22;
const UPDATE = Buffer.of(24, 0, 0, 1, 0);
const UPDATE_REQUESTED = Buffer.of(24, 0, 0, 1, 1);

/** Records of a client that keeps the rules; `said` is their content. */
function goodRecords(raw: RawEnd, random: Random, version: number): { wire: Buffer[]; said: string } {
  const wire: Buffer[] = [];
  let said = '';
  for (let count = 1 + random.below(12); count > 0; count--) {
    const draw = random.below(10);
    if (draw === 0) wire.push(raw.own.seal(DATA, ''));
    else if (draw === 1 && version === TLS13) {
      wire.push(raw.own.seal(HANDSHAKE, random.chance(0.5) ? UPDATE : UPDATE_REQUESTED));
      raw.own.layer?.updateWriteKey();
    } else if (draw === 2) wire.push(raw.own.seal(ALERT, Buffer.of(1, 90)));
    else {
      const text = String.fromCharCode(97 + random.below(26)).repeat(
        1 + random.below(random.chance(0.2) ? 16_384 : 40),
      );
      said += text;
      wire.push(raw.own.seal(DATA, text));
    }
  }
  return { wire, said };
}

/** Something is not as it was sent. */
function spoil(records: Buffer[], random: Random): Buffer {
  const at = random.below(records.length);
  const record = Buffer.from(records[at]);
  const all = [...records];
  switch (random.below(8)) {
    case 0:
      record[random.below(record.length)] ^= 1 << random.below(8);
      all[at] = record;
      break;
    case 1:
      all.splice(at, 1);
      break;
    case 2:
      all.splice(at, 0, record);
      break;
    case 3:
      all.splice(random.below(all.length), 0, ...all.splice(at, 1));
      break;
    case 4:
      all[at] = record.subarray(0, random.below(record.length));
      break;
    case 5:
      all.splice(at, 0, Buffer.from(Array.from({ length: random.below(60) }, () => random.below(256))));
      break;
    case 6:
      record.writeUInt16BE(random.below(65536), 3);
      all[at] = record;
      break;
    default:
      record[0] = 20 + random.below(6);
      all[at] = record;
  }
  return Buffer.concat(all);
}

function sendInPieces(world: TlsWorld, raw: RawEnd, wire: Buffer, random: Random): void {
  for (let at = 0; at < wire.length; ) {
    const length = random.chance(0.3) ? 1 + random.below(8) : 1 + random.below(20_000);
    raw.wire(wire.subarray(at, at + length));
    at += length;
    if (random.chance(0.7)) world.settle(1 + random.below(3));
  }
  world.settle();
}

for (const version of [TLS12, TLS13] as const) {
  const label = version === TLS13 ? 'TLS 1.3' : 'TLS 1.2';

  test(`records in whatever pieces say what was said (${label})`, () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = new Random(seed);
      const { world, raw } = TlsWorld.openRaw({
        tls: { version },
        seed,
        faults: { partialReceive: random.below(2) / 2 },
      });
      const { wire, said } = goodRecords(raw, random, version);
      sendInPieces(world, raw, Buffer.concat(wire), random);
      assert.equal(world.server.bytes.toString('latin1'), said, `seed ${seed}`);
      assert.equal(world.server.ended, 1, `seed ${seed}`);
      world.finish(raw);
    }
  });

  test(`records that were changed are noticed where they were, never later, and nothing is left (${label})`, () => {
    let noticed = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = new Random(~seed);
      const { world, raw } = TlsWorld.openRaw({ tls: { version }, seed });
      const { wire, said } = goodRecords(raw, random, version);
      world.server.onEnd = () => world.server.close();
      sendInPieces(world, raw, spoil(wire, random), random);
      const got = world.server.bytes.toString('latin1');
      assert.ok(said.startsWith(got), `seed ${seed}: ${JSON.stringify(got.slice(0, 40))}`);
      world.settle(3000);
      if (world.server.ended !== 1) noticed++;
      else assert.equal(world.server.closes, 0);
      world.finish(raw);
    }
    assert.ok(noticed > SEEDS / 2);
  });

  test(`a handshake whose bytes were changed ends in a handshake or an end, and nothing is left (${label})`, () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = new Random(seed * 977);
      const world = new TlsWorld({ tls: { version }, seed });
      const raw = world.connectRaw();
      world.until(() => raw.isConnected, 'the connection');
      // The first flight has left; this is what comes after it or into the second.
      world.settle(random.below(3));
      const junk = Buffer.from(Array.from({ length: 1 + random.below(300) }, () => random.below(256)));
      if (random.chance(0.5))
        junk.set([20 + random.below(4), 3, 3, 0, random.below(100)].slice(0, junk.length));
      raw.wire(junk);
      world.server.onEnd = () => world.server.close();
      world.settle(15_000);
      world.finish(raw);
    }
  });
}
