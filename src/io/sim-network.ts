/**
 * A network in memory with virtual time: listeners, connections, the file system and the clock that all
 * simulated nodes share. Everything random comes from one seed.
 *
 * It owns the clock (`timeMs`, which moves only in `run`, `step` and `pass`), the queue of events to come, the names
 * that are listened on, and the connections' faults. Nodes (sim.ts) own handles and buffers.
 */

import { constants } from 'node:os';
import { assert } from '../base/assert.ts';
import { Random } from '../base/random.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import { Endpoint, type EndpointOwner } from './sim-endpoint.ts';
import type { SimFaults } from './sim-faults.ts';
import { SimFileSystem } from './sim-files.ts';

const { EADDRINUSE, ECONNREFUSED, ENOENT } = constants.errno;

/** Virtual time that one round of turns takes, so that no loop stands outside time. */
const ROUND_MS = 1 / 32;
/** A connection request that finds the backlog full is sent again after this long. */
const SYN_RETRY_MS = 200;
/** Rounds without an end are a livelock: a simulated hour of them at ROUND_MS would be far more. */
const ROUNDS_MAX = 5_000_000;
const PORT_FIRST = 32768;
/** 2026-01-01T00:00:00Z, the wall clock at virtual time 0. */
export const WALL_START_MS = 1767225600000;

/** What the network drives; SimReactor is the only one. */
export interface SimNode {
  readonly label: string;
  turn(waitMsMax: number): boolean;
  /** Something can be delivered at this very time. */
  hasWork(): boolean;
  /** Virtual time at which a timer is to be looked at, or Infinity. */
  nextTimerMs(): number;
  /** What is still open, held or armed beyond the baseline, in words; empty when all is quiet. */
  leftovers(): string[];
}

/** A listening socket as the kernel has it. */
export class SimListener {
  readonly address: SocketAddress;
  readonly reusePort: boolean;
  readonly backlog: number;
  readonly owner: EndpointOwner;
  /** Connections that wait to be accepted, oldest first. */
  readonly queue: Endpoint[];

  constructor(address: SocketAddress, backlog: number, reusePort: boolean, owner: EndpointOwner) {
    this.address = address;
    this.reusePort = reusePort;
    this.backlog = backlog;
    this.owner = owner;
    this.queue = [];
  }
}

export class SimNetwork {
  readonly seed: number;
  readonly faults: SimFaults;
  readonly random: Random;
  readonly files: SimFileSystem;
  readonly nodes: SimNode[];
  /** Virtual milliseconds since the start, with a fraction. */
  timeMs: number;
  /** Rounds of turns so far. */
  rounds: number;
  private readonly events: EventQueue;
  private readonly listeners: Map<string, SimListener[]>;
  private ports: number;

  constructor(seed: number, faults: SimFaults) {
    this.seed = seed;
    this.faults = faults;
    this.random = new Random(seed);
    this.files = new SimFileSystem();
    this.nodes = [];
    this.timeMs = 1000;
    this.rounds = 0;
    this.events = new EventQueue();
    this.listeners = new Map();
    this.ports = PORT_FIRST;
  }

  /**
   * Drives all nodes until virtual time `until`, or until the predicate holds (looked at after each round).
   * False when the time `limitMs` came, or nothing is left to happen, before the predicate held.
   */
  run(until: number | (() => boolean), limitMs = Number.MAX_SAFE_INTEGER): boolean {
    const endMs = typeof until === 'number' ? until : limitMs;
    for (;;) {
      if (typeof until !== 'number' && until()) return true;
      if (this.timeMs >= endMs) return typeof until === 'number';
      if (!this.step(endMs)) return typeof until === 'number';
    }
  }

  /** One round of turns, or, when no node has work, one leap of the clock (not beyond `endMs`). False: nothing will ever happen. */
  step(endMs: number): boolean {
    assert(++this.rounds < ROUNDS_MAX, 'the simulation does not come to rest');
    const busy = this.nodes.filter((node) => node.hasWork());
    if (busy.length === 0) {
      const nextMs = this.nextMs();
      this.pass(Math.min(nextMs, endMs));
      return nextMs !== Number.POSITIVE_INFINITY;
    }
    if (this.faults.reorder > 0) shuffle(busy, this.random);
    for (const node of busy) node.turn(0);
    this.pass(this.timeMs + ROUND_MS);
    return true;
  }

  /** Moves the clock and lets what is due by then happen; nodes are only woken. */
  pass(timeMs: number): void {
    for (let event = this.events.peek(); event !== null && event.atMs <= timeMs; event = this.events.peek()) {
      this.events.pop();
      if (event.atMs > this.timeMs) this.timeMs = event.atMs;
      event.run();
    }
    if (timeMs > this.timeMs && timeMs !== Number.POSITIVE_INFINITY) this.timeMs = timeMs;
  }

  /** When something will happen next, or Infinity. */
  nextMs(): number {
    let nextMs = this.events.peek()?.atMs ?? Number.POSITIVE_INFINITY;
    for (const node of this.nodes) nextMs = Math.min(nextMs, node.nextTimerMs());
    return Math.max(nextMs, this.timeMs);
  }

  /** Lets `run` happen at a virtual time (now at the earliest). */
  at(atMs: number, run: () => void): void {
    this.events.push(Math.max(atMs, this.timeMs), run);
  }

