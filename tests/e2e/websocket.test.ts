/** WebSocket and other upgrades: through real clients, and byte by byte. */

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import type { RequestMessage } from '../fixtures/message-reader.ts';
import {
  echoed,
  echoOf,
  type Origin,
  type OriginConnection,
  parseEcho,
  responseText,
  startOrigin,
} from '../fixtures/origin.ts';
import { pause, until, within } from '../fixtures/patience.ts';
import { RawClient } from '../fixtures/raw-client.ts';
import { kernelBytesMax } from '../fixtures/tcp-table.ts';

const MIB = 1024 * 1024;

const HOST = 'Host: example.com\r\n';
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
/** RFC 6455 §1.3: the answer to KEY. */
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

function handshake(target: string, fields = '', key = KEY): string {
  return `GET ${target} HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n${fields}\r\n`;
}

function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}

function switching(accept: string, fields = ''): string {
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n${fields}\r\n`;
}

/** Echoes raw bytes after a correct 101. Bytes that came with the request's head are echoed too. */
async function echoBytes(connection: OriginConnection): Promise<void> {
  const request = await connection.readRequest();
  if (request === null) return;
  const headLength = connection.bytes().indexOf('\r\n\r\n') + 4;
  const early = connection.bytes().subarray(headLength);
  connection.socket.removeAllListeners('data');
  await connection.write(switching(acceptOf(request.get('sec-websocket-key') ?? '')));
  if (early.length > 0) await connection.write(early);
  connection.socket.pipe(connection.socket);
}

/** Answers by target; `/refuse` refuses, `/bad-…` gives a wrong 101. */
async function serve(connection: OriginConnection): Promise<void> {
  for (
    let request = await connection.readRequest();
    request !== null;
    request = await connection.readRequest()
  ) {
    await answer(connection, request);
  }
  connection.end();
}

async function answer(connection: OriginConnection, request: RequestMessage): Promise<void> {
  const account = JSON.stringify(echoOf(request, connection.number));
  switch (request.target) {
    case '/refuse':
      await connection.write(responseText('403 Forbidden', account));
      break;
    case '/ignore':
      await connection.write(responseText('200 OK', account));
      break;
    case '/bad-accept':
      await connection.write(switching('AAAAAAAAAAAAAAAAAAAAAAAAAAA='));
      break;
    case '/bad-none':
      await connection.write(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      );
      break;
    case '/bad-upgrade':
      await connection.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`,
      );
      break;
    case '/bad-connection':
      await connection.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`,
      );
      break;
    case '/early-bytes':
      await connection.write(`${switching(ACCEPT)}\x81\x05hello`);
      break;
    case '/late':
      await pause(300);
      connection.socket.pipe(connection.socket);
      await connection.write(switching(ACCEPT));
      break;
    case '/fields':
      await connection.write(switching(ACCEPT, 'Sec-WebSocket-Protocol: chat\r\nX-Extra: 1\r\n'));
      break;
    case '/closes':
      await connection.write(`${switching(ACCEPT)}bye`);
      connection.end();
      break;
    case '/resets':
      await connection.write(switching(ACCEPT));
      await connection.untilRead();
      await pause(100);
      connection.reset();
      break;
    case '/sink':
      // Reads nothing for a while.
      await connection.write(switching(ACCEPT));
      connection.socket.pause();
      break;
    default:
      await connection.write(responseText('404 Not Found', ''));
  }
}

/** A WebSocket server of few words: echoes text and binary messages of any length, unfragmented. */
async function serveWebSocket(connection: OriginConnection): Promise<void> {
  const request = await connection.readRequest();
  if (request === null) return;
  let pending: Buffer = Buffer.alloc(0);
  connection.socket.removeAllListeners('data');
  connection.socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    for (let frame = takeFrame(pending); frame !== null; frame = takeFrame(pending)) {
      pending = pending.subarray(frame.length);
      connection.socket.write(frameOf(frame.opcode, frame.payload));
      if (frame.opcode === 8) connection.socket.end();
    }
  });
  const protocol = request.get('sec-websocket-protocol');
  const fields = protocol === undefined ? '' : `Sec-WebSocket-Protocol: ${protocol}\r\n`;
  await connection.write(switching(acceptOf(request.get('sec-websocket-key') ?? ''), fields));
}

interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
  readonly length: number;
}

function takeFrame(data: Buffer): Frame | null {
  if (data.length < 2) return null;
  let length = data[1] & 0x7f;
  let at = 2;
  if (length === 126) {
    if (data.length < 4) return null;
    length = data.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (data.length < 10) return null;
    length = Number(data.readBigUInt64BE(2));
    at = 10;
  }
  const mask = data.subarray(at, at + 4);
  at += 4;
  if (data.length < at + length) return null;
  const payload = Buffer.from(data.subarray(at, at + length));
  for (let index = 0; index < length; index++) payload[index] ^= mask[index & 3];
  return { opcode: data[0] & 0x0f, payload, length: at + length };
}

function frameOf(opcode: number, payload: Buffer): Buffer {
  let head: Buffer;
  if (payload.length < 126) head = Buffer.from([0x80 | opcode, payload.length]);
  else if (payload.length < 65_536) {
    head = Buffer.from([0x80 | opcode, 126, 0, 0]);
    head.writeUInt16BE(payload.length, 2);
  } else {
    head = Buffer.from([0x80 | opcode, 127, 0, 0, 0, 0, 0, 0, 0, 0]);
    head.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  return Buffer.concat([head, payload]);
}

function route(path: string, url: string, keys = '', security = ''): string {
  return `
