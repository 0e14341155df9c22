/** The edge's side of names: what it asks, what it waits for, what it makes of answers. */

import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/model.ts';
import { Names } from '../../src/edge/names.ts';
import type { Message, ResolvedStatus } from '../../src/ipc/message.ts';
import { PolledChannel } from '../../src/ipc/polled-channel.ts';
import { resolvedAddressOf } from '../../src/ipc/resolved-address.ts';
import { createMessagePair } from '../../src/sys/descriptors.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { until } from '../fixtures/patience.ts';

/** A test in the place of the room `outbound`. */
class Resolver {
  readonly asked: (Message & { kind: 'resolve' })[] = [];
  readonly channel: PolledChannel;
  /** The other end. */
  readonly descriptor: number;

  constructor() {
    const pair = createMessagePair(65_536);
    assert.ok(typeof pair !== 'number');
    this.descriptor = pair[1];
    this.channel = new PolledChannel(pair[0], 'outbound', 'edge', {
      onMessage: (_, message) => {
        if (message.kind === 'resolve') this.asked.push({ ...message });
      },
      onEnd: () => {},
    });
    opened.push(this.channel);
  }

  async answer(name: string, ...addresses: string[]): Promise<void> {
    await this.say(name, 'found', ...addresses);
  }

  async say(name: string, status: ResolvedStatus, ...addresses: string[]): Promise<void> {
    const ask = (): number => this.asked.findLast((each) => each.name === name)?.question ?? -1;
    await until(() => ask() >= 0, 5000, `a question about ${name}`);
    const resolved = addresses.flatMap((each) => resolvedAddressOf(each.includes(':') ? 6 : 4, each) ?? []);
    this.channel.send({ kind: 'resolved', question: ask(), status, addresses: resolved });
  }
}

const opened: { close(): void }[] = [];

afterEach(() => {
  for (const each of opened.splice(0)) each.close();
});

interface World {
  readonly names: Names;
  readonly resolver: Resolver;
  /** What was told by `onChange`. */
  readonly changes: Record<string, string[]>[];
}

function world(): World {
  const changes: Record<string, string[]>[] = [];
  const names = new Names((changed) => changes.push(texts(changed)));
  opened.push(names);
  const resolver = new Resolver();
  names.connect(resolver.descriptor);
  return { names, resolver, changes };
}

function texts(addresses: ReadonlyMap<string, readonly SocketAddress[]>): Record<string, string[]> {
  const text = (each: SocketAddress): string =>
    each.family === 'unix' ? each.path : `${each.address} ${each.port}`;
  return Object.fromEntries([...addresses].map(([url, all]) => [url, all.map(text)]));
}

function configOf(...urls: string[]): Config {
  const toml = `[server]\nlisten = "127.0.0.1:80"\n[upstreams.pool]\nservers = ${JSON.stringify(urls)}\n[path_routes."example.com"."/"]\ntype = "Proxy"\nupstream = "pool"\n`;
  const { config, problems } = loadConfig(toml, '/etc/edge/config.toml', {
    files: { kindOf: (path) => (path.endsWith('.sock') ? 'socket' : 'directory'), isReachable: () => true },
  });
  assert.ok(config !== null, JSON.stringify(problems));
  return config;
}

describe('names of a configuration', () => {
  it('are asked for, each once; addresses and sockets are not', async () => {
    const { names, resolver } = world();
    const resolving = names.resolve(
      configOf(
        'http://a.test:81',
        'http://a.test:82/app',
        'http://127.0.0.1:83',
        'http://[::1]:84',
        'unix:/run/app.sock',
      ),
    );
    await resolver.answer('a.test', '10.0.0.1', '::5');
    assert.deepEqual(texts(await resolving), {
      'http://a.test:81': ['10.0.0.1 81', '::5 81'],
      'http://a.test:82/app': ['10.0.0.1 82', '::5 82'],
      'http://127.0.0.1:83': ['127.0.0.1 83'],
      'http://[::1]:84': ['::1 84'],
      'unix:/run/app.sock': ['/run/app.sock'],
    });
    assert.deepEqual(
      resolver.asked.map(({ name }) => name),
      ['a.test'],
    );
  });

  it('need nobody where there are none', async () => {
    const names = new Names(() => {});
    assert.deepEqual(texts(await names.resolve(configOf('http://127.0.0.1:1'))), {
      'http://127.0.0.1:1': ['127.0.0.1 1'],
    });
  });

  for (const [status, words] of [
    ['no-such-name', 'no such name'],
    ['failed', 'no name server answers'],
  ] as const)
    it(`refuse the configuration where one has no address: ${status}`, async () => {
      const { names, resolver } = world();
      const resolving = names.resolve(configOf('http://a.test', 'http://b.test:8080/x'));
      const refused = assert.rejects(resolving, {
        message: `The name of backend http://b.test:8080/x has no address (${words})`,
      });
      await resolver.answer('a.test', '10.0.0.1');
      await resolver.say('b.test', status);
      await refused;
    });

  it('that were found are not waited for again, those that were not are asked for anew', async () => {
    const { names, resolver } = world();
    const first = names.resolve(configOf('http://a.test'));
    await resolver.answer('a.test', '10.0.0.1');
    await first;
    names.keep();
    const second = names.resolve(configOf('http://a.test', 'http://b.test'));
    const refused = assert.rejects(second);
    await resolver.say('b.test', 'failed');
    await refused;
    const third = names.resolve(configOf('http://a.test', 'http://b.test'));
    await until(() => resolver.asked.length === 3, 5000, 'another question');
    await resolver.answer('b.test', '10.0.0.2');
    assert.deepEqual(texts(await third)['http://b.test'], ['10.0.0.2 80']);
    assert.deepEqual(
      resolver.asked.map(({ name }) => name),
      ['a.test', 'b.test', 'b.test'],
    );
  });
});

