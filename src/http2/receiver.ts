/**
 * The receiving half of a connection: what each frame means for the connection and its streams (RFC 9113 §5, §6). Errors
 * of the connection end it (`engine.fail`); errors of a stream end that stream and count against the peer.
 */

import { FieldSection } from '../http/fields.ts';
import { BODY_LENGTH, BODY_NONE, LENGTH_UNKNOWN } from '../http/message.ts';
import {
  D_BLOCK,
  D_CONTINUATION,
  D_EMPTY,
  D_HPACK_BOMB,
  D_PING,
  D_PRIORITY,
  D_RESET,
  D_SETTINGS,
  D_TINY_DATA,
  D_WINDOW_UPDATE,
  type Http2Budgets,
} from './budget.ts';
import {
  DEFAULT_HEADER_TABLE_BYTES,
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FLAG_PADDED,
  FLAG_PRIORITY,
  H2_COMPRESSION_ERROR,
  H2_ENHANCE_YOUR_CALM,
  H2_FLOW_CONTROL_ERROR,
  H2_FRAME_SIZE_ERROR,
  H2_NO_ERROR,
  H2_PROTOCOL_ERROR,
  H2_REFUSED_STREAM,
  H2_STREAM_CLOSED,
  SETTING_BYTES,
  T_CONTINUATION,
  T_DATA,
  T_GOAWAY,
  T_HEADERS,
  T_PING,
  T_PRIORITY,
  T_PRIORITY_UPDATE,
  T_RST_STREAM,
  T_SETTINGS,
} from './constants.ts';
import type { Http2Engine } from './engine.ts';
import { FrameReader, isKnown, R_BEGIN, R_DATA, R_DATA_END, R_FRAME, R_NEED_MORE } from './frame-reader.ts';
import { HEAD_BOMB, HEAD_MALFORMED, HEAD_OK, HEAD_UNDECODABLE, HeadReader } from './head-reader.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { parsePriority } from './priority.ts';
import type { Http2Stream } from './stream.ts';
import type { Http2Workspace } from './workspace.ts';

const BLOCK_BYTES_FIRST = 1024;
/** Of the priority of RFC 7540 in HEADERS and PRIORITY: a stream's identifier and a weight. */
const PRIORITY_BYTES = 5;

export class Http2Receiver<S extends Http2Stream> {
  private readonly engine: Http2Engine<S>;
  private readonly budgets: Http2Budgets;
  private readonly workspace: Http2Workspace;
  private readonly reader: FrameReader;
  private readonly decoder: HpackDecoder;
  private readonly heads: HeadReader;
  private readonly blockBytesMax: number;
  /** The stream whose DATA frame is being read; null: nobody's, or its stream has gone meanwhile. */
  private dataStream: S | null;
  /** The whole frame was given back to the connection's window already. */
  private isDiscarding: boolean;
  // A field block that began in a frame without END_HEADERS.
  private block: Uint8Array;
  private blockBytes: number;
  private continuations: number;
  private blockEndsStream: boolean;
  private blockDependsOnItself: boolean;

  constructor(engine: Http2Engine<S>, budgets: Http2Budgets, workspace: Http2Workspace) {
    const { settings } = engine;
    this.engine = engine;
    this.budgets = budgets;
    this.workspace = workspace;
    this.reader = new FrameReader(engine.isServer, settings.maxFrameSize);
    this.decoder = new HpackDecoder();
    this.decoder.allowTable(Math.max(settings.headerTableSize, DEFAULT_HEADER_TABLE_BYTES));
    this.heads = new HeadReader(workspace, this.decoder, settings.maxHeaderListSize, budgets.bombFactor);
    this.blockBytesMax = Math.max(budgets.blockBytesMax, settings.maxHeaderListSize);
    this.dataStream = null;
    this.isDiscarding = false;
    this.block = NO_BYTES;
    this.blockBytes = 0;
    this.continuations = 0;
    this.blockEndsStream = false;
    this.blockDependsOnItself = false;
  }

