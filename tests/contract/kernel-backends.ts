/** The backends on a real kernel, by name. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DEFAULT_LIMITS, type ReactorLimits } from '../../src/io/kernel-reactor.ts';
import { openReactor } from '../../src/io/open.ts';
import { kernelPairs } from './kernel-pair.ts';
import type { MakePair } from './pair.ts';
import { reactorContract } from './reactor-contract.ts';
import { sharedListenerRules } from './shared-listeners.ts';

/** `backend` as SALLYPORT_IO names it. Where it can't be had, the first test says so. */
export function kernelBackend(backend: string, limits: ReactorLimits = DEFAULT_LIMITS): MakePair {
  return kernelPairs((shape) => openReactor({ shape, backend, limits }).reactor);
}

/** Everything that a backend on a kernel is held to. */
export function kernelContract(name: string, backend: string): void {
  reactorContract(name, kernelBackend(backend));
  sharedListenerRules(name, backend);
  test(`${name}: out of descriptors, accepting pauses, says so, and recovers`, () => {
    const script = fileURLToPath(new URL('run-exhaustion.ts', import.meta.url));
    const shell = `ulimit -n 100; exec "${process.execPath}" "${script}" "${backend}"`;
    const { status, stdout, stderr } = spawnSync('sh', ['-c', shell], { encoding: 'utf8', timeout: 60_000 });
    assert.equal(status, 0, stderr);
    assert.equal(stdout, 'ran out and recovered\n');
  });
}
