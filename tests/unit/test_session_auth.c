/* test_session_auth.c -- a service account token over the session's life. */
#include "memory_broker.h"

#include <unistd.h>

#include "session/session_fields.h"

typedef struct owner {
  memory_broker *broker;
  iotops_session *session;
  char folder[64], path[80];
  unsigned disconnected, ended;
  bool will_retry;
} owner;

static void write_token(owner *owner, const char *token) {
  FILE *file = fopen(owner->path, "w");

  assert_non_null(file);
  fputs(token, file);
  assert_int_equal(fclose(file), 0);
}

static void on_disconnected(void *user,
                            const iotops_disconnected_event *event) {
  owner *owner = user;

  owner->disconnected++;
  owner->will_retry = event->will_retry;
}

static void on_ended(void *user, const iotops_error *err) {
  (void)err;
  ((owner *)user)->ended++;
}

static owner *begin(void) {
  owner *owner = calloc(1, sizeof *owner);
  iotops_session_options options = IOTOPS_SESSION_OPTIONS_INIT;
  iotops_transport transport;
  iotops_settings *settings;
  iotops_error err;
  const char *pairs[][2] = {{"hostname", "test"},  {"client_id", "me"},
                            {"use_tls", "false"},  {"keep_alive", "60000"},
                            {"sat_debounce", "0"}, {"sat_file", owner->path}};

  strcpy(owner->folder, "/tmp/iotops-auth-XXXXXX");
  assert_non_null(mkdtemp(owner->folder));
  snprintf(owner->path, sizeof owner->path, "%s/token", owner->folder);
  write_token(owner, "one\n");
  owner->broker = broker_new();
  settings = iotops_settings_new(owner->broker->context);
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    if (iotops_settings_set(settings, pairs[i][0], iotops_text_of(pairs[i][1]),
                            &err) != 0)
      fail_msg("%s", err.message);
  transport = (iotops_transport){.open = broker_open, .user = owner->broker};
  options.settings = settings;
  options.transport = &transport;
  options.disconnected = on_disconnected;
  options.ended = on_ended;
  options.user = owner;
  if (iotops_session_new(owner->broker->context, &options, &owner->session,
                         &err) != 0)
    fail_msg("%s", err.message);
  iotops_settings_free(settings);
  assert_int_equal(iotops_session_run(owner->session, &err), 0);
  return owner;
}

static void finish(owner *owner) {
  iotops_session_free(owner->session);
  broker_free(owner->broker);
  unlink(owner->path);
  rmdir(owner->folder);
  free(owner);
}

static bool says(const broker_packet *packet, const char *text) {
  return memmem(packet->bytes, packet->size, text, strlen(text)) != NULL;
}

/* The file is looked at once a minute, whatever the watch of it says. */
static void change_token(owner *owner, const char *token) {
  write_token(owner, token);
  broker_pass(owner->broker, 61000);
}

static void expect_auth(owner *owner, uint8_t reason, const char *token) {
  const broker_packet *packet = broker_expect(owner->broker, 15);

  assert_int_equal(packet->bytes[2], reason);
  assert_true(says(packet, "K8S-SAT"));
  assert_true(says(packet, token));
}

static void connect_presents_the_token_without_its_newline(void **state) {
  owner *owner = begin();
  const broker_packet *packet = broker_expect(owner->broker, 1);
  static const uint8_t wanted[] = {0x15, 0,   7,   'K',  '8', 'S', '-',
                                   'S',  'A', 'T', 0x16, 0,   3,   'o',
                                   'n',  'e', 0,   2,    'm', 'e'};

  (void)state;
  assert_memory_equal(packet->bytes + packet->size - sizeof wanted, wanted,
                      sizeof wanted);
  finish(owner);
}

static void a_new_token_is_presented_once(void **state) {
  owner *owner = begin();

  (void)state;
  broker_connack(owner->broker, false);
  change_token(owner, "one");
  broker_expect_nothing(owner->broker);
  change_token(owner, "two");
  expect_auth(owner, 0x19, "two");
  BROKER_SEND(owner->broker, 0xf0, 0);
  broker_pass(owner->broker, 200000);
  broker_expect_nothing(owner->broker);
  assert_int_equal(owner->session->metrics.reauths_ok, 1);
  assert_int_equal(owner->disconnected, 0);
  finish(owner);
}

static void a_newer_token_waits_for_the_end_of_the_exchange(void **state) {
  owner *owner = begin();

  (void)state;
  broker_connack(owner->broker, false);
  change_token(owner, "two");
  expect_auth(owner, 0x19, "two");
  write_token(owner, "three");
  iotops_context_drain(owner->broker->context);
  broker_expect_nothing(owner->broker);
  BROKER_SEND(owner->broker, 0xf0, 0);
  expect_auth(owner, 0x19, "three");
  /* No answer at all: given up after half a minute, the next may go. */
  broker_pass(owner->broker, 29000);
  write_token(owner, "four");
  broker_pass(owner->broker, 2000);
  expect_auth(owner, 0x19, "four");
  assert_int_equal(owner->session->metrics.reauths_failed, 1);
  assert_int_equal(owner->disconnected, 0);
  finish(owner);
}

