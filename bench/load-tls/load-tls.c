/*
 * The load generator of the TLS scenarios: HTTP/1.1 over TLS on loopback, with OpenSSL and epoll. A closed loop:
 * each connection sends its next request when its response is complete. Every handshake is held to one version,
 * suite and key exchange group (X25519), and to being a full or a resumed one; every response to its status and
 * to as many bytes as it declares. The first wrong one ends the run with a message. Certificates are not verified
 * beyond the handshake's own signature.
 *
 * usage: load-tls -p PORT -u PATH -b BODY_BYTES [-c CONNECTIONS] [-d SECONDS | -n REQUESTS] [-C] [-r]
 *                 [-V 1.2|1.3] -s SUITE [-N SERVER_NAME] [-S STATUS] [-H FIELD]…
 *        load-tls -p PORT -u PATH -b BODY_BYTES -i CONNECTIONS …
 *   -b  length of the content; -1: whatever the response declares
 *   -C  a new connection, with a new handshake, for each request (Connection: close)
 *   -r  handshakes resume the session of the connection before; the first of each is not counted
 *   -i  opens so many connections, one request on each, prints "ready", holds them until standard input ends
 * Prints one line of JSON.
 */
#define _GNU_SOURCE
#include "../native/histogram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTING, FREE, WAITING, DRAINING, CLOSED };
#define HEAD_BYTES 8192
#define DISCARD_BYTES 65536
#define CONNECTIONS_MAX 60000u
#define EVENTS 256
#define IDLE_WINDOW 64
#define LARGE_BODY 65536
#define LATE_NS 10000000000u
#define GROUP "X25519"

struct connection {
  int fd, state, writable_wanted;
  SSL *ssl;
  SSL_SESSION *session;
  int64_t body_left;
  uint64_t due_ns;
  int server_closes, head_length;
  char *head;
};

static SSL_CTX *context;
static struct connection *connections;
static struct sockaddr_in address;
static unsigned char discard[DISCARD_BYTES];
static char request[4096];
static int request_length, epoll_fd;

static long body_bytes = -2, requests_max;
static unsigned connection_count = 64, idle_count, opened, free_count, primed, waiting_count;
static double seconds = 1;
static int close_each, resumes, priming, status_expected = 200, version = TLS1_3_VERSION;
static const char *suite, *server_name = "bench.example.com";

static uint64_t start_ns, end_ns;
static unsigned long completed, completed_in_time, started, handshakes, resumed, unclean;

static void fail(const char *message) {
  fprintf(stderr, "load-tls: %s\n", message);
  ERR_print_errors_fp(stderr);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int finished(void) {
  if (idle_count > 0) return 0;
  return requests_max > 0 ? started >= (unsigned long)requests_max : now_ns() >= end_ns;
}

static void watch(unsigned index, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u32 = index};
  if (epoll_ctl(epoll_fd, operation, connections[index].fd, &event) < 0) fail("epoll_ctl");
}

