/** Which backends are the same, and what is said of the files that they name. */

import assert from 'node:assert/strict';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  BackendTlsSet,
  contextOf,
  filesOnDisk,
  inspectBackendTls,
  loadBackendTls,
  readBackendMaterial,
} from '../../src/backend/backend-tls.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/model.ts';
import { readPrivateKey } from '../../src/sys/openssl-client.ts';
import { TestAuthority, testAuthority, testFile } from '../fixtures/certificates.ts';

const authority = testAuthority();
const client = authority.client('edge');
const ca = `ca_path = "${authority.certPath}"`;
const shows = `client_cert_path = "${client.certPath}"\nclient_key_path = "${client.keyPath}"`;
const URL = 'https://backend.example:8443/base';

function configOf(toml: string): Config {
  const { config, problems } = loadConfig(
    `[server]\nlisten = "127.0.0.1:8080"\nhttp2_enabled = false\n${toml}`,
    'test',
  );
  assert.ok(config !== null, JSON.stringify(problems));
  return config;
}

function oneRoute(keys: string, url = URL): Config {
  return configOf(`[host_routes.a]\ntype = "Proxy"\nurl = "${url}"\n${keys}`);
}

function identityOf(keys: string, url = URL): string {
  const config = oneRoute(keys, url);
  const set = loadBackendTls(config);
  const identity = set.of(config.upstreams[0].servers[0])?.identity ?? 'none';
  set.free();
  return identity;
}

/** Path and message of each problem and warning. */
function findings(config: Config): string[] {
  const found: string[] = [];
  const note = (kind: string, path: readonly (string | number)[], message: string): void =>
    void found.push(`${kind} ${path.join('/')}: ${message}`);
  const report = {
    add: (_kind: string, path: readonly (string | number)[], message: string) => note('error', path, message),
    warn: (path: readonly (string | number)[], message: string) => note('warning', path, message),
  };
  inspectBackendTls(config, report);
  return found;
}

describe('backends with one URL', () => {
  it('are the same under the same keys, however their files are called', () => {
    assert.equal(identityOf(ca), identityOf(`ca_path = "${testFile('copy.pem', authority.cert)}"`));
    assert.equal(identityOf(`${ca}\n${shows}`), identityOf(`${ca}\n${shows}`));
  });

  const others: readonly { name: string; keys: string }[] = [
    { name: 'another name', keys: `${ca}\nsni_name = "other.example"` },
    { name: 'other trusted certificates', keys: `ca_path = "${TestAuthority.root('Other').certPath}"` },
    { name: 'those of the system', keys: '' },
    { name: 'no verification', keys: 'insecure = true' },
    { name: 'a client certificate', keys: `${ca}\n${shows}` },
  ];
  for (const { name, keys } of others) {
    it(`are others with ${name}`, () => {
      assert.notEqual(identityOf(keys), identityOf(ca));
    });
  }

  it('are others when the content of a file has changed', () => {
    const path = testFile('changing.pem', authority.cert);
    const before = identityOf(`ca_path = "${path}"`);
    writeFileSync(path, authority.cert + TestAuthority.root('More').cert);
    assert.notEqual(identityOf(`ca_path = "${path}"`), before);
  });

  it('have nothing of this without https', () => {
    assert.equal(identityOf('', 'http://backend.example'), 'none');
  });
});

describe('backends whose files were read before', () => {
  const config = oneRoute(`${ca}\n${shows}`);
  const [entry] = config.upstreams[0].servers;

  it('are the same as those whose files are read now, though the files are gone', () => {
    const [caCopy, certCopy] = [
      testFile('ca-copy.pem', authority.cert),
      testFile('cert-copy.pem', client.cert),
    ];
    const copies = oneRoute(
      `ca_path = "${caCopy}"\nclient_cert_path = "${certCopy}"\nclient_key_path = "${client.keyPath}"`,
    );
    const material = readBackendMaterial(copies, { [client.keyPath]: 1 });
    for (const path of [caCopy, certCopy]) rmSync(path);
    const passedOn: typeof material = JSON.parse(JSON.stringify(material));
    const set = loadBackendTls(copies, passedOn, () => readPrivateKey(client.key));
    const tls = set.of(copies.upstreams[0].servers[0]);
    assert.equal(tls?.identity, identityOf(`${ca}\n${shows}`));
    set.free();
  });

  it('can’t be had without them', () => {
    const { trusts, clientCertificates, clientKeys } = readBackendMaterial(config, {});
    const key = () => readPrivateKey(client.key);
    assert.throws(
      () => loadBackendTls(config, { trusts: {}, clientCertificates, clientKeys }, key),
      /^Error: Backend https:\S+: \S+: it was not read$/,
    );
    assert.throws(
      () => loadBackendTls(config, { trusts, clientCertificates: {}, clientKeys }, key),
      /^Error: Backend https:\S+: \S+: it was not read$/,
    );
    assert.equal(entry.clientKeyPath, client.keyPath);
  });

  it('with the system’s certificates have them as one text', () => {
    const material = readBackendMaterial(oneRoute(''), {});
    assert.deepEqual(Object.keys(material.trusts), ['']);
    const other = oneRoute('');
    const set = loadBackendTls(other, material);
    assert.equal(set.of(other.upstreams[0].servers[0])?.identity, identityOf(''));
    set.free();
  });
});

