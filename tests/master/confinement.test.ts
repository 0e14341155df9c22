/** Each measure shown by trying what it forbids, in a real room; then all together, in every role. As root. */

import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { COMPARTMENTS } from '../../src/master/compartments.ts';
import { STRONGEST, type Wishes } from '../../src/master/plan.ts';
import { type Room, writtenPlan } from '../../src/master/room.ts';
import { until } from '../fixtures/patience.ts';
import {
  LAUNCHER,
  MACHINE,
  NOTHING,
  needRoot,
  openFolder,
  openPipe,
  planFor,
  prepareMaster,
  runRoom,
  startRoom,
  statusOf,
} from './house.ts';
import type { Given } from './rooms/probe-room.ts';

const EDGE_USER = 60594;
const GRANTED_PORT = 29030;
const DENIED_PORT = 29031;

let given: Given;
let victim: ChildProcess;
const servers: Server[] = [];

before(async () => {
  needRoot();
  const folder = openFolder();
  const file = join(folder, 'file');
  writeFileSync(file, 'content');
  chmodSync(file, 0o644);
  mkdirSync(join(folder, 'open'));
  chmodSync(join(folder, 'open'), 0o777);
  victim = spawn('sleep', ['120'], { uid: EDGE_USER, gid: EDGE_USER });
  for (const port of [GRANTED_PORT, DENIED_PORT]) {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    servers.push(server);
  }
  given = {
    file,
    folder: join(folder, 'open'),
    grantedPort: GRANTED_PORT,
    deniedPort: DENIED_PORT,
    victim: victim.pid ?? -1,
  };
});

after(() => {
  victim?.kill('SIGKILL');
  for (const server of servers) server.close();
});

/** What came of each attempt in a room of the edge's that is confined by `wishes`. */
async function attempts(names: readonly string[], wishes: Wishes): Promise<Record<string, string>> {
  for (const made of ['new', 'directory']) rmSync(join(given.folder, made), { recursive: true, force: true });
  const more = { connectPorts: [GRANTED_PORT], files: [given.file] };
  const planned = planFor('edge', 'probe-room', [names.join(','), JSON.stringify(given)], wishes, more);
  const { reason, output } = await runRoom(planned);
  assert.equal(reason, 'exit code 0', output);
  return JSON.parse(output);
}

/** With the measure each attempt ends so; without any it succeeds, or the test would show nothing. */
async function forbids(wishes: Wishes, expected: Readonly<Record<string, string>>): Promise<void> {
  const names = Object.keys(expected);
  assert.deepEqual(await attempts(names, wishes), expected);
  const free = await attempts(names, NOTHING);
  for (const name of names)
    assert.notEqual(free[name], expected[name], `${name} fails in the same way without it`);
}

