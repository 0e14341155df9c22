/** The runner of `npm test` hears of every result, however slowly it reads. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { pause } from '../fixtures/patience.ts';

const PRELOAD = pathToFileURL(join(import.meta.dirname, '../../tools/whole-results.ts')).href;
/** Far more than a pipe holds. */
const TESTS = 3000;
/** Between two reads: long enough for a process to fill what the pipe holds. */
const READ_MS = 30;

describe('results of a test file', () => {
  let folder: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'sallyport-results-'));
  });

  after(() => rmSync(folder, { recursive: true }));

  it('are whole although the process ends itself and the runner reads slowly', async () => {
    const file = join(folder, 'many.test.mjs');
    writeFileSync(
      file,
      `import { test } from 'node:test';
setInterval(() => {}, 1000);
for (let number = 1; number <= ${TESTS}; number++) test('number ' + number + '.', () => {});
`,
    );
    const child = spawn(process.execPath, ['--import', PRELOAD, '--test-force-exit', file], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_TEST_CONTEXT: 'child-v8' },
    });
    const closed = once(child, 'close');
    let output = '';
    for await (const chunk of child.stdout) {
      output += (chunk as Buffer).toString('latin1');
      await pause(READ_MS);
    }
    assert.deepEqual(await closed, [0, null]);
    for (let number = 1; number <= TESTS; number++)
      assert.ok(output.includes(`number ${number}.`), `number ${number} of ${TESTS}`);
    assert.ok(output.includes('test:summary'), 'the summary');
  });
});
