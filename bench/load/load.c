/*
 * The load generator of the benchmark: HTTP/1.1 requests over loopback on one io_uring, cheap enough to
 * saturate a proxy from the core that it shares with the origin. Every response is checked: status 200,
 * a Content-Length of the expected size, and as many bytes. The first wrong one ends the run with a message.
 *
 * Closed loop (default): each connection sends its next request when its response is complete.
 * Open loop (-R): requests fall due at random (Poisson, fixed seed) at a mean rate, whatever the server does;
 * latency counts from the time that a request was due, so that waiting for a free connection counts too.
 *
 * usage: load -p PORT -u PATH -b BODY_BYTES [-c CONNECTIONS] [-d SECONDS | -n REQUESTS] [-R RATE] [-C] [-H FIELD]…
 *        load -p PORT -u PATH -b BODY_BYTES -i CONNECTIONS
 *   -C  a new connection for each request (Connection: close)
 *   -i  opens so many connections, one request on each, prints "ready", holds them until standard input ends
 * Prints one line of JSON.
 */
#include "../native/ring.h"
#include "../native/histogram.h"

enum { CONNECT, RECEIVE, RECEIVE_HEAD, RECEIVE_BODY, SEND, CLOSE, CANCEL };
enum { OPENING, FREE, WAITING, DRAINING, CLOSED };
#define BUFFER_BYTES 4096u
#define BUFFER_COUNT 1024u
#define SMALL_BODY 2048
#define DISCARD_BYTES (1u << 20)
#define CONNECTIONS_MAX 60000u
#define BACKLOG_MAX (1u << 20)
#define IDLE_WINDOW 64

struct connection {
  int fd, state, receiving;
  int64_t body_left;
  uint64_t due_ns;
  unsigned generation;
  int server_closes;
  unsigned char head[BUFFER_BYTES];
};

static struct ring ring;
static struct buffers buffers;
static struct connection *connections;
static struct sockaddr_in address;
static unsigned char *discard;
static char request[4096];
static int request_length;

static long body_bytes = -1, requests_max;
static unsigned connection_count = 64, idle_count, opened;
static double seconds = 1, rate;
static int close_each;

static uint64_t start_ns, end_ns;
static unsigned long completed, completed_in_time, started, connects;
static unsigned free_list[CONNECTIONS_MAX], free_count, waiting_count;
static uint64_t *backlog;
static unsigned backlog_head, backlog_tail;

static void fail(const char *message) {
  fprintf(stderr, "load: %s\n", message);
  exit(1);
}

/* user_data: generation (32 bits), index (24), operation (8). */
static uint64_t tag(unsigned index, int operation) {
  return (uint64_t)connections[index].generation << 32 | (uint64_t)index << 8 | (uint64_t)operation;
}

static void receive(unsigned index) {
  struct connection *c = &connections[index];
  if (c->receiving) return;
  c->receiving = 1;
  if (body_bytes <= SMALL_BODY) {
    struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_RECV, c->fd, tag(index, RECEIVE));
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->buf_group = (uint16_t)buffers.group;
  } else {
    struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_RECV, c->fd, tag(index, RECEIVE_HEAD));
    sqe->addr = (uint64_t)(uintptr_t)c->head;
    sqe->len = BUFFER_BYTES;
  }
}

/* MSG_TRUNC lets the kernel drop the bytes without a copy; they still count. */
static void discard_body(unsigned index) {
  struct connection *c = &connections[index];
  struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_RECV, c->fd, tag(index, RECEIVE_BODY));
  sqe->addr = (uint64_t)(uintptr_t)discard;
  sqe->len = c->body_left < DISCARD_BYTES ? (uint32_t)c->body_left : DISCARD_BYTES;
  sqe->msg_flags = MSG_TRUNC;
  c->receiving = 1;
}

static void open_connection(unsigned index) {
  struct connection *c = &connections[index];
  c->fd = tcp_socket();
  c->state = OPENING;
  c->receiving = 0;
  c->generation++;
  c->server_closes = 0;
  c->body_left = -1;
  connects++;
  struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_CONNECT, c->fd, tag(index, CONNECT));
  sqe->addr = (uint64_t)(uintptr_t)&address;
  sqe->off = sizeof address;
}

