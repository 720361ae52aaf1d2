/* The TCP and TLS transport against real sockets and certificates. */
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

static int make_folder(void **state) {
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

static int remove_folder(void **state) {
  char command[128];
  (void)state;
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command);
}

/* The path of a file in the folder; a few live at a time. */
static const char *in_folder(const char *name) {
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

static ssize_t server_read(server *s, void *bytes, size_t size) {
  return s->ssl != NULL ? SSL_read(s->ssl, bytes, (int)size)
                        : read(s->fd, bytes, size);
}

static ssize_t server_write(server *s, const void *bytes, size_t size) {
  return s->ssl != NULL ? SSL_write(s->ssl, bytes, (int)size)
                        : send(s->fd, bytes, size, MSG_NOSIGNAL);
}

static int note_name(SSL *ssl, int *alert, void *user) {
  server *s = user;
  (void)alert;
  const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name != NULL)
    snprintf(s->server_name, sizeof s->server_name, "%s", name);
  return SSL_TLSEXT_ERR_OK;
}

static bool server_shake_hands(server *s, SSL_CTX *tls) {
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

static void *run_server(void *user) {
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

static void server_start(server *s) {
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

static void server_stop(server *s) {
  shutdown(s->listener, SHUT_RDWR); /* wakes an accept nobody came to */
  pthread_join(s->thread, NULL);
  close(s->listener);
}

static void echo(server *s) {
  char bytes[65536];
  ssize_t got;
  while ((got = server_read(s, bytes, sizeof bytes)) > 0) {
    s->received += (size_t)got;
    if (server_write(s, bytes, (size_t)got) != got)
      return;
  }
}

static void swallow(server *s) {
  char bytes[65536];
  ssize_t got;
  while ((got = server_read(s, bytes, sizeof bytes)) > 0)
    s->received += (size_t)got;
}

static void say_and_leave(server *s) {
  server_write(s, "farewell", 8);
}

static void say_much(server *s) {
  static char bytes[200000];
  memset(bytes, 'x', sizeof bytes);
  server_write(s, bytes, sizeof bytes);
  swallow(s);
}

static void say_and_reset(server *s) {
  struct linger reset = {1, 0};
  server_write(s, "last words", 10);
  usleep(20000);
  setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

static void speak_http(server *s) {
  static const char answer[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
  char bytes[2048];
  if (server_read(s, bytes, sizeof bytes) > 0)
    server_write(s, answer, sizeof answer - 1);
}

static void leave_after_hello(server *s) {
  char bytes[64];
  server_read(s, bytes, sizeof bytes);
}

static void greet_then_swallow(server *s) {
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

static void send_some(client *c) {
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

static void on_opened(void *user) {
  client *c = user;
  assert_false(c->inside);
  c->opened++;
  send_some(c);
}

static void on_readable(void *user) {
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

static void on_writable(void *user) {
  client *c = user;
  assert_false(c->inside);
  c->writable++;
  send_some(c);
}

static void on_failed(void *user, const iotops_error *err) {
  client *c = user;
  assert_false(c->inside);
  c->failed++;
  c->error = *err;
}

static void set(client *c, const char *name, const char *value) {
  assert_int_equal(
      iotops_settings_set(c->settings, name, iotops_text_of(value), NULL), 0);
}

static void client_new(client *c, const char *host, unsigned port) {
  char text[16];
  memset(c, 0, sizeof *c);
  assert_int_equal(iotops_context_new(NULL, &c->context, NULL), 0);
  c->settings = iotops_settings_new(c->context);
  snprintf(text, sizeof text, "%u", port);
  set(c, "hostname", host);
  set(c, "tcp_port", text);
  set(c, "use_tls", "false");
}

static void client_tls(client *c, const char *host, unsigned port,
                       const char *ca) {
  client_new(c, host, port);
  set(c, "use_tls", "true");
  if (ca != NULL)
    set(c, "ca_file", in_folder(ca));
}

static int client_open(client *c) {
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

static bool is_opened(const client *c) {
  return c->opened > 0 || c->failed > 0;
}

static bool is_failed(const client *c) {
  return c->failed > 0;
}

static bool is_echoed(const client *c) {
  return c->received >= c->to_send || c->failed > 0;
}

static bool run_until(client *c, condition done) {
  uint64_t end = iotops_mono_ms(c->context) + 20000; /* names can be slow */
  while (!done(c) && iotops_mono_ms(c->context) < end) {
    iotops_context_run_once(c->context, false);
    usleep(200);
  }
  return done(c);
}

static void client_close(client *c, bool graceful) {
  if (c->stream != NULL)
    c->stream->ops->close(c->stream, graceful);
  int failed = c->failed;
  iotops_settings_free(c->settings);
  iotops_context_free(c->context);
  assert_int_equal(c->failed, failed);
  assert_true(failed <= 1);
}

/* Opens and expects the failure to say `what`. */
static void expect_failure(client *c, const char *what) {
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

static void expect_refused(client *c, const char *what, const char *property) {
  assert_int_equal(client_open(c), -1);
  assert_null(c->stream);
  assert_int_equal(c->error.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_true(c->error.is_shallow);
  if (strstr(c->error.message, what) == NULL)
    fail_msg("\"%s\" does not say \"%s\"", c->error.message, what);
  assert_string_equal(c->error.property_name, property);
  client_close(c, true);
}

/* ------------------------------------------------------------- plain TCP -- */

static void echo_much(client *c, server *s) {
  c->to_send = 4 * ANY_SIZE;
  assert_int_equal(client_open(c), 0);
  assert_true(run_until(c, is_echoed));
  assert_int_equal(c->failed, 0);
  assert_int_equal(c->received, c->to_send);
  client_close(c, true);
  server_stop(s);
  assert_int_equal(s->received, 4 * ANY_SIZE);
}

static void bytes_go_both_ways(void **state) {
  (void)state;
  server s = {.serve = echo};
  client c;
  server_start(&s);
  client_new(&c, "127.0.0.1", s.port);
  echo_much(&c, &s);
}

static void a_name_is_resolved_and_every_address_tried(void **state) {
  (void)state;
  server s = {.serve = echo};
  client c;
  server_start(&s); /* on IPv4 only, while localhost may be IPv6 as well */
  client_new(&c, "localhost", s.port);
  echo_much(&c, &s);
}

static void a_refused_port_fails_and_says_so(void **state) {
  (void)state;
  server s = {.serve = echo};
  client c;
  server_start(&s);
  server_stop(&s);
  client_new(&c, "127.0.0.1", s.port);
  expect_failure(&c, "Connection refused; is the broker running there");
}

static void a_name_that_does_not_exist_fails_and_says_so(void **state) {
  (void)state;
  client c;
  client_new(&c, "nonexistent.invalid", 1883);
  expect_failure(&c, "cannot find the address of \"nonexistent.invalid\"");
}

static void closing_at_any_moment_calls_nobody(void **state) {
  (void)state;
  for (int turns = 0; turns < 8; turns++) {
    server s = {.serve = swallow};
    client c;
    server_start(&s);
    client_new(&c, turns % 2 == 0 ? "localhost" : "127.0.0.1", s.port);
    assert_int_equal(client_open(&c), 0);
    for (int i = 0; i < turns; i++)
      iotops_context_run_once(c.context, false);
    client_close(&c, turns % 3 == 0);
    server_stop(&s);
  }
}

static void the_end_of_the_peer_comes_after_its_last_bytes(void **state) {
  (void)state;
  server s = {.serve = say_and_leave};
  client c;
  server_start(&s);
  client_new(&c, "127.0.0.1", s.port);
  assert_int_equal(client_open(&c), 0);
  assert_true(run_until(&c, is_failed));
  assert_string_equal(c.text, "farewell");
  assert_true(c.ended);
  assert_non_null(strstr(c.error.message, "closed the connection"));
  client_close(&c, true);
  server_stop(&s);
}

static void a_reset_comes_after_the_bytes_before_it(void **state) {
  (void)state;
  server s = {.serve = say_and_reset};
  client c;
  server_start(&s);
  client_new(&c, "127.0.0.1", s.port);
  c.budget = 3; /* several turns to read, the poll being dead */
  assert_int_equal(client_open(&c), 0);
  assert_true(run_until(&c, is_opened));
  usleep(60000); /* bytes and reset are both there at the next turn */
  assert_true(run_until(&c, is_failed));
  assert_string_equal(c.text, "last words");
  assert_non_null(strstr(c.error.message, "broke: Connection reset by peer"));
  client_close(&c, true);
  server_stop(&s);
}

static void
what_was_written_arrives_though_bytes_are_left_unread(void **state) {
  (void)state;
  for (int tls = 0; tls < 2; tls++) {
    server s = {.serve = greet_then_swallow};
    client c;
    if (tls) {
      s.cert = "server.crt";
      s.key = "server.key";
    }
    server_start(&s);
    if (tls)
      client_tls(&c, "127.0.0.1", s.port, "ca.crt");
    else
      client_new(&c, "127.0.0.1", s.port);
    assert_int_equal(client_open(&c), 0);
    c.stream->ops->pause(c.stream, true);
    c.to_send = 30000;
    assert_true(run_until(&c, is_opened));
    usleep(10000); /* its greeting now lies unread in our socket */
    assert_int_equal(c.sent, 30000);
    client_close(&c, true);
    server_stop(&s);
    assert_int_equal(s.received, 30000);
  }
}

static void what_the_peer_said_last_is_read_though_writing_fails(void **state) {
  (void)state;
  for (int tls = 0; tls < 2; tls++) {
    server s = {.serve = say_and_reset};
    client c;
    if (tls) {
      s.cert = "server.crt";
      s.key = "server.key";
    }
    server_start(&s);
    if (tls)
      client_tls(&c, "127.0.0.1", s.port, "ca.crt");
    else
      client_new(&c, "127.0.0.1", s.port);
    assert_int_equal(client_open(&c), 0);
    assert_true(run_until(&c, is_opened));
    usleep(60000); /* said and gone, and we have not looked yet */
    c.to_send = 300000;
    send_some(&c);
    assert_false(c.broken);
    assert_true(run_until(&c, is_failed));
    assert_string_equal(c.text, "last words");
    client_close(&c, true);
    server_stop(&s);
  }
}

static void a_paused_stream_is_silent_until_it_goes_on(void **state) {
  (void)state;
  for (int tls = 0; tls < 2; tls++) {
    server s = {.serve = say_much};
    client c;
    if (tls) {
      s.cert = "server.crt";
      s.key = "server.key";
    }
    server_start(&s);
    if (tls)
      client_tls(&c, "127.0.0.1", s.port, "ca.crt");
    else
      client_new(&c, "127.0.0.1", s.port);
    c.budget = 7000; /* stops within a TLS record */
    assert_int_equal(client_open(&c), 0);
    c.to_send = 200000;
    c.sent = 200000; /* only to be told when all has come */
    assert_true(run_until(&c, is_opened));
    while (c.received == 0)
      iotops_context_run_once(c.context, true);
    for (int round = 0; round < 4; round++) {
      c.stream->ops->pause(c.stream, true);
      size_t before = c.received;
      for (int i = 0; i < 5; i++) {
        iotops_context_run_once(c.context, false);
        usleep(500);
      }
      assert_int_equal(c.received, before);
      c.inside = true;
      c.stream->ops->pause(c.stream, false);
      c.inside = false;
      while (c.received == before)
        iotops_context_run_once(c.context, true);
    }
    assert_true(run_until(&c, is_echoed));
    assert_int_equal(c.received, 200000);
    client_close(&c, false);
    server_stop(&s);
  }
}

static void a_peer_that_does_not_read_holds_writing_back(void **state) {
  (void)state;
  client c;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t size = sizeof address;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
  listen(listener, 1);
  getsockname(listener, (struct sockaddr *)&address, &size);
  client_new(&c, "127.0.0.1", ntohs(address.sin_port));
  c.to_send = 64 * ANY_SIZE;
  assert_int_equal(client_open(&c), 0);
  assert_true(run_until(&c, is_opened));
  for (int i = 0; i < 20; i++)
    iotops_context_run_once(c.context, false);
  assert_true(c.sent > 0 && c.sent < c.to_send);
  assert_true(c.writable < 20);
  client_close(&c, false);
  close(listener);
}

/* ------------------------------------------------------------------- TLS -- */

static void tls_verifies_and_carries(const char *host, const char *ca,
                                     const char *cert, const char *key,
                                     const char *name) {
  server s = {.serve = echo, .cert = cert, .key = key};
  client c;
  server_start(&s);
  client_tls(&c, host, s.port, ca);
  c.to_send = 300000;
  assert_int_equal(client_open(&c), 0);
  if (!run_until(&c, is_echoed) || c.failed > 0)
    fail_msg("%s", c.error.message);
  assert_int_equal(c.received, 300000);
  client_close(&c, true);
  server_stop(&s);
  assert_string_equal(s.server_name, name);
}

static void a_certificate_for_the_name_is_taken_and_named_by_sni(void **state) {
  (void)state;
  tls_verifies_and_carries("localhost", "ca.crt", "server.crt", "server.key",
                           "localhost");
}

static void an_address_is_matched_and_not_sent_by_sni(void **state) {
  (void)state;
  tls_verifies_and_carries("127.0.0.1", "ca.crt", "server.crt", "server.key",
                           "");
}

static void a_chain_of_authorities_is_followed(void **state) {
  (void)state;
  tls_verifies_and_carries("localhost", "ca.crt", "chain.pem", "leaf.key",
                           "localhost");
}

static void a_bundle_with_text_and_several_authorities_works(void **state) {
  (void)state;
  tls_verifies_and_carries("localhost", "bundle.pem", "server.crt",
                           "server.key", "localhost");
}

static void a_mounted_trust_bundle_works(void **state) {
  (void)state;
  server s = {.serve = echo, .cert = "server.crt", .key = "server.key"};
  client c;
  server_start(&s);
  client_tls(&c, "localhost", s.port, NULL);
  set(&c, "ca_directory", in_folder("bundle"));
  echo_much(&c, &s);
}

static void expect_tls_failure(const char *host, const char *ca,
                               const char *cert, const char *key,
                               const char *what) {
  server s = {.serve = echo, .cert = cert, .key = key};
  client c;
  server_start(&s);
  client_tls(&c, host, s.port, ca);
  expect_failure(&c, what);
  server_stop(&s);
}

static void a_certificate_for_another_host_is_refused(void **state) {
  (void)state;
  expect_tls_failure("localhost", "ca.crt", "foreign.crt", "foreign.key",
                     "is for another host (broker.example, 10.1.2.3)");
  expect_tls_failure("127.0.0.1", "ca.crt", "foreign.crt", "foreign.key",
                     "is for another host (broker.example, 10.1.2.3)");
}

static void an_unknown_authority_is_refused(void **state) {
  (void)state;
  expect_tls_failure("localhost", "other.crt", "server.crt", "server.key",
                     "/other.crt\"");
  expect_tls_failure("localhost", "other.crt", "server.crt", "server.key",
                     "is not trusted: unable to get local issuer");
  expect_tls_failure("localhost", NULL, "server.crt", "server.key",
                     "set ca_file to its authority's certificate");
  /* The authority in between is not sent along. */
  expect_tls_failure("localhost", "ca.crt", "leaf.crt", "leaf.key",
                     "is not trusted");
}

static void an_expired_certificate_is_refused(void **state) {
  (void)state;
  expect_tls_failure("localhost", "ca.crt", "expired.crt", "expired.key",
                     "expired on ");
}

static void a_peer_that_speaks_no_tls_is_named(void **state) {
  (void)state;
  server s = {.serve = speak_http};
  client c;
  server_start(&s);
  client_tls(&c, "localhost", s.port, "ca.crt");
  expect_failure(&c, "does not answer in TLS");
  server_stop(&s);
}

static void a_cut_during_the_handshake_is_named(void **state) {
  (void)state;
  server s = {.serve = leave_after_hello};
  client c;
  server_start(&s);
  client_tls(&c, "127.0.0.1", s.port, "ca.crt");
  expect_failure(&c, "the TLS handshake");
  server_stop(&s);
}

static void a_server_that_never_answers_is_left_in_peace(void **state) {
  (void)state;
  server s = {.serve = swallow};
  client c;
  server_start(&s);
  client_tls(&c, "127.0.0.1", s.port, "ca.crt");
  assert_int_equal(client_open(&c), 0);
  for (int i = 0; i < 20; i++) {
    iotops_context_run_once(c.context, false);
    usleep(1000);
  }
  assert_int_equal(c.opened, 0);
  assert_int_equal(c.failed, 0);
  client_close(&c, false);
  server_stop(&s);
}

static void the_end_of_a_tls_peer_comes_after_its_last_bytes(void **state) {
  (void)state; /* it leaves without TLS's farewell, which is fine for MQTT */
  server s = {
      .serve = say_and_leave, .cert = "server.crt", .key = "server.key"};
  client c;
  server_start(&s);
  client_tls(&c, "localhost", s.port, "ca.crt");
  assert_int_equal(client_open(&c), 0);
  assert_true(run_until(&c, is_failed));
  assert_string_equal(c.text, "farewell");
  assert_true(c.ended);
  client_close(&c, true);
  server_stop(&s);
}

/* --------------------------------------------------- client certificates -- */

static void with_client_certificate(const char *key, const char *password) {
  server s = {.serve = echo,
              .cert = "server.crt",
              .key = "server.key",
              .client_ca = "ca.crt"};
  client c;
  server_start(&s);
  client_tls(&c, "localhost", s.port, "ca.crt");
  set(&c, "cert_file", in_folder("client.pem"));
  set(&c, "key_file", in_folder(key));
  if (password != NULL)
    set(&c, "key_password_file", in_folder(password));
  echo_much(&c, &s);
}

static void a_client_certificate_is_sent_with_its_chain(void **state) {
  (void)state;
  with_client_certificate("client.key", NULL);
}

static void an_encrypted_key_is_opened_with_the_first_line(void **state) {
  (void)state;
  with_client_certificate("client.enc", "password");
  with_client_certificate("client.old", "password");
}

static void a_missing_client_certificate_is_named(void **state) {
  (void)state;
  server s = {.serve = swallow,
              .cert = "server.crt",
              .key = "server.key",
              .client_ca = "ca.crt"};
  client c;
  server_start(&s);
  client_tls(&c, "localhost", s.port, "ca.crt");
  c.to_send = 10;
  assert_int_equal(client_open(&c), 0);
  assert_true(run_until(&c, is_failed)); /* TLS 1.3 tells after the hands */
  assert_non_null(strstr(c.error.message, "set cert_file and key_file"));
  client_close(&c, true);
  server_stop(&s);
}

static void material_that_cannot_be_used_is_named(void **state) {
  (void)state;
  static const struct {
    const char *setting, *file, *what;
  } cases[] = {
      {"ca_file", "absent.pem", "/absent.pem\": No such file or directory"},
      {"ca_file", "empty.pem", "/empty.pem\": no certificate found"},
      {"ca_file", "broken.pem", "cannot load ca_file \""},
      {"ca_file", "bundle", "/bundle\": Is a directory"},
      {"cert_file", "empty.pem", "/empty.pem\": no certificate found"},
      {"cert_file", "absent.pem", "cannot load cert_file \""},
      {"key_file", "empty.pem", "/empty.pem\": no private key found"},
      {"key_file", "server.key", "/server.key\": key values mismatch"},
      {"key_file", "client.enc",
       "/client.enc\": it is encrypted and key_password_file is not set"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    client c;
    client_tls(&c, "localhost", 1, "ca.crt");
    set(&c, "cert_file", in_folder("client.pem"));
    set(&c, "key_file", in_folder("client.key"));
    set(&c, cases[i].setting, in_folder(cases[i].file));
    expect_refused(&c, cases[i].what, cases[i].setting);
  }
  client c;
  client_tls(&c, "localhost", 1, "ca.crt");
  set(&c, "cert_file", in_folder("client.pem"));
  set(&c, "key_file", in_folder("client.enc"));
  set(&c, "key_password_file", in_folder("wrong"));
  expect_refused(&c, "/client.enc\": it cannot be decrypted", "key_file");
}

static void files_are_read_again_for_each_attempt(void **state) {
  (void)state;
  char command[256];
  server s = {.serve = echo, .cert = "server.crt", .key = "server.key"};
  client c;
  snprintf(command, sizeof command, "cp %s/other.crt %s/now.crt", folder,
           folder);
  assert_int_equal(system(command), 0);
  server_start(&s);
  client_tls(&c, "localhost", s.port, "now.crt");
  assert_int_equal(client_open(&c), 0);
  assert_true(run_until(&c, is_failed));
  c.stream->ops->close(c.stream, false);
  server_stop(&s);
  snprintf(command, sizeof command, "cp %s/ca.crt %s/now.crt", folder, folder);
  assert_int_equal(system(command), 0);
  server again = {.serve = echo, .cert = "server.crt", .key = "server.key"};
  server_start(&again);
  char port[16];
  snprintf(port, sizeof port, "%u", again.port);
  set(&c, "tcp_port", port);
  c.failed = 0;
  echo_much(&c, &again);
}

/* ---------------------------------------------------------------- memory -- */

static int left_until_failure;

static void *failing_resize(void *user, void *block, size_t size) {
  (void)user;
  if (size == 0) {
    free(block);
    return NULL;
  }
  if (left_until_failure == 0)
    return NULL;
  left_until_failure--;
  return realloc(block, size);
}

static void every_failed_allocation_ends_the_attempt_once(void **state) {
  (void)state;
  bool worked = false;
  for (int fail_at = 0; !worked && fail_at < 40; fail_at++) {
    server s = {.serve = echo, .cert = "server.crt", .key = "server.key"};
    iotops_allocator allocator = {failing_resize, NULL};
    iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
    client c;
    char port[16];
    server_start(&s);
    memset(&c, 0, sizeof c);
    options.allocator = &allocator;
    left_until_failure = 1000;
    assert_int_equal(iotops_context_new(&options, &c.context, NULL), 0);
    c.settings = iotops_settings_new(c.context);
    snprintf(port, sizeof port, "%u", s.port);
    set(&c, "hostname", "localhost");
    set(&c, "tcp_port", port);
    set(&c, "ca_file", in_folder("ca.crt"));
    c.to_send = 100;
    left_until_failure = fail_at;
    if (client_open(&c) == 0) {
      assert_true(run_until(&c, is_echoed));
      worked = c.failed == 0;
    }
    client_close(&c, true);
    server_stop(&s);
  }
  assert_true(worked);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_go_both_ways),
      cmocka_unit_test(a_name_is_resolved_and_every_address_tried),
      cmocka_unit_test(a_refused_port_fails_and_says_so),
      cmocka_unit_test(a_name_that_does_not_exist_fails_and_says_so),
      cmocka_unit_test(closing_at_any_moment_calls_nobody),
      cmocka_unit_test(the_end_of_the_peer_comes_after_its_last_bytes),
      cmocka_unit_test(a_reset_comes_after_the_bytes_before_it),
      cmocka_unit_test(what_was_written_arrives_though_bytes_are_left_unread),
      cmocka_unit_test(what_the_peer_said_last_is_read_though_writing_fails),
      cmocka_unit_test(a_paused_stream_is_silent_until_it_goes_on),
      cmocka_unit_test(a_peer_that_does_not_read_holds_writing_back),
      cmocka_unit_test(a_certificate_for_the_name_is_taken_and_named_by_sni),
      cmocka_unit_test(an_address_is_matched_and_not_sent_by_sni),
      cmocka_unit_test(a_chain_of_authorities_is_followed),
      cmocka_unit_test(a_bundle_with_text_and_several_authorities_works),
      cmocka_unit_test(a_mounted_trust_bundle_works),
      cmocka_unit_test(a_certificate_for_another_host_is_refused),
      cmocka_unit_test(an_unknown_authority_is_refused),
      cmocka_unit_test(an_expired_certificate_is_refused),
      cmocka_unit_test(a_peer_that_speaks_no_tls_is_named),
      cmocka_unit_test(a_cut_during_the_handshake_is_named),
      cmocka_unit_test(a_server_that_never_answers_is_left_in_peace),
      cmocka_unit_test(the_end_of_a_tls_peer_comes_after_its_last_bytes),
      cmocka_unit_test(a_client_certificate_is_sent_with_its_chain),
      cmocka_unit_test(an_encrypted_key_is_opened_with_the_first_line),
      cmocka_unit_test(a_missing_client_certificate_is_named),
      cmocka_unit_test(material_that_cannot_be_used_is_named),
      cmocka_unit_test(files_are_read_again_for_each_attempt),
      cmocka_unit_test(every_failed_allocation_ends_the_attempt_once),
  };
  signal(SIGPIPE, SIG_IGN); /* the servers' OpenSSL */
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
