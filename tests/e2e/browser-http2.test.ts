/** A browser over HTTP/2: Chromium, with everything of a page on one connection, and a WebSocket too (RFC 8441). */

import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { testAuthority } from '../fixtures/certificates.ts';
import { Chromium, type PageEvent } from '../fixtures/chromium.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const SCRIPTS = 100;
const UPLOAD_BYTES = 3_000_000;
const PAGE_MS_MAX = 20_000;

/** Answers how many bytes it got, and by which version. */
function count(incoming: IncomingMessage, response: ServerResponse): void {
  let bytes = 0;
  incoming.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  incoming.on('end', () => response.end(`${bytes} by ${incoming.httpVersion}`));
}

/** Text frames of up to 125 bytes come back as they were; a close ends it. */
function echo(incoming: IncomingMessage, socket: Duplex): void {
  const key = String(incoming.headers['sec-websocket-key']);
  const accept = createHash('sha1')
    .update(key + ACCEPT_GUID)
    .digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  let held = Buffer.alloc(0);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    while (held.length >= 6 && held.length >= 6 + (held[1] & 0x7f)) {
      const length = held[1] & 0x7f;
      const mask = held.subarray(2, 6);
      const content = Buffer.from(held.subarray(6, 6 + length).map((byte, at) => byte ^ mask[at % 4]));
      const opcode = held[0];
      held = held.subarray(6 + length);
      socket.write(Buffer.concat([Buffer.from([opcode, length]), content]));
      if ((opcode & 0x0f) === 8) socket.end();
    }
  });
}

function suite(io: IoBackend): void {
  describe(`Chromium over HTTP/2 (${io})`, () => {
    const { certPath, keyPath, cert } = testAuthority().server(['www.example']);
    let directory: string;
    let origin: NodeServer;
    let edge: Edge;
    let browser: Chromium;

    before(async () => {
      directory = openFolder('browser-http2');
      mkdirSync(join(directory, 'site'));
      const scripts = Array.from({ length: SCRIPTS }, (_, index) => `<script src="/${index}.js"></script>`);
      writeFileSync(
        join(directory, 'site/index.html'),
        `<!doctype html><title>A page</title><script>window.loaded = 0;</script>${scripts.join('')}`,
      );
      for (let index = 0; index < SCRIPTS; index++)
        writeFileSync(join(directory, `site/${index}.js`), `window.loaded++; // ${'x'.repeat(index * 500)}`);
      origin = await startNodeServer(count);
      origin.server.on('upgrade', echo);
      const config = (port: number): string => `
[server]
listen = "127.0.0.1:${port}"
threads = 1
[logging]
level = "info"
[tls]
cert_path = "${certPath}"
key_path = "${keyPath}"
[path_routes."*"."/"]
type = "File"
path = "${join(directory, 'site')}"
[path_routes."*"."/api"]
type = "Proxy"
url = "${origin.url}"
`;
      edge = await startEdge('', { io, config });
      const spki = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' });
      const trusted = createHash('sha256').update(spki).digest('base64');
      browser = await Chromium.start('MAP * 127.0.0.1', [`--ignore-certificate-errors-spki-list=${trusted}`]);
      await browser.call('Network.enable');
      await browser.call('Page.enable');
      await browser.call('Page.navigate', { url: `https://www.example:${edge.port}/` });
      await browser.event('the page to load', ({ method }) => method === 'Page.loadEventFired');
    });

    after(async () => {
      await browser?.stop();
      await edge?.stop();
      await origin?.close();
      rmSync(directory, { recursive: true, force: true });
    });

    function responses(): PageEvent[] {
      return browser.events.filter(({ method }) => method === 'Network.responseReceived');
    }

    test('a page with a hundred scripts comes over one connection', async () => {
      assert.equal(await browser.evaluate('document.title'), 'A page');
      assert.equal(await browser.evaluate('window.loaded'), SCRIPTS);
      const scripts = responses().filter(({ params }) => params.response.url.endsWith('.js'));
      assert.equal(scripts.length, SCRIPTS);
      assert.deepEqual([...new Set(scripts.map(({ params }) => params.response.protocol))], ['h2']);
      assert.equal(new Set(scripts.map(({ params }) => params.response.connectionId)).size, 1);
    });

    test('fetch uploads content', async () => {
      const upload = `fetch('/api/upload', { method: 'POST', body: new Uint8Array(${UPLOAD_BYTES}) })`;
      const answered = await browser.evaluate(`${upload}.then((response) => response.text())`);
      assert.equal(answered, `${UPLOAD_BYTES} by 1.1`);
    });

    test('a WebSocket goes over the same connection, to a backend of HTTP/1.1', async () => {
      const sockets = edge.socketCount();
      const from = edge.stderr().length;
      const said = await browser.evaluate(`new Promise((resolve, reject) => {
        const socket = new WebSocket('wss://' + location.host + '/api/socket');
        const said = [];
        socket.onopen = () => { for (let each = 0; each < 20; each++) socket.send('ahoy ' + each); };
        socket.onerror = () => reject(new Error('the socket failed'));
        socket.onmessage = ({ data }) => { said.push(data); if (said.length === 20) socket.close(1000); };
        socket.onclose = ({ code, wasClean }) => resolve([code, wasClean, ...said].join());
        setTimeout(() => reject(new Error('too slow')), ${PAGE_MS_MAX});
      })`);
      const sent = Array.from({ length: 20 }, (_, index) => `ahoy ${index}`);
      assert.equal(said, ['1000', 'true', ...sent].join());
      const handshake = await browser.event(
        'the handshake of the WebSocket',
        ({ method }) => method === 'Network.webSocketHandshakeResponseReceived',
      );
      // 101 would be HTTP/1.1's.
      assert.equal(handshake.params.response.status, 200);
      await edge.logged(/path=\/api\/socket/, from);
      assert.ok(edge.socketCount() <= sockets + 1, 'no connection but one to the backend was made');
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
