/**
 * Puts what a run measured into the documents, between the marks of its family: `<!-- bench:begin https -->` and
 * `<!-- bench:end https -->`. What stands outside of the marks stays, and so does the family that was not measured.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BenchError } from './children.ts';
import { FAMILIES, type Family, familyTables, hasFamily, summary } from './report.ts';
import type { Results } from './results.ts';

const repository = join(import.meta.dirname, '..');

/** `args` are those of the command, for the reader who wants to repeat it. */
export function writeDocs(results: Results, args: readonly string[]): void {
  const command = ['npm run bench', ...(args.length === 0 ? [] : ['--', ...args])].join(' ');
  const origin = `Of ${results.date.slice(0, 10)}, by \`${command}\`:`;
  for (const family of FAMILIES) {
    if (!hasFamily(results, family)) continue;
    replaceMarked('docs/BENCHMARKS.md', family, `${origin}\n\n${familyTables(results, family)}`);
    if (family !== 'http2') replaceMarked('README.md', family, summary(results, family));
  }
}

function replaceMarked(document: string, family: Family, content: string): void {
  const path = join(repository, document);
  const text = readFileSync(path, 'utf8');
  const [begin, end] = [`<!-- bench:begin ${family} -->`, `<!-- bench:end ${family} -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new BenchError(`${path} has no place between ${begin} and ${end}`);
  const [before, after] = [text.slice(0, from + begin.length), text.slice(to)];
  writeFileSync(path, `${before}\n${content.trim()}\n${after}`);
}