  /** Throws unless every node is back at its baseline: no handle, buffer, file or timer more than it declared. */
  assertQuiet(): void {
    const leftovers = this.nodes.flatMap((node) => node.leftovers());
    assert(leftovers.length === 0, `not quiet: ${leftovers.join('; ')}`);
  }

  /** A kernel's listening socket, or -errno. */
  listen(
    address: SocketAddress,
    backlog: number,
    reusePort: boolean,
    owner: EndpointOwner,
  ): SimListener | number {
    const bound =
      address.family !== 'unix' && address.port === 0 ? { ...address, port: this.nextPort() } : address;
    const key = keyOf(bound);
    const others = this.listeners.get(key) ?? [];
    if (others.length > 0 && !(reusePort && others.every((other) => other.reusePort))) return -EADDRINUSE;
    const listener = new SimListener(bound, backlog, reusePort, owner);
    this.listeners.set(key, [...others, listener]);
    return listener;
  }

  closeListener(listener: SimListener): void {
    const key = keyOf(listener.address);
    const others = (this.listeners.get(key) ?? []).filter((other) => other !== listener);
    if (others.length === 0) this.listeners.delete(key);
    else this.listeners.set(key, others);
    for (const endpoint of listener.queue.splice(0)) endpoint.close(true);
  }

  /** Starts a connection from `local`; its result comes as `connectErrno` of the endpoint. */
  connect(local: SocketAddress, remote: SocketAddress, owner: EndpointOwner): Endpoint {
    const client = new Endpoint(this, owner, local, remote);
    const faults = this.faults;
    const random = this.random;
    const unix = remote.family === 'unix';
    client.latencyMs = unix ? 0 : random.below(faults.latencyMsMax + 1);
    if (random.chance(faults.deadConnect)) return client;
    const delayMs = random.chance(faults.slowConnect) ? random.below(faults.stallMsMax + 1) : 0;
    const refused = random.chance(faults.refuse);
    this.at(this.timeMs + client.latencyMs + delayMs, () => this.arriveAt(client, refused));
    return client;
  }

  nextPort(): number {
    this.ports = this.ports >= 65535 ? PORT_FIRST : this.ports + 1;
    return this.ports;
  }

  /** A connection request has reached its destination. */
  private arriveAt(client: Endpoint, refused: boolean): void {
    if (client.closed) return;
    const remote = client.remote;
    const listener = refused ? null : this.listenerFor(remote);
    if (listener === null) {
      const errno = remote.family === 'unix' && !refused ? -ENOENT : -ECONNREFUSED;
      this.at(this.timeMs + client.latencyMs, () => client.connectDone(errno));
      return;
    }
    if (listener.queue.length > listener.backlog) {
      this.at(this.timeMs + SYN_RETRY_MS, () => this.arriveAt(client, false));
      return;
    }
    const server = new Endpoint(this, listener.owner, remote, client.local);
    server.latencyMs = client.latencyMs;
    this.pair(client, server);
    server.connectErrno = 0;
    listener.queue.push(server);
    listener.owner.wake();
    this.at(this.timeMs + client.latencyMs, () => client.connectDone(0));
  }

  private pair(client: Endpoint, server: Endpoint): void {
    const { faults, random } = this;
    client.peer = server;
    server.peer = client;
    client.windowBytes = random.between(faults.windowBytesMin, faults.windowBytesMax);
    server.windowBytes = random.between(faults.windowBytesMin, faults.windowBytesMax);
    const atMs = (): number => this.timeMs + random.below(faults.resetMsMax + 1);
    if (random.chance(faults.reset)) this.at(atMs(), () => client.cut());
    if (random.chance(faults.vanish)) this.at(atMs(), () => client.goSilent());
  }

  private listenerFor(address: SocketAddress): SimListener | null {
    let found = this.listeners.get(keyOf(address));
    if (found === undefined && address.family !== 'unix') {
      const port = address.port;
      found = this.listeners.get(keyOf({ family: 'ipv4', address: '0.0.0.0', port }));
      if (found === undefined || address.family === 'ipv6') {
        found = this.listeners.get(keyOf({ family: 'ipv6', address: '::', port })) ?? found;
      }
    }
    if (found === undefined) return null;
    return found[found.length === 1 ? 0 : this.random.below(found.length)];
  }
}

function keyOf(address: SocketAddress): string {
  return address.family === 'unix'
    ? `unix:${address.path}`
    : `${address.family}:${address.address}:${address.port}`;
}

/** Fisher-Yates, in place. */
export function shuffle<T>(items: T[], random: Random): void {
  for (let index = items.length - 1; index > 0; index--) {
    const other = random.below(index + 1);
    const item = items[index];
    items[index] = items[other];
    items[other] = item;
  }
}

interface SimEvent {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** A binary heap by time; of the same time, first in first out. */
class EventQueue {
  private readonly heap: SimEvent[];
  private order: number;

  constructor() {
    this.heap = [];
    this.order = 0;
  }

  peek(): SimEvent | null {
    return this.heap.length === 0 ? null : this.heap[0];
  }

  push(atMs: number, run: () => void): void {
    const heap = this.heap;
    const event = { atMs, order: this.order++, run };
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!before(event, heap[above])) break;
      heap[at] = heap[above];
      at = above;
    }
    heap[at] = event;
  }

  pop(): void {
    const heap = this.heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && before(heap[below + 1], heap[below])) below++;
      if (!before(heap[below], last)) break;
      heap[at] = heap[below];
      at = below;
    }
    heap[at] = last;
  }
}

function before(one: SimEvent, other: SimEvent): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
}
