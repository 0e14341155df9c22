/** Requests and replies byte by byte, and which messages are TLS's. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeReply,
  decodeRequest,
  encodeReply,
  encodeRequest,
  MESSAGE_BYTES_MAX,
  type MessageKind,
  messageKind,
  REPLY_BYTES_MAX,
  REQUEST_BYTES_MAX,
  REQUEST_HEAD_BYTES,
  ROLE_CLIENT,
  ROLE_SERVER,
  type Role,
  SIGNATURE_BYTES_MAX,
  STATUS_FAILED,
  STATUS_READY,
  STATUS_REFUSED,
  STATUS_SIGNED,
  schemeCode,
  schemeOf,
} from '../../src/tls/signature-request.ts';
import { clientTranscript, handshakeMessage, serverKeyExchange, tls13Message } from './signed-messages.ts';

const request = { role: ROLE_CLIENT, scheme: 0x0804, keyId: 0x01020304, sequence: 0xfffefdfc } as const;

describe('a signature request', () => {
  it('is laid out as documented', () => {
    const target = new Uint8Array(REQUEST_BYTES_MAX);
    const length = encodeRequest(target, { ...request, message: Uint8Array.of(0xaa, 0xbb) });
    assert.equal(
      Buffer.from(target.subarray(0, length)).toString('hex'),
      '01010804' + '01020304' + 'fffefdfc' + '00000002' + 'aabb',
    );
  });

  it('comes back as it went, at every length', () => {
    const target = new Uint8Array(REQUEST_BYTES_MAX);
    for (const length of [0, 1, 146, MESSAGE_BYTES_MAX - 1, MESSAGE_BYTES_MAX]) {
      const message = new Uint8Array(length).fill(5);
      const bytes = target.subarray(0, encodeRequest(target, { ...request, message }));
      assert.deepEqual(decodeRequest(bytes), { ...request, message });
    }
  });

  it('is not made of a message that is too long', () => {
    const message = new Uint8Array(MESSAGE_BYTES_MAX + 1);
    assert.equal(encodeRequest(new Uint8Array(REQUEST_BYTES_MAX + 1), { ...request, message }), 0);
  });

  const good = new Uint8Array(REQUEST_HEAD_BYTES + 2);
  encodeRequest(good, { ...request, message: new Uint8Array(2) });
  const changed = (at: number, value: number) => {
    const bytes = good.slice();
    bytes[at] = value;
    return bytes;
  };
  const long = new Uint8Array(REQUEST_BYTES_MAX + 1);
  encodeRequest(long, { ...request, message: new Uint8Array(MESSAGE_BYTES_MAX) });
  new DataView(long.buffer).setUint32(12, MESSAGE_BYTES_MAX + 1);
  const table: readonly { name: string; bytes: Uint8Array }[] = [
    { name: 'no byte', bytes: good.subarray(0, 0) },
    { name: 'half a head', bytes: good.subarray(0, REQUEST_HEAD_BYTES - 1) },
    { name: 'another version', bytes: changed(0, 2) },
    { name: 'another role', bytes: changed(1, 2) },
    { name: 'a length that is too short', bytes: changed(15, 1) },
    { name: 'a length that is too long', bytes: changed(15, 3) },
    { name: 'a length beyond all bounds', bytes: changed(12, 0xff) },
    { name: 'a missing byte', bytes: good.subarray(0, good.length - 1) },
    { name: 'a message that is one byte too long', bytes: long },
  ];
  for (const { name, bytes } of table) {
    it(`is not read from ${name}`, () => assert.equal(decodeRequest(bytes), null));
  }

  it('is read from garbage without a throw, and only from what it would be written as', () => {
    const target = new Uint8Array(REQUEST_BYTES_MAX);
    const likely = fc
      .tuple(fc.constant(1), fc.integer({ min: 0, max: 2 }), fc.uint8Array({ minLength: 10, maxLength: 10 }))
      .chain(([version, role, middle]) =>
        fc.uint8Array({ maxLength: 80 }).map((rest) => {
          const bytes = Uint8Array.of(version, role, ...middle, 0, 0, 0, rest.length, ...rest);
          return bytes;
        }),
      );
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), likely), (bytes) => {
        const decoded = decodeRequest(bytes);
        if (decoded === null) return;
        const length = encodeRequest(target, decoded);
        assert.deepEqual(target.subarray(0, length), bytes);
      }),
    );
  });
});

describe('a reply', () => {
  const target = new Uint8Array(REPLY_BYTES_MAX);
  const encode = (status: number, signature: Uint8Array) =>
    target.slice(0, encodeReply(target, { status, sequence: 0x80000001, signature }));

  it('is laid out as documented', () => {
    const bytes = encode(STATUS_SIGNED, Uint8Array.of(0xaa, 0xbb, 0xcc));
    assert.equal(Buffer.from(bytes).toString('hex'), '01000003' + '80000001' + 'aabbcc');
  });

  it('comes back as it went, at every length', () => {
    for (const length of [1, 72, SIGNATURE_BYTES_MAX]) {
      const signature = new Uint8Array(length).fill(9);
      const expected = { status: STATUS_SIGNED, sequence: 0x80000001, signature };
      assert.deepEqual(decodeReply(encode(STATUS_SIGNED, signature)), expected);
    }
    assert.equal(decodeReply(encode(STATUS_REFUSED, new Uint8Array(0)))?.status, STATUS_REFUSED);
    assert.equal(encode(STATUS_SIGNED, new Uint8Array(SIGNATURE_BYTES_MAX + 1)).length, 0);
  });

  const good = encode(STATUS_SIGNED, Uint8Array.of(1, 2));
  const table: readonly { name: string; bytes: Uint8Array }[] = [
    { name: 'no byte', bytes: good.subarray(0, 0) },
    { name: 'another version', bytes: Uint8Array.of(2, ...good.subarray(1)) },
    { name: 'an unknown status', bytes: Uint8Array.of(1, STATUS_READY + 1, 0, 0, 0, 0, 0, 0) },
    { name: 'success without a signature', bytes: Uint8Array.of(1, STATUS_SIGNED, 0, 0, 0, 0, 0, 0) },
    { name: 'a failure with a signature', bytes: Uint8Array.of(1, STATUS_FAILED, 0, 1, 0, 0, 0, 0, 7) },
    { name: 'a missing byte', bytes: good.subarray(0, good.length - 1) },
    { name: 'a byte too many', bytes: Uint8Array.of(...good, 0) },
  ];
  for (const { name, bytes } of table) {
    it(`is not read from ${name}`, () => assert.equal(decodeReply(bytes), null));
  }

  it('is read from garbage without a throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const reply = decodeReply(bytes);
        assert.ok(reply === null || reply.signature.length > 0 === (reply.status === STATUS_SIGNED));
      }),
    );
  });
});

describe('a signature scheme', () => {
  const table = [
    { name: 'ecdsa_secp256r1_sha256', code: 0x0403, algorithm: 'ecdsa', digestBits: 256 },
    { name: 'ecdsa_secp384r1_sha384', code: 0x0503, algorithm: 'ecdsa', digestBits: 384 },
    { name: 'rsa_pss_rsae_sha512', code: 0x0806, algorithm: 'rsa-pss', digestBits: 512 },
    { name: 'rsa_pkcs1_sha384', code: 0x0501, algorithm: 'rsa-pkcs1', digestBits: 384 },
    { name: 'ed25519', code: 0x0807, algorithm: 'ed25519', digestBits: 0 },
  ] as const;
  for (const { name, code, algorithm, digestBits } of table) {
    it(`${name} has its code point (RFC 8446 §4.2.3)`, () => {
      assert.equal(schemeCode(algorithm, digestBits), code);
      assert.equal(schemeOf(code)?.algorithm, algorithm);
      assert.equal(schemeOf(code)?.digestBits, digestBits);
    });
  }

  it('with SHA-1, with SHA-224 or for RSASSA-PSS keys there is none', () => {
    for (const code of [0, 0x0201, 0x0203, 0x0301, 0x0303, 0x0809, 0x0808, 0xffff])
      assert.equal(schemeOf(code), null);
    assert.equal(schemeCode('ecdsa', 160), -1);
    assert.equal(schemeCode('ed25519', 256), -1);
  });
});

interface MessageCase {
  readonly name: string;
  readonly role: Role;
  readonly message: Uint8Array;
  readonly kind: MessageKind;
}

function spoil(message: Uint8Array, at: number, value: number): Uint8Array {
  const bytes = message.slice();
  bytes[at] = value;
  return bytes;
}

const SERVER13 = tls13Message(ROLE_SERVER, 32);
const CLIENT13 = tls13Message(ROLE_CLIENT, 48);
const EXCHANGE = serverKeyExchange(23);
const TRANSCRIPT = clientTranscript();

const MESSAGES: readonly MessageCase[] = [
  { name: 'a server’s with SHA-256', role: ROLE_SERVER, message: SERVER13, kind: 'tls13' },
  {
    name: 'a server’s with SHA-384',
    role: ROLE_SERVER,
    message: tls13Message(ROLE_SERVER, 48),
    kind: 'tls13',
  },
  {
    name: 'a client’s with SHA-256',
    role: ROLE_CLIENT,
    message: tls13Message(ROLE_CLIENT, 32),
    kind: 'tls13',
  },
  { name: 'a client’s with SHA-384', role: ROLE_CLIENT, message: CLIENT13, kind: 'tls13' },
  { name: 'a client’s, asked of a server’s key', role: ROLE_SERVER, message: CLIENT13, kind: 'none' },
  { name: 'a server’s, asked of a client’s key', role: ROLE_CLIENT, message: SERVER13, kind: 'none' },
  { name: 'a hash of 64 bytes', role: ROLE_SERVER, message: tls13Message(ROLE_SERVER, 64), kind: 'none' },
  { name: 'a hash of 31 bytes', role: ROLE_SERVER, message: tls13Message(ROLE_SERVER, 31), kind: 'none' },
  { name: 'a hash of 33 bytes', role: ROLE_SERVER, message: tls13Message(ROLE_SERVER, 33), kind: 'none' },
  { name: '63 spaces', role: ROLE_SERVER, message: spoil(SERVER13, 63, 0x21), kind: 'none' },
  { name: 'another context', role: ROLE_SERVER, message: spoil(SERVER13, 70, 0x34), kind: 'none' },
  { name: 'no zero after the context', role: ROLE_SERVER, message: spoil(SERVER13, 97, 1), kind: 'none' },
  { name: 'an empty message', role: ROLE_SERVER, message: new Uint8Array(0), kind: 'none' },
  ...[23, 24, 25, 29, 30].map((group) => ({
    name: `a key exchange in group ${group}`,
    role: ROLE_SERVER as Role,
    message: serverKeyExchange(group),
    kind: 'tls12-server' as MessageKind,
  })),
  { name: 'an unknown group', role: ROLE_SERVER, message: spoil(EXCHANGE, 66, 22), kind: 'none' },
  { name: 'a group of two bytes', role: ROLE_SERVER, message: spoil(EXCHANGE, 65, 1), kind: 'none' },
  { name: 'an explicit curve', role: ROLE_SERVER, message: spoil(EXCHANGE, 64, 1), kind: 'none' },
  { name: 'a compressed point', role: ROLE_SERVER, message: spoil(EXCHANGE, 68, 2), kind: 'none' },
  { name: 'a point of another length', role: ROLE_SERVER, message: spoil(EXCHANGE, 67, 64), kind: 'none' },
  { name: 'a point cut short', role: ROLE_SERVER, message: EXCHANGE.subarray(0, -1), kind: 'none' },
  { name: 'a byte after the point', role: ROLE_SERVER, message: Uint8Array.of(...EXCHANGE, 0), kind: 'none' },
  { name: 'randoms alone', role: ROLE_SERVER, message: EXCHANGE.subarray(0, 64), kind: 'none' },
  { name: 'a key exchange, asked of a client’s key', role: ROLE_CLIENT, message: EXCHANGE, kind: 'none' },
  { name: 'a client’s transcript', role: ROLE_CLIENT, message: TRANSCRIPT, kind: 'tls12-client' },
  {
    name: 'a transcript with a stapled response',
    role: ROLE_CLIENT,
    message: clientTranscript({ stapled: true }),
    kind: 'tls12-client',
  },
  { name: 'a transcript, asked of a server’s key', role: ROLE_SERVER, message: TRANSCRIPT, kind: 'none' },
  { name: 'a transcript of TLS 1.1', role: ROLE_CLIENT, message: spoil(TRANSCRIPT, 5, 2), kind: 'none' },
  { name: 'a transcript cut short', role: ROLE_CLIENT, message: TRANSCRIPT.subarray(0, -1), kind: 'none' },
  {
    name: 'a transcript that ends before ClientKeyExchange',
    role: ROLE_CLIENT,
    message: clientTranscript({ without: 16 }),
    kind: 'none',
  },
  {
    name: 'a transcript without a CertificateRequest',
    role: ROLE_CLIENT,
    message: clientTranscript({ without: 13 }),
    kind: 'none',
  },
  {
    name: 'a transcript with something in ServerHelloDone',
    role: ROLE_CLIENT,
    message: clientTranscript({ done: 1 }),
    kind: 'none',
  },
  {
    name: 'a message after the transcript',
    role: ROLE_CLIENT,
    message: Uint8Array.of(...TRANSCRIPT, ...handshakeMessage(20, new Uint8Array(12))),
    kind: 'none',
  },
];

describe('a message to be signed', () => {
  for (const { name, role, message, kind } of MESSAGES) {
    it(`${name} is ${kind === 'none' ? 'none of TLS' : kind}`, () => {
      assert.equal(messageKind(role, message), kind);
    });
  }

  it('that is garbage is never taken for one of TLS', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        fc.constantFrom(ROLE_SERVER, ROLE_CLIENT),
        (bytes, role) => {
          assert.equal(messageKind(role, bytes), 'none');
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('cut anywhere is none of TLS', () => {
    for (const { role, message, kind } of MESSAGES) {
      if (kind === 'none') continue;
      // A hash of 48 bytes cut to 32 has the form of the other suites.
      for (let length = 0; length < message.length; length++) {
        const isShorterHash = kind === 'tls13' && length === 130;
        if (!isShorterHash) assert.equal(messageKind(role, message.subarray(0, length)), 'none');
      }
    }
  });

  it('with any byte of its frame changed is none of TLS', () => {
    const freeFrom = { tls13: 98, 'tls12-server': 69 };
    for (const [message, from, to] of [
      [SERVER13, 0, freeFrom.tls13],
      [EXCHANGE, 64, freeFrom['tls12-server']],
    ] as const) {
      for (let at = from; at < to; at++) {
        for (const change of [1, 0x20, 0x80])
          assert.equal(
            messageKind(ROLE_SERVER, spoil(message, at, message[at] ^ change)),
            'none',
            `byte ${at}`,
          );
      }
    }
  });

  it('of a server is one of TLS 1.2 or of TLS 1.3, never both', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 64, maxLength: 64 }), (randoms) => {
        const message = EXCHANGE.slice();
        message.set(randoms);
        assert.equal(messageKind(ROLE_SERVER, message), 'tls12-server');
      }),
    );
    const spaces = EXCHANGE.slice();
    spaces.fill(0x20, 0, 64);
    assert.equal(messageKind(ROLE_SERVER, spaces), 'tls12-server');
  });
});
