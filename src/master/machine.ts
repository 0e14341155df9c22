/** What this machine and this process can do for the confinement of rooms; found out once, at the start. */

import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { Config } from '../config/model.ts';
import { canOpenBeneath } from '../sys/file.ts';
import { landlockAbi } from '../sys/landlock.ts';
import { hasCapability, isKnownUserId, isWithoutCapabilities } from '../sys/privileges.ts';
import { coreAffinity } from '../sys/process.ts';
import { type Architecture, architecture, hasSeccomp } from '../sys/seccomp.ts';

export interface Machine {
  readonly architecture: Architecture | undefined;
  readonly hasSeccomp: boolean;
  /** 0: none. */
  readonly landlockAbi: number;
  /** May become another user (CAP_SETUID and CAP_SETGID). */
  readonly canChangeUser: boolean;
  /** May empty the capability bounding set (CAP_SETPCAP). */
  readonly canDropCapabilities: boolean;
  /** It was started without capabilities, and none can come back. */
  readonly isWithoutCapabilities: boolean;
  /** May make namespaces and mounts (CAP_SYS_ADMIN). */
  readonly canMakeNamespaces: boolean;
  /** Kinds of namespaces that the kernel has, by their names in /proc/self/ns; all of them where that can't be seen. */
  readonly namespaces: readonly string[];
  /** Ids from here on exist in this user namespace up to below that. */
  readonly userIdsBelow: number;
}

/** Why no file of a configuration's routes can be served here, in words; empty where they can, or there are none. */
export function unservedFiles({ routes }: Config, canOpen = canOpenBeneath()): string {
  if (canOpen || !routes.some(({ action }) => action.type === 'File')) return '';
  return 'no file can be served: openat2 is forbidden here, by which the kernel keeps requests within their folders. RestrictSUIDSGID= of systemd does that, and filters of old containers';
}

const NAMESPACES = '/proc/self/ns';
const NAMESPACE_FILES = ['mnt', 'uts', 'ipc', 'net', 'cgroup', 'pid'];

export function probeMachine(): Machine {
  return {
    architecture: architecture(),
    hasSeccomp: hasSeccomp(),
    landlockAbi: landlockAbi(),
    canChangeUser: hasCapability('CAP_SETUID') && hasCapability('CAP_SETGID'),
    canDropCapabilities: hasCapability('CAP_SETPCAP'),
    isWithoutCapabilities: isWithoutCapabilities(),
    canMakeNamespaces: hasCapability('CAP_SYS_ADMIN'),
    namespaces: NAMESPACE_FILES.filter(
      (name) => existsSync(`${NAMESPACES}/${name}`) || !existsSync(NAMESPACES),
    ),
    userIdsBelow: mappedIds(),
  };
}

const IDS_COMMON = 65_535;

/** How many ids, from 0 on, this user namespace knows: a container may have 65,536, or a single one. */
function mappedIds(): number {
  try {
    const [first, , count] = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/).map(Number);
    return first === 0 ? count : 0;
  } catch {
    // Without /proc, the last of those that a system of 16 bits of ids has tells of all.
    return isKnownUserId(IDS_COMMON - 1) ? IDS_COMMON : 0;
  }
}

/**
 * A place for each worker that `server.threads = 0` stands for: the number of a core that the master may use, or -1 for
 * any of them. It is the latter where a quota of processor time (cgroups) is for fewer processors than there are cores:
 * who shares a machine by quota would otherwise meet all others on the first few. More workers than places begin again
 * with the first.
 */
export function coresOf(affinity = coreAffinity(), parallelism = availableParallelism()): readonly number[] {
  if (affinity.length > 0 && parallelism >= affinity.length) return affinity;
  return new Array<number>(Math.max(1, parallelism)).fill(-1);
}
