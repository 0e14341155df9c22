/**
 * What a schema is made of, and how a file is read by one. The tree is the single source: validation,
 * defaults, suggestions for mistyped keys, the reference and the explanations of `check` all walk it.
 */

import { isDeepStrictEqual } from 'node:util';
import { formatKeyPath, type KeyPath } from './key-path.ts';
import { isLikelySlip, nearestWord } from './nearest.ts';
import type { NotBuilt } from './not-built.ts';
import { Complaint, type Report } from './problem.ts';
import { describeValue, isTable, type TomlTable, type TomlValue } from './toml.ts';
import type { ValueType } from './value-types.ts';

export interface Key<T> {
  readonly kind: 'key';
  readonly type: ValueType<T>;
  /** What an absent key means. */
  readonly fallback: T;
  readonly isRequired: boolean;
  /** The default as the reference shows it. */
  readonly fallbackWords: string;
  readonly meaning: string;
  /** A value in TOML. */
  readonly example: string;
}

/** A table with known keys. An optional one that is absent reads as null, another as all its defaults. */
export interface Section<F extends Fields, O extends boolean = boolean> {
  readonly kind: 'section';
  readonly isOptional: O;
  readonly meaning: string;
  readonly fields: F;
}

/** A table whose keys are names that the operator gives. */
export interface Named<N extends Node> {
  readonly kind: 'named';
  /** What a name is, in upper case, for the reference: `HOST`. */
  readonly placeholder: string;
  /** The name in its one form, or why it can't be one. */
  readonly parseName: (name: string) => string | Complaint;
  readonly meaning: string;
  readonly of: N;
}

/** An array of tables. Where `bareKey` is not empty, an element may be a string, which stands for that key. */
export interface Entries<F extends Fields> {
  readonly kind: 'entries';
  readonly bareKey: string;
  readonly isRequired: boolean;
  readonly max: number;
  readonly meaning: string;
  readonly of: Section<F>;
}

// biome-ignore lint/suspicious/noExplicitAny: a schema holds keys of all types
export type Node = Key<any> | Section<any> | Named<any> | Entries<any>;
export type Fields = Readonly<Record<string, Node>>;

type ValueOf<N> =
  N extends Key<infer T>
    ? T
    : N extends Section<infer F, infer O>
      ? O extends true
        ? SectionReading<F> | null
        : SectionReading<F>
      : N extends Named<infer M>
        ? readonly NamedReading<ValueOf<M>>[]
        : N extends Entries<infer F>
          ? readonly SectionReading<F>[]
          : never;

export type Values<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };

/** A section as it was read: wrong values are reported and replaced by their defaults. */
export interface SectionReading<F extends Fields> {
  readonly at: KeyPath;
  /** The keys that the file gives, right or wrong. */
  readonly given: ReadonlySet<string>;
  /** Those whose value is wrong: what depends on them is not judged any more. */
  readonly wrong: ReadonlySet<string>;
  readonly values: Values<F>;
}

export interface NamedReading<V> {
  /** As written, and in its one form. */
  readonly written: string;
  readonly name: string;
  readonly at: KeyPath;
  readonly value: V;
}

interface KeyOptions<T> {
  readonly fallback: T;
  readonly meaning: string;
  readonly example: string;
  /** For the reference, where the default isn't told by its value. */
  readonly fallbackWords?: string;
}

/** A key that the file gives, for `check`. */
export interface GivenKey {
  readonly keys: KeyPath;
  readonly key: Key<unknown>;
  readonly value: TomlValue;
  /** The file says what an absent key would mean. */
  readonly isDefault: boolean;
}

/** A key that may be absent. */
export function key<V, T = V>(type: ValueType<V>, options: KeyOptions<V | T>): Key<V | T> {
  const words = options.fallbackWords ?? fallbackInToml(options.fallback);
  const { fallback, meaning, example } = options;
  return {
    kind: 'key',
    type: type as ValueType<V | T>,
    fallback,
    isRequired: false,
    fallbackWords: words,
    meaning,
    example,
  };
}

/** A key that must be given; null after its absence was reported. */
export function requiredKey<T>(
  type: ValueType<T>,
  options: { readonly meaning: string; readonly example: string },
): Key<T | null> {
  const { meaning, example } = options;
  return {
    kind: 'key',
    type: type as ValueType<T | null>,
    fallback: null,
    isRequired: true,
    fallbackWords: 'required',
    meaning,
    example,
  };
}

function fallbackInToml(value: unknown): string {
  if (value === null || (Array.isArray(value) && value.length === 0)) return 'none';
  return `\`${JSON.stringify(value)}\``;
}

export function section<F extends Fields>(meaning: string, fields: F): Section<F, false> {
  return { kind: 'section', isOptional: false, meaning, fields };
}

export function optionalSection<F extends Fields>(meaning: string, fields: F): Section<F, true> {
  return { kind: 'section', isOptional: true, meaning, fields };
}

