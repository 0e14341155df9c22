/** Which certificate, protocol and session clients get, by handshakes with OpenSSL's own client in memory. */

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { remoteKey } from '../../src/tls/remote-key.ts';
import { type ServerContextOptions, ServerContexts } from '../../src/tls/server-contexts.ts';
import { ROLE_SERVER } from '../../src/tls/signature-request.ts';
import { Signer } from '../../src/tls/signer.ts';
import { TicketKeys } from '../../src/tls/ticket-keys.ts';
import { TestAuthority, type TestCertificate, testAuthority } from '../fixtures/certificates.ts';
import { type ClientWishes, type Handshaken, shakeHands } from './server-handshake.ts';
import { materialOf, SETTINGS, testKeyOf } from './server-material.ts';

function contextsOf(
  certificates: readonly TestCertificate[],
  options: Partial<ServerContextOptions> = {},
): ServerContexts {
  return new ServerContexts({
    settings: SETTINGS,
    material: materialOf(certificates),
    tickets: null,
    protocols: ['http/1.1'],
    ...options,
  });
}

/** One handshake with contexts that are given up afterwards. */
function handshakeWith(
  certificates: readonly TestCertificate[],
  wishes: ClientWishes,
  options: Partial<ServerContextOptions> = {},
): Handshaken {
  const contexts = contextsOf(certificates, options);
  const result = shakeHands(contexts, wishes);
  contexts.free();
  return result;
}

const TLS12 = 0x0303;
const TLS13 = 0x0304;
const authority = testAuthority();
const ONE = authority.server(['one.example', 'www.one.example']);
const WILD = authority.server(['*.two.example', '192.0.2.7']);
const EXACT = authority.server(['a.two.example'], { key: 'Ed25519' });

test('speaks TLS 1.3 with a hybrid post-quantum group where the client can', () => {
  const result = handshakeWith([ONE], { groups: 'X25519MLKEM768:X25519' });
  assert.equal(result.version, TLS13);
  assert.equal(result.group, 'X25519MLKEM768');
  assert.equal(result.suite, 'TLS_AES_128_GCM_SHA256');
});

test('speaks TLS 1.2 with forward secrecy where the client can no more', () => {
  const result = handshakeWith([ONE], { version: TLS12 });
  assert.equal(result.version, TLS12);
  assert.equal(result.suite, 'ECDHE-ECDSA-AES128-GCM-SHA256');
});

test('refuses TLS 1.2 where 1.3 is the least', () => {
  const settings = { ...SETTINGS, minVersion: '1.3' as const };
  const result = handshakeWith([ONE], { version: TLS12 }, { settings });
  assert.match(result.clientError, /protocol version/);
});

test('refuses a client that has no suite with authenticated encryption', () => {
  const result = handshakeWith([ONE], { version: TLS12, ciphers: 'ECDHE-ECDSA-AES128-SHA:AES128-SHA' });
  assert.match(result.serverError, /no shared cipher/);
});

