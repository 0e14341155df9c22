/**
 * One room as the master sees it: the process, its channel, where it stands. It starts the launcher, hears the room,
 * notices a room that hangs, and ends it. Whether another one takes its place is the supervisor's business.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import { PATIENCE } from '../base/patience.ts';
import type { Message } from '../ipc/message.ts';
import { type ChannelHandler, PolledChannel } from '../ipc/polled-channel.ts';
import type { Role } from '../ipc/roles.ts';
import { createMessagePair, createSharedMemory } from '../sys/descriptors.ts';
import { errnoName } from '../sys/errno.ts';
import { close } from '../sys/libc.ts';
import { startInPidNamespace } from '../sys/namespaces.ts';
import { noInput } from './no-input.ts';
import type { Plan } from './plan.ts';

/** How long a room may take until it is ready: loading, certificates, a busy machine. */
const READY_MS_MAX = 30_000 * PATIENCE;
const PING_INTERVAL_MS = 5_000;
/** A room that has not answered for so long hangs. */
const PONG_MS_MAX = 20_000 * PATIENCE;
/** How long a room that was told that it is over may take to end by itself. */
const LEAVE_MS_MAX = 2_000 * PATIENCE;
/** Kernel memory for messages that are on their way, each direction. */
const CHANNEL_BUFFER_BYTES = 1_048_576;

/** For the operator, whom the signal's name alone tells too little. */
const FILTER_WORDS = 'SIGSYS: it made a system call that its filter forbids, which the kernel’s log names';

export type RoomState = 'starting' | 'ready' | 'draining' | 'ended';

/** What a room is started with, made anew each time. */
export interface RoomStart {
  readonly plan: Plan;
  /** From 4 on, in this order; the master's copies are closed once the room has its own. */
  readonly descriptors: readonly number[];
  /** What it is told first: its configuration, more descriptors. */
  readonly onStarted: (channel: PolledChannel, pid: number) => void;
  /** A descriptor for its standard output and error, which is closed like the others; absent: as that of all. */
  readonly output?: number;
}

export interface RoomOwner {
  onReady(room: Room, generation: number): void;
  /** Everything that the room says but ready, pong and drained. */
  onMessage(room: Room, message: Message): void;
  /** The process is gone. `reason` in words; `wasAsked`: it had been told to end. */
  onEnded(room: Room, reason: string, wasAsked: boolean): void;
}

/** How rooms are started: by what, where their output goes. */
export interface RoomMaking {
  /** Node.js' arguments: the launcher's file, flags before it. */
  readonly launcher: readonly string[];
  /** A descriptor for standard output and error, where a room has none of its own. */
  readonly output: number;
}

export class Room implements ChannelHandler {
  readonly role: Role;
  readonly name: string;
  state: RoomState;
  /** Answer of the last pong. */
  openConnections: number;
  /** The journal's: entries that it could not write. */
  unwritten: number;
  readonly startedMs: number;
  readyMs: number;
  private readonly owner: RoomOwner;
  private readonly process: ChildProcess;
  private readonly channel: PolledChannel;
  private readonly watch: NodeJS.Timeout;
  private sequence: number;
  private heardMs: number;
  private drainUntilMs: number;
  private killReason: string;

