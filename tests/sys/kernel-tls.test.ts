/** What the kernel is told of a key: struct tls12_crypto_info_* of linux/tls.h, byte by byte. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CRYPTO_INFO_BYTES_MAX,
  encodeCryptoInfo,
  probeKernelTls,
  TLS_1_2_VERSION,
  TLS_1_3_VERSION,
  TLS_CIPHER_AES_GCM_128,
  TLS_CIPHER_AES_GCM_256,
  TLS_CIPHER_CHACHA20_POLY1305,
} from '../../src/sys/kernel-tls.ts';

const KEY = 'c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf';
const NONCE = 'a0a1a2a3a4a5a6a7a8a9aaab';
const SHORT_KEY = KEY.slice(0, 32);
/** 0x0102_0304_0506, which takes more than 32 bits. */
const SEQUENCE = 0x010203040506;
const SEQUENCE_HEX = '0000010203040506';

const LAYOUTS = [
  {
    name: 'AES-128-GCM in TLS 1.3: iv is the end of the nonce, salt its beginning',
    version: TLS_1_3_VERSION,
    cipher: TLS_CIPHER_AES_GCM_128,
    expected: `0403 3300 a4a5a6a7a8a9aaab ${SHORT_KEY} a0a1a2a3 ${SEQUENCE_HEX}`,
  },
  {
    name: 'AES-256-GCM in TLS 1.3',
    version: TLS_1_3_VERSION,
    cipher: TLS_CIPHER_AES_GCM_256,
    expected: `0403 3400 a4a5a6a7a8a9aaab ${KEY} a0a1a2a3 ${SEQUENCE_HEX}`,
  },
  {
    name: 'ChaCha20-Poly1305 in TLS 1.3: no salt',
    version: TLS_1_3_VERSION,
    cipher: TLS_CIPHER_CHACHA20_POLY1305,
    expected: `0403 3600 ${NONCE} ${KEY} ${SEQUENCE_HEX}`,
  },
  {
    name: 'AES-128-GCM in TLS 1.2: iv is the explicit nonce, which is the sequence number',
    version: TLS_1_2_VERSION,
    cipher: TLS_CIPHER_AES_GCM_128,
    expected: `0303 3300 ${SEQUENCE_HEX} ${SHORT_KEY} a0a1a2a3 ${SEQUENCE_HEX}`,
  },
  {
    name: 'AES-256-GCM in TLS 1.2',
    version: TLS_1_2_VERSION,
    cipher: TLS_CIPHER_AES_GCM_256,
    expected: `0303 3400 ${SEQUENCE_HEX} ${KEY} a0a1a2a3 ${SEQUENCE_HEX}`,
  },
  {
    name: 'ChaCha20-Poly1305 in TLS 1.2: as in TLS 1.3 (RFC 7905)',
    version: TLS_1_2_VERSION,
    cipher: TLS_CIPHER_CHACHA20_POLY1305,
    expected: `0303 3600 ${NONCE} ${KEY} ${SEQUENCE_HEX}`,
  },
] as const;

for (const { name, version, cipher, expected } of LAYOUTS) {
  test(`layout: ${name}`, () => {
    const bytes = Buffer.from(`ffff${KEY}ffff${NONCE}ffff`, 'hex');
    const target = Buffer.alloc(CRYPTO_INFO_BYTES_MAX + 16, 0xee);
    const key = { version, cipher, bytes, keyAt: 2, nonceAt: 36, sequence: SEQUENCE };
    const length = encodeCryptoInfo(target, 8, key);
    assert.equal(target.subarray(8, 8 + length).toString('hex'), expected.replaceAll(' ', ''));
    assert.ok(length <= CRYPTO_INFO_BYTES_MAX);
    assert.equal(target[7], 0xee);
    assert.equal(target[8 + length], 0xee);
  });
}

test('a probe finds ciphers, or says why there are none', () => {
  const { problem, combinations, rekeys } = probeKernelTls();
  assert.equal(problem === '', combinations.length > 0);
  if (problem === '') return;
  assert.equal(rekeys, false);
  assert.match(problem, /modprobe tls|refuses|ciphers/);
});
