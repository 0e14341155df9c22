/** What is planned for rooms on machines that lack something: less where nothing was asked, a demand that fails where it was. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COMPARTMENTS } from '../../src/master/compartments.ts';
import { describe as describeRoom, measureLine, unmetDemands } from '../../src/master/describe.ts';
import type { Machine } from '../../src/master/machine.ts';
import {
  type Measure,
  planRoom,
  type RoomRequest,
  type SandboxWishes,
  STRONGEST,
  type Wishes,
} from '../../src/master/plan.ts';

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
/** An ordinary user on Debian 12. */
const ORDINARY: Machine = {
  ...STRONG,
  landlockAbi: 2,
  canChangeUser: false,
  canDropCapabilities: false,
  canMakeNamespaces: false,
};

const REQUEST: RoomRequest = {
  instance: 0,
  io: 'io_uring',
  main: '/app/main.js',
  arguments: ['edge'],
  program: ['/usr'],
  files: ['/var'],
  socketFolders: [],
  connectPorts: [8080],
  core: 1,
};

const SANDBOX: SandboxWishes = {
  unshare: ['mount'],
  keepCapabilities: [],
  binds: [],
  tmpfs: [],
  hasProc: false,
  hasDev: false,
  hostName: 'x',
  noNewPrivileges: true,
};

function measuresOf(machine: Machine, wishes: Partial<Wishes> = {}): Measure[] {
  return [...planRoom(COMPARTMENTS.edge, REQUEST, { ...STRONGEST, ...wishes }, machine).measures];
}

function planOf(machine: Machine, wishes: Partial<Wishes> = {}, request: Partial<RoomRequest> = {}) {
  return planRoom(COMPARTMENTS.edge, { ...REQUEST, ...request }, { ...STRONGEST, ...wishes }, machine).plan;
}

describe('the plan of a room', () => {
  it('has every measure on a machine that can all of them', () => {
    assert.ok(measuresOf(STRONG).every(({ state }) => state === 'on'));
  });

  it('has what is possible without privileges for an ordinary user, and tells the rest', () => {
    const measures = measuresOf(ORDINARY);
    const names = (state: string): string[] =>
      measures.filter((measure) => measure.state === state).map(({ name }) => name);
    assert.deepEqual(names('degraded'), ['user', 'capabilities', 'namespaces']);
    assert.deepEqual(names('on'), ['seccomp', 'Landlock', 'no_new_privs']);
    assert.ok(measures.every(({ isDemanded }) => !isDemanded));
    assert.match(
      measures.find(({ name }) => name === 'Landlock')?.words ?? '',
      /TCP ports are not restricted/,
    );
    const plan = planOf(ORDINARY);
    assert.deepEqual([plan.uid, plan.root, plan.namespaces, plan.dropsCapabilities], [-1, null, [], false]);
  });

  it('counts capabilities that were never there as gone', () => {
    const bare = { ...ORDINARY, isWithoutCapabilities: true };
    assert.equal(measuresOf(bare).find(({ name }) => name === 'capabilities')?.state, 'on');
    const sandbox = { ...SANDBOX, keepCapabilities: ['CAP_NET_BIND_SERVICE'] };
    const kept = measuresOf(bare, { sandbox }).find(({ name }) => name === 'capabilities');
    assert.deepEqual([kept?.state, kept?.isDemanded], ['degraded', true]);
  });

  const demands: [string, Partial<Machine>, Partial<Wishes>][] = [
    ['user', { canChangeUser: false }, { user: { uid: 1, gid: 1 } }],
    ['seccomp', { hasSeccomp: false }, { seccomp: 'filter' }],
    ['seccomp', { architecture: undefined }, { seccomp: 'log' }],
    ['Landlock', { landlockAbi: 0 }, { landlock: true }],
    ['namespaces', { canMakeNamespaces: false }, { sandbox: SANDBOX }],
  ];
  for (const [name, machine, wishes] of demands)
    it(`marks as demanded what was asked for and can’t be had: ${name}`, () => {
      const measure = measuresOf({ ...STRONG, ...machine }, wishes).find((each) => each.name === name);
      assert.deepEqual([measure?.state, measure?.isDemanded], ['degraded', true]);
      const unasked = measuresOf({ ...STRONG, ...machine }).find((each) => each.name === name);
      assert.deepEqual([unasked?.state, unasked?.isDemanded], ['degraded', false]);
    });

  it('leaves out what was switched off', () => {
    const plan = planOf(STRONG, { seccomp: 'disabled', landlock: false, sandbox: 'disabled' });
    assert.deepEqual([plan.startFilter, plan.sealFilter, plan.landlock, plan.root], ['', '', null, null]);
  });

  it('gives each worker an id of its own, below what the user namespace has', () => {
    assert.deepEqual(
      [0, 1, 95].map((instance) => planOf(STRONG, {}, { instance }).uid),
      [60594, 60595, 60689],
    );
    assert.equal(planOf({ ...STRONG, userIdsBelow: 1 }).uid, -1);
  });

  it('lets the edge connect to backends only, and no room without network to anything', () => {
    assert.deepEqual(planOf(STRONG).landlock?.connectPorts, [8080]);
    assert.deepEqual(planOf(STRONG).landlock?.bindPorts, []);
    const keys = planRoom(COMPARTMENTS.keys, REQUEST, STRONGEST, STRONG).plan;
    assert.deepEqual(keys.landlock?.connectPorts, []);
    assert.ok(keys.namespaces.includes('net'));
    assert.ok(!keys.landlock?.paths.some(({ path }) => path === '/var'));
  });

  it('is told in words, with what stops the start', () => {
    const measures = describeRoom('edge', ORDINARY, { ...STRONGEST, user: { uid: 1, gid: 1 } });
    const lines = measures.map(measureLine);
    assert.ok(lines.includes('NOT user: needs root (or CAP_SETUID and CAP_SETGID) to become another user'));
    assert.ok(lines.includes('no_new_privs: set'));
    assert.deepEqual(
      unmetDemands(measures).map(({ name }) => name),
      ['user'],
    );
  });

  it('is plain data', () => {
    const plan = planOf(STRONG);
    assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan);
    assert.ok(JSON.stringify(plan).length < 65_536, 'it fits an argument of a process');
  });
});
