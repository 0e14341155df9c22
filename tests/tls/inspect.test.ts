/** What is said about certificates, keys and lists before anything starts. */

import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { test } from 'node:test';
import { Report } from '../../src/config/problem.ts';
import { describeCertificates, inspectTls } from '../../src/tls/inspect.ts';
import type { TlsSettings } from '../../src/tls/settings.ts';
import { TestAuthority, type TestCertificate, testAuthority, testFile } from '../fixtures/certificates.ts';
import { SETTINGS } from './server-material.ts';

const authority = testAuthority();
const GOOD = authority.server(['good.example', '*.good.example']);
const OTHER = authority.server(['other.example']);

const pathsOf = ({ certPath, keyPath }: TestCertificate) => ({ certPath, keyPath, ocspPath: null });

/** `key: message` of problems, and of warnings. */
function judge(
  changes: Partial<TlsSettings>,
  hosts: readonly string[] = ['*'],
): { problems: string[]; warnings: string[] } {
  const report = new Report();
  inspectTls({ ...SETTINGS, ...pathsOf(GOOD), ...changes }, hosts, report);
  const brief = ({ path, message }: { path: string; message: string }) => `${path}: ${message}`;
  return { problems: report.problems.map(brief), warnings: report.warnings.map(brief) };
}

test('says nothing where all is well', () => {
  const settings = {
    certificates: [pathsOf(OTHER)],
    ocspPath: authority.ocspFile(GOOD),
    clientAuth: 'required' as const,
    clientCaPath: authority.certPath,
    sessionTicketKeyPath: testFile('ticket.key', Buffer.alloc(160, 7)),
  };
  assert.deepEqual(judge(settings, ['good.example', '*.good.example', 'other.example']), {
    problems: [],
    warnings: [],
  });
});

const garbage = testFile('garbage', 'no PEM here');
const pemGarbage = testFile('garbage.pem', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
const encrypted = testFile(
  'encrypted.key',
  GOOD.privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }),
);
const weak = authority.server(['weak.example'], { key: 'RSA-1024' });
const odd = authority.server(['odd.example'], { key: 'P-521' });
const long = testFile('long.pem', GOOD.cert.repeat(11));
const large = testFile('large.pem', Buffer.alloc(1_048_577));

