/**
 * Loaded into each process that runs a test file. The runner ends it (`--test-force-exit`) while results may still wait for room
 * in the pipe to the runner: they were lost, failures as well as passes, and nothing told. With writes that
 * wait, as those to a terminal or a file do, none is left when it ends.
 */

import { endAtOnce } from '../src/sys/exit.ts';

/** What Node.js has below `process.stdout`; not documented, so a test holds Node.js to it. */
interface Pipe {
  readonly _handle?: { setBlocking?(isBlocking: boolean): void };
}

if (process.env['NODE_TEST_CONTEXT'] !== undefined) {
  (process.stdout as unknown as Pipe)._handle?.setBlocking?.(true);
  // The runner's way to end it is process.exit, which may wait for ever.
  endAtOnce();
}
