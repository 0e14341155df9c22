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
  /** This process's own user, with all that it may do: it is asked rather than permission bits. */
  readonly isThisProcess: boolean;
  /**
   * It has a root of its own, in which what is named stands under folders that everybody may pass: those outside don't
   * matter. A socket stands there in the folder that holds it.
   */
  readonly hasOwnRoot: boolean;
}

/** Who the edge is on this machine where the configuration names nobody. */
export interface EdgeUser {
  /** User and group; -1: who this process is. */
  readonly uid: number;
  /** It can have a root of its own, unless the configuration says otherwise. */
  readonly canHaveOwnRoot: boolean;
}

/** One who stays who this process is, and sees what it sees. */
export const SAME_USER: EdgeUser = { uid: -1, canHaveOwnRoot: false };

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
    const wanted = kind === 'directory' ? want | constants.X_OK : want;
    if (reader.isThisProcess) return isAccessible(path, wanted);
    return isPassable(path, kind, reader) && isPermitted(path, wanted, reader);
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

/** Whether the reader may pass the folders that stand above a path where it sees it. */
function isPassable(path: string, kind: FileKind, reader: Reader): boolean {
  if (reader.hasOwnRoot) return kind !== 'socket' || isPermitted(dirname(path), constants.X_OK, reader);
  for (let at = dirname(path); ; at = dirname(at)) {
    if (!isPermitted(at, constants.X_OK, reader)) return false;
    if (at === dirname(at)) return true;
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
  return {
    name: `uid ${uid}`,
    uid,
    gids: process.getgroups?.() ?? [],
    isThisProcess: true,
    hasOwnRoot: false,
  };
}

/** Who the edge is where the configuration names nobody; `hasOwnRoot` where it leaves the machine its way. */
export function readerOf(user: EdgeUser, leavesRoot: boolean): Reader {
  const { uid, canHaveOwnRoot } = user;
  if (uid < 0) return currentReader();
  const hasOwnRoot = canHaveOwnRoot && leavesRoot;
  return { name: `uid ${uid}`, uid, gids: [uid], isThisProcess: false, hasOwnRoot };
}

/** A user of /etc/passwd with its group, or null. Users that a directory service adds are not found. */
export function findReader(user: string, group: string | null, hasOwnRoot = false): Reader | null {
  const line = lineOf('/etc/passwd', user);
  if (line === null) return null;
  const gids = [Number(line[3])];
  if (group !== null) {
    const groupLine = lineOf('/etc/group', group);
    if (groupLine === null) return null;
    gids[0] = Number(groupLine[2]);
  }
  const uid = Number(line[2]);
  // Who is root already keeps what root may do only by being owner of everything: capabilities are dropped.
  const isThisProcess = uid !== 0 && uid === process.getuid?.();
  return { name: user, uid, gids, isThisProcess, hasOwnRoot };
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
