/**
 * What outlives rooms and what they are furnished with: listening sockets, the memory that all share, the pipes that
 * carry the rooms' output to the journal, the log's file, the keys' files, the secret of tickets.
 */

import type { EdgeOrder } from '../config/material.ts';
import type { TlsConfig } from '../config/model.ts';
import { WORKERS_MAX } from '../config/model.ts';
import type { OutboundConfiguration } from '../config/outbound-need.ts';
import type { PolledChannel } from '../ipc/polled-channel.ts';
import { SharedState } from '../shared/state.ts';
import { createSharedMemory, mapSharedMemory } from '../sys/descriptors.ts';
import { errnoName } from '../sys/errno.ts';
import { type KernelTlsSupport, probeKernelTls } from '../sys/kernel-tls.ts';
import { close } from '../sys/libc.ts';
import type { MappedMemory } from '../sys/memory.ts';
import type { COMPARTMENTS } from './compartments.ts';
import type { Accepted } from './judge.ts';
import { KeyRing } from './key-ring.ts';
import type { ListenerKind, Listeners } from './listeners.ts';
import type { LogFiles } from './log-files.ts';
import { RoomOutputs } from './room-outputs.ts';
import { TicketSecrets } from './ticket-secrets.ts';

type RoomRole = keyof typeof COMPARTMENTS;

/** `index` of what is not for a worker. */
export const NO_WORKER = 0xffff;
/** One that works; others that drain, where reloads follow fast. */
const SLOTS_PER_WORKER = 8;
const SLOTS_MAX = 2 * WORKERS_MAX;
/** By the `index` of a listener. */
export const LISTENER_KINDS: readonly ListenerKind[] = ['main', 'redirect', 'status'];

/** Where a room is, and under which configuration. */
interface RoomPlace {
  /** Counts workers from 0. */
  readonly worker: number;
  readonly slot: number;
  readonly accepted: Accepted;
}

export class Foundations {
  readonly listeners: Listeners;
  readonly logFiles: LogFiles;
  readonly keyRing: KeyRing;
  readonly outputs: RoomOutputs;
  readonly shared: SharedState;
  readonly slots: number;
  private readonly memory: number;
  private readonly mapped: MappedMemory;
  private readonly tickets: TicketSecrets;
  private kernelTls: KernelTlsSupport | null;

  /** Throws an Error where the kernel has no memory or descriptors. */
  constructor(workers: number, listeners: Listeners, logFiles: LogFiles) {
    this.listeners = listeners;
    this.logFiles = logFiles;
    this.keyRing = new KeyRing();
    this.outputs = new RoomOutputs();
    this.tickets = new TicketSecrets();
    this.kernelTls = null;
    this.slots = Math.min(SLOTS_MAX, workers * SLOTS_PER_WORKER);
    const bytes = SharedState.bytes(this.slots);
    this.memory = createSharedMemory('sallyport', bytes);
    if (this.memory < 0) throw new Error(`no shared memory can be made (${errnoName(this.memory)})`);
    const mapped = mapSharedMemory(this.memory, bytes);
    if (mapped === undefined) throw new Error('shared memory can’t be mapped');
    this.mapped = mapped;
    SharedState.initialise(mapped.buffer, this.slots);
    this.shared = new SharedState(mapped.buffer, this.slots, -1, 0);
  }

  /** Gives a room that starts what it works with, before its configuration. */
  give(role: RoomRole, channel: PolledChannel, { worker, slot, accepted }: RoomPlace): void {
    const head = { kind: 'descriptors', peer: role } as const;
    switch (role) {
      case 'journal':
        this.outputs.giveTo(channel);
        this.logFiles.giveTo(channel);
        break;
      case 'keys':
        this.keyRing.furnish(channel, accepted);
        break;
      case 'outbound':
        channel.send({ ...head, purpose: 'statistics', index: NO_WORKER }, [this.memory]);
        break;
      case 'edge':
        channel.send({ ...head, purpose: 'statistics', index: slot }, [this.memory]);
        for (const { fd, kind } of this.listeners.descriptorsOf(worker))
          channel.send({ ...head, purpose: 'listener', index: LISTENER_KINDS.indexOf(kind) }, [fd]);
    }
  }

  /** What a room is told, JSON. */
  orderFor(role: RoomRole, { config, material }: Accepted): string {
    const { slots } = this;
    switch (role) {
      case 'journal':
        return JSON.stringify({ logging: config.logging });
      case 'keys':
        return this.keyRing.configuration();
      case 'outbound': {
        const order: OutboundConfiguration = { config, backends: material.backends, slots };
        return JSON.stringify(order);
      }
      case 'edge': {
        const tickets = this.tickets.current(config.tls);
        const kernelTls = config.tls?.ktlsEnabled === true ? this.foundKernelTls() : null;
        const order: EdgeOrder = { config, material, tickets, kernelTls, slots };
        return JSON.stringify(order);
      }
    }
  }

  /**
   * Finds out whether the kernel has the TLS that a configuration asks for, before workers are told: empty where it has,
   * or isn't asked for it, else why not. Where it had none it is asked again, since a module may have been loaded.
   */
  askKernelTls(tls: TlsConfig | null): string {
    if (tls === null || !tls.ktlsEnabled) return '';
    if (this.kernelTls?.problem !== '') this.kernelTls = probeKernelTls();
    return this.kernelTls.problem;
  }

  /** All workers are told the same. Rooms can't ask: it takes a listening socket, and the right to load modules. */
  private foundKernelTls(): KernelTlsSupport {
    this.kernelTls ??= probeKernelTls();
    return this.kernelTls;
  }

  close(): void {
    this.logFiles.close();
    this.keyRing.keepOnly({ keys: [] });
    this.outputs.close();
    close(this.memory);
    this.mapped.unmap();
  }
}
