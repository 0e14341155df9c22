/** What the file system says about the paths that a configuration names. Reads metadata only, never content. */

import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

export type FileKind =
  | 'file'
  | 'directory'
  | 'socket'
  /** A device, a pipe. */
  | 'other'
  | 'missing'
  /** There may be something, but it can't be looked at. */
  | 'hidden';

/** The user that will open what is named here: the edge's. */
export interface Reader {
  readonly name: string;
  readonly uid: number;
  readonly gids: readonly number[];
}

export interface Files {
  kindOf(path: string): FileKind;
  /** Whether the reader may read a file, list a directory's files by name, or connect to a socket. */
  isReachable(path: string, kind: FileKind, reader: Reader): boolean;
}

export const systemFiles: Files = {
  kindOf(path) {
    try {
      const stat = statSync(path);
      if (stat.isFile()) return 'file';
      if (stat.isDirectory()) return 'directory';
      return stat.isSocket() ? 'socket' : 'other';
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      return code === 'EACCES' || code === 'EPERM' ? 'hidden' : 'missing';
    }
  },

  isReachable(path, kind, reader) {
    const want = kind === 'socket' ? constants.W_OK : constants.R_OK;
    if (reader.uid === process.getuid?.())
      return isAccessible(path, kind === 'directory' ? want | constants.X_OK : want);
    if (reader.uid === 0) return true;
    for (let at = dirname(path); ; at = dirname(at)) {
      if (!isPermitted(at, constants.X_OK, reader)) return false;
      if (at === dirname(at)) break;
    }
    return isPermitted(path, kind === 'directory' ? want | constants.X_OK : want, reader);
  },
};

function isAccessible(path: string, want: number): boolean {
  try {
    accessSync(path, want);
    return true;
  } catch {
    return false;
  }
}

/** By permission bits alone: what access lists add or take is not seen, so this may only ever warn. */
function isPermitted(path: string, want: number, reader: Reader): boolean {
  try {
    const stat = statSync(path);
    let shift = 0;
    if (stat.uid === reader.uid) shift = 6;
    else if (reader.gids.includes(stat.gid)) shift = 3;
    return ((stat.mode >> shift) & want) === want;
  } catch {
    return false;
  }
}

/** This process's own user. */
export function currentReader(): Reader {
  const uid = process.getuid?.() ?? 0;
  return { name: `uid ${uid}`, uid, gids: process.getgroups?.() ?? [] };
}

/** A user of /etc/passwd with its groups, or null. Users that a directory service adds are not found. */
export function findReader(user: string, group: string | null): Reader | null {
  const line = lineOf('/etc/passwd', user);
  if (line === null) return null;
  const gids = [Number(line[3])];
  if (group !== null) {
    const groupLine = lineOf('/etc/group', group);
    if (groupLine === null) return null;
    gids[0] = Number(groupLine[2]);
  }
  return { name: user, uid: Number(line[2]), gids };
}

/** The colon-separated parts of the line of `name`. */
function lineOf(path: string, name: string): string[] | null {
  try {
    const line = readFileSync(path, 'utf8')
      .split('\n')
      .find((each) => each.startsWith(`${name}:`));
    return line === undefined ? null : line.split(':');
  } catch {
    return null;
  }
}
