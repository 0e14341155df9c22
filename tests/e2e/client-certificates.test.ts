/** Client certificates over the wire: who may come in, and what backends are told (RFC 9440). */

import assert from 'node:assert/strict';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { after, before, describe, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { TestAuthority, type TestCertificate, testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { until, within } from '../fixtures/patience.ts';
import { exchangeOnce } from '../fixtures/raw-client.ts';
import { type NodeServer, startNodeServer } from '../fixtures/servers.ts';

const PATIENCE_MS = 10_000;
const NAMES = ['client-cert', 'client-cert-chain', 'client_cert', 'client_cert_chain'];

function suite(io: IoBackend): void {
  describe(`client certificates (${io})`, () => {
    const server = testAuthority().server(['one.example', '127.0.0.1']);
    const clients = TestAuthority.root('Clients');
    const middle = clients.intermediate('Clients of the house');
    const alice = middle.client('alice');
    const stranger = TestAuthority.root('Clients').client('mallory');
    let origin: NodeServer;
    let optional: Edge;
    let required: Edge;
    /** Fields about the client in the last request that the backend got, as it got them. */
    let told: IncomingHttpHeaders = {};
    let trailers: NodeJS.Dict<string> = {};

    const routes = (): string => `
[path_routes."*"."/"]
type = "Proxy"
url = "${origin.url}"
[path_routes."*"."/".security]
add_request_headers = { "X-Rule" = "applied" }
`;
    const config = (clientAuth: string): string => `
[tls]
cert_path = "${server.certPath}"
key_path = "${server.keyPath}"
client_auth = "${clientAuth}"
client_ca_path = "${clients.certPath}"
${routes()}`;

    before(async () => {
      origin = await startNodeServer((incoming, response) => {
        const { headers } = incoming;
        told = Object.fromEntries(NAMES.flatMap((name) => (name in headers ? [[name, headers[name]]] : [])));
        incoming.resume();
        incoming.on('end', () => {
          trailers = incoming.trailers;
          response.end('served');
        });
      });
      optional = await startEdge(config('optional'), { io });
      required = await startEdge(config('required'), { io });
    });

    after(async () => {
      await optional.stop();
      await required.stop();
      await origin.close();
    });

    /** The response's status, or why there was none. */
    function ask(
      edge: Edge,
      certificate: TestCertificate | null,
      headers: Record<string, string> = {},
    ): Promise<number | string> {
      const identity = certificate === null ? {} : { cert: certificate.cert, key: certificate.key };
      const options = { host: '127.0.0.1', port: edge.port, ca: testAuthority().cert, agent: false, headers };
      const answered = new Promise<number | string>((resolve) => {
        const call = request({ ...options, ...identity }, (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode ?? 0));
        });
        call.on('error', (error) => resolve(error.message));
        call.end();
      });
      return within(answered, PATIENCE_MS, 'a response');
    }

    const expected = (): IncomingHttpHeaders => ({
      'client-cert': `:${alice.der.toString('base64')}:`,
      'client-cert-chain': `:${middle.der.toString('base64')}:`,
    });

    test('a backend is told who the client is, and through which authority', async () => {
      assert.equal(await ask(optional, alice), 200);
      assert.deepEqual(told, expected());
      assert.equal(await ask(required, alice), 200);
      assert.deepEqual(told, expected());
    });

    const FORGED = { 'Client-Cert': ':Zm9yZ2Vk:', 'Client-Cert-Chain': ':Zm9yZ2Vk:' };

    test('a client without a certificate can’t pretend to have one', async () => {
      assert.equal(await ask(optional, null, FORGED), 200);
      assert.deepEqual(told, {});
      assert.equal(
        await ask(optional, null, { Client_Cert: ':Zm9yZ2Vk:', 'client_cert-chain': ':eA==:' }),
        200,
      );
      assert.deepEqual(told, {});
    });

    test('a client with a certificate can’t pretend to have another, nor hide it', async () => {
      assert.equal(await ask(optional, alice, FORGED), 200);
      assert.deepEqual(told, expected());
      assert.equal(await ask(optional, alice, { Connection: 'close, Client-Cert, Client-Cert-Chain' }), 200);
      assert.deepEqual(told, expected());
    });

    test('nor in trailers', async () => {
      const socket = await secured(optional);
      const closed = new Promise((done) => socket.once('close', done));
      socket.resume();
      socket.write(
        'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n' +
          '0\r\nClient-Cert: :eA==:\r\nClient_Cert: :eA==:\r\nX-Kept: yes\r\n\r\n',
      );
      await within(closed, PATIENCE_MS, 'the end of the response');
      assert.deepEqual(told, {});
      assert.deepEqual(Object.keys(trailers), ['x-kept']);
    });

    test('where a certificate is required, one without or of another authority doesn’t come in', async () => {
      assert.match(String(await ask(required, null)), /certificate required|socket hang up|ECONNRESET/i);
      assert.match(String(await ask(required, stranger)), /unknown ca|socket hang up|ECONNRESET/i);
      assert.match(String(await ask(optional, stranger)), /unknown ca|socket hang up|ECONNRESET/i);
      await required.logged('TLS handshake failed: ');
    });

    test('a resumed session still says who the client is', async () => {
      const options = { cert: alice.cert, key: alice.key, maxVersion: 'TLSv1.2' as const };
      const first = await secured(optional, options);
      const ticket = first.getSession();
      first.destroy();
      const again = await secured(optional, { ...options, session: ticket });
      assert.equal(again.isSessionReused(), true);
      const closed = new Promise((done) => again.once('close', done));
      again.resume();
      again.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
      await within(closed, PATIENCE_MS, 'the end of the response');
      assert.deepEqual(told, { 'client-cert': expected()['client-cert'] });
    });

    test('a reload that takes [tls] away: new connections are plain, nobody is a client with a certificate', async () => {
      const edge = await startEdge(config('optional'), { io });
      edge.rewrite(routes());
      edge.signal('SIGHUP');
      await edge.logged('the new configuration is in force');
      const isRefused = async (): Promise<boolean> => (await ask(edge, alice, FORGED)) !== 200;
      await until(isRefused, PATIENCE_MS, 'TLS to be refused');
      told = {};
      const { status } = await exchangeOnce(edge.port, 'GET / HTTP/1.1\r\nHost: example.com\r\n\r\n');
      assert.equal(status, 200);
      assert.deepEqual(told, {});
      await edge.stop();
    });

    function secured(edge: Edge, options: object = {}): Promise<TLSSocket> {
      const opened = new Promise<TLSSocket>((resolve, reject) => {
        const all = { host: '127.0.0.1', port: edge.port, ca: testAuthority().cert, ...options };
        const socket = connect(all, () => resolve(socket));
        socket.once('error', reject);
      });
      return within(opened, PATIENCE_MS, 'a handshake');
    }
  });
}

for (const io of IO_BACKENDS) suite(io);
