/**
 * The types that a key's value may have. A type reads one TOML value, reports what is wrong with it, and
 * describes itself in words, for messages and for the reference.
 */

import type { KeyPath } from './key-path.ts';
import { isLikelySlip, nearestWord } from './nearest.ts';
import { Complaint, type Report } from './problem.ts';
import { describeValue, isTable, type TomlValue } from './toml.ts';

export interface ValueType<T> {
  /** `integer, 0 to 1024`: completes "allowed: …". */
  readonly words: string;
  /** The value, or undefined after a problem was reported. */
  read(value: TomlValue, at: KeyPath, report: Report): T | undefined;
}

/** What every type says about a value of another type. */
function refuseType(value: TomlValue, at: KeyPath, report: Report, words: string, mend = ''): undefined {
  const noun = words.split(/[,:(]/, 1)[0].trim();
  report.add('value', at, `Expected ${article(noun)}, found ${describeValue(value)}`, words, mend);
  return undefined;
}

function article(words: string): string {
  return `${/^[aeiou]/.test(words) ? 'an' : 'a'} ${words}`;
}

export function boolean(): ValueType<boolean> {
  const words = 'boolean: true or false';
  return {
    words,
    read(value, at, report) {
      if (typeof value === 'boolean') return value;
      const isQuoted = value === 'true' || value === 'false';
      return refuseType(value, at, report, words, isQuoted ? `write ${value}, without quotes` : '');
    },
  };
}

export function integer(min: number, max: number): ValueType<number> {
  const words = `integer, ${min} to ${max}`;
  return {
    words,
    read(value, at, report) {
      if (typeof value !== 'bigint') return refuseType(value, at, report, words, mendForInteger(value));
      if (value >= BigInt(min) && value <= BigInt(max)) return Number(value);
      const mend = value < BigInt(min) ? `use ${min} or more` : `use ${max} or less`;
      report.add('value', at, `Out of range: ${value}`, words, mend);
      return undefined;
    },
  };
}

const SIZE = /^([0-9]+)\s*([KMG])i?B?$/i;
const BYTES_OF: Readonly<Record<string, number>> = { K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** People write "10MB" and "30s" out of habit from other servers. */
function mendForInteger(value: TomlValue): string {
  if (typeof value === 'number' && Number.isInteger(value)) return `write ${value}, without a fraction`;
  if (typeof value !== 'string') return '';
  if (/^[0-9]+$/.test(value)) return `write ${value}, without quotes`;
  const seconds = /^([0-9]+)\s*s(ec(onds?)?)?$/i.exec(value);
  if (seconds !== null) return `write ${seconds[1]}, without a unit (the key's name holds it)`;
  const size = SIZE.exec(value);
  if (size === null) return '';
  return `write ${Number(size[1]) * BYTES_OF[size[2].toUpperCase()]} (bytes)`;
}

/** A number with or without a fraction. */
export function number(min: number, max: number): ValueType<number> {
  const words = `number, ${min.toFixed(1)} to ${max.toFixed(1)}`;
  return {
    words,
    read(value, at, report) {
      if (typeof value !== 'number' && typeof value !== 'bigint') return refuseType(value, at, report, words);
      const found = Number(value);
      if (found >= min && found <= max) return found;
      report.add('value', at, `Out of range: ${value}`, words);
      return undefined;
    },
  };
}

/** One of a closed set of words, case-sensitive. */
export function word<const W extends string>(...known: readonly W[]): ValueType<W> {
  const words = `string: ${known.map((each) => `"${each}"`).join(', ')}`;
  return {
    words,
    read(value, at, report) {
      if (typeof value !== 'string') return refuseType(value, at, report, words);
      const found = known.find((each) => each === value);
      if (found !== undefined) return found;
      const near = nearestWord(value, known);
      const mend = isLikelySlip(value, near) ? `write "${near}"` : '';
      report.add('value', at, `Unknown value ${JSON.stringify(value)}`, words, mend);
      return undefined;
    },
  };
}

/** One integer of a closed set. */
export function oneOf<const W extends number>(...known: readonly W[]): ValueType<W> {
  const words = `integer: ${known.join(', ')}`;
  return {
    words,
    read(value, at, report) {
      if (typeof value !== 'bigint') return refuseType(value, at, report, words, mendForInteger(value));
      const found = known.find((each) => BigInt(each) === value);
      if (found === undefined) report.add('value', at, `Unknown value ${value}`, words);
      return found;
    },
  };
}

/** A string that `parse` turns into something, or complains about. `what` completes "string: …". */
export function parsed<T>(what: string, parse: (text: string) => T | Complaint): ValueType<T> {
  const words = `string: ${what}`;
  return {
    words,
    read(value, at, report) {
      if (typeof value !== 'string') return refuseType(value, at, report, words);
      const result = parse(value);
      if (!(result instanceof Complaint)) return result;
      report.add('value', at, `Invalid value ${JSON.stringify(value)}: ${result.why}`, words, result.mend);
      return undefined;
    },
  };
}

/** A string that is not empty and has no control characters. */
export function text(what: string): ValueType<string> {
  return parsed(what, plainText);
}

export function plainText(found: string): string | Complaint {
  if (found === '') return new Complaint('it is empty');
  if (/\p{Cc}/u.test(found)) return new Complaint('it holds a control character');
  return found;
}

/** An array of one type; all its elements are checked. */
export function listOf<T>(
  item: ValueType<T>,
  options: { readonly min?: number; readonly max: number; readonly whyNotEmpty?: string },
): ValueType<readonly T[]> {
  const words = `array of at most ${options.max}, each ${article(item.words)}`;
  return {
    words,
    read(value, at, report) {
      if (!Array.isArray(value)) {
        const mend = typeof value === 'string' ? `write [${JSON.stringify(value)}]` : '';
        return refuseType(value, at, report, words, mend);
      }
      if (value.length < (options.min ?? 0)) {
        report.add('value', at, 'The array is empty', words, options.whyNotEmpty ?? '');
        return undefined;
      }
      if (value.length > options.max) {
        report.add('value', at, `The array has ${value.length} elements`, words);
        return undefined;
      }
      const items = value.map((each, index) => item.read(each, [...at, index], report));
      return items.includes(undefined) ? undefined : (items as T[]);
    },
  };
}

/** One value or an array of them. */
export function oneOrMany<T>(item: ValueType<T>, max: number): ValueType<readonly T[]> {
  const many = listOf(item, { min: 1, max, whyNotEmpty: 'give one, or leave the key out' });
  const words = `${item.words}; or an array of these`;
  return {
    words,
    read(value, at, report) {
      if (Array.isArray(value)) return many.read(value, at, report);
      if (typeof value !== 'string') return refuseType(value, at, report, words);
      const one = item.read(value, at, report);
      return one === undefined ? undefined : [one];
    },
  };
}

/** A table whose keys and values are strings, as pairs in the file's order. */
export function pairs(
  words: string,
  max: number,
  check: (name: string, value: string, at: KeyPath, report: Report) => boolean,
): ValueType<readonly (readonly [string, string])[]> {
  return {
    words,
    read(value, at, report) {
      if (!isTable(value)) return refuseType(value, at, report, words);
      const entries = Object.entries(value);
      if (entries.length > max) {
        report.add('value', at, `The table has ${entries.length} entries`, `at most ${max}`);
        return undefined;
      }
      let isRight = true;
      const result: [string, string][] = [];
      for (const [name, each] of entries) {
        const here = [...at, name];
        if (typeof each !== 'string') {
          refuseType(each, here, report, 'string');
          isRight = false;
        } else if (!check(name, each, here, report)) isRight = false;
        else result.push([name, each]);
      }
      return isRight ? result : undefined;
    },
  };
}
