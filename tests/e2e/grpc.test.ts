/** gRPC by grpc-js on both sides of the started product: over TLS to it, and from it in h2c and in HTTP/2 over TLS. */

import assert from 'node:assert/strict';
import { type EventEmitter, once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import {
  type CallOptions,
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { testAuthority } from '../fixtures/certificates.ts';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { sha256 } from '../fixtures/origin.ts';
import { until, within } from '../fixtures/patience.ts';

const PATIENCE_MS = 30_000;
const LARGE_BYTES = 4 * 1024 * 1024;
const LARGE_MESSAGES = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 };
const MESSAGES = 1000;
const ROUNDS = 200;
const CALLS = 50;
/** Messages are content of a length that nobody declares. */
const STREAMS = 'security = { max_chunked_body_size = 100_000_000 }';
/** Longer than any test: nothing is to depend on it. */
const NEVER_MS = 600_000;
/** Metadata of some kilobytes. */
const LONG = 'long '.repeat(1000).trim();
const DETAILS = 'no “über” % 日本 🎉\nsecond line';

const authority = testAuthority();
const HOSTS = [
  'h2c.example',
  'tls.example',
  'down.example',
  'hasty.example',
  'doomed.example',
  'nobody.example',
];
const certificate = authority.server(HOSTS);
const identity = authority.server(['127.0.0.1']);
const large = Buffer.alloc(LARGE_BYTES);
for (let at = 0; at < LARGE_BYTES; at += 4) large.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);

const same = (message: Buffer): Buffer => message;

// ---- The backend -------------------------------------------------------------------------------------

/** What a backend knows of the calls that it does not answer, by the text of their first messages. */
class Backend {
  readonly server = new Server(LARGE_MESSAGES);
  /** Their deadlines, which the backend learns from grpc-timeout alone; Infinity: none. */
  readonly begun = new Map<string, number>();
  readonly cancelled = new Set<string>();
  port = 0;

  async listen(keys: ServerCredentials): Promise<this> {
    const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
      path: `/test.Echo/${name}`,
      requestStream,
      responseStream,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    });
    this.server.addService(
      {
        unary: method('Unary', false, false),
        fail: method('Fail', false, false),
        refuse: method('Refuse', true, false),
        silent: method('Silent', false, false),
        count: method('Count', false, true),
        feed: method('Feed', false, true),
        join: method('Join', true, false),
        chat: method('Chat', true, true),
      },
      {
        unary: (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
          const headers = new Metadata();
          for (const value of call.metadata.get('x-text')) headers.add('x-text-back', value);
          for (const value of call.metadata.get('x-bytes-bin')) headers.add('x-bytes-back-bin', value);
          headers.set('x-authority', call.getHost());
          call.sendMetadata(headers);
          const trailers = new Metadata();
          trailers.set('x-end', 'here');
          trailers.set('x-long', LONG);
          reply(null, call.request, trailers);
        },
        fail: (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
          const trailers = new Metadata();
          trailers.set('x-reason-bin', Buffer.of(0, 255, 10));
          reply({ code: Number(call.request.toString()), details: DETAILS, metadata: trailers });
        },
        refuse: (_call: ServerReadableStream<Buffer, Buffer>, reply: sendUnaryData<Buffer>) =>
          reply({ code: status.PERMISSION_DENIED, details: 'not you' }),
        silent: (call: ServerUnaryCall<Buffer, Buffer>) => this.holds(call.request.toString(), call),
        count: (call: ServerWritableStream<Buffer, Buffer>) => this.count(call),
        feed: (call: ServerWritableStream<Buffer, Buffer>) => {
          call.write(Buffer.from('first'));
          this.holds(call.request.toString(), call);
        },
        join: (call: ServerReadableStream<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
          const parts: Buffer[] = [];
          call.on('data', (part: Buffer) => parts.push(part));
          call.on('end', () => reply(null, Buffer.from(`${parts.length} ${sha256(Buffer.concat(parts))}`)));
        },
        chat: (call: ServerDuplexStream<Buffer, Buffer>) => {
          call.on('data', (message: Buffer) => {
            if (message.toString() === 'fail')
              call.emit('error', { code: status.ABORTED, details: 'enough' });
            else call.write(message);
          });
          call.on('end', () => call.end());
          call.on('cancelled', () => this.cancelled.add('chat'));
        },
      },
    );
    this.port = await new Promise((resolve, reject) =>
      this.server.bindAsync('127.0.0.1:0', keys, (error, port) =>
        error === null ? resolve(port) : reject(error),
      ),
    );
    return this;
  }

  private holds(
    name: string,
    call: ServerUnaryCall<Buffer, Buffer> | ServerWritableStream<Buffer, Buffer>,
  ): void {
    this.begun.set(name, Number(call.getDeadline()));
    (call as EventEmitter).on('cancelled', () => this.cancelled.add(name));
  }

  /** As many messages as asked for, each with its number; the reader's pace is kept. */
  private async count(call: ServerWritableStream<Buffer, Buffer>): Promise<void> {
    const until = Number(call.request.toString());
    for (let index = 0; index < until && !call.cancelled; index++) {
      if (!call.write(Buffer.from(`${index} ${'.'.repeat(index)}`))) await once(call, 'drain');
    }
    call.end();
  }
}

