/**
 * Landlock (landlock(7)): which files, ports, signals and abstract sockets a thread and what it becomes may reach.
 * It can only be narrowed afterwards. What the kernel's version of it (its ABI) doesn't know is left out, and
 * `landlockGaps` says what that is. stat(2), and connecting to a Unix socket by its path, are not covered by any.
 *
 * ABI 1 is Linux 5.13, 2 is 5.19 (Debian 12's 6.1 has it), 3 is 6.2, 4 is 6.7, 5 is 6.10, 6 is 6.12.
 */

import { stat, statDescriptor } from './file.ts';
import { close, negated } from './libc.ts';
import { mapPrivate } from './memory.ts';
import { openPath, syscall4 } from './process-calls.ts';

const SYS_landlock_create_ruleset = 444;
const SYS_landlock_add_rule = 445;
const SYS_landlock_restrict_self = 446;
const LANDLOCK_CREATE_RULESET_VERSION = 1;
const LANDLOCK_RULE_PATH_BENEATH = 1;
const LANDLOCK_RULE_NET_PORT = 2;
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;

// LANDLOCK_ACCESS_FS_*
const EXECUTE = 1 << 0;
const WRITE_FILE = 1 << 1;
const READ_FILE = 1 << 2;
const READ_DIR = 1 << 3;
const REMOVE_FILE = 1 << 5;
const MAKE_REG = 1 << 8;
const MAKE_SOCK = 1 << 9;
/** All of ABI 1. */
const ALL_OF_FIRST = (1 << 13) - 1;
const REFER = 1 << 13;
const TRUNCATE = 1 << 14;
const IOCTL_DEV = 1 << 15;
/** What a rule on something that is no directory may hold. */
const OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

const NET_BIND_TCP = 1 << 0;
const NET_CONNECT_TCP = 1 << 1;
const SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0;
const SCOPE_SIGNAL = 1 << 1;

const ABI_REFER = 2;
const ABI_TRUNCATE = 3;
const ABI_NETWORK = 4;
const ABI_IOCTL = 5;
const ABI_SCOPES = 6;

/** `read`: files and listings. `execute`: that, and to map or run as a program. `write`: read, make, change, rename, remove. */
export type PathAccess = 'read' | 'execute' | 'write';

export interface PathRule {
  readonly path: string;
  readonly access: PathAccess;
}

export interface LandlockRules {
  readonly paths: readonly PathRule[];
  /** TCP ports that may be bound, or connected to; null: any. */
  readonly bindPorts: readonly number[] | null;
  readonly connectPorts: readonly number[] | null;
  /** No signal to, and no abstract socket of, a process outside. */
  readonly isScoped: boolean;
}

/** The first rule that could not be made, and why; `path` is empty where it is none of a path. */
export interface LandlockFailure {
  readonly errno: number;
  readonly path: string;
}

/** The version that the kernel has; 0: none, or it is switched off. */
export function landlockAbi(): number {
  return Math.max(0, syscall4(SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION, 0));
}

/** What rules lose on a kernel with that version; words, none where nothing is lost. */
export function landlockGaps(rules: LandlockRules, abi: number): string[] {
  const gaps: string[] = [];
  if (abi < ABI_TRUNCATE) gaps.push('files that are open for nothing but their name can be truncated');
  if (abi < ABI_NETWORK && (rules.bindPorts !== null || rules.connectPorts !== null))
    gaps.push('TCP ports are not restricted');
  if (abi < ABI_SCOPES && rules.isScoped) gaps.push('signals and abstract sockets are not restricted');
  return gaps;
}

/**
 * Restricts the calling thread, and all that it starts or becomes. no_new_privs must be set, or the process be
 * privileged. Paths must exist. Returns null, or what failed (nothing is restricted then).
 */
export function restrictWithLandlock(rules: LandlockRules): LandlockFailure | null {
  const abi = landlockAbi();
  const memory = mapPrivate(4096);
  const { view, address } = memory;
  let handled = ALL_OF_FIRST;
  if (abi >= ABI_REFER) handled |= REFER;
  if (abi >= ABI_TRUNCATE) handled |= TRUNCATE;
  if (abi >= ABI_IOCTL) handled |= IOCTL_DEV;
  const net =
    (rules.bindPorts === null ? 0 : NET_BIND_TCP) | (rules.connectPorts === null ? 0 : NET_CONNECT_TCP);
  // struct landlock_ruleset_attr: files, network (ABI 4), scopes (ABI 6), u64 each.
  view.setUint32(0, handled, true);
  view.setUint32(8, abi >= ABI_NETWORK ? net : 0, true);
  view.setUint32(
    16,
    abi >= ABI_SCOPES && rules.isScoped ? SCOPE_SIGNAL | SCOPE_ABSTRACT_UNIX_SOCKET : 0,
    true,
  );
  const bytes = abi >= ABI_SCOPES ? 24 : abi >= ABI_NETWORK ? 16 : 8;
  const ruleset = negated(syscall4(SYS_landlock_create_ruleset, address, bytes, 0, 0));
  if (ruleset < 0) {
    memory.unmap();
    return { errno: ruleset, path: '' };
  }
  let failure: LandlockFailure | null = null;
  const addRule = (type: number): number =>
    negated(syscall4(SYS_landlock_add_rule, ruleset, type, address, 0));
  for (const { path, access } of rules.paths) {
    if (failure !== null) break;
    const errno = addPathRule(path, rightsOf(access) & handled, view, addRule);
    if (errno < 0) failure = { errno, path };
  }
  const addPorts = (ports: readonly number[] | null, right: number): void => {
    for (const port of ports ?? []) {
      // struct landlock_net_port_attr: rights u64, port u64.
      view.setBigUint64(0, BigInt(right), true);
      view.setBigUint64(8, BigInt(port), true);
      const errno = failure === null ? addRule(LANDLOCK_RULE_NET_PORT) : 0;
      if (errno < 0) failure = { errno, path: '' };
    }
  };
  if (abi >= ABI_NETWORK) {
    addPorts(rules.bindPorts, NET_BIND_TCP);
    addPorts(rules.connectPorts, NET_CONNECT_TCP);
  }
  if (failure === null) {
    const errno = negated(syscall4(SYS_landlock_restrict_self, ruleset, 0, 0, 0));
    if (errno < 0) failure = { errno, path: '' };
  }
  close(ruleset);
  memory.unmap();
  return failure;
}

function rightsOf(access: PathAccess): number {
  switch (access) {
    case 'read':
      return READ_FILE | READ_DIR;
    case 'execute':
      return READ_FILE | READ_DIR | EXECUTE;
    case 'write':
      return READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | MAKE_REG | MAKE_SOCK | REMOVE_FILE | REFER;
  }
}

/** struct landlock_path_beneath_attr, packed: rights u64, descriptor s32. */
function addPathRule(
  path: string,
  rights: number,
  view: DataView,
  addRule: (type: number) => number,
): number {
  const fd = negated(openPath(path, O_PATH | O_CLOEXEC));
  if (fd < 0) return fd;
  let errno = statDescriptor(fd);
  if (errno === 0) {
    view.setBigUint64(0, BigInt(stat.directory ? rights : rights & OF_FILES), true);
    view.setInt32(8, fd, true);
    errno = addRule(LANDLOCK_RULE_PATH_BENEATH);
  }
  close(fd);
  return errno;
}
