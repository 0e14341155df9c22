/** The house as it stands: what confines each of its rooms, where the private key is, and what becomes of it in trouble. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { request as secureRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { type TestCertificate, testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { findInMemory, piecesOf } from '../fixtures/memory-scan.ts';
import { until } from '../fixtures/patience.ts';
import { RawClient } from '../fixtures/raw-client.ts';

type RoomRole = 'journal' | 'keys' | 'outbound' | 'edge';
const ROLES: readonly RoomRole[] = ['journal', 'keys', 'outbound', 'edge'];
const WORKERS = 2;

const authority = testAuthority();

/** Values of a task's status by name. */
function statusOf(pid: number, task: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8').trim().split('\n');
  return Object.fromEntries(lines.map((line) => line.split(/:\s*/, 2) as [string, string]));
}

function tasksOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).map(Number);
}

function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:\[\d+\]$/, '')];
    } catch {
      return [];
    }
  });
}

function mountsOf(pid: number): string[] {
  const lines = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trim().split('\n');
  return lines.map((line) => line.split(' ')[4]);
}

interface Site {
  readonly edge: Edge;
  readonly certificate: TestCertificate;
  readonly origin: Server;
  readonly folder: string;
}

/** All rooms: TLS, a name to resolve, a server whose health is checked, two workers. */
async function startSite(io: (typeof IO_BACKENDS)[number]): Promise<Site> {
  const origin = createServer((_, response) => response.end('from the origin'));
  origin.keepAliveTimeout = 60_000;
  origin.listen(0, '127.0.0.1');
  await once(origin, 'listening');
  const { port: originPort } = origin.address() as AddressInfo;
  const certificate = authority.server(['example.com', 'localhost', '127.0.0.1']);
  const folder = openFolder('house');
  const edge = await startEdge('', {
    io,
    config: (port) => `[server]
listen = "127.0.0.1:${port}"
threads = ${WORKERS}
shutdown_timeout_secs = 5
[logging]
level = "info"
[tls]
cert_path = "${certificate.certPath}"
key_path = "${certificate.keyPath}"
[upstreams.app]
servers = ["http://localhost:${originPort}"]
[upstreams.app.health_check]
path = "/health"
interval_secs = 1
timeout_secs = 1
[path_routes."*"."/"]
type = "Proxy"
upstream = "app"
[path_routes."*"."/files"]
type = "File"
path = "${folder}"
mode = "sendfile"
`,
  });
  await edge.logged('workers=', 0, 30_000);
  return { edge, certificate, origin, folder };
}

async function endSite({ edge, origin, folder }: Site): Promise<void> {
  await edge.stop();
  origin.closeAllConnections();
  origin.close();
  rmSync(folder, { recursive: true });
}

function ask(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = secureRequest(
      { host: '127.0.0.1', port, ca: authority.cert, servername: 'example.com', agent: false },
      (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
      },
    );
    sent.on('error', reject);
    sent.end();
  });
}

