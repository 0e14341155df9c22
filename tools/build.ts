/**
 * `npm run build` (and `npm ci`, which runs it): checks the types of src/ and bundles it into dist/, what production
 * runs. The new dist/ takes the old one's place only when it is complete, so a failed build leaves what was there.
 *
 * Bundled, since the engine takes a constant of the same module for what it is, but one of another module for a
 * variable that it loads each time: all that the edge runs is one module. Nothing is renamed or made smaller, so that
 * stack traces read as the sources do. With `--unchecked` types are left to somebody else.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

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
/** Packages, which stay what they are. */
const EXTERNAL = [/^node:/, 'koffi', 'smol-toml'];
/** What the edge's entries share is one module. */
const PARTS = [{ name: 'all', test: /\/src\// }];
/** The bundler writes classes as variables, which would be loaded each time like constants of other modules. */
const CLASS_AS_VARIABLE = /^var (\w+) = class\b/gm;

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

async function bundle(entries: Readonly<Record<string, string>>): Promise<void> {
  const { rolldown } = await import('rolldown');
  const build = await rolldown({
    cwd: root,
    input: entries,
    platform: 'node',
    external: EXTERNAL,
    // Fields without a value of their own are not declared. The engine learns of each field whether it holds small
    // integers, objects of one shape, or always the same value; of one that began as undefined it learns nothing.
    tsconfig: join(root, 'tsconfig.build.json'),
    // What a bundle would have to guess about is a mistake of ours.
    onLog: (_level, log) => {
      throw new Error(log.message);
    },
  });
  const [name] = Object.keys(entries);
  await build.write({
    dir: growing,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: `parts/${name.replace('/', '-')}-[name].js`,
    comments: false,
    minify: false,
    // All that runs for a request is one module.
    ...(name === 'edge/main' ? { codeSplitting: { groups: PARTS } } : {}),
  });
  await build.close();
}

function restoreClasses(): void {
  for (const entry of readdirSync(growing, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    writeFileSync(path, readFileSync(path, 'utf8').replaceAll(CLASS_AS_VARIABLE, 'const $1 = class'));
  }
}

rmSync(growing, { recursive: true, force: true });
if (!process.argv.includes('--unchecked')) checkTypes();
try {
  for (const entries of BUNDLES) await bundle(entries);
  restoreClasses();
} catch (error) {
  fail(`the sources can't be bundled: ${error instanceof Error ? error.message : String(error)}`);
}
// When it was built: tests build again where sources are newer.
writeFileSync(join(growing, '.built'), '');
if (existsSync(finished)) renameSync(finished, outdated);
renameSync(growing, finished);
rmSync(outdated, { recursive: true, force: true });