// ---- The client --------------------------------------------------------------------------------------

interface Reply {
  readonly error: ServiceError | null;
  readonly message: Buffer;
  readonly headers: Metadata;
  readonly trailers: Metadata;
}

/** A channel of its own, with one connection: grpc-js shares those of equal options. */
function channel(edge: Edge, host: string): Client {
  return new Client(`127.0.0.1:${edge.port}`, credentials.createSsl(Buffer.from(authority.cert)), {
    ...LARGE_MESSAGES,
    'grpc.ssl_target_name_override': host,
    'grpc.default_authority': host,
    'grpc.use_local_subchannel_pool': 1,
  });
}

function unary(
  client: Client,
  name: string,
  message: Buffer | string,
  metadata = new Metadata(),
  options: CallOptions = {},
): Promise<Reply> {
  const replied = new Promise<Reply>((resolve) => {
    let headers = new Metadata();
    let trailers = new Metadata();
    let outcome: { error: ServiceError | null; message: Buffer } | null = null;
    let ended = false;
    const done = (): void => {
      if (outcome !== null && ended) resolve({ ...outcome, headers, trailers });
    };
    const call = client.makeUnaryRequest(
      `/test.Echo/${name}`,
      same,
      same,
      Buffer.from(message),
      metadata,
      options,
      (error, value) => {
        outcome = { error, message: value ?? Buffer.alloc(0) };
        done();
      },
    );
    call.on('metadata', (fields: Metadata) => (headers = fields));
    call.on('status', (end) => {
      trailers = end.metadata;
      ended = true;
      done();
    });
  });
  return within(replied, PATIENCE_MS, `an answer to ${name}`);
}

/** The end of a call whose messages go elsewhere. */
function ending(call: NodeJS.EventEmitter): Promise<{ code: number; details: string }> {
  call.on('error', () => undefined);
  const ended = new Promise<{ code: number; details: string }>((resolve) => call.on('status', resolve));
  return within(ended, PATIENCE_MS, 'the status of a call');
}

function bidi(client: Client, options: CallOptions = {}) {
  return client.makeBidiStreamRequest('/test.Echo/Chat', same, same, options);
}

// ---- The suites --------------------------------------------------------------------------------------

