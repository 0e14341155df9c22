/**
 * A socket that follows a script: sends bytes as its peer takes them, waits, ends its half, closes or resets.
 * Clients and origins of the simulation are made of it; it receives at its own pace.
 */

import { Timer, type TimerHandler } from '../../src/base/timer-wheel.ts';
import { type BufferId, MEDIUM, MEDIUM_BYTES, NO_BUFFER } from '../../src/io/buffer-pool.ts';
import type { Handle, Reactor, SocketHandler } from '../../src/io/reactor.ts';
import type { SocketPort } from '../../src/socket/port.ts';

export type Step =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'wait'; readonly ms: number }
  /** Until `holds`, or for as long. */
  | { readonly kind: 'until'; readonly holds: () => boolean; readonly ms: number }
  | { readonly kind: 'call'; readonly run: () => void }
  | { readonly kind: 'fin' }
  | { readonly kind: 'close' }
  | { readonly kind: 'reset' };

/** How a socket reads. */
export interface Pace {
  /** Between pieces; 0: as fast as it comes. */
  readonly pauseMs: number;
  /** After so many bytes it reads nothing for `stopMs`; -1: it never stops. */
  readonly stopAfterBytes: number;
  readonly stopMs: number;
}

export const EAGER: Pace = { pauseMs: 0, stopAfterBytes: -1, stopMs: 0 };

export interface ScriptOwner {
  onConnected(errno: number): void;
  onBytes(bytes: Uint8Array): void;
  onEnd(errno: number): void;
  onSendFailed(): void;
  onClosed(): void;
}

/** Buffers that one socket has queued at most. */
const SEGMENTS_MAX = 3;
const SEGMENT = 1;

const T_SCRIPT = 1;
const T_READ = 2;

export class ScriptedSocket implements SocketHandler, TimerHandler {
  readonly reactor: Reactor;
  readonly owner: ScriptOwner;
  readonly pace: Pace;
  /** The reactor, or a TLS socket. */
  port: SocketPort;
  handle: Handle;
  closing: boolean;
  private readonly steps: Step[];
  private sent: number;
  private segments: number;
  private sendFailed: boolean;
  private waiting: boolean;
  private deadlineMs: number;
  private readonly scriptTimer: Timer;
  private readonly readTimer: Timer;
  private receivedBytes: number;
  private stoppedOnce: boolean;

  constructor(reactor: Reactor, owner: ScriptOwner, pace: Pace) {
    this.reactor = reactor;
    this.owner = owner;
    this.pace = pace;
    this.port = reactor;
    this.handle = 0;
    this.closing = false;
    this.steps = [];
    this.sent = 0;
    this.segments = 0;
    this.sendFailed = false;
    this.waiting = false;
    this.deadlineMs = 0;
    this.scriptTimer = new Timer(this, T_SCRIPT);
    this.readTimer = new Timer(this, T_READ);
    this.receivedBytes = 0;
    this.stoppedOnce = false;
  }

  /** The socket is connected: begins to read and to follow the script. */
  begin(): void {
    this.read();
    this.follow();
  }

  push(...steps: Step[]): void {
    this.steps.push(...steps);
    this.follow();
  }

  /** Forgets what is still to be done and does this. */
  replaceBy(...steps: Step[]): void {
    this.steps.length = 0;
    this.sent = 0;
    this.waiting = false;
    this.push(...steps);
  }

  /** A condition that the script waits for may hold now. */
  poke(): void {
    this.follow();
  }

  get done(): boolean {
    return this.steps.length === 0;
  }

  private follow(): void {
    while (this.handle !== 0 && !this.closing && this.steps.length > 0 && this.take(this.steps[0])) {
      this.steps.shift();
    }
  }

  /** True when the step is over. */
  private take(step: Step): boolean {
    switch (step.kind) {
      case 'bytes':
        return this.sendFailed || this.sendSome(step.bytes);
      case 'wait':
        return this.waitUntil(step.ms, false);
      case 'until':
        return this.waitUntil(step.ms, step.holds());
      case 'call':
        step.run();
        return true;
      case 'fin':
        this.port.shutdownSend(this.handle);
        return true;
      case 'close':
      case 'reset':
        if (step.kind === 'close' && this.segments > 0 && !this.sendFailed) return false;
        this.close(step.kind === 'reset');
        return true;
    }
  }

  private waitUntil(ms: number, over: boolean): boolean {
    const { nowMs, timers } = this.reactor;
    if (!this.waiting) {
      this.waiting = true;
      this.deadlineMs = nowMs + ms;
    }
    if (!over && nowMs < this.deadlineMs) {
      timers.arm(this.scriptTimer, this.deadlineMs);
      return false;
    }
    this.waiting = false;
    timers.disarm(this.scriptTimer);
    return true;
  }

  private sendSome(bytes: Uint8Array): boolean {
    const { pool } = this.reactor;
    while (this.sent < bytes.length) {
      if (this.segments >= SEGMENTS_MAX) return false;
      const buffer = pool.acquire(MEDIUM);
      if (buffer === NO_BUFFER) {
        this.reactor.timers.arm(this.scriptTimer, this.reactor.nowMs + 1);
        return false;
      }
      const length = Math.min(MEDIUM_BYTES, bytes.length - this.sent);
      const offset = pool.offsetOf(buffer);
      pool.bytes.set(bytes.subarray(this.sent, this.sent + length), offset);
      this.port.send(this.handle, buffer, offset, length, SEGMENT);
      this.sent += length;
      this.segments++;
    }
    this.sent = 0;
    return true;
  }

  close(abortive: boolean): void {
    if (this.closing) return;
    this.closing = true;
    this.reactor.timers.disarm(this.scriptTimer);
    this.reactor.timers.disarm(this.readTimer);
    this.port.close(this.handle, abortive);
  }

  private read(): void {
    if (this.pace.pauseMs === 0) this.port.receiveStart(this.handle);
    else this.port.receiveOnce(this.handle);
  }

  onConnect(handle: Handle, errno: number): void {
    this.handle = handle;
    this.owner.onConnected(errno);
    if (errno === 0) this.begin();
  }

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    const { pool } = this.reactor;
    const bytes = pool.bytes.slice(offset, offset + length);
    pool.release(buffer);
    this.receivedBytes += length;
    this.pauseReading();
    this.owner.onBytes(bytes);
    this.follow();
  }

  private pauseReading(): void {
    const { pauseMs, stopAfterBytes, stopMs } = this.pace;
    const { timers, nowMs } = this.reactor;
    if (stopAfterBytes >= 0 && !this.stoppedOnce && this.receivedBytes >= stopAfterBytes) {
      this.stoppedOnce = true;
      this.port.receiveStop(this.handle);
      timers.arm(this.readTimer, nowMs + stopMs);
    } else if (pauseMs > 0) {
      timers.arm(this.readTimer, nowMs + pauseMs);
    }
  }

  onReceiveEnd(_handle: Handle, errno: number): void {
    this.owner.onEnd(errno);
    this.follow();
  }

  onSend(_handle: Handle, _tag: number, result: number): void {
    this.segments--;
    if (result < 0 && !this.sendFailed) {
      this.sendFailed = true;
      this.owner.onSendFailed();
    }
    this.follow();
  }

  onClose(): void {
    this.closing = true;
    this.reactor.timers.disarm(this.scriptTimer);
    this.reactor.timers.disarm(this.readTimer);
    this.owner.onClosed();
  }

  onTimer(timer: Timer): void {
    if (timer.kind === T_READ) this.read();
    else this.follow();
  }
}
