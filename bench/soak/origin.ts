/**
 * The origin of a soak run: answers what the path says, and gives the request's id back, so that a client
 * can tell its own response from another's. `/length/N`, `/chunked/N`: N bytes; `/post`: how many bytes came.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

/** Every response's content begins with the request's id and goes on with this. */
export const FILLER = 'a'.repeat(262_144);
export const ID_FIELD = 'x-soak-id';
/** Id, padded, and a colon: the first bytes of the content. */
export const ID_BYTES = 12;

export function padId(id: string): string {
  return `${id.padStart(ID_BYTES - 1, '0')}:`;
}

export async function startOrigin(port: number): Promise<Server> {
  const server = createServer(answer);
  server.keepAliveTimeout = 120_000;
  server.maxRequestsPerSocket = 0;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(port, '127.0.0.1', 1024, resolve);
  await promise;
  return server;
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const id = padId(String(request.headers[ID_FIELD] ?? ''));
  const [, kind, count] = (request.url ?? '').split('/');
  // The client may leave at any time: that is part of the mix.
  response.on('error', () => undefined);
  request.on('error', () => undefined);
  if (kind === 'post') {
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => response.end(`${id}${bytes}`));
    return;
  }
  request.resume();
  const length = Math.max(ID_BYTES, Math.min(Number(count), FILLER.length));
  if (kind === 'length') {
    response.setHeader('Content-Length', length);
    response.end(id + FILLER.slice(0, length - ID_BYTES));
    return;
  }
  response.write(id);
  response.end(FILLER.slice(0, length - ID_BYTES));
}