static void open_connection(unsigned index) {
  struct connection *c = &connections[index];
  int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) fail("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) fail("connect");
  c->state = CONNECTING;
  c->writable_wanted = 1;
  c->server_closes = 0;
  c->ssl = SSL_new(context);
  if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1) fail("SSL_new");
  SSL_set_app_data(c->ssl, c);
  SSL_set_tlsext_host_name(c->ssl, server_name);
  if (resumes && !priming && SSL_set_session(c->ssl, c->session) != 1) fail("there is no session to resume");
  SSL_set_connect_state(c->ssl);
  watch(index, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

/* Without a close_notify of ours; the session stays of use. */
static void close_connection(unsigned index) {
  struct connection *c = &connections[index];
  SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(c->ssl);
  c->ssl = NULL;
  close(c->fd);
  c->state = CLOSED;
}

static void send_request(unsigned index) {
  struct connection *c = &connections[index];
  c->body_left = -1;
  c->head_length = 0;
  if (!close_each) c->due_ns = now_ns();
  c->state = WAITING;
  if (SSL_write(c->ssl, request, request_length) != request_length) fail("a request can't be sent at once");
}

/* Latency counts from here: with -C the connection and its handshake are part of it. */
static void begin(unsigned index) {
  waiting_count++;
  started++;
  if (!close_each && idle_count == 0) {
    send_request(index);
    return;
  }
  connections[index].due_ns = now_ns();
  open_connection(index);
}

static void check_handshake(struct connection *c) {
  if (SSL_version(c->ssl) != version) fail("another version of TLS was negotiated");
  if (strcmp(SSL_get_cipher_name(c->ssl), suite) != 0) fail("another cipher suite was negotiated");
  int reused = SSL_session_reused(c->ssl);
  if (reused != (resumes && !priming)) fail(reused ? "a session was resumed" : "a session was not resumed");
  // A session of TLS 1.2 is resumed without a key exchange.
  if ((version == TLS1_3_VERSION || !reused) &&
      strcasecmp(SSL_group_to_name(c->ssl, SSL_get_negotiated_group(c->ssl)), GROUP) != 0)
    fail("another group was negotiated");
  handshakes++;
  resumed += (unsigned long)reused;
}

static void on_handshake(unsigned index) {
  struct connection *c = &connections[index];
  check_handshake(c);
  if (close_each || idle_count > 0) {
    send_request(index);
    return;
  }
  c->state = FREE;
  free_count++;
}

static void response_complete(unsigned index) {
  struct connection *c = &connections[index];
  if (close_each) {
    if (!c->server_closes) fail("the server does not say that it closes");
    c->state = DRAINING;
    return;
  }
  if (c->server_closes) fail("the server closes a connection that was to be kept");
  uint64_t now = now_ns();
  histogram[bucket_of(now - c->due_ns)]++;
  completed++;
  waiting_count--;
  if (now <= end_ns) completed_in_time++;
  c->state = FREE;
  if (idle_count > 0) {
    if (opened < idle_count) begin(opened++);
  } else if (!finished()) {
    begin(index);
  }
}

/* Reads the head, which is whole; returns its length. */
static int read_head(struct connection *c, int length) {
  const char *bytes = c->head;
  if (length < 12 || memcmp(bytes, "HTTP/1.1 ", 9) != 0 || atoi(bytes + 9) != status_expected) {
    fprintf(stderr, "load-tls: %.*s\n", length < 200 ? length : 200, bytes);
    fail("unexpected response");
  }
  long declared = -1;
  const char *end = bytes + length;
  for (const char *line = memchr(bytes, '\n', (size_t)length); line && line + 1 < end;) {
    const char *field = line + 1;
    line = memchr(field, '\n', (size_t)(end - field));
    if (strncasecmp(field, "content-length:", 15) == 0) declared = atol(field + 15);
    else if (strncasecmp(field, "connection: close", 17) == 0) c->server_closes = 1;
  }
  if (declared < 0 || (body_bytes >= 0 && declared != body_bytes)) fail("unexpected Content-Length");
  c->body_left = declared;
  return length;
}

static void on_content(unsigned index, int length) {
  struct connection *c = &connections[index];
  if (length > c->body_left) fail("more bytes than declared");
  c->body_left -= length;
  if (c->body_left == 0) response_complete(index);
}

static void on_head_bytes(unsigned index, int length) {
  struct connection *c = &connections[index];
  c->head_length += length;
  const char *end = memmem(c->head, (size_t)c->head_length, "\r\n\r\n", 4);
  if (!end) {
    if (c->head_length == HEAD_BYTES) fail("a response head is too long");
    return;
  }
  int head = read_head(c, (int)(end + 4 - c->head));
  on_content(index, c->head_length - head);
}

static void on_end(unsigned index) {
  struct connection *c = &connections[index];
  if (c->state != DRAINING) fail("the server closed a connection early");
  if (!(SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN)) unclean++;
  close_connection(index);
  waiting_count--;
  if (priming) {
    if (!c->session) fail("the server gave no session");
    primed++;
    return;
  }
  uint64_t now = now_ns();
  histogram[bucket_of(now - c->due_ns)]++;
  completed++;
  if (now <= end_ns) completed_in_time++;
  if (!finished()) begin(index);
}

static void on_failure(unsigned index, int result) {
  struct connection *c = &connections[index];
  switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ:
      if (c->writable_wanted) watch(index, EPOLL_CTL_MOD, EPOLLIN);
      c->writable_wanted = 0;
      return;
    case SSL_ERROR_WANT_WRITE: return;
    case SSL_ERROR_ZERO_RETURN: on_end(index); return;
    default: fail("a connection failed");
  }
}

