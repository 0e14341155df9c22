/**
 * `npm run build` (and `npm ci`, which runs it): compiles src/ to dist/, what production runs. The new dist/
 * takes the old one's place only when it is complete, so a failed build leaves what was there, and files of
 * modules that are gone don't stay behind.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const finished = join(root, 'dist');
const growing = join(root, `dist.${process.pid}.new`);
const outdated = join(root, `dist.${process.pid}.old`);

rmSync(growing, { recursive: true, force: true });
const tsc = join(root, 'node_modules/.bin/tsc');
if (!existsSync(tsc)) {
  console.error('Error: TypeScript is not installed: run `npm ci` with development dependencies.');
  process.exit(1);
}
const { status, error } = spawnSync(tsc, ['-p', 'tsconfig.build.json', '--outDir', growing], {
  cwd: root,
  stdio: 'inherit',
});
if (status !== 0) {
  rmSync(growing, { recursive: true, force: true });
  console.error(`Error: the sources don't compile${error ? ` (${error.message})` : ''}; dist/ is as it was.`);
  process.exit(1);
}
// When it was built: tests build again where sources are newer.
writeFileSync(join(growing, '.built'), '');
if (existsSync(finished)) renameSync(finished, outdated);
renameSync(growing, finished);
rmSync(outdated, { recursive: true, force: true });
