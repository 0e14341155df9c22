/** A ClientContext's SSL object against a real TLS server (Node's), without the edge between. */

import { type AddressInfo, connect } from 'node:net';
import { createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls';
import { mapPrivate } from '../../src/sys/memory.ts';
import {
  BIO_pending,
  BIO_read,
  BIO_write,
  newMemoryBio,
  opensslErrors,
  SSL_do_handshake,
  SSL_ERROR_WANT_READ,
  SSL_free,
  SSL_get_error,
  SSL_read,
  SSL_session_reused,
  SSL_set_bio,
  SSL_version,
} from '../../src/sys/openssl.ts';
import type { ClientContext } from '../../src/tls/client-context.ts';
import { within } from '../fixtures/patience.ts';

const MEMORY_BYTES = 65536;
const PATIENCE_MS = 5000;
const memory = mapPrivate(MEMORY_BYTES);

/** What came of one connection. */
export interface Outcome {
  /** Empty where the handshake succeeded and the server's greeting came. */
  readonly failure: string;
  readonly resumed: boolean;
  /** 0x0303 or 0x0304. */
  readonly version: number;
}

/** What the server saw of a connection. */
export interface Seen {
  readonly serverName: string | false;
  readonly alpn: string | false;
  readonly clientName: string;
}

export interface Peer {
  readonly server: Server;
  readonly listening: Promise<void>;
  /** Of all connections that were accepted, in order. */
  readonly seen: Seen[];
}

/** A server on a port of 127.0.0.1 that greets each client and waits. */
export function peerWith(options: TlsOptions): Peer {
  const seen: Seen[] = [];
  const server = createServer({ ALPNProtocols: ['h2', 'http/1.1'], ...options }, (socket) => {
    const { servername } = socket as TLSSocket & { servername: string | false };
    const clientName = String(socket.getPeerCertificate()?.subject?.CN ?? '');
    seen.push({ serverName: servername, alpn: socket.alpnProtocol ?? false, clientName });
    socket.on('error', () => socket.destroy());
    socket.write('hello');
  });
  server.on('tlsClientError', () => {});
  const listening = new Promise<void>((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve(void server.unref())),
  );
  return { server, listening, seen };
}

/** Connects, reads the greeting (and with it the session's tickets), and closes. */
export async function connectTo(peer: Peer, context: ClientContext): Promise<Outcome> {
  await peer.listening;
  const connected = new Promise<Outcome>((resolve) => {
    const near = connect((peer.server.address() as AddressInfo).port, '127.0.0.1');
    const ssl = context.newSession();
    const input = newMemoryBio();
    const output = newMemoryBio();
    SSL_set_bio(ssl, input, output);
    let isOver = false;
    const finish = (failure: string): void => {
      if (isOver) return;
      isOver = true;
      const outcome = { failure, resumed: SSL_session_reused(ssl) === 1, version: SSL_version(ssl) };
      SSL_free(ssl);
      near.destroy();
      resolve(outcome);
    };
    const drain = (): void => {
      while (BIO_pending(output) > 0) {
        const length = BIO_read(output, memory.address, MEMORY_BYTES);
        near.write(Buffer.from(memory.bytes.slice(0, length)));
      }
    };
    const advance = (): void => {
      let result = SSL_do_handshake(ssl);
      if (result === 1) result = SSL_read(ssl, memory.address, MEMORY_BYTES);
      drain();
      if (result > 0) finish('');
      else if (SSL_get_error(ssl, result) !== SSL_ERROR_WANT_READ)
        finish(context.explainFailure(ssl, opensslErrors()));
    };
    near.on('error', () => {});
    near.on('data', (chunk: Buffer) => {
      if (isOver) return;
      memory.bytes.set(chunk);
      BIO_write(input, memory.address, chunk.length);
      advance();
    });
    near.on('end', () => finish('the connection ended'));
    near.on('connect', advance);
  });
  return within(connected, PATIENCE_MS, 'the handshake');
}
