/** What clients see of TLS: versions, certificates by name, resumption, bodies, and reloads under load. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { within } from '../fixtures/patience.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

const CLIENTS = 64;
/** Each starts a judge and changes rooms. */
const RELOADS = Number(process.env['TLS_RELOADS'] ?? 12);

interface Run {
  readonly code: number;
  readonly output: string;
}

/** A program with nothing on its standard input; its code and all that it writes. */
function run(command: string, ...args: string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      args,
      { timeout: 30_000, maxBuffer: 1 << 26 },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code !== 'number') reject(new Error(`${command}: ${error}`));
        else resolve({ code: Number(error?.code ?? 0), output: stdout + stderr });
      },
    );
    child.stdin?.end();
  });
}

/** A connection whose handshake is over. */
function secured(options: ConnectionOptions): Promise<TLSSocket> {
  const opened = new Promise<TLSSocket>((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', ...options }, () => resolve(socket));
    socket.once('error', reject);
  });
  return within(opened, 10_000, 'a handshake');
}

/** One request on a connection of its own; the session that the server gave with it. */
async function session(options: ConnectionOptions): Promise<{ reused: boolean; ticket: Buffer | null }> {
  const socket = await secured(options);
  const reused = socket.isSessionReused();
  // In TLS 1.3 tickets follow the handshake.
  let ticket: Buffer | null = socket.getProtocol() === 'TLSv1.2' ? (socket.getSession() ?? null) : null;
  socket.on('session', (each: Buffer) => {
    ticket ??= each;
  });
  socket.write('GET /file HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n');
  socket.resume();
  await within(new Promise((done) => socket.once('close', done)), 10_000, 'the end of the response');
  return { reused, ticket };
}