describe('a measure alone', () => {
  it('Landlock: no file, port or process but those that were granted', () =>
    forbids(
      { ...NOTHING, landlock: true },
      {
        'make a file': 'EACCES',
        'make a directory': 'EACCES',
        'connect to another port': 'EACCES',
        'connect to another port through the ring': 'EACCES',
        'bind a port': 'EACCES',
        'trace a process': 'EPERM',
        'signal a process': 'EPERM',
        'see /proc': 'EACCES',
        'see /sys': 'EACCES',
        'see /dev': 'EACCES',
      },
    ));

  it('Landlock leaves what was granted', async () => {
    const names = [
      'read its file',
      'connect to a granted port',
      'connect to a granted port through the ring',
    ];
    const results = await attempts(names, { ...NOTHING, landlock: true });
    assert.deepEqual(results['read its file'], 'done');
    assert.deepEqual(results['connect to a granted port'], 'done');
    assert.match(results['connect to a granted port through the ring'], /^(done|EINPROGRESS)$/);
  });

  it('seccomp: no system call but those on the list, once the room is sealed', () =>
    forbids(
      { ...NOTHING, seccomp: 'filter' },
      {
        'make a file': 'EPERM',
        'make a directory': 'EPERM',
        'socket of netlink': 'EPERM',
        'connect to a granted port': 'EPERM',
        'bind a port': 'EPERM',
        'trace a process': 'EPERM',
        'signal a process': 'EPERM',
        'hold a process': 'EPERM',
        'handle page faults': 'EPERM',
        'load a program into the kernel': 'EPERM',
        'watch the processor': 'EPERM',
        'change what is executable': 'EPERM',
        'map memory to execute': 'EPERM',
        personality: 'EPERM',
        'a new ring': 'EPERM',
        'register with the ring': 'EPERM',
        'leave the user namespace': 'EPERM',
      },
    ));

  it('seccomp: no program and no process', async () => {
    assert.deepEqual(
      await attempts(['execve', 'start a process', 'start a process (clone3)'], {
        ...NOTHING,
        seccomp: 'filter',
      }),
      { execve: 'EPERM', 'start a process': 'EPERM', 'start a process (clone3)': 'ENOSYS' },
    );
  });

  it('namespaces and a private root: the rest of the machine is not there', () =>
    forbids(
      { ...NOTHING, sandbox: 'strongest' },
      {
        'read /etc/shadow': 'ENOENT',
        'make a file': 'ENOENT',
        'trace a process': 'ESRCH',
        'signal a process': 'ESRCH',
        'hold a process': 'ESRCH',
        'name of the host': 'edge',
        'see /proc': 'ENOENT',
        'see /sys': 'ENOENT',
        'see /dev': 'ENOENT',
        'its own number': '1',
      },
    ));

  it('another user without capabilities: nothing that takes root', async () => {
    const results = await attempts(
      ['read /etc/shadow', 'chmod its file', 'raw socket', 'socket of packets', 'mount', 'become root'],
      NOTHING,
    );
    assert.deepEqual(results, {
      'read /etc/shadow': 'EACCES',
      'chmod its file': 'EPERM',
      'raw socket': 'EPERM',
      'socket of packets': 'EPERM',
      mount: 'EPERM',
      'become root': 'EPERM',
    });
  });

  it('a restricted ring: no operation and no registration but those on the list', async () => {
    const names = ['open', 'write', 'socket', 'unlink'].map((what) => `${what} through the ring`);
    const results = await attempts(names, NOTHING);
    assert.deepEqual(
      Object.values(results),
      names.map(() => 'EACCES'),
    );
  });
});

describe('strict seccomp', () => {
  for (const name of [
    'make a file',
    'execve',
    'start a process',
    'socket of netlink',
    'map memory to execute',
    'signal a process',
    'trace a process',
    'a new ring',
  ]) {
    it(`kills a room that tries to: ${name}`, async () => {
      const parameters = [name, JSON.stringify(given)];
      const planned = planFor('edge', 'probe-room', parameters, { ...NOTHING, seccomp: 'strict' });
      const { reason, output } = await runRoom(planned);
      assert.equal(output, '');
      assert.match(reason, /^SIGSYS/);
    });
  }
});

