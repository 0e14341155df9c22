/**
 * Sources as one module each: what production runs, and what micro-benchmarks measure.
 *
 * Bundled, since the engine takes a constant of the same module for what it is, but one of another module for a
 * variable that it loads each time. Nothing is renamed or made smaller, so that stack traces read as the sources do.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Packages, which stay what they are. */
const EXTERNAL = [/^node:/, 'koffi', 'smol-toml'];
/** The bundler writes classes as variables, which would be loaded each time like constants of other modules. */
const CLASS_AS_VARIABLE = /^var (\w+) = class\b/gm;

export interface Bundle {
  /** The project's folder. */
  readonly root: string;
  /** Path of each source in the project, by its name in `into`; entries of one bundle share modules. */
  readonly entries: Readonly<Record<string, string>>;
  /** Folder to write to. What entries share goes into its `parts`, under names that begin with `parts`. */
  readonly into: string;
  readonly parts: string;
  /** All that the entries share is one module. */
  readonly onePart: boolean;
  /** What is to stand for expressions such as `import.meta.dirname`. */
  readonly define?: Readonly<Record<string, string>>;
}

/** Throws where the bundler fails, or would have to guess. Types are not looked at. */
export async function bundle({ root, entries, into, parts, onePart, define }: Bundle): Promise<void> {
  const { rolldown } = await import('rolldown');
  const build = await rolldown({
    cwd: root,
    input: { ...entries },
    platform: 'node',
    external: EXTERNAL,
    // Fields without a value of their own are not declared. The engine learns of each field whether it holds small
    // integers, objects of one shape, or always the same value; of one that began as undefined it learns nothing.
    tsconfig: join(root, 'tsconfig.build.json'),
    transform: { define: { ...define } },
    // What a bundle would have to guess about is a mistake of ours.
    onLog: (_level, log) => {
      throw new Error(log.message);
    },
  });
  await build.write({
    dir: into,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: `parts/${parts}-[name].js`,
    comments: false,
    minify: false,
    ...(onePart ? { codeSplitting: { groups: [{ name: 'all', test: /\/src\// }] } } : {}),
  });
  await build.close();
}

/** Classes as the constants that they are, in all files of a folder that `bundle` wrote to. */
export function restoreClasses(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.js')) continue;
    const path = join(entry.parentPath, entry.name);
    writeFileSync(path, readFileSync(path, 'utf8').replaceAll(CLASS_AS_VARIABLE, 'const $1 = class'));
  }
}
