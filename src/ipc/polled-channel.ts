/**
 * A channel in a process that has other things to do: messages are delivered from Node.js' event loop, and what the
 * other end is too slow for waits here, within a bound.
 */

import { type DescriptorReserve, type Watch, watchDescriptor } from '../sys/descriptors.ts';
import { close } from '../sys/libc.ts';
import { Channel } from './channel.ts';
import type { Message } from './message.ts';
import type { Role } from './roles.ts';

/** Messages that one readiness delivers at most, so that a chatty room doesn't keep others waiting. */
const MESSAGES_PER_WAKE = 64;
/** Messages that may be left in a channel that is given up: more than its kernel memory holds of any size that matters. */
const LAST_MESSAGES_MAX = 4096;
/** Messages that wait for a slow receiver: a whole configuration and more. Beyond that the channel ends. */
const WAITING_MAX = 1024;

export interface ChannelHandler {
  /** Its bytes are valid during the call; descriptors that nobody takes are closed after it. */
  onMessage(channel: PolledChannel, message: Message): void;
  /** Exactly once: `gone`, or what the other end did wrong. Not called after `close`. */
  onEnd(channel: PolledChannel, reason: string): void;
}

export class PolledChannel {
  readonly channel: Channel;
  private readonly handler: ChannelHandler;
  private readonly watch: Watch;
  private readonly waiting: { readonly message: Message; readonly descriptors: readonly number[] }[];
  /** What is closed when its message has left. */
  private readonly handed: Map<Message, readonly number[]>;
  private hasEnded: boolean;
  private readonly reserve: DescriptorReserve | null;

  /** `reserve`: places for what is passed, where others may have used up all. */
  constructor(
    descriptor: number,
    self: Role,
    peer: Role,
    handler: ChannelHandler,
    reserve: DescriptorReserve | null = null,
  ) {
    this.reserve = reserve;
    this.channel = new Channel(descriptor, self, peer);
    this.handler = handler;
    this.waiting = [];
    this.handed = new Map();
    this.hasEnded = false;
    this.watch = watchDescriptor(
      descriptor,
      () => this.onReadable(),
      () => this.flush(),
    );
  }

  get end(): string {
    return this.channel.end;
  }

  /**
   * Sends now or as soon as the other end takes it, in order. Bytes and descriptors must stay until it has left: the
   * caller's own, never views of received messages. Returns false where the channel is over.
   */
  send(message: Message, descriptors: readonly number[] = []): boolean {
    if (this.hasEnded) return false;
    if (this.waiting.length === 0) {
      const result = this.channel.send(message, descriptors);
      if (result === 'sent') return true;
      if (result === 'ended') return this.finish();
    }
    if (this.waiting.length >= WAITING_MAX) {
      return this.finish('too far behind');
    }
    this.waiting.push({ message, descriptors });
    this.watch.wantWritable(true);
    return true;
  }

  /** Sends descriptors that the other end is to have alone: they are closed here once they have left, or can't. */
  handOver(message: Message, descriptors: readonly number[]): boolean {
    if (this.hasEnded) {
      for (const descriptor of descriptors) close(descriptor);
      return false;
    }
    this.handed.set(message, descriptors);
    const isTaken = this.send(message, descriptors);
    if (!isTaken || this.waiting.length === 0) this.closeHanded(message);
    return isTaken;
  }

  private closeHanded(message: Message): void {
    for (const descriptor of this.handed.get(message) ?? []) close(descriptor);
    this.handed.delete(message);
  }

  /** For what may be lost: false where the other end can't take it now. */
  trySend(message: Message): boolean {
    if (this.hasEnded || this.waiting.length > 0) return false;
    const result = this.channel.send(message);
    if (result === 'ended') this.finish();
    return result === 'sent';
  }

  /** Delivers what is there already, within reason, and closes; `onEnd` isn't called. */
  finishReading(): void {
    for (let count = 0; count < LAST_MESSAGES_MAX && !this.hasEnded; count++) {
      const message = this.channel.receive();
      if (message === null) break;
      this.handler.onMessage(this, message);
    }
    this.close();
  }

  close(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.watch.stop();
    this.channel.close();
    for (const message of [...this.handed.keys()]) this.closeHanded(message);
  }

  private onReadable(): void {
    for (let count = 0; count < MESSAGES_PER_WAKE && !this.hasEnded; count++) {
      this.reserve?.release();
      const message = this.channel.receive();
      if (message === null) break;
      this.handler.onMessage(this, message);
    }
    this.reserve?.take();
    if (this.channel.end !== '') this.finish();
  }

  private flush(): void {
    while (this.waiting.length > 0 && !this.hasEnded) {
      const { message, descriptors } = this.waiting[0];
      const result = this.channel.send(message, descriptors);
      if (result === 'full') return;
      if (result === 'ended') {
        this.finish();
        return;
      }
      this.waiting.shift();
      this.closeHanded(message);
    }
    if (!this.hasEnded) this.watch.wantWritable(false);
  }

  private finish(reason = this.channel.end): false {
    if (this.hasEnded) return false;
    this.close();
    // Not from inside of what the caller called.
    setImmediate(() => this.handler.onEnd(this, reason));
    return false;
  }
}