/* Reads until the response is complete or nothing is left, so that no byte stays in OpenSSL unseen. */
static void on_readable(unsigned index) {
  struct connection *c = &connections[index];
  while (c->state == WAITING || c->state == DRAINING || c->state == FREE) {
    int in_head = c->state == WAITING && c->body_left < 0;
    void *to = in_head ? (void *)(c->head + c->head_length) : discard;
    int result = SSL_read(c->ssl, to, in_head ? HEAD_BYTES - c->head_length : DISCARD_BYTES);
    if (result <= 0) {
      on_failure(index, result);
      return;
    }
    if (c->state != WAITING) fail("bytes without a request");
    if (in_head) on_head_bytes(index, result);
    else on_content(index, result);
    // The server has nothing to say before it has seen the next request; an end follows by itself.
    if ((c->state == FREE || (c->state == WAITING && c->head_length == 0)) && !SSL_has_pending(c->ssl)) return;
  }
}

static void on_event(unsigned index) {
  struct connection *c = &connections[index];
  if (c->state == CLOSED) return;
  if (c->state == CONNECTING) {
    int result = SSL_do_handshake(c->ssl);
    if (result != 1) {
      on_failure(index, result);
      return;
    }
    if (c->writable_wanted) watch(index, EPOLL_CTL_MOD, EPOLLIN);
    c->writable_wanted = 0;
    on_handshake(index);
    if (!SSL_has_pending(c->ssl)) return;
  }
  on_readable(index);
}

static void turn(void) {
  struct epoll_event events[EVENTS];
  int count = epoll_wait(epoll_fd, events, EVENTS, 100);
  for (int i = 0; i < count; i++) on_event(events[i].data.u32);
  if (requests_max == 0 && idle_count == 0 && start_ns != 0 && now_ns() > end_ns + LATE_NS)
    fail("responses missing ten seconds after the end");
}

static void run_idle(void) {
  unsigned first = idle_count < IDLE_WINDOW ? idle_count : IDLE_WINDOW;
  uint64_t limit = now_ns() + 60000000000u;
  while (opened < first) begin(opened++);
  while (completed < idle_count) {
    if (now_ns() > limit) fail("connections not open after a minute");
    turn();
  }
  printf("ready\n");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) continue;
}

/* Every connection that is to resume gets a session by a whole handshake. */
static void prime(void) {
  priming = 1;
  for (unsigned i = 0; i < connection_count; i++) begin(i);
  while (primed < connection_count) turn();
  priming = 0;
  started = handshakes = resumed = 0;
}

static void run(void) {
  if (close_each && resumes) prime();
  if (!close_each) {
    for (unsigned i = 0; i < connection_count; i++) open_connection(i);
    while (free_count < connection_count) turn();
  }
  start_ns = now_ns();
  end_ns = requests_max > 0 ? UINT64_MAX - LATE_NS : start_ns + (uint64_t)(seconds * 1e9);
  for (unsigned i = 0; i < connection_count && !finished(); i++) begin(i);
  while (!finished() || waiting_count > 0) turn();
}

/* Called for every session that a server gives; the last one counts. */
static int keep_session(SSL *ssl, SSL_SESSION *session) {
  struct connection *c = SSL_get_app_data(ssl);
  SSL_SESSION_free(c->session);
  c->session = session;
  return 1;
}

