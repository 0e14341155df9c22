/**
 * Events that a backend found outside the delivery of completions (in a method of the interface, or while
 * it flushed) and that the next turn delivers, in order. Rare: failures, ends that waited, file pieces.
 */

/** A segment has left or failed: tag and result. */
export const SEND_RESULT = 1;
/** An end that came while receiving was stopped: -errno or 0, and nothing. */
export const RECEIVE_END = 2;
/** A pending file operation ended: its record's index, and its result. The handle is 0. */
export const FILE_RESULT = 3;
/** A connect has ended: -errno or 0, and nothing. */
export const CONNECTED = 4;
/** A descriptor was closed: nothing but the handle. */
export const CLOSED = 5;
/** A listener has stopped accepting for good: nothing but the handle. */
export const ACCEPT_LEFT = 6;
/** What a socket receives does not go elsewhere any more: nothing but the handle. */
export const SOURCE_FREE = 7;
export type DeferredKind =
  | typeof SEND_RESULT
  | typeof RECEIVE_END
  | typeof FILE_RESULT
  | typeof CONNECTED
  | typeof CLOSED
  | typeof ACCEPT_LEFT
  | typeof SOURCE_FREE;

export interface DeferredReceiver {
  onDeferred(kind: DeferredKind, handle: number, first: number, second: number): void;
}

export class DeferredEvents {
  private events: number[];
  private spare: number[];

  constructor() {
    this.events = [];
    this.spare = [];
  }

  get isEmpty(): boolean {
    return this.events.length === 0;
  }

  push(kind: DeferredKind, handle: number, first: number, second: number): void {
    this.events.push(kind, handle, first, second);
  }

  /** Delivers what is there now; what its receiver defers anew waits for the next call. */
  deliver(receiver: DeferredReceiver): void {
    const events = this.events;
    if (events.length === 0) return;
    this.events = this.spare;
    this.spare = events;
    for (let index = 0; index < events.length; index += 4) {
      receiver.onDeferred(
        events[index] as DeferredKind,
        events[index + 1],
        events[index + 2],
        events[index + 3],
      );
    }
    events.length = 0;
  }
}
