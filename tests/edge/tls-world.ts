/**
 * Two ends of a TLS connection on a simulated network: a server's TlsSocket and, at the other end, a client's
 * TlsSocket or a raw socket. Every handler here holds the rules of src/io/reactor.ts against the socket that
 * calls it: nothing from inside a method, nothing after `close` but one `onClose`, each tag once.
 */

import assert from 'node:assert/strict';
import type { KernelTls } from '../../src/edge/kernel-tls.ts';
import { KernelTlsSocket } from '../../src/edge/kernel-tls-socket.ts';
import {
  arenaBytes,
  type BufferId,
  type LARGE,
  MEDIUM,
  MEDIUM_BYTES,
  NO_BUFFER,
  type PoolShape,
  type SMALL,
} from '../../src/io/buffer-pool.ts';
import type { Handle, ListenerHandler, SocketHandler } from '../../src/io/reactor.ts';
import { SimBufferPool, SimReactor } from '../../src/io/sim.ts';
import { NO_FAULTS, type SimFaults } from '../../src/io/sim-faults.ts';
import { SimNetwork } from '../../src/io/sim-network.ts';
import { type TlsOwner, TlsSocket } from '../../src/socket/tls-socket.ts';
import { type MappedMemory, mapPrivate } from '../../src/sys/memory.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { Handshake } from '../../src/tls/handshake.ts';
import { secrets } from '../../src/tls/secret-memory.ts';
import {
  type ContextOptions,
  clientContext,
  newClientSession,
  newServerSession,
  OwnPeer,
  serverContext,
} from '../fixtures/tls-engine.ts';

const SERVER: SocketAddress = { family: 'ipv4', address: '10.0.0.1', port: 443 };
const AMPLE: PoolShape = { small: 128, medium: 128, large: 24 };
const HANDSHAKE_MS = 10_000;
/** Long enough for all that happens without a timer of seconds. */
export const SETTLE_MS = 500;
const LIFE_MS = 600_000;

const memories: MappedMemory[] = [];

/** The arena of the first or second node: worlds come one after another. */
function memoryOf(node: number, shape: PoolShape): MappedMemory {
  const known = memories[node];
  if (known !== undefined && known.length >= arenaBytes(shape)) return known;
  const made = mapPrivate(arenaBytes(shape));
  memories[node] = made;
  return made;
}

const contexts = new Map<string, number>();

function cached(kind: 'server' | 'client', options: ContextOptions): number {
  const key = kind + JSON.stringify(options);
  const known = contexts.get(key) ?? (kind === 'server' ? serverContext(options) : clientContext(options));
  contexts.set(key, known);
  return known;
}

/** One end, played by hand, over a TlsSocket. */
export class End implements SocketHandler {
  readonly world: TlsWorld;
  readonly label: string;
  socket: TlsSocket | null = null;
  handle: Handle = 0;
  /** Errno of the connect; 1: not yet. */
  connected = 1;
  content: Buffer[] = [];
  contentBytes = 0;
  /** Errno of the end; 1: not yet. */
  ended = 1;
  closes = 0;
  /** Tags and results, in order. */
  readonly sent: [number, number][] = [];
  private closed = false;
  /** A method of the socket is running. */
  private inside = false;
  /** What a test does at an event; may call methods. */
  onContent: (length: number) => void = () => {};
  onSent: (tag: number, result: number) => void = () => {};
  onEnd: (errno: number) => void = () => {};
  private tags = 0;

  constructor(world: TlsWorld, label: string) {
    this.world = world;
    this.label = label;
  }

  /** Calls methods, in which no handler may be called. */
  call(run: (socket: TlsSocket) => void): void {
    assert(this.socket !== null, `${this.label} has no socket`);
    assert(!this.inside);
    this.inside = true;
    run(this.socket);
    this.inside = false;
  }

  private check(event: string): void {
    assert(!this.inside, `${this.label}: ${event} from inside a method`);
    assert(!this.closed || event === 'onClose', `${this.label}: ${event} after close`);
    assert.equal(this.closes, 0, `${this.label}: ${event} after onClose`);
  }

  get bytes(): Buffer {
    return Buffer.concat(this.content);
  }

