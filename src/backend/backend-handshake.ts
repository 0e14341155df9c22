/**
 * The TLS side of one connection to a backend until it is open, what was agreed on, and the words for what went wrong on
 * it. Owned by whoever speaks over it, whose port its socket is.
 */

import type { Reactor } from '../io/reactor.ts';
import { type TlsOwner, TlsSocket } from '../socket/tls-socket.ts';
import type { ClientContext } from '../tls/client-context.ts';
import { Handshake } from '../tls/handshake.ts';
import { failureWords } from '../tls/verify-error.ts';

export class BackendHandshake implements TlsOwner {
  readonly socket: TlsSocket;
  private readonly context: ClientContext;
  private handshake: Handshake | null;
  private failure: string;
  private agreed: string;

  /** Throws where memory is exhausted. */
  constructor(reactor: Reactor, context: ClientContext, offersHttp2: boolean) {
    this.context = context;
    this.handshake = new Handshake(context.newSession(offersHttp2), false);
    this.socket = new TlsSocket(reactor, 0, this.handshake, false, this);
    this.failure = '';
    this.agreed = '';
  }

  onTlsOpen(_socket: TlsSocket, handshake: Handshake): void {
    this.agreed = handshake.protocol;
    this.handshake = null;
  }

  onTlsFailed(_socket: TlsSocket, reason: string): void {
    if (this.handshake !== null) this.failure = this.context.explainFailure(this.handshake.ssl, reason);
    this.handshake = null;
  }

  onTlsClosed(): void {
    // It has a handler from its connecting on, which hears of it.
  }

  /** HTTP/2 was agreed on. */
  get isHttp2(): boolean {
    return this.agreed === 'h2';
  }

  /** Why TLS failed, in the handshake or after it; '' where it didn't. */
  get reason(): string {
    return this.failure === '' && this.socket.reason !== '' ? failureWords(this.socket.reason) : this.failure;
  }
}

/** Where a connection to a backend is to begin; null where memory is exhausted. */
export function beginHandshake(
  reactor: Reactor,
  context: ClientContext,
  offersHttp2 = false,
): BackendHandshake | null {
  try {
    return new BackendHandshake(reactor, context, offersHttp2);
  } catch {
    return null;
  }
}
