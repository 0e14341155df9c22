/** Health checks: what is asked, what counts, and what becomes of servers by it. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VerdictName, VerdictTable, verdictBytes } from '../../src/shared/health-verdicts.ts';
import {
  bodyOf,
  EdgeWorld,
  fieldsOf,
  get,
  ORIGIN,
  type Origin,
  ok,
  type Peer,
  statuses,
} from './edge-world.ts';

interface CheckOptions {
  readonly check?: string;
  readonly servers?: string;
  readonly algorithm?: string;
}

/** Checks every 10 s with 2 s of patience, three failures or two successes; the path is /health. */
function pool(options: CheckOptions = {}): string {
  return `[upstreams.pool]
algorithm = "${options.algorithm ?? 'round_robin'}"
servers = [${options.servers ?? `"http://${ORIGIN}:8081", "http://${ORIGIN}:8082"`}]
[upstreams.pool.health_check]
path = "/health?deep=1"
timeout_secs = 2
${options.check ?? ''}
[path_routes."example.com"."/"]
type = "Proxy"
upstream = "pool"
`;
}

/** A backend whose answer to checks can be changed, and which tells checks from requests. */
class Checked {
  readonly origin: Origin;
  /** When a check was asked, milliseconds. */
  readonly asked: number[];
  /** Answers a check. */
  answer: (peer: Peer) => void;

  constructor(world: EdgeWorld, port: number) {
    this.origin = world.origin(port);
    this.asked = [];
    this.answer = (peer) => peer.send(ok('fine', 'Connection: close'));
    this.origin.onText = (peer) => {
      if (!peer.text.endsWith('\r\n\r\n')) return;
      const text = peer.take();
      if (text.startsWith('GET /health?deep=1 HTTP/1.1\r\n')) {
        this.asked.push(world.edge.nowMs);
        this.answer(peer);
      } else peer.send(ok(String(port)));
    };
  }
}

function ask(world: EdgeWorld, client: Peer): number {
  client.take();
  client.send(get());
  world.until(() => bodyOf(client.text) !== '', 40_000);
  return statuses(client.text)[0] === 200 ? Number(bodyOf(client.text)) : statuses(client.text)[0];
}

/** Which answers come, each once, in order. */
function answers(world: EdgeWorld, times = 12): number[] {
  const client = world.client();
  const found = new Set(Array.from({ length: times }, () => ask(world, client)));
  client.close();
  world.settle();
  return [...found].sort();
}

