/**
 * The known attacks on HTTP/2, over the wire against the started product: the attacker is cut and told why, whoever else
 * is connected is served all the while, and memory stays bounded.
 */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { after, before, describe, test } from 'node:test';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { MetricsPage } from '../fixtures/metrics.ts';
import { until, within } from '../fixtures/patience.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';
import { tcpEnd } from '../fixtures/tcp-table.ts';
import { attacks } from '../http2/attacks.ts';
import { frame, GET as GET_FIELDS, headers, PREFACE, settings, uint32 } from '../http2/raw-frames.ts';
import { Attacker, attack } from './http2-attacker.ts';

const PATIENCE_MS = 20_000;
const HOST = 'example.com';
const MIB = 1024 * 1024;
const LARGE_BYTES = 8 * MIB;
const STREAMS = 100;
/** What one attacker, and the bystander, may make the process grow by; what it asks for is 800 MiB. */
const GROWTH_BYTES_MAX = 64 * MIB;
const SETTINGS_INITIAL_WINDOW = 4;
const WINDOW_BYTES_MAX = 0x7fffffff;

/** Somebody else, who asks one thing after the other all the while. */
class Bystander {
  served = 0;
  readonly failures: string[] = [];
  private readonly session: ClientHttp2Session;
  private isOver = false;
  private readonly going: Promise<void>;

  constructor(port: number, isSecure: boolean) {
    const authority = `${isSecure ? 'https' : 'http'}://${HOST}:${port}`;
    const socket = isSecure ? { ca: testAuthority().cert } : {};
    this.session = connectHttp2(authority, { ...socket, lookup: undefined, host: '127.0.0.1' } as object);
    this.session.on('error', (error) => this.failures.push(String(error)));
    this.going = this.go();
  }

  private async go(): Promise<void> {
    while (!this.isOver) {
      const status = await within(this.ask(), PATIENCE_MS, 'an answer').catch((error) => String(error));
      if (status === 200) this.served++;
      else this.failures.push(String(status));
    }
  }

  /** The text of an answer. */
  async read(path: string): Promise<string> {
    const stream = this.session.request({ ':path': path, ':authority': HOST });
    let text = '';
    for await (const chunk of stream.setEncoding('utf8')) text += chunk;
    return text;
  }

  private ask(): Promise<number> {
    return new Promise((resolve, reject) => {
      const stream = this.session.request({ ':path': '/', ':authority': HOST });
      stream.on('response', (fields) => resolve(Number(fields[':status'])));
      stream.on('error', reject);
      stream.on('close', () => reject(new Error('unanswered')));
      stream.resume();
    });
  }

  async stop(): Promise<void> {
    this.isOver = true;
    await this.going;
    this.session.destroy();
  }
}

