/** An end of an HTTP/2 connection over a real socket. */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { End, type EndOptions } from './end.ts';

/** Joins an end to a socket: what comes is received, and what is to leave is written after each piece. */
export class SocketEnd {
  readonly end: End;
  readonly socket: Socket;

  constructor(isServer: boolean, socket: Socket, options: EndOptions) {
    this.socket = socket;
    this.end = new End(isServer, options);
    socket.setNoDelay(true);
    socket.on('data', (piece: Buffer) => {
      this.end.nowMs = Date.now();
      const lives = this.end.receive(piece);
      this.flush();
      if (!lives) socket.end();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.end.engine.abandon(2));
    this.flush();
  }

  flush(): void {
    const output = this.end.flush();
    if (output.length > 0 && this.socket.writable) this.socket.write(output);
  }
}

/** A listener on loopback whose connections are served by engines with these options. */
export async function listen(
  options: EndOptions,
): Promise<{ port: number; ends: SocketEnd[]; server: Server }> {
  const ends: SocketEnd[] = [];
  const server = createServer((socket) => {
    ends.push(new SocketEnd(true, socket, options));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, ends, server };
}

/** A client's engine that is connected to a port of this machine. */
export async function dial(port: number, options: EndOptions): Promise<SocketEnd> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return new SocketEnd(false, socket, options);
}
