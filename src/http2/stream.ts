/** One stream of a connection (RFC 9113 §5), and the table that finds it by its identifier. */

import { PRIORITY_DEFAULT } from './priority.ts';

/**
 * The engine's part of a stream. Who owns the connection derives its own class from it, so that a stream is one
 * object: the owner's fields follow these. A stream enters the table when its HEADERS come (or are sent) and
 * leaves it when both sides have ended or either reset it; `reset` makes it ready for another.
 *
 * States of RFC 9113 §5.1 in two flags: open (neither), half-closed (local) (`localEnded`), half-closed (remote)
 * (`remoteEnded`); idle and closed streams are not in the table.
 */
export class Http2Stream {
  /** 0: not in use. */
  id: number;
  /** We have sent END_STREAM. */
  localEnded: boolean;
  /** The peer has sent END_STREAM. */
  remoteEnded: boolean;
  /** The peer's final head has come (client role), or its request (server role): what HEADERS follow are trailers. */
  headReceived: boolean;
  /** Our final head is sent. */
  headSent: boolean;
  /** Bytes that we may still send; negative after a SETTINGS that lowered it (§6.9.2). */
  sendWindow: number;
  /** Bytes that the peer may still send. */
  receiveWindow: number;
  /** Bytes that the owner was given and has not consumed. */
  heldBytes: number;
  /** Bytes that were consumed and not yet given back to the peer. */
  consumedBytes: number;
  /** Content that the peer declared and that has not come; -1: it has declared none. */
  expectedBytes: number;
  /** Server role: content is still to come, and counted in the engine's `uploads`. */
  isUpload: boolean;
  /** Content that the owner holds ready to send. */
  pendingBytes: number;
  /** Nothing follows `pendingBytes` but the stream's end, which its last frame is to tell. */
  finishing: boolean;
  /** Since when content waits for the peer's window, on the owner's clock; -1: none does. For the owner's timeouts. */
  blockedSinceMs: number;
  /** Urgency, plus INCREMENTAL (priority.ts). */
  priority: number;
  /** Client role: the request was HEAD, whose response has no content whatever it declares. */
  isHead: boolean;
  /** Opaque bytes both ways after an accepted (extended) CONNECT: no content-length, no trailers. */
  isTunnel: boolean;

  // Of the scheduler: the queue that it is in (-1: none), its neighbours there, and what its turn has sent.
  level: number;
  next: Http2Stream | null;
  previous: Http2Stream | null;
  turnBytes: number;

  constructor() {
    this.id = 0;
    this.localEnded = false;
    this.remoteEnded = false;
    this.headReceived = false;
    this.headSent = false;
    this.sendWindow = 0;
    this.receiveWindow = 0;
    this.heldBytes = 0;
    this.consumedBytes = 0;
    this.expectedBytes = -1;
    this.isUpload = false;
    this.pendingBytes = 0;
    this.finishing = false;
    this.blockedSinceMs = -1;
    this.priority = PRIORITY_DEFAULT;
    this.isHead = false;
    this.isTunnel = false;
    this.level = -1;
    this.next = null;
    this.previous = null;
    this.turnBytes = 0;
  }

  /** Enters use as stream `id`. */
  open(id: number, sendWindow: number, receiveWindow: number): void {
    this.id = id;
    this.localEnded = false;
    this.remoteEnded = false;
    this.headReceived = false;
    this.headSent = false;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
    this.heldBytes = 0;
    this.consumedBytes = 0;
    this.expectedBytes = -1;
    this.isUpload = false;
    this.pendingBytes = 0;
    this.finishing = false;
    this.blockedSinceMs = -1;
    this.priority = PRIORITY_DEFAULT;
    this.isHead = false;
    this.isTunnel = false;
    this.turnBytes = 0;
  }
}

const SLOTS_FIRST = 8;

/** Streams by identifier. Identifiers of one side rise by two, so that their halves spread over the slots by themselves. */
export class StreamTable<S extends Http2Stream> {
  private slots: (S | null)[];
  count: number;

  constructor() {
    this.slots = [];
    this.count = 0;
  }

  find(id: number): S | null {
    const slots = this.slots;
    const mask = slots.length - 1;
    if (mask < 0) return null;
    for (let slot = (id >>> 1) & mask; ; slot = (slot + 1) & mask) {
      const stream = slots[slot];
      if (stream === null || stream.id === id) return stream;
    }
  }

  add(stream: S): void {
    if ((this.count + 1) * 2 > this.slots.length) this.grow();
    this.put(stream);
    this.count++;
  }

  private put(stream: S): void {
    const mask = this.slots.length - 1;
    let slot = (stream.id >>> 1) & mask;
    while (this.slots[slot] !== null) slot = (slot + 1) & mask;
    this.slots[slot] = stream;
  }

  private grow(): void {
    const old = this.slots;
    this.slots = new Array<S | null>(Math.max(SLOTS_FIRST, old.length * 2)).fill(null);
    for (let slot = 0; slot < old.length; slot++) {
      const stream = old[slot];
      if (stream !== null) this.put(stream);
    }
  }

  /** Takes a stream out; those behind it that could not be found any more move up. */
  remove(stream: S): void {
    const slots = this.slots;
    const mask = slots.length - 1;
    let hole = (stream.id >>> 1) & mask;
    while (slots[hole] !== stream) hole = (hole + 1) & mask;
    this.count--;
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const other = slots[slot];
      if (other === null) break;
      const home = (other.id >>> 1) & mask;
      // It may stay where its home lies behind the hole, on the way round to it.
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      slots[hole] = other;
      hole = slot;
    }
    slots[hole] = null;
  }

  /** Empties the table. Allocates: for a connection's end. */
  takeAll(): S[] {
    const taken: S[] = [];
    for (let slot = 0; slot < this.slots.length; slot++) {
      const stream = this.slots[slot];
      if (stream !== null) taken.push(stream);
    }
    this.slots = [];
    this.count = 0;
    return taken;
  }

  /** The streams with a higher identifier. Allocates: for a peer that leaves. */
  above(id: number): S[] {
    const found: S[] = [];
    for (let slot = 0; slot < this.slots.length; slot++) {
      const stream = this.slots[slot];
      if (stream !== null && stream.id > id) found.push(stream);
    }
    return found;
  }

  /** Slots, some of which are null: for walks over all streams. Adding or removing one ends the walk's sense. */
  get all(): readonly (S | null)[] {
    return this.slots;
  }
}
