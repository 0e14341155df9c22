/**
 * Keys of session tickets (RFC 5077 §4, RFC 8446 §4.6.1): stateless, the same in all contexts and workers that are
 * given them. Two ways:
 *
 * - Rotating: a secret that is hashed forward once per period, so that workers which share it need no talk, and
 *   what protected the tickets of the past is gone. The current period's key encrypts; that of the period before
 *   still decrypts.
 * - Fixed: from a file that machines share; the first key encrypts, all decrypt.
 *
 * Tickets are what OpenSSL makes of them: AES-256-CBC with HMAC-SHA-256. Keys live in native memory that core dumps
 * leave out; forgotten ones are wiped.
 */

import { hkdfSync, randomBytes } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { copyForeignBytes } from '../sys/foreign-string.ts';
import { excludeFromDumps, type MappedMemory, mapPrivate } from '../sys/memory.ts';
import {
  EVP_CIPHER_fetch,
  EVP_CipherInit_ex,
  foreignCallback,
  OSSL_PARAM_BYTES,
  OSSL_PARAM_UTF8_STRING,
  SSL_version,
} from '../sys/openssl.ts';
import { SSL_get_SSL_CTX } from '../sys/openssl-client.ts';
import {
  CRYPTO_memcmp,
  EVP_MAC_CTX_set_params,
  OSSL_PARAM_OCTET_STRING,
  OSSL_PARAM_UNMODIFIED,
  RAND_bytes,
  SSL_CTX_set_tlsext_ticket_key_evp_cb,
} from '../sys/openssl-x509.ts';
import { TLS13 } from './suites.ts';

/** Name, HMAC key, AES key: nginx's layout of a file. */
export const TICKET_KEY_BYTES = 80;
const NAME_BYTES = 16;
const HMAC_AT = 16;
const HMAC_BYTES = 32;
const AES_AT = 48;
const IV_BYTES = 16;
/** Keys of a file. More would make every unknown ticket dearer. */
export const TICKET_KEYS_MAX = 8;

/** Native memory: a slot per key, with the parameters of its HMAC; then their words. */
const SLOT_BYTES = 256;
const PARAMETERS_AT = TICKET_KEY_BYTES;
const WORDS_AT = SLOT_BYTES * TICKET_KEYS_MAX;
const WORDS = 'key\0digest\0SHA256\0';
const KEY_WORD_AT = WORDS_AT;
const DIGEST_WORD_AT = WORDS_AT + 4;
const SHA256_WORD_AT = WORDS_AT + 11;

const SECRET_BYTES = 32;
/** Periods that are hashed over one by one. A machine that slept longer jumps. */
const STEPS_MAX = 4096;

/** What callbacks return for a ticket. */
const TICKET_FAILED = -1;
const TICKET_NONE = 0;
const TICKET_USED = 1;
/** Decrypted, and the client gets a new one. */
const TICKET_RENEW = 2;

/** What another worker needs in order to have the same keys. */
export interface TicketState {
  readonly secret: Uint8Array;
  /** Number of the period that `secret` is of. */
  readonly period: number;
}

export class TicketKeys {
  /** Seconds for which a ticket may be used. */
  readonly lifetimeSecs: number;
  private readonly memory: MappedMemory;
  private readonly periodMs: number;
  private readonly now: () => number;
  /** Empty where keys are fixed. */
  private secret: Uint8Array;
  private period: number;
  private slotCount: number;
  private isFreed: boolean;

  private constructor(periodSecs: number, now: () => number) {
    this.memory = mapPrivate(WORDS_AT + WORDS.length);
    excludeFromDumps(this.memory);
    this.memory.bytes.set(Buffer.from(WORDS, 'latin1'), WORDS_AT);
    this.lifetimeSecs = 2 * periodSecs;
    this.periodMs = periodSecs * 1000;
    this.now = now;
    this.secret = new Uint8Array(0);
    this.period = 0;
    this.slotCount = 0;
    this.isFreed = false;
  }

  /** Keys that rotate, from a state that another worker has, or fresh ones. `now` gives milliseconds since 1970. */
  static rotating(
    periodSecs: number,
    state: TicketState | null = null,
    now: () => number = Date.now,
  ): TicketKeys {
    const keys = new TicketKeys(periodSecs, now);
    keys.period = state?.period ?? keys.currentPeriod();
    keys.secret = state === null ? randomBytes(SECRET_BYTES) : Uint8Array.from(state.secret);
    keys.slotCount = 2;
    // Nobody knows the key of the period before: it must not be one that can be guessed.
    keys.putKey((keys.period + 1) % 2, randomBytes(TICKET_KEY_BYTES));
    keys.putKey(keys.period % 2, keys.derive('ticket', TICKET_KEY_BYTES));
    keys.advance();
    return keys;
  }

  /** Keys as a file holds them. Throws where it can't be one: `ticketKeyFault` says why. */
  static fixed(content: Uint8Array, periodSecs: number): TicketKeys {
    assert(ticketKeyFault(content) === '', 'a file of ticket keys that was not judged');
    const keys = new TicketKeys(periodSecs, Date.now);
    keys.slotCount = content.length / TICKET_KEY_BYTES;
    for (let slot = 0; slot < keys.slotCount; slot++)
      keys.putKey(slot, content.slice(slot * TICKET_KEY_BYTES, (slot + 1) * TICKET_KEY_BYTES));
    return keys;
  }

  /** For another worker. Null where keys are fixed. */
  state(): TicketState | null {
    if (this.secret.length === 0) return null;
    this.advance();
    return { secret: Uint8Array.from(this.secret), period: this.period };
  }

  private currentPeriod(): number {
    return Math.floor(this.now() / this.periodMs);
  }

