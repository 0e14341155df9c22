/** Frames as bytes (RFC 9113 §4.1, §6), written into the output that the owner of a connection gives. */

import { copyAcross } from '../base/bytes.ts';
import { DEFAULT_FRAME_BYTES, FRAME_HEADER_BYTES } from './constants.ts';

/** Where an engine writes: the owner's open buffer, for which it gives another when that is full. */
export interface Http2Output {
  /** What `at` and `limit` count in. */
  readonly bytes: Uint8Array;
  /** Where the next byte goes; everything before it is in order, and may leave at any time between two calls. */
  at: number;
  limit: number;
  /** Makes `limit - at` at least `length` (at most OUTPUT_ROOM_MAX). False: memory is exhausted, the connection must end. */
  makeRoom(length: number): boolean;
}

/** Most that an engine asks for at once: a control frame. Heads are written in as many pieces as there are buffers. */
export const OUTPUT_ROOM_MAX = 128;

/** Payload of a DATA frame at most, whatever the peer allows: others wait while it leaves. Our own choice. */
export const SEND_FRAME_BYTES_MAX = DEFAULT_FRAME_BYTES;

export function putUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

export function putUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Writes a frame's header and, behind it, leaves `room` bytes free for the caller. False: memory is exhausted. */
export function putFrameHeader(
  out: Http2Output,
  length: number,
  type: number,
  flags: number,
  id: number,
  room: number,
): boolean {
  if (out.limit - out.at < FRAME_HEADER_BYTES + room && !out.makeRoom(FRAME_HEADER_BYTES + room))
    return false;
  const { bytes, at } = out;
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  putUint32(bytes, at + 5, id);
  out.at = at + FRAME_HEADER_BYTES;
  return true;
}

/** A frame whose payload is one number of 32 bits. */
export function putNumberFrame(
  out: Http2Output,
  type: number,
  flags: number,
  id: number,
  value: number,
): boolean {
  if (!putFrameHeader(out, 4, type, flags, id, 4)) return false;
  putUint32(out.bytes, out.at, value);
  out.at += 4;
  return true;
}

/** Copies any number of bytes, over as many buffers as they take. False: memory is exhausted. */
export function putPayload(out: Http2Output, source: Uint8Array, from: number, length: number): boolean {
  let offset = from;
  let left = length;
  while (left > 0) {
    if (out.at === out.limit && !out.makeRoom(Math.min(left, OUTPUT_ROOM_MAX))) return false;
    const taken = Math.min(left, out.limit - out.at);
    copyAcross(out.bytes, out.at, source, offset, taken);
    out.at += taken;
    offset += taken;
    left -= taken;
  }
  return true;
}
