/** Private keys are not in the memory of a process that only passes them on. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type KeyKind, testAuthority, testFile } from '../fixtures/certificates.ts';
import { findInMemory, piecesOf } from '../fixtures/memory-scan.ts';

const authority = testAuthority();
const KINDS: readonly KeyKind[] = ['P-256', 'P-384', 'RSA-2048', 'Ed25519'];

/** Runs a program until it has said a line, looks into its memory, ends it. */
async function found(parameters: readonly string[], pem: string): Promise<string[]> {
  const child = spawn(process.execPath, [...parameters], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    await once(child.stdout, 'data');
    return findInMemory(child.pid ?? -1, piecesOf(pem));
  } finally {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
}

describe('the search for private keys', () => {
  for (const key of KINDS) {
    const certificate = authority.server([`${key.toLowerCase()}.example`], { key });

    it(`finds ${key} as text, as bytes, and as OpenSSL has it`, async () => {
      const read = `const {readFileSync} = require('fs'); const path = ${JSON.stringify(certificate.keyPath)};`;
      const wait = `console.log('ready'); process.stdin.resume();`;
      const text = await found(
        ['-e', `${read} globalThis.kept = readFileSync(path); ${wait}`],
        certificate.key,
      );
      assert.ok(
        text.some((name) => name.includes('in PEM')),
        text.join(),
      );
      const openssl = `${read} globalThis.kept = require('crypto').createPrivateKey(readFileSync(path)); ${wait}`;
      const held = await found(['-e', openssl], certificate.key);
      assert.ok(
        held.some((name) => !name.includes('in PEM')),
        held.join(),
      );
    });
  }
});

describe('the master', () => {
  it('has no piece of a private key in its memory after it had them judged and passed on', async () => {
    const certificates = KINDS.map((key) => authority.server([`${key.toLowerCase()}.example`], { key }));
    const client = authority.client('edge');
    // A certificate in one file with its key.
    const whole = authority.server(['whole.example']);
    const wholePath = testFile('whole.pem', whole.cert + whole.key);
    const entries = certificates
      .slice(1)
      .map(
        ({ certPath, keyPath }) =>
          `[[tls.certificates]]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"\n`,
      );
    const config = testFile(
      'keys.toml',
      `[server]\nlisten = "127.0.0.1:21500"\n
[tls]\ncert_path = "${certificates[0].certPath}"\nkey_path = "${certificates[0].keyPath}"
${entries.join('')}[[tls.certificates]]\ncert_path = "${wholePath}"\nkey_path = "${wholePath}"
[host_routes."*"]\ntype = "Proxy"\nurl = "https://backend.example"\nca_path = "${authority.certPath}"
client_cert_path = "${client.certPath}"\nclient_key_path = "${client.keyPath}"\n`,
    );
    const program = join(import.meta.dirname, 'master-process.ts');
    for (const { key } of [...certificates, whole, client])
      assert.deepEqual(await found([program, config], key), []);
  });
});
