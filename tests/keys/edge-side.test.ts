/** From a configuration to handshakes: judged by the judge, keys in their locked room, contexts here. As root. */

import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { ServerTls, tlsMaterialOf } from '../../src/edge/server-tls.ts';
import { type Accepted, judge } from '../../src/master/judge.ts';
import { KeyRing } from '../../src/master/key-ring.ts';
import { TicketSecrets } from '../../src/master/ticket-secrets.ts';
import type { ServerContexts } from '../../src/tls/server-contexts.ts';
import { Signing } from '../../src/tls/signing.ts';
import { type TestCertificate, testAuthority, testFile } from '../fixtures/certificates.ts';
import { until } from '../fixtures/patience.ts';
import { needRoot, prepareMaster } from '../master/house.ts';
import { shakeHands } from '../tls/server-handshake.ts';
import { KeysHouse } from './keys-house.ts';

const authority = testAuthority();
const tickets = new TicketSecrets();

before(async () => {
  needRoot();
  await prepareMaster();
});

async function accept(generation: number, certificates: readonly TestCertificate[]): Promise<Accepted> {
  const [first, ...others] = certificates;
  const entries = others.map(
    ({ certPath, keyPath }) => `[[tls.certificates]]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"\n`,
  );
  const path = testFile(
    'edge.toml',
    `[server]\nlisten = "127.0.0.1:21520"\n[tls]\ncert_path = "${first.certPath}"\nkey_path = "${first.keyPath}"\n${entries.join('')}`,
  );
  const { accepted, problems } = await judge(path, generation);
  if (accepted === null) throw new Error(JSON.stringify(problems));
  return accepted;
}

/** A worker's contexts for what it was given. */
function load(tls: ServerTls, signing: Signing, { config, material }: Accepted): ServerContexts {
  if (config.tls === null || material.server === null) throw new Error('no TLS');
  const given = tlsMaterialOf(material.server, tickets.current(config.tls));
  const keys = signing.serverKeys(material.server.certificates.map(({ keyId }) => keyId));
  const contexts = tls.load(config.tls, given, true, keys);
  tls.keep();
  return contexts;
}

async function connect(signing: Signing, house: KeysHouse, slot = 0): Promise<void> {
  signing.connect(house.door('edge', slot).descriptor);
  await until(() => signing.isReachable, 20_000, 'the greeting');
}

describe('a worker whose keys are in another room', { timeout: 240_000 }, () => {
  it('shows each name its certificate, though it has no key', async () => {
    const all = [
      authority.server(['a.example']),
      authority.server(['b.example'], { key: 'RSA-2048' }),
      authority.server(['c.example'], { key: 'Ed25519' }),
    ];
    const accepted = await accept(1, all);
    const house = await KeysHouse.start(accepted.keys);
    const signing = new Signing(5000);
    await connect(signing, house);
    const contexts = load(new ServerTls(), signing, accepted);
    for (const version of [0x0303, 0x0304]) {
      for (const [index, letter] of ['a', 'b', 'c'].entries()) {
        const { certificate, serverError } = shakeHands(contexts, { name: `${letter}.example`, version });
        assert.equal(serverError, '');
        assert.ok(certificate.equals(all[index].der));
      }
    }
    contexts.free();
    signing.disconnect();
    await house.kill();
  });

  it('goes on with the contexts it has when the room starts again, and with new ones after a reload', async () => {
    const [old, next] = [authority.server(['a.example']), authority.server(['a.example'])];
    const ring = new KeyRing();
    const first = await accept(1, [old]);
    const house = await KeysHouse.start(first.keys, ring);
    ring.keepOnly(first);
    const [signing, tls] = [new Signing(5000), new ServerTls()];
    await connect(signing, house);
    const contexts = load(tls, signing, first);
    assert.equal(shakeHands(contexts).serverError, '');
    await house.kill();
    assert.notEqual(shakeHands(contexts).serverError, '', 'nobody is there');
    const again = await KeysHouse.start(first.keys, ring);
    await connect(signing, again);
    assert.equal(shakeHands(contexts).serverError, '');
    const second = await accept(2, [next]);
    assert.equal(await again.add(2, second.keys), 'ready 2');
    const fresh = load(tls, signing, second);
    assert.equal(shakeHands(contexts).serverError, '', 'a worker that has not changed yet');
    assert.ok(shakeHands(fresh).certificate.equals(next.der));
    assert.equal(await again.keepOnly(3, second.keys), 'ready 3');
    assert.equal(shakeHands(fresh).serverError, '');
    assert.notEqual(shakeHands(contexts).serverError, '');
    for (const each of [contexts, fresh]) each.free();
    signing.disconnect();
    await again.kill();
  });

  it('takes tickets of other workers, though they have talked of nothing', async () => {
    const accepted = await accept(1, [authority.server(['a.example'])]);
    const house = await KeysHouse.start(accepted.keys);
    const signing = [new Signing(5000), new Signing(5000)];
    for (const [slot, each] of signing.entries()) await connect(each, house, slot);
    const workers = signing.map((each) => load(new ServerTls(), each, accepted));
    const { session, resumed } = shakeHands(workers[0]);
    assert.equal(resumed, false);
    assert.equal(shakeHands(workers[1], { session }).resumed, true);
    for (const each of workers) each.free();
    await house.kill();
  });
});
