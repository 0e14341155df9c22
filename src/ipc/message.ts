/**
 * Messages between compartments, byte by byte. Pure: bytes in, values out; what is not exactly a message is null, never
 * an exception. Integers are big-endian.
 *
 * Head, HEAD_BYTES:
 *
 *   0  u8   version (1)
 *   1  u8   kind
 *   2  u16  descriptors that come with it
 *   4  u32  length of the body, which ends the datagram
 *
 * Bodies, each of which is as long as it says and no longer:
 *
 *   configure   u32 generation, u32 part, u32 parts, bytes
 *   descriptors u16 purpose, u16 peer (a role), u32 index; the descriptors themselves beside it
 *   drain       u32 milliseconds, u8 whether clients come back to another one (0 or 1)
 *   log-file    u32, u32 bytes that the file has, u8 whether it may be rotated (0 or 1); its descriptor beside it
 *   rotate      (empty)
 *   ping        u32 sequence number
 *   ready       u32 generation
 *   refused     u32 generation, text
 *   pong        u32 sequence number, u32 open connections, u32 entries of the log that were not written (the journal's)
 *   drained     (empty)
 *   log         u32 entries dropped before these, bytes
 *   resolve     u32 question, name (1 to 255 bytes of ASCII)
 *   resolved    u32 question, u8 status, u8 count, count × (u8 family 4 or 6, 16 bytes of address)
 */

import type { Role } from './roles.ts';

const VERSION = 1;
export const HEAD_BYTES = 8;
/** Longest datagram: it fits a socket's default buffers several times. */
export const MESSAGE_BYTES_MAX = 61440;
export const BODY_BYTES_MAX = MESSAGE_BYTES_MAX - HEAD_BYTES;
/** Room for content in the messages that carry it. */
export const PART_BYTES_MAX = BODY_BYTES_MAX - 12;
export const LOG_BYTES_MAX = BODY_BYTES_MAX - 4;
export const TEXT_BYTES_MAX = 4096;
export const NAME_BYTES_MAX = 255;
export const ADDRESSES_MAX = 32;
/** Parts of a configuration: 15 MiB together. */
export const PARTS_MAX = 256;
const ADDRESS_BYTES = 17;

/**
 * What passed descriptors are for. `output` is the journal's: the end for reading of a pipe that takes what a process
 * of the room `peer` writes to its standard output and error, whose id is `index`; or, where `peer` is the journal, the
 * standard error of the whole program.
 */
export const PURPOSES = ['listener', 'channel', 'key', 'statistics', 'output'] as const;
export type Purpose = (typeof PURPOSES)[number];

const ROLES: readonly Role[] = ['master', 'edge', 'keys', 'journal', 'outbound'];

export const RESOLVED_STATUSES = ['found', 'no-such-name', 'failed'] as const;
export type ResolvedStatus = (typeof RESOLVED_STATUSES)[number];

export interface ResolvedAddress {
  readonly family: 4 | 6;
  /** 4 or 16 bytes. */
  readonly bytes: Uint8Array;
}

export type Message =
  | {
      readonly kind: 'configure';
      readonly generation: number;
      readonly part: number;
      readonly parts: number;
      readonly bytes: Uint8Array;
    }
  /** `peer` is who is at the other end of a channel; for other purposes the receiver itself. */
  | { readonly kind: 'descriptors'; readonly purpose: Purpose; readonly peer: Role; readonly index: number }
  /** `isReplaced`: another room serves the same clients already, so that idle ones may wait for their next request. */
  | { readonly kind: 'drain'; readonly timeoutMs: number; readonly isReplaced: boolean }
  /** Where the log is written from now on. `bytes`: what is in it. `rotates`: it is a file that may be rotated. */
  | { readonly kind: 'log-file'; readonly bytes: number; readonly rotates: boolean }
  /** The file is as large as it may be: another one is wanted in its place. */
  | { readonly kind: 'rotate' }
  | { readonly kind: 'ping'; readonly sequence: number }
  | { readonly kind: 'ready'; readonly generation: number }
  | { readonly kind: 'refused'; readonly generation: number; readonly reason: string }
  | {
      readonly kind: 'pong';
      readonly sequence: number;
      readonly openConnections: number;
      /** Entries of the log that the journal got and could not write, since it started. */
      readonly unwritten: number;
    }
  | { readonly kind: 'drained' }
  | { readonly kind: 'log'; readonly dropped: number; readonly bytes: Uint8Array }
  | { readonly kind: 'resolve'; readonly question: number; readonly name: string }
  | {
      readonly kind: 'resolved';
      readonly question: number;
      readonly status: ResolvedStatus;
      readonly addresses: readonly ResolvedAddress[];
    };

