/** `websocket_poll_mode` through the started product: Node's own WebSocket client, and extended CONNECT over HTTP/2. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { get } from 'node:http';
import { type ClientHttp2Stream, connect } from 'node:http2';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Origin, type OriginConnection, startOrigin } from '../fixtures/origin.ts';
import { until, within } from '../fixtures/patience.ts';

const PATIENCE_MS = 10_000;
const CLOSE_CODE = 4321;
/** What is gathered waits for a minute: longer than any of these tests may take. */
const FOR_LONG = `websocket_poll_mode = "adaptive"
websocket_poll_timeout_ms = 60000
websocket_poll_max_timeout_ms = 60000`;

/** What the backend heard on one connection, in order: `text one`, `ping `, `close 4321`. */
const heard = new Map<string, string[]>();

/** One frame that is whole, of fewer than 126 bytes; null when there is none. */
function frameAt(data: Buffer): { opcode: number; content: Buffer; length: number } | null {
  if (data.length < 2) return null;
  const masked = (data[1] & 0x80) !== 0;
  const size = data[1] & 0x7f;
  assert.ok(size < 126, 'these tests send short messages');
  const start = masked ? 6 : 2;
  if (data.length < start + size) return null;
  const content = Buffer.from(data.subarray(start, start + size));
  if (masked) for (let at = 0; at < size; at++) content[at] ^= data[2 + (at & 3)];
  return { opcode: data[0] & 0x0f, content, length: start + size };
}

function frame(opcode: number, content: Buffer | string): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([0x80 | opcode, bytes.length]), bytes]);
}

/** A client's frame: masked, with a mask of zeros. */
function masked(opcode: number, content: Buffer | string): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | bytes.length, 0, 0, 0, 0]), bytes]);
}

function closeContent(code: number, reason: string): Buffer {
  const content = Buffer.alloc(2 + reason.length, reason.padStart(2 + reason.length));
  content.writeUInt16BE(code);
  return content;
}

/** Says back what it is told to (`say …`), answers pings and closes, and remembers everything. */
async function backend(connection: OriginConnection): Promise<void> {
  const request = await connection.readRequest();
  if (request === null) return;
  if (request.get('upgrade') === undefined) {
    await connection.write('HTTP/1.1 204 No Content\r\n\r\n');
    connection.end();
    return;
  }
  const said: string[] = [];
  heard.set(request.target, said);
  let held: Buffer = Buffer.alloc(0);
  connection.socket.removeAllListeners('data');
  connection.socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    for (let next = frameAt(held); next !== null; next = frameAt(held)) {
      held = held.subarray(next.length);
      const { opcode, content } = next;
      if (opcode === 8) {
        said.push(`close ${content.readUInt16BE()} ${content.subarray(2)}`);
        connection.socket.end(frame(8, content));
      } else if (opcode === 9) {
        said.push(`ping ${content}`);
        connection.socket.write(frame(10, content));
      } else {
        said.push(`text ${content}`);
      }
    }
  });
  const accept = createHash('sha1')
    .update(`${request.get('sec-websocket-key')}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64');
  await connection.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
}

/** Other requests, one after another: what was to go at once on another connection has gone when they are answered. */
async function roundTrips(port: number): Promise<void> {
  for (let each = 0; each < 20; each++) {
    const [response] = await once(get({ host: '127.0.0.1', port, path: '/plain' }), 'response');
    response.resume();
    await once(response, 'end');
  }
}

async function openStream(port: number, path: string): Promise<ClientHttp2Stream> {
  const session = connect(`http://127.0.0.1:${port}`);
  await once(session, 'remoteSettings');
  assert.equal(session.remoteSettings.enableConnectProtocol, true);
  const stream = session.request(
    {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'http',
      ':path': path,
      ':authority': `127.0.0.1:${port}`,
      'sec-websocket-version': '13',
    },
    { endStream: false },
  );
  stream.on('close', () => session.close());
  const [headers] = await within(once(stream, 'response'), PATIENCE_MS, 'the answer to CONNECT');
  assert.equal(headers[':status'], 200);
  return stream;
}

