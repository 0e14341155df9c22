/**
 * A configuration judged, with all that rooms need of its files: what the judge hands to the master. Reads every file
 * that is named for TLS, private keys included, and gives none of their bytes away.
 */

import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { readBackendMaterial } from '../backend/backend-tls.ts';
import type { EdgeUser } from '../config/files.ts';
import {
  type CertificateContent,
  KEYS_MAX,
  type KeyFile,
  type KeyRole,
  type Material,
  type ServerMaterial,
  secureServers,
} from '../config/material.ts';
import type { Config, TlsConfig } from '../config/model.ts';
import type { Problem } from '../config/problem.ts';
import type { Judgement } from '../master/judge.ts';
import { certificateBlocks } from '../tls/certificate.ts';
import { readTlsFile } from '../tls/certificate-files.ts';
import { loadAndInspect } from './load.ts';

/** Characters of a configuration with its material: with some room, what the channels to rooms carry. */
const CHARS_MAX = 14_000_000;

/** Never throws on what files hold. `edgeUser` as `loadAndInspect` wants it. */
export function judgeConfiguration(path: string, generation: number, edgeUser: EdgeUser): Judgement {
  const { config, problems, warnings } = loadAndInspect(path, edgeUser);
  if (config === null) return { problems, warnings, config: null, material: null, keys: [] };
  try {
    const numbers = new KeyNumbers(generation * KEYS_MAX);
    const server = config.tls === null ? null : serverMaterial(config.tls, numbers);
    const clientKeys = numberClientKeys(config, numbers);
    const material = { server, backends: readBackendMaterial(config, clientKeys) };
    checkSize(config, material);
    return { problems, warnings, config, material, keys: numbers.keys };
  } catch (error) {
    // All of it was judged to be right: it has changed since, or there is too much of it.
    const reason = error instanceof Error ? error.message : String(error);
    return { problems: [problemOf(reason)], warnings, config: null, material: null, keys: [] };
  }
}

/** Gives each key its number: one for a file, however often it is named in that role for that certificate. */
class KeyNumbers {
  readonly keys: KeyFile[];
  private readonly known: Map<string, number>;
  private readonly first: number;

  constructor(first: number) {
    this.keys = [];
    this.known = new Map();
    this.first = first;
  }

  numberOf(role: KeyRole, path: string, certificate: string): number {
    const publicKeyHash = publicKeyHashOf(certificate);
    const name = `${role} ${publicKeyHash} ${path}`;
    const known = this.known.get(name);
    if (known !== undefined) return known;
    if (this.keys.length === KEYS_MAX) throw new Error(`There are more than ${KEYS_MAX} private keys`);
    const id = this.first + this.keys.length;
    this.keys.push({ id, role, path, publicKeyHash });
    this.known.set(name, id);
    return id;
  }
}

function publicKeyHashOf(certificate: string): string {
  const key = createPublicKey(
    new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'pem' }),
  );
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

function serverMaterial(tls: TlsConfig, numbers: KeyNumbers): ServerMaterial {
  const { clientAuth, clientCaPath, sessionTickets, sessionTicketKeyPath } = tls;
  const certificates = [tls, ...tls.certificates].map(
    ({ certPath, keyPath, ocspPath }): CertificateContent => {
      const certificate = certificatesIn(certPath);
      const ocsp = ocspPath === null ? null : base64Of(ocspPath);
      return { certificate, ocsp, keyId: numbers.numberOf('server', keyPath, certificate) };
    },
  );
  return {
    certificates,
    clientAuthorities: clientAuth === 'none' || clientCaPath === null ? null : certificatesIn(clientCaPath),
    ticketKeys: sessionTickets && sessionTicketKeyPath !== null ? base64Of(sessionTicketKeyPath) : null,
  };
}

function numberClientKeys(config: Config, numbers: KeyNumbers): Record<string, number> {
  const clientKeys: Record<string, number> = {};
  for (const { clientCertPath, clientKeyPath } of secureServers(config)) {
    if (clientCertPath === null || clientKeyPath === null) continue;
    clientKeys[clientKeyPath] = numbers.numberOf('client', clientKeyPath, certificatesIn(clientCertPath));
  }
  return clientKeys;
}

/** The certificates of a file and nothing else of it: files that hold their private key, too, are common. */
function certificatesIn(path: string): string {
  const blocks = certificateBlocks(read(path));
  if (blocks.length === 0) throw new Error(`${path}: it holds no certificate in PEM`);
  return blocks.join('\n');
}

function base64Of(path: string): string {
  return Buffer.from(read(path)).toString('base64');
}

function read(path: string): Uint8Array {
  const content = readTlsFile(path);
  if (typeof content === 'string') throw new Error(`${path}: ${content}`);
  return content;
}

function checkSize(config: Config, material: Material): void {
  const chars = JSON.stringify({ config, material }).length;
  if (chars > CHARS_MAX)
    throw new Error(
      `The configuration and its certificates have ${chars} characters together, and ${CHARS_MAX} are allowed`,
    );
}

function problemOf(message: string): Problem {
  return { kind: 'value', path: '', keys: [], line: 0, column: 0, message, allowed: '', mend: '' };
}