static void send_request(unsigned index, uint64_t due) {
  struct connection *c = &connections[index];
  c->state = WAITING;
  c->due_ns = due;
  c->body_left = -1;
  waiting_count++;
  started++;
  if (body_bytes > SMALL_BODY) receive(index);
  struct io_uring_sqe *sqe = ring_sqe(&ring, IORING_OP_SEND, c->fd, tag(index, SEND));
  sqe->addr = (uint64_t)(uintptr_t)request;
  sqe->len = (uint32_t)request_length;
  sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
}

static void close_connection(unsigned index) {
  struct connection *c = &connections[index];
  if (c->receiving) {
    ring_sqe(&ring, IORING_OP_ASYNC_CANCEL, -1, tag(index, CANCEL))->addr =
        tag(index, body_bytes <= SMALL_BODY ? RECEIVE : RECEIVE_HEAD);
  }
  c->state = CLOSED;
  c->generation++;
  c->receiving = 0;
  ring_sqe(&ring, IORING_OP_CLOSE, c->fd, tag(index, CLOSE));
}

static int finished(void) {
  if (idle_count > 0) return 0;
  return requests_max > 0 ? started >= (unsigned long)requests_max : now_ns() >= end_ns;
}

/* A connection is free: it takes what is due, or waits for it. */
static void next_request(unsigned index) {
  connections[index].state = FREE;
  if (rate > 0) {
    if (backlog_head != backlog_tail) send_request(index, backlog[backlog_head++ % BACKLOG_MAX]);
    else free_list[free_count++] = index;
  } else if (!finished()) {
    send_request(index, now_ns());
  } else {
    free_list[free_count++] = index;
  }
}

static void response_complete(unsigned index) {
  struct connection *c = &connections[index];
  uint64_t now = now_ns();
  histogram[bucket_of(now - c->due_ns)]++;
  completed++;
  waiting_count--;
  if (now <= end_ns || requests_max > 0) completed_in_time++;
  if (idle_count > 0) {
    c->state = FREE;
    if (opened < idle_count) open_connection(opened++);
  } else if (!close_each) {
    if (c->server_closes) fail("the server closes a connection that was to be kept");
    next_request(index);
  } else if (c->server_closes) {
    c->state = DRAINING;
    waiting_count++;
    receive(index);
  } else {
    close_connection(index);
    if (!finished()) open_connection(index);
  }
}

/* Reads the head in `bytes`; returns its length. It must be there whole, since proxies send it at once. */
static int read_head(struct connection *c, const char *bytes, int length) {
  const char *end = memmem(bytes, (size_t)length, "\r\n\r\n", 4);
  if (!end) fail("a response head came in pieces");
  if (length < 12 || memcmp(bytes, "HTTP/1.1 200", 12) != 0) {
    fprintf(stderr, "load: %.*s\n", length < 200 ? length : 200, bytes);
    fail("unexpected response");
  }
  long declared = -1;
  for (const char *line = memchr(bytes, '\n', (size_t)length); line && line + 1 < end + 2;) {
    const char *field = line + 1;
    line = memchr(field, '\n', (size_t)(bytes + length - field));
    if (strncasecmp(field, "content-length:", 15) == 0) declared = atol(field + 15);
    else if (strncasecmp(field, "connection: close", 17) == 0) c->server_closes = 1;
  }
  if (declared != body_bytes) fail("unexpected Content-Length");
  c->body_left = declared;
  return (int)(end + 4 - bytes);
}

static void on_bytes(unsigned index, const char *bytes, int length) {
  struct connection *c = &connections[index];
  if (c->state != WAITING) fail("bytes without a request");
  if (c->body_left < 0) {
    int head = read_head(c, bytes, length);
    length -= head;
  }
  if (length > c->body_left) fail("more bytes than declared");
  c->body_left -= length;
  if (c->body_left == 0) response_complete(index);
  else if (body_bytes > SMALL_BODY) discard_body(index);
}