for (const io of IO_BACKENDS) {
  describe(`the house (${io})`, () => {
    let site: Site;

    before(async () => {
      site = await startSite(io);
    });
    after(() => endSite(site));

    test('every thread of every room is confined', (t) => {
      const own = (kind: string): string => readlinkSync(`/proc/self/ns/${kind}`);
      const users = new Set<string>();
      for (const role of ROLES) {
        const pids = site.edge.rooms(role);
        assert.equal(pids.length, role === 'edge' ? WORKERS : 1, `${role}: ${site.edge.stderr()}`);
        for (const pid of pids) {
          const tasks = tasksOf(pid);
          for (const task of tasks) {
            const status = statusOf(pid, task);
            const [uid] = status['Uid'].split('\t');
            assert.deepEqual(status['Uid'].split('\t'), [uid, uid, uid, uid]);
            assert.notEqual(uid, '0');
            assert.equal(status['Groups'].trim(), '');
            for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
              assert.match(status[set], /^0+$/, `${role} ${set}`);
            assert.equal(status['NoNewPrivs'], '1');
            assert.equal(status['Seccomp'], '2');
            assert.equal(status['Seccomp_filters'], '2');
          }
          users.add(statusOf(pid, pid)['Uid']);
          for (const kind of ['mnt', 'uts', 'ipc', 'cgroup', 'pid'])
            assert.notEqual(readlinkSync(`/proc/${pid}/ns/${kind}`), own(kind), `${role} ${kind}`);
          const hasNetwork = readlinkSync(`/proc/${pid}/ns/net`) === own('net');
          assert.equal(hasNetwork, role === 'edge' || role === 'outbound', `${role}: network`);
          const mounts = mountsOf(pid);
          for (const absent of ['/proc', '/dev', '/sys'])
            assert.ok(!mounts.includes(absent), `${role} has ${absent}`);
          assert.equal(mounts.includes(site.folder), role === 'edge', `${role}: documents`);
          const descriptors = descriptorsOf(pid);
          assert.ok(!descriptors.some((each) => each.includes('key')), `${role}: ${descriptors.join(' ')}`);
          t.diagnostic(
            `${role} ${pid}: user ${statusOf(pid, pid)['Uid'].split('\t')[0]}, ${tasks.length} threads, no capabilities, ` +
              `NoNewPrivs 1, Seccomp 2 (2 filters), network ${hasNetwork ? 'yes' : 'none'}, ${mounts.length} mounts, ` +
              `descriptors: ${[...new Set(descriptors)].sort().join(' ')}`,
          );
        }
      }
      assert.equal(users.size, ROLES.length - 1 + WORKERS, 'each room has a user of its own');
    });

    test('the private key is in no process but keys', async () => {
      assert.equal(await ask(site.edge.port), 200);
      const pieces = piecesOf(site.certificate.key);
      const [keys] = site.edge.rooms('keys');
      assert.notDeepEqual(findInMemory(keys, pieces), [], 'the search finds it where it is');
      const others = [
        site.edge.pid,
        ...ROLES.filter((role) => role !== 'keys').flatMap((role) => site.edge.rooms(role)),
      ];
      for (const pid of others) assert.deepEqual(findInMemory(pid, pieces), [], `process ${pid}`);
    });

    test('each room may be killed: the others carry on, and another one takes its place', async () => {
      for (const role of ROLES) {
        const [victim] = site.edge.rooms(role);
        const from = site.edge.stderr().length;
        process.kill(victim, 'SIGKILL');
        const isBack = (): boolean => {
          const now = site.edge.rooms(role);
          return now.length === (role === 'edge' ? WORKERS : 1) && !now.includes(victim);
        };
        await until(isBack, 10_000, `another ${role}`);
        await site.edge.logged(`the room ${role}`, from, 10_000);
        const answers = async (): Promise<boolean> => (await ask(site.edge.port).catch(() => 0)) === 200;
        await until(answers, 10_000, `an answer after ${role} was killed`);
      }
    });

    test('killed, the master leaves nobody behind', async () => {
      const other = await startSite(io);
      const rooms = ROLES.flatMap((role) => other.edge.rooms(role));
      await other.edge.kill();
      const isGone = (pid: number): boolean => {
        try {
          return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
        } catch {
          return true;
        }
      };
      await until(() => rooms.every(isGone), 10_000, 'all rooms to be gone');
      other.origin.closeAllConnections();
      other.origin.close();
      rmSync(other.folder, { recursive: true });
    });
  });
}

describe('upgrade', () => {
  test('SIGUSR2: a new master takes over, and no request fails', async () => {
    const folder = openFolder('upgrade');
    const edge = await startEdge(
      `[path_routes."*"."/"]\ntype = "File"\npath = "${folder}"\nmode = "sendfile"\n`,
      {
        io: 'uring',
      },
    );
    await edge.logged('workers=', 0, 30_000);
    const request = 'GET /nothing HTTP/1.1\r\nHost: example.com\r\n\r\n';
    let isOver = false;
    let answered = 0;
    const clients = Array.from({ length: 6 }, async (_, index) => {
      let client: RawClient | null = null;
      while (!isOver) {
        client ??= await RawClient.connect(edge.port);
        const response = await client.request(request);
        assert.equal(response.status, 404);
        answered++;
        const isLast = response.fields.some(
          ([name, value]) => name.toLowerCase() === 'connection' && value === 'close',
        );
        if (index >= 3 && !isLast) continue;
        client.destroy();
        client = null;
      }
      client?.destroy();
    });
    const load = Promise.all(clients);
    await until(() => answered > 100, 10_000, 'requests before');
    edge.signal('SIGUSR2');
    const takenOver = await Promise.race([
      edge.logged(/upgrade: the new master serves.*pid=(\d+)/, 0, 30_000),
      load,
    ]);
    const successor = Number(/new master serves.*pid=(\d+)/.exec(String(takenOver))?.[1]);
    await until(() => !isAlive(edge.pid), 20_000, 'the end of the old master');
    const before = answered;
    await until(() => answered > before + 100, 10_000, 'requests after');
    isOver = true;
    await load;
    process.kill(successor, 'SIGTERM');
    await until(() => !isAlive(successor), 10_000, 'the end of the new master');
    rmSync(folder, { recursive: true });
  });

  test('a new master that can’t start changes nothing', async () => {
    const folder = openFolder('no-upgrade');
    const edge = await startEdge(
      `[path_routes."*"."/"]\ntype = "File"\npath = "${folder}"\nmode = "sendfile"\n`,
      {
        io: 'uring',
      },
    );
    await edge.logged('workers=', 0, 30_000);
    edge.rewrite('this is no toml');
    edge.signal('SIGUSR2');
    await edge.logged('everything stays as it was', 0, 30_000);
    const client = await RawClient.connect(edge.port);
    assert.equal((await client.request('GET / HTTP/1.1\r\nHost: example.com\r\n\r\n')).status, 403);
    client.destroy();
    await edge.stop();
    rmSync(folder, { recursive: true });
  });
});

/** Whether there is such a process that has not ended. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
