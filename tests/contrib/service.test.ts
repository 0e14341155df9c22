/** contrib/systemd: what systemd says of it, and that the server has within it what it needs. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { connect } from 'node:tls';
import { COMPARTMENTS } from '../../src/master/compartments.ts';
import { testAuthority } from '../fixtures/certificates.ts';
import { startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const NAME = 'zerocopy-server.service';
const SERVICE = readFileSync(join(ROOT, 'contrib/systemd', NAME), 'utf8');
const DROP_IN = readFileSync(join(ROOT, 'contrib/systemd/unprivileged.conf'), 'utf8');
const DEPLOYMENT = readFileSync(join(ROOT, 'docs/DEPLOYMENT.md'), 'utf8');
/** What the master and the launcher call, beside what rooms are granted. */
const LOCKING_CALLS = [
  ...['unshare', 'setns', 'mount', 'umount2', 'pivot_root', 'sethostname', 'umask', 'pidfd_open'],
  ...['setgroups', 'setresgid', 'setresuid', 'setfsuid', 'prctl', 'capget', 'capset', 'seccomp'],
  ...['landlock_create_ruleset', 'landlock_add_rule', 'landlock_restrict_self', 'execve', 'clone', 'clone3'],
  ...['prlimit64', 'sched_getaffinity', 'sched_setaffinity', 'memfd_create', 'ftruncate', 'socketpair'],
  ...['socket', 'setsockopt', 'getsockopt', 'bind', 'listen', 'chmod', 'unlink', 'rename', 'kill', 'wait4'],
  ...['io_uring_setup', 'io_uring_enter', 'io_uring_register', 'statx', 'mkdir', 'symlink', 'setsid', 'dup3'],
];

/** Values of a directive, in the file's order. */
function valuesOf(text: string, directive: string): string[] {
  return [...text.matchAll(new RegExp(`^${directive}=(.*)$`, 'gm'))].map(([, value]) => value.trim());
}

/** The service in a folder of its own, started by this project's launcher; with the drop-in where asked. */
function installed(dropIn: boolean): string {
  const folder = openFolder('service');
  const launcher = join(ROOT, 'bin/zerocopy-server');
  place(
    join(folder, NAME),
    SERVICE.replace('ExecStart=/usr/local/bin/zerocopy-server', `ExecStart=${launcher}`),
  );
  if (dropIn) {
    mkdirSync(join(folder, `${NAME}.d`));
    place(join(folder, `${NAME}.d`, 'unprivileged.conf'), DROP_IN);
  }
  return join(folder, NAME);
}

/** systemd complains of units that others may write. */
function place(path: string, text: string): void {
  writeFileSync(path, text);
  chmodSync(path, 0o644);
}

function analyze(...args: readonly string[]): { code: number | null; words: string } {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
  return { code: status, words: `${stdout}${stderr}` };
}

/** The members of a set of system calls, with those of the sets in it. */
function membersOf(set: string): string[] {
  const { code, words } = analyze('syscall-filter', set);
  assert.equal(code, 0, words);
  const names = words
    .split('\n')
    .slice(1)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  return names.flatMap((name) => (name.startsWith('@') ? membersOf(name) : [name]));
}

/** What the filters of a unit let through. */
function allowedBy(filters: readonly string[]): Set<string> {
  const allowed = new Set<string>();
  for (const filter of filters) {
    const isDenied = filter.startsWith('~');
    for (const name of filter.replace('~', '').split(' '))
      for (const call of name.startsWith('@') ? membersOf(name) : [name])
        isDenied ? allowed.delete(call) : allowed.add(call);
  }
  return allowed;
}

/** The whole answer to a request over TLS. */
async function ask(port: number): Promise<string> {
  const options = { port, host: '127.0.0.1', servername: 'service.example', rejectUnauthorized: false };
  const socket = connect(options);
  socket.write('GET / HTTP/1.1\r\nHost: service.example\r\nConnection: close\r\n\r\n');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('latin1');
}

const authority = testAuthority();

