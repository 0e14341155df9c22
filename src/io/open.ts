/** Chooses the reactor that this machine can have. */

import { ENOSYS, EPERM, errnoName } from '../sys/errno.ts';
import { DEFAULT_SHAPE, type PoolShape } from './buffer-pool.ts';
import { EpollReactor } from './epoll.ts';
import { DEFAULT_LIMITS, type ReactorLimits } from './kernel-reactor.ts';
import type { Handle, ListenerHandler, Reactor } from './reactor.ts';
import { UringReactor } from './uring.ts';

export interface OpenOptions {
  readonly shape?: PoolShape;
  readonly limits?: ReactorLimits;
  /** Asks for huge pages under the buffers; in place of what `limits` says. */
  readonly hugePages?: boolean;
  /** An io_uring takes these operations only (uring-restrictions.ts has a list); absent: all. */
  readonly operations?: readonly number[];
  /** What SALLYPORT_IO says: `uring` or `epoll` forces that backend; absent or empty, the better one is taken. */
  readonly backend?: string | undefined;
}

export interface OpenedReactor {
  readonly reactor: Reactor;
  /** Why it is this one; words for a log line. */
  readonly reason: string;
  /** The buffers are on huge pages. When they were asked for and this is false, the kernel has none. */
  readonly hugePages: boolean;
  /** Accepts on a socket that listens already, which is the reactor's from now on; -errno where it has no room. */
  readonly listenOn: (fd: number, handler: ListenerHandler) => Handle;
}

/** io_uring was asked for and cannot be had, or the name is unknown. An operator's mistake: the message says what to do. */
export class ReactorUnavailable extends Error {
  override readonly name = 'ReactorUnavailable';
}

/**
 * Opens io_uring where the kernel allows it (Linux 6.1 or newer), epoll elsewhere. `backend` defaults to
 * the environment's SALLYPORT_IO. Throws ReactorUnavailable. Set-up only.
 */
export function openReactor(options: OpenOptions = {}): OpenedReactor {
  const shape = options.shape ?? DEFAULT_SHAPE;
  const given = options.limits ?? DEFAULT_LIMITS;
  const limits = { ...given, hugePages: options.hugePages ?? given.hugePages };
  const backend = options.backend ?? process.env['SALLYPORT_IO'] ?? '';
  if (backend !== '' && backend !== 'uring' && backend !== 'epoll') {
    throw new ReactorUnavailable(`SALLYPORT_IO is '${backend}'; it may be 'uring' or 'epoll'`);
  }
  if (backend === 'epoll') {
    return opened(new EpollReactor(shape, limits), 'SALLYPORT_IO asks for epoll');
  }
  const uring = UringReactor.create(shape, limits, options.operations ?? null);
  if (typeof uring !== 'number') return opened(uring, 'the kernel offers io_uring');
  const cause = refusal(uring);
  if (backend === 'uring') {
    throw new ReactorUnavailable(`SALLYPORT_IO asks for io_uring, but ${cause}; unset it to use epoll`);
  }
  return opened(new EpollReactor(shape, limits), cause);
}

function opened(reactor: UringReactor | EpollReactor, reason: string): OpenedReactor {
  return {
    reactor,
    reason,
    hugePages: reactor.hugePages,
    listenOn: (fd, handler) => reactor.listenOn(fd, handler),
  };
}

function refusal(errno: number): string {
  switch (-errno) {
    case ENOSYS:
      return 'this kernel (or a system call filter) has no io_uring';
    case EPERM:
      return 'io_uring is forbidden here (a system call filter, or the sysctl kernel.io_uring_disabled)';
    default:
      return `io_uring cannot be set up as needed, which takes Linux 6.1 or newer (${errnoName(errno)})`;
  }
}
