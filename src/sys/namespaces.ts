/**
 * Namespaces (namespaces(7)) and a root of one's own: what a process sees at all. They come before privileges are
 * given up. All return 0 or -errno unless they say otherwise.
 *
 * The calling thread of a Node.js process can leave the namespaces of mounts, host name, IPC, network and cgroups, and
 * execve keeps the new ones. A namespace for process ids holds only for children (`startInPidNamespace`), one for users
 * can't be made by a process that has threads (EINVAL).
 */

import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { negated } from './libc.ts';
import { mount, pivot_root, sethostname, setns, syscall4, umount2, unshare } from './process-calls.ts';

export type Namespace = 'mount' | 'uts' | 'ipc' | 'net' | 'cgroup';

const CLONE_FLAGS: Readonly<Record<Namespace, number>> = {
  mount: 0x00020000,
  uts: 0x04000000,
  ipc: 0x08000000,
  net: 0x40000000,
  cgroup: 0x02000000,
};
const CLONE_NEWPID = 0x20000000;

const SYS_pidfd_open = 434;
const SYS_pivot_root = process.arch === 'arm64' ? 41 : 155;
const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const MS_REMOUNT = 32;
const MS_BIND = 4096;
const MS_REC = 16384;
const MS_PRIVATE = 1 << 18;
const MNT_DETACH = 2;

/** What a private root consists of; paths are absolute, `source` outside, `target` inside. */
export type RootEntry =
  | { readonly kind: 'bind'; readonly source: string; readonly target: string; readonly isWritable: boolean }
  /** A symbolic link, as merged /usr has them. */
  | { readonly kind: 'link'; readonly target: string; readonly to: string }
  | { readonly kind: 'tmpfs'; readonly target: string; readonly mebibytes: number }
  /** Processes of the own PID namespace, and of others only what belongs to the own user; nothing of the machine. */
  | { readonly kind: 'proc'; readonly target: string };

/** The first thing that could not be done, and why. */
export interface RootFailure {
  readonly errno: number;
  readonly what: string;
}

export function leaveNamespaces(namespaces: readonly Namespace[]): number {
  let flags = 0;
  for (const namespace of namespaces) flags |= CLONE_FLAGS[namespace];
  return flags === 0 ? 0 : negated(unshare(flags));
}

export function setHostName(name: string): number {
  return negated(sethostname(name, Buffer.byteLength(name)));
}

/**
 * Runs `start`, whose child processes get a namespace for process ids of their own: the first is number 1 there, and
 * all end with it. libuv's threads must have been started before (a thread can't be in between). Throws what `start`
 * throws. Returns -errno in place of its result where the kernel refuses.
 */
export function startInPidNamespace<T>(start: () => T): T | number {
  const own = ownPidNamespace();
  if (own < 0) return own;
  try {
    const result = negated(unshare(CLONE_NEWPID));
    if (result < 0) return result;
    try {
      return start();
    } finally {
      negated(setns(own, CLONE_NEWPID));
    }
  } finally {
    closeSync(own);
  }
}

/** What the calling thread's namespace for process ids can be set by: it, or where there is no /proc this process. */
function ownPidNamespace(): number {
  const file = '/proc/self/ns/pid';
  if (existsSync(file)) return openSync(file, 'r');
  return negated(syscall4(SYS_pidfd_open, process.pid, 0, 0, 0));
}

/** Where the new root is built: a directory that is there. What it holds is hidden only from this process, for a moment. */
const BASE = existsSync('/tmp') ? '/tmp' : '/usr';

/**
 * Gives the calling thread a root of its own, made of `entries` alone, read-only where nothing else is said. It must
 * have left the mount namespace, and not need its old paths any more: all modules loaded. Null when done; after a
 * failure the thread's view is undefined and it must end.
 */
export function enterPrivateRoot(entries: readonly RootEntry[]): RootFailure | null {
  const at = (what: string, errno: number): RootFailure | null => (errno < 0 ? { errno, what } : null);
  // Its folders are for the room's user to pass, whatever this process makes its own files like.
  const umask = process.umask(0o022);
  try {
    return (
      at('mounts made private', attach('none', '/', null, MS_REC | MS_PRIVATE, null)) ??
      at('a tmpfs', attach('tmpfs', BASE, 'tmpfs', MS_NOSUID | MS_NODEV, 'mode=755,size=4m')) ??
      at('the way there', moveAside()) ??
      populate(entries) ??
      at(
        'a read-only root',
        attach('none', '/new', null, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, null),
      ) ??
      at('the new root', moveIn())
    );
  } catch (error) {
    const { errno, path } = error as NodeJS.ErrnoException;
    return { errno: errno ?? -1, what: path ?? String(error) };
  } finally {
    process.umask(umask);
  }
}

function attach(
  source: string,
  target: string,
  type: string | null,
  flags: number,
  options: string | null,
): number {
  return negated(mount(source, target, type, flags, options));
}

