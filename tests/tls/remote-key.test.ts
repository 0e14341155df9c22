/** Handshakes with a key that signs elsewhere; here the signer is in the same process, behind its bytes. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import koffi from 'koffi';
import { EVP_PKEY_free, readPrivateKey, setGroups } from '../../src/sys/openssl-client.ts';
import { delegatedKeys } from '../../src/sys/openssl-keys.ts';
import { remoteKey, type SignatureExchange, takeSignatureFailure } from '../../src/tls/remote-key.ts';
import {
  decodeReply,
  decodeRequest,
  encodeReply,
  messageKind,
  REPLY_BYTES_MAX,
  ROLE_CLIENT,
  ROLE_SERVER,
  type Role,
  STATUS_SIGNED,
} from '../../src/tls/signature-request.ts';
import { Signer } from '../../src/tls/signer.ts';
import { type KeyKind, TestAuthority, type TestCertificate } from '../fixtures/certificates.ts';
import {
  demandClientCertificate,
  freeContexts,
  handshake,
  hasPrivatePart,
  newContext,
  newLocalContext,
  SteppedHandshake,
  setSchemes,
  TLS12,
  TLS13,
  withPublicKey,
} from './remote-key-handshake.ts';

const authority = TestAuthority.root();
const PLENTY = { perSecond: 1e6, burst: 1e6 };

function certificateOf(kind: KeyKind, role: Role): TestCertificate {
  return role === ROLE_SERVER
    ? authority.server([`${kind.toLowerCase()}.example`], { key: kind })
    : authority.client(`client ${kind}`, { key: kind });
}

/** A signer with one key, and what was asked of it. */
function signerOf(certificate: TestCertificate, role: Role, keyId = 7) {
  const signer = new Signer(PLENTY, () => 0);
  signer.add(keyId, role, certificate.key);
  const asked: { keyId: number; scheme: number; kind: string }[] = [];
  const exchange: SignatureExchange = (bytes) => {
    const request = decodeRequest(bytes);
    assert.ok(request !== null);
    const kind = messageKind(request.role, request.message);
    asked.push({ keyId: request.keyId, scheme: request.scheme, kind });
    return signer.answer(bytes);
  };
  return { asked, exchange };
}

function remoteContext(
  role: Role,
  version: number,
  certificate: TestCertificate,
  exchange: SignatureExchange,
  keyId = 7,
): number {
  const key = withPublicKey(certificate.cert, (publicKey) => remoteKey(publicKey, role, keyId, exchange));
  assert.notEqual(key, 0);
  return newContext(role === ROLE_SERVER, version, certificate.cert, key);
}

interface Case {
  readonly kind: KeyKind;
  readonly version: number;
  /** The only scheme that the peer takes. */
  readonly scheme: string;
  readonly code: number;
}

const CASES: readonly Case[] = [
  { kind: 'P-256', version: TLS13, scheme: 'ecdsa_secp256r1_sha256', code: 0x0403 },
  { kind: 'P-384', version: TLS13, scheme: 'ecdsa_secp384r1_sha384', code: 0x0503 },
  { kind: 'RSA-2048', version: TLS13, scheme: 'rsa_pss_rsae_sha256', code: 0x0804 },
  { kind: 'RSA-2048', version: TLS13, scheme: 'rsa_pss_rsae_sha384', code: 0x0805 },
  { kind: 'RSA-2048', version: TLS13, scheme: 'rsa_pss_rsae_sha512', code: 0x0806 },
  { kind: 'Ed25519', version: TLS13, scheme: 'ed25519', code: 0x0807 },
  { kind: 'P-256', version: TLS12, scheme: 'ECDSA+SHA256', code: 0x0403 },
  { kind: 'P-256', version: TLS12, scheme: 'ECDSA+SHA512', code: 0x0603 },
  { kind: 'P-384', version: TLS12, scheme: 'ECDSA+SHA384', code: 0x0503 },
  { kind: 'P-384', version: TLS12, scheme: 'ECDSA+SHA256', code: 0x0403 },
  { kind: 'RSA-2048', version: TLS12, scheme: 'RSA+SHA256', code: 0x0401 },
  { kind: 'RSA-2048', version: TLS12, scheme: 'RSA+SHA384', code: 0x0501 },
  { kind: 'RSA-2048', version: TLS12, scheme: 'RSA+SHA512', code: 0x0601 },
  { kind: 'RSA-2048', version: TLS12, scheme: 'RSA-PSS+SHA256', code: 0x0804 },
  { kind: 'RSA-3072', version: TLS12, scheme: 'RSA-PSS+SHA512', code: 0x0806 },
  { kind: 'Ed25519', version: TLS12, scheme: 'ed25519', code: 0x0807 },
];
const VERSIONS = new Map([
  [TLS12, 'TLS 1.2'],
  [TLS13, 'TLS 1.3'],
]);
const NO_ERROR = { client: '', server: '' };

