/*
 * The blind forwarder: the kernel's floor for a proxy on io_uring. It moves bytes between a client and a
 * backend connection and does nothing else: no parsing, no routing, no fields, no timeouts. Its choices are
 * those of Sallyport's reactor: multishot accept and receive with provided buffers, the received buffer sent
 * as it is, one io_uring_enter a turn, pooled backend connections; large buffers for bulk, which Sallyport has
 * the kernel move instead.
 *
 * A client gets a backend connection from the pool when it connects and gives it back when it leaves, unless
 * a response was still due. Bulk: a receive that fills its small buffer turns the multishot off and goes on
 * with one-shot receives into large buffers, at most BULK_QUEUED of which wait to be sent.
 *
 * usage: forwarder PORT BACKEND_PORT
 */
#include "../native/ring.h"

enum { ACCEPT, CONNECT, RECEIVE, RECEIVE_LARGE, SEND, CLOSE, IGNORE };
#define SMALL_BYTES 16384u
#define SMALL_COUNT 1024u
#define LARGE_BYTES 131072u
#define LARGE_COUNT 512u
#define BULK_QUEUED 2u
#define BULK_LEAST 4096
#define QUEUE 512u

/* A buffer to send; ids of large ones follow those of the small ones. */
struct segment {
  unsigned id;
  int length;
};

struct connection {
  int fd;
  int is_backend;
  struct connection *peer;
  /* Queue of segments to send; the first one is in flight while `sending`. */
  struct segment queue[QUEUE];
  unsigned queue_head, queue_tail;
  int sending, receiving, connecting, ended, closing, closed, bulk, cancelled;
  /* A large receive is to be armed when the peer's queue allows. */
  int receive_due;
  /* Backend only: the last bytes went to it, so that a response is due. */
  int response_due;
} __attribute__((aligned(16)));

static struct ring ring;
static struct buffers small;
static unsigned char *large_memory;
static unsigned large_free[LARGE_COUNT], large_left;
static struct connection *idle[65536];
static unsigned idle_count;
static struct sockaddr_in backend_address;

static uint64_t tag(struct connection *c, int operation) { return (uint64_t)(uintptr_t)c | (uint64_t)operation; }

static unsigned char *memory_of(unsigned id) {
  return id < SMALL_COUNT ? buffer_at(&small, id) : large_memory + (size_t)(id - SMALL_COUNT) * LARGE_BYTES;
}

static void release(unsigned id) {
  if (id < SMALL_COUNT) buffer_give(&small, id);
  else large_free[large_left++] = id;
}

static void receive(struct connection *c) {
  if (c->ended || c->receiving) return;
  if (c->bulk) {
    c->receive_due = 1;
    if (c->peer && c->peer->queue_tail - c->peer->queue_head >= BULK_QUEUED) return;
    if (large_left == 0) return;
    unsigned id = large_free[--large_left];
    struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_RECV, c->fd, tag(c, RECEIVE_LARGE) | (uint64_t)id << 48);
    sqe->addr = (uint64_t)(uintptr_t)memory_of(id);
    sqe->len = LARGE_BYTES;
    c->receive_due = 0;
  } else {
    struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_RECV, c->fd, tag(c, RECEIVE));
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->buf_group = (uint16_t)small.group;
    c->cancelled = 0;
  }
  c->receiving = 1;
}

static void send_next(struct connection *c) {
  if (c->sending || c->connecting || c->queue_head == c->queue_tail) return;
  struct segment *s = &c->queue[c->queue_head % QUEUE];
  struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_SEND, c->fd, tag(c, SEND));
  sqe->addr = (uint64_t)(uintptr_t)memory_of(s->id);
  sqe->len = (uint32_t)s->length;
  sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  c->sending = 1;
}

static void close_when_quiet(struct connection *c) {
  if (c->closed || c->receiving || c->sending || c->connecting) return;
  c->closed = 1;
  while (c->queue_head != c->queue_tail) release(c->queue[c->queue_head++ % QUEUE].id);
  ring_sqe(&ring, IORING_OP_CLOSE, c->fd, tag(c, CLOSE));
}

/* Ends a connection: the shutdown makes its receive and its send complete. */
static void finish(struct connection *c) {
  if (c->closing) return;
  c->closing = 1;
  c->ended = 1;
  c->peer = NULL;
  if (c->receiving || c->sending || c->connecting) {
    ring_sqe(&ring, IORING_OP_SHUTDOWN, c->fd, tag(c, IGNORE))->len = SHUT_RDWR;
  }
  close_when_quiet(c);
}

static struct connection *new_connection(int fd, int is_backend) {
  struct connection *c = aligned_alloc(16, sizeof *c);
  if (!c) die("malloc");
  memset(c, 0, offsetof(struct connection, queue));
  memset((char *)c + offsetof(struct connection, queue_head), 0, sizeof *c - offsetof(struct connection, queue_head));
  c->fd = fd;
  c->is_backend = is_backend;
  return c;
}

static struct connection *take_backend(void) {
  if (idle_count > 0) return idle[--idle_count];
  struct connection *b = new_connection(tcp_socket(), 1);
  struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_CONNECT, b->fd, tag(b, CONNECT));
  sqe->addr = (uint64_t)(uintptr_t)&backend_address;
  sqe->off = sizeof backend_address;
  b->connecting = 1;
  return b;
}

