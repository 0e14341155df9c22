/**
 * Where lines go: standard error, or a file that is rotated by size and reopened on request. Everything is
 * asynchronous and one call at a time, the caller's matter; failures are values (a text), never thrown.
 */

import { closeSync, fstatSync, openSync, renameSync, write, writeSync } from 'node:fs';

/** Older files that are kept beside the current one: `.1` is the youngest. Our own choice. */
export const ROTATED_FILES = 5;

/** Readable by the group (log collectors), by nobody else. */
const FILE_MODE = 0o640;
const STDERR = 2;
const NEWLINE = 0x0a;
/** A standard error that is a full, non-blocking pipe is asked again this often, this many times. */
const RETRY_MS = 20;
const RETRIES_MAX = 50;

export class LogFile {
  /** Null: standard error. */
  readonly path: string | null;
  /** Why the file could not be rotated or reopened, until it could: lines go on into the old one. Empty: nothing is wrong. */
  problem: string;
  private readonly maxBytes: number;
  private descriptor: number;
  private size: number;
  private isRegular: boolean;
  private reopenWanted: boolean;

  /** Opens the file for appending; throws what the operating system says. `maxBytes` 0: never rotated. */
  constructor(path: string | null, maxBytes: number) {
    this.path = path;
    this.problem = '';
    this.maxBytes = maxBytes;
    this.descriptor = STDERR;
    this.size = 0;
    this.isRegular = false;
    this.reopenWanted = false;
    if (path !== null) this.open(path);
  }

  private open(path: string): void {
    const descriptor = openSync(path, 'a', FILE_MODE);
    const stat = fstatSync(descriptor);
    this.descriptor = descriptor;
    this.size = stat.size;
    this.isRegular = stat.isFile();
  }

  /** The next write goes to a file newly opened under the same path (it was moved away by somebody else). */
  reopen(): void {
    this.reopenWanted = this.path !== null;
  }

  /**
   * Appends whole lines, rotating between two of them where the file would become too large. Returns the
   * empty string, or what went wrong, after which none or some of the lines are written.
   */
  async write(lines: Uint8Array): Promise<string> {
    try {
      if (this.reopenWanted && this.path !== null) this.tryReplace(this.path);
      for (let at = 0; at < lines.length; ) {
        const end = this.fittingEnd(lines, at);
        if (end === at) {
          this.rotate();
          continue;
        }
        await this.append(lines.subarray(at, end));
        this.size += end - at;
        at = end;
      }
      return '';
    } catch (error) {
      return describeError(error);
    }
  }

  /** The same at the process's end, when nothing asynchronous comes back any more. Without rotation. */
  writeSync(lines: Uint8Array): string {
    try {
      for (let at = 0; at < lines.length; ) at += writeSync(this.descriptor, lines, at, lines.length - at);
      return '';
    } catch (error) {
      return describeError(error);
    }
  }

  close(): void {
    if (this.descriptor !== STDERR) closeSync(this.descriptor);
    this.descriptor = STDERR;
    this.reopenWanted = false;
  }

  /** How far the current file takes the lines from `at`: to the end of a line, or nowhere (`at`). */
  private fittingEnd(lines: Uint8Array, at: number): number {
    const room = this.maxBytes - this.size;
    if (!this.isRegular || this.maxBytes === 0 || lines.length - at <= room) return lines.length;
    const end = room > 0 ? lines.lastIndexOf(NEWLINE, at + room - 1) + 1 : at;
    if (end > at) return end;
    // One line may be longer than a whole file: then it has one to itself.
    return this.size > 0 ? at : lines.indexOf(NEWLINE, at) + 1;
  }

  /** The current file becomes `.1`, that `.2`, and so on; the oldest is overwritten. */
  private rotate(): void {
    const path = this.path;
    if (path === null) return;
    try {
      for (let number = ROTATED_FILES - 1; number >= 1; number--) {
        moveIfThere(`${path}.${number}`, `${path}.${number + 1}`);
      }
      moveIfThere(path, `${path}.1`);
      this.tryReplace(path);
    } catch (error) {
      this.problem = describeError(error);
    }
    // Where it failed, going on with the old file for as long again beats trying at each line.
    if (this.size >= this.maxBytes || this.problem !== '') this.size = 0;
  }

  /** Opens the path anew; the old file is kept, and opening tried again at the next write, where that fails. */
  private tryReplace(path: string): void {
    const old = this.descriptor;
    try {
      this.open(path);
    } catch (error) {
      this.problem = describeError(error);
      this.reopenWanted = true;
      return;
    }
    this.problem = '';
    this.reopenWanted = false;
    if (old !== STDERR) closeSync(old);
  }

  private async append(bytes: Uint8Array): Promise<void> {
    let retries = 0;
    for (let at = 0; at < bytes.length; ) {
      const written = await writeSome(this.descriptor, bytes, at);
      at += written;
      if (written > 0) continue;
      if (++retries > RETRIES_MAX) throw new Error('EAGAIN: nobody reads standard error');
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** Bytes written; 0 when the descriptor is full at the moment. */
function writeSome(descriptor: number, bytes: Uint8Array, at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(descriptor, bytes, at, bytes.length - at, null, (error, written) => {
      if (error === null || error === undefined) resolve(written);
      else if (error.code === 'EAGAIN') resolve(0);
      else reject(error);
    });
  });
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
