/** Groups of several servers: shares of requests, retries on others, servers that are out, and their return. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CALM_MS, FAILURES_MAX, OUT_MS_FIRST, SLOW_START_MS } from '../../src/edge/health-passive.ts';
import {
  bodyOf,
  EdgeWorld,
  type EdgeWorldOptions,
  fieldsOf,
  get,
  ORIGIN,
  type Origin,
  ok,
  type Peer,
  statuses,
  withBody,
} from './edge-world.ts';

const PORTS = [8081, 8082, 8083];

interface PoolOptions {
  readonly algorithm?: string;
  /** TOML of `servers`; PORTS by default. */
  readonly servers?: string;
  readonly extra?: string;
  readonly security?: string;
}

function pool(options: PoolOptions = {}): string {
  const servers = options.servers ?? PORTS.map((port) => `"http://${ORIGIN}:${port}"`).join(', ');
  return `[upstreams.pool]
algorithm = "${options.algorithm ?? 'round_robin'}"
servers = [${servers}]
${options.extra ?? ''}
[path_routes."example.com"."/"]
type = "Proxy"
upstream = "pool"
[path_routes."example.com"."/".security]
${options.security ?? ''}
`;
}

/** Backends that answer with their port. */
function answering(world: EdgeWorld, ports: readonly number[] = PORTS): Map<number, Origin> {
  return new Map(
    ports.map((port) => {
      const origin = world.origin(port);
      origin.answers(ok(String(port)));
      return [port, origin];
    }),
  );
}

/** One request on a kept connection; the port that answered, or the status. */
function ask(world: EdgeWorld, client: Peer, request = get()): number {
  client.take();
  client.send(request);
  world.until(() => statuses(client.text).length > 0 && bodyOf(client.text) !== '', 60_000);
  const [status] = statuses(client.text);
  return status === 200 ? Number(bodyOf(client.text)) : status;
}

function tally(answers: readonly number[]): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const answer of answers) counts[answer] = (counts[answer] ?? 0) + 1;
  return counts;
}

function asked(world: EdgeWorld, client: Peer, times: number, request = get()): Record<number, number> {
  return tally(Array.from({ length: times }, () => ask(world, client, request)));
}

interface Rig {
  readonly world: EdgeWorld;
  readonly origins: Map<number, Origin>;
  readonly client: Peer;
}

function rig(options: PoolOptions = {}, world: EdgeWorldOptions = {}): Rig {
  const made = new EdgeWorld({ config: pool(options), ...world });
  return { world: made, origins: answering(made), client: made.client() };
}

/** The server is gone: nobody listens there, and its connections are reset. */
function kill({ origins }: Rig, port: number): void {
  const origin = origins.get(port);
  assert.ok(origin !== undefined);
  origin.close();
  for (const peer of origin.peers.splice(0)) peer.reset();
}

describe('requests to a group', () => {
  it('go to each server in turn', () => {
    const { world, client } = rig();
    assert.deepEqual(asked(world, client, 30), { 8081: 10, 8082: 10, 8083: 10 });
    world.end();
  });

  it('go to each server by its weight', () => {
    const servers = `"http://${ORIGIN}:8081", { url = "http://${ORIGIN}:8082", weight = 3 }`;
    const { world, client } = rig({ servers });
    assert.deepEqual(asked(world, client, 40), { 8081: 10, 8082: 30 });
    world.end();
  });

  it('go where the least is under way with least_conn', () => {
    const { world, client, origins } = rig({ algorithm: 'least_conn' });
    const slow = origins.get(8081);
    assert.ok(slow !== undefined);
    // It never answers: what it has stays with it.
    slow.onText = null;
    const waiting = [1, 2, 3].map(() => world.client(get()));
    const busy = waiting.find((peer) => peer.text === '');
    assert.ok(busy !== undefined);
    assert.deepEqual(asked(world, client, 20), { 8082: 10, 8083: 10 });
    // When it is over, its server is used again.
    busy.reset();
    world.settle();
    slow.answers(ok('8081'));
    const again = asked(world, client, 30)[8081];
    assert.ok(Math.abs(again - 10) <= 1, `${again}`);
    world.end();
  });

  it('count what is under way over a reload', () => {
    const { world, client, origins } = rig({ algorithm: 'least_conn' });
    for (const origin of origins.values()) origin.onText = null;
    world.client(get());
    const first = [...origins].find(([, origin]) => origin.peers.length > 0)?.[0];
    for (const [port, origin] of origins) origin.answers(ok(String(port)));
    world.reload({
      config: pool({ algorithm: 'least_conn', security: 'backend_response_timeout_secs = 500' }),
    });
    assert.equal(asked(world, client, 20)[first ?? 0], undefined);
    world.end();
  });

  it('stay with one server for one address with ip_hash, whatever the connection', () => {
    const { world, client } = rig({ algorithm: 'ip_hash' });
    const [port] = Object.keys(asked(world, client, 10));
    for (let count = 0; count < 5; count++) assert.deepEqual(asked(world, world.client(), 3), { [port]: 3 });
    world.end();
  });

  it('are spread by the address that a trusted proxy vouches for', () => {
    const world = new EdgeWorld({
      config: pool({ algorithm: 'ip_hash' }),
      server: 'trusted_proxies = ["10.0.0.3"]',
    });
    const origins = answering(world);
    const client = world.client();
    const by = new Map<string, number>();
    for (let round = 0; round < 2; round++) {
      for (let host = 1; host < 40; host++) {
        const address = `198.51.100.${host}`;
        const port = ask(world, client, get('/', `X-Forwarded-For: ${address}`));
        assert.equal(by.get(address) ?? port, port);
        by.set(address, port);
      }
    }
    assert.equal(new Set(by.values()).size, origins.size);
    world.end();
  });
});

