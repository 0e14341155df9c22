/** The wording that the zerocopy-server document promises, and that everything wrong is told at once. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import { formatProblem } from '../../src/config/problem.ts';

const WRONG = `
[server]
listen = "0.0.0.0:443"

[tls]
cert_path = "/path/to/cert.pem"
key_path = "/path/to/key.pem"

[path_routes."example.com"."/api/"]
type = "Proxy"
url = "invalid-url"

[path_routes."example.com"."/pool/"]
type = "Proxy"
upstream = "backend-pool"
`;

test('keeps the exact wording of the three examples of the document, and reports all of them at once', () => {
  const { config, problems } = loadConfig(WRONG, '/tmp/config.toml', { notBuilt: [] });
  const lines = problems.map((problem) => formatProblem(problem, 'config.toml').split('\n')[0]);
  assert.equal(config, null);
  assert.deepEqual(lines.sort(), [
    "Error: Invalid proxy URL for route 'example.com:/api/': invalid-url",
    'Error: TLS certificate file not found: /path/to/cert.pem',
    'Error: TLS private key file not found: /path/to/key.pem',
    "Error: Upstream 'backend-pool' not found",
  ]);
});