const id = (number: number): number => number * 2 - 1;
function suite(io: IoBackend, isSecure: boolean): void {
  const how = isSecure ? 'over TLS' : 'with prior knowledge';
  const scheme = isSecure ? 'https' : 'http';
  const { certPath, keyPath } = testAuthority().server([HOST]);

  describe(`attacks on HTTP/2 ${how} (${io})`, () => {
    let origin: NodeServer;
    let edge: Edge;
    let bystander: Bystander;
    let residentBytes: number;
    /** Requests that are under way at the backend. */
    let heldOpen = 0;

    before(async () => {
      const large = randomBytes(LARGE_BYTES);
      origin = await startNodeServer((incoming, response) => {
        incoming.resume();
        incoming.on('error', () => undefined);
        if (incoming.url === '/large') response.end(large);
        else if (incoming.url === '/held') {
          heldOpen++;
          response.on('close', () => heldOpen--);
        } else incoming.on('end', () => response.end('served'));
      });
      const tls = isSecure ? `[tls]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"\n` : '';
      const config = (port: number): string => `
[server]
listen = "127.0.0.1:${port}"
threads = 1
write_timeout_secs = 1
[logging]
level = "error"
[prometheus]
path = "/numbers"
enabled = true
${tls}
[path_routes."${HOST}"."/"]
type = "Proxy"
url = "${origin.url}"
`;
      edge = await startEdge('', { io, config });
      bystander = new Bystander(edge.port, isSecure);
      await until(() => bystander.served > 200, PATIENCE_MS, 'the bystander to be served');
      residentBytes = edge.residentBytes();
    });
    after(async () => {
      await bystander?.stop();
      await edge?.stop();
      await origin?.close();
    });

    /** How many connections were cut for this. */
    async function floods(reason: string): Promise<number> {
      const page = new MetricsPage(await bystander.read('/numbers'));
      return page.value('sallyport_http2_floods_total', `reason="${reason}"`);
    }

    /** What holds after each attack. */
    async function assertUnharmed(servedBefore: number): Promise<void> {
      await until(() => bystander.served > servedBefore + 10, PATIENCE_MS, 'the bystander to be served');
      assert.deepEqual(bystander.failures, []);
      const growth = edge.residentBytes() - residentBytes;
      assert.ok(growth < GROWTH_BYTES_MAX, `grown by ${growth} bytes`);
      await until(() => heldOpen === 0, PATIENCE_MS, 'the end of its requests at the backend');
    }

    for (const each of attacks(scheme)) {
      test(each.name, async () => {
        const { served } = bystander;
        const counted = await floods(each.reason);
        const attacker = await Attacker.connect(edge.port, isSecure);
        const sent = await attack(attacker, each);
        // Where the socket was reset under its feet it may not have heard why.
        if (attacker.goaway !== '' || attacker.ending === 'end')
          assert.match(attacker.goaway, new RegExp(`code 11 ${each.reason}$`), `after ${sent} pieces`);
        assert.equal(await floods(each.reason), counted + 1, 'it is counted');
        await assertUnharmed(served);
      });
    }

    test('Rapid Reset by a client that comes back after each cut: it is refused', async () => {
      const { served } = bystander;
      const [rapidReset] = attacks(scheme);
      const penalties = await floods('penalty');
      const endings: string[] = [];
      for (let round = 0; round < 6; round++) {
        const attacker = await Attacker.connect(edge.port, isSecure, true, '127.0.2.1');
        await attack(attacker, rapidReset);
        endings.push(attacker.goaway);
      }
      // Four cuts with ever smaller budgets; none of the streams that would follow is begun.
      const told = endings.slice(4).filter((ending) => ending !== '');
      assert.deepEqual([...new Set(told)], ['GOAWAY 0 code 11 penalty']);
      assert.equal(await floods('penalty'), penalties + 2);
      await assertUnharmed(served);
    });

    test('windows that stay shut: the streams are reset, and nothing is kept for them', async () => {
      const { served } = bystander;
      const attacker = await Attacker.connect(edge.port, isSecure);
      const large = GET_FIELDS.map(([name, value]): [string, string] => [
        name,
        name === ':path' ? '/large' : name === ':scheme' ? scheme : value,
      ]);
      await attacker.send(Buffer.concat([PREFACE, settings([SETTINGS_INITIAL_WINDOW, 0])]));
      await attacker.send(
        Buffer.concat(Array.from({ length: STREAMS }, (_, index) => headers(id(index + 1), large))),
      );
      const resets = (): number => attacker.frames.filter(({ type }) => type === 3).length;
      const isOver = (): boolean => resets() === STREAMS || attacker.ending !== 'open';
      await until(isOver, PATIENCE_MS, 'the end of the streams');
      assert.equal(attacker.frames.filter(({ type, payload }) => type === 0 && payload.length > 0).length, 0);
      attacker.socket.destroy();
      await assertUnharmed(served);
    });

    test('a client that does not read is cut', async () => {
      const { served } = bystander;
      const attacker = await Attacker.connect(edge.port, isSecure, false);
      const large = GET_FIELDS.map(([name, value]): [string, string] => [
        name,
        name === ':path' ? '/large' : name === ':scheme' ? scheme : value,
      ]);
      await attacker.send(
        Buffer.concat([
          PREFACE,
          settings([SETTINGS_INITIAL_WINDOW, WINDOW_BYTES_MAX]),
          frame(8, 0, 0, uint32(WINDOW_BYTES_MAX - 65_535)),
        ]),
      );
      await attacker.send(
        Buffer.concat(Array.from({ length: STREAMS }, (_, index) => headers(id(index + 1), large))),
      );
      const { localPort = 0 } = attacker.socket;
      const isHeld = (): boolean => tcpEnd(edge.port, localPort)?.isEstablished === true;
      await until(() => !isHeld(), PATIENCE_MS, 'the end of the connection');
      attacker.socket.destroy();
      await assertUnharmed(served);
    });
  });
}

for (const io of IO_BACKENDS) {
  for (const isSecure of [true, false]) suite(io, isSecure);
}
