/**
 * The house: the rooms that a configuration needs, what each is given when it starts, and how all of them change over
 * to another configuration. It holds what outlives rooms: listening sockets, shared memory, the pipes for their output,
 * log files, the descriptors of keys.
 */

import { realpathSync, statSync } from 'node:fs';
import { PATIENCE } from '../base/patience.ts';
import type { Config } from '../config/model.ts';
import { splitConfiguration } from '../ipc/configuration-parts.ts';
import type { Message } from '../ipc/message.ts';
import type { PolledChannel } from '../ipc/polled-channel.ts';
import type { Log } from '../log/log.ts';
import type { HouseRoom } from '../shared/house-board.ts';
import { COMPARTMENTS, type IoBackend } from './compartments.ts';
import { measureLine } from './describe.ts';
import { type Foundations, NO_WORKER } from './foundations.ts';
import type { Told } from './house-sink.ts';
import type { Accepted } from './judge.ts';
import type { Machine } from './machine.ts';
import { coreOfWorker, neededRoles, workerCount } from './needed-rooms.ts';
import { Peers } from './peers.ts';
import { type Measure, type Plan, type Planned, planRoom, type Wishes } from './plan.ts';
import { needsNewWorkers } from './restart-keys.ts';
import { LAUNCHER_FILE, requestFor, withoutMissing } from './room-requests.ts';
import { type HouseOwner, type RoomSource, residentMiB, Supervisor } from './supervisor.ts';
import { wishesOf } from './wishes.ts';

type RoomRole = keyof typeof COMPARTMENTS;

/** What a room that starts anew, to be locked in otherwise, may take to finish: the journal has lines to write. */
const MOVE_MS = 2_000;
/** How long a room may take to change over to another configuration: names to resolve, certificates to load. */
const CHANGE_MS_MAX = 20_000 * PATIENCE;
const STDERR = 2;
const MIB = 1_048_576;

/** One room's place, and what its room is started with, whenever that is. */
interface Place {
  readonly role: RoomRole;
  readonly name: string;
  /** Of workers from 0: which listening sockets it has. */
  readonly worker: number;
  /** Its part of the shared memory. */
  readonly slot: number;
  accepted: Accepted;
  plan: Plan;
  measures: readonly Measure[];
  /** Where the paths led that it sees besides the program's own. */
  named: ReadonlyMap<string, string>;
}

interface Answer {
  readonly generation: number;
  /** A room that changes and dies starts again with what it was to change to; one that is new is not to be had. */
  readonly isNew: boolean;
  readonly resolve: (refusal: string) => void;
}

/** What a house is built with. */
export interface HouseOptions {
  readonly machine: Machine;
  readonly io: IoBackend;
  /** Cores that the program may use. */
  readonly cores: readonly number[];
  readonly foundations: Foundations;
  readonly log: Log;
  /** Does that when no change of the configuration is under way. */
  readonly inTurn: (work: () => Promise<unknown>) => void;
}

export class House implements HouseOwner {
  private readonly options: HouseOptions;
  private readonly log: Log;
  private readonly supervisor: Supervisor;
  private readonly peers: Peers;
  private readonly places: Map<string, Place>;
  private readonly answers: Map<string, Answer>;
  /** Why a room didn't take its first configuration, by its name. */
  private readonly refusals: Map<string, string>;
  private readonly slotsInUse: Set<number>;
  /** Rooms that finish what they have, the oldest first, and when each is gone. */
  private readonly draining: Map<string, Promise<void>>;
  /** The configuration in force, where rooms still hold what only others needed. */
  private unsettled: { readonly accepted: Accepted; readonly nextGeneration: () => number } | null;
  private workersMade: number;

  constructor(options: HouseOptions) {
    this.options = options;
    this.log = options.log;
    this.supervisor = new Supervisor({ launcher: [LAUNCHER_FILE], output: STDERR }, this);
    this.peers = new Peers();
    this.places = new Map();
    this.answers = new Map();
    this.refusals = new Map();
    this.slotsInUse = new Set();
    this.draining = new Map();
    this.unsettled = null;
    this.workersMade = 0;
  }

  // ---- Plans ------------------------------------------------------------------------------------------

