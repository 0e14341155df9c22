/**
 * Keeps the house: starts rooms in order, puts a new one in the place of one that died, ends all. It knows nothing of
 * what rooms do; what each is started with comes from its `RoomSource`.
 *
 * No orphan is left whatever is killed: a room dies with the master (PR_SET_PDEATHSIG) and ends when its channel does.
 */

import { readFileSync } from 'node:fs';
import type { Message } from '../ipc/message.ts';
import type { Role } from '../ipc/roles.ts';
import { START_ORDER } from './compartments.ts';
import { Room, type RoomMaking, type RoomOwner, type RoomStart } from './room.ts';

/** A room that died at once is tried again after this, twice as long each time, up to the maximum. */
const BACKOFF_MS_FIRST = 100;
const BACKOFF_MS_MAX = 10_000;
/** For a room that got ready: who kills it may, but the house needs it. */
const BACKOFF_MS_MAX_READY = 1000;
/** A room that was ready for so long is worth being had again at once: the count starts anew. */
const STEADY_MS = 1000;
const PAGE_BYTES = 4096;

export interface RoomSource {
  readonly role: Exclude<Role, 'master'>;
  /** For the log: `edge 1`. Unique. */
  readonly name: string;
  /** Called at each start. May throw an Error: it is tried again later. */
  readonly prepare: () => RoomStart;
}

export interface HouseOwner {
  onRoomReady(name: string, generation: number): void;
  onRoomMessage(name: string, message: Message): void;
  /** A room died that nobody asked to end; `retryMs` until another one takes its place. */
  onRoomLost(name: string, reason: string, retryMs: number): void;
}

/** A place in the house: the room that is in it now, if there is one. */
interface Place {
  readonly source: RoomSource;
  room: Room | null;
  backoffMs: number;
  retry: NodeJS.Timeout | undefined;
  /** Taken down: nobody moves in any more. */
  isClosed: boolean;
  restarts: number;
}

/** One room's line for the status page. */
export interface RoomStatus {
  readonly name: string;
  readonly role: Role;
  readonly state: 'starting' | 'ready' | 'draining' | 'waiting';
  readonly pid: number;
  readonly restarts: number;
  /** From the start of the process until it was ready; -1: it isn't. */
  readonly startMs: number;
  readonly openConnections: number;
  /** Memory that it has, what it shares with others included; 0 where that can't be read. */
  readonly residentMiB: number;
}

export class Supervisor implements RoomOwner {
  private readonly making: RoomMaking;
  private readonly owner: HouseOwner;
  private readonly places: Map<string, Place>;
  private waiters: (() => void)[];
  private lastReason: string;

  constructor(making: RoomMaking, owner: HouseOwner) {
    this.making = making;
    this.owner = owner;
    this.places = new Map();
    this.waiters = [];
    this.lastReason = '';
  }

  /** Adds a place and starts its room. Those of `start` are better started together. */
  add(source: RoomSource): void {
    const place: Place = {
      source,
      room: null,
      backoffMs: 0,
      retry: undefined,
      isClosed: false,
      restarts: 0,
    };
    this.places.set(source.name, place);
    this.fill(place);
  }

  /**
   * Starts rooms, role by role in START_ORDER, each role when those before are ready. Resolves to null when all are
   * ready, or to the name and the reason of the first that ended before; the others run then, and are the caller's to
   * stop.
   */
  async start(sources: readonly RoomSource[]): Promise<{ name: string; reason: string } | null> {
    for (const role of START_ORDER) {
      const names = sources.filter((source) => source.role === role).map(({ name }) => name);
      for (const source of sources) if (source.role === role) this.add(source);
      const rooms = names.map((name) => this.places.get(name)?.room ?? null);
      const failed = names.find((_, index) => rooms[index] === null);
      if (failed !== undefined) return { name: failed, reason: this.lastReason };
      for (const room of rooms as Room[]) {
        await this.until(() => room.state !== 'starting');
        if (room.state === 'ended') return { name: room.name, reason: this.lastReason };
      }
    }
    return null;
  }