  /** Takes all of `bytes[offset … end)`; false when the connection is over. */
  receive(bytes: Uint8Array, offset: number, end: number): boolean {
    const { engine, reader } = this;
    let at = offset;
    while (!engine.isDead) {
      const event = reader.next(bytes, at, end);
      switch (event) {
        case R_NEED_MORE:
          return true;
        case R_BEGIN:
          this.begin();
          break;
        case R_FRAME:
          this.frame();
          break;
        case R_DATA:
          this.content(reader.dataOffset, reader.dataLength);
          break;
        case R_DATA_END:
          this.contentEnd();
          break;
        default:
          engine.fail(reader.error, -1);
      }
      at += reader.consumed;
    }
    return false;
  }

  /** A stream is gone. */
  forget(stream: S): void {
    if (this.dataStream === stream) this.dataStream = null;
  }

  // ---- Frames ---------------------------------------------------------------------------------------

  /** A frame's header has come: what can be refused or counted before its payload. */
  private begin(): void {
    const { engine, reader, budgets } = this;
    const { type, length } = reader;
    if (type === T_DATA) {
      this.beginContent();
    } else if (type === T_HEADERS) {
      if (length > this.blockBytesMax) engine.fail(H2_ENHANCE_YOUR_CALM, D_BLOCK);
    } else if (type === T_CONTINUATION) {
      if (++this.continuations > budgets.continuationsMax) engine.fail(H2_ENHANCE_YOUR_CALM, D_CONTINUATION);
      else if (this.blockBytes + length > this.blockBytesMax) engine.fail(H2_ENHANCE_YOUR_CALM, D_BLOCK);
    } else if (type === T_SETTINGS) {
      if (length > budgets.settingsPerFrameMax * SETTING_BYTES) engine.fail(H2_ENHANCE_YOUR_CALM, D_SETTINGS);
    } else if (!isKnown(type)) {
      engine.charge(D_EMPTY);
    }
  }

  private frame(): void {
    const { reader } = this;
    const { type, payload, payloadOffset, length } = reader;
    switch (type) {
      case T_HEADERS:
        this.headers(payload, payloadOffset, length);
        break;
      case T_CONTINUATION:
        this.appendBlock(payload, payloadOffset, length);
        if ((reader.flags & FLAG_END_HEADERS) !== 0) this.blockComplete(this.block, 0, this.blockBytes);
        break;
      case T_PRIORITY:
        this.priority(payload, payloadOffset, length);
        break;
      case T_RST_STREAM:
        this.resetByPeer(readUint32(payload, payloadOffset));
        break;
      case T_SETTINGS:
        this.takeSettings(payload, payloadOffset, length);
        break;
      case T_PING:
        this.pinged(payload, payloadOffset);
        break;
      case T_GOAWAY:
        this.peerLeaves(
          readUint32(payload, payloadOffset) & 0x7fffffff,
          readUint32(payload, payloadOffset + 4),
        );
        break;
      case T_PRIORITY_UPDATE:
        this.priorityUpdate(payload, payloadOffset, length);
        break;
      default:
        if (isKnown(type)) this.windowUpdate(readUint32(payload, payloadOffset) & 0x7fffffff);
    }
  }

  private priority(bytes: Uint8Array, at: number, length: number): void {
    if (!this.engine.charge(D_PRIORITY)) return;
    const id = this.reader.streamId;
    if (length !== PRIORITY_BYTES) this.faultOf(id, H2_FRAME_SIZE_ERROR);
    else if ((readUint32(bytes, at) & 0x7fffffff) === id) this.faultOf(id, H2_PROTOCOL_ERROR);
  }

  /** A stream error; of the connection where the stream is idle, for which there can be no RST_STREAM; nothing where it is closed. */
  private faultOf(id: number, code: number): void {
    const { engine } = this;
    const stream = engine.streams.find(id);
    if (stream !== null) engine.streamError(stream, code);
    else if (engine.isIdle(id)) engine.fail(code, -1);
  }

