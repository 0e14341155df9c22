/** Files: openat2, statx, reads that never wait for a disk, sendfile; their structures and constants. */

import { EACCES } from './errno.ts';
import { close, negated, open, openat2, preadv2, sendfile, statx } from './libc.ts';
import { mapPrivate } from './memory.ts';

const SYS_openat2 = 437;
const O_NOCTTY = 0o400;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
/** O_DIRECTORY is one of the few flags that differ between architectures. */
const O_DIRECTORY = process.arch === 'arm64' ? 0o40000 : 0o200000;
const O_PATH = 0o10000000;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_BENEATH = 0x08;
/** Only what the kernel has in its caches; -EAGAIN where it would have to wait. Linux 5.12. */
const RESOLVE_CACHED = 0x20;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
/** Don't wait for a disk; -EAGAIN instead. */
const RWF_NOWAIT = 0x08;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;

/** struct open_how: flags, mode and resolve, u64 each. */
export const OPEN_HOW_BYTES = 24;

// One page for arguments: calls are synchronous, so that each may use it anew.
const scratch = mapPrivate(8192);
const HOW_CACHED = 0;
const HOW_WAITING = 32;
const DOT = 64;
const NOTHING = 66;
const IOVEC = 80;
const FILE_OFFSET = 96;
const STATX = 256;
const PATH = 4096;

const READ_FLAGS = O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
writeHow(HOW_CACHED, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED);
writeHow(HOW_WAITING, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
scratch.bytes[DOT] = '.'.charCodeAt(0);

/** Addresses of an `open_how` that may wait, of the path `.`, for asynchronous opens. */
export const HOW_WAITING_ADDRESS = scratch.address + HOW_WAITING;
export const DOT_ADDRESS = scratch.address + DOT;

function writeHow(offset: number, resolve: number): void {
  scratch.view.setUint32(offset, READ_FLAGS, true);
  scratch.view.setUint32(offset + 16, resolve, true);
}

/** Opens a directory as a place to start from, no more. Returns a descriptor or -errno. Set-up only. */
export function openDirectory(path: string): number {
  const encoded = Buffer.from(`${path}\0`, 'utf8');
  if (encoded.length > 4096 || encoded.indexOf(0) !== encoded.length - 1) return -EACCES;
  scratch.bytes.set(encoded, PATH);
  return negated(open(scratch.address + PATH, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
}

/** Opens beneath `root` for reading without waiting. Returns a descriptor or -errno; -EAGAIN: ask again where waiting is allowed. */
export function openBeneathCached(root: number, pathAddress: number): number {
  return negated(openat2(SYS_openat2, root, pathAddress, scratch.address + HOW_CACHED, OPEN_HOW_BYTES));
}

/** The same, and waits for the disk. */
export function openBeneath(root: number, pathAddress: number): number {
  return negated(openat2(SYS_openat2, root, pathAddress, HOW_WAITING_ADDRESS, OPEN_HOW_BYTES));
}

/** Whether openat2 can be called here at all: some filters forbid it, since they can't see its flags. Set-up only. */
export function canOpenBeneath(): boolean {
  const root = openDirectory('/');
  if (root < 0) return false;
  const fd = openBeneath(root, DOT_ADDRESS);
  close(root);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

/** What `statDescriptor` found. One object, overwritten by each call. */
export const stat = { regular: false, directory: false, size: 0, inode: 0, modifiedMs: 0 };

/** Fills `stat`. Returns 0 or -errno. */
export function statDescriptor(fd: number): number {
  const result = negated(
    statx(fd, scratch.address + NOTHING, AT_EMPTY_PATH, STATX_BASIC_STATS, scratch.address + STATX),
  );
  if (result < 0) return result;
  const { view } = scratch;
  const format = view.getUint16(STATX + 28, true) & S_IFMT;
  stat.regular = format === S_IFREG;
  stat.directory = format === S_IFDIR;
  stat.inode = wordPair(STATX + 32);
  stat.size = wordPair(STATX + 40);
  // Before 1970 the seconds are negative.
  const seconds = view.getInt32(STATX + 116, true) * 0x100000000 + view.getUint32(STATX + 112, true);
  stat.modifiedMs = seconds * 1000 + view.getUint32(STATX + 120, true) / 1e6;
  return 0;
}

function wordPair(offset: number): number {
  return scratch.view.getUint32(offset + 4, true) * 0x100000000 + scratch.view.getUint32(offset, true);
}

/** Reads what the page cache has. Returns bytes, 0 at the end, or -errno; -EAGAIN: the disk would have to be waited for. */
export function readCached(fd: number, fileOffset: number, address: number, length: number): number {
  const words = scratch.words;
  words[IOVEC >> 2] = address | 0;
  words[(IOVEC >> 2) + 1] = Math.floor(address / 0x100000000);
  words[(IOVEC >> 2) + 2] = length;
  words[(IOVEC >> 2) + 3] = 0;
  return negated(preadv2(fd, scratch.address + IOVEC, 1, fileOffset, RWF_NOWAIT));
}

/** sendfile(2) from `fileOffset`. Returns bytes, 0 at the file's end, or -errno. */
export function sendFromFile(socket: number, file: number, fileOffset: number, length: number): number {
  const words = scratch.words;
  words[FILE_OFFSET >> 2] = fileOffset | 0;
  words[(FILE_OFFSET >> 2) + 1] = Math.floor(fileOffset / 0x100000000);
  return negated(sendfile(socket, file, scratch.address + FILE_OFFSET, length));
}

export function closeDescriptor(fd: number): void {
  close(fd);
}
