/** What the processes of these tests and the tests themselves must agree on. */

import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { assert } from '../../src/base/assert.ts';
import type { ClientWords } from '../../src/shared/client-words.ts';
import type { House } from '../../src/shared/house-board.ts';
import { createSharedMemory, mapSharedMemory } from '../../src/sys/descriptors.ts';
import { close } from '../../src/sys/libc.ts';
import { within } from '../fixtures/patience.ts';
import type { Task } from './hammer-process.ts';

export const TALLY_BYTES = 4096;
const PATIENCE_MS = 60_000;

/** A client by number. */
export function clientOf(number: number): ClientWords {
  return { family: 4, word0: 0, word1: 0, word3: 0x0a000000 + number };
}

/** A house that says the same number everywhere, long enough to be written in more than a moment. */
export function houseOf(number: number): House {
  const rooms = Array.from({ length: 1 + (number % 40) }, (_, index) => ({
    name: `edge-${index}`,
    role: 'edge',
    state: 'ready' as const,
    pid: number,
    restarts: number,
    residentBytes: number,
    startedSeconds: number,
    measures: ['seccomp filter', 'no network'],
  }));
  return {
    version: `${number}`,
    startedSeconds: number,
    generation: number,
    configuredSeconds: number,
    lastReload: { atSeconds: number, succeeded: true, reason: '' },
    reloads: { succeeded: number, failed: number },
    logDropped: number,
    rooms,
  };
}

/** Memory for processes to share: its descriptor, the tally, and the rest. */
export class HammerMemory {
  readonly fd: number;
  readonly tally: Int32Array;
  readonly words: Int32Array;

  constructor(bytes: number) {
    this.fd = createSharedMemory('test', TALLY_BYTES + bytes);
    assert(this.fd >= 0, 'there is shared memory');
    const mapped = mapSharedMemory(this.fd, TALLY_BYTES + bytes);
    assert(mapped !== undefined, 'the memory can be mapped');
    this.tally = new Int32Array(mapped.buffer, 0, TALLY_BYTES / 4);
    this.words = new Int32Array(mapped.buffer, TALLY_BYTES, bytes / 4);
  }

  close(): void {
    close(this.fd);
  }
}

export class HammerProcess {
  private readonly child: ChildProcess;
  private readonly exit: Promise<void>;

  private constructor(memory: HammerMemory) {
    this.child = fork(join(import.meta.dirname, 'hammer-process.ts'), [], {
      stdio: ['ignore', 'inherit', 'inherit', memory.fd, 'ipc'],
    });
    this.exit = new Promise((resolve) => this.child.once('exit', () => resolve()));
  }

  static async start(memory: HammerMemory): Promise<HammerProcess> {
    const started = new HammerProcess(memory);
    await started.heard();
    return started;
  }

  /** The next message: what a task returned, or `held`. */
  heard(): Promise<unknown> {
    const message = new Promise((resolve) => this.child.once('message', resolve));
    return within(message, PATIENCE_MS, 'a message of a process');
  }

  begin(task: Task): void {
    this.child.send(task);
  }

  run(task: Task): Promise<unknown> {
    const result = this.heard();
    this.begin(task);
    return result;
  }

  /** Lets a process that stopped itself go on, or is about to stop, and returns what it says next. */
  async goOn(): Promise<unknown> {
    const again = setInterval(() => this.child.kill('SIGCONT'), 20);
    try {
      return await this.heard();
    } finally {
      clearInterval(again);
    }
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await within(this.exit, PATIENCE_MS, 'the end of a process');
  }
}

/** So many processes at the same memory of `bytes`, which end with the test. */
export async function withProcesses(
  count: number,
  bytes: number,
  use: (memory: HammerMemory, processes: HammerProcess[]) => Promise<void>,
): Promise<void> {
  const memory = new HammerMemory(bytes);
  const processes: HammerProcess[] = [];
  try {
    for (let index = 0; index < count; index++) processes.push(await HammerProcess.start(memory));
    await use(memory, processes);
  } finally {
    for (const each of processes) await each.kill();
    memory.close();
  }
}
