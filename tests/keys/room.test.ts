/** The keys room under strict confinement: keys come as descriptors, signatures go out, nothing else. As root. */

import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { before, describe, it } from 'node:test';
import { KeyRing } from '../../src/master/key-ring.ts';
import { MessageTransfer } from '../../src/sys/descriptors.ts';
import {
  REQUEST_BYTES_MAX,
  ROLE_CLIENT,
  ROLE_SERVER,
  STATUS_MALFORMED,
  STATUS_REFUSED,
  STATUS_SIGNED,
  STATUS_UNKNOWN_KEY,
} from '../../src/tls/signature-request.ts';
import { type KeyKind, testAuthority, testFile } from '../fixtures/certificates.ts';
import { findInMemory, piecesOf } from '../fixtures/memory-scan.ts';
import { until } from '../fixtures/patience.ts';
import { needRoot, prepareMaster } from '../master/house.ts';
import { tls13Message } from '../tls/signed-messages.ts';
import { KeysHouse, keyFile, type TestDoor } from './keys-house.ts';

const authority = testAuthority();
const KINDS: readonly (readonly [KeyKind, number])[] = [
  ['P-256', 0x0403],
  ['P-384', 0x0503],
  ['RSA-2048', 0x0804],
  ['Ed25519', 0x0807],
];

before(async () => {
  needRoot();
  await prepareMaster();
});

function statusOf(door: TestDoor, keyId: number): number {
  return door.ask(keyId)?.status ?? -1;
}