describe('a server whose key signs elsewhere', () => {
  for (const { kind, version, scheme, code } of CASES) {
    it(`shakes hands with ${kind} in ${VERSIONS.get(version)} by ${scheme}, as with the key at hand`, () => {
      const certificate = certificateOf(kind, ROLE_SERVER);
      const { asked, exchange } = signerOf(certificate, ROLE_SERVER);
      const remote = remoteContext(ROLE_SERVER, version, certificate, exchange);
      const local = newLocalContext(true, version, certificate.cert, certificate.key);
      const client = newContext(false, version);
      setSchemes(client, scheme);
      assert.deepEqual(handshake(local, client), { version, ...NO_ERROR });
      assert.deepEqual(handshake(remote, client), { version, ...NO_ERROR });
      const kindOfMessage = version === TLS13 ? 'tls13' : 'tls12-server';
      assert.deepEqual(asked, [{ keyId: 7, scheme: code, kind: kindOfMessage }]);
      freeContexts(remote, local, client);
    });
  }

  it('signs for every group of TLS 1.2 that OpenSSL offers', () => {
    // The curve of an ECDSA certificate would have to be among the client's groups.
    const certificate = certificateOf('RSA-2048', ROLE_SERVER);
    const { asked, exchange } = signerOf(certificate, ROLE_SERVER);
    const remote = remoteContext(ROLE_SERVER, TLS12, certificate, exchange);
    for (const group of ['P-256', 'P-384', 'P-521', 'X25519', 'X448']) {
      const client = newContext(false, TLS12);
      assert.equal(setGroups(client, group), 1);
      assert.deepEqual(handshake(remote, client), { version: TLS12, ...NO_ERROR }, group);
      freeContexts(client);
    }
    assert.equal(asked.length, 5);
    freeContexts(remote);
  });

  it('keeps two keys under way at once apart', () => {
    const [first, second] = [certificateOf('P-256', ROLE_SERVER), certificateOf('RSA-2048', ROLE_SERVER)];
    const signer = new Signer(PLENTY, () => 0);
    signer.add(1, ROLE_SERVER, first.key);
    signer.add(2, ROLE_SERVER, second.key);
    const asked: (number | undefined)[] = [];
    const exchange: SignatureExchange = (bytes) => {
      asked.push(decodeRequest(bytes)?.keyId);
      return signer.answer(bytes);
    };
    const servers = [first, second].map((each, index) =>
      remoteContext(ROLE_SERVER, TLS13, each, exchange, index + 1),
    );
    const client = newContext(false, TLS13);
    const runs = [0, 1, 0, 1].map((index) => new SteppedHandshake(servers[index], client));
    for (let step = 0; step < 3; step++) for (const run of runs) run.step();
    for (const run of runs) {
      assert.deepEqual(run.finish(), { version: TLS13, ...NO_ERROR });
      run.free();
    }
    assert.deepEqual(asked, [1, 2, 1, 2]);
    freeContexts(...servers, client);
  });

  it('does not change how other keys of the process sign', () => {
    const certificate = certificateOf('P-256', ROLE_SERVER);
    const remote = remoteContext(ROLE_SERVER, TLS13, certificate, () => null);
    const local = newLocalContext(true, TLS13, certificate.cert, certificate.key);
    const client = newContext(false, TLS13);
    assert.equal(handshake(remote, client).version, 0);
    assert.equal(handshake(local, client).version, TLS13);
    freeContexts(remote, local, client);
  });
});