describe('a request whose server fails', () => {
  it('goes to another when that one can’t be connected to', () => {
    const made = rig();
    kill(made, 8081);
    assert.deepEqual(asked(made.world, made.client, 30, withBody('POST', '/', 'content')), {
      8082: 15,
      8083: 15,
    });
    made.world.end();
  });

  it('goes to another when a fresh connection dies before a response byte, if it is idempotent', () => {
    const { world, client, origins } = rig();
    const dying = origins.get(8081);
    assert.ok(dying !== undefined);
    let deaths = 0;
    dying.onText = (peer) => {
      deaths++;
      peer.reset();
    };
    assert.equal(Object.keys(asked(world, client, 6)).includes('502'), false);
    assert.ok(deaths >= 1);
    world.end();
  });

  it('is 502 when it is a POST whose content was sent', () => {
    const { world, client, origins } = rig();
    for (const origin of origins.values()) origin.onText = (peer) => peer.reset();
    assert.equal(ask(world, client, withBody('POST', '/', 'content')), 502);
    assert.equal(
      [...origins.values()].reduce((sum, { peers }) => sum + peers.length, 0),
      1,
    );
    world.end();
  });

  it('is never sent twice to the same server', () => {
    const made = rig();
    const { world, client, origins } = made;
    kill(made, 8081);
    kill(made, 8082);
    const dying = origins.get(8083);
    assert.ok(dying !== undefined);
    dying.onText = (peer) => peer.reset();
    for (let count = 1; count <= 2; count++) {
      assert.equal(ask(world, client), 502);
      assert.equal(dying.peers.length, count);
    }
    world.end();
  });

  it('is sent to two servers at most when it is what kills them', () => {
    const { world, client, origins } = rig();
    for (const origin of origins.values()) origin.onText = (peer) => peer.reset();
    assert.equal(ask(world, client), 502);
    assert.deepEqual([...origins.values()].map(({ peers }) => peers.length).sort(), [0, 1, 1]);
    world.end();
  });

  it('takes all of its content along', () => {
    const { world, client, origins } = rig();
    const content = '0123456789'.repeat(3000);
    const seen: string[] = [];
    for (const [, origin] of origins) {
      origin.onText = (peer) => {
        if (!peer.text.includes('\r\n\r\n') || bodyOf(peer.text).length < content.length) return;
        seen.push(bodyOf(peer.text));
        if (seen.length < 2) peer.reset();
        else peer.send(ok('1'));
      };
    }
    assert.equal(ask(world, client, withBody('PUT', '/', content)), 1);
    assert.deepEqual(seen, [content, content]);
    world.end();
  });

  it('is not sent anywhere else after a byte of a response', () => {
    const { world, client, origins } = rig();
    for (const origin of origins.values()) {
      origin.onText = (peer) => {
        peer.send('HTTP/1.1 200 O');
        peer.finish();
      };
    }
    assert.equal(ask(world, client), 502);
    assert.equal(
      [...origins.values()].reduce((sum, { peers }) => sum + peers.length, 0),
      1,
    );
    world.end();
  });

  it('is not sent anywhere else after a response timeout, which a server may have used', () => {
    const { world, client, origins } = rig({ security: 'backend_response_timeout_secs = 2' });
    for (const origin of origins.values()) origin.onText = null;
    assert.equal(ask(world, client), 504);
    assert.equal(
      [...origins.values()].reduce((sum, { peers }) => sum + peers.length, 0),
      1,
    );
    world.end();
  });

  it('costs no client an error when the server dies under load', () => {
    for (let seed = 1; seed <= 10; seed++) {
      const made = rig({}, { seed, faults: { latencyMsMax: 4 } });
      const { world } = made;
      const clients = Array.from({ length: 12 }, () => world.client());
      const answers: number[] = [];
      for (const client of clients) {
        client.onText = () => {
          const [status] = statuses(client.text);
          if (status === undefined || bodyOf(client.text).length < 4) return;
          answers.push(status);
          client.take();
          client.send(get());
        };
        client.send(get());
      }
      world.until(() => answers.length >= 200, 60_000);
      kill(made, 8082);
      world.until(() => answers.length >= 600, 60_000);
      assert.ok(answers.length >= 600, `seed ${seed}: clients stopped`);
      assert.deepEqual(tally(answers), { 200: answers.length }, `seed ${seed}`);
      for (const client of clients) client.onText = null;
      world.pass(100);
      world.end();
    }
  });
});

