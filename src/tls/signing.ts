/**
 * Private keys of other processes, for OpenSSL's contexts in this one: each is known by its number, and signatures are
 * asked for at a door that may be replaced while contexts stay, since the process with the keys may die and another one
 * take its place. Meanwhile signatures fail at once, and their handshakes with them; whoever can let a handshake wait
 * asks `isReachable` first.
 *
 * Owns the door's descriptor.
 */

import { EAGAIN } from '../sys/errno.ts';
import { close, negated, recv } from '../sys/libc.ts';
import { mapPrivate } from '../sys/memory.ts';
import { readCertificate, X509_free } from '../sys/openssl-client.ts';
import { X509_get0_pubkey } from '../sys/openssl-x509.ts';
import { MSG_DONTWAIT } from '../sys/socket.ts';
import { certificateBlocks } from './certificate.ts';
import { remoteKey, type SignatureExchange } from './remote-key.ts';
import type { PrivateKeySource } from './server-contexts.ts';
import {
  decodeReply,
  REPLY_BYTES_MAX,
  ROLE_CLIENT,
  ROLE_SERVER,
  STATUS_READY,
  STATUS_UNKNOWN_KEY,
  setKeyId,
} from './signature-request.ts';
import { REPLY_TIMEOUT_MS, SigningChannel } from './signing-channel.ts';

const MSG_PEEK = 2;
/** Numbers that one key had, newest first: a reload that is under way or has failed leaves more than one. */
const NUMBERS_MAX = 4;
/** Client certificates whose keys' numbers are remembered. */
const CLIENTS_MAX = 8192;

export class Signing {
  private readonly timeoutMs: number;
  private channel: SigningChannel | null;
  private descriptor: number;
  /** Whoever is behind the door has said that it answers: a process that starts takes its time. */
  private isGreeted: boolean;
  private readonly memory: ReturnType<typeof mapPrivate>;
  /** By file and certificate: contexts for backends outlive reloads, which give the same key another number. */
  private readonly clients: Map<string, number[]>;

  /** `timeoutMs`: the longest wait for a signature. */
  constructor(timeoutMs: number = REPLY_TIMEOUT_MS) {
    this.timeoutMs = timeoutMs;
    this.channel = null;
    this.descriptor = -1;
    this.isGreeted = false;
    this.memory = mapPrivate(4096);
    this.clients = new Map();
  }

  /** From now on signatures are asked for there: a SOCK_SEQPACKET descriptor, which goes to this. Throws where it is none. */
  connect(descriptor: number): void {
    const channel = new SigningChannel(descriptor, this.timeoutMs);
    this.disconnect();
    this.channel = channel;
    this.descriptor = descriptor;
  }

  disconnect(): void {
    if (this.descriptor >= 0) close(this.descriptor);
    this.descriptor = -1;
    this.isGreeted = false;
    this.channel?.free();
    this.channel = null;
  }

  /** Whether somebody is behind the door who answers; costs one system call. */
  get isReachable(): boolean {
    if (this.descriptor < 0 || this.channel?.isPaused === true) return false;
    const { address, bytes } = this.memory;
    if (!this.isGreeted) {
      const length = negated(recv(this.descriptor, address, REPLY_BYTES_MAX, MSG_DONTWAIT));
      this.isGreeted = length > 0 && decodeReply(bytes.subarray(0, length))?.status === STATUS_READY;
      return this.isGreeted;
    }
    const result = negated(recv(this.descriptor, address, 1, MSG_PEEK | MSG_DONTWAIT));
    // Something that waits there is an answer that came too late.
    return result === -EAGAIN || result > 0;
  }

  /** Fails at once where nobody answers: there is nothing to wait for. */
  private readonly exchange: SignatureExchange = (request) => {
    if (this.channel === null || (!this.isGreeted && !this.isReachable)) return null;
    return this.channel.exchange(request);
  };

  /** The keys of a server's certificates; numbers in the configuration's order. For `ServerContexts`. */
  serverKeys(keyIds: readonly number[]): PrivateKeySource {
    return ({ index }, publicKey) =>
      checked(remoteKey(publicKey, ROLE_SERVER, numberOf(keyIds[index]), this.exchange));
  }

  /** The keys of client certificates, by the paths of their files. For `loadBackendTls`. */
  clientKeys(keyIds: Readonly<Record<string, number>>): (certificate: string, keyPath: string) => number {
    return (certificate, keyPath) => {
      const keyId = numberOf(Object.hasOwn(keyIds, keyPath) ? keyIds[keyPath] : undefined);
      const [block = ''] = certificateBlocks(Buffer.from(certificate, 'latin1'));
      const leaf = readCertificate(block);
      if (leaf === 0) throw new Error('the client certificate can’t be read');
      try {
        const numbers = this.numbersOf(`${keyPath}\n${certificate}`, keyId);
        const exchange = (request: Uint8Array) => this.exchangeAny(request, numbers);
        return checked(remoteKey(X509_get0_pubkey(leaf), ROLE_CLIENT, keyId, exchange));
      } finally {
        X509_free(leaf);
      }
    };
  }

  /** All numbers of a key, of which `keyId` is the newest: one list for all contexts that were made with it. */
  private numbersOf(name: string, keyId: number): number[] {
    const numbers = this.clients.get(name) ?? [];
    this.clients.delete(name);
    this.clients.set(name, numbers);
    if (!numbers.includes(keyId)) numbers.unshift(keyId);
    numbers.length = Math.min(numbers.length, NUMBERS_MAX);
    const [oldest = ''] = this.clients.keys();
    if (this.clients.size > CLIENTS_MAX) this.clients.delete(oldest);
    return numbers;
  }

  /** Asks for the key by the first of its numbers that is known. */
  private exchangeAny(request: Uint8Array, numbers: readonly number[]): Uint8Array | null {
    let reply: Uint8Array | null = null;
    for (const keyId of numbers) {
      setKeyId(request, keyId);
      reply = this.exchange(request);
      if (reply === null || reply[1] !== STATUS_UNKNOWN_KEY) break;
    }
    return reply;
  }
}

function numberOf(keyId: number | undefined): number {
  if (keyId === undefined) throw new Error('there is no private key');
  return keyId;
}

function checked(key: number): number {
  if (key === 0) throw new Error('the certificate’s key is neither ECDSA, RSA nor Ed25519');
  return key;
}
