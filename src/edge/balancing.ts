/**
 * Which server of a group is next: the interface of the three algorithms. A balancer knows its servers by their
 * index in the group and by nothing else; whether one may be used, and with what weight, it is told. It never
 * looks at a clock, and a choice allocates nothing.
 */

import type { AddressWords } from './ip-list.ts';

/** No server is left. */
export const NO_SERVER = -1;

export interface Balancer {
  /** Servers that may be chosen. */
  readonly size: number;
  /** The weights of servers that have just recovered may be below their own for a while. */
  readonly startsSlowly: boolean;
  /** `setLoad` is to be called. */
  readonly countsLoad: boolean;
  /** The server for a client (null: one without an address), or NO_SERVER. At most logarithmic in the servers. */
  choose(client: AddressWords | null): number;
  /** The same among those whose byte in `excluded` is 0. Linear in the servers: for retries. */
  chooseExcept(client: AddressWords | null, excluded: Uint8Array): number;
  /** A server's present weight, above 0; 0: it is not to be chosen. */
  setWeight(index: number, weight: number): void;
  /** Exchanges that a server has under way. */
  setLoad(index: number, inFlight: number): void;
}
