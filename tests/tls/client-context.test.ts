/** How backends are verified, and what they see of us: ClientContext against Node's own TLS server, in memory. */

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { TlsOptions } from 'node:tls';
import { SSL_free } from '../../src/sys/openssl.ts';
import { readPrivateKey } from '../../src/sys/openssl-client.ts';
import { ClientContext, type ClientSettings } from '../../src/tls/client-context.ts';
import { SESSION_AGE_SECS_MAX, TICKETS_MAX } from '../../src/tls/session-cache.ts';
import { loadSystemRoots, loadTrust, TrustStore } from '../../src/tls/system-roots.ts';
import { TestAuthority, testAuthority, testFile } from '../fixtures/certificates.ts';
import { connectTo, type Outcome, type Peer, peerWith } from './client-peer.ts';

const authority = testAuthority();
const trusted = new TrustStore([{ path: 'authority', text: authority.cert }]);
const TLS_1_2 = 0x0303;
const TLS_1_3 = 0x0304;

function contextFor(settings: Partial<ClientSettings> = {}): ClientContext {
  return new ClientContext({
    serverName: 'backend.example',
    trust: trusted,
    certificate: null,
    ...settings,
  });
}

function serverFor(names: readonly string[], options: TlsOptions = {}): Peer {
  const { cert, key } = authority.server(names);
  return peerWith({ cert, key, ...options });
}

async function tryOnce(peer: Peer, settings: Partial<ClientSettings> = {}): Promise<Outcome> {
  const context = contextFor(settings);
  const outcome = await connectTo(peer, context);
  context.free();
  return outcome;
}

