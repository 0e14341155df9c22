import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { mapPrivate } from '../../src/sys/memory.ts';
import {
  SSL_get_client_random,
  SSL_get_server_random,
  SSL_get_session,
  SSL_SESSION_get_master_key,
} from '../../src/sys/openssl.ts';
import { H_FAILED, H_PLAIN_HTTP, Handshake } from '../../src/tls/handshake.ts';
import { CLIENT_RANDOM_AT, deriveKeyBlock, MASTER_AT, SERVER_RANDOM_AT } from '../../src/tls/key-schedule.ts';
import { opened, RecordLayer } from '../../src/tls/record-layer.ts';
import { scratch, secrets } from '../../src/tls/secret-memory.ts';
import { SUITES, type Suite, TLS12, TLS13 } from '../../src/tls/suites.ts';
import {
  clientContext,
  connectedPair,
  newClientSession,
  newServerSession,
  OpensslPeer,
  OwnPeer,
  serverContext,
  shakeHands,
} from '../fixtures/tls-engine.ts';

const DATA = 23;
const HANDSHAKE = 22;
const memory = mapPrivate(65536);

/** The records of a flight. */
function split(wire: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at < wire.length; ) {
    const end = at + 5 + wire.readUInt16BE(at + 3);
    records.push(wire.subarray(at, end));
    at = end;
  }
  return records;
}

/** What OpenSSL, a client of TLS 1.2, seals with; it opens its own records, too. */
function clientLayer(ssl: number, suite: Suite): RecordLayer {
  SSL_SESSION_get_master_key(SSL_get_session(ssl), scratch.address + MASTER_AT, 48);
  SSL_get_server_random(ssl, scratch.address + SERVER_RANDOM_AT, 32);
  SSL_get_client_random(ssl, scratch.address + CLIENT_RANDOM_AT, 32);
  const [readSlot, writeSlot] = [secrets.acquire(), secrets.acquire()];
  deriveKeyBlock(suite, readSlot, writeSlot);
  secrets.bytes.copyWithin(writeSlot, readSlot, readSlot + 64);
  return new RecordLayer({
    suite,
    readSlot,
    writeSlot,
    readSequence: 0,
    writeSequence: 0,
    fragmentMax: 16384,
  });
}

function seal(layer: RecordLayer, type: number, content: Uint8Array): Buffer {
  memory.bytes.set(content, 32768);
  const length = layer.seal(memory.bytes, memory.address, type, 32768, content.length, 0);
  return Buffer.from(memory.bytes.subarray(0, length));
}

for (const suite of SUITES.filter(({ version }) => version === TLS12)) {
  for (const pieceBytes of [1, 5, 15, 16]) {
    test(`a Finished in records of ${pieceBytes} bytes counts as so many records: ${suite.name}`, () => {
      const own = new OwnPeer(newServerSession(serverContext({ suite })), true);
      const peer = new OpensslPeer(newClientSession(clientContext({ suite })));
      peer.shake();
      own.put(peer.take());
      peer.put(own.take());
      peer.shake();
      const [keyExchange, change, finished] = split(peer.take());
      const layer = clientLayer(peer.ssl, suite);
      memory.bytes.set(finished);
      assert.equal(layer.open(memory.bytes, memory.address, 0, finished.length), HANDSHAKE);
      const content = Buffer.from(memory.bytes.subarray(opened.offset, opened.offset + opened.length));
      const pieces: Buffer[] = [];
      for (let at = 0; at < content.length; at += pieceBytes)
        pieces.push(seal(layer, HANDSHAKE, content.subarray(at, at + pieceBytes)));
      own.put(Buffer.concat([keyExchange, change, ...pieces]));
      assert.ok(own.isOpen, own.handshake.reason);
      assert.equal(own.layer?.readSequence, pieces.length);
      own.put(seal(layer, DATA, Buffer.from('behind it')));
      assert.equal(own.text(), 'behind it');
      layer.free();
      own.free();
      peer.free();
    });
  }
}

