/** Pairs of reactors on a real kernel, for the backends that have one. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PoolShape } from '../../src/io/buffer-pool.ts';
import type { Reactor } from '../../src/io/reactor.ts';
import type { ContractDirectory, MakePair, Pair } from './pair.ts';
import { turnOf } from './pair.ts';

const SHAPE: PoolShape = { small: 64, medium: 512, large: 64 };

/** Descriptors of this process that are open. */
export function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length;
}

function directoryAt(path: string): ContractDirectory {
  let files = 0;
  return {
    path,
    makeDirectory: (name) => mkdirSync(join(path, name), { recursive: true }),
    writeFile(name, bytes) {
      // By renaming, so that a file that was there before keeps its content.
      const fresh = join(path, `.new-${++files}`);
      writeFileSync(fresh, bytes);
      renameSync(fresh, join(path, name));
    },
    truncate: (name, length) => truncateSync(join(path, name), length),
    makeSymlink: (name, target) => symlinkSync(target, join(path, name)),
    makeFifo: (name) => execFileSync('mkfifo', [join(path, name)]),
  };
}

/** `create` makes one reactor. */
export function kernelPairs(create: (shape: PoolShape) => Reactor): MakePair {
  return (options): Pair => {
    const descriptors = descriptorCount();
    const path = mkdtempSync(join(tmpdir(), 'sallyport-contract-'));
    const server = create(options?.shape ?? SHAPE);
    const client = create(options?.shape ?? SHAPE);
    let sockets = 0;
    return {
      server,
      client,
      directory: directoryAt(path),
      socketPath: () => join(path, `${++sockets}.sock`),
      turn(): void {
        turnOf(server, 0);
        turnOf(client, 1);
      },
      nowMs: () => performance.now(),
      patienceMs: 30_000,
      silenceMs: 25,
      dispose(): void {
        server.destroy();
        client.destroy();
        rmSync(path, { recursive: true, force: true });
        assert.equal(descriptorCount(), descriptors, 'descriptors are left open');
      },
    };
  };
}
