/**
 * Kernel TLS (linux/tls.h, Documentation/networking/tls.rst): a TCP socket whose records the kernel seals and opens.
 * Layouts, calls, and what the running kernel can; who moves a connection there and when is src/edge's business.
 *
 * struct tls12_crypto_info_*: version u16, cipher u16 (both in the machine's order), then, without padding, iv, key,
 * salt, sequence number (8 bytes, big-endian). AES-GCM: iv 8, key 16 or 32, salt 4; ChaCha20-Poly1305: iv 12, key 32,
 * no salt. The nonce of a key is salt then iv; in TLS 1.2 with GCM only the salt belongs to the key, and the iv is
 * the explicit part of the first record's nonce, which the kernel counts up.
 *
 * Keys are written to a page that is kept out of core dumps and wiped after each call.
 */

import { EINVAL, ENOENT, errnoName } from './errno.ts';
import { close, connect, negated, recvmsg, sendmsg, setsockopt, socket } from './libc.ts';
import { excludeFromDumps, mapPrivate } from './memory.ts';
import { AF_INET, encodeAddress, type SocketAddress } from './sockaddr.ts';
import { createListener, localAddressOf, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_CLOEXEC } from './socket.ts';

const SOCK_STREAM = 1;
const SOL_TCP = 6;
const TCP_ULP = 31;
const SOL_TLS = 282;
const TLS_SET_RECORD_TYPE = 1;
const TLS_GET_RECORD_TYPE = 2;

/** Directions, as setsockopt calls them. */
export const TLS_TX = 1;
export const TLS_RX = 2;
export type KernelTlsDirection = typeof TLS_TX | typeof TLS_RX;

export const TLS_1_2_VERSION = 0x0303;
export const TLS_1_3_VERSION = 0x0304;
export const TLS_CIPHER_AES_GCM_128 = 51;
export const TLS_CIPHER_AES_GCM_256 = 52;
export const TLS_CIPHER_CHACHA20_POLY1305 = 54;
export type KernelTlsVersion = typeof TLS_1_2_VERSION | typeof TLS_1_3_VERSION;
export type KernelTlsCipher =
  | typeof TLS_CIPHER_AES_GCM_128
  | typeof TLS_CIPHER_AES_GCM_256
  | typeof TLS_CIPHER_CHACHA20_POLY1305;

/** Content of a record at most (RFC 8446 §5.1). */
export const RECORD_CONTENT_MAX = 16384;
export const CRYPTO_INFO_BYTES_MAX = 56;
const SEQUENCE_BYTES = 8;
const SALT_BYTES = 4;
const NONCE_BYTES = 12;

/** Keys of one direction. `bytes` holds the key at `keyAt` and its nonce at `nonceAt` (12 bytes; 4 with TLS 1.2 and GCM). */
export interface KernelTlsKey {
  readonly version: KernelTlsVersion;
  readonly cipher: KernelTlsCipher;
  readonly bytes: Uint8Array;
  readonly keyAt: number;
  readonly nonceAt: number;
  /** Of the next record. */
  readonly sequence: number;
}

/** Writes the kernel's form of a key to `target[at …]`. Returns its length. */
export function encodeCryptoInfo(target: Uint8Array, at: number, key: KernelTlsKey): number {
  const { bytes, cipher, keyAt, nonceAt, version } = key;
  const view = new DataView(target.buffer, target.byteOffset);
  // All machines that this runs on are little-endian.
  view.setUint16(at, version, true);
  view.setUint16(at + 2, cipher, true);
  const isChaCha = cipher === TLS_CIPHER_CHACHA20_POLY1305;
  const keyBytes = cipher === TLS_CIPHER_AES_GCM_128 ? 16 : 32;
  const saltBytes = isChaCha ? 0 : SALT_BYTES;
  let end = at + 4;
  if (version === TLS_1_2_VERSION && !isChaCha) {
    // The sequence number: it never repeats under a key (RFC 5288 §3).
    putSequence(view, end, key.sequence);
    end += SEQUENCE_BYTES;
  } else {
    target.set(bytes.subarray(nonceAt + saltBytes, nonceAt + NONCE_BYTES), end);
    end += NONCE_BYTES - saltBytes;
  }
  target.set(bytes.subarray(keyAt, keyAt + keyBytes), end);
  end += keyBytes;
  target.set(bytes.subarray(nonceAt, nonceAt + saltBytes), end);
  end += saltBytes;
  putSequence(view, end, key.sequence);
  return end + SEQUENCE_BYTES - at;
}