  private derive(purpose: string, bytes: number): Uint8Array {
    return new Uint8Array(hkdfSync('sha256', this.secret, new Uint8Array(0), purpose, bytes));
  }

  /** Puts the present period's key in place. A clock that goes back changes nothing. */
  private advance(): void {
    if (this.secret.length === 0) return;
    const target = this.currentPeriod();
    if (target - this.period > STEPS_MAX) {
      this.step(`skip to ${target - 1}`);
      this.period = target - 2;
    }
    while (this.period < target) {
      this.step('next');
      this.period++;
      this.putKey(this.period % 2, this.derive('ticket', TICKET_KEY_BYTES));
    }
  }

  private step(purpose: string): void {
    const next = this.derive(purpose, SECRET_BYTES);
    this.secret.fill(0);
    this.secret = next;
  }

  /** Writes a key into its slot, over the one that was there, and wipes what it came in. */
  private putKey(slot: number, key: Uint8Array): void {
    const { bytes, address, view } = this.memory;
    const at = slot * SLOT_BYTES;
    bytes.set(key, at);
    const put = (index: number, name: number, type: number, data: number, length: number): void => {
      const entry = at + PARAMETERS_AT + index * OSSL_PARAM_BYTES;
      view.setBigUint64(entry, BigInt(name === 0 ? 0 : address + name), true);
      view.setUint32(entry + 8, type, true);
      view.setBigUint64(entry + 16, BigInt(data === 0 ? 0 : address + data), true);
      view.setBigUint64(entry + 24, BigInt(length), true);
      view.setBigUint64(entry + 32, OSSL_PARAM_UNMODIFIED, true);
    };
    put(0, KEY_WORD_AT, OSSL_PARAM_OCTET_STRING, at + HMAC_AT, HMAC_BYTES);
    put(1, DIGEST_WORD_AT, OSSL_PARAM_UTF8_STRING, SHA256_WORD_AT, 6);
    put(2, 0, 0, 0, 0);
    key.fill(0);
  }

  /** The slot that encrypts. */
  private get ownSlot(): number {
    return this.secret.length === 0 ? 0 : this.period % 2;
  }

  /** Prepares OpenSSL's contexts to encrypt a ticket; writes its key's name and a nonce. */
  encrypt(name: number, iv: number, cipher: number, mac: number): number {
    if (this.isFreed) return TICKET_NONE;
    this.advance();
    const key = this.memory.address + this.ownSlot * SLOT_BYTES;
    if (RAND_bytes(iv, IV_BYTES) !== 1) return TICKET_FAILED;
    copyForeignBytes(name, key, NAME_BYTES);
    return prepare(key, iv, cipher, mac, 1) ? TICKET_USED : TICKET_FAILED;
  }

  /** Prepares OpenSSL's contexts to decrypt a ticket. A key that isn't known is no failure: the handshake is full. */
  decrypt(name: number, iv: number, cipher: number, mac: number): number {
    if (this.isFreed) return TICKET_NONE;
    this.advance();
    for (let slot = 0; slot < this.slotCount; slot++) {
      const key = this.memory.address + slot * SLOT_BYTES;
      if (CRYPTO_memcmp(name, key, NAME_BYTES) !== 0) continue;
      if (!prepare(key, iv, cipher, mac, 0)) return TICKET_FAILED;
      return slot === this.ownSlot ? TICKET_USED : TICKET_RENEW;
    }
    return TICKET_NONE;
  }

  /** Forgets all keys. Contexts that still have them make full handshakes. */
  free(): void {
    if (this.isFreed) return;
    this.isFreed = true;
    this.secret.fill(0);
    this.memory.bytes.fill(0);
    this.memory.unmap();
  }
}

const aes = EVP_CIPHER_fetch(0, 'AES-256-CBC', 0);
assert(aes !== 0, 'OpenSSL has AES-256-CBC');

function prepare(key: number, iv: number, cipher: number, mac: number, encrypts: number): boolean {
  return (
    EVP_CipherInit_ex(cipher, aes, 0, key + AES_AT, iv, encrypts) === 1 &&
    EVP_MAC_CTX_set_params(mac, key + PARAMETERS_AT) === 1
  );
}

/** Why this can't be a file of ticket keys, or ''. */
export function ticketKeyFault(content: Uint8Array): string {
  const count = content.length / TICKET_KEY_BYTES;
  if (Number.isInteger(count) && count >= 1 && count <= TICKET_KEYS_MAX) return '';
  return `it has ${content.length} bytes, not ${TICKET_KEY_BYTES} for each of 1 to ${TICKET_KEYS_MAX} keys`;
}

/** Whose keys a context uses. Contexts that are given up are not here any more. */
const keysOf = new Map<number, TicketKeys>();

const onTicket = foreignCallback<[number, number, number, number, number, number], number>(
  'int',
  ['int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t', 'int'],
  TICKET_FAILED,
  (ssl, name, iv, cipher, mac, encrypts) => {
    const keys = keysOf.get(SSL_get_SSL_CTX(ssl));
    if (keys === undefined) return TICKET_NONE;
    if (encrypts === 1) return keys.encrypt(name, iv, cipher, mac);
    const result = keys.decrypt(name, iv, cipher, mac);
    // Clients use a ticket of TLS 1.3 once (RFC 8446 §C.4): each resumption gives the next one.
    return result === TICKET_USED && SSL_version(ssl) === TLS13 ? TICKET_RENEW : result;
  },
);

/** The context's sessions get tickets under these keys from now on. */
export function useTicketKeys(ctx: number, keys: TicketKeys): void {
  keysOf.set(ctx, keys);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, onTicket);
}

/** To be called before the context is given up: its address may be another's then. */
export function dropTicketKeys(ctx: number): void {
  keysOf.delete(ctx);
}
