/** Names of servers, as the locked room finds them and tells of them. As root. */

import assert from 'node:assert/strict';
import { afterEach, before, describe, it } from 'node:test';
import { needRoot, prepareMaster } from '../master/house.ts';
import { OutboundHouse, type OutboundRoom } from './outbound-room.ts';

const rooms: OutboundRoom[] = [];

before(async () => {
  needRoot();
  await prepareMaster();
});

afterEach(async () => {
  for (const room of rooms.splice(0)) await room.stop();
});

function pool(...urls: string[]): string {
  return `[upstreams.pool]\nservers = ${JSON.stringify(urls)}\n[path_routes."example.com"."/"]\ntype = "Proxy"\nupstream = "pool"\n`;
}

describe('the locked room', () => {
  it('resolves names of /etc/hosts', async () => {
    const house = new OutboundHouse({
      hosts: '127.0.0.1 localhost\n127.0.22.7 origin.test\n::1 origin.test\n',
    });
    const room = house.start();
    rooms.push(room);
    const edge = room.asker();
    await room.configure(pool('http://origin.test:8081', 'http://localhost:8082'));
    console.log(room.log);
    assert.deepEqual(await edge.answer(edge.ask('localhost')), {
      question: 1,
      status: 'found',
      addresses: ['127.0.0.1'],
    });
    assert.deepEqual((await edge.answer(edge.ask('origin.test'))).addresses, ['127.0.22.7', '::1']);
  });
});
