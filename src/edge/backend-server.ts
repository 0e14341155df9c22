/**
 * One server of an upstream group as this worker sees it: its address and its idle connections. It outlives the
 * configuration that named it as long as a later one names it too, so that connections stay warm over a reload.
 */

import type { SocketAddress } from '../sys/sockaddr.ts';
import type { EdgeContext } from './context.ts';
import { Http1Backend } from './http1-backend.ts';
import type { ProxyResponder } from './proxy-responder.ts';

/** How long a connection above the pool's limit may idle. */
export const SURPLUS_IDLE_MS = 1000;

export class BackendServer {
  readonly context: EdgeContext;
  /** As written in the configuration: for logs. */
  readonly url: string;
  /** Addresses of its name, tried in turn. At least one. */
  addresses: readonly SocketAddress[];
  /** Connections that may idle for longer than a second, and for how long; the most generous of all routes that use it. */
  idleMax: number;
  idleTimeoutMs: number;
  private nextAddress: number;
  private readonly idle: Http1Backend[];
  private readonly all: Set<Http1Backend>;

  constructor(context: EdgeContext, url: string, addresses: readonly SocketAddress[]) {
    this.context = context;
    this.url = url;
    this.addresses = addresses;
    this.idleMax = 0;
    this.idleTimeoutMs = 0;
    this.nextAddress = 0;
    this.idle = [];
    this.all = new Set();
  }

  /** A configuration that names the server comes into force. */
  follow(addresses: readonly SocketAddress[]): void {
    this.addresses = addresses;
    this.idleMax = 0;
    this.idleTimeoutMs = 0;
  }

  /** One of its routes lets this many connections idle, for so long. */
  allowIdle(idleMax: number, idleTimeoutMs: number): void {
    this.idleMax = Math.max(this.idleMax, idleMax);
    this.idleTimeoutMs = Math.max(this.idleTimeoutMs, idleTimeoutMs);
  }

  /** An idle connection, the warmest first, or null. It is the caller's. */
  takeIdle(): Http1Backend | null {
    return this.idle.pop() ?? null;
  }

  /** A new connection that is being made for `responder`, or -errno. */
  connect(responder: ProxyResponder, timeoutMs: number): Http1Backend | number {
    const address = this.addresses[this.nextAddress % this.addresses.length];
    const backend = new Http1Backend(this.context, this);
    const errno = backend.connect(address, responder, timeoutMs);
    if (errno < 0) return errno;
    this.all.add(backend);
    return backend;
  }

  /** Connecting failed: the next attempt tries the next address of the name. */
  addressFailed(): void {
    this.nextAddress = (this.nextAddress + 1) % this.addresses.length;
  }

  get addressCount(): number {
    return this.addresses.length;
  }

  putIdle(backend: Http1Backend): void {
    this.idle.push(backend);
  }

  /** The connection is idle no more, without having been taken. */
  dropIdle(backend: Http1Backend): void {
    const index = this.idle.indexOf(backend);
    if (index >= 0) this.idle.splice(index, 1);
  }

  forget(backend: Http1Backend): void {
    this.all.delete(backend);
  }

  get idleCount(): number {
    return this.idle.length;
  }

  get connectionCount(): number {
    return this.all.size;
  }

  /** Closes idle connections; those at work close when they are done. Called when no configuration names the server any more, and at the end. */
  retire(): void {
    this.idleMax = 0;
    this.idleTimeoutMs = 0;
    for (const backend of this.idle.splice(0)) backend.close(false);
  }
}
