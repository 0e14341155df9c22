import assert from 'node:assert/strict';
import { createCipheriv, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { mapPrivate } from '../../src/sys/memory.ts';
import {
  ALERT_BAD_RECORD_MAC,
  ALERT_PROTOCOL_VERSION,
  ALERT_RECORD_OVERFLOW,
  ALERT_UNEXPECTED_MESSAGE,
} from '../../src/tls/alert.ts';
import { opened, PLAINTEXT_MAX, RecordLayer } from '../../src/tls/record-layer.ts';
import { NONCE_AT, SECRET_AT, secrets } from '../../src/tls/secret-memory.ts';
import { AEAD_CHACHA20_POLY1305, SUITES, type Suite, TLS12, TLS13 } from '../../src/tls/suites.ts';
import { connectedPair } from '../fixtures/tls-engine.ts';

const DATA = 23;
const LENGTHS = [1, 2, 15, 16, 17, 255, 1000, 4096, 16383, 16384];
const ROUND_TRIP = 40_000;
const SOURCE = 65536;
const memory = mapPrivate(1 << 18);

/** A layer whose two directions have the same random key, so that it opens what it sealed. */
function mirror(suite: Suite, fragmentMax = PLAINTEXT_MAX): RecordLayer {
  const readSlot = secrets.acquire();
  const writeSlot = secrets.acquire();
  secrets.bytes.set(randomBytes(128), readSlot);
  secrets.bytes.copyWithin(writeSlot, readSlot, readSlot + 128);
  return new RecordLayer({ suite, readSlot, writeSlot, readSequence: 0, writeSequence: 0, fragmentMax });
}

function seal(layer: RecordLayer, type: number, content: Uint8Array): Buffer {
  memory.bytes.set(content, SOURCE);
  const length = layer.seal(memory.bytes, memory.address, type, SOURCE, content.length, 0);
  return Buffer.from(memory.bytes.subarray(0, length));
}

/** Type (or -alert) and content of a record. */
function open(layer: RecordLayer, record: Uint8Array): { type: number; content: Buffer } {
  memory.bytes.set(record);
  const type = layer.open(memory.bytes, memory.address, 0, record.length);
  if (type < 0) return { type, content: Buffer.alloc(0) };
  return { type, content: Buffer.from(memory.bytes.subarray(opened.offset, opened.offset + opened.length)) };
}

/** A record as the RFCs describe it (RFC 8446 §5.2, RFC 5288 §3, RFC 7905 §2), by node:crypto. */
function reference(
  suite: Suite,
  slot: number,
  sequence: bigint,
  type: number,
  content: Buffer,
  padding = 0,
): Buffer {
  const key = secrets.bytes.subarray(slot, slot + suite.keyBytes);
  const sequenceBytes = Buffer.alloc(8);
  sequenceBytes.writeBigUInt64BE(sequence);
  const nonce = Buffer.from(secrets.bytes.subarray(slot + NONCE_AT, slot + NONCE_AT + 12));
  for (let index = 0; index < 8; index++) nonce[4 + index] ^= sequenceBytes[index];
  const is13 = suite.version === TLS13;
  const inner = is13 ? Buffer.concat([content, Buffer.of(type), Buffer.alloc(padding)]) : content;
  const header = Buffer.of(is13 ? DATA : type, 3, 3, 0, 0);
  header.writeUInt16BE(inner.length + 16 + suite.explicitNonceBytes, 3);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(content.length);
  const aad = is13 ? header : Buffer.concat([sequenceBytes, header.subarray(0, 3), length]);
  const name = ['aes-128-gcm', 'aes-256-gcm', 'chacha20-poly1305'][suite.aead] as 'aes-128-gcm';
  const cipher = createCipheriv(name, key, nonce, { authTagLength: 16 });
  cipher.setAAD(aad, { plaintextLength: inner.length });
  const sealed = Buffer.concat([cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
  return Buffer.concat([header, nonce.subarray(4, 4 + suite.explicitNonceBytes), sealed]);
}

const name = (suite: Suite): string => `${suite.version === TLS13 ? 'TLS 1.3' : 'TLS 1.2'} ${suite.name}`;

for (const suite of SUITES) {
  describe(name(suite), () => {
    for (const role of ['server', 'client'] as const) {
      test(`with OpenSSL at the other end content passes both ways: we are the ${role}`, () => {
        const { own, peer } = connectedPair(role, { suite });
        own.records.length = 0;
        for (const length of LENGTHS) {
          const there = randomBytes(length);
          peer.put(own.seal(DATA, there));
          assert.deepEqual(peer.read(), there, peer.error);
          const back = randomBytes(length);
          peer.write(back);
          own.put(peer.take());
          assert.deepEqual(own.records.pop(), { type: DATA, content: back });
        }
        const long = randomBytes(ROUND_TRIP);
        peer.write(long);
        own.put(peer.take());
        assert.equal(own.text(), long.toString('latin1'));
        own.free();
        peer.free();
      });
    }

    test('records are what the RFC says, from the first sequence number to beyond 2^32', () => {
      const layer = mirror(suite);
      for (const sequence of [
        0,
        1,
        255,
        256,
        2 ** 31,
        2 ** 32 - 1,
        2 ** 32,
        2 ** 32 + 5,
        2 ** 40 + 1,
        2 ** 52,
      ]) {
        layer.writeSequence = sequence;
        layer.readSequence = sequence;
        const content = randomBytes(100);
        const record = seal(layer, DATA, content);
        assert.deepEqual(record, reference(suite, layer.writeSlot, BigInt(sequence), DATA, content));
        assert.deepEqual(open(layer, record), { type: DATA, content });
        assert.equal(layer.readSequence, sequence + 1);
        assert.equal(layer.writeSequence, sequence + 1);
      }
      layer.free();
    });

    test('content of every length at the limits passes, longer content is refused', () => {
      const layer = mirror(suite);
      for (const length of [0, 1, PLAINTEXT_MAX - 1, PLAINTEXT_MAX]) {
        const content = randomBytes(length);
        assert.deepEqual(open(layer, seal(layer, DATA, content)), { type: DATA, content });
      }
      for (const over of [1, 2, 100]) {
        const content = randomBytes(PLAINTEXT_MAX + over);
        const record = reference(suite, layer.readSlot, BigInt(layer.readSequence), DATA, content);
        assert.equal(open(layer, record).type, -ALERT_RECORD_OVERFLOW);
      }
      layer.free();
    });

    test('a byte that was changed, wherever in the record, is noticed', () => {
      const layer = mirror(suite);
      const record = seal(layer, DATA, randomBytes(20));
      for (let at = 0; at < record.length; at++) {
        // TLS 1.2 authenticates the content's length, which another one here would change.
        if (suite.version === TLS12 && (at === 3 || at === 4)) continue;
        for (const bit of [1, 0x80]) {
          const spoilt = Buffer.from(record);
          spoilt[at] ^= bit;
          const { type } = open(layer, spoilt);
          assert.ok(type < 0, `byte ${at}`);
          if (at >= 5) assert.equal(type, -ALERT_BAD_RECORD_MAC, `byte ${at}`);
        }
      }
      assert.equal(layer.readSequence, 0);
      assert.equal(open(layer, record).type, DATA, 'the bad ones have not spoilt the good one');
      layer.free();
    });

    test('a record that comes twice, or before its turn, is refused', () => {
      const layer = mirror(suite);
      const [first, second, third] = ['one', 'two', 'three'].map((text) =>
        seal(layer, DATA, Buffer.from(text)),
      );
      assert.equal(open(layer, first).type, DATA);
      assert.equal(open(layer, first).type, -ALERT_BAD_RECORD_MAC);
      assert.equal(open(layer, third).type, -ALERT_BAD_RECORD_MAC);
      assert.equal(open(layer, second).type, DATA);
      layer.free();
    });

    test('a record that is shorter than its tag is refused, however short', () => {
      const layer = mirror(suite);
      const least = suite.explicitNonceBytes + 16;
      for (let length = 0; length < least; length++) {
        const record = Buffer.concat([Buffer.of(DATA, 3, 3, 0, length), randomBytes(length)]);
        assert.equal(open(layer, record).type, -ALERT_BAD_RECORD_MAC, `${length} bytes`);
      }
      layer.free();
    });

    test('it never writes beyond the record', () => {
      const layer = mirror(suite);
      for (const length of [0, 1, 16, 17, 100]) {
        memory.bytes.fill(0xa5);
        const size = layer.seal(memory.bytes, memory.address, DATA, SOURCE, length, 1000);
        assert.equal(size, length + layer.overhead);
        assert.ok(memory.bytes.subarray(0, 1000).every((byte) => byte === 0xa5));
        assert.ok(memory.bytes.subarray(1000 + size, SOURCE).every((byte) => byte === 0xa5));
        assert.equal(layer.open(memory.bytes, memory.address, 1000, size), DATA);
        assert.ok(memory.bytes.subarray(0, 1000).every((byte) => byte === 0xa5));
        assert.ok(memory.bytes.subarray(1000 + size, SOURCE).every((byte) => byte === 0xa5));
      }
      layer.free();
    });

    test('connections that take turns keep their own keys, also in slots that were used before', () => {
      const layers = Array.from({ length: 4 }, () => mirror(suite));
      for (let round = 0; round < 200; round++) {
        const at = round % layers.length;
        if (round % 7 === 6) {
          layers[at].free();
          layers[at] = mirror(suite);
        }
        const layer = layers[at];
        const sequence = BigInt(layer.writeSequence);
        const content = randomBytes(30);
        const record = seal(layer, DATA, content);
        assert.deepEqual(record, reference(suite, layer.writeSlot, sequence, DATA, content));
        if (round % 5 === 0) {
          const spoilt = Buffer.from(record);
          spoilt[spoilt.length - 1] ^= 1;
          assert.equal(open(layer, spoilt).type, -ALERT_BAD_RECORD_MAC);
        }
        assert.deepEqual(open(layer, record), { type: DATA, content });
      }
      for (const layer of layers) layer.free();
    });
  });
}

for (const suite of SUITES.filter(({ version }) => version === TLS13)) {
  test(`${name(suite)}: padding is taken off, whatever its length`, () => {
    const layer = mirror(suite);
    for (const padding of [0, 1, 16, 255, PLAINTEXT_MAX - 5]) {
      const content = Buffer.from('hello');
      const record = reference(suite, layer.readSlot, BigInt(layer.readSequence), DATA, content, padding);
      assert.deepEqual(open(layer, record), { type: DATA, content });
    }
    const record = (content: string, padding: number): Buffer =>
      reference(suite, layer.readSlot, BigInt(layer.readSequence), DATA, Buffer.from(content), padding);
    assert.equal(open(layer, record('', 100)).content.length, 0, 'nothing but padding');
    assert.equal(open(layer, record('hello', PLAINTEXT_MAX - 4)).type, -ALERT_RECORD_OVERFLOW);
    layer.free();
  });

  test(`${name(suite)}: a record without a content type is unexpected`, () => {
    const layer = mirror(suite);
    const record = reference(suite, layer.readSlot, 0n, 0, Buffer.alloc(40));
    assert.equal(open(layer, record).type, -ALERT_UNEXPECTED_MESSAGE);
    layer.free();
  });

  test(`${name(suite)}: no record but one of application data may come`, () => {
    const layer = mirror(suite);
    for (const type of [0, 20, 21, 22, 24, 255]) {
      const record = seal(layer, DATA, Buffer.from('x'));
      record[0] = type;
      assert.equal(open(layer, record).type, -ALERT_UNEXPECTED_MESSAGE, `type ${type}`);
    }
    layer.free();
  });

  for (const role of ['server', 'client'] as const) {
    test(`${name(suite)}: keys are updated in either direction, as OpenSSL does it: we are the ${role}`, () => {
      const { own, peer } = connectedPair(role, { suite });
      const { layer } = own;
      assert(layer !== null);
      own.records.length = 0;
      for (let generation = 0; generation < 4; generation++) {
        peer.updateKeys(generation % 2 === 1);
        peer.write(Buffer.from('under the old keys it said so'));
        const wire = peer.take();
        const updateBytes = 5 + wire.readUInt16BE(3);
        own.put(wire.subarray(0, updateBytes));
        const asked = generation % 2;
        assert.deepEqual(own.records.pop(), { type: 22, content: Buffer.of(24, 0, 0, 1, asked) });
        layer.updateReadKey();
        own.put(wire.subarray(updateBytes));
        assert.equal(own.records.pop()?.content.toString(), 'under the old keys it said so');
        peer.put(own.seal(22, Buffer.of(24, 0, 0, 1, 0)));
        layer.updateWriteKey();
        assert.equal(layer.writeSequence, 0);
        peer.put(own.seal(DATA, 'new keys'));
        assert.equal(peer.read().toString(), 'new keys', peer.error);
      }
      own.free();
      peer.free();
    });
  }
}

for (const suite of SUITES.filter(({ version }) => version === TLS12)) {
  test(`${name(suite)}: a record of another version is refused`, () => {
    const layer = mirror(suite);
    for (const [major, minor] of [
      [3, 1],
      [3, 4],
      [2, 0],
      [0, 0],
    ]) {
      const record = seal(layer, DATA, Buffer.from('x'));
      record[1] = major;
      record[2] = minor;
      assert.equal(open(layer, record).type, -ALERT_PROTOCOL_VERSION);
    }
    layer.free();
  });
}

for (const tickets of [0, 1, 2, 5]) {
  test(`a server goes on behind its ${tickets} tickets, and a client that reads them too`, () => {
    for (const role of ['server', 'client'] as const) {
      const { own, peer } = connectedPair(role, { version: TLS13, tickets });
      assert.equal(role === 'server' ? own.layer?.writeSequence : own.records.length, tickets);
      peer.put(own.seal(DATA, 'there'));
      assert.equal(peer.read().toString(), 'there', peer.error);
      peer.write(Buffer.from('back'));
      own.put(peer.take());
      assert.equal(own.text(), 'back');
      own.free();
      peer.free();
    }
  });
}

for (const fragmentCode of [1, 2, 3, 4]) {
  for (const version of [TLS12, TLS13] as const) {
    const bytes = 256 << fragmentCode;
    test(`a client that takes ${bytes} bytes a record is believed (TLS ${version === TLS13 ? '1.3' : '1.2'})`, () => {
      const { own, peer } = connectedPair('server', { version, fragmentCode });
      assert.equal(own.layer?.fragmentMax, bytes);
      peer.put(own.seal(DATA, Buffer.alloc(bytes, 'x')));
      assert.equal(peer.read().length, bytes, peer.error);
      peer.put(own.seal(DATA, Buffer.alloc(bytes + 1, 'x')));
      peer.read();
      assert.match(peer.error, /too long/, 'OpenSSL holds us to it');
      own.free();
      peer.free();
    });
  }
}

test('keys are gone when a record layer is freed', () => {
  const before = secrets.count;
  const { own, peer } = connectedPair('server', { suite: SUITES[AEAD_CHACHA20_POLY1305] });
  const { layer } = own;
  assert(layer !== null);
  assert.equal(secrets.count, before + 2);
  const slots = [layer.readSlot, layer.writeSlot];
  assert.ok(slots.some((slot) => secrets.bytes[slot + SECRET_AT] !== 0));
  own.free();
  for (const slot of slots) assert.ok(secrets.bytes.subarray(slot, slot + 128).every((byte) => byte === 0));
  assert.equal(secrets.count, before);
  peer.free();
});
