/** Options that every socket of ours has, and that those which a listener accepts inherit from it. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { EAGAIN } from '../../src/sys/errno.ts';
import { accept4, close, getsockopt, negated } from '../../src/sys/libc.ts';
import { mapPrivate } from '../../src/sys/memory.ts';
import { AF_INET, AF_UNIX } from '../../src/sys/sockaddr.ts';
import { createListener, createStreamSocket, localAddressOf } from '../../src/sys/socket.ts';
import { until } from '../fixtures/patience.ts';

const SOL_SOCKET = 1;
const IPPROTO_TCP = 6;
/** Level, option, value: SO_KEEPALIVE, TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT. */
const OPTIONS = [
  [SOL_SOCKET, 9, 1],
  [IPPROTO_TCP, 1, 1],
  [IPPROTO_TCP, 4, 120],
  [IPPROTO_TCP, 5, 15],
  [IPPROTO_TCP, 6, 4],
] as const;

const memory = mapPrivate(4096);

function optionsOf(fd: number): number[][] {
  return OPTIONS.map(([level, option]) => {
    memory.words[1] = 4;
    assert.equal(getsockopt(fd, level, option, memory.address, memory.address + 4), 0);
    return [level, option, memory.words[0]];
  });
}

test('a connection that is made, and one that is accepted, notice within minutes that their peer has vanished', async () => {
  const made = createStreamSocket(AF_INET);
  assert.ok(made >= 0);
  assert.deepEqual(optionsOf(made), OPTIONS);
  close(made);

  const listener = createListener({ family: 'ipv4', address: '127.0.0.1', port: 0 }, 8, false, -1);
  assert.ok(listener >= 0);
  const bound = localAddressOf(listener);
  assert.ok(bound.family === 'ipv4');
  const client = connect(bound.port, bound.address);
  await once(client, 'connect');
  let accepted = -EAGAIN;
  await until(() => (accepted = negated(accept4(listener, 0, 0, 0))) >= 0, 5000, 'the connection');
  assert.deepEqual(optionsOf(accepted), OPTIONS);
  client.destroy();
  close(accepted);
  close(listener);
});

test('a Unix socket is made without them', () => {
  const fd = createStreamSocket(AF_UNIX);
  assert.ok(fd >= 0);
  close(fd);
});
