/**
 * The loop of a room that does one thing at a time: it waits in the kernel for its channels, without an event loop and
 * with four system calls a request. Signals are not heard meanwhile; such a room is told what to do by its channels and
 * ends with its master.
 *
 * A door is a descriptor of the same kind whose datagrams have a layout of their own (signature requests): each gets
 * one answer.
 */

import { DescriptorPoll, MessageTransfer } from '../sys/descriptors.ts';
import { EAGAIN, EINTR } from '../sys/errno.ts';
import { close } from '../sys/libc.ts';
import type { Channel } from './channel.ts';
import type { Message } from './message.ts';

/** Descriptors that the loop waits for: the master, and doors. */
export const DOORS_MAX = 255;

export interface BlockingHandler {
  /** From the master. False ends the loop. */
  onMessage(message: Message): boolean;
  /** The answer to a datagram at a door, whatever its bytes are; valid until the next call. */
  answer(door: number, request: Uint8Array): Uint8Array;
}

export class BlockingLoop {
  private readonly control: Channel;
  private readonly handler: BlockingHandler;
  private readonly poll: DescriptorPoll;
  private readonly transfer: MessageTransfer;
  /** By position behind the master's: descriptors, -1 where one has closed. */
  private readonly doors: number[];

  /** `bytesMax`: the longest request or answer at a door. */
  constructor(control: Channel, handler: BlockingHandler, bytesMax: number) {
    this.control = control;
    this.handler = handler;
    this.poll = new DescriptorPoll();
    this.transfer = new MessageTransfer(bytesMax);
    this.doors = [];
    this.poll.add(control.descriptor);
  }

  /** Opens a door; the descriptor is the loop's from now on. Its number, or -1 where there are too many. */
  addDoor(descriptor: number): number {
    const free = this.doors.indexOf(-1);
    if (free >= 0) {
      this.doors[free] = descriptor;
      this.poll.replace(free + 1, descriptor);
      return free;
    }
    if (this.doors.length >= DOORS_MAX) return -1;
    this.poll.add(descriptor);
    return this.doors.push(descriptor) - 1;
  }

  /** Sends a datagram that nobody asked for, if it is taken at once. */
  tell(door: number, message: Uint8Array): void {
    const descriptor = this.doors[door];
    if (descriptor < 0) return;
    this.transfer.bytes.set(message);
    this.transfer.send(descriptor, message.length, [], false);
  }

  /** Closes a door from this side. */
  closeDoor(door: number): void {
    const descriptor = this.doors[door];
    if (descriptor < 0) return;
    this.poll.drop(door + 1);
    this.doors[door] = -1;
    close(descriptor);
  }

  /** Runs until the master has gone, or the handler has had enough. */
  run(): void {
    while (this.control.end === '') {
      if (this.poll.wait(-1) <= 0) continue;
      for (let door = 0; door < this.doors.length; door++)
        if (this.doors[door] >= 0 && this.poll.isReady(door + 1)) this.serve(door);
      if (this.poll.isReady(0) && !this.listen()) return;
    }
  }

  private listen(): boolean {
    for (let message = this.control.receive(); message !== null; message = this.control.receive())
      if (!this.handler.onMessage(message)) return false;
    return this.control.end === '';
  }

  /** One request of each door at a time: no room keeps the others waiting. */
  private serve(door: number): void {
    const descriptor = this.doors[door];
    const length = this.transfer.receive(descriptor, false);
    if (length === -EAGAIN || length === -EINTR) return;
    // Nothing is passed through doors.
    const isWrong = length <= 0 || this.transfer.passed.length > 0;
    this.transfer.closePassed();
    if (!isWrong) {
      const answer = this.handler.answer(door, this.transfer.bytes.slice(0, length));
      this.transfer.bytes.set(answer);
      const sent = this.transfer.send(descriptor, answer.length, [], false);
      // Whoever doesn't take answers gets none.
      if (sent >= 0 || sent === -EAGAIN) return;
    }
    this.closeDoor(door);
  }
}
