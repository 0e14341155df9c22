/**
 * One HTTP/2 connection (RFC 9113), in the role of the server or of the client, as a pure engine: received bytes and a
 * clock go in, events (events.ts) and bytes to be sent (Http2Output) come out.
 *
 * How its owner drives it:
 * - `start` once; then `receive` for each piece that comes, in order. What is pointed out (`onData`) lies in that piece.
 *   While more than a little of its output is unsent, the owner gives it nothing to read: what it answers by itself
 *   (acknowledgements, resets) is bounded by its budgets only in rate.
 * - Content is the owner's: it keeps it, says how much there is (`offer`, `end`), and when it can send asks `nextToSend`,
 *   again and again: it then calls `data` with as much as it wants of `grantOf`, which writes a frame's header into the
 *   output, and puts exactly so many bytes behind it. Trailers are sent when nothing is pending any more.
 * - `receive` has returned false, or `broken` is true: the connection is over. The owner sends what is in the output,
 *   closes, and calls `abandon`. `errorCode` and `reason` say why.
 *
 * Invariants: a stream is in the table from its HEADERS to `onClosed`; windows are never overdrawn on either side; content
 * that nobody consumes (of streams that are gone) is given back to the connection's window at once.
 */

import { assert } from '../base/assert.ts';
import type { FieldSection } from '../http/fields.ts';
import { LENGTH_UNKNOWN, type ResponseHead } from '../http/message.ts';
import { D_RESET, D_WINDOW_UPDATE, type Http2Budgets, REASON_WORDS, SpentBudgets } from './budget.ts';
import {
  DEFAULT_WINDOW_BYTES,
  FLAG_ACK,
  H2_ENHANCE_YOUR_CALM,
  H2_NO_ERROR,
  PREFACE,
  SET_ENABLE_CONNECT_PROTOCOL,
  SET_ENABLE_PUSH,
  SET_HEADER_TABLE_SIZE,
  SET_INITIAL_WINDOW_SIZE,
  SET_MAX_CONCURRENT_STREAMS,
  SET_MAX_FRAME_SIZE,
  SET_MAX_HEADER_LIST_SIZE,
  SET_NO_RFC7540_PRIORITIES,
  SETTING_BYTES,
  STREAM_ID_LIMIT,
  T_GOAWAY,
  T_PING,
  T_RST_STREAM,
  T_SETTINGS,
  T_WINDOW_UPDATE,
} from './constants.ts';
import type { Http2Events } from './events.ts';
import {
  type Http2Output,
  putFrameHeader,
  putNumberFrame,
  putPayload,
  putUint16,
  putUint32,
} from './frame-writer.ts';
import { Http2Receiver } from './receiver.ts';
import type { RequestLine } from './request-line.ts';
import { Http2Sender } from './sender.ts';
import { type Http2Settings, PeerSettings } from './settings.ts';
import { type Http2Stream, StreamTable } from './stream.ts';
import type { Http2Workspace } from './workspace.ts';

/** Streams that we have reset and of which frames may still be on their way; older ones are forgotten. Our own choice. */
const RESETS_KEPT = 256;
/** A frame of at least so much content lets the peer send WINDOW_UPDATEs without end: it is no dribble. Our own choice. */
const GRANTING_BYTES = 1024;
/** WINDOW_UPDATE frames that such a frame calls for: two kinds, and some to spare. */
const GRANTED_UPDATES = 4;
/** Streams that a client may cancel for each that it lets complete: hedging and impatient clients do. Our own choice. */
const RESETS_PER_COMPLETED = 0.5;
/** Frames that come for a stream when it is over: a WINDOW_UPDATE and a RST_STREAM that crossed its end. */
const UPDATES_PER_COMPLETED = 2;
/** The connection's window grows to this, where it was smaller, as streams bring content at once. Our own choice. */
const CONNECTION_WINDOW_GROWN_BYTES = 1_048_576;
/** What the PING that goes with a first GOAWAY carries (two words). */
const DRAIN_PING = 0x647261;

// States of leaving (RFC 9113 §6.8).
const L_OPEN = 0;
/** The first GOAWAY is sent: streams that are on their way are still taken. */
const L_LEAVING = 1;
/** The last one is: no stream after those is taken. */
const L_LEFT = 2;

