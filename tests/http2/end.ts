/** One end of an HTTP/2 connection for tests: an engine, its memory, its output, and what it was told. */

import { FieldSection } from '../../src/http/fields.ts';
import { RequestHead, ResponseHead, SCHEME_HTTPS } from '../../src/http/message.ts';
import { DEFAULT_BUDGETS, type Http2Budgets } from '../../src/http2/budget.ts';
import { Http2Engine } from '../../src/http2/engine.ts';
import type { Http2Events } from '../../src/http2/events.ts';
import type { Http2Output } from '../../src/http2/frame-writer.ts';
import { RequestLine } from '../../src/http2/request-line.ts';
import { DEFAULT_SETTINGS, type Http2Settings } from '../../src/http2/settings.ts';
import { Http2Stream } from '../../src/http2/stream.ts';
import { Http2Workspace, workspaceBytes } from '../../src/http2/workspace.ts';
import { sectionOf } from '../http/section.ts';
import { fieldList } from '../http1/feed.ts';

export type Fields = [string, string][];

/** Output in buffers of `size` bytes, as an owner's arena would give them: small ones make frames span several. */
class TestOutput implements Http2Output {
  bytes: Uint8Array;
  at: number;
  limit: number;
  private readonly size: number;
  private readonly full: Buffer[];

  constructor(size: number) {
    this.size = size;
    this.full = [];
    this.bytes = new Uint8Array(size);
    this.at = 0;
    this.limit = size;
  }

  makeRoom(length: number): boolean {
    this.full.push(Buffer.from(this.bytes.subarray(0, this.at)));
    this.bytes = new Uint8Array(Math.max(this.size, length));
    this.at = 0;
    this.limit = this.bytes.length;
    return true;
  }

  append(content: Uint8Array): void {
    this.full.push(Buffer.from(this.bytes.subarray(0, this.at)), Buffer.from(content));
    this.at = 0;
  }

  take(): Buffer {
    const all = Buffer.concat([...this.full, this.bytes.subarray(0, this.at)]);
    this.full.length = 0;
    this.at = 0;
    return all;
  }
}

/** A stream with what came on it and what it is to send. */
export class TestStream extends Http2Stream {
  /** Its identifier, which stays when it is closed. */
  number = 0;
  readonly requestHead: RequestHead;
  readonly responseHead: ResponseHead;
  method = '';
  path = '';
  query: string | null = null;
  authority = '';
  /** Negative: a fault that is to be answered. */
  fault = 0;
  bodyKind = -1;
  contentLength = -1;
  upgrade: string | null = null;
  acceptsTrailers = false;
  expectContinue = false;
  fields: Fields = [];
  status = 0;
  readonly interim: number[] = [];
  content: Buffer[] = [];
  receivedBytes = 0;
  trailers: Fields | null = null;
  ended = false;
  closed = false;
  resetCode = -1;
  resetByPeer = false;
  queue: Buffer = Buffer.alloc(0);
  sendTrailers: Fields | null = null;

  constructor(bytes: Uint8Array) {
    super();
    this.requestHead = new RequestHead(bytes);
    this.responseHead = new ResponseHead(bytes);
  }
}

const INPUT_AT = 1 << 19;
const ARENA_BYTES = 1 << 20;

export interface EndOptions {
  settings?: Partial<Http2Settings>;
  budgets?: Partial<Http2Budgets>;
  outputBytes?: number;
  /** What happens when a request came; by default nothing. */
  onRequest?: (stream: TestStream) => void;
  /** Content is consumed at once; false: by hand. */
  consumes?: boolean;
  accepts?: () => boolean;
}

export class End implements Http2Events<TestStream> {
  readonly engine: Http2Engine<TestStream>;
  readonly output: TestOutput;
  readonly arena: Buffer;
  /** All streams that ever were, in order. */
  readonly all: TestStream[] = [];
  settingsSeen = 0;
  pongs = 0;
  goaway: [number, number] | null = null;
  nowMs = 1000;
  private readonly options: EndOptions;
  private readonly line: RequestLine;

  constructor(isServer: boolean, options: EndOptions = {}) {
    const settings = { ...DEFAULT_SETTINGS, ...options.settings };
    this.options = options;
    this.arena = Buffer.alloc(Math.max(ARENA_BYTES, INPUT_AT + 1, workspaceBytes(settings) * 2));
    this.output = new TestOutput(options.outputBytes ?? 4096);
    const workspace = new Http2Workspace(this.arena, 0, settings);
    const budgets = { ...DEFAULT_BUDGETS, ...options.budgets };
    this.engine = new Http2Engine(isServer, settings, budgets, this, this.output, workspace);
    this.line = new RequestLine(this.arena);
    this.engine.start(this.nowMs);
  }

  /** Gives it bytes, cut at these places. False: the connection is over. */
  receive(input: Uint8Array, cuts: readonly number[] = []): boolean {
    let from = 0;
    for (const to of [...cuts, input.length]) {
      for (let at = from; at < to; at += INPUT_AT) {
        const piece = input.subarray(at, Math.min(to, at + INPUT_AT));
        this.arena.fill(0xee, INPUT_AT, Math.min(this.arena.length, INPUT_AT + piece.length + 64));
        this.arena.set(piece, INPUT_AT);
        if (!this.engine.receive(this.arena, INPUT_AT, INPUT_AT + piece.length, this.nowMs)) return false;
      }
      from = to;
    }
    return true;
  }

