/**
 * Becomes a command that may not make some system calls, as in containers and services whose filters forbid them.
 * Arguments: the calls with the errno that each fails with (`openat2=38,io_uring_setup=1`), the command.
 */

import assert from 'node:assert/strict';
import { setNoNewPrivileges } from '../../../src/sys/privileges.ts';
import { architecture, assembleFilter, installFilter } from '../../../src/sys/seccomp.ts';

const [calls, ...command] = process.argv.slice(2);
const rules = calls.split(',').map((each) => {
  const [call, errno] = each.split('=');
  return { call, errno: Number(errno) };
});
const machine = architecture();
assert.ok(machine !== undefined && process.execve !== undefined);
assert.equal(setNoNewPrivileges(), 0);
// All other calls are let through; mode `log` notes them, where the kernel is told to.
assert.equal(installFilter(assembleFilter(rules, 'log', machine), 'this'), 0);
process.execve(command[0], command, process.env as Record<string, string>);