export type MessageKind = Message['kind'];

/** Position + 1 is the number on the wire. */
export const KINDS = [
  'configure',
  'descriptors',
  'drain',
  'log-file',
  'rotate',
  'ping',
  'ready',
  'refused',
  'pong',
  'drained',
  'log',
  'resolve',
  'resolved',
] as const satisfies readonly MessageKind[];

/** A message, and how many descriptors its head says there are. */
export interface Decoded {
  readonly message: Message;
  readonly descriptors: number;
}

/** Writes a message at the start of `target` (MESSAGE_BYTES_MAX). Its length; 0: it has no such form (too long, out of range). */
export function encodeMessage(target: Uint8Array, message: Message, descriptors: number): number {
  const body = new Body(target);
  writeBody(body, message);
  if (body.isWrong) return 0;
  const { view } = body;
  target[0] = VERSION;
  target[1] = KINDS.indexOf(message.kind) + 1;
  view.setUint16(2, descriptors);
  view.setUint32(4, body.at - HEAD_BYTES);
  // What is written must be what is read: one place knows what is allowed.
  return decodeMessage(target.subarray(0, body.at)) === null ? 0 : body.at;
}

/** The message that `bytes` are from first to last, or null. Byte fields are views of them. */
export function decodeMessage(bytes: Uint8Array): Decoded | null {
  if (bytes.length < HEAD_BYTES || bytes.length > MESSAGE_BYTES_MAX || bytes[0] !== VERSION) return null;
  const body = new Body(bytes);
  if (body.view.getUint32(4) !== bytes.length - HEAD_BYTES) return null;
  const kind = KINDS.at(bytes[1] - 1);
  if (bytes[1] === 0 || kind === undefined) return null;
  const message = readBody(body, kind);
  if (message === null || body.isWrong || body.at !== bytes.length) return null;
  return { message, descriptors: body.view.getUint16(2) };
}

/** Reads and writes a body field by field; `isWrong` once one didn't fit. */
class Body {
  readonly view: DataView;
  at: number;
  isWrong: boolean;
  private readonly target: Uint8Array;

  constructor(target: Uint8Array) {
    this.target = target;
    this.view = new DataView(target.buffer, target.byteOffset, target.length);
    this.at = HEAD_BYTES;
    this.isWrong = false;
  }

  /** The position of `count` bytes, which are passed over; 0 where there aren't as many. */
  private take(count: number): number {
    if (this.isWrong || this.at + count > this.target.length) {
      this.isWrong = true;
      return 0;
    }
    this.at += count;
    return this.at - count;
  }

  putU8(value: number): void {
    const at = this.take(1);
    if (at > 0) this.target[at] = value;
  }

  putU16(value: number): void {
    const at = this.take(2);
    if (at > 0) this.view.setUint16(at, value);
  }

  putU32(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) this.isWrong = true;
    const at = this.take(4);
    if (at > 0) this.view.setUint32(at, value);
  }

  putBytes(bytes: Uint8Array): void {
    const at = this.take(bytes.length);
    if (at > 0) this.target.set(bytes, at);
  }

  u8(): number {
    const at = this.take(1);
    return at > 0 ? this.target[at] : 0;
  }

  u16(): number {
    const at = this.take(2);
    return at > 0 ? this.view.getUint16(at) : 0;
  }

  u32(): number {
    const at = this.take(4);
    return at > 0 ? this.view.getUint32(at) : 0;
  }

  bytes(count: number): Uint8Array {
    const at = this.take(count);
    return this.target.subarray(at, at + (at > 0 ? count : 0));
  }

  rest(bytesMax: number): Uint8Array {
    const count = this.target.length - this.at;
    if (count > bytesMax) this.isWrong = true;
    return this.bytes(count);
  }
}

