/**
 * What carries an exchange: an HTTP/1.1 connection (one exchange at a time), later a stream of HTTP/2 or
 * HTTP/3. An exchange knows its client only through this.
 */

import type { FieldSection } from '../http/fields.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';
import type { BufferId } from '../io/buffer-pool.ts';
import type { FileHandle, Handle } from '../io/reactor.ts';
import type { ClientAddress } from './client-address.ts';
import type { RouteAction } from './route.ts';

export interface DownstreamStream {
  /** SCHEME_HTTP or SCHEME_HTTPS: how the client reached us. */
  readonly scheme: number;
  /** The peer of the connection. One object for each connection. */
  readonly client: ClientAddress;
  /** What answers every request that comes to this listener; null where the routes do. */
  readonly listenerAction: RouteAction | null;

  /** An interim response (RFC 9110 §15.2) but 101. Ignored where the client's version knows none. */
  sendInformational(head: ResponseHead): void;
  /**
   * The final response's head, or 101. `bodyKind` and `contentLength` of the head say how its content is
   * framed; `hasContent` is false where none follows (HEAD, 204, 304).
   */
  sendHead(request: RequestHead, head: ResponseHead, hasContent: boolean): void;
  /** Forgets the final response that was begun, where none of it has left: another may follow. False: some has. */
  takeBack(): boolean;
  /** Content; one reference of `buffer` passes. The `room` bytes before it are nobody's and may be written to. */
  sendData(buffer: BufferId, offset: number, length: number, room?: number): void;
  sendFile(file: FileHandle, fileOffset: number, length: number): void;
  /**
   * Content that a backend's socket is still to receive, moved by the kernel: `Exchange.onForwarded` tells how much was.
   * False where it can't be; then it is received and sent. Absent where it never can.
   */
  forward?(source: Handle, length: number): boolean;
  /** The response is complete. `trailers` may be empty. */
  sendEnd(trailers: FieldSection): void;
  /** What was sent so far leaves now. */
  flush(): void;
  queuedBytes(): number;
  pauseRequest(): void;
  resumeRequest(): void;
  /** After a 101 (or a CONNECT that was accepted): bytes both ways are opaque from here on. */
  startTunnel(): void;
  /** The backend's half of the tunnel has ended: the client sees the end when it has read what was sent. */
  endTunnelSend(): void;
  /** The client must not get a response that looks complete: cuts it off. */
  cut(): void;
  /** The connection is not reused: no request after this one is read from it (streams of HTTP/2: this stream only). */
  closeAfterResponse(): void;
  /** The exchange is over and recycled: the stream lets go of it and goes on by itself. */
  onExchangeEnd(): void;
}
