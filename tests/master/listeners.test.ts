/** The sockets that the master opens for its workers: one each, none shared with strangers, kept over everything. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { ListenAddress } from '../../src/config/model.ts';
import { formatListenAddress } from '../../src/config/network-names.ts';
import { Listeners, type ListenerWish, listenerWishes, readHandOver } from '../../src/master/listeners.ts';
import { accept4, close, negated } from '../../src/sys/libc.ts';
import { fcntl } from '../../src/sys/process-calls.ts';
import { createListener, localAddressOf, peerAddressOf } from '../../src/sys/socket.ts';
import { createSharingListener } from '../../src/sys/socket-sharing.ts';
import { WITHOUT_IPV6 } from '../fixtures/ipv6.ts';
import { until } from '../fixtures/patience.ts';

const PORT = 24_500;
const F_DUPFD_CLOEXEC = 1030;
const FOLDER = mkdtempSync(join(tmpdir(), 'listeners-'));
after(() => rmSync(FOLDER, { recursive: true }));

function tcp(port: number, address = '127.0.0.1'): ListenAddress {
  return { family: address.includes(':') ? 'ipv6' : 'ipv4', address, port };
}

function wishes(...addresses: readonly ListenAddress[]): readonly ListenerWish[] {
  return addresses.map((address) => ({ address, kind: 'main', key: 'server.listen' }));
}

function opened(addresses: readonly ListenAddress[], workers: number): Listeners {
  const listeners = new Listeners();
  assert.equal(listeners.open(wishes(...addresses), workers, 'kernel'), '');
  return listeners;
}

/** A client that is connected, from an address of its own. */
async function client(port: number, from = '127.0.0.1', to = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host: to, localAddress: from });
  await once(socket, 'connect');
  return socket;
}

/** Takes all connections that wait; their clients' addresses. */
function accepted(fd: number): string[] {
  const clients: string[] = [];
  for (;;) {
    const connection = negated(accept4(fd, 0, 0, 0));
    if (connection < 0) return clients;
    const peer = peerAddressOf(connection);
    clients.push(peer.family === 'unix' ? 'unix' : peer.address);
    close(connection);
  }
}

