/** Names in the started product: backends by name, a resolver whose files are replaced, a room that dies. As root. */

import assert from 'node:assert/strict';
import { cpSync, renameSync, writeFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { until, within } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { needRoot } from '../master/house.ts';

const FIRST = '127.0.22.21';
const SECOND = '127.0.22.22';
/** Names are asked for again within this. */
const REFRESH_MS_MAX = 30_000;

let etc = '';
let port = 0;
const servers: Server[] = [];

before(async () => {
  needRoot();
  etc = join(openFolder('etc'), 'etc');
  cpSync('/etc', etc, { recursive: true, verbatimSymlinks: true });
  hosts(FIRST);
  port = await freePort();
  for (const address of [FIRST, SECOND]) {
    const server = createServer((_, response) => response.end(address));
    await new Promise<void>((resolve) => server.listen(port, address, resolve));
    servers.push(server);
  }
});

after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** Another file takes the place of /etc/hosts, as of programs that write safely. */
function hosts(address: string): void {
  writeFileSync(join(etc, 'hosts.new'), `127.0.0.1 localhost\n${address} origin.test\n`, { mode: 0o644 });
  renameSync(join(etc, 'hosts.new'), join(etc, 'hosts'));
}

/** A route to a backend by name. */
function named(): string {
  return `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "http://origin.test:${port}"\n`;
}

function start(): Promise<Edge> {
  const script = 'mount --bind "$0" /etc && exec "$@"';
  return startEdge(named(), { io: 'uring', prefix: ['unshare', '--mount', 'sh', '-c', script, etc] });
}

/** The answer's content; its status where that isn't 200. */
function ask(edge: Edge, path = '/'): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = {
      port: edge.port,
      host: '127.0.0.1',
      path,
      headers: { host: 'example.com' },
      agent: false,
    };
    const asking = request(options, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve(response.statusCode === 200 ? text : String(response.statusCode)));
    });
    asking.on('error', reject);
    asking.end();
  });
}

describe('a backend by name', () => {
  it('is found, followed to another address, and still found while nobody resolves', async () => {
    const edge = await start();
    assert.equal(await ask(edge), FIRST);
    // The room dies: what was known is used, and another room takes its place.
    const [before] = edge.rooms('outbound');
    process.kill(before, 'SIGKILL');
    for (let each = 0; each < 20; each++) assert.equal(await ask(edge), FIRST);
    await until(() => edge.rooms('outbound').some((pid) => pid !== before), 10_000, 'another room');
    await edge.logged('ready, with io_uring');
    hosts(SECOND);
    await edge.logged('files of the system’s resolver are others now');
    await until(async () => (await ask(edge)) === SECOND, REFRESH_MS_MAX, 'the other address');
    for (let each = 0; each < 10; each++) assert.equal(await ask(edge), SECOND);
    await edge.stop();
  });

  it('stays where it is while another configuration needs the room locked in another way', async () => {
    hosts(FIRST);
    const edge = await start();
    const [before] = edge.rooms('outbound');
    const folder = openFolder('socket');
    const path = join(folder, 'backend.sock');
    const server = createServer((_, response) => response.end('local'));
    await new Promise<void>((resolve) => server.listen({ path, writableAll: true }, resolve));
    const local = `[upstreams.local]
servers = ["unix:${path}"]
[upstreams.local.health_check]
interval_secs = 1
unhealthy_threshold = 1
[path_routes."example.com"."/local/"]
type = "Proxy"
upstream = "local"
`;
    edge.rewrite(named() + local);
    edge.signal('SIGHUP');
    await edge.logged('the new configuration is in force', 0, 20_000);
    assert.equal(edge.rooms('outbound').includes(before), false);
    assert.equal(await ask(edge), FIRST);
    assert.equal(await ask(edge, '/local/'), 'local');
    // Whoever can't see the socket's folder would call it ill after the first check.
    await new Promise<void>((resolve) => server.once('request', () => resolve()));
    await new Promise<void>((resolve) => server.once('request', () => resolve()));
    assert.equal(edge.stderr().includes('is now unhealthy'), false);
    server.close();
    await edge.stop();
  });

  it('that has no address stops the start, with the reason', async () => {
    writeFileSync(join(etc, 'hosts'), '127.0.0.1 localhost\n');
    writeFileSync(join(etc, 'resolv.conf'), 'nameserver 127.0.22.254\noptions timeout:1 attempts:1\n');
    // Its sockets are open before that is known: it may or may not have been seen to accept.
    const said = await start().then(
      async (edge) => {
        assert.equal((await within(edge.exited, 20_000, 'its end')).code, 3);
        return edge.stderr();
      },
      (error: Error) => error.message,
    );
    assert.match(said, new RegExp(`The name of backend http://origin.test:${port} has no address`));
  });
});
