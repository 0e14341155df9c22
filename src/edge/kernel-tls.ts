/** Whether and how connections of clients are left to kernel TLS: what was configured, and what the running kernel can. */

import type { TlsConfig } from '../config/model.ts';
import type { Reactor } from '../io/reactor.ts';
import {
  type KernelTlsCipher,
  type KernelTlsKey,
  type KernelTlsSupport,
  type KernelTlsVersion,
  TLS_1_2_VERSION,
  TLS_1_3_VERSION,
  TLS_CIPHER_AES_GCM_128,
  TLS_CIPHER_AES_GCM_256,
  TLS_CIPHER_CHACHA20_POLY1305,
} from '../sys/kernel-tls.ts';
import { PLAINTEXT_MAX, type RecordLayer } from '../tls/record-layer.ts';
import { NONCE_AT, type SecretSlot, secrets } from '../tls/secret-memory.ts';
import {
  AEAD_AES_128_GCM,
  AEAD_AES_256_GCM,
  AEAD_CHACHA20_POLY1305,
  AEAD_NAMES,
  type Aead,
  TLS12,
  type TlsVersion,
} from '../tls/suites.ts';

const CIPHERS: Readonly<Record<Aead, KernelTlsCipher>> = {
  [AEAD_AES_128_GCM]: TLS_CIPHER_AES_GCM_128,
  [AEAD_AES_256_GCM]: TLS_CIPHER_AES_GCM_256,
  [AEAD_CHACHA20_POLY1305]: TLS_CIPHER_CHACHA20_POLY1305,
};

function kernelVersion(version: TlsVersion): KernelTlsVersion {
  return version === TLS12 ? TLS_1_2_VERSION : TLS_1_3_VERSION;
}

/** What kernel TLS is needed and can't be had, and what mends it. The start is refused. */
export class KernelTlsUnavailable extends Error {
  override readonly name = 'KernelTlsUnavailable';
}

/** Kernel TLS as it is used: at least one cipher can be had. */
export class KernelTls {
  /** Connections that can't be left to the kernel are refused. */
  readonly isRequired: boolean;
  /** The kernel takes new keys (Linux 6.14). */
  readonly rekeys: boolean;
  private readonly combinations: ReadonlySet<number>;
  private readonly warn: (message: string) => void;
  private readonly reported: Set<string>;

  constructor(support: KernelTlsSupport, isRequired: boolean, warn: (message: string) => void) {
    this.isRequired = isRequired;
    this.rekeys = support.rekeys;
    this.combinations = new Set(
      support.combinations.map(([version, cipher]) => combination(version, cipher)),
    );
    this.warn = warn;
    this.reported = new Set();
  }

  /** '' when the kernel can go on from `layer`; else why not. */
  objection({ suite, fragmentMax }: RecordLayer): string {
    if (!this.combinations.has(combination(kernelVersion(suite.version), CIPHERS[suite.aead]))) {
      return `this kernel has no ${AEAD_NAMES[suite.aead]} for ${suite.version === TLS12 ? 'TLS 1.2' : 'TLS 1.3'}`;
    }
    return fragmentMax < PLAINTEXT_MAX ? 'the client asked for short records (max_fragment_length)' : '';
  }

  /** Says once for each reason that a connection was not left to the kernel. */
  report(reason: string): void {
    if (this.reported.has(reason)) return;
    this.reported.add(reason);
    const outcome = this.isRequired
      ? 'such connections are refused (tls.ktls_fallback_enabled is false)'
      : 'such connections are sealed in user space';
    this.warn(`kernel TLS: ${reason}; ${outcome}. This is said once`);
  }
}

function combination(version: KernelTlsVersion, cipher: KernelTlsCipher): number {
  return version * 256 + cipher;
}

/** The kernel's form of the key in a slot of `layer`. */
export function kernelTlsKey(layer: RecordLayer, slot: SecretSlot, sequence: number): KernelTlsKey {
  const { suite } = layer;
  return {
    version: kernelVersion(suite.version),
    cipher: CIPHERS[suite.aead],
    bytes: secrets.bytes,
    keyAt: slot,
    nonceAt: slot + NONCE_AT,
    sequence,
  };
}

/**
 * What [tls] asks for: null where it doesn't, or where user space may do it instead, because the kernel can't (which the
 * master has said) or the reactor (which `warn` hears). Throws KernelTlsUnavailable where it may not. Set-up only.
 */
export function prepareKernelTls(
  config: TlsConfig | null,
  reactor: Reactor,
  warn: (message: string) => void,
  probe: () => KernelTlsSupport,
): KernelTls | null {
  if (config === null || !config.ktlsEnabled) return null;
  const support = probe();
  if (support.problem !== '' && config.ktlsFallbackEnabled) return null;
  const problem =
    reactor.startKernelTls === undefined
      ? `the ${reactor.name} backend knows no kernel TLS`
      : support.problem;
  if (problem === '') return new KernelTls(support, !config.ktlsFallbackEnabled, warn);
  if (!config.ktlsFallbackEnabled) {
    throw new KernelTlsUnavailable(
      `tls.ktls_enabled: kernel TLS can't be had: ${problem}. Mend that, or set tls.ktls_fallback_enabled = true`,
    );
  }
  warn(`tls.ktls_enabled: kernel TLS can't be had: ${problem}. Records are sealed in user space`);
  return null;
}
