/**
 * A handshake: OpenSSL's, over two memory BIOs, fed record by record so that not a byte beyond its end reaches
 * OpenSSL. When it is complete the traffic keys are taken out and OpenSSL is not needed any more (but by a client
 * for the tickets that come after it).
 *
 * The owner alternates `feed` with `takeOutput` while there is output, until `state` says how it ended.
 */

import { assert } from '../base/assert.ts';
import { copyForeignBytes, copyForeignString } from '../sys/foreign-string.ts';
import {
  BIO_free,
  BIO_pending,
  BIO_read,
  BIO_write,
  ERR_clear_error,
  foreignCallback,
  newMemoryBio,
  opensslErrors,
  resetMemoryBio,
  SSL_CIPHER_get_protocol_id,
  SSL_CTX_set_keylog_callback,
  SSL_do_handshake,
  SSL_ERROR_WANT_READ,
  SSL_free,
  SSL_get_client_random,
  SSL_get_current_cipher,
  SSL_get_error,
  SSL_get_server_random,
  SSL_get_servername,
  SSL_get_session,
  SSL_get0_alpn_selected,
  SSL_read,
  SSL_SESSION_get_master_key,
  SSL_SESSION_get_max_fragment_length,
  SSL_session_reused,
  SSL_set_bio,
  SSL_set_shutdown,
} from '../sys/openssl.ts';
import {
  CLIENT_RANDOM_AT,
  deriveKeyBlock,
  deriveTrafficKey,
  MASTER_AT,
  SERVER_RANDOM_AT,
} from './key-schedule.ts';
import {
  CIPHERTEXT_MAX,
  HEADER_BYTES,
  PLAINTEXT_MAX,
  RECORD_CHANGE_CIPHER_SPEC,
  RecordLayer,
} from './record-layer.ts';
import { SECRET_AT, type SecretSlot, scratch, secrets } from './secret-memory.ts';
import { type Suite, suiteOf, TLS12, TLS13 } from './suites.ts';

/** More is to come from the peer. */
export const H_CONTINUES = 0;
export const H_COMPLETE = 1;
/** `reason` says why; what output there is (an alert) is still to be sent. */
export const H_FAILED = 2;
/** The first bytes are not TLS but look like an HTTP request; nothing was used up. */
export const H_PLAIN_HTTP = 3;

/** What a whole handshake may take from the peer: certificate chains are the largest part. */
const INPUT_BYTES_MAX = 262144;
/** TLS 1.2 allows records a little longer than our own record layer does (RFC 5246 §6.2.3). */
const HANDSHAKE_RECORD_MAX = PLAINTEXT_MAX + 2048;
const RANDOM_BYTES = 32;
const SENT_AND_RECEIVED_SHUTDOWN = 3;
const MASTER_SECRET_BYTES = 48;
const TICKET_RECORD_MAX = CIPHERTEXT_MAX + HEADER_BYTES;

/** A line of the key log: label (23 bytes for those that are of use), space, client random (64), space, secret. */
const LINE_AT = 3072;
const LINE_BYTES_MAX = 256;
const LABEL_BYTES = 23;
const SECRET_HEX_AT = LINE_AT + LABEL_BYTES + 1 + 2 * RANDOM_BYTES + 1;
/** Where `SSL_read` may put what must not come, and small results. */
const READ_AT = 2560;
const READ_BYTES = 256;

/** BIOs that were emptied, for what the next clients send: making one costs more than all that is written to it. */
const spareBios: number[] = [];
const SPARE_BIOS_MAX = 64;
/** One that ever held more than this is not kept. */
const SPARE_BYTES_MAX = 4096;

/** Whose handshake OpenSSL is running: callbacks come from inside its calls. */
let running: Handshake | null = null;

const keylog = foreignCallback<[number, number], undefined>(
  'void',
  ['int64_t', 'int64_t'],
  undefined,
  (_ssl, line) => {
    running?.keepSecret(line);
  },
);

/** Every SSL_CTX whose sessions are given to `Handshake` must have passed through here. */
export function exposeSecrets(ctx: number): void {
  SSL_CTX_set_keylog_callback(ctx, keylog);
}

/** Whether signatures that are made elsewhere can be had just now. */
export interface Reachability {
  readonly isReachable: boolean;
}

/** What a server's handshakes need where they are. */
export interface SignatureGate extends Reachability {
  /** A new SSL in accept state, for a handshake that begins anew; 0: no memory. */
  newSession(): number;
}