describe('the name of a backend', () => {
  const cases: readonly {
    name: string;
    names: string[];
    asked: string;
    sent: string | false;
    ok: boolean;
  }[] = [
    {
      name: 'is accepted as it is',
      names: ['backend.example'],
      asked: 'backend.example',
      sent: 'backend.example',
      ok: true,
    },
    {
      name: 'is accepted in another case',
      names: ['Backend.Example'],
      asked: 'backend.example',
      sent: 'backend.example',
      ok: true,
    },
    {
      name: 'is accepted by a wildcard for its first label',
      names: ['*.backend.example'],
      asked: 'a.backend.example',
      sent: 'a.backend.example',
      ok: true,
    },
    {
      name: 'is refused by a wildcard for two labels',
      names: ['*.backend.example'],
      asked: 'a.b.backend.example',
      sent: 'a.b.backend.example',
      ok: false,
    },
    {
      name: 'is refused by a wildcard for part of a label',
      names: ['back*.intern.example'],
      asked: 'backend.intern.example',
      sent: 'backend.intern.example',
      ok: false,
    },
    {
      name: 'is refused where the certificate has another',
      names: ['other.example', 'third.example'],
      asked: 'backend.example',
      sent: 'backend.example',
      ok: false,
    },
    {
      name: 'may be an IPv4 address, which is not sent',
      names: ['127.0.0.1'],
      asked: '127.0.0.1',
      sent: false,
      ok: true,
    },
    {
      name: 'may be an IPv6 address, which is not sent',
      names: ['::1'],
      asked: '::1',
      sent: false,
      ok: true,
    },
    {
      name: 'is refused as an address that the certificate has as a name',
      names: ['*.0.0.1'],
      asked: '127.0.0.1',
      sent: false,
      ok: false,
    },
    {
      name: 'is refused as another address',
      names: ['127.0.0.2'],
      asked: '127.0.0.1',
      sent: false,
      ok: false,
    },
  ];
  for (const { name, names, asked, sent, ok } of cases) {
    it(name, async () => {
      const peer = serverFor(names, { maxVersion: 'TLSv1.2' });
      const { failure } = await tryOnce(peer, { serverName: asked });
      if (ok) {
        assert.equal(failure, '');
        assert.deepEqual(
          peer.seen.map((each) => each.serverName),
          [sent],
        );
      } else {
        assert.equal(
          failure,
          `its certificate is not for ${asked} but for ${names.join(', ')}; sni_name can say which name it must have`,
        );
      }
    });
  }

  it('is not looked for in the common name', async () => {
    const { cert, key } = authority.server([], { commonName: 'backend.example' });
    assert.match((await tryOnce(peerWith({ cert, key }))).failure, /but for no name \(a common name/);
  });

  it('is told in bounded length where the certificate has many', async () => {
    const names = Array.from(
      { length: 40 },
      (_, index) => `${'x'.repeat(60)}.${'y'.repeat(60)}.${index}.example`,
    );
    const { failure } = await tryOnce(serverFor(names));
    assert.match(failure, /… and 35 more;/);
    assert.ok(failure.length < 800, `${failure.length} characters`);
  });
});

describe('the certificate of a backend', () => {
  const root = TestAuthority.root('Elsewhere');

  it('is refused when it has expired, with the time', async () => {
    const { cert, key } = authority.server(['backend.example'], { days: -2 });
    assert.match((await tryOnce(peerWith({ cert, key }))).failure, /^its certificate has expired \(\d{4}-/);
  });

  it('is refused when it is not valid yet', async () => {
    const { cert, key } = authority.server(['backend.example'], { fromDays: 3 });
    assert.match((await tryOnce(peerWith({ cert, key }))).failure, /^its certificate is not valid yet/);
  });

  it('is refused when an intermediate has expired, whose name is told', async () => {
    const late = authority.intermediate('Late Authority', { days: -1 });
    const { cert, key } = late.server(['backend.example']);
    assert.match(
      (await tryOnce(peerWith({ cert, key }))).failure,
      /^the certificate of its issuer, CN=Late Authority, has expired/,
    );
  });

  it('is refused when its issuer is unknown, whose name is told', async () => {
    const { cert, key } = root.server(['backend.example']);
    assert.match(
      (await tryOnce(peerWith({ cert, key }))).failure,
      /^its certificate has an unknown issuer, CN=Elsewhere:/,
    );
  });

  it('is refused when the unknown root comes with it', async () => {
    const { cert, key } = root.server(['backend.example']);
    assert.match(
      (await tryOnce(peerWith({ cert: cert + root.cert, key }))).failure,
      /^its certificate has an unknown issuer: CN=Elsewhere is not among/,
    );
  });

  it('is refused when it is self-signed', async () => {
    const own = TestAuthority.root('Self', {});
    const key = own.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    assert.match(
      (await tryOnce(peerWith({ cert: own.cert, key }))).failure,
      /^its certificate is self-signed \(CN=Self\)/,
    );
  });

  it('is refused when it is for clients', async () => {
    const { cert, key } = authority.client('backend.example');
    assert.equal(
      (await tryOnce(peerWith({ cert, key }))).failure,
      'its certificate is not for server authentication',
    );
  });

  it('is refused when its key is too weak', async () => {
    const { cert, key } = authority.server(['backend.example'], { key: 'RSA-1024' });
    const peer = peerWith({ cert, key, ciphers: 'DEFAULT@SECLEVEL=0' });
    assert.match((await tryOnce(peer)).failure, /too weak/);
  });

  it('is accepted with its intermediates, however they are signed', async () => {
    for (const key of ['P-384', 'RSA-2048', 'Ed25519'] as const) {
      const server = authority.intermediate(`Between ${key}`, { key }).server(['backend.example'], { key });
      assert.equal((await tryOnce(peerWith({ cert: server.cert, key: server.key }))).failure, '', key);
    }
  });

  it('is refused when there are more intermediates than are looked at', async () => {
    let last = authority;
    for (let depth = 1; depth <= 9; depth++) last = last.intermediate(`Level ${depth}`);
    const { cert, key } = last.server(['backend.example']);
    assert.equal((await tryOnce(peerWith({ cert, key }))).failure, 'its chain of certificates is too long');
  });

  it('is accepted when an intermediate is what is trusted', async () => {
    const between = root.intermediate('Between');
    const { cert, key } = between.server(['backend.example']);
    const trust = new TrustStore([{ path: 'between', text: between.cert }]);
    assert.equal((await tryOnce(peerWith({ cert, key }), { trust })).failure, '');
    trust.free();
  });

  it('is not looked at where nothing is verified', async () => {
    const { cert, key } = root.server(['other.example'], { days: -2 });
    const peer = peerWith({ cert, key });
    assert.equal((await tryOnce(peer, { trust: null })).failure, '');
    assert.equal(peer.seen[0].serverName, 'backend.example');
  });
});

describe('a handshake with a backend', () => {
  for (const [version, number] of [
    ['TLSv1.2', TLS_1_2],
    ['TLSv1.3', TLS_1_3],
  ] as const) {
    it(`succeeds in ${version}, and offers http/1.1 alone`, async () => {
      const peer = serverFor(['backend.example'], { minVersion: version, maxVersion: version });
      const outcome = await tryOnce(peer);
      assert.deepEqual(outcome, { failure: '', resumed: false, version: number });
      assert.equal(peer.seen[0].alpn, 'http/1.1');
    });
  }

  for (const version of ['TLSv1', 'TLSv1.1'] as const) {
    it(`fails in ${version}`, async () => {
      const peer = serverFor(['backend.example'], {
        minVersion: version,
        maxVersion: version,
        ciphers: 'DEFAULT@SECLEVEL=0',
      });
      assert.match((await tryOnce(peer)).failure, /speaks no version of TLS that is spoken here/);
    });
  }

  it('fails with a suite that is not AEAD', async () => {
    const peer = serverFor(['backend.example'], { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' });
    assert.match((await tryOnce(peer)).failure, /^it has no protocol version, cipher suite or key exchange/);
  });

  for (const group of ['X25519MLKEM768', 'X25519', 'P-256', 'P-384']) {
    it(`succeeds with ${group}`, async () => {
      const outcome = await tryOnce(
        serverFor(['backend.example'], { ecdhCurve: group, minVersion: 'TLSv1.3' }),
      );
      assert.equal(outcome.failure, '');
    });
  }

  it('shows the client certificate and its chain', async () => {
    const { cert, key } = authority.intermediate('Clients').client('edge');
    const peer = serverFor(['backend.example'], { requestCert: true, ca: authority.cert });
    const privateKey = readPrivateKey(key);
    assert.equal((await tryOnce(peer, { certificate: { pem: cert, privateKey } })).failure, '');
    assert.equal(peer.seen[0].clientName, 'edge');
  });

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    it(`fails in ${version} where a client certificate is required and there is none`, async () => {
      const options = { requestCert: true, ca: authority.cert, minVersion: version, maxVersion: version };
      assert.match(
        (await tryOnce(serverFor(['backend.example'], options))).failure,
        version === 'TLSv1.3'
          ? /^it asks for a client certificate/
          : /probably it asks for a client certificate/,
      );
    });
  }

  it('can not be made with a private key of another certificate', () => {
    const { cert } = authority.client('edge');
    const { key } = authority.client('other');
    assert.throws(
      () => contextFor({ certificate: { pem: cert, privateKey: readPrivateKey(key) } }),
      /the private key don't belong together/,
    );
  });
});

describe('sessions', () => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    it(`of ${version} are resumed`, async () => {
      const peer = serverFor(['backend.example'], { minVersion: version, maxVersion: version });
      const context = contextFor();
      const resumed: boolean[] = [];
      // Node's server gives two tickets for a full handshake in TLS 1.3, and none for a resumed one.
      for (let round = 0; round < 3; round++) resumed.push((await connectTo(peer, context)).resumed);
      assert.deepEqual(resumed, [false, true, true]);
      context.free();
    });
  }

  it('of TLS 1.3 are kept up to a bound', async () => {
    const peer = serverFor(['backend.example'], { minVersion: 'TLSv1.3' });
    const context = contextFor();
    await Promise.all(Array.from({ length: 12 }, () => connectTo(peer, context)));
    assert.equal(context.sessions.count, TICKETS_MAX);
    context.free();
  });

  it('of TLS 1.3 are offered once each', async () => {
    const peer = serverFor(['backend.example'], { minVersion: 'TLSv1.3' });
    const context = contextFor();
    await connectTo(peer, context);
    const before = context.sessions.count;
    assert.ok(before > 0);
    const outcomes = await Promise.all(Array.from({ length: before + 1 }, () => connectTo(peer, context)));
    assert.equal(outcomes.filter(({ resumed }) => resumed).length, before);
    context.free();
  });

  it('are offered for an hour at most, and not under a clock that was put back', async () => {
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      for (const [seconds, isOffered] of [
        [SESSION_AGE_SECS_MAX - 5, true],
        [SESSION_AGE_SECS_MAX + 5, false],
        [-5, false],
      ] as const) {
        const context = contextFor();
        await connectTo(
          serverFor(['backend.example'], { minVersion: version, maxVersion: version, sessionTimeout: 7200 }),
          context,
        );
        const other = contextFor();
        const ssl = other.newSession();
        const nowSecs = Math.trunc(Date.now() / 1000) + seconds;
        assert.equal(context.sessions.offer(ssl, nowSecs), isOffered, `${version}, after ${seconds} s`);
        if (!isOffered) assert.equal(context.sessions.count, 0);
        SSL_free(ssl);
        context.free();
        other.free();
      }
    }
  });

  it('of one context are unknown to another', async () => {
    const peer = serverFor(['backend.example']);
    const context = contextFor();
    await connectTo(peer, context);
    assert.equal((await tryOnce(peer)).resumed, false);
    assert.equal((await tryOnce(peer, { trust: null })).resumed, false);
    context.free();
  });

  it('that the server forgot cost a full handshake, no failure', async () => {
    const context = contextFor();
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const options = { minVersion: version, maxVersion: version };
      await connectTo(serverFor(['backend.example'], options), context);
      const outcome = await connectTo(serverFor(['backend.example'], options), context);
      assert.equal(outcome.failure, '');
      assert.equal(outcome.resumed, false);
    }
    context.free();
  });

  it('are forgotten after a failure', async () => {
    const context = contextFor();
    await connectTo(serverFor(['backend.example']), context);
    assert.notEqual((await connectTo(serverFor(['other.example']), context)).failure, '');
    assert.equal(context.sessions.count, 0);
    context.free();
  });

  it('are forgotten with the context, though a connection of it still gets one', async () => {
    const peer = serverFor(['backend.example']);
    await connectTo(peer, contextFor());
    const context = contextFor();
    const connecting = connectTo(peer, context);
    peer.server.once('connection', () => context.free());
    assert.equal((await connecting).failure, '');
    assert.equal(context.sessions.count, 0);
  });
});

