/**
 * The listening sockets of the house. The master opens them before any room starts and keeps them: a worker that takes
 * another's place continues with the same sockets and the same queues, and a new master with those of the old one.
 *
 * A TCP address has one socket for each worker (SO_REUSEPORT), so that workers never compete for a connection; where
 * one worker runs, one without that option. A Unix address has one socket, which all workers share. Sockets here are
 * only opened, described and closed; nothing is ever accepted or read.
 */

import { lstatSync, unlinkSync } from 'node:fs';
import type { ListenAddress } from '../config/model.ts';
import { formatListenAddress } from '../config/network-names.ts';
import { errnoName } from '../sys/errno.ts';
import { close } from '../sys/libc.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import { createListener, localAddressOf } from '../sys/socket.ts';
import {
  allowSharing,
  balanceByClientAddress,
  balanceByKernel,
  createSharingListener,
  isListening,
} from '../sys/socket-sharing.ts';

/** `main`: TLS, or plain without `[tls]`; `redirect`: to HTTPS; `status`: the status page. */
export type ListenerKind = 'main' | 'redirect' | 'status';

export interface ListenerWish {
  readonly address: ListenAddress;
  readonly kind: ListenerKind;
  /** The key of the configuration that asks for it, for messages: `server.listen`. */
  readonly key: string;
}

/** One socket as a worker gets it. */
export interface WorkerListener {
  /** The master's descriptor; it stays open here. */
  readonly fd: number;
  /** What it is bound to, with the port that the kernel chose where 0 was asked for. */
  readonly address: SocketAddress;
  readonly kind: ListenerKind;
}

/** A socket that a previous master had open. */
export interface InheritedListener {
  readonly fd: number;
  /** As its configuration had it, in formatListenAddress' words. */
  readonly address: string;
}

/** What a new master is given: descriptors, and in the same order what they are, for `readHandOver`. */
export interface HandOver {
  readonly fds: readonly number[];
  readonly description: string;
}

/** Connections that wait to be accepted, for each socket; the kernel takes less where net.core.somaxconn says so. */
const BACKLOG = 4096;
/** Who may connect to a Unix socket is told by the directory that it is in. */
const UNIX_MODE = 0o666;
/** Descriptors that one hand-over may have; far above addresses times workers. */
const INHERITED_MAX = 65_536;

/** The sockets of one address. */
class Listener {
  readonly wish: ListenerWish;
  /** As the configuration has it. */
  readonly text: string;
  readonly bound: SocketAddress;
  /** Socket `i` belongs to worker `i` modulo the number of workers. */
  readonly fds: number[];
  /** Inode of a Unix socket's file, which goes with it; 0: none, or another master's as long as that one lives. */
  inode: number;

  constructor(wish: ListenerWish, fds: number[], isInherited: boolean) {
    this.wish = wish;
    this.text = formatListenAddress(wish.address);
    this.bound = localAddressOf(fds[0]);
    this.fds = fds;
    this.inode = isInherited ? 0 : inodeOf(wish.address);
  }
}

export class Listeners {
  /** What the operator should know although nothing is wrong. */
  readonly notes: string[] = [];
  private readonly listeners: Listener[] = [];
  private workers = 1;

  /**
   * Opens a socket for each address and worker. Takes those of `inherited` that are for the same address, and closes
   * the others. Empty text, or why one can't be opened and how to mend it; then all are closed. Once in a lifetime.
   */
  open(
    wishes: readonly ListenerWish[],
    workers: number,
    balancing: 'kernel' | 'cbpf',
    inherited: readonly InheritedListener[] = [],
  ): string {
    this.workers = workers;
    const spare = inherited.filter(({ fd }) => isListening(fd));
    // An IPv6 address leaves the port of IPv4 to a socket of its own only where that is there before.
    const order = [...wishes].sort((a, b) => rankOf(a.address) - rankOf(b.address));
    let problem = '';
    for (const wish of order) {
      problem = this.openOne(wish, spare);
      if (problem !== '') break;
    }
    for (const { fd } of spare) close(fd);
    if (problem !== '') {
      this.close();
      return problem;
    }
    this.listeners.sort((a, b) => wishes.indexOf(a.wish) - wishes.indexOf(b.wish));
    for (const listener of this.listeners) this.balance(listener, balancing);
    return '';
  }

  /** What a worker accepts from, in the order of the wishes. `worker` counts from 0. */
  descriptorsOf(worker: number): readonly WorkerListener[] {
    return this.listeners.flatMap(({ fds, bound, wish }) =>
      fds
        .filter((_, index) => wish.address.family === 'unix' || index % this.workers === worker)
        .map((fd) => ({ fd, address: bound, kind: wish.kind })),
    );
  }

  /** Each address once, as it is bound: for the log and the status page. */
  get addresses(): readonly { readonly address: SocketAddress; readonly kind: ListenerKind }[] {
    return this.listeners.map(({ bound, wish }) => ({ address: bound, kind: wish.kind }));
  }

  /** All sockets, for a new master. Nothing changes here; `release` when that one is ready. */
  handOver(): HandOver {
    const fds = this.listeners.flatMap((each) => each.fds);
    const addresses = this.listeners.flatMap(({ text, fds }) => fds.map(() => text));
    return { fds, description: JSON.stringify(addresses) };
  }

