/** One request over HTTP/2, by Node.js's own client: to check what a system does, not to measure it. */

import { type ClientHttp2Session, connect } from 'node:http2';
import { BenchError } from './children.ts';
import type { Answer } from './systems.ts';

const TIMEOUT_MS = 5000;

/** Over TLS where an authority is given: the certificate is verified by it, for bench.example.com. */
export async function askHttp2(
  port: number,
  host: string,
  path: string,
  authority: Buffer | null,
): Promise<Answer> {
  const scheme = authority === null ? 'http' : 'https';
  const secured = authority === null ? {} : { ca: authority, servername: 'bench.example.com' };
  const session = connect(`${scheme}://127.0.0.1:${port}`, secured);
  try {
    return await ask(session, host, path);
  } catch (error) {
    throw new BenchError(`port ${port}, ${host}${path} over HTTP/2: ${(error as Error).message}`);
  } finally {
    session.destroy();
  }
}

async function ask(session: ClientHttp2Session, host: string, path: string): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  session.on('error', reject);
  session.setTimeout(TIMEOUT_MS, () => reject(new Error('no answer')));
  const stream = session.request({ ':authority': host, ':path': path, 'x-debug-token': 'secret' });
  stream.on('error', reject);
  stream.on('response', (fields) => {
    let body = '';
    stream.setEncoding('latin1');
    stream.on('data', (chunk: string) => {
      body += chunk;
    });
    stream.on('end', () => resolve({ status: Number(fields[':status']), fields, body }));
  });
  return promise;
}