  onConnect(handle: Handle, errno: number): void {
    this.check('onConnect');
    this.handle = handle;
    this.connected = errno;
    if (errno < 0) this.closed = true;
    else this.call((socket) => socket.receiveStart());
  }

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    this.check('onReceive');
    assert(length > 0);
    const { pool } = this.socket?.reactor ?? assert.fail();
    this.content.push(Buffer.from(pool.bytes.subarray(offset, offset + length)));
    this.contentBytes += length;
    pool.release(buffer);
    this.onContent(length);
  }

  onReceiveEnd(_handle: Handle, errno: number): void {
    this.check('onReceiveEnd');
    assert.equal(this.ended, 1, `${this.label}: a second end`);
    this.ended = errno;
    this.onEnd(errno);
  }

  onSend(_handle: Handle, tag: number, result: number): void {
    this.check(`onSend(${tag}, ${result})`);
    assert(tag > 0 && tag <= this.tags, `${this.label}: tag ${tag} is nobody's`);
    assert(!this.sent.some(([known]) => known === tag), `${this.label}: tag ${tag} twice`);
    this.sent.push([tag, result]);
    this.onSent(tag, result);
  }

  onClose(): void {
    this.check('onClose');
    assert(this.closed, `${this.label}: closed without being asked`);
    this.closes++;
  }

  /** Sends bytes in segments of at most a buffer each. Returns the tags. */
  send(bytes: Uint8Array, sizeClass: typeof SMALL | typeof MEDIUM | typeof LARGE = MEDIUM): number[] {
    const tags: number[] = [];
    for (let at = 0; at < bytes.length; ) {
      const { pool } = this.socket?.reactor ?? assert.fail();
      const id = pool.acquire(sizeClass);
      assert(id !== NO_BUFFER, 'the test has no buffer');
      const piece = bytes.subarray(at, at + pool.sizeOf(id));
      const offset = pool.offsetOf(id);
      pool.bytes.set(piece, offset);
      const tag = ++this.tags;
      this.call((socket) => socket.send(this.handle, id, offset, piece.length, tag));
      tags.push(tag);
      at += piece.length;
    }
    return tags;
  }

  sendFile(file: number, fileOffset: number, length: number): number {
    const tag = ++this.tags;
    this.call((socket) => socket.sendFile(this.handle, file, fileOffset, length, tag));
    return tag;
  }

  close(abortive = false): void {
    this.closed = true;
    this.call((socket) => socket.close(this.handle, abortive));
  }

  get isClosing(): boolean {
    return this.closed;
  }

  resultOf(tag: number): number | undefined {
    return this.sent.find(([known]) => known === tag)?.[1];
  }
}

/** A client without a TlsSocket: it says what the test seals, or anything else. */
export class RawEnd implements SocketHandler {
  readonly reactor: SimReactor;
  readonly own: OwnPeer;
  handle: Handle = 0;
  isConnected = false;
  ended = 1;
  closes = 0;

  constructor(reactor: SimReactor, own: OwnPeer) {
    this.reactor = reactor;
    this.own = own;
  }

  onConnect(): void {
    this.isConnected = true;
    this.reactor.receiveStart(this.handle);
    this.wire(this.own.take());
  }

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    const { pool } = this.reactor;
    const bytes = Buffer.from(pool.bytes.subarray(offset, offset + length));
    pool.release(buffer);
    this.own.put(bytes);
    this.wire(this.own.take());
  }

  onReceiveEnd(_handle: Handle, errno: number): void {
    this.ended = errno;
  }

  onSend(): void {}

  onClose(): void {
    this.closes++;
  }

  /** Sends bytes as they are, as one segment for each buffer. */
  wire(bytes: Uint8Array): void {
    const { pool } = this.reactor;
    for (let at = 0; at < bytes.length; at += MEDIUM_BYTES) {
      const id = pool.acquire(MEDIUM);
      assert(id !== NO_BUFFER);
      const piece = bytes.subarray(at, at + MEDIUM_BYTES);
      pool.bytes.set(piece, pool.offsetOf(id));
      this.reactor.send(this.handle, id, pool.offsetOf(id), piece.length, 0);
    }
  }
}

export interface TlsWorldOptions {
  readonly tls?: ContextOptions;
  readonly faults?: Partial<SimFaults>;
  readonly pool?: PoolShape;
  readonly seed?: number;
  /** The server leaves its connections to the kernel. */
  readonly kernel?: KernelTls;
}

export class TlsWorld implements TlsOwner, ListenerHandler {
  readonly network: SimNetwork;
  readonly near: SimReactor;
  readonly far: SimReactor;
  readonly server: End;
  readonly client: End;
  readonly options: TlsWorldOptions;
  /** Why the server's handshake failed. */
  failure = '';
  /** The server's socket is gone, before it had a handler. */
  goneEarly = 0;
  /** The server's socket, from the accept on. */
  accepted: TlsSocket | null = null;
  private readonly secretsBefore: number;

