/** process.exit ends a process at once: listeners run, the code is kept, and no thread is waited for. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const EXIT = new URL('../../src/sys/exit.ts', import.meta.url).href;

function run(script: string): { status: number | null; stdout: string } {
  const program = `const { endAtOnce } = await import('${EXIT}');\nendAtOnce();\n${script}`;
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout };
}

test('the code is kept, and listeners have run', () => {
  const script = `process.on('exit', (code) => process.stdout.write('told ' + code));`;
  assert.deepEqual(run(`${script} process.exit(7);`), { status: 7, stdout: 'told 7' });
  assert.deepEqual(run(`${script} process.exitCode = 3; process.exit();`), { status: 3, stdout: 'told 3' });
  assert.deepEqual(run(`${script} process.exit();`), { status: 0, stdout: 'told 0' });
});

test('it is what process.exit calls', () => {
  const script = `const end = process.reallyExit;
process.reallyExit = (code) => { process.stdout.write('asked'); end(code); };
process.exit(4);`;
  assert.deepEqual(run(script), { status: 4, stdout: 'asked' });
});