function suite(io: IoBackend): void {
  describe(`gRPC (${io})`, () => {
    let edge: Edge;
    let doomed: Backend;
    const backends = new Map<string, Backend>();
    const clients = new Map<string, Client>();
    const at = (host: string): { client: Client; backend: Backend } => ({
      client: clients.get(host)!,
      backend: backends.get(host)!,
    });

    before(async () => {
      const plain = await new Backend().listen(ServerCredentials.createInsecure());
      const secure = await new Backend().listen(
        ServerCredentials.createSsl(null, [
          { private_key: Buffer.from(identity.key), cert_chain: Buffer.from(identity.cert) },
        ]),
      );
      backends.set('h2c.example', plain).set('tls.example', secure);
      doomed = await new Backend().listen(ServerCredentials.createInsecure());
      const route = (host: string, url: string, more: string): string =>
        `[host_routes."${host}"]\ntype = "Proxy"\nurl = "${url}"\n${more}\n`;
      edge = await startEdge('', {
        io,
        config: (port) =>
          [
            `[server]\nlisten = "127.0.0.1:${port}"\nthreads = 1`,
            `[tls]\ncert_path = "${certificate.certPath}"\nkey_path = "${certificate.keyPath}"`,
            route('h2c.example', `http://127.0.0.1:${plain.port}`, `use_h2c = true\n${STREAMS}`),
            route(
              'tls.example',
              `https://127.0.0.1:${secure.port}`,
              `ca_path = "${authority.certPath}"\n${STREAMS}`,
            ),
            route('doomed.example', `http://127.0.0.1:${doomed.port}`, 'use_h2c = true'),
            route('down.example', 'http://127.0.0.1:1', 'use_h2c = true'),
            route(
              'hasty.example',
              `http://127.0.0.1:${plain.port}`,
              'use_h2c = true\nsecurity = { backend_response_timeout_secs = 1 }',
            ),
          ].join('\n'),
      });
      for (const host of HOSTS) clients.set(host, channel(edge, host));
    });

    after(async () => {
      for (const client of clients.values()) client.close();
      await edge.stop();
      for (const { server } of [...backends.values(), doomed]) server.forceShutdown();
    });

    for (const host of ['h2c.example', 'tls.example']) {
      describe(`to ${host}`, () => {
        test('a unary call carries metadata both ways, text and bytes', async () => {
          const metadata = new Metadata();
          metadata.add('x-text', 'a');
          metadata.add('x-text', 'b, c');
          metadata.set('x-long', LONG);
          metadata.set('x-bytes-bin', Buffer.of(0, 1, 254, 255));
          const reply = await unary(at(host).client, 'Unary', 'hello', metadata);
          assert.equal(reply.error, null);
          assert.equal(reply.message.toString(), 'hello');
          assert.equal(reply.headers.get('x-text-back').join(', '), 'a, b, c');
          assert.deepEqual(reply.headers.get('x-bytes-back-bin'), [Buffer.of(0, 1, 254, 255)]);
          assert.deepEqual(reply.headers.get('x-authority'), [host]);
          assert.deepEqual(reply.trailers.get('x-end'), ['here']);
          assert.deepEqual(reply.trailers.get('x-long'), [LONG]);
          assert.equal((await unary(at(host).client, 'Unary', '')).message.length, 0);
        });

        test('statuses come with their details, in one head, before and after the request ended', async () => {
          const { client } = at(host);
          for (let code = 1; code <= 16; code++) {
            const { error, trailers } = await unary(client, 'Fail', String(code));
            assert.deepEqual([error?.code, error?.details], [code, DETAILS]);
            assert.deepEqual(trailers.get('x-reason-bin'), [Buffer.of(0, 255, 10)]);
          }
          const unknown = await unary(client, 'Nothing', '');
          assert.equal(unknown.error?.code, status.UNIMPLEMENTED);
          const refused = client.makeClientStreamRequest('/test.Echo/Refuse', same, same, () => undefined);
          refused.write(Buffer.from('a'));
          assert.deepEqual(await ending(refused).then(({ code, details }) => [code, details]), [
            status.PERMISSION_DENIED,
            'not you',
          ]);
        });

        test(`a server streams ${MESSAGES} messages`, async () => {
          const { client } = at(host);
          const call = client.makeServerStreamRequest(
            '/test.Echo/Count',
            same,
            same,
            Buffer.from(String(MESSAGES)),
          );
          const ended = ending(call);
          let index = 0;
          for await (const message of call) {
            assert.equal(message.toString(), `${index} ${'.'.repeat(index)}`);
            index++;
          }
          assert.equal(index, MESSAGES);
          assert.equal((await ended).code, status.OK);
        });

        test(`a client streams ${MESSAGES} messages`, async () => {
          const { client } = at(host);
          const parts = Array.from({ length: MESSAGES }, (_, index) => Buffer.alloc(index, index));
          const joined = new Promise<Buffer>((resolve, reject) => {
            const call = client.makeClientStreamRequest('/test.Echo/Join', same, same, (error, value) =>
              error === null && value !== undefined ? resolve(value) : reject(error),
            );
            for (const part of parts) call.write(part);
            call.end();
          });
          const told = await within(joined, PATIENCE_MS, 'the sum of a stream');
          assert.equal(told.toString(), `${MESSAGES} ${sha256(Buffer.concat(parts))}`);
        });

        test(`both stream, ${ROUNDS} times to and fro`, async () => {
          const call = bidi(at(host).client);
          const ended = ending(call);
          const messages = call[Symbol.asyncIterator]();
          for (let round = 0; round < ROUNDS; round++) {
            call.write(Buffer.from(`round ${round}`));
            const { value } = await within(messages.next(), PATIENCE_MS, `round ${round}`);
            assert.equal(String(value), `round ${round}`);
          }
          call.end();
          assert.equal((await messages.next()).done, true);
          assert.equal((await ended).code, status.OK);
        });

        test('a server ends in the middle of both streams', async () => {
          const call = bidi(at(host).client);
          const ended = ending(call);
          call.once('data', () => call.write(Buffer.from('fail')));
          call.write(Buffer.from('hello'));
          const { code, details } = await ended;
          assert.deepEqual([code, details], [status.ABORTED, 'enough']);
        });

        test('messages of 4 MiB pass both ways', async () => {
          const { client } = at(host);
          const { error, message } = await unary(client, 'Unary', large);
          assert.equal(error, null);
          assert.equal(sha256(message), sha256(large));
          const call = bidi(client);
          const ended = ending(call);
          let count = 0;
          call.on('data', (each: Buffer) => {
            assert.equal(sha256(each), sha256(large));
            if (++count === 3) call.end();
          });
          for (let index = 0; index < 3; index++) call.write(large);
          assert.equal((await ended).code, status.OK);
          assert.equal(count, 3);
        });

        test('a deadline reaches the backend; when it has passed, the call ends there too', async () => {
          const { client, backend } = at(host);
          const deadline = Date.now() + NEVER_MS;
          const lasting = client.makeServerStreamRequest(
            '/test.Echo/Feed',
            same,
            same,
            Buffer.from('lasting'),
            { deadline },
          );
          const ended = ending(lasting);
          await once(lasting, 'data');
          const told = backend.begun.get('lasting') ?? 0;
          assert.ok(Math.abs(told - deadline) < PATIENCE_MS, `${told} for ${deadline}`);
          lasting.cancel();
          assert.equal((await ended).code, status.CANCELLED);
          // On a slow machine a short one may pass before the call is there.
          for (let waitMs = 300; !backend.begun.has('late'); waitMs *= 2) {
            const deadline = Date.now() + waitMs;
            const late = await unary(client, 'Silent', 'late', new Metadata(), { deadline });
            assert.equal(late.error?.code, status.DEADLINE_EXCEEDED);
          }
          await until(() => backend.cancelled.has('late'), PATIENCE_MS, 'the end of the call at the backend');
        });

        test('a client that cancels is heard by the backend, before an answer and in the middle of one', async () => {
          const { client, backend } = at(host);
          const silent = client.makeUnaryRequest(
            '/test.Echo/Silent',
            same,
            same,
            Buffer.from('unanswered'),
            () => undefined,
          );
          const unanswered = ending(silent);
          await until(() => backend.begun.has('unanswered'), PATIENCE_MS, 'the call');
          silent.cancel();
          assert.equal((await unanswered).code, status.CANCELLED);
          await until(() => backend.cancelled.has('unanswered'), PATIENCE_MS, 'a call to be cancelled');
          const feed = client.makeServerStreamRequest('/test.Echo/Feed', same, same, Buffer.from('answered'));
          const answered = ending(feed);
          await once(feed, 'data');
          feed.cancel();
          assert.equal((await answered).code, status.CANCELLED);
          await until(() => backend.cancelled.has('answered'), PATIENCE_MS, 'a call to be cancelled');
          const chat = bidi(client);
          const chatted = ending(chat);
          chat.write(Buffer.from('hello'));
          await once(chat, 'data');
          chat.cancel();
          assert.equal((await chatted).code, status.CANCELLED);
          await until(() => backend.cancelled.has('chat'), PATIENCE_MS, 'both streams to be cancelled');
          assert.equal((await unary(client, 'Unary', 'after')).message.toString(), 'after');
        });

        test(`two channels make ${CALLS} calls each at once`, async () => {
          const channels = [channel(edge, host), channel(edge, host)];
          const replies = await Promise.all(
            channels.flatMap((client, side) =>
              Array.from({ length: CALLS }, (_, index) =>
                unary(client, 'Unary', `${side} ${index} ${'x'.repeat(index * 997)}`),
              ),
            ),
          );
          for (const [index, { error, message }] of replies.entries()) {
            assert.equal(error, null);
            const [side, number] = message.toString('latin1').split(' ');
            assert.equal(Number(side) * CALLS + Number(number), index);
          }
          for (const client of channels) client.close();
        });
      });
    }

    test('what the edge answers itself has a status of gRPC', async () => {
      const down = await unary(at('down.example').client, 'Unary', 'hello');
      assert.deepEqual([down.error?.code, down.error?.details], [status.UNAVAILABLE, '502 Bad Gateway']);
      const slow = await unary(at('hasty.example').client, 'Silent', 'slow');
      assert.deepEqual(
        [slow.error?.code, slow.error?.details],
        [status.DEADLINE_EXCEEDED, '504 Gateway Timeout'],
      );
      const backend = at('h2c.example').backend;
      await until(() => backend.cancelled.has('slow'), PATIENCE_MS, 'the end of the call at the backend');
      const nobody = await unary(at('nobody.example').client, 'Unary', 'hello');
      assert.deepEqual(
        [nobody.error?.code, nobody.error?.details],
        [status.UNKNOWN, '421 Misdirected Request'],
      );
    });

    test('a backend that stops in the middle ends its calls, and those after them are UNAVAILABLE', async () => {
      const client = clients.get('doomed.example')!;
      const call = bidi(client);
      const ended = ending(call);
      call.write(Buffer.from('hello'));
      await once(call, 'data');
      const silent = unary(client, 'Silent', 'silent');
      await until(() => doomed.begun.has('silent'), PATIENCE_MS, 'the call');
      doomed.server.forceShutdown();
      assert.ok([status.INTERNAL, status.CANCELLED].includes((await ended).code));
      const { error } = await silent;
      assert.ok(error !== null);
      const { error: next } = await unary(client, 'Unary', 'hello');
      assert.deepEqual([next?.code, next?.details], [status.UNAVAILABLE, '502 Bad Gateway']);
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