  /** The tree of RFC 7540 is ignored; a priority of RFC 9218 counts for streams that are open. */
  private priorityUpdate(bytes: Uint8Array, at: number, length: number): void {
    const { engine } = this;
    if (!engine.charge(D_PRIORITY)) return;
    const id = readUint32(bytes, at) & 0x7fffffff;
    if (id === 0 || (id & 1) === 0) {
      engine.fail(H2_PROTOCOL_ERROR, -1);
      return;
    }
    const stream = engine.streams.find(id);
    if (stream === null) return;
    stream.priority = parsePriority(bytes, at + 4, length - 4);
    engine.sender.reprioritize(stream);
  }

  private resetByPeer(code: number): void {
    const { engine } = this;
    const id = this.reader.streamId;
    if (engine.isIdle(id)) {
      engine.fail(H2_PROTOCOL_ERROR, -1);
      return;
    }
    const stream = engine.streams.find(id);
    // Clients of gRPC reset streams that have been answered in full: nothing is lost by that but the frame.
    const isAnswered = stream === null || stream.localEnded;
    if (engine.isServer && !engine.charge(isAnswered ? D_WINDOW_UPDATE : D_RESET)) return;
    if (stream === null) return;
    engine.events.onReset(stream, code, true);
    engine.close(stream);
  }

  private pinged(bytes: Uint8Array, at: number): void {
    const { engine } = this;
    if ((this.reader.flags & FLAG_ACK) !== 0) engine.ponged(readUint32(bytes, at), readUint32(bytes, at + 4));
    else if (engine.charge(D_PING)) engine.pong(bytes, at);
  }

  private peerLeaves(lastId: number, code: number): void {
    const { engine } = this;
    engine.peerLeaves = true;
    if (!engine.isServer) {
      for (const stream of engine.streams.above(lastId)) {
        if (stream.id === 0) continue;
        engine.events.onReset(stream, H2_REFUSED_STREAM, true);
        engine.close(stream);
      }
    }
    engine.events.onGoaway(lastId, code);
  }

  // ---- Settings and windows -------------------------------------------------------------------------

  private takeSettings(bytes: Uint8Array, at: number, length: number): void {
    const { engine } = this;
    if ((this.reader.flags & FLAG_ACK) !== 0) {
      if (engine.settingsAcknowledged) engine.charge(D_SETTINGS);
      else this.settingsAcknowledged();
      return;
    }
    if (!engine.charge(D_SETTINGS)) return;
    const { peer } = engine;
    const windowBefore = peer.initialWindowSize;
    for (let offset = at; offset < at + length; offset += SETTING_BYTES) {
      const setting = (bytes[offset] << 8) | bytes[offset + 1];
      const error = peer.take(setting, readUint32(bytes, offset + 2), !engine.isServer);
      if (error !== H2_NO_ERROR) {
        engine.fail(error, -1);
        return;
      }
    }
    engine.sender.encoder.limitTable(peer.headerTableSize);
    if (!this.moveSendWindows(peer.initialWindowSize - windowBefore)) {
      engine.fail(H2_FLOW_CONTROL_ERROR, -1);
      return;
    }
    engine.acknowledgeSettings();
    engine.events.onSettings();
  }

  /** The peer's initial window has changed by so much, and with it that of every stream (RFC 9113 §6.9.2). */
  private moveSendWindows(delta: number): boolean {
    if (delta === 0) return true;
    const { engine } = this;
    const all = engine.streams.all;
    for (let slot = 0; slot < all.length; slot++) {
      const stream = all[slot];
      if (stream !== null && !engine.sender.widenStream(stream, delta, engine.nowMs)) return false;
    }
    return true;
  }

