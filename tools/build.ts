/**
 * `npm run build` (and `npm ci`, which runs it): checks the types of src/ and bundles it into dist/, what production
 * runs. The new dist/ takes the old one's place only when it is complete, so a failed build leaves what was there.
 *
 * With `--unchecked` types are left to somebody else.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundle, restoreClasses } from './bundle.ts';

const root = join(import.meta.dirname, '..');
const finished = join(root, 'dist');
const growing = join(root, `dist.${process.pid}.new`);
const outdated = join(root, `dist.${process.pid}.old`);

/**
 * What is loaded from outside, by its name in dist/. Each room's program is a bundle of its own, so that it is one
 * module and holds nothing of the others'; entries of one bundle share modules.
 */
const BUNDLES: readonly Readonly<Record<string, string>>[] = [
  // The command line with the master, each command loaded when it is given.
  { 'cli/main': 'src/cli/main.ts' },
  { 'cli/judge-main': 'src/cli/judge-main.ts' },
  { 'master/launcher-main': 'src/master/launcher-main.ts' },
  { 'journal/main': 'src/journal/main.ts' },
  { 'keys/main': 'src/keys/main.ts' },
  { 'outbound/main': 'src/outbound/main.ts' },
  // bench/soak looks into the buffers of the running edge.
  { 'edge/main': 'src/edge/main.ts', 'io/buffer-pool': 'src/io/buffer-pool.ts' },
];

function fail(message: string): never {
  rmSync(growing, { recursive: true, force: true });
  console.error(`Error: ${message}; dist/ is as it was.`);
  process.exit(1);
}

function checkTypes(): void {
  const tsc = join(root, 'node_modules/.bin/tsc');
  if (!existsSync(tsc)) fail('TypeScript is not installed: run `npm ci` with development dependencies');
  const { status, error } = spawnSync(tsc, ['-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) fail(`the sources don't compile${error ? ` (${error.message})` : ''}`);
}

rmSync(growing, { recursive: true, force: true });
if (!process.argv.includes('--unchecked')) checkTypes();
try {
  for (const entries of BUNDLES) {
    const [name] = Object.keys(entries);
    // All that runs for a request is one module.
    const onePart = name === 'edge/main';
    await bundle({ root, entries, into: growing, parts: name.replace('/', '-'), onePart });
  }
  restoreClasses(growing);
} catch (error) {
  fail(`the sources can't be bundled: ${error instanceof Error ? error.message : String(error)}`);
}
// When it was built: tests build again where sources are newer.
writeFileSync(join(growing, '.built'), '');
if (existsSync(finished)) renameSync(finished, outdated);
renameSync(growing, finished);
rmSync(outdated, { recursive: true, force: true });
