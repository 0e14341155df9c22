/**
 * What the edge itself costs for a proxied exchange of 1 KiB: everything between a request's bytes and the response's
 * leaving, on a reactor that moves nothing. The routes and rules are those of bench/peers/sallyport.toml. Many connections
 * take turns in batches, as on a busy machine. Prints the best and the median of many short rounds: the best is what the
 * work takes, the rest is what else the machine did.
 */

import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TimerWheel } from '../../src/base/timer-wheel.ts';
import { loadConfig } from '../../src/config/load.ts';
import { EdgeWorker } from '../../src/edge/worker.ts';
import { arenaBytes, BufferPool, HEAD_ROOM_BYTES, MEDIUM } from '../../src/io/buffer-pool.ts';
import type {
  Handle,
  ListenerHandler,
  Reactor,
  ReactorCounters,
  SocketHandler,
} from '../../src/io/reactor.ts';
import { Log } from '../../src/log/log.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { median } from '../statistics.ts';

const CONNECTIONS = 64;
/** Requests that come in one turn: what the benchmark's 64 connections make. */
const BATCH = 13;
/** Short ones, so that some of them meet nobody else on the machine. */
const ROUNDS = 3000;
const EXCHANGES = 520;
const REQUEST =
  'GET /api/1k HTTP/1.1\r\nHost: bench.example.com\r\nUser-Agent: sallyport-bench/1\r\nAccept: */*\r\nX-Debug-Token: 0123456789abcdef\r\n\r\n';
const RESPONSE = `HTTP/1.1 200 OK\r\nX-Powered-By: origin\r\nContent-Length: 1024\r\n\r\n${'x'.repeat(1024)}`;

/** A reactor whose sockets belong to the benchmark. */
class StillReactor {
  readonly name = 'sim';
  readonly pool: BufferPool;
  readonly timers: TimerWheel;
  readonly counters: ReactorCounters;
  readonly handlers: SocketHandler[] = [];
  readonly connected: Handle[] = [];
  readonly sends: Int32Array = new Int32Array(4 * 1024);
  sendCount = 0;
  listener: ListenerHandler | null = null;
  nowMs = 1000;
  wallMs = 1.7e12;

  constructor() {
    const shape = { small: 1024, medium: 1024, large: 16 };
    this.pool = new BufferPool(new ArrayBuffer(arenaBytes(shape)), 0, shape);
    this.timers = new TimerWheel(this.nowMs);
    this.counters = {
      turns: 0,
      accepted: 0,
      acceptErrors: 0,
      connected: 0,
      handlesOpen: 0,
      bufferStarvations: 0,
      bytesReceived: 0,
      bytesSent: 0,
    };
    this.handlers.push(NOBODY);
  }
  listen(_address: SocketAddress, _options: unknown, handler: ListenerHandler): Handle {
    this.listener = handler;
    return this.open(NOBODY);
  }
  open(handler: SocketHandler): Handle {
    return this.handlers.push(handler) - 1;
  }
  localAddress(): SocketAddress {
    return { family: 'ipv4', address: '127.0.0.1', port: 80 };
  }
  peerAddress(): SocketAddress {
    return { family: 'ipv4', address: '127.0.0.1', port: 40000 };
  }
  acceptPause(): void {}
  acceptResume(): void {}
  adopt(handle: Handle, handler: SocketHandler): void {
    this.handlers[handle] = handler;
  }
  connect(_address: SocketAddress, handler: SocketHandler): Handle {
    const handle = this.open(handler);
    this.connected.push(handle);
    return handle;
  }
  receiveStart(): void {}
  receiveOnce(): void {}
  receiveStop(): void {}
  send(handle: Handle, buffer: number, _offset: number, length: number, tag: number): void {
    const at = this.sendCount++ << 2;
    this.sends[at] = handle;
    this.sends[at + 1] = buffer;
    this.sends[at + 2] = tag;
    this.sends[at + 3] = length;
  }
  sendQueuedBytes(): number {
    return 0;
  }
  sendAcknowledgedBytes(): number {
    return -1;
  }
  shutdownSend(): void {}
  close(): void {}
}

const NOBODY: SocketHandler = {
  onConnect(): void {},
  onReceive(): void {},
  onReceiveEnd(): void {},
  onSend(): void {},
  onClose(): void {},
};

