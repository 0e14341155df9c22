/**
 * One end of a channel: a SOCK_SEQPACKET descriptor, the state that both ends keep, the rules. It never throws on what
 * the other end does: a message that is malformed, not allowed, or comes with descriptors that it shouldn't have, ends
 * the channel, and `end` says why. Whoever owns it decides what that costs the room behind it.
 *
 * Owns its descriptor until `close`, which is due after the end, too. Descriptors that come with a message are in `passed` until the next call; who wants one takes it
 * out, the rest are closed.
 */

import { assert } from '../base/assert.ts';
import { MessageTransfer } from '../sys/descriptors.ts';
import { EAGAIN, EMSGSIZE, errnoName } from '../sys/errno.ts';
import { close } from '../sys/libc.ts';
import { decodeMessage, encodeMessage, MESSAGE_BYTES_MAX, type Message } from './message.ts';
import type { Role } from './roles.ts';
import { type ChannelState, ruleFor } from './rules.ts';

/** `full`: the other end is behind; nothing was sent. `ended`: the channel is over. */
export type SendResult = 'sent' | 'full' | 'ended';

/** One memory for all channels: what was received is read before anything else is. */
let shared: MessageTransfer | undefined;

export class Channel {
  readonly descriptor: number;
  readonly self: Role;
  readonly peer: Role;
  /** Empty while it lives; afterwards `gone` (the other end closed or died) or what was wrong. */
  end: string;
  state: ChannelState;
  private isClosed: boolean;
  private readonly transfer: MessageTransfer;

  constructor(descriptor: number, self: Role, peer: Role) {
    this.descriptor = descriptor;
    this.self = self;
    this.peer = peer;
    this.end = '';
    this.isClosed = false;
    this.state = self === 'master' || peer === 'master' ? 'starting' : 'running';
    shared ??= new MessageTransfer(MESSAGE_BYTES_MAX);
    this.transfer = shared;
  }

  /** Descriptors of the message that was received last. */
  get passed(): number[] {
    return this.transfer.passed;
  }

  /** Sends without waiting. What the rules forbid is our bug. Descriptors stay the caller's. */
  send(message: Message, descriptors: readonly number[] = [], wait = false): SendResult {
    if (this.end !== '') return 'ended';
    const { kind } = message;
    const rule = ruleFor(kind, this.self, this.peer, this.state);
    assert(rule !== undefined, `${this.self} may not send ${kind} to ${this.peer} while ${this.state}`);
    const count = descriptors.length;
    assert(count >= rule.descriptorsMin && count <= rule.descriptorsMax, `${kind} with ${count} descriptors`);
    const length = encodeMessage(this.transfer.bytes, message, count);
    assert(length > 0, `a message ${kind} can't be sent as it is`);
    const result = this.transfer.send(this.descriptor, length, descriptors, wait);
    if (result === -EAGAIN) return 'full';
    if (result < 0) {
      this.finish('gone');
      return 'ended';
    }
    if (rule.becomes !== undefined) this.state = rule.becomes;
    return 'sent';
  }

  /**
   * The next message, whose bytes are valid until the next call on any channel; null: none is there (unless `wait`), or
   * the channel has ended.
   */
  receive(wait = false): Message | null {
    if (this.end !== '') return null;
    this.transfer.closePassed();
    const length = this.transfer.receive(this.descriptor, wait);
    if (length === -EAGAIN) return null;
    if (length <= 0)
      return this.finish(
        length === -EMSGSIZE ? 'a message that is too long, or descriptors beyond its limit' : goneOr(length),
      );
    const decoded = decodeMessage(this.transfer.bytes.subarray(0, length));
    if (decoded === null) return this.finish('a malformed message');
    const { message, descriptors } = decoded;
    const rule = ruleFor(message.kind, this.peer, this.self, this.state);
    if (rule === undefined) return this.finish(`a message ${message.kind} while ${this.state}`);
    const count = this.passed.length;
    if (count !== descriptors || count < rule.descriptorsMin || count > rule.descriptorsMax)
      return this.finish(`a message ${message.kind} with ${count} descriptors`);
    if (rule.becomes !== undefined) this.state = rule.becomes;
    return message;
  }

  /** Takes a descriptor out of the last message; its closing is the caller's then. -1: there is none (left). */
  takeDescriptor(): number {
    return this.passed.shift() ?? -1;
  }

  /** Gives the descriptor back; ends the channel from this side if it hasn't ended. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.end === '') this.finish('closed');
    close(this.descriptor);
  }

  private finish(reason: string): null {
    this.transfer.closePassed();
    this.end = reason;
    return null;
  }
}

/** A reset or an end is how a room dies; anything else is worth telling. */
function goneOr(errno: number): string {
  return errno === 0 || errnoName(errno) === 'ECONNRESET' ? 'gone' : errnoName(errno);
}