export class Http2Engine<S extends Http2Stream> {
  readonly isServer: boolean;
  readonly settings: Http2Settings;
  readonly peer: PeerSettings;
  readonly events: Http2Events<S>;
  readonly streams: StreamTable<S>;
  readonly sender: Http2Sender<S>;
  readonly budgets: SpentBudgets;
  /** The owner's clock, milliseconds; `receive` sets it, and the owner before other calls where time has passed. */
  nowMs: number;
  /** The connection is over by an error: GOAWAY is in the output. */
  isDead: boolean;
  /** H2_ code of what ended the connection. */
  errorCode: number;
  /** Index of REASON_WORDS where a budget ended it; -1: it was something else. */
  reason: number;
  /** Streams of the peer up to this one were begun. */
  lastPeerId: number;
  /** Client role: the identifier of the next stream. */
  nextId: number;
  /** The peer's GOAWAY has come. */
  peerLeaves: boolean;
  /** The peer has acknowledged our settings. */
  settingsAcknowledged: boolean;
  /** What new streams of the peer may send: the default until it has acknowledged ours. */
  receiveInitial: number;
  /** What the peer may still send on all streams. */
  connectionWindow: number;
  /** Server role: streams whose content is still to come. */
  uploads: number;
  /** Bytes that the connection's window has in all; it never shrinks. */
  private connectionWindowSize: number;
  private readonly out: Http2Output;
  private readonly receiver: Http2Receiver<S>;
  private leaving: number;
  /** The stream that the last GOAWAY named: none after it names a higher one (RFC 9113 §6.8). */
  private leftAtId: number;
  /** A stream whose last frame was begun, and which is closed when its content is written. */
  private ending: S | null;
  /** Bytes that were consumed of the connection's window and not given back yet. */
  private connectionConsumed: number;
  /** A ring of the identifiers of streams that we have reset. Made with the first. */
  private resets: Int32Array;
  private resetsAt: number;

  constructor(
    isServer: boolean,
    settings: Http2Settings,
    budgets: Http2Budgets,
    events: Http2Events<S>,
    out: Http2Output,
    workspace: Http2Workspace,
  ) {
    this.isServer = isServer;
    this.settings = settings;
    this.peer = new PeerSettings();
    this.events = events;
    this.streams = new StreamTable<S>();
    this.sender = new Http2Sender<S>(out, workspace, this.peer);
    this.budgets = new SpentBudgets(budgets);
    this.nowMs = 0;
    this.isDead = false;
    this.errorCode = H2_NO_ERROR;
    this.reason = -1;
    this.lastPeerId = 0;
    this.nextId = 1;
    this.peerLeaves = false;
    this.settingsAcknowledged = false;
    this.receiveInitial = DEFAULT_WINDOW_BYTES;
    this.connectionWindow = DEFAULT_WINDOW_BYTES;
    this.uploads = 0;
    this.connectionWindowSize = DEFAULT_WINDOW_BYTES;
    this.out = out;
    this.receiver = new Http2Receiver<S>(this, budgets, workspace);
    this.leaving = L_OPEN;
    this.leftAtId = STREAM_ID_LIMIT;
    this.ending = null;
    this.connectionConsumed = 0;
    this.resets = NO_IDS;
    this.resetsAt = 0;
  }

  // ---- The connection -------------------------------------------------------------------------------

  /** Writes the preface (client role), our SETTINGS, and what the connection's window has above the default. */
  start(nowMs: number): void {
    this.nowMs = nowMs;
    if (!this.isServer && !putPayload(this.out, PREFACE, 0, PREFACE.length)) this.sender.broken = true;
    this.writeSettings();
    this.growWindow(this.settings.connectionWindowSize);
  }

  private writeSettings(): void {
    const { settings, out } = this;
    const common = [
      [SET_HEADER_TABLE_SIZE, settings.headerTableSize],
      [SET_INITIAL_WINDOW_SIZE, settings.initialWindowSize],
      [SET_MAX_FRAME_SIZE, settings.maxFrameSize],
      [SET_MAX_HEADER_LIST_SIZE, settings.maxHeaderListSize],
      [SET_NO_RFC7540_PRIORITIES, 1],
    ];
    const own = this.isServer
      ? [
          [SET_MAX_CONCURRENT_STREAMS, settings.maxConcurrentStreams],
          [SET_ENABLE_CONNECT_PROTOCOL, 1],
        ]
      : [[SET_ENABLE_PUSH, 0]];
    const all = [...common, ...own];
    const length = all.length * SETTING_BYTES;
    if (!putFrameHeader(out, length, T_SETTINGS, 0, 0, length)) {
      this.sender.broken = true;
      return;
    }
    for (const [setting, value] of all) {
      putUint16(out.bytes, out.at, setting);
      putUint32(out.bytes, out.at + 2, value);
      out.at += SETTING_BYTES;
    }
  }