describe('a server that fails several requests in a row', () => {
  it(`is out after ${FAILURES_MAX}, and probed by one request when its time is over`, () => {
    const made = rig();
    const { world, client, origins } = made;
    kill(made, 8081);
    asked(world, client, 3 * FAILURES_MAX);
    const revived = world.origin(8081);
    const waiting: Peer[] = [];
    revived.onText = (peer) => waiting.push(peer);
    assert.equal(revived.peers.length, 0);
    assert.deepEqual(asked(world, client, 10), { 8082: 5, 8083: 5 });
    assert.equal(revived.peers.length, 0, 'nobody asks it while it is out');
    world.pass(OUT_MS_FIRST);
    const probe = world.client(get());
    assert.equal(revived.peers.length, 1);
    assert.deepEqual(asked(world, client, 10), { 8082: 5, 8083: 5 });
    assert.equal(revived.peers.length, 1, 'one request finds out');
    waiting[0].send(ok('8081'));
    world.settle();
    assert.equal(bodyOf(probe.text), '8081');
    origins.set(8081, revived);
    revived.answers(ok('8081'));
    world.pass(SLOW_START_MS);
    assert.deepEqual(asked(world, client, 30), { 8081: 10, 8082: 10, 8083: 10 });
    world.end();
  });

  it('starts slowly when it is back', () => {
    const made = rig();
    const { world, client } = made;
    kill(made, 8081);
    asked(world, client, 3 * FAILURES_MAX);
    const revived = world.origin(8081);
    revived.answers(ok('8081'));
    world.pass(OUT_MS_FIRST);
    ask(world, client);
    const early = asked(world, client, 42)[8081] ?? 0;
    assert.ok(early >= 1 && early <= 6, `${early} of 42`);
    world.pass(SLOW_START_MS / 2);
    const half = asked(world, client, 50)[8081];
    assert.ok(half >= 8 && half <= 14, `${half} of 50`);
    world.end();
  });

  it('stays out twice as long after each probe that fails, and its client gets another server’s answer', () => {
    const made = rig();
    const { world, client } = made;
    kill(made, 8081);
    asked(world, client, 3 * FAILURES_MAX);
    const flawed = world.origin(8081);
    flawed.onText = (peer) => peer.reset();
    for (let outage = 0; outage < 7; outage++) {
      const outMs = Math.min(OUT_MS_FIRST * 2 ** outage, 30_000);
      world.pass(outMs - 100 - 20 * 10);
      const before = flawed.peers.length;
      assert.deepEqual(Object.keys(asked(world, client, 4)).sort(), ['8082', '8083']);
      assert.equal(flawed.peers.length, before, `outage ${outage}`);
      world.pass(400);
      assert.deepEqual(Object.keys(asked(world, client, 4)).sort(), ['8082', '8083']);
      assert.equal(flawed.peers.length, before + 1, `outage ${outage}`);
    }
    world.end();
  });

  it('is probed by a request that could not go elsewhere when no other comes', () => {
    const made = rig();
    const { world, client } = made;
    kill(made, 8081);
    asked(world, client, 3 * FAILURES_MAX);
    const revived = world.origin(8081);
    revived.answers(ok('8081'));
    world.pass(OUT_MS_FIRST);
    const post = withBody('POST', '/', 'content');
    assert.equal(asked(world, client, 6, post)[8081], undefined);
    world.pass(6000);
    assert.equal(asked(world, client, 1, post)[8081], 1);
    world.end();
  });

  it('can be probed again when the probing client leaves', () => {
    const made = rig();
    const { world, client } = made;
    kill(made, 8081);
    asked(world, client, 3 * FAILURES_MAX);
    const revived = world.origin(8081);
    world.pass(OUT_MS_FIRST);
    const probe = world.client(get());
    assert.equal(revived.peers.length, 1);
    probe.reset();
    world.settle();
    revived.answers(ok('8081'));
    assert.equal(ask(world, client), 8081);
    world.end();
  });

  it('is not out by failures with a success between them', () => {
    const { world, client, origins } = rig();
    const flaky = origins.get(8081);
    assert.ok(flaky !== undefined);
    let requests = 0;
    flaky.onText = (peer) => {
      peer.take();
      if (++requests % FAILURES_MAX === 0) peer.send(ok('8081'));
      else peer.send('HTTP/1.1 what?\r\n\r\n');
    };
    assert.deepEqual(asked(world, client, 60), { 502: 14, 8081: 6, 8082: 20, 8083: 20 });
    world.end();
  });

  it('is out by malformed responses', () => {
    const { world, client, origins } = rig();
    const liar = origins.get(8081);
    assert.ok(liar !== undefined);
    liar.onText = (peer) => peer.send('HTTP/1.1 what?\r\n\r\n');
    const counts = asked(world, client, 60);
    assert.equal(counts[502], FAILURES_MAX);
    world.end();
  });

  it('stays out over a reload', () => {
    const made = rig();
    const { world, client } = made;
    kill(made, 8081);
    asked(world, client, 3 * FAILURES_MAX);
    const revived = world.origin(8081);
    world.reload({ config: pool({ security: 'backend_response_timeout_secs = 7' }) });
    asked(world, client, 10);
    assert.equal(revived.peers.length, 0);
    world.end();
  });

  it('begins with the shortest time again after a calm time', () => {
    const made = rig();
    const { world } = made;
    for (let round = 0; round < 2; round++) {
      // The last one has been idle for too long.
      const client = world.client();
      kill(made, 8081);
      asked(world, client, 3 * FAILURES_MAX + 3);
      const revived = world.origin(8081);
      revived.answers(ok('8081'));
      made.origins.set(8081, revived);
      world.pass(OUT_MS_FIRST);
      ask(world, client);
      assert.equal(revived.peers.length, 1);
      world.pass(CALM_MS);
    }
    world.end();
  });
});

