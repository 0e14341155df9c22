/** Sockets: creation with the options that every one of ours has, listening, names. All results are values or -errno. */

import { EADDRINUSE, ECONNREFUSED, EINVAL } from './errno.ts';
import {
  bind,
  chmod,
  close,
  connect,
  getpeername,
  getsockname,
  getsockopt,
  listen,
  negated,
  setsockopt,
  shutdown,
  socket,
  socketpair,
  unlink,
} from './libc.ts';
import { mapPrivate } from './memory.ts';
import {
  AF_INET6,
  AF_UNIX,
  addressFamily,
  decodeAddress,
  encodeAddress,
  SOCKADDR_BYTES_MAX,
  type SocketAddress,
  UNNAMED_UNIX,
} from './sockaddr.ts';

const SOCK_STREAM = 1;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_ERROR = 4;
const SO_KEEPALIVE = 9;
const SO_LINGER = 13;
const SO_REUSEPORT = 15;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_INFO = 11;
/** struct tcp_info up to and with tcpi_bytes_acked, a u64. */
const TCP_INFO_BYTES = 128;
const TCP_INFO_BYTES_ACKED = 120;
/**
 * A peer that has vanished without a word is noticed three minutes after its last one: a probe after two, and three
 * more. The kernel's own default is two hours, for which a silent tunnel would hold both of its ends.
 */
const KEEPALIVE_IDLE_SECS = 120;
const KEEPALIVE_INTERVAL_SECS = 15;
const KEEPALIVE_PROBES = 4;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const SHUT_WR = 1;

export const MSG_DONTWAIT = 0x40;
export const MSG_WAITALL = 0x100;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_MORE = 0x8000;

// One page for arguments: calls are synchronous, so that each may use it anew.
const scratch = mapPrivate(4096);
const ONE = 0;
const ZERO = 4;
const LINGER = 8;
// Two words: an option's value, or a pair of descriptors; and a length.
const VALUE = 16;
const LENGTH = 20;
const KEEPALIVE = 24;
const ADDRESS = 64;
const PATH = 256;
const INFO = 512;
scratch.words[ONE >> 2] = 1;
scratch.words[LINGER >> 2] = 1;
const KEEPALIVE_OPTIONS = [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT];
scratch.words.set([KEEPALIVE_IDLE_SECS, KEEPALIVE_INTERVAL_SECS, KEEPALIVE_PROBES], KEEPALIVE >> 2);

/**
 * A non-blocking stream socket with TCP_NODELAY and keepalive where they apply; sockets that a listener accepts inherit
 * both. Descriptor or -errno.
 */
export function createStreamSocket(family: number): number {
  const fd = negated(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd >= 0 && family !== AF_UNIX) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, scratch.address + ONE, 4);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, scratch.address + ONE, 4);
    for (let index = 0; index < KEEPALIVE_OPTIONS.length; index++)
      setsockopt(fd, IPPROTO_TCP, KEEPALIVE_OPTIONS[index], scratch.address + KEEPALIVE + 4 * index, 4);
  }
  return fd;
}

/** Two connected Unix sockets, or undefined where the kernel has none. */
export function createSocketPair(): readonly [number, number] | undefined {
  const result = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, scratch.address + VALUE);
  return result < 0 ? undefined : [scratch.words[VALUE >> 2], scratch.words[LENGTH >> 2]];
}

/** A listening socket, whose accepted sockets inherit its TCP options. Descriptor or -errno. Set-up only. */
export function createListener(
  address: SocketAddress,
  backlog: number,
  reusePort: boolean,
  unixMode: number,
): number {
  const family = addressFamily(address);
  const length = encodeAddress(address, scratch.bytes, ADDRESS);
  if (length === 0) return -EINVAL;
  const fd = createStreamSocket(family);
  if (fd < 0) return fd;
  let result = bindListener(fd, family, length, reusePort);
  if (result === -EADDRINUSE && address.family === 'unix' && removeDeadSocket(address.path, length)) {
    result = negated(bind(fd, scratch.address + ADDRESS, length));
  }
  if (result === 0 && address.family === 'unix' && unixMode >= 0 && !address.path.startsWith('\0')) {
    writePath(address.path);
    result = negated(chmod(scratch.address + PATH, unixMode));
  }
  if (result === 0) result = negated(listen(fd, backlog));
  if (result === 0) return fd;
  close(fd);
  return result;
}

