/** Changes of the configuration that meet trouble on their way: none leaves the house between two configurations. */

import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { until } from '../fixtures/patience.ts';

const PATIENCE_MS = 30_000;
const DONE = /reload: .*(is in force|stays in force)/;

const folders = ['one', 'two', 'three'].map((name) => openFolder(`changes-${name}`));
for (const folder of folders) writeFileSync(join(folder, 'a.txt'), folder);
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

interface Shape {
  readonly folder?: string;
  readonly security?: string;
  readonly more?: string;
}

function configuration(port: number, { folder = folders[0], security = '', more = '' }: Shape): string {
  return `[server]
listen = "127.0.0.1:${port}"
threads = 2
shutdown_timeout_secs = 60
[logging]
level = "info"
${security}
[path_routes."*"."/"]
type = "File"
path = "${folder}"
mode = "sendfile"
${more}`;
}

/** What is logged until that reload is over. */
async function reload(edge: Edge, config: string): Promise<string> {
  const from = edge.stderr().length;
  edge.rewriteWhole(config);
  edge.signal('SIGHUP');
  return edge.logged(DONE, from, PATIENCE_MS);
}

function statusOf(port: number, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    }).once('error', reject);
  });
}

/** A connection that keeps its worker from finishing, with half of a request. */
async function hold(port: number): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  const answer = new Promise((resolve) => socket.once('data', resolve));
  socket.write('GET /a.txt HTTP/1.1\r\nHost: example.com\r\n\r\n');
  await answer;
  socket.write('GET /a.txt HTTP/1.1\r\nHost: exam');
  return socket;
}

describe('changes of the configuration in trouble', () => {
  test('the last worker of an older configuration goes while another one comes: keys stay', async () => {
    const certificate = testAuthority().server(['example.com']);
    const tls = `[tls]\ncert_path = "${certificate.certPath}"\nkey_path = "${certificate.keyPath}"`;
    const edge = await startEdge('', {
      io: 'uring',
      config: (port) => configuration(port, { security: tls }),
    });
    const oldest = await hold(edge.port);
    await reload(edge, configuration(edge.port, { security: tls, folder: folders[1] }));
    const older = await hold(edge.port);
    const workers = edge.rooms('edge').length;
    edge.rewriteWhole(configuration(edge.port, { security: tls, folder: folders[2] }));
    const from = edge.stderr().length;
    edge.signal('SIGHUP');
    await until(() => edge.rooms('edge').length > workers, PATIENCE_MS, 'new workers');
    oldest.destroy();
    const output = await edge.logged(DONE, from, PATIENCE_MS);
    assert.match(output, /is in force/);
    // Its worker is gone, and the older one still holds what only it needs.
    await until(() => edge.rooms('edge').length === workers, PATIENCE_MS, 'the end of the oldest worker');
    for (let count = 0; count < 4; count++) (await hold(edge.port)).destroy();
    older.destroy();
    await until(() => edge.rooms('edge').length === 2, PATIENCE_MS, 'the end of the older worker');
    (await hold(edge.port)).destroy();
    assert.doesNotMatch(edge.stderr(), /is gone|signatures not made/);
    await edge.stop();
  });

  test('a confinement that can’t be had refuses the reload, as it would the start', async () => {
    const edge = await startEdge('', { io: 'uring', config: (port) => configuration(port, {}) });
    const unknown = '[security]\ndrop_privileges_user = "nobody-of-that-name"';
    assert.match(
      await reload(edge, configuration(edge.port, { security: unknown })),
      /nobody-of-that-name.*the old configuration stays in force/,
    );
    const unmet = '[security]\nenable_sandbox = true\nsandbox_unshare_user = true';
    assert.match(
      await reload(edge, configuration(edge.port, { security: unmet })),
      /rooms can't be confined.*the old configuration stays in force/,
    );
    assert.match(await reload(edge, configuration(edge.port, {})), /is in force/);
    assert.equal(await statusOf(edge.port, '/a.txt'), 200);
    await edge.stop();
  });

  test('all rooms are locked in anew, not workers alone', async () => {
    const edge = await startEdge('', { io: 'uring', config: (port) => configuration(port, {}) });
    const [journal] = edge.rooms('journal');
    const security = '[security]\nseccomp_mode = "log"';
    assert.match(await reload(edge, configuration(edge.port, { security })), /is in force/);
    assert.notDeepEqual(edge.rooms('journal'), [journal]);
    assert.equal(edge.rooms('journal').length, 1);
    await edge.stop();
  });

  test('a worker that is just starting takes the new configuration, too', async () => {
    const edge = await startEdge('', { io: 'uring', config: (port) => configuration(port, {}) });
    const more = '[path_routes."*"."/elsewhere"]\ntype = "Redirect"\nredirect_url = "http://example.com/"\n';
    const from = edge.stderr().length;
    edge.rewriteWhole(configuration(edge.port, { more }));
    edge.signal('SIGHUP');
    for (const pid of edge.rooms('edge')) process.kill(pid, 'SIGKILL');
    await edge.logged(DONE, from, PATIENCE_MS);
    for (let count = 0; count < 8; count++) assert.equal(await statusOf(edge.port, '/elsewhere'), 301);
    await edge.stop();
  });

  test('a document root that was removed costs its own route, not the worker that starts then', async () => {
    const gone = openFolder('changes-gone');
    writeFileSync(join(gone, 'a.txt'), 'a');
    const more = `[path_routes."*"."/gone"]\ntype = "File"\npath = "${gone}"\nmode = "sendfile"\n`;
    const edge = await startEdge('', { io: 'uring', config: (port) => configuration(port, { more }) });
    rmSync(gone, { recursive: true });
    const before = edge.rooms('edge');
    for (const pid of before) process.kill(pid, 'SIGKILL');
    await until(() => edge.rooms('edge').every((pid) => !before.includes(pid)), PATIENCE_MS, 'their end');
    await until(() => edge.rooms('edge').length === 2, PATIENCE_MS, 'new workers');
    assert.equal(await statusOf(edge.port, '/a.txt'), 200);
    assert.equal(await statusOf(edge.port, '/gone/a.txt'), 404);
    const from = edge.stderr().length;
    mkdirSync(gone);
    writeFileSync(join(gone, 'a.txt'), 'a');
    await edge.logged('new workers take over', from, PATIENCE_MS);
    const workers = edge.rooms('edge');
    await until(() => edge.rooms('edge').length === 2, PATIENCE_MS, `others in the place of ${workers}`);
    await until(() => !edge.rooms('edge').some((pid) => workers.includes(pid)), PATIENCE_MS, 'new workers');
    assert.equal(await statusOf(edge.port, '/gone/a.txt'), 200);
    await edge.stop();
    rmSync(gone, { recursive: true });
  });
});
