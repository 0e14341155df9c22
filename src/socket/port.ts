/** What carries one socket's bytes, whoever speaks over it. */

import type { Reactor } from '../io/reactor.ts';

/**
 * The part of the reactor that carries one socket's bytes. For plain sockets it is the reactor itself; a
 * TLS layer stands in by offering the same methods over its sessions.
 */
export type SocketPort = Pick<
  Reactor,
  | 'adopt'
  | 'receiveStart'
  | 'receiveOnce'
  | 'receiveStop'
  | 'send'
  | 'sendFile'
  | 'sendQueuedBytes'
  | 'sendAcknowledgedBytes'
  | 'shutdownSend'
  | 'close'
> & {
  /** Where the kernel moves bytes between sockets: absent over TLS. `source` is a socket of the reactor. */
  readonly sendFrom?: Reactor['sendFrom'];
};
