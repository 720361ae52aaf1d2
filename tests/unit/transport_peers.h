/*
** transport_peers.h -- servers of every manner, each in a thread, and a client
** of the transport.
*/
#ifndef UNIT_TRANSPORT_PEERS_H
#define UNIT_TRANSPORT_PEERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "iotops/transport.h"

/* --------------------------------------------------------- certificates -- */

static char folder[64];

static const char make_certificates[] =
    "cd '%s' && exec 2>log && set -e\n"
    "key() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }\n"
    "cert() {\n" /* name, issuer, days, extensions */
    "  key $1; openssl req -new -key $1.key -subj /CN=$1 -out $1.csr\n"
    "  printf \"$4\" > $1.ext\n"
    "  openssl x509 -req -in $1.csr -CA $2.crt -CAkey $2.key -days $3 \\\n"
    "    -set_serial $RANDOM$$ -extfile $1.ext -out $1.crt; }\n"
    "root() { key $1; openssl req -x509 -new -key $1.key -subj /CN=$1 \\\n"
    "  -days 9 -out $1.crt; }\n"
    "root ca; root other\n"
    "ca=basicConstraints=critical,CA:TRUE\n"
    "san=subjectAltName\n"
    "cert server ca 9 $san=DNS:localhost,IP:127.0.0.1\n"
    "cert foreign ca 9 $san=DNS:broker.example,IP:10.1.2.3\n"
    "cert expired ca -1 $san=DNS:localhost,IP:127.0.0.1\n"
    "cert middle ca 9 $ca\n"
    "cert leaf middle 9 $san=DNS:localhost,IP:127.0.0.1\n"
    "cat leaf.crt middle.crt > chain.pem\n"
    "cert client middle 9 basicConstraints=CA:FALSE\n"
    "(echo Bag Attributes; cat client.crt; echo more; cat middle.crt) \\\n"
    "  > client.pem\n"
    "printf 'secret\\r\\nnot this line\\n' > password\n"
    "printf 'wrong\\n' > wrong\n"
    "openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:secret \\\n"
    "  -in client.key -out client.enc\n"
    "openssl ec -aes256 -passout pass:secret -in client.key -out client.old\n"
    "(echo some text; cat other.crt; echo between; cat ca.crt) > bundle.pem\n"
    "echo nothing here > empty.pem\n"
    "printf -- '-----BEGIN CERTIFICATE-----\\nAAAA\\n' > broken.pem\n"
    "printf -- '-----END CERTIFICATE-----\\n' >> broken.pem\n"
    "mkdir -p bundle/..data; cp ca.crt bundle/..data/one.crt\n"
    "ln -s ..data/one.crt bundle/one.crt; cp other.crt bundle/two.crt\n";

static inline int make_folder(void **state) {
  char command[8192], script[128];
  (void)state;
  strcpy(folder, "/tmp/iotops-transport-XXXXXX");
  if (mkdtemp(folder) == NULL)
    return -1;
  snprintf(script, sizeof script, "%s/make", folder);
  FILE *file = fopen(script, "w");
  if (file == NULL)
    return -1;
  fprintf(file, make_certificates, folder);
  fclose(file);
  snprintf(command, sizeof command, "bash '%s' </dev/null >/dev/null", script);
  return system(command);
}

static inline int remove_folder(void **state) {
  char command[128];
  (void)state;
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command);
}

/* The path of a file in the folder; a few live at a time. */
static inline const char *in_folder(const char *name) {
  static char paths[8][128];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

/* --------------------------------------------------------------- servers -- */

static const size_t ANY_SIZE = (size_t)1024 * 1024;

typedef struct server server;
struct server {
  pthread_t thread;
  int listener, fd;
  unsigned port;
  const char *cert, *key, *client_ca; /* TLS when cert is set */
  void (*serve)(server *s);           /* after TLS, when there is */
  SSL *ssl;
  bool accepted;
  char server_name[128]; /* what SNI said */
  size_t received;
};

static inline ssize_t server_read(server *s, void *bytes, size_t size) {
  return s->ssl != NULL ? SSL_read(s->ssl, bytes, (int)size)
                        : read(s->fd, bytes, size);
}

static inline ssize_t server_write(server *s, const void *bytes, size_t size) {
  return s->ssl != NULL ? SSL_write(s->ssl, bytes, (int)size)
                        : send(s->fd, bytes, size, MSG_NOSIGNAL);
}

static inline int note_name(SSL *ssl, int *alert, void *user) {
  server *s = user;
  (void)alert;
  const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name != NULL)
    snprintf(s->server_name, sizeof s->server_name, "%s", name);
  return SSL_TLSEXT_ERR_OK;
}

