/** One busy peer must not have a whole turn to itself. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LARGE, LARGE_BYTES } from '../../src/io/buffer-pool.ts';
import { openReactor } from '../../src/io/open.ts';
import type { Handle, SocketHandler } from '../../src/io/reactor.ts';

const SHAPE = { small: 4, medium: 1024, large: 64 };
const BYTES_PER_TURN_MAX = 163840;
const TOTAL = 16 * LARGE_BYTES;

for (const backend of ['uring', 'epoll']) {
  test(`${backend}: of megabytes that wait in one socket, a turn delivers at most 160 KiB`, () => {
    const server = openReactor({ shape: SHAPE, backend }).reactor;
    const client = openReactor({ shape: SHAPE, backend }).reactor;
    let received = 0;
    let accepted: Handle = 0;
    const sink: SocketHandler = {
      onConnect(): void {},
      onReceive(_handle, buffer, _offset, length): void {
        received += length;
        server.pool.release(buffer);
      },
      onReceiveEnd(): void {},
      onSend(): void {},
      onClose(): void {},
    };
    const listener = server.listen(
      { family: 'ipv4', address: '127.0.0.1', port: 0 },
      { backlog: 4, reusePort: false },
      {
        onAccept(_listener, handle): void {
          accepted = handle;
          server.adopt(handle, sink);
        },
        onAcceptError(): void {},
      },
    );
    const source = client.connect(server.localAddress(listener), sink);
    for (let turns = 0; turns < 50; turns++) {
      server.turn(0);
      client.turn(1);
      if (turns !== 20) continue;
      for (let count = 0; count < 16; count++) {
        const buffer = client.pool.acquire(LARGE);
        client.send(source, buffer, client.pool.offsetOf(buffer), LARGE_BYTES, 0);
      }
    }
    server.receiveStart(accepted);
    let turnsWithBytes = 0;
    for (let turns = 0; received < TOTAL && turns < 10_000; turns++) {
      const before = received;
      server.turn(0);
      client.turn(0);
      assert.ok(received - before <= BYTES_PER_TURN_MAX, `${received - before} bytes in one turn`);
      if (received > before) turnsWithBytes++;
    }
    assert.equal(received, TOTAL);
    assert.ok(turnsWithBytes >= TOTAL / BYTES_PER_TURN_MAX);
    server.destroy();
    client.destroy();
  });
}