static void on_end(unsigned index) {
  struct connection *c = &connections[index];
  if (c->state != DRAINING) fail("the server closed a connection early");
  waiting_count--;
  close_connection(index);
  if (!finished()) open_connection(index);
}

static void on_connect(unsigned index, int result) {
  if (result < 0) {
    errno = -result;
    die("connect");
  }
  if (body_bytes <= SMALL_BODY) receive(index);
  if (start_ns != 0 || idle_count > 0) {
    if (close_each || idle_count > 0) send_request(index, now_ns());
    else next_request(index);
    return;
  }
  free_list[free_count++] = index;
}

static void on_receive(unsigned index, int operation, int result, unsigned flags) {
  struct connection *c = &connections[index];
  int more = (flags & IORING_CQE_F_MORE) != 0;
  if (!more) c->receiving = 0;
  if (result == -ENOBUFS) {
    receive(index);
  } else if (result <= 0) {
    if (result != -ECANCELED) on_end(index);
  } else if (operation == RECEIVE_BODY) {
    c->body_left -= result;
    if (c->body_left == 0) response_complete(index);
    else discard_body(index);
  } else if (operation == RECEIVE_HEAD) {
    on_bytes(index, (const char *)c->head, result);
  } else {
    unsigned generation = c->generation;
    unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;
    on_bytes(index, (const char *)buffer_at(&buffers, id), result);
    buffer_give(&buffers, id);
    if (!more && c->generation == generation) receive(index);
  }
}

static void on_completion(const struct io_uring_cqe *cqe) {
  unsigned index = (unsigned)(cqe->user_data >> 8) & 0xffffffu;
  int operation = (int)(cqe->user_data & 255);
  if ((uint32_t)(cqe->user_data >> 32) != connections[index].generation) {
    if (cqe->flags & IORING_CQE_F_BUFFER) buffer_give(&buffers, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    return;
  }
  if (operation == CONNECT) on_connect(index, cqe->res);
  else if (operation <= RECEIVE_BODY) on_receive(index, operation, cqe->res, cqe->flags);
  else if (operation == SEND && cqe->res < 0 && connections[index].state != CLOSED) fail("send failed");
}

static void turn(unsigned wait, uint64_t timeout_ns) {
  ring_enter(&ring, wait, timeout_ns);
  unsigned head = *ring.cq_head, tail = __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE);
  for (; head != tail; head++) on_completion(&ring.cqes[head & ring.cq_mask]);
  __atomic_store_n(ring.cq_head, head, __ATOMIC_RELEASE);
}

static uint64_t random_state = 0x9e3779b97f4a7c15u;

/* Uniform in (0, 1], xorshift. */
static double uniform(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (double)((random_state >> 11) + 1) / 9007199254740992.0;
}

static void run_open_loop(void) {
  double due = (double)start_ns;
  while (due < (double)end_ns || waiting_count > 0 || backlog_head != backlog_tail) {
    uint64_t now = now_ns();
    while (due <= (double)now && due < (double)end_ns) {
      if (backlog_tail - backlog_head == BACKLOG_MAX) fail("the server cannot keep up with the rate");
      backlog[backlog_tail++ % BACKLOG_MAX] = (uint64_t)due;
      due -= log(uniform()) * 1e9 / rate;
    }
    while (free_count > 0 && backlog_head != backlog_tail) {
      send_request(free_list[--free_count], backlog[backlog_head++ % BACKLOG_MAX]);
    }
    if (now > end_ns + 10000000000u) fail("responses missing ten seconds after the end");
    uint64_t wait = due < (double)end_ns ? (due > (double)now ? (uint64_t)(due - (double)now) : 0) : 100000000u;
    turn(1, wait);
  }
}

static void run_closed_loop(void) {
  unsigned ready = free_count;
  free_count = 0;
  for (unsigned i = 0; i < ready; i++) send_request(free_list[i], now_ns());
  while (!finished() || waiting_count > 0) {
    if (requests_max == 0 && now_ns() > end_ns + 10000000000u) fail("responses missing ten seconds after the end");
    turn(1, 100000000u);
  }
}

