/** Where workers run: on the cores that the master itself was given, or anywhere where a quota counts. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { coresOf } from '../../src/master/machine.ts';
import { coreAffinity, pinToCore } from '../../src/sys/process.ts';

const SOURCE = join(import.meta.dirname, '../../src/master/machine.ts');

describe('the cores of workers', () => {
  it('are those that the program has inherited', () => {
    const cores = coreAffinity();
    assert.ok(cores.length > 0);
    for (const core of cores) {
      const { status, stdout, stderr } = spawnSync(
        'taskset',
        [
          '-c',
          String(core),
          process.execPath,
          '--input-type=module',
          '--eval',
          `const { coresOf } = await import(${JSON.stringify(SOURCE)}); console.log(JSON.stringify(coresOf()))`,
        ],
        { encoding: 'utf8' },
      );
      assert.equal(status, 0, stderr);
      assert.deepEqual(JSON.parse(stdout), [core]);
    }
  });

  const cases: [string, number[], number, number[]][] = [
    ['all of them', [0, 1, 5], 3, [0, 1, 5]],
    ['as many as a quota allows, and no particular ones', [0, 1, 2, 3, 4, 5, 6, 7], 2, [-1, -1]],
    ['one at least', [0, 1], 0, [-1]],
    ['as many as are counted where the kernel doesn’t name them', [], 4, [-1, -1, -1, -1]],
  ];
  for (const [name, affinity, parallelism, expected] of cases)
    it(`are ${name}`, () => assert.deepEqual(coresOf(affinity, parallelism), expected));

  it('can’t be ones that no machine has', () => {
    for (const core of [-1, 8192]) assert.ok(pinToCore(core) < 0);
  });
});