export class Handshake {
  /** The SSL; 0 after `free`. */
  ssl: number;
  state: number;
  /** What the peer sent waits until signatures can be had again: `resume` is to be called now and then. */
  isHeld: boolean;
  /** Why it failed, in OpenSSL's words. */
  reason: string;
  /** Bytes that are to be sent to the peer. */
  outputBytes: number;
  private readonly isServer: boolean;
  private readonly gate: SignatureGate | null;
  private readBio: number;
  private writeBio: number;
  /** All that the peer has sent, until it is answered: whoever signs may die over it. 0: not kept. */
  private replayBio: number;
  private readonly clientSlot: SecretSlot;
  private readonly serverSlot: SecretSlot;
  private slotsHeld: boolean;
  /** Of the record that is being fed: bytes of its header seen, what they said, and content still to come. */
  private headerBytes: number;
  private recordType: number;
  private lengthHigh: number;
  private recordBytesLeft: number;
  private inputBytes: number;
  /** Records that were fed since the last ChangeCipherSpec: in TLS 1.2 those under the peer's keys. */
  private readSequence: number;
  private writeSequence: number;

  /**
   * Takes over `ssl`, which is in accept or connect state. Where there is a gate, the handshake waits for it rather than
   * fail. Throws where memory is exhausted.
   */
  constructor(ssl: number, isServer: boolean, gate: SignatureGate | null = null) {
    this.ssl = ssl;
    this.isServer = isServer;
    this.gate = gate;
    this.state = H_CONTINUES;
    this.isHeld = false;
    this.reason = '';
    this.outputBytes = 0;
    this.readBio = newMemoryBio();
    this.writeBio = newMemoryBio();
    this.replayBio = gate === null ? 0 : (spareBios.pop() ?? newMemoryBio());
    this.clientSlot = secrets.acquire();
    this.serverSlot = secrets.acquire();
    this.slotsHeld = true;
    this.headerBytes = 0;
    this.recordType = 0;
    this.lengthHigh = 0;
    this.recordBytesLeft = 0;
    this.inputBytes = 0;
    this.readSequence = 0;
    this.writeSequence = 0;
    if (ssl === 0 || this.readBio === 0 || this.writeBio === 0 || this.serverSlot < 0) {
      this.abandon();
      throw new Error('no memory for a TLS handshake');
    }
    SSL_set_bio(ssl, this.readBio, this.writeBio);
  }

  private abandon(): void {
    for (const bio of [this.readBio, this.writeBio]) if (bio !== 0) BIO_free(bio);
    this.dropReplay();
    for (const slot of [this.clientSlot, this.serverSlot]) if (slot >= 0) secrets.release(slot);
    if (this.ssl !== 0) SSL_free(this.ssl);
    this.ssl = 0;
  }

  /** A client begins: its first message is output. */
  start(): void {
    this.advance();
  }

  /** Goes on where it was held, if signatures can be had again. */
  resume(): void {
    if (this.isHeld) this.advance();
  }

  /**
   * Feeds `bytes[offset … end)`, which begin at `address`. Stops at the end of a record that made output or ended the
   * handshake. Returns the offset of the first byte that was not used.
   */
  feed(bytes: Uint8Array, address: number, offset: number, end: number): number {
    let at = offset;
    if (this.isServer && this.inputBytes === 0 && isLetter(bytes[at])) {
      this.state = H_PLAIN_HTTP;
      return at;
    }
    while (at < end && this.state === H_CONTINUES && this.outputBytes === 0)
      at = this.feedRecord(bytes, address, at, end);
    return at;
  }

  /** Feeds what there is of one record. Returns the offset after it. */
  private feedRecord(bytes: Uint8Array, address: number, offset: number, end: number): number {
    let at = offset;
    if (this.recordBytesLeft === 0) {
      at = this.readHeader(bytes, at, end);
      if (this.headerBytes > 0 || !this.isRecord) {
        this.put(address + offset, at - offset);
        if (this.headerBytes === 0) this.refuseRecord();
        return at;
      }
    }
    const length = Math.min(this.recordBytesLeft, end - at);
    at += length;
    this.recordBytesLeft -= length;
    this.put(address + offset, at - offset);
    if (this.recordBytesLeft > 0) return at;
    const changes = this.recordType === RECORD_CHANGE_CIPHER_SPEC;
    this.readSequence = changes ? 0 : this.readSequence + 1;
    // Nothing comes of a ChangeCipherSpec alone: what follows it at once is looked at together with it.
    if (!changes || at === end) this.advance();
    return at;
  }

  private readHeader(bytes: Uint8Array, offset: number, end: number): number {
    let at = offset;
    while (at < end && this.headerBytes < HEADER_BYTES) {
      const byte = bytes[at++];
      if (this.headerBytes === 0) this.recordType = byte;
      else if (this.headerBytes === 3) this.lengthHigh = byte;
      else if (this.headerBytes === 4) this.recordBytesLeft = (this.lengthHigh << 8) | byte;
      this.headerBytes++;
    }
    if (this.headerBytes === HEADER_BYTES) this.headerBytes = 0;
    return at;
  }