describe('the name of a backend', () => {
  const cases: readonly (readonly [url: string, keys: string, name: string])[] = [
    ['https://backend.example', '', 'backend.example'],
    ['https://Backend.Example.', '', 'backend.example'],
    ['https://backend.example', 'sni_name = "other.example"', 'other.example'],
    ['https://192.0.2.1:444', '', '192.0.2.1'],
    ['https://[2001:db8::1]:444', '', '2001:db8::1'],
  ];
  for (const [url, keys, name] of cases) {
    it(`is ${name} for ${url} ${keys}`, () => {
      const config = oneRoute(`${ca}\n${keys}`, url);
      const set = loadBackendTls(config);
      assert.equal(set.of(config.upstreams[0].servers[0])?.settings.serverName, name);
      set.free();
    });
  }
});

describe('the private key of a client certificate', () => {
  it('may come from elsewhere, and is freed with the rest', () => {
    const asked: string[] = [];
    const config = oneRoute(`${ca}\n${shows}`);
    const set = loadBackendTls(config, null, (certificate, keyPath) => {
      asked.push(keyPath);
      assert.equal(certificate, client.cert.trim());
      return readPrivateKey(client.key);
    });
    const tls = set.of(config.upstreams[0].servers[0]);
    assert.ok(tls !== null);
    const context = contextOf(URL, tls);
    set.free();
    assert.notEqual(context.newSession(), 0);
    context.free();
    assert.deepEqual(asked, [client.keyPath]);
  });

  it('that is not there stops the configuration, with the name of the backend', () => {
    const config = oneRoute(`${ca}\n${shows}`);
    const refuse = (): number => {
      throw new Error('the keys are elsewhere');
    };
    assert.throws(
      () => loadBackendTls(config, null, refuse),
      /^Error: Backend https:\S+: the keys are elsewhere$/,
    );
  });
});

describe('files of backends', () => {
  it('that are right are nothing to speak of', () => {
    assert.deepEqual(findings(oneRoute(`${ca}\n${shows}`)), []);
  });

  const empty = testFile('empty.pem', 'nothing');
  const stranger = authority.client('stranger');
  const cases: readonly { name: string; toml: string; expected: RegExp }[] = [
    {
      name: 'no certificate in ca_path of a host route',
      toml: `[host_routes."a.example"]\ntype = "Proxy"\nurl = "${URL}"\nca_path = "${empty}"`,
      expected: /^error host_routes\/a\.example\/ca_path: .* holds no certificate in PEM form$/,
    },
    {
      name: 'no certificate in ca_path of a path route',
      toml: `[path_routes."a.example"."/x/"]\ntype = "Proxy"\nurl = "${URL}"\nca_path = "${empty}"`,
      expected: /^error path_routes\/a\.example\/\/x\/\/ca_path: /,
    },
    {
      name: 'no certificate in ca_path of a server',
      toml: `[upstreams.u]\nservers = [{ url = "${URL}", ca_path = "${empty}" }]`,
      expected: /^error upstreams\/u\/servers\/0\/ca_path: /,
    },
    {
      name: 'no private key in client_key_path',
      toml: `[host_routes.a]\ntype = "Proxy"\nurl = "${URL}"\n${ca}\nclient_cert_path = "${client.certPath}"\nclient_key_path = "${empty}"`,
      expected:
        /^error host_routes\/a\/client_key_path: The private key .* can’t be used: it holds no private key/,
    },
    {
      name: 'the private key of another certificate',
      toml: `[host_routes.a]\ntype = "Proxy"\nurl = "${URL}"\n${ca}\nclient_cert_path = "${client.certPath}"\nclient_key_path = "${stranger.keyPath}"`,
      expected:
        /^error host_routes\/a\/client_cert_path: The client certificate can't be used: it and the private key/,
    },
  ];
  for (const { name, toml, expected } of cases) {
    it(`are reported at their key: ${name}`, () => {
      const found = findings(configOf(toml));
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(found[0], expected);
    });
  }

  it('are warned of: a client certificate that ends soon, and a key that others may read', () => {
    const late = authority.client('late', { days: 10 });
    chmodSync(late.keyPath, 0o644);
    const found = findings(
      oneRoute(`${ca}\nclient_cert_path = "${late.certPath}"\nclient_key_path = "${late.keyPath}"`),
    );
    assert.equal(found.length, 2, found.join('\n'));
    assert.match(found[0], /^warning host_routes\/a\/client_cert_path: .* expires in \d+ days$/);
    assert.match(found[1], /^warning host_routes\/a\/client_key_path: Others may read the private key/);
  });

  it('of the system that are missing are told with the package that has them', () => {
    const set = new BackendTlsSet(filesOnDisk({ SSL_CERT_FILE: empty }));
    const { servers } = oneRoute('').upstreams[0];
    assert.throws(() => set.add(servers[0]), /Install the package ca-certificates/);
  });
});
