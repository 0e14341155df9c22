/**
 * The record layer of one connection (RFC 8446 §5, RFC 5246 §6.2 with RFC 5288 and RFC 7905), from the end of its
 * handshake on. Seals from one place of the arena into another; opens in place. Holds two slots of keys and two
 * sequence numbers, nothing else: the cipher contexts are the process's, one for each cipher and direction, and
 * are given another key when another connection's record comes.
 *
 * A record: type (1 byte), 0x0303, length (2); then with TLS 1.2 and GCM the nonce's explicit part (8); the
 * ciphertext, whose last byte in TLS 1.3 is the content's type; the tag (16).
 */

import { assert } from '../base/assert.ts';
import { copyBytes } from '../base/bytes.ts';
import {
  EVP_CIPHER_CTX_ctrl,
  EVP_CIPHER_CTX_new,
  EVP_CIPHER_fetch,
  EVP_CipherFinal_ex,
  EVP_CipherInit_ex,
  EVP_CipherUpdate,
  EVP_CTRL_AEAD_GET_TAG,
  EVP_CTRL_AEAD_SET_TAG,
  EVP_DecryptInit,
  EVP_EncryptInit,
} from '../sys/openssl.ts';
import {
  ALERT_BAD_RECORD_MAC,
  ALERT_PROTOCOL_VERSION,
  ALERT_RECORD_OVERFLOW,
  ALERT_UNEXPECTED_MESSAGE,
} from './alert.ts';
import { updateTrafficKey } from './key-schedule.ts';
import { NONCE_AT, type SecretSlot, scratch, secrets } from './secret-memory.ts';
import { AEAD_NAMES, type Suite, TLS13 } from './suites.ts';

export const RECORD_CHANGE_CIPHER_SPEC = 20;
export const RECORD_ALERT = 21;
export const RECORD_HANDSHAKE = 22;
export const RECORD_APPLICATION_DATA = 23;

export const HEADER_BYTES = 5;
export const TAG_BYTES = 16;
/** Content of one record at most (RFC 8446 §5.1). */
export const PLAINTEXT_MAX = 16384;
/** What a record may say of its length: content, and 256 bytes for type, padding and tag (§5.2). */
export const CIPHERTEXT_MAX = PLAINTEXT_MAX + 256;
export const RECORD_MAX = HEADER_BYTES + CIPHERTEXT_MAX;
/** Seals under one key from which on it is to be updated: below the 2^24.5 full records of AES-GCM (§5.5). */
export const KEY_RECORDS_MAX = 1 << 24;

/** Content up to this is moved next to its type and sealed in place: that costs less than another call for the type. */
const MOVED_BYTES_MAX = 4096;

/** Places in `scratch`. */
const NONCE_SCRATCH = 0;
const AAD_SCRATCH = 16;
const LENGTH_SCRATCH = 32;
const TYPE_SCRATCH = 36;
const TLS12_AAD_BYTES = 13;

/** A cipher context that all connections share, and whose key it holds. */
class SharedCipher {
  readonly context: number;
  readonly encrypts: number;
  keyedBy: SecretSlot;

  constructor(name: string, encrypts: number) {
    const cipher = EVP_CIPHER_fetch(0, name, 0);
    assert(cipher !== 0, 'OpenSSL has all AEADs');
    this.context = EVP_CIPHER_CTX_new();
    this.encrypts = encrypts;
    this.keyedBy = -1;
    const initialised = EVP_CipherInit_ex(this.context, cipher, 0, 0, 0, encrypts);
    assert(initialised === 1, 'a cipher context can be made');
  }

  /** Ready for the record with the nonce at NONCE_SCRATCH. */
  begin(slot: SecretSlot): void {
    const key = this.keyedBy === slot ? 0 : secrets.address + slot;
    const nonce = scratch.address + NONCE_SCRATCH;
    const ready =
      this.encrypts === 1
        ? EVP_EncryptInit(this.context, 0, key, nonce)
        : EVP_DecryptInit(this.context, 0, key, nonce);
    // Going on would be with another connection's key.
    assert(ready === 1, 'a cipher context can be keyed');
    this.keyedBy = slot;
  }
}

const sealers: readonly SharedCipher[] = AEAD_NAMES.map((name) => new SharedCipher(name, 1));
const openers: readonly SharedCipher[] = AEAD_NAMES.map((name) => new SharedCipher(name, 0));

/** The keys in a slot have changed or are gone. */
function forgetKeys(slot: SecretSlot): void {
  for (const cipher of sealers) if (cipher.keyedBy === slot) cipher.keyedBy = -1;
  for (const cipher of openers) if (cipher.keyedBy === slot) cipher.keyedBy = -1;
}

