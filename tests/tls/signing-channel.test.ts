/** Signatures by another process, over a socket: what comes late, what never comes, and who holds what. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { close, recv, send, socketpair } from '../../src/sys/libc.ts';
import { mapPrivate } from '../../src/sys/memory.ts';
import { MSG_DONTWAIT, SOCK_CLOEXEC } from '../../src/sys/socket.ts';
import { remoteKey, type SignatureExchange, takeSignatureFailure } from '../../src/tls/remote-key.ts';
import {
  decodeReply,
  encodeReply,
  encodeRequest,
  REPLY_BYTES_MAX,
  REQUEST_BYTES_MAX,
  ROLE_SERVER,
  STATUS_SIGNED,
} from '../../src/tls/signature-request.ts';
import { PAUSE_MS, SigningChannel } from '../../src/tls/signing-channel.ts';
import { type KeyKind, TestAuthority, type TestCertificate } from '../fixtures/certificates.ts';
import { findInMemory, piecesOf } from '../fixtures/memory-scan.ts';
import {
  freeContexts,
  handshake,
  newContext,
  newLocalContext,
  TLS12,
  TLS13,
  withPublicKey,
} from './remote-key-handshake.ts';

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const KEY = 7;
/** Never waited for in full where all is well. */
const LONG_MS = 20_000;
/** Waited for in full, where nothing is to come. */
const SHORT_MS = 20;

const memory = mapPrivate(REQUEST_BYTES_MAX + 4096);
const authority = TestAuthority.root();

function packetPair(): [number, number] {
  assert.equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, memory.address), 0);
  return [memory.words[0], memory.words[1]];
}

function sendPacket(descriptor: number, bytes: Uint8Array): void {
  memory.bytes.set(bytes);
  assert.equal(send(descriptor, memory.address, bytes.length, MSG_DONTWAIT), bytes.length);
}

/** Length of the datagram that waits at a descriptor, or -1. */
function receivePacket(descriptor: number): number {
  return recv(descriptor, memory.address, REQUEST_BYTES_MAX, MSG_DONTWAIT);
}

function requestOf(sequence: number): Uint8Array {
  const target = new Uint8Array(REQUEST_BYTES_MAX);
  const message = new Uint8Array(130);
  const request = { role: ROLE_SERVER, scheme: 0x0403, keyId: KEY, sequence, message } as const;
  return target.slice(0, encodeRequest(target, request));
}

function replyTo(sequence: number, length = 70): Uint8Array {
  const target = new Uint8Array(REPLY_BYTES_MAX);
  const reply = { status: STATUS_SIGNED, sequence, signature: new Uint8Array(length).fill(sequence) };
  return target.slice(0, encodeReply(target, reply));
}

describe('a signing channel', () => {
  /** A channel, its other end, and the clock that it sees. */
  function open(timeoutMs: number) {
    const [ours, theirs] = packetPair();
    const clock = { nowMs: 5000 };
    const channel = new SigningChannel(ours, timeoutMs, () => clock.nowMs);
    const end = () => {
      close(ours);
      close(theirs);
    };
    return { channel, theirs, clock, end };
  }

  it('brings the reply to its request', () => {
    const { channel, theirs, end } = open(LONG_MS);
    sendPacket(theirs, replyTo(1));
    assert.deepEqual(channel.exchange(requestOf(1)), replyTo(1));
    assert.equal(receivePacket(theirs), requestOf(1).length);
    end();
  });

  it('carries the longest request and the longest reply', () => {
    const { channel, theirs, end } = open(LONG_MS);
    sendPacket(theirs, replyTo(0x61616161, 1024));
    assert.equal(channel.exchange(new Uint8Array(REQUEST_BYTES_MAX).fill(0x61))?.length, REPLY_BYTES_MAX);
    assert.equal(receivePacket(theirs), REQUEST_BYTES_MAX);
    assert.equal(channel.exchange(new Uint8Array(REQUEST_BYTES_MAX + 1)), null);
    end();
  });

  it('drops replies that come too late, and takes the right one after them', () => {
    const { channel, theirs, end } = open(LONG_MS);
    for (const sequence of [1, 2, 3]) sendPacket(theirs, replyTo(sequence));
    assert.deepEqual(channel.exchange(requestOf(3)), replyTo(3));
    assert.equal(channel.lateReplies, 2);
    end();
  });

  it('waits no longer than its limit, then asks nobody for a while', () => {
    const { channel, theirs, clock, end } = open(SHORT_MS);
    assert.equal(channel.exchange(requestOf(1)), null);
    assert.ok(receivePacket(theirs) > 0);
    clock.nowMs += PAUSE_MS - 1;
    assert.equal(channel.exchange(requestOf(2)), null);
    assert.equal(receivePacket(theirs), -1, 'nothing was asked');
    clock.nowMs += 1;
    sendPacket(theirs, replyTo(1));
    sendPacket(theirs, replyTo(3));
    assert.deepEqual(channel.exchange(requestOf(3)), replyTo(3));
    assert.equal(channel.lateReplies, 1);
    end();
  });

  it('waits no longer than its limit where nobody reads its requests', () => {
    const { channel, theirs, clock, end } = open(SHORT_MS);
    // Each datagram stays in the socket; the kernel's buffers end before ten of them.
    const asked = 10;
    for (let each = 0; each < asked; each++) {
      assert.equal(channel.exchange(new Uint8Array(REQUEST_BYTES_MAX)), null);
      clock.nowMs += PAUSE_MS;
    }
    let found = 0;
    while (receivePacket(theirs) > 0) found++;
    assert.ok(found < asked, `${found} of ${asked} requests were sent`);
    end();
  });

  it('gives up at once where the other end is closed, and does so again', () => {
    const { channel, theirs, end } = open(LONG_MS);
    close(theirs);
    assert.equal(channel.exchange(requestOf(1)), null);
    assert.equal(channel.exchange(requestOf(2)), null);
    end();
  });

  it('passes on what is no reply, for the key to refuse', () => {
    const { channel, theirs, end } = open(LONG_MS);
    // Cut to the longest that there is, it would be one.
    sendPacket(theirs, Uint8Array.of(...replyTo(1, 1024), 0));
    const bytes = channel.exchange(requestOf(1));
    assert.ok(bytes !== null);
    assert.equal(decodeReply(bytes), null);
    end();
  });

  it('is not made of a file', () => {
    const descriptor = openSync('/dev/null', 'r');
    assert.throws(() => new SigningChannel(descriptor), /no socket/);
    closeSync(descriptor);
  });
});

