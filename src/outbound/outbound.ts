/**
 * What the room does, once it is locked: the book of names, the edges that ask for them, the prober, and what the log
 * says of them. A configuration changes all three at once, or nothing where it is refused.
 */

import { type BackendTlsSet, loadBackendTls, NO_BACKEND_TLS } from '../backend/backend-tls.ts';
import { placeOf } from '../backend/server-names.ts';
import type { Config } from '../config/model.ts';
import { namesOf, type OutboundConfiguration } from '../config/outbound-need.ts';
import type { Reactor } from '../io/reactor.ts';
import { socketAddressOf } from '../ipc/resolved-address.ts';
import type { Log } from '../log/log.ts';
import type { VerdictTable } from '../shared/health-verdicts.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import type { Signing } from '../tls/signing.ts';
import { type HealthNews, HealthProber, healthTargets } from './health-prober.ts';
import { NameBook, type NameListener } from './name-book.ts';
import { NameChannels } from './name-channels.ts';
import type { Lookup, NameAnswer } from './name-lookup.ts';

export class Outbound implements NameListener, HealthNews {
  readonly channels: NameChannels;
  private readonly log: Log;
  private readonly signing: Signing;
  private readonly book: NameBook;
  private readonly prober: HealthProber;
  private config: Config | null;
  /** Of the configuration: servers whose addresses change are still told by it. */
  private backendTls: BackendTlsSet;

  constructor(reactor: Reactor, verdicts: VerdictTable, log: Log, signing: Signing, lookup: Lookup) {
    this.log = log;
    this.signing = signing;
    this.book = new NameBook(reactor, lookup, this);
    this.channels = new NameChannels(this.book, (edge, because) =>
      log.error('a worker’s questions were broken off', { worker: edge, because }),
    );
    this.prober = new HealthProber(reactor, verdicts, this);
    this.config = null;
    this.backendTls = NO_BACKEND_TLS;
  }

  /** Puts a configuration in force. Returns empty text, or why the one before stays. */
  follow({ config, backends }: OutboundConfiguration): string {
    let backendTls: BackendTlsSet;
    try {
      backendTls = loadBackendTls(config, backends, this.signing.clientKeys(backends.clientKeys));
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    const before = this.backendTls;
    this.config = config;
    this.backendTls = backendTls;
    this.log.follow(config.logging);
    this.book.follow(namesOf(config));
    this.channels.open();
    this.check();
    before.free();
    return '';
  }

  /** Ends all checks; verdicts stay. */
  stop(): void {
    this.prober.stop();
    this.log.flush();
  }

  /** Has the prober follow the configuration and what is known of names. */
  private check(): void {
    const { config } = this;
    if (config === null) return;
    const resolved = new Map<string, readonly SocketAddress[]>();
    for (const entry of config.upstreams.flatMap(({ servers }) => servers)) {
      const place = placeOf(entry);
      const known = place.family === 'name' ? this.book.answerOf(place.name)?.addresses : undefined;
      const { port } = place as { port: number };
      resolved.set(
        entry.url,
        place.family === 'name' ? (known ?? []).map((each) => socketAddressOf(each, port)) : [place],
      );
    }
    this.prober.follow(healthTargets(config, resolved, this.backendTls));
  }

  onName(name: string, answer: NameAnswer): void {
    this.channels.tell(name, answer);
    this.check();
    if (answer.status === 'found') {
      const addresses = answer.addresses.map((each) => addressText(socketAddressOf(each, 0)));
      this.log.info(
        `Name ${name} has ${addresses.length === 1 ? 'the address' : 'the addresses'} ${addresses.join(', ')}`,
      );
    } else this.log.warn(`Name ${name} can’t be resolved`, { because: answer.because });
  }

  onTrouble(name: string, because: string): void {
    if (because === '') this.log.info(`Name ${name} can be resolved again`);
    else this.log.warn(`Name ${name} can’t be resolved: its addresses stay as they were`, { because });
  }

  onVerdict(label: string, upstream: string, healthy: boolean, because: string): void {
    this.log.info(`Upstream ${label} is now ${healthy ? 'healthy' : 'unhealthy'}`, { upstream, because });
  }

  onUnchecked(label: string, upstream: string, because: string): void {
    this.log.warn(`Upstream ${label} is not checked`, { upstream, because });
  }
}

function addressText(address: SocketAddress): string {
  return address.family === 'unix' ? address.path : address.address;
}
