/** A client that attacks over HTTP/2, frame by frame. */

import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { testAuthority } from '../fixtures/certificates.ts';
import { until, within } from '../fixtures/patience.ts';
import type { Attack } from '../http2/attacks.ts';
import { describeFrame, type Frame, HELLO } from '../http2/raw-frames.ts';

const PATIENCE_MS = 20_000;
const HOST = 'example.com';
const PIECES_AT_ONCE = 200;

let addresses = 0;

/** A client without scruples, which may be one that doesn't read. */
export class Attacker {
  readonly frames: Frame[] = [];
  ending: 'open' | 'end' | 'reset' = 'open';
  readonly socket: Socket;
  private received: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket, reads: boolean) {
    this.socket = socket;
    socket.unref();
    socket.on('error', () => {
      this.ending = 'reset';
    });
    socket.on('close', () => {
      if (this.ending === 'open') this.ending = 'end';
    });
    if (!reads) return;
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('end', () => {
      if (this.ending === 'open') this.ending = 'end';
    });
  }

  /** Each from an address of its own where none is said, since an address that was cut is remembered. */
  static async connect(
    port: number,
    isSecure: boolean,
    reads = true,
    localAddress = `127.0.1.${++addresses}`,
  ): Promise<Attacker> {
    const to = { port, host: '127.0.0.1', localAddress };
    const tls = { servername: HOST, ca: testAuthority().cert, ALPNProtocols: ['h2'] };
    const socket = isSecure ? connectTls(Object.assign(tls, to)) : connectTcp(to);
    const opened = new Promise<void>((resolve, reject) => {
      socket.once(isSecure ? 'secureConnect' : 'connect', resolve);
      socket.once('error', reject);
    });
    await within(opened, PATIENCE_MS, 'a connection');
    return new Attacker(socket, reads);
  }

  private take(chunk: Buffer): void {
    this.received = Buffer.concat([this.received, chunk]);
    while (this.received.length >= 9) {
      const length = this.received.readUIntBE(0, 3);
      if (this.received.length < 9 + length) return;
      this.frames.push({
        type: this.received[3],
        flags: this.received[4],
        id: this.received.readUInt32BE(5),
        payload: this.received.subarray(9, 9 + length),
      });
      this.received = this.received.subarray(9 + length);
    }
  }

  /** Resolves when the kernel has taken it, or the connection is over. */
  send(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (this.ending !== 'open' || this.socket.destroyed) {
        setImmediate(resolve);
        return;
      }
      this.socket.once('close', () => resolve());
      this.socket.write(bytes, () => setImmediate(resolve));
    });
  }

  get goaway(): string {
    const last = this.frames.findLast(({ type }) => type === 7);
    return last === undefined ? '' : describeFrame(last);
  }

  async cut(what: string): Promise<void> {
    await until(() => this.ending !== 'open', PATIENCE_MS, `the end of ${what}`);
  }
}

/** Sends the attack until the connection is cut, and returns how many pieces it took. */
export async function attack(
  attacker: Attacker,
  { before: first = [], piece, pieces, name }: Attack,
): Promise<number> {
  await attacker.send(Buffer.concat([HELLO, ...first]));
  let sent = 0;
  while (sent < pieces && attacker.ending === 'open' && attacker.goaway === '') {
    const count = Math.min(PIECES_AT_ONCE, pieces - sent);
    await attacker.send(Buffer.concat(Array.from({ length: count }, (_, index) => piece(sent + index + 1))));
    sent += count;
  }
  await attacker.cut(name);
  return sent;
}
