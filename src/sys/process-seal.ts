/**
 * The last step of a room's start: the filter that leaves it only what it works with. The launcher hands the program
 * over in the environment; the room calls `warmUp`, prepares what it needs (its ring, its descriptors), then `seal`.
 */

import { stat } from 'node:fs/promises';
import { endAtOnce } from './exit.ts';
import { trimMemory } from './memory-trim.ts';
import { setUndumpable } from './process.ts';
import { installFilter } from './seccomp.ts';

/** Where the launcher puts the filter, base64. */
export const SEAL_VARIABLE = 'SALLYPORT_SEAL';

/** Threads of libuv's pool, which all start with its first pieces of work. */
const POOL_THREADS = 4;

/** Starts what Node.js would start later, when no thread can be started any more. */
export async function warmUp(): Promise<void> {
  endAtOnce();
  await Promise.all(Array.from({ length: POOL_THREADS * 2 }, () => stat(process.execPath).catch(() => null)));
  // The streams are made when they are first touched.
  void process.stdout.writable;
  void process.stderr.writable;
  // The time zone is read, with system calls of its own, when a date is first wanted.
  new Date().getTimezoneOffset();
}

/**
 * Seals the process, all threads at once. Returns 0, also where no filter was asked for, or -errno. Nothing that may be
 * confined by it runs before: the caller ends the process if this fails.
 */
export function seal(): number {
  const program = process.env[SEAL_VARIABLE] ?? '';
  delete process.env[SEAL_VARIABLE];
  const undumpable = setUndumpable();
  const result =
    program === '' ? undumpable : installFilter(new Uint8Array(Buffer.from(program, 'base64')), 'all');
  trimMemory();
  return result;
}
