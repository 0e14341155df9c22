/** Accepted connections on their way through the TLS handshake, and what they become after it. */

import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import type { Handle, Reactor } from '../io/reactor.ts';
import { type TlsOwner, TlsSocket } from '../socket/tls-socket.ts';
import { Handshake, type Reachability, type SignatureGate } from '../tls/handshake.ts';
import type { ClientAddress } from './client-address.ts';
import type { KernelTls } from './kernel-tls.ts';
import { KernelTlsSocket } from './kernel-tls-socket.ts';

/** Certificates and all else that the configuration in force says of TLS; `newSession` gives an SSL in accept state, 0 where memory is exhausted. */
export interface TlsSessions {
  newSession(): number;
  /** No new session is asked for; those under way go on. */
  free(): void;
  /** Where the kernel is to seal and open records. */
  readonly kernel?: KernelTls | null;
  /** What handshakes wait for, where private keys are elsewhere. */
  readonly gate?: Reachability | null;
}

/** The same sessions, whose records are left to the kernel. */
export function withKernelTls(sessions: TlsSessions, kernel: KernelTls | null): TlsSessions {
  if (kernel === null) return sessions;
  const { gate = null } = sessions;
  return { newSession: () => sessions.newSession(), free: () => sessions.free(), kernel, gate };
}

/** The worker, as it is seen from here. */
export interface SecureConnections {
  readonly reactor: Reactor;
  /** The connection is secured; `socket` is its port and must be given a handler. */
  onSecured(socket: TlsSocket, handshake: Handshake, client: ClientAddress): void;
  onHandshakeFailed(client: ClientAddress, reason: string): void;
  /** A connection ended in its handshake. */
  onHandshakeGone(client: ClientAddress): void;
}

/** While signatures can't be had: when it is looked again whether they can. */
const RETRY_MS = 20;
/** Handshakes that go on in one turn then: the connections that are open have their turn in between. */
const RESUMED_MAX = 32;

export class TlsAcceptor implements TlsOwner, TimerHandler, SignatureGate {
  /** Of the configuration in force. */
  private sessions: TlsSessions;
  private readonly worker: SecureConnections;
  private readonly shaking: Map<TlsSocket, ClientAddress>;
  private readonly retry: Timer;

  constructor(worker: SecureConnections, sessions: TlsSessions) {
    this.worker = worker;
    this.sessions = sessions;
    this.shaking = new Map();
    this.retry = new Timer(this, 0);
  }

  /** Connections in their handshake. */
  get size(): number {
    return this.shaking.size;
  }

  /** New connections use these from now on. */
  replace(sessions: TlsSessions): void {
    if (sessions === this.sessions) return;
    this.sessions.free();
    this.sessions = sessions;
  }

  /** Begins the handshake of an accepted socket. False: there is no memory for it, and the socket is still the caller's. */
  accept(handle: Handle, client: ClientAddress, handshakeMs: number): boolean {
    const ssl = this.sessions.newSession();
    if (ssl === 0) return false;
    let handshake: Handshake;
    try {
      handshake = new Handshake(ssl, true, this.sessions.gate == null ? null : this);
    } catch {
      return false;
    }
    const { reactor } = this.worker;
    const kernel = this.sessions.kernel ?? null;
    const socket =
      kernel === null
        ? new TlsSocket(reactor, handle, handshake, true, this)
        : new KernelTlsSocket(reactor, handle, handshake, this, kernel);
    this.shaking.set(socket, client);
    socket.accept(handshakeMs);
    return true;
  }

  /** Asked by handshakes before they sign: those that are told no are resumed from here. */
  get isReachable(): boolean {
    const isReachable = this.sessions.gate?.isReachable !== false;
    if (!isReachable) this.retryIn(RETRY_MS);
    return isReachable;
  }

  newSession(): number {
    return this.sessions.newSession();
  }

  private retryIn(delayMs: number): void {
    const { timers, nowMs } = this.worker.reactor;
    timers.arm(this.retry, nowMs + delayMs);
  }

  onTimer(): void {
    if (!this.isReachable) return;
    let resumed = 0;
    for (const socket of [...this.shaking.keys()]) {
      if (socket.resumeHandshake()) resumed++;
      if (resumed < RESUMED_MAX) continue;
      this.retryIn(1);
      return;
    }
  }

  onTlsOpen(socket: TlsSocket, handshake: Handshake): void {
    const client = this.shaking.get(socket);
    this.shaking.delete(socket);
    if (client === undefined) return;
    this.worker.onSecured(socket, handshake, client);
  }

  onTlsFailed(socket: TlsSocket, reason: string): void {
    const client = this.shaking.get(socket);
    if (client !== undefined) this.worker.onHandshakeFailed(client, reason);
  }

  onTlsClosed(socket: TlsSocket): void {
    const client = this.shaking.get(socket);
    this.shaking.delete(socket);
    if (client !== undefined) this.worker.onHandshakeGone(client);
  }

  /** The edge's patience is over. */
  abort(): void {
    for (const socket of [...this.shaking.keys()]) socket.abandon();
  }

  close(): void {
    this.worker.reactor.timers.disarm(this.retry);
    this.abort();
    this.sessions.free();
  }
}
