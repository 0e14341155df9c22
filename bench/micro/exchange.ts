/**
 * What the edge itself costs for a proxied exchange of 1 KiB: everything between a request's bytes and the response's
 * leaving, on a reactor that moves nothing. The routes and rules are those of bench/peers/sallyport.toml. Many connections
 * take turns in batches, as on a busy machine. Prints the best and the median of many short rounds: the best is what the
 * work takes, the rest is what else the machine did. Once with heads that come again and again, once with heads of which
 * nearly every line is new, for which nothing that is remembered of lines is of use, and once with caches that others have
 * used before each batch, as the kernel does in production: then what counts is how much memory an exchange touches.
 */

import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TimerWheel } from '../../src/base/timer-wheel.ts';
import { loadConfig } from '../../src/config/load.ts';
import { EdgeWorker } from '../../src/edge/worker.ts';
import { arenaBytes, BufferPool, HEAD_ROOM_BYTES, MEDIUM } from '../../src/io/buffer-pool.ts';
import {
  type Handle,
  type ListenerHandler,
  type Reactor,
  ReactorCounters,
  type SocketHandler,
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
/** What others use of the caches between two batches: more than the first level holds, and most of the second. */
const OTHERS_BYTES = 1 << 20;
/** Content of a response. */
const CONTENT = 'x'.repeat(1024);

/** Heads whose lines but Host and Content-Length hold `token`, of four characters. */
function requestWith(token: string): string {
  return `GET /api/1k HTTP/1.1\r\nHost: bench.example.com\r\nUser-Agent: sallyport-${token}/1\r\nAccept: */*;q=0.${token}\r\nX-Debug-Token: ${token}456789abcdef\r\n\r\n`;
}

function responseWith(token: string): string {
  return `HTTP/1.1 200 OK\r\nX-Powered-By: origin-${token}\r\nContent-Length: 1024\r\n\r\n${CONTENT}`;
}

/** A token that the last ten thousand heads had not, or always the same one. */
function nextToken(repeats: boolean): string {
  heads++;
  return repeats ? '0000' : String(heads % 10000).padStart(4, '0');
}

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
    this.counters = new ReactorCounters();
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
let heads = 0;
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

/** Received bytes: who gets them, in which buffer, how many. */
type Received = [Handle, number, number];

function received(handle: Handle, text: string): Received {
  const buffer = pool.acquire(MEDIUM);
  pool.text.latin1Write(text, pool.offsetOf(buffer) + HEAD_ROOM_BYTES, text.length);
  return [handle, buffer, text.length];
}

const others = new Float64Array(OTHERS_BYTES / 8);

/** Others work for a while. */
function useCaches(): void {
  for (let at = 0; at < others.length; at += 8) others[at] += 1;
}

function deliver(all: readonly Received[]): void {
  for (const [handle, buffer, length] of all)
    still.handlers[handle].onReceive(handle, buffer, pool.offsetOf(buffer) + HEAD_ROOM_BYTES, length);
}

/** Nanoseconds of the edge for each exchange. */
function run(exchanges: number, repeats: boolean, cold: boolean): number {
  let costNs = 0n;
  let next = 0;
  for (let done = 0; done < exchanges; done += BATCH) {
    const requests: Received[] = [];
    for (let index = 0; index < BATCH; index++)
      requests.push(received(clients[next++ % CONNECTIONS], requestWith(nextToken(repeats))));
    if (cold) useCaches();
    let from = process.hrtime.bigint();
    deliver(requests);
    costNs += process.hrtime.bigint() - from;
    for (const handle of still.connected.splice(0)) still.handlers[handle].onConnect(handle, 0);
    from = process.hrtime.bigint();
    const count = complete();
    costNs += process.hrtime.bigint() - from;
    assert.equal(count, BATCH);
    const responses: Received[] = [];
    for (let index = 0; index < count; index++)
      responses.push(received(sent[index], responseWith(nextToken(repeats))));
    if (cold) useCaches();
    from = process.hrtime.bigint();
    deliver(responses);
    answered += complete();
    costNs += process.hrtime.bigint() - from;
    still.counters.turns++;
  }
  return Number(costNs) / exchanges;
}

interface Variant {
  readonly name: string;
  readonly repeats: boolean;
  readonly cold: boolean;
  readonly costs: number[];
}

const VARIANTS: readonly Variant[] = [
  { name: 'heads that repeat', repeats: true, cold: false, costs: [] },
  { name: 'heads that are new', repeats: false, cold: false, costs: [] },
  { name: 'heads that repeat, caches that others use', repeats: true, cold: true, costs: [] },
];

/** By turns, so that all meet the same moods of the machine. */
for (const { repeats, cold } of VARIANTS) run(50_000, repeats, cold);
for (let round = 0; round < ROUNDS; round++) {
  for (const { repeats, cold, costs } of VARIANTS) costs.push(run(EXCHANGES, repeats, cold));
}
for (const { name, costs } of VARIANTS) {
  costs.sort((a, b) => a - b);
  process.stdout.write(
    `ns per exchange, ${name}: best ${costs[0].toFixed(0)}, p2 ${costs[Math.floor(ROUNDS / 50)].toFixed(0)}, median ${median(costs).toFixed(0)}\n`,
  );
}
process.stdout.write(`${answered} answered\n`);
