/**
 * One end of a simulated connection, as the kernel has it: a byte stream with a window, FIN and RST. It
 * behaves as a non-blocking socket does; who waits for it is woken when a call may have another result.
 *
 * Bytes are copied when the kernel takes them, never before: memory that is changed or reused between
 * `send` and then shows up as wrong bytes at the other end.
 */

import { constants } from 'node:os';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { SimNetwork } from './sim-network.ts';

const { EAGAIN, ECONNRESET, EPIPE } = constants.errno;

/** Whom an endpoint belongs to. */
export interface EndpointOwner {
  /** A call that returned -EAGAIN (or a connect that had no result) may have another result now. */
  wake(): void;
}

const NOBODY: EndpointOwner = {
  wake(): void {
    // Nobody waits: the descriptor is closed.
  },
};

/** `connectErrno` of a connection that has no result yet. */
export const CONNECT_PENDING = 1;

export class Endpoint {
  private readonly network: SimNetwork;
  owner: EndpointOwner;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** The other end, once the connection request has arrived. */
  peer: Endpoint | null;
  latencyMs: number;
  /** Bytes from here that have reached the peer's kernel. */
  acknowledgedBytes: number;
  /** CONNECT_PENDING, 0 or -errno. */
  connectErrno: number;
  /** The descriptor is closed; what was taken before still travels. */
  closed: boolean;
  /** Bytes towards this end that may be unread or on their way at once. */
  windowBytes: number;
  private usedBytes: number;
  /** Arrived and unread. */
  private readonly arrived: Uint8Array[];
  private arrivedBytes: number;
  private finArrived: boolean;
  private resetErrno: number;
  private finSent: boolean;
  private silent: boolean;
  /** What is still on its way to this end is dropped: its sender has reset the connection. */
  private deaf: boolean;
  /** When the last packet to the peer arrives; the next may not overtake it. */
  private lastArrivalMs: number;

  constructor(network: SimNetwork, owner: EndpointOwner, local: SocketAddress, remote: SocketAddress) {
    this.network = network;
    this.owner = owner;
    this.local = local;
    this.remote = remote;
    this.peer = null;
    this.latencyMs = 0;
    this.acknowledgedBytes = 0;
    this.connectErrno = CONNECT_PENDING;
    this.closed = false;
    this.windowBytes = 0;
    this.usedBytes = 0;
    this.arrived = [];
    this.arrivedBytes = 0;
    this.finArrived = false;
    this.resetErrno = 0;
    this.finSent = false;
    this.silent = false;
    this.deaf = false;
    this.lastArrivalMs = 0;
  }

  /** Bytes that `read` would give. */
  get readableBytes(): number {
    return this.arrivedBytes;
  }

  /** Bytes that `write` has room for. */
  get writableBytes(): number {
    const { peer } = this;
    return peer === null ? 0 : Math.max(0, peer.windowBytes - peer.usedBytes);
  }

  /** `read` would report the peer's end or a failure. */
  get ended(): boolean {
    return this.arrivedBytes === 0 && (this.finArrived || this.resetErrno !== 0);
  }

  connectDone(errno: number): void {
    if (this.closed || this.connectErrno !== CONNECT_PENDING) return;
    this.connectErrno = errno;
    this.owner.wake();
  }

  /** Takes bytes to send: how many, or -EAGAIN, -EPIPE, -ECONNRESET. */
  write(bytes: Uint8Array, offset: number, length: number): number {
    const peer = this.peer;
    if (this.resetErrno !== 0) return this.resetErrno;
    if (this.finSent || peer === null) return -EPIPE;
    const { faults, random } = this.network;
    let count = Math.min(length, peer.windowBytes - peer.usedBytes);
    if (count <= 0) return -EAGAIN;
    if (random.chance(faults.shortSend)) count = 1 + random.below(count);
    peer.usedBytes += count;
    const packet = bytes.slice(offset, offset + count);
    this.network.at(this.arrivalMs(), () => peer.arrive(packet));
    return count;
  }

