/** Clients that don't get through the handshake, or not as others do; nobody else notices them. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { TLS12, TLS13 } from '../../src/tls/suites.ts';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Origin, serveEcho, startOrigin } from '../fixtures/origin.ts';
import { until } from '../fixtures/patience.ts';
import { bytes, RawClient } from '../fixtures/raw-client.ts';
import { clientHello, handshakeRecords, RawTlsClient, record } from '../fixtures/raw-tls-client.ts';

const GET = 'GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n';
const HANDSHAKE = 22;
const MIDWAY = 200;
const MIDWAY_BYTES_MAX = 64 * 1024 * 1024;
const HANDSHAKE_SECS = 5;
const HANDSHAKE_MS_MAX = 2000 * HANDSHAKE_SECS;
/** From one byte of a flight to the next: the whole takes far longer than a handshake may. */
const DRIP_MS = 50;
const UNEXPECTED_MESSAGE = 10;
const RECORD_OVERFLOW = 22;
const HANDSHAKE_FAILURE = 40;
const ILLEGAL_PARAMETER = 47;
const DECODE_ERROR = 50;
const PROTOCOL_VERSION = 70;

/** GREASE (RFC 8701). */
const GREASE_GROUP = 0x0a0a;

interface FirstBytes {
  readonly name: string;
  readonly wire: Buffer;
  /** Alerts of which one comes back; none: the connection just ends. */
  readonly alerts: readonly number[];
}

/** What may come instead of a good ClientHello. */
const FIRST_BYTES: readonly FirstBytes[] = [
  { name: 'garbage', wire: Buffer.from('\x00\x01\x02garbage that is no TLS at all', 'latin1'), alerts: [] },
  { name: 'zeros', wire: Buffer.alloc(2000), alerts: [] },
  { name: 'SSH', wire: bytes('ssh-2.0-client\r\n'), alerts: [] },
  {
    name: 'an SSLv2 hello',
    wire: Buffer.concat([Buffer.of(0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10), randomBytes(37)]),
    alerts: [],
  },
  {
    name: 'SSL 3.0',
    wire: handshakeRecords(clientHello({ version: 0x0300 })),
    alerts: [PROTOCOL_VERSION, HANDSHAKE_FAILURE],
  },
  {
    name: 'TLS 1.0',
    wire: handshakeRecords(clientHello({ version: 0x0301, suites: [0xc013, 0xc014, 0x2f] })),
    alerts: [PROTOCOL_VERSION],
  },
  {
    name: 'TLS 1.1',
    wire: handshakeRecords(clientHello({ version: 0x0302, suites: [0xc013, 0xc014, 0x2f] })),
    alerts: [PROTOCOL_VERSION],
  },
  {
    name: 'supported_versions with nothing newer than TLS 1.1',
    wire: handshakeRecords(clientHello({ versions: [0x0302, 0x0301] })),
    alerts: [PROTOCOL_VERSION],
  },
  {
    name: 'cipher suites without forward secrecy alone',
    wire: handshakeRecords(clientHello({ suites: [0x2f, 0x35, 0x9c, 0x9d] })),
    alerts: [HANDSHAKE_FAILURE],
  },
  {
    name: 'unknown cipher suites alone',
    wire: handshakeRecords(clientHello({ suites: [0x0a0a, 0xfafa, 0x1399] })),
    alerts: [HANDSHAKE_FAILURE],
  },
  {
    name: 'no cipher suites',
    wire: handshakeRecords(clientHello({ suites: [] })),
    alerts: [DECODE_ERROR, ILLEGAL_PARAMETER],
  },
  {
    name: 'unknown groups alone (TLS 1.2)',
    wire: handshakeRecords(clientHello({ groups: [GREASE_GROUP, 0xfafa] })),
    alerts: [HANDSHAKE_FAILURE],
  },
  {
    name: 'unknown groups alone (TLS 1.3)',
    wire: handshakeRecords(clientHello({ versions: [TLS13], groups: [GREASE_GROUP, 0xfafa] })),
    alerts: [HANDSHAKE_FAILURE],
  },
  {
    name: 'an extension twice',
    wire: handshakeRecords(
      clientHello({
        extensions: [
          [16, Buffer.from('\0\x09\x08http/1.1', 'latin1')],
          [16, Buffer.from('\0\x09\x08http/1.1', 'latin1')],
        ],
      }),
    ),
    alerts: [ILLEGAL_PARAMETER, DECODE_ERROR],
  },
  {
    name: 'an extension that is longer than its list',
    wire: handshakeRecords(
      clientHello({ extensions: [[16, Buffer.from('\xff\xff\x08http/1.1', 'latin1')]] }),
    ),
    alerts: [DECODE_ERROR],
  },
  {
    name: 'a ClientHello of 16 MiB',
    wire: record(HANDSHAKE, Buffer.of(1, 0xff, 0xff, 0xff, 3, 3)),
    alerts: [ILLEGAL_PARAMETER, DECODE_ERROR],
  },
  {
    name: 'another message first',
    wire: record(HANDSHAKE, Buffer.of(20, 0, 0, 1, 0)),
    alerts: [UNEXPECTED_MESSAGE],
  },
  { name: 'content first', wire: record(23, Buffer.from('hello')), alerts: [UNEXPECTED_MESSAGE] },
  { name: 'a ChangeCipherSpec first', wire: record(20, Buffer.of(1)), alerts: [UNEXPECTED_MESSAGE] },
  { name: 'an alert first', wire: record(21, Buffer.of(2, 40)), alerts: [] },
  { name: 'a record that is too long', wire: Buffer.of(HANDSHAKE, 3, 1, 0x48, 1), alerts: [RECORD_OVERFLOW] },
  {
    name: 'a record of another major version',
    wire: record(HANDSHAKE, clientHello(), 0x0201),
    alerts: [],
  },
  {
    name: 'a flood of empty records',
    wire: Buffer.concat(Array.from({ length: 5000 }, () => record(HANDSHAKE, Buffer.alloc(0)))),
    alerts: [UNEXPECTED_MESSAGE, DECODE_ERROR],
  },
];