function putSequence(view: DataView, at: number, sequence: number): void {
  view.setUint32(at, Math.floor(sequence / 0x100000000));
  view.setUint32(at + 4, sequence >>> 0);
}

/** A page for arguments: ULP name, crypto info, msghdr with one vector and control data. */
const scratch = mapPrivate(4096);
excludeFromDumps(scratch);
const ULP_NAME = 0;
const INFO = 64;
const MSGHDR = 128;
const VECTOR = 192;
const CONTROL = 208;
const PEER = 256;
const MSG_CTRUNC = 0x08;
const MSGHDR_FLAGS_WORD = (MSGHDR + 48) >> 2;
const MSGHDR_CONTROL_LENGTH_WORD = (MSGHDR + 40) >> 2;
/** struct cmsghdr: length u64, level u32, type u32; then one byte, padded to eight. */
const CMSG_BYTES = 17;
const CMSG_SPACE = 24;
/** Where a record that was received lies. */
const recordMemory = mapPrivate(RECORD_CONTENT_MAX + 4096);

scratch.bytes.set(Buffer.from('tls\0', 'latin1'), ULP_NAME);

function prepareMessage(address: number, length: number): void {
  const { words } = scratch;
  // struct msghdr: name u64, its length u32, vectors u64, their number u64, control u64, its length u64, flags u32.
  words.fill(0, MSGHDR >> 2, (CONTROL + CMSG_SPACE) >> 2);
  words[(MSGHDR + 16) >> 2] = (scratch.low + VECTOR) | 0;
  words[(MSGHDR + 20) >> 2] = scratch.high;
  words[(MSGHDR + 24) >> 2] = 1;
  words[(MSGHDR + 32) >> 2] = (scratch.low + CONTROL) | 0;
  words[(MSGHDR + 36) >> 2] = scratch.high;
  words[MSGHDR_CONTROL_LENGTH_WORD] = CMSG_SPACE;
  words[VECTOR >> 2] = address | 0;
  words[(VECTOR + 4) >> 2] = Math.floor(address / 0x100000000);
  words[(VECTOR + 8) >> 2] = length;
}

/** Makes a connected TCP socket one that can be given keys. 0 or -errno; -ENOENT: the kernel has no TLS. Once for each socket. */
export function attachKernelTls(fd: number): number {
  return negated(setsockopt(fd, SOL_TCP, TCP_ULP, scratch.address + ULP_NAME, 4));
}

/**
 * Gives the kernel the key of one direction: from the next byte on it seals what is sent, or opens what is received.
 * With TLS 1.3 and Linux 6.14 or newer also again, after a KeyUpdate; -EBUSY where that can't be. 0 or -errno.
 */
export function setKernelTlsKey(fd: number, direction: KernelTlsDirection, key: KernelTlsKey): number {
  const length = encodeCryptoInfo(scratch.bytes, INFO, key);
  const result = negated(setsockopt(fd, SOL_TLS, direction, scratch.address + INFO, length));
  scratch.bytes.fill(0, INFO, INFO + CRYPTO_INFO_BYTES_MAX);
  return result;
}

/** Sends one record of a type other than application data. Returns bytes of it that were taken, or -errno. */
export function sendRecord(fd: number, type: number, address: number, length: number): number {
  prepareMessage(address, length);
  const { words } = scratch;
  words[CONTROL >> 2] = CMSG_BYTES;
  words[(CONTROL + 8) >> 2] = SOL_TLS;
  words[(CONTROL + 12) >> 2] = TLS_SET_RECORD_TYPE;
  scratch.bytes[CONTROL + 16] = type;
  return negated(sendmsg(fd, scratch.address + MSGHDR, MSG_DONTWAIT | MSG_NOSIGNAL));
}

/** What `receiveRecord` took: valid until the next call. */
export const receivedRecord: { readonly bytes: Uint8Array; type: number; length: number } = {
  bytes: recordMemory.bytes,
  type: 0,
  length: 0,
};