  /** Whether the header that was read is one of a record that a handshake can have. */
  private get isRecord(): boolean {
    const isKnown = this.recordType >= 20 && this.recordType <= 23;
    return isKnown && this.recordBytesLeft > 0 && this.recordBytesLeft <= HANDSHAKE_RECORD_MAX;
  }

  /** OpenSSL says what is wrong with the record whose header it was fed, and tells the peer. */
  private refuseRecord(): void {
    this.recordBytesLeft = 0;
    this.advance();
    const isKnown = this.recordType >= 20 && this.recordType <= 23;
    if (!isKnown && this.state === H_CONTINUES) this.fail('not a TLS record');
  }

  private put(address: number, length: number): void {
    this.inputBytes += length;
    if (this.inputBytes > INPUT_BYTES_MAX) this.fail('too many bytes in the handshake');
    else BIO_write(this.readBio, address, length);
    if (this.replayBio !== 0) BIO_write(this.replayBio, address, length);
  }

  private dropReplay(): void {
    const bio = this.replayBio;
    if (bio === 0) return;
    this.replayBio = 0;
    if (this.inputBytes <= SPARE_BYTES_MAX && spareBios.length < SPARE_BIOS_MAX) {
      resetMemoryBio(bio);
      spareBios.push(bio);
    } else BIO_free(bio);
  }

  /**
   * The handshake has failed while signatures can't be had: it is held, and begins anew with what the peer has sent,
   * which has heard nothing yet. Once at most. False: there is nothing to begin with.
   */
  private beginAnew(): boolean {
    if (this.replayBio === 0 || this.gate === null || this.gate.isReachable) return false;
    const ssl = this.gate.newSession();
    const writeBio = newMemoryBio();
    if (ssl === 0 || writeBio === 0) {
      if (ssl !== 0) SSL_free(ssl);
      if (writeBio !== 0) BIO_free(writeBio);
      return false;
    }
    ERR_clear_error();
    SSL_free(this.ssl);
    this.ssl = ssl;
    this.readBio = this.replayBio;
    this.writeBio = writeBio;
    this.replayBio = 0;
    SSL_set_bio(ssl, this.readBio, writeBio);
    this.outputBytes = 0;
    this.isHeld = true;
    return true;
  }

  /** Lets OpenSSL work on what it was fed. */
  private advance(): void {
    if (this.state !== H_CONTINUES) return;
    // Who has been answered is owed no signature any more, and what follows its last message is not for the handshake.
    const isAnswered = !this.isHeld && this.replayBio === 0;
    this.isHeld = !isAnswered && this.gate?.isReachable === false;
    if (this.isHeld) return;
    ERR_clear_error();
    running = this;
    const result = SSL_do_handshake(this.ssl);
    running = null;
    this.outputBytes = BIO_pending(this.writeBio);
    if (result === 1) {
      this.state = H_COMPLETE;
      return;
    }
    if (SSL_get_error(this.ssl, result) === SSL_ERROR_WANT_READ) {
      if (this.outputBytes > 0) this.dropReplay();
    } else if (!this.beginAnew()) this.fail(opensslErrors());
  }

  private fail(reason: string): void {
    this.state = H_FAILED;
    this.reason = reason === '' ? 'the handshake failed' : reason;
  }

  /** Moves output to `bytes[offset …]`, which has room for `capacity` bytes. Returns how many there were. */
  takeOutput(bytes: Uint8Array, address: number, offset: number, capacity: number): number {
    const length = BIO_read(this.writeBio, address + offset, capacity);
    if (length <= 0) return 0;
    this.outputBytes -= length;
    // What a server sends after the client's last message are tickets, under the application's keys.
    if (this.state === H_COMPLETE && this.isServer) this.countRecords(bytes, offset, length);
    return length;
  }

  private countRecords(bytes: Uint8Array, offset: number, length: number): void {
    for (let at = offset; at < offset + length; at += HEADER_BYTES + ((bytes[at + 3] << 8) | bytes[at + 4]))
      this.writeSequence++;
  }

  // ---- When it is complete: output must have been taken before ----------------------------------------