/** A word with its bytes the other way round. */
function swapped(word: number): number {
  return (word << 24) | ((word << 8) & 0xff0000) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** Where the content lies that `RecordLayer.open` found; valid until the next call. */
export const opened = { offset: 0, length: 0 };

/** Keys and positions of one connection, as a handshake leaves them. The slots are handed on with it. */
export interface TrafficKeys {
  readonly suite: Suite;
  readonly readSlot: SecretSlot;
  readonly writeSlot: SecretSlot;
  /** Sequence numbers of the next record in each direction. */
  readonly readSequence: number;
  readonly writeSequence: number;
  /** Content of a record that the peer accepts (RFC 6066 §4). */
  readonly fragmentMax: number;
}

export class RecordLayer {
  readonly suite: Suite;
  readonly readSlot: SecretSlot;
  readonly writeSlot: SecretSlot;
  readSequence: number;
  writeSequence: number;
  /** Content of a record that is sealed, at most. */
  readonly fragmentMax: number;
  /** Bytes that sealing adds to a record's content. */
  readonly overhead: number;
  private freed: boolean;

  constructor(keys: TrafficKeys) {
    this.suite = keys.suite;
    this.readSlot = keys.readSlot;
    this.writeSlot = keys.writeSlot;
    this.readSequence = keys.readSequence;
    this.writeSequence = keys.writeSequence;
    this.fragmentMax = keys.fragmentMax;
    this.overhead =
      HEADER_BYTES + keys.suite.explicitNonceBytes + TAG_BYTES + (keys.suite.version === TLS13 ? 1 : 0);
    this.freed = false;
  }

  /** Wipes the keys. */
  free(): void {
    assert(!this.freed, 'a record layer is freed once');
    this.freed = true;
    forgetKeys(this.readSlot);
    forgetKeys(this.writeSlot);
    secrets.release(this.readSlot);
    secrets.release(this.writeSlot);
  }

  /**
   * Writes one record of `length` bytes (at most `fragmentMax`) found at `source` to `target`. Both are offsets into
   * `bytes`, which begin at `address`; they must not overlap. Returns the record's length: `length + overhead`.
   */
  seal(
    bytes: Uint8Array,
    address: number,
    type: number,
    source: number,
    length: number,
    target: number,
  ): number {
    const { suite } = this;
    const cipher = sealers[suite.aead];
    const isTls13 = suite.version === TLS13;
    const content = target + HEADER_BYTES + suite.explicitNonceBytes;
    const recordBytes = length + this.overhead;
    const bodyBytes = recordBytes - HEADER_BYTES;
    bytes[target] = isTls13 ? RECORD_APPLICATION_DATA : type;
    bytes[target + 1] = 3;
    bytes[target + 2] = 3;
    bytes[target + 3] = bodyBytes >> 8;
    bytes[target + 4] = bodyBytes & 0xff;
    this.putNonce(this.writeSlot, this.writeSequence);
    if (suite.explicitNonceBytes > 0) {
      // The sequence number: it never repeats under a key (RFC 5288 §3).
      for (let index = 0; index < 8; index++)
        bytes[target + HEADER_BYTES + index] = scratch.bytes[NONCE_SCRATCH + 4 + index];
    }
    cipher.begin(this.writeSlot);
    const { context } = cipher;
    const lengthAt = scratch.address + LENGTH_SCRATCH;
    if (isTls13) EVP_CipherUpdate(context, 0, lengthAt, address + target, HEADER_BYTES);
    else this.updateTls12Aad(context, this.writeSequence, type, length);
    const end = recordBytes - TAG_BYTES + target;
    let done = 1;
    if (isTls13 && length <= MOVED_BYTES_MAX) {
      copyBytes(bytes, content, source, length);
      bytes[content + length] = type;
      const at = address + content;
      done &= EVP_CipherUpdate(context, at, lengthAt, at, length + 1);
    } else {
      if (length > 0)
        done &= EVP_CipherUpdate(context, address + content, lengthAt, address + source, length);
      if (isTls13) {
        scratch.bytes[TYPE_SCRATCH] = type;
        done &= EVP_CipherUpdate(context, address + end - 1, lengthAt, scratch.address + TYPE_SCRATCH, 1);
      }
    }
    done &= EVP_CipherFinal_ex(context, address + end, lengthAt);
    done &= EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, address + end);
    assert(done === 1, 'sealing a record');
    this.writeSequence++;
    return recordBytes;
  }

  /**
   * Opens the whole record of `recordBytes` bytes (header included) at `offset`, in place. Returns the content's type,
   * and where it lies in `opened`; or the negative of the alert that the peer must get.
   */
  open(bytes: Uint8Array, address: number, offset: number, recordBytes: number): number {
    const { suite } = this;
    const isTls13 = suite.version === TLS13;
    const content = offset + HEADER_BYTES + suite.explicitNonceBytes;
    const tag = offset + recordBytes - TAG_BYTES;
    const length = tag - content;
    const outerType = bytes[offset];
    if (isTls13 && outerType !== RECORD_APPLICATION_DATA) return -ALERT_UNEXPECTED_MESSAGE;
    if (recordBytes > RECORD_MAX) return -ALERT_RECORD_OVERFLOW;
    if (length < 0) return -ALERT_BAD_RECORD_MAC;
    // In TLS 1.3 the version is ignored (RFC 8446 §5.1), though its bytes are authenticated.
    if (!isTls13 && (bytes[offset + 1] !== 3 || bytes[offset + 2] !== 3)) return -ALERT_PROTOCOL_VERSION;
    // Content, type and padding (RFC 8446 §5.4); content alone in TLS 1.2.
    if (length > PLAINTEXT_MAX + (isTls13 ? 1 : 0)) return -ALERT_RECORD_OVERFLOW;
    this.putNonce(this.readSlot, this.readSequence);
    if (suite.explicitNonceBytes > 0) {
      for (let index = 0; index < 8; index++)
        scratch.bytes[NONCE_SCRATCH + 4 + index] = bytes[offset + HEADER_BYTES + index];
    }
    const cipher = openers[suite.aead];
    cipher.begin(this.readSlot);
    const { context } = cipher;
    const lengthAt = scratch.address + LENGTH_SCRATCH;
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, address + tag);
    if (isTls13) EVP_CipherUpdate(context, 0, lengthAt, address + offset, HEADER_BYTES);
    else this.updateTls12Aad(context, this.readSequence, outerType, length);
    if (length > 0) EVP_CipherUpdate(context, address + content, lengthAt, address + content, length);
    if (EVP_CipherFinal_ex(context, address + tag, lengthAt) !== 1) return -ALERT_BAD_RECORD_MAC;
    this.readSequence++;
    opened.offset = content;
    if (!isTls13) {
      opened.length = length;
      return outerType;
    }
    let last = tag - 1;
    while (last >= content && bytes[last] === 0) last--;
    if (last < content) return -ALERT_UNEXPECTED_MESSAGE;
    opened.length = last - content;
    return bytes[last];
  }

  /** The next generation of keys in which the peer sends (TLS 1.3 only). */
  updateReadKey(): void {
    updateTrafficKey(this.suite, this.readSlot);
    forgetKeys(this.readSlot);
    this.readSequence = 0;
  }

  /** The next generation of keys in which we send (TLS 1.3 only): after a KeyUpdate was sealed. */
  updateWriteKey(): void {
    updateTrafficKey(this.suite, this.writeSlot);
    forgetKeys(this.writeSlot);
    this.writeSequence = 0;
  }

  /** The nonce of record `sequence` to NONCE_SCRATCH: the key's nonce XOR the number, or, with an explicit part, both in a row. */
  private putNonce(slot: SecretSlot, sequence: number): void {
    const { view } = scratch;
    const { words } = secrets;
    const from = (slot + NONCE_AT) >> 2;
    const low = sequence >>> 0;
    const high = (sequence - low) / 0x100000000;
    view.setInt32(NONCE_SCRATCH, words[from], true);
    view.setInt32(NONCE_SCRATCH + 4, words[from + 1] ^ swapped(high), true);
    view.setInt32(NONCE_SCRATCH + 8, words[from + 2] ^ swapped(low), true);
  }

  /** Sequence number (8 bytes), type, version, content's length (RFC 5246 §6.2.3.3). */
  private updateTls12Aad(context: number, sequence: number, type: number, length: number): void {
    const { view } = scratch;
    const low = sequence >>> 0;
    view.setUint32(AAD_SCRATCH, (sequence - low) / 0x100000000);
    view.setUint32(AAD_SCRATCH + 4, low);
    view.setUint8(AAD_SCRATCH + 8, type);
    view.setUint16(AAD_SCRATCH + 9, 0x0303);
    view.setUint16(AAD_SCRATCH + 11, length);
    const lengthAt = scratch.address + LENGTH_SCRATCH;
    EVP_CipherUpdate(context, 0, lengthAt, scratch.address + AAD_SCRATCH, TLS12_AAD_BYTES);
  }
}
