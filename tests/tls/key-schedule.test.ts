import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { mapPrivate } from '../../src/sys/memory.ts';
import {
  CLIENT_RANDOM_AT,
  deriveKeyBlock,
  deriveTrafficKey,
  MASTER_AT,
  SERVER_RANDOM_AT,
  updateTrafficKey,
} from '../../src/tls/key-schedule.ts';
import { opened, RecordLayer } from '../../src/tls/record-layer.ts';
import { NONCE_AT, SECRET_AT, scratch, secrets } from '../../src/tls/secret-memory.ts';
import { SUITES, TLS12, TLS13 } from '../../src/tls/suites.ts';

const AES_128 = SUITES[0];
const memory = mapPrivate(65536);

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(/\s/g, ''), 'hex');
}

function hexAt(slot: number, length: number): string {
  return Buffer.from(secrets.bytes.subarray(slot, slot + length)).toString('hex');
}

function slotWith(secret: Buffer): number {
  const slot = secrets.acquire();
  secrets.bytes.set(secret, slot + SECRET_AT);
  return slot;
}

/** RFC 8448 §3 (Simple 1-RTT Handshake): what protects application data. */
const SERVER = {
  secret: bytesOf('a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643'),
  key: '9f02283b6c9c07efc26bb9f2ac92e356',
  iv: 'cf782b88dd83549aadf1e984',
};
const CLIENT = {
  secret: bytesOf('9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5'),
  key: '17422dda596ed5d9acd890e3c63f5051',
  iv: '5b78923dee08579033e523d9',
};
const CONTENT = Buffer.from(Array.from({ length: 50 }, (_, index) => index));
const CLOSE_NOTIFY = Buffer.of(1, 0);
const CLIENT_RECORDS = [
  {
    name: 'application data',
    type: 23,
    content: CONTENT,
    record: bytesOf(
      `1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62
       974e1f5a6292a2977014bd1e3deae63aeebb21694915e4`,
    ),
  },
  {
    name: 'close_notify',
    type: 21,
    content: CLOSE_NOTIFY,
    record: bytesOf('1703030013c9872760655666b74d7ff1153efd6db6d0b0e3'),
  },
];
/** Its first record was a NewSessionTicket. */
const SERVER_RECORDS = [
  {
    name: 'application data',
    type: 23,
    content: CONTENT,
    record: bytesOf(
      `17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fc
       c49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d`,
    ),
  },
  {
    name: 'close_notify',
    type: 21,
    content: CLOSE_NOTIFY,
    record: bytesOf('1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9'),
  },
];

function layerOf(read: Buffer, write: Buffer, readSequence: number, writeSequence: number): RecordLayer {
  const readSlot = slotWith(read);
  const writeSlot = slotWith(write);
  deriveTrafficKey(AES_128, readSlot);
  deriveTrafficKey(AES_128, writeSlot);
  return new RecordLayer({
    suite: AES_128,
    readSlot,
    writeSlot,
    readSequence,
    writeSequence,
    fragmentMax: 16384,
  });
}

describe('TLS 1.3 traffic keys (RFC 8448 §3)', () => {
  for (const [name, { secret, key, iv }] of Object.entries({ SERVER, CLIENT })) {
    test(`key and nonce of the ${name.toLowerCase()}'s application_traffic_secret_0`, () => {
      const slot = slotWith(secret);
      deriveTrafficKey(AES_128, slot);
      assert.equal(hexAt(slot, 16), key);
      assert.equal(hexAt(slot + NONCE_AT, 12), iv);
      secrets.release(slot);
      assert.equal(hexAt(slot, 128), '00'.repeat(128), 'a slot that was given back is wiped');
    });
  }

  test('a client opens the server’s records and seals its own, byte for byte', () => {
    const layer = layerOf(SERVER.secret, CLIENT.secret, 1, 0);
    for (const { name, type, content, record } of SERVER_RECORDS) {
      memory.bytes.set(record);
      assert.equal(layer.open(memory.bytes, memory.address, 0, record.length), type, name);
      assert.deepEqual(
        Buffer.from(memory.bytes.subarray(opened.offset, opened.offset + opened.length)),
        content,
      );
    }
    for (const { name, type, content, record } of CLIENT_RECORDS) {
      memory.bytes.set(content, 4096);
      const length = layer.seal(memory.bytes, memory.address, type, 4096, content.length, 0);
      assert.deepEqual(Buffer.from(memory.bytes.subarray(0, length)), record, name);
    }
    layer.free();
  });

  test('a server opens the client’s records and seals its own, byte for byte', () => {
    const layer = layerOf(CLIENT.secret, SERVER.secret, 0, 1);
    for (const { name, type, content, record } of CLIENT_RECORDS) {
      memory.bytes.set(record);
      assert.equal(layer.open(memory.bytes, memory.address, 0, record.length), type, name);
      assert.deepEqual(
        Buffer.from(memory.bytes.subarray(opened.offset, opened.offset + opened.length)),
        content,
      );
    }
    for (const { name, type, content, record } of SERVER_RECORDS) {
      memory.bytes.set(content, 4096);
      const length = layer.seal(memory.bytes, memory.address, type, 4096, content.length, 0);
      assert.deepEqual(Buffer.from(memory.bytes.subarray(0, length)), record, name);
    }
    layer.free();
  });
});