describe('a client whose key signs elsewhere', () => {
  const server = certificateOf('P-256', ROLE_SERVER);
  for (const { kind, version, scheme, code } of CASES) {
    it(`shows its certificate with ${kind} in ${VERSIONS.get(version)} by ${scheme}`, () => {
      const certificate = certificateOf(kind, ROLE_CLIENT);
      const { asked, exchange } = signerOf(certificate, ROLE_CLIENT);
      const remote = remoteContext(ROLE_CLIENT, version, certificate, exchange);
      const serverContext = newLocalContext(true, version, server.cert, server.key);
      demandClientCertificate(serverContext, authority.cert);
      // The authority's own signature is one with P-256.
      setSchemes(serverContext, code === 0x0403 ? scheme : `${scheme}:ECDSA+SHA256`);
      setSchemes(remote, `${scheme}:ECDSA+SHA256`);
      assert.deepEqual(handshake(serverContext, remote), { version, ...NO_ERROR });
      assert.equal(asked.length, 1);
      assert.equal(asked[0].kind, version === TLS13 ? 'tls13' : 'tls12-client');
      if (!kind.startsWith('P-')) assert.equal(asked[0].scheme, code);
      freeContexts(remote, serverContext);
    });
  }

  it('is refused signatures of a key that is a server’s', () => {
    const certificate = certificateOf('P-256', ROLE_CLIENT);
    const { exchange } = signerOf(certificate, ROLE_SERVER);
    for (const version of [TLS12, TLS13]) {
      const remote = remoteContext(ROLE_CLIENT, version, certificate, exchange);
      const serverContext = newLocalContext(true, version, server.cert, server.key);
      demandClientCertificate(serverContext, authority.cert);
      assert.equal(handshake(serverContext, remote).version, 0);
      assert.equal(takeSignatureFailure(), 'refused');
      freeContexts(remote, serverContext);
    }
  });
});

describe('a signature that does not come', () => {
  const certificate = certificateOf('P-256', ROLE_SERVER);

  /** What the exchange makes of a good reply. */
  function spoiled(spoil: (reply: Uint8Array) => Uint8Array | null): SignatureExchange {
    const { exchange } = signerOf(certificate, ROLE_SERVER);
    return (request) => {
      const reply = exchange(request);
      assert.ok(reply !== null);
      return spoil(reply.slice());
    };
  }

  const withSequence = (change: number) => (reply: Uint8Array) => {
    reply[7] += change;
    return reply;
  };
  const table: readonly [string, SignatureExchange, string][] = [
    ['no reply', () => null, 'no-answer'],
    ['an empty reply', () => new Uint8Array(0), 'bad-answer'],
    ['a truncated reply', spoiled((reply) => reply.subarray(0, reply.length - 1)), 'bad-answer'],
    ['the reply to the request before', spoiled(withSequence(-1)), 'bad-answer'],
    ['the reply to the request to come', spoiled(withSequence(1)), 'bad-answer'],
    ['a signature that is longer than the key makes', spoiled((reply) => replyOf(reply, 73)), 'none'],
    [
      'an exchange that throws',
      () => {
        throw new Error('a bug');
      },
      'none',
    ],
  ];
  for (const version of [TLS12, TLS13]) {
    for (const [name, exchange, failure] of table) {
      it(`${name} ends the handshake in ${VERSIONS.get(version)} with an alert`, () => {
        takeSignatureFailure();
        const server = remoteContext(ROLE_SERVER, version, certificate, exchange);
        const client = newContext(false, version);
        const outcome = handshake(server, client);
        assert.equal(outcome.version, 0);
        assert.match(outcome.client, /alert internal error/);
        assert.notEqual(outcome.server, '');
        assert.equal(takeSignatureFailure() || 'none', failure);
        assert.equal(takeSignatureFailure(), '');
        freeContexts(server, client);
      });
    }

    it(`a signature of something else is noticed by the client in ${VERSIONS.get(version)}`, () => {
      const other = certificateOf('P-256', ROLE_CLIENT);
      const { exchange } = signerOf(other, ROLE_SERVER);
      const server = remoteContext(ROLE_SERVER, version, certificate, exchange);
      const client = newContext(false, version);
      const outcome = handshake(server, client);
      assert.equal(outcome.version, 0);
      assert.match(outcome.client, /bad signature/);
      assert.match(outcome.server, /alert decrypt error/);
      freeContexts(server, client);
    });
  }
});