  /** The room in that place, or null while there is none. */
  room(name: string): Room | null {
    return this.places.get(name)?.room ?? null;
  }

  status(): RoomStatus[] {
    return [...this.places.values()].map(({ source, room, restarts }) => ({
      name: source.name,
      role: source.role,
      state: room === null || room.state === 'ended' ? 'waiting' : room.state,
      pid: room?.pid ?? -1,
      restarts,
      startMs: room === null || room.readyMs < 0 ? -1 : room.readyMs - room.startedMs,
      openConnections: room?.openConnections ?? 0,
      residentMiB: room === null ? 0 : residentMiB(room.pid),
    }));
  }

  /** Lets a room finish, and takes its place away. Resolves when its process is gone. */
  async remove(name: string, timeoutMs: number, isReplaced = false): Promise<void> {
    const place = this.places.get(name);
    if (place === undefined) return;
    place.isClosed = true;
    clearTimeout(place.retry);
    place.room?.drain(timeoutMs, isReplaced);
    await this.until(() => place.room === null);
    this.places.delete(name);
  }

  /** Ends all, those that serve first and the journal last. Each role has `timeoutMs`. Resolves when nobody is left. */
  async stop(timeoutMs: number): Promise<void> {
    for (const place of this.places.values()) {
      place.isClosed = true;
      clearTimeout(place.retry);
    }
    for (const role of START_ORDER.toReversed()) {
      const places = [...this.places.values()].filter(({ source }) => source.role === role);
      await Promise.all(places.map(({ source }) => this.remove(source.name, timeoutMs)));
    }
  }

  /** Ends all at once. */
  kill(): void {
    for (const place of this.places.values()) {
      place.isClosed = true;
      clearTimeout(place.retry);
      place.room?.kill('all is over');
    }
  }

  onReady(room: Room, generation: number): void {
    this.owner.onRoomReady(room.name, generation);
    this.look();
  }

  onMessage(room: Room, message: Message): void {
    this.owner.onRoomMessage(room.name, message);
  }

  onEnded(room: Room, reason: string, wasAsked: boolean): void {
    this.lastReason = reason;
    const place = this.places.get(room.name);
    if (place !== undefined && place.room === room) {
      place.room = null;
      if (!place.isClosed) {
        const wasSteady = room.readyMs >= 0 && performance.now() - room.readyMs > STEADY_MS;
        if (wasSteady) place.backoffMs = 0;
        this.retryLater(
          place,
          wasAsked ? '' : reason,
          room.readyMs >= 0 ? BACKOFF_MS_MAX_READY : BACKOFF_MS_MAX,
        );
      }
    }
    this.look();
  }

  private fill(place: Place): void {
    try {
      place.room = new Room(place.source.name, place.source.prepare(), this.making, this);
    } catch (error) {
      this.lastReason = error instanceof Error ? error.message : String(error);
      this.retryLater(place, this.lastReason);
    }
  }

  private retryLater(place: Place, reason: string, maxMs = BACKOFF_MS_MAX): void {
    place.backoffMs = Math.min(maxMs, Math.max(BACKOFF_MS_FIRST, place.backoffMs * 2));
    if (reason !== '') this.owner.onRoomLost(place.source.name, reason, place.backoffMs);
    place.retry = setTimeout(() => {
      place.restarts++;
      this.fill(place);
    }, place.backoffMs);
  }

  /** Resolves as soon as `condition` holds; it is looked at whenever a room changes. */
  private async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.waiters.push(resolve));
  }

  private look(): void {
    const { waiters } = this;
    this.waiters = [];
    for (const resolve of waiters) resolve();
  }
}

/** What a process holds, as /proc tells it: rooms can't see that themselves. 0 where it isn't told. */
export function residentMiB(pid: number): number {
  try {
    // The second field: pages. https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]);
    return Math.round((pages * PAGE_BYTES) / 1_048_576);
  } catch {
    return 0;
  }
}
