/**
 * From a room's line in the table, what the operator wishes, and what the machine can, to the plan that the launcher
 * carries out, and to the list of measures that `check` and the start-up log show. Pure but for reading what the
 * program itself consists of.
 */

import { realpathSync } from 'node:fs';
import { type LandlockRules, landlockGaps, type PathRule } from '../sys/landlock.ts';
import { type Namespace, programEntries, type RootEntry } from '../sys/namespaces.ts';
import { assembleFilter, type SeccompMode } from '../sys/seccomp.ts';
import type { Compartment, IoBackend } from './compartments.ts';
import type { Machine } from './machine.ts';

/**
 * The operator's word on confinement (`[security]`). `strongest`: nothing was said; what the machine can is done, and
 * what it can't is told. Anything else is asked for literally, and what can't be had is a degraded measure.
 */
export interface Wishes {
  readonly user: { readonly uid: number; readonly gid: number } | null;
  readonly seccomp: SeccompMode | 'disabled' | 'strongest';
  readonly landlock: boolean | 'strongest';
  readonly landlockReadPaths: readonly string[];
  readonly sandbox: SandboxWishes | 'strongest' | 'disabled';
}

/** `user` can be asked for, and is told to be impossible: a process with threads can't make one. */
export type SandboxNamespace = Namespace | 'pid' | 'user';

/** The document's sandbox_* keys. */
export interface SandboxWishes {
  readonly unshare: readonly SandboxNamespace[];
  readonly keepCapabilities: readonly string[];
  readonly binds: readonly {
    readonly source: string;
    readonly target: string;
    readonly isWritable: boolean;
  }[];
  readonly tmpfs: readonly string[];
  readonly hasProc: boolean;
  readonly hasDev: boolean;
  readonly hostName: string;
  readonly noNewPrivileges: boolean;
}

export const STRONGEST: Wishes = {
  user: null,
  seccomp: 'strongest',
  landlock: 'strongest',
  landlockReadPaths: [],
  sandbox: 'strongest',
};

/** What a particular room is started with. */
export interface RoomRequest {
  /** Counts the workers of a role from 0. */
  readonly instance: number;
  readonly io: IoBackend;
  /** What it runs: Node.js' main file and arguments. */
  readonly main: string;
  readonly arguments: readonly string[];
  /** Directories and files that the program itself is made of, read-only. */
  readonly program: readonly string[];
  /** What the configuration names for it. */
  readonly files: readonly string[];
  /** Where backends' Unix sockets are: seen in its root, and no file in them can be read. */
  readonly socketFolders: readonly string[];
  /** Ports of backends; for rooms that connect to named ports. */
  readonly connectPorts: readonly number[];
  /** Core to run on; -1: any. */
  readonly core: number;
}

export type MeasureState = 'on' | 'degraded' | 'off';

export interface Measure {
  readonly name: string;
  readonly state: MeasureState;
  /** What it is, or why it isn't. */
  readonly words: string;
  /** It was asked for, so that without it nothing starts unless `security.allow_degraded` says so. */
  readonly isDemanded: boolean;
}

/** What the launcher is told; plain data. */
export interface Plan {
  readonly role: string;
  /** -1: it stays who it is. */
  readonly uid: number;
  readonly gid: number;
  readonly dropsCapabilities: boolean;
  readonly keepCapabilities: readonly string[];
  readonly noNewPrivileges: boolean;
  readonly namespaces: readonly Namespace[];
  readonly hasOwnPids: boolean;
  readonly hostName: string;
  readonly root: readonly RootEntry[] | null;
  readonly landlock: LandlockRules | null;
  /** Filters, base64; empty: none. */
  readonly startFilter: string;
  readonly sealFilter: string;
  readonly openFiles: number;
  readonly fileBytes: number;
  readonly core: number;
  readonly command: readonly string[];
}

export interface Planned {
  readonly plan: Plan;
  readonly measures: readonly Measure[];
}

