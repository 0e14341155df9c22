/**
 * The way from a configuration's text to its model: everything is validated before anything starts, and all
 * problems come back at once. Nothing here throws on what a file holds.
 */

import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { buildConfig } from './build.ts';
import { type EdgeUser, type Files, SAME_USER, systemFiles } from './files.ts';
import { formatKeyPath, type KeyPath } from './key-path.ts';
import { locateKeys } from './locate.ts';
import type { Config } from './model.ts';
import { NOT_BUILT, type NotBuilt } from './not-built.ts';
import { type Problem, Report } from './problem.ts';
import { SCHEMA } from './schema.ts';
import { type GivenKey, SchemaReader } from './schema-nodes.ts';
import { parseToml } from './toml.ts';

export interface LoadOptions {
  /** Folder that relative paths start from; that of `source` where absent. */
  readonly baseDir?: string;
  /** What the file system says; the real one where absent. */
  readonly files?: Files;
  /** Who the edge will be where the configuration names nobody; this process's own user where absent. */
  readonly edgeUser?: EdgeUser;
  /** Features to refuse; those of not-built.ts where absent. */
  readonly notBuilt?: readonly NotBuilt[];
  /** Judges what this folder can't (what certificates hold) and reports it. Called where nothing else is wrong. */
  readonly inspect?: (config: Config, report: Report) => void;
}

export interface LoadResult {
  /** Null when there is any problem. */
  readonly config: Config | null;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
  /** The keys that the file gives, as far as they are right. */
  readonly given: readonly GivenKey[];
}

/** Characters of a configuration. Ten thousand routes with all keys stay far below. */
const TEXT_CHARS_MAX = 16_777_216;

/** Validates a configuration. `source` is its file's path, or a name where it is embedded. */
export function loadConfig(text: string, source: string, options: LoadOptions = {}): LoadResult {
  if (text.length > TEXT_CHARS_MAX) return failure(`The file has more than ${TEXT_CHARS_MAX} characters`, '');
  const plain = text.startsWith('\uFEFF') ? text.slice(1) : text;
  const parsed = parseToml(plain);
  if (parsed.table === null) return { config: null, problems: [parsed.problem], warnings: [], given: [] };
  const report = new Report();
  const reader = new SchemaReader(SCHEMA, report, options.notBuilt ?? NOT_BUILT);
  const root = reader.readRoot(SCHEMA, parsed.table);
  const baseDir = options.baseDir ?? dirname(resolve(source));
  const { files = systemFiles, edgeUser = SAME_USER } = options;
  const config = buildConfig(root, source, baseDir, files, edgeUser, report);
  if (report.problems.length === 0) options.inspect?.(config, report);
  const { given } = reader;
  if (report.problems.length + report.warnings.length === 0)
    return { config, problems: [], warnings: [], given };
  const lines = locateKeys(plain);
  return {
    config: report.problems.length === 0 ? config : null,
    problems: inOrder(report.problems, lines),
    warnings: inOrder(report.warnings, lines),
    given,
  };
}

/** Problems with the lines of their keys, or of the nearest table around, in the file's order. */
function inOrder(problems: readonly Problem[], lines: ReadonlyMap<string, number>): readonly Problem[] {
  const placed = problems.map((problem) => ({ ...problem, line: lineOf(problem.keys, lines) }));
  return placed.sort((a, b) => a.line - b.line);
}

function lineOf(keys: KeyPath, lines: ReadonlyMap<string, number>): number {
  for (let length = keys.length; length > 0; length--) {
    const line = lines.get(formatKeyPath(keys.slice(0, length)));
    if (line !== undefined) return line;
  }
  return 0;
}

/** Reads and validates a file. One that can't be read is a problem like any other. */
export function loadConfigFile(path: string, options: LoadOptions = {}): LoadResult {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    const reason = READ_ERRORS[code] ?? `it can't be read (${code})`;
    return failure(`Configuration file ${path}: ${reason}`, 'name another file with -c PATH');
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return loadConfig(text, resolve(path), options);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return failure('The file is not UTF-8', 'save it as UTF-8');
  }
}

const READ_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'this user may not read it',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of its path is not a directory',
};

function failure(message: string, mend: string): LoadResult {
  const problem: Problem = {
    kind: 'not-found',
    path: '',
    keys: [],
    line: 0,
    column: 0,
    message,
    allowed: '',
    mend,
  };
  return { config: null, problems: [problem], warnings: [], given: [] };
}