/** Reads files by schemas: one object for one file. */
export class SchemaReader {
  private readonly report: Report;
  private readonly notBuilt: readonly NotBuilt[];
  /** Every key of the schema with the sections that have it, to say where a misplaced key belongs. */
  private readonly homes: ReadonlyMap<string, readonly (readonly string[])[]>;
  /** Keys that were read and are right, in the schema's order. */
  readonly given: GivenKey[] = [];

  constructor(root: Section<Fields>, report: Report, notBuilt: readonly NotBuilt[]) {
    this.report = report;
    this.notBuilt = notBuilt;
    const homes = new Map<string, (readonly string[])[]>();
    for (const { pattern, name } of eachKey(root)) {
      homes.set(name, [...(homes.get(name) ?? []), pattern.slice(0, -1)]);
    }
    this.homes = homes;
  }

  readRoot<F extends Fields>(root: Section<F>, table: TomlTable): SectionReading<F> {
    return this.readSection(root, table, [], []);
  }

  /** `pattern` is the path with `*` for names and indices, as the table of what isn't built writes it. */
  private readSection<F extends Fields>(
    node: Section<F>,
    table: TomlTable,
    at: KeyPath,
    pattern: readonly string[],
  ): SectionReading<F> {
    const given = new Set(Object.keys(table));
    const wrong = new Set<string>();
    for (const name of given)
      if (!Object.hasOwn(node.fields, name)) this.refuseUnknown(name, node, at, pattern);
    const values: Record<string, unknown> = {};
    for (const [name, child] of Object.entries(node.fields)) {
      const here = [...at, name];
      const value = given.has(name) ? table[name] : undefined;
      if (value !== undefined) this.refuseNotBuilt([...pattern, name], value, table, here);
      const read = this.readNode(child, value, here, [...pattern, name]);
      if (read === WRONG) wrong.add(name);
      values[name] = read === WRONG ? absent(child, here) : read;
    }
    return { at, given, wrong, values: values as Values<F> };
  }

  private readNode(
    node: Node,
    value: TomlValue | undefined,
    at: KeyPath,
    pattern: readonly string[],
  ): unknown {
    if (node.kind === 'key') return this.readKey(node, value, at);
    if (node.kind === 'entries') return this.readEntries(node, value, at, pattern);
    if (value === undefined) return this.readAbsentTable(node, at, pattern);
    if (!isTable(value)) {
      const title = formatKeyPath(at);
      this.report.add('value', at, `Expected a table, found ${describeValue(value)}`, `[${title}]`);
      return WRONG;
    }
    if (node.kind === 'section') return this.readSection(node, value, at, pattern);
    return this.readNamed(node, value, at, pattern);
  }

  private readAbsentTable(
    node: Section<Fields> | Named<Node>,
    at: KeyPath,
    pattern: readonly string[],
  ): unknown {
    if (node.kind === 'named') return [];
    return node.isOptional ? null : this.readSection(node, {}, at, pattern);
  }

  private readKey(node: Key<unknown>, value: TomlValue | undefined, at: KeyPath): unknown {
    if (value !== undefined) {
      const read = node.type.read(value, at, this.report);
      if (read === undefined) return WRONG;
      const isDefault = isDeepStrictEqual(read, node.fallback);
      this.given.push({ keys: at, key: node, value, isDefault });
      return read;
    }
    if (!node.isRequired) return node.fallback;
    const mend = `add ${formatKeyPath(at.slice(-1))} = ${node.example}`;
    this.report.add('missing-key', at, `Missing key '${formatKeyPath(at)}'`, node.type.words, mend);
    return WRONG;
  }

  private readNamed(node: Named<Node>, table: TomlTable, at: KeyPath, pattern: readonly string[]): unknown {
    const readings: NamedReading<unknown>[] = [];
    for (const [written, value] of Object.entries(table)) {
      const here = [...at, written];
      const name = node.parseName(written);
      if (name instanceof Complaint) {
        const what = node.placeholder.toLowerCase();
        this.report.add(
          'value',
          here,
          `Invalid ${what} ${JSON.stringify(written)}: ${name.why}`,
          '',
          name.mend,
        );
      }
      const read = this.readNode(node.of, value, here, [...pattern, '*']);
      if (name instanceof Complaint || read === WRONG) continue;
      readings.push({ written, name, at: here, value: read });
    }
    return readings;
  }