  /**
   * Takes what came: `bytes[offset … end)`, all of it. False: the connection is over, and the rest was not read. Must not be
   * called from inside an event.
   */
  receive(bytes: Uint8Array, offset: number, end: number, nowMs: number): boolean {
    this.nowMs = nowMs;
    return !this.isDead && this.receiver.receive(bytes, offset, end);
  }

  /** Memory for output was exhausted: nothing that was written since can be relied on. */
  get broken(): boolean {
    return this.sender.broken;
  }

  /** Ends the connection with GOAWAY; `reason` is an index of REASON_WORDS, or -1. */
  fail(code: number, reason: number): void {
    if (this.isDead) return;
    this.isDead = true;
    this.errorCode = code;
    this.reason = reason;
    this.goaway(Math.min(this.lastPeerId, this.leftAtId), code, reason < 0 ? '' : REASON_WORDS[reason]);
  }

  /** The socket is gone, or the engine is dead: every stream ends with `code`. */
  abandon(code: number): void {
    this.isDead = true;
    this.ending = null;
    for (const stream of this.streams.takeAll()) {
      this.sender.forget(stream);
      stream.id = 0;
      this.events.onReset(stream, code, true);
      this.events.onClosed(stream);
    }
  }

  /**
   * Leaves in two steps (RFC 9113 §6.8): says so, and takes what is on its way until the client has heard of it, which the
   * answer to a PING tells; `leave` is for a client that doesn't answer. The owner closes when `isLeft`.
   */
  beginLeave(): void {
    if (this.leaving !== L_OPEN || this.isDead) return;
    this.leaving = L_LEAVING;
    this.goaway(this.isServer ? STREAM_ID_LIMIT : 0, H2_NO_ERROR, '');
    this.ping(DRAIN_PING, DRAIN_PING);
  }

  leave(): void {
    if (this.leaving === L_LEFT || this.isDead) return;
    this.leaving = L_LEFT;
    this.leftAtId = this.lastPeerId;
    this.goaway(this.lastPeerId, H2_NO_ERROR, '');
  }

  /** All streams that were taken are over, and no other will be. */
  get isLeft(): boolean {
    return this.leaving === L_LEFT && this.streams.count === 0;
  }

  /** Whether streams that the peer begins are taken. */
  get takesStreams(): boolean {
    return this.leaving !== L_LEFT && this.streams.count < this.settings.maxConcurrentStreams;
  }

  /** Asks for a sign of life, which comes as `onPong`. */
  ping(first: number, second: number): void {
    if (!putFrameHeader(this.out, 8, T_PING, 0, 0, 8)) {
      this.sender.broken = true;
      return;
    }
    putUint32(this.out.bytes, this.out.at, first);
    putUint32(this.out.bytes, this.out.at + 4, second);
    this.out.at += 8;
  }

  /** The answer to one of our PINGs, for the receiver to call. */
  ponged(first: number, second: number): void {
    if (this.leaving === L_LEAVING && first === DRAIN_PING && second === DRAIN_PING) this.leave();
    else this.events.onPong();
  }

  private goaway(lastId: number, code: number, debug: string): void {
    const { out } = this;
    const length = 8 + debug.length;
    if (!putFrameHeader(out, length, T_GOAWAY, 0, 0, length)) {
      this.sender.broken = true;
      return;
    }
    putUint32(out.bytes, out.at, lastId);
    putUint32(out.bytes, out.at + 4, code);
    for (let index = 0; index < debug.length; index++)
      out.bytes[out.at + 8 + index] = debug.charCodeAt(index);
    out.at += length;
  }

  /** Acknowledges a SETTINGS frame, for the receiver to call. */
  acknowledgeSettings(): void {
    if (!putFrameHeader(this.out, 0, T_SETTINGS, FLAG_ACK, 0, 0)) this.sender.broken = true;
  }

  /** Answers a PING, for the receiver to call. */
  pong(bytes: Uint8Array, offset: number): void {
    if (!putFrameHeader(this.out, 8, T_PING, FLAG_ACK, 0, 8) || !putPayload(this.out, bytes, offset, 8))
      this.sender.broken = true;
  }

  private number(type: number, id: number, value: number): void {
    if (!putNumberFrame(this.out, type, 0, id, value)) this.sender.broken = true;
  }

  /** Takes one event of a budget; false: it was spent, and the connection is over. */
  charge(reason: number): boolean {
    if (this.budgets.spend(reason, this.nowMs)) return true;
    this.fail(H2_ENHANCE_YOUR_CALM, reason);
    return false;
  }

