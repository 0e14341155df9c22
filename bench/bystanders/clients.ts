/**
 * An open loop of clients at one rate: a request is due when it is due, whether or not those before it were answered, and its
 * time counts from then on. Each response to a bystander is compared to the byte.
 */

import { connect, type Socket } from 'node:net';
import { Random } from '../../src/base/random.ts';
import { CONTENT_BYTES, contentOf } from './backends.ts';

/** Whose request it is: one to a backend that is always well, to one that may be in trouble, or to the group of all. */
export type Side = 'bystander' | 'troubled' | 'group';

export interface Outcomes {
  /** Milliseconds of all requests that were answered well. */
  readonly times: number[];
  /** Requests by how they ended: `200`, `502`, `cut`, `wrong`, `unanswered`. */
  readonly ends: Map<string, number>;
}

export interface LoadOptions {
  readonly port: number;
  readonly backends: number;
  /** Numbers of those that may be in trouble. */
  readonly troubled: ReadonlySet<number>;
  readonly perSecond: number;
  readonly seconds: number;
  readonly seed: number;
}

/** Of the requests: to the group of all backends. */
const GROUP_SHARE = 0.25;
const CONNECTIONS_MAX = 2000;
/** Longer than any timeout of the edge. */
const ANSWER_MS_MAX = 15_000;
const TICK_MS = 1;

/** One connection: one request at a time. */
class Connection {
  readonly socket: Socket;
  private held: Buffer[] = [];
  private heldBytes = 0;
  private onEnd: ((end: string) => void) | null = null;
  private expected = -1;
  private timer: NodeJS.Timeout | null = null;
  isOpen = true;

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('error', () => this.gone());
    this.socket.on('end', () => this.gone());
    this.socket.on('close', () => this.gone());
    this.socket.on('data', (chunk: Buffer) => {
      this.held.push(chunk);
      this.heldBytes += chunk.length;
      this.read();
    });
  }

  /** `expected`: whose content it must be; -1: anybody's. */
  ask(path: string, expected: number, onEnd: (end: string) => void): void {
    this.onEnd = onEnd;
    this.expected = expected;
    this.timer = setTimeout(() => {
      this.socket.destroy();
      this.done('unanswered');
    }, ANSWER_MS_MAX);
    this.socket.write(`GET ${path} HTTP/1.1\r\nHost: bystanders.test\r\n\r\n`);
  }

  private read(): void {
    const data = this.held.length === 1 ? this.held[0] : Buffer.concat(this.held);
    this.held = [data];
    const headEnd = data.indexOf('\r\n\r\n');
    if (headEnd < 0) return;
    const head = data.latin1Slice(0, headEnd);
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? Number.NaN);
    const status = head.slice(9, 12);
    if (Number.isNaN(length)) {
      // Not a response of ours, nor one whose end can be told: for troubled backends only.
      this.socket.destroy();
      this.done(`${status} without a length`);
      return;
    }
    const end = headEnd + 4 + length;
    if (this.heldBytes < end) return;
    const isMore = this.heldBytes > end;
    const content = data.latin1Slice(headEnd + 4, end);
    this.held = [];
    this.heldBytes = 0;
    if (/\r\nconnection: close/i.test(head)) this.socket.destroy();
    const isRight = !isMore && (status !== '200' || this.isRight(content));
    this.done(isRight ? status : 'wrong');
  }

  private isRight(content: string): boolean {
    if (this.expected >= 0) return content === contentOf(this.expected);
    const number = Number(/^backend (\d+);/.exec(content)?.[1] ?? Number.NaN);
    return content.length !== CONTENT_BYTES || content === contentOf(number);
  }

  private gone(): void {
    this.isOpen = false;
    this.done('cut');
  }

  private done(end: string): void {
    const { onEnd } = this;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.socket.destroyed) this.isOpen = false;
    this.onEnd = null;
    onEnd?.(end);
  }
}

export async function runLoad(options: LoadOptions): Promise<Record<Side, Outcomes>> {
  const random = new Random(options.seed);
  const outcomes: Record<Side, Outcomes> = {
    bystander: { times: [], ends: new Map() },
    troubled: { times: [], ends: new Map() },
    group: { times: [], ends: new Map() },
  };
  const idle: Connection[] = [];
  let open = 0;
  let pending = 0;
  const ask = (dueMs: number): void => {
    const isGroup = random.chance(GROUP_SHARE);
    const number = random.below(options.backends);
    const side: Side = isGroup ? 'group' : options.troubled.has(number) ? 'troubled' : 'bystander';
    let connection = idle.pop();
    while (connection !== undefined && !connection.isOpen) {
      open--;
      connection = idle.pop();
    }
    if (connection === undefined) {
      if (open >= CONNECTIONS_MAX) throw new Error(`${open} requests are unanswered at once`);
      connection = new Connection(options.port);
      open++;
    }
    const used = connection;
    pending++;
    const path = isGroup ? '/group/x' : `/${number}/x`;
    used.ask(path, side === 'bystander' ? number : -1, (end) => {
      pending--;
      const { times, ends } = outcomes[side];
      if (end === '200') times.push(performance.now() - dueMs);
      ends.set(end, (ends.get(end) ?? 0) + 1);
      if (used.isOpen) idle.push(used);
      else open--;
    });
  };
  const beganMs = performance.now();
  const total = options.perSecond * options.seconds;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let asked = 0;
  const ticker = setInterval(() => {
    try {
      const nowMs = performance.now();
      while (asked < total && beganMs + (asked * 1000) / options.perSecond <= nowMs)
        ask(beganMs + (asked++ * 1000) / options.perSecond);
      if (asked === total && pending === 0) resolve();
    } catch (error) {
      reject(error);
    }
  }, TICK_MS);
  try {
    await promise;
  } finally {
    clearInterval(ticker);
    for (const connection of idle) connection.socket.destroy();
  }
  return outcomes;
}

/** The value below which this share of all lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted.length === 0
    ? Number.NaN
    : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}
