/*
 * io_uring by raw system calls, for the small C programs of the benchmark: no liburing, nothing hidden.
 * One thread owns the ring (SINGLE_ISSUER, DEFER_TASKRUN): completions are delivered in ring_enter only.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct ring {
  int fd;
  unsigned *sq_tail, sq_mask, sq_entries, tail, submitted;
  struct io_uring_sqe *sqes;
  unsigned *cq_head, *cq_tail, cq_mask;
  struct io_uring_cqe *cqes;
};

/* A ring of provided buffers: `count` (a power of two) of `bytes` each, group `group`. */
struct buffers {
  struct io_uring_buf_ring *ring;
  unsigned char *memory;
  unsigned count, bytes, group;
  uint16_t tail;
};

static void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void *map_memory(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  return memory;
}

static void ring_open(struct ring *r, unsigned entries) {
  struct io_uring_params p;
  memset(&p, 0, sizeof p);
  p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
  p.cq_entries = entries * 4;
  r->fd = (int)syscall(SYS_io_uring_setup, entries, &p);
  if (r->fd < 0) die("io_uring_setup");
  size_t sq_bytes = p.sq_off.array + p.sq_entries * sizeof(unsigned);
  size_t cq_bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  size_t bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
  char *rings = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
  r->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                 r->fd, IORING_OFF_SQES);
  if (rings == MAP_FAILED || r->sqes == MAP_FAILED) die("mmap of the ring");
  r->sq_tail = (unsigned *)(rings + p.sq_off.tail);
  r->sq_mask = p.sq_entries - 1;
  r->sq_entries = p.sq_entries;
  r->cq_head = (unsigned *)(rings + p.cq_off.head);
  r->cq_tail = (unsigned *)(rings + p.cq_off.tail);
  r->cq_mask = p.cq_entries - 1;
  r->cqes = (struct io_uring_cqe *)(rings + p.cq_off.cqes);
  r->tail = r->submitted = 0;
  unsigned *array = (unsigned *)(rings + p.sq_off.array);
  for (unsigned i = 0; i < p.sq_entries; i++) array[i] = i;
}

/* Submits what is queued and waits for `wait` completions, at most `timeout_ns` (UINT64_MAX: without end). */
static void ring_enter(struct ring *r, unsigned wait, uint64_t timeout_ns) {
  __atomic_store_n(r->sq_tail, r->tail, __ATOMIC_RELEASE);
  unsigned flags = IORING_ENTER_GETEVENTS;
  struct __kernel_timespec ts;
  struct io_uring_getevents_arg arg;
  void *extra = NULL;
  size_t extra_bytes = 0;
  if (timeout_ns != UINT64_MAX) {
    ts.tv_sec = (long long)(timeout_ns / 1000000000u);
    ts.tv_nsec = (long long)(timeout_ns % 1000000000u);
    memset(&arg, 0, sizeof arg);
    arg.ts = (uint64_t)(uintptr_t)&ts;
    flags |= IORING_ENTER_EXT_ARG;
    extra = &arg;
    extra_bytes = sizeof arg;
  }
  long n = syscall(SYS_io_uring_enter, r->fd, r->tail - r->submitted, wait, flags, extra, extra_bytes);
  if (n >= 0) r->submitted += (unsigned)n;
  else if (errno == ETIME || errno == EINTR) r->submitted = r->tail;
  else if (errno != EBUSY && errno != EAGAIN) die("io_uring_enter");
}

static inline struct io_uring_sqe *ring_sqe(struct ring *r, uint8_t opcode, int fd, uint64_t user_data) {
  if (r->tail - r->submitted == r->sq_entries) ring_enter(r, 0, UINT64_MAX);
  struct io_uring_sqe *sqe = &r->sqes[r->tail++ & r->sq_mask];
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = opcode;
  sqe->fd = fd;
  sqe->user_data = user_data;
  return sqe;
}

static inline unsigned char *buffer_at(struct buffers *b, unsigned id) { return b->memory + (size_t)id * b->bytes; }

static inline void buffer_give(struct buffers *b, unsigned id) {
  struct io_uring_buf *slot = &b->ring->bufs[b->tail & (b->count - 1)];
  slot->addr = (uint64_t)(uintptr_t)buffer_at(b, id);
  slot->len = b->bytes;
  slot->bid = (uint16_t)id;
  __atomic_store_n(&b->ring->tail, ++b->tail, __ATOMIC_RELEASE);
}

static inline void buffers_open(struct ring *r, struct buffers *b, unsigned count, unsigned bytes, unsigned group) {
  struct io_uring_buf_reg reg;
  b->count = count;
  b->bytes = bytes;
  b->group = group;
  b->tail = 0;
  b->memory = map_memory((size_t)count * bytes);
  b->ring = map_memory(count * sizeof(struct io_uring_buf));
  memset(&reg, 0, sizeof reg);
  reg.ring_addr = (uint64_t)(uintptr_t)b->ring;
  reg.ring_entries = count;
  reg.bgid = (uint16_t)group;
  if (syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_PBUF_RING, &reg, 1) < 0) die("register buffers");
  for (unsigned id = 0; id < count; id++) buffer_give(b, id);
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((uint16_t)port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static int tcp_socket(void) {
  int one = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

/* TCP_NODELAY is inherited by what is accepted. */
static inline int tcp_listen(int port) {
  int one = 1, fd = tcp_socket();
  struct sockaddr_in address = loopback(port);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
  if (listen(fd, 4096) < 0) die("listen");
  return fd;
}

static void raise_file_limit(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

#endif