function suite(io: IoBackend): void {
  describe(`websocket_poll_mode (${io})`, { concurrency: 4 }, () => {
    let origin: Origin;
    let edge: Edge;

    before(async () => {
      origin = await startOrigin(backend);
      const config = (port: number): string => `
[server]
listen = "127.0.0.1:${port}"
threads = 1
[path_routes."*"."/plain"]
type = "Proxy"
url = "${origin.url}"
[path_routes."*"."/adaptive"]
type = "Proxy"
url = "${origin.url}/adaptive-${io}"
[path_routes."*"."/adaptive".security]
${FOR_LONG}
[path_routes."*"."/fixed"]
type = "Proxy"
url = "${origin.url}/fixed-${io}"
[path_routes."*"."/fixed".security]
websocket_poll_mode = "fixed"
websocket_poll_timeout_ms = 60000
[path_routes."*"."/idle"]
type = "Proxy"
url = "${origin.url}/idle-${io}"
[path_routes."*"."/idle".security]
websocket_idle_timeout_secs = 1
`;
      edge = await startEdge('', { io, config });
    });

    after(async () => {
      await edge.stop();
      await origin.close();
    });

    async function open(path: string): Promise<WebSocket> {
      const socket = new WebSocket(`ws://127.0.0.1:${edge.port}${path}`);
      await within(once(socket, 'open'), PATIENCE_MS, 'the WebSocket');
      return socket;
    }

    function said(path: string): readonly string[] {
      return heard.get(path) ?? [];
    }

    async function hears(path: string, count: number): Promise<void> {
      await until(() => said(path).length >= count, PATIENCE_MS, `${count} messages at the backend`);
    }

    test('fixed: each message is there without another', async () => {
      const socket = await open('/fixed/a');
      for (let each = 1; each <= 5; each++) {
        socket.send(`${each}`);
        await hears(`/fixed-${io}/a`, each);
      }
      const closed = once(socket, 'close');
      socket.close(CLOSE_CODE, 'bye');
      const [event] = await within(closed, PATIENCE_MS, 'the close');
      assert.deepEqual([event.code, event.reason, event.wasClean], [CLOSE_CODE, 'bye', true]);
    });

    test('adaptive: the first is there at once, those behind it with the close, code and reason untouched', async () => {
      const path = `/adaptive-${io}/a`;
      const socket = await open('/adaptive/a');
      socket.send('1');
      await hears(path, 1);
      socket.send('2');
      await roundTrips(edge.port);
      socket.send('3');
      await roundTrips(edge.port);
      assert.deepEqual(said(path), ['text 1']);
      const closed = once(socket, 'close');
      socket.close(CLOSE_CODE, 'bye');
      const [event] = await within(closed, PATIENCE_MS, 'the close');
      assert.deepEqual([event.code, event.reason, event.wasClean], [CLOSE_CODE, 'bye', true]);
      assert.deepEqual(said(path), ['text 1', 'text 2', 'text 3', `close ${CLOSE_CODE} bye`]);
    });

    test('adaptive: what was gathered arrives before the end of a client that just goes', async () => {
      const path = `/adaptive-${io}/b`;
      const stream = await openStream(edge.port, '/adaptive/b');
      stream.write(masked(1, '1'));
      await hears(path, 1);
      stream.write(masked(1, '2'));
      await roundTrips(edge.port);
      assert.deepEqual(said(path), ['text 1']);
      stream.end();
      await hears(path, 2);
      stream.destroy();
    });

    test('adaptive over HTTP/2: a ping is there at once, with what was gathered before it', async () => {
      const path = `/adaptive-${io}/c`;
      const stream = await openStream(edge.port, '/adaptive/c');
      const answers: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => answers.push(chunk));
      stream.write(masked(1, '1'));
      await hears(path, 1);
      stream.write(masked(1, '2'));
      await roundTrips(edge.port);
      assert.deepEqual(said(path), ['text 1']);
      stream.write(masked(9, 'p'));
      await hears(path, 3);
      assert.deepEqual(said(path), ['text 1', 'text 2', 'ping p']);
      await until(() => answers.length > 0, PATIENCE_MS, 'the pong');
      assert.deepEqual(frameAt(Buffer.concat(answers))?.content.toString(), 'p');
      stream.write(masked(8, closeContent(CLOSE_CODE, 'bye')));
      await within(once(stream, 'end'), PATIENCE_MS, 'the backend’s end');
      stream.end();
      await within(once(stream, 'close'), PATIENCE_MS, 'the end of the stream');
      const all = Buffer.concat(answers);
      const close = frameAt(all.subarray(3));
      assert.deepEqual([close?.opcode, close?.content.readUInt16BE()], [8, CLOSE_CODE]);
    });

    test('fixed over HTTP/2: each message is there without another', async () => {
      const stream = await openStream(edge.port, '/fixed/d');
      for (let each = 1; each <= 5; each++) {
        stream.write(masked(1, `${each}`));
        await hears(`/fixed-${io}/d`, each);
      }
      stream.destroy();
    });

    test('a WebSocket that is silent for websocket_idle_timeout_secs is closed, and the log says why', async () => {
      const from = edge.stderr().length;
      const socket = await open('/idle/e');
      const [event] = await within(once(socket, 'close'), PATIENCE_MS, 'the close');
      assert.equal(event.code, 1006);
      await edge.logged(/path=\/idle\/e status=101 .*reason=tunnel-idle/, from);
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
