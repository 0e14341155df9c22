/**
 * What carries an exchange to a backend: an HTTP/1.1 connection (one exchange at a time), or a stream of HTTP/2. A
 * ProxyResponder knows its backend only through this. Once the responder was told `onBackendFault` or `onBackendEnd`, or has
 * called `close` or `closeWhenSent`, neither touches the other any more.
 */

import type { FieldSection } from '../http/fields.ts';
import type { BufferId } from '../io/buffer-pool.ts';
import type { Exchange } from './exchange.ts';
import type { ProxyResponder } from './proxy-responder.ts';
import type { ProxyRoute } from './proxy-route.ts';
import type { GroupServer } from './upstream-group.ts';

export interface BackendStream {
  /** A request that it fails may be told to be unprocessed (E_UPSTREAM_REFUSED): then any may be sent once more. */
  readonly mayRefuse: boolean;
  /** An upgrade of HTTP/1.1 can be asked for. */
  readonly takesUpgrades: boolean;

  /** The responder's exchange begins here. */
  begin(responder: ProxyResponder): void;
  /** Writes the head of the exchange's request. False: memory is exhausted, the request can't be sent. */
  sendHead(exchange: Exchange, route: ProxyRoute, server: GroupServer, upgrade: boolean): boolean;
  /** Content; one reference of `buffer` passes. False: memory is exhausted, and a piece is missing. */
  sendData(buffer: BufferId, offset: number, length: number): boolean;
  /** The request is complete. `trailers` may be empty. False: memory is exhausted. */
  sendEnd(trailers: FieldSection): boolean;
  /** What was written leaves now. */
  flush(): void;
  /** The same, or, while the backend has not taken what was sent before, when it does. */
  pass(): void;
  /** Bytes of the request that the backend has not taken. */
  queuedBytes(): number;
  /** The responder waits until the queue has room: `onBackendWritable` follows. */
  awaitWritable(): void;
  /** The responder has sent more of the request: the backend's time begins anew. */
  touch(): void;
  /** Stops the backend's content; what is on its way still comes. */
  pause(): void;
  resume(): void;
  /** So many bytes of content have gone to the client without having been received here. */
  onForwarded?(moved: number): void;
  /** After a 101: bytes both ways are opaque. */
  startTunnel(): void;
  /** The client's half of a tunnel has ended. */
  endSend(): void;
  /** Ends it at once; the responder hears nothing more. */
  close(abortive: boolean): void;
  /** The end of a tunnel: ends when the last bytes have left. The responder hears nothing more. */
  closeWhenSent(): void;
}
