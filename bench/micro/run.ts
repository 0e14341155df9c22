/**
 * `npm run bench:micro`: runs every micro-benchmark of this folder, one after the other, each in a process of
 * its own (so that one's compiled code and garbage don't colour the next) pinned to one core. They are bundled as
 * what production runs is, and run with a worker's flags: V8 makes other code of sources as they are.
 * A micro-benchmark is a file here that prints its figures and ends. Names as arguments choose some of them.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COMPARTMENTS } from '../../src/master/compartments.ts';
import { bundle, restoreClasses } from '../../tools/bundle.ts';

const CORE = '0';
const TIME_LIMIT_MS = 120_000;

const all = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.ts') && file !== 'run.ts')
  .map((file) => file.slice(0, -3));
const chosen = process.argv.slice(2);
const unknown = chosen.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`no micro-benchmark ${unknown.join(', ')}; there are: ${all.join(', ')}\n`);
  process.exit(2);
}

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'sallyport-micro-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
const names = chosen.length > 0 ? chosen : all;
for (const name of names) {
  await bundle({
    root,
    entries: { [name]: `bench/micro/${name}.ts` },
    into: join(folder, 'built'),
    parts: name,
    onePart: false,
    define: { 'import.meta.dirname': JSON.stringify(import.meta.dirname) },
  });
}
restoreClasses(join(folder, 'built'));

let failed = 0;
for (const name of names) {
  process.stdout.write(`\n## ${name}\n\n`);
  const script = join(folder, 'built', `${name}.js`);
  const result = spawnSync(
    'taskset',
    ['-c', CORE, process.execPath, '--expose-gc', ...COMPARTMENTS.edge.heap, script],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: TIME_LIMIT_MS,
    },
  );
  if (result.error !== undefined) process.stderr.write(`${name}: ${result.error.message}\n`);
  if (result.status !== 0) failed++;
}
process.exit(failed === 0 ? 0 : 1);
