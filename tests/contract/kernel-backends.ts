/** The backends on a real kernel, by name. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EpollReactor } from '../../src/io/epoll.ts';
import { DEFAULT_LIMITS, UringReactor } from '../../src/io/uring.ts';
import { kernelPairs } from './kernel-pair.ts';
import type { MakePair } from './pair.ts';

export function kernelBackend(name: string): MakePair {
  if (name === 'epoll') return kernelPairs((shape) => new EpollReactor(shape, DEFAULT_LIMITS));
  assert.ok(name === 'io_uring');
  return kernelPairs((shape) => {
    const reactor = UringReactor.create(shape, DEFAULT_LIMITS);
    assert.ok(typeof reactor !== 'number', `io_uring is not to be had here: ${reactor}`);
    return reactor;
  });
}

/** The exhaustion rule as a test, in a child process with 100 descriptors. */
export function exhaustionRule(name: string): void {
  test(`${name}: out of descriptors, accepting pauses, says so, and recovers`, () => {
    const script = fileURLToPath(new URL('run-exhaustion.ts', import.meta.url));
    const shell = `ulimit -n 100; exec "${process.execPath}" "${script}" "${name}"`;
    const { status, stdout, stderr } = spawnSync('sh', ['-c', shell], { encoding: 'utf8', timeout: 60_000 });
    assert.equal(status, 0, stderr);
    assert.equal(stdout, 'ran out and recovered\n');
  });
}
