/** From `[security]` to what is wished for rooms: an absent key means the strongest, one that is present is literal. */

import { readFileSync } from 'node:fs';
import type { SecurityConfig } from '../config/model.ts';
import type { SandboxNamespace, SandboxWishes, Wishes } from './plan.ts';

const NAMESPACES: readonly SandboxNamespace[] = ['mount', 'uts', 'ipc', 'pid', 'user', 'net'];
/** Those that the document unshares where nothing is said. */
const UNSHARED_BY_DEFAULT: readonly SandboxNamespace[] = ['mount', 'uts', 'ipc'];

/** What is wrong with `[security]`, in words for the operator. */
export class WishError extends Error {
  override readonly name = 'WishError';
}

/** Throws a WishError where a user or group doesn't exist. */
export function wishesOf(security: SecurityConfig): Wishes {
  return {
    user: userOf(security),
    seccomp: seccompOf(security),
    landlock: landlockOf(security),
    landlockReadPaths: security.landlockReadPaths ?? [],
    sandbox: sandboxOf(security),
  };
}

function seccompOf({ enableSeccomp, seccompMode }: SecurityConfig): Wishes['seccomp'] {
  if (enableSeccomp === false) return 'disabled';
  if (seccompMode !== null) return seccompMode;
  return enableSeccomp === true ? 'filter' : 'strongest';
}

function landlockOf(security: SecurityConfig): Wishes['landlock'] {
  if (security.enableLandlock !== null) return security.enableLandlock;
  const namesPaths = security.landlockReadPaths !== null || security.landlockWritePaths !== null;
  return namesPaths ? true : 'strongest';
}

function sandboxOf({ enableSandbox, sandbox }: SecurityConfig): Wishes['sandbox'] {
  if (enableSandbox === false) return 'disabled';
  if (enableSandbox === null && Object.keys(sandbox).length === 0) return 'strongest';
  const flag = (name: string, fallback: boolean): boolean => {
    const value = sandbox[name];
    return typeof value === 'boolean' ? value : fallback;
  };
  const list = (name: string): readonly string[] => {
    const value = sandbox[name];
    return Array.isArray(value) ? (value as readonly string[]) : [];
  };
  const hostName = sandbox['hostname'];
  const wishes: SandboxWishes = {
    unshare: NAMESPACES.filter((each) => flag(`unshare_${each}`, UNSHARED_BY_DEFAULT.includes(each))),
    keepCapabilities: list('keep_capabilities'),
    binds: [
      ...list('ro_bind_mounts').map((text) => bindOf(text, false)),
      ...list('rw_bind_mounts').map((text) => bindOf(text, true)),
    ],
    tmpfs: sandbox['tmpfs_mounts'] === undefined ? ['/tmp'] : list('tmpfs_mounts'),
    hasProc: flag('mount_proc', true),
    hasDev: flag('mount_dev', true),
    hostName: typeof hostName === 'string' ? hostName : 'zerocopy-sandbox',
    noNewPrivileges: flag('no_new_privs', true),
  };
  return wishes;
}

/** `source:target`, which the schema has judged. */
function bindOf(text: string, isWritable: boolean): SandboxWishes['binds'][number] {
  const [source, target = source] = text.split(':');
  return { source, target, isWritable };
}

function userOf({ dropPrivilegesUser, dropPrivilegesGroup }: SecurityConfig): Wishes['user'] {
  if (dropPrivilegesUser === null && dropPrivilegesGroup === null) return null;
  const user =
    dropPrivilegesUser === null ? null : entryOf('/etc/passwd', dropPrivilegesUser, 'drop_privileges_user');
  const group =
    dropPrivilegesGroup === null ? null : entryOf('/etc/group', dropPrivilegesGroup, 'drop_privileges_group');
  const uid = user === null ? (process.getuid?.() ?? 0) : Number(user[2]);
  const gid = group !== null ? Number(group[2]) : Number(user?.[3]);
  return { uid, gid };
}

/** The fields of a line of passwd(5) or group(5). */
function entryOf(file: string, name: string, key: string): string[] {
  const found = readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[0] === name && fields.length >= 4);
  if (found !== undefined) return found;
  throw new WishError(`security.${key}: ${file} has no ${name}; create it, or change the key`);
}
