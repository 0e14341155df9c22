/**
 * Sessions that a backend has given, to be resumed by connections to come. One cache belongs to one ClientContext,
 * and so to one backend under one set of verification parameters: a session can't get anywhere else.
 *
 * A resumed session isn't verified again (the peer proves that it knows what the verified one knew), so that its
 * age is bounded here, whatever the backend grants. Tickets of TLS 1.3 are used once (RFC 8446 §C.4), the session
 * of a TLS 1.2 server again and again.
 *
 * What is kept and what is lent are copies: OpenSSL spoils the session of a connection whose SSL object goes without
 * having been shut down, and ours always go so, since the connection lives on without them.
 */

import {
  SSL_SESSION_dup,
  SSL_SESSION_free,
  SSL_SESSION_get_protocol_version,
  SSL_SESSION_get_time,
  SSL_SESSION_get_timeout,
  SSL_SESSION_is_resumable,
  SSL_set_session,
} from '../sys/openssl-client.ts';
import { TLS13 } from './suites.ts';

/** Tickets that wait; the oldest goes when one more comes. Servers send two for each full handshake. */
export const TICKETS_MAX = 8;
/** A certificate that was withdrawn or has expired is noticed after an hour at the latest. */
export const SESSION_AGE_SECS_MAX = 3600;

export class SessionCache {
  /** TLS 1.3, oldest first. SSL_SESSION pointers; the reference is ours. */
  private readonly tickets: number[];
  /** TLS 1.2; 0: none. */
  private lasting: number;

  constructor() {
    this.tickets = [];
    this.lasting = 0;
  }

  get count(): number {
    return this.tickets.length + (this.lasting === 0 ? 0 : 1);
  }

  /** OpenSSL has a new session; a copy is kept. */
  put(given: number): void {
    const session = SSL_SESSION_dup(given);
    if (session === 0) return;
    if (SSL_SESSION_get_protocol_version(session) < TLS13) {
      if (this.lasting !== 0) SSL_SESSION_free(this.lasting);
      this.lasting = session;
      return;
    }
    if (this.tickets.length === TICKETS_MAX) SSL_SESSION_free(this.tickets.shift() as number);
    this.tickets.push(session);
  }

  /** Lets a new connection resume the newest session that is good at `nowSecs` (since 1970). Returns whether there was one. */
  offer(ssl: number, nowSecs: number): boolean {
    for (let session = this.tickets.pop(); session !== undefined; session = this.tickets.pop()) {
      const offered = isGood(session, nowSecs) && SSL_set_session(ssl, session) === 1;
      SSL_SESSION_free(session);
      if (offered) return true;
    }
    if (this.lasting === 0) return false;
    if (isGood(this.lasting, nowSecs)) return offerCopy(ssl, this.lasting);
    SSL_SESSION_free(this.lasting);
    this.lasting = 0;
    return false;
  }

  /** Forgets all of them. */
  clear(): void {
    for (const session of this.tickets.splice(0)) SSL_SESSION_free(session);
    if (this.lasting !== 0) SSL_SESSION_free(this.lasting);
    this.lasting = 0;
  }
}

function offerCopy(ssl: number, session: number): boolean {
  const copy = SSL_SESSION_dup(session);
  if (copy === 0) return false;
  const isOffered = SSL_set_session(ssl, copy) === 1;
  SSL_SESSION_free(copy);
  return isOffered;
}

function isGood(session: number, nowSecs: number): boolean {
  if (SSL_SESSION_is_resumable(session) !== 1) return false;
  const ageSecs = nowSecs - SSL_SESSION_get_time(session);
  // A clock that was put back makes an age negative: nothing is known then.
  return ageSecs >= 0 && ageSecs < Math.min(SESSION_AGE_SECS_MAX, SSL_SESSION_get_timeout(session));
}