function suite(io: IoBackend): void {
  describe(`TLS (${io})`, { concurrency: 4 }, () => {
    const authority = testAuthority();
    const one = authority.server(['one.example', '127.0.0.1']);
    const many = authority.server(['*.many.example', 'many.example']);
    const strong = authority.server(['strong.example'], { key: 'P-384' });
    const rsa = authority.server(['rsa.example'], { key: 'RSA-2048' });
    const edwards = authority.server(['edwards.example'], { key: 'Ed25519' });
    let directory: string;
    let origin: NodeServer;
    let edge: Edge;
    let other: Edge;
    let big: Buffer;

    const routes = (): string => `
[path_routes."*"."/file"]
type = "File"
path = "${join(directory, 'file')}"
[path_routes."*"."/big"]
type = "File"
path = "${join(directory, 'big')}"
[path_routes."*"."/"]
type = "Proxy"
url = "${origin.url}"
[path_routes."*"."/".security]
max_request_body_size = 67108864
max_chunked_body_size = 67108864
`;
    const tls = (): string => `
[tls]
cert_path = "${one.certPath}"
key_path = "${one.keyPath}"
session_ticket_key_path = "${join(directory, 'tickets')}"
${[many, strong, rsa, edwards].map(({ certPath, keyPath }) => `[[tls.certificates]]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"`).join('\n')}
`;

    before(async () => {
      directory = openFolder('tls');
      big = randomBytes(10 * 1024 * 1024);
      writeFileSync(join(directory, 'big'), big);
      writeFileSync(join(directory, 'file'), 'a small file\n');
      writeFileSync(join(directory, 'tickets'), randomBytes(80), { mode: 0o600 });
      origin = await startNodeServer((incoming, response) => {
        const hash = createHash('sha256');
        incoming.on('data', (chunk: Buffer) => hash.update(chunk));
        incoming.on('end', () => {
          response.setHeader('X-Proto', String(incoming.headers['x-forwarded-proto']));
          response.end(incoming.url === '/download' ? big : hash.digest('hex'));
        });
      });
      edge = await startEdge(tls() + routes(), { io });
      other = await startEdge(tls() + routes(), { io });
    });

    after(async () => {
      await edge.stop();
      await other.stop();
      await origin.close();
      rmSync(directory, { recursive: true, force: true });
    });

    const trust = (name: string): ConnectionOptions => ({
      port: edge.port,
      servername: name,
      ca: authority.cert,
    });

    test('only TLS 1.2 and 1.3 are spoken', async () => {
      for (const [flag, version] of [
        ['-tls1_2', 'TLSv1.2'],
        ['-tls1_3', 'TLSv1.3'],
      ]) {
        const { output } = await run('openssl', 's_client', '-connect', `127.0.0.1:${edge.port}`, flag);
        assert.match(output, new RegExp(`New, ${version}, Cipher is .*(GCM|CHACHA20)`));
        assert.match(output, /Secure Renegotiation IS|TLSv1.3/);
        assert.match(output, /Compression: NONE/);
      }
      for (const flag of ['-tls1', '-tls1_1']) {
        const old = ['-cipher', 'ALL:@SECLEVEL=0'];
        const run1 = await run('openssl', 's_client', '-connect', `127.0.0.1:${edge.port}`, flag, ...old);
        assert.match(run1.output, /alert protocol version/, flag);
      }
    });

    test('the certificate is chosen by the name that the client asks for', async () => {
      const subject = async (name: string, more: ConnectionOptions = {}): Promise<string> => {
        const socket = await secured({ ...trust(name), rejectUnauthorized: false, ...more });
        const { subject } = socket.getPeerCertificate();
        socket.destroy();
        return String(subject.CN);
      };
      assert.equal(await subject('one.example'), 'one.example');
      assert.equal(await subject('www.many.example'), '*.many.example');
      assert.equal(await subject('many.example'), '*.many.example');
      assert.equal(await subject('a.b.many.example'), 'one.example', 'a wildcard is one label');
      assert.equal(await subject('STRONG.example'), 'strong.example');
      assert.equal(await subject('rsa.example'), 'rsa.example');
      assert.equal(await subject('rsa.example', { maxVersion: 'TLSv1.2' }), 'rsa.example');
      assert.equal(await subject('edwards.example'), 'edwards.example');
      assert.equal(await subject('unknown.example'), 'one.example', 'the one of [tls] itself');
      const verified = await secured(trust('www.many.example'));
      assert.equal(verified.authorized, true);
      assert.equal(verified.alpnProtocol, false);
      verified.destroy();
    });

    test('post-quantum key exchange, and the classical ones', async () => {
      for (const group of ['X25519MLKEM768', 'X25519', 'P-256']) {
        const socket = await secured({ ...trust('one.example'), ecdhCurve: group });
        socket.destroy();
      }
      await assert.rejects(secured({ ...trust('one.example'), ecdhCurve: 'P-521' }), /handshake failure/i);
    });

    test('sessions are resumed, by another process with the same ticket keys too', async () => {
      for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
        const options = { ...trust('one.example'), minVersion: version, maxVersion: version };
        const first = await session(options);
        assert.equal(first.reused, false);
        assert.ok(first.ticket !== null, `${version}: a ticket`);
        const second = await session({ ...options, session: first.ticket });
        assert.equal(second.reused, true, version);
        assert.ok(second.ticket !== null, `${version}: the next ticket`);
        assert.equal((await session({ ...options, session: second.ticket })).reused, true, version);
        const elsewhere = await session({ ...options, port: other.port, session: first.ticket });
        assert.equal(elsewhere.reused, true, `${version}: by the other process`);
      }
    });

    test('curl: files, downloads and uploads arrive whole', async () => {
      writeFileSync(join(directory, 'ca.pem'), authority.cert);
      const sum = createHash('sha256').update(big).digest('hex');
      const common = ['-sS', '--max-time', '30', '--cacert', join(directory, 'ca.pem')];
      for (const version of [['--tlsv1.3'], ['--tls-max', '1.2']]) {
        const curl = (...args: string[]): Promise<Run> => run('curl', ...common, ...version, ...args);
        const at = `https://127.0.0.1:${edge.port}`;
        assert.equal((await curl(`${at}/file`)).output, 'a small file\n');
        for (const path of ['/big', '/download']) {
          const target = join(directory, `got-${version[0]}-${path.slice(1)}`);
          await curl(`${at}${path}`, '-o', target);
          const { output } = await run('sha256sum', target);
          assert.equal(output.split(' ')[0], sum, `${version[0]} ${path}`);
        }
        const range = await curl(
          `${at}/big`,
          '-r',
          '1000000-1000999',
          '-w',
          '%{http_code} %{size_download}',
          '-o',
          '/dev/null',
        );
        assert.equal(range.output, '206 1000');
        const big1 = ['--data-binary', `@${join(directory, 'big')}`];
        assert.equal((await curl(`${at}/`, ...big1)).output, sum);
        assert.equal((await curl(`${at}/`, '-H', 'Transfer-Encoding: chunked', ...big1)).output, sum);
        const head = await curl(`${at}/`, '-D', '-', '-o', '/dev/null');
        assert.match(head.output, /X-Proto: https/i);
      }
    });

    test('certificates are replaced under load without a failed request', async () => {
      const certPath = join(directory, 'live.pem');
      const keyPath = join(directory, 'live.key');
      const next = authority.server(['one.example', 'next.example', '127.0.0.1']);
      const use = ({ certPath: cert, keyPath: key }: typeof one): void => {
        copyFileSync(cert, certPath);
        copyFileSync(key, keyPath);
      };
      use(one);
      const live = await startEdge(`[tls]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"\n${routes()}`, {
        io,
      });
      const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS, ca: authority.cert });
      let isOver = false;
      let requests = 0;
      const failures: string[] = [];
      const ask = (): Promise<void> =>
        new Promise((resolve) => {
          const call = request({ host: '127.0.0.1', port: live.port, path: '/x', agent }, (response) => {
            if (response.statusCode !== 200) failures.push(`status ${response.statusCode}`);
            response.resume();
            response.on('end', resolve);
          });
          call.on('error', (error) => {
            failures.push(error.message);
            resolve();
          });
          call.end();
        });
      const clients = Array.from({ length: CLIENTS }, async () => {
        while (!isOver) {
          await ask();
          requests++;
        }
      });
      let said = 0;
      try {
        for (let reload = 0; reload < RELOADS; reload++) {
          use(reload % 2 === 0 ? next : one);
          live.signal('SIGHUP');
          await live.logged('the new configuration is in force', said);
          said = live.stderr().length;
        }
      } finally {
        isOver = true;
        await within(Promise.all(clients), 20_000, 'the last responses').finally(() => agent.destroy());
      }
      assert.deepEqual(failures.slice(0, 5), []);
      assert.ok(requests > RELOADS, `${requests} requests`);
      use(next);
      live.signal('SIGHUP');
      await live.logged('the new configuration is in force', said);
      const fresh = await secured({ ...trust('next.example'), port: live.port });
      assert.equal(fresh.authorized, true);
      fresh.destroy();

      // A pair that does not fit keeps the old one, and says why.
      said = live.stderr().length;
      copyFileSync(one.keyPath, keyPath);
      live.signal('SIGHUP');
      await live.logged(/the old (one|configuration) stays in force/, said);
      assert.match(live.stderr().slice(said), /does not belong to/);
      const kept = await secured({ ...trust('next.example'), port: live.port });
      assert.equal(kept.authorized, true);
      kept.destroy();
      await live.stop();
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