  private readEntries(
    node: Entries<Fields>,
    value: TomlValue | undefined,
    at: KeyPath,
    pattern: readonly string[],
  ): unknown {
    if (value === undefined) {
      if (!node.isRequired) return [];
      this.report.add('missing-key', at, `Missing key '${formatKeyPath(at)}'`, entriesWords(node));
      return WRONG;
    }
    if (!Array.isArray(value)) {
      this.report.add('value', at, `Expected an array, found ${describeValue(value)}`, entriesWords(node));
      return WRONG;
    }
    if (value.length > node.max || (node.isRequired && value.length === 0)) {
      this.report.add('value', at, `The array has ${value.length} elements`, entriesWords(node));
      return WRONG;
    }
    const readings = value.map((each, index) =>
      this.readEntry(node, each, [...at, index], [...pattern, '*']),
    );
    return readings.filter((each) => each !== null);
  }

  private readEntry(
    node: Entries<Fields>,
    value: TomlValue,
    at: KeyPath,
    pattern: readonly string[],
  ): SectionReading<Fields> | null {
    if (isTable(value)) return this.readSection(node.of, value, at, pattern);
    if (typeof value === 'string' && node.bareKey !== '') {
      const table: TomlTable = { [node.bareKey]: value };
      // A string has no keys of its own: its problems are those of the element.
      const reading = this.readSection(node.of, table, at, pattern);
      return { ...reading, at };
    }
    const allowed = node.bareKey === '' ? 'a table' : `a string or a table with the key ${node.bareKey}`;
    this.report.add('value', at, `Expected ${allowed}, found ${describeValue(value)}`);
    return null;
  }

  private refuseUnknown(name: string, node: Section<Fields>, at: KeyPath, pattern: readonly string[]): void {
    const known = Object.keys(node.fields);
    const place = at.length === 0 ? 'the file' : `[${formatKeyPath(at)}]`;
    const word = nearestWord(name, known);
    const isSlip = isLikelySlip(name, word);
    const home = isSlip ? null : this.nearestHome(name, at, pattern);
    const near = home === null ? word : formatKeyPath([...home, name]);
    const message = `Unknown key '${formatKeyPath([name])}' in ${place}; the nearest known key is '${near}'`;
    let mend = isSlip ? `write ${word}` : 'remove it';
    if (home !== null) mend = `it belongs in [${formatKeyPath(home)}]`;
    this.report.add('unknown-key', [...at, name], message, known.join(', '), mend);
  }

  /** The section that has this very key, the one that shares most of the path with `at`; null where none has. */
  private nearestHome(name: string, at: KeyPath, pattern: readonly string[]): KeyPath | null {
    let best: KeyPath | null = null;
    let bestShared = -1;
    for (const home of this.homes.get(name) ?? []) {
      let shared = 0;
      while (shared < pattern.length && home[shared] === pattern[shared]) shared++;
      if (shared <= bestShared) continue;
      bestShared = shared;
      best = [...at.slice(0, shared), ...home.slice(shared)];
    }
    return best;
  }

  private refuseNotBuilt(
    pattern: readonly string[],
    value: TomlValue,
    siblings: TomlTable,
    at: KeyPath,
  ): void {
    const joined = pattern.join('.');
    for (const entry of this.notBuilt) {
      if (!entry.keys.includes(joined) || !entry.asks(value, siblings)) continue;
      this.report.add('not-built', at, `Not supported yet: ${entry.feature}`, '', entry.mend);
    }
  }
}

/** A value that was reported; distinct from all values that a key may have. */
const WRONG = Symbol('wrong');

/** What stands in for a wrong value, so that the rest can be judged. */
function absent(node: Node, at: KeyPath): unknown {
  if (node.kind === 'key') return node.fallback;
  if (node.kind === 'named' || node.kind === 'entries') return [];
  if (node.isOptional) return null;
  const values = Object.entries(node.fields as Fields).map(([name, child]) => [
    name,
    absent(child, [...at, name]),
  ]);
  return { at, given: new Set(), wrong: new Set(), values: Object.fromEntries(values) };
}

function entriesWords(node: Entries<Fields>): string {
  const item = node.bareKey === '' ? 'tables' : `strings (${node.bareKey}) or tables`;
  return `array of ${node.isRequired ? 1 : 0} to ${node.max} ${item}`;
}

/** One key of the schema with its place; names and indices are `*`. */
export interface SchemaLine {
  readonly pattern: readonly string[];
  readonly name: string;
  readonly key: Key<unknown>;
}

/** All keys below a section, in the schema's order. */
export function* eachKey(root: Section<Fields>, pattern: readonly string[] = []): Generator<SchemaLine> {
  for (const [name, node] of Object.entries(root.fields)) {
    const here = [...pattern, name];
    if (node.kind === 'key') yield { pattern: here, name, key: node };
    else yield* eachKeyBelow(node, here);
  }
}

function* eachKeyBelow(node: Node, pattern: readonly string[]): Generator<SchemaLine> {
  if (node.kind === 'section') yield* eachKey(node, pattern);
  else if (node.kind === 'entries') yield* eachKey(node.of, [...pattern, '*']);
  else if (node.kind === 'named') yield* eachKeyBelow(node.of, [...pattern, '*']);
}
