/** Keys that are elsewhere, behind a door that is replaced while contexts stay. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createMessagePair, MessageTransfer } from '../../src/sys/descriptors.ts';
import { close } from '../../src/sys/libc.ts';
import { EVP_PKEY_free } from '../../src/sys/openssl-client.ts';
import { takeSignatureFailure } from '../../src/tls/remote-key.ts';
import type { LoadedCertificate } from '../../src/tls/server-contexts.ts';
import {
  encodeReply,
  REPLY_BYTES_MAX,
  STATUS_READY,
  STATUS_REFUSED,
} from '../../src/tls/signature-request.ts';
import { Signing } from '../../src/tls/signing.ts';
import { type TestCertificate, testAuthority } from '../fixtures/certificates.ts';
import { until } from '../fixtures/patience.ts';
import {
  demandClientCertificate,
  freeContexts,
  handshake,
  newContext,
  newLocalContext,
  TLS13,
  withPublicKey,
} from './remote-key-handshake.ts';

const authority = testAuthority();
const certificate = authority.server(['door.example']);
const client = authority.client('edge');

const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill('SIGKILL');
});

function pair(): readonly [number, number] {
  const made = createMessagePair(262_144);
  if (typeof made === 'number') throw new Error(`no pair: ${made}`);
  return made;
}

/** A process with one key, and the door to it. */
function startSigner({ keyPath }: TestCertificate, keyId: number, role = 'server') {
  const [ours, theirs] = pair();
  const script = join(import.meta.dirname, 'signer-process.ts');
  const child = spawn(process.execPath, [script, keyPath, `${keyId}`, role], {
    stdio: ['ignore', 'ignore', 'inherit', theirs],
  });
  children.push(child);
  close(theirs);
  return { door: ours, child };
}

async function stop(child: ChildProcess): Promise<void> {
  // One whose door has closed ends by itself.
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** A server's context with the key of that number. */
function remoteContext(signing: Signing, keyId: number): number {
  const source = signing.serverKeys([0, keyId]);
  const loaded = { index: 1 } as LoadedCertificate;
  const key = withPublicKey(certificate.cert, (publicKey) => source(loaded, publicKey));
  return newContext(true, TLS13, certificate.cert, key);
}

describe('signing elsewhere', { timeout: 240_000 }, () => {
  it('goes on with the same contexts when the keys come back behind another door', async () => {
    const signing = new Signing(20_000);
    const context = remoteContext(signing, 7);
    const peer = newContext(false, TLS13);
    assert.equal(signing.isReachable, false);
    assert.match(handshake(context, peer).client, /alert internal error/, 'nobody is there yet');
    assert.equal(takeSignatureFailure(), 'no-answer');
    for (let life = 0; life < 3; life++) {
      const { door, child } = startSigner(certificate, 7);
      signing.connect(door);
      assert.equal(handshake(context, peer).version, 0, 'it is still starting: nobody waits for it');
      await until(() => signing.isReachable, 20_000, 'the greeting');
      assert.deepEqual(handshake(context, peer), { version: TLS13, client: '', server: '' });
      assert.equal(signing.isReachable, true);
      await stop(child);
      assert.equal(signing.isReachable, false);
      assert.equal(handshake(context, peer).version, 0);
    }
    freeContexts(context, peer);
    signing.disconnect();
  });

  it('is reachable from a greeting on, whatever answers come too late, until the other end is gone', () => {
    const signing = new Signing();
    const reply = new Uint8Array(REPLY_BYTES_MAX);
    for (let life = 0; life < 2; life++) {
      const [ours, theirs] = pair();
      signing.connect(ours);
      assert.equal(signing.isReachable, false);
      const transfer = new MessageTransfer(REPLY_BYTES_MAX);
      const tell = (status: number): void => {
        const length = encodeReply(reply, { status, sequence: 0, signature: new Uint8Array(0) });
        transfer.bytes.set(reply.subarray(0, length));
        transfer.send(theirs, length, [], false);
      };
      tell(STATUS_READY);
      assert.equal(signing.isReachable, true);
      assert.equal(signing.isReachable, true);
      tell(STATUS_REFUSED);
      assert.equal(signing.isReachable, true);
      close(theirs);
      transfer.unmap();
    }
    signing.disconnect();
    assert.equal(signing.isReachable, false);
  });

  it('is not to be reached while a wait was in vain', async () => {
    const signing = new Signing(20);
    const context = remoteContext(signing, 7);
    const peer = newContext(false, TLS13);
    const { door, child } = startSigner(certificate, 7);
    signing.connect(door);
    await until(() => signing.isReachable, 20_000, 'the greeting');
    child.kill('SIGSTOP');
    assert.equal(handshake(context, peer).version, 0);
    assert.equal(signing.isReachable, false);
    freeContexts(context, peer);
    signing.disconnect();
    await stop(child);
  });

  it('knows the keys of client certificates by the paths of their files', async () => {
    const signing = new Signing(20_000);
    const keys = signing.clientKeys({ [client.keyPath]: 9 });
    assert.throws(() => keys(client.cert, '/another.key'), /there is no private key/);
    assert.throws(() => keys('nothing', client.keyPath), /the client certificate can’t be read/);
    const { door, child } = startSigner(client, 9, 'client');
    signing.connect(door);
    await until(() => signing.isReachable, 20_000, 'the greeting');
    const key = keys(client.cert, client.keyPath);
    const context = newContext(false, TLS13, client.cert, key);
    const { door: serverDoor, child: server } = startSigner(certificate, 7);
    const other = new Signing(20_000);
    other.connect(serverDoor);
    await until(() => other.isReachable, 20_000, 'the greeting');
    const listening = remoteContext(other, 7);
    assert.equal(handshake(listening, context).version, TLS13);
    freeContexts(context, listening);
    EVP_PKEY_free(keys(client.cert, client.keyPath));
    for (const each of [signing, other]) each.disconnect();
    for (const each of [child, server]) await stop(each);
  });

  it('has contexts of backends that outlive reloads sign by the numbers that their key has now', async () => {
    const signing = new Signing(20_000);
    const { door, child } = startSigner(client, 9, 'client');
    signing.connect(door);
    await until(() => signing.isReachable, 20_000, 'the greeting');
    const first = signing.clientKeys({ [client.keyPath]: 5 })(client.cert, client.keyPath);
    const context = newContext(false, TLS13, client.cert, first);
    const listening = newLocalContext(true, TLS13, certificate.cert, certificate.key);
    demandClientCertificate(listening, authority.cert);
    const signs = (): boolean => handshake(listening, context).version === TLS13;
    assert.equal(signs(), false, 'nobody knows number 5');
    const later = signing.clientKeys({ [client.keyPath]: 9 })(client.cert, client.keyPath);
    assert.equal(signs(), true, 'the context that was made before');
    // A reload that is not taken after all.
    const refused = signing.clientKeys({ [client.keyPath]: 12 })(client.cert, client.keyPath);
    assert.equal(signs(), true);
    for (const key of [later, refused]) EVP_PKEY_free(key);
    freeContexts(context, listening);
    signing.disconnect();
    await stop(child);
  });

  it('has no key where the configuration names none', () => {
    const source = new Signing().serverKeys([]);
    assert.throws(() => source({ index: 0 } as LoadedCertificate, 0), /there is no private key/);
  });
});
