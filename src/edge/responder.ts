/**
 * Between an exchange and what answers it. An exchange (edge/exchange.ts) is one request and its response,
 * whatever protocol carries it; a responder is a file, a redirect, a backend, the metrics page.
 */

import type { RequestHead, ResponseHead } from '../http/message.ts';
import { type BufferId, type BufferPool, LARGE, MEDIUM } from '../io/buffer-pool.ts';
import type { FileHandle, Reactor } from '../io/reactor.ts';

/** What an exchange tells the one who answers it. Objects are pooled: after `onAbort`, or after it ended the response, a responder forgets its target. */
export interface Responder {
  /** Request content; one reference of `buffer` is the responder's. */
  onRequestData(buffer: BufferId, offset: number, length: number): void;
  /** All request content (and its trailers, in `target.requestTrailers`) has come. */
  onRequestEnd(): void;
  /** The client took what was queued: `sendData` may go on. */
  onWritable(): void;
  /** What `sendFile` began has ended: `result` is its length, fewer bytes if the file ended early, or -errno. */
  onFileSent(result: number): void;
  /** So many bytes of what `forward` began have gone to the client; fewer than asked for where the backend's socket ended. */
  onForwarded?(moved: number): void;
  /** The exchange is over without the responder's doing (client gone, timeout, shutdown): release everything, call nothing. */
  onAbort(): void;
}

/** The exchange as its responder sees it. */
export interface ResponseTarget {
  readonly reactor: Reactor;
  readonly request: RequestHead;
  /** Filled by the responder before `sendHead`: status, fields, bodyKind, contentLength. Cleared when it gets it. */
  readonly response: ResponseHead;
  /** The normalised path, in the arena, and how many of its bytes the route's prefix takes (0 for `/` and host routes). */
  readonly pathOffset: number;
  readonly pathLength: number;
  readonly prefixLength: number;

  /** Appends a response field whose value is made now; both are copied into the exchange's own memory. `id` 0: `name` is used. */
  addResponseField(id: number, name: string, value: string): void;
  /**
   * Sends the response's head. For a HEAD request, 204 and 304 no content follows, whatever bodyKind says
   * (sendData and sendFile must not be called; `contentLength` is still written where it is set). The
   * route's response rules are applied here.
   */
  sendHead(): void;
  /** Content; one reference of `buffer` passes. Fewer bytes or more than declared: the exchange cuts the connection. */
  sendData(buffer: BufferId, offset: number, length: number): void;
  /** Content from a file, which stays open until `onFileSent`. One at a time. */
  sendFile(file: FileHandle, fileOffset: number, length: number): void;
  /**
   * What was sent so far leaves now. Call it when content doesn't follow a head at once (a read that is
   * PENDING, a backend that hasn't sent any); `sendEnd` and `sendFile` imply it.
   */
  flush(): void;
  /** Stops the client's sending; what is on its way still comes. */
  pauseRequest(): void;
  resumeRequest(): void;
  /** Bytes of this exchange that the client has not taken; above SEND_HIGH_BYTES the responder waits for `onWritable`. */
  sendQueuedBytes(): number;
  /** The response is complete; the target is not to be used any more. */
  sendEnd(): void;
  /** Ends the exchange with the fault's status, or, when the head is sent already, cuts it. The target is not to be used any more. */
  fail(code: number): void;
}

/** Above this many unsent bytes a responder stops producing (and its backend is no longer read). */
export const SEND_HIGH_BYTES = 524288;
/** The same while half of the arena is in use: many slow readers at once. */
const SEND_HIGH_BYTES_SCARCE = 65536;

/** Unsent bytes at which a responder stops producing, by how much memory is left. */
export function sendHighBytes(pool: BufferPool): number {
  const { medium, large } = pool.shape;
  const scarce = pool.freeCount(MEDIUM) < medium >> 1 || pool.freeCount(LARGE) < large >> 1;
  return scarce ? SEND_HIGH_BYTES_SCARCE : SEND_HIGH_BYTES;
}

/**
 * Whether a new exchange is refused: the last buffers are for what is under way, since responses that could
 * not be received any more would never set free what waits for them.
 */
export function shedsLoad(pool: BufferPool): boolean {
  return pool.freeCount(MEDIUM) < pool.shape.medium >> 4;
}
