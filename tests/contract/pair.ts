/**
 * What the contract suite stands on: two reactors of the same kind that can reach each other, a directory that
 * both see, and peers that record what their sockets tell and hold it to the rules that always apply
 * (no event from within a method, none after onClose, buffers that are really theirs).
 */

import assert from 'node:assert/strict';
import type { BufferId } from '../../src/io/buffer-pool.ts';
import {
  LARGE,
  LARGE_BYTES,
  MEDIUM,
  MEDIUM_BYTES,
  NO_BUFFER,
  type PoolShape,
} from '../../src/io/buffer-pool.ts';
import type { FileHandler, Handle, ListenerHandler, Reactor, SocketHandler } from '../../src/io/reactor.ts';
import { PENDING } from '../../src/io/reactor.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';

/** Files that the suite makes; paths are relative to the directory. */
export interface ContractDirectory {
  /** Absolute. */
  readonly path: string;
  makeDirectory(name: string): void;
  writeFile(name: string, bytes: Uint8Array): void;
  truncate(name: string, length: number): void;
  makeSymlink(name: string, target: string): void;
  makeFifo(name: string): void;
}

export interface Pair {
  readonly server: Reactor;
  readonly client: Reactor;
  readonly directory: ContractDirectory;
  /** A path that no socket is bound to yet. */
  socketPath(): string;
  /** One turn of both. */
  turn(): void;
  /** Milliseconds on the clock that bounds waiting: real, or virtual in the simulator. */
  nowMs(): number;
  /** How long something that must happen may take, and how long something that must not happen is waited for. */
  readonly patienceMs: number;
  readonly silenceMs: number;
  /** Destroys both and checks that nothing of them remains. */
  dispose(): void;
}

export interface PairOptions {
  readonly shape?: PoolShape;
}

export type MakePair = (options?: PairOptions) => Pair;

let turning: Reactor | null = null;

/** Turns `reactor`; its handlers may run only now. */
export function turnOf(reactor: Reactor, waitMsMax: number): void {
  assert.equal(turning, null);
  turning = reactor;
  try {
    reactor.turn(waitMsMax);
  } finally {
    turning = null;
  }
}

/** Turns both until `done`. */
export function until(pair: Pair, what: string, done: () => boolean): void {
  const endMs = pair.nowMs() + pair.patienceMs;
  while (!done()) {
    assert.ok(pair.nowMs() < endMs, `waited too long for ${what}`);
    pair.turn();
  }
}

/** Turns both for a while in which nothing more is expected. */
export function settle(pair: Pair): void {
  const endMs = pair.nowMs() + pair.silenceMs;
  while (pair.nowMs() < endMs) pair.turn();
}

/** Bytes that tell from where in which stream they are. */
export function pattern(length: number, salt: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) bytes[index] = (index * 31 + (index >> 8) * 7 + salt) & 255;
  return bytes;
}

/** Everything that a socket told, and the means to use it. */
export class Peer implements SocketHandler {
  readonly reactor: Reactor;
  handle: Handle;
  /** 1 until the result is there. */
  connectErrno: number;
  receivedBytes: number;
  /** Bytes of each onReceive. */
  readonly pieces: number[];
  /** 1 until the end was reported. */
  endErrno: number;
  readonly sends: { readonly tag: number; readonly result: number }[];
  closed: boolean;
  /** Buffers are kept instead of released when `keep` is set. */
  keep: boolean;
  readonly kept: { readonly buffer: BufferId; readonly offset: number; readonly length: number }[];
  /** Called at the end of each event, with its name. */
  react: ((event: string) => void) | null;
  private received: Uint8Array;

  constructor(reactor: Reactor) {
    this.reactor = reactor;
    this.handle = 0;
    this.connectErrno = 1;
    this.receivedBytes = 0;
    this.pieces = [];
    this.endErrno = 1;
    this.sends = [];
    this.closed = false;
    this.keep = false;
    this.kept = [];
    this.react = null;
    this.received = new Uint8Array(4096);
  }

  get connected(): boolean {
    return this.connectErrno === 0;
  }

  get ended(): boolean {
    return this.endErrno !== 1;
  }

  bytes(): Uint8Array {
    return this.received.subarray(0, this.receivedBytes);
  }

  text(): string {
    return Buffer.from(this.bytes()).toString('latin1');
  }