  // ---- Sending on streams ---------------------------------------------------------------------------

  /** An interim response: status 100 … 199 but 101. */
  inform(stream: S, head: ResponseHead): void {
    assert(!stream.headSent && head.status < 200, 'an interim response behind the final one');
    this.sender.response(stream, head.status, head.fields, LENGTH_UNKNOWN, false);
  }

  /**
   * The final response's head. `contentLength` is declared where it is 0 or more and no field does so already. With
   * `endStream` nothing follows; `onClosed` may come during this call.
   */
  respond(stream: S, status: number, fields: FieldSection, contentLength: number, endStream: boolean): void {
    assert(!stream.headSent && stream.id !== 0, 'a second response');
    stream.headSent = true;
    stream.localEnded = endStream;
    this.sender.response(stream, status, fields, contentLength, endStream);
    if (endStream) this.closeIfEnded(stream);
  }

  /**
   * Client role: begins a stream with a request. False: no stream can be begun on this connection now (`canOpen`). HEAD's
   * response must be announced (`isHead`), since nothing else says that it has no content.
   */
  request(stream: S, line: RequestLine, fields: FieldSection, isHead: boolean, endStream: boolean): boolean {
    if (!this.canOpen) return false;
    stream.open(this.nextId, this.peer.initialWindowSize, this.receiveInitial);
    this.nextId += 2;
    stream.headSent = true;
    stream.localEnded = endStream;
    stream.isHead = isHead;
    this.streams.add(stream);
    this.sender.request(stream, line, fields, endStream);
    return true;
  }

  /** Client role: whether `request` may be called: the peer allows another stream, and nobody is leaving. */
  get canOpen(): boolean {
    if (this.isDead || this.peerLeaves || this.leaving !== L_OPEN) return false;
    return this.streams.count < this.peer.maxConcurrentStreams && this.nextId < STREAM_ID_LIMIT;
  }

  /** So many more bytes of content are ready, in the owner's hands. */
  offer(stream: S, bytes: number): void {
    assert(stream.headSent && !stream.finishing && stream.id !== 0, 'content where none may be');
    stream.pendingBytes += bytes;
    if (stream.level < 0) this.sender.schedule(stream, this.nowMs);
  }

  /** The content is complete with what is pending. `onClosed` may come during this call. */
  end(stream: S): void {
    assert(stream.headSent && !stream.finishing && !stream.localEnded, 'a second end');
    stream.finishing = true;
    if (stream.pendingBytes > 0) return;
    this.sender.end(stream);
    this.closeIfEnded(stream);
  }

  /** Ends the stream with trailers, when nothing is pending (`pendingBytes` 0). `onClosed` may come during this call. */
  trailers(stream: S, fields: FieldSection): void {
    assert(stream.headSent && stream.pendingBytes === 0 && !stream.localEnded, 'trailers before the end');
    stream.finishing = true;
    stream.localEnded = true;
    this.sender.trailers(stream, fields);
    this.closeIfEnded(stream);
  }

  /** Whose content is to be sent now: `data` is called with it next. Null: nobody's may be. `onClosed` may come during this call. */
  nextToSend(): S | null {
    const { ending } = this;
    if (ending !== null) {
      this.ending = null;
      this.closeIfEnded(ending);
    }
    return this.isDead ? null : this.sender.next();
  }

  /** Bytes that `data` may be called with, at least 1. */
  grantOf(stream: S): number {
    return this.sender.grantOf(stream);
  }

  /**
   * Writes the header of a frame of `length` bytes of a stream's content, which the owner puts behind it in the output. The
   * last one ends the stream where `end` was called; `onClosed` comes with the next `nextToSend` at the earliest, since
   * whatever it gives rise to must not be written between the header and the content.
   */
  data(stream: S, length: number): void {
    this.sender.data(stream, length, this.nowMs);
    if (length >= GRANTING_BYTES) this.budgets.grant(D_WINDOW_UPDATE, GRANTED_UPDATES);
    if (stream.localEnded) this.ending = stream;
  }

  /** Ends a stream with RST_STREAM: of the owner's own will. `onClosed` comes during this call. */
  reset(stream: S, code: number): void {
    assert(stream.id !== 0, 'a reset of a closed stream');
    this.writeReset(stream.id, code);
    this.close(stream);
  }

  // ---- Windows --------------------------------------------------------------------------------------

