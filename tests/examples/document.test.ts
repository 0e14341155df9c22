/**
 * The example file of the zerocopy-server document as its reader would use it: paths and ports put in that are there, and without
 * HTTP/3. `check` explains it in plain words, and the product serves what it says.
 */

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, runCommand, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { within } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

const DOCUMENT = resolve(import.meta.dirname, '../config/document-example.toml');
const PATIENCE_MS = 10_000;
const authority = testAuthority();
const { certPath, keyPath } = authority.server(['example.com', 'api.example.com']);

describe('the example of the zerocopy-server document', () => {
  let folder: string;
  let application: NodeServer;
  let httpPort: number;
  let edge: Edge;

  function filled(port: number): string {
    let text = readFileSync(DOCUMENT, 'utf8');
    for (const [written, real] of [
      ['0.0.0.0:443', `127.0.0.1:${port}`],
      ['0.0.0.0:80', `127.0.0.1:${httpPort}`],
      ['http3_enabled = true', 'http3_enabled = false'],
      ['/path/to/cert.pem', certPath],
      ['/path/to/key.pem', keyPath],
      ['/var/www', `${folder}/www`],
      ['"/etc/zerocopy-server"', `"${folder}/etc"`],
      ['"/var/log/zerocopy-server"', `"${folder}/log"`],
      ['http://localhost:8080', application.url],
    ]) {
      assert.ok(text.includes(written), `the document has ${written}`);
      text = text.replaceAll(written, real);
    }
    return text;
  }

  before(async () => {
    folder = openFolder('document');
    for (const path of ['etc', 'log', 'www/assets', 'www/docs', 'www/user'])
      mkdirSync(join(folder, path), { recursive: true });
    for (const path of ['example/index.html', 'example/page.html', 'robots.txt', 'index.html']) {
      mkdirSync(dirname(join(folder, 'www', path)), { recursive: true });
      writeFileSync(join(folder, 'www', path), path);
    }
    application = await startNodeServer((incoming, response) => {
      response.end(`${incoming.method} ${incoming.url} for ${incoming.headers.host}`);
    });
    httpPort = await freePort();
    edge = await startEdge('', { io: 'uring', config: filled });
  });

  after(async () => {
    await edge?.stop();
    await application?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function ask(host: string, path: string): Promise<string> {
    const answer = new Promise<string>((done, fail) => {
      const asked = request({
        host: '127.0.0.1',
        port: edge.port,
        path,
        servername: host,
        headers: { host },
        ca: authority.cert,
        agent: false,
      });
      asked.on('error', fail);
      asked.on('response', (response) => {
        let body = '';
        response.on('data', (chunk: Buffer) => (body += chunk.toString()));
        response.on('end', () => done(`${response.statusCode} ${body}`));
      });
      asked.end();
    });
    return within(answer, PATIENCE_MS, `${host}${path}`);
  }

  test('serves as the document says: the host route first, and an application at another name', async () => {
    assert.equal(await ask('example.com', '/page.html'), '200 example/page.html');
    assert.equal(await ask('example.com', '/'), '200 example/index.html');
    assert.equal(await ask('api.example.com', '/users?x=1'), '200 GET /users?x=1 for api.example.com');
  });

  test('check explains every part of it', () => {
    const path = join(folder, 'etc/config.toml');
    writeFileSync(path, filled(443));
    const { code, stdout, stderr } = runCommand(['check', '-c', path]);
    assert.equal(code, 0, stderr);
    const words = stdout.replaceAll(/\s+/g, ' ');
    for (const said of [
      '127.0.0.1:443 (HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3)',
      `127.0.0.1:${httpPort} (redirects to HTTPS)`,
      'example.com, api.example.com: ECDSA P-256',
      `example.com, all paths → files beneath ${folder}/www/example; a directory answers with its index.html`,
      `api.example.com, all paths → proxy to ${application.url}`,
      `example.com /api and below → proxy to ${application.url}/app; /api removed from the path (never reached: example.com takes all requests for its host)`,
      'Workers: 4',
      'Log: requests and events, as text, to standard error',
      'Metrics: none',
    ])
      assert.ok(words.includes(said), `${said}\nin\n${words}`);
    for (const key of [
      'drop_privileges_user = "nobody"',
      'drop_privileges_group = "nogroup"',
      'max_concurrent_connections = 10000',
      'enable_seccomp = true',
      'seccomp_mode = "filter"',
      'enable_landlock = true',
      'landlock_read_paths = [',
      'landlock_write_paths = [',
      'reuseport_balancing = "cbpf"',
      'huge_pages_enabled = true',
      'ktls_enabled = true',
    ])
      assert.ok(words.includes(key), `${key}\nin\n${words}`);
    // All that is left to warn of is what the document itself does: a host route before path routes of its host.
    const warned = stdout.slice(stdout.indexOf('\nWarnings\n')).match(/^ {2}\S.*$/gm) ?? [];
    assert.equal(warned.filter((line) => line.includes('is never reached')).length, 7);
  });
});
