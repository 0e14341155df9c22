/**
 * One question to the system's resolver: getaddrinfo(3) on a thread of Node.js' pool, so that /etc/hosts, the search
 * list and nsswitch.conf mean what they mean for everybody else on the machine.
 */

import { lookup } from 'node:dns';
import { ADDRESSES_MAX, type ResolvedAddress, type ResolvedStatus } from '../ipc/message.ts';
import { resolvedAddressOf } from '../ipc/resolved-address.ts';

/** What a name was found to be. Addresses are in an order of their own (sortAddresses), none unless `found`. */
export interface NameAnswer {
  readonly status: ResolvedStatus;
  readonly addresses: readonly ResolvedAddress[];
  /** The resolver's word for why there are none. */
  readonly because: string;
}

/** Asks for a name; `onAnswer` is called once, later. */
export type Lookup = (name: string, onAnswer: (answer: NameAnswer) => void) => void;

export const lookUp: Lookup = (name, onAnswer) => {
  lookup(name, { all: true, order: 'ipv4first' }, (error, found) => {
    if (error !== null) {
      const because = error.code ?? error.message;
      onAnswer({ status: because === 'ENOTFOUND' ? 'no-such-name' : 'failed', addresses: [], because });
      return;
    }
    const addresses = found.flatMap(({ address, family }) => {
      const resolved = resolvedAddressOf(family === 4 ? 4 : 6, address);
      return resolved === null ? [] : [resolved];
    });
    if (addresses.length > 0) onAnswer({ status: 'found', addresses: sortAddresses(addresses), because: '' });
    else onAnswer({ status: 'no-such-name', addresses: [], because: 'no usable address' });
  });
};

/**
 * Each once, IPv4 first, by their bytes: servers of names rotate what they say, which is no change. All are used in
 * turn, so that the order means nothing else; those beyond ADDRESSES_MAX are left out, the same ones each time.
 */
export function sortAddresses(addresses: readonly ResolvedAddress[]): ResolvedAddress[] {
  const byKey = new Map(addresses.map((each) => [keyOf(each), each]));
  const keys = [...byKey.keys()].sort().slice(0, ADDRESSES_MAX);
  return keys.flatMap((key) => byKey.get(key) ?? []);
}

/** Whether two sorted lists are the same. */
export function sameAddresses(a: readonly ResolvedAddress[], b: readonly ResolvedAddress[]): boolean {
  return a.length === b.length && a.every((each, index) => keyOf(each) === keyOf(b[index]));
}

function keyOf({ family, bytes }: ResolvedAddress): string {
  return `${family} ${Buffer.from(bytes).toString('hex')}`;
}