describe('what is asked for', () => {
  it('capabilities that are kept are there, and no others', async () => {
    await prepareMaster();
    const sandbox = {
      unshare: ['mount', 'uts', 'ipc'] as const,
      keepCapabilities: ['CAP_NET_BIND_SERVICE'],
      binds: [],
      tmpfs: ['/srv'],
      hasProc: true,
      hasDev: true,
      hostName: 'zerocopy-sandbox',
      noNewPrivileges: true,
    };
    const room = startRoom(
      'edge',
      planFor('edge', 'plain-room', [], { ...NOTHING, sandbox }),
      [],
      openPipe(),
      {
        onReady() {},
        onMessage() {},
        onEnded() {},
      },
    );
    room.send({ kind: 'configure', generation: 1, part: 0, parts: 1, bytes: new Uint8Array(1) });
    await until(() => room.state !== 'starting', 20_000, 'the room is ready');
    const status = statusOf(room.pid);
    room.kill('the test is over');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      assert.equal(Number(`0x${status[set]}`), 1 << 10, set);
    assert.equal(status['NoNewPrivs'], '1');
    await until(() => room.state === 'ended', 10_000, 'the room ends');
  });

  it('an ordinary user gets Landlock, seccomp and no_new_privs', async () => {
    const ordinary = { canChangeUser: false, canDropCapabilities: false, canMakeNamespaces: false };
    const names = [
      'make a file',
      'connect to another port through the ring',
      'start a process',
      'become root',
    ];
    const wishes: Wishes = { ...STRONGEST, seccomp: 'filter' };
    const more = { connectPorts: [GRANTED_PORT], files: [given.file] };
    const parameters = [names.join(','), JSON.stringify(given)];
    const { plan } = planFor('edge', 'probe-room', parameters, wishes, more, { ...MACHINE, ...ordinary });
    const order = writtenPlan(plan);
    const command = [...LAUNCHER, '0', String(process.pid)];
    const stdout = execFileSync(process.execPath, command, {
      stdio: ['ignore', 'pipe', 'inherit', order],
      uid: EDGE_USER,
      gid: EDGE_USER,
      timeout: 60_000,
      encoding: 'utf8',
    });
    closeSync(order);
    assert.deepEqual(JSON.parse(stdout), {
      'make a file': 'EPERM',
      'connect to another port through the ring': 'EACCES',
      'start a process': 'EPERM',
      'become root': 'EPERM',
    });
  });
});

describe('every room, confined as strongly as this machine can', () => {
  for (const role of Object.keys(COMPARTMENTS) as (keyof typeof COMPARTMENTS)[]) {
    it(`${role}: all threads are locked, and nothing is open that wasn't given`, async () => {
      await prepareMaster();
      const output = openPipe();
      let room: Room | undefined;
      const ended = new Promise<string>((resolve) => {
        const planned = planFor(role, 'plain-room');
        const degraded = planned.measures.filter(({ state }) => state !== 'on');
        assert.deepEqual(degraded, []);
        room = startRoom(role, planned, [], output, {
          onReady: (ready) => {
            try {
              inspect(ready.pid, role);
              resolve('');
            } catch (error) {
              resolve(String(error));
            }
          },
          onMessage() {},
          onEnded: (_, reason) => resolve(reason),
        });
        room.send({ kind: 'configure', generation: 1, part: 0, parts: 1, bytes: new Uint8Array(1) });
      });
      const problem = await ended;
      room?.kill('the test is over');
      assert.equal(problem, '');
    });
  }
});

function inspect(pid: number, role: keyof typeof COMPARTMENTS): void {
  const user = String(60578 + COMPARTMENTS[role].userOffset);
  for (const task of readdirSync(`/proc/${pid}/task`).map(Number)) {
    const status = statusOf(pid, task);
    assert.equal(status['Uid'], [user, user, user, user].join('\t'));
    assert.equal(status['Gid'], [user, user, user, user].join('\t'));
    assert.equal(status['Groups'], '');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      assert.equal(Number(`0x${status[set]}`), 0, set);
    assert.equal(status['NoNewPrivs'], '1');
    assert.equal(status['Seccomp'], '2');
    assert.equal(status['Seccomp_filters'], '2');
  }
  const hosts = ['mnt', 'uts', 'ipc', 'cgroup', 'pid', ...(COMPARTMENTS[role].hasOwnNetwork ? ['net'] : [])];
  const link = (of: number | 'self', name: string): number =>
    Number(/\d+/.exec(readlinkSync(`/proc/${of}/ns/${name}`))?.[0]);
  for (const name of hosts) assert.notEqual(link(pid, name), link('self', name), name);
  const sockets = readdirSync(`/proc/${pid}/fd`).filter((fd) =>
    readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:'),
  );
  assert.deepEqual(sockets, ['3'], 'the channel to the master is its only socket');
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trim().split('\n');
  for (const mount of mounts) assert.match(mount.split(' ')[5], /^ro,nosuid,nodev/, mount);
  assert.ok(MACHINE.landlockAbi > 0);
}
