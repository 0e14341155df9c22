/** Names of servers, as the locked room finds them and tells of them. As root. */

import assert from 'node:assert/strict';
import { globSync, readFileSync, writeSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';
import { until } from '../fixtures/patience.ts';
import { needRoot, prepareMaster } from '../master/house.ts';
import { NameServer } from './name-server.ts';
import { OutboundHouse, type OutboundRoom } from './outbound-room.ts';

const NAME_SERVER = '127.0.22.53';
const RESOLV_CONF = `nameserver ${NAME_SERVER}\noptions timeout:1 attempts:1\n`;
const HOSTS = '127.0.0.1 localhost\n127.0.22.7 origin.test\n::1 origin.test\n';

const rooms: OutboundRoom[] = [];
let server: NameServer;

before(async () => {
  needRoot();
  await prepareMaster();
  server = await NameServer.start(NAME_SERVER);
});

after(() => server.close());

afterEach(async () => {
  for (const room of rooms.splice(0)) await room.stop();
  server.names.clear();
  server.asked.length = 0;
});

function pool(...urls: string[]): string {
  return `[upstreams.pool]\nservers = ${JSON.stringify(urls)}\n[path_routes."example.com"."/"]\ntype = "Proxy"\nupstream = "pool"\n`;
}

function start(house: OutboundHouse, io: 'io_uring' | 'epoll' = 'io_uring'): OutboundRoom {
  const room = house.start(io);
  rooms.push(room);
  return room;
}

for (const io of ['io_uring', 'epoll'] as const)
  describe(`the locked room, on ${io}`, () => {
    it('resolves names of /etc/hosts and of name servers, with all their addresses', async () => {
      server.names.set('two.test', ['127.0.22.9', '127.0.22.8', '::5', '127.0.22.8']);
      const room = start(new OutboundHouse({ hosts: HOSTS, 'resolv.conf': RESOLV_CONF }), io);
      const edge = room.asker();
      await room.configure(pool('http://origin.test:8081', 'http://localhost:8082', 'http://two.test'));
      assert.deepEqual(await edge.answer(edge.ask('localhost')), {
        question: 1,
        status: 'found',
        addresses: ['127.0.0.1'],
      });
      assert.deepEqual((await edge.answer(edge.ask('origin.test'))).addresses, ['127.0.22.7', '::1']);
      const two = await edge.answer(edge.ask('two.test'));
      assert.deepEqual(two.addresses, ['127.0.22.8', '127.0.22.9', '::5']);
      await room.logs(`ready, with ${io}`);
      await room.logs('Name two.test has the addresses 127.0.22.8, 127.0.22.9, ::5');
    });

    it('says which names there are not, and which can’t be resolved', async () => {
      server.names.set('broken.test', 'fails');
      const room = start(new OutboundHouse({ 'resolv.conf': RESOLV_CONF }), io);
      const edge = room.asker();
      await room.configure(pool('http://missing.test', 'http://broken.test'));
      assert.equal((await edge.answer(edge.ask('missing.test'))).status, 'no-such-name');
      assert.equal((await edge.answer(edge.ask('broken.test'), 0, 20_000)).status, 'failed');
    });
  });

describe('a module that nsswitch.conf names', () => {
  it('is not loaded, and what comes after it is asked', async () => {
    const modules = globSync('/usr/lib/*/libnss_hesiod.so.2');
    assert.ok(modules.length > 0, 'these tests need glibc with its modules');
    server.names.set('two.test', ['127.0.22.8']);
    const files = { 'resolv.conf': RESOLV_CONF, 'nsswitch.conf': 'hosts: files hesiod dns\n' };
    const room = start(new OutboundHouse(files, modules));
    const edge = room.asker();
    await room.configure(pool('http://two.test'));
    assert.deepEqual((await edge.answer(edge.ask('two.test'))).addresses, ['127.0.22.8']);
    const maps = readFileSync(`/proc/${room.room.pid}/maps`, 'utf8');
    assert.doesNotMatch(maps, /^\S+ ..x.*libnss_hesiod/m);
  });
});

describe('names that change', () => {
  it('are told when another answer comes, and keep their addresses while none does', async () => {
    const house = new OutboundHouse({ hosts: HOSTS, 'resolv.conf': RESOLV_CONF });
    server.names.set('moving.test', ['127.0.22.8']);
    const room = start(house);
    const edge = room.asker();
    const other = room.asker(1);
    await room.configure(pool('http://moving.test', 'http://origin.test'));
    const question = edge.ask('moving.test');
    assert.deepEqual((await edge.answer(question)).addresses, ['127.0.22.8']);
    const asked = server.asked.length;
    server.names.set('moving.test', 'fails');
    await room.logs('Name moving.test can’t be resolved: its addresses stay as they were', 30_000);
    await until(() => server.asked.length > asked + 2, 30_000, 'further questions to the name server');
    assert.equal(edge.answers.length, 1);
    // Whoever asks meanwhile is told what was known.
    assert.deepEqual((await other.answer(other.ask('moving.test'))).addresses, ['127.0.22.8']);
    server.names.set('moving.test', ['127.0.22.9', '127.0.22.8']);
    assert.deepEqual((await edge.answer(question, 1, 30_000)).addresses, ['127.0.22.8', '127.0.22.9']);
    assert.deepEqual((await other.answer(1, 1)).addresses, ['127.0.22.8', '127.0.22.9']);
    await room.logs('Name moving.test can be resolved again');
  });

  it('in /etc/hosts count too', async () => {
    const house = new OutboundHouse({ hosts: HOSTS });
    const room = start(house);
    const edge = room.asker();
    await room.configure(pool('http://origin.test'));
    const question = edge.ask('origin.test');
    await edge.answer(question);
    house.write('hosts', '127.0.22.99 origin.test\n');
    assert.deepEqual((await edge.answer(question, 1, 30_000)).addresses, ['127.0.22.99']);
  });

  it('belong to the configuration: others are never asked for, those of a new one are', async () => {
    server.names.set('secret.attacker.test', ['127.0.22.1']);
    server.names.set('later.test', ['127.0.22.2']);
    const room = start(new OutboundHouse({ hosts: HOSTS, 'resolv.conf': RESOLV_CONF }));
    const edge = room.asker();
    await room.configure(pool('http://origin.test'));
    assert.equal((await edge.answer(edge.ask('secret.attacker.test'))).status, 'failed');
    const later = edge.ask('later.test');
    assert.equal((await edge.answer(later)).status, 'failed');
    const asked = (): readonly string[] => server.asked;
    assert.equal(asked().length, 0);
    await room.configure(pool('http://later.test'));
    const answers = edge.answers.filter(({ question, status }) => question === later && status === 'found');
    if (answers.length === 0)
      await until(() => edge.answers.some(({ status }) => status === 'found'), 10_000, 'the name');
    assert.equal(asked().includes('secret.attacker.test'), false);
  });
});

describe('an edge', () => {
  it('that sends what is no message loses its channel, and nobody else anything', async () => {
    const room = start(new OutboundHouse({ hosts: HOSTS }));
    const bad = room.asker(0);
    const good = room.asker(1);
    await room.configure(pool('http://origin.test'));
    await good.answer(good.ask('origin.test'));
    writeSync(bad.channel.channel.descriptor, Buffer.alloc(100, 7));
    await until(() => bad.end !== '', 5000, 'the end of the channel');
    await room.logs(/a worker’s questions were broken off.*a malformed message/);
    await good.answer(good.ask('origin.test'));
    // A new one at the same place is as good as any.
    const again = room.asker(0);
    await again.answer(again.ask('origin.test'));
    assert.equal(room.ended, '');
  });

  it('that asks for names without end loses its channel', async () => {
    const room = start(new OutboundHouse({ hosts: HOSTS }));
    const bad = room.asker(0);
    await room.configure(pool('http://origin.test'));
    for (let sent = 0; bad.end === '' && sent < 10_000; ) {
      for (let each = 0; each < 64; each++) bad.ask(`n${++sent}.test`);
      await until(() => bad.answers.length >= sent || bad.end !== '', 10_000, `${sent} answers`);
    }
    await until(() => bad.end !== '', 10_000, 'the end of the channel');
    await room.logs(/too many names/);
  });
});

describe('a room that takes another’s place', () => {
  it('answers the questions that come before its configuration when that is there', async () => {
    const room = start(new OutboundHouse({ hosts: HOSTS }));
    const edge = room.asker();
    const question = edge.ask('origin.test');
    await room.configure(pool('http://origin.test'));
    assert.equal((await edge.answer(question)).status, 'found');
  });
});