for (const version of [TLS12, TLS13]) {
  test(`gives ChaCha20 to a client that puts it first, and its own favourite to others (${version.toString(16)})`, () => {
    const wishes = (list: string): ClientWishes =>
      version === TLS12
        ? {
            version,
            ciphers: list
              .replaceAll('CHACHA', 'ECDHE-ECDSA-CHACHA20-POLY1305')
              .replaceAll('AES', 'ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256'),
          }
        : {
            version,
            cipherSuites: list
              .replaceAll('CHACHA', 'TLS_CHACHA20_POLY1305_SHA256')
              .replaceAll('AES', 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256'),
          };
    assert.match(handshakeWith([ONE], wishes('CHACHA:AES')).suite, /CHACHA20/);
    assert.match(handshakeWith([ONE], wishes('AES:CHACHA')).suite, /AES.?128/);
  });
}

const CHOICES: readonly { name: string; asked: string | undefined; expected: TestCertificate }[] = [
  { name: 'the default without a name', asked: undefined, expected: ONE },
  { name: 'the default for an unknown name', asked: 'nobody.example', expected: ONE },
  { name: 'the default for its own name', asked: 'www.one.example', expected: ONE },
  { name: 'a wildcard', asked: 'b.two.example', expected: WILD },
  { name: 'an exact name before a wildcard', asked: 'A.Two.example', expected: EXACT },
  { name: 'the default where a wildcard is one label too short', asked: 'c.b.two.example', expected: ONE },
];

for (const { name, asked, expected } of CHOICES) {
  for (const version of [TLS12, TLS13]) {
    test(`chooses ${name} in ${version === TLS12 ? 'TLS 1.2' : 'TLS 1.3'}`, () => {
      const result = handshakeWith(
        [ONE, WILD, EXACT],
        asked === undefined ? { version } : { name: asked, version },
      );
      assert.equal(result.clientError, '');
      assert.deepEqual(result.certificate, expected.der);
      assert.equal(result.serverName, asked ?? '');
    });
  }
}

test('knows the name that was asked for with a single certificate, too', () => {
  assert.equal(handshakeWith([ONE], { name: 'nobody.example' }).serverName, 'nobody.example');
});

test('certificates of several kinds for the same names complete each other', () => {
  const names = ['both.example'];
  const [ecdsa, rsa] = [authority.server(names), authority.server(names, { key: 'RSA-2048' })];
  const contexts = contextsOf([ecdsa, rsa]);
  assert.equal(contexts.size, 1);
  const signed = (signatureAlgorithms: string) =>
    shakeHands(contexts, { name: 'both.example', signatureAlgorithms }).certificate;
  assert.deepEqual(signed('ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256'), ecdsa.der);
  assert.deepEqual(signed('rsa_pss_rsae_sha256'), rsa.der);
  contexts.free();
});

test('a name that only one of two certificates has is served by that one', () => {
  const narrow = authority.server(['n.example']);
  const wide = authority.server(['n.example', 'm.example'], { key: 'RSA-2048' });
  const contexts = contextsOf([narrow, wide]);
  assert.deepEqual(shakeHands(contexts, { name: 'm.example' }).certificate, wide.der);
  assert.deepEqual(shakeHands(contexts, { name: 'n.example' }).certificate, narrow.der);
  assert.deepEqual(
    shakeHands(contexts, { name: 'n.example', signatureAlgorithms: 'rsa_pss_rsae_sha256' }).certificate,
    wide.der,
  );
  contexts.free();
});

for (const key of ['P-384', 'RSA-2048', 'Ed25519'] as const) {
  test(`shakes hands with a key of the kind ${key} in both versions`, () => {
    const certificate = authority.server([`${key.toLowerCase()}.example`], { key });
    for (const version of [TLS12, TLS13])
      assert.equal(handshakeWith([certificate], { version }).version, version);
  });
}

const PROTOCOLS: readonly { name: string; theirs: readonly string[]; expected: string }[] = [
  { name: 'the one that both speak', theirs: ['h2', 'http/1.1'], expected: 'http/1.1' },
  { name: 'its own favourite of several', theirs: ['http/1.1', 'spdy/3'], expected: 'spdy/3' },
];

for (const { name, theirs, expected } of PROTOCOLS) {
  test(`agrees on ${name}`, () => {
    const protocols = expected === 'spdy/3' ? ['spdy/3', 'http/1.1'] : ['http/1.1'];
    assert.equal(handshakeWith([ONE], { protocols: theirs }, { protocols }).protocol, expected);
  });
}

test('a client without ALPN is welcome', () => {
  const result = handshakeWith([ONE], {});
  assert.equal(result.clientError, '');
  assert.equal(result.protocol, '');
});

test('a client that offers unknown protocols alone gets the alert no_application_protocol', () => {
  const result = handshakeWith([ONE], { protocols: ['imap'] });
  assert.match(result.clientError, /no application protocol/);
});

for (const version of [TLS12, TLS13]) {
  const words = version === TLS12 ? 'TLS 1.2' : 'TLS 1.3';

  test(`resumes in ${words} with contexts that share the keys`, () => {
    const tickets = TicketKeys.rotating(3600);
    const twin = TicketKeys.rotating(3600, tickets.state());
    const [first, second] = [contextsOf([ONE], { tickets }), contextsOf([ONE, WILD], { tickets: twin })];
    const full = shakeHands(first, { version, name: 'one.example' });
    assert.equal(full.resumed, false);
    const again = shakeHands(second, { version, name: 'one.example', session: full.session });
    assert.equal(again.clientError, '');
    assert.equal(again.resumed, true);
    for (const each of [first, second, tickets, twin]) each.free();
  });

  test(`resumes in ${words} a session of a name that SNI chose`, () => {
    const tickets = TicketKeys.rotating(3600);
    const contexts = contextsOf([ONE, WILD], { tickets });
    const full = shakeHands(contexts, { version, name: 'b.two.example' });
    assert.equal(
      shakeHands(contexts, { version, name: 'b.two.example', session: full.session }).resumed,
      true,
    );
    contexts.free();
    tickets.free();
  });

  test(`makes a full handshake in ${words} where keys are another’s`, () => {
    const [mine, other] = [TicketKeys.rotating(3600), TicketKeys.rotating(3600)];
    const [first, second] = [contextsOf([ONE], { tickets: mine }), contextsOf([ONE], { tickets: other })];
    const full = shakeHands(first, { version });
    const again = shakeHands(second, { version, session: full.session });
    assert.equal(again.clientError, '');
    assert.equal(again.resumed, false);
    for (const each of [first, second, mine, other]) each.free();
  });

  test(`a ticket in ${words} lives through one rotation and not through two`, () => {
    let now = 1_000_000_000_000;
    const tickets = TicketKeys.rotating(3600, null, () => now);
    const contexts = contextsOf([ONE], { tickets });
    const { session } = shakeHands(contexts, { version });
    now += 3_600_000;
    const later = shakeHands(contexts, { version, session });
    assert.equal(later.resumed, true);
    now += 3_600_000;
    assert.equal(shakeHands(contexts, { version, session }).resumed, false);
    assert.equal(shakeHands(contexts, { version, session: later.session }).resumed, true);
    contexts.free();
    tickets.free();
  });

  test(`gives no tickets in ${words} where they are off`, () => {
    const contexts = contextsOf([ONE]);
    const { session } = shakeHands(contexts, { version });
    assert.equal(shakeHands(contexts, { version, session }).resumed, false);
    contexts.free();
  });

  test(`tells a verified client from none in ${words}, resumed too`, () => {
    const clients = TestAuthority.root('Clients');
    const alice = clients.client('alice');
    const settings = { ...SETTINGS, clientAuth: 'optional' as const };
    const material = { ...materialOf([ONE]), clientAuthorities: Buffer.from(clients.cert) };
    const tickets = TicketKeys.rotating(3600);
    const contexts = contextsOf([], { settings, material, tickets });
    const known = shakeHands(contexts, { version, certificate: alice });
    assert.deepEqual(known.clientCertificate, alice.der);
    const again = shakeHands(contexts, { version, certificate: alice, session: known.session });
    assert.equal(again.resumed, true);
    assert.deepEqual(again.clientCertificate, alice.der);
    const anonymous = shakeHands(contexts, { version });
    assert.equal(anonymous.clientError, '');
    assert.equal(anonymous.clientCertificate.length, 0);
    contexts.free();
    tickets.free();
  });

  test(`refuses in ${words} a client of another authority, an expired one, and where it must be, none`, () => {
    const clients = TestAuthority.root('Clients');
    const stranger = TestAuthority.root('Clients').client('mallory');
    const material = { ...materialOf([ONE]), clientAuthorities: Buffer.from(clients.cert) };
    const errors = (clientAuth: 'optional' | 'required', certificate?: TestCertificate): string => {
      const settings = { ...SETTINGS, clientAuth };
      const wishes = certificate === undefined ? { version } : { version, certificate };
      return handshakeWith([], wishes, { settings, material }).serverError;
    };
    assert.match(errors('optional', stranger), /certificate verify failed/);
    assert.match(errors('required', clients.client('late', { days: -1 })), /certificate verify failed/);
    assert.match(errors('required', clients.server(['not-a-client.example'])), /certificate verify failed/);
    assert.match(errors('required'), /peer did not return a certificate/);
  });

  test(`a ticket in ${words} is no pass once other authorities verify clients`, () => {
    const [before, after] = [TestAuthority.root('Before'), TestAuthority.root('After')];
    const settings = { ...SETTINGS, clientAuth: 'required' as const };
    const tickets = TicketKeys.rotating(3600);
    const verifiedBy = ({ cert }: TestAuthority) =>
      contextsOf([], {
        settings,
        tickets,
        material: { ...materialOf([ONE]), clientAuthorities: Buffer.from(cert) },
      });
    const [old, fresh] = [verifiedBy(before), verifiedBy(after)];
    const certificate = before.client('bob');
    const { session } = shakeHands(old, { version, certificate });
    assert.equal(shakeHands(old, { version, certificate, session }).resumed, true);
    const refused = shakeHands(fresh, { version, certificate, session });
    assert.equal(refused.resumed, false);
    assert.match(refused.serverError, /certificate verify failed/);
    for (const each of [old, fresh, tickets]) each.free();
  });

  test(`staples an OCSP response in ${words} for clients that ask`, () => {
    const ocsp = authority.ocspResponse(ONE);
    const contexts = contextsOf([], { material: materialOf([ONE, EXACT], [ocsp]) });
    assert.deepEqual(shakeHands(contexts, { version, wantsStaple: true }).staple, ocsp);
    assert.equal(shakeHands(contexts, { version }).staple.length, 0);
    assert.equal(
      shakeHands(contexts, { version, wantsStaple: true, name: 'a.two.example' }).staple.length,
      0,
    );
    contexts.free();
  });
}

test('an OCSP response that has run out is not stapled', () => {
  const ocsp = authority.ocspResponse(ONE, { fromDays: -9, days: -1 });
  const result = handshakeWith([], { wantsStaple: true }, { material: materialOf([ONE], [ocsp]) });
  assert.equal(result.clientError, '');
  assert.equal(result.staple.length, 0);
});

test('sends the intermediates, so that a client that knows the root alone can verify', () => {
  const middle = authority.intermediate();
  const made = middle.server(['chained.example']);
  const contexts = contextsOf([made]);
  assert.deepEqual(shakeHands(contexts).certificate, made.der);
  contexts.free();
});

test('contexts that are given up during a handshake let it end', () => {
  for (const version of [TLS12, TLS13]) {
    const tickets = TicketKeys.rotating(3600);
    const contexts = contextsOf([ONE, WILD], { tickets });
    const result = shakeHands(contexts, { version, name: 'b.two.example', protocols: ['http/1.1'] }, () => {
      contexts.free();
      tickets.free();
    });
    assert.equal(result.clientError, '');
    assert.equal(result.protocol, 'http/1.1');
    assert.deepEqual(result.certificate, ONE.der);
  }
});

test('a handshake that began before a replacement gets the certificate of its name after it', () => {
  const fresh = authority.server(['*.two.example'], { key: 'P-384' });
  for (const version of [TLS12, TLS13]) {
    const [old, middle, next] = [contextsOf([ONE, WILD]), contextsOf([ONE]), contextsOf([ONE, fresh])];
    const result = shakeHands(old, { version, name: 'b.two.example' }, () => {
      old.followedBy(middle);
      old.free();
      middle.free();
      middle.followedBy(next);
    });
    assert.equal(result.clientError, '');
    assert.deepEqual(result.certificate, fresh.der);
    next.free();
  }
});

test('a private key may come from elsewhere', () => {
  const asked: number[] = [];
  const contexts = contextsOf([ONE, WILD], {
    material: {
      ...materialOf([ONE, WILD]),
      certificates: materialOf([ONE, WILD]).certificates.map((each) => ({ ...each, key: null })),
    },
    privateKeyFor: ({ index }) => {
      asked.push(index);
      return testKeyOf([ONE, WILD][index]);
    },
  });
  assert.deepEqual(asked, [0, 1]);
  assert.equal(shakeHands(contexts, { name: 'b.two.example' }).clientError, '');
  contexts.free();
});

test('keys of every kind may sign in another process', () => {
  const kinds = (['P-256', 'P-384', 'RSA-2048', 'Ed25519'] as const).map((key) =>
    authority.server([`${key.toLowerCase()}.remote.example`], { key }),
  );
  const signer = new Signer({ perSecond: 1e6, burst: 1e6 }, () => 0);
  for (const [index, { key }] of kinds.entries()) signer.add(index, ROLE_SERVER, key);
  const contexts = contextsOf(kinds, {
    privateKeyFor: ({ index }, publicKey) =>
      remoteKey(publicKey, ROLE_SERVER, index, (request) => signer.answer(request)),
  });
  for (const made of kinds) {
    for (const version of [TLS12, TLS13]) {
      const name = new X509Certificate(made.cert).subjectAltName?.slice('DNS:'.length) ?? '';
      const result = shakeHands(contexts, { name, version });
      assert.equal(result.clientError, '');
      assert.deepEqual(result.certificate, made.der);
    }
  }
  contexts.free();
});

const REFUSED: readonly { name: string; options: () => Partial<ServerContextOptions>; expected: RegExp }[] = [
  {
    name: 'a key of another certificate',
    options: () => ({ material: materialOf([ONE, { ...WILD, key: ONE.key }]) }),
    expected: /^tls\.certificates\[0\]: the private key does not belong to the certificate$/,
  },
  {
    name: 'no certificate at all',
    options: () => ({ material: materialOf([{ ...ONE, cert: 'nothing' }]) }),
    expected: /^tls: the certificate: it holds no certificate in PEM$/,
  },
  {
    name: 'a key that can’t be read',
    options: () => ({ material: materialOf([{ ...ONE, key: 'nothing' }]) }),
    expected: /^tls: the private key: it holds no private key/,
  },
  {
    name: 'a key that nobody gives',
    options: () => ({
      privateKeyFor: () => {
        throw new Error('the keys are locked');
      },
    }),
    expected: /^tls: the keys are locked$/,
  },
  {
    name: 'an OCSP response that is none',
    options: () => ({ material: materialOf([ONE], [Buffer.from('nothing')]) }),
    expected: /^tls: the OCSP response: it is not an OCSP response in DER$/,
  },
  {
    name: 'authorities that are none',
    options: () => ({
      settings: { ...SETTINGS, clientAuth: 'required' },
      material: { ...materialOf([ONE]), clientAuthorities: Buffer.from('nothing') },
    }),
    expected: /^tls\.client_ca_path: it holds no certificate in PEM$/,
  },
];

for (const { name, options, expected } of REFUSED) {
  test(`refuses ${name} and leaves nothing behind`, () => {
    assert.throws(() => contextsOf([ONE, WILD], options()), { message: expected });
  });
}
