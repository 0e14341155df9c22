/**
 * `npm test`: everything that must hold before a change goes in. Prerequisites, types, lint, build, then all
 * tests by Node's own runner. The runner's closing lines (`# tests N` … `# pass N`) come last.
 *
 * Arguments are test files or patterns to run instead of all (`npm test -- tests/edge/router.test.ts`).
 */

import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ensurePrerequisites } from './prerequisites.ts';

const root = join(import.meta.dirname, '..');
/** No single test may take longer. */
const TEST_MS_MAX = 300_000;

function step(name: string, command: string, args: readonly string[]): void {
  console.log(`\n== ${name}`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (status === 0) return;
  console.error(`\nError: ${name} failed${error ? `: ${error.message}` : ''}.`);
  process.exit(1);
}

function runTests(patterns: readonly string[]): number {
  const files = globSync(patterns, { cwd: root }).sort();
  if (files.length === 0) {
    console.error(`Error: no test file matches ${patterns.join(' ')}.`);
    return 1;
  }
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-results-'));
  const tap = join(folder, 'results.tap');
  console.log(`\n== tests (${files.length} files)`);
  const { status } = spawnSync(
    process.execPath,
    [
      '--test',
      `--test-timeout=${TEST_MS_MAX}`,
      // What a failed test has left open (a server, a client that asks on and on) keeps nobody waiting.
      '--test-force-exit',
      `--import=${pathToFileURL(join(root, 'tools/whole-results.ts'))}`,
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      '--test-reporter=tap',
      `--test-reporter-destination=${tap}`,
      ...files,
    ],
    { cwd: root, stdio: 'inherit' },
  );
  const closing = readFileSync(tap, 'utf8')
    .split('\n')
    .filter((line) => /^# [a-z_]+ [\d.]+$/.test(line));
  rmSync(folder, { recursive: true });
  console.log(`\n${closing.join('\n')}`);
  return status ?? 1;
}

process.chdir(root);
if (!ensurePrerequisites()) process.exit(1);
const patterns = process.argv
  .slice(2)
  .map((path) => relative(root, resolve(process.env['INIT_CWD'] ?? root, path)));
step('types', join(root, 'node_modules/.bin/tsc'), ['-p', '.']);
const colors = process.stdout.isTTY ? [] : ['--colors=off'];
step('format and lint', join(root, 'node_modules/.bin/biome'), ['ci', ...colors]);
step('build', process.execPath, ['tools/build.ts']);
process.exit(runTests(patterns.length > 0 ? patterns : ['tests/**/*.test.ts']));
