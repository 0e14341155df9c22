/** What building a configuration from a file's values needs beside the values themselves. */

import { resolve } from 'node:path';
import type { FileKind, Files, Reader } from './files.ts';
import type { KeyPath } from './key-path.ts';
import type { Report } from './problem.ts';

export class BuildContext {
  readonly report: Report;
  readonly files: Files;
  /** Who will open the files. */
  readonly reader: Reader;
  /** Folder that relative paths start from. */
  readonly baseDir: string;

  constructor(report: Report, files: Files, reader: Reader, baseDir: string) {
    this.report = report;
    this.files = files;
    this.reader = reader;
    this.baseDir = baseDir;
  }

  absolute(path: string): string {
    return resolve(this.baseDir, path);
  }

  /** The absolute path of a file that must exist; `what` begins the message: `TLS certificate file`. */
  existingFile(path: string, what: string, at: KeyPath): string {
    const absolute = this.absolute(path);
    const kind = this.files.kindOf(absolute);
    if (kind === 'missing' || kind === 'hidden') this.refuseMissing(path, what, at, kind);
    else if (kind !== 'file') this.report.add('not-found', at, `${what} is not a file: ${path}`, 'a file');
    return absolute;
  }

  refuseMissing(path: string, what: string, at: KeyPath, kind: FileKind): void {
    const absolute = this.absolute(path);
    const looked = absolute === path.replace(/(?<=.)\/+$/, '') ? '' : `looked for ${absolute}; `;
    const mend =
      kind === 'hidden'
        ? `a folder on the way is closed to this user (${this.reader.name}): open it, or start as another user`
        : `${looked}create it, or correct the path`;
    this.report.add('not-found', at, `${what} not found: ${path}`, '', mend);
  }

  /** Warns where the edge's user will not be able to open what is there. */
  warnUnreachable(path: string, kind: FileKind, at: KeyPath): void {
    const absolute = this.absolute(path);
    if (this.files.isReachable(absolute, kind, this.reader)) return;
    const what = kind === 'socket' ? 'connect to the socket' : `read the ${kind}`;
    const mend = this.reader.hasOwnRoot
      ? `permit it, on the ${kind} itself${kind === 'socket' ? ' and its folder' : ''}`
      : 'permit it, on the path itself and on all folders above it';
    this.report.warn(at, `The edge’s user (${this.reader.name}) may not ${what} ${path}`, mend);
  }
}
