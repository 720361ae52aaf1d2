/*
** TLS: who is believed, and with what one is believed.
*/
#include "transport_peers.h"

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

int main(void) {
  const struct CMUnitTest tests[] = {
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
  };
  signal(SIGPIPE, SIG_IGN); /* the servers' OpenSSL */
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
