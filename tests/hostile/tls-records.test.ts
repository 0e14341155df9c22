/** Clients whose handshake is over and whose records are not what they should be. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { TLS12, TLS13, type TlsVersion } from '../../src/tls/suites.ts';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Origin, serveEcho, startOrigin } from '../fixtures/origin.ts';
import { clientHello, RawTlsClient, record } from '../fixtures/raw-tls-client.ts';
import type { ReadRecord } from '../fixtures/tls-engine.ts';

const DATA = 23;
const HANDSHAKE = 22;
const ALERT = 21;
const CHANGE_CIPHER_SPEC = 20;
const UNEXPECTED_MESSAGE = 10;
const BAD_RECORD_MAC = 20;
const RECORD_OVERFLOW = 22;
const ILLEGAL_PARAMETER = 47;
const DECODE_ERROR = 50;
const NO_RENEGOTIATION = 100;
const PROTOCOL_VERSION = 70;
const GET = 'GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n';
const UPDATE = Buffer.of(24, 0, 0, 1, 0);
const UPDATE_REQUESTED = Buffer.of(24, 0, 0, 1, 1);
const BOTH = [TLS12, TLS13] as const;
const JUST_13 = [TLS13] as const;
const JUST_12 = [TLS12] as const;

interface RecordCase {
  readonly name: string;
  readonly versions: readonly TlsVersion[];
  /** What is sent after the handshake. */
  readonly wire: (client: RawTlsClient) => Buffer;
  /** The alert that comes back. */
  readonly alert: number;
}

/** So many KeyUpdates, each under the keys that the one before it announced. */
function updates(client: RawTlsClient, count: number, message: Buffer): Buffer {
  const records = Array.from({ length: count }, () => {
    const sealed = client.own.seal(HANDSHAKE, message);
    client.own.layer?.updateWriteKey();
    return sealed;
  });
  return Buffer.concat(records);
}

function many(count: number, make: () => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, make));
}

