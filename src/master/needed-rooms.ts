/** The rooms that a configuration needs, and how many workers. */

import { type Config, WORKERS_MAX } from '../config/model.ts';
import { namesOf } from '../config/outbound-need.ts';
import { START_ORDER } from './compartments.ts';

type RoomRole = (typeof START_ORDER)[number];

export interface NeededRoom {
  readonly role: RoomRole;
  /** Why it runs, in words: `2 names of backends to resolve`. */
  readonly why: string;
}

/** In the order in which they start; each once, however many workers there are. */
export function neededRooms(config: Config): readonly NeededRoom[] {
  return START_ORDER.flatMap((role) => {
    const why = reasonFor(role, config);
    return why === '' ? [] : [{ role, why }];
  });
}

/** Their roles alone. */
export function neededRoles(config: Config): RoomRole[] {
  return neededRooms(config).map(({ role }) => role);
}

/** `server.threads`, where 0 means one for each of the places that coresOf gives. */
export function workerCount({ server }: Config, cores: readonly number[]): number {
  return Math.min(WORKERS_MAX, server.threads === 0 ? cores.length : server.threads);
}

/** The core of a worker (counted from 0); -1: any. One that is alone is free to run where there is room. */
export function coreOfWorker(worker: number, workers: number, cores: readonly number[]): number {
  return workers > 1 ? cores[worker % cores.length] : -1;
}

/** Empty text: not needed. */
function reasonFor(role: RoomRole, config: Config): string {
  switch (role) {
    case 'journal':
      return 'always';
    case 'edge':
      return 'always';
    case 'keys':
      return keysReason(config);
    case 'outbound':
      return outboundReason(config);
  }
}

function keysReason({ tls, upstreams }: Config): string {
  const hasClientKeys = upstreams.some(({ servers }) =>
    servers.some(({ clientKeyPath }) => clientKeyPath !== null),
  );
  const reasons = [
    ...(tls === null ? [] : ['for the certificates of [tls]']),
    ...(hasClientKeys ? ['for the certificates that backends are shown'] : []),
  ];
  return reasons.join(', and ');
}

function outboundReason(config: Config): string {
  const names = namesOf(config).length;
  const checked = config.upstreams.some(({ healthCheck }) => healthCheck !== null);
  const reasons = [
    ...(names === 0 ? [] : [names === 1 ? 'for a backend’s name' : `for ${names} names of backends`]),
    ...(checked ? ['for checks of health'] : []),
  ];
  return reasons.join(', and ');
}