const PROBLEMS: readonly { name: string; settings: Partial<TlsSettings>; expected: readonly RegExp[] }[] = [
  {
    name: 'a key of another certificate',
    settings: { keyPath: OTHER.keyPath },
    expected: [/^tls\.key_path: TLS private key .* does not belong to the certificate in .*server\.crt$/],
  },
  {
    name: 'the same in a further certificate',
    settings: { certificates: [{ ...pathsOf(OTHER), keyPath: GOOD.keyPath }] },
    expected: [/^tls\.certificates\[0\]\.key_path: TLS private key .* does not belong/],
  },
  {
    name: 'files that are neither certificate nor key, both at once',
    settings: { certPath: garbage, keyPath: garbage },
    expected: [
      /^tls\.cert_path: TLS certificate .*: it holds no certificate in PEM$/,
      /^tls\.key_path: TLS private key .*: it holds no private key in PEM that can be read$/,
    ],
  },
  {
    name: 'a block that is no certificate',
    settings: { certPath: pemGarbage },
    expected: [/^tls\.cert_path: TLS certificate .*: its certificate number 1 can’t be read: /],
  },
  {
    name: 'an encrypted key',
    settings: { keyPath: encrypted },
    expected: [/^tls\.key_path: .*: it is encrypted, and nobody is there to type its passphrase$/],
  },
  {
    name: 'a short RSA key',
    settings: pathsOf(weak),
    expected: [/^tls\.cert_path: TLS certificate .*: its key is RSA 1024$/],
  },
  {
    name: 'a curve that is not among those allowed',
    settings: pathsOf(odd),
    expected: [/^tls\.cert_path: TLS certificate .*: its key is EC secp521r1$/],
  },
  {
    name: 'too many certificates in a file',
    settings: { certPath: long },
    expected: [/^tls\.cert_path: .*: it holds 11 certificates, and 10 are allowed$/],
  },
  {
    name: 'a file that is too large',
    settings: { certPath: large },
    expected: [/^tls\.cert_path: .*: it has more than 1048576 bytes$/],
  },
  {
    name: 'a file that went away',
    settings: { certPath: '/nowhere/a.crt' },
    expected: [/^tls\.cert_path: TLS certificate \/nowhere\/a\.crt: it is gone$/],
  },
  {
    name: 'an OCSP response that is none',
    settings: { ocspPath: garbage },
    expected: [/^tls\.ocsp_path: OCSP response .*: it is not an OCSP response in DER$/],
  },
  {
    name: 'an OCSP response about another certificate',
    settings: { ocspPath: authority.ocspFile(OTHER) },
    expected: [/^tls\.ocsp_path: .*: it is about another certificate$/],
  },
  {
    name: 'authorities that are none',
    settings: { clientAuth: 'optional', clientCaPath: garbage },
    expected: [/^tls\.client_ca_path: Client authorities .*: it holds no certificate in PEM$/],
  },
  {
    name: 'ticket keys of a wrong length',
    settings: { sessionTicketKeyPath: testFile('t', Buffer.alloc(48)) },
    expected: [
      /^tls\.session_ticket_key_path: Ticket keys .*: it has 48 bytes, not 80 for each of 1 to 8 keys$/,
    ],
  },
  {
    name: 'lists that OpenSSL knows nothing of',
    settings: { ciphers: 'ECDHE+AESGCM:NONSENSE', cipherSuites: 'TLS_NONSENSE', groups: 'X25519:NONSENSE' },
    expected: [
      /^tls\.ciphers: .*OpenSSL knows no suite "NONSENSE" of TLS 1\.2$/,
      /^tls\.cipher_suites: .*OpenSSL knows no suite "TLS_NONSENSE" of TLS 1\.3$/,
      /^tls\.groups: .*OpenSSL knows no group "NONSENSE"$/,
    ],
  },
  {
    name: 'suites without forward secrecy',
    settings: { ciphers: 'AES128-GCM-SHA256' },
    expected: [/: AES128-GCM-SHA256 has no forward secrecy$/],
  },
  {
    name: 'suites without authenticated encryption',
    settings: { ciphers: 'ECDHE-RSA-AES128-SHA256' },
    expected: [/: ECDHE-RSA-AES128-SHA256 has no authenticated encryption$/],
  },
  {
    name: 'suites that the record layer doesn’t have',
    settings: { ciphers: 'DHE-RSA-AES128-GCM-SHA256', cipherSuites: 'TLS_AES_128_CCM_SHA256' },
    expected: [
      /is neither ECDHE with AES-GCM nor with ChaCha20-Poly1305/,
      /TLS_AES_128_CCM_SHA256 is not built$/,
    ],
  },
  {
    name: 'a lower security level in the list of suites',
    settings: { ciphers: '@SECLEVEL=0:ECDHE+AESGCM' },
    expected: [/: @SECLEVEL=0 isn’t allowed here$/],
  },
  {
    name: 'a list of suites that takes all of them away',
    settings: { ciphers: 'ECDHE+AESGCM:!ALL' },
    expected: [/: it comes to no suite at all$/],
  },
  {
    name: 'a weak group',
    settings: { groups: 'sect163k1' },
    expected: [/: the group "sect163k1" isn’t allowed here$/],
  },
];

for (const { name, settings, expected } of PROBLEMS) {
  test(`refuses ${name}`, () => {
    const { problems } = judge(settings);
    assert.equal(problems.length, expected.length, problems.join('\n'));
    for (const [index, pattern] of expected.entries()) assert.match(problems[index], pattern);
  });
}

test('an OCSP response whose issuer is known must be signed by it', () => {
  const middle = authority.intermediate('Signer');
  const certificate = middle.server(['signed.example']);
  const impostor = authority.intermediate('Signer');
  const refused = judge({ ...pathsOf(certificate), ocspPath: impostor.ocspFile(certificate) });
  assert.match(refused.problems.join(), /its signature is not by the certificate’s issuer/);
  assert.deepEqual(judge({ ...pathsOf(certificate), ocspPath: middle.ocspFile(certificate) }).problems, []);
});

const loose = authority.server(['loose.example']);
const grouped = authority.server(['grouped.example']);
chmodSync(loose.keyPath, 0o644);
chmodSync(grouped.keyPath, 0o640);
const unchained = testFile('unchained.pem', GOOD.cert + TestAuthority.root('Stranger').cert);

