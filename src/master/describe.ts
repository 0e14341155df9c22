/** In words, the confinement that a room would get on this machine: for `check`, the start-up log, the status page. */

import type { EdgeUser } from '../config/files.ts';
import { COMPARTMENTS, type IoBackend } from './compartments.ts';
import type { Machine } from './machine.ts';
import { type Measure, ownUserId, planRoom, type Wishes } from './plan.ts';

/** The measures for a role, on or not, each with its reason. Starts nothing. */
export function describe(
  role: keyof typeof COMPARTMENTS,
  machine: Machine,
  wishes: Wishes,
  io: IoBackend = 'io_uring',
): readonly Measure[] {
  const request = {
    instance: 0,
    io,
    main: '',
    arguments: [],
    program: [],
    files: [],
    socketFolders: [],
    connectPorts: [],
    core: -1,
  } as const;
  return planRoom(COMPARTMENTS[role], request, wishes, machine).measures;
}

/** One line a measure: `Landlock: ABI 7`, `NOT namespaces: need root (or CAP_SYS_ADMIN)`. */
export function measureLine({ name, state, words }: Measure): string {
  return state === 'on' ? `${name}: ${words}` : `NOT ${name}: ${words}`;
}

/** What stops the start unless `security.allow_degraded` is true: asked for, and not to be had. */
export function unmetDemands(measures: readonly Measure[]): readonly Measure[] {
  return measures.filter(({ state, isDemanded }) => isDemanded && state === 'degraded');
}

/** Who workers are on this machine where the configuration names nobody, for judging what they can reach. */
export function edgeUserOf(machine: Machine): EdgeUser {
  const id = ownUserId(COMPARTMENTS.edge, 0);
  return {
    uid: machine.canChangeUser && id < machine.userIdsBelow ? id : -1,
    canHaveOwnRoot: machine.canMakeNamespaces && machine.namespaces.includes('mnt'),
  };
}