function writeBody(body: Body, message: Message): void {
  switch (message.kind) {
    case 'configure':
      body.putU32(message.generation);
      body.putU32(message.part);
      body.putU32(message.parts);
      body.putBytes(message.bytes);
      break;
    case 'descriptors':
      body.putU16(PURPOSES.indexOf(message.purpose));
      body.putU16(ROLES.indexOf(message.peer));
      body.putU32(message.index);
      break;
    case 'drain':
      body.putU32(message.timeoutMs);
      body.putU8(message.isReplaced ? 1 : 0);
      break;
    case 'log-file':
      body.putU32(Math.floor(message.bytes / 0x1_0000_0000));
      body.putU32(message.bytes % 0x1_0000_0000);
      body.putU8(message.rotates ? 1 : 0);
      break;
    case 'rotate':
    case 'drained':
      break;
    case 'ping':
      body.putU32(message.sequence);
      break;
    case 'ready':
      body.putU32(message.generation);
      break;
    case 'refused':
      body.putU32(message.generation);
      body.putBytes(Buffer.from(message.reason, 'utf8').subarray(0, TEXT_BYTES_MAX));
      break;
    case 'pong':
      body.putU32(message.sequence);
      body.putU32(message.openConnections);
      body.putU32(message.unwritten);
      break;
    case 'log':
      body.putU32(message.dropped);
      body.putBytes(message.bytes);
      break;
    case 'resolve':
      body.putU32(message.question);
      body.putBytes(Buffer.from(message.name, 'latin1'));
      break;
    case 'resolved':
      writeResolved(body, message);
      break;
  }
}

function writeResolved(body: Body, message: Message & { kind: 'resolved' }): void {
  body.putU32(message.question);
  body.putU8(RESOLVED_STATUSES.indexOf(message.status));
  body.putU8(message.addresses.length);
  if (message.addresses.length > ADDRESSES_MAX) body.isWrong = true;
  for (const { family, bytes } of message.addresses) {
    if (bytes.length !== (family === 4 ? 4 : 16)) body.isWrong = true;
    body.putU8(family);
    body.putBytes(bytes);
    body.putBytes(new Uint8Array(ADDRESS_BYTES - 1 - bytes.length));
  }
}

function readBody(body: Body, kind: MessageKind): Message | null {
  switch (kind) {
    case 'configure':
      return readConfigure(body);
    case 'descriptors': {
      const purpose = PURPOSES.at(body.u16());
      const peer = ROLES.at(body.u16());
      const index = body.u32();
      return purpose === undefined || peer === undefined ? null : { kind, purpose, peer, index };
    }
    case 'drain':
      return readDrain(body);
    case 'log-file':
      return readLogFile(body);
    case 'rotate':
    case 'drained':
      return { kind };
    case 'ping':
      return { kind, sequence: body.u32() };
    case 'ready':
      return { kind, generation: body.u32() };
    case 'refused':
      return { kind, generation: body.u32(), reason: textOf(body.rest(TEXT_BYTES_MAX)) };
    case 'pong':
      return { kind, sequence: body.u32(), openConnections: body.u32(), unwritten: body.u32() };
    case 'log':
      return { kind, dropped: body.u32(), bytes: body.rest(LOG_BYTES_MAX) };
    case 'resolve':
      return readResolve(body);
    case 'resolved':
      return readResolved(body);
  }
}

function readLogFile(body: Body): Message | null {
  const bytes = body.u32() * 0x1_0000_0000 + body.u32();
  const rotates = body.u8();
  if (!Number.isSafeInteger(bytes) || rotates > 1) return null;
  return { kind: 'log-file', bytes, rotates: rotates === 1 };
}

function readDrain(body: Body): Message | null {
  const timeoutMs = body.u32();
  const isReplaced = body.u8();
  return isReplaced > 1 ? null : { kind: 'drain', timeoutMs, isReplaced: isReplaced === 1 };
}

function readConfigure(body: Body): Message | null {
  const generation = body.u32();
  const part = body.u32();
  const parts = body.u32();
  const bytes = body.rest(PART_BYTES_MAX);
  if (parts === 0 || parts > PARTS_MAX || part >= parts) return null;
  return { kind: 'configure', generation, part, parts, bytes };
}

function readResolve(body: Body): Message | null {
  const question = body.u32();
  const name = body.rest(NAME_BYTES_MAX);
  if (name.length === 0 || !name.every((byte) => byte > 0x20 && byte < 0x7f)) return null;
  return { kind: 'resolve', question, name: textOf(name) };
}

function readResolved(body: Body): Message | null {
  const question = body.u32();
  const status = RESOLVED_STATUSES.at(body.u8());
  const count = body.u8();
  if (status === undefined || count > ADDRESSES_MAX || count > 0 !== (status === 'found')) return null;
  const addresses: ResolvedAddress[] = [];
  for (let each = 0; each < count; each++) {
    const family = body.u8();
    const bytes = body.bytes(16);
    if (family !== 4 && family !== 6) return null;
    addresses.push({ family, bytes: family === 4 ? bytes.subarray(0, 4) : bytes });
  }
  return { kind: 'resolved', question, status, addresses };
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}