const CASES: readonly RecordCase[] = [
  {
    name: 'a record that comes twice',
    versions: BOTH,
    wire: ({ own }) => {
      const sealed = own.seal(DATA, 'GET ');
      return Buffer.concat([sealed, sealed]);
    },
    alert: BAD_RECORD_MAC,
  },
  {
    name: 'records in the wrong order',
    versions: BOTH,
    wire: ({ own }) => {
      const first = own.seal(DATA, 'GET / HTTP/1.1\r\n');
      return Buffer.concat([own.seal(DATA, 'Host: edge.test\r\n\r\n'), first]);
    },
    alert: BAD_RECORD_MAC,
  },
  {
    name: 'a record with a changed byte',
    versions: BOTH,
    wire: ({ own }) => {
      const sealed = own.seal(DATA, GET);
      sealed[20] ^= 1;
      return sealed;
    },
    alert: BAD_RECORD_MAC,
  },
  {
    name: 'a record with a changed tag, and much behind it',
    versions: BOTH,
    wire: ({ own }) => {
      const sealed = own.seal(DATA, GET);
      sealed[sealed.length - 1] ^= 0x80;
      return Buffer.concat([sealed, many(8, () => own.seal(DATA, Buffer.alloc(16384)))]);
    },
    alert: BAD_RECORD_MAC,
  },
  {
    name: 'random bytes as a record',
    versions: BOTH,
    wire: () => record(DATA, randomBytes(100), 0x0303),
    alert: BAD_RECORD_MAC,
  },
  {
    name: 'content that is not sealed',
    versions: BOTH,
    wire: () => record(DATA, Buffer.from(GET), 0x0303),
    alert: BAD_RECORD_MAC,
  },
  {
    name: 'a record that is one byte too long (2^14 + 257)',
    versions: BOTH,
    wire: () => Buffer.of(DATA, 3, 3, 0x41, 1),
    alert: RECORD_OVERFLOW,
  },
  {
    name: 'a record of 65535 bytes',
    versions: BOTH,
    wire: () => Buffer.of(DATA, 3, 3, 0xff, 0xff),
    alert: RECORD_OVERFLOW,
  },
  {
    name: 'content of 2^14 + 1 bytes',
    versions: BOTH,
    wire: ({ own }) => own.seal(DATA, Buffer.alloc(16385, 'x')),
    alert: RECORD_OVERFLOW,
  },
  {
    name: 'a record that is shorter than its tag',
    versions: BOTH,
    wire: () => record(DATA, Buffer.alloc(10), 0x0303),
    alert: BAD_RECORD_MAC,
  },
  {
    name: 'an empty record that is not sealed',
    versions: BOTH,
    wire: () => record(DATA, Buffer.alloc(0)),
    alert: BAD_RECORD_MAC,
  },
  {
    name: 'another version',
    versions: JUST_12,
    wire: ({ own }) => {
      const sealed = own.seal(DATA, GET);
      sealed[2] = 2;
      return sealed;
    },
    alert: PROTOCOL_VERSION,
  },
  {
    name: 'another version',
    versions: JUST_13,
    wire: ({ own }) => {
      const sealed = own.seal(DATA, GET);
      sealed[2] = 2;
      return sealed;
    },
    alert: BAD_RECORD_MAC,
  },
  {
    name: 'a ChangeCipherSpec after the handshake',
    versions: JUST_13,
    wire: () => record(CHANGE_CIPHER_SPEC, Buffer.of(1), 0x0303),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'a sealed ChangeCipherSpec',
    versions: BOTH,
    wire: ({ own }) => own.seal(CHANGE_CIPHER_SPEC, Buffer.of(1)),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'a heartbeat (RFC 6520)',
    versions: BOTH,
    wire: ({ own }) => own.seal(24, Buffer.concat([Buffer.of(1, 0x40, 0), randomBytes(19)])),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'an unknown content type',
    versions: BOTH,
    wire: ({ own }) => own.seal(99, 'what'),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'a second ClientHello',
    versions: JUST_13,
    wire: ({ own }) => own.seal(HANDSHAKE, clientHello({ versions: [TLS13] })),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'a renegotiation',
    versions: JUST_12,
    wire: ({ own }) => own.seal(HANDSHAKE, clientHello()),
    alert: NO_RENEGOTIATION,
  },
  {
    name: 'a renegotiation in small records',
    versions: JUST_12,
    wire: ({ own }) => {
      const hello = clientHello();
      return Buffer.concat([0, 1, 2, 3, 4].map((at) => own.seal(HANDSHAKE, hello.subarray(at, at + 1))));
    },
    alert: NO_RENEGOTIATION,
  },
  {
    name: 'a Finished again',
    versions: BOTH,
    wire: ({ own }) => own.seal(HANDSHAKE, Buffer.concat([Buffer.of(20, 0, 0, 32), randomBytes(32)])),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'a ticket from a client',
    versions: JUST_13,
    wire: ({ own }) => own.seal(HANDSHAKE, Buffer.concat([Buffer.of(4, 0, 0, 20), randomBytes(20)])),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'an empty handshake record (RFC 8446 §5.1)',
    versions: BOTH,
    wire: ({ own }) => own.seal(HANDSHAKE, Buffer.alloc(0)),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'an empty alert',
    versions: BOTH,
    wire: ({ own }) => own.seal(ALERT, Buffer.alloc(0)),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'an alert of one byte',
    versions: BOTH,
    wire: ({ own }) => own.seal(ALERT, Buffer.of(1)),
    alert: DECODE_ERROR,
  },
  {
    name: 'an alert of three bytes',
    versions: BOTH,
    wire: ({ own }) => own.seal(ALERT, Buffer.of(1, 90, 0)),
    alert: DECODE_ERROR,
  },
  {
    name: 'content amid a KeyUpdate',
    versions: JUST_13,
    wire: ({ own }) => Buffer.concat([own.seal(HANDSHAKE, UPDATE.subarray(0, 3)), own.seal(DATA, GET)]),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'an empty record amid a KeyUpdate',
    versions: JUST_13,
    wire: ({ own }) => Buffer.concat([own.seal(HANDSHAKE, UPDATE.subarray(0, 3)), own.seal(DATA, '')]),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'two KeyUpdates in one record',
    versions: JUST_13,
    wire: ({ own }) => own.seal(HANDSHAKE, Buffer.concat([UPDATE, UPDATE])),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'a KeyUpdate that asks for what there is not',
    versions: JUST_13,
    wire: ({ own }) => own.seal(HANDSHAKE, Buffer.of(24, 0, 0, 1, 2)),
    alert: ILLEGAL_PARAMETER,
  },
  {
    name: 'a KeyUpdate that is too long',
    versions: JUST_13,
    wire: ({ own }) => own.seal(HANDSHAKE, Buffer.of(24, 0, 0, 2, 0, 0)),
    alert: DECODE_ERROR,
  },
  {
    name: 'content under the old keys after a KeyUpdate',
    versions: JUST_13,
    wire: ({ own }) => Buffer.concat([own.seal(HANDSHAKE, UPDATE), own.seal(DATA, GET)]),
    alert: BAD_RECORD_MAC,
  },
  {
    name: 'a flood of empty records',
    versions: BOTH,
    wire: ({ own }) => many(1000, () => own.seal(DATA, '')),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'a flood of warnings',
    versions: BOTH,
    wire: ({ own }) => many(1000, () => own.seal(ALERT, Buffer.of(1, 90))),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'a flood of KeyUpdates',
    versions: JUST_13,
    wire: (client) => updates(client, 1000, UPDATE),
    alert: UNEXPECTED_MESSAGE,
  },
  {
    name: 'a flood of KeyUpdates that ask for ours',
    versions: JUST_13,
    wire: (client) => updates(client, 1000, UPDATE_REQUESTED),
    alert: UNEXPECTED_MESSAGE,
  },
];

