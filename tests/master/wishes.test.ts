/** What `[security]` wishes for rooms. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SecurityConfig } from '../../src/config/model.ts';
import { STRONGEST } from '../../src/master/plan.ts';
import { wishesOf } from '../../src/master/wishes.ts';

const SILENT: SecurityConfig = {
  dropPrivilegesUser: null,
  dropPrivilegesGroup: null,
  maxConcurrentConnections: 0,
  maxConnectionsPerIp: 0,
  allowDegraded: false,
  enableSeccomp: null,
  seccompMode: null,
  enableLandlock: null,
  landlockReadPaths: null,
  landlockWritePaths: null,
  enableSandbox: null,
  sandbox: {},
};

describe('the wishes of [security]', () => {
  it('are the strongest where nothing is said', () => assert.deepEqual(wishesOf(SILENT), STRONGEST));

  const seccomp: [SecurityConfig['enableSeccomp'], SecurityConfig['seccompMode'], string][] = [
    [true, null, 'filter'],
    [false, null, 'disabled'],
    [false, 'strict', 'disabled'],
    [null, 'log', 'log'],
    [true, 'disabled', 'disabled'],
    [true, 'strict', 'strict'],
  ];
  for (const [enableSeccomp, seccompMode, expected] of seccomp)
    it(`are ${expected} with enable_seccomp ${enableSeccomp} and seccomp_mode ${seccompMode}`, () => {
      assert.equal(wishesOf({ ...SILENT, enableSeccomp, seccompMode }).seccomp, expected);
    });

  it('take the document’s defaults for what enable_sandbox leaves open, and every key literally', () => {
    assert.deepEqual(wishesOf({ ...SILENT, enableSandbox: true }).sandbox, {
      unshare: ['mount', 'uts', 'ipc'],
      keepCapabilities: [],
      binds: [],
      tmpfs: ['/tmp'],
      hasProc: true,
      hasDev: true,
      hostName: 'zerocopy-sandbox',
      noNewPrivileges: true,
    });
    const sandbox = {
      unshare_pid: true,
      unshare_uts: false,
      ro_bind_mounts: ['/usr:/usr'],
      rw_bind_mounts: ['/a:/b'],
      tmpfs_mounts: [],
      mount_proc: false,
      hostname: 'edge',
      keep_capabilities: ['CAP_NET_BIND_SERVICE'],
    };
    const wishes = wishesOf({ ...SILENT, sandbox }).sandbox;
    assert.ok(typeof wishes !== 'string');
    assert.deepEqual(wishes.unshare, ['mount', 'ipc', 'pid']);
    assert.deepEqual(wishes.binds, [
      { source: '/usr', target: '/usr', isWritable: false },
      { source: '/a', target: '/b', isWritable: true },
    ]);
    assert.deepEqual([wishes.tmpfs, wishes.hasProc, wishes.hostName], [[], false, 'edge']);
    assert.deepEqual(wishes.keepCapabilities, ['CAP_NET_BIND_SERVICE']);
  });

  it('name a user by the system’s table, with its group unless another is named', () => {
    assert.deepEqual(wishesOf({ ...SILENT, dropPrivilegesUser: 'root' }).user, { uid: 0, gid: 0 });
    assert.throws(
      () => wishesOf({ ...SILENT, dropPrivilegesUser: 'no-such-user' }),
      /drop_privileges_user: \/etc\/passwd has no/,
    );
  });
});