describe('a name that changes', () => {
  it('is told with all servers of that name; no answer leaves them as they were', async () => {
    const { names, resolver, changes } = world();
    const resolving = names.resolve(configOf('http://a.test:81', 'http://a.test:82', 'http://b.test'));
    await resolver.answer('a.test', '10.0.0.1');
    await resolver.answer('b.test', '10.0.0.9');
    await resolving;
    names.keep();
    await resolver.say('a.test', 'failed');
    await resolver.say('a.test', 'no-such-name');
    await resolver.answer('a.test', '10.0.0.2', '10.0.0.3');
    await until(() => changes.length > 0, 5000, 'a change');
    assert.deepEqual(changes, [
      {
        'http://a.test:81': ['10.0.0.2 81', '10.0.0.3 81'],
        'http://a.test:82': ['10.0.0.2 82', '10.0.0.3 82'],
      },
    ]);
    assert.deepEqual(texts(names.addresses)['http://a.test:81'], ['10.0.0.2 81', '10.0.0.3 81']);
  });

  it('of the configuration in force is told while another one fails, and not when that has taken its place', async () => {
    const { names, resolver, changes } = world();
    const first = names.resolve(configOf('http://a.test'));
    await resolver.answer('a.test', '10.0.0.1');
    await first;
    names.keep();
    const second = names.resolve(configOf('http://b.test'));
    const refused = assert.rejects(second);
    await resolver.say('b.test', 'failed');
    await refused;
    await resolver.answer('a.test', '10.0.0.2');
    await until(() => changes.length === 1, 5000, 'a change');
    const third = names.resolve(configOf('http://b.test'));
    await until(() => resolver.asked.length === 3, 5000, 'another question');
    await resolver.answer('b.test', '10.0.0.3');
    await third;
    names.keep();
    const before = changes.length;
    await resolver.answer('a.test', '10.0.0.4');
    await resolver.answer('b.test', '10.0.0.5');
    await until(() => texts(names.addresses)['http://b.test'][0] === '10.0.0.5 80', 5000, 'the other change');
    assert.deepEqual(changes.slice(before), [{ 'http://b.test': ['10.0.0.5 80'] }]);
  });
});

describe('a room that resolves names and dies', () => {
  it('is asked all again when another one is there, also what waits', async () => {
    const { names, resolver, changes } = world();
    const first = names.resolve(configOf('http://a.test'));
    await resolver.answer('a.test', '10.0.0.1');
    await first;
    names.keep();
    const second = names.resolve(configOf('http://a.test', 'http://b.test'));
    await until(() => resolver.asked.length === 2, 5000, 'the question');
    resolver.channel.close();
    const other = new Resolver();
    names.connect(other.descriptor);
    await other.answer('b.test', '10.0.0.2');
    await second;
    await other.answer('a.test', '10.0.0.7');
    await until(() => changes.some((each) => each['http://a.test'] !== undefined), 5000, 'a change');
    assert.deepEqual(other.asked.map(({ name }) => name).sort(), ['a.test', 'b.test']);
  });

  it('may be missing at first', async () => {
    const names = new Names(() => {});
    opened.push(names);
    const resolving = names.resolve(configOf('http://a.test'));
    const resolver = new Resolver();
    names.connect(resolver.descriptor);
    await resolver.answer('a.test', '10.0.0.1');
    assert.deepEqual(texts(await resolving), { 'http://a.test': ['10.0.0.1 80'] });
  });
});
