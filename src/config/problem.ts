/**
 * What is wrong with a configuration. An operator reads these: each says where, what was found, what is
 * allowed, and how to mend it. Nothing here throws; all problems of a file are collected and shown at once.
 */

import { formatKeyPath, type KeyPath } from './key-path.ts';

export type ProblemKind =
  /** Not TOML. */
  | 'syntax'
  | 'unknown-key'
  | 'missing-key'
  /** A wrong type, a value out of range, or one in a wrong form. */
  | 'value'
  /** Keys that are each right but don't go together. */
  | 'conflict'
  /** What a key names (a file, a user, an upstream) does not exist or is not what it should be. */
  | 'not-found'
  /** Right, but the feature is not built yet. */
  | 'not-built'
  /** Loads, but probably isn't what was meant. */
  | 'warning';

export interface Problem {
  readonly kind: ProblemKind;
  /** Key path as text; empty for the whole file. */
  readonly path: string;
  /** The same in steps. */
  readonly keys: KeyPath;
  /** Line and column in the file, from 1; 0 where not known. */
  readonly line: number;
  readonly column: number;
  /** What is wrong, with what was found. The first line is a sentence without a full stop. */
  readonly message: string;
  /** What would be right, or empty. */
  readonly allowed: string;
  /** How to mend it, or empty. */
  readonly mend: string;
}

/** Why a text isn't what it should be, from the parsers of addresses, names and URLs. */
export class Complaint {
  readonly why: string;
  readonly mend: string;

  constructor(why: string, mend = '') {
    this.why = why;
    this.mend = mend;
  }
}

/** Collects the problems of one file. */
export class Report {
  readonly problems: Problem[] = [];
  readonly warnings: Problem[] = [];

  add(kind: Exclude<ProblemKind, 'warning'>, at: KeyPath, message: string, allowed = '', mend = ''): void {
    this.problems.push({
      kind,
      path: formatKeyPath(at),
      keys: at,
      line: 0,
      column: 0,
      message,
      allowed,
      mend,
    });
  }

  warn(at: KeyPath, message: string, mend = ''): void {
    this.warnings.push({
      kind: 'warning',
      path: formatKeyPath(at),
      keys: at,
      line: 0,
      column: 0,
      message,
      allowed: '',
      mend,
    });
  }
}

/** The problem as a terminal shows it, in up to four lines; `source` is the file's name. */
export function formatProblem(problem: Problem, source: string): string {
  const label = problem.kind === 'warning' ? 'Warning' : 'Error';
  const lines = [`${label}: ${problem.message}`];
  const where = problem.line > 0 ? `${source}:${problem.line}` : source;
  const column = problem.column > 0 ? `:${problem.column}` : '';
  lines.push(problem.path === '' ? `  at ${where}${column}` : `  at ${where}${column}, ${problem.path}`);
  if (problem.allowed !== '') lines.push(`  allowed: ${problem.allowed}`);
  if (problem.mend !== '') lines.push(`  mend: ${problem.mend}`);
  return lines.join('\n');
}
