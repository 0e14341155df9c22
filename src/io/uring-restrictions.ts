/**
 * What a ring may be asked for. A ring does on behalf of its process what a filter of system calls never sees, so a
 * confined process restricts the ring itself, before anything can be submitted (io_uring_register(2),
 * IORING_REGISTER_RESTRICTIONS; Linux 5.10). It can't be undone.
 */

import { EPERM } from '../sys/errno.ts';
import {
  IORING_OP_ACCEPT,
  IORING_OP_ASYNC_CANCEL,
  IORING_OP_CLOSE,
  IORING_OP_CONNECT,
  IORING_OP_OPENAT2,
  IORING_OP_POLL_ADD,
  IORING_OP_READ,
  IORING_OP_RECV,
  IORING_OP_SEND,
  IORING_OP_SENDMSG,
  IORING_OP_TIMEOUT,
  IORING_OP_TIMEOUT_REMOVE,
  IORING_REGISTER_ENABLE_RINGS,
  IORING_REGISTER_PBUF_RING,
  IORING_REGISTER_RESTRICTIONS,
  IORING_REGISTER_RING_FDS,
  IORING_RESTRICTION_REGISTER_OP,
  IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
  IORING_RESTRICTION_SQE_OP,
  IORING_UNREGISTER_RING_FDS,
  IOSQE_BUFFER_SELECT,
  IOSQE_CQE_SKIP_SUCCESS,
  RESTRICTION_BYTES,
  SYS_io_uring_register,
} from '../sys/io-uring.ts';
import { io_uring_register, negated } from '../sys/libc.ts';
import { mapPrivate } from '../sys/memory.ts';

/** What every ring of ours needs to run at all. */
const OF_EVERY_RING: readonly number[] = [
  IORING_OP_POLL_ADD,
  IORING_OP_TIMEOUT,
  IORING_OP_TIMEOUT_REMOVE,
  IORING_OP_ASYNC_CANCEL,
];

/** A reactor that only connects: no accepting, no files. */
export const CLIENT_OPERATIONS: readonly number[] = [
  IORING_OP_CONNECT,
  IORING_OP_RECV,
  IORING_OP_SEND,
  IORING_OP_SENDMSG,
  IORING_OP_CLOSE,
];

/** All that the reactor does. */
export const REACTOR_OPERATIONS: readonly number[] = [
  ...CLIENT_OPERATIONS,
  IORING_OP_ACCEPT,
  IORING_OP_OPENAT2,
  IORING_OP_READ,
];

/** What the ring's owner registers after it was enabled. */
const REGISTRATIONS: readonly number[] = [
  IORING_REGISTER_RING_FDS,
  IORING_UNREGISTER_RING_FDS,
  IORING_REGISTER_PBUF_RING,
];

/** Restricts the disabled ring `fd` to `operations` and what every ring needs, and enables it. Returns 0 or -errno. */
export function restrictRing(fd: number, operations: readonly number[]): number {
  const rules: [number, number][] = [
    ...REGISTRATIONS.map((each): [number, number] => [IORING_RESTRICTION_REGISTER_OP, each]),
    ...[...new Set([...OF_EVERY_RING, ...operations])].map((each): [number, number] => [
      IORING_RESTRICTION_SQE_OP,
      each,
    ]),
    [IORING_RESTRICTION_SQE_FLAGS_ALLOWED, IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS],
  ];
  const memory = mapPrivate(rules.length * RESTRICTION_BYTES);
  rules.forEach(([kind, value], index) => {
    memory.view.setUint16(index * RESTRICTION_BYTES, kind, true);
    memory.bytes[index * RESTRICTION_BYTES + 2] = value;
  });
  const register = (operation: number, address: number, count: number): number =>
    negated(io_uring_register(SYS_io_uring_register, fd, operation, address, count));
  let result = register(IORING_REGISTER_RESTRICTIONS, memory.address, rules.length);
  if (result === 0) result = register(IORING_REGISTER_ENABLE_RINGS, 0, 0);
  memory.unmap();
  return result > 0 ? -EPERM : result;
}
