/** Health of servers, as the locked room finds it and writes it where all can read it. As root. */

import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, before, describe, it } from 'node:test';
import { testAuthority } from '../fixtures/certificates.ts';
import { until } from '../fixtures/patience.ts';
import { KeysHouse, keyFile } from '../keys/keys-house.ts';
import { needRoot, openFolder, prepareMaster } from '../master/house.ts';
import { OutboundHouse, type OutboundRoom } from './outbound-room.ts';

const PORT_FIRST = 22_100;
const HOSTS = '127.0.0.1 localhost checked.test\n';

let nextPort = PORT_FIRST;
const rooms: OutboundRoom[] = [];
const servers: Checked[] = [];

before(async () => {
  needRoot();
  await prepareMaster();
});

afterEach(async () => {
  for (const room of rooms.splice(0)) await room.stop();
  for (const server of servers.splice(0)) await server.close();
});

type Kind = 'http' | 'https' | 'h2c';

/** A server that can be well, ill, or gone. */
class Checked {
  readonly kind: Kind;
  readonly port: number;
  /** What it answers; 0: it isn't there. */
  status = 0;
  /** `METHOD path` and who it was asked as, of each request. */
  readonly asked: string[] = [];
  /** Of clients. */
  asksForCertificate = false;
  private server: Server | null = null;

  constructor(kind: Kind) {
    this.kind = kind;
    this.port = nextPort++;
    servers.push(this);
  }

  async become(status: number): Promise<void> {
    this.status = status;
    if (status === 0) return this.close();
    if (this.server !== null) return;
    const listener: RequestListener = (request, response) => {
      const authority = request.headers[':authority'] ?? request.headers.host;
      this.asked.push(
        `${request.method} ${request.url} ${String(authority)} ${request.headers['user-agent']}`,
      );
      response.statusCode = this.status;
      response.end('x'.repeat(100_000));
    };
    const server = this.make(listener);
    this.server = server;
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
  }

  private make(listener: RequestListener): Server {
    switch (this.kind) {
      case 'http':
        return createServer(listener);
      case 'https': {
        const { cert, key } = authority().server(['checked.test']);
        const requestCert = this.asksForCertificate;
        return createHttpsServer({ cert, key, requestCert, ca: authority().cert }, listener);
      }
      case 'h2c':
        return createHttp2Server((request, response) => listener(request as never, response as never));
    }
  }

  async close(): Promise<void> {
    const { server } = this;
    this.server = null;
    if (server === null) return;
    if ('closeAllConnections' in server) (server.closeAllConnections as () => void)();
    await new Promise((resolve) => server.close(resolve));
  }

  /** The group that it is the only server of, named by its kind. */
  get toml(): string {
    const scheme = this.kind === 'https' ? 'https' : 'http';
    const more = { http: '', https: `, ca_path = "${authority().certPath}"`, h2c: ', use_h2c = true' }[
      this.kind
    ];
    return `[upstreams.${this.kind}]
servers = [{ url = "${scheme}://checked.test:${this.port}"${more} }]
[upstreams.${this.kind}.health_check]
path = "/health?of=${this.kind}"
interval_secs = 1
timeout_secs = 1
healthy_threshold = 1
unhealthy_threshold = 2
[path_routes."example.com"."/${this.kind}/"]
type = "Proxy"
upstream = "${this.kind}"
`;
  }
}

let made: ReturnType<typeof testAuthority> | null = null;

function authority(): ReturnType<typeof testAuthority> {
  made ??= testAuthority();
  return made;
}

function start(house: OutboundHouse, io: 'io_uring' | 'epoll' = 'io_uring'): OutboundRoom {
  const room = house.start(io);
  rooms.push(room);
  return room;
}

async function verdict(room: OutboundRoom, upstream: string, expected: boolean): Promise<void> {
  const words = `the verdict ${expected} on ${upstream}: ${room.log}`;
  await until(() => room.verdictOf(upstream) === expected, 15_000, words);
}

for (const io of ['io_uring', 'epoll'] as const)
  describe(`checks of the locked room, on ${io}`, () => {
    it('see servers that speak http, https and h2c well, ill, gone, and back', async () => {
      const all = (['http', 'https', 'h2c'] as const).map((kind) => new Checked(kind));
      const become = (status: number): Promise<unknown> =>
        Promise.all(all.map((each) => each.become(status)));
      await become(200);
      const room = start(new OutboundHouse({ hosts: HOSTS }), io);
      await room.configure(all.map(({ toml }) => toml).join(''));
      const seen = (expected: boolean): Promise<unknown> =>
        Promise.all(all.map(({ kind }) => verdict(room, kind, expected)));
      await until(() => all.every(({ asked }) => asked.length >= 2), 15_000, 'two checks of each');
      for (const { asked, kind, port } of all)
        assert.equal(asked[1], `GET /health?of=${kind} checked.test:${port} sallyport-health`);
      await seen(true);
      await become(500);
      await seen(false);
      for (const { kind, port } of all)
        await room.logs(
          new RegExp(`checked.test:${port} is now unhealthy.* upstream=${kind} because="status 500"`),
        );
      await become(200);
      await seen(true);
      await become(0);
      await seen(false);
      await become(200);
      await seen(true);
      assert.equal(room.ended, '');
    });
  });