for (const version of [TLS12, TLS13] as const) {
  for (const role of ['server', 'client'] as const) {
    for (const pieceBytes of [1, 3, 6, 100]) {
      const label = version === TLS13 ? '1.3' : '1.2';
      test(`a handshake in pieces of ${pieceBytes} bytes: we are the ${role} (TLS ${label})`, () => {
        const server = newServerSession(serverContext({ version }));
        const client = newClientSession(clientContext({ version }));
        const own = new OwnPeer(role === 'server' ? server : client, role === 'server');
        const peer = new OpensslPeer(role === 'server' ? client : server);
        shakeHands(own, peer, pieceBytes);
        assert.ok(own.isOpen && peer.isOpen, `${own.handshake.reason} ${peer.error}`);
        peer.put(own.seal(DATA, 'there'));
        assert.equal(peer.read().toString(), 'there', peer.error);
        peer.write(Buffer.from('back'));
        own.put(peer.take());
        assert.equal(own.text(), 'back');
        own.free();
        peer.free();
      });
    }
  }
}

test('content right behind the last message is not the handshake’s', () => {
  const own = new OwnPeer(newServerSession(serverContext({ version: TLS13 })), true);
  const peer = new OpensslPeer(newClientSession(clientContext({ version: TLS13 })));
  peer.shake();
  own.put(peer.take());
  peer.put(own.take());
  peer.shake();
  assert.ok(peer.isOpen);
  peer.write(Buffer.from('early bird'));
  own.put(peer.take());
  assert.equal(own.text(), 'early bird');
  own.free();
  peer.free();
});

test('an HTTP request is known by its first letter, and not one byte of it is used', () => {
  for (const first of ['GET / HTTP/1.1\r\n', 'POST', 'Z']) {
    const handshake = new Handshake(newServerSession(serverContext()), true);
    memory.bytes.set(Buffer.from(first));
    assert.equal(handshake.feed(memory.bytes, memory.address, 0, first.length), 0);
    assert.equal(handshake.state, H_PLAIN_HTTP);
    handshake.free();
  }
});

test('whatever comes first, a handshake fails or waits, and gives all keys back', () => {
  const before = secrets.count;
  for (let round = 0; round < 500; round++) {
    const handshake = new Handshake(newServerSession(serverContextOnce()), true);
    const bytes = randomBytes(1 + (round % 400));
    if (round % 2 === 0) bytes.set([22, 3, round % 5, 0, round % 256].slice(0, bytes.length));
    memory.bytes.set(bytes);
    for (let at = 0; at < bytes.length && handshake.state === 0; ) {
      const next = handshake.feed(memory.bytes, memory.address, at, bytes.length);
      if (handshake.outputBytes > 0) handshake.takeOutput(memory.bytes, memory.address, 32768, 16384);
      assert.ok(next >= at);
      at = next;
    }
    if (handshake.state === H_FAILED) assert.notEqual(handshake.reason, '');
    handshake.free();
    handshake.free();
  }
  assert.equal(secrets.count, before);
});

let context = 0;

function serverContextOnce(): number {
  if (context === 0) context = serverContext();
  return context;
}

test('a handshake that takes more than any certificate chain is given up', () => {
  const handshake = new Handshake(newServerSession(serverContext()), true);
  // ClientHello, said to be 100,000 bytes long, in records of 1,000; then records that nobody asked for.
  const record = Buffer.concat([Buffer.of(22, 3, 1, 3, 0xe8), Buffer.alloc(1000)]);
  let fed = 0;
  while (handshake.state === 0 && fed < 400_000) {
    memory.bytes.set(record);
    if (fed === 0) memory.bytes.set([1, 1, 0x86, 0xa0, 3, 3], 5);
    handshake.feed(memory.bytes, memory.address, 0, record.length);
    if (handshake.outputBytes > 0) handshake.takeOutput(memory.bytes, memory.address, 32768, 16384);
    fed += record.length;
  }
  assert.equal(handshake.state, H_FAILED);
  handshake.free();
});

test('what was agreed on can be asked for', () => {
  const { own, peer } = connectedPair('server', { version: TLS13, serverName: 'edge.test' });
  assert.equal(own.handshake.serverName, 'edge.test');
  assert.equal(own.handshake.protocol, '');
  assert.equal(own.handshake.wasResumed, false);
  own.free();
  peer.free();
});