function bindListener(fd: number, family: number, length: number, reusePort: boolean): number {
  if (family !== AF_UNIX) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, scratch.address + ONE, 4);
    if (reusePort) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, scratch.address + ONE, 4);
  }
  if (family === AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, scratch.address + ZERO, 4);
  let result = negated(bind(fd, scratch.address + ADDRESS, length));
  if (result === -EADDRINUSE && family === AF_INET6) {
    // The same port is taken for IPv4, as when both `0.0.0.0:443` and `[::]:443` are configured.
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, scratch.address + ONE, 4);
    result = negated(bind(fd, scratch.address + ADDRESS, length));
  }
  return result;
}

/** Removes a socket file that a dead process left behind; the address of it stands in `scratch`. */
function removeDeadSocket(path: string, length: number): boolean {
  const probe = createStreamSocket(AF_UNIX);
  if (probe < 0) return false;
  const result = negated(connect(probe, scratch.address + ADDRESS, length));
  close(probe);
  if (result !== -ECONNREFUSED) return false;
  writePath(path);
  return unlink(scratch.address + PATH) === 0;
}

function writePath(path: string): void {
  scratch.bytes.set(Buffer.from(`${path}\0`, 'utf8'), PATH);
}

/** The address that a socket is bound to. */
export function localAddressOf(fd: number): SocketAddress {
  scratch.words[LENGTH >> 2] = SOCKADDR_BYTES_MAX;
  if (getsockname(fd, scratch.address + ADDRESS, scratch.address + LENGTH) < 0) return UNNAMED_UNIX;
  return decodeAddress(scratch.bytes, ADDRESS, scratch.words[LENGTH >> 2]);
}

/** The address at the other end; unnamed when the peer has gone. */
export function peerAddressOf(fd: number): SocketAddress {
  scratch.words[LENGTH >> 2] = SOCKADDR_BYTES_MAX;
  if (getpeername(fd, scratch.address + ADDRESS, scratch.address + LENGTH) < 0) return UNNAMED_UNIX;
  return decodeAddress(scratch.bytes, ADDRESS, scratch.words[LENGTH >> 2]);
}

/** Makes close(2) send a reset instead of a FIN. */
export function setAbortiveClose(fd: number): void {
  setsockopt(fd, SOL_SOCKET, SO_LINGER, scratch.address + LINGER, 8);
}

/** Sends FIN. */
export function shutdownWrite(fd: number): void {
  shutdown(fd, SHUT_WR);
}

/** Bytes that the peer has acknowledged (TCP_INFO's tcpi_bytes_acked), or -1 where there is no such count. */
export function acknowledgedBytesOf(fd: number): number {
  scratch.words[LENGTH >> 2] = TCP_INFO_BYTES;
  const result = getsockopt(fd, IPPROTO_TCP, TCP_INFO, scratch.address + INFO, scratch.address + LENGTH);
  if (result < 0 || scratch.words[LENGTH >> 2] < TCP_INFO_BYTES) return -1;
  const offset = INFO + TCP_INFO_BYTES_ACKED;
  return scratch.view.getUint32(offset + 4, true) * 0x100000000 + scratch.view.getUint32(offset, true);
}

/** The pending error of a socket, as -errno or 0; reading it clears it. */
export function takeSocketError(fd: number): number {
  scratch.words[LENGTH >> 2] = 4;
  scratch.words[VALUE >> 2] = 0;
  const result = getsockopt(fd, SOL_SOCKET, SO_ERROR, scratch.address + VALUE, scratch.address + LENGTH);
  return result < 0 ? negated(result) : -scratch.words[VALUE >> 2];
}