  /** Sends what windows allow, at most `frames` frames of at most `bytes`; then all that is to leave. */
  flush(frames = Number.POSITIVE_INFINITY, bytes = Number.POSITIVE_INFINITY): Buffer {
    for (let count = 0; ; count++) {
      const stream = this.engine.nextToSend();
      if (stream === null || count >= frames) break;
      const length = Math.min(this.engine.grantOf(stream), bytes);
      const content = stream.queue.subarray(0, length);
      stream.queue = stream.queue.subarray(length);
      this.engine.data(stream, length);
      this.output.append(content);
      if (stream.sendTrailers !== null && stream.pendingBytes === 0) this.endWithTrailers(stream);
    }
    return this.output.take();
  }

  private endWithTrailers(stream: TestStream): void {
    const fields = stream.sendTrailers ?? [];
    stream.sendTrailers = null;
    this.engine.trailers(stream, sectionOf(fields));
  }

  /** Content and the end of a message whose head was sent. */
  finish(stream: TestStream, content: Buffer, trailers: Fields | null = null): void {
    stream.queue = content;
    if (content.length > 0) this.engine.offer(stream, content.length);
    stream.sendTrailers = trailers;
    if (trailers === null) this.engine.end(stream);
    else if (content.length === 0) this.endWithTrailers(stream);
  }

  respond(
    stream: TestStream,
    status: number,
    fields: Fields,
    content: Buffer | null,
    trailers: Fields | null = null,
  ): void {
    this.engine.respond(stream, status, sectionOf(fields), -1, content === null);
    if (content !== null) this.finish(stream, content, trailers);
  }

  /** Begins a request; null when no stream can be had. */
  request(
    methodId: number,
    method: string,
    path: string,
    fields: Fields,
    endStream: boolean,
    protocol = '',
  ): TestStream | null {
    const stream = new TestStream(this.arena);
    const text = `${method}example.com:8443${path}${protocol}`;
    const at = workspaceEnd(this.arena);
    this.arena.write(text, at, 'latin1');
    const { line } = this;
    line.methodId = methodId;
    line.methodOffset = at;
    line.methodLength = method.length;
    line.scheme = SCHEME_HTTPS;
    line.authorityOffset = at + method.length;
    line.authorityLength = 16;
    line.pathOffset = line.authorityOffset + 16;
    line.pathLength = path.length;
    line.protocolOffset = line.pathOffset + path.length;
    line.protocolLength = protocol.length;
    line.acceptsTrailers = true;
    if (!this.engine.request(stream, line, sectionOf(fields), method === 'HEAD', endStream)) return null;
    stream.number = stream.id;
    this.all.push(stream);
    return stream;
  }

  // ---- Events ---------------------------------------------------------------------------------------

  acceptStream(): TestStream | null {
    if (this.options.accepts?.() === false) return null;
    const stream = new TestStream(this.arena);
    this.all.push(stream);
    return stream;
  }

  requestHead(stream: TestStream): RequestHead {
    stream.number = stream.id;
    return stream.requestHead;
  }

  onRequest(stream: TestStream, fault: number): void {
    const head = stream.requestHead;
    const text = (offset: number, length: number): string => this.arena.latin1Slice(offset, offset + length);
    stream.fault = fault;
    stream.method = text(head.methodOffset, head.methodLength);
    stream.path = text(head.pathOffset, head.pathLength);
    stream.query = head.queryOffset < 0 ? null : text(head.queryOffset, head.queryLength);
    stream.authority = text(head.authorityOffset, head.authorityLength);
    stream.bodyKind = head.bodyKind;
    stream.contentLength = head.contentLength;
    stream.acceptsTrailers = head.acceptsTrailers;
    stream.expectContinue = head.expectContinue;
    stream.upgrade = head.upgradeIndex < 0 ? null : head.fields.valueText(head.upgradeIndex);
    stream.fields = fieldList(head.fields);
    this.options.onRequest?.(stream);
  }

  responseHead(stream: TestStream): ResponseHead {
    return stream.responseHead;
  }

  onResponse(stream: TestStream): void {
    const head = stream.responseHead;
    if (head.status < 200) {
      stream.interim.push(head.status);
      return;
    }
    stream.status = head.status;
    stream.bodyKind = head.bodyKind;
    stream.contentLength = head.contentLength;
    stream.fields = fieldList(head.fields);
  }

  onData(stream: TestStream, offset: number, length: number): void {
    stream.content.push(Buffer.from(this.arena.subarray(offset, offset + length)));
    stream.receivedBytes += length;
    if (this.options.consumes !== false) this.engine.consumed(stream, length);
  }

  onEnd(stream: TestStream, trailers: FieldSection): void {
    stream.ended = true;
    stream.trailers = fieldList(trailers);
  }

  onReset(stream: TestStream, code: number, byPeer: boolean): void {
    stream.resetCode = code;
    stream.resetByPeer = byPeer;
  }

  onClosed(stream: TestStream): void {
    if (stream.closed) throw new Error('a stream was closed twice');
    stream.closed = true;
  }

  onSettings(): void {
    this.settingsSeen++;
  }

  onPong(): void {
    this.pongs++;
  }

  onGoaway(lastStreamId: number, code: number): void {
    this.goaway = [lastStreamId, code];
  }
}

function workspaceEnd(arena: Buffer): number {
  return arena.length / 2 - 8192;
}

export const NO_SECTION = new FieldSection(new Uint8Array(0));

/** Moves bytes between two ends until nothing is left to move. */
export function exchange(client: End, server: End): void {
  for (let quiet = 0; quiet < 2; ) {
    const up = client.flush();
    if (up.length > 0) server.receive(up);
    const down = server.flush();
    if (down.length > 0) client.receive(down);
    quiet = up.length + down.length === 0 ? quiet + 1 : 0;
  }
}