  constructor(options: TlsWorldOptions = {}) {
    this.options = options;
    this.network = new SimNetwork(options.seed ?? 1, { ...NO_FAULTS, ...options.faults });
    const node = (label: string, ipv4: string, index: number, shape: PoolShape): SimReactor =>
      new SimReactor(this.network, {
        label,
        ipv4,
        pool: new SimBufferPool(shape, memoryOf(index, shape)),
      });
    this.near = node('server', '10.0.0.1', 0, options.pool ?? AMPLE);
    this.far = node('client', '10.0.0.2', 1, AMPLE);
    this.server = new End(this, 'server');
    this.client = new End(this, 'client');
    this.secretsBefore = secrets.count;
    const listener = this.near.listen(SERVER, { backlog: 10, reusePort: false }, this);
    assert(listener > 0);
    this.network.run(this.network.timeMs + 1);
    for (const reactor of [this.near, this.far]) reactor.markBaseline();
  }

  onAccept(_listener: Handle, handle: Handle): void {
    const ctx = cached('server', this.options.tls ?? {});
    const handshake = new Handshake(newServerSession(ctx), true);
    const { kernel } = this.options;
    this.accepted =
      kernel === undefined
        ? new TlsSocket(this.near, handle, handshake, true, this)
        : new KernelTlsSocket(this.near, handle, handshake, this, kernel);
    this.accepted.accept(HANDSHAKE_MS);
  }

  onAcceptError(): void {}

  onTlsOpen(socket: TlsSocket): void {
    this.server.socket = socket;
    this.server.handle = socket.handle;
    socket.adopt(socket.handle, this.server);
    this.server.onConnect(socket.handle, 0);
  }

  onTlsFailed(_socket: TlsSocket, reason: string): void {
    this.failure = reason;
  }

  onTlsClosed(): void {
    this.goneEarly++;
  }

  /** Begins to connect a TlsSocket. */
  connect(): void {
    const options = this.options.tls ?? {};
    const session = newClientSession(cached('client', options), options);
    const socket = new TlsSocket(this.far, 0, new Handshake(session, false), false, {
      onTlsOpen() {},
      onTlsFailed() {},
      onTlsClosed() {},
    });
    this.client.socket = socket;
    this.client.handle = socket.connect(SERVER, this.client);
    assert(this.client.handle > 0);
  }

  connectRaw(): RawEnd {
    const options = this.options.tls ?? {};
    const session = newClientSession(cached('client', options), options);
    const raw = new RawEnd(this.far, new OwnPeer(session, false));
    raw.handle = this.far.connect(SERVER, raw);
    return raw;
  }

  /** Connected, both ends open. */
  static open(options: TlsWorldOptions = {}): TlsWorld {
    const world = new TlsWorld(options);
    world.connect();
    world.until(() => world.client.connected === 0 && world.server.connected === 0, 'the handshake');
    world.settle();
    return world;
  }

  /** The same, with a raw client. */
  static openRaw(options: TlsWorldOptions = {}): { world: TlsWorld; raw: RawEnd } {
    const world = new TlsWorld(options);
    const raw = world.connectRaw();
    world.until(() => raw.own.isOpen && world.server.connected === 0, 'the handshake');
    world.settle();
    return { world, raw };
  }

  until(condition: () => boolean, what: string): void {
    assert(this.network.run(condition, this.network.timeMs + LIFE_MS), `${what}: never`);
  }

  /** Lets happen what happens without timers of seconds. */
  settle(ms: number = SETTLE_MS): void {
    this.network.run(this.network.timeMs + ms);
  }

  /** Closes what is open; then nothing may be left. */
  finish(raw: RawEnd | null = null): void {
    for (const end of [this.server, this.client])
      if (end.socket !== null && !end.isClosing && end.closes === 0) end.close(true);
    if (raw !== null) this.far.close(raw.handle, true);
    this.network.run(this.network.timeMs + 20_000);
    for (const end of [this.server, this.client])
      if (end.socket !== null) assert.equal(end.closes, 1, `${end.label}: onClose`);
    this.network.assertQuiet();
    raw?.own.free();
    assert.equal(secrets.count, this.secretsBefore, 'slots of keys that are still held');
  }

  /** Takes all free buffers of a class of the server's pool; returns them as a function that gives them back. */
  hog(...classes: readonly (typeof SMALL | typeof MEDIUM | typeof LARGE)[]): () => void {
    const { pool } = this.near;
    const held: BufferId[] = [];
    for (const sizeClass of classes)
      for (let id = pool.acquire(sizeClass); id !== NO_BUFFER; id = pool.acquire(sizeClass)) held.push(id);
    return () => {
      for (const id of held) pool.release(id);
    };
  }
}
