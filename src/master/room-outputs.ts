/**
 * Pipes for what rooms write to their standard output and error: one for each process, so that whoever reads them, the
 * journal, knows whose words they are. The end for reading stays the master's, too, as long as the room has its place: a
 * journal that takes the place of another one goes on where that stopped.
 */

import type { Role } from '../ipc/roles.ts';
import { createPipe, duplicateDescriptor } from '../sys/descriptors.ts';
import { errnoName } from '../sys/errno.ts';
import { close } from '../sys/libc.ts';
import type { JournalEnd } from './log-files.ts';

const STDERR = 2;

/** The output of one process. */
interface Output {
  readonly role: Role;
  /** Descriptor of the end for reading. */
  readonly end: number;
  /** 0: it doesn't run yet. */
  pid: number;
}

export class RoomOutputs {
  /** By the names of rooms. */
  private readonly outputs: Map<string, Output>;

  constructor() {
    this.outputs = new Map();
  }

  /**
   * For another process in a room's place: the end that it writes to, which is the caller's to close. Throws an Error
   * where the kernel has no descriptors.
   */
  open(name: string, role: Role): number {
    const pipe = createPipe();
    if (typeof pipe === 'number') throw new Error(`no pipe can be made (${errnoName(pipe)})`);
    this.remove(name);
    this.outputs.set(name, { role, end: pipe[0], pid: 0 });
    return pipe[1];
  }

  /** The process runs. `journal` reads from now on; null: there is none, and the next one will. Throws as `open` does. */
  started(name: string, pid: number, journal: JournalEnd | null): void {
    const output = this.outputs.get(name);
    if (output === undefined) return;
    output.pid = pid;
    if (journal !== null) give(journal, output);
  }

  /** Another journal: it is given all, and where it complains itself. Throws as `open` does. */
  giveTo(journal: JournalEnd): void {
    journal.send({ kind: 'descriptors', purpose: 'output', peer: 'journal', index: 0 }, [STDERR]);
    for (const output of this.outputs.values()) if (output.pid > 0) give(journal, output);
  }

  /** Nobody takes the place any more. What the journal has not read yet it still does. */
  remove(name: string): void {
    const output = this.outputs.get(name);
    if (output === undefined) return;
    this.outputs.delete(name);
    close(output.end);
  }

  close(): void {
    for (const name of [...this.outputs.keys()]) this.remove(name);
  }
}

function give(journal: JournalEnd, { role, end, pid }: Output): void {
  const copy = duplicateDescriptor(end);
  if (copy < 0) throw new Error(`no descriptor for its output (${errnoName(copy)})`);
  journal.handOver({ kind: 'descriptors', purpose: 'output', peer: role, index: pid }, [copy]);
}
