/** The real file system: what is where, and who may reach it. */

import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  currentReader,
  findReader,
  type Reader,
  readerOf,
  SAME_USER,
  systemFiles,
} from '../../src/config/files.ts';
import { loadConfig } from '../../src/config/load.ts';

const folder = mkdtempSync(join(tmpdir(), 'sallyport-files-'));
chmodSync(folder, 0o755);
after(() => rmSync(folder, { recursive: true, force: true }));

const STRANGER = readerOf({ uid: 4_000_000, canHaveOwnRoot: true }, false);
const MEMBER: Reader = { ...STRANGER, gids: process.getgid === undefined ? [] : [process.getgid()] };
/** In a room with a root of its own. */
const SECLUDED = readerOf({ uid: 4_000_000, canHaveOwnRoot: true }, true);

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

test('in a root of its own, folders above don’t matter, but for the one that holds a socket', async () => {
  const closed = directory('above', 0o700);
  writeFileSync(join(closed, 'a'), '');
  chmodSync(join(closed, 'a'), 0o644);
  mkdirSync(join(closed, 'site'));
  chmodSync(join(closed, 'site'), 0o755);
  assert.equal(systemFiles.isReachable(join(closed, 'a'), 'file', SECLUDED), true);
  assert.equal(systemFiles.isReachable(join(closed, 'site'), 'directory', SECLUDED), true);
  chmodSync(join(closed, 'site'), 0o711);
  assert.equal(systemFiles.isReachable(join(closed, 'site'), 'directory', SECLUDED), false);
  const socket = join(closed, 'site', 'app.sock');
  const server = createServer().listen(socket);
  await new Promise((resolve) => server.once('listening', resolve));
  chmodSync(socket, 0o666);
  assert.equal(systemFiles.isReachable(socket, 'socket', SECLUDED), true);
  assert.equal(systemFiles.isReachable(socket, 'socket', STRANGER), false);
  chmodSync(join(closed, 'site'), 0o700);
  assert.equal(systemFiles.isReachable(socket, 'socket', SECLUDED), false);
  server.close();
});

test('where nobody is named, it is this process, or whoever the edge is on this machine', () => {
  assert.deepEqual(readerOf(SAME_USER, true), currentReader());
  const reader = readerOf({ uid: 60_594, canHaveOwnRoot: false }, true);
  assert.deepEqual([reader.name, reader.gids, reader.hasOwnRoot], ['uid 60594', [60_594], false]);
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

for (const [security, expected] of [
  ['', null],
  ['enable_sandbox = true', null],
  ['enable_sandbox = false', 'permit it, on the path itself and on all folders above it'],
  ['sandbox_unshare_mount = false', 'permit it, on the path itself and on all folders above it'],
] as const)
  test(`the edge’s own user is told what it can’t read with ${security || 'nothing said'}`, () => {
    const name = `hidden-${security.replaceAll(/\W+/g, '-')}`;
    mkdirSync(join(directory(name, 0o700), 'site'));
    chmodSync(join(folder, name, 'site'), 0o755);
    const toml = `[server]\nlisten = "127.0.0.1:80"\n[security]\n${security}\n[host_routes.a]\npath = "${join(folder, name, 'site')}"\n`;
    const edgeUser = { uid: 60_594, canHaveOwnRoot: true };
    const { warnings } = loadConfig(toml, join(folder, 'config.toml'), { notBuilt: [], edgeUser });
    assert.equal(warnings[0]?.mend ?? null, expected);
  });