  /** What each role would get, for those that the configuration needs. */
  measures(config: Config): { readonly role: RoomRole; readonly measures: readonly Measure[] }[] {
    const wishes = wishesOf(config.security);
    return neededRoles(config).map((role) => ({
      role,
      measures: this.planned(role, config, wishes, 0).measures,
    }));
  }

  private planned(role: RoomRole, config: Config, wishes: Wishes, worker: number): Planned {
    const { io, machine, cores } = this.options;
    const workers = workerCount(config, cores);
    const core = role === 'edge' ? coreOfWorker(worker, workers, cores) : -1;
    const request = withoutMissing(requestFor(role, config, io, worker, core));
    return planRoom(COMPARTMENTS[role], request, wishes, machine);
  }

  // ---- Start and end ----------------------------------------------------------------------------------

  /** Starts all rooms of a configuration. Resolves to empty text when they are ready, else to the reason why not. */
  async start(accepted: Accepted): Promise<string> {
    this.options.foundations.keyRing.open(accepted.keys);
    const places = neededRoles(accepted.config).flatMap((role) =>
      role === 'edge' ? this.newWorkers(accepted) : [this.newPlace(role, accepted)],
    );
    const failure = await this.supervisor.start(places.map((place) => this.sourceOf(place)));
    if (failure === null) return '';
    const { name, reason } = failure;
    return this.refusals.get(name) ?? `the room ${name} can't be started: ${reason}`;
  }

  /**
   * Ends all rooms, each role within `timeoutMs`; the journal last, when `beforeJournal` has said its last words.
   * `isReplaced`: another house serves in this one's place.
   */
  async stop(timeoutMs: number, isReplaced: boolean, beforeJournal: () => void = () => {}): Promise<void> {
    const workers = [...this.places.values()].filter(({ role }) => role === 'edge');
    await Promise.all(workers.map((place) => this.removePlace(place, timeoutMs, isReplaced)));
    beforeJournal();
    await this.supervisor.stop(timeoutMs);
  }

  kill(): void {
    this.supervisor.kill();
  }

  /** All rooms, the master first, for the board. */
  rooms(): HouseRoom[] {
    const rooms = this.supervisor.status().map(
      ({ name, role, state, pid, restarts, residentMiB }): HouseRoom => ({
        name,
        role,
        state: state === 'waiting' ? 'ended' : state,
        pid: Math.max(0, pid),
        restarts,
        residentBytes: residentMiB * MIB,
        startedSeconds: startedSeconds(this.supervisor.room(name)?.startedMs ?? 0),
        measures: this.places.get(name)?.measures.map(measureLine) ?? [],
      }),
    );
    return [master(), ...rooms];
  }

  get openConnections(): number {
    const workers = this.supervisor.status().filter(({ role }) => role === 'edge');
    return workers.reduce((sum, { openConnections }) => sum + openConnections, 0);
  }

  /** Entries of the log that the journal that is there could not write; as its last answer said. */
  get unwritten(): number {
    return this.supervisor.room('journal')?.unwritten ?? 0;
  }

  private newPlace(role: RoomRole, accepted: Accepted, worker = 0): Place {
    const isEdge = role === 'edge';
    const name = isEdge ? `edge ${++this.workersMade}` : role;
    const slot = isEdge ? this.takeSlot() : NO_WORKER;
    const place: Place = { role, name, worker, slot, accepted, ...this.drawUp(role, accepted, worker) };
    this.places.set(name, place);
    return place;
  }

  /** What a room of that role is locked into from now on. */
  private drawUp(
    role: RoomRole,
    { config }: Accepted,
    worker: number,
  ): Pick<Place, 'plan' | 'measures' | 'named'> {
    const { plan, measures } = this.planned(role, config, wishesOf(config.security), worker);
    const { files, socketFolders } = requestFor(role, config, this.options.io, worker, -1);
    const paths = [...files, ...socketFolders, ...COMPARTMENTS[role].systemFiles];
    return { plan, measures, named: new Map(paths.map((path) => [path, placeOf(path)])) };
  }

  /** Whether a path that rooms of that role were given is another file or folder by now, which they can't see. */
  hasMoved(role: RoomRole): boolean {
    const seen = new Map<string, string>();
    return [...this.places.values()].some(
      (place) =>
        place.role === role &&
        [...place.named].some(([path, before]) => {
          const now = seen.get(path) ?? placeOf(path);
          seen.set(path, now);
          // What is gone may come back: those who have it keep it so long.
          return now !== '' && now !== before;
        }),
    );
  }

