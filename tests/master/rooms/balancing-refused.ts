/** A process that may not attach programs to sockets, as in some containers: what its listeners say, and that they listen. */

import assert from 'node:assert/strict';
import { Listeners } from '../../../src/master/listeners.ts';
import { EPERM } from '../../../src/sys/errno.ts';
import { setNoNewPrivileges } from '../../../src/sys/privileges.ts';
import { architecture, assembleFilter, installFilter } from '../../../src/sys/seccomp.ts';
import { isListening } from '../../../src/sys/socket-sharing.ts';

const PORT = 24_511;
/** All options that listeners have, but SO_ATTACH_REUSEPORT_CBPF (51). */
const OPTIONS = [1, 2, 4, 5, 6, 9, 15, 26];

const machine = architecture();
assert.ok(machine !== undefined);
assert.equal(setNoNewPrivileges(), 0);
const rule = { call: 'setsockopt', checks: [{ argument: 2, isOneOf: OPTIONS }], otherwise: EPERM };
assert.equal(installFilter(assembleFilter([rule], 'log', machine), 'this'), 0);

const listeners = new Listeners();
const wish = {
  address: { family: 'ipv4', address: '127.0.0.1', port: PORT },
  kind: 'main',
  key: 'server.listen',
} as const;
assert.equal(listeners.open([wish], 2, 'cbpf'), '');
for (const worker of [0, 1]) assert.ok(isListening(listeners.descriptorsOf(worker)[0].fd));
console.log(listeners.notes.join('\n'));
process.exit(0);
