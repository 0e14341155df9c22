/**
 * The room that reaches out: it resolves the names of servers for the edges, and asks servers for their health. Takes
 * its part of the shared memory and the channels to other rooms from the master, then its configuration; prepares all,
 * seals itself, and works until it is told to finish.
 */

import type { OutboundConfiguration } from '../config/outbound-need.ts';
import { DEFAULT_LIMITS } from '../io/kernel-reactor.ts';
import { runReactor } from '../io/loop.ts';
import { type OpenedReactor, openReactor } from '../io/open.ts';
import { CLIENT_OPERATIONS } from '../io/uring-restrictions.ts';
import { JournalSink } from '../ipc/journal-sink.ts';
import type { Purpose } from '../ipc/message.ts';
import type { Role } from '../ipc/roles.ts';
import { RoomControl, type RoomHandler } from '../ipc/room-control.ts';
import { Log } from '../log/log.ts';
import { NO_SLOT, SharedState } from '../shared/state.ts';
import { mapSharedMemory } from '../sys/descriptors.ts';
import { errnoName } from '../sys/errno.ts';
import { close } from '../sys/libc.ts';
import { seal, warmUp } from '../sys/process-seal.ts';
import { Signing } from '../tls/signing.ts';
import { lookUp } from './name-lookup.ts';
import { Outbound } from './outbound.ts';

/** It can't be locked, or can't be had as it was asked for. */
const EXIT_UNSEALED = 71;
const EXIT_REFUSED = 70;
const EXIT_OK = 0;
/** Connections of checks, one each; buffers for the heads of what they say. */
const SHAPE = { small: 2048, medium: 2048, large: 64 };
const LIMITS = {
  ...DEFAULT_LIMITS,
  handlesMax: 8192,
  filesMax: 16,
  fileOperationsMax: 16,
  segmentsMax: 16_384,
  pipes: 0,
};
/** How long a signature for a client certificate may take: here nobody's connection waits meanwhile. */
const SIGNATURE_MS_MAX = 1000;

class OutboundRoom implements RoomHandler {
  private readonly control: RoomControl;
  private readonly opened: OpenedReactor;
  private readonly sink: JournalSink;
  private readonly signing: Signing;
  /** Of the shared memory, until it is mapped; -1: none came yet, or it is mapped. */
  private memory: number;
  private readonly edges: Map<number, number>;
  private outbound: Outbound | null;
  /** The end of the start: configurations that come before it wait for it. */
  private started: Promise<void> | null;

  constructor() {
    this.opened = openReactor({ shape: SHAPE, limits: LIMITS, operations: CLIENT_OPERATIONS });
    this.sink = new JournalSink('outbound');
    this.signing = new Signing(SIGNATURE_MS_MAX);
    this.memory = -1;
    this.edges = new Map();
    this.outbound = null;
    this.started = null;
    this.control = new RoomControl('outbound', this);
  }

  onDescriptors(purpose: Purpose, peer: Role, index: number, take: () => number): void {
    const descriptor = take();
    if (descriptor < 0) return;
    if (purpose === 'statistics' && this.outbound === null) this.memory = descriptor;
    else if (purpose === 'channel' && peer === 'journal') this.sink.connect(descriptor);
    else if (purpose === 'channel' && peer === 'keys') this.signing.connect(descriptor);
    else if (purpose === 'channel' && peer === 'edge') this.addEdge(index, descriptor);
    else close(descriptor);
  }

  private addEdge(index: number, descriptor: number): void {
    if (this.outbound !== null) {
      this.outbound.channels.add(index, descriptor);
      return;
    }
    const before = this.edges.get(index);
    if (before !== undefined) close(before);
    this.edges.set(index, descriptor);
  }

  onConfiguration(generation: number, text: string): void {
    const configuration = JSON.parse(text) as OutboundConfiguration;
    if (this.started === null) this.started = this.start(generation, configuration);
    else void this.started.then(() => this.apply(generation, configuration));
  }

  private async start(generation: number, configuration: OutboundConfiguration): Promise<void> {
    const { config, slots } = configuration;
    const mapped = mapSharedMemory(this.memory, SharedState.bytes(slots));
    if (mapped === undefined) this.fail(EXIT_REFUSED, generation, 'the shared memory can’t be mapped');
    close(this.memory);
    const log = new Log(config.logging, this.sink, 'outbound');
    const { verdicts } = new SharedState(mapped.buffer, slots, NO_SLOT);
    const outbound = new Outbound(this.opened.reactor, verdicts, log, this.signing, lookUp);
    await warmUp();
    // What the system's resolver makes with its first question, its libraries included, is made now.
    await new Promise<void>((resolve) => lookUp('localhost', () => resolve()));
    const sealed = seal();
    if (sealed < 0) this.fail(EXIT_UNSEALED, generation, `it can’t be sealed: ${errnoName(sealed)}`);
    this.outbound = outbound;
    for (const [index, descriptor] of this.edges) outbound.channels.add(index, descriptor);
    this.edges.clear();
    runReactor(this.opened.reactor);
    const refusal = outbound.follow(configuration);
    if (refusal !== '') this.fail(EXIT_REFUSED, generation, refusal);
    log.info(`ready, with ${this.opened.reactor.name}`);
    this.control.ready(generation);
  }

  private apply(generation: number, configuration: OutboundConfiguration): void {
    const refusal = this.outbound?.follow(configuration) ?? '';
    if (refusal === '') this.control.ready(generation);
    else this.control.refuse(generation, refusal);
  }

  private fail(code: number, generation: number, reason: string): never {
    process.stderr.write(`outbound: ${reason}\n`);
    this.control.refuse(generation, reason);
    process.exit(code);
  }

  onDrain(): void {
    this.outbound?.stop();
    this.control.drained();
    process.exit(EXIT_OK);
  }

  openConnections(): number {
    return 0;
  }
}

// As the first process of a namespace of its own it would not hear signals without a handler.
process.on('SIGTERM', () => process.exit(EXIT_OK));
process.on('SIGINT', () => process.exit(EXIT_OK));
new OutboundRoom();
