/**
 * The end of a process that ends itself. `process.exit` of Node.js 26 first joins the engine's compiling threads, and one
 * that is out of memory at that moment waits for a collection that only the main thread could make: both wait for ever
 * (seen with Maglev). Nothing here is left to be put in order by then, so the kernel does it.
 */

import { exitNow } from './libc.ts';

/** From now on `process.exit` runs the listeners of 'exit' and ends, without waiting for any thread. Idempotent. */
export function endAtOnce(): void {
  // What process.exit calls last; undocumented, and replaced by others, too. tests/sys/exit.test.ts holds Node.js to it.
  (process as unknown as { reallyExit: (code?: number | string | null) => void }).reallyExit = (code) =>
    exitNow(Number(code ?? 0));
}
