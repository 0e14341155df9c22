/** The certificates that other tests use, judged by openssl and by Node.js. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { type KeyKind, TestAuthority, testAuthority, testFile } from '../fixtures/certificates.ts';

function openssl(...parameters: string[]): string {
  return execFileSync('openssl', parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

for (const key of ['P-256', 'P-384', 'RSA-2048', 'Ed25519'] as const satisfies KeyKind[]) {
  test(`openssl accepts a server certificate with a key of the kind ${key}`, () => {
    const authority = testAuthority();
    const made = authority.server(['example.com', '*.example.org', '127.0.0.1', '2001:db8::1'], { key });
    const output = openssl(
      'verify',
      '-x509_strict',
      '-purpose',
      'sslserver',
      '-CAfile',
      authority.certPath,
      made.certPath,
    );
    assert.match(output, /: OK/);
    const parsed = new X509Certificate(made.cert);
    assert.equal(parsed.checkHost('www.example.org'), '*.example.org');
    assert.equal(parsed.checkIP('127.0.0.1'), '127.0.0.1');
    assert.equal(parsed.checkIP('2001:db8::1'), '2001:db8::1');
    assert.ok(parsed.checkPrivateKey(made.privateKey));
  });
}

test('a chain leads from a certificate through its intermediates to the root', () => {
  const middle = testAuthority().intermediate('One').intermediate('Two', { key: 'P-384' });
  const made = middle.server(['chain.example']);
  assert.equal(made.cert.match(/BEGIN/g)?.length, 3);
  const output = openssl(
    'verify',
    '-CAfile',
    testAuthority().certPath,
    '-untrusted',
    made.certPath,
    made.certPath,
  );
  assert.match(output, /: OK/);
});

test('a certificate may have ended, or end soon', () => {
  const ended = testAuthority().server(['old.example'], { days: -3 });
  const soon = testAuthority().server(['soon.example'], { days: 5 });
  assert.throws(() => openssl('x509', '-checkend', '0', '-noout', '-in', ended.certPath));
  openssl('x509', '-checkend', String(4 * 86_400), '-noout', '-in', soon.certPath);
  assert.throws(() => openssl('x509', '-checkend', String(6 * 86_400), '-noout', '-in', soon.certPath));
});

test('openssl accepts an OCSP response about a certificate', () => {
  const authority = TestAuthority.root('Responder');
  const made = authority.server(['ocsp.example']);
  const paths = ['-issuer', authority.certPath, '-cert', made.certPath, '-CAfile', authority.certPath];
  const respond = (options: Parameters<typeof authority.ocspFile>[1]) =>
    openssl('ocsp', '-no_nonce', '-respin', authority.ocspFile(made, options), ...paths);
  assert.match(respond({}), /server.crt: good/);
  assert.match(respond({ status: 'revoked' }), /server.crt: revoked/);
  assert.match(respond({ fromDays: -9, days: -2 }), /Status times invalid/);
});

test('the same certificate asked for again is the same', () => {
  assert.equal(testAuthority().server(['a.example']), testAuthority().server(['a.example']));
  assert.ok(existsSync(testFile('x', 'y')));
});
