/** The keys room under strict confinement: the key comes in as a descriptor, signatures go out, nothing else. As root. */

import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { before, describe, it } from 'node:test';
import { createMessagePair } from '../../src/sys/descriptors.ts';
import {
  decodeReply,
  encodeRequest,
  REQUEST_BYTES_MAX,
  ROLE_SERVER,
  STATUS_REFUSED,
  STATUS_SIGNED,
} from '../../src/tls/signature-request.ts';
import { SigningChannel } from '../../src/tls/signing-channel.ts';
import { testAuthority } from '../fixtures/certificates.ts';
import { until, within } from '../fixtures/patience.ts';
import { needRoot, openPipe, planFor, prepareMaster, startRoom } from './house.ts';

const ECDSA_P256 = 0x0403;

before(async () => {
  needRoot();
  await prepareMaster();
});

/** What TLS 1.3 signs: spaces, context, zero, hash (RFC 8446 §4.4.3). */
function certificateVerify(): Uint8Array {
  const context = Buffer.from('TLS 1.3, server CertificateVerify\0');
  return Buffer.concat([Buffer.alloc(64, 0x20), context, Buffer.alloc(32, 9)]);
}

function pair(): readonly [number, number] {
  const made = createMessagePair(262144);
  if (typeof made === 'number') throw new Error(`no pair: ${made}`);
  return made;
}

describe('the keys room', { timeout: 60_000 }, () => {
  it('signs what TLS signs for every door, refuses the rest, and ends when it is told to', async () => {
    const certificate = testAuthority().server(['localhost']);
    const doors = [pair(), pair()];
    let ended: (reason: string) => void = () => {};
    const end = new Promise<string>((resolve) => {
      ended = resolve;
    });
    const room = startRoom('keys', planFor('keys', 'keys-room'), [], openPipe(), {
      onReady() {},
      onMessage() {},
      onEnded: (_, reason) => ended(reason),
    });
    // The file is root's alone: the room couldn't open it.
    const file = openSync(certificate.keyPath, 'r');
    room.send({ kind: 'descriptors', purpose: 'key', peer: 'keys', index: 7 }, [file]);
    for (const [index, [, theirs]] of doors.entries())
      room.send({ kind: 'descriptors', purpose: 'channel', peer: 'edge', index }, [theirs]);
    room.send({ kind: 'configure', generation: 1, part: 0, parts: 1, bytes: new Uint8Array(0) });
    await until(() => room.state !== 'starting', 20_000, 'the room is ready');
    assert.equal(room.state, 'ready', room.state === 'ended' ? await end : '');
    closeSync(file);
    for (const [, theirs] of doors) closeSync(theirs);

    const request = new Uint8Array(REQUEST_BYTES_MAX);
    const publicKey = createPublicKey(certificate.cert);
    for (const [sequence, [mine]] of doors.entries()) {
      const channel = new SigningChannel(mine, 2000);
      const ask = (message: Uint8Array) => {
        const length = encodeRequest(request, {
          role: ROLE_SERVER,
          scheme: ECDSA_P256,
          keyId: 7,
          sequence,
          message,
        });
        return decodeReply(channel.exchange(request.subarray(0, length)) ?? new Uint8Array(0));
      };
      const message = certificateVerify();
      const reply = ask(message);
      assert.equal(reply?.status, STATUS_SIGNED);
      assert.ok(verify('sha256', message, publicKey, Buffer.from(reply?.signature ?? [])));
      assert.equal(ask(Buffer.from('anything else'))?.status, STATUS_REFUSED);
    }
    for (const [mine] of doors) closeSync(mine);
    // A door that closes leaves the room to the others.
    const late = pair();
    room.send({ kind: 'descriptors', purpose: 'channel', peer: 'edge', index: 2 }, [late[1]]);
    const channel = new SigningChannel(late[0], 2000);
    const length = encodeRequest(request, {
      role: ROLE_SERVER,
      scheme: ECDSA_P256,
      keyId: 7,
      sequence: 1,
      message: certificateVerify(),
    });
    assert.equal(
      decodeReply(channel.exchange(request.subarray(0, length)) ?? new Uint8Array(0))?.status,
      STATUS_SIGNED,
    );
    closeSync(late[0]);
    closeSync(late[1]);
    // Neither the key's file nor anything else is open but the channel, the doors and what Node.js has.
    const open = readdirSync(`/proc/${room.pid}/fd`).length;
    assert.ok(open < 32, `${open} descriptors`);
    assert.ok(!readFileSync(`/proc/${room.pid}/environ`, 'utf8').includes('PRIVATE'));
    room.drain(1000, false);
    assert.equal(await within(end, 10_000, 'the room ends'), 'exit code 0');
  });
});