/**
 * Takes the next record, which recv(2) refused with EIO because it isn't application data. Returns 0 (then it is in
 * `receivedRecord`) or -errno; -EINVAL where nothing said what it is, or it is the connection's end.
 */
export function receiveRecord(fd: number): number {
  prepareMessage(recordMemory.address, RECORD_CONTENT_MAX);
  const length = negated(recvmsg(fd, scratch.address + MSGHDR, MSG_DONTWAIT));
  if (length < 0) return length;
  const { words } = scratch;
  const hasType =
    words[MSGHDR_CONTROL_LENGTH_WORD] >= CMSG_BYTES &&
    words[(CONTROL + 8) >> 2] === SOL_TLS &&
    words[(CONTROL + 12) >> 2] === TLS_GET_RECORD_TYPE;
  if (!hasType || (words[MSGHDR_FLAGS_WORD] & MSG_CTRUNC) !== 0) return -EINVAL;
  receivedRecord.type = scratch.bytes[CONTROL + 16];
  receivedRecord.length = length;
  return 0;
}

/** What the running kernel can. */
export interface KernelTlsSupport {
  /** Why not at all, for people, with what mends it; '' where at least one cipher can be had in both directions. */
  readonly problem: string;
  readonly combinations: readonly (readonly [KernelTlsVersion, KernelTlsCipher])[];
  /** Keys can be changed (Linux 6.14). */
  readonly rekeys: boolean;
}

const CIPHERS = [TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_256, TLS_CIPHER_CHACHA20_POLY1305] as const;
const LOOPBACK: SocketAddress = { family: 'ipv4', address: '127.0.0.1', port: 0 };

/** Tries every version and cipher on connections of this process to itself. Set-up only: some dozen system calls each. */
export function probeKernelTls(): KernelTlsSupport {
  const combinations: (readonly [KernelTlsVersion, KernelTlsCipher])[] = [];
  let rekeys = false;
  let refusal = 0;
  for (const version of [TLS_1_3_VERSION, TLS_1_2_VERSION] as const) {
    for (const cipher of CIPHERS) {
      const result = tryCombination(version, cipher);
      if (result < 0) refusal ||= result;
      else combinations.push([version, cipher]);
      if (result === REKEYED) rekeys = true;
    }
  }
  return { problem: combinations.length === 0 ? explain(refusal) : '', combinations, rekeys };
}

/** Results of a trial beside -errno: keys were taken in both directions, and (REKEYED) a second time. */
const TAKEN = 0;
const REKEYED = 1;

function tryCombination(version: KernelTlsVersion, cipher: KernelTlsCipher): number {
  const listener = createListener(LOOPBACK, 1, false, -1);
  if (listener < 0) return listener;
  const fd = negated(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  let result = fd;
  if (fd >= 0) {
    const length = encodeAddress(localAddressOf(listener), scratch.bytes, PEER);
    // It is connected without having been accepted, and keys need no more.
    result = negated(connect(fd, scratch.address + PEER, length));
    if (result === 0) result = tryKeys(fd, version, cipher);
    close(fd);
  }
  close(listener);
  return result;
}

function tryKeys(fd: number, version: KernelTlsVersion, cipher: KernelTlsCipher): number {
  const key = { version, cipher, bytes: new Uint8Array(48), keyAt: 0, nonceAt: 32, sequence: 0 };
  const setBoth = (): number => {
    const result = setKernelTlsKey(fd, TLS_TX, key);
    return result === 0 ? setKernelTlsKey(fd, TLS_RX, key) : result;
  };
  let result = attachKernelTls(fd);
  if (result === 0) result = setBoth();
  if (result < 0) return result;
  return version === TLS_1_3_VERSION && setBoth() === 0 ? REKEYED : TAKEN;
}

function explain(errno: number): string {
  if (errno === -ENOENT) {
    return 'the kernel has no module `tls`, or it is not loaded: `modprobe tls` as root (and a line `tls` in /etc/modules-load.d/tls.conf)';
  }
  if (errno === -EINVAL) return 'the kernel knows none of the ciphers (EINVAL)';
  return `the kernel refuses it (${errnoName(errno)})`;
}
