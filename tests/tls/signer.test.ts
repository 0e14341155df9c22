/** The side with the keys, bytes in and bytes out. */

import assert from 'node:assert/strict';
import { constants, createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeReply,
  encodeRequest,
  REQUEST_BYTES_MAX,
  ROLE_CLIENT,
  ROLE_SERVER,
  type Role,
  type SignatureReply,
  STATUS_MALFORMED,
  STATUS_RATE_LIMITED,
  STATUS_REFUSED,
  STATUS_SIGNED,
  STATUS_UNKNOWN_KEY,
} from '../../src/tls/signature-request.ts';
import { KeyError, Signer } from '../../src/tls/signer.ts';
import { clientTranscript, serverKeyExchange, tls13Message } from './signed-messages.ts';

const KEYS = {
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  'P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
  RSA: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  Ed25519: generateKeyPairSync('ed25519').privateKey,
};
type KeyName = keyof typeof KEYS;
const IDS: Readonly<Record<KeyName, number>> = { 'P-256': 1, 'P-384': 2, RSA: 3, Ed25519: 4 };
/** The same keys, for clients. */
const CLIENT = 100;

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}

function newSigner(rate = { perSecond: 1e6, burst: 1e6 }, now = () => 0): Signer {
  const signer = new Signer(rate, now);
  for (const [name, id] of Object.entries(IDS)) {
    signer.add(id, ROLE_SERVER, pemOf(KEYS[name as KeyName]));
    signer.add(CLIENT + id, ROLE_CLIENT, pemOf(KEYS[name as KeyName]));
  }
  return signer;
}

const signer = newSigner();
const target = new Uint8Array(REQUEST_BYTES_MAX);

function ask(
  of: Signer,
  keyId: number,
  scheme: number,
  message: Uint8Array,
  role: Role = keyId > CLIENT ? ROLE_CLIENT : ROLE_SERVER,
): SignatureReply {
  const length = encodeRequest(target, { role, scheme, keyId, sequence: 77, message });
  const reply = decodeReply(of.answer(target.subarray(0, length)));
  assert.ok(reply !== null && reply.sequence === 77);
  return reply;
}

const SHA = new Map([
  [0x0403, 'sha256'],
  [0x0503, 'sha384'],
  [0x0603, 'sha512'],
  [0x0401, 'sha256'],
  [0x0501, 'sha384'],
  [0x0601, 'sha512'],
  [0x0804, 'sha256'],
  [0x0805, 'sha384'],
  [0x0806, 'sha512'],
]);

/** Whether a signature is what TLS's verifier wants: padding and salt by the scheme, nothing else. */
function isGood(name: KeyName, scheme: number, message: Uint8Array, signature: Uint8Array): boolean {
  const key = createPublicKey(KEYS[name]);
  const isPss = scheme >> 8 === 8 && name === 'RSA';
  const options = isPss
    ? { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
    : key;
  return verify(SHA.get(scheme) ?? null, message, options, signature);
}

const T13 = tls13Message(ROLE_SERVER, 32);
const T12 = serverKeyExchange(29);
const C13 = tls13Message(ROLE_CLIENT, 48);
const C12 = clientTranscript();

/** Which schemes each key makes in TLS 1.3 and in TLS 1.2; all others are refused. */
const FITTING: Readonly<Record<KeyName, { readonly tls13: number[]; readonly tls12: number[] }>> = {
  'P-256': { tls13: [0x0403], tls12: [0x0403, 0x0503, 0x0603] },
  'P-384': { tls13: [0x0503], tls12: [0x0403, 0x0503, 0x0603] },
  RSA: { tls13: [0x0804, 0x0805, 0x0806], tls12: [0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806] },
  Ed25519: { tls13: [0x0807], tls12: [0x0807] },
};
const ALL_SCHEMES = [0, 0x0201, 0x0203, 0x0303, 0x0807, 0x0808, 0x0809, 0x0904, ...SHA.keys()];

describe('a signer', () => {
  for (const name of Object.keys(KEYS) as KeyName[]) {
    for (const [version, messages] of [
      ['tls13', [T13, C13]],
      ['tls12', [T12, C12]],
    ] as const) {
      it(`signs with ${name} by the schemes that fit it in ${version} and refuses all others`, () => {
        for (const [index, message] of messages.entries()) {
          for (const scheme of ALL_SCHEMES) {
            const reply = ask(signer, IDS[name] + index * CLIENT, scheme, message);
            const isFitting = FITTING[name][version].includes(scheme);
            const label = `scheme 0x${scheme.toString(16)}`;
            assert.equal(reply.status, isFitting ? STATUS_SIGNED : STATUS_REFUSED, label);
            if (isFitting) assert.ok(isGood(name, scheme, message, reply.signature), label);
          }
        }
      });
    }
  }

  const refusals = [
    { name: 'a chosen text', keyId: 1, message: Buffer.from('pay me a million') },
    { name: 'a bare digest', keyId: 1, message: new Uint8Array(32) },
    { name: 'the start of a certificate', keyId: 1, message: Buffer.from('308201', 'hex') },
    { name: 'a client’s message with a server’s key', keyId: 1, message: C13 },
    { name: 'a client’s transcript with a server’s key', keyId: 1, message: C12 },
    { name: 'a server’s message with a client’s key', keyId: CLIENT + 1, message: T13 },
    { name: 'a server’s key exchange with a client’s key', keyId: CLIENT + 1, message: T12 },
  ];
  for (const { name, keyId, message } of refusals) {
    it(`refuses ${name}`, () => assert.equal(ask(signer, keyId, 0x0403, message).status, STATUS_REFUSED));
  }

  it('refuses a role that the key does not have, though the message is of that role', () => {
    assert.equal(ask(signer, 1, 0x0403, C13, ROLE_CLIENT).status, STATUS_REFUSED);
    assert.equal(ask(signer, CLIENT + 1, 0x0403, T13, ROLE_SERVER).status, STATUS_REFUSED);
  });

  it('knows no key that it was not given, nor one that was taken away', () => {
    const own = newSigner();
    assert.equal(ask(own, 9, 0x0403, T13).status, STATUS_UNKNOWN_KEY);
    own.remove(1);
    assert.equal(ask(own, 1, 0x0403, T13).status, STATUS_UNKNOWN_KEY);
  });

  it('uses the new key where one takes the place of another', () => {
    const own = newSigner();
    own.add(1, ROLE_SERVER, pemOf(KEYS.Ed25519));
    assert.equal(ask(own, 1, 0x0403, T13).status, STATUS_REFUSED);
    assert.ok(isGood('Ed25519', 0x0807, T13, ask(own, 1, 0x0807, T13).signature));
  });

  it('answers garbage without a throw and without a signature', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const reply = decodeReply(signer.answer(bytes));
        assert.ok(reply !== null && reply.status !== STATUS_SIGNED);
      }),
    );
    assert.equal(decodeReply(signer.answer(new Uint8Array(REQUEST_BYTES_MAX + 1)))?.status, STATUS_MALFORMED);
  });

  it('signs no garbage that came in a proper request', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.constantFrom(1, 2, 3, 4, CLIENT + 1, CLIENT + 3),
        fc.constantFrom(...ALL_SCHEMES),
        (message, keyId, scheme) => {
          assert.equal(ask(signer, keyId, scheme, message).status, STATUS_REFUSED);
        },
      ),
    );
  });
});

