/**
 * A check over HTTP/2 with prior knowledge (RFC 9113 §3.3), for servers that are spoken to so: one stream on a connection
 * of its own. Its memory is its own, a few tens of KiB, and not the arena's: checks are rare.
 */

import { F_OTHER, FieldSection } from '../http/fields.ts';
import { RequestHead, ResponseHead, SCHEME_HTTP } from '../http/message.ts';
import { DEFAULT_BUDGETS } from '../http2/budget.ts';
import { H2_ENHANCE_YOUR_CALM, H2_PROTOCOL_ERROR } from '../http2/constants.ts';
import { Http2Engine } from '../http2/engine.ts';
import type { Http2Events } from '../http2/events.ts';
import { type Http2Output, OUTPUT_ROOM_MAX } from '../http2/frame-writer.ts';
import { RequestLine } from '../http2/request-line.ts';
import { DEFAULT_SETTINGS } from '../http2/settings.ts';
import { Http2Stream } from '../http2/stream.ts';
import { Http2Workspace, workspaceBytes } from '../http2/workspace.ts';
import type { BufferId, BufferPool } from '../io/buffer-pool.ts';
import { INTERIM_MAX, Q_CONTINUES, Q_MALFORMED, Q_REFUSED, type Question } from './question.ts';

/** What is written and not taken yet; a server that makes us write more than this breaks the rules. */
const OUTPUT_BYTES = 16_384;
const WORKSPACE_BYTES = workspaceBytes(DEFAULT_SETTINGS);
/** One piece of what came. */
const INPUT_BYTES = 16_384;
const TEXT_BYTES = 8192;

/** Frames wait here until they are taken. */
class Output implements Http2Output {
  readonly bytes: Uint8Array;
  at: number;
  readonly limit: number;

  constructor() {
    this.bytes = new Uint8Array(OUTPUT_BYTES);
    this.at = 0;
    this.limit = OUTPUT_BYTES;
  }

  makeRoom(length: number): boolean {
    return this.limit - this.at >= Math.min(length, OUTPUT_ROOM_MAX);
  }

  take(): Uint8Array {
    const taken = this.bytes.slice(0, this.at);
    this.at = 0;
    return taken;
  }
}

export class Http2Question implements Question, Http2Events<Http2Stream> {
  private readonly pool: BufferPool;
  /** What heads are decoded to, then text of the request, then a piece of what came. */
  private readonly memory: Buffer;
  private readonly output: Output;
  private readonly engine: Http2Engine<Http2Stream>;
  private readonly head: ResponseHead;
  private interims: number;
  private status: number;
  private wasRefused: boolean;

  /** `path` with its query; both are in ASCII. */
  constructor(pool: BufferPool, authority: string, path: string, nowMs: number) {
    this.pool = pool;
    this.memory = Buffer.alloc(WORKSPACE_BYTES + TEXT_BYTES + INPUT_BYTES);
    this.output = new Output();
    const workspace = new Http2Workspace(this.memory, 0, DEFAULT_SETTINGS);
    this.engine = new Http2Engine(false, DEFAULT_SETTINGS, DEFAULT_BUDGETS, this, this.output, workspace);
    this.head = new ResponseHead(this.memory);
    this.interims = 0;
    this.status = Q_CONTINUES;
    this.wasRefused = false;
    this.engine.start(nowMs);
    this.ask(authority, path);
  }

  private ask(authority: string, path: string): void {
    const { memory } = this;
    let at = WORKSPACE_BYTES;
    const put = (text: string): number => {
      at += memory.latin1Write(text, at, text.length);
      return at - text.length;
    };
    const line = new RequestLine(memory);
    line.scheme = SCHEME_HTTP;
    line.authorityOffset = put(authority);
    line.authorityLength = authority.length;
    line.pathOffset = put(path);
    line.pathLength = path.length;
    const fields = new FieldSection(memory);
    for (const [name, value, id] of FIELDS) fields.add(put(name), name.length, put(value), value.length, id);
    this.engine.request(new Http2Stream(), line, fields, false, true);
  }

  take(): Uint8Array {
    return this.output.take();
  }

  read(_buffer: BufferId, offset: number, length: number, nowMs: number): number {
    const { memory, engine } = this;
    const start = WORKSPACE_BYTES + TEXT_BYTES;
    for (let used = 0; used < length && this.status === Q_CONTINUES; ) {
      const taken = Math.min(length - used, INPUT_BYTES);
      memory.set(this.pool.bytes.subarray(offset + used, offset + used + taken), start);
      used += taken;
      const lives = engine.receive(memory, start, start + taken, nowMs);
      if (this.status !== Q_CONTINUES) break;
      if (this.wasRefused) return Q_REFUSED;
      if (!lives || engine.isDead || engine.broken) return Q_MALFORMED;
    }
    if (this.status !== Q_CONTINUES) engine.leave();
    return this.status;
  }

  release(): void {
    // Nothing is the pool's.
  }

  // ---- Events of the engine ---------------------------------------------------------------------------

  /** A server begins no streams: push is switched off. */
  acceptStream(): null {
    return null;
  }

  requestHead(): RequestHead {
    return new RequestHead(this.memory);
  }

  onRequest(): void {
    // There are none from a server.
  }

  responseHead(): ResponseHead {
    return this.head;
  }

  onResponse(): void {
    const { status } = this.head;
    if (status >= 200) this.status = status;
    else if (++this.interims > INTERIM_MAX) this.engine.fail(H2_ENHANCE_YOUR_CALM, -1);
  }

  onData(stream: Http2Stream, _offset: number, length: number): void {
    this.engine.consumed(stream, length);
  }

  onEnd(): void {
    // The status counts, not what follows it.
  }

  onReset(_stream: Http2Stream, _code: number, byPeer: boolean): void {
    if (byPeer) this.wasRefused = true;
    else this.engine.fail(H2_PROTOCOL_ERROR, -1);
  }

  onClosed(): void {
    // There is only one.
  }

  onSettings(): void {
    // The request didn't wait for them (RFC 9113 §3.4).
  }

  onPong(): void {
    // None is asked for.
  }

  onGoaway(): void {
    // A stream that it takes is answered all the same; one that it doesn't is reset.
  }
}

const FIELDS: readonly (readonly [string, string, number])[] = [
  ['user-agent', 'sallyport-health', F_OTHER],
  ['accept', '*/*', F_OTHER],
];
