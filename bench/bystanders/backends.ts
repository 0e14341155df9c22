/**
 * Backends for bench/bystanders.ts, in a process of their own: many, each on a port of its own, of which some can be told to
 * fail, to be slow, or to lie, and to be well again. What they do wrong comes from a seed.
 *
 * Told by its parent: `{ count, seed }` once, answered by `{ ports }`; then `{ storm: [[number, kind], …] }` as often as there is
 * a change.
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { Random } from '../../src/base/random.ts';

export type Trouble = 'failing' | 'slow' | 'lying';

interface BackendsOrder {
  readonly count: number;
  readonly seed: number;
}

interface StormOrder {
  /** Backends by their number, and what is wrong with them from now on; all others are well. */
  readonly storm: readonly (readonly [number, Trouble])[];
}

/** Bytes of a good answer's content. */
export const CONTENT_BYTES = 1000;

const HEAD_END = '\r\n\r\n';
const LATE_MS_MAX = 3000;
const DRIP_MS = 50;

/** The content of backend `number`: nobody else's. */
export function contentOf(number: number): string {
  return `backend ${number};`.padEnd(CONTENT_BYTES, String(number));
}

function goodAnswer(number: number): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${CONTENT_BYTES}\r\n\r\n${contentOf(number)}`;
}

/** Answers that no client may take for whole ones, or that must not harm those after them. */
const LIES: readonly ((number: number) => string)[] = [
  () => 'this is no HTTP\r\n\r\n',
  () => 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 20\r\n\r\n0123456789',
  () => 'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nshort',
  () => 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlongHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen',
  () => 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno chunk',
  () => 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  () => `HTTP/1.1 200 OK\r\nX-Large: ${'x'.repeat(400_000)}\r\n\r\n`,
  () => 'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello',
  () => 'HTTP/1.1 999999 What\r\n\r\n',
  (number) => goodAnswer(number).replace('200 OK', '200 OK\r\nBad Name: 1'),
];

class Backend {
  readonly number: number;
  private readonly random: Random;
  trouble: Trouble | null = null;

  constructor(number: number, seed: number) {
    this.number = number;
    this.random = new Random(seed * 1000 + number);
  }

  accept(socket: Socket): void {
    socket.on('error', () => undefined);
    if (this.trouble === 'failing' && this.random.chance(0.3)) {
      socket.resetAndDestroy();
      return;
    }
    let held = '';
    socket.on('data', (chunk: Buffer) => {
      held += chunk.toString('latin1');
      for (let at = held.indexOf(HEAD_END); at >= 0; at = held.indexOf(HEAD_END)) {
        held = held.slice(at + HEAD_END.length);
        this.answer(socket);
      }
    });
  }

  private answer(socket: Socket): void {
    switch (this.trouble) {
      case 'failing':
        this.fail(socket);
        break;
      case 'slow':
        this.delay(socket);
        break;
      case 'lying':
        // What follows the lie is for the edge to refuse; some lies are only finished by the end.
        socket.write(LIES[this.random.below(LIES.length)](this.number), 'latin1');
        if (this.random.chance(0.5)) socket.end();
        break;
      default:
        socket.write(goodAnswer(this.number), 'latin1');
    }
  }

  private fail(socket: Socket): void {
    const how = this.random.below(4);
    if (how === 0) socket.resetAndDestroy();
    else if (how === 1) socket.end();
    else if (how === 2) socket.write('HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n');
    else {
      socket.write(goodAnswer(this.number).slice(0, 300), 'latin1');
      setTimeout(() => socket.resetAndDestroy(), 10);
    }
  }

  private delay(socket: Socket): void {
    const how = this.random.below(3);
    if (how === 0) return;
    if (how === 1) {
      const answer = goodAnswer(this.number);
      setTimeout(() => socket.write(answer, 'latin1'), this.random.below(LATE_MS_MAX));
      return;
    }
    const answer = goodAnswer(this.number);
    let sent = 0;
    const drip = setInterval(() => {
      if (sent >= answer.length || socket.destroyed) clearInterval(drip);
      else socket.write(answer.slice(sent, (sent += 50)), 'latin1');
    }, DRIP_MS);
  }
}

/** The process as its parent has it. */
export class Backends {
  /** One for each backend. */
  readonly ports: readonly number[];
  private readonly tell: (order: StormOrder) => void;
  readonly close: () => void;

  private constructor(ports: readonly number[], tell: (order: StormOrder) => void, close: () => void) {
    this.ports = ports;
    this.tell = tell;
    this.close = close;
  }

  static async start(count: number, seed: number): Promise<Backends> {
    const child = fork(import.meta.filename, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    child.send({ count, seed } satisfies BackendsOrder);
    const [answer] = await Promise.race([once(child, 'message'), once(child, 'exit')]);
    const ports = (answer as { ports?: readonly number[] } | null)?.ports;
    if (ports === undefined) throw new Error(`the backends did not start: ${answer}`);
    return new Backends(
      ports,
      (order) => child.send(order),
      () => child.disconnect(),
    );
  }

  /** These are in trouble from now on, all others are well. */
  storm(storm: StormOrder['storm']): void {
    this.tell({ storm });
  }
}

const backends: Backend[] = [];

async function listen(number: number, seed: number): Promise<number> {
  const backend = new Backend(number, seed);
  backends.push(backend);
  const server: Server = createServer({ noDelay: true }, (socket) => backend.accept(socket));
  server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 });
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function onMessage(message: BackendsOrder | StormOrder): Promise<void> {
  if ('storm' in message) {
    for (const backend of backends) backend.trouble = null;
    for (const [number, trouble] of message.storm) backends[number].trouble = trouble;
    return;
  }
  const ports: number[] = [];
  for (let number = 0; number < message.count; number++) ports.push(await listen(number, message.seed));
  process.send?.({ ports });
}

if (process.send !== undefined && import.meta.main) {
  process.on('message', onMessage);
  // Whoever started it has gone.
  process.on('disconnect', () => process.exit(0));
}
