/**
 * Accepted connections without TLS whose protocol is not known yet: the first bytes tell a client of HTTP/2, which knows
 * beforehand that it is spoken here (RFC 9113 §3.3), from one of HTTP/1.1. As soon as they differ from the preface,
 * or are all of it, the connection is made that goes on, and gets what came.
 */

import { assert } from '../base/assert.ts';
import { asciiBytes } from '../base/bytes.ts';
import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import { PREFACE } from '../http2/constants.ts';
import type { BufferId } from '../io/buffer-pool.ts';
import type { Handle, Reactor, SocketHandler } from '../io/reactor.ts';
import type { ClientAddress } from './client-address.ts';
import { InputQueue } from './input-queue.ts';
import type { RouteAction } from './route.ts';

const LF = 10;
const SPACE = 32;
const LETTER_A = 0x41;
const LETTER_Z = 0x5a;
/** What turns small ASCII letters into capitals. */
const UPPER = 0xdf;
const HTTP = asciiBytes('HTTP');
/** Bytes of a first line that are looked at. */
const LINE_BYTES_MAX = 256;

/** The worker, as it is seen from here. */
export interface PlainConnections {
  readonly reactor: Reactor;
  /** The protocol is known: makes its connection, adopted and started, to which what came is given next. */
  onChosen(
    handle: Handle,
    client: ClientAddress,
    action: RouteAction | null,
    isHttp2: boolean,
  ): SocketHandler;
  /** A connection ended before its protocol was known. */
  onChoiceGone(client: ClientAddress): void;
}

export class PlainAcceptor {
  private readonly worker: PlainConnections;
  private readonly waiting: Set<FirstBytes>;

  constructor(worker: PlainConnections) {
    this.worker = worker;
    this.waiting = new Set();
  }

  /** Connections of which too little has come. */
  get size(): number {
    return this.waiting.size;
  }

  /** Looks at what an accepted socket sends first, for at most `waitMs`. */
  accept(handle: Handle, client: ClientAddress, action: RouteAction | null, waitMs: number): void {
    this.waiting.add(new FirstBytes(this.worker, this.waiting, handle, client, action, waitMs));
  }

  /** The edge stops: nobody has asked for anything yet. */
  abort(): void {
    for (const each of [...this.waiting]) each.close();
  }
}

class FirstBytes implements SocketHandler, TimerHandler {
  private readonly worker: PlainConnections;
  private readonly waiting: Set<FirstBytes>;
  private readonly handle: Handle;
  private readonly client: ClientAddress;
  private readonly action: RouteAction | null;
  private readonly timer: Timer;
  /** What came, all of it the preface's beginning. */
  private readonly held: InputQueue;
  private isClosed: boolean;

  constructor(
    worker: PlainConnections,
    waiting: Set<FirstBytes>,
    handle: Handle,
    client: ClientAddress,
    action: RouteAction | null,
    waitMs: number,
  ) {
    const { reactor } = worker;
    this.worker = worker;
    this.waiting = waiting;
    this.handle = handle;
    this.client = client;
    this.action = action;
    this.timer = new Timer(this, 0);
    this.held = new InputQueue(reactor.pool);
    this.isClosed = false;
    reactor.adopt(handle, this);
    reactor.receiveStart(handle);
    reactor.timers.arm(this.timer, reactor.nowMs + waitMs);
  }

  onConnect(): void {
    assert(false, 'an accepted socket does not connect');
  }

  onReceive(_handle: Handle, buffer: BufferId, offset: number, length: number): void {
    const { reactor } = this.worker;
    if (this.isClosed) {
      reactor.pool.release(buffer);
      return;
    }
    const { bytes } = reactor.pool;
    const begun = this.held.bytes;
    const compared = Math.min(length, PREFACE.length - begun);
    let same = 0;
    while (same < compared && bytes[offset + same] === PREFACE[begun + same]) same++;
    this.held.push(buffer, offset, length);
    if (same < compared) {
      if (namesOtherProtocol(bytes, offset, offset + length)) this.close();
      else this.choose(false);
    } else if (begun + same === PREFACE.length) this.choose(true);
  }

  private choose(isHttp2: boolean): SocketHandler {
    const { reactor } = this.worker;
    const { held, handle } = this;
    reactor.timers.disarm(this.timer);
    this.waiting.delete(this);
    reactor.receiveStop(handle);
    const connection = this.worker.onChosen(handle, this.client, this.action, isHttp2);
    while (held.shift()) connection.onReceive(handle, held.buffer, held.offset, held.length);
    return connection;
  }

  onReceiveEnd(handle: Handle, errno: number): void {
    if (this.isClosed) return;
    if (errno < 0 || this.held.isEmpty) this.close();
    else this.choose(false).onReceiveEnd(handle, errno);
  }

  onSend(): void {
    assert(false, 'nothing is sent before the protocol is known');
  }

  onTimer(): void {
    this.close();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const { reactor } = this.worker;
    reactor.timers.disarm(this.timer);
    this.held.clear();
    reactor.close(this.handle, false);
  }

  onClose(): void {
    assert(this.isClosed, 'closed without being asked');
    this.waiting.delete(this);
    this.worker.onChoiceGone(this.client);
  }
}

/**
 * Whether a piece begins with a whole line of three words, the last of which says that this is not HTTP: a spoilt preface
 * (RFC 9113 §3.4), RTSP, SIP. Whoever sends that does not understand an answer in HTTP/1.1, and gets none. A line that is cut, or
 * longer, is left to the parser of HTTP/1.1, which answers 400.
 */
function namesOtherProtocol(bytes: Uint8Array, offset: number, end: number): boolean {
  const stop = Math.min(end, offset + LINE_BYTES_MAX);
  let spaces = 0;
  let word = offset;
  for (let at = offset; at < stop; at++) {
    if (bytes[at] === SPACE) {
      spaces++;
      word = at + 1;
    } else if (bytes[at] === LF) {
      return spaces === 2 && isOtherName(bytes, word);
    }
  }
  return false;
}

/** A word that is no HTTP version, and not just a badly written one: it begins with letters that are not HTTP, in either case. */
function isOtherName(bytes: Uint8Array, at: number): boolean {
  let same = 0;
  while (same < HTTP.length && (bytes[at + same] & UPPER) === HTTP[same]) same++;
  const first = bytes[at] & UPPER;
  return same < HTTP.length && first >= LETTER_A && first <= LETTER_Z;
}
