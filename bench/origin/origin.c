/*
 * The origin behind every proxy of the benchmark: as little work as a server can do. It looks at the last
 * segment of the path (0, 1k, 64k, 10m), and for the request's end at the last four bytes received, and sends
 * a prepared response. It never closes a connection first and takes no notice of the request's fields.
 * The segment `echo` is for checks, not for measuring: its response's content is the request's head.
 *
 * usage: origin PORT
 */
#include "../native/ring.h"

enum { ACCEPT, RECEIVE, SEND, CLOSE };
#define BODIES 4
#define BUFFER_BYTES 4096u

static const char *const names[BODIES] = {"0", "1k", "64k", "10m"};
static const size_t sizes[BODIES] = {0, 1024, 65536, 10485760};
static char *responses[BODIES];
static size_t lengths[BODIES];

struct connection {
  int body;
  int sending;
  int receiving;
};

static struct ring ring;
static struct buffers buffers;
static struct connection connections[65536];

static void prepare(void) {
  for (int i = 0; i < BODIES; i++) {
    responses[i] = map_memory(sizes[i] + 1024);
    int head = sprintf(responses[i],
                       "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
                       "Content-Type: application/octet-stream\r\nX-Powered-By: origin\r\nContent-Length: %zu\r\n\r\n",
                       sizes[i]);
    for (size_t k = 0; k < sizes[i]; k++) responses[i][(size_t)head + k] = (char)('a' + k % 23);
    lengths[i] = (size_t)head + sizes[i];
  }
}

/* user_data: descriptor above, operation in the low three bits. */
static uint64_t tag(int fd, int operation) { return (uint64_t)fd << 3 | (uint64_t)operation; }

static void send_response(int fd, const char *response, size_t length) {
  struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_SEND, fd, tag(fd, SEND));
  sqe->addr = (uint64_t)(uintptr_t)response;
  sqe->len = (uint32_t)length;
  sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  connections[fd].sending++;
}

static void send_echo(int fd, const char *head, int length) {
  static char response[BUFFER_BYTES + 256];
  int n = sprintf(response, "HTTP/1.1 200 OK\r\nX-Powered-By: origin\r\nContent-Length: %d\r\n\r\n", length);
  memcpy(response + n, head, (size_t)length);
  send_response(fd, response, (size_t)(n + length));
}

static void receive(int fd) {
  struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_RECV, fd, tag(fd, RECEIVE));
  sqe->flags = IOSQE_BUFFER_SELECT;
  sqe->ioprio = IORING_RECV_MULTISHOT;
  sqe->buf_group = (uint16_t)buffers.group;
  connections[fd].receiving = 1;
}

static void close_when_idle(int fd) {
  if (connections[fd].sending || connections[fd].receiving) return;
  ring_sqe(&ring, IORING_OP_CLOSE, fd, tag(fd, CLOSE));
}

static void on_bytes(int fd, const char *bytes, int length) {
  struct connection *c = &connections[fd];
  if (c->body < 0) {
    const char *from = memchr(bytes, ' ', (size_t)length);
    const char *to = from ? memchr(from + 1, ' ', (size_t)(bytes + length - from - 1)) : NULL;
    if (!to) return;
    const char *segment = memrchr(from, '/', (size_t)(to - from));
    c->body = 0;
    if (segment && (size_t)(to - segment - 1) == 4 && memcmp(segment, "/echo", 5) == 0) {
      send_echo(fd, bytes, length);
      c->body = -1;
      return;
    }
    for (int i = 0; segment && i < BODIES; i++) {
      size_t n = strlen(names[i]);
      if ((size_t)(to - segment - 1) == n && memcmp(segment + 1, names[i], n) == 0) c->body = i;
    }
  }
  if (length < 4 || memcmp(bytes + length - 4, "\r\n\r\n", 4) != 0) return;
  send_response(fd, responses[c->body], lengths[c->body]);
  c->body = -1;
}

static void on_completion(int fd, int operation, int result, unsigned flags) {
  switch (operation) {
    case ACCEPT:
      if (result >= 0 && result < 65536) {
        connections[result] = (struct connection){.body = -1};
        receive(result);
      }
      if (!(flags & IORING_CQE_F_MORE)) {
        ring_sqe(&ring, IORING_OP_ACCEPT, fd, tag(fd, ACCEPT))->ioprio = IORING_ACCEPT_MULTISHOT;
      }
      break;
    case RECEIVE:
      if (result > 0) {
        unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;
        on_bytes(fd, (const char *)buffer_at(&buffers, id), result);
        buffer_give(&buffers, id);
      }
      if (flags & IORING_CQE_F_MORE) break;
      connections[fd].receiving = 0;
      if (result > 0 || result == -ENOBUFS) receive(fd);
      else close_when_idle(fd);
      break;
    case SEND:
      connections[fd].sending--;
      if (!connections[fd].receiving) close_when_idle(fd);
      break;
    default:
      break;
  }
}

int main(int argc, char **argv) {
  if (argc != 2) return fprintf(stderr, "usage: origin PORT\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  raise_file_limit();
  prepare();
  ring_open(&ring, 4096);
  buffers_open(&ring, &buffers, 512, BUFFER_BYTES, 1);
  int listener = tcp_listen(atoi(argv[1]));
  ring_sqe(&ring, IORING_OP_ACCEPT, listener, tag(listener, ACCEPT))->ioprio = IORING_ACCEPT_MULTISHOT;
  for (;;) {
    ring_enter(&ring, 1, UINT64_MAX);
    unsigned head = *ring.cq_head, tail = __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE);
    for (; head != tail; head++) {
      struct io_uring_cqe *cqe = &ring.cqes[head & ring.cq_mask];
      on_completion((int)(cqe->user_data >> 3), (int)(cqe->user_data & 7), cqe->res, cqe->flags);
    }
    __atomic_store_n(ring.cq_head, head, __ATOMIC_RELEASE);
  }
}