/** HKDF-Expand-Label with an empty context (RFC 8446 §7.1), for one block at most; by node:crypto. */
function expandLabel(hash: string, secret: Buffer, label: string, length: number): Buffer {
  const name = Buffer.from(`tls13 ${label}`);
  const info = Buffer.concat([Buffer.of(0, length, name.length), name, Buffer.of(0, 1)]);
  return createHmac(hash, secret).update(info).digest().subarray(0, length);
}

for (const suite of SUITES.filter(({ version }) => version === TLS13)) {
  test(`an update makes the next generation of secret, key and nonce: ${suite.name}`, () => {
    const hash = suite.hashBytes === 32 ? 'sha256' : 'sha384';
    let secret = randomBytes(suite.hashBytes);
    const slot = slotWith(secret);
    for (let generation = 0; generation < 3; generation++) {
      updateTrafficKey(suite, slot);
      secret = expandLabel(hash, secret, 'traffic upd', suite.hashBytes) as typeof secret;
      assert.equal(hexAt(slot + SECRET_AT, suite.hashBytes), secret.toString('hex'));
      assert.equal(
        hexAt(slot, suite.keyBytes),
        expandLabel(hash, secret, 'key', suite.keyBytes).toString('hex'),
      );
      assert.equal(hexAt(slot + NONCE_AT, 12), expandLabel(hash, secret, 'iv', 12).toString('hex'));
    }
    secrets.release(slot);
  });
}

/** The PRF of TLS 1.2 (RFC 5246 §5), by node:crypto. */
function prf(hash: string, secret: Buffer, label: string, seed: Buffer, length: number): Buffer {
  const labelled = Buffer.concat([Buffer.from(label), seed]);
  const blocks: Buffer[] = [];
  let a = labelled;
  for (let made = 0; made < length; made += blocks[0].length) {
    a = createHmac(hash, secret).update(a).digest();
    blocks.push(createHmac(hash, secret).update(a).update(labelled).digest());
  }
  return Buffer.concat(blocks).subarray(0, length);
}

/** Vectors of the IETF's TLS working group (mailing list, 2009), with the label "test label". */
const PRF_VECTORS = [
  {
    hash: 'sha256',
    secret: '9bbe436ba940f017b17652849a71db35',
    seed: 'a0ba9f936cda311827a6f796ffd5198c',
    output: `e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa0
      22f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66`,
  },
  {
    hash: 'sha384',
    secret: 'b80b733d6ceefcdc71566ea48e5567df',
    seed: 'cd665cf6a8447dd6ff8b27555edb7465',
    output: `7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe34f82b1233c9146a0e534
      cb400fed2700884f9dc236f80edd8bfa961144c9e8d792eca722a7b32fc3d416d473ebc2c5fd4abfdad05d9184259b5bf8cd4d90
      fa0d31e2dec479e4f1a26066f2eea9a69236a3e52655c9e9aee691c8f3a26854308d5eaa3be85e0990703d73e56f`,
  },
];

describe('the key block of TLS 1.2', () => {
  for (const { hash, secret, seed, output } of PRF_VECTORS) {
    test(`the PRF that it is compared with is right: ${hash}`, () => {
      const expected = bytesOf(output);
      assert.deepEqual(prf(hash, bytesOf(secret), 'test label', bytesOf(seed), expected.length), expected);
    });
  }

  for (const suite of SUITES.filter(({ version }) => version === TLS12)) {
    test(`${suite.name}: keys and nonces of both directions`, () => {
      const master = randomBytes(48);
      const serverRandom = randomBytes(32);
      const clientRandom = randomBytes(32);
      scratch.bytes.set(master, MASTER_AT);
      scratch.bytes.set(serverRandom, SERVER_RANDOM_AT);
      scratch.bytes.set(clientRandom, CLIENT_RANDOM_AT);
      const client = secrets.acquire();
      const server = secrets.acquire();
      deriveKeyBlock(suite, client, server);
      const nonceBytes = suite.explicitNonceBytes === 8 ? 4 : 12;
      const { keyBytes } = suite;
      const hash = suite.hashBytes === 32 ? 'sha256' : 'sha384';
      const randoms = Buffer.concat([serverRandom, clientRandom]);
      const block = prf(hash, master, 'key expansion', randoms, 2 * (keyBytes + nonceBytes)).toString('hex');
      const found = [
        hexAt(client, keyBytes),
        hexAt(server, keyBytes),
        hexAt(client + NONCE_AT, nonceBytes),
        hexAt(server + NONCE_AT, nonceBytes),
      ];
      assert.equal(found.join(''), block);
      assert.ok(
        scratch.bytes.subarray(1024).every((byte) => byte === 0),
        'no secret is left where calls meet',
      );
      secrets.release(client);
      secrets.release(server);
    });
  }
});
