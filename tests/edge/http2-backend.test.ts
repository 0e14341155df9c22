/** Backends that speak HTTP/2, played by an engine: what is rare on real networks. Nothing may be left of anything. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { H2_CANCEL, H2_NO_ERROR, H2_REFUSED_STREAM } from '../../src/http2/constants.ts';
import { sectionOf } from '../http/section.ts';
import { End, type EndOptions, type TestStream } from '../http2/end.ts';
import {
  bodyOf,
  EdgeWorld,
  type EdgeWorldOptions,
  fieldsOf,
  get,
  type Origin,
  ok,
  type Peer,
  statuses,
  withBody,
} from './edge-world.ts';

const H2C = 'use_h2c = true';

/** The ends of an origin's connections, oldest first. */
class Http2Origin {
  readonly origin: Origin;
  readonly ends: End[] = [];
  private readonly peers: Peer[] = [];

  constructor(world: EdgeWorld, options: EndOptions, port = 8080) {
    this.origin = world.origin(port);
    this.origin.onText = (peer) => {
      let at = this.peers.indexOf(peer);
      if (at < 0) {
        at = this.peers.push(peer) - 1;
        this.ends.push(new End(true, options));
      }
      this.ends[at].receive(Buffer.from(peer.take(), 'latin1'));
      this.flush();
    };
  }

  /** What the ends have written leaves. */
  flush(): void {
    for (const [index, end] of this.ends.entries()) {
      const output = end.flush();
      if (output.length > 0) this.peers[index].send(output.toString('latin1'));
    }
  }

  peer(index: number): Peer {
    return this.peers[index];
  }

  get streams(): TestStream[] {
    return this.ends.flatMap(({ all }) => all);
  }
}

/** A world with one such backend; `run` may leave it as it likes. */
function play(
  options: EndOptions,
  run: (world: EdgeWorld, origin: Http2Origin) => void,
  route: EdgeWorldOptions = {},
): void {
  const world = new EdgeWorld({ route: H2C, ...route });
  const origin = new Http2Origin(world, options);
  run(world, origin);
  world.end();
}

function answers(origin: () => Http2Origin, body: string): (stream: TestStream) => void {
  return (stream) => endOf(origin(), stream).respond(stream, 200, [], Buffer.from(body));
}

function endOf(origin: Http2Origin, stream: TestStream): End {
  const end = origin.ends.find(({ all }) => all.includes(stream));
  assert.ok(end !== undefined);
  return end;
}

/** The same, where each request is answered at once. */
function playAnswering(
  run: (world: EdgeWorld, origin: Http2Origin) => void,
  route: EdgeWorldOptions = {},
  options: EndOptions = {},
): void {
  let origin: Http2Origin | null = null;
  const found = (): Http2Origin => {
    assert.ok(origin !== null);
    return origin;
  };
  play(
    { ...options, onRequest: answers(found, 'hello') },
    (world, created) => {
      origin = created;
      run(world, created);
    },
    route,
  );
}

