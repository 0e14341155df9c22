/** What a browser sees: Chromium, over TLS. */

import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { testAuthority } from '../fixtures/certificates.ts';
import { Chromium } from '../fixtures/chromium.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

describe('Chromium over TLS', () => {
  const authority = testAuthority();
  const { certPath, keyPath, cert } = authority.server(['www.example', '*.www.example']);
  let directory: string;
  let origin: NodeServer;
  let edge: Edge;
  let browser: Chromium;

  before(async () => {
    directory = openFolder('browser');
    mkdirSync(join(directory, 'site'));
    writeFileSync(
      join(directory, 'site/index.html'),
      '<!doctype html><title>A page</title><p>Hello.</p><script src="/app.js"></script>',
    );
    writeFileSync(join(directory, 'site/app.js'), 'window.loaded = "script";');
    origin = await startNodeServer((incoming, response) => {
      response.end(`proto ${String(incoming.headers['x-forwarded-proto'])}`);
    });
    // One masked text frame of up to 125 bytes comes back as it was.
    origin.server.on('upgrade', (incoming, socket) => {
      const key = String(incoming.headers['sec-websocket-key']);
      const accept = createHash('sha1')
        .update(key + ACCEPT_GUID)
        .digest('base64');
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      socket.on('error', () => socket.destroy());
      socket.on('data', (frame: Buffer) => {
        if ((frame[0] & 0x0f) !== 1) return;
        const length = frame[1] & 0x7f;
        const text = Buffer.from(frame.subarray(6, 6 + length).map((byte, at) => byte ^ frame[2 + (at % 4)]));
        socket.write(Buffer.concat([Buffer.from([0x81, length]), text]));
      });
    });
    edge = await startEdge(
      `
[tls]
cert_path = "${certPath}"
key_path = "${keyPath}"
[path_routes."*"."/"]
type = "File"
path = "${join(directory, 'site')}"
[path_routes."*"."/api"]
type = "Proxy"
url = "${origin.url}"
`,
      { io: 'uring' },
    );
    const spki = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' });
    const trusted = createHash('sha256').update(spki).digest('base64');
    browser = await Chromium.start('MAP * 127.0.0.1', [`--ignore-certificate-errors-spki-list=${trusted}`]);
  });

  after(async () => {
    await browser?.stop();
    await edge?.stop();
    await origin?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  test('a page with a script, over TLS 1.3 with post-quantum key exchange', async () => {
    await browser.call('Network.enable');
    await browser.call('Page.enable');
    await browser.call('Page.navigate', { url: `https://www.example:${edge.port}/` });
    await browser.event('the page to load', ({ method }) => method === 'Page.loadEventFired');
    assert.equal(await browser.evaluate('document.title'), 'A page');
    assert.equal(await browser.evaluate('window.loaded'), 'script');
    const { params } = await browser.event(
      'the response',
      ({ method, params }) => method === 'Network.responseReceived' && params.response.url.endsWith('/'),
    );
    const { protocol, keyExchangeGroup, subjectName } = params.response.securityDetails;
    assert.equal(protocol, 'TLS 1.3');
    assert.equal(keyExchangeGroup, 'X25519MLKEM768');
    assert.equal(subjectName, 'www.example');
    assert.equal(params.response.securityState, 'secure');
  });

  test('fetch and WebSocket from the page', async () => {
    assert.equal(
      await browser.evaluate("fetch('/api/x').then((response) => response.text())"),
      'proto https',
    );
    const echoed = await browser.evaluate(`new Promise((resolve, reject) => {
      const socket = new WebSocket('wss://' + location.host + '/api/socket');
      socket.onopen = () => socket.send('ahoy');
      socket.onerror = () => reject(new Error('the socket failed'));
      socket.onmessage = ({ data }) => { socket.close(); resolve(data); };
    })`);
    assert.equal(echoed, 'ahoy');
  });
});
