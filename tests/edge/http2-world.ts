/** A simulated world with HTTP/2 clients. */

import assert from 'node:assert/strict';
import { ClientAddress } from '../../src/edge/client-address.ts';
import { Http2Connection } from '../../src/edge/http2-connection.ts';
import { Http2Shared } from '../../src/edge/http2-shared.ts';
import { SCHEME_HTTP } from '../../src/http/message.ts';
import type { Http2Settings } from '../../src/http2/settings.ts';
import type { Handle, ListenerHandler } from '../../src/io/reactor.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { End, type EndOptions, type Fields, type TestStream } from '../http2/end.ts';
import { EdgeWorld, type EdgeWorldOptions, type Origin, type Peer } from './edge-world.ts';

export const H2: SocketAddress = { family: 'ipv4', address: '10.0.0.1', port: 81 };

/** A world whose edge speaks HTTP/2 with prior knowledge on one more port. */
export class Http2World implements ListenerHandler {
  readonly world: EdgeWorld;
  readonly shared: Http2Shared;
  readonly origin: Origin;
  readonly connections: Http2Connection[] = [];
  private readonly listener: Handle;

  constructor(options: EdgeWorldOptions = {}, settings: Partial<Http2Settings> = {}) {
    this.world = new EdgeWorld(options);
    const { edge } = this.world;
    const config = { ...this.world.worker.config.http2, ...settings };
    this.shared = new Http2Shared(edge.pool, config, this.world.worker.shared.strikes);
    this.listener = edge.listen(H2, { backlog: 100, reusePort: false }, this);
    this.origin = this.world.origin();
  }

  onAccept(_listener: Handle, handle: Handle): void {
    const { edge, worker } = this.world;
    const client = ClientAddress.of(edge.peerAddress(handle));
    worker.shared.connections.take(client.words, 0, 0);
    const connection = new Http2Connection(worker, edge, handle, client, SCHEME_HTTP, null, this.shared);
    edge.adopt(handle, connection);
    this.connections.push(connection);
    connection.start();
  }

  onAcceptError(): void {}

  client(options: EndOptions = {}): Http2Client {
    const client = new Http2Client(this.world.client('', H2), this.world, options);
    client.settle();
    return client;
  }

  end(): void {
    this.world.edge.close(this.listener, false);
    for (const connection of this.connections) connection.shutdown();
    this.world.pass(5000);
    this.shared.leave();
    this.world.end();
  }
}

export class Http2Client {
  readonly end: End;
  readonly peer: Peer;
  private readonly world: EdgeWorld;

  constructor(peer: Peer, world: EdgeWorld, options: EndOptions) {
    this.end = new End(false, options);
    this.peer = peer;
    this.world = world;
    peer.onText = () => {
      this.end.receive(Buffer.from(peer.take(), 'latin1'));
      this.flush();
    };
    this.flush();
  }

  flush(): void {
    const output = this.end.flush();
    if (output.length > 0) this.peer.send(output.toString('latin1'));
  }

  settle(): void {
    this.flush();
    this.world.settle();
  }

  request(
    methodId: number,
    method: string,
    path: string,
    fields: Fields = [],
    content: Buffer | null = null,
    protocol = '',
  ): TestStream {
    const stream = this.end.request(
      methodId,
      method,
      path,
      fields,
      content === null && protocol === '',
      protocol,
    );
    assert.ok(stream !== null);
    if (content !== null) this.end.finish(stream, content);
    this.settle();
    return stream;
  }
}
