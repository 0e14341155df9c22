/** A socket's state in the io_uring backend: which operations are in flight. */

import type { Handle } from './reactor.ts';
import { NOTHING, type ReceiveMode, SocketSlot } from './socket-slot.ts';

export class UringSocket extends SocketSlot {
  /** Operations whose last completion has not come: the slot is not free before it is 0. */
  inFlight: number;
  /** What is armed in the kernel (receiving, or accepting as STREAM), and whether its cancellation was asked for. */
  armed: ReceiveMode;
  cancelling: boolean;
  /** Segments that the send operation in flight covers; 0: none is in flight. */
  sendingCount: number;
  /** A poll is in flight: for room (only while pieces of files are sent), or for what waits at a listener that leaves. */
  polling: boolean;
  /** A poll for what another socket is to send on is in flight. */
  watched: boolean;
  /** It waits for buffers. */
  starved: boolean;

  constructor() {
    super();
    this.inFlight = 0;
    this.armed = NOTHING;
    this.sendingCount = 0;
    this.polling = false;
    this.starved = false;
    this.cancelling = false;
    this.watched = false;
  }

  override open(handle: Handle, fd: number, connected: boolean): void {
    super.open(handle, fd, connected);
    this.inFlight = 0;
    this.armed = NOTHING;
    this.cancelling = false;
    this.sendingCount = 0;
    this.polling = false;
    this.watched = false;
  }
}
