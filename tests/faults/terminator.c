/*
** terminator.c -- TLS in front of a broker that speaks none.
**
** terminator CERTIFICATE KEY PORT: listens on 127.0.0.1, writes its port as one
** line, and hands what comes over TLS to 127.0.0.1:PORT, both ways, a thread a
** connection.  It ends with its standard input.
*/
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHUNK = 16384 };

static SSL_CTX *tls_context;
static uint16_t broker_port;

typedef struct flow { /* what one side has said and the other not taken */
  unsigned char bytes[CHUNK];
  int start, end;
} flow;

typedef struct bridge {
  int client, broker;
  SSL *tls;
  flow up, down;
  bool wants_write; /* TLS does, for whatever reason */
} bridge;

/* ------------------------------------------------------------- flowing -- */

/* False when TLS is at its end; else it wants to read or write. */
static bool goes_on(bridge *bridge, int result) {
  int why = SSL_get_error(bridge->tls, result);

  bridge->wants_write |= why == SSL_ERROR_WANT_WRITE;
  return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

static bool from_client(bridge *bridge) {
  int size;

  if (bridge->up.start < bridge->up.end)
    return true;
  size = SSL_read(bridge->tls, bridge->up.bytes, CHUNK);
  bridge->up.start = 0;
  bridge->up.end = size > 0 ? size : 0;
  return size > 0 || goes_on(bridge, size);
}

static bool to_client(bridge *bridge) {
  int size;

  if (bridge->down.start == bridge->down.end)
    return true;
  size = SSL_write(bridge->tls, bridge->down.bytes + bridge->down.start,
                   bridge->down.end - bridge->down.start);
  bridge->down.start += size > 0 ? size : 0;
  return size > 0 || goes_on(bridge, size);
}

static bool blocks(ssize_t size) {
  return size < 0 && errno == EAGAIN;
}

static bool from_broker(bridge *bridge) {
  ssize_t size;

  if (bridge->down.start < bridge->down.end)
    return true;
  size = recv(bridge->broker, bridge->down.bytes, CHUNK, MSG_DONTWAIT);
  bridge->down.start = 0;
  bridge->down.end = size > 0 ? (int)size : 0;
  return size > 0 || blocks(size);
}

static bool to_broker(bridge *bridge) {
  ssize_t size;

  if (bridge->up.start == bridge->up.end)
    return true;
  size = send(bridge->broker, bridge->up.bytes + bridge->up.start,
              (size_t)(bridge->up.end - bridge->up.start),
              MSG_DONTWAIT | MSG_NOSIGNAL);
  bridge->up.start += size > 0 ? (int)size : 0;
  return size > 0 || blocks(size);
}

static void wait_for(const bridge *bridge) {
  bool up = bridge->up.start < bridge->up.end;
  bool down = bridge->down.start < bridge->down.end;
  struct pollfd polled[] = {
      {bridge->client,
       (short)((up ? 0 : POLLIN) | (down || bridge->wants_write ? POLLOUT : 0)),
       0},
      {bridge->broker, (short)((down ? 0 : POLLIN) | (up ? POLLOUT : 0)), 0},
  };

  if (up || SSL_pending(bridge->tls) == 0)
    (void)poll(polled, 2, -1);
}

static void *pass_on(void *user) {
  bridge *bridge = user;

  do {
    wait_for(bridge);
    bridge->wants_write = false;
  } while (from_client(bridge) && to_broker(bridge) && from_broker(bridge) &&
           to_client(bridge));
  (void)SSL_shutdown(bridge->tls);
  SSL_free(bridge->tls);
  (void)close(bridge->client);
  (void)close(bridge->broker);
  free(bridge);
  return NULL;
}

/* ----------------------------------------------------------- connecting -- */

static struct sockaddr_in loopback(uint16_t port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static void take(int listener) {
  struct sockaddr_in address = loopback(broker_port);
  bridge *bridge = calloc(1, sizeof *bridge);
  pthread_t thread;
  int on = 1;

  if (!bridge)
    abort();
  bridge->client = accept(listener, NULL, NULL);
  bridge->broker = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bridge->tls = SSL_new(tls_context);
  if (bridge->client < 0 || bridge->broker < 0 || !bridge->tls)
    abort();
  if (connect(bridge->broker, (struct sockaddr *)&address, sizeof address) !=
      0) {
    (void)close(bridge->client);
    (void)close(bridge->broker);
    SSL_free(bridge->tls);
    free(bridge);
    return;
  }
  (void)setsockopt(bridge->client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  (void)setsockopt(bridge->broker, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  (void)fcntl(bridge->client, F_SETFL, O_NONBLOCK);
  SSL_set_fd(bridge->tls, bridge->client);
  SSL_set_accept_state(bridge->tls); /* it shakes hands when it first reads */
  if (pthread_create(&thread, NULL, pass_on, bridge) != 0)
    abort();
  (void)pthread_detach(thread);
}

int main(int count, char **words) {
  struct sockaddr_in address = loopback(0);
  struct pollfd polled[] = {{-1, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  if (count < 4)
    return 2;
  (void)signal(SIGPIPE, SIG_IGN);
  broker_port = (uint16_t)strtoul(words[3], NULL, 10);
  tls_context = SSL_CTX_new(TLS_server_method());
  if (!tls_context ||
      SSL_CTX_use_certificate_chain_file(tls_context, words[1]) != 1 ||
      SSL_CTX_use_PrivateKey_file(tls_context, words[2], SSL_FILETYPE_PEM) !=
          1 ||
      bind(listener, (struct sockaddr *)&address, size) != 0 ||
      listen(listener, 64) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &size) != 0)
    return 1;
  SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  printf("%u\n", (unsigned)ntohs(address.sin_port));
  (void)fflush(stdout);
  polled[0].fd = listener;
  while (poll(polled, 2, -1) > 0 && !polled[1].revents)
    if (polled[0].revents)
      take(listener);
  _exit(0); /* whatever the threads are doing */
}
