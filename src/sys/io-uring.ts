/**
 * io_uring: constants and layouts (linux/io_uring.h). Numbers only; src/io/uring-ring.ts drives them.
 *
 * SQE, 64 bytes, as sixteen 32-bit words: 0 opcode u8, flags u8, ioprio u16 · 1 fd · 2-3 offset or second
 * address · 4-5 address · 6 length · 7 flags of the operation · 8-9 user_data · 10 buffer group u16,
 * personality u16 · 11 file index · 12-13 third address · 14-15 unused.
 * CQE, 16 bytes: 0-1 user_data · 2 result · 3 flags.
 */

export const SYS_io_uring_setup = 425;
export const SYS_io_uring_enter = 426;
export const SYS_io_uring_register = 427;

export const IORING_SETUP_CQSIZE = 1 << 3;
/** The ring takes nothing until it is enabled, so that it can be restricted before. */
export const IORING_SETUP_R_DISABLED = 1 << 6;
export const IORING_SETUP_SUBMIT_ALL = 1 << 7;
export const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
export const IORING_SETUP_DEFER_TASKRUN = 1 << 13;
/** Linux 6.6: no indirection array between the submission ring and its entries. */
export const IORING_SETUP_NO_SQARRAY = 1 << 16;

export const IORING_FEAT_SINGLE_MMAP = 1 << 0;
export const IORING_FEAT_NODROP = 1 << 1;
export const IORING_FEAT_SUBMIT_STABLE = 1 << 2;
export const IORING_FEAT_FAST_POLL = 1 << 5;
export const IORING_FEAT_CQE_SKIP = 1 << 11;

export const IORING_OFF_SQ_RING = 0;
export const IORING_OFF_SQES = 0x10000000;

/** struct io_uring_params: 120 bytes; the offsets of its fields that are used. */
export const PARAMS_BYTES = 120;
export const PARAMS_SQ_ENTRIES = 0;
export const PARAMS_CQ_ENTRIES = 4;
export const PARAMS_FLAGS = 8;
export const PARAMS_FEATURES = 20;
export const PARAMS_SQ_HEAD = 40;
export const PARAMS_SQ_TAIL = 44;
export const PARAMS_SQ_FLAGS = 56;
export const PARAMS_SQ_ARRAY = 64;
export const PARAMS_CQ_HEAD = 80;
export const PARAMS_CQ_TAIL = 84;
export const PARAMS_CQ_CQES = 100;

export const IORING_ENTER_GETEVENTS = 1 << 0;
export const IORING_ENTER_REGISTERED_RING = 1 << 4;

export const IORING_REGISTER_RESTRICTIONS = 11;
export const IORING_REGISTER_ENABLE_RINGS = 12;
export const IORING_REGISTER_RING_FDS = 20;
export const IORING_UNREGISTER_RING_FDS = 21;
export const IORING_REGISTER_PBUF_RING = 22;

/** struct io_uring_restriction, 16 bytes: what is allowed u16, which one u8, reserved. */
export const RESTRICTION_BYTES = 16;
export const IORING_RESTRICTION_REGISTER_OP = 0;
export const IORING_RESTRICTION_SQE_OP = 1;
export const IORING_RESTRICTION_SQE_FLAGS_ALLOWED = 2;

export const IOSQE_BUFFER_SELECT = 1 << 5;
export const IOSQE_CQE_SKIP_SUCCESS = 1 << 6;

export const IORING_OP_POLL_ADD = 6;
export const IORING_OP_SENDMSG = 9;
export const IORING_OP_TIMEOUT = 11;
export const IORING_OP_TIMEOUT_REMOVE = 12;
export const IORING_OP_ACCEPT = 13;
export const IORING_OP_ASYNC_CANCEL = 14;
export const IORING_OP_CONNECT = 16;
export const IORING_OP_CLOSE = 19;
export const IORING_OP_READ = 22;
export const IORING_OP_SEND = 26;
export const IORING_OP_RECV = 27;
export const IORING_OP_OPENAT2 = 28;

/** Flags in `ioprio` of an accept and of a receive. */
export const IORING_ACCEPT_MULTISHOT = 1 << 0;
export const IORING_RECV_MULTISHOT = 1 << 1;
/** Flags in the operation flags of a cancellation: all that match, whatever it is. */
export const IORING_ASYNC_CANCEL_ALL = 1 << 0;
export const IORING_ASYNC_CANCEL_ANY = 1 << 2;
/** Flags in the operation flags of a timeout: the time is absolute; the timeout with this user_data is moved. */
export const IORING_TIMEOUT_ABS = 1 << 0;
export const IORING_TIMEOUT_UPDATE = 1 << 1;
/** Flag in the length of a poll. */
export const IORING_POLL_ADD_MULTI = 1 << 0;

export const IORING_CQE_F_BUFFER = 1 << 0;
export const IORING_CQE_F_MORE = 1 << 1;
export const IORING_CQE_BUFFER_SHIFT = 16;

export const POLLIN = 0x01;
export const POLLOUT = 0x04;