/**
 * The first user id of rooms, where the operator names none. Below 65,536, which is all that many containers know, and
 * in a range that neither distributions nor systemd hand out (60578-60705).
 */
const FIRST_USER_ID = 60578;
/** Workers beyond share ids with the first ones. */
const WORKER_IDS = 96;

const ALL_NAMESPACES: readonly Namespace[] = ['mount', 'uts', 'ipc', 'cgroup'];
const NAMESPACE_FILES: Readonly<Record<SandboxNamespace, string>> = {
  mount: 'mnt',
  uts: 'uts',
  ipc: 'ipc',
  net: 'net',
  cgroup: 'cgroup',
  pid: 'pid',
  user: 'none: a process with threads can’t make one',
};

/** The plan for a room, and its measures. */
export function planRoom(
  compartment: Compartment,
  request: RoomRequest,
  wishes: Wishes,
  machine: Machine,
): Planned {
  const measures = new Measures();
  const user = planUser(compartment, request, wishes, machine, measures);
  const keep = planCapabilities(wishes, machine, measures);
  const sandbox = planSandbox(compartment, wishes, machine, measures);
  const program = programEntries();
  const root = sandbox.hasPrivateRoot ? rootOf(compartment, request, wishes, program) : null;
  const filters = planSeccomp(compartment, request, wishes, machine, measures);
  const landlock = planLandlock(compartment, request, wishes, machine, measures, program);
  const noNewPrivileges =
    typeof wishes.sandbox === 'string' ||
    wishes.sandbox.noNewPrivileges ||
    filters.start !== '' ||
    landlock !== null;
  measures.add(
    'no_new_privs',
    noNewPrivileges ? 'on' : 'off',
    noNewPrivileges ? 'set' : 'sandbox_no_new_privs = false',
  );
  return {
    measures: measures.list,
    plan: {
      role: compartment.role,
      uid: user.uid,
      gid: user.gid,
      dropsCapabilities: machine.canDropCapabilities,
      keepCapabilities: keep,
      noNewPrivileges,
      namespaces: sandbox.namespaces,
      hasOwnPids: sandbox.hasOwnPids,
      hostName: sandbox.hostName,
      root,
      landlock,
      startFilter: filters.start,
      sealFilter: filters.sealed,
      openFiles: compartment.openFiles,
      fileBytes: compartment.fileBytes,
      core: request.core,
      command: [
        process.execPath,
        '--disable-sigusr1',
        '--expose-gc',
        // As OPENSSL_CONF says, which isn't heard where the program's file has capabilities.
        '--openssl-config=/nonexistent',
        ...compartment.heap,
        ...process.execArgv.filter((flag) => flag.startsWith('--disable-warning')),
        request.main,
        ...request.arguments,
      ],
    },
  };
}

class Measures {
  readonly list: Measure[] = [];

  add(name: string, state: MeasureState, words: string, isDemanded = false): void {
    this.list.push({ name, state, words, isDemanded });
  }
}

/** The user id of a room that has one of its own, and its group's. */
export function ownUserId({ userOffset }: Compartment, instance: number): number {
  return FIRST_USER_ID + userOffset + (instance % WORKER_IDS);
}

function planUser(
  compartment: Compartment,
  { instance }: RoomRequest,
  { user }: Wishes,
  machine: Machine,
  measures: Measures,
): { uid: number; gid: number } {
  const none = { uid: -1, gid: -1 };
  const isMe = user !== null && user.uid === process.getuid?.() && user.gid === process.getgid?.();
  if (isMe) {
    measures.add('user', 'on', `${user.uid}:${user.gid}, who started the program`);
    return none;
  }
  if (!machine.canChangeUser) {
    const words = 'needs root (or CAP_SETUID and CAP_SETGID) to become another user';
    measures.add('user', 'degraded', words, user !== null);
    return none;
  }
  if (user !== null) {
    measures.add('user', 'on', `${user.uid}:${user.gid}, as configured`);
    return user;
  }
  const id = ownUserId(compartment, instance);
  if (id >= machine.userIdsBelow) {
    measures.add('user', 'degraded', `this user namespace has no id ${id}`);
    return none;
  }
  measures.add('user', 'on', `${id}:${id}, its own`);
  return { uid: id, gid: id };
}