  /** From here on the peer keeps to our settings. */
  private settingsAcknowledged(): void {
    const { engine } = this;
    const { settings } = engine;
    engine.settingsAcknowledged = true;
    this.decoder.allowTable(settings.headerTableSize);
    const delta = settings.initialWindowSize - engine.receiveInitial;
    engine.receiveInitial = settings.initialWindowSize;
    const all = engine.streams.all;
    for (let slot = 0; slot < all.length; slot++) {
      const stream = all[slot];
      if (stream !== null) stream.receiveWindow += delta;
    }
  }

  private windowUpdate(increment: number): void {
    const { engine } = this;
    const id = this.reader.streamId;
    if (!engine.charge(D_WINDOW_UPDATE)) return;
    if (id === 0) {
      if (increment === 0) engine.fail(H2_PROTOCOL_ERROR, -1);
      else if (!engine.sender.widen(increment)) engine.fail(H2_FLOW_CONTROL_ERROR, -1);
      return;
    }
    const stream = engine.streams.find(id);
    if (stream === null) {
      if (engine.isIdle(id)) engine.fail(H2_PROTOCOL_ERROR, -1);
    } else if (increment === 0) {
      engine.streamError(stream, H2_PROTOCOL_ERROR);
    } else if (!engine.sender.widenStream(stream, increment, engine.nowMs)) {
      engine.streamError(stream, H2_FLOW_CONTROL_ERROR);
    }
  }

  // ---- Content --------------------------------------------------------------------------------------

  /** The header of a DATA frame: windows count all of it, padding too (RFC 9113 §6.9.1). */
  private beginContent(): void {
    const { engine, reader } = this;
    const { streamId: id, length } = reader;
    this.dataStream = null;
    this.isDiscarding = true;
    engine.connectionWindow -= length;
    if (engine.connectionWindow < 0) {
      engine.fail(H2_FLOW_CONTROL_ERROR, -1);
      return;
    }
    const stream = engine.streams.find(id);
    if (stream === null) {
      if (engine.isIdle(id)) {
        engine.fail(H2_PROTOCOL_ERROR, -1);
        return;
      }
      if (!engine.wasReset(id)) engine.refuse(id, H2_STREAM_CLOSED);
      engine.giveBack(length);
      return;
    }
    stream.receiveWindow -= length;
    let error = H2_NO_ERROR;
    if (stream.remoteEnded) error = H2_STREAM_CLOSED;
    else if (!stream.headReceived) error = H2_PROTOCOL_ERROR;
    else if (stream.receiveWindow < 0) error = H2_FLOW_CONTROL_ERROR;
    if (error !== H2_NO_ERROR) {
      engine.giveBack(length);
      engine.streamError(stream, error);
      return;
    }
    this.dataStream = stream;
    this.isDiscarding = false;
  }

  private content(offset: number, length: number): void {
    const { engine } = this;
    const stream = this.dataStream;
    if (stream === null) {
      if (!this.isDiscarding) engine.giveBack(length);
      return;
    }
    if (stream.expectedBytes >= 0) {
      if (length > stream.expectedBytes) {
        engine.giveBack(length);
        engine.streamError(stream, H2_PROTOCOL_ERROR);
        return;
      }
      stream.expectedBytes -= length;
    }
    stream.heldBytes += length;
    engine.events.onData(stream, offset, length);
  }

  /** The end of a DATA frame. */
  private contentEnd(): void {
    const { engine, reader } = this;
    const stream = this.dataStream;
    const { paddingBytes } = reader;
    const ends = (reader.flags & FLAG_END_STREAM) !== 0;
    this.dataStream = null;
    if (!ends) {
      const contentBytes = reader.length - paddingBytes;
      if (contentBytes === 0 && !engine.charge(D_EMPTY)) return;
      if (contentBytes > 0 && contentBytes < this.budgets.tinyDataBytes && !engine.charge(D_TINY_DATA))
        return;
    }
    if (!this.isDiscarding && paddingBytes > 0) engine.giveBack(paddingBytes);
    if (stream === null) return;
    if (!ends) {
      if (paddingBytes > 0) engine.giveBackTo(stream, paddingBytes);
      return;
    }
    if (stream.expectedBytes > 0) engine.streamError(stream, H2_PROTOCOL_ERROR);
    else this.ended(stream, NO_TRAILERS);
  }