  /** Queues bytes in as many buffers as they need; the last segment bears the tag. */
  send(bytes: Uint8Array, tag = 0): void {
    const pool = this.reactor.pool;
    const small = bytes.length <= MEDIUM_BYTES;
    const room = small ? MEDIUM_BYTES : LARGE_BYTES;
    let at = 0;
    do {
      const length = Math.min(room, bytes.length - at);
      const buffer = pool.acquire(small ? MEDIUM : LARGE);
      assert.notEqual(buffer, NO_BUFFER, 'the test ran out of buffers');
      const offset = pool.offsetOf(buffer);
      pool.bytes.set(bytes.subarray(at, at + length), offset);
      at += length;
      this.reactor.send(this.handle, buffer, offset, length, at === bytes.length ? tag : 0);
    } while (at < bytes.length);
  }

  sendText(text: string, tag = 0): void {
    this.send(Buffer.from(text, 'latin1'), tag);
  }

  releaseKept(): void {
    for (const piece of this.kept.splice(0)) this.reactor.pool.release(piece.buffer);
  }

  onConnect(handle: Handle, errno: number): void {
    this.event(handle);
    assert.equal(this.connectErrno, 1, 'onConnect twice');
    assert.ok(errno <= 0, 'a failure is -errno');
    this.connectErrno = errno;
    this.react?.('connect');
  }

  onReceive(handle: Handle, buffer: BufferId, offset: number, length: number): void {
    this.event(handle);
    assert.ok(!this.ended, 'bytes after the end');
    const pool = this.reactor.pool;
    const start = pool.offsetOf(buffer);
    assert.ok(pool.referencesOf(buffer) > 0, 'a free buffer is handed over');
    assert.ok(length > 0 && offset >= start && offset + length <= start + pool.sizeOf(buffer));
    this.remember(pool.bytes, offset, length);
    if (this.keep) this.kept.push({ buffer, offset, length });
    else pool.release(buffer);
    this.react?.('receive');
  }

  onReceiveEnd(handle: Handle, errno: number): void {
    this.event(handle);
    assert.ok(!this.ended, 'the end is reported twice');
    assert.ok(errno <= 0, 'a failure is -errno');
    this.endErrno = errno;
    this.react?.('end');
  }

  onSend(handle: Handle, tag: number, result: number): void {
    this.event(handle);
    assert.notEqual(tag, 0, 'onSend without a tag');
    this.sends.push({ tag, result });
    this.react?.('send');
  }

  onClose(handle: Handle): void {
    this.event(handle);
    this.closed = true;
    this.react?.('close');
  }

  private event(handle: Handle): void {
    assert.equal(turning, this.reactor, 'a handler is called outside its turn');
    assert.equal(this.closed, false, 'an event after onClose');
    if (this.handle !== 0) assert.equal(handle, this.handle, 'an event of another handle');
    this.handle = handle;
  }

  private remember(bytes: Uint8Array, offset: number, length: number): void {
    if (this.receivedBytes + length > this.received.length) {
      const larger = new Uint8Array(Math.max(this.received.length * 2, this.receivedBytes + length));
      larger.set(this.received);
      this.received = larger;
    }
    this.received.set(bytes.subarray(offset, offset + length), this.receivedBytes);
    this.receivedBytes += length;
    this.pieces.push(length);
  }
}

/** Accepts into peers; `receive` says whether they start to receive at once. */
export class Acceptor implements ListenerHandler {
  readonly reactor: Reactor;
  readonly peers: Peer[];
  readonly errors: number[];
  handle: Handle;
  receive: boolean;
  hasLeft: boolean;

  constructor(reactor: Reactor) {
    this.reactor = reactor;
    this.peers = [];
    this.errors = [];
    this.handle = 0;
    this.receive = true;
    this.hasLeft = false;
  }

  listen(address: SocketAddress, backlog = 128): void {
    this.handle = this.reactor.listen(address, { backlog, reusePort: false }, this);
    assert.ok(this.handle > 0, `listen failed: ${this.handle}`);
  }

  onAccept(listener: Handle, handle: Handle): void {
    assert.equal(turning, this.reactor, 'a handler is called outside its turn');
    assert.equal(listener, this.handle);
    const peer = new Peer(this.reactor);
    peer.handle = handle;
    this.peers.push(peer);
    this.reactor.adopt(handle, peer);
    if (this.receive) this.reactor.receiveStart(handle);
  }

  onAcceptError(listener: Handle, errno: number): void {
    assert.equal(turning, this.reactor, 'a handler is called outside its turn');
    assert.equal(listener, this.handle);
    assert.ok(errno < 0, 'a failure is -errno');
    this.errors.push(errno);
  }

  onAcceptLeft(listener: Handle): void {
    assert.equal(turning, this.reactor, 'a handler is called outside its turn');
    assert.equal(listener, this.handle);
    assert.equal(this.hasLeft, false, 'left twice');
    this.hasLeft = true;
  }
}