static inline bool server_shake_hands(server *s, SSL_CTX *tls) {
  SSL_CTX_use_certificate_chain_file(tls, in_folder(s->cert));
  SSL_CTX_use_PrivateKey_file(tls, in_folder(s->key), SSL_FILETYPE_PEM);
  SSL_CTX_set_tlsext_servername_callback(tls, note_name);
  SSL_CTX_set_tlsext_servername_arg(tls, s);
  if (s->client_ca != NULL) {
    SSL_CTX_load_verify_locations(tls, in_folder(s->client_ca), NULL);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                       NULL);
  }
  s->ssl = SSL_new(tls);
  SSL_set_fd(s->ssl, s->fd);
  return SSL_accept(s->ssl) == 1;
}

static inline void *run_server(void *user) {
  server *s = user;
  struct timeval limit = {2, 0};
  int on = 1;
  SSL_CTX *tls = NULL;
  s->fd = accept(s->listener, NULL, NULL);
  if (s->fd < 0)
    return NULL;
  setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  s->accepted = true;
  bool ready = true;
  if (s->cert != NULL) {
    tls = SSL_CTX_new(TLS_server_method());
    ready = server_shake_hands(s, tls);
  }
  if (ready && s->serve != NULL)
    s->serve(s);
  SSL_free(s->ssl);
  SSL_CTX_free(tls);
  close(s->fd);
  ERR_clear_error();
  return NULL;
}

static inline void server_start(server *s) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t size = sizeof address;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(s->listener, (struct sockaddr *)&address, size), 0);
  assert_int_equal(listen(s->listener, 4), 0);
  getsockname(s->listener, (struct sockaddr *)&address, &size);
  s->port = ntohs(address.sin_port);
  pthread_create(&s->thread, NULL, run_server, s);
}

static inline void server_stop(server *s) {
  shutdown(s->listener, SHUT_RDWR); /* wakes an accept nobody came to */
  pthread_join(s->thread, NULL);
  close(s->listener);
}

static inline void echo(server *s) {
  char bytes[65536];
  ssize_t got;
  while ((got = server_read(s, bytes, sizeof bytes)) > 0) {
    s->received += (size_t)got;
    if (server_write(s, bytes, (size_t)got) != got)
      return;
  }
}

static inline void swallow(server *s) {
  char bytes[65536];
  ssize_t got;
  while ((got = server_read(s, bytes, sizeof bytes)) > 0)
    s->received += (size_t)got;
}

static inline void say_and_leave(server *s) {
  server_write(s, "farewell", 8);
}

static inline void say_much(server *s) {
  static char bytes[200000];
  memset(bytes, 'x', sizeof bytes);
  server_write(s, bytes, sizeof bytes);
  swallow(s);
}