describe('a health check', () => {
  it('asks every server for the path at each interval, on a connection of its own', () => {
    const world = new EdgeWorld({ config: pool() });
    const first = new Checked(world, 8081);
    const second = new Checked(world, 8082);
    world.pass(31_000);
    for (const { asked } of [first, second]) {
      assert.equal(asked.length, 4);
      for (let at = 1; at < 4; at++) assert.ok(Math.abs(asked[at] - asked[at - 1] - 10_000) <= 2);
    }
    assert.equal(first.origin.peers.length, 4);
    assert.deepEqual(world.health, []);
    world.end();
  });

  it('says who it is for and who asks', () => {
    const world = new EdgeWorld({ config: pool() });
    const origin = world.origin(8081);
    world.pass(500);
    const { text } = origin.last;
    assert.deepEqual(fieldsOf(text, 'host'), [`${ORIGIN}:8081`]);
    assert.deepEqual(fieldsOf(text, 'user-agent'), ['sallyport-health']);
    assert.deepEqual(fieldsOf(text, 'connection'), ['close']);
    world.end();
  });

  const FAILURES: readonly { name: string; answer: (peer: Peer) => void; because: string }[] = [
    {
      name: 'a status that is not listed',
      answer: (peer) => peer.send(ok('x').replace('200 OK', '500 No')),
      because: 'status 500',
    },
    { name: 'silence', answer: () => {}, because: 'timeout' },
    { name: 'half a head', answer: (peer) => peer.send('HTTP/1.1 200 OK\r\nA: b'), because: 'timeout' },
    { name: 'a reset', answer: (peer) => peer.reset(), because: 'reset-before-response' },
    { name: 'an end', answer: (peer) => peer.close(), because: 'closed-before-response' },
    {
      name: 'what is no HTTP',
      answer: (peer) => peer.send('SSH-2.0-x\r\n\r\n'),
      because: 'malformed-response',
    },
    {
      name: 'interim responses only',
      answer: (peer) => peer.send('HTTP/1.1 100 Continue\r\n\r\n'.repeat(40)),
      because: 'malformed-response',
    },
    {
      name: 'an endless head',
      answer: (peer) => peer.send(`HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(9000)}`),
      because: 'malformed-response',
    },
  ];
  for (const { name, answer, because } of FAILURES) {
    it(`fails by ${name}: out after three, back after two`, () => {
      const world = new EdgeWorld({ config: pool() });
      const sick = new Checked(world, 8081);
      new Checked(world, 8082);
      world.pass(1000);
      const well = sick.answer;
      sick.answer = answer;
      world.pass(25_000);
      assert.deepEqual(world.health, []);
      assert.deepEqual(answers(world), [8081, 8082]);
      world.pass(9000);
      assert.deepEqual(world.health, [`${ORIGIN}:8081 unhealthy: ${because}`]);
      assert.deepEqual(answers(world), [8082]);
      sick.answer = well;
      world.pass(8000);
      assert.equal(world.health.length, 1);
      assert.deepEqual(answers(world), [8082]);
      world.pass(10_000);
      assert.deepEqual(world.health.slice(1), [`${ORIGIN}:8081 healthy: status 200`]);
      world.pass(10_000);
      assert.deepEqual(answers(world), [8081, 8082]);
      world.end();
    });
  }

  it('fails when nobody listens', () => {
    const world = new EdgeWorld({ config: pool({ check: 'unhealthy_threshold = 1' }) });
    new Checked(world, 8082);
    world.pass(1000);
    assert.deepEqual(world.health, [`${ORIGIN}:8081 unhealthy: connect-failed`]);
    assert.deepEqual(answers(world), [8082]);
    world.end();
  });

  it('reads a head that comes byte by byte, after interim ones', () => {
    const world = new EdgeWorld({
      config: pool({ check: 'unhealthy_threshold = 1\nhealthy_statuses = [204]' }),
    });
    new Checked(world, 8082).answer = (peer) => peer.send('HTTP/1.1 204 No Content\r\n\r\n');
    const slow = new Checked(world, 8081);
    slow.answer = (peer) => {
      for (const byte of 'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n')
        peer.send(byte);
    };
    world.pass(15_000);
    assert.deepEqual(world.health, []);
    assert.equal(slow.asked.length, 2);
    world.end();
  });

  it('takes the statuses that are listed, and a success between failures begins the count anew', () => {
    const world = new EdgeWorld({ config: pool({ check: 'healthy_statuses = [418]' }) });
    let count = 0;
    for (const port of [8081, 8082])
      new Checked(world, port).answer = (peer) =>
        peer.send(++count % 6 >= 4 ? ok('x').replace('200 OK', '418 Teapot') : ok('x'));
    world.pass(120_000);
    assert.deepEqual(world.health, []);
    world.end();
  });

  it('cuts off a server whose answer has no end', () => {
    const world = new EdgeWorld({ config: pool() });
    const endless = new Checked(world, 8081);
    endless.answer = (peer) => {
      peer.send(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(3_000_000)}`);
    };
    new Checked(world, 8082);
    world.pass(9000);
    assert.ok(endless.origin.last.sendErrno < 0);
    assert.deepEqual(world.health, []);
    world.end();
  });

  it('is 503 with Retry-After when no server is healthy, a single one too', () => {
    const world = new EdgeWorld({
      config: pool({ servers: `"http://${ORIGIN}:8081"`, check: 'unhealthy_threshold = 1' }),
    });
    const sick = new Checked(world, 8081);
    sick.answer = (peer) => peer.reset();
    world.pass(1000);
    const client = world.client(get());
    assert.deepEqual(statuses(client.text), [503]);
    assert.equal(fieldsOf(client.text, 'retry-after').length, 1);
    world.end();
  });

  it('keeps its verdict and its count over a reload, and forgets servers that go', () => {
    const check = 'unhealthy_threshold = 2';
    const world = new EdgeWorld({ config: pool({ check }) });
    const sick = new Checked(world, 8081);
    const second = new Checked(world, 8082);
    sick.answer = (peer) => peer.reset();
    second.answer = (peer) => peer.reset();
    world.pass(5000);
    // One failure each so far.
    world.reload({ config: pool({ check: `${check}\nhealthy_threshold = 1` }) });
    second.answer = (peer) => peer.send(ok('fine'));
    world.pass(10_000);
    assert.deepEqual(world.health, [`${ORIGIN}:8081 unhealthy: reset-before-response`]);
    world.reload({ config: pool({ check, algorithm: 'least_conn' }) });
    assert.deepEqual(answers(world), [8082]);
    assert.equal(world.health.length, 1);
    // Gone and back again: healthy until proven otherwise.
    world.reload({ config: pool({ check, servers: `"http://${ORIGIN}:8082"` }) });
    world.reload({ config: pool({ check }) });
    assert.deepEqual(answers(world), [8081, 8082]);
    world.end();
  });

  it('begins at once with a new interval, and stops with the last configuration that asks for it', () => {
    const world = new EdgeWorld({ config: pool() });
    const server = new Checked(world, 8081);
    new Checked(world, 8082);
    world.pass(5000);
    world.reload({ config: pool({ check: 'interval_secs = 2' }) });
    world.pass(5000);
    assert.equal(server.asked.length, 4);
    world.reload({ config: pool().replace(/\[upstreams\.pool\.health_check\][^[]*/, '') });
    world.pass(60_000);
    assert.equal(server.asked.length, 4);
    world.end();
  });

  it('tries the next address of a name when one can’t be connected to', () => {
    const world = new EdgeWorld({
      config: pool({ servers: '"http://both.test:8081"', check: 'unhealthy_threshold = 1' }),
    });
    const server = new Checked(world, 8081);
    world.pass(45_000);
    assert.deepEqual(world.health, []);
    assert.equal(server.asked.length, 5);
    world.end();
  });

  it('leaves nothing behind when the edge stops in the middle of it', () => {
    const world = new EdgeWorld({ config: pool() });
    new Checked(world, 8081).answer = () => {};
    new Checked(world, 8082).answer = (peer) => peer.send('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
    world.pass(700);
    world.end();
  });

  it('says nothing of a server when the edge itself has no descriptor left', () => {
    const world = new EdgeWorld({ config: pool({ check: 'unhealthy_threshold = 1' }), descriptorsMax: 1 });
    world.pass(30_000);
    assert.deepEqual(world.health, []);
    world.end();
  });
});

describe('the table of verdicts', () => {
  it('finds each name’s slot again, and healthy until told otherwise', () => {
    const table = new VerdictTable();
    const names = Array.from({ length: 50 }, (_, index) => new VerdictName('pool', `http://a:${index}`));
    const slots = names.map((name) => table.claim(name));
    assert.equal(new Set(slots).size, 50);
    const epoch = table.epoch;
    table.set(slots[7], false);
    assert.notEqual(table.epoch, epoch);
    for (const [index, name] of names.entries()) {
      assert.equal(table.find(name), slots[index]);
      assert.equal(table.isHealthy(slots[index]), index !== 7);
    }
  });

  it('is the same for whoever reads the same words', () => {
    const words = new Int32Array(new SharedArrayBuffer(verdictBytes(8)));
    const writer = new VerdictTable(words);
    const reader = new VerdictTable(words);
    const name = new VerdictName('pool', 'http://a');
    const slot = writer.claim(name);
    writer.set(slot, false);
    assert.equal(reader.isHealthy(reader.find(name)), false);
  });

  it('tells the same server in two groups apart', () => {
    const table = new VerdictTable();
    const slots = ['one', 'two'].map((pool) => table.claim(new VerdictName(pool, 'http://a')));
    assert.notEqual(slots[0], slots[1]);
  });

  it('gives a slot to the next one when it is released, and its old owner notices', () => {
    const table = new VerdictTable(new Int32Array(verdictBytes(1) / 4));
    const old = new VerdictName('pool', 'http://a');
    const slot = table.claim(old);
    assert.equal(table.claim(new VerdictName('pool', 'http://b')), -1);
    table.set(slot, false);
    table.release(slot);
    assert.equal(table.belongsTo(slot, old), false);
    const next = new VerdictName('pool', 'http://b');
    assert.equal(table.claim(next), slot);
    assert.equal(table.isHealthy(slot), true);
    assert.equal(table.belongsTo(slot, old), false);
  });
});
