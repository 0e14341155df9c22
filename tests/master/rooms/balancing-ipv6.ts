/** Clients of many IPv6 networks, in a network of this process's own, and on which worker's socket each arrives. Needs root. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { Listeners } from '../../../src/master/listeners.ts';
import { accept4, close, negated } from '../../../src/sys/libc.ts';
import { leaveNamespaces } from '../../../src/sys/namespaces.ts';
import { peerAddressOf } from '../../../src/sys/socket.ts';

const PORT = 24_510;
const WORKERS = 3;
const NETWORKS = 40;
const CLIENTS_PER_NETWORK = 5;

assert.equal(leaveNamespaces(['net']), 0);
// Every address of the documentation's prefix is this machine's own, and may be bound.
const commands = 'link set lo up\nroute add local 2001:db8::/32 dev lo\n';
const { status, stderr } = spawnSync('ip', ['-batch', '-'], { input: commands, encoding: 'utf8' });
assert.equal(status, 0, stderr);
writeFileSync('/proc/sys/net/ipv6/ip_nonlocal_bind', '1');

const listeners = new Listeners();
const wish = {
  address: { family: 'ipv6', address: '::', port: PORT },
  kind: 'main',
  key: 'server.listen',
} as const;
assert.equal(listeners.open([wish], WORKERS, 'cbpf'), '');
assert.deepEqual(listeners.notes, []);

for (let network = 0; network < NETWORKS; network++)
  for (let client = 1; client <= CLIENTS_PER_NETWORK; client++) {
    // Neighbouring networks, and hosts that differ in their last bits only.
    const from = `2001:db8:${network >> 3}:${network & 7}::${client}`;
    await once(connect({ port: PORT, host: '::1', localAddress: from }), 'connect');
    await once(connect({ port: PORT, host: '127.0.0.1', localAddress: `127.1.0.${network + 2}` }), 'connect');
  }

/** A client's network of 64 bits, or its IPv4 address. */
function networkOf(address: string): string {
  return address.includes(':') ? address.split('::')[0] : address;
}

const workersOf = new Map<string, Set<number>>();
const counts = new Array<number>(WORKERS).fill(0);
for (let worker = 0; worker < WORKERS; worker++) {
  const [{ fd }] = listeners.descriptorsOf(worker);
  for (
    let connection = negated(accept4(fd, 0, 0, 0));
    connection >= 0;
    connection = negated(accept4(fd, 0, 0, 0))
  ) {
    const peer = peerAddressOf(connection);
    assert.ok(peer.family !== 'unix');
    const network = networkOf(peer.address);
    workersOf.set(network, (workersOf.get(network) ?? new Set()).add(worker));
    counts[worker]++;
    close(connection);
  }
}
assert.equal(
  counts.reduce((sum, each) => sum + each, 0),
  NETWORKS * CLIENTS_PER_NETWORK * 2,
);
assert.ok(
  counts.every((count) => count > 0),
  `a worker is left out: ${counts.join(', ')}`,
);
for (const [network, workers] of workersOf) assert.equal(workers.size, 1, `${network} is on several workers`);
const isIPv4 = (network: string): boolean => network.includes('.');
const networks = [...workersOf.keys()];
console.log(
  `${networks.filter((each) => !isIPv4(each)).length} networks, ${networks.filter(isIPv4).length} clients of IPv4: one worker each`,
);
process.exit(0);