static void prepare_context(void) {
  // In TLS 1.2 the list also says which curves a certificate may have.
  const char *groups = version == TLS1_3_VERSION ? GROUP : GROUP ":P-256";
  context = SSL_CTX_new(TLS_client_method());
  if (!context || SSL_CTX_set_min_proto_version(context, version) != 1 ||
      SSL_CTX_set_max_proto_version(context, version) != 1 || SSL_CTX_set1_groups_list(context, groups) != 1)
    fail("SSL_CTX");
  int known = version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites(context, suite) : SSL_CTX_set_cipher_list(context, suite);
  if (known != 1) fail("unknown suite");
  SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  if (body_bytes > LARGE_BODY) SSL_CTX_set_default_read_buffer_len(context, 4 * LARGE_BODY);
  SSL_CTX_set_session_cache_mode(context, resumes ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
  if (resumes) SSL_CTX_sess_set_new_cb(context, keep_session);
}

static void prepare_request(const char *path, char **fields, int field_count) {
  int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\n", path);
  for (int i = 0; i < field_count; i++) n += snprintf(request + n, sizeof request - (size_t)n, "%s\r\n", fields[i]);
  if (close_each) n += snprintf(request + n, sizeof request - (size_t)n, "Connection: close\r\n");
  request_length = n + snprintf(request + n, sizeof request - (size_t)n, "\r\n");
}

static void prepare_connections(unsigned count) {
  connections = calloc(count, sizeof *connections);
  for (unsigned i = 0; i < count; i++) connections[i].head = malloc(HEAD_BYTES);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) fail("epoll_create1");
}

int main(int argc, char **argv) {
  int option, port = 0, field_count = 0;
  const char *path = "/";
  char *fields[32];
  while ((option = getopt(argc, argv, "p:u:b:c:d:n:Cri:V:s:N:S:H:")) != -1) {
    switch (option) {
      case 'p': port = atoi(optarg); break;
      case 'u': path = optarg; break;
      case 'b': body_bytes = atol(optarg); break;
      case 'c': connection_count = (unsigned)atoi(optarg); break;
      case 'd': seconds = atof(optarg); break;
      case 'n': requests_max = atol(optarg); break;
      case 'C': close_each = 1; break;
      case 'r': resumes = 1; break;
      case 'i': idle_count = (unsigned)atoi(optarg); break;
      case 'V': version = strcmp(optarg, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION; break;
      case 's': suite = optarg; break;
      case 'N': server_name = optarg; break;
      case 'S': status_expected = atoi(optarg); break;
      case 'H': if (field_count < 32) fields[field_count++] = optarg; break;
      default: return 2;
    }
  }
  if (port == 0 || body_bytes == -2 || !suite) return fprintf(stderr, "load-tls: -p, -b and -s are needed\n"), 2;
  if (resumes && !close_each) return fprintf(stderr, "load-tls: -r needs -C\n"), 2;
  unsigned count = idle_count > 0 ? idle_count : connection_count;
  if (count == 0 || count > CONNECTIONS_MAX) return fprintf(stderr, "load-tls: too many connections\n"), 2;
  signal(SIGPIPE, SIG_IGN);
  address.sin_family = AF_INET;
  address.sin_port = htons((uint16_t)port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  prepare_request(path, fields, field_count);
  prepare_connections(count);
  prepare_context();
  if (idle_count > 0) {
    run_idle();
    return 0;
  }
  run();
  double elapsed = (double)(now_ns() - start_ns) / 1e9;
  double window = requests_max > 0 || elapsed < seconds ? elapsed : seconds;
  printf("{\"requests\":%lu,\"seconds\":%.6f,\"requestsPerSecond\":%.1f,\"handshakes\":%lu,\"resumed\":%lu,\"unclean\":%lu,"
         "\"p50Us\":%.1f,\"p90Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,\"maxUs\":%.1f}\n",
         completed, elapsed, (double)completed_in_time / window, handshakes, resumed, unclean, percentile_us(0.5),
         percentile_us(0.9), percentile_us(0.99), percentile_us(0.999), percentile_us(1));
  return 0;
}