  /** Throws an Error where no process can be started (EAGAIN, EMFILE, ENOMEM): to be tried again. */
  constructor(name: string, start: RoomStart, making: RoomMaking, owner: RoomOwner) {
    this.role = start.plan.role as Role;
    this.name = name;
    this.owner = owner;
    this.state = 'starting';
    this.openConnections = 0;
    this.unwritten = 0;
    this.startedMs = performance.now();
    this.readyMs = -1;
    this.sequence = 0;
    this.heardMs = this.startedMs;
    this.drainUntilMs = Number.POSITIVE_INFINITY;
    this.killReason = '';
    const pair = createMessagePair(CHANNEL_BUFFER_BYTES);
    if (typeof pair === 'number') {
      closeGiven(start);
      throw new Error(`no channel can be made (${errnoName(pair)})`);
    }
    try {
      this.process = startProcess(start, making, pair[1]);
    } catch (error) {
      close(pair[0]);
      throw error;
    } finally {
      close(pair[1]);
      closeGiven(start);
    }
    this.channel = new PolledChannel(pair[0], 'master', this.role, this);
    this.process.once('exit', (code, signal) => this.onExit(code, signal));
    this.process.once('error', (error) => this.onExit(null, error.message));
    this.watch = setInterval(() => this.look(), Math.min(PING_INTERVAL_MS, 1000));
    try {
      start.onStarted(this.channel, this.pid);
    } catch (error) {
      this.kill(`it can’t be given what it needs: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** -1 where it never came to be. */
  get pid(): number {
    return this.process.pid ?? -1;
  }

  /** Messages to the room wait their turn; false: it is gone. */
  send(message: Message, descriptors: readonly number[] = []): boolean {
    return this.channel.send(message, descriptors);
  }

  /** The same for descriptors that the room is to have alone: they are closed here once they have left, or can't. */
  handOver(message: Message, descriptors: readonly number[]): boolean {
    return this.channel.handOver(message, descriptors);
  }

  /** For what may be lost: false where the room can't take it now. */
  trySend(message: Message): boolean {
    return this.channel.trySend(message);
  }

  /** Asks it to finish what it does; it is killed after `timeoutMs`. `isReplaced`: another one serves in its place. */
  drain(timeoutMs: number, isReplaced: boolean): void {
    if (this.state === 'draining' || this.state === 'ended') return;
    this.state = 'draining';
    this.drainUntilMs = performance.now() + timeoutMs + LEAVE_MS_MAX;
    if (!this.channel.send({ kind: 'drain', timeoutMs, isReplaced })) this.kill('it can’t be reached');
  }

  kill(reason: string): void {
    if (this.state === 'ended') return;
    if (this.killReason === '') this.killReason = reason;
    this.process.kill('SIGKILL');
  }

  onMessage(_channel: PolledChannel, message: Message): void {
    this.heardMs = performance.now();
    switch (message.kind) {
      case 'ready':
        if (this.state === 'starting') this.state = 'ready';
        if (this.readyMs < 0) this.readyMs = this.heardMs;
        this.owner.onReady(this, message.generation);
        break;
      case 'pong':
        this.openConnections = message.openConnections;
        this.unwritten = message.unwritten;
        break;
      case 'drained':
        this.drainUntilMs = this.heardMs + LEAVE_MS_MAX;
        this.channel.close();
        break;
      default:
        this.owner.onMessage(this, message);
    }
  }

  /** A room without a channel can't be told anything any more: it ends by itself, or is made to. */
  onEnd(_channel: PolledChannel, reason: string): void {
    if (reason !== 'gone') this.kill(`it sent ${reason}`);
    else this.drainUntilMs = Math.min(this.drainUntilMs, performance.now() + LEAVE_MS_MAX);
  }

  private look(): void {
    const nowMs = performance.now();
    if (nowMs > this.drainUntilMs) this.kill('it didn’t end in time');
    else if (this.state === 'starting' && nowMs - this.startedMs > READY_MS_MAX)
      this.kill('it didn’t get ready');
    else if (this.state === 'ready' && nowMs - this.heardMs > PONG_MS_MAX) this.kill('it doesn’t answer');
    else if (nowMs - this.heardMs > PING_INTERVAL_MS)
      this.channel.send({ kind: 'ping', sequence: this.sequence++ });
  }

  private onExit(code: number | null, signal: string | null): void {
    if (this.state === 'ended') return;
    const wasAsked = this.state === 'draining';
    this.state = 'ended';
    clearInterval(this.watch);
    this.channel.close();
    const how = signal === null ? `exit code ${code}` : signal === 'SIGSYS' ? FILTER_WORDS : signal;
    this.owner.onEnded(this, this.killReason === '' ? how : `${how}, since ${this.killReason}`, wasAsked);
  }
}

function closeGiven({ descriptors, output }: RoomStart): void {
  for (const descriptor of descriptors) close(descriptor);
  if (output !== undefined) close(output);
}

function startProcess(
  { plan, descriptors, output: own }: RoomStart,
  { launcher, output: common }: RoomMaking,
  control: number,
): ChildProcess {
  const output = own ?? common;
  const order = writtenPlan(plan);
  const begin = (parent: number): ChildProcess =>
    spawn(process.execPath, [...launcher, String(1 + descriptors.length), String(parent)], {
      stdio: [noInput(), output, output, control, ...descriptors, order],
      // A session of its own: what is typed at the master's terminal is for the master.
      detached: true,
    });
  try {
    if (!plan.hasOwnPids) return begin(process.pid);
    const started = startInPidNamespace(() => begin(0));
    if (typeof started === 'number') throw new Error(`no namespace for process ids (${errnoName(started)})`);
    return started;
  } finally {
    close(order);
  }
}

/** A file in memory with the plan, JSON: with thousands of paths it is too long for an argument. */
export function writtenPlan(plan: Plan): number {
  const bytes = Buffer.from(JSON.stringify(plan), 'utf8');
  const descriptor = createSharedMemory('plan', bytes.length);
  if (descriptor < 0) throw new Error(`no memory for its plan (${errnoName(descriptor)})`);
  // At its start, where the launcher reads from.
  writeSync(descriptor, bytes, 0, bytes.length, 0);
  return descriptor;
}
