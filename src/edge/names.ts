/**
 * Addresses of the servers that configurations name, as the room `outbound` finds them and tells when they change.
 * What has an address in its URL, or is a Unix socket, needs nobody's help.
 *
 * The room may die and come back: questions are asked again on the new channel, and what was known stays in use.
 */

import { placeOf, type ResolvedServers } from '../backend/server-names.ts';
import type { Config, ServerEntry } from '../config/model.ts';
import { nameOf, namesOf } from '../config/outbound-need.ts';
import type { Message, ResolvedAddress, ResolvedStatus } from '../ipc/message.ts';
import { PolledChannel } from '../ipc/polled-channel.ts';
import { socketAddressOf } from '../ipc/resolved-address.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';

/** How long names of a configuration may take to be resolved; a room must answer to a new configuration in time. */
const RESOLVE_MS_MAX = 15_000;

/** A name, and the last that was said of it. */
interface KnownName {
  readonly question: number;
  /** Empty: it hasn't been found yet. */
  addresses: readonly ResolvedAddress[];
  /** `unknown` until there is an answer. */
  status: ResolvedStatus | 'unknown';
}

export class Names {
  private readonly onChange: (changed: ResolvedServers) => void;
  private channel: PolledChannel | null;
  private readonly names: Map<string, KnownName>;
  private lastQuestion: number;
  /** Called whenever something was said. */
  private readonly waiting: Set<() => void>;
  /** Servers that changes are told of, by URL. */
  private readonly servers: Map<string, ServerEntry>;
  /** What `resolve` returned last: it follows changes until it is in force. */
  private latest: Map<string, readonly SocketAddress[]>;

  /** `onChange`: servers of configurations that were resolved have other addresses than before, by URL. */
  constructor(onChange: (changed: ResolvedServers) => void) {
    this.onChange = onChange;
    this.channel = null;
    this.names = new Map();
    this.lastQuestion = 0;
    this.waiting = new Set();
    this.servers = new Map();
    this.latest = new Map();
  }

  /** A channel to the room `outbound`, instead of the one before. */
  connect(descriptor: number): void {
    this.channel?.close();
    this.channel = new PolledChannel(descriptor, 'edge', 'outbound', {
      onMessage: (_, message) => this.onMessage(message),
      onEnd: (ended) => {
        if (this.channel === ended) this.channel = null;
      },
    });
    for (const [name, { question }] of this.names) this.ask(name, question);
  }

  /**
   * The addresses of all servers of a configuration, by URL; names that are known already are not waited for. Rejects
   * with an Error that names the first server whose name has none. `keep` is due when the configuration is in force.
   */
  async resolve(config: Config): Promise<ResolvedServers> {
    const servers = config.upstreams.flatMap((upstream) => upstream.servers);
    const names = namesOf(config);
    for (const name of names) this.askAnew(name);
    await this.answers(names);
    this.latest = new Map(servers.map((entry) => [entry.url, this.addressesOf(entry)]));
    for (const entry of servers) this.servers.set(entry.url, entry);
    return this.latest;
  }

  /** The configuration that was resolved last is in force: what others named is forgotten. */
  keep(): void {
    for (const url of this.servers.keys()) if (!this.latest.has(url)) this.servers.delete(url);
    const names = new Set([...this.servers.values()].map(nameOf));
    for (const name of this.names.keys()) if (!names.has(name)) this.names.delete(name);
  }

  /** What `resolve` returned last, as it is now. */
  get addresses(): ResolvedServers {
    return this.latest;
  }

  close(): void {
    this.channel?.close();
    this.channel = null;
  }

  /** Asks for a name that isn't known, or that wasn't found. */
  private askAnew(name: string): void {
    const known = this.names.get(name);
    if (known !== undefined && known.addresses.length > 0) return;
    const question = ++this.lastQuestion;
    this.names.set(name, { question, addresses: [], status: 'unknown' });
    this.ask(name, question);
  }

  private ask(name: string, question: number): void {
    this.channel?.send({ kind: 'resolve', question, name });
  }

  /** Resolves when something was said of each of them, or after RESOLVE_MS_MAX. */
  private answers(names: readonly string[]): Promise<void> {
    const isDone = (): boolean => names.every((name) => this.names.get(name)?.status !== 'unknown');
    if (isDone()) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.waiting.delete(look);
        resolve();
      };
      const look = (): void => {
        if (isDone()) finish();
      };
      const timer = setTimeout(finish, RESOLVE_MS_MAX);
      this.waiting.add(look);
    });
  }

  private onMessage(message: Message): void {
    if (message.kind !== 'resolved') return;
    for (const [name, known] of this.names) {
      if (known.question !== message.question) continue;
      // What was found once is used until something else is found.
      if (message.status !== 'found' && known.addresses.length > 0) return;
      known.status = message.status;
      known.addresses = message.addresses.map(({ family, bytes }) => ({ family, bytes: bytes.slice() }));
      if (message.status === 'found') this.tellChange(name);
      for (const look of [...this.waiting]) look();
      return;
    }
  }

  private tellChange(name: string): void {
    const changed = new Map<string, readonly SocketAddress[]>();
    for (const [url, entry] of this.servers)
      if (nameOf(entry) === name) changed.set(url, this.addressesOf(entry));
    for (const [url, addresses] of changed) if (this.latest.has(url)) this.latest.set(url, addresses);
    if (changed.size > 0) this.onChange(changed);
  }

  /** Throws an Error where its name has none. */
  private addressesOf(entry: ServerEntry): readonly SocketAddress[] {
    const place = placeOf(entry);
    if (place.family !== 'name') return [place];
    const known = this.names.get(place.name);
    const addresses = known?.addresses ?? [];
    if (addresses.length === 0)
      throw new Error(
        `The name of backend ${entry.url} has no address (${REASONS[known?.status ?? 'unknown']})`,
      );
    return addresses.map((address) => socketAddressOf(address, place.port));
  }
}

/** Why a name has no address. */
const REASONS: Readonly<Record<KnownName['status'], string>> = {
  unknown: `no answer within ${RESOLVE_MS_MAX / 1000} s`,
  'no-such-name': 'no such name',
  failed: 'no name server answers',
  found: 'none that can be used',
};
