import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SharedState } from '../../src/shared/state.ts';
import { CLIENT, EdgeWorld, get, ORIGIN, ok, statuses } from './edge-world.ts';

function config(security: string, server = ''): { config: string; server: string } {
  return {
    config: `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "http://${ORIGIN}:8080"\n[security]\n${security}\n`,
    server,
  };
}

function worldOf(security: string, server = '', shared: SharedState = SharedState.alone()): EdgeWorld {
  const world = new EdgeWorld({ ...config(security, server), shared });
  world.origin().answers(ok('x'));
  return world;
}

/** Two workers of one house, each on a network of its own. */
function twoWorlds(security: string): [EdgeWorld, EdgeWorld] {
  const memory = new SharedArrayBuffer(SharedState.bytes(2));
  SharedState.initialise(memory, 2);
  const [one, two] = [0, 1].map((own) => worldOf(security, '', new SharedState(memory, 2, own, 0)));
  return [one, two];
}

describe('security.max_connections_per_ip', () => {
  it('closes one more connection of an address unread, and admits the next when one has gone', () => {
    const world = worldOf('max_connections_per_ip = 2');
    const clients = [1, 2].map(() => world.client(get()));
    const third = world.client(get());
    assert.deepEqual(
      clients.map((client) => statuses(client.text)),
      [[200], [200]],
    );
    assert.equal(third.text, '');
    assert.notEqual(third.end, null);
    assert.equal(world.worker.counters.refusedByAddress, 1);
    clients[0].close();
    world.settle();
    assert.deepEqual(statuses(world.client(get()).text), [200]);
    world.end();
  });

  it('holds over all workers', () => {
    const [one, two] = twoWorlds('max_connections_per_ip = 2');
    const clients = [one.client(get()), two.client(get())];
    assert.deepEqual(
      clients.map((client) => statuses(client.text)),
      [[200], [200]],
    );
    for (const world of [one, two]) assert.equal(world.client(get()).text, '');
    clients[0].close();
    one.settle();
    assert.deepEqual(statuses(two.client(get()).text), [200]);
    for (const world of [one, two]) world.end();
  });

  it('is not for trusted proxies, through which many clients come', () => {
    const world = worldOf('max_connections_per_ip = 1', `trusted_proxies = ["${CLIENT}"]`);
    for (let count = 0; count < 5; count++) assert.deepEqual(statuses(world.client(get()).text), [200]);
    world.end();
  });

  it('counts connections that were there before a reload asked for it', () => {
    const world = worldOf('');
    world.client(get());
    world.client(get());
    world.reload(config('max_connections_per_ip = 2'));
    assert.equal(world.client(get()).text, '');
    world.end();
  });

  it('is told of in the log once a second at most, with how many were refused', (test) => {
    const world = worldOf('max_connections_per_ip = 1');
    const warnings = test.mock.method(world.worker.log, 'warn').mock;
    world.client(get());
    for (let count = 0; count < 20; count++) world.client();
    assert.equal(warnings.callCount(), 1);
    assert.deepEqual(warnings.calls[0].arguments, [
      'connections are refused: security.max_connections_per_ip is reached',
      { client: CLIENT, refused: 1 },
    ]);
    world.pass(1500);
    world.client();
    assert.equal(warnings.callCount(), 2);
    assert.deepEqual(warnings.calls[1].arguments[1], { client: CLIENT, refused: 20 });
    world.end();
  });
});

describe('security.max_concurrent_connections', () => {
  it('holds over all workers: one that is full because of another looks again, and serves those that wait', () => {
    const [one, two] = twoWorlds('max_concurrent_connections = 2');
    const clients = [one.client(get()), one.client(get())];
    const waiting = two.client(get());
    assert.equal(waiting.text, '');
    assert.equal(waiting.end, null);
    assert.equal(two.worker.shared.connections.total, 2);
    two.pass(1000);
    assert.equal(waiting.text, '');
    clients[0].close();
    one.settle();
    two.pass(300);
    assert.deepEqual(statuses(waiting.text), [200]);
    for (const world of [one, two]) world.end();
  });

  it('closes what has waited for too long', () => {
    const [one, two] = twoWorlds('max_concurrent_connections = 1');
    one.client(get());
    const waiting = two.client(get());
    two.pass(4900);
    assert.equal(waiting.end, null);
    two.pass(500);
    assert.notEqual(waiting.end, null);
    assert.equal(two.worker.counters.refusedByTotal, 1);
    for (const world of [one, two]) world.end();
  });

  it('leaves those that wait for nobody when the edge stops', () => {
    const [one, two] = twoWorlds('max_concurrent_connections = 1');
    one.client(get());
    const waiting = two.client(get());
    two.end();
    assert.equal(waiting.text, '');
    one.end();
  });

  it('serves what waits in the order of its coming, however late the kernel hears of the pause', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = new EdgeWorld({
        ...config('max_concurrent_connections = 1'),
        seed,
        faults: { reorder: 0.5 },
      });
      world.origin().answers(ok('x'));
      const clients = Array.from({ length: 6 }, () => world.client(get()));
      for (let served = 0; served < clients.length; served++) {
        world.pass(300);
        assert.ok(world.worker.openConnections <= 1, `${world.worker.openConnections} are open`);
        assert.deepEqual(
          clients.map((client) => statuses(client.text).length),
          clients.map((_, index) => (index <= served ? 1 : 0)),
        );
        clients[served].close();
      }
      world.end();
    }
  });

  it('counts those of a worker that died no more once its slot was cleared', () => {
    const [one, two] = twoWorlds('max_concurrent_connections = 2');
    one.client(get());
    one.client(get());
    two.worker.shared.clearSlot(0);
    assert.deepEqual(statuses(two.client(get()).text), [200]);
    assert.deepEqual(statuses(two.client(get()).text), [200]);
    two.end();
  });
});