function suite(io: IoBackend): void {
  describe(`records (${io})`, { concurrency: 8 }, () => {
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
`,
        { io },
      );
    });

    after(async () => {
      await edge.stop();
      await origin.close();
    });

    for (const { name, versions, wire, alert } of CASES) {
      for (const version of versions) {
        const label = version === TLS13 ? '1.3' : '1.2';
        test(`${name} is answered with alert ${alert}, and the connection ends (TLS ${label})`, async () => {
          const client = await RawTlsClient.secured(edge.port, { version });
          await client.wire(wire(client));
          await client.closed();
          assert.deepEqual({ alert: client.alert, ending: client.ending }, { alert, ending: 'end' });
          assert.equal(client.own.alertSeen?.level, alert === NO_RENEGOTIATION ? 1 : 2);
          assert.equal(client.own.text(), '', 'nothing was answered');
          client.destroy();
        });
      }
    }

    for (const version of BOTH) {
      const label = version === TLS13 ? '1.3' : '1.2';

      test(`a bad record behind a good one: the good one is answered or not, the bad one ends it (TLS ${label})`, async () => {
        const client = await RawTlsClient.secured(edge.port, { version });
        await client.send(GET);
        await client.reads('200 OK');
        await client.wire(record(DATA, randomBytes(50), 0x0303));
        await client.closed();
        assert.equal(client.alert, BAD_RECORD_MAC);
        client.destroy();
      });

      test(`a request in records of one byte each is answered (TLS ${label})`, async () => {
        const client = await RawTlsClient.secured(edge.port, { version });
        await client.wire(Buffer.concat(Array.from(GET, (byte) => client.own.seal(DATA, byte))));
        await client.reads('200 OK');
        client.destroy();
      });

      test(`a request whose records come byte by byte is answered (TLS ${label})`, async () => {
        const client = await RawTlsClient.secured(edge.port, { version });
        for (const byte of client.own.seal(DATA, GET)) await client.wire(Buffer.of(byte));
        await client.reads('200 OK');
        client.destroy();
      });

      test(`empty records between the pieces of a request are no trouble (TLS ${label})`, async () => {
        const client = await RawTlsClient.secured(edge.port, { version });
        const pieces = Array.from(GET, (byte) =>
          Buffer.concat([many(5, () => client.own.seal(DATA, '')), client.own.seal(DATA, byte)]),
        );
        await client.wire(Buffer.concat(pieces));
        await client.reads('200 OK');
        client.destroy();
      });

      test(`an alert ends the connection without an answer (TLS ${label})`, async () => {
        for (const [level, code] of [
          [2, 20],
          [2, 80],
          [1, 100],
          [1, 255],
        ]) {
          const client = await RawTlsClient.secured(edge.port, { version });
          await client.wire(client.own.seal(ALERT, Buffer.of(level, code)));
          await client.closed();
          client.destroy();
        }
      });

      test(`a request that was followed by close_notify is answered (TLS ${label})`, async () => {
        const client = await RawTlsClient.secured(edge.port, { version });
        const body = 'x'.repeat(40_000);
        const head = `POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: ${body.length}\r\n\r\n`;
        await client.send(head);
        for (let at = 0; at < body.length; at += 16_000) await client.send(body.slice(at, at + 16_000));
        await client.wire(client.own.seal(ALERT, Buffer.of(1, 0)));
        client.finish();
        await client.reads('200 OK');
        await client.closed();
        assert.equal(client.alert, 0, 'close_notify came back');
        client.destroy();
      });

      test(`an end without close_notify is no end: what came of a request is dropped (TLS ${label})`, async () => {
        const client = await RawTlsClient.secured(edge.port, { version });
        await client.send('POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 100\r\n\r\nsome');
        client.finish();
        await client.closed();
        assert.doesNotMatch(client.own.text(), /200 OK/);
        client.destroy();
      });

      test(`what comes after close_notify is not read (TLS ${label})`, async () => {
        const client = await RawTlsClient.secured(edge.port, { version });
        const end = client.own.seal(ALERT, Buffer.of(1, 0));
        await client.wire(Buffer.concat([end, client.own.seal(DATA, GET)]));
        await client.closed();
        assert.doesNotMatch(client.own.text(), /HTTP/);
        client.destroy();
      });
    }

    test('a KeyUpdate that asks for ours is answered before the next content, once for many', async () => {
      const client = await RawTlsClient.secured(edge.port, { version: TLS13 });
      await client.wire(updates(client, 20, UPDATE_REQUESTED));
      await client.send(GET);
      const { records } = client.own;
      const isUpdate = ({ type, content }: ReadRecord): boolean => type === HANDSHAKE && content[0] === 24;
      // Our record layer is not told of it: what comes behind is not opened.
      await client.when(() => records.some(isUpdate), 'a KeyUpdate');
      assert.deepEqual(records.find(isUpdate)?.content, UPDATE);
      assert.ok(!records.some(({ type }) => type === DATA), 'no content came before it');
      client.destroy();
    });

    test('keys are updated again and again between requests', async () => {
      const client = await RawTlsClient.secured(edge.port, { version: TLS13 });
      for (let round = 1; round <= 100; round++) {
        const known = client.own.text().length;
        await client.wire(Buffer.concat([updates(client, 1, UPDATE), client.own.seal(DATA, GET)]));
        await client.when(() => client.own.text().slice(known).includes('200 OK'), 'an answer');
      }
      client.destroy();
    });

    test('a client that asks for new keys and never reads costs no memory that grows', async () => {
      const client = await RawTlsClient.secured(edge.port, { version: TLS13 });
      client.socket.pause();
      const before = edge.residentBytes();
      for (let round = 0; round < 200; round++)
        await client.wire(Buffer.concat([updates(client, 20, UPDATE_REQUESTED), client.own.seal(DATA, 'x')]));
      assert.ok(edge.residentBytes() - before < 16 * 1024 * 1024);
      client.destroy();
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