// What a run of the benchmark asks for, but for the files: this reactor has none.
const text = readFileSync(join(import.meta.dirname, '../peers/sallyport.toml'), 'utf8')
  .replaceAll('{{ssl}}', '')
  .replaceAll('{{http2}}', 'false')
  .replaceAll('{{dir}}', '/srv')
  .replaceAll('{{port}}', '8080')
  .replaceAll('{{h2c-origin}}', '8082')
  .replaceAll('{{origin}}', '8081');
const still = new StillReactor();
const { pool } = still;
// File routes need a reactor with files.
const fileless = text.replaceAll(
  /type = "File"\npath = [^\n]*\n(?:mode = [^\n]*\n)?/g,
  'type = "Redirect"\nredirect_url = "https://www.example.com/"\n',
);
const { config, problems } = loadConfig(fileless, '/etc/bench.toml', {
  files: { kindOf: () => 'directory', isReachable: () => true },
});
assert.ok(config !== null, JSON.stringify(problems));
const worker = new EdgeWorker(still as unknown as Reactor, new Log(config.logging, {} as never));
const addresses = new Map<string, readonly SocketAddress[]>();
for (const { url } of config.upstreams.flatMap((upstream) => upstream.servers))
  addresses.set(url, [{ family: 'ipv4', address: '127.0.0.1', port: 8081 }]);
worker.configure(config, addresses);
worker.listen({ family: 'ipv4', address: '127.0.0.1', port: 80 });
const clients: Handle[] = [];
for (let index = 0; index < CONNECTIONS; index++) {
  const handle = still.open(NOBODY);
  still.listener?.onAccept(1, handle);
  clients.push(handle);
}

let answered = 0;
const sent = new Int32Array(4096);

/** All that was sent has left; whose it was is in `sent`. */
function complete(): number {
  const count = still.sendCount;
  still.sendCount = 0;
  still.counters.turns++;
  const { sends } = still;
  for (let index = 0; index < count; index++) {
    const at = index << 2;
    sent[index] = sends[at];
    pool.release(sends[at + 1]);
  }
  for (let index = 0; index < count; index++) still.handlers[sent[index]].onSend(sent[index], 1, 1);
  return count;
}

function run(exchanges: number): number {
  let costNs = 0n;
  let next = 0;
  for (let done = 0; done < exchanges; done += BATCH) {
    const requests: [Handle, number][] = [];
    for (let index = 0; index < BATCH; index++) {
      const buffer = pool.acquire(MEDIUM);
      pool.text.latin1Write(REQUEST, pool.offsetOf(buffer), REQUEST.length);
      requests.push([clients[next++ % CONNECTIONS], buffer]);
    }
    let from = process.hrtime.bigint();
    for (const [handle, buffer] of requests)
      still.handlers[handle].onReceive(handle, buffer, pool.offsetOf(buffer), REQUEST.length);
    costNs += process.hrtime.bigint() - from;
    for (const handle of still.connected.splice(0)) still.handlers[handle].onConnect(handle, 0);
    from = process.hrtime.bigint();
    const count = complete();
    costNs += process.hrtime.bigint() - from;
    assert.equal(count, BATCH);
    const responses: [Handle, number][] = [];
    for (let index = 0; index < count; index++) {
      const buffer = pool.acquire(MEDIUM);
      pool.text.latin1Write(RESPONSE, pool.offsetOf(buffer) + HEAD_ROOM_BYTES, RESPONSE.length);
      responses.push([sent[index], buffer]);
    }
    from = process.hrtime.bigint();
    for (const [handle, buffer] of responses)
      still.handlers[handle].onReceive(
        handle,
        buffer,
        pool.offsetOf(buffer) + HEAD_ROOM_BYTES,
        RESPONSE.length,
      );
    answered += complete();
    costNs += process.hrtime.bigint() - from;
    still.counters.turns++;
  }
  return Number(costNs) / exchanges;
}

run(50_000);
const costs: number[] = [];
for (let round = 0; round < ROUNDS; round++) costs.push(run(EXCHANGES));
costs.sort((a, b) => a - b);
process.stdout.write(
  `ns per exchange: best ${costs[0].toFixed(0)}, p2 ${costs[Math.floor(ROUNDS / 50)].toFixed(0)}, median ${median(costs).toFixed(0)} (${answered} answered)\n`,
);