  private get suite(): Suite | null {
    return suiteOf(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(this.ssl)) & 0xffff);
  }

  /** The record layer that goes on from here. Null where the suite is none that we know: a configuration's fault. */
  takeRecordLayer(): RecordLayer | null {
    assert(this.state === H_COMPLETE && this.slotsHeld, 'keys of a handshake that is not complete');
    const { suite } = this;
    if (suite === null) return null;
    if (suite.version === TLS13) {
      deriveTrafficKey(suite, this.clientSlot);
      deriveTrafficKey(suite, this.serverSlot);
    } else {
      this.deriveTls12Keys(suite);
    }
    this.slotsHeld = false;
    // In TLS 1.2 the Finished messages were the first under these keys; the peer may have cut its own in pieces.
    const isTls12 = suite.version === TLS12;
    const fragmentCode = SSL_SESSION_get_max_fragment_length(SSL_get_session(this.ssl));
    return new RecordLayer({
      suite,
      readSlot: this.isServer ? this.clientSlot : this.serverSlot,
      writeSlot: this.isServer ? this.serverSlot : this.clientSlot,
      readSequence: isTls12 ? this.readSequence : 0,
      writeSequence: isTls12 ? 1 : this.writeSequence,
      fragmentMax: fragmentCode >= 1 && fragmentCode <= 4 ? 256 << fragmentCode : PLAINTEXT_MAX,
    });
  }

  private deriveTls12Keys(suite: Suite): void {
    const { address } = scratch;
    SSL_SESSION_get_master_key(SSL_get_session(this.ssl), address + MASTER_AT, MASTER_SECRET_BYTES);
    SSL_get_server_random(this.ssl, address + SERVER_RANDOM_AT, RANDOM_BYTES);
    SSL_get_client_random(this.ssl, address + CLIENT_RANDOM_AT, RANDOM_BYTES);
    deriveKeyBlock(suite, this.clientSlot, this.serverSlot);
  }

  /** The key log's callback: keeps the two secrets of TLS 1.3 that protect application data. */
  keepSecret(line: number): void {
    const { bytes, address } = scratch;
    copyForeignString(address + LINE_AT, line, LINE_BYTES_MAX);
    // CLIENT_TRAFFIC_SECRET_0 or SERVER_TRAFFIC_SECRET_0; the others differ at the eighth letter.
    if (bytes[LINE_AT + 7] === 0x54) {
      const slot = bytes[LINE_AT] === 0x43 ? this.clientSlot : this.serverSlot;
      for (let index = 0; index < 48; index++) {
        const high = bytes[SECRET_HEX_AT + 2 * index];
        const low = bytes[SECRET_HEX_AT + 2 * index + 1];
        if (high === 0 || low === 0) break;
        secrets.bytes[slot + SECRET_AT + index] = (hexDigit(high) << 4) | hexDigit(low);
      }
    }
    bytes.fill(0, LINE_AT, LINE_AT + LINE_BYTES_MAX);
  }

  /** The protocol that was agreed on (RFC 7301), or ''. */
  get protocol(): string {
    const { view, address } = scratch;
    SSL_get0_alpn_selected(this.ssl, address + READ_AT, address + READ_AT + 8);
    const length = view.getUint32(READ_AT + 8, true);
    if (length === 0 || length > 255) return '';
    copyForeignBytes(address + READ_AT, Number(view.getBigUint64(READ_AT, true)), length);
    return String.fromCharCode(...scratch.bytes.subarray(READ_AT, READ_AT + length));
  }

  /** The name that the client asked for, or ''. */
  get serverName(): string {
    return SSL_get_servername(this.ssl, 0) ?? '';
  }

  get wasResumed(): boolean {
    return SSL_session_reused(this.ssl) === 1;
  }

  // ---- A client, until the first application data: tickets --------------------------------------------

  /** Keeps a copy of a record that may hold tickets; `readTickets` follows if it does. */
  offerRecord(address: number, length: number): void {
    if (length <= TICKET_RECORD_MAX) BIO_write(this.readBio, address, length);
  }

  /** The record offered last was a NewSessionTicket: OpenSSL makes a session of it and tells its context. */
  readTickets(): void {
    ERR_clear_error();
    SSL_read(this.ssl, scratch.address + READ_AT, READ_BYTES);
  }

  /** Gives OpenSSL's memory back, and the keys where nobody took them. */
  free(): void {
    if (this.ssl === 0) return;
    this.dropReplay();
    // Else OpenSSL takes the connection for a broken one and its session for one that must not be resumed.
    if (this.state === H_COMPLETE) SSL_set_shutdown(this.ssl, SENT_AND_RECEIVED_SHUTDOWN);
    SSL_free(this.ssl);
    this.ssl = 0;
    if (!this.slotsHeld) return;
    this.slotsHeld = false;
    secrets.release(this.clientSlot);
    secrets.release(this.serverSlot);
  }
}

function isLetter(byte: number): boolean {
  return byte >= 0x41 && byte <= 0x5a;
}

function hexDigit(code: number): number {
  return code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57;
}
