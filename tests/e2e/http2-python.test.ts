/** An implementation of HTTP/2 that shares nothing with those of the other tests: python3-h2, as client and as backend. */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { PYTHON } from '../../tools/prerequisites.ts';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { sha256 } from '../fixtures/origin.ts';
import { within } from '../fixtures/patience.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

const run = promisify(execFile);
const PEER = join(import.meta.dirname, '../fixtures/http2-peer.py');
const HOST = 'www.example';
const H2C_HOST = 'h2c.example';
const PATIENCE_MS = 60_000;
const LARGE_BYTES = 1_000_000;
const UPLOAD_BYTES = 1_000_000;
const CONCURRENT = 50;

const authority = testAuthority();
const certificate = authority.server([HOST, H2C_HOST]);

interface Summary {
  readonly fields: Readonly<Record<string, string>>;
  readonly interim: readonly Readonly<Record<string, string>>[];
  readonly bytes: number;
  readonly hash: string;
  readonly text: string;
  readonly trailers: Readonly<Record<string, string>>;
  readonly error: number | null;
}

/** What the client prints. */
interface Report {
  readonly get: Summary;
  readonly head: Summary;
  readonly large: Summary;
  readonly upload: Summary;
  readonly uploadHash: string;
  readonly trailers: Summary;
  readonly hints: Summary;
  readonly many: readonly string[];
  readonly after: Summary;
  readonly goaway: number | null;
}

const large = Buffer.alloc(LARGE_BYTES, 'x');

function answer(incoming: IncomingMessage, response: ServerResponse): void {
  incoming.on('error', () => undefined);
  if (incoming.url === '/held') {
    incoming.resume();
  } else if (incoming.url === '/large') {
    response.writeHead(200, { 'content-length': LARGE_BYTES });
    response.end(incoming.method === 'HEAD' ? undefined : large);
  } else if (incoming.url === '/hints') {
    response.writeEarlyHints({ link: '</app.js>; rel=preload; as=script' });
    response.end('hinted');
  } else if (incoming.url === '/trailers') {
    response.writeHead(200, { trailer: 'x-end' });
    response.write('content');
    response.addTrailers({ 'x-end': 'yes' });
    response.end();
  } else {
    const content: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => content.push(chunk));
    incoming.on('end', () => {
      const body = Buffer.concat(content);
      const { headers, trailers } = incoming;
      response.end(JSON.stringify({ headers, trailers, bytes: body.length, hash: sha256(body) }));
    });
  }
}

async function startBackend(): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(PYTHON, [PEER, 'server'], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.once('exit', () => child.kill());
  const line = once(child.stdout, 'data') as Promise<[Buffer]>;
  const [port] = await within(line, PATIENCE_MS, 'the port of the backend');
  return { child, port: Number(port.toString()) };
}

let origin: NodeServer;
let backend: { child: ChildProcess; port: number };

before(async () => {
  origin = await startNodeServer(answer);
  backend = await startBackend();
});
after(async () => {
  backend?.child.kill();
  await origin?.close();
});

function suite(io: IoBackend, isSecure: boolean): void {
  describe(`python3-h2 ${isSecure ? 'over TLS' : 'with prior knowledge'} (${io})`, () => {
    let edge: Edge;

    before(async () => {
      const { certPath, keyPath } = certificate;
      const tls = isSecure ? `[tls]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"\n` : '';
      const config = (port: number): string => `
[server]
listen = "127.0.0.1:${port}"
threads = 1
[logging]
level = "error"
${tls}
[path_routes."${HOST}"."/"]
type = "Proxy"
url = "${origin.url}"
[path_routes."${H2C_HOST}"."/"]
type = "Proxy"
url = "http://127.0.0.1:${backend.port}"
use_h2c = true
`;
      edge = await startEdge('', { io, config });
    });
    after(async () => {
      await edge?.stop();
    });

    async function ask(host: string): Promise<Report> {
      const ca = isSecure ? authority.certPath : '-';
      const options = { timeout: PATIENCE_MS, maxBuffer: 1 << 24 };
      const { stdout } = await run(PYTHON, [PEER, 'client', String(edge.port), host, ca], options);
      return JSON.parse(stdout) as Report;
    }

    /** What holds whatever the backend speaks. */
    function assertServed(report: Report): void {
      const { get, large: whole, upload, uploadHash, many, after: last, goaway } = report;
      assert.equal(get.fields[':status'], '200');
      assert.equal(whole.bytes, LARGE_BYTES);
      assert.equal(whole.hash, sha256(large));
      const uploaded = JSON.parse(upload.text) as { bytes: number; hash: string };
      assert.deepEqual([uploaded.bytes, uploaded.hash], [UPLOAD_BYTES, uploadHash]);
      assert.deepEqual(many, Array(CONCURRENT).fill('200'));
      assert.equal(last.fields[':status'], '200', 'a stream that was cancelled ends nothing else');
      assert.equal(goaway, null);
    }

    test('is answered from a backend of HTTP/1.1', async () => {
      const report = await ask(HOST);
      assertServed(report);
      const { headers } = JSON.parse(report.get.text) as { headers: Record<string, string> };
      assert.equal(headers['host'], HOST);
      assert.equal(headers['cookie'], 'a=1; b=2');
      assert.deepEqual([report.head.bytes, report.head.fields['content-length']], [0, String(LARGE_BYTES)]);
      const { trailers } = JSON.parse(report.upload.text) as { trailers: Record<string, string> };
      assert.equal(trailers['checksum'], 'abc');
      assert.equal(report.trailers.trailers['x-end'], 'yes');
      assert.deepEqual(
        report.hints.interim.map((fields) => fields[':status']),
        ['103'],
      );
    });

    test('is answered from a backend that is python3-h2 as well', async () => {
      const report = await ask(H2C_HOST);
      assertServed(report);
      assert.equal(report.get.fields['x-peer'], 'python3-h2');
      assert.equal(report.get.trailers['x-end'], 'yes');
      const said = JSON.parse(report.get.text) as { fields: [string, string][] };
      const pseudo = said.fields.filter(([name]) => name.startsWith(':'));
      assert.deepEqual(
        new Map(pseudo),
        new Map([
          [':method', 'GET'],
          [':scheme', 'http'],
          [':authority', H2C_HOST],
          [':path', '/one?two=3'],
        ]),
      );
      const { trailers } = JSON.parse(report.upload.text) as { trailers: Record<string, string> };
      assert.equal(trailers['checksum'], 'abc');
    });
  });
}

for (const io of IO_BACKENDS) {
  for (const isSecure of [true, false]) suite(io, isSecure);
}