  private ended(stream: S, trailers: FieldSection): void {
    const { engine } = this;
    const { id } = stream;
    stream.remoteEnded = true;
    engine.endUpload(stream);
    engine.events.onEnd(stream, trailers);
    if (stream.id === id) engine.closeIfEnded(stream);
  }

  // ---- Field blocks ---------------------------------------------------------------------------------

  private headers(bytes: Uint8Array, offset: number, length: number): void {
    const { engine, reader } = this;
    const { flags } = reader;
    let from = offset;
    let to = offset + length;
    if ((flags & FLAG_PADDED) !== 0) {
      if (from === to) {
        engine.fail(H2_FRAME_SIZE_ERROR, -1);
        return;
      }
      to -= bytes[from++];
    }
    this.blockDependsOnItself = false;
    if ((flags & FLAG_PRIORITY) !== 0) {
      if (length < PRIORITY_BYTES) {
        engine.fail(H2_FRAME_SIZE_ERROR, -1);
        return;
      }
      this.blockDependsOnItself = (readUint32(bytes, from) & 0x7fffffff) === reader.streamId;
      from += PRIORITY_BYTES;
    }
    if (from > to) {
      engine.fail(H2_PROTOCOL_ERROR, -1);
      return;
    }
    this.blockEndsStream = (flags & FLAG_END_STREAM) !== 0;
    this.blockBytes = 0;
    this.continuations = 0;
    if ((flags & FLAG_END_HEADERS) !== 0) this.blockComplete(bytes, from, to);
    else this.appendBlock(bytes, from, to - from);
  }

  private appendBlock(bytes: Uint8Array, from: number, length: number): void {
    const needed = this.blockBytes + length;
    if (needed > this.block.length) {
      const grown = new Uint8Array(Math.max(BLOCK_BYTES_FIRST, needed * 2));
      grown.set(this.block.subarray(0, this.blockBytes));
      this.block = grown;
    }
    this.block.set(bytes.subarray(from, from + length), this.blockBytes);
    this.blockBytes = needed;
  }

  private blockComplete(bytes: Uint8Array, from: number, to: number): void {
    const { engine } = this;
    const id = this.reader.streamId;
    // What was gathered is used up in this call, and long blocks are rare.
    this.block = NO_BYTES;
    this.blockBytes = 0;
    const stream = engine.streams.find(id);
    if (stream === null) {
      if (engine.isServer) this.newStream(id, bytes, from, to);
      else this.lateBlock(id, bytes, from, to);
    } else if (stream.remoteEnded) {
      if (this.isUsable(this.heads.discard(bytes, from, to))) engine.streamError(stream, H2_STREAM_CLOSED);
    } else if (this.blockDependsOnItself) {
      if (this.isUsable(this.heads.discard(bytes, from, to))) engine.streamError(stream, H2_PROTOCOL_ERROR);
    } else if (stream.headReceived) {
      this.trailers(stream, bytes, from, to);
    } else {
      this.response(stream, bytes, from, to);
    }
  }

  /** Whether a block was decoded: else the connection is over. */
  private isUsable(result: number): boolean {
    if (result === HEAD_UNDECODABLE) this.engine.fail(H2_COMPRESSION_ERROR, -1);
    else if (result === HEAD_BOMB) this.engine.fail(H2_ENHANCE_YOUR_CALM, D_HPACK_BOMB);
    else return true;
    return false;
  }