describe('trusted certificates', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-trust-'));
  after(() => rmSync(directory, { recursive: true, force: true }));

  it('come from a file with text between them, each counted once', () => {
    const text = `# one\n${authority.cert}\ntwo\n${TestAuthority.root('Two').cert}\n${authority.cert}`;
    const trust = loadTrust(testFile('bundle.pem', text));
    assert.equal(trust.count, 2);
    trust.free();
  });

  it('come from all files of a directory, links and others among them', () => {
    const path = join(directory, 'some');
    mkdirSync(path);
    writeFileSync(join(path, 'a.pem'), authority.cert);
    symlinkSync('a.pem', join(path, '12345678.0'));
    symlinkSync('gone.pem', join(path, '87654321.0'));
    writeFileSync(join(path, 'README'), 'nothing');
    const trust = loadTrust(path);
    assert.equal(trust.count, 1);
    assert.equal(trust.identity, trusted.identity);
    trust.free();
  });

  it('must be there', () => {
    const empty = testFile('empty.pem', authority.client('x').key);
    assert.throws(() => loadTrust(empty), /holds no certificate in PEM form/);
    assert.throws(() => loadTrust(join(directory, 'missing.pem')), /ENOENT/);
  });

  it('must be readable', () => {
    const broken = testFile('broken.pem', authority.cert.replace(/\n.{10}/, '\nAAAAAAAAAA'));
    assert.throws(() => loadTrust(broken), /A certificate in .*broken.pem can't be read/);
  });

  it('of the system come from its bundle, or from where the environment says', () => {
    const file = testFile('system.pem', authority.cert);
    for (const [environment, bundles] of [
      [{}, [join(directory, 'missing'), file]],
      [{ SSL_CERT_FILE: file }, []],
      [{ SSL_CERT_DIR: join(directory, 'some') }, []],
    ] as const) {
      const trust = loadSystemRoots(environment, bundles);
      assert.equal(trust.identity, trusted.identity);
      trust.free();
    }
  });

  it('of the system are those of this machine', () => {
    const trust = loadSystemRoots({});
    assert.ok(trust.count > 50, `${trust.count} certificates`);
    trust.free();
  });

  it('of the system that are missing are told with the package that brings them', () => {
    assert.throws(
      () => loadSystemRoots({}, [join(directory, 'missing')]),
      /Install the package ca-certificates/,
    );
    const empty = testFile('none.pem', '');
    assert.throws(() => loadSystemRoots({ SSL_CERT_FILE: empty }), /SSL_CERT_DIR name none.*ca-certificates/);
  });
});