describe('the rate of a key', () => {
  it('is its burst at once, then its signatures a second, each key for itself', () => {
    let nowMs = 1000;
    const own = newSigner({ perSecond: 10, burst: 3 }, () => nowMs);
    const statuses = (keyId: number, count: number) =>
      Array.from({ length: count }, () => ask(own, keyId, 0x0403, T13).status);
    assert.deepEqual(statuses(1, 4), [0, 0, 0, STATUS_RATE_LIMITED]);
    assert.equal(ask(own, 3, 0x0804, T13).status, STATUS_SIGNED);
    nowMs += 99;
    assert.deepEqual(statuses(1, 1), [STATUS_RATE_LIMITED]);
    nowMs += 1;
    assert.deepEqual(statuses(1, 2), [0, STATUS_RATE_LIMITED]);
    nowMs += 3_600_000;
    assert.deepEqual(statuses(1, 4), [0, 0, 0, STATUS_RATE_LIMITED]);
  });

  it('is not used up by what is refused', () => {
    const own = newSigner({ perSecond: 1, burst: 1 }, () => 0);
    for (let each = 0; each < 5; each++) ask(own, 1, 0x0403, new Uint8Array(9));
    assert.equal(ask(own, 1, 0x0403, T13).status, STATUS_SIGNED);
  });

  it('is not renewed by a reload', () => {
    const own = newSigner({ perSecond: 1, burst: 1 }, () => 0);
    assert.equal(ask(own, 1, 0x0403, T13).status, STATUS_SIGNED);
    own.add(1, ROLE_SERVER, pemOf(KEYS['P-256']));
    assert.equal(ask(own, 1, 0x0403, T13).status, STATUS_RATE_LIMITED);
  });
});

describe('a key file', () => {
  const rsa = (modulusLength: number) => pemOf(generateKeyPairSync('rsa', { modulusLength }).privateKey);
  const table = [
    { name: 'nothing', pem: '', message: /not a private key in PEM/ },
    { name: 'a public key', pem: publicPem(), message: /not a private key in PEM/ },
    { name: 'RSA below 2048 bits', pem: rsa(2040), message: /RSA of 2040 bits; allowed are/ },
    {
      name: 'a curve that browsers don’t take',
      pem: pemOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey),
      message: /ECDSA on secp256k1/,
    },
    {
      name: 'a key that only agrees',
      pem: pemOf(generateKeyPairSync('x25519').privateKey),
      message: /x25519/,
    },
    {
      name: 'a key under a passphrase',
      pem: KEYS.RSA.export({
        type: 'pkcs8',
        format: 'pem',
        cipher: 'aes-256-cbc',
        passphrase: 'x',
      }) as string,
      message: /without a passphrase/,
    },
  ];
  for (const { name, pem, message } of table) {
    it(`with ${name} is refused with a reason that has nothing of it`, () => {
      assert.throws(
        () => newSigner().add(5, ROLE_SERVER, pem),
        (error: unknown) => error instanceof KeyError && message.test(error.message),
      );
    });
  }

  it('may be in the older forms', () => {
    const own = newSigner();
    own.add(5, ROLE_SERVER, KEYS.RSA.export({ type: 'pkcs1', format: 'pem' }) as string);
    own.add(6, ROLE_SERVER, KEYS['P-384'].export({ type: 'sec1', format: 'pem' }) as string);
    assert.equal(ask(own, 5, 0x0804, T13).status, STATUS_SIGNED);
    assert.equal(ask(own, 6, 0x0503, T13).status, STATUS_SIGNED);
  });
});

function publicPem(): string {
  return createPublicKey(KEYS['P-256']).export({ type: 'spki', format: 'pem' }) as string;
}
