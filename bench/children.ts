/**
 * Processes of a benchmark run: started pinned to a core, and ended, by their ids, in every way that the
 * run can end. Nothing is ever killed by name.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProcessTree } from './proc.ts';

/** The proxy under test has this core to itself. */
export const PROXY_CORE = 0;
/** Load generator, origin and the bench itself share this one. */
export const LOAD_CORE = 1;

/** Where it is allowed, all that is measured (and what drives it) goes before whatever else the machine does. */
const NICENESS = '-10';
const IS_ROOT = process.getuid?.() === 0;

const alive = new Set<ChildProcess>();

/** What a run was stopped for: told to the user as it is, without a stack. */
export class BenchError extends Error {
  override readonly name = 'BenchError';
}

/** Starts `command` pinned to `core`; what it prints on standard error is kept for messages (the last 4 KiB). */
export class Child {
  readonly name: string;
  readonly process: ChildProcess;
  private tail: string;

  constructor(name: string, core: number, command: readonly string[], env: Readonly<Record<string, string>>) {
    this.name = name;
    this.tail = '';
    const pinned = ['taskset', '-c', String(core), ...command];
    this.process = spawn('nice', ['-n', IS_ROOT ? NICENESS : '0', ...pinned], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    alive.add(this.process);
    this.process.once('exit', () => alive.delete(this.process));
    this.process.on('error', (error) => {
      this.tail += error.message;
    });
    this.process.stdin?.on('error', () => undefined);
    this.process.stderr?.on('data', (chunk: Buffer) => {
      this.tail = (this.tail + chunk.toString('latin1')).slice(-4096);
    });
  }

  get pid(): number {
    if (this.process.pid === undefined) throw new BenchError(`${this.name} did not start: ${this.tail}`);
    return this.process.pid;
  }

  get errorOutput(): string {
    return this.tail.trim();
  }

  get ended(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null;
  }

  /** Waits for the end; all of standard output. Fails when it takes longer than `timeoutMs` or ends badly. */
  async output(timeoutMs: number): Promise<string> {
    let text = '';
    this.process.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    const code = await this.end(timeoutMs);
    if (code !== 0) throw new BenchError(`${this.name} ended with ${code}: ${this.errorOutput}`);
    return text;
  }

  /** Resolves when the process prints its first line. */
  async firstLine(timeoutMs: number): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const timer = setTimeout(() => reject(new BenchError(`${this.name} printed nothing`)), timeoutMs);
    this.process.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString('latin1')));
    this.process.once('exit', () => reject(new BenchError(`${this.name} ended: ${this.errorOutput}`)));
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Resolves when something listens on the port. */
  async listening(port: number, timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (Date.now() < deadline) {
      if (this.ended) throw new BenchError(`${this.name} ended at its start: ${this.errorOutput}`);
      if (await accepts(port)) return;
      await sleep(50);
    }
    throw new BenchError(
      `${this.name} does not listen on port ${port} after ${timeoutMs} ms: ${this.errorOutput}`,
    );
  }

  /** SIGTERM, then SIGKILL after two seconds. */
  async stop(): Promise<void> {
    if (this.ended) return;
    const descendants = new ProcessTree(this.pid).pids();
    this.process.kill('SIGTERM');
    const timer = setTimeout(() => killAll(descendants), 2000);
    await this.end(5000).finally(() => clearTimeout(timer));
  }

  private async end(timeoutMs: number): Promise<number | null> {
    if (this.ended) return this.process.exitCode;
    const { promise, resolve, reject } = Promise.withResolvers<number | null>();
    const timer = setTimeout(() => {
      killAll(new ProcessTree(this.pid).pids());
      reject(new BenchError(`${this.name} did not end within ${timeoutMs} ms: ${this.errorOutput}`));
    }, timeoutMs);
    this.process.once('exit', (code) => resolve(code));
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Kills all that was started and is still there, with its descendants. For the last moment: no waiting. */
export function killChildren(): void {
  for (const child of alive) {
    if (child.pid !== undefined) killAll(new ProcessTree(child.pid).pids());
  }
  alive.clear();
}

function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended already.
    }
  }
}

/** Whether something accepts connections on this loopback port. */
export function accepts(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, '127.0.0.1');
  socket.once('connect', () => {
    socket.destroy();
    resolve(true);
  });
  socket.once('error', () => resolve(false));
  return promise;
}
