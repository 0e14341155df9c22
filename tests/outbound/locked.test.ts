/** What the room that reaches out must not do, tried from inside; and what it looks like from outside. As root. */

import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { before, describe, it } from 'node:test';
import { STRONGEST, type Wishes } from '../../src/master/plan.ts';
import { until } from '../fixtures/patience.ts';
import { NOTHING, needRoot, openFolder, planFor, prepareMaster, runRoom, statusOf } from '../master/house.ts';
import type { Given } from '../master/rooms/probe-room.ts';
import { OutboundHouse } from './outbound-room.ts';

const given: Given = {
  file: '/etc/hostname',
  folder: openFolder(),
  grantedPort: 22_400,
  deniedPort: 22_401,
  victim: 1,
};

before(async () => {
  needRoot();
  await prepareMaster();
});

async function attempts(names: readonly string[], wishes: Wishes): Promise<Record<string, string>> {
  const planned = planFor('outbound', 'probe-room', [names.join(','), JSON.stringify(given)], wishes);
  const { reason, output } = await runRoom(planned);
  assert.equal(reason, 'exit code 0', output);
  return JSON.parse(output) as Record<string, string>;
}

const FORBIDDEN: Readonly<Record<string, string>> = {
  'read /etc/shadow': 'ENOENT',
  'read its file': 'ENOENT',
  'make a file': 'EPERM',
  'unlink its file': 'EPERM',
  execve: 'EPERM',
  'start a process': 'EPERM',
  'start a process (clone3)': 'ENOSYS',
  'socket of netlink': 'EPERM',
  'socket of packets': 'EPERM',
  'raw socket': 'EPERM',
  'bind a port': 'EPERM',
  listen: 'EPERM',
  accept: 'EPERM',
  'trace a process': 'EPERM',
  'signal a process': 'EPERM',
  'hold a process': 'EPERM',
  mount: 'EPERM',
  'become root': 'EPERM',
  'change what is executable': 'EPERM',
  'map memory to execute': 'EPERM',
  'a new ring': 'EPERM',
  'register with the ring': 'EPERM',
  'open through the ring': 'EACCES',
  'accept through the ring': 'EACCES',
  'write through the ring': 'EACCES',
  'socket through the ring': 'EACCES',
  'unlink through the ring': 'EACCES',
  'see /proc': 'ENOENT',
  'see /dev': 'ENOENT',
};

describe('the room that reaches out', () => {
  it('can’t do from inside what it has no need to', async () => {
    const result = await attempts(Object.keys(FORBIDDEN), { ...STRONGEST, seccomp: 'filter' });
    assert.deepEqual(result, FORBIDDEN);
    const free = await attempts(['listen', 'bind a port', 'see /proc', 'make a file'], NOTHING);
    for (const [name, came] of Object.entries(free)) assert.notEqual(came, FORBIDDEN[name], name);
  });

  it('may still open what it asks by', async () => {
    const result = await attempts(['socket of datagrams', 'connect to a granted port'], STRONGEST);
    assert.deepEqual(result, { 'socket of datagrams': 'done', 'connect to a granted port': 'ECONNREFUSED' });
  });

  for (const name of ['execve', 'listen', 'accept', 'make a file', 'start a process', 'trace a process'])
    it(`is killed where it tries to all the same: ${name}`, async () => {
      const { reason, output } = await runRoom(
        planFor('outbound', 'probe-room', [name, JSON.stringify(given)]),
      );
      assert.equal(output, '');
      assert.match(reason, /^SIGSYS/);
    });

  for (const io of ['io_uring', 'epoll'] as const)
    it(`is locked in all its threads when it is ready, on ${io}`, async () => {
      const room = new OutboundHouse().start(io);
      await room.configure('');
      const { pid } = room.room;
      const own = String(statusOf(pid)['Uid']).split('\t');
      assert.deepEqual(new Set(own), new Set(['60581']));
      for (const task of readdirSync(`/proc/${pid}/task`)) {
        const status = statusOf(pid, Number(task));
        const { Seccomp, Seccomp_filters, NoNewPrivs, CapEff, CapBnd } = status;
        assert.deepEqual(
          { Seccomp, Seccomp_filters, NoNewPrivs, CapEff, CapBnd },
          {
            Seccomp: '2',
            Seccomp_filters: '2',
            NoNewPrivs: '1',
            CapEff: '0000000000000000',
            CapBnd: '0000000000000000',
          },
        );
      }
      const open = readdirSync(`/proc/${pid}/fd`).map((fd) => {
        try {
          return readlinkSync(`/proc/${pid}/fd/${fd}`);
        } catch {
          return '';
        }
      });
      assert.deepEqual(
        open.filter(
          (path) => path.startsWith('/') && !path.startsWith('/dev/null') && !/\/output$/.test(path),
        ),
        [],
      );
      await room.stop();
      await until(() => room.ended !== '', 5000, 'its end');
    });
});