describe('a connection to a backend that speaks HTTP/2', () => {
  it('carries one request after another', () => {
    playAnswering((world, origin) => {
      const client = world.client(get('/a'));
      assert.equal(bodyOf(client.take()), '5\r\nhello\r\n0\r\n\r\n');
      client.send(get('/b') + get('/c'));
      world.settle();
      assert.deepEqual(statuses(client.take()), [200, 200]);
      assert.deepEqual(
        origin.streams.map(({ path }) => path),
        ['/a', '/b', '/c'],
      );
      assert.equal(origin.ends.length, 1);
    });
  });

  it('closes with GOAWAY when it has idled for long enough', () => {
    playAnswering(
      (world, origin) => {
        world.client(get());
        world.pass(4000);
        assert.equal(origin.ends[0].goaway, null);
        world.pass(2000);
        assert.deepEqual(origin.ends[0].goaway, [0, H2_NO_ERROR]);
        assert.notEqual(origin.peer(0).end, null);
      },
      { security: 'idle_connection_timeout_secs = 5' },
    );
  });

  it('idles anew after each request', () => {
    playAnswering(
      (world, origin) => {
        const client = world.client();
        for (let count = 0; count < 4; count++) {
          client.send(get());
          world.pass(3000);
        }
        assert.deepEqual(statuses(client.take()), [200, 200, 200, 200]);
        assert.equal(origin.ends.length, 1);
      },
      { security: 'idle_connection_timeout_secs = 5' },
    );
  });

  it('is not kept where none may idle', () => {
    playAnswering(
      (world, origin) => {
        const client = world.client(get());
        client.send(get());
        world.settle();
        assert.deepEqual(statuses(client.take()), [200, 200]);
        assert.equal(origin.ends.length, 2);
        assert.notEqual(origin.peer(0).end, null);
      },
      { security: 'max_idle_connections_per_host = 0' },
    );
  });

  it('that is answered in HTTP/1.1 carries no request', () => {
    const world = new EdgeWorld({ route: H2C });
    const origin = world.origin();
    origin.answers('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
    const client = world.client(get('/secret'));
    assert.deepEqual(statuses(client.take()), [502]);
    assert.equal(origin.peers.length, 1);
    world.end();
  });

  it('that is not answered is given up in time', () => {
    const world = new EdgeWorld({ route: H2C, security: 'backend_connect_timeout_secs = 3' });
    world.origin();
    const client = world.client(get());
    assert.equal(client.text, '');
    world.pass(3500);
    assert.deepEqual(statuses(client.take()), [504]);
    world.end();
  });

  it('that nobody listens for is 502', () => {
    const world = new EdgeWorld({ route: H2C });
    const client = world.client(get());
    assert.deepEqual(statuses(client.take()), [502]);
    world.end();
  });

  it('that does not say a word any more gets no further request', () => {
    play(
      {},
      (world, origin) => {
        const client = world.client(get('/a'));
        world.pass(4000);
        assert.deepEqual(statuses(client.take()), [504]);
        assert.equal(origin.streams[0].resetCode, H2_CANCEL);
        world.client(get('/b'));
        assert.equal(origin.ends.length, 2);
        assert.equal(origin.ends[1].all[0].path, '/b');
      },
      { security: 'backend_response_timeout_secs = 2' },
    );
  });
});

describe('a request over HTTP/2', () => {
  it('that a GOAWAY leaves out goes over another connection, with its content', () => {
    play({}, (world, origin) => {
      const client = world.client(withBody('POST', '/p', 'content'));
      const [end] = origin.ends;
      assert.equal(end.all.length, 1);
      end.engine.lastPeerId = 0;
      end.engine.leave();
      origin.flush();
      world.settle();
      assert.equal(origin.ends.length, 2);
      const [again] = origin.ends[1].all;
      assert.equal(Buffer.concat(again.content).toString(), 'content');
      origin.ends[1].respond(again, 200, [], Buffer.from('done'));
      origin.flush();
      world.settle();
      assert.deepEqual(statuses(client.take()), [200]);
    });
  });

  it('that is refused twice is 502', () => {
    let origin: Http2Origin | null = null;
    play(
      {
        onRequest: (stream) => {
          assert.ok(origin !== null);
          endOf(origin, stream).engine.reset(stream, H2_REFUSED_STREAM);
        },
      },
      (world, created) => {
        origin = created;
        const client = world.client(withBody('POST', '/p', 'content'));
        assert.deepEqual(statuses(client.take()), [502]);
        assert.equal(created.streams.length, 2);
      },
    );
  });

  it('whose connection dies is sent once more if that can do no harm', () => {
    playAnswering((world, origin) => {
      world.client(get('/warm'));
      origin.origin.onText = () => undefined;
      const clients = Array.from({ length: 10 }, (_, index) => world.client(get(`/${index}`)));
      const post = world.client(withBody('POST', '/p', 'content'));
      assert.equal(origin.origin.peers.length, 1);
      origin.origin.peers[0].reset();
      world.settle();
      assert.deepEqual(statuses(post.take()), [502]);
      assert.equal(origin.origin.peers.length, 2, 'one connection for all of them');
      assert.ok(clients.every(({ text }) => text === ''));
    });
  });

  it('whose client goes away is cancelled, and its connection goes on', () => {
    play({}, (world, origin) => {
      const client = world.client(get('/a'));
      client.reset();
      world.settle();
      assert.equal(origin.streams[0].resetCode, H2_CANCEL);
      const other = world.client(get('/b'));
      origin.ends[0].respond(origin.streams[1], 200, [], Buffer.from('x'));
      origin.flush();
      world.settle();
      assert.deepEqual(statuses(other.take()), [200]);
      assert.equal(origin.ends.length, 1);
    });
  });

  it('whose client goes away before the connection is there leaves nothing', () => {
    const world = new EdgeWorld({ route: H2C });
    world.origin();
    const client = world.client(get('/a'));
    client.reset();
    world.settle();
    world.end();
  });

  it('keeps what the backend takes no window for, and stops its client', () => {
    const size = 4_000_000;
    play(
      { consumes: false },
      (world, origin) => {
        const client = world.client(withBody('POST', '/p', 'x'.repeat(size)));
        world.pass(1000);
        const [stream] = origin.streams;
        assert.equal(stream.receivedBytes, 65_535);
        for (let round = 0; round < 200 && !stream.ended; round++) {
          origin.ends[0].engine.consumed(stream, stream.heldBytes);
          origin.flush();
          world.settle();
        }
        assert.equal(stream.receivedBytes, size);
        origin.ends[0].respond(stream, 200, [], Buffer.from('done'));
        origin.flush();
        world.settle();
        assert.deepEqual(statuses(client.take()), [200]);
      },
      { security: 'max_request_body_size = 10000000' },
    );
  });
});

describe('a response over HTTP/2', () => {
  it('waits for a client that does not read, and others do not', () => {
    play({}, (world, origin) => {
      const slow = world.client();
      slow.stopReading();
      slow.send(get('/slow'));
      world.settle();
      const [end] = origin.ends;
      const [stream] = end.all;
      end.respond(stream, 200, [], Buffer.alloc(8_000_000));
      origin.flush();
      for (let round = 0; round < 20; round++) world.settle();
      assert.ok(stream.pendingBytes > 4_000_000, `${stream.pendingBytes} bytes wait`);
      const other = world.client(get('/other'));
      end.respond(end.all[1], 200, [], Buffer.alloc(3_000_000));
      origin.flush();
      for (let round = 0; round < 50; round++) world.settle();
      assert.ok(other.bytes > 3_000_000);
      slow.read();
      for (let round = 0; round < 200; round++) world.settle();
      assert.ok(slow.bytes > 8_000_000);
    });
  });

  it('that is shorter than it said is 502 while nothing of it has left, and cut afterwards', () => {
    play({}, (world, origin) => {
      const first = world.client(get('/a'));
      const [end] = origin.ends;
      const declared: [string, string][] = [['content-length', '10']];
      end.respond(end.all[0], 200, declared, Buffer.from('short'));
      origin.flush();
      world.settle();
      assert.deepEqual(statuses(first.take()), [502]);
      const second = world.client(get('/b'));
      const [, stream] = end.all;
      end.engine.respond(stream, 200, sectionOf(declared), -1, false);
      stream.queue = Buffer.from('short');
      end.engine.offer(stream, 5);
      origin.flush();
      world.settle();
      assert.equal(bodyOf(second.text), 'short');
      end.engine.end(stream);
      origin.flush();
      world.settle();
      assert.equal(bodyOf(second.text), 'short');
      assert.notEqual(second.end, null);
    });
  });

  it('with a field of HTTP/1.1 is 502', () => {
    const world = new EdgeWorld({ route: H2C });
    const origin = world.origin();
    // SETTINGS; then HEADERS: :status 200, `connection: x` as a literal.
    const headers = '\x88\x00\x0aconnection\x01x';
    origin.onText = (peer) => {
      const text = peer.take();
      if (text.startsWith('PRI')) peer.send('\0\0\0\x04\0\0\0\0\0');
      if (text.includes('\x01\x05\0\0\0\x01'))
        peer.send(`\0\0${String.fromCharCode(headers.length)}\x01\x05\0\0\0\x01${headers}`);
    };
    const client = world.client(get('/a'));
    assert.deepEqual(statuses(client.take()), [502]);
    world.end();
  });

  it('came in version 2.0', () => {
    playAnswering(
      (world) => {
        assert.deepEqual(fieldsOf(world.client(get()).take(), 'via'), ['2.0 sallyport']);
      },
      { server: 'via = true' },
    );
  });

  it('to HTTP/1.0 is what it would be to HTTP/1.1', () => {
    playAnswering((world) => {
      const client = world.client('GET / HTTP/1.0\r\nHost: example.com\r\n\r\n');
      assert.equal(bodyOf(client.take()), 'hello');
    });
  });
});

describe('a server that speaks HTTP/2', () => {
  it('is another one than the same that does not', () => {
    const world = new EdgeWorld({ route: H2C });
    new Http2Origin(world, {});
    world.reload({});
    const plain = world.origins[0];
    plain.answers(ok('plain'));
    const client = world.client(get());
    assert.equal(bodyOf(client.take()), 'plain');
    world.end();
  });

  it('that is no longer named loses its connections', () => {
    playAnswering((world, origin) => {
      world.client(get());
      assert.equal(origin.peer(0).end, null);
      world.reload({});
      world.settle();
      assert.notEqual(origin.peer(0).end, null);
    });
  });
});

/** A network on which all goes wrong, now and then. */
const ROUGH: EdgeWorldOptions['faults'] = {
  reorder: 0.3,
  partialReceive: 0.2,
  shortSend: 0.2,
  windowBytesMin: 4096,
  latencyMsMax: 20,
  reset: 0.1,
  resetMsMax: 5000,
  refuse: 0.05,
  slowConnect: 0.1,
  stallMsMax: 500,
  deadConnect: 0.05,
  starve: 0.02,
  connectFailure: 0.02,
  offsetReceive: 0.3,
  late: 0.3,
  resetDiscards: 0.5,
};

describe('whatever happens', () => {
  for (let seed = 1; seed <= 60; seed++) {
    it(`nothing is left (seed ${seed})`, () => {
      const random = dice(seed);
      const world = new EdgeWorld({
        route: H2C,
        seed,
        faults: seed % 2 === 0 ? ROUGH : {},
        security:
          'backend_response_timeout_secs = 2\nbackend_connect_timeout_secs = 2\nmax_request_body_size = 10000000',
      });
      const origin = new Http2Origin(world, {
        settings: { maxConcurrentStreams: 1 + random(6) },
        onRequest: (stream) => {
          const end = endOf(origin, stream);
          const choice = random(6);
          if (choice === 0) end.engine.reset(stream, random(14));
          else if (choice === 1) end.engine.leave();
          else if (choice < 5)
            end.respond(stream, 200, [], random(2) === 0 ? null : Buffer.alloc(random(400_000)));
        },
      });
      const clients: Peer[] = [];
      for (let step = 0; step < 60; step++) {
        const choice = random(8);
        const client = clients[random(clients.length)];
        if (choice < 3) clients.push(world.client(get(`/${step}`)));
        else if (choice === 3)
          clients.push(world.client(withBody('POST', '/p', 'x'.repeat(random(300_000)))));
        else if (choice === 4) client?.reset();
        else if (choice === 5) client?.stopReading();
        else if (choice === 6 && random(3) === 0 && origin.ends.length > 0)
          origin.peer(random(origin.ends.length)).reset();
        else world.pass(random(1500));
        origin.flush();
      }
      world.end();
    });
  }
});

/** Numbers from 0 to below `limit`, the same for the same seed. */
function dice(seed: number): (limit: number) => number {
  let state = seed * 2654435761;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.trunc((state / 2 ** 32) * limit);
  };
}
