/** Cipher suites that the record layer knows: authenticated encryption with forward secrecy, nothing else. */

export const TLS12 = 0x0303;
export const TLS13 = 0x0304;
export type TlsVersion = typeof TLS12 | typeof TLS13;

/** Indexes of `AEAD_NAMES`. */
export const AEAD_AES_128_GCM = 0;
export const AEAD_AES_256_GCM = 1;
export const AEAD_CHACHA20_POLY1305 = 2;
export type Aead = typeof AEAD_AES_128_GCM | typeof AEAD_AES_256_GCM | typeof AEAD_CHACHA20_POLY1305;

/** As OpenSSL calls them. */
export const AEAD_NAMES = ['AES-128-GCM', 'AES-256-GCM', 'ChaCha20-Poly1305'] as const;

export interface Suite {
  /** Code point (RFC 8446 §B.4, RFC 5289, RFC 7905). */
  readonly id: number;
  /** As OpenSSL calls it. */
  readonly name: string;
  readonly version: TlsVersion;
  readonly aead: Aead;
  readonly keyBytes: 16 | 32;
  /** Of the hash of the key schedule or PRF: SHA-256 or SHA-384. */
  readonly hashBytes: 32 | 48;
  /** Bytes of each record that carry a part of the nonce: TLS 1.2 with GCM (RFC 5288 §3). */
  readonly explicitNonceBytes: 0 | 8;
}

function suite(id: number, name: string, aead: Aead, hashBytes: 32 | 48): Suite {
  const version = id >> 8 === 0x13 ? TLS13 : TLS12;
  return {
    id,
    name,
    version,
    aead,
    keyBytes: aead === AEAD_AES_128_GCM ? 16 : 32,
    hashBytes,
    explicitNonceBytes: version === TLS12 && aead !== AEAD_CHACHA20_POLY1305 ? 8 : 0,
  };
}

export const SUITES: readonly Suite[] = [
  suite(0x1301, 'TLS_AES_128_GCM_SHA256', AEAD_AES_128_GCM, 32),
  suite(0x1302, 'TLS_AES_256_GCM_SHA384', AEAD_AES_256_GCM, 48),
  suite(0x1303, 'TLS_CHACHA20_POLY1305_SHA256', AEAD_CHACHA20_POLY1305, 32),
  suite(0xc02b, 'ECDHE-ECDSA-AES128-GCM-SHA256', AEAD_AES_128_GCM, 32),
  suite(0xc02c, 'ECDHE-ECDSA-AES256-GCM-SHA384', AEAD_AES_256_GCM, 48),
  suite(0xc02f, 'ECDHE-RSA-AES128-GCM-SHA256', AEAD_AES_128_GCM, 32),
  suite(0xc030, 'ECDHE-RSA-AES256-GCM-SHA384', AEAD_AES_256_GCM, 48),
  suite(0xcca8, 'ECDHE-RSA-CHACHA20-POLY1305', AEAD_CHACHA20_POLY1305, 32),
  suite(0xcca9, 'ECDHE-ECDSA-CHACHA20-POLY1305', AEAD_CHACHA20_POLY1305, 32),
];

const byId = new Map(SUITES.map((known) => [known.id, known]));

/** The suite with this code point, or null. */
export function suiteOf(id: number): Suite | null {
  return byId.get(id) ?? null;
}