static void the_token_is_repeated_once_an_exchange(void **state) {
  owner *owner = begin();

  (void)state;
  broker_connack(owner->broker, false);
  change_token(owner, "two");
  expect_auth(owner, 0x19, "two");
  BROKER_SEND(owner->broker, 0xf0, 2, 0x18, 0);
  expect_auth(owner, 0x18, "two");
  BROKER_SEND(owner->broker, 0xf0, 2, 0x18, 0);
  assert_int_equal(broker_expect(owner->broker, 14)->bytes[2], 0x82);
  assert_true(owner->will_retry);
  finish(owner);
}

static void the_token_is_repeated_while_connecting_too(void **state) {
  owner *owner = begin();

  (void)state;
  broker_expect(owner->broker, 1);
  BROKER_SEND(owner->broker, 0xf0, 2, 0x18, 0);
  expect_auth(owner, 0x18, "one");
  BROKER_SEND(owner->broker, 0x20, 3, 0, 0, 0);
  iotops_context_drain(owner->broker->context);
  assert_int_equal(iotops_session_get_state(owner->session),
                   IOTOPS_SESSION_CONNECTED);
  finish(owner);
}

static void each_attempt_may_repeat_the_token(void **state) {
  owner *owner = begin();

  (void)state;
  for (int attempt = 0; attempt < 2; attempt++) {
    broker_expect(owner->broker, 1);
    BROKER_SEND(owner->broker, 0xf0, 2, 0x18, 0);
    expect_auth(owner, 0x18, "one");
    BROKER_SEND(owner->broker, 0xf0, 2, 0x18, 0);
    assert_int_equal(broker_expect(owner->broker, 14)->bytes[2], 0x82);
    broker_pass(owner->broker, 600);
  }
  finish(owner);
}

static void an_outage_connects_with_the_new_token(void **state) {
  owner *owner = begin();

  (void)state;
  broker_connack(owner->broker, false);
  write_token(owner, "two");
  broker_end(owner->broker);
  broker_pass(owner->broker, 1000);
  assert_true(says(broker_expect(owner->broker, 1), "two"));
  BROKER_SEND(owner->broker, 0x20, 3, 1, 0, 0);
  broker_pass(owner->broker, 100000);
  broker_expect_nothing(owner->broker);
  finish(owner);
}

static void a_change_before_connack_is_caught_after_it(void **state) {
  owner *owner = begin();

  (void)state;
  broker_expect(owner->broker, 1);
  write_token(owner, "two");
  BROKER_SEND(owner->broker, 0x20, 3, 0, 0, 0);
  expect_auth(owner, 0x19, "two");
  finish(owner);
}

static void not_authorized_is_tried_again_with_a_token_file(void **state) {
  owner *owner = begin();

  (void)state;
  broker_expect(owner->broker, 1);
  BROKER_SEND(owner->broker, 0x20, 3, 0, 0x87, 0);
  broker_pass(owner->broker, 1000);
  broker_connack(owner->broker, false);
  BROKER_SEND(owner->broker, 0xe0, 1, 0x87);
  write_token(owner, "two");
  broker_pass(owner->broker, 1000);
  assert_int_equal(owner->disconnected, 1);
  assert_int_equal(owner->ended, 0);
  assert_true(says(broker_expect(owner->broker, 1), "two"));
  finish(owner);
}

static void after_exit_a_new_token_sends_nothing(void **state) {
  owner *owner = begin();

  (void)state;
  broker_connack(owner->broker, false);
  change_token(owner, "two");
  expect_auth(owner, 0x19, "two");
  assert_true(iotops_session_force_exit(owner->session));
  broker_expect(owner->broker, 14);
  change_token(owner, "three");
  broker_expect_nothing(owner->broker);
  assert_int_equal(owner->ended, 1);
  finish(owner);
}

static void a_foreign_method_is_a_protocol_error(void **state) {
  owner *owner = begin();

  (void)state;
  broker_connack(owner->broker, false);
  change_token(owner, "two");
  expect_auth(owner, 0x19, "two");
  BROKER_SEND(owner->broker, 0xf0, 6, 0, 4, 0x15, 0, 1, 'X');
  assert_int_equal(broker_expect(owner->broker, 14)->bytes[2], 0x82);
  finish(owner);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connect_presents_the_token_without_its_newline),
      cmocka_unit_test(a_new_token_is_presented_once),
      cmocka_unit_test(a_newer_token_waits_for_the_end_of_the_exchange),
      cmocka_unit_test(the_token_is_repeated_once_an_exchange),
      cmocka_unit_test(the_token_is_repeated_while_connecting_too),
      cmocka_unit_test(each_attempt_may_repeat_the_token),
      cmocka_unit_test(an_outage_connects_with_the_new_token),
      cmocka_unit_test(a_change_before_connack_is_caught_after_it),
      cmocka_unit_test(not_authorized_is_tried_again_with_a_token_file),
      cmocka_unit_test(after_exit_a_new_token_sends_nothing),
      cmocka_unit_test(a_foreign_method_is_a_protocol_error),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
