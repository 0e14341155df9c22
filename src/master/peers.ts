/**
 * Channels between rooms: when a room starts, it and each living room that the table of compartments gives it as a peer
 * get the two ends of a new channel. A room that already had one to that peer takes the new one in its place.
 */

import type { PolledChannel } from '../ipc/polled-channel.ts';
import type { Role } from '../ipc/roles.ts';
import { createMessagePair } from '../sys/descriptors.ts';
import { errnoName } from '../sys/errno.ts';
import { COMPARTMENTS } from './compartments.ts';

type RoomRole = Exclude<Role, 'master'>;

/** Kernel memory for messages that are on their way between two rooms, each direction. */
const PEER_BUFFER_BYTES = 262_144;

export interface Resident {
  readonly role: RoomRole;
  /** Tells rooms of one role apart; of workers, their slot. */
  readonly index: number;
  readonly channel: PolledChannel;
}

export class Peers {
  /** By the name of the place. */
  private readonly residents: Map<string, Resident>;

  constructor() {
    this.residents = new Map();
  }

  /** Throws an Error where no channel can be made: the room is to be started again later. */
  moveIn(name: string, resident: Resident): void {
    this.residents.delete(name);
    for (const other of this.residents.values()) {
      const areTogether =
        COMPARTMENTS[resident.role].peers.includes(other.role) &&
        COMPARTMENTS[other.role].peers.includes(resident.role);
      if (areTogether) connect(resident, other);
    }
    this.residents.set(name, resident);
  }

  moveOut(name: string): void {
    this.residents.delete(name);
  }
}

function connect(one: Resident, other: Resident): void {
  const pair = createMessagePair(PEER_BUFFER_BYTES);
  if (typeof pair === 'number') throw new Error(`no channel between rooms can be made (${errnoName(pair)})`);
  give(one, other, pair[0]);
  give(other, one, pair[1]);
}

function give(to: Resident, peer: Resident, descriptor: number): void {
  to.channel.handOver({ kind: 'descriptors', purpose: 'channel', peer: peer.role, index: peer.index }, [
    descriptor,
  ]);
}
