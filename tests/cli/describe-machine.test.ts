/** What `check` says of the machine: rooms with their reasons, workers, and what stops the start. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type IoOutlook, lookAtIo, machineLines } from '../../src/cli/describe-machine.ts';
import type { Files } from '../../src/config/files.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/model.ts';
import { edgeUserOf } from '../../src/master/describe.ts';
import type { Machine } from '../../src/master/machine.ts';

const STRONG: Machine = {
  architecture: 'x64',
  hasSeccomp: true,
  landlockAbi: 7,
  canChangeUser: true,
  canDropCapabilities: true,
  isWithoutCapabilities: false,
  canMakeNamespaces: true,
  namespaces: ['mnt', 'uts', 'ipc', 'net', 'cgroup', 'pid'],
  userIdsBelow: 65536,
};
const ORDINARY: Machine = {
  ...STRONG,
  canChangeUser: false,
  canDropCapabilities: false,
  canMakeNamespaces: false,
};
const IO: IoOutlook = { words: 'io_uring', backend: 'io_uring', hugePages: false };

/** Every file is there. */
const FILES: Files = { kindOf: () => 'file', isReachable: () => true };

function configOf(lines: string): Config {
  const text = lines.includes('[server]') ? lines : `[server]\nlisten = "127.0.0.1:1"\n${lines}`;
  const { config, problems } = loadConfig(text, '/etc/edge/config.toml', { files: FILES });
  assert.deepEqual(problems, []);
  assert.ok(config !== null);
  return config;
}

function linesOf(toml: string, machine = STRONG, cores = [0, 1], io = IO): string[] {
  return machineLines(configOf(toml), io, machine, cores).map(({ depth, text }) => `${depth} ${text}`);
}

function workersOf(toml: string, cores: number[]): string {
  return (
    linesOf(toml, STRONG, cores)
      .find((line) => line.startsWith('1 Workers'))
      ?.slice(11) ?? ''
  );
}

const TLS = '[tls]\ncert_path = "a.crt"\nkey_path = "a.key"\n';

describe('the outlook of a machine', () => {
  const rooms: [string, string, string[]][] = [
    ['files', '[host_routes.a]\npath = "/srv/a"', ['journal', 'edge']],
    ['addresses alone', '[host_routes.a]\ntype = "Proxy"\nurl = "http://10.0.0.1:1"', ['journal', 'edge']],
    ['a name', '[host_routes.a]\ntype = "Proxy"\nurl = "http://a.example"', ['journal', 'outbound', 'edge']],
    [
      'health checks',
      '[upstreams.u]\nservers = ["http://10.0.0.1"]\nhealth_check = {}\n[host_routes.a]\ntype = "Proxy"\nupstream = "u"',
      ['journal', 'outbound', 'edge'],
    ],
    ['TLS', TLS, ['journal', 'keys', 'edge']],
    [
      'a certificate that a backend is shown',
      '[host_routes.a]\ntype = "Proxy"\nurl = "https://10.0.0.1"\nclient_cert_path = "c.crt"\nclient_key_path = "c.key"',
      ['journal', 'keys', 'edge'],
    ],
  ];
  for (const [name, toml, expected] of rooms)
    it(`has the rooms that a configuration needs: ${name}`, () => {
      const found = linesOf(toml).filter((line) => line.startsWith('2 '));
      assert.deepEqual(
        found.map((line) => line.slice(2).split(':')[0]),
        expected,
      );
      for (const line of found) assert.match(line, / \(runs (always|for .+)\)$/);
    });

  const workers: [string, number[], string][] = [
    ['', [3], '1, on any core'],
    [
      '',
      [0, 1],
      '2, one for each core that the program may use, each bound to its core; connections are spread by the kernel',
    ],
    [
      '',
      [-1, -1],
      '2, as a quota of processor time allows, on any core; connections are spread by the kernel',
    ],
    ['threads = 1', [0, 1], '1 (threads = 1), on any core'],
    [
      'threads = 2',
      [0, 1, 2],
      '2 (threads = 2), each bound to its core; connections are spread by the kernel',
    ],
    [
      'threads = 5',
      [0, 1],
      '5 (threads = 5), bound to 2 cores in turn; connections are spread by the kernel',
    ],
  ];
  for (const [threads, cores, expected] of workers)
    it(`tells of ${expected}`, () => {
      assert.equal(workersOf(`[server]\nlisten = "127.0.0.1:1"\n${threads}`, cores), expected);
    });

  it('tells who gets a connection, and whether there are huge pages', () => {
    const toml = '[performance]\nreuseport_balancing = "cbpf"\nhuge_pages_enabled = true';
    assert.match(workersOf(toml, [0, 1]), /spread by the client’s address$/);
    assert.ok(linesOf(toml).includes('1 Huge pages: this kernel gives none, ordinary ones are used'));
    assert.ok(linesOf(toml, STRONG, [0], { ...IO, hugePages: true }).includes('1 Huge pages: for buffers'));
    assert.ok(!linesOf('').some((line) => line.includes('Huge pages')));
  });

  it('tells what an ordinary user has, and what not', () => {
    const lines = linesOf('', ORDINARY);
    assert.ok(lines.includes('3 Landlock: ABI 7'));
    assert.ok(lines.includes('3 NOT namespaces: need root (or CAP_SYS_ADMIN)'));
    assert.ok(!lines.some((line) => line.includes('Nothing would start')));
  });

  it('tells what stops the start, and what is permitted to be missing', () => {
    const asked = '[security]\nenable_sandbox = true\n';
    assert.match(
      linesOf(asked, ORDINARY).join('\n'),
      /^1 Nothing would start here, .*: NOT namespaces: need/m,
    );
    const allowed = linesOf(`${asked}allow_degraded = true`, ORDINARY).join('\n');
    assert.match(
      allowed,
      /^1 Asked for and not to be had here, which security\.allow_degraded permits: NOT/m,
    );
    assert.match(
      linesOf('[security]\ndrop_privileges_user = "nobody-of-that-name"').join('\n'),
      /^1 Nothing would start: security\.drop_privileges_user: \/etc\/passwd has no nobody-of-that-name/m,
    );
  });

  it('asks this machine for a reactor', () => {
    assert.match(lookAtIo(configOf('')).words, /^(io_uring|epoll), because /);
    assert.equal(lookAtIo(configOf('')).hugePages, false);
  });
});

describe('the user of the edge', () => {
  const cases: [Partial<Machine>, ReturnType<typeof edgeUserOf>][] = [
    [{}, { uid: 60594, canHaveOwnRoot: true }],
    [{ canChangeUser: false }, { uid: -1, canHaveOwnRoot: true }],
    [{ userIdsBelow: 60594 }, { uid: -1, canHaveOwnRoot: true }],
    [{ canMakeNamespaces: false }, { uid: 60594, canHaveOwnRoot: false }],
    [{ namespaces: ['net'] }, { uid: 60594, canHaveOwnRoot: false }],
  ];
  for (const [machine, expected] of cases)
    it(`is ${JSON.stringify(expected)} with ${JSON.stringify(machine)}`, () => {
      assert.deepEqual(edgeUserOf({ ...STRONG, ...machine }), expected);
    });
});
