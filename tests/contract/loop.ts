/** The reactor inside Node: neither of the two loops starves the other. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Timer } from '../../src/base/timer-wheel.ts';
import type { BufferId } from '../../src/io/buffer-pool.ts';
import { type RunningReactor, runReactor } from '../../src/io/loop.ts';
import { openReactor } from '../../src/io/open.ts';
import type { Handle, ListenerHandler, Reactor, SocketHandler } from '../../src/io/reactor.ts';

const SHAPE = { small: 16, medium: 128, large: 8 };

/** Sends back what comes. */
class Echo implements ListenerHandler, SocketHandler {
  private readonly reactor: Reactor;

  constructor(reactor: Reactor) {
    this.reactor = reactor;
  }

  onAccept(_listener: Handle, handle: Handle): void {
    this.reactor.adopt(handle, this);
    this.reactor.receiveStart(handle);
  }

  onAcceptError(): void {
    assert.fail('accepting failed');
  }

  onConnect(): void {
    assert.fail('nothing connects here');
  }

  onReceive(handle: Handle, buffer: BufferId, offset: number, length: number): void {
    this.reactor.send(handle, buffer, offset, length, 0);
  }

  onReceiveEnd(handle: Handle): void {
    this.reactor.close(handle, false);
  }

  onSend(): void {
    // No segment has a tag.
  }

  onClose(): void {
    // Nothing is kept for a connection.
  }
}

export function loopRules(name: string, backend: string): void {
  describe(`${name}: inside Node`, () => {
    const { reactor } = openReactor({ shape: SHAPE, backend });
    let running: RunningReactor | null = null;
    before(() => {
      running = runReactor(reactor);
    });
    after(async () => {
      running?.stop();
      // The loop looks at `stop` after the turn in which it is.
      await new Promise((resolve) => setTimeout(resolve, 120));
      reactor.destroy();
    });
    test("Node's timers, promises and sockets go on beside an idle reactor", nodeGoesOn);
    test("the reactor serves a busy client while Node's timers fire", () => bothServe(reactor));
    test("the reactor's timers fire on time", () => timersFire(reactor));
  });
}

async function nodeGoesOn(): Promise<void> {
  const timers: number[] = [];
  for (let count = 0; count < 9; count++) {
    const start = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 20));
    timers.push(performance.now() - start);
  }
  assert.ok(Math.min(...timers) >= 19 && quick(timers) < 90, `setTimeout of 20 ms took ${timers} ms`);
  const server = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const trips: number[] = [];
  for (let count = 0; count < 20; count++) {
    const start = performance.now();
    socket.write(`hello ${count}`);
    const [data] = await once(socket, 'data');
    assert.equal(String(data), `hello ${count}`);
    trips.push(performance.now() - start);
  }
  assert.ok(quick(trips) < 30, `round trips of Node's own sockets took ${trips} ms`);
  socket.destroy();
  server.close();
  await once(server, 'close');
}

/** A quarter took no longer: what a busy machine does to the others changes nothing, and a loop that starves does it to all. */
function quick(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 2];
}

async function bothServe(reactor: Reactor): Promise<void> {
  const echo = new Echo(reactor);
  const options = { backlog: 16, reusePort: false };
  const listener = reactor.listen({ family: 'ipv4', address: '127.0.0.1', port: 0 }, options, echo);
  const address = reactor.localAddress(listener);
  assert.ok(address.family !== 'unix');
  const ticks: number[] = [];
  let tickedMs = performance.now();
  const ticking = setInterval(() => {
    ticks.push(performance.now() - tickedMs);
    tickedMs = performance.now();
  }, 5);
  const socket = connect(address.port, address.address);
  await once(socket, 'connect');
  const deadlineMs = performance.now() + 10_000;
  const trips: number[] = [];
  while ((trips.length < 100 || ticks.length < 15) && performance.now() < deadlineMs) {
    const start = performance.now();
    socket.write('ping');
    const [data] = await once(socket, 'data');
    assert.equal(String(data), 'ping');
    trips.push(performance.now() - start);
  }
  clearInterval(ticking);
  assert.ok(trips.length >= 100 && quick(trips) < 20, `${trips.length} round trips took ${quick(trips)} ms`);
  assert.ok(ticks.length >= 15 && quick(ticks) < 60, `${ticks.length} ticks of 5 ms took ${quick(ticks)} ms`);
  socket.end();
  await once(socket, 'close');
  reactor.close(listener, false);
}

async function timersFire(reactor: Reactor): Promise<void> {
  const tookMs: number[] = [];
  for (let count = 0; count < 5; count++) {
    const start = performance.now();
    await new Promise<void>((resolve) => {
      const timer = new Timer({ onTimer: () => resolve() }, 0);
      reactor.timers.arm(timer, Math.floor(performance.now()) + 30);
    });
    tookMs.push(performance.now() - start);
  }
  assert.ok(Math.min(...tookMs) >= 28 && quick(tookMs) < 160, `a timer of 30 ms took ${tookMs} ms`);
}
