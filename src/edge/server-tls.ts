/**
 * TLS of the listeners, as a configuration has it, made of what its files held when they were read. The keys of tickets
 * live longer: what was given out before a reload is still good after it.
 */

import type { ServerMaterial, TicketSecret } from '../config/material.ts';
import type { TlsConfig } from '../config/model.ts';
import { readServerCertificate } from '../tls/certificate.ts';
import type { Reachability } from '../tls/handshake.ts';
import { localPrivateKey, type PrivateKeySource, ServerContexts } from '../tls/server-contexts.ts';
import type { TlsMaterial } from '../tls/settings.ts';
import { TicketKeys } from '../tls/ticket-keys.ts';

/** For ALPN, best first. */
const PROTOCOLS = ['h2', 'http/1.1'];
const PROTOCOLS_WITHOUT_HTTP2 = ['http/1.1'];

/** Keys of tickets, and what they were made of. */
interface Tickets {
  readonly keys: TicketKeys | null;
  readonly source: string;
}

const NO_TICKETS: Tickets = { keys: null, source: '' };

export class ServerTls {
  private inForce: Tickets;
  private loaded: Tickets;
  private contextsInForce: ServerContexts | null;
  private contextsLoaded: ServerContexts | null;
  /** When the certificates end that were loaded last, by the paths of their files. */
  expiries: readonly { readonly name: string; readonly expirySeconds: number }[];

  constructor() {
    this.inForce = NO_TICKETS;
    this.loaded = NO_TICKETS;
    this.contextsInForce = null;
    this.contextsLoaded = null;
    this.expiries = [];
  }

  /**
   * Contexts for new connections; `keep` or `drop` follows. Private keys are those of the material, or what
   * `privateKeyFor` gives; where they are elsewhere, handshakes wait for `gate`. Throws an Error with the reason where something can't be used, and nothing is left behind.
   */
  load(
    settings: TlsConfig,
    material: TlsMaterial,
    http2Enabled: boolean,
    privateKeyFor: PrivateKeySource = localPrivateKey,
    gate: Reachability | null = null,
  ): ServerContexts {
    this.loaded = this.ticketsFor(settings, material);
    try {
      const tickets = this.loaded.keys;
      const protocols = http2Enabled ? PROTOCOLS : PROTOCOLS_WITHOUT_HTTP2;
      const contexts = new ServerContexts({ settings, material, tickets, protocols, privateKeyFor, gate });
      this.contextsLoaded = contexts;
      this.expiries = expiriesOf(settings, material);
      return contexts;
    } catch (error) {
      this.drop();
      throw error;
    }
  }

  private ticketsFor(settings: TlsConfig, { ticketKeys: file, ticketState }: TlsMaterial): Tickets {
    if (!settings.sessionTickets) return NO_TICKETS;
    const periodSecs = settings.sessionTicketRotationSecs;
    const source = `${periodSecs} ${file === null ? 'rotating' : Buffer.from(file).toString('base64')}`;
    if (source === this.inForce.source) return this.inForce;
    const keys =
      file === null ? TicketKeys.rotating(periodSecs, ticketState) : TicketKeys.fixed(file, periodSecs);
    return { keys, source };
  }

  /** What was loaded is in force. */
  keep(): void {
    if (this.loaded.keys !== this.inForce.keys) this.inForce.keys?.free();
    this.inForce = this.loaded;
    // Handshakes that the reload overtook get the certificate that is now right for their name.
    if (this.contextsLoaded !== null) this.contextsInForce?.followedBy(this.contextsLoaded);
    this.contextsInForce = this.contextsLoaded ?? this.contextsInForce;
    this.contextsLoaded = null;
  }

  /** What was loaded is not to be used after all. */
  drop(): void {
    if (this.loaded.keys !== this.inForce.keys) this.loaded.keys?.free();
    this.loaded = this.inForce;
    this.contextsLoaded = null;
  }
}

/** What a room was given, as OpenSSL's contexts want it: without private keys. */
export function tlsMaterialOf(server: ServerMaterial, ticketSecret: TicketSecret | null): TlsMaterial {
  return {
    certificates: server.certificates.map(({ certificate, ocsp }) => ({
      certificate: Buffer.from(certificate, 'latin1'),
      key: null,
      ocsp: decoded(ocsp),
    })),
    clientAuthorities:
      server.clientAuthorities === null ? null : Buffer.from(server.clientAuthorities, 'latin1'),
    ticketKeys: decoded(server.ticketKeys),
    ticketState:
      ticketSecret === null
        ? null
        : { secret: Buffer.from(ticketSecret.secret, 'base64'), period: ticketSecret.period },
  };
}

function decoded(base64: string | null): Uint8Array | null {
  return base64 === null ? null : Buffer.from(base64, 'base64');
}

function expiriesOf(settings: TlsConfig, { certificates }: TlsMaterial): ServerTls['expiries'] {
  return [settings, ...settings.certificates].map(({ certPath }, index) => {
    const certificate = readServerCertificate(certificates[index].certificate);
    return {
      name: certPath,
      expirySeconds: typeof certificate === 'string' ? 0 : certificate.validTo / 1000,
    };
  });
}