/** A well-formed reply to the same request with a signature of that length. */
function replyOf(reply: Uint8Array, length: number): Uint8Array {
  const sequence = decodeReply(reply)?.sequence ?? -1;
  const target = new Uint8Array(REPLY_BYTES_MAX);
  const signature = new Uint8Array(length).fill(1);
  return target.subarray(0, encodeReply(target, { status: STATUS_SIGNED, sequence, signature }));
}

/** struct mallinfo2: what malloc(3) has given out and not got back. */
const mallinfo2 = koffi.load(null).func('mallinfo2', koffi.struct({ sizes: koffi.array('size_t', 10) }), []);

function nativeHeapBytes(): number {
  const UORDBLKS = 7;
  return Number(mallinfo2().sizes[UORDBLKS]);
}

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

describe('memory', () => {
  const certificate = certificateOf('P-256', ROLE_SERVER);
  const { exchange } = signerOf(certificate, ROLE_SERVER);

  it('of a key goes with its last reference', () => {
    const before = delegatedKeys();
    const key = withPublicKey(certificate.cert, (publicKey) =>
      remoteKey(publicKey, ROLE_SERVER, 7, exchange),
    );
    assert.equal(delegatedKeys(), before + 1);
    // The context has a reference of its own, and `newContext` gives back ours.
    const server = newContext(true, TLS13, certificate.cert, key);
    const client = newContext(false, TLS13);
    assert.equal(delegatedKeys(), before + 1);
    const run = new SteppedHandshake(server, client);
    run.step();
    freeContexts(server);
    // A session under way keeps its context, and so the key.
    assert.equal(delegatedKeys(), before + 1);
    assert.equal(run.finish().version, TLS13);
    run.free();
    assert.equal(delegatedKeys(), before);
    freeContexts(client);
  });

  it('holds the public part only, even of a key that was given whole', () => {
    const whole = readPrivateKey(certificate.key);
    const key = remoteKey(whole, ROLE_SERVER, 7, exchange);
    assert.equal(hasPrivatePart(whole), true);
    assert.equal(hasPrivatePart(key), false);
    EVP_PKEY_free(whole);
    EVP_PKEY_free(key);
  });

  it('does not grow with handshakes nor with keys', () => {
    const client = newContext(false, TLS13);
    let server = remoteContext(ROLE_SERVER, TLS13, certificate, exchange);
    const shake = (count: number) => {
      for (let each = 0; each < count; each++) {
        if (each % 10 === 0) {
          freeContexts(server);
          server = remoteContext(ROLE_SERVER, TLS13, certificate, exchange);
        }
        assert.equal(handshake(server, client).version, TLS13);
      }
      collectGarbage();
      collectGarbage();
    };
    shake(1000);
    const before = nativeHeapBytes();
    const residentBefore = process.memoryUsage.rss();
    shake(2000);
    // Less than the smallest object of OpenSSL for each handshake.
    const grownBytes = nativeHeapBytes() - before;
    assert.ok(grownBytes < 2000 * 56, `${grownBytes} bytes more`);
    assert.ok(process.memoryUsage.rss() - residentBefore < 32 * 1024 * 1024);
    assert.equal(delegatedKeys(), 1);
    freeContexts(server, client);
    assert.equal(delegatedKeys(), 0);
  });
});
