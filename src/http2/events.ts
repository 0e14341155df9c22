/** What an engine tells the owner of its connection. */

import type { FieldSection } from '../http/fields.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';
import type { Http2Stream } from './stream.ts';

/**
 * All calls come from inside a method of the engine, and may call it again (respond, reset, consume, open). After `onClosed`
 * a stream is out of the connection's hands, its `id` is 0, and no method may be called with it.
 */
export interface Http2Events<S extends Http2Stream> {
  /** Server role: an object for a stream that a client begins. Null: it is refused (REFUSED_STREAM), and may be tried again elsewhere. */
  acceptStream(): S | null;
  /** Server role: where the request of a stream that was just accepted is written. */
  requestHead(stream: S): RequestHead;
  /**
   * Server role: the request's head is complete. `fault` is 0, or one of http/fault.ts that is to be answered with its
   * status. What the head points to lies in the workspace at `[start, end)`, where nobody writes: the owner copies it to memory of its own
   * (and moves the head by as much, `rebase`) before it returns. Without content, `bodyKind` is BODY_NONE and no
   * `onEnd` follows.
   */
  onRequest(stream: S, fault: number, start: number, end: number): void;
  /** Client role: where the next response head of a stream is written. */
  responseHead(stream: S): ResponseHead;
  /** Client role: a head came, an interim one where its status is below 200. The same of `[start, end)` as for requests. */
  onResponse(stream: S, start: number, end: number): void;
  /**
   * Content, where it lies in what `receive` was given. Whoever has used it says so with `consumed`: until then the peer's
   * window stays smaller by so much.
   */
  onData(stream: S, offset: number, length: number): void;
  /** The peer has sent its end, after the head. Trailers (perhaps none) are valid during the call only. */
  onEnd(stream: S, trailers: FieldSection): void;
  /**
   * The stream has failed with an H2_ code: the peer has reset it (`byPeer`), or we have, since it broke the rules, or the
   * connection is gone. H2_REFUSED_STREAM from the peer: the request was not processed, and is safe to retry.
   * `onClosed` follows.
   */
  onReset(stream: S, code: number, byPeer: boolean): void;
  /** The last call for a stream, whatever ended it: both sides have ended, either has reset it, or the owner has. */
  onClosed(stream: S): void;
  /** A SETTINGS frame of the peer was taken (`engine.peer`). */
  onSettings(): void;
  /** The peer has answered a `ping`. */
  onPong(): void;
  /** The peer will not take part in new streams. Client role: those that it will not process were reset already. */
  onGoaway(lastStreamId: number, code: number): void;
}
