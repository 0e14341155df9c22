/** Where the commands write, so that tests can read it. */

export interface Terminal {
  /** Adds a line end. */
  out(text: string): void;
  /** Adds a line end. */
  err(text: string): void;
  /** Characters of a line of standard output. */
  readonly columns: number;
}

/** Readable on paper too. */
const COLUMNS_DEFAULT = 100;
const COLUMNS_MAX = 120;

export function processTerminal(): Terminal {
  return {
    out: (text) => void process.stdout.write(`${text}\n`),
    err: (text) => void process.stderr.write(`${text}\n`),
    columns: Math.min(process.stdout.columns ?? COLUMNS_DEFAULT, COLUMNS_MAX),
  };
}

/** The text in indented lines of at most `columns` characters, all but the first indented further. A longer word stands alone. */
export function wrap(text: string, columns: number, indent: string): string {
  const lines: string[] = [];
  let line = indent;
  let isEmpty = true;
  for (const word of text.split(' ')) {
    if (!isEmpty && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = `${indent}    `;
      isEmpty = true;
    }
    line += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  lines.push(line);
  return lines.join('\n');
}
