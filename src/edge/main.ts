/**
 * The edge as a room: one worker. It takes from the master its listening sockets, its part of the shared memory, channels
 * to other rooms, then its configuration; prepares everything, seals itself, and serves until it is told to finish.
 */

import { loadBackendTls } from '../backend/backend-tls.ts';
import type { EdgeOrder } from '../config/material.ts';
import { runReactor } from '../io/loop.ts';
import { type OpenedReactor, openReactor } from '../io/open.ts';
import { REACTOR_OPERATIONS } from '../io/uring-restrictions.ts';
import { JournalSink } from '../ipc/journal-sink.ts';
import type { Purpose } from '../ipc/message.ts';
import type { Role } from '../ipc/roles.ts';
import { RoomControl, type RoomHandler } from '../ipc/room-control.ts';
import { Log } from '../log/log.ts';
import { SharedState } from '../shared/state.ts';
import { mapSharedMemory } from '../sys/descriptors.ts';
import { errnoName } from '../sys/errno.ts';
import type { KernelTlsSupport } from '../sys/kernel-tls.ts';
import { seal, warmUp } from '../sys/process-seal.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import { Signing } from '../tls/signing.ts';
import { HttpsRedirect, httpsPortOf } from './https-redirect.ts';
import { prepareKernelTls } from './kernel-tls.ts';
import { Names } from './names.ts';
import type { RouteAction } from './route.ts';
import { ServerTls, tlsMaterialOf } from './server-tls.ts';
import { StatusRoute } from './status-route.ts';
import { type TlsSessions, withKernelTls } from './tls-acceptor.ts';
import { EdgeWorker } from './worker.ts';

/** Exit codes: the room could not be prepared, or not be sealed. */
const EXIT_REFUSED = 70;
const EXIT_UNSEALED = 71;
/** By the `index` of a listener. */
const MAIN = 0;
const REDIRECT = 1;
const STATUS = 2;

class EdgeRoom implements RoomHandler {
  private readonly control: RoomControl;
  private readonly sink: JournalSink;
  private readonly signing: Signing;
  private readonly names: Names;
  private readonly serverTls: ServerTls;
  /** What came before the first configuration. */
  private readonly listeners: { readonly kind: number; readonly descriptor: number }[];
  private memory: number;
  private slot: number;
  private worker: EdgeWorker | null;
  /** Configurations, one after the other: resolving names takes time. */
  private turn: Promise<void>;

  constructor() {
    this.sink = new JournalSink('edge');
    this.signing = new Signing();
    this.serverTls = new ServerTls();
    this.listeners = [];
    this.memory = -1;
    this.slot = 0;
    this.worker = null;
    this.names = new Names((changed) => this.worker?.readdress(changed));
    this.turn = Promise.resolve();
    this.control = new RoomControl('edge', this);
  }

  onDescriptors(purpose: Purpose, peer: Role, index: number, take: () => number): void {
    if (purpose === 'listener') this.listeners.push({ kind: index, descriptor: take() });
    else if (purpose === 'statistics') {
      this.memory = take();
      this.slot = index;
    } else if (purpose === 'channel' && peer === 'journal') this.sink.connect(take());
    else if (purpose === 'channel' && peer === 'keys') this.signing.connect(take());
    else if (purpose === 'channel' && peer === 'outbound') this.names.connect(take());
  }

  onConfiguration(generation: number, text: string): void {
    const order = JSON.parse(text) as EdgeOrder;
    this.turn = this.turn.then(async () => {
      try {
        if (this.worker === null) await this.begin(order);
        else await this.configure(this.worker, order);
        this.control.ready(generation);
      } catch (error) {
        this.control.refuse(generation, error instanceof Error ? error.message : String(error));
        if (this.worker === null) process.exit(EXIT_REFUSED);
      }
    });
  }

  onDrain(timeoutMs: number, isReplaced: boolean): void {
    const { worker } = this;
    if (worker === null) process.exit(0);
    worker.shutdown(timeoutMs, isReplaced, () => {
      worker.log.flush();
      this.control.drained();
    });
  }