describe('a group of which no server is left', () => {
  it('is 503 with Retry-After', () => {
    const made = rig();
    const { world, client } = made;
    for (const port of PORTS) kill(made, port);
    assert.deepEqual(Object.keys(asked(world, client, FAILURES_MAX)), ['502']);
    assert.equal(ask(world, client), 503);
    assert.deepEqual(fieldsOf(client.text, 'retry-after'), ['1']);
    for (const port of PORTS) world.origin(port).answers(ok(String(port)));
    world.pass(OUT_MS_FIRST);
    assert.equal(typeof asked(world, client, 4)[503], 'undefined');
    world.end();
  });

  it('of one server goes on asking it', () => {
    const world = new EdgeWorld();
    const client = world.client();
    assert.deepEqual(asked(world, client, 20), { 502: 20 });
    world.origin().answers(ok('8080'));
    assert.equal(ask(world, client), 8080);
    world.end();
  });
});

describe('a server whose name has several addresses', () => {
  const config = `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "http://both.test:8080"\n`;
  const security = `[path_routes."example.com"."/".security]\nmax_idle_connections_per_host = 0\n`;

  it('is used at all of them in turn', () => {
    const world = new EdgeWorld({ config: config + security });
    for (const [address, body] of [
      [ORIGIN, '1'],
      ['10.0.0.9', '2'],
    ]) {
      const origin = world.origin({ family: 'ipv4', address, port: 8080 });
      origin.answers(ok(body, 'Connection: close'));
    }
    assert.deepEqual(asked(world, world.client(), 12), { 1: 6, 2: 6 });
    world.end();
  });

  it('is used at the others while one can’t be connected to, and there again when it can', () => {
    const world = new EdgeWorld({ config: config + security });
    const near = world.origin({ family: 'ipv4', address: ORIGIN, port: 8080 });
    near.answers(ok('1', 'Connection: close'));
    const client = world.client();
    // Nobody listens at the other one: it rests, and costs nobody anything meanwhile.
    assert.deepEqual(asked(world, client, 12), { 1: 12 });
    const far = world.origin({ family: 'ipv4', address: '10.0.0.9', port: 8080 });
    far.answers(ok('2', 'Connection: close'));
    assert.deepEqual(asked(world, client, 12), { 1: 12 });
    world.pass(10_000);
    assert.deepEqual(asked(world, client, 12), { 1: 6, 2: 6 });
    world.end();
  });
});