  /** The owner has used so many bytes of what `onData` gave it: the peer may send as many more. */
  consumed(stream: S, length: number): void {
    assert(stream.id !== 0 && length <= stream.heldBytes, 'more consumed than came');
    stream.heldBytes -= length;
    this.giveBack(length);
    this.giveBackTo(stream, length);
  }

  /**
   * Content of one more stream is to come: the connection's window has room for what all of them may send, within bounds,
   * so that one whose content is not taken does not stop the others, nor one slow path all of them.
   */
  beginUpload(stream: S): void {
    stream.isUpload = true;
    this.uploads++;
    const bytes = this.uploads * this.settings.initialWindowSize;
    this.growWindow(Math.min(bytes, CONNECTION_WINDOW_GROWN_BYTES));
  }

  endUpload(stream: S): void {
    if (!stream.isUpload) return;
    stream.isUpload = false;
    this.uploads--;
  }

  private growWindow(bytes: number): void {
    const more = bytes - this.connectionWindowSize;
    if (more <= 0) return;
    this.connectionWindowSize = bytes;
    this.connectionWindow += more;
    this.number(T_WINDOW_UPDATE, 0, more);
  }

  /** Bytes of a stream's window; it hears of them when they are worth a frame. */
  giveBackTo(stream: S, length: number): void {
    stream.consumedBytes += length;
    if (stream.remoteEnded || stream.consumedBytes === 0) return;
    const isLittle = stream.consumedBytes * 2 < this.settings.initialWindowSize;
    if (isLittle && stream.consumedBytes < stream.receiveWindow) return;
    this.number(T_WINDOW_UPDATE, stream.id, stream.consumedBytes);
    stream.receiveWindow += stream.consumedBytes;
    stream.consumedBytes = 0;
  }

  /** Bytes of the connection's window, likewise. */
  giveBack(length: number): void {
    this.connectionConsumed += length;
    if (this.connectionConsumed === 0 || this.isDead) return;
    // Where others hold back most of it, what is left must not run dry.
    const isLittle = this.connectionConsumed * 2 < this.connectionWindowSize;
    if (isLittle && this.connectionConsumed < this.connectionWindow) return;
    this.number(T_WINDOW_UPDATE, 0, this.connectionConsumed);
    this.connectionWindow += this.connectionConsumed;
    this.connectionConsumed = 0;
  }

  // ---- The end of streams, for the receiver too -------------------------------------------------------

  closeIfEnded(stream: S): void {
    if (!stream.localEnded || !stream.remoteEnded) return;
    this.budgets.grant(D_RESET, RESETS_PER_COMPLETED);
    this.budgets.grant(D_WINDOW_UPDATE, UPDATES_PER_COMPLETED);
    this.close(stream);
  }

  /** Takes a stream out and tells the owner. */
  close(stream: S): void {
    if (stream.id === 0) return;
    this.sender.forget(stream);
    this.streams.remove(stream);
    this.endUpload(stream);
    const held = stream.heldBytes;
    stream.heldBytes = 0;
    stream.id = 0;
    this.receiver.forget(stream);
    if (this.ending === stream) this.ending = null;
    if (held > 0) this.giveBack(held);
    this.events.onClosed(stream);
  }

  /** The peer has broken a rule on a stream: RST_STREAM, counted against it, and the owner hears of it. */
  streamError(stream: S, code: number): void {
    if (this.isServer && !this.charge(D_RESET)) return;
    this.writeReset(stream.id, code);
    this.events.onReset(stream, code, false);
    this.close(stream);
  }

  /** RST_STREAM for a stream that is not in the table: one that is refused, or was closed. */
  refuse(id: number, code: number): void {
    if (this.charge(D_RESET)) this.writeReset(id, code);
  }

  private writeReset(id: number, code: number): void {
    this.number(T_RST_STREAM, id, code);
    if (this.resets === NO_IDS) this.resets = new Int32Array(RESETS_KEPT);
    this.resets[this.resetsAt] = id;
    this.resetsAt = (this.resetsAt + 1) % RESETS_KEPT;
  }

  /** Whether we have reset this stream not long ago: what still comes of it is no fault of the peer (RFC 9113 §5.4.2). */
  wasReset(id: number): boolean {
    return this.resets.includes(id);
  }

  /** Whether nobody has begun this stream yet (RFC 9113 §5.1). */
  isIdle(id: number): boolean {
    if (this.isServer) return (id & 1) === 0 || id > this.lastPeerId;
    return (id & 1) === 0 || id >= this.nextId;
  }
}

const NO_IDS = new Int32Array(0);