  openConnections(): number {
    return this.worker?.openConnections ?? 0;
  }

  /** From a process that has everything it needs to a sealed one that serves. */
  private async begin(order: EdgeOrder): Promise<void> {
    const { config, slots } = order;
    const memory = mapSharedMemory(this.memory, SharedState.bytes(slots));
    if (memory === undefined) throw new Error('the shared memory can’t be mapped');
    const shared = new SharedState(memory.buffer, slots, this.slot);
    const log = new Log(config.logging, this.sink);
    const { hugePagesEnabled } = config.performance;
    const opened = openReactor({ hugePages: hugePagesEnabled, operations: REACTOR_OPERATIONS });
    if (hugePagesEnabled && !opened.hugePages)
      log.warn(
        'performance.huge_pages_enabled: this kernel gives no huge pages for buffers; ordinary ones are used',
      );
    const worker = new EdgeWorker(opened.reactor, log, shared);
    await this.configure(worker, order);
    await warmUp();
    const sealed = seal();
    if (sealed < 0) {
      process.stderr.write(`Error: the room can’t be sealed: ${errnoName(sealed)}\n`);
      process.exit(EXIT_UNSEALED);
    }
    this.worker = worker;
    // What was said of names while the room was sealed.
    worker.readdress(this.names.addresses);
    this.serve(worker, opened);
  }

  private serve(worker: EdgeWorker, { reactor, listenOn }: OpenedReactor): void {
    const open = (descriptor: number, action: RouteAction | null): SocketAddress => {
      const address = worker.listenOn((handler) => listenOn(descriptor, handler), action);
      if (typeof address !== 'number') return address;
      throw new Error(`a listening socket can’t be used (${errnoName(address)})`);
    };
    const all = this.listeners.splice(0);
    const bound = all.filter(({ kind }) => kind === MAIN).map(({ descriptor }) => open(descriptor, null));
    const redirect = new HttpsRedirect(reactor, httpsPortOf(bound));
    for (const { kind, descriptor } of all) if (kind === REDIRECT) open(descriptor, redirect);
    const status = new StatusRoute(() => worker.status());
    for (const { kind, descriptor } of all) if (kind === STATUS) open(descriptor, status);
    runReactor(reactor);
  }

  /** Puts a configuration in force. Throws an Error with the reason. */
  private async configure(worker: EdgeWorker, order: EdgeOrder): Promise<void> {
    const { config, material } = order;
    const resolved = await this.names.resolve(config);
    const backendTls = loadBackendTls(
      config,
      material.backends,
      this.signing.clientKeys(material.backends.clientKeys),
    );
    let sessions: TlsSessions | null = null;
    try {
      sessions = this.sessionsOf(worker, order);
      worker.configure(config, resolved, sessions, backendTls);
      worker.log.follow(config.logging);
      this.serverTls.keep();
      this.names.keep();
      worker.metrics?.followCertificates(this.serverTls.expiries);
    } catch (error) {
      sessions?.free();
      this.serverTls.drop();
      throw error;
    } finally {
      backendTls.free();
    }
  }

  private sessionsOf(
    worker: EdgeWorker,
    { config, material, tickets, kernelTls }: EdgeOrder,
  ): TlsSessions | null {
    const { server } = material;
    if (config.tls === null || server === null) return null;
    const kernel = prepareKernelTls(
      config.tls,
      worker.reactor,
      (message) => worker.log.warn(message),
      () => kernelTls as KernelTlsSupport,
    );
    const keys = this.signing.serverKeys(server.certificates.map(({ keyId }) => keyId));
    const tlsMaterial = tlsMaterialOf(server, tickets);
    const { http2Enabled } = config.server;
    const sessions = this.serverTls.load(config.tls, tlsMaterial, http2Enabled, keys, this.signing);
    return withKernelTls(sessions, kernel);
  }
}

process.on('SIGTERM', () => {
  // The master says when it is over; a service manager may tell all processes at once.
});
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
new EdgeRoom();
