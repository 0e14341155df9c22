import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { SimBufferPool, SimReactor } from '../../src/io/sim.ts';
import { NO_FAULTS, roughFaults, type SimFaults } from '../../src/io/sim-faults.ts';
import { SimNetwork, WALL_START_MS } from '../../src/io/sim-network.ts';
import { runOutOfDescriptors } from './exhaustion.ts';
import type { ContractDirectory, MakePair, Pair, PairOptions } from './pair.ts';
import { turnOf } from './pair.ts';
import { reactorContract } from './reactor-contract.ts';

const SHAPE = { small: 64, medium: 256, large: 64 };

function directoryOf(network: SimNetwork): ContractDirectory {
  const { files } = network;
  const path = '/srv';
  const wallMs = (): number => WALL_START_MS + network.timeMs;
  files.makeDirectory(path);
  return {
    path,
    makeDirectory: (name) => files.makeDirectory(`${path}/${name}`),
    writeFile: (name, bytes) => files.writeFile(`${path}/${name}`, bytes, wallMs()),
    truncate: (name, length) => files.truncate(`${path}/${name}`, length, wallMs()),
    makeSymlink: (name, target) => files.makeSymlink(`${path}/${name}`, target),
    makeFifo: (name) => files.makeFifo(`${path}/${name}`),
  };
}

function pairIn(network: SimNetwork, options: PairOptions | undefined, descriptorsMax = 1 << 16): Pair {
  const node = (label: string): SimReactor =>
    new SimReactor(network, {
      label,
      ipv4: '127.0.0.1',
      descriptorsMax,
      pool: new SimBufferPool(options?.shape ?? SHAPE),
    });
  const server = node('server');
  const client = node('client');
  let paths = 0;
  return {
    server,
    client,
    directory: directoryOf(network),
    socketPath: () => `/run/${++paths}.sock`,
    turn(): void {
      for (const reactor of [server, client]) if (reactor.hasWork()) turnOf(reactor, 0);
      if (!server.hasWork() && !client.hasWork())
        network.pass(Math.min(network.nextMs(), network.timeMs + 5));
      network.pass(network.timeMs + 1 / 32);
    },
    nowMs: () => network.timeMs,
    patienceMs: 2_000_000,
    silenceMs: 300,
    dispose(): void {
      assert.deepEqual([...server.leftovers(), ...client.leftovers()], []);
      server.destroy();
      client.destroy();
    },
  };
}

function makePairWith(seed: number, faults: SimFaults): MakePair {
  return (options) => pairIn(new SimNetwork(seed, faults), options);
}

reactorContract('sim', makePairWith(0, NO_FAULTS));
for (const seed of [1, 2, 3]) {
  reactorContract(`sim, rough seed ${seed}`, makePairWith(seed, roughFaults(new Random(seed))));
}

for (const seed of [0, 1, 2, 3]) {
  test(`sim, seed ${seed}: out of descriptors, accepting pauses, says so, and recovers`, () => {
    const faults = seed === 0 ? NO_FAULTS : roughFaults(new Random(seed));
    const pair = pairIn(new SimNetwork(seed, faults), undefined, 50);
    runOutOfDescriptors(pair);
    pair.dispose();
  });
}
