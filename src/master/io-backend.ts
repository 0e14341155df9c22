/** Which backend of the reactor rooms will have: their lists of system calls differ. */

import { openReactor } from '../io/open.ts';
import type { IoBackend } from './compartments.ts';

/** Opens one and closes it again. Throws ReactorUnavailable with what to do. */
export function ioBackend(): { readonly io: IoBackend; readonly reason: string } {
  const { reactor, reason } = openReactor();
  const io = reactor.name === 'io_uring' ? 'io_uring' : 'epoll';
  reactor.destroy();
  return { io, reason };
}