function planCapabilities({ sandbox }: Wishes, machine: Machine, measures: Measures): readonly string[] {
  const keep = typeof sandbox === 'string' ? [] : sandbox.keepCapabilities;
  if (machine.canDropCapabilities) {
    const kept = keep.length === 0 ? 'none, and none can come back' : `${keep.join(', ')} and no others`;
    measures.add('capabilities', 'on', kept);
    return keep;
  }
  if (machine.isWithoutCapabilities && keep.length === 0) {
    measures.add('capabilities', 'on', 'none, and none can come back, since the program was started so');
    return [];
  }
  const words = 'the bounding set can only be emptied by root (or with CAP_SETPCAP)';
  measures.add('capabilities', 'degraded', words, keep.length > 0);
  return [];
}

interface PlannedSandbox {
  readonly namespaces: readonly Namespace[];
  readonly hasOwnPids: boolean;
  readonly hasPrivateRoot: boolean;
  readonly hostName: string;
}

const NO_SANDBOX: PlannedSandbox = { namespaces: [], hasOwnPids: false, hasPrivateRoot: false, hostName: '' };

function planSandbox(
  { hasOwnNetwork, role }: Compartment,
  { sandbox }: Wishes,
  machine: Machine,
  measures: Measures,
): PlannedSandbox {
  if (sandbox === 'disabled') {
    measures.add('namespaces', 'off', 'enable_sandbox = false');
    return NO_SANDBOX;
  }
  const isAsked = sandbox !== 'strongest';
  if (!machine.canMakeNamespaces) {
    measures.add('namespaces', 'degraded', 'need root (or CAP_SYS_ADMIN)', isAsked);
    return NO_SANDBOX;
  }
  const wanted: readonly SandboxNamespace[] = isAsked
    ? [...new Set<SandboxNamespace>([...sandbox.unshare, ...(hasOwnNetwork ? (['net'] as const) : [])])]
    : [...ALL_NAMESPACES, 'pid', ...(hasOwnNetwork ? (['net'] as const) : [])];
  const missing = wanted.filter((each) => !machine.namespaces.includes(NAMESPACE_FILES[each]));
  const had = wanted.filter((each) => !missing.includes(each));
  const state = missing.length === 0 ? 'on' : 'degraded';
  const words = `${had.join(', ')}${missing.length > 0 ? `; not to be had here: ${missing.join(', ')}` : ''}`;
  measures.add('namespaces', state, words, isAsked);
  const hasPrivateRoot = had.includes('mount');
  measures.add(
    'private root',
    hasPrivateRoot ? 'on' : 'off',
    hasPrivateRoot ? 'the program and what is named for the room, read-only' : 'no mount namespace',
  );
  return {
    namespaces: had.filter((each) => each !== 'pid' && each !== 'user'),
    hasOwnPids: had.includes('pid'),
    hasPrivateRoot,
    hostName: !had.includes('uts') ? '' : isAsked ? sandbox.hostName : role,
  };
}

/** What the room's root is made of, each path where it is outside. */
function rootOf(
  { files, systemFiles }: Compartment,
  request: RoomRequest,
  { sandbox, landlockReadPaths }: Wishes,
  program: readonly RootEntry[],
): RootEntry[] {
  const bind = (source: string, isWritable: boolean): RootEntry => ({
    kind: 'bind',
    source: realpathSync(source),
    target: source,
    isWritable,
  });
  const entries: RootEntry[] = [
    ...program,
    ...request.program.map((path) => bind(path, false)),
    ...existing(systemFiles).map((path) => bind(path, false)),
    ...existing(landlockReadPaths).map((path) => bind(path, false)),
    ...(files === null ? [] : request.files.map((path) => bind(path, false))),
    ...existing(request.socketFolders).map((path) => bind(path, false)),
  ];
  if (typeof sandbox === 'string') return parentsFirst(entries);
  for (const { source, target, isWritable } of sandbox.binds)
    entries.push({ kind: 'bind', source, target, isWritable });
  for (const target of sandbox.tmpfs) entries.push({ kind: 'tmpfs', target, mebibytes: 16 });
  if (sandbox.hasProc) entries.push({ kind: 'proc', target: '/proc' });
  if (sandbox.hasDev)
    for (const name of ['null', 'zero', 'urandom'])
      entries.push({ kind: 'bind', source: `/dev/${name}`, target: `/dev/${name}`, isWritable: true });
  return parentsFirst(entries);
}