  private newWorkers(accepted: Accepted): Place[] {
    const count = workerCount(accepted.config, this.options.cores);
    return Array.from({ length: count }, (_, worker) => this.newPlace('edge', accepted, worker));
  }

  /** A worker has ended: what it held in the shared memory is nobody's any more. */
  private clearSlotOf({ role, slot }: Place): void {
    if (role === 'edge') this.options.foundations.shared.clearSlot(slot);
  }

  private takeSlot(): number {
    let slot = 0;
    while (this.slotsInUse.has(slot)) slot++;
    this.slotsInUse.add(slot);
    return slot;
  }

  private sourceOf(place: Place): RoomSource {
    const { role, name } = place;
    const { outputs } = this.options.foundations;
    return {
      role,
      name,
      prepare: () => {
        // Paths may be gone, or there again, since its place was made.
        Object.assign(place, this.drawUp(role, place.accepted, place.worker));
        return {
          plan: place.plan,
          descriptors: [],
          // The journal's own is that of the whole program.
          ...(role === 'journal' ? {} : { output: outputs.open(name, role) }),
          onStarted: (channel, pid) => this.furnish(place, channel, pid),
        };
      },
    };
  }

  /** All that a room needs before its configuration, and that. */
  private furnish(place: Place, channel: PolledChannel, pid: number): void {
    const { role, name, slot } = place;
    this.options.foundations.outputs.started(name, pid, this.supervisor.room('journal'));
    this.options.foundations.give(role, channel, place);
    this.peers.moveIn(name, { role, index: slot, channel });
    for (const part of this.orderFor(place)) channel.send(part);
  }

  private orderFor({ role, accepted }: Place): Message[] {
    const text = this.options.foundations.orderFor(role, accepted);
    const parts = splitConfiguration(accepted.generation, Buffer.from(text, 'utf8'));
    if (parts === null) throw new Error('the configuration is too long for a room');
    return parts;
  }

  // ---- Another configuration --------------------------------------------------------------------------