static void remove_idle(struct connection *b) {
  for (unsigned i = 0; i < idle_count; i++) {
    if (idle[i] == b) {
      idle[i] = idle[--idle_count];
      return;
    }
  }
}

static void on_end(struct connection *c) {
  struct connection *peer = c->peer;
  c->ended = 1;
  if (!peer) {
    if (c->is_backend && !c->closing) remove_idle(c);
  } else if (!c->is_backend && !peer->response_due && peer->queue_head == peer->queue_tail && !peer->connecting) {
    peer->peer = NULL;
    idle[idle_count++] = peer;
  } else {
    finish(peer);
  }
  finish(c);
  close_when_quiet(c);
}

/* A buffer of `c` goes to its peer as it is. */
static void forward(struct connection *c, unsigned id, int length) {
  struct connection *peer = c->peer;
  if (!peer || peer->closing || peer->queue_tail - peer->queue_head == QUEUE) {
    release(id);
    if (peer) finish(peer);
    if (c->is_backend && !peer && !c->closing) remove_idle(c);
    finish(c);
    return;
  }
  if (c->is_backend) c->response_due = 0;
  else peer->response_due = 1;
  peer->queue[peer->queue_tail++ % QUEUE] = (struct segment){id, length};
  send_next(peer);
}

static void on_receive(struct connection *c, int result, unsigned flags) {
  int more = (flags & IORING_CQE_F_MORE) != 0;
  if (!more) c->receiving = 0;
  if (result > 0) {
    forward(c, flags >> IORING_CQE_BUFFER_SHIFT, result);
    if ((unsigned)result == SMALL_BYTES) c->bulk = 1;
  } else if (result != -ENOBUFS && result != -ECANCELED) {
    if (!more) on_end(c);
    return;
  }
  if (c->closing) {
    if (!more) close_when_quiet(c);
  } else if (!more) {
    receive(c);
  } else if (c->bulk && !c->cancelled) {
    c->cancelled = 1;
    struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_ASYNC_CANCEL, -1, tag(NULL, IGNORE));
    sqe->addr = tag(c, RECEIVE);
  }
}

static void on_receive_large(struct connection *c, unsigned id, int result) {
  c->receiving = 0;
  if (result <= 0) {
    release(id);
    on_end(c);
    return;
  }
  c->bulk = result >= BULK_LEAST;
  forward(c, id, result);
  if (c->closing) close_when_quiet(c);
  else receive(c);
}

static void on_send(struct connection *c, int result) {
  c->sending = 0;
  struct segment *s = &c->queue[c->queue_head++ % QUEUE];
  release(s->id);
  if (c->closing) {
    close_when_quiet(c);
    return;
  }
  if (result < s->length) {
    struct connection *peer = c->peer;
    if (peer) finish(peer);
    finish(c);
    return;
  }
  send_next(c);
  if (c->peer && c->peer->receive_due) receive(c->peer);
}

static void on_accept(int fd) {
  struct connection *c = new_connection(fd, 0);
  struct connection *b = take_backend();
  c->peer = b;
  b->peer = c;
  receive(c);
}

static void on_connect(struct connection *c, int result) {
  c->connecting = 0;
  if (result < 0 || c->closing) {
    struct connection *peer = c->peer;
    if (peer) finish(peer);
    finish(c);
    close_when_quiet(c);
    return;
  }
  receive(c);
  send_next(c);
}

static void accept_start(int listener) {
  /* The listener has no connection: its descriptor travels in the high bits. */
  struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_ACCEPT, listener, (uint64_t)listener << 48 | ACCEPT);
  sqe->ioprio = IORING_ACCEPT_MULTISHOT;
}

static void on_completion(uint64_t user_data, int result, unsigned flags) {
  struct connection *c = (struct connection *)(uintptr_t)(user_data & 0xfffffffffff0u);
  switch (user_data & 15) {
    case ACCEPT:
      if (result >= 0) on_accept(result);
      if (!(flags & IORING_CQE_F_MORE)) accept_start((int)(user_data >> 48));
      break;
    case CONNECT: on_connect(c, result); break;
    case RECEIVE: on_receive(c, result, flags); break;
    case RECEIVE_LARGE: on_receive_large(c, (unsigned)(user_data >> 48), result); break;
    case SEND: on_send(c, result); break;
    case CLOSE: free(c); break;
    default: break;
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return fprintf(stderr, "usage: forwarder PORT BACKEND_PORT\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  raise_file_limit();
  backend_address = loopback(atoi(argv[2]));
  ring_open(&ring, 4096);
  buffers_open(&ring, &small, SMALL_COUNT, SMALL_BYTES, 1);
  large_memory = map_memory((size_t)LARGE_COUNT * LARGE_BYTES);
  for (unsigned i = LARGE_COUNT; i-- > 0;) large_free[large_left++] = SMALL_COUNT + i;
  accept_start(tcp_listen(atoi(argv[1])));
  for (;;) {
    ring_enter(&ring, 1, UINT64_MAX);
    unsigned head = *ring.cq_head, tail = __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE);
    for (; head != tail; head++) {
      struct io_uring_cqe *cqe = &ring.cqes[head & ring.cq_mask];
      on_completion(cqe->user_data, cqe->res, cqe->flags);
    }
    __atomic_store_n(ring.cq_head, head, __ATOMIC_RELEASE);
  }
}
