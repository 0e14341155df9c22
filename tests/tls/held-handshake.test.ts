/** Handshakes wait for whoever makes their signatures, and begin anew where that one dies over it. */

import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { H_CONTINUES, H_FAILED } from '../../src/tls/handshake.ts';
import { remoteKey, takeSignatureFailure } from '../../src/tls/remote-key.ts';
import { secrets } from '../../src/tls/secret-memory.ts';
import { ServerContexts } from '../../src/tls/server-contexts.ts';
import { ROLE_SERVER } from '../../src/tls/signature-request.ts';
import { Signer } from '../../src/tls/signer.ts';
import { TLS12, TLS13, type TlsVersion } from '../../src/tls/suites.ts';
import { testAuthority } from '../fixtures/certificates.ts';
import { clientContext, newClientSession, OpensslPeer, OwnPeer, shakeHands } from '../fixtures/tls-engine.ts';
import { materialOf, SETTINGS } from './server-material.ts';

const certificate = testAuthority().server(['held.example']);
const signer = new Signer({ perSecond: 1e6, burst: 1e6 }, () => 0);
signer.add(1, ROLE_SERVER, certificate.key);

/** A server whose keys come and go. */
class World {
  isReachable = true;
  /** Requests that whoever signs will die over. */
  deaths = 0;
  asked = 0;
  readonly contexts: ServerContexts;
  readonly server: OwnPeer;
  readonly client: OpensslPeer;

  constructor(version: TlsVersion) {
    this.contexts = new ServerContexts({
      settings: SETTINGS,
      material: materialOf([certificate]),
      tickets: null,
      protocols: ['http/1.1'],
      privateKeyFor: (_, publicKey) => remoteKey(publicKey, ROLE_SERVER, 1, (bytes) => this.sign(bytes)),
    });
    this.server = new OwnPeer(this.newSession(), true, this);
    this.client = new OpensslPeer(newClientSession(clientContext({ version })));
  }

  newSession(): number {
    return this.contexts.newSession();
  }

  private sign(bytes: Uint8Array): Uint8Array | null {
    this.asked++;
    if (this.deaths === 0) return signer.answer(bytes);
    this.deaths--;
    this.isReachable = false;
    return null;
  }

  shake(pieceBytes?: number): void {
    shakeHands(this.server, this.client, pieceBytes);
  }

  comeBack(): void {
    this.isReachable = true;
    this.server.resume();
    this.shake();
  }

  free(): void {
    this.server.free();
    this.client.free();
    this.contexts.free();
  }
}

const held = secrets.count;
afterEach(() => assert.equal(secrets.count, held, 'all secrets are given back'));

for (const [name, version] of [
  ['1.2', TLS12],
  ['1.3', TLS13],
] as const) {
  describe(`a handshake of TLS ${name}`, () => {
    it('waits while signatures can’t be had, and goes on when they can', () => {
      const world = new World(version);
      world.isReachable = false;
      world.shake();
      assert.deepEqual([world.server.handshake.isHeld, world.asked], [true, 0]);
      world.server.resume();
      assert.equal(world.server.handshake.isHeld, true);
      world.comeBack();
      assert.ok(world.server.isOpen && world.client.isOpen, world.client.error);
      world.free();
    });

    for (const pieceBytes of [undefined, 1]) {
      it(`begins anew where whoever signs dies over it, its first message in pieces of ${pieceBytes ?? 'any size'}`, () => {
        const world = new World(version);
        world.deaths = 1;
        world.shake(pieceBytes);
        assert.equal(world.server.handshake.state, H_CONTINUES);
        assert.deepEqual([world.server.handshake.isHeld, world.asked], [true, 1]);
        assert.equal(world.client.error, '', 'the client has heard nothing');
        world.comeBack();
        assert.ok(world.server.isOpen && world.client.isOpen, world.client.error);
        assert.equal(takeSignatureFailure(), 'no-answer');
        world.client.write(Buffer.from('hello'));
        world.server.put(world.client.take());
        assert.equal(world.server.text(), 'hello');
        world.free();
      });
    }

    it('fails where the second one dies over it, too', () => {
      const world = new World(version);
      world.deaths = 2;
      world.shake();
      world.comeBack();
      assert.equal(world.server.handshake.state, H_FAILED);
      assert.deepEqual([world.client.isOpen, world.asked], [false, 2]);
      world.free();
    });

    it('fails at once where signatures are refused', () => {
      const world = new World(version);
      signer.remove(1);
      world.shake();
      signer.add(1, ROLE_SERVER, certificate.key);
      assert.equal(world.server.handshake.state, H_FAILED);
      assert.equal(takeSignatureFailure(), 'refused');
      world.free();
    });

    it('gives all back that waits when it is given up', () => {
      const world = new World(version);
      world.isReachable = false;
      world.shake();
      world.free();
    });
  });
}

it('what is no handshake at all fails when it is looked at', () => {
  const world = new World(TLS13);
  world.isReachable = false;
  world.server.put(Buffer.from('160301000401000000', 'hex'));
  assert.equal(world.server.handshake.isHeld, true);
  world.isReachable = true;
  world.server.resume();
  assert.equal(world.server.handshake.state, H_FAILED);
  world.free();
});