const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill('SIGKILL');
});

function start(script: string, parameters: readonly string[], channel: number): ChildProcess {
  const child = spawn(process.execPath, [join(import.meta.dirname, script), ...parameters], {
    stdio: ['pipe', 'pipe', 'inherit', channel],
  });
  children.push(child);
  close(channel);
  return child;
}

/** A process with the key of a certificate, and the descriptor that leads to it. */
function startSigner(certificate: TestCertificate): { child: ChildProcess; descriptor: number } {
  const [ours, theirs] = packetPair();
  const child = start('signer-process.ts', [certificate.keyPath, `${KEY}`, 'server'], theirs);
  return { child, descriptor: ours };
}

function remoteContext(version: number, certificate: TestCertificate, exchange: SignatureExchange): number {
  const key = withPublicKey(certificate.cert, (publicKey) =>
    remoteKey(publicKey, ROLE_SERVER, KEY, exchange),
  );
  return newContext(true, version, certificate.cert, key);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

describe('a key in another process', () => {
  for (const kind of ['P-256', 'P-384', 'RSA-2048', 'Ed25519'] as const satisfies readonly KeyKind[]) {
    it(`shakes hands with ${kind}, and fails cleanly when that process dies in the middle of it`, async () => {
      const certificate = authority.server([`${kind.toLowerCase()}.example`], { key: kind });
      const { child, descriptor } = startSigner(certificate);
      const channel = new SigningChannel(descriptor, LONG_MS);
      let isDoomed = false;
      const exchange: SignatureExchange = (request) => {
        if (isDoomed) process.kill(child.pid as number, 'SIGKILL');
        return channel.exchange(request);
      };
      for (const version of [TLS12, TLS13]) {
        const client = newContext(false, version);
        const remote = remoteContext(version, certificate, exchange);
        assert.deepEqual(handshake(remote, client), { version, client: '', server: '' });
        freeContexts(client, remote);
      }
      isDoomed = true;
      const client = newContext(false, TLS13);
      const remote = remoteContext(TLS13, certificate, exchange);
      const outcome = handshake(remote, client);
      assert.equal(outcome.version, 0);
      assert.match(outcome.client, /alert internal error/);
      assert.equal(takeSignatureFailure(), 'no-answer');
      // Others are not affected, and the dead one is not waited for.
      isDoomed = false;
      const local = newLocalContext(true, TLS13, certificate.cert, certificate.key);
      assert.equal(handshake(local, client).version, TLS13);
      assert.equal(handshake(remote, client).version, 0);
      freeContexts(client, remote, local);
      close(descriptor);
      await stop(child);
    });
  }

  it('is nowhere in the memory of the process that shakes hands', async () => {
    const certificate = authority.server(['secret.example']);
    const { child: signer, descriptor } = startSigner(certificate);
    const edge = start('remote-key-edge.ts', [certificate.certPath], descriptor);
    const [line] = await once(edge.stdout as NonNullable<typeof edge.stdout>, 'data');
    assert.equal(`${line}`, `${TLS12} ${TLS13}\n`);
    const pieces = piecesOf(certificate.key);
    assert.notDeepEqual(findInMemory(signer.pid as number, pieces), [], 'the search finds it where it is');
    assert.deepEqual(findInMemory(edge.pid as number, pieces), []);
    await stop(edge);
    await stop(signer);
  });
});
