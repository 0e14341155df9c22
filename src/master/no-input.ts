/** What the master's children read from standard input: nothing. */

import { existsSync } from 'node:fs';
import { createPipe } from '../sys/descriptors.ts';
import { close } from '../sys/libc.ts';

let empty = -1;

/**
 * For `stdio` of spawn: /dev/null, or where there is none (bubblewrap makes roots without /dev) the end of a pipe that
 * nobody writes to.
 */
export function noInput(): 'ignore' | number {
  if (existsSync('/dev/null')) return 'ignore';
  if (empty >= 0) return empty;
  const pipe = createPipe();
  if (typeof pipe === 'number') return 'ignore';
  close(pipe[1]);
  empty = pipe[0];
  return empty;
}
