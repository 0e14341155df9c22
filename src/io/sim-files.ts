/**
 * The file system of a simulated network: directories, regular files, symbolic links and fifos in memory.
 * Names are resolved as openat2 with RESOLVE_BENEATH resolves them. An open file keeps its inode when its
 * name is given to another, and sees every change to the inode, as in a kernel.
 */

import { constants } from 'node:os';
import { assert } from '../base/assert.ts';

const { EXDEV, ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG } = constants.errno;

export const INODE_REGULAR = 1;
export const INODE_DIRECTORY = 2;
export const INODE_SYMLINK = 3;
export const INODE_FIFO = 4;

/** Symbolic links followed in one resolution (MAXSYMLINKS), and bytes of one name (NAME_MAX). */
const SYMLINKS_MAX = 40;
const NAME_BYTES_MAX = 255;

export class SimInode {
  readonly kind: number;
  readonly number: number;
  /** Content of a regular file. */
  bytes: Uint8Array;
  /** Of a directory; names are bytes as Latin-1. */
  readonly entries: Map<string, SimInode>;
  /** Of a symbolic link. */
  readonly target: string;
  modifiedMs: number;
  readable: boolean;

  constructor(kind: number, number: number, target: string, modifiedMs: number) {
    this.kind = kind;
    this.number = number;
    this.bytes = new Uint8Array(0);
    this.entries = new Map();
    this.target = target;
    this.modifiedMs = modifiedMs;
    this.readable = true;
  }
}

export class SimFileSystem {
  private readonly top: SimInode;
  private inodes: number;

  constructor() {
    this.inodes = 1;
    this.top = new SimInode(INODE_DIRECTORY, 1, '', 0);
  }

  /** Makes a directory and those above it. Paths are absolute. */
  makeDirectory(path: string): SimInode {
    let at = this.top;
    for (const name of namesOf(path)) {
      let next = at.entries.get(name);
      if (next === undefined) {
        next = this.create(INODE_DIRECTORY, '', 0);
        at.entries.set(name, next);
      }
      assert(next.kind === INODE_DIRECTORY, `${path}: not a directory`);
      at = next;
    }
    return at;
  }

  /** A new regular file under this name; one that was there before loses its name, not its content. */
  writeFile(path: string, bytes: Uint8Array, modifiedMs: number): SimInode {
    const inode = this.place(path, INODE_REGULAR, '', modifiedMs);
    inode.bytes = bytes;
    return inode;
  }

  makeSymlink(path: string, target: string): void {
    this.place(path, INODE_SYMLINK, latin1Of(target), 0);
  }

  makeFifo(path: string): void {
    this.place(path, INODE_FIFO, '', 0);
  }

  /** Cuts or (with zeros) lengthens a file in place. */
  truncate(path: string, length: number, modifiedMs: number): void {
    const inode = this.lookUp(path);
    const bytes = new Uint8Array(length);
    bytes.set(inode.bytes.subarray(0, length));
    inode.bytes = bytes;
    inode.modifiedMs = modifiedMs;
  }

  /** Gives a file other content in place. */
  overwrite(path: string, bytes: Uint8Array, modifiedMs: number): void {
    const inode = this.lookUp(path);
    inode.bytes = bytes;
    inode.modifiedMs = modifiedMs;
  }

  setReadable(path: string, readable: boolean): void {
    this.lookUp(path).readable = readable;
  }

  remove(path: string): void {
    const names = namesOf(path);
    const name = names.pop() ?? '';
    const directory = this.resolve(this.top, names.join('/'), false);
    assert(typeof directory !== 'number', `${path}: no such directory`);
    directory.entries.delete(name);
  }

  /** The inode at an absolute path, or -errno. */
  open(path: string): SimInode | number {
    return this.resolve(this.top, latin1Of(path).replace(/^\/+/, ''), false);
  }

  /** The inode at a relative path (bytes as Latin-1) beneath a directory, or -errno. */
  openBeneath(root: SimInode, path: string): SimInode | number {
    return this.resolve(root, path, true);
  }

  private lookUp(path: string): SimInode {
    const inode = this.open(path);
    assert(typeof inode !== 'number', `${path}: no such file`);
    return inode;
  }

  private create(kind: number, target: string, modifiedMs: number): SimInode {
    return new SimInode(kind, ++this.inodes, target, modifiedMs);
  }

  private place(path: string, kind: number, target: string, modifiedMs: number): SimInode {
    const names = namesOf(path);
    const name = names.pop();
    assert(name !== undefined, 'a file needs a name');
    const directory = this.makeDirectory(`/${names.map(utf8Of).join('/')}`);
    const inode = this.create(kind, target, modifiedMs);
    directory.entries.set(name, inode);
    return inode;
  }

  private resolve(start: SimInode, path: string, beneath: boolean): SimInode | number {
    if (beneath && path.startsWith('/')) return -EXDEV;
    const trail: SimInode[] = [start];
    const names = path.split('/').reverse();
    let links = 0;
    while (names.length > 0) {
      const at = trail[trail.length - 1];
      const name = names.pop() ?? '';
      // An empty name is the root itself, a doubled slash or a trailing one: only a directory bears it.
      if (at.kind !== INODE_DIRECTORY) return -ENOTDIR;
      if (name === '' || name === '.') continue;
      if (name.length > NAME_BYTES_MAX) return -ENAMETOOLONG;
      if (name === '..') {
        if (trail.length > 1) trail.pop();
        else if (beneath) return -EXDEV;
        continue;
      }
      const next = at.entries.get(name);
      if (next === undefined) return -ENOENT;
      if (next.kind !== INODE_SYMLINK) {
        trail.push(next);
        continue;
      }
      if (++links > SYMLINKS_MAX) return -ELOOP;
      if (next.target.startsWith('/')) {
        if (beneath) return -EXDEV;
        trail.length = 1;
      }
      names.push(...next.target.split('/').reverse());
    }
    return trail[trail.length - 1];
  }
}

function latin1Of(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

function utf8Of(text: string): string {
  return Buffer.from(text, 'latin1').toString('utf8');
}

function namesOf(path: string): string[] {
  return latin1Of(path)
    .split('/')
    .filter((name) => name !== '');
}
