/** Settings and files of a server's TLS, in memory. */

import { loadConfig } from '../../src/config/load.ts';
import { readPrivateKey } from '../../src/sys/openssl-client.ts';
import type { TlsMaterial, TlsSettings } from '../../src/tls/settings.ts';
import { type TestCertificate, testAuthority } from '../fixtures/certificates.ts';

/** The configuration's defaults. */
export const SETTINGS: TlsSettings = defaultSettings();

function defaultSettings(): TlsSettings {
  const { certPath, keyPath } = testAuthority().server(['default.example']);
  const toml = `[server]\nlisten = "127.0.0.1:0"\n[tls]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"\n`;
  const { config, problems } = loadConfig(toml, 'settings.toml');
  if (config?.tls == null) throw new Error(JSON.stringify(problems));
  return config.tls;
}

/** What is in the files of these certificates, and their OCSP responses. */
export function materialOf(
  certificates: readonly TestCertificate[],
  responses: readonly Uint8Array[] = [],
): TlsMaterial {
  return {
    certificates: certificates.map(({ cert, key }, index) => ({
      certificate: Buffer.from(cert),
      key: Buffer.from(key),
      ocsp: responses[index] ?? null,
    })),
    clientAuthorities: null,
    ticketKeys: null,
    ticketState: null,
  };
}

/** An EVP_PKEY of its own. */
export function testKeyOf({ key }: TestCertificate): number {
  return readPrivateKey(key);
}
