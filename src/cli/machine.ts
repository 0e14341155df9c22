/** What this machine offers to the edge. */

import { openReactor, ReactorUnavailable } from '../io/open.ts';

/** Which backend of the reactor would run here, and why. Opens it and closes it again. */
export function describeIo(): string {
  try {
    const { reactor, reason } = openReactor();
    const { name } = reactor;
    reactor.destroy();
    return reason === '' ? name : `${name}, because ${reason}`;
  } catch (error) {
    if (!(error instanceof ReactorUnavailable)) throw error;
    return `none: ${error.message}`;
  }
}
