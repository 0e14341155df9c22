/**
 * Random use of a reactor on the real kernel: many connections that send, stop, start, ask once, pause, shut
 * down, reset and close in any order, with few buffers. Every byte that arrives must be the one that was sent
 * there, no event may break the rules, and in the end nothing is left over. A failure prints its seed:
 * SALLYPORT_STRESS_SEED=… replays it (as far as the kernel's timing lets it).
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { LARGE, MEDIUM, NO_BUFFER, SMALL } from '../../src/io/buffer-pool.ts';
import { openReactor } from '../../src/io/open.ts';
import type { Handle, ListenerHandler, Reactor, SocketHandler } from '../../src/io/reactor.ts';

const SHAPE = { small: 64, medium: 96, large: 24 };
const STEPS = 6000;
const CONNECTIONS_MAX = 40;
const KEEP_MAX = 40;

/** What each side of a connection has sent, so that the other can check it: byte `i` of stream `salt`. */
function byteOf(salt: number, position: number): number {
  return (position * 7 + (position >> 8) * 13 + salt) & 255;
}

class Side implements SocketHandler {
  readonly stress: Stress;
  readonly reactor: Reactor;
  handle: Handle = 0;
  /** The stream that this side receives is known once its first byte names it. */
  readonly salt: number;
  sent = 0;
  received = 0;
  receivedSalt = -1;
  connected = false;
  ended = false;
  closed = false;
  closing = false;
  sendFailed = false;
  shut = false;
  nextTag = 1;
  toldTag = 0;

  constructor(stress: Stress, reactor: Reactor, salt: number) {
    this.stress = stress;
    this.reactor = reactor;
    this.salt = salt;
  }

  onConnect(handle: Handle, errno: number): void {
    this.event(handle);
    assert.equal(this.connected, false);
    if (errno < 0) this.closing = true;
    else this.connected = true;
  }

  onReceive(handle: Handle, buffer: number, offset: number, length: number): void {
    this.event(handle);
    assert.equal(this.ended, false, 'bytes after the end');
    const { bytes } = this.reactor.pool;
    if (this.receivedSalt < 0) this.receivedSalt = bytes[offset];
    for (let index = 0; index < length; index++) {
      if (bytes[offset + index] !== byteOf(this.receivedSalt, this.received + index)) {
        assert.fail(`wrong byte at ${this.received + index}`);
      }
    }
    this.received += length;
    this.stress.keepOrRelease(this.reactor, buffer);
    this.stress.act(this);
  }

  onReceiveEnd(handle: Handle): void {
    this.event(handle);
    assert.equal(this.ended, false, 'two ends');
    this.ended = true;
    this.stress.act(this);
  }

  onSend(handle: Handle, tag: number, result: number): void {
    this.event(handle);
    assert.equal(tag, this.toldTag + 1, 'a result out of order');
    this.toldTag = tag;
    if (result < 0) this.sendFailed = true;
    else assert.equal(this.sendFailed, false, 'a success after a failure');
    this.stress.act(this);
  }

  onClose(handle: Handle): void {
    this.event(handle);
    assert.ok(this.closing, 'nobody closed it');
    this.closed = true;
  }

  private event(handle: Handle): void {
    assert.ok(this.stress.turning, 'an event outside a turn');
    assert.equal(this.closed, false, 'an event after onClose');
    if (this.handle !== 0) assert.equal(handle, this.handle);
    this.handle = handle;
  }
}

class Stress implements ListenerHandler {
  readonly random: Random;
  readonly server: Reactor;
  readonly client: Reactor;
  readonly sides: Side[] = [];
  readonly kept: { readonly reactor: Reactor; readonly buffer: number }[] = [];
  turning = false;
  private salts = 0;
  private readonly listeners: Handle[] = [];

  constructor(seed: number, backend: string) {
    this.random = new Random(seed);
    this.server = openReactor({ shape: SHAPE, backend }).reactor;
    this.client = openReactor({ shape: SHAPE, backend }).reactor;
    const options = { backlog: 64, reusePort: false };
    const name = `\0sallyport-stress-${process.pid}-${seed}-${backend}`;
    this.listeners.push(
      this.server.listen({ family: 'ipv4', address: '127.0.0.1', port: 0 }, options, this),
      this.server.listen({ family: 'unix', path: name }, options, this),
    );
    assert.ok(this.listeners.every((listener) => listener > 0));
  }

  onAccept(_listener: Handle, handle: Handle): void {
    if (this.random.chance(0.05)) return;
    const side = new Side(this, this.server, this.newSalt());
    side.handle = handle;
    side.connected = true;
    this.sides.push(side);
    this.server.adopt(handle, side);
    this.act(side);
  }

  onAcceptError(_listener: Handle, errno: number): void {
    assert.fail(`accepting failed: ${errno}`);
  }