  /** A block of a stream that was closed: one that we have reset; of any other it is an error (RFC 9113 §5.1). */
  private lateBlock(id: number, bytes: Uint8Array, from: number, to: number): void {
    const { engine } = this;
    if (!engine.isServer && engine.isIdle(id)) engine.fail(H2_PROTOCOL_ERROR, -1);
    else if (engine.isServer && !engine.wasReset(id)) engine.fail(H2_STREAM_CLOSED, -1);
    else this.isUsable(this.heads.discard(bytes, from, to));
  }

  private newStream(id: number, bytes: Uint8Array, from: number, to: number): void {
    const { engine } = this;
    if ((id & 1) === 0) {
      engine.fail(H2_PROTOCOL_ERROR, -1);
      return;
    }
    if (id <= engine.lastPeerId) {
      this.lateBlock(id, bytes, from, to);
      return;
    }
    const takes = engine.takesStreams;
    if (takes) engine.lastPeerId = id;
    const stream = takes ? engine.events.acceptStream() : null;
    if (stream === null) {
      engine.lastPeerId = id;
      if (this.isUsable(this.heads.discard(bytes, from, to))) engine.refuse(id, H2_REFUSED_STREAM);
      return;
    }
    stream.open(id, engine.peer.initialWindowSize, engine.receiveInitial);
    engine.streams.add(stream);
    this.request(stream, bytes, from, to);
  }

  private request(stream: S, bytes: Uint8Array, from: number, to: number): void {
    const { engine, heads } = this;
    const { id } = stream;
    const ended = this.blockEndsStream;
    const head = engine.events.requestHead(stream);
    const result = heads.readRequest(head, bytes, from, to, ended, true);
    if (!this.isUsable(result)) return;
    stream.headReceived = true;
    stream.remoteEnded = ended;
    if (result === HEAD_MALFORMED || this.blockDependsOnItself) {
      engine.streamError(stream, H2_PROTOCOL_ERROR);
      return;
    }
    stream.priority = heads.priority;
    stream.isTunnel = head.upgradeIndex >= 0;
    if (!ended) engine.beginUpload(stream);
    if (!ended && !stream.isTunnel) stream.expectedBytes = head.contentLength;
    engine.events.onRequest(stream, result, heads.start, heads.end);
    if (stream.id === id) engine.closeIfEnded(stream);
  }

  private response(stream: S, bytes: Uint8Array, from: number, to: number): void {
    const { engine, heads } = this;
    const { id } = stream;
    const ended = this.blockEndsStream;
    const head = engine.events.responseHead(stream);
    const result = heads.readResponse(head, bytes, from, to, ended, stream.isHead);
    if (!this.isUsable(result)) return;
    if (result !== HEAD_OK) {
      engine.streamError(stream, H2_PROTOCOL_ERROR);
      return;
    }
    if (head.status >= 200) {
      stream.headReceived = true;
      stream.remoteEnded = ended;
      if (!ended && !stream.isTunnel) {
        if (head.bodyKind === BODY_NONE) stream.expectedBytes = 0;
        else stream.expectedBytes = head.bodyKind === BODY_LENGTH ? head.contentLength : LENGTH_UNKNOWN;
      }
    }
    engine.events.onResponse(stream, heads.start, heads.end);
    if (stream.id === id) engine.closeIfEnded(stream);
  }

  /** A second block: trailers, with which the stream ends (RFC 9113 §8.1). */
  private trailers(stream: S, bytes: Uint8Array, from: number, to: number): void {
    const { engine } = this;
    const result = this.heads.readTrailers(bytes, from, to);
    if (!this.isUsable(result)) return;
    const complete = this.blockEndsStream && stream.expectedBytes <= 0 && !stream.isTunnel;
    if (result !== HEAD_OK || !complete) engine.streamError(stream, H2_PROTOCOL_ERROR);
    else this.ended(stream, this.workspace.trailers);
  }
}

const NO_BYTES = new Uint8Array(0);
/** Of streams that end without; never written to. */
const NO_TRAILERS = new FieldSection(NO_BYTES);

function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}
