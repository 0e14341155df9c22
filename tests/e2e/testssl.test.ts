/** What testssl.sh finds: versions, suites, key exchange, and every known weakness that it can try. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { testAuthority } from '../fixtures/certificates.ts';
import { startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';

/** It takes a minute of a processor, and a busy machine has none to spare. */
const RUN_MS_MAX = 840_000;

interface Finding {
  readonly id: string;
  readonly severity: string;
  readonly finding: string;
}

test('testssl.sh finds TLS 1.2 and 1.3 only, and no weakness', { timeout: 900_000 }, async () => {
  const directory = openFolder('testssl');
  mkdirSync(join(directory, 'site'));
  writeFileSync(join(directory, 'site/index.html'), 'hello');
  const certificates = [
    testAuthority().server(['localhost']),
    testAuthority().server(['localhost', 'rsa.example'], { key: 'RSA-2048' }),
  ].map(({ certPath, keyPath }) => `cert_path = "${certPath}"\nkey_path = "${keyPath}"\n`);
  const edge = await startEdge(
    `[tls]\n${certificates[0]}[[tls.certificates]]\n${certificates[1]}
[path_routes."*"."/"]
type = "File"
path = "${join(directory, 'site')}"
`,
    { io: 'uring', logging: 'level = "error"' },
  );
  try {
    const report = join(directory, 'findings.json');
    const what = ['-p', '-s', '-f', '-U', '--warnings', 'batch', '--quiet', '--color', '0'];
    const { error, stdout } = spawnSync(
      'testssl',
      [...what, '--jsonfile', report, `localhost:${edge.port}`],
      {
        encoding: 'utf8',
        timeout: RUN_MS_MAX,
      },
    );
    assert.equal(error, undefined, `testssl.sh is needed by this test: ${error}`);
    const findings = JSON.parse(readFileSync(report, 'utf8')) as Finding[];
    const bad = findings.filter(({ severity }) => severity !== 'OK' && severity !== 'INFO');
    assert.deepEqual(bad, [], stdout);
    const found = new Map(findings.map(({ id, finding }) => [id, finding]));
    for (const id of ['SSLv2', 'SSLv3', 'TLS1', 'TLS1_1']) assert.equal(found.get(id), 'not offered', id);
    assert.equal(found.get('TLS1_2'), 'offered');
    assert.equal(found.get('TLS1_3'), 'offered with final');
    assert.equal(found.get('cipherlist_STRONG'), 'offered');
    assert.equal(found.get('cipherlist_AVERAGE'), 'not offered');
    assert.match(found.get('PFS_ECDHE_curves') ?? '', /X25519/);
    for (const id of ['heartbleed', 'CCS', 'ticketbleed', 'secure_client_renego', 'CRIME_TLS', 'LUCKY13'])
      assert.match(found.get(id) ?? '', /^not vulnerable/, id);
  } finally {
    await edge.stop();
    rmSync(directory, { recursive: true, force: true });
  }
});