  run(): void {
    for (let step = 0; step < STEPS; step++) {
      const open = this.sides.filter((side) => !side.closing);
      if (open.length < CONNECTIONS_MAX && this.random.chance(0.2)) this.connect();
      for (let count = 0; count < 3 && open.length > 0; count++) {
        this.act(open[this.random.below(open.length)]);
      }
      if (this.random.chance(0.3)) this.releaseSome();
      if (this.random.chance(0.02)) this.toggleAccept();
      this.turn(this.random.chance(0.1) ? 1 : 0);
      if (step % 500 === 0) this.forgetClosed();
    }
    this.end();
  }

  /** Something at random with a socket, whatever its state. */
  act(side: Side): void {
    const { reactor, handle } = side;
    switch (this.random.below(14)) {
      case 0:
      case 1:
      case 2:
        this.send(side);
        break;
      case 3:
      case 4:
        reactor.receiveStart(handle);
        break;
      case 5:
      case 6:
        reactor.receiveOnce(handle);
        break;
      case 7:
        reactor.receiveStop(handle);
        break;
      case 8:
        if (this.random.chance(0.15)) {
          side.shut = true;
          reactor.shutdownSend(handle);
        }
        break;
      case 9:
        if (this.random.chance(0.25)) this.close(side, this.random.chance(0.5));
        break;
      default:
        break;
    }
  }

  keepOrRelease(reactor: Reactor, buffer: number): void {
    if (this.kept.length < KEEP_MAX && this.random.chance(0.4)) this.kept.push({ reactor, buffer });
    else reactor.pool.release(buffer);
  }

  private newSalt(): number {
    return this.salts++ & 255;
  }

  private connect(): void {
    const address = this.server.localAddress(this.listeners[this.random.below(2)]);
    const side = new Side(this, this.client, this.newSalt());
    const handle = this.client.connect(address, side);
    if (handle < 0) return;
    side.handle = handle;
    this.sides.push(side);
  }

  private send(side: Side): void {
    if (side.shut || side.closing) return;
    const { pool } = side.reactor;
    const sizeClass = [SMALL, MEDIUM, LARGE][this.random.below(3)] as 0 | 1 | 2;
    const buffer = pool.acquire(sizeClass);
    if (buffer === NO_BUFFER) return;
    const length = 1 + this.random.below(pool.sizeOf(buffer));
    const offset = pool.offsetOf(buffer);
    for (let index = 0; index < length; index++) {
      pool.bytes[offset + index] = byteOf(side.salt, side.sent + index);
    }
    // In pieces, so that several segments share one buffer.
    const cut = this.random.chance(0.5) ? this.random.below(length) : length;
    pool.retain(buffer);
    side.reactor.send(side.handle, buffer, offset, cut, this.random.chance(0.5) ? side.nextTag++ : 0);
    side.reactor.send(side.handle, buffer, offset + cut, length - cut, 0);
    side.sent += length;
  }

  private close(side: Side, abortive: boolean): void {
    side.closing = true;
    side.reactor.close(side.handle, abortive);
  }

  private toggleAccept(): void {
    const listener = this.listeners[this.random.below(2)];
    if (this.random.chance(0.5)) this.server.acceptPause(listener);
    else this.server.acceptResume(listener);
  }

  private releaseSome(): void {
    for (const { reactor, buffer } of this.kept.splice(0, this.random.below(KEEP_MAX))) {
      reactor.pool.release(buffer);
    }
  }

  private turn(waitMs: number): void {
    this.turning = true;
    this.server.turn(waitMs);
    this.client.turn(waitMs);
    this.turning = false;
  }

  private forgetClosed(): void {
    const living = this.sides.filter((side) => !side.closed);
    this.sides.splice(0, this.sides.length, ...living);
  }

  private end(): void {
    for (const { reactor, buffer } of this.kept.splice(0)) reactor.pool.release(buffer);
    for (const side of this.sides) if (!side.closing) this.close(side, this.random.chance(0.3));
    for (const listener of this.listeners) this.server.close(listener, false);
    const endMs = performance.now() + 60_000;
    const open = (): number => this.server.counters.handlesOpen + this.client.counters.handlesOpen;
    while (open() > 0) {
      assert.ok(performance.now() < endMs, `${open()} handles never closed`);
      for (const side of this.sides) if (!side.closing) this.close(side, false);
      this.turn(1);
      for (const { reactor, buffer } of this.kept.splice(0)) reactor.pool.release(buffer);
    }
    for (const side of this.sides) assert.ok(side.closed, 'a socket without its onClose');
    assert.equal(this.server.pool.heldCount(), 0, 'buffers of the server');
    assert.equal(this.client.pool.heldCount(), 0, 'buffers of the client');
    this.server.destroy();
    this.client.destroy();
  }
}

const named = process.env['SALLYPORT_STRESS_SEED'];
const seeds = named === undefined ? [1, 2, 3, 4] : [Number(named)];

for (const backend of ['uring', 'epoll']) {
  for (const seed of seeds) {
    test(`${backend}: ${STEPS} random steps break no rule and leave nothing (seed ${seed})`, () => {
      new Stress(seed, backend).run();
    });
  }
}
