/** A server whose name gets other addresses while it is used. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { End } from '../http2/end.ts';
import { bodyOf, EdgeWorld, get, type Origin, ok } from './edge-world.ts';

const URL = 'http://both.test:8080';
const CONFIG = `[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "${URL}"\n`;

function at(...addresses: string[]): Map<string, readonly SocketAddress[]> {
  return new Map([[URL, addresses.map((address) => ({ family: 'ipv4', address, port: 8080 }))]]);
}

/** An origin on an address of its own, which answers with it. */
function named(world: EdgeWorld, address: string): Origin {
  const origin = world.origin({ family: 'ipv4', address, port: 8080 });
  origin.answers(ok(address));
  return origin;
}

/** An origin on an address of its own that speaks HTTP/2, and answers when it is told to. */
class Http2Origin {
  readonly origin: Origin;
  readonly ends: End[] = [];

  constructor(world: EdgeWorld, address: string) {
    this.origin = world.origin({ family: 'ipv4', address, port: 8080 });
    this.origin.onText = (peer) => {
      if (this.ends.length < this.origin.peers.length) this.ends.push(new End(true));
      this.end.receive(Buffer.from(peer.take(), 'latin1'));
      this.flush();
    };
  }

  private get end(): End {
    return this.ends[this.ends.length - 1];
  }

  private flush(): void {
    const output = this.end.flush();
    if (output.length > 0) this.origin.last.send(output.toString('latin1'));
  }

  /** Answers the last request. */
  respond(body: string): void {
    this.end.respond(
      this.end.all[this.end.all.length - 1],
      200,
      [['content-length', String(body.length)]],
      Buffer.from(body),
    );
    this.flush();
  }
}

function ask(world: EdgeWorld): string {
  const client = world.client(get());
  world.settle();
  const body = bodyOf(client.text);
  client.close();
  world.settle();
  return body;
}

describe('a server whose name gets other addresses', () => {
  it('is asked at the new ones, in turn, and what idles at the old ones is closed', () => {
    const world = new EdgeWorld({ config: CONFIG });
    world.worker.readdress(at('10.0.0.4', '10.0.0.5'));
    const [four, five, six] = ['10.0.0.4', '10.0.0.5', '10.0.0.6'].map((each) => named(world, each));
    for (const origin of [four, five, six]) origin.onText = null;
    for (let each = 0; each < 2; each++) world.client(get());
    for (const origin of [four, five]) {
      assert.equal(origin.peers.length, 1);
      origin.last.send(ok('first'));
    }
    world.settle();
    world.worker.readdress(at('10.0.0.5', '10.0.0.6'));
    world.settle();
    assert.equal(four.last.end, 0);
    assert.equal(five.last.end, null);
    // The one that idles, then new ones at both.
    for (let each = 0; each < 3; each++) world.client(get());
    world.settle();
    assert.deepEqual(
      [four, five, six].map(({ peers }) => peers.length),
      [1, 2, 1],
    );
    world.end();
  });

  it('finishes what is under way at an old one, and closes it then', () => {
    const world = new EdgeWorld({ config: CONFIG });
    world.worker.readdress(at('10.0.0.4'));
    const four = named(world, '10.0.0.4');
    four.onText = null;
    const client = world.client(get());
    assert.match(four.last.text, /^GET/);
    world.worker.readdress(at('10.0.0.5'));
    world.settle();
    assert.equal(four.last.end, null);
    four.last.send(ok('late'));
    world.settle();
    assert.equal(bodyOf(client.text), 'late');
    assert.equal(four.last.end, 0);
    world.end();
  });

  it('over HTTP/2: streams that are open end where they are, new ones go elsewhere', () => {
    const world = new EdgeWorld({ config: `${CONFIG}use_h2c = true\n` });
    world.worker.readdress(at('10.0.0.4'));
    const [four, five] = ['10.0.0.4', '10.0.0.5'].map((each) => new Http2Origin(world, each));
    const waiting = world.client(get());
    world.settle();
    assert.equal(four.ends.length, 1);
    world.worker.readdress(at('10.0.0.5'));
    const next = world.client(get());
    world.settle();
    five.respond('new');
    world.settle();
    assert.equal(bodyOf(next.text), 'new');
    assert.equal(four.origin.last.end, null);
    four.respond('late');
    world.settle();
    assert.equal(bodyOf(waiting.text), 'late');
    assert.equal(four.origin.last.end, 0);
    assert.deepEqual(four.ends[0].goaway, [0, 0]);
    world.end();
  });

  it('keeps its connections when nothing but the order has changed', () => {
    const world = new EdgeWorld({ config: CONFIG });
    world.worker.readdress(at('10.0.0.4', '10.0.0.5'));
    const four = named(world, '10.0.0.4');
    named(world, '10.0.0.5');
    assert.equal(ask(world), '10.0.0.4');
    world.worker.readdress(at('10.0.0.5', '10.0.0.4'));
    world.settle();
    assert.equal(four.last.end, null);
    assert.equal(ask(world), '10.0.0.4');
    assert.equal(four.peers.length, 1);
    world.end();
  });

  it('is tried at the next address where the first refuses, within the same request', () => {
    const world = new EdgeWorld({ config: CONFIG });
    world.worker.readdress(at('10.0.0.4', '10.0.0.5', '10.0.0.6'));
    named(world, '10.0.0.6');
    assert.equal(ask(world), '10.0.0.6');
    world.end();
  });

  it('does nothing for servers that nobody has', () => {
    const world = new EdgeWorld({ config: CONFIG });
    world.worker.readdress(new Map([['http://elsewhere.test:1', []]]));
    world.end();
  });
});
