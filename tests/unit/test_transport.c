/*
** Plain TCP, and want of memory.
*/
#include "transport_peers.h"

/* ------------------------------------------------------------- plain TCP -- */

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
      cmocka_unit_test(every_failed_allocation_ends_the_attempt_once),
  };
  signal(SIGPIPE, SIG_IGN); /* the servers' OpenSSL */
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
