/** TOML text to plain values, with the line and column of a syntax error. */

import { parse, TomlDate, TomlError, type TomlTable, type TomlValue } from 'smol-toml';
import type { Problem } from './problem.ts';

export type { TomlTable, TomlValue };

/** Arrays and inline tables may nest this deep; the schema itself needs four. */
const DEPTH_MAX = 32;
/** Characters of the offending line that a message shows. */
const EXCERPT_CHARS = 100;

export type TomlResult =
  | { readonly table: TomlTable; readonly problem: null }
  | { readonly table: null; readonly problem: Problem };

/** Parses a whole file. Integers come as bigint, so that `5` and `5.0` can be told apart. Never throws. */
export function parseToml(text: string): TomlResult {
  try {
    return { table: parse(text, { integersAsBigInt: true, maxDepth: DEPTH_MAX }), problem: null };
  } catch (error) {
    if (error instanceof TomlError) return { table: null, problem: syntaxProblem(text, error) };
    // The parser is not ours: what else it throws on strange input is still a syntax error to the operator.
    const message = error instanceof Error ? error.message : String(error);
    return { table: null, problem: problemAt(0, 0, `Not valid TOML: ${message}`, '') };
  }
}

function syntaxProblem(text: string, error: TomlError): Problem {
  const reason = error.message.split('\n', 1)[0].replace('Invalid TOML document: ', '');
  const line = text.split('\n', error.line)[error.line - 1] ?? '';
  const start = Math.max(0, error.column - 1 - EXCERPT_CHARS / 2);
  const excerpt = line.slice(start, start + EXCERPT_CHARS).replaceAll(/\p{Cc}/gu, '?');
  const caret = `${' '.repeat(Math.max(0, error.column - 1 - start))}^`;
  const message = `Not valid TOML: ${reason}\n    ${excerpt}\n    ${caret}`;
  return problemAt(error.line, error.column, message, mendFor(reason));
}

function mendFor(reason: string): string {
  if (reason.includes('redefine')) return 'each table and key may be given once; merge the two';
  return 'see https://toml.io for the syntax';
}

function problemAt(line: number, column: number, message: string, mend: string): Problem {
  return { kind: 'syntax', path: '', keys: [], line, column, message, allowed: '', mend };
}

export function isTable(value: TomlValue): value is TomlTable {
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof TomlDate);
}

/** Characters of a value that a message repeats. */
const SHOWN_CHARS = 80;

/** The value as a message shows it: `the string "four"`, `the integer 5`, `a table`. */
export function describeValue(value: TomlValue): string {
  if (typeof value === 'string') return `the string ${shorten(JSON.stringify(value))}`;
  if (typeof value === 'bigint') return `the integer ${shorten(String(value))}`;
  if (typeof value === 'number') return `the float ${Number.isInteger(value) ? value.toFixed(1) : value}`;
  if (typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array';
  return value instanceof TomlDate ? 'a date or time' : 'a table';
}

function shorten(text: string): string {
  return text.length <= SHOWN_CHARS ? text : `${text.slice(0, SHOWN_CHARS)}…`;
}