  /** The previous master is about to leave: files of Unix sockets that were its own are this one's. */
  takeOver(): void {
    for (const listener of this.listeners)
      if (listener.inode === 0) listener.inode = inodeOf(listener.wish.address);
  }

  /** Closes what a new master has taken; files of Unix sockets stay. */
  release(): void {
    for (const { fds } of this.listeners) for (const fd of fds) close(fd);
    this.listeners.length = 0;
  }

  /** Closes everything and removes the files of Unix sockets that are this master's. */
  close(): void {
    for (const { wish, inode } of this.listeners)
      if (wish.address.family === 'unix' && inode !== 0 && inodeOf(wish.address) === inode)
        removeFile(wish.address.path);
    this.release();
  }

  private openOne(wish: ListenerWish, spare: InheritedListener[]): string {
    const count = wish.address.family === 'unix' ? 1 : this.workers;
    const fds = takeMatching(wish.address, spare);
    const isInherited = fds.length > 0;
    if (!isInherited) {
      // Without SO_REUSEPORT, so that another program on this port is noticed although it would share it.
      const first = createListener(wish.address, BACKLOG, false, UNIX_MODE);
      if (first < 0) return listenProblem(wish, first);
      fds.push(first);
    }
    this.listeners.push(new Listener(wish, fds, isInherited));
    if (count === 1) return '';
    for (const fd of fds) allowSharing(fd);
    while (fds.length < count) {
      const fd = createSharingListener(fds[0], BACKLOG);
      if (fd < 0) return listenProblem(wish, fd);
      fds.push(fd);
    }
    return '';
  }

  private balance({ text, fds, wish }: Listener, balancing: 'kernel' | 'cbpf'): void {
    if (wish.address.family === 'unix' || fds.length === 1) return;
    if (balancing === 'kernel') {
      // A previous master may have had it otherwise.
      balanceByKernel(fds[0]);
      return;
    }
    const result = balanceByClientAddress(fds[0], fds.length);
    if (result < 0)
      this.notes.push(
        `performance.reuseport_balancing: the kernel takes no program for ${text} (${errnoName(result)}); it chooses by itself, as with "kernel"`,
      );
  }
}

/** What `handOver` described, whose descriptors are `firstFd` and those after it. Empty where it makes no sense. */
export function readHandOver(description: string, firstFd: number): readonly InheritedListener[] {
  let addresses: unknown;
  try {
    addresses = JSON.parse(description);
  } catch {
    return [];
  }
  if (!Array.isArray(addresses) || addresses.length > INHERITED_MAX) return [];
  return addresses.map((address, index) => ({ fd: firstFd + index, address: String(address) }));
}

/** The wishes of a configuration. */
export function listenerWishes({
  server,
  status,
}: {
  readonly server: { readonly listen: readonly ListenAddress[]; readonly http: readonly ListenAddress[] };
  readonly status: { readonly listen: ListenAddress | null };
}): readonly ListenerWish[] {
  const page: readonly ListenAddress[] = status.listen === null ? [] : [status.listen];
  return [
    ...server.listen.map((address): ListenerWish => ({ address, kind: 'main', key: 'server.listen' })),
    ...server.http.map((address): ListenerWish => ({ address, kind: 'redirect', key: 'server.http' })),
    ...page.map((address): ListenerWish => ({ address, kind: 'status', key: 'status.listen' })),
  ];
}

/** Takes the descriptors for an address out of `spare`. */
function takeMatching(address: ListenAddress, spare: InheritedListener[]): number[] {
  const text = formatListenAddress(address);
  const fds: number[] = [];
  for (let index = 0; index < spare.length; ) {
    if (spare[index].address === text && isBoundTo(spare[index].fd, address))
      fds.push(...spare.splice(index, 1).map(({ fd }) => fd));
    else index++;
  }
  return fds;
}

/** What a previous master says of a socket is compared with what the kernel says. */
function isBoundTo(fd: number, address: ListenAddress): boolean {
  const bound = localAddressOf(fd);
  if (address.family === 'unix') return bound.family === 'unix' && bound.path === address.path;
  return bound.family !== 'unix' && (address.port === 0 || bound.port === address.port);
}

function rankOf(address: ListenAddress): number {
  return address.family === 'ipv6' ? 1 : 0;
}

/** 0 where there is no such file, or it can't be looked at. */
function inodeOf(address: ListenAddress): number {
  if (address.family !== 'unix') return 0;
  try {
    return lstatSync(address.path).ino;
  } catch {
    return 0;
  }
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Somebody else has removed it, or its directory isn't ours any more: nothing depends on it.
  }
}

function listenProblem({ key, address }: ListenerWish, errno: number): string {
  const name = errnoName(errno);
  const text = formatListenAddress(address);
  if (name === 'EADDRINUSE')
    return `${text} is taken: another program listens there (EADDRINUSE). Stop it, or change ${key}.`;
  if (name === 'EACCES') {
    return `${text}: the system doesn't let this user listen there (EACCES). Start as root, or grant CAP_NET_BIND_SERVICE, or choose a port above 1023.`;
  }
  if (name === 'EADDRNOTAVAIL')
    return `${text}: this machine has no such address (EADDRNOTAVAIL). Change ${key}.`;
  return `${text}: can't listen (${name}).`;
}