  /**
   * Puts another configuration in force in the place of `before`: in the rooms that there are where their confinement
   * allows it, in new workers that take the place of the old where not. Resolves to empty text, or to the reason why
   * the old one stays. `nextGeneration` numbers what has to be put back.
   */
  async change(next: Accepted, before: Accepted, nextGeneration: () => number): Promise<string> {
    const { keyRing } = this.options.foundations;
    try {
      keyRing.open(next.keys);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    const refusal = await this.changeRooms(next);
    if (refusal === '') {
      await this.settleOn(next, nextGeneration);
      return '';
    }
    // Workers, who are told first, don't use them any more. A keys room that starts again must not want them.
    keyRing.forget(next, before);
    const needed = neededRoles(before.config);
    for (const place of [...this.places.values()].toReversed()) {
      if (place.accepted !== next || !needed.includes(place.role)) continue;
      await this.changePlace(place, { ...before, generation: nextGeneration() });
    }
    await this.settleOn(before, nextGeneration);
    return refusal;
  }

  /** Those that workers depend on first. */
  private async changeRooms(next: Accepted): Promise<string> {
    const before = [...this.places.values()];
    const roles = neededRoles(next.config);
    for (const role of roles) {
      if (role === 'edge') continue;
      const place = this.places.get(role);
      const refusal =
        place === undefined ? await this.addRoom(role, next) : await this.changePlace(place, next);
      if (refusal !== '') return refusal;
    }
    const workers = before.filter(({ role }) => role === 'edge');
    return workers.every((place) => this.fits(place, next))
      ? await this.changeWorkers(workers, next)
      : await this.renewWorkers(next);
  }

  /** Whether a worker can take the configuration: its confinement is what that would give it. */
  private fits(place: Place, next: Accepted): boolean {
    return !needsNewWorkers(place.accepted.config, next.config) && this.isPlannedFor(place, next);
  }

  private isPlannedFor({ role, worker, plan }: Place, { config }: Accepted): boolean {
    const wanted = this.planned(role, config, wishesOf(config.security), worker).plan;
    return JSON.stringify(wanted) === JSON.stringify(plan);
  }

  /** That configuration stays: what only others needed goes when the last worker that has one of them is gone. */
  private settleOn(accepted: Accepted, nextGeneration: () => number): Promise<void> {
    this.unsettled = { accepted, nextGeneration };
    return this.settle();
  }

  private get areWorkersDraining(): boolean {
    return [...this.draining.keys()].some((name) => name.startsWith('edge'));
  }

  private async settle(): Promise<void> {
    const { unsettled } = this;
    if (unsettled === null || this.areWorkersDraining) return;
    this.unsettled = null;
    const { accepted, nextGeneration } = unsettled;
    this.removeUnneeded(accepted.config);
    this.options.foundations.keyRing.keepOnly(accepted);
    const place = this.places.get('keys');
    if (place !== undefined) await this.changePlace(place, { ...accepted, generation: nextGeneration() });
  }

  private async addRoom(role: RoomRole, next: Accepted): Promise<string> {
    const place = this.newPlace(role, next);
    const ready = this.answerOf(place.name, next.generation, true);
    this.supervisor.add(this.sourceOf(place));
    const refusal = await ready;
    if (refusal === '') return '';
    await this.removePlace(place, 0);
    return refusal;
  }

  /** A room that isn't there just now starts with the new configuration; one that starts has the old one by now. */
  private async changePlace(place: Place, next: Accepted): Promise<string> {
    const mustMove = place.role !== 'edge' && !this.isPlannedFor(place, next);
    place.accepted = next;
    if (mustMove) Object.assign(place, this.drawUp(place.role, next, place.worker));
    const room = this.supervisor.room(place.name);
    if (room === null || room.state === 'draining' || room.state === 'ended') return '';
    const answer = this.answerOf(place.name, next.generation, false);
    if (mustMove) {
      room.drain(MOVE_MS, false);
      return answer;
    }
    if (place.role === 'keys') this.options.foundations.keyRing.add(room, next);
    for (const part of this.orderFor(place)) room.send(part);
    return answer;
  }

  private async changeWorkers(workers: readonly Place[], next: Accepted): Promise<string> {
    for (const place of workers) {
      const refusal = await this.changePlace(place, next);
      if (refusal !== '') return refusal;
    }
    return '';
  }

  /** New workers take up the same sockets; when all are ready, the old ones finish what they have. */
  private async replaceWorkers(workers: readonly Place[], next: Accepted): Promise<string> {
    await this.makeRoom(workers.length);
    const fresh = workers.map(({ worker }) => this.newPlace('edge', next, worker));
    const answers = fresh.map((place) => this.answerOf(place.name, next.generation, true));
    for (const place of fresh) this.supervisor.add(this.sourceOf(place));
    const refusal = (await Promise.all(answers)).find((each) => each !== '') ?? '';
    const { shutdownTimeoutSecs } = next.config.server;
    for (const place of refusal === '' ? workers : fresh)
      void this.removePlace(place, refusal === '' ? shutdownTimeoutSecs * 1000 : 0, true);
    return refusal;
  }

  /** Of the shared memory, for so many workers more: those that have drained longest are cut where it is short. */
  private async makeRoom(workers: number): Promise<void> {
    for (const [name, gone] of this.draining) {
      if (this.slotsInUse.size + workers <= this.options.foundations.slots) return;
      this.log.warn(`${name} is cut: others are to finish, too`);
      this.supervisor.room(name)?.kill('others are to finish, too');
      await gone;
    }
  }

  /** Workers that finish what they have. */
  get drainingCount(): number {
    return this.draining.size;
  }

  /**
   * The room that resolves names starts anew, with the system's files as they are now. What it has found stays in use
   * meanwhile.
   */
  renewOutbound(): void {
    const place = this.places.get('outbound');
    if (place === undefined) return;
    Object.assign(place, this.drawUp(place.role, place.accepted, place.worker));
    this.supervisor.room(place.name)?.drain(0, false);
  }

  /** New workers with the same configuration, whose paths lead where they lead now. */
  renewWorkers(accepted: Accepted): Promise<string> {
    const workers = [...this.places.values()].filter(({ role }) => role === 'edge');
    return this.replaceWorkers(workers, accepted);
  }

  private async removePlace(place: Place, timeoutMs: number, isReplaced = false): Promise<void> {
    this.places.delete(place.name);
    const gone = this.supervisor.remove(place.name, timeoutMs, isReplaced);
    this.draining.set(place.name, gone);
    await gone;
    this.draining.delete(place.name);
    this.peers.moveOut(place.name);
    this.options.foundations.outputs.remove(place.name);
    this.clearSlotOf(place);
    if (place.role !== 'edge') return;
    this.slotsInUse.delete(place.slot);
    // A change that is under way has keys of its own, and settles itself.
    if (this.unsettled !== null && !this.areWorkersDraining) this.options.inTurn(() => this.settle());
  }

  private removeUnneeded(config: Config): void {
    const roles = neededRoles(config);
    for (const place of [...this.places.values()])
      if (!roles.includes(place.role)) void this.removePlace(place, 0);
  }

  /** Empty text when the room has taken that generation, else why it hasn't. */
  private answerOf(name: string, generation: number, isNew: boolean): Promise<string> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => finish(`the room ${name} doesn't answer`), CHANGE_MS_MAX);
      const finish = (refusal: string): void => {
        clearTimeout(timer);
        this.answers.delete(name);
        resolve(refusal);
      };
      this.answers.set(name, { generation, isNew, resolve: finish });
    });
  }

  // ---- The journal ------------------------------------------------------------------------------------

  /** An entry of the master's own log. */
  tellJournal(message: Message): Told {
    const room = this.supervisor.room('journal');
    const listens = room !== null && (room.state === 'ready' || room.state === 'draining');
    if (!listens) return 'absent';
    return room.trySend(message) ? 'sent' : 'full';
  }

  /** The log's file was opened anew. */
  giveLogFile(): void {
    const room = this.supervisor.room('journal');
    if (room === null) return;
    const problem = this.options.foundations.logFiles.giveTo(room);
    if (problem !== '') this.log.error(`the journal can't be given its file: ${problem}`);
  }

  private rotateLog(): void {
    const problem = this.options.foundations.logFiles.rotate();
    if (problem !== '') this.log.error(`the log file can't be rotated: ${problem}`);
    this.giveLogFile();
  }

  // ---- What rooms say ---------------------------------------------------------------------------------

  onRoomReady(name: string, generation: number): void {
    this.refusals.delete(name);
    const answer = this.answers.get(name);
    if (answer !== undefined && answer.generation <= generation) answer.resolve('');
  }

  onRoomMessage(name: string, message: Message): void {
    if (message.kind === 'refused') {
      this.refusals.set(name, message.reason);
      const answer = this.answers.get(name);
      if (answer !== undefined && answer.generation === message.generation) answer.resolve(message.reason);
    } else if (message.kind === 'rotate') this.rotateLog();
  }

  onRoomLost(name: string, reason: string, retryMs: number): void {
    this.peers.moveOut(name);
    const place = this.places.get(name);
    if (place !== undefined) this.clearSlotOf(place);
    const answer = this.answers.get(name);
    const refusal = this.refusals.get(name);
    if (answer?.isNew === true) {
      // It is taken away again: the reason is the change's to tell.
      answer.resolve(refusal ?? `the room ${name} can't be started: ${reason}`);
      return;
    }
    answer?.resolve(refusal ?? '');
    const why = refusal === undefined ? reason : `${reason}: ${refusal}`;
    this.log.error(`the room ${name} is gone`, { reason: why, again_in_ms: retryMs });
  }
}

/** Which file or folder a path leads to; empty: to none. */
function placeOf(path: string): string {
  try {
    const { dev, ino } = statSync(path);
    return `${realpathSync(path)} ${dev} ${ino}`;
  } catch {
    return '';
  }
}

function master(): HouseRoom {
  return {
    name: 'master',
    role: 'master',
    state: 'ready',
    pid: process.pid,
    restarts: 0,
    residentBytes: residentMiB(process.pid) * MIB,
    startedSeconds: startedSeconds(0),
    measures: [],
  };
}

/** Seconds since 1970, of milliseconds since this process began. */
function startedSeconds(sinceStartMs: number): number {
  return Math.floor((performance.timeOrigin + sinceStartMs) / 1000);
}