static inline void say_and_reset(server *s) {
  struct linger reset = {1, 0};
  server_write(s, "last words", 10);
  usleep(20000);
  setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

static inline void speak_http(server *s) {
  static const char answer[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
  char bytes[2048];
  if (server_read(s, bytes, sizeof bytes) > 0)
    server_write(s, answer, sizeof answer - 1);
}

static inline void leave_after_hello(server *s) {
  char bytes[64];
  server_read(s, bytes, sizeof bytes);
}

static inline void greet_then_swallow(server *s) {
  /* Unread bytes of ours are what makes a careless close a reset. */
  static char bytes[3000];
  server_write(s, bytes, sizeof bytes);
  swallow(s);
}

/* ---------------------------------------------------------------- client -- */

typedef struct client {
  iotops_context *context;
  iotops_settings *settings;
  iotops_stream *stream;
  bool inside; /* a call into the stream: no callback may come */
  int opened, failed, writable;
  bool ended, broken;
  size_t budget; /* bytes read a readable event; 0: all */
  size_t received;
  size_t to_send, sent;
  char text[64];
  iotops_error error;
} client;

static inline void send_some(client *c) {
  static char bytes[65536];
  while (c->sent < c->to_send) {
    size_t size = c->to_send - c->sent;
    if (size > sizeof bytes)
      size = sizeof bytes;
    c->inside = true;
    ptrdiff_t taken = c->stream->ops->write(c->stream, bytes, size);
    c->inside = false;
    if (taken < 0) {
      c->broken = true;
      return;
    }
    c->sent += (size_t)taken;
    if ((size_t)taken < size)
      return;
  }
}

static inline void on_opened(void *user) {
  client *c = user;
  assert_false(c->inside);
  c->opened++;
  send_some(c);
}

static inline void on_readable(void *user) {
  client *c = user;
  char bytes[5000];
  size_t left = c->budget > 0 ? c->budget : SIZE_MAX;
  assert_false(c->inside);
  assert_int_equal(c->opened, 1);
  while (left > 0) {
    size_t size = left < sizeof bytes ? left : sizeof bytes;
    c->inside = true;
    ptrdiff_t got = c->stream->ops->read(c->stream, bytes, size);
    c->inside = false;
    if (got == IOTOPS_STREAM_END)
      c->ended = true;
    if (got == IOTOPS_STREAM_BROKEN)
      c->broken = true;
    if (got <= 0)
      return;
    if (c->received < sizeof c->text - 1)
      memcpy(c->text + c->received, bytes,
             (size_t)got < sizeof c->text - 1 - c->received
                 ? (size_t)got
                 : sizeof c->text - 1 - c->received);
    c->received += (size_t)got;
    left -= (size_t)got;
  }
}

static inline void on_writable(void *user) {
  client *c = user;
  assert_false(c->inside);
  c->writable++;
  send_some(c);
}

static inline void on_failed(void *user, const iotops_error *err) {
  client *c = user;
  assert_false(c->inside);
  c->failed++;
  c->error = *err;
}

static inline void set(client *c, const char *name, const char *value) {
  assert_int_equal(
      iotops_settings_set(c->settings, name, iotops_text_of(value), NULL), 0);
}

static inline void client_new(client *c, const char *host, unsigned port) {
  char text[16];
  memset(c, 0, sizeof *c);
  assert_int_equal(iotops_context_new(NULL, &c->context, NULL), 0);
  c->settings = iotops_settings_new(c->context);
  snprintf(text, sizeof text, "%u", port);
  set(c, "hostname", host);
  set(c, "tcp_port", text);
  set(c, "use_tls", "false");
}

static inline void client_tls(client *c, const char *host, unsigned port,
                              const char *ca) {
  client_new(c, host, port);
  set(c, "use_tls", "true");
  if (ca != NULL)
    set(c, "ca_file", in_folder(ca));
}

static inline int client_open(client *c) {
  iotops_stream_events events = {on_opened, on_readable, on_writable, on_failed,
                                 c};
  const iotops_transport *tcp = iotops_transport_tcp();
  c->inside = true;
  int rc = tcp->open(tcp->user, c->context, c->settings, &events, &c->stream,
                     &c->error);
  c->inside = false;
  return rc;
}

typedef bool (*condition)(const client *c);

static inline bool is_opened(const client *c) {
  return c->opened > 0 || c->failed > 0;
}

static inline bool is_failed(const client *c) {
  return c->failed > 0;
}

static inline bool is_echoed(const client *c) {
  return c->received >= c->to_send || c->failed > 0;
}

static inline bool run_until(client *c, condition done) {
  uint64_t end = iotops_mono_ms(c->context) + 20000; /* names can be slow */
  while (!done(c) && iotops_mono_ms(c->context) < end) {
    iotops_context_run_once(c->context, false);
    usleep(200);
  }
  return done(c);
}

static inline void client_close(client *c, bool graceful) {
  if (c->stream != NULL)
    c->stream->ops->close(c->stream, graceful);
  int failed = c->failed;
  iotops_settings_free(c->settings);
  iotops_context_free(c->context);
  assert_int_equal(c->failed, failed);
  assert_true(failed <= 1);
}

/* Opens and expects the failure to say `what`. */
static inline void expect_failure(client *c, const char *what) {
  assert_int_equal(client_open(c), 0);
  assert_true(run_until(c, is_failed));
  assert_int_equal(c->opened, 0);
  assert_int_equal(c->error.kind, IOTOPS_MQTT_ERROR);
  assert_int_equal(c->error.reason_code, -1);
  if (strstr(c->error.message, what) == NULL)
    fail_msg("\"%s\" does not say \"%s\"", c->error.message, what);
  for (int i = 0; i < 5; i++)
    iotops_context_run_once(c->context, false);
  assert_int_equal(c->failed, 1);
  client_close(c, true);
}

static inline void expect_refused(client *c, const char *what,
                                  const char *property) {
  assert_int_equal(client_open(c), -1);
  assert_null(c->stream);
  assert_int_equal(c->error.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_true(c->error.is_shallow);
  if (strstr(c->error.message, what) == NULL)
    fail_msg("\"%s\" does not say \"%s\"", c->error.message, what);
  assert_string_equal(c->error.property_name, property);
  client_close(c, true);
}

static inline void echo_much(client *c, server *s) {
  c->to_send = 4 * ANY_SIZE;
  assert_int_equal(client_open(c), 0);
  assert_true(run_until(c, is_echoed));
  assert_int_equal(c->failed, 0);
  assert_int_equal(c->received, c->to_send);
  client_close(c, true);
  server_stop(s);
  assert_int_equal(s->received, 4 * ANY_SIZE);
}

#endif