/** The old root moves to /old of a tmpfs, so that sources beneath BASE are not hidden; /new will be the root. */
function moveAside(): number {
  mkdirSync(join(BASE, 'old'));
  mkdirSync(join(BASE, 'new'));
  const result = negated(pivot_root(SYS_pivot_root, BASE, join(BASE, 'old')));
  if (result < 0) return result;
  process.chdir('/');
  // A mount of its own, so that it can become a root.
  return attach('/new', '/new', null, MS_BIND, null);
}

function moveIn(): number {
  process.chdir('/new');
  let result = negated(pivot_root(SYS_pivot_root, '.', '.'));
  if (result === 0) result = negated(umount2('.', MNT_DETACH));
  process.chdir('/');
  return result;
}

function populate(entries: readonly RootEntry[]): RootFailure | null {
  for (const entry of entries) {
    const errno = place(entry);
    if (errno < 0) return { errno, what: `${entry.kind} ${entry.target}` };
  }
  return null;
}

function place(entry: RootEntry): number {
  const target = join('/new', entry.target);
  switch (entry.kind) {
    case 'bind':
      return bindMount(join('/old', entry.source), target, entry.isWritable);
    case 'link':
      mkdirSync(dirname(target), { recursive: true });
      if (!existsSync(target)) symlinkSync(entry.to, target);
      return 0;
    case 'tmpfs':
      mkdirSync(target, { recursive: true });
      return attach(
        'tmpfs',
        target,
        'tmpfs',
        MS_NOSUID | MS_NODEV | MS_NOEXEC,
        `mode=1777,size=${entry.mebibytes}m`,
      );
    case 'proc': {
      mkdirSync(target, { recursive: true });
      const flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;
      return attach('proc', target, 'proc', flags, 'hidepid=2,subset=pid');
    }
  }
}

function bindMount(source: string, target: string, isWritable: boolean): number {
  const isDevice = lstatSync(source).isCharacterDevice();
  const isDirectory = lstatSync(source).isDirectory();
  mkdirSync(isDirectory ? target : dirname(target), { recursive: true });
  // A file's name may be there already, as a link in a folder that was asked for whole (Debian's loader in /usr/lib64): it leads
  // where it should once this is the root, and not before.
  if (!isDirectory && lstatSync(target, { throwIfNoEntry: false })?.isSymbolicLink() === true) return 0;
  if (!isDirectory && !existsSync(target)) writeFileSync(target, '');
  const result = attach(source, target, null, MS_BIND | (isDirectory ? MS_REC : 0), null);
  if (result < 0) return result;
  const flags = MS_NOSUID | (isDevice ? 0 : MS_NODEV) | (isWritable ? 0 : MS_RDONLY);
  return attach('none', target, null, MS_BIND | MS_REMOUNT | flags, null);
}

/**
 * What a program that this process could be again needs to start: itself, its libraries and its loader, at the paths
 * where they are looked for, as told by what is mapped now.
 */
export function programEntries(): RootEntry[] {
  const entries = new Map<string, RootEntry>();
  const bind = (source: string, target: string): void => {
    entries.set(target, { kind: 'bind', source, target, isWritable: false });
  };
  for (const name of ['bin', 'lib', 'lib64']) {
    const to = linkOf(`/${name}`);
    if (to !== '') entries.set(`/${name}`, { kind: 'link', target: `/${name}`, to });
  }
  for (const path of mappedFiles()) {
    bind(path, path);
    // A library is looked for by the name without its minor version, which is a link.
    const plain = /^(.+\.so\.\d+)\.[\d.]+$/.exec(path);
    if (plain !== null) bind(path, plain[1]);
  }
  // The loader is named by an absolute path in each program.
  const loader = process.arch === 'arm64' ? '/lib/ld-linux-aarch64.so.1' : '/lib64/ld-linux-x86-64.so.2';
  bind(realpathSync(loader), join(realpathSync(dirname(loader)), basename(loader)));
  return [...entries.values()];
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

/** Files that are mapped as code: the program, its libraries, its native modules. */
function mappedFiles(): Set<string> {
  if (!existsSync('/proc/self/maps')) return loadedFiles();
  const paths = new Set<string>();
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const found = /^\S+ ..x. \S+ \S+ [1-9]\d*\s+(\/.+)$/.exec(line);
    if (found !== null && !found[1].endsWith(' (deleted)')) paths.add(found[1]);
  }
  return paths;
}

/** The same as the loader tells it, for where there is no /proc. It names links, too, and what is no file (the vDSO). */
function loadedFiles(): Set<string> {
  // Without it, names of all connections' ends would be looked up for the report.
  const report = process.report as typeof process.report & { excludeNetwork: boolean };
  report.excludeNetwork = true;
  const { sharedObjects } = report.getReport() as unknown as { sharedObjects: readonly string[] };
  const paths = sharedObjects.filter((path) => path.startsWith('/') && existsSync(path));
  return new Set([process.execPath, ...paths].map((path) => realpathSync(path)));
}