describe('the keys room', { timeout: 240_000 }, () => {
  it('signs with every kind of key for every door, and has nothing open but what it works with', async () => {
    const certificates = KINDS.map(([key]) => authority.server([`${key}.example`.toLowerCase()], { key }));
    const house = await KeysHouse.start(certificates.map((each, index) => keyFile(40 + index, each)));
    assert.deepEqual(house.answers, ['ready 1'], house.said());
    const doors = [house.door('edge', 0), house.door('edge', 1)];
    for (const [index, [kind, scheme]] of KINDS.entries()) {
      for (const door of doors) {
        const reply = door.ask(40 + index, scheme);
        assert.equal(reply?.status, STATUS_SIGNED, kind);
        if (scheme === 0x0804) continue;
        const hash = kind === 'Ed25519' ? null : kind === 'P-384' ? 'sha384' : 'sha256';
        const publicKey = createPublicKey(certificates[index].cert);
        const isGood = verify(hash, tls13Message(ROLE_SERVER, 32), publicKey, Buffer.from(reply.signature));
        assert.ok(isGood, kind);
      }
    }
    const open = readdirSync(`/proc/${house.room.pid}/fd`).length;
    assert.ok(open < 32, `${open} descriptors`);
    assert.ok(!readFileSync(`/proc/${house.room.pid}/environ`, 'utf8').includes('PRIVATE'));
    house.room.drain(1000, false);
    await until(() => house.ended !== '', 10_000, 'the room ends');
    assert.equal(house.ended, 'exit code 0');
  });

  it('refuses keys that aren’t there, other roles, other messages', async () => {
    const [server, client] = [authority.server(['a.example']), authority.client('edge')];
    const house = await KeysHouse.start([keyFile(1, server), keyFile(2, client, 'client')]);
    const edge = house.door('edge', 0);
    const outbound = house.door('outbound', 0xffff);
    assert.equal(statusOf(edge, 9), STATUS_UNKNOWN_KEY);
    assert.equal(edge.ask(1, 0x0403, ROLE_CLIENT)?.status, STATUS_REFUSED);
    assert.equal(edge.ask(2, 0x0403, ROLE_SERVER)?.status, STATUS_REFUSED);
    assert.equal(edge.ask(1, 0x0403, ROLE_SERVER, Buffer.from('pay me'))?.status, STATUS_REFUSED);
    assert.equal(edge.ask(2, 0x0403, ROLE_CLIENT)?.status, STATUS_SIGNED);
    assert.equal(outbound.ask(2, 0x0403, ROLE_CLIENT)?.status, STATUS_SIGNED);
    assert.equal(
      outbound.ask(1, 0x0403, ROLE_SERVER)?.status,
      STATUS_REFUSED,
      'who checks backends is no server',
    );
    assert.match(house.said(), /keys: 1 signatures not made for the worker in slot 0/);
    await house.kill();
  });

  it('closes a door at which something comes that is no datagram of requests, and that door alone', async () => {
    const house = await KeysHouse.start([keyFile(1, authority.server(['a.example']))]);
    const good = house.door('edge', 0);
    const noise = house.door('edge', 1);
    const malformed = noise.exchange(Buffer.from('something of this length'));
    assert.equal(malformed[1], STATUS_MALFORMED);
    assert.equal(statusOf(noise, 1), STATUS_SIGNED, 'what can’t be read is answered');
    const transfer = new MessageTransfer(REQUEST_BYTES_MAX + 100);
    const file = openSync('/dev/null', 'r');
    for (const [length, descriptors] of [
      [0, []],
      [REQUEST_BYTES_MAX + 1, []],
      [40, [file]],
    ] as const) {
      const door = house.door('edge', 1);
      assert.equal(statusOf(door, 1), STATUS_SIGNED);
      transfer.send(door.descriptor, length, descriptors, true);
      assert.equal(door.ask(1), null, `${length} bytes, ${descriptors.length} descriptors`);
      assert.equal(statusOf(good, 1), STATUS_SIGNED);
    }
    closeSync(file);
    await house.kill();
  });

  it('serves a worker at its newest door', async () => {
    const house = await KeysHouse.start([keyFile(1, authority.server(['a.example']))]);
    const [first, other] = [house.door('edge', 0), house.door('edge', 1)];
    assert.equal(statusOf(first, 1), STATUS_SIGNED);
    const second = house.door('edge', 0);
    assert.equal(statusOf(second, 1), STATUS_SIGNED);
    assert.equal(first.ask(1), null);
    assert.equal(statusOf(other, 1), STATUS_SIGNED);
    await house.kill();
  });

  it('keeps the keys of both configurations until no worker has the old one, then wipes them', async () => {
    const [old, next] = [authority.server(['old.example']), authority.server(['next.example'])];
    const house = await KeysHouse.start([keyFile(4096, old)]);
    const door = house.door();
    assert.equal(await house.add(2, [keyFile(8192, next)]), 'ready 2');
    assert.deepEqual([statusOf(door, 4096), statusOf(door, 8192)], [STATUS_SIGNED, STATUS_SIGNED]);
    const [oldPieces, nextPieces] = [piecesOf(old.key), piecesOf(next.key)];
    assert.notDeepEqual(findInMemory(house.room.pid, oldPieces), [], 'the search finds it where it is');
    assert.equal(await house.keepOnly(3, [keyFile(8192, next)]), 'ready 3');
    assert.deepEqual([statusOf(door, 4096), statusOf(door, 8192)], [STATUS_UNKNOWN_KEY, STATUS_SIGNED]);
    assert.deepEqual(findInMemory(house.room.pid, oldPieces), []);
    assert.notDeepEqual(findInMemory(house.room.pid, nextPieces), []);
    await house.kill();
  });

  const good = authority.server(['good.example']);
  const WRONG: readonly { readonly name: string; readonly content: string; readonly reason: RegExp }[] = [
    { name: 'no key', content: 'nothing', reason: /not a private key in PEM/ },
    {
      name: 'the key of another certificate',
      content: authority.server(['x.example']).key,
      reason: /belongs to another/,
    },
    {
      name: 'a key that is too weak',
      content: authority.server(['w.example'], { key: 'RSA-1024' }).key,
      reason: /RSA of 1024/,
    },
    { name: 'nothing at all', content: '', reason: /not a private key/ },
  ];
  for (const { name, content, reason } of WRONG) {
    it(`refuses a configuration whose file holds ${name}, and goes on with what it has`, async () => {
      const house = await KeysHouse.start([keyFile(4096, good)]);
      const keyPath = testFile('wrong.key', content);
      const answer = await house.add(2, [{ ...keyFile(8192, good), path: keyPath }]);
      assert.match(answer, /^refused 2: the private key \S+wrong.key: /);
      assert.match(answer, reason);
      const door = house.door();
      assert.deepEqual([statusOf(door, 4096), statusOf(door, 8192)], [STATUS_SIGNED, STATUS_UNKNOWN_KEY]);
      assert.equal(await house.keepOnly(3, [keyFile(4096, good)]), 'ready 3', 'what failed is given up');
      await house.kill();
    });
  }

  it('takes a file that holds certificates and others before the key', async () => {
    const path = testFile('all.pem', `Bag Attributes\n${good.cert}${good.key}`);
    const house = await KeysHouse.start([{ ...keyFile(1, good), path }]);
    assert.equal(statusOf(house.door(), 1), STATUS_SIGNED);
    await house.kill();
  });

  it('that starts again has the keys whose files are gone, and misses those that have changed', async () => {
    const [gone, changed] = [authority.server(['gone.example']), authority.server(['changed.example'])];
    const keys = [keyFile(1, gone), keyFile(2, changed)];
    const ring = new KeyRing();
    const first = await KeysHouse.start(keys, ring);
    assert.deepEqual(first.answers, ['ready 1']);
    ring.keepOnly({ keys });
    rmSync(gone.keyPath);
    writeFileSync(changed.keyPath, good.key);
    await first.kill();
    const second = await KeysHouse.start(keys, ring);
    assert.deepEqual(second.answers, ['ready 1']);
    const door = second.door();
    assert.deepEqual([statusOf(door, 1), statusOf(door, 2)], [STATUS_SIGNED, STATUS_UNKNOWN_KEY]);
    assert.match(
      second.said(),
      /keys: the private key \S+: it has changed and belongs to another certificate/,
    );
    await second.kill();
  });

  it('takes more keys than messages and descriptors at once', async () => {
    const keys = Array.from({ length: 300 }, (_, index) => keyFile(4096 + index, good));
    const house = await KeysHouse.start(keys);
    assert.deepEqual(house.answers, ['ready 1'], house.said());
    const door = house.door();
    assert.deepEqual(
      [statusOf(door, 4096), statusOf(door, 4395), statusOf(door, 4396)],
      [0, 0, STATUS_UNKNOWN_KEY],
    );
    await house.kill();
  });
});
