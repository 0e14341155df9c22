/**
 * The log's file: the master opens it, since the journal's room may open nothing, and passes it on. It writes nothing
 * there itself. `.1` is the youngest of the older files that are kept beside it.
 */

import { closeSync, constants, fstatSync, openSync, renameSync, type Stats, statSync } from 'node:fs';
import { LOG_BYTES_MAX, type Message } from '../ipc/message.ts';
import { duplicateDescriptor } from '../sys/descriptors.ts';
import { errnoName } from '../sys/errno.ts';

/** Older files that are kept. Our own choice. */
export const ROTATED_FILES = 5;

/** Readable by the group (log collectors), by nobody else. */
const FILE_MODE = 0o640;
/** Whoever opens a pipe without a reader, or a terminal, must neither wait nor get one of its own. */
const OPEN_FLAGS =
  constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK | constants.O_NOCTTY;
const STDERR = 2;

/** What `[logging]` says of it. */
export interface LogPlace {
  readonly level: string;
  /** Null: standard error. */
  readonly filePath: string | null;
  /** Bytes; 0: no rotation. */
  readonly maxLogSize: number;
}

/** The journal's room, or the channel to it while it starts. */
export interface JournalEnd {
  send(message: Message, descriptors?: readonly number[]): boolean;
  handOver(message: Message, descriptors: readonly number[]): boolean;
}

export class LogFiles {
  /** Null: standard error. */
  private path: string | null;
  private maxLogSize: number;
  private descriptor: number;

  /** Opens the file; throws what the operating system says. */
  constructor(place: LogPlace) {
    this.path = pathOf(place);
    this.maxLogSize = place.maxLogSize;
    this.descriptor = openLog(this.path);
  }

  /** Gives a journal the log; it stays open here. Returns empty text, or why that can't be done. */
  giveTo(journal: JournalEnd): string {
    const copy = duplicateDescriptor(this.descriptor);
    if (copy < 0) return errnoName(copy);
    const stat = fstatSync(this.descriptor);
    const isFile = stat.isFile();
    const rotates = this.path !== null && isFile;
    journal.handOver({ kind: 'log-file', bytes: isFile ? stat.size : 0, rotates }, [copy]);
    return '';
  }

  /** Does from now on what another `[logging]` says; throws what the operating system says, and it stays as it was. */
  follow(place: LogPlace): void {
    const path = pathOf(place);
    if (path !== this.path) this.replace(path);
    this.maxLogSize = place.maxLogSize;
  }

  /** Opens the path anew, for whoever moved the file away. Returns empty text, or why it stays as it was. */
  reopen(): string {
    return reasonOf(() => this.replace(this.path));
  }

  /**
   * The current file becomes `.1`, that `.2`, and so on; the oldest is overwritten, and there is a new one. Returns empty
   * text, or why not. A file with room for whatever comes next is left alone: a journal that was taken over could
   * otherwise make older entries disappear. So are the files where another master, which has taken this one's place, has
   * moved them already: this one follows.
   */
  rotate(): string {
    const { path, maxLogSize } = this;
    const stat = fstatSync(this.descriptor);
    const isFull = maxLogSize > 0 && stat.size + LOG_BYTES_MAX > maxLogSize;
    if (path === null || !stat.isFile() || !isFull) return '';
    return reasonOf(() => {
      if (!leadsTo(path, stat)) {
        this.replace(path);
        return;
      }
      for (let number = ROTATED_FILES - 1; number >= 1; number--)
        moveIfThere(`${path}.${number}`, `${path}.${number + 1}`);
      moveIfThere(path, `${path}.1`);
      this.replace(path);
    });
  }

  close(): void {
    if (this.descriptor !== STDERR) closeSync(this.descriptor);
    this.descriptor = STDERR;
  }

  private replace(path: string | null): void {
    const descriptor = openLog(path);
    this.close();
    this.descriptor = descriptor;
    this.path = path;
  }
}

function openLog(path: string | null): number {
  return path === null ? STDERR : openSync(path, OPEN_FLAGS, FILE_MODE);
}

/** Whether that file is at the path, and not another one. */
function leadsTo(path: string, { dev, ino }: Stats): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.dev === dev && found.ino === ino;
}

function pathOf({ level, filePath }: LogPlace): string | null {
  return level === 'off' ? null : filePath;
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Why that can't be done, or empty text. */
function reasonOf(change: () => void): string {
  try {
    change();
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
