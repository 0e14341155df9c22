/**
 * Lines of keys: the TOML parser tells values, not where they stood. This walks a text that is known to be
 * valid TOML and notes the line of every table header, key and array element. Only messages depend on it.
 */

import { formatKeyPath, type KeyPath } from './key-path.ts';

/** Nesting of arrays and inline tables; the parser has refused deeper ones. */
const DEPTH_MAX = 64;

const BARE_KEY = /[A-Za-z0-9_-]+/y;
const SCALAR = /[^,\]}\s#]+(?: [0-9][^,\]}\s#]*)?/y;

/** Key paths as text, each with its line (from 1). */
export function locateKeys(text: string): ReadonlyMap<string, number> {
  return new KeyLocator(text).locate();
}

class KeyLocator {
  private readonly text: string;
  private readonly lines = new Map<string, number>();
  /** Elements so far of each array of tables, by its path. */
  private readonly counts = new Map<string, number>();
  private at = 0;
  private line = 1;
  /** `line` is that of this position. */
  private lineAt = 0;

  constructor(text: string) {
    this.text = text;
  }

  locate(): ReadonlyMap<string, number> {
    let table: KeyPath = [];
    for (;;) {
      this.skipBlank(true);
      if (this.at >= this.text.length) return this.lines;
      const start = this.at;
      if (this.text[this.at] === '[') table = this.header();
      else this.pair(table, 0);
      // Valid TOML always moves on; anything else ends here, with fewer lines known.
      if (this.at === start) return this.lines;
    }
  }

  /** `[a.b]` or `[[a.b]]`; the path of the table, with the index of the element of each array of tables. */
  private header(): KeyPath {
    const line = this.currentLine();
    const isArray = this.text.startsWith('[[', this.at);
    this.at += isArray ? 2 : 1;
    const steps = this.dottedKey();
    this.at += isArray ? 2 : 1;
    const path: (string | number)[] = [];
    for (const [index, step] of steps.entries()) {
      path.push(step);
      const name = formatKeyPath(path);
      this.note(name, line);
      if (isArray && index === steps.length - 1) this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
      const count = this.counts.get(name);
      if (count !== undefined) path.push(count - 1);
    }
    this.note(formatKeyPath(path), line);
    return path;
  }

  private pair(table: KeyPath, depth: number): void {
    const line = this.currentLine();
    const path = [...table];
    for (const step of this.dottedKey()) {
      path.push(step);
      this.note(formatKeyPath(path), line);
    }
    this.skipBlank(false);
    if (this.text[this.at] === '=') this.at++;
    this.skipBlank(false);
    this.value(path, depth);
  }

  private dottedKey(): string[] {
    const steps: string[] = [];
    for (;;) {
      this.skipBlank(false);
      steps.push(this.simpleKey());
      this.skipBlank(false);
      if (this.text[this.at] !== '.') return steps;
      this.at++;
    }
  }

  private simpleKey(): string {
    const quote = this.text[this.at];
    if (quote === "'") return this.string().slice(1, -1);
    if (quote === '"') return decodeBasic(this.string());
    return this.take(BARE_KEY);
  }

  private value(path: KeyPath, depth: number): void {
    const first = this.text[this.at];
    if (first === '[' && depth < DEPTH_MAX) this.array(path, depth);
    else if (first === '{' && depth < DEPTH_MAX) this.inlineTable(path, depth);
    else if (first === '"' || first === "'") this.string();
    else this.take(SCALAR);
  }

  private array(path: KeyPath, depth: number): void {
    this.at++;
    for (let index = 0; ; index++) {
      this.skipBlank(true);
      if (this.at >= this.text.length || this.text[this.at] === ']') break;
      const element = [...path, index];
      this.note(formatKeyPath(element), this.currentLine());
      const start = this.at;
      this.value(element, depth + 1);
      this.skipBlank(true);
      if (this.text[this.at] === ',') this.at++;
      if (this.at === start) return;
    }
    this.at++;
  }

  private inlineTable(path: KeyPath, depth: number): void {
    this.at++;
    for (;;) {
      this.skipBlank(true);
      if (this.at >= this.text.length || this.text[this.at] === '}') break;
      const start = this.at;
      this.pair(path, depth + 1);
      this.skipBlank(true);
      if (this.text[this.at] === ',') this.at++;
      if (this.at === start) return;
    }
    this.at++;
  }

  /** Passes over a string of any kind; returns it with its quotes. */
  private string(): string {
    const start = this.at;
    const quote = this.text[start];
    const long = quote.repeat(3);
    const isLong = this.text.startsWith(long, start);
    const end = isLong ? long : quote;
    this.at += end.length;
    while (this.at < this.text.length && !this.text.startsWith(end, this.at)) {
      this.at += quote === '"' && this.text[this.at] === '\\' ? 2 : 1;
    }
    this.at += end.length;
    // Up to two quotes before the three that end a long string are part of it.
    while (isLong && this.text[this.at] === quote) this.at++;
    return this.text.slice(start, this.at);
  }

  /** Passes over spaces and tabs; with `lines` also over line ends and comments. */
  private skipBlank(lines: boolean): void {
    for (; ; this.at++) {
      const char = this.text[this.at];
      if (char === ' ' || char === '\t') continue;
      if (!lines) return;
      if (char === '#') while (this.at + 1 < this.text.length && this.text[this.at + 1] !== '\n') this.at++;
      else if (char !== '\n' && char !== '\r') return;
    }
  }

  /** What the pattern matches here, which is passed over; empty where it doesn't. */
  private take(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? '';
    this.at += found.length;
    return found;
  }

  private note(path: string, line: number): void {
    if (!this.lines.has(path)) this.lines.set(path, line);
  }

  private currentLine(): number {
    for (; this.lineAt < this.at; this.lineAt++) if (this.text[this.lineAt] === '\n') this.line++;
    return this.line;
  }
}

/** A quoted key without its escapes; as it stands where JSON doesn't know one of them. */
function decodeBasic(quoted: string): string {
  const asJson = quoted.replace(/\\(U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2}|e)/g, (_, letters: string) => {
    const code = letters === 'e' ? 0x1b : Number.parseInt(letters.slice(1), 16);
    return JSON.stringify(String.fromCodePoint(code)).slice(1, -1);
  });
  try {
    return JSON.parse(asJson) as string;
  } catch {
    return quoted.slice(1, -1);
  }
}
