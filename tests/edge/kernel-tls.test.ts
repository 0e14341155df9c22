/** Kernel TLS as it is configured: what is used, what is fallen back to, what is refused. The kernel's own part: tests/ktls. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/base/random.ts';
import type { TlsConfig } from '../../src/config/model.ts';
import { KernelTls, KernelTlsUnavailable, prepareKernelTls } from '../../src/edge/kernel-tls.ts';
import type { Reactor } from '../../src/io/reactor.ts';
import { roughFaults } from '../../src/io/sim-faults.ts';
import {
  type KernelTlsSupport,
  TLS_1_2_VERSION,
  TLS_1_3_VERSION,
  TLS_CIPHER_AES_GCM_128,
  TLS_CIPHER_AES_GCM_256,
  TLS_CIPHER_CHACHA20_POLY1305,
} from '../../src/sys/kernel-tls.ts';
import type { RecordLayer } from '../../src/tls/record-layer.ts';
import { suiteOf, TLS12, TLS13 } from '../../src/tls/suites.ts';
import { TlsWorld } from './tls-world.ts';

const NONE: KernelTlsSupport = { problem: 'no module, modprobe tls', combinations: [], rekeys: false };
const SOME: KernelTlsSupport = {
  problem: '',
  combinations: [
    [TLS_1_3_VERSION, TLS_CIPHER_AES_GCM_128],
    [TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128],
  ],
  rekeys: false,
};
const REACTOR = { name: 'io_uring', startKernelTls: () => 0 } as unknown as Reactor;

function config(ktlsEnabled: boolean, ktlsFallbackEnabled: boolean): TlsConfig {
  return { ktlsEnabled, ktlsFallbackEnabled } as unknown as TlsConfig;
}

function layer(suiteId: number, fragmentMax = 16384): RecordLayer {
  return { suite: suiteOf(suiteId), fragmentMax } as unknown as RecordLayer;
}

interface Prepared {
  readonly kernel: KernelTls | null;
  readonly said: readonly string[];
}

function prepare(
  support: KernelTlsSupport,
  enabled: boolean,
  fallback: boolean,
  reactor = REACTOR,
): Prepared {
  const said: string[] = [];
  const kernel = prepareKernelTls(
    config(enabled, fallback),
    reactor,
    (message) => said.push(message),
    () => support,
  );
  return { kernel, said };
}

test('without ktls_enabled the kernel is not asked, and nothing is said', () => {
  assert.deepEqual(prepare(NONE, false, true), { kernel: null, said: [] });
  assert.equal(
    prepareKernelTls(
      null,
      REACTOR,
      () => {},
      () => assert.fail('the kernel was asked'),
    ),
    null,
  );
});

test('a kernel that can is used', () => {
  const { kernel, said } = prepare(SOME, true, true);
  assert.equal(kernel?.isRequired, false);
  assert.equal(prepare(SOME, true, false).kernel?.isRequired, true);
  assert.deepEqual(said, []);
});

test('a kernel that cannot: records stay in user space, which the master says for all workers', () => {
  assert.deepEqual(prepare(NONE, true, true), { kernel: null, said: [] });
});

test('a kernel that cannot, and no fallback: refused with the reason and the mend', () => {
  assert.throws(
    () => prepare(NONE, true, false),
    (error: Error) =>
      error instanceof KernelTlsUnavailable &&
      /no module, modprobe tls.*set tls.ktls_fallback_enabled = true/.test(error.message),
  );
});

test('a reactor that cannot is as good as a kernel that cannot', () => {
  const reactor = { name: 'sim' } as unknown as Reactor;
  assert.match(prepare(SOME, true, true, reactor).said[0] ?? '', /the sim backend knows no kernel TLS/);
  assert.throws(() => prepare(SOME, true, false, reactor), KernelTlsUnavailable);
});

test('suites that this kernel lacks, and short records, are not left to it', () => {
  const { kernel } = prepare(SOME, true, true);
  assert.equal(kernel?.objection(layer(0x1301)), '');
  assert.equal(kernel?.objection(layer(0xc02b)), '');
  assert.match(kernel?.objection(layer(0x1303)) ?? '', /no ChaCha20-Poly1305 for TLS 1.3/);
  assert.match(kernel?.objection(layer(0xc02c)) ?? '', /no AES-256-GCM for TLS 1.2/);
  assert.match(kernel?.objection(layer(0x1301, 512)) ?? '', /short records/);
});

test('each reason is said once', () => {
  const { kernel, said } = prepare(SOME, true, false);
  for (let count = 0; count < 3; count++) kernel?.report('it is Tuesday');
  kernel?.report('it rains');
  assert.equal(said.length, 2);
  assert.match(said[0] ?? '', /it is Tuesday; such connections are refused/);
});

const CIPHERS = [TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_256, TLS_CIPHER_CHACHA20_POLY1305] as const;
const EVERYTHING: KernelTlsSupport = {
  problem: '',
  combinations: CIPHERS.flatMap((cipher) => [
    [TLS_1_2_VERSION, cipher] as const,
    [TLS_1_3_VERSION, cipher] as const,
  ]),
  rekeys: true,
};

for (const version of [TLS12, TLS13] as const) {
  const label = version === TLS13 ? 'TLS 1.3' : 'TLS 1.2';

  test(`a connection whose key the kernel refuses goes on in user space (${label})`, () => {
    for (let seed = 1; seed <= 20; seed++) {
      const said: string[] = [];
      const kernel = new KernelTls(EVERYTHING, false, (message) => said.push(message));
      // The simulator's kernel has no TLS.
      const faults = roughFaults(new Random(seed));
      const world = TlsWorld.open({ tls: { version }, faults, seed, kernel });
      const { server, client } = world;
      client.send(Buffer.alloc(50_000, 'u'));
      server.send(Buffer.alloc(70_000, 'd'));
      world.until(() => server.contentBytes === 50_000 && client.contentBytes === 70_000, 'all content');
      assert.ok(server.bytes.equals(Buffer.alloc(50_000, 'u')), `seed ${seed}`);
      assert.ok(client.bytes.equals(Buffer.alloc(70_000, 'd')), `seed ${seed}`);
      assert.equal(said.length, 1);
      assert.match(said[0] ?? '', /the kernel refused a key for sending.*in user space/);
      client.call((socket) => socket.shutdownSend());
      world.until(() => server.ended !== 1, 'the close_notify');
      assert.equal(server.ended, 0);
      world.finish();
    }
  });

  test(`a connection whose key the kernel refuses is refused where there is no fallback (${label})`, () => {
    const kernel = new KernelTls(EVERYTHING, true, () => {});
    const world = new TlsWorld({ tls: { version }, kernel });
    world.connect();
    world.until(() => world.goneEarly === 1, 'the end');
    assert.match(world.failure, /kernel TLS: the kernel refused a key/);
    assert.equal(world.server.socket, null);
    world.settle();
    if (world.client.connected === 0 && !world.client.isClosing) world.client.close(true);
    world.finish();
  });
}
