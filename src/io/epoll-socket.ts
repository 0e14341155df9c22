/** A socket's state in the epoll backend: what is known of its readiness. */

import type { Handle } from './reactor.ts';
import { SocketSlot } from './socket-slot.ts';

export class EpollSocket extends SocketSlot {
  /** There may be bytes, or an end, to read: set by an event, cleared when the kernel has no more. */
  readable: boolean;
  /** The peer's FIN or a failure was announced: reading goes on until it comes. */
  endAnnounced: boolean;
  /** It is on the list of sockets that are to be read. */
  ready: boolean;
  /** The kernel takes no more bytes; an event will tell when it does. */
  blocked: boolean;
  /** Writability is watched. */
  watchesWritable: boolean;
  /** It waits for buffers. */
  starved: boolean;
  /** Of a listener: it is in the epoll set. */
  watched: boolean;

  constructor() {
    super();
    this.readable = false;
    this.endAnnounced = false;
    this.ready = false;
    this.blocked = false;
    this.watchesWritable = false;
    this.starved = false;
    this.watched = false;
  }

  override open(handle: Handle, fd: number, connected: boolean): void {
    super.open(handle, fd, connected);
    this.readable = false;
    this.endAnnounced = false;
    this.blocked = false;
    this.watchesWritable = false;
    this.watched = false;
  }
}
