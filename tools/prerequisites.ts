/**
 * The programs of other people that tests and benchmarks use. On Debian they are installed where they are
 * missing; elsewhere a missing one ends the run and is named: a test that can't run must not look green.
 */

import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Command, and the Debian package that brings it. */
type Commands = readonly (readonly [string, string])[];

const COMMANDS: Commands = [
  ['bwrap', 'bubblewrap'],
  ['chromium', 'chromium'],
  ['curl', 'curl'],
  ['gcc', 'gcc'],
  ['git', 'git'],
  ['haproxy', 'haproxy'],
  ['ip', 'iproute2'],
  ['mount', 'mount'],
  ['nghttp', 'nghttp2-client'],
  ['nginx', 'nginx-light'],
  ['openssl', 'openssl'],
  ['prlimit', 'util-linux'],
  ['promtool', 'prometheus'],
  ['ps', 'procps'],
  ['python3', 'python3'],
  ['systemd-analyze', 'systemd'],
  ['taskset', 'util-linux'],
  ['testssl', 'testssl.sh'],
  ['wrk', 'wrk'],
];
/** Debian's own Python, which has Debian's modules; another one that comes first in PATH has not. */
export const PYTHON = '/usr/bin/python3';
/** Where the module for HTTP/2 is. */
const PYTHON_H2 = '/usr/lib/python3/dist-packages/h2';

/** Where daemons live that an ordinary user's PATH leaves out. */
const SYSTEM_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];
/** Debian asks this script whether a package may start its daemon; 101 means no (invoke-rc.d). */
const POLICY = '/usr/sbin/policy-rc.d';
const INSTALL_MS_MAX = 600_000;

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function missing(commands: Commands): (readonly [string, string])[] {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const found = commands.filter(
    ([command]) => !folders.some((folder) => isExecutable(join(folder, command))),
  );
  if (commands !== COMMANDS) return found;
  // A compiler without the C library's headers compiles nothing; the TLS load generator needs OpenSSL's.
  if (!existsSync('/usr/include/stdio.h')) found.push(['the headers of the C library', 'libc6-dev']);
  if (!existsSync('/usr/include/openssl/ssl.h')) found.push(['the headers of OpenSSL', 'libssl-dev']);
  if (!existsSync(PYTHON_H2)) found.push(["Python's module h2", 'python3-h2']);
  return found;
}

function aptGet(...args: readonly string[]): boolean {
  console.log(`$ apt-get ${args.join(' ')}`);
  const { status } = spawnSync('apt-get', args, {
    stdio: 'inherit',
    timeout: INSTALL_MS_MAX,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  return status === 0;
}

function install(packages: readonly string[]): boolean {
  // A machine that has its own policy keeps it.
  const setPolicy = !existsSync(POLICY);
  if (setPolicy) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    return aptGet('update', '-q') && aptGet('install', '-qy', '--no-install-recommends', ...packages);
  } finally {
    if (setPolicy) rmSync(POLICY, { force: true });
  }
}

/** Puts daemons' folders into PATH, installs what is missing, and returns whether everything is there. */
export function ensurePrerequisites(commands: Commands = COMMANDS): boolean {
  process.env['PATH'] = [process.env['PATH'] ?? '', ...SYSTEM_FOLDERS].join(delimiter);
  const absent = missing(commands);
  if (absent.length === 0) return true;
  const packages = [...new Set(absent.map(([, debian]) => debian))];
  const names = absent.map(([command]) => command).join(', ');
  const isRoot = process.getuid?.() === 0;
  if (existsSync('/usr/bin/apt-get') && isRoot && install(packages) && missing(commands).length === 0)
    return true;
  console.error(`Error: the tests need what is not installed: ${names}.`);
  console.error(`On Debian: apt-get install ${packages.join(' ')} (as root, this command does it itself).`);
  return false;
}