/** A folder that is mounted over another one's mount would hide it. */
function parentsFirst(entries: readonly RootEntry[]): RootEntry[] {
  return entries.toSorted((a, b) => a.target.length - b.target.length);
}

function existing(paths: readonly string[]): string[] {
  return paths.filter((path) => {
    try {
      realpathSync(path);
      return true;
    } catch {
      return false;
    }
  });
}

function planLandlock(
  compartment: Compartment,
  request: RoomRequest,
  wishes: Wishes,
  machine: Machine,
  measures: Measures,
  program: readonly RootEntry[],
): LandlockRules | null {
  if (wishes.landlock === false) {
    measures.add('Landlock', 'off', 'enable_landlock = false');
    return null;
  }
  const isAsked = wishes.landlock === true;
  if (machine.landlockAbi === 0) {
    measures.add('Landlock', 'degraded', 'this kernel has none, or it is switched off (Linux 5.13)', isAsked);
    return null;
  }
  const { files, systemFiles, network } = compartment;
  const paths: PathRule[] = [
    // The program and its loader are executed once more, by the launcher; the last filter forbids it from then on.
    ...program.flatMap((entry): PathRule[] =>
      entry.kind === 'bind' ? [{ path: entry.target, access: 'execute' }] : [],
    ),
    ...request.program.map((path): PathRule => ({ path, access: 'read' })),
    ...existing(systemFiles).map((path): PathRule => ({ path, access: 'read' })),
    ...(files === null ? [] : request.files.map((path): PathRule => ({ path, access: files }))),
    ...existing(wishes.landlockReadPaths).map((path): PathRule => ({ path, access: 'read' })),
  ];
  const rules: LandlockRules = {
    paths,
    bindPorts: [],
    connectPorts: network === 'any-port' ? null : network === 'none' ? [] : request.connectPorts,
    isScoped: true,
  };
  const gaps = landlockGaps(rules, machine.landlockAbi);
  const words = `ABI ${machine.landlockAbi}${gaps.length > 0 ? `, where ${gaps.join('; ')}` : ''}`;
  measures.add('Landlock', 'on', words);
  return rules;
}

function planSeccomp(
  compartment: Compartment,
  { io }: RoomRequest,
  { seccomp }: Wishes,
  machine: Machine,
  measures: Measures,
): { start: string; sealed: string } {
  const none = { start: '', sealed: '' };
  if (seccomp === 'disabled') {
    measures.add('seccomp', 'off', 'disabled by the configuration');
    return none;
  }
  if (!machine.hasSeccomp || machine.architecture === undefined) {
    const words =
      machine.architecture === undefined
        ? `no list of system calls for ${process.arch}`
        : 'this kernel has no filters';
    measures.add('seccomp', 'degraded', words, seccomp !== 'strongest');
    return none;
  }
  const mode = seccomp === 'strongest' ? 'strict' : seccomp;
  const encoded = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const sealed = compartment.sealed(io);
  measures.add('seccomp', 'on', `${mode}, ${sealed.length} system calls once the room is sealed`);
  return {
    // While Node.js starts, an unknown call fails rather than kills: another kernel may have it ask for more.
    start: encoded(
      assembleFilter(compartment.starting(io), mode === 'strict' ? 'filter' : mode, machine.architecture),
    ),
    sealed: encoded(assembleFilter(sealed, mode, machine.architecture)),
  };
}
