/**
 * Features that the configuration knows and the product doesn't have yet. Asking for one is refused, never
 * ignored. When a feature is built, its entry is deleted here; nothing else changes.
 */

import type { TomlTable, TomlValue } from './toml.ts';

export interface NotBuilt {
  /** Keys whose value may ask for the feature; `*` stands for a name or an index. */
  readonly keys: readonly string[];
  /** Whether this value asks for it. `siblings` is the table that the key is in. */
  readonly asks: (value: TomlValue, siblings: TomlTable) => boolean;
  /** What is missing: completes "Not supported yet: …". */
  readonly feature: string;
  /** Which values ask for it, for the reference: `true`. */
  readonly values: string;
  readonly mend: string;
}

const always = (): boolean => true;
const isTrue = (value: TomlValue): boolean => value === true;

const SANDBOX_DETAILS = [
  'unshare_mount',
  'unshare_uts',
  'unshare_ipc',
  'unshare_pid',
  'unshare_user',
  'unshare_net',
  'keep_capabilities',
  'ro_bind_mounts',
  'rw_bind_mounts',
  'tmpfs_mounts',
  'mount_proc',
  'mount_dev',
  'hostname',
  'no_new_privs',
];

export const NOT_BUILT: readonly NotBuilt[] = [
  {
    keys: ['server.threads'],
    asks: (value) => typeof value === 'bigint' && value > 1n,
    feature: 'more than one worker',
    values: 'above 1',
    mend: 'use 1, or leave it out: one worker runs',
  },
  {
    keys: ['server.http3_enabled'],
    asks: isTrue,
    feature: 'HTTP/3',
    values: '`true`',
    mend: 'leave it out, or write false',
  },
  { keys: ['http3'], asks: always, feature: 'HTTP/3', values: 'any', mend: 'remove the section' },
  {
    keys: ['security.drop_privileges_user', 'security.drop_privileges_group'],
    asks: always,
    feature: 'dropping privileges',
    values: 'any',
    mend: 'leave it out, and start the program as the user that it should run as',
  },
  {
    keys: ['security.enable_seccomp'],
    asks: isTrue,
    feature: 'seccomp',
    values: '`true`',
    mend: 'leave it out, or write false',
  },
  {
    keys: ['security.seccomp_mode'],
    asks: (value, siblings) => value !== 'disabled' && siblings['enable_seccomp'] === undefined,
    feature: 'seccomp',
    values: 'other than `"disabled"`',
    mend: 'leave it out',
  },
  {
    keys: ['security.enable_landlock'],
    asks: isTrue,
    feature: 'Landlock',
    values: '`true`',
    mend: 'leave it out, or write false',
  },
  {
    keys: ['security.landlock_read_paths', 'security.landlock_write_paths'],
    asks: (_, siblings) => siblings['enable_landlock'] === undefined,
    feature: 'Landlock',
    values: 'any',
    mend: 'leave it out',
  },
  {
    keys: ['security.enable_sandbox'],
    asks: isTrue,
    feature: 'the sandbox (namespaces, mounts, capabilities)',
    values: '`true`',
    mend: 'leave it out, or write false',
  },
  {
    keys: SANDBOX_DETAILS.map((name) => `security.sandbox_${name}`),
    asks: (_, siblings) => siblings['enable_sandbox'] === undefined,
    feature: 'the sandbox (namespaces, mounts, capabilities)',
    values: 'any',
    mend: 'leave it out',
  },
  {
    keys: ['performance.reuseport_balancing'],
    asks: (value) => value === 'cbpf',
    feature: 'balancing by client address (it comes with more than one worker)',
    values: '`"cbpf"`',
    mend: 'leave it out, or write "kernel"',
  },
];