describe('the service of systemd', () => {
  for (const [dropIn, words] of [
    [false, 'as root'],
    [true, 'as an ordinary user'],
  ] as const) {
    it(`is a unit without a fault, ${words}`, () => {
      const { code, words: found } = analyze('verify', installed(dropIn));
      assert.equal(code, 0, found);
      assert.equal(found.includes(NAME), false, found);
    });

    it(`is exposed as docs/DEPLOYMENT.md says, ${words}`, () => {
      const { words: report } = analyze('security', '--offline=true', installed(dropIn));
      const level = /exposure level for .*: ([\d.]+) /.exec(report)?.[1];
      const told = new RegExp(`exposure level[^\\n]*${words}[^\\n]* ([\\d.]+)`).exec(DEPLOYMENT)?.[1];
      assert.equal(level, told, report);
    });
  }

  it('lets through every system call that rooms and their master make', () => {
    const allowed = allowedBy(valuesOf(SERVICE, 'SystemCallFilter'));
    const needed = new Set(LOCKING_CALLS);
    for (const { starting, sealed } of Object.values(COMPARTMENTS))
      for (const io of ['io_uring', 'epoll'] as const)
        for (const rule of [...starting(io), ...sealed(io)]) {
          if (typeof rule !== 'string' && 'errno' in rule) continue;
          needed.add(typeof rule === 'string' ? rule : rule.call);
        }
    assert.deepEqual(
      [...needed].filter((call) => !allowed.has(call)),
      [],
    );
  });

  it('takes from an ordinary user no system call that its rooms make once they are sealed', () => {
    const filters = [...valuesOf(SERVICE, 'SystemCallFilter'), ...valuesOf(DROP_IN, 'SystemCallFilter')];
    const allowed = allowedBy(filters);
    const needed = Object.values(COMPARTMENTS).flatMap(({ sealed }) =>
      (['io_uring', 'epoll'] as const).flatMap((io) => sealed(io)),
    );
    const names = needed.flatMap((rule) =>
      typeof rule === 'string' ? [rule] : 'errno' in rule ? [] : [rule.call],
    );
    assert.deepEqual(
      [...new Set(names)].filter((call) => !allowed.has(call)),
      [],
    );
    // By which rooms give up the one capability that they inherit.
    assert.ok(allowed.has('capset'));
    assert.ok(!allowed.has('mount') && !allowed.has('setresuid'));
  });

  for (const io of IO_BACKENDS)
    it(`starts with its capabilities and its umask, and locks every room as strongly as without, on ${io}`, async () => {
      const capabilities = valuesOf(SERVICE, 'CapabilityBoundingSet')[0]
        .split(' ')
        .map((name) => `+${name.replace('CAP_', '').toLowerCase()}`);
      const [umask] = valuesOf(SERVICE, 'UMask');
      const site = openFolder('service');
      writeFileSync(join(site, 'index.html'), 'served', { mode: 0o644 });
      const { certPath, keyPath } = authority.server(['service.example']);
      // A key that is another user's alone: CAP_DAC_READ_SEARCH is for that.
      chmodSync(keyPath, 0o600);
      chownSync(keyPath, 4321, 4321);
      const tls = `[tls]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"\n`;
      const edge = await startEdge(`${tls}[host_routes."*"]\npath = "${site}"\n`, {
        io,
        prefix: [
          ...[
            'setpriv',
            `--bounding-set=-all,${capabilities.join(',')}`,
            '--inh-caps=-all',
            '--no-new-privs',
          ],
          ...['sh', '-c', `umask ${umask}; exec "$0" "$@"`],
        ],
      });
      await edge.logged('ready, with');
      assert.match(await ask(edge.port), /^HTTP\/1\.1 200 .*served$/s);
      const status = readFileSync(`/proc/${edge.workerPid}/status`, 'utf8');
      assert.match(status, /^Uid:\s+60594\s/m);
      assert.match(status, /^CapBnd:\s+0{16}$/m);
      edge.signal('SIGHUP');
      await edge.logged('the new configuration is in force');
      assert.doesNotMatch(edge.stderr(), /degraded/);
      await edge.stop();
    });

  it('gives no room the capability that unprivileged.conf gives the master', async () => {
    const name = valuesOf(DROP_IN, 'AmbientCapabilities')[0].replace('CAP_', '').toLowerCase();
    const site = openFolder('service');
    const edge = await startEdge(`[host_routes."*"]\npath = "${site}"\n`, {
      io: IO_BACKENDS[0],
      prefix: [
        ...['setpriv', '--reuid', '65532', '--regid', '65532', '--clear-groups', '--no-new-privs'],
        ...[`--bounding-set=-all,+${name}`, `--inh-caps=-all,+${name}`, `--ambient-caps=-all,+${name}`],
      ],
    });
    await edge.logged('ready, with');
    const setsOf = (pid: number): string[] =>
      [...readFileSync(`/proc/${pid}/status`, 'utf8').matchAll(/^Cap(?:Prm|Eff|Amb):\s+(\S+)$/gm)].map(
        ([, set]) => set,
      );
    const [none, bind] = ['0000000000000000', '0000000000000400'];
    assert.deepEqual(setsOf(edge.pid), [bind, bind, bind]);
    for (const role of ['journal', 'edge'] as const)
      for (const pid of edge.rooms(role)) assert.deepEqual(setsOf(pid), [none, none, none], role);
    await edge.stop();
  });

  it('says why it has not what would forbid compiled code, or openat2', () => {
    // systemd can't see openat2's flags, and answers it with ENOSYS: every file would be a 500.
    assert.deepEqual(valuesOf(SERVICE, 'RestrictSUIDSGID'), ['no']);
    assert.match(SERVICE, /# Not RestrictSUIDSGID=yes: it forbids openat2/);
    assert.deepEqual(valuesOf(SERVICE, 'MemoryDenyWriteExecute'), ['no']);
    assert.match(SERVICE, /# Not MemoryDenyWriteExecute=yes: V8 compiles/);
  });
});