describe('a server on a Unix socket', () => {
  it('is checked there, also when it has made its socket anew', async () => {
    const folder = openFolder();
    const path = join(folder, 'backend.sock');
    const serve = async (): Promise<Server> => {
      const server = createServer((_, response) => response.end());
      await new Promise<void>((resolve) =>
        server.listen({ path, readableAll: true, writableAll: true }, resolve),
      );
      return server;
    };
    const toml = `[upstreams.local]
servers = ["unix:${path}"]
[upstreams.local.health_check]
interval_secs = 1
healthy_threshold = 1
unhealthy_threshold = 1
[path_routes."example.com"."/"]
type = "Proxy"
upstream = "local"
`;
    const room = start(new OutboundHouse({ hosts: HOSTS }, [], [folder]));
    await room.configure(toml);
    await verdict(room, 'local', false);
    const first = await serve();
    await verdict(room, 'local', true);
    await new Promise((resolve) => first.close(resolve));
    await verdict(room, 'local', false);
    const second = await serve();
    await verdict(room, 'local', true);
    second.close();
  });
});

describe('verdicts', () => {
  it('outlive the room that found them, and those of servers that are gone go', async () => {
    const ill = new Checked('http');
    const other = new Checked('h2c');
    const house = new OutboundHouse({ hosts: HOSTS });
    const first = start(house);
    await first.configure(ill.toml + other.toml);
    await verdict(first, 'http', false);
    await verdict(first, 'h2c', false);
    await first.stop();
    assert.equal(first.verdictOf('http'), false);
    assert.equal(first.verdictOf('h2c'), false);
    const second = start(house);
    await second.configure(ill.toml);
    assert.equal(second.verdictOf('http'), false);
    assert.equal(first.verdictOf('h2c'), undefined);
    assert.equal(second.log.includes('unhealthy'), false);
    await ill.become(200);
    await verdict(second, 'http', true);
  });

  it('stay over a new configuration that has the server too', async () => {
    const ill = new Checked('http');
    const room = start(new OutboundHouse({ hosts: HOSTS }));
    await room.configure(ill.toml);
    await verdict(room, 'http', false);
    await room.configure(`${ill.toml}${new Checked('h2c').toml}`);
    assert.equal(room.verdictOf('http'), false);
    await room.configure('');
    assert.equal(room.verdictOf('http', ill.toml), undefined);
  });

  it('are not passed on a server whose name isn’t found, and are once it is', async () => {
    const server = new Checked('http');
    const house = new OutboundHouse({ hosts: '127.0.0.1 localhost\n' });
    const room = start(house);
    await room.configure(server.toml);
    await room.logs('Name checked.test can’t be resolved');
    assert.equal(room.verdictOf('http'), true);
    await server.become(503);
    house.write('hosts', HOSTS);
    await verdict(room, 'http', false);
  });

  it('are found with a client certificate whose key is in the room of keys alone', async () => {
    const client = authority().client('sallyport');
    const keyId = 4096;
    const keys = await KeysHouse.start([keyFile(keyId, client, 'client')]);
    const server = new Checked('https');
    server.asksForCertificate = true;
    await server.become(200);
    const room = start(new OutboundHouse({ hosts: HOSTS }));
    room.giveDoor(keys.door('outbound', 0xffff).descriptor);
    const shows = `, client_cert_path = "${client.certPath}", client_key_path = "${client.keyPath}" }]`;
    await room.configure(server.toml.replace(' }]', shows), { [client.keyPath]: keyId });
    await until(() => server.asked.length >= 2, 10_000, 'two checks');
    assert.equal(room.verdictOf('https'), true);
    // Without the keys there is no way in, and no way out of it but their return.
    await keys.kill();
    await verdict(room, 'https', false);
    const again = await KeysHouse.start([keyFile(keyId, client, 'client')]);
    room.giveDoor(again.door('outbound', 0xffff).descriptor);
    await verdict(room, 'https', true);
    await again.kill();
  });

  it('say why TLS failed', async () => {
    const server = new Checked('https');
    await server.become(200);
    const room = start(new OutboundHouse({ hosts: HOSTS }));
    // Its certificate is for another name.
    await room.configure(server.toml.replace('checked.test', 'localhost'));
    await room.logs(/is now unhealthy.*because="TLS failed: /);
  });
});

describe('a configuration that can’t be had', () => {
  it('is refused, and the one before stays', async () => {
    const server = new Checked('https');
    await server.become(200);
    const room = start(new OutboundHouse({ hosts: HOSTS }));
    await room.configure(server.toml);
    room.tell(server.toml, { trusts: {}, clientCertificates: {}, clientKeys: {} });
    await until(() => room.refusals.length > 0, 5000, 'a refusal');
    assert.match(room.refusals[0], /^Backend https:\/\/checked\.test/);
    const before = server.asked.length;
    await until(() => server.asked.length > before, 10_000, 'another check');
  });
});
