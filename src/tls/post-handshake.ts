/**
 * Handshake messages that come after the handshake (RFC 8446 §4.6): which they are, across records. Content is
 * skipped but for a KeyUpdate's one byte.
 *
 * A message: type (1 byte), length (3), content.
 */

import { ALERT_DECODE_ERROR, ALERT_ILLEGAL_PARAMETER, ALERT_UNEXPECTED_MESSAGE } from './alert.ts';
import { TLS13, type TlsVersion } from './suites.ts';

/** The record is used up. */
export const M_CONTINUES = 0;
export const M_KEY_UPDATE = 1;
/** The peer wants ours to be updated, too. */
export const M_KEY_UPDATE_REQUESTED = 2;
export const M_TICKET = 3;
/** TLS 1.2: HelloRequest or ClientHello. */
export const M_RENEGOTIATION = 4;

const HELLO_REQUEST = 0;
const CLIENT_HELLO = 1;
const NEW_SESSION_TICKET = 4;
const KEY_UPDATE = 24;
const HEADER_BYTES = 4;
/** Ticket (up to 65535), nonce, extensions. */
const MESSAGE_BYTES_MAX = 131072 + 512;

export class PostHandshake {
  private readonly version: TlsVersion;
  private readonly isServer: boolean;
  private offset: number;
  private end: number;
  private type: number;
  private headerBytes: number;
  private bytesLeft: number;
  private lastByte: number;

  constructor(version: TlsVersion, isServer: boolean) {
    this.version = version;
    this.isServer = isServer;
    this.offset = 0;
    this.end = 0;
    this.type = 0;
    this.headerBytes = 0;
    this.bytesLeft = 0;
    this.lastByte = 0;
  }

  /** No message is half read. */
  get isBetween(): boolean {
    return this.headerBytes === 0 && this.offset === this.end;
  }

  /** The content of one record of type handshake. */
  begin(offset: number, length: number): void {
    this.offset = offset;
    this.end = offset + length;
  }

  /** The next message that is complete, M_CONTINUES, or the negative of the alert that the peer must get. */
  next(bytes: Uint8Array): number {
    if (this.offset === this.end && this.headerBytes === 0) return M_CONTINUES;
    while (this.offset < this.end && this.headerBytes < HEADER_BYTES) this.readHeader(bytes[this.offset++]);
    if (this.headerBytes < HEADER_BYTES) return M_CONTINUES;
    const verdict = this.checkHeader();
    if (verdict !== M_CONTINUES) return verdict;
    const taken = Math.min(this.bytesLeft, this.end - this.offset);
    if (taken > 0) this.lastByte = bytes[this.offset + taken - 1];
    this.offset += taken;
    this.bytesLeft -= taken;
    if (this.bytesLeft > 0) return M_CONTINUES;
    this.headerBytes = 0;
    return this.complete();
  }

  private readHeader(byte: number): void {
    if (this.headerBytes === 0) {
      this.type = byte;
      this.bytesLeft = 0;
    } else {
      this.bytesLeft = (this.bytesLeft << 8) | byte;
    }
    this.headerBytes++;
  }

  /** Whether such a message may come at all. */
  private checkHeader(): number {
    if (this.bytesLeft > MESSAGE_BYTES_MAX) return -ALERT_DECODE_ERROR;
    if (this.version !== TLS13) {
      const renegotiates = this.isServer ? this.type === CLIENT_HELLO : this.type === HELLO_REQUEST;
      return renegotiates ? M_RENEGOTIATION : -ALERT_UNEXPECTED_MESSAGE;
    }
    if (this.type === KEY_UPDATE) return this.bytesLeft !== 1 ? -ALERT_DECODE_ERROR : M_CONTINUES;
    if (this.type === NEW_SESSION_TICKET && !this.isServer) return M_CONTINUES;
    return -ALERT_UNEXPECTED_MESSAGE;
  }

  private complete(): number {
    if (this.type === NEW_SESSION_TICKET) return M_TICKET;
    // New keys begin with a new record (RFC 8446 §5.1).
    if (this.offset < this.end) return -ALERT_UNEXPECTED_MESSAGE;
    if (this.lastByte > 1) return -ALERT_ILLEGAL_PARAMETER;
    return this.lastByte === 1 ? M_KEY_UPDATE_REQUESTED : M_KEY_UPDATE;
  }
}