export const LOOPBACK4: SocketAddress = { family: 'ipv4', address: '127.0.0.1', port: 0 };
export const LOOPBACK6: SocketAddress = { family: 'ipv6', address: '::1', port: 0 };

/** A listener on an address of the kernel's choosing. */
export function acceptorOn(pair: Pair, address: SocketAddress, receive = true): Acceptor {
  const acceptor = new Acceptor(pair.server);
  acceptor.receive = receive;
  acceptor.listen(address);
  return acceptor;
}

/** Starts a connection to a listener. */
export function connectTo(pair: Pair, acceptor: Acceptor): Peer {
  const peer = new Peer(pair.client);
  const handle = pair.client.connect(pair.server.localAddress(acceptor.handle), peer);
  assert.ok(handle > 0, `connect failed: ${handle}`);
  peer.handle = handle;
  return peer;
}

export interface Connection {
  readonly acceptor: Acceptor;
  readonly client: Peer;
  readonly server: Peer;
}

/** A connection with both ends ready; the client receives, the server too unless `receive` is false. */
export function connection(pair: Pair, address: SocketAddress = LOOPBACK4, receive = true): Connection {
  const acceptor = acceptorOn(pair, address, receive);
  const client = connectTo(pair, acceptor);
  until(pair, 'a connection', () => client.connected && acceptor.peers.length === 1);
  pair.client.receiveStart(client.handle);
  return { acceptor, client, server: acceptor.peers[0] };
}

/** Closes everything and waits until no handle and no buffer more than at the start is out. */
export function closeAll(pair: Pair, ...connections: Connection[]): void {
  for (const { acceptor, client, server } of connections) {
    pair.client.close(client.handle, false);
    pair.server.close(server.handle, false);
    pair.server.close(acceptor.handle, false);
    until(pair, 'both ends to close', () => client.closed && server.closed);
  }
  until(pair, 'all handles to be free', () => handlesOpen(pair) === 0);
}

export function handlesOpen(pair: Pair): number {
  return pair.server.counters.handlesOpen + pair.client.counters.handlesOpen;
}

export function heldBuffers(pair: Pair): number {
  return pair.server.pool.heldCount() + pair.client.pool.heldCount();
}

/** Waits for file operations; opens relative paths through a small buffer of the server's pool. */
export class Files implements FileHandler {
  readonly pair: Pair;
  readonly reactor: Reactor;
  private results: Map<number, number>;
  private tag: number;

  constructor(pair: Pair) {
    this.pair = pair;
    this.reactor = pair.server;
    this.results = new Map();
    this.tag = 0;
  }

  open(root: number, path: string): number {
    const pool = this.reactor.pool;
    const buffer = pool.acquire(MEDIUM);
    const offset = pool.offsetOf(buffer);
    const bytes = Buffer.from(path, 'utf8');
    pool.bytes.set(bytes, offset);
    pool.bytes[offset + bytes.length] = 0;
    const tag = ++this.tag;
    const result = this.ended(tag, this.reactor.openFile(root, offset, bytes.length, this, tag));
    pool.release(buffer);
    return result;
  }

  /** Reads once: the bytes read, or -errno. */
  read(file: number, fileOffset: number, length: number): Uint8Array | number {
    const pool = this.reactor.pool;
    const buffer = pool.acquire(LARGE);
    const offset = pool.offsetOf(buffer);
    const tag = ++this.tag;
    const started = this.reactor.readFile(file, fileOffset, offset, length, this, tag);
    const result = this.ended(tag, started);
    const bytes = result < 0 ? result : pool.bytes.slice(offset, offset + result);
    pool.release(buffer);
    return bytes;
  }

  /** Reads until `length` bytes or the end. */
  readAll(file: number, fileOffset: number, length: number): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let at = 0; at < length; ) {
      const part = this.read(file, fileOffset + at, Math.min(length - at, LARGE_BYTES));
      assert.ok(typeof part !== 'number', `reading failed: ${part}`);
      if (part.length === 0) break;
      parts.push(part);
      at += part.length;
    }
    return Buffer.concat(parts);
  }

  onOpen(tag: number, file: number): void {
    this.end(tag, file);
  }

  onRead(tag: number, result: number): void {
    this.end(tag, result);
  }

  private end(tag: number, result: number): void {
    assert.equal(turning, this.reactor, 'a handler is called outside its turn');
    assert.equal(this.results.has(tag), false, 'a file operation ended twice');
    this.results.set(tag, result);
  }

  private ended(tag: number, started: number): number {
    if (started !== PENDING) return started;
    until(this.pair, 'a file operation', () => this.results.has(tag));
    return this.results.get(tag) ?? 0;
  }
}
