#include "little_broker.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PACKET = 4096, KNOWN = 65536 };

typedef struct peer {
  int fd;
  SSL *tls; /* NULL: plain */
  uint16_t last_id;
  unsigned number; /* behind the first letter of its client id */
} peer;

static SSL_CTX *tls_context;
static bool known[KNOWN]; /* has been connected before */
static bool cut[KNOWN];   /* has been cut before */

/* ---------------------------------------------------------------- bytes -- */

static bool read_all(peer *peer, uint8_t *bytes, size_t size) {
  while (size > 0) {
    ssize_t got = peer->tls ? SSL_read(peer->tls, bytes, (int)size)
                            : read(peer->fd, bytes, size);

    if (got <= 0)
      return false;
    bytes += got;
    size -= (size_t)got;
  }
  return true;
}

static bool write_all(peer *peer, const uint8_t *bytes, size_t size) {
  if (peer->tls)
    return SSL_write(peer->tls, bytes, (int)size) == (int)size;
  return send(peer->fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* The body of the next packet; -1 at the end, or when it is too long. */
static int read_packet(peer *peer, uint8_t *first, uint8_t *body) {
  size_t size = 0;
  uint8_t byte = 128;

  if (!read_all(peer, first, 1))
    return -1;
  for (int shift = 0; byte & 128; shift += 7) {
    if (shift > 21 || !read_all(peer, &byte, 1))
      return -1;
    size |= (size_t)(byte & 127) << shift;
  }
  return size <= PACKET && read_all(peer, body, size) ? (int)size : -1;
}

/* ------------------------------------------------------------- packets -- */

static bool connect_packet(peer *peer, const uint8_t *body) {
  uint8_t answer[] = {0x20, 3, 0, 0, 0};
  const uint8_t *id = body + 11 + body[10]; /* properties below 128 bytes */
  char text[16] = "";
  size_t size = (size_t)id[0] << 8 | id[1];

  if (size > 1 && size < sizeof text)
    memcpy(text, id + 3, size - 1);
  peer->number = (unsigned)strtoul(text, NULL, 10) % KNOWN;
  answer[2] = known[peer->number];
  known[peer->number] = true;
  return write_all(peer, answer, sizeof answer);
}

static bool publish_packet(peer *peer, uint8_t *body, int size) {
  size_t topic = (size_t)body[0] << 8 | body[1];
  uint8_t *id = body + 2 + topic, *payload = id + 3 + id[2];
  uint8_t answer[] = {0x40, 2, id[0], id[1]};
  uint8_t first[] = {0x32, (uint8_t)size};

  if (size > 127)
    return false;
  if (size - (payload - body) >= 3 && memcmp(payload, "cut", 3) == 0 &&
      !cut[peer->number]) {
    cut[peer->number] = true;
    return false;
  }
  if (!write_all(peer, answer, sizeof answer))
    return false;
  peer->last_id++;
  id[0] = (uint8_t)(peer->last_id >> 8);
  id[1] = (uint8_t)peer->last_id;
  return write_all(peer, first, sizeof first) &&
         write_all(peer, body, (size_t)size);
}

static bool answer_packet(peer *peer) {
  static const uint8_t pong[] = {0xd0, 0};
  uint8_t body[PACKET], first;
  uint8_t granted[] = {0x90, 4, 0, 0, 0, 1};
  int size = read_packet(peer, &first, body);

  if (size < 0)
    return false;
  memcpy(granted + 2, body, 2);
  switch (first >> 4) {
  case 1:
    return size > 14 && connect_packet(peer, body);
  case 3:
    return size > 5 && publish_packet(peer, body, size);
  case 4:
    return true;
  case 8:
    return write_all(peer, granted, sizeof granted);
  case 12:
    return write_all(peer, pong, sizeof pong);
  default:
    return false;
  }
}

/* --------------------------------------------------------------- serving -- */

static void *serve(void *user) {
  peer *peer = user;

  if (!peer->tls || SSL_accept(peer->tls) == 1)
    while (answer_packet(peer))
      ;
  SSL_free(peer->tls);
  (void)close(peer->fd);
  free(peer);
  return NULL;
}

static void take(int listener, bool tls) {
  struct timeval limit = {10, 0};
  peer *peer = calloc(1, sizeof *peer);
  pthread_t thread;
  int on = 1;

  if (!peer || (peer->fd = accept(listener, NULL, NULL)) < 0) {
    free(peer);
    return;
  }
  (void)setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  (void)setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (tls && (peer->tls = SSL_new(tls_context)) != NULL)
    SSL_set_fd(peer->tls, peer->fd);
  if (pthread_create(&thread, NULL, serve, peer) != 0)
    abort();
  (void)pthread_detach(thread);
}

static void serve_all(int plain, int tls, const char *certificate,
                      const char *key) {
  struct pollfd polled[] = {{plain, POLLIN, 0}, {tls, POLLIN, 0}};

  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  (void)signal(SIGPIPE, SIG_IGN);
  tls_context = SSL_CTX_new(TLS_server_method());
  if (!tls_context ||
      SSL_CTX_use_certificate_file(tls_context, certificate,
                                   SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1)
    _exit(1);
  while (poll(polled, 2, -1) > 0)
    for (int i = 0; i < 2; i++)
      if (polled[i].revents)
        take(polled[i].fd, i == 1);
  _exit(1);
}

static int listen_on(uint16_t *port) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t size = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 ||
      listen(fd, 64) != 0 ||
      getsockname(fd, (struct sockaddr *)&address, &size) != 0)
    return -1;
  *port = ntohs(address.sin_port);
  return fd;
}

bool little_broker_start(little_broker *broker, const char *certificate,
                         const char *key) {
  int plain = listen_on(&broker->port), tls = listen_on(&broker->tls_port);

  if (plain < 0 || tls < 0)
    return false;
  broker->pid = fork();
  if (broker->pid == 0)
    serve_all(plain, tls, certificate, key);
  (void)close(plain);
  (void)close(tls);
  return broker->pid > 0;
}

void little_broker_stop(const little_broker *broker) {
  (void)kill(broker->pid, SIGKILL);
  (void)waitpid(broker->pid, NULL, 0);
}