const PLAIN_REQUESTS = [
  'GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n',
  'OPTIONS * HTTP/1.1\r\n\r\n',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
];

function suite(io: IoBackend): void {
  describe(`handshakes (${io})`, { concurrency: 8 }, () => {
    const certificate = testAuthority().server(['edge.test']);
    let origin: Origin;
    let edge: Edge;

    before(async () => {
      origin = await startOrigin(serveEcho);
      edge = await startEdge(
        `
[tls]
cert_path = "${certificate.certPath}"
key_path = "${certificate.keyPath}"
[path_routes."edge.test"."/"]
type = "Proxy"
url = "${origin.url}"
[path_routes."edge.test"."/".security]
client_header_timeout_secs = ${HANDSHAKE_SECS}
`,
        { io },
      );
    });

    after(async () => {
      await edge.stop();
      await origin.close();
    });

    for (const { name, wire, alerts } of FIRST_BYTES) {
      test(`${name}: ${alerts.length === 0 ? 'the connection ends' : `alert ${alerts.join(' or ')}`}`, async () => {
        const client = await RawTlsClient.connect(edge.port);
        await client.wire(wire);
        await client.closed();
        const { alert } = client;
        if (alerts.length > 0) assert.ok(alerts.includes(alert), `alert ${alert}`);
        assert.ok(client.raw.length < 100, 'not much was said');
        client.destroy();
      });
    }

    for (const request of PLAIN_REQUESTS) {
      test(`plain HTTP is answered with 400 in plain words: ${request.slice(0, 12)}`, async () => {
        const client = await RawClient.connect(edge.port);
        await client.send(request);
        await client.closed(HANDSHAKE_MS_MAX);
        const said = client.unread().toString('latin1');
        assert.match(said, /^HTTP\/1\.1 400 Bad Request\r\n/);
        assert.match(said, /Connection: close\r\n/);
        const length = Number(/Content-Length: (\d+)/.exec(said)?.[1]);
        assert.match(said.slice(-length), /^This port speaks TLS: use https:/);
        assert.equal(client.ending, 'end');
        client.destroy();
      });
    }

    test('an unknown group before a known one, and a hello that must be said again', async () => {
      const client = await RawTlsClient.secured(edge.port, { version: TLS13, groups: 'secp384r1:X25519' });
      await client.send(GET);
      await client.reads('200 OK');
      client.destroy();
    });

    test('hundreds of unknown extensions are ignored, and an answer comes', async () => {
      const extensions = Array.from(
        { length: 400 },
        (_, index) => [0x4000 + index, randomBytes(20)] as const,
      );
      const client = await RawTlsClient.connect(edge.port);
      await client.wire(handshakeRecords(clientHello({ extensions })));
      await client.when(() => client.raw.length > 0, 'a ServerHello');
      assert.equal(client.raw[0], HANDSHAKE);
      assert.equal(client.alert, -1);
      client.destroy();
    });

    for (const version of [TLS12, TLS13] as const) {
      const label = version === TLS13 ? 'TLS 1.3' : 'TLS 1.2';
      test(`a handshake byte by byte (${label})`, async () => {
        const client = await RawTlsClient.connect(edge.port, { version });
        await client.shake(1);
        await client.send(GET);
        await client.reads('200 OK');
        client.destroy();
      });

      for (const pieceBytes of [1, 7, 100]) {
        test(`a ClientHello in records of ${pieceBytes} bytes is heard (${label})`, async () => {
          const client = await RawTlsClient.connect(edge.port, { version });
          const flight = client.own.take();
          await client.wire(handshakeRecords(flight.subarray(5), pieceBytes));
          await client.shake();
          await client.send(GET);
          await client.reads('200 OK');
          client.destroy();
        });
      }

      test(`a request right behind the handshake's last message is answered (${label})`, async () => {
        const client = await RawTlsClient.connect(edge.port, { version });
        await client.wire(client.own.take());
        await client.when(() => client.own.isOpen || version === TLS12, 'the first flight');
        if (version === TLS13)
          await client.wire(Buffer.concat([client.own.take(), client.own.seal(23, GET)]));
        else {
          await client.shake();
          await client.send(GET);
        }
        await client.reads('200 OK');
        client.destroy();
      });

      test(`a flood of ChangeCipherSpecs in the handshake comes to an end (${label})`, async () => {
        const client = await RawTlsClient.connect(edge.port, { version });
        await client.wire(client.own.take());
        await client.when(() => client.raw.length > 500, 'the first flight');
        const flood = Buffer.concat(Array.from({ length: 1000 }, () => record(20, Buffer.of(1), 0x0303)));
        for (let count = 0; count < 60 && client.ending === 'open'; count++) await client.wire(flood);
        await client.closed(HANDSHAKE_MS_MAX);
        client.destroy();
      });

      test(`a handshake that stops at any byte ends in time (${label})`, async () => {
        const whole = await RawTlsClient.connect(edge.port, { version });
        const first = whole.own.take();
        whole.destroy();
        const cuts = [0, 1, 4, 5, 6, 9, Math.floor(first.length / 2), first.length - 1, first.length];
        await Promise.all(
          cuts.map(async (cut) => {
            const client = await RawTlsClient.connect(edge.port, { version });
            await client.wire(client.own.take().subarray(0, cut));
            await client.closed(HANDSHAKE_MS_MAX);
            client.destroy();
          }),
        );
      });

      test(`a handshake that is dripped ends in time (${label})`, async () => {
        const client = await RawTlsClient.connect(edge.port, { version });
        const flight = client.own.take();
        const startMs = performance.now();
        const wholeMs = flight.length * DRIP_MS;
        for (let at = 0; at < flight.length && client.ending === 'open'; at++) {
          await client.wire(flight.subarray(at, at + 1));
          await until(
            () => performance.now() - startMs > at * DRIP_MS || client.ending !== 'open',
            8000,
            'a moment',
          );
        }
        await client.closed(HANDSHAKE_MS_MAX);
        assert.ok(performance.now() - startMs < wholeMs, 'before the flight was whole');
        client.destroy();
      });

      test(`a last message with a changed byte is refused (${label})`, async () => {
        const client = await RawTlsClient.connect(edge.port, { version });
        await client.wire(client.own.take());
        await client.when(() => client.raw.length > 500, 'the first flight');
        let last = client.own.take();
        await client.when(() => last.length > 0 || (last = client.own.take()).length > 0, 'our answer');
        last[last.length - 1] ^= 1;
        await client.wire(last);
        await client.closed();
        assert.equal(client.ending, 'end');
        assert.doesNotMatch(client.own.text(), /HTTP/);
        client.destroy();
      });
    }

    test('a client that goes in the handshake leaves nothing behind', async () => {
      const sockets = edge.socketCount();
      for (let count = 0; count < 50; count++) {
        const client = await RawTlsClient.connect(edge.port);
        await client.wire(client.own.take());
        if (count % 2 === 0) client.socket.resetAndDestroy();
        client.destroy();
      }
      await edge.settles(sockets + 16, HANDSHAKE_MS_MAX);
    });
  });

  describe(`handshakes that stop midway (${io})`, () => {
    test(`${MIDWAY} of them hold little memory, and a bystander is served at once`, async () => {
      const certificate = testAuthority().server(['edge.test']);
      const origin = await startOrigin(serveEcho);
      const edge = await startEdge(
        `
[tls]
cert_path = "${certificate.certPath}"
key_path = "${certificate.keyPath}"
[path_routes."edge.test"."/"]
type = "Proxy"
url = "${origin.url}"
`,
        { io },
      );
      const first = await RawTlsClient.secured(edge.port);
      const before = edge.residentBytes();
      const sockets = edge.socketCount();
      const stopped = await Promise.all(
        Array.from({ length: MIDWAY }, async (_, index) => {
          const client = await RawTlsClient.connect(edge.port, { version: index % 2 === 0 ? TLS12 : TLS13 });
          await client.wire(client.own.take());
          await client.when(() => client.raw.length > 500, 'the edge’s first flight');
          return client;
        }),
      );
      const held = edge.residentBytes() - before;
      assert.ok(held < MIDWAY_BYTES_MAX, `${held} bytes for ${MIDWAY} handshakes`);
      const startMs = performance.now();
      const bystander = await RawTlsClient.secured(edge.port);
      for (const client of [first, bystander]) {
        await client.send(GET);
        await client.reads('200 OK');
      }
      // The others are given up after 30 s.
      assert.ok(performance.now() - startMs < 10_000);
      for (const client of [...stopped, first, bystander]) client.destroy();
      await edge.settles(sockets, HANDSHAKE_MS_MAX);
      await edge.stop();
      await origin.close();
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
