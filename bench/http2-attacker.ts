/**
 * One client that attacks by HTTP/2 until it is stopped, one connection after the other without a pause:
 * `node bench/http2-attacker.ts PORT SECURE ADDRESS ATTACK` with the number of an attack of ATTACKS. Prints `ready`, and on
 * SIGTERM what became of it, as one line of JSON.
 */

import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { attacks } from '../tests/http2/attacks.ts';
import {
  describeFrame,
  frame,
  framesOf,
  GET,
  HELLO,
  headers,
  POST,
  PREFACE,
  settings,
  uint32,
} from '../tests/http2/raw-frames.ts';

/** What an attacker did, and what was done to it. */
export interface AttackerFate {
  readonly connections: number;
  /** Times that it was told so, by the words of the GOAWAY. */
  readonly told: Readonly<Record<string, number>>;
}

/** A client that floods, or one that holds a connection and does little on it. */
interface Attack {
  readonly name: string;
  readonly before: Uint8Array;
  /** Null: nothing more is sent. */
  readonly piece: ((number: number) => Uint8Array) | null;
  readonly pieces: number;
  /** Between two pieces; 0: none. */
  readonly pauseMs: number;
  readonly reads: boolean;
  /** It keeps a connection, on which it does little. */
  readonly holds: boolean;
}

const HOST = 'bench.example.com';
const WINDOW_BYTES_MAX = 0x7fffffff;
const SETTINGS_INITIAL_WINDOW = 4;
const STREAMS = 100;
/** Pieces in one write of a flood. */
const PIECES_AT_ONCE = 200;
const FOREVER = Number.POSITIVE_INFINITY;
const SLOW_MS = 20;

/** `isSecure` decides nothing but `:scheme`. */
export function attacksOf(isSecure: boolean): readonly Attack[] {
  const scheme = isSecure ? 'https' : 'http';
  const asked = (path: string, fields: readonly [string, string][] = GET): [string, string][] =>
    fields.map(([name, value]) => {
      if (name === ':path') return [name, path];
      if (name === ':scheme') return [name, scheme];
      return [name, name === ':authority' ? HOST : value];
    });
  const requests = (path: string): Buffer =>
    Buffer.concat(Array.from({ length: STREAMS }, (_, index) => headers(2 * index + 1, asked(path))));
  const uploads = Buffer.concat(
    Array.from({ length: STREAMS }, (_, index) => headers(2 * index + 1, asked('/api/1k', POST), false)),
  );
  const wide = Buffer.concat([
    PREFACE,
    settings([SETTINGS_INITIAL_WINDOW, WINDOW_BYTES_MAX]),
    frame(8, 0, 0, uint32(WINDOW_BYTES_MAX - 65_535)),
  ]);
  const shut = Buffer.concat([PREFACE, settings([SETTINGS_INITIAL_WINDOW, 0])]);
  const held = { piece: null, pieces: FOREVER, pauseMs: 0, holds: true };
  return [
    ...attacks(scheme, HOST, '/api/1k').map(({ name, before, piece, pieces }) => {
      const first = Buffer.concat([HELLO, ...(before ?? [])]);
      return { name, before: first, piece, pieces, pauseMs: 0, reads: true, holds: false };
    }),
    {
      name: 'windows that stay shut, 100 streams',
      before: Buffer.concat([shut, requests('/api/10m')]),
      ...held,
      reads: true,
    },
    {
      name: 'slow reading: one byte of window at a time, 100 streams',
      before: Buffer.concat([shut, requests('/api/10m')]),
      piece: (number) => frame(8, 0, 2 * (number % STREAMS) + 1, uint32(1)),
      pieces: FOREVER,
      pauseMs: SLOW_MS,
      reads: true,
      holds: true,
    },
    {
      name: 'a client that does not read, 100 streams',
      before: Buffer.concat([wide, requests('/api/10m')]),
      ...held,
      reads: false,
    },
    {
      name: 'slow writing: a byte at a time, 100 streams',
      before: Buffer.concat([HELLO, uploads]),
      piece: (number) => frame(0, 0, 2 * (number % STREAMS) + 1, 'x'),
      pieces: FOREVER,
      pauseMs: SLOW_MS,
      reads: true,
      holds: true,
    },
  ];
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

class Attacker {
  connections = 0;
  readonly told = new Map<string, number>();
  private readonly port: number;
  private readonly isSecure: boolean;
  private readonly localAddress: string;
  private readonly attack: Attack;

  constructor(port: number, isSecure: boolean, localAddress: string, attack: Attack) {
    this.port = port;
    this.isSecure = isSecure;
    this.localAddress = localAddress;
    this.attack = attack;
  }

  async go(): Promise<never> {
    for (;;) await this.once();
  }

  private open(): Socket {
    const to = { port: this.port, host: '127.0.0.1', localAddress: this.localAddress };
    if (!this.isSecure) return connectTcp(to);
    // What certificate it is shown is no matter to an attacker.
    const tls = { servername: HOST, ALPNProtocols: ['h2'], rejectUnauthorized: false };
    return connectTls(Object.assign(tls, to));
  }

  /** One connection, until it is cut or nothing is left to be sent. */
  private async once(): Promise<void> {
    const socket = this.open();
    const { attack } = this;
    const over = new Promise<void>((resolve) => {
      socket.on('close', () => resolve());
      socket.on('end', () => socket.destroy());
    });
    socket.on('error', () => undefined);
    const received: Buffer[] = [];
    if (attack.reads) socket.on('data', (chunk: Buffer) => received.push(chunk));
    const opened = new Promise<void>((resolve) =>
      socket.once(this.isSecure ? 'secureConnect' : 'connect', resolve),
    );
    await Promise.race([opened, over]);
    this.connections++;
    socket.write(attack.before);
    const { piece, pieces, pauseMs } = attack;
    const count = pauseMs > 0 ? 1 : PIECES_AT_ONCE;
    for (let sent = 0; piece !== null && sent < pieces && !socket.destroyed; sent += count) {
      const some = Array.from({ length: Math.min(count, pieces - sent) }, (_, at) => piece(sent + at + 1));
      const written = new Promise((resolve) => socket.write(Buffer.concat(some), resolve));
      await Promise.race([written, over]);
      if (pauseMs > 0) await Promise.race([pause(pauseMs), over]);
    }
    if (pieces !== FOREVER) await Promise.race([over, pause(3000)]);
    else await over;
    this.note(Buffer.concat(received));
    socket.destroy();
  }

  private note(received: Buffer): void {
    let words = 'the connection was closed';
    try {
      const last = framesOf(received).findLast(({ type }) => type === 7);
      if (last !== undefined) words = describeFrame(last).replace(/^GOAWAY \d+ /, '');
    } catch {
      // Cut in the middle of a frame.
    }
    this.told.set(words, (this.told.get(words) ?? 0) + 1);
  }
}

async function main(): Promise<void> {
  const [port, secure, address, number] = process.argv.slice(2);
  const attack = attacksOf(secure === 'true')[Number(number)];
  if (attack === undefined) throw new Error(`no attack ${number}`);
  const attacker = new Attacker(Number(port), secure === 'true', address, attack);
  process.on('SIGTERM', () => {
    const fate: AttackerFate = {
      connections: attacker.connections,
      told: Object.fromEntries(attacker.told),
    };
    process.stdout.write(`${JSON.stringify(fate)}\n`, () => process.exit(0));
  });
  // A socket that nothing is read from does not keep the process.
  setInterval(() => undefined, 1000);
  process.stdout.write('ready\n');
  await attacker.go();
}

if (import.meta.main) await main();