[path_routes."example.com"."${path}"]
type = "Proxy"
url = "${url}"
${keys}
[path_routes."example.com"."${path}".security]
${security}
[path_routes."127.0.0.1"."${path}"]
type = "Proxy"
url = "${url}"
`;
}

function suite(io: IoBackend): void {
  describe(`upgrades (${io})`, { concurrency: 8 }, () => {
    let raw: Origin;
    let scripted: Origin;
    let webSocket: Origin;
    let unix: Origin;
    let edge: Edge;

    before(async () => {
      raw = await startOrigin(echoBytes);
      scripted = await startOrigin(serve);
      webSocket = await startOrigin(serveWebSocket);
      unix = await startOrigin(serveWebSocket, { unix: true });
      edge = await startEdge(
        route('/raw', raw.url) +
          route('/scripted', scripted.url) +
          route('/other', raw.url, 'allowed_upgrades = ["custom"]') +
          route('/ws', webSocket.url) +
          route('/ws-fixed', webSocket.url, '', 'websocket_poll_mode = "fixed"') +
          route('/ws-unix', unix.url),
        // One test leaves a tunnel whose backend reads nothing: only the write timeout or a stop ends it.
        { io, server: 'shutdown_timeout_secs = 2' },
      );
    });

    after(async () => {
      await edge.stop();
      for (const origin of [raw, scripted, webSocket, unix]) await origin.close();
    });

    for (const path of ['/ws', '/ws-fixed', '/ws-unix']) {
      test(`Node’s WebSocket client talks through the edge (${path})`, async () => {
        const socket = new WebSocket(`ws://127.0.0.1:${edge.port}${path}/chat?x=1`, ['chat']);
        socket.binaryType = 'arraybuffer';
        const received: (string | ArrayBuffer)[] = [];
        const closed = new Promise<number>((resolve) => {
          socket.addEventListener('close', (event) => resolve((event as CloseEvent).code));
        });
        socket.addEventListener('message', (event) => received.push(event.data as string | ArrayBuffer));
        await within(
          new Promise<void>((resolve, reject) => {
            socket.addEventListener('open', () => resolve());
            socket.addEventListener('error', () => reject(new Error('the WebSocket failed')));
          }),
          5000,
          'the WebSocket',
        );
        assert.equal(socket.protocol, 'chat');
        const binary = randomBytes(300_000);
        const messages = ['hello', '', 'ä€😀', 'x'.repeat(70_000)];
        for (const message of messages) socket.send(message);
        socket.send(binary);
        await until(() => received.length === messages.length + 1, 8000, 'the echoes');
        assert.deepEqual(received.slice(0, messages.length), messages);
        assert.ok(Buffer.from(received[messages.length] as ArrayBuffer).equals(binary));
        socket.close(1000, 'done');
        assert.equal(await within(closed, 5000, 'the close'), 1000);
      });
    }

    test('thirty WebSockets at once keep their messages apart', async () => {
      const talk = async (index: number): Promise<void> => {
        const client = await RawClient.connect(edge.port);
        const key = randomBytes(16).toString('base64');
        const response = await client.request(handshake('/raw', '', key));
        assert.equal(response.get('sec-websocket-accept'), acceptOf(key));
        for (let round = 0; round < 10; round++) {
          const message = `${index}/${round}/`.padEnd(100 + round * 500, String(index));
          await client.send(message);
          const echo = await client.unreadAtLeast(message.length);
          assert.equal(echo.toString('latin1'), message);
          client.discard(message.length);
        }
        client.destroy();
      };
      await Promise.all(Array.from({ length: 30 }, (_, index) => talk(index)));
    });

    test('101 passes with its fields, and nothing is added to the stream', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(handshake('/scripted/fields'));
      assert.equal(response.status, 101);
      assert.match(response.get('connection') ?? '', /^upgrade$/i);
      assert.match(response.get('upgrade') ?? '', /^websocket$/i);
      assert.equal(response.get('sec-websocket-protocol'), 'chat');
      assert.equal(response.get('x-extra'), '1');
      assert.equal(client.unreadLength(), 0);
      client.destroy();
    });

    test('bytes that the backend sends right behind its 101 arrive', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(handshake('/scripted/early-bytes'));
      assert.equal(response.status, 101);
      assert.equal((await client.unreadAtLeast(7)).toString('latin1'), '\x81\x05hello');
      client.destroy();
    });

    test('bytes that the client sends before the 101 wait and arrive', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send(`${handshake('/scripted/late')}early`);
      const response = await client.response();
      assert.equal(response.status, 101);
      assert.equal((await client.unreadAtLeast(5)).toString('latin1'), 'early');
      client.destroy();
    });

    for (const target of ['/bad-accept', '/bad-none', '/bad-upgrade', '/bad-connection']) {
      test(`a 101 that is no answer to the handshake is 502 (${target})`, async () => {
        const connectionsBefore = scripted.connections.length;
        const client = await RawClient.connect(edge.port);
        const response = await client.request(handshake(`/scripted${target}`));
        assert.equal(response.status, 502);
        client.destroy();
        await until(
          () =>
            scripted.connections
              .slice(connectionsBefore)
              .some(({ ended, requests }) => ended && requests[0]?.target === target),
          3000,
          'the end at the backend',
        );
      });
    }

    for (const [target, status] of [
      ['/refuse', 403],
      ['/ignore', 200],
    ] as const) {
      test(`a backend that answers ${status} instead is passed on, and its connection is not pooled`, async () => {
        const client = await RawClient.connect(edge.port);
        const response = await client.request(handshake(`/scripted${target}`));
        assert.equal(response.status, status);
        assert.equal(response.get('upgrade'), undefined);
        const echo = parseEcho(response.body);
        assert.match(echoed(echo, 'connection') ?? '', /^upgrade$/i);
        assert.match(echoed(echo, 'upgrade') ?? '', /^websocket$/i);
        assert.equal(echoed(echo, 'sec-websocket-key'), KEY);
        await scripted.connections[echo.connection - 1].untilEnded();
        client.destroy();
      });
    }

    test('the backend’s end ends the client', async () => {
      const client = await RawClient.connect(edge.port);
      assert.equal((await client.request(handshake('/scripted/closes'))).status, 101);
      assert.equal((await client.unreadAtLeast(3)).toString('latin1'), 'bye');
      await client.closed();
    });

    test('the backend’s reset ends the client', async () => {
      const client = await RawClient.connect(edge.port);
      assert.equal((await client.request(handshake('/scripted/resets'))).status, 101);
      await client.closed();
    });

    test('the client’s end and reset end the backend', async () => {
      for (const how of ['end', 'reset'] as const) {
        const number = raw.connections.length;
        const client = await RawClient.connect(edge.port);
        assert.equal((await client.request(handshake(`/raw/${how}-${io}`))).status, 101);
        const mine = raw.connections
          .slice(number)
          .find(({ requests }) => requests[0]?.target === `/${how}-${io}`);
        assert.ok(mine !== undefined);
        if (how === 'end') client.destroy();
        else client.reset();
        await until(() => mine.ended, 5000, `the end of the backend after a ${how}`);
      }
    });

    for (const how of ['finish', 'destroy', 'reset'] as const) {
      test(`a client’s ${how} ends both sides, though the backend keeps its half open`, async () => {
        const mute = await startOrigin(async (connection) => {
          await connection.readRequest();
          await connection.write(switching(ACCEPT));
        });
        const other = await startEdge(route('/', mute.url), { io });
        const socketsBefore = other.socketCount();
        const client = await RawClient.connect(other.port);
        assert.equal((await client.request(handshake('/'))).status, 101);
        client[how]();
        await other.settles(socketsBefore);
        await other.stop();
        await mute.close();
      });
    }

    test('a backend that doesn’t read stops its client, with bounded memory', async () => {
      const residentBefore = edge.residentBytes();
      const client = await RawClient.connect(edge.port);
      assert.equal((await client.request(handshake('/scripted/sink'))).status, 101);
      // Of this much the kernel holds a part on either side of the edge; the edge may hold little.
      const heldMax = 2 * kernelBytesMax() + 8 * MIB;
      const endless = heldMax + 64 * MIB;
      let sent = 0;
      const block = Buffer.alloc(65_536, 'w');
      const sending = (async () => {
        while (sent < endless && client.ending === 'open') {
          await client.send(block);
          sent += block.length;
        }
      })();
      // Until it stops.
      for (let before = -1; before !== sent; await pause(700)) before = sent;
      assert.ok(sent < heldMax, `${sent} bytes were taken`);
      // The neighbours' transfers count here too.
      assert.ok(edge.residentBytes() - residentBefore < 48 * MIB);
      client.destroy();
      await sending;
    });

    test('8 MiB go there and back unchanged, again and again', async () => {
      const data = randomBytes(8 * 1024 * 1024);
      for (let round = 0; round < 6; round++) {
        const client = await RawClient.connect(edge.port);
        assert.equal((await client.request(handshake('/raw'))).status, 101);
        const sending = client.send(data);
        const echo = await client.unreadAtLeast(data.length, 15_000);
        await sending;
        assert.equal(echo.length, data.length);
        assert.ok(echo.equals(data), `round ${round}`);
        client.destroy();
      }
    });

    test('another protocol is not forwarded where no route allows it', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(
        `GET /scripted/ignore HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: custom\r\n\r\n`,
      );
      if (response.status === 200) {
        const echo = parseEcho(response.body);
        assert.equal(echoed(echo, 'upgrade'), undefined);
        assert.doesNotMatch(echoed(echo, 'connection') ?? '', /upgrade/i);
      } else {
        assert.ok([400, 403, 501].includes(response.status), `${response.status}`);
      }
      client.destroy();
    });

    test('another protocol is forwarded where the route allows it', async () => {
      const custom = await startOrigin(async (connection) => {
        await connection.readRequest();
        await connection.write(
          'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: custom\r\n\r\n',
        );
        connection.socket.pipe(connection.socket);
      });
      const other = await startEdge(route('/', custom.url, 'allowed_upgrades = ["custom"]'), { io });
      const client = await RawClient.connect(other.port);
      const response = await client.request(
        `GET / HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: custom\r\n\r\n`,
      );
      assert.equal(response.status, 101);
      await client.send('any bytes\0\r\n\r\n');
      assert.equal((await client.unreadAtLeast(13)).toString('latin1'), 'any bytes\0\r\n\r\n');
      client.destroy();
      await other.stop();
      await custom.close();
    });

    test('an upgrade with a bad key is refused or passed on as a plain request, never switched', async () => {
      for (const key of ['', 'short', `${KEY}x`]) {
        const client = await RawClient.connect(edge.port);
        const response = await client.request(handshake('/scripted/ignore', '', key));
        assert.ok(response.status === 400 || response.status === 200, `${response.status}`);
        client.destroy();
      }
    });

    test('an upgrade by HTTP/1.0 is a plain request', async () => {
      const client = await RawClient.connect(edge.port);
      const response = await client.request(handshake('/scripted/ignore').replace('HTTP/1.1', 'HTTP/1.0'));
      assert.equal(response.status, 200);
      assert.equal(echoed(parseEcho(response.body), 'upgrade'), undefined);
      client.destroy();
    });
  });

  describe(`silent WebSockets (${io})`, () => {
    test('a WebSocket outlives the timeouts of plain exchanges', async () => {
      const origin = await startOrigin(echoBytes);
      const toml = route(
        '/',
        origin.url,
        '',
        'backend_response_timeout_secs = 1\nclient_body_timeout_secs = 1\nclient_header_timeout_secs = 1',
      );
      const edge = await startEdge(toml, { io, server: 'keep_alive_timeout_secs = 1' });
      const client = await RawClient.connect(edge.port);
      assert.equal((await client.request(handshake('/'))).status, 101);
      await pause(2500);
      await client.send('still there');
      assert.equal((await client.unreadAtLeast(11)).toString('latin1'), 'still there');
      client.destroy();
      await edge.stop();
      await origin.close();
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