const WARNINGS: readonly {
  name: string;
  settings: Partial<TlsSettings>;
  hosts?: readonly string[];
  expected: readonly RegExp[];
}[] = [
  {
    name: 'a certificate that expired',
    settings: pathsOf(authority.server(['old.example'], { days: -2 })),
    expected: [/^tls\.cert_path: The certificate .* expired on \d{4}-\d\d-\d\d$/],
  },
  {
    name: 'a certificate that expires within 30 days',
    settings: { certificates: [pathsOf(authority.server(['soon.example'], { days: 29.5 }))] },
    expected: [/^tls\.certificates\[0\]\.cert_path: The certificate .* expires in 29 days, on /],
  },
  {
    name: 'a certificate that is not valid yet',
    settings: pathsOf(authority.server(['future.example'], { fromDays: 3 })),
    expected: [/is not valid before/],
  },
  {
    name: 'certificates that are no chain',
    settings: { certPath: unchained },
    expected: [/are not a chain, each issued by the next$/],
  },
  {
    name: 'a certificate without names',
    settings: pathsOf(authority.server([], { commonName: 'nameless' })),
    expected: [/has no names: clients will refuse it$/],
  },
  {
    name: 'a key that everybody can read',
    settings: pathsOf(loose),
    expected: [/^tls\.key_path: The private key .* can be read by everybody on this machine$/],
  },
  {
    name: 'a key that its group can read',
    settings: pathsOf(grouped),
    expected: [/can be read by its group$/],
  },
  {
    name: 'ticket keys that everybody can read',
    settings: { sessionTicketKeyPath: testFile('loose', Buffer.alloc(80), 0o644) },
    expected: [/^tls\.session_ticket_key_path: The file of ticket keys .* can be read by everybody/],
  },
  {
    name: 'an OCSP response that ran out',
    settings: { ocspPath: authority.ocspFile(GOOD, { fromDays: -8, days: -1 }) },
    expected: [/^tls\.ocsp_path: The OCSP response .* ran out on .*: it is not stapled$/],
  },
  {
    name: 'an OCSP response of a revoked certificate',
    settings: { ocspPath: authority.ocspFile(GOOD, { status: 'revoked' }) },
    expected: [/says that the certificate is revoked$/],
  },
  {
    name: 'an authority of clients that expired',
    settings: {
      clientAuth: 'required',
      clientCaPath: TestAuthority.root('Old', { days: -1 }).certPath,
    },
    expected: [/^tls\.client_ca_path: The client authority CN=Old expired on/],
  },
  {
    name: 'a certificate whose names have one already',
    settings: { certificates: [pathsOf(authority.server(['good.example'], { key: 'P-384' }))] },
    expected: [/^tls\.certificates\[0\]\.cert_path: .* is never used: all its names have one already$/],
  },
  {
    name: 'routed hosts that no certificate covers',
    settings: {},
    hosts: ['good.example', 'a.b.good.example', 'bad.example', '[2001:db8::1]'],
    expected: [
      /^tls\.certificates: There are routes for a\.b\.good\.example, bad\.example, 2001:db8::1, but no certificate is for them/,
    ],
  },
  {
    name: 'a certificate that no route needs',
    settings: { certificates: [pathsOf(OTHER)] },
    hosts: ['www.good.example'],
    expected: [/^tls\.certificates\[0\]\.cert_path: .* is for other\.example, which no route knows$/],
  },
];

for (const { name, settings, hosts, expected } of WARNINGS) {
  test(`warns of ${name}`, () => {
    const { problems, warnings } = judge(settings, hosts);
    assert.deepEqual(problems, []);
    assert.equal(warnings.length, expected.length, warnings.join('\n'));
    for (const [index, pattern] of expected.entries()) assert.match(warnings[index], pattern);
  });
}

for (const hosts of [['*.good.example'], ['*.deep.www.good.example', 'good.example'], ['*']]) {
  test(`finds nothing missing for ${hosts.join(' and ')}`, () => {
    const deep = authority.server(['x.deep.www.good.example']);
    const certificates = hosts.length === 2 ? [pathsOf(deep)] : [];
    assert.deepEqual(judge({ certificates }, hosts).warnings, []);
  });
}

test('tells names, kind of key, issuer and end of each certificate', () => {
  const rsa = TestAuthority.root('Another Root').server(['192.0.2.1', '2001:db8::1'], { key: 'RSA-2048' });
  const end = new Date(Date.now() + 90 * 86_400_000).toISOString().slice(0, 10);
  const settings = { ...SETTINGS, ...pathsOf(GOOD), certificates: [{ ...pathsOf(rsa), ocspPath: garbage }] };
  assert.deepEqual(describeCertificates(settings), [
    `good.example, *.good.example: ECDSA P-256, by Test Root, until ${end}`,
    `192.0.2.1, 2001:db8::1: RSA 2048, by Another Root, until ${end}, with an OCSP response`,
  ]);
});