  /** Takes bytes that have arrived: how many, 0 at the peer's end, -EAGAIN, or -ECONNRESET. */
  read(into: Uint8Array, offset: number, length: number): number {
    if (this.arrivedBytes === 0) {
      if (this.resetErrno !== 0) return this.resetErrno;
      return this.finArrived ? 0 : -EAGAIN;
    }
    let count = 0;
    while (count < length && this.arrived.length > 0) {
      const packet = this.arrived[0];
      const part = Math.min(packet.length, length - count);
      into.set(part === packet.length ? packet : packet.subarray(0, part), offset + count);
      count += part;
      if (part === packet.length) this.arrived.shift();
      else this.arrived[0] = packet.subarray(part);
    }
    this.arrivedBytes -= count;
    this.openWindow(count);
    return count;
  }

  /** No more bytes will be written. */
  writeFin(): void {
    const peer = this.peer;
    if (this.finSent || peer === null) return;
    this.finSent = true;
    this.network.at(this.arrivalMs(), () => peer.arriveFin());
  }

  /** Closes the descriptor. With unread bytes, as in a kernel, the peer sees a reset even if it is not abortive. */
  close(abortive: boolean): void {
    if (this.closed) return;
    this.closed = true;
    this.owner = NOBODY;
    const unread = this.arrivedBytes > 0;
    this.arrived.length = 0;
    this.arrivedBytes = 0;
    if (abortive || unread) this.sendReset();
    else this.writeFin();
  }

  /** Both ends are reset by something between them. */
  cut(): void {
    this.reset(-ECONNRESET);
    this.peer?.reset(-ECONNRESET);
  }

  /** From now on nothing arrives at either end, no end either. */
  goSilent(): void {
    this.silent = true;
    if (this.peer !== null) this.peer.silent = true;
  }

  private arrive(packet: Uint8Array): void {
    if (this.silent || this.deaf || this.resetErrno !== 0) return;
    if (this.closed) {
      this.sendReset();
      return;
    }
    if (this.peer !== null) this.peer.acknowledgedBytes += packet.length;
    this.arrived.push(packet);
    this.arrivedBytes += packet.length;
    this.owner.wake();
  }

  private arriveFin(): void {
    if (this.silent || this.deaf || this.resetErrno !== 0) return;
    this.finArrived = true;
    this.owner.wake();
  }

  private sendReset(): void {
    const peer = this.peer;
    if (peer === null) return;
    this.finSent = true;
    peer.deaf = true;
    this.network.at(this.network.timeMs + this.latencyMs, () => {
      if (!peer.silent) peer.reset(-ECONNRESET);
    });
  }

  private reset(errno: number): void {
    if (this.closed || this.resetErrno !== 0) return;
    this.resetErrno = errno;
    const { faults, random } = this.network;
    if (random.chance(faults.resetDiscards)) {
      this.arrived.length = 0;
      this.arrivedBytes = 0;
    }
    this.owner.wake();
  }

  /** The reader took bytes: the writer may go on once it has heard of it. */
  private openWindow(count: number): void {
    const peer = this.peer;
    const full = this.usedBytes >= this.windowBytes;
    this.usedBytes -= count;
    if (peer === null || peer.closed || this.silent || !full) return;
    this.network.at(this.network.timeMs + this.latencyMs, () => peer.owner.wake());
  }

  private arrivalMs(): number {
    const { faults, random, timeMs } = this.network;
    let delayMs = this.latencyMs;
    if (faults.latencyMsMax > 0) delayMs += (random.below(16) / 160) * this.latencyMs;
    if (random.chance(faults.stall)) delayMs += random.below(faults.stallMsMax + 1);
    this.lastArrivalMs = Math.max(this.lastArrivalMs, timeMs + delayMs);
    return this.lastArrivalMs;
  }
}
