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
import { decodeReply, REPLY_BYTES_MAX, ROLE_CLIENT, ROLE_SERVER, STATUS_READY } from './signature-request.ts';
import { REPLY_TIMEOUT_MS, SigningChannel } from './signing-channel.ts';

const MSG_PEEK = 2;

export class Signing {
  private readonly timeoutMs: number;
  private channel: SigningChannel | null;
  private descriptor: number;
  /** Whoever is behind the door has said that it answers: a process that starts takes its time. */
  private isGreeted: boolean;
  private readonly memory: ReturnType<typeof mapPrivate>;

  /** `timeoutMs`: the longest wait for a signature. */
  constructor(timeoutMs: number = REPLY_TIMEOUT_MS) {
    this.timeoutMs = timeoutMs;
    this.channel = null;
    this.descriptor = -1;
    this.isGreeted = false;
    this.memory = mapPrivate(4096);
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
        return checked(remoteKey(X509_get0_pubkey(leaf), ROLE_CLIENT, keyId, this.exchange));
      } finally {
        X509_free(leaf);
      }
    };
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
