/**
 * What a process may do because of who it is (capabilities(7), credentials(7)): given up, never gained. Each of these
 * changes the calling thread alone, which is enough before it becomes another program. All return 0 or -errno.
 */

import { EINVAL } from './errno.ts';
import { negated } from './libc.ts';
import { mapPrivate } from './memory.ts';
import { prctl, setfsuid, setgroups, setresgid, setresuid, syscall4 } from './process-calls.ts';

const PR_SET_KEEPCAPS = 8;
const PR_GET_NO_NEW_PRIVS = 39;
const PR_CAPBSET_READ = 23;
const PR_CAPBSET_DROP = 24;
const PR_SET_SECUREBITS = 28;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;

/** Being root gives no capabilities, and that can't be changed; nor can ambient ones be raised where none are kept. */
const SECBIT_NOROOT = 1 << 0;
const SECBIT_NOROOT_LOCKED = 1 << 1;
const SECBIT_NO_SETUID_FIXUP_LOCKED = 1 << 3;
const SECBIT_KEEP_CAPS_LOCKED = 1 << 5;
const SECBIT_NO_CAP_AMBIENT_RAISE = 1 << 6;
const SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED = 1 << 7;

const SYS_capget = process.arch === 'arm64' ? 90 : 125;
const SYS_capset = process.arch === 'arm64' ? 91 : 126;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;

/** By number (linux/capability.h). */
export const CAPABILITIES: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON',
  'CAP_BPF',
  'CAP_CHECKPOINT_RESTORE',
];

/** Whether the effective set has that capability. */
export function hasCapability(name: string): boolean {
  return heldCapabilities('effective').includes(CAPABILITIES.indexOf(name));
}

/**
 * Whether this process has no capability and neither it nor what it starts can come by one: it was started with an
 * empty bounding set, or so that execve gives no privileges.
 */
export function isWithoutCapabilities(): boolean {
  if (heldCapabilities('permitted').length > 0) return false;
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) === 1) return true;
  return CAPABILITIES.every((_, capability) => prctl(PR_CAPBSET_READ, capability, 0, 0, 0) !== 1);
}

/** The numbers of a set of the calling thread. /proc tells the same, but not every container has it. */
function heldCapabilities(set: 'effective' | 'permitted'): number[] {
  const memory = mapPrivate(4096);
  const { view, address } = memory;
  view.setUint32(0, LINUX_CAPABILITY_VERSION_3, true);
  const result = syscall4(SYS_capget, address, address + 16, 0, 0);
  const offset = 16 + (set === 'effective' ? 0 : 4);
  const words = [view.getUint32(offset, true), view.getUint32(offset + 12, true)];
  memory.unmap();
  if (result < 0) return [];
  return CAPABILITIES.map((_, capability) => capability).filter(
    (capability) => ((words[capability >> 5] >>> (capability & 31)) & 1) === 1,
  );
}

function numbersOf(names: readonly string[]): number[] {
  return names.map((name) => CAPABILITIES.indexOf(name));
}

/**
 * Whether this user namespace knows a user id, found out by trying it on for a moment (setfsuid(2) changes nothing for
 * one that is unknown). Needs CAP_SETUID.
 */
export function isKnownUserId(uid: number): boolean {
  const before = setfsuid(uid);
  return setfsuid(before) === uid;
}

/** Empties the bounding set but for `keep`: nothing that is started ever has the rest again. Needs CAP_SETPCAP. */
export function dropBoundingSet(keep: readonly string[]): number {
  const kept = new Set(numbersOf(keep));
  for (let capability = 0; ; capability++) {
    const isThere = negated(prctl(PR_CAPBSET_READ, capability, 0, 0, 0));
    if (isThere < 0) return 0;
    if (isThere === 0 || kept.has(capability)) continue;
    const result = negated(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0));
    if (result < 0) return result;
  }
}

/** Makes user id 0 mean nothing, for good. Needs CAP_SETPCAP, so it comes before `becomeUser`. */
export function lockSecurebits(keep: readonly string[]): number {
  const ambient = keep.length === 0 ? SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED : 0;
  const keepCaps = keep.length === 0 ? SECBIT_KEEP_CAPS_LOCKED : 0;
  const root = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED;
  return negated(prctl(PR_SET_SECUREBITS, root | keepCaps | ambient, 0, 0, 0));
}

/** Becomes that user and group for good, with no supplementary groups; capabilities go, but for `keep`. */
export function becomeUser(uid: number, gid: number, keep: readonly string[]): number {
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (keep.length > 0) prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
  let result = negated(setgroups(0, 0));
  if (result === 0) result = negated(setresgid(gid, gid, gid));
  if (result === 0) result = negated(setresuid(uid, uid, uid));
  if (result === 0 && keep.length > 0) result = keepCapabilities(numbersOf(keep));
  return result;
}

/** Exactly these, in the permitted, effective, inheritable and ambient sets: the last is what outlives execve. */
function keepCapabilities(capabilities: readonly number[]): number {
  if (capabilities.includes(-1)) return -EINVAL;
  const result = setCapabilities(capabilities);
  if (result < 0) return result;
  for (const capability of capabilities) {
    const raised = negated(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0));
    if (raised < 0) return raised;
  }
  return 0;
}

/** Replaces the three sets of the calling thread; an empty list gives up all. Returns 0 or -errno. */
export function setCapabilities(capabilities: readonly number[]): number {
  const memory = mapPrivate(4096);
  const { view, address } = memory;
  // struct __user_cap_header_struct: version, pid (0: this thread); then effective, permitted, inheritable, twice 32 bits.
  view.setUint32(0, LINUX_CAPABILITY_VERSION_3, true);
  for (const capability of capabilities) {
    for (const set of [0, 4, 8]) {
      const at = 16 + (capability >> 5) * 12 + set;
      view.setUint32(at, (view.getUint32(at, true) | (1 << (capability & 31))) >>> 0, true);
    }
  }
  const result = negated(syscall4(SYS_capset, address, address + 16, 0, 0));
  memory.unmap();
  return result;
}

/**
 * Who stays the same user has no capabilities any more, those of a service (AmbientCapabilities=) or of the program's
 * file among them. With no_new_privs execve doesn't bring them back.
 */
export function giveUpCapabilities(): number {
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  return setCapabilities([]);
}

/** execve gives no privileges from now on: no set-user-id, no file capabilities. */
export function setNoNewPrivileges(): number {
  return negated(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}
