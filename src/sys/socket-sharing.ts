/**
 * Several listening sockets on one TCP address (SO_REUSEPORT), and who of them gets a connection: the kernel's choice
 * by addresses and ports, or a program of classic BPF that looks at the client's address alone. All results are values
 * or -errno; set-up only.
 */

import { bind, close, getsockname, getsockopt, listen, negated, setsockopt } from './libc.ts';
import { mapPrivate } from './memory.ts';
import { AF_INET6, SOCKADDR_BYTES_MAX } from './sockaddr.ts';
import { createStreamSocket } from './socket.ts';

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const SO_ACCEPTCONN = 30;
const SO_ATTACH_REUSEPORT_CBPF = 51;
const SO_DETACH_REUSEPORT_BPF = 68;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

const scratch = mapPrivate(4096);
const ONE = 0;
const VALUE = 4;
const LENGTH = 8;
/** struct sock_fprog: count of instructions u16, padding, address u64. */
const PROGRAM_HEAD = 16;
const ADDRESS = 64;
const PROGRAM = 512;
scratch.words[ONE >> 2] = 1;

// Instructions of classic BPF (linux/bpf_common.h).
const LOAD_BYTE = 0x30;
const LOAD_WORD = 0x20;
const MULTIPLY = 0x24;
const SHIFT_RIGHT = 0x74;
const MODULO = 0x94;
const XOR_X = 0xac;
const COPY_TO_X = 0x07;
const JUMP_IF_EQUAL = 0x15;
const JUMP = 0x05;
const RETURN_A = 0x16;
/** Offsets from here on count from the packet's network header (SKF_NET_OFF). */
const NETWORK_HEADER = 0xfff00000;
/** Of the source address, in an IPv4 and in an IPv6 header (RFC 791 §3.1, RFC 8200 §3). */
const IPV4_SOURCE = 12;
const IPV6_SOURCE = 8;
/** 2^32 divided by the golden ratio: neighbouring addresses come out far apart (Knuth, TAOCP 3, 6.4). */
const GOLDEN = 0x9e3779b1;

/** Lets other sockets of this user that ask for it listen on the same address. It works on one that listens, too. */
export function allowSharing(fd: number): number {
  return negated(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, scratch.address + ONE, 4));
}

/** Another listening socket on the address of `first`, which `allowSharing` was called for. Descriptor or -errno. */
export function createSharingListener(first: number, backlog: number): number {
  scratch.words[LENGTH >> 2] = SOCKADDR_BYTES_MAX;
  let result = negated(getsockname(first, scratch.address + ADDRESS, scratch.address + LENGTH));
  if (result < 0) return result;
  const length = scratch.words[LENGTH >> 2];
  const family = scratch.view.getUint16(ADDRESS, true);
  const fd = createStreamSocket(family);
  if (fd < 0) return fd;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, scratch.address + ONE, 4);
  result = allowSharing(fd);
  if (result === 0 && family === AF_INET6) {
    scratch.words[VALUE >> 2] = optionOf(first, IPPROTO_IPV6, IPV6_V6ONLY);
    result = negated(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, scratch.address + VALUE, 4));
  }
  if (result === 0) result = negated(bind(fd, scratch.address + ADDRESS, length));
  if (result === 0) result = negated(listen(fd, backlog));
  if (result === 0) return fd;
  close(fd);
  return result;
}

/** Whether a descriptor is a socket that listens. */
export function isListening(fd: number): boolean {
  return optionOf(fd, SOL_SOCKET, SO_ACCEPTCONN) === 1;
}

/**
 * From now on a client's address alone decides which of the `count` sockets that share `fd`'s address gets its
 * connections: all 32 bits of IPv4, the first 64 of IPv6, which is what one client commonly has. Linux 4.6; 0 or -errno.
 */
export function balanceByClientAddress(fd: number, count: number): number {
  const instructions = balancingProgram(count);
  instructions.forEach(([code, jumpTrue, jumpFalse, operand], index) => {
    const at = PROGRAM + index * 8;
    scratch.view.setUint16(at, code, true);
    scratch.view.setUint8(at + 2, jumpTrue);
    scratch.view.setUint8(at + 3, jumpFalse);
    scratch.view.setUint32(at + 4, operand, true);
  });
  scratch.view.setUint16(PROGRAM_HEAD, instructions.length, true);
  scratch.view.setBigUint64(PROGRAM_HEAD + 8, BigInt(scratch.address + PROGRAM), true);
  return negated(setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, scratch.address + PROGRAM_HEAD, 16));
}

/** The kernel's own choice again. 0, or -errno, as where there was no program. */
export function balanceByKernel(fd: number): number {
  return negated(setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, scratch.address + ONE, 4));
}

/** Code, jump if true, jump if false, operand. What is returned is the position of a socket, in the order of listen(2). */
function balancingProgram(count: number): readonly (readonly [number, number, number, number])[] {
  return [
    // Which of both it is stands in the packet: connections over IPv4 reach sockets of IPv6, too.
    [LOAD_BYTE, 0, 0, NETWORK_HEADER],
    [SHIFT_RIGHT, 0, 0, 4],
    [JUMP_IF_EQUAL, 0, 2, 4],
    [LOAD_WORD, 0, 0, NETWORK_HEADER + IPV4_SOURCE],
    [JUMP, 0, 0, 5],
    [LOAD_WORD, 0, 0, NETWORK_HEADER + IPV6_SOURCE],
    [MULTIPLY, 0, 0, GOLDEN],
    [COPY_TO_X, 0, 0, 0],
    [LOAD_WORD, 0, 0, NETWORK_HEADER + IPV6_SOURCE + 4],
    [XOR_X, 0, 0, 0],
    // The upper half of the product depends on all bits.
    [MULTIPLY, 0, 0, GOLDEN],
    [SHIFT_RIGHT, 0, 0, 16],
    [MODULO, 0, 0, count],
    [RETURN_A, 0, 0, 0],
  ];
}

/** An option that is a whole number, or -errno. */
function optionOf(fd: number, level: number, option: number): number {
  scratch.words[VALUE >> 2] = 0;
  scratch.words[LENGTH >> 2] = 4;
  const result = negated(getsockopt(fd, level, option, scratch.address + VALUE, scratch.address + LENGTH));
  return result < 0 ? result : scratch.words[VALUE >> 2];
}
