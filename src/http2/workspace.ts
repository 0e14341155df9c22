/**
 * Memory that is in use only during one call of an engine, so that all connections of a worker share it: where field
 * blocks are decoded to, and where they are encoded. With it, heads that may come again (remembered-heads.ts).
 */

import { FieldSection } from '../http/fields.ts';
import { BLOCK_START_BYTES_MAX } from './hpack-encoder.ts';
import { REMEMBERED_BYTES, RememberedHeads } from './remembered-heads.ts';
import type { Http2Settings } from './settings.ts';

const BLOCK_BYTES_FIRST = 8192;
/** Words of pseudo-fields and their like that a head adds to what was received. */
const EXTRA_BYTES = 1024;
/** A crumb of a cookie counts at least so much in a list: 32, and its name. */
const CRUMB_BYTES_MIN = 38;

/** Bytes that a workspace needs. */
export function workspaceBytes(settings: Http2Settings): number {
  return decodingBytes(settings) + REMEMBERED_BYTES;
}

/** Bytes to decode into. */
function decodingBytes(settings: Http2Settings): number {
  return 2 * settings.maxHeaderListSize + Math.max(settings.headerTableSize, 4096) + EXTRA_BYTES;
}

export class Http2Workspace {
  /** What the positions of decoded heads count in: the arena. */
  readonly bytes: Uint8Array;
  /** Heads are decoded to `bytes[start … end)` and stay there until the engine is called again. */
  readonly start: number;
  readonly end: number;
  /** Trailers of the peer, valid during the call that tells of them. */
  readonly trailers: FieldSection;
  /** Offset and length of each further `cookie` field of the head at hand (RFC 9113 §8.2.3). */
  readonly crumbs: Int32Array;
  /** Heads that were decoded here not long ago. */
  readonly remembered: RememberedHeads;
  /** A block that is being encoded; replaced when it grows. */
  block: Uint8Array;

  /** `bytes[start … start + workspaceBytes(settings))` is this workspace's. */
  constructor(bytes: Uint8Array, start: number, settings: Http2Settings) {
    this.bytes = bytes;
    this.start = start;
    this.end = start + decodingBytes(settings);
    this.trailers = new FieldSection(bytes);
    this.crumbs = new Int32Array(2 * Math.ceil(settings.maxHeaderListSize / CRUMB_BYTES_MIN));
    this.remembered = new RememberedHeads(this.end);
    this.block = new Uint8Array(BLOCK_BYTES_FIRST);
  }

  /** Memory for a block of at most `bytes` beside its start. */
  blockFor(bytes: number): Uint8Array {
    const needed = bytes + BLOCK_START_BYTES_MAX;
    if (this.block.length < needed) this.block = new Uint8Array(needed * 2);
    return this.block;
  }
}
