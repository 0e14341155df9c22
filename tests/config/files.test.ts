/** The real file system: what is where, and who may reach it. */

import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { currentReader, findReader, type Reader, systemFiles } from '../../src/config/files.ts';
import { loadConfig } from '../../src/config/load.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-files-'));
chmodSync(folder, 0o755);
after(() => rmSync(folder, { recursive: true, force: true }));

const STRANGER: Reader = { name: 'stranger', uid: 4_000_000, gids: [4_000_000] };
const MEMBER: Reader = {
  name: 'member',
  uid: 4_000_000,
  gids: process.getgid === undefined ? [] : [process.getgid()],
};

function file(name: string, mode: number): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  chmodSync(path, mode);
  return path;
}

function directory(name: string, mode: number): string {
  const path = join(folder, name);
  mkdirSync(path);
  chmodSync(path, mode);
  return path;
}

test('files, directories, sockets and other things are told apart', async () => {
  const socket = join(folder, 'a.sock');
  const server = createServer().listen(socket);
  await new Promise((resolve) => server.once('listening', resolve));
  assert.equal(systemFiles.kindOf(socket), 'socket');
  server.close();
  assert.equal(systemFiles.kindOf(file('a', 0o644)), 'file');
  assert.equal(systemFiles.kindOf(directory('b', 0o755)), 'directory');
  assert.equal(systemFiles.kindOf('/dev/null'), 'other');
  assert.equal(systemFiles.kindOf(join(folder, 'missing')), 'missing');
});

test('another user reads what its permission bits allow, on the way to it too', () => {
  const open = file('open', 0o644);
  assert.equal(systemFiles.isReachable(open, 'file', STRANGER), true);
  const group = file('group', 0o640);
  assert.equal(systemFiles.isReachable(group, 'file', STRANGER), false);
  assert.equal(systemFiles.isReachable(group, 'file', MEMBER), true);
  const closed = directory('closed', 0o700);
  writeFileSync(join(closed, 'a'), '');
  assert.equal(systemFiles.isReachable(join(closed, 'a'), 'file', STRANGER), false);
  const listed = directory('listed', 0o744);
  assert.equal(systemFiles.isReachable(listed, 'directory', STRANGER), false);
  assert.equal(systemFiles.isReachable(open, 'file', currentReader()), true);
});

test('users and groups are found by name', () => {
  assert.equal(findReader('root', null)?.uid, 0);
  assert.deepEqual(findReader('root', 'root')?.gids, [0]);
  assert.equal(findReader('no-such-user', null), null);
  assert.equal(findReader('root', 'no-such-group'), null);
});

test('warns of a directory that the user to drop to may not read', () => {
  const site = directory('site', 0o700);
  const toml = `[server]\nlisten = "127.0.0.1:80"\n[security]\ndrop_privileges_user = "nobody"\n[host_routes.a]\npath = "${site}"\n`;
  const { warnings } = loadConfig(toml, join(folder, 'config.toml'), { notBuilt: [] });
  assert.equal(warnings.length, 1);
  assert.equal(warnings[0].message, `The edge’s user (nobody) may not read the directory ${site}`);
});