/** Another number for the same socket, as a process that inherits it has. */
function duplicate(fd: number): number {
  return negated(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

describe('the listeners of the house', () => {
  it('are a socket for each worker at each TCP address, and one for all at a Unix socket', () => {
    const path = join(FOLDER, 'shared.sock');
    const listeners = opened([tcp(PORT), { family: 'unix', path }], 3);
    const all = [0, 1, 2].map((worker) => listeners.descriptorsOf(worker));
    assert.equal(new Set(all.map(([first]) => first.fd)).size, 3);
    assert.equal(new Set(all.map(([, second]) => second.fd)).size, 1);
    for (const each of all)
      assert.deepEqual(
        each.map(({ address }) => address),
        [tcp(PORT), { family: 'unix', path }],
      );
    assert.equal(statSync(path).mode & 0o777, 0o666);
    assert.equal(listeners.addresses.length, 2);
    listeners.close();
    assert.ok(!existsSync(path), 'its file goes with it');
    assert.ok(createdAndClosed(tcp(PORT)), 'the port is free again');
  });

  it('are alone on their port where one worker runs', () => {
    const listeners = opened([tcp(PORT)], 1);
    const [{ fd }] = listeners.descriptorsOf(0);
    assert.ok(createSharingListener(fd, 8) < 0);
    listeners.close();
  });

  it('have one port for all workers where the kernel chooses it', () => {
    const listeners = opened([tcp(0)], 4);
    const ports = [0, 1, 2, 3].map((worker) => {
      const [{ address, fd }] = listeners.descriptorsOf(worker);
      assert.deepEqual(localAddressOf(fd), address);
      return address.family === 'unix' ? 0 : address.port;
    });
    assert.equal(new Set(ports).size, 1);
    assert.ok(ports[0] > 0);
    listeners.close();
  });

  it('never share a port with another program, although that would let them', () => {
    const strange = createListener(tcp(PORT), 8, true, -1);
    assert.ok(strange >= 0);
    for (const workers of [1, 2]) {
      const listeners = new Listeners();
      assert.equal(
        listeners.open(wishes(tcp(PORT + 1), tcp(PORT)), workers, 'kernel'),
        `127.0.0.1:${PORT} is taken: another program listens there (EADDRINUSE). Stop it, or change server.listen.`,
      );
      assert.deepEqual(listeners.descriptorsOf(0), []);
      assert.ok(createdAndClosed(tcp(PORT + 1)), 'what was open before is closed');
    }
    close(strange);
  });

  it('name the key of an address that this machine hasn’t', () => {
    const wish: ListenerWish = { address: tcp(PORT, '192.0.2.1'), kind: 'redirect', key: 'server.http' };
    assert.match(new Listeners().open([wish], 2, 'kernel'), /^192\.0\.2\.1:.*no such address.*server\.http/);
  });

  for (const order of [
    ['0.0.0.0', '::'],
    ['::', '0.0.0.0'],
  ])
    it(`may be ${order.join(' and ')} on one port, in whichever order`, { skip: WITHOUT_IPV6 }, async () => {
      const listeners = opened(
        order.map((address) => tcp(PORT, address)),
        2,
      );
      const kinds = listeners.descriptorsOf(0).map(({ address }) => address.family);
      assert.deepEqual(kinds, order[0] === '::' ? ['ipv6', 'ipv4'] : ['ipv4', 'ipv6']);
      const sockets = [await client(PORT), await client(PORT, '::1', '::1')];
      for (const family of ['ipv4', 'ipv6']) {
        const found = [0, 1].flatMap((worker) =>
          listeners.descriptorsOf(worker).flatMap(({ fd, address }) => {
            return address.family === family ? accepted(fd) : [];
          }),
        );
        assert.deepEqual(found, [family === 'ipv4' ? '127.0.0.1' : '::1']);
      }
      for (const socket of sockets) socket.destroy();
      listeners.close();
    });

  it('are of the kinds that the configuration names', () => {
    assert.deepEqual(
      listenerWishes({
        server: { listen: [tcp(443)], http: [tcp(80)] },
        status: { listen: tcp(9090) },
      }).map(({ kind, key, address }) => [kind, key, formatListenAddress(address)]),
      [
        ['main', 'server.listen', '127.0.0.1:443'],
        ['redirect', 'server.http', '127.0.0.1:80'],
        ['status', 'status.listen', '127.0.0.1:9090'],
      ],
    );
  });
});

describe('a Unix socket', () => {
  it('takes the place of one that a dead process left, never of one that somebody serves', async () => {
    const path = join(FOLDER, 'left.sock');
    const left = createListener({ family: 'unix', path }, 8, false, -1);
    close(left);
    const listeners = opened([{ family: 'unix', path }], 2);
    assert.match(
      new Listeners().open(wishes({ family: 'unix', path }), 2, 'kernel'),
      /is taken: another program listens there/,
    );
    const socket = connect(path);
    await once(socket, 'connect');
    socket.destroy();
    listeners.close();
  });

  it('stays where its file is another one by now', () => {
    const path = join(FOLDER, 'replaced.sock');
    const listeners = opened([{ family: 'unix', path }], 1);
    // The old file is kept by another name, so that its inode is not used again.
    const kept = spawnSync('mv', [path, `${path}.old`]);
    assert.equal(kept.status, 0);
    writeFileSync(path, 'somebody’s');
    listeners.close();
    assert.ok(existsSync(path));
  });
});

describe('a hand-over', () => {
  const unix = join(FOLDER, 'upgrade.sock');
  const addresses = [tcp(PORT), { family: 'unix', path: unix } as const];

  /** A new master's listeners, over duplicates of an old one's descriptors. */
  function takenFrom(
    old: Listeners,
    wished: readonly ListenAddress[],
    workers: number,
  ): { listeners: Listeners; problem: string; fds: number[] } {
    const { fds, description } = old.handOver();
    // Numbers in a row, as a child gets them.
    const copies = fds.map(duplicate);
    const inherited = readHandOver(description, 0).map(({ address, fd }) => ({ address, fd: copies[fd] }));
    const listeners = new Listeners();
    const problem = listeners.open(wishes(...wished), workers, 'kernel', inherited);
    return { listeners, problem, fds: copies };
  }

  function fdsOf(listeners: Listeners, workers: number): number[] {
    const all = Array.from({ length: workers }, (_, worker) => listeners.descriptorsOf(worker));
    return [...new Set(all.flat().map(({ fd }) => fd))];
  }

  for (const [before, now] of [
    [2, 2],
    [1, 1],
    [1, 3],
    [3, 2],
    [3, 1],
  ])
    it(`loses no connection that waits, from ${before} workers to ${now}`, async () => {
      const old = opened(addresses, before);
      const sockets: Socket[] = [];
      for (let count = 0; count < 12; count++) sockets.push(await client(PORT));
      const next = takenFrom(old, addresses, now);
      assert.equal(next.problem, '');
      next.listeners.takeOver();
      old.release();
      for (let count = 0; count < 12; count++) sockets.push(await client(PORT));
      const tcpFds = fdsOf(next.listeners, now).filter((fd) => localAddressOf(fd).family !== 'unix');
      let found = 0;
      await until(
        () => {
          for (const fd of tcpFds) found += accepted(fd).length;
          return found === 24;
        },
        5000,
        'all connections',
      );
      for (const socket of sockets) socket.destroy();
      assert.ok(existsSync(unix), 'the old one leaves the file');
      next.listeners.close();
      assert.ok(!existsSync(unix), 'the new one removes it');
      assert.ok(createdAndClosed(tcp(PORT)));
    });

  it('leaves the old ones as they were when the new master can’t start', async () => {
    const old = opened(addresses, 2);
    const strange = createListener(tcp(PORT + 1), 8, false, -1);
    const next = takenFrom(old, [...addresses, tcp(PORT + 1)], 2);
    assert.match(next.problem, /is taken/);
    assert.ok(existsSync(unix), 'the file of the old master');
    const socket = connect(unix);
    await once(socket, 'connect');
    socket.destroy();
    (await client(PORT)).destroy();
    close(strange);
    old.close();
  });

  it('closes what the new configuration doesn’t name, and what isn’t what it is said to be', () => {
    const old = opened([tcp(PORT), tcp(PORT + 1)], 1);
    const { fds } = old.handOver();
    const copies = fds.map(duplicate);
    const listeners = new Listeners();
    const wrong = { fd: copies[1], address: `127.0.0.1:${PORT + 2}` };
    const right = { fd: copies[0], address: `127.0.0.1:${PORT}` };
    assert.equal(
      listeners.open(wishes(tcp(PORT), tcp(PORT + 2)), 1, 'kernel', [wrong, right, { fd: 0, address: 'x' }]),
      '',
    );
    assert.deepEqual(
      listeners.descriptorsOf(0).map(({ address }) => address),
      [tcp(PORT), tcp(PORT + 2)],
    );
    old.release();
    assert.ok(createdAndClosed(tcp(PORT + 1)), 'nobody has it open');
    listeners.close();
  });

  it('is nothing where its description makes no sense', () => {
    for (const text of ['', '{', '{}', 'null', '7', '"x"']) assert.deepEqual(readHandOver(text, 3), []);
    assert.deepEqual(readHandOver('["a","b"]', 5), [
      { fd: 5, address: 'a' },
      { fd: 6, address: 'b' },
    ]);
  });
});

describe('balancing by the client’s address', () => {
  it('brings the five connections of each of forty clients to one worker', async () => {
    const listeners = new Listeners();
    assert.equal(listeners.open(wishes(tcp(PORT, '0.0.0.0')), 3, 'cbpf'), '');
    assert.deepEqual(listeners.notes, []);
    const clients = Array.from({ length: 40 }, (_, index) => `127.0.${index % 3}.${index + 2}`);
    const sockets: Socket[] = [];
    for (const address of clients)
      for (let count = 0; count < 5; count++) sockets.push(await client(PORT, address));
    const found = [0, 1, 2].map((worker) => accepted(listeners.descriptorsOf(worker)[0].fd));
    assert.equal(found.flat().length, 200);
    for (const address of clients) {
      const counts = found.map((each) => each.filter((one) => one === address).length);
      assert.deepEqual(counts.sort(), [0, 0, 5], address);
    }
    for (const each of found) assert.ok(each.length > 0, 'no worker is left out');
    for (const socket of sockets) socket.destroy();
    listeners.close();
  });

  it('does the same for IPv6, by the first 64 bits, and for IPv4 at an IPv6 address', {
    skip: WITHOUT_IPV6,
  }, () => {
    const script = join(import.meta.dirname, 'rooms', 'balancing-ipv6.ts');
    const { status, stdout, stderr } = spawnSync(process.execPath, [script], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.equal(status, 0, `${stdout}${stderr}`);
    assert.match(stdout, /^40 networks, 40 clients of IPv4: one worker each$/m);
  });

  it('gives way to the kernel’s where it was wished before and isn’t any more', async () => {
    const old = new Listeners();
    assert.equal(old.open(wishes(tcp(PORT)), 2, 'cbpf'), '');
    const { fds } = old.handOver();
    const copies = fds.map((fd) => ({ fd: duplicate(fd), address: `127.0.0.1:${PORT}` }));
    const next = new Listeners();
    assert.equal(next.open(wishes(tcp(PORT)), 2, 'kernel', copies), '');
    old.release();
    const sockets: Socket[] = [];
    for (let count = 0; count < 64; count++) sockets.push(await client(PORT));
    // One client, and both have some: 64 ports that all fall to one side would be a chance of one in 2^63.
    for (const worker of [0, 1])
      assert.ok(accepted(next.descriptorsOf(worker)[0].fd).length > 0, `worker ${worker}`);
    for (const socket of sockets) socket.destroy();
    next.close();
  });

  it('is told where the kernel takes no program, and everything listens all the same', () => {
    const script = join(import.meta.dirname, 'rooms', 'balancing-refused.ts');
    const { status, stdout, stderr } = spawnSync(process.execPath, [script], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.equal(status, 0, `${stdout}${stderr}`);
    assert.match(stdout, /takes no program for 127\.0\.0\.1:\d+ \(EPERM\); it chooses by itself/);
  });
});

/** Whether somebody could listen there now. */
function createdAndClosed(address: ListenAddress): boolean {
  const fd = createListener(address, 8, false, -1);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

/** A server of Node.js stands for a program of somebody else. */
it('a port that another process serves is told', async () => {
  const server = createServer().listen(PORT + 3, '127.0.0.1');
  await once(server, 'listening');
  assert.match(new Listeners().open(wishes(tcp(PORT + 3)), 2, 'kernel'), /is taken/);
  server.close();
});
