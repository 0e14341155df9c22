/**
 * A new program in the place of this one without a refused connection: the old master starts a new one and gives it its
 * listening sockets; when the new one's rooms are ready it says so, and the old one finishes what it has and ends. A
 * new one that doesn't get ready changes nothing.
 *
 * The new master finds in its environment: UPGRADE_VARIABLE, what the descriptors from 4 on are; descriptor 3 is where
 * it says that it is ready, with one byte.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { PATIENCE } from '../base/patience.ts';
import { close } from '../sys/libc.ts';
import { type HandOver, type InheritedListener, readHandOver } from './listeners.ts';

export const UPGRADE_VARIABLE = 'SALLYPORT_UPGRADE';
const READY_DESCRIPTOR = 3;
const FIRST_DESCRIPTOR = 4;
/** How long a new master may take until its rooms are ready. */
const READY_MS_MAX = 60_000 * PATIENCE;

export interface Inheritance {
  readonly listeners: readonly InheritedListener[];
  /** Tells the old master that it may go. */
  readonly ready: () => void;
}

/** What an old master has given this one; null: it was started by somebody else. */
export function inheritance(): Inheritance | null {
  const description = process.env[UPGRADE_VARIABLE];
  if (description === undefined) return null;
  delete process.env[UPGRADE_VARIABLE];
  return {
    listeners: readHandOver(description, FIRST_DESCRIPTOR),
    ready: () => {
      try {
        writeSync(READY_DESCRIPTOR, 'r');
      } catch {
        // The old one has gone meanwhile: nobody waits for the word.
      }
      close(READY_DESCRIPTOR);
    },
  };
}

/**
 * Starts a new master with these sockets. Resolves to its process id when its rooms are ready, or to the reason why
 * there is none; then nothing is left of it. `giveUp` is for whoever is told to stop meanwhile.
 */
export function startSuccessor(
  { fds, description }: HandOver,
  giveUp: AbortSignal,
): Promise<number | string> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      stdio: ['inherit', 'inherit', 'inherit', 'pipe', ...fds],
      env: { ...process.env, [UPGRADE_VARIABLE]: description },
    });
    const timer = setTimeout(() => finish('its rooms didn’t get ready in time'), READY_MS_MAX);
    const finish = (result: number | string): void => {
      clearTimeout(timer);
      giveUp.onabort = null;
      child.removeAllListeners();
      if (typeof result === 'string') endChild(child);
      else child.unref();
      resolve(result);
    };
    giveUp.onabort = () => finish('this one is to stop');
    child.once('error', (error) => finish(`it can’t be started: ${error.message}`));
    child.once('exit', (code, signal) => finish(`it ended (${signal ?? `exit code ${code}`})`));
    const ready = child.stdio[READY_DESCRIPTOR] as Duplex;
    ready.once('data', () => {
      ready.destroy();
      finish(child.pid ?? 'it has no process id');
    });
    ready.once('error', () => {});
  });
}

function endChild(child: ChildProcess): void {
  child.once('error', () => {});
  child.kill('SIGKILL');
}
