/**
 * Connections that the kernel had accepted by the time that there were too many: nothing of them is read, and they wait,
 * in their order, as they would have in the listener's backlog. Few, since accepting is paused meanwhile. None waits
 * longer than WAIT_MS_MAX: other workers may take every place that becomes free.
 */

import { assert } from '../base/assert.ts';
import type { Handle, Reactor, SocketHandler } from '../io/reactor.ts';
import type { ClientAddress } from './client-address.ts';

const WAIT_MS_MAX = 5000;

export interface WaitingConnection {
  readonly listener: Handle;
  readonly handle: Handle;
  readonly client: ClientAddress;
  readonly untilMs: number;
}

export class WaitingConnections implements SocketHandler {
  private readonly reactor: Reactor;
  /** In the order of their coming, which a Map keeps. */
  private readonly waiting: Map<Handle, WaitingConnection>;

  constructor(reactor: Reactor) {
    this.reactor = reactor;
    this.waiting = new Map();
  }

  get size(): number {
    return this.waiting.size;
  }

  add(listener: Handle, handle: Handle, client: ClientAddress): void {
    this.reactor.adopt(handle, this);
    this.waiting.set(handle, { listener, handle, client, untilMs: this.reactor.nowMs + WAIT_MS_MAX });
  }

  /** The first of them. There is one. */
  first(): WaitingConnection {
    for (const connection of this.waiting.values()) return connection;
    assert(false, 'no connection waits');
  }

  /** It is somebody else's now, or closed. */
  remove(connection: WaitingConnection): void {
    this.waiting.delete(connection.handle);
  }

  /** Closes those that have waited for too long; returns how many. */
  closeOverdue(): number {
    let closed = 0;
    for (const { handle, untilMs } of this.waiting.values()) {
      if (this.reactor.nowMs < untilMs) break;
      this.close(handle);
      closed++;
    }
    return closed;
  }

  /** The edge stops: nobody has asked for anything yet. */
  abort(): void {
    for (const { handle } of this.waiting.values()) this.close(handle);
  }

  /** Without waiting for `onClose`, which finds nothing to do. */
  private close(handle: Handle): void {
    this.waiting.delete(handle);
    this.reactor.close(handle, false);
  }

  onConnect(): void {
    assert(false, 'an accepted socket does not connect');
  }

  onReceive(): void {
    assert(false, 'nothing is read of a connection that waits');
  }

  onReceiveEnd(handle: Handle): void {
    if (this.waiting.has(handle)) this.close(handle);
  }

  onSend(): void {
    assert(false, 'nothing is sent to a connection that waits');
  }

  onClose(handle: Handle): void {
    this.waiting.delete(handle);
  }
}