static void run_idle(void) {
  unsigned first = idle_count < IDLE_WINDOW ? idle_count : IDLE_WINDOW;
  while (opened < first) open_connection(opened++);
  uint64_t limit = now_ns() + 60000000000u;
  while (completed < idle_count) {
    if (now_ns() > limit) fail("connections not open after a minute");
    turn(1, 100000000u);
  }
  printf("ready\n");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) continue;
}

static void prepare_request(int port, const char *path, char **fields, int field_count) {
  int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n", path);
  int host = 0;
  for (int i = 0; i < field_count; i++) {
    host |= strncasecmp(fields[i], "host:", 5) == 0;
    n += snprintf(request + n, sizeof request - (size_t)n, "%s\r\n", fields[i]);
  }
  if (!host) n += snprintf(request + n, sizeof request - (size_t)n, "Host: 127.0.0.1:%d\r\n", port);
  if (close_each) n += snprintf(request + n, sizeof request - (size_t)n, "Connection: close\r\n");
  request_length = n + snprintf(request + n, sizeof request - (size_t)n, "\r\n");
}

int main(int argc, char **argv) {
  int option, port = 0, field_count = 0;
  const char *path = "/";
  char *fields[32];
  while ((option = getopt(argc, argv, "p:u:b:c:d:n:R:Ci:H:")) != -1) {
    switch (option) {
      case 'p': port = atoi(optarg); break;
      case 'u': path = optarg; break;
      case 'b': body_bytes = atol(optarg); break;
      case 'c': connection_count = (unsigned)atoi(optarg); break;
      case 'd': seconds = atof(optarg); break;
      case 'n': requests_max = atol(optarg); break;
      case 'R': rate = atof(optarg); break;
      case 'C': close_each = 1; break;
      case 'i': idle_count = (unsigned)atoi(optarg); break;
      case 'H': if (field_count < 32) fields[field_count++] = optarg; break;
      default: return 2;
    }
  }
  if (port == 0 || body_bytes < 0) return fprintf(stderr, "load: -p and -b are needed\n"), 2;
  unsigned count = idle_count > 0 ? idle_count : connection_count;
  if (count == 0 || count > CONNECTIONS_MAX) return fprintf(stderr, "load: too many connections\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  raise_file_limit();
  prepare_request(port, path, fields, field_count);
  address = loopback(port);
  connections = map_memory(count * sizeof *connections);
  backlog = map_memory(BACKLOG_MAX * sizeof *backlog);
  discard = map_memory(DISCARD_BYTES);
  ring_open(&ring, 4096);
  buffers_open(&ring, &buffers, BUFFER_COUNT, BUFFER_BYTES, 1);

  if (idle_count > 0) {
    run_idle();
    return 0;
  }
  if (!close_each) {
    for (unsigned i = 0; i < count; i++) open_connection(i);
    while (free_count < count) turn(1, 100000000u);
  }
  start_ns = now_ns();
  end_ns = requests_max > 0 ? UINT64_MAX - 20000000000u : start_ns + (uint64_t)(seconds * 1e9);
  if (close_each) {
    for (unsigned i = 0; i < count; i++) open_connection(i);
    waiting_count = 0;
    while (!finished() || waiting_count > 0) turn(1, 100000000u);
  } else if (rate > 0) {
    run_open_loop();
  } else {
    run_closed_loop();
  }
  double elapsed = (double)(now_ns() - start_ns) / 1e9;
  double window = requests_max > 0 || elapsed < seconds ? elapsed : seconds;
  printf("{\"requests\":%lu,\"seconds\":%.6f,\"requestsPerSecond\":%.1f,\"connects\":%lu,"
         "\"p50Us\":%.1f,\"p90Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,\"maxUs\":%.1f}\n",
         completed, elapsed, (double)completed_in_time / window, connects, percentile_us(0.5), percentile_us(0.9),
         percentile_us(0.99), percentile_us(0.999), percentile_us(1));
  return 0;
}
